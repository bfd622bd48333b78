//! The certificates that are shown at the moment. Shell.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

/// The certificates that are shown; replaced while connections come in. Cheap
/// to clone.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<RwLock<Arc<[Arc<CertifiedKey>]>>>);

impl Shown {
    /// Shows these from now on, those of elliptic curves before RSA: they cost
    /// a tenth, and who cannot read them gets the next.
    pub(super) fn replace(&self, mut keys: Vec<Arc<CertifiedKey>>) {
        keys.sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    fn all(&self) -> Arc<[Arc<CertifiedKey>]> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&shown)
    }

    /// When the first of them runs out, in seconds since 1970; `None` without any.
    #[must_use]
    pub fn expires(&self) -> Option<i64> {
        let ends = self.all();
        let ends = ends.iter().filter_map(|key| {
            let (_, parsed) = parse_x509_certificate(key.end_entity_cert().ok()?).ok()?;
            Some(parsed.validity().not_after.timestamp())
        });
        ends.min()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (all, schemes) = (self.all(), hello.signature_schemes());
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        // Without one that fits, rustls says what was missing.
        all.iter().find(fits).or_else(|| all.first()).cloned()
    }
}
