//! Artifacts over a real socket, from a server that fails in chosen ways, and
//! a store that is killed at any moment.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reveille::artifact::fetch::{Failure, Fetcher, Reason};
use reveille::artifact::keep::{Board, Done, Tools, fetch};
use reveille::artifact::metrics::ArtifactMetrics;
use reveille::artifact::secrets::Secrets;
use reveille::artifact::store::{Store, read_table};
use reveille::artifact::{Held, Want};
use reveille::snapshot::ObjectName;
use reveille::telemetry::Meter;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A request: its path, its headers in small letters, how many came before it.
struct Asked {
    path: String,
    headers: HashMap<String, String>,
    before: u64,
}

impl Asked {
    /// Where a range begins that it asks for.
    fn from(&self) -> Option<usize> {
        let range = self.headers.get("range")?.strip_prefix("bytes=")?;
        range.trim_end_matches('-').parse().ok()
    }
}

/// A web server in this process; it ends with the process.
fn serve(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, counts) = (Arc::new(answer), Arc::new(Mutex::new(HashMap::new())));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, counts) = (Arc::clone(&answer), Arc::clone(&counts));
            std::thread::spawn(move || talk(stream, &*answer, &counts));
        }
    });
    address
}

fn talk(
    mut stream: TcpStream,
    answer: &dyn Fn(&Asked, &mut TcpStream),
    counts: &Mutex<HashMap<String, u64>>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    for line in lines.map_while(Result::ok) {
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let before = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(path.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let asked = Asked {
        path,
        headers,
        before,
    };
    answer(&asked, &mut stream);
}

/// Sends a head and a body, which may be shorter than the head says. The other
/// end may have gone.
fn send(stream: &mut TcpStream, status: &str, headers: &str, len: usize, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {len}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    let _ = stream.flush();
}

/// What `/good` has: no page, and longer than any buffer.
fn content() -> Vec<u8> {
    (0..=250).cycle().take(700_001).collect()
}

fn other() -> Vec<u8> {
    (0..=240).cycle().take(650_003).collect()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn failing(asked: &Asked, stream: &mut TcpStream) {
    let all = content();
    let half = all.len() / 2;
    let tag = "ETag: \"1\"\r\n";
    let rest = |stream: &mut TcpStream, from: usize| {
        let range = format!(
            "{tag}Content-Range: bytes {from}-{}/{}\r\n",
            all.len() - 1,
            all.len()
        );
        send(
            stream,
            "206 Partial",
            &range,
            all.len() - from,
            &all[from..],
        );
    };
    match (asked.path.as_str(), asked.from()) {
        ("/good", _) => send(stream, "200 OK", tag, all.len(), &all),
        ("/cut-once", None) => send(stream, "200 OK", tag, all.len(), &all[..half]),
        ("/cut-once", Some(from)) => rest(stream, from),
        ("/cut-always", _) => send(stream, "200 OK", "", all.len(), &all[..half]),
        ("/no-range", _) if asked.before == 0 => {
            send(stream, "200 OK", tag, all.len(), &all[..half]);
        }
        ("/no-range", _) => send(stream, "200 OK", tag, all.len(), &all),
        ("/changes", None) => send(stream, "200 OK", tag, all.len(), &all[..half]),
        ("/changes", Some(_)) => {
            assert_eq!(asked.headers["if-range"], "\"1\"");
            let other = other();
            send(stream, "200 OK", "ETag: \"2\"\r\n", other.len(), &other);
        }
        ("/shrunk", None) if asked.before == 0 => {
            send(stream, "200 OK", tag, all.len(), &all[..half]);
        }
        ("/shrunk", Some(_)) => send(stream, "416 Range", "", 0, b""),
        ("/shrunk", None) => send(stream, "200 OK", "ETag: \"3\"\r\n", 4, b"tiny"),
        ("/500", _) => send(stream, "500 Oops", "", 0, b""),
        ("/429", _) => send(stream, "429 Slow", "Retry-After: 7\r\n", 0, b""),
        ("/401", _) if !asked.headers.contains_key("authorization") => {
            send(stream, "401 Who", "", 0, b"");
        }
        ("/401", _) => {
            assert_eq!(asked.headers["authorization"], "Bearer s3cret");
            send(stream, "200 OK", "", all.len(), &all);
        }
        ("/page", _) => {
            let page = b"<!DOCTYPE html><title>Please log in</title>";
            send(
                stream,
                "200 OK",
                "Content-Type: text/html\r\n",
                page.len(),
                page,
            );
        }
        ("/page-in-disguise", _) => send(stream, "200 OK", "", 12, b"\n<HTML> oops"),
        ("/loop", _) => send(stream, "302 Found", "Location: /loop\r\n", 0, b""),
        ("/empty", _) => send(stream, "200 OK", "", 0, b""),
        ("/versions", _) => match asked.headers.get("if-none-match").map(String::as_str) {
            Some("\"2\"") => send(stream, "304 Same", "", 0, b""),
            _ if asked.before == 0 => send(stream, "200 OK", tag, all.len(), &all),
            _ => send(stream, "200 OK", "ETag: \"2\"\r\n", other().len(), &other()),
        },
        _ => send(stream, "404 None", "", 0, b""),
    }
}

struct Room {
    address: SocketAddr,
    tools: Tools,
    folder: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().join("secrets/mirror");
        std::fs::create_dir_all(&secrets).unwrap();
        std::fs::write(secrets.join("token"), "s3cret\n").unwrap();
        let files = folder.path().join("files");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("linux"), content()).unwrap();
        std::os::unix::fs::symlink("../secrets/mirror/token", files.join("out")).unwrap();
        let tools = Tools {
            store: Arc::new(Store::open(&folder.path().join("store")).unwrap()),
            fetcher: Fetcher {
                allowed: vec![files],
                ..Fetcher::default()
            },
            secrets: Secrets::Folder(folder.path().join("secrets")),
            board: Board::default(),
            metrics: ArtifactMetrics::register(&Meter::default()).unwrap(),
        };
        Self {
            address: serve(failing),
            tools,
            folder,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn fetch(&self, spec: Value, is_refresh: bool) -> Result<Done, Failure> {
        let name = ObjectName {
            namespace: "default".to_owned(),
            name: "a".to_owned(),
        };
        let want = Want::of(&name, &serde_json::from_value(spec).unwrap());
        let held = self.tools.store.shelf().table().get(&name).cloned();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(fetch(&self.tools, &want, held.as_ref(), is_refresh))
    }

    /// One file from `path`, with what is given beside.
    fn one(&self, path: &str, more: Value) -> Result<Held, Failure> {
        let mut file = json!({"path": "linux", "url": self.url(path)});
        file.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        match self.fetch(json!({"files": [file]}), false)? {
            Done::New(held) | Done::Unchanged(held) => Ok(held),
        }
    }

    fn served(&self, generation: u64) -> Vec<u8> {
        let tree = self.tools.store.trees().join("default/a");
        std::fs::read(tree.join(generation.to_string()).join("linux")).unwrap()
    }
}

#[test]
fn goes_on_after_breaks_and_gets_the_right_bytes() {
    for (path, want) in [
        ("/good", content()),
        ("/cut-once", content()),
        ("/no-range", content()),
        ("/changes", other()),
        ("/shrunk", b"tiny".to_vec()),
    ] {
        let room = Room::new();
        let held = room
            .one(path, json!({}))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(room.served(held.generation) == want, "{path}: other bytes");
        assert!(!held.files["linux"].verified);
        assert_eq!(held.files["linux"].sha256, digest(&want));
    }
}

#[test]
fn names_what_went_wrong_and_serves_nothing_of_it() {
    let room = Room::new();
    for (path, reason) in [
        ("/cut-always", Reason::Truncated),
        ("/500", Reason::ServerError),
        ("/429", Reason::TooManyRequests),
        ("/401", Reason::Unauthorized),
        ("/none", Reason::NotFound),
        ("/page", Reason::ErrorPage),
        ("/page-in-disguise", Reason::ErrorPage),
        ("/loop", Reason::Redirect),
        ("/empty", Reason::Empty),
    ] {
        let failure = room.one(path, json!({})).unwrap_err();
        assert_eq!(failure.reason, reason, "{path}: {failure}");
        assert!(
            failure.what.starts_with("spec.files[0]: http://"),
            "{failure}"
        );
        assert!(room.tools.store.shelf().table().is_empty(), "{path}");
    }
    let failure = room.one("/429", json!({})).unwrap_err();
    assert_eq!(failure.retry_after, Some(7));
    let closed = json!({"files": [{"path": "linux", "url": "http://127.0.0.1:1/linux"}]});
    assert_eq!(
        room.fetch(closed, false).unwrap_err().reason,
        Reason::Unreachable
    );
}

#[test]
fn a_wrong_digest_shows_both_and_keeps_the_file_out() {
    let room = Room::new();
    let wanted = "a".repeat(64);
    let failure = room.one("/good", json!({"sha256": wanted})).unwrap_err();
    assert_eq!(failure.reason, Reason::WrongDigest);
    let found = digest(&content());
    assert!(
        failure.what.contains(&wanted) && failure.what.contains(&found),
        "{failure}"
    );
    assert!(room.tools.store.shelf().table().is_empty());
    assert!(room.tools.store.blob_len(&found).is_none());
    // A page is what it is where a digest says so.
    let page = digest(b"<!DOCTYPE html><title>Please log in</title>");
    assert!(room.one("/page", json!({"sha256": page})).unwrap().files["linux"].verified);
}

#[test]
fn another_place_of_the_file_helps() {
    let room = Room::new();
    let good = digest(&content());
    let mirrors = [room.url("/none"), room.url("/cut-once")];
    let held = room
        .one("/500", json!({"sha256": good, "mirrors": mirrors}))
        .unwrap();
    assert!(room.served(held.generation) == content());
    let failure = room
        .one("/500", json!({"mirrors": [room.url("/none")]}))
        .unwrap_err();
    assert!(
        failure.what.contains("/500") && failure.what.contains("/none"),
        "{failure}"
    );
}

#[test]
fn a_secret_opens_the_door() {
    let room = Room::new();
    let spec = |secret: &str| json!({"files": [{"path": "linux", "url": room.url("/401")}], "secretRef": {"name": secret}});
    room.fetch(spec("mirror"), false).unwrap();
    let failure = room.fetch(spec("none"), false).unwrap_err();
    assert_eq!(failure.reason, Reason::Secret);
    assert!(
        failure.what.contains("there is no Secret none"),
        "{failure}"
    );
}

#[test]
fn files_of_the_host_only_where_allowed() {
    let room = Room::new();
    let from = |path: &str| {
        let url = format!("file://{}/{path}", room.folder.path().display());
        room.fetch(json!({"files": [{"path": "linux", "url": url}]}), false)
    };
    from("files/linux").unwrap();
    assert!(room.served(1) == content());
    for path in [
        "secrets/mirror/token",
        "files/../secrets/mirror/token",
        "files/out",
        "files/no",
    ] {
        assert_eq!(from(path).unwrap_err().reason, Reason::File, "{path}");
    }
}

#[test]
fn a_look_for_something_newer_takes_what_is_newer_only() {
    let room = Room::new();
    let spec =
        || json!({"files": [{"path": "linux", "url": room.url("/versions")}], "refresh": "60s"});
    assert!(matches!(room.fetch(spec(), false).unwrap(), Done::New(_)));
    assert!(room.served(1) == content());
    let Done::New(held) = room.fetch(spec(), true).unwrap() else {
        panic!("there is another version");
    };
    assert_eq!(held.generation, 2);
    assert!(room.served(2) == other());
    assert!(
        room.served(1) == content(),
        "a boot under way keeps its tree"
    );
    let Done::Unchanged(held) = room.fetch(spec(), true).unwrap() else {
        panic!("nothing changed");
    };
    assert_eq!(held.generation, 2);
}

#[test]
fn what_is_verified_is_never_replaced_by_what_is_not() {
    let room = Room::new();
    room.one("/good", json!({"sha256": digest(&content())}))
        .unwrap();
    let failure = room.one("/shrunk", json!({"mirrors": []})).unwrap_err();
    assert_eq!(failure.reason, Reason::NotVerified, "{failure}");
    assert!(failure.is_for_good());
    assert!(room.served(1) == content());
    // The same bytes stay verified.
    let held = room.one("/good", json!({})).unwrap();
    assert!(held.files["linux"].verified);
}

#[test]
fn an_archive_becomes_a_tree() {
    let room = Room::new();
    let files = room.folder.path().join("files");
    let mut tar = tar::Builder::new(std::fs::File::create(files.join("a.tar")).unwrap());
    for (path, text) in [("root/linux", "kernel"), ("root/doc/x", "x"), ("top", "t")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.finish().unwrap();
    let url = format!("file://{}/a.tar", files.display());
    let spec =
        json!({"archive": {"url": url, "format": "Tar", "strip": 1, "include": ["root/linux"]}});
    let Done::New(held) = room.fetch(spec, false).unwrap() else {
        panic!("it is new");
    };
    let paths: Vec<&str> = held.files.keys().map(String::as_str).collect();
    assert_eq!(paths, ["linux"]);
    assert_eq!(room.served(1), b"kernel");
}

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

#[test]
fn kill_9_leaves_the_old_or_the_new_never_half() {
    let version = Arc::new(AtomicU64::new(1));
    let now = Arc::clone(&version);
    let address = serve(move |asked, stream| {
        let version = now.load(Ordering::SeqCst);
        let tag = format!("\"{version}\"");
        if asked.headers.get("if-none-match") == Some(&tag) {
            send(stream, "304 Same", "", 0, b"");
            return;
        }
        let body = format!("{version:07}\n").repeat(200_000);
        let same = asked
            .headers
            .get("if-range")
            .is_none_or(|wanted| *wanted == tag);
        let from = asked.from().filter(|from| same && *from < body.len());
        let tag = format!("ETag: {tag}\r\n");
        let rest = &body.as_bytes()[from.unwrap_or(0)..];
        match from {
            None => send(stream, "200 OK", &tag, rest.len(), b""),
            Some(from) => {
                let range = format!(
                    "{tag}Content-Range: bytes {from}-{}/{}\r\n",
                    body.len() - 1,
                    body.len()
                );
                send(stream, "206 Partial", &range, rest.len(), b"");
            }
        }
        for piece in rest.chunks(100_000) {
            std::thread::sleep(Duration::from_millis(2));
            if stream.write_all(piece).is_err() {
                return;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let manifest = folder.path().join("a.yaml");
    let text = format!(
        "apiVersion: reveille.dev/v1alpha1\nkind: Artifact\nmetadata: {{name: a}}\nspec:\n  files:\n\
         \x20   - {{path: linux, url: \"http://{address}/linux\"}}\n\
         \x20   - {{path: initrd, url: \"http://{address}/initrd\"}}\n"
    );
    std::fs::write(&manifest, text).unwrap();
    let pull = || {
        Command::new(env!("CARGO_BIN_EXE_reveille"))
            .args(["artifacts", "pull", "-f"])
            .arg(&manifest)
            .arg("--artifact-store")
            .arg(&store)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    assert!(pull().wait().unwrap().success());
    assert_eq!(version_of(&store), Some(1));
    let mut last = 1;
    let rounds = std::env::var("KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(20);
    for round in 0..rounds {
        version.store(round + 2, Ordering::SeqCst);
        let mut child = pull();
        // From before the first byte to after the switch.
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 700));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = version_of(&store).unwrap();
        assert!(
            now == last || now == round + 2,
            "{now} after {last} in round {round}"
        );
        last = now;
    }
    assert!(pull().wait().unwrap().success());
    assert_eq!(version_of(&store), Some(rounds + 1));
}
