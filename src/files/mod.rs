//! The files that boot machines: the artifact tree, further roots, loaders.
//!
//! `path` is core: names are normalised and confined before anything opens
//! them. `roots` is the one place that opens files for strangers; `names` lists
//! folders, `cached` reads what needs no disk. `draft` makes the files of
//! strangers, `whole` those of our own. `notice` tells changes from looks.

mod cached;
mod draft;
mod names;
mod notice;
pub mod path;
pub mod roots;
mod whole;

pub use self::cached::read_cached;
pub use self::draft::{Draft, bytes_below};
pub use self::notice::is_change;
pub use self::path::{ArtifactPath, BadPath};
pub use self::roots::{OpenedFile, Origin, Roots};
pub use self::whole::{write_whole, write_whole_with};
