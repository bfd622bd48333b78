//! The script of one machine, by the plan that every door asks.

use std::net::Ipv4Addr;

use super::ipxe::waiting;
use super::template::{BootContext, Context, MachineContext, ServerContext};
use super::{Urls, ask, local, machine_script};
use crate::boot::MacAddress;
use crate::snapshot::{
    Acquaintances, Identity, LocalReason, Plan, Snapshot, SubnetEntry, Unserved, Verdict,
};
use crate::timeline::Purpose;

/// Who asks at a door that sees addresses.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its address.
    pub address: Ipv4Addr,
    /// The machine that has the address, as far as the leases tell.
    pub mac: Option<MacAddress>,
    /// What machines told of themselves lately.
    pub told: &'a dyn Acquaintances,
}

/// A script for a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineScript {
    /// Its text.
    pub body: String,
    /// Whether it boots a profile or the disk.
    pub purpose: Purpose,
}

/// Why there is no script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoScript {
    /// The machine boots its disk, and its firmware takes a missing file for that.
    LocalBoot(LocalReason),
    /// The Subnet does not serve this machine.
    Machine(Unserved),
    /// Neither the caller nor we are in a network that is served.
    NetworkUnknown,
    /// The profile's loader is a file that needs no script.
    ProfileHasNone,
}

impl NoScript {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LocalBoot(reason) => reason.as_str(),
            Self::Machine(unserved) => unserved.as_str(),
            Self::NetworkUnknown => "network-unknown",
            Self::ProfileHasNone => "profile-has-no-script",
        }
    }
}

/// The script for the machine that `identity` is of, asked for by `caller`.
///
/// # Errors
/// [`NoScript`] says why there is none.
pub fn script_for(
    snapshot: &Snapshot,
    mac: MacAddress,
    identity: &Identity,
    caller: Caller<'_>,
    urls: &Urls,
) -> Result<MachineScript, NoScript> {
    let subnet = subnet_for(snapshot, caller, urls.server).ok_or(NoScript::NetworkUnknown)?;
    let plan = snapshot.plan(subnet, identity);
    if let Some(unserved) = subnet.ignores(&plan) {
        return Err(NoScript::Machine(unserved));
    }
    if plan.verdict == Verdict::Tell {
        return Ok(MachineScript {
            body: ask(urls, mac),
            purpose: Purpose::Other,
        });
    }
    let context = context(subnet, &plan, mac, caller, urls);
    match (plan.verdict, plan.profile) {
        (Verdict::Local(reason), _) => local(plan.local_boot(), &context.machine.name)
            .map(|body| MachineScript {
                body,
                purpose: Purpose::LocalScript,
            })
            .ok_or(NoScript::LocalBoot(reason)),
        (Verdict::Boot, Some(profile)) if !profile.pending.is_empty() => Ok(MachineScript {
            body: waiting(&context, urls, mac, &profile.pending.join("; ")),
            purpose: Purpose::Waiting,
        }),
        (Verdict::Boot | Verdict::Tell, profile) => {
            let source = profile.map(|profile| profile.spec.source());
            let script = source.and_then(|source| machine_script(source, &context, urls, mac));
            let purpose = Purpose::Script;
            let body = script.ok_or(NoScript::ProfileHasNone)?;
            Ok(MachineScript { body, purpose })
        }
    }
}

/// The Subnet that decides about `caller`: its own network's, else, for one
/// that comes from elsewhere, that of the address it reached us at.
#[must_use]
pub fn subnet_for<'a>(
    snapshot: &'a Snapshot,
    caller: Caller<'_>,
    server: Ipv4Addr,
) -> Option<&'a SubnetEntry> {
    snapshot
        .subnet_of(caller.address)
        .or_else(|| snapshot.subnet_of(server))
}

/// What templates of this boot can name.
fn context(
    subnet: &SubnetEntry,
    plan: &Plan<'_>,
    mac: MacAddress,
    caller: Caller<'_>,
    urls: &Urls,
) -> Context {
    let name = plan
        .machine_name()
        .map_or_else(|| mac.hyphenated(), str::to_owned);
    let hostname = plan.hostname.map(str::to_owned);
    let profile = plan.profile.map(|profile| &profile.spec.params);
    let machine = plan.machine.map(|machine| &machine.spec().params);
    let params = profile.into_iter().chain(machine).flatten();
    Context {
        machine: MachineContext {
            hostname: hostname.unwrap_or_else(|| name.clone()),
            name,
            namespace: subnet.name.namespace.clone(),
            mac: mac.to_string(),
            url: urls.machine(mac),
            ip: plan.reserved.unwrap_or(caller.address).to_string(),
            profile: plan
                .profile
                .map_or_else(|| "none".to_owned(), |profile| profile.name.name.clone()),
        },
        params: params
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        server: ServerContext {
            address: urls.server.to_string(),
            http: urls.base(),
        },
        boot: BootContext {
            // Only who has the machine's address: the token says that it runs.
            phone_home: caller
                .mac
                .filter(|caller| *caller == mac)
                .and_then(|mac| caller.told.boot_token(mac))
                .map_or_else(String::new, |token| urls.phone_home(mac, &token)),
        },
    }
}
