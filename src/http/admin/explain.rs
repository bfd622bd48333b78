//! `/explain`: why a machine gets what it gets.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use super::{Refused, Shared, made, media};
use crate::boot::Architecture;

/// What is asked: `who`, or a `packet`.
#[derive(Clone, Debug, Deserialize)]
pub struct ExplainQuery {
    /// A MAC address, UUID, IP address or the name of a Machine.
    pub who: Option<String>,
    /// A packet in hex.
    pub packet: Option<String>,
    /// Where the packet was sent to.
    pub to: Option<IpAddr>,
    /// Who asked, where the packet was sent to UDP 4011 or over IPv6: address and
    /// port.
    pub asker: Option<SocketAddr>,
    /// The Subnet.
    pub subnet: Option<String>,
    /// As what the machine asks.
    pub arch: Option<Architecture>,
    /// The relay between; over IPv6 the link that it names.
    pub relay: Option<IpAddr>,
}

/// Answers with what is said of it, as JSON.
pub(super) async fn explain(State(sources): Shared, Query(query): Query<ExplainQuery>) -> Response {
    match (sources.config.explain)(query).await {
        Ok(value) => made(StatusCode::OK, media::JSON, format!("{value}\n")),
        Err(reason) => Refused::NotExplained.answer(&reason),
    }
}
