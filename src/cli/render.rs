//! `reveille render`: what a machine would be sent, without sending it.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail, ensure};

use crate::api::{ConfigFile, Interface, Severity, SubnetSpec};
use crate::artifact::secrets::{Secret, Secrets};
use crate::boot::MacAddress;
use crate::script::{
    Asked, Caller, Dialect, SCRIPT_NAME, SecretValues, Urls, Values, chosen_script, context,
    render_config,
};
use crate::snapshot::{
    Acquaintances, Choice, Identity, MachineEntry, ObjectName, Pick, Plan, Settings, Snapshot,
    SubnetEntry, compile,
};
use crate::standalone::read_paths;
use crate::timeline::BootId;

/// Shows the script or an answer file of a machine as it would be sent. What a
/// boot makes stands there by name: its token is TOKEN.
#[derive(Clone, Debug, clap::Args)]
pub struct RenderArgs {
    /// The machine: its name, or namespace/name
    #[arg(value_name = "MACHINE")]
    pub machine: String,

    /// Files, and folders with everything below them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// What to show: boot.ipxe, or the name of an answer file of its profile
    #[arg(long, short, value_name = "NAME", default_value = SCRIPT_NAME)]
    pub file: String,

    /// What was chosen from its menu, by the names of entries: installers/debian.
    /// Passwords are taken as known
    #[arg(long, short, value_name = "ENTRY", value_parser = choice)]
    pub entry: Option<Choice>,

    /// The folder of Secrets: NAME/KEY, or NAME.KEY. Without it, what they are
    /// is shown in place of their values
    #[arg(long, env = "REVEILLE_SECRETS", value_name = "DIR")]
    pub secrets: Option<PathBuf>,

    /// The folder of ConfigMaps that answer files include: NAME/KEY
    #[arg(long, env = "REVEILLE_CONFIG_MAPS", value_name = "DIR")]
    pub config_maps: Option<PathBuf>,

    /// Our address as the machine reaches it. Default: the Subnet's nextServer,
    /// else the first address of its network
    #[arg(long, value_name = "ADDRESS")]
    pub server: Option<IpAddr>,
}

/// Stands for a boot's token, and for what says that a password was known.
const TOKEN: &str = "TOKEN";

fn choice(text: &str) -> Result<Choice, String> {
    Choice::parse(text).ok_or_else(|| "write the names of entries as installers/debian".to_owned())
}

/// Knows a boot of every machine.
#[derive(Debug)]
struct Preview;

impl Acquaintances for Preview {
    fn identity(&self, mac: MacAddress) -> Identity {
        Identity {
            asked: true,
            ..mac.into()
        }
    }

    fn token_for(&self, _mac: MacAddress, _what: &str) -> Option<String> {
        Some(TOKEN.to_owned())
    }

    fn boot_of(&self, mac: MacAddress, _what: &str, token: &str) -> Option<BootId> {
        (token == TOKEN).then_some(BootId { mac, number: 0 })
    }
}

/// A machine at its place in the network.
struct Seat<'a> {
    snapshot: &'a Snapshot,
    subnet: &'a SubnetEntry,
    mac: MacAddress,
    address: IpAddr,
    urls: Urls,
}

