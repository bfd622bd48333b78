//! The menu of a profile as PXE firmware shows it (PXE 2.1 section 2.2.3), and
//! what was chosen there. Core.

use std::net::Ipv4Addr;

use super::pxe::{Chosen, Item, Menu, Wait};
use crate::api::{MenuAction, MenuSource};
use crate::snapshot::{Choice, Pick, ProfileEntry, Snapshot, menu_of};

/// The type of the machine's own disk.
const DISK: u16 = 0;

/// What firmware is shown of the menu of `profile`; `None` where it is to be
/// shown none, or there is too much for option 43: the loader shows it then.
#[must_use]
pub(super) fn offered(
    snapshot: &Snapshot,
    profile: &ProfileEntry,
    server: Ipv4Addr,
) -> Option<Vec<u8>> {
    let menu = menu_of(profile).filter(|menu| menu.firmware)?;
    let title = &profile.name.name;
    let open = |index| is_open(snapshot, profile, menu, index);
    shown(menu, title, server, open).encode().ok()
}

/// `menu` as firmware is shown it: those of its entries that are `open`, the
/// default first, for that is chosen where nobody chooses. `name` stands above
/// where it has no title.
#[must_use]
pub(crate) fn shown(
    menu: &MenuSource,
    name: &str,
    server: Ipv4Addr,
    open: impl Fn(usize) -> bool,
) -> Menu {
    let default = menu.default_name().and_then(|name| menu.entry(name));
    let default = default.map(|(index, _)| index);
    let others = (0..menu.entries.len()).filter(|index| Some(*index) != default);
    let order = default.into_iter().chain(others);
    let items = order.filter(|index| open(*index)).filter_map(|index| {
        let entry = menu.entries.get(index)?;
        Some(Item {
            kind: kind_of(index, entry.action)?,
            text: entry.shown().to_owned(),
        })
    });
    let secs = u8::try_from(menu.timeout.secs()).unwrap_or(u8::MAX);
    let waits = secs > 0 && default.is_some_and(&open);
    let title = menu.title.as_deref().unwrap_or(name);
    Menu {
        server,
        items: items.collect(),
        prompt: format!("{title} (F8)"),
        wait: if waits {
            Wait::Seconds(secs)
        } else {
            Wait::Forever
        },
    }
}

/// What a firmware chose from the menu of `profile`; `None` where that is none
/// of its entries, or one that firmware is not shown.
#[must_use]
pub(super) fn choice(snapshot: &Snapshot, profile: &ProfileEntry, item: u16) -> Option<Choice> {
    let menu = menu_of(profile).filter(|menu| menu.firmware)?;
    let index = usize::from(item.checked_sub(Item::OURS)?);
    let entry = menu.entries.get(index)?;
    is_open(snapshot, profile, menu, index).then(|| Choice::default().join(&entry.name))
}

/// What is remembered of what firmware chose: 0 for nothing, or its disk.
#[must_use]
pub(super) const fn remembered(chosen: Option<Chosen>) -> u16 {
    match chosen {
        Some(chosen) => chosen.kind,
        None => DISK,
    }
}

/// Firmware asks for no password.
fn is_open(snapshot: &Snapshot, profile: &ProfileEntry, menu: &MenuSource, index: usize) -> bool {
    let entry = menu.entries.get(index);
    entry.is_some_and(|entry| entry.password.is_none()) && leads_on(snapshot, profile, index)
}

fn leads_on(snapshot: &Snapshot, profile: &ProfileEntry, index: usize) -> bool {
    match snapshot.target(profile, index) {
        Ok(Pick::Profile(_) | Pick::Action(_)) => true,
        Err(_) => false,
    }
}

/// The type of the entry at `index`; `None` for more than there are types.
fn kind_of(index: usize, action: Option<MenuAction>) -> Option<u16> {
    if action == Some(MenuAction::Disk) {
        return Some(DISK);
    }
    Item::OURS.checked_add(u16::try_from(index).ok()?)
}
