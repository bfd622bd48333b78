//! The TFTP service over loopback, with real packets and real clients.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it waits for; all else fails it"
)]

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reveille::boot::{MacAddress, Transport};
use reveille::events;
use reveille::files::{ArtifactPath, Roots};
use reveille::governor::{Governor, GovernorMetrics};
use reveille::lease::LeaseIndex;
use reveille::snapshot::{self, Publisher, Snapshot};
use reveille::telemetry::Meter;
use reveille::tftp::resolve::{Naming, Uploads};
use reveille::tftp::wire::{self, ErrorCode, Options, Packet};
use reveille::tftp::{AnswerFrom, TftpConfig, TftpLimits, TftpMetrics, TftpServer};
use reveille::timeline::{BootEvent, Fact};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(5);

/// How long a test listens to be sure that nothing comes; several times the
/// retransmission of [`hasty`].
const SILENCE: Duration = Duration::from_millis(250);

const NONE: Options = Options {
    blksize: None,
    tsize: None,
    timeout: None,
    windowsize: None,
};

const PROBE: Options = Options {
    blksize: Some(1468),
    tsize: Some(0),
    ..NONE
};

// === requests and answers ===

#[test]
fn serves_a_file_to_a_client_without_options() {
    let service = Service::start();
    for len in [0, 1, 511, 512, 513, 5000] {
        let content = service.file("boot/file", len);
        assert_eq!(service.fetch("boot/file", &NONE), Ok(content), "{len}");
    }
    service.wait_for("reveille_tftp_transfers_total", "complete", 6);
    service.wait_for("reveille_tftp_sent_bytes_total", "", 6537);
}

#[test]
fn serves_names_as_firmware_writes_them() {
    let service = Service::start();
    let content = service.file("boot/file", 700);
    for name in ["/boot/file", "//boot//file", "\\boot\\file", "./boot/file"] {
        assert_eq!(service.fetch(name, &NONE), Ok(content.clone()), "{name}");
    }
}

#[test]
fn answers_the_options_that_were_asked_and_caps_the_blksize() {
    let service = Service::start();
    let content = service.file("file", 100_000);
    let asked = Options {
        blksize: Some(8192),
        tsize: Some(0),
        timeout: Some(3),
        windowsize: Some(200),
    };
    let client = Client::new();
    client.ask(service.address, "file", &asked);
    let (packet, _) = client.receive();
    let answer = Options {
        blksize: Some(1468),
        tsize: Some(100_000),
        timeout: Some(3),
        windowsize: Some(64),
    };
    assert_eq!(Packet::decode(&packet), Ok(Packet::OptionAck(answer)));
    assert_eq!(service.fetch("file", &asked), Ok(content));
}

#[test]
fn says_at_once_why_a_request_is_refused() {
    let service = Service::start();
    service.file("folder/file", 1);
    fs::write(service.dir.path().join("secret"), "secret").unwrap();
    symlink("../secret", service.tree().join("out")).unwrap();
    let long = "x".repeat(300);
    for (name, code, words) in [
        ("missing", ErrorCode::FileNotFound, "not-found"),
        ("folder/file/x", ErrorCode::FileNotFound, "not-found"),
        (&long, ErrorCode::FileNotFound, "not-found"),
        ("../secret", ErrorCode::AccessViolation, "path-escapes-root"),
        ("out", ErrorCode::AccessViolation, "permission-denied"),
        ("folder", ErrorCode::AccessViolation, "is-folder"),
        ("", ErrorCode::AccessViolation, "name-empty"),
    ] {
        let refused = Err((code.code(), words.to_owned()));
        assert_eq!(service.fetch(name, &PROBE), refused, "{name}");
    }
    service.wait_for("reveille_tftp_refused_total", "not-found", 3);
    service.wait_for("reveille_tftp_active_transfers", "", 0);
}

#[test]
fn refuses_to_write_and_modes_that_nobody_needs() {
    let service = Service::start();
    for (datagram, code, words) in [
        (b"\0\x02file\0octet\0".as_slice(), 2, "write-request"),
        (b"\0\x01file\0mail\0", 4, "mode-mail"),
        (b"\0\x01file\0morse\0", 4, "mode-unknown"),
    ] {
        let client = Client::new();
        client.send(service.address, datagram);
        assert_eq!(client.receive_error(), (code, words.to_owned()));
    }
}

#[test]
fn refuses_while_there_is_no_snapshot() {
    let service = Service::with(TftpLimits::default(), None);
    service.file("file", 10);
    let refused = Err((0, "no-snapshot".to_owned()));
    assert_eq!(service.fetch("file", &NONE), refused);
    service.publisher.publish(Snapshot::default());
    assert!(service.fetch("file", &NONE).is_ok());
}

#[test]
fn ignores_what_is_no_request() {
    let service = Service::start();
    let client = Client::new();
    for datagram in [
        b"".as_slice(),
        b"\0",
        b"\0\x09",
        b"\0\x04\0\x01",
        b"\0\x01x",
    ] {
        client.send(service.address, datagram);
    }
    client.hears_nothing();
    service.wait_for("reveille_tftp_ignored_total", "no-request", 1);
    service.wait_for("reveille_tftp_ignored_total", "packet-too-short", 2);
    service.wait_for("reveille_tftp_ignored_total", "opcode-unknown", 1);
    service.wait_for("reveille_tftp_ignored_total", "name-unterminated", 1);
}

