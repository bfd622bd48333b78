//! Discovery in a cluster: unknown machines become Machine objects that wait
//! for approval. Shell.
//!
//! Only the leader writes; the others listen, so that they know what it knew
//! should they lead next.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::objects::{Info, Objects, Resource};
use super::source::Shared;
use super::watch::chain;
use crate::api::{API_VERSION, GROUP, Kind, Machine, MachineSpec, MachineStatus, ObjectRef};
use crate::boot::MacAddress;
use crate::clock::{self, Millis};
use crate::discover::{
    self, DISCOVERED_LABEL, Discovery, DiscoveryMetrics, Facts, Found, Seen, Sighting, Standing,
    Who,
};
use crate::snapshot::Reader;
use crate::telemetry::Seldom;

/// Whether this replica leads.
pub type Leads = Arc<dyn Fn() -> bool + Send + Sync>;

/// Who writes, as the API server knows it.
const MANAGER: &str = "reveille-discovery";
/// How often Machines are made and cleaned up.
const TICK: Duration = Duration::from_secs(1);
/// Writes of a kind in one tick, so that discovery never takes more than a part
/// of what the API server grants us.
const BATCH: usize = 20;
/// How long the API server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Discovery in a cluster.
pub struct Discoverer {
    /// What DHCP saw.
    pub heard: mpsc::Receiver<Sighting>,
    /// What it comes to.
    pub discovery: Discovery,
    /// Where Machines are.
    pub cluster: Cluster,
    /// What is known of them.
    pub objects: Shared,
    /// Who is known, files included.
    pub snapshots: Reader,
    /// Whether we may write.
    pub leads: Leads,
    /// What is counted.
    pub metrics: DiscoveryMetrics,
    /// What was said lately.
    pub seldom: Seldom,
}

/// What became of a Machine that was to be deleted.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It was deleted.
    Deleted,
    /// It was gone already.
    Gone,
    /// It is somebody's by now.
    Kept,
    /// It changed while we looked at it.
    Changed,
}

/// Why the API server did not do it.
#[derive(Debug)]
enum Failed {
    /// It said no, with this code.
    Refused(u16, String),
    /// It was not reached, or took too long.
    Unreached(String),
}

// === impl Discoverer ===

