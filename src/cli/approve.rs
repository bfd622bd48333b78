//! `reveille approve`: accepts a machine that was discovered.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::socket::SocketArgs;
use crate::boot::MacAddress;

/// Approve a machine that was discovered: from now on it boots.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    /// Its MAC address.
    mac: MacAddress,
    #[command(flatten)]
    socket: SocketArgs,
}

impl ApproveArgs {
    /// Asks the service and prints what it did to `out`.
    ///
    /// # Errors
    /// The service cannot be asked, or refuses.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let target = format!("/machines/{}/approve", self.mac.hyphenated());
        writeln!(out, "{}", self.socket.post(&target)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
