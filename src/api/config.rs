//! `config` of a BootProfile: the answer files of what it boots.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NameRef;

/// Most answer files that one profile may have.
pub const MAX_CONFIGS: usize = 16;
/// Longest template of an answer file, in characters.
pub const MAX_TEMPLATE: usize = 65_536;

/// An answer file, made for each machine and given to nobody else: kernel
/// arguments name it as `{{ config.NAME }}`, the URL that is good for one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// Its name, the last part of its URL: letters, digits, `.`, `_` and `-`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Who reads it. It decides the `Content-Type`, and what is looked at
    /// before it is sent: `Ignition` must be JSON once it is rendered.
    #[serde(default)]
    pub kind: ConfigKind,
    /// Its text, a template. It may name what kernel arguments name, and
    /// `{{ secrets['NAME'].KEY }}` of the Secrets in `secretRefs`.
    #[schemars(length(min = 1, max = 65536))]
    pub template: String,
    /// Secrets of the same namespace, or files below `--secrets`, that the
    /// template may name. They are read when a machine asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub secret_refs: Vec<NameRef>,
    /// ConfigMaps of the same namespace, or files below `--config-maps`, whose
    /// keys the template may include: `{% include 'NAME/KEY' %}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub config_map_refs: Vec<NameRef>,
}

/// Who reads an answer file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigKind {
    /// Whoever it is: plain text.
    #[default]
    Other,
    /// Anaconda: `inst.ks=`.
    Kickstart,
    /// The Debian installer: `url=`.
    Preseed,
    /// cloud-init's NoCloud; the names are `user-data`, `meta-data`,
    /// `vendor-data` and `network-config`.
    CloudInit,
    /// Flatcar and Fedora CoreOS: `ignition.config.url=`.
    Ignition,
    /// Windows Setup.
    Autounattend,
}

// === impl ConfigKind ===

impl ConfigKind {
    /// The `Content-Type` of such a file.
    #[must_use]
    pub const fn media(self) -> &'static str {
        match self {
            Self::Ignition => "application/vnd.coreos.ignition+json",
            Self::Autounattend => "application/xml; charset=utf-8",
            Self::Other | Self::Kickstart | Self::Preseed | Self::CloudInit => {
                "text/plain; charset=utf-8"
            }
        }
    }
}
