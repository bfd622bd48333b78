//! A boot: what is known of it, its stages, and how it ended.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::known::Known;
use super::progress::{Leaves, Progress};
use super::word::{Word, Words};
use crate::boot::{Architecture, Client, ClientKind, MacAddress, Transport, Uuid};
use crate::clock::Millis;
use crate::snapshot::ObjectName;

/// The first stages of a boot that are kept. A boot has about ten; one that
/// loops over its script has more.
pub const FIRST_STAGES: usize = 16;
/// The last stages that are kept beside them.
pub const LAST_STAGES: usize = 8;
/// What went wrong in a boot: the last so many are kept.
pub const KEPT_TROUBLE: usize = 4;

/// Names a boot for ever: the machine's MAC address and a number that only
/// grows, the milliseconds since the Unix epoch at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId {
    /// The machine's MAC address.
    pub mac: MacAddress,
    /// The number.
    pub number: u64,
}

/// A boot: one machine from its first packet to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Boot {
    /// Names it.
    pub id: BootId,
    /// The MAC address that boots; a machine may have several.
    pub mac: MacAddress,
    /// The namespace of the machine's object.
    pub namespace: Option<Word>,
    /// The machine's object, by name.
    pub machine: Option<Word>,
    /// By what the object knows it ([`KnownBy::as_str`](crate::snapshot::KnownBy::as_str)).
    pub known_by: Option<&'static str>,
    /// The identifier that its firmware has of it, as it tells it (option 97).
    pub uuid: Option<Uuid>,
    /// The profile, by name.
    pub profile: Option<Word>,
    /// What was chosen from a menu, as its entries' names: `installers/debian`.
    pub entry: Option<Word>,
    /// The rule that chose the profile, or its first menu
    /// ([`Rule::as_str`](crate::snapshot::Rule::as_str)).
    pub rule: Option<&'static str>,
    /// What the firmware said that it is.
    pub architecture: Option<Architecture>,
    /// The kind of program that began it.
    #[serde(serialize_with = "kind")]
    pub firmware: Option<ClientKind>,
    /// How the loader travelled.
    #[serde(serialize_with = "transport")]
    pub transport: Option<Transport>,
    /// The address it got.
    pub address: Option<IpAddr>,
    /// The loader it was told to load.
    pub loader: Option<Word>,
    /// How it ended, or that it goes on.
    pub result: BootResult,
    /// The stage that it waits for, while it goes on.
    pub expects: Option<Stage>,
    /// The stage that did not come, of a boot that stalled or began anew.
    pub stalled_at: Option<Stage>,
    /// The boot that had stalled and of which this is the rest.
    pub resumes: Option<BootId>,
    /// What the installed system said of itself.
    pub message: Option<Word>,
    /// When it began, in milliseconds since the Unix epoch.
    pub started: u64,
    /// When something was last seen of it.
    pub last_seen: u64,
    /// Bytes that were sent, whole files and parts.
    pub bytes: u64,
    /// What was seen, in order.
    pub stages: Vec<StageRecord>,
    /// Stages between the first and the last that are not kept.
    pub stages_left_out: u32,
    /// What went wrong lately.
    pub trouble: Vec<Trouble>,
    /// The `boot.generation` of a machine that boots once, as its boot began.
    #[serde(skip)]
    pub once: Option<i64>,
    /// The same, once this boot has used it up.
    pub consumed: Option<i64>,
    /// What is still to come.
    #[serde(skip)]
    pub(super) progress: Progress,
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum BootResult {
    /// It goes on.
    Running,
    /// Everything was sent whole: the machine runs on its own.
    HandedOff,
    /// It was sent to another server, which we do not see.
    Chained,
    /// The machine was sent to its disk.
    LocalBoot,
    /// It did not go on to its next stage in time.
    Stalled,
    /// The machine began anew before it got to its end.
    Restarted,
    /// The system that was booted called back: it runs.
    PhonedHome,
    /// The system that was booted called back: something went wrong.
    Failed,
}

