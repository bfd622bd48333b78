//! `reveille rbac`: what the operator may do in a cluster.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::operator::rbac;

/// Prints the ServiceAccount, roles and bindings that the operator needs, and
/// nothing more: `reveille rbac -n NAMESPACE | kubectl apply -f -`.
#[derive(Clone, Debug, Args)]
pub struct RbacArgs {
    /// The namespace that the operator runs in.
    #[arg(
        long,
        short = 'n',
        value_name = "NAMESPACE",
        default_value = "reveille"
    )]
    pub namespace: String,

    /// The name of all of them.
    #[arg(long, value_name = "NAME", default_value = "reveille")]
    pub name: String,

    /// It serves the resources of all namespaces.
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,

    /// A Secret of that namespace that an Artifact names by `secretRef`, or an
    /// answer file by `secretRefs`; may be given several times. The operator may
    /// read these and no others.
    #[arg(long = "secret", value_name = "NAME")]
    pub secrets: Vec<String>,

    /// A ConfigMap that an answer file names by `configMapRefs`; likewise.
    #[arg(long = "config-map", value_name = "NAME")]
    pub config_maps: Vec<String>,
}

impl RbacArgs {
    /// Prints them.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        writeln!(
            out,
            "# What the operator asks of the API server, and what for:"
        )?;
        for need in rbac::NEEDS {
            let (verbs, resources) = (need.verbs.join(", "), need.resources.join(", "));
            writeln!(out, "#   {verbs} {resources}: {}", need.why)?;
        }
        let mut objects = rbac::manifests(&self.namespace, &self.name, self.all_namespaces)?;
        if !self.secrets.is_empty() || !self.config_maps.is_empty() {
            let (secrets, maps) = (&self.secrets, &self.config_maps);
            objects.extend(rbac::values(&self.namespace, &self.name, secrets, maps)?);
        }
        for object in objects {
            let text = serde_saphyr::to_string(&object).context("writing YAML")?;
            write!(out, "---\n{text}")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
