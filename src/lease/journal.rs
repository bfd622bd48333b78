//! The journal of the lease database.
//!
//! Machines get addresses from all over a pool, so each lease lies in a page of its own; to write
//! that page for each would be most of the work of an ACK. A commit appends one entry with all
//! that it changes instead, and the tables follow behind: while nobody waits, or a part with each
//! commit where much has gathered. Many leases then share a page.
//!
//! An entry says what its addresses became, so to take entries in twice harms nothing. They go
//! when every address that they name was brought up to date in the tables after them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::disk::StoreError;
use super::rows::{At, Names, Row, Rows};

/// What became of each address, by the number of the commit.
pub(super) const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");

/// Addresses that may be behind before each commit brings some up to date: the more there are
/// the more share a page.
const MANY: usize = 16_384;

/// Addresses that are brought up to date with a commit then: so many for each of its own, and so
/// many at least.
const FOR_EACH: usize = 2;
const LEAST: usize = 32;

/// The same of a transaction while nobody waits: some milliseconds' worth, for whoever comes
/// meanwhile.
pub(super) const AT_REST: usize = 512;

/// Entries that go with a transaction at most; each commit brings one.
const FORGOTTEN: usize = 16;

/// Rows of the tables, and those that are taken out.
pub(super) type Changes = BTreeMap<At, Option<Row>>;

/// What the journal has and the tables do not.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The number of the first entry that is there, and of the next that will be.
    first: u64,
    next: u64,
    /// Addresses whose row in the tables is older than their last entry.
    behind: BTreeSet<At>,
    pass: Option<Pass>,
    /// Entries before this number may go.
    done: u64,
}

/// A walk through all addresses that are behind.
#[derive(Clone, Copy, Debug)]
struct Pass {
    /// The last address that was brought up to date.
    at: Option<At>,
    /// The entries that are done with at its end: those before this number.
    before: u64,
}

/// What a transaction does beside its own entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chores {
    /// Addresses whose row is brought up to date.
    pub(super) fold: Vec<At>,
    /// Entries that go.
    pub(super) forget: Vec<u64>,
}

// === impl Chores ===

impl Chores {
    /// Whether there is nothing to do.
    pub(super) const fn is_empty(&self) -> bool {
        self.fold.is_empty() && self.forget.is_empty()
    }
}

// === impl Journal ===

impl Journal {
    /// Reads the journal of `database`, and takes it in to `rows`.
    pub(super) fn read(database: &Database, rows: &mut Rows) -> Result<Self, redb::Error> {
        let mut journal = Self::default();
        let table = match database.begin_read()?.open_table(JOURNAL) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(journal),
            Err(error) => return Err(error.into()),
        };
        let mut names = Names::default();
        for entry in table.iter()? {
            let (number, changes) = entry?;
            if journal.next == 0 {
                journal.first = number.value();
            }
            journal.next = number.value() + 1;
            match postcard::from_bytes::<Vec<(At, Option<&[u8]>)>>(changes.value()) {
                Ok(changes) => {
                    for (at, row) in changes {
                        rows.take(at, row, &mut names);
                        journal.behind.insert(at);
                    }
                }
                Err(_) => rows.lost += 1,
            }
        }
        journal.done = journal.first;
        Ok(journal)
    }

    /// The number of the next entry, which changes `rows`; and what is to be done beside it, to
    /// rows as they were before. The transaction that does it must succeed, or the journal is read
    /// anew.
    pub(super) fn append(&mut self, rows: &Changes) -> (u64, Chores) {
        let number = self.next;
        let folding = self.pass.is_some() || self.behind.len() >= MANY;
        let most = (rows.len() * FOR_EACH).max(LEAST);
        let chores = self.chores(if folding { most } else { 0 });
        self.next += 1;
        self.behind.extend(rows.keys());
        (number, chores)
    }

    /// Whether the tables have all, and no entry is left.
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// What is to be done while nobody waits. The same holds as for [`Journal::append`].
    pub(super) fn rest(&mut self, most: usize) -> Chores {
        self.chores(most)
    }

    fn chores(&mut self, most: usize) -> Chores {
        let last = self.done.min(self.first + FORGOTTEN as u64);
        let forget = (self.first..last).collect();
        self.first = last;
        Chores {
            fold: if most == 0 {
                Vec::new()
            } else {
                self.walk(most)
            },
            forget,
        }
    }

    /// Goes on through those that are behind.
    fn walk(&mut self, most: usize) -> Vec<At> {
        let start = Pass {
            at: None,
            before: self.next,
        };
        let pass = self.pass.get_or_insert(start);
        let from = pass.at.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.behind.range((from, Bound::Unbounded));
        let fold: Vec<At> = rest.take(most).copied().collect();
        for at in &fold {
            self.behind.remove(at);
        }
        match fold.last() {
            Some(last) if fold.len() == most => pass.at = Some(*last),
            // All that was behind when it began has had its turn.
            _ => {
                self.done = pass.before;
                self.pass = None;
            }
        }
        fold
    }
}

/// The text of an entry.
pub(super) fn entry(changes: &Changes) -> Result<Vec<u8>, StoreError> {
    let rows = changes.iter().map(|(at, row)| {
        let row = row.as_ref().map(Row::bytes).transpose()?;
        Ok((*at, row))
    });
    let rows: Vec<(At, Option<Cow<'_, [u8]>>)> = rows.collect::<Result<_, StoreError>>()?;
    postcard::to_allocvec(&rows).map_err(StoreError::encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> At {
        At::V4(n)
    }

    fn rows(all: impl IntoIterator<Item = u32>) -> Changes {
        all.into_iter().map(|n| (at(n), None)).collect()
    }

    #[test]
    fn entries_go_once_every_address_had_its_turn() {
        let mut journal = Journal::default();
        assert!(journal.is_empty());
        let (number, chores) = journal.append(&rows([5, 1, 9]));
        assert_eq!((number, chores), (0, Chores::default()));
        let first = journal.rest(2);
        assert_eq!((first.fold, first.forget), (vec![at(1), at(5)], vec![]));
        // Behind the walk: its turn is the next one's.
        let (number, chores) = journal.append(&rows([1, 9]));
        assert_eq!(number, 1);
        // 9 has its turn now, with what it was before this entry.
        assert_eq!((chores.fold, chores.forget), (vec![at(9)], vec![]));
        let second = journal.rest(2);
        // The walk is at its end: the first entry goes. The next walk begins.
        assert_eq!((second.fold, second.forget), (vec![at(1), at(9)], vec![0]));
        let third = journal.rest(2);
        assert_eq!((third.fold, third.forget), (vec![], vec![]));
        assert!(!journal.is_empty());
        assert_eq!(journal.rest(2).forget, vec![1]);
        assert!(journal.is_empty());
    }

    #[test]
    fn a_journal_that_nobody_rests_for_stays_bounded() {
        let mut journal = Journal::default();
        let mut most = 0;
        for n in 0..20_000_u32 {
            // Addresses of which many are renewed, as on a busy network.
            let group = (0..20).map(|k| (n * 20 + k).wrapping_mul(2_654_435_761) % 100_000);
            journal.append(&rows(group));
            most = most.max(journal.behind.len());
        }
        assert!(most < 2 * MANY, "{most}");
        assert!(journal.next - journal.first < 5_000, "{journal:?}");
    }
}
