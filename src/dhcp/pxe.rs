//! PXE's own options, encapsulated in option 43 (PXE 2.1 section 2.2.3, table
//! 2-1): discovery control (6), boot servers (8), the menu (9), its prompt (10)
//! and the item that was chosen (71). Core.

use std::net::Ipv4Addr;

/// Discovery control.
const DISCOVERY: u8 = 6;
/// Boot servers by type.
const SERVERS: u8 = 8;
/// The menu.
const MENU: u8 = 9;
/// How the menu is shown.
const PROMPT: u8 = 10;
/// The boot item that a client chose.
const ITEM: u8 = 71;
/// Ends the options inside option 43.
const END: u8 = 255;

/// Discovery control: neither broadcast nor multicast, only the servers that
/// are listed.
const LISTED_ONLY: u8 = 1 | 2 | 4;

/// Tells a client to load the file that the offer names, and to look for no
/// boot server: discovery control with bit 3 alone.
pub const TAKE_THE_FILE: &[u8] = b"\x06\x01\x08\xff";

/// A menu whose only item is type 0, the machine's own disk, chosen at once:
/// discovery is off (6), the menu has one item (9), the prompt waits 0 s (10).
/// EDK2 says "Remote boot cancelled" and goes on to its next boot entry.
const DISK_MENU: &[u8] =
    b"\x06\x01\x03\x09\x10\x00\x00\x0dBoot the disk\x0a\x0e\x00Boot the disk\xff";

/// What the firmware itself is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// To boot the disk at once.
    Disk,
    /// To ask TFTP for names of its own; this text is what a Raspberry Pi
    /// looks for.
    RaspberryPi(&'static str),
}

/// A menu that the firmware itself shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    /// The server that is asked for each item's file, at UDP 4011.
    pub server: Ipv4Addr,
    /// The items, the first of which is chosen where nobody chooses.
    pub items: Vec<Item>,
    /// What is written above the menu while it waits.
    pub prompt: String,
    /// How long it waits.
    pub wait: Wait,
}

/// An item of a menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its type: 0 is the machine's own disk, what is ours is [`Item::OURS`]
    /// and up.
    pub kind: u16,
    /// Its text.
    pub text: String,
}

/// How long a menu waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The first item is chosen at once.
    No,
    /// For so many seconds, 1 to 254, somebody may press F8 and choose.
    Seconds(u8),
    /// The menu is shown until somebody chooses.
    Forever,
}

/// An item that a client asks a boot server for (sub-option 71).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its type.
    pub kind: u16,
    /// The layer: 0 for the first file; its highest bit asks for credentials.
    pub layer: u16,
}

/// A menu that does not fit into option 43.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MenuTooLong {
    /// It has no items.
    #[error("the menu is empty")]
    Empty,
    /// The texts are longer than 255 bytes together, heads included: ROMs read
    /// one option 43 only.
    #[error("the menu has {0} bytes, firmware takes 255; use fewer items or shorter titles")]
    Bytes(usize),
}

// === impl Vendor ===

impl Vendor {
    /// The bytes of option 43; `server` is where TFTP is asked.
    #[must_use]
    pub fn encode(self, server: Ipv4Addr) -> Vec<u8> {
        match self {
            Self::Disk => DISK_MENU.to_vec(),
            Self::RaspberryPi(text) => raspberry_pi(server, text),
        }
    }
}

// === impl Item ===

impl Item {
    /// The first type that is ours: PXE 2.1 table 2-2 leaves 32768 to 65279 to
    /// vendors.
    pub const OURS: u16 = 0x8000;
}

// === impl Wait ===

impl Wait {
    /// The timeout byte of sub-option 10.
    const fn byte(self) -> u8 {
        match self {
            Self::No => 0,
            // 0 and 255 have meanings of their own.
            Self::Seconds(0) => 1,
            Self::Seconds(u8::MAX) => 254,
            Self::Seconds(seconds) => seconds,
            Self::Forever => 255,
        }
    }
}

// === impl Menu ===

impl Menu {
    /// The bytes of option 43.
    ///
    /// # Errors
    /// [`MenuTooLong`] where firmware would not read it.
    pub fn encode(&self) -> Result<Vec<u8>, MenuTooLong> {
        if self.items.is_empty() {
            return Err(MenuTooLong::Empty);
        }
        let mut servers = Vec::new();
        let mut menu = Vec::new();
        for Item { kind, text } in &self.items {
            if *kind != 0 {
                servers.extend(kind.to_be_bytes());
                servers.push(1);
                servers.extend(self.server.octets());
            }
            menu.extend(kind.to_be_bytes());
            // What is longer makes the whole too long, and is refused below.
            menu.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            menu.extend(text.as_bytes());
        }
        let mut prompt = vec![self.wait.byte()];
        prompt.extend(self.prompt.as_bytes());
        let parts: [(u8, &[u8]); 4] = [
            (DISCOVERY, &[LISTED_ONLY]),
            (SERVERS, &servers),
            (MENU, &menu),
            (PROMPT, &prompt),
        ];
        encode(&parts)
    }
}

