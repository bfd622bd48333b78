//! What the machines boot, and with what: the paths that `setup.sh` made ready.

use std::path::PathBuf;

use anyhow::Result;

use super::setup;

/// Paths of the cached files.
#[derive(Debug, Clone)]
pub(crate) struct Assets {
    /// A small Linux with virtio and a serial console built in.
    pub(crate) kernel: PathBuf,
    /// The initrd that prints the marker and switches off.
    pub(crate) initrd: PathBuf,
    /// The same as a unified kernel image.
    pub(crate) uki: PathBuf,
    /// The same on a disc that BIOS and UEFI boot.
    pub(crate) iso: PathBuf,
    /// Folder of Debian's installer, where this system has it.
    pub(crate) installer: Option<PathBuf>,
    /// Folder of a signed shim and GRUB, where they came.
    pub(crate) signed: Option<PathBuf>,
    /// Folder of the iPXE loaders.
    pub(crate) loaders: PathBuf,
    /// UEFI firmware for x86_64.
    pub(crate) ovmf_code: PathBuf,
    /// Its variable store, as it leaves the factory.
    pub(crate) ovmf_vars: PathBuf,
}

impl Assets {
    /// Runs `setup.sh`. `None`: something is missing, and the script has said what.
    pub(crate) fn prepare() -> Result<Option<Self>> {
        let text = setup::run("tests/lab/setup.sh")?;
        text.map(|text| Self::read(&text)).transpose()
    }

    /// Reads `name=path` lines.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let path = |name| setup::path(text, name);
        Ok(Self {
            kernel: path("kernel")?,
            initrd: path("initrd")?,
            uki: path("uki")?,
            iso: path("iso")?,
            installer: path("installer").ok().filter(|path| path.is_absolute()),
            signed: path("signed").ok().filter(|path| path.is_absolute()),
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
            uki,
            iso,
            installer,
            signed,
            loaders,
            ovmf_code,
            ovmf_vars,
        } = self;
        let nothing = PathBuf::new();
        setup::lines([
            ("uki", uki),
            ("iso", iso),
            ("installer", installer.as_ref().unwrap_or(&nothing)),
            ("signed", signed.as_ref().unwrap_or(&nothing)),
            ("kernel", kernel),
            ("initrd", initrd),
            ("loaders", loaders),
            ("ovmf_code", ovmf_code),
            ("ovmf_vars", ovmf_vars),
        ])
    }
}
