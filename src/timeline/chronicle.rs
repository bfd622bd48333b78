//! The story of the machines as lines: the latest of them, and those to come.
//! Shell state: the timeline and DHCP write it, the admin doors read it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::boot::MacAddress;
use crate::clock::Millis;

/// Lines that are kept, of all machines together. A boot has about ten, so
/// these are the last 400 boots, in a megabyte.
pub const KEPT_LINES: usize = 4096;

/// Lines that a follower may be behind, of all machines together. Who is
/// slower loses the oldest and is told how many.
pub const FOLLOW_LINES: usize = 1024;

/// One line of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryLine {
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The machine's MAC address.
    pub mac: MacAddress,
    /// The machine's object, by name.
    pub machine: Option<String>,
    /// The boot that it belongs to.
    pub boot: Option<String>,
    /// What happened, as the log has it.
    pub text: String,
}

/// The latest lines, and a way to hear the next. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chronicle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    past: Mutex<VecDeque<Arc<StoryLine>>>,
    live: broadcast::Sender<Arc<StoryLine>>,
}

/// Hears the lines that come.
#[derive(Debug)]
pub struct Tail(broadcast::Receiver<Arc<StoryLine>>);

/// What a [`Tail`] hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line.
    Line(Arc<StoryLine>),
    /// So many lines, of any machine, came while nobody listened.
    Lost(u64),
    /// There is nobody left who writes.
    End,
}

// === impl Chronicle ===

impl Default for Chronicle {
    fn default() -> Self {
        let (live, _) = broadcast::channel(FOLLOW_LINES);
        let past = Mutex::default();
        Self(Arc::new(Inner { past, live }))
    }
}

impl Chronicle {
    /// Adds a line.
    pub fn note(&self, line: StoryLine) {
        let line = Arc::new(line);
        let mut past = self.past();
        if past.len() >= KEPT_LINES {
            past.pop_front();
        }
        past.push_back(Arc::clone(&line));
        // Under the lock, so that no follower hears a line twice or never.
        // That nobody follows is no error.
        let _ = self.0.live.send(line);
    }

    /// The lines since `since`, oldest first, and those to come.
    #[must_use]
    pub fn listen(&self, since: Millis) -> (VecDeque<Arc<StoryLine>>, Tail) {
        let past = self.past();
        let lines = past.iter().filter(|line| line.at >= since.0);
        (lines.cloned().collect(), Tail(self.0.live.subscribe()))
    }

    fn past(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<StoryLine>>> {
        self.0.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Tail ===

impl Tail {
    /// The next line. Loses none when it is dropped before it is done.
    pub async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(line) => Heard::Line(line),
            Err(broadcast::error::RecvError::Lagged(lost)) => Heard::Lost(lost),
            Err(broadcast::error::RecvError::Closed) => Heard::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: u64) -> StoryLine {
        StoryLine {
            at,
            mac: MacAddress::new([2, 0, 0, 0, 0, 1]),
            machine: None,
            boot: None,
            text: format!("line {at}"),
        }
    }

    #[tokio::test]
    async fn the_past_and_what_comes_join_without_a_gap() {
        let chronicle = Chronicle::default();
        chronicle.note(line(1));
        chronicle.note(line(2));
        let (past, mut tail) = chronicle.listen(Millis(2));
        assert_eq!(past, [Arc::new(line(2))]);
        chronicle.note(line(3));
        assert_eq!(tail.next().await, Heard::Line(Arc::new(line(3))));
        drop(chronicle);
        assert_eq!(tail.next().await, Heard::End);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_much_is_lost() {
        let chronicle = Chronicle::default();
        let (_, mut tail) = chronicle.listen(Millis(0));
        let many = FOLLOW_LINES as u64 + 10;
        for at in 1..=many {
            chronicle.note(line(at));
        }
        assert_eq!(tail.next().await, Heard::Lost(10));
        assert_eq!(tail.next().await, Heard::Line(Arc::new(line(11))));
    }

    #[test]
    fn keeps_the_latest_lines_only() {
        let chronicle = Chronicle::default();
        for at in 1..=KEPT_LINES as u64 + 5 {
            chronicle.note(line(at));
        }
        let (past, _) = chronicle.listen(Millis(0));
        assert_eq!((past.len(), past[0].at), (KEPT_LINES, 6));
    }
}
