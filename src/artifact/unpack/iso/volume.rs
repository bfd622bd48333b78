//! Volume descriptors of ISO 9660 (ECMA-119 §8) and Joliet.

use super::bytes::u16_le;
use super::record::Record;

/// Bytes of a sector; descriptors are one sector each.
pub const SECTOR: usize = 2048;
/// The sector of the first descriptor.
pub const FIRST: u64 = 16;

/// One volume descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// The primary one, with its root folder.
    Primary(Volume),
    /// Joliet: the same tree with Unicode names.
    Joliet(Volume),
    /// There are no more.
    End,
    /// Of a kind that is not read.
    Other,
}

/// A tree of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Bytes of a block.
    pub block: u32,
    /// The root folder.
    pub root: Record,
}

impl Descriptor {
    /// Reads one; `None` where the sector is none.
    #[must_use]
    pub fn read(sector: &[u8]) -> Option<Self> {
        if sector.get(1..6)? != b"CD001" {
            return None;
        }
        let volume = || -> Option<Volume> {
            let block = u32::from(u16_le(sector, 128)?);
            if !matches!(block, 512 | 1024 | 2048) {
                return None;
            }
            let root = Record::read(sector.get(156..190)?)?;
            Some(Volume { block, root })
        };
        Some(match sector.first()? {
            1 => Self::Primary(volume()?),
            2 if matches!(sector.get(88..91)?, b"%/@" | b"%/C" | b"%/E") => Self::Joliet(volume()?),
            255 => Self::End,
            _ => Self::Other,
        })
    }
}

/// Whether a sector among the descriptors says that there is UDF.
#[must_use]
pub fn is_udf(sector: &[u8]) -> bool {
    matches!(sector.get(1..6), Some(b"NSR02" | b"NSR03"))
}
