//! What the API server said of our objects, and the inputs that follow from it.
//!
//! Values and pure functions: no client, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::{
    API_VERSION, Artifact, ArtifactSpec, BootProfile, BootProfileSpec, BootStatus, Kind, MAC_LABEL,
    Machine, MachineSpec, ObjectRef, Problem, Subnet, SubnetSpec,
};
use crate::boot::MacAddress;
use crate::snapshot::{Identity, Inputs, ObjectName, Withheld, WithheldNames};
use crate::standalone::schema;

mod packed;

pub(super) use self::packed::Packed;
use self::packed::Packer;

/// The objects of a cluster as they are known here.
#[derive(Debug, Default)]
pub struct Objects {
    held: BTreeMap<ObjectRef, Box<Held>>,
    /// Counts changes of the world up, from 0.
    revision: u64,
    synced: BTreeSet<Kind>,
    /// Objects that a list which is not at its end has named so far.
    listed: BTreeMap<Kind, BTreeSet<ObjectRef>>,
    /// Whether some of what was kept on disk could not be read at all.
    lossy: bool,
    /// Packs the statuses of each kind.
    packers: BTreeMap<Kind, Packer>,
}

/// What is known of an object beside its spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Its labels, but for [`MAC_LABEL`].
    pub labels: BTreeMap<String, String>,
    /// The value of [`MAC_LABEL`], which nearly every Machine has.
    pub mac_label: Option<Box<str>>,
    /// Its status as JSON text, without `boots`; empty where it has none.
    pub status: Packed,
    /// The latest of the boots in its status, without its stages.
    pub latest: Option<Box<BootStatus>>,
    /// The greatest `boot.generation` that its status says is used up.
    pub consumed: Option<i64>,
}

/// An object that could be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// A Subnet.
    Subnet(Box<Subnet>),
    /// A BootProfile.
    Profile(Box<BootProfile>),
    /// A Machine; the snapshot shares it.
    Machine(Arc<Machine>),
    /// An Artifact.
    Artifact(Box<Artifact>),
}

/// One object.
#[derive(Debug)]
struct Held {
    info: Info,
    /// The revision of the world in which it became what it is.
    changed: u64,
    /// The last version that could be read.
    good: Option<Resource>,
    /// Why the version that is there now cannot.
    problems: Vec<Problem>,
    /// What an unreadable Machine is known by all the same.
    known_by: Option<Box<KnownBy>>,
}

/// What the document of a Machine names, whatever else it says.
#[derive(Clone, Debug, Default, PartialEq)]
struct KnownBy {
    macs: Vec<MacAddress>,
    /// Its UUID, serial number and asset tag.
    names: Option<Identity>,
}

/// What an event of a watch changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing that anybody here looks at.
    None,
    /// The status of an object, or what else serves nobody.
    Status,
    /// What is served.
    World,
}

