//! DHCP clients as systems have them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ns;
use super::wait::until;

/// What clients run on events: both families' words. It notes them in $1's stead in a file beside it.
const SCRIPT: &str = r#"#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
event=${reason:-$1}
address=${new_ip_address:-${new_ip6_address:-$ip}}
case $event in
  deconfig | PREINIT | RELEASE | EXPIRE | FAIL)
    ip -4 address flush dev "$interface"
    ip link set "$interface" up
    ;;
  bound | renew | BOUND | RENEW | REBIND | REBOOT)
    ip address replace "$address/24" dev "$interface"
    ;;
  BOUND6 | RENEW6 | REBIND6)
    ip address replace "$address/64" dev "$interface" nodad
    ;;
esac
echo "$event $address" >>"$0.events"
"#;

/// A client program at work on a host ([`ns::host`]).
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    script: PathBuf,
    host: String,
}

// === impl Client ===

impl Client {
    /// udhcpc, on the card of a host.
    pub(crate) fn udhcpc(folder: &Path, host: &str) -> Result<Self> {
        let mut command = ns::on(host, "udhcpc");
        command.args(["-f", "-i", host, "-t", "20", "-T", "2", "-s"]);
        Self::start(folder, host, "udhcpc", command, &[])
    }

    /// Starts a client that runs our script on events: it is the next word of `command`, before `more`.
    /// Its log is `name.log` in the folder.
    pub(crate) fn start(
        folder: &Path,
        host: &str,
        name: &str,
        mut command: Command,
        more: &[&str],
    ) -> Result<Self> {
        let script = folder.join(format!("{name}.sh"));
        fs::write(&script, SCRIPT)?;
        ns::run(&format!("chmod 755 {}", script.display()))?;
        command.arg(&script).args(more);
        fs::write(events(&script), "")?;
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.log")))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Self {
            child: command.spawn()?,
            script,
            host: host.to_owned(),
        })
    }

    /// Waits for an event; the address that it brought.
    pub(crate) fn event(&self, name: &str) -> Result<String> {
        until(&format!("{name} of {}", self.script.display()), || {
            let text = fs::read_to_string(events(&self.script))?;
            let mut found = text
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(found.next().map(str::to_owned))
        })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// Without a goodbye; the card forgets its address.
    pub(crate) fn power_off(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        let host = &self.host;
        ns::run(&format!("ip -n {host} -4 address flush dev {host}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn events(script: &Path) -> PathBuf {
    script.with_extension("sh.events")
}
