//! The whole service: manifests in, files out over HTTP, and what it says of
//! what does not come. On loopback, without root.

use std::fs;
use std::io::{Cursor, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fetch::failing;
use crate::registry::{PASSWORD, Registry, USER, descriptor};
use crate::web::{Asked, send, send_rest, serve};
use crate::{content, digest, other, program};

/// Of looks for something that must come, 50 ms apart.
const LOOKS: usize = 1200;

/// The path of a file as publishers name them: blanks, letters of other alphabets.
const ODD: &str = "boot/Größe 2 (neu).img";

struct Service {
    folder: tempfile::TempDir,
    child: Child,
    http: SocketAddr,
    admin: SocketAddr,
    plain: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// A service that has nothing to do yet; `plain` is a registry without TLS.
    fn start(plain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["boot", "tree", "loaders", "secrets", "host"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let (http, admin) = (free_port(), free_port());
        let service = Self {
            child: launch(folder.path(), http, admin, plain),
            folder,
            http,
            admin,
            plain: plain.to_owned(),
        };
        service.until("an answer", || service.rows());
        service
    }

    /// Kills it, and starts it again on what it left.
    fn again(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = launch(self.folder.path(), self.http, self.admin, &self.plain);
        self.until("an answer", || self.rows());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An Artifact, written or written anew.
    fn artifact(&self, name: &str, spec: &Value) {
        let head = "apiVersion: reveille.dev/v1alpha1\nkind: Artifact\n";
        let text = format!("{head}metadata: {{name: {name}}}\nspec: {spec}\n");
        fs::write(self.at(&format!("boot/.{name}")), text).unwrap();
        let to = self.at(&format!("boot/{name}.yaml"));
        fs::rename(self.at(&format!("boot/.{name}")), to).unwrap();
    }

    fn secret(&self, name: &str, values: &[(&str, &[u8])]) {
        let folder = self.at("secrets").join(name);
        fs::create_dir_all(&folder).unwrap();
        for (key, value) in values {
            fs::write(folder.join(key), value).unwrap();
        }
    }

    /// The rows of `/artifacts`.
    fn rows(&self) -> Option<Vec<Value>> {
        let value: Value = serde_json::from_slice(&get(self.admin, "/artifacts")?).ok()?;
        Some(value["artifacts"].as_array()?.clone())
    }

    fn row(&self, name: &str) -> Option<Value> {
        self.rows()?.into_iter().find(|row| row["name"] == name)
    }

    fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        for _ in 0..LOOKS {
            if let Some(found) = look() {
                return found;
            }
            sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.at("log")).unwrap();
        panic!("{what} did not come; {:?}; {log}", self.rows());
    }

    /// Waits until the artifact is there; its generation.
    fn arrives(&self, name: &str) -> u64 {
        self.until(name, || {
            let row = self.row(name).filter(|row| row["ready"] == true)?;
            row["generation"].as_u64()
        })
    }

    /// Waits until something is said of the artifact that holds all of `words`.
    fn says(&self, name: &str, words: &[&str]) -> String {
        self.until(&format!("{name}: {words:?}"), || {
            let row = self.row(name)?;
            let reason = row["reason"].as_str()?.to_owned();
            let is_it = words.iter().all(|word| reason.contains(word));
            (is_it && row["ready"] == false).then_some(reason)
        })
    }

    fn get(&self, path: &str) -> Option<Vec<u8>> {
        get(self.http, path)
    }

    /// Checks that the artifact is served, by its generation and as the current one.
    fn serves(&self, name: &str, generation: u64, path: &str, want: &[u8]) {
        let path = path
            .replace(' ', "%20")
            .replace('ö', "%C3%B6")
            .replace('ß', "%C3%9F");
        for place in [format!("{generation}/{path}"), path] {
            let got = self.get(&format!("/artifacts/default/{name}/{place}"));
            assert!(got.as_deref() == Some(want), "{name}: {place}");
        }
    }
}

/// What a door gives for a path; `None` for anything but 200.
fn get(door: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(door).ok()?;
    let mut answer = Vec::new();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let body = answer.split_off(end + 4);
    let status = answer.split(|byte| *byte == b' ').nth(1)?;
    (status == b"200").then_some(body)
}

fn free_port() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

fn launch(folder: &Path, http: SocketAddr, admin: SocketAddr, plain: &str) -> Child {
    program()
        .current_dir(folder)
        .args(["serve", "boot", "--state", "state", "--artifacts", "tree"])
        .args(["--loaders", "loaders", "--secrets", "secrets"])
        .args(["--tftp", "127.0.0.1:0", "--admin", &admin.to_string()])
        .args(["--http", &http.to_string()])
        .arg("--artifact-files")
        .arg(folder.join("host"))
        .args(["--artifact-plain-registry", plain])
        .args(["--log-format", "text", "--log-to", "log"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

// === archives ===

/// What is in each archive.
fn entries() -> Vec<(&'static str, Vec<u8>)> {
    vec![("boot/linux", content()), (ODD, other())]
}

fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in entries() {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes.as_slice())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 1);
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zip() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (path, bytes) in entries() {
        zip.start_file(path, options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An image with Rock Ridge names, as `xorriso` made it.
fn iso() -> Vec<u8> {
    let path = "tests/artifacts/fixtures/rr.iso.gz";
    let packed = fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn archives_of_every_kind_arrive_and_are_served() {
    let archives = [
        ("tar", "Tar", tar()),
        ("gz", "TarGz", gz(&tar())),
        ("xz", "TarXz", xz(&tar())),
        (
            "zst",
            "TarZst",
            zstd::encode_all(Cursor::new(tar()), 1).unwrap(),
        ),
        ("zip", "Zip", zip()),
    ];
    let iso = iso();
    let (served, disc) = (archives.clone(), iso.clone());
    let address = serve(move |asked, stream| {
        let name = asked.path.trim_start_matches('/');
        let all = served.iter().find(|(it, ..)| *it == name);
        let bytes = all.map_or(&disc, |(_, _, bytes)| bytes);
        // Each breaks off in the middle once.
        match asked.before {
            0 => send(
                stream,
                "200 OK",
                "ETag: \"1\"\r\n",
                bytes.len(),
                &bytes[..bytes.len() / 2],
            ),
            _ => send_rest(stream, asked, "1", bytes),
        }
    })
    .unwrap();
    let mut service = Service::start("none.example");
    let spec = |name: &str, format: &str, bytes: &[u8]| {
        let url = format!("http://{address}/{name}");
        json!({"archive": {"url": url, "sha256": digest(bytes), "format": format}})
    };
    for (name, format, bytes) in &archives {
        service.artifact(name, &spec(name, format, bytes));
    }
    service.artifact("iso", &spec("iso", "Iso", &iso));
    for (name, ..) in &archives {
        let generation = service.arrives(name);
        for (path, bytes) in entries() {
            service.serves(name, generation, path, &bytes);
        }
    }
    service.arrives("iso");
    let row = service.row("iso").unwrap();
    assert!(row["files"].as_u64() > Some(0), "{row}");
    // What was fetched is there at once after a kill, without the server.
    service.again();
    assert_eq!(service.arrives("zip"), 1);
    service.serves("zip", 1, ODD, &other());
}

#[test]
fn signed_files_arrive_and_forged_ones_are_kept_out() {
    let fixture = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/artifacts/fixtures");
        fs::read(folder.join("signatures").join(name)).unwrap()
    };
    let address = serve(move |asked, stream| {
        let bytes = match asked.path.as_str() {
            "/forged/data.bin" => b"the bytes of another kernel\n".to_vec(),
            path => fixture(path.rsplit('/').next().unwrap()),
        };
        send(stream, "200 OK", "", bytes.len(), &bytes);
    })
    .unwrap();
    let key = |name: &str| String::from_utf8(fixture(name)).unwrap();
    let mini = key("minisign.pub").lines().nth(1).unwrap().to_owned();
    let url = |path: &str| format!("http://{address}/{path}");
    let file = |place: &str, signature: Value| {
        let url = url(&format!("{place}data.bin"));
        json!({"files": [{"path": "linux", "url": url, "signature": signature}]})
    };
    let detached = json!({"url": url("data.bin.minisig"), "minisign": mini});
    let list = json!({"url": url("SHA256SUMS.asc"), "sums": url("SHA256SUMS"), "openpgp": key("good.pub")});
    let service = Service::start("none.example");
    service.artifact("minisign", &file("", detached.clone()));
    service.artifact("openpgp", &file("", list.clone()));
    service.artifact("forged", &file("forged/", detached));
    service.artifact("forged-of-list", &file("forged/", list));
    let stranger = json!({"url": url("data.bin.asc"), "openpgp": key("rsa.pub")});
    service.artifact("stranger", &file("", stranger));
    for name in ["minisign", "openpgp"] {
        let generation = service.arrives(name);
        service.serves(name, generation, "linux", &fixture("data.bin"));
    }
    service.says("forged", &["spec.files[0].signature"]);
    service.says("forged-of-list", &["has the SHA-256 digest"]);
    service.says("stranger", &["spec.files[0].signature"]);
    for name in ["forged", "forged-of-list", "stranger"] {
        assert!(
            service
                .get(&format!("/artifacts/default/{name}/linux"))
                .is_none()
        );
    }
}

#[test]
fn what_fails_is_said_what_is_there_is_served_and_all_comes_in_the_end() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let address = serve(move |asked: &Asked, stream: &mut TcpStream| {
        if asked.path == "/late" || well.load(Ordering::SeqCst) {
            let all = content();
            return send(stream, "200 OK", "", all.len(), &all);
        }
        failing(asked, stream);
    })
    .unwrap();
    let mut service = Service::start("none.example");
    let file = |path: &str, more: &str| {
        let mut file = json!({"path": "linux", "url": format!("http://{address}{path}")});
        if !more.is_empty() {
            file["sha256"] = more.into();
        }
        json!({"files": [file]})
    };
    let wrong = "a".repeat(64);
    service.artifact("there", &file("/late", ""));
    let generation = service.arrives("there");
    let troubles = [
        ("loop", "/loop", "redirects more than 10 times"),
        ("page", "/page", "is a page (HTML) and no file to boot"),
        ("empty", "/empty", "is empty"),
        ("cut", "/cut-always", "broke off after"),
        ("oops", "/500", "answers 500"),
        ("who", "/401", "name a Secret by `secretRef`"),
        ("none", "/none", "answers 404"),
    ];
    for (name, path, _) in troubles {
        service.artifact(name, &file(path, ""));
    }
    service.artifact("wrong", &file("/good", &wrong));
    let found = digest(&content());
    service.says("wrong", &[&wrong, &found]);
    for (name, path, words) in troubles {
        let said = service.says(name, &[words, "spec.files[0]"]);
        assert!(said.contains(path), "{said}");
        assert!(
            service
                .get(&format!("/artifacts/default/{name}/linux"))
                .is_none()
        );
        service.serves("there", generation, "linux", &content());
    }
    // The same name, another file: what is there is served until that is.
    service.artifact("there", &file("/500", ""));
    service.says("there", &["answers 500"]);
    service.serves("there", generation, "linux", &content());
    service.again();
    service.serves("there", generation, "linux", &content());
    // A manifest that is taken back leaves no failure behind.
    service.says("there", &["answers 500"]);
    service.artifact("there", &file("/late", ""));
    assert_eq!(service.arrives("there"), generation);
    assert_eq!(service.row("there").unwrap()["reason"], Value::Null);
    is_well.store(true, Ordering::SeqCst);
    for (name, ..) in troubles {
        let generation = service.arrives(name);
        service.serves(name, generation, "linux", &content());
    }
    // Only another digest cures this one.
    service.artifact("wrong", &file("/good", &found));
    service.arrives("wrong");
}

#[test]
fn a_registry_that_wants_a_pause_gets_it() {
    let layer = gz(&tar());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let address = serve(move |asked, stream| {
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        match asked.path.as_str() {
            path if path.ends_with("/manifests/v1") && asked.before == 0 => {
                send(stream, "429 Slow", "Retry-After: 3\r\n", 0, b"");
            }
            path if path.ends_with("/manifests/v1") => {
                send(stream, "200 OK", kind, manifest.len(), &manifest);
            }
            path if path.ends_with(&digest(&layer)) => {
                send_rest(stream, asked, "1", &layer);
            }
            _ => send(stream, "404 None", "", 0, b""),
        }
    })
    .unwrap();
    let service = Service::start(&address.to_string());
    let image = format!("{address}/boot/test:v1");
    service.artifact("busy", &json!({"oci": {"image": image}}));
    service.says("busy", &["wants to be asked less often, again in 3 s"]);
    for (path, bytes) in entries() {
        let generation = service.arrives("busy");
        service.serves("busy", generation, path, &bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_files_of_a_registry_with_tls_and_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let registry = match Registry::start(folder.path(), true, true).await {
        Ok(registry) => registry,
        Err(error) => {
            println!("skipped: {error:#}");
            return;
        }
    };
    let files = [("linux", content()), ("initrd.img", other())];
    let named = files
        .each_ref()
        .map(|(name, bytes)| (*name, bytes.as_slice()));
    registry.push_files("flat", &named).await.unwrap();
    let layer = gz(&tar());
    registry.push_blob(&layer).await.unwrap();
    let packed = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer);
    registry.push_image("image", &[packed]).await.unwrap();
    let service = Service::start("none.example");
    let (ca, address) = (registry.ca().unwrap(), registry.address);
    let login = [
        ("username", USER.as_bytes()),
        ("password", PASSWORD.as_bytes()),
    ];
    service.secret("login", &[&login[..], &[("ca.crt", &ca)]].concat());
    service.secret("authority", &[("ca.crt", &ca)]);
    service.secret("no-authority", &login);
    service.secret("junk", &[("ca.crt", b"junk")]);
    let docker = json!({"auths": {address.to_string(): {"username": USER, "password": PASSWORD}}});
    let docker = docker.to_string();
    service.secret(
        "docker",
        &[(".dockerconfigjson", docker.as_bytes()), ("ca.crt", &ca)],
    );
    let image = |tag: &str, secret: &str| json!({"oci": {"image": registry.image(tag)}, "secretRef": {"name": secret}});
    // The same server's files by their URLs: TLS of one's own, and basic auth.
    let by_url = |secret: &str| {
        let url = registry.blob_url(&content());
        json!({"files": [{"path": "linux", "url": url}], "secretRef": {"name": secret}})
    };
    service.artifact("flat", &image("flat", "login"));
    service.artifact("image", &image("image", "docker"));
    service.artifact("file", &by_url("login"));
    service.artifact("no-login", &image("flat", "authority"));
    service.artifact("no-tls", &image("flat", "no-authority"));
    service.artifact("no-tag", &image("none", "login"));
    service.artifact("file-no-login", &by_url("authority"));
    service.artifact("file-no-tls", &by_url("no-authority"));
    service.artifact("junk", &by_url("junk"));
    for (path, bytes) in &files {
        let generation = service.arrives("flat");
        service.serves("flat", generation, path, bytes);
    }
    for (path, bytes) in entries() {
        let generation = service.arrives("image");
        service.serves("image", generation, path, &bytes);
    }
    let generation = service.arrives("file");
    service.serves("file", generation, "linux", &content());
    service.says("no-login", &["the registry wants a login"]);
    service.says("no-tls", &["UnknownIssuer"]);
    service.says("no-tag", &["spec.oci"]);
    service.says("file-no-login", &["answers 401", "secretRef"]);
    service.says("file-no-tls", &["UnknownIssuer", "ca.crt"]);
    service.says("junk", &["ca.crt of the Secret holds no certificate"]);
}
