//! The blocks of a transfer: what they carry, and their numbers on the wire.
//! Performs no I/O.

/// What follows block 65535 on the wire. No RFC says it, and clients differ:
/// nearly all go on with 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rollover {
    /// 0, as firmware, iPXE, GRUB and U-Boot have it.
    #[default]
    Zero,
    /// 1: a number never means "no block" again.
    One,
}

/// Blocks to send, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) blksize: u16,
    pub(super) length: u64,
    pub(super) rollover: Rollover,
}

/// One block to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number on the wire.
    pub number: u16,
    /// Where its content begins, in bytes.
    pub offset: u64,
    /// Bytes of content; fewer than the block size, perhaps 0, in the last one.
    pub len: u16,
}

// === impl Rollover ===

impl Rollover {
    /// A block's number on the wire; blocks count from 1, and 0 is the ACK of
    /// the options.
    pub(in crate::tftp) const fn wire(self, block: u64) -> u16 {
        let number = match (self, block) {
            (Self::Zero, _) | (Self::One, 0) => block,
            (Self::One, block) => (block - 1) % 0xffff + 1,
        };
        let [.., high, low] = number.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// How many blocks the number `number` lies ahead of block `acked`. What
    /// lies behind it comes out as much: more than any window has.
    pub(in crate::tftp) fn ahead(self, acked: u64, number: u16) -> u64 {
        let from = self.wire(acked);
        match self {
            Self::Zero => number.wrapping_sub(from).into(),
            Self::One if acked == 0 => number.into(),
            Self::One if number == 0 => u64::MAX,
            Self::One => (u64::from(number) + 0xffff - u64::from(from)) % 0xffff,
        }
    }
}

// === impl Blocks ===

impl Blocks {
    /// Where the content of the first block begins, in bytes. What lies before
    /// is not needed again.
    #[must_use]
    pub fn start(&self) -> u64 {
        (self.first - 1).saturating_mul(self.blksize.into())
    }

    /// Where the content of the last block ends, in bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        let end = self.last.saturating_mul(self.blksize.into());
        end.min(self.length)
    }

    /// Bytes in a full block.
    #[must_use]
    pub const fn blksize(&self) -> u16 {
        self.blksize
    }

    /// The blocks, in order.
    pub fn iter(self) -> impl Iterator<Item = Block> {
        (self.first..=self.last).map(move |block| {
            let offset = (block - 1).saturating_mul(self.blksize.into());
            let left = self.length.saturating_sub(offset);
            Block {
                number: self.rollover.wire(block),
                offset,
                len: u16::try_from(left).map_or(self.blksize, |left| left.min(self.blksize)),
            }
        })
    }
}
