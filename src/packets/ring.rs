//! The last packets of each machine, for whoever asks what was said. Shared
//! between the engine, which fills it, and the admin doors.
//!
//! Bytes are kept as they were, and read only when somebody asks. Machines
//! that an object names and strangers have room of their own: a flood of made
//! up addresses pushes out strangers only.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::capture::Datagram;
use super::decode::{Decoded, Packet};
use super::v6::Decoded6;
use crate::boot::MacAddress;
use crate::clock::Millis;

/// What a ring may hold. For each of the two rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Machines: the one that was silent longest goes first.
    pub machines: usize,
    /// Packets of a machine: a boot has some twenty.
    pub packets: usize,
    /// Bytes of all packets together.
    pub bytes: usize,
}

/// A packet that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// When.
    pub at: Millis,
    /// On which interface.
    pub interface: Arc<str>,
    /// Whether it came from the machine.
    pub request: bool,
    /// What was done about a request, or what a reply is.
    pub outcome: &'static str,
    /// Where it came from.
    pub from: (IpAddr, u16),
    /// Where it went.
    pub to: (IpAddr, u16),
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// A packet as the admin doors tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketLine {
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The machine.
    pub mac: MacAddress,
    /// On which interface.
    pub interface: String,
    /// `in` or `out`.
    pub direction: String,
    /// What was done about a request, or what a reply is.
    pub outcome: String,
    /// Where it came from.
    pub from: String,
    /// Where it went.
    pub to: String,
    /// What it says; nothing where it is too short to be a packet.
    pub packet: Option<Packet>,
}

/// The ring; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ring(Arc<Mutex<Rooms>>);

#[derive(Debug)]
struct Rooms {
    known: Room,
    strangers: Room,
}

#[derive(Debug)]
struct Room {
    limits: RingLimits,
    machines: HashMap<MacAddress, Machine>,
    /// The machines by when they were heard last.
    by_age: BTreeMap<u64, MacAddress>,
    bytes: usize,
    turn: u64,
}

#[derive(Debug, Default)]
struct Machine {
    packets: VecDeque<Sighted>,
    turn: u64,
}

impl Default for RingLimits {
    /// 1024 machines, 32 packets each, 4 MiB: twice, for machines and strangers.
    fn default() -> Self {
        Self {
            machines: 1024,
            packets: 32,
            bytes: 4 << 20,
        }
    }
}

// === impl Ring ===

impl Default for Ring {
    fn default() -> Self {
        Self::new(RingLimits::default())
    }
}

impl Ring {
    /// An empty one.
    #[must_use]
    pub fn new(limits: RingLimits) -> Self {
        Self(Arc::new(Mutex::new(Rooms {
            known: Room::new(limits),
            strangers: Room::new(limits),
        })))
    }

    /// Keeps a packet of `mac`, which an object names if it is `known`; where
    /// nobody looked, it stands with its earlier ones.
    pub fn push(&self, mac: MacAddress, known: Option<bool>, packet: Sighted) {
        let mut rooms = self.lock();
        let known = known.unwrap_or_else(|| rooms.known.machines.contains_key(&mac));
        let Rooms {
            known: ours,
            strangers,
        } = &mut *rooms;
        let (room, other) = if known {
            (ours, strangers)
        } else {
            (strangers, ours)
        };
        // Its object was made or deleted meanwhile: its story moves with it.
        if let Some(packets) = other.take(mac) {
            for earlier in packets {
                room.push(mac, earlier);
            }
        }
        room.push(mac, packet);
    }

    /// The packets of these machines, the oldest first.
    #[must_use]
    pub fn of(&self, macs: impl IntoIterator<Item = MacAddress>) -> Vec<(MacAddress, Sighted)> {
        let rooms = self.lock();
        let mut all = Vec::new();
        for mac in macs {
            for room in [&rooms.known, &rooms.strangers] {
                let machine = room.machines.get(&mac);
                let packets = machine.map(|machine| machine.packets.iter().cloned());
                all.extend(packets.into_iter().flatten().map(|packet| (mac, packet)));
            }
        }
        drop(rooms);
        all.sort_by_key(|(_, packet)| packet.at);
        all
    }

