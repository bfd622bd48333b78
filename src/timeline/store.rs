//! The boots of every machine, by machine, by MAC address, by age and by when
//! they changed last. Bounded in every direction.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::boot::{Boot, BootId, BootResult};
use super::event::BootEvent;
use super::known::Known;
use super::observe::Note;
use super::word::Words;
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::snapshot::ObjectName;

/// Machines whose boots are kept; the one heard of longest ago goes first.
pub const MAX_MACHINES: usize = 10_000;
/// Finished boots that are kept for each machine.
pub const KEPT_BOOTS: usize = 5;
/// MAC addresses of one machine that are known at once, and so its boots that
/// overlap. A machine boots over one of its interfaces, or over two.
pub const MAX_MACS: usize = 8;

/// Every boot that is going on or was seen lately. Bounded.
#[derive(Debug, Default)]
pub struct Timeline {
    histories: BTreeMap<u64, History>,
    by_mac: BTreeMap<MacAddress, u64>,
    by_name: BTreeMap<ObjectName, u64>,
    /// The histories by when they were heard of last, to make room without a
    /// look at all of them: thousands may wake at once.
    by_age: BTreeSet<(Millis, u64)>,
    /// The histories by their revision.
    by_revision: BTreeMap<u64, u64>,
    /// The number of the next history.
    next: u64,
    /// The number of the last boot.
    last: u64,
    revision: u64,
    words: Words,
}

/// The boots of one machine.
#[derive(Debug, Default)]
struct History {
    /// The machine's object; without one the history is of a MAC address.
    name: Option<ObjectName>,
    /// The MAC addresses that boot it, the latest last.
    macs: Vec<MacAddress>,
    /// What goes on: one boot of a MAC address at most.
    running: Vec<Boot>,
    /// What ended, the latest last.
    past: VecDeque<Boot>,
    last_seen: Millis,
    revision: u64,
}

/// The boots of one machine, to be read.
#[derive(Clone, Copy, Debug)]
pub struct MachineBoots<'a>(&'a History);

// === impl MachineBoots ===

impl<'a> MachineBoots<'a> {
    /// The machine's object, where one names it.
    #[must_use]
    pub const fn name(self) -> Option<&'a ObjectName> {
        self.0.name.as_ref()
    }

    /// The MAC addresses that boot it, the latest last.
    #[must_use]
    pub fn macs(self) -> &'a [MacAddress] {
        &self.0.macs
    }

    /// What goes on; several boots where it boots over several interfaces.
    #[must_use]
    pub fn running(self) -> &'a [Boot] {
        &self.0.running
    }

    /// What ended, the latest last; [`KEPT_BOOTS`] at most.
    pub fn past(self) -> impl DoubleEndedIterator<Item = &'a Boot> {
        self.0.past.iter()
    }

    /// The revision of its last change.
    #[must_use]
    pub const fn revision(self) -> u64 {
        self.0.revision
    }
}

// === impl Timeline: reading ===

impl Timeline {
    /// Every boot that is known, the latest last.
    #[must_use]
    pub fn boots(&self) -> Vec<&Boot> {
        let histories = self.histories.values();
        let mut boots: Vec<&Boot> = histories
            .flat_map(|history| history.past.iter().chain(&history.running))
            .collect();
        boots.sort_by_key(|boot| (boot.started, boot.id));
        boots
    }

