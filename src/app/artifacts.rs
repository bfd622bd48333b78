//! The store of artifacts and its keeper, and where Secrets are. Shell.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::{Manifests, Parts};
use crate::artifact::fetch::Fetcher;
use crate::artifact::keep::{Keeper, ScrubAsk, Tools};
use crate::artifact::metrics::ArtifactMetrics;
use crate::artifact::secrets::Secrets;
use crate::artifact::store::Store;
use crate::config::ServiceConfig;
use crate::http::AnswerFiles;
use crate::supervisor::Supervisor;

/// Scrubs that may be asked for at once.
const SCRUBS: usize = 4;

/// Opens the store. Where that cannot be done the service serves without it:
/// addresses and the artifact tree are not its affair.
pub(super) fn open(config: &ServiceConfig) -> Option<Arc<Store>> {
    let folder = config.artifact_store();
    match Store::open(&folder) {
        Ok(store) => Some(Arc::new(store)),
        Err(error) => {
            let cause = if error.kind() == io::ErrorKind::WouldBlock {
                "another process has it open; stop that, or name another folder".to_owned()
            } else {
                error.to_string()
            };
            tracing::error!(store = %folder.display(), cause, "the store of artifacts cannot be used");
            None
        }
    }
}

/// What makes answer files, with their Secrets and ConfigMaps.
pub(super) fn answer_files(config: &ServiceConfig, manifests: &Manifests) -> AnswerFiles {
    AnswerFiles::new(
        values(manifests, config.secrets.as_ref()),
        values(manifests, config.config_maps.as_ref()),
    )
}

/// Where Secrets or ConfigMaps are: in the cluster, else in `folder`.
fn values(manifests: &Manifests, folder: Option<&PathBuf>) -> Secrets {
    match (manifests, folder) {
        (Manifests::Cluster(cluster, _), _) => Secrets::Cluster(cluster.client.clone()),
        (Manifests::Folder(_), Some(folder)) => Secrets::Folder(folder.clone()),
        (Manifests::Folder(_), None) => Secrets::None,
    }
}

/// Starts the keeper; who asks for a scrub sends here.
pub(super) fn start(
    parts: &Parts,
    supervisor: &Supervisor,
    store: Option<Arc<Store>>,
    manifests: &Manifests,
) -> anyhow::Result<mpsc::Sender<ScrubAsk>> {
    let (ask, scrubs) = mpsc::channel(SCRUBS);
    let metrics = ArtifactMetrics::register(&parts.registry)?;
    let Some(store) = store else { return Ok(ask) };
    let tools = Tools {
        store,
        fetcher: Fetcher {
            allowed: parts.config.artifact_files.clone(),
            max_file: 0,
            plain_registries: parts.config.artifact_plain_registries.clone(),
        },
        secrets: values(manifests, parts.config.secrets.as_ref()),
        board: parts.artifacts.clone(),
        metrics,
    };
    let grace = Duration::from_secs(parts.config.artifact_grace.into());
    let keeper = Keeper::new(tools, parts.snapshots.clone(), grace, scrubs);
    let keeper = Arc::new(Mutex::new(keeper));
    supervisor.service("artifacts", move |token| {
        Keeper::run(Arc::clone(&keeper), token)
    });
    Ok(ask)
}
