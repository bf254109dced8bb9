use super::super::fault::{HandshakeCut, PlainHttp, TlsFault};
use super::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use std::io;
use std::time::Duration;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A certificate and its key.
    fn papers(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (self.write(&format!("{name}.crt"), &cert.pem()), self.write(&format!("{name}.key"), &key.serialize_pem()))
    }

    fn roots(&self, name: &str) -> TlsTrust {
        TlsTrust::Roots(Roots::read(&self.papers(name).0).unwrap().into())
    }
}

fn settings(trust: TlsTrust) -> ClientTls {
    ClientTls::new(trust, None, None).unwrap()
}

#[test]
fn settings_are_the_same_only_if_every_part_is() {
    let folder = Folder::new();
    let (cert, key) = folder.papers("me");
    let identity = || Some(Arc::new(Identity::read(&cert, &key).unwrap()));
    let roots = folder.roots("a");
    let all = [
        settings(TlsTrust::Anybody),
        settings(roots.clone()),
        settings(folder.roots("b")),
        ClientTls::new(roots.clone(), server_name("a"), None).unwrap(),
        ClientTls::new(roots.clone(), server_name("b"), None).unwrap(),
        ClientTls::new(roots.clone(), None, identity()).unwrap(),
    ];
    for (at, one) in all.iter().enumerate() {
        let same: Vec<usize> = (0..all.len()).filter(|&other| all[other] == *one).collect();
        assert_eq!(same, [at]);
    }
    assert_eq!(ClientTls::new(roots.clone(), None, identity()).unwrap(), all[5]);
    // Other content under the same names.
    folder.papers("me");
    assert_ne!(ClientTls::new(roots, None, identity()).unwrap(), all[5]);
    assert_ne!(settings(folder.roots("a")), all[1]);
    let files: Vec<&PathBuf> = all[5].files().collect();
    assert!(files.len() == 3 && files.contains(&&cert) && files.contains(&&key), "{files:?}");
    assert!(!format!("{:?}", all[5]).contains("PRIVATE"));
}

#[test]
fn hosts_are_names_or_addresses() {
    let tls = settings(TlsTrust::Anybody);
    for (host, name) in [("a.test", "a.test"), ("a.test.", "a.test"), ("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("a_b.test", "a_b.test")] {
        assert_eq!(tls.towards(host).unwrap().name.to_str(), name, "{host}");
    }
    for host in ["", "-a", "a b", "a..b"] {
        assert!(tls.towards(host).is_none(), "{host}");
    }
    let tls = ClientTls::new(TlsTrust::Anybody, server_name("inner.test"), None).unwrap();
    assert_eq!(tls.towards("10.0.0.1").unwrap().name.to_str(), "inner.test");
}

#[test]
fn a_file_of_roots_has_certificates_in_it() {
    let folder = Folder::new();
    let (cert, key) = folder.papers("a");
    assert!(Roots::read(&cert).is_ok());
    let refused = |path: &Path| Roots::read(path).err().unwrap();
    assert!(refused(&folder.0.path().join("none")).contains("cannot be read"));
    assert!(refused(&key).contains("has no certificate in PEM in it"));
    assert!(refused(&folder.write("empty", "")).contains("has no certificate in PEM in it"));
    let good = std::fs::read_to_string(&cert).unwrap();
    let bad = folder.write("bad", &format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    assert!(refused(&bad).contains("certificate 2 is no root"), "{}", refused(&bad));
}

#[test]
fn a_fault_says_what_is_wrong_and_which_key_it_concerns() {
    let folder = Folder::new();
    let tls = settings(folder.roots("a"));
    let file = folder.0.path().join("a.crt");
    let told = |tls: &ClientTls, error: Error| tls.explain(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let of_certificate = |error| match told(&tls, Error::InvalidCertificate(error)) {
        TlsFault::Certificate(words) => words,
        other => panic!("{other:?}"),
    };
    let by = format!("; verified by {} (upstream_tls.ca_file)", file.display());
    let expired = CertificateError::ExpiredContext { time: at(3 * 86_400), not_after: at(0) };
    assert_eq!(of_certificate(expired), format!("has a certificate that expired 3 days ago{by}"));
    assert_eq!(of_certificate(CertificateError::UnknownIssuer), format!("has a certificate from an unknown issuer{by}"));
    assert_eq!(of_certificate(CertificateError::Revoked), format!("has a certificate that was revoked{by}"));
    assert_eq!(of_certificate(CertificateError::BadSignature), format!("has a certificate with a wrong signature{by}"));
    // What a stranger's certificate says cannot break the line, or fill a page.
    let presented = (0..20).map(|_| format!("DnsName(\"{}\r\n\")", "x".repeat(500))).collect();
    let expected = ServerName::try_from("a.test").unwrap();
    let words = of_certificate(CertificateError::NotValidForNameContext { expected, presented });
    assert!(words.ends_with(&format!(" and 12 more, not for a.test (upstream_tls.server_name){by}")), "{words}");
    assert!(words.len() < 3000 && !words.contains(['\r', '\n']), "{words}");

    let alert = |tls: &ClientTls, alert| match told(tls, Error::AlertReceived(alert)) {
        TlsFault::Protocol(words) => words,
        other => panic!("{other:?}"),
    };
    assert!(alert(&tls, AlertDescription::CertificateRequired).contains("upstream_tls.client_cert and client_key"));
    let (cert, key) = folder.papers("me");
    let identity = Identity::read(&cert, &key).unwrap();
    let mine = ClientTls::new(folder.roots("b"), None, Some(identity.into())).unwrap();
    let words = alert(&mine, AlertDescription::UnknownCA);
    assert_eq!(words, format!("does not accept {} (upstream_tls.client_cert): it says UnknownCA", cert.display()));
    assert!(matches!(told(&tls, Error::InvalidMessage(InvalidMessage::InvalidContentType)), TlsFault::Protocol(_)));

    let other = |error: Box<dyn std::error::Error + Send + Sync>| tls.explain(&io::Error::other(error));
    assert!(matches!(other(Box::new(PlainHttp)), Some(TlsFault::Protocol(words)) if words.contains("http://")));
    assert!(matches!(other(Box::new(HandshakeCut)), Some(TlsFault::Cut(_))));
    assert_eq!(tls.explain(&io::Error::from_raw_os_error(111)), None);
}
