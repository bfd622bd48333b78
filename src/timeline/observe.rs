//! From what was seen to boots: which stage, when, how long, how it ended.

use super::boot::{Boot, BootResult, Stage, StageRecord, Trouble};
use super::event::{BootEvent, Fact, NextStep, PhoneHome, PhoneState, Purpose, Transfer};
use super::known::Known;
use super::progress::{Leaves, Told};
use super::store::Timeline;
use super::word::Words;
use crate::boot::{Client, ClientKind};
use crate::clock::Millis;

/// What an event led to, for log lines, metrics and status.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A boot began.
    Started(Box<Boot>),
    /// A stage of a boot was seen.
    Stage(Box<Boot>, StageRecord),
    /// Something went wrong in a boot that goes on.
    Trouble(Box<Boot>, Trouble),
    /// A boot ended.
    Ended(Box<Boot>),
    /// The system of a boot that had ended called back.
    PhonedHome(Box<Boot>),
}

/// What a hand-off to another server is about.
pub(super) const CHAIN: &str = "chain";

/// The trouble of a boot whose machine came back for its script.
const CAME_BACK: &str = "it asks for its script again: what it was sent did not boot";

/// A stage before it is part of a boot.
pub(super) struct Seen<'a> {
    pub(super) stage: Stage,
    pub(super) bytes: u64,
    pub(super) millis: u64,
    pub(super) what: &'a str,
}

// === impl Timeline ===

impl Timeline {
    /// Folds `event` in. Says which stage that was, which boots began and ended.
    pub fn observe(&mut self, event: &BootEvent, known: &Known) -> Vec<Note> {
        let mut notes = Vec::new();
        if let Fact::PhonedHome(call) = &event.fact {
            self.phoned_home(event, call, known, &mut notes);
            return notes;
        }
        if let Fact::Released(release) = &event.fact {
            self.released(event, release, known, &mut notes);
            return notes;
        }
        if let Fact::Refused {
            purpose: Purpose::Config,
            name,
            reason,
        } = &event.fact
            && self.running(event.mac).is_none()
        {
            self.refused_late(event, &format!("{name} refused: {reason}"), &mut notes);
            return notes;
        }
        if let Fact::ChoseAnother { client } = &event.fact {
            // The system on the disk asks for itself, not for the boot.
            if client.kind != ClientKind::Plain {
                self.drop_offered(event.mac);
            }
            return notes;
        }
        let begins = begins_boot(event, self.running(event.mac));
        if !begins && self.running(event.mac).is_none() {
            self.comes_back(event, &mut notes);
        }
        let Some(index) = self.place(event, known, begins, &mut notes) else {
            return notes;
        };
        if begins {
            self.begin(index, event, known, &mut notes);
        } else if self.running(event.mac).is_none() {
            self.resume(index, event, &mut notes);
        }
        let (boot, words) = self.running_mut(index, event.mac);
        let Some(boot) = boot else {
            return notes;
        };
        take(boot, event, known, words, &mut notes);
        boot.expects = Some(boot.next_stage());
        if let Some(result) = finish(boot) {
            let what = match result {
                BootResult::HandedOff => Some(""),
                BootResult::Chained => Some(CHAIN),
                BootResult::Running
                | BootResult::LocalBoot
                | BootResult::Stalled
                | BootResult::Restarted
                | BootResult::PhonedHome
                | BootResult::Failed => None,
            };
            if let Some(what) = what {
                let seen = Seen::packet(Stage::HandOff, what);
                note(boot, seen, event.at, words, &mut notes);
            }
            self.end(index, event.mac, result, &mut notes);
        }
        self.touch(index);
        notes
    }

    /// Ends boots that did not go on to their next stage in time.
    pub fn sweep(&mut self, now: Millis) -> Vec<Note> {
        let mut notes = Vec::new();
        for (index, mac) in self.stalled(now) {
            self.end(index, mac, BootResult::Stalled, &mut notes);
            self.touch(index);
        }
        notes
    }

    fn begin(&mut self, index: u64, event: &BootEvent, known: &Known, notes: &mut Vec<Note>) {
        self.end(index, event.mac, BootResult::Restarted, notes);
        let id = self.new_id(event.mac, event.at);
        let mut boot = Boot::new(id, event.at, known, self.words());
        if let Some(client) = client(event) {
            boot.firmware = Some(client.kind);
            boot.architecture = client.architecture();
        }
        notes.push(Note::Started(Box::new(boot.clone())));
        self.add(index, boot, notes);
    }

