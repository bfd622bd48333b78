//! `pxelinux.cfg` for PXELINUX, and for what reads its language (U-Boot).

use super::dialect::{Way, words};
use super::ipxe::{base_name, line};
use super::{Context, Urls};
use crate::api::{LinuxSource, LocalBoot, Source};
use crate::boot::MacAddress;
use crate::timeline::Purpose;

/// Longest line that PXELINUX reads (SYSLINUX 6.03, `cmdline` of 2048 bytes).
const MAX_APPEND: usize = 2000;

/// Tenths of a second between two tries of a machine that cannot go on.
const RETRY: u32 = 100;

/// The script that boots `source`; the reason where PXELINUX cannot.
pub(super) fn boot(
    source: Source<'_>,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
    way: Way,
) -> Result<String, String> {
    match source {
        Source::Linux(linux) => {
            let mut script = header(context, 0);
            line(&mut script, "LABEL reveille");
            script += &linux_label(linux, context, urls, mac, way)?;
            Ok(script)
        }
        Source::Efi(_) => Err("PXELINUX runs no EFI program; use a loader of kind Ipxe".into()),
        Source::Iso(_) => {
            Err("PXELINUX reads no disc over the network; use a loader of kind Ipxe".into())
        }
        Source::Chain(_) => {
            Err("PXELINUX goes to no other server; use a loader of kind Ipxe".into())
        }
        Source::Script(_) => {
            Err("the profile's script is iPXE's; use a loader of kind Ipxe".into())
        }
        Source::Menu(_) | Source::Local | Source::Loader => {
            Err("the profile boots nothing by PXELINUX".into())
        }
    }
}

/// What stands below a label that boots Linux.
fn linux_label(
    linux: &LinuxSource,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
    way: Way,
) -> Result<String, String> {
    let mut label = String::new();
    let kernel = file(urls, mac, Purpose::Kernel, &linux.kernel.path, way)?;
    line(&mut label, &format!("  LINUX {kernel}"));
    let initrds: Result<Vec<String>, String> = linux
        .initrd
        .iter()
        .map(|initrd| file(urls, mac, Purpose::Initrd, &initrd.path, way))
        .collect();
    let initrds = initrds?;
    if !initrds.is_empty() {
        line(&mut label, &format!("  INITRD {}", initrds.join(",")));
    }
    let arguments = words(&linux.args, context)?.join(" ");
    if arguments.len() > MAX_APPEND {
        return Err(format!(
            "PXELINUX takes {MAX_APPEND} characters of arguments"
        ));
    }
    if !arguments.is_empty() {
        line(&mut label, &format!("  APPEND {arguments}"));
    }
    Ok(label)
}

/// The script that sends a machine to its disk.
pub(super) fn local(how: LocalBoot, machine: &str) -> Option<String> {
    // SYSLINUX's doc/pxelinux.txt: -1 tells the BIOS to try its next device, 0
    // boots the disk from here.
    let how = match how {
        LocalBoot::Exit => -1,
        LocalBoot::SanBoot => 0,
        LocalBoot::NotFound => return None,
    };
    Some(format!(
        "SAY Reveille: {machine} boots its disk\nDEFAULT disk\nPROMPT 0\nLABEL disk\n  LOCALBOOT {how}\n"
    ))
}

/// A script that says `reason` and reads the script anew.
pub(super) fn waiting(context: &Context, reason: &str) -> String {
    let shown: String = reason.chars().filter(|c| !c.is_control()).collect();
    let mut script = format!("SAY Reveille: {shown}; next try in {} s\n", RETRY / 10);
    script += &header(context, RETRY);
    // PXELINUX reads its configuration again when it is started again.
    script += "LABEL reveille\n  KERNEL pxelinux.0\n";
    script
}

fn header(context: &Context, timeout: u32) -> String {
    let (machine, profile) = (&context.machine.name, &context.machine.profile);
    let prompt = u8::from(timeout > 0);
    format!(
        "SAY Reveille: {machine} boots {profile}\nDEFAULT reveille\nPROMPT {prompt}\nTIMEOUT {timeout}\n"
    )
}

/// A file on its way to the machine. `::` begins at the server's root, wherever
/// PXELINUX itself came from.
fn file(
    urls: &Urls,
    mac: MacAddress,
    purpose: Purpose,
    path: &str,
    way: Way,
) -> Result<String, String> {
    let path = path.trim_start_matches('/');
    // A blank or a comma would end the name.
    if path.contains([' ', ',', '\t']) {
        return Err(format!(
            "PXELINUX takes no name with a blank or comma: {}",
            base_name(path)
        ));
    }
    Ok(match way {
        Way::Tftp => format!("::{}", urls.name(mac, purpose, path)),
        Way::Http => urls.file(mac, purpose, path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FileSource, InitrdSource};

    fn script(kernel: &str, way: Way) -> Result<String, String> {
        let linux = LinuxSource {
            kernel: FileSource {
                path: kernel.to_owned(),
                ..FileSource::default()
            },
            initrd: ["a", "b"]
                .map(|path| InitrdSource {
                    path: path.to_owned(),
                    ..InitrdSource::default()
                })
                .to_vec(),
            args: vec!["console=ttyS0 h={{ machine.name }}".to_owned()],
        };
        let mut context = Context::default();
        context.machine.name = "node-7".to_owned();
        context.machine.profile = "debian".to_owned();
        let urls = Urls {
            server: [192, 0, 2, 1].into(),
            port: 80,
            tls: false,
        };
        let mac = MacAddress::new([2, 0, 0, 0, 0, 7]);
        boot(Source::Linux(&linux), &context, &urls, mac, way)
    }

    #[test]
    fn boots_linux_by_either_way() {
        let want = "\
SAY Reveille: node-7 boots debian
DEFAULT reveille
PROMPT 0
TIMEOUT 0
LABEL reveille
  LINUX ::reveille/machines/02-00-00-00-00-07/kernel/debian/linux
  INITRD ::reveille/machines/02-00-00-00-00-07/initrd/a,::reveille/machines/02-00-00-00-00-07/initrd/b
  APPEND console=ttyS0 h=node-7
";
        assert_eq!(script("debian/linux", Way::Tftp).as_deref(), Ok(want));
        let text = script("linux", Way::Http).unwrap();
        let kernel = "  LINUX http://192.0.2.1/reveille/machines/02-00-00-00-00-07/kernel/linux\n";
        assert!(text.contains(kernel), "{text}");
        assert!(script("a b", Way::Tftp).unwrap_err().contains("a b"));
    }

    #[test]
    fn sends_to_the_disk() {
        assert!(
            local(LocalBoot::Exit, "a")
                .unwrap()
                .ends_with("LOCALBOOT -1\n")
        );
        assert!(
            local(LocalBoot::SanBoot, "a")
                .unwrap()
                .ends_with("LOCALBOOT 0\n")
        );
        assert_eq!(local(LocalBoot::NotFound, "a"), None);
    }
}
