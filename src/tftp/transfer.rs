//! One read transfer as a state machine: packets and time in, packets out.
//!
//! The caller sends what a [`Step`] says, waits until [`Transfer::deadline`]
//! or the next packet, and says which it was. The machine never holds the
//! content, only its length. Performs no I/O and reads no clock: `now` is the
//! time since any moment that the caller keeps to, and never goes back.

mod blocks;

use std::time::Duration;

pub use self::blocks::{Block, Blocks, Rollover};
use super::wire::{self, DEFAULT_BLKSIZE, ErrorCode, MIN_BLKSIZE, Options, Packet, Unreadable};

/// Largest window, in blocks, that [`Limits`] can allow. Block numbers wrap at
/// 65536: a window has to stay far below to tell old ACKs from new ones.
pub const MAX_WINDOWSIZE: u16 = 1024;

/// Shortest wait before the first repetition, however fast the network is: a
/// client that writes to flash now and then thinks for so long.
const RETRANSMIT_MIN: Duration = Duration::from_millis(250);

/// Bytes of a packet in front of a block: IPv4 20, UDP 8, TFTP 4.
const HEADERS: u16 = 32;

/// Longest text of a client's ERROR that is kept, in characters.
const MAX_ERROR_TEXT: usize = 80;

/// What a transfer may take at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest block size, in bytes. 1468 = MTU 1500 - 20 (IP) - 8 (UDP) - 4
    /// (TFTP): many ROMs cannot put fragments together.
    pub blksize: u16,
    /// Largest window, in blocks. Clients are known to fail above 64.
    pub windowsize: u16,
    /// Most bytes in flight; bounds the window times the block size, and with
    /// it the memory of a transfer.
    pub window_bytes: u32,
    /// First wait before a repetition, where the client does not ask for one
    /// and nothing was measured yet.
    pub retransmit: Duration,
    /// Longest wait between repetitions, unless the client asks for more.
    pub retransmit_max: Duration,
    /// How long a client may not come forward before it is given up; at least
    /// twice the timeout that it asks for.
    pub patience: Duration,
    /// How long a transfer may take in all: a client that acknowledges a block
    /// now and then would keep its place for ever.
    pub longest: Duration,
    /// What follows block 65535.
    pub rollover: Rollover,
}

/// A read transfer, from the first packet sent to its end.
#[derive(Debug)]
pub struct Transfer {
    limits: Limits,
    blksize: u16,
    windowsize: u16,
    timeout: Option<Duration>,
    /// Length of the content, in bytes.
    length: u64,
    /// The OACK, as long as its ACK 0 is awaited.
    option_ack: Option<Vec<u8>>,
    /// Whether the client asked for the length and may want nothing else.
    may_be_probe: bool,
    /// Whether the client has acknowledged anything, be it block 0.
    answered: bool,
    /// Blocks count from 1 and never wrap here. The last block that was acknowledged.
    acked: u64,
    /// The last block that was sent, and the end of the window.
    sent: u64,
    /// Whether blocks of the window were sent twice: an ACK that repeats then
    /// speaks of the second copy, not of a loss.
    doubled: bool,
    /// Whether blocks of the window before were.
    doubled_before: bool,
    /// When the window or the OACK was sent last.
    sent_at: Duration,
    /// Repetitions by time since the client last came forward.
    attempts: u32,
    give_up_at: Duration,
    /// When it is over, whatever the client does.
    ends_at: Duration,
    deadline: Duration,
    /// Round trip, smoothed, and the shortest; only of what was sent once.
    round_trip: Option<(Duration, Duration)>,
    retransmits: u64,
}

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this packet, then wait.
    Packet(Vec<u8>),
    /// Send these blocks, then wait.
    Blocks(Blocks),
    /// The client came forward, but nothing is due yet. Wait.
    Wait,
    /// The packet changes nothing, for the reason given. Wait.
    Ignore(Ignored),
    /// Send nothing more.
    End(Outcome),
}

