//! Which entries of an archive are wanted, and where they go.

use super::name::{BadName, EntryName, NameLimits};

/// What to take out of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    /// The rules in order; the first that matches an entry places it. None:
    /// everything is taken.
    rules: Vec<Rule>,
    /// So many leading parts of a name go, where no rule says a new name.
    /// Entries with no more parts than that are left out, as `tar` does.
    strip: usize,
}

/// One wish: what, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// As it was written.
    written: String,
    parts: Vec<String>,
    /// Only what is inside: it was written with a trailing slash.
    folder: bool,
    to: Option<To>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct To {
    name: EntryName,
    /// It is the folder to put things into: written with a trailing slash.
    folder: bool,
}

/// Why a rule is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPick {
    /// A name that no entry can have.
    #[error("`{0}`: {1}")]
    Name(String, BadName),
    /// It names nothing.
    #[error("`{0}` names nothing: write a path, a folder with `/` at its end, or a pattern")]
    Empty(String),
}

/// Where an entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its name in the tree.
    pub to: EntryName,
    /// It was asked for by its own name: that it cannot be had is an error.
    pub by_name: bool,
}

impl Pick {
    /// Everything, without its first `strip` parts.
    #[must_use]
    pub const fn all(strip: usize) -> Self {
        Self {
            rules: Vec::new(),
            strip,
        }
    }

    /// Adds a wish. `from` is a path, a folder (`/` at its end, or simply the
    /// name of one), or a pattern: `*` and `?` within a part, `**` for any
    /// number of parts. `to` is the new name; with `/` at its end the folder
    /// to put it into.
    ///
    /// # Errors
    /// [`BadPick`].
    pub fn and(
        mut self,
        from: &str,
        to: Option<&str>,
        limits: NameLimits,
    ) -> Result<Self, BadPick> {
        let bad = |text: &str| {
            let text = text.to_owned();
            move |why| BadPick::Name(text, why)
        };
        let name = EntryName::parse_rooted(from.as_bytes(), limits).map_err(bad(from))?;
        if name.is_root() {
            return Err(BadPick::Empty(from.to_owned()));
        }
        let to = match to {
            None => None,
            Some(to) => Some(To {
                name: EntryName::parse(to.as_bytes(), limits).map_err(bad(to))?,
                folder: to.ends_with('/') || matches!(to, "" | "."),
            }),
        };
        self.rules.push(Rule {
            written: from.to_owned(),
            parts: name.parts().map(str::to_owned).collect(),
            folder: from.ends_with('/'),
            to,
        });
        Ok(self)
    }

    /// Whether everything is taken.
    #[must_use]
    pub const fn takes_all(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether everything is taken, under its own name.
    #[must_use]
    pub const fn keeps_names(&self) -> bool {
        self.rules.is_empty() && self.strip == 0
    }

    /// How many rules there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule: everything is taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How rule `index` was written.
    #[must_use]
    pub fn written(&self, index: usize) -> &str {
        self.rules.get(index).map_or("", |rule| &rule.written)
    }

    /// Where `name` goes; calls `matched` with the number of each rule that it
    /// matches, also of those that come too late.
    pub fn place(&self, name: &EntryName, mut matched: impl FnMut(usize)) -> Option<Placed> {
        if self.rules.is_empty() {
            return name
                .strip(self.strip)
                .map(|to| Placed { to, by_name: false });
        }
        let mut placed = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let Some(found) = rule.find(name) else {
                continue;
            };
            matched(index);
            if placed.is_none() {
                placed = self.destination(rule, name, &found);
            }
        }
        placed
    }

    fn destination(&self, rule: &Rule, name: &EntryName, found: &Found) -> Option<Placed> {
        let by_name = found.whole && !rule.is_pattern() && !rule.folder;
        let Some(to) = &rule.to else {
            return name.strip(self.strip).map(|to| Placed { to, by_name });
        };
        let parts: Vec<&str> = name.parts().collect();
        let target = if found.whole && !to.folder && !rule.folder {
            to.name.clone()
        } else {
            let rest = parts.get(found.keep_from..).unwrap_or_default();
            let all: Vec<&str> = to.name.parts().chain(rest.iter().copied()).collect();
            EntryName::of_parts(&all)
        };
        (!target.is_root()).then_some(Placed {
            to: target,
            by_name,
        })
    }
}

/// How a rule matched.
struct Found {
    /// The entry itself; else something inside it.
    whole: bool,
    /// The parts from here on are kept below the new folder.
    keep_from: usize,
}

impl Rule {
    fn is_pattern(&self) -> bool {
        self.parts.iter().any(|part| is_pattern(part))
    }

    fn find(&self, name: &EntryName) -> Option<Found> {
        let parts: Vec<&str> = name.parts().collect();
        // What stands before the first pattern is the folder that is left.
        let fixed = self.parts.iter().take_while(|part| !is_pattern(part));
        let fixed = fixed.count();
        for length in (1..=parts.len()).rev() {
            let whole = length == parts.len();
            if whole && self.folder {
                continue;
            }
            if !matches(&self.parts, parts.get(..length)?) {
                continue;
            }
            let keep_from = if fixed < self.parts.len() {
                fixed
            } else if whole {
                // A file that goes into a folder keeps its last part.
                length - 1
            } else {
                length
            };
            return Some(Found { whole, keep_from });
        }
        None
    }
}

fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?'])
}

/// Whether the parts of a pattern match those of a name, to the end. Takes
/// time in the product of both lengths, whatever the pattern.
fn matches(pattern: &[String], name: &[&str]) -> bool {
    // The rest of the name that may still match, per length of pattern.
    let mut here = vec![false; name.len() + 1];
    if let Some(first) = here.first_mut() {
        *first = true;
    }
    for part in pattern {
        let mut next = vec![false; name.len() + 1];
        if part == "**" {
            let mut open = false;
            for (slot, was) in next.iter_mut().zip(&here) {
                open |= was;
                *slot = open;
            }
        } else {
            for (index, text) in name.iter().enumerate() {
                if here.get(index) == Some(&true)
                    && part_matches(part, text)
                    && let Some(slot) = next.get_mut(index + 1)
                {
                    *slot = true;
                }
            }
        }
        here = next;
    }
    here.last() == Some(&true)
}

/// Whether one part matches: `*` is any letters, `?` is one.
fn part_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some('?') => {
                p += 1;
                t += 1;
            }
            Some(letter) if Some(letter) == text.get(t) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                // One letter more for the last star.
                let Some((after, from)) = star else {
                    return false;
                };
                star = Some((after, from + 1));
                p = after + 1;
                t = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: NameLimits = NameLimits {
        bytes: 1024,
        depth: 64,
    };

    fn name(text: &str) -> EntryName {
        EntryName::parse(text.as_bytes(), LIMITS).unwrap()
    }

    fn place(pick: &Pick, text: &str) -> Option<String> {
        pick.place(&name(text), |_| ())
            .map(|placed| placed.to.as_str().to_owned())
    }

    #[test]
    fn takes_everything_without_leading_parts() {
        let pick = Pick::all(1);
        assert_eq!(place(&pick, "memtest-7.0/boot/x").unwrap(), "boot/x");
        assert_eq!(place(&pick, "memtest-7.0"), None);
        assert_eq!(place(&Pick::all(0), "a/b").unwrap(), "a/b");
    }

    #[test]
    fn places_by_path_folder_and_pattern() {
        let cases = [
            // from, to, entry, where it goes
            ("boot/vmlinuz", None, "boot/vmlinuz", Some("boot/vmlinuz")),
            (
                "./boot/vmlinuz",
                Some("linux"),
                "boot/vmlinuz",
                Some("linux"),
            ),
            (
                "/boot/vmlinuz",
                Some("k/"),
                "boot/vmlinuz",
                Some("k/vmlinuz"),
            ),
            ("boot/vmlinuz", Some("linux"), "boot/vmlinuz2", None),
            ("boot", Some("b"), "boot", Some("b")),
            ("boot", Some("b"), "boot/grub/x", Some("b/grub/x")),
            ("boot", None, "boot/grub/x", Some("boot/grub/x")),
            ("boot/", Some("b"), "boot", None),
            ("boot/", Some("b"), "boot/x", Some("b/x")),
            ("boot/", Some("."), "boot/x", Some("x")),
            (
                "boot/vmlinuz-*",
                Some("linux"),
                "boot/vmlinuz-6.1",
                Some("linux"),
            ),
            (
                "boot/vmlinuz-*",
                Some("k/"),
                "boot/vmlinuz-6.1",
                Some("k/vmlinuz-6.1"),
            ),
            (
                "boot/vmlinuz-*",
                None,
                "boot/vmlinuz-6.1",
                Some("boot/vmlinuz-6.1"),
            ),
            ("boot/vmlinuz-?", None, "boot/vmlinuz-6.1", None),
            ("*/x", None, "a/b/x", None),
            ("**/x", Some("all/"), "a/b/x", Some("all/a/b/x")),
            ("**/x", None, "x", Some("x")),
            ("a/**", Some("b/"), "a/c/d", Some("b/c/d")),
        ];
        for (from, to, entry, want) in cases {
            let pick = Pick::default().and(from, to, LIMITS).unwrap();
            assert_eq!(
                place(&pick, entry).as_deref(),
                want,
                "{from} {to:?} {entry}"
            );
        }
    }

    #[test]
    fn the_first_rule_wins_and_all_that_match_are_told() {
        let pick = Pick::default()
            .and("a/x", Some("one"), LIMITS)
            .and_then(|pick| pick.and("a", Some("two"), LIMITS))
            .unwrap();
        let mut seen = Vec::new();
        let placed = pick.place(&name("a/x"), |index| seen.push(index)).unwrap();
        assert_eq!((placed.to.as_str(), placed.by_name), ("one", true));
        assert_eq!(seen, [0, 1]);
        assert_eq!(place(&pick, "a/y").unwrap(), "two/y");
        assert!(!pick.place(&name("a/y"), |_| ()).unwrap().by_name);
    }

    #[test]
    fn refuses_rules_that_lead_out() {
        for (from, to) in [("a", "../x"), ("a", "/x"), ("../a", "x"), ("/", "x")] {
            assert!(
                Pick::default().and(from, Some(to), LIMITS).is_err(),
                "{from} {to}"
            );
        }
    }

    #[test]
    fn stars_match_as_a_shell_does() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*.img", "x.img", true),
            ("*.img", ".img.gz", false),
            ("?", "ä", true),
            ("**", "abc", true),
        ] {
            assert_eq!(part_matches(pattern, text), want, "{pattern} {text}");
        }
    }
}
