//! Lines as netascii has them (RFC 764): LF is CR LF, CR is CR NUL. Performs no
//! I/O.

/// `text` as netascii.
#[must_use]
pub fn to_netascii(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\n' => out.extend(b"\r\n"),
            b'\r' => out.extend(b"\r\0"),
            byte => out.push(*byte),
        }
    }
    out
}

/// Reads netascii piece by piece; a pair may be parted.
#[derive(Debug, Default)]
pub struct FromNetascii {
    /// Whether a CR came last, of which nobody knows yet what it means.
    held: bool,
}

impl FromNetascii {
    /// What `text` adds to the content.
    pub fn push(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 1);
        for byte in text {
            match (std::mem::take(&mut self.held), byte) {
                (true, b'\n') => out.push(b'\n'),
                (true, 0) => out.push(b'\r'),
                (held, byte) => {
                    // A CR alone is none that RFC 764 knows, and stays one.
                    out.extend(held.then_some(b'\r'));
                    self.held = *byte == b'\r';
                    out.extend((!self.held).then_some(*byte));
                }
            }
        }
        out
    }

    /// What is left at the end.
    #[must_use]
    pub fn end(self) -> &'static [u8] {
        if self.held { b"\r" } else { b"" }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8], piece: usize) -> Vec<u8> {
        let mut from = FromNetascii::default();
        let mut out: Vec<u8> = text
            .chunks(piece)
            .flat_map(|piece| from.push(piece))
            .collect();
        out.extend(from.end());
        out
    }

    #[test]
    fn lines_end_in_two_bytes() {
        assert_eq!(to_netascii(b"one\ntwo\r"), b"one\r\ntwo\r\0");
        assert_eq!(to_netascii(b"a\nb\r\nc\r"), b"a\r\nb\r\0\r\nc\r\0");
        assert_eq!(read(b"one\r\ntwo\r\0", 3), b"one\ntwo\r");
        assert_eq!(read(b"a\rb\r\r\n\r", 1), b"a\rb\r\n\r");
    }

    proptest! {
        #[test]
        fn what_is_translated_comes_back(text: Vec<u8>, piece in 1..9_usize) {
            prop_assert_eq!(read(&to_netascii(&text), piece), text);
        }
    }
}
