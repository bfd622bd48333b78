//! `reveille explain`: why a machine gets what it gets.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::foreign::Ours;
use super::socket::{STRANGE, SocketArgs};
use crate::artifact::Table;
use crate::boot::Architecture;
use crate::clock;
use crate::dhcp::destination::{BOOT_PORT, SERVER_PORT};
use crate::dhcp::foreign::Foreign;
use crate::dhcp::lookout::Wire;
use crate::explain::{self, Ask, Caught, Exchange, Explanation, World};
use crate::files::Roots;
use crate::lease::{Authority, LeaseTable};
use crate::loaders::{LoaderMetrics, Loaders, Seeded};
use crate::operator::leader::LeaderConfig;
use crate::operator::{self, Cluster, ClusterArgs};
use crate::packets::capture::{self, Datagram, MAX_CAPTURE};
use crate::packets::options::hex;
use crate::snapshot::{Inputs, Settings, Snapshot, compile};
use crate::standalone;
use crate::telemetry::Meter;

/// Explain what a machine gets and why: the rules, each reply option by
/// option, the URLs and the script, or the name of the silence. Asks the
/// running service; with --manifests or --cluster nothing needs to run.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The machine: a MAC address, UUID, IP address or the name of its object.
    #[arg(value_name = "MAC|UUID|IP|NAME", required_unless_present_any = ["pcap", "foreign"])]
    who: Option<String>,

    /// Explain each request of this capture (pcap or pcapng) instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["who", "arch", "relay"])]
    pcap: Option<PathBuf>,

    /// Print what to write into another DHCP server instead, so that it tells
    /// machines itself what to boot: kea, dnsmasq, isc, mikrotik, opnsense or
    /// unifi. For firmware that takes no notice of a proxy. --server is our
    /// address; the loaders are those of the service.
    #[arg(
        long,
        value_name = "WHICH",
        conflicts_with_all = ["who", "pcap", "subnet", "arch", "relay", "output"]
    )]
    foreign: Option<Foreign>,

    /// The Subnet on which it asks, by name. Default: where it has an address,
    /// else each where it may.
    #[arg(long, value_name = "NAME")]
    subnet: Option<String>,

    /// As what it asks, such as x86_64-uefi. Default: what its profile is for.
    #[arg(long, value_name = "ARCH")]
    arch: Option<Architecture>,

    /// The address of the relay that it asks by (giaddr).
    #[arg(long, value_name = "ADDRESS")]
    relay: Option<Ipv4Addr>,

    /// How to say it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    from: FromArgs,

    #[command(flatten)]
    socket: SocketArgs,
}

/// What is explained: the running service, unless something else is named.
#[derive(Args, Debug)]
struct FromArgs {
    /// Explain by these manifests instead of the running service; may be given
    /// several times. No leases are known then.
    #[arg(long, value_name = "PATH", conflicts_with = "cluster")]
    manifests: Vec<PathBuf>,

    /// Explain by the resources of a cluster. No leases are known then.
    #[arg(long)]
    cluster: bool,

    /// The kubeconfig to use. Default: $KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    context: Option<String>,

    /// The namespace of the resources. Default: that of the context.
    #[arg(long, short = 'n', value_name = "NAMESPACE", requires = "cluster")]
    namespace: Option<String>,

    /// The resources of all namespaces.
    #[arg(long, short = 'A', requires = "cluster", conflicts_with = "namespace")]
    all_namespaces: bool,

    /// The address of the server, as machines reach it.
    #[arg(long, value_name = "ADDRESS")]
    server: Option<Ipv4Addr>,

    /// Its HTTP port.
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    http_port: u16,

    /// Its artifact tree, in which loaders may be.
    #[arg(
        long,
        env = "REVEILLE_ARTIFACTS",
        value_name = "DIR",
        default_value = "/srv/reveille"
    )]
    artifacts: PathBuf,

    /// A folder with iPXE loaders; may be given several times.
    #[arg(
        long,
        env = "REVEILLE_LOADERS",
        value_name = "DIR",
        value_delimiter = ':',
        default_value = "/usr/lib/ipxe"
    )]
    loaders: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// All there is, for programs
    Json,
    /// The same, easier to read
    Yaml,
}

