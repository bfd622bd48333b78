//! What becomes of each entry: decided here, done elsewhere.
//!
//! The plan sees every entry in the order of the archive, wanted or not. No
//! link exists on disk before the last entry was written, so nothing can be
//! written through one.

use std::collections::{BTreeMap, BTreeSet};

use super::entries::{Entries, Node, What};
use super::limits::{Limits, Spent};
use super::links::{Found, Target};
use super::name::{BadName, EntryName, shown};
use super::pick::{Pick, Placed};
use super::places::{Places, Stands};
use super::refused::{LeftOut, Refused, Special};

/// What an archive says an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link and where it leads.
    Symlink(&'a [u8]),
    /// A second name of the entry that it tells.
    Hardlink(&'a [u8]),
    /// What cannot be served.
    Special(Special),
    /// A file in a form that is not supported.
    Unsupported(&'static str),
}

/// Whose rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// An archive: a name is there once, and stays inside.
    Archive,
    /// Layers of an image, the lowest first: later ones replace what earlier
    /// ones had, `/` is the root of the image.
    Layers,
}

/// What is to be done for an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Act {
    /// These go first: files and folders of the tree, the deepest first.
    pub remove: Vec<EntryName>,
    /// What comes then.
    pub then: Then,
}

/// What is done for an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    #[default]
    Nothing,
    /// Make this folder and those it is in.
    Folder(EntryName),
    /// Write the entry's bytes here.
    File(EntryName),
    /// Give the file `of` this second name.
    Name {
        /// The file, written before.
        of: EntryName,
        /// Its second name.
        to: EntryName,
    },
}

/// A file that has to be fetched from the archive in a second reading, because
/// only a link to it was wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Later {
    /// The layer, counted from 0.
    pub layer: usize,
    /// Its name as that layer has it, cleaned.
    pub spelled: EntryName,
}

/// What is left to do when all entries were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Second names: (file in the tree, its second name).
    pub names: Vec<(EntryName, EntryName)>,
    /// Links to folders: (place in the tree, folder in the tree).
    pub links: Vec<(EntryName, EntryName)>,
    /// Files to read later, and where they go; the first is written, the
    /// others are names of it.
    pub later: BTreeMap<Later, Vec<EntryName>>,
    /// What was left out, as the archive spells it.
    pub left_out: Vec<(String, LeftOut)>,
}

/// The plan of one unpacking.
#[derive(Debug)]
pub struct Plan<'a> {
    pick: &'a Pick,
    limits: &'a Limits,
    rules: Rules,
    layer: usize,
    entries: Entries,
    places: Places,
    matched: BTreeSet<usize>,
    left_out: Vec<(String, LeftOut)>,
    /// What was spent of the limits.
    pub spent: Spent,
}

impl<'a> Plan<'a> {
    /// The plan for one archive, or the layers of one image.
    #[must_use]
    pub fn new(pick: &'a Pick, limits: &'a Limits, rules: Rules) -> Self {
        Self {
            pick,
            limits,
            rules,
            layer: 0,
            entries: Entries::new(rules),
            places: Places::default(),
            matched: BTreeSet::new(),
            left_out: Vec::new(),
            spent: Spent::default(),
        }
    }

    /// The entries from here on are those of the next layer.
    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// One entry.
    ///
    /// # Errors
    /// [`Refused`]: the whole archive is not to be used.
    pub fn enter(&mut self, raw: &[u8], kind: Kind<'_>) -> Result<Act, Refused> {
        let target = match kind {
            Kind::Symlink(target) | Kind::Hardlink(target) => target.len(),
            Kind::File | Kind::Folder | Kind::Special(_) | Kind::Unsupported(_) => 0,
        };
        // An entry is kept under its name, and told of once more where it goes.
        self.spent.entry(raw.len() + target, self.limits)?;
        let Some(spelled) = self.read(raw)? else {
            return Ok(Act::default());
        };
        if spelled.is_root() {
            return Ok(Act::default());
        }
        if self.rules == Rules::Layers
            && let Some(white) = super::whiteout::Whiteout::of(&spelled)
        {
            return self.whiteout(&white);
        }
        let Some(name) = self.locate(&spelled, raw)? else {
            return Ok(Act::default());
        };
        let matched = &mut self.matched;
        let placed = self.pick.place(&name, |index| {
            matched.insert(index);
        });
        let mut act = Act {
            remove: self.make_room(&name, &kind, placed.as_ref())?,
            then: Then::Nothing,
        };
        let from = Later {
            layer: self.layer,
            spelled,
        };
        let what = self.what(&name, kind, placed.as_ref(), from, &mut act)?;
        let node = Node {
            layer: self.layer,
            what,
            placed,
        };
        self.entries.insert(name, node);
        Ok(act)
    }

