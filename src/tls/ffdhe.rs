//! Key exchange for firmware without elliptic curves: finite-field Diffie-Hellman
//! in the 2048 bits of RFC 7919 (appendix A.1), for TLS 1.2.
//!
//! Debian's EDK2 (2022.11, 2025.02) offers `DHE_RSA` and plain RSA, and nothing
//! else. rustls has the rules of the first and asks others for the arithmetic;
//! the encryption is that of its suites with curves. Plain RSA, which one key
//! that leaks opens afterwards, is not offered.

use std::fmt;
use std::sync::LazyLock;

use crypto_bigint::modular::runtime_mod::{DynResidue, DynResidueParams};
use crypto_bigint::{Encoding as _, U2048};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::crypto::{
    ActiveKeyExchange, CipherSuiteCommon, KeyExchangeAlgorithm, SecureRandom, SharedSecret,
    SupportedKxGroup,
};
use rustls::ffdhe_groups::{FFDHE2048, FfdheGroup};
use rustls::{
    CipherSuite, Error, NamedGroup, PeerMisbehaved, ProtocolVersion, SupportedCipherSuite,
    Tls12CipherSuite,
};

/// Bytes of a public key.
const BYTES: usize = 2048 / 8;

/// Bytes of a secret: RFC 7919 (appendix A.1) wants 225 bits at least, and all
/// 2048 would take eight times as long.
const SECRET_BYTES: usize = 256 / 8;

/// What [`FFDHE2048`] has for a generator.
const GENERATOR: U2048 = U2048::from_u8(2);

static SUITES: LazyLock<Vec<Tls12CipherSuite>> = LazyLock::new(|| {
    let suites = [
        (
            CipherSuite::TLS_DHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            CipherSuite::TLS_DHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ),
    ];
    suites
        .into_iter()
        .filter_map(|(name, like)| suite(name, like))
        .collect()
});

/// Where secrets come from.
static RANDOM: LazyLock<&'static dyn SecureRandom> =
    LazyLock::new(|| aws_lc_rs::default_provider().secure_random);

/// What reckons modulo the prime.
static MODULUS: LazyLock<DynResidueParams<{ U2048::LIMBS }>> =
    LazyLock::new(|| DynResidueParams::new(&U2048::from_be_slice(FFDHE2048.p)));

/// The group.
#[derive(Clone, Copy, Debug)]
struct Group;

/// A key of ours, for one handshake.
struct Key {
    secret: U2048,
    public: [u8; BYTES],
}

/// The suites; behind those with curves, who has some takes them.
pub(super) fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    SUITES.iter().map(SupportedCipherSuite::Tls12)
}

/// The group.
pub(super) fn group() -> &'static dyn SupportedKxGroup {
    &Group
}

/// The suite `name`: one with curves and its encryption, with another exchange.
fn suite(name: CipherSuite, like: SupportedCipherSuite) -> Option<Tls12CipherSuite> {
    let SupportedCipherSuite::Tls12(like) = like else {
        return None;
    };
    Some(Tls12CipherSuite {
        common: CipherSuiteCommon {
            suite: name,
            hash_provider: like.common.hash_provider,
            confidentiality_limit: like.common.confidentiality_limit,
        },
        prf_provider: like.prf_provider,
        kx: KeyExchangeAlgorithm::DHE,
        sign: like.sign,
        aead_alg: like.aead_alg,
    })
}

/// `base` to the power of `secret`, in a time that tells nothing of either.
fn power(base: &U2048, secret: &U2048) -> U2048 {
    let base = DynResidue::new(base, *MODULUS);
    base.pow_bounded_exp(secret, SECRET_BYTES * 8).retrieve()
}

// === impl Group ===

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut bytes = [0; BYTES];
        let (_, low) = bytes.split_at_mut(BYTES - SECRET_BYTES);
        RANDOM.fill(low)?;
        let secret = U2048::from_be_bytes(bytes);
        let public = power(&GENERATOR, &secret).to_be_bytes();
        Ok(Box::new(Key { secret, public }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        Some(FFDHE2048)
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }

    /// TLS 1.3 has curves, always.
    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_2
    }
}

/// A number as it is sent, with zeros before it or without; `None` where it is too long.
fn number(sent: &[u8]) -> Option<U2048> {
    let mut bytes = [0; BYTES];
    let (_, low) = bytes.split_at_mut(BYTES.checked_sub(sent.len())?);
    low.copy_from_slice(sent);
    Some(U2048::from_be_bytes(bytes))
}

// === impl Key ===

impl ActiveKeyExchange for Key {
    /// With zeros before it; rustls takes them away for TLS 1.2.
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        let theirs = number(theirs).ok_or(PeerMisbehaved::InvalidKeyShare)?;
        // RFC 7919 section 5.1: 1 and p - 1 make a secret that anybody knows.
        let last = MODULUS.modulus().wrapping_sub(&U2048::ONE);
        if theirs <= U2048::ONE || theirs >= last {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        let shared = power(&theirs, &self.secret).to_be_bytes();
        Ok(SharedSecret::from(&shared[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        Some(FFDHE2048)
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_make_one_secret() {
        let (ours, theirs) = (Group.start().unwrap(), Group.start().unwrap());
        let (our_public, their_public) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        assert_ne!(our_public, their_public);
        let (one, other) = (
            ours.complete(&their_public).unwrap(),
            theirs.complete(&our_public).unwrap(),
        );
        assert_eq!(one.secret_bytes(), other.secret_bytes());
        assert_eq!(one.secret_bytes().len(), BYTES);
    }

    #[test]
    fn reckons_as_it_was_written_down() {
        assert_eq!(number(FFDHE2048.g), Some(GENERATOR));
        // 2^2047 is below the prime; twice that is 2^2048 - p.
        let two = U2048::from_u8(2);
        assert_eq!(power(&two, &U2048::from_u8(10)), U2048::from_u32(1024));
        let eight_bits = power(&two, &U2048::from_u8(255));
        let back = power(&eight_bits, &U2048::from_u8(8));
        assert_eq!(back, power(&two, &U2048::from_u32(2040)));
        let all = power(&two, &U2048::from_u32(2048));
        assert_eq!(all, U2048::ZERO.wrapping_sub(MODULUS.modulus()));
    }

    #[test]
    fn keys_that_say_nothing_are_refused() {
        let prime = *MODULUS.modulus();
        let low = |number: u8| U2048::from_u8(number);
        for bad in [low(0), low(1), prime.wrapping_sub(&low(1)), prime] {
            let key = Group.start().unwrap();
            assert!(key.complete(&bad.to_be_bytes()).is_err());
        }
        let key = Group.start().unwrap();
        assert!(key.complete(&[1; BYTES + 1]).is_err());
        assert!(Group.start().unwrap().complete(&[2]).is_ok(), "short");
    }
}