#[test]
fn translates_netascii() {
    let service = Service::start();
    fs::write(service.tree().join("menu"), "one\ntwo\r").unwrap();
    let client = Client::new();
    client.send(service.address, b"\0\x01menu\0netascii\0tsize\x000\0");
    let (packet, tid) = client.receive();
    let length = Options {
        tsize: Some(10),
        ..NONE
    };
    assert_eq!(Packet::decode(&packet), Ok(Packet::OptionAck(length)));
    client.send(tid, &wire::ack(0));
    assert_eq!(client.receive().0, b"\0\x03\0\x01one\r\ntwo\r\0");
    let long = fs::File::create(service.tree().join("long")).unwrap();
    long.set_len(1 << 20).unwrap();
    client.send(service.address, b"\0\x01long\0netascii\0");
    assert_eq!(client.receive_error(), (0, "netascii-too-long".to_owned()));
}

#[test]
fn answers_from_the_address_that_was_asked() {
    let service = Service::start();
    service.file("file", 10);
    let client = Client::new();
    for address in [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)] {
        let asked = SocketAddr::new(address.into(), service.address.port());
        client.ask(asked, "file", &NONE);
        let (_, tid) = client.receive();
        assert_eq!(tid.ip(), asked.ip());
        assert_ne!(tid.port(), asked.port());
        client.ask(asked, "missing", &NONE);
        assert_eq!(client.receive().1.ip(), asked.ip());
    }
}

#[test]
fn answers_a_broadcast_from_an_address_of_the_interface() {
    let service = Service::start();
    service.file("file", 10);
    let client = Client::new();
    client.socket.set_broadcast(true).unwrap();
    let everybody = Ipv4Addr::new(127, 255, 255, 255);
    let asked = SocketAddr::new(everybody.into(), service.address.port());
    client.ask(asked, "file", &NONE);
    let (_, tid) = client.receive();
    assert_eq!(tid.ip(), Ipv4Addr::LOCALHOST);
}

// === the course of a transfer ===

#[test]
fn an_error_ends_the_transfer_at_once() {
    let service = Service::with(hasty(), Some(Snapshot::default()));
    let content = service.file("ipxe.efi", 3000);
    let client = Client::new();
    // UEFI asks for the length, aborts, and asks again from the same port.
    client.ask(service.address, "ipxe.efi", &PROBE);
    let (_, first) = client.receive();
    client.send(first, b"\0\x05\0\x08User aborted the transfer\0");
    client.hears_nothing();
    service.wait_for("reveille_tftp_transfers_total", "probe", 1);
    service.wait_for("reveille_tftp_active_transfers", "", 0);
    assert_eq!(
        client.fetch(service.address, "ipxe.efi", &PROBE),
        Ok(content)
    );
}

#[test]
fn a_request_right_behind_a_probe_is_not_taken_for_a_repetition() {
    let service = Service::start();
    service.file("ipxe.efi", 3000);
    let client = Client::new();
    for _ in 0..50 {
        client.ask(service.address, "ipxe.efi", &PROBE);
        let (packet, tid) = client.receive();
        assert!(matches!(Packet::decode(&packet), Ok(Packet::OptionAck(_))));
        client.send(tid, b"\0\x05\0\x08\0");
    }
    service.wait_for("reveille_tftp_transfers_total", "probe", 50);
}

#[test]
fn repeats_what_was_not_acknowledged() {
    let service = Service::with(hasty(), Some(Snapshot::default()));
    service.file("file", 3000);
    let client = Client::new();
    client.ask(service.address, "file", &NONE);
    let first = client.receive();
    assert_eq!(client.receive(), first);
    client.send(first.1, &wire::ack(1));
    let second = client.receive();
    assert_eq!(&second.0[..4], wire::data_header(2));
    assert_eq!(client.receive(), second);
}

#[test]
fn gives_up_a_client_that_is_silent() {
    let mut limits = hasty();
    limits.transfer.patience = Duration::from_millis(100);
    let service = Service::with(limits, Some(Snapshot::default()));
    service.file("file", 3000);
    let client = Client::new();
    client.ask(service.address, "file", &NONE);
    client.receive();
    service.wait_for("reveille_tftp_transfers_total", "timed-out", 1);
}

#[test]
fn a_repeated_request_starts_no_second_transfer() {
    let service = Service::start();
    service.file("file", 3000);
    let client = Client::new();
    for _ in 0..3 {
        client.ask(service.address, "file", &NONE);
    }
    client.receive();
    client.hears_nothing();
    service.wait_for("reveille_tftp_ignored_total", "request-repeated", 2);
    service.wait_for("reveille_tftp_active_transfers", "", 1);
}

#[test]
fn a_new_request_from_the_same_port_replaces_the_transfer() {
    let service = Service::with(hasty(), Some(Snapshot::default()));
    service.file("old", 3000);
    let content = service.file("new", 5000);
    let client = Client::new();
    client.ask(service.address, "old", &NONE);
    let (_, old) = client.receive();
    // Also the same one, once the client has shown that it got our answer.
    client.send(old, &wire::ack(1));
    client.receive();
    client.ask(service.address, "old", &NONE);
    let again = client.receive_from_other_than(old);
    client.ask(service.address, "new", &NONE);
    let new = client.receive_from_other_than(again.1);
    assert_eq!(client.finish(new), Ok(content));
    client.hears_nothing();
    service.wait_for("reveille_tftp_transfers_total", "replaced", 2);
}

#[test]
fn packets_of_others_do_not_disturb_a_transfer() {
    let service = Service::start();
    let content = service.file("file", 3000);
    let (client, other) = (Client::new(), Client::new());
    client.ask(service.address, "file", &NONE);
    let first = client.receive();
    other.send(first.1, b"\0\x05\0\0go away\0");
    other.send(first.1, &wire::ack(1));
    assert_eq!(client.finish(first), Ok(content));
    service.wait_for("reveille_tftp_transfers_total", "complete", 1);
}

