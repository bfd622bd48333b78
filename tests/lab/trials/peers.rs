//! `reveille probe` against what people have: Kea with tftpd-hpa and nginx, dnsmasq alone, and dnsmasq as a
//! proxy beside Kea. None of our own servers runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::probe::{plug, probe, steps, whole};
use super::site::{KERNEL, SERVER, Site, said, until};
use crate::ns;
use crate::support::process::Process;

/// What iPXE is sent, here by hand.
const SCRIPT: &str = "#!ipxe
kernel linux/vmlinuz console=ttyS0
initrd linux/initrd.img
boot
";

/// Each of them, and what the probe says of it.
pub(super) fn are_probed(site: &mut Site) -> Result<Vec<String>> {
    plug()?;
    let tree = site.folder.join("artifacts");
    fs::write(tree.join("boot.ipxe"), SCRIPT)?;
    for loader in ["undionly.kpxe", "ipxe.efi"] {
        let from = Path::new("/usr/lib/ipxe").join(loader);
        fs::copy(&from, tree.join(loader)).with_context(|| from.display().to_string())?;
    }
    ns::run(&format!("chmod -R a+rX {}", tree.display()))?;
    let folder = site.folder.clone();
    let mut seen = Vec::new();

    let _web = nginx(&folder, &tree)?;
    let tftp = tftpd(&folder, &tree)?;
    let kea = start_kea(&folder, true)?;
    let went = boots("bios,uefi,ipxe")?;
    let mut want = whole("bios", true);
    want.extend(whole("uefi", true));
    want.extend(whole("ipxe", false));
    ensure!(went == want, "Kea: {went:?}");
    seen.push("Kea, tftpd-hpa, nginx: BIOS, UEFI and iPXE boot to the initrd".to_owned());
    drop(kea);

    // A proxy beside a Kea that knows of no boots; UEFI is sent to UDP 4011.
    let kea = start_kea(&folder, false)?;
    let proxy = start_dnsmasq(&folder, &tree, true)?;
    let went = boots("bios,uefi")?;
    ensure!(
        went.iter().all(|step| step.ends_with("pass")),
        "the proxy: {went:?}"
    );
    ensure!(
        went.iter().any(|step| step == "uefi 4011 pass"),
        "UEFI was not sent to 4011: {went:?}"
    );
    seen.push("dnsmasq as a proxy beside Kea: 4011 is asked".to_owned());
    drop((kea, proxy, tftp));

    let dnsmasq = start_dnsmasq(&folder, &tree, false)?;
    let went = boots("bios,uefi,ipxe")?;
    ensure!(went == want, "dnsmasq: {went:?}");
    seen.push("dnsmasq alone: the same".to_owned());

    // What is wrong is named: a kernel that is not there.
    fs::remove_file(tree.join(KERNEL))?;
    let output = probe(&["--as", "ipxe", "--wait", "1"])?;
    let text = said(&output);
    ensure!(output.status.code() == Some(1), "{text}");
    ensure!(
        text.contains("FAIL  ipxe    kernel") && text.contains("status 404"),
        "{text}"
    );
    // And nobody at all.
    drop(dnsmasq);
    let output = probe(&["--as", "plain", "--wait", "1"])?;
    let text = said(&output);
    ensure!(output.status.code() == Some(1), "{text}");
    ensure!(text.contains("no address was offered within 1 s"), "{text}");
    Ok(seen)
}

fn boots(clients: &str) -> Result<Vec<String>> {
    let output = probe(&["--as", clients, "--wait", "2", "--output", "json"])?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the probe: {}", said(&output)))?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(steps(&report))
}

/// Kea; with the boot files, or for addresses only.
fn start_kea(folder: &Path, boots: bool) -> Result<Process> {
    let class = |name: &str, test: &str, file: &str| json!({"name": name, "test": test, "boot-file-name": file, "next-server": SERVER});
    let script = format!("http://{SERVER}/boot.ipxe");
    let classes = json!([
        class("iPXE", "option[77].hex == 'iPXE'", &script),
        class(
            "uefi",
            "not member('iPXE') and option[93].hex == 0x0007",
            "ipxe.efi"
        ),
        class(
            "bios",
            "not member('iPXE') and option[93].hex == 0x0000",
            "undionly.kpxe"
        ),
    ]);
    let mut config = json!({"Dhcp4": {
        "interfaces-config": {"interfaces": ["br0"]},
        "lease-database": {"type": "memfile", "persist": false},
        "multi-threading": {"enable-multi-threading": false},
        "subnet4": [{
            "subnet": "192.0.2.0/24",
            "pools": [{"pool": "192.0.2.100 - 192.0.2.120"}],
            "option-data": [{"name": "routers", "data": SERVER.to_string()}],
        }],
        "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stderr"}]}],
    }});
    // It takes no empty list of them.
    if boots {
        config["Dhcp4"]["client-classes"] = classes;
    }
    let path = folder.join("kea.json");
    fs::write(&path, config.to_string())?;
    let log = folder.join(format!("kea-{boots}.log"));
    let mut command = Command::new("kea-dhcp4");
    command.arg("-c").arg(&path);
    for name in ["KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"] {
        command.env(name, folder);
    }
    let process = Process::spawn("Kea", command, &log)?;
    says(process, &log, "DHCP4_STARTED")
}

