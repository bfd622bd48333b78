//! What to write into somebody else's DHCP server where its machines do not put
//! two offers together: the options that a proxy would send, in its language.
//!
//! Core: made of the loaders that are there and of our address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::boot::{Architecture, FirmwareType, Transport};
use crate::script::Urls;

/// Servers whose language is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// ISC Kea, DHCPv4.
    Kea,
    /// dnsmasq.
    Dnsmasq,
    /// ISC dhcpd.
    Isc,
    /// MikroTik RouterOS 7.4 and later.
    Mikrotik,
    /// `OPNsense`.
    Opnsense,
    /// Ubiquiti `UniFi`.
    Unifi,
}

/// What is to be said.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Our address, as machines reach it.
    pub server: Ipv4Addr,
    /// Our HTTP port.
    pub http_port: u16,
    /// The loader of each architecture that has one.
    pub loaders: &'a BTreeMap<Architecture, String>,
}

/// What a kind of firmware is sent.
struct Row<'a> {
    /// A name for a class or tag: `x86_64-uefi`, `x86_64-uefi-http`.
    name: String,
    /// Values of option 93.
    values: Vec<u16>,
    transport: Transport,
    architecture: Architecture,
    file: &'a str,
}

// === impl Foreign ===

impl Foreign {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Kea,
        Self::Dnsmasq,
        Self::Isc,
        Self::Mikrotik,
        Self::Opnsense,
        Self::Unifi,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kea => "kea",
            Self::Dnsmasq => "dnsmasq",
            Self::Isc => "isc",
            Self::Mikrotik => "mikrotik",
            Self::Opnsense => "opnsense",
            Self::Unifi => "unifi",
        }
    }

    /// What to write there.
    #[must_use]
    pub fn settings(self, options: &Options<'_>) -> String {
        match self {
            Self::Kea => options.kea(),
            Self::Dnsmasq => options.dnsmasq(),
            Self::Isc => options.isc(),
            Self::Mikrotik => options.mikrotik(),
            Self::Opnsense => options.opnsense(),
            Self::Unifi => options.unifi(),
        }
    }
}

impl FromStr for Foreign {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is none of {all}")
        })
    }
}

// === impl Options ===

