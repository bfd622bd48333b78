//! Signatures as gpg and minisign make them. `fixtures/signatures/make.sh`
//! made the files; where both programs are there, fresh ones are tried too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use reveille::artifact::signature::{PublisherKey, Sums, Untrusted};
use reveille::clock::{self, Millis};

use super::support::{fixture, has, run};

/// The first day of 2027: after all fixtures were made.
const NOW: Millis = Millis::from_secs(1_798_761_600);
/// The third day of 2020: keys and signatures of then were still good.
const THEN: Millis = Millis::from_secs(1_577_923_200 + 86_400);

fn path(name: &str) -> PathBuf {
    fixture("signatures").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap()
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

fn pgp(name: &str) -> PublisherKey {
    PublisherKey::openpgp(&text(name)).unwrap()
}

fn minisign(name: &str) -> PublisherKey {
    PublisherKey::minisign(&text(name)).unwrap()
}

/// `good`, or the name of the refusal.
fn verdict(key: &PublisherKey, file: &Path, signature: &[u8], now: Millis) -> &'static str {
    match key.verify_file(file, signature, now) {
        Ok(_) => "good",
        Err(error) => error.as_str(),
    }
}

#[test]
fn openpgp_signatures_are_believed_or_refused_by_name() {
    for (key, signature, now, want) in [
        // A subkey signed; armored and not.
        ("good.pub", "data.bin.asc", NOW, "good"),
        ("good.pub", "data.bin.sig", NOW, "good"),
        // RSA, over text.
        ("rsa.pub", "data.bin.rsa.asc", NOW, "good"),
        ("rsa.pub", "data.bin.asc", NOW, "wrong-key"),
        ("rsa.pub", "data.bin.sha1.asc", NOW, "weak-hash"),
        ("rsa.pub", "data.bin.md5.asc", NOW, "weak-hash"),
        ("old.pub", "data.bin.old.asc", THEN, "good"),
        ("old.pub", "data.bin.old.asc", NOW, "key-expired"),
        ("ever.pub", "data.bin.ever.asc", THEN, "good"),
        ("ever.pub", "data.bin.ever.asc", NOW, "signature-expired"),
        ("gone.pub", "data.bin.gone.asc", NOW, "key-revoked"),
        ("good.pub", "data.bin.asc", THEN, "signature-from-future"),
        // Over other bytes.
        ("good.pub", "SHA256SUMS.asc", NOW, "tampered"),
        ("good.pub", "data.bin", NOW, "signature-unreadable"),
        ("good.pub", "good.pub", NOW, "signature-unreadable"),
    ] {
        let verdict = verdict(&pgp(key), &path("data.bin"), &bytes(signature), now);
        assert_eq!(verdict, want, "{key} {signature}");
    }
    let error = pgp("rsa.pub").verify_file(&path("data.bin"), &bytes("data.bin.sha1.asc"), NOW);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("SHA1") && error.contains("can be forged"),
        "{error}"
    );
    let signer = pgp("good.pub").verify_file(&path("data.bin"), &bytes("data.bin.asc"), NOW);
    let signer = signer.unwrap();
    assert_eq!(signer.key.len(), 40, "{}", signer.key);
    assert!(signer.made.unwrap() > 1_700_000_000);
}

#[test]
fn keys_come_as_armour_as_several_and_as_base64() {
    let both = text("rsa.pub") + &text("good.pub");
    let key = PublisherKey::openpgp(&both).unwrap();
    assert_eq!(
        verdict(&key, &path("data.bin"), &bytes("data.bin.asc"), NOW),
        "good"
    );
    assert_eq!(
        verdict(&key, &path("data.bin"), &bytes("data.bin.rsa.asc"), NOW),
        "good"
    );
    // The armour's own lines are base64, followed by a checksum.
    let armour = text("good.pub");
    let body: Vec<&str> = armour
        .lines()
        .filter(|line| !line.starts_with("-----") && !line.starts_with('=') && !line.is_empty())
        .collect();
    let key = PublisherKey::openpgp(&body.join("\n")).unwrap();
    assert_eq!(
        verdict(&key, &path("data.bin"), &bytes("data.bin.asc"), NOW),
        "good"
    );
    // Several signatures in one file, as releases of distributions have.
    let many = [bytes("data.bin.sig"), Vec::new()].concat();
    assert_eq!(verdict(&key, &path("data.bin"), &many, NOW), "good");
    for bad in ["", "not a key", &text("data.bin.asc")] {
        let error = PublisherKey::openpgp(bad).unwrap_err();
        assert_eq!(error.as_str(), "key-unreadable", "{bad}");
    }
}

