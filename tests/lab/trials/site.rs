//! Where a trial takes place: a room with a bridge, manifests, artifacts, and the program.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::ns;
use crate::support::assets::Assets;
use crate::support::server::{Launch, Server, fetch, get, metric_in};
pub(crate) use crate::support::wait::until;

/// Our address on the bridge.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The HTTP door for machines.
pub(crate) const BOOT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(SERVER, 80));

/// A large artifact, by name: more than sockets on the way can hold.
pub(crate) const KERNEL: &str = "linux/vmlinuz";
const KERNEL_BYTES: usize = 24 << 20;

/// A smaller one: a thousand TFTP blocks of the classic size.
pub(crate) const INITRD: &str = "linux/initrd.img";
const INITRD_BYTES: usize = 512_000;

/// The Subnet of the bridge, with 200 addresses to lend.
pub(crate) const SUBNET: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  cidr: 192.0.2.0/24
  interface: br0
  pools: [{start: 192.0.2.20, end: 192.0.2.219}]
  routers: [192.0.2.1]
";

/// A trial's place.
#[derive(Debug)]
pub(crate) struct Site {
    /// Everything that the trial leaves is here.
    pub(crate) folder: PathBuf,
    /// The manifests that are served.
    pub(crate) manifests: PathBuf,
    pub(crate) assets: Assets,
    capture: Option<Child>,
}

// === impl Site ===

impl Site {
    /// Furnishes the room; the manifests are [`SUBNET`] and [`profile`].
    pub(crate) fn open(assets: Assets, folder: &Path) -> Result<Self> {
        let folder = ns::own_run(folder)?;
        ns::furnish()?;
        let capture = ns::capture(&folder.join("capture.pcap"));
        let site = Self {
            manifests: folder.join("manifests"),
            folder: folder.clone(),
            assets,
            capture,
        };
        let tree = folder.join("artifacts");
        fs::create_dir_all(tree.join("linux"))?;
        fs::write(tree.join(KERNEL), pattern(KERNEL_BYTES))?;
        fs::write(tree.join(INITRD), pattern(INITRD_BYTES))?;
        fs::create_dir_all(&site.manifests)?;
        site.write("subnet.yaml", SUBNET)?;
        site.write("profile.yaml", &profile("quiet"))?;
        Ok(site)
    }

    /// The program, on this site's folders.
    pub(crate) fn launch(&self) -> Result<Launch> {
        Launch::serve(&self.manifests, &self.assets.loaders, &self.folder, "info")
    }

    /// The program, started and ready.
    pub(crate) fn serve(&self) -> Result<Server> {
        self.launch()?.start()
    }

    /// Writes a manifest, as an editor does: whole or not at all.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let draft = self.manifests.join(format!(".{name}.draft"));
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, self.manifests.join(name))?)
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// All that the program has logged here.
    pub(crate) fn log(&self) -> Result<String> {
        fs::read_to_string(self.folder.join("server.log")).context("server.log")
    }

    /// Waits for the log to hold `words` more than `before` times.
    pub(crate) fn logged_again(&self, before: usize, words: &str) -> Result<()> {
        until(&format!("`{words}` in the log"), || {
            Ok((self.times_logged(words)? > before).then_some(()))
        })
    }

    /// Waits for the log to hold `words`.
    pub(crate) fn logged(&self, words: &str) -> Result<()> {
        self.logged_again(0, words)
    }

    /// How many lines of the log hold `words`.
    pub(crate) fn times_logged(&self, words: &str) -> Result<usize> {
        Ok(self
            .log()?
            .lines()
            .filter(|line| line.contains(words))
            .count())
    }

    /// Runs a subcommand to its end, with this site's state folder.
    pub(crate) fn reveille(&self, words: &[&str]) -> Result<Output> {
        Server::command()
            .args(words)
            .env("REVEILLE_STATE", self.state())
            .stdin(Stdio::null())
            .output()
            .context("reveille")
    }

    /// What the lease database holds, by `reveille leases`; the service must be stopped.
    pub(crate) fn leases(&self) -> Result<Vec<serde_json::Value>> {
        let output = self.reveille(&["leases", "--output", "json"])?;
        ensure!(
            output.status.success(),
            "reveille leases: {}",
            said(&output)
        );
        serde_json::from_slice(&output.stdout).context("reveille leases printed no JSON")
    }

    /// Starts the program when it must not start: its exit code and what it said.
    pub(crate) fn refused(&self, launch: Launch) -> Result<String> {
        let before = self.log().unwrap_or_default().len();
        let mut server = launch.spawn()?;
        let status = until("the end of a program that cannot serve", || server.ended())?;
        let log = self.log()?;
        ensure!(status.code() == Some(1), "exit status {status}: {log}");
        Ok(log.get(before..).unwrap_or_default().to_owned())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(capture) = &mut self.capture {
            let _ = capture.kill();
            let _ = capture.wait();
        }
    }
}

/// The default BootProfile, with `argument` on the kernel's command line.
pub(crate) fn profile(argument: &str) -> String {
    format!(
        "\
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {{name: linux}}
spec:
  default: true
  loader: {{kind: Ipxe, romIpxe: Use}}
  linux:
    kernel: {{path: {KERNEL}}}
    initrd: [{{path: {INITRD}}}]
    args: [\"{argument}\"]
"
    )
}

/// Bytes in which every misplaced block shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let word = |index: usize| {
        (index as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(length);
    bytes
}

/// Checks that what was loaded is the artifact `name`, whole.
pub(crate) fn is_whole(name: &str, loaded: &[u8]) -> Result<()> {
    let length = if name == KERNEL {
        KERNEL_BYTES
    } else {
        INITRD_BYTES
    };
    ensure!(
        loaded.len() == length,
        "{name}: {} of {length} bytes came",
        loaded.len()
    );
    ensure!(loaded == pattern(length), "{name}: other bytes came");
    Ok(())
}

/// The iPXE script of a machine.
pub(crate) fn script(mac: &str) -> Result<String> {
    fetch(BOOT, &format!("/reveille/machines/{mac}/boot.ipxe"))
}

/// Waits until the script of a machine holds `words`.
pub(crate) fn script_says(mac: &str, words: &str) -> Result<()> {
    until(&format!("`{words}` in a script"), || {
        Ok(script(mac)?.contains(words).then_some(()))
    })
}

/// The value of a metric: `name{label="value",…}` as `/metrics` writes it; 0 where it is not there.
pub(crate) fn metric(name: &str) -> Result<u64> {
    metric_in(&get("/metrics")?, name)
}

/// The answer of `/readyz` where it is not good.
pub(crate) fn not_ready() -> Result<String> {
    match get("/readyz") {
        Ok(_) => bail!("/readyz says ok"),
        Err(error) => Ok(error.to_string().trim().to_owned()),
    }
}

/// What a program printed on both its ways.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    format!("{} {}", text(&output.stdout), text(&output.stderr))
}
