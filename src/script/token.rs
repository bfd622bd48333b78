//! The token of a boot: proof that who calls was given this boot's script.
//!
//! It names the boot and carries the first 128 bits of HMAC-SHA-256 over the
//! MAC address and the boot's number, by a key that only this service has. It
//! needs no memory: it is good after a restart too, and for its boot only.
//!
//! What it is good for within the boot is part of the code: nothing for the
//! boot as a whole, a choice for what was chosen from a menu.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::boot::MacAddress;
use crate::timeline::BootId;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of the code in a token.
const CODE_BYTES: usize = 16;
/// What the code is for: another use of the key needs another word.
const CONTEXT: &[u8] = b"reveille boot v1";

/// Whether `text` is of the form of a token, ours or not: what a stranger sends
/// in the place of one must not get into a script.
#[must_use]
pub fn is_token(text: &str) -> bool {
    let is_hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    let Some((number, code)) = text.split_once('.') else {
        return false;
    };
    (1..=16).contains(&number.len())
        && code.len() == 2 * CODE_BYTES
        && number.bytes().chain(code.bytes()).all(is_hex)
}

/// The key of boot tokens. Shown nowhere.
#[derive(Clone)]
pub struct BootKey([u8; KEY_BYTES]);

// === impl BootKey ===

impl fmt::Debug for BootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootKey(…)")
    }
}

impl BootKey {
    /// From its bytes, which must be random.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The token of `boot` for `what`: letters, digits and a dot, fit for a URL.
    #[must_use]
    pub fn token(&self, boot: BootId, what: &str) -> Option<String> {
        let code = self.code(boot, what)?.finalize().into_bytes();
        let code: String = code
            .iter()
            .take(CODE_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(format!("{:x}.{code}", boot.number))
    }

    /// The boot of `mac` that `token` is for, and for the same `what`; `None`
    /// where it is not ours. Takes as long for a wrong code as for the right one.
    #[must_use]
    pub fn verify(&self, mac: MacAddress, what: &str, token: &str) -> Option<BootId> {
        let (number, digits) = token.split_once('.')?;
        let number = u64::from_str_radix(number, 16).ok()?;
        if digits.len() != 2 * CODE_BYTES || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        let mut code = [0; CODE_BYTES];
        for (byte, at) in code.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        let boot = BootId { mac, number };
        let right = self.code(boot, what)?.verify_truncated_left(&code).is_ok();
        right.then_some(boot)
    }

    /// `None` cannot be: HMAC takes keys of any length.
    fn code(&self, boot: BootId, what: &str) -> Option<Hmac<Sha256>> {
        let mut code = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        code.update(CONTEXT);
        code.update(&boot.mac.bytes());
        code.update(&boot.number.to_be_bytes());
        // All before it has a fixed length: no `what` can pass for another.
        code.update(what.as_bytes());
        Some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_boot_alone() {
        let key = BootKey::new([7; KEY_BYTES]);
        let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
        let boot = BootId {
            mac,
            number: 0x1999,
        };
        let token = key.token(boot, "").unwrap();
        assert!(
            token.starts_with("1999.") && token.len() == 5 + 32,
            "{token}"
        );
        assert_eq!(key.verify(mac, "", &token), Some(boot));
        let other = MacAddress::new([2, 0, 0, 0, 0, 2]);
        assert_eq!(key.verify(other, "", &token), None);
        assert_eq!(BootKey::new([8; KEY_BYTES]).verify(mac, "", &token), None);
        assert_eq!(
            key.verify(mac, "", &token.replacen("1999", "199a", 1)),
            None
        );
        let bad = [
            String::new(),
            ".".to_owned(),
            "1999.".to_owned(),
            token[..token.len() - 2].to_owned(),
            format!("{token}00"),
            format!("1999.{}", "é".repeat(16)),
            format!("1999.{}", "0".repeat(32)),
            format!("1999.{}", "+1".repeat(16)),
        ];
        for bad in bad {
            assert_eq!(key.verify(mac, "", &bad), None, "{bad}");
        }
        let chosen = key.token(boot, "installers/debian").unwrap();
        assert_eq!(key.verify(mac, "installers/debian", &chosen), Some(boot));
        assert_eq!(key.verify(mac, "", &chosen), None);
        assert_eq!(key.verify(mac, "installers", &token), None);
        assert_eq!(format!("{key:?}"), "BootKey(…)");
    }

    #[test]
    fn a_token_has_one_form() {
        let key = BootKey::new([7; KEY_BYTES]);
        for number in [0, 0x1999, u64::MAX] {
            let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
            let token = key.token(BootId { mac, number }, "").unwrap();
            assert!(is_token(&token), "{token}");
            for bad in [
                token.to_uppercase() + "A",
                token.replace('.', ""),
                format!("{token}\n"),
                format!("{token}&x"),
                format!("0{}", token.replacen('.', ".0", 1)),
                token.replacen('.', "${uuid}.", 1),
            ] {
                assert!(!is_token(&bad), "{bad}");
            }
        }
        assert!(!is_token(&format!("{}.{}", "1".repeat(17), "0".repeat(32))));
        assert!(!is_token("") && !is_token(".") && !is_token(&format!(".{}", "0".repeat(32))));
    }
}
