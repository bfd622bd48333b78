//! The certificates of the service's doors. Shell.

use std::fs;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;

use super::Parts;
use crate::clock;
use crate::config::ServiceConfig;
use crate::http::AdminTls;
use crate::snapshot::HttpsDoor;
use crate::supervisor::Supervisor;
use crate::tls::{Authority, Handshakes, Keeper, Origin};

/// The authority of our own; `None` where HTTPS is off or has certificates.
///
/// # Errors
/// It cannot be read or made.
pub(super) fn authority(config: &ServiceConfig) -> anyhow::Result<Option<Arc<Authority>>> {
    let signs = config.tls.https.is_some() && config.tls.folders.is_empty();
    let authority = signs.then(|| Authority::open(&config.state, clock::now()));
    let authority = authority.transpose().context("HTTPS has no certificate")?;
    Ok(authority.map(Arc::new))
}

/// HTTPS as machines are told of it; `None` where it is off.
pub(super) fn door(parts: &Parts) -> Option<HttpsDoor> {
    let authority = parts.authority.as_ref();
    parts.config.tls.https.map(|at| HttpsDoor {
        port: at.port(),
        trust: authority.map(|authority| authority.fingerprint()),
    })
}

/// TLS of the door for machines; `None` where HTTPS is off.
///
/// # Errors
/// Certificates that cannot be used.
pub(super) fn boot(parts: &Parts, supervisor: &Supervisor) -> anyhow::Result<Option<Handshakes>> {
    let config = &parts.config.tls;
    if config.https.is_none() {
        return Ok(None);
    }
    let origin = match &parts.authority {
        Some(authority) => Origin::Own(Arc::clone(authority)),
        None => Origin::Folders(config.folders.clone()),
    };
    keep(parts, supervisor, "boot-tls", origin, None)
        .context("HTTPS has no certificate")
        .map(Some)
}

/// TLS of the admin port; `None` where it is plain.
///
/// # Errors
/// Certificates that cannot be used.
pub(super) fn admin(parts: &Parts, supervisor: &Supervisor) -> anyhow::Result<Option<AdminTls>> {
    let config = &parts.config.tls;
    let Some(folder) = config.admin_tls.clone() else {
        return Ok(None);
    };
    let clients = config.admin_client_ca.as_ref().map(|path| {
        let shown = path.display();
        fs::read(path).with_context(|| format!("--admin-client-ca {shown} cannot be read"))
    });
    let clients = clients.transpose()?;
    let origin = Origin::Folders(vec![folder]);
    let handshakes = keep(parts, supervisor, "admin-tls", origin, clients.as_deref())
        .context("the admin port has no certificate")?;
    Ok(Some(AdminTls {
        handshakes,
        certified: clients.is_some(),
    }))
}

/// Shows certificates from `origin` at `door`, and keeps them up to date.
fn keep(
    parts: &Parts,
    supervisor: &Supervisor,
    door: &'static str,
    origin: Origin,
    clients: Option<&[u8]>,
) -> anyhow::Result<Handshakes> {
    let metrics = parts.tls.clone();
    let (keeper, shown) = Keeper::start(door, origin, metrics.clone())?;
    let handshakes = Handshakes::new(door, shown, clients, metrics)?;
    let keeper = Arc::new(Mutex::new(keeper));
    supervisor.service(door, move |token| Keeper::run(Arc::clone(&keeper), token));
    Ok(handshakes)
}