    /// The entry's own name; `None` where it is left out.
    fn read(&mut self, raw: &[u8]) -> Result<Option<EntryName>, Refused> {
        let name = match self.rules {
            Rules::Archive => EntryName::parse(raw, self.limits.name()),
            Rules::Layers => EntryName::parse_rooted(raw, self.limits.name()),
        };
        match name {
            Ok(name) => Ok(Some(name)),
            // What nobody asked for does no harm.
            Err(_) if !self.pick.takes_all() => Ok(None),
            Err(why) if why.is_hostile() => Err(Refused::Name {
                entry: shown(raw),
                why,
            }),
            Err(why) => {
                self.leave_out(shown(raw), LeftOut::Name(why))?;
                Ok(None)
            }
        }
    }

    fn leave_out(&mut self, entry: String, why: LeftOut) -> Result<(), Refused> {
        // The list is kept: it counts like a name.
        self.spent.names = self.spent.names.saturating_add(entry.len() as u64);
        if self.spent.names > self.limits.names {
            return Err(Refused::TooManyNames {
                limit: self.limits.names,
            });
        }
        self.left_out.push((entry, why));
        Ok(())
    }

    /// The name under which an entry is kept: its own, with the links that its
    /// folders are followed where layers may do that. `None` where it is to be
    /// ignored.
    fn locate(&mut self, spelled: &EntryName, raw: &[u8]) -> Result<Option<EntryName>, Refused> {
        let parts: Vec<&str> = spelled.parts().collect();
        let behind = (1..parts.len()).find_map(|length| {
            let folder = EntryName::of_parts(parts.get(..length)?);
            let node = self.entries.get(&folder)?;
            matches!(node.what, What::Link(_)).then_some(folder)
        });
        let Some(link) = behind else {
            return Ok(Some(spelled.clone()));
        };
        match self.rules {
            Rules::Archive if self.pick.place(spelled, |_| ()).is_none() => Ok(None),
            Rules::Archive => Err(Refused::ThroughLink {
                entry: shown(raw),
                link: link.as_str().to_owned(),
            }),
            Rules::Layers => {
                let parent = spelled.parent().unwrap_or_default();
                match self.entries.resolve(&parent) {
                    Found::Folder(folder) => Ok(Some(folder.join(spelled.file_name()))),
                    Found::File(_) | Found::Dead | Found::Out => {
                        if self.pick.takes_all() {
                            self.leave_out(shown(raw), LeftOut::DeadLink)?;
                        }
                        Ok(None)
                    }
                }
            }
        }
    }

    /// Clears the place where `name` goes, or says why it cannot go there.
    fn make_room(
        &mut self,
        name: &EntryName,
        kind: &Kind<'_>,
        placed: Option<&Placed>,
    ) -> Result<Vec<EntryName>, Refused> {
        let mut removed = Vec::new();
        let folder = matches!(kind, Kind::Folder);
        if let Some(before) = self.entries.get(name) {
            let was_folder = matches!(before.what, What::Folder);
            if folder && was_folder {
                return Ok(removed);
            }
            let older = before.layer < self.layer;
            if self.rules == Rules::Layers && older {
                self.remove(name, true, &mut removed);
            } else if placed.is_some() {
                return Err(Refused::Duplicate {
                    entry: name.as_str().to_owned(),
                });
            }
        } else if self.rules == Rules::Layers && !folder && self.entries.has_children(name) {
            self.remove(name, false, &mut removed);
        }
        // A file of a lower layer in a folder of ours.
        if self.rules == Rules::Layers {
            let mut parent = name.parent();
            while let Some(folder) = parent.filter(|folder| !folder.is_root()) {
                let stands = self.entries.get(&folder);
                if stands.is_some_and(|node| {
                    node.layer < self.layer && !matches!(node.what, What::Folder)
                }) {
                    self.remove(&folder, true, &mut removed);
                }
                parent = folder.parent();
            }
        }
        // What is left of a folder that nobody packed by its own name.
        if let Some(Placed { to, .. }) = placed
            && self.rules == Rules::Layers
            && !folder
            && self.places.is_folder(to)
            && self.places.leave(to)
        {
            removed.push(to.clone());
        }
        Ok(removed)
    }