impl RenderArgs {
    /// Renders and prints.
    ///
    /// # Errors
    /// Manifests with mistakes, names of what is not there, templates that do
    /// not render.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let snapshot = self.compile()?;
        let machine = self.find(&snapshot)?;
        let seat = self.seat(&snapshot, machine)?;
        let mut plan = seat.plan();
        let asked = Asked {
            choice: self.entry.clone().unwrap_or_default(),
            pass: self.entry.as_ref().map(|_| TOKEN),
        };
        let text = if self.file == SCRIPT_NAME {
            let who = (seat.mac, &Preview.identity(seat.mac));
            let (caller, urls) = (seat.caller(), &seat.urls);
            let script = chosen_script(Dialect::Ipxe, &snapshot, who, caller, urls, &asked);
            script
                .map_err(|reason| anyhow!("{} gets no script: {}", machine.name, reason.as_str()))?
                .body
        } else {
            if let Some(menu) = plan.profile {
                let picked = snapshot.pick(menu, &asked.choice);
                let picked = picked.map_err(|why| anyhow!("{}: {}", asked.choice, why.shown()))?;
                if let Pick::Profile(profile) = picked.what {
                    plan = plan.choosing(profile);
                }
            }
            self.answer_file(&seat, &plan)?
        };
        write!(out, "{text}")?;
        Ok(ExitCode::SUCCESS)
    }

    fn compile(&self) -> anyhow::Result<Snapshot> {
        let loaded = read_paths(&self.paths);
        let problems = loaded.check();
        let errors = problems.iter().filter(|it| it.severity == Severity::Error);
        let errors: Vec<String> = errors.map(|it| it.line(&loaded.files)).collect();
        ensure!(errors.is_empty(), "{}", errors.join("\n"));
        let settings = Settings::default();
        Ok(compile(1, &loaded.inputs, &settings).snapshot)
    }

    fn find<'a>(&self, snapshot: &'a Snapshot) -> anyhow::Result<&'a MachineEntry> {
        let is_it = |entry: &&MachineEntry| {
            entry.name.name == self.machine || entry.name.to_string() == self.machine
        };
        let mut found = snapshot.machines.iter().filter(is_it);
        let machine = found.next();
        let machine = machine.with_context(|| format!("there is no Machine {}", self.machine))?;
        if let Some(other) = found.next() {
            bail!("say which: {} or {}", machine.name, other.name);
        }
        Ok(machine)
    }

    /// Where the machine's first interface is.
    fn seat<'a>(&self, snapshot: &'a Snapshot, machine: &MachineEntry) -> anyhow::Result<Seat<'a>> {
        let interface = machine.spec().interfaces.first();
        let interface =
            interface.with_context(|| format!("{} has no interface with a `mac`", machine.name))?;
        let own = |subnet: &&SubnetEntry| {
            subnet.name.namespace == machine.name.namespace
                && interface.ip.is_none_or(|ip| subnet.spec.contains(ip))
        };
        let subnet = snapshot.subnets.iter().find(own);
        let subnet =
            subnet.with_context(|| format!("no Subnet serves Machine {}", machine.name))?;
        let (address, server) = places(&subnet.spec, interface)
            .with_context(|| format!("Subnet {} has no network", subnet.key))?;
        Ok(Seat {
            snapshot,
            subnet,
            mac: interface.mac,
            address,
            urls: Urls {
                server: self.server.unwrap_or(server),
                port: 80,
                tls: false,
            },
        })
    }

    fn answer_file(&self, seat: &Seat<'_>, plan: &Plan<'_>) -> anyhow::Result<String> {
        let profile = plan.profile.context("no profile is chosen for it")?;
        let mut files = profile.spec.config.iter();
        let file = files.find(|file| file.name == self.file).with_context(|| {
            let names = profile.spec.config.iter().map(|file| file.name.as_str());
            let names: Vec<&str> = [SCRIPT_NAME].into_iter().chain(names).collect();
            let all = names.join(", ");
            format!(
                "{} has no file {}; there are {all}",
                profile.name, self.file
            )
        })?;
        let (secrets, includes) = self.values(file, &profile.name.namespace)?;
        let secrets = match &secrets {
            Some(values) => SecretValues::Known(values),
            None => SecretValues::Hidden,
        };
        let (snapshot, subnet) = (seat.snapshot, seat.subnet);
        let own = (seat.mac, &self.entry.clone().unwrap_or_default());
        let context = context(snapshot, subnet, plan, own, seat.caller(), &seat.urls);
        Ok(render_config(file, &context, secrets, &includes)?)
    }

    /// The values of its Secrets, where their folder is named, and what it
    /// includes.
    fn values(
        &self,
        file: &ConfigFile,
        namespace: &str,
    ) -> anyhow::Result<(Option<Values>, Values)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let name = |name: &str| ObjectName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let mut secrets = self.secrets.as_ref().map(|_| Values::new());
        if let (Some(folder), Some(values)) = (&self.secrets, &mut secrets) {
            let folder = Secrets::Folder(folder.clone());
            for named in &file.secret_refs {
                let read = runtime.block_on(folder.get(&name(&named.name)));
                let secret: Secret = read.map_err(anyhow::Error::msg)?;
                values.insert(named.name.clone(), secret.texts());
            }
        }
        let maps = self.config_maps.clone();
        let maps = maps.map_or(Secrets::None, Secrets::Folder);
        let mut includes = Values::new();
        for named in &file.config_map_refs {
            let read = runtime.block_on(maps.config_map(&name(&named.name)));
            let map = read.map_err(anyhow::Error::msg)?;
            includes.insert(named.name.clone(), map.whole_texts());
        }
        Ok((secrets, includes))
    }
}

