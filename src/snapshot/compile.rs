//! From manifests to the table: total, pure, the whole world at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::artifacts::{self, Shelves};
use super::entries::{
    DefaultProfile, HttpsDoor, MachineEntry, ObjectName, ProfileEntry, Selection, Snapshot,
    SubnetEntry,
};
use super::identity;
use super::menu;
use super::names::is_object_name;
use super::select::{Labels, Selectors};
use super::world::{HTTPS_OFF, MENU_CIRCLE, costs_nothing, entry_pointer};
use super::{
    Inputs, Withheld, WithheldNames, check_world, validate_artifact, validate_machine,
    validate_profile, validate_subnet,
};
use crate::api::{
    BootProfile, DEFAULT_NAMESPACE, Https, Interface, Kind, Machine, MachineSpec, Mode, NameRef,
    ObjectRef, Problem, SubnetSpec,
};
use crate::artifact::Table;
use crate::artifact::plan::AllStuck;
use crate::boot::{Architecture, MacAddress};
use crate::lease::AddressSet;

/// What the process adds to the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The port of the HTTP service, as clients reach it.
    pub http_port: u16,
    /// The HTTPS service, where it is on.
    pub https: Option<HttpsDoor>,
    /// The loader file that is there for each architecture.
    pub loaders: BTreeMap<Architecture, String>,
    /// The architectures whose loader runs `autoexec.ipxe`: iPXE of 2021 and later.
    pub autoexec: BTreeSet<Architecture>,
    /// The host's own addresses: no machine gets one.
    pub own_addresses: Vec<Ipv4Addr>,
    /// The artifacts that are in the store.
    pub held: Arc<Table>,
    /// Those whose tries fail, for the screens of the machines that wait.
    pub stuck: Arc<AllStuck>,
}

/// A process without HTTPS, loaders, addresses and artifacts, whose HTTP service
/// is at its usual port.
impl Default for Settings {
    fn default() -> Self {
        Self {
            http_port: 80,
            https: None,
            loaders: BTreeMap::new(),
            autoexec: BTreeSet::new(),
            own_addresses: Vec::new(),
            held: Arc::default(),
            stuck: Arc::default(),
        }
    }
}

/// What `compile` makes.
#[derive(Debug)]
pub struct Compiled {
    /// The table.
    pub snapshot: Snapshot,
    /// Every mistake found; an object with an error is not in the table.
    pub report: Vec<Problem>,
}

/// Compiles the world. Total: a bad object costs that object only, and lands
/// in the report.
#[must_use]
pub fn compile(generation: u64, inputs: &Inputs, settings: &Settings) -> Compiled {
    let mut report = Vec::new();
    report.extend(inputs.subnets.iter().flat_map(validate_subnet));
    report.extend(inputs.profiles.iter().flat_map(validate_profile));
    report.extend(
        inputs
            .machines
            .iter()
            .flat_map(|machine| validate_machine(machine)),
    );
    report.extend(inputs.artifacts.iter().flat_map(validate_artifact));
    report.extend(check_world(inputs));
    if settings.https.is_none() {
        report.extend(inputs.profiles.iter().filter_map(https_off));
    }
    let refused = Refused::of(&report);

    let mut shelves = Shelves::new(inputs, (&settings.held, &settings.stuck), |name| {
        refused.has(Kind::Artifact, name)
    });
    let mut profiles = compile_profiles(inputs, &refused, &mut shelves);
    menu::resolve(&mut profiles, settings.https.is_some(), |profile, index| {
        refused.leads_back(&profile.name, index)
    });
    let machines = compile_machines(inputs, &refused, &profiles);
    let mut subnets = compile_subnets(inputs, &refused, &profiles, &machines);
    for subnet in &mut subnets {
        subnet
            .excluded
            .extend(settings.own_addresses.iter().copied());
    }
    let (artifacts, artifacts_refused) = shelves.entries();
    let snapshot = Snapshot {
        generation,
        by_mac: index_macs(&machines),
        identities: identity::index(&machines),
        namespace_defaults: namespace_defaults(&profiles),
        loaders: settings.loaders.clone(),
        autoexec: settings.autoexec.clone(),
        http_port: settings.http_port,
        https: settings.https,
        own_addresses: settings.own_addresses.clone(),
        spent: Arc::new(inputs.spent.clone()),
        incomplete: inputs.incomplete,
        artifacts,
        artifacts_refused,
        subnets,
        profiles,
        machines,
    };
    Compiled { snapshot, report }
}

