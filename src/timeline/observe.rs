//! From what was seen to boots: which stage, when, how long, how it ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use serde::Serialize;

use super::event::{BootEvent, Fact, NextStep, Purpose, Transfer};
use crate::boot::{Architecture, Client, ClientKind, MacAddress};
use crate::clock::Millis;

/// Machines whose boots are kept; the one heard of longest ago goes first.
pub const MAX_MACHINES: usize = 10_000;
/// Finished boots that are kept for each machine.
pub const KEPT_BOOTS: usize = 5;
/// Silence after which an unfinished boot counts as stalled: an initrd of a
/// gigabyte on a slow link reports nothing before it ends.
pub const STALL_AFTER_MILLIS: u64 = 300_000;
/// Stages that one boot keeps. A boot has about ten; one that loops over
/// its loader has more.
const MAX_STAGES: usize = 64;

/// A boot: one machine from its first packet to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Boot {
    /// Names the boot: the machine's MAC and when it began.
    pub id: String,
    /// The machine's MAC address.
    pub mac: MacAddress,
    /// The machine's object, by name.
    pub machine: Option<String>,
    /// The profile, by name.
    pub profile: Option<String>,
    /// What the firmware said that it is.
    pub architecture: Option<Architecture>,
    /// The address it got.
    pub address: Option<Ipv4Addr>,
    /// The loader it was told to load.
    pub loader: Option<String>,
    /// How it ended, or that it goes on.
    pub result: BootResult,
    /// When it began, in milliseconds since the Unix epoch.
    pub started: u64,
    /// When something was last seen of it.
    pub last_seen: u64,
    /// What was seen, in order.
    pub stages: Vec<StageRecord>,
    /// Files of the boot that the script names and that are still to be sent.
    #[serde(skip)]
    awaited: Awaited,
}

/// What a boot's script names.
#[derive(Clone, Debug, Default, PartialEq)]
struct Awaited {
    /// Whether the kernel was sent whole.
    kernel: bool,
    /// The initrds that the script names.
    initrds: usize,
    /// Those that were sent whole since the script was.
    sent: usize,
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum BootResult {
    /// It goes on.
    Running,
    /// Kernel and initrds were sent whole: the machine runs on its own.
    HandedOff,
    /// The machine was sent to its disk.
    LocalBoot,
    /// Nothing was seen for [`STALL_AFTER_MILLIS`].
    Stalled,
    /// The machine began anew before it got to its end.
    Restarted,
}

/// Stages of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Stage {
    /// A DHCPOFFER left.
    Offer,
    /// A DHCPACK left.
    Ack,
    /// The loader was sent.
    Loader,
    /// The script was sent.
    Script,
    /// The kernel was sent.
    Kernel,
    /// An initrd was sent.
    Initrd,
    /// Everything was sent.
    HandOff,
    /// The machine was told to boot its disk.
    LocalBoot,
}

/// One stage of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageRecord {
    /// Which.
    pub stage: Stage,
    /// Milliseconds from the boot's beginning to the stage's end.
    pub at_ms: u64,
    /// How long the stage itself took, in milliseconds; 0 for a packet.
    pub duration_ms: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// What was sent, or who asked.
    pub what: String,
}

/// What the manifests say of a machine, for its boots; asked once a boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its object's name.
    pub machine: Option<String>,
    /// The profile that it boots.
    pub profile: Option<String>,
    /// How many initrds that profile has.
    pub initrds: usize,
}

/// What an event led to, for log lines and metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A stage of a boot was seen.
    Stage(Box<Boot>, StageRecord),
    /// A boot ended.
    Ended(Box<Boot>),
}

/// Every boot that is going on or was seen lately. Bounded.
#[derive(Debug, Default)]
pub struct Timeline {
    machines: BTreeMap<MacAddress, History>,
    /// The same machines by when they were heard of last, to make room without
    /// a look at all of them: thousands may wake at once.
    by_age: BTreeSet<(Millis, MacAddress)>,
}

#[derive(Debug, Default)]
struct History {
    current: Option<Boot>,
    past: VecDeque<Boot>,
    last_seen: Millis,
}

// === impl Timeline ===

impl Timeline {
    /// Folds `event` in. Says which stage that was and which boots ended.
    pub fn observe(&mut self, event: &BootEvent, known: &Known) -> Vec<Note> {
        let mut notes = Vec::new();
        let Some(history) = self.history(event) else {
            return notes;
        };
        if begins_boot(event, history.current.as_ref()) {
            history.end(BootResult::Restarted, &mut notes);
            history.current = Some(Boot::new(event, known));
        }
        let Some(boot) = &mut history.current else {
            return notes;
        };
        let Some((stage, bytes, duration_ms, what)) = boot.take(event, known) else {
            return notes;
        };
        boot.note(stage, event.at, bytes, duration_ms, what, &mut notes);
        let finish = boot.finish(stage);
        if let Some((stage, result)) = finish {
            if stage == Stage::HandOff {
                boot.note(stage, event.at, 0, 0, String::new(), &mut notes);
            }
            history.end(result, &mut notes);
        }
        notes
    }

