//! From what the writer knows to what is to be written of one object. Shell.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::super::artifact::{ArtifactInput, artifact};
use super::super::boots::{later, summary};
use super::super::machine::{MachineInput, machine};
use super::super::notices::of_conditions;
use super::super::profile::{ProfileInput, profile};
use super::super::publish::{BootsJob, Job};
use super::super::sight::Sight;
use super::super::subnet::{Listening, SubnetInput, subnet};
use super::Writer;
use crate::api::{ArtifactStatus, BootProfileStatus, Kind, MachineStatus, ObjectRef, SubnetStatus};
use crate::clock::{self, Millis};
use crate::dhcp::lookout::Acting;
use crate::operator::Info;
use crate::snapshot::ObjectName;
use crate::supervisor::State;
use crate::timeline::Boot;

/// The facts of a Machine that the status writer says: discovery says the others.
const OWN_FACTS: [&str; 2] = ["uuid", "subnet"];
/// How long a start may take until a Subnet is said not to be served yet.
const START: Duration = Duration::from_secs(10);

impl Writer {
    /// Looks for the files of profiles. Blocks.
    pub(super) fn find_files(&mut self) {
        let Some((sight, _)) = &self.sight else {
            return;
        };
        let sight = Arc::clone(sight);
        let now = self.now();
        for profile in &sight.snapshot.profiles {
            let missing = crate::press::missing_of(profile, &self.sources.roots);
            let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
            let name = &profile.name;
            let known = self.missing.insert(name.clone(), missing.clone());
            if known.as_ref() != Some(&missing) {
                let object = ObjectRef::new(Kind::BootProfile, &name.namespace, &name.name);
                self.pace.mark(&object, now);
            }
        }
        let names = &sight.snapshot.profiles;
        if self.missing.len() > names.len() {
            self.missing
                .retain(|name, _| names.iter().any(|profile| profile.name == *name));
        }
    }

    /// What is to be written of `object`; nothing where it is as it should be,
    /// where nobody knows yet, or where it is not ours to write.
    pub(super) fn job(&mut self, object: &ObjectRef) -> Option<Job> {
        let (sight, revision) = self.sight.clone()?;
        let info = {
            let objects = self.sources.objects.lock();
            // A world that shows it is on its way, and marks it again.
            objects.changed(object).filter(|at| *at <= revision)?;
            objects.info(object)?.clone()
        };
        let mut job = Job {
            object: object.clone(),
            uid: info.uid.clone(),
            status: None,
            label: None,
            boots: None,
            counted: 0,
        };
        if self.leads() {
            job.status = match object.kind {
                Kind::Machine => self.machine(object, &info, &sight),
                Kind::Subnet => self.subnet(object, &info, &sight),
                Kind::Artifact => self.artifact(object, &info, &sight),
                Kind::BootProfile => {
                    let tally = self.tallies.get(&name_of(object));
                    job.counted = tally.map_or(0, |tally| tally.more);
                    self.profile(object, &info, &sight)
                }
            };
        }
        if object.kind == Kind::Machine {
            job.boots = self.boots(object, &info);
            job.label = self.label(object, &info, &sight).filter(|_| self.led);
        }
        Some(job)
    }

    /// The status until now: what we wrote, while its echo may be under way.
    fn old<T: DeserializeOwned + Default>(&self, object: &ObjectRef, info: &Info) -> T {
        let written = self.written.get(object);
        let written = written.filter(|it| it.uid == info.uid && &*it.status != "null");
        match written {
            Some(written) => serde_json::from_str(&written.status).unwrap_or_default(),
            None => serde_json::from_str(&info.status.text()).unwrap_or_default(),
        }
    }

    /// `status`, where it is another than `old` and can be kept.
    fn news<T: Serialize + PartialEq>(
        &self,
        object: &ObjectRef,
        info: &Info,
        (old, old_conditions): (&T, &[Condition]),
        (status, conditions): (&T, &[Condition]),
    ) -> Option<Value> {
        if old == status {
            return None;
        }
        let status = serde_json::to_value(status).ok()?;
        // What the API server does not keep differs at each look, and is no news.
        let futile = self.futile.get(object);
        if futile.is_some_and(|futile| timeless(futile) == timeless(&status)) {
            return None;
        }
        for notice in of_conditions(old_conditions, conditions) {
            self.announcer.announce(object, &info.uid, notice);
        }
        Some(status)
    }

