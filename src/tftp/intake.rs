//! One write transfer as a state machine: packets and time in, packets and
//! content out.
//!
//! The caller does what a [`Take`] says. After content it says so by
//! [`Intake::kept`], which tells what to send: what was acknowledged is kept.
//! Performs no I/O and reads no clock, as [`transfer`](super::transfer).

use std::time::Duration;

use super::transfer::{Agreed, Ignored, Limits, Outcome, client_error};
use super::wire::{self, Options, Packet};

/// A write transfer, from the first answer to its end.
#[derive(Debug)]
pub struct Intake {
    limits: Limits,
    blksize: u16,
    windowsize: u16,
    timeout: Option<Duration>,
    /// Most bytes that are taken.
    most: u64,
    bytes: u64,
    /// Blocks that came in order.
    received: u64,
    /// How many of them came since the last ACK.
    in_window: u16,
    /// Whether the last block has come.
    complete: bool,
    /// Whether a gap was told already: once for each.
    gap_told: bool,
    /// The last answer: the OACK or an ACK.
    answer: Vec<u8>,
    attempts: u32,
    sent_at: Duration,
    give_up_at: Duration,
    ends_at: Duration,
    retransmits: u64,
}

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take<'a> {
    /// Send this packet, then wait.
    Send(Vec<u8>),
    /// Keep this content.
    Keep(&'a [u8]),
    /// Keep this content, which is the last, and give the file its name.
    Last(&'a [u8]),
    /// The packet changes nothing, for the reason given. Wait.
    Ignore(Ignored),
    /// Send nothing more.
    End(Outcome),
}

// === impl Intake ===

impl Intake {
    /// Begins a transfer of at most `most` bytes. The packet is the first
    /// answer: an OACK with the options that were asked, else ACK 0.
    #[must_use]
    pub fn start(asked: &Options, limits: &Limits, most: u64, now: Duration) -> (Self, Vec<u8>) {
        let Agreed {
            answer,
            blksize,
            windowsize,
            timeout,
        } = limits.agree(asked);
        let answer = if answer.is_empty() {
            wire::ack(0).to_vec()
        } else {
            wire::option_ack(&answer)
        };
        let intake = Self {
            limits: limits.clone(),
            blksize,
            windowsize,
            timeout,
            most,
            bytes: 0,
            received: 0,
            in_window: 0,
            complete: false,
            gap_told: false,
            answer: answer.clone(),
            attempts: 0,
            sent_at: now,
            give_up_at: now + limits.patience,
            ends_at: now + limits.longest,
            retransmits: 0,
        };
        (intake, answer)
    }

    /// Takes a packet from the client.
    pub fn on_packet<'a>(&mut self, now: Duration, datagram: &'a [u8]) -> Take<'a> {
        if now >= self.ends_at {
            return Take::End(Outcome::Overdue);
        }
        match Packet::decode(datagram) {
            Ok(Packet::Data { block, content }) => self.on_data(now, block, content),
            Ok(Packet::Error { .. }) if self.complete => Take::End(Outcome::Complete),
            Ok(Packet::Error { code, text }) => Take::End(client_error(code, text)),
            Ok(Packet::Read(_) | Packet::Write(_) | Packet::Ack { .. } | Packet::OptionAck(_)) => {
                Take::Ignore(Ignored::Unexpected)
            }
            Err(unreadable) => Take::Ignore(Ignored::Unreadable(unreadable)),
        }
    }

    /// Says that the time is `now` and no packet has come.
    pub fn on_timeout(&mut self, now: Duration) -> Take<'static> {
        if now < self.deadline() {
            return Take::Ignore(Ignored::NotDue);
        }
        // Nobody repeats the last block: the last ACK has come.
        if self.complete {
            return Take::End(Outcome::Complete);
        }
        if now >= self.ends_at {
            return Take::End(Outcome::Overdue);
        }
        if now >= self.give_up_at {
            return Take::End(Outcome::TimedOut);
        }
        self.attempts = self.attempts.saturating_add(1);
        self.again(now)
    }

    /// Says that what came is kept; the ACK that is due, if one is.
    pub fn kept(&mut self, now: Duration) -> Option<Vec<u8>> {
        if !self.complete && self.in_window < self.windowsize {
            return None;
        }
        self.in_window = 0;
        self.answer = wire::ack(self.limits.rollover.wire(self.received)).to_vec();
        self.sent_at = now;
        Some(self.answer.clone())
    }

    /// When [`Self::on_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let first = self.timeout.unwrap_or(self.limits.retransmit);
        let longest = self.limits.retransmit_max.max(first);
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let wait = first.saturating_mul(factor).min(longest);
        let last = self.give_up_at.min(self.ends_at);
        (self.sent_at + wait).min(last)
    }

    /// Bytes of content in a block.
    #[must_use]
    pub const fn blksize(&self) -> u16 {
        self.blksize
    }

    /// Bytes that came.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether anything has come.
    #[must_use]
    pub const fn answered(&self) -> bool {
        self.received > 0
    }

    /// Packets that were sent again.
    #[must_use]
    pub const fn retransmits(&self) -> u64 {
        self.retransmits
    }

    fn on_data<'a>(&mut self, now: Duration, block: u16, content: &'a [u8]) -> Take<'a> {
        let next = self.limits.rollover.wire(self.received + 1);
        if self.complete || block != next {
            return self.on_other_block(now, block);
        }
        if content.len() > self.blksize.into() {
            return Take::Ignore(Ignored::Unexpected);
        }
        self.bytes += content.len() as u64;
        if self.bytes > self.most {
            return Take::End(Outcome::TooLong);
        }
        self.received += 1;
        self.in_window = self.in_window.saturating_add(1);
        self.gap_told = false;
        self.attempts = 0;
        self.sent_at = now;
        self.give_up_at = now + self.limits.patience;
        self.complete = content.len() < self.blksize.into();
        if self.complete {
            Take::Last(content)
        } else {
            Take::Keep(content)
        }
    }

    /// The last block again: our ACK was lost. One before it is a copy that
    /// was on its way. One behind is a gap: the client has to know, once, where
    /// to go on (RFC 7440 section 4).
    fn on_other_block(&mut self, now: Duration, block: u16) -> Take<'static> {
        let ahead = self.limits.rollover.ahead(self.received, block);
        if ahead == 0 && self.received > 0 {
            return self.again(now);
        }
        let gap = !self.complete && ahead <= u64::from(self.windowsize);
        if !gap || std::mem::replace(&mut self.gap_told, true) {
            return Take::Ignore(Ignored::Unexpected);
        }
        self.in_window = 0;
        self.answer = wire::ack(self.limits.rollover.wire(self.received)).to_vec();
        self.again(now)
    }

    /// Sends the last answer again.
    fn again(&mut self, now: Duration) -> Take<'static> {
        self.sent_at = now;
        self.retransmits += 1;
        Take::Send(self.answer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Options = Options {
        blksize: None,
        tsize: None,
        timeout: None,
        windowsize: None,
    };

    const WINDOW: Options = Options {
        blksize: Some(8),
        windowsize: Some(2),
        ..NONE
    };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn start(options: &Options, most: u64) -> (Intake, Vec<u8>) {
        Intake::start(options, &Limits::default(), most, ms(0))
    }

    fn data(block: u16, len: usize) -> Vec<u8> {
        let mut packet = wire::data_header(block).to_vec();
        packet.resize(4 + len, b'x');
        packet
    }

    #[test]
    fn acknowledges_block_by_block_what_is_kept() {
        let (mut intake, first) = start(&NONE, 1000);
        assert_eq!(first, wire::ack(0));
        let full = data(1, 512);
        let Take::Keep(content) = intake.on_packet(ms(1), &full) else {
            panic!("content")
        };
        assert_eq!(content.len(), 512);
        assert_eq!(intake.kept(ms(2)), Some(wire::ack(1).to_vec()));
        let short = data(2, 3);
        assert_eq!(intake.on_packet(ms(3), &short), Take::Last(b"xxx"));
        assert_eq!(intake.kept(ms(4)), Some(wire::ack(2).to_vec()));
        // The last ACK is lost, then it is not.
        let again = intake.on_packet(ms(5), &short);
        assert_eq!(again, Take::Send(wire::ack(2).to_vec()));
        let deadline = intake.deadline();
        assert_eq!(intake.on_timeout(deadline), Take::End(Outcome::Complete));
        assert_eq!((intake.bytes(), intake.retransmits()), (515, 1));
    }

    #[test]
    fn acknowledges_windows_and_tells_a_gap_once() {
        let (mut intake, first) = start(&WINDOW, 1000);
        assert_eq!(first, b"\0\x06blksize\x008\0windowsize\x002\0");
        for (block, ack) in [(1, None), (2, Some(2)), (3, None)] {
            assert!(matches!(
                intake.on_packet(ms(1), &data(block, 8)),
                Take::Keep(_)
            ));
            let ack = ack.map(|block| wire::ack(block).to_vec());
            assert_eq!(intake.kept(ms(1)), ack, "{block}");
        }
        // Block 4 is lost.
        let gap = data(5, 8);
        assert_eq!(
            intake.on_packet(ms(2), &gap),
            Take::Send(wire::ack(3).to_vec())
        );
        assert!(matches!(intake.on_packet(ms(2), &gap), Take::Ignore(_)));
        assert!(matches!(
            intake.on_packet(ms(3), &data(4, 8)),
            Take::Keep(_)
        ));
        assert_eq!(intake.kept(ms(3)), None);
        assert!(matches!(
            intake.on_packet(ms(3), &data(5, 0)),
            Take::Last(b"")
        ));
        assert_eq!(intake.kept(ms(3)), Some(wire::ack(5).to_vec()));
    }

    #[test]
    fn repeats_itself_and_gives_up() {
        let (mut intake, first) = start(&WINDOW, 1000);
        let mut sent = 0;
        let mut now = intake.deadline();
        let mut step = intake.on_timeout(now);
        while let Take::Send(packet) = step {
            assert_eq!(packet, first);
            sent += 1;
            now = intake.deadline();
            step = intake.on_timeout(now);
        }
        let patience = Limits::default().patience;
        assert_eq!((now, step), (patience, Take::End(Outcome::TimedOut)));
        assert!((3..10).contains(&sent), "{sent}");
    }

    #[test]
    fn takes_no_more_than_it_may_and_no_nonsense() {
        let (mut intake, _) = start(&NONE, 600);
        assert!(matches!(
            intake.on_packet(ms(1), &data(1, 513)),
            Take::Ignore(_)
        ));
        assert!(matches!(
            intake.on_packet(ms(1), &data(9, 5)),
            Take::Ignore(_)
        ));
        assert!(matches!(
            intake.on_packet(ms(1), &wire::ack(1)),
            Take::Ignore(_)
        ));
        assert!(matches!(
            intake.on_packet(ms(1), &data(1, 512)),
            Take::Keep(_)
        ));
        intake.kept(ms(1));
        let over = data(2, 512);
        assert_eq!(intake.on_packet(ms(2), &over), Take::End(Outcome::TooLong));
    }
}
