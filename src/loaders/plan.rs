//! What becomes of a loader of the volume when the program starts. Core.

/// What is done with one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It was not there: it is written.
    Written,
    /// It is as this program brings it.
    Same,
    /// It is as an earlier program brought it: this one's takes its place.
    Upgraded,
    /// Somebody edited it: it stays.
    Own,
}

/// What is done with a file of which the program brings `image`, the volume
/// holds `volume`, and `seeded` was written last; all are digests.
///
/// Where nothing is known of what was written, what differs is somebody's own.
pub(super) fn step(image: &str, volume: Option<&str>, seeded: Option<&str>) -> Step {
    match volume {
        None => Step::Written,
        Some(volume) if volume == image => Step::Same,
        Some(volume) if Some(volume) == seeded => Step::Upgraded,
        Some(_) => Step::Own,
    }
}

// === impl Step ===

impl Step {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Same => "same",
            Self::Upgraded => "upgraded",
            Self::Own => "own",
        }
    }

    /// Whether the file is written.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Written | Self::Upgraded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_what_nobody_edited() {
        for (image, volume, seeded, want) in [
            ("b", None, None, Step::Written),
            ("b", None, Some("a"), Step::Written),
            ("b", Some("b"), None, Step::Same),
            ("b", Some("b"), Some("a"), Step::Same),
            ("b", Some("a"), Some("a"), Step::Upgraded),
            ("b", Some("x"), Some("a"), Step::Own),
            ("b", Some("x"), Some("b"), Step::Own),
            ("b", Some("x"), None, Step::Own),
        ] {
            assert_eq!(
                step(image, volume, seeded),
                want,
                "{image} {volume:?} {seeded:?}"
            );
        }
    }
}
