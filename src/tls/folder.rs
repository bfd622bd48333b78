//! Certificates in a folder, as a Secret is mounted: `tls.crt` with `tls.key`,
//! and any other pair of `NAME.crt` and `NAME.key`. Shell.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{TlsError, provider};

/// Every pair of the folder.
///
/// # Errors
/// The folder cannot be read or holds no pair, or one of its pairs is bad: a
/// half-copied folder must not take the good ones away.
pub(super) fn pairs(folder: &Path) -> Result<Vec<CertifiedKey>, TlsError> {
    let path = folder.to_owned();
    if !folder.exists() {
        let reason =
            "is not there; make it, with tls.crt and tls.key in it, or name another folder";
        return Err(TlsError::Content {
            path,
            reason: reason.to_owned(),
        });
    }
    let unreadable = |error| TlsError::File {
        path: path.clone(),
        error,
    };
    let mut stems: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_certificate = path.extension().is_some_and(|end| end == "crt");
        // An authority's certificate may lie beside, without its key.
        if is_certificate && path.with_extension("key").exists() {
            stems.push(path);
        }
    }
    stems.sort();
    if stems.is_empty() {
        return Err(TlsError::NoPair(folder.to_owned()));
    }
    stems.iter().map(|path| pair(path)).collect()
}

fn pair(certificate: &Path) -> Result<CertifiedKey, TlsError> {
    let wrong = |path: &Path, reason: String| TlsError::Content {
        path: path.to_owned(),
        reason,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(certificate, format!("no PEM certificates ({error})")))?;
    if chain.is_empty() {
        let reason = "no certificate in it; it wants BEGIN CERTIFICATE, the server's own first";
        return Err(wrong(certificate, reason.to_owned()));
    }
    let path = certificate.with_extension("key");
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|error| {
        wrong(
            &path,
            format!("no PEM private key without a passphrase ({error})"),
        )
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        let reason = if matches!(error, rustls::Error::InconsistentKeys(_)) {
            "is not the key of the certificate beside it".to_owned()
        } else {
            format!("cannot be used with its certificate ({error})")
        };
        wrong(&path, reason)
    })
}
