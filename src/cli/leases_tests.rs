use clap::Parser;
use tempfile::TempDir;

use super::*;

const KEA: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
10.33.1.100,52:54:00:00:00:01,,4000,4000000000,1,0,0,node-7,0,,0
10.33.1.101,52:54:00:00:00:02,,4000,4000000000,1,0,0,e\u{1b}[2Jvil,0,,0
192.0.2.1,52:54:00:00:00:03,,4000,4000000000,1,0,0,,0,,0
";

#[test]
fn leases_of_kea_are_imported_listed_and_exported() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("kea-leases4.csv");
    fs::write(&file, KEA).unwrap();

    let (code, text) = run(&state, &["import", path(&file), "--manifests", "m"]).unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    assert!(
        text.contains("line 4: address: `192.0.2.1` is in no Subnet"),
        "{text}"
    );
    assert!(
        text.contains("2 leases imported, 1 lines refused"),
        "{text}"
    );

    let (_, table) = run(&state, &[]).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("ADDRESS      MACHINE"), "{table}");
    assert!(lines[1].contains("node-7"), "{table}");
    assert!(!table.contains('\u{1b}'), "{table}");

    let (_, json) = run(&state, &["--output", "json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["address"], "10.33.1.100");

    let (_, lines) = run(&state, &["export"]).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("leases.jsonl");
    fs::write(&file, &lines).unwrap();
    let (code, _) = run(&copy, &["import", path(&file)]).unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(run(&copy, &["export"]).unwrap().1, lines);
}

#[test]
fn an_import_does_not_replace_a_newer_lease() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("kea-leases4.csv");
    fs::write(&file, KEA).unwrap();
    run(&state, &["import", path(&file), "--manifests", "m"]).unwrap();
    fs::write(
        &file,
        KEA.replace("4000000000", "3900000000")
            .replace("node-7", "old"),
    )
    .unwrap();
    let (_, text) = run(&state, &["import", path(&file), "--manifests", "m"]).unwrap();
    assert!(
        text.contains("10.33.1.100: kept the newer lease of 52:54:00:00:00:01"),
        "{text}"
    );
    assert!(!run(&state, &["export"]).unwrap().1.contains("old"));
}

const KEA6: &str = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id
2001:db8:33::1000,00:03:00:01:52:54:00:00:00:01,4000,4000000000,1,3000,0,7,128,0,0,,52:54:00:00:00:01,0,,1,4,0
2001:db8:33::1001,00:04:01:02,4000,4000000000,1,3000,0,1,128,0,0,,,0,,,,0
";

#[test]
fn ipv6_leases_stand_beside_those_of_ipv4() {
    let state = tempfile::tempdir().unwrap();
    for (name, text) in [("kea-leases4.csv", KEA), ("kea-leases6.csv", KEA6)] {
        let file = state.path().join(name);
        fs::write(&file, text).unwrap();
        run(&state, &["import", path(&file), "--manifests", "m"]).unwrap();
    }
    let (_, table) = run(&state, &[]).unwrap();
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert_eq!(lines[1][0], "10.33.1.100", "{table}");
    assert_eq!(
        lines[3][..5],
        [
            "2001:db8:33::1000",
            "52:54:00:00:00:01",
            "-",
            "default/lab",
            "bound"
        ]
    );
    assert_eq!(lines[4][1], "id:0004010200000001", "{table}");
    let (_, json) = run(&state, &["--output", "json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[2]["iaid"], 7);

    let (_, lines) = run(&state, &["export"]).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("leases.jsonl");
    fs::write(&file, &lines).unwrap();
    let (code, _) = run(&copy, &["import", path(&file)]).unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(run(&copy, &["export"]).unwrap().1, lines);
    // What ends sooner does not replace it.
    let older = state.path().join("older.csv");
    fs::write(&older, KEA6.replace("4000000000", "3900000000")).unwrap();
    let (_, text) = run(&copy, &["import", path(&older), "--manifests", "m"]).unwrap();
    assert!(
        text.contains("2001:db8:33::1000: kept the newer lease of 52:54:00:00:00:01"),
        "{text}"
    );
}

#[test]
fn a_running_service_is_named() {
    let state = tempfile::tempdir().unwrap();
    let metrics = LeaseMetrics::register(&Meter::default()).unwrap();
    let _service = LeaseStore::open(&state.path().join(lease::FILE), metrics).unwrap();
    let error = run(&state, &[]).unwrap_err().to_string();
    assert!(error.contains("the service is running"), "{error}");
    assert!(error.contains(path(state.path())), "{error}");
}

#[test]
fn a_folder_without_leases_is_named() {
    let state = tempfile::tempdir().unwrap();
    let error = run(&state, &["export"]).unwrap_err().to_string();
    assert!(error.contains("there is no lease database"), "{error}");
    assert!(!state.path().join(lease::FILE).exists());
}

#[test]
fn leases_of_kea_need_the_manifests() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("kea-leases4.csv");
    fs::write(&file, KEA).unwrap();
    let error = run(&state, &["import", path(&file)]).unwrap_err();
    assert!(error.to_string().contains("--manifests"), "{error}");
}

#[test]
fn ends_are_told_in_words() {
    let now = Millis::from_secs(1_000_000);
    assert_eq!(ends(now.plus_secs(3900), now), "in 1h 5m");
    assert_eq!(ends(now.plus_secs(59), now), "in 59s");
    assert_eq!(ends(Millis::from_secs(1_000_000 - 720), now), "12m ago");
    assert_eq!(ends(now.plus_secs(90_000), now), "in 1d 1h");
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    leases: Leases,
}

/// Runs `reveille leases ARGUMENTS --state STATE`.
fn run(state: &TempDir, arguments: &[&str]) -> anyhow::Result<(ExitCode, String)> {
    let tail = ["--state", path(state.path())];
    let line = ["leases"].iter().chain(arguments).chain(&tail);
    let cli = Cli::try_parse_from(line)?;
    let mut out = Vec::new();
    let subnets = |folder: &Path| {
        assert_eq!(folder, Path::new("m"));
        Ok(Networks {
            v4: vec![("default/lab".to_owned(), "10.33.0.0/16".parse()?)],
            v6: vec![("default/lab".to_owned(), "2001:db8:33::/64".parse()?)],
        })
    };
    let code = cli.leases.run(&mut out, &subnets)?;
    Ok((code, String::from_utf8(out)?))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
