//! A node: scheduler, containerd, kubelet, as processes of the room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::support::process::Process;
use crate::support::wait::{until, until_within};
use crate::support::{ns, setup};

/// Its name.
pub(crate) const NAME: &str = "edge-1";

/// The address of the Pod that has not the node's network.
pub(crate) const POD_ADDRESS: &str = "192.0.2.3";

/// How long its parts may take to start, whatever else the host does.
const START: Duration = Duration::from_secs(120);

/// Where its programs are.
#[derive(Debug)]
struct Programs {
    scheduler: PathBuf,
    kubelet: PathBuf,
    containerd: PathBuf,
    ctr: PathBuf,
    /// The folder of the network plugins.
    plugins: PathBuf,
}

/// The node. It ends with this value; what its containers leave ends with the room.
#[derive(Debug)]
pub(crate) struct Node {
    programs: Programs,
    folder: PathBuf,
    containerd: Option<Process>,
    _scheduler: Process,
    kubelet: Process,
}

// === impl Node ===

impl Node {
    /// Starts it beside a control plane, with images that it knows; it registers itself.
    pub(crate) fn start(
        ready: &str,
        kubeconfig: &Path,
        folder: &Path,
        images: &[PathBuf],
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let programs = Programs {
            scheduler: setup::path(ready, "kube-scheduler")?,
            kubelet: setup::path(ready, "kubelet")?,
            containerd: setup::path(ready, "containerd")?,
            ctr: setup::path(ready, "ctr")?,
            plugins: plugins(ready)?,
        };
        let mut command = Command::new(&programs.scheduler);
        command.arg(format!("--kubeconfig={}", kubeconfig.display()));
        command.args([
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=10259",
        ]);
        let scheduler = Process::spawn("kube-scheduler", command, &folder.join("scheduler.log"))?;
        let toml = containerd_toml(folder, &programs.plugins);
        fs::write(folder.join("containerd.toml"), toml)?;
        fs::create_dir_all(folder.join("cni"))?;
        fs::write(folder.join("cni/10-machines.conflist"), network())?;
        fs::write(folder.join("kubelet.yaml"), kubelet_yaml(folder))?;
        let containerd = containerd(&programs, folder)?;
        for image in images {
            import(&programs, folder, image)?;
        }
        let kubelet = kubelet(&programs, kubeconfig, folder)?;
        Ok(Self {
            programs,
            folder: folder.to_owned(),
            containerd: Some(containerd),
            _scheduler: scheduler,
            kubelet,
        })
    }

    /// Ends containerd without a word. Containers are not its children, and run on.
    pub(crate) fn kill_containerd(&mut self) -> Result<()> {
        let mut process = self.containerd.take().context("containerd is stopped")?;
        process.signal(Signal::SIGKILL)?;
        until("the end of containerd", || process.ended())?;
        Ok(())
    }

    /// Starts it again.
    pub(crate) fn start_containerd(&mut self) -> Result<()> {
        ensure!(self.containerd.is_none(), "containerd is running");
        self.containerd = Some(containerd(&self.programs, &self.folder)?);
        Ok(())
    }

    /// An error when the kubelet has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        self.kubelet.alive()
    }
}

/// What is started first of the network plugins is in their folder, as are the others.
fn plugins(ready: &str) -> Result<PathBuf> {
    let bridge = setup::path(ready, "bridge")?;
    let folder = bridge.parent().context("a program without a folder")?;
    Ok(folder.to_owned())
}

/// A Pod without the node's network is plugged into that of the machines: there is one at a time.
fn network() -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "machines", "plugins": [{{
  "type": "bridge", "bridge": "{}",
  "ipam": {{"type": "static", "addresses": [{{"address": "{POD_ADDRESS}/24"}}],
           "routes": [{{"dst": "0.0.0.0/0", "gw": "{}"}}]}}
}}]}}"#,
        ns::BRIDGE,
        ns::ADDRESS
    )
}

fn containerd_toml(folder: &Path, plugins: &Path) -> String {
    let (folder, plugins) = (folder.display(), plugins.display());
    let runc = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|path| path.join("runc"))
        .find(|path| path.exists())
        .unwrap_or_else(|| "/usr/sbin/runc".into());
    let runc = runc.display();
    format!(
        r#"version = 3
root = "{folder}/root"
state = "/run/containerd"
[grpc]
  address = "/run/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{plugins}"]
  conf_dir = "{folder}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
  BinaryName = "{runc}"
"#
    )
}

fn kubelet_yaml(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
# Cgroup v1 and hybrid hosts work, too.
failCgroupV1: false
failSwapOn: false
cgroupsPerQOS: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix:///run/containerd.sock
podLogsDir: {folder}/pods
healthzPort: 0
evictionHard: {{nodefs.available: "1%", imagefs.available: "1%", memory.available: 10Mi}}
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
# Nobody answers there. Without one the kubelet complains of it at every look, and of a Pod's 25 events
# those leave no room for what the test waits for.
clusterDNS: [192.0.2.1]
resolvConf: ""
syncFrequency: 10s
"#
    )
}

fn containerd(programs: &Programs, folder: &Path) -> Result<Process> {
    let mut path = programs
        .containerd
        .parent()
        .context("a program without a folder")?
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(&programs.containerd);
    command
        .arg("--config")
        .arg(folder.join("containerd.toml"))
        .env("PATH", path);
    let mut process = Process::spawn("containerd", command, &folder.join("containerd.log"))?;
    until_within(START, "containerd", || {
        process.alive()?;
        let output = ctr(programs).arg("version").output()?;
        Ok(output.status.success().then_some(()))
    })?;
    Ok(process)
}

fn ctr(programs: &Programs) -> Command {
    let mut command = Command::new(&programs.ctr);
    command.args(["--address", "/run/containerd.sock", "--namespace", "k8s.io"]);
    command
}

fn import(programs: &Programs, folder: &Path, image: &Path) -> Result<()> {
    let output = ctr(programs)
        .args(["images", "import", "--no-unpack"])
        .arg(image)
        .output()?;
    ensure!(
        output.status.success(),
        "{}: {} (logs in {})",
        image.display(),
        String::from_utf8_lossy(&output.stderr).trim(),
        folder.display()
    );
    Ok(())
}

fn kubelet(programs: &Programs, kubeconfig: &Path, folder: &Path) -> Result<Process> {
    let mut command = Command::new(&programs.kubelet);
    for (flag, value) in [
        (
            "--config",
            folder.join("kubelet.yaml").display().to_string(),
        ),
        ("--kubeconfig", kubeconfig.display().to_string()),
        ("--root-dir", folder.join("kubelet").display().to_string()),
        ("--hostname-override", NAME.to_owned()),
        ("--node-ip", ns::ADDRESS.to_owned()),
    ] {
        command.arg(format!("{flag}={value}"));
    }
    Process::spawn("kubelet", command, &folder.join("kubelet.log"))
}

/// Removes the cgroups that containers left: they are the host's, and have no process any more. Those of
/// others have, and stay.
pub(crate) fn sweep() {
    let hierarchies = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let folders = hierarchies.map(|entry| entry.path().join("k8s.io"));
    for folder in folders.chain(["/sys/fs/cgroup/k8s.io".into()]) {
        for container in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(container.path());
        }
        let _ = fs::remove_dir(&folder);
    }
}
