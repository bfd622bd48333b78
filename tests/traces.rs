//! Boots as traces, at a collector that knows nothing of our code: it reads HTTP and protobuf by their
//! specifications (`opentelemetry/proto/trace/v1/trace.proto`).

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints know test functions, not what they call"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reveille::boot::{Client, ClientKind, MacAddress, Transport};
use reveille::clock::Millis;
use reveille::press::Spent;
use reveille::snapshot;
use reveille::telemetry::Meter;
use reveille::timeline::{
    BootEvent, BootId, BootMetrics, Boots, Chronicle, Fact, Introductions, Keeper, NextStep,
    PhoneHome, PhoneState, Purpose, RecentLoaders, Transfer,
};
use reveille::traces::{Traces, parse_url, trace_id};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// Now: the keeper goes by the clock, and ends a boot of which it hears nothing for long.
static BEGAN: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| reveille::clock::now().0);

/// The first line and the body of what the collector got.
type Requests = std::sync::mpsc::Receiver<(String, Vec<u8>)>;

/// A span as the collector read it.
#[derive(Debug, Default)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    start: u64,
    end: u64,
    attributes: BTreeMap<String, String>,
    events: Vec<String>,
    status: (String, u64),
}

/// A field of a protobuf message.
#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_is_a_span_with_a_child_for_each_stage() {
    let (url, requests) = collector();
    let (events, heard) = mpsc::channel(64);
    let boots = Boots::default();
    let meter = Meter::default();
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper {
        events: heard,
        boots: boots.clone(),
        snapshots: snapshot::channel().1,
        recent: RecentLoaders::default(),
        told: Introductions::default(),
        chronicle: Chronicle::default(),
        spent: Spent::open(folder.path()).unwrap(),
        metrics: BootMetrics::register(&meter).unwrap(),
        traces: Some(Traces::start(&url).unwrap()),
    };
    let token = CancellationToken::new();
    let keeper = Arc::new(tokio::sync::Mutex::new(keeper));
    let running = Keeper::run(keeper, token.clone());
    let told = tell(&boots, &events, &token);
    let (ran, id) = tokio::join!(running, told);
    ran.unwrap();
    check(id, &requests);
}

