//! Laws of the timeline that hold for whatever machines do, in whatever order.
//!
//! A few seconds of cases run always. A million of each:
//! `REVEILLE_CASES=1000000 cargo test --release --test properties_timeline`,
//! some minutes.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

#[path = "support/cases.rs"]
mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use reveille::boot::{Client, ClientKind, FirmwareType, MacAddress, Transport, Uuid};
use reveille::clock::Millis;
use reveille::snapshot::ObjectName;
use reveille::timeline::{
    Boot, BootEvent, BootId, BootResult, FIRST_STAGES, Fact, KEPT_BOOTS, KEPT_TROUBLE, Known,
    LAST_STAGES, LONG_TRANSFER, Leaves, MAX_MACHINES, MAX_MACS, MAX_WORD, NextStep, Note,
    PhoneHome, PhoneState, Purpose, Stage, StageRecord, Timeline, Transfer, Trouble,
};

use self::cases::cases;

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What comes in: an event, who the manifests say it is, milliseconds since
/// the one before, and whether a sweep follows.
type Step = (BootEvent, Known, i64, bool);

proptest! {
    #![proptest_config(cases(100))]

    /// Time goes forwards, a boot begins and ends once, its name is its own,
    /// nothing grows without bound, what changed is told of.
    #[test]
    fn keeps_every_boot_in_order(steps in prop::collection::vec(step(), 1..160)) {
        let mut timeline = Timeline::default();
        let mut ends = BTreeMap::new();
        let mut begun = BTreeSet::new();
        let mut now = 1_000_000_u64;
        for (event, known, pause, sweep) in steps {
            let before = timeline.revision();
            let was = histories(&timeline);
            // Clocks are set back now and then.
            now = now.saturating_add_signed(pause);
            let event = BootEvent { at: Millis(now), ..event };
            let mut notes = timeline.observe(&event, &known);
            if sweep {
                notes.extend(timeline.sweep(Millis(now)));
            }
            for note in &notes {
                check_note(note, &was, &mut begun, &mut ends)?;
            }
            check_boots(&timeline)?;
            check_changes(&timeline, before, &was)?;
        }
    }

    /// The same events tell the same story.
    #[test]
    fn is_the_same_each_time(steps in prop::collection::vec(step(), 1..80)) {
        let tell = || {
            let mut timeline = Timeline::default();
            let mut now = 1_000_000_u64;
            let mut notes = Vec::new();
            for (event, known, pause, sweep) in &steps {
                now = now.saturating_add_signed(*pause);
                let event = BootEvent { at: Millis(now), ..event.clone() };
                notes.extend(timeline.observe(&event, known));
                if *sweep {
                    notes.extend(timeline.sweep(Millis(now)));
                }
            }
            let boots: Vec<Boot> = timeline.boots().into_iter().cloned().collect();
            (notes, boots)
        };
        prop_assert_eq!(tell(), tell());
    }
}

fn check_note(
    note: &Note,
    was: &BTreeMap<u64, Vec<Boot>>,
    begun: &mut BTreeSet<BootId>,
    ends: &mut BTreeMap<BootId, BootResult>,
) -> Result<(), TestCaseError> {
    match note {
        Note::Started(boot) => prop_assert!(begun.insert(boot.id), "{} began twice", boot.id),
        Note::Stage(boot, record) => prop_assert_eq!(boot.stages.last(), Some(record)),
        Note::Trouble(boot, trouble) => prop_assert_eq!(boot.trouble.last(), Some(trouble)),
        Note::Ended(boot) => {
            prop_assert!(!boot.is_running());
            prop_assert_eq!(boot.expects, None);
            let should = matches!(boot.result, BootResult::Stalled | BootResult::Restarted);
            prop_assert_eq!(boot.stalled_at.is_some(), should);
            prop_assert!(begun.contains(&boot.id), "{} never began", boot.id);
            prop_assert_eq!(
                ends.insert(boot.id, boot.result),
                None,
                "{} ended twice",
                boot.id
            );
        }
        Note::PhonedHome(boot) => {
            let called = [BootResult::PhonedHome, BootResult::Failed];
            prop_assert!(called.contains(&boot.result));
            ends.insert(boot.id, boot.result);
            // Of a boot that is known the first call counts.
            let before = was.values().flatten().find(|before| before.id == boot.id);
            prop_assert!(before.is_none_or(|before| !called.contains(&before.result)));
        }
    }
    Ok(())
}

