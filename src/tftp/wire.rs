//! TFTP packets, read from any bytes and written.
//!
//! Reading is tolerant where firmware is careless and never fails on options:
//! an option that cannot be understood is one that was not asked. Performs no
//! I/O.

/// Opcodes (RFC 1350 section 5, RFC 2347).
const OP_READ: u16 = 1;
const OP_WRITE: u16 = 2;
const OP_DATA: u16 = 3;
const OP_ACK: u16 = 4;
const OP_ERROR: u16 = 5;
const OP_OPTION_ACK: u16 = 6;

/// Block size without the option (RFC 1350 section 2), in bytes.
pub const DEFAULT_BLKSIZE: u16 = 512;

/// Smallest block size that may be asked (RFC 2348), in bytes.
pub const MIN_BLKSIZE: u16 = 8;

/// Largest block size that may be asked (RFC 2348), in bytes.
pub const MAX_BLKSIZE: u16 = 65464;

/// Bytes in front of the content of a DATA packet: opcode and block number.
pub const DATA_HEADER: usize = 4;

/// A packet as it was read; borrows from the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ: the client wants to read.
    Read(Request<'a>),
    /// WRQ: the client wants to write.
    Write(Request<'a>),
    /// DATA: a block.
    Data {
        /// Its number on the wire.
        block: u16,
        /// Its content.
        content: &'a [u8],
    },
    /// ACK: a block has come.
    Ack {
        /// Its number on the wire.
        block: u16,
    },
    /// ERROR: the end of a transfer.
    Error {
        /// Its code; [`ErrorCode`] has those that the RFCs name.
        code: u16,
        /// Its words, without the NUL.
        text: &'a [u8],
    },
    /// OACK: the options that a server takes up (RFC 2347).
    OptionAck(Options),
}

/// What RRQ and WRQ ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The file's name as it came, without the NUL; any bytes but NUL.
    pub name: &'a [u8],
    /// How the content is to be translated.
    pub mode: Mode,
    /// The options that were understood.
    pub options: Options,
}

/// Transfer modes (RFC 1350 section 1), in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it is.
    Octet,
    /// Lines end in CR LF (RFC 764).
    Netascii,
    /// To a user instead of a file; obsolete.
    Mail,
    /// Something else.
    Unknown,
}

/// Options of a request or an OACK. One that is absent, given twice (the
/// first counts) or not understood is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `blksize` in bytes, at least [`MIN_BLKSIZE`] (RFC 2348); larger than
    /// [`MAX_BLKSIZE`] reads as that.
    pub blksize: Option<u16>,
    /// `tsize` in bytes (RFC 2349); 0 in a read request.
    pub tsize: Option<u64>,
    /// `timeout` in seconds, at least 1 (RFC 2349).
    pub timeout: Option<u8>,
    /// `windowsize` in blocks, at least 1 (RFC 7440).
    pub windowsize: Option<u16>,
}

/// Why a datagram is no TFTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It ends before its fixed part does.
    TooShort,
    /// No RFC gives its opcode a meaning.
    UnknownOpcode,
    /// A request whose name has no end.
    UnterminatedName,
    /// A request that ends behind the name.
    NoMode,
}

/// Error codes (RFC 1350 appendix I, RFC 2347).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The words say it.
    Undefined,
    /// There is no such file.
    FileNotFound,
    /// The file is not for the client.
    AccessViolation,
    /// There is no room for what is written.
    DiskFull,
    /// The request makes no sense here.
    IllegalOperation,
    /// There is a file of that name.
    FileExists,
    /// The options do not suit.
    OptionNegotiation,
}

// === impl Packet ===

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`Unreadable`] names what is wrong with it.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, Unreadable> {
        let (opcode, rest) = take_u16(datagram)?;
        match opcode {
            OP_READ => Request::decode(rest).map(Self::Read),
            OP_WRITE => Request::decode(rest).map(Self::Write),
            OP_DATA => {
                let (block, content) = take_u16(rest)?;
                Ok(Self::Data { block, content })
            }
            OP_ACK => {
                let (block, _padding) = take_u16(rest)?;
                Ok(Self::Ack { block })
            }
            OP_ERROR => {
                let (code, rest) = take_u16(rest)?;
                // Some clients leave the words or their NUL out.
                let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(Self::Error { code, text })
            }
            OP_OPTION_ACK => Ok(Self::OptionAck(Options::decode(rest))),
            _ => Err(Unreadable::UnknownOpcode),
        }
    }
}

// === impl Request ===

