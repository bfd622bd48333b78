//! What comes of each answer that a server may give.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use reveille::artifact::fetch::{Failure, Fetcher, Reason};
use reveille::artifact::keep::{Board, Done, Tools, fetch};
use reveille::artifact::metrics::ArtifactMetrics;
use reveille::artifact::secrets::Secrets;
use reveille::artifact::store::Store;
use reveille::artifact::{Held, Want};
use reveille::snapshot::ObjectName;
use reveille::telemetry::Meter;
use serde_json::{Value, json};

use crate::web::{Asked, send, send_rest, serve};
use crate::{content, digest, other};

pub(crate) fn failing(asked: &Asked, stream: &mut TcpStream) {
    let all = content();
    let half = all.len() / 2;
    let tag = "ETag: \"1\"\r\n";
    match (asked.path.as_str(), asked.from()) {
        ("/good", _) => send(stream, "200 OK", tag, all.len(), &all),
        ("/cut-once", None) => send(stream, "200 OK", tag, all.len(), &all[..half]),
        ("/cut-once", Some(_)) => send_rest(stream, asked, "1", &all),
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
            address: serve(failing).unwrap(),
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
