//! Events of the parser to a compact graph in which aliases stay aliases.
//!
//! Each node knows what it would expand to, so that a bomb is refused before
//! anything is expanded.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde_json::Value;

use super::expand::expand;
use super::mistake::{error, give_up, report, syntax, too_deep, too_many};
use super::resolve::{self, Unreadable};
use super::{
    MAX_DEPTH, MAX_DOCUMENTS, MAX_ERRORS, MAX_FILE_BYTES, MAX_NODES, MAX_TEXT_BYTES, Parsed,
    YamlError, shown,
};

/// One node of a document.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) span: Range<usize>,
    /// Whether it is an unquoted `<<`, which merges where it is a key.
    pub(super) merges: bool,
    size: Size,
}

#[derive(Debug)]
pub(super) enum Shape {
    Scalar(Value),
    Sequence(Vec<usize>),
    /// Keys and values in turn.
    Mapping(Vec<usize>),
    /// The node that it stands for.
    Alias(usize),
}

/// What a node is after expansion.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: u64,
    bytes: u64,
    depth: u32,
}

/// A collection whose end has not come yet.
struct Open {
    mapping: bool,
    children: Vec<usize>,
    anchor: usize,
    start: usize,
    size: Size,
}

/// One document under construction.
#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, usize>,
    root: Option<usize>,
    errors: Vec<YamlError>,
}

/// Why a document is given up.
enum Stop {
    /// This document only.
    Document(YamlError),
    /// The rest of the file, too.
    File(YamlError),
}

type Events<'a> = Parser<'a, StrInput<'a>>;

/// Reads all documents of `text`. A document with broken syntax costs that
/// document; reading goes on at the next `---`.
#[must_use]
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    if text.len() > MAX_FILE_BYTES {
        parsed.errors.push(error(
            "FileTooLarge",
            format!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20),
            "split it",
            0..0,
        ));
        return parsed;
    }
    let mut events = Parser::new_from_str_with_options(text, options());
    let mut used = Size::default();
    let mut count = 0;
    loop {
        count += 1;
        let mut builder = Builder::default();
        let more = match read_document(&mut events, text, &mut builder) {
            Ok(more) => finish(builder, &mut used, &mut parsed).map(|()| more),
            Err(stop) => {
                parsed.errors.append(&mut builder.errors);
                Err(stop)
            }
        };
        let more = match more {
            Ok(more) => more,
            Err(Stop::Document(error)) => {
                parsed.errors.push(error);
                matches!(events.proceed_next_document(), Ok(true))
            }
            Err(Stop::File(error)) => {
                parsed.errors.push(error);
                false
            }
        };
        if more && (count >= MAX_DOCUMENTS || parsed.errors.len() >= MAX_ERRORS) {
            parsed.errors.truncate(MAX_ERRORS);
            parsed.errors.push(give_up(count, text.len()));
            return parsed;
        }
        if !more {
            return parsed;
        }
    }
}

fn options() -> granit_parser::Options {
    granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH as usize,
        block_nesting_limit: MAX_DEPTH as usize,
    }
}

/// Reads up to the end of the next document. `false` at the end of the text.
fn read_document(events: &mut Events<'_>, text: &str, builder: &mut Builder) -> Result<bool, Stop> {
    loop {
        let (event, span) = match events.next_event() {
            None => return Ok(false),
            Some(Ok(next)) => next,
            Some(Err(error)) => return Err(Stop::Document(syntax(&error, text))),
        };
        if matches!(event, Event::StreamEnd) {
            return Ok(false);
        }
        if matches!(event, Event::DocumentEnd) {
            return Ok(true);
        }
        builder.take(event, span.byte_range().unwrap_or(0..0))?;
        if builder.nodes.len() as u64 > MAX_NODES {
            return Err(Stop::File(too_many(text.len()..text.len())));
        }
    }
}

/// Expands what was read, unless the file has had its share.
fn finish(mut builder: Builder, used: &mut Size, parsed: &mut Parsed) -> Result<(), Stop> {
    let Some((root, node)) = builder
        .root
        .and_then(|root| Some((root, builder.nodes.get(root)?)))
    else {
        return Ok(());
    };
    used.hold(node.size);
    if used.nodes > MAX_NODES || used.bytes > MAX_TEXT_BYTES {
        return Err(Stop::File(too_many(node.span.clone())));
    }
    parsed.nodes = used.nodes;
    let document = expand(&builder.nodes, root, &mut builder.errors);
    builder.errors.sort_by_key(|error| error.span.start);
    parsed.errors.append(&mut builder.errors);
    if !document.value.is_null() {
        parsed.documents.push(document);
    }
    Ok(())
}

// === impl Builder ===

