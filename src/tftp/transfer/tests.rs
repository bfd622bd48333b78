//! Conversations. Times are milliseconds since the request.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it waits for; all else fails it"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NO_OPTIONS: Options = Options {
    blksize: None,
    tsize: None,
    timeout: None,
    windowsize: None,
};

/// What UEFI asks first: how long is it?
const PROBE: Options = Options {
    blksize: Some(1468),
    tsize: Some(0),
    ..NO_OPTIONS
};

#[test]
fn answers_without_options_with_the_first_block_of_512() {
    let (transfer, step) = start(NO_OPTIONS, 1000);
    assert_eq!(blocks(&step), [(1, 0, 512)]);
    assert_eq!(transfer.blksize(), 512);
    assert_eq!(transfer.windowsize(), 1);
}

#[test]
fn answers_only_the_options_that_were_asked() {
    let asked = |options| match start(options, 70_000).1 {
        Step::Packet(packet) => packet,
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(PROBE), b"\0\x06tsize\x0070000\0blksize\x001468\0");
    let options = Options {
        timeout: Some(3),
        ..NO_OPTIONS
    };
    assert_eq!(asked(options), b"\0\x06timeout\x003\0");
    let options = Options {
        windowsize: Some(4),
        ..NO_OPTIONS
    };
    assert_eq!(asked(options), b"\0\x06windowsize\x004\0");
}

#[test]
fn never_answers_a_larger_blksize_than_asked_or_allowed() {
    for (asked, want) in [(8, 8), (512, 512), (1024, 1024), (1468, 1468), (8192, 1468)] {
        let options = Options {
            blksize: Some(asked),
            ..NO_OPTIONS
        };
        assert_eq!(start(options, 9).0.blksize(), want, "{asked}");
    }
}

#[test]
fn no_block_is_larger_than_the_link_takes() {
    let limits = Limits::default();
    let largest = |mtu, said| limits.on_link(mtu, said).blksize;
    for (mtu, said, want) in [
        (None, None, 1468),
        (Some(1500), None, 1468),
        (Some(1400), None, 1368),
        (Some(9000), None, 8968),
        (None, Some(1024), 1024),
        (Some(1500), Some(1024), 1024),
        (Some(1300), Some(1400), 1268),
    ] {
        assert_eq!(largest(mtu, said), want, "{mtu:?} {said:?}");
    }
}

#[test]
fn block_65535_is_followed_by_0_or_by_1() {
    for (rollover, after) in [(Rollover::Zero, 0), (Rollover::One, 1)] {
        let limits = Limits {
            rollover,
            ..Limits::default()
        };
        let options = Options {
            blksize: Some(8),
            windowsize: Some(3),
            ..NO_OPTIONS
        };
        let blocks = 3 * 65_536;
        let (mut transfer, _) = Transfer::start(&options, &limits, 8 * blocks - 1, ms(0));
        let mut step = transfer.on_packet(ms(0), &wire::ack(0));
        let (mut last, mut seen) = (0, 0);
        while let Step::Blocks(blocks) = step {
            for block in blocks.iter() {
                let want = if last == u16::MAX { after } else { last + 1 };
                assert_eq!(block.number, want, "{rollover:?}");
                (last, seen) = (block.number, seen + 1);
            }
            // An old ACK changes nothing, on either side of the turn.
            let old = transfer.on_packet(ms(0), &wire::ack(last.wrapping_sub(9)));
            assert!(matches!(old, Step::Ignore(_)), "{old:?}");
            step = transfer.on_packet(ms(0), &wire::ack(last));
        }
        assert_eq!(step, Step::End(Outcome::Complete));
        assert_eq!(seen, blocks);
    }
}

#[test]
fn clamps_the_window_by_blocks_and_by_bytes() {
    let window = |windowsize, blksize, limits: &Limits| {
        let options = Options {
            windowsize: Some(windowsize),
            blksize: Some(blksize),
            ..NO_OPTIONS
        };
        Transfer::start(&options, limits, 0, ms(0)).0.windowsize()
    };
    let limits = Limits::default();
    assert_eq!(window(4, 1468, &limits), 4);
    assert_eq!(window(u16::MAX, 1468, &limits), 64);
    let large = Limits {
        blksize: u16::MAX,
        windowsize: u16::MAX,
        ..limits
    };
    assert_eq!(window(64, 32_768, &large), 4);
    assert_eq!(window(u16::MAX, 8, &large), MAX_WINDOWSIZE);
}

