//! What a scenario file holds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use serde::Deserialize;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The behaviour, in a sentence.
    pub(crate) title: String,
    /// Where it is written that it must be so: standard and section, firmware and version.
    pub(crate) proves: Vec<String>,
    pub(crate) world: World,
    pub(crate) steps: Vec<Step>,
}

/// What is there before the first step.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct World {
    /// YAML as a person writes it for the folder.
    pub(crate) manifests: String,
    /// Mistakes that `check` must find in them, by reason; the world is served
    /// all the same.
    #[serde(default)]
    pub(crate) mistakes: Vec<String>,
    /// The Subnet of the interface that packets come by.
    #[serde(default = "lab")]
    pub(crate) subnet: String,
    /// Our address there.
    #[serde(default = "server")]
    pub(crate) server: Ipv4Addr,
    /// Our IPv6 address there.
    #[serde(default = "server6")]
    pub(crate) server6: Ipv6Addr,
    /// Other addresses of ours.
    #[serde(default)]
    pub(crate) own: Vec<Ipv4Addr>,
    #[serde(default = "http_port")]
    pub(crate) http_port: u16,
    /// Whose certificate the HTTPS service shows; no such service where absent.
    pub(crate) https: Option<Signer>,
    /// Loader files by architecture; all that there are where none are named.
    pub(crate) loaders: Option<BTreeMap<String, String>>,
    /// What this replica may give of the pools; everything where absent.
    pub(crate) authority: Option<Standing>,
    /// Artifacts whose tries fail, by name (`-/DIGEST` for what a profile names by
    /// URL), with what the last one said.
    #[serde(default)]
    pub(crate) stuck: BTreeMap<String, String>,
    /// Whether the loaders are of the time before `autoexec.ipxe`.
    #[serde(default)]
    pub(crate) old_loaders: bool,
}

/// One of several replicas.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Standing {
    /// `holder`, `isolated` or `standby`.
    pub(crate) role: Role,
    pub(crate) replicas: u8,
    pub(crate) ordinal: u8,
    /// Seconds for which a holder has known that no other renews what it does
    /// not know of; not yet where absent.
    pub(crate) settled: Option<u64>,
    /// Seconds since an isolated one started without its table; it has one
    /// where absent.
    pub(crate) fresh: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Role {
    Sole,
    Holder,
    Isolated,
    Standby,
}

/// Something that comes in, and what must come of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Step {
    /// Seconds since the scenario began, such as `70s`; as before where absent.
    pub(crate) at: Option<String>,
    pub(crate) note: Option<String>,

    // What comes in: one of these.
    pub(crate) dhcp: Option<Ask>,
    pub(crate) dhcp6: Option<Ask6>,
    /// A recorded DHCP packet: hex bytes with `#` comments.
    pub(crate) raw: Option<String>,
    pub(crate) tftp: Option<Door>,
    pub(crate) http: Option<Door>,
    pub(crate) file: Option<FileAsk>,
    pub(crate) transfer: Option<TransferSeen>,
    pub(crate) calls: Option<Call>,
    /// Only time passes: the timeline is swept.
    pub(crate) sweep: bool,

    /// Who asks at the boot server's port (UDP 4011): address and port.
    pub(crate) boot_port: Option<SocketAddrV4>,
    /// Whether the machine was sent our loader a moment ago.
    pub(crate) loader_sent: bool,
    /// Where the packet came from, with its port; port 67 of the relay where
    /// absent.
    pub(crate) from: Option<SocketAddrV4>,
    /// From this step on, how this replica stands.
    pub(crate) authority: Option<Standing>,
    /// The address that must be probed before this offer leaves; checked where
    /// it stands, `none` for no probe.
    pub(crate) probes: Option<String>,
    /// From this step on, what was found of other servers: `looking`, `alone`,
    /// or the address of one.
    pub(crate) wire: Option<String>,
    /// The machine and the address of another server that are taken note of:
    /// `MAC IP`, or `none`; checked where it stands.
    pub(crate) neighbour: Option<String>,
    /// Whether a packet from an address was broadcast all the same.
    pub(crate) rebinding: bool,

    // What must come of it.
    pub(crate) reply: Option<ReplyWant>,
    /// What a DHCPv6 reply must say, thing by thing, and nothing else.
    pub(crate) reply6: Option<BTreeMap<String, String>>,
    /// Silence, and its name.
    pub(crate) ignored: Option<String>,
    pub(crate) sends: Option<Sends>,
    /// An error, and its name; `403 policy-local` for HTTP.
    pub(crate) refused: Option<String>,
    /// The whole lease table after the step: address to `state key`.
    pub(crate) leases: Option<BTreeMap<Ipv4Addr, String>>,
    /// The same of IPv6.
    pub(crate) leases6: Option<BTreeMap<Ipv6Addr, String>>,
    /// What the timeline tells, the latest boot last.
    pub(crate) boots: Option<Vec<String>>,
    /// What went wrong in the latest boot, the last thing last.
    pub(crate) trouble: Option<Vec<String>>,
}

