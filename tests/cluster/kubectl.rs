//! What a person or a chart does to a cluster, done by kubectl.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::plane::ControlPlane;
use crate::support::wait::until;

/// The kinds that `crds/` defines, in the plural.
pub(crate) const KINDS: [&str; 5] = [
    "artifacts",
    "bootprofiles",
    "dhcpleases",
    "machines",
    "subnets",
];

/// Their definitions.
const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");

/// What an account may do: the `rules` of a role, as YAML.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rules<'a> {
    /// In its own namespace.
    Here(&'a str),
    /// In every namespace, and on what has none.
    Everywhere(&'a str),
}

impl ControlPlane {
    /// The kubeconfig of the one who may do everything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// Runs kubectl as the admin: what it printed, or what it complained of.
    pub(crate) fn kubectl(&self, words: &[&str]) -> Result<String> {
        self.kubectl_as(&self.kubeconfig(), words)
    }

    /// Runs kubectl with a kubeconfig.
    pub(crate) fn kubectl_as(&self, kubeconfig: &Path, words: &[&str]) -> Result<String> {
        printed(words, &self.kubectl_output(kubeconfig, words, "")?)
    }

    /// Applies manifests to the namespace `default`, or to those they name.
    pub(crate) fn apply(&self, manifests: &str) -> Result<String> {
        let words = ["apply", "-f", "-"];
        let output = self.kubectl_output(&self.kubeconfig(), &words, manifests)?;
        printed(&words, &output)
    }

    /// Runs kubectl to its end with `input`; waits ten seconds at most for each answer.
    pub(crate) fn kubectl_output(
        &self,
        kubeconfig: &Path,
        words: &[&str],
        input: &str,
    ) -> Result<Output> {
        let mut child = Command::new(&self.programs.kubectl)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--request-timeout=10s")
            .args(words)
            .env("KUBECACHEDIR", self.folder.join("kubectl-cache"))
            .env_remove("KUBECONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl")?;
        if let Some(mut pipe) = child.stdin.take() {
            // It may end before it has read all; then its own words say why.
            let _ = pipe.write_all(input.as_bytes());
        }
        Ok(child.wait_with_output()?)
    }

    /// Installs our resource definitions from `crds/`, and waits until all that depends on them works.
    /// What it warned of is in [`ControlPlane::warnings`].
    pub(crate) fn install_crds(&mut self) -> Result<String> {
        let words = ["apply", "-f", CRDS];
        let output = self.kubectl_output(&self.kubeconfig(), &words, "")?;
        let said = printed(&words, &output)?;
        let warned = String::from_utf8_lossy(&output.stderr);
        self.warnings.extend(warned.lines().map(str::to_owned));
        let mut wait = vec!["wait", "--for=condition=Established", "--timeout=30s"];
        let names = KINDS.map(|kind| format!("crd/{kind}.reveille.dev"));
        wait.extend(names.iter().map(String::as_str));
        self.kubectl(&wait)?;
        // `kubectl explain` and the check of fields read these, which follow a moment later.
        until("the schemas of our kinds", || {
            let schemas =
                self.kubectl(&["get", "--raw", "/openapi/v3/apis/reveille.dev/v1alpha1"])?;
            let all = KINDS.iter().all(|kind| schemas.contains(kind));
            Ok(all.then_some(()))
        })?;
        Ok(said)
    }

    /// Makes a service account with a role of its own; the kubeconfig that holds its token.
    ///
    /// `rules` is what stands below `rules:` of a role, such as
    /// `[{apiGroups: [reveille.dev], resources: ["*"], verbs: [get, list, watch]}]`.
    pub(crate) fn service_account(
        &self,
        namespace: &str,
        name: &str,
        rules: Rules<'_>,
    ) -> Result<PathBuf> {
        let (kind, rules, full, place) = match rules {
            Rules::Here(rules) => (
                "",
                rules,
                name.to_owned(),
                format!("namespace: {namespace}"),
            ),
            Rules::Everywhere(rules) => (
                "Cluster",
                rules,
                format!("{namespace}-{name}"),
                String::new(),
            ),
        };
        let mut manifests = format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        );
        let head = "---\napiVersion: rbac.authorization.k8s.io/v1\n";
        let meta = format!("metadata: {{name: {full}, {place}}}");
        write!(
            manifests,
            "{head}kind: {kind}Role\n{meta}\nrules:\n{}\n",
            indented(rules)
        )?;
        write!(
            manifests,
            "{head}kind: {kind}RoleBinding\n{meta}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}Role, name: {full}}}\n\
             subjects: [{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}]\n"
        )?;
        self.apply(&manifests)?;
        let token = self.kubectl(&["create", "token", name, "-n", namespace, "--duration=12h"])?;
        self.write_kubeconfig(&format!("{namespace}-{name}"), token.trim(), namespace)
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// What it printed; an error holds its complaints.
fn printed(words: &[&str], output: &Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("kubectl {}: {}", words.join(" "), said.trim());
    }
    ensure!(
        std::str::from_utf8(&output.stdout).is_ok(),
        "kubectl printed no UTF-8"
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