#[test]
fn a_window_is_never_sent_before_the_client_has_answered() {
    let options = Options {
        windowsize: Some(64),
        ..NO_OPTIONS
    };
    let (mut transfer, step) = start(options, 1 << 20);
    assert!(matches!(step, Step::Packet(_)));
    assert!(!transfer.answered());
    assert!(matches!(transfer.on_timeout(ms(1000)), Step::Packet(_)));
    assert_eq!(blocks(&transfer.on_packet(ms(1001), &ack(0))).len(), 64);
    assert!(transfer.answered());
}

#[test]
fn ends_with_a_short_block() {
    let (mut transfer, _) = start(NO_OPTIONS, 700);
    assert_eq!(blocks(&transfer.on_packet(ms(1), &ack(1))), [(2, 512, 188)]);
    assert_eq!(transfer.bytes_sent(), 700);
    assert_eq!(
        transfer.on_packet(ms(2), &ack(2)),
        Step::End(Outcome::Complete)
    );
}

#[test]
fn ends_with_an_empty_block_where_the_length_is_a_multiple() {
    let (mut transfer, _) = start(NO_OPTIONS, 512);
    assert_eq!(blocks(&transfer.on_packet(ms(1), &ack(1))), [(2, 512, 0)]);
    assert_eq!(
        transfer.on_packet(ms(2), &ack(2)),
        Step::End(Outcome::Complete)
    );
    let (_, step) = start(NO_OPTIONS, 0);
    assert_eq!(blocks(&step), [(1, 0, 0)]);
}

#[test]
fn counts_an_error_in_answer_to_the_length_as_a_probe() {
    for code in [0, 8] {
        let (mut transfer, _) = start(PROBE, 700);
        assert_eq!(
            transfer.on_packet(ms(1), &client_error(code, "User aborted")),
            Step::End(Outcome::Probe)
        );
    }
}

#[test]
fn counts_any_other_error_as_the_clients() {
    let want = |text: &str| {
        Step::End(Outcome::ClientError {
            code: 3,
            text: text.to_owned(),
        })
    };
    let (mut transfer, _) = start(NO_OPTIONS, 700);
    let packet = client_error(3, "disk\n full");
    assert_eq!(transfer.on_packet(ms(1), &packet), want("disk full"));
    let (mut transfer, _) = start(PROBE, 700);
    transfer.on_packet(ms(1), &ack(0));
    assert_eq!(transfer.on_packet(ms(2), &client_error(3, "")), want(""));
    let no_tsize = Options {
        tsize: None,
        ..PROBE
    };
    let (mut transfer, _) = start(no_tsize, 700);
    assert_eq!(transfer.on_packet(ms(1), &client_error(3, "")), want(""));
}

#[test]
fn never_sends_a_block_again_for_a_duplicate_ack() {
    let (mut transfer, _) = start(NO_OPTIONS, 5000);
    assert_eq!(blocks(&transfer.on_packet(ms(1), &ack(1))), [(2, 512, 512)]);
    for _ in 0..3 {
        assert_eq!(
            transfer.on_packet(ms(900), &ack(1)),
            Step::Ignore(Ignored::DuplicateAck)
        );
    }
    assert_eq!(transfer.retransmits(), 0);
}