    /// Every machine that is known, in no order that means anything.
    pub fn machines(&self) -> impl Iterator<Item = MachineBoots<'_>> {
        self.histories.values().map(MachineBoots)
    }

    /// The boots of the machine that an object names.
    #[must_use]
    pub fn of_machine(&self, name: &ObjectName) -> Option<MachineBoots<'_>> {
        let index = self.by_name.get(name)?;
        self.histories.get(index).map(MachineBoots)
    }

    /// The boots of the machine that has this MAC address.
    #[must_use]
    pub fn of_mac(&self, mac: MacAddress) -> Option<MachineBoots<'_>> {
        let index = self.by_mac.get(&mac)?;
        self.histories.get(index).map(MachineBoots)
    }

    /// Counts changes of histories up, from 0.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The machines whose boots changed after `revision`, the one that changed
    /// longest ago first. A machine that made room for others is not told of.
    pub fn changed_since(&self, revision: u64) -> impl Iterator<Item = MachineBoots<'_>> {
        self.by_revision
            .range(revision.saturating_add(1)..)
            .filter_map(|(_, index)| self.histories.get(index).map(MachineBoots))
    }

    /// The boot of `mac` that goes on.
    #[must_use]
    pub fn running(&self, mac: MacAddress) -> Option<&Boot> {
        self.of_mac(mac)?
            .running()
            .iter()
            .find(|boot| boot.mac == mac)
    }
}

// === impl Timeline: writing ===

impl Timeline {
    /// The history that `event` belongs to, which is made where it begins a
    /// boot. `None` where there is none: most of what asks for an address
    /// never boots from the network, and must not push out what does.
    pub(super) fn place(
        &mut self,
        event: &BootEvent,
        known: &Known,
        begins: bool,
        notes: &mut Vec<Note>,
    ) -> Option<u64> {
        let mac = event.mac;
        let seated = self.by_mac.get(&mac).copied();
        let index = match seated {
            Some(index) => {
                let name = self.histories.get(&index)?.name.clone();
                match (&name, &known.name) {
                    // Its object was found or written meanwhile.
                    (None, Some(name)) => self.rename(index, mac, name, notes),
                    // The MAC address is another machine's now; a boot that
                    // goes on stays where it began.
                    (Some(_), other) if begins && name != *other => {
                        self.leave(index, mac, notes);
                        self.seat(mac, known.name.as_ref(), event.at, notes)
                    }
                    (Some(_) | None, _) => index,
                }
            }
            None if begins => self.seat(mac, known.name.as_ref(), event.at, notes),
            None => return None,
        };
        let history = self.histories.get_mut(&index)?;
        self.by_age.remove(&(history.last_seen, index));
        history.last_seen = event.at;
        self.by_age.insert((event.at, index));
        Some(index)
    }

    /// A name for the next boot of `mac`: by the time, or by the next number
    /// that no boot has.
    pub(super) fn new_id(&mut self, mac: MacAddress, at: Millis) -> BootId {
        self.last = at.0.max(self.last.saturating_add(1));
        BootId {
            mac,
            number: self.last,
        }
    }

    /// Adds a boot that goes on.
    pub(super) fn add(&mut self, index: u64, boot: Boot, notes: &mut Vec<Note>) {
        let Some(history) = self.histories.get_mut(&index) else {
            return;
        };
        // One of a MAC address: it has ended before.
        history.end(boot.mac, BootResult::Restarted, notes);
        history.running.push(boot);
    }

    /// Adds a boot that is over and that nobody saw.
    pub(super) fn remember(&mut self, index: u64, boot: Boot) {
        self.last = self.last.max(boot.id.number);
        if let Some(history) = self.histories.get_mut(&index) {
            let boot = Boot {
                result: BootResult::HandedOff,
                expects: None,
                ..boot
            };
            history.keep(boot);
        }
    }

    /// The boot of `mac` that goes on, and the words.
    pub(super) fn running_mut(
        &mut self,
        index: u64,
        mac: MacAddress,
    ) -> (Option<&mut Boot>, &mut Words) {
        let history = self.histories.get_mut(&index);
        let boot = history.and_then(|history| history.running.iter_mut().find(|b| b.mac == mac));
        (boot, &mut self.words)
    }

    /// A boot that is known, and the words.
    pub(super) fn boot_mut(&mut self, index: u64, id: BootId) -> (Option<&mut Boot>, &mut Words) {
        let history = self.histories.get_mut(&index);
        let boot = history.and_then(|history| {
            let mut all = history.running.iter_mut().chain(&mut history.past);
            all.find(|boot| boot.id == id)
        });
        (boot, &mut self.words)
    }

