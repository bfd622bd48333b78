//! What strangers' bytes are driven through: the pure part of each door, as its shell does it, over one
//! small world. A law that does not hold is a panic.
//!
//! Each target takes any bytes and names what came of them. tests/fuzz has them mutated by the million,
//! and tests/fuzz_seeds.rs replays what is kept.

mod dhcp4;
mod dhcp6;
mod http;
mod tftp;
mod world;

pub(crate) use self::dhcp4::dhcp4;
pub(crate) use self::dhcp6::dhcp6;
pub(crate) use self::http::http;
pub(crate) use self::tftp::tftp;

/// A target.
pub(crate) type Target = fn(&[u8]) -> &'static str;

/// All targets, by the names of their folders of seeds.
pub(crate) const ALL: [(&str, Target); 4] = [
    ("dhcp4", dhcp4),
    ("dhcp6", dhcp6),
    ("tftp", tftp),
    ("http", http),
];
