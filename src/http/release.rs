//! The release of answer files: to whom, by what, and how often.
//!
//! Core: what a request means, and the ledger of what was given away.

use std::collections::BTreeMap;

use crate::api::ConfigFile;
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::script::{CONFIG_NAME, Caller, Context, Urls, context, holds, is_current, subnet_for};
use crate::snapshot::{Choice, LocalReason, ObjectName, Pick, Snapshot, Verdict};
use crate::timeline::BootId;

/// How often one answer file is given within one boot: installers ask for
/// theirs at each start of a step, and again after a broken connection.
pub const RELEASES: u32 = 32;
/// How long a token releases anything: an installation with a slow mirror ends
/// within a day.
pub const TOKEN_HOURS: u64 = 24;
/// Boots that the ledger knows; the oldest goes.
const MAX_BOOTS: usize = 10_000;

/// An answer file that may be given to who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The boot whose token was shown.
    pub boot: BootId,
    /// The profile whose file it is.
    pub profile: ObjectName,
    /// The file.
    pub file: ConfigFile,
    /// What its template can name.
    pub context: Context,
}

/// Why no answer file is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// 403: no token.
    TokenMissing,
    /// 403: the token is not of a boot of this machine, or not ours.
    TokenWrong,
    /// 403: the machine began another boot since.
    TokenOfOldBoot,
    /// 403: the boot began more than [`TOKEN_HOURS`] hours ago.
    TokenExpired,
    /// 403: the address is none that the machine holds.
    AddressNotTheMachines,
    /// 403: the machine is not to boot.
    LocalBoot(LocalReason),
    /// 404: the machine's profile has no such file.
    NoSuchFile,
    /// 403: it was given [`RELEASES`] times within this boot.
    TooOften,
    /// 503: a Secret or ConfigMap that it names cannot be had.
    ValueMissing,
    /// 500: its template does not render.
    TemplateFailed,
}

/// How often each file was given within each boot. It is not kept on disk:
/// after a restart it begins anew, and each replica has its own.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By number first, which is time mostly.
    boots: BTreeMap<(u64, MacAddress), BTreeMap<String, u32>>,
}

/// Decides about the answer file of what was chosen, at `path`, what follows
/// `config/`: `TOKEN/NAME`, or `NAME` with `token=TOKEN` in the query.
///
/// # Errors
/// [`Refused`] says why it is not given.
pub fn grant(
    snapshot: &Snapshot,
    caller: Caller<'_>,
    urls: &Urls,
    (mac, choice): (MacAddress, &Choice),
    path: &str,
    query: Option<&str>,
) -> Result<Granted, Refused> {
    let (token, name) = match path.split_once('/') {
        Some((token, name)) => (Some(token), name),
        None => {
            let mut pairs = query.unwrap_or_default().split('&');
            (pairs.find_map(|pair| pair.strip_prefix("token=")), path)
        }
    };
    let token = token.ok_or(Refused::TokenMissing)?;
    let boot = caller.told.boot_of(mac, &choice.to_string(), token);
    let boot = boot.ok_or(Refused::TokenWrong)?;
    if !is_current(caller.told, boot) {
        return Err(Refused::TokenOfOldBoot);
    }
    let subnet = subnet_for(snapshot, caller, urls.server).ok_or(Refused::AddressNotTheMachines)?;
    let mut plan = snapshot.plan(subnet, &caller.told.identity(mac));
    if subnet.ignores(&plan).is_some() || !holds(snapshot, subnet, &plan, mac, caller) {
        return Err(Refused::AddressNotTheMachines);
    }
    match plan.verdict {
        // What it booted once runs, and asks on.
        Verdict::Boot | Verdict::Tell | Verdict::Local(LocalReason::Spent) => {}
        Verdict::Local(reason) => return Err(Refused::LocalBoot(reason)),
    }
    let mut profile = plan.profile.ok_or(Refused::NoSuchFile)?;
    if !choice.is_empty() {
        // Who has the token knew the passwords.
        let picked = snapshot.pick(profile, choice).map(|picked| picked.what);
        let Ok(Pick::Profile(chosen)) = picked else {
            return Err(Refused::NoSuchFile);
        };
        profile = chosen;
        plan = plan.choosing(chosen);
    }
    let mut files = profile.spec.config.iter();
    let file = files.find(|file| file.name == name);
    Ok(Granted {
        boot,
        profile: profile.name.clone(),
        file: file.ok_or(Refused::NoSuchFile)?.clone(),
        context: context(snapshot, subnet, &plan, (mac, choice), caller, urls),
    })
}

