//! The script of one machine, by the plan that every door asks.

use std::net::IpAddr;

use super::dialect::{Dialect, Way};
use super::menu::{Page, action, can_ask, script_url};
use super::template::{BootContext, Context, MachineContext, ServerContext};
use super::{Urls, ask};
use crate::api::{LocalBoot, MenuAction, MenuPassword, Source};
use crate::boot::MacAddress;
use crate::snapshot::{
    Acquaintances, Choice, Identity, LocalReason, NoEntry, ObjectName, Pick, Picked, Plan,
    Snapshot, SubnetEntry, Unserved, Verdict,
};
use crate::timeline::{BootId, Purpose};

/// How much later another boot of the machine must have begun for a token to
/// be an old one: replicas see the beginning of one boot at their own times.
const OLDER_MILLIS: u64 = 60_000;

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

/// What of a machine's is asked for, beside its own script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// What was chosen from its menu.
    pub choice: Choice,
    /// What says that passwords on the way were known: a token of the boot that
    /// is good for [`pass_for`] a choice.
    pub pass: Option<&'a str>,
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
    /// What was chosen cannot be.
    Entry(NoEntry),
    /// What was chosen has a password, which the loader must ask for.
    PasswordNeeded,
    /// The same, and the caller has an address that is none of the machine's.
    AddressNotTheMachines,
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
            Self::Entry(why) => why.as_str(),
            Self::PasswordNeeded => "password-needed",
            Self::AddressNotTheMachines => "address-not-the-machines",
        }
    }
}

/// What a machine shows whose script would carry a token over TFTP.
const TOKEN_BY_TFTP: &str = "its script has a token, which is not sent over TFTP; \
                             use a loader of kind Ipxe";
/// What a machine shows whose profile is to be fetched over HTTPS, by a loader
/// that fetches by HTTP.
const NO_HTTPS: &str = "its profile is for HTTPS, which this loader does not speak; \
                        use a loader of kind Ipxe";
/// What it shows where iPXE alone is asked for the password on the way.
const TOKEN_BEHIND_PASSWORD: &str = "its script has a token, and this loader shows no password \
                                     to the server; use a loader of kind Ipxe";

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
    who: (MacAddress, &Identity),
    caller: Caller<'_>,
    urls: &Urls,
) -> Result<MachineScript, NoScript> {
    chosen_script(dialect, snapshot, who, caller, urls, &Asked::default())
}

/// The same of what was chosen from the machine's menu.
///
/// # Errors
/// [`NoScript`] says why there is none.
pub fn chosen_script(
    dialect: Dialect,
    snapshot: &Snapshot,
    (mac, identity): (MacAddress, &Identity),
    caller: Caller<'_>,
    urls: &Urls,
    asked: &Asked<'_>,
) -> Result<MachineScript, NoScript> {
    let subnet = subnet_for(snapshot, caller, urls.server).ok_or(NoScript::NetworkUnknown)?;
    let mut plan = snapshot.plan(subnet, identity);
    if let Some(unserved) = subnet.ignores(&plan) {
        return Err(NoScript::Machine(unserved));
    }
    if plan.verdict == Verdict::Tell && dialect == Dialect::Ipxe {
        return Ok(MachineScript::of(ask(urls, mac), Purpose::Other));
    }
    let mut is_locked = false;
    let picked = pick(snapshot, &plan, asked).map_err(NoScript::Entry)?;
    if let Some(picked) = &picked {
        is_locked = !picked.locks.is_empty();
        open(dialect, picked, (mac, caller), asked, || {
            holds(snapshot, subnet, &plan, mac, caller)
        })?;
        match picked.what {
            Pick::Profile(profile) => plan = plan.choosing(profile),
            Pick::Action(MenuAction::Disk) => plan.verdict = Verdict::Local(LocalReason::Chosen),
            Pick::Action(done) => {
                let name = plan.machine_name().map(str::to_owned);
                let name = name.unwrap_or_else(|| mac.hyphenated());
                let back = asked.choice.back().unwrap_or_default();
                let back = script_url(urls, mac, &back, asked.pass);
                let body = action(dialect, done, &name, &back);
                let body = body.ok_or(NoScript::ProfileHasNone)?;
                return Ok(MachineScript::of(body, Purpose::Other).without_password(is_locked));
            }
        }
    }
    let urls = &urls.of_profile(snapshot, plan.profile);
    let mut context = context(snapshot, subnet, &plan, (mac, &asked.choice), caller, urls);
    if picked.is_some() {
        context.again = script_url(urls, mac, &asked.choice, asked.pass);
    }
    let made = match plan.verdict {
        Verdict::Local(reason) => local(dialect, &plan, reason, &context.machine.name),
        Verdict::Tell => {
            let reason = "its object knows it by what iPXE alone tells of it";
            let body = dialect.waiting(&context, urls, mac, reason);
            Ok(MachineScript::of(body, Purpose::Waiting))
        }
        Verdict::Boot => {
            let token = token(snapshot, subnet, &plan, mac, caller);
            let is_open = !is_locked || dialect == Dialect::Ipxe;
            boot(
                dialect,
                snapshot,
                &plan,
                (&context, urls, mac),
                asked,
                (&token, is_open),
            )
        }
    };
    Ok(made?.without_password(is_locked && dialect == Dialect::Ipxe))
}

