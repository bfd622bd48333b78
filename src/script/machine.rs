//! The script of one machine, by the plan that every door asks.

use std::net::IpAddr;

use super::dialect::Dialect;
use super::template::{BootContext, Context, MachineContext, ServerContext};
use super::{Urls, ask};
use crate::boot::MacAddress;
use crate::snapshot::{
    Acquaintances, Identity, LocalReason, Plan, Snapshot, SubnetEntry, Unserved, Verdict,
};
use crate::timeline::Purpose;

/// Who asks at a door that sees addresses.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its address.
    pub address: IpAddr,
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
    /// Whether the boot's token stands in it: it goes to this machine alone,
    /// and not over TFTP.
    pub private: bool,
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
    /// Its profile has answer files, and no boot of it is known whose token
    /// would release them: it asks for an address again, and then one is.
    BootUnknown,
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
            Self::BootUnknown => "boot-unknown",
        }
    }
}

/// What a machine shows whose script would carry a token over TFTP.
const TOKEN_BY_TFTP: &str = "its script has a token, which is not sent over TFTP; \
                             use a loader of kind Ipxe";

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
    script_in(Dialect::Ipxe, snapshot, (mac, identity), caller, urls)
}

/// The same in any language.
///
/// # Errors
/// [`NoScript`] says why there is none.
pub fn script_in(
    dialect: Dialect,
    snapshot: &Snapshot,
    (mac, identity): (MacAddress, &Identity),
    caller: Caller<'_>,
    urls: &Urls,
) -> Result<MachineScript, NoScript> {
    let subnet = subnet_for(snapshot, caller, urls.server).ok_or(NoScript::NetworkUnknown)?;
    let plan = snapshot.plan(subnet, identity);
    if let Some(unserved) = subnet.ignores(&plan) {
        return Err(NoScript::Machine(unserved));
    }
    if plan.verdict == Verdict::Tell && dialect == Dialect::Ipxe {
        return Ok(MachineScript {
            body: ask(urls, mac),
            purpose: Purpose::Other,
            private: false,
        });
    }
    let urls = &urls.of_profile(snapshot, plan.profile);
    let context = context(snapshot, subnet, &plan, mac, caller, urls);
    let waits = |reason: &str| MachineScript {
        body: dialect.waiting(&context, urls, mac, reason),
        purpose: Purpose::Waiting,
        private: false,
    };
    match (plan.verdict, plan.profile) {
        (Verdict::Local(reason), _) => dialect
            .local(plan.local_boot(), &context.machine.name)
            .map(|body| MachineScript {
                body,
                purpose: Purpose::LocalScript,
                private: false,
            })
            .ok_or(NoScript::LocalBoot(reason)),
        (Verdict::Tell, _) => Ok(waits("its object knows it by what iPXE alone tells of it")),
        (Verdict::Boot, Some(profile)) if !profile.pending.is_empty() => {
            Ok(waits(&profile.pending.join("; ")))
        }
        (Verdict::Boot, profile) => {
            let token = token(snapshot, subnet, &plan, mac, caller);
            let answers = profile.is_some_and(|profile| !profile.spec.config.is_empty());
            if answers && token == Token::Unknown {
                return Err(NoScript::BootUnknown);
            }
            let source = profile.map(|profile| profile.spec.source());
            let script = source.and_then(|source| dialect.boot(source, &context, urls, mac));
            let body = script.ok_or(NoScript::ProfileHasNone)?;
            let private = matches!(&token, Token::Known(token) if body.contains(token.as_str()));
            if private && !dialect.keeps_secrets() {
                return Ok(waits(TOKEN_BY_TFTP));
            }
            Ok(MachineScript {
                private,
                purpose: Purpose::Script,
                body,
            })
        }
    }
}

