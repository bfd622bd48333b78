//! The custom resources: what a person writes, in a cluster or in a folder.
//!
//! `Subnet` says where machines boot, `BootProfile` what they boot, `Machine`
//! who they are. The CRDs are derived from these types, and a folder of files
//! is held against the same schema, so both refuse the same mistakes.
//! This module holds data only: it knows neither files nor a cluster.

#![expect(
    clippy::duplicated_attributes,
    reason = "columns of one type are no duplicates"
)]

mod machine;
mod problem;
mod profile;
mod scalar;
mod subnet;

use kube::CustomResourceExt as _;

pub use self::machine::{
    BootPolicy, BootSpec, Interface, LocalBoot, MAX_INTERFACES, Machine, MachineSpec,
};
pub use self::problem::{DEFAULT_NAMESPACE, Kind, ObjectRef, Place, Problem, Severity};
pub use self::profile::{
    BootProfile, BootProfileSpec, FileSource, InitrdSource, LinuxSource, Loader, LoaderKind,
    LocalSource, MAX_ARGS, MAX_INITRDS, NameRef, Operator, RomIpxe, Selector, SelectorRequirement,
};
pub use self::scalar::{Cidr, Lifetime, ScalarError};
pub use self::subnet::{Dns, Lifetimes, Mode, Pool, Subnet, SubnetSpec, UnknownMachines};

/// The API group of every resource.
pub const GROUP: &str = "reveille.dev";
/// The one version there is so far.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it stands in a manifest.
pub const API_VERSION: &str = "reveille.dev/v1alpha1";

/// The custom resource definition of `kind`, as `reveille crds` prints it and
/// as the manifest reader checks against.
#[must_use]
pub fn crd(
    kind: Kind,
) -> k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition {
    match kind {
        Kind::Subnet => Subnet::crd(),
        Kind::BootProfile => BootProfile::crd(),
        Kind::Machine => Machine::crd(),
    }
}
