//! Archives as an attacker makes them, and damaged ones. They are made here,
//! by the `tar` and `zip` crates or byte by byte: no honest packer makes them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use proptest::prelude::*;
use reveille::artifact::unpack::{
    Format, LeftOut, Limits, Pick, Refused, Unpacked, unpack as unpack_with,
};
use tar::{EntryType, Header};

use super::support::{lines, pick, unpacked, unzipped};

/// One entry of a tar: its type, name, link target, content.
type Entry<'a> = (EntryType, &'a [u8], &'a [u8], &'a [u8]);

fn header(kind: EntryType, name: &[u8], link: &[u8], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o6777);
    header.set_size(size);
    // The crate's own setters refuse what an attacker writes.
    let raw = header.as_mut_bytes();
    raw.get_mut(..name.len()).unwrap().copy_from_slice(name);
    raw.get_mut(157..157 + link.len())
        .unwrap()
        .copy_from_slice(link);
    header.set_cksum();
    header
}

pub(crate) fn tar_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, link, content) in entries {
        bytes.extend_from_slice(header(*kind, name, link, content.len() as u64).as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

/// Unpacks bytes; whatever happens, nothing may be outside of the tree.
fn try_bytes(
    bytes: &[u8],
    format: Format,
    pick: &Pick,
    limits: &Limits,
) -> (Result<Unpacked, Refused>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let archive = inner.join("a");
    fs::write(&archive, bytes).unwrap();
    let into = inner.join("out");
    let result = unpack_with(&archive, format, pick, limits, &into, &mut |_| ());
    let beside: Vec<_> = [dir.path(), &inner]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["inner", "a", "out"].contains(&name.as_str()))
        .collect();
    assert!(beside.is_empty(), "written outside: {beside:?}");
    let found = if into.is_dir() {
        links_stay_inside(&into);
        lines(&into)
    } else {
        Vec::new()
    };
    (result, found)
}

/// Every link of the tree leads to something in it.
fn links_stay_inside(root: &Path) {
    let root = root.canonicalize().unwrap();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_symlink() {
                let end = path.canonicalize().unwrap();
                assert!(
                    end.starts_with(&root),
                    "{} leads to {}",
                    path.display(),
                    end.display()
                );
            } else if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
}

fn refused(entries: &[Entry<'_>]) -> &'static str {
    let (result, _) = try_bytes(
        &tar_of(entries),
        Format::Tar,
        &Pick::all(0),
        &Limits::default(),
    );
    result.unwrap_err().as_str()
}

const FILE: EntryType = EntryType::Regular;

#[test]
fn refuses_names_that_lead_out_and_names_them() {
    for (name, want) in [
        (b"/etc/passwd".as_slice(), "name-absolute"),
        (b"../x", "name-climbs"),
        (b"a/../../x", "name-climbs"),
        (b"a/..", "name-climbs"),
    ] {
        assert_eq!(refused(&[(FILE, name, b"", b"evil")]), want, "{name:?}");
    }
    let bytes = tar_of(&[
        (FILE, b"a/../../x\x07", b"", b"evil"),
        (FILE, b"good", b"", b"ok"),
    ]);
    // Nobody asked for it: it is left alone.
    let (result, found) = try_bytes(
        &bytes,
        Format::Tar,
        &pick(&[("good", "")]),
        &Limits::default(),
    );
    assert!(result.unwrap().left_out.is_empty());
    assert_eq!(found, ["good: ok"]);
}

#[test]
fn leaves_out_names_that_cannot_be_served() {
    let bytes = tar_of(&[
        (FILE, b"a\x1b[2Jb", b"", b"evil"),
        (FILE, b"latin-\xe4", b"", b"evil"),
        (EntryType::Char, b"null", b"", b""),
        (EntryType::Fifo, b"pipe", b"", b""),
        (FILE, b"good", b"", b"ok"),
    ]);
    let (result, found) = try_bytes(&bytes, Format::Tar, &Pick::all(0), &Limits::default());
    assert_eq!(found, ["good: ok"]);
    let left_out: Vec<_> = result.unwrap().left_out;
    let names: Vec<&str> = left_out.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(
        names,
        [
            "name-has-control-characters",
            "name-not-utf8",
            "special-file",
            "special-file"
        ]
    );
    assert_eq!(left_out.first().unwrap().0, "a\u{fffd}[2Jb");
}

#[test]
fn writes_nothing_through_links() {
    let link = EntryType::Symlink;
    for (entries, want) in [
        // The old trick: a link out, then a file behind it.
        (
            vec![
                (link, b"a".as_slice(), b"/tmp".as_slice(), b"".as_slice()),
                (FILE, b"a/x", b"", b"evil"),
            ],
            "entry-behind-link",
        ),
        (
            vec![(link, b"a", b"..", b""), (FILE, b"a/x", b"", b"evil")],
            "entry-behind-link",
        ),
        // The other way round, and a file over the link itself.
        (
            vec![(FILE, b"a/x", b"", b"evil"), (link, b"a", b"x", b"")],
            "dead-link-or-conflict",
        ),
        (
            vec![
                (link, b"a", b"/etc/passwd", b""),
                (FILE, b"a", b"", b"evil"),
            ],
            "duplicate-name",
        ),
        (
            vec![(FILE, b"a", b"", b"1"), (FILE, b"./a", b"", b"2")],
            "duplicate-name",
        ),
        (
            vec![(FILE, b"a", b"", b"1"), (FILE, b"a/b", b"", b"2")],
            "file-and-folder",
        ),
        (
            vec![(FILE, b"a/b", b"", b"1"), (FILE, b"a", b"", b"2")],
            "file-and-folder",
        ),
    ] {
        if want == "dead-link-or-conflict" {
            let (result, found) = try_bytes(
                &tar_of(&entries),
                Format::Tar,
                &Pick::all(0),
                &Limits::default(),
            );
            assert_eq!(
                result.unwrap().left_out,
                [("a".to_owned(), LeftOut::DeadLink)]
            );
            assert_eq!(found, ["a/x: evil"]);
        } else {
            assert_eq!(refused(&entries), want);
        }
    }
}

#[test]
fn hard_links_stay_inside() {
    let hard = EntryType::Link;
    for target in [b"/etc/passwd".as_slice(), b"../a"] {
        let entries = [
            (FILE, b"a".as_slice(), b"".as_slice(), b"x".as_slice()),
            (hard, b"b", target, b""),
        ];
        assert_eq!(refused(&entries), "link-leads-out");
    }
    let bytes = tar_of(&[
        (hard, b"early", b"a", b""),
        (FILE, b"a", b"", b"x"),
        (EntryType::Symlink, b"s", b"/etc/passwd", b""),
        (hard, b"b", b"s", b""),
        (hard, b"c", b"a", b""),
    ]);
    let (result, found) = try_bytes(&bytes, Format::Tar, &Pick::all(0), &Limits::default());
    assert_eq!(found, ["a: x", "c: x"]);
    assert_eq!(result.unwrap().left_out.len(), 3);
}

#[test]
fn follows_links_only_to_their_end() {
    let link = EntryType::Symlink;
    let bytes = tar_of(&[
        (link, b"loop", b"pool", b""),
        (link, b"pool", b"loop", b""),
        (link, b"self", b"self", b""),
        (link, b"up", b"d/../../x", b""),
        (FILE, b"d/f", b"", b"x"),
        (link, b"in", b"d/../d/f", b""),
    ]);
    let (result, found) = try_bytes(&bytes, Format::Tar, &Pick::all(0), &Limits::default());
    assert_eq!(found, ["d/f: x", "in: x"]);
    let why: Vec<&str> = result
        .unwrap()
        .left_out
        .iter()
        .map(|(_, why)| why.as_str())
        .collect();
    assert_eq!(
        why,
        ["dead-link", "dead-link", "dead-link", "link-leads-out"]
    );
}

#[test]
fn keeps_its_limits() {
    let small = Limits {
        bytes: 1000,
        file_bytes: 600,
        entries: 5,
        names: 100,
        path: 20,
        depth: 3,
        ..Limits::default()
    };
    let content = [b'x'; 700];
    let part = [b'x'; 500];
    let long = [b'n'; 30];
    let cases: Vec<(Vec<Entry<'_>>, &str)> = vec![
        (vec![(FILE, b"a", b"", &content)], "file-too-large"),
        (
            vec![
                (FILE, b"a", b"", &part),
                (FILE, b"b", b"", &part),
                (FILE, b"c", b"", &part),
            ],
            "too-large",
        ),
        (vec![(FILE, b"a/b/c/d", b"", b"")], "name-too-deep"),
        (vec![(FILE, &long, b"", b"")], "name-too-long"),
        (
            (0..6)
                .map(|_| {
                    (
                        EntryType::Directory,
                        b"a".as_slice(),
                        b"".as_slice(),
                        b"".as_slice(),
                    )
                })
                .collect(),
            "too-many-entries",
        ),
        (
            vec![
                (EntryType::Symlink, b"a", &[b'l'; 99], b""),
                (FILE, b"ab", b"", b""),
            ],
            "too-many-names",
        ),
    ];
    for (entries, want) in cases {
        let (result, _) = try_bytes(&tar_of(&entries), Format::Tar, &Pick::all(0), &small);
        assert_eq!(result.unwrap_err().as_str(), want);
    }
}

#[test]
fn bombs_do_not_go_off() {
    // 1 GiB of nothing in a megabyte, in an entry that nobody asked for.
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    let size = 1_u64 << 30;
    let bomb = header(FILE, b"bomb", b"", size);
    encoder.write_all(bomb.as_bytes()).unwrap();
    let block = vec![0; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&block).unwrap();
    }
    let bytes = encoder.finish().unwrap();
    for pick in [Pick::all(0), pick(&[("good", "")])] {
        let (result, _) = try_bytes(&bytes, Format::TarZst, &pick, &Limits::default());
        assert_eq!(result.unwrap_err().as_str(), "ratio");
    }
    // The size in the header is a lie: 2^62 bytes, none of them there.
    let mut lie = header(FILE, b"lie", b"", 1 << 62).as_bytes().to_vec();
    lie.extend_from_slice(&[0; 4096]);
    let (result, _) = try_bytes(&lie, Format::Tar, &Pick::all(0), &Limits::default());
    assert_eq!(result.unwrap_err().as_str(), "damaged");
    // A long name of a gigabyte is not read into memory.
    let long = header(EntryType::GNULongName, b"././@LongLink", b"", 1 << 30);
    let (result, _) = try_bytes(
        long.as_bytes(),
        Format::Tar,
        &Pick::all(0),
        &Limits::default(),
    );
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("a header of 1073741824 bytes")
    );
}

#[test]
fn windows_of_decompressors_are_bounded() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.long_distance_matching(true).unwrap();
    let block = vec![1; 1 << 20];
    for _ in 0..8 {
        encoder.write_all(&block).unwrap();
    }
    let zst = encoder.finish().unwrap();
    let (result, _) = try_bytes(&zst, Format::Zst, &Pick::all(0), &Limits::default());
    assert_eq!(result.unwrap_err().as_str(), "decompressor-memory");
    let xz = liblzma::encode_all(block.as_slice(), 9).unwrap();
    let limits = Limits {
        memory: 16 << 20,
        ..Limits::default()
    };
    let (result, _) = try_bytes(&xz, Format::Xz, &Pick::all(0), &limits);
    assert_eq!(result.unwrap_err().as_str(), "decompressor-memory");
    let (result, _) = try_bytes(&xz, Format::Xz, &Pick::all(0), &Limits::default());
    assert_eq!(result.unwrap().bytes, 1 << 20);
}

