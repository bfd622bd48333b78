//! `/machines/NAME/packets`: what was said last between a machine and us.

use std::collections::{BTreeSet, VecDeque};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::log::{Whose, whose};
use super::{Refused, Shared, Sources, headers, made, media};
use crate::boot::MacAddress;
use crate::packets::{Sighted, capture as pcap};

/// Answers with the packets, each a JSON object.
pub(super) async fn lines(State(sources): Shared, Path(name): Path<String>) -> Response {
    let packets = match packets(&sources, &name) {
        Ok(packets) => packets,
        Err(reason) => return Refused::NoMachine.answer(&reason),
    };
    let mut body = String::new();
    for (mac, packet) in packets {
        match serde_json::to_string(&packet.line(mac)) {
            Ok(line) => body.push_str(&line),
            Err(error) => return Refused::NotNow.answer(&error.to_string()),
        }
        body.push('\n');
    }
    made(StatusCode::OK, media::JSON_LINES, body)
}

/// Answers with the packets as a pcap file.
pub(super) async fn capture(State(sources): Shared, Path(name): Path<String>) -> Response {
    match packets(&sources, &name) {
        Ok(packets) => {
            let datagrams: Vec<_> = packets.iter().map(|(_, it)| it.datagram()).collect();
            let body = Body::from(pcap::write(&datagrams));
            (StatusCode::OK, headers(media::PCAP), body).into_response()
        }
        Err(reason) => Refused::NoMachine.answer(&reason),
    }
}

fn packets(sources: &Sources, name: &str) -> Result<Vec<(MacAddress, Sighted)>, String> {
    let snapshot = sources.config.snapshots.current();
    let macs = match whose(name, snapshot.as_deref(), &VecDeque::new())? {
        Whose::Interfaces(macs) => macs,
        Whose::Everyone | Whose::Named(_) => BTreeSet::new(),
    };
    Ok(sources.config.packets.of(macs))
}