fn check_boots(timeline: &Timeline) -> Result<(), TestCaseError> {
    let mut names = BTreeSet::new();
    let mut running = BTreeSet::new();
    for machine in timeline.machines() {
        prop_assert!(machine.macs().len() <= MAX_MACS);
        prop_assert!(machine.running().len() <= MAX_MACS);
        prop_assert!(machine.past().count() <= KEPT_BOOTS);
        let started: Vec<u64> = machine.past().map(|boot| boot.started).collect();
        prop_assert!(started.is_sorted(), "boots out of order: {started:?}");
        for boot in machine.running() {
            prop_assert!(boot.is_running() && boot.expects.is_some());
            prop_assert!(running.insert(boot.mac), "two boots of one MAC at once");
            prop_assert!(machine.macs().contains(&boot.mac));
            prop_assert_eq!(
                timeline.running(boot.mac).map(|found| found.id),
                Some(boot.id)
            );
        }
        for boot in machine.past() {
            prop_assert!(!boot.is_running());
        }
        for boot in machine.running().iter().chain(machine.past()) {
            prop_assert!(names.insert(boot.id), "two boots are called {}", boot.id);
            prop_assert_eq!(boot.id.mac, boot.mac);
            check_boot(boot)?;
        }
        if let Some(name) = machine.name() {
            let found = timeline.of_machine(name).map(|found| found.revision());
            prop_assert_eq!(found, Some(machine.revision()));
        }
    }
    prop_assert_eq!(timeline.boots().len(), names.len());
    Ok(())
}

fn check_boot(boot: &Boot) -> Result<(), TestCaseError> {
    prop_assert!(boot.stages.len() <= FIRST_STAGES + LAST_STAGES);
    prop_assert!(boot.trouble.len() <= KEPT_TROUBLE);
    prop_assert!(boot.last_seen >= boot.started);
    let times: Vec<u32> = boot.stages.iter().map(|record| record.at_ms).collect();
    prop_assert!(times.is_sorted(), "stages out of order: {times:?}");
    let words = boot.stages.iter().map(|record| &record.what);
    for word in words.chain(boot.trouble.iter().map(|trouble| &trouble.what)) {
        prop_assert!(word.len() <= MAX_WORD);
    }
    if boot.result == BootResult::HandedOff && boot.stages_left_out == 0 {
        prop_assert!(boot.stages.is_empty() || boot.reached(Stage::HandOff));
    }
    Ok(())
}

/// Every history by name or MAC addresses, with what it holds.
fn histories(timeline: &Timeline) -> BTreeMap<u64, Vec<Boot>> {
    timeline
        .machines()
        .map(|machine| {
            let boots = machine.running().iter().chain(machine.past());
            (machine.revision(), boots.cloned().collect())
        })
        .collect()
}

/// What is told to have changed did, and nothing else.
fn check_changes(
    timeline: &Timeline,
    before: u64,
    was: &BTreeMap<u64, Vec<Boot>>,
) -> Result<(), TestCaseError> {
    let told: Vec<u64> = timeline
        .changed_since(before)
        .map(|machine| machine.revision())
        .collect();
    prop_assert!(told.is_sorted());
    prop_assert!(told.iter().all(|revision| *revision > before));
    for (revision, boots) in histories(timeline) {
        if !told.contains(&revision) {
            let same = was.get(&revision).map(|boots| boots.len());
            prop_assert_eq!(same, Some(boots.len()), "a change was not told of");
        }
    }
    Ok(())
}

#[test]
fn forgets_the_machine_heard_of_longest_ago() {
    let mut timeline = Timeline::default();
    let total = u32::try_from(MAX_MACHINES).unwrap() + 5;
    for number in 0..total {
        let event = offer(number, u64::from(number), ClientKind::Pxe);
        timeline.observe(&event, &Known::default());
        // The first of them is heard of now and then.
        timeline.observe(
            &offer(0, u64::from(number), ClientKind::Plain),
            &Known::default(),
        );
    }
    let boots = timeline.boots();
    assert_eq!(boots.len(), MAX_MACHINES);
    assert_eq!((boots[0].started, boots[1].started), (0, 6));
    assert_eq!(timeline.changed_since(0).count(), MAX_MACHINES);
}

/// A machine that does not boot takes no room from one that does.
#[test]
fn keeps_boots_whoever_else_asks_for_an_address() {
    let mut timeline = Timeline::default();
    for number in 0..=u32::try_from(MAX_MACHINES).unwrap() {
        let kind = if number == 0 {
            ClientKind::Pxe
        } else {
            ClientKind::Plain
        };
        timeline.observe(&offer(number, u64::from(number), kind), &Known::default());
    }
    assert_eq!(timeline.boots().len(), 1);
}

