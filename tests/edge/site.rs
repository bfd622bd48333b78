//! The edge site: control plane, node, network, Helm.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lan::Lan;
use crate::node::{NAME, Node};
use crate::plane::{ControlPlane, Parts};
use crate::programs::Programs;
use crate::support::assets::Assets;
use crate::support::setup;
use crate::support::wait::until_within;

/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/reveille");
/// The namespace and the name of the release.
pub(crate) const NAMESPACE: &str = "boot";
/// Selects the server's Pod.
pub(crate) const PODS: &str = "app.kubernetes.io/component=server";
/// What the image may have, packed, with all loaders.
const IMAGE: u64 = 40_000_000;
/// How long a Pod may take, whatever else the host does.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// The site. Everything in it ends with the room.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) plane: ControlPlane,
    pub(crate) node: Node,
    pub(crate) lan: Lan,
    pub(crate) assets: Assets,
    pub(crate) folder: PathBuf,
    helm: PathBuf,
    began: Instant,
}

// === impl Site ===

impl Site {
    /// Starts everything, and waits until the node is ready.
    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    pub(crate) fn open(ready: &str, folder: &Path) -> Result<Self> {
        let began = Instant::now();
        let lan = Lan::open()?;
        let parts = Parts {
            controllers: true,
            node: true,
        };
        let plane = ControlPlane::start(&Programs::read(ready)?, &folder.join("plane"), parts)?;
        println!(
            "{:6.1} s  the control plane is ready",
            began.elapsed().as_secs_f64()
        );
        let images = ["pause", "image"].map(|name| setup::path(ready, name));
        let images = images.into_iter().collect::<Result<Vec<_>>>()?;
        // What is downloaded to each node.
        let size = std::fs::metadata(&images[1])?.len();
        ensure!(size < IMAGE, "the image has {size} bytes");
        println!(
            "          the image has {:.1} MB, packed",
            size as f64 / 1e6
        );
        let node = Node::start(ready, &plane.kubeconfig(), &folder.join("node"), &images)?;
        let mut site = Self {
            plane,
            node,
            lan,
            assets: Assets::read(ready)?,
            folder: folder.to_owned(),
            helm: setup::path(ready, "helm")?,
            began,
        };
        until_within(LIMIT, "the node", || {
            site.node.alive()?;
            let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
            let ready = site.kubectl(&["get", "node", NAME, "-o", path])?;
            Ok((ready == "True").then_some(()))
        })?;
        site.say("the node is ready");
        Ok(site)
    }

    /// Prints a line with the time since the start.
    pub(crate) fn say(&self, words: &str) {
        println!("{:6.1} s  {words}", self.began.elapsed().as_secs_f64());
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Runs kubectl in our namespace, as the admin.
    pub(crate) fn kubectl(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", NAMESPACE];
        all.extend(words);
        self.plane.kubectl(&all)
    }

    /// Applies manifests to our namespace.
    pub(crate) fn apply(&self, manifests: &str) -> Result<String> {
        let file = self.folder.join("applied.yaml");
        std::fs::write(&file, manifests)?;
        self.kubectl(&["apply", "-f", &file.display().to_string()])
    }

    /// Runs Helm as the admin: what it printed.
    pub(crate) fn helm(&self, words: &[&str]) -> Result<String> {
        let output = self.helm_output(words)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("helm {}: {}\n{text}", words.join(" "), said.trim());
        }
        Ok(text)
    }

    /// Runs Helm to its end.
    pub(crate) fn helm_output(&self, words: &[&str]) -> Result<Output> {
        let home = self.folder.join("helm");
        Command::new(&self.helm)
            .args(words)
            .arg("--kubeconfig")
            .arg(self.plane.kubeconfig())
            .env("HELM_CACHE_HOME", &home)
            .env("HELM_CONFIG_HOME", &home)
            .env("HELM_DATA_HOME", &home)
            .env("KUBECACHEDIR", home.join("kube"))
            .output()
            .context("helm")
    }

    /// Installs or upgrades a release, with values of the test's and more.
    pub(crate) fn release(
        &self,
        verb: &str,
        name: &str,
        namespace: &str,
        more: &[&str],
    ) -> Result<String> {
        let values = self.folder.join("values.yaml").display().to_string();
        let mut words = vec![
            verb,
            name,
            CHART,
            "--namespace",
            namespace,
            "--values",
            &values,
        ];
        words.extend(more);
        self.helm(&words)
    }

    /// The server's Pod that is ready: its name. There is one.
    pub(crate) fn pod(&self) -> Result<String> {
        let path = "jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type==\"Ready\")].status} \
                    {.metadata.deletionTimestamp}{\"\\n\"}{end}";
        let pods = self.kubectl(&["get", "pods", "-l", PODS, "-o", path])?;
        let ready: Vec<&str> = pods
            .lines()
            .filter_map(|line| line.trim().strip_suffix(" True"))
            .collect();
        match ready.as_slice() {
            [one] => Ok((*one).to_owned()),
            _ => bail!("not one Pod that is ready: {pods}"),
        }
    }

    /// Waits for it.
    pub(crate) fn ready_pod(&self) -> Result<String> {
        until_within(LIMIT, "a Pod that is ready", || Ok(Some(self.pod()?)))
    }

    /// The server's process, as the node sees it.
    pub(crate) fn process(&self) -> Result<u32> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if line.starts_with(b"/usr/bin/reveille\0operator\0") {
                found.push(pid);
            }
        }
        match found.as_slice() {
            [one] => Ok(*one),
            _ => bail!("{} processes of the server", found.len()),
        }
    }

    /// Its resident memory, in MiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
            .context("no VmRSS")?;
        Ok(kib / 1024.0)
    }

    /// Has a host ask for an address, which it then has.
    pub(crate) fn lease(&self, host: &str) -> Result<String> {
        self.lan.udhcpc(&self.folder, host)
    }

    /// Waits for words in what `kubectl describe pods` says of the server.
    pub(crate) fn described(&self, words: &str) -> Result<String> {
        self.describes(&["describe", "pods", "-l", PODS], words)
    }

    /// Waits for words in what kubectl says; the line that has them.
    pub(crate) fn describes(&self, command: &[&str], words: &str) -> Result<String> {
        until_within(
            LIMIT,
            &format!("`{words}` in kubectl {}", command.join(" ")),
            || {
                let text = self.kubectl(command)?;
                let line = text.lines().find(|line| line.contains(words));
                Ok(line.map(|line| line.trim().to_owned()))
            },
        )
    }

    /// Prints what helps to see why something failed.
    pub(crate) fn explain(&self) {
        for words in [
            &[
                "get",
                "pods,events,deployments,machines,subnets",
                "-o",
                "wide",
            ][..],
            &["describe", "pods"],
            &["logs", "-l", PODS, "--tail=40"],
            &["logs", "-l", PODS, "--tail=40", "--previous"],
        ] {
            match self.kubectl(words) {
                Ok(text) => println!("--- kubectl {}\n{text}", words.join(" ")),
                Err(error) => println!("--- {error:#}"),
            }
        }
    }
}

/// That a text has words, or else what it says.
pub(crate) fn has(text: &str, words: &str) -> Result<()> {
    ensure!(text.contains(words), "no `{words}` in: {text}");
    Ok(())
}
