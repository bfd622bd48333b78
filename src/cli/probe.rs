//! `reveille probe`: asks a server what machines ask it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::boot::{Architecture, MacAddress, Uuid};
use crate::probe::{Named, Play, Player, Report, Target, known, play, run};
use crate::tls::Trusting;

/// The exit code where nothing failed but a foreign DHCP server answered.
const STRANGERS: u8 = 3;

/// Ask a server what machines ask it: is it ready, one file by HTTP, the same
/// by TFTP, and a machine's script. With --interface, be machines: ask whoever
/// answers DHCP there, follow the chain to kernel and initrd, and say which
/// servers are foreign. Exit code 1 when a step fails, 3 when none does and a
/// foreign DHCP server answered.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// The server's address or name.
    #[arg(value_name = "SERVER", required_unless_present = "interface")]
    server: Option<String>,

    #[command(flatten)]
    play: PlayArgs,

    /// The machine whose script is asked for, and that is played. Default at an
    /// interface: one that stands for this host.
    #[arg(long, value_name = "MAC")]
    mac: Option<MacAddress>,

    /// The file to fetch. Default: a loader that the server has.
    #[arg(long, value_name = "PATH")]
    file: Option<String>,

    /// Write a small file into this folder by TFTP and read it back, where the
    /// server takes files (--tftp-uploads). It stays there.
    #[arg(long, value_name = "FOLDER", requires = "server")]
    tftp_put: Option<String>,

    /// The port of HTTP for machines.
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    http_port: u16,

    /// The port of TFTP.
    #[arg(long, value_name = "PORT", default_value_t = 69)]
    tftp_port: u16,

    /// The admin port.
    #[arg(long, value_name = "PORT", default_value_t = 9167)]
    admin_port: u16,

    /// The address or name of the admin port, where it is another.
    #[arg(long, value_name = "SERVER")]
    admin_host: Option<String>,

    /// How long each step may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,

    /// How to say it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// What is played at an interface.
#[derive(Args, Clone, Debug)]
struct PlayArgs {
    /// Be machines on this interface. Needs root, or CAP_NET_BIND_SERVICE and
    /// CAP_NET_RAW, and over IPv6 CAP_NET_ADMIN. Nothing is sent anywhere but to
    /// its link.
    #[arg(long, short, value_name = "NAME")]
    interface: Option<String>,

    /// The machines that are played; may be given several times.
    #[arg(
        long = "as",
        value_name = "CLIENT",
        value_enum,
        value_delimiter = ',',
        default_value = "bios,uefi,http,ipxe,plain",
        requires = "interface"
    )]
    players: Vec<Player>,

    /// The processor and firmware of the UEFI machines.
    #[arg(long, value_name = "ARCH", default_value = "x86_64-uefi")]
    arch: Architecture,

    /// The UUID of the machine that is played.
    #[arg(long, value_name = "UUID", requires = "interface")]
    uuid: Option<Uuid>,

    /// A DHCP or boot server that is ours; may be given several times. SERVER is
    /// one, too. Every other that answers is foreign. A DHCPv6 server is named by
    /// its DUID (server.duid in its state folder), in hex.
    #[arg(long, value_name = "ADDRESS|DUID", requires = "interface")]
    ours: Vec<Named>,

    /// An address that is not on the link and may be asked all the same, by the
    /// interface; may be given several times.
    #[arg(long, value_name = "ADDRESS", requires = "interface")]
    also: Vec<IpAddr>,

    /// The authority that the machines know which are played (PEM): what they are
    /// told to fetch over HTTPS is fetched. `reveille ca` prints ours.
    #[arg(long, value_name = "FILE", requires = "interface")]
    ca: Option<PathBuf>,

    /// Where the relay sends to that is played. Default: everyone on the link.
    #[arg(long, value_name = "ADDRESS", requires = "interface")]
    relay_to: Option<Ipv4Addr>,

    /// How long offers are waited for, in seconds: every server shall be heard,
    /// and some look for three whether an address is free.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    wait: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line a step
    #[default]
    Text,
    /// All there is, for programs
    Json,
}

impl ProbeArgs {
    /// Asks and prints to `out`.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime does not start")?;
        let report = runtime.block_on(self.ask())?;
        match self.output {
            Output::Text => {
                for step in &report.steps {
                    writeln!(out, "{step}")?;
                }
                for server in &report.servers {
                    writeln!(out, "{server}")?;
                }
            }
            Output::Json => {
                serde_json::to_writer_pretty(&mut *out, &report)?;
                writeln!(out)?;
            }
        }
        Ok(match (report.is_good(), report.has_strangers()) {
            (false, _) => ExitCode::FAILURE,
            (true, true) => ExitCode::from(STRANGERS),
            (true, false) => ExitCode::SUCCESS,
        })
    }

    async fn ask(&self) -> anyhow::Result<Report> {
        let mut report = Report {
            server: self.server.clone(),
            servers: Vec::new(),
            steps: Vec::new(),
        };
        if let Some(server) = &self.server {
            report.steps = run(&self.target(server)).await;
        }
        if let Some(interface) = &self.play.interface {
            let mut plan = self.play(interface)?;
            if let Some(server) = &self.server {
                plan.known = known(&self.target(server)).await;
            }
            let (steps, servers) = play(&plan).await?;
            report.steps.extend(steps);
            report.servers = servers;
        }
        Ok(report)
    }

    fn target(&self, server: &str) -> Target {
        Target {
            server: server.to_owned(),
            admin: self.admin_host.clone(),
            admin_port: self.admin_port,
            http_port: self.http_port,
            tftp_port: self.tftp_port,
            file: self.file.clone(),
            put: self.tftp_put.clone(),
            mac: self.mac,
            patience: Duration::from_secs(self.timeout),
        }
    }

    fn play(&self, interface: &str) -> anyhow::Result<Play> {
        let named = self.server.as_ref().and_then(|server| server.parse().ok());
        let named = named.map(Named::Address);
        let trusting = self.play.ca.as_ref().map(|file| {
            let pem = std::fs::read(file).map_err(anyhow::Error::from);
            let trusting = pem.and_then(|pem| Ok(Trusting::new(&pem)?));
            let cure = "name the certificate of an authority; `reveille ca` prints ours";
            trusting.with_context(|| format!("--ca {}: {cure}", file.display()))
        });
        Ok(Play {
            trusting: trusting.transpose()?,
            interface: interface.to_owned(),
            players: self.play.players.clone(),
            architecture: self.play.arch,
            mac: self.mac,
            uuid: self.play.uuid,
            ours: self.play.ours.iter().cloned().chain(named).collect(),
            also: self.play.also.clone(),
            relay_to: self.play.relay_to,
            known: BTreeMap::new(),
            wait: Duration::from_secs(self.play.wait),
            patience: Duration::from_secs(self.timeout),
        })
    }
}
