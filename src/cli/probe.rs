//! `reveille probe`: asks a server what machines ask it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::boot::MacAddress;
use crate::probe::{Target, run};

/// Ask a server what machines ask it: is it ready, one file by HTTP, the same
/// by TFTP, and a machine's script. Exit code 1 when a step fails.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// The server's address or name.
    #[arg(value_name = "SERVER")]
    server: String,

    /// The machine whose script is asked for.
    #[arg(long, value_name = "MAC")]
    mac: Option<MacAddress>,

    /// The file to fetch. Default: a loader that the server has.
    #[arg(long, value_name = "PATH")]
    file: Option<String>,

    /// The port of HTTP for machines.
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    http_port: u16,

    /// The port of TFTP.
    #[arg(long, value_name = "PORT", default_value_t = 69)]
    tftp_port: u16,

    /// The admin port.
    #[arg(long, value_name = "PORT", default_value_t = 9167)]
    admin_port: u16,

    /// The address or name of the admin port, where it is another.
    #[arg(long, value_name = "SERVER")]
    admin_host: Option<String>,

    /// How long each step may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,

    /// How to say it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line a step
    #[default]
    Text,
    /// All there is, for programs
    Json,
}

impl ProbeArgs {
    /// Asks and prints to `out`.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let target = Target {
            server: self.server.clone(),
            admin: self.admin_host.clone(),
            admin_port: self.admin_port,
            http_port: self.http_port,
            tftp_port: self.tftp_port,
            file: self.file.clone(),
            mac: self.mac,
            patience: Duration::from_secs(self.timeout),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime does not start")?;
        let report = runtime.block_on(run(&target));
        match self.output {
            Output::Text => {
                for step in &report.steps {
                    writeln!(out, "{step}")?;
                }
            }
            Output::Json => {
                serde_json::to_writer_pretty(&mut *out, &report)?;
                writeln!(out)?;
            }
        }
        Ok(if report.is_good() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
