//! `reveille completions`: what completes the words of this program in a shell.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// Prints the completions for a shell, made from the command line itself.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that reads them
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

impl CompletionsArgs {
    /// Prints them.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        // Whole first: the generator panics where it cannot write.
        let mut text = Vec::new();
        let mut command = Cli::command();
        clap_complete::generate(self.shell, &mut command, "reveille", &mut text);
        out.write_all(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a shell's own words: each subcommand and a flag of `serve` are known to each of them.
    #[test]
    fn every_shell_knows_every_subcommand() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            CompletionsArgs { shell }.run(&mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell}: {command}");
            }
            assert!(text.contains("admin-socket"), "{shell}");
        }
    }
}
