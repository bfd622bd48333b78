//! iPXE, as far as our scripts use it: it fetches a script and does what it says, so that what a script
//! does after a failure is what the machine does.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::firmware::{Asker, Netboot, Settings};

/// What was in memory when the kernel started.
#[derive(Debug, Default)]
pub(crate) struct Booted {
    pub(crate) kernel: Vec<u8>,
    pub(crate) initrd: Vec<u8>,
    /// Whom the script came from.
    pub(crate) server: String,
}

/// What a line led to.
enum Next {
    Line,
    Label(String),
    Script(String, String),
    Boot,
}

struct Shell<'a> {
    netboot: &'a mut Netboot,
    settings: BTreeMap<String, String>,
    memory: Booted,
}

/// Loads the script that DHCP named and runs it. An error: it left, and the firmware goes on.
pub(crate) fn boot(netboot: &mut Netboot, settings: Settings) -> Result<Booted> {
    let mut shell = Shell {
        settings: BTreeMap::new(),
        netboot,
        memory: Booted::default(),
    };
    let mut url = settings.filename.clone();
    shell.learn(&settings);
    let mut script = text(shell.netboot, &url)?;
    loop {
        shell.memory.server = host(&url);
        match shell.run(&script)? {
            Some((from, next)) => (url, script) = (from, next),
            None => return Ok(shell.memory),
        }
    }
}

/// The script behind a URL.
fn text(netboot: &Netboot, url: &str) -> Result<String> {
    let text = String::from_utf8(netboot.http(url)?)?;
    anyhow::ensure!(text.starts_with("#!ipxe\n"), "{url} is no script");
    Ok(text)
}

fn host(url: &str) -> String {
    url.split('/').nth(2).unwrap_or_default().to_owned()
}

// === impl Shell ===

impl Shell<'_> {
    fn learn(&mut self, settings: &Settings) {
        let mac = self.netboot.mac().hyphenated();
        for (name, value) in [
            ("platform", "efi".to_owned()),
            ("netX/mac:hexhyp", mac),
            ("ip", settings.address.to_string()),
            ("filename", settings.filename.clone()),
        ] {
            self.settings.insert(name.to_owned(), value);
        }
    }

    /// Runs a script: `None` once the kernel runs, or the script that takes its place.
    fn run(&mut self, script: &str) -> Result<Option<(String, String)>> {
        let lines: Vec<&str> = script.lines().collect();
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            at += 1;
            match self.line(line)? {
                Next::Line => {}
                Next::Label(label) => {
                    let place = lines.iter().position(|line| *line == format!(":{label}"));
                    at = place.with_context(|| format!("no label {label}"))?;
                }
                Next::Script(url, text) => return Ok(Some((url, text))),
                Next::Boot => return Ok(None),
            }
        }
        bail!("the script came to its end")
    }

    /// Runs one line: commands between `||` and `&&`. An error ends the script.
    fn line(&mut self, line: &str) -> Result<Next> {
        if line.starts_with('#') || line.starts_with(':') {
            return Ok(Next::Line);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (mut outcome, mut runs) = (Ok(Next::Line), true);
        let mut rest = words.as_slice();
        loop {
            let end = rest.iter().position(|word| ["||", "&&"].contains(word));
            let (command, more) = rest.split_at(end.unwrap_or(rest.len()));
            if runs {
                outcome = self.command(command);
                if let Err(error) = &outcome {
                    self.netboot
                        .say(&format!("`{}`: {error:#}", command.join(" ")));
                } else if !matches!(outcome, Ok(Next::Line)) {
                    return outcome;
                }
            }
            let Some((operator, after)) = more.split_first() else {
                return outcome;
            };
            runs = outcome.is_ok() == (*operator == "&&");
            rest = after;
        }
    }

    fn command(&mut self, words: &[&str]) -> Result<Next> {
        let words: Vec<String> = words.iter().map(|word| self.expanded(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] | ["echo" | "ifopen" | "set" | "clear", ..] => {}
            ["imgfree"] => {
                self.memory.kernel.clear();
                self.memory.initrd.clear();
            }
            ["iseq", one, other] if one == other => {}
            ["isset", value] if !value.is_empty() => {}
            ["iseq" | "isset", ..] => bail!("no"),
            ["kernel", "--name", _, url, ..] => {
                self.netboot.say(&format!("loads {url}"));
                self.memory.kernel = self.netboot.http(url)?;
            }
            ["initrd", "--name", _, url] => self.memory.initrd = self.netboot.http(url)?,
            ["boot"] if !self.memory.kernel.is_empty() => return Ok(Next::Boot),
            ["sleep", seconds] => sleep(Duration::from_secs(seconds.parse()?)),
            ["chain", "--replace", url] => {
                return Ok(Next::Script((*url).to_owned(), text(self.netboot, url)?));
            }
            ["dhcp"] => {
                let settings = self.netboot.dhcp(Asker::Ipxe)?;
                self.learn(&settings);
            }
            ["goto", label] => return Ok(Next::Label((*label).to_owned())),
            _ => bail!(
                "our scripts say `{}`, which is not known here",
                words.join(" ")
            ),
        }
        Ok(Next::Line)
    }

    /// A word with the settings in it.
    fn expanded(&self, word: &str) -> String {
        let mut text = word.to_owned();
        for (name, value) in &self.settings {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        match text.find("${") {
            // Unknown settings are empty.
            Some(at) => text[..at].to_owned(),
            None => text,
        }
    }
}