    /// A machine that had been sent everything asks for its script again
    /// without a new round of DHCP: what it was sent did not boot. Its boot
    /// stays as it ended, and says so once.
    fn comes_back(&mut self, event: &BootEvent, notes: &mut Vec<Note>) {
        let Fact::Transfer(transfer) = &event.fact else {
            return;
        };
        if transfer.purpose != Purpose::Script || !transfer.complete {
            return;
        }
        let Some((index, boot, words)) = self.handed_off_last(event.mac) else {
            return;
        };
        let told = boot.trouble.last();
        let own = boot.progress.leaves == Leaves::Script;
        if own || told.is_some_and(|trouble| trouble.what.as_str() == CAME_BACK) {
            return;
        }
        let at = event.at.0.saturating_sub(boot.started);
        let trouble = Trouble {
            at_ms: u32::try_from(at).unwrap_or(u32::MAX),
            what: words.word(CAME_BACK),
        };
        boot.push_trouble(trouble.clone());
        notes.push(Note::Trouble(Box::new(boot.clone()), trouble));
        self.touch(index);
    }

    /// A boot that had stalled goes on all the same: a cable was put back, a
    /// file is there now. The rest of it is a boot of its own.
    fn resume(&mut self, index: u64, event: &BootEvent, notes: &mut Vec<Note>) {
        let Some(stalled) = self.stalled_last(index, event.mac) else {
            return;
        };
        if !goes_on(event, stalled) {
            return;
        }
        let old = stalled.clone();
        let id = self.new_id(event.mac, event.at);
        let boot = Boot {
            id,
            started: event.at.0,
            last_seen: event.at.0,
            resumes: Some(old.id),
            result: BootResult::Running,
            stalled_at: None,
            bytes: 0,
            stages: Vec::new(),
            stages_left_out: 0,
            trouble: Vec::new(),
            progress: old.progress.resumed(event.at),
            ..old
        };
        notes.push(Note::Started(Box::new(boot.clone())));
        self.add(index, boot, notes);
    }

    /// Writes a call down in the boot that it is about, however long ago that
    /// was. A boot that is not known (the process may have been restarted
    /// since) is known from now on: who calls had its token.
    fn phoned_home(
        &mut self,
        event: &BootEvent,
        call: &PhoneHome,
        known: &Known,
        notes: &mut Vec<Note>,
    ) {
        let mac = call.boot.mac;
        let Some(index) = self.recall(event, (call.boot, call.address), known, notes) else {
            return;
        };
        let (boot, words) = self.boot_mut(index, call.boot);
        let Some(boot) = boot else { return };
        if matches!(boot.result, BootResult::PhonedHome | BootResult::Failed) {
            return;
        }
        boot.message = call.message.as_deref().map(|text| words.word(text));
        let seen = Seen::packet(Stage::PhonedHome, call.state.as_str());
        note(boot, seen, event.at, words, notes);
        let result = match call.state {
            PhoneState::Installed => BootResult::PhonedHome,
            PhoneState::Failed => BootResult::Failed,
        };
        if boot.is_running() {
            self.end(index, mac, result, notes);
        } else {
            boot.result = result;
            boot.consume(result);
            boot.stalled_at = None;
            notes.push(Note::PhonedHome(Box::new(boot.clone())));
        }
        self.touch(index);
    }
}

/// Who asks, of an event of DHCP.
const fn client(event: &BootEvent) -> Option<&Client> {
    match &event.fact {
        Fact::Offer { client, .. } | Fact::Ack { client, .. } => Some(client),
        Fact::ChoseAnother { .. }
        | Fact::TransferStarted { .. }
        | Fact::Transfer(_)
        | Fact::Refused { .. }
        | Fact::Released(_)
        | Fact::PhonedHome(_) => None,
    }
}

/// Whether `event` is the beginning of a boot: firmware (or an iPXE in ROM)
/// asks for an address, and it is not the same round asking on.
fn begins_boot(event: &BootEvent, current: Option<&Boot>) -> bool {
    let Some(client) = client(event) else {
        return false;
    };
    if client.kind == ClientKind::Plain {
        return false;
    }
    match current {
        None => true,
        // An iPXE that we sent asks again: the same boot.
        Some(boot) if client.kind == ClientKind::Ipxe => {
            boot.reached(Stage::Script) || boot.reached(Stage::Menu)
        }
        // Firmware that asks after it got its loader started over; UEFI asks
        // for PXE and HTTP boot in turn until one works.
        Some(boot) => boot.reached(Stage::Loader) || boot.reached(Stage::Script),
    }
}

