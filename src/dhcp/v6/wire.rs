//! Options as they stand in a packet: two bytes of code, two of length, data
//! (RFC 8415 section 21.1).
//!
//! dhcproto has a decoder for whole messages. It follows relays and identity
//! associations inside each other as deep as they go, which a packet of 64 KiB
//! makes deeper than a stack, subtracts from lengths that lie, and cannot make
//! the reply of a relay; so these few bytes are read and written here. The
//! property tests hold dhcproto against what we send.

/// Options of one message that are read; firmware sends some ten.
const MAX_OPTIONS: usize = 64;

/// Options, each with its code, in the order of the packet.
pub(super) type Options = Vec<(u16, Vec<u8>)>;

/// Takes options apart; `None` where one is longer than what is there, or where
/// there are more than [`MAX_OPTIONS`].
pub(super) fn walk(mut field: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut options = Vec::new();
    while !field.is_empty() {
        let (code, data, behind) = split(field)?;
        if options.len() >= MAX_OPTIONS {
            return None;
        }
        options.push((code, data));
        field = behind;
    }
    Some(options)
}

/// The first option, and what is behind it; `None` where it is longer than what
/// is there.
pub(crate) fn split(field: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = field.split_first_chunk::<4>()?;
    let [code, more, length, least] = *head;
    let length = usize::from(u16::from_be_bytes([length, least]));
    let (data, behind) = rest.split_at_checked(length)?;
    Some((u16::from_be_bytes([code, more]), data, behind))
}

/// Adds one option. Data that no length can say is cut: nothing of ours is as
/// long.
pub(crate) fn put(packet: &mut Vec<u8>, code: u16, data: &[u8]) {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    packet.extend(code.to_be_bytes());
    packet.extend(length.to_be_bytes());
    packet.extend(data.iter().take(usize::from(length)));
}

/// Adds several.
pub(super) fn put_all(packet: &mut Vec<u8>, options: &[(u16, Vec<u8>)]) {
    for (code, data) in options {
        put(packet, *code, data);
    }
}

/// The texts of a list, each with two bytes of length before it (RFC 8415
/// sections 21.15 and 21.16). What is left of a bad one is left out.
pub(crate) fn texts(mut list: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = list.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((text, behind)) = rest.split_at_checked(length) else {
            break;
        };
        texts.push(text);
        list = behind;
    }
    texts
}

/// A domain as DNS has it (RFC 1035 section 3.1), uncompressed.
pub(super) fn domain(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        // Names were checked with the manifests: no label is longer than 63.
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_that_lies() {
        let mut packet = Vec::new();
        put_all(&mut packet, &[(1, vec![0, 3]), (14, Vec::new())]);
        assert_eq!(packet, [0, 1, 0, 2, 0, 3, 0, 14, 0, 0]);
        assert_eq!(walk(&packet).unwrap(), [(1, &[0, 3][..]), (14, &[][..])]);
        for cut in 1..packet.len() {
            let whole = cut == 6;
            assert_eq!(walk(&packet[..cut]).is_some(), whole, "{cut}");
        }
        let many = [0, 8, 0, 0].repeat(MAX_OPTIONS + 1);
        assert!(walk(&many).is_none());
        assert!(walk(&many[4..]).is_some());
    }

    #[test]
    fn reads_lists_of_texts() {
        assert_eq!(texts(b"\0\x04iPXE\0\x01a"), [&b"iPXE"[..], b"a"]);
        assert_eq!(texts(b"\0\x04iPXE\0\x09a"), [&b"iPXE"[..]]);
        assert_eq!(domain("example.net."), b"\x07example\x03net\0");
    }
}
