//! What is said of a transfer at its end: a log line, counters, an event.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::session::Shared;
use super::transfer::{Outcome, Transfer};
use crate::boot::{MacAddress, Transport};
use crate::clock;
use crate::timeline::{self, BootEvent, BootId, Fact, Purpose};

/// What is sent, and to whom; for the log and the timeline.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) machine: Option<MacAddress>,
    pub(super) generation: u64,
    pub(super) name: String,
    pub(super) purpose: Purpose,
    /// Bytes of content that there are.
    pub(super) len: u64,
    pub(super) started: Instant,
}

// === impl Served ===

impl Served {
    /// Tells the timeline that a long file is on its way; its end, which
    /// always comes, tells the rest.
    pub(super) fn started(&self, shared: &Shared) {
        let purpose = self.purpose;
        if let (Some(mac), true) = (self.machine, purpose.tells_start(self.len)) {
            let (at, fact) = (clock::now(), Fact::TransferStarted { purpose });
            shared.events.emit(BootEvent { mac, at, fact });
        }
    }

    /// Counts, logs and reports a transfer's end.
    pub(super) fn report(
        &self,
        shared: &Shared,
        peer: SocketAddr,
        transfer: &Transfer,
        outcome: &Outcome,
    ) {
        let bytes = transfer.bytes_sent();
        let duration = self.started.elapsed();
        shared.metrics.ended(outcome, transfer, duration);
        let boot = self.machine.and_then(|mac| shared.told.boot(mac));
        self.log(peer, boot, transfer, outcome, duration);
        // A probe moved no content.
        if let (Some(mac), false) = (self.machine, *outcome == Outcome::Probe) {
            shared.events.emit(BootEvent {
                mac,
                at: clock::now(),
                fact: Fact::Transfer(timeline::Transfer {
                    purpose: self.purpose,
                    name: self.name.clone(),
                    transport: Transport::Tftp,
                    bytes,
                    size: self.len,
                    duration,
                    complete: *outcome == Outcome::Complete,
                    aborted: (*outcome != Outcome::Complete).then(|| outcome.as_str()),
                }),
            });
        }
    }

    fn log(
        &self,
        peer: SocketAddr,
        boot: Option<BootId>,
        transfer: &Transfer,
        outcome: &Outcome,
        duration: Duration,
    ) {
        // A macro because a level of `tracing` is fixed where it is written.
        macro_rules! line {
            ($level:ident, $($field:tt)*) => {
                $level!(
                    target: "reveille::tftp",
                    %peer,
                    machine = self.machine.map(tracing::field::display),
                    boot = boot.map(tracing::field::display),
                    name = %self.name,
                    bytes = transfer.bytes_sent(),
                    duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                    blksize = transfer.blksize(),
                    windowsize = transfer.windowsize(),
                    retransmits = transfer.retransmits(),
                    generation = self.generation,
                    outcome = outcome.as_str(),
                    $($field)*
                )
            };
        }
        // What the timeline tells is not told twice.
        let is_stage = self.machine.is_some() && self.purpose != Purpose::Other;
        match outcome {
            Outcome::Complete if is_stage => line!(debug, "transfer ended"),
            Outcome::Complete => line!(info, "transfer ended"),
            Outcome::Probe => line!(debug, "transfer ended"),
            // Where this happens there are thousands of them.
            Outcome::CrowdedOut => line!(debug, "transfer failed"),
            Outcome::ClientError { code, text } => {
                line!(warn, code, text = %text.escape_debug(), "transfer failed");
            }
            Outcome::Unconfirmed
            | Outcome::TimedOut
            | Outcome::Overdue
            | Outcome::Unreachable
            | Outcome::Replaced
            | Outcome::Truncated
            | Outcome::ReadFailed
            | Outcome::TooLong
            | Outcome::Exists
            | Outcome::DiskFull
            | Outcome::WriteFailed
            | Outcome::SocketFailed
            | Outcome::Stopped => line!(warn, "transfer failed"),
        }
    }
}
