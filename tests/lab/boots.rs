//! The server's own account of the boots, as `/boots` tells it.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One boot of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    pub(crate) machine: String,
    pub(crate) mac: String,
    pub(crate) profile: String,
    pub(crate) address: String,
    pub(crate) loader: String,
    pub(crate) result: String,
    pub(crate) stages: Vec<Stage>,
}

/// One stage of it.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    /// Milliseconds since the boot's first packet.
    pub(crate) at_ms: u64,
}

impl Boot {
    /// Reads the answer of `/boots`.
    pub(crate) fn list(json: &str) -> Result<Vec<Self>> {
        let value: Value = serde_json::from_str(json).context("/boots is not JSON")?;
        let boots = value["boots"].as_array().context("/boots has no `boots`")?;
        boots
            .iter()
            .map(Self::read)
            .collect::<Option<_>>()
            .with_context(|| format!("/boots has a boot that we cannot read: {json}"))
    }

    fn read(value: &Value) -> Option<Self> {
        // A boot without a machine, a profile or a loader says null.
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let stages = value["stages"].as_array()?.iter().map(|stage| {
            Some(Stage {
                name: stage["stage"].as_str()?.to_owned(),
                at_ms: stage["at_ms"].as_u64()?,
            })
        });
        Some(Self {
            machine: text("machine"),
            mac: value["mac"].as_str()?.to_owned(),
            profile: text("profile"),
            address: text("address"),
            loader: text("loader"),
            result: value["result"].as_str()?.to_owned(),
            stages: stages.collect::<Option<_>>()?,
        })
    }

    /// The boots of one machine.
    pub(crate) fn of(boots: Vec<Self>, mac: &str) -> Vec<Self> {
        boots
            .into_iter()
            .filter(|boot| boot.mac.eq_ignore_ascii_case(mac))
            .collect()
    }

    /// When a stage was first seen.
    pub(crate) fn at(&self, stage: &str) -> Option<u64> {
        let found = self.stages.iter().find(|seen| seen.name == stage)?;
        Some(found.at_ms)
    }

    /// Checks that the stages occur, in this order; others may stand between them.
    pub(crate) fn expect_stages(&self, expected: &[&str]) -> Result<()> {
        let mut seen = self.stages.iter();
        for stage in expected {
            ensure!(
                seen.any(|one| one.name == *stage),
                "stages are {}; expected, in order: {}",
                self.story(),
                expected.join(", ")
            );
        }
        ensure!(
            self.stages.is_sorted_by_key(|stage| stage.at_ms),
            "stages are not in the order of time: {}",
            self.story()
        );
        Ok(())
    }

    /// The stages with their times, in one line.
    pub(crate) fn story(&self) -> String {
        let mut line = String::new();
        for Stage { name, at_ms } in &self.stages {
            let space = if line.is_empty() { "" } else { ", " };
            let _ = write!(
                line,
                "{space}{name} {}.{:01}",
                at_ms / 1000,
                at_ms % 1000 / 100
            );
        }
        line
    }
}
