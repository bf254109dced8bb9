//! Rules for single texts in the configuration, to which `config::keys` refers. Every error says what would be right.

use super::address;
use super::model::HealthCheck;
use super::tree::ShownText;

pub fn not_empty(text: &str) -> Result<(), String> {
    match text {
        "" => Err("must not be empty".into()),
        _ if text.chars().any(char::is_control) => Err(format!("\"{}\" has a control character in it", ShownText(text))),
        _ => Ok(()),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub fn token(text: &str) -> Result<(), String> {
    if is_token(text) { Ok(()) } else { Err(format!("\"{}\" is no header name", ShownText(text))) }
}

pub fn cookie_name(text: &str) -> Result<(), String> {
    if is_token(text) { Ok(()) } else { Err(format!("\"{}\" is no name for a cookie", ShownText(text))) }
}

/// The message does not show it.
pub fn secret(text: &str) -> Result<(), String> {
    match text.chars().count() {
        0..32 => Err("is too short for a secret, which has 32 characters or more: openssl rand -hex 32 makes one".into()),
        _ => Ok(()),
    }
}

pub fn field_value(text: &str) -> Result<(), String> {
    let bad = text.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f);
    if bad { Err(format!("\"{}\" has a control character in it", ShownText(text))) } else { Ok(()) }
}

pub fn mode(text: &str) -> Result<(), String> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if is_octal { Ok(()) } else { Err(format!("\"{}\" is no mode, write it like \"0660\"", ShownText(text))) }
}

pub fn url_path(text: &str) -> Result<(), String> {
    if text.starts_with('/') && text.contains(['?', '#']) {
        return Err(format!("\"{}\": a path has no query or fragment", ShownText(text)));
    }
    target(text)?;
    match address::normal_path(text) {
        Some(_) => Ok(()),
        None => Err(format!("\"{}\" climbs above its root: no request has such a path", ShownText(text))),
    }
}

pub fn target(text: &str) -> Result<(), String> {
    let shown = ShownText(text);
    match text {
        _ if !text.starts_with('/') => Err(format!("\"{shown}\" must begin with /, write \"/{shown}\"")),
        _ if text.contains('#') => Err(format!("\"{shown}\": a fragment is never sent")),
        _ if text.bytes().any(|b| b <= b' ' || b == 0x7f) => Err(format!("\"{shown}\" has a space or control in it, write %20")),
        _ => Ok(()),
    }
}

pub fn method(text: &str) -> Result<(), String> {
    let upper = text.to_ascii_uppercase();
    let usual = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"].contains(&upper.as_str());
    match text {
        _ if usual && upper != text => Err(format!("\"{text}\": methods are case-sensitive, did you mean {upper}?")),
        _ if !is_token(text) => Err(format!("\"{}\" is no method", ShownText(text))),
        _ => Ok(()),
    }
}

/// The method of a health check.
pub fn check_method(text: &str) -> Result<(), String> {
    method(text)?;
    match text {
        "CONNECT" => Err("\"CONNECT\" asks for a tunnel, write GET".into()),
        "TRACE" => Err("\"TRACE\" makes the upstream send back what it received, write GET".into()),
        _ => Ok(()),
    }
}

/// A field of a health check: none that frames the request, or that is about the connection, because tidegate writes these itself.
pub fn check_field(text: &str) -> Result<(), String> {
    token(text)?;
    let shown = ShownText(text);
    match text.to_ascii_lowercase().as_str() {
        "host" => Err(format!("\"{shown}\" has a key of its own, write health_check.host")),
        "content-length" | "transfer-encoding" | "trailer" | "expect" => {
            Err(format!("\"{shown}\" is about content, and a check sends none: remove it"))
        }
        "connection" | "keep-alive" | "proxy-connection" | "te" | "upgrade" | "http2-settings" => {
            Err(format!("\"{shown}\" is about the connection, which is closed after each check: remove it"))
        }
        _ => Ok(()),
    }
}

/// A text that a body must contain.
pub fn expected_body(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("is in every body, write null to look for nothing".into()),
        length if length > HealthCheck::SEARCHED => {
            Err(format!("has {length} bytes, and only the first {} of a body are searched", HealthCheck::SEARCHED))
        }
        _ => Ok(()),
    }
}

pub fn host_pattern(text: &str) -> Result<(), String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        return Err(format!("\"{}\": only a leading \"*.\" is a wildcard", ShownText(text)));
    }
    if let Some((host, _)) = name.rsplit_once(':').filter(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok()) {
        return Err(format!("\"{}\": the port goes into match.port, write \"{}\"", ShownText(text), ShownText(host)));
    }
    if name.len() < text.len() && name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
        return Err(format!("\"{}\": there are no names under an address, write \"{}\"", ShownText(text), ShownText(name)));
    }
    address::host(name)
}