#[test]
fn changed_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data.bin");
    let mut data = bytes("data.bin");
    *data.first_mut().unwrap() ^= 1;
    fs::write(&file, &data).unwrap();
    let good = pgp("good.pub");
    assert_eq!(
        verdict(&good, &file, &bytes("data.bin.asc"), NOW),
        "tampered"
    );
    for signature in ["data.bin.minisig", "data.bin.legacy.minisig"] {
        let key = minisign("minisign.pub");
        assert_eq!(
            verdict(&key, &file, &bytes(signature), NOW),
            "tampered",
            "{signature}"
        );
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(
        verdict(&good, &file, &bytes("data.bin.asc"), NOW),
        "read-failed"
    );
}

#[test]
fn minisign_signatures_are_believed_or_refused_by_name() {
    for (key, signature, want) in [
        ("minisign.pub", "data.bin.minisig", "good"),
        ("minisign.pub", "data.bin.legacy.minisig", "good"),
        ("other.minisign.pub", "data.bin.minisig", "wrong-key"),
        ("minisign.pub", "SHA256SUMS.minisig", "tampered"),
        ("minisign.pub", "data.bin.asc", "signature-unreadable"),
        ("minisign.pub", "data.bin", "signature-unreadable"),
    ] {
        let verdict = verdict(&minisign(key), &path("data.bin"), &bytes(signature), NOW);
        assert_eq!(verdict, want, "{key} {signature}");
    }
    // The line alone, as people copy it.
    let line = text("minisign.pub");
    let line = line.lines().last().unwrap();
    let key = PublisherKey::minisign(line).unwrap();
    assert_eq!(
        verdict(&key, &path("data.bin"), &bytes("data.bin.minisig"), NOW),
        "good"
    );
    // The comment that is signed with it cannot be changed.
    let changed =
        text("data.bin.minisig").replace("trusted comment: data", "trusted comment: dada");
    assert_eq!(
        verdict(&key, &path("data.bin"), changed.as_bytes(), NOW),
        "tampered"
    );
    assert!(PublisherKey::minisign("RWnonsense").is_err());
}

#[test]
fn lists_are_read_only_where_they_are_signed() {
    let digest = |sums: &Sums, name: &str| sums.find(name).unwrap().sha256.unwrap();
    let want = text("SHA256SUMS").split_once(' ').unwrap().0.to_owned();
    let good = pgp("good.pub");
    let list = bytes("SHA256SUMS");
    let (_, sums) = good
        .verify_list(&list, Some(&bytes("SHA256SUMS.asc")), NOW)
        .unwrap();
    assert_eq!(digest(&sums, "pool/data.bin"), want);
    let (_, sums) = good
        .verify_list(&bytes("SHA256SUMS.clear"), None, NOW)
        .unwrap();
    assert_eq!(digest(&sums, "data.bin"), want);
    let (_, sums) = minisign("minisign.pub")
        .verify_list(&list, Some(&bytes("SHA256SUMS.minisig")), NOW)
        .unwrap();
    assert_eq!(digest(&sums, "data.bin"), want);
    let refused =
        |list: &[u8], signature: Option<&[u8]>| match good.verify_list(list, signature, NOW) {
            Ok(_) => "good",
            Err(error) => error.as_str(),
        };
    assert_eq!(refused(&list, None), "list-unsigned");
    // Nothing may be slipped in around what is signed.
    let clear = text("SHA256SUMS.clear");
    let evil = format!("{}  evil\n", "a".repeat(64));
    assert_ne!(refused(format!("{evil}{clear}").as_bytes(), None), "good");
    assert_ne!(refused(format!("{clear}{evil}").as_bytes(), None), "good");
    let inside = clear.replacen("\n\n", &format!("\n\n{evil}"), 1);
    assert_eq!(refused(inside.as_bytes(), None), "tampered");
    let mut changed = list;
    *changed.first_mut().unwrap() ^= 1;
    assert_eq!(
        refused(&changed, Some(&bytes("SHA256SUMS.asc"))),
        "tampered"
    );
}

