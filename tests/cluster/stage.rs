//! Where a trial takes place: a control plane, a namespace in it, a folder, and the program.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::kubectl::Rules;
use crate::plane::ControlPlane;
use crate::support::assets::Assets;
use crate::support::server::Launch;

/// What every stage has for the program to hand out; they only look like loaders.
const LOADERS: [&str; 2] = ["undionly.kpxe", "ipxe.efi"];

/// A trial's place.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The control plane, which others use after us, unless the trial asked for its own.
    pub(crate) plane: &'a mut ControlPlane,
    /// Our Kubernetes namespace; it is there, and empty.
    pub(crate) namespace: String,
    /// Everything that the trial leaves is here.
    pub(crate) folder: PathBuf,
    assets: Option<&'a Assets>,
}

// === impl Stage ===

impl<'a> Stage<'a> {
    /// Makes the namespace and the folder.
    pub(crate) fn open(
        plane: &'a mut ControlPlane,
        name: &str,
        folder: &Path,
        assets: Option<&'a Assets>,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder.join("loaders"))?;
        for loader in LOADERS {
            std::fs::write(folder.join("loaders").join(loader), loader.repeat(1000))?;
        }
        plane.kubectl(&["create", "namespace", name])?;
        Ok(Self {
            plane,
            namespace: name.to_owned(),
            folder: folder.to_owned(),
            assets,
        })
    }

    /// Runs kubectl in our namespace, as the admin.
    pub(crate) fn kubectl(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(words);
        self.plane.kubectl(&all)
    }

    /// Applies manifests to our namespace.
    pub(crate) fn apply(&self, manifests: &str) -> Result<String> {
        let file = self.folder.join("applied.yaml");
        std::fs::write(&file, manifests)?;
        self.kubectl(&["apply", "-f", &file.display().to_string()])
    }

    /// Makes a service account in our namespace; its kubeconfig.
    pub(crate) fn account(&self, name: &str, rules: Rules<'_>) -> Result<PathBuf> {
        self.plane.service_account(&self.namespace, name, rules)
    }

    /// The operator before its start; `name` is that of its folder, below ours, which holds its state,
    /// `artifacts/` and `server.log`.
    pub(crate) fn operator(&self, name: &str, kubeconfig: &Path) -> Result<Launch> {
        let folder = self.folder.join(name);
        Launch::operator(kubeconfig, &self.folder.join("loaders"), &folder, "info")
    }

    /// What virtual machines boot, and with what; for trials that need [`MACHINES`].
    ///
    /// [`MACHINES`]: crate::trials::MACHINES
    pub(crate) fn assets(&self) -> Result<&'a Assets> {
        self.assets
            .context("no assets; the trial did not ask for virtual machines")
    }

    /// The operator as [`Stage::operator`] makes it, with what virtual machines boot: true loaders, and
    /// `linux/vmlinuz` and `linux/initrd.img` in its tree.
    pub(crate) fn operator_with_linux(&self, name: &str, kubeconfig: &Path) -> Result<Launch> {
        let (assets, folder) = (self.assets()?, self.folder.join(name));
        let tree = folder.join("artifacts/linux");
        std::fs::create_dir_all(&tree)?;
        std::fs::copy(&assets.kernel, tree.join("vmlinuz")).context("kernel")?;
        std::fs::copy(&assets.initrd, tree.join("initrd.img")).context("initrd")?;
        Launch::operator(kubeconfig, &assets.loaders, &folder, "info")
    }

    /// Takes what we made from the control plane.
    pub(crate) fn close(self) {
        // What cannot be taken away now is in no other trial's namespace.
        let _ = self.kubectl(&["delete", "reveille", "--all", "--wait=false"]);
        let _ = self
            .plane
            .kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}
