//! The metrics as a page.

use std::fmt::Write as _;

use anyhow::Context as _;

use crate::telemetry::{Described, MetricKind};

/// The parts of the page: heading, and the words that names begin with.
const PARTS: [(&str, &[&str]); 10] = [
    ("Boots", &["reveille_boot_", "reveille_boots_"]),
    (
        "DHCP",
        &[
            "reveille_dhcp_",
            "reveille_dhcp6_",
            "reveille_foreign_dhcp_",
        ],
    ),
    ("Leases", &["reveille_lease_"]),
    ("TFTP", &["reveille_tftp_"]),
    ("HTTP", &["reveille_http_", "reveille_tls_"]),
    (
        "Turns on a link",
        &["reveille_transfers_", "reveille_transfer_"],
    ),
    (
        "Manifests and artifacts",
        &[
            "reveille_snapshot_",
            "reveille_artifact",
            "reveille_loader_",
            "reveille_loaders_",
        ],
    ),
    ("Discovery", &["reveille_discover"]),
    (
        "Cluster",
        &[
            "reveille_leader",
            "reveille_watch_",
            "reveille_status_",
            "reveille_events_",
            "reveille_mirror_",
        ],
    ),
    (
        "Process",
        &[
            "reveille_service_",
            "reveille_build_",
            "reveille_disk_",
            "reveille_log_",
            "process_",
        ],
    ),
];

/// Labels: what their values are, and why there are not many.
const LABELS: [(&str, &str); 24] = [
    (
        "architecture",
        "the machine's: one of the eight of option 93 that boot, or `none`; of `reveille_build_info`, the program's own",
    ),
    (
        "autoexec",
        "whether the loader runs `autoexec.ipxe`: `yes`, `no`",
    ),
    ("code", "a status code of HTTP"),
    ("door", "`boot`: the HTTP port of machines"),
    ("family", "of addresses: `ipv4`, `ipv6`"),
    ("file", "the name of a loader's file"),
    (
        "firmware",
        "what began the boot: `pxe`, `http-boot`, `ipxe`",
    ),
    (
        "folder",
        "`state` or `artifacts`: where `--state` and `--artifacts` are",
    ),
    (
        "from",
        "where a loader is from: `own`, `the volume`, or a folder",
    ),
    (
        "kind",
        "a kind of resource; of HTTP, what was asked for: `script`, `kernel`, `initrd`, `listing` and such",
    ),
    (
        "loader",
        "the loader's file; the first 32 names since the start, the rest is `other`",
    ),
    ("outcome", "how it ended, by a name of the program's own"),
    ("part", "what was written: `status`, `boots`, `label`"),
    (
        "profile",
        "the BootProfile's name, without its namespace; the first 100 since the start, the rest is `other`; `none` where no profile is booted",
    ),
    ("reason", "the name of a refusal or a silence"),
    ("result", "how a boot ended; of writes, what became of them"),
    (
        "role",
        "what we are on a Subnet: `server`, `proxy`, `looking`, `refused`",
    ),
    (
        "service",
        "a part of the process; `dhcp@NAMESPACE/NAME` for each Subnet, `pxe@…` for its UDP 4011, `dhcp6@…` for its DHCPv6, `scout@…` for who looks out for other servers",
    ),
    (
        "stage",
        "a stage of a boot: `offer`, `ack`, `loader`, `ipxe`, `script`, `kernel`, `initrd`, `hand-off`, `phoned-home`, `local-boot`",
    ),
    ("state", "of a lease: `bound`, `offered`, `declined`"),
    ("subnet", "a Subnet, as `namespace/name`"),
    (
        "type",
        "a DHCP message type; `none` where the packet was not readable, `any` where it stands for several",
    ),
    ("verb", "what was tried: `make`, `note`, `delete`, `apply`"),
    ("version", "the program's"),
];