/// Why a packet or a timer changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// An ACK for the same block again: answering it would double every packet
    /// from here on (the Sorcerer's Apprentice, RFC 1123 section 4.2.3.1).
    DuplicateAck,
    /// An ACK for a block before the last one acknowledged.
    StaleAck,
    /// An ACK for a block that was not sent.
    AckOfUnsent,
    /// A packet that a reader does not send.
    Unexpected,
    /// No TFTP packet.
    Unreadable(Unreadable),
    /// The deadline has not come.
    NotDue,
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client acknowledged the last block.
    Complete,
    /// The client asked for the length and answered the OACK with an ERROR.
    /// UEFI and PXE ROMs do that before every file: it is no failure.
    Probe,
    /// All was sent, but the client left without acknowledging the end.
    Unconfirmed,
    /// The client ended it.
    ClientError {
        /// The code it sent.
        code: u16,
        /// The words it sent, made printable.
        text: String,
    },
    /// The client fell silent.
    TimedOut,
    /// It took longer than a transfer may.
    Overdue,
    /// The client had not answered yet when its place was needed.
    CrowdedOut,
    /// The client's port is closed or its network cannot be reached.
    Unreachable,
    /// The same client port asked for something else.
    Replaced,
    /// The file became shorter while it was sent.
    Truncated,
    /// The file could not be read.
    ReadFailed,
    /// The client wrote more than it may.
    TooLong,
    /// A file of the name was made while the client wrote its own.
    Exists,
    /// The disk is full.
    DiskFull,
    /// The file could not be written.
    WriteFailed,
    /// Packets cannot be sent or received.
    SocketFailed,
    /// The server stops.
    Stopped,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            blksize: 1468,
            windowsize: 64,
            window_bytes: 128 * 1024,
            retransmit: Duration::from_secs(1),
            retransmit_max: Duration::from_secs(8),
            patience: Duration::from_secs(30),
            // A gigabyte at 300 KB/s.
            longest: Duration::from_secs(3600),
            rollover: Rollover::Zero,
        }
    }
}

/// What both sides keep to.
pub(super) struct Agreed {
    /// The options that were asked, as they are answered (RFC 2347); `tsize` as
    /// it was asked.
    pub(super) answer: Options,
    /// Bytes of a block.
    pub(super) blksize: u16,
    /// Blocks of a window.
    pub(super) windowsize: u16,
    /// When a packet is sent again, where the client says so.
    pub(super) timeout: Option<Duration>,
}

// === impl Transfer ===

impl Transfer {
    /// Begins a transfer of `length` bytes. The step is the first answer: an
    /// OACK with the options that were asked and only those (RFC 2347), else
    /// the first block.
    #[must_use]
    pub fn start(asked: &Options, limits: &Limits, length: u64, now: Duration) -> (Self, Step) {
        let Agreed {
            answer,
            blksize,
            windowsize,
            timeout,
        } = limits.agree(asked);
        let answer = Options {
            tsize: answer.tsize.map(|_| length),
            ..answer
        };
        let mut transfer = Self {
            limits: limits.clone(),
            blksize,
            windowsize,
            timeout,
            length,
            option_ack: (!answer.is_empty()).then(|| wire::option_ack(&answer)),
            may_be_probe: asked.tsize.is_some(),
            answered: false,
            acked: 0,
            sent: 0,
            doubled: false,
            doubled_before: false,
            sent_at: now,
            attempts: 0,
            give_up_at: now,
            ends_at: now + limits.longest,
            deadline: now,
            round_trip: None,
            retransmits: 0,
        };
        transfer.give_up_at = now + transfer.patience();
        let step = transfer.send(now);
        (transfer, step)
    }

