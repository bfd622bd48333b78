//! Unpacks an archive beside `tar`, in turns, on the same disk:
//!
//! ```text
//! cargo bench --bench unpack -- ARCHIVE FOLDER [ROUNDS]
//! ```
//!
//! ARCHIVE ends with `.tar`, `.tar.gz`, `.tar.xz` or `.tar.zst`; FOLDER is on
//! the disk that is measured. Both sync their tree to the disk before the
//! clock stops.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a program for developers that measures time and prints"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use reveille::artifact::unpack::{Format, Limits, Pick, unpack};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| it != "--bench")
        .collect();
    let [archive, folder, rest @ ..] = arguments.as_slice() else {
        println!("give an archive and a folder; see benches/unpack.rs");
        return;
    };
    let rounds: usize = rest.first().map_or(3, |rounds| rounds.parse().unwrap());
    let (archive, folder) = (Path::new(archive), Path::new(folder));
    let format = Format::of_name(archive.to_str().unwrap()).unwrap();
    for _ in 0..rounds {
        let ours = folder.join("bench-unpack-ours");
        let theirs = folder.join("bench-unpack-tar");
        let start = Instant::now();
        let limits = Limits::default();
        let unpacked = unpack(archive, format, &Pick::all(0), &limits, &ours, &mut |_| ()).unwrap();
        sync(&ours);
        let took = start.elapsed().as_secs_f64();
        fs::remove_dir_all(&ours).unwrap();
        fs::create_dir(&theirs).unwrap();
        let start = Instant::now();
        let tar = Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(&theirs)
            .status();
        assert!(tar.unwrap().success());
        sync(&theirs);
        let tar = start.elapsed().as_secs_f64();
        fs::remove_dir_all(&theirs).unwrap();
        let mib = unpacked.bytes as f64 / f64::from(1 << 20);
        println!(
            "{} files, {mib:.0} MiB: ours {:.0} MiB/s, tar {:.0} MiB/s, ratio {:.2}",
            unpacked.files.len(),
            mib / took,
            mib / tar,
            tar / took
        );
    }
}

/// Puts all of the folder's file system on the disk.
fn sync(folder: &Path) {
    rustix::fs::syncfs(fs::File::open(folder).unwrap()).unwrap();
}
