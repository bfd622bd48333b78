//! Detached and clear OpenPGP signatures (RFC 9580), with the `pgp` crate.
//!
//! The crate does the mathematics; which key may sign what, and until when, is
//! decided here. Self-signatures over SHA-1 are taken, as GnuPG does: the key
//! itself comes with the manifest. Signatures over data are not.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgp::composed::{
    CleartextSignedMessage, Deserializable as _, DetachedSignature, SignedPublicKey,
    SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, VerifyingKey};

use super::Signer;
use super::untrusted::Untrusted;

/// The largest signature or key that is read.
const MAX_TEXT: usize = 1 << 20;
/// Signatures that are looked at, and keys that are named.
const MAX_MANY: usize = 16;
/// Clocks of publishers may be ahead by this many seconds.
const AHEAD: u64 = 24 * 3600;
/// What clear signed text begins with.
const CLEAR: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const KEY_BLOCK: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// The publisher's keys.
#[derive(Clone, Debug)]
pub(super) struct Keys(Vec<SignedPublicKey>);

/// What is signed; opened anew for each key that may have signed it.
pub(super) type Open<'a> = &'a dyn Fn() -> std::io::Result<Box<dyn Read + 'a>>;

impl Keys {
    /// Reads keys: armored blocks, or one in base64.
    pub(super) fn read(text: &str) -> Result<Self, Untrusted> {
        let bad = |error: pgp::errors::Error| Untrusted::Key(error.to_string());
        if text.len() > MAX_TEXT {
            return Err(Untrusted::Key("it is larger than 1 MiB".to_owned()));
        }
        let mut keys = Vec::new();
        let mut blocks: Vec<Vec<u8>> = Vec::new();
        let mut rest = text.split(KEY_BLOCK);
        let before = rest.next().unwrap_or_default();
        blocks.extend(rest.map(|block| format!("{KEY_BLOCK}{block}").into_bytes()));
        if blocks.is_empty() {
            let packed: String = before.split_whitespace().collect();
            let bytes = STANDARD.decode(packed).map_err(|_| {
                Untrusted::Key("it is neither an armored public key nor base64".to_owned())
            })?;
            blocks.push(bytes);
        }
        for block in &blocks {
            let (many, _) = SignedPublicKey::from_reader_many(block.as_slice()).map_err(bad)?;
            for key in many {
                keys.push(key.map_err(bad)?);
                if keys.len() > MAX_MANY {
                    return Err(Untrusted::Key(format!("more than {MAX_MANY} keys")));
                }
            }
        }
        if keys.is_empty() {
            return Err(Untrusted::Key("there is no public key in it".to_owned()));
        }
        Ok(Self(keys))
    }

    /// Verifies detached signatures, armored or not: one good one of a named
    /// key is enough.
    pub(super) fn verify(
        &self,
        signature: &[u8],
        open: Open<'_>,
        now: u64,
    ) -> Result<Signer, Untrusted> {
        let bad = |error: pgp::errors::Error| Untrusted::Signature(error.to_string());
        if signature.len() > MAX_TEXT {
            return Err(Untrusted::Signature("it is larger than 1 MiB".to_owned()));
        }
        if signature.is_empty() {
            return Err(Untrusted::Signature("it is empty".to_owned()));
        }
        let (many, _) = DetachedSignature::from_reader_many(signature).map_err(bad)?;
        let mut signatures = Vec::new();
        for one in many.take(MAX_MANY) {
            signatures.push(one.map_err(bad)?.signature);
        }
        self.any(&signatures, open, now)
    }

    /// Verifies text that carries its signature; gives the text that is signed.
    pub(super) fn verify_clear(
        &self,
        text: &[u8],
        now: u64,
    ) -> Result<(Signer, String), Untrusted> {
        let text = std::str::from_utf8(text)
            .map_err(|_| Untrusted::Signature("the signed text is not UTF-8".to_owned()))?;
        let (message, _) = CleartextSignedMessage::from_string(text)
            .map_err(|error| Untrusted::Signature(error.to_string()))?;
        let signed = message.signed_text();
        let open = || -> std::io::Result<Box<dyn Read>> {
            Ok(Box::new(std::io::Cursor::new(signed.clone())))
        };
        let signatures = message
            .signatures()
            .get(..message.signatures().len().min(MAX_MANY));
        let signer = self.any(signatures.unwrap_or_default(), &open, now)?;
        Ok((signer, signed))
    }

