//! `BootProfile`: what to boot.

use std::collections::BTreeMap;
use std::iter;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BootProfileStatus, ConfigFile, DhcpOption, MenuSource};
use crate::boot::Architecture;

/// Most initrds that one profile may name.
pub const MAX_INITRDS: usize = 16;
/// Most kernel arguments that one profile may name.
pub const MAX_ARGS: usize = 256;

/// Longest script of a profile, in characters.
pub const MAX_SCRIPT: usize = 16_384;

/// A BootProfile says what machines boot: a kernel with its initrds and
/// arguments, an EFI program, a disc, another server's script, a script of
/// one's own, what a person chooses from a menu, or their own disk.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "reveille.dev",
    version = "v1alpha1",
    kind = "BootProfile",
    doc = "What machines boot: a kernel, an EFI program, a disc, a script, or their own disk.",
    plural = "bootprofiles",
    shortname = "bp",
    selectable = ".spec.default",
    namespaced,
    category = "reveille",
    derive = "PartialEq",
    status = "BootProfileStatus",
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source"),
    printcolumn(name = "Default", type_ = "boolean", json_path = ".spec.default"),
    printcolumn(name = "Machines", type_ = "integer", json_path = ".status.machines"),
    printcolumn(name = "Boots", type_ = "integer", json_path = ".status.boots"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Priority",
        type_ = "integer",
        json_path = ".spec.priority",
        priority = 1
    ),
    printcolumn(
        name = "Last-Boot",
        type_ = "date",
        json_path = ".status.lastBoot",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootProfileSpec {
    /// Whether machines get this profile that nothing else gives one. Of two
    /// defaults in a namespace the oldest wins.
    #[serde(default)]
    pub default: bool,

    /// Decides between profiles whose selectors match a machine equally well;
    /// the highest wins.
    #[serde(default)]
    pub priority: i32,

    /// The machines that get this profile, by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_selector: Option<Selector>,

    /// The architectures that can boot it. Default: all that a loader is there
    /// for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub architectures: Vec<Architecture>,

    /// The program that the firmware loads first.
    #[serde(default)]
    pub loader: Loader,

    /// Who is told HTTPS addresses instead of HTTP; needs the service's HTTPS
    /// (`--https`), and clients that trust its certificate.
    #[serde(default)]
    pub https: Https,

    /// A Linux kernel, its initrds and arguments. Exactly one of `linux`,
    /// `efi`, `iso`, `chain`, `script`, `menu` and `local` must be there; none
    /// with a loader of kind `File`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<LinuxSource>,

    /// An EFI program, such as a unified kernel image; for UEFI only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efi: Option<EfiSource>,

    /// The image of a disc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iso: Option<IsoSource>,

    /// Another server's script or program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainSource>,

    /// An iPXE script of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptSource>,

    /// Other profiles to choose from at the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub menu: Option<MenuSource>,

    /// The machine's own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSource>,

    /// DHCP options for machines that boot this profile, which win over those
    /// of the Subnet; a machine's own win over these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub options: Vec<DhcpOption>,

    /// Answer files for what is booted, each made for one machine and released
    /// by its boot's token alone: kickstart, preseed, cloud-init, Ignition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub config: Vec<ConfigFile>,

    /// Values for templates, as `{{ params.NAME }}`; they win over the
    /// Subnet's, and a machine's own win over them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

/// A reference to an object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameRef {
    /// The object's name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// Chooses machines by their labels; every requirement must hold. An empty
/// selector is refused: it would match every machine and say so nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels and the values they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectorRequirement {
    /// The label.
    #[schemars(length(max = 317))]
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// The values to compare with; for `In` and `NotIn` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// The program that the firmware loads first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Loader {
    /// `Ipxe`: iPXE for the machine's architecture, then this profile's
    /// script. `Direct`: none; the firmware itself loads the program of `efi`,
    /// by PXE or HTTP boot. `GrubShim`: a shim and a GRUB that distributions
    /// sign, for Secure Boot, and a `grub.cfg` that is made for the machine.
    /// `File`: the file named in `files`, and nothing after it.
    #[serde(default)]
    pub kind: LoaderKind,
    /// Files to send instead of the usual ones, by architecture; paths in the
    /// artifact tree.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = describe_files)]
    pub files: BTreeMap<Architecture, String>,
    /// What to do with an iPXE that a network card brings in its ROM. `Use`
    /// sends it the script; `Replace` sends it our own loader first, because
    /// the ROM's is old or lacks what the script needs.
    #[serde(default)]
    pub rom_ipxe: RomIpxe,
}

/// Kinds of loaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoaderKind {
    /// iPXE and a script.
    #[default]
    Ipxe,
    /// None: the firmware loads what is booted.
    Direct,
    /// `shimx64.efi` or `shimaa64.efi`, which loads `grubx64.efi` or
    /// `grubaa64.efi` from the same folder.
    GrubShim,
    /// A file that needs nothing from us afterwards.
    File,
}

