//! A control plane: etcd, the API server and its controllers, on loopback of this room.
//!
//! Its ports are fixed, because nobody else is here; so a room has one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::programs::Programs;
use crate::support::ns;
use crate::support::process::Process;
use crate::support::wait::{until, until_within};

/// Where the API server listens; its own certificate names the address.
pub(crate) const API: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6443);

/// Where it listens with a node beside it: the address by which Pods find it. On loopback it needs no
/// kube-proxy.
pub(crate) const API_OF_PODS: std::net::SocketAddr = std::net::SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1)),
    443,
);

/// How long it may take to start, whatever else the host does. Three seconds are usual.
const START: Duration = Duration::from_secs(90);

/// What goes with the account `admin`. The room has no door to the outside.
const TOKEN: &str = "of-the-admin-of-this-room";

/// Each request is noted before it is answered, and with its outcome after that.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: Metadata}]
";

/// Which parts are started beside etcd and the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Namespaces end, objects without an owner go, each namespace has its `default` account.
    pub(crate) controllers: bool,
    /// A node that runs Pods is to come; [`ns::ADDRESS`](crate::support::ns::ADDRESS) is its address.
    pub(crate) node: bool,
}

/// The control plane. It ends with this value.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    pub(crate) programs: Programs,
    pub(crate) folder: PathBuf,
    /// What it said of our resource definitions when they came.
    pub(crate) warnings: Vec<String>,
    node: bool,
    api_server: Option<Process>,
    etcd: Option<Process>,
    controllers: Option<Process>,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Starts it with its data, logs and keys in `folder`, and waits until it is ready.
    pub(crate) fn start(programs: &Programs, folder: &Path, parts: Parts) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(
            folder.join("tokens.csv"),
            format!("{TOKEN},admin,admin,system:masters\n"),
        )?;
        fs::write(folder.join("audit.yaml"), AUDIT)?;
        key(&folder.join("accounts.key"))?;
        if parts.node {
            ns::run(&format!(
                "ip address replace {}/32 dev lo",
                API_OF_PODS.ip()
            ))?;
        }
        let etcd = etcd(programs, folder)?;
        let mut plane = Self {
            programs: programs.clone(),
            folder: folder.to_owned(),
            warnings: Vec::new(),
            node: parts.node,
            api_server: None,
            etcd: Some(etcd),
            controllers: None,
        };
        plane.write_kubeconfig("admin", TOKEN, "default")?;
        plane.start_api_server()?;
        if parts.controllers {
            plane.controllers = Some(plane.start_controllers()?);
        }
        Ok(plane)
    }

    /// Starts the API server, with the data that is there, and waits until it is ready.
    pub(crate) fn start_api_server(&mut self) -> Result<()> {
        ensure!(self.api_server.is_none(), "the API server is running");
        let mut command = Command::new(&self.programs.api_server);
        let file = |name: &str| self.folder.join(name).display().to_string();
        let [key, certificates] = ["accounts.key", "certificates"].map(file);
        let [tokens, policy, log] = ["tokens.csv", "audit.yaml", "audit.log"].map(file);
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            &format!("--bind-address={}", self.api().ip()),
            &format!("--secure-port={}", self.api().port()),
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            &format!("--service-account-key-file={key}"),
            &format!("--service-account-signing-key-file={key}"),
            &format!("--cert-dir={certificates}"),
            &format!("--token-auth-file={tokens}"),
            &format!("--audit-policy-file={policy}"),
            &format!("--audit-log-path={log}"),
        ]);
        match self.node {
            // The way to the kubelet's logs is the node's address, which is no name here.
            true => command.args([
                &format!("--advertise-address={}", ns::ADDRESS),
                "--kubelet-preferred-address-types=InternalIP",
            ]),
            false => command.arg(format!("--advertise-address={}", API.ip())),
        };
        let log = self.folder.join("kube-apiserver.log");
        let mut process = Process::spawn("the API server", command, &log)?;
        let ready = until_within(START, "a ready API server", || {
            Ok(match process.ended()? {
                Some(_) => Some(process.alive()),
                None if self.is_ready() && self.etcd()?.ended()?.is_none() => Some(Ok(())),
                None => None,
            })
        });
        ready
            .and_then(|ended_early| ended_early)
            .with_context(|| process.last_words())?;
        self.api_server = Some(process);
        Ok(())
    }

    /// Tells the API server to end, and waits until it has: clients are told to go.
    pub(crate) fn stop_api_server(&mut self) -> Result<()> {
        self.end_api_server(Signal::SIGTERM)
    }

    /// Ends the API server without a word: clients see their connections reset.
    pub(crate) fn kill_api_server(&mut self) -> Result<()> {
        self.end_api_server(Signal::SIGKILL)
    }

    /// Stops the API server's clock: connections stay, are made even, and nothing is answered.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.api_server()?.signal(Signal::SIGSTOP)
    }

    /// Ends [`ControlPlane::freeze`].
    pub(crate) fn thaw(&self) -> Result<()> {
        self.api_server()?.signal(Signal::SIGCONT)
    }

    /// Sends etcd a signal: SIGSTOP freezes it, and the API server's answers with it.
    pub(crate) fn signal_etcd(&mut self, signal: Signal) -> Result<()> {
        self.etcd()?.signal(signal)
    }

    /// Ends etcd without a word: the API server answers with errors of its own.
    pub(crate) fn kill_etcd(&mut self) -> Result<()> {
        let mut process = self.etcd.take().context("etcd is stopped")?;
        process.signal(Signal::SIGKILL)?;
        until("the end of etcd", || process.ended())?;
        Ok(())
    }

    /// Starts etcd with the data that is there.
    pub(crate) fn start_etcd(&mut self) -> Result<()> {
        ensure!(self.etcd.is_none(), "etcd is running");
        self.etcd = Some(etcd(&self.programs, &self.folder)?);
        Ok(())
    }

    fn etcd(&mut self) -> Result<&mut Process> {
        self.etcd.as_mut().context("etcd is stopped")
    }

    /// The API server, where it runs.
    pub(crate) fn api_server(&self) -> Result<&Process> {
        self.api_server
            .as_ref()
            .context("the API server is stopped")
    }

    /// Writes a kubeconfig for a token; its context's namespace is `namespace`.
    pub(crate) fn write_kubeconfig(
        &self,
        name: &str,
        token: &str,
        namespace: &str,
    ) -> Result<PathBuf> {
        let path = self.folder.join(format!("{name}.kubeconfig"));
        let authority = self.folder.join("certificates/apiserver.crt");
        let authority = authority.display();
        let api = self.api();
        let text = format!(
            "\
apiVersion: v1
kind: Config
current-context: room
contexts: [{{name: room, context: {{cluster: room, user: {name}, namespace: {namespace}}}}}]
clusters: [{{name: room, cluster: {{server: \"https://{api}\", certificate-authority: {authority}}}}}]
users: [{{name: {name}, user: {{token: {token}}}}}]
"
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Where the API server listens.
    const fn api(&self) -> std::net::SocketAddr {
        match self.node {
            true => API_OF_PODS,
            false => API,
        }
    }

    fn is_ready(&self) -> bool {
        self.kubectl(&["get", "--raw", "/readyz"]).is_ok()
            && self.kubectl(&["get", "namespace", "default"]).is_ok()
    }

    fn end_api_server(&mut self, signal: Signal) -> Result<()> {
        let mut process = self
            .api_server
            .take()
            .context("the API server is stopped")?;
        process.signal(signal)?;
        until_within(START, "the end of the API server", || process.ended())?;
        Ok(())
    }

    fn start_controllers(&self) -> Result<Process> {
        let mut command = Command::new(&self.programs.controllers);
        let file = |name: &str| self.folder.join(name).display().to_string();
        let [kubeconfig, key] = ["admin.kubeconfig", "accounts.key"].map(file);
        let authority = file("certificates/apiserver.crt");
        command.args([
            &format!("--kubeconfig={kubeconfig}"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=10257",
            &format!("--service-account-private-key-file={key}"),
            &format!("--root-ca-file={authority}"),
        ]);
        let log = self.folder.join("kube-controller-manager.log");
        let mut process = Process::spawn("kube-controller-manager", command, &log)?;
        until("the account that controllers give each namespace", || {
            process.alive()?;
            let found = self.kubectl(&["get", "serviceaccount", "default"])?;
            Ok(Some(found))
        })
        .with_context(|| process.last_words())?;
        Ok(process)
    }
}

fn etcd(programs: &Programs, folder: &Path) -> Result<Process> {
    let mut command = Command::new(&programs.etcd);
    command.arg("--data-dir").arg(folder.join("etcd")).args([
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        // What is lost when the host dies is lost with the room.
        "--unsafe-no-fsync",
    ]);
    Process::spawn("etcd", command, &folder.join("etcd.log"))
}

/// Makes the key that tokens of service accounts are signed with.
fn key(path: &Path) -> Result<()> {
    let output = Command::new("openssl")
        .args([
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
        ])
        .arg(path)
        .output()
        .context("openssl")?;
    ensure!(
        output.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
