//! One mistake in the manifests, said so that a person can cure it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A network that we serve.
    Subnet,
    /// What to boot.
    BootProfile,
    /// Who boots.
    Machine,
    /// Files that are fetched and kept.
    Artifact,
}

impl Kind {
    /// Every kind, in the order in which they are printed.
    pub const ALL: [Self; 4] = [
        Self::Subnet,
        Self::BootProfile,
        Self::Machine,
        Self::Artifact,
    ];

    /// The kind as it stands in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subnet => "Subnet",
            Self::BootProfile => "BootProfile",
            Self::Machine => "Machine",
            Self::Artifact => "Artifact",
        }
    }

    /// The kind that a manifest names, if it is one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of one object: kind, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `default` where a file names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// Names an object.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The name that `metadata` gives an object.
    #[must_use]
    pub fn of(kind: Kind, metadata: &ObjectMeta) -> Self {
        Self::new(
            kind,
            metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What a problem costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Served all the same, but hardly what was meant.
    Warning,
    /// The object (or the field's owner) is not served as it is written.
    Error,
}

/// A place in an object: the object and an RFC 6901 JSON pointer into it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The object.
    pub object: ObjectRef,
    /// JSON pointer to the value meant, such as `/spec/pools/0/start`; empty for the whole object.
    pub pointer: String,
}

impl Place {
    /// The field as people write it: `spec.pools[0].start`; empty for the
    /// whole object.
    #[must_use]
    pub fn field(&self) -> String {
        let mut field = String::new();
        for token in self.pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            if !field.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
                field += &format!("[{name}]");
            } else if name.contains(['.', '/']) {
                field += &format!("[{name:?}]");
            } else {
                if !field.is_empty() {
                    field.push('.');
                }
                field += &name;
            }
        }
        field
    }
}

/// One mistake: where, what is wrong, how to cure it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it costs.
    pub severity: Severity,
    /// A stable name in CamelCase, fit for a condition's reason: `DuplicateMac`.
    pub reason: &'static str,
    /// Where it is.
    pub place: Place,
    /// What is wrong: lower case, no trailing stop, names the value.
    pub what: String,
    /// What to do about it, an imperative sentence; empty where `what` says it all.
    pub cure: String,
    /// The other places that are part of it, each with a note (`first used here`).
    pub related: Vec<(Place, String)>,
}

impl Problem {
    /// An error at `pointer` of `object`.
    #[must_use]
    pub fn error(
        object: &ObjectRef,
        pointer: impl Into<String>,
        reason: &'static str,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            reason,
            place: Place {
                object: object.clone(),
                pointer: pointer.into(),
            },
            what: what.into(),
            cure: cure.into(),
            related: Vec::new(),
        }
    }

    /// Whether it costs its object.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The same as a warning: the object is served all the same.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Adds another place that is part of the problem.
    #[must_use]
    pub fn with(mut self, object: &ObjectRef, pointer: &str, note: &str) -> Self {
        self.related.push((
            Place {
                object: object.clone(),
                pointer: pointer.to_owned(),
            },
            note.to_owned(),
        ));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place.object)?;
        if !self.place.pointer.is_empty() {
            write!(f, " {}", self.place.field())?;
        }
        write!(f, ": {}", self.what)?;
        if self.cure.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.cure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fields_as_people_write_them() {
        let object = ObjectRef::new(Kind::Subnet, "default", "lab");
        for (pointer, want) in [
            ("", "Subnet default/lab: wrong; cure it"),
            (
                "/spec/pools/0/start",
                "Subnet default/lab spec.pools[0].start: wrong; cure it",
            ),
            (
                "/metadata/labels/a.b~1c",
                "Subnet default/lab metadata.labels[\"a.b/c\"]: wrong; cure it",
            ),
        ] {
            let problem = Problem::error(&object, pointer, "Wrong", "wrong", "cure it");
            assert_eq!(problem.to_string(), want);
        }
    }
}
