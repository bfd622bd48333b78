//! Programs that people load files with: aria2c by HTTP, in several pieces at once, and the `tftp` of tftp-hpa.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::site::{BOOT, INITRD, KERNEL, Site, is_whole, metric, pattern, said};

/// More than 65535 blocks of 512 bytes: their numbers begin anew.
const LONG: usize = 65_536 * 512 + 1234;

/// Ends of lines as Unix, DOS and old Macs have them, and none at the end.
const TEXT: &[u8] = b"one\ntwo\r\nthree\rfour\n\r\nfive";

/// aria2c: four connections that take a file in ranges, a download that goes on, and one that is not needed.
pub(super) fn aria2c(site: &mut Site) -> Result<Vec<String>> {
    let server = site.serve()?;
    let file = site.folder.join("vmlinuz");
    let url = format!("http://{}/{KERNEL}", BOOT.ip());
    let load = |words: &[&str]| -> Result<()> {
        let mut command = Command::new("aria2c");
        command.args([
            "--no-conf",
            "--quiet",
            "--file-allocation=none",
            "--remote-time=true",
        ]);
        command.arg("--dir").arg(&site.folder).args(words).arg(&url);
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "aria2c {words:?}: {}",
            said(&output)
        );
        is_whole(KERNEL, &fs::read(&file)?)
    };
    load(&[
        "--split=4",
        "--max-connection-per-server=4",
        "--min-split-size=1M",
    ])?;
    let parts = metric(PARTS)?;
    ensure!(parts >= 2, "four connections took {parts} ranges");

    // What somebody else's download left.
    fs::write(&file, &pattern(24 << 20)[..10_000_001])?;
    load(&["--continue=true", "--split=1"])?;
    let more = metric(PARTS)?;
    ensure!(more > parts, "it did not go on where the file ended");

    load(&["--conditional-get=true", "--allow-overwrite=true"])?;
    ensure!(
        metric(UNCHANGED)? == 1,
        "a file that is there was loaded again"
    );
    server.stop()?;
    Ok(vec![format!(
        "aria2c: {parts} ranges by four connections, {} to go on, none for what is there",
        more - parts
    )])
}

/// Ranges of files that were asked for.
const PARTS: &str = r#"reveille_http_requests_total{code="206",kind="other"}"#;
/// Files that had not changed.
const UNCHANGED: &str = r#"reveille_http_requests_total{code="304",kind="other"}"#;

/// tftp-hpa: get and put, as they are and as netascii, over the end of the block numbers, and what is refused.
pub(super) fn tftp_hpa(site: &mut Site) -> Result<Vec<String>> {
    let version = said(&Command::new("tftp").arg("-V").output()?);
    ensure!(version.contains("tftp-hpa"), "another tftp: {version}");
    let tree = site.folder.join("artifacts");
    fs::create_dir(tree.join("reports"))?;
    fs::write(tree.join("long"), pattern(LONG))?;
    fs::write(tree.join("text"), TEXT)?;
    let launch = site.launch()?.with(&["--tftp-uploads", "reports"]);
    let server = launch.start()?;
    let tftp = |mode: &str, words: &[&str]| -> Result<String> {
        let mut command = Command::new("tftp");
        command.args(["-m", mode, &BOOT.ip().to_string(), "-c"]);
        let output = command.args(words).current_dir(&site.folder).output()?;
        Ok(said(&output))
    };
    let get = |mode: &str, name: &str| -> Result<Vec<u8>> {
        let words = tftp(mode, &["get", name, "got"])?;
        fs::read(site.folder.join("got")).with_context(|| words)
    };
    is_whole(INITRD, &get("binary", INITRD)?)?;
    ensure!(
        get("binary", "long")? == pattern(LONG),
        "other bytes of a long file came"
    );
    for (mode, name) in [("binary", "text"), ("ascii", "text")] {
        ensure!(
            get(mode, name)? == TEXT,
            "other bytes of a text came: {mode}"
        );
    }

    fs::write(site.folder.join("image"), pattern(LONG))?;
    fs::write(site.folder.join("note"), TEXT)?;
    for (mode, from, to) in [
        ("binary", "image", "reports/image"),
        ("binary", "note", "reports/note"),
        ("ascii", "note", "reports/note-by-lines"),
    ] {
        let words = tftp(mode, &["put", from, to])?;
        let put = fs::read(tree.join(to)).with_context(|| words)?;
        ensure!(
            put == fs::read(site.folder.join(from))?,
            "other bytes came by {mode}: {to}"
        );
    }
    for (words, why) in [
        (["get", "none", "got"], "Error code 1"),
        (["put", "note", "elsewhere/note"], "Error code 2"),
        (["put", "note", "reports/note"], "Error code 6"),
    ] {
        let refused = tftp("binary", &words)?;
        ensure!(refused.contains(why), "{words:?} is answered {refused}");
    }
    server.stop()?;
    let version = version.split(',').next().unwrap_or_default();
    Ok(vec![format!(
        "{}: get and put, as bytes and as lines, {LONG} bytes over the end of the block numbers",
        version.trim()
    )])
}
