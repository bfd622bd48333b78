//! Passwords of menus: iPXE sends what was typed, and it is held here against a
//! hash or a Secret. Shell; what was typed is kept and shown nowhere.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA512, verify};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::attempts::Attempts;
use super::route::Locked;
use crate::api::{HASH_HEAD, MenuPassword, unhex};
use crate::artifact::secrets::Secrets;
use crate::clock;
use crate::snapshot::ObjectName;

/// Passwords that are looked at at a time: each takes a processor for some
/// milliseconds, up to a second.
const AT_A_TIME: usize = 2;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rounds of a hash at most: that of a Secret was held against no rule.
const MOST_ROUNDS: u32 = 999_999;
/// Bytes of what `Authorization` says at most.
const MAX_CREDENTIALS: usize = 1024;

/// Why what was chosen is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// 401: no password came along.
    Needed,
    /// 403: it is not the right one.
    Wrong,
    /// 429: the machine tried too often; see `Attempts`.
    TooOften,
    /// 503: too many are looked at.
    Busy,
    /// 503: the Secret cannot be had; the log has the cause.
    SecretMissing,
}

/// Holds passwords against what they must be; cheap to clone.
#[derive(Clone, Debug)]
pub struct Passwords {
    secrets: Secrets,
    attempts: Arc<Mutex<Attempts>>,
    turns: Arc<Semaphore>,
}

// === impl Refused ===

impl Refused {
    /// Its name in answers, log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Needed => "password-needed",
            Self::Wrong => "password-wrong",
            Self::TooOften => "password-tried-too-often",
            Self::Busy => "busy",
            Self::SecretMissing => "secret-missing",
        }
    }

    /// The status code of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Needed => 401,
            // Not 401: iPXE would send the same once more.
            Self::Wrong => 403,
            Self::TooOften => 429,
            Self::Busy | Self::SecretMissing => 503,
        }
    }
}

// === impl Passwords ===

impl Passwords {
    /// With the place of Secrets.
    #[must_use]
    pub fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            attempts: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Whether `authorization` (RFC 7617) has the password of all that is
    /// behind `locked`.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) async fn check(
        &self,
        locked: &Locked,
        authorization: Option<&[u8]>,
    ) -> Result<(), Refused> {
        let typed = authorization.and_then(typed).ok_or(Refused::Needed)?;
        if !self.attempts().take(locked.mac, clock::now()) {
            return Err(Refused::TooOften);
        }
        let right = self.is_right(locked, typed).await;
        if right == Ok(true) {
            self.attempts().forget(locked.mac);
        }
        right?.then_some(()).ok_or(Refused::Wrong)
    }

    async fn is_right(&self, locked: &Locked, typed: Vec<u8>) -> Result<bool, Refused> {
        let mut wanted = Vec::new();
        for password in &locked.passwords {
            wanted.push(self.wanted(locked, password).await?);
        }
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, turn).await;
        let turn = turn
            .map_err(|_| Refused::Busy)?
            .map_err(|_| Refused::Busy)?;
        let look = move || {
            let _turn = turn;
            wanted.iter().all(|wanted| is(wanted, &typed))
        };
        spawn_blocking(look).await.map_err(|_| Refused::Busy)
    }

    /// The password, or its hash.
    async fn wanted(&self, locked: &Locked, password: &MenuPassword) -> Result<String, Refused> {
        if let Some(hash) = &password.hash {
            return Ok(hash.clone());
        }
        let secret = password.secret_ref.as_ref().ok_or(Refused::SecretMissing)?;
        let name = ObjectName {
            namespace: locked.menu.namespace.clone(),
            name: secret.name.clone(),
        };
        let read = self.secrets.get(&name).await;
        let text = read.and_then(|read| {
            let text = read.texts().remove(&secret.key);
            text.filter(|text| !text.is_empty())
                .ok_or_else(|| format!("Secret {name} has no text at the key {}", secret.key))
        });
        text.map_err(|cause| {
            tracing::warn!(
                mac = %locked.mac, menu = %locked.menu, entry = %locked.choice, cause,
                "the password of a menu's entry cannot be had"
            );
            Refused::SecretMissing
        })
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new(Secrets::default())
    }
}

/// The password of `Authorization: Basic …`; whose it is does not matter.
fn typed(authorization: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(authorization).ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || rest.len() > MAX_CREDENTIALS {
        return None;
    }
    let both = STANDARD.decode(rest.trim()).ok()?;
    let colon = both.iter().position(|byte| *byte == b':')?;
    both.get(colon + 1..).map(<[u8]>::to_vec)
}

/// Whether `typed` is the password `wanted`, which may be a hash. Takes as long
/// for a wrong one as for the right one of the same length.
fn is(wanted: &str, typed: &[u8]) -> bool {
    let Some(hash) = wanted.strip_prefix(HASH_HEAD) else {
        return verify_slices_are_equal(wanted.as_bytes(), typed).is_ok();
    };
    let parts: Vec<&str> = hash.split('.').collect();
    let [rounds, salt, key] = parts.as_slice() else {
        return false;
    };
    let rounds = rounds.parse::<NonZeroU32>().ok();
    let rounds = rounds.filter(|rounds| rounds.get() <= MOST_ROUNDS);
    let (Some(rounds), Some(salt), Some(key)) = (rounds, unhex(salt), unhex(key)) else {
        return false;
    };
    verify(PBKDF2_HMAC_SHA512, rounds, &salt, typed, &key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `secret`, by Python's hashlib.pbkdf2_hmac.
    const HASH: &str = "grub.pbkdf2.sha512.1000.00112233445566778899AABBCCDDEEFF.\
        104574DAE6E595E6E59D1FBA2871E71B70D440E720F551654B7935B6592D4D37\
        5879DF4267F11ED9776B64E50EB50335C9F4CAC74AE5DA5B3E9D1085AA4742E8";

    #[test]
    fn reads_what_was_typed() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(typed(basic("wipe:a:b").as_bytes()), Some(b"a:b".to_vec()));
        assert_eq!(typed(b"basic Og=="), Some(Vec::new()));
        for bad in ["", "Basic", "Basic !", "Basic eA==", "Bearer Og=="] {
            assert_eq!(typed(bad.as_bytes()), None, "{bad}");
        }
        let long = basic(&"x:y".repeat(MAX_CREDENTIALS));
        assert_eq!(typed(long.as_bytes()), None);
    }

    #[test]
    fn knows_the_password_by_itself_and_by_its_hash() {
        assert!(is("secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secret ", b"Secret"] {
            assert!(!is("secret", wrong));
            assert!(!is(HASH, wrong));
        }
        assert!(is(HASH, b"secret"));
        assert!(!is("grub.pbkdf2.sha512.1000.00.", b""), "no hash at all");
        assert!(!is("grub.pbkdf2.sha512.0.00.00", b""));
    }
}
