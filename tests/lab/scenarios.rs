//! What the lab proves, one scenario after the other.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reveille::script::is_token;

use crate::boots::Boot;
use crate::room::Room;
use crate::support::assets::Assets;
use crate::support::disk;
use crate::support::foreign::{self, Kind::Dnsmasq, Kind::Kea};
use crate::support::machine::{AWAKE, Firmware, Machine, PROMISE, Running, expect_command_line};
use crate::support::server::get;
use crate::support::setup;

/// Memory of the server that we promise, after a few boots, but for the pages of its file: of the debug
/// program that is tried here these alone are more.
pub(crate) const MEMORY: u64 = 40 << 20;

/// Handshakes of the HTTPS door that came to their end.
const HANDSHAKES: &str = r#"reveille_tls_handshakes_total{door="boot-tls",result="complete"}"#;

/// One scenario, run in a room of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The folder of manifests, from the project's root.
    manifests: &'static str,
    machine: Machine,
    expected: Expected,
    /// Whether the system's own loaders are served; on Debian 12 they are of 2019.
    system_loaders: bool,
    /// Who lends the addresses, where it is not us.
    beside: Option<foreign::Kind>,
}

/// How it must end.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// Linux wakes up, by way of a loader whose name holds this; `None`: the ROM's own iPXE.
    Linux { loader: Option<&'static str> },
    /// The disk boots.
    Disk,
    /// Linux boots once, in spite of a power cut, and the disk ever after.
    Once,
    /// What is no plain kernel wakes up.
    Source(Source),
    /// The same, with the URL of its answer file on the command line.
    Answers(Source),
    /// The same, once somebody typed a wrong password at a menu, and the right one.
    Password(Source),
}

/// What is no plain kernel, and how it must show.
#[derive(Clone, Copy, Debug)]
struct Source {
    /// What it prints.
    says: &'static str,
    /// The name and the command line of the Linux in it, where it prints them.
    linux: Option<(&'static str, &'static str)>,
    /// The stages, in order.
    stages: &'static [&'static str],
    result: &'static str,
}

/// How long it may take until a boot that is over counts at the next one.
const ONCE_SETTLES: Duration = Duration::from_secs(3);

/// How long a screen may take to be drawn; the menu waits longer.
const SCREEN_SETTLES: Duration = Duration::from_secs(2);

/// The password of the lab's menus, by its keys.
const PASSWORD: [&str; 9] = ["s", "w", "o", "r", "d", "f", "i", "s", "h"];

/// Where Debian's package `ipxe` has its loaders.
const SYSTEM_LOADERS: &str = "/usr/lib/ipxe";

/// The machines of `examples/first-light`.
pub(crate) const FIRST_LIGHT: [Machine; 3] = [
    machine("bios-pxe", "52:54:00:00:00:01", Firmware::Bios),
    machine("uefi-pxe", "52:54:00:00:00:02", Firmware::UefiPxe),
    machine("uefi-http", "52:54:00:00:00:03", Firmware::UefiHttp),
];

/// The machines of `examples/proxy`.
const PROXY: [Machine; 5] = [
    machine("bios-pxe", "52:54:00:00:00:21", Firmware::Bios),
    machine("uefi-pxe", "52:54:00:00:00:22", Firmware::UefiPxe),
    machine("uefi-http", "52:54:00:00:00:23", Firmware::UefiHttp),
    machine("bios-chained", "52:54:00:00:00:24", Firmware::Bios),
    machine("uefi-disk", "52:54:00:00:00:25", Firmware::UefiPxe),
];

/// Where their manifests are.
pub(crate) const FIRST_LIGHT_MANIFESTS: &str = "examples/first-light";

