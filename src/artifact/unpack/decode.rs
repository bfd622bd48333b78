//! Decompression with bounds. Shell.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::limits::Limits;
use super::refused::Refused;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gz,
    Xz,
    Zst,
}

/// Bytes read from the file at once.
const READ: usize = 128 << 10;

/// What ends the reading of a stream that costs too much.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum TooMuch {
    #[error("the content is too large for the archive")]
    Ratio,
    #[error("unpacking needs too much memory")]
    Memory,
}

/// Opens the content of `file`.
pub(super) fn open(
    file: File,
    compression: Compression,
    limits: &Limits,
) -> Result<Box<dyn Read>, Refused> {
    let input = Rc::new(Cell::new(0));
    let counted = BufReader::with_capacity(
        READ,
        Counted {
            inner: file,
            count: Rc::clone(&input),
        },
    );
    let content: Box<dyn Read> = match compression {
        // Nothing grows: no bomb.
        Compression::None => return Ok(Box::new(counted)),
        Compression::Gz => Box::new(MultiGzDecoder::new(counted)),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(limits.memory, CONCATENATED)
                .map_err(|error| Refused::Read(error.into()))?;
            Box::new(Xz(XzDecoder::new_stream(counted, stream)))
        }
        Compression::Zst => zst(counted, limits)?,
    };
    Ok(Box::new(Metered {
        inner: content,
        input,
        output: 0,
        limits: *limits,
    }))
}

fn zst(source: impl BufRead + 'static, limits: &Limits) -> Result<Box<dyn Read>, Refused> {
    let mut decoder = zstd::Decoder::with_buffer(source).map_err(Refused::Read)?;
    // The window's size is a power of two.
    let window = limits.memory.max(1 << 20).ilog2();
    decoder.window_log_max(window).map_err(Refused::Read)?;
    Ok(Box::new(Zst(decoder)))
}

/// The error of a reader that gives more than is believed.
pub(super) fn bomb() -> io::Error {
    io::Error::other(TooMuch::Ratio)
}

/// What an error of a reader means.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an enum of others that grows"
)]
pub(super) fn refusal(error: io::Error, limits: &Limits) -> Refused {
    let too_much = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TooMuch>());
    match too_much {
        Some(TooMuch::Ratio) => Refused::Ratio {
            limit: limits.ratio,
        },
        Some(TooMuch::Memory) => Refused::Memory {
            limit: limits.memory,
        },
        // The decompressors say what is wrong with the data in these kinds;
        // those of a device that fails carry the system's number.
        None if error.raw_os_error().is_none() => Refused::damaged(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
            _ => error.to_string(),
        }),
        None => Refused::Read(error),
    }
}

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.count.set(self.count.get().saturating_add(got as u64));
        Ok(got)
    }
}

/// Ends a stream that grows beyond all measure.
struct Metered {
    inner: Box<dyn Read>,
    input: Rc<Cell<u64>>,
    output: u64,
    limits: Limits,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.output = self.output.saturating_add(got as u64);
        if self.limits.is_bomb(self.input.get(), self.output) {
            return Err(bomb());
        }
        Ok(got)
    }
}

/// Names the one error of liblzma that is about us.
struct Xz<R: BufRead>(XzDecoder<R>);

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let inner = error.get_ref();
            match inner.and_then(|inner| inner.downcast_ref::<liblzma::stream::Error>()) {
                Some(liblzma::stream::Error::MemLimit) => io::Error::other(TooMuch::Memory),
                Some(_) | None => error,
            }
        })
    }
}

/// Names the one error of zstd that is about us.
struct Zst<R: BufRead>(zstd::Decoder<'static, R>);

impl<R: BufRead> Read for Zst<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            // The library has no type for it, only this sentence.
            if error.to_string().contains("requires too much memory") {
                io::Error::other(TooMuch::Memory)
            } else {
                error
            }
        })
    }
}
