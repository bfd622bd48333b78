//! The log line that a person reads.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Stages of boots: the message says it all, the fields are for machines.
const STORY: &str = "reveille::boot";

/// `21:17:03 WARN  message  field=value …`, in UTC.
#[derive(Debug)]
pub(super) struct Line;

/// Collects an event's message and its other fields.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        let time = jiff::Timestamp::from_millisecond(
            i64::try_from(crate::clock::now().0).unwrap_or_default(),
        )
        .unwrap_or_default();
        let metadata = event.metadata();
        write!(writer, "{} ", time.strftime("%H:%M:%S"))?;
        let (colour, name) = match *metadata.level() {
            Level::ERROR => ("31", "ERROR "),
            Level::WARN => ("33", "WARN  "),
            Level::INFO => ("32", ""),
            Level::DEBUG => ("34", "DEBUG "),
            Level::TRACE => ("35", "TRACE "),
        };
        match (name, writer.has_ansi_escapes()) {
            ("", _) => {}
            (name, true) => write!(writer, "\x1b[{colour}m{name}\x1b[0m")?,
            (name, false) => writer.write_str(name)?,
        }
        writer.write_str(&words.message)?;
        if metadata.target() != STORY && !words.fields.is_empty() {
            if writer.has_ansi_escapes() {
                write!(writer, "\x1b[2m{}\x1b[0m", words.fields)?;
            } else {
                writer.write_str(&words.fields)?;
            }
        }
        writeln!(writer)
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            // Names and paths come from strangers: a line stays a line.
            let value = value.escape_debug();
            self.fields.push_str(&format!("  {}={value}", field.name()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields
                .push_str(&format!("  {}={value:?}", field.name()));
        }
    }
}