/// All scenarios, the longest first so that two at a time end early.
pub(crate) const ALL: [Scenario; 36] = [
    Scenario {
        name: "uefi-disk-old",
        manifests: "tests/lab/manifests/local-disk",
        machine: Machine {
            disk: true,
            ..machine("uefi-disk", "52:54:00:00:00:06", Firmware::UefiPxe)
        },
        expected: Expected::Disk,
        system_loaders: true,
        beside: None,
    },
    Scenario {
        name: "uefi-disk",
        manifests: "tests/lab/manifests/local-disk",
        machine: Machine {
            disk: true,
            ..machine("uefi-disk", "52:54:00:00:00:06", Firmware::UefiPxe)
        },
        expected: Expected::Disk,
        system_loaders: false,
        beside: None,
    },
    Scenario {
        name: "once",
        manifests: "tests/lab/manifests/once",
        machine: Machine {
            disk: true,
            ..machine("once", "52:54:00:00:00:22", Firmware::Bios)
        },
        expected: Expected::Once,
        system_loaders: false,
        beside: None,
    },
    Scenario {
        name: "ipxe6",
        manifests: "tests/lab/manifests/ipv6-router",
        machine: machine("ipxe6", "52:54:00:00:00:43", Firmware::UefiPxe6),
        expected: Expected::Linux {
            loader: Some(".efi"),
        },
        system_loaders: false,
        beside: None,
    },
    over_ipv6("efi-by-http6", "52:54:00:00:00:42", Firmware::UefiHttp6),
    over_ipv6("efi-by-tftp6", "52:54:00:00:00:41", Firmware::UefiPxe6),
    Scenario {
        name: "secure-boot",
        manifests: "tests/lab/manifests/secure-boot",
        machine: machine("secure-boot", "52:54:00:00:00:21", Firmware::SecureBoot),
        expected: Expected::Source(linux(
            (
                "secure-boot",
                "console=ttyS0 hostname=secure-boot reveille.mac=52:54:00:00:00:21",
            ),
            &[
                "Offer", "Ack", "Loader", "Script", "Kernel", "Initrd", "HandOff",
            ],
        )),
        system_loaders: false,
        beside: None,
    },
    Scenario {
        name: "grub-http",
        manifests: "tests/lab/manifests/grub-http",
        machine: machine("grub-http", "52:54:00:00:00:24", Firmware::UefiPxe),
        expected: Expected::Answers(linux(
            ("grub-http", "console=ttyS0 hostname=grub-http"),
            &[
                "Offer", "Ack", "Loader", "Script", "Kernel", "Initrd", "HandOff",
            ],
        )),
        system_loaders: false,
        beside: None,
    },
    menu(
        "menu-grub",
        "52:54:00:00:00:43",
        Firmware::SecureBoot,
        Expected::Source(linux(
            ("menu-grub", "console=ttyS0 hostname=menu-grub chosen=linux"),
            &[
                "Offer", "Ack", "Loader", "Menu", "Script", "Kernel", "Initrd", "HandOff",
            ],
        )),
    ),
    menu(
        "menu-keys",
        "52:54:00:00:00:42",
        Firmware::Bios,
        Expected::Password(linux(
            (
                "menu-keys",
                "console=ttyS0 hostname=menu-keys chosen=locked",
            ),
            &[
                "Offer", "Ack", "Menu", "Menu", "Script", "Kernel", "Initrd", "HandOff",
            ],
        )),
    ),
    menu(
        "menu",
        "52:54:00:00:00:41",
        Firmware::Bios,
        Expected::Source(linux(
            ("menu", "console=ttyS0 hostname=menu chosen=linux"),
            &[
                "Offer", "Ack", "Menu", "Script", "Kernel", "Initrd", "HandOff",
            ],
        )),
    ),
    of_folder(
        "tests/lab/manifests/rom-replaced",
        machine("rom-replaced", "52:54:00:00:00:04", Firmware::Bios),
        Expected::Linux {
            loader: Some("undionly"),
        },
    ),
    of_folder(
        "tests/lab/manifests/over-https",
        machine("https-rom", "52:54:00:00:00:31", Firmware::Bios),
        Expected::Linux {
            loader: Some("undionly"),
        },
    ),
    of_folder(
        "tests/lab/manifests/over-https",
        machine("https-uefi", "52:54:00:00:00:32", Firmware::UefiPxe),
        Expected::Linux {
            loader: Some(".efi"),
        },
    ),
    of_folder(
        "tests/lab/manifests/over-https",
        machine("https-firmware", "52:54:00:00:00:33", Firmware::UefiHttps),
        Expected::Linux {
            loader: Some(".efi"),
        },
    ),
    Scenario {
        name: "bios-pxe",
        manifests: FIRST_LIGHT_MANIFESTS,
        machine: FIRST_LIGHT[0],
        expected: Expected::Linux { loader: None },
        system_loaders: false,
        beside: None,
    },
    Scenario {
        name: "uefi-pxe",
        manifests: FIRST_LIGHT_MANIFESTS,
        machine: FIRST_LIGHT[1],
        expected: Expected::Linux {
            loader: Some(".efi"),
        },
        system_loaders: false,
        beside: None,
    },
    Scenario {
        name: "uefi-http",
        manifests: FIRST_LIGHT_MANIFESTS,
        machine: FIRST_LIGHT[2],
        expected: Expected::Linux {
            loader: Some(".efi"),
        },
        system_loaders: false,
        beside: None,
    },
    Scenario {
        name: "bios-disk",
        manifests: "tests/lab/manifests/local-disk",
        machine: Machine {
            disk: true,
            ..machine("bios-disk", "52:54:00:00:00:05", Firmware::Bios)
        },
        expected: Expected::Disk,
        system_loaders: false,
        beside: None,
    },
    beside("proxy-bios-dnsmasq", Dnsmasq, PROXY[0], None),
    beside("proxy-bios-kea", Kea, PROXY[0], None),
    beside("proxy-uefi-dnsmasq", Dnsmasq, PROXY[1], Some(".efi")),
    beside("proxy-uefi-kea", Kea, PROXY[1], Some(".efi")),
    beside("proxy-http-dnsmasq", Dnsmasq, PROXY[2], Some(".efi")),
    beside("proxy-http-kea", Kea, PROXY[2], Some(".efi")),
    beside("proxy-undionly", Dnsmasq, PROXY[3], Some("undionly")),
    Scenario {
        name: "proxy-disk",
        manifests: "examples/proxy",
        machine: Machine {
            disk: true,
            ..PROXY[4]
        },
        expected: Expected::Disk,
        system_loaders: false,
        beside: Some(Dnsmasq),
    },
    source(
        "iso-by-http",
        "52:54:00:00:00:15",
        Firmware::UefiHttp,
        linux(
            ("iso", "console=ttyS0 hostname=iso"),
            &["Offer", "Ack", "Iso", "HandOff"],
        ),
    ),
    source(
        "installer",
        "52:54:00:00:00:19",
        Firmware::Bios,
        Source {
            says: INSTALLER,
            linux: None,
            stages: &["Offer", "Ack", "Script", "Kernel", "Initrd", "HandOff"],
            result: "HandedOff",
        },
    ),
    source(
        "efi-by-tftp",
        "52:54:00:00:00:13",
        Firmware::UefiPxe,
        linux(
            ("uki", "console=ttyS0 hostname=uki"),
            &["Offer", "Ack", "Efi", "HandOff"],
        ),
    ),
    source(
        "iso-by-uefi",
        "52:54:00:00:00:16",
        Firmware::UefiPxe,
        linux(
            ("iso", "console=ttyS0 hostname=iso"),
            &["Offer", "Ack", "Loader", "Script", "Iso", "HandOff"],
        ),
    ),
    source(
        "efi-by-ipxe",
        "52:54:00:00:00:11",
        Firmware::UefiPxe,
        linux(
            ("efi-by-ipxe", "console=ttyS0 hostname=efi-by-ipxe"),
            &["Offer", "Ack", "Loader", "Script", "Efi", "HandOff"],
        ),
    ),
    source(
        "efi-by-http",
        "52:54:00:00:00:12",
        Firmware::UefiHttp,
        linux(
            ("uki", "console=ttyS0 hostname=uki"),
            &["Offer", "Ack", "Efi", "HandOff"],
        ),
    ),
    source(
        "iso-by-bios",
        "52:54:00:00:00:14",
        Firmware::Bios,
        linux(
            ("iso", "console=ttyS0 hostname=iso"),
            &["Offer", "Ack", "Script", "Iso", "HandOff"],
        ),
    ),
    source(
        "own-script",
        "52:54:00:00:00:18",
        Firmware::Bios,
        linux(
            ("own-script", "console=ttyS0 hostname=own-script"),
            &["Offer", "Ack", "Script", "HandOff"],
        ),
    ),
    source(
        "chained",
        "52:54:00:00:00:17",
        Firmware::Bios,
        Source {
            result: "Chained",
            ..linux(
                ("elsewhere", "console=ttyS0 hostname=elsewhere"),
                &["Offer", "Ack", "Script", "HandOff"],
            )
        },
    ),
];

