//! What can be wrong with a text as YAML, in words.

use std::ops::Range;

use granit_parser::{ErrorKind, ScanError};

use super::{MAX_DEPTH, MAX_DOCUMENTS, MAX_ERRORS, MAX_NODES, MAX_TEXT_BYTES, YamlError};

/// Adds a mistake, up to the most that are told about one file.
pub(super) fn report(errors: &mut Vec<YamlError>, error: YamlError) {
    if errors.len() < MAX_ERRORS {
        errors.push(error);
    }
}

pub(super) fn error(
    reason: &'static str,
    what: impl Into<String>,
    cure: impl Into<String>,
    span: Range<usize>,
) -> YamlError {
    YamlError {
        reason,
        what: what.into(),
        cure: cure.into(),
        span,
        related: Vec::new(),
    }
}

pub(super) fn syntax(scan: &ScanError, text: &str) -> YamlError {
    let start = scan.marker().byte_offset().unwrap_or(0).min(text.len());
    let width = text
        .get(start..)
        .and_then(|rest| rest.chars().next())
        .map_or(0, char::len_utf8);
    let span = start..start + width;
    if matches!(scan.kind(), ErrorKind::RecursionLimitExceeded) {
        return too_deep(span);
    }
    let kind = scan.kind();
    let cure = if matches!(
        kind,
        ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation
    ) {
        "indent with spaces"
    } else if matches!(kind, ErrorKind::UnexpectedCharacter { .. }) {
        "quote the text"
    } else {
        ""
    };
    error("Syntax", format!("not YAML: {}", scan.info()), cure, span)
}

pub(super) fn too_deep(span: Range<usize>) -> YamlError {
    error(
        "TooDeep",
        format!("nested deeper than {MAX_DEPTH} levels"),
        "write it flatter",
        span,
    )
}

pub(super) fn too_many(span: Range<usize>) -> YamlError {
    error(
        "TooManyValues",
        format!(
            "more than {MAX_NODES} values or {} MiB of text, aliases expanded",
            MAX_TEXT_BYTES >> 20
        ),
        "split the file, or use fewer aliases",
        span,
    )
}

pub(super) fn give_up(documents: usize, end: usize) -> YamlError {
    error(
        "TooManyMistakes",
        format!("the rest of the file is not read after {documents} documents"),
        format!("at most {MAX_DOCUMENTS} documents and {MAX_ERRORS} mistakes are read of one file"),
        end..end,
    )
}
