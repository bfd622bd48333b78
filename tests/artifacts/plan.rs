//! What is done for an artifact, and when, whatever its servers and the clock
//! do: laws of `plan` that hold for any history.

use proptest::prelude::*;
use reveille::artifact::plan::{Failed, STALLED_AFTER, Step, Tries, step};
use reveille::artifact::{FileWant, Held, HeldFile, Origin, Want};
use reveille::clock::Millis;
use reveille::snapshot::ObjectName;

/// The longest wait that nobody asked for: five minutes and a half of them.
const LONGEST: u64 = 450_000;
/// The longest that a server may ask for.
const LONGEST_ASKED: u64 = 3_600_000;

/// An artifact of one file of this URL.
fn want(url: u8, is_pinned: bool, refresh: Option<u32>) -> Want {
    Want {
        name: ObjectName {
            namespace: "default".to_owned(),
            name: "a".to_owned(),
        },
        origin: Origin::Files(vec![FileWant {
            path: "linux".to_owned(),
            urls: vec![format!("http://a/{url}")],
            sha256: is_pinned.then(|| format!("{url:064x}")),
            ..FileWant::default()
        }]),
        secret: None,
        refresh,
    }
}

fn held(want: &Want, now: u64) -> Held {
    let file = HeldFile {
        sha256: "a".repeat(64),
        ..HeldFile::default()
    };
    Held {
        identity: want.identity(),
        checked: now,
        files: [("linux".to_owned(), file)].into(),
        ..Held::default()
    }
}

