//! What the resources will have one day and this version does not serve.
//!
//! Refused like any unknown field, but with a sentence that says so: a reader
//! of the plan should not search for a slip of the finger.

use crate::api::Kind;

/// One such field.
struct Planned {
    /// The kind; `None` for all.
    kind: Option<Kind>,
    /// Pointer to the field; `*` stands for an index.
    pointer: &'static str,
    /// What to do instead.
    cure: &'static str,
}

/// Kinds that are not served yet, and what to do instead.
const KINDS: &[(&str, &str)] = &[("DhcpLease", "remove it; Reveille keeps its own leases")];

const FIELDS: &[Planned] = &[field(
    Kind::Subnet,
    "/spec/interfaceSelector",
    "name the interface in `interface`",
)];

/// What to do instead of the field at `pointer`, if it is a planned one.
pub(super) fn field_cure(kind: Kind, pointer: &str) -> Option<&'static str> {
    FIELDS
        .iter()
        .find(|planned| {
            planned.kind.is_none_or(|of| of == kind) && matches_pointer(planned.pointer, pointer)
        })
        .map(|planned| planned.cure)
}

/// What to do instead of an object of the kind `kind`, if it is a planned one.
pub(super) fn kind_cure(kind: &str) -> Option<&'static str> {
    KINDS
        .iter()
        .find(|(planned, _)| *planned == kind)
        .map(|(_, cure)| *cure)
}

fn matches_pointer(pattern: &str, pointer: &str) -> bool {
    let mut tokens = pointer.split('/');
    pattern.split('/').all(|want| {
        tokens
            .next()
            .is_some_and(|token| want == "*" || want == token)
    }) && tokens.next().is_none()
}

const fn field(kind: Kind, pointer: &'static str, cure: &'static str) -> Planned {
    Planned {
        kind: Some(kind),
        pointer,
        cure,
    }
}