#[test]
fn a_closed_port_ends_the_transfer() {
    let service = Service::with(hasty(), Some(Snapshot::default()));
    service.file("file", 3000);
    let client = Client::new();
    client.ask(service.address, "file", &NONE);
    client.receive();
    drop(client);
    service.wait_for("reveille_tftp_transfers_total", "unreachable", 1);
    service.wait_for("reveille_tftp_active_transfers", "", 0);
}

#[test]
fn a_file_that_becomes_shorter_ends_the_transfer_with_words() {
    let service = Service::start();
    service.file("file", 1_000_000);
    let client = Client::new();
    client.ask(service.address, "file", &NONE);
    let first = client.receive();
    let file = fs::File::options()
        .write(true)
        .open(service.tree().join("file"))
        .unwrap();
    file.set_len(300_000).unwrap();
    let words = "file became shorter".to_owned();
    assert_eq!(client.finish(first), Err((0, words)));
    service.wait_for("reveille_tftp_transfers_total", "truncated", 1);
}

#[test]
fn a_file_beyond_65535_blocks_arrives_whole() {
    let service = Service::start();
    let len = 512 * 65_600 + 100;
    let file = fs::File::create(service.tree().join("large")).unwrap();
    file.set_len(len).unwrap();
    let options = Options {
        tsize: Some(0),
        windowsize: Some(32),
        ..NONE
    };
    let content = service.fetch("large", &options).unwrap();
    assert_eq!(content.len() as u64, len);
    assert!(content.iter().all(|byte| *byte == 0));
}

#[test]
fn serves_many_clients_at_once() {
    let limits = TftpLimits {
        per_client: 64,
        ..TftpLimits::default()
    };
    let service = Service::with(limits, Some(Snapshot::default()));
    let content = service.file("file", 300_000);
    let options = Options {
        windowsize: Some(8),
        ..PROBE
    };
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let got = service.fetch("file", &options).unwrap();
                assert!(got == content);
            });
        }
    });
    service.wait_for("reveille_tftp_transfers_total", "complete", 32);
}

// === limits, reports, the end ===

#[test]
fn limits_the_transfers_of_one_client_and_of_all() {
    let limits = TftpLimits {
        transfers: 3,
        per_client: 2,
        ..TftpLimits::default()
    };
    let service = Service::with(limits, Some(Snapshot::default()));
    service.file("file", 3000);
    let at = |last| Client::at(Ipv4Addr::new(127, 0, 0, last));
    let clients = [at(11), at(11), at(12)];
    let (mine, others) = (at(11), at(13));
    let ask = |client: &Client| client.ask(service.address, "file", &NONE);
    // A client that has answered keeps its place.
    let begin = |client: &Client| {
        ask(client);
        let (_, tid) = client.receive();
        client.send(tid, &wire::ack(1));
        client.receive()
    };
    for client in &clients[..2] {
        begin(client);
    }
    ask(&mine);
    assert_eq!(mine.receive_error(), (0, "client-busy".to_owned()));
    ask(&clients[2]);
    let first = clients[2].receive();
    clients[2].send(first.1, &wire::ack(1));
    let second = clients[2].receive();
    ask(&others);
    assert_eq!(others.receive_error(), (0, "busy".to_owned()));
    clients[2].send(first.1, b"\0\x05\0\0enough\0");
    drop(second);
    service.wait_for("reveille_tftp_active_transfers", "", 2);
    ask(&others);
    assert!(matches!(
        Packet::decode(&others.receive().0),
        Ok(Packet::Data { .. })
    ));
}

#[test]
fn requests_with_forged_senders_give_way() {
    let limits = TftpLimits {
        transfers: 20,
        per_client: 4,
        ..TftpLimits::default()
    };
    let service = Service::with(limits, Some(Snapshot::default()));
    let content = service.file("file", 3000);
    let at = |last| Client::at(Ipv4Addr::new(127, 0, 0, last));
    // Nobody behind these ever answers.
    let forged: Vec<Client> = (0..40).map(|i| at(20 + i % 10)).collect();
    for client in &forged {
        client.ask(service.address, "file", &PROBE);
        client.receive();
    }
    service.wait_for("reveille_tftp_active_transfers", "", 20);
    service.wait_for("reveille_tftp_transfers_total", "crowded-out", 20);
    // Neither a stranger nor the machine whose address is forged is kept out.
    for last in [50, 21] {
        let got = at(last).fetch(service.address, "file", &PROBE);
        assert_eq!(got, Ok(content.clone()), "{last}");
    }
    assert_eq!(service.metric("reveille_tftp_refused_total", "busy"), None);
}

#[test]
fn a_transfer_has_an_end_whatever_the_client_does() {
    let mut limits = TftpLimits::default();
    limits.transfer.longest = Duration::from_millis(200);
    let service = Service::with(limits, Some(Snapshot::default()));
    service.file("file", 100_000);
    let client = Client::new();
    client.ask(service.address, "file", &NONE);
    let mut block = 0;
    loop {
        let (packet, tid) = client.receive();
        match Packet::decode(&packet).unwrap() {
            Packet::Data { .. } => block += 1,
            Packet::Error { text, .. } => {
                assert_eq!(text, b"deadline-passed");
                break;
            }
            other => panic!("{other:?}"),
        }
        thread::sleep(Duration::from_millis(20));
        client.send(tid, &wire::ack(block));
    }
    assert!(block > 3, "{block}");
    service.wait_for("reveille_tftp_transfers_total", "deadline-passed", 1);
}