impl Options<'_> {
    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for value in 0..=u16::from(u8::MAX) {
            let Some((architecture, transport)) = FirmwareType(value).meaning() else {
                continue;
            };
            let Some(file) = self.loaders.get(&architecture) else {
                continue;
            };
            let same =
                |row: &&mut Row<'_>| row.architecture == architecture && row.transport == transport;
            if let Some(row) = rows.iter_mut().find(same) {
                row.values.push(value);
                continue;
            }
            let http = match transport {
                Transport::Tftp => "",
                Transport::Http => "-http",
            };
            rows.push(Row {
                name: format!("{architecture}{http}"),
                values: vec![value],
                transport,
                architecture,
                file,
            });
        }
        rows
    }

    /// What a row's client is told: a name, or a URL for HTTP boot.
    fn file(&self, row: &Row<'_>) -> String {
        match row.transport {
            Transport::Tftp => row.file.to_owned(),
            Transport::Http => format!("{}/{}", self.urls().base(), row.file),
        }
    }

    const fn urls(&self) -> Urls {
        Urls {
            server: IpAddr::V4(self.server),
            port: self.http_port,
            tls: false,
        }
    }

    /// The script of whichever machine asks: iPXE fills its own address in.
    fn script(&self) -> String {
        let base = self.urls().base();
        format!("{base}/reveille/machines/${{mac:hexhyp}}/boot.ipxe")
    }

    fn kea(&self) -> String {
        let (server, script) = (self.server, self.script());
        let mut classes = vec![format!(
            "    {{\"name\": \"reveille-ipxe\", \"test\": \"option[77].hex == 'iPXE'\",\n      \
             \"next-server\": \"{server}\", \"boot-file-name\": \"{script}\"}}"
        )];
        for row in self.rows() {
            let values: Vec<String> = row
                .values
                .iter()
                .map(|value| format!("option[93].hex == 0x{value:04x}"))
                .collect();
            let (class, extra) = match row.transport {
                Transport::Tftp => ("PXEClient", String::new()),
                Transport::Http => (
                    "HTTPClient",
                    ",\n      \"option-data\": [{\"name\": \"vendor-class-identifier\", \"data\": \
                     \"HTTPClient\", \"always-send\": true}]"
                        .to_owned(),
                ),
            };
            let length = class.len();
            classes.push(format!(
                "    {{\"name\": \"reveille-{}\", \"test\": \"not member('reveille-ipxe') and \
                 substring(option[60].hex,0,{length}) == '{class}' and ({})\",\n      \
                 \"next-server\": \"{server}\", \"boot-file-name\": \"{}\"{extra}}}",
                row.name,
                values.join(" or "),
                self.file(&row)
            ));
        }
        format!(
            "// Kea: into \"Dhcp4\" of kea-dhcp4.conf, then restart it.\n\
             \"client-classes\": [\n{}\n]\n",
            classes.join(",\n")
        )
    }

    fn dnsmasq(&self) -> String {
        let (server, script) = (self.server, self.script());
        let mut text = String::from(
            "# dnsmasq: into a file of /etc/dnsmasq.d, then restart it.\n\
             dhcp-userclass=set:reveille-ipxe,iPXE\n",
        );
        let _ = writeln!(
            text,
            "dhcp-boot=tag:reveille-ipxe,{script},{server},{server}"
        );
        for row in self.rows() {
            let tag = format!("reveille-{}", row.name);
            for value in &row.values {
                let _ = writeln!(text, "dhcp-match=set:{tag},option:client-arch,{value}");
            }
            if row.transport == Transport::Http {
                let _ = writeln!(text, "dhcp-option-force=tag:{tag},60,HTTPClient");
            }
            let file = self.file(&row);
            let _ = writeln!(
                text,
                "dhcp-boot=tag:{tag},tag:!reveille-ipxe,{file},{server},{server}"
            );
        }
        text
    }

    fn isc(&self) -> String {
        let (server, script) = (self.server, self.script());
        let mut text = format!(
            "# ISC dhcpd: into dhcpd.conf, in the subnet or above it, then restart it.\n\
             option reveille-arch code 93 = unsigned integer 16;\n\
             next-server {server};\n\
             option tftp-server-name \"{server}\";\n\
             if exists user-class and option user-class = \"iPXE\" {{\n  filename \"{script}\";\n"
        );
        for row in self.rows() {
            let values: Vec<String> = row
                .values
                .iter()
                .map(|value| {
                    let [high, low] = value.to_be_bytes();
                    format!("option reveille-arch = {high:02x}:{low:02x}")
                })
                .collect();
            let class = match row.transport {
                Transport::Tftp => "",
                Transport::Http => "  option vendor-class-identifier \"HTTPClient\";\n",
            };
            let _ = write!(
                text,
                "}} elsif {} {{\n{class}  filename \"{}\";\n",
                values.join(" or "),
                self.file(&row)
            );
        }
        text + "}\n"
    }

    fn mikrotik(&self) -> String {
        let server = self.server;
        let mut text = format!(
            "# RouterOS 7.4 and later, in a terminal; put the name of your server for `dhcp1`.\n\
             /ip dhcp-server option\n\
             add name=reveille-66 code=66 value=\"s'{server}'\"\n\
             add name=reveille-http code=60 value=\"s'HTTPClient'\"\n\
             add name=reveille-script code=67 value=\"s'{}'\"\n",
            // A `$` is RouterOS's own.
            self.script().replace('$', "\\$")
        );
        let rows = self.rows();
        for row in &rows {
            let (name, file) = (&row.name, self.file(row));
            let _ = writeln!(text, "add name=reveille-{name} code=67 value=\"s'{file}'\"");
        }
        text += "/ip dhcp-server option sets\n\
                 add name=reveille-ipxe options=reveille-66,reveille-script\n";
        for row in &rows {
            let name = &row.name;
            let http = match row.transport {
                Transport::Tftp => "",
                Transport::Http => ",reveille-http",
            };
            let _ = writeln!(
                text,
                "add name=reveille-{name} options=reveille-66,reveille-{name}{http}"
            );
        }
        text += "/ip dhcp-server matcher\n\
                 add name=reveille-ipxe server=dhcp1 code=77 matching-type=substring value=\"iPXE\" \
                 option-set=reveille-ipxe\n";
        for row in &rows {
            for value in &row.values {
                let name = &row.name;
                let _ = writeln!(
                    text,
                    "add name=reveille-{name}-{value} server=dhcp1 code=93 value=\"0x{value:04x}\" \
                     option-set=reveille-{name}"
                );
            }
        }
        let _ = writeln!(
            text,
            "/ip dhcp-server network set [find] next-server={server}"
        );
        text
    }

    fn opnsense(&self) -> String {
        let (server, script) = (self.server, self.script());
        let field = |architecture| {
            let file = self.loaders.get(&architecture).map(String::as_str);
            file.unwrap_or("(leave it empty: there is no such loader)")
        };
        format!(
            "OPNsense with ISC DHCPv4: Services, ISC DHCPv4, your interface, Network booting.\n  \
             Enable network booting        yes\n  \
             Set next-server IP            {server}\n  \
             Set default bios filename     {}\n  \
             Set x86 UEFI (32-bit)         {}\n  \
             Set x64 UEFI/EBC (64-bit)     {}\n  \
             Set ARM UEFI (64-bit)         {}\n  \
             Set iPXE boot filename        {script}\n\
             OPNsense with dnsmasq: Services, Dnsmasq DNS & DHCP; what `--foreign dnsmasq` prints goes into a \
             file of /usr/local/etc/dnsmasq.conf.d.\n",
            field(Architecture::X86Bios),
            field(Architecture::X86Uefi),
            field(Architecture::X64Uefi),
            field(Architecture::Arm64Uefi),
        )
    }

    fn unifi(&self) -> String {
        let server = self.server;
        let files: BTreeSet<String> = self
            .rows()
            .iter()
            .filter(|row| row.transport == Transport::Tftp)
            .map(|row| format!("    {:<18} {}", row.architecture.as_str(), row.file))
            .collect();
        format!(
            "UniFi Network: Settings, Networks, your network, DHCP, Show options.\n  \
             Network Boot      on\n  \
             Server            {server}\n  \
             Filename          the one of your machines:\n{}\n  \
             TFTP Server       {server}\n\
             It sends one file name to all: mix no firmware in that network. Our loader finds its script by \
             itself (autoexec.ipxe). UEFI HTTP boot cannot be set there.\n",
            files.into_iter().collect::<Vec<_>>().join("\n")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(foreign: Foreign, http_port: u16) -> String {
        let loaders = [
            (Architecture::X86Bios, "undionly.kpxe".to_owned()),
            (Architecture::X64Uefi, "ipxe.efi".to_owned()),
        ];
        foreign.settings(&Options {
            server: [192, 0, 2, 1].into(),
            http_port,
            loaders: &loaders.into(),
        })
    }

    #[test]
    fn everyone_is_told_our_address_and_each_loader() {
        for foreign in Foreign::ALL {
            let text = told(foreign, 80);
            for part in ["192.0.2.1", "undionly.kpxe", "ipxe.efi"] {
                assert!(
                    text.contains(part),
                    "{}: no {part} in\n{text}",
                    foreign.as_str()
                );
            }
            assert!(!text.contains("ipxe-arm64"), "{text}");
        }
    }

    #[test]
    fn ipxe_gets_its_script_and_not_a_loader_again() {
        for foreign in Foreign::ALL {
            let text = told(foreign, 8080);
            if foreign == Foreign::Unifi {
                assert!(text.contains("autoexec.ipxe"));
            } else {
                let url = "http://192.0.2.1:8080/reveille/machines/";
                assert!(text.contains(url), "{text}");
            }
        }
    }

    #[test]
    fn both_numbers_of_x64_are_known() {
        let text = told(Foreign::Dnsmasq, 80);
        assert!(text.contains("dhcp-match=set:reveille-x86_64-uefi,option:client-arch,7\n"));
        assert!(text.contains("dhcp-match=set:reveille-x86_64-uefi,option:client-arch,9\n"));
        assert!(text.contains("dhcp-option-force=tag:reveille-x86_64-uefi-http,60,HTTPClient\n"));
    }

    #[test]
    fn names_are_read_back() {
        for foreign in Foreign::ALL {
            assert_eq!(foreign.as_str().parse(), Ok(foreign));
        }
        assert_eq!(
            "cisco".parse::<Foreign>(),
            Err("`cisco` is none of kea, dnsmasq, isc, mikrotik, opnsense, unifi".to_owned())
        );
    }
}
