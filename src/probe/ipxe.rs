//! What an iPXE script loads, read without an iPXE. Core.
//!
//! Limit: only what scripts of boot servers use is understood: `set`, `iseq`
//! and `isset` with `&&` and `||`, the commands that load, and those that end.
//! What waits for a person ends the reading.

use std::collections::BTreeMap;

/// What a script loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loads {
    /// What is booted.
    Kernel,
    /// A file for it.
    Initrd,
    /// What goes on in the script's place.
    Chain,
    /// A drive.
    Drive,
}

/// How a script ends, as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With `boot`, or what boots by itself.
    Boots,
    /// Back to the firmware, which goes on to the disk.
    Exits,
    /// With another script or program.
    Chains,
    /// A person must choose.
    Waits,
    /// It has no more lines.
    Ends,
}

/// What was read of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// What it loads, in its order, as it is written: maybe relative.
    pub(super) loads: Vec<(Loads, String)>,
    /// How it ends.
    pub(super) end: End,
    /// What it says on the screen.
    pub(super) says: Vec<String>,
}

/// Reads a script as an iPXE with these settings would run it.
pub(super) fn read(text: &str, settings: &BTreeMap<String, String>) -> Reading {
    let mut reader = Reader {
        settings: settings.clone(),
        reading: Reading {
            loads: Vec::new(),
            end: End::Ends,
            says: Vec::new(),
        },
    };
    for line in text.lines() {
        let line = line.trim();
        // Labels are where failures go, once nothing has failed.
        if line.is_empty() || line.starts_with('#') || line.starts_with(':') {
            continue;
        }
        if let Some(end) = reader.line(line) {
            reader.reading.end = end;
            break;
        }
    }
    reader.reading
}

struct Reader {
    settings: BTreeMap<String, String>,
    reading: Reading,
}

impl Reader {
    /// Runs a line: commands joined by `&&` (where the last went well) and `||`
    /// (where it did not).
    fn line(&mut self, line: &str) -> Option<End> {
        let mut words = line.split_whitespace().peekable();
        let mut good = true;
        let mut run = true;
        while words.peek().is_some() {
            let mut command = Vec::new();
            let mut joint = None;
            for word in words.by_ref() {
                if word == "&&" || word == "||" {
                    joint = Some(word);
                    break;
                }
                command.push(word);
            }
            if run && !command.is_empty() {
                match self.command(&command) {
                    Ok(went_well) => good = went_well,
                    Err(end) => return Some(end),
                }
            }
            run = match joint {
                Some("&&") => good,
                Some(_) => !good,
                None => true,
            };
        }
        None
    }

    /// Runs a command: whether it goes well, or how the script ends by it.
    fn command(&mut self, words: &[&str]) -> Result<bool, End> {
        let words: Vec<String> = words.iter().map(|word| self.expand(word)).collect();
        let (name, rest) = words.split_first().ok_or(End::Ends)?;
        match name.as_str() {
            "set" | "clear" => {
                if let Some((setting, value)) = rest.split_first() {
                    self.settings.insert(setting.clone(), value.join(" "));
                }
                Ok(true)
            }
            "iseq" => Ok(rest.first() == rest.get(1)),
            "isset" => Ok(rest.first().is_some_and(|value| !value.is_empty())),
            "echo" => {
                self.reading.says.push(rest.join(" "));
                Ok(true)
            }
            "kernel" | "imgselect" | "imgexec" | "imgload" => Ok(self.load(Loads::Kernel, rest)),
            "initrd" | "module" | "imgfetch" => Ok(self.load(Loads::Initrd, rest)),
            "chain" if self.load(Loads::Chain, rest) => Err(End::Chains),
            "sanboot" | "sanhook" if rest.iter().any(|word| word.contains("://")) => {
                self.load(Loads::Drive, rest);
                Err(End::Boots)
            }
            "sanboot" | "exit" | "poweroff" | "reboot" => Err(End::Exits),
            "boot" => Err(End::Boots),
            "goto" => Err(End::Ends),
            "menu" | "item" | "choose" | "prompt" | "login" | "shell" | "config" => Err(End::Waits),
            _ => Ok(true),
        }
    }