#[test]
fn firmware_waits_for_its_turn_and_goes_before_it_would_give_up() {
    let service = Service::build(|config| {
        let metrics = GovernorMetrics::register(&Meter::default()).unwrap();
        config.governor = Governor::new(1, metrics);
    });
    let content = service.file("loader", 300_000);
    service.file("menu", 300);
    let first = Client::new();
    first.ask(service.address, "loader", &PROBE);
    let begun = first.receive();
    let second = Client::new();
    second.ask(service.address, "loader", &PROBE);
    second.hears_nothing();
    // Meanwhile it asks again, as firmware does.
    second.ask(service.address, "loader", &PROBE);
    assert!(service.fetch("menu", &NONE).is_ok());
    assert_eq!(first.finish(begun), Ok(content.clone()));
    assert_eq!(second.finish(second.receive()), Ok(content.clone()));
    // This one keeps its turn and moves nothing.
    first.ask(service.address, "loader", &PROBE);
    first.receive();
    assert_eq!(second.fetch(service.address, "loader", &PROBE), Ok(content));
}

// === ports and addresses ===

#[test]
fn answers_from_the_port_that_was_asked() {
    let service = Service::build(|config| config.from = AnswerFrom::SamePort);
    let content = service.file("file", 400_000);
    let options = Options {
        windowsize: Some(16),
        ..PROBE
    };
    thread::scope(|scope| {
        for options in [NONE, PROBE, options] {
            let (service, content) = (&service, &content);
            scope.spawn(move || {
                let client = Client::new();
                // Nobody else's packets get in.
                client.socket.connect(service.address).unwrap();
                client
                    .socket
                    .send(&wire::read_request(b"file", &options))
                    .unwrap();
                let got = client.finish_connected();
                assert!(got.as_ref() == Ok(content), "{options:?}");
            });
        }
    });
    let client = Client::new();
    client.ask(service.address, "missing", &NONE);
    assert_eq!(client.receive().1, service.address);
    service.wait_for("reveille_tftp_active_transfers", "", 0);
    client.send(service.address, &wire::ack(7));
    client.hears_nothing();
    service.wait_for("reveille_tftp_ignored_total", "no-request", 1);
    service.wait_for("reveille_tftp_transfers_total", "complete", 3);
}

#[test]
fn answers_from_a_range_of_ports() {
    let ports = free_ports(3);
    let service = Service::build(|config| config.from = AnswerFrom::Ports(ports.clone()));
    let content = service.file("file", 3000);
    let clients: Vec<Client> = (0..3).map(|_| Client::new()).collect();
    let mut used = Vec::new();
    for client in &clients {
        client.ask(service.address, "file", &NONE);
        used.push(client.receive().1.port());
    }
    used.sort_unstable();
    assert_eq!(used, ports.collect::<Vec<_>>());
    // There is none left, not even to say so from.
    let late = Client::new();
    late.ask(service.address, "file", &NONE);
    service.wait_for("reveille_tftp_refused_total", "no-socket", 1);
    drop(clients);
    service.wait_for("reveille_tftp_active_transfers", "", 0);
    assert_eq!(service.fetch("file", &NONE), Ok(content));
}

#[test]
fn serves_ipv6_and_ipv4_at_one_socket() {
    for from in [AnswerFrom::AnyPort, AnswerFrom::SamePort] {
        let mut service = Service::build(|config| {
            config.listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            config.from = from.clone();
        });
        let content = service.file("file", 400_000);
        for address in [
            IpAddr::from(Ipv6Addr::LOCALHOST),
            Ipv4Addr::LOCALHOST.into(),
        ] {
            service.address.set_ip(address);
            let client = Client::at(address);
            let options = Options {
                windowsize: Some(16),
                ..PROBE
            };
            for options in [NONE, options] {
                let got = client.fetch(service.address, "file", &options);
                assert!(got.as_ref() == Ok(&content), "{from:?} {address}");
            }
            client.ask(service.address, "missing", &NONE);
            let refused = (1, "not-found".to_owned());
            assert_eq!(client.receive_error(), refused, "{from:?} {address}");
        }
        // What is made for a machine has URLs with the address that it came to.
        let client = Client::at(Ipv6Addr::LOCALHOST);
        service.address.set_ip(Ipv6Addr::LOCALHOST.into());
        let script = client.fetch(service.address, "autoexec.ipxe", &NONE);
        let script = String::from_utf8(script.unwrap()).unwrap();
        assert!(script.contains("http://[::1]"), "{script}");
    }
}

// === names ===

#[test]
fn finds_names_in_other_places_and_in_any_case() {
    let path = |name| ArtifactPath::parse(name).unwrap();
    let service = Service::build(|config| {
        config.naming = Naming {
            views: Some(path("own")),
            aliases: [(path("bootx64.efi"), path("boot/ipxe.efi"))].into(),
        };
    });
    let efi = service.file("boot/ipxe.efi", 700);
    let common = service.file("grub.cfg", 10);
    let own = service.file("own/127.0.0.9/grub.cfg", 20);
    let pi = service.file("config.txt", 30);
    let bcd = service.file("Windows/Fonts/BCD", 40);
    for (name, want) in [
        ("bootx64.efi", &efi),
        ("grub.cfg", &common),
        ("1a2b3c4d/config.txt", &pi),
        ("\\windows\\FONTS\\bcd", &bcd),
        ("BOOT/IPXE.EFI", &efi),
    ] {
        assert_eq!(service.fetch(name, &NONE).as_ref(), Ok(want), "{name}");
    }
    let machine = Client::at(Ipv4Addr::new(127, 0, 0, 9));
    let got = machine.fetch(service.address, "grub.cfg", &NONE);
    assert_eq!(got, Ok(own));
    let got = machine.fetch(service.address, "config.txt", &NONE);
    assert_eq!(got, Ok(pi));
}

