//! Archives as the real packers make them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use reveille::artifact::unpack::{Format, LeftOut, Pick, Refused, Special};

use super::support::{fixture, has, lines, pick, run, unpacked, unzipped};

/// A tree such as a distribution packs.
fn source(root: &Path) {
    let boot = root.join("boot");
    fs::create_dir_all(boot.join("empty")).unwrap();
    fs::write(boot.join("vmlinuz-6.1"), "kernel").unwrap();
    fs::write(boot.join("initrd.gz"), vec![7; 300_000]).unwrap();
    symlink("vmlinuz-6.1", boot.join("vmlinuz")).unwrap();
    symlink("boot/vmlinuz", root.join("linux")).unwrap();
    symlink("boot", root.join("b")).unwrap();
    symlink("/etc/passwd", root.join("out")).unwrap();
    symlink("nothing", root.join("dead")).unwrap();
    fs::hard_link(boot.join("vmlinuz-6.1"), root.join("same")).unwrap();
    fs::write(root.join("ä ö"), "utf-8").unwrap();
    fs::write(root.join("suid"), "s").unwrap();
    fs::set_permissions(root.join("suid"), fs::Permissions::from_mode(0o6777)).unwrap();
    let long = "n".repeat(120);
    fs::create_dir(root.join(&long)).unwrap();
    fs::write(root.join(&long).join(&long), "long").unwrap();
}

fn whole_tree() -> Vec<String> {
    let long = "n".repeat(120);
    let mut lines: Vec<String> = [
        "b: -> boot",
        "boot/initrd.gz: 300000 bytes",
        "boot/vmlinuz-6.1: kernel",
        "boot/vmlinuz: kernel",
        "linux: kernel",
        "same: kernel",
        "suid: s",
        "ä ö: utf-8",
    ]
    .map(str::to_owned)
    .to_vec();
    lines.push(format!("{long}/{long}: long"));
    lines.sort();
    lines
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Packs `in` below `folder` by the system's own programs.
fn packed(folder: &Path) -> Vec<(Format, String)> {
    let mut archives = Vec::new();
    if has("tar") {
        for kind in ["gnu", "pax", "ustar"] {
            let name = format!("{kind}.tar");
            let form = format!("--format={kind}");
            // ustar has no room for these names.
            let exclude = if kind == "ustar" {
                "--exclude=nnn*"
            } else {
                "--exclude=zzz"
            };
            run(
                folder,
                "tar",
                &[&form, exclude, "-cf", &name, "-C", "in", "."],
            );
            archives.push((Format::Tar, name));
        }
        for (program, format, ending) in [
            ("gzip", Format::TarGz, "gz"),
            ("xz", Format::TarXz, "xz"),
            ("zstd", Format::TarZst, "zst"),
        ] {
            if has(program) {
                run(folder, program, &["-k", "gnu.tar"]);
                archives.push((format, format!("gnu.tar.{ending}")));
            }
        }
    }
    if has("zip") {
        run(&folder.join("in"), "zip", &["-qry", "../a.zip", "."]);
        archives.push((Format::Zip, "a.zip".to_owned()));
    }
    if has("xorriso") {
        let arguments = ["-as", "mkisofs", "-quiet", "-R", "-o", "a.iso", "in"];
        run(folder, "xorriso", &arguments);
        archives.push((Format::Iso, "a.iso".to_owned()));
    }
    archives
}

#[test]
fn unpacks_what_real_packers_pack() {
    let dir = tempfile::tempdir().unwrap();
    source(&dir.path().join("in"));
    for (format, name) in packed(dir.path()) {
        let into = dir.path().join("out");
        let archive = dir.path().join(&name);
        let unpacked = unpacked(&archive, format, &Pick::all(0), &into).unwrap();
        let mut want = whole_tree();
        if name == "ustar.tar" {
            want.retain(|line| !line.starts_with("nnn"));
        }
        assert_eq!(sorted(lines(&into)), want, "{name}");
        assert!(into.join("boot/empty").is_dir(), "{name}");
        let left_out = [
            ("dead".to_owned(), LeftOut::DeadLink),
            ("out".to_owned(), LeftOut::LinkLeadsOut),
        ];
        assert_eq!(unpacked.left_out, left_out, "{name}");
        for file in &unpacked.files {
            let bytes = fs::read(into.join(&file.path)).unwrap();
            assert_eq!(bytes.len() as u64, file.size, "{name} {}", file.path);
            use sha2::Digest as _;
            let digest: [u8; 32] = sha2::Sha256::digest(&bytes).into();
            assert_eq!(digest, file.sha256, "{name} {}", file.path);
        }
        fs::remove_dir_all(&into).unwrap();
    }
}

#[test]
fn picks_places_and_reads_what_only_a_link_leads_to() {
    let dir = tempfile::tempdir().unwrap();
    source(&dir.path().join("in"));
    let wanted = pick(&[("linux", "k/linux"), ("same", ""), ("boot/init*", "initrd")]);
    for (format, name) in packed(dir.path()) {
        let into = dir.path().join("out");
        unpacked(&dir.path().join(&name), format, &wanted, &into).unwrap();
        let want = ["initrd: 300000 bytes", "k/linux: kernel", "same: kernel"];
        assert_eq!(lines(&into), want, "{name}");
        fs::remove_dir_all(&into).unwrap();
        // A link that leads out is an error where it is asked for.
        let error = unpacked(
            &dir.path().join(&name),
            format,
            &pick(&[("out", "")]),
            &into,
        );
        assert_eq!(error.unwrap_err().as_str(), "link-leads-out", "{name}");
        fs::remove_dir_all(&into).unwrap();
        let error = unpacked(
            &dir.path().join(&name),
            format,
            &pick(&[("boot/vmlinux", "")]),
            &into,
        );
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("`boot/vmlinux` is not in the archive: near it are `boot/vmlinuz`"),
            "{name}: {error}"
        );
        fs::remove_dir_all(&into).unwrap();
    }
}

