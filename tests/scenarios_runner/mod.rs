//! Runs a scenario: a world, then steps in order, each with what must come of it.

mod book;
mod diff;
mod doors;
mod options;
mod packet;
mod packet6;
mod stage;
mod stage6;

use self::book::Scenario;
use self::stage::Stage;

/// Runs a scenario from its text; says what went wrong. The first step that
/// fails ends it: those after it stand on it.
pub(crate) fn run(text: &str) -> Option<String> {
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
        if let Err(trouble) = stage.play(step) {
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