/// Tells the story of a boot, whose system calls back in the end, and ends the keeper.
async fn tell(
    boots: &Boots,
    events: &mpsc::Sender<BootEvent>,
    token: &CancellationToken,
) -> BootId {
    for (seconds, fact) in story() {
        let at = Millis(*BEGAN + seconds * 1000);
        events.send(BootEvent { mac: MAC, at, fact }).await.unwrap();
    }
    let id = loop {
        let id = boots.with(|timeline| {
            let boot = timeline.running(MAC)?;
            (boot.trouble.len() == 1).then_some(boot.id)
        });
        match id {
            Some(id) => break id,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let call = PhoneHome {
        boot: id,
        address: ADDRESS,
        state: PhoneState::Failed,
        message: Some("no disk".to_owned()),
    };
    let at = Millis(*BEGAN + 60_000);
    let fact = Fact::PhonedHome(call);
    events.send(BootEvent { mac: MAC, at, fact }).await.unwrap();
    while boots.with(|timeline| timeline.running(MAC).is_some()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What waits is sent before the end.
    token.cancel();
    id
}

fn check(id: BootId, requests: &Requests) {
    let (path, body) = requests.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(path, "POST /v1/traces HTTP/1.1");
    let (service, spans) = read(&body);
    assert_eq!(service["service.name"], "reveille");
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let stages = [
        "boot",
        "offer",
        "ack",
        "loader",
        "ipxe",
        "script",
        "phoned-home",
    ];
    assert_eq!(names, stages);

    let boot = &spans[0];
    assert_eq!(boot.trace, trace_id(id).to_bytes());
    // A person finds it by the boot's name in the log.
    assert_eq!(
        hex(&boot.trace),
        format!("0000525400123456{:016x}", id.number)
    );
    assert!(boot.parent.is_empty());
    assert_eq!(
        (boot.start, boot.end),
        (*BEGAN * 1_000_000, (*BEGAN + 60_000) * 1_000_000)
    );
    for (key, value) in [
        ("reveille.boot", id.to_string()),
        ("reveille.mac", MAC.to_string()),
        ("reveille.result", "failed".to_owned()),
        ("reveille.message", "no disk".to_owned()),
        ("client.address", ADDRESS.to_string()),
    ] {
        assert_eq!(boot.attributes[key], value, "{key}");
    }
    assert_eq!(boot.status, ("no disk".to_owned(), 2));
    assert!(
        boot.events[0].starts_with("kernel aborted"),
        "{:?}",
        boot.events
    );
    for stage in &spans[1..] {
        assert_eq!(
            (&stage.trace, &stage.parent),
            (&boot.trace, &boot.id),
            "{stage:?}"
        );
        assert_ne!(stage.id, boot.id);
    }
    let loader = &spans[3];
    assert_eq!(loader.attributes["reveille.what"], "ipxe.efi");
    assert_eq!(loader.attributes["reveille.bytes"], "1000");
    // Its request came 1.5 s before its last byte.
    assert_eq!(loader.end - loader.start, 1_500_000_000);
    assert_eq!(loader.end, (*BEGAN + 5_000) * 1_000_000);
}

#[test]
fn nobody_waits_for_a_collector_that_is_away() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let traces = Traces::start(&format!("http://{gone}/v1/traces")).unwrap();
    let began = reveille::clock::now();
    traces.close();
    assert!(reveille::clock::now().since(began) < 10_000);
}

// === the boot ===

/// Seconds since the first packet, and what was seen.
fn story() -> Vec<(u64, Fact)> {
    let client = |kind| Client {
        mac: Some(MAC),
        kind,
        firmware: None,
        uuid: None,
    };
    let ack = |kind, next| Fact::Ack {
        client: client(kind),
        address: ADDRESS,
        next,
    };
    let profile = || "debian".to_owned();
    let loader = NextStep::Loader {
        profile: profile(),
        file: "ipxe.efi".to_owned(),
    };
    let script = NextStep::Script { profile: profile() };
    let offer = Fact::Offer {
        client: client(ClientKind::Pxe),
        address: ADDRESS,
    };
    vec![
        (0, offer),
        (3, ack(ClientKind::Pxe, loader)),
        (5, sent(Purpose::Loader, "ipxe.efi", None)),
        (7, ack(ClientKind::Ipxe, script)),
        (8, sent(Purpose::Script, "boot.ipxe", None)),
        (9, sent(Purpose::Kernel, "linux", Some("connection-broken"))),
    ]
}

fn sent(purpose: Purpose, name: &str, aborted: Option<&'static str>) -> Fact {
    Fact::Transfer(Transfer {
        purpose,
        name: name.to_owned(),
        transport: Transport::Tftp,
        bytes: 1000,
        size: 1000,
        duration: Duration::from_millis(1500),
        complete: aborted.is_none(),
        aborted,
    })
}

// === the collector ===

/// Its URL, and the requests that it gets: the first line and the body.
fn collector() -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let request = answer(stream.unwrap());
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (parse_url(&url).unwrap(), requests)
}

fn answer(stream: TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\
                   connection: close\r\n\r\n";
    reader.get_mut().write_all(answer).unwrap();
    (lines[0].clone(), body)
}

/// What an ExportTraceServiceRequest says: the attributes of the resource, and its spans.
fn read(body: &[u8]) -> (BTreeMap<String, String>, Vec<Span>) {
    let (mut service, mut spans) = (BTreeMap::new(), Vec::new());
    for resource_spans in messages(body, 1) {
        for resource in messages(resource_spans, 1) {
            service.extend(messages(resource, 1).into_iter().map(attribute));
        }
        for scope_spans in messages(resource_spans, 2) {
            spans.extend(messages(scope_spans, 2).into_iter().map(span));
        }
    }
    (service, spans)
}

fn span(message: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, field) in fields(message) {
        match (number, field) {
            (1, Field::Bytes(bytes)) => span.trace = bytes.to_vec(),
            (2, Field::Bytes(bytes)) => span.id = bytes.to_vec(),
            (4, Field::Bytes(bytes)) => span.parent = bytes.to_vec(),
            (5, Field::Bytes(bytes)) => span.name = text(bytes),
            (7, Field::Number(nanos)) => span.start = nanos,
            (8, Field::Number(nanos)) => span.end = nanos,
            (9, Field::Bytes(bytes)) => span.attributes.extend([attribute(bytes)]),
            (11, Field::Bytes(bytes)) => {
                span.events.extend(messages(bytes, 2).into_iter().map(text))
            }
            (15, Field::Bytes(bytes)) => {
                for (number, field) in fields(bytes) {
                    match (number, field) {
                        (2, Field::Bytes(bytes)) => span.status.0 = text(bytes),
                        (3, Field::Number(code)) => span.status.1 = code,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    span
}

/// A KeyValue; of an AnyValue, texts and whole numbers.
fn attribute(message: &[u8]) -> (String, String) {
    let key = messages(message, 1).into_iter().map(text).collect();
    let value = messages(message, 2).into_iter().flat_map(fields);
    let value = value.map(|(_, field)| match field {
        Field::Bytes(bytes) => text(bytes),
        Field::Number(number) => number.to_string(),
    });
    (key, value.collect())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parts of a message that have this number and are messages, texts or bytes.
fn messages(message: &[u8], wanted: u64) -> Vec<&[u8]> {
    let found = fields(message)
        .into_iter()
        .filter(|(number, _)| *number == wanted);
    found
        .filter_map(|(_, field)| match field {
            Field::Bytes(bytes) => Some(bytes),
            Field::Number(_) => None,
        })
        .collect()
}

/// The fields of a message with their numbers (protobuf.dev, "Encoding").
fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)),
            1 => Field::Number(u64::from_le_bytes(
                take(&mut message, 8).try_into().unwrap(),
            )),
            2 => {
                let length = varint(&mut message);
                Field::Bytes(take(&mut message, usize::try_from(length).unwrap()))
            }
            5 => {
                Field::Number(u32::from_le_bytes(take(&mut message, 4).try_into().unwrap()).into())
            }
            kind => panic!("no wire type {kind}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, rest) = message.split_at(length);
    *message = rest;
    head
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
