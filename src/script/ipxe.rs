//! iPXE scripts.
//!
//! They run on any iPXE since 2019: no `params`, no `--autofree`, and every
//! failure leads to a message and another try, never to a prompt.

use std::fmt::Write as _;

use super::dialect::words;
use super::source::{chain_script, efi_script, iso_script, own_script};
use super::{Context, Urls};
use crate::api::{LinuxSource, LocalBoot, Source};
use crate::boot::MacAddress;
use crate::timeline::Purpose;

/// Seconds between two tries of a machine that cannot go on. The whole script
/// is fetched anew each time, so that a cure reaches the machine that waits.
const RETRY_SECS: u32 = 5;

/// Words that end an iPXE command when they stand alone; they cannot be said
/// as kernel arguments.
const COMMAND_ENDS: [&str; 4] = ["||", "&&", ";", "#"];

/// The script that boots `source` on the machine with `mac`; `None` for what
/// needs no script. A template that fails becomes a script that says so on the
/// machine's screen and tries again.
#[must_use]
pub fn machine_script(
    source: Source<'_>,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
) -> Option<String> {
    let script = match source {
        Source::Linux(linux) => arguments(&linux.args, context)
            .map(|arguments| linux_script(linux, context, urls, mac, &arguments)),
        Source::Efi(efi) => arguments(&efi.args, context)
            .map(|arguments| efi_script(efi, context, urls, mac, &arguments)),
        Source::Iso(iso) => Ok(iso_script(iso, context, urls, mac)),
        Source::Chain(chain) => chain_script(chain, context, urls, mac),
        Source::Script(script) => own_script(script, context),
        Source::Menu(_) | Source::Local | Source::Loader => return None,
    };
    Some(script.unwrap_or_else(|reason| waiting(context, urls, mac, &reason)))
}

fn linux_script(
    linux: &LinuxSource,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
    arguments: &str,
) -> String {
    let kernel = urls.file(mac, Purpose::Kernel, &linux.kernel.path);
    let initrds: Vec<(String, String)> = linux
        .initrd
        .iter()
        .map(|initrd| {
            let name = initrd.name.clone();
            let name = name.unwrap_or_else(|| base_name(&initrd.path).to_owned());
            (name, urls.file(mac, Purpose::Initrd, &initrd.path))
        })
        .collect();
    // An EFI stub asks for its initrds by name; a BIOS kernel finds them in
    // memory and shows the argument to user space for nothing.
    let named: Vec<String> = initrds
        .iter()
        .map(|(name, _)| format!("initrd={name}"))
        .collect();

    let mut script = header(context);
    open(&mut script);
    line(&mut script, "imgfree");
    if !named.is_empty() {
        let named = named.join(" ");
        line(
            &mut script,
            &format!("iseq ${{platform}} efi && set initrds {named} || clear initrds"),
        );
    }
    let name = program_name(&linux.kernel.path);
    let arguments = [arguments, if named.is_empty() { "" } else { "${initrds}" }]
        .iter()
        .filter(|part| !part.is_empty())
        .fold(String::new(), |all, part| all + " " + part);
    line(
        &mut script,
        &format!("kernel --name {name} {kernel}{arguments} || goto failed"),
    );
    for (name, url) in &initrds {
        line(
            &mut script,
            &format!("initrd --name {name} {url} || goto failed"),
        );
    }
    line(&mut script, "boot || goto failed");
    retry(&mut script, (context, urls, mac), "the boot failed");
    script
}

/// The script that sends a machine to its disk; `None` where a 404 does that.
#[must_use]
pub fn local(how: LocalBoot, machine: &str) -> Option<String> {
    let mut script = String::from("#!ipxe\n");
    line(
        &mut script,
        &format!("echo Reveille: {machine} boots its disk"),
    );
    match how {
        LocalBoot::Exit => leave(&mut script),
        LocalBoot::SanBoot => {
            // sanboot of a local drive is a BIOS affair; UEFI goes on by itself.
            line(&mut script, "iseq ${platform} efi && exit 1 ||");
            line(&mut script, "sanboot --no-describe --drive 0x80 || exit");
        }
        LocalBoot::NotFound => return None,
    }
    Some(script)
}

