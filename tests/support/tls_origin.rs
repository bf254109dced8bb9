//! An origin behind TLS: a relay that speaks TLS with the proxy and hands the plain bytes to an origin, with every end as it was: a
//! `close_notify` becomes a FIN and the other way round, and what ends without one becomes a reset.

use super::PATIENCE;
use super::tls::{Authority, Issued};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An authority whose certificates lie where a configuration can name them.
pub struct Issuer {
    authority: Authority,
    folder: TempDir,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Papers {
    pub cert: String,
    pub key: String,
    cert_file: PathBuf,
    key_file: PathBuf,
}

impl Issuer {
    pub fn new(name: &str) -> Issuer {
        let (authority, folder) = (Authority::new(name), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Issuer { authority, folder }
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> String {
        self.authority.pem()
    }

    /// The file of that.
    pub fn file(&self) -> String {
        path(&self.folder.path().join("ca.pem"))
    }

    /// A certificate for these names, or addresses.
    pub fn issue(&self, names: &[&str]) -> Papers {
        self.issue_with(names, |_| {})
    }

    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Papers {
        self.papers(self.authority.issue_with(names, change))
    }

    /// A certificate that has signed itself.
    pub fn self_signed(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Papers {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = names.iter().map(|name| subject_alt_name(name)).collect();
        change(&mut params);
        let cert = params.self_signed(&key).unwrap();
        self.papers(Issued { cert: cert.pem(), key: key.serialize_pem() })
    }

    fn papers(&self, Issued { cert, key }: Issued) -> Papers {
        let number = std::fs::read_dir(self.folder.path()).unwrap().count();
        let [cert_file, key_file] = ["crt", "key"].map(|ext| self.folder.path().join(format!("{number}.{ext}")));
        std::fs::write(&cert_file, &cert).unwrap();
        std::fs::write(&key_file, &key).unwrap();
        Papers { cert, key, cert_file, key_file }
    }
}

fn subject_alt_name(name: &str) -> SanType {
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}

impl Papers {
    pub fn cert_file(&self) -> String {
        path(&self.cert_file)
    }

    pub fn key_file(&self) -> String {
        path(&self.key_file)
    }
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What a TLS server asks of its clients.
pub struct ServerSettings {
    papers: Papers,
    versions: Vec<&'static SupportedProtocolVersion>,
    client_ca: Option<String>,
    manners: Manners,
}

/// What it does that others do not.
#[derive(Clone, Copy, Default)]
struct Manners {
    /// It ends connections by a FIN alone.
    is_rude: bool,
    /// It says something of the protocol's own whenever nothing else is said.
    is_restless: bool,
}

impl ServerSettings {
    pub fn new(papers: &Papers) -> ServerSettings {
        ServerSettings { papers: papers.clone(), versions: rustls::ALL_VERSIONS.to_vec(), client_ca: None, manners: Manners::default() }
    }

    pub fn only(mut self, version: &'static SupportedProtocolVersion) -> ServerSettings {
        self.versions = vec![version];
        self
    }

    /// Clients have a certificate from this issuer.
    pub fn asking_for(mut self, issuer: &Issuer) -> ServerSettings {
        self.client_ca = Some(issuer.pem());
        self
    }

    /// It ends connections by a FIN alone.
    pub fn without_close_notify(mut self) -> ServerSettings {
        self.manners.is_rude = true;
        self
    }

    /// It changes its keys while connections are idle, as it might send tickets then.
    pub fn restless(mut self) -> ServerSettings {
        self.manners.is_restless = true;
        self
    }

    fn config(&self) -> ServerConfig {
        let chain = CertificateDer::pem_slice_iter(self.papers.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.papers.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_protocol_versions(&self.versions);
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

/// What a handshake with it was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub sni: Option<String>,
    pub alpn: Option<String>,
    pub is_resumed: bool,
    pub has_certificate: bool,
}

/// TLS in front of an origin.
pub struct TlsRelay {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl TlsRelay {
    pub fn new(papers: &Papers, origin: SocketAddr) -> TlsRelay {
        TlsRelay::with(ServerSettings::new(papers), origin)
    }

    pub fn with(settings: ServerSettings, origin: SocketAddr) -> TlsRelay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (seen, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (config, manners) = (Arc::new(settings.config()), settings.manners);
        let (to, until) = (seen.clone(), stopped.clone());
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if until.load(SeqCst) {
                    return;
                }
                let (config, seen) = (config.clone(), to.clone());
                std::thread::spawn(move || serve(config, stream, origin, manners, &seen));
            }
        });
        TlsRelay { addr, seen, stopped, accepting: Some(accepting) }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `https://name:port`.
    pub fn url(&self, name: &str) -> String {
        format!("https://{name}:{}", self.addr.port())
    }

    /// The handshakes that succeeded, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for TlsRelay {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr); // wakes the accepting thread
        self.accepting.take().into_iter().for_each(|accepting| drop(accepting.join()));
    }
}

/// One connection, from the handshake to its end.
fn serve(config: Arc<ServerConfig>, mut stream: TcpStream, origin: SocketAddr, manners: Manners, seen: &Mutex<Vec<Seen>>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut tls = ServerConnection::new(config).unwrap();
    while tls.is_handshaking() {
        if tls.complete_io(&mut stream).is_err() {
            let _ = tls.write_tls(&mut stream);
            // What the other end still says must not reset the connection before it has read why.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 4096]);
            return;
        }
    }
    seen.lock().unwrap().push(Seen {
        sni: tls.server_name().map(str::to_owned),
        alpn: tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        is_resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        has_certificate: tls.peer_certificates().is_some(),
    });
    let Ok(plain) = TcpStream::connect(origin) else { return };
    plain.set_nodelay(true).unwrap();
    if !relay(&mut tls, &stream, &plain, manners) {
        for end in [&stream, &plain] {
            let _ = socket2::SockRef::from(end).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Until both directions have ended, which is true, or one is broken.
fn relay(tls: &mut ServerConnection, mut stream: &TcpStream, mut plain: &TcpStream, manners: Manners) -> bool {
    [stream, plain].into_iter().for_each(|end| end.set_nonblocking(true).unwrap());
    let (mut block, mut last) = (vec![0; 16 * 1024], Instant::now());
    // What came with the last words of the handshake.
    let Ok(state) = tls.process_new_packets() else { return false };
    let (mut back, mut is_asked) = (vec![0; state.plaintext_bytes_to_read()], state.peer_has_closed());
    tls.reader().read_exact(&mut back).unwrap();
    let (mut is_answered, mut has_told, mut has_rested) = (false, false, false);
    loop {
        let mut moved = false;
        // From the origin to the proxy. No more than one block is held, so that a proxy that reads nothing is felt.
        if !is_answered && !tls.wants_write() {
            match plain.read(&mut block) {
                Ok(0) => {
                    (is_answered, moved) = (true, true);
                    if manners.is_rude {
                        return stream.shutdown(Shutdown::Write).is_ok();
                    }
                    tls.send_close_notify();
                }
                Ok(n) => {
                    tls.writer().write_all(&block[..n]).unwrap();
                    moved = true;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        while tls.wants_write() {
            match tls.write_tls(&mut stream) {
                Ok(_) => moved = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        // From the proxy to the origin.
        if back.is_empty() && !is_asked {
            match tls.read_tls(&mut stream) {
                Ok(0) => return false,
                Ok(_) => {
                    let Ok(state) = tls.process_new_packets() else { return false };
                    back.resize(state.plaintext_bytes_to_read(), 0);
                    tls.reader().read_exact(&mut back).unwrap();
                    (is_asked, moved) = (state.peer_has_closed(), true);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        while !back.is_empty() {
            match plain.write(&back) {
                Ok(n) => drop(back.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
            moved = true;
        }
        if is_asked && back.is_empty() && !std::mem::replace(&mut has_told, true) {
            let _ = plain.shutdown(Shutdown::Write);
        }
        if is_answered && has_told && !tls.wants_write() {
            return true;
        }
        match moved {
            true => (last, has_rested) = (Instant::now(), false),
            false if manners.is_restless && !has_rested && last.elapsed() > Duration::from_millis(5) => {
                tls.refresh_traffic_keys().unwrap();
                has_rested = true;
            }
            false if last.elapsed() > 3 * PATIENCE => return false,
            false => std::thread::sleep(Duration::from_micros(300)),
        }
    }
}