/// Where the choice leads; `None` where nothing was chosen, or the machine does
/// not boot a profile at all.
fn pick<'a>(
    snapshot: &'a Snapshot,
    plan: &Plan<'a>,
    asked: &Asked<'_>,
) -> Result<Option<Picked<'a>>, NoEntry> {
    match (plan.verdict, plan.profile) {
        (Verdict::Boot, Some(profile)) if !asked.choice.is_empty() => {
            snapshot.pick(profile, &asked.choice).map(Some)
        }
        (Verdict::Boot | Verdict::Tell | Verdict::Local(_), _) => Ok(None),
    }
}

/// Whether the passwords on the way are known, or the loader itself asks.
fn open(
    dialect: Dialect,
    picked: &Picked<'_>,
    (mac, caller): (MacAddress, Caller<'_>),
    asked: &Asked<'_>,
    holds: impl Fn() -> bool,
) -> Result<(), NoScript> {
    if dialect != Dialect::Ipxe {
        // GRUB asked before it came here; what it cannot ask for is not given.
        let mut locks = picked.locks.iter();
        let can = locks.all(|(_, password)| can_ask(dialect, password));
        return can.then_some(()).ok_or(NoScript::PasswordNeeded);
    }
    if still_locked(picked, mac, caller, asked).next().is_none() {
        return Ok(());
    }
    Err(if holds() {
        NoScript::PasswordNeeded
    } else {
        NoScript::AddressNotTheMachines
    })
}

/// The passwords that no pass says to be known.
fn still_locked<'a>(
    picked: &Picked<'a>,
    mac: MacAddress,
    caller: Caller<'_>,
    asked: &Asked<'_>,
) -> impl Iterator<Item = &'a MenuPassword> {
    let is_good = |choice: &Choice, pass: &str| {
        let boot = caller.told.boot_of(mac, &pass_for(choice), pass);
        boot.is_some_and(|boot| is_current(caller.told, boot))
    };
    let mut at = asked.pass.map(|_| asked.choice.clone());
    while let (Some(choice), Some(pass)) = (&at, asked.pass)
        && !is_good(choice, pass)
    {
        at = choice.back();
    }
    let locks = picked.locks.clone().into_iter();
    locks
        .filter(move |(lock, _)| at.as_ref().is_none_or(|known| !known.goes_through(lock)))
        .map(|(_, password)| password)
}

/// The passwords that iPXE must ask for before `asked` is given, and the
/// namespace of their Secrets; none where the choice cannot be followed.
#[must_use]
pub fn locks(
    snapshot: &Snapshot,
    (mac, identity): (MacAddress, &Identity),
    caller: Caller<'_>,
    urls: &Urls,
    asked: &Asked<'_>,
) -> Option<(ObjectName, Vec<MenuPassword>)> {
    let subnet = subnet_for(snapshot, caller, urls.server)?;
    let plan = snapshot.plan(subnet, identity);
    let picked = pick(snapshot, &plan, asked).ok()??;
    let locked = still_locked(&picked, mac, caller, asked);
    Some((plan.profile?.name.clone(), locked.cloned().collect()))
}

/// What a token must be good for that says that the passwords on the way to
/// `choice` were known.
#[must_use]
pub fn pass_for(choice: &Choice) -> String {
    format!("pass {choice}")
}

