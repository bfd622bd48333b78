//! Whiteouts: how a layer of an image takes away what lower layers have (OCI
//! image specification, `layer.md`).

use super::name::EntryName;

/// What a name beginning with `.wh.` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// This name in this folder goes.
    Of(EntryName, String),
    /// Everything that lower layers have in this folder goes.
    Opaque(EntryName),
    /// A note of the union file system that made the layer.
    Ignored,
}

impl Whiteout {
    /// What `name` takes away; `None` where it is an entry like any other.
    #[must_use]
    pub fn of(name: &EntryName) -> Option<Self> {
        // The folders of such notes have their names too.
        if name.parts().any(|part| part.starts_with(".wh..wh."))
            && name.file_name() != ".wh..wh..opq"
        {
            return Some(Self::Ignored);
        }
        let rest = name.file_name().strip_prefix(".wh.")?;
        let folder = name.parent()?;
        Some(match rest {
            ".wh..opq" => Self::Opaque(folder),
            // The folder itself, or the one above: nothing that a layer packs.
            "" | "." | ".." => Self::Ignored,
            rest => Self::Of(folder, rest.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::NameLimits;
    use super::*;

    const LIMITS: NameLimits = NameLimits {
        bytes: 100,
        depth: 10,
    };

    fn name(text: &str) -> EntryName {
        EntryName::parse(text.as_bytes(), LIMITS).unwrap()
    }

    #[test]
    fn tells_whiteouts_from_files() {
        assert_eq!(Whiteout::of(&name("a/wh.b")), None);
        assert_eq!(
            Whiteout::of(&name("a/.wh.b")),
            Some(Whiteout::Of(name("a"), "b".to_owned()))
        );
        assert_eq!(
            Whiteout::of(&name(".wh..wh..opq")),
            Some(Whiteout::Opaque(EntryName::default()))
        );
        assert_eq!(
            Whiteout::of(&name(".wh..wh.plnk/x")),
            Some(Whiteout::Ignored)
        );
    }
}
