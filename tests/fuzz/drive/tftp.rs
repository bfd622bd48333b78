//! TFTP: requests with their names and options, and both kinds of transfer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reveille::boot::MacAddress;
use reveille::files::ArtifactPath;
use reveille::script::Caller;
use reveille::tftp::intake::{Intake, Take};
use reveille::tftp::netascii::{FromNetascii, to_netascii};
use reveille::tftp::resolve::{Content, Naming, Uploads, resolve, resolve_upload};
use reveille::tftp::transfer::{Limits, Step, Transfer};
use reveille::tftp::wire::{Packet, Request, option_ack, write_request};

use super::world::{SERVER, SNAPSHOT, is_plain, nobody};

/// Most blocks that are looked at of a window.
const BLOCKS: usize = 64;
/// Most bytes of a file that is written.
const MOST: u64 = 4000;

/// The first byte says who asks, and how long the file is. The rest is datagrams, each behind a byte with its
/// length (0: 256 and more, to the end): a request, and what its sender says then.
pub(crate) fn tftp(data: &[u8]) -> &'static str {
    let Some((who, rest)) = data.split_first() else {
        return "nothing";
    };
    let (first, rest) = datagram(rest);
    match Packet::decode(first) {
        Err(unreadable) => unreadable.as_str(),
        Ok(Packet::Read(request)) => read(*who, &request, rest),
        Ok(Packet::Write(request)) => write(&request, rest),
        Ok(Packet::OptionAck(options)) => {
            let again = option_ack(&options);
            assert_eq!(Packet::decode(&again), Ok(Packet::OptionAck(options)));
            "option-ack"
        }
        Ok(Packet::Data { .. } | Packet::Ack { .. } | Packet::Error { .. }) => "no-request",
    }
}

fn datagram(data: &[u8]) -> (&[u8], &[u8]) {
    match data {
        [] => (&[], &[]),
        [0, rest @ ..] => (rest, &[]),
        [length, rest @ ..] => rest.split_at(rest.len().min((*length).into())),
    }
}

fn read(who: u8, request: &Request<'_>, mut rest: &[u8]) -> &'static str {
    let told = nobody();
    let mac = MacAddress::new([0x52, 0x54, 0, 0, 0, who & 7]);
    let caller = Caller {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 4 + (who & 7))),
        mac: (who & 8 > 0).then_some(mac),
        told: &told,
    };
    let naming = Naming {
        views: ArtifactPath::parse("machines").ok(),
        ..Naming::default()
    };
    let content = resolve(&SNAPSHOT, &naming, caller, IpAddr::V4(SERVER), request.name);
    let (length, outcome) = match content {
        Err(refused) => return refused.as_str(),
        Ok(Content::Text { body, .. }) => {
            is_plain(&body);
            (to_netascii(body.as_bytes()).len() as u64, "text")
        }
        Ok(Content::File { paths, .. }) => {
            assert!(!paths.is_empty());
            for path in &paths {
                assert!(path.parts().all(|part| part != ".."), "{path} leads out");
            }
            (u64::from(who & 0xf0) * 1000, "file")
        }
    };
    let limits = Limits::default();
    let mut now = Duration::from_secs(9);
    let (mut transfer, step) = Transfer::start(&request.options, &limits, length, now);
    let mut ended = follow(&transfer, &step, length);
    while !ended && !rest.is_empty() {
        let (packet, more) = datagram(rest);
        rest = more;
        now += Duration::from_millis(20);
        let step = if packet.is_empty() {
            now = now.max(transfer.deadline());
            transfer.on_timeout(now)
        } else {
            transfer.on_packet(now, packet)
        };
        ended = follow(&transfer, &step, length);
    }
    if ended { "ended" } else { outcome }
}

/// Holds a step against what every one must be; whether it is the last.
fn follow(transfer: &Transfer, step: &Step, length: u64) -> bool {
    let limits = Limits::default();
    assert!(transfer.blksize() >= 8 && transfer.windowsize() >= 1);
    assert!(
        transfer.bytes_sent() <= length,
        "more was sent than there is"
    );
    match step {
        Step::End(_) => true,
        Step::Packet(packet) => {
            assert!(packet.len() <= 512, "a long packet");
            assert!(Packet::decode(packet).is_ok(), "an unreadable packet");
            false
        }
        Step::Blocks(blocks) => {
            let bytes = u64::from(transfer.blksize()) * u64::from(transfer.windowsize());
            let most = u64::from(limits.window_bytes).max(transfer.blksize().into());
            assert!(bytes <= most, "{bytes} bytes in flight");
            for block in blocks.iter().take(BLOCKS) {
                let end = block.offset + u64::from(block.len);
                assert!(end <= length, "a block ends at {end} of {length}");
            }
            false
        }
        Step::Wait | Step::Ignore(_) => false,
    }
}

fn write(request: &Request<'_>, mut rest: &[u8]) -> &'static str {
    let uploads = Uploads {
        folders: ArtifactPath::parse("in").into_iter().collect(),
        largest: MOST,
        ..Uploads::default()
    };
    let path = match resolve_upload(&uploads, request.name) {
        Err(refusal) => return refusal.as_str(),
        Ok((_, path)) => path,
    };
    assert!(path.as_str().starts_with("in/"), "{path} is elsewhere");
    let again = write_request(request.name, &request.options);
    assert!(
        matches!(Packet::decode(&again), Ok(Packet::Write(same)) if same.options == request.options)
    );
    let mut now = Duration::from_secs(9);
    let (mut intake, _) = Intake::start(&request.options, &Limits::default(), MOST, now);
    let (mut text, mut kept) = (FromNetascii::default(), 0);
    while !rest.is_empty() {
        let (packet, more) = datagram(rest);
        rest = more;
        now += Duration::from_millis(20);
        let take = if packet.is_empty() {
            now = now.max(intake.deadline());
            intake.on_timeout(now)
        } else {
            intake.on_packet(now, packet)
        };
        let (content, is_last) = match take {
            Take::End(_) => return "upload-ended",
            Take::Send(_) | Take::Ignore(_) => continue,
            Take::Keep(content) => (content, false),
            Take::Last(content) => (content, true),
        };
        kept += content.len() as u64;
        assert!(
            kept <= MOST && intake.bytes() == kept,
            "{kept} bytes are kept"
        );
        let _ = text.push(content);
        let _ = intake.kept(now);
        if is_last {
            return "uploaded";
        }
    }
    "upload"
}
