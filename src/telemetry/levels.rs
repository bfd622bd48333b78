//! What is logged, and how that is changed while the process runs.

use std::collections::BTreeMap;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Parts of libraries that are not heard unless they are named.
const QUIET: &str = "kube_client=off,kube_runtime=off,hyper_util=warn,tower=warn";

/// The parts of the program whose level can be changed by name.
pub const PARTS: [&str; 15] = [
    "app",
    "boot",
    "cli",
    "dhcp",
    "discover",
    "http",
    "lease",
    "net",
    "operator",
    "press",
    "standalone",
    "supervisor",
    "telemetry",
    "tftp",
    "timeline",
];

const CURE: &str =
    "write a level (error, warn, info, debug, trace, off), or `info,reveille::dhcp=debug`";

/// A word alone is a level. The library takes others for the name of a part
/// and then logs nothing else: `--log verbose` would be silence.
pub(super) fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    for word in filter.split(',').map(str::trim) {
        let is_part = word.contains(['=', '[']) || word.starts_with("reveille");
        anyhow::ensure!(
            // The library takes no word at all for `error`.
            is_part || is_level(word),
            "log filter `{filter}`: `{word}` is no level; {CURE}"
        );
    }
    // What the client of the API server says is said by us, once and in words;
    // whoever wants to hear it too names it.
    let filter = format!("{QUIET},{}", filter.replace(' ', ""));
    EnvFilter::try_new(&filter)
        .map_err(|error| anyhow::anyhow!("log filter `{filter}`: {error}; {CURE}"))
}

/// `filter` with `changes`: levels, or `PART=LEVEL` with a name of [`PARTS`]
/// or of a library, separated by commas. The last word about a part counts.
///
/// # Errors
/// A change that is none, in words that name the cure.
pub fn with_changes(filter: &str, changes: &str) -> anyhow::Result<String> {
    let mut base = None;
    let mut parts = BTreeMap::new();
    let own = filter.split(',').map(|word| (word.trim(), false));
    let new = changes.split(',').map(|word| (word.trim(), true));
    for (word, is_new) in own.chain(new) {
        match word.split_once('=') {
            None if is_level(word) => base = Some(word.to_ascii_lowercase()),
            None => anyhow::ensure!(!is_new, "`{word}` is no level; {CURE}"),
            Some((part, level)) => {
                anyhow::ensure!(is_level(level), "`{word}`: `{level}` is no level; {CURE}");
                let part = match PARTS.contains(&part) {
                    true => format!("reveille::{part}"),
                    false => part.to_owned(),
                };
                anyhow::ensure!(
                    !is_new || part.contains("::"),
                    "`{part}` is no part of the program; these are: {}",
                    PARTS.join(", ")
                );
                parts.insert(part, level.to_ascii_lowercase());
            }
        }
    }
    let parts = parts
        .into_iter()
        .map(|(part, level)| format!("{part}={level}"));
    let words: Vec<String> = base.into_iter().chain(parts).collect();
    Ok(words.join(","))
}

fn is_level(word: &str) -> bool {
    !word.is_empty() && word.parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn takes_levels_and_parts_and_nothing_else() {
        for good in ["debug", "INFO", "off", "info, reveille::dhcp=debug"] {
            parse(good).unwrap();
        }
        for bad in ["", "verbose", "info,dhcp", "info,reveille::dhcp=loud"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_word_about_a_part_counts() {
        let with = |filter, changes| with_changes(filter, changes).unwrap();
        assert_eq!(with("info", "dhcp=debug"), "info,reveille::dhcp=debug");
        assert_eq!(
            with(
                "info,reveille::dhcp=debug",
                "warn,dhcp=INFO,hyper::proto=trace"
            ),
            "warn,hyper::proto=trace,reveille::dhcp=info"
        );
        for bad in ["", "loud", "dhcp", "dhcp=loud", "dchp=debug"] {
            assert!(with_changes("info", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_part_is_one() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for part in PARTS {
            let file = src.join(format!("{part}.rs"));
            assert!(src.join(part).is_dir() || file.exists(), "{part}");
        }
    }
}
