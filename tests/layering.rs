//! The wall around the core: its files name nothing that does I/O, knows the
//! time or runs tasks.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// The core: folders and files of `src`.
const CORE: &[&str] = &[
    "api/rules",
    "boot",
    "dhcp/answer.rs",
    "dhcp/classes.rs",
    "dhcp/decide.rs",
    "dhcp/destination.rs",
    "dhcp/foreign.rs",
    "dhcp/limits.rs",
    "dhcp/lookout.rs",
    "dhcp/menu.rs",
    "dhcp/neighbours.rs",
    "dhcp/networks.rs",
    "dhcp/option.rs",
    "dhcp/options.rs",
    "dhcp/proxy.rs",
    "dhcp/pxe.rs",
    "dhcp/quirks.rs",
    "dhcp/relay.rs",
    "dhcp/reply.rs",
    "dhcp/request.rs",
    "dhcp/v6/boot.rs",
    "dhcp/v6/classes.rs",
    "dhcp/v6/decide.rs",
    "dhcp/v6/option.rs",
    "dhcp/v6/reply.rs",
    "dhcp/v6/request.rs",
    "dhcp/v6/wire.rs",
    "explain",
    "files/path.rs",
    "governor/line.rs",
    "http/listing.rs",
    "http/range.rs",
    "http/route.rs",
    "lease/allocate.rs",
    "lease/kea.rs",
    "lease/kea6.rs",
    "lease/record.rs",
    "lease/records.rs",
    "lease/request.rs",
    "lease/table.rs",
    "lease/transfer.rs",
    "lease/v6",
    "packets",
    "script",
    "snapshot",
    "tftp/refuse.rs",
    "tftp/resolve.rs",
];
const CORE_TOO: &[&str] = &[
    "artifact/layout/document.rs",
    "artifact/oci/challenge.rs",
    "artifact/identity.rs",
    "artifact/plan.rs",
    "artifact/progress.rs",
    "artifact/screen.rs",
    "artifact/table.rs",
    "operator/status/artifact.rs",
    "status/artifacts.rs",
    "artifact/oci/credentials.rs",
    "artifact/oci/digest.rs",
    "artifact/oci/manifest.rs",
    "artifact/oci/reference.rs",
    "artifact/signature/sums.rs",
    "artifact/unpack/entries.rs",
    "artifact/unpack/format.rs",
    "artifact/unpack/iso/record.rs",
    "artifact/unpack/iso/rock_ridge.rs",
    "artifact/unpack/iso/volume.rs",
    "artifact/unpack/limits.rs",
    "artifact/unpack/links.rs",
    "artifact/unpack/name.rs",
    "artifact/unpack/near.rs",
    "artifact/unpack/pick.rs",
    "artifact/unpack/places.rs",
    "artifact/unpack/plan.rs",
    "artifact/unpack/refused.rs",
    "artifact/unpack/whiteout.rs",
    "discover",
    "http/attempts.rs",
    "http/phone_home.rs",
    "http/release.rs",
    "lease/addresses.rs",
    "lease/authority.rs",
    "lease/handover.rs",
    "loaders/plan.rs",
    "operator/leader/elect.rs",
    "operator/leader/record.rs",
    "operator/leader/timing.rs",
    "operator/mirror/object.rs",
    "operator/mirror/plan.rs",
    "operator/status/boots.rs",
    "operator/status/conditions.rs",
    "operator/status/machine.rs",
    "operator/status/notices.rs",
    "operator/status/pace.rs",
    "operator/status/profile.rs",
    "operator/status/sight.rs",
    "operator/status/subnet.rs",
    "probe/download.rs",
    "probe/ipxe.rs",
    "probe/offers.rs",
    "probe/offers6.rs",
    "probe/report.rs",
    "status/age.rs",
    "status/fold.rs",
    "status/overview.rs",
    "status/phase.rs",
    "status/rows.rs",
    "tftp/intake.rs",
    "tftp/netascii.rs",
    "tftp/transfer.rs",
    "tftp/transfer/blocks.rs",
    "tftp/wire.rs",
    "timeline",
];
/// Doors in the wall, each with its reason.
const DOORS: [(&str, &str); 5] = [
    ("discover/queue.rs", "the road from DHCP to discovery"),
    (
        "snapshot/handle.rs",
        "hands snapshots from the writer to the readers",
    ),
    (
        "timeline/chronicle.rs",
        "hands the story to those who follow it",
    ),
    ("timeline/keeper.rs", "takes events in and tells the story"),
    (
        "timeline/recent.rs",
        "state that DHCP and the timeline share",
    ),
];
const FORBIDDEN: [&str; 15] = [
    "tokio",
    "axum",
    "hyper",
    "socket2",
    "nix::",
    "rustix",
    "kube::",
    "redb",
    "std::fs",
    "std::net::Udp",
    "std::net::Tcp",
    "async fn",
    "Instant::now",
    "SystemTime::now",
    "clock::now",
];

#[test]
fn the_core_does_no_io_and_knows_no_time() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for entry in CORE.iter().chain(CORE_TOO) {
        let path = src.join(entry);
        assert!(
            path.exists(),
            "{entry} is not there: the list is out of date"
        );
        collect(&path, &mut files);
    }
    let mut broken = Vec::new();
    for file in files {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        if DOORS.iter().any(|(door, _)| *door == name) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in FORBIDDEN {
                if code.contains(word) {
                    broken.push(format!("src/{name}:{}: `{word}`", number + 1));
                }
            }
        }
    }
    assert!(
        broken.is_empty(),
        "the core reaches out:\n{}",
        broken.join("\n")
    );
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    }
}
