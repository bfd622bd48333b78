//! A virtual machine, from power-on to its first words on the serial port.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::assets::Assets;
use super::{disk, ns};

/// What the initrd prints.
pub(crate) const AWAKE: &str = "REVEILLE-USERSPACE";

/// How long a machine may take, whatever else the host does. It decides the test; [`PROMISE`] does not.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// From power-on to user space: what we promise, with emulation in software.
pub(crate) const PROMISE: Duration = Duration::from_secs(60);

/// From one key to the next: emulated firmware is slow to fetch them.
const BETWEEN_KEYS: Duration = Duration::from_millis(400);

/// Where the authority is that a machine's firmware knows, as an EFI signature list.
pub(crate) const AUTHORITY: &str = "authority.esl";

/// A machine to switch on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Its name in the manifests.
    pub(crate) name: &'static str,
    pub(crate) mac: &'static str,
    pub(crate) firmware: Firmware,
    /// Whether it has a disk that it can boot.
    pub(crate) disk: bool,
}

/// What asks the network for a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Firmware {
    /// A BIOS; the NIC's ROM is an iPXE.
    Bios,
    /// UEFI with its own PXE client.
    UefiPxe,
    /// UEFI with its own HTTP client.
    UefiHttp,
    /// The same, with the authority enrolled whose certificate is in [`AUTHORITY`].
    UefiHttps,
    /// UEFI with its own PXE client, over IPv6.
    UefiPxe6,
    /// UEFI with its own HTTP client, which turns to IPv6 where nobody lends an IPv4 address.
    UefiHttp6,
    /// UEFI with its own PXE client that runs what Microsoft or the owner signed, and nothing else.
    SecureBoot,
}

impl Firmware {
    /// How a person calls it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bios => "BIOS PXE",
            Self::UefiPxe => "UEFI PXE",
            Self::UefiHttp => "UEFI HTTP boot",
            Self::UefiHttps => "UEFI HTTP boot over HTTPS",
            Self::UefiPxe6 => "UEFI PXE over IPv6",
            Self::UefiHttp6 => "UEFI HTTP boot over IPv6",
            Self::SecureBoot => "UEFI PXE with Secure Boot",
        }
    }
}

/// A machine that is on. It is switched off and unplugged with this value.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) machine: Machine,
    tap: String,
    child: Child,
    serial: PathBuf,
    /// Where QEMU takes commands.
    monitor: PathBuf,
    since: Instant,
}

impl Machine {
    /// Plugs it into the bridge and switches it on. Its serial log is in `folder`. It goes off where it
    /// would begin again.
    pub(crate) fn power_on(self, assets: &Assets, folder: &Path) -> Result<Running> {
        self.power_on_with(assets, folder, &["-no-reboot"])
    }

