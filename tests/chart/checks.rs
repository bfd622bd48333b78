//! The checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::helm::{CHART, Helm, ROOT, documents, of_kind, the, values, values_of};
use crate::support::server::Server;

/// Helm finds nothing to complain of, with any of the values.
pub(crate) fn lint(helm: &Helm) -> Result<String> {
    for file in values()? {
        let file = file.display().to_string();
        helm.run(&["lint", "--strict", CHART, "-f", &file])?;
    }
    Ok(format!("{} sets of values", values()?.len()))
}

/// What is rendered is what the API server's own kinds allow.
pub(crate) fn valid(helm: &Helm) -> Result<String> {
    let mut files = Vec::new();
    let mut objects = 0;
    for file in values()? {
        let name = file.file_name().context("a file without a name")?;
        let text = helm.text(&file)?;
        objects += documents(&text)?.len();
        let out = helm.folder.path().join(name);
        std::fs::write(&out, text)?;
        files.push(out);
    }
    let wrong = helm.invalid(&files)?;
    // Of the Prometheus operator's kinds it has no schema; `monitoring` looks at them.
    let unknown = |line: &&String| !line.contains("monitoring.coreos.com");
    let wrong: Vec<&String> = wrong.iter().filter(unknown).collect();
    ensure!(wrong.is_empty(), "{wrong:?}");
    Ok(format!("{objects} objects"))
}

/// The packed chart renders what the folder renders: what links point to is inside.
pub(crate) fn package(helm: &Helm) -> Result<String> {
    let folder = helm.folder.path().display().to_string();
    let said = helm.run(&["package", CHART, "-d", &folder])?;
    let archive = said.rsplit_once(": ").context("no path")?.1.trim();
    let size = std::fs::metadata(archive)?.len();
    let full = values_of("full").display().to_string();
    let words = ["template", "edge", archive, "-n", "boot", "-f", &full];
    ensure!(
        helm.run(&words)? == helm.text(&values_of("full"))?,
        "{archive} renders something else"
    );
    Ok(format!("{} KiB", size / 1024))
}

/// The definitions are those of `crds/`, and stay when the release goes.
pub(crate) fn definitions(helm: &Helm) -> Result<String> {
    let objects = helm.objects(&values_of("default"))?;
    let mut rendered: BTreeMap<String, Value> = BTreeMap::new();
    for crd in of_kind(&objects, "CustomResourceDefinition") {
        let mut crd = crd.clone();
        let annotations = crd["metadata"]["annotations"].take();
        ensure!(
            annotations == json!({"helm.sh/resource-policy": "keep"}),
            "{annotations}"
        );
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        let name = name.to_owned();
        crd["metadata"] = json!({ "name": name });
        rendered.insert(name, crd);
    }
    let mut kept = BTreeMap::new();
    for file in std::fs::read_dir(Path::new(ROOT).join("crds"))? {
        for crd in documents(&std::fs::read_to_string(file?.path())?)? {
            let name = crd["metadata"]["name"].as_str().unwrap_or_default();
            kept.insert(name.to_owned(), crd.clone());
        }
    }
    ensure!(!kept.is_empty() && rendered == kept, "crds/ has others");
    let free = helm.set("crds.keep=false")?;
    for crd in of_kind(&free, "CustomResourceDefinition") {
        ensure!(crd["metadata"].get("annotations").is_none(), "{crd}");
    }
    ensure!(
        of_kind(&helm.set("crds.enabled=false")?, "CustomResourceDefinition").is_empty(),
        "crds.enabled=false"
    );
    Ok(format!("{} definitions, as in crds/", kept.len()))
}

