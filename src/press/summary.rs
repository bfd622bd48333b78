//! What the service says of a snapshot when it starts serving it. Shell.

use std::collections::BTreeSet;

use crate::api::Source;
use crate::artifact::table::is_pending;
use crate::files::{ArtifactPath, Roots};
use crate::snapshot::{ProfileEntry, Snapshot, SubnetEntry};

/// Says what `snapshot` serves: how much, and a line for each Subnet, profile
/// and set of loaders that was not `told` so before.
pub(super) fn tell(snapshot: &Snapshot, told: &mut BTreeSet<String>) {
    tracing::info!(
        generation = snapshot.generation,
        subnets = snapshot.subnets.len(),
        profiles = snapshot.profiles.len(),
        machines = snapshot.machines.len(),
        "manifests are served"
    );
    if snapshot.subnets.is_empty() {
        tracing::warn!("no Subnet is served: DHCP answers nobody");
    }
    let subnets = snapshot.subnets.iter().map(describe_subnet);
    let profiles = snapshot.profiles.iter().map(describe_profile);
    let lines: BTreeSet<String> = subnets
        .chain(profiles)
        .chain(describe_loaders(snapshot))
        .collect();
    for line in lines.difference(told) {
        tracing::info!("{line}");
    }
    let said = told.contains(NO_LOADER);
    *told = lines;
    if snapshot.loaders.is_empty() {
        told.insert(NO_LOADER.to_owned());
        if !said {
            tracing::warn!("{NO_LOADER}");
        }
    }
}

const NO_LOADER: &str = "no iPXE loader was found: machines get addresses but no first file; install the package `ipxe` or name a folder with --loaders";

fn describe_loaders(snapshot: &Snapshot) -> Option<String> {
    let loaders: Vec<String> = snapshot
        .loaders
        .iter()
        .map(|(architecture, file)| format!("{file} for {architecture}"))
        .collect();
    (!loaders.is_empty()).then(|| format!("loaders: {}", loaders.join(", ")))
}

fn describe_subnet(subnet: &SubnetEntry) -> String {
    let spec = &subnet.spec;
    let pools: Vec<String> = spec
        .pools
        .iter()
        .map(|pool| format!("{} to {}", pool.start, pool.end))
        .collect();
    let v4 = spec.cidr.map(|cidr| (cidr.to_string(), lends(&pools)));
    let v6 = spec.ipv6.as_ref().map(|network| {
        let pools = network.pools.iter();
        let pools: Vec<String> = pools
            .map(|pool| format!("{} to {}", pool.start, pool.end))
            .collect();
        (network.cidr.to_string(), lends(&pools))
    });
    let mut wire = spec
        .interface
        .as_ref()
        .map_or_else(|| " behind relays".to_owned(), |name| format!(" on {name}"));
    let networks = v4.into_iter().chain(v6);
    let networks: Vec<String> = networks
        .map(|(cidr, lends)| format!("{cidr}{}, {lends}", std::mem::take(&mut wire)))
        .collect();
    format!("Subnet {}: {}", subnet.key, networks.join("; "))
}

fn lends(pools: &[String]) -> String {
    if pools.is_empty() {
        "reserved addresses only".to_owned()
    } else {
        format!("lends {}", pools.join(", "))
    }
}

fn describe_profile(profile: &ProfileEntry) -> String {
    let spec = &profile.spec;
    let boots = match spec.source() {
        Source::Linux(_) | Source::Efi(_) | Source::Iso(_) if !profile.pending.is_empty() => {
            "what is being fetched".to_owned()
        }
        Source::Linux(linux) => format!(
            "kernel {} and {} initrd(s)",
            linux.kernel.path,
            linux.initrd.len()
        ),
        Source::Efi(efi) => format!("the EFI program {}", efi.file.path),
        Source::Iso(iso) => format!("the disc {}", iso.file.path),
        Source::Chain(chain) => format!("what is at {}", chain.url.escape_debug()),
        Source::Script(_) => "a script of its own".to_owned(),
        Source::Menu(menu) => format!("a menu of {} entries", menu.entries.len()),
        Source::Local => "the machine's disk".to_owned(),
        Source::Loader => "a loader of its own".to_owned(),
    };
    let default = if spec.default { ", the default" } else { "" };
    format!("BootProfile {}: {boots}{default}", profile.name)
}

/// A line for each file that a profile names and that is not there.
pub(super) fn missing_files(snapshot: &Snapshot, roots: &Roots) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for profile in &snapshot.profiles {
        for what in &profile.pending {
            missing.insert(format!(
                "BootProfile {}: {what}; machines wait",
                profile.name
            ));
        }
        for file in missing_of(profile, roots) {
            missing.insert(format!(
                "BootProfile {}: {file} is not in the artifact tree; machines wait for it",
                profile.name
            ));
        }
    }
    missing.into_iter().collect()
}

/// The files of the artifact tree that `profile` names and that are not there;
/// of those that are fetched its `pending` tells. Blocks.
#[must_use]
pub fn missing_of<'a>(profile: &'a ProfileEntry, roots: &Roots) -> Vec<&'a str> {
    let spec = &profile.spec;
    let files = spec.files().into_iter().map(|file| file.path);
    let loaders = spec.loader.files.values().map(String::as_str);
    let is_there = |file: &str| ArtifactPath::parse(file).is_ok_and(|path| roots.has_file(&path));
    files
        .chain(loaders)
        .filter(|file| !is_pending(file) && !is_there(file))
        .collect()
}
