//! TLS for the clients. What it costs them is not counted, so they only check as much as shows that a proxy does its part.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};

const NAME: &str = "bench.example";

/// What is read from a socket at once.
const RAW: usize = 64 * 1024;

/// What a client that connects again does with its earlier session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sessions {
    /// Each handshake is a full one.
    Forgotten,
    /// Each handshake but the first goes on with the session of the one before.
    Resumed,
}

/// Writes a certificate for `NAME` to `cert.pem`, and its key to `cert.pem.key`, where HAProxy looks for it.
pub fn write_certificate(directory: &Path) -> io::Result<CertificateDer<'static>> {
    // ECDSA over P-256, which most sites have.
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(io::Error::other)?;
    fs::write(directory.join("cert.pem"), made.cert.pem())?;
    fs::write(directory.join("cert.pem.key"), made.signing_key.serialize_pem())?;
    Ok(made.cert.into())
}

/// The clients of one load.
#[derive(Clone)]
pub struct Clients {
    config: ClientConfig,
    sessions: Sessions,
}

impl Clients {
    pub fn new(certificate: CertificateDer<'static>, sessions: Sessions) -> Self {
        // All proxies do the same work: TLS 1.3 with this key exchange and this cipher.
        let provider = CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..aws_lc_rs::default_provider()
        };
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = builder.expect("the cipher is one of TLS 1.3").dangerous();
        let mut config = builder.with_custom_certificate_verifier(Arc::new(Expected { certificate, schemes })).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self { config, sessions }
    }

    /// One client, which remembers nothing of the others.
    pub fn client(&self) -> Client {
        let mut config = self.config.clone();
        if self.sessions == Sessions::Resumed {
            config.resumption = Resumption::in_memory_sessions(1);
        }
        Client { config: config.into(), sessions: self.sessions, has_session: false }
    }
}

/// A client that connects several times, one after the other.
pub struct Client {
    config: Arc<ClientConfig>,
    sessions: Sessions,
    has_session: bool,
}

impl Client {
    pub fn connect(&mut self, socket: TcpStream) -> io::Result<Tls> {
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let session = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        let is_resumption = self.has_session && self.sessions == Sessions::Resumed;
        self.has_session = true;
        let expected = if is_resumption { HandshakeKind::Resumed } else { HandshakeKind::Full };
        Ok(Tls { socket, session, expected, raw: vec![0; RAW], pending: 0..0 })
    }
}

/// A connection: `Read` and `Write` are of what is inside TLS.
pub struct Tls {
    pub socket: TcpStream,
    session: ClientConnection,
    expected: HandshakeKind,
    raw: Vec<u8>,
    /// What of `raw` the session has not taken yet.
    pending: std::ops::Range<usize>,
}

impl Tls {
    /// An error if the handshake was another than the load is about.
    pub fn check_handshake(&self) -> io::Result<()> {
        match self.session.handshake_kind() {
            Some(kind) if kind == self.expected => Ok(()),
            kind => Err(io::Error::other(format!("a handshake was {kind:?} instead of {:?}", self.expected))),
        }
    }

    /// Gives the session what has come. False: there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        if self.pending.is_empty() {
            let size = self.socket.read(&mut self.raw)?;
            if size == 0 {
                return Ok(false);
            }
            self.pending = 0..size;
        }
        self.pending.start += self.session.read_tls(&mut &self.raw[self.pending.clone()])?;
        self.session.process_new_packets().map_err(io::Error::other)?;
        self.flush()?;
        Ok(true)
    }
}

impl Read for Tls {
    /// Reads until there is no more or `buffer` is full, so that a short read means the same as without TLS.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.session.reader().read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(size) => {
                    filled += size;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Write for Tls {
    /// Before the handshake is over, what is written goes with the client's last message of it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.session.writer().write(bytes)?;
        self.flush()?;
        if size > 0 { Ok(size) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                result => result?,
            };
        }
        Ok(())
    }
}

/// Only this certificate is right. Signatures are not verified: with them the clients would be what limits the proxy.
#[derive(Debug)]
struct Expected {
    certificate: CertificateDer<'static>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *certificate == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("another certificate than that which was made".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::net::TcpListener;

    use crate::process::Directory;

    /// A server of this certificate that answers each connection with "hello".
    fn serve(directory: &Path) -> u16 {
        let certificate = CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(directory.join("cert.pem.key")).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(vec![certificate], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket.unwrap());
                let mut asked = [0; 5];
                if stream.read_exact(&mut asked).is_ok() {
                    stream.write_all(b"hello").unwrap();
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        port
    }

    /// What a client hears, and the handshake it had.
    fn ask(client: &mut Client, port: u16) -> io::Result<(Vec<u8>, Tls)> {
        let socket = std::net::TcpStream::connect(("127.0.0.1", port))?;
        let mut tls = client.connect(TcpStream::from_std(socket))?;
        tls.write_all(b"hello")?;
        let mut heard = Vec::new();
        tls.read_to_end(&mut heard)?;
        Ok((heard, tls))
    }

    #[test]
    fn sessions_are_resumed_or_forgotten() {
        let directory = Directory::new().unwrap();
        let certificate = write_certificate(directory.path()).unwrap();
        let port = serve(directory.path());
        for (sessions, second) in [(Sessions::Resumed, HandshakeKind::Resumed), (Sessions::Forgotten, HandshakeKind::Full)] {
            let mut client = Clients::new(certificate.clone(), sessions).client();
            for expected in [HandshakeKind::Full, second, second] {
                let (heard, mut tls) = ask(&mut client, port).unwrap();
                assert_eq!((&heard[..], tls.session.handshake_kind()), (&b"hello"[..], Some(expected)));
                tls.check_handshake().unwrap();
                tls.expected = HandshakeKind::FullWithHelloRetryRequest;
                tls.check_handshake().unwrap_err();
            }
        }
    }

    #[test]
    fn another_certificate_is_an_error() {
        let (own, other) = (Directory::new().unwrap(), Directory::new().unwrap());
        let certificate = write_certificate(own.path()).unwrap();
        write_certificate(other.path()).unwrap();
        let mut client = Clients::new(certificate, Sessions::Forgotten).client();
        let error = ask(&mut client, serve(other.path())).err().expect("a refusal");
        assert!(error.to_string().contains("another certificate"), "{error}");
    }
}
