//! Where links inside an archive lead.

use super::name::{EntryName, shown};
use super::plan::Rules;

/// More links than this, one after the other, are a circle; the kernel's own
/// bound.
const MAX_HOPS: usize = 40;

/// Where a symbolic link leads, and from where.
#[derive(Clone, Debug)]
pub struct Target {
    folder: EntryName,
    /// As the archive has it; `None` where it is no text, or longer than any
    /// path.
    path: Option<String>,
    raw: String,
}

impl Target {
    /// The target of a link in `folder`.
    #[must_use]
    pub fn new(folder: EntryName, raw: &[u8]) -> Self {
        /// The kernel's longest path.
        const MOST: usize = 4096;
        let path = std::str::from_utf8(raw).ok().filter(|text| {
            text.len() <= MOST && !text.is_empty() && !text.chars().any(char::is_control)
        });
        Self {
            folder,
            path: path.map(str::to_owned),
            raw: shown(raw),
        }
    }

    /// It, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        self.raw.clone()
    }
}

/// What the archive has under a name.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// A file.
    File,
    /// A folder, also one that is only in the names of others.
    Folder,
    /// A symbolic link.
    Link(&'a Target),
    /// Nothing that can be served.
    Nothing,
}

/// Where a path leads in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// To this file.
    File(EntryName),
    /// To this folder.
    Folder(EntryName),
    /// To nothing, or in a circle.
    Dead,
    /// Out of the archive.
    Out,
}

/// Follows `name` through the links of the archive to its end. In an archive
/// `/` and a `..` above its root lead out; in an image both are its root.
pub fn resolve<'a>(
    name: &EntryName,
    rules: Rules,
    look: &impl Fn(&EntryName) -> Seen<'a>,
) -> Found {
    let mut here: Vec<String> = Vec::new();
    // The parts still to go, the next one last.
    let mut ahead: Vec<String> = name.as_str().rsplit('/').map(str::to_owned).collect();
    let mut hops = 0;
    let mut end = Seen::Folder;
    while let Some(part) = ahead.pop() {
        if matches!(part.as_str(), "" | ".") {
            continue;
        }
        if part == ".." {
            if here.pop().is_none() && rules == Rules::Archive {
                return Found::Out;
            }
            end = Seen::Folder;
            continue;
        }
        if !matches!(end, Seen::Folder) {
            return Found::Dead;
        }
        here.push(part);
        end = look(&named(&here));
        match end {
            Seen::File | Seen::Folder => {}
            Seen::Nothing => return Found::Dead,
            Seen::Link(target) => {
                hops += 1;
                let Some(path) = target.path.as_deref().filter(|_| hops <= MAX_HOPS) else {
                    return Found::Dead;
                };
                if path.starts_with('/') {
                    if rules == Rules::Archive {
                        return Found::Out;
                    }
                    here.clear();
                } else {
                    here = target.folder.parts().map(str::to_owned).collect();
                }
                ahead.extend(path.split('/').rev().map(str::to_owned));
                end = Seen::Folder;
            }
        }
    }
    match end {
        Seen::File => Found::File(named(&here)),
        Seen::Folder => Found::Folder(named(&here)),
        Seen::Link(_) | Seen::Nothing => Found::Dead,
    }
}

fn named(parts: &[String]) -> EntryName {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    EntryName::of_parts(&parts)
}

/// The text of a relative link at `from` that leads to the folder `to`; both
/// are places of one tree.
#[must_use]
pub fn relative(from: &EntryName, to: &EntryName) -> String {
    let folder = from.parent().unwrap_or_default();
    let (folder, to): (Vec<&str>, Vec<&str>) = (folder.parts().collect(), to.parts().collect());
    let common = folder.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut parts = vec![".."; folder.len() - common];
    parts.extend(to.iter().skip(common));
    if parts.is_empty() {
        return ".".to_owned();
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::name::NameLimits;
    use super::*;

    const LIMITS: NameLimits = NameLimits {
        bytes: 1000,
        depth: 100,
    };

    fn name(text: &str) -> EntryName {
        EntryName::parse(text.as_bytes(), LIMITS).unwrap()
    }

    fn found(path: &str, rules: Rules) -> String {
        let links: Vec<(EntryName, Target)> = [
            ("vmlinuz", "boot/vmlinuz"),
            ("boot/vmlinuz", "vmlinuz-6"),
            ("bin", "usr/bin"),
            ("self", "."),
            ("out", "../../etc/passwd"),
            ("absolute", "/boot/vmlinuz-6"),
            ("loop", "pool"),
            ("pool", "loop"),
            ("dead", "nothing"),
            ("file/x", "y"),
        ]
        .into_iter()
        .map(|(from, to)| {
            let from = name(from);
            let folder = from.parent().unwrap();
            (from, Target::new(folder, to.as_bytes()))
        })
        .collect();
        let look = |asked: &EntryName| {
            if let Some((_, target)) = links.iter().find(|(from, _)| from == asked) {
                return Seen::Link(target);
            }
            match asked.as_str() {
                "boot" | "usr" | "usr/bin" => Seen::Folder,
                "boot/vmlinuz-6" | "usr/bin/sh" => Seen::File,
                _ => Seen::Nothing,
            }
        };
        format!("{:?}", resolve(&name(path), rules, &look))
    }

    #[test]
    fn follows_links_to_their_end() {
        for (path, want) in [
            ("vmlinuz", "File(EntryName(\"boot/vmlinuz-6\"))"),
            ("self/self/vmlinuz", "File(EntryName(\"boot/vmlinuz-6\"))"),
            ("bin/sh", "File(EntryName(\"usr/bin/sh\"))"),
            ("bin", "Folder(EntryName(\"usr/bin\"))"),
            ("bin/sh/x", "Dead"),
            ("out", "Out"),
            ("absolute", "Out"),
            ("loop", "Dead"),
            ("dead", "Dead"),
        ] {
            assert_eq!(found(path, Rules::Archive), want, "{path}");
        }
        let want = "File(EntryName(\"boot/vmlinuz-6\"))";
        assert_eq!(found("absolute", Rules::Layers), want);
        assert_eq!(found("out", Rules::Layers), "Dead");
    }

    #[test]
    fn writes_links_that_stay_inside() {
        for (from, to, want) in [
            ("a", "b", "b"),
            ("a/b/c", "a/d", "../d"),
            ("a/b", "", ".."),
            ("a/b", "a", "."),
            ("a", "", "."),
            ("x/y/z", "q/r", "../../q/r"),
        ] {
            let to = EntryName::parse(to.as_bytes(), LIMITS).unwrap();
            assert_eq!(relative(&name(from), &to), want, "{from} {to}");
        }
    }
}
