//! Replays what fuzzing kept, and a sample of what is near it: `tests/fuzz/seeds` through the functions that
//! the fuzz targets drive.
//!
//! `REVEILLE_CASES` is how many mutations of each seed are tried; `make fuzz` tries them by the million,
//! guided by what they reach.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of them"
)]

#[path = "support/cases.rs"]
mod cases;
#[path = "fuzz/drive/mod.rs"]
mod drive;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use self::cases::cases;
use self::drive::Target;

/// Bytes of all seeds at most: they are here to be replayed, not to be a corpus.
const MOST_SEEDS: u64 = 300_000;

/// What the seeds of a target must reach, so that they are not replayed to its first check alone.
const REACHED: [(&str, &[&str]); 4] = [
    (
        "dhcp4",
        &[
            "offer",
            "ack",
            "nak",
            "bootp-reply",
            "lease-active",
            "machine-unknown",
        ],
    ),
    ("dhcp6", &["address", "reply", "other-server-chosen"]),
    (
        "tftp",
        &[
            "file",
            "text",
            "ended",
            "uploaded",
            "name-empty",
            "path-escapes-root",
        ],
    ),
    (
        "http",
        &[
            "script",
            "menu",
            "file",
            "locked",
            "config",
            "token-wrong",
            "local-script",
            "not-a-mac-address",
        ],
    ),
];

#[test]
fn dhcp4() {
    replay("dhcp4");
}

#[test]
fn dhcp6() {
    replay("dhcp6");
}

#[test]
fn tftp() {
    replay("tftp");
}

#[test]
fn http() {
    replay("http");
}

#[test]
fn seeds_are_few() {
    let all = drive::ALL.iter().flat_map(|(name, _)| seeds(name));
    let bytes: u64 = all.map(|(_, seed)| seed.len() as u64).sum();
    assert!(bytes < MOST_SEEDS, "{bytes} bytes of seeds");
}

fn replay(name: &str) {
    let (_, target) = drive::ALL
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap();
    let mut reached = BTreeSet::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (file, seed) in seeds(name) {
        reached.insert(tried(target, &file, &seed));
        for _ in 0..cases(50).cases {
            let near = random.mutated(&seed);
            reached.insert(tried(target, &file, &near));
        }
    }
    let (_, wanted) = REACHED
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap();
    let missing: Vec<_> = wanted.iter().filter(|it| !reached.contains(*it)).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} is reached by none; {reached:?} are"
    );
}

/// Runs one input; one that panics is told, so that it can become a seed.
fn tried(target: Target, file: &str, input: &[u8]) -> &'static str {
    catch_unwind(|| target(input)).unwrap_or_else(|_| {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("the input is {hex}, of or near {file}")
    })
}

/// The seeds of a target, by the names of their files.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/seeds")
        .join(name);
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds
}

/// Numbers that are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 8] = [0, 1, 2, 4, 0x7f, 0x80, 0xfe, 0xff];
        match self.below(2) {
            0 => TELLING[self.below(8)],
            _ => u8::try_from(self.below(256)).unwrap(),
        }
    }

    /// A few bytes changed, put in or taken out, and at times the end cut off.
    fn mutated(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.insert(at, self.byte()),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 if self.below(4) == 0 => bytes.truncate(at),
                _ if !bytes.is_empty() => bytes[at] = self.byte(),
                _ => bytes.push(self.byte()),
            }
        }
        bytes
    }
}
