//! Memory that a burst needed goes back to the host. Shell.
//!
//! The list of ten thousand Machines, a compile, a hundred thousand leases read
//! from disk: each needs tens of megabytes for a moment. glibc keeps what was
//! freed for the next such moment, one heap for each thread. A service that
//! shares a small node with others should not.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often what is free is given back. It takes a millisecond or two when
/// there is something, and microseconds when there is nothing.
const EVERY: Duration = Duration::from_secs(10);

/// Heaps at most. Threads that would fight for one have small allocations in
/// caches of their own.
const HEAPS: i32 = 2;

/// Has the allocator keep few heaps. For the start, before there are threads;
/// `MALLOC_ARENA_MAX` and `GLIBC_TUNABLES` of the environment win.
pub fn prepare() {
    let chosen = ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"];
    if chosen.iter().all(|name| std::env::var_os(name).is_none()) {
        heaps(HEAPS);
    }
}

/// Gives back what is free now, and then every ten seconds until `token` is
/// cancelled.
///
/// # Errors
/// None of its own; the supervisor wants the type.
pub async fn give_back(token: CancellationToken) -> anyhow::Result<()> {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            _ = tick.tick() => {}
        }
        // It holds each heap for a moment: not on a thread that answers.
        // An error is a shutdown.
        let _ = tokio::task::spawn_blocking(trim).await;
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn heaps(most: i32) {
    #[expect(unsafe_code, reason = "no crate has a safe call of it")]
    // SAFETY: any two integers may be given; one that it does not know is refused.
    let _ = unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, most) };
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    #[expect(unsafe_code, reason = "no crate has a safe call of it")]
    // SAFETY: it may be called at any time, by any thread (malloc_trim(3)).
    let _ = unsafe { nix::libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn heaps(_: i32) {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