#[test]
fn reports_transfers_of_known_machines() {
    let mut service = Service::start();
    let mac = MacAddress::new([0x52, 0x54, 0, 0, 0, 1]);
    service.leases.insert(Ipv4Addr::LOCALHOST, mac);
    service.file("boot/file", 3000);
    let client = Client::new();
    client.ask(service.address, "boot/file", &PROBE);
    let (_, tid) = client.receive();
    client.send(tid, b"\0\x05\0\x08\0");
    service.wait_for("reveille_tftp_transfers_total", "probe", 1);
    service.fetch("boot/file", &PROBE).unwrap();
    service.wait_for("reveille_tftp_transfers_total", "complete", 1);
    let event = service.events.blocking_recv().unwrap();
    assert_eq!(event.mac, mac);
    let Fact::Transfer(transfer) = event.fact else {
        panic!("{event:?}")
    };
    assert_eq!(transfer.name, "boot/file");
    assert_eq!(transfer.transport, Transport::Tftp);
    assert_eq!((transfer.bytes, transfer.size), (3000, 3000));
    assert!(transfer.complete);
    assert!(service.events.try_recv().is_err());
}

#[test]
fn lets_transfers_end_when_it_is_stopped() {
    let mut service = Service::start();
    let content = service.file("file", 30_000);
    let (client, late) = (Client::new(), Client::new());
    client.ask(service.address, "file", &NONE);
    let first = client.receive();
    service.stop.cancel();
    // The loop sees that it is to stop before it sees this, or refuses neither.
    thread::sleep(Duration::from_millis(50));
    late.ask(service.address, "file", &NONE);
    assert_eq!(client.finish(first), Ok(content));
    late.hears_nothing();
    service.joins();
}

#[test]
fn tells_clients_when_it_cannot_wait_for_them() {
    let limits = TftpLimits {
        drain: Duration::from_millis(20),
        ..TftpLimits::default()
    };
    let mut service = Service::with(limits, Some(Snapshot::default()));
    service.file("file", 30_000);
    let client = Client::new();
    client.ask(service.address, "file", &NONE);
    client.receive();
    service.stop.cancel();
    assert_eq!(client.receive_error(), (0, "server stops".to_owned()));
    service.joins();
    service.wait_for("reveille_tftp_transfers_total", "stopped", 1);
}

