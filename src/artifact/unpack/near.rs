//! Names that come near one that is not there.

/// How many are told.
const MOST: usize = 3;

/// The nearest names so far.
#[derive(Debug)]
pub(crate) struct Near {
    wanted: String,
    last: String,
    best: Vec<(usize, String)>,
}

impl Near {
    /// To this name.
    #[must_use]
    pub(crate) fn to(wanted: &str) -> Self {
        let wanted = wanted
            .trim_matches('/')
            .trim_start_matches("./")
            .to_lowercase();
        let last = wanted.rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            wanted,
            last,
            best: Vec::new(),
        }
    }

    /// One name that is there.
    pub(crate) fn see(&mut self, name: &str) {
        let Some(distance) = self.distance(&name.to_lowercase()) else {
            return;
        };
        let place = self
            .best
            .partition_point(|(other, known)| (*other, known.as_str()) < (distance, name));
        if place < MOST {
            self.best.insert(place, (distance, name.to_owned()));
            self.best.truncate(MOST);
        }
    }

    /// The nearest first.
    #[must_use]
    pub(crate) fn names(self) -> Vec<String> {
        self.best.into_iter().map(|(_, name)| name).collect()
    }

    /// How far off a name is; `None` where it has nothing in common. The last
    /// part counts most: files move from folder to folder between versions.
    fn distance(&self, name: &str) -> Option<usize> {
        let last = name.rsplit('/').next().unwrap_or_default();
        let same_start = common(last.chars(), self.last.chars());
        let same_end = common(last.chars().rev(), self.last.chars().rev());
        let longest = last.chars().count().max(self.last.chars().count());
        let off = longest.saturating_sub(same_start + same_end);
        let folders = |path: &str| path.matches('/').count();
        let moved = folders(name).abs_diff(folders(&self.wanted))
            + usize::from(!name.starts_with(self.wanted.split('/').next().unwrap_or_default()));
        (off * 2 <= longest).then_some(off * 4 + moved)
    }
}

fn common(a: impl Iterator<Item = char>, b: impl Iterator<Item = char>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(wanted: &str, names: &[&str]) -> Vec<String> {
        let mut near = Near::to(wanted);
        for name in names {
            near.see(name);
        }
        near.names()
    }

    #[test]
    fn finds_the_file_that_was_meant() {
        let names = [
            "README",
            "casper/vmlinuz",
            "casper/initrd",
            "boot/memtest86+.bin",
            "boot/vmlinuz-6.1",
        ];
        assert_eq!(
            near("boot/vmlinuz", &names),
            ["casper/vmlinuz", "boot/vmlinuz-6.1"]
        );
        assert_eq!(near("casper/initrd.img", &names), ["casper/initrd"]);
        assert!(near("etc/passwd", &names).is_empty());
    }

    #[test]
    fn tells_no_more_than_a_few() {
        let names: Vec<String> = (0..50).map(|i| format!("a/linux{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(near("a/linux", &names).len(), MOST);
    }
}
