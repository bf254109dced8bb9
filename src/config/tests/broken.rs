//! Every way to get a configuration wrong: most cases are in `broken.txt`, the others here.

use super::{Setup, good};

#[test]
fn each_broken_configuration_is_told_what_is_wrong_and_what_to_do() {
    let mut cases = 0;
    for case in include_str!("broken.txt").split("\n\n").filter(|case| case.contains("=> ")) {
        let (text, message): (Vec<&str>, Vec<&str>) = case.trim_start_matches('\n').lines().partition(|line| !line.starts_with("=> "));
        let text = text.join("\n") + "\n";
        let message: Vec<&str> = message.iter().map(|line| &line[3..]).collect();
        assert_eq!(Setup::new().with(&text).problems(), message.join("\n"), "\n{text}");
        cases += 1;
    }
    assert!(cases > 300, "{cases}");
}

#[test]
fn files_that_cannot_be_read() {
    let mut setup = Setup::new();
    setup.sources.config = Some("none.yaml".into());
    assert_eq!(setup.problems(), "none.yaml: cannot be read: No such file or directory (os error 2)");
    setup.sources.config = Some(".".into());
    assert_eq!(setup.problems(), ".: cannot be read: Is a directory (os error 21)");
    setup.sources.config = Some("/dev/zero".into());
    assert_eq!(setup.problems(), "/dev/zero: larger than 2097152 bytes, that is no configuration");
    let setup = Setup::new().with("");
    std::fs::write(setup.dir.path().join("c.yaml"), b"workers: 1\nx: \xff").unwrap();
    assert_eq!(setup.problems(), "c.yaml:2:4: not UTF-8");
    assert_eq!(Setup::new().with("a: b\nb: \u{1}\n").problems(), "c.yaml:2:4: a control character (byte 1)");
}

#[test]
fn bombs_are_stopped() {
    let levels: Vec<String> =
        ('b'..='t').map(|c| format!("{c}: &{c} [{}]", vec![format!("*{}", (c as u8 - 1) as char); 9].join(","))).collect();
    let laughs = format!("a: &a [x,x,x,x,x,x,x,x,x]\n{}\n", levels.join("\n"));
    assert_eq!(Setup::new().with(&laughs).problems(), "c.yaml:1:12: f[1][7][8][6][5][2]: too many values (aliases of aliases?)");
    for bomb in ["[", "{a: ", "- ", "? ", "[{a: "] {
        let problems = Setup::new().with(&bomb.repeat(1_000_000 / bomb.len())).problems();
        assert!(problems.ends_with(": nested too deeply"), "{problems}");
    }
    // Deep, but not too deep to report what is wrong.
    let nested = format!("timeouts: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(Setup::new().with(&nested).problems().starts_with("c.yaml:1:1: timeouts: expected a section"));
}

#[test]
fn a_thousand_problems_are_enough() {
    let text: String = (0..5000).map(|n| format!("- {{proxy: p{n}}}\n")).collect();
    let problems = Setup::new().with(&format!("routes:\n{text}")).problems();
    assert_eq!(problems.lines().count(), 1001);
    assert!(problems.starts_with("c.yaml:2:11: routes[0].proxy: unknown pool \"p0\""));
    assert!(problems.ends_with("\nand 4000 more"));
}

#[test]
fn no_text_makes_it_panic() {
    let seed = include_str!("broken.txt");
    let mut random = fastrand::Rng::with_seed(7);
    let bytes = seed.as_bytes();
    let mut setup = Setup::new();
    for _ in 0..3000 {
        let from = random.usize(..bytes.len() - 200);
        let mut piece = bytes[from..from + random.usize(1..200)].to_vec();
        for _ in 0..random.usize(..6) {
            let at = random.usize(..piece.len());
            piece[at] = *random.choice(b"[]{}:,-&*!|>'\"#%@` \n\t0aZ\x00\xff").unwrap();
        }
        // Listeners are looked up, and random names would ask the network.
        let text = String::from_utf8_lossy(&piece).replace("listen", "routes");
        setup = setup.with(&text);
        let _ = setup.load();
    }
}

#[test]
fn a_listener_that_cannot_be_resolved_is_a_problem_with_a_place() {
    let problems = Setup::new().with("workers: 1\nlisten: \"no.such.name.invalid:80\"\n").problems();
    assert!(problems.starts_with("c.yaml:2:9: listen: \"no.such.name.invalid\" cannot be resolved ("), "{problems}");
    let localhost = good("listen: localhost:0").config.listeners[0].address.to_string();
    assert!(["127.0.0.1:0", "[::1]:0"].contains(&localhost.as_str()), "{localhost}");
}
