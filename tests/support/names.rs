//! Names that lead where a test wants: the proxy's getaddrinfo is replaced by one that reads a file.

use super::launch::Launch;
use super::proxy::Proxy;
use std::process::Command;

const SOURCE: &str = include_str!("names.c");

impl Launch {
    /// Starts with these names and no others; see `names.c`.
    #[track_caller]
    pub fn names(self, hosts: &str) -> Launch {
        let launch = self.file("names.c", SOURCE).file("hosts", hosts).file("hosts.asked", "");
        let library = launch.dir().join("names.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(launch.dir().join("names.c"));
        let built = cc.output().expect("a C compiler that is called `cc`: this play replaces getaddrinfo");
        assert!(built.status.success(), "cc cannot build names.c:\n{}", String::from_utf8_lossy(&built.stderr));
        let hosts = launch.dir().join("hosts");
        launch.env("LD_PRELOAD", library.display()).env("HOSTS_FILE", hosts.display())
    }
}

impl Proxy {
    /// From now on these are the names.
    pub fn set_names(&self, hosts: &str) {
        self.write("hosts", hosts);
    }

    /// How often it has looked that name up.
    pub fn asked(&self, name: &str) -> usize {
        let asked = std::fs::read_to_string(self.dir().join("hosts.asked")).unwrap();
        asked.lines().filter(|line| *line == name).count()
    }

    /// Threads that look names up.
    pub fn resolvers(&self) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        // One may end while the list is read.
        let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
        tasks.filter_map(name).filter(|name| name.trim() == "resolver").count()
    }
}
