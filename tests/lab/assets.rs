//! What the machines boot, and with what: the paths that `setup.sh` made ready.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The exit code of `setup.sh`, and ours, for "this machine lacks what the lab needs".
pub(crate) const CANNOT: u8 = 3;

/// Paths of the cached files.
#[derive(Debug, Clone)]
pub(crate) struct Assets {
    /// A small Linux with virtio and a serial console built in.
    pub(crate) kernel: PathBuf,
    /// The initrd that prints the marker and switches off.
    pub(crate) initrd: PathBuf,
    /// Folder of the iPXE loaders.
    pub(crate) loaders: PathBuf,
    /// UEFI firmware for x86_64.
    pub(crate) ovmf_code: PathBuf,
    /// Its variable store, as it leaves the factory.
    pub(crate) ovmf_vars: PathBuf,
}

impl Assets {
    /// Runs `setup.sh`; its progress goes to our stderr. `None`: something is missing and may not be
    /// installed by us; the script has said what.
    pub(crate) fn prepare() -> Result<Option<Self>> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/setup.sh");
        let output = Command::new("bash")
            .arg(script)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("bash")?;
        if output.status.code() == Some(CANNOT.into()) {
            return Ok(None);
        }
        ensure!(output.status.success(), "{script}: {}", output.status);
        let text = String::from_utf8(output.stdout).context("setup.sh printed no UTF-8")?;
        Self::read(&text).map(Some)
    }

    /// Reads `name=path` lines.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let path = |name: &str| -> Result<PathBuf> {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            match found.map(PathBuf::from) {
                Some(path) if path.exists() => Ok(path),
                Some(path) => bail!("setup.sh: {name} is not there: {}", path.display()),
                None => bail!("setup.sh named no {name}"),
            }
        };
        Ok(Self {
            kernel: path("kernel")?,
            initrd: path("initrd")?,
            loaders: path("loaders")?,
            ovmf_code: path("ovmf_code")?,
            ovmf_vars: path("ovmf_vars")?,
        })
    }

    /// The lines that [`Assets::read`] reads: how they go through the wall.
    pub(crate) fn write(&self) -> String {
        let Self {
            kernel,
            initrd,
            loaders,
            ovmf_code,
            ovmf_vars,
        } = self;
        [
            ("kernel", kernel),
            ("initrd", initrd),
            ("loaders", loaders),
            ("ovmf_code", ovmf_code),
            ("ovmf_vars", ovmf_vars),
        ]
        .map(|(name, path)| format!("{name}={}\n", path.display()))
        .concat()
    }
}
