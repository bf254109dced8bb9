//! Certificates and keys in files, in PEM (RFC 7468).

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The largest file that is read: no chain and no list of roots is that long.
const MAX_BYTES: u64 = 16 << 20;

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let refused = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let meta = fs::metadata(path).map_err(refused)?;
    if meta.is_dir() || meta.len() > MAX_BYTES {
        return Err(format!("{} is not a file in PEM", path.display()));
    }
    fs::read(path).map_err(refused)
}

/// All certificates of a file, in order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| format!("{} is damaged: {}", path.display(), explain(&error)))?;
    if found.is_empty() {
        let held = if has(&text, b"PRIVATE KEY-----") { ": it has a private key, is it the file for key?" } else { "" };
        return Err(format!("{} has no certificate in PEM in it (-----BEGIN CERTIFICATE-----){held}", path.display()));
    }
    Ok(found)
}

/// The private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if has(&text, b"ENCRYPTED") => {
            format!("{} is encrypted; openssl pkey -in {0} -out FILE writes it without a passphrase", path.display())
        }
        pem::Error::NoItemsFound => format!("{} has no private key in PEM in it (-----BEGIN PRIVATE KEY-----)", path.display()),
        error => format!("{} is damaged: {}", path.display(), explain(&error)),
    })
}

/// Whether everybody on this machine may read the file.
pub(super) fn is_readable_by_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

fn has(text: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(text, word).is_some()
}

/// Nothing of the content is shown: it may be a key.
fn explain(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end (-----END …-----)",
        pem::Error::IllegalSectionStart { .. } => "a section begins in a wrong way",
        pem::Error::Base64Decode(_) => "what is between BEGIN and END is not Base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it is not PEM",
    }
}
