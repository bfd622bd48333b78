//! What came of a probe. Core.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Serialize, Serializer};

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went well.
    Passed,
    /// It did not; this is what to do.
    Failed {
        /// The cure.
        cure: String,
    },
    /// It was not tried.
    Skipped,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// As which client it was tried, such as `uefi`; empty for the server itself.
    pub client: &'static str,
    /// Its name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
}

/// All steps, in the order in which they were tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The server, as it was named; `None` where whoever answers was asked.
    pub server: Option<String>,
    /// Every DHCP server that answered.
    pub servers: Vec<DhcpServer>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// A DHCP server that answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DhcpServer {
    /// What it says it is (option 54).
    pub id: Ipv4Addr,
    /// Where its packets came from.
    pub from: Ipv4Addr,
    /// Whether it gives addresses; else it only says what to boot.
    pub gives_addresses: bool,
    /// Whether it is none that was named; `None` where none was.
    pub foreign: Option<bool>,
}

// === impl Outcome ===

impl Outcome {
    /// Its name for people and programs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed { .. } => "fail",
            Self::Skipped => "skip",
        }
    }
}

// === impl DhcpServer ===

impl fmt::Display for DhcpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.gives_addresses {
            "gives addresses"
        } else {
            "says what to boot"
        };
        let word = match self.foreign {
            Some(true) => "FOREIGN",
            Some(false) => "OURS",
            None => "SERVER",
        };
        write!(f, "{word}  {}: {what}", self.id)?;
        if self.id != self.from {
            write!(f, "; its packets come from {}", self.from)?;
        }
        Ok(())
    }
}

// === impl Step ===

impl Step {
    /// A step that went well.
    #[must_use]
    pub const fn passed(name: &'static str, seen: String) -> Self {
        Self {
            client: "",
            name,
            outcome: Outcome::Passed,
            seen,
        }
    }

    /// A step that was not tried, and why.
    #[must_use]
    pub fn skipped(name: &'static str, why: &str) -> Self {
        Self {
            client: "",
            name,
            outcome: Outcome::Skipped,
            seen: why.to_owned(),
        }
    }

    /// The same step as this client.
    #[must_use]
    pub const fn by(mut self, client: &'static str) -> Self {
        self.client = client;
        self
    }

    /// A step that failed, and what to do.
    #[must_use]
    pub fn failed(name: &'static str, seen: String, cure: impl Into<String>) -> Self {
        Self {
            client: "",
            name,
            outcome: Outcome::Failed { cure: cure.into() },
            seen,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.outcome.as_str().to_ascii_uppercase();
        let name = match self.client {
            "" => self.name.to_owned(),
            client => format!("{client:<6}  {}", self.name),
        };
        write!(f, "{word}  {name:<6}  {}", self.seen)?;
        match &self.outcome {
            Outcome::Failed { cure } => write!(f, "\n      {cure}"),
            Outcome::Passed | Outcome::Skipped => Ok(()),
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut out = serializer.serialize_struct("Step", 5)?;
        out.serialize_field("client", self.client)?;
        out.serialize_field("step", self.name)?;
        out.serialize_field("outcome", self.outcome.as_str())?;
        out.serialize_field("seen", &self.seen)?;
        let cure = match &self.outcome {
            Outcome::Failed { cure } => Some(cure),
            Outcome::Passed | Outcome::Skipped => None,
        };
        out.serialize_field("cure", &cure)?;
        out.end()
    }
}

// === impl Report ===

impl Report {
    /// Whether a DHCP server answered that was not named.
    #[must_use]
    pub fn has_strangers(&self) -> bool {
        self.servers
            .iter()
            .any(|server| server.foreign == Some(true))
    }

    /// Whether no step failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.all(|step| !matches!(step.outcome, Outcome::Failed { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_enough_and_carries_its_cure() {
        let mut report = Report {
            server: Some("192.0.2.1".to_owned()),
            servers: Vec::new(),
            steps: vec![
                Step::passed("http", "ipxe.efi, 5 B".to_owned()),
                Step::skipped("script", "no --mac was given"),
            ],
        };
        assert!(report.is_good());
        let step = Step::failed("tftp", "no answer".to_owned(), "open UDP 69");
        assert_eq!(
            step.to_string(),
            "FAIL  tftp    no answer\n      open UDP 69"
        );
        report.steps.push(step);
        assert!(!report.is_good());
        assert!(!report.has_strangers());
        report.servers.push(DhcpServer {
            id: [192, 0, 2, 9].into(),
            from: [192, 0, 2, 9].into(),
            gives_addresses: true,
            foreign: Some(true),
        });
        assert!(report.has_strangers());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["steps"][2]["outcome"], "fail");
        assert_eq!(json["steps"][2]["cure"], "open UDP 69");
        assert_eq!(json["steps"][1]["cure"], serde_json::Value::Null);
    }
}
