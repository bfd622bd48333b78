//! What kind of content a file is, by its name.
//!
//! Core: UEFI HTTP boot decides by this how it boots what it loaded (UEFI
//! specification section 24.7.3.2), so three kinds are ours and not a guess.

use crate::timeline::Purpose;

/// The kind of text that we make ourselves.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// The kind of a folder's page.
pub const HTML: &str = "text/html; charset=utf-8";
/// The kind of a folder for programs.
pub const JSON: &str = "application/json";

/// The kind of lines of JSON.
pub const JSON_LINES: &str = "application/x-ndjson";
/// The kind of a capture of packets.
pub const PCAP: &str = "application/vnd.tcpdump.pcap";

/// The `Content-Type` of a file that is sent for `purpose`. What firmware is
/// told to boot is said to be that, whatever its name.
#[must_use]
pub fn content_type_for(purpose: Purpose, name: &str) -> String {
    match purpose {
        Purpose::Efi => content_type(".efi"),
        Purpose::Iso => content_type(".iso"),
        Purpose::Loader
        | Purpose::Script
        | Purpose::LocalScript
        | Purpose::Menu
        | Purpose::Waiting
        | Purpose::Kernel
        | Purpose::Initrd
        | Purpose::Config
        | Purpose::Other => content_type(name),
    }
}

/// The `Content-Type` of a file.
#[must_use]
pub fn content_type(name: &str) -> String {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "efi" => "application/efi".to_owned(),
        "iso" => "application/vnd.efi-iso".to_owned(),
        "img" => "application/vnd.efi-img".to_owned(),
        "ipxe" => TEXT.to_owned(),
        extension => {
            let kind = mime_guess::from_ext(extension).first_or_octet_stream();
            if kind.type_() == mime_guess::mime::TEXT {
                format!("{}; charset=utf-8", kind.essence_str())
            } else {
                kind.essence_str().to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_booted_whatever_its_name() {
        let kind = |purpose| content_type_for(purpose, "vmlinuz-6.1");
        assert_eq!(kind(Purpose::Efi), "application/efi");
        assert_eq!(kind(Purpose::Iso), "application/vnd.efi-iso");
        assert_eq!(kind(Purpose::Loader), "application/octet-stream");
    }

    #[test]
    fn says_what_firmware_goes_by() {
        for (name, want) in [
            ("bootx64.EFI", "application/efi"),
            ("debian.iso", "application/vnd.efi-iso"),
            ("disk.img", "application/vnd.efi-img"),
            ("boot.ipxe", "text/plain; charset=utf-8"),
            ("README.txt", "text/plain; charset=utf-8"),
            ("index.html", "text/html; charset=utf-8"),
            ("data.json", "application/json"),
            ("vmlinuz", "application/octet-stream"),
            ("vmlinuz-6.1.0-18-amd64", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), want, "{name}");
        }
    }
}