#[test]
fn an_address_that_is_taken_fails_at_once() {
    let service = Service::start();
    let _guard = service.runtime.enter();
    let mut config = config(&service.tree(), TftpLimits::default()).config;
    config.listen = service.address;
    let error = TftpServer::bind(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

// === writing ===

/// A service that takes files of 1 MiB in `in`, 3 MiB in all.
fn takes_files(change: impl FnOnce(&mut Uploads)) -> Service {
    let service = Service::build(|config| {
        config.uploads = Uploads {
            folders: vec![ArtifactPath::parse("in").unwrap()],
            largest: 1 << 20,
            quota: 3 << 20,
            replace: false,
        };
        change(&mut config.uploads);
    });
    fs::create_dir(service.tree().join("in")).unwrap();
    service
}

/// The names in the folder of uploads, drafts too.
fn written(service: &Service) -> Vec<String> {
    let entries = fs::read_dir(service.tree().join("in")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn takes_files_where_it_was_told_to() {
    let service = takes_files(|_| {});
    let content: Vec<u8> = (0..=250).cycle().take(400_000).collect();
    let window = Options {
        windowsize: Some(16),
        ..PROBE
    };
    for (name, options) in [("in/a", NONE), ("\\in\\b", PROBE), ("in/c", window)] {
        let options = Options {
            tsize: options.tsize.map(|_| 400_000),
            ..options
        };
        let put = Client::new().put(service.address, name, &content, &options);
        assert_eq!(put, Ok(()), "{name}");
    }
    // A multiple of the block size ends in an empty block.
    let even = Client::new().put(service.address, "in/even", &content[..1024], &NONE);
    assert_eq!(even, Ok(()));
    service.wait_for("reveille_tftp_uploads_total", "complete", 4);
    service.wait_for("reveille_tftp_received_bytes_total", "", 1_201_024);
    assert_eq!(written(&service), ["a", "b", "c", "even"]);
    for name in ["in/a", "in/b", "in/c"] {
        assert!(
            fs::read(service.tree().join(name)).unwrap() == content,
            "{name}"
        );
    }
    assert_eq!(
        service.fetch("in/even", &NONE),
        Ok(content[..1024].to_vec())
    );
}

#[test]
fn says_why_a_file_is_not_taken() {
    let service = takes_files(|uploads| uploads.quota = 1_200_000);
    service.file("in/old", 100_000);
    let put = |name: &str, len: usize, options: &Options| {
        Client::new().put(service.address, name, &vec![7; len], options)
    };
    let refused = |code, words: &str| Err((code, words.to_owned()));
    let tsize = |bytes| Options {
        tsize: Some(bytes),
        ..NONE
    };
    assert_eq!(put("in/old", 1, &NONE), refused(6, "file-exists"));
    assert_eq!(put("a", 1, &NONE), refused(2, "folder-takes-no-files"));
    assert_eq!(put("in/../a", 1, &NONE), refused(2, "path-escapes-root"));
    assert_eq!(put("in/none/a", 1, &NONE), refused(1, "not-found"));
    assert_eq!(
        put("in/long", 1, &tsize(2 << 20)),
        refused(3, "file-too-long")
    );
    assert_eq!(put("in/long", 1 << 21, &NONE), refused(3, "file-too-long"));
    service.file("in/more", 1_000_000);
    assert_eq!(put("in/full", 1, &tsize(200_000)), refused(3, "quota-full"));
    assert_eq!(put("in/full", 200_000, &NONE), refused(3, "file-too-long"));
    assert_eq!(written(&service), ["more", "old"]);
    let off = Service::start();
    let put = Client::new().put(off.address, "in/a", b"x", &NONE);
    assert_eq!(put, refused(2, "write-request"));
}

/// What `reveille probe --tftp-put in` says of its write: outcome, words and cure.
fn probed(service: &Service) -> (String, String, String) {
    let port = service.address.port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_reveille"))
        .args([
            "probe",
            "127.0.0.1",
            "--tftp-put",
            "in",
            "--tftp-port",
            &port,
        ])
        // Nobody is there: of those steps nothing is wanted.
        .args(["--admin-port", "1", "--http-port", "1", "--output", "json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut steps = report["steps"].as_array().unwrap().iter();
    let put = steps.find(|step| step["step"] == "put").unwrap();
    let word = |name: &str| put[name].as_str().unwrap_or_default().to_owned();
    (word("outcome"), word("seen"), word("cure"))
}

#[test]
fn the_probe_puts_a_file_and_reads_it_back() {
    let service = takes_files(|_| {});
    let (outcome, seen, _) = probed(&service);
    assert_eq!(outcome, "pass", "{seen}");
    let names = written(&service);
    let [name] = names.as_slice() else {
        panic!("{names:?}");
    };
    assert!(
        seen.starts_with(&format!("in/{name}, 1024 B to 127.0.0.1:")),
        "{seen}"
    );
    assert_eq!(
        fs::read(service.tree().join("in").join(name))
            .unwrap()
            .len(),
        1024
    );
    // It takes another name each time: nothing is replaced.
    assert_eq!(probed(&service).0, "pass");
    assert_eq!(written(&service).len(), 2);
    // A folder that is full refuses it in the server's words.
    let full = takes_files(|uploads| uploads.quota = 1000);
    let (outcome, seen, cure) = probed(&full);
    assert_eq!(outcome, "fail");
    assert!(seen.contains("the server says: quota-full"), "{seen}");
    assert!(cure.contains("--tftp-uploads"), "{cure}");
    assert_eq!(written(&full), [""; 0]);
}

#[test]
fn the_probe_is_refused_where_no_files_are_taken() {
    let (outcome, seen, cure) = probed(&Service::start());
    assert_eq!(outcome, "fail");
    assert!(seen.contains("the server says: write-request"), "{seen}");
    assert!(cure.contains("--tftp-uploads"), "{cure}");
}

#[test]
fn a_file_is_replaced_where_that_is_allowed_and_whole_or_not_at_all() {
    let mut limits = hasty();
    limits.transfer.patience = Duration::from_millis(300);
    let service = Service::build(|config| {
        config.limits = limits;
        config.uploads = Uploads {
            folders: vec![ArtifactPath::parse("in").unwrap()],
            largest: 1 << 20,
            quota: 3 << 20,
            replace: true,
        };
    });
    service.file("in/old", 1000);
    // This client is switched off behind its first block.
    let client = Client::new();
    client.send(service.address, b"\0\x02in/old\0octet\0");
    let (_, tid) = client.receive();
    client.send(tid, &[&wire::data_header(1)[..], &[7; 512]].concat());
    service.wait_for("reveille_tftp_uploads_total", "timed-out", 1);
    assert_eq!(written(&service), ["old"]);
    assert_eq!(fs::read(service.tree().join("in/old")).unwrap().len(), 1000);
    let put = Client::new().put(service.address, "in/old", b"new", &NONE);
    assert_eq!(put, Ok(()));
    assert_eq!(fs::read(service.tree().join("in/old")).unwrap(), b"new");
}

#[test]
fn a_full_disk_is_refused_by_name() {
    // A disk of its own needs root.
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a disk of its own needs root");
        return;
    };
    let service = Service::build(|config| {
        config.roots = Arc::new(Roots::new(Some(disk.0.path().to_owned()), vec![], vec![]));
        config.uploads = Uploads {
            folders: vec![ArtifactPath::parse("in").unwrap()],
            largest: 64 << 20,
            quota: 64 << 20,
            replace: false,
        };
    });
    let options = Options {
        blksize: Some(1468),
        windowsize: Some(32),
        ..NONE
    };
    let put = Client::new().put(service.address, "in/a", &vec![7; 4 << 20], &options);
    assert_eq!(put, Err((3, "disk-full".to_owned())));
    let left = fs::read_dir(disk.0.path().join("in")).unwrap().count();
    assert_eq!(left, 0);
    // Nobody else is disturbed.
    fs::write(disk.0.path().join("file"), "x").unwrap();
    assert_eq!(service.fetch("file", &NONE), Ok(b"x".to_vec()));
}

/// A disk of 1 MiB.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        let mounted = mount
            .arg(dir.path())
            .output()
            .is_ok_and(|o| o.status.success());
        mounted.then(|| {
            fs::create_dir(dir.path().join("in")).unwrap();
            Self(dir)
        })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success());
    }
}

#[test]
fn real_clients_write_their_files() {
    let service = takes_files(|_| {});
    let from = service.dir.path().join("upload");
    let content: Vec<u8> = b"one line\n".repeat(10_000);
    fs::write(&from, &content).unwrap();
    let port = service.address.port().to_string();
    for (n, command) in [
        "curl -sS -T FROM tftp://HOST:PORT/in/NAME",
        "atftp --option blksize~1428 --option windowsize~8 -p -l FROM -r in/NAME HOST PORT",
        "busybox tftp -p -l FROM -r in/NAME HOST PORT",
        "tftp -m octet HOST PORT -c put FROM in/NAME",
        // What tftp-hpa does unless it is told otherwise.
        "tftp -m netascii HOST PORT -c put FROM in/NAME",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("file{n}");
        let command = command.replace("HOST", "127.0.0.1").replace("PORT", &port);
        let command = command
            .replace("FROM", from.to_str().unwrap())
            .replace("NAME", &name);
        let Some(output) = run(&command) else {
            continue;
        };
        assert!(output.status.success(), "{command}: {output:?}");
        let got = fs::read(service.tree().join("in").join(&name)).unwrap_or_default();
        assert!(got == content, "{command}: {} bytes, {output:?}", got.len());
    }
}

// === clients that people have ===

/// What people type to get `boot/vmlinuz`; HOST, PORT and OUT are filled in.
/// The last one is tftp-hpa: others of that name do not know `-c`.
const COMMANDS: [&str; 6] = [
    "curl -sS -o OUT tftp://HOST:PORT/boot/vmlinuz",
    "curl -sS --tftp-blksize 1400 -o OUT tftp://HOST:PORT/boot/vmlinuz",
    "atftp --option blksize~1428 --option windowsize~8 --option tsize~0 \
     -g -r boot/vmlinuz -l OUT HOST PORT",
    "busybox tftp -g -r boot/vmlinuz -l OUT HOST PORT",
    "busybox tftp -b 1468 -g -r boot/vmlinuz -l OUT HOST PORT",
    "tftp -m octet HOST PORT -c get boot/vmlinuz OUT",
];

#[test]
fn real_clients_get_their_files() {
    let service = Service::start();
    let content = service.file("boot/vmlinuz", 1_234_567);
    let port = service.address.port().to_string();
    let out = service.dir.path().join("got");
    for command in COMMANDS {
        let _ = fs::remove_file(&out);
        let command = command.replace("HOST", "127.0.0.1").replace("PORT", &port);
        let command = command.replace("OUT", out.to_str().unwrap());
        let Some(output) = run(&command) else {
            continue;
        };
        assert!(output.status.success(), "{command}: {output:?}");
        let got = fs::read(&out).unwrap_or_default();
        assert!(got == content, "{command}: {} bytes, {output:?}", got.len());
    }
}

#[test]
fn real_clients_hear_that_a_file_is_missing() {
    let service = Service::start();
    let Some(output) = run(&format!("curl -sS tftp://{}/missing", service.address)) else {
        return;
    };
    // curl: 68 = file not found on TFTP server.
    assert_eq!(output.status.code(), Some(68), "{output:?}");
}

/// Runs a command; `~` is a space within a word. `None` where there is no such
/// program.
fn run(command: &str) -> Option<Output> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap();
    let arguments = words.map(|word| word.replace('~', " "));
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{command}: {error}"),
    }
}

