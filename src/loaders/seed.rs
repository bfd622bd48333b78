//! Puts the loaders of the image onto the volume. Shell.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::plan::{Step, step};
use super::{LoaderMetrics, MAX_LOADER, digest};
use crate::boot::Architecture;
use crate::files::write_whole;

/// The folder of loaders on the volume, in the state folder.
pub const FOLDER: &str = "loaders";
/// What was written there last, by name and digest; beside the folder.
pub const RECORD: &str = "loaders.json";

/// Rights of a loader: everybody may read it.
const MODE: u32 = 0o644;

/// What was made of the volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// The folders that loaders are looked up in, the first first.
    pub folders: Vec<PathBuf>,
    /// The one of them that is the volume's.
    pub volume: Option<PathBuf>,
    /// The digest of what the program wrote there, by name.
    pub record: BTreeMap<String, String>,
    /// What was done with each file.
    pub steps: Vec<(String, Step)>,
}

/// Writes the loaders of the folders `images` into the state folder, each whole
/// or not at all; what somebody edited there stays. Where the volume cannot be
/// written the image's are served. Blocks.
#[must_use]
pub fn seed(state: &Path, images: &[PathBuf], metrics: &LoaderMetrics) -> Seeded {
    let volume = state.join(FOLDER);
    let mut seeded = Seeded {
        folders: vec![volume.clone()],
        record: read_record(&state.join(RECORD)),
        ..Seeded::default()
    };
    seeded.folders.extend(images.iter().cloned());
    let before = seeded.record.clone();
    let mut failed = None;
    for name in names() {
        let Some((folder, image)) = from_image(images, name) else {
            continue;
        };
        let step = match put(&volume, name, &image, &mut seeded.record) {
            Ok(step) => step,
            Err(error) => {
                metrics.seeded.with_label_values(&["failed"]).inc();
                failed.get_or_insert((name, error));
                continue;
            }
        };
        metrics.seeded.with_label_values(&[step.as_str()]).inc();
        tell(name, folder, step);
        seeded.steps.push((name.to_owned(), step));
    }
    if failed.is_none()
        && seeded.record != before
        && let Err(error) = write_record(&state.join(RECORD), &seeded.record)
    {
        failed = Some((RECORD, error));
    }
    if let Some((name, error)) = failed {
        tracing::warn!(
            folder = %volume.display(),
            file = name,
            %error,
            "loaders cannot be kept on the volume: those of the image are served"
        );
        // What is old there must not hide what is new in the image; what is
        // somebody's own must.
        if !seeded.steps.iter().any(|(_, step)| *step == Step::Own) {
            seeded.folders.retain(|folder| *folder != volume);
            return seeded;
        }
    }
    seeded.volume = Some(volume);
    seeded
}

/// The names under which loaders are looked for.
fn names() -> impl Iterator<Item = &'static str> {
    let all = Architecture::ALL.into_iter();
    all.flat_map(|architecture| architecture.ipxe_files().iter().copied())
}

/// The first file of this name that an image has.
fn from_image<'a>(images: &'a [PathBuf], name: &str) -> Option<(&'a Path, Vec<u8>)> {
    images.iter().find_map(|folder| {
        let bytes = read(&folder.join(name)).ok()??;
        Some((folder.as_path(), bytes))
    })
}

/// A file, `None` where there is none.
///
/// # Errors
/// It cannot be read, or is no loader by its size.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_LOADER + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LOADER {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(bytes))
}

/// Brings one file of the volume up to date.
fn put(
    volume: &Path,
    name: &str,
    image: &[u8],
    record: &mut BTreeMap<String, String>,
) -> io::Result<Step> {
    let path = volume.join(name);
    let there = read(&path)?.map(|bytes| digest(&bytes));
    let new = digest(image);
    let known = record.get(name).map(String::as_str);
    let step = step(&new, there.as_deref(), known);
    if step.writes() {
        fs::create_dir_all(volume)?;
        write_whole(&path, MODE, image)?;
    }
    if step != Step::Own {
        record.insert(name.to_owned(), new);
    }
    Ok(step)
}

