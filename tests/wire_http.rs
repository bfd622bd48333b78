//! The HTTP doors over real sockets: hand-written requests on loopback.
//!
//! Needs no root; ports are the kernel's choice.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints know test functions, not what they call; one test times an answer"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus::TextEncoder;
use reveille::artifact::secrets::Secrets;
use reveille::boot::{MacAddress, Transport};
use reveille::clock;
use reveille::events;
use reveille::files::{ArtifactPath, Roots};
use reveille::governor::{Governor, GovernorMetrics};
use reveille::http::release::RELEASES;
use reveille::http::{
    AdminConfig, AdminServer, AdminSocket, AnswerFiles, HttpConfig, HttpMetrics, HttpServer,
    Limits, Shown,
};
use reveille::lease::LeaseIndex;
use reveille::packets::Ring;
use reveille::script::BootKey;
use reveille::snapshot::{self, Acquaintances as _, Publisher, Settings, Snapshot, compile};
use reveille::standalone::read_text;
use reveille::status::Table;
use reveille::telemetry::Meter;
use reveille::timeline::{
    BootEvent, BootId, Chronicle, Fact, Introductions, PhoneState, Purpose, Release, StoryLine,
    Transfer,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest that anything here may take; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0, 0, 1]);

// What the seed's manual has: 29 bytes of text, changed at 0x68e664ee.
const HELLO: &str = "This is a test file for http\n";
const HELLO_TAG: &str = "\"68e664ee-1d\"";
const HELLO_DATE: &str = "Wed, 08 Oct 2025 13:19:42 GMT";

#[test]
fn a_file_comes_with_the_headers_that_nginx_sends() {
    let server = Server::start();
    let reply = server.get("/hello.txt");
    assert_eq!((reply.status, reply.text()), (200, HELLO));
    let names: BTreeSet<_> = reply
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    // Title case throughout: some small clients look for just these bytes.
    let want = BTreeSet::from([
        "Server",
        "Date",
        "Content-Type",
        "Content-Length",
        "Last-Modified",
        "Connection",
        "Etag",
        "Accept-Ranges",
    ]);
    assert_eq!(names, want);
    for (name, value) in [
        ("server", "reveille"),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "29"),
        ("last-modified", HELLO_DATE),
        ("connection", "keep-alive"),
        ("etag", HELLO_TAG),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
}

#[test]
fn firmware_asks_head_then_get_on_one_connection() {
    let server = Server::start();
    let mut client = server.connect();
    let head = client.ask("HEAD /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("29"))
    );
    assert!(head.body.is_empty());
    let get = client.ask("GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((get.status, get.text()), (200, HELLO));
    let folder = client.ask("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_ne!(folder.header("content-length"), Some("0"));
    let part = client.ask("HEAD /hello.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!(
        (part.status, part.header("content-length")),
        (200, Some("29"))
    );
    let again = client.ask("GET /hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(again.header("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
}

#[test]
fn conditions_and_ranges_work_on_the_wire() {
    let server = Server::start();
    let mut client = server.connect();
    let mut ask = |headers: &str| {
        client.ask(&format!(
            "GET /hello.txt HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
        ))
    };
    let part = ask("Range: bytes=5-6\r\n");
    assert_eq!((part.status, part.text()), (206, "is"));
    assert_eq!(part.header("content-range"), Some("bytes 5-6/29"));
    assert_eq!(part.header("content-length"), Some("2"));
    assert_eq!(part.header("etag"), Some(HELLO_TAG));
    for nonsense in [
        "bytes=u-u",
        "bytes=-2147483648--2147483137",
        "bytes=0-0,2-2",
    ] {
        let whole = ask(&format!("Range: {nonsense}\r\n"));
        assert_eq!((whole.status, whole.text()), (200, HELLO), "{nonsense}");
    }
    let lines = ask("Range: bytes=0-0\r\nRange: bytes=2-2\r\n");
    assert_eq!(lines.status, 200);
    let behind = ask("Range: bytes=29-\r\n");
    assert_eq!((behind.status, behind.text()), (416, "range-behind-end\n"));
    assert_eq!(behind.header("content-range"), Some("bytes */29"));
    for (if_range, status) in [(HELLO_TAG, 206), (HELLO_DATE, 206), ("\"0-1d\"", 200)] {
        let reply = ask(&format!("Range: bytes=0-0\r\nIf-Range: {if_range}\r\n"));
        assert_eq!(reply.status, status, "{if_range}");
    }
    for headers in [
        format!("If-None-Match: {HELLO_TAG}\r\n"),
        format!("If-None-Match: \"a\"\r\nIf-None-Match: W/{HELLO_TAG}\r\n"),
        format!("If-Modified-Since: {HELLO_DATE}\r\n"),
    ] {
        let reply = ask(&headers);
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{headers}");
        assert_eq!(reply.header("etag"), Some(HELLO_TAG));
        assert_eq!(reply.header("content-length"), None);
    }
    let other = ask("If-Match: \"other\"\r\n");
    assert_eq!(
        (other.status, other.text()),
        (412, "file-is-another-version\n")
    );
}

#[test]
fn files_past_four_gibibytes_have_ends() {
    let server = Server::start();
    let path = server.tree().join("big.img");
    let mut file = File::create(&path).unwrap();
    file.set_len(5 << 30).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(-3)).unwrap();
    file.write_all(b"end").unwrap();
    let mut client = server.connect();
    let head = client.ask("HEAD /big.img HTTP/1.1\r\n\r\n");
    assert_eq!(head.header("content-length"), Some("5368709120"));
    assert_eq!(head.header("content-type"), Some("application/vnd.efi-img"));
    let end = client.ask("GET /big.img HTTP/1.1\r\nRange: bytes=5368709115-\r\n\r\n");
    assert_eq!((end.status, &end.body[..]), (206, &b"\0\0end"[..]));
    let end = client.ask("GET /big.img HTTP/1.1\r\nRange: bytes=-3\r\n\r\n");
    assert_eq!(
        end.header("content-range"),
        Some("bytes 5368709117-5368709119/5368709120")
    );
}

#[test]
fn paths_are_taken_as_firmware_sends_them() {
    let server = Server::start();
    std::fs::create_dir(server.tree().join("ü")).unwrap();
    std::fs::write(server.tree().join("ü/große datei.txt"), "ja").unwrap();
    for path in [
        "/ü/große%20datei.txt",
        "/%C3%BC/gro%C3%9Fe%20datei.txt",
        "//%C3%BC//./gro%C3%9Fe%20datei.txt",
        "/%C3%BC%2Fgro%C3%9Fe%20datei.txt",
        "/ü/große%20datei.txt?time=now",
        "http://anything.example:99/ü/große%20datei.txt",
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.text()), (200, "ja"), "{path}");
    }
    assert_eq!(server.get("//hello.txt").status, 200);
}

