//! What `setup.sh` of a target makes ready, as it says it: one `name=path` per line.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The exit code of a `setup.sh`, and ours, for "this machine lacks what is needed".
pub(crate) const CANNOT: u8 = 3;

/// Runs a script of the repository, with the words behind its name; its progress goes to our stderr. `None`: something is missing and
/// may not be installed by us; the script has said what.
pub(crate) fn run(script: &str) -> Result<Option<String>> {
    let output = Command::new("bash")
        .args(script.split_whitespace())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("bash")?;
    if output.status.code() == Some(CANNOT.into()) {
        return Ok(None);
    }
    ensure!(output.status.success(), "{script}: {}", output.status);
    let text = String::from_utf8(output.stdout).context("setup.sh printed no UTF-8")?;
    Ok(Some(text))
}

/// The path of this name in what a script printed.
pub(crate) fn path(text: &str, name: &str) -> Result<PathBuf> {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match found.map(PathBuf::from) {
        Some(path) if path.exists() => Ok(path),
        Some(path) => bail!("setup.sh: {name} is not there: {}", path.display()),
        None => bail!("setup.sh named no {name}"),
    }
}

/// The lines that [`path`] reads: how they go through the wall.
pub(crate) fn lines<const N: usize>(paths: [(&str, &PathBuf); N]) -> String {
    paths
        .map(|(name, path)| format!("{name}={}\n", path.display()))
        .concat()
}

/// Whether a program is in one of the folders where programs are.
pub(crate) fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}
