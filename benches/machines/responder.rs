//! A DHCP server that decides nothing and keeps nothing: what receiving, sending
//! and the client's own work leave room for on this host.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use super::Arguments;
use super::dhcp::{ACK, OFFER};

/// Answers each packet to the relay that it came by, until it is killed.
pub fn respond(arguments: &Arguments) {
    let at: Ipv4Addr = arguments.get("at");
    let network: Ipv4Addr = arguments.get("network");
    let socket = UdpSocket::bind(SocketAddrV4::new(at, 67)).expect("port 67");
    let mut packet = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut packet).expect("a packet");
        if let Some(reply) = answer(&packet[..length], at, network) {
            // A relay that is gone asks no more.
            let _ = socket.send_to(&reply, from);
        }
    }
}

/// The address follows from the hardware address; the kind is that of the first
/// option, as the client of this program writes it.
fn answer(packet: &[u8], at: Ipv4Addr, network: Ipv4Addr) -> Option<Vec<u8>> {
    let kind = match packet.get(240..243)? {
        [53, 1, 1] => OFFER,
        [53, 1, 3] => ACK,
        _ => return None,
    };
    let machine = u32::from_be_bytes(packet[30..34].try_into().ok()?);
    let address = Ipv4Addr::from(u32::from(network) | 0x4000 | machine & 0x3fff);
    let mut reply = packet[..240].to_vec();
    reply[0] = 2;
    reply[16..20].copy_from_slice(&address.octets());
    reply[20..24].copy_from_slice(&at.octets());
    reply.extend([53, 1, kind, 54, 4]);
    reply.extend(at.octets());
    reply.extend([51, 4, 0, 0, 15, 160, 1, 4, 255, 255, 0, 0, 3, 4]);
    reply.extend(at.octets());
    reply.extend([6, 4]);
    reply.extend(at.octets());
    reply.push(255);
    reply.resize(300, 0);
    Some(reply)
}