/// So many ports in a row that nobody has.
fn free_ports(count: u16) -> RangeInclusive<u16> {
    (0..1000_u16)
        .map(|i| 20_000 + i * 7)
        .map(|first| first..=first + count - 1)
        .find(|ports| {
            let free = |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
            ports.clone().all(free)
        })
        .unwrap()
}

// === a service ===

struct Service {
    dir: tempfile::TempDir,
    runtime: Runtime,
    address: SocketAddr,
    publisher: Publisher,
    leases: LeaseIndex,
    events: mpsc::Receiver<BootEvent>,
    registry: Meter,
    stop: CancellationToken,
    task: Option<JoinHandle<std::io::Result<()>>>,
}

/// A configuration and the far ends of its roads.
struct Parts {
    config: TftpConfig,
    publisher: Publisher,
    events: mpsc::Receiver<BootEvent>,
    registry: Meter,
}

/// Limits with which the server repeats itself soon.
fn hasty() -> TftpLimits {
    let mut limits = TftpLimits::default();
    limits.transfer.retransmit = Duration::from_millis(40);
    limits.transfer.retransmit_max = Duration::from_millis(40);
    limits
}

fn config(tree: &Path, limits: TftpLimits) -> Parts {
    let (publisher, snapshots) = snapshot::channel();
    let registry = Meter::default();
    let (sender, events) = events::queue(&registry).unwrap();
    let config = TftpConfig {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        only_v6: false,
        from: AnswerFrom::AnyPort,
        naming: Naming::default(),
        uploads: Uploads::default(),
        governor: Governor::new(0, GovernorMetrics::register(&registry).unwrap()),
        limits,
        snapshots,
        roots: Arc::new(Roots::new(Some(tree.to_owned()), vec![], vec![])),
        leases: LeaseIndex::default(),
        told: reveille::timeline::Introductions::default(),
        events: sender,
        metrics: TftpMetrics::register(&registry).unwrap(),
    };
    Parts {
        config,
        publisher,
        events,
        registry,
    }
}

impl Service {
    fn start() -> Self {
        Self::with(TftpLimits::default(), Some(Snapshot::default()))
    }

    fn with(limits: TftpLimits, snapshot: Option<Snapshot>) -> Self {
        Self::made(snapshot, |config| config.limits = limits)
    }

    fn build(change: impl FnOnce(&mut TftpConfig)) -> Self {
        Self::made(Some(Snapshot::default()), change)
    }

