//! Log lines: JSON for machines, short lines for people. Shell.

mod line;
mod seldom;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use self::line::Line;
pub use self::seldom::Seldom;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `text` on a terminal, `json` otherwise.
    #[default]
    Auto,
    /// One short line an event; boots read as a story.
    Text,
    /// One JSON object an event.
    Json,
}

/// Starts logging to standard error. `filter` is a level or a list such as
/// `info,reveille::dhcp=debug`.
///
/// # Errors
/// A filter that does not parse, in words; logging that was started before.
pub fn init(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        anyhow::anyhow!(
            "log filter `{filter}`: {error}; write a level (`debug`) or `info,reveille::dhcp=debug`"
        )
    })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(terminal).event_format(Line).try_init()
    };
    result.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
