//! The boot of a machine as a sequence of stages.
//!
//! Shells report what they saw as [`BootEvent`]s; `observe` (core) folds them
//! into boots. Performs no I/O.

mod event;

pub use self::event::{BootEvent, Fact, NextStep, Purpose, Transfer};