/// A machine is one, however many of its cards boot, and whoever it was
/// before its object was written.
#[test]
fn a_machine_is_one_by_whatever_card_it_boots() {
    let mut timeline = Timeline::default();
    let name = |name: &str| ObjectName {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    };
    let known = |machine: &str| Known {
        name: Some(name(machine)),
        ..Known::default()
    };
    timeline.observe(&offer(1, 1, ClientKind::Pxe), &Known::default());
    timeline.observe(&offer(2, 2, ClientKind::Pxe), &known("a"));
    assert_eq!(timeline.machines().count(), 2);
    timeline.observe(&offer(1, 3, ClientKind::Pxe), &known("a"));
    let machine = timeline.of_machine(&name("a")).unwrap();
    assert_eq!(machine.running().len(), 2);
    assert!(
        machine
            .running()
            .iter()
            .all(|boot| boot.machine.as_deref() == Some("a"))
    );
    assert_eq!(timeline.machines().count(), 1);
    // One of the cards is put into another machine, which boots with it: what
    // goes on stays, what begins is the other machine's.
    timeline.observe(&loaded(1, 4), &Known::default());
    timeline.observe(&offer(1, 5, ClientKind::Pxe), &known("b"));
    let (a, b) = (name("a"), name("b"));
    assert_eq!(timeline.of_machine(&a).unwrap().running().len(), 1);
    let left = timeline.of_machine(&a).unwrap().past().next_back().cloned();
    assert_eq!(left.map(|boot| boot.result), Some(BootResult::Restarted));
    assert_eq!(timeline.of_machine(&b).unwrap().running().len(), 1);
}

/// Memory of 10,000 machines that have been booting for years.
#[test]
fn ten_thousand_machines_take_little_memory() {
    let mut timeline = Timeline::default();
    for round in 0..6_u64 {
        for number in 0..u32::try_from(MAX_MACHINES).unwrap() {
            boot(
                &mut timeline,
                number,
                round * 1_000_000_000 + u64::from(number),
                // The last one goes on.
                round < 5,
            );
        }
    }
    let boots = timeline.boots();
    assert_eq!(boots.len(), MAX_MACHINES * (KEPT_BOOTS + 1));
    let mut words = BTreeSet::new();
    let mut bytes = 0;
    for boot in &boots {
        bytes += size_of::<Boot>();
        bytes += boot.stages.capacity() * size_of::<StageRecord>();
        bytes += boot.trouble.capacity() * size_of::<Trouble>();
        let said = boot.stages.iter().map(|record| &record.what);
        let named = [&boot.namespace, &boot.machine, &boot.profile, &boot.loader];
        for word in said.chain(named.into_iter().flatten()) {
            if words.insert(word.as_ptr()) {
                // Two counters, the text, a place among the words.
                bytes += 16 + word.len() + 24;
            }
        }
    }
    // What finds a history: five maps with a key and a number each.
    bytes += MAX_MACHINES * 5 * 48;
    println!(
        "{} boots of {} machines take some {} MiB, {} bytes each; a Boot has {}, a stage {}",
        boots.len(),
        MAX_MACHINES,
        bytes >> 20,
        bytes / boots.len(),
        size_of::<Boot>(),
        size_of::<StageRecord>()
    );
    assert!(bytes < 60 << 20, "{bytes} bytes");
}

/// A boot of machine `number`, to its end or just short of it.
fn boot(timeline: &mut Timeline, number: u32, at: u64, whole: bool) {
    let name = ObjectName {
        namespace: "default".to_owned(),
        name: format!("node-{number}"),
    };
    let known = Known {
        name: Some(name),
        profile: Some("debian".to_owned()),
        entry: None,
        known_by: Some("mac"),
        rule: Some("namespace-default"),
        initrds: 1,
        leaves: Leaves::Linux,
        once: None,
    };
    let script = NextStep::Script {
        profile: "debian".to_owned(),
    };
    let loader = NextStep::Loader {
        profile: "debian".to_owned(),
        file: "undionly.kpxe".to_owned(),
    };
    for (kind, next) in [(ClientKind::Pxe, loader), (ClientKind::Ipxe, script)] {
        timeline.observe(&offer(number, at, kind), &known);
        let fact = Fact::Ack {
            client: client(kind),
            address: SERVER,
            next,
        };
        timeline.observe(&event(number, at, fact), &known);
        if kind == ClientKind::Pxe {
            timeline.observe(&loaded(number, at), &Known::default());
        }
    }
    for (purpose, name) in [
        (Purpose::Script, "boot.ipxe"),
        (Purpose::Kernel, "debian/linux"),
        (Purpose::Initrd, "debian/initrd.gz"),
    ]
    .into_iter()
    .take(if whole { 3 } else { 2 })
    {
        let fact = Fact::Transfer(transfer(purpose, name));
        timeline.observe(&event(number, at, fact), &Known::default());
    }
}