#[test]
fn nothing_leads_out_of_the_root() {
    let server = Server::start();
    std::os::unix::fs::symlink("../secret", server.tree().join("out")).unwrap();
    for (path, status, reason) in [
        ("/../secret", 400, "path-escapes-root\n"),
        ("/%2e%2e/secret", 400, "path-escapes-root\n"),
        ("/..%2fsecret", 400, "path-escapes-root\n"),
        ("/a/..%2F..%2Fsecret", 400, "path-escapes-root\n"),
        ("//../../secret", 400, "path-escapes-root\n"),
        ("/hello.txt%00.efi", 400, "path-has-control-characters\n"),
        ("/hello%zz", 400, "path-has-bad-percent-encoding\n"),
        ("/hello%ff", 400, "path-is-not-utf-8\n"),
        ("/%252e%252e/secret", 404, "not-found\n"),
        ("/..\\secret", 404, "not-found\n"),
        ("/out", 403, "not-readable\n"),
        ("/missing", 404, "not-found\n"),
        ("/hello.txt/x", 404, "not-found\n"),
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.text()), (status, reason), "{path}");
        assert_eq!(
            reply.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let long = server.get(&format!("/{}", "a".repeat(2000)));
    assert_eq!((long.status, long.text()), (400, "path-too-long\n"));
}