/// The rules are those that `reveille rbac` prints, in one namespace and in all.
pub(crate) fn rights(helm: &Helm) -> Result<String> {
    let mut lines = 0;
    for (all, word) in [(false, "false"), (true, "true")] {
        // What is read by name is read in the release's namespace in both cases.
        let rendered = helm.set(&format!(
            "allNamespaces={word},rbac.secrets={{mirror,keys}},rbac.configMaps={{answers}}"
        ))?;
        let mut command = Server::command();
        command.args(["rbac", "-n", "boot", "--name", "edge-reveille"]);
        command.args([
            "--secret",
            "mirror",
            "--secret",
            "keys",
            "--config-map",
            "answers",
        ]);
        if all {
            command.arg("--all-namespaces");
        }
        let printed = documents(&String::from_utf8(command.output()?.stdout)?)?;
        for kind in ["Role", "ClusterRole"] {
            let (ours, theirs) = (rules(&rendered, kind), rules(&printed, kind));
            ensure!(
                ours == theirs,
                "{kind}: {ours:?}, but reveille rbac: {theirs:?}"
            );
            lines += ours.len();
        }
        for kind in ["RoleBinding", "ClusterRoleBinding"] {
            let (ours, theirs) = (of_kind(&rendered, kind), of_kind(&printed, kind));
            ensure!(ours.len() == theirs.len(), "{kind}");
            for binding in ours {
                let subject = &binding["subjects"][0];
                ensure!(
                    subject["namespace"] == "boot" && subject["name"] == "edge-reveille",
                    "{binding}"
                );
            }
        }
    }
    let plain = helm.set("allNamespaces=false")?;
    ensure!(
        rules(&plain, "Role")
            .iter()
            .all(|rule| !rule.contains("secrets")),
        "Secrets may be read though none is named"
    );
    Ok(format!("{lines} rules"))
}

fn rules(objects: &[Value], kind: &str) -> BTreeSet<String> {
    let roles = of_kind(objects, kind);
    let rules = roles.iter().filter_map(|role| role["rules"].as_array());
    rules.flatten().map(Value::to_string).collect()
}

/// Every flag of every container is one that the program knows.
pub(crate) fn flags(helm: &Helm) -> Result<String> {
    let mut count = 0;
    for file in values()? {
        for object in helm.objects(&file)? {
            let pod = match object["kind"].as_str() {
                Some("Deployment" | "StatefulSet" | "DaemonSet") => &object["spec"]["template"],
                Some("Pod") => &object,
                _ => continue,
            };
            let args = &pod["spec"]["containers"][0]["args"];
            let args: Vec<&str> = args
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let command = args.first().context("no subcommand")?;
            let help = Server::command().args([command, "--help"]).output()?;
            ensure!(help.status.success(), "reveille {command} --help");
            let help = String::from_utf8(help.stdout)?;
            let known: BTreeSet<&str> = help.split([' ', ',', '\n']).collect();
            for flag in args.iter().filter(|word| word.starts_with("--")) {
                let name = flag.split('=').next().unwrap_or_default();
                ensure!(known.contains(name), "reveille {command} knows no {name}");
                count += 1;
            }
        }
    }
    Ok(format!("{count} flags"))
}

/// `manifests` become a folder that `reveille check` takes.
pub(crate) fn manifests(helm: &Helm) -> Result<String> {
    let objects = helm.objects(&values_of("full"))?;
    let maps = of_kind(&objects, "ConfigMap");
    let map = maps
        .iter()
        .find(|map| map["data"].get("manifests.yaml").is_some());
    let map = map.context("no ConfigMap with manifests")?;
    let text = map["data"]["manifests.yaml"].as_str().unwrap_or_default();
    let file = helm.folder.path().join("checked.yaml");
    std::fs::write(&file, text)?;
    let output = Server::command().arg("check").arg(&file).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let pod = &the(&objects, "Deployment")?["spec"]["template"]["spec"];
    let name = &map["metadata"]["name"];
    let volume = json!({"name": "manifests", "configMap": {"name": name}});
    let volumes = pod["volumes"].as_array().context("no volumes")?;
    ensure!(volumes.contains(&volume), "{volumes:?}");
    Ok("read by reveille check".to_owned())
}

