//! A TFTP read without a socket (RFC 1350, 2347, 2348): datagrams in,
//! datagrams out. Core.

use crate::tftp::wire::{Options, Packet, ack, read_request};

/// Bytes of a block that fit an Ethernet frame.
const BLKSIZE: u16 = 1428;
/// Bytes of a block where the server does not take the option (RFC 1350).
pub(super) const PLAIN: u16 = 512;
/// Most that is kept: no loader is larger.
const MOST: usize = 64 << 20;

/// A file on its way.
#[derive(Clone, Debug)]
pub(super) struct Download {
    blksize: u16,
    next: u16,
    bytes: Vec<u8>,
}

/// What a datagram asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this, and wait for more.
    Answer(Vec<u8>),
    /// Send this, where it is not empty; the file is whole.
    Done(Vec<u8>),
    /// It says nothing new.
    Nothing,
}

// === impl Download ===

impl Download {
    /// The first datagram, and what follows it.
    pub(super) fn start(name: &str) -> (Vec<u8>, Self) {
        let options = Options {
            blksize: Some(BLKSIZE),
            ..Options::default()
        };
        let download = Self {
            blksize: PLAIN,
            next: 1,
            bytes: Vec::new(),
        };
        (read_request(name.as_bytes(), &options), download)
    }

    /// Takes a datagram of the server.
    ///
    /// # Errors
    /// The server refuses, in its words, or sends what is no TFTP.
    pub(super) fn take(&mut self, datagram: &[u8]) -> Result<Next, String> {
        match Packet::decode(datagram) {
            Ok(Packet::OptionAck(options)) => {
                self.blksize = options.blksize.unwrap_or(PLAIN);
                Ok(Next::Answer(ack(0).to_vec()))
            }
            Ok(Packet::Data { block, content }) if block == self.next => {
                if self.bytes.len() + content.len() > MOST {
                    return Err(format!("more than {MOST} bytes came"));
                }
                self.bytes.extend_from_slice(content);
                self.next = self.next.wrapping_add(1);
                let answer = ack(block).to_vec();
                Ok(match content.len() < usize::from(self.blksize) {
                    true => Next::Done(answer),
                    false => Next::Answer(answer),
                })
            }
            Ok(Packet::Data { .. }) => Ok(Next::Nothing),
            Ok(Packet::Error { code, text }) => {
                let text = String::from_utf8_lossy(text);
                Err(format!("the server says: {text} (code {code})"))
            }
            Ok(Packet::Read(_) | Packet::Write(_) | Packet::Ack { .. }) => {
                Err("the server asks instead of answering".to_owned())
            }
            Err(unreadable) => Err(format!("no TFTP came: {unreadable:?}")),
        }
    }

    /// What came.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tftp::wire::{ErrorCode, error, option_ack};

    fn data(block: u16, content: &[u8]) -> Vec<u8> {
        [&[0, 3], &block.to_be_bytes()[..], content].concat()
    }

    #[test]
    fn a_file_comes_block_by_block_and_a_short_one_ends_it() {
        let (request, mut download) = Download::start("ipxe.efi");
        assert!(request.starts_with(b"\0\x01ipxe.efi\0octet\0blksize\x001428\0"));
        let options = Options {
            blksize: Some(8),
            ..Options::default()
        };
        let answer = download.take(&option_ack(&options)).unwrap();
        assert_eq!(answer, Next::Answer(ack(0).to_vec()));
        let first = data(1, b"12345678");
        assert_eq!(
            download.take(&first).unwrap(),
            Next::Answer(ack(1).to_vec())
        );
        // A block that was sent twice is taken once.
        assert_eq!(download.take(&first).unwrap(), Next::Nothing);
        let answer = download.take(&data(2, b"9")).unwrap();
        assert_eq!(answer, Next::Done(ack(2).to_vec()));
        assert_eq!(download.into_bytes(), b"123456789");
    }

    #[test]
    fn a_server_without_options_sends_blocks_of_512() {
        let (_, mut download) = Download::start("x");
        let answer = download.take(&data(1, &[7; 512])).unwrap();
        assert_eq!(answer, Next::Answer(ack(1).to_vec()));
        let answer = download.take(&data(2, &[])).unwrap();
        assert_eq!(answer, Next::Done(ack(2).to_vec()));
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let (_, mut download) = Download::start("x");
        let refusal = error(ErrorCode::FileNotFound, "no such file");
        let said = download.take(&refusal).unwrap_err();
        assert_eq!(said, "the server says: no such file (code 1)");
        download.take(b"\0").unwrap_err();
    }
}
