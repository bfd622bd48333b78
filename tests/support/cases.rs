//! How many cases a property is tried with.

use proptest::prelude::ProptestConfig;

/// Cases of a property, `usual` unless the environment wants more.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let wanted = std::env::var("REVEILLE_CASES").ok();
    ProptestConfig {
        cases: wanted.map_or(usual, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