    fn lock(&self) -> MutexGuard<'_, Rooms> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Room ===

impl Room {
    fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            machines: HashMap::new(),
            by_age: BTreeMap::new(),
            bytes: 0,
            turn: 0,
        }
    }

    fn push(&mut self, mac: MacAddress, packet: Sighted) {
        self.turn += 1;
        let machine = self.machines.entry(mac).or_default();
        self.by_age.remove(&machine.turn);
        machine.turn = self.turn;
        self.by_age.insert(self.turn, mac);
        self.bytes += packet.bytes.len();
        machine.packets.push_back(packet);
        if machine.packets.len() > self.limits.packets
            && let Some(oldest) = machine.packets.pop_front()
        {
            self.bytes -= oldest.bytes.len();
        }
        while self.machines.len() > self.limits.machines || self.bytes > self.limits.bytes {
            let Some((_, silent)) = self.by_age.pop_first() else {
                return;
            };
            self.take(silent);
        }
    }

    /// Takes a machine out.
    fn take(&mut self, mac: MacAddress) -> Option<VecDeque<Sighted>> {
        let machine = self.machines.remove(&mac)?;
        self.by_age.remove(&machine.turn);
        let bytes: usize = machine.packets.iter().map(|it| it.bytes.len()).sum();
        self.bytes -= bytes;
        Some(machine.packets)
    }
}

// === impl Sighted ===

impl Sighted {
    /// As the admin doors tell it.
    #[must_use]
    pub fn line(&self, mac: MacAddress) -> PacketLine {
        let place = |place: (IpAddr, u16)| SocketAddr::from(place).to_string();
        let packet = match self.from.0 {
            IpAddr::V4(_) => Decoded::read(&self.bytes).map(Packet::V4),
            IpAddr::V6(_) => Decoded6::read(&self.bytes).map(Packet::V6),
        };
        PacketLine {
            at: self.at.0,
            mac,
            interface: self.interface.to_string(),
            direction: if self.request { "in" } else { "out" }.to_owned(),
            outcome: self.outcome.to_owned(),
            from: place(self.from),
            to: place(self.to),
            packet,
        }
    }

    /// As captures have it.
    #[must_use]
    pub fn datagram(&self) -> Datagram {
        Datagram {
            at: self.at,
            from: self.from,
            to: self.to,
            payload: self.bytes.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u32) -> MacAddress {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddress::new([2, 0, a, b, c, d])
    }

    fn packet(at: u64, length: usize) -> Sighted {
        Sighted {
            at: Millis(at),
            interface: "eth0".into(),
            request: true,
            outcome: "offer",
            from: (IpAddr::from([0; 4]), 68),
            to: (IpAddr::from([255; 4]), 67),
            bytes: vec![0; length].into(),
        }
    }

    fn ring() -> Ring {
        Ring::new(RingLimits {
            machines: 3,
            packets: 4,
            bytes: 1000,
        })
    }

    fn times(ring: &Ring, number: u32) -> Vec<u64> {
        let all = ring.of([mac(number)]);
        all.iter().map(|(_, packet)| packet.at.0).collect()
    }

    #[test]
    fn keeps_the_last_packets_of_the_last_machines() {
        let ring = ring();
        for at in 0..6 {
            ring.push(mac(1), Some(true), packet(at, 10));
        }
        assert_eq!(times(&ring, 1), [2, 3, 4, 5]);
        for number in 2..5 {
            ring.push(mac(number), Some(true), packet(u64::from(number) + 10, 10));
        }
        assert_eq!(times(&ring, 1), [0_u64; 0], "it was silent longest");
        assert_eq!(times(&ring, 4), [14]);
    }

    #[test]
    fn a_flood_of_strangers_pushes_out_strangers_only() {
        let ring = ring();
        ring.push(mac(0), Some(true), packet(1, 900));
        for number in 1..5000 {
            ring.push(mac(number), Some(false), packet(2, 400));
        }
        assert_eq!(times(&ring, 0), [1]);
        let rooms = ring.lock();
        assert!(rooms.strangers.bytes <= 1000 && rooms.strangers.machines.len() <= 3);
        assert_eq!(rooms.strangers.by_age.len(), rooms.strangers.machines.len());
    }

    #[test]
    fn a_machine_that_gets_an_object_keeps_its_story() {
        let ring = ring();
        ring.push(mac(1), Some(false), packet(1, 10));
        ring.push(mac(1), Some(true), packet(2, 10));
        assert_eq!(times(&ring, 1), [1, 2]);
        let rooms = ring.lock();
        assert_eq!((rooms.known.bytes, rooms.strangers.bytes), (20, 0));
    }

    #[test]
    fn one_packet_that_is_too_large_leaves_nothing_behind() {
        let ring = ring();
        ring.push(mac(1), Some(true), packet(1, 2000));
        assert_eq!(times(&ring, 1), [0_u64; 0]);
        assert_eq!(ring.lock().known.bytes, 0);
    }
}
