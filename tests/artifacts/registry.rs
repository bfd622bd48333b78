//! Registries: a real one (Docker's distribution) where `docker-registry` is
//! installed, and a small test server that fails in ways a real one does not
//! on demand.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reveille::artifact::oci::{
    Content, Credentials, Digest, LayerType, Login, OciFailure, Platform, Reference, Registry,
    Settings, lay,
};
use reveille::artifact::unpack::{Limits, Pick};
use serde_json::json;
use tar::EntryType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::evil::tar_of;
use super::server::{self, descriptor};
use super::support::{has, lines, pick};

const FILE: EntryType = EntryType::Regular;
const OCI_TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A registry that runs while it is held, and its folder.
struct Real {
    registry: server::Registry,
    _folder: tempfile::TempDir,
}

impl Deref for Real {
    type Target = server::Registry;

    fn deref(&self) -> &server::Registry {
        &self.registry
    }
}

impl Real {
    /// Starts one; `None` where none is installed.
    async fn start(tls: bool, login: bool) -> Option<Self> {
        if !has("docker-registry") || (tls && !has("openssl")) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let registry = server::Registry::start(folder.path(), tls, login).await;
        Some(Self {
            registry: registry.unwrap(),
            _folder: folder,
        })
    }

    fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.address)).unwrap()
    }

    fn settings(&self) -> Settings {
        let plain = (!self.tls).then(|| self.address.to_string());
        Settings {
            ca: self.tls.then(|| self.ca().unwrap()),
            plain_http: plain.into_iter().collect(),
            ..Settings::default()
        }
    }
}

async fn download(
    registry: &Registry,
    reference: &Reference,
    digest: &Digest,
    from: u64,
) -> Vec<u8> {
    let blob = registry.blob(reference, digest, from).await.unwrap();
    assert_eq!(blob.from, from);
    let parts: Vec<_> = blob.bytes().collect().await;
    parts
        .into_iter()
        .flat_map(|part| part.unwrap().to_vec())
        .collect()
}

#[tokio::test]
async fn an_image_of_a_real_registry_is_laid_out() {
    let Some(real) = Real::start(false, false).await else {
        return;
    };
    let lower = gz(&tar_of(&[
        (FILE, b"boot/vmlinuz", b"", b"kernel 1"),
        (FILE, b"boot/old", b"", b"gone"),
        (FILE, b"etc/dropped/a", b"", b"gone"),
    ]));
    let upper = gz(&tar_of(&[
        (FILE, b"boot/vmlinuz", b"", b"kernel 2"),
        (FILE, b"boot/.wh.old", b"", b""),
        (FILE, b"etc/dropped/.wh..wh..opq", b"", b""),
        (FILE, b"etc/dropped/b", b"", b"new"),
    ]));
    let mut layers = Vec::new();
    for bytes in [&lower, &upper] {
        real.push_blob(bytes).await.unwrap();
        layers.push(descriptor(OCI_TAR, bytes));
    }
    let manifest = real.push_image("v1", &layers).await.unwrap();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });
    let index = real.push_manifest("all", &index).await.unwrap();
    let registry = Registry::new(real.settings()).unwrap();
    for (tag, digest, documents) in [("boot/test:v1", &manifest, 1), ("boot/test:all", &index, 2)] {
        let reference = real.reference(tag);
        registry.probe(&reference).await.unwrap();
        let resolved = registry
            .resolve(&reference, &Platform::usual())
            .await
            .unwrap();
        assert_eq!(resolved.digest, Digest::of(digest), "{tag}");
        assert_eq!(resolved.documents.len(), documents, "{tag}");
        let Content::Layers(found) = resolved.manifest.content().unwrap() else {
            panic!("{tag} has no layers");
        };
        let dir = tempfile::tempdir().unwrap();
        let mut files: Vec<(PathBuf, LayerType)> = Vec::new();
        for (layer, packed) in &found {
            // In two pieces, as after a break.
            let whole = download(&registry, &reference, &layer.digest, 0).await;
            let rest = download(&registry, &reference, &layer.digest, 10).await;
            assert_eq!(whole.get(10..).unwrap(), rest);
            assert_eq!(Digest::of(&whole), layer.digest);
            let path = dir.path().join(layer.digest.hex());
            fs::write(&path, whole).unwrap();
            files.push((path, *packed));
        }
        let into = dir.path().join("out");
        lay(
            &files,
            &Pick::all(0),
            &Limits::default(),
            &into,
            &mut |_| (),
        )
        .unwrap();
        assert_eq!(
            lines(&into),
            ["boot/vmlinuz: kernel 2", "etc/dropped/b: new"]
        );
    }
    let pinned = real.reference(&format!("boot/test@{}", Digest::of(&manifest)));
    assert!(registry.resolve(&pinned, &Platform::usual()).await.is_ok());
    let arm = Platform::parse("linux/arm64").unwrap();
    let error = registry
        .resolve(&real.reference("boot/test:all"), &arm)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no image for linux/arm64; there are: linux/amd64"),
        "{error}"
    );
    for missing in ["boot/test:v2", "boot/none:v1"] {
        let error = registry
            .resolve(&real.reference(missing), &arm)
            .await
            .unwrap_err();
        assert_eq!(error.as_str(), "not-found", "{error}");
    }
}

