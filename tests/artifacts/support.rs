//! What the tests share.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reveille::artifact::unpack::{Format, Limits, Pick, Refused, Unpacked, unpack};

/// A file of `fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/artifacts/fixtures")
        .join(name)
}

/// A fixture that is kept under gzip, as it was.
pub(crate) fn unzipped(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(fixture(name)).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// Whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("skipped what needs {program}: it is not installed");
    }
    found
}

/// Runs a program in `folder`; its failure is the test's.
pub(crate) fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Unpacks with the default limits; the tree is looked at by `seen`.
pub(crate) fn unpacked(
    archive: &Path,
    format: Format,
    pick: &Pick,
    into: &Path,
) -> Result<Unpacked, Refused> {
    unpack(archive, format, pick, &Limits::default(), into, &mut |_| ())
}

/// A pick of `from` and, where it is not empty, `to`.
pub(crate) fn pick(rules: &[(&str, &str)]) -> Pick {
    let limits = Limits::default().name();
    rules.iter().fold(Pick::default(), |pick, (from, to)| {
        let to = (!to.is_empty()).then_some(*to);
        pick.and(from, to, limits).unwrap()
    })
}

/// What is in a folder: path to content, `/` for folders, `-> x` for links.
/// Every file must be 0644 and every folder 0755.
pub(crate) fn seen(root: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    collect(root, root, &mut seen);
    seen
}

fn collect(root: &Path, folder: &Path, seen: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let text = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            assert_eq!(mode, 0o755, "{name}");
            collect(root, &path, seen);
            "/".to_owned()
        } else {
            assert!(metadata.is_file(), "{name} is neither file nor folder");
            assert_eq!(mode, 0o644, "{name}");
            let bytes = fs::read(&path).unwrap();
            if bytes.len() > 100 {
                format!("{} bytes", bytes.len())
            } else {
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        seen.insert(name, text);
    }
}

/// The files and links of `seen`, without folders, as lines.
pub(crate) fn lines(root: &Path) -> Vec<String> {
    seen(root)
        .into_iter()
        .filter(|(_, text)| text != "/")
        .map(|(name, text)| format!("{name}: {text}"))
        .collect()
}
