//! What DHCP counts.

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::lease::Claims;
use crate::telemetry::{Meter, SECONDS, about};

/// From an answer out of memory to one that waited for a disk or a probe.
const ANSWERS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
];

/// Metrics of the DHCP service. No label names a machine.
#[derive(Clone, Debug)]
pub struct DhcpMetrics {
    /// Requests by type and outcome: a reply's kind or the name of the silence.
    pub requests: IntCounterVec,
    /// The same of DHCPv6.
    pub requests6: IntCounterVec,
    /// IPv6 addresses by Subnet and state.
    pub addresses6: IntGaugeVec,
    /// IPv6 addresses of a Subnet's pools that this replica lends from.
    pub pool6: IntGaugeVec,
    /// Those that are lent or offered.
    pub pool6_used: IntGaugeVec,
    /// Those that rest because a machine found somebody there.
    pub pool6_declined: IntGaugeVec,
    /// From a request's arrival to the moment its reply left.
    pub answer_seconds: HistogramVec,
    /// Clients that may boot and got no file, by reason.
    pub unbootable: IntCounterVec,
    /// Replies that the kernel did not take.
    pub send_errors: IntCounter,
    /// Addresses by Subnet and state.
    pub addresses: IntGaugeVec,
    /// What we are on a Subnet.
    pub role: IntGaugeVec,
    /// Leases that are kept because another replica may renew them.
    pub claims: IntGauge,
    /// Addresses of a Subnet's pools.
    pub pool: IntGaugeVec,
    /// Those that are lent or offered.
    pub pool_used: IntGaugeVec,
    /// Those that rest because somebody else answers there.
    pub pool_declined: IntGaugeVec,
    /// Other servers that were heard of.
    pub foreign: IntGaugeVec,
}

impl DhcpMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        let addresses = |name, help| meter.gauges(about(name, help, "addresses"), &["subnet"]);
        Ok(Self {
            requests: meter.counters(
                about(
                    "reveille_dhcp_requests_total",
                    "DHCP requests by type and outcome: the reply, or the name of the silence.",
                    "requests",
                ),
                &["type", "outcome"],
            )?,
            requests6: meter.counters(
                about(
                    "reveille_dhcp6_requests_total",
                    "DHCPv6 requests by type and outcome: the reply, why it gives no address, or the \
                     name of the silence.",
                    "requests",
                ),
                &["type", "outcome"],
            )?,
            addresses6: meter.gauges(
                about(
                    "reveille_dhcp6_addresses",
                    "IPv6 addresses of a Subnet by state of their lease.",
                    "addresses",
                ),
                &["subnet", "state"],
            )?,
            pool6: addresses(
                "reveille_dhcp6_pool_addresses",
                "IPv6 addresses that this replica has to lend from a Subnet's pools: of large ones \
                 as many as it keeps leases of, 65536.",
            )?,
            pool6_used: addresses(
                "reveille_dhcp6_pool_used_addresses",
                "IPv6 addresses of a Subnet's pools that are lent or offered.",
            )?,
            pool6_declined: addresses(
                "reveille_dhcp6_pool_declined_addresses",
                "IPv6 addresses of a Subnet's pools that rest because a machine found somebody \
                 there.",
            )?,
            answer_seconds: meter.histograms(
                about(
                    "reveille_dhcp_answer_seconds",
                    "Time from a request's arrival to the moment its reply left, disk and address \
                     probe included, by the type of the request.",
                    SECONDS,
                ),
                &["type"],
                &ANSWERS,
            )?,
            unbootable: meter.counters(
                about(
                    "reveille_dhcp_unbootable_total",
                    "Answers to clients that may boot but that nothing here can boot, by reason.",
                    "answers",
                ),
                &["reason"],
            )?,
            send_errors: meter.counter(about(
                "reveille_dhcp_send_errors_total",
                "DHCP replies that could not be sent.",
                "replies",
            ))?,
            addresses: meter.gauges(
                about(
                    "reveille_dhcp_addresses",
                    "Addresses of a Subnet by state of their lease, reserved ones included.",
                    "addresses",
                ),
                &["subnet", "state"],
            )?,
            pool: addresses(
                "reveille_dhcp_pool_addresses",
                "Addresses that the pools of a Subnet have to lend.",
            )?,
            pool_used: addresses(
                "reveille_dhcp_pool_used_addresses",
                "Addresses of a Subnet's pools that are lent or offered.",
            )?,
            pool_declined: addresses(
                "reveille_dhcp_pool_declined_addresses",
                "Addresses of a Subnet's pools that rest because somebody else answers there.",
            )?,
            foreign: meter.gauges(
                about(
                    "reveille_foreign_dhcp_servers",
                    "Other DHCP servers that machines of a Subnet chose within the hour.",
                    "servers",
                ),
                &["subnet"],
            )?,
            role: meter.gauges(
                about(
                    "reveille_dhcp_role",
                    "1 for what the service is on a Subnet at this moment: it lends addresses, \
                     stands beside a server that does, still looks for one, or answers nobody \
                     because there is one.",
                    "boolean",
                ),
                &["subnet", "role"],
            )?,
            claims: meter.gauge(about(
                "reveille_lease_claims",
                "Leases that never end because another replica, which has not made way, may renew \
                 them.",
                "leases",
            ))?,
        })
    }

    /// Forgets the Subnets, so that those that are gone are not shown for ever.
    pub(super) fn forget_subnets(&self) {
        self.addresses.reset();
        self.pool.reset();
        self.pool_used.reset();
        self.pool_declined.reset();
        self.foreign.reset();
        self.role.reset();
    }

    /// The same of IPv6.
    pub(super) fn forget_networks(&self) {
        self.addresses6.reset();
        self.pool6.reset();
        self.pool6_used.reset();
        self.pool6_declined.reset();
    }

    /// Shows how many leases are claimed.
    pub(super) fn show_claims(&self, claims: &Claims) {
        self.claims
            .set(i64::try_from(claims.len()).unwrap_or(i64::MAX));
    }
}
