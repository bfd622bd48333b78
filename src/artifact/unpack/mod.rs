//! Unpacks archives, images and compressed files into a folder. Blocking, with
//! bounded memory.
//!
//! An archive is a stranger's program for our disk. Every decision about its
//! names is in `plan` and the files below it, which do no I/O: `name` (what a
//! name may be), `pick` (what is wanted and where it goes), `entries` (what the
//! archive has shown), `places` (what of the tree is taken), `links` (where
//! links lead), `whiteout` (what layers take away), `limits` (what it may
//! cost). `tar`, `zip` and `iso` read, `decode` decompresses, `tree` writes.
//!
//! | what the archive has | what is done |
//! |---|---|
//! | an absolute name, `..`, a name too long or too deep | the archive is refused; left alone where it was not picked |
//! | a name with control characters or not in UTF-8 | left out |
//! | one name twice, a file that is a folder too | refused |
//! | a device, FIFO, socket | left out; refused where picked by name |
//! | a hard or symbolic link to a file | a second name of that file, also where the file itself was not picked |
//! | a symbolic link to a folder of the tree | a relative link |
//! | a link that leads out or to nothing | left out; refused where picked by name |
//! | an entry behind a link | refused |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

mod decode;
mod entries;
mod format;
pub mod iso;
pub mod limits;
pub mod links;
pub mod name;
pub(crate) mod near;
pub mod pick;
mod places;
pub mod plan;
mod refused;
mod tar;
mod tree;
pub mod whiteout;
mod zip;

pub use self::format::{Format, looks};
pub use self::limits::Limits;
pub use self::pick::{BadPick, Pick};
pub use self::refused::{LeftOut, Refused, Special};

use self::decode::Compression;
use self::limits::Spent;
use self::name::EntryName;
use self::plan::{Act, Kind, Later, Plan, Rest, Rules, Then};
use self::tree::Tree;

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// The files, sorted by path.
    pub files: Vec<UnpackedFile>,
    /// The links to folders.
    pub links: Vec<UnpackedLink>,
    /// What was left out, as the archive spells it, and why.
    pub left_out: Vec<(String, LeftOut)>,
    /// Bytes that were written.
    pub bytes: u64,
    /// Entries that the archive has.
    pub entries: u64,
}

/// A file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedFile {
    /// Its path in the tree, `/` between parts.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// A symbolic link of the tree, to a folder of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedLink {
    /// Its path in the tree.
    pub path: String,
    /// Its text: relative, never out of the tree.
    pub target: String,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The file that holds it.
    pub path: PathBuf,
    /// How it is packed.
    pub packed: LayerFormat,
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerFormat {
    /// tar.
    Tar,
    /// tar under gzip.
    TarGz,
    /// tar under zstd.
    TarZst,
}

