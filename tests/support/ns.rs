//! The walls of a room: a process in network, pid and mount namespaces of its own.
//!
//! [`enter`] runs this same program again behind those walls. Nothing has a name on the host, so runs
//! do not meet each other, and nothing is left: the kernel ends every process of the room when its
//! first one ends, and the room's first process ends when we do, however we end.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::wait::TICK;

/// The bridge that every machine of a room is plugged into.
pub(crate) const BRIDGE: &str = "br0";

/// Our IPv6 address on the bridge, where it has one.
pub(crate) const ADDRESS6: &str = "2001:db8:33::1";

/// Our address on the bridge.
pub(crate) const ADDRESS: &str = "192.0.2.1";

/// Whether this account may make namespaces at all; the error says what is missing.
pub(crate) fn possible() -> Result<()> {
    let output = walls()
        .args(["ip", "link", "set", "lo", "up"])
        .output()
        .context("unshare or setpriv is missing (package util-linux)")?;
    ensure!(
        output.status.success(),
        "cannot make namespaces: {}; run as root, or allow unprivileged user namespaces",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Whether this account may make tap devices, which virtual machines are plugged in with.
pub(crate) fn taps_possible() -> Result<()> {
    match std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("cannot open /dev/net/tun as this account; run as root")
        }
        Err(error) => Err(error).context("cannot open /dev/net/tun; is the tun module there?"),
    }
}

/// The command that runs this program again, with `arguments`, behind the walls.
pub(crate) fn enter(arguments: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().context("own program's path")?;
    let mut command = walls();
    command.arg(program).args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// Waits for the room's first process to end; tears the room down when it is stuck for longer than
/// `limit`.
#[expect(clippy::disallowed_methods, reason = "a hard limit in real time")]
pub(crate) fn watch(mut room: Child, limit: Duration) -> Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = room.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() > limit {
            room.kill()?;
            room.wait()?;
            bail!("stuck; torn down");
        }
        sleep(TICK);
    }
}

/// `setpriv` ends `unshare` when we die, `unshare` ends the room's first process when it dies, and
/// the kernel ends the rest of the room with it.
fn walls() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Whether we run with root's rights on the host.
pub(crate) fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

// === behind the walls ===

/// Brings loopback and the bridge up. Only for a process that came through [`enter`].
pub(crate) fn furnish() -> Result<()> {
    run("ip link set lo up")?;
    bridge(BRIDGE, ADDRESS)
}

/// Gives the bridge its IPv6 address. Nobody else can have it: it is not asked for.
pub(crate) fn furnish_v6() -> Result<()> {
    run(&format!("ip address add {ADDRESS6}/64 dev {BRIDGE} nodad"))
}

/// Plugs a new tap device into the bridge.
pub(crate) fn tap(name: &str) -> Result<()> {
    run(&format!("ip tuntap add dev {name} mode tap"))?;
    run(&format!("ip link set {name} master {BRIDGE} up"))
}

/// Makes a bridge with our address on it.
pub(crate) fn bridge(name: &str, address: &str) -> Result<()> {
    run(&format!("ip link add {name} type bridge"))?;
    run(&format!("ip address add {address}/24 dev {name}"))?;
    run(&format!("ip link set {name} up"))
}

/// Plugs a new pair of virtual cards into a bridge: `name` is the free end.
pub(crate) fn veth(name: &str, bridge: &str) -> Result<()> {
    run(&format!(
        "ip link add {name} type veth peer name {name}-port"
    ))?;
    run(&format!("ip link set {name}-port master {bridge} up"))?;
    run(&format!("ip link set {name} up"))
}

/// Makes a host of its own: a network namespace with a card called `name` in it, of this MAC address,
/// that is plugged into the bridge. [`on`] runs commands there.
pub(crate) fn host(name: &str, mac: &str) -> Result<()> {
    veth(name, BRIDGE)?;
    run(&format!("ip netns add {name}"))?;
    run(&format!("ip link set {name} address {mac} netns {name}"))?;
    run(&format!("ip -n {name} link set lo up"))?;
    run(&format!("ip -n {name} link set {name} up"))
}

/// A command that runs on a [`host`].
pub(crate) fn on(host: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host, program]);
    command.stdin(Stdio::null());
    command
}

/// Gives the room a `/run` of its own, for namespaces with names and pid files, and shows `folder`
/// there: the path that is returned is one that every user may walk.
pub(crate) fn own_run(folder: &Path) -> Result<PathBuf> {
    run("mount -t tmpfs -o mode=755 tmpfs /run")?;
    let site = PathBuf::from("/run/site");
    std::fs::create_dir(&site)?;
    run(&format!(
        "mount --bind {} {}",
        folder.display(),
        site.display()
    ))?;
    Ok(site)
}

/// Runs a command of plain words to its end; an error carries what it printed.
pub(crate) fn run(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command")?;
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| line.to_owned())?;
    ensure!(
        output.status.success(),
        "{line}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Starts to record what crosses the bridge, if tcpdump is here: all of UDP, and of TCP the heads.
pub(crate) fn capture(file: &Path) -> Option<Child> {
    Command::new("tcpdump")
        .args(["-i", BRIDGE, "-U", "-s", "600", "-Z", "root", "-w"])
        .arg(file)
        .arg("arp or udp or icmp or icmp6 or (tcp and less 700)")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}
