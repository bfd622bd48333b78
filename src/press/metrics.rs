//! What is counted of the manifests.

use std::collections::BTreeSet;

use prometheus::{Histogram, IntGauge, IntGaugeVec};

use crate::api::{Kind, ObjectRef, Problem};
use crate::snapshot::Snapshot;
use crate::telemetry::{Meter, SECONDS, about};

/// The kind of what could not even be read as an object.
const UNREADABLE: &str = "unreadable";

/// Metrics of the snapshots; cheap to clone.
#[derive(Clone, Debug)]
pub struct SnapshotMetrics {
    generation: IntGauge,
    objects: IntGaugeVec,
    refused: IntGaugeVec,
    /// Time that compiling took.
    pub(super) compile_seconds: Histogram,
}

impl SnapshotMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        let buckets = prometheus::exponential_buckets(0.000_1, 4.0, 9)?;
        let metrics = Self {
            generation: meter.gauge(about(
                "reveille_snapshot_generation",
                "The snapshot that is served, by its number since the start; 0 before the first: \
                 nothing is served then.",
                "snapshots",
            ))?,
            objects: meter.gauges(
                about(
                    "reveille_snapshot_objects",
                    "Objects that are served as they are written, by kind.",
                    "objects",
                ),
                &["kind"],
            )?,
            refused: meter.gauges(
                about(
                    "reveille_snapshot_refused_objects",
                    "Objects with mistakes that keep them from being served as they are written, \
                     by kind; `unreadable` are those that are no object at all.",
                    "objects",
                ),
                &["kind"],
            )?,
            compile_seconds: meter.histogram(
                about(
                    "reveille_snapshot_compile_seconds",
                    "Time that compiling all objects into a snapshot took.",
                    SECONDS,
                ),
                &buckets,
            )?,
        };
        for kind in Kind::ALL {
            metrics.refused.with_label_values(&[kind.as_str()]).set(0);
        }
        metrics.refused.with_label_values(&[UNREADABLE]).set(0);
        Ok(metrics)
    }

    /// Takes note of a snapshot; so many documents were `unread`.
    pub(super) fn published(&self, snapshot: &Snapshot, report: &[Problem], unread: usize) {
        let set = |gauges: &IntGaugeVec, kind: &str, objects: usize| {
            let objects = i64::try_from(objects).unwrap_or(i64::MAX);
            gauges.with_label_values(&[kind]).set(objects);
        };
        let errors = report.iter().filter(|problem| problem.is_error());
        let refused: BTreeSet<&ObjectRef> = errors.map(|problem| &problem.place.object).collect();
        for kind in Kind::ALL {
            let of = refused.iter().filter(|object| object.kind == kind);
            set(&self.refused, kind.as_str(), of.count());
        }
        // What a document says is wrong is also said in words of its own.
        set(&self.refused, UNREADABLE, unread);
        for (kind, objects) in [
            (Kind::Subnet, snapshot.subnets.len()),
            (Kind::BootProfile, snapshot.profiles.len()),
            (Kind::Machine, snapshot.machines.len()),
        ] {
            set(&self.objects, kind.as_str(), objects);
        }
        let generation = i64::try_from(snapshot.generation).unwrap_or(i64::MAX);
        self.generation.set(generation);
    }
}