#[test]
fn any_host_and_any_http_1_will_do() {
    let server = Server::start();
    for head in [
        "GET /hello.txt HTTP/1.1\r\n\r\n",
        "GET /hello.txt HTTP/1.1\r\nHost: some.where:8080\r\n\r\n",
        "GET /hello.txt HTTP/1.0\r\n\r\n",
        "GET /hello.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let reply = server.connect().ask(head);
        assert_eq!((reply.status, reply.text()), (200, HELLO), "{head}");
        let keeps = !head.ends_with("1.0\r\n\r\n");
        let want = if keeps { "keep-alive" } else { "close" };
        assert_eq!(reply.header("connection"), Some(want), "{head}");
    }
    // netcat closes its side once it has asked.
    let mut client = server.connect();
    client.send("GET /hello.txt HTTP/1.0\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.reply(false).text(), HELLO);
}

#[test]
fn other_methods_are_refused_by_name() {
    let server = Server::start();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let reply = server.connect().ask(&format!(
            "{method} /hello.txt HTTP/1.1\r\nContent-Length: 2\r\n\r\nxx"
        ));
        assert_eq!((reply.status, reply.text()), (405, "method-not-allowed\n"));
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
}

#[test]
fn folders_are_shown_without_a_redirect() {
    let server = Server::start();
    std::fs::create_dir(server.tree().join("debian")).unwrap();
    std::fs::write(server.tree().join("debian/linux"), "kernel").unwrap();
    for path in ["/debian", "/debian/", "//debian//"] {
        let page = server.get(path);
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(page.text().contains("href=\"/debian/linux\""), "{path}");
    }
    let json = server.get("/debian?format=json");
    assert_eq!(json.header("content-type"), Some("application/json"));
    let entries: serde_json::Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(
        (&entries[0]["name"], &entries[0]["size"]),
        (&"linux".into(), &6.into())
    );
    let json = server
        .connect()
        .ask("GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n");
    assert!(json.text().contains("\"debian\""));
    let sorted = server.get("/debian/?sort=size&order=desc&time=utc");
    assert!(sorted.text().contains("+00:00"), "{}", sorted.text());
    let some = Server::with(|config| {
        let debian = ArtifactPath::parse("debian").unwrap();
        config.listing = Shown::AllBut(vec![debian]);
    });
    std::fs::create_dir(some.tree().join("debian")).unwrap();
    let reply = some.get("/debian/");
    assert_eq!((reply.status, reply.text()), (403, "listing-is-off\n"));
    assert_eq!(some.get("/").status, 200);
    let closed = Server::with(|config| config.listing = Shown::None);
    let reply = closed.get("/");
    assert_eq!((reply.status, reply.text()), (403, "listing-is-off\n"));
    assert_eq!(closed.get("/hello.txt").status, 200);
}

#[test]
fn without_a_snapshot_clients_are_told_to_come_back() {
    let server = Server::build(false, |_| {});
    let reply = server.get("/hello.txt");
    assert_eq!((reply.status, reply.text()), (503, "no-snapshot\n"));
    assert_eq!(reply.header("retry-after"), Some("5"));
    server.publisher.publish(Snapshot::default());
    assert_eq!(server.get("/hello.txt").status, 200);
}

#[test]
fn the_timeline_and_the_counters_learn_of_transfers() {
    let mut server = Server::start();
    server.get("/hello.txt");
    let transfer = server.transfer();
    assert_eq!(
        (transfer.bytes, transfer.size, transfer.complete),
        (29, 29, true)
    );
    assert_eq!(
        (transfer.name.as_str(), transfer.transport),
        ("hello.txt", Transport::Http)
    );
    let mut client = server.connect();
    client.ask("HEAD /hello.txt HTTP/1.1\r\n\r\n");
    client.ask("GET /missing HTTP/1.1\r\n\r\n");
    client.ask("GET /hello.txt HTTP/1.1\r\nRange: bytes=0-9\r\n\r\n");
    // Nothing for HEAD and the 404: the part is next.
    let part = server.transfer();
    assert_eq!((part.bytes, part.size, part.complete), (10, 29, false));
    for line in [
        "reveille_http_requests_total{code=\"200\",kind=\"other\"} 2",
        "reveille_http_requests_total{code=\"206\",kind=\"other\"} 1",
        "reveille_http_requests_total{code=\"404\",kind=\"refusal\"} 1",
        "reveille_http_refused_total{reason=\"not-found\"} 1",
        "reveille_http_sent_bytes_total{kind=\"other\"} 39",
        "reveille_http_connections{door=\"boot\"} 1",
    ] {
        server.wait_for_metric(line);
    }
}

#[test]
fn a_file_that_is_replaced_on_its_way_stays_one_version() {
    let server = Server::start();
    let path = server.tree().join("initrd");
    let size = 48 << 20;
    std::fs::write(&path, vec![b'a'; size]).unwrap();
    let mut client = server.connect();
    client.send("GET /initrd HTTP/1.1\r\n\r\n");
    let head = client.head();
    let new = server.tree().join("initrd.new");
    std::fs::write(&new, vec![b'b'; size]).unwrap();
    std::fs::rename(&new, &path).unwrap();
    let body = client.take(size);
    assert!(body.iter().all(|byte| *byte == b'a'));
    let etag = head.header("etag").unwrap();
    let resumed = client.ask(&format!(
        "GET /initrd HTTP/1.1\r\nRange: bytes=0-0\r\nIf-Range: {etag}\r\nIf-Match: *\r\n\r\n"
    ));
    // Same size, and maybe the same second: either the whole new file or its part.
    assert!(resumed.body.iter().all(|byte| *byte == b'b'));
}

#[test]
fn a_file_that_shrinks_on_its_way_ends_the_connection() {
    let mut server = Server::start();
    let file = File::create(server.tree().join("initrd")).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut client = server.connect();
    client.send("GET /initrd HTTP/1.1\r\n\r\n");
    assert_eq!(client.head().header("content-length"), Some("67108864"));
    file.set_len(1 << 20).unwrap();
    assert!(client.rest().len() < 64 << 20);
    let transfer = server.transfer();
    assert!(!transfer.complete && transfer.bytes < transfer.size);
    server.wait_for_metric("reveille_http_cut_total{reason=\"file-shrank\"} 1");
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let mut server = Server::with(|config| {
        config.limits.stall_timeout = Duration::from_millis(200);
    });
    let file = File::create(server.tree().join("initrd")).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut client = server.connect();
    client.send("GET /initrd HTTP/1.1\r\n\r\n");
    let transfer = server.transfer();
    assert!(!transfer.complete && transfer.bytes < transfer.size);
    server.wait_for_metric("reveille_http_cut_total{reason=\"connection-broken\"} 1");
    server.wait_for_metric("reveille_http_connections{door=\"boot\"} 0");
}

#[test]
fn large_files_have_turns_and_who_takes_nothing_holds_up_nobody() {
    let server = Server::with(|config| {
        let metrics = GovernorMetrics::register(&Meter::default()).unwrap();
        config.governor = Governor::new(1, metrics);
    });
    let content: Vec<u8> = (0..=250).cycle().take(64 << 20).collect();
    std::fs::write(server.tree().join("initrd"), &content).unwrap();
    let ask = "GET /initrd HTTP/1.1\r\n\r\n";
    // One turn after the other on one connection.
    let mut first = server.connect();
    for _ in 0..2 {
        assert!(first.ask(ask).body == content);
    }
    let mut stuck = server.connect();
    stuck.send(ask);
    stuck.head();
    // What is small waits for nobody, nor does HEAD.
    assert_eq!(server.get("/hello.txt").status, 200);
    first.send("HEAD /initrd HTTP/1.1\r\n\r\n");
    assert_eq!(first.reply(true).status, 200);
    let began = Instant::now();
    assert!(first.ask(ask).body == content);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
}

#[test]
fn a_client_that_leaves_did_not_get_all() {
    let mut server = Server::start();
    let file = File::create(server.tree().join("initrd")).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut client = server.connect();
    client.send("GET /initrd HTTP/1.1\r\n\r\n");
    client.take(1000);
    drop(client);
    assert!(!server.transfer().complete);
}

#[test]
fn a_head_that_never_ends_is_cut() {
    let server = Server::with(|config| {
        config.limits.head_timeout = Duration::from_millis(100);
    });
    let mut slow = server.connect();
    slow.send("GET /hello.txt HTTP/1.1\r\nHost: ");
    assert_eq!(slow.rest(), b"");
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET /hello.txt HTTP/1.1\r\n\r\n").status, 200);
    assert_eq!(idle.rest(), b"");
    let mut big = server.connect();
    let reply = big.ask(&format!(
        "GET / HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    ));
    assert_eq!(reply.status, 431);
}

#[test]
fn one_client_has_a_share_of_the_connections() {
    let server = Server::with(|config| config.limits.connections_per_client = 2);
    let (mut first, mut second) = (server.connect(), server.connect());
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask("GET /hello.txt HTTP/1.1\r\n\r\n").status, 200);
    }
    assert_eq!(server.connect().rest(), b"");
    server.wait_for_metric(
        "reveille_http_refused_total{reason=\"too-many-connections-of-client\"} 1",
    );
    drop(first);
    server.wait_for_metric("reveille_http_connections{door=\"boot\"} 1");
    assert_eq!(server.get("/hello.txt").status, 200);
}

#[test]
fn beyond_all_connections_new_ones_wait() {
    let server = Server::with(|config| config.limits.connections = 1);
    let mut first = server.connect();
    assert_eq!(first.ask("GET /hello.txt HTTP/1.1\r\n\r\n").status, 200);
    server.wait_for_metric("reveille_http_full_total{door=\"boot\"} 1");
    let mut second = server.connect();
    second.send("GET /hello.txt HTTP/1.1\r\n\r\n");
    second
        .stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let waits = second.stream.read(&mut [0]).unwrap_err().kind();
    assert_eq!(waits, ErrorKind::WouldBlock);
    second.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(first);
    assert_eq!(second.reply(false).text(), HELLO);
}

#[test]
fn the_end_waits_for_transfers_but_not_for_ever() {
    let mut server = Server::start();
    let size = 48 << 20;
    let file = File::create(server.tree().join("initrd")).unwrap();
    file.set_len(size).unwrap();
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET /hello.txt HTTP/1.1\r\n\r\n").status, 200);
    let mut busy = server.connect();
    busy.send("GET /initrd HTTP/1.1\r\n\r\n");
    busy.head();
    server.cancel.cancel();
    assert_eq!(idle.rest(), b"");
    assert_eq!(busy.rest().len() as u64, size);
    server.join();
    assert!(TcpStream::connect(server.address).is_err());

    let mut server = Server::with(|config| {
        config.limits.drain_timeout = Duration::from_millis(100);
    });
    let file = File::create(server.tree().join("initrd")).unwrap();
    file.set_len(size).unwrap();
    let mut stuck = server.connect();
    stuck.send("GET /initrd HTTP/1.1\r\n\r\n");
    stuck.head();
    server.cancel.cancel();
    server.join();
    assert!(!server.transfer().complete);
}

#[test]
fn many_at_once_get_what_they_asked_for() {
    let server = Server::start();
    let size = 3 << 20;
    let content: Vec<u8> = (0..size)
        .map(|n: u32| n.to_le_bytes()[n as usize % 3])
        .collect();
    std::fs::write(server.tree().join("initrd"), &content).unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = server.connect();
                for _ in 0..4 {
                    let reply = client.ask("GET /initrd HTTP/1.1\r\n\r\n");
                    assert!(reply.body == content);
                }
            });
        }
    });
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let server = Server::start();
    let size = 5 << 20;
    let content: Vec<u8> = (0..=250).cycle().take(size).collect();
    std::fs::write(server.tree().join("initrd"), &content).unwrap();
    let mut client = server.connect();
    client.send(
        "GET /initrd HTTP/1.1\r\n\r\nGET /hello.txt HTTP/1.1\r\n\r\nHEAD /initrd HTTP/1.1\r\n\r\n\
         GET /missing HTTP/1.1\r\n\r\n\
         GET /initrd HTTP/1.1\r\nRange: bytes=3000000-4999999\r\n\r\n",
    );
    assert!(client.reply(false).body == content);
    assert_eq!(client.reply(false).text(), HELLO);
    assert_eq!(client.reply(true).header("content-length"), Some("5242880"));
    assert_eq!(client.reply(false).status, 404);
    assert!(client.reply(false).body == content[3_000_000..5_000_000]);
}

