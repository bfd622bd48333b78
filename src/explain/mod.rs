//! Why a machine gets what it gets: the answer for people, by the very
//! functions that answer on the wire.
//!
//! Core. It makes the requests that the machine would send ([`Question`]),
//! gives each to [`decide`](crate::dhcp::decide::decide), reads the bytes that
//! would leave, and asks [`route`](crate::http::route::route) for the script. It
//! decides nothing.

mod cure;
mod rules;
mod stage;
mod text;
pub mod v6;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

pub use self::rules::RuleLine;
pub use self::stage::{Arriving, Exchange, Script, Stage, StageUrl, exchange};
use self::v6::{Over6, World6};
use crate::artifact::Table;
use crate::boot::{Architecture, MacAddress, Uuid};
use crate::clock::Millis;
use crate::dhcp::lookout::Wire;
use crate::lease::{Authority, LeaseState, LeaseTable};
use crate::packets::{Question, Role};
use crate::snapshot::suggest::nearest;
use crate::snapshot::{
    Acquaintances, Identity, MachineEntry, Plan, Snapshot, SubnetEntry, Verdict,
};

/// The MAC address that stands for a machine whose own is not known.
const STAND_IN: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
/// The transaction of made-up requests.
const XID: u32 = 0x5245_5645;

/// What answers are made from.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// What is served.
    pub snapshot: &'a Snapshot,
    /// Who has which address.
    pub table: &'a LeaseTable,
    /// What machines told of themselves.
    pub told: &'a dyn Acquaintances,
    /// The time.
    pub now: Millis,
    /// Our address on each Subnet (`namespace/name`), as far as it is known.
    pub servers: &'a BTreeMap<String, Ipv4Addr>,
    /// What was found of other servers on each Subnet (`namespace/name`); where
    /// nothing is known, none is there.
    pub wires: &'a BTreeMap<String, Wire>,
    /// What this replica may give of the pools.
    pub authority: Authority,
    /// The artifacts that are there.
    pub held: &'a Table,
    /// What there is of IPv6 besides.
    pub six: World6<'a>,
}

/// Who is asked about, and as what it asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// A MAC address, UUID, IP address or the name of a Machine.
    pub who: String,
    /// The Subnet, by name or `namespace/name`; where it boots without one.
    pub subnet: Option<String>,
    /// What it is; what the profile is for, without.
    pub architecture: Option<Architecture>,
    /// The relay between, by its address (giaddr); over IPv6 by the link that it
    /// names.
    pub relay: Option<IpAddr>,
}

/// What is said of one machine on one Subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The machine's object, where it has one.
    pub machine: Option<String>,
    /// By what it is known: `mac`, `uuid`.
    pub known_by: Option<String>,
    /// The Ethernet address by which it asks.
    pub mac: MacAddress,
    /// Its firmware's UUID.
    pub uuid: Option<Uuid>,
    /// The Subnet that decides.
    pub subnet: String,
    /// Our address there.
    pub server: Ipv4Addr,
    /// `boot`, `local`, `tell` or `ignored`.
    pub verdict: String,
    /// Why, for what is not `boot`.
    pub reason: Option<String>,
    /// The profile that the rules chose.
    pub profile: Option<String>,
    /// The rule that chose it.
    pub rule: String,
    /// Every rule in its order: which won, which lost and why.
    pub rules: Vec<RuleLine>,
    /// What each of its firmwares and loaders gets.
    pub stages: Vec<Stage>,
    /// The same over IPv6, where the Subnet has such a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Over6>,
    /// What was assumed, and what is odd.
    pub notes: Vec<String>,
}

/// Why nothing can be said; in words that name the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotExplained(String);

/// Whom a question is about.
struct Subject<'a> {
    mac: MacAddress,
    uuid: Option<Uuid>,
    machine: Option<&'a MachineEntry>,
    /// Where it is, as far as the question says.
    address: Option<IpAddr>,
    notes: Vec<String>,
}

/// Explains, for each Subnet where the machine may ask.
///
/// # Errors
/// [`NotExplained`]: nobody goes by that name, or no Subnet is served.
pub fn explain(world: World<'_>, ask: &Ask) -> Result<Vec<Explanation>, NotExplained> {
    let subject = subject(world, &ask.who)?;
    let subnets = subnets(world, ask, &subject)?;
    let explanations = subnets
        .into_iter()
        .map(|subnet| of_subnet(world, ask, &subject, subnet));
    Ok(explanations.collect())
}

