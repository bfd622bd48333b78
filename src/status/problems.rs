//! The mistakes in what is served, as whoever reads them last said. Shell state.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One mistake, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemLine {
    /// Whether it costs its object; else it is a warning.
    pub error: bool,
    /// Where, what and the cure.
    pub text: String,
}

/// The mistakes of the latest reading. Written by the one source, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Problems(Arc<Mutex<Vec<ProblemLine>>>);

impl Problems {
    /// Puts these in the place of those before.
    pub fn set(&self, lines: Vec<ProblemLine>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// What is wrong now.
    #[must_use]
    pub fn get(&self) -> Vec<ProblemLine> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }
}