/// Back to the firmware. UEFI takes success for the end and shows its menu
/// (UEFI 2.10 section 3.1.1); after an error it goes on to its next boot entry.
fn leave(script: &mut String) {
    line(script, "iseq ${platform} efi && exit 1 ||");
    line(script, "exit");
}

/// The script that an iPXE runs before it knows any other: one text for the
/// loaders that have it built in, and for those that ask for `autoexec.ipxe`.
pub const FIRST: &str = include_str!("first.ipxe");

/// The script for an iPXE that we cannot tell yet: [`FIRST`], told where we are.
#[must_use]
pub fn bootstrap(urls: &Urls) -> String {
    let (shebang, rest) = FIRST.split_once('\n').unwrap_or((FIRST, ""));
    format!("{shebang}\nset reveille {}\n{rest}", urls.base())
}

/// The script for a machine that nothing names yet: it says what its firmware
/// tells of it, and gets its own script for that.
#[must_use]
pub fn ask(urls: &Urls, mac: MacAddress) -> String {
    let mut script = String::from("#!ipxe\n");
    open(&mut script);
    let url = urls.script(mac);
    line(
        &mut script,
        &format!(
            "chain --replace {url}?uuid=${{uuid}}&serial=${{serial:uristring}}&asset=${{asset:uristring}} || goto failed"
        ),
    );
    retry(
        &mut script,
        (&Context::default(), urls, mac),
        "no script yet",
    );
    script
}

/// A script that shows `reason` on the machine's screen and tries again.
pub(super) fn waiting(context: &Context, urls: &Urls, mac: MacAddress, reason: &str) -> String {
    let mut script = header(context);
    retry(&mut script, (context, urls, mac), reason);
    script
}

pub(super) fn header(context: &Context) -> String {
    let mut script = String::from("#!ipxe\n");
    line(
        &mut script,
        &format!(
            "echo Reveille: {} boots {}",
            context.machine.name, context.machine.profile
        ),
    );
    script
}

pub(super) fn retry(
    script: &mut String,
    (context, urls, mac): (&Context, &Urls, MacAddress),
    reason: &str,
) {
    line(script, ":failed");
    line(
        script,
        &format!(
            "echo Reveille: {}; next try in {RETRY_SECS} s",
            one_line(reason)
        ),
    );
    line(script, &format!("sleep {RETRY_SECS}"));
    // Where the script cannot be had the network is what is missing: a switch
    // port that came up late, a lease that ran out while the machine waited.
    // Or it is this server: another one's offer names another script.
    let again = if context.again.is_empty() {
        urls.script(mac)
    } else {
        context.again.clone()
    };
    line(
        script,
        &format!("chain --replace {again} || dhcp && chain --replace ${{filename}} ||"),
    );
    line(script, "goto failed");
}

/// An iPXE that runs this as `autoexec.ipxe` took its address over from the
/// firmware and has not opened the interface: without this the network is
/// unreachable. Where it is open already nothing happens.
pub(super) fn open(script: &mut String) {
    line(script, "ifopen ||");
}

/// A program's arguments, rendered and joined; the reason where they cannot be said.
fn arguments(templates: &[String], context: &Context) -> Result<String, String> {
    let words = words(templates, context)?;
    match words
        .iter()
        .find(|word| COMMAND_ENDS.contains(&word.as_str()))
    {
        Some(word) => Err(format!("the argument {word} would end iPXE's command")),
        None => Ok(words.join(" ")),
    }
}

/// The name of a program in iPXE's memory: one word of a command, in which
/// nothing is expanded.
pub(super) fn program_name(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    base_name(path).replace(|c| !plain(c), "-")
}

pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

