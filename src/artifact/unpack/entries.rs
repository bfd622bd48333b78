//! What an archive has shown so far: every entry by its name, wanted or not.
//! Links lead through here.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;

use super::links::{self, Found, Seen, Target};
use super::name::EntryName;
use super::near::Near;
use super::pick::Placed;
use super::plan::{Later, Rules};

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The layer that it is of, counted from 0.
    pub(super) layer: usize,
    pub(super) what: What,
    /// Where it goes; `None` where nobody asked for it.
    pub(super) placed: Option<Placed>,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A file, and where its bytes are: `here` in the tree, else in the
    /// archive under `from`.
    File {
        here: Option<EntryName>,
        from: Later,
    },
    Folder,
    Link(Target),
    Special,
}

/// All entries, by their name in the archive.
#[derive(Debug)]
pub(super) struct Entries {
    rules: Rules,
    nodes: BTreeMap<EntryName, Node>,
}

impl Entries {
    /// None yet; `rules` say what links may do.
    pub(super) const fn new(rules: Rules) -> Self {
        Self {
            rules,
            nodes: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, name: &EntryName) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub(super) fn insert(&mut self, name: EntryName, node: Node) {
        self.nodes.insert(name, node);
    }

    pub(super) fn iter(&self) -> Iter<'_, EntryName, Node> {
        self.nodes.iter()
    }

    /// Where `name` leads in the end.
    pub(super) fn resolve(&self, name: &EntryName) -> Found {
        links::resolve(name, self.rules, &|name| self.seen(name))
    }

    fn seen(&self, name: &EntryName) -> Seen<'_> {
        match self.nodes.get(name).map(|node| &node.what) {
            Some(What::File { .. }) => Seen::File,
            Some(What::Folder) => Seen::Folder,
            Some(What::Link(target)) => Seen::Link(target),
            Some(What::Special) => Seen::Nothing,
            None if name.is_root() || self.has_children(name) => Seen::Folder,
            None => Seen::Nothing,
        }
    }

    /// Whether something is inside `name`.
    pub(super) fn has_children(&self, name: &EntryName) -> bool {
        self.inside(name).next().is_some()
    }

    /// The entries inside `name`, sorted.
    fn inside<'b>(
        &'b self,
        name: &'b EntryName,
    ) -> impl Iterator<Item = (&'b EntryName, &'b Node)> {
        self.nodes
            .range(name.join("")..)
            .take_while(move |(other, _)| other.beneath(name).is_some())
    }

    /// Takes out what layers below `layer` have in `name`, and itself where
    /// asked, the deepest first: a folder is empty when its turn comes.
    pub(super) fn take_lower(&mut self, name: &EntryName, itself: bool, layer: usize) -> Vec<Node> {
        let mut gone: Vec<EntryName> = self
            .inside(name)
            .filter(|(_, node)| node.layer < layer)
            .map(|(name, _)| name.clone())
            .collect();
        let own = self.nodes.get(name);
        if itself && own.is_some_and(|node| node.layer < layer) {
            gone.push(name.clone());
        }
        gone.sort_by_key(|name| std::cmp::Reverse(name.parts().count()));
        gone.iter()
            .filter_map(|name| self.nodes.remove(name))
            .collect()
    }

    /// What comes near `wanted`, for people.
    pub(super) fn near(&self, wanted: &str) -> Vec<String> {
        let mut near = Near::to(wanted);
        for (name, node) in &self.nodes {
            if matches!(node.what, What::File { .. } | What::Link(_)) {
                near.see(name.as_str());
            }
        }
        near.names()
    }
}
