//! The room: a cluster, three programs with their own troubles, Prometheus beside them, and what is
//! looked at in the end.
//!
//! - `main` serves what the cluster says; its machines boot, stall and make trouble.
//! - `orphan` is one of two replicas and never reaches the API server.
//! - `full` serves a folder, with its state on a disk that is full and a log that nobody reads.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;

use crate::plane::{ControlPlane, Parts};
use crate::programs::Programs;
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::storm::Storm;
use crate::support::card::Card;
use crate::support::process::Process;
use crate::support::server::{Launch, Server, fetch};
use crate::support::wait::until;
use crate::support::{ns, setup};
use crate::trouble;

/// A boot stalls after a minute of silence, and that is seen within five seconds.
const STALL: Duration = Duration::from_secs(68);

/// Where Prometheus listens.
const PROMETHEUS: &str = "127.0.0.1:9090";

/// The admin ports of the programs.
const ADMIN: [(&str, u16); 3] = [("main", 9167), ("orphan", 9168), ("full", 9169)];

/// Alerts that the room does not provoke, with the reason.
const UNPROVOKED: [(&str, &str); 1] = [(
    "ReveilleEventsDropped",
    "the timeline folds faster than this room can make events; promtool tries the rule",
)];

/// Bridges beside the first: their address and network.
const BRIDGES: [(&str, &str); 3] = [
    ("br1", "198.51.100.1"),
    ("br2", "203.0.113.1"),
    ("br3", "10.99.0.1"),
];

const OBJECTS: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  cidr: 192.0.2.0/24
  interface: br0
  pools: [{start: 192.0.2.100, end: 192.0.2.219}]
  ipv6:
    cidr: 2001:db8:33::/64
    pools: [{start: '2001:db8:33::100', end: '2001:db8:33::1ff'}]
---
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: small}
spec:
  mode: Server
  cidr: 198.51.100.0/24
  interface: br1
  pools: [{start: 198.51.100.10, end: 198.51.100.11}]
---
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: strangers}
spec:
  mode: Server
  cidr: 203.0.113.0/24
  interface: br2
  unknownMachines: Discover
  pools: [{start: 203.0.113.10, end: 203.0.113.99}]
---
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: unplugged}
spec:
  mode: Server
  cidr: 10.98.0.0/24
  interface: absent0
  pools: [{start: 10.98.0.10, end: 10.98.0.99}]
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: linux}
spec:
  default: true
  linux:
    kernel: {path: linux/vmlinuz}
    initrd: [{path: linux/initrd.img}]
    args: ['console=ttyS0', 'reveille.home={{ boot.phone_home }}', 'reveille.answers={{ config.answers }}']
  config: [{name: answers, template: 'mac: {{ machine.mac }}'}]
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: rescue}
spec:
  linux:
    kernel: {path: linux/vmlinuz}
    initrd: [{path: linux/initrd.img}]
    args: ['reveille.home={{ boot.phone_home }}']
---
apiVersion: reveille.dev/v1alpha1
kind: Artifact
metadata: {name: nowhere}
spec: {files: [{path: linux, url: 'http://127.0.0.1:1/linux'}]}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: m1}
spec:
  interfaces: [{mac: '02:00:00:00:00:01', ip: 192.0.2.11}]
  profileRef: {name: rescue}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: twin-a}
spec: {interfaces: [{mac: '02:00:00:00:ee:01'}]}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: twin-b}
spec: {interfaces: [{mac: '02:00:00:00:ee:01'}]}
";

const FOLDER: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: busy}
spec:
  mode: Server
  cidr: 10.99.0.0/16
  interface: br3
  pools: [{start: 10.99.1.0, end: 10.99.9.255}]
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: linux}
spec: {default: true, linux: {kernel: {path: linux/vmlinuz}}}
";

/// Runs it all.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub(crate) fn inside(folder: &Path) -> Result<ExitCode> {
    let tools = fs::read_to_string(folder.join("tools"))?;
    let site = ns::own_run(folder)?;
    ns::furnish()?;
    ns::furnish_v6()?;
    for (bridge, address) in BRIDGES {
        ns::bridge(bridge, address)?;
    }
    let mut plane = ControlPlane::start(
        &Programs::read(&tools)?,
        &site.join("plane"),
        Parts {
            controllers: false,
            node: false,
        },
    )?;
    plane.install_crds()?;
    let stage = Stage::open(&mut plane, "watch", &site.join("stage"), None)?;
    stage.apply(OBJECTS)?;
    let room = Room::open(&stage, &site, &tools)?;
    println!("watch: three programs and Prometheus run");

    room.listen(&stage.folder)?;
    let storm = Storm::begin(&stage.folder)?;
    trouble::stalls()?;
    storm.lose_one()?;
    let begun = Instant::now();
    trouble::small_things()?;
    room.overflow()?;
    println!("watch: the storm goes on until boots stall");
    let mut odd = trouble::Odd::plug()?;
    while begun.elapsed() < STALL {
        odd.again()?;
        storm.solicit()?;
        sleep(Duration::from_secs(2));
    }

    let held = trouble::Held::open()?;
    room.look(&tools)?;
    drop(held);
    storm.end()?;
    room.joins()?;
    room.leave(&tools)?;
    println!("watch: ok");
    Ok(ExitCode::SUCCESS)
}