fn event(number: u32, at: u64, fact: Fact) -> BootEvent {
    let [_, a, b, c] = number.to_be_bytes();
    BootEvent {
        mac: MacAddress::new([2, 0, 0, a, b, c]),
        at: Millis(at),
        fact,
    }
}

fn offer(number: u32, at: u64, kind: ClientKind) -> BootEvent {
    let fact = Fact::Offer {
        client: client(kind),
        address: SERVER,
    };
    event(number, at, fact)
}

fn loaded(number: u32, at: u64) -> BootEvent {
    event(
        number,
        at,
        Fact::Transfer(transfer(Purpose::Loader, "undionly.kpxe")),
    )
}

fn transfer(purpose: Purpose, name: &str) -> Transfer {
    Transfer {
        purpose,
        name: name.to_owned(),
        transport: Transport::Tftp,
        bytes: 1,
        size: 1,
        duration: Duration::from_millis(1),
        complete: true,
        aborted: None,
    }
}

fn client(kind: ClientKind) -> Client {
    Client {
        mac: None,
        kind,
        firmware: Some(FirmwareType(7)),
        uuid: Some(Uuid::new([7; 16])),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![8 => 0i64..10_000, 1 => 0i64..900_000, 1 => -5000i64..0];
    (0u32..12, fact(), known(), pause, any::<bool>()).prop_map(
        |(number, fact, known, pause, sweep)| {
            let mut event = event(number, 0, fact);
            if let Fact::PhonedHome(call) = &mut event.fact {
                call.boot.mac = event.mac;
            }
            (event, known, pause, sweep)
        },
    )
}

/// Who the manifests say a machine is: mostly one of three, by no rule.
fn known() -> impl Strategy<Value = Known> {
    let name = select(vec![None, Some("a"), Some("b"), Some("c")]);
    let leaves = select(vec![
        Leaves::Linux,
        Leaves::Loader,
        Leaves::Efi,
        Leaves::Iso,
        Leaves::Script,
        Leaves::Chain,
    ]);
    (name, any::<bool>(), leaves).prop_map(|(name, profile, leaves)| Known {
        name: name.map(|name| ObjectName {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }),
        profile: profile.then(|| "debian".to_owned()),
        entry: profile.then(|| "tools/debian".to_owned()),
        known_by: name.map(|_| "mac"),
        rule: profile.then_some("profile-ref"),
        initrds: 1,
        leaves,
        once: None,
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    let kind = select(vec![
        ClientKind::Plain,
        ClientKind::Pxe,
        ClientKind::HttpBoot,
        ClientKind::Ipxe,
    ]);
    let next = select(vec![
        NextStep::Nothing,
        NextStep::Local,
        NextStep::LocalScript,
        NextStep::Script {
            profile: "debian".to_owned(),
        },
        NextStep::Loader {
            profile: "debian".to_owned(),
            file: "a/ipxe.efi".to_owned(),
        },
    ]);
    let purpose = select(vec![
        Purpose::Loader,
        Purpose::Script,
        Purpose::LocalScript,
        Purpose::Menu,
        Purpose::Kernel,
        Purpose::Initrd,
        Purpose::Efi,
        Purpose::Iso,
        Purpose::Other,
    ]);
    // Names of any length, and control characters.
    let name = "[a-zä\n]{0,300}";
    let size = select(vec![0, 1, LONG_TRANSFER, u64::MAX]);
    let ended =
        (purpose.clone(), name, size, any::<bool>()).prop_map(|(purpose, name, size, complete)| {
            Fact::Transfer(Transfer {
                bytes: if complete { size } else { size / 2 },
                size,
                complete,
                aborted: (!complete).then_some("connection-broken"),
                ..transfer(purpose, &name)
            })
        });
    let refused = (purpose.clone(), name).prop_map(|(purpose, name)| Fact::Refused {
        purpose,
        name,
        reason: "not-found",
    });
    let state = select(vec![PhoneState::Installed, PhoneState::Failed]);
    let called =
        (prop_oneof![0u64..4, 900_000u64..1_100_000], state).prop_map(|(number, state)| {
            let mac = MacAddress::new([0; 6]);
            Fact::PhonedHome(PhoneHome {
                boot: BootId { mac, number },
                address: SERVER,
                state,
                message: Some("well\nthen".to_owned()),
            })
        });
    prop_oneof![
        2 => kind.clone().prop_map(|kind| Fact::ChoseAnother { client: client(kind) }),
        4 => kind.clone().prop_map(|kind| Fact::Offer { client: client(kind), address: SERVER }),
        4 => (kind, next).prop_map(|(kind, next)| Fact::Ack {
            client: client(kind),
            address: SERVER,
            next
        }),
        6 => ended,
        1 => purpose.prop_map(|purpose| Fact::TransferStarted { purpose }),
        1 => refused,
        1 => called,
    ]
}
