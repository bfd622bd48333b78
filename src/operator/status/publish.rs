//! The writes of one object's status. Shell.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::boots::own_boots;
use super::conditions::cut;
use crate::api::{API_VERSION, BootStatus, GROUP, Kind, MAC_LABEL, ObjectRef};
use crate::operator::watch::chain;
use crate::operator::{Cluster, resource};
use crate::timeline::BootList;

/// Who writes, in `metadata.managedFields`; boots are each replica's own.
pub const FIELD_MANAGER: &str = "reveille";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a field manager that the API server takes.
const MAX_MANAGER: usize = 128;

/// Writes; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    cluster: Cluster,
    /// This replica.
    pub(super) replica: Arc<str>,
    /// What was said already.
    said: Arc<Mutex<BTreeSet<String>>>,
}

/// What is to be written of one object.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) object: ObjectRef,
    pub(super) uid: String,
    /// The status, without boots.
    pub(super) status: Option<Value>,
    /// The value of the MAC label.
    pub(super) label: Option<String>,
    pub(super) boots: Option<BootsJob>,
    /// The boots that the status of a profile counts anew.
    pub(super) counted: u64,
}

/// The boots of one machine.
#[derive(Clone, Debug)]
pub(super) struct BootsJob {
    pub(super) list: BootList,
    /// What this replica wrote in an earlier life; `None`: to be read.
    pub(super) before: Option<Vec<BootStatus>>,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is written; the status that the API server has now.
    Written(Box<str>),
    /// The object is gone, or another of its name is there.
    Gone,
    /// We may not.
    Forbidden,
    /// The API server does not take it.
    Rejected,
    /// The API server cannot now, or is not reached.
    Failed,
}

/// What came of a job.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) object: ObjectRef,
    pub(super) uid: String,
    /// The status that was to be written.
    pub(super) wanted: Option<Value>,
    /// The label that was to be written.
    pub(super) wanted_label: Option<String>,
    /// The boots that the status of a profile counted anew.
    pub(super) counted: u64,
    pub(super) status: Option<Outcome>,
    pub(super) label: Option<Outcome>,
    pub(super) boots: Option<(Outcome, BootsJob)>,
}

// === impl Publisher ===

impl Publisher {
    pub(super) fn new(cluster: Cluster, replica: &str) -> Self {
        Self {
            cluster,
            replica: replica.into(),
            said: Arc::default(),
        }
    }