#[test]
fn reads_images_with_each_kind_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("out");
    let open = |name: &str, pick: &Pick| {
        let archive = dir.path().join("a.iso");
        fs::write(&archive, unzipped(name)).unwrap();
        let result = unpacked(&archive, Format::Iso, pick, &into);
        let lines = sorted(lines(&into));
        fs::remove_dir_all(&into).unwrap();
        (result, lines)
    };
    let (result, found) = open("rr.iso.gz", &Pick::all(0));
    assert_eq!(
        found,
        [
            "1/2/3/4/5/6/7/8/9/deep.txt: deep",
            "b: -> boot",
            "boot/grub/a-rather-long-name-that-plain-iso9660-could-never-hold.cfg: long",
            "boot/vmlinuz-6.1.0: kernel six",
            "boot/vmlinuz: kernel six",
            "casper/initrd: 5000 bytes",
            "debian: -> .",
            "vmlinuz: kernel six",
            "with space/ä/ö.txt: x",
        ]
    );
    assert_eq!(
        result.unwrap().left_out,
        [
            ("fifo".to_owned(), LeftOut::Special(Special::Fifo)),
            ("out".to_owned(), LeftOut::LinkLeadsOut),
        ]
    );
    let (_, found) = open(
        "joliet.iso.gz",
        &pick(&[("with space/ä/ö.txt", "x"), ("casper/", "c")]),
    );
    assert_eq!(found, ["c/initrd: 5000 bytes", "x: x"]);
    let (_, found) = open("plain.iso.gz", &Pick::all(0));
    assert_eq!(found, ["initrd.gz: 5000 bytes", "vmlinuz: kernel six"]);
    let (result, _) = open("plain.iso.gz", &pick(&[("casper/vmlinuz", "")]));
    let error = result.unwrap_err().to_string();
    assert_eq!(
        error,
        "`casper/vmlinuz` is not in the archive: did you mean `vmlinuz`?"
    );
    let (result, _) = open("rr.iso.gz", &pick(&[("fifo", "")]));
    assert_eq!(
        result.unwrap_err().to_string(),
        "`fifo` is a fifo: pick a file"
    );
}

#[test]
fn unpacks_single_files_also_of_several_members() {
    let dir = tempfile::tempdir().unwrap();
    let content = "disk image ".repeat(1000);
    let gz = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let (first, second) = content.split_at(100);
    let several = [gz(first), gz(second)].concat();
    let xz = liblzma::encode_all(content.as_bytes(), 1).unwrap();
    let zst = zstd::encode_all(content.as_bytes(), 1).unwrap();
    for (format, bytes) in [(Format::Gz, several), (Format::Xz, xz), (Format::Zst, zst)] {
        let archive = dir.path().join("disk.raw.x");
        fs::write(&archive, &bytes).unwrap();
        let into = dir.path().join("out");
        let unpacked_all = unpacked(&archive, format, &Pick::all(0), &into).unwrap();
        assert_eq!(fs::read_to_string(into.join("disk.raw")).unwrap(), content);
        assert_eq!(unpacked_all.files.len(), 1);
        fs::remove_dir_all(&into).unwrap();
        unpacked(&archive, format, &pick(&[("*", "disk")]), &into).unwrap();
        assert_eq!(fs::read_to_string(into.join("disk")).unwrap(), content);
        fs::remove_dir_all(&into).unwrap();
        // Cut short: never half a file without an error.
        let half = bytes.get(..bytes.len() - 9).unwrap();
        fs::write(&archive, half).unwrap();
        let error = unpacked(&archive, format, &Pick::all(0), &into).unwrap_err();
        assert_eq!(error.as_str(), "damaged", "{format}: {error}");
        fs::remove_dir_all(&into).unwrap();
    }
}

#[test]
fn says_what_came_instead_of_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a");
    let into = dir.path().join("out");
    for format in Format::ALL {
        for (bytes, want) in [
            ("<!DOCTYPE html><title>404</title>", "a web page"),
            ("", "it is empty"),
        ] {
            fs::write(&archive, bytes).unwrap();
            let error = unpacked(&archive, format, &Pick::all(0), &into).unwrap_err();
            assert_eq!(error.as_str(), "wrong-format", "{format}: {error}");
            assert!(error.to_string().contains(want), "{format}: {error}");
        }
    }
    // A tar that is compressed, and the other way round.
    fs::copy(fixture("plain.iso.gz"), &archive).unwrap();
    let _ = fs::remove_dir_all(&into);
    let error = unpacked(&archive, Format::Tar, &Pick::all(0), &into).unwrap_err();
    assert_eq!(error.to_string(), "not a tar archive: it is gzip");
}

#[test]
fn never_touches_a_folder_that_has_something_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"x").unwrap();
    fs::write(&archive, encoder.finish().unwrap()).unwrap();
    let into = dir.path().join("out");
    fs::create_dir(&into).unwrap();
    fs::write(into.join("mine"), "mine").unwrap();
    let error = unpacked(&archive, Format::Gz, &Pick::all(0), &into).unwrap_err();
    assert!(matches!(error, Refused::Write { .. }), "{error}");
    assert_eq!(lines(&into), ["mine: mine"]);
}