/// The objects that cannot be served as they are written.
struct Refused<'a> {
    objects: HashSet<(Kind, &'a str, &'a str)>,
    /// Machines whose reserved address is the mistake.
    addresses: HashSet<(&'a str, &'a str)>,
    /// Entries of menus that close a circle: namespace, profile and pointer.
    circles: HashSet<(&'a str, &'a str, &'a str)>,
}

impl<'a> Refused<'a> {
    fn of(report: &'a [Problem]) -> Self {
        let name = |problem: &'a Problem| {
            let object = &problem.place.object;
            (object.namespace.as_str(), object.name.as_str())
        };
        let costs = report
            .iter()
            .filter(|problem| problem.is_error() && !costs_nothing(problem));
        let addresses = report.iter().filter(|problem| {
            let place = &problem.place;
            place.object.kind == Kind::Machine && place.pointer.ends_with("/ip")
        });
        Self {
            objects: costs
                .map(|problem| {
                    let (namespace, name) = name(problem);
                    (problem.place.object.kind, namespace, name)
                })
                .collect(),
            addresses: addresses.map(name).collect(),
            circles: report
                .iter()
                .filter(|problem| problem.reason == MENU_CIRCLE)
                .map(|problem| {
                    let (namespace, name) = name(problem);
                    (namespace, name, problem.place.pointer.as_str())
                })
                .collect(),
        }
    }

    fn leads_back(&self, name: &ObjectName, index: usize) -> bool {
        let pointer = entry_pointer(index);
        let entry = (
            name.namespace.as_str(),
            name.name.as_str(),
            pointer.as_str(),
        );
        self.circles.contains(&entry)
    }

    fn has(&self, kind: Kind, name: &ObjectName) -> bool {
        self.objects.contains(&(kind, &name.namespace, &name.name))
    }

    fn has_bad_address(&self, name: &ObjectName) -> bool {
        self.addresses.contains(&(&name.namespace, &name.name))
    }
}

/// A profile for HTTPS where the service has none: `Snapshot::fits` refuses its
/// boots by name, and here it is said before there is one.
fn https_off(profile: &BootProfile) -> Option<Problem> {
    if profile.spec.https == Https::Never {
        return None;
    }
    let object = ObjectRef::of(Kind::BootProfile, &profile.metadata);
    let what = "the service has no HTTPS, and no machine boots the profile without";
    let cure = "start it with --https, or write `https: Never`";
    Some(Problem::error(
        &object,
        "/spec/https",
        HTTPS_OFF,
        what,
        cure,
    ))
}

fn compile_profiles(
    inputs: &Inputs,
    refused: &Refused<'_>,
    shelves: &mut Shelves<'_>,
) -> Vec<ProfileEntry> {
    let mut profiles = Vec::new();
    for profile in &inputs.profiles {
        let name = name_of(&profile.metadata);
        if !refused.has(Kind::BootProfile, &name) {
            let mut spec = profile.spec.clone();
            let pending = artifacts::resolve(&mut spec, &name, shelves);
            profiles.push(ProfileEntry {
                name,
                https: spec.https != Https::Never,
                spec,
                pending,
                targets: Vec::new(),
            });
        }
    }
    profiles
}

fn compile_machines(
    inputs: &Inputs,
    refused: &Refused<'_>,
    profiles: &[ProfileEntry],
) -> Vec<MachineEntry> {
    let of_profiles = profiles.iter();
    let selectors = Selectors::new(of_profiles.map(|it| (&*it.name.namespace, &it.spec)));
    let mut machines = Vec::with_capacity(inputs.machines.len());
    for machine in &inputs.machines {
        let name = name_of(&machine.metadata);
        if refused.has(Kind::Machine, &name) {
            let keep_address = !refused.has_bad_address(&name);
            machines.push(refused_machine((**machine).clone(), name, keep_address));
            continue;
        }
        machines.push(MachineEntry {
            selection: selection(machine, &name, profiles, &selectors),
            manifest: Arc::clone(machine),
            name,
        });
    }
    // Last: an object that is good wins over one that is not.
    machines.extend(inputs.withheld.iter().map(withheld_machine));
    machines.extend(inputs.withheld_names.iter().map(withheld_names));
    machines
}

