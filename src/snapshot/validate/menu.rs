//! What the menu of a BootProfile must be.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Found;
use crate::api::{ConfigFile, HASH_HEAD, Kind, MAX_MENU_SECS, MenuEntry, MenuPassword, MenuSource};
use crate::dhcp::menu::shown;
use crate::snapshot::menu::is_entry_name;

/// Rounds that a hash may have: fewer are soon guessed, and each guess at the
/// machine costs us the same.
const ROUNDS: std::ops::RangeInclusive<u32> = 1000..=999_999;

/// Every rule that `menu` breaks; `config` is its profile's.
pub(super) fn menu(found: &mut Found<'_>, menu: &MenuSource, config: &[ConfigFile]) {
    if !config.is_empty() {
        let what = "a menu boots nothing that reads answer files";
        let cure = "give them to the profiles of its entries";
        found.error("/spec/config", "ConfigUnused", what, cure);
    }
    if let Some(title) = &menu.title {
        text(found, "/spec/menu/title", title);
    }
    if menu.timeout.secs() > MAX_MENU_SECS {
        let what = "a menu waits 59m59s at most";
        let cure = "write less, or 0s to wait for ever";
        found.error("/spec/menu/timeout", "TooLong", what, cure);
    }
    default(found, menu);
    firmware(found, menu);
    let mut taken: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (index, entry) in menu.entries.iter().enumerate() {
        let at = format!("/spec/menu/entries/{index}");
        let names = [("name", Some(&entry.name)), ("key", entry.key.as_ref())];
        for (field, value) in names {
            let Some(value) = value else { continue };
            if let Some(first) = taken.get(&(field, value.as_str())) {
                let what = format!("two entries have one {field}");
                let reason = "DuplicateEntry";
                found.error(format!("{at}/{field}"), reason, what, "give each its own");
                let first = format!("/spec/menu/entries/{first}/{field}");
                found.see(&first, "first used here");
            } else {
                taken.insert((field, value), index);
            }
        }
        self::entry(found, &at, entry);
    }
}

fn default(found: &mut Found<'_>, menu: &MenuSource) {
    if let Some(name) = menu.default.as_ref().filter(|it| menu.entry(it).is_none()) {
        let what = format!("there is no entry `{}`", name.escape_debug());
        let cure = "name one of `entries`";
        found.error("/spec/menu/default", "NoSuchEntry", what, cure);
        return;
    }
    let entry = menu.default_name().and_then(|name| menu.entry(name));
    let locked = entry.filter(|(_, entry)| entry.password.is_some());
    if let Some((index, _)) = locked.filter(|_| menu.timeout.secs() > 0) {
        found.error(
            "/spec/menu",
            "DefaultLocked",
            "nobody types the password at the end of the time-out",
            "make another entry the `default`, or write `timeout: 0s`",
        );
        let pointer = format!("/spec/menu/entries/{index}/password");
        found.see(&pointer, "the password");
    }
}

/// What does not fit into option 43 is shown by the loader alone.
fn firmware(found: &mut Found<'_>, menu: &MenuSource) {
    if !menu.firmware {
        return;
    }
    let open = |index: usize| {
        let entry = menu.entries.get(index);
        entry.is_some_and(|entry| entry.password.is_none())
    };
    if let Err(why) = shown(menu, "", Ipv4Addr::UNSPECIFIED, open).encode() {
        let cure = "or remove `firmware`; the loader shows the menu all the same";
        let what = why.to_string();
        found.warn("/spec/menu/firmware", "NotByFirmware", what, cure);
    }
}

fn entry(found: &mut Found<'_>, at: &str, entry: &MenuEntry) {
    if !is_entry_name(&entry.name) {
        found.error(
            format!("{at}/name"),
            "BadEntryName",
            format!(
                "`{}` cannot be the name of an entry",
                entry.name.escape_debug()
            ),
            "use lower-case letters, digits and `-`, but neither `back` nor `config`",
        );
    }
    if let Some(label) = &entry.label {
        text(found, &format!("{at}/label"), label);
    }
    let is_key = |key: &str| key.len() == 1 && key.bytes().all(is_key);
    if let Some(key) = entry.key.as_ref().filter(|key| !is_key(key)) {
        let what = format!("`{}` is no key", key.escape_debug());
        let cure = "write a lower-case letter or a digit";
        found.error(format!("{at}/key"), "BadKey", what, cure);
    }
    if entry.profile_ref.is_some() == entry.action.is_some() {
        let what = "an entry has either `profileRef` or `action`";
        found.error(at, "BadEntry", what, "write one of the two");
    }
    if let Some(reference) = &entry.profile_ref {
        let pointer = format!("{at}/profileRef/name");
        found.reference(&pointer, Kind::BootProfile, &reference.name);
    }
    if let Some(password) = &entry.password {
        self::password(found, &format!("{at}/password"), password);
    }
}

const fn is_key(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn password(found: &mut Found<'_>, at: &str, password: &MenuPassword) {
    if password.hash.is_some() == password.secret_ref.is_some() {
        let what = "a password is either `hash` or `secretRef`";
        found.error(at, "BadPassword", what, "write one of the two");
    }
    if password.hash.as_ref().is_some_and(|hash| !is_hash(hash)) {
        let what = "the hash is none that `grub-mkpasswd-pbkdf2` prints";
        let cure = "write grub.pbkdf2.sha512.ROUNDS.SALT.HASH with 1000 to 999999 rounds";
        found.error(format!("{at}/hash"), "BadHash", what, cure);
    }
    if let Some(secret) = &password.secret_ref {
        found.name(&format!("{at}/secretRef/name"), "Secret", &secret.name);
    }
}

fn is_hash(hash: &str) -> bool {
    let hex = |text: &str, bytes: std::ops::RangeInclusive<usize>| {
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits && text.len().is_multiple_of(2) && bytes.contains(&(text.len() / 2))
    };
    let parts = hash.strip_prefix(HASH_HEAD);
    let parts: Vec<&str> = parts.into_iter().flat_map(|it| it.split('.')).collect();
    let [rounds, salt, key] = parts.as_slice() else {
        return false;
    };
    let counts = !rounds.starts_with(['0', '+'])
        && rounds.parse().is_ok_and(|rounds| ROUNDS.contains(&rounds));
    counts && hex(salt, 8..=64) && hex(key, 16..=64)
}

fn text(found: &mut Found<'_>, pointer: &str, text: &str) {
    if text.trim().is_empty() || text.contains(char::is_control) {
        let what = format!("`{}` cannot be shown", text.escape_debug());
        found.error(pointer, "BadText", what, "write a text on one line");
    }
}
