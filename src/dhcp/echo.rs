//! Whether somebody behind a relay has an address, asked by ICMP echo (RFC 792,
//! RFC 2131 section 3.1 point 2). Shell, but for the messages.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, socket,
};

use super::probe::FRAMES;
use super::socket::checksum;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Marks our requests among those of other programs: their replies reach every
/// raw socket of the host.
const MARK: [u8; 8] = *b"reveille";

/// A raw socket for ICMP.
#[derive(Debug)]
pub(super) struct EchoSocket(OwnedFd);

// === impl EchoSocket ===

impl EchoSocket {
    pub(super) fn open() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::Icmp,
        )?;
        Ok(Self(fd))
    }

    pub(super) fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        let to = SockaddrIn::from(SocketAddrV4::new(address, 0));
        match sendto(self.0.as_raw_fd(), &request(), &to, MsgFlags::empty()) {
            // No way leads there: nobody who answers could be heard either.
            Ok(_) | Err(nix::Error::ENETUNREACH | nix::Error::EHOSTUNREACH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The addresses that answered us lately.
    pub(super) fn heard(&self) -> Vec<Ipv4Addr> {
        let mut packet = [0; 128];
        let mut heard = Vec::new();
        for _ in 0..FRAMES {
            match recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(length) => heard.extend(sender(packet.get(..length).unwrap_or_default())),
                Err(_) => break,
            }
        }
        heard
    }
}

/// An echo request with our mark.
fn request() -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = ECHO_REQUEST;
    message[8..].copy_from_slice(&MARK);
    let [high, low] = checksum(&message).to_be_bytes();
    message[2] = high;
    message[3] = low;
    message
}

/// Who sent an IP packet that answers one of our requests.
fn sender(packet: &[u8]) -> Option<Ipv4Addr> {
    let head = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(head..)?;
    if message.first() != Some(&ECHO_REPLY) || message.get(8..16) != Some(&MARK) {
        return None;
    }
    let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    Some(from.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_mark() {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&[10, 1, 0, 9]);
        packet.extend(request());
        assert_eq!(sender(&packet), None, "our own request is no answer");
        packet[20] = ECHO_REPLY;
        assert_eq!(sender(&packet), Some([10, 1, 0, 9].into()));
        packet[30] ^= 1;
        assert_eq!(sender(&packet), None, "another program's");
        for length in 0..36 {
            assert_eq!(sender(&packet[..length]), None);
        }
        assert_eq!(checksum(&request()), 0, "RFC 1071: it adds up");
    }
}
