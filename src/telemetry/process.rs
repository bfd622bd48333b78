//! Metrics of the process and its disks, looked at when somebody asks.

use std::path::{Path, PathBuf};

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Result};

use super::meter::{BYTES, Meter, MetricKind, SECONDS, about};

/// What the library's own collector shows: name, meaning, unit, kind.
const PROCESS: [(&str, &str, &str, MetricKind); 7] = [
    (
        "process_cpu_seconds_total",
        "Time of processors that the process used.",
        SECONDS,
        MetricKind::Counter,
    ),
    (
        "process_max_fds",
        "File descriptors that the process may have.",
        "descriptors",
        MetricKind::Gauge,
    ),
    (
        "process_open_fds",
        "File descriptors that the process has.",
        "descriptors",
        MetricKind::Gauge,
    ),
    (
        "process_resident_memory_bytes",
        "Memory that the process has in use.",
        BYTES,
        MetricKind::Gauge,
    ),
    (
        "process_start_time_seconds",
        "When the process began, since the Unix epoch.",
        SECONDS,
        MetricKind::Gauge,
    ),
    (
        "process_threads",
        "Threads of the process.",
        "threads",
        MetricKind::Gauge,
    ),
    (
        "process_virtual_memory_bytes",
        "Address space of the process.",
        BYTES,
        MetricKind::Gauge,
    ),
];

/// Folders whose disks are looked at.
#[derive(Debug)]
struct Disks {
    folders: Vec<(String, PathBuf)>,
    size: IntGaugeVec,
    free: IntGaugeVec,
}

/// Registers what is known of the process itself, and of the disks of
/// `folders`, each with its name.
///
/// # Errors
/// A registry that has them already.
pub fn register(meter: &Meter, folders: &[(&str, &Path)]) -> Result<()> {
    let build = about(
        "reveille_build_info",
        "Always 1; the labels say which program this is.",
        "programs",
    );
    let labels = ["version", "architecture"];
    let build = meter.gauges(build, &labels)?;
    let values = [env!("CARGO_PKG_VERSION"), std::env::consts::ARCH];
    build.with_label_values(&values).set(1);
    for (name, help, unit, kind) in PROCESS {
        meter.describe(about(name, help, unit), kind, &[], &[]);
    }
    meter.register(Box::new(ProcessCollector::for_self()))?;
    let size = about(
        "reveille_disk_size_bytes",
        "Size of the file system that a folder is on.",
        BYTES,
    );
    let free = about(
        "reveille_disk_free_bytes",
        "Room that is left to us on the file system that a folder is on.",
        BYTES,
    );
    for about in [size, free] {
        meter.describe(about, MetricKind::Gauge, &["folder"], &[]);
    }
    let folders = folders.iter();
    meter.register(Box::new(Disks {
        folders: folders
            .map(|(name, path)| ((*name).to_owned(), path.to_path_buf()))
            .collect(),
        size: IntGaugeVec::new(size.opts(), &["folder"])?,
        free: IntGaugeVec::new(free.opts(), &["folder"])?,
    }))
}

// === impl Disks ===

impl Collector for Disks {
    fn desc(&self) -> Vec<&Desc> {
        [self.size.desc(), self.free.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (name, path) in &self.folders {
            // What cannot be seen now was seen a moment ago.
            let Ok(disk) = rustix::fs::statvfs(path) else {
                continue;
            };
            for (gauge, blocks) in [(&self.size, disk.f_blocks), (&self.free, disk.f_bavail)] {
                let bytes = blocks.saturating_mul(disk.f_frsize);
                let gauge = gauge.with_label_values(&[name]);
                gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        }
        let mut families = self.size.collect();
        families.extend(self.free.collect());
        families
    }
}
