//! `/log`: the story of the machines, as it was and as it happens.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{Refused, Shared, headers, media};
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::snapshot::Snapshot;
use crate::snapshot::suggest::nearest;
use crate::timeline::{Heard, StoryLine, Tail};

/// How often a follower that hears nothing gets an empty line: a connection
/// whose client is gone is noticed only when something is written.
const BEAT: Duration = Duration::from_secs(15);

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// The machine, by name, `namespace/name` or MAC address; all without it.
    machine: Option<String>,
    /// Only lines since then, in milliseconds since the Unix epoch.
    #[serde(default)]
    since: u64,
    /// Whether to go on with what happens from now: `1`.
    follow: Option<String>,
}

/// Whose lines are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Everyone,
    /// Those of these interfaces.
    Interfaces(BTreeSet<MacAddress>),
    /// Those that carry this name; its object is gone.
    Named(String),
}

/// A story on its way.
struct Telling {
    past: VecDeque<Arc<StoryLine>>,
    /// What comes; `None` where nobody waits for that.
    tail: Option<Tail>,
    whose: Whose,
    beat: Interval,
    stopping: CancellationToken,
}

/// Answers with the lines, each a JSON object. A follower that was too slow
/// gets `{"lost": n}` in the place of n lines.
pub(super) async fn log(State(sources): Shared, Query(asked): Query<Asked>) -> Response {
    let (mut past, tail) = sources.config.chronicle.listen(Millis(asked.since));
    let snapshot = sources.config.snapshots.current();
    let whose = match asked.machine {
        None => Whose::Everyone,
        Some(name) => match whose(&name, snapshot.as_deref(), &past) {
            Ok(whose) => whose,
            Err(reason) => return Refused::NoMachine.answer(&reason),
        },
    };
    past.retain(|line| whose.wants(line));
    let follow = asked.follow.is_some_and(|follow| follow != "0");
    let mut beat = interval_at(Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let telling = Telling {
        past,
        tail: follow.then_some(tail),
        whose,
        beat,
        stopping: sources.stopping.clone(),
    };
    let lines = stream::unfold(telling, |mut telling| async move {
        let chunk = telling.next().await?;
        Some((Ok::<_, Infallible>(chunk), telling))
    });
    let body = Body::from_stream(lines);
    (StatusCode::OK, headers(media::JSON_LINES), body).into_response()
}

/// Whom `name` means.
pub(super) fn whose(
    name: &str,
    snapshot: Option<&Snapshot>,
    past: &VecDeque<Arc<StoryLine>>,
) -> Result<Whose, String> {
    if let Ok(mac) = name.parse() {
        return Ok(Whose::Interfaces(BTreeSet::from([mac])));
    }
    let machines = snapshot.map(|snapshot| snapshot.machines.as_slice());
    let machines = machines.unwrap_or_default();
    let called = machines
        .iter()
        .filter(|machine| machine.name.name == name || machine.name.to_string() == name);
    let macs: BTreeSet<MacAddress> = called
        .flat_map(|machine| &machine.spec().interfaces)
        .map(|interface| interface.mac)
        .collect();
    if !macs.is_empty() {
        return Ok(Whose::Interfaces(macs));
    }
    if past
        .iter()
        .any(|line| line.machine.as_deref() == Some(name))
    {
        return Ok(Whose::Named(name.to_owned()));
    }
    let known = machines.iter().map(|machine| machine.name.name.as_str());
    Err(match nearest(name, known) {
        Some(near) => format!("there is no Machine {name}; did you mean `{near}`?"),
        None => format!(
            "there is no Machine {name}; `reveille get machines` lists them, and a machine \
             without an object goes by its MAC address"
        ),
    })
}

impl Whose {
    fn wants(&self, line: &StoryLine) -> bool {
        match self {
            Self::Everyone => true,
            Self::Interfaces(macs) => macs.contains(&line.mac),
            Self::Named(name) => line.machine.as_ref() == Some(name),
        }
    }
}

impl Telling {
    /// The next line; `None` where the story ends.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(line) = self.past.pop_front() {
            return json(&*line);
        }
        let tail = self.tail.as_mut()?;
        loop {
            let heard = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                heard = tail.next() => heard,
                _ = self.beat.tick() => return Some(Bytes::from_static(b"\n")),
            };
            match heard {
                Heard::Line(line) if self.whose.wants(&line) => return json(&*line),
                Heard::Line(_) => {}
                Heard::Lost(lost) => return json(&serde_json::json!({ "lost": lost })),
                Heard::End => return None,
            }
        }
    }
}

/// A line of JSON. The types here can all be written.
fn json(value: &impl serde::Serialize) -> Option<Bytes> {
    let mut line = serde_json::to_vec(value).ok()?;
    line.push(b'\n');
    Some(line.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Interface, Machine, MachineSpec};
    use crate::snapshot::{MachineEntry, ObjectName, Selection};

    fn machine(namespace: &str, name: &str, mac: u8) -> MachineEntry {
        let interface = Interface {
            mac: MacAddress::new([2, 0, 0, 0, 0, mac]),
            ip: None,
            ipv6: None,
            hostname: None,
            netboot: true,
        };
        let spec = MachineSpec {
            interfaces: vec![interface],
            ..MachineSpec::default()
        };
        MachineEntry {
            manifest: Arc::new(Machine::new(name, spec)),
            name: ObjectName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            selection: Selection::Default,
        }
    }

    #[test]
    fn a_machine_goes_by_name_and_by_mac() {
        let mut snapshot = Snapshot::default();
        snapshot.machines = vec![machine("a", "node-1", 1), machine("b", "node-1", 2)];
        let gone = StoryLine {
            at: 0,
            mac: MacAddress::new([2, 0, 0, 0, 0, 9]),
            machine: Some("old".to_owned()),
            boot: None,
            text: String::new(),
        };
        let past = VecDeque::from([Arc::new(gone)]);
        let of = |name| whose(name, Some(&snapshot), &past);
        let macs = |last: &[u8]| {
            let macs = last
                .iter()
                .map(|last| MacAddress::new([2, 0, 0, 0, 0, *last]));
            Ok(Whose::Interfaces(macs.collect()))
        };
        assert_eq!(of("node-1"), macs(&[1, 2]));
        assert_eq!(of("b/node-1"), macs(&[2]));
        assert_eq!(of("02-00-00-00-00-07"), macs(&[7]));
        assert_eq!(of("old"), Ok(Whose::Named("old".to_owned())));
        assert!(of("node-2").unwrap_err().contains("did you mean `node-1`?"));
        assert!(of("printer").unwrap_err().contains("reveille get machines"));
    }
}