/// An object as it is kept on disk.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: KeptMetadata<'a>,
    spec: KeptSpec<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeptMetadata<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    generation: i64,
    creation_timestamp: Option<Timestamp>,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum KeptSpec<'a> {
    Subnet(&'a SubnetSpec),
    Profile(&'a BootProfileSpec),
    Machine(&'a MachineSpec),
    Artifact(&'a ArtifactSpec),
    KnownBy(Value),
}

/// An object as it came.
struct Arrived {
    object: ObjectRef,
    info: Info,
    read: Result<Resource, Vec<Problem>>,
    known_by: Option<Box<KnownBy>>,
}

// === impl Objects ===

impl Objects {
    /// Whether every kind was listed to its end once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.synced.contains(kind))
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is known of `object`.
    #[must_use]
    pub fn info(&self, object: &ObjectRef) -> Option<&Info> {
        self.held.get(object).map(|held| &held.info)
    }

    /// Counts changes of the world up: what is compiled of the objects now
    /// shows all that changed until this revision.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision at which `object` became what it is.
    #[must_use]
    pub fn changed(&self, object: &ObjectRef) -> Option<u64> {
        self.held.get(object).map(|held| held.changed)
    }

    /// The objects that became what they are after `revision`.
    pub fn changed_after(&self, revision: u64) -> impl Iterator<Item = &ObjectRef> {
        self.held
            .iter()
            .filter(move |(_, held)| held.changed > revision)
            .map(|(object, _)| object)
    }

    /// The last version of `object` that could be read.
    #[must_use]
    pub fn resource(&self, object: &ObjectRef) -> Option<&Resource> {
        self.held.get(object)?.good.as_ref()
    }

    /// Every object of `kind`, and what is known of it.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectRef, &Info)> {
        self.held
            .iter()
            .filter(move |(object, _)| object.kind == kind)
            .map(|(object, held)| (object, &held.info))
    }

    /// A list of `kind` begins: what it does not name is gone at its end.
    pub fn list_begins(&mut self, kind: Kind) {
        self.listed.insert(kind, BTreeSet::new());
    }

    /// The list of `kind` is at its end.
    pub fn list_ends(&mut self, kind: Kind) -> Change {
        let listed = self.listed.remove(&kind).unwrap_or_default();
        let before = self.held.len();
        self.held
            .retain(|object, _| object.kind != kind || listed.contains(object));
        let first = self.synced.insert(kind);
        if first || self.held.len() != before {
            Change::World
        } else {
            Change::None
        }
    }

    /// An object is there, or changed.
    pub fn apply(&mut self, kind: Kind, object: DynamicObject) -> Change {
        let packer = self.packers.entry(kind).or_default();
        let arrived = Arrived::read(kind, object, packer);
        if let Some(listed) = self.listed.get_mut(&kind) {
            listed.insert(arrived.object.clone());
        }
        self.hold(arrived)
    }

    /// An object is gone.
    pub fn delete(&mut self, kind: Kind, object: &DynamicObject) -> Change {
        match self.held.remove(&ObjectRef::of(kind, &object.metadata)) {
            Some(_) => Change::World,
            None => Change::None,
        }
    }

    fn hold(&mut self, arrived: Arrived) -> Change {
        let Arrived {
            object,
            info,
            read,
            known_by,
        } = arrived;
        let before = self.held.remove(&object);
        let (good, problems) = match read {
            Ok(resource) => (Some(resource), Vec::new()),
            // The last good version serves on.
            Err(problems) => {
                let good = before.as_ref().and_then(|held| held.good.clone());
                (good, problems)
            }
        };
        // The snapshot has the one from before: two alike would stay.
        let good = match &before {
            Some(held) if held.good == good => held.good.clone(),
            _ => good,
        };
        let change = match &before {
            Some(held)
                if held.good == good && held.problems == problems && held.known_by == known_by =>
            {
                if held.info == info {
                    Change::None
                } else if held.info.created == info.created && held.info.consumed == info.consumed {
                    Change::Status
                } else {
                    Change::World
                }
            }
            _ => Change::World,
        };
        if change == Change::World {
            self.revision += 1;
        }
        let held = Held {
            changed: match (&before, change) {
                (Some(held), Change::None | Change::Status) => held.changed,
                (None, _) | (_, Change::World) => self.revision,
            },
            info,
            good,
            problems,
            known_by,
        };
        self.held.insert(object, Box::new(held));
        change
    }

    /// What is to be compiled, each kind oldest first.
    #[must_use]
    pub fn inputs(&self) -> Inputs {
        let mut inputs = Inputs {
            incomplete: !self.is_synced() || self.lossy,
            ..Inputs::default()
        };
        let mut order: Vec<_> = self.held.iter().collect();
        order.sort_by_key(|(object, held)| (held.info.created, *object));
        for (object, held) in order {
            match &held.good {
                Some(Resource::Subnet(subnet)) => inputs.subnets.push((**subnet).clone()),
                Some(Resource::Profile(profile)) => inputs.profiles.push((**profile).clone()),
                Some(Resource::Machine(machine)) => {
                    inputs.machines.push(Arc::clone(machine));
                    if let Some(generation) = held.info.consumed {
                        inputs.spent.insert(name_of(object), generation);
                    }
                }
                Some(Resource::Artifact(artifact)) => inputs.artifacts.push((**artifact).clone()),
                None => {}
            }
            // Also beside an older version that serves on: by what it is known
            // now, it is no unknown machine either.
            if let Some(known_by) = &held.known_by {
                known_by.withhold(object, &mut inputs);
            }
        }
        inputs
    }

    /// Why objects cannot be read as they are now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let held = self.held.values();
        held.flat_map(|held| held.problems.iter().cloned())
            .collect()
    }

    /// Takes the last good version of what cannot be read now from `before`,
    /// which knew the same object.
    pub fn remember(&mut self, before: &Self) {
        for (object, held) in &mut self.held {
            if held.good.is_none()
                && !held.problems.is_empty()
                && let Some(known) = before.held.get(object)
                && known.info.uid == held.info.uid
            {
                held.good.clone_from(&known.good);
            }
        }
    }

    /// The objects behind `after` that can be served, as manifests, to be kept
    /// for the time without an API server; of the others what they are known
    /// by, so that their machines do not pass for unknown ones then.
    pub fn to_keep(
        &self,
        after: Option<&ObjectRef>,
    ) -> impl Iterator<Item = (&ObjectRef, impl Serialize)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.held.range::<ObjectRef, _>((after, Bound::Unbounded));
        rest.map(|(object, held)| (object, Self::kept(object, held)))
    }

    fn kept<'a>(object: &'a ObjectRef, held: &'a Held) -> Kept<'a> {
        Kept {
            api_version: API_VERSION,
            kind: object.kind.as_str(),
            metadata: KeptMetadata {
                name: &object.name,
                namespace: &object.namespace,
                uid: &held.info.uid,
                generation: held.info.generation,
                creation_timestamp: held.info.created,
                labels: &held.info.labels,
            },
            spec: match &held.good {
                Some(Resource::Subnet(subnet)) => KeptSpec::Subnet(&subnet.spec),
                Some(Resource::Profile(profile)) => KeptSpec::Profile(&profile.spec),
                Some(Resource::Machine(machine)) => KeptSpec::Machine(&machine.spec),
                Some(Resource::Artifact(artifact)) => KeptSpec::Artifact(&artifact.spec),
                None => {
                    let known_by = held.known_by.as_deref().cloned().unwrap_or_default();
                    KeptSpec::KnownBy(known_by.to_spec())
                }
            },
        }
    }

    /// The objects that [`Objects::to_keep`] wrote. All kinds count as listed.
    #[must_use]
    pub fn of_kept(all: &[Box<RawValue>]) -> Self {
        let mut objects = Self::default();
        for text in all {
            let object = serde_json::from_str::<DynamicObject>(text.get()).ok();
            let kind = object
                .as_ref()
                .and_then(|object| Kind::parse(&object.types.as_ref()?.kind));
            match (kind, object) {
                (Some(kind), Some(object)) => drop(objects.apply(kind, object)),
                // Nobody knows which machine it was.
                _ => objects.lossy = true,
            }
        }
        objects.synced.extend(Kind::ALL);
        objects
    }
}

