//! The boot of a machine as a sequence of stages.
//!
//! Shells report what they saw as [`BootEvent`]s; `observe` (core) folds them
//! into boots. Performs no I/O.

mod event;
mod observe;

pub use self::event::{BootEvent, Fact, NextStep, Purpose, Transfer};
pub use self::observe::{
    Boot, BootResult, KEPT_BOOTS, Known, MAX_MACHINES, Note, STALL_AFTER_MILLIS, Stage,
    StageRecord, Timeline,
};
