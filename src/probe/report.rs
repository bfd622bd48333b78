//! What came of a probe. Core.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::packets::v6::Duid;

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

/// A server that is named as ours: by its address, or by the DUID by which a
/// DHCPv6 server goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Of DHCPv4 the server's identifier or its address; of DHCPv6 the link-local
    /// address that it answers from.
    Address(IpAddr),
    /// As its reply says (option 2).
    Duid(Duid),
}

/// What a DHCP server says it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerId {
    /// Option 54 of DHCPv4.
    Address(Ipv4Addr),
    /// Option 2 of DHCPv6.
    Duid(Duid),
}

/// A DHCP server that answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DhcpServer {
    /// What it says it is.
    #[serde(serialize_with = "as_text")]
    pub id: ServerId,
    /// Where its packets came from.
    pub from: IpAddr,
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

// === impl Named ===

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => match text.parse() {
                Ok(duid) => Ok(Self::Duid(duid)),
                Err(_) => Err(format!("{text} is neither an address nor a DUID in hex")),
            },
        }
    }
}

// === impl ServerId ===

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Duid(duid) => write!(f, "{duid}"),
        }
    }
}

fn as_text<S: Serializer>(id: &ServerId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
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
        match &self.id {
            ServerId::Address(id) if self.from == *id => Ok(()),
            ServerId::Address(_) | ServerId::Duid(_) => {
                write!(f, "; its packets come from {}", self.from)
            }
        }
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
            id: ServerId::Address([192, 0, 2, 9].into()),
            from: IpAddr::from([192, 0, 2, 9]),
            gives_addresses: true,
            foreign: Some(true),
        });
        assert!(report.has_strangers());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["steps"][2]["outcome"], "fail");
        assert_eq!(json["steps"][2]["cure"], "open UDP 69");
        assert_eq!(json["steps"][1]["cure"], serde_json::Value::Null);
        assert_eq!(json["servers"][0]["id"], "192.0.2.9");
    }

    #[test]
    fn a_server_is_named_by_address_or_duid() {
        let address = "fe80::1".parse().unwrap();
        assert_eq!("fe80::1".parse(), Ok(Named::Address(address)));
        let duid: Duid = "000401020304".parse().unwrap();
        assert_eq!("00:04:01:02:03:04".parse(), Ok(Named::Duid(duid.clone())));
        "server.example".parse::<Named>().unwrap_err();
        let server = DhcpServer {
            id: ServerId::Duid(duid),
            from: address,
            gives_addresses: true,
            foreign: None,
        };
        assert_eq!(
            server.to_string(),
            "SERVER  000401020304: gives addresses; its packets come from fe80::1"
        );
    }
}