/// What is kept of a machine whose object has a mistake: who it is, and its
/// address unless that is the mistake. Without that it would be an unknown
/// machine and boot whatever those boot, and one that runs would lose its
/// address at its next renewal.
fn refused_machine(
    mut manifest: Machine,
    mut name: ObjectName,
    keep_address: bool,
) -> MachineEntry {
    if !is_object_name(&name.name) {
        // It gets into scripts.
        "refused".clone_into(&mut name.name);
    }
    manifest.metadata.labels = None;
    for interface in &mut manifest.spec.interfaces {
        interface.ip = interface.ip.filter(|_| keep_address);
        interface.ipv6 = interface.ipv6.filter(|_| keep_address);
        interface.hostname = None;
    }
    for reservation in &mut manifest.spec.reservations {
        reservation.hostname = None;
    }
    if !keep_address {
        manifest.spec.reservations.clear();
    }
    MachineEntry {
        name,
        manifest: Arc::new(manifest),
        selection: Selection::Refused,
    }
}

/// A machine of which no more than a MAC address can be read.
fn withheld_machine(withheld: &Withheld) -> MachineEntry {
    let spec = MachineSpec {
        interfaces: vec![Interface {
            mac: withheld.mac,
            ip: None,
            ipv6: None,
            hostname: None,
            netboot: false,
        }],
        ..MachineSpec::default()
    };
    let name = object_name(&withheld.object);
    refused_machine(Machine::new(&name.name, spec), name, false)
}

/// The same by what else it is known by.
fn withheld_names(withheld: &WithheldNames) -> MachineEntry {
    let identity = &withheld.identity;
    let spec = MachineSpec {
        uuid: identity.uuid,
        serial: identity.serial.clone(),
        asset_tag: identity.asset.clone(),
        ..MachineSpec::default()
    };
    let name = object_name(&withheld.object);
    refused_machine(Machine::new(&name.name, spec), name, false)
}