/// One of [`PROXY`]'s machines, whose address is lent by somebody else.
const fn beside(
    name: &'static str,
    beside: foreign::Kind,
    machine: Machine,
    loader: Option<&'static str>,
) -> Scenario {
    Scenario {
        name,
        manifests: "examples/proxy",
        machine,
        expected: Expected::Linux { loader },
        system_loaders: false,
        beside: Some(beside),
    }
}

/// What Debian's installer prints first.
const INSTALLER: &str = "Starting system log daemon";

const fn source(
    name: &'static str,
    mac: &'static str,
    firmware: Firmware,
    source: Source,
) -> Scenario {
    let folder = "tests/lab/manifests/sources";
    of_folder(
        folder,
        machine(name, mac, firmware),
        Expected::Source(source),
    )
}

/// A machine that shows a menu.
const fn menu(
    name: &'static str,
    mac: &'static str,
    firmware: Firmware,
    expected: Expected,
) -> Scenario {
    let folder = "tests/lab/manifests/menu";
    of_folder(folder, machine(name, mac, firmware), expected)
}

const fn of_folder(manifests: &'static str, machine: Machine, expected: Expected) -> Scenario {
    Scenario {
        name: machine.name,
        manifests,
        machine,
        expected,
        system_loaders: false,
        beside: None,
    }
}