impl<'a> Request<'a> {
    fn decode(rest: &'a [u8]) -> Result<Self, Unreadable> {
        let (name, rest) = take_field(rest).ok_or(Unreadable::UnterminatedName)?;
        // A mode without its NUL is still a mode: nothing can follow it.
        let (mode, rest) = match take_field(rest) {
            Some(split) => split,
            None if rest.is_empty() => return Err(Unreadable::NoMode),
            None => (rest, [].as_slice()),
        };
        Ok(Self {
            name,
            mode: Mode::decode(mode),
            options: Options::decode(rest),
        })
    }
}

// === impl Mode ===

impl Mode {
    fn decode(text: &[u8]) -> Self {
        if text.eq_ignore_ascii_case(b"octet") || text.eq_ignore_ascii_case(b"binary") {
            // `binary` is what clients older than RFC 1350 say for octet.
            Self::Octet
        } else if text.eq_ignore_ascii_case(b"netascii") {
            Self::Netascii
        } else if text.eq_ignore_ascii_case(b"mail") {
            Self::Mail
        } else {
            Self::Unknown
        }
    }
}

// === impl Options ===

impl Options {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads pairs of NUL-ended strings. What follows the last NUL is junk that
    /// some ROMs send; empty names are padding.
    fn decode(mut rest: &[u8]) -> Self {
        let mut options = Self::default();
        while let Some((name, after_name)) = take_field(rest) {
            if name.is_empty() {
                rest = after_name;
                continue;
            }
            let Some((value, after_value)) = take_field(after_name) else {
                break;
            };
            options.set(name, value);
            rest = after_value;
        }
        options
    }

    fn set(&mut self, name: &[u8], value: &[u8]) {
        let Some(value) = parse_number(value) else {
            return;
        };
        if name.eq_ignore_ascii_case(b"blksize") {
            let size = u16::try_from(value).unwrap_or(MAX_BLKSIZE).min(MAX_BLKSIZE);
            keep_first(&mut self.blksize, size, size >= MIN_BLKSIZE);
        } else if name.eq_ignore_ascii_case(b"tsize") {
            keep_first(&mut self.tsize, value, true);
        } else if name.eq_ignore_ascii_case(b"timeout") {
            let seconds = u8::try_from(value).unwrap_or(0);
            keep_first(&mut self.timeout, seconds, seconds >= 1);
        } else if name.eq_ignore_ascii_case(b"windowsize") {
            let blocks = u16::try_from(value).unwrap_or(u16::MAX);
            keep_first(&mut self.windowsize, blocks, blocks >= 1);
        }
    }

    fn encode(&self, packet: &mut Vec<u8>) {
        let Self {
            blksize,
            tsize,
            timeout,
            windowsize,
        } = self;
        let pairs = [
            ("tsize", *tsize),
            ("blksize", blksize.map(u64::from)),
            ("timeout", timeout.map(u64::from)),
            ("windowsize", windowsize.map(u64::from)),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                push_field(packet, name.as_bytes());
                push_field(packet, value.to_string().as_bytes());
            }
        }
    }
}

// === impl Unreadable ===

impl Unreadable {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "packet-too-short",
            Self::UnknownOpcode => "opcode-unknown",
            Self::UnterminatedName => "name-unterminated",
            Self::NoMode => "mode-missing",
        }
    }
}

// === impl ErrorCode ===

impl ErrorCode {
    /// Its number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Undefined => 0,
            Self::FileNotFound => 1,
            Self::AccessViolation => 2,
            Self::DiskFull => 3,
            Self::IllegalOperation => 4,
            Self::FileExists => 6,
            Self::OptionNegotiation => 8,
        }
    }
}

// === writing ===

/// The head of a DATA packet; the content follows it.
#[must_use]
pub const fn data_header(block: u16) -> [u8; DATA_HEADER] {
    let [high, low] = block.to_be_bytes();
    let [op_high, op_low] = OP_DATA.to_be_bytes();
    [op_high, op_low, high, low]
}

/// An ACK packet.
#[must_use]
pub const fn ack(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    let [op_high, op_low] = OP_ACK.to_be_bytes();
    [op_high, op_low, high, low]
}

/// An ERROR packet. NUL bytes of `text` are left out.
#[must_use]
pub fn error(code: ErrorCode, text: &str) -> Vec<u8> {
    let mut packet = OP_ERROR.to_be_bytes().to_vec();
    packet.extend(code.code().to_be_bytes());
    push_field(&mut packet, text.as_bytes());
    packet
}

