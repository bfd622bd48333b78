//! `reveille loaders`: the first file of each architecture, and where it is from.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::socket::SocketArgs;
use super::table;
use crate::status::LoaderRow;

/// Show the loader of each architecture: the file, its digest, where it is from
/// and whether it runs autoexec.ipxe.
#[derive(Args, Debug)]
pub struct LoadersArgs {
    /// How to show them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Columns for people
    #[default]
    Table,
    /// All there is, for programs
    Json,
}

impl LoadersArgs {
    /// Asks and prints to `out`. Exit code 1 where there is none.
    ///
    /// # Errors
    /// The service cannot be asked.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let (overview, _) = self.socket.overview()?;
        match self.output {
            Output::Json => {
                serde_json::to_writer_pretty(&mut *out, &overview.loaders)?;
                writeln!(out)?;
            }
            Output::Table => print(&overview.loaders, out)?,
        }
        Ok(if overview.loaders.is_empty() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn print(rows: &[LoaderRow], out: &mut impl Write) -> std::io::Result<()> {
    let head = ["ARCHITECTURE", "FILE", "SIZE", "FROM", "AUTOEXEC", "SHA256"];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let own = if row.own { ", an own file" } else { "" };
            vec![
                row.architecture.clone(),
                row.file.clone(),
                row.bytes.to_string(),
                format!("{}{own}", row.from),
                if row.autoexec { "yes" } else { "no" }.to_owned(),
                row.sha256.clone(),
            ]
        })
        .collect();
    table::print(&head, &rows, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_an_administrator_s_own() {
        let row = LoaderRow {
            architecture: "x86_64-uefi".to_owned(),
            file: "ipxe.efi".to_owned(),
            bytes: 996_864,
            sha256: "abc".to_owned(),
            from: "the artifact tree".to_owned(),
            own: true,
            autoexec: true,
        };
        let mut out = Vec::new();
        print(&[row], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line =
            "x86_64-uefi   ipxe.efi  996864  the artifact tree, an own file  yes       abc\n";
        assert!(text.ends_with(line), "{text}");
    }
}