/// Who is told HTTPS addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Https {
    /// Nobody.
    #[default]
    Never,
    /// iPXE, for scripts and files. Where an authority of our own signs, an
    /// iPXE that we send is told to trust it by DHCP (option 175); one in a ROM
    /// cannot be told, and gets ours first.
    Ipxe,
    /// The same, and UEFI's own HTTP boot. Our authority, or that of the
    /// certificate, must be enrolled in the machine's firmware: one that does
    /// not know it boots nothing.
    All,
}

/// What to do with an iPXE that is already in the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RomIpxe {
    /// It gets the script.
    #[default]
    Use,
    /// It gets our loader first.
    Replace,
}

/// A Linux kernel and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinuxSource {
    /// The kernel.
    pub kernel: FileSource,
    /// Initial RAM disks, in the order in which the kernel unpacks them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub initrd: Vec<InitrdSource>,
    /// Kernel arguments, each a template: `hostname={{ machine.name }}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,
}

/// An EFI program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EfiSource {
    /// The program.
    pub file: FileSource,
    /// Its arguments, each a template. Firmware passes none, so a loader of
    /// kind `Direct` takes none. A unified kernel image takes them, and iPXE's
    /// name of the file before them, in place of the command line in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,
}

/// The image of a disc, ISO 9660 with what BIOS or UEFI boot from a disc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IsoSource {
    /// The image.
    pub file: FileSource,
    /// How it is booted. `SanBoot`: iPXE reads it over HTTP as a drive, for as
    /// long as firmware drives it. `RamDisk`: UEFI HTTP boot loads it whole
    /// into memory. Default: `RamDisk` for a machine that asks by UEFI HTTP
    /// boot, `SanBoot` for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<IsoMethod>,
}

/// How the image of a disc is booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IsoMethod {
    /// By iPXE, as a drive over HTTP.
    SanBoot,
    /// By UEFI HTTP boot, as a disk in memory.
    RamDisk,
}

/// Another server's script or program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainSource {
    /// Its URL, a template: `http`, `https` or `tftp`, as far as iPXE knows
    /// them.
    #[schemars(length(max = 2048))]
    pub url: String,
}

/// An iPXE script of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScriptSource {
    /// Its text, a template. `#!ipxe` is put before it where it lacks that.
    #[schemars(length(max = 16384))]
    pub text: String,
}