    /// Notes the first word that is no flag and no flag's value.
    fn load(&mut self, what: Loads, rest: &[String]) -> bool {
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--name" | "-n" | "--timeout" | "-t" | "--drive" | "-d" | "--filename" | "-f" => {
                    words.next();
                }
                flag if flag.starts_with('-') => {}
                target => {
                    self.reading.loads.push((what, target.to_owned()));
                    return true;
                }
            }
        }
        false
    }

    /// Puts settings in their places; one that is not known is empty.
    fn expand(&self, word: &str) -> String {
        let mut out = String::new();
        let mut rest = word;
        while let Some((before, behind)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, after)) = behind.split_once('}') else {
                out.push_str("${");
                rest = behind;
                continue;
            };
            let value = self.settings.get(name);
            out.push_str(value.map_or("", String::as_str));
            rest = after;
        }
        out + rest
    }
}

/// A target of a script at `base`, whole: relative to the script's folder.
pub(super) fn resolve(base: &str, target: &str) -> String {
    if target.contains("://") {
        return target.to_owned();
    }
    let path = base
        .split_once("://")
        .map_or(0, |(scheme, _)| scheme.len() + 3);
    let (head, tail) = base.split_at(path);
    let (host, folder) = tail.split_once('/').unwrap_or((tail, ""));
    match (target.strip_prefix('/'), folder.rsplit_once('/')) {
        (Some(rooted), _) => format!("{head}{host}/{rooted}"),
        (None, Some((folder, _))) => format!("{head}{host}/{folder}/{target}"),
        (None, None) => format!("{head}{host}/{target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> BTreeMap<String, String> {
        [("platform", "efi"), ("mac", "52:54:00:00:00:01")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    fn reading(text: &str) -> (Vec<String>, End) {
        let reading = read(text, &settings());
        let loads = reading.loads.iter();
        let loads = loads.map(|(what, target)| format!("{what:?} {target}"));
        (loads.collect(), reading.end)
    }

    #[test]
    fn our_own_script_is_read_to_its_boot() {
        let text = "#!ipxe
echo Reveille: node-7 boots debian
ifopen ||
imgfree
iseq ${platform} efi && set initrds initrd=i.gz || clear initrds
kernel --name linux http://192.0.2.1/linux console=ttyS0 ${initrds} || goto failed
initrd --name i.gz http://192.0.2.1/i.gz || goto failed
boot || goto failed
:failed
chain --replace http://192.0.2.1/boot.ipxe || goto failed
";
        let (loads, end) = reading(text);
        let want = [
            "Kernel http://192.0.2.1/linux",
            "Initrd http://192.0.2.1/i.gz",
        ];
        assert_eq!((loads, end), (want.map(str::to_owned).to_vec(), End::Boots));
        assert_eq!(
            read(text, &settings()).says,
            ["Reveille: node-7 boots debian"]
        );
    }

    #[test]
    fn conditions_choose_what_runs() {
        let (loads, end) = reading("iseq ${platform} pcbios && kernel bios || kernel efi\nboot");
        assert_eq!((loads, end), (vec!["Kernel efi".to_owned()], End::Boots));
        assert_eq!(
            reading("iseq ${platform} efi && exit 1 ||\nboot").1,
            End::Exits
        );
        assert_eq!(reading("isset ${nothing} && exit ||\nboot").1, End::Boots);
    }

    #[test]
    fn what_a_person_must_do_ends_it() {
        let (loads, end) = reading("menu Which\nitem a A\nchoose x && chain ${x}");
        assert_eq!((loads, end), (vec![], End::Waits));
        assert_eq!(
            reading("sanboot --no-describe --drive 0x80 || exit").1,
            End::Exits
        );
        assert_eq!(
            reading("sanboot http://a/b.iso").0,
            ["Drive http://a/b.iso"]
        );
        let (loads, end) = reading("chain -r x/${mac}.ipxe ||\nboot");
        assert_eq!(
            (loads, end),
            (
                vec!["Chain x/52:54:00:00:00:01.ipxe".to_owned()],
                End::Chains
            )
        );
    }

    #[test]
    fn targets_are_relative_to_the_script() {
        for (target, want) in [
            ("linux", "http://h:8/a/linux"),
            ("/linux", "http://h:8/linux"),
            ("tftp://x/y", "tftp://x/y"),
        ] {
            assert_eq!(resolve("http://h:8/a/boot.ipxe", target), want);
        }
        assert_eq!(resolve("tftp://h/boot.ipxe", "linux"), "tftp://h/linux");
        assert_eq!(resolve("http://h", "linux"), "http://h/linux");
    }

    #[test]
    fn any_text_is_read() {
        for text in [
            "${",
            "a ${b",
            "set",
            "|| &&",
            "chain",
            "kernel --name",
            "#!ipxe",
        ] {
            let _ = reading(text);
        }
    }
}