/// A packet of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Caught<'a> {
    /// Its bytes.
    pub packet: &'a [u8],
    /// Where it was sent to.
    pub to: Ipv4Addr,
    /// Who asks, where it was sent to the boot server's port (UDP 4011).
    pub boot_port: Option<SocketAddrV4>,
}

/// Explains a packet of a capture. `table` changes by it, as it did on the wire.
///
/// # Errors
/// [`NotExplained`]: which Subnet it came to is not known.
pub fn packet(
    world: World<'_>,
    table: &mut LeaseTable,
    subnet: Option<&str>,
    caught: Caught<'_>,
) -> Result<Exchange, NotExplained> {
    let Caught {
        packet,
        to,
        boot_port,
    } = caught;
    let subnet = match (subnet, world.snapshot.subnets.as_slice()) {
        (Some(name), _) => named(world, name)?,
        (None, [only]) => only,
        (None, _) => world.snapshot.subnet_of(to).ok_or_else(several)?,
    };
    let server = server(world, subnet, &mut Vec::new());
    let arriving = Arriving {
        packet,
        subnet: &subnet.key,
        server,
        unicast: to == server,
        boot_port,
        // Whose iPXE it is cannot be seen: that of a boot which went well.
        loader_sent: true,
    };
    Ok(exchange(world, table, arriving))
}

fn several() -> NotExplained {
    let words = "several Subnets are served: name the one that was captured by --subnet";
    NotExplained(words.to_owned())
}

fn of_subnet(
    world: World<'_>,
    ask: &Ask,
    subject: &Subject<'_>,
    subnet: &SubnetEntry,
) -> Explanation {
    let mut notes = subject.notes.clone();
    let server = server(world, subnet, &mut notes);
    let mut identity = Identity::from(subject.mac);
    identity.uuid = subject.uuid;
    identity.complete(world.told.identity(subject.mac));
    let plan = world.snapshot.plan(subnet, &identity);
    let (verdict, reason) = verdict(subnet, &plan);
    let rules = rules::rules(world.snapshot, subnet, &plan);
    let architectures = match ask.architecture {
        Some(architecture) => vec![architecture],
        None => architectures(world.snapshot, &plan),
    };
    let question = Question {
        role: Role::System,
        mac: subject.mac,
        uuid: subject.uuid,
        relay: match ask.relay {
            Some(IpAddr::V4(relay)) => relay,
            Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
        },
        xid: XID,
        broadcast: false,
    };
    let stages = stage::stages(world, subnet, server, question, &architectures);
    let ipv6 = v6::over(world, subnet, ask, question, &architectures, &mut notes);
    Explanation {
        machine: plan.machine.map(|machine| machine.name.to_string()),
        known_by: plan.known_by.map(|by| by.as_str().to_owned()),
        mac: subject.mac,
        uuid: subject.uuid,
        subnet: subnet.key.clone(),
        server,
        verdict: verdict.to_owned(),
        reason,
        profile: plan.profile.map(|profile| profile.name.to_string()),
        rule: plan.rule.as_str().to_owned(),
        rules,
        stages,
        ipv6,
        notes,
    }
}

/// The verdict that every door asks for, in a word and the reason.
fn verdict(subnet: &SubnetEntry, plan: &Plan<'_>) -> (&'static str, Option<String>) {
    match (subnet.ignores(plan), plan.verdict) {
        (Some(unserved), _) => ("ignored", Some(unserved.as_str().to_owned())),
        (None, Verdict::Boot) => ("boot", None),
        (None, Verdict::Tell) => ("tell", None),
        (None, Verdict::Local(reason)) => ("local", Some(reason.as_str().to_owned())),
    }
}

