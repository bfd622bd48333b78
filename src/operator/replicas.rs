//! Ties the engine to the cluster: who leads, what it may give, what it
//! mirrors. Shell.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::sync::{Mutex, mpsc};

use super::cluster::Cluster;
use super::leader::{Election, Footing, LeaderHandle, LeaderMetrics};
use super::mirror::{Mirror, MirrorMetrics, Own, Setup as MirrorSetup, UidOf, is_own6};
use super::source::Shared;
use crate::api::{Kind, ObjectRef};
use crate::clock::{self, Millis};
use crate::dhcp::heard::Heard;
use crate::dhcp::replica::{IMPORTS, Replica, Standing, feed};
use crate::dhcp::server::Ask;
use crate::dhcp::v6::replica::Replica as Replica6;
use crate::dhcp::v6::server::Ask6;
use crate::files::write_whole;
use crate::lease::{Authority, Lease6, Shares};
use crate::net::Links;
use crate::snapshot::Reader;
use crate::supervisor::Supervisor;
use crate::telemetry::Meter;

/// The file that says since when there is a lease table.
const SINCE: &str = "leases.since";

/// For how long after its table was lost a lone replica takes the mirror over
/// at each start, in seconds: a restart may have come before it was read.
const IMPORT_SECS: u64 = 24 * 3600;

/// What the replica is made of.
pub struct Setup<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its objects.
    pub objects: Shared,
    /// Where metrics go.
    pub registry: &'a Meter,
    /// Runs the election and the mirror.
    pub supervisor: &'a Supervisor,
    /// Where snapshots come from.
    pub snapshots: Reader,
    /// Shows the whole lease table.
    pub table: mpsc::Sender<Ask>,
    /// The same of IPv6.
    pub table6: mpsc::Sender<Ask6>,
    /// The state folder.
    pub state: &'a Path,
    /// Whether the lease table was missing, or damaged, at the start.
    pub fresh: bool,
    /// Where this replica serves, and where others are heard.
    pub siblings: (Links, Heard),
}

/// This replica: its standing for everybody, its tie for the engine.
pub struct Tied {
    /// For the engine.
    pub replica: Replica,
    /// The same of IPv6.
    pub replica6: Replica6,
    /// Whether this replica leads, for all that only one may do; `None` where
    /// there is no other.
    pub leader: Option<LeaderHandle>,
}

