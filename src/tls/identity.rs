//! A certificate with its chain and its private key, as a server or a client presents it.

use super::{PROVIDER, files};
use rustls::InconsistentKeys;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

/// A certificate with its chain and its key.
#[derive(Clone)]
pub struct Identity {
    /// What a handshake needs of it.
    pub(super) certified: Arc<CertifiedKey>,
    /// The host names that it is for, in lower case; the first label may be `*`.
    pub names: Vec<String>,
    /// What it is called: its first name, else its subject, else its file.
    pub name: String,
    /// From when to when it is valid (seconds since 1970).
    pub validity: (u64, u64),
    /// Its file and the key's.
    files: [PathBuf; 2],
}

/// Which of the two files is wrong, and why.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IdentityError {
    Certificate(String),
    Key(String),
}

impl Identity {
    /// Reads and checks a certificate and its key.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        use IdentityError::{Certificate, Key};
        let chain = files::certificates(cert).map_err(Certificate)?;
        let first = parse(&chain[0]).map_err(|error| Certificate(format!("{}: {error}", cert.display())))?;
        let private = files::private_key(key).map_err(Key)?;
        let signer = PROVIDER.key_provider.load_private_key(private);
        let signer =
            signer.map_err(|_| Key(format!("{} is a key that TLS has no use for: it must be RSA, ECDSA or Ed25519", key.display())))?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => return Err(Key(strange_key(&certified, cert, key))),
            Err(error) => return Err(Certificate(format!("{} has a certificate that TLS has no use for: {error}", cert.display()))),
        }
        let names = names(&first);
        let subject = first.tbs_certificate().subject().to_string();
        let shown = names.first().cloned().or_else(|| (!subject.is_empty()).then_some(subject));
        Ok(Self {
            name: shown.unwrap_or_else(|| cert.display().to_string()),
            names,
            validity: validity_of(&first),
            certified: Arc::new(certified),
            files: [cert.into(), key.into()],
        })
    }

    /// What is doubtful about it, for a warning at its certificate.
    pub fn doubts(&self) -> Vec<String> {
        let (shown, mut doubts) = (self.files[0].display(), Vec::from_iter(self.time_doubt("clients")));
        if self.names.is_empty() {
            doubts.push(format!("{shown} names no host (subjectAltName): most clients will refuse it"));
        }
        let chain: Vec<_> = self.certified.cert.iter().map(|cert| parse(cert).ok()).collect();
        for (at, pair) in chain.windows(2).enumerate() {
            let [Some(one), Some(next)] = pair else { continue };
            if one.tbs_certificate().issuer() != next.tbs_certificate().subject() {
                let number = at + 2;
                doubts.push(format!(
                    "{shown}: certificate {number} of the file did not issue the one before it: a chain goes from the server's own \
                     certificate to the one that its root issued"
                ));
                break;
            }
        }
        doubts
    }

    /// What is doubtful about it where a client shows it, which upstreams do not know by a name.
    pub fn client_doubt(&self) -> Option<String> {
        self.time_doubt("upstreams")
    }

    /// Whether now is not its time, which these will hold against it.
    fn time_doubt(&self, others: &str) -> Option<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let shown = self.files[0].display();
        match self.validity {
            (_, until) if until < now => Some(format!("{shown} has expired {}: {others} will refuse it", days(now - until, "ago"))),
            (from, _) if from > now => Some(format!("{shown} is not valid yet: it will be in {}", days(from - now, "from now"))),
            _ => None,
        }
    }

    /// What is doubtful about its key, for a warning there.
    pub fn key_doubt(&self) -> Option<String> {
        let key = &self.files[1];
        let message = || format!("{} can be read by everybody on this machine: chmod o-r {0}", key.display());
        files::is_readable_by_all(key).then(message)
    }

    /// Its file and its key's.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether it is for that host, which is in lower case (RFC 9525: a `*` stands for one label).
    pub(super) fn is_for(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(name) => Some(name) == parent,
            None => name == host,
        })
    }

    /// The certificate itself, and those that lead to its root.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }
}

impl PartialEq for Identity {
    /// Whether both present the same.
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files && self.certified.cert == other.certified.cert
    }
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).field("files", &self.files).finish_non_exhaustive()
    }
}

/// From when to when a certificate is valid (seconds since 1970).
pub(super) fn validity(certificate: &CertificateDer) -> Option<(u64, u64)> {
    parse(certificate).ok().map(|certificate| validity_of(&certificate))
}

/// Whether others can be issued by it (RFC 5280, section 4.2.1.9; certificates of version 1 say nothing of it).
pub(super) fn is_authority(certificate: &CertificateDer) -> Result<bool, String> {
    let certificate = parse(certificate)?;
    let body = certificate.tbs_certificate();
    Ok(match body.get_extension::<BasicConstraints>() {
        Ok(Some((_, constraints))) => constraints.ca,
        Ok(None) => body.version() == Version::V1,
        Err(_) => false,
    })
}

fn validity_of(certificate: &Certificate) -> (u64, u64) {
    let validity = certificate.tbs_certificate().validity();
    (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
}

fn parse(certificate: &CertificateDer) -> Result<Certificate, String> {
    Certificate::from_der(certificate).map_err(|_| "it has a certificate in it that cannot be understood (X.509)".to_owned())
}

/// The names in the subjectAltName (RFC 5280, section 4.2.1.6). Addresses are not sent by clients, and so choose nothing.
fn names(certificate: &Certificate) -> Vec<String> {
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate().get_extension::<SubjectAltName>() else { return Vec::new() };
    let host = |name: &GeneralName| if let GeneralName::DnsName(name) = name { Some(name.as_str().to_ascii_lowercase()) } else { None };
    names.iter().filter_map(host).collect()
}

/// Says whose key it is not, and perhaps whose it is.
fn strange_key(certified: &CertifiedKey, cert: &Path, key: &Path) -> String {
    let mut text = format!("{} is not the key of the certificate in {}", key.display(), cert.display());
    let is_its = |at: &usize| {
        let alone = CertifiedKey::new(vec![certified.cert[*at].clone()], certified.key.clone());
        alone.keys_match().is_ok()
    };
    if let Some(at) = (1..certified.cert.len()).find(is_its) {
        // Writing to a String does not fail.
        let _ = write!(text, ", but of certificate {} in that file: the server's own certificate must be the first", at + 1);
    }
    text
}

fn days(seconds: u64, when: &str) -> String {
    match seconds / 86_400 {
        0 => format!("{} hours {when}", seconds / 3600),
        days => format!("{days} days {when}"),
    }
}
