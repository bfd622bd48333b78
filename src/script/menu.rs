//! Menus, in the languages of iPXE, GRUB and PXELINUX.

use super::ipxe::{line, one_line};
use super::machine::Asked;
use super::url::{GRUB_NAME, PXELINUX_NAME, SCRIPT_NAME};
use super::{Context, Dialect, Urls, Way, grub};
use crate::api::{MenuAction, MenuEntry, MenuPassword, MenuSource};
use crate::boot::MacAddress;
use crate::snapshot::{Choice, Pick, ProfileEntry, Snapshot};

/// Seconds that a refusal stands on the screen.
const REFUSED_SECS: u32 = 3;
/// The user of GRUB whom nobody can be: it locks the editor and the command
/// line (GRUB manual 22.1).
const NOBODY: &str = "reveille";

/// A menu as one machine sees it.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) items: Vec<Item<'a>>,
    /// The entry that is chosen where nobody chooses.
    pub(super) default: Option<&'a str>,
    /// Seconds that it waits; 0 for ever.
    pub(super) timeout: u32,
    pub(super) at: &'a Asked<'a>,
    pub(super) context: &'a Context,
    pub(super) urls: &'a Urls,
    pub(super) mac: MacAddress,
}

/// An entry.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) entry: &'a MenuEntry,
    /// Why it cannot be chosen here.
    pub(super) closed: Option<&'static str>,
}

/// Whether a loader of `dialect` can ask for `password`, by itself or by us.
pub(super) const fn can_ask(dialect: Dialect, password: &MenuPassword) -> bool {
    match dialect {
        Dialect::Ipxe => true,
        Dialect::Grub(_) => password.hash.is_some(),
        Dialect::Pxelinux(_) => false,
    }
}

/// Whether a loader of `dialect` can do `action`.
pub(super) const fn can_do(dialect: Dialect, action: MenuAction) -> bool {
    match (dialect, action) {
        (Dialect::Ipxe, _) | (_, MenuAction::Disk) => true,
        (Dialect::Grub(_), MenuAction::Setup | MenuAction::Reboot) => true,
        (Dialect::Grub(_), MenuAction::Shell)
        | (Dialect::Pxelinux(_), MenuAction::Shell | MenuAction::Setup | MenuAction::Reboot) => {
            false
        }
    }
}

// === impl Page ===

impl<'a> Page<'a> {
    /// The menu of `profile`, for a loader that reads `dialect`.
    pub(super) fn new(
        dialect: Dialect,
        snapshot: &Snapshot,
        (profile, menu): (&'a ProfileEntry, &'a MenuSource),
        at: &'a Asked<'a>,
        (context, urls, mac): (&'a Context, &'a Urls, MacAddress),
    ) -> Self {
        let closed = |index: usize, entry: &MenuEntry| {
            if entry
                .password
                .as_ref()
                .is_some_and(|it| !can_ask(dialect, it))
            {
                return Some("its password cannot be asked for here");
            }
            match snapshot.target(profile, index) {
                Err(why) => Some(why.shown()),
                Ok(Pick::Action(action)) if !can_do(dialect, action) => {
                    Some("this loader cannot do that")
                }
                Ok(Pick::Action(_) | Pick::Profile(_)) => None,
            }
        };
        let entries = menu.entries.iter().enumerate();
        let items: Vec<Item<'_>> = entries
            .map(|(index, entry)| Item {
                entry,
                closed: closed(index, entry),
            })
            .collect();
        let open = |name: &&str| {
            let mut items = items.iter();
            items.any(|item| item.entry.name == *name && item.closed.is_none())
        };
        let default = menu.default_name().filter(open);
        Self {
            title: menu.title.as_deref().unwrap_or(&profile.name.name),
            // Another one in its place would be booted without being meant.
            timeout: default.map_or(0, |_| menu.timeout.secs()),
            default,
            items,
            at,
            context,
            urls,
            mac,
        }
    }

