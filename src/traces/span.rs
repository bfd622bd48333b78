//! What a boot is as spans: one for the boot, a child for each of its stages.
//! Performs no I/O.
//!
//! The ids are made of the boot's own, so that whoever reads a log line or a
//! Machine's status finds the trace: `0000`, the MAC address, the number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::boot::{ClientKind, Transport};
use crate::timeline::{Boot, BootId, BootResult, FIRST_STAGES, Note, Stage, StageRecord, Word};

/// The spans that a note completes: those of a boot that ended, or that of the
/// call which came after its end.
#[must_use]
pub fn spans(note: &Note) -> Vec<SpanData> {
    match note {
        Note::Started(_) | Note::Stage(..) | Note::Trouble(..) => Vec::new(),
        Note::Ended(boot) => {
            let stages = boot.stages.iter().enumerate();
            let stages = stages.map(|(index, record)| stage(boot, index, record));
            std::iter::once(root(boot)).chain(stages).collect()
        }
        // The boot's own span left with its end.
        Note::PhonedHome(boot) => {
            let last = boot.stages.iter().enumerate().next_back();
            let last = last.filter(|(_, record)| record.stage == Stage::PhonedHome);
            last.map(|(index, record)| stage(boot, index, record))
                .into_iter()
                .collect()
        }
    }
}

/// The trace of a boot.
#[must_use]
pub fn trace_id(boot: BootId) -> TraceId {
    let mut bytes = [0; 16];
    bytes[2..8].copy_from_slice(&boot.mac.bytes());
    bytes[8..].copy_from_slice(&boot.number.to_be_bytes());
    TraceId::from_bytes(bytes)
}

/// The span of the boot itself is number 0, those of its stages follow.
fn context(boot: BootId, number: u64) -> SpanContext {
    let id = boot.number.wrapping_add(number);
    SpanContext::new(
        trace_id(boot),
        SpanId::from_bytes(id.to_be_bytes()),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    )
}

fn root(boot: &Boot) -> SpanData {
    let mut events = SpanEvents::default();
    events.events = boot
        .trouble
        .iter()
        .map(|trouble| {
            Event::new(
                trouble.what.to_string(),
                at(boot, trouble.at_ms),
                Vec::new(),
                0,
            )
        })
        .collect();
    let mut links = SpanLinks::default();
    // The rest of a boot that had stalled.
    links.links = boot
        .resumes
        .iter()
        .map(|stalled| Link::with_context(context(*stalled, 0)))
        .collect();
    SpanData {
        span_context: context(boot.id, 0),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: "boot".into(),
        start_time: time(boot.started),
        end_time: time(boot.last_seen),
        attributes: about(boot),
        dropped_attributes_count: 0,
        events,
        links,
        status: status(boot),
        instrumentation_scope: scope(),
    }
}

fn stage(boot: &Boot, index: usize, record: &StageRecord) -> SpanData {
    let left_out = if index < FIRST_STAGES {
        0
    } else {
        boot.stages_left_out
    };
    let number = u64::try_from(index)
        .unwrap_or(u64::MAX)
        .saturating_add(left_out.into());
    let failed = record.stage == Stage::PhonedHome && boot.result == BootResult::Failed;
    SpanData {
        span_context: context(boot.id, number.saturating_add(1)),
        parent_span_id: context(boot.id, 0).span_id(),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: record.stage.as_str().into(),
        start_time: at(boot, record.at_ms.saturating_sub(record.duration_ms)),
        end_time: at(boot, record.at_ms),
        attributes: vec![
            KeyValue::new("reveille.what", record.what.to_string()),
            KeyValue::new(
                "reveille.bytes",
                i64::try_from(record.bytes).unwrap_or(i64::MAX),
            ),
        ],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if failed { status(boot) } else { Status::Unset },
        instrumentation_scope: scope(),
    }
}

/// What is known of a boot.
fn about(boot: &Boot) -> Vec<KeyValue> {
    let text = |word: &Word| word.to_string();
    let maybe = [
        ("reveille.namespace", boot.namespace.as_ref().map(text)),
        ("reveille.machine", boot.machine.as_ref().map(text)),
        ("reveille.profile", boot.profile.as_ref().map(text)),
        ("reveille.rule", boot.rule.map(str::to_owned)),
        (
            "reveille.architecture",
            boot.architecture.map(|it| it.to_string()),
        ),
        (
            "reveille.firmware",
            boot.firmware.map(|it| ClientKind::as_str(it).to_owned()),
        ),
        (
            "reveille.transport",
            boot.transport.map(|it| Transport::as_str(it).to_owned()),
        ),
        ("reveille.loader", boot.loader.as_ref().map(text)),
        (
            "reveille.stalled_at",
            boot.stalled_at.map(|it| it.as_str().to_owned()),
        ),
        ("reveille.message", boot.message.as_ref().map(text)),
        ("client.address", boot.address.map(|it| it.to_string())),
    ];
    let always = [
        KeyValue::new("reveille.boot", boot.id.to_string()),
        KeyValue::new("reveille.mac", boot.mac.to_string()),
        KeyValue::new("reveille.result", boot.result.as_str()),
        KeyValue::new(
            "reveille.bytes",
            i64::try_from(boot.bytes).unwrap_or(i64::MAX),
        ),
    ];
    let maybe = maybe
        .into_iter()
        .filter_map(|(key, value)| Some(KeyValue::new(key, value?)));
    always.into_iter().chain(maybe).collect()
}

fn status(boot: &Boot) -> Status {
    match boot.result {
        BootResult::Stalled => Status::error(format!(
            "waits for {}",
            boot.stalled_at.map_or("nothing", Stage::as_str)
        )),
        BootResult::Failed => Status::error(
            boot.message
                .as_deref()
                .unwrap_or("the system says that it failed")
                .to_owned(),
        ),
        BootResult::HandedOff
        | BootResult::Chained
        | BootResult::LocalBoot
        | BootResult::PhonedHome => Status::Ok,
        // Nobody knows why it was begun anew.
        BootResult::Running | BootResult::Restarted => Status::Unset,
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("reveille.boot")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

fn at(boot: &Boot, millis: u32) -> SystemTime {
    time(boot.started.saturating_add(millis.into()))
}

fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}
