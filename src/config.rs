//! The settings of the service: flags and environment, validated once.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use clap::Args;

use crate::dhcp::settings::DhcpArgs;
use crate::discover::DiscoverArgs;
use crate::governor::TRANSFERS_PER_LINK;
use crate::http::HttpArgs;
use crate::telemetry::{LogFormat, LogTarget};
use crate::tftp::TftpArgs;

/// Settings of the service. Each flag has an environment variable.
#[derive(Clone, Debug, Args)]
pub struct ServiceConfig {
    /// Where leases and discovered machines are kept. Made with mode 750 when it
    /// is missing.
    #[arg(
        long,
        env = "REVEILLE_STATE",
        value_name = "DIR",
        default_value = "/var/lib/reveille"
    )]
    pub state: PathBuf,

    /// The artifact tree: kernels, initrds and other files, served over TFTP
    /// and at HTTP `/`. Made with mode 755 when it is missing.
    #[arg(
        long,
        env = "REVEILLE_ARTIFACTS",
        value_name = "DIR",
        default_value = "/srv/reveille"
    )]
    pub artifacts: PathBuf,

    /// A folder with iPXE loaders; may be given several times. A file of the
    /// same name in the artifact tree wins.
    #[arg(
        long,
        env = "REVEILLE_LOADERS",
        value_name = "DIR",
        value_delimiter = ':',
        default_value = "/usr/lib/ipxe"
    )]
    pub loaders: Vec<PathBuf>,

    /// A further folder, served at `/NAME/`; may be given several times.
    #[arg(
        long = "root",
        env = "REVEILLE_ROOTS",
        value_name = "NAME=DIR",
        value_delimiter = ':',
        value_parser = parse_root
    )]
    pub roots: Vec<(String, PathBuf)>,

    /// The store of Artifacts, which may be on a volume of its own. Made when
    /// it is missing. Default: artifacts in the state folder.
    #[arg(long, env = "REVEILLE_ARTIFACT_STORE", value_name = "DIR")]
    pub artifact_store: Option<PathBuf>,

    /// A folder whose files Artifacts may name by file:// URLs; may be given
    /// several times.
    #[arg(
        long,
        env = "REVEILLE_ARTIFACT_FILES",
        value_name = "DIR",
        value_delimiter = ':'
    )]
    pub artifact_files: Vec<PathBuf>,

    /// Seconds for which a replaced tree and an Artifact that was deleted stay
    /// in the store.
    #[arg(
        long,
        env = "REVEILLE_ARTIFACT_GRACE",
        value_name = "SECONDS",
        default_value_t = 3600
    )]
    pub artifact_grace: u32,

    /// A registry that is asked without TLS, as host or host:port; may be given
    /// several times. Digests hold all the same.
    #[arg(
        long = "artifact-plain-registry",
        env = "REVEILLE_ARTIFACT_PLAIN_REGISTRIES",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub artifact_plain_registries: Vec<String>,

    /// The folder of Secrets, where there is no cluster: NAME/KEY, or NAME.KEY
    /// as systemd has credentials.
    #[arg(long, env = "REVEILLE_SECRETS", value_name = "DIR")]
    pub secrets: Option<PathBuf>,

    /// The folder of ConfigMaps that answer files include, where there is no
    /// cluster: NAME/KEY.
    #[arg(long, env = "REVEILLE_CONFIG_MAPS", value_name = "DIR")]
    pub config_maps: Option<PathBuf>,

    /// A file with 32 random bytes at least, the key of boot tokens; for
    /// replicas that are to know each other's. Default: boot.key in the state
    /// folder, made when it is missing.
    #[arg(long, env = "REVEILLE_BOOT_KEY", value_name = "FILE")]
    pub boot_key: Option<PathBuf>,

    /// Where HTTP listens.
    #[arg(
        long,
        env = "REVEILLE_HTTP",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:80"
    )]
    pub http: SocketAddrV4,

    /// Settings of TLS.
    #[command(flatten)]
    pub tls: TlsConfig,

    /// Where TFTP listens. `[::]:69` takes IPv6 and IPv4.
    #[arg(
        long,
        env = "REVEILLE_TFTP",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:69"
    )]
    pub tftp: SocketAddr,

    /// Settings of TFTP.
    #[command(flatten)]
    pub tftp_args: TftpArgs,

    /// Where /healthz, /readyz, /metrics, /status and the tables are, for reading
    /// only. Not for machines: keep it on a trusted address.
    #[arg(
        long,
        env = "REVEILLE_ADMIN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:9167"
    )]
    pub admin: SocketAddr,

    /// The Unix socket of `reveille get`, `status`, `log` and `approve`; for its
    /// owner and group. Default: admin.sock in the state folder.
    #[arg(long, env = "REVEILLE_ADMIN_SOCKET", value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,

    /// Settings of HTTP.
    #[command(flatten)]
    pub http_args: HttpArgs,

    /// Large transfers, by TFTP and HTTP together, at a time on one link; the
    /// others wait for their turn. 0: as many as come.
    #[arg(
        long,
        env = "REVEILLE_TRANSFERS_PER_LINK",
        value_name = "COUNT",
        default_value_t = TRANSFERS_PER_LINK
    )]
    pub transfers_per_link: usize,

    /// Settings of DHCP.
    #[command(flatten)]
    pub dhcp: DhcpArgs,

    /// Settings of discovery.
    #[command(flatten)]
    pub discover: DiscoverArgs,

    /// The user to become once started; root only. CAP_NET_BIND_SERVICE and
    /// CAP_NET_RAW are kept.
    #[arg(long, env = "REVEILLE_USER", value_name = "NAME")]
    pub user: Option<String>,

    /// Settings of log lines.
    #[command(flatten)]
    pub log: LogConfig,

    /// Where boots are sent as OpenTelemetry traces: a collector's OTLP over
    /// HTTP, such as http://127.0.0.1:4318. A URL without a path means
    /// /v1/traces.
    #[cfg(feature = "otlp")]
    #[arg(long, env = "REVEILLE_TRACES_TO", value_name = "URL", value_parser = crate::traces::parse_url)]
    pub traces_to: Option<String>,
}

