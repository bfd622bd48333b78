//! How things are, for people: the tables of `reveille get`, the summary of
//! `reveille status`, and what a machine's phase is.
//!
//! `age`, `phase`, `rows`, `fold` and `overview` are core: values and pure
//! functions, the same for the admin doors and for the status of objects in a
//! cluster. `board` and `problems` are the shell that gathers the facts.

mod age;
mod artifacts;
mod board;
mod fold;
mod overview;
mod phase;
mod problems;
mod rows;

pub use self::age::{age, span};
pub use self::artifacts::artifacts;
pub use self::board::{Board, Table};
pub use self::fold::{Facts, addresses, machines, profiles, subnets};
pub use self::overview::{Listening, Loaded, Overview, Service, Source};
pub use self::phase::phase;
pub use self::problems::{ProblemLine, Problems};
pub use self::rows::{ArtifactRow, MachineRow, ProfileRow, SubnetRow};
