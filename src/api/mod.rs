//! The custom resources: what a person writes, in a cluster or in a folder.
//!
//! `Subnet` says where machines boot, `BootProfile` what they boot, `Machine`
//! who they are, `Artifact` where the files are from. The CRDs are derived from these types, and a folder of files
//! is held against the same schema, so both refuse the same mistakes.
//! This module holds data only: it knows neither files nor a cluster.

#![expect(
    clippy::duplicated_attributes,
    reason = "columns of one type are no duplicates"
)]

mod artifact;
mod config;
mod dhcp;
mod ipv6;
mod lease;
mod machine;
mod menu;
mod problem;
mod profile;
mod rules;
mod scalar;
mod shape;
mod status;
mod subnet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use self::artifact::{
    ArchiveFormat, ArchiveSource, Artifact, ArtifactFile, ArtifactSpec, ArtifactStatus,
    FetchStatus, MAX_ARTIFACT_FILES, MAX_MIRRORS, MAX_PICKS, OciSource, Signature,
};
pub use self::config::{ConfigFile, ConfigKind, MAX_CONFIGS, MAX_TEMPLATE};
pub use self::dhcp::{
    AddressRange, ClassMatch, ClientClass, DhcpOption, LeaseIdentity, RESERVED_OPTIONS,
    Reservation, Route, id_bytes, unhex,
};
pub use self::ipv6::{Dns6, Ipv6Network, Pool6};
pub use self::lease::{DhcpLease, DhcpLeaseSpec};
pub use self::machine::{
    BootPolicy, BootSpec, Interface, LocalBoot, MAX_INTERFACES, Machine, MachineSpec,
};
pub use self::menu::{
    HASH_HEAD, MAX_ENTRIES, MAX_MENU_SECS, MenuAction, MenuEntry, MenuPassword, MenuSource,
    SecretKeyRef,
};
pub use self::problem::{DEFAULT_NAMESPACE, Kind, ObjectRef, Place, Problem, Severity};
pub use self::profile::{
    ArtifactRef, BootProfile, BootProfileSpec, ChainSource, EfiSource, FileField, FileSource,
    Https, InitrdSource, IsoMethod, IsoSource, LinuxSource, Loader, LoaderKind, LocalSource,
    MAX_ARGS, MAX_INITRDS, MAX_SCRIPT, NameRef, Operator, RomIpxe, ScriptSource, Selector,
    SelectorRequirement, Source,
};
pub use self::rules::Syntax;
pub use self::scalar::{Cidr, Cidr6, Lifetime, ScalarError};
pub use self::status::{
    AddressCounts, BootProfileStatus, BootStatus, ForeignServer, Ipv6Status, MAX_STATUS_BOOTS,
    MachineFacts, MachineStatus, Phase, StageStatus, SubnetStatus,
};
pub use self::subnet::{
    Auto, Dns, ForeignDhcp, Hostnames, Lifetimes, Mode, Pool, Subnet, SubnetSpec, UnknownMachines,
};

/// The API group of every resource.
pub const GROUP: &str = "reveille.dev";
/// The one version there is so far.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it stands in a manifest.
pub const API_VERSION: &str = "reveille.dev/v1alpha1";

/// The label that Reveille gives each Machine: its first MAC address, with
/// hyphens, since a label's value may hold no colon.
pub const MAC_LABEL: &str = "reveille.dev/mac";
/// The label of what belongs to a Subnet: its name.
pub const SUBNET_LABEL: &str = "reveille.dev/subnet";
/// The label of what belongs to a Machine: its name.
pub const MACHINE_LABEL: &str = "reveille.dev/machine";

/// The label of an IPv6 lease's object: the number of the replica that lent it.
pub const REPLICA_LABEL: &str = "reveille.dev/replica";

/// The custom resource definition of `kind`, as `reveille crds` prints it and
/// as the manifest reader checks against.
#[must_use]
pub fn crd(kind: Kind) -> CustomResourceDefinition {
    match kind {
        Kind::Subnet => shape::finish(Subnet::crd(), rules::subnet()),
        Kind::BootProfile => shape::finish(BootProfile::crd(), rules::profile()),
        Kind::Machine => shape::finish(Machine::crd(), rules::machine()),
        Kind::Artifact => shape::finish(Artifact::crd(), rules::artifact()),
    }
}

/// Every custom resource definition: of the kinds that people write, and of
/// those that only Reveille does.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all: Vec<_> = Kind::ALL.into_iter().map(crd).collect();
    all.push(shape::finish(DhcpLease::crd(), rules::lease()));
    all
}
