//! The boot of a machine as a sequence of stages.
//!
//! Shells report what they saw as [`BootEvent`]s; `observe` (core) folds them
//! into boots. Performs no I/O.

mod boot;
mod chronicle;
mod event;
mod keeper;
mod known;
mod late;
mod metrics;
mod observe;
mod progress;
mod recent;
mod store;
mod story;
mod word;

pub use self::boot::{
    Boot, BootId, BootResult, FIRST_STAGES, KEPT_TROUBLE, LAST_STAGES, ParseBootIdError, Stage,
    StageRecord, Trouble,
};
pub use self::chronicle::{Chronicle, FOLLOW_LINES, Heard, KEPT_LINES, StoryLine, Tail};
pub use self::event::{
    BootEvent, Fact, LONG_TRANSFER, NextStep, PhoneHome, PhoneState, Purpose, Release, Transfer,
};
pub use self::keeper::{BootList, Boots, Keeper};
pub use self::known::Known;
pub use self::metrics::BootMetrics;
pub use self::observe::Note;
pub use self::progress::{
    IN_FLIGHT_MILLIS, IPXE_SILENCE_MILLIS, Leaves, MENU_MILLIS, NO_PROGRESS_MILLIS, SILENCE_MILLIS,
};
pub use self::recent::{INTRODUCTION_SECS, Introductions, LOADER_MEMORY_SECS, RecentLoaders};
pub use self::store::{KEPT_BOOTS, MAX_MACHINES, MAX_MACS, MachineBoots, Timeline};
pub use self::word::{MAX_WORD, Word};
