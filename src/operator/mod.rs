//! A cluster as the source: watches the custom resources, and tells the
//! cluster what became of them.
//!
//! Shell, but for `objects`, which is values and pure functions.

mod cluster;
mod disk;
mod objects;
pub mod rbac;
mod source;
mod start;
pub mod status;
pub(crate) mod watch;

pub use self::cluster::{Cluster, ClusterArgs};
pub use self::disk::Disk;
pub use self::objects::{Change, Info, Objects, Resource};
pub use self::source::{Setup, Shared, Source, World};
pub use self::start::{Parts, start};
pub use self::watch::{QUEUE, Reason, Seen, Trouble, Watches, resource, run as watch_kind};
