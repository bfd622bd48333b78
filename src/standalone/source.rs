//! The files that manifests came from, and places in them.

use std::ops::Range;
use std::path::PathBuf;

use super::yaml::Document;

/// One file that was read.
#[derive(Debug)]
pub struct SourceFile {
    /// Its path as it was named or found.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its documents; their values have gone into the objects.
    pub(super) documents: Vec<Document>,
    lines: Vec<usize>,
}

/// A place in one of the files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Index of the file.
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// Line and column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

// === impl SourceFile ===

impl SourceFile {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at + 1))
            .collect();
        Self {
            path,
            text,
            documents: Vec::new(),
            lines,
        }
    }

    /// Where the byte `offset` stands.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let before = self.text.get(self.line_start(line)..offset);
        Position {
            line,
            column: before.unwrap_or_default().chars().count() + 1,
        }
    }

    /// The first byte of a line.
    pub(super) fn line_start(&self, line: usize) -> usize {
        self.lines.get(line - 1).copied().unwrap_or(0)
    }

    /// The bytes of a line, without its end.
    pub(super) fn line(&self, line: usize) -> Range<usize> {
        let start = self.line_start(line);
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        let text = self.text.get(start..end).unwrap_or_default();
        start..start + text.trim_end_matches(['\n', '\r']).len()
    }
}
