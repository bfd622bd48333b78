//! Plays machines that boot: the client of `peers.sh`, the same for us and for
//! whom we are held against. `responder` is a DHCP server that does nothing.
//!
//!     machines tftp  --server A:P --file F [--clients N] [--from A] [--blksize B] [--windowsize W]
//!     machines dhcp  --server A --relay A (--rate R | --flight N) [--seconds S] [--first N] [--uefi true]
//!     machines responder --at A --network A
//!     machines slow  --server A:P --path P [--clients N] [--from A] [--rate BYTES] [--seconds S]
//!     machines storm --server A --relay A --loader F --script P --kernel P --initrd P [--clients N]
//!
//! `--from` is the first of as many addresses as there are clients; all of them
//! are ours where the network's route is `local`. `--relay` is the address that
//! the DHCP packets of all machines come from. Each prints one line of
//! `name=value`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a program for developers that measures time and prints"
)]

mod dhcp;
mod http;
mod responder;
mod storm;
mod tftp;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

/// What was written behind `--name`.
pub struct Arguments(BTreeMap<String, String>);

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let what = words.next().unwrap_or_default();
    let mut arguments = BTreeMap::new();
    while let Some(name) = words.next() {
        let name = name.strip_prefix("--").expect("--name value").to_owned();
        arguments.insert(name, words.next().expect("a value"));
    }
    let arguments = Arguments(arguments);
    match what.as_str() {
        "tftp" => tftp::many(&arguments),
        "dhcp" => dhcp::load(&arguments),
        "responder" => responder::respond(&arguments),
        "slow" => http::slow(&arguments),
        "storm" => storm::storm(&arguments),
        _ => eprintln!("machines tftp|dhcp|responder|slow|storm; its source says with what"),
    }
}

// === impl Arguments ===

impl Arguments {
    pub fn get<T: FromStr>(&self, name: &str) -> T
    where
        T::Err: Display,
    {
        let text = self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("--{name} is missing"));
        parse(name, text)
    }

    pub fn or<T: FromStr>(&self, name: &str, otherwise: T) -> T
    where
        T::Err: Display,
    {
        self.0.get(name).map_or(otherwise, |text| parse(name, text))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

fn parse<T: FromStr>(name: &str, text: &str) -> T
where
    T::Err: Display,
{
    text.parse()
        .unwrap_or_else(|error| panic!("--{name} {text}: {error}"))
}

/// The address `n` behind `first`.
pub fn address(first: Ipv4Addr, n: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first) + n as u32)
}

/// Has `count` threads do `work`, all at once; what came of it.
pub fn all_at_once<T: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> T + Clone + Send + 'static,
) -> (Vec<T>, Duration) {
    let started = Instant::now();
    let threads: Vec<JoinHandle<T>> = (0..count)
        .map(|n| {
            let work = work.clone();
            let thread = Builder::new().stack_size(128 << 10);
            thread.spawn(move || work(n)).expect("a thread")
        })
        .collect();
    let done = threads.into_iter().map(|it| it.join().expect("no panic"));
    let done = done.collect();
    (done, started.elapsed())
}

/// The value below which `share` of the sorted `values` lie.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    let at = at.min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Waits until `at`.
pub fn wait_until(at: Instant) {
    thread::sleep(at.saturating_duration_since(Instant::now()));
}