/// Where a machine with this interface may be on a Subnet, and its server.
fn places(spec: &SubnetSpec, interface: &Interface) -> Option<(IpAddr, IpAddr)> {
    if let Some(cidr) = spec.cidr {
        let network = cidr.net();
        let first = network.hosts().next().unwrap_or_else(|| network.addr());
        let lent = spec.pools.first().map(|pool| pool.start);
        let address = interface.ip.or(lent).unwrap_or(first);
        return Some((address.into(), spec.next_server.unwrap_or(first).into()));
    }
    let network = spec.ipv6.as_ref()?;
    let mut hosts = network.cidr.net().hosts();
    let first = hosts.find(|address| network.cidr.is_host(*address))?;
    let lent = network.pools.first().map(|pool| pool.start);
    let address = interface.ipv6.or(lent).unwrap_or(first);
    Some((address.into(), network.server.unwrap_or(first).into()))
}

impl Seat<'_> {
    const fn caller(&self) -> Caller<'_> {
        Caller {
            address: self.address,
            mac: Some(self.mac),
            told: &Preview,
        }
    }

    fn plan(&self) -> Plan<'_> {
        self.snapshot.plan(self.subnet, &Preview.identity(self.mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFESTS: &str = r#"
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  cidr: 192.0.2.0/24
  interface: eth0
  pools: [{start: 192.0.2.100, end: 192.0.2.109}]
  params: {disk: /dev/sda, zone: UTC}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: node-7}
spec:
  interfaces: [{mac: "52:54:00:00:00:07"}]
  params: {disk: /dev/vda}
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: debian}
spec:
  default: true
  params: {disk: /dev/nvme0n1}
  linux:
    kernel: {path: linux}
    args: ["url={{ config['preseed.cfg'] }}"]
  config:
  - name: preseed.cfg
    kind: Preseed
    secretRefs: [{name: root}]
    configMapRefs: [{name: texts}]
    template: |
      {% include 'texts/base' %}
      disk {{ params.disk }} {{ params.zone }} {{ secrets.root.hash }}
"#;

    fn render(file: &str, secrets: bool) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("all.yaml"), MANIFESTS).unwrap();
        for part in ["maps/texts", "secrets/root"] {
            std::fs::create_dir_all(at(part)).unwrap();
        }
        std::fs::write(at("maps/texts/base"), "host {{ machine.name }}\n").unwrap();
        std::fs::write(at("secrets/root/hash"), "$6$x\n").unwrap();
        let args = RenderArgs {
            machine: "node-7".to_owned(),
            paths: vec![at("all.yaml")],
            file: file.to_owned(),
            entry: None,
            secrets: secrets.then(|| at("secrets")),
            config_maps: Some(at("maps")),
            server: None,
        };
        let mut out = Vec::new();
        let ran = args.run(&mut out).map_err(|error| format!("{error:#}"));
        ran.map(|_| String::from_utf8(out).unwrap())
    }

    #[test]
    fn shows_what_a_machine_would_be_sent() {
        let script = render(SCRIPT_NAME, false).unwrap();
        let url =
            "url=http://192.0.2.1/reveille/machines/52-54-00-00-00-07/config/TOKEN/preseed.cfg";
        assert!(script.contains(url), "{script}");
        let hidden = "host node-7\ndisk /dev/vda UTC <hash of Secret root>\n";
        assert_eq!(render("preseed.cfg", false).as_deref(), Ok(hidden));
        let known = "host node-7\ndisk /dev/vda UTC $6$x\n";
        assert_eq!(render("preseed.cfg", true).as_deref(), Ok(known));
        let error = render("user-data", true).unwrap_err();
        assert!(
            error.contains("there are boot.ipxe, preseed.cfg"),
            "{error}"
        );
    }
}