    /// Takes a packet from the client.
    pub fn on_packet(&mut self, now: Duration, datagram: &[u8]) -> Step {
        if now >= self.ends_at {
            return Step::End(self.gone(Outcome::Overdue));
        }
        match Packet::decode(datagram) {
            Ok(Packet::Ack { block }) => self.on_ack(now, block),
            Ok(Packet::Error { code, text }) => Step::End(self.on_error(code, text)),
            Ok(Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_)) => {
                Step::Ignore(Ignored::Unexpected)
            }
            Err(unreadable) => Step::Ignore(Ignored::Unreadable(unreadable)),
        }
    }

    /// Says that the time is `now` and no packet has come.
    pub fn on_timeout(&mut self, now: Duration) -> Step {
        if now < self.deadline {
            return Step::Ignore(Ignored::NotDue);
        }
        if now >= self.ends_at {
            return Step::End(self.gone(Outcome::Overdue));
        }
        if now >= self.give_up_at {
            return Step::End(self.gone(Outcome::TimedOut));
        }
        self.attempts = self.attempts.saturating_add(1);
        self.doubled = true;
        self.send(now)
    }

    /// Says that the client's port is closed or cannot be reached.
    #[must_use]
    pub fn on_unreachable(&self) -> Outcome {
        self.gone(Outcome::Unreachable)
    }

    /// Says that the client's port has asked for something else.
    #[must_use]
    pub fn on_replaced(&self) -> Outcome {
        self.gone(Outcome::Replaced)
    }

    /// When [`Self::on_timeout`] is due.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Bytes of content in a block.
    #[must_use]
    pub const fn blksize(&self) -> u16 {
        self.blksize
    }

    /// Blocks in a window.
    #[must_use]
    pub const fn windowsize(&self) -> u16 {
        self.windowsize
    }

    /// Packets that were sent again.
    #[must_use]
    pub const fn retransmits(&self) -> u64 {
        self.retransmits
    }

    /// Whether the client has acknowledged anything yet.
    #[must_use]
    pub const fn answered(&self) -> bool {
        self.answered
    }

    /// Bytes of content that were sent, each counted once.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.length
            .min(self.sent.saturating_mul(self.blksize.into()))
    }

    /// Number of the last block: the first one that is not full (RFC 1350
    /// section 6), which is empty where the length is a multiple.
    fn last_block(&self) -> u64 {
        self.length / u64::from(self.blksize) + 1
    }

    fn on_error(&self, code: u16, text: &[u8]) -> Outcome {
        if self.option_ack.is_some() && self.may_be_probe {
            return Outcome::Probe;
        }
        client_error(code, text)
    }

    fn on_ack(&mut self, now: Duration, block: u16) -> Step {
        if self.option_ack.is_some() {
            return self.on_ack_of_options(now, block);
        }
        let in_flight = self.sent.saturating_sub(self.acked);
        match self.limits.rollover.ahead(self.acked, block) {
            0 => self.on_repeated_ack(now),
            ahead if ahead < in_flight => self.on_gap(now, ahead),
            ahead if ahead == in_flight => self.on_window_done(now),
            ahead if ahead < 0x8000 => Step::Ignore(Ignored::AckOfUnsent),
            _ => Step::Ignore(Ignored::StaleAck),
        }
    }

    fn on_ack_of_options(&mut self, now: Duration, block: u16) -> Step {
        if block != 0 {
            return Step::Ignore(Ignored::AckOfUnsent);
        }
        self.measure(now);
        self.option_ack = None;
        self.doubled = false;
        self.came_forward(now);
        self.send(now)
    }

    fn on_window_done(&mut self, now: Duration) -> Step {
        self.measure(now);
        self.acked = self.sent;
        self.doubled_before = self.doubled;
        self.doubled = false;
        self.came_forward(now);
        if self.acked == self.last_block() {
            return Step::End(Outcome::Complete);
        }
        self.send(now)
    }

    /// An ACK inside the window: the block behind it was lost (RFC 7440
    /// section 4). The window starts again there, unless the ACK cannot be an
    /// answer to the window at all because it is too early. That is what a
    /// client causes that acknowledges every block: it would get a window each.
    fn on_gap(&mut self, now: Duration, ahead: u64) -> Step {
        self.acked = self.acked.saturating_add(ahead);
        self.came_forward(now);
        if self.too_early(now) {
            self.rearm();
            return Step::Wait;
        }
        self.doubled = true;
        self.send(now)
    }

    /// The last ACK again. Alone it says nothing (RFC 1123 section 4.2.3.1);
    /// with windows it is also how a client says that the first block of one
    /// was lost. Then the window is sent again, once: neither it nor the next
    /// one is believed a second time, since copies make a client repeat itself.
    fn on_repeated_ack(&mut self, now: Duration) -> Step {
        let doubled = self.doubled || self.doubled_before;
        if self.windowsize == 1 || doubled || self.too_early(now) {
            return Step::Ignore(Ignored::DuplicateAck);
        }
        self.doubled = true;
        self.send(now)
    }

    /// Sends the OACK or the window behind the last acknowledged block.
    fn send(&mut self, now: Duration) -> Step {
        self.sent_at = now;
        self.rearm();
        if let Some(packet) = &self.option_ack {
            self.retransmits += u64::from(self.attempts > 0);
            return Step::Packet(packet.clone());
        }
        let end = self.acked.saturating_add(self.windowsize.into());
        let last = end.min(self.last_block());
        self.retransmits += self.sent.saturating_sub(self.acked);
        self.sent = last;
        Step::Blocks(Blocks {
            first: self.acked + 1,
            last,
            blksize: self.blksize,
            length: self.length,
            rollover: self.limits.rollover,
        })
    }

    fn came_forward(&mut self, now: Duration) {
        self.give_up_at = now + self.patience();
        self.attempts = 0;
        self.answered = true;
    }

    fn patience(&self) -> Duration {
        let asked = self.timeout.unwrap_or_default().saturating_mul(2);
        self.limits.patience.max(asked)
    }

    /// Sets the deadline from the last packet sent: a wait that doubles.
    fn rearm(&mut self) {
        let first = self.first_wait();
        let longest = self.limits.retransmit_max.max(first);
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let wait = first.saturating_mul(factor).min(longest);
        let last = self.give_up_at.min(self.ends_at);
        self.deadline = (self.sent_at + wait).min(last);
    }

    fn first_wait(&self) -> Duration {
        match (self.timeout, self.round_trip) {
            (Some(asked), _) => asked,
            (None, Some((smoothed, _))) => {
                let measured = smoothed.saturating_mul(4).max(RETRANSMIT_MIN);
                measured.min(self.limits.retransmit)
            }
            (None, None) => self.limits.retransmit,
        }
    }

    /// Takes the round trip of what was sent once; an answer to something sent
    /// twice may be to either (Karn).
    fn measure(&mut self, now: Duration) {
        if self.doubled || self.attempts > 0 {
            return;
        }
        let sample = now.saturating_sub(self.sent_at);
        self.round_trip = Some(match self.round_trip {
            Some((smoothed, shortest)) => ((smoothed * 7 + sample) / 8, shortest.min(sample)),
            None => (sample, sample),
        });
    }

    /// Whether a packet of this moment left the client before the window came.
    fn too_early(&self, now: Duration) -> bool {
        self.round_trip
            .is_some_and(|(_, shortest)| now.saturating_sub(self.sent_at) < shortest)
    }

    /// `outcome`, unless only the last ACK is missing: some loaders start what
    /// they have got without sending it.
    fn gone(&self, outcome: Outcome) -> Outcome {
        if self.option_ack.is_none() && self.answered && self.sent == self.last_block() {
            Outcome::Unconfirmed
        } else {
            outcome
        }
    }
}