/// The Pod has what it needs of the node and nothing else.
pub(crate) fn pod(helm: &Helm) -> Result<String> {
    let objects = helm.objects(&values_of("default"))?;
    let pod = &the(&objects, "Deployment")?["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for (pointer, expected) in [
        ("/hostNetwork", json!(true)),
        ("/dnsPolicy", json!("ClusterFirstWithHostNet")),
        ("/securityContext/runAsNonRoot", json!(true)),
        ("/securityContext/runAsUser", json!(65532)),
        ("/securityContext/fsGroup", json!(65532)),
        (
            "/securityContext/seccompProfile/type",
            json!("RuntimeDefault"),
        ),
        (
            "/containers/0/securityContext/allowPrivilegeEscalation",
            json!(false),
        ),
        (
            "/containers/0/securityContext/readOnlyRootFilesystem",
            json!(true),
        ),
        (
            "/containers/0/securityContext/capabilities/drop",
            json!(["ALL"]),
        ),
        (
            "/containers/0/securityContext/capabilities/add",
            json!(["NET_BIND_SERVICE", "NET_RAW"]),
        ),
        (
            "/containers/0/terminationMessagePolicy",
            json!("FallbackToLogsOnError"),
        ),
    ] {
        ensure!(pod.pointer(pointer) == Some(&expected), "{pointer}: {pod}");
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        ensure!(container[probe].is_object(), "no {probe}");
    }
    ensure!(
        pod.get("hostPID").is_none() && pod.get("initContainers").is_none(),
        "{pod}"
    );
    let without = helm.set("network.hostNetwork=false,service.enabled=true")?;
    let pod = &the(&without, "Deployment")?["spec"]["template"]["spec"];
    ensure!(
        pod["hostNetwork"] == false && pod["dnsPolicy"] == "ClusterFirst",
        "{pod}"
    );
    Ok("non-root, read-only, two capabilities".to_owned())
}

/// Each kind of workload keeps its state where its Pods find it again.
pub(crate) fn kinds(helm: &Helm) -> Result<String> {
    let objects = helm.objects(&values_of("default"))?;
    let deployment = the(&objects, "Deployment")?;
    ensure!(
        deployment["spec"]["strategy"]["type"] == "Recreate",
        "{deployment}"
    );
    let claim = the(&objects, "PersistentVolumeClaim")?;
    ensure!(
        claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
            && deployment.pointer("/spec/template/spec/volumes/0/persistentVolumeClaim/claimName")
                == Some(&claim["metadata"]["name"]),
        "{claim}"
    );
    let objects = helm.objects(&values_of("statefulset"))?;
    let set = the(&objects, "StatefulSet")?;
    let args = set["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    ensure!(
        set["spec"]["replicas"] == 3
            && args.contains("--replicas=3")
            && set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] == ""
            && of_kind(&objects, "PersistentVolumeClaim").is_empty(),
        "{set}"
    );
    let services = of_kind(&objects, "Service");
    ensure!(
        services
            .iter()
            .any(|it| it["metadata"]["name"] == set["spec"]["serviceName"]),
        "no Service {}",
        set["spec"]["serviceName"]
    );
    let objects = helm.objects(&values_of("daemonset"))?;
    let set = the(&objects, "DaemonSet")?;
    let volumes = set["spec"]["template"]["spec"]["volumes"].to_string();
    ensure!(
        volumes.contains("/var/lib/reveille") && volumes.contains("/srv/boot"),
        "{volumes}"
    );
    let objects = helm.objects(&values_of("minimal"))?;
    let kinds: BTreeSet<&str> = objects
        .iter()
        .filter_map(|it| it["kind"].as_str())
        .collect();
    ensure!(kinds == BTreeSet::from(["Deployment", "Pod"]), "{kinds:?}");
    Ok("Deployment, StatefulSet, DaemonSet".to_owned())
}

