//! What the test targets share that run the real program behind walls: `tests/lab`, `tests/cluster`.

pub(crate) mod assets;
pub(crate) mod card;
pub(crate) mod client;
pub(crate) mod dhcp;
pub(crate) mod disk;
pub(crate) mod firmware;
pub(crate) mod foreign;
pub(crate) mod ipxe;
pub(crate) mod machine;
pub(crate) mod ns;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod router;
pub(crate) mod server;
pub(crate) mod setup;
pub(crate) mod wait;
pub(crate) mod web;