#[test]
fn fresh_signatures_of_the_real_programs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kernel");
    fs::write(&file, vec![42; 3 << 20]).unwrap();
    if has("gpg") {
        let home = dir.path().join("gnupg");
        fs::create_dir(&home).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let gpg = |arguments: &[&str]| {
            let mut all = vec!["--homedir", "gnupg", "--batch", "--passphrase", ""];
            all.extend(["--pinentry-mode", "loopback", "--yes"]);
            all.extend(arguments);
            run(dir.path(), "gpg", &all);
        };
        gpg(&[
            "--quick-gen-key",
            "Fresh <fresh@example.net>",
            "default",
            "default",
            "1d",
        ]);
        gpg(&[
            "--armor",
            "--export",
            "-o",
            "fresh.pub",
            "fresh@example.net",
        ]);
        gpg(&["--armor", "--detach-sign", "-o", "kernel.asc", "kernel"]);
        let key = fs::read_to_string(dir.path().join("fresh.pub")).unwrap();
        let key = PublisherKey::openpgp(&key).unwrap();
        let signature = fs::read(dir.path().join("kernel.asc")).unwrap();
        assert_eq!(verdict(&key, &file, &signature, clock::now()), "good");
        let later = clock::now().plus_secs(3 * 86_400);
        assert_eq!(verdict(&key, &file, &signature, later), "key-expired");
        // The agent that gpg started.
        let _ = Command::new("gpgconf")
            .args(["--homedir", "gnupg", "--kill", "all"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .status();
    }
    if Command::new("minisign").arg("-v").output().is_ok() {
        let key = ["-G", "-f", "-W", "-p", "m.pub", "-s", "m.key"];
        run(dir.path(), "minisign", &key);
        run(
            dir.path(),
            "minisign",
            &["-S", "-s", "m.key", "-m", "kernel", "-x", "kernel.minisig"],
        );
        let key = fs::read_to_string(dir.path().join("m.pub")).unwrap();
        let key = PublisherKey::minisign(&key).unwrap();
        let signature = fs::read(dir.path().join("kernel.minisig")).unwrap();
        assert_eq!(verdict(&key, &file, &signature, clock::now()), "good");
    }
}

fn cases() -> u32 {
    let cases = std::env::var("REVEILLE_CASES").ok();
    cases.and_then(|text| text.parse().ok()).unwrap_or(100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// No bytes in the place of a key, a signature or a list do harm.
    #[test]
    fn any_bytes_are_refused_or_harmless(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        let lossy = String::from_utf8_lossy(&noise);
        let _ = PublisherKey::openpgp(&lossy);
        let _ = PublisherKey::minisign(&lossy);
        let _ = Sums::read(&noise);
        for key in [pgp("good.pub"), minisign("minisign.pub")] {
            let verdict = key.verify_file(&path("data.bin"), &noise, NOW);
            prop_assert!(verdict.is_err());
            prop_assert!(key.verify_list(&noise, None, NOW).is_err());
        }
    }

    /// A signature that was damaged is refused, or is the same signature.
    #[test]
    fn damaged_signatures_do_no_harm(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut signature = bytes("data.bin.sig");
        let slot = at.index(signature.len());
        *signature.get_mut(slot).unwrap() = byte;
        let result: Result<_, Untrusted> = pgp("good.pub").verify_file(&path("data.bin"), &signature, NOW);
        if let Ok(signer) = result {
            prop_assert_eq!(signer.key.len(), 40);
        }
        // Other bytes than were signed are never believed, whatever the signature.
        prop_assert!(pgp("good.pub").verify_file(&path("SHA256SUMS"), &signature, NOW).is_err());
    }

    /// What `sha256sum` writes is read back, whatever the names.
    #[test]
    fn lists_are_read_as_they_are_written(names in proptest::collection::btree_set("[a-z0-9 ()=.ä-]{1,12}", 1..9)) {
        let names: Vec<String> = names.into_iter().filter(|name| !name.trim().is_empty() && name.trim_end() == name && !name.starts_with([' ', '*'])).collect();
        prop_assume!(!names.is_empty());
        let hex = |at: usize| format!("{at:064x}");
        let list: String = names.iter().enumerate().map(|(at, name)| format!("{}  {name}\n", hex(at))).collect();
        let sums = Sums::read(list.as_bytes()).unwrap();
        for (at, name) in names.iter().enumerate().filter(|(_, name)| *name != ".") {
            prop_assert_eq!(sums.find(name).unwrap().sha256, Some(hex(at)));
        }
    }
}