impl Discoverer {
    /// Discovers until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own: what goes wrong is said, and tried again.
    pub async fn run(this: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let this = &mut *this;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                Some(sighting) = this.heard.recv() => {
                    if let Seen::Dropped(why) = this.discovery.see(sighting) {
                        this.metrics.dropped(why.as_str());
                    }
                }
                _ = tick.tick() => tokio::select! {
                    () = token.cancelled() => return Ok(()),
                    () = this.work() => {}
                }
            }
        }
    }

    async fn work(&mut self) {
        let now = clock::now();
        let Some(standing) = standing(&self.objects.lock(), now) else {
            return;
        };
        self.discovery.sync(now, standing);
        if (self.leads)() {
            // One answer that does not come is enough: the rest waits.
            let _ = self.make(now).await && self.note(now).await && self.clean(now).await;
        }
        let (candidates, waiting) = self.discovery.counts();
        let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.candidates.set(count(candidates));
        self.metrics.waiting.set(count(waiting));
    }

    /// Makes the Machines that are due; whether the API server is reached, as
    /// those below.
    async fn make(&mut self, now: Millis) -> bool {
        let snapshot = self.snapshots.current();
        let is_known = |who: &Who| {
            let snapshot = snapshot.as_ref();
            snapshot.is_none_or(|it| it.machine(&who.namespace, who.mac).is_some())
        };
        let mut broken = false;
        for found in self.discovery.due(now, is_known) {
            // They ask again.
            if broken {
                self.discovery.not_made(&found.who);
                continue;
            }
            let machine = discover::machine(&found.who, &found.subnet);
            let params = PostParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PostParams::default()
            };
            match asked(self.machines(&found.who).create(&params, &machine)).await {
                Ok(_) => {
                    self.metrics.discovered.inc();
                    tell(&found);
                }
                // Another replica was faster, or our watch is behind.
                Err(Failed::Refused(409, _)) => {}
                Err(failed) => {
                    broken = matches!(failed, Failed::Unreached(_));
                    self.discovery.not_made(&found.who);
                    self.complain("create", "machines", &failed, now);
                }
            }
        }
        !broken
    }

    /// Writes down what firmware told and when it did.
    async fn note(&mut self, now: Millis) -> bool {
        for found in self.discovery.to_note(BATCH) {
            let Found {
                who,
                subnet,
                facts,
                first,
                last,
                asked: count,
            } = &found;
            let facts = discover::facts_of(facts, subnet, *first, *last, *count);
            let name = discover::name_of(who.mac);
            let status = json!({
                "apiVersion": API_VERSION, "kind": "Machine",
                "metadata": {"name": name}, "status": {"facts": facts},
            });
            let params = PatchParams::apply(MANAGER).force();
            let api = self.machines(who);
            match asked(api.patch_status(&name, &params, &Patch::Apply(&status))).await {
                Ok(_) | Err(Failed::Refused(404, _)) => {}
                Err(failed) => {
                    self.discovery.not_noted(who);
                    self.complain("patch", "machines/status", &failed, now);
                    if matches!(failed, Failed::Unreached(_)) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Deletes those that nobody approved and that are gone.
    async fn clean(&mut self, now: Millis) -> bool {
        for who in self.discovery.expired(now, BATCH) {
            match self.delete(&who).await {
                Ok(End::Deleted) => {
                    self.discovery.forget(&who);
                    self.metrics.expired.inc();
                    tracing::info!(
                        machine = discover::name_of(who.mac),
                        namespace = who.namespace,
                        "discovered machine deleted: nobody approved it and it is gone"
                    );
                }
                Ok(End::Gone) => self.discovery.forget(&who),
                Ok(End::Kept) => self.discovery.keep(&who),
                Ok(End::Changed) => {}
                Err(failed) => {
                    self.complain("delete", "machines", &failed, now);
                    if matches!(failed, Failed::Unreached(_)) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Deletes the Machine of `who` if it is as we made it: as it is at the API
    /// server now, not as a watch knew it.
    async fn delete(&self, who: &Who) -> Result<End, Failed> {
        let api = self.machines(who);
        let name = discover::name_of(who.mac);
        let Some(machine) = asked(api.get_opt(&name)).await? else {
            return Ok(End::Gone);
        };
        if !discover::is_untouched(&machine) {
            return Ok(End::Kept);
        }
        let ObjectMeta {
            uid,
            resource_version,
            ..
        } = machine.metadata;
        // Whoever approves it between the two requests wins.
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid,
                resource_version,
            }),
            ..DeleteParams::default()
        };
        match asked(api.delete(&name, &params)).await {
            Ok(_) => Ok(End::Deleted),
            Err(Failed::Refused(404, _)) => Ok(End::Gone),
            Err(Failed::Refused(409, _)) => Ok(End::Changed),
            Err(failed) => Err(failed),
        }
    }

    fn machines(&self, who: &Who) -> Api<Machine> {
        Api::namespaced(self.cluster.client.clone(), &who.namespace)
    }

    fn complain(&self, verb: &str, resource: &str, failed: &Failed, now: Millis) {
        self.metrics.failed(verb);
        let line = match failed {
            Failed::Refused(403, why) => format!(
                "we may not {verb} {resource}; allow the verb on {resource}.{GROUP} to our ServiceAccount ({why})"
            ),
            Failed::Refused(code, why) => {
                format!("the API server answers {verb} {resource} with {code}: {why}")
            }
            Failed::Unreached(why) => format!("discovered machines wait: {why}"),
        };
        if self.seldom.is_due(&format!("{verb} {resource}"), now) {
            tracing::warn!("{line}");
        }
    }
}

/// Approves every Machine with this MAC address; says what was done.
///
/// # Errors
/// In words: there is none, or the API server does not let us.
pub async fn approve(
    cluster: &Cluster,
    objects: &Shared,
    mac: MacAddress,
) -> Result<String, String> {
    let found = with_mac(&objects.lock(), mac);
    if found.is_empty() {
        return Err(format!("no Machine has the MAC address {mac}"));
    }
    let mut said = Vec::new();
    for (object, is_approved) in found {
        let shown = format!("{}/{}", object.namespace, object.name);
        if is_approved {
            said.push(format!("{shown} is approved already"));
            continue;
        }
        let api: Api<Machine> = Api::namespaced(cluster.client.clone(), &object.namespace);
        let patch = json!({"spec": {"approved": true}});
        let params = PatchParams {
            field_manager: Some("reveille-approve".to_owned()),
            ..PatchParams::default()
        };
        asked(api.patch(&object.name, &params, &Patch::Merge(&patch)))
            .await
            .map_err(|failed| match failed {
                Failed::Refused(code, why) => format!("the API server says {code}: {why}"),
                Failed::Unreached(why) => why,
            })?;
        said.push(format!("{shown} is approved and boots when it asks again"));
    }
    Ok(said.join("; "))
}

/// One answer of the API server.
async fn asked<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
    match timeout(PATIENCE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(Failed::Refused(status.code, status.message)),
        Ok(Err(error)) => Err(Failed::Unreached(format!(
            "the API server is not reached: {}",
            chain(&error)
        ))),
        Err(_) => Err(Failed::Unreached(format!(
            "the API server does not answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// The discovered Machines that wait for approval; `None` where not all
/// objects are known yet.
fn standing(objects: &Objects, now: Millis) -> Option<Vec<Standing>> {
    if !objects.is_synced() {
        return None;
    }
    let all = objects.of_kind(Kind::Machine);
    let is_ours = |info: &Info| {
        let label = info.labels.get(DISCOVERED_LABEL);
        label.map(String::as_str) == Some("true")
    };
    let ours = all.filter(|(_, info)| is_ours(info));
    let waiting = ours.filter_map(|(object, info)| {
        let Resource::Machine(machine) = objects.resource(object)? else {
            return None;
        };
        if machine.spec.approved {
            return None;
        }
        let generation = Some(info.generation);
        Some(Standing {
            found: stands(object, info, &machine.spec, now)?,
            untouched: discover::may_be_untouched(&machine.spec, &info.labels, generation),
        })
    });
    Some(waiting.collect())
}

/// What the status of a discovered Machine says of it. One without a note was
/// made by a replica that was gone before it wrote one: it was heard now.
fn stands(object: &ObjectRef, info: &Info, spec: &MachineSpec, now: Millis) -> Option<Found> {
    let status: MachineStatus = serde_json::from_str(&info.status.text()).unwrap_or_default();
    let facts = status.facts.unwrap_or_default();
    let time = |time: &Option<_>| time.as_ref().and_then(discover::time_of);
    Some(Found {
        who: Who {
            namespace: object.namespace.clone(),
            mac: spec.interfaces.first()?.mac,
        },
        subnet: facts.subnet.clone().unwrap_or_default(),
        first: time(&facts.first_seen).unwrap_or(now),
        last: time(&facts.last_seen).unwrap_or(now),
        asked: u64::try_from(facts.requests.unwrap_or_default()).unwrap_or_default(),
        facts: Facts {
            firmware: facts.firmware,
            vendor_class: facts.vendor_class,
            user_class: facts.user_class,
            uuid: facts.uuid,
            hostname: facts.hostname,
        },
    })
}

/// The Machines with this MAC address, and whether they are approved.
fn with_mac(objects: &Objects, mac: MacAddress) -> Vec<(ObjectRef, bool)> {
    let all = objects.of_kind(Kind::Machine);
    let found = all.filter_map(|(object, _)| {
        let Resource::Machine(machine) = objects.resource(object)? else {
            return None;
        };
        let has_it = machine.spec.interfaces.iter().any(|it| it.mac == mac);
        has_it.then(|| (object.clone(), machine.spec.approved))
    });
    found.collect()
}

fn tell(found: &Found) {
    let Found {
        who, subnet, facts, ..
    } = found;
    let name = discover::name_of(who.mac);
    tracing::info!(
        machine = name,
        namespace = who.namespace,
        subnet,
        firmware = facts.firmware,
        vendor_class = facts.vendor_class,
        uuid = facts.uuid,
        "machine discovered; it boots once it is approved: kubectl -n {} patch machine {name} --type merge -p '{{\"spec\":{{\"approved\":true}}}}'",
        who.namespace
    );
}
