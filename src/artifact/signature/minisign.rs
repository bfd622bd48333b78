//! minisign signatures, with the `minisign-verify` crate.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use minisign_verify::{Error, PublicKey, Signature};

use super::Signer;
use super::untrusted::Untrusted;

/// Signatures of the old kind are over the file itself, which has to be in
/// memory for it.
const MAX_LEGACY: u64 = 16 << 20;
/// The longest signature text.
const MAX_TEXT: usize = 16 << 10;
/// Bytes read at once.
const STEP: usize = 256 << 10;

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signed<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

/// Reads a key: the line that begins with `RW`, alone or below its comment.
pub(super) fn key(text: &str) -> Result<PublicKey, Untrusted> {
    let mut lines = text.lines().map(str::trim);
    let line = lines.rfind(|line| !line.is_empty() && !line.starts_with("untrusted comment:"));
    let line = line.ok_or_else(|| Untrusted::Key("it is empty".to_owned()))?;
    PublicKey::from_base64(line).map_err(|error| Untrusted::Key(error.to_string()))
}

/// Verifies a signature.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an enum of others that grows"
)]
pub(super) fn verify(
    key: &PublicKey,
    signature: &[u8],
    signed: Signed<'_>,
) -> Result<Signer, Untrusted> {
    let bad = |what: &str| Untrusted::Signature(what.to_owned());
    if signature.len() > MAX_TEXT {
        return Err(bad("it is larger than 16 KiB"));
    }
    let text = std::str::from_utf8(signature).map_err(|_| bad("it is not text"))?;
    let signature = Signature::decode(text).map_err(|error| bad(&error.to_string()))?;
    let by = text
        .lines()
        .next()
        .unwrap_or_default()
        .rsplit(' ')
        .next()
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .unwrap_or("unknown");
    let failed = |error: Error| match error {
        Error::UnexpectedKeyId => Untrusted::WrongKey { by: by.to_owned() },
        Error::InvalidSignature => Untrusted::Tampered {
            by: "the minisign key".to_owned(),
        },
        other => Untrusted::Signature(other.to_string()),
    };
    match key.verify_stream(&signature) {
        Ok(mut verifier) => {
            signed.each(|bytes| verifier.update(bytes))?;
            verifier.finalize().map_err(failed)?;
        }
        Err(Error::UnsupportedLegacyMode) => {
            let bytes = signed.small()?;
            key.verify(&bytes, &signature, true).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(Signer {
        key: "the minisign key".to_owned(),
        made: None,
    })
}

impl Signed<'_> {
    fn each(self, mut take: impl FnMut(&[u8])) -> Result<(), Untrusted> {
        let path = match self {
            Self::Bytes(bytes) => {
                take(bytes);
                return Ok(());
            }
            Self::File(path) => path,
        };
        let mut file = File::open(path).map_err(Untrusted::Read)?;
        let mut buffer = vec![0; STEP];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(got) => take(buffer.get(..got).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Untrusted::Read(error)),
            }
        }
    }

    fn small(self) -> Result<Vec<u8>, Untrusted> {
        let path = match self {
            Self::Bytes(bytes) => return Ok(bytes.to_vec()),
            Self::File(path) => path,
        };
        let file = File::open(path).map_err(Untrusted::Read)?;
        let mut bytes = Vec::new();
        file.take(MAX_LEGACY + 1)
            .read_to_end(&mut bytes)
            .map_err(Untrusted::Read)?;
        if bytes.len() as u64 > MAX_LEGACY {
            return Err(Untrusted::Legacy { limit: MAX_LEGACY });
        }
        Ok(bytes)
    }
}
