//! `reveille foreign`: what to write into somebody else's DHCP server.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;

use super::socket::SocketArgs;
use crate::dhcp::foreign::{Foreign, Options};

/// Print what to write into another DHCP server, so that it tells machines
/// itself what to boot: for firmware that takes no notice of a proxy. The
/// loaders and the HTTP port are those of the running service.
#[derive(Args, Debug)]
pub struct ForeignArgs {
    /// Which server: kea, dnsmasq, isc, mikrotik, opnsense or unifi.
    #[arg(value_name = "WHICH")]
    which: Foreign,
    /// Our address, as machines reach it.
    #[arg(long, value_name = "ADDRESS")]
    server: Ipv4Addr,
    #[command(flatten)]
    socket: SocketArgs,
}

impl ForeignArgs {
    /// Asks the service and prints to `out`.
    ///
    /// # Errors
    /// The service cannot be asked, does not listen yet, or has no loader.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let (overview, _) = self.socket.overview()?;
        let rows = overview.loaders.into_iter();
        let loaders = rows
            .filter_map(|row| Some((row.architecture.parse().ok()?, row.file)))
            .collect();
        let http = overview.listening.map_or(80, |at| at.http.port());
        let options = Options {
            server: self.server,
            http_port: http,
            loaders: &loaders,
        };
        ensure!(
            !loaders.is_empty(),
            "there is no loader to name; `reveille loaders` says where they are looked for"
        );
        write!(out, "{}", self.which.settings(&options))?;
        Ok(ExitCode::SUCCESS)
    }
}
