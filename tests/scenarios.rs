//! The behaviour book: every file of `tests/scenarios` is a story that the
//! core must live up to. `tests/scenarios/README.md` says how to write one.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

mod scenarios_runner;

use std::path::Path;

#[test]
fn the_core_behaves_as_the_book_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    let pages = files.len();
    assert!(pages >= 60, "the book has lost pages: {pages} are left");
    if let Ok(part) = std::env::var("SCENARIO") {
        files.retain(|file| file.to_string_lossy().contains(&part));
        assert!(!files.is_empty(), "no scenario is called {part}");
    }
    let failures: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let told = scenarios_runner::run(&std::fs::read_to_string(file).unwrap());
            told.into_iter()
                .map(move |failure| format!("{name}: {failure}"))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} scenarios fail:\n\n{}",
        failures.len(),
        files.len(),
        failures.join("\n")
    );
}
