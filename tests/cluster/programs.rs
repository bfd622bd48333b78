//! What a control plane is made of: the programs that `setup.sh` found or built.

use std::path::PathBuf;

use anyhow::Result;

use crate::support::setup;

/// Paths of the programs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) etcd: PathBuf,
    pub(crate) api_server: PathBuf,
    pub(crate) controllers: PathBuf,
    pub(crate) kubectl: PathBuf,
}

impl Programs {
    /// Runs `setup.sh`. `None`: something is missing, and the script has said what.
    pub(crate) fn prepare() -> Result<Option<Self>> {
        let text = setup::run("tests/cluster/setup.sh")?;
        text.map(|text| Self::read(&text)).transpose()
    }

    /// Reads `name=path` lines.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let path = |name| setup::path(text, name);
        Ok(Self {
            etcd: path("etcd")?,
            api_server: path("kube-apiserver")?,
            controllers: path("kube-controller-manager")?,
            kubectl: path("kubectl")?,
        })
    }

    /// The lines that [`Programs::read`] reads: how they go through the wall.
    pub(crate) fn write(&self) -> String {
        let Self {
            etcd,
            api_server,
            controllers,
            kubectl,
        } = self;
        setup::lines([
            ("etcd", etcd),
            ("kube-apiserver", api_server),
            ("kube-controller-manager", controllers),
            ("kubectl", kubectl),
        ])
    }
}
