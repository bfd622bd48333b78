//! `kill -9` at any moment leaves the old tree or the new one, never half of one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reveille::artifact::store::read_table;

use crate::web::{Asked, send, serve};
use crate::{digest, program};

/// Whether the tree that is served is whole and of one version; which.
fn version_of(store: &Path) -> Option<u64> {
    let table = read_table(store).unwrap();
    let (name, held) = table.iter().next()?;
    let tree = store.join(format!("trees/{name}/{}", held.generation));
    let versions = ["linux", "initrd"].map(|path| {
        let bytes = std::fs::read(tree.join(path)).unwrap();
        assert_eq!(
            digest(&bytes),
            held.files[path].sha256,
            "{path} is not what the index says"
        );
        let text = String::from_utf8(bytes).unwrap();
        let mut lines = text.lines();
        let first: u64 = lines.next().unwrap().parse().unwrap();
        assert!(
            lines.all(|line| line.parse() == Ok(first)),
            "{path} is of two versions"
        );
        first
    });
    assert_eq!(
        versions[0], versions[1],
        "kernel and initrd are of two generations"
    );
    Some(versions[0])
}

/// The file of this version: every line of it says which.
fn file(version: u64) -> Vec<u8> {
    format!("{version:07}\n").repeat(200_000).into_bytes()
}

/// An archive with both files of this version.
fn archive(version: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for path in ["linux", "initrd"] {
        let file = file(version);
        let mut header = tar::Header::new_gnu();
        header.set_size(file.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, file.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Answers with what is the newest, slowly enough to be killed meanwhile.
fn answer(version: u64, asked: &Asked, stream: &mut TcpStream) {
    let tag = format!("\"{version}\"");
    if asked.headers.get("if-none-match") == Some(&tag) {
        send(stream, "304 Same", "", 0, b"");
        return;
    }
    let body = match asked.path.as_str() {
        "/archive" => archive(version),
        _ => file(version),
    };
    let validator = asked.headers.get("if-range");
    let same = validator.is_none_or(|wanted| *wanted == tag);
    let from = asked.from().filter(|from| same && *from < body.len());
    let tag = format!("ETag: {tag}\r\n");
    let rest = &body[from.unwrap_or(0)..];
    match from {
        None => send(stream, "200 OK", &tag, rest.len(), b""),
        Some(from) => {
            let (last, all) = (body.len() - 1, body.len());
            let range = format!("{tag}Content-Range: bytes {from}-{last}/{all}\r\n");
            send(stream, "206 Partial", &range, rest.len(), b"");
        }
    }
    for piece in rest.chunks(100_000) {
        std::thread::sleep(Duration::from_millis(2));
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

/// Kills the program so often; `KILLS` says another number.
fn rounds() -> u64 {
    let kills = std::env::var("KILLS").ok();
    kills.and_then(|kills| kills.parse().ok()).unwrap_or(20)
}

/// Begins to fetch version after version, of what `spec` makes of the server's
/// address, and kills the program at another moment each time.
#[expect(
    clippy::disallowed_methods,
    reason = "kills at moments that depend on how long it takes"
)]
fn survives(spec: impl Fn(SocketAddr) -> String) {
    let version = Arc::new(AtomicU64::new(1));
    let now = Arc::clone(&version);
    let address = serve(move |asked, stream| answer(now.load(Ordering::SeqCst), asked, stream));
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let manifest = folder.path().join("a.yaml");
    let head = "apiVersion: reveille.dev/v1alpha1\nkind: Artifact\nmetadata: {name: a}\n";
    let spec = spec(address.unwrap());
    std::fs::write(&manifest, format!("{head}spec: {spec}\n")).unwrap();
    let pull = || {
        program()
            .args(["artifacts", "pull", "-f"])
            .arg(&manifest)
            .arg("--artifact-store")
            .arg(&store)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let begun = Instant::now();
    assert!(pull().wait().unwrap().success());
    let whole = begun.elapsed();
    assert_eq!(version_of(&store), Some(1));
    let (mut last, mut switched) = (1, 0);
    for round in 0..rounds() {
        version.store(round + 2, Ordering::SeqCst);
        let mut child = pull();
        // From before the first byte to after the switch, whatever that takes here.
        std::thread::sleep(whole * u32::try_from(round * 37 % 130).unwrap() / 100);
        child.kill().unwrap();
        child.wait().unwrap();
        let now = version_of(&store).unwrap();
        assert!(
            now == last || now == round + 2,
            "{now} after {last} in round {round}"
        );
        switched += u64::from(now != last);
        last = now;
    }
    println!("{} kills, {switched} of them after the switch", rounds());
    assert!(pull().wait().unwrap().success());
    assert_eq!(version_of(&store), Some(rounds() + 1));
}

#[test]
fn kill_9_leaves_the_old_files_or_the_new_never_half() {
    survives(|address| {
        format!(
            "{{files: [{{path: linux, url: \"http://{address}/linux\"}}, \
             {{path: initrd, url: \"http://{address}/initrd\"}}]}}"
        )
    });
}

#[test]
fn kill_9_leaves_the_old_archive_or_the_new_never_half() {
    survives(|address| format!("{{archive: {{url: \"http://{address}/archive\", format: Tar}}}}"));
}