/// Settings of TLS.
#[derive(Clone, Debug, Args)]
pub struct TlsConfig {
    /// Where HTTPS listens, such as 0.0.0.0:443; nowhere without it.
    #[arg(long, env = "REVEILLE_HTTPS", value_name = "ADDRESS:PORT")]
    pub https: Option<SocketAddrV4>,

    /// A folder with tls.crt and tls.key, as a Secret is mounted, or other pairs of
    /// NAME.crt and NAME.key; looked at again when it changes. May be given several
    /// times. Without one an authority of our own signs, which is made in the state
    /// folder: `reveille ca` prints its certificate.
    #[arg(
        long = "tls",
        env = "REVEILLE_TLS",
        value_name = "DIR",
        value_delimiter = ':'
    )]
    pub folders: Vec<PathBuf>,

    /// A folder with the admin port's certificate, which then speaks TLS only.
    #[arg(long, env = "REVEILLE_ADMIN_TLS", value_name = "DIR")]
    pub admin_tls: Option<PathBuf>,

    /// A file with the authorities (PEM) that sign the certificates of those who may
    /// ask the admin port for more than /healthz and /readyz.
    #[arg(
        long,
        env = "REVEILLE_ADMIN_CLIENT_CA",
        value_name = "FILE",
        requires = "admin_tls"
    )]
    pub admin_client_ca: Option<PathBuf>,
}

/// Settings of log lines.
#[derive(Clone, Debug, Args)]
pub struct LogConfig {
    /// How log lines look.
    #[arg(long, env = "REVEILLE_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Where log lines go: stderr, stdout, or a file. A file is opened anew at
    /// SIGHUP, so that logrotate may move it away.
    #[arg(
        long,
        env = "REVEILLE_LOG_TO",
        value_name = "WHERE",
        default_value = "stderr"
    )]
    pub log_to: LogTarget,

    /// What is logged: a level, or levels by part (`info,reveille::dhcp=debug`).
    #[arg(
        long = "log",
        env = "REVEILLE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
}

/// The name of the admin socket in the state folder.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// The name of the store of Artifacts in the state folder.
pub const ARTIFACT_STORE: &str = "artifacts";

impl ServiceConfig {
    /// Where the store of Artifacts is.
    #[must_use]
    pub fn artifact_store(&self) -> PathBuf {
        self.artifact_store
            .clone()
            .unwrap_or_else(|| self.state.join(ARTIFACT_STORE))
    }

    /// Where the admin socket is.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.admin_socket
            .clone()
            .unwrap_or_else(|| self.state.join(ADMIN_SOCKET))
    }
}

/// Reads `NAME=DIR`.
fn parse_root(text: &str) -> Result<(String, PathBuf), String> {
    let wrong = || format!("`{text}` is not NAME=DIR, such as isos=/srv/isos");
    let (name, dir) = text.split_once('=').ok_or_else(wrong)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name == "reveille" {
        return Err("`reveille` is the service's own path; choose another name".to_owned());
    }
    if name == "artifacts" {
        return Err("`artifacts` is where Artifacts are served; choose another name".to_owned());
    }
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) || dir.is_empty() {
        return Err(wrong());
    }
    Ok((name.to_owned(), PathBuf::from(dir)))
}
