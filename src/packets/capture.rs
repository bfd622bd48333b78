//! Datagrams in captures: pcap files that tcpdump, Wireshark and tshark write
//! and read.

use std::net::IpAddr;

use etherparse::{EtherType, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

use crate::clock::Millis;

/// Largest capture that is read, in bytes: it is held in memory.
pub const MAX_CAPTURE: usize = 256 << 20;
/// The most that a reader keeps of a packet; ours are smaller.
const SNAP: u32 = 65_535;
/// `LINKTYPE_RAW`: a packet begins with its IP head.
const RAW: u32 = 101;
/// Time to live in heads that we make up.
const TTL: u8 = 64;
/// The head of `LINKTYPE_LINUX_SLL2`, which begins with the protocol.
const SLL2_HEAD: usize = 20;

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When it was seen.
    pub at: Millis,
    /// Where it came from.
    pub from: (IpAddr, u16),
    /// Where it went.
    pub to: (IpAddr, u16),
    /// What it carried.
    pub payload: Vec<u8>,
}

/// Why a capture cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCapture {
    /// It is neither form.
    #[error("it is neither pcap nor pcapng")]
    NoCapture,
    /// Too large to hold.
    #[error("it is larger than {} MiB; keep the DHCP packets only: tcpdump -r FILE -w SMALL 'udp port 67 or udp port 4011 or udp port 547'", MAX_CAPTURE >> 20)]
    TooLarge,
    /// It breaks off within the file.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// The datagrams as a pcap file. IP heads are made up from the addresses: what
/// the kernel took off is not known any more.
#[must_use]
pub fn write(datagrams: &[Datagram]) -> Vec<u8> {
    let mut file = Vec::new();
    // Magic for microseconds, version 2.4, no zone, no accuracy.
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(SNAP.to_le_bytes());
    file.extend(RAW.to_le_bytes());
    for datagram in datagrams {
        let (from, to) = (datagram.from, datagram.to);
        let ip = match (from.0, to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), TTL)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), TTL)
            }
            // No datagram goes from one to the other.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => continue,
        };
        let builder = ip.udp(from.1, to.1);
        let mut packet = Vec::with_capacity(builder.size(datagram.payload.len()));
        // Only what no datagram can hold does not fit.
        if builder.write(&mut packet, &datagram.payload).is_err() {
            continue;
        }
        let length = u32::try_from(packet.len()).unwrap_or(SNAP);
        let secs = u32::try_from(datagram.at.0 / 1000).unwrap_or(u32::MAX);
        let micros = u32::try_from(datagram.at.0 % 1000 * 1000).unwrap_or_default();
        for word in [secs, micros, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// The UDP datagrams of a pcap or pcapng file, in its order; what else is in it
/// is skipped, and so is a packet that the capture cut off at its end.
///
/// # Errors
/// [`BadCapture`] where the file cannot be read on.
pub fn read(file: &[u8]) -> Result<Vec<Datagram>, BadCapture> {
    if file.len() > MAX_CAPTURE {
        return Err(BadCapture::TooLarge);
    }
    // All of it fits, so that nothing but the end is incomplete.
    let mut reader = create_reader(file.len() + 1, file).map_err(|_| BadCapture::NoCapture)?;
    let (mut found, mut links, mut again) = (Vec::new(), Vec::new(), false);
    loop {
        match reader.next() {
            Ok((length, block)) => {
                found.extend(datagram_of(block, &mut links));
                reader.consume(length);
                again = false;
            }
            Err(PcapError::Incomplete(_)) if !again => {
                again = true;
                if reader.refill().is_err() {
                    return Ok(found);
                }
            }
            Err(PcapError::Eof | PcapError::UnexpectedEof | PcapError::Incomplete(_)) => {
                return Ok(found);
            }
            Err(error) => return Err(BadCapture::Damaged(error.to_string())),
        }
    }
}

/// The datagram of a block; `links` are the interfaces that were named so far.
fn datagram_of(block: PcapBlockOwned<'_>, links: &mut Vec<(Linktype, u64)>) -> Option<Datagram> {
    let link = |at: u32, links: &[(Linktype, u64)]| {
        let at = usize::try_from(at).ok()?;
        links.get(at).copied()
    };
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let unit = if header.is_nanosecond_precision() {
                1_000_000
            } else {
                1000
            };
            links.push((header.network, unit));
            None
        }
        PcapBlockOwned::Legacy(packet) => {
            let (kind, unit) = link(0, links)?;
            let millis = u64::from(packet.ts_sec) * 1000 + u64::from(packet.ts_usec) / unit;
            unwrap(kind, packet.data, Millis(millis))
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            links.clear();
            None
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            let per_second = interface.ts_resolution().unwrap_or(1_000_000);
            links.push((interface.linktype, per_second));
            None
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let (kind, per_second) = link(packet.if_id, links)?;
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let millis = u128::from(ticks) * 1000 / u128::from(per_second.max(1));
            let length = usize::try_from(packet.caplen).ok()?;
            let millis = Millis(u64::try_from(millis).ok()?);
            unwrap(kind, packet.data.get(..length)?, millis)
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let (kind, _) = link(0, links)?;
            unwrap(kind, packet.data, Millis(0))
        }
        PcapBlockOwned::NG(_) => None,
    }
}

