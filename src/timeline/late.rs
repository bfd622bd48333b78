//! What is seen of a boot after its end: answer files that were given away or
//! refused, and boots that a token makes known again.

use std::net::IpAddr;

use super::boot::{Boot, BootId, Stage};
use super::event::{BootEvent, Release};
use super::known::Known;
use super::observe::{Note, Seen, trouble, write_down};
use super::store::Timeline;
use crate::clock::Millis;

// === impl Timeline ===

impl Timeline {
    /// Where the boot is whose token was shown, known before or from now on.
    pub(super) fn recall(
        &mut self,
        event: &BootEvent,
        (id, address): (BootId, IpAddr),
        known: &Known,
        notes: &mut Vec<Note>,
    ) -> Option<u64> {
        if let Some(index) = self.find(id) {
            return Some(index);
        }
        let index = self.place(event, known, self.of_mac(id.mac).is_none(), notes)?;
        let mut boot = Boot::new(id, Millis(id.number), known, self.words());
        boot.address = Some(address);
        self.remember(index, boot);
        Some(index)
    }

    /// What a machine that runs on its own was refused, such as an answer file.
    pub(super) fn refused_late(&mut self, event: &BootEvent, what: &str, notes: &mut Vec<Note>) {
        if let Some((index, boot, words)) = self.handed_off_last(event.mac) {
            trouble(boot, event.at, what, words, notes);
            self.touch(index);
        }
    }

    /// Writes down which answer file was given away, when, and to what address.
    pub(super) fn released(
        &mut self,
        event: &BootEvent,
        release: &Release,
        known: &Known,
        notes: &mut Vec<Note>,
    ) {
        let Release {
            boot,
            name,
            address,
            bytes,
        } = release;
        let Some(index) = self.recall(event, (*boot, *address), known, notes) else {
            return;
        };
        let (boot, words) = self.boot_mut(index, *boot);
        let Some(boot) = boot else { return };
        let what = format!("{name} to {address}");
        let seen = Seen {
            bytes: *bytes,
            ..Seen::packet(Stage::Config, &what)
        };
        // It is no step on the way: whatever is awaited still is.
        write_down(boot, &seen, event.at, words, notes);
        self.touch(index);
    }
}
