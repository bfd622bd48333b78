//! What the HTTP doors count. No label names a machine: there are too many.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// The metrics of every HTTP door of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    /// `reveille_http_requests_total{code,kind}`.
    pub(super) requests: IntCounterVec,
    /// `reveille_http_sent_bytes_total{kind}`: content, without headers.
    pub(super) sent: IntCounterVec,
    /// `reveille_http_refused_total{reason}`.
    pub(super) refused: IntCounterVec,
    /// `reveille_http_cut_total{reason}`: answers that ended before their end.
    pub(super) cut: IntCounterVec,
    /// `reveille_http_full_total{door}`: times that new connections had to wait.
    pub(super) full: IntCounterVec,
    /// `reveille_http_connections{door}`.
    pub(super) connections: IntGaugeVec,
}

impl HttpMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// Where `registry` has metrics of these names already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let connections = IntGaugeVec::new(
            Opts::new(
                "reveille_http_connections",
                "HTTP connections that are open, by door.",
            ),
            &["door"],
        )?;
        registry.register(Box::new(connections.clone()))?;
        Ok(Self {
            requests: counter(
                "reveille_http_requests_total",
                "HTTP requests of boot clients that were answered, by status code and what was asked for.",
                &["code", "kind"],
            )?,
            sent: counter(
                "reveille_http_sent_bytes_total",
                "Bytes of content sent to boot clients over HTTP, by what it was for.",
                &["kind"],
            )?,
            refused: counter(
                "reveille_http_refused_total",
                "HTTP requests and connections that were refused, by reason.",
                &["reason"],
            )?,
            cut: counter(
                "reveille_http_cut_total",
                "HTTP answers that ended before all was sent, by reason.",
                &["reason"],
            )?,
            full: counter(
                "reveille_http_full_total",
                "Times that all connections of an HTTP door were taken, so that new ones had to wait.",
                &["door"],
            )?,
            connections,
        })
    }
}
