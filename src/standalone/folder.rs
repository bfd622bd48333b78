//! Which files a path means.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::located::Located;
use super::yaml::{MAX_FILE_BYTES, shown};
use crate::api::Severity;

/// Most files that are read: ten machines a file make half a million machines.
pub const MAX_FILES: usize = 50_000;
/// Deepest folder below a path that was named. Links can make endless trees.
pub const MAX_FOLDER_DEPTH: usize = 32;

/// The files that `paths` mean, in sorted order, each once.
pub(super) fn find(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<Located>) {
    let mut finder = Finder::default();
    for path in paths {
        finder.named(path);
    }
    let mut files = finder.files;
    files.sort();
    let mut seen = BTreeSet::new();
    files.retain(|(_, id)| seen.insert(*id));
    let mut problems = finder.problems;
    if files.len() > MAX_FILES
        && let Some((path, _)) = files.get(MAX_FILES)
    {
        let what = format!("there are {} files", files.len());
        let cure = format!("at most {MAX_FILES} are read; this one and the rest are not");
        problems.push(Located::path(path.clone(), "TooManyFiles", what, &cure));
        files.truncate(MAX_FILES);
    }
    (files.into_iter().map(|(path, _)| path).collect(), problems)
}

/// The text of a file.
///
/// # Errors
/// What is wrong with the file, boxed because it is large.
pub(super) fn read(path: &Path) -> Result<String, Box<Located>> {
    let fail = |error: &io::Error| Box::new(cannot_read(path, error));
    let file = File::open(path).map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    // One byte more than may be there, so that the limit shows.
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let what = format!("line {line} is not UTF-8 text");
        Box::new(Located::path(
            path.to_owned(),
            "NotText",
            what,
            "save the file as UTF-8",
        ))
    })
}

/// Device and inode: what makes two paths one file.
type Id = (u64, u64);

#[derive(Default)]
struct Finder {
    files: Vec<(PathBuf, Id)>,
    folders: BTreeSet<Id>,
    problems: Vec<Located>,
}

impl Finder {
    /// A path that a person named: a file is read whatever it is called.
    fn named(&mut self, path: &Path) {
        match fs::metadata(path) {
            Err(error) => self.problems.push(cannot_read(path, &error)),
            Ok(metadata) if metadata.is_dir() => {
                let (files, mistakes) = (self.files.len(), self.problems.len());
                let new = self.folder(path, &metadata, 0);
                if new && (files, mistakes) == (self.files.len(), self.problems.len()) {
                    let what = "the folder holds no manifests".to_owned();
                    let cure = "manifests end in .yaml, .yml or .json";
                    let mut problem = Located::path(path.to_owned(), "NoManifests", what, cure);
                    problem.severity = Severity::Warning;
                    self.problems.push(problem);
                }
            }
            Ok(metadata) => self.files.push((path.to_owned(), id(&metadata))),
        }
    }

    /// Adds what a folder holds; `false` where it was added before. A folder
    /// is its inode, so links cannot lead in circles.
    fn folder(&mut self, path: &Path, metadata: &Metadata, depth: usize) -> bool {
        if !self.folders.insert(id(metadata)) {
            return false;
        }
        if depth > MAX_FOLDER_DEPTH {
            let what = format!("the folder is nested deeper than {MAX_FOLDER_DEPTH} levels");
            self.problems.push(Located::path(
                path.to_owned(),
                "TooDeep",
                what,
                "move it up",
            ));
            return true;
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries: Vec<PathBuf> = match entries {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
            Err(error) => {
                self.problems.push(cannot_read(path, &error));
                return true;
            }
        };
        entries.sort();
        for entry in entries.iter().filter(|entry| !is_hidden(entry)) {
            self.entry(entry, depth);
        }
        true
    }

    fn entry(&mut self, path: &Path, depth: usize) {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            // A link to nowhere is a mistake only where it would be read.
            Err(error) if is_manifest(path) => {
                self.problems.push(cannot_read(path, &error));
                return;
            }
            Err(_) => return,
        };
        if metadata.is_dir() {
            self.folder(path, &metadata, depth + 1);
        } else if metadata.is_file() && is_manifest(path) {
            self.files.push((path.to_owned(), id(&metadata)));
        }
    }
}

/// Whether a name is hidden. That skips an editor's lock files, and `..data`
/// and its kin, where a mounted ConfigMap keeps the files that its visible
/// links lead to.
fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a name ends as manifests do. That skips an editor's leftovers:
/// `a.yaml~`, `a.yaml.swp`, `#a.yaml#`.
fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json")
}

fn id(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

fn cannot_read(path: &Path, error: &io::Error) -> Located {
    let text = error.to_string().to_lowercase();
    let text = text.split(" (os error").next().unwrap_or_default();
    let what = format!("cannot read {}: {text}", shown(&path.display().to_string()));
    let cure = if error.kind() == io::ErrorKind::PermissionDenied {
        "let the user read it that the service runs as"
    } else {
        ""
    };
    Located::path(path.to_owned(), "CannotRead", what, cure)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let (files, problems) = find(&[root.to_owned()]);
        assert_eq!(problems, []);
        files
            .iter()
            .map(|file| file.strip_prefix(root).unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn finds_manifests_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        for name in [
            "z.yaml",
            "a.yml",
            "b/m.json",
            "b/c/x.yaml",
            ".git/x.yaml",
            ".#z.yaml",
            "#z.yaml#",
            "z.yaml~",
            "z.yaml.swp",
            "README.md",
        ] {
            fs::write(root.join(name), "").unwrap();
        }
        symlink("..", root.join("b/loop")).unwrap();
        symlink("z.yaml", root.join("zz.yaml")).unwrap();
        assert_eq!(names(root), ["a.yml", "b/c/x.yaml", "b/m.json", "z.yaml"]);
    }

    #[test]
    fn reads_a_mounted_config_map_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("..2024_01")).unwrap();
        fs::write(root.join("..2024_01/lab.yaml"), "").unwrap();
        symlink("..2024_01", root.join("..data")).unwrap();
        symlink("..data/lab.yaml", root.join("lab.yaml")).unwrap();
        assert_eq!(names(root), ["lab.yaml"]);
    }

    #[test]
    fn tells_what_it_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::write(root.join("odd.yaml"), b"a: 1\nb: \xff\n").unwrap();
        assert_eq!(
            read(&root.join("odd.yaml")).unwrap_err().what,
            "line 2 is not UTF-8 text"
        );
        symlink("nowhere", root.join("broken.yaml")).unwrap();
        let (files, problems) = find(&[root.to_owned(), root.join("none")]);
        assert_eq!(files.len(), 1);
        let reasons: Vec<_> = problems.iter().map(|p| p.reason).collect();
        assert_eq!(reasons, ["CannotRead", "CannotRead"]);
        let empty = root.join("empty");
        fs::create_dir(&empty).unwrap();
        assert_eq!(find(&[empty]).1[0].reason, "NoManifests");
    }
}
