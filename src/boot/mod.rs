//! The words of network boot: addresses, architectures, firmware, clients.
//!
//! Plain data and the rules that belong to it. Performs no I/O.

mod arch;
mod client;
mod mac;
mod tag;
mod uuid;

pub use self::arch::{Architecture, FirmwareType, Transport};
pub use self::client::{Client, ClientKind};
pub use self::mac::{MacAddress, ParseMacError};
pub use self::tag::{MAX_TAG, PLACEHOLDERS, tag_key};
pub use self::uuid::{ParseUuidError, Uuid};