    /// The same, but it begins again where it finds nothing to boot.
    pub(crate) fn power_on_again(self, assets: &Assets, folder: &Path) -> Result<Running> {
        self.power_on_with(assets, folder, &["-boot", "reboot-timeout=1000"])
    }

    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    fn power_on_with(self, assets: &Assets, folder: &Path, more: &[&str]) -> Result<Running> {
        let name = self.name;
        // A device name has at most 15 bytes; the end of the MAC tells the machines apart.
        let tap = format!("tap{}", self.mac[9..].replace(':', ""));
        ns::tap(&tap)?;
        let serial = folder.join(format!("serial-{name}.log"));
        File::create(&serial)?;
        let log = File::create(folder.join(format!("qemu-{name}.log")))?;
        let monitor = folder.join(format!("monitor-{name}"));
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-nodefaults", "-no-user-config"])
            .args(more)
            .args(["-accel", "tcg", "-m", "512", "-display", "none"])
            .args(["-name", name, "-serial"])
            .arg(format!("file:{}", serial.display()))
            .arg("-monitor")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-netdev")
            .arg(format!("tap,id=net,ifname={tap},script=no,downscript=no"))
            .arg("-device")
            .arg(self.network_card());
        match self.firmware {
            // Without graphics SeaBIOS and the ROM write on the serial port.
            Firmware::Bios => command.args(["-machine", "pc,graphics=off"]),
            Firmware::UefiPxe
            | Firmware::UefiHttp
            | Firmware::UefiHttps
            | Firmware::UefiPxe6
            | Firmware::UefiHttp6
            | Firmware::SecureBoot => self.uefi_arguments(&mut command, assets, folder)?,
        };
        if self.disk {
            self.disk_arguments(&mut command, folder)?;
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("qemu-system-x86_64")?;
        Ok(Running {
            machine: self,
            tap,
            child,
            serial,
            monitor,
            since: Instant::now(),
        })
    }

    fn network_card(self) -> String {
        // Without a ROM it is the firmware's own client that asks.
        let rom = match self.firmware {
            Firmware::Bios => "",
            Firmware::UefiPxe
            | Firmware::UefiHttp
            | Firmware::UefiHttps
            | Firmware::UefiPxe6
            | Firmware::UefiHttp6
            | Firmware::SecureBoot => ",romfile=",
        };
        format!(
            "virtio-net-pci,netdev=net,mac={},bootindex=0{rom}",
            self.mac
        )
    }

    fn uefi_arguments<'a>(
        self,
        command: &'a mut Command,
        assets: &Assets,
        folder: &Path,
    ) -> Result<&'a mut Command> {
        let vars = folder.join(format!("vars-{}.fd", self.name));
        let secure = self.firmware == Firmware::SecureBoot;
        // With Microsoft's keys, and enforcing: only System Management Mode writes the variables.
        let of = |path: &Path| {
            if secure {
                path.with_extension("ms.fd")
            } else {
                path.to_owned()
            }
        };
        std::fs::copy(of(&assets.ovmf_vars), &vars).context("UEFI variables")?;
        let code = of(&assets.ovmf_code);
        let code = code.display();
        let flash = "if=pflash,format=raw";
        if secure {
            command
                .args(["-machine", "q35,smm=on", "-global"])
                .arg("driver=cfi.pflash01,property=secure,value=on");
        } else {
            command.args(["-machine", "q35"]);
        }
        command
            .arg("-drive")
            .arg(format!("{flash},readonly=on,file={code}"))
            .arg("-drive")
            .arg(format!("{flash},file={}", vars.display()));
        // Each client that finds nothing costs the firmware a minute. With both PXE clients off, OVMF goes straight to HTTP boot.
        let off: &[&str] = match self.firmware {
            Firmware::UefiHttp | Firmware::UefiHttps | Firmware::UefiHttp6 => {
                &["IPv6PXESupport", "IPv4PXESupport"]
            }
            Firmware::UefiPxe6 => &["IPv4PXESupport"],
            Firmware::Bios | Firmware::UefiPxe | Firmware::SecureBoot => &["IPv6PXESupport"],
        };
        for client in off {
            command
                .arg("-fw_cfg")
                .arg(format!("name=opt/org.tianocore/{client},string=no"));
        }
        if self.firmware == Firmware::UefiHttps {
            let authority = folder.join(AUTHORITY);
            command.arg("-fw_cfg").arg(format!(
                "name=etc/edk2/https/cacerts,file={}",
                authority.display()
            ));
        }
        Ok(command)
    }

    fn disk_arguments(self, command: &mut Command, folder: &Path) -> Result<()> {
        let path = folder.join(format!("disk-{}", self.name));
        let file = match self.firmware {
            Firmware::Bios => {
                disk::bios(&path)?;
                path.display().to_string()
            }
            Firmware::UefiPxe
            | Firmware::UefiHttp
            | Firmware::UefiHttps
            | Firmware::UefiPxe6
            | Firmware::UefiHttp6
            | Firmware::SecureBoot => {
                disk::uefi(&path)?;
                format!("fat:{}", path.display())
            }
        };
        command
            .arg("-drive")
            .arg(format!(
                "if=none,id=disk,format=raw,readonly=on,file={file}"
            ))
            .args(["-device", "virtio-blk-pci,drive=disk,bootindex=1"]);
        Ok(())
    }
}

impl Running {
    /// The first whole line with `marker` that the machine printed, from the marker on.
    pub(crate) fn said(&self, marker: &str) -> Option<String> {
        let bytes = std::fs::read(&self.serial).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let (line, _) = text[text.find(marker)?..].split_once('\n')?;
        Some(line.trim_end().to_owned())
    }

    /// Presses keys, one after the other, as QEMU's monitor names them.
    pub(crate) fn press(&self, keys: &[&str]) -> Result<()> {
        let mut monitor = UnixStream::connect(&self.monitor).context("QEMU's monitor")?;
        for key in keys {
            writeln!(monitor, "sendkey {key}")?;
            sleep(BETWEEN_KEYS);
        }
        Ok(())
    }

    /// Time since power-on.
    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether it has switched itself off, or QEMU failed.
    pub(crate) fn is_off(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = ns::run(&format!("ip link delete {}", self.tap));
    }
}

/// Whether a word is a kernel's own file name, as iPXE or GRUB tells it.
fn is_name(word: &str) -> bool {
    matches!(word, "vmlinuz" | "uki.efi") || word.starts_with("BOOT_IMAGE=")
}

/// Checks what a machine printed: its name, and the command line that its manifest names.
///
/// Words are allowed that the manifest does not name, because loaders and UEFI kernels put them there: the
/// kernel's own file name first, and `initrd=`.
pub(crate) fn expect_command_line(said: &str, machine: &str, expected: &str) -> Result<()> {
    let (name, line) = said
        .strip_prefix("REVEILLE-USERSPACE ")
        .and_then(|rest| rest.split_once(" cmdline: "))
        .with_context(|| format!("not the marker: {said}"))?;
    let words: Vec<&str> = line
        .split(' ')
        .enumerate()
        .filter(|(index, word)| !(word.starts_with("initrd=") || *index == 0 && is_name(word)))
        .map(|(_, word)| word)
        .collect();
    if name != machine || words.join(" ") != expected {
        bail!("{machine} booted as {name} with `{line}`, expected `{expected}`");
    }
    Ok(())
}
