//! A queue in which every client has its turn. Core.

use std::collections::{BTreeMap, VecDeque};

/// Transfers of one link: some go, the others wait. Among those that wait the
/// clients take turns, so that one that asks for much holds nobody up.
#[derive(Debug)]
pub struct Line<C, T> {
    most: usize,
    going: usize,
    waiting: BTreeMap<C, VecDeque<T>>,
    /// The clients that wait, in the order of their turns.
    turns: VecDeque<C>,
}

impl<C: Copy + Ord, T> Line<C, T> {
    /// A line in which `most` may go at a time.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            going: 0,
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Lets one go, or takes its ticket; the ticket comes back where it goes.
    pub fn enter(&mut self, client: C, ticket: T) -> Option<T> {
        if self.going < self.most {
            self.going += 1;
            return Some(ticket);
        }
        let tickets = self.waiting.entry(client).or_default();
        if tickets.is_empty() {
            self.turns.push_back(client);
        }
        tickets.push_back(ticket);
        None
    }

    /// One goes no more; the ticket of the next, who goes in its place.
    pub fn leave(&mut self) -> Option<T> {
        let next = self.turns.pop_front().and_then(|client| {
            let tickets = self.waiting.get_mut(&client)?;
            let ticket = tickets.pop_front();
            if tickets.is_empty() {
                self.waiting.remove(&client);
            } else {
                self.turns.push_back(client);
            }
            ticket
        });
        if next.is_none() {
            self.going = self.going.saturating_sub(1);
        }
        next
    }

    /// How many go.
    #[must_use]
    pub const fn going(&self) -> usize {
        self.going
    }

    /// Whether none goes and none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.going == 0 && self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_take_turns() {
        let mut line = Line::new(2);
        assert_eq!(line.enter('a', 1), Some(1));
        assert_eq!(line.enter('a', 2), Some(2));
        for (client, ticket) in [('a', 3), ('a', 4), ('a', 5), ('b', 6), ('c', 7), ('b', 8)] {
            assert_eq!(line.enter(client, ticket), None);
        }
        let order: Vec<_> = std::iter::from_fn(|| line.leave()).collect();
        assert_eq!(order, [3, 6, 7, 4, 8, 5]);
        assert_eq!(line.going(), 1);
        assert_eq!(line.leave(), None);
        assert!(line.is_empty());
    }

    proptest! {
        #[test]
        fn nobody_is_lost_and_no_more_go_than_may(
            most in 1..4_usize,
            steps in prop::collection::vec(prop::option::of(0..5_u8), 0..200),
        ) {
            let mut line = Line::new(most);
            let (mut going, mut waiting) = (0, 0);
            for step in steps {
                if let Some(client) = step {
                    match line.enter(client, ()) {
                        Some(()) => going += 1,
                        None => waiting += 1,
                    }
                } else if going > 0 {
                    match line.leave() {
                        Some(()) => waiting -= 1,
                        None => going -= 1,
                    }
                }
                prop_assert_eq!(line.going(), going);
                prop_assert!(going <= most);
                prop_assert!(waiting == 0 || going == most);
            }
        }
    }
}
