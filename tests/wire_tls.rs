//! TLS at the HTTP doors, by real clients: curl, and openssl's where one is
//! wanted that is old or odd.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints know test functions, not what they call"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use reveille::clock;
use reveille::events;
use reveille::files::Roots;
use reveille::governor::{Governor, GovernorMetrics};
use reveille::http::{
    AdminConfig, AdminServer, AdminTls, AnswerFiles, HttpConfig, HttpMetrics, HttpServer, Limits,
    Shown,
};
use reveille::lease::LeaseIndex;
use reveille::packets::Ring;
use reveille::snapshot::{self, Snapshot};
use reveille::telemetry::Meter;
use reveille::timeline::{Chronicle, Introductions};
use reveille::tls::{Authority, Handshakes, Keeper, Origin, TlsMetrics};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const HELLO: &str = "This is a test file over TLS.";

/// A door with TLS, and what it needs.
struct Door {
    /// Kept: the door closes with it.
    _runtime: Runtime,
    folder: TempDir,
    address: SocketAddr,
    registry: Meter,
    cancel: CancellationToken,
    _publisher: snapshot::Publisher,
}

impl Door {
    /// One that shows what `origin` makes of its folder.
    fn boot(origin: impl FnOnce(&Path) -> Origin) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("hello.txt"), HELLO).unwrap();
        let (publisher, snapshots) = snapshot::channel();
        publisher.publish(Snapshot::default());
        let registry = Meter::default();
        let metrics = TlsMetrics::register(&registry).unwrap();
        let origin = origin(folder.path());
        let (keeper, shown) = Keeper::start("boot-tls", origin, metrics.clone()).unwrap();
        let tls = Handshakes::new("boot-tls", shown, None, metrics).unwrap();
        let (events, _) = events::queue(&Meter::default()).unwrap();
        let config = HttpConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            listing: Shown::AllBut(Vec::new()),
            limits: Limits::default(),
            governor: Governor::new(0, GovernorMetrics::register(&registry).unwrap()),
            snapshots,
            roots: Arc::new(Roots::new(Some(tree), Vec::new(), Vec::new())),
            tls: Some(tls),
            leases: LeaseIndex::default(),
            told: Introductions::default(),
            answer_files: AnswerFiles::default(),
            events,
            metrics: HttpMetrics::register(&registry).unwrap(),
        };
        let runtime = Runtime::new().unwrap();
        let cancel = CancellationToken::new();
        let server = runtime.block_on(async { HttpServer::bind(config).unwrap() });
        let address = server.local_addr().unwrap();
        runtime.spawn(server.run(cancel.clone()));
        let keeper = Arc::new(Mutex::new(keeper));
        runtime.spawn(Keeper::run(keeper, cancel.clone()));
        Self {
            _runtime: runtime,
            folder,
            address,
            registry,
            cancel,
            _publisher: publisher,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// How many handshakes ended so.
    fn handshakes(&self, result: &str) -> u64 {
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        let line =
            format!("reveille_tls_handshakes_total{{door=\"boot-tls\",result=\"{result}\"}} ");
        let line = text.lines().find_map(|found| found.strip_prefix(&line));
        line.unwrap().parse().unwrap()
    }

    /// Waits until a handshake ended so.
    fn wait_for(&self, result: &str) {
        for _ in 0..200 {
            if self.handshakes(result) > 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no handshake ended with {result}");
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("version").output().is_ok();
    if !there {
        println!("skipped: no {program}");
    }
    there
}

fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn own(folder: &Path) -> Origin {
    Origin::Own(Arc::new(Authority::open(folder, clock::now()).unwrap()))
}

/// An authority, and what it signs.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Signer {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes `NAME.crt` and `NAME.key`.
    fn sign(&self, folder: &Path, name: &str, key: &KeyPair, client: bool) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        params.extended_key_usages = vec![if client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        // As its authority is called, it would pass for its own.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let at = |end: &str| folder.join(format!("{name}.{end}"));
        fs::write(at("key"), key.serialize_pem()).unwrap();
        fs::write(at("crt"), certificate.pem()).unwrap();
    }
}

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

/// A folder with a certificate of elliptic curves and one of RSA.
fn both(folder: &Path) -> (PathBuf, Signer) {
    let pairs = folder.join("pairs");
    fs::create_dir(&pairs).unwrap();
    let signer = Signer::new();
    signer.sign(&pairs, "tls", &KeyPair::generate().unwrap(), false);
    signer.sign(&pairs, "older", &rsa(), false);
    fs::write(folder.join("authority.pem"), &signer.pem).unwrap();
    (pairs, signer)
}

#[test]
fn the_own_authority_is_believed_by_who_has_its_certificate() {
    if !has("curl") {
        return;
    }
    let door = Door::boot(own);
    let ca = door.path("tls/ca.crt");
    let got = curl(&["--cacert", &ca, &door.url("/hello.txt")]);
    assert_eq!(text(&got), HELLO);
    assert_eq!(door.handshakes("complete"), 1);
    // The key is nobody else's business.
    let mode = fs::metadata(door.path("tls/ca.key")).unwrap().permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    // Opened again, it is the same authority.
    let before = fs::read(&ca).unwrap();
    let again = Authority::open(door.folder.path(), clock::now()).unwrap();
    assert_eq!(fs::read(&ca).unwrap(), before);
    assert!(again.certificate().len() > 500);
}

#[test]
fn a_client_that_does_not_know_the_authority_is_told_of() {
    if !has("curl") {
        return;
    }
    let door = Door::boot(own);
    let refused = curl(&[&door.url("/hello.txt")]);
    assert_eq!(refused.status.code(), Some(60), "certificate not trusted");
    door.wait_for("certificate-untrusted");
    let plain = curl(&[&format!("http://{}/hello.txt", door.address)]);
    assert!(!plain.status.success());
    door.wait_for("not-tls");
}

#[test]
fn browsers_get_http_2_and_boot_clients_http_1() {
    if !has("curl") {
        return;
    }
    let door = Door::boot(own);
    let ca = door.path("tls/ca.crt");
    let (url, version) = (door.url("/hello.txt"), "%{http_version}");
    let ask = |how: &str| curl(&["--cacert", &ca, how, "-o", "/dev/null", "-w", version, &url]);
    assert_eq!(text(&ask("--http1.1")), "1.1");
    assert_eq!(text(&ask("--http2")), "2");
    let shown = curl(&["--cacert", &ca, "--http2", "-i", &url]);
    let shown = text(&shown);
    assert!(shown.contains("content-length: 29\r\n"), "{shown}");
    assert!(shown.ends_with(HELLO), "{shown}");
}

#[test]
fn each_client_gets_the_certificate_that_it_can_read() {
    if !has("openssl") {
        return;
    }
    let door = Door::boot(|folder| Origin::Folders(vec![both(folder).0]));
    let ca = door.path("authority.pem");
    let show = |more: &[&str]| {
        let output = Command::new("openssl")
            .args(["s_client", "-CAfile", &ca, "-connect"])
            .arg(door.address.to_string())
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // As iPXE before December 2025 asks: TLS 1.2, x25519, RSA.
    let ipxe = show(&["-tls1_2", "-groups", "X25519", "-sigalgs", "RSA+SHA256"]);
    assert!(ipxe.contains("ECDHE-RSA-AES"), "{ipxe}");
    assert!(ipxe.contains("Verify return code: 0"), "{ipxe}");
    let newer = show(&["-tls1_2"]);
    assert!(newer.contains("ECDHE-ECDSA-"), "{newer}");
    // As Debian's EDK2 asks: Diffie-Hellman without curves, in a group of ours.
    let firmware = "DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:AES256-GCM-SHA384";
    let firmware = show(&["-tls1_2", "-cipher", firmware, "-sigalgs", "RSA+SHA256"]);
    assert!(firmware.contains("DHE-RSA-AES256-GCM"), "{firmware}");
    assert!(firmware.contains("DH, 2048 bits"), "{firmware}");
    assert!(firmware.contains("Verify return code: 0"), "{firmware}");
    // As iPXE before 2024 asks: no key exchange by elliptic curves.
    show(&["-tls1_2", "-cipher", "AES256-GCM-SHA384:@SECLEVEL=0"]);
    door.wait_for("nothing-in-common");
    show(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    door.wait_for("tls-too-old");
}

#[test]
fn a_certificate_that_changes_is_shown_and_a_bad_one_is_not() {
    if !has("curl") {
        return;
    }
    let door = Door::boot(|folder| {
        let (pairs, _) = both(folder);
        fs::remove_file(pairs.join("older.crt")).unwrap();
        Origin::Folders(vec![pairs])
    });
    let pairs = door.folder.path().join("pairs");
    let believes = |ca: &str| {
        let got = curl(&["--cacert", &door.path(ca), &door.url("/hello.txt")]);
        got.status.success()
    };
    assert!(believes("authority.pem"));
    // Half of a pair comes first, as copies do; the old one stays.
    let other = Signer::new();
    fs::write(door.path("other.pem"), &other.pem).unwrap();
    fs::write(pairs.join("tls.key"), "no key").unwrap();
    std::thread::sleep(Duration::from_millis(900));
    assert!(believes("authority.pem"));
    other.sign(&pairs, "tls", &KeyPair::generate().unwrap(), false);
    let changed = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        believes("other.pem")
    });
    assert!(changed);
    assert!(!believes("authority.pem"));
}

#[test]
fn words_name_the_file_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Meter::default();
    let metrics = TlsMetrics::register(&registry).unwrap();
    let start = || {
        let origin = Origin::Folders(vec![folder.path().to_owned()]);
        let started = Keeper::start("boot-tls", origin, metrics.clone());
        started
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let at = |name: &str| folder.path().join(name);
    assert!(
        start().contains("put tls.crt and tls.key there"),
        "{}",
        start()
    );
    let signer = Signer::new();
    signer.sign(folder.path(), "tls", &KeyPair::generate().unwrap(), false);
    assert_eq!(start(), "");
    signer.sign(folder.path(), "other", &KeyPair::generate().unwrap(), false);
    fs::rename(at("other.key"), at("tls.key")).unwrap();
    fs::remove_file(at("other.crt")).unwrap();
    assert!(start().contains("tls.key: is not the key"), "{}", start());
    fs::write(at("tls.crt"), "").unwrap();
    assert!(
        start().contains("tls.crt: no certificate in it"),
        "{}",
        start()
    );
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(start().contains("is not there; make it"), "{}", start());
}

#[test]
fn the_admin_port_asks_for_a_certificate_and_tells_kubelet_how_it_is() {
    if !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (pairs, signer) = both(folder.path());
    signer.sign(folder.path(), "person", &KeyPair::generate().unwrap(), true);
    Signer::new().sign(
        folder.path(),
        "stranger",
        &KeyPair::generate().unwrap(),
        true,
    );
    let registry = Meter::default();
    let metrics = TlsMetrics::register(&registry).unwrap();
    let (_keeper, shown) =
        Keeper::start("admin-tls", Origin::Folders(vec![pairs]), metrics.clone()).unwrap();
    let clients = Some(signer.pem.as_bytes());
    let handshakes = Handshakes::new("admin-tls", shown, clients, metrics).unwrap();
    let tls = AdminTls {
        handshakes,
        certified: true,
    };
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let listen = "127.0.0.1:0".parse().unwrap();
        AdminServer::bind(listen, Some(tls), admin(&registry)).unwrap()
    });
    let address = server.local_addr().unwrap();
    let cancel = CancellationToken::new();
    runtime.spawn(server.run(cancel.clone()));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let ask = |path: &str, who: Option<&str>| {
        let (ca, url) = (at("authority.pem"), format!("https://{address}{path}"));
        let mut arguments = vec!["--cacert", &ca, "-w", "%{http_code}", &url];
        let pair = who.map(|who| (at(&format!("{who}.crt")), at(&format!("{who}.key"))));
        if let Some((certificate, key)) = &pair {
            arguments.extend(["--cert", certificate, "--key", key]);
        }
        String::from_utf8_lossy(&curl(&arguments).stdout).into_owned()
    };
    assert_eq!(ask("/healthz", None), "ok\n200");
    let refused = ask("/boots", None);
    assert!(refused.starts_with("no-client-certificate"), "{refused}");
    assert!(refused.ends_with("403"), "{refused}");
    assert_eq!(ask("/boots", Some("person")), "[]\n200");
    assert_eq!(ask("/boots", Some("stranger")), "000");
    cancel.cancel();
}

/// An admin service that knows of no boots.
fn admin(registry: &Meter) -> AdminConfig {
    let (_, snapshots) = snapshot::channel();
    AdminConfig {
        limits: Limits::default(),
        ready: Arc::new(|| Ok(())),
        boots: Arc::new(|| serde_json::json!([])),
        leases: Arc::new(|| Box::pin(async { Ok(String::new()) })),
        show: Arc::new(|_| Box::pin(async { Err("not now".to_owned()) })),
        snapshots,
        chronicle: Chronicle::default(),
        approve: Arc::new(|_| Box::pin(async { Err("not here".to_owned()) })),
        scrub: Arc::new(|| Box::pin(async { Err("not here".to_owned()) })),
        packets: Ring::default(),
        explain: Arc::new(|_| Box::pin(async { Err("not here".to_owned()) })),
        registry: registry.clone(),
        metrics: HttpMetrics::register(registry).unwrap(),
    }
}
