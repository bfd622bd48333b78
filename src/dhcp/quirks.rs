//! What firmware does that no standard tells: a table, keyed by what a request
//! says of itself (options 60, 93, 97) and by who made the card. Core.
//!
//! What all firmware is given, because some of it needs it and the rest does
//! not mind, stands where it is done: the PAD behind option 67 (`reply`), the
//! server's address in siaddr, sname and option 66 alike (`decide`), EBC taken
//! for x64 (`boot::FirmwareType`), a missing option 97 (`proxy`).

use super::option;
use super::request::Request;
use crate::boot::ClientKind;

/// What is known of some firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirk {
    /// Its name in log lines and scenarios.
    pub name: &'static str,
    /// Whom it is about.
    pub who: Who,
    /// What is done for them.
    pub does: Treatment,
    /// Where it is known from.
    pub source: &'static str,
}

/// How firmware is known. What is empty is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Values of option 93.
    pub firmware: &'static [u16],
    /// The first bytes of option 97, its type left out.
    pub machine_id: &'static [u8],
    /// The first three bytes of the MAC address.
    pub ouis: &'static [[u8; 3]],
}

/// What is done for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// A proxy's offer says in option 43 that its file is to be taken.
    TakesFile,
    /// A proxy's offer has option 60 and no option 43, and the client asks for
    /// its file at UDP 4011.
    AsksBootServer,
    /// No file is named. The client looks for this text in PXE's menu and asks
    /// TFTP for names of its own.
    RaspberryPi(&'static str),
}

/// Who is in the table. The first row that fits counts.
pub const QUIRKS: [Quirk; 5] = [
    Quirk {
        name: "raspberry-pi-by-id",
        who: Who {
            firmware: &[0, 41],
            machine_id: b"RPi",
            ouis: &[],
        },
        does: Treatment::RaspberryPi("Raspberry Pi Boot"),
        source: "raspberrypi/documentation, bootloader configuration, DHCP_OPTION97 (2020-03-19); \
                 rpi-eeprom#182: option 93 is 0, as if it were a PC",
    },
    Quirk {
        name: "raspberry-pi-3",
        who: Who {
            firmware: &[0],
            machine_id: &[],
            // Raspberry Pi Foundation: all models before the 4.
            ouis: &[[0xb8, 0x27, 0xeb]],
        },
        // Its mask ROM wants the three spaces.
        does: Treatment::RaspberryPi("Raspberry Pi Boot   "),
        source: "raspberrypi/firmware#871, #801, #1265: the ROM takes the TFTP server from 43.8 and 66, \
                 not from siaddr, and sends no REQUEST",
    },
    Quirk {
        name: "raspberry-pi",
        who: Who {
            firmware: &[0, 41],
            machine_id: &[],
            // Raspberry Pi Trading: 4, 400, 5. 2c:cf:67 is on the Pi 5 of
            // rpi-eeprom#720.
            ouis: &[
                [0xdc, 0xa6, 0x32],
                [0xe4, 0x5f, 0x01],
                [0x28, 0xcd, 0xc1],
                [0xd8, 0x3a, 0xdd],
                [0x2c, 0xcf, 0x67],
            ],
        },
        does: Treatment::RaspberryPi("Raspberry Pi Boot"),
        source: "rpi-eeprom#87, #182, #720; smee#23: a Pi 4 wants option 66",
    },
    Quirk {
        name: "uefi-asks-4011",
        who: Who {
            // Every UEFI that boots by TFTP.
            firmware: &[2, 6, 7, 8, 9, 10, 11, 25, 27, 29, 33, 34, 35, 36, 37, 39],
            machine_id: &[],
            ouis: &[],
        },
        does: Treatment::AsksBootServer,
        source: "edk2#6944 (Dell T430, T130; EDK2 until 2017): a proxy's offer with option 43 is not kept; \
                 EDK2 PxeBcDhcp4.c: option 60 without 43 has it ask port 4011",
    },
    Quirk {
        name: "bios-takes-file",
        who: Who {
            firmware: &[],
            machine_id: &[],
            ouis: &[],
        },
        does: Treatment::TakesFile,
        source: "PXE 2.1 table 2-1, option 43.6 bit 3: without it a ROM looks for boot servers",
    },
];

/// What is known of the firmware that sent `request`; `None` for what is no
/// PXE client. The last row fits every client.
#[must_use]
pub fn of(request: &Request) -> Option<&'static Quirk> {
    if request.client.kind != ClientKind::Pxe {
        return None;
    }
    QUIRKS.iter().find(|quirk| quirk.who.is(request))
}

// === impl Who ===

impl Who {
    fn is(&self, request: &Request) -> bool {
        let Self {
            firmware,
            machine_id,
            ouis,
        } = self;
        let says = |value: u16| firmware.contains(&value);
        let id = request.option(option::MACHINE_ID);
        let id = id.and_then(|id| id.get(1..)).unwrap_or_default();
        let oui = request.client.mac.map(|mac| mac.bytes());
        // A client that says no type is a PC.
        (firmware.is_empty() || says(request.client.firmware.map_or(0, |kind| kind.0)))
            && id.starts_with(machine_id)
            && (ouis.is_empty()
                || oui.is_some_and(|mac| ouis.iter().any(|oui| mac.starts_with(oui))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::FirmwareType;

    #[test]
    fn every_uefi_that_boots_by_tftp_asks_at_4011() {
        for value in 0..=41 {
            let Some((arch, transport)) = FirmwareType(value).meaning() else {
                continue;
            };
            let row = QUIRKS.iter().find(|row| row.who.firmware.contains(&value));
            let asks = row.is_some_and(|row| row.does == Treatment::AsksBootServer);
            let wanted = arch.is_uefi() && transport == crate::boot::Transport::Tftp;
            assert_eq!(asks, wanted, "{value}");
        }
    }

    #[test]
    fn names_are_distinct_and_sources_are_told() {
        let mut names: Vec<&str> = QUIRKS.iter().map(|quirk| quirk.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), QUIRKS.len());
        assert!(QUIRKS.iter().all(|quirk| !quirk.source.is_empty()));
        let last = QUIRKS.last().map(|quirk| quirk.who);
        let anyone = Who {
            firmware: &[],
            machine_id: &[],
            ouis: &[],
        };
        assert_eq!(last, Some(anyone));
    }
}
