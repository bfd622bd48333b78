//! The rules of a BootProfile's answer files.

use super::{At, List, at, name_ref, rule};

/// Longest name of an answer file.
const MAX_FILE_NAME: i64 = 64;

pub(super) fn config() -> Vec<At> {
    vec![
        at("config").list(List::Map("name")).rule(rule(
            "self.all(a, self.filter(b, a.name == b.name).size() == 1)",
            "two answer files have one name; give each a name of its own",
        )),
        at("config[].name").max_length(MAX_FILE_NAME).rule(rule(
            "self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",
            "`%(self)%` cannot be the name of an answer file; \
             use letters, digits, `.`, `_` and `-`",
        )),
        at("config[].secretRefs").list(List::Atomic),
        name_ref("config[].secretRefs[]", "Secret"),
        at("config[].configMapRefs").list(List::Atomic),
        name_ref("config[].configMapRefs[]", "ConfigMap"),
    ]
}
