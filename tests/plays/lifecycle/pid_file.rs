//! The file with the number of the process: there while it serves, its own, and gone with it.

use crate::support::*;

#[test]
fn the_pid_file_is_there_before_the_ready_line_and_gone_at_the_end() {
    for way in ["reject", "refuse"] {
        let mut proxy = Config::new().set("pid_file", "tidegate.pid").set("shutdown.new_requests", way).start();
        let path = proxy.dir().join("tidegate.pid");
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), proxy.pid().to_string());
        proxy.signal("TERM");
        assert_eq!(proxy.wait_exit(), 0);
        assert!(!path.exists());
    }
}

/// A link at the path used to be followed; a second signal, or another process's number in the file, made no difference.
#[test]
fn the_pid_file_is_no_link_and_goes_with_its_process_alone() {
    let launch = Config::new().set("pid_file", "tidegate.pid").launch().file("precious", "as it was");
    std::os::unix::fs::symlink("precious", launch.dir().join("tidegate.pid")).unwrap();
    let mut proxy = launch.start();
    let path = proxy.dir().join("tidegate.pid");
    assert!(!path.is_symlink());
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), proxy.pid().to_string());
    assert_eq!(std::fs::read_to_string(proxy.dir().join("precious")).unwrap(), "as it was");
    let mut held = proxy.client();
    held.send("GET / HTTP/1.1\r\n");
    wait_until("its head has begun", || proxy.metric("proxy_client_connections", &[]) == 1.0);
    proxy.signal_twice(["TERM", "TERM"]);
    assert_eq!(proxy.wait_exit(), 0);
    assert!(!path.exists(), "a second signal leaves it");

    let mut proxy = Config::new().set("pid_file", "tidegate.pid").start();
    proxy.write("tidegate.pid", "1\n");
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(), 0);
    assert_eq!(std::fs::read_to_string(proxy.dir().join("tidegate.pid")).unwrap(), "1\n", "it is another's by now");
}