    /// The menu in `dialect`.
    pub(super) fn script(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Ipxe => self.ipxe(),
            Dialect::Grub(way) => self.grub(way),
            Dialect::Pxelinux(way) => self.pxelinux(way),
        }
    }

    fn head(&self) -> String {
        format!(
            "{} chooses from {}",
            self.context.machine.name, self.context.machine.profile
        )
    }

    /// The URL of a script for iPXE, with what says that passwords were known.
    fn url(&self, choice: &Choice) -> String {
        script_url(self.urls, self.mac, choice, self.at.pass)
    }

    fn ipxe(&self) -> String {
        let mut script = String::from("#!ipxe\n");
        let own = self.url(&self.at.choice);
        line(&mut script, &format!("echo Reveille: {}", self.head()));
        line(&mut script, "ifopen ||");
        line(&mut script, ":menu");
        let title = one_line(self.title);
        line(&mut script, &format!("menu {title} || goto bare"));
        for Item { entry, closed } in &self.items {
            let (name, label) = (&entry.name, one_line(entry.shown()));
            let key = entry.key.as_ref();
            let key = key.map_or_else(String::new, |key| format!(" --key {key}"));
            let text = match closed {
                None => format!("item{key} {name} {label}"),
                Some(why) => format!("item --gap -- {label}: {why}"),
            };
            line(&mut script, &text);
        }
        let back = self.at.choice.back();
        if back.is_some() {
            line(&mut script, "item back Back");
        }
        let chosen = self.default.map(|name| format!(" --default {name}"));
        let wait = (self.timeout > 0).then(|| format!(" --timeout {}000", self.timeout));
        let [chosen, wait] = [chosen, wait].map(Option::unwrap_or_default);
        line(
            &mut script,
            &format!("choose{chosen}{wait} entry || goto back"),
        );
        line(&mut script, "goto to-${entry}");
        for item in self.items.iter().filter(|item| item.closed.is_none()) {
            self.ipxe_entry(&mut script, item.entry);
        }
        line(&mut script, ":to-back");
        line(&mut script, ":back");
        match back {
            Some(back) => {
                let back = self.url(&back);
                line(&mut script, &format!("chain --replace {back} || goto menu"));
            }
            None => line(&mut script, "goto menu"),
        }
        line(&mut script, ":bare");
        match self.default.filter(|_| self.timeout > 0) {
            Some(name) => line(&mut script, &format!("goto to-{name}")),
            None => line(&mut script, "set entry a menu"),
        }
        line(&mut script, ":refused");
        line(&mut script, "clear password ||");
        line(
            &mut script,
            &format!("echo Reveille: ${{entry}} cannot be had; again in {REFUSED_SECS} s"),
        );
        line(&mut script, &format!("sleep {REFUSED_SECS}"));
        line(
            &mut script,
            &format!("chain --replace {own} || dhcp && chain --replace ${{filename}} ||"),
        );
        line(&mut script, "goto refused");
        script
    }

    fn ipxe_entry(&self, script: &mut String, entry: &MenuEntry) {
        let url = self.url(&self.at.choice.join(&entry.name));
        line(script, &format!(":to-{}", entry.name));
        let url = if entry.password.is_some() {
            // The user name is shown and not looked at.
            line(script, &format!("set username {}", entry.name));
            line(script, "clear password ||");
            line(script, "login || goto menu");
            let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
            format!("{scheme}://${{username:uristring}}:${{password:uristring}}@{rest}")
        } else {
            url
        };
        line(script, &format!("chain --replace {url} || goto refused"));
    }

    fn grub(&self, way: Way) -> String {
        let mut script = String::new();
        let shown = grub::quote(&format!("Reveille: {}", self.head()));
        line(&mut script, &format!("echo {shown}"));
        let locked = self.items.iter().filter(|item| item.closed.is_none());
        let locked = locked.filter_map(|Item { entry, .. }| {
            let hash = entry.password.as_ref()?.hash.as_ref()?;
            Some((&entry.name, hash))
        });
        line(&mut script, &format!("set superusers={NOBODY}"));
        for (name, hash) in locked {
            line(&mut script, &format!("password_pbkdf2 {name} {hash}"));
        }
        line(&mut script, "set timeout_style=menu");
        let timeout = match self.timeout {
            0 => "-1".to_owned(),
            secs => secs.to_string(),
        };
        line(&mut script, &format!("set timeout={timeout}"));
        if let Some(name) = self.default {
            line(&mut script, &format!("set default={name}"));
        }
        for Item { entry, closed } in &self.items {
            let (name, label) = (&entry.name, entry.shown());
            if let Some(why) = closed {
                let label = grub::quote(&format!("{label}: {why}"));
                line(
                    &mut script,
                    &format!("menuentry {label} --unrestricted {{ true; }}"),
                );
                continue;
            }
            let who = match &entry.password {
                Some(_) => format!("--users {name}"),
                None => "--unrestricted".to_owned(),
            };
            let key = entry.key.as_ref();
            let key = key.map_or_else(String::new, |key| format!(" --hotkey={key}"));
            let file = self.grub_file(&self.at.choice.join(name), way);
            let label = grub::quote(label);
            let head = format!("menuentry {label} --id {name} {who}{key}");
            line(&mut script, &format!("{head} {{ configfile {file}; }}"));
        }
        if let Some(back) = self.at.choice.back() {
            let file = self.grub_file(&back, way);
            line(
                &mut script,
                &format!("menuentry Back --unrestricted {{ configfile {file}; }}"),
            );
        }
        script
    }

    fn grub_file(&self, choice: &Choice, way: Way) -> String {
        let name = self.urls.chosen_name(self.mac, choice, GRUB_NAME);
        grub::quote(&match way {
            Way::Tftp => format!("(tftp,{})/{name}", self.urls.server),
            Way::Http => format!("(http,{})/{name}", grub::host(self.urls)),
        })
    }

    /// In words and by name: what it takes to draw a menu (menu.c32) may not be
    /// in the tree, and who types a name needs none.
    fn pxelinux(&self, way: Way) -> String {
        let mut script = String::new();
        line(&mut script, &format!("SAY Reveille: {}", self.head()));
        line(&mut script, &format!("SAY {}", self.title));
        line(&mut script, "SAY Type a name and press Enter:");
        for Item { entry, closed } in &self.items {
            let (name, label) = (&entry.name, entry.shown());
            let says = match closed {
                None => format!("SAY   {name:<20} {label}"),
                Some(why) => format!("SAY   {:<20} {label}: {why}", "-"),
            };
            line(&mut script, &says);
        }
        if self.at.choice.back().is_some() {
            line(&mut script, &format!("SAY   {:<20} Back", "back"));
        }
        if let Some(name) = self.default {
            line(&mut script, &format!("DEFAULT {name}"));
        }
        line(&mut script, "PROMPT 1");
        // Tenths of a second.
        line(&mut script, &format!("TIMEOUT {}", self.timeout * 10));
        line(&mut script, "IMPLICIT 0");
        line(&mut script, "ALLOWOPTIONS 0");
        let open = self.items.iter().filter(|item| item.closed.is_none());
        let labels = open.map(|item| {
            let name = item.entry.name.as_str();
            (name, self.at.choice.join(name))
        });
        let back = self.at.choice.back().map(|back| ("back", back));
        for (name, choice) in labels.chain(back) {
            let name_of = |file| self.urls.chosen_name(self.mac, &choice, file);
            let file = match way {
                Way::Tftp => format!("::{}", name_of(PXELINUX_NAME)),
                Way::Http => format!("{}/{}", self.urls.base(), name_of(PXELINUX_NAME)),
            };
            line(&mut script, &format!("LABEL {name}\n  CONFIG {file}"));
        }
        script
    }
}

