use super::*;

fn schedule(max_suspects: usize) -> Schedule {
    Schedule::new(max_suspects, fastrand::Rng::with_seed(7))
}

fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|&name| name.into()).collect()
}

/// All names that are due at that time.
fn begun(schedule: &mut Schedule, now: u64) -> Vec<Arc<str>> {
    let next = || match schedule.next(now) {
        Next::LookUp(name) => Some(name),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}

fn at(schedule: &mut Schedule, now: u64) -> u64 {
    match schedule.next(now) {
        Next::At(due) => due,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_is_looked_up_at_once_and_again_after_the_interval_or_a_little_less() {
    let mut schedule = schedule(9);
    assert_eq!(schedule.set(&names(&["a"]), 1000, 50), [Arc::from("a")]);
    assert!(!schedule.has_ended("a"));
    let mut now = 50;
    for _ in 0..100 {
        assert_eq!(schedule.next(now), Next::LookUp("a".into()));
        assert_eq!(schedule.next(now + 1_000_000), Next::Nothing, "it goes on: nobody else begins it");
        assert_eq!(schedule.done(&"a".into(), true, now + 7), Some(LookUpChange::Same));
        assert!(schedule.has_ended("a"));
        let due = at(&mut schedule, now + 7);
        assert!((now + 757..=now + 1007).contains(&due), "{due} after {now}");
        now = due;
    }
}

#[test]
fn what_is_urgent_is_looked_up_at_once_and_once_a_second() {
    let mut schedule = schedule(9);
    schedule.set(&names(&["a"]), 30_000, 0);
    begun(&mut schedule, 0);
    schedule.hurry("a", 0);
    schedule.hurry("unknown", 0);
    schedule.done(&"a".into(), true, 5);
    schedule.hurry("a", 400);
    assert_eq!((begun(&mut schedule, 1004).len(), begun(&mut schedule, 1005).len()), (0, 1));
    schedule.done(&"a".into(), true, 1010);
    schedule.hurry("a", 9000);
    assert_eq!(begun(&mut schedule, 9000).len(), 1);
    let mut schedule = self::schedule(9);
    schedule.set(&names(&["a"]), 0, 0);
    begun(&mut schedule, 0);
    schedule.done(&"a".into(), true, 5);
    schedule.hurry("a", 9000);
    assert_eq!(schedule.next(1_000_000), Next::Nothing);
}

#[test]
fn names_that_began_together_come_apart() {
    let all: Vec<String> = (0..1000).map(|number| format!("n{number}")).collect();
    let mut schedule = schedule(1000);
    schedule.set(&all.iter().map(|name| name.as_str().into()).collect(), 30_000, 0);
    for name in begun(&mut schedule, 0) {
        schedule.done(&name, true, 10);
    }
    let begun: Vec<usize> = (0..=31).map(|second| begun(&mut schedule, second * 1000).len()).collect();
    assert_eq!(begun.iter().sum::<usize>(), 1000);
    assert!(begun.iter().all(|count| *count < 250), "{begun:?}");
}

#[test]
fn zero_is_never_again_but_for_names_without_an_address() {
    let mut schedule = schedule(9);
    schedule.set(&names(&["good", "lost"]), 0, 0);
    for name in begun(&mut schedule, 0) {
        schedule.done(&name, &*name == "good", 0);
    }
    let due = at(&mut schedule, 0);
    assert!((3750..=5000).contains(&due));
    assert_eq!(begun(&mut schedule, due), [Arc::from("lost")]);
    assert_eq!(schedule.done(&"lost".into(), true, due), Some(LookUpChange::Recovers));
    assert_eq!((schedule.next(u64::MAX / 2), schedule.has_more()), (Next::Nothing, false));
}

#[test]
fn a_name_without_an_address_does_not_wait_for_a_long_interval() {
    let mut schedule = schedule(9);
    schedule.set(&names(&["lost"]), 3_600_000, 0);
    assert_eq!(schedule.next(0), Next::LookUp("lost".into()));
    schedule.done(&"lost".into(), false, 0);
    assert!(at(&mut schedule, 0) <= 5000);
}

#[test]
fn a_turn_for_the_worse_or_the_better_is_told_once() {
    let mut schedule = schedule(9);
    schedule.set(&names(&["a"]), 1, 0);
    let found = [true, false, false, true, true, false, true];
    let turns: Vec<_> = (1..)
        .zip(found)
        .map(|(second, found)| {
            assert_eq!(schedule.next(second * 1000), Next::LookUp("a".into()));
            schedule.done(&"a".into(), found, second * 1000).unwrap()
        })
        .collect();
    assert_eq!(
        turns,
        [
            LookUpChange::Same,
            LookUpChange::Fails,
            LookUpChange::Same,
            LookUpChange::Recovers,
            LookUpChange::Same,
            LookUpChange::Fails,
            LookUpChange::Recovers
        ]
    );
}

#[test]
fn names_that_hang_leave_room_for_the_others() {
    let mut schedule = schedule(2);
    schedule.set(&names(&["good"]), 1000, 0);
    for name in begun(&mut schedule, 0) {
        schedule.done(&name, true, 0);
    }
    schedule.set(&names(&["dead1", "dead2", "dead3", "good", "new"]), 1000, 1);
    assert_eq!(begun(&mut schedule, 1), ["dead1", "dead2"].map(Arc::from));
    assert!(at(&mut schedule, 1) >= 750, "the good one is next");
    assert_eq!(begun(&mut schedule, 2000), [Arc::from("good")]);
    schedule.done(&"good".into(), false, 2000);
    assert!(!schedule.has_more(), "it is a suspect now");
    schedule.done(&"dead1".into(), false, 2000);
    assert_eq!(begun(&mut schedule, 2000), [Arc::from("dead3")], "who has waited longest");
    schedule.done(&"dead2".into(), false, 9000);
    assert_eq!(begun(&mut schedule, 9000), [Arc::from("new")]);
}

#[test]
fn other_names_and_another_interval() {
    let mut schedule = schedule(9);
    schedule.set(&names(&["gone", "stays"]), 86_400_000, 0);
    for name in begun(&mut schedule, 0) {
        schedule.done(&name, true, 0);
    }
    assert_eq!(schedule.set(&names(&["new", "stays"]), 86_400_000, 10), [Arc::from("new")]);
    assert_eq!(begun(&mut schedule, 10), [Arc::from("new")]);
    schedule.done(&"new".into(), true, 10);
    assert!(at(&mut schedule, 10) > 60_000_000);
    assert!(schedule.set(&names(&["new", "stays"]), 1000, 20).is_empty());
    assert!((750..=1010).contains(&at(&mut schedule, 20)), "the new interval counts from the last look-up");
    schedule.set(&names(&["new", "stays"]), 0, 30);
    assert!(!schedule.has_more());
    schedule.set(&names(&["new", "stays"]), 1000, 2000);
    assert_eq!(begun(&mut schedule, 2000).len(), 2);
    schedule.set(&names(&[]), 1000, 2000);
    assert!(["new", "stays"].iter().all(|&name| schedule.done(&name.into(), true, 2000).is_none()));
    assert!(!schedule.has_more() && schedule.has_ended("new"));
}

#[test]
fn an_answer_that_holds_for_less_than_the_interval_is_asked_for_again_when_it_ends() {
    let mut schedule = schedule(1);
    schedule.set(&names(&["a"]), 30_000, 0);
    let mut now = 0;
    for (ttl_ms, least, most) in [(5000, 3750, 5000), (0, 750, 1000), (86_400_000, 22_500, 30_000)] {
        assert_eq!(schedule.next(now), Next::LookUp("a".into()));
        schedule.set_ttl("a", ttl_ms);
        schedule.done(&"a".into(), true, now);
        let Next::At(due) = schedule.next(now) else { panic!("it is due some time") };
        assert!((now + least..=now + most).contains(&due), "{ttl_ms}: {}", due - now);
        now = due;
    }
}

#[test]
fn a_name_that_goes_and_comes_back_during_its_look_up_is_looked_up_once() {
    let mut schedule = schedule(1);
    schedule.set(&names(&["a"]), 1000, 0);
    assert_eq!(schedule.next(0), Next::LookUp("a".into()));
    schedule.set(&names(&[]), 1000, 1);
    assert_eq!(schedule.set(&names(&["a"]), 1000, 2), [Arc::from("a")]);
    assert_eq!(schedule.next(2), Next::Nothing);
    assert_eq!(schedule.done(&"a".into(), true, 3), Some(LookUpChange::Same));
    assert!(at(&mut schedule, 3) <= 1003);
    schedule.set(&names(&["a", "b"]), 1000, 4);
    assert_eq!(schedule.next(4), Next::LookUp("b".into()), "the place of the first look-up was given back");
}
