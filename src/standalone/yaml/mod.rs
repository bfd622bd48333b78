//! YAML text to JSON trees that know where each value stands.
//!
//! Scalars mean what they mean to kubectl and the API server. Never panics,
//! and bounded: time and memory grow with the file, not with what its aliases
//! expand to. Reads text; opens no files.

mod build;
mod expand;
mod mistake;
mod resolve;

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

pub use self::build::parse;

/// Largest file in bytes. Ten thousand machines are 3 MB; what is larger than
/// this is no manifest.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;
/// Most values in one file after its aliases are expanded: twice what ten
/// thousand machines need, some 200 MB of memory.
pub const MAX_NODES: u64 = 1_000_000;
/// Most bytes of text in one file after its aliases are expanded.
pub const MAX_TEXT_BYTES: u64 = 128 * 1024 * 1024;
/// Deepest nesting. Our own resources need 8 levels, `managedFields` of a
/// cluster some 20; the walk over a tree is recursive.
pub const MAX_DEPTH: u32 = 100;
/// Most documents in one file.
pub const MAX_DOCUMENTS: usize = 100_000;
/// Most mistakes told about one file; nobody reads on.
pub const MAX_ERRORS: usize = 100;

/// What a text holds: its documents, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The documents in their order, without empty ones and without those
    /// whose syntax is broken.
    pub documents: Vec<Document>,
    /// What is wrong, in the order of the text.
    pub errors: Vec<YamlError>,
    /// How many values the documents hold, aliases expanded.
    pub nodes: u64,
}

/// One document.
#[derive(Debug)]
pub struct Document {
    /// Its value.
    pub value: Value,
    /// Whether nothing is wrong with it as YAML. What is not intact can still
    /// be checked, but must not be served.
    pub intact: bool,
    root: SpanNode,
}

/// A mistake in the YAML itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// Its stable name: `Syntax`, `DuplicateKey`.
    pub reason: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do about it; may be empty.
    pub cure: String,
    /// Where, as bytes of the text.
    pub span: Range<usize>,
    /// Further places, each with a note.
    pub related: Vec<(Range<usize>, String)>,
}

/// Where a value stands, as bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// The value.
    pub value: Range<usize>,
    /// Its key, where it is a field of a mapping.
    pub key: Option<Range<usize>>,
}

/// The tree of places that mirrors a document's value. It is a tree and not a
/// map by pointer because the pointers of a hostile file are far larger than
/// the file.
#[derive(Clone, Debug)]
struct SpanNode {
    value: Range<usize>,
    key: Option<Range<usize>>,
    children: Children,
}

#[derive(Clone, Debug)]
enum Children {
    None,
    Items(Vec<SpanNode>),
    Fields(BTreeMap<String, SpanNode>),
}

// === impl Document ===

impl Document {
    /// Where the value at `pointer` (RFC 6901) stands; `None` where there is
    /// no such value.
    #[must_use]
    pub fn spans(&self, pointer: &str) -> Option<Spans> {
        match self.walk(pointer) {
            (node, true) => Some(Spans {
                value: node.value.clone(),
                key: node.key.clone(),
            }),
            (_, false) => None,
        }
    }

    /// The bytes to show a person for a problem at `pointer`: a scalar itself,
    /// else the key (a mapping of forty lines underlined helps nobody), and
    /// for what is missing the key of what lacks it. `at_key` asks for the key
    /// of a scalar, too.
    #[must_use]
    pub fn locate(&self, pointer: &str, at_key: bool) -> Range<usize> {
        let (node, exact) = self.walk(pointer);
        let shows_itself = matches!(node.children, Children::None) && !node.value.is_empty();
        match &node.key {
            Some(key) if at_key || !exact || !shows_itself => key.clone(),
            Some(_) | None => node.value.clone(),
        }
    }

    /// The node at `pointer`, or the last one on the way to it and `false`.
    fn walk(&self, pointer: &str) -> (&SpanNode, bool) {
        let mut node = &self.root;
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            let next = match &node.children {
                Children::None => None,
                Children::Items(items) => name.parse().ok().and_then(|i: usize| items.get(i)),
                Children::Fields(fields) => fields.get(&name),
            };
            match next {
                Some(next) => node = next,
                None => return (node, false),
            }
        }
        (node, true)
    }
}

/// Appends a field or index to a JSON pointer, escaped.
#[must_use]
pub fn join(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// A text for a message: one line, cut where it is long, without control
/// characters that a terminal would obey.
#[must_use]
pub fn shown(text: &str) -> String {
    /// Enough to know a value by, short enough for one line.
    const LONGEST: usize = 100;
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            shown.push('…');
            break;
        }
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests;
