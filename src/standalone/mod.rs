//! Manifests from a folder: read, checked, shown.
//!
//! Shell: opens files. Knows neither packets nor a cluster.

pub mod diagnostics;
mod discover;
mod folder;
mod keep;
mod located;
mod manifest;
mod roster;
pub mod schema;
mod source;
mod watch;
pub mod yaml;

pub use self::discover::Discoverer;
pub use self::folder::{MAX_FILES, MAX_FOLDER_DEPTH};
pub use self::located::Located;
pub use self::manifest::{
    Loaded, MAX_TOTAL_BYTES, MAX_TOTAL_NODES, read_paths, read_paths_in, read_text,
};
pub use self::roster::Roster;
pub use self::source::{Position, SourceFile, Spot};
pub use self::watch::{Folder, LOOK_EVERY, Read, Source};