#[test]
fn ignores_by_name_what_does_not_belong_to_the_transfer() {
    let (mut transfer, _) = start(NO_OPTIONS, 5000);
    transfer.on_packet(ms(1), &ack(1));
    transfer.on_packet(ms(2), &ack(2));
    for (datagram, want) in [
        (ack(1), "ack-stale"),
        (ack(0), "ack-stale"),
        (ack(4), "ack-of-unsent"),
        (ack(9), "ack-of-unsent"),
        (wire::read_request(b"x", &NO_OPTIONS), "packet-unexpected"),
        (wire::data_header(1).to_vec(), "packet-unexpected"),
        (b"\0".to_vec(), "packet-too-short"),
        (b"\x07\x07".to_vec(), "opcode-unknown"),
    ] {
        match transfer.on_packet(ms(3), &datagram) {
            Step::Ignore(ignored) => assert_eq!(ignored.as_str(), want),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        blocks(&transfer.on_packet(ms(4), &ack(3))),
        [(4, 1536, 512)]
    );
}

#[test]
fn ignores_an_ack_of_data_while_the_options_are_open() {
    let (mut transfer, _) = start(PROBE, 5000);
    assert_eq!(
        transfer.on_packet(ms(1), &ack(1)),
        Step::Ignore(Ignored::AckOfUnsent)
    );
}

#[test]
fn repeats_with_growing_waits_and_gives_up() {
    let (mut transfer, _) = start(NO_OPTIONS, 5000);
    let mut waits = Vec::new();
    let mut now = ms(0);
    loop {
        let deadline = transfer.deadline();
        let early = transfer.on_timeout(deadline.saturating_sub(ms(1)));
        assert_eq!(early, Step::Ignore(Ignored::NotDue));
        waits.push((deadline - now).as_secs());
        now = deadline;
        match transfer.on_timeout(now) {
            Step::End(outcome) => break assert_eq!(outcome, Outcome::TimedOut),
            step => assert_eq!(blocks(&step), [(1, 0, 512)]),
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 8, 7]);
    assert_eq!(now, ms(30_000));
    assert_eq!(transfer.retransmits(), 5);
}

#[test]
fn waits_as_long_as_the_client_asks() {
    let options = Options {
        timeout: Some(20),
        ..NO_OPTIONS
    };
    let (mut transfer, _) = start(options, 5000);
    assert_eq!(transfer.deadline(), ms(20_000));
    transfer.on_timeout(ms(20_000));
    assert_eq!(transfer.deadline(), ms(40_000));
    assert_eq!(
        transfer.on_timeout(ms(40_000)),
        Step::End(Outcome::TimedOut)
    );
}

#[test]
fn waits_less_where_the_network_is_fast() {
    let (mut transfer, _) = start(NO_OPTIONS, 5000);
    transfer.on_packet(ms(2), &ack(1));
    assert_eq!(transfer.deadline(), ms(2) + RETRANSMIT_MIN);
}

#[test]
fn repeated_acks_do_not_keep_a_transfer_alive() {
    let (mut transfer, _) = start(NO_OPTIONS, 5000);
    transfer.on_packet(ms(1), &ack(1));
    for second in 1..30 {
        transfer.on_packet(ms(second * 1000), &ack(1));
        transfer.on_timeout(ms(second * 1000));
    }
    assert_eq!(
        transfer.on_timeout(ms(30_001)),
        Step::End(Outcome::TimedOut)
    );
}

#[test]
fn tells_a_client_that_left_at_the_end_from_one_that_fell_silent() {
    let (mut transfer, _) = start(NO_OPTIONS, 700);
    assert_eq!(transfer.on_unreachable(), Outcome::Unreachable);
    assert_eq!(transfer.on_replaced(), Outcome::Replaced);
    transfer.on_packet(ms(1), &ack(1));
    assert_eq!(transfer.on_unreachable(), Outcome::Unconfirmed);
    assert_eq!(transfer.on_replaced(), Outcome::Unconfirmed);
    assert_eq!(
        transfer.on_timeout(ms(60_000)),
        Step::End(Outcome::Unconfirmed)
    );
}

#[test]
fn sends_a_window_for_each_ack_of_one() {
    let (mut transfer, first) = windowed(3, 2600);
    assert_eq!(blocks(&first), [(1, 0, 512), (2, 512, 512), (3, 1024, 512)]);
    let second = transfer.on_packet(ms(20), &ack(3));
    assert_eq!(
        blocks(&second),
        [(4, 1536, 512), (5, 2048, 512), (6, 2560, 40)]
    );
    assert_eq!(
        transfer.on_packet(ms(30), &ack(6)),
        Step::End(Outcome::Complete)
    );
    assert_eq!(transfer.retransmits(), 0);
}

#[test]
fn sends_the_window_again_from_the_acknowledged_block() {
    let (mut transfer, _) = windowed(4, 1 << 20);
    let step = transfer.on_packet(ms(20), &ack(2));
    assert_eq!(numbers(&step), [3, 4, 5, 6]);
    assert_eq!(transfer.retransmits(), 2);
}

#[test]
fn sends_a_window_again_once_where_its_first_block_was_lost() {
    let (mut transfer, _) = windowed(4, 1 << 20);
    let step = transfer.on_packet(ms(20), &ack(0));
    assert_eq!(numbers(&step), [1, 2, 3, 4]);
    for now in [21, 40, 60] {
        assert_eq!(
            transfer.on_packet(ms(now), &ack(0)),
            Step::Ignore(Ignored::DuplicateAck)
        );
    }
}

#[test]
fn copies_of_a_window_do_not_breed_copies_of_the_next() {
    let (mut transfer, _) = windowed(4, 1 << 20);
    transfer.on_packet(ms(20), &ack(0));
    assert_eq!(numbers(&transfer.on_packet(ms(30), &ack(4))), [5, 6, 7, 8]);
    // The client's answer to the second copy of 1 to 4.
    assert_eq!(
        transfer.on_packet(ms(45), &ack(4)),
        Step::Ignore(Ignored::DuplicateAck)
    );
    transfer.on_packet(ms(50), &ack(8));
    transfer.on_packet(ms(60), &ack(12));
    assert_eq!(
        numbers(&transfer.on_packet(ms(75), &ack(12))),
        [13, 14, 15, 16]
    );
}

#[test]
fn an_ack_for_each_block_does_not_bring_a_window_for_each() {
    let (mut transfer, _) = windowed(8, 1 << 20);
    let mut sent = 8;
    for block in 1..=8 {
        sent += match transfer.on_packet(ms(20), &ack(block)) {
            Step::Wait => 0,
            step => numbers(&step).len(),
        };
    }
    assert_eq!(sent, 16);
}

#[test]
fn block_numbers_roll_over_to_zero() {
    // 65,535 full blocks of 512 and beyond: more than 32 MiB.
    let length = 512 * 65_540 + 7;
    let (mut transfer, mut step) = start(NO_OPTIONS, length);
    let mut received = 0;
    let mut block: u64 = 0;
    while step != Step::End(Outcome::Complete) {
        block += 1;
        let number = u16::try_from(block % 65_536).unwrap();
        let [(got, offset, len)] = blocks(&step)[..] else {
            panic!("{step:?}")
        };
        assert_eq!((got, offset), (number, received));
        received += u64::from(len);
        step = transfer.on_packet(ms(block), &ack(number));
    }
    assert_eq!(received, length);
    assert_eq!(block, 65_541);
}

#[test]
fn windows_and_losses_cross_the_rollover() {
    let options = Options {
        blksize: Some(8),
        windowsize: Some(16),
        ..NO_OPTIONS
    };
    let content: Vec<u8> = (0..8 * 66_000_u32 + 3)
        .flat_map(|n| n.to_be_bytes())
        .take(8 * 66_000 + 3)
        .collect();
    let received = over_a_channel(&options, &content, Channel::losing(97));
    assert!(received == content, "content differs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_bad_channel_delivers_the_same_bytes(
        length in 0..6000_usize,
        blksize in proptest::option::of(8..1500_u16),
        windowsize in proptest::option::of(1..20_u16),
        tsize in proptest::option::of(Just(0)),
        seed: u64,
        drops in 0..35_u64,
        doubles in 0..25_u64,
        delays in 0..40_u64,
    ) {
        let options = Options { blksize, tsize, timeout: None, windowsize };
        let content: Vec<u8> = (0..=250).cycle().take(length).collect();
        let channel = Channel { state: seed | 1, drops, doubles, delays, loses: 0, count: 0 };
        let received = over_a_channel(&options, &content, channel);
        prop_assert!(received == content);
    }

    #[test]
    fn never_panics_on_any_packets(
        packets: Vec<(u16, Vec<u8>)>,
        length: u64,
        blksize: Option<u16>,
        windowsize: Option<u16>,
    ) {
        let options = Options { blksize, windowsize, ..PROBE };
        let (mut transfer, _) = start(options, length);
        let mut now = ms(0);
        for (wait, packet) in packets {
            now += ms(wait.into());
            for step in [
                transfer.on_packet(now, &packet),
                transfer.on_packet(now, &ack(wait)),
                transfer.on_timeout(now),
            ] {
                if let Step::Blocks(blocks) = step {
                    prop_assert!(blocks.iter().count() <= usize::from(transfer.windowsize()));
                    prop_assert!(blocks.start() <= blocks.end());
                }
            }
        }
    }
}

// === the far end and the channel ===

/// A network that loses, doubles and delays; all in per cent.
struct Channel {
    state: u64,
    drops: u64,
    doubles: u64,
    delays: u64,
    /// Every so many packets one is lost; 0 for none.
    loses: u64,
    count: u64,
}

impl Channel {
    fn losing(loses: u64) -> Self {
        Self {
            state: 1,
            drops: 0,
            doubles: 0,
            delays: 0,
            loses,
            count: 0,
        }
    }

    /// How long each copy of a packet travels, in ms.
    fn journeys(&mut self) -> Vec<u64> {
        self.count += 1;
        if self.chance() < self.drops || (self.loses > 0 && self.count.is_multiple_of(self.loses)) {
            return Vec::new();
        }
        let copies = if self.chance() < self.doubles { 2 } else { 1 };
        (0..copies)
            .map(|_| match self.chance() < self.delays {
                true => 1 + self.chance(),
                false => 1,
            })
            .collect()
    }

    /// 0 to 99 (xorshift).
    fn chance(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 20) % 100
    }
}