    fn any(&self, signatures: &[Signature], open: Open<'_>, now: u64) -> Result<Signer, Untrusted> {
        let mut worst = Untrusted::WrongKey {
            by: signatures
                .first()
                .map_or_else(|| "unknown".to_owned(), issuer),
        };
        for signature in signatures {
            for key in &self.0 {
                match one(key, signature, open, now) {
                    None => {}
                    Some(Ok(signer)) => return Ok(signer),
                    Some(Err(error)) if error.weight() > worst.weight() => worst = error,
                    Some(Err(_)) => {}
                }
            }
        }
        if signatures.is_empty() {
            return Err(Untrusted::Signature(
                "there is no signature in it".to_owned(),
            ));
        }
        Err(worst)
    }
}

/// Whether text carries its own signature.
pub(super) fn is_clear(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(CLEAR)
}

/// One signature against one certificate; `None` where it was not made by any
/// key of it.
fn one(
    key: &SignedPublicKey,
    signature: &Signature,
    open: Open<'_>,
    now: u64,
) -> Option<Result<Signer, Untrusted>> {
    if made_by(signature, &key.primary_key) {
        let by = key.primary_key.fingerprint().to_string();
        let may = primary_may_sign(key, now);
        return Some(may.and_then(|()| data(&key.primary_key, signature, &by, open, now)));
    }
    let subkeys = key.public_subkeys.iter();
    let subkey = subkeys
        .into_iter()
        .find(|subkey| made_by(signature, &subkey.key))?;
    let by = key.primary_key.fingerprint().to_string();
    let may = primary_is_alive(key, now).and_then(|()| subkey_may_sign(key, subkey, now));
    Some(may.and_then(|()| data(&subkey.key, signature, &by, open, now)))
}

fn made_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        return fingerprints.into_iter().any(|by| *by == fingerprint);
    }
    signature.issuer_key_id().into_iter().any(|by| *by == id)
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(ToString::to_string);
    let id = || signature.issuer_key_id().first().map(ToString::to_string);
    fingerprint
        .or_else(id)
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The signature over the data itself.
fn data(
    key: &impl VerifyingKey,
    signature: &Signature,
    by: &str,
    open: Open<'_>,
    now: u64,
) -> Result<Signer, Untrusted> {
    let by = by.to_owned();
    if !matches!(
        signature.typ(),
        Some(SignatureType::Binary | SignatureType::Text)
    ) {
        let what = "it is no signature over data".to_owned();
        return Err(Untrusted::Signature(what));
    }
    let strong = [
        HashAlgorithm::Sha224,
        HashAlgorithm::Sha256,
        HashAlgorithm::Sha384,
        HashAlgorithm::Sha512,
        HashAlgorithm::Sha3_256,
        HashAlgorithm::Sha3_512,
    ];
    let hash = signature.hash_alg().unwrap_or(HashAlgorithm::None);
    if !strong.contains(&hash) {
        return Err(Untrusted::WeakHash {
            by,
            hash: hash.to_string(),
        });
    }
    let created = signature.created().map(|time| u64::from(time.as_secs()));
    let made = created.ok_or_else(|| Untrusted::Signature("it has no date".to_owned()))?;
    if made > now.saturating_add(AHEAD) {
        return Err(Untrusted::Future { by });
    }
    let lasts = signature
        .signature_expiration_time()
        .map(|lasts| seconds(lasts.into()));
    if lasts.is_some_and(|lasts| lasts > 0 && made.saturating_add(lasts) < now) {
        return Err(Untrusted::Expired { by });
    }
    let mut failed = None;
    let source = open().map_err(Untrusted::Read)?;
    let watched = Watched {
        inner: source,
        failed: &mut failed,
    };
    let verified = signature.verify(key, watched);
    if let Some(error) = failed {
        return Err(Untrusted::Read(error));
    }
    match verified {
        Ok(()) => Ok(Signer {
            key: by,
            made: Some(made),
        }),
        Err(_) => Err(Untrusted::Tampered { by }),
    }
}

