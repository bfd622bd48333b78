//! The admin socket and the commands over it: the real program, on loopback.
//!
//! Needs no root: the ports are the kernel's choice, and DHCP, which has no
//! other port than 67, is what the program says is wrong.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints know test functions, not what they call"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Of tries to reach a service that starts, 10 ms apart.
const TRIES: usize = 2000;

const MANIFESTS: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  cidr: 192.0.2.0/24
  interface: reveille-none0
  pools: [{start: 192.0.2.100, end: 192.0.2.149}]
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: debian}
spec:
  default: true
  linux: {kernel: {path: linux}}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: node-7}
spec:
  interfaces: [{mac: \"52:54:00:12:34:56\", ip: 192.0.2.7}]
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: printer}
spec:
  interfaces: [{mac: \"52:54:00:12:34:57\"}]
  boot: {policy: Local}
";

#[test]
fn the_tables_show_what_is_served() {
    let service = Service::start();
    let machines = service.good(&["get", "machines"]);
    assert_eq!(
        machines,
        "\
NAME     PROFILE  POLICY  PHASE  STAGE  IP         LAST-BOOT  AGE
node-7   debian   Always  Ready  -      192.0.2.7  -          -
printer  debian   Local   Local  -      -          -          -
"
    );
    assert_eq!(
        service.good(&["get", "subnet"]),
        "\
NAME  MODE    CIDR          INTERFACE       FREE  USED  READY
lab   Server  192.0.2.0/24  reveille-none0  50    0     False
"
    );
    assert_eq!(
        service.good(&["get", "profiles", "-o", "wide"]),
        "\
NAME    SOURCE  DEFAULT  MACHINES  BOOTS  READY  REASON
debian  linux   true     2         0      False  linux not in the artifact tree
"
    );
    let one = service.good(&["get", "machines", "52-54-00-12-34-57", "-o", "json"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(
        (&one["name"], &one["local"]),
        (&"printer".into(), &"policy-local".into())
    );
    let yaml = service.good(&["get", "profile", "debian", "-o", "yaml"]);
    assert!(
        yaml.starts_with("namespace: default\nname: debian\n"),
        "{yaml}"
    );
    let none = service.run(&["get", "boots"]);
    assert!(none.status.success() && none.stdout.is_empty());
    assert!(text(&none.stderr).contains("no machine booted"), "{none:?}");
    let wrong = service.run(&["get", "machines", "node-8"]);
    assert!(!wrong.status.success());
    assert!(
        text(&wrong.stderr).contains("there is no Machine node-8"),
        "{wrong:?}"
    );
}

#[test]
fn the_status_names_what_is_wrong_and_fails() {
    let service = Service::start();
    let status = service.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    let words = text(&status.stdout);
    assert!(words.contains(" is NOT READY, up "), "{words}");
    assert!(
        words.contains(": 1 Subnet, 1 BootProfile, 2 Machines"),
        "{words}"
    );
    assert!(words.contains("1 Ready, 1 Local"), "{words}");
    let wrong = words.split("what is wrong\n").nth(1).unwrap();
    assert!(wrong.contains("dhcp@default/lab: "), "{wrong}");
    assert!(wrong.contains("reveille-none0"), "{wrong}");
    assert!(
        wrong.contains("warning: BootProfile default/debian: linux is not in"),
        "{wrong}"
    );
    let json = service.run(&["status", "-o", "json"]);
    assert_eq!(json.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["pid"], service.child.id());
}

#[test]
fn nobody_waits_for_approval_where_discovery_is_off() {
    let service = Service::start();
    let refused = service.run(&["approve", "52:54:00:12:34:56"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        text(&refused.stderr),
        "reveille: not-approved: no machine 52:54:00:12:34:56 was discovered; Subnets with `unknownMachines: Discover` discover machines, and one of the manifests is approved there\n"
    );
}

#[test]
fn the_log_says_that_nothing_was_seen_and_of_whom_there_is_no_word() {
    let service = Service::start();
    let nothing = service.run(&["log", "node-7", "--since", "10m"]);
    assert!(nothing.status.success() && nothing.stdout.is_empty());
    assert_eq!(
        text(&nothing.stderr),
        "nothing was seen of node-7 in that time\n"
    );
    let wrong = service.run(&["log", "node-8"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        text(&wrong.stderr).contains("did you mean `node-7`?"),
        "{wrong:?}"
    );
}

#[test]
fn a_stop_takes_the_socket_along_and_a_kill_leaves_one_that_is_replaced() {
    let mut service = Service::start();
    assert_eq!(
        fs::metadata(service.socket()).unwrap().permissions().mode() & 0o777,
        0o660
    );
    service.child.kill().unwrap();
    service.child.wait().unwrap();
    assert!(service.socket().exists());
    let refused = service.run(&["status"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("nobody serves the admin socket"),
        "{refused:?}"
    );
    let mut service = service.again();
    assert_eq!(service.run(&["status"]).status.code(), Some(1));
    service.stop();
    assert!(!service.socket().exists());
    let absent = service.run(&["get", "machines"]);
    assert!(
        text(&absent.stderr).contains("there is no admin socket at"),
        "{absent:?}"
    );
    assert!(text(&absent.stderr).contains("--state"), "{absent:?}");
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("s".repeat(108));
    let mut command = serve(&folder);
    let refused = command.arg("--admin-socket").arg(&long).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = text(&refused.stderr);
    assert!(words.contains("a socket's may have 107"), "{words}");
}

#[test]
fn the_log_is_followed_line_by_line_until_the_service_ends() {
    let stage = Stage::set(&["log", "node-7", "--follow"]);
    let (mut service, request, mut follower) = stage.begin();
    assert!(
        request.starts_with("GET /log?follow=1&machine=node%2D7 "),
        "{request}"
    );
    let mut shown = BufReader::new(follower.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        shown.read_line(&mut line).unwrap();
        line
    };
    chunk(&mut service, &story("node-7  +0.0 s  offer"));
    assert_eq!(next(), "-- 2023-11-14\n");
    assert_eq!(next(), "22:13:20 node-7  +0.0 s  offer\n");
    // That the service lives is no news.
    chunk(&mut service, "\n");
    chunk(&mut service, "{\"lost\":3}\n");
    assert!(next().starts_with("-- 3 lines of all machines were lost"));
    service.write_all(b"0\r\n\r\n").unwrap();
    drop(service);
    assert_eq!(next(), "");
    let ended = follower.wait_with_output().unwrap();
    assert!(ended.status.success());
    assert_eq!(text(&ended.stderr), "the service stopped\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_log_without_an_error() {
    let stage = Stage::set(&["log", "--follow", "-o", "json"]);
    let (mut service, _, mut follower) = stage.begin();
    drop(follower.stdout.take());
    chunk(&mut service, &story("node-7  +0.0 s  offer"));
    let ended = follower.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(text(&ended.stderr), "");
}

#[test]
fn an_answer_that_breaks_off_is_an_error() {
    let stage = Stage::set(&["log", "--follow"]);
    let (mut service, _, follower) = stage.begin();
    chunk(&mut service, &story("node-7  +0.0 s  offer"));
    drop(service);
    let ended = follower.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        text(&ended.stderr).contains("broke its answer off"),
        "{ended:?}"
    );
}

#[test]
fn a_connection_that_breaks_off_is_an_error() {
    let stage = Stage::set(&["get", "machines"]);
    let (stream, _) = stage.listener.accept().unwrap();
    drop(stream);
    let ended = stage.child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        text(&ended.stderr).contains("broke the connection off"),
        "{ended:?}"
    );
}

// === the service under test ===

struct Service {
    folder: TempDir,
    child: Child,
}

/// `reveille serve`, with all that it needs in `folder`.
fn serve(folder: &TempDir) -> Command {
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("boot")).unwrap();
    fs::write(at("boot/all.yaml"), MANIFESTS).unwrap();
    let mut command = program();
    command
        .current_dir(folder.path())
        .args([
            "serve",
            "boot",
            "--state",
            "state",
            "--artifacts",
            "artifacts",
        ])
        .args(["--loaders", "loaders", "--http", "127.0.0.1:0"])
        .args(["--tftp", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command
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

impl Service {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// Starts and waits until it says what it waits for: the interface.
    fn start_in(folder: TempDir) -> Self {
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = serve(&folder).stderr(log).spawn().unwrap();
        let service = Self { folder, child };
        for _ in 0..TRIES {
            let status = service.run(&["status"]);
            if text(&status.stdout).contains("reveille-none0") {
                return service;
            }
            sleep(Duration::from_millis(10));
        }
        let log = fs::read_to_string(service.folder.path().join("log")).unwrap();
        panic!("it does not start: {log}");
    }

    /// Another one in the same folder, once this one has ended.
    fn again(mut self) -> Self {
        let elsewhere = tempfile::tempdir().unwrap();
        let folder = std::mem::replace(&mut self.folder, elsewhere);
        Self::start_in(folder)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("state/admin.sock")
    }

    fn run(&self, words: &[&str]) -> Output {
        let state = self.folder.path().join("state");
        program()
            .args(words)
            .arg("--state")
            .arg(state)
            .output()
            .unwrap()
    }

    /// What a command that succeeds prints.
    fn good(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    }

    fn stop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === a service that says what the test wants ===

struct Stage {
    _folder: TempDir,
    listener: UnixListener,
    child: Child,
}

impl Stage {
    /// Runs a command against a socket of ours.
    fn set(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let child = program()
            .args(words)
            .arg("--socket")
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            _folder: folder,
            listener,
            child,
        }
    }

    /// The connection, after the head of an answer that goes on, and what was asked.
    fn begin(self) -> (UnixStream, String, Child) {
        let (mut stream, _) = self.listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).unwrap();
        (stream, text(&request), self.child)
    }
}

fn chunk(service: &mut UnixStream, line: &str) {
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    service.write_all(chunk.as_bytes()).unwrap();
}

fn story(text: &str) -> String {
    let line = serde_json::json!({
        "at": 1_700_000_000_000_u64, "mac": "52:54:00:12:34:56", "machine": "node-7",
        "boot": null, "text": text,
    });
    format!("{line}\n")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