#[test]
fn a_request_that_two_servers_could_read_in_two_ways_ends_the_connection() {
    let server = Server::start();
    for (head, status) in [
        (
            "GET /hello.txt HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            400,
        ),
        ("GET /hello.txt HTTP/1.1\r\nContent-Length: 5, 6\r\n", 400),
        ("GET /hello.txt HTTP/1.1\r\nContent-Length: -1\r\n", 400),
        (
            "GET /hello.txt HTTP/1.1\r\nTransfer-Encoding: gzip\r\n",
            400,
        ),
        (
            "GET /hello.txt HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        ("GET /hello.txt HTTP/1.1\r\nHost : x\r\n", 400),
        ("GET /hello.txt HTTP/1.1\r\n Host: x\r\n", 400),
        ("GET /hello.txt HTTP/1.1\r\nA: b\0c\r\n", 400),
        ("GET /hello.txt HTTP/3.7\r\n", 400),
        ("GET  /hello.txt  HTTP/1.1\r\n", 400),
    ] {
        let mut client = server.connect();
        let reply = client.ask(&format!("{head}\r\n"));
        assert_eq!(reply.status, status, "{head}");
        assert_eq!(client.rest(), b"", "{head}");
    }
    // A body that nobody reads is never taken for the next request.
    let body = "GET /missing HTTP/1.1\r\nHost: evil\r\n\r\n";
    for (header, body) in [
        (format!("Content-Length: {}", body.len()), body.to_owned()),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        ),
    ] {
        let mut client = server.connect();
        let head = format!("GET /hello.txt HTTP/1.1\r\n{header}\r\n\r\n");
        let reply = client.ask(&format!("{head}{body}"));
        assert_eq!((reply.status, reply.text()), (200, HELLO), "{header}");
        let next = client.ask("GET /hello.txt HTTP/1.1\r\n\r\n");
        assert_eq!((next.status, next.text()), (200, HELLO), "{header}");
    }
}

#[test]
fn clients_that_people_have_get_their_files() {
    let server = Server::start();
    let content: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
    std::fs::write(server.tree().join("initrd"), &content).unwrap();
    let url = format!("http://{}/initrd", server.address);
    for command in [
        "wget -q -O OUT URL",
        "wget -q -c -O OUT URL",
        "busybox wget -q -O OUT URL",
        "aria2c -q --no-conf -x 8 -s 8 -k 1M --allow-overwrite=true -d DIR -o got URL",
        "curl -sS --noproxy * -o OUT URL",
    ] {
        let out = server.dir.path().join("got");
        if command.contains(" -c ") {
            // Half of it is there from the last time.
            std::fs::write(&out, &content[..1 << 20]).unwrap();
        } else {
            let _ = std::fs::remove_file(&out);
        }
        let command = command
            .replace("OUT", out.to_str().unwrap())
            .replace("URL", &url);
        let command = command.replace("DIR", server.dir.path().to_str().unwrap());
        let mut words = command.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output();
        let Ok(output) = output else {
            println!("skipped: {command}");
            continue;
        };
        assert!(output.status.success(), "{command}: {output:?}");
        assert!(std::fs::read(&out).unwrap() == content, "{command}");
    }
}

