//! The boot of a machine as a sequence of stages.
//!
//! Shells report what they saw as [`BootEvent`]s; `observe` (core) folds them
//! into boots. Performs no I/O.

mod chronicle;
mod event;
mod keeper;
mod observe;
mod recent;

pub use self::chronicle::{Chronicle, FOLLOW_LINES, Heard, KEPT_LINES, StoryLine, Tail};
pub use self::event::{BootEvent, Fact, NextStep, Purpose, Transfer};
pub use self::keeper::{BootMetrics, Boots, Keeper};
pub use self::observe::{
    Boot, BootResult, KEPT_BOOTS, Known, MAX_MACHINES, Note, STALL_AFTER_MILLIS, Stage,
    StageRecord, Timeline,
};
pub use self::recent::{LOADER_MEMORY_SECS, RecentLoaders};