fn tell(name: &str, folder: &Path, step: Step) {
    let from = folder.display();
    match step {
        Step::Written | Step::Upgraded => {
            tracing::info!(file = name, %from, step = step.as_str(), "loader put on the volume");
        }
        Step::Own => {
            tracing::info!(
                file = name,
                "loader on the volume was edited: it is served as it is"
            );
        }
        Step::Same => tracing::debug!(file = name, "loader on the volume is up to date"),
    }
}

/// What was written last; nothing where that is not known.
fn read_record(path: &Path) -> BTreeMap<String, String> {
    let bytes = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn write_record(path: &Path, record: &BTreeMap<String, String>) -> io::Result<()> {
    write_whole(path, MODE, &serde_json::to_vec_pretty(record)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use crate::telemetry::Meter;

    use super::*;

    struct Host {
        dir: tempfile::TempDir,
        metrics: LoaderMetrics,
    }

    impl Host {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["image", "state"] {
                fs::create_dir(dir.path().join(name)).unwrap();
            }
            let metrics = LoaderMetrics::register(&Meter::default()).unwrap();
            Self { dir, metrics }
        }

        fn image(&self, name: &str, text: &str) {
            fs::write(self.dir.path().join("image").join(name), text).unwrap();
        }

        fn volume(&self, name: &str) -> PathBuf {
            self.dir.path().join("state/loaders").join(name)
        }

        fn seed(&self) -> Seeded {
            let images = [self.dir.path().join("image")];
            seed(&self.dir.path().join("state"), &images, &self.metrics)
        }
    }

    #[test]
    fn writes_upgrades_and_leaves_what_is_edited() {
        let host = Host::new();
        host.image("ipxe-amd64.efi", "one");
        symlink("ipxe-amd64.efi", host.dir.path().join("image/ipxe.efi")).unwrap();
        host.image("undionly.kpxe", "bios one");
        let steps = |seeded: &Seeded| -> Vec<(String, Step)> { seeded.steps.clone() };
        let pair = |bios, efi| {
            vec![
                ("undionly.kpxe".to_owned(), bios),
                ("ipxe.efi".to_owned(), efi),
            ]
        };
        assert_eq!(steps(&host.seed()), pair(Step::Written, Step::Written));
        assert_eq!(fs::read(host.volume("ipxe.efi")).unwrap(), b"one");
        assert_eq!(steps(&host.seed()), pair(Step::Same, Step::Same));

        fs::write(host.volume("undionly.kpxe"), "mine").unwrap();
        host.image("ipxe-amd64.efi", "two");
        host.image("undionly.kpxe", "bios two");
        assert_eq!(steps(&host.seed()), pair(Step::Own, Step::Upgraded));
        assert_eq!(fs::read(host.volume("ipxe.efi")).unwrap(), b"two");
        assert_eq!(fs::read(host.volume("undionly.kpxe")).unwrap(), b"mine");

        // Removed by hand, it comes again.
        fs::remove_file(host.volume("undionly.kpxe")).unwrap();
        assert_eq!(steps(&host.seed()), pair(Step::Written, Step::Same));
        let own = host.metrics.seeded.with_label_values(&["own"]).get();
        assert_eq!(own, 1);
    }

    #[test]
    fn serves_the_image_where_the_volume_cannot_be_written() {
        let host = Host::new();
        host.image("ipxe.efi", "one");
        // A file where the folder should be: even root cannot write there.
        fs::write(host.dir.path().join("state/loaders"), "").unwrap();
        let seeded = host.seed();
        assert_eq!(seeded.volume, None);
        assert_eq!(seeded.folders, [host.dir.path().join("image")]);
        let failed = host.metrics.seeded.with_label_values(&["failed"]).get();
        assert_eq!(failed, 1);
    }

    #[test]
    fn takes_what_differs_for_somebody_s_own_where_the_record_is_lost() {
        let host = Host::new();
        host.image("ipxe.efi", "one");
        let _ = host.seed();
        fs::write(host.dir.path().join("state/loaders.json"), "{").unwrap();
        host.image("ipxe.efi", "two");
        assert_eq!(host.seed().steps, [("ipxe.efi".to_owned(), Step::Own)]);
        assert_eq!(fs::read(host.volume("ipxe.efi")).unwrap(), b"one");
    }
}
