//! Numbers of DHCPv6: options, messages and status codes.

/// Who asks, by its DUID (RFC 8415 section 21.2).
pub const CLIENT_ID: u16 = 1;
/// Who answers, by its DUID (section 21.3).
pub const SERVER_ID: u16 = 2;
/// Addresses, lent for a time (section 21.4).
pub const IA_NA: u16 = 3;
/// Temporary addresses (section 21.5).
pub const IA_TA: u16 = 4;
/// One address of these (section 21.6).
pub const IA_ADDRESS: u16 = 5;
/// The options that are asked for (section 21.7).
pub const REQUESTED: u16 = 6;
/// How much a server wants to be chosen (section 21.8).
pub const PREFERENCE: u16 = 7;
/// For how long the client has asked (section 21.9).
pub const ELAPSED: u16 = 8;
/// What a relay sends on (section 21.10).
pub const RELAY_MESSAGE: u16 = 9;
/// How something went (section 21.13).
pub const STATUS: u16 = 13;
/// Two messages in place of four (section 21.14).
pub const RAPID_COMMIT: u16 = 14;
/// What a client says that it is (section 21.15).
pub const USER_CLASS: u16 = 15;
/// What its vendor says that it is (section 21.16).
pub const VENDOR_CLASS: u16 = 16;
/// The port of a relay, in its words (section 21.18).
pub const INTERFACE_ID: u16 = 18;
/// Name servers (RFC 3646 section 3).
pub const DNS_SERVERS: u16 = 23;
/// Domains to search (RFC 3646 section 4).
pub const DOMAIN_SEARCH: u16 = 24;
/// Delegated prefixes (RFC 8415 section 21.21).
pub const IA_PD: u16 = 25;
/// The remote end of a relay's port, in its words (RFC 4649).
pub const REMOTE_ID: u16 = 37;
/// What to boot, as a URL (RFC 5970 section 3.1).
pub const BOOT_FILE_URL: u16 = 59;
/// Words for what is booted (RFC 5970 section 3.2).
pub const BOOT_FILE_PARAMETERS: u16 = 60;
/// The client's architectures (RFC 5970 section 3.3).
pub const ARCHITECTURE: u16 = 61;
/// The client's network interface (RFC 5970 section 3.4).
pub const NETWORK_INTERFACE: u16 = 62;
/// The client's link-layer address, as its relay saw it (RFC 6939).
pub const CLIENT_LINK_LAYER: u16 = 79;
/// The port that a relay asks from and wants its answer at (RFC 8357 section 4).
pub const RELAY_PORT: u16 = 135;

/// Relay-forward (RFC 8415 section 7.3).
pub const RELAY_FORWARD: u8 = 12;
/// Relay-reply.
pub const RELAY_REPLY: u8 = 13;

/// Intel's enterprise number, by which PXE and UEFI name their classes (UEFI
/// 24.7.3.3).
pub const INTEL: u32 = 343;