/// A machine whose firmware knows IPv6 alone, and loads what it boots itself.
const fn over_ipv6(name: &'static str, mac: &'static str, firmware: Firmware) -> Scenario {
    Scenario {
        manifests: "tests/lab/manifests/ipv6",
        ..source(
            name,
            mac,
            firmware,
            linux(
                ("uki", "console=ttyS0 hostname=uki"),
                &["Offer", "Ack", "Efi", "HandOff"],
            ),
        )
    }
}

/// Linux of this name and command line, by way of these stages.
const fn linux(linux: (&'static str, &'static str), stages: &'static [&'static str]) -> Source {
    Source {
        says: AWAKE,
        linux: Some(linux),
        stages,
        result: "HandedOff",
    }
}

const fn machine(name: &'static str, mac: &'static str, firmware: Firmware) -> Machine {
    Machine {
        name,
        mac,
        firmware,
        disk: false,
    }
}

/// A path from the project's root.
pub(crate) fn project(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The kernel command line that the lab's manifests name.
pub(crate) fn command_line(machine: Machine) -> String {
    let Machine { name, mac, .. } = machine;
    format!("console=ttyS0 hostname={name} reveille.mac={mac}")
}

impl Scenario {
    /// The program that it needs and that is not here.
    pub(crate) fn lacks(self) -> Option<&'static str> {
        let program = self.beside.map(foreign::Kind::program);
        program.filter(|program| !setup::is_here(program))
    }

    /// Runs behind the walls; says what was seen, in lines.
    pub(crate) fn run(self, mut assets: Assets, folder: &Path) -> Result<Vec<String>> {
        if self.system_loaders {
            assets.loaders = SYSTEM_LOADERS.into();
        }
        let manifests = project(self.manifests);
        let mut room = Room::open_beside(self.beside, &manifests, assets, folder, "info")?;
        let mut running = room.power_on(self.machine)?;
        match self.expected {
            Expected::Linux { loader } => {
                let (said, after) = room.wait_for(&mut running, AWAKE)?;
                expect_command_line(&said, self.machine.name, &command_line(self.machine))?;
                let boot = room.one_boot(self.machine.mac)?;
                self.expect_linux(&boot, loader)?;
                if self.machine.firmware == Firmware::UefiHttps {
                    // The firmware made one of its own, before iPXE did.
                    let handshakes = room.server.metric(HANDSHAKES)?;
                    ensure!(handshakes >= 2, "{handshakes} handshakes, expected two");
                }
                let mut lines = vec![format!("{}; awake {}", boot.story(), seconds(after))];
                if after > PROMISE {
                    lines.push(format!(
                        "warning: awake within {} is promised",
                        seconds(PROMISE)
                    ));
                }
                lines.extend(memory(&room)?);
                Ok(lines)
            }
            Expected::Once => self.once(&mut room, running),
            Expected::Source(source) | Expected::Answers(source) => {
                self.source(&mut room, &mut running, source)
            }
            Expected::Password(source) => {
                self.types_passwords(&mut room, &running)?;
                self.source(&mut room, &mut running, source)
            }
            Expected::Disk => {
                let (_, after) = room.wait_for(&mut running, disk::MARKER)?;
                // Each client of the firmware that asks, and is told no, is a boot of its own.
                let boots = room.account(self.machine.mac, "LocalBoot")?;
                let mut lines = Vec::new();
                for boot in &boots {
                    self.expect_local(boot)?;
                    lines.push(boot.story());
                }
                lines.push(format!("at its disk after {}", seconds(after)));
                lines.extend(memory(&room)?);
                Ok(lines)
            }
        }
    }

    fn source(self, room: &mut Room, running: &mut Running, source: Source) -> Result<Vec<String>> {
        let (said, after) = room.wait_for(running, source.says)?;
        if let Some((name, line)) = source.linux {
            let said = if matches!(self.expected, Expected::Answers(_)) {
                without_answers(&said, self.machine.mac)?
            } else {
                said
            };
            expect_command_line(&said, name, line)?;
        }
        let boots = room.account(self.machine.mac, source.result)?;
        let boot = boots.last().context("a boot")?;
        self.expect_name(boot)?;
        boot.expect_stages(source.stages)?;
        let mut lines = vec![format!("{}; awake {}", boot.story(), seconds(after))];
        lines.extend(memory(room)?);
        Ok(lines)
    }

    /// Chooses what is behind a password by its key, gets the password wrong, and then right.
    fn types_passwords(self, room: &mut Room, running: &Running) -> Result<()> {
        for (times, word) in (1..).zip([&PASSWORD[1..], &PASSWORD[..]]) {
            room.wait_for_stages(self.machine.mac, "Menu", times)?;
            for keys in [&["l"][..], &and_entered(word)[..]] {
                sleep(SCREEN_SETTLES);
                running.press(keys)?;
            }
        }
        Ok(())
    }

    /// Power is cut before the boot's end, and after it.
    fn once(self, room: &mut Room, running: Running) -> Result<Vec<String>> {
        room.wait_for_stage(self.machine.mac, "Script")?;
        drop(running);
        let mut running = room.power_on(self.machine)?;
        let (said, after) = room.wait_for(&mut running, AWAKE)?;
        expect_command_line(&said, self.machine.name, &command_line(self.machine))?;
        drop(running);
        sleep(ONCE_SETTLES);
        let mut running = room.power_on(self.machine)?;
        room.wait_for(&mut running, disk::MARKER)?;
        let boots = Boot::of(Boot::list(&get("/boots")?)?, self.machine.mac);
        let results: Vec<&str> = boots.iter().map(|boot| boot.result.as_str()).collect();
        ensure!(
            results == ["Restarted", "HandedOff", "LocalBoot"],
            "the boots ended as {results:?}"
        );
        let awake = seconds(after);
        let mut lines = vec![format!("cut, awake after {awake}, and then at its disk")];
        lines.extend(memory(room)?);
        Ok(lines)
    }

    fn expect_linux(self, boot: &Boot, loader: Option<&str>) -> Result<()> {
        self.expect_name(boot)?;
        let Some(part) = loader else {
            ensure!(
                boot.at("Loader").is_none(),
                "the ROM's iPXE was sent a loader, {}",
                boot.loader
            );
            return boot.expect_stages(&["Offer", "Ack", "Script", "Kernel", "Initrd", "HandOff"]);
        };
        ensure!(
            boot.loader.contains(part),
            "the loader was `{}`, expected one with {part} in its name",
            boot.loader
        );
        boot.expect_stages(&[
            "Offer", "Ack", "Loader", "Script", "Kernel", "Initrd", "HandOff",
        ])
    }

    fn expect_local(self, boot: &Boot) -> Result<()> {
        self.expect_name(boot)?;
        boot.expect_stages(&["Offer", "LocalBoot"])?;
        ensure!(
            boot.at("Kernel").is_none(),
            "a kernel was sent to a machine that boots its disk: {}",
            boot.story()
        );
        Ok(())
    }

    fn expect_name(self, boot: &Boot) -> Result<()> {
        ensure!(
            boot.machine == self.machine.name,
            "/boots calls the machine `{}`, its manifest {}",
            boot.machine,
            self.machine.name
        );
        Ok(())
    }
}

