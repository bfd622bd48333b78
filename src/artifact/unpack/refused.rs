//! Why an archive is not unpacked, and what is left out of one that is.

use std::fmt;
use std::io;

use super::name::BadName;

/// What a served tree cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// A character or block device.
    Device,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// What the archive calls something else.
    Other,
}

impl Special {
    /// Its name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Other => "entry of an unknown kind",
        }
    }
}

/// Why an archive is refused. Nothing of it is to be used then.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// An entry has a name that nothing may have.
    #[error("`{entry}`: {why}")]
    Name {
        /// The name, shortened.
        entry: String,
        /// What is wrong with it.
        why: BadName,
    },
    /// Two entries go to one place: which one is meant, only the packer knows.
    #[error("two entries go to `{entry}`: pick one of them")]
    Duplicate {
        /// The place.
        entry: String,
    },
    /// A file is where a folder has to be, or the other way round.
    #[error("`{entry}` is both a file and a folder")]
    Conflict {
        /// The place.
        entry: String,
    },
    /// An entry lies behind a link.
    #[error("`{entry}` lies behind the link `{link}`")]
    ThroughLink {
        /// The entry.
        entry: String,
        /// The link.
        link: String,
    },
    /// A link leads out of the archive.
    #[error("the link `{entry}` leads out of the archive, to `{target}`")]
    LinkLeadsOut {
        /// The link.
        entry: String,
        /// Where it leads.
        target: String,
    },
    /// A link leads to nothing, or in a circle.
    #[error("the link `{entry}` leads to nothing: `{target}`")]
    DeadLink {
        /// The link.
        entry: String,
        /// Where it leads.
        target: String,
    },
    /// A device or the like was asked for.
    #[error("`{entry}` is a {}: pick a file", kind.as_str())]
    Special {
        /// The entry.
        entry: String,
        /// What it is.
        kind: Special,
    },
    /// More entries than allowed.
    #[error("the archive has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// Names longer than allowed, all together.
    #[error("the names in the archive take more than {limit} bytes")]
    TooManyNames {
        /// The limit in bytes.
        limit: u64,
    },
    /// More content than allowed.
    #[error("the content is more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A file larger than allowed.
    #[error("`{entry}` is larger than {limit} bytes")]
    FileTooLarge {
        /// The file.
        entry: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A bomb.
    #[error("the content is more than {limit} times as large as the archive")]
    Ratio {
        /// The limit.
        limit: u64,
    },
    /// The decompressor asks for more memory than allowed.
    #[error("unpacking needs more than {limit} bytes of memory: pack it with a smaller window")]
    Memory {
        /// The limit in bytes.
        limit: u64,
    },
    /// What was asked for is not there.
    #[error("`{wanted}` is not in the archive{}", near_names(near, note))]
    Missing {
        /// The pattern as written.
        wanted: String,
        /// Names that come near, the nearest first.
        near: Vec<String>,
        /// What is known about the archive beside; may be empty.
        note: &'static str,
    },
    /// Nothing was unpacked at all.
    #[error("nothing of the archive is left to serve")]
    Empty,
    /// The file is something else.
    #[error("not {format}: {looks}")]
    WrongFormat {
        /// What was expected.
        format: &'static str,
        /// What it looks like.
        looks: &'static str,
    },
    /// The archive is truncated or damaged.
    #[error("the archive is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The archive uses what is not supported.
    #[error("`{entry}`: {what} is not supported")]
    Unsupported {
        /// The entry.
        entry: String,
        /// What it uses.
        what: &'static str,
    },
    /// The archive could not be read.
    #[error("cannot read the archive: {0}")]
    Read(io::Error),
    /// The tree could not be written: the disk is full, read-only or broken.
    #[error("cannot write `{path}`: {error}")]
    Write {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

impl Refused {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Name { why, .. } => why.as_str(),
            Self::Duplicate { .. } => "duplicate-name",
            Self::Conflict { .. } => "file-and-folder",
            Self::ThroughLink { .. } => "entry-behind-link",
            Self::LinkLeadsOut { .. } => "link-leads-out",
            Self::DeadLink { .. } => "dead-link",
            Self::Special { .. } => "special-file",
            Self::TooManyEntries { .. } => "too-many-entries",
            Self::TooManyNames { .. } => "too-many-names",
            Self::TooLarge { .. } => "too-large",
            Self::FileTooLarge { .. } => "file-too-large",
            Self::Ratio { .. } => "ratio",
            Self::Memory { .. } => "decompressor-memory",
            Self::Missing { .. } => "entry-missing",
            Self::Empty => "empty",
            Self::WrongFormat { .. } => "wrong-format",
            Self::Damaged { .. } => "damaged",
            Self::Unsupported { .. } => "unsupported",
            Self::Read(_) => "read-failed",
            Self::Write { .. } => "write-failed",
        }
    }

    /// Whether another try may go better with the same archive: only what our
    /// own host did can change.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Write { .. })
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

fn near_names(near: &[String], note: &str) -> String {
    let mut text = match near {
        [] => String::new(),
        [one] => format!(": did you mean `{one}`?"),
        many => format!(": near it are `{}`", many.join("`, `")),
    };
    if !note.is_empty() {
        text.push_str("; ");
        text.push_str(note);
    }
    text
}

/// Why one entry was left out of a tree that is otherwise good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftOut {
    /// Its name cannot be served.
    Name(BadName),
    /// It is a device or the like.
    Special(Special),
    /// A link out of the archive.
    LinkLeadsOut,
    /// A link to nothing, or in a circle.
    DeadLink,
    /// A link to a folder that is not unpacked itself.
    FolderElsewhere,
}

impl LeftOut {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name(why) => why.as_str(),
            Self::Special(_) => "special-file",
            Self::LinkLeadsOut => "link-leads-out",
            Self::DeadLink => "dead-link",
            Self::FolderElsewhere => "link-to-folder-elsewhere",
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