/// How a try ends.
#[derive(Clone, Debug)]
enum Try {
    Arrives,
    Fails {
        retry_after: Option<u64>,
        random: u64,
        for_good: bool,
    },
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Event {
    /// Time goes by.
    Wait(u64),
    /// The clock is set back.
    Back(u64),
    /// Somebody writes another manifest.
    Edit(u8, bool, Option<u32>),
    /// A file rots on the disk, or is taken away.
    Rot,
    /// What is due is done.
    Work(Try),
}

fn tried() -> impl Strategy<Value = Try> {
    let fails = (any::<Option<u64>>(), any::<u64>(), any::<bool>());
    prop_oneof![
        Just(Try::Arrives),
        fails.prop_map(|(retry_after, random, for_good)| Try::Fails {
            retry_after,
            random,
            for_good
        }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let refresh = proptest::option::of(60_u32..100_000);
    prop_oneof![
        3 => (0..10_000_000_u64).prop_map(Event::Wait),
        1 => (0..100_000_000_000_u64).prop_map(Event::Back),
        1 => (0..3_u8, any::<bool>(), refresh).prop_map(|(url, pinned, every)| Event::Edit(url, pinned, every)),
        1 => Just(Event::Rot),
        4 => tried().prop_map(Event::Work),
    ]
}

/// A keeper of one artifact.
struct World {
    now: u64,
    want: Want,
    held: Option<Held>,
    tries: Tries,
}

impl World {
    fn step(&self) -> Step {
        step(
            &self.want,
            self.held.as_ref(),
            &self.tries,
            Millis(self.now),
        )
    }

    /// Whether what is there is what is wanted.
    fn is_there(&self) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| {
            let is_whole = held.files.values().all(|file| !file.sha256.is_empty());
            is_whole && held.identity == self.want.identity()
        })
    }

    fn works(&mut self, tried: &Try) {
        if !matches!(self.step(), Step::Fetch | Step::Refresh) {
            return;
        }
        let identity = self.want.identity();
        match tried {
            Try::Arrives => {
                self.held = Some(held(&self.want, self.now));
                self.tries = Tries::succeeded(&identity);
            }
            Try::Fails {
                retry_after,
                random,
                for_good,
            } => {
                let before = self.tries.clone();
                let failed = Failed {
                    reason: "ServerError",
                    what: "it answers 500".to_owned(),
                    is_for_good: *for_good,
                    retry_after: *retry_after,
                };
                self.tries = before.failed(&identity, failed, (Millis(self.now), *random));
                let wait = self.tries.next.unwrap().0 - self.now;
                let asked = retry_after
                    .map_or(0, |secs| secs.saturating_mul(1000))
                    .min(LONGEST_ASKED);
                // As long as the server says, and never much longer.
                assert!(wait >= asked.max(2_000), "{wait} of {asked}");
                assert!(wait <= asked.max(LONGEST), "{wait} of {asked}");
                let same = before.identity == identity;
                assert_eq!(
                    self.tries.failures,
                    if same { before.failures + 1 } else { 1 }
                );
                assert_eq!(
                    self.tries.is_stalled(),
                    *for_good || self.tries.failures >= STALLED_AFTER
                );
            }
        }
    }

    /// As the keeper does before it asks what is to be done.
    fn happens(&mut self, event: &Event) {
        match event {
            Event::Wait(millis) => self.now += millis,
            Event::Back(millis) => self.now = self.now.saturating_sub(*millis),
            Event::Edit(url, pinned, every) => self.want = want(*url, *pinned, *every),
            Event::Rot => {
                if let Some(file) = self
                    .held
                    .as_mut()
                    .and_then(|held| held.files.get_mut("linux"))
                {
                    file.sha256.clear();
                }
            }
            Event::Work(tried) => self.works(tried),
        }
        self.tries = std::mem::take(&mut self.tries).about(&self.want, self.held.as_ref());
    }

    /// What holds at any moment.
    fn is_lawful(&self) {
        let is_tried = self.tries.identity == self.want.identity() && self.tries.next.is_some();
        match self.step() {
            // Only what is not there is fetched, and at once where nothing failed.
            Step::Fetch => assert!(!self.is_there()),
            Step::Refresh => {
                assert!(self.is_there() && self.want.may_change() && self.want.refresh.is_some())
            }
            // Nothing is forgotten: what rests is there, and can be no other.
            Step::Rest => {
                assert!(self.is_there());
                assert!(self.want.refresh.is_none() || !self.want.may_change());
            }
            Step::Wait(at) => {
                assert!(at.0 > self.now, "a wait that is over");
                assert!(self.is_there() || is_tried, "it waits for nothing");
                if !self.is_there() {
                    assert!(at.0 - self.now <= LONGEST_ASKED, "it waits for too long");
                }
                // At that time, and not before, it is done.
                let later = |now| step(&self.want, self.held.as_ref(), &self.tries, Millis(now));
                assert!(matches!(later(at.0 - 1), Step::Wait(_)));
                assert!(!matches!(later(at.0), Step::Wait(again) if again == at));
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_what_is_wanted_is_fetched_and_nothing_else(
        events in proptest::collection::vec(event(), 1..60)
    ) {
        let mut world = World {
            now: 1_700_000_000_000,
            want: want(0, false, None),
            held: None,
            tries: Tries::default(),
        };
        for event in &events {
            world.happens(event);
            world.is_lawful();
        }
        // What is there and is not looked at again has no failure left.
        let is_stalled = world.tries.is_stalled();
        prop_assert!(world.step() != Step::Rest || !is_stalled);
        // Once the servers are well it is there, after one wait at most.
        if let Step::Wait(at) = world.step() {
            world.now = at.0;
        }
        world.works(&Try::Arrives);
        prop_assert!(world.is_there());
    }

    #[test]
    fn many_that_fail_at_once_do_not_come_back_at_once(failures in 0_u32..40, randoms in proptest::collection::vec(any::<u64>(), 200)) {
        let want = want(0, false, None);
        let identity = want.identity();
        let before = Tries { identity: identity.clone(), failures, ..Tries::default() };
        let next = |random: &u64| {
            let failed = before.clone().failed(&identity, Failed::default(), (Millis(0), *random));
            failed.next.unwrap().0
        };
        let all: Vec<u64> = randoms.iter().map(next).collect();
        let (first, last) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        // Spread over a third of the wait, at least.
        prop_assert!(last - first >= first / 3, "{first}..{last}");
    }
}
