//! A problem with the place in a file that it is about.

use std::fmt;
use std::path::PathBuf;

use super::source::{SourceFile, Spot};
use crate::api::{ObjectRef, Severity};

/// One mistake in the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// What it costs.
    pub severity: Severity,
    /// Its stable name in CamelCase.
    pub reason: &'static str,
    /// The object it is in, where it is in one of ours.
    pub object: Option<ObjectRef>,
    /// JSON pointer into the object; empty where it is about all of it.
    pub pointer: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it; may be empty.
    pub cure: String,
    /// The file or folder it is about.
    pub path: PathBuf,
    /// The place in the file, where the file could be read.
    pub spot: Option<Spot>,
    /// Further places, each with a note.
    pub related: Vec<(Spot, String)>,
}

impl Located {
    /// An error about a path as such.
    pub(super) fn path(path: PathBuf, reason: &'static str, what: String, cure: &str) -> Self {
        Self {
            severity: Severity::Error,
            reason,
            object: None,
            pointer: String::new(),
            what,
            cure: cure.to_owned(),
            path,
            spot: None,
            related: Vec::new(),
        }
    }

    /// Whether it costs its object.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// What is wrong, beginning with the object it is in.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.object {
            Some(object) => format!("{object}: {}", self.what),
            None => self.what.clone(),
        }
    }

    /// One line for a log: `lab.yaml:3:5: Subnet default/lab: …; cure`.
    #[must_use]
    pub fn line(&self, files: &[SourceFile]) -> String {
        let place = self.spot.as_ref().and_then(|spot| {
            let position = files.get(spot.file)?.position(spot.start);
            Some(format!(":{}:{}", position.line, position.column))
        });
        format!(
            "{}{}: {self}",
            self.path.display(),
            place.unwrap_or_default()
        )
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title())?;
        if self.cure.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.cure)
        }
    }
}
