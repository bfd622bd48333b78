//! `menu` of a BootProfile: what a person at the machine may choose.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lifetime, NameRef};

/// Most entries of one menu: more than a screen of 25 lines holds.
pub const MAX_ENTRIES: usize = 32;
/// Longest a menu waits for a key, in seconds, where it does not wait for
/// ever: PXELINUX counts tenths of a second up to 35996.
pub const MAX_MENU_SECS: u32 = 3599;
/// What a hash of a password begins with, as `grub-mkpasswd-pbkdf2` prints it.
pub const HASH_HEAD: &str = "grub.pbkdf2.sha512.";

/// A menu at the machine's screen. A profile that is chosen may be a menu
/// itself; Escape leads back from that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MenuSource {
    /// What stands above the entries. Default: the profile's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub title: Option<String>,
    /// The entry that is chosen at the end of `timeout`, by name. Default: the
    /// first. Where it cannot be booted the menu waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub default: Option<String>,
    /// How long the menu waits for the first key, 59m59s at most; a key stops
    /// the clock. `0s`: for ever.
    #[serde(default = "default_timeout")]
    pub timeout: Lifetime,
    /// What there is to choose, from top to bottom.
    #[schemars(length(min = 1, max = 32))]
    pub entries: Vec<MenuEntry>,
    /// Whether PXE firmware is shown the menu too, before any loader: as DHCP
    /// option 43 by its rules, which are 255 bytes for all labels and no
    /// passwords. What is chosen there is not asked again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub firmware: bool,
}

/// One thing to choose. Exactly one of `profileRef` and `action` must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MenuEntry {
    /// Its name, a part of URLs: lower-case letters, digits and `-`.
    #[schemars(length(min = 1, max = 32))]
    pub name: String,
    /// What the screen shows. Default: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub label: Option<String>,
    /// The key that chooses it: a lower-case letter or a digit. GRUB keeps `c`
    /// and `e` for itself, PXELINUX knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1))]
    pub key: Option<String>,
    /// The BootProfile that it boots. Its `architectures` and `options`, and
    /// its `loader` but for shim, are not looked at: the machine came by those
    /// of the menu.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_ref: Option<NameRef>,
    /// What it does without a BootProfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<MenuAction>,
    /// What must be known to choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<MenuPassword>,
}

/// What an entry does without a BootProfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MenuAction {
    /// Boots the machine's disk.
    Disk,
    /// Opens iPXE's shell; `exit` leads back.
    Shell,
    /// Enters the firmware's setup; UEFI only.
    Setup,
    /// Begins anew.
    Reboot,
}

/// A password. Exactly one of `hash` and `secretRef` must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MenuPassword {
    /// Its hash, as `grub-mkpasswd-pbkdf2` prints it: iPXE asks us, GRUB
    /// compares itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub hash: Option<String>,
    /// A key of a Secret of the same namespace, or a file below `--secrets`:
    /// the password, or such a hash. iPXE asks us; GRUB cannot, and does not
    /// offer the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

/// A key of a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

// === impl MenuSource ===

impl MenuSource {
    /// The entry of this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<(usize, &MenuEntry)> {
        let mut entries = self.entries.iter().enumerate();
        entries.find(|(_, entry)| entry.name == name)
    }

    /// The name of the entry that is chosen where nobody chooses.
    #[must_use]
    pub fn default_name(&self) -> Option<&str> {
        let first = self.entries.first().map(|entry| entry.name.as_str());
        self.default.as_deref().or(first)
    }
}

// === impl MenuEntry ===

impl MenuEntry {
    /// What the screen shows.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }
}

// === impl MenuAction ===

impl MenuAction {
    /// Its name in manifests and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "Disk",
            Self::Shell => "Shell",
            Self::Setup => "Setup",
            Self::Reboot => "Reboot",
        }
    }
}

const fn default_timeout() -> Lifetime {
    Lifetime::from_secs(30)
}
