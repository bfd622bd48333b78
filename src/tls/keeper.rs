//! Keeps what is shown up to date: folders that change, addresses that come,
//! certificates that run out. Shell.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use rustls::sign::CertifiedKey;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::authority::Authority;
use super::metrics::TlsMetrics;
use super::{Shown, TlsError, folder, provider};
use crate::clock::{self, Millis};
use crate::files::is_change;

/// How often it looks where no notice comes: some file systems send none, and
/// addresses come without one.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A Secret is swapped by several changes.
const SETTLE: Duration = Duration::from_millis(300);

/// Where certificates come from.
#[derive(Clone)]
pub enum Origin {
    /// Folders with pairs.
    Folders(Vec<PathBuf>),
    /// The authority of our own.
    Own(Arc<Authority>),
}

/// Keeps the certificates of one door.
pub struct Keeper {
    door: &'static str,
    origin: Origin,
    shown: Shown,
    metrics: TlsMetrics,
    /// What is shown was made of this.
    of: Option<Of>,
    /// What was said last of what cannot be used.
    said: Option<String>,
}

/// What certificates are made of.
#[derive(Clone, PartialEq, Eq)]
enum Of {
    /// The files, byte by byte.
    Pairs(Vec<Vec<u8>>),
    /// The addresses that the own certificate names, and when it is due.
    Own(BTreeSet<IpAddr>, Millis),
}

impl Keeper {
    /// Reads or makes the certificates of the door `door` for the first time.
    ///
    /// # Errors
    /// They cannot be used; the words name the file and the cure.
    pub fn start(
        door: &'static str,
        origin: Origin,
        metrics: TlsMetrics,
    ) -> Result<(Self, Shown), TlsError> {
        let shown = Shown::default();
        let mut keeper = Self {
            door,
            origin,
            shown: shown.clone(),
            metrics,
            of: None,
            said: None,
        };
        keeper.look(clock::now())?;
        Ok((keeper, shown))
    }

    /// Looks once: whether something else is shown now. Blocks.
    ///
    /// # Errors
    /// What is there cannot be used; what was shown stays.
    pub fn look(&mut self, now: Millis) -> Result<bool, TlsError> {
        let (of, keys) = match &self.origin {
            Origin::Folders(folders) => {
                let mut keys = Vec::new();
                for folder in folders {
                    keys.extend(folder::pairs(folder)?);
                }
                let chains = keys.iter().flat_map(|key| &key.cert);
                let of = Of::Pairs(chains.map(|der| der.to_vec()).collect());
                if self.of.as_ref() == Some(&of) {
                    return Ok(false);
                }
                (of, keys)
            }
            Origin::Own(authority) => {
                let addresses = own_addresses();
                if let Some(Of::Own(named, due)) = &self.of
                    && *named == addresses
                    && now < *due
                {
                    return Ok(false);
                }
                let all: Vec<IpAddr> = addresses.iter().copied().collect();
                let leaf = authority.issue(&all, &host_name(), now)?;
                let key = CertifiedKey::from_der(leaf.chain, leaf.key, &provider())
                    .map_err(|error| TlsError::Setup(error.to_string()))?;
                (Of::Own(addresses, leaf.renew_at), vec![key])
            }
        };
        self.shown.replace(keys.into_iter().map(Arc::new).collect());
        self.of = Some(of);
        let expires = self.shown.expires();
        let gauge = self.metrics.expiry.with_label_values(&[self.door]);
        gauge.set(expires.unwrap_or_default());
        tracing::info!(
            target: "reveille::http",
            door = self.door,
            days_left = expires.map(|at| (at - i64::try_from(now.0 / 1000).unwrap_or(i64::MAX)) / 86_400),
            "TLS certificates are in use"
        );
        Ok(true)
    }

    /// Looks again whenever the folders change, until `token` is cancelled.
    ///
    /// # Errors
    /// None now; the supervisor's shape.
    pub async fn run(keeper: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let (notice, mut notices) = mpsc::channel(1);
        let _watcher = lock(&keeper).watch(notice);
        let mut clock = interval(LOOK_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = clock.tick() => {}
                Some(()) = notices.recv() => sleep(SETTLE).await,
            }
            let keeper = Arc::clone(&keeper);
            spawn_blocking(move || lock(&keeper).look_and_tell()).await?;
        }
    }

    fn look_and_tell(&mut self) {
        match self.look(clock::now()) {
            Ok(_) => self.said = None,
            Err(error) => {
                let words = error.to_string();
                if self.said.as_ref() != Some(&words) {
                    tracing::warn!(
                        target: "reveille::http",
                        door = self.door,
                        error = words,
                        "the new TLS certificates cannot be used; the old ones stay"
                    );
                    self.said = Some(words);
                }
            }
        }
    }

    /// Notices of changes in the folders, where the system gives some.
    fn watch(&self, notice: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
        let Origin::Folders(folders) = &self.origin else {
            return None;
        };
        let mut watcher = notify::recommended_watcher(move |event| {
            if is_change(&event) {
                let _full_already = notice.try_send(());
            }
        })
        .ok()?;
        for folder in folders {
            let _looked_at_anyway = watcher.watch(folder, RecursiveMode::NonRecursive);
        }
        Some(watcher)
    }
}

fn lock(keeper: &Mutex<Keeper>) -> MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The addresses of this host, but those of links that nobody else can reach.
fn own_addresses() -> BTreeSet<IpAddr> {
    let all = getifaddrs().into_iter().flatten();
    let all = all.filter_map(|entry| {
        let address = entry.address?;
        let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
    });
    let link_local =
        |address: &IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    all.filter(|address| !link_local(address)).collect()
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        "reveille".to_owned()
    } else {
        name
    }
}
