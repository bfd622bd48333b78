//! `grub.cfg` for GRUB that was loaded over the network.
//!
//! It runs on GRUB 2.06, as distributions sign it: whatever a lockdown by
//! Secure Boot forbids, or needs a module that is not built in, is not used.

use super::dialect::{Way, words};
use super::ipxe::{base_name, line};
use super::{Context, GRUB_NAME, Urls, render};
use crate::api::{ChainSource, LinuxSource, LocalBoot, Source};
use crate::boot::MacAddress;
use crate::snapshot::Choice;
use crate::timeline::Purpose;

/// Seconds between two tries of a machine that cannot go on.
const RETRY_SECS: u32 = 10;

/// What ends a word, or is expanded, in GRUB's shell (GRUB manual 6.1 and 6.2).
const SPECIAL: &str = " \t{}|&$;<>\"'\\#*?[]";

/// The script that boots `source`; the reason where GRUB cannot.
pub(super) fn boot(
    source: Source<'_>,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
    way: Way,
) -> Result<String, String> {
    match source {
        Source::Linux(linux) => linux_script(linux, context, urls, mac, way),
        Source::Efi(efi) => {
            let mut script = header(context);
            let file = file(urls, mac, Purpose::Efi, &efi.file.path, way);
            let arguments = quoted(&words(&efi.args, context)?);
            line(
                &mut script,
                &format!("if chainloader {file}{arguments}; then boot; fi"),
            );
            Ok(script + &retry("the program does not start"))
        }
        Source::Chain(chain) => chain_script(chain, context),
        Source::Iso(_) => {
            Err("GRUB reads no disc over the network; use a loader of kind Ipxe".into())
        }
        Source::Script(_) => {
            Err("the profile's script is iPXE's; use a loader of kind Ipxe".into())
        }
        Source::Menu(_) | Source::Local | Source::Loader => {
            Err("the profile boots nothing by GRUB".into())
        }
    }
}

fn linux_script(
    linux: &LinuxSource,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
    way: Way,
) -> Result<String, String> {
    let arguments = quoted(&words(&linux.args, context)?);
    let kernel = file(urls, mac, Purpose::Kernel, &linux.kernel.path, way);
    let mut script = header(context);
    line(&mut script, &format!("if linux {kernel}{arguments}; then"));
    if linux.initrd.is_empty() {
        line(&mut script, "  boot");
    } else {
        let initrds = linux.initrd.iter();
        let initrds: Vec<String> = initrds
            .map(|initrd| file(urls, mac, Purpose::Initrd, &initrd.path, way))
            .collect();
        let initrds = initrds.join(" ");
        line(
            &mut script,
            &format!("  if initrd {initrds}; then boot; fi"),
        );
    }
    line(&mut script, "fi");
    Ok(script + &retry(&format!("{} does not boot", base_name(&linux.kernel.path))))
}

/// Another server's `grub.cfg`.
fn chain_script(chain: &ChainSource, context: &Context) -> Result<String, String> {
    let url = render(&chain.url, context).map_err(|error| error.to_string())?;
    let place = url.split_once("://").and_then(|(scheme, rest)| {
        let (server, path) = rest.split_once('/')?;
        let device = matches!(scheme, "tftp" | "http").then_some((scheme, server))?;
        Some((device, path))
    });
    let Some(((scheme, server), path)) = place else {
        return Err(format!("GRUB reads {url} by none of tftp and http"));
    };
    let mut script = header(context);
    let file = quote(&format!("({scheme},{server})/{path}"));
    line(&mut script, &format!("configfile {file}"));
    Ok(script + &retry("the other server does not answer"))
}

/// The script that sends a machine to its disk: GRUB ends, and the firmware
/// goes on to its next boot entry, or fails where it has none.
pub(super) fn local(how: LocalBoot, machine: &str) -> Option<String> {
    let mut script = String::new();
    let shown = quote(&format!("Reveille: {machine} boots its disk"));
    line(&mut script, &format!("echo {shown}"));
    match how {
        LocalBoot::Exit | LocalBoot::SanBoot => line(&mut script, "exit 1"),
        LocalBoot::NotFound => return None,
    }
    Some(script)
}

/// A script that says `reason` and begins anew.
pub(super) fn waiting(context: &Context, reason: &str) -> String {
    header(context) + &retry(reason)
}

/// A script that goes on with the machine's own by HTTP: what is not to be sent
/// over TFTP stands there. A GRUB without the module `http` knows no such device,
/// says so, and goes on here with `reason`.
pub(super) fn by_http(
    context: &Context,
    urls: &Urls,
    (mac, choice): (MacAddress, &Choice),
    reason: &str,
) -> String {
    let name = urls.chosen_name(mac, choice, GRUB_NAME);
    let file = quote(&format!("(http,{})/{name}", host(urls)));
    header(context) + &format!("configfile {file}\n") + &retry(reason)
}