/// What a profile boots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source<'a> {
    /// A Linux kernel.
    Linux(&'a LinuxSource),
    /// An EFI program.
    Efi(&'a EfiSource),
    /// The image of a disc.
    Iso(&'a IsoSource),
    /// Another server's script or program.
    Chain(&'a ChainSource),
    /// A script of one's own.
    Script(&'a ScriptSource),
    /// What a person chooses.
    Menu(&'a MenuSource),
    /// The machine's disk.
    Local,
    /// A loader of its own, and nothing after it.
    Loader,
}

/// A file to boot. Exactly one of `path`, `artifactRef` and `url` must be
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSource {
    /// Its path in the artifact tree.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
    /// A file of an Artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_ref: Option<ArtifactRef>,
    /// Where it is fetched from, once: an `http://`, `https://` or `file:///`
    /// URL. It goes with `sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// The SHA-256 digest in hex of what is at `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A file of an Artifact of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactRef {
    /// The Artifact's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The file's path in it.
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
}

/// An initial RAM disk. Exactly one of `path`, `artifactRef` and `url` must be
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitrdSource {
    /// Its path in the artifact tree.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
    /// A file of an Artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_ref: Option<ArtifactRef>,
    /// Where it is fetched from, once: an `http://`, `https://` or `file:///`
    /// URL. It goes with `sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// The SHA-256 digest in hex of what is at `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The name under which the kernel finds it, where it asks by name.
    /// Default: the last part of its path or URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
}

/// The machine's own disk. It has no settings: `local: {}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
// Structural schemas cannot say `additionalProperties: false`; the API server
// prunes unknown fields, or refuses them, all the same.
#[schemars(transform = drop_additional_properties)]
pub struct LocalSource {}

// === impl BootProfileSpec ===

impl BootProfileSpec {
    /// What it boots. A profile that was validated names one source.
    #[must_use]
    pub const fn source(&self) -> Source<'_> {
        if let Some(linux) = &self.linux {
            Source::Linux(linux)
        } else if let Some(efi) = &self.efi {
            Source::Efi(efi)
        } else if let Some(iso) = &self.iso {
            Source::Iso(iso)
        } else if let Some(chain) = &self.chain {
            Source::Chain(chain)
        } else if let Some(script) = &self.script {
            Source::Script(script)
        } else if let Some(menu) = &self.menu {
            Source::Menu(menu)
        } else if self.local.is_some() {
            Source::Local
        } else {
            Source::Loader
        }
    }

    /// Every file that its source names.
    #[must_use]
    pub fn files(&self) -> Vec<FileField<'_>> {
        let mut all = Vec::new();
        if let Some(linux) = &self.linux {
            all.push(FileField::of(&linux.kernel, "/spec/linux/kernel"));
            let initrds = linux.initrd.iter().enumerate();
            all.extend(initrds.map(|(index, initrd)| FileField {
                pointer: format!("/spec/linux/initrd/{index}"),
                path: &initrd.path,
                artifact_ref: initrd.artifact_ref.as_ref(),
                url: initrd.url.as_deref(),
                sha256: initrd.sha256.as_deref(),
            }));
        }
        if let Some(efi) = &self.efi {
            all.push(FileField::of(&efi.file, "/spec/efi/file"));
        }
        if let Some(iso) = &self.iso {
            all.push(FileField::of(&iso.file, "/spec/iso/file"));
        }
        all
    }

    /// The paths of [`BootProfileSpec::files`], in their order, for who puts
    /// there what is served.
    pub fn paths_mut(&mut self) -> Vec<&mut String> {
        let linux = self.linux.iter_mut().flat_map(|linux| {
            let initrds = linux.initrd.iter_mut().map(|initrd| &mut initrd.path);
            iter::once(&mut linux.kernel.path).chain(initrds)
        });
        let efi = self.efi.iter_mut().map(|efi| &mut efi.file.path);
        let iso = self.iso.iter_mut().map(|iso| &mut iso.file.path);
        linux.chain(efi).chain(iso).collect()
    }
}

// === impl Source ===

impl Source<'_> {
    /// Its name in the status, log lines and tables: the field's.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linux(_) => "linux",
            Self::Efi(_) => "efi",
            Self::Iso(_) => "iso",
            Self::Chain(_) => "chain",
            Self::Script(_) => "script",
            Self::Menu(_) => "menu",
            Self::Local => "local",
            Self::Loader => "loader",
        }
    }
}

fn drop_additional_properties(schema: &mut schemars::Schema) {
    schema.remove("additionalProperties");
}

/// One file that a profile names.
#[derive(Clone, Debug)]
pub struct FileField<'a> {
    /// JSON pointer to it, such as `/spec/linux/kernel`.
    pub pointer: String,
    /// Its path in the artifact tree.
    pub path: &'a str,
    /// The file of an Artifact that it is.
    pub artifact_ref: Option<&'a ArtifactRef>,
    /// Where it is fetched from.
    pub url: Option<&'a str>,
    /// The digest of what is there.
    pub sha256: Option<&'a str>,
}

impl<'a> FileField<'a> {
    /// The file that `source` names at `pointer`.
    fn of(source: &'a FileSource, pointer: &str) -> Self {
        Self {
            pointer: pointer.to_owned(),
            path: &source.path,
            artifact_ref: source.artifact_ref.as_ref(),
            url: source.url.as_deref(),
            sha256: source.sha256.as_deref(),
        }
    }
}

/// Says what each architecture's file is: the derive knows no words for the
/// values of a map.
fn describe_files(schema: &mut schemars::Schema) {
    let Some(files) = schema.get_mut("properties").and_then(|p| p.as_object_mut()) else {
        return;
    };
    for (arch, file) in files {
        if let Some(file) = file.as_object_mut() {
            let text = format!("The file for {arch}.");
            file.insert("description".to_owned(), text.into());
        }
    }
}