/// Our address on `subnet`; a note where it is a guess.
fn server(world: World<'_>, subnet: &SubnetEntry, notes: &mut Vec<String>) -> Ipv4Addr {
    if let Some(server) = world.servers.get(&subnet.key) {
        return *server;
    }
    let (server, from) = match subnet.spec.next_server {
        Some(server) => (server, "its nextServer"),
        None => (
            subnet
                .spec
                .cidr
                .and_then(|cidr| cidr.net().hosts().next())
                .unwrap_or(Ipv4Addr::LOCALHOST),
            "the network's first",
        ),
    };
    notes.push(format!(
        "the server's own address on {} is not known here: {server}, {from}, stands for it; name it by --server",
        subnet.key
    ));
    server
}

/// What to explain for: what the profile is for, else the two that are nearly
/// every machine.
fn architectures(snapshot: &Snapshot, plan: &Plan<'_>) -> Vec<Architecture> {
    let named = plan.profile.map(|profile| &profile.spec.architectures);
    match named {
        Some(named) if !named.is_empty() => named.clone(),
        _ => {
            let usual = [Architecture::X86Bios, Architecture::X64Uefi];
            let there = usual
                .iter()
                .filter(|arch| snapshot.loaders.contains_key(arch));
            let there: Vec<Architecture> = there.copied().collect();
            if there.is_empty() {
                usual.to_vec()
            } else {
                there
            }
        }
    }
}

// === who ===

fn subject<'a>(world: World<'a>, who: &str) -> Result<Subject<'a>, NotExplained> {
    if let Ok(mac) = who.parse::<MacAddress>() {
        return Ok(of_mac(world, mac, None));
    }
    if let Ok(uuid) = who.parse::<Uuid>() {
        return Ok(of_uuid(world, uuid));
    }
    match who.parse() {
        Ok(IpAddr::V4(address)) => return of_address(world, address),
        Ok(IpAddr::V6(address)) => return v6::of_address(world, address),
        Err(_) => {}
    }
    let all = &world.snapshot.machines;
    let called =
        |machine: &&MachineEntry| machine.name.name == who || machine.name.to_string() == who;
    match all.iter().find(called) {
        Some(machine) => Ok(of_machine(machine)),
        None => {
            let near = nearest(who, all.iter().map(|machine| machine.name.name.as_str()));
            let near = near.map_or_else(
                || "name it by its MAC address, UUID or IP address".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Err(NotExplained(format!("there is no Machine {who}; {near}")))
        }
    }
}

fn of_mac(world: World<'_>, mac: MacAddress, address: Option<IpAddr>) -> Subject<'_> {
    let has = |machine: &&MachineEntry| {
        let mut interfaces = machine.spec().interfaces.iter();
        interfaces.any(|interface| interface.mac == mac)
    };
    let machine = world.snapshot.machines.iter().find(has);
    Subject {
        mac,
        uuid: world
            .told
            .identity(mac)
            .uuid
            .or_else(|| machine?.spec().uuid),
        machine,
        address,
        notes: Vec::new(),
    }
}

fn of_machine(machine: &MachineEntry) -> Subject<'_> {
    let interface = machine.spec().interfaces.first();
    let mut notes = Vec::new();
    if interface.is_none() {
        notes.push(format!(
            "{} names no MAC address: {STAND_IN} stands for it",
            machine.name
        ));
    }
    if interface.is_none() && machine.spec().uuid.is_none() {
        notes.push("it is known by what iPXE tells of it only; what an unknown machine gets first is shown".to_owned());
    }
    Subject {
        mac: interface.map_or(STAND_IN, |interface| interface.mac),
        uuid: machine.spec().uuid,
        machine: Some(machine),
        address: None,
        notes,
    }
}

