//! `reveille log-level`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::socket::SocketArgs;
use crate::telemetry::PARTS;

/// Shows what the running service logs, or changes it until its next start.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("Parts: {}", PARTS.join(", ")))]
pub struct LogLevel {
    /// Levels: `debug`, or for parts `dhcp=debug http=warn`.
    #[arg(value_name = "LEVEL|PART=LEVEL")]
    levels: Vec<String>,

    /// Back to what was logged at the start.
    #[arg(long, conflicts_with = "levels")]
    reset: bool,

    #[command(flatten)]
    socket: SocketArgs,
}

impl LogLevel {
    /// Prints what is logged then.
    ///
    /// # Errors
    /// The service cannot be asked, or a level is none.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let answer = if self.reset {
            self.socket.post("/log-level")?
        } else if self.levels.is_empty() {
            self.socket.get("/log-level")?
        } else {
            let levels = self.levels.join(",");
            let levels = utf8_percent_encode(&levels, NON_ALPHANUMERIC);
            self.socket.post(&format!("/log-level?set={levels}"))?
        };
        writeln!(out, "{answer}")?;
        Ok(ExitCode::SUCCESS)
    }
}