    /// Ends boots that nothing was seen of for long.
    pub fn sweep(&mut self, now: Millis) -> Vec<Note> {
        let mut notes = Vec::new();
        for history in self.machines.values_mut() {
            if now.since(history.last_seen) > STALL_AFTER_MILLIS {
                history.end(BootResult::Stalled, &mut notes);
            }
        }
        notes
    }

    /// Every boot that is known, the latest last.
    #[must_use]
    pub fn boots(&self) -> Vec<&Boot> {
        let mut boots: Vec<&Boot> = self
            .machines
            .values()
            .flat_map(|history| history.past.iter().chain(&history.current))
            .collect();
        boots.sort_by_key(|boot| (boot.started, boot.mac));
        boots
    }

    /// The history of the machine that `event` is about. `None` where it has
    /// none and this begins no boot: most of what asks for an address never
    /// boots from the network, and must not push out what does.
    fn history(&mut self, event: &BootEvent) -> Option<&mut History> {
        match self.machines.get(&event.mac) {
            Some(history) => {
                self.by_age.remove(&(history.last_seen, event.mac));
            }
            None if begins_boot(event, None) => self.make_room(),
            None => return None,
        }
        self.by_age.insert((event.at, event.mac));
        let history = self.machines.entry(event.mac).or_default();
        history.last_seen = event.at;
        Some(history)
    }

    fn make_room(&mut self) {
        if self.machines.len() >= MAX_MACHINES
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.machines.remove(&oldest);
        }
    }
}

/// Whether `event` is the beginning of a boot: firmware (or an iPXE in ROM)
/// asks for an address, and it is not the same round asking on.
fn begins_boot(event: &BootEvent, current: Option<&Boot>) -> bool {
    let client = match &event.fact {
        Fact::Offer { client, .. } | Fact::Ack { client, .. } => client,
        Fact::Transfer(_) => return false,
    };
    if client.kind == ClientKind::Plain {
        return false;
    }
    match current {
        None => true,
        // An iPXE that we sent asks again: the same boot.
        Some(boot) if client.kind == ClientKind::Ipxe => boot.reached(Stage::Script),
        // Firmware that asks after it got its loader started over; UEFI asks
        // for PXE and HTTP boot in turn until one works.
        Some(boot) => boot.reached(Stage::Loader) || boot.reached(Stage::Script),
    }
}

// === impl History ===

impl History {
    fn end(&mut self, result: BootResult, notes: &mut Vec<Note>) {
        let Some(mut boot) = self.current.take() else {
            return;
        };
        boot.result = result;
        notes.push(Note::Ended(Box::new(boot.clone())));
        self.past.push_back(boot);
        while self.past.len() > KEPT_BOOTS {
            self.past.pop_front();
        }
    }
}

// === impl Boot ===

impl Boot {
    fn new(event: &BootEvent, known: &Known) -> Self {
        let started = event.at.0;
        Self {
            id: format!("{}-{started:x}", event.mac.hyphenated()),
            mac: event.mac,
            machine: known.machine.clone(),
            profile: known.profile.clone(),
            architecture: None,
            address: None,
            loader: None,
            result: BootResult::Running,
            started,
            last_seen: started,
            stages: Vec::new(),
            awaited: Awaited {
                initrds: known.initrds,
                ..Awaited::default()
            },
        }
    }

    /// Whether `stage` was seen.
    #[must_use]
    pub fn reached(&self, stage: Stage) -> bool {
        self.stages.iter().any(|record| record.stage == stage)
    }

    /// Milliseconds from the beginning to what was last seen.
    #[must_use]
    pub const fn duration_ms(&self) -> u64 {
        self.last_seen.saturating_sub(self.started)
    }

    /// Takes in what an event says; the stage it is, its bytes, its duration
    /// and what it was about.
    fn take(&mut self, event: &BootEvent, known: &Known) -> Option<(Stage, u64, u64, String)> {
        match &event.fact {
            Fact::Offer { client, address } => {
                self.meet(client, *address);
                (client.kind != ClientKind::Plain)
                    .then(|| (Stage::Offer, 0, 0, client.kind.as_str().to_owned()))
            }
            Fact::Ack {
                client,
                address,
                next,
            } => {
                if client.kind == ClientKind::Plain {
                    return None;
                }
                self.meet(client, *address);
                self.profile = known.profile.clone();
                self.awaited.initrds = known.initrds;
                if let NextStep::Loader { file, .. } = next {
                    self.loader = Some(file.rsplit('/').next().unwrap_or(file).to_owned());
                }
                let stage = if *next == NextStep::Local {
                    Stage::LocalBoot
                } else {
                    Stage::Ack
                };
                Some((stage, 0, 0, client.kind.as_str().to_owned()))
            }
            Fact::Transfer(transfer) => self.take_transfer(transfer),
        }
    }