#[tokio::test]
async fn a_flat_artifact_has_files_by_name() {
    let Some(real) = Real::start(false, false).await else {
        return;
    };
    let files = [("vmlinuz", b"kernel".as_slice()), ("initrd.img", b"initrd")];
    real.push_files("flat", &files).await.unwrap();
    let registry = Registry::new(real.settings()).unwrap();
    let reference = real.reference("boot/test:flat");
    let resolved = registry
        .resolve(&reference, &Platform::usual())
        .await
        .unwrap();
    let Content::Files(files) = resolved.manifest.content().unwrap() else {
        panic!("no files");
    };
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["vmlinuz", "initrd.img"]);
    let first = files.first().unwrap();
    let bytes = download(&registry, &reference, &first.descriptor.digest, 0).await;
    assert_eq!(
        (bytes.as_slice(), first.descriptor.size),
        (b"kernel".as_slice(), 6)
    );
}

#[tokio::test]
async fn logins_and_own_authorities_at_a_real_registry() {
    let Some(real) = Real::start(true, true).await else {
        return;
    };
    let blob = gz(&tar_of(&[(FILE, b"a", b"", b"x")]));
    real.push_blob(&blob).await.unwrap();
    real.push_image("v1", &[descriptor(OCI_TAR, &blob)])
        .await
        .unwrap();
    let reference = real.reference("boot/test:v1");
    let resolve = async |settings: Settings| {
        let registry = Registry::new(settings).unwrap();
        registry
            .resolve(&reference, &Platform::usual())
            .await
            .map(|_| ())
    };
    let login = |password: &str| {
        Credentials::login(Login::Password {
            user: "test".to_owned(),
            password: password.to_owned(),
        })
    };
    let with = |credentials| Settings {
        credentials,
        ..real.settings()
    };
    resolve(with(login("secret"))).await.unwrap();
    let text = format!(
        r#"{{"auths": {{"{}": {{"username": "test", "password": "secret"}}}}}}"#,
        real.address
    );
    resolve(with(Credentials::docker_config(&text).unwrap()))
        .await
        .unwrap();
    let error = resolve(real.settings()).await.unwrap_err();
    assert!(
        error.to_string().contains("the registry wants a login"),
        "{error}"
    );
    let error = resolve(with(login("wrong"))).await.unwrap_err();
    assert!(
        error.to_string().contains("does not take the login"),
        "{error}"
    );
    // Without its authority.
    let error = resolve(Settings::default()).await.unwrap_err();
    assert_eq!(error.as_str(), "tls", "{error}");
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    // Plain where TLS is spoken.
    let plain = BTreeSet::from([real.address.to_string()]);
    let error = resolve(Settings {
        plain_http: plain,
        ..Settings::default()
    })
    .await
    .unwrap_err();
    assert_eq!(error.as_str(), "unexpected-answer", "{error}");
    let error = Registry::new(Settings {
        ca: Some(b"junk".to_vec()),
        ..Settings::default()
    });
    assert_eq!(error.unwrap_err().as_str(), "certificates");
}

/// What the test server is asked, and what it answers: head and body.
type Answer = Arc<dyn Fn(&str, &str) -> (String, Vec<u8>) + Send + Sync>;

/// A server for tests: one answer a connection, made by `answer` of the
/// request's first line and its whole head.
async fn serve(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut buffer = [0; 4096];
                // TLS is answered like any nonsense, as real servers do.
                while !head.windows(4).any(|four| four == b"\r\n\r\n")
                    && head.first() != Some(&0x16)
                {
                    match stream.read(&mut buffer).await {
                        Ok(got) if got > 0 => head.extend_from_slice(buffer.get(..got).unwrap()),
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let first = head.lines().next().unwrap_or_default().to_owned();
                let (status, body) = answer(&first, &head);
                let text = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.write_all(&body).await;
            });
        }
    });
    address
}

/// What a registry that answers so makes of a fetch.
async fn fate(
    answer: impl Fn(&str, &str) -> (String, Vec<u8>) + Send + Sync + 'static,
) -> OciFailure {
    let address = serve(Arc::new(answer)).await;
    let registry = client(address);
    let reference = Reference::parse(&format!("{address}/a/b:v1")).unwrap();
    registry
        .resolve(&reference, &Platform::usual())
        .await
        .unwrap_err()
}

