//! `DhcpLease`: the mirror of a lease, written by Reveille.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::boot::MacAddress;

/// A DhcpLease shows who has an address. Reveille writes it, and reads it only
/// where its own record is lost; nobody needs to write one.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "reveille.dev",
    version = "v1alpha1",
    kind = "DhcpLease",
    doc = "Who has an address: the mirror of a lease, written by Reveille.",
    plural = "dhcpleases",
    shortname = "dl",
    selectable = ".spec.subnet",
    selectable = ".spec.machine",
    selectable = ".spec.mac",
    namespaced,
    category = "reveille",
    derive = "PartialEq",
    printcolumn(name = "MAC", type_ = "string", json_path = ".spec.mac"),
    printcolumn(name = "Machine", type_ = "string", json_path = ".spec.machine"),
    printcolumn(name = "Hostname", type_ = "string", json_path = ".spec.hostname"),
    printcolumn(name = "Subnet", type_ = "string", json_path = ".spec.subnet"),
    printcolumn(name = "Bound", type_ = "date", json_path = ".spec.bound"),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".spec.address",
        priority = 1
    ),
    printcolumn(
        name = "Client-ID",
        type_ = "string",
        json_path = ".spec.clientId",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DhcpLeaseSpec {
    /// The address that is lent; the object has its name, one of IPv6 with
    /// hyphens for colons. It never changes.
    pub address: IpAddr,
    /// The Subnet whose pool it is from, by name.
    pub subnet: String,
    /// The MAC address that it is lent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// The client identifier (option 61) in hexadecimal, where that is the key;
    /// of an IPv6 lease its DUID and IAID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The Machine that it is lent to, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The host name that the machine gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Since when it is lent; renewals do not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Time>,
}
