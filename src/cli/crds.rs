//! `reveille crds`: the custom resource definitions.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::api::{self, API_VERSION, GROUP, Kind};

/// First line of every file.
const HEADER: &str = "# Made by `make crds`; do not edit.\n";

/// Prints the custom resource definitions.
#[derive(Clone, Debug, clap::Args)]
pub struct CrdsArgs {
    /// Write one file each into this folder instead of printing them
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,

    /// Print the schema of each kind's spec instead, as one JSON object: for programs that make
    /// types of them. What only rules say is not in it
    #[arg(long, conflicts_with = "output_dir")]
    pub schemas: bool,
}

impl CrdsArgs {
    /// Prints or writes them.
    ///
    /// # Errors
    /// Where `out` or a file cannot be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        if self.schemas {
            serde_json::to_writer_pretty(&mut *out, &schemas()?)?;
            writeln!(out)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Some(folder) = &self.output_dir else {
            for (_, text) in all()? {
                write!(out, "---\n{text}")?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for (name, text) in all()? {
            let path = folder.join(name);
            std::fs::write(&path, format!("{HEADER}{text}"))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// File name and YAML of each definition.
///
/// # Errors
/// Where a definition cannot be written as YAML.
fn all() -> anyhow::Result<Vec<(String, String)>> {
    api::crds()
        .into_iter()
        .map(|crd| {
            let kind = &crd.spec.names.kind;
            let name = format!("{}.{GROUP}.yaml", crd.spec.names.plural);
            let text = serde_saphyr::to_string(&crd).with_context(|| format!("writing {kind}"))?;
            Ok((name, text))
        })
        .collect()
}

/// The schema of what people write of each kind, by the kind's plural.
///
/// # Errors
/// Where a definition cannot be written as JSON.
fn schemas() -> anyhow::Result<Value> {
    let mut kinds = Map::new();
    for kind in Kind::ALL {
        let crd = api::crd(kind);
        let version = crd.spec.versions.first();
        let spec = version
            .and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref())
            .and_then(|schema| schema.properties.as_ref()?.get("spec"))
            .with_context(|| format!("{} has no spec", kind.as_str()))?;
        let mut spec = serde_json::to_value(spec)?;
        strip(&mut spec);
        kinds.insert(
            crd.spec.names.plural,
            json!({"apiVersion": API_VERSION, "kind": kind.as_str(), "spec": spec}),
        );
    }
    Ok(Value::Object(kinds))
}

/// Takes out what only an API server reads.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.retain(|key, _| !key.starts_with("x-kubernetes-"));
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