/// Every value is in the README, as it is, and in the schema; the schema knows no other.
pub(crate) fn described(_: &Helm) -> Result<String> {
    for script in ["charts/readme.py", "charts/settings.py"] {
        let output = Command::new("python3")
            .args([script, "--check"])
            .current_dir(ROOT)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let read = |name: &str| std::fs::read_to_string(Path::new(CHART).join(name));
    let values: Value = serde_yaml::from_str(&read("values.yaml")?)?;
    let schema: Value = serde_json::from_str(&read("values.schema.json")?)?;
    let count = same_keys("", &values, &schema)?;
    Ok(format!("{count} values"))
}

/// Walks both: every group of the schema has the keys of the values, and takes no other.
fn same_keys(path: &str, values: &Value, schema: &Value) -> Result<usize> {
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object())
    else {
        return Ok(1);
    };
    ensure!(
        schema["additionalProperties"] == false,
        "{path}: the schema takes unknown keys"
    );
    let mut count = 0;
    for (name, value) in values {
        let path = format!("{path}.{name}");
        let inner = properties
            .get(name)
            .with_context(|| format!("{path} is not in the schema"))?;
        // A probe's settings are those of Kubernetes, `settings` the program's; not all have a default.
        count += match name.ends_with("Probe") || path == ".settings" {
            true => 1,
            false => same_keys(&path, value, inner)?,
        };
    }
    // Helm gives every chart `global`.
    let more = properties.keys().filter(|name| *name != "global");
    for name in more {
        ensure!(
            values.contains_key(name),
            "{path}.{name} is not in values.yaml"
        );
    }
    Ok(count)
}