/// A request of a capture, explained.
#[derive(Serialize)]
struct Captured {
    /// When it was sent, in milliseconds since the Unix epoch.
    at: u64,
    #[serde(flatten)]
    exchange: Exchange,
}

// === impl ExplainArgs ===

impl ExplainArgs {
    /// Explains to `out`. Exit code 1 where a machine, or every request of a
    /// capture, gets no answer.
    ///
    /// # Errors
    /// Nobody goes by that name; the service or the cluster cannot be asked.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        if let Some(which) = self.foreign {
            let ours = match self.from.read()? {
                Some(snapshot) => Ours::of(&snapshot),
                None => Ours::running(&self.socket)?,
            };
            ours.print(which, self.from.server, out)?;
            return Ok(ExitCode::SUCCESS);
        }
        let is_good = match &self.pcap {
            Some(path) => self.capture(path, out)?,
            None => self.machine(out)?,
        };
        Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn machine(&self, out: &mut impl Write) -> anyhow::Result<bool> {
        let ask = Ask {
            who: self.who.clone().unwrap_or_default(),
            subnet: self.subnet.clone(),
            architecture: self.arch,
            relay: self.relay,
        };
        let all: Vec<Explanation> = match self.from.read()? {
            Some(snapshot) => {
                let table = LeaseTable::new();
                let (servers, held) = (self.from.servers(&snapshot), Table::new());
                explain::explain(world(&snapshot, &table, &servers, &held), &ask)?
            }
            None => self.ask(&self.target(&ask))?,
        };
        match self.output {
            Output::Text => {
                for (index, one) in all.iter().enumerate() {
                    let between = if index == 0 { "" } else { "\n" };
                    write!(out, "{between}{one}")?;
                }
            }
            Output::Json | Output::Yaml => self.data(&all, out)?,
        }
        Ok(all.iter().any(|one| one.verdict != "ignored"))
    }

    fn capture(&self, path: &Path, out: &mut impl Write) -> anyhow::Result<bool> {
        let what = || format!("--pcap {}", path.display());
        let size = fs::metadata(path).with_context(what)?.len();
        ensure!(
            usize::try_from(size).is_ok_and(|size| size <= MAX_CAPTURE),
            "{}: {}",
            what(),
            capture::BadCapture::TooLarge
        );
        let file = fs::read(path).with_context(what)?;
        let datagrams = capture::read(&file).with_context(what)?;
        let requests: Vec<Datagram> = datagrams.into_iter().filter(is_request).collect();
        ensure!(
            !requests.is_empty(),
            "{}: no DHCP request is in it; capture with: tcpdump -w FILE udp port 67 or udp port 4011",
            what()
        );
        let all = self.each(requests)?;
        match self.output {
            Output::Text => {
                for one in &all {
                    let mac = one.exchange.request.as_ref();
                    let mac = mac.map_or_else(String::new, |request| request.chaddr.clone());
                    write!(out, "{mac} {}", one.exchange)?;
                }
            }
            Output::Json | Output::Yaml => self.data(&all, out)?,
        }
        Ok(all.iter().any(|one| one.exchange.answered))
    }

    fn each(&self, requests: Vec<Datagram>) -> anyhow::Result<Vec<Captured>> {
        let subnet = self.subnet.as_deref();
        let captured = |at, exchange| Captured { at, exchange };
        let Some(snapshot) = self.from.read()? else {
            let ask = |request: Datagram| {
                let (packet, to) = (hex(&request.payload), request.to.0);
                let mut target = format!("/explain?packet={packet}&to={to}");
                push(&mut target, "subnet", subnet);
                push(&mut target, "asker", boot_port(&request));
                Ok(captured(request.at.0, self.ask(&target)?))
            };
            return requests.into_iter().map(ask).collect();
        };
        let (empty, mut table) = (LeaseTable::new(), LeaseTable::new());
        let (servers, held) = (self.from.servers(&snapshot), Table::new());
        let world = world(&snapshot, &empty, &servers, &held);
        let one = |request: Datagram| {
            let caught = Caught {
                packet: &request.payload,
                to: request.to.0,
                boot_port: boot_port(&request),
            };
            let said = explain::packet(world, &mut table, subnet, caught)?;
            Ok(captured(request.at.0, said))
        };
        requests.into_iter().map(one).collect()
    }

    fn target(&self, ask: &Ask) -> String {
        let who = utf8_percent_encode(&ask.who, NON_ALPHANUMERIC);
        let mut target = format!("/explain?who={who}");
        push(&mut target, "subnet", ask.subnet.as_deref());
        push(&mut target, "arch", ask.architecture);
        push(&mut target, "relay", ask.relay);
        target
    }

    fn ask<T: DeserializeOwned>(&self, target: &str) -> anyhow::Result<T> {
        serde_json::from_str(&self.socket.get(target)?).context(STRANGE)
    }

    fn data(&self, all: &impl Serialize, out: &mut impl Write) -> anyhow::Result<()> {
        match self.output {
            Output::Yaml => write!(out, "{}", serde_saphyr::to_string(all)?)?,
            Output::Text | Output::Json => {
                serde_json::to_writer_pretty(&mut *out, all)?;
                writeln!(out)?;
            }
        }
        Ok(())
    }
}

