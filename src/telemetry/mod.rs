//! Log lines: JSON for machines, short lines for people; and metrics. Shell.

mod line;
mod meter;
mod process;
mod seldom;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use self::line::Line;
pub use self::meter::{
    About, BYTES, Bounded, Described, FLAG, Meter, MetricKind, OTHER, SECONDS, about,
};
pub use self::process::register;
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
    let filter = parse(filter)?;
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

/// Parts of libraries that are not heard unless they are named.
const QUIET: &str = "kube_client=off,kube_runtime=off,hyper_util=warn,tower=warn";

/// A word alone is a level. The library takes others for the name of a part
/// and then logs nothing else: `--log verbose` would be silence.
fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let cure = "write a level (error, warn, info, debug, trace), or `info,reveille::dhcp=debug`";
    for word in filter.split(',').map(str::trim) {
        let is_part = word.contains(['=', '[']) || word.starts_with("reveille");
        anyhow::ensure!(
            // The library takes no word at all for `error`.
            is_part || !word.is_empty() && word.parse::<LevelFilter>().is_ok(),
            "log filter `{filter}`: `{word}` is no level; {cure}"
        );
    }
    // What the client of the API server says is said by us, once and in words;
    // whoever wants to hear it too names it.
    let filter = format!("{QUIET},{}", filter.replace(' ', ""));
    EnvFilter::try_new(&filter)
        .map_err(|error| anyhow::anyhow!("log filter `{filter}`: {error}; {cure}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_levels_and_parts_and_nothing_else() {
        for good in ["debug", "INFO", "off", "info, reveille::dhcp=debug"] {
            parse(good).unwrap();
        }
        for bad in ["", "verbose", "info,dhcp", "info,reveille::dhcp=loud"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
