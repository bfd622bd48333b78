//! A real registry (Docker's distribution), where `docker-registry` is installed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reveille::artifact::oci::Digest;
use serde_json::{Value, json};

/// The login that it asks for, where it asks for one.
pub(crate) const USER: &str = "test";
/// Its password.
pub(crate) const PASSWORD: &str = "secret";
/// Both, by bcrypt.
const HTPASSWD: &str = "test:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// What is in it.
const REPOSITORY: &str = "boot/test";

/// A registry on loopback. It runs as long as this value lives.
#[derive(Debug)]
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    pub(crate) tls: bool,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one that keeps everything in `folder`.
    pub(crate) async fn start(folder: &Path, tls: bool, login: bool) -> Result<Self> {
        let at = |name: &str| folder.join(name).display().to_string();
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        drop(free);
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: {address}\n",
            at("data")
        );
        if tls {
            certificates(folder)?;
            config += &format!(
                "  tls: {{certificate: {}, key: {}}}\n",
                at("server.pem"),
                at("server.key")
            );
        }
        if login {
            fs::write(at("htpasswd"), HTPASSWD)?;
            config += &format!(
                "auth: {{htpasswd: {{realm: lab, path: {}}}}}\n",
                at("htpasswd")
            );
        }
        fs::write(at("config.yml"), config)?;
        let child = Command::new("docker-registry")
            .args(["serve", &at("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("docker-registry")?;
        let registry = Self {
            child,
            address,
            folder: folder.to_owned(),
            tls,
        };
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(registry);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the registry does not answer")
    }

    /// The certificate of its authority.
    pub(crate) fn ca(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.folder.join("ca.pem"))?)
    }

    /// Where it has a blob.
    pub(crate) fn blob_url(&self, bytes: &[u8]) -> String {
        self.url(&format!("{REPOSITORY}/blobs/{}", Digest::of(bytes)))
    }

    /// A reference into it: `boot/test:TAG`.
    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/{REPOSITORY}:{tag}", self.address)
    }

    fn url(&self, rest: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/v2/{rest}", self.address)
    }

    /// A client that may push: the product has none.
    fn pusher(&self) -> Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder();
        if self.tls {
            let ca = reqwest::Certificate::from_pem(&self.ca()?)?;
            builder = builder.tls_certs_merge([ca]);
        }
        Ok(builder.build()?)
    }

    pub(crate) async fn push_blob(&self, bytes: &[u8]) -> Result<()> {
        let client = self.pusher()?;
        let start = client
            .post(self.url(&format!("{REPOSITORY}/blobs/uploads/")))
            .basic_auth(USER, Some(PASSWORD))
            .send()
            .await?;
        ensure!(start.status() == 202, "{}", start.text().await?);
        let place = start.headers().get("location").context("no location")?;
        let place = format!("{}&digest={}", place.to_str()?, Digest::of(bytes));
        let done = client
            .put(place)
            .basic_auth(USER, Some(PASSWORD))
            .body(bytes.to_vec())
            .send()
            .await?;
        ensure!(done.status() == 201, "{}", done.text().await?);
        Ok(())
    }

    /// A document under `tag`; gives its bytes.
    pub(crate) async fn push_manifest(&self, tag: &str, document: &Value) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(document)?;
        let media_type = document["mediaType"].as_str().unwrap_or_default();
        let done = self
            .pusher()?
            .put(self.url(&format!("{REPOSITORY}/manifests/{tag}")))
            .basic_auth(USER, Some(PASSWORD))
            .header("content-type", media_type)
            .body(bytes.clone())
            .send()
            .await?;
        ensure!(done.status() == 201, "{}", done.text().await?);
        Ok(bytes)
    }

    /// An image of these layers under `tag`; gives its manifest.
    pub(crate) async fn push_image(&self, tag: &str, layers: &[Value]) -> Result<Vec<u8>> {
        let config = br#"{"architecture":"amd64","os":"linux"}"#;
        self.push_blob(config).await?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": layers,
        });
        self.push_manifest(tag, &manifest).await
    }

    /// Files by their names, as `oras push` does it.
    pub(crate) async fn push_files(&self, tag: &str, files: &[(&str, &[u8])]) -> Result<()> {
        let mut layers = Vec::new();
        for (name, bytes) in files {
            self.push_blob(bytes).await?;
            layers.push(titled(name, bytes));
        }
        self.push_image(tag, &layers).await.map(drop)
    }
}

/// How a manifest tells of `bytes`.
pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// The same, for a file with a name.
pub(crate) fn titled(name: &str, bytes: &[u8]) -> Value {
    let mut layer = descriptor("application/octet-stream", bytes);
    layer["annotations"] = json!({"org.opencontainers.image.title": name});
    layer
}

/// An authority and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) -> Result<()> {
    fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1\n")?;
    for line in [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=lab",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile san",
    ] {
        let output = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .context("openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl {line}: {said}");
    }
    Ok(())
}
