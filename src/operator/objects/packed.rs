//! Text of which there are ten thousand much alike, in a fifth of its room.

use std::fmt;
use std::sync::Arc;

use zstd::bulk::{Compressor, Decompressor};

/// Fast, and as small as any for texts that say what the first one said.
const LEVEL: i32 = 1;

/// A text longer than that is no status (of an object of a megabyte at most).
const LONGEST: usize = 2 << 20;

/// Packs texts by what the first of them said.
#[derive(Default)]
pub(super) struct Packer(Option<(Arc<[u8]>, Compressor<'static>)>);

/// A packed text. Two that one [`Packer`] made are alike where their texts are.
#[derive(Clone, Default, PartialEq)]
pub struct Packed {
    /// What it is to be read beside; `None` where it stands as it is.
    beside: Option<Arc<[u8]>>,
    bytes: Box<[u8]>,
}

// === impl Packer ===

impl Packer {
    /// Packs a text; where that fails, it is kept as it is.
    pub(super) fn pack(&mut self, text: String) -> Packed {
        if text.is_empty() {
            return Packed::default();
        }
        if self.0.is_none() {
            let first: Arc<[u8]> = text.as_bytes().into();
            let compressor = Compressor::with_dictionary(LEVEL, &first);
            self.0 = compressor.ok().map(|it| (first, it));
        }
        let packed = self.0.as_mut().and_then(|(first, compressor)| {
            Some(Packed {
                beside: Some(Arc::clone(first)),
                bytes: compressor.compress(text.as_bytes()).ok()?.into(),
            })
        });
        let shorter = packed.filter(|packed| packed.bytes.len() < text.len());
        shorter.unwrap_or_else(|| Packed {
            beside: None,
            bytes: text.into_bytes().into(),
        })
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packer").field(&self.0.is_some()).finish()
    }
}

// === impl Packed ===

impl Packed {
    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = match &self.beside {
            None => self.bytes.to_vec(),
            Some(beside) => Decompressor::with_dictionary(beside)
                .and_then(|mut it| it.decompress(&self.bytes, LONGEST))
                .unwrap_or_default(),
        };
        String::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packed").field(&self.text()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(n: u32) -> String {
        format!(
            r#"{{"phase":"Ready","profile":"linux","conditions":[{{"type":"Ready","status":"True","reason":"Served","message":"it boots BootProfile linux, which its labels choose","lastTransitionTime":"2026-11-27T10:00:{:02}Z","observedGeneration":{n}}}]}}"#,
            n % 60
        )
    }

    #[test]
    fn texts_come_back_and_those_alike_take_little() {
        let mut packer = Packer::default();
        for n in 0..100 {
            let packed = packer.pack(status(n));
            assert_eq!(packed.text(), status(n));
            assert!(packed.bytes.len() * 3 < status(n).len(), "{packed:?}");
            assert_eq!(packed, packer.pack(status(n)));
            assert_ne!(packed, packer.pack(status(n + 1)));
        }
        for text in ["", "{}", "überall"] {
            assert_eq!(packer.pack(text.to_owned()).text(), text);
        }
    }
}
