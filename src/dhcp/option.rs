//! Option codes (RFC 2132, 3011, 3046, 3397, 3442, 4388, 4578, 4702,
//! 5859; iPXE).

/// Subnet mask.
pub const SUBNET_MASK: u8 = 1;
/// Routers.
pub const ROUTERS: u8 = 3;
/// Name servers.
pub const DNS_SERVERS: u8 = 6;
/// Host name.
pub const HOST_NAME: u8 = 12;
/// The machine's domain.
pub const DOMAIN_NAME: u8 = 15;
/// Interface MTU.
pub const MTU: u8 = 26;
/// Broadcast address.
pub const BROADCAST: u8 = 28;
/// Routes to hosts and to whole networks of a class.
pub const STATIC_ROUTES: u8 = 33;
/// Time servers.
pub const NTP_SERVERS: u8 = 42;
/// Vendor options; PXE's own.
pub const VENDOR_OPTIONS: u8 = 43;
/// Requested address.
pub const REQUESTED_ADDRESS: u8 = 50;
/// Lease time in seconds.
pub const LEASE_TIME: u8 = 51;
/// Which of `file` and `sname` hold options.
pub const OVERLOAD: u8 = 52;
/// Message type.
pub const MESSAGE_TYPE: u8 = 53;
/// Server identifier.
pub const SERVER_ID: u8 = 54;
/// Parameter request list.
pub const PARAMETER_LIST: u8 = 55;
/// Text for a person, in a NAK.
pub const MESSAGE: u8 = 56;
/// Largest message that the client takes.
pub const MAX_SIZE: u8 = 57;
/// T1 in seconds.
pub const RENEWAL_TIME: u8 = 58;
/// T2 in seconds.
pub const REBINDING_TIME: u8 = 59;
/// Vendor class: `PXEClient:…`, `HTTPClient:…`.
pub const VENDOR_CLASS: u8 = 60;
/// Client identifier.
pub const CLIENT_ID: u8 = 61;
/// TFTP server name.
pub const TFTP_SERVER: u8 = 66;
/// Boot file name.
pub const BOOT_FILE: u8 = 67;
/// User class: `iPXE`.
pub const USER_CLASS: u8 = 77;
/// The client's full name, and who tells DNS (RFC 4702).
pub const FQDN: u8 = 81;
/// Relay agent information.
pub const RELAY_INFO: u8 = 82;
/// Seconds since the client last spoke of its lease (RFC 4388).
pub const LAST_TRANSACTION: u8 = 91;
/// All addresses of a client (RFC 4388).
pub const ASSOCIATED_IP: u8 = 92;
/// Architecture, a list of 16-bit values.
pub const ARCHITECTURE: u8 = 93;
/// Network interface: a type byte and a version (RFC 4578).
pub const NETWORK_INTERFACE: u8 = 94;
/// Machine identifier: a type byte and a GUID.
pub const MACHINE_ID: u8 = 97;
/// The subnet that a client is to be served from (RFC 3011).
pub const SUBNET_SELECTION: u8 = 118;
/// Domains to search (RFC 3397).
pub const DOMAIN_SEARCH: u8 = 119;
/// Routes to other networks (RFC 3442).
pub const ROUTES: u8 = 121;
/// TFTP servers by address (RFC 5859).
pub const TFTP_SERVERS: u8 = 150;
/// iPXE's encapsulated options.
pub const IPXE: u8 = 175;

/// What old Windows asks for in place of 121; the same bytes.
pub const ROUTES_OF_WINDOWS: u8 = 249;

/// iPXE: do not wait for a ProxyDHCP server.
pub const IPXE_NO_PXEDHCP: u8 = 176;
/// iPXE says with this that it speaks HTTP (`DHCP_EB_FEATURE_HTTP`).
pub const IPXE_HTTP: u8 = 19;
/// iPXE says with this that it speaks HTTPS (`DHCP_EB_FEATURE_HTTPS`).
pub const IPXE_HTTPS: u8 = 20;
/// iPXE: the SHA-256 of each certificate that it shall trust (`trust`). It reads
/// that once, as it starts, from the DHCP packet of whoever loaded it.
pub const IPXE_TRUST: u8 = 90;
