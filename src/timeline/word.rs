//! Words that many boots share: each is kept once.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Bytes of a word at most; what is longer is cut, with an ellipsis.
pub const MAX_WORD: usize = 160;
/// Words that may be there before the first look for those that nobody uses.
const FIRST_LOOK: usize = 1024;

/// A short text, cheap to clone. Serialized and shown as the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Arc<str>);

/// Every word that is in use.
#[derive(Debug)]
pub(super) struct Words {
    known: BTreeSet<Arc<str>>,
    /// How many there may be before those that nobody uses are dropped.
    look_at: usize,
}

// === impl Word ===

impl Word {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Word {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

// === impl Words ===

impl Default for Words {
    fn default() -> Self {
        Self {
            known: BTreeSet::new(),
            look_at: FIRST_LOOK,
        }
    }
}

impl Words {
    /// The word for `text`, on one line and not longer than [`MAX_WORD`].
    pub(super) fn word(&mut self, text: &str) -> Word {
        let tidied = tidy(text);
        let text = tidied.as_deref().unwrap_or(text);
        if let Some(known) = self.known.get(text) {
            return Word(Arc::clone(known));
        }
        if self.known.len() >= self.look_at {
            self.known.retain(|word| Arc::strong_count(word) > 1);
            self.look_at = FIRST_LOOK.max(self.known.len() * 2);
        }
        let word: Arc<str> = Arc::from(text);
        self.known.insert(Arc::clone(&word));
        Word(word)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// `text` without control characters and cut; `None` where it is fine as it is.
fn tidy(text: &str) -> Option<String> {
    if text.len() <= MAX_WORD && !text.chars().any(char::is_control) {
        return None;
    }
    let mut tidied: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if tidied.len() > MAX_WORD {
        let room = MAX_WORD - '…'.len_utf8();
        let cut = (0..=room).rev().find(|at| tidied.is_char_boundary(*at));
        tidied.truncate(cut.unwrap_or_default());
        tidied.push('…');
    }
    Some(tidied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_each_word_once_and_none_that_nobody_uses() {
        let mut words = Words::default();
        let kept = words.word("vmlinuz");
        assert!(Arc::ptr_eq(&kept.0, &words.word("vmlinuz").0));
        for n in 0..10_000 {
            words.word(&n.to_string());
        }
        assert!(words.len() <= FIRST_LOOK, "{}", words.len());
        assert!(Arc::ptr_eq(&kept.0, &words.word("vmlinuz").0));
    }

    #[test]
    fn words_are_short_and_on_one_line() {
        let mut words = Words::default();
        assert_eq!(words.word("a\nb").as_str(), "a b");
        let long = words.word(&"ä".repeat(200));
        assert!(long.len() <= MAX_WORD && long.ends_with("ä…"), "{long}");
    }
}