impl Builder {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the events are the parser's, and it may add some"
    )]
    fn take(&mut self, event: Event<'_>, at: Range<usize>) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain;
                let merges = !quoted && tag.is_none() && text == "<<";
                let value = self.scalar(&text, quoted, tag.as_deref(), &at);
                let size = Size {
                    bytes: text.len() as u64,
                    ..Size::ONE
                };
                self.add(Shape::Scalar(value), at, merges, size, anchor)
            }
            Event::Alias(id) => self.alias(id, at),
            Event::UnresolvedAlias(name) => {
                let what = format!("no anchor stands before the alias `*{}`", shown(&name));
                let cure = "quote the text if a star is meant";
                self.no_alias("UnknownAlias", what, cure, at)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(false, anchor, tag.as_deref(), &at);
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.begin(true, anchor, tag.as_deref(), &at);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&at),
            // Starts of streams and documents, and events of later versions
            // that carry no node.
            _ => Ok(()),
        }
    }

    fn alias(&mut self, id: usize, at: Range<usize>) -> Result<(), Stop> {
        // The anchor of a collection counts from its end on.
        let Some(&target) = self.anchors.get(&id) else {
            let what = "the alias stands inside the value that it stands for".to_owned();
            return self.no_alias("RecursiveAlias", what, "write the value out", at);
        };
        let size = self.nodes.get(target).map_or(Size::ONE, |node| node.size);
        self.add(Shape::Alias(target), at, false, size, 0)
    }

    /// An alias that stands for nothing: told, and null from here on.
    fn no_alias(
        &mut self,
        reason: &'static str,
        what: String,
        cure: &str,
        at: Range<usize>,
    ) -> Result<(), Stop> {
        report(&mut self.errors, error(reason, what, cure, at.clone()));
        self.add(Shape::Scalar(Value::Null), at, false, Size::ONE, 0)
    }

    fn scalar(&mut self, text: &str, quoted: bool, tag: Option<&Tag>, at: &Range<usize>) -> Value {
        let resolved = match tag.filter(|tag| tag.original() != "!") {
            None if quoted => Ok(Value::String(text.to_owned())),
            None => resolve::plain(text),
            Some(tag) => match yaml_tag(tag) {
                Some(name) => resolve::tagged(&name, text),
                None => Err(resolve::unknown_tag(&tag.original())),
            },
        };
        resolved.unwrap_or_else(|unreadable| {
            report(&mut self.errors, unreadable.at(at.clone()));
            Value::String(text.to_owned())
        })
    }

    fn begin(&mut self, mapping: bool, anchor: usize, tag: Option<&Tag>, at: &Range<usize>) {
        if let Some(tag) = tag.filter(|tag| tag.original() != "!") {
            let wanted = if mapping { "map" } else { "seq" };
            if yaml_tag(tag).as_deref() != Some(wanted) {
                let unreadable = resolve::unknown_tag(&tag.original());
                report(&mut self.errors, unreadable.at(at.clone()));
            }
        }
        self.open.push(Open {
            mapping,
            children: Vec::new(),
            anchor,
            start: at.start,
            size: Size::ONE,
        });
    }

    fn end(&mut self, at: &Range<usize>) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let shape = if open.mapping {
            Shape::Mapping(open.children)
        } else {
            Shape::Sequence(open.children)
        };
        let span = open.start..at.end.max(open.start);
        self.add(shape, span, false, open.size, open.anchor)
    }

    fn add(
        &mut self,
        shape: Shape,
        span: Range<usize>,
        merges: bool,
        size: Size,
        anchor: usize,
    ) -> Result<(), Stop> {
        if size.nodes > MAX_NODES || size.bytes > MAX_TEXT_BYTES {
            return Err(Stop::Document(too_many(span)));
        }
        if size.depth > MAX_DEPTH {
            return Err(Stop::Document(too_deep(span)));
        }
        let index = self.nodes.len();
        self.nodes.push(Node {
            shape,
            span,
            merges,
            size,
        });
        if anchor != 0 {
            self.anchors.insert(anchor, index);
        }
        match self.open.last_mut() {
            Some(parent) => {
                parent.children.push(index);
                parent.size.hold(size);
            }
            None => self.root = Some(index),
        }
        Ok(())
    }
}

// === impl Size ===

impl Size {
    const ONE: Self = Self {
        nodes: 1,
        bytes: 0,
        depth: 1,
    };

    fn hold(&mut self, child: Self) {
        self.nodes = self.nodes.saturating_add(child.nodes);
        self.bytes = self.bytes.saturating_add(child.bytes);
        self.depth = self.depth.max(child.depth.saturating_add(1));
    }
}

// === impl Unreadable ===

impl Unreadable {
    fn at(self, span: Range<usize>) -> YamlError {
        error(self.reason, self.what, self.cure, span)
    }
}

fn yaml_tag(tag: &Tag) -> Option<String> {
    tag.suffix_in_namespace("tag:yaml.org,2002:")
        .map(std::borrow::Cow::into_owned)
}
