//! Log lines: JSON for machines, short lines for people; and metrics. Shell.

mod levels;
mod line;
mod meter;
mod output;
mod process;
mod seldom;

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

pub use self::levels::{PARTS, with_changes};
use self::line::Line;
pub use self::meter::{
    About, BYTES, Bounded, Described, FLAG, Meter, MetricKind, OTHER, SECONDS, about,
};
pub use self::output::LogTarget;
use self::output::{DROPPED, Output, Writer};
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

/// The log of this process. There is one: so it is with the library.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    output: Output,
    /// Until its thread is started.
    writer: Mutex<Option<Writer>>,
    filter: reload::Handle<EnvFilter, Registry>,
    /// What is logged at the start, and now.
    levels: (String, Mutex<String>),
}

/// Starts logging to `target`; lines wait until [`write_lines`]. `filter` is a level or a list such as
/// `info,reveille::dhcp=debug`.
///
/// # Errors
/// A filter that does not parse, in words; a file that cannot be opened;
/// logging that was started before.
pub fn init(format: LogFormat, filter: &str, target: &LogTarget) -> anyhow::Result<()> {
    let parsed = levels::parse(filter)?;
    let terminal = target.is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let (output, writer) = Output::open(target.clone())
        .map_err(|error| anyhow::anyhow!("--log-to {target:?}: {error}"))?;
    let (layer, handle) = reload::Layer::new(parsed);
    let registry = tracing_subscriber::registry().with(layer);
    let lines = fmt::layer().with_writer(output.clone());
    let result = if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        let lines = lines.with_ansi(terminal).event_format(Line);
        registry.with(lines).try_init()
    };
    result.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    LOG.get_or_init(|| Log {
        output,
        writer: Mutex::new(Some(writer)),
        filter: handle,
        levels: (filter.to_owned(), Mutex::new(filter.to_owned())),
    });
    Ok(())
}

/// Has the log's file opened anew.
///
/// # Errors
/// It cannot be opened: lines go to the old one.
pub fn reopen() -> io::Result<()> {
    LOG.get().map_or(Ok(()), |log| log.output.reopen())
}

/// Starts the thread that writes the lines. Capabilities are a thread's own, so
/// it is to begin once the process has those that it keeps.
///
/// # Errors
/// There can be no thread.
pub fn write_lines() -> io::Result<()> {
    let writer = LOG.get().and_then(|log| {
        let mut writer = log.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.take()
    });
    writer.map_or(Ok(()), Writer::start)
}

/// Waits until what was said is written: for a second at most.
pub fn flush() {
    if let (Ok(()), Some(log)) = (write_lines(), LOG.get()) {
        log.output.flush();
    }
}

/// What is logged now.
#[must_use]
pub fn levels() -> String {
    LOG.get().map_or_else(String::new, |log| {
        let levels = log.levels.1.lock();
        levels.unwrap_or_else(PoisonError::into_inner).clone()
    })
}

/// Changes what is logged, by [`with_changes`]; without a change, back to what
/// it was at the start. What is logged then.
///
/// # Errors
/// A change that is none, in words.
pub fn set_levels(changes: Option<&str>) -> anyhow::Result<String> {
    let Some(log) = LOG.get() else {
        anyhow::bail!("this process has no log");
    };
    let mut levels = log.levels.1.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = match changes {
        Some(changes) => with_changes(&levels, changes)?,
        None => log.levels.0.clone(),
    };
    log.filter.reload(levels::parse(&fresh)?)?;
    levels.clone_from(&fresh);
    Ok(fresh)
}
