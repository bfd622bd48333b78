//! The scripts of what is no Linux: an EFI program, a disc, another server, a
//! script of somebody's own.

use super::ipxe::{header, line, open, program_name, retry};
use super::{Context, Urls, render};
use crate::api::{ChainSource, EfiSource, IsoMethod, IsoSource, ScriptSource};
use crate::boot::MacAddress;
use crate::timeline::Purpose;

/// Bytes of a script of somebody's own once it is rendered: four times what a
/// manifest holds of it.
const MAX_RENDERED: usize = 64 * 1024;

/// What the first line of an iPXE script is.
const MAGIC: &str = "#!ipxe";

/// The schemes that a chain may have.
const SCHEMES: [&str; 3] = ["http://", "https://", "tftp://"];

/// A script or the reason why there is none, for the machine's screen.
type Made = Result<String, String>;

/// Runs an EFI program. One that ends well sends the machine on to its next
/// boot entry: UEFI takes an error for that.
pub(super) fn efi_script(
    efi: &EfiSource,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
    arguments: &str,
) -> String {
    let mut script = header(context);
    open(&mut script);
    line(&mut script, "imgfree");
    line(&mut script, "iseq ${platform} efi || goto bios");
    let name = program_name(&efi.file.path);
    let url = urls.file(mac, Purpose::Efi, &efi.file.path);
    let space = if arguments.is_empty() { "" } else { " " };
    line(
        &mut script,
        &format!("kernel --name {name} {url}{space}{arguments} || goto failed"),
    );
    line(&mut script, "boot || goto failed");
    line(&mut script, "exit 1");
    line(&mut script, ":bios");
    line(
        &mut script,
        "echo Reveille: the profile boots an EFI program, and this firmware is a BIOS",
    );
    retry(&mut script, (context, urls, mac), "the boot failed");
    script
}

/// Boots a disc as a drive that iPXE reads over HTTP.
pub(super) fn iso_script(
    iso: &IsoSource,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
) -> String {
    let mut script = header(context);
    if iso.method == Some(IsoMethod::RamDisk) {
        // It waited here until the disc was there; its firmware loads it now.
        line(
            &mut script,
            "echo Reveille: UEFI HTTP boot alone boots a RAM disk; the machine begins anew",
        );
        line(&mut script, "sleep 5");
        line(&mut script, "reboot");
        return script;
    }
    open(&mut script);
    let url = urls.file(mac, Purpose::Iso, &iso.file.path);
    line(
        &mut script,
        &format!("sanboot --no-describe {url} || goto failed"),
    );
    retry(&mut script, (context, urls, mac), "the disc does not boot");
    script
}

/// Sends the machine to another server.
pub(super) fn chain_script(
    chain: &ChainSource,
    context: &Context,
    urls: &Urls,
    mac: MacAddress,
) -> Made {
    let url = render(&chain.url, context).map_err(|error| error.to_string())?;
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("the URL {} has spaces in it", url.escape_debug()));
    }
    if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(format!("the URL {url} is none of http, https and tftp"));
    }
    let mut script = header(context);
    open(&mut script);
    line(&mut script, "imgfree");
    line(
        &mut script,
        &format!("chain --replace {url} || goto failed"),
    );
    retry(
        &mut script,
        (context, urls, mac),
        "the other server does not answer",
    );
    Ok(script)
}

/// Somebody's own script.
pub(super) fn own_script(script: &ScriptSource, context: &Context) -> Made {
    let text = render(&script.text, context).map_err(|error| error.to_string())?;
    if text.len() > MAX_RENDERED {
        return Err(format!(
            "the script has {} bytes once it is rendered; {MAX_RENDERED} are the most",
            text.len()
        ));
    }
    let text = text.replace("\r\n", "\n");
    let mut body = String::with_capacity(text.len() + MAGIC.len() + 2);
    if !text.starts_with(MAGIC) {
        line(&mut body, MAGIC);
    }
    body.push_str(&text);
    if !body.ends_with('\n') {
        body.push('\n');
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FileSource, Source};
    use crate::script::machine_script;

    const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0, 0, 7]);

    fn script(source: Source<'_>) -> String {
        let mut context = Context::default();
        context.machine.name = "node-7".to_owned();
        context.machine.profile = "p".to_owned();
        let urls = Urls {
            server: [192, 0, 2, 1].into(),
            port: 80,
            tls: false,
        };
        machine_script(source, &context, &urls, MAC).unwrap()
    }

    fn file(path: &str) -> FileSource {
        FileSource {
            path: path.to_owned(),
            ..FileSource::default()
        }
    }

    fn chain(url: &str) -> String {
        let url = url.to_owned();
        script(Source::Chain(&ChainSource { url }))
    }

    fn own(text: &str) -> String {
        let text = text.to_owned();
        script(Source::Script(&ScriptSource { text }))
    }

    #[test]
    fn runs_an_efi_program_with_its_arguments() {
        let efi = EfiSource {
            file: file("talos/uki amd64.efi"),
            args: vec!["a=1".to_owned(), "h={{ machine.name }}".to_owned()],
        };
        let script = script(Source::Efi(&efi));
        let kernel = "kernel --name uki-amd64.efi http://192.0.2.1/reveille/machines/52-54-00-00-00-07/efi/talos/uki%20amd64.efi a=1 h=node-7 || goto failed\n";
        assert!(script.contains(kernel), "{script}");
        assert!(script.contains("iseq ${platform} efi || goto bios\n"));
    }

    #[test]
    fn reads_a_disc_as_a_drive_but_not_one_for_memory() {
        let mut iso = IsoSource {
            file: file("/plain.iso"),
            method: None,
        };
        let line = "sanboot --no-describe http://192.0.2.1/reveille/machines/52-54-00-00-00-07/iso/plain.iso || goto failed\n";
        assert!(script(Source::Iso(&iso)).contains(line));
        iso.method = Some(IsoMethod::RamDisk);
        assert!(!script(Source::Iso(&iso)).contains("sanboot"));
    }

    #[test]
    fn chains_to_what_is_a_url_once_rendered() {
        let line = "chain --replace http://192.0.2.9/node-7.ipxe || goto failed\n";
        assert!(chain("http://192.0.2.9/{{ machine.name }}.ipxe").contains(line));
        for bad in [
            "{{ 'ftp' }}://192.0.2.9/",
            "http://192.0.2.9/a b",
            "http://192.0.2.9/{{ '\n' }}shell",
            "http://192.0.2.9/{{ machine.nam }}",
        ] {
            let script = chain(bad);
            assert!(
                !script.contains("chain --replace http://192.0.2.9"),
                "{script}"
            );
            assert!(!script.contains("\nshell"), "{script}");
        }
    }

    #[test]
    fn makes_a_text_a_script() {
        assert_eq!(own("echo {{ machine.name }}"), "#!ipxe\necho node-7\n");
        assert_eq!(own("#!ipxe\r\nshell\r\n"), "#!ipxe\nshell\n");
        let broken = own("echo {{ machine.nam }}");
        assert!(broken.contains("next try in"), "{broken}");
        let long = own("{{ 'x' * 70000 }}");
        assert!(
            !long.contains("xxx") && long.contains("next try in"),
            "{}",
            long.len()
        );
    }
}
