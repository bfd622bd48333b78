//! The log lines of boots: one for each stage, one for each end that is worth
//! a word.

use super::observe::{CHAIN, human_bytes};
use super::{Boot, BootResult, Note, Stage, StageRecord, Trouble};

/// Tells what an event led to. The boot, and the text of the line, if it was
/// worth one.
pub(super) fn tell(note: &Note) -> Option<(&Boot, String)> {
    match note {
        // Its first stage tells it.
        Note::Started(boot) => {
            let stalled = boot.resumes?;
            Some((boot, tell_resumed(boot, &stalled.to_string())))
        }
        Note::Stage(boot, record) => Some((boot, tell_stage(boot, record))),
        Note::Trouble(boot, trouble) => Some((boot, tell_trouble(boot, trouble))),
        Note::Ended(boot) => Some((boot, tell_end(boot)?)),
        // Its stage told it.
        Note::PhonedHome(_) => None,
    }
}

/// The line of a boot: who, when, what, and the rest.
fn line(boot: &Boot, at: Option<u32>, what: &str, rest: &str) -> String {
    let at = at.map_or_else(String::new, |at| format!("+{}", seconds(at)));
    format!("{:<16} {at:>7}  {what:<10} {rest}", who(boot))
}

/// The machine's name as the story has it.
fn who(boot: &Boot) -> String {
    let machine = boot.machine.as_deref().map(str::to_owned);
    machine.unwrap_or_else(|| boot.mac.to_string())
}

fn tell_stage(boot: &Boot, record: &StageRecord) -> String {
    let at = seconds(record.at_ms);
    let what = match record.stage {
        Stage::Offer | Stage::Ack | Stage::Ipxe => {
            let address = boot.address.map(|address| address.to_string());
            format!("{} to {}", address.unwrap_or_default(), record.what)
        }
        Stage::HandOff if record.what.as_str() == CHAIN => {
            format!("leaves for another server, {at} after its first packet")
        }
        Stage::HandOff => format!("runs on its own, {at} after its first packet"),
        Stage::Config => record.what.to_string(),
        Stage::LocalBoot => "is sent to its disk".to_owned(),
        Stage::Menu => "shows a menu, and somebody may choose".to_owned(),
        Stage::PhonedHome => match boot.message.as_deref() {
            Some(message) => format!("{}: {message}", record.what),
            None => record.what.to_string(),
        },
        Stage::Loader | Stage::Script | Stage::Kernel | Stage::Initrd | Stage::Efi | Stage::Iso => {
            format!(
                "{}, {} in {}",
                record.what,
                human_bytes(record.bytes),
                seconds(record.duration_ms)
            )
        }
    };
    let text = line(boot, Some(record.at_ms), record.stage.as_str(), &what);
    tracing::info!(
        target: "reveille::boot",
        machine = boot.machine.as_deref(),
        mac = %boot.mac,
        boot = %boot.id,
        profile = boot.profile.as_deref(),
        architecture = boot.architecture.map(tracing::field::display),
        address = boot.address.map(tracing::field::display),
        stage = record.stage.as_str(),
        at_ms = record.at_ms,
        duration_ms = record.duration_ms,
        bytes = record.bytes,
        what = record.what.as_str(),
        "{text}",
    );
    text
}

fn tell_resumed(boot: &Boot, stalled: &str) -> String {
    let text = line(boot, None, "resumes", "the boot that had stalled");
    tracing::info!(
        target: "reveille::boot",
        machine = boot.machine.as_deref(),
        mac = %boot.mac,
        boot = %boot.id,
        profile = boot.profile.as_deref(),
        resumes = stalled,
        "{text}",
    );
    text
}

fn tell_trouble(boot: &Boot, trouble: &Trouble) -> String {
    let text = line(boot, Some(trouble.at_ms), "trouble", trouble.what.as_str());
    tracing::warn!(
        target: "reveille::boot",
        machine = boot.machine.as_deref(),
        mac = %boot.mac,
        boot = %boot.id,
        profile = boot.profile.as_deref(),
        at_ms = trouble.at_ms,
        trouble = trouble.what.as_str(),
        "{text}",
    );
    text
}

fn tell_end(boot: &Boot) -> Option<String> {
    match boot.result {
        // The stage told it already.
        BootResult::HandedOff
        | BootResult::Chained
        | BootResult::LocalBoot
        | BootResult::PhonedHome
        | BootResult::Failed
        | BootResult::Running => return None,
        BootResult::Stalled | BootResult::Restarted => {}
    }
    let stage = |stage: Option<Stage>| stage.map_or("none", Stage::as_str);
    let (last, waits) = (stage(boot.last_stage()), stage(boot.stalled_at));
    let verb = if boot.result == BootResult::Stalled {
        "waits for"
    } else {
        "waited for"
    };
    let rest = format!("{verb} {waits}, after {last}");
    let text = line(boot, None, boot.result.as_str(), &rest);
    tracing::warn!(
        target: "reveille::boot",
        machine = boot.machine.as_deref(),
        mac = %boot.mac,
        boot = %boot.id,
        profile = boot.profile.as_deref(),
        result = boot.result.as_str(),
        last_stage = last,
        stalled_at = waits,
        trouble = boot.trouble.last().map(|trouble| trouble.what.as_str()),
        "{text}",
    );
    Some(text)
}

fn seconds(millis: u32) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}
