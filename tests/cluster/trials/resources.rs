//! Our kinds, as a cluster's people meet them.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::kubectl::KINDS;
use crate::stage::Stage;

/// The definitions install, are explained, listed, and found by their category.
pub(super) fn install(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    // The room has installed them: once more changes nothing.
    let again = stage.plane.install_crds()?;
    for kind in KINDS {
        let line =
            format!("customresourcedefinition.apiextensions.k8s.io/{kind}.reveille.dev unchanged");
        ensure!(again.contains(&line), "applied twice: {again}");
    }
    let explained = stage.kubectl(&["explain", "subnet.spec"])?;
    for words in [
        "KIND:       Subnet",
        "FIELDS:",
        "mode\t<string> -required-",
        "enum: Server",
    ] {
        ensure!(explained.contains(words), "no `{words}`: {explained}");
    }
    tables(stage)?;
    let words = ["api-resources", "--categories=reveille", "--output=name"];
    let found = stage.kubectl(&words)?;
    let names = KINDS.map(|kind| format!("{kind}.reveille.dev"));
    ensure!(found.lines().eq(names.iter()), "the category holds {found}");
    let fields = explained
        .lines()
        .filter(|line| line.starts_with("  ") && line.contains("\t<"));
    let mut lines = vec![format!(
        "{} kinds installed; subnet.spec explains {} fields",
        KINDS.len(),
        fields.count()
    )];
    lines.extend(stage.plane.warnings.iter().cloned());
    Ok(lines)
}

/// The columns of each kind, by its short name; those behind `|` are in wide tables only.
const TABLES: [(&str, &str, &str); 4] = [
    (
        "sn",
        "NAME MODE CIDR INTERFACE FREE USED READY AGE | SERVER IPV6 USED6",
        "{kind: Subnet, metadata: {name: lab}, \
         spec: {mode: Server, cidr: 192.0.2.0/24, interface: br0}}",
    ),
    (
        "bp",
        "NAME SOURCE DEFAULT MACHINES BOOTS READY AGE | PRIORITY LAST-BOOT",
        "{kind: BootProfile, metadata: {name: disk}, spec: {local: {}}}",
    ),
    (
        "mach",
        "NAME PROFILE POLICY PHASE STAGE IP LAST-BOOT AGE | MAC ARCH DURATION",
        "{kind: Machine, metadata: {name: a}, spec: {interfaces: [{mac: 525400000001}]}}",
    ),
    (
        "dl",
        "NAME MAC MACHINE HOSTNAME SUBNET BOUND | ADDRESS CLIENT-ID",
        "{kind: DhcpLease, metadata: {name: 192.0.2.9}, spec: {address: 192.0.2.9, subnet: lab}}",
    ),
];

fn tables(stage: &Stage<'_>) -> Result<()> {
    for (short, columns, manifest) in TABLES {
        let object = manifest.replacen('{', "{apiVersion: reveille.dev/v1alpha1, ", 1);
        stage.apply(&object.replace("525400000001", "\"52:54:00:00:00:01\""))?;
        let header = |words: &[&str]| -> Result<BTreeSet<String>> {
            let table = stage.kubectl(words)?;
            let names = table.lines().next().unwrap_or_default();
            Ok(names.split_whitespace().map(str::to_owned).collect())
        };
        let want = |columns: &str| columns.split_whitespace().map(str::to_owned).collect();
        let (narrow, _) = columns.split_once('|').unwrap_or((columns, ""));
        ensure!(header(&["get", short])? == want(narrow), "{short}");
        let wide = header(&["get", short, "--output=wide"])?;
        ensure!(wide == want(&columns.replace('|', "")), "{short}: {wide:?}");
    }
    stage.kubectl(&["delete", "reveille", "--all"])?;
    Ok(())
}