/// dnsmasq: alone with everything, or as a proxy that UEFI asks at 4011.
fn start_dnsmasq(folder: &Path, tree: &Path, proxy: bool) -> Result<Process> {
    let log = folder.join(format!("dnsmasq-{proxy}.log"));
    // Beside Kea it needs a host of its own: both want port 67.
    let (mut command, card) = if proxy {
        ns::host("proxy", "02:00:00:00:30:02")?;
        ns::run("ip -n proxy address add 192.0.2.8/24 dev proxy")?;
        (ns::on("proxy", "dnsmasq"), "proxy")
    } else {
        (Command::new("dnsmasq"), ns::BRIDGE)
    };
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
        .args(["--bind-interfaces", "--log-facility=-", "--no-ping"])
        .arg(format!("--interface={card}"))
        .arg(format!(
            "--dhcp-leasefile={}",
            folder.join("dnsmasq.leases").display()
        ))
        .args([
            "--dhcp-match=set:ipxe,175",
            "--dhcp-userclass=set:ipxe,iPXE",
        ])
        .args(["--dhcp-match=set:uefi,option:client-arch,7"]);
    let script = format!("http://{SERVER}/boot.ipxe");
    if proxy {
        command
            .arg("--dhcp-range=192.0.2.0,proxy")
            .arg(format!("--dhcp-boot=tag:ipxe,{script}"))
            .arg("--pxe-service=tag:!ipxe,x86PC,undionly,undionly.kpxe,192.0.2.1")
            .arg("--pxe-service=tag:!ipxe,X86-64_EFI,ipxe,ipxe.efi,192.0.2.1");
    } else {
        command
            .arg("--dhcp-range=192.0.2.130,192.0.2.150")
            .arg("--enable-tftp")
            .arg(format!("--tftp-root={}", tree.display()))
            .arg(format!("--dhcp-boot=tag:ipxe,{script}"))
            .arg("--dhcp-boot=tag:!ipxe,tag:uefi,ipxe.efi")
            .arg("--dhcp-boot=tag:!ipxe,tag:!uefi,undionly.kpxe");
    }
    let process = Process::spawn("dnsmasq", command, &log)?;
    says(process, &log, "started, version")
}

fn tftpd(folder: &Path, tree: &Path) -> Result<Process> {
    let log = folder.join("tftpd.log");
    let mut command = Command::new("in.tftpd");
    command
        .args(["--foreground", "--address"])
        .arg(format!("{SERVER}:69"));
    command.args(["--user", "root", "--secure"]).arg(tree);
    let process = Process::spawn("tftpd-hpa", command, &log)?;
    until("tftpd's port", || {
        Ok(fs::read_to_string("/proc/net/udp")?
            .contains(":0045 ")
            .then_some(()))
    })?;
    Ok(process)
}

fn nginx(folder: &Path, tree: &Path) -> Result<Process> {
    let config = format!(
        "daemon off; master_process off; pid {0}/nginx.pid; error_log stderr;
events {{}}
http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
  uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; server {{ listen {SERVER}:80; root {1}; }} }}
",
        folder.display(),
        tree.display()
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&path);
    let process = Process::spawn("nginx", command, &folder.join("nginx.log"))?;
    until("nginx's port", || {
        Ok(fs::read_to_string("/proc/net/tcp")?
            .contains(":0050 ")
            .then_some(()))
    })?;
    Ok(process)
}

/// Waits until it says that it is there.
fn says(mut process: Process, log: &Path, words: &str) -> Result<Process> {
    until(&format!("`{words}` in {}", log.display()), || {
        process.alive()?;
        Ok(fs::read_to_string(log)?.contains(words).then_some(()))
    })?;
    Ok(process)
}
