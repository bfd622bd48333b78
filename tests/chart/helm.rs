//! Helm, and what it renders.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde::Deserialize as _;
use serde_json::Value;

use crate::support::setup;

/// The repository.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The chart.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/reveille");
/// Values that are tried: one file each.
const VALUES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chart/values");

/// The program, and a folder for what it leaves.
#[derive(Debug)]
pub(crate) struct Helm {
    helm: PathBuf,
    validator: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

// === impl Helm ===

impl Helm {
    /// Runs `setup.sh`. `None`: something is missing, and the script has said what.
    pub(crate) fn prepare() -> Result<Option<Self>> {
        let Some(text) = setup::run("tests/chart/setup.sh")? else {
            return Ok(None);
        };
        Ok(Some(Self {
            helm: setup::path(&text, "helm")?,
            validator: setup::path(&text, "validator")?,
            folder: tempfile::tempdir()?,
        }))
    }

    /// Runs it; it reaches no cluster.
    pub(crate) fn output(&self, words: &[&str]) -> Result<Output> {
        Command::new(&self.helm)
            .args(words)
            .env("HELM_CACHE_HOME", self.folder.path())
            .env("HELM_CONFIG_HOME", self.folder.path())
            .env("HELM_DATA_HOME", self.folder.path())
            .env("KUBECONFIG", "/dev/null")
            .current_dir(ROOT)
            .output()
            .context("helm")
    }

    /// Runs it to a good end: what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "helm {}: {}",
            words.join(" "),
            said.trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The text of all objects with these values.
    pub(crate) fn text(&self, values: &Path) -> Result<String> {
        let values = values.display().to_string();
        self.run(&["template", "edge", CHART, "-n", "boot", "-f", &values])
    }

    /// All objects with these values.
    pub(crate) fn objects(&self, values: &Path) -> Result<Vec<Value>> {
        documents(&self.text(values)?)
    }

    /// All objects with what `--set` says.
    pub(crate) fn set(&self, words: &str) -> Result<Vec<Value>> {
        documents(&self.run(&["template", "edge", CHART, "-n", "boot", "--set", words])?)
    }

    /// What is wrong with the kinds of Kubernetes in these files; empty where nothing is.
    pub(crate) fn invalid(&self, files: &[PathBuf]) -> Result<Vec<String>> {
        let output = Command::new("python3")
            .arg(self.validator.join("bin/kubernetes-validate"))
            .args(["-k", "1.33", "--strict"])
            .args(files)
            .env("PYTHONPATH", &self.validator)
            .output()
            .context("python3")?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(said.contains(" passed for resource "), "{said}");
        Ok(said
            .lines()
            .filter(|line| !line.starts_with("INFO "))
            .map(str::to_owned)
            .collect())
    }
}

/// The files of values, in the order of their names.
pub(crate) fn values() -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(VALUES)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    ensure!(files.len() >= 5, "{VALUES} has {} files", files.len());
    Ok(files)
}

/// One of them.
pub(crate) fn values_of(name: &str) -> PathBuf {
    Path::new(VALUES).join(format!("{name}.yaml"))
}

/// The documents of a YAML stream that say something.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        if !value.is_null() {
            all.push(value);
        }
    }
    Ok(all)
}

/// Those of one kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|it| it["kind"] == kind).collect()
}

/// The one of a kind.
pub(crate) fn the<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    match of_kind(objects, kind).as_slice() {
        [one] => Ok(one),
        all => anyhow::bail!("{} objects of kind {kind}", all.len()),
    }
}
