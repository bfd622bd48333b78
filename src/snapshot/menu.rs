//! Menus: which profile each entry boots, and what a choice leads to.

use std::collections::BTreeSet;
use std::fmt;

use super::{ProfileEntry, Snapshot};
use crate::api::{LoaderKind, MenuAction, MenuEntry, MenuPassword, MenuSource, Source};

/// Menus inside each other that a choice may go through.
const MAX_DEPTH: usize = 8;
/// The folder of a machine's choices, in URLs and names.
pub const MENU_NAME: &str = "menu";
/// What no entry may be called: the way back, and a door below a choice.
const RESERVED: [&str; 2] = ["back", "config"];
/// Longest name of an entry.
const MAX_NAME: usize = 32;

/// The entries that were chosen, from the first menu to the last; none at the
/// first menu itself. As text: `installers/debian`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice(Vec<String>);

/// What an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This profile.
    Profile(usize),
    /// No profile.
    Action(MenuAction),
    /// Nothing: this is why.
    None(NoEntry),
}

/// Why an entry cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoEntry {
    /// There is none of that name.
    Unknown,
    /// Its profile is not there, or has a mistake.
    ProfileMissing,
    /// Its menu leads back to the one that it stands in.
    Circle,
    /// Its profile's loader is a file that is sent as it is: nothing that a
    /// menu could start.
    OwnLoader,
    /// Its profile is for HTTPS, and the service has none.
    HttpsOff,
}

/// A choice, followed.
#[derive(Clone, Debug)]
pub struct Picked<'a> {
    /// What it leads to.
    pub what: Pick<'a>,
    /// The passwords on the way, each with the choice that it is for.
    pub locks: Vec<(Choice, &'a MenuPassword)>,
}

/// What a choice leads to.
#[derive(Clone, Copy, Debug)]
pub enum Pick<'a> {
    /// A profile, which may be another menu.
    Profile(&'a ProfileEntry),
    /// No profile.
    Action(MenuAction),
}

// === impl Choice ===

impl Choice {
    /// The choice at the beginning of `path`, and what follows it:
    /// `installers/debian/boot.ipxe`.
    #[must_use]
    pub fn split(path: &str) -> (Self, &str) {
        let mut names = Vec::new();
        let mut rest = path;
        while names.len() < MAX_DEPTH
            && let Some((name, behind)) = rest.split_once('/')
            && is_entry_name(name)
        {
            names.push(name.to_owned());
            rest = behind;
        }
        (Self(names), rest)
    }

    /// The choice of these names, as [`Choice`] shows them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (choice, rest) = Self::split(text);
        let Self(mut names) = choice;
        let fits = names.len() < MAX_DEPTH && is_entry_name(rest);
        names.push(rest.to_owned());
        fits.then_some(Self(names))
    }

    /// The choice that a machine's file called `name` is of, as doors name
    /// them: `menu/installers/debian/boot.ipxe`.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let path = name.strip_prefix(MENU_NAME)?.strip_prefix('/')?;
        Some(Self::split(path).0).filter(|choice| !choice.is_empty())
    }

    /// Whether nothing was chosen yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One entry more.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let names = self.0.iter().cloned().chain([name.to_owned()]);
        Self(names.collect())
    }

    /// One entry less; `None` at the first menu.
    #[must_use]
    pub fn back(&self) -> Option<Self> {
        let (_, before) = self.0.split_last()?;
        Some(Self(before.to_vec()))
    }

    /// Whether it goes through `other`, or is that.
    #[must_use]
    pub fn goes_through(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// Whether `name` is what an entry may be called.
pub(crate) fn is_entry_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && super::names::is_dns_label(name)
        && !RESERVED.contains(&name)
}

// === impl NoEntry ===

