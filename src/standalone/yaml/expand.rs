//! The graph to a tree: aliases and merge keys written out.
//!
//! Recursive; `build` has made sure that the result is small and shallow.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::build::{Node, Shape};
use super::mistake::{error, report};
use super::{Children, Document, SpanNode, YamlError, resolve, shown};

/// The document whose root is `root`. What is wrong with it is added to
/// `errors`; the document is intact where nothing was and is.
pub(super) fn expand(nodes: &[Node], root: usize, errors: &mut Vec<YamlError>) -> Document {
    let mut expander = Expander { nodes, errors };
    let (value, root) = expander.value(root);
    Document {
        value,
        root,
        intact: expander.errors.is_empty(),
    }
}

struct Expander<'a> {
    nodes: &'a [Node],
    errors: &'a mut Vec<YamlError>,
}

/// A mapping in the making.
#[derive(Default)]
struct Fields {
    values: Map<String, Value>,
    spans: BTreeMap<String, SpanNode>,
    /// Names that stand in the mapping itself; merged ones yield to them.
    own: BTreeMap<String, usize>,
}

impl Expander<'_> {
    fn value(&mut self, index: usize) -> (Value, SpanNode) {
        let nodes = self.nodes;
        let Some(node) = nodes.get(index) else {
            return (Value::Null, leaf(0..0));
        };
        match &node.shape {
            Shape::Scalar(value) => (value.clone(), leaf(node.span.clone())),
            Shape::Sequence(items) => {
                let (values, spans) = items.iter().map(|item| self.value(*item)).unzip();
                let mut here = leaf(node.span.clone());
                here.children = Children::Items(spans);
                (Value::Array(values), here)
            }
            Shape::Mapping(children) => {
                let fields = self.mapping(children);
                let mut here = leaf(node.span.clone());
                here.children = Children::Fields(fields.spans);
                (Value::Object(fields.values), here)
            }
            Shape::Alias(target) => {
                let (value, mut here) = self.value(*target);
                // The alias is what stands here; what is inside it keeps the
                // place where it was written.
                here.value = node.span.clone();
                (value, here)
            }
        }
    }

    fn mapping(&mut self, children: &[usize]) -> Fields {
        let nodes = self.nodes;
        let mut fields = Fields::default();
        for pair in children.chunks_exact(2) {
            let &[key, value] = pair else { continue };
            let Some(key_node) = nodes.get(key) else {
                continue;
            };
            if key_node.merges {
                self.merge(value, &mut fields);
                continue;
            }
            let Some(name) = self.key(key) else { continue };
            if let Some(first) = fields.own.get(&name).and_then(|first| nodes.get(*first)) {
                let mut twice = error(
                    "DuplicateKey",
                    format!("the key `{}` stands here twice", shown(&name)),
                    "remove one of the two",
                    key_node.span.clone(),
                );
                twice
                    .related
                    .push((first.span.clone(), "first here".to_owned()));
                report(self.errors, twice);
                continue;
            }
            let (value, mut spans) = self.value(value);
            spans.key = Some(key_node.span.clone());
            fields.own.insert(name.clone(), key);
            fields.values.insert(name.clone(), value);
            fields.spans.insert(name, spans);
        }
        fields
    }

    fn key(&mut self, index: usize) -> Option<String> {
        let nodes = self.nodes;
        let node = nodes.get(self.target(index))?;
        let name = match &node.shape {
            Shape::Scalar(value) => resolve::key(value),
            Shape::Sequence(_) | Shape::Mapping(_) | Shape::Alias(_) => None,
        };
        if name.is_none() {
            let span = nodes.get(index).map_or(0..0, |node| node.span.clone());
            report(
                self.errors,
                error(
                    "BadKey",
                    "a key must be text, not empty and not a collection",
                    "quote it",
                    span,
                ),
            );
        }
        name
    }

    /// `<<: value`: adds the fields of one mapping, or of several in a
    /// sequence, the earlier ones winning. go-yaml v2 lets a later `<<` win
    /// over the mapping's own keys, against the specification of merge keys
    /// and go-yaml v3; here the mapping's own keys always win.
    fn merge(&mut self, value: usize, fields: &mut Fields) {
        let nodes = self.nodes;
        let sources = match nodes.get(self.target(value)).map(|node| &node.shape) {
            Some(Shape::Sequence(items)) => items.clone(),
            _ => vec![value],
        };
        for source in sources {
            let target = self.target(source);
            if !matches!(
                nodes.get(target).map(|node| &node.shape),
                Some(Shape::Mapping(_))
            ) {
                let span = nodes.get(source).map_or(0..0, |node| node.span.clone());
                report(
                    self.errors,
                    error(
                        "BadMerge",
                        "`<<` merges mappings, and this is none",
                        "quote the key if two angle brackets are meant",
                        span,
                    ),
                );
                continue;
            }
            if let (Value::Object(values), spans) = self.value(target)
                && let Children::Fields(mut spans) = spans.children
            {
                for (name, value) in values {
                    if !fields.values.contains_key(&name)
                        && let Some(span) = spans.remove(&name)
                    {
                        fields.values.insert(name.clone(), value);
                        fields.spans.insert(name, span);
                    }
                }
            }
        }
    }

    /// The node that `index` stands for, aliases followed. Aliases point
    /// backwards, so this ends.
    fn target(&self, mut index: usize) -> usize {
        while let Some(Shape::Alias(target)) = self.nodes.get(index).map(|node| &node.shape) {
            index = *target;
        }
        index
    }
}

const fn leaf(value: std::ops::Range<usize>) -> SpanNode {
    SpanNode {
        value,
        key: None,
        children: Children::None,
    }
}
