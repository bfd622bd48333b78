//! How a folder is shown.
//!
//! Core: entries come in, a page goes out.

use std::fmt::Write as _;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::range::Version;
use super::target::{Sort, View};
use crate::files::ArtifactPath;

/// Entries that are shown of one folder. Nobody reads more on a page, and a
/// folder of a million files must not cost a request gigabytes.
pub const MAX_ENTRIES: usize = 10_000;

/// How the page looks: in the colours of the reader's choice, and without exact
/// sizes where there is no room.
const STYLE: &str = ":root { color-scheme: light dark } \
    body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem } \
    h1 { font-size: 1.2rem; overflow-wrap: anywhere } \
    td, th { padding: .25rem 1.5rem .25rem 0; text-align: left; white-space: nowrap } \
    td:first-child { white-space: normal; overflow-wrap: anywhere } \
    .n { text-align: right; font-variant-numeric: tabular-nums } \
    @media (max-width: 45rem) { .wide { display: none } td, th { padding-right: .7rem } }";

/// Which folders are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// None.
    None,
    /// All but those in and below these.
    AllBut(Vec<ArtifactPath>),
}

/// What stands for itself in a path segment of a URI: RFC 3986 section 2.3.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A file or folder in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Its length in bytes; of no meaning for a folder.
    pub size: u64,
    /// When it last changed.
    pub modified: SystemTime,
}

/// A folder that is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: ArtifactPath,
    entries: Vec<Entry>,
    cut: bool,
}

// === impl Shown ===

impl Shown {
    /// Whether the folder at `path` is shown.
    #[must_use]
    pub fn shows(&self, path: &ArtifactPath) -> bool {
        match self {
            Self::None => false,
            Self::AllBut(hidden) => !hidden.iter().any(|hidden| {
                let below = path.as_str().strip_prefix(hidden.as_str());
                below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
            }),
        }
    }
}

// === impl Folder ===

impl Folder {
    /// The folder at `path`: folders before files, each by name, without what
    /// is hidden (a leading `.`), what no request can name, and what stands
    /// behind [`MAX_ENTRIES`]. Of two entries with one name the first counts.
    #[must_use]
    pub fn new(path: ArtifactPath, mut entries: Vec<Entry>) -> Self {
        entries.retain(|entry| is_shown(&entry.name));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|later, first| later.name == first.name);
        entries.sort_by_key(|entry| !entry.is_dir);
        let cut = entries.len() > MAX_ENTRIES;
        entries.truncate(MAX_ENTRIES);
        Self { path, entries, cut }
    }

    /// Whether it has more entries than are shown.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// The page for people, as `view` asks; times in `zone`, or else in UTC. It
    /// reads well on a telephone, where a machine that does not boot is looked at.
    #[must_use]
    pub fn html(&self, zone: &TimeZone, view: &View) -> String {
        let title = escape(&format!("Index of {}", self.href("")));
        let mut page = format!(
            "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<h1>{title}</h1>\n<table>\n"
        );
        columns(&mut page, view);
        if let Some(parent) = self.parent() {
            row(&mut page, &parent, "../", "", "", "");
        }
        let utc = TimeZone::UTC;
        let zone = if view.utc { &utc } else { zone };
        for entry in self.sorted(view) {
            let href = encode(&self.href(&entry.name));
            let time = local_time(entry.modified, zone);
            if entry.is_dir {
                let (href, name) = (format!("{href}/"), format!("{}/", entry.name));
                row(&mut page, &href, &name, &time, "-", "-");
            } else {
                let (exact, human) = (entry.size.to_string(), human_size(entry.size));
                row(&mut page, &href, &entry.name, &time, &exact, &human);
            }
        }
        page.push_str("</table>\n");
        if self.cut {
            let _ = writeln!(page, "<p>only {MAX_ENTRIES} entries are shown</p>");
        }
        page.push_str("</body>\n</html>\n");
        page
    }

    /// The list for programs, as nginx writes it (`autoindex_format json`):
    /// `name`, `type`, `mtime` and, for files, `size` in bytes.
    #[must_use]
    pub fn json(&self, view: &View) -> String {
        let entries = self.sorted(view).into_iter().map(|entry| {
            let mtime = Version::new(entry.modified, entry.size).last_modified();
            let kind = if entry.is_dir { "directory" } else { "file" };
            let mut object = serde_json::json!({
                "name": entry.name,
                "type": kind,
                "mtime": mtime,
            });
            if !entry.is_dir {
                object["size"] = entry.size.into();
            }
            object
        });
        serde_json::Value::Array(entries.collect()).to_string() + "\n"
    }

    /// The entries in the order that `view` asks for, folders always first.
    /// Those that are equal stand by name.
    fn sorted(&self, view: &View) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        match view.sort {
            Sort::Name => {}
            Sort::Time => entries.sort_by_key(|entry| entry.modified),
            // The size of a folder means nothing.
            Sort::Size => entries.sort_by_key(|entry| if entry.is_dir { 0 } else { entry.size }),
        }
        if view.descending {
            entries.reverse();
        }
        entries.sort_by_key(|entry| !entry.is_dir);
        entries
    }

    /// The absolute path of `name` in this folder, not encoded. Relative links
    /// would be wrong where the client left the trailing `/` out, and there
    /// are no redirects that would add it.
    fn href(&self, name: &str) -> String {
        if self.path.is_root() {
            format!("/{name}")
        } else {
            format!("/{}/{name}", self.path)
        }
    }

    /// The encoded link to the folder above; `None` for the root.
    fn parent(&self) -> Option<String> {
        if self.path.is_root() {
            return None;
        }
        Some(match self.path.as_str().rsplit_once('/') {
            Some((above, _)) => encode(&format!("/{above}/")),
            None => "/".to_owned(),
        })
    }
}