/// The URL of the script of what was chosen; `pass` says that the passwords on
/// the way to it were known.
pub(super) fn script_url(
    urls: &Urls,
    mac: MacAddress,
    choice: &Choice,
    pass: Option<&str>,
) -> String {
    let url = format!("{}/{SCRIPT_NAME}", urls.chosen(mac, choice));
    match pass.filter(|_| !choice.is_empty()) {
        Some(pass) => format!("{url}?{PASS}{pass}"),
        None => url,
    }
}

/// What stands before a pass in a query.
pub const PASS: &str = "pass=";

/// The script of an entry without a profile; `back` is the menu that it stands
/// in. `None` where the loader cannot do it.
pub(super) fn action(
    dialect: Dialect,
    action: MenuAction,
    machine: &str,
    back: &str,
) -> Option<String> {
    let verb = match action {
        MenuAction::Disk => return None,
        MenuAction::Shell => "opens a shell, and exit leads back",
        MenuAction::Setup => "enters its setup",
        MenuAction::Reboot => "begins anew",
    };
    if !can_do(dialect, action) {
        return None;
    }
    let shown = format!("Reveille: {machine} {verb}");
    let mut script = String::new();
    if let Dialect::Grub(_) = dialect {
        line(&mut script, &format!("echo {}", grub::quote(&shown)));
        let does = if action == MenuAction::Setup {
            "fwsetup"
        } else {
            "reboot"
        };
        line(&mut script, does);
        return Some(script);
    }
    line(&mut script, "#!ipxe");
    line(&mut script, &format!("echo {shown}"));
    match action {
        MenuAction::Shell => line(&mut script, "shell ||"),
        // Firmware takes success for the end, and shows its own menu (UEFI 2.10
        // section 3.1.1).
        MenuAction::Setup => {
            line(&mut script, "iseq ${platform} efi && exit 0 ||");
            line(
                &mut script,
                "echo Reveille: a BIOS is entered by its own key",
            );
            line(&mut script, &format!("sleep {REFUSED_SECS}"));
        }
        MenuAction::Reboot | MenuAction::Disk => line(&mut script, "reboot ||"),
    }
    line(&mut script, ":again");
    line(
        &mut script,
        &format!("chain --replace {back} || sleep {REFUSED_SECS}"),
    );
    line(&mut script, "goto again");
    Some(script)
}