    /// Does all writes of a job, one after the other.
    pub(super) async fn publish(self, job: Job) -> Landed {
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.cluster.client.clone(),
            &job.object.namespace,
            &resource(job.object.kind),
        );
        let mut landed = Landed {
            object: job.object.clone(),
            uid: job.uid.clone(),
            wanted: job.status.clone(),
            wanted_label: job.label.clone(),
            counted: job.counted,
            status: None,
            label: None,
            boots: None,
        };
        if let Some(status) = &job.status {
            let patch = document(&job, json!({"status": status}));
            let outcome = self.apply_status(&api, &job, FIELD_MANAGER, &patch).await;
            let goes_on = matches!(outcome, Outcome::Written(_) | Outcome::Rejected);
            landed.status = Some(outcome);
            if !goes_on {
                return landed;
            }
        }
        if let Some(boots) = job.boots.clone() {
            landed.boots = Some(self.publish_boots(&api, &job, boots).await);
        }
        if let Some(mac) = &job.label {
            let mut patch = document(&job, json!({}));
            patch["metadata"]["labels"] = json!({MAC_LABEL: mac});
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            let patch = Patch::Apply(&patch);
            let result = api.patch(&job.object.name, &parameters, &patch);
            landed.label = Some(self.outcome(&job, "patch", "", wait(result).await));
        }
        landed
    }

    async fn publish_boots(
        &self,
        api: &Api<DynamicObject>,
        job: &Job,
        mut boots: BootsJob,
    ) -> (Outcome, BootsJob) {
        let before = match boots.before.take() {
            Some(before) => before,
            None => match wait(api.get(&job.object.name)).await {
                Ok(object) => self.own_of(&object),
                Err(error) => return (self.outcome(job, "get", "", Err(error)), boots),
            },
        };
        let all = own_boots(&boots.list, &before, &self.replica);
        let patch = document(job, json!({"status": {"boots": all}}));
        let manager = self.boots_manager();
        let outcome = self.apply_status(api, job, &manager, &patch).await;
        // What the timeline knows is written from there; the rest stays with us.
        let known = |boot: &BootStatus| {
            let mut list = boots.list.running.iter().chain(&boots.list.past);
            list.any(|known| known.id.to_string() == boot.id)
        };
        let rest = all.into_iter().filter(|boot| !known(boot)).collect();
        boots.before = Some(rest);
        (outcome, boots)
    }

    /// The boots in `object` that this replica wrote.
    fn own_of(&self, object: &DynamicObject) -> Vec<BootStatus> {
        let boots = object.data.pointer("/status/boots").cloned();
        let boots = boots.and_then(|boots| serde_json::from_value(boots).ok());
        let mut boots: Vec<BootStatus> = boots.unwrap_or_default();
        boots.retain(|boot| boot.replica.as_deref() == Some(&*self.replica));
        boots
    }

    fn boots_manager(&self) -> String {
        let mut manager = format!("{FIELD_MANAGER}-boots-{}", self.replica);
        cut(&mut manager, MAX_MANAGER);
        manager
    }

    async fn apply_status(
        &self,
        api: &Api<DynamicObject>,
        job: &Job,
        manager: &str,
        patch: &Value,
    ) -> Outcome {
        let parameters = PatchParams::apply(manager).force();
        let patch = Patch::Apply(patch);
        let result = api.patch_status(&job.object.name, &parameters, &patch);
        self.outcome(job, "patch", "/status", wait(result).await)
    }

    fn outcome(
        &self,
        job: &Job,
        verb: &str,
        part: &str,
        result: Result<DynamicObject, String>,
    ) -> Outcome {
        let kind = job.object.kind;
        let plural = resource(kind).plural;
        let error = match result {
            Ok(object) => {
                self.unsay(kind);
                let status = object.data.get("status").map(Value::to_string);
                return Outcome::Written(status.unwrap_or_default().into());
            }
            Err(error) => error,
        };
        let (code, error) = error.split_once(' ').unwrap_or(("0", &error));
        match code {
            "404" | "409" | "410" => Outcome::Gone,
            "403" => {
                self.say(kind, code, || {
                    format!("we may not {verb} {plural}{part}.{GROUP}; allow that verb on {plural}{part} to our ServiceAccount ({error})")
                });
                Outcome::Forbidden
            }
            "400" | "422" => {
                self.say(kind, code, || {
                    format!("the API server does not take the status of {}: {error}; are the CRDs of this version? `reveille crds | kubectl apply --server-side -f -`", job.object)
                });
                Outcome::Rejected
            }
            _ => {
                self.say(kind, "failed", || {
                    format!("the status of objects cannot be written now: {error}; it is tried again, machines boot all the same")
                });
                Outcome::Failed
            }
        }
    }

    /// Says a thing once, until it works again.
    pub(super) fn say(&self, kind: Kind, what: &str, line: impl FnOnce() -> String) {
        // That nothing can be written is said once for all kinds.
        let key = if what == "failed" {
            what.to_owned()
        } else {
            format!("{kind} {what}")
        };
        if self.said().insert(key) {
            tracing::warn!("{}", line());
        }
    }

    fn unsay(&self, kind: Kind) {
        let mut said = self.said();
        if said.is_empty() {
            return;
        }
        if said.remove("failed") {
            tracing::info!("the status of objects is written again");
        }
        said.remove(&format!("{kind} 403"));
    }

    fn said(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object as it is applied: its name, and by its uid no other of its name.
fn document(job: &Job, mut more: Value) -> Value {
    more["apiVersion"] = API_VERSION.into();
    more["kind"] = job.object.kind.as_str().into();
    more["metadata"] = json!({
        "name": job.object.name,
        "namespace": job.object.namespace,
        "uid": job.uid,
    });
    more
}

/// The answer, or its code and what it says; 0 where there is none.
async fn wait<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(format!("{} {}", status.code, status.message)),
        Ok(Err(error)) => Err(format!("0 {}", chain(&error))),
        Err(_) => Err(format!("0 no answer within {} s", PATIENCE.as_secs())),
    }
}

// === impl Job ===

impl Job {
    /// How many writes it takes.
    pub(super) fn writes(&self) -> u64 {
        let parts = [
            self.status.is_some(),
            self.label.is_some(),
            self.boots.is_some(),
        ];
        parts.into_iter().map(u64::from).sum()
    }
}

// === impl Outcome ===

impl Outcome {
    /// Its name in metrics.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Written(_) => "written",
            Self::Gone => "gone",
            Self::Forbidden => "forbidden",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    /// Whether it has to be tried again.
    pub(super) const fn is_to_repeat(&self) -> bool {
        matches!(self, Self::Forbidden | Self::Failed)
    }
}