/// Every value changes something that is rendered.
pub(crate) fn used(helm: &Helm) -> Result<String> {
    // What is seen only beside another value: the values that go with it.
    let beside = |name: &str| match name {
        ".networkPolicy.enabled" => "network.hostNetwork=false,service.enabled=true",
        ".network.hostNetwork" => "service.enabled=true",
        _ if name.ends_with(".enabled") => "global.beside=1",
        _ if name.starts_with(".service.") => "service.enabled=true",
        _ if name.starts_with(".network.multus") => {
            "network.hostNetwork=false,service.enabled=true"
        }
        _ if name.starts_with(".networkPolicy") => {
            "network.hostNetwork=false,service.enabled=true,networkPolicy.enabled=true"
        }
        _ if name.starts_with(".metrics.podMonitor") => "metrics.podMonitor.enabled=true",
        _ if name.starts_with(".metrics.serviceMonitor") => "metrics.serviceMonitor.enabled=true",
        _ if name.starts_with(".metrics.prometheusRule") => "metrics.prometheusRule.enabled=true",
        _ if name.starts_with(".podDisruptionBudget") => "podDisruptionBudget.enabled=true",
        _ => "global.beside=1",
    };
    let full: Value = serde_yaml::from_str(&std::fs::read_to_string(values_of("full"))?)?;
    let values = std::fs::read_to_string(Path::new(CHART).join("values.yaml"))?;
    let values: Value = serde_yaml::from_str(&values)?;
    let mut leaves = Vec::new();
    leaves_of("", &values, &mut leaves);
    let text = |set: &str| helm.run(&["template", "edge", CHART, "-n", "boot", "--set", set]);
    let mut plain: BTreeMap<&str, String> = BTreeMap::new();
    let mut tried = 0;
    // Dashboards show only where there are some; `monitoring` looks at them.
    leaves.retain(|(name, _)| !name.starts_with(".metrics.dashboards"));
    for (name, default) in &leaves {
        let pointer = name.replace('.', "/");
        let other = match full.pointer(&pointer) {
            Some(other) if other != default => other.clone(),
            _ => match other_than(name, default) {
                Some(other) => other,
                None => continue,
            },
        };
        let with = beside(name);
        if !plain.contains_key(with) {
            plain.insert(with, text(with)?);
        }
        let set = format!("{}={other}", name.trim_start_matches('.'));
        let words = [
            "template",
            "edge",
            CHART,
            "-n",
            "boot",
            "--set",
            with,
            "--set-json",
            &set,
        ];
        let output = helm.output(&words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{set}: {said}");
        let same = plain.get(with).map(String::as_bytes) == Some(&output.stdout[..]);
        ensure!(!same, "{set} beside {with} changes nothing");
        tried += 1;
    }
    Ok(format!("{tried} of {}", leaves.len()))
}

fn leaves_of(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    // Settings of Kubernetes in one piece.
    let whole = ["ecurityContext", "Probe", ".resources", ".labels"];
    let group = value.as_object().filter(|map| !map.is_empty());
    match group {
        Some(map) if !whole.iter().any(|end| path.ends_with(end)) => {
            for (name, value) in map {
                leaves_of(&format!("{path}.{name}"), value, out);
            }
        }
        _ => out.push((path.to_owned(), value.clone())),
    }
}

/// Another value of the same type; `None` for what has no effect that is seen in text.
fn other_than(name: &str, default: &Value) -> Option<Value> {
    Some(match name {
        ".kind" => json!("StatefulSet"),
        // Tried by `kinds` and `refused`: alone they are refused or show nothing.
        ".replicas" => return None,
        ".persistence.accessModes" => json!(["ReadWriteMany"]),
        ".service.type" => json!("NodePort"),
        ".service.externalTrafficPolicy" => json!("Cluster"),
        ".network.dnsPolicy" => json!("Default"),
        ".manifestsConfigMap" | ".persistence.existingClaim" | ".image.tag" => json!("other"),
        ".artifacts.hostPath" | ".artifacts.store.hostPath" | ".persistence.hostPath" => {
            json!("/other")
        }
        ".fullnameOverride" => json!("other"),
        ".ports.tftp" => json!(6969),
        ".podSecurityContext" | ".securityContext" => json!({"runAsUser": 1}),
        ".resources" => json!({"limits": {"memory": "1Gi"}}),
        ".livenessProbe" | ".readinessProbe" => json!({"periodSeconds": 99}),
        ".metrics.podMonitor.labels" => json!({"s": "t"}),
        ".metrics.podMonitor.interval" => json!("2m"),
        _ => json!(!default.as_bool()?),
    })
}

/// What the Prometheus operator and Grafana are given.
pub(crate) fn monitoring(helm: &Helm) -> Result<String> {
    let objects = helm.objects(&values_of("full"))?;
    let monitor = the(&objects, "ServiceMonitor")?;
    let wanted = &monitor["spec"]["selector"]["matchLabels"];
    let services = of_kind(&objects, "Service");
    let chosen = services.iter().filter(|service| {
        let labels = &service["metadata"]["labels"];
        let mut wanted = wanted.as_object().into_iter().flatten();
        wanted.all(|(name, value)| labels.get(name) == Some(value))
    });
    let chosen: Vec<_> = chosen.collect();
    ensure!(chosen.len() == 1, "it selects {} Services", chosen.len());
    let ports = chosen[0]["spec"]["ports"].to_string();
    ensure!(ports.contains("\"metrics\""), "{ports}");
    the(&objects, "PrometheusRule")?;

    // Each dashboard byte for byte, each group of alerts once.
    let dashboards = files("dashboards", "json")?;
    let maps = of_kind(&objects, "ConfigMap");
    for (name, text) in &dashboards {
        let found = maps.iter().find_map(|map| map["data"][name].as_str());
        ensure!(
            found.map(str::trim_end) == Some(text.trim_end()),
            "{name} is another"
        );
    }
    let mut groups = Vec::new();
    for (_, text) in files("dashboards/alerts", "yaml")? {
        let alerts: Value = serde_yaml::from_str(&text)?;
        groups.extend(alerts["groups"].as_array().cloned().unwrap_or_default());
    }
    let rendered = &the(&objects, "PrometheusRule")?["spec"]["groups"];
    ensure!(*rendered == Value::Array(groups.clone()), "{rendered}");
    let pods = helm.set("metrics.podMonitor.enabled=true")?;
    let pods = the(&pods, "PodMonitor")?;
    ensure!(
        pods["spec"]["podMetricsEndpoints"][0]["port"] == "admin",
        "{pods}"
    );
    Ok(format!(
        "{} dashboards, {} groups of alerts",
        dashboards.len(),
        groups.len()
    ))
}

fn files(folder: &str, ending: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(Path::new(ROOT).join(folder))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == ending) {
            let name = path.file_name().context("a name")?.to_string_lossy();
            found.push((name.into_owned(), std::fs::read_to_string(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

/// What cannot work, and words of the cure.
const REFUSED: &[(&str, &str)] = &[
    ("nonsense=1", "'nonsense' not allowed"),
    ("network.nonsense=1", "'nonsense' not allowed"),
    ("settings.nonsense=1", "'nonsense' not allowed"),
    // What another value sets, and what a Pod must not.
    ("settings.http=1", "'http' not allowed"),
    ("settings.kubeconfig=x", "'kubeconfig' not allowed"),
    ("settings.tftp-upload-replace=yes", "want boolean"),
    ("settings.discovered-max=many", "want integer"),
    ("settings.root=isos", "want array"),
    (
        "kind=Job",
        "one of 'Deployment', 'StatefulSet', 'DaemonSet'",
    ),
    ("replicas=0", "minimum"),
    ("replicas=9", "maximum"),
    ("replicas=2", "set kind: StatefulSet"),
    (
        "kind=DaemonSet,replicas=2,persistence.hostPath=/x",
        "leave replicas at 1",
    ),
    ("kind=DaemonSet", "set persistence.hostPath"),
    (
        "kind=DaemonSet,persistence.existingClaim=x",
        "set persistence.hostPath",
    ),
    (
        "kind=DaemonSet,persistence.accessModes={ReadWriteMany}",
        "cannot share a lease database",
    ),
    (
        "kind=StatefulSet,persistence.existingClaim=x",
        "a volume of its own",
    ),
    (
        "persistence.existingClaim=x,persistence.hostPath=/x",
        "leave one empty",
    ),
    ("persistence.hostPath=x", "does not match pattern"),
    ("persistence.size=much", "does not match pattern"),
    (
        "persistence.accessModes={ReadOnlyMany}",
        "one of 'ReadWriteOnce'",
    ),
    (
        "artifacts.existingClaim=x,artifacts.hostPath=/x",
        "leave one empty",
    ),
    (
        "artifacts.store.existingClaim=x,artifacts.store.hostPath=/x",
        "leave one empty",
    ),
    (
        "kind=StatefulSet,artifacts.store.existingClaim=x",
        "a store has one owner",
    ),
    ("artifacts.graceSeconds=soon", "got string, want integer"),
    (
        "artifacts.plainRegistries[0]=http://x",
        "does not match pattern",
    ),
    ("artifacts.files[0]=x", "does not match pattern"),
    ("network.hostNetwork=false", "set network.multus"),
    ("network.multus[0].name=x", "set network.hostNetwork: false"),
    (
        "networkPolicy.enabled=true",
        "set network.hostNetwork: false",
    ),
    ("ports.http=99999", "maximum"),
    ("ports.http=9167", "choose another for one"),
    ("image.digest=latest", "does not match pattern"),
    ("image.pullPolicy=Sometimes", "one of 'Always'"),
    ("log.format=xml", "one of 'json'"),
    ("tests.mac=here", "does not match pattern"),
    ("extraEnv[0].value=x", "missing property 'name'"),
    ("manifests[0].kind=Subnet", "missing propert"),
    (
        "manifests[0].apiVersion=v1,manifests[0].kind=Secret,manifests[0].metadata.name=x",
        "put other objects into extraObjects",
    ),
    (
        "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true",
        "enable one",
    ),
    (
        "metrics.serviceMonitor.enabled=true,metrics.service.enabled=false",
        "set metrics.service.enabled: true",
    ),
    (
        "metrics.serviceMonitor.interval=often",
        "does not match pattern",
    ),
];

/// What cannot work is refused before anything is installed, in a sentence.
pub(crate) fn refused(helm: &Helm) -> Result<String> {
    for (set, words) in REFUSED {
        let output = helm.output(&["template", "edge", CHART, "--set", set])?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            bail!("--set {set} is taken");
        }
        ensure!(said.contains(words), "--set {set}: no `{words}` in: {said}");
    }
    Ok(format!("{} mistakes", REFUSED.len()))
}
