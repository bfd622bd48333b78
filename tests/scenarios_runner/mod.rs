//! Runs a scenario: a world, then steps in order, each with what must come of it.

mod book;
mod diff;
mod doors;
mod options;
mod packet;
mod packet6;
mod stage;
mod stage6;

use std::path::Path;

use reveille::packets::Datagram;

use self::book::Scenario;
use self::stage::Stage;

/// What came of a scenario.
#[derive(Default)]
pub(crate) struct Played {
    /// What went wrong.
    pub(crate) failure: Option<String>,
    /// Every DHCP packet, requests and replies, in their order.
    pub(crate) packets: Vec<Datagram>,
}

/// Plays a scenario from its text. The first step that fails ends it: those
/// after it stand on it.
pub(crate) fn play(text: &str) -> Played {
    let mut packets = Vec::new();
    let failure = run(text, &mut packets);
    Played { failure, packets }
}

/// Plays every scenario of the book whose file name holds `part`, by file name.
pub(crate) fn play_book(part: &str) -> Vec<(String, Played)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    let pages = files.len();
    assert!(pages >= 110, "the book has lost pages: {pages} are left");
    let files = files.iter().map(|file| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        (name, file)
    });
    files
        .filter(|(name, _)| name.contains(part))
        .map(|(name, file)| (name, play(&std::fs::read_to_string(file).unwrap())))
        .collect()
}

fn run(text: &str, packets: &mut Vec<Datagram>) -> Option<String> {
    let scenario: Scenario = match serde_saphyr::from_str(text) {
        Ok(scenario) => scenario,
        Err(error) => return Some(format!("is no scenario: {error}")),
    };
    if scenario.proves.is_empty() || scenario.steps.is_empty() {
        return Some("proves nothing".to_owned());
    }
    let mut stage = match Stage::set(&scenario.world) {
        Ok(stage) => stage,
        Err(trouble) => return Some(format!("{}\n{trouble}", scenario.title)),
    };
    for (index, step) in scenario.steps.iter().enumerate() {
        let played = stage.play(step);
        packets.append(&mut stage.packets);
        if let Err(trouble) = played {
            let number = index + 1;
            let note = step.note.as_deref().unwrap_or_default();
            let proves = scenario.proves.join("\n  ");
            return Some(format!(
                "step {number}: {note}\n  {}\n  {proves}\n{trouble}",
                scenario.title
            ));
        }
    }
    None
}