/// Whether `event` brings a boot that had stalled further than it was.
fn goes_on(event: &BootEvent, stalled: &Boot) -> bool {
    let Fact::Transfer(transfer) = &event.fact else {
        return false;
    };
    let stage = stage_of(transfer.purpose);
    transfer.complete && stage.is_some_and(|stage| Some(stage) > stalled.progress.furthest())
}

const fn stage_of(purpose: Purpose) -> Option<Stage> {
    match purpose {
        Purpose::Loader => Some(Stage::Loader),
        Purpose::Script => Some(Stage::Script),
        Purpose::Menu => Some(Stage::Menu),
        Purpose::LocalScript => Some(Stage::LocalBoot),
        Purpose::Kernel => Some(Stage::Kernel),
        Purpose::Initrd => Some(Stage::Initrd),
        Purpose::Efi => Some(Stage::Efi),
        Purpose::Iso => Some(Stage::Iso),
        Purpose::Waiting | Purpose::Config | Purpose::Other => None,
    }
}

/// Takes in what an event says of a boot that goes on.
fn take(
    boot: &mut Boot,
    event: &BootEvent,
    known: &Known,
    words: &mut Words,
    notes: &mut Vec<Note>,
) {
    let at = event.at;
    match &event.fact {
        Fact::Offer { client, address } => {
            if client.kind == ClientKind::Plain {
                return;
            }
            boot.meet(client, *address);
            boot.progress.offered = Some(at);
            if boot.is_second_round(client) {
                boot.forward(at.0);
            } else {
                let seen = Seen::packet(Stage::Offer, client.kind.as_str());
                note(boot, seen, at, words, notes);
            }
        }
        Fact::Ack {
            client,
            address,
            next,
        } => {
            if client.kind == ClientKind::Plain {
                return;
            }
            let second = boot.is_second_round(client);
            boot.meet(client, *address);
            boot.know(known, words);
            take_ack(boot, at, client, next, second, words, notes);
        }
        Fact::TransferStarted { .. } => {
            boot.forward(at.0);
            boot.progress.take_off(at);
        }
        Fact::Transfer(transfer) => {
            boot.know(known, words);
            take_transfer(boot, at, transfer, words, notes);
        }
        Fact::Refused {
            purpose,
            name,
            reason,
        } => {
            let what = format!("{} {name} refused: {reason}", purpose.as_str());
            trouble(boot, at, &what, words, notes);
        }
        Fact::ChoseAnother { .. } | Fact::Released(_) | Fact::PhonedHome(_) => {}
    }
}

fn take_ack(
    boot: &mut Boot,
    at: Millis,
    client: &Client,
    next: &NextStep,
    second: bool,
    words: &mut Words,
    notes: &mut Vec<Note>,
) {
    boot.progress.told = match next {
        NextStep::Nothing => Told::Nothing,
        NextStep::Loader { file, .. } => {
            boot.loader = Some(words.word(file.rsplit('/').next().unwrap_or(file)));
            Told::Loader
        }
        NextStep::Source { .. } => Told::Source,
        NextStep::Script { .. } => Told::Script,
        NextStep::Local | NextStep::LocalScript => Told::Disk,
    };
    let stage = if *next == NextStep::Local {
        Stage::LocalBoot
    } else if second {
        Stage::Ipxe
    } else {
        Stage::Ack
    };
    let offered = boot.progress.offered.take();
    let millis = offered.map_or(0, |offered| at.since(offered));
    let seen = Seen {
        millis,
        ..Seen::packet(stage, client.kind.as_str())
    };
    note(boot, seen, at, words, notes);
    if *next == NextStep::Nothing {
        trouble(boot, at, "nothing here boots it", words, notes);
    }
}

