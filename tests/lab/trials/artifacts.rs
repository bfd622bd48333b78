//! Artifacts, from servers that fail, onto volumes that fail, to machines.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::site::{BOOT, SERVER, Site, pattern, script_says, until};
use crate::boots::Boot;
use crate::ns;
use crate::scenarios::{command_line, seconds};
use crate::support::card::Card;
use crate::support::dhcp;
use crate::support::firmware::{filename, tftp};
use crate::support::machine::{AWAKE, Firmware, Machine, expect_command_line};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::server::{get, load};
use crate::support::wait::{TICK, until_within};
use crate::support::web::{Asked, send, send_rest, serve};

/// What boots from Artifacts.
const MACHINE: Machine = Machine {
    name: "from-artifacts",
    mac: "52:54:00:00:00:1a",
    firmware: Firmware::Bios,
    disk: false,
};

/// How long an artifact may take, whatever else the host does: waits between tries are doubled.
const LIMIT: Duration = Duration::from_secs(200);

const PROFILE: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: linux}
spec:
  default: true
  loader: {kind: Ipxe, romIpxe: Use}
  linux:
    kernel: {artifactRef: {name: web, path: vmlinuz}}
    initrd: [{artifactRef: {name: image, path: initrd.img}}]
    args: [\"console=ttyS0\", \"hostname={{ machine.name }}\", \"reveille.mac={{ machine.mac }}\"]
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: from-artifacts}
spec:
  interfaces: [{mac: \"52:54:00:00:00:1a\", ip: 192.0.2.26}]
";

// === a boot ===

/// A machine that comes too early waits with the reason on its screen, and boots once its kernel came from
/// a web server that fails and its initrd from a registry. Afterwards nobody needs those.
pub(super) fn boots(site: &mut Site) -> Result<Vec<String>> {
    let kernel = Arc::new(fs::read(&site.assets.kernel)?);
    let initrd = fs::read(&site.assets.initrd)?;
    let (is_open, resumed) = (Arc::default(), Arc::default());
    let web = failing(&kernel, &is_open, &resumed)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let home = site.folder.join("registry");
    fs::create_dir(&home)?;
    let registry = runtime.block_on(Registry::start(&home, true, true))?;
    runtime.block_on(registry.push_files("flat", &[("initrd.img", initrd.as_slice())]))?;
    let secrets = site.folder.join("secrets");
    fs::create_dir_all(secrets.join("registry"))?;
    for (key, value) in [
        ("username", USER.as_bytes()),
        ("password", PASSWORD.as_bytes()),
        ("ca.crt", &registry.ca()?),
    ] {
        fs::write(secrets.join("registry").join(key), value)?;
    }
    site.write("profile.yaml", PROFILE)?;
    let file = format!(
        "files: [{{path: vmlinuz, url: \"http://{web}/vmlinuz\", sha256: {}}}]",
        digest(&kernel)
    );
    artifact(site, "web", &file)?;
    let image = registry.image("flat");
    artifact(
        site,
        "image",
        &format!("oci: {{image: \"{image}\"}}, secretRef: {{name: registry}}"),
    )?;
    let secrets = secrets.display().to_string();
    let launch = || {
        site.launch()
            .map(|launch| launch.with(&["--secrets", &secrets]))
    };
    let server = launch()?.start()?;
    let mac = MACHINE.mac.replace(':', "-");
    script_says(&mac, "Artifact web is being fetched")?;

    let mut running = MACHINE.power_on(&site.assets, &site.folder)?;
    let screen = wait_for(&mut running, "Reveille: Artifact web")?;
    // Once its tries failed some times the reason stands there, too, in lines of 80 columns.
    let why = wait_for(&mut running, "answers 503 Service Unavailable")?;
    script_says(
        &mac,
        "Artifact web cannot be fetched: spec.files[0]: http://",
    )?;
    script_says(&mac, "; next try in 5 s")?;
    is_open.store(true, Ordering::SeqCst);
    let opened = running.uptime();
    let said = wait_for(&mut running, AWAKE)?;
    expect_command_line(&said, MACHINE.name, &command_line(MACHINE))?;
    ensure!(
        resumed.load(Ordering::SeqCst) > 0,
        "the download did not go on where it broke off"
    );
    let boot = until("the end of the boot in /boots", || {
        let boots = Boot::of(Boot::list(&get("/boots")?)?, MACHINE.mac);
        Ok(boots.into_iter().find(|boot| boot.result == "HandedOff"))
    })?;
    let lines = vec![
        format!("its screen: {screen}"),
        format!("and then: {why}"),
        format!(
            "{}; its kernel was there {} after power-on at the earliest, awake {}",
            boot.story(),
            seconds(opened),
            seconds(running.uptime())
        ),
    ];

    // No registry, no web server that answers, and a service that was killed.
    drop(registry);
    is_open.store(false, Ordering::SeqCst);
    server.kill()?;
    let server = launch()?.start()?;
    script_says(&mac, "/artifacts/default/web/1/vmlinuz")?;
    for (path, want) in [
        ("web/1/vmlinuz", kernel.as_slice()),
        ("image/1/initrd.img", &initrd),
    ] {
        serves(path, want)?;
    }
    server.stop()?;
    Ok(lines)
}

/// A web server that has the kernel once `is_open`, breaks off in its middle the first time, and counts how
/// often it was asked for the rest.
fn failing(
    kernel: &Arc<Vec<u8>>,
    is_open: &Arc<AtomicBool>,
    resumed: &Arc<AtomicU64>,
) -> Result<SocketAddr> {
    let (kernel, is_open) = (Arc::clone(kernel), Arc::clone(is_open));
    let (resumed, is_broken) = (Arc::clone(resumed), AtomicBool::new(false));
    let address = serve(move |asked: &Asked, stream: &mut TcpStream| {
        if !is_open.load(Ordering::SeqCst) {
            return send(stream, "503 Later", "Retry-After: 2\r\n", 0, b"");
        }
        if !is_broken.swap(true, Ordering::SeqCst) {
            let half = &kernel[..kernel.len() / 2];
            return send(stream, "200 OK", "ETag: \"1\"\r\n", kernel.len(), half);
        }
        resumed.fetch_add(u64::from(asked.from().is_some()), Ordering::SeqCst);
        send_rest(stream, asked, "1", &kernel);
    })?;
    Ok(address)
}

fn wait_for(running: &mut crate::support::machine::Running, marker: &str) -> Result<String> {
    loop {
        // In this order: what a machine said last is read after it went off.
        let off = running.is_off();
        if let Some(line) = running.said(marker) {
            return Ok(line);
        }
        ensure!(!off, "the machine went off without a word of {marker}");
        ensure!(running.uptime() < LIMIT, "no {marker} in time");
        sleep(TICK);
    }
}

// === a volume ===

/// A volume that is too small, full, read-only, damaged: each is said, and what is there is served.
pub(super) fn volume(site: &mut Site) -> Result<Vec<String>> {
    let store = site.folder.join("store");
    fs::create_dir(&store)?;
    let place = store.display().to_string();
    ns::run(&format!("mount -t tmpfs -o size=24m tmpfs {place}"))?;
    let web = serve(
        |asked: &Asked, stream: &mut TcpStream| match asked.path.as_str() {
            "/small" => send_rest(stream, asked, "1", &pattern(2 << 20)),
            "/huge" => send(stream, "200 OK", "", 20_000_000_000, &pattern(1 << 20)),
            // Nobody says how much it is; the end of the connection is its end.
            _ => {
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
                let _ = stream.write_all(&pattern(12 << 20));
            }
        },
    )?;
    let small = pattern(2 << 20);
    let file = |path: &str| format!("files: [{{path: linux, url: \"http://{web}{path}\"}}]");
    artifact(site, "small", &file("/small"))?;
    let launch = || {
        site.launch()
            .map(|launch| launch.with(&["--artifact-store", &place]))
    };
    let server = launch()?.start()?;
    arrives("small")?;
    let mut lines = Vec::new();

    artifact(site, "huge", &file("/huge"))?;
    lines.push(says("huge", "needs 19 GiB and the volume has")?);
    serves("small/1/linux", &small)?;
    fs::remove_file(site.manifests.join("huge.yaml"))?;

    let filler = store.join("filler");
    fs::write(&filler, vec![0; 14 << 20])?;
    artifact(site, "late", &file("/late"))?;
    lines.push(says("late", "No space left on device")?);
    serves("small/1/linux", &small)?;
    fs::remove_file(&filler)?;
    arrives("late")?;
    serves("late/1/linux", &pattern(12 << 20))?;

    ns::run(&format!("mount -o remount,ro {place}"))?;
    artifact(site, "never", &file("/small"))?;
    lines.push(says("never", "mount it for writing")?);
    serves("small/1/linux", &small)?;
    server.kill()?;
    let server = launch()?.start()?;
    serves("small/1/linux", &small)?;
    says("never", "mount it for writing")?;
    ns::run(&format!("mount -o remount,rw {place}"))?;
    arrives("never")?;

    lines.push(rots(site, &store, &small)?);
    server.stop()?;
    Ok(lines)
}

/// A file rots on the disk: it is found, not served, fetched again.
fn rots(site: &Site, store: &Path, good: &[u8]) -> Result<String> {
    let digest = digest(good);
    let blob = store.join("blobs/sha256").join(&digest[..2]).join(&digest);
    let mut bytes = good.to_vec();
    bytes[1_000_000] ^= 1;
    fs::write(blob, bytes)?;
    let place = store.display().to_string();
    let output = site.reveille(&["artifacts", "verify", "--artifact-store", &place])?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.code() == Some(1) && said.contains("of Artifact default/small is damaged"),
        "reveille artifacts verify: {said}"
    );
    until_within(LIMIT, "the file, whole again", || {
        serves("small/linux", good).map(Some)
    })?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

// === an archive ===

/// Megabytes of the archive where `REVEILLE_LAB_UNPACK` does not say.
const MEGABYTES: usize = 64;
/// Machines that renew meanwhile.
const MACHINES: u16 = 25;
/// Between two of their renewals.
const PAUSE: Duration = Duration::from_millis(20);

/// How long ACKs take while an archive is unpacked on the disk of the leases. Every machine gets its ACK;
/// the time is told and decides nothing.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub(super) fn unpacks(site: &mut Site) -> Result<Vec<String>> {
    let megabytes = std::env::var("REVEILLE_LAB_UNPACK").ok();
    let megabytes = megabytes.map_or(Ok(MEGABYTES), |text| text.parse())?;
    let host = site.folder.join("host");
    fs::create_dir(&host)?;
    pack(&host.join("a.tar.zst"), megabytes)?;
    let allowed = host.display().to_string();
    let server = site
        .launch()?
        .with(&["--artifact-files", &allowed])
        .start()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let mut leases = Vec::new();
    for number in 1..=MACHINES {
        let machine = dhcp::Machine::number(number);
        leases.push((machine, machine.lease(&mut card)?));
    }
    let begun = Instant::now();
    let at_rest = renewals(&leases, &mut card, || {
        Ok(begun.elapsed() > Duration::from_secs(5))
    })?;
    let archive = format!("archive: {{url: \"file://{allowed}/a.tar.zst\", format: TarZst}}");
    artifact(site, "big", &archive)?;
    let begun = Instant::now();
    let mut looks = 0_u64;
    let meanwhile = renewals(&leases, &mut card, || {
        // A look costs a process.
        looks += 1;
        ensure!(begun.elapsed() < 5 * LIMIT, "the archive does not arrive");
        Ok(looks.is_multiple_of(50) && site.log()?.contains("an artifact is there"))
    })?;
    let took = begun.elapsed();
    arrives("big")?;
    let last = format!("big/1/file-{:02}", FILES - 1);
    serves(&last, &part(FILES - 1, megabytes))?;
    server.stop()?;
    Ok(vec![
        format!("at rest: {}", figures(at_rest)),
        format!(
            "while {megabytes} MB were fetched and unpacked in {}: {}",
            seconds(took),
            figures(meanwhile)
        ),
    ])
}

/// Files of the archive.
const FILES: usize = 16;

fn part(number: usize, megabytes: usize) -> Vec<u8> {
    let mut bytes = pattern(megabytes * 1_000_000 / FILES);
    // No two are the same file.
    bytes[0] = u8::try_from(number).unwrap_or_default();
    bytes
}

fn pack(to: &Path, megabytes: usize) -> Result<()> {
    let packed = zstd::Encoder::new(fs::File::create(to)?, 1)?.auto_finish();
    let mut tar = tar::Builder::new(packed);
    for number in 0..FILES {
        let bytes = part(number, megabytes);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("file-{number:02}"), bytes.as_slice())?;
    }
    Ok(tar.finish()?)
}