    fn machine(&self, object: &ObjectRef, info: &Info, sight: &Sight) -> Option<Value> {
        let old: MachineStatus = self.old(object, info);
        let name = name_of(object);
        let own = self.sources.boots.with_machine(&name, |boots| {
            let running = boots.running().iter().filter(|it| !it.is_mere_offer());
            let list = boots.past().chain(running);
            let boot = list.max_by_key(|boot| (boot.started, boot.is_running(), boot.id))?;
            Some((summary(boot, &self.publisher.replica), boot.uuid))
        });
        let (own, uuid) = own.flatten().unzip();
        let latest = later(own, info.latest.as_deref());
        let entry = sight.machine(&name);
        let macs = entry.into_iter().flat_map(|entry| &entry.spec().interfaces);
        let lease = macs
            .filter_map(|interface| self.sources.leases.address_of(interface.mac))
            .next();
        let status = machine(&MachineInput {
            object,
            generation: info.generation,
            old: &old,
            sight,
            latest: latest.as_ref(),
            uuid: uuid.flatten(),
            lease,
            consumed: sight.snapshot.spent.get(&name).copied(),
            now: timestamp(clock::now())?,
        });
        let conditions = (&*old.conditions, &*status.conditions);
        let news = self.news(object, info, (&old, conditions.0), (&status, conditions.1));
        news.map(without_foreign_facts)
    }

    fn subnet(&self, object: &ObjectRef, info: &Info, sight: &Sight) -> Option<Value> {
        let old: SubnetStatus = self.old(object, info);
        let key = format!("{}/{}", object.namespace, object.name);
        let now = clock::now();
        let servers = self.sources.heard.servers(&key, now);
        let listener = self.listener(sight, &key);
        let usage = self.sources.usages.of(&key);
        let entry = sight.snapshot.subnet(&key);
        let has_v6 = entry.is_some_and(|entry| entry.spec.ipv6.is_some());
        let usage6 = self.sources.usages6.of(&key).filter(|_| has_v6);
        let link6 = self.sources.links6.of(&key).filter(|_| has_v6);
        // A start is no news: what was said before is so again in a moment.
        let uncounted = usage.is_none() || has_v6 && usage6.is_none();
        let is_starting = listener == Listening::Starting || uncounted;
        if is_starting && sight.snapshot.subnet(&key).is_some() && self.started.elapsed() < START {
            return None;
        }
        let status = subnet(&SubnetInput {
            object,
            generation: info.generation,
            old: &old,
            sight,
            listener: &listener,
            usage,
            usage6,
            link6: link6.as_ref(),
            servers: &servers,
            acting: sight
                .snapshot
                .subnet(&key)
                .map_or(Acting::Looking, |subnet| {
                    self.sources.lookouts.acting(&key, &subnet.spec)
                }),
            now: timestamp(now)?,
        });
        let conditions = (&*old.conditions, &*status.conditions);
        self.news(object, info, (&old, conditions.0), (&status, conditions.1))
    }

    fn listener(&self, sight: &Sight, key: &str) -> Listening {
        let [_, _, v6] = (self.sources.listeners)(key);
        let services = self.sources.supervisor.health();
        let entry = sight.snapshot.subnet(key);
        if entry.is_some_and(|entry| entry.spec.cidr.is_none() && entry.hears_v6) {
            return match (services.get(&v6), self.sources.links6.of(key)) {
                (Some(State::Up), Some(link)) => Listening::Six(link),
                (Some(State::Down(cause)), _) if cause != "it starts" => {
                    Listening::Down(cause.clone())
                }
                _ => Listening::Starting,
            };
        }
        let key = match sight.snapshot.subnet(key).map(|it| it.listener.as_deref()) {
            Some(None) => return Listening::Relayed,
            Some(Some(listener)) => listener,
            None => key,
        };
        let [dhcp, boot, _] = (self.sources.listeners)(key);
        // A proxy that nobody can ask at UDP 4011 boots no UEFI machine, and one
        // that boots by IPv6 hears nothing of DHCPv4.
        for also in [&boot, &v6] {
            if let Some(State::Down(cause)) = services.get(also)
                && cause != "it starts"
            {
                return Listening::Down(cause.clone());
            }
        }
        match services.get(&dhcp) {
            None => Listening::Starting,
            Some(State::Up) => match self.sources.links.of(key) {
                Some(link) => Listening::On(link),
                None => Listening::Starting,
            },
            Some(State::Down(cause)) if cause == "it starts" => Listening::Starting,
            Some(State::Down(cause)) => Listening::Down(cause.clone()),
        }
    }