fn take_transfer(
    boot: &mut Boot,
    at: Millis,
    transfer: &Transfer,
    words: &mut Words,
    notes: &mut Vec<Note>,
) {
    let millis = u64::try_from(transfer.duration.as_millis()).unwrap_or(u64::MAX);
    if transfer.purpose.tells_start(transfer.size) {
        boot.progress.land(at, millis);
    }
    boot.bytes = boot.bytes.saturating_add(transfer.bytes);
    if transfer.purpose == Purpose::Waiting {
        // It does as it was told: no time passes for its patience.
        boot.forward(at.0);
        boot.progress.wait(at);
        let what = "the machine waits: files of its profile are not there yet";
        if boot.trouble.last().is_none_or(|last| &*last.what != what) {
            trouble(boot, at, what, words, notes);
        }
        return;
    }
    // Of a disc that is read as a drive only parts are sent: enough of them
    // for a machine that runs from it (`http::discs`).
    let enough = transfer.purpose == Purpose::Iso && transfer.aborted.is_none();
    let stage = stage_of(transfer.purpose).filter(|_| transfer.complete || enough);
    let Some(stage) = stage else {
        boot.forward(at.0);
        if let (Some(reason), Some(_)) = (transfer.aborted, stage_of(transfer.purpose)) {
            let what = format!(
                "{} aborted after {} of {}: {reason}",
                transfer.purpose.as_str(),
                human_bytes(transfer.bytes),
                human_bytes(transfer.size)
            );
            trouble(boot, at, &what, words, notes);
        }
        return;
    };
    match stage {
        Stage::Loader => boot.transport = Some(transfer.transport),
        Stage::Script => boot.progress.begin_script(),
        // Who reads a menu takes a while, and may come back to it.
        Stage::Menu => boot.progress.wait(at),
        Stage::Kernel => boot.progress.kernel = true,
        Stage::Initrd => boot.progress.sent = boot.progress.sent.saturating_add(1),
        Stage::Offer
        | Stage::Ack
        | Stage::Ipxe
        | Stage::Efi
        | Stage::Iso
        | Stage::HandOff
        | Stage::Config
        | Stage::PhonedHome
        | Stage::LocalBoot => {}
    }
    let seen = Seen {
        stage,
        bytes: transfer.bytes,
        millis,
        what: &transfer.name,
    };
    note(boot, seen, at, words, notes);
}

/// Writes a stage down.
fn note(boot: &mut Boot, seen: Seen<'_>, at: Millis, words: &mut Words, notes: &mut Vec<Note>) {
    boot.progress.reach(seen.stage, at);
    write_down(boot, &seen, at, words, notes);
}

/// Adds a stage to the story.
pub(super) fn write_down(
    boot: &mut Boot,
    seen: &Seen<'_>,
    at: Millis,
    words: &mut Words,
    notes: &mut Vec<Note>,
) {
    let record = StageRecord {
        stage: seen.stage,
        at_ms: boot.forward(at.0),
        duration_ms: u32::try_from(seen.millis).unwrap_or(u32::MAX),
        bytes: seen.bytes,
        what: words.word(seen.what),
    };
    boot.push(record.clone());
    notes.push(Note::Stage(Box::new(boot.clone()), record));
}

/// Writes down what went wrong.
pub(super) fn trouble(
    boot: &mut Boot,
    at: Millis,
    what: &str,
    words: &mut Words,
    notes: &mut Vec<Note>,
) {
    let trouble = Trouble {
        at_ms: boot.forward(at.0),
        what: words.word(what),
    };
    boot.push_trouble(trouble.clone());
    notes.push(Note::Trouble(Box::new(boot.clone()), trouble));
}

/// How a boot ended with its last stage, if it did.
fn finish(boot: &Boot) -> Option<BootResult> {
    let leaves = boot.progress.leaves;
    match boot.last_stage()? {
        Stage::LocalBoot => Some(BootResult::LocalBoot),
        Stage::Kernel | Stage::Initrd if boot.progress.is_over() => Some(BootResult::HandedOff),
        Stage::Loader if leaves == Leaves::Loader => Some(BootResult::HandedOff),
        Stage::Efi | Stage::Iso => Some(BootResult::HandedOff),
        Stage::Script if leaves == Leaves::Script => Some(BootResult::HandedOff),
        Stage::Script if leaves == Leaves::Chain => Some(BootResult::Chained),
        Stage::Offer
        | Stage::Ack
        | Stage::Loader
        | Stage::Ipxe
        | Stage::Menu
        | Stage::Script
        | Stage::Kernel
        | Stage::Initrd
        | Stage::HandOff
        | Stage::Config
        | Stage::PhonedHome => None,
    }
}

/// Bytes as a person reads them: `3.1 MB`.
pub(super) fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    for (unit, size) in UNITS {
        if bytes >= size {
            return format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size);
        }
    }
    format!("{bytes} B")
}

// === impl Seen ===

impl<'a> Seen<'a> {
    pub(super) const fn packet(stage: Stage, what: &'a str) -> Self {
        Self {
            stage,
            bytes: 0,
            millis: 0,
            what,
        }
    }
}
