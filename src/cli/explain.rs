//! `reveille explain`: why a machine gets what it gets.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
use crate::dhcp::v6::{option as option6, request as request6, socket as socket6};
use crate::explain::v6::{Caught6, World6, packet as packet6};
use crate::explain::{self, Ask, Caught, Exchange, Explanation, World};
use crate::files::Roots;
use crate::lease::{Authority, LeaseTable, LeaseTable6};
use crate::loaders::{LoaderMetrics, Loaders, Seeded};
use crate::operator::leader::LeaderConfig;
use crate::operator::{self, Cluster, ClusterArgs};
use crate::packets::Decoded6;
use crate::packets::capture::{self, Datagram, MAX_CAPTURE};
use crate::packets::options::hex;
use crate::packets::v6::Duid;
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

    /// The address of the relay that it asks by (giaddr); over IPv6 the link that
    /// the relay names.
    #[arg(long, value_name = "ADDRESS")]
    relay: Option<IpAddr>,

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

    /// The address of the server, as machines reach it; again for its IPv6 address.
    #[arg(long, value_name = "ADDRESS")]
    server: Vec<IpAddr>,

    /// Its DUID in hex, as `server.duid` in its state folder has it. Default: of a
    /// capture, that of the server that is in it.
    #[arg(long, value_name = "HEX")]
    duid: Option<Duid>,

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
    /// Who asks, for people: it stands in the request.
    #[serde(skip)]
    who: String,
    #[serde(flatten)]
    said: Said,
}