    fn profile(&self, object: &ObjectRef, info: &Info, sight: &Sight) -> Option<Value> {
        let old: BootProfileStatus = self.old(object, info);
        let name = name_of(object);
        // Nobody looked for its files yet.
        let missing = match self.missing.get(&name) {
            Some(missing) => missing.as_slice(),
            None if sight.errors(object).next().is_some() => &[],
            None => return None,
        };
        let tally = self.tallies.get(&name);
        let status = profile(&ProfileInput {
            object,
            generation: info.generation,
            old: &old,
            sight,
            missing,
            // Counts only grow: an echo that comes very late shows an old one.
            boots: old.boots.max(tally.map_or(0, |tally| tally.landed))
                + tally.map_or(0, |tally| tally.more),
            last_boot: tally.and_then(|tally| tally.last.as_ref()),
            now: timestamp(clock::now())?,
        });
        let conditions = (&*old.conditions, &*status.conditions);
        self.news(object, info, (&old, conditions.0), (&status, conditions.1))
    }

    fn artifact(&self, object: &ObjectRef, info: &Info, sight: &Sight) -> Option<Value> {
        let old: ArtifactStatus = self.old(object, info);
        let name = name_of(object);
        let entry = self.sources.artifacts.of(&name);
        let is_refused = sight.errors(object).next().is_some();
        // The keeper looks at it in a moment.
        if entry.is_none() && !is_refused && self.started.elapsed() < START {
            return None;
        }
        let table = self.sources.shelf.table();
        let now = clock::now();
        let status = artifact(&ArtifactInput {
            object,
            generation: info.generation,
            old: &old,
            sight,
            entry: entry.as_ref(),
            held: table.get(&name),
            now: (timestamp(now)?, now),
        });
        let conditions = (&*old.conditions, &*status.conditions);
        self.news(object, info, (&old, conditions.0), (&status, conditions.1))
    }

    /// The boots that this replica saw, where they are not written yet.
    fn boots(&self, object: &ObjectRef, info: &Info) -> Option<BootsJob> {
        let name = name_of(object);
        let revision = self.sources.boots.with_machine(&name, |boots| {
            // What may yet turn out to be another server's boot is not told.
            let is_empty = boots.running().iter().all(Boot::is_mere_offer);
            let is_empty = is_empty && boots.past().next().is_none();
            (!is_empty).then(|| boots.revision())
        })??;
        let mirror = self.mirrors.get(object);
        let mirror = mirror.filter(|mirror| mirror.uid == info.uid);
        if mirror.is_some_and(|mirror| mirror.revision >= revision) {
            return None;
        }
        let list = self.sources.boots.of_machine(&name)?;
        Some(BootsJob {
            list,
            before: mirror.map(|mirror| mirror.before.clone()),
        })
    }

    /// The label with the first MAC address, where it is missing.
    fn label(&self, object: &ObjectRef, info: &Info, sight: &Sight) -> Option<String> {
        let interface = sight.machine(&name_of(object))?.spec().interfaces.first()?;
        let label = interface.mac.hyphenated();
        let written = self.labels.get(object).map(|(label, _)| label);
        let is_known = info.mac_label.as_deref() == Some(&*label) || written == Some(&label);
        (!is_known && Instant::now() >= self.labels_after).then_some(label)
    }
}

pub(super) fn name_of(object: &ObjectRef) -> ObjectName {
    ObjectName {
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

fn timestamp(now: Millis) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()
}

/// A status without the times of its conditions, which move where nothing is kept.
fn timeless(status: &Value) -> Value {
    let mut status = status.clone();
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            fields.remove("lastTransitionTime");
        }
    }
    status
}

/// A Machine's status without the facts that discovery writes under a name of
/// its own: applied here, an old one would win over what it says next.
fn without_foreign_facts(mut status: Value) -> Value {
    let facts = status.get_mut("facts").and_then(Value::as_object_mut);
    if let Some(facts) = facts {
        facts.retain(|field, _| OWN_FACTS.contains(&field.as_str()));
    }
    status
}
