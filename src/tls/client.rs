//! The other end: a client that trusts one authority, as firmware does in which
//! it is enrolled. Shell.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TlsError, provider, roots};

/// Trusts the authorities of a file. Cheap to clone.
#[derive(Clone)]
pub struct Trusting(TlsConnector);

impl Trusting {
    /// Trusts those in `pem`.
    ///
    /// # Errors
    /// There is none, or it can be no authority.
    pub fn new(pem: &[u8]) -> Result<Self, TlsError> {
        let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
        let roots = roots(pem)?;
        if roots.is_empty() {
            return Err(setup(&"the file holds no certificate (PEM)"));
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Makes the handshake; the server must show a certificate for `address`.
    ///
    /// # Errors
    /// It shows another, or none that is trusted.
    pub async fn handshake(
        &self,
        stream: TcpStream,
        address: IpAddr,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::IpAddress(address.into());
        self.0.connect(name, stream).await
    }
}

impl fmt::Debug for Trusting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trusting").finish_non_exhaustive()
    }
}