fn client(address: SocketAddr) -> Registry {
    Registry::new(Settings {
        plain_http: BTreeSet::from([address.to_string()]),
        silence: Duration::from_secs(5),
        ..Settings::default()
    })
    .unwrap()
}

#[tokio::test]
async fn failures_are_told_by_name() {
    let manifest = |body: &str| {
        let body = body.as_bytes().to_vec();
        move |_: &str, _: &str| ("200 OK".to_owned(), body.clone())
    };
    let error = fate(|_, _| ("429 Slow\r\nretry-after: 37".to_owned(), Vec::new())).await;
    assert_eq!(error.as_str(), "too-many-requests");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(37)));
    let error = fate(|_, _| ("503 Busy\r\nretry-after: 5".to_owned(), Vec::new())).await;
    assert_eq!(
        (error.as_str(), error.retry_after()),
        ("server-error", Some(Duration::from_secs(5)))
    );
    let error = fate(|_, _| ("403 No".to_owned(), Vec::new())).await;
    assert_eq!(error.as_str(), "denied");
    let error = fate(manifest("<html>hello</html>")).await;
    assert_eq!(error.as_str(), "manifest-unreadable");
    let error = fate(manifest(r#"{"schemaVersion": 1}"#)).await;
    assert_eq!(error.as_str(), "manifest-type");
    let error = fate(manifest(
        r#"{"schemaVersion": 2, "manifests": [], "layers": []}"#,
    ))
    .await;
    assert_eq!(error.as_str(), "manifest-unreadable");
    // No manifest has so many bytes.
    let error = fate(|_, _| ("200 OK".to_owned(), vec![b' '; 5 << 20])).await;
    assert_eq!(error.as_str(), "too-large");
    // What the server says of its own bytes is wrong.
    let error = fate(|_, _| {
        let lie = Digest::of(b"something else");
        (
            format!("200 OK\r\ndocker-content-digest: {lie}"),
            b"{}".to_vec(),
        )
    })
    .await;
    assert_eq!(error.as_str(), "wrong-digest");
    let error = fate(|line, _| {
        let place = line.split(' ').nth(1).unwrap().to_owned();
        (format!("302 Found\r\nlocation: {place}"), Vec::new())
    })
    .await;
    assert_eq!(error.as_str(), "redirect", "{error}");
}

#[tokio::test]
async fn a_tag_that_moved_and_silence_are_told() {
    // Another manifest than the digest of the reference.
    let address = serve(Arc::new(|_, _| ("200 OK".to_owned(), b"{}".to_vec()))).await;
    let pinned = format!("{address}/a/b@{}", Digest::of(b"wanted"));
    let error = client(address)
        .document(&Reference::parse(&pinned).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.as_str(), "wrong-digest");
    assert!(
        error.to_string().contains(Digest::of(b"{}").hex()),
        "{error}"
    );
    // TLS where none is spoken.
    let registry = Registry::new(Settings::default()).unwrap();
    let plain = Reference::parse(&format!("{address}/a/b:v1")).unwrap();
    let error = registry.probe(&plain).await.unwrap_err();
    assert_eq!(error.as_str(), "tls", "{error}");
    // Nobody there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let reference = Reference::parse(&format!("{nobody}/a/b:v1")).unwrap();
    let error = client(nobody).probe(&reference).await.unwrap_err();
    assert_eq!(error.as_str(), "connection", "{error}");
}

#[tokio::test]
async fn tokens_are_fetched_kept_and_renewed() {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let issued = Arc::clone(&count);
    let own = Arc::new(std::sync::OnceLock::new());
    let place = Arc::clone(&own);
    let body = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [],
    }))
    .unwrap();
    let address = serve(Arc::new(move |line: &str, head: &str| {
        let head = head.to_ascii_lowercase();
        if line.contains("/token") {
            assert!(line.contains("scope=repository%3Aa%2Fb%3Apull"), "{line}");
            assert!(line.contains("service=lab"), "{line}");
            // `u:p`, and to nobody but the token server.
            assert!(head.contains("authorization: basic dtpw"), "{head}");
            let number = issued.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return ("200 OK".to_owned(), format!(r#"{{"token": "t{number}"}}"#).into_bytes());
        }
        // The first token is good for one manifest only.
        let fresh = head.contains("authorization: bearer t1")
            || (head.contains("authorization: bearer t0") && line.contains("/v1 "));
        if fresh {
            return ("200 OK".to_owned(), body.clone());
        }
        let realm = place.get().cloned().unwrap_or_default();
        let ask = format!(
            "401 Who\r\nwww-authenticate: Bearer realm=\"{realm}\",service=\"lab\",scope=\"repository:a/b:pull\""
        );
        (ask, Vec::new())
    }))
    .await;
    own.set(format!("http://{address}/token")).unwrap();
    let registry = Registry::new(Settings {
        plain_http: BTreeSet::from([address.to_string()]),
        credentials: Credentials::login(Login::Password {
            user: "u".to_owned(),
            password: "p".to_owned(),
        }),
        ..Settings::default()
    })
    .unwrap();
    let get = async |tag: &str| {
        let reference = Reference::parse(&format!("{address}/a/b:{tag}")).unwrap();
        registry.document(&reference).await.map(|_| ())
    };
    get("v1").await.unwrap();
    get("v1").await.unwrap();
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
    get("v2").await.unwrap();
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 2);
}