/// How long each ACK took, until `is_over`.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn renewals(
    leases: &[(dhcp::Machine, dhcp::Lease)],
    card: &mut Card,
    mut is_over: impl FnMut() -> Result<bool>,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for (machine, lease) in leases.iter().cycle() {
        let asked = Instant::now();
        machine.renew(card, *lease)?.acks(lease.address)?;
        took.push(asked.elapsed());
        if is_over()? {
            break;
        }
        sleep(PAUSE);
    }
    Ok(took)
}

fn figures(mut took: Vec<Duration>) -> String {
    took.sort();
    let at = |part: usize| {
        took.get((took.len() - 1) * part / 1000)
            .copied()
            .unwrap_or_default()
    };
    let millis = |part| at(part).as_secs_f64() * 1000.0;
    format!(
        "{} renewals, REQUEST to ACK: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        took.len(),
        millis(500),
        millis(990),
        millis(1000)
    )
}

// === a loader ===

/// Firmware of 64-bit ARM is offered the loader for it, which comes whole over TFTP and HTTP.
pub(super) fn arm64(site: &mut Site) -> Result<Vec<String>> {
    let loader = fs::read(site.assets.loaders.join("ipxe-arm64.efi"))?;
    // PE/COFF: the machine type stands behind the signature, which the word at 0x3c leads to.
    let word = |at: usize| {
        loader
            .get(at..at + 2)
            .map(|two| u16::from_le_bytes([two[0], two[1]]))
    };
    let signature = word(0x3c).context("no loader")?;
    ensure!(
        word(usize::from(signature) + 4) == Some(0xaa64),
        "the lab's loader is not for 64-bit ARM"
    );
    let server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let mut lines = Vec::new();
    for (number, client, arch) in [(1, "PXEClient", 11), (2, "HTTPClient", 19)] {
        let reply = dhcp::Machine::number(number).boots_as(&mut card, client, arch)?;
        let file = filename(&reply).context("no boot file")?;
        let loaded = match file.strip_prefix("http://192.0.2.1") {
            None => tftp(SERVER, &file)?,
            Some(path) => load(BOOT, path)?,
        };
        ensure!(loaded == loader, "{file}: other bytes came");
        lines.push(format!("{file}: {} bytes, whole", loaded.len()));
    }
    server.stop()?;
    Ok(lines)
}