/// Keeps the error of the file apart from what the crate makes of it.
struct Watched<'a, 'b> {
    inner: Box<dyn Read + 'a>,
    failed: &'b mut Option<std::io::Error>,
}

impl Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != std::io::ErrorKind::Interrupted {
                *self.failed = Some(std::io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

/// The newest signature of the primary key over itself or a name of its owner.
fn self_signature(key: &SignedPublicKey) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter();
    let direct = direct.filter(|signature| own(signature) && signature.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(move |signature| {
            own(signature)
                && signature.typ() != Some(SignatureType::CertRevocation)
                && made_by(signature, primary)
                && signature
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        })
    });
    direct
        .chain(users)
        .max_by_key(|signature| signature.created())
}

/// Whether a signature of a key over itself is over a digest that holds for
/// that: MD5 does not.
fn own(signature: &Signature) -> bool {
    signature
        .hash_alg()
        .is_some_and(|hash| hash != HashAlgorithm::Md5)
}

fn primary_is_alive(key: &SignedPublicKey, now: u64) -> Result<(), Untrusted> {
    let primary = &key.primary_key;
    let by = || primary.fingerprint().to_string();
    let mut revoked = key.details.revocation_signatures.iter();
    if revoked.any(|signature| signature.verify_key(primary).is_ok()) {
        return Err(Untrusted::KeyRevoked { by: by() });
    }
    let Some(signature) = self_signature(key) else {
        return Err(Untrusted::KeyCannotSign { by: by() });
    };
    if is_over(primary, signature, now) {
        return Err(Untrusted::KeyExpired { by: by() });
    }
    Ok(())
}

fn primary_may_sign(key: &SignedPublicKey, now: u64) -> Result<(), Untrusted> {
    primary_is_alive(key, now)?;
    let flags = self_signature(key)
        .map(Signature::key_flags)
        .unwrap_or_default();
    // Old keys do not say what they are for.
    let says_nothing = !(flags.certify()
        || flags.encrypt_comms()
        || flags.encrypt_storage()
        || flags.authentication());
    if flags.sign() || says_nothing {
        return Ok(());
    }
    Err(Untrusted::KeyCannotSign {
        by: key.primary_key.fingerprint().to_string(),
    })
}

fn subkey_may_sign(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: u64,
) -> Result<(), Untrusted> {
    let primary = &key.primary_key;
    let by = || subkey.key.fingerprint().to_string();
    let good = || {
        let signatures = subkey.signatures.iter();
        signatures
            .filter(|signature| own(signature))
            .filter(|signature| {
                signature
                    .verify_subkey_binding(primary, &subkey.key)
                    .is_ok()
            })
    };
    if good().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(Untrusted::KeyRevoked { by: by() });
    }
    let bound = good().filter(|signature| signature.typ() == Some(SignatureType::SubkeyBinding));
    let Some(newest) = bound.max_by_key(|signature| signature.created()) else {
        return Err(Untrusted::KeyCannotSign { by: by() });
    };
    // The subkey itself has to say that it belongs to this owner, or anybody
    // could claim the signatures of others.
    let claimed = newest.embedded_signature().is_some_and(|back| {
        back.verify_primary_key_binding(&subkey.key, primary)
            .is_ok()
    });
    if !newest.key_flags().sign() || !claimed {
        return Err(Untrusted::KeyCannotSign { by: by() });
    }
    if is_over(&subkey.key, newest, now) {
        return Err(Untrusted::KeyExpired { by: by() });
    }
    Ok(())
}

/// Whether the time is over that a signature gives a key.
fn is_over(key: &impl KeyDetails, signature: &Signature, now: u64) -> bool {
    let lasts = signature
        .key_expiration_time()
        .map_or(0, |lasts| seconds(lasts.into()));
    let made = u64::from(key.created_at().as_secs());
    lasts > 0 && made.saturating_add(lasts) < now
}

const fn seconds(duration: std::time::Duration) -> u64 {
    duration.as_secs()
}
