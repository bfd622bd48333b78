//! Reads tar: ustar, GNU and pax. Shell over a stream.
//!
//! The headers are read by the `tar` crate; the loop is ours, because the
//! crate reads long names and pax headers of any size into memory.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::plan::Kind;
use super::refused::{Refused, Special};
use super::{Visit, decode, limits::Limits};

const BLOCK: usize = 512;
/// The longest pax header or long name; real ones have a few hundred bytes.
const MAX_EXTENSION: u64 = 1 << 20;

const SPARSE: &str = "a sparse file in tar";

/// What the headers before an entry say about it.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Shows each entry to `visit`. `strict`: the archive has to have its end
/// mark; nothing else tells that a plain tar is complete.
pub(super) fn walk(
    source: &mut dyn Read,
    limits: &Limits,
    strict: bool,
    visit: &mut dyn Visit,
) -> Result<(), Refused> {
    let mut before = Before::default();
    let mut first = true;
    loop {
        let mut block = [0_u8; BLOCK];
        let got = read_block(source, &mut block, limits)?;
        if got == 0 && !first && !strict {
            return Ok(());
        }
        if got < BLOCK {
            return Err(Refused::damaged("it ends too early"));
        }
        if block.iter().all(|byte| *byte == 0) {
            // The rest is read as well: it has the checksum of the compression.
            io::copy(source, &mut io::sink()).map_err(|error| decode::refusal(error, limits))?;
            return Ok(());
        }
        let header = Header::from_byte_slice(&block);
        check_sum(header, &block, first)?;
        first = false;
        let size = header.entry_size().map_err(bad_header)?;
        if let Some(extension) = extension(header.entry_type()) {
            let data = read_extension(source, size, limits)?;
            extension(&mut before, &data)?;
            continue;
        }
        let before = std::mem::take(&mut before);
        entry(source, header, &before, limits, visit)?;
    }
}

/// Reads the data of a header about the next entry.
type Extension = fn(&mut Before, &[u8]) -> Result<(), Refused>;

/// How the data of such a header is read.
fn extension(kind: EntryType) -> Option<Extension> {
    match kind.as_byte() {
        b'x' => Some(pax),
        b'g' => Some(|_, _| Ok(())),
        b'L' => Some(|before, data| {
            before.name = Some(until_nul(data).to_vec());
            Ok(())
        }),
        b'K' => Some(|before, data| {
            before.link = Some(until_nul(data).to_vec());
            Ok(())
        }),
        _ => None,
    }
}

fn until_nul(data: &[u8]) -> &[u8] {
    data.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn pax(before: &mut Before, data: &[u8]) -> Result<(), Refused> {
    for extension in PaxExtensions::new(data) {
        let extension = extension.map_err(bad_header)?;
        let value = extension.value_bytes();
        match extension.key_bytes() {
            b"path" => before.name = Some(value.to_vec()),
            b"linkpath" => before.link = Some(value.to_vec()),
            b"size" => {
                let size = std::str::from_utf8(value).ok();
                let size = size.and_then(|text| text.parse().ok());
                before.size = Some(size.ok_or_else(|| Refused::damaged("a size is no number"))?);
            }
            key if key.starts_with(b"GNU.sparse.") => before.sparse = true,
            _ => {}
        }
    }
    Ok(())
}

fn entry(
    source: &mut dyn Read,
    header: &Header,
    before: &Before,
    limits: &Limits,
    visit: &mut dyn Visit,
) -> Result<(), Refused> {
    let header_name = header.path_bytes();
    let name = before.name.as_deref().unwrap_or(&header_name);
    let header_link = header.link_name_bytes().unwrap_or_default();
    let link = before.link.as_deref().unwrap_or(&header_link);
    let kind = header.entry_type().as_byte();
    let size = match kind {
        // Packers write a size with links, devices and folders although no
        // data follows.
        b'2'..=b'6' => 0,
        _ => match before.size {
            Some(size) => size,
            None => header.entry_size().map_err(bad_header)?,
        },
    };
    let what = match kind {
        0 | b'0' | b'7' if before.sparse => Kind::Unsupported(SPARSE),
        // Before there was a type for folders.
        0 | b'0' if name.ends_with(b"/") => Kind::Folder,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::Hardlink(link),
        b'2' => Kind::Symlink(link),
        b'3' | b'4' => Kind::Special(Special::Device),
        b'5' => Kind::Folder,
        b'6' => Kind::Special(Special::Fifo),
        b'S' => Kind::Unsupported(SPARSE),
        _ => Kind::Special(Special::Other),
    };
    let mut data = Data { source, left: size };
    visit.entry(name, what, &mut data)?;
    let padding = size.next_multiple_of(BLOCK as u64) - size;
    let left = data.left.saturating_add(padding);
    skip(source, left, limits)
}

/// The bytes of one entry. Ends with an error where they end too early.
struct Data<'a> {
    source: &'a mut dyn Read,
    left: u64,
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        let got = self.source.read(buffer)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got as u64;
        Ok(got)
    }
}

fn skip(source: &mut dyn Read, count: u64, limits: &Limits) -> Result<(), Refused> {
    let skipped = io::copy(&mut source.take(count), &mut io::sink())
        .map_err(|error| decode::refusal(error, limits))?;
    if skipped < count {
        return Err(Refused::damaged("it ends too early"));
    }
    Ok(())
}

fn read_extension(source: &mut dyn Read, size: u64, limits: &Limits) -> Result<Vec<u8>, Refused> {
    if size > MAX_EXTENSION {
        return Err(Refused::damaged(format!("a header of {size} bytes")));
    }
    let mut data = Vec::new();
    source
        .take(size)
        .read_to_end(&mut data)
        .map_err(|error| decode::refusal(error, limits))?;
    if (data.len() as u64) < size {
        return Err(Refused::damaged("it ends too early"));
    }
    skip(source, size.next_multiple_of(BLOCK as u64) - size, limits)?;
    Ok(data)
}

fn read_block(
    source: &mut dyn Read,
    block: &mut [u8; BLOCK],
    limits: &Limits,
) -> Result<usize, Refused> {
    let mut filled = 0;
    while let Some(room) = block.get_mut(filled..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(decode::refusal(error, limits)),
        }
    }
    Ok(filled)
}

fn check_sum(header: &Header, block: &[u8; BLOCK], first: bool) -> Result<(), Refused> {
    /// Where the sum itself stands: counted as spaces.
    const SUM: std::ops::Range<usize> = 148..156;
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| u32::from(if SUM.contains(&at) { b' ' } else { *byte }))
        .sum();
    if header.cksum().ok() == Some(sum) {
        return Ok(());
    }
    if first {
        return Err(Refused::WrongFormat {
            format: "a tar archive",
            looks: super::format::looks(block),
        });
    }
    Err(Refused::damaged("the checksum of a header is wrong"))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn bad_header(error: io::Error) -> Refused {
    Refused::damaged(format!("a header cannot be read: {error}"))
}