// === what they share ===

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn artifact(site: &Site, name: &str, spec: &str) -> Result<()> {
    let head = "apiVersion: reveille.dev/v1alpha1\nkind: Artifact\n";
    let text = format!("{head}metadata: {{name: {name}}}\nspec: {{{spec}}}\n");
    site.write(&format!("{name}.yaml"), &text)
}

/// The row of `/artifacts`.
fn row(name: &str) -> Result<Option<Value>> {
    let all: Value = serde_json::from_str(&get("/artifacts")?)?;
    let rows = all["artifacts"].as_array().context("no rows")?;
    Ok(rows.iter().find(|row| row["name"] == name).cloned())
}

fn arrives(name: &str) -> Result<()> {
    until_within(LIMIT, &format!("Artifact {name}"), || match row(name)? {
        Some(row) if row["ready"] == true => Ok(Some(())),
        Some(row) => bail!("{row}"),
        None => Ok(None),
    })
}

/// Waits until it is said of the artifact why it is not there.
fn says(name: &str, words: &str) -> Result<String> {
    until(&format!("`{words}` of {name}"), || {
        let row = row(name)?.unwrap_or_default();
        let reason = row["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains(words), "{row}");
        Ok(Some(reason.to_owned()))
    })
}

/// Checks that HTTP gives exactly this below `/artifacts/default/`.
fn serves(path: &str, want: &[u8]) -> Result<()> {
    let got = load(BOOT, &format!("/artifacts/default/{path}"))?;
    ensure!(got == want, "{path}: other bytes came");
    Ok(())
}