impl NoEntry {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "no-such-entry",
            Self::ProfileMissing => "entry-profile-missing",
            Self::Circle => "entry-leads-back",
            Self::OwnLoader => "entry-has-own-loader",
            Self::HttpsOff => "https-off",
        }
    }

    /// The same for the machine's screen.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Unknown => "there is no such entry",
            Self::ProfileMissing => "its profile is not there",
            Self::Circle => "its menu leads back here",
            Self::OwnLoader => "its profile has a loader of its own",
            Self::HttpsOff => "it is for HTTPS, which is off",
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Where `choice` leads from the menu of `first`.
    ///
    /// # Errors
    /// [`NoEntry`] says why nowhere.
    pub fn pick<'a>(
        &'a self,
        first: &'a ProfileEntry,
        choice: &Choice,
    ) -> Result<Picked<'a>, NoEntry> {
        let mut picked = Picked {
            what: Pick::Profile(first),
            locks: Vec::new(),
        };
        let mut at = Choice::default();
        for name in &choice.0 {
            let Pick::Profile(profile) = picked.what else {
                return Err(NoEntry::Unknown);
            };
            let Source::Menu(menu) = profile.spec.source() else {
                return Err(NoEntry::Unknown);
            };
            let (index, entry) = menu.entry(name).ok_or(NoEntry::Unknown)?;
            at = at.join(name);
            if let Some(password) = &entry.password {
                picked.locks.push((at.clone(), password));
            }
            picked.what = self.target(profile, index)?;
        }
        Ok(picked)
    }

    /// Where the entry at `index` of a profile's menu leads.
    ///
    /// # Errors
    /// Likewise.
    pub fn target<'a>(&'a self, menu: &'a ProfileEntry, index: usize) -> Result<Pick<'a>, NoEntry> {
        match menu.targets.get(index) {
            Some(Target::Profile(at)) => {
                let profile = self.profiles.get(*at).ok_or(NoEntry::ProfileMissing)?;
                Ok(Pick::Profile(profile))
            }
            Some(Target::Action(action)) => Ok(Pick::Action(*action)),
            Some(Target::None(why)) => Err(*why),
            None => Err(NoEntry::Unknown),
        }
    }
}

/// Fills in where each entry leads, and which menus lead to what is fetched by
/// HTTPS: they are fetched so themselves. `with_https` says whether that is on,
/// `leads_back` of a profile's entry that it closes a circle.
pub(super) fn resolve(
    profiles: &mut [ProfileEntry],
    with_https: bool,
    leads_back: impl Fn(&ProfileEntry, usize) -> bool,
) {
    let target = |profile: &ProfileEntry, index: usize, entry: &MenuEntry| {
        if let Some(action) = entry.action {
            return Target::Action(action);
        }
        if leads_back(profile, index) {
            return Target::None(NoEntry::Circle);
        }
        let named = entry.profile_ref.as_ref();
        let found = profiles.iter().position(|other| {
            other.name.namespace == profile.name.namespace
                && named.is_some_and(|named| named.name == other.name.name)
        });
        let there = found.and_then(|at| Some((at, profiles.get(at)?)));
        match there {
            Some((_, it)) if it.spec.loader.kind == LoaderKind::File => {
                Target::None(NoEntry::OwnLoader)
            }
            Some((_, it)) if it.https && !with_https => Target::None(NoEntry::HttpsOff),
            Some((at, _)) => Target::Profile(at),
            None => Target::None(NoEntry::ProfileMissing),
        }
    };
    let all: Vec<Vec<Target>> = profiles
        .iter()
        .map(|profile| {
            let entries = profile.spec.menu.iter().flat_map(|menu| &menu.entries);
            let entries = entries.enumerate();
            entries
                .map(|(index, entry)| target(profile, index, entry))
                .collect()
        })
        .collect();
    for (profile, targets) in profiles.iter_mut().zip(all) {
        profile.targets = targets;
    }
    // What is reached by one entry more each time; circles are cut already.
    for _ in 0..MAX_DEPTH {
        let reached: Vec<bool> = profiles
            .iter()
            .map(|profile| profile.https || leads_to_https(profiles, profile))
            .collect();
        for (profile, https) in profiles.iter_mut().zip(reached) {
            profile.https = https;
        }
    }
}

