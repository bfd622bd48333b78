//! The objects of a cluster as they are now, for who asks once. Shell.

use anyhow::Context as _;
use kube::Api;
use kube::api::{DynamicObject, ListParams};

use super::watch::resource;
use super::{Cluster, Objects};
use crate::api::Kind;

/// Objects of one page.
const PAGE: u32 = 500;

/// Lists every object of ours.
///
/// # Errors
/// The API server does not answer, or does not let us.
pub async fn list(cluster: &Cluster) -> anyhow::Result<Objects> {
    let mut objects = Objects::default();
    for kind in Kind::ALL {
        let client = cluster.client.clone();
        let api: Api<DynamicObject> = match cluster.namespace() {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource(kind)),
            None => Api::all_with(client, &resource(kind)),
        };
        objects.list_begins(kind);
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&params).await;
            let page = page.with_context(|| {
                format!("{}: the {kind} objects cannot be listed; `reveille rbac` prints what must be allowed", cluster.url)
            })?;
            for object in page.items {
                objects.apply(kind, object);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = ListParams::default().limit(PAGE).continue_token(&token),
                None => break,
            }
        }
        objects.list_ends(kind);
    }
    Ok(objects)
}
