//! How things are, for people, whoever asks: the status of objects in a
//! cluster and the tables of the command line. Core.

mod phase;

pub use self::phase::phase;
