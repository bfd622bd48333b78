//! Machines that boot, again and again, each on a host of its own.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use reveille::boot::MacAddress;

use crate::support::dhcp::Machine;
use crate::support::process::Process;
use crate::support::server::fetch;
use crate::support::wait::until;
use crate::support::{firmware, ns};

/// Machines that boot.
const MACHINES: u16 = 10;

/// Between two of their boots.
const PAUSE: Duration = Duration::from_secs(2);

/// The server as they see it.
const DOOR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 80);

/// The machines.
pub(crate) struct Storm {
    machines: Vec<Process>,
}

impl Storm {
    /// Switches them on.
    pub(crate) fn begin(folder: &Path) -> Result<Self> {
        let program = std::env::current_exe()?;
        let program = program.to_str().context("our own path")?;
        let mut machines = Vec::new();
        for number in 1..=MACHINES {
            let (name, mac) = (
                format!("m{number}"),
                Machine::number(number).mac.to_string(),
            );
            ns::host(&name, &mac)?;
            let mut command = ns::on(&name, program);
            command
                .args(["machine", &name, &mac])
                .arg(folder.join("main/artifacts"));
            let log = folder.join(format!("{name}.log"));
            machines.push(Process::spawn(&name, command, &log)?);
        }
        Ok(Self { machines })
    }

    /// The first of them asks for an IPv6 address (SOLICIT with a DUID-LL and one IA_NA), and takes none.
    pub(crate) fn solicit(&self) -> Result<()> {
        const ASK: &str = "\
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 546))
duid = bytes([0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1])
s.sendto(bytes([1, 1, 2, 3]) + duid + bytes([0, 3, 0, 12, 0, 0, 0, 1]) + bytes(8),
         ('ff02::1:2', 547, 0, socket.if_nametoindex(sys.argv[1])))
";
        // Its link-local address may not be there yet: it asks again.
        ns::on("m1", "python3").args(["-c", ASK, "m1"]).output()?;
        Ok(())
    }

    /// One of them is switched off while it loads its kernel.
    pub(crate) fn lose_one(&self) -> Result<()> {
        let last = self.machines.last().context("no machines")?;
        until("a kernel under way", || {
            let text = std::fs::read_to_string(last.log())?;
            let line = text.lines().last().unwrap_or_default().to_owned();
            Ok(line.contains("loads http://").then_some(()))
        })?;
        last.signal(Signal::SIGKILL)
    }

    /// All others have booted, some of them more than once.
    pub(crate) fn end(self) -> Result<()> {
        let (mut boots, others) = (0, self.machines.len() - 1);
        for machine in &self.machines[..others] {
            let text = std::fs::read_to_string(machine.log())?;
            let own = text.matches(": booted from ").count();
            ensure!(own > 0, "a machine never booted: {}", machine.last_words());
            boots += own;
        }
        ensure!(boots > others, "no machine booted twice");
        println!("watch: {others} machines booted {boots} times");
        Ok(())
    }
}

/// Is one machine: boots, calls back, and begins anew, until somebody switches it off.
pub(crate) fn machine(name: &str, mac: &str, artifacts: &Path) -> Result<ExitCode> {
    let mac: MacAddress = mac.parse()?;
    for round in 0_u32.. {
        firmware::run(name, mac, artifacts, name == "m10")?;
        let script = fetch(
            DOOR,
            &format!("/reveille/machines/{}/boot.ipxe", mac.hyphenated()),
        )?;
        ask_answers(mac, &script)?;
        call_home(&script, round)?;
        sleep(PAUSE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The path of the URL that the kernel's arguments have behind `name`.
fn named<'a>(script: &'a str, name: &str) -> Option<&'a str> {
    let mut words = script.split_whitespace();
    let url = words.find_map(|word| word.strip_prefix(name))?;
    url.splitn(4, '/').nth(3)
}

/// Asks for its answers as an installer does, where its profile has any, and once more with a token that
/// somebody made up.
fn ask_answers(mac: MacAddress, script: &str) -> Result<()> {
    let Some(path) = named(script, "reveille.answers=") else {
        return Ok(());
    };
    let answers = fetch(DOOR, &format!("/{path}"))?;
    ensure!(answers == format!("mac: {mac}"), "{answers}");
    let made_up = format!("/reveille/machines/{}/config/1.0/answers", mac.hyphenated());
    ensure!(
        fetch(DOOR, &made_up).is_err(),
        "a token that is none was taken"
    );
    Ok(())
}

/// Calls the URL that the kernel's arguments name, as the system that was booted does; each fourth
/// time something went wrong there.
fn call_home(script: &str, round: u32) -> Result<()> {
    let path = named(script, "reveille.home=").context("the script names no URL to call")?;
    let state = if round % 4 == 3 {
        "failed"
    } else {
        "installed"
    };
    let body = format!("{{\"state\": \"{state}\"}}");
    let mut stream = TcpStream::connect(DOOR)?;
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nHost: {DOOR}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    Ok(())
}
