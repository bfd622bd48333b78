//! Handshakes: a TCP connection becomes one that speaks TLS, or is told of. Shell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::failure::HandshakeFailed;
use super::metrics::{COMPLETE, TlsMetrics};
use super::{Shown, TlsError, provider, roots};
use crate::clock;
use crate::telemetry::Seldom;

/// For a handshake to end. An emulated machine takes seconds for one of RSA.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The protocol under HTTP/2 (RFC 9113 section 3.3).
const H2: &[u8] = b"h2";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1 or older.
    Http1,
    /// HTTP/2: browsers and curl.
    Http2,
}

/// Makes handshakes for one door. Cheap to clone.
#[derive(Clone)]
pub struct Handshakes {
    door: &'static str,
    acceptor: TlsAcceptor,
    seldom: Seldom,
    metrics: TlsMetrics,
}

impl Handshakes {
    /// Those of the door `door`, which shows `shown`. With `clients` (PEM),
    /// a certificate that a client shows must be signed by one of these; one
    /// that shows none is let in and has to be asked for it.
    ///
    /// # Errors
    /// `clients` holds no certificate that can be an authority.
    pub fn new(
        door: &'static str,
        shown: Shown,
        clients: Option<&[u8]>,
        metrics: TlsMetrics,
    ) -> Result<Self, TlsError> {
        let setup = |error: &dyn std::fmt::Display| TlsError::Setup(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(&error))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(roots(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| setup(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        metrics.begin(door);
        Ok(Self {
            door,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            seldom: Seldom::default(),
            metrics,
        })
    }

    /// Makes the handshake with `peer`; `None` where it failed, which is told.
    pub async fn make(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Speaks)> {
        let made = tokio::time::timeout(TIMEOUT, self.acceptor.accept(stream)).await;
        let (reason, error) = match made {
            Ok(Ok(stream)) => {
                self.count(COMPLETE);
                let speaks = if stream.get_ref().1.alpn_protocol() == Some(H2) {
                    Speaks::Http2
                } else {
                    Speaks::Http1
                };
                return Some((stream, speaks));
            }
            Ok(Err(error)) => (HandshakeFailed::from(&error), Some(error)),
            Err(_) => (HandshakeFailed::TimedOut, None),
        };
        self.count(reason.as_str());
        if self
            .seldom
            .is_due(&format!("{} {}", reason.as_str(), peer.ip()), clock::now())
        {
            tracing::warn!(
                target: "reveille::http",
                door = self.door,
                %peer,
                reason = reason.as_str(),
                error = error.map(tracing::field::display),
                cure = reason.cure(),
                "TLS handshake failed"
            );
        }
        None
    }

    fn count(&self, result: &str) {
        let handshakes = &self.metrics.handshakes;
        handshakes.with_label_values(&[self.door, result]).inc();
    }
}

impl std::fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshakes")
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}