/// Takes the entries of an archive, one after the other.
pub(crate) trait Visit {
    /// One entry: its name as it is spelled, what it is, its bytes.
    fn entry(&mut self, raw: &[u8], kind: Kind<'_>, data: &mut dyn Read) -> Result<(), Refused>;
}

/// Unpacks what `pick` wants of `archive` into `into`, a folder that is empty
/// or not there yet. `pace` is told of bytes as they are written, at most
/// 256 KiB at a time: it may wait. Blocks.
///
/// For a single compressed file the pick's only meaning is its name: without a
/// rule it is that of the archive without its last ending, with one rule the
/// rule's `to`.
///
/// # Errors
/// [`Refused`]; what is in `into` is to be thrown away then.
pub fn unpack(
    archive: &Path,
    format: Format,
    pick: &Pick,
    limits: &Limits,
    into: &Path,
    pace: &mut dyn FnMut(u64),
) -> Result<Unpacked, Refused> {
    check_head(archive, format)?;
    let tree = Tree::begin(into, limits, pace)?;
    let name = archive.file_stem().unwrap_or_default().to_string_lossy();
    let single = |compression| Source::Single(archive, compression, &name);
    let source = match format {
        Format::Tar => Source::Tar(archive, Compression::None),
        Format::TarGz => Source::Tar(archive, Compression::Gz),
        Format::TarXz => Source::Tar(archive, Compression::Xz),
        Format::TarZst => Source::Tar(archive, Compression::Zst),
        Format::Zip => Source::Zip(archive),
        Format::Iso => Source::Iso(archive),
        Format::Gz => single(Compression::Gz),
        Format::Xz => single(Compression::Xz),
        Format::Zst => single(Compression::Zst),
    };
    run(&[source], Rules::Archive, pick, limits, tree)
}

/// Unpacks the layers of an image, the lowest first: later ones replace and
/// take away what earlier ones have. The rest is as in [`unpack`].
///
/// # Errors
/// [`Refused`]; what is in `into` is to be thrown away then.
pub fn unpack_layers(
    layers: &[Layer],
    pick: &Pick,
    limits: &Limits,
    into: &Path,
    pace: &mut dyn FnMut(u64),
) -> Result<Unpacked, Refused> {
    let tree = Tree::begin(into, limits, pace)?;
    let sources: Vec<Source<'_>> = layers
        .iter()
        .map(|layer| {
            let compression = match layer.packed {
                LayerFormat::Tar => Compression::None,
                LayerFormat::TarGz => Compression::Gz,
                LayerFormat::TarZst => Compression::Zst,
            };
            Source::Tar(&layer.path, compression)
        })
        .collect();
    run(&sources, Rules::Layers, pick, limits, tree)
}

/// Shows each entry of a tar that is not compressed to `visit`.
pub(crate) fn walk_tar(
    source: &mut dyn Read,
    limits: &Limits,
    visit: &mut dyn Visit,
) -> Result<(), Refused> {
    tar::walk(source, limits, true, visit)
}

/// What is read.
enum Source<'a> {
    Tar(&'a Path, Compression),
    Zip(&'a Path),
    Iso(&'a Path),
    Single(&'a Path, Compression, &'a str),
}

impl Source<'_> {
    /// Shows each entry to `visit`; tells what may explain that one is missing.
    fn walk(&self, limits: &Limits, visit: &mut dyn Visit) -> Result<&'static str, Refused> {
        let open = |path: &Path| File::open(path).map_err(Refused::Read);
        match *self {
            Self::Tar(path, compression) => {
                let mut content = decode::open(open(path)?, compression, limits)?;
                let strict = compression == Compression::None;
                tar::walk(&mut content, limits, strict, visit)?;
                Ok("")
            }
            Self::Zip(path) => zip::walk(path, limits, visit).map(|()| ""),
            Self::Iso(path) => {
                let file = open(path)?;
                let image = iso::Image::open(&file)?;
                image.walk(limits, visit)?;
                Ok(image.note)
            }
            Self::Single(path, compression, name) => {
                let mut content = decode::open(open(path)?, compression, limits)?;
                visit.entry(name.as_bytes(), Kind::File, &mut content)?;
                Ok("it holds one file, whose name is that of the archive without its ending")
            }
        }
    }
}

fn run(
    sources: &[Source<'_>],
    rules: Rules,
    pick: &Pick,
    limits: &Limits,
    mut tree: Tree<'_>,
) -> Result<Unpacked, Refused> {
    let mut plan = Plan::new(pick, limits, rules);
    let mut note = "";
    for (index, source) in sources.iter().enumerate() {
        if index > 0 {
            plan.next_layer();
        }
        let mut first = First {
            plan: &mut plan,
            tree: &mut tree,
        };
        note = source.walk(limits, &mut first)?;
    }
    let entries = plan.spent.entries;
    let (rest, mut spent) = plan.finish(note)?;
    fetch(sources, rules, &rest, limits, &mut tree, &mut spent)?;
    for (of, to) in &rest.names {
        tree.name(of, to, &mut spent)?;
    }
    for (at, folder) in &rest.links {
        tree.link(at, folder)?;
    }
    let (files, links) = tree.end();
    if files.is_empty() {
        return Err(Refused::Empty);
    }
    Ok(Unpacked {
        files,
        links,
        left_out: rest.left_out,
        bytes: spent.bytes,
        entries,
    })
}

/// Reads again what only links led to.
fn fetch(
    sources: &[Source<'_>],
    rules: Rules,
    rest: &Rest,
    limits: &Limits,
    tree: &mut Tree<'_>,
    spent: &mut Spent,
) -> Result<(), Refused> {
    for (layer, source) in sources.iter().enumerate() {
        let wanted: BTreeMap<&EntryName, &[EntryName]> = rest
            .later
            .iter()
            .filter(|(later, _)| later.layer == layer)
            .map(|(Later { spelled, .. }, places)| (spelled, places.as_slice()))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let mut second = Second {
            wanted,
            rules,
            limits,
            tree: &mut *tree,
            spent: &mut *spent,
        };
        source.walk(limits, &mut second)?;
    }
    Ok(())
}

/// The first reading: the plan decides, the tree does.
struct First<'a, 'b, 'c> {
    plan: &'a mut Plan<'b>,
    tree: &'a mut Tree<'c>,
}

impl Visit for First<'_, '_, '_> {
    fn entry(&mut self, raw: &[u8], kind: Kind<'_>, data: &mut dyn Read) -> Result<(), Refused> {
        let act = self.plan.enter(raw, kind)?;
        self.tree.act(act, data, &mut self.plan.spent)
    }
}

/// The second reading: files that only links led to.
struct Second<'a, 'b> {
    wanted: BTreeMap<&'a EntryName, &'a [EntryName]>,
    rules: Rules,
    limits: &'a Limits,
    tree: &'a mut Tree<'b>,
    spent: &'a mut Spent,
}

impl Visit for Second<'_, '_> {
    fn entry(&mut self, raw: &[u8], kind: Kind<'_>, data: &mut dyn Read) -> Result<(), Refused> {
        let limits = self.limits.name();
        let name = match self.rules {
            Rules::Archive => EntryName::parse(raw, limits),
            Rules::Layers => EntryName::parse_rooted(raw, limits),
        };
        let (Ok(name), Kind::File) = (name, kind) else {
            return Ok(());
        };
        let Some([first, others @ ..]) = self.wanted.remove(&name) else {
            return Ok(());
        };
        let act = Act {
            remove: Vec::new(),
            then: Then::File(first.clone()),
        };
        self.tree.act(act, data, self.spent)?;
        for other in others {
            self.tree.name(first, other, self.spent)?;
        }
        Ok(())
    }
}

/// Refuses a file that cannot be what it is said to be, in words that say what
/// it is: mirrors that fail answer with web pages.
fn check_head(archive: &Path, format: Format) -> Result<(), Refused> {
    let mut head = Vec::new();
    let file = File::open(archive).map_err(Refused::Read)?;
    file.take(512)
        .read_to_end(&mut head)
        .map_err(Refused::Read)?;
    if format.may_begin(&head) {
        return Ok(());
    }
    Err(Refused::WrongFormat {
        format: format.described(),
        looks: looks(&head),
    })
}
