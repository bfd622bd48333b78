//! What the engine says of its decisions: log lines and counters. Shell.

use super::decide::{Decision, Ignored, Outcome};
use super::request::Request;
use crate::clock::Millis;
use crate::dhcp::limits::too_often;
use crate::dhcp::metrics::DhcpMetrics;
use crate::lease::SilentReason;
use crate::telemetry::Seldom;

/// Tells of decisions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Story {
    /// What is counted.
    pub metrics: DhcpMetrics,
    /// What was said lately.
    pub seldom: Seldom,
}

impl Story {
    /// Counts a request of `kind` by its outcome.
    pub(super) fn count(&self, kind: &str, outcome: &str) {
        let requests = &self.metrics.requests6;
        requests.with_label_values(&[kind, outcome]).inc();
    }

    /// The log lines of a decision, and the counter of one without a reply.
    pub(super) fn tell(&self, now: Millis, request: &Request, decision: &Decision) {
        let outcome = match &decision.outcome {
            Outcome::Reply(reply) => reply.kind.as_str(),
            Outcome::Ignored(ignored) => ignored.as_str(),
        };
        tracing::debug!(
            target: "reveille::dhcp6",
            subnet = decision.subnet,
            kind = request.kind.as_str(),
            mac = decision.client.mac.map(tracing::field::display),
            machine = decision.machine,
            client = decision.client.kind.as_str(),
            address = decision.address.map(tracing::field::display),
            outcome,
            url = decision.boot.as_ref().map(|boot| boot.file.as_str()),
            "request"
        );
        if let Outcome::Ignored(ignored) = &decision.outcome {
            self.count(request.kind.as_str(), outcome);
            if *ignored == Ignored::RelayUnknown {
                let link = request.hops.last().map(|hop| hop.link);
                let cure = "a relay names a link that no Subnet serves; name it in `ipv6.relays`";
                self.warn(now, request, decision, (outcome, cure), link);
            }
        }
        if let Some(reason) = decision.refused {
            let cure = match reason {
                SilentReason::PoolExhausted => {
                    "every address of `ipv6.pools` is taken; add a pool or shorten lifetimes"
                }
                SilentReason::NoPool => {
                    "the Subnet has no `ipv6.pools` and this machine no address of its own"
                }
                SilentReason::ReservedAddressBusy => {
                    "another machine still has the address that is reserved for this one"
                }
                SilentReason::UnknownLease
                | SilentReason::OtherNetwork
                | SilentReason::NotItsLease
                | SilentReason::ChoseAnotherServer
                | SilentReason::NotHolder
                | SilentReason::AnothersShare
                | SilentReason::ShareExhausted
                | SilentReason::FreshDisk
                | SilentReason::NotSureYet => "it gets no address",
            };
            self.warn(now, request, decision, (reason.as_str(), cure), None);
        }
        self.tell_unbootable(now, decision);
    }

    /// What somebody should do something about.
    fn warn(
        &self,
        now: Millis,
        request: &Request,
        decision: &Decision,
        (reason, cure): (&str, &str),
        link: Option<std::net::Ipv6Addr>,
    ) {
        let subnet = decision.subnet.as_deref().unwrap_or("none");
        if self.seldom.is_due(&format!("v6 {reason} {subnet}"), now) {
            tracing::warn!(
                target: "reveille::dhcp6",
                subnet,
                kind = request.kind.as_str(),
                mac = decision.client.mac.map(tracing::field::display),
                machine = decision.machine,
                link = link.map(tracing::field::display),
                reason,
                "{cure}"
            );
        }
    }

    /// A machine that may boot and that nothing here can boot.
    fn tell_unbootable(&self, now: Millis, decision: &Decision) {
        let Some(reason) = decision.boot.as_ref().and_then(|boot| boot.refused) else {
            return;
        };
        let unbootable = &self.metrics.unbootable;
        unbootable.with_label_values(&[reason.as_str()]).inc();
        let what = format!("v6 {} {:?}", reason.as_str(), decision.client.mac);
        if self.seldom.is_due(&what, now) {
            tracing::warn!(
                target: "reveille::dhcp6",
                machine = decision.machine,
                mac = decision.client.mac.map(tracing::field::display),
                firmware = decision.client.firmware.map_or("none", |kind| kind.name()),
                reason = reason.as_str(),
                "nothing here boots this machine; it gets an address only"
            );
        }
    }

    /// A machine that asks too often to be heard.
    pub(super) fn too_often(&self, now: Millis, request: &Request) {
        let what = Ignored::TooOften.as_str();
        self.count(request.kind.as_str(), what);
        if self.seldom.is_due("v6 too-often", now) {
            tracing::warn!(
                target: "reveille::dhcp6",
                mac = request.client.mac.map(tracing::field::display),
                ignored = what,
                "{}",
                too_often()
            );
        }
    }
}
