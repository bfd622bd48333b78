//! Reads what the page cache has. Shell.

use std::fs::File;
use std::io::IoSliceMut;

use rustix::io::ReadWriteFlags;

/// Up to `size` bytes at `offset`, at least one, where that needs no waiting
/// for the disk. `None` also where the file system cannot tell, and at the end
/// of the file, which a read that may wait has to make sure of: kernels 5.9 and
/// 5.10 say so for pages that are on their way.
#[must_use]
pub fn read_cached(file: &File, offset: u64, size: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; size];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let read = rustix::io::preadv2(file, &mut parts, offset, ReadWriteFlags::NOWAIT).ok()?;
    buffer.truncate(read);
    (read > 0).then_some(buffer)
}
