//! Settings of replicas and of their election.

use std::time::Duration;

use clap::Args;

use super::timing::Timing;

/// The most replicas: each has a tenth of every pool for emergencies, and the
/// larger part must be left to the one that leads.
pub const MAX_REPLICAS: u8 = 8;

/// Settings of replicas. Each flag has an environment variable.
#[derive(Clone, Debug, Args)]
pub struct LeaderConfig {
    /// How many replicas serve the same networks. With one, it gives addresses
    /// without asking anybody.
    #[arg(
        long,
        env = "REVEILLE_REPLICAS",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_REPLICAS))
    )]
    pub replicas: u8,

    /// Which of the replicas this is, from 0. Default: the number at the end of
    /// POD_NAME or of the host name, as a StatefulSet gives them.
    #[arg(long, env = "REVEILLE_ORDINAL", value_name = "K")]
    pub ordinal: Option<u8>,

    /// The Lease object by which replicas agree on the one that leads.
    #[arg(
        long,
        env = "REVEILLE_LEASE_NAME",
        value_name = "NAME",
        default_value = "reveille"
    )]
    pub lease_name: String,

    /// Others take over when the one that leads was silent for so many seconds.
    #[arg(
        long,
        env = "REVEILLE_LEASE_DURATION",
        value_name = "SECONDS",
        default_value_t = 15
    )]
    pub lease_duration: u16,

    /// The one that leads stops when it could not say so for so many seconds.
    #[arg(
        long,
        env = "REVEILLE_RENEW_DEADLINE",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    pub renew_deadline: u16,

    /// How often it says so, in seconds.
    #[arg(
        long,
        env = "REVEILLE_RETRY_PERIOD",
        value_name = "SECONDS",
        default_value_t = 2
    )]
    pub retry_period: u16,
}

impl LeaderConfig {
    /// Settings of one replica, with the times of the flags' defaults.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            replicas: 1,
            ordinal: None,
            lease_name: "reveille".to_owned(),
            lease_duration: 15,
            renew_deadline: 10,
            retry_period: 2,
        }
    }
}

/// Which of how many replicas this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How many there are.
    pub replicas: u8,
    /// Which one this is, from 0.
    pub ordinal: u8,
    /// Its name in the Lease object, without what makes it unique.
    pub name: String,
    /// The Lease object by which they agree.
    pub lease: String,
    /// The times of the election.
    pub timing: Timing,
}

/// Settings that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The replica does not know which one it is.
    #[error(
        "--replicas {replicas}: which of them is this? `{name}` does not end in -NUMBER as the \
         Pods of a StatefulSet do; give --ordinal (REVEILLE_ORDINAL), from 0 to {}",
        replicas - 1
    )]
    NoOrdinal {
        /// How many there are.
        replicas: u8,
        /// The name that should have told.
        name: String,
    },
    /// There is no such replica.
    #[error(
        "--ordinal {ordinal}: with --replicas {replicas} they count from 0 to {}; a StatefulSet \
         that was scaled needs the same number here",
        replicas - 1
    )]
    Ordinal {
        /// Which one it should be.
        ordinal: u64,
        /// How many there are.
        replicas: u8,
    },
    /// No name for an object.
    #[error(
        "--lease-name `{0}`: an object's name has lower-case letters, digits and hyphens, begins \
         and ends with a letter or digit, and is at most 63 long"
    )]
    LeaseName(String),
    /// Times that make no sense together.
    #[error("--lease-duration, --renew-deadline, --retry-period: {0}")]
    Timing(#[from] super::timing::TimingError),
}

// === impl LeaderConfig ===

impl LeaderConfig {
    /// Which replica this is. `name` is POD_NAME, or else the host's name.
    ///
    /// # Errors
    /// Settings that do not fit together, with the cure.
    pub fn place(&self, name: &str) -> Result<Place, ConfigError> {
        let replicas = self.replicas;
        let given = self.ordinal.map(u64::from).or_else(|| ordinal_of(name));
        let ordinal = match given {
            Some(ordinal) => ordinal,
            None if replicas == 1 => 0,
            None => {
                return Err(ConfigError::NoOrdinal {
                    replicas,
                    name: name.to_owned(),
                });
            }
        };
        // A lone replica may have any number at the end of its name.
        let ordinal = match u8::try_from(ordinal) {
            Ok(ordinal) if ordinal < replicas => ordinal,
            _ if replicas == 1 && self.ordinal.is_none() => 0,
            _ => return Err(ConfigError::Ordinal { ordinal, replicas }),
        };
        if !is_name(&self.lease_name) {
            return Err(ConfigError::LeaseName(self.lease_name.clone()));
        }
        let timing = Timing {
            lease: Duration::from_secs(self.lease_duration.into()),
            renew: Duration::from_secs(self.renew_deadline.into()),
            retry: Duration::from_secs(self.retry_period.into()),
        };
        Ok(Place {
            replicas,
            ordinal,
            name: name.to_owned(),
            lease: self.lease_name.clone(),
            timing: timing.check()?,
        })
    }
}

/// The number at the end of `reveille-2`.
fn ordinal_of(name: &str) -> Option<u64> {
    let (_, number) = name.rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse().ok()).flatten()
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = name.bytes().next().zip(name.bytes().next_back());
    name.len() <= 63
        && edges.is_some_and(|(first, last)| plain(first) && plain(last))
        && name.bytes().all(|b| plain(b) || b == b'-')
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        leader: LeaderConfig,
    }

    fn place(name: &str, flags: &[&str]) -> Result<Place, String> {
        let all = ["reveille"].iter().chain(flags);
        let parsed = Flags::try_parse_from(all).map_err(|error| error.to_string())?;
        parsed.leader.place(name).map_err(|error| error.to_string())
    }

    #[test]
    fn alone_by_default_whatever_its_name() {
        for name in ["edge", "reveille-7d9f-42", "reveille-3", ""] {
            let place = place(name, &[]).unwrap();
            assert_eq!((place.replicas, place.ordinal), (1, 0), "{name}");
            assert_eq!(place.timing, Timing::default());
        }
    }

    #[test]
    fn knows_its_number_by_its_name_or_by_what_it_is_told() {
        assert_eq!(place("reveille-1", &["--replicas=2"]).unwrap().ordinal, 1);
        let told = place("reveille-1", &["--replicas=2", "--ordinal=0"]);
        assert_eq!(told.unwrap().ordinal, 0);
    }

    #[test]
    fn says_what_does_not_fit() {
        let told = |name, flags: &[&str]| place(name, flags).unwrap_err();
        let unknown = told("edge", &["--replicas=2"]);
        assert!(unknown.contains("from 0 to 1"), "{unknown}");
        let beyond = told("reveille-2", &["--replicas=2"]);
        assert!(beyond.contains("count from 0 to 1"), "{beyond}");
        assert!(told("r-0", &["--replicas=9"]).contains("1..=8"));
        assert!(told("r-0", &["--replicas=0"]).contains("1..=8"));
        assert!(told("r-0", &["--ordinal=1"]).contains("--ordinal 1"));
        assert!(told("r-0", &["--lease-name=A"]).contains("--lease-name `A`"));
        let times = told("r-0", &["--lease-duration=12", "--renew-deadline=10"]);
        assert!(times.contains("1.5 times"), "{times}");
    }
}