/// Stages of a boot, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Stage {
    /// A DHCPOFFER left for firmware.
    Offer,
    /// A DHCPACK left for firmware.
    Ack,
    /// The loader was sent.
    Loader,
    /// A DHCPACK left for the iPXE that was loaded.
    Ipxe,
    /// A menu was sent: somebody may choose.
    Menu,
    /// The script was sent.
    Script,
    /// The kernel was sent.
    Kernel,
    /// An initrd was sent.
    Initrd,
    /// The EFI program that is booted was sent.
    Efi,
    /// The image of a disc was sent, or as much of it as a machine reads that
    /// runs from it.
    Iso,
    /// Everything was sent.
    HandOff,
    /// An answer file was given to what was booted; it says which, and to what
    /// address.
    Config,
    /// The system that was booted called back.
    PhonedHome,
    /// The machine was told to boot its disk.
    LocalBoot,
}

/// One stage of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageRecord {
    /// Which.
    pub stage: Stage,
    /// Milliseconds from the boot's beginning to the stage's end.
    pub at_ms: u32,
    /// How long the stage itself took, in milliseconds: from the request to
    /// the last byte, from the offer to the ACK; 0 for a packet.
    pub duration_ms: u32,
    /// Bytes that were sent.
    pub bytes: u64,
    /// What was sent, or who asked.
    pub what: Word,
}

/// Something that went wrong in a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Milliseconds from the boot's beginning.
    pub at_ms: u32,
    /// What, such as `kernel aborted after 3.0 MB of 9.0 MB: connection-broken`.
    pub what: Word,
}

/// Text that names no boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no boot is named so")]
pub struct ParseBootIdError;

// === impl BootId ===

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.mac.hyphenated(), self.number)
    }
}

impl FromStr for BootId {
    type Err = ParseBootIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mac, number) = text.rsplit_once('-').ok_or(ParseBootIdError)?;
        let mac = mac.parse().map_err(|_| ParseBootIdError)?;
        let number = u64::from_str_radix(number, 16).map_err(|_| ParseBootIdError)?;
        let id = Self { mac, number };
        // One boot has one name.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(ParseBootIdError)
        }
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// serde hands references over.
#[expect(clippy::ref_option, reason = "serde's signature")]
fn kind<S: Serializer>(kind: &Option<ClientKind>, serializer: S) -> Result<S::Ok, S::Error> {
    kind.map(ClientKind::as_str).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn transport<S: Serializer>(how: &Option<Transport>, serializer: S) -> Result<S::Ok, S::Error> {
    how.map(Transport::as_str).serialize(serializer)
}

// === impl Boot ===

impl Boot {
    pub(super) fn new(id: BootId, at: Millis, known: &Known, words: &mut Words) -> Self {
        let mut boot = Self {
            id,
            mac: id.mac,
            namespace: None,
            machine: None,
            known_by: None,
            uuid: None,
            profile: None,
            entry: None,
            rule: None,
            architecture: None,
            firmware: None,
            transport: None,
            address: None,
            loader: None,
            result: BootResult::Running,
            expects: Some(Stage::Ack),
            stalled_at: None,
            resumes: None,
            message: None,
            started: at.0,
            last_seen: at.0,
            bytes: 0,
            stages: Vec::new(),
            stages_left_out: 0,
            trouble: Vec::new(),
            once: None,
            consumed: None,
            progress: Progress::new(at),
        };
        boot.know(known, words);
        boot
    }

    /// Takes over what the manifests say, where they say something.
    pub(super) fn know(&mut self, known: &Known, words: &mut Words) {
        if let Some(name) = &known.name {
            self.name(name, words);
            self.known_by = known.known_by;
            // As it began: a greater one in between is for the next boot.
            self.once = self.once.or(known.once);
        }
        if let Some(profile) = &known.profile {
            self.profile = Some(words.word(profile));
            self.entry = known.entry.as_ref().map(|entry| words.word(entry));
            self.rule = known.rule;
            self.progress.expect(known.initrds, known.leaves);
        }
    }

    /// Files the boot under a machine's object.
    pub(super) fn name(&mut self, name: &ObjectName, words: &mut Words) {
        self.namespace = Some(words.word(&name.namespace));
        self.machine = Some(words.word(&name.name));
    }

    /// Whether `client` is the iPXE that this boot's firmware was sent.
    pub(super) fn is_second_round(&self, client: &Client) -> bool {
        client.kind == ClientKind::Ipxe
            && (self.firmware != Some(ClientKind::Ipxe) || self.reached(Stage::Loader))
    }

    pub(super) fn meet(&mut self, client: &Client, address: IpAddr) {
        // A proxy's offer brings none.
        if !address.is_unspecified() {
            self.address = Some(address);
        }
        self.uuid = self.uuid.or(client.uuid);
        if self.architecture.is_none() {
            self.architecture = client.architecture();
        }
        if self.firmware.is_none() {
            self.firmware = Some(client.kind);
        }
    }

    /// Whether `stage` was seen.
    #[must_use]
    pub fn reached(&self, stage: Stage) -> bool {
        self.stages.iter().any(|record| record.stage == stage)
    }

    /// The stage that was seen last.
    #[must_use]
    pub fn last_stage(&self) -> Option<Stage> {
        self.stages.last().map(|record| record.stage)
    }

    /// Milliseconds from the beginning to what was last seen.
    #[must_use]
    pub const fn duration_ms(&self) -> u64 {
        self.last_seen.saturating_sub(self.started)
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.result == BootResult::Running
    }

    /// Milliseconds from the beginning to now, which `at` does not turn back:
    /// the wall clock may be set, a story goes forwards.
    pub(super) fn forward(&mut self, at: u64) -> u32 {
        self.last_seen = self.last_seen.max(at);
        u32::try_from(self.duration_ms()).unwrap_or(u32::MAX)
    }

    /// Uses up the generation of a machine that boots once, where `result` says
    /// that it is done. A script of somebody's own or another server's is seen
    /// to leave, and not what it boots: that counts when the system calls back.
    pub(super) fn consume(&mut self, result: BootResult) {
        let is_done = match result {
            BootResult::PhonedHome => true,
            BootResult::HandedOff => match self.progress.leaves {
                Leaves::Linux | Leaves::Efi | Leaves::Iso => true,
                Leaves::Loader | Leaves::Script | Leaves::Chain => false,
            },
            BootResult::Running
            | BootResult::Chained
            | BootResult::LocalBoot
            | BootResult::Stalled
            | BootResult::Restarted
            | BootResult::Failed => false,
        };
        if is_done {
            self.consumed = self.consumed.or(self.once);
        }
    }

    /// Adds a stage; of very many, those in the middle go.
    pub(super) fn push(&mut self, record: StageRecord) {
        if self.stages.len() >= FIRST_STAGES + LAST_STAGES {
            self.stages.remove(FIRST_STAGES);
            self.stages_left_out = self.stages_left_out.saturating_add(1);
        }
        self.stages.push(record);
    }

    /// Adds what went wrong; of many, the oldest goes.
    pub(super) fn push_trouble(&mut self, trouble: Trouble) {
        if self.trouble.len() >= KEPT_TROUBLE {
            self.trouble.remove(0);
        }
        self.trouble.push(trouble);
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
            Self::Ipxe => "ipxe",
            Self::Menu => "menu",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Efi => "efi",
            Self::Iso => "iso",
            Self::HandOff => "hand-off",
            Self::Config => "config",
            Self::PhonedHome => "phoned-home",
            Self::LocalBoot => "local-boot",
        }
    }
}

