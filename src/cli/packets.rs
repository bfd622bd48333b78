//! `reveille packets`: what was said last between a machine and the service.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::socket::{STRANGE, SocketArgs};
use super::table::printable;
use crate::packets::{Packet, PacketLine, Shown};

/// Show the last packets of DHCP and DHCPv6 of a machine: its requests, what was done about
/// each, and the replies that left.
#[derive(Args, Debug)]
pub struct PacketsArgs {
    /// The machine, by name or MAC address.
    machine: String,
    /// Write them to this file instead, for tcpdump and Wireshark; - is
    /// standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pcap: Option<PathBuf>,
    /// How to show them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Option by option, for people; times in UTC
    #[default]
    Text,
    /// A line of JSON each
    Json,
}

impl PacketsArgs {
    /// Asks and prints to `out`.
    ///
    /// # Errors
    /// The service cannot be asked; there is no such machine; the file cannot
    /// be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let machine = utf8_percent_encode(&self.machine, NON_ALPHANUMERIC);
        let target = format!("/machines/{machine}/packets");
        if let Some(path) = &self.pcap {
            let file = self.socket.bytes(&format!("{target}.pcap"))?;
            if path.as_os_str() == "-" {
                out.write_all(&file)?;
            } else {
                let what = || format!("{} cannot be written", path.display());
                fs::write(path, file).with_context(what)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let text = self.socket.get(&target)?;
        if text.is_empty() {
            writeln!(
                io::stderr(),
                "no packet of {} was heard since the service started, or others came since",
                self.machine
            )?;
        }
        for line in text.lines() {
            match self.output {
                Output::Json => writeln!(out, "{line}")?,
                Output::Text => print(&serde_json::from_str(line).context(STRANGE)?, out)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A line of what it is, and below it what it says.
fn print(line: &PacketLine, out: &mut impl Write) -> io::Result<()> {
    let millis = i64::try_from(line.at).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    let packet = line.packet.as_ref().map(Packet::shown);
    let kind = packet.map_or("-", Shown::kind);
    let arrow = if line.direction == "in" { "<-" } else { "->" };
    let outcome = match line.direction.as_str() {
        "in" => format!(": {}", printable(&line.outcome)),
        _ => String::new(),
    };
    let bytes = packet.map_or(0, Shown::bytes);
    writeln!(
        out,
        "{} {arrow} {kind} {} {} > {} on {}, {bytes} B{outcome}",
        time.strftime("%Y-%m-%d %H:%M:%S%.3f"),
        line.mac,
        line.from,
        line.to,
        printable(&line.interface),
    )?;
    for line in packet.iter().flat_map(|packet| packet.lines()) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;
    use crate::boot::{Architecture, MacAddress};
    use crate::clock::Millis;
    use crate::packets::{Question, Question6, Role, Sighted};

    #[test]
    fn a_request_shows_what_was_done_about_it() {
        let mac = MacAddress::new([2, 0, 0, 0, 0, 9]);
        let question = Question {
            role: Role::Pxe(Architecture::X64Uefi),
            mac,
            uuid: None,
            relay: [192, 0, 2, 2].into(),
            xid: 7,
            broadcast: false,
        };
        let packet = Sighted {
            at: Millis(1_700_000_000_123),
            interface: "eth0".into(),
            request: true,
            outcome: "relay-unknown",
            from: (IpAddr::from([192, 0, 2, 2]), 67),
            to: (IpAddr::from([192, 0, 2, 1]), 67),
            bytes: question.discover().into(),
        };
        let mut out = Vec::new();
        print(&packet.line(mac), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some(
                "2023-11-14 22:13:20.123 <- DISCOVER 02:00:00:00:00:09 192.0.2.2:67 > 192.0.2.1:67 on eth0, 328 B: relay-unknown"
            )
        );
        assert_eq!(lines.next(), Some("    giaddr       192.0.2.2"));
        assert!(
            text.contains("\n     93 client architecture: 7 (x64 UEFI)\n"),
            "{text}"
        );
    }

    #[test]
    fn a_message_of_dhcpv6_shows_its_relays_and_options() {
        let mac = MacAddress::new([2, 0, 0, 0, 0, 9]);
        let link: Ipv6Addr = "2001:db8:1::1".parse().unwrap();
        let question = Question6 {
            role: Role::HttpBoot(Architecture::X64Uefi),
            mac,
            uuid: "4c4c4544-0043-4810-8052-b4c04f4a4d32".parse().ok(),
            relay: Some(link),
            xid: [0, 0, 7],
        };
        let packet = Sighted {
            at: Millis(1_700_000_000_123),
            interface: "eth0".into(),
            request: true,
            outcome: "advertise",
            from: (link.into(), 547),
            to: ("2001:db8::1".parse().unwrap(), 547),
            bytes: question.solicit().into(),
        };
        let line = packet.line(mac);
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<PacketLine>(&json).unwrap(), line);
        let mut out = Vec::new();
        print(&line, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for words in [
            "<- SOLICIT 02:00:00:00:00:09 [2001:db8:1::1]:547 > [2001:db8::1]:547 on eth0, 154 B: advertise\n",
            "\n    relay        link 2001:db8:1::1, of fe80::ff:fe00:9, behind 0 others\n",
            "\n      1 client identifier: DUID-UUID 4c4c4544-0043-4810-8052-b4c04f4a4d32\n",
            "\n      3 addresses (IA_NA): number 00000009\n",
            "\n     16 vendor class: HTTPClient:Arch:00016:UNDI:003001 (enterprise 343)\n",
            "\n     61 client architecture: 16 (x64 UEFI boot from HTTP)\n",
        ] {
            assert!(text.contains(words), "{words:?} in {text}");
        }
    }
}
