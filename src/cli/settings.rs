//! `reveille settings`: the settings of the service, for what makes options of
//! them (`nix/settings.json`).

use std::any::TypeId;
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, ArgAction, Args, CommandFactory as _};
use serde_json::{Map, Value, json};

use super::Cli;

/// Prints the flags of `serve` and `operator` as one JSON object: what each
/// takes, its default and what it is for.
#[derive(Clone, Debug, Args)]
pub struct SettingsArgs {}

/// The subcommands that serve.
const SERVING: [&str; 2] = ["serve", "operator"];

impl SettingsArgs {
    /// Prints them.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let mut cli = Cli::command();
        cli.build();
        let mut all = Map::new();
        for name in SERVING {
            let command = cli
                .find_subcommand(name)
                .with_context(|| format!("there is no subcommand {name}"))?;
            let flags = command.get_arguments().filter_map(setting);
            all.insert(name.to_owned(), Value::Object(flags.collect()));
        }
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Name and description of a flag; `None` for `--help` and what has no flag.
fn setting(arg: &Arg) -> Option<(String, Value)> {
    let flag = arg.get_long()?;
    if matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpLong) {
        return None;
    }
    let help = arg.get_long_help().or_else(|| arg.get_help())?;
    let mut about = json!({
        "type": type_of(arg),
        "description": help.to_string(),
    });
    let fields = about.as_object_mut()?;
    if let Some(env) = arg.get_env() {
        fields.insert("env".to_owned(), json!(env.to_string_lossy()));
    }
    let values: Vec<_> = arg.get_possible_values();
    if type_of(arg) == "enum" {
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        fields.insert("values".to_owned(), json!(names));
    }
    let many = matches!(arg.get_action(), ArgAction::Append);
    if many {
        fields.insert("many".to_owned(), json!(true));
    }
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    match defaults.as_slice() {
        [] => {}
        all if many => drop(fields.insert("default".to_owned(), json!(all))),
        [one, ..] => drop(fields.insert("default".to_owned(), json!(one))),
    }
    Some((flag.to_owned(), about))
}

/// What a flag takes.
fn type_of(arg: &Arg) -> &'static str {
    let id = arg.get_value_parser().type_id();
    let is = |other: TypeId| id == other;
    let numbers = [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ];
    if !arg.get_action().takes_values() {
        "bool"
    } else if !arg.get_possible_values().is_empty() {
        "enum"
    } else if numbers.into_iter().any(is) {
        "number"
    } else if is(TypeId::of::<PathBuf>()) {
        "path"
    } else if is(TypeId::of::<SocketAddrV4>()) || is(TypeId::of::<SocketAddr>()) {
        "address"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_each_flag_takes() {
        let mut out = Vec::new();
        SettingsArgs {}.run(&mut out).unwrap();
        let all: Value = serde_json::from_slice(&out).unwrap();
        for (flag, wanted) in [
            ("state", json!("path")),
            ("http", json!("address")),
            ("no-listing", json!("bool")),
            ("discovered-max", json!("number")),
            ("log-format", json!("enum")),
            ("root", json!("text")),
        ] {
            assert_eq!(all["serve"][flag]["type"], wanted, "{flag}");
            assert_eq!(all["operator"][flag], all["serve"][flag]);
        }
        assert_eq!(all["serve"]["loaders"]["default"], json!(["/usr/lib/ipxe"]));
        assert_eq!(all["serve"]["log-format"]["values"][0], json!("auto"));
        assert!(all["serve"].get("help").is_none());
        assert_eq!(all["operator"]["replicas"]["type"], json!("number"));
    }
}