/// What is said of a request, of DHCPv4 or DHCPv6.
#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    V4(Exchange),
    V6(Exchange<Decoded6>),
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
            ours.print(which, self.from.server4(), out)?;
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
                let ours = Ground::of(&self.from, &snapshot, None);
                explain::explain(ours.world(&snapshot), &ask)?
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
        // Who lends by the capture is who is asked about, unless it was named.
        let duid = datagrams.iter().find_map(server_duid);
        let requests: Vec<Datagram> = datagrams.into_iter().filter(is_request).collect();
        ensure!(
            !requests.is_empty(),
            "{}: no DHCP request is in it; capture with: tcpdump -w FILE udp port 67 or udp port 4011 or udp port 547",
            what()
        );
        let all = self.each(requests, duid)?;
        match self.output {
            Output::Text => {
                for one in &all {
                    match &one.said {
                        Said::V4(exchange) => write!(out, "{} {exchange}", one.who)?,
                        Said::V6(exchange) => write!(out, "{} {exchange}", one.who)?,
                    }
                }
            }
            Output::Json | Output::Yaml => self.data(&all, out)?,
        }
        Ok(all.iter().any(|one| match &one.said {
            Said::V4(exchange) => exchange.answered,
            Said::V6(exchange) => exchange.answered,
        }))
    }

    fn each(
        &self,
        requests: Vec<Datagram>,
        duid: Option<Vec<u8>>,
    ) -> anyhow::Result<Vec<Captured>> {
        let Some(snapshot) = self.from.read()? else {
            return requests.iter().map(|request| self.asked(request)).collect();
        };
        let ours = Ground::of(&self.from, &snapshot, duid);
        let world = ours.world(&snapshot);
        let subnet = self.subnet.as_deref();
        let (mut table, mut table6) = (LeaseTable::new(), LeaseTable6::new());
        let one = |request: Datagram| {
            let said = match (six(request.from), request.to.0) {
                (Some(from), IpAddr::V6(to)) => {
                    let packet = &request.payload;
                    let caught = Caught6 { packet, from, to };
                    Said::V6(packet6(world, &mut table6, subnet, caught)?)
                }
                (_, to) => {
                    let caught = Caught {
                        packet: &request.payload,
                        to: match to {
                            IpAddr::V4(to) => to,
                            IpAddr::V6(_) => Ipv4Addr::BROADCAST,
                        },
                        boot_port: boot_port(&request),
                    };
                    Said::V4(explain::packet(world, &mut table, subnet, caught)?)
                }
            };
            Ok(captured(&request, said))
        };
        requests.into_iter().map(one).collect()
    }

    /// What the running service says of a request.
    fn asked(&self, request: &Datagram) -> anyhow::Result<Captured> {
        let (packet, to) = (hex(&request.payload), request.to.0);
        let mut target = format!("/explain?packet={packet}&to={to}");
        push(&mut target, "subnet", self.subnet.as_deref());
        let said = match six(request.from) {
            Some(from) => {
                push(&mut target, "asker", Some(from));
                Said::V6(self.ask(&target)?)
            }
            None => {
                push(&mut target, "asker", boot_port(request));
                Said::V4(self.ask(&target)?)
            }
        };
        Ok(captured(request, said))
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

fn captured(request: &Datagram, said: Said) -> Captured {
    let who = match (&said, six(request.from)) {
        (Said::V6(exchange), Some(from)) => {
            let mac = request6::sender(&request.payload, *from.ip());
            let named = || {
                let seen = exchange.request.as_ref();
                seen.and_then(|seen| seen.option(option6::CLIENT_ID).map(str::to_owned))
            };
            mac.map(|mac| mac.to_string()).or_else(named)
        }
        (Said::V6(_), None) => None,
        (Said::V4(exchange), _) => exchange.request.as_ref().map(|it| it.chaddr.clone()),
    };
    Captured {
        at: request.at.0,
        who: who.unwrap_or_default(),
        said,
    }
}

/// What is sent to a server, and is no reply that a relay gets.
fn is_request(datagram: &Datagram) -> bool {
    let first = datagram.payload.first();
    match datagram.to {
        (IpAddr::V4(_), port) => [SERVER_PORT, BOOT_PORT].contains(&port) && first == Some(&1),
        (IpAddr::V6(_), port) => {
            port == socket6::SERVER_PORT && first != Some(&option6::RELAY_REPLY)
        }
    }
}

/// Who asks, where it is at the boot server's port.
fn boot_port(datagram: &Datagram) -> Option<SocketAddrV4> {
    match datagram.from {
        (IpAddr::V4(address), port) if datagram.to.1 == BOOT_PORT => {
            Some(SocketAddrV4::new(address, port))
        }
        _ => None,
    }
}

/// Who asks over IPv6.
fn six(from: (IpAddr, u16)) -> Option<SocketAddrV6> {
    match SocketAddr::from(from) {
        SocketAddr::V6(from) => Some(from),
        SocketAddr::V4(_) => None,
    }
}

/// The DHCPv6 server that a packet is of, or is sent to.
fn server_duid(datagram: &Datagram) -> Option<Vec<u8>> {
    six(datagram.from)?;
    Decoded6::read(&datagram.payload)?.data(option6::SERVER_ID)
}

/// Manifests do not tell of other servers.
static ALONE: BTreeMap<String, Wire> = BTreeMap::new();

/// What stands for the running service where there is none.
struct Ground {
    table: LeaseTable,
    table6: LeaseTable6,
    servers: BTreeMap<String, Ipv4Addr>,
    servers6: BTreeMap<String, Ipv6Addr>,
    duid: Vec<u8>,
    held: Table,
}

// === impl Ground ===

impl Ground {
    /// By what was named; `duid` where no DUID was.
    fn of(from: &FromArgs, snapshot: &Snapshot, duid: Option<Vec<u8>>) -> Self {
        let keys = || snapshot.subnets.iter().map(|subnet| subnet.key.clone());
        let named = from.duid.as_ref().map(|Duid(duid)| duid.clone());
        Self {
            table: LeaseTable::new(),
            table6: LeaseTable6::new(),
            // The address that was named stands for the server on every Subnet.
            servers: from
                .server4()
                .map(|server| keys().map(|key| (key, server)).collect())
                .unwrap_or_default(),
            servers6: from
                .server6()
                .map(|server| keys().map(|key| (key, server)).collect())
                .unwrap_or_default(),
            duid: named.or(duid).unwrap_or_else(|| STAND_IN.to_vec()),
            held: Table::new(),
        }
    }

    fn world<'a>(&'a self, snapshot: &'a Snapshot) -> World<'a> {
        World {
            snapshot,
            table: &self.table,
            told: &(),
            now: clock::now(),
            servers: &self.servers,
            wires: &ALONE,
            authority: Authority::Sole,
            held: &self.held,
            six: World6 {
                table: &self.table6,
                servers: &self.servers6,
                duid: &self.duid,
                authority: Authority::Sole,
            },
        }
    }
}

/// The DUID that stands for the server's: of an all-zero UUID, which is nobody's.
const STAND_IN: [u8; 18] = [0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

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
            loaders: found.files,
            autoexec: found.autoexec,
            own_addresses: self.server4().into_iter().collect(),
            ..Settings::default()
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

    fn server4(&self) -> Option<Ipv4Addr> {
        self.server.iter().find_map(|server| match server {
            IpAddr::V4(server) => Some(*server),
            IpAddr::V6(_) => None,
        })
    }

    fn server6(&self) -> Option<Ipv6Addr> {
        self.server.iter().find_map(|server| match server {
            IpAddr::V4(_) => None,
            IpAddr::V6(server) => Some(*server),
        })
    }
}