/// An OACK packet with the options that are set.
#[must_use]
pub fn option_ack(options: &Options) -> Vec<u8> {
    let mut packet = OP_OPTION_ACK.to_be_bytes().to_vec();
    options.encode(&mut packet);
    packet
}

/// An RRQ packet in octet mode.
#[must_use]
pub fn read_request(name: &[u8], options: &Options) -> Vec<u8> {
    request(OP_READ, name, options)
}

/// A WRQ packet in octet mode.
#[must_use]
pub fn write_request(name: &[u8], options: &Options) -> Vec<u8> {
    request(OP_WRITE, name, options)
}

fn request(opcode: u16, name: &[u8], options: &Options) -> Vec<u8> {
    let mut packet = opcode.to_be_bytes().to_vec();
    push_field(&mut packet, name);
    push_field(&mut packet, b"octet");
    options.encode(&mut packet);
    packet
}

fn push_field(packet: &mut Vec<u8>, field: &[u8]) {
    packet.extend(field.iter().filter(|byte| **byte != 0));
    packet.push(0);
}

// === reading ===

fn take_u16(bytes: &[u8]) -> Result<(u16, &[u8]), Unreadable> {
    let (number, rest) = bytes.split_first_chunk().ok_or(Unreadable::TooShort)?;
    Ok((u16::from_be_bytes(*number), rest))
}

/// The bytes before the next NUL and those behind it; `None` without a NUL.
fn take_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (field, rest) = bytes.split_at_checked(end)?;
    Some((field, rest.split_first()?.1))
}

/// A decimal number; one beyond 64 bits reads as the largest.
fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(digit.into()))
    })
}