#[test]
fn curl_agrees() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: no curl");
        return;
    }
    let server = Server::start();
    let url = |path: &str| format!("http://{}{path}", server.address);
    let curl = |args: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--noproxy", "*"])
            .args(args)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let hello = url("/hello.txt");
    let shown = curl(&["-i", &hello]);
    assert!(shown.starts_with("HTTP/1.1 200 OK\r\n") && shown.ends_with(HELLO));
    assert!(curl(&["-I", &hello]).contains("Content-Length: 29\r\n"));
    assert_eq!(curl(&["-r", "0-3", &hello]), "This");
    assert_eq!(curl(&["-C", "20", &hello]), &HELLO[20..]);
    assert_eq!(
        curl(&["-z", HELLO_DATE, "-w", "%{http_code}", &hello]),
        "304"
    );
    assert_eq!(
        curl(&["--path-as-is", &url("/../secret")]),
        "path-escapes-root\n"
    );
    // -L with -w: what would be followed if there were redirects.
    let code = curl(&[
        "-L",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{num_redirects}",
        &url("//"),
    ]);
    assert_eq!(code, "200 0");
}

/// The admin doors' answers; `ready` says what `/readyz` does.
fn admin_config(registry: &Meter, ready: &Arc<AtomicBool>) -> AdminConfig {
    let is_ready = Arc::clone(ready);
    let (_, snapshots) = snapshot::channel();
    AdminConfig {
        limits: Limits::default(),
        ready: Arc::new(move || {
            let ready = is_ready.load(Ordering::SeqCst);
            ready
                .then_some(())
                .ok_or_else(|| "no snapshot yet".to_owned())
        }),
        boots: Arc::new(|| serde_json::json!([{"mac": "52:54:00:00:00:01"}])),
        leases: Arc::new(|| Box::pin(async { Ok("{\"address\":\"192.0.2.1\"}\n".to_owned()) })),
        show: Arc::new(|table| {
            Box::pin(async move {
                if table == Table::Machines {
                    Ok(serde_json::json!({"machines": []}))
                } else {
                    Err(format!("no {table:?} here"))
                }
            })
        }),
        scrub: Arc::new(|| Box::pin(async { Err("no store here".to_owned()) })),
        snapshots,
        chronicle: Chronicle::default(),
        packets: Ring::default(),
        explain: Arc::new(|_| Box::pin(async { Err("not here".to_owned()) })),
        approve: Arc::new(|mac| {
            Box::pin(async move {
                if mac == MAC {
                    Ok(format!("{mac} is approved"))
                } else {
                    Err(format!("{mac} was never seen"))
                }
            })
        }),
        registry: registry.clone(),
        metrics: HttpMetrics::register(registry).unwrap(),
    }
}

fn story_line(at: u64, mac: MacAddress) -> StoryLine {
    StoryLine {
        at,
        mac,
        machine: None,
        boot: None,
        text: format!("stage {at}"),
    }
}

