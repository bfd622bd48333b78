//! Every metric that the service can show, for the page that explains them.

use tokio_util::sync::CancellationToken;

use crate::artifact::metrics::ArtifactMetrics;
use crate::dhcp::metrics::DhcpMetrics;
use crate::discover::DiscoveryMetrics;
use crate::events;
use crate::governor::GovernorMetrics;
use crate::http::HttpMetrics;
use crate::lease::LeaseMetrics;
use crate::loaders::LoaderMetrics;
use crate::operator;
use crate::press::SnapshotMetrics;
use crate::supervisor::Supervisor;
use crate::telemetry::{self, Described, Meter};
use crate::tftp::TftpMetrics;
use crate::timeline::BootMetrics;
use crate::tls::TlsMetrics;

/// Every metric, by name. A room that has metrics of its own is registered
/// here, too; a test finds the name of one that is not.
///
/// # Errors
/// Two metrics of one name.
pub fn metrics() -> prometheus::Result<Vec<Described>> {
    let meter = Meter::default();
    telemetry::register(&meter, &[])?;
    let _ = Supervisor::new(CancellationToken::new(), &meter)?;
    let _ = events::queue(&meter)?;
    SnapshotMetrics::register(&meter)?;
    BootMetrics::register(&meter)?;
    DhcpMetrics::register(&meter)?;
    DiscoveryMetrics::register(&meter)?;
    LeaseMetrics::register(&meter)?;
    TftpMetrics::register(&meter)?;
    HttpMetrics::register(&meter)?;
    TlsMetrics::register(&meter)?;
    GovernorMetrics::register(&meter)?;
    LoaderMetrics::register(&meter)?;
    ArtifactMetrics::register(&meter)?;
    operator::register_metrics(&meter)?;
    Ok(meter.described())
}