/// A DHCP packet in human terms.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Ask {
    /// `discover`, `request`, …, or `bootp` for a packet without option 53.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) mac: Option<String>,
    /// Hardware address in hex where it is not Ethernet's; a `lease-query` needs
    /// neither.
    #[serde(default)]
    pub(crate) chaddr: Option<String>,
    #[serde(default = "one")]
    pub(crate) htype: u8,
    #[serde(default = "one")]
    pub(crate) op: u8,
    #[serde(default = "xid")]
    pub(crate) xid: u32,
    #[serde(default)]
    pub(crate) secs: u16,
    #[serde(default)]
    pub(crate) hops: u8,
    #[serde(default)]
    pub(crate) broadcast: bool,
    #[serde(default = "nobody")]
    pub(crate) ciaddr: Ipv4Addr,
    #[serde(default = "nobody")]
    pub(crate) giaddr: Ipv4Addr,
    #[serde(default)]
    pub(crate) options: Options,
    /// Options that stand in `file` (option 52 says so).
    #[serde(default)]
    pub(crate) in_file: Options,
    /// Options that stand in `sname`.
    #[serde(default)]
    pub(crate) in_sname: Options,
    /// Hex bytes after the options, before END.
    #[serde(default)]
    pub(crate) tail: String,
    /// Nothing stands where the cookie and the options are, as before RFC 1048.
    #[serde(default)]
    pub(crate) no_cookie: bool,
}

/// A DHCPv6 packet in human terms.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Ask6 {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Makes its DUID (DUID-LL) and its link-local address, where these are not
    /// written.
    pub(crate) mac: Option<String>,
    /// Its DUID in hex.
    pub(crate) duid: Option<String>,
    /// Where the client asks from.
    pub(crate) from: Option<Ipv6Addr>,
    /// Whether it was sent to us alone.
    pub(crate) unicast: bool,
    /// The server that it names: `ours`, or a DUID in hex.
    pub(crate) server: Option<String>,
    /// The number of its first association, less 1.
    pub(crate) before_iaid: u32,
    /// The addresses of each of its associations, which are numbered from 1.
    pub(crate) ia: Vec<Vec<Ipv6Addr>>,
    /// An association for temporary addresses.
    pub(crate) temporary: Option<u32>,
    /// An association for prefixes.
    pub(crate) prefix: Option<u32>,
    pub(crate) rapid: bool,
    pub(crate) user_class: Option<String>,
    pub(crate) vendor_class: Option<String>,
    pub(crate) architecture: Option<u16>,
    /// The options that it asks for.
    pub(crate) wants: Option<Vec<u16>>,
    /// Hex bytes behind its options.
    pub(crate) tail: String,
    /// The relays that it came through, the one that is nearest to us first.
    pub(crate) relays: Vec<Hop6>,
    /// Where the nearest one asks from.
    pub(crate) relay_from: Option<Ipv6Addr>,
}

/// A relay.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Hop6 {
    pub(crate) link: Ipv6Addr,
    pub(crate) peer: Ipv6Addr,
    pub(crate) interface_id: Option<String>,
    /// The number of the relay's maker, and the remote end in its words, in hex.
    pub(crate) remote_id: Option<String>,
    /// The client's address as it saw it.
    pub(crate) mac: Option<String>,
}

