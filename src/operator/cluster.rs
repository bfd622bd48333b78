//! Which cluster, and which part of it. Shell.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::leader::{LeaderConfig, Place};
use super::proxy;

/// How long a connection may take. The data plane waits for none of it.
const CONNECT: Duration = Duration::from_secs(5);
const NO_CLUSTER: &str = "there is no cluster: this is no Pod, and no kubeconfig is found; name one with --kubeconfig, or serve a folder with `reveille serve`";

/// Settings of the cluster.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// The namespace whose resources are served. Default: the Pod's own, or
    /// that of the kubeconfig's context.
    #[arg(
        long,
        short = 'n',
        env = "REVEILLE_NAMESPACE",
        value_name = "NAMESPACE",
        conflicts_with = "all_namespaces"
    )]
    pub namespace: Option<String>,

    /// Serve the resources of all namespaces.
    #[arg(long, short = 'A', env = "REVEILLE_ALL_NAMESPACES")]
    pub all_namespaces: bool,

    /// A folder or file with manifests that is read beside the API; may be
    /// given several times. An object of the same name in the API wins.
    #[arg(
        long,
        env = "REVEILLE_MANIFESTS",
        value_name = "PATH",
        value_delimiter = ':'
    )]
    pub manifests: Vec<PathBuf>,

    /// The kubeconfig to use. Default: the Pod's ServiceAccount, else
    /// $KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Settings of replicas.
    #[command(flatten)]
    pub leader: LeaderConfig,
}

/// A cluster, and the part of it that is served; cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// Talks to its API server.
    pub client: Client,
    /// Where that is.
    pub url: String,
    /// Our own namespace: objects of files are in it, and what is ours is.
    pub own: String,
    /// Whether all namespaces are served.
    pub all: bool,
    /// Which of how many replicas this is.
    pub place: Arc<Place>,
}

// === impl Cluster ===

impl Cluster {
    /// Finds the cluster. Nothing is asked of it yet. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Neither a ServiceAccount nor a kubeconfig that can be used.
    pub async fn find(args: &ClusterArgs) -> anyhow::Result<Self> {
        let place = args.leader.place(&name()?)?;
        let options = KubeConfigOptions {
            context: args.context.clone(),
            ..KubeConfigOptions::default()
        };
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let (mut config, from) = match &args.kubeconfig {
            Some(path) => {
                let named = || format!("--kubeconfig {}", path.display());
                let file = Kubeconfig::read_from(path).with_context(named)?;
                let config = of_kubeconfig(file, &options).await.with_context(named)?;
                (config, path.display().to_string())
            }
            // No proxy stands between a Pod and its own API server.
            None if in_pod && args.context.is_none() => {
                let config = Config::incluster()
                    .context("the Pod's ServiceAccount; is automountServiceAccountToken off?")?;
                (config, "the Pod's ServiceAccount".to_owned())
            }
            None => {
                let file = Kubeconfig::read().context(NO_CLUSTER)?;
                let config = of_kubeconfig(file, &options).await.context(NO_CLUSTER)?;
                (config, "the kubeconfig".to_owned())
            }
        };
        config.connect_timeout = Some(CONNECT);
        // Whoever asks waits and asks again by itself, and says why. The client's own retries of 429, 503
        // and 504 would keep all three from it.
        config.default_retry = false;
        let agent = HeaderValue::from_static(concat!("reveille/", env!("CARGO_PKG_VERSION")));
        config.headers.push((USER_AGENT, agent));
        let own = args.namespace.clone();
        let own = own.unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string();
        let proxy = config.proxy_url.as_ref().map(proxy::shown);
        let client = Client::try_from(config).context("the API server's client")?;
        let cluster = Self {
            client,
            url,
            own,
            all: args.all_namespaces,
            place: Arc::new(place),
        };
        tracing::info!(
            server = cluster.url,
            credentials = from,
            proxy,
            namespace = cluster.namespace().unwrap_or("all"),
            "resources are watched"
        );
        Ok(cluster)
    }

    /// The one namespace that is served; `None` for all.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        (!self.all).then_some(self.own.as_str())
    }
}

/// What a kubeconfig says, with the proxy that it or the environment names.
async fn of_kubeconfig(file: Kubeconfig, options: &KubeConfigOptions) -> anyhow::Result<Config> {
    let mut config = Config::from_custom_kubeconfig(file.clone(), options).await?;
    let context = options.context.as_deref();
    let variable = |name: &str| std::env::var(name).ok();
    config.proxy_url = proxy::of_kubeconfig(&file, context, &config.cluster_url, &variable)?;
    Ok(config)
}

/// The name of the Pod, or else of the host.
fn name() -> anyhow::Result<String> {
    let pod = std::env::var("POD_NAME").ok();
    if let Some(pod) = pod.filter(|pod| !pod.is_empty()) {
        return Ok(pod);
    }
    let path = "/proc/sys/kernel/hostname";
    let name = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    Ok(name.trim().to_owned())
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("url", &self.url)
            .field("own", &self.own)
            .field("all", &self.all)
            .finish_non_exhaustive()
    }
}