#[test]
fn the_admin_port_changes_nothing_and_the_socket_approves() {
    let runtime = Runtime::new().unwrap();
    let ready = Arc::new(AtomicBool::new(true));
    let config = admin_config(&Meter::default(), &ready);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let (port, socket) = runtime.block_on(async {
        let listen = "127.0.0.1:0".parse().unwrap();
        let port = AdminServer::bind(listen, None, config.clone()).unwrap();
        (port, AdminSocket::bind(&path, false, config).unwrap())
    });
    let address = port.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let port = runtime.spawn(port.run(cancel.clone()));
    let socket = runtime.spawn(socket.run(cancel.clone()));
    let post = |mac: &str| {
        format!("POST /machines/{mac}/approve HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut tcp = Client::connect(address);
    let refused = tcp.ask(&post("52:54:00:00:00:01"));
    assert_eq!((refused.status, refused.text()), (404, "not-found\n"));
    let mut unix = Client::over(UnixStream::connect(&path).unwrap());
    let done = unix.ask(&post("52-54-00-00-00-01"));
    assert_eq!(
        (done.status, done.text()),
        (200, "52:54:00:00:00:01 is approved\n")
    );
    let unknown = unix.ask(&post("52:54:00:00:00:02"));
    let words = "not-approved: 52:54:00:00:00:02 was never seen\n";
    assert_eq!((unknown.status, unknown.text()), (409, words));
    let wrong = unix.ask(&post("node-7"));
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().starts_with("bad-mac: `node-7`"), "{wrong:?}");
    // For reading the two are one.
    let answers = [
        (tcp.ask(&get("/machines")), tcp.ask(&get("/status"))),
        (unix.ask(&get("/machines")), unix.ask(&get("/status"))),
    ];
    for (machines, status) in answers {
        assert_eq!(machines.text(), "{\"machines\":[]}\n");
        let cannot = "not-now: no Overview here\n";
        assert_eq!((status.status, status.text()), (503, cannot));
    }
    cancel.cancel();
    runtime.block_on(port).unwrap().unwrap();
    runtime.block_on(socket).unwrap().unwrap();
    assert!(!path.exists(), "the socket's file went with it");
}

#[test]
fn the_story_is_told_as_it_happens_and_ends_with_the_door() {
    let runtime = Runtime::new().unwrap();
    let config = admin_config(&Meter::default(), &Arc::new(AtomicBool::new(true)));
    let chronicle = config.chronicle.clone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let socket = runtime.block_on(async { AdminSocket::bind(&path, false, config).unwrap() });
    let cancel = CancellationToken::new();
    let running = runtime.spawn(socket.run(cancel.clone()));
    let other = MacAddress::new([2, 0, 0, 0, 0, 9]);
    chronicle.note(story_line(10, MAC));
    chronicle.note(story_line(20, other));
    chronicle.note(story_line(30, MAC));
    let ask = |query: &str| {
        let mut client = Client::over(UnixStream::connect(&path).unwrap());
        client.send(&format!(
            "GET /log?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        client
    };
    let past = String::from_utf8(ask("machine=52:54:00:00:00:01&since=20").rest()).unwrap();
    let told = |text: &str| -> Vec<u64> {
        let lines = text.lines().filter(|line| line.starts_with('{'));
        let lines = lines.map(|line| serde_json::from_str::<StoryLine>(line).unwrap().at);
        lines.collect()
    };
    assert_eq!(told(&past), [30], "{past}");
    let nobody = String::from_utf8(ask("machine=node-7").rest()).unwrap();
    assert!(
        nobody.contains("404") && nobody.contains("no-machine: "),
        "{nobody}"
    );

    let mut follower = ask("machine=52:54:00:00:00:01&follow=1");
    follower.wait_for("stage 30");
    chronicle.note(story_line(40, other));
    chronicle.note(story_line(50, MAC));
    follower.wait_for("stage 50");
    cancel.cancel();
    let all = String::from_utf8(follower.rest()).unwrap();
    assert_eq!(told(&all), [10, 30, 50], "{all}");
    runtime.block_on(running).unwrap().unwrap();
}

#[test]
fn the_admin_port_says_how_it_is() {
    let runtime = Runtime::new().unwrap();
    let registry = Meter::default();
    let ready = Arc::new(AtomicBool::new(false));
    let admin = runtime.block_on(async {
        let listen = "127.0.0.1:0".parse().unwrap();
        AdminServer::bind(listen, None, admin_config(&registry, &ready)).unwrap()
    });
    let address = admin.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let stopped = runtime.spawn(admin.run(cancel.clone()));
    let mut client = Client::connect(address);
    let mut get = |path: &str| client.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(
        (get("/healthz").status, get("/healthz").text()),
        (200, "ok\n")
    );
    let waiting = get("/readyz");
    assert_eq!((waiting.status, waiting.text()), (503, "no snapshot yet\n"));
    ready.store(true, Ordering::SeqCst);
    assert_eq!(get("/readyz").status, 200);
    let metrics = get("/metrics");
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    assert!(
        metrics
            .text()
            .contains("reveille_http_connections{door=\"admin\"} 1")
    );
    assert_eq!(get("/boots").text(), "[{\"mac\":\"52:54:00:00:00:01\"}]\n");
    assert!(get("/").text().contains("/boots"));
    assert_eq!(get("/nothing").status, 404);
    let post = client.ask("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post.status, 405);
    let head = client.ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
    cancel.cancel();
    runtime.block_on(stopped).unwrap().unwrap();
}

// === boots ===

#[test]
fn hears_the_system_that_was_booted_call_back() {
    let told = Introductions::with_key(BootKey::new([7; 32]));
    let boot = BootId {
        mac: MAC,
        number: 0x1999,
    };
    told.began(boot);
    let token = told.boot_token(MAC).unwrap();
    let mut server = Server::with(|config| config.told = told);
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let path = format!("/reveille/machines/{}/phone-home", MAC.hyphenated());
    let good = format!("{path}?token={token}");
    let long = "x".repeat(5000);
    for (path, body, status, words) in [
        (path.as_str(), "", 403, "token-missing\n"),
        (&format!("{path}?token=1999.0"), "", 403, "token-wrong\n"),
        (&good, "{]", 400, "body-unreadable\n"),
        (&good, &long, 413, "body-too-long\n"),
        ("/hello.txt", "", 405, "method-not-allowed\n"),
    ] {
        let reply = server.connect().ask(&post(path, body));
        let said = String::from_utf8(reply.body).unwrap();
        assert_eq!((reply.status, said.as_str()), (status, words));
    }
    let body = r#"{"state": "failed", "message": "no disk"}"#;
    let mut client = server.connect();
    let reply = client.ask(&post(&good, body));
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("content-length"), None);
    let fact = server.event();
    let Fact::PhonedHome(call) = fact else {
        panic!("{fact:?} is no call");
    };
    assert_eq!((call.boot, call.state), (boot, PhoneState::Failed));
    assert_eq!(call.message.as_deref(), Some("no disk"));
    assert_eq!(call.address, Ipv4Addr::LOCALHOST);
    server.wait_for_metric(r#"reveille_http_requests_total{code="204",kind="phone-home"} 1"#);
}

/// A server of `manifests` that reads Secrets in a folder.
fn with_secrets(told: Introductions, manifests: &str) -> (Server, TempDir) {
    let secrets = tempfile::tempdir().unwrap();
    let folder = secrets.path().to_owned();
    let server = Server::with(|config| {
        config.told = told;
        config.answer_files = AnswerFiles::new(Secrets::Folder(folder), Secrets::None);
    });
    let inputs = read_text(Path::new("m.yaml"), manifests).inputs;
    let settings = Settings::default();
    server
        .publisher
        .publish(compile(2, &inputs, &settings).snapshot);
    (server, secrets)
}

#[test]
fn gives_what_is_behind_a_password_to_who_knows_it() {
    const MANIFESTS: &str = r#"
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec: {mode: Server, cidr: 64.0.0.0/2, interface: lo}
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: start}
spec:
  default: true
  menu:
    entries:
    - {name: disk, action: Disk}
    - name: wipe
      profileRef: {name: wipe}
      # Of `swordfish`.
      password: {hash: grub.pbkdf2.sha512.1000.00112233445566778899AABBCCDDEEFF.BC0672CFAD2E9D2B194660C77AA300E8CC41085D3178205500F581F0160F144648A6F0875E30D4817E254EAFED160481FFE3D557FEB5C57292130E0E92713360}
    - {name: shell, action: Shell, password: {secretRef: {name: menu, key: shell}}}
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: wipe}
spec: {linux: {kernel: {path: linux}}}
"#;
    let told = Introductions::with_key(BootKey::new([7; 32]));
    let number = clock::now().0;
    told.began(BootId { mac: MAC, number });
    let (mut server, secrets) = with_secrets(told, MANIFESTS);
    let menu = format!("/reveille/machines/{}/menu", MAC.hyphenated());
    let ask = |server: &Server, entry: &str, typed: Option<&str>| {
        let typed = typed.map_or_else(String::new, |typed| {
            format!("Authorization: Basic {}\r\n", STANDARD.encode(typed))
        });
        let path = format!("{menu}/{entry}/boot.ipxe");
        let mut client = server.connect();
        client.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n{typed}\r\n"))
    };
    let first = ask(&server, "wipe", None);
    assert_eq!((first.status, first.text()), (401, "password-needed\n"));
    let asks = first.header("www-authenticate").unwrap();
    assert!(asks.starts_with("Basic "), "{asks}");
    // The Secret comes late.
    let early = ask(&server, "shell", Some("shell:s3cr3t"));
    assert_eq!((early.status, early.text()), (503, "secret-missing\n"));
    assert!(matches!(
        server.event(),
        Fact::Refused {
            reason: "secret-missing",
            ..
        }
    ));
    std::fs::write(secrets.path().join("menu.shell"), "s3cr3t\n").unwrap();
    let shell = ask(&server, "shell", Some("whoever:s3cr3t"));
    assert!(shell.text().contains("\nshell ||\n"), "{}", shell.text());
    assert!(matches!(server.event(), Fact::Transfer(_)));
    // Five tries, whatever they are, until one is right.
    for _ in 0..4 {
        let wrong = ask(&server, "wipe", Some("wipe:Swordfish"));
        assert_eq!((wrong.status, wrong.text()), (403, "password-wrong\n"));
        let Fact::Refused { name, reason, .. } = server.event() else {
            panic!("the timeline is not told");
        };
        assert_eq!(
            (name.as_str(), reason),
            ("menu/wipe/boot.ipxe", "password-wrong")
        );
    }
    let right = ask(&server, "wipe", Some("wipe:swordfish"));
    assert_eq!(right.status, 200, "{}", right.text());
    assert!(matches!(
        server.event(),
        Fact::Transfer(Transfer {
            purpose: Purpose::Script,
            ..
        })
    ));
    // What it waits for and tries again it gets for the pass in that URL.
    let text = right.text();
    assert!(text.contains("clear password ||\n"), "{text}");
    let again = text.split_whitespace().find(|word| word.contains("?pass="));
    let (_, path) = again.unwrap().split_once("/reveille/").unwrap();
    assert_eq!(server.get(&format!("/reveille/{path}")).status, 200);
    let other = path.replace("menu/wipe", "menu/shell");
    assert_eq!(server.get(&format!("/reveille/{other}")).status, 401);
    for _ in 0..5 {
        assert_eq!(ask(&server, "shell", Some("shell:")).status, 403);
    }
    let locked = ask(&server, "shell", Some("shell:s3cr3t"));
    assert_eq!(
        (locked.status, locked.text()),
        (429, "password-tried-too-often\n")
    );
}

#[test]
fn gives_an_answer_file_for_its_boots_token_alone() {
    const MANIFESTS: &str = r#"
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec: {mode: Server, cidr: 64.0.0.0/2, interface: lo}
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: debian}
spec:
  default: true
  linux: {kernel: {path: linux}}
  config:
  - {name: meta-data, template: "id: {{ machine.mac }}\n"}
  - {name: user-data, template: "key {{ secrets.join.token }}\n", secretRefs: [{name: join}]}
  - {name: broken, template: "{{ params.none }}"}
"#;
    let key = BootKey::new([7; 32]);
    let number = clock::now().0;
    let boot = BootId { mac: MAC, number };
    let token = key.token(boot, "").unwrap();
    let told = Introductions::with_key(key);
    let (mut server, secrets) = with_secrets(told, MANIFESTS);
    let folder = format!("/reveille/machines/{}/config", MAC.hyphenated());
    let said = |reply: Reply| (reply.status, String::from_utf8(reply.body).unwrap());
    let meta = server.get(&format!("{folder}/{token}/meta-data"));
    assert_eq!(meta.header("cache-control"), Some("no-store"));
    assert_eq!(said(meta), (200, format!("id: {MAC}\n")));
    let released = Fact::Released(Release {
        boot,
        name: "meta-data".to_owned(),
        address: Ipv4Addr::LOCALHOST.into(),
        bytes: 22,
    });
    assert_eq!(server.event(), released);
    // The Secret comes late: the machine is told to ask again, and then has it.
    let user = format!("{folder}/user-data?token={token}");
    let early = server.get(&user);
    assert_eq!(early.header("retry-after"), Some("5"));
    let waits = "secret-or-config-map-missing\n".to_owned();
    assert_eq!(said(early), (503, waits));
    assert!(matches!(server.event(), Fact::Refused { .. }));
    std::fs::write(secrets.path().join("join.token"), "s3cr3t\n").unwrap();
    assert_eq!(said(server.get(&user)), (200, "key s3cr3t\n".to_owned()));
    assert!(matches!(server.event(), Fact::Released(_)));
    for (path, status, words) in [
        ("broken", 500, "answer-file-template-failed\n"),
        ("none", 404, "no-such-answer-file\n"),
    ] {
        let reply = server.get(&format!("{folder}/{token}/{path}"));
        assert_eq!(said(reply), (status, words.to_owned()));
    }
    assert!(matches!(server.event(), Fact::Refused { .. }));
    for (path, words) in [
        (format!("{folder}/meta-data"), "token-missing\n"),
        (format!("{folder}/1.00/meta-data"), "token-wrong\n"),
    ] {
        assert_eq!(said(server.get(&path)), (403, words.to_owned()));
    }
    // Once more would be once too often.
    for _ in 1..RELEASES {
        let reply = server.get(&format!("{folder}/{token}/meta-data"));
        assert_eq!(reply.status, 200);
    }
    let reply = server.get(&format!("{folder}/{token}/meta-data"));
    assert_eq!(
        said(reply),
        (403, "answer-file-given-too-often\n".to_owned())
    );
    for (outcome, count) in [
        ("given", RELEASES + 1),
        ("secret-or-config-map-missing", 1),
        ("answer-file-template-failed", 1),
        ("no-such-answer-file", 1),
        ("token-missing", 1),
        ("token-wrong", 1),
        ("answer-file-given-too-often", 1),
    ] {
        let metric = "reveille_http_answer_files_total";
        server.wait_for_metric(&format!("{metric}{{outcome=\"{outcome}\"}} {count}"));
    }
}

#[test]
fn tells_when_a_long_file_begins_and_what_is_not_there() {
    let mut server = Server::start();
    std::fs::write(server.tree().join("linux"), vec![0; 600_000]).unwrap();
    let machine = format!("/reveille/machines/{}", MAC.hyphenated());
    assert_eq!(server.get(&format!("{machine}/kernel/linux")).status, 200);
    let purpose = Purpose::Kernel;
    assert_eq!(server.event(), Fact::TransferStarted { purpose });
    assert!(server.transfer().complete);
    assert_eq!(server.get(&format!("{machine}/kernel/gone")).status, 404);
    let refused = Fact::Refused {
        purpose,
        name: "gone".to_owned(),
        reason: "not-found",
    };
    assert_eq!(server.event(), refused);
    // A browser's look at the tree is no boot's trouble.
    assert_eq!(server.get("/gone").status, 404);
    assert!(server.events.try_recv().is_err());
}

// === the server under test ===

struct Server {
    runtime: Runtime,
    dir: TempDir,
    address: SocketAddr,
    cancel: CancellationToken,
    running: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    publisher: Publisher,
    events: mpsc::Receiver<BootEvent>,
    registry: Meter,
}

impl Server {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut HttpConfig)) -> Self {
        Self::build(true, change)
    }

    fn build(publish: bool, change: impl FnOnce(&mut HttpConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(tree.join("hello.txt"), HELLO).unwrap();
        let hello = File::options()
            .write(true)
            .open(tree.join("hello.txt"))
            .unwrap();
        hello
            .set_modified(UNIX_EPOCH + Duration::from_secs(0x68e6_64ee))
            .unwrap();
        let (publisher, snapshots) = snapshot::channel();
        if publish {
            publisher.publish(Snapshot::default());
        }
        let (sender, events) = events::queue(&Meter::default()).unwrap();
        let leases = LeaseIndex::default();
        leases.insert(Ipv4Addr::LOCALHOST, MAC);
        let registry = Meter::default();
        let mut config = HttpConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            listing: Shown::AllBut(Vec::new()),
            limits: Limits::default(),
            governor: Governor::new(0, GovernorMetrics::register(&registry).unwrap()),
            snapshots,
            roots: Arc::new(Roots::new(Some(tree), Vec::new(), Vec::new())),
            tls: None,
            leases,
            told: Introductions::default(),
            answer_files: AnswerFiles::default(),
            events: sender,
            metrics: HttpMetrics::register(&registry).unwrap(),
        };
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let cancel = CancellationToken::new();
        let server = runtime.block_on(async { HttpServer::bind(config).unwrap() });
        let address = server.local_addr().unwrap();
        let running = runtime.spawn(server.run(cancel.clone()));
        Self {
            runtime,
            dir,
            address,
            cancel,
            running: Some(running),
            publisher,
            events,
            registry,
        }
    }

    fn tree(&self) -> std::path::PathBuf {
        Path::new(self.dir.path()).join("tree")
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn get(&self, path: &str) -> Reply {
        self.connect()
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: reveille\r\n\r\n"))
    }

    /// What the timeline is told next.
    fn event(&mut self) -> Fact {
        let next = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
        let event = self.runtime.block_on(next).unwrap().unwrap();
        assert_eq!(event.mac, MAC);
        event.fact
    }

    /// The next transfer that the timeline is told of.
    fn transfer(&mut self) -> Transfer {
        let fact = self.event();
        let Fact::Transfer(transfer) = fact else {
            panic!("{fact:?} is no transfer");
        };
        transfer
    }

    fn wait_for_metric(&self, line: &str) {
        let mut text = String::new();
        for _ in 0..2000 {
            text = TextEncoder::new()
                .encode_to_string(&self.registry.gather())
                .unwrap();
            if text.lines().any(|have| have == line) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no {line} in\n{text}");
    }

    /// Waits until the server has ended.
    fn join(&mut self) {
        let running = self.running.take().unwrap();
        let ended = async { tokio::time::timeout(PATIENCE, running).await };
        self.runtime.block_on(ended).unwrap().unwrap().unwrap();
    }
}

// === a client that speaks HTTP by hand ===

struct Client<S = TcpStream> {
    stream: S,
    read: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }
}

