//! Problems as people and programs read them.

use std::ops::Range;

use annotate_snippets::{
    AnnotationKind, Element, Group, Level, Origin, Padding, Renderer, Snippet,
};
use serde_json::{Value, json};

use super::located::Located;
use super::source::{SourceFile, Spot};
use crate::api::Severity;

/// Longest line that is left to the renderer, in bytes; it shows what fits the
/// terminal. Of a longer one only the part around the mistake is shown.
const LONGEST_LINE: usize = 16 * 1024;
/// How much of a long line is shown before and after the mistake, in bytes.
const AROUND: usize = 60;

/// `problem` with the text that it is about, in the style of a compiler.
#[must_use]
pub fn render(problem: &Located, files: &[SourceFile], colour: bool) -> String {
    let level = match problem.severity {
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let title = level.primary_title(problem.title()).id(problem.reason);
    let mut elements: Vec<Element<'_>> = Vec::new();
    match &problem.spot {
        Some(spot) => {
            let mut marks = vec![Mark::new(spot, None, files)];
            let notes = problem.related.iter();
            marks.extend(notes.map(|(spot, note)| Mark::new(spot, Some(note.as_str()), files)));
            let marks: Vec<Mark<'_>> = marks.into_iter().flatten().collect();
            show(&marks, &mut elements);
        }
        None => elements.push(Origin::path(problem.path.display().to_string()).into()),
    }
    if !problem.cure.is_empty() {
        let noted = matches!(elements.last(), Some(Element::Message(_)));
        if problem.spot.is_some() && !noted {
            elements.push(Padding.into());
        }
        elements.push(Level::HELP.message(problem.cure.as_str()).into());
    }
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let report: &[Group<'_>] = &[title.elements(elements)];
    format!("{}\n", renderer.render(report))
}

/// All `problems` as one JSON array.
#[must_use]
pub fn to_json(problems: &[Located], files: &[SourceFile]) -> Value {
    let one = |problem: &Located| {
        let mut entry = json!({
            "severity": match problem.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            "reason": problem.reason,
            "object": problem.object.as_ref().map(|object| json!({
                "kind": object.kind.as_str(),
                "namespace": object.namespace,
                "name": object.name,
            })),
            "pointer": problem.pointer,
            "file": problem.path.display().to_string(),
        });
        let related = problem.related.iter();
        let related: Vec<Value> = related
            .map(|(spot, note)| {
                let mut entry = json!({"message": note});
                place(&mut entry, spot, files);
                entry
            })
            .collect();
        if let Some(spot) = &problem.spot {
            place(&mut entry, spot, files);
        }
        if let Value::Object(fields) = &mut entry {
            fields.insert("message".to_owned(), json!(problem.what));
            fields.insert("cure".to_owned(), json!(problem.cure));
            fields.insert("related".to_owned(), Value::Array(related));
        }
        entry
    };
    problems.iter().map(one).collect()
}

/// Adds file, line and column to an entry.
fn place(entry: &mut Value, spot: &Spot, files: &[SourceFile]) {
    let (Some(file), Value::Object(fields)) = (files.get(spot.file), entry) else {
        return;
    };
    let (start, end) = (file.position(spot.start), file.position(spot.end));
    fields.insert("file".to_owned(), json!(file.path.display().to_string()));
    for (name, value) in [
        ("line", start.line),
        ("column", start.column),
        ("endLine", end.line),
        ("endColumn", end.column),
    ] {
        fields.insert(name.to_owned(), json!(value));
    }
}

/// One line of a file with a part of it marked.
struct Mark<'a> {
    file: &'a SourceFile,
    note: Option<&'a str>,
    line: usize,
    column: usize,
    /// The bytes that are shown: the line, or a part of a long one.
    shown: Range<usize>,
    /// The bytes that are marked, within those shown.
    marked: Range<usize>,
    cut: bool,
}

impl<'a> Mark<'a> {
    /// The first line of `spot`: what runs over many lines is known by its
    /// first.
    fn new(spot: &Spot, note: Option<&'a str>, files: &'a [SourceFile]) -> Option<Self> {
        let file = files.get(spot.file)?;
        let position = file.position(spot.start);
        let line = file.line(position.line);
        let start = spot.start.clamp(line.start, line.end);
        let end = spot.end.clamp(start, line.end);
        let cut = line.len() > LONGEST_LINE;
        let (shown, end) = if cut {
            let end = boundary(&file.text, end.min(start + AROUND));
            let from = boundary(&file.text, start.saturating_sub(AROUND).max(line.start));
            let to = boundary(&file.text, (end + AROUND).min(line.end));
            (from..to, end)
        } else {
            (line, end)
        };
        Some(Self {
            file,
            note,
            line: position.line,
            column: position.column,
            shown,
            marked: start..end,
            cut,
        })
    }
}

/// Shows the marks: those of one file together where their lines are short
/// and near, each of the others by itself.
fn show<'a>(marks: &[Mark<'a>], elements: &mut Vec<Element<'a>>) {
    /// Most bytes between two marks that are shown as one piece; the lines
    /// between them are folded.
    const NEAR: usize = 64 * 1024;
    let Some(first) = marks.first() else { return };
    let together = |mark: &Mark<'_>| {
        let apart = mark.shown.start.abs_diff(first.shown.start);
        !mark.cut && !first.cut && apart < NEAR && std::ptr::eq(mark.file, first.file)
    };
    let near: Vec<&Mark<'a>> = marks.iter().filter(|mark| together(mark)).collect();
    if near.is_empty() {
        alone(first, AnnotationKind::Primary, elements);
    } else {
        let start = near.iter().map(|mark| mark.shown.start).min();
        let end = near.iter().map(|mark| mark.shown.end).max();
        let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
        let line = near.iter().map(|mark| mark.line).min().unwrap_or(1);
        let mut snippet = Snippet::source(first.file.text.get(start..end).unwrap_or_default())
            .line_start(line)
            .path(first.file.path.display().to_string());
        for (index, mark) in near.iter().enumerate() {
            let kind = if index == 0 {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            let span = mark.marked.start - start..mark.marked.end - start;
            snippet = snippet.annotation(kind.span(span).label(mark.note));
        }
        elements.push(snippet.into());
    }
    for mark in marks.iter().skip(1).filter(|mark| !together(mark)) {
        alone(mark, AnnotationKind::Context, elements);
    }
}

fn alone<'a>(mark: &Mark<'a>, kind: AnnotationKind, elements: &mut Vec<Element<'a>>) {
    let path = mark.file.path.display().to_string();
    let text = mark.file.text.get(mark.shown.clone()).unwrap_or_default();
    if mark.cut {
        // The renderer would count columns from the cut: so no snippet.
        let origin = Origin::path(path).line(mark.line).char_column(mark.column);
        elements.push(origin.into());
        elements.push(Padding.into());
        let near = match mark.note {
            Some(note) => format!("{note}: …{}…", one_line(text)),
            None => format!("near …{}…", one_line(text)),
        };
        elements.push(Level::NOTE.message(near).into());
        return;
    }
    let span = mark.marked.start - mark.shown.start..mark.marked.end - mark.shown.start;
    let snippet = Snippet::source(text)
        .line_start(mark.line)
        .path(path)
        .annotation(kind.span(span).label(mark.note));
    elements.push(snippet.into());
}

/// A part of a line without what a terminal would obey.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// The nearest start of a character at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}
