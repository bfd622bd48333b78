//! The rules of a BootProfile's menu.

use super::syntax::is_time;
use super::{At, List, at, name_ref, rule, rule_of};

/// What `grub-mkpasswd-pbkdf2` prints, as a regular expression. What a guess
/// costs us is bounded by the number of its rounds.
const HASH: &str = "^grub[.]pbkdf2[.]sha512[.][1-9][0-9]{3,5}\
                    [.]([0-9A-Fa-f]{2}){8,64}[.]([0-9A-Fa-f]{2}){16,64}$";

pub(super) fn menu() -> Vec<At> {
    let is_text = r"self.trim() != '' && !self.matches('\\p{Cc}')";
    let no_text = "`%(self)%` cannot be shown; write a text on one line";
    vec![
        at("").rule(rule_of(
            "config",
            "!has(self.menu) || !has(self.config) || self.config.size() == 0",
            "a menu boots nothing that reads answer files; \
             give them to the profiles of its entries",
        )),
        whole(),
        at("menu.title").rule(rule(is_text, no_text)),
        at("menu.timeout").rule(rule(
            &format!(
                "!{} || duration(self) <= duration('3599s')",
                is_time("self")
            ),
            "a menu waits 59m59s at most; write less, or 0s to wait for ever",
        )),
        at("menu.entries")
            .list(List::Atomic)
            .rule(rule(
                "self.all(i, self.filter(j, j.name == i.name).size() == 1)",
                "two entries have one name; give each its own",
            ))
            .rule(rule(
                "self.all(i, !has(i.key) \
                 || self.filter(j, has(j.key) && j.key == i.key).size() == 1)",
                "two entries have one key; give each its own",
            )),
        at("menu.entries[]").rule(rule(
            "has(self.profileRef) != has(self.action)",
            "an entry has either `profileRef` or `action`; write one of the two",
        )),
        at("menu.entries[].name").rule(rule(
            "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$') && !(self in ['back', 'config'])",
            "`%(self)%` cannot be the name of an entry; \
             use lower-case letters, digits and `-`, but neither `back` nor `config`",
        )),
        at("menu.entries[].label").rule(rule(is_text, no_text)),
        at("menu.entries[].key").rule(rule(
            "self.matches('^[a-z0-9]$')",
            "`%(self)%` is no key; write a lower-case letter or a digit",
        )),
        name_ref("menu.entries[].profileRef", "BootProfile"),
        at("menu.entries[].password").rule(rule(
            "has(self.hash) != has(self.secretRef)",
            "a password is either `hash` or `secretRef`; write one of the two",
        )),
        at("menu.entries[].password.hash").rule(rule(
            &format!("self.matches('{HASH}')"),
            "the hash is none that `grub-mkpasswd-pbkdf2` prints; \
             write grub.pbkdf2.sha512.ROUNDS.SALT.HASH with 1000 to 999999 rounds",
        )),
        name_ref("menu.entries[].password.secretRef", "Secret"),
    ]
}

/// The entry that is chosen where nobody chooses.
fn whole() -> At {
    let waits = format!(
        "(!{} || duration(self.timeout) == duration('0s'))",
        is_time("self.timeout")
    );
    at("menu")
        .rule(rule_of(
            "default",
            "!has(self.default) || self.entries.exists(e, e.name == self.default)",
            "there is no entry `%(self.default)%`; name one of `entries`",
        ))
        .rule(rule(
            &format!(
                "{waits} || !(has(self.default) \
                 ? self.entries.exists(e, e.name == self.default && has(e.password)) \
                 : self.entries.size() > 0 && has(self.entries[0].password))"
            ),
            "nobody types the password at the end of the time-out; \
             make another entry the `default`, or write `timeout: 0s`",
        ))
}
