//! The log of the real program: where it goes, how it is turned, and whose boot a line is about.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints know test functions, not what they call"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Of looks for something, 10 ms apart.
const LOOKS: usize = 2000;

const MANIFESTS: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: debian}
spec: {default: true, linux: {kernel: {path: linux}}}
";

/// The program, with its log in a file.
struct Service {
    folder: TempDir,
    child: Child,
}

#[test]
fn a_log_that_was_moved_away_goes_on_in_a_new_file() {
    let service = Service::start("json");
    service.until(|text| text.contains("\"listening\""));
    let old = service.folder.path().join("log.1");
    fs::rename(service.log(), &old).unwrap();
    service.signal(Signal::SIGHUP);
    service.until(|text| text.contains("the log is opened anew"));
    assert!(!fs::read_to_string(&old).unwrap().contains("opened anew"));
    for line in fs::read_to_string(service.log()).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string(), "{line}");
    }
    let text = service.end();
    assert!(text.contains("\"stopped\""), "the last words: {text}");
}

#[test]
fn levels_are_shown_and_changed_while_it_runs() {
    let service = Service::start("text");
    service.until(|text| text.contains("listening"));
    assert_eq!(service.good(&["log-level"]), "info\n");
    assert_eq!(
        service.good(&["log-level", "http=debug", "tftp=off"]),
        "info,reveille::http=debug,reveille::tftp=off\n"
    );
    service.until(|text| text.contains("log levels changed"));
    let wrong = service.run(&["log-level", "dchp=debug"]);
    assert_eq!(wrong.status.code(), Some(1));
    let words = String::from_utf8(wrong.stderr).unwrap();
    assert!(words.contains("bad-level: `dchp` is no part"), "{words}");
    // Nothing below an error is said from now on, and then everything again.
    assert_eq!(service.good(&["log-level", "error"]).lines().count(), 1);
    let before = fs::read_to_string(service.log()).unwrap();
    service.signal(Signal::SIGHUP);
    assert_eq!(service.good(&["log-level", "--reset"]), "info\n");
    service.until(|text| text.matches("log levels changed").count() >= 2);
    let after = fs::read_to_string(service.log()).unwrap();
    assert!(!after[before.len()..].contains("SIGHUP"), "{after}");
}

impl Service {
    fn start(format: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["boot", "tree", "loaders"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("boot/all.yaml"), MANIFESTS).unwrap();
        let child = program()
            .arg("serve")
            .arg(path("boot"))
            .arg("--state")
            .arg(path("state"))
            .arg("--artifacts")
            .arg(path("tree"))
            .arg("--loaders")
            .arg(path("loaders"))
            .args(["--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0"])
            .args(["--admin", "127.0.0.1:0", "--log-format", format])
            .arg("--log-to")
            .arg(path("log"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, child }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn until(&self, is_there: impl Fn(&str) -> bool) {
        for _ in 0..LOOKS {
            if is_there(&fs::read_to_string(self.log()).unwrap_or_default()) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("not in the log: {:?}", fs::read_to_string(self.log()));
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = program();
        command.args(words);
        command.arg("--state").arg(self.folder.path().join("state"));
        command.output().unwrap()
    }

    fn good(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends it; its log.
    fn end(mut self) -> String {
        self.signal(Signal::SIGTERM);
        assert!(self.child.wait().unwrap().success());
        fs::read_to_string(self.log()).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reveille"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"REVEILLE_") {
            command.env_remove(name);
        }
    }
    command
}
