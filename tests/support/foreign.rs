//! Somebody else's DHCP server, on a host of its own: it lends addresses and knows nothing of booting.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::ns;
use super::process::Process;

/// The host that it runs on, and its card.
const HOST: &str = "router";
const MAC: &str = "02:00:00:00:fe:01";

/// Its address.
pub(crate) const ROUTER: &str = "192.0.2.254";

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dnsmasq,
    Kea,
}

/// The host, plugged in; the server runs while there is one.
#[derive(Debug)]
pub(crate) struct Foreign {
    kind: Kind,
    folder: PathBuf,
    process: Option<Process>,
}

// === impl Kind ===

impl Kind {
    /// Its program.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Kea => "kea-dhcp4",
        }
    }

    /// What it is told: the addresses from 192.0.2.50 on, and nothing about booting.
    fn settings(self, folder: &Path) -> String {
        match self {
            Self::Dnsmasq => format!(
                "port=0\ninterface={HOST}\nbind-interfaces\ndhcp-authoritative\nno-ping\n\
                 dhcp-range=192.0.2.50,192.0.2.79,1h\ndhcp-option=option:router,{ROUTER}\n\
                 dhcp-leasefile={}\nlog-dhcp\n",
                folder.join("dnsmasq.leases").display()
            ),
            Self::Kea => format!(
                r#"{{"Dhcp4": {{
  "interfaces-config": {{"interfaces": ["{HOST}"]}},
  "lease-database": {{"type": "memfile", "persist": false}},
  "valid-lifetime": 3600,
  "subnet4": [{{"subnet": "192.0.2.0/24", "interface": "{HOST}",
    "pools": [{{"pool": "192.0.2.50 - 192.0.2.79"}}],
    "option-data": [{{"name": "routers", "data": "{ROUTER}"}}]}}],
  "loggers": [{{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{{"output": "stderr"}}]}}]
}}}}
"#
            ),
        }
    }
}

// === impl Foreign ===

impl Foreign {
    /// Plugs its host into the bridge; it does not serve yet. The room needs a `/run` of its own.
    pub(crate) fn plug(kind: Kind, folder: &Path) -> Result<Self> {
        ns::host(HOST, MAC)?;
        ns::run(&format!("ip -n {HOST} address add {ROUTER}/24 dev {HOST}"))?;
        Ok(Self {
            kind,
            folder: folder.to_owned(),
            process: None,
        })
    }

    /// Another server on the host of one that was plugged in before, and has gone.
    pub(crate) fn beside_the_last(kind: Kind, folder: &Path) -> Self {
        Self {
            kind,
            folder: folder.to_owned(),
            process: None,
        }
    }

    /// Starts it.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.start_with("")
    }

    /// Starts it with more settings, in its language.
    pub(crate) fn start_with(&mut self, more: &str) -> Result<()> {
        let program = self.kind.program();
        let settings = self.folder.join(format!("{program}.conf"));
        let own = self.kind.settings(&self.folder);
        let text = match self.kind {
            Kind::Dnsmasq => own + more,
            Kind::Kea if more.is_empty() => own,
            Kind::Kea => own.replacen(
                r#"{"Dhcp4": {"#,
                &format!("{{\"Dhcp4\": {{\n{},", more.trim_end()),
                1,
            ),
        };
        std::fs::write(&settings, text)?;
        let mut command = ns::on(HOST, program);
        match self.kind {
            Kind::Dnsmasq => command
                .args(["--no-daemon", "--user=root", "--pid-file="])
                .arg(format!("--conf-file={}", settings.display())),
            Kind::Kea => command
                .env("KEA_PIDFILE_DIR", &self.folder)
                .env("KEA_LOCKFILE_DIR", "none")
                .arg("-c")
                .arg(&settings),
        };
        let log = self.folder.join(format!("{program}.log"));
        self.process = Some(Process::spawn(program, command, &log)?);
        Ok(())
    }

    /// Ends it without a word to it.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }
}
