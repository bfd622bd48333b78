//! A room behind the walls: a bridge, the server, machines, and a folder for what they leave.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::boots::Boot;
use crate::ns;
use crate::scenarios::project;
use crate::support::assets::Assets;
use crate::support::foreign::{self, Foreign};
use crate::support::machine::{AUTHORITY, LIMIT, Machine, Running};
use crate::support::router::Router;
use crate::support::server::{Launch, Server, get};
pub(crate) use crate::support::wait::TICK;

/// How long the server's account of a boot may lag behind the machine.
const ACCOUNT: Duration = Duration::from_secs(10);

/// The folder of manifests that boot more than Linux.
const SOURCES: &str = "sources";

/// The folder of manifests that boot by a signed shim and GRUB.
const SECURE_BOOT: &str = "secure-boot";

/// The folder of manifests that boot by a GRUB that knows HTTP, and what that is made of.
const GRUB_HTTP: &str = "grub-http";
const GRUB_MODULES: &str =
    "efinet tftp http normal configfile linux echo test sleep reboot serial terminal";

/// The folder of manifests with menus; one is GRUB's.
const MENU: &str = "menu";
/// The manifests of a network with IPv6.
const IPV6: &str = "ipv6";

/// Its network.
const PREFIX6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x33, 0, 0, 0, 0, 0);

/// The same with a router.
const IPV6_ROUTER: &str = "ipv6-router";

/// The manifests whose profile is fetched by HTTPS.
const OVER_HTTPS: &str = "over-https";

/// The room, furnished, with the server ready.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) server: Server,
    assets: Assets,
    folder: PathBuf,
    capture: Option<std::process::Child>,
    /// Somebody else's DHCP server, where there is one.
    _foreign: Option<Foreign>,
    _router: Option<Router>,
}

impl Room {
    /// Furnishes the room and starts the server on a folder of manifests; `log` says which lines the
    /// server writes.
    pub(crate) fn open(manifests: &Path, assets: Assets, folder: &Path, log: &str) -> Result<Self> {
        Self::open_beside(None, manifests, assets, folder, log)
    }

    /// The same in a network where somebody else's DHCP server lends the addresses.
    pub(crate) fn open_beside(
        foreign: Option<foreign::Kind>,
        manifests: &Path,
        assets: Assets,
        folder: &Path,
        log: &str,
    ) -> Result<Self> {
        if foreign.is_some() {
            ns::own_run(folder)?;
        }
        ns::furnish()?;
        let routed = manifests.ends_with(IPV6_ROUTER);
        if manifests.ends_with(IPV6) || routed {
            ns::furnish_v6()?;
        }
        let router = routed.then(|| Router::advertise(ns::BRIDGE, PREFIX6));
        let foreign = foreign.map(|kind| {
            let mut foreign = Foreign::plug(kind, folder)?;
            foreign.start()?;
            anyhow::Ok(foreign)
        });
        let foreign = foreign.transpose()?;
        let capture = ns::capture(&folder.join("capture.pcap"));
        let tree = folder.join("artifacts/linux");
        std::fs::create_dir_all(&tree)?;
        std::fs::copy(&assets.kernel, tree.join("vmlinuz")).context("kernel")?;
        std::fs::copy(&assets.initrd, tree.join("initrd.img")).context("initrd")?;
        let by_shim = manifests.ends_with(SECURE_BOOT) || manifests.ends_with(MENU);
        if let (true, Some(signed)) = (by_shim, &assets.signed) {
            for name in ["shimx64.efi", "grubx64.efi"] {
                let to = folder.join("artifacts").join(name);
                std::fs::copy(signed.join(name), to).context("signed loaders")?;
            }
        }
        if manifests.ends_with(GRUB_HTTP) {
            let to = folder.join("artifacts/grub-http.efi");
            let head = "grub-mkimage --format x86_64-efi --prefix /grub --output";
            ns::run(&format!("{head} {} {GRUB_MODULES}", to.display()))?;
        }
        if manifests.ends_with(SOURCES) || manifests.ends_with(IPV6) {
            other_sources(&assets, &folder.join("artifacts"))?;
        }
        let mut server = Launch::serve(manifests, &assets.loaders, folder, log)?;
        if manifests.ends_with(OVER_HTTPS) {
            server = server.with(&["--https", "0.0.0.0:443"]);
        }
        let server = server.start()?;
        if manifests.ends_with(OVER_HTTPS) {
            let printed = Server::command()
                .args(["ca", "--format", "esl", "--state"])
                .arg(folder.join("state"))
                .output()?;
            let complaints = String::from_utf8_lossy(&printed.stderr);
            ensure!(printed.status.success(), "reveille ca: {complaints}");
            std::fs::write(folder.join(AUTHORITY), printed.stdout)?;
        }
        Ok(Self {
            server,
            assets,
            folder: folder.to_owned(),
            capture,
            _foreign: foreign,
            _router: router.transpose()?,
        })
    }