    fn made(snapshot: Option<Snapshot>, change: impl FnOnce(&mut TftpConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut parts = config(&tree, TftpLimits::default());
        change(&mut parts.config);
        if let Some(snapshot) = snapshot {
            parts.publisher.publish(snapshot);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let leases = parts.config.leases.clone();
        let server = {
            let _guard = runtime.enter();
            TftpServer::bind(parts.config).unwrap()
        };
        let port = server.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let task = runtime.spawn(server.run(stop.clone()));
        Self {
            dir,
            runtime,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            publisher: parts.publisher,
            leases,
            events: parts.events,
            registry: parts.registry,
            stop,
            task: Some(task),
        }
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// Writes a file of `len` bytes that do not repeat with the blocks.
    fn file(&self, name: &str, len: usize) -> Vec<u8> {
        let content: Vec<u8> = (0..=250).cycle().take(len).collect();
        let path = self.tree().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &content).unwrap();
        content
    }

    fn fetch(&self, name: &str, options: &Options) -> Result<Vec<u8>, (u16, String)> {
        Client::new().fetch(self.address, name, options)
    }

    fn joins(&mut self) {
        let task = self.task.take().unwrap();
        let joined = self
            .runtime
            .block_on(async { tokio::time::timeout(SOON, task).await });
        joined.expect("the server ends").unwrap().unwrap();
    }

    /// Waits until a counter of that label is `want`.
    fn wait_for(&self, name: &str, label: &str, want: u64) {
        let mut seen = None;
        for _ in 0..500 {
            seen = self.metric(name, label);
            if seen == Some(want) || (seen.is_none() && want == 0) {
                return;
            }
            thread::sleep(SOON / 500);
        }
        panic!("{name} {label}: {seen:?}, not {want}");
    }

    fn metric(&self, name: &str, label: &str) -> Option<u64> {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let metric = family.get_metric().iter().find(|metric| {
            let labels = metric.get_label();
            labels.iter().all(|pair| pair.value() == label) && labels.is_empty() == label.is_empty()
        })?;
        let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
        format!("{value}").parse().ok()
    }
}

// === a client ===

struct Client {
    socket: UdpSocket,
}

impl Client {
    fn new() -> Self {
        Self::at(Ipv4Addr::LOCALHOST)
    }

    fn at(address: impl Into<IpAddr>) -> Self {
        let socket = UdpSocket::bind((address.into(), 0)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket }
    }

    fn send(&self, to: SocketAddr, packet: &[u8]) {
        self.socket.send_to(packet, to).unwrap();
    }

    fn ask(&self, server: SocketAddr, name: &str, options: &Options) {
        self.send(server, &wire::read_request(name.as_bytes(), options));
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 65_536];
        let (len, from) = loop {
            match self.socket.recv_from(&mut buffer) {
                // A process that was stopped and goes on: signal(7).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("a packet"),
            }
        };
        buffer.truncate(len);
        (buffer, from)
    }

    fn receive_from_other_than(&self, tid: SocketAddr) -> (Vec<u8>, SocketAddr) {
        loop {
            let received = self.receive();
            if received.1 != tid {
                return received;
            }
        }
    }

    fn receive_error(&self) -> (u16, String) {
        loop {
            match Packet::decode(&self.receive().0).unwrap() {
                Packet::Error { code, text } => {
                    return (code, String::from_utf8(text.to_vec()).unwrap());
                }
                Packet::Data { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn hears_nothing(&self) {
        self.socket.set_read_timeout(Some(SILENCE)).unwrap();
        let mut buffer = [0; 2048];
        let heard = self.socket.recv_from(&mut buffer);
        self.socket.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(heard.unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    fn fetch(
        &self,
        server: SocketAddr,
        name: &str,
        options: &Options,
    ) -> Result<Vec<u8>, (u16, String)> {
        self.ask(server, name, options);
        self.finish(self.receive())
    }

    /// Writes a file, window by window.
    fn put(
        &self,
        server: SocketAddr,
        name: &str,
        content: &[u8],
        options: &Options,
    ) -> Result<(), (u16, String)> {
        let mut request = wire::read_request(name.as_bytes(), options);
        request[1] = 2;
        self.send(server, &request);
        let (mut blksize, mut windowsize) = (512, 1);
        let mut acked = 0_usize;
        loop {
            let (packet, tid) = self.receive();
            match Packet::decode(&packet).unwrap() {
                Packet::OptionAck(options) => {
                    blksize = options.blksize.unwrap_or(512).into();
                    windowsize = options.windowsize.unwrap_or(1).into();
                }
                Packet::Ack { block } => acked = block.into(),
                Packet::Error { code, text } => {
                    return Err((code, String::from_utf8(text.to_vec()).unwrap()));
                }
                other => panic!("{other:?}"),
            }
            let last = content.len() / blksize + 1;
            if acked == last {
                return Ok(());
            }
            for block in (acked + 1)..=(acked + windowsize).min(last) {
                let from = (block - 1) * blksize;
                let part = &content[from..(from + blksize).min(content.len())];
                let mut packet = wire::data_header(block.try_into().unwrap()).to_vec();
                packet.extend(part);
                self.send(tid, &packet);
            }
        }
    }

    /// The same where the socket takes packets of the server's own port only.
    fn finish_connected(&self) -> Result<Vec<u8>, (u16, String)> {
        let peer = self.socket.peer_addr().unwrap();
        let (packet, tid) = self.receive();
        assert_eq!(tid, peer);
        self.finish((packet, tid))
    }

    /// Goes on from the first packet to the end.
    fn finish(&self, first: (Vec<u8>, SocketAddr)) -> Result<Vec<u8>, (u16, String)> {
        let (mut packet, tid) = first;
        let (mut blksize, mut windowsize) = (512, 1);
        let (mut content, mut last, mut in_window) = (Vec::new(), 0_u16, 0);
        loop {
            match Packet::decode(&packet).unwrap() {
                Packet::OptionAck(options) => {
                    blksize = options.blksize.unwrap_or(512).into();
                    windowsize = options.windowsize.unwrap_or(1);
                    self.send(tid, &wire::ack(0));
                }
                Packet::Data {
                    block,
                    content: part,
                } if block == last.wrapping_add(1) => {
                    content.extend(part);
                    (last, in_window) = (block, in_window + 1);
                    if part.len() < blksize || in_window == windowsize {
                        self.send(tid, &wire::ack(block));
                        in_window = 0;
                    }
                    if part.len() < blksize {
                        return Ok(content);
                    }
                }
                // A gap or a copy: the window begins again behind the last one.
                Packet::Data { .. } => {
                    self.send(tid, &wire::ack(last));
                    in_window = 0;
                }
                Packet::Error { code, text } => {
                    return Err((code, String::from_utf8(text.to_vec()).unwrap()));
                }
                other => panic!("{other:?}"),
            }
            packet = self.receive().0;
        }
    }
}
