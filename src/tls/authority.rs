//! An authority of our own: for networks where nobody else signs. Shell.
//!
//! Its key never leaves the state folder. Machines trust it once its
//! certificate is built into iPXE or enrolled in their firmware.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use time::Duration as Span;

use super::TlsError;
use crate::clock::Millis;
use crate::files::write_whole;

/// Its folder in the state folder.
pub const FOLDER: &str = "tls";
/// Its certificate there.
pub const CA_FILE: &str = "ca.crt";
const KEY_FILE: &str = "ca.key";

/// How long its own certificate lasts. Firmware that trusts it is rarely
/// touched again.
const CA_YEARS: i64 = 20;
/// How long a server certificate lasts, in days; anew after two thirds of it.
const LEAF_DAYS: i64 = 90;
/// How far before its making a certificate begins to count, in days: clocks of
/// machines that were off for long are behind.
const BEFORE_DAYS: i64 = 30;

/// The authority: its certificate, and the key that signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate with its key, made for one moment and one set of addresses.
pub struct Leaf {
    /// The chain: the server's, then the authority's.
    pub chain: Vec<CertificateDer<'static>>,
    /// The server's key.
    pub key: PrivateKeyDer<'static>,
    /// When another should take its place.
    pub renew_at: Millis,
}

impl Authority {
    /// The authority of the state folder; made at `now` where there is none.
    ///
    /// # Errors
    /// Files that cannot be read or made, or do not belong together.
    pub fn open(state: &Path, now: Millis) -> Result<Self, TlsError> {
        let folder = state.join(FOLDER);
        let (certificate, key) = (folder.join(CA_FILE), folder.join(KEY_FILE));
        if !certificate.exists() && !key.exists() {
            make(&folder, &certificate, &key, now)?;
        }
        let pem = read(&certificate)?;
        let key = KeyPair::from_pem(&read(&key)?).map_err(|error| TlsError::Content {
            path: key.clone(),
            reason: format!(
                "no key that can sign ({error}); move the folder away and another authority is made"
            ),
        })?;
        let unreadable = |reason: String| TlsError::Content {
            path: certificate.clone(),
            reason: format!(
                "no certificate ({reason}); move the folder away and another authority is made"
            ),
        };
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| unreadable(error.to_string()))?;
        let issuer =
            Issuer::from_ca_cert_pem(&pem, key).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self {
            issuer,
            certificate: der,
        })
    }

    /// Its certificate, as DER.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The SHA-256 of its certificate: iPXE's `trust`.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// A certificate for a server that is reached at `addresses` and `name`.
    /// RSA: iPXE before December 2025 and many an EDK2 take nothing else.
    ///
    /// # Errors
    /// A key that cannot be made.
    pub fn issue(&self, addresses: &[IpAddr], name: &str, now: Millis) -> Result<Leaf, TlsError> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = addresses.iter().copied().map(SanType::IpAddress).collect();
        if let Ok(name) = name.try_into() {
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.distinguished_name = named(&format!("Reveille on {name}"));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(now, LEAF_DAYS);
        let leaf = params.signed_by(&key, &self.issuer)?;
        let der = key.serialize_der();
        let key = PrivateKeyDer::try_from(der).map_err(|error| TlsError::Setup(error.into()))?;
        let two_thirds = u64::try_from(LEAF_DAYS * 86_400_000 * 2 / 3).unwrap_or_default();
        Ok(Leaf {
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key,
            renew_at: Millis(now.0 + two_thirds),
        })
    }
}

/// Makes an authority and writes it; the key first, so that no certificate is
/// ever without one.
fn make(folder: &Path, certificate: &Path, key: &Path, now: Millis) -> Result<(), TlsError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::File { path, error }
    };
    fs::create_dir_all(folder).map_err(at(folder))?;
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Reveille boot authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(now, CA_YEARS * 365);
    let own = params.self_signed(&pair)?;
    write_whole(key, 0o600, pair.serialize_pem().as_bytes()).map_err(at(key))?;
    write_whole(certificate, 0o644, own.pem().as_bytes()).map_err(at(certificate))?;
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// From a while before `now` to `days` after it.
fn validity(now: Millis, days: i64) -> (time::OffsetDateTime, time::OffsetDateTime) {
    let seconds = i64::try_from(now.0 / 1000).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + Span::seconds(seconds);
    (now - Span::days(BEFORE_DAYS), now + Span::days(days))
}

fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|error| {
        let path: PathBuf = path.to_owned();
        if error.kind() == io::ErrorKind::NotFound {
            let reason = "missing; move the rest of the folder away and another authority is made";
            TlsError::Content {
                path,
                reason: reason.to_owned(),
            }
        } else {
            TlsError::File { path, error }
        }
    })
}
