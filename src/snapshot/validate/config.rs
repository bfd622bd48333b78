//! What the answer files of a BootProfile must be.

use std::collections::BTreeMap;

use super::Found;
use crate::api::ConfigFile;
use crate::snapshot::template;

/// Every rule that the answer files break.
pub(super) fn config(found: &mut Found<'_>, files: &[ConfigFile]) {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        let at = format!("/spec/config/{index}");
        if !is_file_name(&file.name) {
            let shown = file.name.escape_debug();
            found.error(
                format!("{at}/name"),
                "BadConfigName",
                format!("`{shown}` cannot be the name of an answer file"),
                "use letters, digits, `.`, `_` and `-`",
            );
        }
        if let Some(first) = taken.get(file.name.as_str()) {
            found.error(
                format!("{at}/name"),
                "DuplicateConfig",
                "two answer files have one name",
                "give each a name of its own",
            );
            found.see(&format!("/spec/config/{first}/name"), "first used here");
        } else {
            taken.insert(&file.name, index);
        }
        for (reason, what, cure) in template::check_config(&file.template) {
            found.error(format!("{at}/template"), reason, what, cure);
        }
        for (field, kind, refs) in [
            ("secretRefs", "Secret", &file.secret_refs),
            ("configMapRefs", "ConfigMap", &file.config_map_refs),
        ] {
            for (index, named) in refs.iter().enumerate() {
                found.name(&format!("{at}/{field}/{index}/name"), kind, &named.name);
            }
        }
    }
}

fn is_file_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
