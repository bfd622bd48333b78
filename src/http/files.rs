//! Looks up what a path names: a file, or a folder to show. Blocks.

use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::listing::{Entry, Folder, MAX_ENTRIES, Shown, is_shown};
use super::refusal::Refusal;
use crate::files::{ArtifactPath, OpenedFile, Roots};

/// Where zones are by name, where there are any.
const ZONES: &str = "/usr/share/zoneinfo";

/// What is at a path.
#[derive(Debug)]
pub(super) enum Found {
    /// A file.
    File(OpenedFile),
    /// A folder, read.
    Folder(Folder),
}

/// Looks `path` up; reads it if it is a folder that is `shown`.
///
/// # Errors
/// [`Refusal`] says why there is nothing to send.
pub(super) fn find(roots: &Roots, path: ArtifactPath, shown: &Shown) -> Result<Found, Refusal> {
    let folder = match roots.open(&path) {
        Ok(opened) if !opened.is_dir => return Ok(Found::File(opened)),
        Ok(opened) => Some(opened.file),
        // The further roots and the loaders are there without a tree, too.
        Err(error) if path.is_root() && error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(refused(&error, &path)),
    };
    if !shown.shows(&path) {
        return Err(Refusal::ListingOff);
    }
    let names = roots.names(&path, folder.as_ref(), MAX_ENTRIES, is_shown);
    let names = names.map_err(|error| refused(&error, &path))?;
    let entries = names.iter().filter_map(|name| entry(roots, &path, name));
    let folder = Folder::new(path.clone(), entries.collect());
    if folder.is_cut() {
        tracing::warn!(
            path = path.as_str(),
            shown = MAX_ENTRIES,
            "folder is too big to show"
        );
    }
    Ok(Found::Folder(folder))
}

/// What an error at opening or reading means for the client.
fn refused(error: &io::Error, path: &ArtifactPath) -> Refusal {
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound || kind == io::ErrorKind::InvalidFilename {
        return Refusal::NotFound;
    }
    if kind == io::ErrorKind::PermissionDenied {
        return Refusal::NotReadable;
    }
    tracing::warn!(path = path.as_str(), %error, "cannot read");
    Refusal::ReadFailed
}

/// The entry of a name, opened as a request would: what a request would not
/// get, because it leads out of the root or must not be read, is not shown.
fn entry(roots: &Roots, folder: &ArtifactPath, name: &str) -> Option<Entry> {
    let path = folder.join(name).ok()?;
    let opened = roots.open(&path).ok()?;
    Some(Entry {
        name: name.to_owned(),
        is_dir: opened.is_dir,
        size: opened.len,
        modified: opened.modified,
    })
}

/// The zone of local time as the C library has it: `TZ`, else
/// `/etc/localtime`, else UTC. Blocks.
pub(super) fn local_zone() -> TimeZone {
    let zone = match std::env::var("TZ") {
        Ok(name) => zone_named(name.trim_start_matches(':')),
        Err(_) => zone_file(Path::new("/etc/localtime")),
    };
    zone.unwrap_or(TimeZone::UTC)
}

fn zone_named(name: &str) -> Option<TimeZone> {
    let file = PathBuf::from(ZONES).join(name);
    zone_file(&file).or_else(|| TimeZone::posix(name).ok())
}

fn zone_file(path: &Path) -> Option<TimeZone> {
    let data = std::fs::read(path).ok()?;
    TimeZone::tzif("Local", &data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::target::View;

    fn path(name: &str) -> ArtifactPath {
        ArtifactPath::parse(name).unwrap()
    }

    fn shown(roots: &Roots, name: &str) -> Vec<String> {
        let Ok(Found::Folder(folder)) = find(roots, path(name), &Shown::AllBut(Vec::new())) else {
            panic!("{name} is no folder");
        };
        let json: serde_json::Value = serde_json::from_str(&folder.json(&View::default())).unwrap();
        let entries = json.as_array().unwrap().iter();
        entries
            .map(|e| e["name"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn shows_what_a_request_would_get_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, loaders) = (dir.path().join("tree"), dir.path().join("loaders"));
        for folder in [&tree, &loaders, &tree.join("debian"), &loaders.join("sub")] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::write(dir.path().join("secret"), "").unwrap();
        std::fs::write(loaders.join("ipxe.efi"), "").unwrap();
        std::fs::write(tree.join("debian/linux"), "").unwrap();
        std::fs::write(tree.join(".hidden"), "").unwrap();
        std::os::unix::fs::symlink("../secret", tree.join("out")).unwrap();
        std::os::unix::fs::symlink("debian/linux", tree.join("in")).unwrap();
        let isos = ("isos".to_owned(), dir.path().join("loaders"));
        let roots = Roots::new(Some(tree), vec![loaders], vec![isos.clone()]);
        assert_eq!(shown(&roots, ""), ["debian", "isos", "in", "ipxe.efi"]);
        assert_eq!(shown(&roots, "debian"), ["linux"]);
        assert_eq!(shown(&roots, "isos"), ["sub", "ipxe.efi"]);
        let bare = Roots::new(None, Vec::new(), vec![isos]);
        assert_eq!(shown(&bare, ""), ["isos"]);
    }

    #[test]
    fn names_why_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("../..", dir.path().join("out")).unwrap();
        let roots = Roots::new(Some(dir.path().to_owned()), Vec::new(), Vec::new());
        let all = Shown::AllBut(Vec::new());
        for (name, shown, want) in [
            ("none", &all, Refusal::NotFound),
            ("out", &all, Refusal::NotReadable),
            ("", &Shown::None, Refusal::ListingOff),
            (&"a".repeat(300), &all, Refusal::NotFound),
        ] {
            assert_eq!(find(&roots, path(name), shown).unwrap_err(), want, "{name}");
        }
    }

    #[test]
    fn reads_zones_by_name_and_by_rule() {
        let zone = zone_named("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let summer = zone.to_offset("2025-07-01T00:00:00Z".parse().unwrap());
        assert_eq!(summer, jiff::tz::offset(2));
        assert!(zone_named("no/such zone").is_none());
    }
}