/// Whether the machine with `mac` may load what it boots.
///
/// # Errors
/// [`NoScript`] says why it may not.
pub fn may_load(
    snapshot: &Snapshot,
    mac: MacAddress,
    caller: Caller<'_>,
    server: IpAddr,
) -> Result<(), NoScript> {
    let Some(subnet) = subnet_for(snapshot, caller, server) else {
        return Ok(());
    };
    let plan = snapshot.plan(subnet, &caller.told.identity(mac));
    if let Some(unserved) = subnet.ignores(&plan) {
        return Err(NoScript::Machine(unserved));
    }
    match plan.verdict {
        // What booted once may read on, as from a disc; it gets no script any more.
        Verdict::Boot | Verdict::Tell | Verdict::Local(LocalReason::Spent) => Ok(()),
        Verdict::Local(reason) => Err(NoScript::LocalBoot(reason)),
    }
}

/// The Subnet that decides about `caller`: its own network's, else, for one
/// that comes from elsewhere, that of the address it reached us at.
#[must_use]
pub fn subnet_for<'a>(
    snapshot: &'a Snapshot,
    caller: Caller<'_>,
    server: IpAddr,
) -> Option<&'a SubnetEntry> {
    snapshot
        .subnet_of(caller.address)
        .or_else(|| snapshot.subnet_of(server))
}

/// The token of a boot, for whoever asks.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// The caller is the machine, and this is it.
    Known(String),
    /// The caller is the machine, but no boot of it is known.
    Unknown,
    /// The caller is not the machine.
    Withheld,
}

/// Whether `caller` has an address that the machine holds: lent to one of its
/// interfaces, or reserved for one. What runs may use another card than the one
/// that booted.
#[must_use]
pub fn holds(
    snapshot: &Snapshot,
    subnet: &SubnetEntry,
    plan: &Plan<'_>,
    mac: MacAddress,
    caller: Caller<'_>,
) -> bool {
    let Some(tenant) = caller.mac else {
        let interfaces = plan.machine.map(|machine| &machine.spec().interfaces);
        let mut interfaces = interfaces.into_iter().flatten();
        return interfaces.any(|interface| interface.has(caller.address));
    };
    let of = |mac| {
        let found = snapshot.machine(&subnet.name.namespace, mac);
        found.map(|(machine, _)| &machine.name)
    };
    tenant == mac || of(mac).is_some_and(|name| of(tenant) == Some(name))
}

fn token(
    snapshot: &Snapshot,
    subnet: &SubnetEntry,
    plan: &Plan<'_>,
    mac: MacAddress,
    caller: Caller<'_>,
) -> Token {
    if !holds(snapshot, subnet, plan, mac, caller) {
        return Token::Withheld;
    }
    let token = caller.told.boot_token(mac);
    token.map_or(Token::Unknown, Token::Known)
}

/// What templates of this boot can name.
#[must_use]
pub fn context(
    snapshot: &Snapshot,
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
    let params = [Some(&subnet.spec.params), profile, machine];
    let params = params.into_iter().flatten().flatten();
    // Only who has the machine's address: the token says that it runs, and
    // releases its answer files.
    let token = match token(snapshot, subnet, plan, mac, caller) {
        Token::Known(token) => Some(token),
        Token::Unknown | Token::Withheld => None,
    };
    let configs = token.as_ref().map(|token| urls.configs(mac, token));
    let files = plan.profile.map(|profile| &profile.spec.config);
    let files = files.into_iter().flatten();
    Context {
        machine: MachineContext {
            hostname: hostname.unwrap_or_else(|| name.clone()),
            name,
            namespace: subnet.name.namespace.clone(),
            mac: mac.to_string(),
            url: urls.machine(mac),
            ip: plan
                .reserved_like(caller.address)
                .unwrap_or(caller.address)
                .to_string(),
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
            phone_home: token.map_or_else(String::new, |token| urls.phone_home(mac, &token)),
            config: configs.clone().unwrap_or_default(),
        },
        config: files
            .map(|file| {
                let url = configs
                    .as_ref()
                    .map(|configs| format!("{configs}{}", file.name));
                (file.name.clone(), url.unwrap_or_default())
            })
            .collect(),
    }
}