    fn what(
        &mut self,
        name: &EntryName,
        kind: Kind<'_>,
        placed: Option<&Placed>,
        from: Later,
        act: &mut Act,
    ) -> Result<What, Refused> {
        let entry = || name.as_str().to_owned();
        Ok(match kind {
            Kind::File => {
                let here = placed.map(|placed| placed.to.clone());
                if let Some(to) = &here {
                    self.places.take(to, Stands::File)?;
                    act.then = Then::File(to.clone());
                }
                What::File { here, from }
            }
            Kind::Folder => {
                if let Some(placed) = placed {
                    self.places.take(&placed.to, Stands::Folder)?;
                    act.then = Then::Folder(placed.to.clone());
                }
                What::Folder
            }
            Kind::Symlink(target) => {
                let folder = name.parent().unwrap_or_default();
                What::Link(Target::new(folder, target))
            }
            Kind::Hardlink(target) => self.second_name(name, target, placed, act)?,
            Kind::Special(kind) => {
                match placed {
                    Some(placed) if placed.by_name => {
                        return Err(Refused::Special {
                            entry: entry(),
                            kind,
                        });
                    }
                    Some(_) => self.leave_out(entry(), LeftOut::Special(kind))?,
                    None => {}
                }
                What::Special
            }
            Kind::Unsupported(what) => {
                if placed.is_some() {
                    return Err(Refused::Unsupported {
                        entry: entry(),
                        what,
                    });
                }
                What::Special
            }
        })
    }

    /// A hard link: the file that it names has to be there already.
    fn second_name(
        &mut self,
        name: &EntryName,
        target: &[u8],
        placed: Option<&Placed>,
        act: &mut Act,
    ) -> Result<What, Refused> {
        let refused = |why: BadName| Refused::LinkLeadsOut {
            entry: name.as_str().to_owned(),
            target: format!("{} ({why})", shown(target)),
        };
        let limits = self.limits.name();
        let parsed = match self.rules {
            Rules::Archive => EntryName::parse(target, limits),
            Rules::Layers => EntryName::parse_rooted(target, limits),
        };
        let found = match parsed {
            Ok(target) => self.entries.resolve(&target),
            Err(why) if placed.is_some() => return Err(refused(why)),
            Err(_) => Found::Dead,
        };
        let of = match &found {
            Found::File(of) => self.entries.get(of),
            Found::Folder(_) | Found::Dead | Found::Out => None,
        };
        let Some(What::File { here, from }) = of.map(|node| &node.what) else {
            if placed.is_some_and(|placed| placed.by_name) {
                return Err(Refused::DeadLink {
                    entry: name.as_str().to_owned(),
                    target: shown(target),
                });
            }
            if placed.is_some() {
                self.leave_out(name.as_str().to_owned(), LeftOut::DeadLink)?;
            }
            return Ok(What::Special);
        };
        let (of, from) = (here.clone(), from.clone());
        let Some(to) = placed.map(|placed| placed.to.clone()) else {
            // A later layer may take the other name away: who wants this one
            // reads it again.
            return Ok(What::File { here: None, from });
        };
        self.places.take(&to, Stands::File)?;
        let Some(of) = of else {
            // Wanted under this name only: it is read later.
            return Ok(What::File { here: None, from });
        };
        act.then = Then::Name { of, to: to.clone() };
        Ok(What::File {
            here: Some(to),
            from,
        })
    }

