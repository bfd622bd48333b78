//! The settings of discovery.

use clap::Args;

use crate::api::Lifetime;

/// Seconds for which Machines may be made at once that the rate allows one
/// after the other: a rack that is switched on asks at one time.
const BURST_SECS: u32 = 20;
/// Shortest time to live. Firmware begins anew after a minute or so, so less
/// than some minutes makes Machines come and go; it is for trying things out.
const MIN_TTL: u32 = 10;

/// Settings of discovery, for Subnets with `unknownMachines: Discover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct DiscoverArgs {
    /// Machines of a namespace that may wait for approval, 1 to 10000. More are
    /// not made: a flood of MAC addresses must not fill the cluster's storage.
    #[arg(
        long,
        env = "REVEILLE_DISCOVERED_MAX",
        value_name = "NUMBER",
        default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub discovered_max: u32,

    /// Machines that discovery makes in a second, 1 to 100; those of 20 seconds
    /// at once. What is above it is made later.
    #[arg(
        long,
        env = "REVEILLE_DISCOVERED_RATE",
        value_name = "NUMBER",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub discovered_rate: u32,

    /// How long a discovered machine that nobody approved and that does not ask
    /// any more is kept, 10s at least, such as 24h.
    #[arg(
        long,
        env = "REVEILLE_DISCOVERED_TTL",
        value_name = "TIME",
        default_value = "24h",
        value_parser = parse_ttl
    )]
    pub discovered_ttl: Lifetime,
}

/// What discovery holds itself to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Machines of a namespace that may wait for approval.
    pub waiting: usize,
    /// Machines that are made in a second.
    pub per_second: u32,
    /// Machines that are made at once.
    pub burst: u32,
    /// Milliseconds that a machine is kept which nobody approved and which does
    /// not ask any more.
    pub ttl_millis: u64,
}

impl Default for DiscoverArgs {
    fn default() -> Self {
        Self {
            discovered_max: 200,
            discovered_rate: 1,
            discovered_ttl: Lifetime::from_secs(24 * 3600),
        }
    }
}

impl From<DiscoverArgs> for Limits {
    fn from(args: DiscoverArgs) -> Self {
        Self {
            waiting: usize::try_from(args.discovered_max).unwrap_or(usize::MAX),
            per_second: args.discovered_rate,
            burst: args.discovered_rate.saturating_mul(BURST_SECS),
            ttl_millis: u64::from(args.discovered_ttl.secs()).saturating_mul(1000),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        DiscoverArgs::default().into()
    }
}

impl Limits {
    /// Milliseconds after which it is noted again that a machine was seen: the
    /// note must outlive those who wrote it, and be no write for each packet.
    #[must_use]
    pub const fn note_millis(&self) -> u64 {
        self.ttl_millis / 4
    }
}

fn parse_ttl(text: &str) -> Result<Lifetime, String> {
    let ttl: Lifetime = text.parse().map_err(|error| format!("{error}"))?;
    if ttl.secs() < MIN_TTL {
        return Err(format!("{ttl} is less than {MIN_TTL}s"));
    }
    Ok(ttl)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        discover: DiscoverArgs,
    }

    fn parse(words: &[&str]) -> Option<DiscoverArgs> {
        let line = Line::try_parse_from(["reveille"].iter().chain(words)).ok()?;
        Some(line.discover)
    }

    #[test]
    fn the_defaults_are_those_of_the_command_line() {
        assert_eq!(parse(&[]), Some(DiscoverArgs::default()));
        let limits = Limits::default();
        assert_eq!(
            (limits.waiting, limits.per_second, limits.burst),
            (200, 1, 20)
        );
        assert_eq!(limits.ttl_millis, 86_400_000);
    }

    #[test]
    fn each_has_a_least_and_a_most() {
        for (flag, good, bad) in [
            ("--discovered-max", ["1", "10000"], ["0", "10001"]),
            ("--discovered-rate", ["1", "100"], ["0", "101"]),
            ("--discovered-ttl", ["10s", "1000h"], ["9s", "a day"]),
        ] {
            for value in good {
                assert!(parse(&[flag, value]).is_some(), "{flag} {value}");
            }
            for value in bad {
                assert!(parse(&[flag, value]).is_none(), "{flag} {value}");
            }
        }
    }
}
