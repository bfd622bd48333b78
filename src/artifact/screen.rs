//! What went wrong with an artifact, for whoever stands at a machine that waits
//! for it: one short line without secrets.

/// Characters of a line at most: three rows of a screen, with what stands around
/// it.
const MAX_LINE: usize = 200;
/// What stands for the rest of what is too long, and for queries.
const MORE: &str = "...";

/// `error` as it may stand on a screen that anybody sees, by a loader that knows
/// ASCII alone. URLs are shown without user, password and query: those of
/// mirrors may be signed.
#[must_use]
pub fn on_screen(error: &str) -> String {
    let spaced = error.replace(char::is_control, " ");
    let words: Vec<String> = spaced.split_whitespace().map(without_secrets).collect();
    let mut line: String = words
        .join(" ")
        .chars()
        .map(|c| if c.is_ascii() { c } else { '?' })
        .collect();
    if line.len() > MAX_LINE {
        line.truncate(MAX_LINE - MORE.len());
        line.push_str(MORE);
    }
    line
}

/// A word without what may be secret of the URLs in it.
fn without_secrets(word: &str) -> String {
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    let mut is_url = false;
    while let Some((before, behind)) = rest.split_once("//") {
        is_url = true;
        let end = behind.find('/').unwrap_or(behind.len());
        let (authority, path) = behind.split_at(end);
        shown.extend([before, "//"]);
        match host(authority) {
            Some(host) => {
                shown.push_str(host);
                rest = path;
            }
            // A password with a slash in it.
            None => {
                shown.push_str(MORE);
                rest = path.rsplit_once('@').map_or(path, |(_, host)| host);
            }
        }
    }
    shown.push_str(rest);
    match shown.split_once('?').filter(|_| is_url) {
        Some((before, query)) => {
            let last = query.chars().last();
            let mark = last.filter(|last| matches!(last, ':' | ';' | ',' | '.' | ')'));
            format!(
                "{before}?{MORE}{}",
                mark.map_or_else(String::new, String::from)
            )
        }
        None => shown,
    }
}

/// The host and port of an authority (RFC 3986 section 3.2); `None` where it is
/// none.
fn host(authority: &str) -> Option<&str> {
    if let Some((_, host)) = authority.rsplit_once('@') {
        return Some(host);
    }
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let port = port.split('?').next().unwrap_or_default();
    let is_of_port = |c: char| c.is_ascii_digit() || matches!(c, ';' | ',' | '.' | ')');
    let is_plain = port.chars().all(is_of_port) || authority.starts_with('[');
    is_plain.then_some(authority)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_no_secrets() {
        for (error, want) in [
            (
                "spec.files[0]: https://example.net/linux answers 404 Not Found; correct the URL",
                "spec.files[0]: https://example.net/linux answers 404 Not Found; correct the URL",
            ),
            (
                "https://bob:s3cr3t@example.net:8443/a@b answers 403 Forbidden",
                "https://example.net:8443/a@b answers 403 Forbidden",
            ),
            (
                "https://example.net/a?X-Amz-Signature=s3cr3t: connection refused",
                "https://example.net/a?...: connection refused",
            ),
            ("a://u:s3@x,b://v:s3@y", "a://x,b://y"),
            (
                "https://bob:s3/cr3t@example.net/a",
                "https://...example.net/a",
            ),
            ("https://bob:s3?cr3t@example.net/a", "https://example.net/a"),
            ("http://[2001:db8::1]:80/a", "http://[2001:db8::1]:80/a"),
            (
                "http://example.net: no route",
                "http://example.net: no route",
            ),
            (
                "one\nline\r\n\u{1b}[2Jand\tno more, ä",
                "one line [2Jand no more, ?",
            ),
            (
                "registry/a@sha256:12 is gone?",
                "registry/a@sha256:12 is gone?",
            ),
        ] {
            assert_eq!(on_screen(error), want);
        }
    }

    proptest! {
        #[test]
        fn is_one_short_line(error in ".{0,400}") {
            let line = on_screen(&error);
            prop_assert!(line.len() <= MAX_LINE);
            prop_assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
            prop_assert!(!line.contains("  "));
        }

        #[test]
        fn never_says_who_asks(
            user in "[a-z]{1,8}", secret in "Z[A-Z!$&'*+;=,%-]{3,12}Z", path in "[a-z/]{0,20}",
            query in prop::bool::ANY, before in "[ (\"]?", after in "[ ):;]?",
        ) {
            let query = if query { format!("?token={secret}") } else { String::new() };
            let error = format!("{before}https://{user}:{secret}@example.net/{path}{query}{after} fails");
            let line = on_screen(&error);
            prop_assert!(!line.contains(&secret), "{line}");
            prop_assert!(line.contains("example.net"), "{line}");
        }
    }
}
