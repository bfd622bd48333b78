//! The rule.

use super::*;
use crate::operator::leader::TimingError;

const SECOND: u64 = 1000;

fn elector(identity: &str, ordinal: u8) -> Elector {
    Elector::new(identity.to_owned(), ordinal, Timing::default(), Uptime(0))
}

fn held_by(holder: &str, version: u32) -> Record {
    Record {
        uid: "1".to_owned(),
        version: version.to_string(),
        holder: holder.to_owned(),
        lease_secs: 15,
        acquired: Timestamp::UNIX_EPOCH,
        renewed: Timestamp::from_second(version.into()).unwrap(),
        term: 4,
        known: BTreeMap::new(),
        servers: BTreeMap::new(),
    }
}

fn wall() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Steps at `now` and answers with `reply`.
fn turn(elector: &mut Elector, now: u64, reply: Reply) -> Action {
    let action = elector.step(Uptime(now), wall(), 0.0);
    elector.outcome(reply, Uptime(now), [1].into_iter());
    action
}

/// Takes the lease that another let run out; the time at which it did.
fn made_leader() -> (Elector, u64) {
    let mut elector = elector("a", 0);
    turn(&mut elector, 0, Reply::Found(held_by("dead", 1)));
    for now in (2..15).step_by(2) {
        turn(&mut elector, now * SECOND, Reply::Found(held_by("dead", 1)));
    }
    let now = 16 * SECOND;
    let Action::Update(mut taken) = elector.step(Uptime(now), wall(), 0.0) else {
        panic!("not taken");
    };
    assert_eq!((taken.holder.as_str(), taken.term), ("a", 5));
    taken.version = "2".to_owned();
    elector.outcome(Reply::Found(taken), Uptime(now), [1].into_iter());
    (elector, now)
}

#[test]
fn a_lease_is_taken_when_it_did_not_change_for_its_duration_by_our_clock() {
    let (elector, now) = made_leader();
    assert_eq!(elector.state(Uptime(now)), Leadership::Leader { term: 5 });
}

#[test]
fn a_lease_that_changes_is_left_alone_whatever_its_times_say() {
    let mut elector = elector("a", 0);
    for second in 0..60 {
        // Its renewTime is of 1970.
        let renewed = held_by("b", second);
        let action = turn(
            &mut elector,
            u64::from(second) * 3 * SECOND,
            Reply::Found(renewed),
        );
        assert_eq!(action, Action::Read, "after {second} looks");
    }
    let state = elector.state(Uptime(178 * SECOND));
    let Leadership::Follower { holder, alive, .. } = state else {
        panic!("{state:?}");
    };
    assert_eq!((holder.as_deref(), alive), (Some("b"), true));
}

#[test]
fn a_leader_that_cannot_renew_stops_by_itself() {
    let (mut elector, now) = made_leader();
    for later in [2, 4, 6, 8] {
        turn(&mut elector, now + later * SECOND, Reply::Lost);
        assert!(elector.is_leader(Uptime(now + later * SECOND)));
    }
    assert!(elector.is_leader(Uptime(now + 9_999)));
    assert_eq!(elector.state(Uptime(now + 10_000)), Leadership::Isolated);
}

#[test]
fn a_renewal_counts_from_its_beginning_however_late_its_answer_comes() {
    let (mut elector, now) = made_leader();
    let begun = now + 2 * SECOND;
    let Action::Update(record) = elector.step(Uptime(begun), wall(), 0.0) else {
        panic!("no renewal");
    };
    // The process is frozen for a minute with the answer on its way.
    elector.outcome(
        Reply::Found(record),
        Uptime(begun + 60_000),
        [1].into_iter(),
    );
    assert!(!elector.is_leader(Uptime(begun + 60_000)));
}

#[test]
fn a_leader_that_sees_another_stops_at_once() {
    let (mut elector, now) = made_leader();
    turn(&mut elector, now + 2 * SECOND, Reply::Conflict);
    assert!(elector.is_leader(Uptime(now + 2 * SECOND)));
    turn(
        &mut elector,
        now + 2 * SECOND,
        Reply::Found(held_by("b", 9)),
    );
    assert!(!elector.is_leader(Uptime(now + 2 * SECOND)));
}

#[test]
fn a_lease_given_up_is_taken_at_once() {
    let (mut old, now) = made_leader();
    let released = old.release(Uptime(now + 1), wall()).unwrap();
    assert!(!old.is_leader(Uptime(now + 1)));
    assert!(released.is_released());
    let mut elector = elector("b", 1);
    turn(&mut elector, 0, Reply::Found(released));
    let action = elector.step(Uptime(0), wall(), 0.0);
    assert!(matches!(action, Action::Update(record) if record.holder == "b" && record.term == 6));
}

#[test]
fn a_missing_lease_is_made_vacant_and_waited_for() {
    let mut elector = elector("a", 0);
    turn(&mut elector, 0, Reply::Absent);
    let Action::Create(mut vacant) = elector.step(Uptime(0), wall(), 0.0) else {
        panic!("not made");
    };
    assert_eq!(vacant.holder, "");
    vacant.uid = "2".to_owned();
    elector.outcome(Reply::Found(vacant.clone()), Uptime(0), [].into_iter());
    for now in (2..15).step_by(2) {
        let action = turn(&mut elector, now * SECOND, Reply::Found(vacant.clone()));
        assert_eq!(action, Action::Read, "at {now} s");
    }
    let action = elector.step(Uptime(16 * SECOND), wall(), 0.0);
    assert!(matches!(action, Action::Update(record) if record.holder == "a"));
}