/// A client as RFC 7440 describes it.
#[derive(Default)]
struct Client {
    content: Vec<u8>,
    blocks: u64,
    in_window: u16,
    done: bool,
}

impl Client {
    fn on_packet(&mut self, datagram: &[u8], blksize: u16, windowsize: u16) -> Option<Vec<u8>> {
        match Packet::decode(datagram).unwrap() {
            Packet::OptionAck(_) if self.blocks == 0 => Some(ack(0)),
            Packet::Data { block, content }
                if block == Rollover::Zero.wire(self.blocks + 1) && !self.done =>
            {
                self.blocks += 1;
                self.content.extend(content);
                self.done = content.len() < usize::from(blksize);
                self.in_window += 1;
                (self.done || self.in_window >= windowsize).then(|| self.acknowledge())
            }
            // Out of order: say where we are, and let the window begin there.
            Packet::Data { .. } => Some(self.acknowledge()),
            _ => None,
        }
    }

    fn acknowledge(&mut self) -> Vec<u8> {
        self.in_window = 0;
        ack(Rollover::Zero.wire(self.blocks))
    }
}

/// Runs a transfer over `channel`; what the client got.
fn over_a_channel(options: &Options, content: &[u8], mut channel: Channel) -> Vec<u8> {
    // The order of arrival; (time, sequence) so that ties keep their order.
    let mut mail: BTreeMap<(u64, u64), (bool, Vec<u8>)> = BTreeMap::new();
    let mut sequence = 0;
    let limits = Limits {
        patience: Duration::from_secs(3600),
        ..Limits::default()
    };
    let (mut transfer, mut step) = Transfer::start(options, &limits, content.len() as u64, ms(0));
    let (blksize, windowsize) = (transfer.blksize(), transfer.windowsize());
    let mut client = Client::default();
    let mut now = 0;
    loop {
        let mut post = |to_client, packet: Vec<u8>| {
            for journey in channel.journeys() {
                sequence += 1;
                mail.insert((now + journey, sequence), (to_client, packet.clone()));
            }
        };
        match &step {
            Step::Packet(packet) => post(true, packet.clone()),
            Step::Blocks(blocks) => {
                for block in blocks.iter() {
                    post(true, data(&block, content));
                }
            }
            Step::Wait | Step::Ignore(_) => {}
            Step::End(Outcome::Complete) => return client.content,
            // The client has all and is gone: its last ACK was lost.
            Step::End(Outcome::Unconfirmed) if client.done => return client.content,
            Step::End(other) => panic!("{other:?}"),
        }
        let deadline = u64::try_from(transfer.deadline().as_millis()).unwrap() + 1;
        step = match mail.first_key_value() {
            Some(((at, _), _)) if *at <= deadline => {
                let ((at, _), (to_client, packet)) = mail.pop_first().unwrap();
                now = at;
                if to_client {
                    if let Some(answer) = client.on_packet(&packet, blksize, windowsize) {
                        for journey in channel.journeys() {
                            sequence += 1;
                            mail.insert((now + journey, sequence), (false, answer.clone()));
                        }
                    }
                    Step::Wait
                } else {
                    transfer.on_packet(ms(now), &packet)
                }
            }
            _ => {
                now = deadline;
                transfer.on_timeout(ms(now))
            }
        };
    }
}