fn object_name(object: &ObjectRef) -> ObjectName {
    ObjectName {
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

fn selection(
    machine: &Machine,
    name: &ObjectName,
    profiles: &[ProfileEntry],
    selectors: &Selectors<'_>,
) -> Selection {
    match &machine.spec.profile_ref {
        Some(reference) => {
            find(profiles, &name.namespace, reference).map_or(Selection::Missing, Selection::Named)
        }
        None => selectors
            .best(&name.namespace, Labels::of(machine))
            .map_or(Selection::Default, |(best, _)| Selection::Selected(best)),
    }
}

/// The Subnet by whose listener DHCPv4 requests come for one of `spec`.
fn listener(spec: &SubnetSpec, name: &ObjectName, older: &[SubnetEntry]) -> Option<String> {
    let interface = spec.interface.as_ref().filter(|_| spec.cidr.is_some())?;
    let mut older = older.iter().filter(|it| it.listener.is_some());
    let first = older.find(|it| it.spec.interface.as_ref() == Some(interface));
    Some(first.map_or_else(|| name.to_string(), |first| first.key.clone()))
}

/// Whether DHCPv6 is heard on an interface of its own, and not on an older one's.
fn hears_v6(spec: &SubnetSpec, older: &[SubnetEntry]) -> bool {
    let mut older = older.iter();
    spec.ipv6.is_some()
        && spec.interface.is_some()
        && !older.any(|it| it.hears_v6 && it.spec.interface == spec.interface)
}

/// IPv6 addresses that no pool of `spec` gives away.
fn excluded6(
    spec: &SubnetSpec,
    name: &ObjectName,
    machines: &[MachineEntry],
) -> BTreeSet<Ipv6Addr> {
    let Some(network) = &spec.ipv6 else {
        return BTreeSet::new();
    };
    let reserved = machines
        .iter()
        .filter(|machine| machine.name.namespace == name.namespace)
        .flat_map(|machine| &machine.spec().interfaces)
        .filter_map(|interface| interface.ipv6);
    reserved
        .chain(network.dns.servers.iter().copied())
        .chain(network.server)
        .filter(|address| network.cidr.contains(*address))
        .collect()
}

fn compile_subnets(
    inputs: &Inputs,
    refused: &Refused<'_>,
    profiles: &[ProfileEntry],
    machines: &[MachineEntry],
) -> Vec<SubnetEntry> {
    let mut subnets = Vec::new();
    for subnet in &inputs.subnets {
        let name = name_of(&subnet.metadata);
        if refused.has(Kind::Subnet, &name) || subnet.spec.mode == Mode::Disabled {
            continue;
        }
        let spec = subnet.spec.clone();
        let reserved = machines
            .iter()
            .filter(|machine| machine.name.namespace == name.namespace)
            .flat_map(|machine| machine.spec().addresses());
        let fixed = [&spec.routers, &spec.dns.servers, &spec.ntp];
        let mut excluded: AddressSet = reserved
            .chain(fixed.into_iter().flatten().copied())
            .chain(spec.next_server)
            .filter(|address| spec.contains(*address))
            .collect();
        for range in &spec.exclude {
            excluded.insert_range(range.start, range.last());
        }
        let mut of_classes = excluded.clone();
        for pool in spec.classes.iter().flat_map(|class| &class.pools) {
            of_classes.insert_range(pool.start, pool.end);
        }
        let class_profiles = class_profiles(&spec, &name, profiles);
        let listener = listener(&spec, &name, &subnets);
        let excluded6 = excluded6(&spec, &name, machines);
        let hears_v6 = hears_v6(&spec, &subnets);
        subnets.push(SubnetEntry {
            default_profile: match &spec.default_profile_ref {
                Some(reference) => find(profiles, &name.namespace, reference)
                    .map_or(DefaultProfile::Missing, DefaultProfile::Named),
                None => DefaultProfile::Unset,
            },
            key: name.to_string(),
            name,
            listener,
            excluded,
            of_classes,
            excluded6,
            hears_v6,
            class_profiles,
            spec,
        });
    }
    subnets
}

/// The profiles of a Subnet's classes, by class.
fn class_profiles(
    spec: &SubnetSpec,
    name: &ObjectName,
    profiles: &[ProfileEntry],
) -> BTreeMap<String, DefaultProfile> {
    let named = spec.classes.iter().filter_map(|class| {
        let reference = class.profile_ref.as_ref()?;
        let profile = find(profiles, &name.namespace, reference);
        let profile = profile.map_or(DefaultProfile::Missing, DefaultProfile::Named);
        Some((class.name.clone(), profile))
    });
    named.collect()
}

/// Where each MAC address is, by namespace: machine and interface.
fn index_macs(machines: &[MachineEntry]) -> BTreeMap<String, HashMap<MacAddress, (usize, usize)>> {
    let mut by_mac: BTreeMap<String, HashMap<_, _>> = BTreeMap::new();
    for (index, machine) in machines.iter().enumerate() {
        let namespace = match by_mac.get_mut(&machine.name.namespace) {
            Some(namespace) => namespace,
            None => by_mac.entry(machine.name.namespace.clone()).or_default(),
        };
        for (position, interface) in machine.spec().interfaces.iter().enumerate() {
            namespace.entry(interface.mac).or_insert((index, position));
        }
    }
    by_mac
}

fn namespace_defaults(profiles: &[ProfileEntry]) -> BTreeMap<String, usize> {
    let mut defaults = BTreeMap::new();
    for (index, profile) in profiles.iter().enumerate() {
        if profile.spec.default {
            defaults
                .entry(profile.name.namespace.clone())
                .or_insert(index);
        }
    }
    defaults
}

fn find(profiles: &[ProfileEntry], namespace: &str, reference: &NameRef) -> Option<usize> {
    profiles.iter().position(|profile| {
        profile.name.namespace == namespace && profile.name.name == reference.name
    })
}

pub(super) fn name_of(metadata: &ObjectMeta) -> ObjectName {
    ObjectName {
        namespace: metadata
            .namespace
            .clone()
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name: metadata.name.clone().unwrap_or_default(),
    }
}
