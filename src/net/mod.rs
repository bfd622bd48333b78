//! What the host's network looks like: interfaces, and who holds a port. Shell.

mod interface;
mod links;
mod ports;

pub use self::interface::{
    HostHas, Link, Link6, LinkError, ethernet_address, find_link, find_link6, link_local,
};
pub use self::links::{Links, Links6};
pub use self::ports::{Holder, Table, bind_error, file_holders, holders, try_bind};
