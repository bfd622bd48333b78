//! DHCP packets for people: read option by option, kept per machine, written
//! to and read from captures, and made as machines make them. `v6` has DHCPv6's.
//!
//! All of it is core but [`ring`], which the engine fills and the admin doors
//! empty. Nothing here decides anything.

pub mod ask;
pub mod capture;
pub mod decode;
pub mod options;
pub mod ring;
pub mod v6;

pub use self::ask::{Question, Role};
pub use self::capture::Datagram;
pub use self::decode::{Decoded, Field, Packet, Shown};
pub use self::ring::{PacketLine, Ring, RingLimits, Sighted};
pub use self::v6::{Decoded6, Question6};
