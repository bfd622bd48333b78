//! Reveille wakes bare metal: one program that gives machines without a disk
//! their address (DHCP), their first file (TFTP, HTTP) and their script, as a
//! few manifests say.
//!
//! Three facts shape the code.
//!
//! 1. **One table.** A source turns manifests into [`snapshot::Inputs`];
//!    [`snapshot::compile`] makes one immutable [`snapshot::Snapshot`] of them,
//!    and every answer on every port comes from that. One writer publishes
//!    snapshots; a request takes one and keeps it to its end.
//! 2. **A pure core.** `compile`, [`dhcp::decide`], [`lease::allocate`],
//!    [`tftp::resolve`], [`http::route`] and [`timeline::Timeline::observe`] do
//!    no I/O and know no clock: time and facts of the host come in as
//!    arguments. `tests/layering.rs` is the wall around them, and
//!    `tests/scenarios/` says in examples what they do.
//! 3. **Every silence has a name.** What is not answered, or is refused, is an
//!    enum; its `as_str()` is the log field, the metric label and the value in
//!    tests.
//!
//! In the order of the data:
//!
//! | part | what it is |
//! |---|---|
//! | [`api`] | the resources that people write |
//! | [`standalone`] | reads them from a folder, says what is wrong, watches |
//! | [`operator`] | reads them from a cluster, and tells the cluster what became of them |
//! | [`press`] | compiles what a source read, and publishes it |
//! | [`snapshot`] | compiles them into the table; whether a machine boots, and what |
//! | [`boot`] | the words: MAC addresses, architectures, clients |
//! | [`dhcp`], [`tftp`], [`http`] | the doors, each a core and a shell |
//! | [`tls`] | whose certificate the doors show |
//! | [`script`] | what iPXE is told |
//! | [`lease`] | who has which address, on disk before it is promised |
//! | [`loaders`] | the iPXE loaders, and how those of the image get onto the volume |
//! | [`artifact`] | what boots machines: fetched once, verified, kept, served by generation |
//! | [`files`] | the files that boot machines, confined to their roots |
//! | [`governor`] | so many large transfers at a time on a link, the others in a fair queue |
//! | [`discover`] | unknown machines that become Machines and wait for approval |
//! | [`events`], [`timeline`] | what the doors saw, folded into boots |
//! | `traces` (feature `otlp`) | boots as OpenTelemetry traces |
//! | [`status`] | how things are, as tables for people |
//! | [`explain`] | why a machine gets what it gets, by the functions of the wire |
//! | [`packets`] | DHCP packets for people: read, kept per machine, captured |
//! | [`probe`] | a client that asks as machines do |
//! | [`supervisor`], [`app`] | services: bound first, restarted, drained |
//! | [`cli`], [`config`], [`telemetry`], [`privileges`], [`net`], [`memory`] | the process and its host |

pub mod api;
pub mod app;
pub mod artifact;
pub mod boot;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dhcp;
pub mod discover;
pub mod events;
pub mod explain;
pub mod files;
pub mod governor;
pub mod http;
pub mod lease;
pub mod loaders;
pub mod memory;
pub mod net;
pub mod operator;
pub mod packets;
pub mod press;
pub mod privileges;
pub mod probe;
pub mod script;
pub mod snapshot;
pub mod standalone;
pub mod status;
pub mod supervisor;
pub mod telemetry;
pub mod tftp;
pub mod timeline;
pub mod tls;
#[cfg(feature = "otlp")]
pub mod traces;