#[test]
fn truncated_and_changed_archives_are_refused() {
    let good = tar_of(&[(FILE, b"a", b"", &[7; 2000]), (FILE, b"b", b"", b"x")]);
    for length in (0..good.len() - 1024).step_by(100) {
        let (result, _) = try_bytes(
            good.get(..length).unwrap(),
            Format::Tar,
            &Pick::all(0),
            &Limits::default(),
        );
        assert!(result.is_err(), "{length} bytes of it");
    }
    let mut flipped = good.clone();
    *flipped.get_mut(512 + 2048 + 3).unwrap() ^= 1;
    let (result, _) = try_bytes(&flipped, Format::Tar, &Pick::all(0), &Limits::default());
    assert_eq!(result.unwrap_err().as_str(), "damaged");
    // The checksum of the compression is looked at, although it follows the
    // end mark.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(&good).unwrap();
    let mut gz = encoder.finish().unwrap();
    let at = gz.len() - 6;
    *gz.get_mut(at).unwrap() ^= 1;
    let (result, _) = try_bytes(&gz, Format::TarGz, &Pick::all(0), &Limits::default());
    assert_eq!(result.unwrap_err().as_str(), "damaged");
}

fn zip_of(entries: &[(&str, &[u8], Option<u32>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content, mode) in entries {
        let mut options = zip::write::SimpleFileOptions::default();
        if let Some(mode) = mode {
            options = options.unix_permissions(*mode);
        }
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn zip_is_held_to_the_same_rules() {
    for (name, want) in [("../x", "name-climbs"), ("/x", "name-absolute")] {
        let bytes = zip_of(&[(name, b"evil", None)]);
        let (result, _) = try_bytes(&bytes, Format::Zip, &Pick::all(0), &Limits::default());
        assert_eq!(result.unwrap_err().as_str(), want, "{name}");
    }
    // Two entries of one name, and an entry whose own header says another
    // name than the directory.
    let bytes = zip_of(&[("aaaa", b"one", None), ("bbbb", b"two", None)]);
    let renamed = |first_only: bool| {
        let mut bytes = bytes.clone();
        let mut at = 0;
        while let Some(found) = bytes
            .get(at..)
            .unwrap()
            .windows(4)
            .position(|four| four == b"bbbb")
        {
            at += found;
            bytes.get_mut(at..at + 4).unwrap().copy_from_slice(b"aaaa");
            if first_only {
                break;
            }
        }
        try_bytes(&bytes, Format::Zip, &Pick::all(0), &Limits::default())
            .0
            .unwrap_err()
    };
    assert_eq!(renamed(false).as_str(), "duplicate-name");
    assert_eq!(renamed(true).as_str(), "damaged");
    let mut bomb = zip_of(&[("bomb", &vec![0; 200 << 20], None)]);
    let (result, _) = try_bytes(&bomb, Format::Zip, &Pick::all(0), &Limits::default());
    assert_eq!(result.unwrap_err().as_str(), "ratio");
    let half = bomb.len() / 2;
    bomb.truncate(half);
    let (result, _) = try_bytes(&bomb, Format::Zip, &Pick::all(0), &Limits::default());
    assert_eq!(result.unwrap_err().as_str(), "damaged");
}

#[test]
fn images_with_circles_and_lies_are_refused() {
    let good = unzipped("plain.iso.gz");
    let root = 16 * 2048 + 156;
    let extent = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes.get(at + 2..at + 6).unwrap().try_into().unwrap())
    };
    let block = extent(&good, root) as usize;
    // The first file of the root becomes a folder that is the root.
    let mut at = block * 2048;
    for _ in 0..2 {
        at += usize::from(*good.get(at).unwrap());
    }
    let mut circle = good.clone();
    let own: [u8; 12] = good.get(root + 2..root + 14).unwrap().try_into().unwrap();
    circle
        .get_mut(at + 2..at + 14)
        .unwrap()
        .copy_from_slice(&own);
    *circle.get_mut(at + 25).unwrap() |= 2;
    let (result, _) = try_bytes(&circle, Format::Iso, &Pick::all(0), &Limits::default());
    assert_eq!(
        result.unwrap_err().to_string(),
        "the archive is damaged: a folder is in two places"
    );
    let mut beyond = good.clone();
    beyond
        .get_mut(at + 2..at + 6)
        .unwrap()
        .copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    let (result, _) = try_bytes(&beyond, Format::Iso, &Pick::all(0), &Limits::default());
    assert_eq!(result.unwrap_err().as_str(), "damaged");
    let mut folder = good;
    folder
        .get_mut(root + 10..root + 14)
        .unwrap()
        .copy_from_slice(&[0xff; 4]);
    let (result, _) = try_bytes(&folder, Format::Iso, &Pick::all(0), &Limits::default());
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("a folder of 4294967295 bytes")
    );
}

