//! An Artifact is applied, arrives, and `kubectl wait` sees it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::operator::start;
use crate::stage::Stage;

/// What is fetched.
const KERNEL: &[u8] = b"MZ: a kernel, as far as this trial goes";

/// A web server that gives the kernel for every path but `/none`; it ends with
/// the trial's process.
fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(read) = stream.try_clone() else {
                continue;
            };
            let mut lines = BufReader::new(read).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.find(|line| line.is_empty());
            let (status, body) = match first.contains("/none") {
                true => ("404 None", b"".as_slice()),
                false => ("200 OK", KERNEL),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            // The operator may have gone.
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body);
        }
    });
    Ok(address)
}

/// `kubectl apply`, `kubectl wait`, and the profile that boots from it is ready; a wrong digest is said
/// with both.
pub(super) fn arrives(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let address = serve()?;
    let server = start(stage, &[])?;
    let digest: String = Sha256::digest(KERNEL)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let artifact = |name: &str, path: &str, digest: &str| {
        format!(
            "apiVersion: reveille.dev/v1alpha1\nkind: Artifact\nmetadata: {{name: {name}}}\n\
             spec: {{files: [{{path: linux, url: \"http://{address}{path}\", sha256: {digest}}}]}}\n"
        )
    };
    let profile = "apiVersion: reveille.dev/v1alpha1\nkind: BootProfile\nmetadata: {name: debian}\n\
                   spec: {linux: {kernel: {artifactRef: {name: debian, path: linux}}}}\n";
    stage.apply(profile)?;
    stage.apply(&artifact("debian", "/linux", &digest))?;
    let wait =
        |what: &str| stage.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", what]);
    wait("artifact/debian")?;
    wait("bootprofile/debian")?;
    let table = stage.kubectl(&["get", "artifacts"])?;
    let row = table.lines().nth(1).context("there is no row")?;
    ensure!(
        row.contains("39 B") && row.contains("100%") && row.contains("True"),
        "{table}"
    );

    let wrong = "a".repeat(64);
    stage.apply(&artifact("wrong", "/linux", &wrong))?;
    stage.kubectl(&[
        "wait",
        "--for=condition=Stalled",
        "--timeout=60s",
        "artifact/wrong",
    ])?;
    let path = "jsonpath={.status.lastError}";
    let error = stage.kubectl(&["get", "artifact", "wrong", "-o", path])?;
    ensure!(
        error.contains(&wrong) && error.contains(&digest),
        "both digests are said: {error}"
    );
    drop(server);
    Ok(vec![format!("an Artifact arrived: {}", row.trim())])
}
