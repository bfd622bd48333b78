//! `reveille log`: the story of a machine, as it was and as it happens.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::socket::{STRANGE, SocketArgs};
use super::table::printable;
use crate::api::Lifetime;
use crate::clock::{self, Millis};
use crate::timeline::StoryLine;

/// Tell the story of a machine's boots: each stage with its time.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// The machine, by name or MAC address; all machines without it.
    machine: Option<String>,
    /// Go on with what happens from now.
    #[arg(long, short)]
    follow: bool,
    /// Only what happened since so long ago, such as 10m or 1h30m.
    #[arg(long, value_name = "TIME")]
    since: Option<Lifetime>,
    /// How to show it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for people, with times in UTC
    #[default]
    Text,
    /// A line of JSON each
    Json,
}

impl LogArgs {
    /// Asks and prints to `out`, each line as it comes.
    ///
    /// # Errors
    /// The service cannot be asked; there is no such machine.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let now = clock::now();
        let mut day = date(now);
        let mut lines = 0_u64;
        self.socket.lines(&self.target(now), &mut |line| {
            lines += 1;
            match self.output {
                Output::Json => writeln!(out, "{line}")?,
                Output::Text => print(line, &mut day, out)?,
            }
            // Whoever follows waits for it.
            Ok(out.flush()?)
        })?;
        if self.follow {
            writeln!(io::stderr(), "the service stopped")?;
        } else if lines == 0 {
            let whom = self.machine.as_deref().unwrap_or("any machine");
            let since = match self.since {
                Some(_) => "in that time",
                None => "since the service started",
            };
            writeln!(io::stderr(), "nothing was seen of {whom} {since}")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn target(&self, now: Millis) -> String {
        let mut target = format!("/log?follow={}", u8::from(self.follow));
        if let Some(machine) = &self.machine {
            let machine = utf8_percent_encode(machine, NON_ALPHANUMERIC);
            target.push_str(&format!("&machine={machine}"));
        }
        if let Some(since) = self.since {
            let span = Millis::from_secs(u64::from(since.secs()));
            target.push_str(&format!("&since={}", now.since(span)));
        }
        target
    }
}

/// Prints a line with its time; a date where the day is another than before.
fn print(line: &str, day: &mut String, out: &mut impl Write) -> anyhow::Result<()> {
    let value: Value = serde_json::from_str(line).context(STRANGE)?;
    if let Some(lost) = value.get("lost") {
        writeln!(
            out,
            "-- {lost} lines of all machines were lost: they were not read in time"
        )?;
        return Ok(());
    }
    let line: StoryLine = serde_json::from_value(value).context(STRANGE)?;
    let its_day = date(Millis(line.at));
    if its_day != *day {
        writeln!(out, "-- {its_day}")?;
        *day = its_day;
    }
    let time = at(Millis(line.at)).strftime("%H:%M:%S");
    writeln!(out, "{time} {}", printable(&line.text))?;
    Ok(())
}

fn date(millis: Millis) -> String {
    at(millis).strftime("%Y-%m-%d").to_string()
}

fn at(millis: Millis) -> Timestamp {
    let millis = i64::try_from(millis.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_day_where_it_changes_and_what_was_lost() {
        let line = |at: u64, text: &str| {
            format!(
                r#"{{"at":{at},"mac":"02:00:00:00:00:01","machine":"a","boot":null,"text":"{text}"}}"#
            )
        };
        let mut day = "2023-11-15".to_owned();
        let mut out = Vec::new();
        for line in [
            line(1_700_000_000_000, "first"),
            line(1_700_000_001_000, "second \\u001b[2J"),
            r#"{"lost":7}"#.to_owned(),
            line(1_700_010_000_000, "third"),
        ] {
            print(&line, &mut day, &mut out).unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "-- 2023-11-14\n22:13:20 first\n22:13:21 second \\u{1b}[2J\n\
             -- 7 lines of all machines were lost: they were not read in time\n\
             -- 2023-11-15\n01:00:00 third\n"
        );
    }
}