/// Options by name, or `option-N`; see `options.rs` for the names.
pub(crate) type Options = BTreeMap<String, Value>;

/// The value of an option. A text that starts with `hex:` stands for bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Number(u32),
    Text(String),
    List(Vec<Self>),
    /// `~`: in a reply, the option must not be there.
    Nothing(()),
}

/// A reply that must leave. What is not named must be zero or empty in the
/// packet, except options.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReplyWant {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// `broadcast`, `relay IP`, `client IP`, `asker IP:PORT` or `hardware IP MAC`.
    pub(crate) to: String,
    #[serde(default = "nobody")]
    pub(crate) ciaddr: Ipv4Addr,
    #[serde(default = "nobody")]
    pub(crate) yiaddr: Ipv4Addr,
    #[serde(default = "nobody")]
    pub(crate) siaddr: Ipv4Addr,
    #[serde(default)]
    pub(crate) sname: String,
    #[serde(default)]
    pub(crate) file: String,
    /// Whose lease it is, where a relay asked; the asker's own where absent.
    pub(crate) chaddr: Option<String>,
    /// These must be so; others may be there.
    #[serde(default)]
    pub(crate) options: Options,
    /// These must be so and no other may be there, but 53.
    pub(crate) all_options: Option<Options>,
    /// The largest size that the packet may have.
    pub(crate) at_most: Option<usize>,
}

/// A name asked for at a door that sees addresses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Door {
    pub(crate) from: IpAddr,
    /// The name or path; `hex:` for bytes that are no text.
    pub(crate) name: String,
    /// Whether the password was known, where one is asked for.
    #[serde(default)]
    pub(crate) password: bool,
}

/// A request for a version of a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FileAsk {
    pub(crate) name: String,
    /// An HTTP date.
    pub(crate) modified: String,
    pub(crate) length: u64,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// What is sent for a name.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Sends {
    /// A file of the tree; its path.
    pub(crate) file: Option<String>,
    /// What the file is for.
    pub(crate) purpose: Option<String>,
    /// A text, whole.
    pub(crate) text: Option<String>,
    /// Lines that the text must have, in this order.
    pub(crate) lines: Vec<String>,
    /// The answer to a request for a version: `206 bytes 0-9`, `304`.
    pub(crate) status: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
}

/// A transfer that a shell saw begin or end, or did not let begin.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TransferSeen {
    pub(crate) mac: String,
    pub(crate) purpose: String,
    #[serde(default = "file")]
    pub(crate) name: String,
    /// It begins now, and is long.
    #[serde(default)]
    pub(crate) begins: bool,
    /// It was refused, for this reason.
    pub(crate) refused: Option<String>,
    /// Bytes that there are; 1000 where absent.
    pub(crate) size: Option<u64>,
    /// Bytes that were sent, where that is not all.
    pub(crate) sent: Option<u64>,
    #[serde(default = "millis")]
    pub(crate) millis: u64,
    /// Why it ended too early.
    pub(crate) aborted: Option<String>,
}

/// The call of a system that was booted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Call {
    /// The machine in the path.
    pub(crate) mac: String,
    pub(crate) from: Option<Ipv4Addr>,
    /// Has the token of this boot, counted from 1; the machine's last where absent.
    pub(crate) boot: Option<usize>,
    /// Has this token.
    pub(crate) token: Option<String>,
    #[serde(default)]
    pub(crate) body: String,
}

fn file() -> String {
    "file".to_owned()
}

const fn millis() -> u64 {
    10
}

fn lab() -> String {
    "default/lab".to_owned()
}

const fn server() -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1)
}

const fn server6() -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x33, 0, 0, 0, 0, 1)
}

/// Whose certificate the HTTPS service shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Signer {
    /// One that an authority of our own signed, whose fingerprint is 32 times 11.
    Own,
    /// One that was given.
    Given,
}

const fn http_port() -> u16 {
    80
}

const fn one() -> u8 {
    1
}

const fn xid() -> u32 {
    0x1234_5678
}

const fn nobody() -> Ipv4Addr {
    Ipv4Addr::UNSPECIFIED
}
