//! What is compared: the program, its version, and how it is started. Another proxy needs an entry in `ALL` and a file in
//! `conf/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustls::pki_types::CertificateDer;

use crate::load::{Load, Then, Until};
use crate::process::{Cores, Directory, Process, free_port, most_connections, wait_until};
use crate::tls::{self, Clients, Sessions};

/// What can be compared.
pub struct Proxy {
    pub name: &'static str,
    program: &'static str,
    /// The argument that prints its version.
    version: &'static str,
    /// The arguments; in them and in the configuration `@LISTEN@` and the like are replaced.
    words: &'static str,
    pub configuration: &'static str,
    /// What stands for `@LOG@`: without an access log, and with one. Empty: it has none.
    log: [&'static str; 2],
}

/// In the order of the table.
pub const ALL: &[Proxy] = &[
    Proxy {
        name: "tidegate",
        program: "tidegate",
        version: "--version",
        words: "--config @CONF@",
        configuration: include_str!("../conf/tidegate.yaml"),
        log: ["null", "\"@DIR@/access.log\""],
    },
    Proxy {
        name: "nginx",
        program: "nginx",
        version: "-v",
        words: "-c @CONF@ -p @DIR@",
        configuration: include_str!("../conf/nginx.conf"),
        log: ["off", "@DIR@/access.log combined buffer=64k flush=1s"],
    },
    Proxy {
        name: "HAProxy",
        program: "haproxy",
        version: "-v",
        words: "-db -f @CONF@",
        configuration: include_str!("../conf/haproxy.cfg"),
        log: ["no log", "log stdout format raw local0\n    option httplog"],
    },
    Proxy { name: "relay", program: "", version: "", words: "relay @LISTEN@ @UPSTREAM@", configuration: "", log: ["", ""] },
];

/// An installed proxy.
pub struct Found {
    pub proxy: &'static Proxy,
    program: PathBuf,
    pub version: String,
}

impl Found {
    /// Those of `ALL` that are installed.
    pub fn all(tidegate: &Path) -> Vec<Self> {
        ALL.iter().filter_map(|proxy| Self::find(proxy, tidegate)).collect()
    }

    /// Reports it if it is not installed. The relay is this program itself.
    pub fn find(proxy: &'static Proxy, tidegate: &Path) -> Option<Self> {
        let program = match proxy.name {
            "tidegate" => std::path::absolute(tidegate).ok()?,
            "relay" => return Some(Self { proxy, program: std::env::current_exe().ok()?, version: String::new() }),
            _ => proxy.program.into(),
        };
        match Command::new(&program).arg(proxy.version).env("PATH", path()).output() {
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                Some(Self { proxy, program, version: number(&String::from_utf8_lossy(&text)) })
            }
            Err(error) => {
                eprintln!("bench: {} is left out: {}: {error}", proxy.name, program.display());
                None
            }
        }
    }

    pub fn has_log(&self) -> bool {
        !self.proxy.log[1].is_empty()
    }

    pub fn has_tls(&self) -> bool {
        self.proxy.configuration.contains("@TLS_LISTEN@")
    }
}

/// nginx and HAProxy lie in directories that only root has in its path.
fn path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The first word that begins like a version: `1.22.1` of `nginx version: nginx/1.22.1`.
fn number(text: &str) -> String {
    let mut words = text.split(|c: char| c.is_whitespace() || c == '/');
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).unwrap_or("?").to_owned()
}

/// An origin, and a proxy in front of it.
pub struct Setup {
    pub proxy: Process,
    pub port: u16,
    pub tls_port: u16,
    certificate: CertificateDer<'static>,
    directory: Directory,
    _origin: Process,
}

impl Setup {
    /// Fresh processes, ready to answer.
    pub fn start(found: &Found, with_log: bool, cores: &Cores) -> io::Result<Self> {
        Self::with(found, found.proxy.configuration, with_log, cores, &[])
    }

    /// The same with another configuration. `wrap` stands in front of the proxy's command.
    pub fn with(found: &Found, configuration: &str, with_log: bool, cores: &Cores, wrap: &[String]) -> io::Result<Self> {
        let directory = Directory::new()?;
        let (origin, upstream) = origin()?;
        let certificate = tls::write_certificate(directory.path())?;
        let (port, tls_port, dir) = (free_port()?, free_port()?, directory.path().display().to_string());
        let fill = |text: &str| {
            let text = text.replace("@CONNECTIONS@", &most_connections().to_string());
            let text = text.replace("@LOG@", found.proxy.log[usize::from(with_log)]).replace("@CONF@", &format!("{dir}/conf"));
            let text = text.replace("@TLS_LISTEN@", &tls_port.to_string());
            text.replace("@DIR@", &dir).replace("@LISTEN@", &port.to_string()).replace("@UPSTREAM@", &upstream.to_string())
        };
        fs::write(directory.path().join("conf"), fill(configuration))?;
        let mut command = match wrap.split_first() {
            Some((program, words)) => {
                let mut command = cores.proxy(program);
                command.args(words).arg(&found.program);
                command
            }
            None => cores.proxy(&found.program),
        };
        // HAProxy logs to standard output.
        let output = fs::File::options().create(true).append(true).open(directory.path().join("access.log"))?;
        let errors = directory.path().join("errors");
        command.args(fill(found.proxy.words).split(' ')).current_dir(&dir);
        command.env_clear().env("PATH", path()).stdout(output).stderr(fs::File::create(&errors)?);
        let mut proxy = Process::spawn(&mut command)?;
        let probe = Load { path: "/b/1".into(), upload: 0, length: 1, connections: 1, then: Then::Again, tls: None };
        let ready = wait_until(&mut proxy, || probe.run(port, Until::Requests(1), || 0.0));
        let said = |error| io::Error::other(format!("{error}; {}", fs::read_to_string(&errors).unwrap_or_default().trim()));
        ready.map_err(said)?;
        Ok(Self { proxy, port, tls_port, certificate, directory, _origin: origin })
    }

    /// Clients that expect the certificate of this proxy.
    pub fn tls_clients(&self, sessions: Sessions) -> Clients {
        Clients::new(self.certificate.clone(), sessions)
    }

    /// The lines of the access log so far.
    pub fn log_lines(&self) -> u64 {
        let log = fs::read(self.directory.path().join("access.log")).unwrap_or_default();
        log.iter().filter(|byte| **byte == b'\n').count() as u64
    }
}

fn origin() -> io::Result<(Process, u16)> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut process = Process::spawn(command.args(["origin", "0"]).stdout(Stdio::piped()))?;
    let mut line = String::new();
    let stdout = process.child().stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line)?;
    let port = line.trim().parse().map_err(|_| io::Error::other("the origin did not start"))?;
    Ok((process, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_programs_say_them() {
        let said = ["nginx version: nginx/1.22.1", "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "tidegate 0.1.0"];
        assert_eq!(said.map(number), ["1.22.1", "2.6.12-1+deb12u4", "0.1.0"]);
    }
}
