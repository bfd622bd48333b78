//! The command line: one file per subcommand.

pub mod approve;
pub mod artifacts;
pub mod ca;
pub mod check;
pub mod completions;
pub mod crds;
pub mod explain;
mod foreign;
pub mod get;
pub mod leases;
pub mod loaders;
pub mod log;
pub mod log_level;
pub mod man;
mod metrics;
pub mod operator;
pub mod packets;
pub mod probe;
pub mod rbac;
pub mod reference;
pub mod render;
pub mod serve;
mod service;
pub mod settings;
pub mod socket;
pub mod status;
mod table;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::{Kind, ObjectRef};
use crate::lease::Networks;
use crate::standalone;

/// Wakes bare metal: boots machines from the network, as a cluster or a folder of manifests says.
#[derive(Debug, Parser)]
#[command(name = "reveille", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve DHCP, TFTP and HTTP from a folder of manifests.
    Serve(Box<serve::ServeArgs>),
    /// Serve DHCP, TFTP and HTTP as the resources of a cluster say.
    Operator(Box<operator::OperatorArgs>),
    /// Find every mistake in manifests.
    Check(check::CheckArgs),
    /// Show what a machine would be sent: its script, or an answer file.
    Render(render::RenderArgs),
    /// Say whether the running service can serve boots, and what is wrong.
    Status(status::StatusArgs),
    /// Show the running service's machines, boots, leases, Subnets and profiles.
    Get(get::GetArgs),
    /// Tell the story of a machine's boots, also as it happens.
    Log(log::LogArgs),
    /// Show the last packets of DHCP and DHCPv6 of a machine, option by option.
    Packets(packets::PacketsArgs),
    /// Show or change what the running service logs.
    LogLevel(log_level::LogLevel),
    /// Explain what a machine gets, and why.
    Explain(Box<explain::ExplainArgs>),
    /// Ask a server what machines ask it, and say what is wrong.
    Probe(probe::ProbeArgs),
    /// Approve a machine that was discovered.
    Approve(approve::ApproveArgs),
    /// Show the loader of each architecture and where it is from.
    Loaders(loaders::LoadersArgs),
    /// Print the certificate of the authority that signs for HTTPS.
    Ca(ca::CaArgs),
    /// Fetch, list or verify artifacts.
    Artifacts(artifacts::ArtifactsArgs),
    /// Show, export or import leases while the service is stopped.
    Leases(leases::Leases),
    /// Print the custom resource definitions.
    Crds(crds::CrdsArgs),
    /// Print the reference of all resources, or of all metrics.
    Reference(reference::ReferenceArgs),
    /// Print what the operator must be allowed to do in a cluster.
    Rbac(rbac::RbacArgs),
    /// Print what completes the words of this program in a shell.
    Completions(completions::CompletionsArgs),
    /// Write the manual pages of this program.
    Man(man::ManArgs),
    /// Print the settings of `serve` and `operator` as JSON.
    #[command(hide = true)]
    Settings(settings::SettingsArgs),
}

impl Cli {
    /// Runs the subcommand; an error is said on standard error.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let mut out = io::stdout().lock();
        let result = match self.command {
            Command::Serve(args) => args.run(),
            Command::Operator(args) => args.run(),
            Command::Check(args) => args.run(&mut out),
            Command::Render(args) => args.run(&mut out),
            Command::Status(args) => args.run(&mut out),
            Command::Get(args) => args.run(&mut out),
            Command::Log(args) => args.run(&mut out),
            Command::Packets(args) => args.run(&mut out),
            Command::LogLevel(args) => args.run(&mut out),
            Command::Explain(args) => args.run(&mut out),
            Command::Probe(args) => args.run(&mut out),
            Command::Approve(args) => args.run(&mut out),
            Command::Loaders(args) => args.run(&mut out),
            Command::Ca(args) => args.run(&mut out),
            Command::Artifacts(args) => args.run(&mut out),
            Command::Leases(args) => args.run(&mut out, &subnets),
            Command::Crds(args) => args.run(&mut out),
            Command::Reference(args) => args.run(&mut out),
            Command::Rbac(args) => args.run(&mut out),
            Command::Completions(args) => args.run(&mut out),
            Command::Man(args) => args.run(),
            Command::Settings(args) => args.run(&mut out),
        };
        // A reader that went away (`| head`) is no mistake.
        let _ = out.flush();
        match result {
            Ok(code) => code,
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "reveille: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

/// The Subnets of the manifests at `path`, for what needs no more of them.
fn subnets(path: &Path) -> anyhow::Result<Networks> {
    let loaded = standalone::read_paths(&[path.to_owned()]);
    let mut subnets = Networks::default();
    for subnet in &loaded.inputs.subnets {
        let object = ObjectRef::of(Kind::Subnet, &subnet.metadata);
        let key = format!("{}/{}", object.namespace, object.name);
        if let Some(network) = &subnet.spec.ipv6 {
            subnets.v6.push((key.clone(), network.cidr));
        }
        if let Some(cidr) = subnet.spec.cidr {
            subnets.v4.push((key, cidr));
        }
    }
    anyhow::ensure!(
        !subnets.is_empty(),
        "there is no Subnet in {}; `reveille check {0}` says more",
        path.display()
    );
    Ok(subnets)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}