/// `path` as it may be logged: without the token that stands in it.
#[must_use]
pub fn without_token(path: &str) -> String {
    let door = format!("/{CONFIG_NAME}/");
    let parts = path.split_once(&door);
    // The tree may have a folder of that name.
    let parts = parts.filter(|(before, _)| before.contains("machines"));
    let Some((before, rest)) = parts else {
        return path.to_owned();
    };
    match rest.trim_start_matches('/').split_once('/') {
        Some((_, name)) => format!("{before}{door}…/{name}"),
        None => path.to_owned(),
    }
}

// === impl Refused ===

impl Refused {
    /// Its name in answers, log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenMissing => "token-missing",
            Self::TokenWrong => "token-wrong",
            Self::TokenOfOldBoot => "token-of-old-boot",
            Self::TokenExpired => "token-expired",
            Self::AddressNotTheMachines => "address-not-the-machines",
            Self::LocalBoot(reason) => reason.as_str(),
            Self::NoSuchFile => "no-such-answer-file",
            Self::TooOften => "answer-file-given-too-often",
            Self::ValueMissing => "secret-or-config-map-missing",
            Self::TemplateFailed => "answer-file-template-failed",
        }
    }

    /// The status code of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TokenMissing
            | Self::TokenWrong
            | Self::TokenOfOldBoot
            | Self::TokenExpired
            | Self::AddressNotTheMachines
            | Self::LocalBoot(_)
            | Self::TooOften => 403,
            Self::NoSuchFile => 404,
            Self::TemplateFailed => 500,
            Self::ValueMissing => 503,
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// Takes note that `name` is given within `boot`.
    ///
    /// # Errors
    /// It was given too often, or the boot began too long ago.
    pub fn take(&mut self, boot: BootId, name: &str, now: Millis) -> Result<(), Refused> {
        if now.since(Millis(boot.number)) > TOKEN_HOURS * 3_600_000 {
            return Err(Refused::TokenExpired);
        }
        let given = self.boots.entry((boot.number, boot.mac)).or_default();
        let times = given.entry(name.to_owned()).or_default();
        if *times >= RELEASES {
            return Err(Refused::TooOften);
        }
        *times += 1;
        if self.boots.len() > MAX_BOOTS {
            self.boots.pop_first();
        }
        Ok(())
    }

    /// It was not given after all.
    pub fn give_back(&mut self, boot: BootId, name: &str) {
        let given = self.boots.get_mut(&(boot.number, boot.mac));
        if let Some(times) = given.and_then(|given| given.get_mut(name)) {
            *times = times.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_a_file_so_often_and_so_long() {
        let mut ledger = Ledger::default();
        let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
        let now = Millis::from_secs(1_760_000_000);
        let boot = BootId { mac, number: now.0 };
        for _ in 0..RELEASES {
            assert_eq!(ledger.take(boot, "a", now), Ok(()));
        }
        assert_eq!(ledger.take(boot, "a", now), Err(Refused::TooOften));
        assert_eq!(ledger.take(boot, "b", now), Ok(()));
        ledger.give_back(boot, "a");
        assert_eq!(ledger.take(boot, "a", now), Ok(()));
        let late = now.plus_secs(TOKEN_HOURS * 3600 + 1);
        assert_eq!(ledger.take(boot, "b", late), Err(Refused::TokenExpired));
        for number in 1..=MAX_BOOTS as u64 {
            let number = now.0 + number;
            assert_eq!(ledger.take(BootId { mac, number }, "a", now), Ok(()));
        }
        assert_eq!(ledger.boots.len(), MAX_BOOTS);
        assert_eq!(ledger.take(boot, "a", now), Ok(()), "forgotten");
    }

    #[test]
    fn no_token_is_logged() {
        let machine = "/reveille/machines/52-54-00-00-00-07";
        for (path, want) in [
            ("/config/19.ab/user-data", "/config/…/user-data"),
            ("/config/19.ab/", "/config/…/"),
            ("/config/19.ab/a/b", "/config/…/a/b"),
            ("/config//19.ab//b", "/config/…//b"),
            ("/config/user-data", "/config/user-data"),
            ("/boot.ipxe", "/boot.ipxe"),
        ] {
            let path = format!("{machine}{path}");
            assert_eq!(without_token(&path), format!("{machine}{want}"));
        }
        assert_eq!(without_token("/debian/config/a/b"), "/debian/config/a/b");
    }
}