fn layers(folder: &Path, layers: &[Vec<u8>]) -> Vec<(PathBuf, LayerType)> {
    let write = |(number, bytes): (usize, &Vec<u8>)| {
        let path = folder.join(format!("layer-{number}"));
        fs::write(&path, bytes).unwrap();
        (path, LayerType::Tar)
    };
    layers.iter().enumerate().map(write).collect()
}

#[test]
fn layers_replace_and_take_away_within_the_tree() {
    let link = EntryType::Symlink;
    let dir = tempfile::tempdir().unwrap();
    let files = layers(
        dir.path(),
        &[
            tar_of(&[
                (link, b"bin", b"usr/bin", b""),
                (FILE, b"usr/bin/sh", b"", b"old"),
                (FILE, b"usr/bin/gone", b"", b"x"),
                (FILE, b"was-file", b"", b"x"),
                (FILE, b"was-folder/a", b"", b"x"),
                (FILE, b"kept", b"", b"kept"),
                (EntryType::Link, b"name", b"kept", b""),
                (link, b"abs", b"/kept", b""),
                (link, b"out", b"../../../kept", b""),
            ]),
            tar_of(&[
                // Through a link of the layer below, as images do.
                (FILE, b"bin/sh", b"", b"new"),
                (FILE, b"bin/.wh.gone", b"", b""),
                (FILE, b"was-file/inside", b"", b"folder now"),
                (FILE, b"was-folder", b"", b"file now"),
                (FILE, b".wh.kept", b"", b""),
                // A whiteout takes away lower layers only.
                (FILE, b"fresh", b"", b"stays"),
                (FILE, b".wh.fresh", b"", b""),
                (FILE, b".wh.nothing", b"", b""),
                (FILE, b".wh..wh.plnk/1.2", b"", b""),
            ]),
        ],
    );
    let into = dir.path().join("out");
    let unpacked = lay(
        &files,
        &Pick::all(0),
        &Limits::default(),
        &into,
        &mut |_| (),
    )
    .unwrap();
    assert_eq!(
        lines(&into),
        [
            "bin: -> usr/bin",
            "fresh: stays",
            "name: kept",
            "usr/bin/sh: new",
            "was-file/inside: folder now",
            "was-folder: file now",
        ]
    );
    // `/` and what climbs above it are the root of the image, where `kept`
    // is no more.
    let left_out: Vec<&str> = unpacked
        .left_out
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(left_out, ["abs", "out"]);
    // The same with a pick that a link leads to.
    let into = dir.path().join("picked");
    let wanted = pick(&[("bin/sh", "sh"), ("name", "")]);
    let error = lay(&files, &wanted, &Limits::default(), &into, &mut |_| ()).unwrap_err();
    // The file is known under its own name only.
    assert_eq!(error.as_str(), "entry-missing", "{error}");
    fs::remove_dir_all(&into).unwrap();
    let wanted = pick(&[("usr/bin/sh", "sh"), ("name", "")]);
    lay(&files, &wanted, &Limits::default(), &into, &mut |_| ()).unwrap();
    assert_eq!(lines(&into), ["name: kept", "sh: new"]);
}

#[test]
fn whiteouts_cannot_reach_out() {
    let dir = tempfile::tempdir().unwrap();
    let beside = dir.path().join("beside");
    fs::write(&beside, "mine").unwrap();
    for name in [
        b".wh..".as_slice(),
        b".wh...",
        b"a/.wh..",
        b"../.wh.beside",
        b".wh.",
    ] {
        let files = layers(
            dir.path(),
            &[
                tar_of(&[(FILE, b"a/b", b"", b"x")]),
                tar_of(&[(FILE, name, b"", b"")]),
            ],
        );
        let into = dir.path().join("out");
        let _ = lay(
            &files,
            &Pick::all(0),
            &Limits::default(),
            &into,
            &mut |_| (),
        );
        assert_eq!(fs::read_to_string(&beside).unwrap(), "mine");
        assert_eq!(lines(&into), ["a/b: x"], "{name:?}");
        fs::remove_dir_all(&into).unwrap();
    }
}