fn cases() -> u32 {
    let cases = std::env::var("REVEILLE_CASES").ok();
    cases.and_then(|text| text.parse().ok()).unwrap_or(64)
}

fn a_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[ab]{1,2}(/[ab]{1,2}){0,2}/?".prop_map(String::into_bytes),
        2 => "(\\.\\./|/|\\./|a/){0,3}[ab.]{0,2}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 1..20),
    ]
}

fn an_entry() -> impl Strategy<Value = (u8, Vec<u8>, Vec<u8>, Vec<u8>)> {
    (
        proptest::sample::select(b"0000012256".to_vec()),
        a_name(),
        a_name(),
        proptest::collection::vec(b'a'..=b'z', 0..600),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Whatever the names and links: nothing is written outside of the tree,
    /// no link leads out of it, and what is told is what is there.
    #[test]
    fn no_tar_writes_outside(entries in proptest::collection::vec(an_entry(), 1..12), strip in 0_usize..2) {
        let entries: Vec<Entry<'_>> = entries
            .iter()
            .map(|(kind, name, link, content)| {
                let content = if *kind == b'0' { content.as_slice() } else { b"" };
                (EntryType::new(*kind), name.as_slice(), link.as_slice(), content)
            })
            .collect();
        let (result, found) = try_bytes(&tar_of(&entries), Format::Tar, &Pick::all(strip), &Limits::default());
        if let Ok(unpacked) = result {
            prop_assert_eq!(unpacked.files.len() + unpacked.links.len(), found.len());
        }
    }

    /// Damage in any place of an image or a zip is an error or harmless.
    #[test]
    fn no_damage_leads_outside(
        iso in any::<bool>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let (mut bytes, format) = if iso {
            (unzipped("rr.iso.gz"), Format::Iso)
        } else {
            (zip_of(&[("a/b", b"one", None), ("l", b"a/b", Some(0o120_777)), ("c", &[0; 900], None)]), Format::Zip)
        };
        // Most of an image is empty or file data: its folders are what counts.
        let part = if iso { 16 * 2048..bytes.len().min(120 * 2048) } else { 0..bytes.len() };
        let part = bytes.get_mut(part).unwrap();
        let used: Vec<usize> = (0..part.len()).filter(|at| part.get(*at) != Some(&0)).collect();
        for (at, byte) in changes {
            *part.get_mut(*at.get(&used)).unwrap() = byte;
        }
        let limits = Limits { bytes: 64 << 20, ..Limits::default() };
        let _ = try_bytes(&bytes, format, &Pick::all(0), &limits);
    }
}

#[test]
fn reads_nothing_of_a_fixture_that_is_not_there() {
    let mut byte = [0; 1];
    let dir = tempfile::tempdir().unwrap();
    let error = unpacked(
        &dir.path().join("none"),
        Format::Iso,
        &Pick::all(0),
        &dir.path().join("o"),
    );
    assert!(error.unwrap_err().is_ours());
    assert_eq!(std::io::empty().read(&mut byte).unwrap(), 0);
}
