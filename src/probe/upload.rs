//! A TFTP write without a socket (RFC 1350, 2347, 2348): datagrams in,
//! datagrams out. Core.

use super::download::{Next, PLAIN};
use crate::tftp::wire::{Options, Packet, data_header, write_request};

/// A file on its way to the server.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    blksize: u16,
    /// The block that was sent last; 0 before the first.
    block: u16,
    bytes: Vec<u8>,
}

// === impl Upload ===

impl Upload {
    /// The first datagram, and what follows it.
    pub(super) fn start(name: &str, bytes: Vec<u8>) -> (Vec<u8>, Self) {
        let options = Options {
            blksize: Some(PLAIN),
            tsize: u64::try_from(bytes.len()).ok(),
            ..Options::default()
        };
        let upload = Self {
            blksize: PLAIN,
            block: 0,
            bytes,
        };
        (write_request(name.as_bytes(), &options), upload)
    }

    /// Takes a datagram of the server.
    ///
    /// # Errors
    /// The server refuses, in its words, or sends what is no TFTP.
    pub(super) fn take(&mut self, datagram: &[u8]) -> Result<Next, String> {
        match Packet::decode(datagram) {
            Ok(Packet::OptionAck(options)) if self.block == 0 => {
                self.blksize = options.blksize.unwrap_or(PLAIN);
                Ok(self.next())
            }
            Ok(Packet::Ack { block }) if block == self.block => Ok(self.next()),
            Ok(Packet::Ack { .. } | Packet::OptionAck(_)) => Ok(Next::Nothing),
            Ok(Packet::Error { code, text }) => {
                let text = String::from_utf8_lossy(text);
                Err(format!("the server says: {text} (code {code})"))
            }
            Ok(Packet::Read(_) | Packet::Write(_) | Packet::Data { .. }) => {
                Err("the server sends instead of taking".to_owned())
            }
            Err(unreadable) => Err(format!("no TFTP came: {unreadable:?}")),
        }
    }

    /// The next block; a file whose length is a multiple of a block's ends with
    /// an empty one.
    fn next(&mut self) -> Next {
        let size = usize::from(self.blksize);
        let sent = usize::from(self.block) * size;
        if self.block > 0 && sent > self.bytes.len() {
            return Next::Done(Vec::new());
        }
        let rest = self.bytes.get(sent..).unwrap_or_default();
        let content = rest.get(..size).unwrap_or(rest);
        self.block += 1;
        Next::Answer([&data_header(self.block), content].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tftp::wire::{ErrorCode, ack, error, option_ack};

    fn data(block: u16, content: &[u8]) -> Next {
        Next::Answer([&data_header(block), content].concat())
    }

    #[test]
    fn a_file_goes_block_by_block_and_an_empty_one_ends_it() {
        let (request, mut upload) = Upload::start("in/x", vec![7; 16]);
        assert_eq!(request, b"\0\x02in/x\0octet\0tsize\x0016\0blksize\x00512\0");
        let options = Options {
            blksize: Some(8),
            ..Options::default()
        };
        assert_eq!(upload.take(&option_ack(&options)), Ok(data(1, &[7; 8])));
        assert_eq!(upload.take(&ack(1)), Ok(data(2, &[7; 8])));
        // What was acknowledged before is no news.
        assert_eq!(upload.take(&ack(1)), Ok(Next::Nothing));
        assert_eq!(upload.take(&ack(2)), Ok(data(3, &[])));
        assert_eq!(upload.take(&ack(3)), Ok(Next::Done(Vec::new())));
    }

    #[test]
    fn a_server_without_options_gets_blocks_of_512() {
        let (_, mut upload) = Upload::start("x", vec![7; 513]);
        assert_eq!(upload.take(&ack(0)), Ok(data(1, &[7; 512])));
        assert_eq!(upload.take(&ack(1)), Ok(data(2, &[7; 1])));
        assert_eq!(upload.take(&ack(2)), Ok(Next::Done(Vec::new())));
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let (_, mut upload) = Upload::start("x", vec![7]);
        let refusal = error(ErrorCode::AccessViolation, "no folder takes files");
        let said = upload.take(&refusal).unwrap_err();
        assert_eq!(said, "the server says: no folder takes files (code 2)");
        upload.take(b"\0\x03\0\x01").unwrap_err();
    }
}
