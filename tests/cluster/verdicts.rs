//! What the API server says of manifests, document by document.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use reveille::api::API_VERSION;

use crate::kubectl::KINDS;
use crate::plane::ControlPlane;

/// What was said of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The file, from the repository's root.
    pub(crate) file: String,
    /// Which document of the file, from 1; those without content are not counted.
    pub(crate) document: usize,
    /// Its kind and name, as it writes them.
    pub(crate) object: String,
    /// What was shown.
    pub(crate) text: String,
    pub(crate) outcome: Outcome,
    /// Warnings that came with it, whatever the outcome.
    pub(crate) warnings: Vec<String>,
}

/// Who refused it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted,
    /// The API server: its words.
    Server(String),
    /// kubectl, before it asked: its words.
    Client(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            document,
            object,
            ..
        } = self;
        write!(f, "{file} #{document} {object}: ")?;
        match &self.outcome {
            Outcome::Accepted => write!(f, "accepted")?,
            Outcome::Server(why) => write!(f, "refused: {why}")?,
            Outcome::Client(why) => write!(f, "not sent: {why}")?,
        }
        for warning in &self.warnings {
            write!(f, "\n  warning: {warning}")?;
        }
        Ok(())
    }
}

/// Shows each document of `files` to the API server, which stores none (`dryRun`), with unknown and
/// double fields as mistakes. Those that name no namespace go to `namespace`.
pub(crate) fn verdicts(
    plane: &ControlPlane,
    namespace: &str,
    files: &[PathBuf],
) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        for (index, document) in documents(&text).enumerate() {
            let (warnings, outcome) = shown_to(plane, namespace, &document)?;
            verdicts.push(Verdict {
                file: shown(file),
                document: index + 1,
                object: object(&document),
                text: document,
                outcome,
                warnings,
            });
        }
    }
    Ok(verdicts)
}

/// What the server says of a document, by kubectl: its warnings, and the rest.
fn shown_to(
    plane: &ControlPlane,
    namespace: &str,
    document: &str,
) -> Result<(Vec<String>, Outcome)> {
    // Before it applies anything kubectl reads the schemas of all kinds, which takes it four fifths of its
    // time. What stands in JSON as it does in YAML is sent as it is.
    let output = match Raw::of(document, namespace) {
        Some(Raw { path, json }) => {
            let words = ["create", "--raw", &path, "-f", "-"];
            plane.kubectl_output(&plane.kubeconfig(), &words, &json)?
        }
        None => {
            let place = format!("--namespace={namespace}");
            let strict = ["--dry-run=server", "--validate=strict", "-f", "-"];
            let words = [&["apply", &place][..], &strict[..]].concat();
            plane.kubectl_output(&plane.kubeconfig(), &words, document)?
        }
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (warnings, complaints): (Vec<&str>, Vec<&str>) = said
        .lines()
        .filter(|line| !line.is_empty())
        .partition(|line| line.starts_with("Warning: "));
    let outcome = match complaints.join(" / ") {
        _ if output.status.success() => Outcome::Accepted,
        why if why.starts_with("error: ") => Outcome::Client(why),
        why => Outcome::Server(why.replace(CREATING, "")),
    };
    let strip = |line: &str| line.trim_start_matches("Warning: ").to_owned();
    Ok((warnings.into_iter().map(strip).collect(), outcome))
}

/// What kubectl says before the server's words where it applies.
const CREATING: &str = "error when creating \"STDIN\": ";

/// A document as one request.
struct Raw {
    path: String,
    json: String,
}

impl Raw {
    /// `None` where it is no object of a kind of ours, with a name, or not the same in JSON.
    fn of(document: &str, namespace: &str) -> Option<Self> {
        // It refuses fields that are there twice.
        let value: serde_json::Value = serde_yaml::from_str(document).ok()?;
        if older(&value) {
            return None;
        }
        let word = |pointer: &str| value.pointer(pointer)?.as_str();
        let kind = word("/kind")?.to_ascii_lowercase();
        let kinds = KINDS
            .iter()
            .find(|kinds| kinds.strip_suffix('s') == Some(&kind))?;
        if word("/apiVersion")? != API_VERSION || word("/metadata/name")?.is_empty() {
            return None;
        }
        let namespace = match value.pointer("/metadata/namespace") {
            None => namespace,
            Some(named) => named.as_str()?,
        };
        Some(Self {
            path: format!(
                "/apis/{API_VERSION}/namespaces/{namespace}/{kinds}?dryRun=All&fieldValidation=Strict"
            ),
            json: value.to_string(),
        })
    }
}

/// Whether a word is in it that YAML 1.1, as kubectl reads it, takes for true or false.
fn older(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => ["yes", "no", "on", "off"].contains(&&*text.to_ascii_lowercase()),
        Value::Array(all) => all.iter().any(older),
        Value::Object(all) => all.values().any(older),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The manifests below a folder of the repository, in order.
pub(crate) fn manifests(folder: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
        &mut files,
    )?;
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "json")
        {
            files.push(path);
        }
    }
    Ok(())
}

fn shown(file: &Path) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    file.strip_prefix(root)
        .unwrap_or(file)
        .display()
        .to_string()
}

/// The documents of a YAML stream that hold something.
pub(crate) fn documents(text: &str) -> impl Iterator<Item = String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    documents
        .into_iter()
        .filter(move |document| document.lines().any(is_content))
}

/// Kind and name, for people; a document may lack them, or be no YAML.
fn object(document: &str) -> String {
    let value: serde_json::Value = serde_yaml::from_str(document).unwrap_or_default();
    let word = |pointer: &str| {
        let found = value.pointer(pointer).and_then(|word| word.as_str());
        found.unwrap_or("?").to_owned()
    };
    format!("{}/{}", word("/kind"), word("/metadata/name"))
}