pub(super) fn one_line(text: &str) -> String {
    let text = text.replace("${", "$ {");
    text.split_whitespace()
        .filter(|word| !COMMAND_ENDS.contains(word))
        .collect::<Vec<_>>()
        .join(" ")
}

pub(super) fn line(script: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(script, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FileSource, InitrdSource};

    fn linux(args: &[&str]) -> LinuxSource {
        LinuxSource {
            kernel: FileSource {
                path: "debian/linux".to_owned(),
                ..FileSource::default()
            },
            initrd: vec![InitrdSource {
                path: "debian/initrd 1.gz".to_owned(),
                name: Some("initrd.gz".to_owned()),
                ..InitrdSource::default()
            }],
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        }
    }

    fn script(args: &[&str]) -> String {
        let mut context = Context::default();
        context.machine.name = "node-7".to_owned();
        context.machine.profile = "debian".to_owned();
        let urls = Urls {
            server: [192, 0, 2, 1].into(),
            port: 80,
            tls: false,
        };
        let mac = MacAddress::new([0x52, 0x54, 0, 0, 0, 7]);
        machine_script(Source::Linux(&linux(args)), &context, &urls, mac).unwrap()
    }

    #[test]
    fn boots_linux_with_its_arguments() {
        let want = "#!ipxe
echo Reveille: node-7 boots debian
ifopen ||
imgfree
iseq ${platform} efi && set initrds initrd=initrd.gz || clear initrds
kernel --name linux http://192.0.2.1/reveille/machines/52-54-00-00-00-07/kernel/debian/linux console=ttyS0 hostname=node-7 ${initrds} || goto failed
initrd --name initrd.gz http://192.0.2.1/reveille/machines/52-54-00-00-00-07/initrd/debian/initrd%201.gz || goto failed
boot || goto failed
:failed
echo Reveille: the boot failed; next try in 5 s
sleep 5
chain --replace http://192.0.2.1/reveille/machines/52-54-00-00-00-07/boot.ipxe || dhcp && chain --replace ${filename} ||
goto failed
";
        assert_eq!(
            script(&["console=ttyS0", "hostname={{ machine.name }}"]),
            want
        );
    }

    #[test]
    fn shows_a_broken_template_on_the_machine_and_tries_again() {
        let script = script(&["x={{ machine.nam }}"]);
        assert!(!script.contains("kernel --name"), "{script}");
        assert!(script.contains("echo Reveille: template"), "{script}");
        assert!(script.contains("chain --replace"), "{script}");
    }

    #[test]
    fn never_lets_an_argument_end_the_command() {
        for args in ["a || shell", "a ; shell", "&& shell", "# x"] {
            let script = script(&[args]);
            assert!(!script.contains("kernel --name"), "{script}");
        }
        assert!(!script(&["a\nshell"]).contains("\nshell"));
    }

    /// Else the loaders that carry the script would do other than the served one.
    #[test]
    fn the_first_script_is_the_file_and_one_line() {
        let urls = Urls {
            server: [192, 0, 2, 1].into(),
            port: 8080,
            tls: false,
        };
        let served = bootstrap(&urls);
        let ours = "set reveille http://192.0.2.1:8080\n";
        assert!(served.starts_with(&format!("#!ipxe\n{ours}")), "{served}");
        assert_eq!(served.replacen(ours, "", 1), FIRST);
    }

    /// Labels that are jumped to are there, and what the script says is true.
    #[test]
    fn the_first_script_never_ends() {
        for word in FIRST.split_whitespace().collect::<Vec<_>>().windows(2) {
            if word[0] == "goto" {
                assert!(FIRST.contains(&format!("\n:{}\n", word[1])), "{}", word[1]);
            }
        }
        assert!(FIRST.contains(&format!("next try in {RETRY_SECS} s\nsleep {RETRY_SECS}\n")));
        assert!(FIRST.ends_with("goto start\n"));
    }

    #[test]
    fn ends_a_template_that_does_not_end() {
        let script = script(&[
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        ]);
        assert!(script.contains("fuel"), "{script}");
    }
}
