//! "Did you mean": the known name that is nearest to a wrong one.

/// Longest name that is compared; what is longer is no slip of the finger.
const LONGEST: usize = 64;

/// The known name that `wrong` was meant to be: equal but for case, or within
/// a third of its letters.
pub(crate) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if wrong.chars().nth(LONGEST).is_some() {
        return None;
    }
    let lower = wrong.to_lowercase();
    let most = lower.chars().count().div_ceil(3).min(3);
    known
        .into_iter()
        .filter(|name| name.chars().nth(LONGEST).is_none())
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

/// The cure for a wrong name: ``did you mean `x`?``, else the names there are,
/// else nothing.
pub(crate) fn cure<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    /// More names than this nobody reads.
    const MOST: usize = 16;
    if let Some(name) = nearest(wrong, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let names: Vec<&str> = known.into_iter().take(MOST + 1).collect();
    if names.is_empty() || names.len() > MOST {
        return String::new();
    }
    format!("it can be {}", list(&names))
}

/// `a, b or c`.
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(|name| format!("`{name}`")).collect();
            format!("{} or `{last}`", most.join(", "))
        }
    }
}

/// Letters to add, drop, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, letter) in a.chars().enumerate() {
        let mut line = Vec::with_capacity(last.len());
        line.push(row + 1);
        for (column, other) in b.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let mut best = (at(&last, column) + usize::from(letter != *other))
                .min(at(&last, column + 1) + 1)
                .min(at(&line, column) + 1);
            let swapped = previous == Some(*other)
                && column
                    .checked_sub(1)
                    .is_some_and(|left| b.get(left) == Some(&letter));
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            line.push(best);
        }
        previous = Some(letter);
        before = std::mem::replace(&mut last, line);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_of_the_finger_only() {
        let known = ["pools", "routers", "nextServer", "mtu", "mode"];
        for (wrong, want) in [
            ("pool", Some("pools")),
            ("ruoters", Some("routers")),
            ("nextserver", Some("nextServer")),
            ("next_server", Some("nextServer")),
            ("MTU", Some("mtu")),
            ("gateway", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, known), want, "{wrong}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn lists_what_there_is() {
        assert_eq!(
            cure("zzzz", ["a1", "b1", "c1"]),
            "it can be `a1`, `b1` or `c1`"
        );
        assert_eq!(cure("x", []), "");
    }
}