/// Whether `boot` is the last of its machine, as far as that is known.
#[must_use]
pub fn is_current(told: &dyn Acquaintances, boot: BootId) -> bool {
    let last = told.last_boot(boot.mac);
    last.is_none_or(|last| last.number <= boot.number.saturating_add(OLDER_MILLIS))
}

/// The script that sends a machine to its disk.
fn local(
    dialect: Dialect,
    plan: &Plan<'_>,
    reason: LocalReason,
    machine: &str,
) -> Result<MachineScript, NoScript> {
    let how = match plan.local_boot() {
        // A menu's loader would take a missing file for a fault.
        LocalBoot::NotFound if reason == LocalReason::Chosen => LocalBoot::Exit,
        how @ (LocalBoot::Exit | LocalBoot::SanBoot | LocalBoot::NotFound) => how,
    };
    let body = dialect.local(how, machine);
    let script = body.map(|body| MachineScript::of(body, Purpose::LocalScript));
    script.ok_or(NoScript::LocalBoot(reason))
}

/// The script that boots what the plan says, or shows its menu.
fn boot(
    dialect: Dialect,
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    (context, urls, mac): (&Context, &Urls, MacAddress),
    asked: &Asked<'_>,
    (token, is_open): (&Token, bool),
) -> Result<MachineScript, NoScript> {
    let waits = |reason: &str| {
        let body = dialect.waiting(context, urls, mac, reason);
        MachineScript::of(body, Purpose::Waiting)
    };
    let profile = plan.profile.ok_or(NoScript::ProfileHasNone)?;
    if !profile.pending.is_empty() {
        return Ok(waits(&profile.pending.join("; ")));
    }
    if urls.tls
        && matches!(
            dialect,
            Dialect::Grub(Way::Http) | Dialect::Pxelinux(Way::Http)
        )
    {
        return Ok(waits(NO_HTTPS));
    }
    if !profile.spec.config.is_empty() && *token == Token::Unknown {
        return Err(NoScript::BootUnknown);
    }
    let source = profile.spec.source();
    let (body, purpose) = if let Source::Menu(menu) = source {
        let here = (context, urls, mac);
        let page = Page::new(dialect, snapshot, (profile, menu), asked, here);
        (page.script(dialect), Purpose::Menu)
    } else {
        let body = dialect.boot(source, context, urls, mac);
        (body.ok_or(NoScript::ProfileHasNone)?, Purpose::Script)
    };
    let is_in = |secret: &str| !secret.is_empty() && body.contains(secret);
    let private = match token {
        Token::Known(token) => is_in(token) || is_in(&context.boot.config),
        Token::Unknown | Token::Withheld => false,
    };
    let private =
        private || context.config.values().any(|url| is_in(url)) || asked.pass.is_some_and(is_in);
    if private && !is_open {
        return Ok(waits(TOKEN_BEHIND_PASSWORD));
    }
    if private && !dialect.keeps_secrets() {
        let elsewhere = dialect.by_http(context, urls, (mac, &asked.choice), TOKEN_BY_TFTP);
        // No stage of the boot: the script is what it fetches there.
        let elsewhere = elsewhere.map(|body| MachineScript::of(body, Purpose::Other));
        return Ok(elsewhere.unwrap_or_else(|| waits(TOKEN_BY_TFTP)));
    }
    Ok(MachineScript {
        private,
        ..MachineScript::of(body, purpose)
    })
}

// === impl MachineScript ===

impl MachineScript {
    const fn of(body: String, purpose: Purpose) -> Self {
        Self {
            body,
            purpose,
            private: false,
        }
    }

    /// Has iPXE forget the password that brought it here.
    fn without_password(mut self, is_locked: bool) -> Self {
        if is_locked {
            let forget = "#!ipxe\nclear username ||\nclear password ||\n";
            self.body = self.body.replacen("#!ipxe\n", forget, 1);
        }
        self
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
    (mac, choice): (MacAddress, &Choice),
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
    // Good for the files of what was chosen alone.
    let own = match (&token, choice.is_empty()) {
        (Some(_), false) => caller.told.token_for(mac, &choice.to_string()),
        (token, _) => (*token).clone(),
    };
    let configs = own.map(|token| urls.configs(mac, choice, &token));
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
        again: String::new(),
    }
}