/// What a machine said without the URL of its answer file, which must have a token in it.
fn without_answers(said: &str, mac: &str) -> Result<String> {
    let (before, url) = said.rsplit_once(" answers=").context("no URL of answers")?;
    let folder = format!(
        "http://192.0.2.1/reveille/machines/{}/config/",
        mac.replace(':', "-")
    );
    let (url, after) = url.split_once(' ').unwrap_or((url, ""));
    let token = url.strip_prefix(folder.as_str());
    let token = token.and_then(|rest| rest.strip_suffix("/answers"));
    ensure!(
        token.is_some_and(is_token),
        "the URL of its answers is {url}"
    );
    Ok(format!("{before} {after}").trim_end().to_owned())
}

/// A word behind the user's name, which Enter alone leaves as it is.
fn and_entered<'a>(word: &[&'a str]) -> Vec<&'a str> {
    let enter = ["ret"];
    [&enter[..], word, &enter[..]].concat()
}

/// What the server takes. Neither times nor memory decide a test.
fn memory(room: &Room) -> Result<Vec<String>> {
    let own = room.server.own_memory()?;
    let mut lines = vec![format!(
        "server ready after {} ms, {} MiB resident, {} of them its own",
        room.server.ready_after.as_millis(),
        room.server.resident()? >> 20,
        own >> 20
    )];
    if own > MEMORY {
        lines.push(format!("warning: below {} MiB is promised", MEMORY >> 20));
    }
    Ok(lines)
}

/// Seconds with one digit behind the point.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