/// Whether a name is shown: not hidden, and such that a request can name it.
#[must_use]
pub fn is_shown(name: &str) -> bool {
    !name.starts_with('.') && !name.contains('/') && ArtifactPath::parse(name).is_ok()
}

/// A size for people: 1024-based, three figures at most.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    let mut unit = "";
    let (mut whole, mut rest) = (bytes, 0);
    for next in ["K", "M", "G", "T", "P", "E"] {
        if whole < 1024 {
            break;
        }
        rest = whole % 1024;
        whole /= 1024;
        unit = next;
    }
    // One figure behind the point says enough, and only for small numbers.
    if unit.is_empty() || whole >= 10 {
        format!("{whole}{unit}")
    } else {
        format!("{whole}.{}{unit}", rest * 10 / 1024)
    }
}

/// The heads of the columns, each a link that sorts by it; the one that is
/// sorted by turns the order round.
fn columns(page: &mut String, view: &View) {
    let link = |sort: Sort, words: &str| {
        let turned = View {
            sort,
            descending: view.sort == sort && !view.descending,
            ..*view
        };
        format!("<a href=\"{}\">{words}</a>", escape(&turned.query()))
    };
    let other = View {
        utc: !view.utc,
        ..*view
    };
    let (zone, query) = (
        if view.utc { "local" } else { "UTC" },
        escape(&other.query()),
    );
    let _ = writeln!(
        page,
        "<tr><th>{}</th><th>{} (<a href=\"{query}\">{zone}</a>)</th>\
         <th class=\"n wide\">Bytes</th><th class=\"n\">{}</th></tr>",
        link(Sort::Name, "Name"),
        link(Sort::Time, "Changed"),
        link(Sort::Size, "Size"),
    );
}

/// One line of the table; `href` is encoded, the others are plain text.
fn row(page: &mut String, href: &str, name: &str, time: &str, exact: &str, human: &str) {
    let name = escape(name);
    let _ = writeln!(
        page,
        "<tr><td><a href=\"{href}\">{name}</a></td><td>{time}</td>\
         <td class=\"n wide\">{exact}</td><td class=\"n\">{human}</td></tr>"
    );
}

/// Encodes a path for a link, segment by segment.
fn encode(path: &str) -> String {
    let segments = path.split('/');
    let segments: Vec<_> = segments
        .map(|segment| utf8_percent_encode(segment, SEGMENT).to_string())
        .collect();
    segments.join("/")
}

