//! What DHCP counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::lease::Claims;

/// Metrics of the DHCP service. No label names a machine.
#[derive(Clone, Debug)]
pub struct DhcpMetrics {
    /// Requests by type and outcome: a reply's kind or the name of the silence.
    pub requests: IntCounterVec,
    /// Clients that may boot and got no file, by reason.
    pub unbootable: IntCounterVec,
    /// Replies that the kernel did not take.
    pub send_errors: IntCounter,
    /// Addresses by Subnet and state.
    pub addresses: IntGaugeVec,
    /// Leases that are kept because another replica may renew them.
    pub claims: IntGauge,
}

impl DhcpMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = Opts::new(
            "reveille_dhcp_requests_total",
            "DHCP requests by type and outcome.",
        );
        let unbootable = Opts::new(
            "reveille_dhcp_unbootable_total",
            "Answers to clients that may boot but that nothing here can boot, by reason.",
        );
        let addresses = Opts::new(
            "reveille_dhcp_addresses",
            "Addresses of a Subnet by state of their lease.",
        );
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["type", "outcome"])?,
            unbootable: IntCounterVec::new(unbootable, &["reason"])?,
            send_errors: IntCounter::new(
                "reveille_dhcp_send_errors_total",
                "DHCP replies that could not be sent.",
            )?,
            addresses: IntGaugeVec::new(addresses, &["subnet", "state"])?,
            claims: IntGauge::new(
                "reveille_lease_claims",
                "Leases that never end because another replica, which has not made way, may renew them.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.unbootable.clone()))?;
        registry.register(Box::new(metrics.send_errors.clone()))?;
        registry.register(Box::new(metrics.addresses.clone()))?;
        registry.register(Box::new(metrics.claims.clone()))?;
        Ok(metrics)
    }

    /// Shows how many leases are claimed.
    pub(super) fn show_claims(&self, claims: &Claims) {
        self.claims
            .set(i64::try_from(claims.len()).unwrap_or(i64::MAX));
    }
}
