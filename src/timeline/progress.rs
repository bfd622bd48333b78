//! How far a boot is, what it waits for, and how long it may.

use super::{Boot, Stage};
use crate::boot::ClientKind;
use crate::clock::Millis;

/// Milliseconds of silence after which a boot that waits for a stage has
/// stalled: the firmware's and iPXE's own patience for a packet is shorter.
pub const SILENCE_MILLIS: u64 = 60_000;
/// The same between the loader and its first DHCP packet: iPXE brings the link
/// up anew, a switch port that learns needs 30 s of it, and its DISCOVERs come
/// at growing intervals.
pub const IPXE_SILENCE_MILLIS: u64 = 120_000;
/// Milliseconds after which a boot that is heard of and gets no further has
/// stalled: one that asks for its script every five seconds, say.
pub const NO_PROGRESS_MILLIS: u64 = 300_000;
/// The same of a machine that shows a menu: somebody may think, or be away.
pub const MENU_MILLIS: u64 = 3_600_000;
/// Milliseconds for which the beginning of a transfer stands for its end,
/// which tells itself unless the event was lost.
pub const IN_FLIGHT_MILLIS: u64 = 3_600_000;

/// How far a boot is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// What the machine was told to do at last.
    pub(super) told: Told,
    /// The furthest stage, and how many initrds were sent when it was reached.
    best: Option<(Stage, u16)>,
    /// When it was reached.
    since: Millis,
    /// When a DHCPOFFER left that no ACK followed yet.
    pub(super) offered: Option<Millis>,
    /// Whether the kernel was sent whole since the script was.
    pub(super) kernel: bool,
    /// The initrds that the script names.
    pub(super) initrds: u16,
    /// Those that were sent whole since the script was.
    pub(super) sent: u16,
    /// What is sent last.
    pub(super) leaves: Leaves,
    /// Long transfers on their way.
    in_flight: u16,
    /// When the last of them began.
    flight: Millis,
}

/// What a machine is sent last, before it runs on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaves {
    /// Kernel and initrds.
    #[default]
    Linux,
    /// The loader: it needs nothing from us afterwards.
    Loader,
    /// An EFI program.
    Efi,
    /// The image of a disc.
    Iso,
    /// A script of somebody's own, whatever that does.
    Script,
    /// A script that sends it to another server.
    Chain,
}

/// What an ACK told a machine to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    #[default]
    Nothing,
    Loader,
    /// To load what it boots, without a loader.
    Source,
    Script,
    Disk,
}

// === impl Progress ===

impl Progress {
    /// At the beginning.
    pub(super) fn new(at: Millis) -> Self {
        Self {
            since: at,
            ..Self::default()
        }
    }

    /// That of a boot that had stalled and goes on now.
    pub(super) fn resumed(&self, at: Millis) -> Self {
        Self {
            since: at,
            offered: None,
            in_flight: 0,
            ..self.clone()
        }
    }

    /// What the profile has the machine load.
    pub(super) fn expect(&mut self, initrds: usize, leaves: Leaves) {
        self.initrds = u16::try_from(initrds).unwrap_or(u16::MAX);
        self.leaves = leaves;
    }

    /// Whether `stage`, seen now, is further than ever.
    pub(super) fn reach(&mut self, stage: Stage, at: Millis) -> bool {
        let here = (stage, self.sent);
        let further = self.best.is_none_or(|best| here > best);
        if further {
            self.best = Some(here);
            self.since = self.since.max(at);
        }
        further
    }

    /// The furthest stage.
    pub(super) fn furthest(&self) -> Option<Stage> {
        self.best.map(|(stage, _)| stage)
    }

    /// Whether all that the script names was sent.
    pub(super) const fn is_over(&self) -> bool {
        self.kernel && self.sent >= self.initrds
    }

    /// The script was sent: it loads everything anew.
    pub(super) const fn begin_script(&mut self) {
        self.kernel = false;
        self.sent = 0;
    }

    /// The machine waits because it was told to.
    pub(super) fn wait(&mut self, at: Millis) {
        self.since = self.since.max(at);
    }

    /// A long transfer began.
    pub(super) fn take_off(&mut self, at: Millis) {
        self.in_flight = self.in_flight.saturating_add(1);
        self.flight = self.flight.max(at);
    }

    /// A long transfer ended at `at`, after `millis`. No time passes for the
    /// machine's patience while bytes are on their way.
    pub(super) fn land(&mut self, at: Millis, millis: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.since = self.since.max(at.min(self.since.plus_millis(millis)));
    }
}

// === impl Boot ===

impl Boot {
    /// The stage that must come next.
    pub(super) fn next_stage(&self) -> Stage {
        let progress = &self.progress;
        let disk = progress.told == Told::Disk;
        let source = match progress.leaves {
            Leaves::Efi => Stage::Efi,
            Leaves::Iso => Stage::Iso,
            Leaves::Linux | Leaves::Loader | Leaves::Script | Leaves::Chain => Stage::Kernel,
        };
        match progress.furthest() {
            None | Some(Stage::Offer) => Stage::Ack,
            Some(Stage::Ack) => match (progress.told, self.firmware) {
                (Told::Script, _) => Stage::Script,
                (Told::Source, _) => source,
                (Told::Disk, Some(ClientKind::Ipxe)) => Stage::LocalBoot,
                (Told::Nothing | Told::Loader | Told::Disk, _) => Stage::Loader,
            },
            Some(Stage::Loader | Stage::Ipxe) if disk => Stage::LocalBoot,
            Some(Stage::Loader) => Stage::Ipxe,
            Some(Stage::Ipxe | Stage::Menu) => Stage::Script,
            Some(Stage::Script) => source,
            Some(Stage::Kernel | Stage::Initrd) => Stage::Initrd,
            Some(
                Stage::Efi
                | Stage::Iso
                | Stage::HandOff
                | Stage::Config
                | Stage::PhonedHome
                | Stage::LocalBoot,
            ) => Stage::PhonedHome,
        }
    }

    /// Whether it goes on and an offer is all that came of it yet: the machine
    /// may still choose another server, and then this was no boot.
    #[must_use]
    pub fn is_mere_offer(&self) -> bool {
        self.is_running()
            && self.resumes.is_none()
            && self.trouble.is_empty()
            && self.progress.in_flight == 0
            && self.stages.iter().all(|it| it.stage == Stage::Offer)
    }

    /// Whether it should have gone on by now.
    pub(super) fn is_stalled(&self, now: Millis) -> bool {
        let progress = &self.progress;
        if progress.in_flight > 0 && now.since(progress.flight) < IN_FLIGHT_MILLIS {
            return false;
        }
        if self.last_stage() == Some(Stage::Menu) {
            return now.since(Millis(self.last_seen)) > MENU_MILLIS;
        }
        let silence = match self.next_stage() {
            Stage::Ipxe => IPXE_SILENCE_MILLIS,
            Stage::Offer
            | Stage::Ack
            | Stage::Loader
            | Stage::Menu
            | Stage::Script
            | Stage::Kernel
            | Stage::Initrd
            | Stage::Efi
            | Stage::Iso
            | Stage::HandOff
            | Stage::Config
            | Stage::PhonedHome
            | Stage::LocalBoot => SILENCE_MILLIS,
        };
        now.since(Millis(self.last_seen)) > silence
            || now.since(progress.since) > NO_PROGRESS_MILLIS
    }
}