/// Makes text safe between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A time as `2025-10-08 15:19:42 +02:00`; empty where no calendar has it.
fn local_time(time: SystemTime, zone: &TimeZone) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| String::new(),
        |time| {
            let time = time.to_zoned(zone.clone());
            time.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, size: Option<u64>) -> Entry {
        Entry {
            name: name.to_owned(),
            is_dir: size.is_none(),
            size: size.unwrap_or(4096),
            modified: UNIX_EPOCH + Duration::from_secs(0x68e6_64ee),
        }
    }

    fn folder(path: &str, entries: &[Entry]) -> Folder {
        Folder::new(ArtifactPath::parse(path).unwrap(), entries.to_vec())
    }

    #[test]
    fn shows_names_both_sizes_and_local_time() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let page =
            folder("debian/13", &[entry("linux", Some(8_500_000))]).html(&zone, &View::default());
        assert!(page.contains("<title>Index of /debian/13/</title>"));
        assert!(page.contains("<a href=\"/debian/\">../</a>"));
        assert!(page.contains("<a href=\"/debian/13/linux\">linux</a>"));
        assert!(page.contains("<td>2025-10-08 15:19:42 +02:00</td>"));
        assert!(page.contains(">8500000<") && page.contains(">8.1M<"));
    }

    #[test]
    fn puts_folders_first_and_leaves_hidden_names_out() {
        let entries = [
            entry("b", Some(1)),
            entry(".git", None),
            entry("z", None),
            entry("a", Some(1)),
            entry("bad\nname", Some(1)),
        ];
        let json: serde_json::Value =
            serde_json::from_str(&folder("", &entries).json(&View::default())).unwrap();
        let names: Vec<_> = json
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["name"])
            .collect();
        assert_eq!(names, ["z", "a", "b"]);
        assert_eq!(json[0]["type"], "directory");
        assert!(json[0].get("size").is_none());
        assert_eq!(json[1]["size"], 1);
        assert_eq!(json[1]["mtime"], "Wed, 08 Oct 2025 13:19:42 GMT");
        let page = folder("", &entries).html(&TimeZone::UTC, &View::default());
        assert!(page.contains("<a href=\"/z/\">z/</a>"));
        assert!(!page.contains("../") && !page.contains(".git"));
    }

    #[test]
    fn sorts_as_asked_and_keeps_folders_first() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let timed = |name, size, seconds| Entry {
            modified: at(seconds),
            ..entry(name, size)
        };
        let entries = [
            timed("a", Some(30), 2),
            timed("b", Some(10), 3),
            timed("c", Some(20), 1),
            timed("d", None, 9),
        ];
        let folder = folder("", &entries);
        let order = |sort, descending| -> String {
            let view = View {
                sort,
                descending,
                ..View::default()
            };
            let sorted = folder.sorted(&view);
            sorted.iter().map(|entry| entry.name.as_str()).collect()
        };
        assert_eq!(order(Sort::Name, false), "dabc");
        assert_eq!(order(Sort::Name, true), "dcba");
        assert_eq!(order(Sort::Size, false), "dbca");
        assert_eq!(order(Sort::Time, true), "dbac");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let utc = View {
            utc: true,
            sort: Sort::Size,
            ..View::default()
        };
        let page = folder.html(&zone, &utc);
        assert!(page.contains("1970-01-01 00:00:02 +00:00"), "{page}");
        assert!(page.contains("<a href=\"?sort=size&amp;order=desc&amp;time=utc\">Size</a>"));
        assert!(page.contains("<a href=\"?sort=size\">local</a>"), "{page}");
        let page = folder.html(&zone, &View::default());
        assert!(page.contains("1970-01-01 02:00:02 +02:00"));
    }

    #[test]
    fn hides_what_is_below_a_folder() {
        let path = |name| ArtifactPath::parse(name).unwrap();
        let shown = Shown::AllBut(vec![path("isos"), path("a/b")]);
        for (name, want) in [
            ("", true),
            ("isos", false),
            ("isos/x", false),
            ("isos2", true),
            ("a", true),
            ("a/b", false),
            ("a/bc", true),
        ] {
            assert_eq!(shown.shows(&path(name)), want, "{name}");
        }
        assert!(!Shown::None.shows(&path("")));
    }

    #[test]
    fn escapes_names_in_text_and_links() {
        let name = "<b>&\"'#?%ä.txt";
        let page = folder("ö", &[entry(name, Some(1))]).html(&TimeZone::UTC, &View::default());
        assert!(page.contains("&lt;b&gt;&amp;&quot;&#39;#?%ä.txt</a>"));
        assert!(page.contains("href=\"/%C3%B6/%3Cb%3E%26%22%27%23%3F%25%C3%A4.txt\""));
    }

    #[test]
    fn the_first_of_one_name_counts() {
        let folder = folder("", &[entry("isos", None), entry("isos", Some(1))]);
        assert_eq!(folder.entries.len(), 1);
        assert!(folder.entries[0].is_dir);
    }

    #[test]
    fn says_when_it_shows_less_than_there_is() {
        let many: Vec<_> = (0..=MAX_ENTRIES)
            .map(|n| entry(&format!("{n:05}"), Some(1)))
            .collect();
        let folder = folder("", &many);
        assert!(folder.is_cut());
        assert!(
            folder
                .html(&TimeZone::UTC, &View::default())
                .contains("only 10000 entries")
        );
    }

    #[test]
    fn rounds_sizes_for_people() {
        for (bytes, want) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (10 << 20, "10M"),
            (5 << 30, "5.0G"),
            (u64::MAX, "15E"),
        ] {
            assert_eq!(human_size(bytes), want, "{bytes}");
        }
    }

    #[test]
    fn survives_times_that_no_calendar_has() {
        let far = Entry {
            modified: UNIX_EPOCH + Duration::from_secs(1 << 50),
            ..entry("far", Some(1))
        };
        let folder = folder("", &[far]);
        assert!(
            folder
                .html(&TimeZone::UTC, &View::default())
                .contains("far")
        );
        assert!(folder.json(&View::default()).contains("9999"));
    }

    proptest! {
        #[test]
        fn no_name_breaks_out_of_the_page(name in any::<String>()) {
            let page = folder("x", &[entry(&name, Some(1))]).html(&TimeZone::UTC, &View::default());
            let empty = folder("x", &[]).html(&TimeZone::UTC, &View::default());
            let links = |page: &str| page.matches("<a ").count();
            prop_assert_eq!(links(&page), links(&empty) + usize::from(is_shown(&name)));
            prop_assert!(!page.contains("<script"));
        }
    }
}
