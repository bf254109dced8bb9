//! TLS for plays: an authority that issues certificates, and a relay that lets a party that speaks plain TCP speak TLS.

use super::{Client, PATIENCE, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, Connection, RootCertStore};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Issues certificates that its clients trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For these names, or addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.issue_for(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), names, change)
    }

    pub fn issue_for(&self, key: KeyPair, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new([]).unwrap();
        let name = |name: &&str| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(name).collect();
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        change(&mut params);
        let cert = params.signed_by(&key, &self.0).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A client that trusts this authority only, and keeps sessions.
    pub fn client(&self) -> TlsClient {
        TlsClient::new(ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth())
    }

    /// The same with one version only.
    pub fn client_of(&self, version: &'static rustls::SupportedProtocolVersion) -> TlsClient {
        let builder = ClientConfig::builder_with_protocol_versions(&[version]);
        TlsClient::new(builder.with_root_certificates(self.roots()).with_no_client_auth())
    }

    /// The same with a certificate.
    pub fn client_with(&self, issued: &Issued) -> TlsClient {
        let chain = CertificateDer::pem_slice_iter(issued.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        TlsClient::new(ClientConfig::builder().with_root_certificates(self.roots()).with_client_auth_cert(chain, key).unwrap())
    }
}

/// How a client speaks TLS. Its copies share their sessions.
#[derive(Clone)]
pub struct TlsClient(pub ClientConfig);

impl TlsClient {
    fn new(mut config: ClientConfig) -> TlsClient {
        config.resumption = Resumption::in_memory_sessions(32);
        TlsClient(config)
    }

    pub fn offering(mut self, protocols: &[&str]) -> TlsClient {
        self.0.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// A connection after its handshake, or why there is none.
    pub fn handshake(&self, addr: SocketAddr, name: &str) -> Result<Session, String> {
        self.handshake_over(TcpStream::connect_timeout(&addr, PATIENCE).map_err(|e| e.to_string())?, name)
    }

    /// The same on a connection that is there.
    pub fn handshake_over(&self, stream: TcpStream, name: &str) -> Result<Session, String> {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = ClientConnection::new(Arc::new(self.0.clone()), name).map_err(|e| e.to_string())?;
        let mut stream = stream;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).map_err(|e| e.to_string())?;
        }
        Ok(Session { tls, stream })
    }

    /// A client of the plays on top of a connection.
    #[track_caller]
    pub fn connect(&self, addr: SocketAddr, name: &str) -> Client {
        self.handshake(addr, name).unwrap_or_else(|why| panic!("no handshake: {why}")).into_client()
    }
}

/// A connection to the proxy after its handshake.
pub struct Session {
    pub tls: ClientConnection,
    pub stream: TcpStream,
}

impl Session {
    /// The names in the certificate that was presented tell it from others; here its bytes do.
    pub fn has_certificate(&self, issued: &Issued) -> bool {
        let expected = CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap();
        self.tls.peer_certificates().and_then(|chain| chain.first()) == Some(&expected)
    }

    pub fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// What is sent to the client of the play goes through TLS from here on.
    pub fn into_client(self) -> Client {
        Client::over(behind_tls(self.tls.into(), self.stream))
    }

    /// One request on this connection; its tickets are read as well.
    pub fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: play.test\r\nConnection: close\r\n\r\n");
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.stream);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Ok(_) => answer,
            Err(error) => panic!("after {answer:?}: {error}"),
        }
    }
}

/// The plain end of a connection over which somebody else speaks TLS. A FIN becomes a `close_notify`, and the other way round; a
/// connection that ends without one is reset.
pub fn behind_tls(tls: Connection, stream: TcpStream) -> TcpStream {
    let (near, far) = pair();
    std::thread::spawn(move || relay(tls, &stream, &far));
    near
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// What has been read and not yet been written, of one direction.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    is_over: bool,
    has_told: bool,
}

/// Until both directions are over, or one is broken. The thread ends at the latest when nothing has happened for long.
fn relay(mut tls: Connection, mut stream: &TcpStream, mut plain: &TcpStream) {
    [stream, plain].into_iter().for_each(|end| end.set_nonblocking(true).unwrap());
    let (mut out, mut back, mut last) = (Held::default(), Held::default(), Instant::now());
    let mut block = vec![0; 16 * 1024];
    loop {
        let mut moved = false;
        // From the party to the peer. What the TLS connection holds is bounded, so that a peer that reads nothing is felt.
        if !out.is_over && !tls.wants_write() && !tls.is_handshaking() {
            match plain.read(&mut block) {
                Ok(0) => (out.is_over, moved) = (true, true),
                Ok(n) => {
                    tls.writer().write_all(&block[..n]).unwrap();
                    moved = true;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return abort(stream),
            }
        }
        if out.is_over && !out.has_told {
            tls.send_close_notify();
            out.has_told = true;
        }
        while tls.wants_write() {
            match tls.write_tls(&mut stream) {
                Ok(_) => moved = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break,
            }
        }
        // From the peer to the party.
        if back.bytes.is_empty() && !back.is_over {
            match tls.read_tls(&mut stream) {
                Ok(0) => return abort(plain),
                Ok(_) => {
                    let Ok(state) = tls.process_new_packets() else {
                        let _ = tls.write_tls(&mut stream);
                        return abort(plain);
                    };
                    let mut bytes = vec![0; state.plaintext_bytes_to_read()];
                    if !bytes.is_empty() {
                        tls.reader().read_exact(&mut bytes).unwrap();
                    }
                    back = Held { bytes, is_over: state.peer_has_closed(), has_told: false };
                    moved = true;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return abort(plain),
            }
        }
        while !back.bytes.is_empty() {
            match plain.write(&back.bytes) {
                Ok(n) => {
                    back.bytes.drain(..n);
                    moved = true;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return abort(stream),
            }
        }
        if back.is_over && back.bytes.is_empty() && !std::mem::replace(&mut back.has_told, true) {
            let _ = plain.shutdown(Shutdown::Write);
        }
        if (out.has_told && back.has_told && !tls.wants_write()) || last.elapsed() > 3 * PATIENCE {
            return;
        }
        match moved {
            true => last = Instant::now(),
            false => std::thread::sleep(Duration::from_micros(300)),
        }
    }
}

fn abort(end: &TcpStream) {
    let _ = socket2::SockRef::from(end).set_linger(Some(Duration::ZERO));
    // The last copy of the socket is dropped with the thread.
    let _ = end;
}

/// Waits until the counter of handshakes has come to that.
#[track_caller]
pub fn wait_for_handshakes(proxy: &super::Proxy, labels: &[&str], n: f64) {
    wait_until(&format!("{n} handshakes {labels:?} are counted"), || proxy.metric("proxy_tls_handshakes_total", labels) == n);
}