    /// The history that has the boot `id`.
    pub(super) fn find(&self, id: BootId) -> Option<u64> {
        let seat = self.by_mac.get(&id.mac).copied();
        let here = seat.filter(|index| self.histories.get(index).is_some_and(|h| h.has(id)));
        // A MAC address that moved left its boots behind.
        here.or_else(|| {
            let mut all = self.histories.iter();
            all.find(|(_, history)| history.has(id))
                .map(|(index, _)| *index)
        })
    }

    /// The last boot of `mac`, where that stalled.
    pub(super) fn stalled_last(&self, index: u64, mac: MacAddress) -> Option<&Boot> {
        let mut past = self.histories.get(&index)?.past.iter();
        past.rfind(|boot| boot.mac == mac)
            .filter(|boot| boot.result == BootResult::Stalled)
    }

    /// The last boot of `mac`, where it was sent everything: the history that
    /// it is in, the boot, and the words.
    pub(super) fn handed_off_last(
        &mut self,
        mac: MacAddress,
    ) -> Option<(u64, &mut Boot, &mut Words)> {
        let index = *self.by_mac.get(&mac)?;
        let mut past = self.histories.get_mut(&index)?.past.iter_mut();
        let boot = past
            .rfind(|boot| boot.mac == mac)
            .filter(|boot| matches!(boot.result, BootResult::HandedOff | BootResult::Chained))?;
        Some((index, boot, &mut self.words))
    }

    /// The boots that have stalled by now.
    pub(super) fn stalled(&self, now: Millis) -> Vec<(u64, MacAddress)> {
        let histories = self.histories.iter();
        let running = histories.flat_map(|(index, h)| h.running.iter().map(|boot| (*index, boot)));
        running
            .filter(|(_, boot)| boot.is_stalled(now))
            .map(|(index, boot)| (index, boot.mac))
            .collect()
    }

    /// Ends the boot of `mac` that goes on, if one does.
    pub(super) fn end(
        &mut self,
        index: u64,
        mac: MacAddress,
        result: BootResult,
        notes: &mut Vec<Note>,
    ) {
        if let Some(history) = self.histories.get_mut(&index) {
            history.end(mac, result, notes);
        }
    }

    /// Drops the boot of `mac` that goes on, where an offer is all that came of
    /// it: it is another server's boot, and none of ours ever was.
    pub(super) fn drop_offered(&mut self, mac: MacAddress) {
        let Some(index) = self.by_mac.get(&mac).copied() else {
            return;
        };
        let Some(history) = self.histories.get_mut(&index) else {
            return;
        };
        let before = history.running.len();
        history
            .running
            .retain(|boot| boot.mac != mac || !boot.is_mere_offer());
        if history.running.len() < before {
            self.touch(index);
        }
    }

    /// Says that a history changed.
    pub(super) fn touch(&mut self, index: u64) {
        if let Some(history) = self.histories.get_mut(&index) {
            self.revision += 1;
            self.by_revision.remove(&history.revision);
            history.revision = self.revision;
            self.by_revision.insert(self.revision, index);
        }
    }

    pub(super) const fn words(&mut self) -> &mut Words {
        &mut self.words
    }

    /// Gives `mac` its place in the history of `name`, or in one of its own.
    fn seat(
        &mut self,
        mac: MacAddress,
        name: Option<&ObjectName>,
        at: Millis,
        notes: &mut Vec<Note>,
    ) -> u64 {
        let known = name.and_then(|name| self.by_name.get(name)).copied();
        let index = known.unwrap_or_else(|| self.make(name, at));
        self.join(index, mac, notes);
        index
    }

    /// A new history.
    fn make(&mut self, name: Option<&ObjectName>, at: Millis) -> u64 {
        self.make_room();
        let index = self.next;
        self.next += 1;
        if let Some(name) = name {
            self.by_name.insert(name.clone(), index);
        }
        let history = History {
            name: name.cloned(),
            last_seen: at,
            ..History::default()
        };
        self.histories.insert(index, history);
        self.by_age.insert((at, index));
        index
    }

