//! The same of DHCPv6 (RFC 8415): messages read option by option, and made as
//! machines make them.

pub mod ask;
pub mod decode;
pub mod options;

pub use self::ask::Question6;
pub use self::decode::{Decoded6, Relay};
pub use self::options::Duid;