fn keep_first<T>(slot: &mut Option<T>, value: T, valid: bool) {
    if valid && slot.is_none() {
        *slot = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(datagram: &[u8]) -> Request<'_> {
        let packet = Packet::decode(datagram);
        let Ok(Packet::Read(request)) = packet else {
            panic!("{packet:?}")
        };
        request
    }

    #[test]
    fn reads_the_request_of_uefi() {
        let request =
            read(b"\0\x01ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0");
        assert_eq!(request.name, b"ipxe.efi");
        assert_eq!(request.mode, Mode::Octet);
        let want = Options {
            blksize: Some(1468),
            tsize: Some(0),
            timeout: None,
            windowsize: Some(4),
        };
        assert_eq!(request.options, want);
    }

    #[test]
    fn reads_modes_in_any_case() {
        for (text, mode) in [
            ("octet", Mode::Octet),
            ("OCTET", Mode::Octet),
            ("Octet", Mode::Octet),
            ("NetASCII", Mode::Netascii),
            ("mail", Mode::Mail),
            ("octets", Mode::Unknown),
            ("", Mode::Unknown),
        ] {
            let datagram = [b"\0\x01a\0", text.as_bytes(), b"\0"].concat();
            assert_eq!(read(&datagram).mode, mode, "{text}");
        }
    }

    #[test]
    fn takes_a_mode_without_its_nul() {
        assert_eq!(read(b"\0\x01a\0octet").mode, Mode::Octet);
    }

    #[test]
    fn ignores_junk_behind_the_last_nul() {
        let request = read(b"\0\x01a\0octet\0blksize\x001024\0\xff\xff");
        assert_eq!(request.options.blksize, Some(1024));
        let request = read(b"\0\x01a\0octet\0\xff");
        assert!(request.options.is_empty());
    }

    #[test]
    fn skips_nuls_that_pad_the_options() {
        let request = read(b"\0\x01a\0octet\0\0blksize\x001024\0\0\0\0");
        assert_eq!(request.options.blksize, Some(1024));
    }

    #[test]
    fn keeps_the_raw_bytes_of_a_name() {
        let request = read(b"\0\x01\\boot\\\xff\xfe\0octet\0");
        assert_eq!(request.name, b"\\boot\\\xff\xfe");
        assert_eq!(read(b"\0\x01\0octet\0").name, b"");
    }

    #[test]
    fn ignores_options_that_it_does_not_know() {
        let request = read(b"\0\x01a\0octet\0multicast\0\0blksize\x001024\0x\0y\0");
        assert_eq!(request.options.blksize, Some(1024));
    }

    #[test]
    fn ignores_values_that_do_not_parse() {
        for bad in ["", "x", "-1", "+1", " 8", "7", "0", "8.5"] {
            let datagram = [
                b"\0\x01a\0octet\0blksize\0",
                bad.as_bytes(),
                b"\0tsize\x000\0",
            ];
            let options = read(&datagram.concat()).options;
            assert_eq!(options.blksize, None, "{bad}");
        }
        for (value, want) in [
            ("0", None),
            ("1", Some(1)),
            ("255", Some(255)),
            ("256", None),
        ] {
            let datagram = [b"\0\x01a\0octet\0timeout\0", value.as_bytes(), b"\0"];
            assert_eq!(read(&datagram.concat()).options.timeout, want, "{value}");
        }
    }

    #[test]
    fn reads_too_large_a_blksize_as_the_largest() {
        for value in ["65464", "65465", "65536", "99999999999999999999999"] {
            let datagram = [b"\0\x01a\0octet\0BLKSIZE\0", value.as_bytes(), b"\0"];
            let options = read(&datagram.concat()).options;
            assert_eq!(options.blksize, Some(MAX_BLKSIZE), "{value}");
        }
    }

    #[test]
    fn takes_the_first_of_an_option_given_twice() {
        let request = read(b"\0\x01a\0octet\0blksize\x001024\0blksize\x008192\0");
        assert_eq!(request.options.blksize, Some(1024));
    }

    #[test]
    fn names_what_is_wrong_with_a_datagram() {
        for (datagram, want) in [
            (b"".as_slice(), Unreadable::TooShort),
            (b"\0", Unreadable::TooShort),
            (b"\0\x04\0", Unreadable::TooShort),
            (b"\0\x09ab", Unreadable::UnknownOpcode),
            (b"\0\x01name", Unreadable::UnterminatedName),
            (b"\0\x01name\0", Unreadable::NoMode),
        ] {
            assert_eq!(Packet::decode(datagram), Err(want), "{datagram:?}");
        }
    }

    #[test]
    fn reads_errors_with_and_without_words() {
        for (datagram, text) in [
            (b"\0\x05\0\x08aborted\0".as_slice(), b"aborted".as_slice()),
            (b"\0\x05\0\x08aborted", b"aborted"),
            (b"\0\x05\0\x08", b""),
        ] {
            assert_eq!(
                Packet::decode(datagram),
                Ok(Packet::Error { code: 8, text })
            );
        }
    }

    #[test]
    fn writes_packets_as_the_rfc_draws_them() {
        assert_eq!(data_header(0x1234), *b"\0\x03\x12\x34");
        assert_eq!(ack(7), *b"\0\x04\0\x07");
        let packet = error(ErrorCode::FileNotFound, "no\0t here");
        assert_eq!(packet, b"\0\x05\0\x01not here\0");
        let options = Options {
            blksize: Some(1468),
            tsize: Some(1_048_576),
            timeout: Some(3),
            windowsize: Some(16),
        };
        assert_eq!(
            option_ack(&options),
            b"\0\x06tsize\x001048576\0blksize\x001468\0timeout\x003\0windowsize\x0016\0"
        );
    }

    fn options() -> impl Strategy<Value = Options> {
        (
            proptest::option::of(MIN_BLKSIZE..=MAX_BLKSIZE),
            proptest::option::of(any::<u64>()),
            proptest::option::of(1..=u8::MAX),
            proptest::option::of(1..=u16::MAX),
        )
            .prop_map(|(blksize, tsize, timeout, windowsize)| Options {
                blksize,
                tsize,
                timeout,
                windowsize,
            })
    }

    proptest! {
        #[test]
        fn never_panics_on_any_bytes(datagram: Vec<u8>, opcode in 0..8_u8) {
            let _ = Packet::decode(&datagram);
            let _ = Packet::decode(&[&[0, opcode], datagram.as_slice()].concat());
        }

        #[test]
        fn reads_what_it_writes(name in "[^\0]{0,40}", options in options()) {
            let packet = read_request(name.as_bytes(), &options);
            let want = Request { name: name.as_bytes(), mode: Mode::Octet, options };
            prop_assert_eq!(Packet::decode(&packet), Ok(Packet::Read(want)));
            let packet = option_ack(&options);
            prop_assert_eq!(Packet::decode(&packet), Ok(Packet::OptionAck(options)));
        }

        #[test]
        fn reads_its_own_short_packets(block: u16, text in "[^\0]{0,40}") {
            let packet = ack(block);
            prop_assert_eq!(Packet::decode(&packet), Ok(Packet::Ack { block }));
            let want = Packet::Data { block, content: &[] };
            let packet = data_header(block);
            prop_assert_eq!(Packet::decode(&packet), Ok(want));
            let packet = error(ErrorCode::OptionNegotiation, &text);
            let want = Packet::Error { code: 8, text: text.as_bytes() };
            prop_assert_eq!(Packet::decode(&packet), Ok(want));
        }
    }
}