// === helpers ===

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn start(options: Options, length: u64) -> (Transfer, Step) {
    Transfer::start(&options, &Limits::default(), length, ms(0))
}

/// A transfer whose round trip is 10 ms, at 10 ms, and its first window.
fn windowed(windowsize: u16, length: u64) -> (Transfer, Step) {
    let options = Options {
        windowsize: Some(windowsize),
        ..NO_OPTIONS
    };
    let (mut transfer, _) = start(options, length);
    let step = transfer.on_packet(ms(10), &ack(0));
    (transfer, step)
}

fn blocks(step: &Step) -> Vec<(u16, u64, u16)> {
    match step {
        Step::Blocks(blocks) => blocks.iter().map(|b| (b.number, b.offset, b.len)).collect(),
        other => panic!("{other:?}"),
    }
}

fn numbers(step: &Step) -> Vec<u16> {
    blocks(step).iter().map(|(number, ..)| *number).collect()
}

fn data(block: &Block, content: &[u8]) -> Vec<u8> {
    let start = usize::try_from(block.offset).unwrap();
    let mut packet = wire::data_header(block.number).to_vec();
    packet.extend(&content[start..start + usize::from(block.len)]);
    packet
}

fn ack(block: u16) -> Vec<u8> {
    wire::ack(block).to_vec()
}

fn client_error(code: u16, text: &str) -> Vec<u8> {
    let mut packet = vec![0, 5];
    packet.extend(code.to_be_bytes());
    packet.extend(text.as_bytes());
    packet.push(0);
    packet
}
