//! `reveille check --online`: what is not there is told, and nothing is fetched.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::program;
use crate::registry::titled;
use crate::web::{send, serve};

#[test]
fn says_which_urls_and_images_are_not_there_and_fetches_none() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": titled("config", b"{}"),
        "layers": [titled("linux", b"kernel")],
    });
    let manifest = manifest.to_string().into_bytes();
    let address = serve(move |asked, stream| {
        let is_secret = asked.path == "/secret";
        let known = asked.headers.get("authorization").map(String::as_str);
        match asked.path.as_str() {
            _ if is_secret && known != Some("Bearer s3cret") => send(stream, "401 Who", "", 0, b""),
            "/linux" | "/mirror" | "/linux.sig" | "/secret" => send(stream, "200 OK", "", 9, b""),
            // Here only the first byte may be asked for.
            "/no-head" if !asked.headers.contains_key("range") => {
                send(stream, "405 No", "", 0, b"")
            }
            "/no-head" => {
                count.fetch_add(1, Ordering::SeqCst);
                let range = "Content-Range: bytes 0-0/9\r\n";
                send(stream, "206 Partial", range, 1, b"x");
            }
            "/v2/boot/test/manifests/v1" => {
                let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
                send(stream, "200 OK", kind, manifest.len(), &manifest);
            }
            _ => send(stream, "404 None", "", 0, b""),
        }
    });
    let address = address.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("secrets/mirror")).unwrap();
    fs::write(at("secrets/mirror/token"), "s3cret\n").unwrap();
    fs::create_dir(at("boot")).unwrap();
    fs::write(at("boot/a file"), "bytes").unwrap();
    let wrong = "a".repeat(64);
    let artifact = |name: &str, spec: String| {
        format!(
            "apiVersion: reveille.dev/v1alpha1\nkind: Artifact\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    let file =
        |path: &str| format!("{{files: [{{path: linux, url: \"http://{address}{path}\"}}]}}");
    let good = [
        artifact("good", file("/linux")),
        artifact("no-head", file("/no-head")),
        artifact(
            "secret",
            file("/secret").replace("}]}", "}], secretRef: {name: mirror}}"),
        ),
        artifact(
            "image",
            format!("{{oci: {{image: \"{address}/boot/test:v1\"}}}}"),
        ),
        artifact(
            "host",
            format!(
                "{{files: [{{path: x, url: \"file://{}/boot/a%20file\"}}]}}",
                folder.path().display()
            ),
        ),
    ];
    fs::write(at("boot/good.yaml"), good.concat()).unwrap();
    let check = |folder: &str| {
        let plain = address.to_string();
        let mut command = program();
        command.args([
            "check",
            "--online",
            "--artifact-plain-registry",
            &plain,
            "--secrets",
        ]);
        let output = command.arg(at("secrets")).arg(at(folder)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = check("boot");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("5 of 5 places are there\n"), "{text}");
    assert_eq!(sent.load(Ordering::SeqCst), 1);

    fs::create_dir(at("bad")).unwrap();
    let bad = [
        artifact("gone", file("/gone")),
        artifact(
            "half",
            format!(
                "{{files: [{{path: linux, url: \"http://{address}/linux\", sha256: {wrong}, mirrors: [\"http://{address}/away\"]}}]}}"
            ),
        ),
        artifact(
            "tag",
            format!("{{oci: {{image: \"{address}/boot/test:v2\"}}}}"),
        ),
        artifact(
            "closed",
            "{files: [{path: linux, url: \"http://127.0.0.1:1/linux\"}]}".to_owned(),
        ),
        artifact(
            "none",
            file("/secret").replace("}]}", "}], secretRef: {name: none}}"),
        ),
    ];
    fs::write(at("bad/bad.yaml"), bad.concat()).unwrap();
    let (code, text) = check("bad");
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "default/closed spec.files[0]: http://127.0.0.1:1/linux: ".to_owned(),
        format!("default/gone spec.files[0]: http://{address}/gone answers 404"),
        format!("default/half spec.files[0]: http://{address}/away answers 404"),
        "default/none spec.files[0]: there is no Secret none".to_owned(),
        "default/tag spec.oci.image: ".to_owned(),
    ] {
        assert!(
            text.lines().any(|it| it.starts_with(&line)),
            "{line} is not in {text}"
        );
    }
    assert!(text.ends_with("1 of 6 places are there\n"), "{text}");
}
