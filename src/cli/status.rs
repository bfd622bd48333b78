//! `reveille status`: what is up, what is wrong, and what to do.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::socket::SocketArgs;
use crate::clock::Millis;
use crate::status::{Loaded, Overview, age};

/// Say whether the service can serve boots, what is wrong and what to do.
/// Exit code 1 when it cannot.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// How to say it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A short summary for people
    #[default]
    Text,
    /// All there is, for programs
    Json,
}

impl StatusArgs {
    /// Asks and prints to `out`.
    ///
    /// # Errors
    /// The service cannot be asked.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let (overview, text) = self.socket.overview()?;
        match self.output {
            Output::Text => print(&overview, out)?,
            Output::Json => {
                let value: serde_json::Value = serde_json::from_str(&text)?;
                serde_json::to_writer_pretty(&mut *out, &value)?;
                writeln!(out)?;
            }
        }
        Ok(if overview.ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn print(overview: &Overview, out: &mut impl Write) -> std::io::Result<()> {
    let Overview { version, pid, .. } = overview;
    let up = age(Millis(0), Millis::from_secs(overview.uptime_seconds));
    let ready = if overview.ready { "ready" } else { "NOT READY" };
    writeln!(out, "reveille {version} is {ready}, up {up}, pid {pid}")?;
    for (name, words) in facts(overview) {
        writeln!(out, "  {name:<10} {words}")?;
    }
    let wrong = wrong(overview);
    if !wrong.is_empty() {
        writeln!(out, "\nwhat is wrong")?;
    }
    for words in wrong {
        writeln!(out, "  {words}")?;
    }
    Ok(())
}

/// What is so, line by line.
fn facts(overview: &Overview) -> Vec<(&'static str, String)> {
    let mut facts = vec![("manifests", manifests(overview))];
    if let Some(at) = overview.listening {
        let https = at.https.map(|https| format!(" HTTPS {https},"));
        let https = https.unwrap_or_default();
        let words = format!(
            "HTTP {},{https} TFTP {}, admin {}",
            at.http, at.tftp, at.admin
        );
        facts.push(("listening", words));
    }
    let (all, up) = (&overview.services, overview.services.iter());
    let up = up.filter(|service| service.up).count();
    facts.push(("services", format!("{up} of {} up", all.len())));
    let phases = overview.phases.iter();
    let phases: Vec<String> = phases
        .map(|(phase, number)| format!("{number} {}", phase.as_str()))
        .collect();
    if !phases.is_empty() {
        facts.push(("machines", phases.join(", ")));
    }
    facts.push(("boots", format!("{} going on", overview.booting)));
    if let Some(leases) = overview.leases {
        facts.push(("leases", format!("{leases} lent")));
    }
    let loaders = overview.loaders.iter();
    let loaders: Vec<String> = loaders
        .map(|row| {
            let own = if row.own { ", an own file" } else { "" };
            format!("{} for {}{own}", row.file, row.architecture)
        })
        .collect();
    if !loaders.is_empty() {
        facts.push(("loaders", loaders.join("; ")));
    }
    facts
}

fn manifests(overview: &Overview) -> String {
    let source = &overview.source;
    let paths = source.paths.iter().map(|path| path.display().to_string());
    let cluster = (source.kind != "folder").then(|| source.kind.clone());
    let paths: Vec<String> = cluster.into_iter().chain(paths).collect();
    let paths = paths.join(", ");
    match &overview.snapshot {
        None => format!("{paths}: not read yet"),
        Some(Loaded {
            generation,
            subnets,
            profiles,
            machines,
            ..
        }) => format!(
            "{paths}, generation {generation}: {}, {}, {}",
            count(*subnets, "Subnet"),
            count(*profiles, "BootProfile"),
            count(*machines, "Machine")
        ),
    }
}

/// What is wrong, each with its cure.
fn wrong(overview: &Overview) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut said = false;
    for service in &overview.services {
        if let Some(cause) = &service.cause {
            let words = format!("{}: {cause}", service.name);
            said |= overview.reason.as_ref() == Some(&words);
            wrong.push(words);
        }
    }
    if let Some(reason) = overview.reason.as_ref().filter(|_| !said) {
        wrong.insert(0, reason.clone());
    }
    if let Some(snapshot) = &overview.snapshot {
        if snapshot.subnets == 0 {
            wrong.push("no Subnet is served: DHCP answers nobody; add one".to_owned());
        }
        if snapshot.loaders.is_empty() {
            wrong.push(
                "no iPXE loader was found: machines get addresses but no first file; install the \
                 package `ipxe` or name a folder by --loaders"
                    .to_owned(),
            );
        }
        if snapshot.incomplete {
            wrong.push(
                "some manifests could not be read: machines that none of the others name are sent \
                 to their disks; mend the files"
                    .to_owned(),
            );
        }
    }
    wrong.extend(overview.problems.iter().map(|problem| {
        let what = if problem.error {
            "not served"
        } else {
            "warning"
        };
        format!("{what}: {}", problem.text)
    }));
    wrong
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
