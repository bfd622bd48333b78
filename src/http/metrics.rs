//! What the HTTP doors count. No label names a machine: there are too many.

use std::sync::Arc;

use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::refusal::Refusal;
use super::route;
use crate::telemetry::{BYTES, Meter, SECONDS, about};

/// From a script out of memory to an image over a slow line.
const ANSWERS: [f64; 13] = [
    0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];

/// The metrics of every HTTP door of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    /// `reveille_http_requests_total{code,kind}`.
    pub(super) requests: IntCounterVec,
    /// `reveille_http_answer_seconds{kind}`.
    pub(super) seconds: HistogramVec,
    /// `reveille_http_sent_bytes_total{kind}`: content, without headers.
    pub(super) sent: IntCounterVec,
    /// `reveille_http_refused_total{reason}`.
    pub(super) refused: IntCounterVec,
    /// `reveille_http_answer_files_total{outcome}`: `given`, or why not.
    answer_files: IntCounterVec,
    /// `reveille_http_cut_total{reason}`: answers that ended before their end.
    pub(super) cut: IntCounterVec,
    /// `reveille_http_full_total{door}`: times that new connections had to wait.
    pub(super) full: IntCounterVec,
    /// `reveille_http_connections{door}`.
    pub(super) connections: IntGaugeVec,
    /// `reveille_http_in_flight_requests`.
    in_flight: IntGauge,
}

/// A request that is not yet answered to its end; it counts until its last
/// clone is gone.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    _counted: Arc<Counted>,
}

#[derive(Debug)]
struct Counted(IntGauge);

// === impl HttpMetrics ===

impl HttpMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// Where `meter` has metrics of these names already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        let counter =
            |name, help, unit, labels: &[&str]| meter.counters(about(name, help, unit), labels);
        Ok(Self {
            requests: counter(
                "reveille_http_requests_total",
                "HTTP requests of boot clients that were answered, by status code and what was asked for.",
                "requests",
                &["code", "kind"],
            )?,
            seconds: meter.histograms(
                about(
                    "reveille_http_answer_seconds",
                    "Time from an HTTP request of a boot client to the last byte of its answer.",
                    SECONDS,
                ),
                &["kind"],
                &ANSWERS,
            )?,
            sent: counter(
                "reveille_http_sent_bytes_total",
                "Content sent to boot clients over HTTP, by what it was for.",
                BYTES,
                &["kind"],
            )?,
            refused: counter(
                "reveille_http_refused_total",
                "HTTP requests and connections that were refused, by reason.",
                "requests",
                &["reason"],
            )?,
            answer_files: counter(
                "reveille_http_answer_files_total",
                "Answer files that were asked for, by outcome: given, or why not.",
                "requests",
                &["outcome"],
            )?,
            cut: counter(
                "reveille_http_cut_total",
                "HTTP answers that ended before all was sent, by reason.",
                "answers",
                &["reason"],
            )?,
            full: counter(
                "reveille_http_full_total",
                "Times that all connections of an HTTP door were taken, so that new ones had to wait.",
                "times",
                &["door"],
            )?,
            connections: meter.gauges(
                about(
                    "reveille_http_connections",
                    "HTTP connections that are open, by door.",
                    "connections",
                ),
                &["door"],
            )?,
            in_flight: meter.gauge(about(
                "reveille_http_in_flight_requests",
                "HTTP requests of boot clients that are being answered.",
                "requests",
            ))?,
        })
    }

    /// An answer file was given for the token of its boot.
    pub(super) fn answer_file_given(&self) {
        self.answer_files.with_label_values(&["given"]).inc();
    }

    /// A request was refused; those for answer files are counted.
    pub(super) fn answer_file_refused(&self, refusal: &Refusal) {
        if let Refusal::Route(route::Refused::Config(why)) | Refusal::AnswerFile(why) = refusal {
            self.answer_files.with_label_values(&[why.as_str()]).inc();
        }
    }

    /// A request begins.
    pub(super) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight {
            _counted: Arc::new(Counted(self.in_flight.clone())),
        }
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
