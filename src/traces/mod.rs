//! Boots as OpenTelemetry traces, sent by OTLP over HTTP. Shell; only with the
//! feature `otlp`.
//!
//! Nothing waits for it: spans go through a bounded queue to a thread that
//! sends them, and what does not fit is lost and said.

mod span;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanProcessor as _,
};

pub use self::span::{spans, trace_id};
use crate::timeline::Note;

/// Spans that may wait: of some 800 boots that end at once.
const QUEUE: usize = 8192;
/// How long the end of the service waits for what was not sent yet.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Where a collector takes traces, as OTLP has it, when the URL names no path.
const PATH: &str = "/v1/traces";

/// Sends boots as traces; cheap to clone.
#[derive(Clone, Debug)]
pub struct Traces(Arc<BatchSpanProcessor>);

impl Traces {
    /// Starts the thread that sends to `url`.
    ///
    /// # Errors
    /// A client that cannot be made.
    pub fn start(url: &str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .build()
            .with_context(|| format!("--traces-to {url}"))?;
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE);
        let mut processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(config.build())
            .build();
        // What OTEL_RESOURCE_ATTRIBUTES says comes along.
        let resource = Resource::builder()
            .with_service_name("reveille")
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ));
        processor.set_resource(&resource.build());
        tracing::info!(url, "boots are sent as traces");
        Ok(Self(Arc::new(processor)))
    }

    /// Sends what an event led to, where that ends a boot.
    pub fn note(&self, note: &Note) {
        self.send(spans(note));
    }

    /// Sends what waits, and ends. Blocks, for a moment.
    pub fn close(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_WORDS) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }

    fn send(&self, spans: Vec<SpanData>) {
        for span in spans {
            self.0.on_end(span);
        }
    }
}

/// Reads the URL of a collector.
///
/// # Errors
/// Text that is none, in words.
pub fn parse_url(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not a URL such as http://127.0.0.1:4318{PATH}");
    let url: http::Uri = text.parse().map_err(|_| wrong())?;
    match (url.scheme_str(), url.authority()) {
        (Some("http" | "https"), Some(_)) => {}
        (Some(_) | None, _) => return Err(wrong()),
    }
    if url.path() == "/" && url.query().is_none() {
        return Ok(format!("{}{PATH}", text.trim_end_matches('/')));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_url;

    #[test]
    fn a_collector_is_named_by_its_url() {
        for (text, url) in [
            ("http://tempo:4318", "http://tempo:4318/v1/traces"),
            ("https://tempo/", "https://tempo/v1/traces"),
            ("http://[::1]:4318/otlp", "http://[::1]:4318/otlp"),
        ] {
            assert_eq!(parse_url(text), Ok(url.to_owned()));
        }
        for text in [
            "",
            "tempo:4318",
            "grpc://tempo:4317",
            "http://",
            "/v1/traces",
        ] {
            let words = parse_url(text).unwrap_err();
            assert!(
                words.starts_with(&format!("`{text}` is not a URL")),
                "{words}"
            );
        }
    }
}