impl Client<UnixStream> {
    fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }
}

impl<S: Read + Write> Client<S> {
    /// Reads on until `text` was read.
    fn wait_for(&mut self, text: &str) {
        let has = |read: &[u8]| read.windows(text.len()).any(|it| it == text.as_bytes());
        while !has(&self.read) {
            assert_ne!(self.fill(), 0, "closed before {text}");
        }
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn ask(&mut self, request: &str) -> Reply {
        self.send(request);
        self.reply(request.starts_with("HEAD "))
    }

    /// The next answer, its body by `Content-Length`.
    fn reply(&mut self, is_head: bool) -> Reply {
        let mut reply = self.head();
        let length = reply.header("content-length").map(|n| n.parse().unwrap());
        if let (Some(length), false) = (length, is_head) {
            reply.body = self.take(length);
        }
        reply
    }

    fn head(&mut self) -> Reply {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert_ne!(self.fill(), 0, "closed within a head");
        };
        let head = String::from_utf8(self.take(end + 4)).unwrap();
        let mut lines = head.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        Reply {
            status: status.parse().unwrap(),
            headers: lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: Vec::new(),
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert_ne!(self.fill(), 0, "closed within a body");
        }
        self.read.drain(..length).collect()
    }

    /// Everything until the server closes.
    fn rest(&mut self) -> Vec<u8> {
        while self.fill() != 0 {}
        std::mem::take(&mut self.read)
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 64 << 10];
        let count = match self.stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        };
        self.read.extend_from_slice(&buffer[..count]);
        count
    }
}

impl Reply {
    fn header(&self, wanted: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
