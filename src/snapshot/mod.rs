//! The one table that every answer comes from.
//!
//! `compile` turns the manifests into an immutable [`Snapshot`]; the servers
//! read it and decide nothing themselves. Core, except `handle`, which is how
//! the one writer hands snapshots to the readers.

mod handle;
mod inputs;
pub(crate) mod names;
pub(crate) mod suggest;
mod template;
mod validate;
mod world;

pub use self::handle::{Publisher, Reader, channel};
pub use self::inputs::Inputs;
pub use self::validate::{validate_machine, validate_profile, validate_subnet};
pub use self::world::check_world;

/// Everything that is served, at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts snapshots up from 1; in every log span.
    pub generation: u64,
}