    fn meet(&mut self, client: &Client, address: Ipv4Addr) {
        self.address = Some(address);
        if self.architecture.is_none() {
            self.architecture = client.architecture();
        }
    }

    fn take_transfer(&mut self, transfer: &Transfer) -> Option<(Stage, u64, u64, String)> {
        if !transfer.complete {
            return None;
        }
        let stage = match transfer.purpose {
            Purpose::Loader => Stage::Loader,
            Purpose::Script => {
                // Each try of the script loads everything anew.
                self.awaited.kernel = false;
                self.awaited.sent = 0;
                Stage::Script
            }
            Purpose::LocalScript => Stage::LocalBoot,
            Purpose::Kernel => {
                self.awaited.kernel = true;
                Stage::Kernel
            }
            Purpose::Initrd => {
                self.awaited.sent += 1;
                Stage::Initrd
            }
            Purpose::Other => return None,
        };
        let duration = u64::try_from(transfer.duration.as_millis()).unwrap_or(u64::MAX);
        Some((stage, transfer.bytes, duration, transfer.name.clone()))
    }

    fn note(
        &mut self,
        stage: Stage,
        at: Millis,
        bytes: u64,
        duration_ms: u64,
        what: String,
        notes: &mut Vec<Note>,
    ) {
        // The wall clock may be set back; a story goes forwards.
        self.last_seen = self.last_seen.max(at.0);
        let record = StageRecord {
            stage,
            at_ms: self.last_seen.saturating_sub(self.started),
            duration_ms,
            bytes,
            what,
        };
        if self.stages.len() < MAX_STAGES {
            self.stages.push(record.clone());
        }
        notes.push(Note::Stage(Box::new(self.clone()), record));
    }

    /// Whether `stage` is the end, and how it ended.
    fn finish(&self, stage: Stage) -> Option<(Stage, BootResult)> {
        match stage {
            Stage::LocalBoot => Some((stage, BootResult::LocalBoot)),
            Stage::Kernel | Stage::Initrd if self.awaited.is_over() => {
                Some((Stage::HandOff, BootResult::HandedOff))
            }
            Stage::Offer
            | Stage::Ack
            | Stage::Loader
            | Stage::Script
            | Stage::Kernel
            | Stage::Initrd
            | Stage::HandOff => None,
        }
    }
}

// === impl Awaited ===

impl Awaited {
    const fn is_over(&self) -> bool {
        self.kernel && self.sent >= self.initrds
    }
}

// === impl Stage ===

impl Stage {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Ack => "ack",
            Self::Loader => "loader",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::HandOff => "hand-off",
            Self::LocalBoot => "local-boot",
        }
    }
}

// === impl BootResult ===

impl BootResult {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::HandedOff => "handed-off",
            Self::LocalBoot => "local-boot",
            Self::Stalled => "stalled",
            Self::Restarted => "restarted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(n: u32, at: u64, kind: ClientKind) -> BootEvent {
        let [a, b, c, d] = n.to_be_bytes();
        let mac = MacAddress::new([2, 0, a, b, c, d]);
        let client = Client {
            mac: Some(mac),
            kind,
            firmware: None,
        };
        let address = Ipv4Addr::from(n);
        BootEvent {
            mac,
            at: Millis(at),
            fact: Fact::Offer { client, address },
        }
    }

    fn seen(timeline: &mut Timeline, event: &BootEvent) {
        timeline.observe(event, &Known::default());
    }

    #[test]
    fn clients_that_do_not_boot_push_no_boot_out() {
        let mut timeline = Timeline::default();
        let boots = offer(0, 1, ClientKind::Pxe);
        seen(&mut timeline, &boots);
        for n in 1..=20_000 {
            seen(&mut timeline, &offer(n, 2, ClientKind::Plain));
        }
        let left: Vec<_> = timeline.boots().iter().map(|boot| boot.mac).collect();
        assert_eq!(left, [boots.mac]);
        assert_eq!(timeline.machines.len(), 1);
    }

    #[test]
    fn the_machine_heard_of_longest_ago_makes_room() {
        let mut timeline = Timeline::default();
        let many = u32::try_from(MAX_MACHINES).unwrap();
        for n in 0..many {
            seen(&mut timeline, &offer(n, n.into(), ClientKind::Pxe));
        }
        // The first of them is heard of again, so the second is the oldest.
        seen(&mut timeline, &offer(0, many.into(), ClientKind::Plain));
        let newcomer = offer(many, u64::from(many) + 1, ClientKind::Pxe);
        seen(&mut timeline, &newcomer);
        let has = |n| {
            timeline
                .machines
                .contains_key(&offer(n, 0, ClientKind::Pxe).mac)
        };
        assert!(has(0) && !has(1) && has(2) && has(many));
        assert_eq!(timeline.machines.len(), timeline.by_age.len());
    }
}