fn leads_to_https(profiles: &[ProfileEntry], profile: &ProfileEntry) -> bool {
    profile.targets.iter().any(|target| match target {
        Target::Profile(at) => profiles.get(*at).is_some_and(|it| it.https),
        Target::Action(_) | Target::None(_) => false,
    })
}

/// The entries that close a circle of menus, as menu and index: without them
/// there is none. `menus` are the entries of each menu, and the menu that each
/// leads to. Of a circle it is the last entry on the way from its oldest menu.
pub(super) fn closing(menus: &[Vec<Option<usize>>]) -> BTreeSet<(usize, usize)> {
    let mut closing = BTreeSet::new();
    let mut done = BTreeSet::new();
    for first in 0..menus.len() {
        // The way from `first`: each menu on it, and its next entry to look at.
        let mut way = vec![(first, 0)];
        while let Some((menu, index)) = way.pop() {
            if done.contains(&menu) {
                continue;
            }
            let Some(entry) = menus.get(menu).and_then(|entries| entries.get(index)) else {
                done.insert(menu);
                continue;
            };
            way.push((menu, index + 1));
            let Some(next) = *entry else { continue };
            if way.iter().any(|(before, _)| *before == next) {
                closing.insert((menu, index));
            } else if !done.contains(&next) {
                way.push((next, 0));
            }
        }
    }
    closing
}

/// The menu of a profile that has one.
#[must_use]
pub fn menu_of(profile: &ProfileEntry) -> Option<&MenuSource> {
    match profile.spec.source() {
        Source::Menu(menu) => Some(menu),
        Source::Linux(_)
        | Source::Efi(_)
        | Source::Iso(_)
        | Source::Chain(_)
        | Source::Script(_)
        | Source::Local
        | Source::Loader => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_cut_at_their_last_entry() {
        // 0 -> 1 -> 2 -> {0, 1}, and 3 -> 3; 1 -> 2 is no circle by itself.
        let menus = [
            vec![None, Some(1), Some(2)],
            vec![Some(2)],
            vec![Some(0), Some(1), None],
            vec![Some(3), Some(0)],
        ];
        let want = BTreeSet::from([(2, 0), (2, 1), (3, 0)]);
        assert_eq!(closing(&menus), want);
        assert_eq!(closing(&[]), BTreeSet::new());
        // Two ways to one menu are no circle.
        assert_eq!(
            closing(&[vec![Some(1), Some(1)], vec![None]]),
            BTreeSet::new()
        );
        assert_eq!(closing(&[vec![Some(7)]]), BTreeSet::new());
    }

    #[test]
    fn a_choice_is_read_as_it_is_shown() {
        let choice = Choice::parse("installers/debian-12").unwrap();
        assert_eq!(choice.to_string(), "installers/debian-12");
        assert_eq!(choice.back(), Choice::parse("installers"));
        assert_eq!(
            choice.back().and_then(|it| it.back()),
            Some(Choice::default())
        );
        assert_eq!(Choice::default().back(), None);
        assert_eq!(
            Choice::of_file("menu/installers/debian-12/boot.ipxe"),
            Some(choice)
        );
        let long = ["a"; MAX_DEPTH + 1].join("/");
        for bad in [
            "", "/", "a//b", "A", "a/", "config", "a.b", "..", "a/..", &long,
        ] {
            assert_eq!(Choice::parse(bad), None, "{bad}");
        }
        for none in ["boot.ipxe", "menu/boot.ipxe", "menu", "menux/a/boot.ipxe"] {
            assert_eq!(Choice::of_file(none), None, "{none}");
        }
        assert_eq!(Choice::split("a/config/T/n").1, "config/T/n");
    }
}
