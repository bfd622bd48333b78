//! The behaviour book: every file of `tests/scenarios` is a story that the
//! core must live up to. `tests/scenarios/README.md` says how to write one.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

#[allow(dead_code, reason = "tests/lab reads the packets that are played")]
mod scenarios_runner;

#[test]
fn the_core_behaves_as_the_book_says() {
    let part = std::env::var("SCENARIO").unwrap_or_default();
    let played = scenarios_runner::play_book(&part);
    assert!(!played.is_empty(), "no scenario is called {part}");
    let all = played.len();
    let failures: Vec<String> = played
        .into_iter()
        .filter_map(|(name, played)| Some(format!("{name}: {}", played.failure?)))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {all} scenarios fail:\n\n{}",
        failures.len(),
        failures.join("\n")
    );
}