/// Takes the heads off a frame of this kind.
fn unwrap(kind: Linktype, frame: &[u8], at: Millis) -> Option<Datagram> {
    let sliced = match kind {
        Linktype::ETHERNET => SlicedPacket::from_ethernet(frame),
        Linktype::RAW | Linktype::IPV4 | Linktype(12) => SlicedPacket::from_ip(frame),
        Linktype::NULL | Linktype::LOOP => SlicedPacket::from_ip(frame.get(4..)?),
        Linktype::LINUX_SLL => SlicedPacket::from_linux_sll(frame),
        Linktype(276) => {
            let protocol: [u8; 2] = frame.get(..2)?.try_into().ok()?;
            let kind = EtherType(u16::from_be_bytes(protocol));
            SlicedPacket::from_ether_type(kind, frame.get(SLL2_HEAD..)?)
        }
        _ => return None,
    };
    let sliced = sliced.ok()?;
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
        return None;
    };
    let (from, to): (IpAddr, IpAddr) = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let head = ip.header();
            (head.source_addr().into(), head.destination_addr().into())
        }
        Some(NetSlice::Ipv6(ip)) => {
            let head = ip.header();
            (head.source_addr().into(), head.destination_addr().into())
        }
        Some(NetSlice::Arp(_)) | None => return None,
    };
    Some(Datagram {
        at,
        from: (from, udp.source_port()),
        to: (to, udp.destination_port()),
        payload: udp.payload().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(length: usize) -> Datagram {
        Datagram {
            at: Millis(1_760_000_000_123),
            from: (IpAddr::from([0; 4]), 68),
            to: (IpAddr::from([255; 4]), 67),
            payload: vec![7; length],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let all = [datagram(300), datagram(0), datagram(1400)];
        let file = write(&all);
        assert_eq!(read(&file).unwrap(), all);
        // A capture that was broken off keeps its beginning.
        assert_eq!(read(&file[..file.len() - 1]).unwrap(), all[..2]);
        assert_eq!(read(&write(&[])).unwrap(), []);
    }

    #[test]
    fn datagrams_of_both_families_stand_in_one_file() {
        let place = |at: &str, port| (at.parse().unwrap(), port);
        let six = Datagram {
            from: place("fe80::1", 546),
            to: place("ff02::1:2", 547),
            ..datagram(90)
        };
        let neither = Datagram {
            to: place("192.0.2.1", 547),
            ..six.clone()
        };
        let file = write(&[datagram(300), six.clone(), neither]);
        assert_eq!(read(&file).unwrap(), [datagram(300), six]);
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        for bytes in [&b""[..], b"#!ipxe\n", &[0; 300]] {
            assert_eq!(read(bytes), Err(BadCapture::NoCapture));
        }
    }

    #[test]
    fn ethernet_with_a_vlan_tag_and_other_link_layers_are_read() {
        let file = write(&[datagram(300)]);
        let ip = &file[40..];
        let with = |kind: u32, head: &[u8]| {
            let mut other = file[..20].to_vec();
            other.extend(kind.to_le_bytes());
            let length = u32::try_from(head.len() + ip.len()).unwrap().to_le_bytes();
            other.extend([&file[24..32], &length, &length, head, ip].concat());
            read(&other).unwrap()
        };
        let tagged = [&[0xff; 12][..], &[0x81, 0, 0, 9, 8, 0]].concat();
        let plain = [&[0xff; 12][..], &[8, 0]].concat();
        let cooked = [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0][..], &[8, 0]].concat();
        let cooked2 = [&[8, 0][..], &[0; 18]].concat();
        for (kind, head) in [
            (1, &tagged[..]),
            (1, &plain),
            (113, &cooked),
            (276, &cooked2),
            (0, &[2, 0, 0, 0]),
            (228, &[]),
        ] {
            assert_eq!(with(kind, head), [datagram(300)], "link type {kind}");
        }
        assert_eq!(with(147, &[]), []);
    }

    #[test]
    fn damage_anywhere_is_survived() {
        let file = write(&[datagram(300), datagram(12)]);
        for at in 0..file.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut bent = file.clone();
                bent[at] = byte;
                let _ = read(&bent);
            }
        }
    }
}