// === impl BootResult ===

impl BootResult {
    /// Every result.
    pub const ALL: [Self; 8] = [
        Self::Running,
        Self::HandedOff,
        Self::Chained,
        Self::LocalBoot,
        Self::Stalled,
        Self::Restarted,
        Self::PhonedHome,
        Self::Failed,
    ];

    /// The result of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.as_str() == name)
    }

    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::HandedOff => "handed-off",
            Self::Chained => "chained",
            Self::LocalBoot => "local-boot",
            Self::Stalled => "stalled",
            Self::Restarted => "restarted",
            Self::PhonedHome => "phoned-home",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_as_it_is_named() {
        for result in BootResult::ALL {
            assert_eq!(BootResult::parse(result.as_str()), Some(result));
        }
        assert_eq!(BootResult::parse("done"), None);
    }

    #[test]
    fn a_boot_has_one_name() {
        let id = BootId {
            mac: MacAddress::new([0x52, 0x54, 0, 0, 0, 7]),
            number: 0x19_9abc,
        };
        assert_eq!(id.to_string(), "52-54-00-00-00-07-199abc");
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in [
            "52-54-00-00-00-07-0199abc",
            "52:54:00:00:00:07-199abc",
            "52-54-00-00-00-07-199ABC",
            "52-54-00-00-00-07",
            "52-54-00-00-00-07-",
            "",
        ] {
            assert_eq!(other.parse::<BootId>(), Err(ParseBootIdError), "{other}");
        }
    }
}
