//! Directory records of ISO 9660 (ECMA-119 §9.1).

use super::bytes::u32_le;

/// One record: a file, a folder, or a part of a large file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The block where its data begins.
    pub block: u64,
    /// Bytes of data.
    pub size: u32,
    /// It is a folder.
    pub folder: bool,
    /// The next record goes on with this file.
    pub more: bool,
    /// Its data is interleaved with that of others.
    pub interleaved: bool,
    /// The name as it stands: `\0` is the folder itself, `\1` the one above.
    pub name: Vec<u8>,
    /// What extensions say.
    pub system_use: Vec<u8>,
}

impl Record {
    /// Reads one record from its first to its last byte. `None` where it says
    /// what cannot be.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let name_length = usize::from(*bytes.get(32)?);
        let name_end = name_length.checked_add(33)?;
        let name = bytes.get(33..name_end)?.to_vec();
        if name.is_empty() {
            return None;
        }
        let flags = *bytes.get(25)?;
        // What follows the name begins at an even place.
        let extra = name_end + usize::from(name_length % 2 == 0);
        Some(Self {
            // Extended attributes stand before the data.
            block: u64::from(u32_le(bytes, 2)?) + u64::from(*bytes.get(1)?),
            size: u32_le(bytes, 10)?,
            folder: flags & 0x02 != 0,
            more: flags & 0x80 != 0,
            interleaved: *bytes.get(26)? != 0 || *bytes.get(27)? != 0,
            name,
            system_use: bytes.get(extra..).unwrap_or_default().to_vec(),
        })
    }

    /// Whether it is the folder itself or the one above.
    #[must_use]
    pub fn is_dot(&self) -> bool {
        matches!(self.name.as_slice(), [0 | 1])
    }

    /// Its name in the primary tree, as Linux shows it: in small letters,
    /// without version and without a dot that nothing follows.
    #[must_use]
    pub fn plain_name(&self) -> Vec<u8> {
        let name = self.name.split(|byte| *byte == b';').next();
        let name = name.unwrap_or_default();
        let name = name.strip_suffix(b".").unwrap_or(name);
        name.to_ascii_lowercase()
    }

    /// Its name in a Joliet tree: UTF-16, big end first.
    #[must_use]
    pub fn joliet_name(&self) -> Vec<u8> {
        let units = self.name.chunks_exact(2);
        let units = units.map(|unit| match unit {
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        });
        let name: String = char::decode_utf16(units)
            .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        let name = name
            .rsplit_once(';')
            .map_or(name.as_str(), |(name, _)| name);
        name.as_bytes().to_vec()
    }
}

/// The records of one folder's data. A record never crosses a sector; the rest
/// of a sector is zero.
///
/// # Errors
/// What is wrong with the data.
pub fn records(data: &[u8], sector: usize) -> Result<Vec<Record>, &'static str> {
    let mut records = Vec::new();
    for part in data.chunks(sector.max(1)) {
        let mut rest = part;
        while let Some(length) = rest.first().copied().filter(|length| *length > 0) {
            let Some((bytes, after)) = rest.split_at_checked(usize::from(length)) else {
                return Err("a folder record crosses its sector");
            };
            records.push(Record::read(bytes).ok_or("a folder record cannot be read")?);
            rest = after;
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &[u8]) -> Record {
        let mut bytes = vec![0; 33];
        if let Some(length) = bytes.get_mut(32) {
            *length = u8::try_from(name.len()).unwrap();
        }
        bytes.extend_from_slice(name);
        Record::read(&bytes).unwrap()
    }

    #[test]
    fn shows_names_as_linux_does() {
        assert_eq!(named(b"VMLINUZ.;1").plain_name(), b"vmlinuz");
        assert_eq!(named(b"INITRD.GZ;1").plain_name(), b"initrd.gz");
        let joliet = named(b"\0V\0m\0;\x001");
        assert_eq!(joliet.joliet_name(), b"Vm");
        assert!(named(&[0]).is_dot() && named(&[1]).is_dot() && !named(b"A").is_dot());
    }
}