// === impl KnownBy ===

impl KnownBy {
    /// As the spec of a Machine that cannot be read, and is known by the same.
    fn to_spec(&self) -> Value {
        let macs = self.macs.iter().map(|mac| json!({"mac": mac}));
        let names = self.names.clone().unwrap_or_default();
        let mut spec = json!({
            "unreadable": true,
            "interfaces": macs.collect::<Vec<_>>(),
        });
        let texts = [
            ("uuid", names.uuid.map(|uuid| uuid.to_string())),
            ("serial", names.serial),
            ("assetTag", names.asset),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                spec[field] = text.into();
            }
        }
        spec
    }

    /// Has it count as a machine that is not served, not as an unknown one.
    fn withhold(&self, object: &ObjectRef, inputs: &mut Inputs) {
        inputs.withheld.extend(self.macs.iter().map(|mac| Withheld {
            object: object.clone(),
            mac: *mac,
        }));
        inputs
            .withheld_names
            .extend(self.names.iter().map(|names| WithheldNames {
                object: object.clone(),
                identity: names.clone(),
            }));
    }
}

// === impl Arrived ===

impl Arrived {
    fn read(kind: Kind, object: DynamicObject, packer: &mut Packer) -> Self {
        let DynamicObject {
            metadata, mut data, ..
        } = object;
        let reference = ObjectRef::of(kind, &metadata);
        let status = data.as_object_mut().and_then(|data| data.remove("status"));
        let consumed = consumed(status.as_ref());
        let (status, latest) = status_text(status);
        let mut labels = metadata.labels.clone().unwrap_or_default();
        let mac_label = labels.remove(MAC_LABEL).map(Into::into);
        let info = Info {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            labels,
            mac_label,
            status: packer.pack(status),
            latest,
            consumed,
        };
        let known_by = match kind {
            Kind::Machine => KnownBy {
                macs: schema::macs(&data).collect(),
                names: schema::names(&data),
            },
            Kind::Subnet | Kind::BootProfile | Kind::Artifact => KnownBy::default(),
        };
        let read = parse(&reference, &metadata, data);
        Self {
            known_by: match read {
                Ok(_) => None,
                Err(_) => Some(Box::new(known_by)),
            },
            object: reference,
            info,
            read,
        }
    }
}