#[test]
fn a_duration_written_by_hand_keeps_nobody_out_for_ever() {
    let mut elector = elector("a", 0);
    let endless = Record {
        lease_secs: u32::MAX,
        ..held_by("b", 1)
    };
    turn(&mut elector, 0, Reply::Found(endless));
    let action = elector.step(Uptime(300 * SECOND), wall(), 0.0);
    assert!(matches!(action, Action::Update(_)));
}

#[test]
fn a_follower_says_which_term_it_has_made_way_for_once() {
    let mut elector = elector("a", 1);
    turn(&mut elector, 0, Reply::Found(held_by("b", 1)));
    turn(&mut elector, 3 * SECOND, Reply::Found(held_by("b", 2)));
    elector.make_way(4);
    let Action::Update(saying) = elector.step(Uptime(6 * SECOND), wall(), 0.0) else {
        panic!("nothing said");
    };
    assert_eq!(saying.known, [(1, 4)].into());
    assert!(
        saying.is_as(&held_by("b", 2)),
        "the lease itself is untouched"
    );
    elector.outcome(Reply::Found(saying), Uptime(6 * SECOND), [].into_iter());
    assert_eq!(elector.step(Uptime(9 * SECOND), wall(), 0.0), Action::Read);
}

#[test]
fn replicas_say_from_where_they_serve_and_once() {
    let mut follower = elector("a", 1);
    let own = BTreeSet::from([Ipv4Addr::new(192, 0, 2, 7)]);
    let mut found = held_by("b", 1);
    found.servers = [(0, [[192, 0, 2, 1].into()].into())].into();
    turn(&mut follower, 0, Reply::Found(found.clone()));
    assert_eq!(follower.siblings(), found.servers[&0]);
    follower.serve_from(own.clone());
    let Action::Update(saying) = follower.step(Uptime(3 * SECOND), wall(), 0.0) else {
        panic!("nothing said");
    };
    assert_eq!(saying.servers.get(&1), Some(&own));
    assert!(saying.is_as(&found), "the lease itself is untouched");
    follower.outcome(Reply::Found(saying), Uptime(3 * SECOND), [].into_iter());
    // It is no sibling of its own, and says so once.
    assert_eq!(follower.siblings(), found.servers[&0]);
    assert_eq!(follower.step(Uptime(6 * SECOND), wall(), 0.0), Action::Read);

    let (mut leader, now) = made_leader();
    leader.serve_from(own.clone());
    let Action::Update(renewed) = leader.step(Uptime(now + 2 * SECOND), wall(), 0.0) else {
        panic!("not renewed");
    };
    assert_eq!(renewed.servers, [(0, own)].into());
}

#[test]
fn a_term_is_settled_once_every_other_has_made_way() {
    let (mut elector, now) = made_leader();
    assert_eq!(elector.settled_for(Uptime(now)), None);
    let Action::Update(mut record) = elector.step(Uptime(now + 2_000), wall(), 0.0) else {
        panic!("no renewal");
    };
    record.known.insert(1, 5);
    elector.outcome(Reply::Found(record), Uptime(now + 2_000), [1].into_iter());
    let settled = elector.settled_for(Uptime(now + 5_000));
    assert_eq!(settled, Some(Duration::from_secs(3)));
}

#[test]
fn a_renewal_is_a_change_even_where_the_wall_clock_went_back() {
    let before = wall();
    assert!(later(before, Timestamp::UNIX_EPOCH) > before);
}

#[test]
fn times_that_make_two_leaders_are_refused() {
    let timing = |lease, renew, retry| Timing {
        lease: Duration::from_secs(lease),
        renew: Duration::from_secs(renew),
        retry: Duration::from_secs(retry),
    };
    assert!(timing(15, 10, 2).check().is_ok());
    assert_eq!(timing(14, 10, 2).check(), Err(TimingError::Lease));
    assert_eq!(timing(600, 10, 2).check(), Err(TimingError::Lease));
    assert_eq!(timing(15, 5, 2).check(), Err(TimingError::Renew));
    assert_eq!(timing(15, 10, 0).check(), Err(TimingError::Retry));
}

#[test]
fn a_deleted_object_begins_at_a_term_that_no_earlier_one_had() {
    let (mut leader, now) = made_leader();
    turn(&mut leader, now + 2_000, Reply::Absent);
    let step = leader.step(Uptime(now + 2_000), wall(), 0.0);
    let Action::Create(vacant) = step else {
        panic!("nothing made: {step:?}");
    };
    assert!(vacant.term > 5, "{}", vacant.term);
    // Two replicas that know nothing do not begin alike.
    let later = wall() + jiff::SignedDuration::from_millis(1700);
    let begins = |at| elector("a", 0).vacant(at).term;
    assert_ne!(begins(wall()), begins(later));
}

#[test]
fn what_was_made_way_for_counts_in_its_own_object_only() {
    let mut follower = elector("a", 1);
    turn(&mut follower, 0, Reply::Found(held_by("b", 1)));
    follower.make_way(4);
    assert_eq!(follower.made_way(), Some(4));
    // Somebody puts an old copy of the object in its place.
    let copy = Record {
        uid: "2".to_owned(),
        ..held_by("b", 2)
    };
    turn(&mut follower, 3 * SECOND, Reply::Found(copy));
    assert_eq!(follower.made_way(), None);
    let past = Record {
        term: 1,
        ..held_by("b", 3)
    };
    turn(&mut follower, 6 * SECOND, Reply::Found(past.clone()));
    let taken = follower.wanted(&past, Uptime(0), Uptime(99 * SECOND), wall());
    assert_eq!(taken.map(|taken| taken.term), Some(5));
}

mod worst;