// === windows ===

impl Limits {
    /// The same on a link whose packets have `mtu` bytes at most: no block is
    /// cut on its way. `said` is the largest block that somebody asked for in
    /// the settings; without it the link decides alone.
    #[must_use]
    pub fn on_link(&self, mtu: Option<u16>, said: Option<u16>) -> Self {
        let fits = mtu.map(|mtu| mtu.saturating_sub(HEADERS).max(MIN_BLKSIZE));
        let blksize = match (said, fits) {
            (Some(said), Some(fits)) => said.min(fits),
            (Some(blksize), None) | (None, Some(blksize)) => blksize,
            (None, None) => self.blksize,
        };
        Self {
            blksize,
            ..self.clone()
        }
    }

    /// What is agreed on with a client that asks for these options, in either
    /// direction.
    pub(super) fn agree(&self, asked: &Options) -> Agreed {
        // RFC 2348: the answer is never larger than what was asked.
        let blksize = asked.blksize;
        let blksize = blksize.map(|asked| asked.min(self.blksize).max(MIN_BLKSIZE));
        let size = blksize.unwrap_or(DEFAULT_BLKSIZE);
        let windowsize = asked.windowsize;
        let windowsize = windowsize.map(|asked| asked.min(self.window(size)));
        Agreed {
            answer: Options {
                blksize,
                windowsize,
                ..*asked
            },
            blksize: size,
            windowsize: windowsize.unwrap_or(1),
            timeout: asked
                .timeout
                .map(|seconds| Duration::from_secs(seconds.into())),
        }
    }