/// The labels of an object without that of its first MAC address, which every
/// Machine counts as having: that we write it changes nothing then. `None`
/// where there are none, for a map of one costs half a kilobyte.
fn labels(metadata: &ObjectMeta) -> Option<BTreeMap<String, String>> {
    let mut labels = metadata.labels.clone()?;
    labels.remove(MAC_LABEL);
    (!labels.is_empty()).then_some(labels)
}

/// Reads the object, held against its schema first: what is stored may be of
/// an older version, or written past the validation.
fn parse(object: &ObjectRef, metadata: &ObjectMeta, data: Value) -> Result<Resource, Vec<Problem>> {
    let mut value = data;
    value["apiVersion"] = API_VERSION.into();
    value["kind"] = object.kind.as_str().into();
    value["metadata"] = json!({
        "name": object.name,
        "namespace": object.namespace,
        "creationTimestamp": metadata.creation_timestamp,
        "labels": labels(metadata),
    });
    let problems = schema::check(object, &mut value);
    if !problems.is_empty() {
        return Err(problems);
    }
    let read = match object.kind {
        Kind::Subnet => serde_json::from_value(value).map(Resource::Subnet),
        Kind::BootProfile => serde_json::from_value(value).map(Resource::Profile),
        Kind::Machine => {
            serde_json::from_value(value).map(|mut read: Machine| {
                // Read with room for four. There may be ten thousand.
                read.spec.interfaces.shrink_to_fit();
                Resource::Machine(Arc::new(read))
            })
        }
        Kind::Artifact => serde_json::from_value(value).map(Resource::Artifact),
    };
    read.map_err(|error| {
        let what = format!("the object cannot be read: {error}");
        vec![Problem::error(object, "", "BadValue", what, "")]
    })
}

fn name_of(object: &ObjectRef) -> ObjectName {
    ObjectName {
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

/// The greatest `boot.generation` that a status says is used up: the leader's
/// word, and each replica's of the boots that it saw.
fn consumed(status: Option<&Value>) -> Option<i64> {
    let status = status?;
    let boots = status["boots"].as_array();
    let boots = boots.into_iter().flatten();
    let all = boots.chain([status]);
    all.filter_map(|of| of["consumedGeneration"].as_i64()).max()
}

/// The status as text without its boots, which are each replica's own and most
/// of the text; and the latest of them.
fn status_text(status: Option<Value>) -> (String, Option<Box<BootStatus>>) {
    let Some(Value::Object(mut status)) = status else {
        return (String::new(), None);
    };
    let boots = status.remove("boots").unwrap_or_default();
    let boots: Vec<BootStatus> = serde_json::from_value(boots).unwrap_or_default();
    let latest = boots.into_iter().max_by(|a, b| a.started.cmp(&b.started));
    let latest = latest.map(|mut boot| {
        boot.stages = Vec::new();
        Box::new(boot)
    });
    (Value::Object(status).to_string(), latest)
}

#[cfg(test)]
mod tests;
