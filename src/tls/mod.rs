//! TLS for the HTTP doors: whose certificate is shown, and why a handshake
//! failed. Shell but for `failure` and `esl`.
//!
//! Certificates come from folders, as a Secret is mounted, or from an
//! authority of our own. Both are looked at while the service runs and
//! replaced under it; what was good stays where the new is not.

pub mod authority;
mod client;
pub mod esl;
pub mod failure;
mod ffdhe;
mod folder;
mod handshake;
mod keeper;
mod metrics;
mod shown;

pub use self::authority::{Authority, CA_FILE, FOLDER};
pub use self::client::Trusting;
pub use self::handshake::{Handshakes, Speaks};
pub use self::keeper::{Keeper, Origin};
pub use self::metrics::TlsMetrics;
pub use self::shown::Shown;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// What keeps a certificate from being used, in words that name the file and
/// the cure.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or folder cannot be read or written.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The folder holds no pair.
    #[error(
        "{path} holds no certificate: put tls.crt and tls.key there, or another pair of NAME.crt and NAME.key",
        path = .0.display()
    )]
    NoPair(PathBuf),
    /// A file is not what its name says.
    #[error("{path}: {reason}", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, with the cure.
        reason: String,
    },
    /// A key or certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The settings do not go together.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The authorities in `pem`.
fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        let root = root.map_err(|error| setup(&error))?;
        roots.add(root).map_err(|error| setup(&error))?;
    }
    Ok(roots)
}

/// Who does the mathematics. Named, so that nothing depends on who installed
/// a default for the process first.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.extend(ffdhe::suites());
    provider.kx_groups.push(ffdhe::group());
    Arc::new(provider)
}