pub(super) fn header(context: &Context) -> String {
    let (machine, profile) = (&context.machine.name, &context.machine.profile);
    let shown = quote(&format!("Reveille: {machine} boots {profile}"));
    format!("echo {shown}\n")
}

/// GRUB cannot fetch a script anew without piling it on this one; the firmware
/// can.
pub(super) fn retry(reason: &str) -> String {
    let shown: String = reason.chars().filter(|c| !c.is_control()).collect();
    let shown = quote(&format!("Reveille: {shown}; next try in {RETRY_SECS} s"));
    format!("echo {shown}\nsleep {RETRY_SECS}\nreboot\n")
}

/// A file on its way to the machine, as GRUB names it (GRUB manual 13.1.4).
fn file(urls: &Urls, mac: MacAddress, purpose: Purpose, path: &str, way: Way) -> String {
    let path = path.trim_start_matches('/');
    quote(&match way {
        // GRUB sends the name as it stands.
        Way::Tftp => format!("(tftp,{})/{}", urls.server, urls.name(mac, purpose, path)),
        Way::Http => {
            let url = urls.file(mac, purpose, path);
            let path = url.strip_prefix(&urls.base()).unwrap_or(&url);
            format!("(http,{}){path}", host(urls))
        }
    })
}

/// Our HTTP service as GRUB names it: address, and port where that is not 80.
pub(super) fn host(urls: &Urls) -> String {
    let base = urls.base();
    let host = base.split_once("://").map(|(_, host)| host);
    host.unwrap_or(&base).to_owned()
}

fn quoted(words: &[String]) -> String {
    words
        .iter()
        .fold(String::new(), |all, word| all + " " + &quote(word))
}

/// A word in which nothing is expanded.
pub(super) fn quote(word: &str) -> String {
    if word.contains(|c| SPECIAL.contains(c)) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FileSource, InitrdSource};

    fn linux(args: &[&str]) -> LinuxSource {
        let path = |path: &str| FileSource {
            path: path.to_owned(),
            ..FileSource::default()
        };
        LinuxSource {
            kernel: path("debian/linux"),
            initrd: vec![InitrdSource {
                path: "debian/initrd 1.gz".to_owned(),
                ..InitrdSource::default()
            }],
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        }
    }

    fn script(source: Source<'_>, way: Way) -> Result<String, String> {
        let mut context = Context::default();
        context.machine.name = "node-7".to_owned();
        context.machine.profile = "debian".to_owned();
        let urls = Urls {
            server: [192, 0, 2, 1].into(),
            port: 8080,
            tls: false,
        };
        boot(
            source,
            &context,
            &urls,
            MacAddress::new([2, 0, 0, 0, 0, 7]),
            way,
        )
    }

    #[test]
    fn boots_linux_by_either_way() {
        let source = linux(&["quiet", "a={{ machine.name }}", "x=';reboot;'"]);
        let text = script(Source::Linux(&source), Way::Tftp).unwrap();
        let want = "\
echo 'Reveille: node-7 boots debian'
if linux (tftp,192.0.2.1)/reveille/machines/02-00-00-00-00-07/kernel/debian/linux quiet a=node-7 'x='\\'';reboot;'\\'''; then
  if initrd '(tftp,192.0.2.1)/reveille/machines/02-00-00-00-00-07/initrd/debian/initrd 1.gz'; then boot; fi
fi
echo 'Reveille: linux does not boot; next try in 10 s'
sleep 10
reboot
";
        assert_eq!(text, want);
        let text = script(Source::Linux(&source), Way::Http).unwrap();
        let initrd =
            "(http,192.0.2.1:8080)/reveille/machines/02-00-00-00-00-07/initrd/debian/initrd%201.gz";
        assert!(text.contains(initrd), "{text}");
    }

    #[test]
    fn says_what_it_cannot() {
        let chain = |url: &str| ChainSource {
            url: url.to_owned(),
        };
        let there = chain("http://192.0.2.9/grub/grub.cfg");
        let text = script(Source::Chain(&there), Way::Tftp).unwrap();
        assert!(
            text.contains("configfile (http,192.0.2.9)/grub/grub.cfg\n"),
            "{text}"
        );
        let secure = chain("https://192.0.2.9/grub.cfg");
        assert!(script(Source::Chain(&secure), Way::Tftp).is_err());
        assert!(script(Source::Linux(&linux(&["{{ machine.nam }}"])), Way::Tftp).is_err());
        assert_eq!(local(LocalBoot::NotFound, "a"), None);
    }
}
