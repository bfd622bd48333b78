//! Rock Ridge (RRIP 1.12) over the system use fields of ISO 9660 (SUSP 1.12):
//! real names, links, kinds.

use super::bytes::u32_le;

/// What Rock Ridge says about one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// The real name.
    pub name: Option<Vec<u8>>,
    /// Where a symbolic link leads.
    pub link: Option<Vec<u8>>,
    /// The file mode of POSIX.
    pub mode: Option<u32>,
    /// The folder that stands here is at this block.
    pub child: Option<u64>,
    /// It stands elsewhere: this place is only where its data is.
    pub moved: bool,
    /// The data is compressed or sparse.
    pub packed: bool,
    part_open: bool,
}

/// Where the field goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continues {
    /// The block.
    pub block: u64,
    /// Bytes into it.
    pub offset: u32,
    /// How many bytes.
    pub length: u32,
}

/// How many bytes precede each field, by the first record of the root folder;
/// `None` where the image has no such fields.
#[must_use]
pub fn skip_of_root(system_use: &[u8]) -> Option<usize> {
    match system_use {
        [b'S', b'P', 7, 1, 0xbe, 0xef, skip, ..] => Some(usize::from(*skip)),
        _ => None,
    }
}

impl Extra {
    /// Adds what `bytes` say; tells where they go on.
    pub fn read(&mut self, mut bytes: &[u8]) -> Option<Continues> {
        let mut continues = None;
        while let [first, second, length, _, ..] = bytes {
            let length = usize::from(*length);
            let Some((entry, rest)) = bytes.split_at_checked(length) else {
                break;
            };
            // A shorter one would never end.
            let Some(data) = entry.get(4..) else { break };
            match &[*first, *second] {
                b"ST" => break,
                b"CE" => {
                    continues = (|| {
                        Some(Continues {
                            block: u64::from(u32_le(data, 0)?),
                            offset: u32_le(data, 8)?,
                            length: u32_le(data, 16)?,
                        })
                    })();
                }
                b"NM" => self.name_part(data),
                b"SL" => self.link_part(data),
                b"PX" => self.mode = u32_le(data, 0),
                b"CL" => self.child = u32_le(data, 0).map(u64::from),
                b"RE" => self.moved = true,
                b"ZF" | b"SF" => self.packed = true,
                _ => {}
            }
            bytes = rest;
        }
        continues
    }

    fn name_part(&mut self, data: &[u8]) {
        let Some((flags, part)) = data.split_first() else {
            return;
        };
        // `.` and `..`: the record's own name says so.
        if flags & 0x06 == 0 {
            self.name.get_or_insert_default().extend_from_slice(part);
        }
    }

    fn link_part(&mut self, data: &[u8]) {
        let Some((_, mut parts)) = data.split_first() else {
            return;
        };
        let link = self.link.get_or_insert_default();
        while let [flags, length, rest @ ..] = parts {
            let Some((text, rest)) = rest.split_at_checked(usize::from(*length)) else {
                break;
            };
            parts = rest;
            if !self.part_open && !link.is_empty() && !link.ends_with(b"/") {
                link.push(b'/');
            }
            match flags & 0x0e {
                0x02 => link.push(b'.'),
                0x04 => link.extend_from_slice(b".."),
                0x08 => {
                    link.clear();
                    link.push(b'/');
                }
                _ => link.extend_from_slice(text),
            }
            self.part_open = flags & 0x01 != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_names_and_links() {
        let mut extra = Extra::default();
        extra.read(b"NM\x08\x01\x01vml");
        extra.read(b"NM\x09\x01\x00inuz");
        assert_eq!(extra.name.as_deref(), Some(b"vmlinuz".as_slice()));
        // `..`, then `bo` that goes on with `ot`, then `x`
        extra.read(b"SL\x12\x01\x00\x04\x00\x01\x02bo\x00\x02ot\x00\x01x");
        assert_eq!(extra.link.as_deref(), Some(b"../boot/x".as_slice()));
        let mut root = Extra::default();
        root.read(b"SL\x0a\x01\x00\x08\x00\x00\x01a");
        assert_eq!(root.link.as_deref(), Some(b"/a".as_slice()));
    }

    #[test]
    fn ends_with_what_is_cut_or_has_no_length() {
        for bytes in [
            b"NM\x00\x01\x00a".as_slice(),
            b"NM\x03\x01\x00a",
            b"NM\x40\x01\x00a",
        ] {
            let mut extra = Extra::default();
            assert_eq!(extra.read(bytes), None);
            assert_eq!(extra.name, None);
        }
    }
}
