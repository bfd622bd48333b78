//! Signatures of publishers: OpenPGP and minisign, over a file or over a list
//! of digests. Blocking; files are streamed.
//!
//! `sums` is core. The keys come with the manifest: what they sign is believed,
//! nothing else about them is. A key that has expired or was revoked is
//! refused, and so are MD5 and SHA-1, of data as of lists.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

mod minisign;
mod openpgp;
pub mod sums;
mod untrusted;

pub use self::sums::{Digests, MAX_LIST, Sums};
pub use self::untrusted::Untrusted;

use self::minisign::Signed;
use self::openpgp::Keys;
use crate::clock::Millis;

/// The publisher's key.
#[derive(Clone, Debug)]
pub struct PublisherKey(Kind);

#[derive(Clone, Debug)]
enum Kind {
    OpenPgp(Box<Keys>),
    Minisign(Box<minisign_verify::PublicKey>),
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The fingerprint of the certificate, or which key.
    pub key: String,
    /// When, in seconds since 1970, where the signature says.
    pub made: Option<u64>,
}

impl PublisherKey {
    /// OpenPGP keys: armored blocks one after the other, or base64.
    ///
    /// # Errors
    /// [`Untrusted::Key`].
    pub fn openpgp(text: &str) -> Result<Self, Untrusted> {
        Keys::read(text).map(|keys| Self(Kind::OpenPgp(Box::new(keys))))
    }

    /// A minisign key: the line that begins with `RW`, or the file it is in.
    ///
    /// # Errors
    /// [`Untrusted::Key`].
    pub fn minisign(text: &str) -> Result<Self, Untrusted> {
        minisign::key(text).map(|key| Self(Kind::Minisign(Box::new(key))))
    }

    /// Verifies a detached signature over a file. Blocks.
    ///
    /// # Errors
    /// [`Untrusted`]; the file is not to be used then.
    pub fn verify_file(
        &self,
        file: &Path,
        signature: &[u8],
        now: Millis,
    ) -> Result<Signer, Untrusted> {
        let open = || -> std::io::Result<Box<dyn Read>> {
            Ok(Box::new(BufReader::with_capacity(
                256 << 10,
                File::open(file)?,
            )))
        };
        match &self.0 {
            Kind::OpenPgp(keys) => keys.verify(signature, &open, now.secs()),
            Kind::Minisign(key) => minisign::verify(key, signature, Signed::File(file)),
        }
    }

    /// Verifies a list of digests: by `signature` beside it, else by the one
    /// that it carries (clear signed). Only what is signed is in the result.
    ///
    /// # Errors
    /// [`Untrusted`]; the list is not to be used then.
    pub fn verify_list(
        &self,
        list: &[u8],
        signature: Option<&[u8]>,
        now: Millis,
    ) -> Result<(Signer, Sums), Untrusted> {
        if list.len() > MAX_LIST {
            return Err(Untrusted::List("it is larger than 16 MiB"));
        }
        match (&self.0, signature) {
            (Kind::OpenPgp(keys), Some(signature)) => {
                let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(list)) };
                let signer = keys.verify(signature, &open, now.secs())?;
                Ok((signer, Sums::read(list)?))
            }
            (Kind::OpenPgp(keys), None) if openpgp::is_clear(list) => {
                let (signer, text) = keys.verify_clear(list, now.secs())?;
                Ok((signer, Sums::read(text.as_bytes())?))
            }
            (Kind::Minisign(key), Some(signature)) => {
                let signer = minisign::verify(key, signature, Signed::Bytes(list))?;
                Ok((signer, Sums::read(list)?))
            }
            (Kind::OpenPgp(_) | Kind::Minisign(_), None) => Err(Untrusted::Unsigned),
        }
    }
}