    /// Switches a machine on.
    pub(crate) fn power_on(&self, machine: Machine) -> Result<Running> {
        machine.power_on(&self.assets, &self.folder)
    }

    /// Waits for the machine to print a line with `marker`; says it, and the time since power-on.
    pub(crate) fn wait_for(
        &mut self,
        running: &mut Running,
        marker: &str,
    ) -> Result<(String, Duration)> {
        loop {
            // In this order: what a machine said last is read after it went off.
            let off = running.is_off();
            if let Some(line) = running.said(marker) {
                return Ok((line, running.uptime()));
            }
            if off {
                bail!("the machine went off without a word of {marker}");
            }
            if running.uptime() > LIMIT {
                bail!("no {marker} within {} s", LIMIT.as_secs());
            }
            self.server.alive()?;
            sleep(TICK);
        }
    }

    /// Waits until the server's account of the machine's last boot has `stage`.
    pub(crate) fn wait_for_stage(&mut self, mac: &str, stage: &str) -> Result<()> {
        self.wait_for_stages(mac, stage, 1)
    }

    /// The same until the stage was seen `times`.
    pub(crate) fn wait_for_stages(&mut self, mac: &str, stage: &str, times: usize) -> Result<()> {
        let mut waited = Duration::ZERO;
        while waited < LIMIT {
            let boots = Boot::of(Boot::list(&get("/boots")?)?, mac);
            let stages = boots.last().map(|boot| boot.stages.iter());
            let seen = stages.map_or(0, |all| all.filter(|it| it.name == stage).count());
            if seen >= times {
                return Ok(());
            }
            self.server.alive()?;
            sleep(TICK);
            waited += TICK;
        }
        bail!("the boot of {mac} did not come to {stage} {times} times")
    }

    /// The server's account of a machine: its boots, once there is one and all have ended with
    /// `result`; an error when that does not come.
    pub(crate) fn account(&self, mac: &str, result: &str) -> Result<Vec<Boot>> {
        let mut waited = Duration::ZERO;
        loop {
            let boots = Boot::of(Boot::list(&get("/boots")?)?, mac);
            let other = boots.iter().find(|boot| boot.result != result);
            match other {
                None if !boots.is_empty() => return Ok(boots),
                None if waited >= ACCOUNT => bail!("/boots knows no boot of {mac}"),
                Some(boot) if waited >= ACCOUNT => bail!(
                    "the result of the boot is {}, expected {result}; stages: {}",
                    boot.result,
                    boot.story()
                ),
                None | Some(_) => sleep(TICK),
            }
            waited += TICK;
        }
    }

    /// The same for a machine that was switched on once and was handed off: one power-on is one boot.
    pub(crate) fn one_boot(&self, mac: &str) -> Result<Boot> {
        let mut boots = self.account(mac, "HandedOff")?;
        match (boots.pop(), boots.len()) {
            (Some(boot), 0) => Ok(boot),
            (_, more) => bail!("/boots makes {} boots of one power-on", more + 1),
        }
    }

    /// Leaves the server's account beside the other evidence.
    pub(crate) fn keep_account(&self) {
        let boots = get("/boots").unwrap_or_else(|error| error.to_string());
        let _ = std::fs::write(self.folder.join("boots.json"), boots);
    }
}

/// Puts what is no plain kernel into the tree.
fn other_sources(assets: &Assets, tree: &Path) -> Result<()> {
    let other = tree.join("other");
    std::fs::create_dir_all(&other)?;
    std::fs::copy(&assets.uki, other.join("uki.efi")).context("unified kernel image")?;
    std::fs::copy(&assets.iso, other.join("disc.iso")).context("disc")?;
    let script = project("tests/lab/elsewhere.ipxe");
    std::fs::copy(script, other.join("elsewhere.ipxe")).context("script")?;
    if let Some(installer) = &assets.installer {
        let folder = tree.join("installer");
        std::fs::create_dir_all(&folder)?;
        for name in ["linux", "initrd.gz"] {
            std::fs::copy(installer.join(name), folder.join(name)).context("installer")?;
        }
    }
    Ok(())
}

impl Drop for Room {
    fn drop(&mut self) {
        self.keep_account();
        if let Some(capture) = &mut self.capture {
            let _ = capture.kill();
            let _ = capture.wait();
        }
    }
}