/// The programs.
struct Room {
    main: Server,
    _orphan: Server,
    _full: Server,
    _prometheus: Process,
    _way: Proxy,
    /// Keeps the pipe open that nobody reads.
    _log: fs::File,
    site: PathBuf,
}

impl Room {
    fn open(stage: &Stage<'_>, site: &Path, tools: &str) -> Result<Self> {
        let kubeconfig = stage.plane.write_kubeconfig(
            "operator",
            "of-the-admin-of-this-room",
            &stage.namespace,
        )?;
        let way = Proxy::open()?;
        way.cut();
        let nowhere = way.kubeconfig(&kubeconfig)?;
        let tree = stage.folder.join("main/artifacts/linux");
        fs::create_dir_all(&tree)?;
        for (file, megabytes) in [("vmlinuz", 12), ("initrd.img", 24)] {
            fs::write(tree.join(file), vec![b'x'; megabytes << 20])?;
        }
        let main = stage
            .operator("main", &kubeconfig)?
            .with(&["--namespace", &stage.namespace])
            .with(&["--discovered-rate", "60"])
            .spawn()?;
        let orphan = stage
            .operator("orphan", &nowhere)?
            .admin(9168)
            .with(&["--namespace", &stage.namespace])
            .with(&["--replicas=2", "--ordinal=0"])
            .with(&["--http", "127.0.0.1:8081", "--tftp", "127.0.0.1:6901"])
            .spawn()?;
        let (full, log) = full(&stage.folder)?;
        until("answers of the programs", || {
            // One of its Subnets has no interface, so it is never ready.
            let text = main.get("/metrics")?;
            let booted = text.contains("reveille_snapshot_objects{kind=\"Subnet\"} 4");
            Ok(booted.then_some(()))
        })?;
        fs::write(site.join("before"), main.get("/metrics")?)?;
        let prometheus = prometheus(site, tools, &stage.namespace)?;
        Ok(Self {
            main,
            _orphan: orphan,
            _full: full,
            _prometheus: prometheus,
            _way: way,
            _log: log,
            site: site.to_owned(),
        })
    }

    /// Turns the log of the main program up while it runs.
    fn listen(&self, folder: &Path) -> Result<()> {
        let output = Server::command()
            .args(["log-level", "dhcp=debug", "tftp=debug", "http=debug"])
            .arg("--state")
            .arg(folder.join("main/state"))
            .output()?;
        ensure!(output.status.success(), "log-level: {output:?}");
        Ok(())
    }

    /// One id joins what DHCP, TFTP and HTTP say of one boot.
    fn joins(&self) -> Result<()> {
        let log = fs::read_to_string(self.main.log())?;
        let id = |line: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix("boot=").map(str::to_owned))
        };
        let of = |words: &str| -> Vec<String> {
            let lines = log.lines().filter(|line| line.contains(words));
            lines.filter_map(id).collect()
        };
        let (dhcp, http) = (of(" request  "), of(" answered  "));
        let tftp = of(" transfer ended  ");
        let whole = |id: &&String| dhcp.contains(id) && http.contains(id);
        let joined = tftp.iter().filter(whole).count();
        println!("watch: {joined} boots have lines of DHCP, TFTP and HTTP that name them");
        ensure!(joined > 0, "no id is in lines of DHCP, TFTP and HTTP");
        Ok(())
    }

    /// More is said than the pipe takes that nobody reads.
    fn overflow(&self) -> Result<()> {
        let mut card = Card::plug("flood", "br3")?;
        trouble::flood(&mut card, || {
            let text = fetch(admin("full"), "/metrics")?;
            Ok(text.lines().any(|line| {
                line.strip_prefix("reveille_log_lines_dropped_total ")
                    .is_some_and(|value| value != "0")
            }))
        })
    }

    /// Holds dashboards and metrics to what there is now.
    fn look(&self, tools: &str) -> Result<()> {
        let mut words = vec!["moved".to_owned(), page(), path(&self.site, "before")];
        for (name, _) in ADMIN {
            let after = self.site.join(format!("after-{name}"));
            fs::write(&after, fetch(admin(name), "/metrics")?)?;
            words.push(after.display().to_string());
        }
        let moved = verify(tools, &words);
        let pictures = root().join("docs/pictures");
        let pictures = match std::env::var_os("UPDATE_GOLDEN") {
            Some(_) => pictures,
            None => self.site.join("pictures"),
        };
        let words = [
            "dashboards".to_owned(),
            format!("http://{PROMETHEUS}"),
            path(&root(), "dashboards"),
            page(),
            path(&root(), "dashboards/alerts/rules.yaml"),
            pictures.display().to_string(),
        ];
        let shown = verify(tools, &words);
        moved.and(shown)
    }

    /// Ends the main program, and asks which alerts fired.
    fn leave(self, tools: &str) -> Result<()> {
        self.main.kill()?;
        let mut words = vec![
            "alerts".to_owned(),
            format!("http://{PROMETHEUS}"),
            path(&root(), "dashboards/alerts/rules.yaml"),
        ];
        for (name, reason) in UNPROVOKED {
            println!("watch: {name} is not provoked: {reason}");
            words.push(name.to_owned());
        }
        verify(tools, &words)
    }
}

