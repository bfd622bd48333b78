//! What machines read of discs, a few sectors at a time.
//!
//! iPXE reads a disc that it boots as a drive: thousands of requests of a few
//! kilobytes. The timeline is told of every [`TOLD`] bytes, not of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::boot::MacAddress;
use crate::clock::Millis;

/// Bytes of a disc after which the timeline is told. iPXE itself reads less
/// than a tenth of it to see whether the disc can be booted: a machine that
/// reads more runs what is on it.
const TOLD: u64 = 1 << 20;
/// Milliseconds of silence after which a machine begins anew. Shorter than any
/// firmware needs to get here again.
const SILENCE_MILLIS: u64 = 5_000;
/// Machines that read at once; of more the one that read longest ago is
/// forgotten.
const MAX: usize = 1024;

/// Counts what machines read of discs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Discs(Arc<Mutex<BTreeMap<MacAddress, Reading>>>);

/// What a machine read since the timeline was told.
#[derive(Clone, Copy, Debug)]
struct Reading {
    since: Millis,
    last: Millis,
    bytes: u64,
}

/// What the timeline is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Bytes that were sent.
    pub(super) bytes: u64,
    /// Milliseconds that it took.
    pub(super) millis: u64,
}

impl Discs {
    /// Takes in that `mac` was sent `bytes` of a disc of `size` bytes; says
    /// what the timeline is to be told, if it is due.
    pub(super) fn read(&self, mac: MacAddress, bytes: u64, size: u64, now: Millis) -> Option<Read> {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Reading {
            since: now,
            last: now,
            bytes: 0,
        };
        let before = readings.remove(&mac);
        let mut reading = before
            .filter(|before| now.since(before.last) < SILENCE_MILLIS)
            .unwrap_or(fresh);
        reading.bytes = reading.bytes.saturating_add(bytes);
        reading.last = now;
        if reading.bytes >= TOLD.min(size) {
            return Some(Read {
                bytes: reading.bytes,
                millis: now.since(reading.since),
            });
        }
        if readings.len() >= MAX {
            let oldest = readings.iter().min_by_key(|(_, reading)| reading.last);
            if let Some(oldest) = oldest.map(|(mac, _)| *mac) {
                readings.remove(&oldest);
            }
        }
        readings.insert(mac, reading);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISC: u64 = 100 << 20;

    fn mac(last: u8) -> MacAddress {
        MacAddress::new([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn tells_of_a_megabyte_and_not_of_each_sector() {
        let discs = Discs::default();
        let told: Vec<Read> = (0..1024)
            .filter_map(|n| discs.read(mac(1), 2048, DISC, Millis(n * 10)))
            .collect();
        let first = Read {
            bytes: TOLD,
            millis: 5110,
        };
        assert_eq!(told.len(), 2);
        assert_eq!(told[0], first);
    }

    #[test]
    fn keeps_machines_apart_and_forgets_an_earlier_boot() {
        let discs = Discs::default();
        assert_eq!(discs.read(mac(1), TOLD - 1, DISC, Millis(0)), None);
        assert_eq!(discs.read(mac(2), 1, DISC, Millis(1)), None);
        assert_eq!(discs.read(mac(1), 1, DISC, Millis(5_000)), None);
        let small = discs.read(mac(3), 700, 700, Millis(0));
        assert_eq!(small.map(|read| read.bytes), Some(700));
    }

    #[test]
    fn is_bounded() {
        let discs = Discs::default();
        for n in 0..2000_u16 {
            let [high, low] = n.to_be_bytes();
            let mac = MacAddress::new([2, 0, 0, 0, high, low]);
            assert_eq!(discs.read(mac, 1, DISC, Millis(n.into())), None);
        }
        assert_eq!(discs.0.lock().unwrap().len(), MAX);
    }
}