/// Starts the election, where there is one, and the mirror.
///
/// # Errors
/// The state folder cannot be written, or metrics are there already.
pub fn start(setup: Setup<'_>) -> anyhow::Result<Tied> {
    let place = &setup.cluster.place;
    let (sender, fed) = feed();
    let (imports, imported) = mpsc::channel(IMPORTS);
    let objects = setup.objects.clone();
    let uid = move |subnet: &str| {
        let (namespace, name) = subnet.split_once('/')?;
        let object = ObjectRef {
            kind: Kind::Subnet,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let objects = objects.lock();
        let uid = objects.info(&object).map(|info| info.uid.clone());
        uid.filter(|uid| !uid.is_empty())
    };
    let uid: UidOf = Arc::new(uid);
    let metrics = MirrorMetrics::register(setup.registry)?;
    let (sender6, fed6) = feed();
    let (imports6, imported6) = mpsc::channel(IMPORTS);
    let mirror6 = MirrorSetup {
        client: setup.cluster.client.clone(),
        namespace: setup.cluster.namespace().map(str::to_owned),
        leads: Arc::new(|| Some(0)),
        ready: Arc::new(|_| ()),
        imports: Some(imports6),
        own: Some(own6(Shares {
            replicas: place.replicas,
            ordinal: place.ordinal,
        })),
        fed: fed6,
        table: setup.table6,
        snapshots: setup.snapshots.clone(),
        uid: Arc::clone(&uid),
        metrics: metrics.clone(),
    };
    let mut mirror = MirrorSetup {
        client: setup.cluster.client.clone(),
        namespace: setup.cluster.namespace().map(str::to_owned),
        leads: Arc::new(|| Some(0)),
        ready: Arc::new(|_| ()),
        imports: None,
        own: None,
        fed,
        table: setup.table,
        snapshots: setup.snapshots,
        uid,
        metrics,
    };
    let since = since(setup.state, setup.fresh)
        .with_context(|| format!("--state {}: {SINCE} cannot be kept", setup.state.display()))?;
    let (replica, leader) = if place.replicas == 1 {
        let age = since.map(|since| clock::now().since(since) / 1000);
        let imported_before = age.is_none_or(|secs| secs >= IMPORT_SECS);
        let known = Arc::new(AtomicBool::new(imported_before));
        if !imported_before {
            mirror.imports = Some(imports);
            let known = Arc::clone(&known);
            mirror.ready = Arc::new(move |_| known.store(true, Ordering::Relaxed));
            tracing::info!(
                "the lease table is new: addresses that it does not know are probed before they \
                 are offered, until a lease lifetime has passed"
            );
        }
        let standing = move || Standing {
            authority: alone(since, known.load(Ordering::Relaxed)),
            make_way: None,
        };
        LeaderMetrics::register(setup.registry)?.alone();
        let standing = Arc::new(standing);
        (
            Replica::new(standing, Arc::new(|_| ()), imported, Some(sender)),
            None,
        )
    } else {
        let metrics = LeaderMetrics::register(setup.registry)?;
        let cluster = setup.cluster;
        let client = cluster.client.clone();
        let election = Election::new(client, &cluster.own, place, metrics, setup.siblings)?;
        let handle = election.handle();
        setup.supervisor.service("leader", move |token| {
            let election = election.clone();
            election.run(token)
        });
        let (asked, leads) = (handle.clone(), handle.clone());
        let (ready, made_way) = (handle.clone(), handle.clone());
        mirror.leads = Arc::new(move || match leads.footing(clock::uptime()) {
            Footing::Leading { term, .. } => Some(term),
            Footing::Starting | Footing::Following { .. } | Footing::Isolated => None,
        });
        mirror.ready = Arc::new(move |term| ready.ready(term));
        mirror.imports = Some(imports);
        tracing::info!(
            replicas = place.replicas,
            ordinal = place.ordinal,
            lease = place.lease,
            "one of several replicas"
        );
        let replica = Replica::new(
            Arc::new(move || standing(&asked, since)),
            Arc::new(move |term| made_way.make_way(term)),
            imported,
            Some(sender),
        );
        (replica, Some(handle))
    };
    let mirror = Arc::new(Mutex::new(Mirror::new(mirror)));
    let run = move |token| Mirror::run(Arc::clone(&mirror), token);
    setup.supervisor.service("mirror", run);
    let mirror6 = Arc::new(Mutex::new(Mirror::<Lease6>::new(mirror6)));
    let run = move |token| Mirror::run(Arc::clone(&mirror6), token);
    setup.supervisor.service("mirror6", run);
    Ok(Tied {
        replica6: Replica6::new(replica.ask(), imported6, Some(sender6)),
        replica,
        leader,
    })
}

/// Which IPv6 leases a replica mirrors: those that it lent itself.
fn own6(shares: Shares) -> Own {
    Own {
        shares,
        is_own: Arc::new(move |object, snapshot| is_own6(object, snapshot, shares)),
        wanted: |snapshot| {
            let mut subnets = snapshot.subnets.iter();
            subnets.any(|subnet| subnet.spec.ipv6.is_some())
        },
    }
}

/// What a replica without others may give: everything, with care for as long
/// as machines may have leases of a table that was lost. `known` is whether
/// the mirror was taken over.
fn alone(since: Option<Millis>, known: bool) -> Authority {
    since.map_or(Authority::Sole, |since| {
        let secs = clock::now().since(since) / 1000;
        Authority::alone(known.then_some(secs))
    })
}

/// What this replica may give at this moment.
fn standing(handle: &LeaderHandle, since: Option<Millis>) -> Standing {
    let shares = Shares {
        replicas: handle.replicas(),
        ordinal: handle.ordinal(),
    };
    let fresh_secs = since.map(|since| clock::now().since(since) / 1000);
    let (authority, make_way) = match handle.footing(clock::uptime()) {
        Footing::Leading {
            ready: true,
            settled,
            ..
        } => {
            let settled = settled.map(|settled| settled.as_secs());
            let settled_secs = settled.map(|secs| fresh_secs.map_or(secs, |fresh| fresh.min(secs)));
            let authority = Authority::Holder {
                shares,
                settled_secs,
            };
            (authority, None)
        }
        Footing::Starting => (Authority::Standby { shares }, None),
        Footing::Following { term, make_way } => {
            (Authority::Standby { shares }, make_way.then_some(term))
        }
        // A leader that cannot read what others gave knows no more than one
        // that cannot tell who leads, and must not fall silent for it.
        Footing::Leading { ready: false, .. } | Footing::Isolated => {
            (Authority::Isolated { shares, fresh_secs }, None)
        }
    };
    Standing {
        authority,
        make_way,
    }
}

/// Since when there is a lease table, by the wall clock; `None` for one that
/// is older than the note of it. A table that is lost is noted.
fn since(state: &Path, fresh: bool) -> io::Result<Option<Millis>> {
    let path = state.join(SINCE);
    let noted = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().ok().map(Millis),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if !fresh {
        return Ok(noted);
    }
    let now = clock::now();
    write_whole(&path, 0o644, format!("{}\n", now.0).as_bytes())?;
    Ok(Some(now))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::operator::leader::{Action, Elector, Place, RELEASED_SECS, Record, Reply, Timing};

    /// Replica 0 of two, which took a lease that was given up.
    fn leader() -> (LeaderHandle, u32) {
        let (now, wall) = (clock::uptime(), Timestamp::now());
        let mut elector = Elector::new("a".to_owned(), 0, Timing::default(), now);
        let released = Record {
            uid: "1".to_owned(),
            version: "1".to_owned(),
            holder: String::new(),
            lease_secs: RELEASED_SECS,
            acquired: Timestamp::UNIX_EPOCH,
            renewed: Timestamp::UNIX_EPOCH,
            term: 4,
            known: [].into(),
            servers: [].into(),
        };
        assert_eq!(elector.step(now, wall, 0.0), Action::Read);
        elector.outcome(Reply::Found(released), now, [1].into_iter());
        let Action::Update(taken) = elector.step(now, wall, 0.0) else {
            panic!("not taken");
        };
        let term = taken.term;
        elector.outcome(Reply::Found(taken), now, [1].into_iter());
        let place = Place {
            replicas: 2,
            ordinal: 0,
            name: "a".to_owned(),
            lease: "reveille".to_owned(),
            timing: Timing::default(),
        };
        (LeaderHandle::new(elector, &place), term)
    }

    #[test]
    fn a_leader_that_has_not_taken_over_gives_from_its_share_only() {
        let (handle, term) = leader();
        let isolated = standing(&handle, None).authority;
        assert!(
            matches!(isolated, Authority::Isolated { .. }),
            "{isolated:?}"
        );
        handle.ready(term);
        let holder = standing(&handle, None).authority;
        let unsettled = Authority::Holder {
            shares: Shares {
                replicas: 2,
                ordinal: 0,
            },
            settled_secs: None,
        };
        assert_eq!(holder, unsettled);
        // What it took over for another term counts for nothing.
        handle.ready(term - 1);
        let isolated = standing(&handle, None).authority;
        assert!(
            matches!(isolated, Authority::Isolated { .. }),
            "{isolated:?}"
        );
    }

    #[test]
    fn a_lone_replica_without_its_table_is_unsure_until_it_read_the_mirror_and_a_lifetime_passed() {
        assert_eq!(alone(None, true), Authority::Sole);
        let lost = Millis(clock::now().0 - 100_000);
        assert!(alone(Some(lost), false).is_unsure(60));
        assert!(!alone(Some(lost), true).is_unsure(60));
        assert!(alone(Some(lost), true).is_unsure(3600));
    }

    #[test]
    fn a_lost_table_is_remembered_until_it_is_lost_again() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(since(state.path(), false).unwrap(), None);
        let lost = since(state.path(), true).unwrap();
        assert!(lost.is_some());
        // A restart a moment later, when it has given something.
        assert_eq!(since(state.path(), false).unwrap(), lost);
    }
}