    fn make_room(&mut self) {
        if self.histories.len() >= MAX_MACHINES
            && let Some((_, oldest)) = self.by_age.first().copied()
        {
            self.forget(oldest);
        }
    }

    /// Removes a history and every way to it.
    fn forget(&mut self, index: u64) {
        let Some(history) = self.histories.remove(&index) else {
            return;
        };
        self.by_age.remove(&(history.last_seen, index));
        self.by_revision.remove(&history.revision);
        if let Some(name) = &history.name {
            self.by_name.remove(name);
        }
        for mac in history.macs {
            self.by_mac.remove(&mac);
        }
    }

    /// `mac` boots the machine of this history from now on.
    fn join(&mut self, index: u64, mac: MacAddress, notes: &mut Vec<Note>) {
        let Some(history) = self.histories.get_mut(&index) else {
            return;
        };
        history.macs.push(mac);
        if history.macs.len() > MAX_MACS {
            let oldest = history.macs.remove(0);
            history.end(oldest, BootResult::Restarted, notes);
            self.by_mac.remove(&oldest);
        }
        self.by_mac.insert(mac, index);
        self.touch(index);
    }

    /// `mac` boots the machine of this history no more; its boots stay.
    fn leave(&mut self, index: u64, mac: MacAddress, notes: &mut Vec<Note>) {
        self.by_mac.remove(&mac);
        if let Some(history) = self.histories.get_mut(&index) {
            history.end(mac, BootResult::Restarted, notes);
            history.macs.retain(|other| *other != mac);
        }
        self.touch(index);
    }

    /// Files the history of a MAC address under the object that names it.
    fn rename(
        &mut self,
        index: u64,
        mac: MacAddress,
        name: &ObjectName,
        notes: &mut Vec<Note>,
    ) -> u64 {
        let Some(other) = self.by_name.get(name).copied() else {
            if let Some(history) = self.histories.get_mut(&index) {
                history.name = Some(name.clone());
                history.call(name, &mut self.words);
                self.by_name.insert(name.clone(), index);
            }
            self.touch(index);
            return index;
        };
        let Some(moved) = self.histories.get_mut(&index) else {
            return other;
        };
        let running = std::mem::take(&mut moved.running);
        let past = std::mem::take(&mut moved.past);
        self.forget(index);
        self.join(other, mac, notes);
        if let Some(history) = self.histories.get_mut(&other) {
            history.running.extend(running);
            for boot in past {
                history.keep(boot);
            }
            history.call(name, &mut self.words);
        }
        other
    }
}

// === impl History ===

impl History {
    fn has(&self, id: BootId) -> bool {
        self.running
            .iter()
            .chain(&self.past)
            .any(|boot| boot.id == id)
    }

    fn end(&mut self, mac: MacAddress, result: BootResult, notes: &mut Vec<Note>) {
        let Some(at) = self.running.iter().position(|boot| boot.mac == mac) else {
            return;
        };
        let mut boot = self.running.remove(at);
        boot.result = result;
        boot.consume(result);
        boot.expects = None;
        if matches!(result, BootResult::Stalled | BootResult::Restarted) {
            boot.stalled_at = Some(boot.next_stage());
        }
        boot.stages.shrink_to_fit();
        boot.trouble.shrink_to_fit();
        notes.push(Note::Ended(Box::new(boot.clone())));
        self.keep(boot);
    }

    /// Keeps a boot that is over, in its place by time.
    fn keep(&mut self, boot: Boot) {
        let later = |other: &Boot| (other.started, other.id) > (boot.started, boot.id);
        let at = self.past.iter().position(later).unwrap_or(self.past.len());
        self.past.insert(at, boot);
        while self.past.len() > KEPT_BOOTS {
            self.past.pop_front();
        }
    }

    /// Files every boot under the machine's object.
    fn call(&mut self, name: &ObjectName, words: &mut Words) {
        for boot in self.running.iter_mut().chain(&mut self.past) {
            boot.name(name, words);
        }
    }
}
