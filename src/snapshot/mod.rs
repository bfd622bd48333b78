//! The one table that every answer comes from.
//!
//! `compile` turns the manifests into an immutable [`Snapshot`]; the servers
//! read it and decide nothing themselves. Core, except `handle`, which is how
//! the one writer hands snapshots to the readers.

mod artifacts;
mod compile;
mod entries;
mod handle;
mod identity;
mod inputs;
pub(crate) mod menu;
pub(crate) mod names;
mod plan;
mod select;
pub(crate) mod suggest;
mod template;
mod validate;
mod world;
mod world6;

pub use self::compile::{Compiled, Settings, compile};
pub use self::entries::{
    ArtifactEntry, DefaultProfile, HttpsDoor, MachineEntry, ObjectName, ProfileEntry, Selection,
    Snapshot, SubnetEntry, Unserved,
};
pub use self::handle::{Publisher, Reader, channel};
pub use self::identity::{Acquaintances, Identity, KnownBy};
pub use self::inputs::{Inputs, Withheld, WithheldNames};
pub use self::menu::{Choice, MENU_NAME, NoEntry, Pick, Picked, Target, menu_of};
pub use self::plan::{LoaderChoice, LocalReason, NoLoader, Plan, Rule, Verdict};
pub use self::select::{Candidate, Labels};
pub use self::validate::{validate_artifact, validate_machine, validate_profile, validate_subnet};
pub use self::world::check_world;
pub(crate) use self::world::costs_nothing;