    /// Largest window for a block size, in blocks.
    fn window(&self, blksize: u16) -> u16 {
        let fitting = self.window_bytes / u32::from(blksize.max(MIN_BLKSIZE));
        let fitting = u16::try_from(fitting).unwrap_or(u16::MAX);
        fitting.min(self.windowsize).clamp(1, MAX_WINDOWSIZE)
    }
}

// === impl Ignored ===

impl Ignored {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateAck => "ack-duplicate",
            Self::StaleAck => "ack-stale",
            Self::AckOfUnsent => "ack-of-unsent",
            Self::Unexpected => "packet-unexpected",
            Self::Unreadable(unreadable) => unreadable.as_str(),
            Self::NotDue => "timer-not-due",
        }
    }
}

// === impl Outcome ===

/// The client ended it, with these words.
pub(super) fn client_error(code: u16, text: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(text);
    let printable = text.chars().filter(|c| !c.is_control());
    Outcome::ClientError {
        code,
        text: printable.take(MAX_ERROR_TEXT).collect(),
    }
}

impl Outcome {
    /// The code by which a client that writes is told; `None` where it knows,
    /// or nobody listens.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::TooLong | Self::DiskFull => Some(ErrorCode::DiskFull),
            Self::Exists => Some(ErrorCode::FileExists),
            Self::WriteFailed | Self::Overdue | Self::Stopped => Some(ErrorCode::Undefined),
            Self::Complete
            | Self::Probe
            | Self::Unconfirmed
            | Self::ClientError { .. }
            | Self::TimedOut
            | Self::CrowdedOut
            | Self::Unreachable
            | Self::Replaced
            | Self::Truncated
            | Self::ReadFailed
            | Self::SocketFailed => None,
        }
    }

    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Probe => "probe",
            Self::Unconfirmed => "unconfirmed",
            Self::ClientError { .. } => "client-error",
            Self::TimedOut => "timed-out",
            Self::Overdue => "deadline-passed",
            Self::CrowdedOut => "crowded-out",
            Self::Unreachable => "unreachable",
            Self::Replaced => "replaced",
            Self::Truncated => "truncated",
            Self::ReadFailed => "read-failed",
            Self::TooLong => "file-too-long",
            Self::Exists => "file-exists",
            Self::DiskFull => "disk-full",
            Self::WriteFailed => "write-failed",
            Self::SocketFailed => "socket-failed",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests;
