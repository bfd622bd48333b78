//! Waiting for what comes by itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How long anything may take that a trial waits for, whatever else the host does.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// How often we look.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Looks again and again until something is there, and says what was missing when it does not come. An
/// error of `look` is a reason to look again.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(LIMIT, what, look)
}

/// Waits until a number has grown to `all`. However slow the host is: only when it has not grown for as
/// long as anything may take is it given up.
pub(crate) fn until_all(
    what: &str,
    all: usize,
    mut count: impl FnMut() -> Result<usize>,
) -> Result<()> {
    let mut most = 0;
    while most < all {
        let more = until(&format!("{what}: more than {most} of {all}"), || {
            let now = count()?;
            Ok((now > most).then_some(now))
        });
        most = more?;
    }
    Ok(())
}

/// [`until`], with a limit of its own.
#[expect(clippy::disallowed_methods, reason = "a hard limit in real time")]
pub(crate) fn until_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        let trouble = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        ensure!(
            begun.elapsed() < limit,
            "{what}: did not come within {} s{trouble}",
            limit.as_secs()
        );
        sleep(TICK);
    }
}
