use super::*;
use crate::config::model::Origin;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Does not wait at all: later answers count too.
const NONE: Duration = Duration::ZERO;
/// Never over in a test that passes.
const LONG: Duration = Duration::from_secs(20);

enum Answer {
    /// The addresses 10.0.0.N.
    Hosts(&'static [u8]),
    Fails,
    /// Hangs until it is given another answer.
    Hangs,
}

/// The fake resolver: what it answers, and what it was asked.
#[derive(Default)]
struct Stage {
    answers: Mutex<BTreeMap<&'static str, Answer>>,
    change: Condvar,
    asked: Mutex<Vec<String>>,
    told: AtomicUsize,
    hanging: AtomicUsize,
    most_hanging: AtomicUsize,
}

impl Stage {
    fn resolver(self: &Arc<Self>) -> Resolver {
        let (stage, told) = (self.clone(), self.clone());
        let count = move || {
            told.told.fetch_add(1, SeqCst);
        };
        Resolver::new(Box::new(move |question| stage.look_up(question.name)), Box::new(count))
    }

    fn put(&self, name: &'static str, answer: Answer) {
        self.answers.lock().unwrap().insert(name, answer);
        self.change.notify_all();
    }

    fn look_up(&self, name: &str) -> io::Result<LookUpAnswer> {
        self.asked.lock().unwrap().push(name.to_owned());
        let hangs = |answers: &mut BTreeMap<&str, Answer>| matches!(answers.get(name), Some(Answer::Hangs));
        let mut answers = self.answers.lock().unwrap();
        if hangs(&mut answers) {
            self.most_hanging.fetch_max(self.hanging.fetch_add(1, SeqCst) + 1, SeqCst);
            answers = self.change.wait_while(answers, hangs).unwrap();
            self.hanging.fetch_sub(1, SeqCst);
        }
        match answers.get(name) {
            Some(Answer::Hosts(hosts)) => Ok(hosts.iter().map(|&host| SocketAddr::from(([10, 0, 0, host], 0))).collect()),
            _ => Err(io::Error::other("no such name")),
        }
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

fn wanted(names: &[&str]) -> WantedNames {
    names.iter().map(|&name| (Arc::from(name), vec![format!("{name}:80")])).collect()
}

/// What a name leads to.
fn shown(resolver: &Resolver, name: &str) -> String {
    let places = resolver.names().places(&Origin::tcp(name, 80));
    places.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn all_addresses_are_known_when_the_wait_is_over_and_without_names_there_is_no_thread() {
    let stage = Arc::new(Stage::default());
    stage.put("a", Answer::Hosts(&[2, 1, 2]));
    let resolver = stage.resolver();
    resolver.set(wanted(&[]), None, 1, LONG);
    assert_eq!(resolver.threads(), 0);
    resolver.set(wanted(&["a", "lost"]), None, 0, LONG);
    assert_eq!((shown(&resolver, "a").as_str(), shown(&resolver, "lost").as_str()), ("10.0.0.1:80 10.0.0.2:80", ""));
    assert_eq!(stage.asked("a"), 1);
    resolver.set(wanted(&[]), None, 0, LONG);
    wait_until("no thread is left", || resolver.threads() == 0);
}

#[test]
fn an_answer_that_was_found_once_is_not_asked_for_again_if_so_configured() {
    let stage = Arc::new(Stage::default());
    stage.put("a", Answer::Hosts(&[1]));
    let resolver = stage.resolver();
    resolver.set(wanted(&["a"]), None, 0, LONG);
    wait_until("no thread is left", || resolver.threads() == 0);
    stage.put("a", Answer::Hangs);
    resolver.set(wanted(&["a"]), None, 0, NONE);
    assert_eq!((shown(&resolver, "a").as_str(), stage.asked("a")), ("10.0.0.1:80", 1));
}

#[test]
fn a_new_answer_replaces_the_old_one_and_another_order_is_none() {
    let stage = Arc::new(Stage::default());
    stage.put("a", Answer::Hosts(&[1, 2]));
    let resolver = stage.resolver();
    resolver.set(wanted(&["a"]), None, 1, LONG);
    assert_eq!(stage.told.load(SeqCst), 1);
    stage.put("a", Answer::Hosts(&[2, 1]));
    let asked = stage.asked("a");
    wait_until("it was asked often", || stage.asked("a") > asked + 5);
    assert_eq!((shown(&resolver, "a").as_str(), stage.told.load(SeqCst)), ("10.0.0.1:80 10.0.0.2:80", 1));
    stage.put("a", Answer::Hosts(&[4, 3]));
    wait_until("the new one is in use", || shown(&resolver, "a") == "10.0.0.3:80 10.0.0.4:80");
    wait_until("it is told", || stage.told.load(SeqCst) == 2);
}

#[test]
fn the_last_good_answer_stays() {
    let stage = Arc::new(Stage::default());
    stage.put("a", Answer::Hosts(&[1]));
    let resolver = stage.resolver();
    resolver.set(wanted(&["a"]), None, 1, LONG);
    for answer in [Answer::Fails, Answer::Hosts(&[])] {
        stage.put("a", answer);
        let asked = stage.asked("a");
        wait_until("it has failed often", || stage.asked("a") > asked + 5);
        assert_eq!(shown(&resolver, "a"), "10.0.0.1:80");
    }
    stage.put("a", Answer::Hosts(&[2]));
    wait_until("it is well again", || shown(&resolver, "a") == "10.0.0.2:80");
}

#[test]
fn a_name_that_resolves_later_is_used_then() {
    let stage = Arc::new(Stage::default());
    let resolver = stage.resolver();
    resolver.set(wanted(&["a"]), None, 1, LONG);
    assert_eq!((shown(&resolver, "a").as_str(), stage.told.load(SeqCst)), ("", 0));
    stage.put("a", Answer::Hosts(&[1]));
    wait_until("it is resolved", || shown(&resolver, "a") == "10.0.0.1:80");
}

#[test]
fn a_resolver_that_hangs_stops_nobody_else_and_piles_nothing_up() {
    const DEAD: [&str; 20] = [
        "d01", "d02", "d03", "d04", "d05", "d06", "d07", "d08", "d09", "d10", "d11", "d12", "d13", "d14", "d15", "d16", "d17", "d18",
        "d19", "d20",
    ];
    let stage = Arc::new(Stage::default());
    stage.put("good", Answer::Hosts(&[1]));
    let resolver = stage.resolver();
    resolver.set(wanted(&["good"]), None, 1, LONG);
    DEAD.iter().for_each(|&name| stage.put(name, Answer::Hangs));
    let all = || wanted(&[&DEAD[..], &["good"]].concat());
    resolver.set(all(), None, 1, Duration::from_millis(20));
    wait_until("many hang", || stage.hanging.load(SeqCst) == MAX_SUSPECTS);
    // Reloads do not wait meanwhile, as no name is new.
    (0..10).for_each(|_| resolver.set(all(), None, 1, LONG));
    let asked = stage.asked("good");
    wait_until("the good one is asked on", || stage.asked("good") > asked + 10);
    stage.put("good", Answer::Hosts(&[2]));
    wait_until("and its answer counts", || shown(&resolver, "good") == "10.0.0.2:80");
    assert!(DEAD.iter().all(|name| stage.asked(name) <= 1) && stage.most_hanging.load(SeqCst) == MAX_SUSPECTS);
    assert!(resolver.threads() <= MAX_THREADS);
    DEAD.iter().for_each(|&name| stage.put(name, Answer::Hosts(&[9])));
    wait_until("all are resolved", || DEAD.iter().all(|name| !shown(&resolver, name).is_empty()));
    resolver.set(wanted(&[]), None, 1, NONE);
    wait_until("no thread is left", || resolver.threads() == 0);
}

#[test]
fn names_of_servers_that_are_gone_are_not_looked_up() {
    let stage = Arc::new(Stage::default());
    ["gone", "stays", "hangs"].iter().for_each(|&name| stage.put(name, Answer::Hosts(&[1])));
    let resolver = stage.resolver();
    resolver.set(wanted(&["gone", "stays", "hangs"]), None, 1, LONG);
    stage.put("hangs", Answer::Hangs);
    wait_until("it hangs", || stage.hanging.load(SeqCst) > 0);
    resolver.set(wanted(&["stays"]), None, 1, LONG);
    // Look-ups in progress may still end; names that come back join them.
    let asked = stage.asked("hangs");
    resolver.set(wanted(&["stays", "hangs"]), None, 1, NONE);
    let (gone, stays) = (stage.asked("gone"), stage.asked("stays"));
    wait_until("the other one is asked often", || stage.asked("stays") > stays + 20);
    assert!(stage.asked("gone") <= gone + 1 && stage.asked("hangs") == asked);
    stage.put("hangs", Answer::Hosts(&[7]));
    wait_until("its answer counts", || shown(&resolver, "hangs") == "10.0.0.7:80");
}

#[test]
fn between_two_look_ups_one_thread_waits() {
    let stage = Arc::new(Stage::default());
    let resolver = stage.resolver();
    let names = ["a", "b", "c", "d", "e"];
    names.iter().for_each(|&name| stage.put(name, Answer::Hosts(&[1])));
    resolver.set(wanted(&names), None, 86_400_000, LONG);
    assert!(names.iter().all(|name| !shown(&resolver, name).is_empty()));
    wait_until("one is left", || resolver.threads() == 1);
    assert_eq!(stage.asked.lock().unwrap().len(), 5);
}

#[test]
fn another_name_server_is_asked_even_before_the_former_one_has_answered() {
    // Each answers with its own number.
    let told = Arc::new((Mutex::new(false), Condvar::new()));
    let gate = told.clone();
    let look_up = move |question: &Question| {
        if question.server == Some("1") {
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |is_open| !*is_open).unwrap());
        }
        let number = question.server.unwrap_or_default().parse().map_err(io::Error::other)?;
        Ok([SocketAddr::from(([10, 0, 0, number], 80))].into_iter().collect())
    };
    let resolver = Resolver::new(Box::new(look_up), Box::new(|| ()));
    let leads_to =
        |number: u8| resolver.names().of("srv:a").iter().any(|target| target.address == SocketAddr::from(([10, 0, 0, number], 0)));
    resolver.set(wanted(&["srv:a"]), Some("1"), 0, NONE);
    resolver.set(wanted(&["srv:a"]), Some("2"), 0, NONE);
    *told.0.lock().unwrap() = true;
    told.1.notify_all();
    wait_until("the second was asked", || leads_to(2));
    resolver.set(wanted(&["srv:a"]), Some("3"), 0, NONE);
    wait_until("the third was asked, although answers are not asked for again", || leads_to(3));
}
