//! `reveille explain --foreign`: what to write into somebody else's DHCP server.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;

use anyhow::{Context as _, ensure};

use super::socket::SocketArgs;
use crate::boot::Architecture;
use crate::dhcp::foreign::{Foreign, Options};
use crate::snapshot::Snapshot;

/// What of a service another server is to say.
pub(super) struct Ours {
    loaders: BTreeMap<Architecture, String>,
    http_port: u16,
}

// === impl Ours ===

impl Ours {
    /// Of what would be served.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            loaders: snapshot.loaders.clone(),
            http_port: snapshot.http_port,
        }
    }

    /// Of the running service.
    pub(super) fn running(socket: &SocketArgs) -> anyhow::Result<Self> {
        let (overview, _) = socket.overview()?;
        let rows = overview.loaders.into_iter();
        let loaders = rows.filter_map(|row| Some((row.architecture.parse().ok()?, row.file)));
        Ok(Self {
            loaders: loaders.collect(),
            http_port: overview.listening.map_or(80, |at| at.http.port()),
        })
    }

    /// Prints what to write into `which`, so that it sends machines to `server`.
    pub(super) fn print(
        &self,
        which: Foreign,
        server: Option<Ipv4Addr>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let server =
            server.context("name the address of ours that machines reach, by --server ADDRESS")?;
        ensure!(
            !self.loaders.is_empty(),
            "there is no loader to name; `reveille loaders` says where they are looked for"
        );
        let options = Options {
            server,
            http_port: self.http_port,
            loaders: &self.loaders,
        };
        write!(out, "{}", which.settings(&options))?;
        Ok(())
    }
}