/// The program whose disk is full and whose log nobody reads, and that log.
fn full(folder: &Path) -> Result<(Server, fs::File)> {
    let (home, manifests) = (folder.join("full"), folder.join("full-manifests"));
    fs::create_dir_all(&manifests)?;
    fs::write(manifests.join("busy.yaml"), FOLDER)?;
    let state = home.join("state");
    fs::create_dir_all(&state)?;
    ns::run(&format!(
        "mount -t tmpfs -o size=8m tmpfs {}",
        state.display()
    ))?;
    let pipe = home.join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU)?;
    let log = fs::File::options().read(true).write(true).open(&pipe)?;
    let shell = format!("exec \"$@\" 2>{}", pipe.display());
    let program = Server::program();
    let program = program.to_str().context("the program's path")?;
    let pair = short_lived(&home.join("tls"))?;
    let pair = pair.to_str().context("the pair's path")?;
    let full = Launch::serve(
        &manifests,
        &folder.join("loaders"),
        &home,
        "warn,reveille::boot=info",
    )?
    .admin(9169)
    .with(&["--http", "10.99.0.1:8082", "--tftp", "10.99.0.1:6902"])
    .with(&["--https", "10.99.0.1:8443", "--tls", pair])
    .under(&["sh", "-c", &shell, "sh"], program)
    .start()?;
    // The last bytes, too: the next page of the database has no room.
    let filler = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", state.join("filler").display()))
        .output()?;
    ensure!(!filler.status.success(), "the disk has room for everything");
    Ok((full, log))
}

/// A certificate that runs out within the week, in a folder.
fn short_lived(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::default();
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(5);
    let certificate = params.self_signed(&key)?;
    fs::write(folder.join("tls.key"), key.serialize_pem())?;
    fs::write(folder.join("tls.crt"), certificate.pem())?;
    Ok(folder.to_owned())
}

/// Starts Prometheus with the rules, their `for:` shortened: a test has no five minutes.
fn prometheus(site: &Path, tools: &str, namespace: &str) -> Result<Process> {
    let folder = site.join("prometheus");
    fs::create_dir_all(&folder)?;
    let rules = fs::read_to_string(root().join("dashboards/alerts/rules.yaml"))?;
    let rules: Vec<String> = rules
        .lines()
        .map(|line| match line.split_once("for: ") {
            Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 1s"),
            _ => line.to_owned(),
        })
        .collect();
    fs::write(folder.join("rules.yaml"), rules.join("\n"))?;
    let mut config = "\
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: reveille
    static_configs:
"
    .to_owned();
    for (name, port) in ADMIN {
        // Alone in its namespace, where nobody leads.
        let namespace = match name {
            "orphan" => "orphan",
            _ => namespace,
        };
        config += &format!(
            "      - {{targets: ['127.0.0.1:{port}'], labels: {{cluster: edge, namespace: {namespace}}}}}\n"
        );
    }
    let file = folder.join("prometheus.yaml");
    fs::write(&file, config)?;
    let mut command = Command::new(setup::path(tools, "prometheus")?);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={PROMETHEUS}"));
    let mut process = Process::spawn("Prometheus", command, &folder.join("log"))?;
    until("Prometheus", || {
        process.alive()?;
        fetch(PROMETHEUS.parse()?, "/-/ready").map(Some)
    })?;
    Ok(process)
}

fn verify(tools: &str, words: &[String]) -> Result<()> {
    let output = Command::new(setup::path(tools, "python")?)
        .arg(root().join("tests/watch/verify.py"))
        .args(words)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("MPLCONFIGDIR", "/run")
        .output()
        .context("python")?;
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines() {
        println!("watch: {line}");
    }
    let wrong = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "verify.py {}: {} {wrong}",
        words[0],
        output.status
    );
    Ok(())
}

fn admin(name: &str) -> std::net::SocketAddr {
    let port = ADMIN.iter().find(|(known, _)| *known == name);
    (Ipv4Addr::LOCALHOST, port.map_or(0, |(_, port)| *port)).into()
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn page() -> String {
    path(&root(), "docs/metrics.md")
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}