/// Sub-options in option 43, those without data left out.
fn encode(parts: &[(u8, &[u8])]) -> Result<Vec<u8>, MenuTooLong> {
    let parts = || parts.iter().filter(|(_, data)| !data.is_empty());
    let length = parts().map(|(_, data)| data.len() + 2).sum::<usize>() + 1;
    if length > usize::from(u8::MAX) {
        return Err(MenuTooLong::Bytes(length));
    }
    let mut bytes = Vec::with_capacity(length);
    for (code, data) in parts() {
        bytes.push(*code);
        bytes.push(u8::try_from(data.len()).map_err(|_| MenuTooLong::Bytes(length))?);
        bytes.extend_from_slice(data);
    }
    bytes.push(END);
    Ok(bytes)
}

/// What the boot ROM of a Raspberry Pi looks for before it asks TFTP for
/// anything: a menu with `text`, a prompt, and the server of its files, which
/// the ROM of a Pi 3 takes from here (raspberrypi/firmware issues 801, 871).
fn raspberry_pi(server: Ipv4Addr, text: &str) -> Vec<u8> {
    /// Discovery control: neither broadcast nor multicast.
    const QUIET: u8 = 1 | 2;
    let servers = [&[0, 0, 1], &server.octets()[..]].concat();
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    let menu = [&[0, 0, length], text.as_bytes()].concat();
    let parts: [(u8, &[u8]); 4] = [
        (DISCOVERY, &[QUIET]),
        (SERVERS, &servers),
        (MENU, &menu),
        (PROMPT, b"\0PXE"),
    ];
    // The texts are ours and short.
    encode(&parts).unwrap_or_default()
}

/// The boot item that a request's option 43 asks for; `None` where it names
/// none, or is no list of sub-options up to there.
#[must_use]
pub fn chosen(vendor_options: &[u8]) -> Option<Chosen> {
    let mut rest = vendor_options;
    loop {
        match rest {
            [0, behind @ ..] => rest = behind,
            [END, ..] | [] | [_] => return None,
            [code, length, behind @ ..] => {
                let (data, others) = behind.split_at_checked(usize::from(*length))?;
                if *code == ITEM {
                    let [a, b, c, d] = data else { return None };
                    return Some(Chosen {
                        kind: u16::from_be_bytes([*a, *b]),
                        layer: u16::from_be_bytes([*c, *d]),
                    });
                }
                rest = others;
            }
        }
    }
}

/// Option 43 of the answer for a chosen item: the item again, without which a
/// client throws the answer away (PXE 2.1 section 2.2.5).
#[must_use]
pub fn echo(chosen: Chosen) -> Vec<u8> {
    let mut bytes = vec![ITEM, 4];
    bytes.extend(chosen.kind.to_be_bytes());
    bytes.extend(chosen.layer.to_be_bytes());
    bytes.push(END);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn item(kind: u16, text: &str) -> Item {
        Item {
            kind,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_menu_lists_the_server_of_every_item_but_the_disk() {
        let menu = Menu {
            server: SERVER,
            items: vec![item(Item::OURS, "Debian"), item(0, "Disk")],
            prompt: "F8".to_owned(),
            wait: Wait::Seconds(10),
        };
        let wanted: Vec<u8> = [
            &b"\x06\x01\x07"[..],
            b"\x08\x07\x80\x00\x01\xc0\x00\x02\x01",
            b"\x09\x10\x80\x00\x06Debian\x00\x00\x04Disk",
            b"\x0a\x03\x0aF8",
            b"\xff",
        ]
        .concat();
        assert_eq!(menu.encode(), Ok(wanted));
    }

    #[test]
    fn waiting_has_its_own_numbers() {
        let bytes = [
            Wait::No,
            Wait::Seconds(0),
            Wait::Seconds(255),
            Wait::Forever,
        ];
        assert_eq!(bytes.map(Wait::byte), [0, 1, 254, 255]);
    }

    #[test]
    fn a_menu_that_firmware_cannot_read_is_refused() {
        let menu = |items| Menu {
            server: SERVER,
            items,
            prompt: String::new(),
            wait: Wait::No,
        };
        assert_eq!(menu(Vec::new()).encode(), Err(MenuTooLong::Empty));
        let long = (0..9)
            .map(|n| item(Item::OURS + n, "a rather long title"))
            .collect();
        assert!(matches!(
            menu(long).encode(),
            Err(MenuTooLong::Bytes(256..))
        ));
    }

    #[test]
    fn fixed_options_are_lists_that_end() {
        let pi = raspberry_pi(SERVER, "Raspberry Pi Boot");
        for bytes in [TAKE_THE_FILE, DISK_MENU, &pi] {
            let mut rest = bytes;
            let mut codes = Vec::new();
            while let [code, length, behind @ ..] = rest {
                codes.push(*code);
                rest = &behind[usize::from(*length)..];
            }
            assert_eq!(rest, [END], "{codes:?}");
        }
    }

    #[test]
    fn the_chosen_item_is_found_behind_other_options_and_comes_back() {
        let asked = b"\x00\x0a\x01\x00\x47\x04\x80\x01\x00\x00\xff";
        let found = chosen(asked).unwrap();
        assert_eq!((found.kind, found.layer), (0x8001, 0));
        assert_eq!(echo(found), b"\x47\x04\x80\x01\x00\x00\xff");
        for bad in [
            &b""[..],
            b"\xff\x47\x04\x80\x01\x00\x00",
            b"\x47",
            b"\x47\x04\x80",
            b"\x47\x02\x80\x01",
            b"\x01\xff",
        ] {
            assert_eq!(chosen(bad), None, "{bad:?}");
        }
    }
}