/// Adds a part to a query.
fn push(target: &mut String, name: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        let value = value.to_string();
        let value = utf8_percent_encode(&value, NON_ALPHANUMERIC);
        target.push_str(&format!("&{name}={value}"));
    }
}

/// What is sent to a server, and is no reply that a relay gets.
fn is_request(datagram: &Datagram) -> bool {
    let to_server = [SERVER_PORT, BOOT_PORT].contains(&datagram.to.1);
    to_server && datagram.payload.first() == Some(&1)
}

/// Who asks, where it is at the boot server's port.
fn boot_port(datagram: &Datagram) -> Option<SocketAddrV4> {
    let (address, port) = datagram.from;
    (datagram.to.1 == BOOT_PORT).then(|| SocketAddrV4::new(address, port))
}

/// Manifests do not tell of other servers.
static ALONE: BTreeMap<String, Wire> = BTreeMap::new();

fn world<'a>(
    snapshot: &'a Snapshot,
    table: &'a LeaseTable,
    servers: &'a BTreeMap<String, Ipv4Addr>,
    held: &'a Table,
) -> World<'a> {
    World {
        snapshot,
        table,
        told: &(),
        now: clock::now(),
        servers,
        wires: &ALONE,
        authority: Authority::Sole,
        held,
    }
}

// === impl FromArgs ===

impl FromArgs {
    /// What would be served; `None` where the running service is asked.
    fn read(&self) -> anyhow::Result<Option<Snapshot>> {
        let inputs = if self.cluster {
            self.objects()?
        } else if self.manifests.is_empty() {
            return Ok(None);
        } else {
            for path in &self.manifests {
                ensure!(
                    path.exists(),
                    "there are no manifests at {}",
                    path.display()
                );
            }
            standalone::read_paths(&self.manifests).inputs
        };
        let settings = self.settings()?;
        Ok(Some(compile(1, &inputs, &settings).snapshot))
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let seeded = Seeded {
            folders: self.loaders.clone(),
            ..Seeded::default()
        };
        let roots = Roots::new(
            Some(self.artifacts.clone()),
            self.loaders.clone(),
            Vec::new(),
        );
        let found = Loaders::new(seeded, LoaderMetrics::register(&Meter::default())?).find(&roots);
        Ok(Settings {
            http_port: self.http_port,
            https: None,
            loaders: found.files,
            autoexec: found.autoexec,
            own_addresses: self.server.into_iter().collect(),
            held: Arc::new(Table::new()),
            stuck: Arc::default(),
        })
    }

    fn objects(&self) -> anyhow::Result<Inputs> {
        let args = ClusterArgs {
            namespace: self.namespace.clone(),
            all_namespaces: self.all_namespaces,
            manifests: Vec::new(),
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            leader: LeaderConfig::alone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime does not start")?;
        runtime.block_on(async {
            let cluster = Cluster::find(&args).await?;
            Ok(operator::list(&cluster).await?.inputs())
        })
    }

    /// The address that was named stands for the server on every Subnet.
    fn servers(&self, snapshot: &Snapshot) -> BTreeMap<String, Ipv4Addr> {
        let keys = snapshot.subnets.iter().map(|subnet| subnet.key.clone());
        self.server
            .map(|server| keys.map(|key| (key, server)).collect())
            .unwrap_or_default()
    }
}