    fn whiteout(&mut self, white: &super::whiteout::Whiteout) -> Result<Act, Refused> {
        use super::whiteout::Whiteout;
        let mut act = Act::default();
        let folder = match white {
            Whiteout::Of(folder, _) | Whiteout::Opaque(folder) => folder,
            Whiteout::Ignored => return Ok(act),
        };
        let Found::Folder(folder) = self.entries.resolve(folder) else {
            return Ok(act);
        };
        match white {
            Whiteout::Of(_, name) => {
                let name = EntryName::parse(name.as_bytes(), self.limits.name());
                let name = name.map_err(|why| Refused::Name {
                    entry: format!("{folder}/.wh."),
                    why,
                })?;
                self.remove(&folder.join(name.as_str()), true, &mut act.remove);
            }
            Whiteout::Opaque(_) => self.remove(&folder, false, &mut act.remove),
            Whiteout::Ignored => {}
        }
        Ok(act)
    }

    /// Removes what lower layers have in `name`, and itself where asked.
    fn remove(&mut self, name: &EntryName, itself: bool, removed: &mut Vec<EntryName>) {
        for node in self.entries.take_lower(name, itself, self.layer) {
            let (What::File { .. } | What::Folder, Some(Placed { to, .. })) =
                (node.what, node.placed)
            else {
                continue;
            };
            if self.places.leave(&to) {
                removed.push(to);
            }
        }
    }

    /// What is left when all entries were seen.
    ///
    /// # Errors
    /// [`Refused::Missing`] and what is wrong with links that were asked for.
    pub fn finish(mut self, note: &'static str) -> Result<(Rest, Spent), Refused> {
        for index in 0..self.pick.len() {
            if !self.matched.contains(&index) {
                let wanted = self.pick.written(index);
                return Err(Refused::Missing {
                    wanted: wanted.to_owned(),
                    near: self.entries.near(wanted),
                    note,
                });
            }
        }
        let mut rest = Rest::default();
        let wanted: Vec<(EntryName, Placed)> = self
            .entries
            .iter()
            .filter_map(|(name, node)| Some((name.clone(), node.placed.clone()?)))
            .collect();
        for (name, placed) in wanted {
            self.settle(&name, placed, &mut rest)?;
        }
        rest.left_out = self.left_out;
        Ok((rest, self.spent))
    }

    fn settle(&mut self, name: &EntryName, placed: Placed, rest: &mut Rest) -> Result<(), Refused> {
        let target = match self.entries.get(name).map(|node| &node.what) {
            Some(What::File { here: None, from }) => {
                rest.later.entry(from.clone()).or_default().push(placed.to);
                return Ok(());
            }
            Some(What::Link(target)) => target.shown(),
            Some(What::File { .. } | What::Folder | What::Special) | None => return Ok(()),
        };
        let entry = name.as_str().to_owned();
        let found = self.entries.resolve(name);
        let left_out = match found {
            Found::File(of) => {
                self.places.take(&placed.to, Stands::File)?;
                if let Some(What::File { here, from }) =
                    self.entries.get(&of).map(|node| &node.what)
                {
                    match here {
                        Some(here) => rest.names.push((here.clone(), placed.to)),
                        None => rest.later.entry(from.clone()).or_default().push(placed.to),
                    }
                }
                return Ok(());
            }
            Found::Folder(folder) => match self.pick.place(&folder, |_| ()) {
                _ if folder.is_root() && self.pick.keeps_names() => {
                    self.places.take(&placed.to, Stands::Link)?;
                    rest.links.push((placed.to, folder));
                    return Ok(());
                }
                Some(there) if self.places.is_folder(&there.to) => {
                    self.places.take(&placed.to, Stands::Link)?;
                    rest.links.push((placed.to, there.to));
                    return Ok(());
                }
                Some(_) | None => LeftOut::FolderElsewhere,
            },
            Found::Out => LeftOut::LinkLeadsOut,
            Found::Dead => LeftOut::DeadLink,
        };
        match left_out {
            LeftOut::LinkLeadsOut if placed.by_name => Err(Refused::LinkLeadsOut { entry, target }),
            why if !placed.by_name => self.leave_out(entry, why),
            LeftOut::LinkLeadsOut
            | LeftOut::DeadLink
            | LeftOut::FolderElsewhere
            | LeftOut::Name(_)
            | LeftOut::Special(_) => Err(Refused::DeadLink { entry, target }),
        }
    }
}