fn of_uuid(world: World<'_>, uuid: Uuid) -> Subject<'_> {
    let mut machines = world.snapshot.machines.iter();
    let known = machines.find(|machine| machine.spec().uuid.is_some_and(|its| its.same_as(uuid)));
    match known {
        Some(machine) => Subject {
            uuid: Some(uuid),
            ..of_machine(machine)
        },
        None => Subject {
            mac: STAND_IN,
            uuid: Some(uuid),
            machine: None,
            address: None,
            notes: vec![format!(
                "no Machine has this UUID; its MAC address is not known: {STAND_IN} stands for it"
            )],
        },
    }
}

fn of_address(world: World<'_>, address: Ipv4Addr) -> Result<Subject<'_>, NotExplained> {
    let reserved = world.snapshot.machines.iter().find_map(|machine| {
        let mut interfaces = machine.spec().interfaces.iter();
        interfaces.find(|interface| interface.ip == Some(address))
    });
    let lease = world.table.get(address).filter(|lease| {
        matches!(lease.state, LeaseState::Bound | LeaseState::Offered) && lease.expires > world.now
    });
    let mac = lease.and_then(|lease| lease.mac);
    let mut subject = match (mac, reserved) {
        (Some(mac), _) => of_mac(world, mac, Some(address.into())),
        (None, Some(interface)) => of_mac(world, interface.mac, Some(address.into())),
        (None, None) => return Err(nobody(address)),
    };
    if let (Some(mac), Some(interface)) = (mac, reserved)
        && interface.mac != mac
    {
        subject.notes.push(not_its_own(address, interface.mac, mac));
    }
    Ok(subject)
}

fn nobody(address: impl Into<IpAddr>) -> NotExplained {
    NotExplained(format!(
        "nobody has {}: no lease that is known here and no Machine's interface names it",
        address.into()
    ))
}

/// What is noted of an address that is reserved for one and lent to another.
fn not_its_own(address: impl Into<IpAddr>, owner: MacAddress, has: MacAddress) -> String {
    let address = address.into();
    format!("{address} is reserved for {owner}, but {has} has a lease of it")
}

// === where ===

/// The Subnets in which the machine may ask.
fn subnets<'a>(
    world: World<'a>,
    ask: &Ask,
    subject: &Subject<'_>,
) -> Result<Vec<&'a SubnetEntry>, NotExplained> {
    let all = &world.snapshot.subnets;
    if let Some(relay) = ask.relay {
        let subnet = match relay {
            IpAddr::V4(relay) => world.snapshot.subnet_of_relay(relay),
            IpAddr::V6(link) => world.snapshot.subnet_of_link(link),
        };
        let none = || NotExplained(format!("no Subnet that is served has the relay {relay}"));
        return subnet.map(|subnet| vec![subnet]).ok_or_else(none);
    }
    if let Some(name) = &ask.subnet {
        return named(world, name).map(|subnet| vec![subnet]);
    }
    if let Some(address) = subject.address
        && let Some(subnet) = world.snapshot.subnet_of(address)
    {
        return Ok(vec![subnet]);
    }
    let likely = likely(world, subject);
    if !likely.is_empty() {
        return Ok(likely);
    }
    if all.is_empty() {
        return Err(NotExplained(
            "no Subnet is served, so no machine gets an answer; `reveille check` says why"
                .to_owned(),
        ));
    }
    Ok(all.iter().collect())
}

/// The Subnet of this name.
fn named<'a>(world: World<'a>, name: &str) -> Result<&'a SubnetEntry, NotExplained> {
    let all = &world.snapshot.subnets;
    let called = |subnet: &&SubnetEntry| subnet.key == name || subnet.name.name == name;
    all.iter().find(called).ok_or_else(|| {
        let near = nearest(name, all.iter().map(|subnet| subnet.name.name.as_str()));
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        NotExplained(format!("no Subnet {name} is served{near}"))
    })
}

/// Where it was seen or has an address; else where its object is.
fn likely<'a>(world: World<'a>, subject: &Subject<'_>) -> Vec<&'a SubnetEntry> {
    let all = &world.snapshot.subnets;
    let lent = |subnet: &SubnetEntry| {
        let mut leases = world.table.iter();
        let here = leases.any(|it| it.mac == Some(subject.mac) && *it.subnet == *subnet.key);
        here || v6::has_lease(world, subject.mac, subnet)
    };
    let interfaces = subject.machine.map(|machine| &machine.spec().interfaces);
    let reserved = |subnet: &SubnetEntry| {
        let mut own = interfaces.into_iter().flatten();
        own.any(|it| it.mac == subject.mac && v6::lies_in(it, subnet))
    };
    let near = all.iter().filter(|it| reserved(it) || lent(it));
    let near: Vec<&SubnetEntry> = near.collect();
    match subject.machine {
        Some(machine) if near.is_empty() => all
            .iter()
            .filter(|subnet| subnet.name.namespace == machine.name.namespace)
            .collect(),
        _ => near,
    }
}