/// The page.
///
/// # Errors
/// A metric or a label that is not in the lists above.
pub(super) fn page(metrics: &[Described]) -> anyhow::Result<String> {
    let mut page = String::from("# The metrics\n\n");
    page.push_str("<!-- Made by `make crds`; do not edit. -->\n\n");
    page.push_str(
        "What `/metrics` on the admin port shows (`--admin`, 127.0.0.1:9167). No label is a MAC \
         address, an address or a machine's name. [observability.md](observability.md) says what to \
         look at.\n",
    );
    for metric in metrics {
        part_of(metric)?;
    }
    for (part, _) in PARTS {
        let _ = write!(
            page,
            "\n## {part}\n\n| metric | kind | labels | unit | |\n|---|---|---|---|---|\n"
        );
        for metric in metrics {
            if part_of(metric)? == part {
                row(&mut page, metric);
            }
        }
    }
    page.push_str("\n## Labels\n\n| label | values |\n|---|---|\n");
    for (label, values) in LABELS {
        let _ = writeln!(page, "| `{label}` | {values} |");
    }
    for label in metrics.iter().flat_map(|metric| &metric.labels) {
        anyhow::ensure!(
            LABELS.iter().any(|(known, _)| known == label),
            "label `{label}`: say in LABELS of src/cli/metrics.rs what bounds its values"
        );
    }
    Ok(page)
}

fn part_of(metric: &Described) -> anyhow::Result<&'static str> {
    let fits = |begins: &&str| metric.name.starts_with(*begins);
    let part = PARTS.iter().find(|(_, begins)| begins.iter().any(fits));
    let part = part.with_context(|| {
        let name = &metric.name;
        format!("metric `{name}` belongs to no part: add one to PARTS of src/cli/metrics.rs")
    })?;
    Ok(part.0)
}

fn row(page: &mut String, metric: &Described) {
    let Described {
        name,
        kind,
        help,
        unit,
        labels,
        buckets,
    } = metric;
    let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
    let range = match (
        *kind == MetricKind::Histogram,
        buckets.first(),
        buckets.last(),
    ) {
        (true, Some(first), Some(last)) => {
            format!(" {} buckets, {first} to {last}.", buckets.len())
        }
        _ => String::new(),
    };
    let (kind, labels) = (kind.as_str(), labels.join(", "));
    let _ = writeln!(
        page,
        "| `{name}` | {kind} | {labels} | {unit} | {help}{range} |"
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use crate::app;
    use crate::telemetry::{BYTES, Described, MetricKind, SECONDS};

    /// Names that `/metrics` shows and the page tells of, and the other way round.
    #[test]
    fn the_page_has_every_metric_that_the_source_names() {
        let described: BTreeSet<String> = metrics().into_iter().map(|it| it.name).collect();
        let named = regex::Regex::new("\"(reveille_[a-z_]+)\"").unwrap();
        let mut files = Vec::new();
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut files,
        );
        let mut found = BTreeSet::new();
        for file in files {
            // What stands in tests and lists is no metric.
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let names = named.captures_iter(text).map(|it| it[1].to_owned());
            found.extend(names.filter(|name| !name.ends_with('_')));
        }
        found.retain(|name| {
            !["reveille_leader_", "reveille_artifact", "reveille_discover"].contains(&name.as_str())
        });
        let missing: Vec<_> = found.difference(&described).collect();
        assert!(
            missing.is_empty(),
            "not described; make them by `Meter`, and register their room in src/app/metrics.rs: {missing:?}"
        );
    }

    #[test]
    fn names_tell_kind_and_unit() {
        for Described {
            name,
            kind,
            unit,
            help,
            labels,
            ..
        } in metrics()
        {
            let base = name.trim_end_matches("_total");
            assert_eq!(
                name != base,
                kind == MetricKind::Counter,
                "{name}: `_total`"
            );
            assert_eq!(
                base.ends_with("_seconds"),
                unit == SECONDS,
                "{name}: unit {unit}"
            );
            assert_eq!(
                base.ends_with("_bytes"),
                unit == BYTES,
                "{name}: unit {unit}"
            );
            assert!(help.ends_with('.'), "{name}: `{help}` is no sentence");
            for label in labels {
                let of_one = ["mac", "machine", "address", "ip", "host", "boot", "peer"];
                assert!(!of_one.contains(&label.as_str()), "{name}: label {label}");
            }
        }
    }

    fn metrics() -> Vec<Described> {
        app::metrics().unwrap()
    }

    fn collect(path: &Path, files: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(path);
            }
        }
    }
}
