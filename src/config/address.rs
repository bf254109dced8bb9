//! Addresses, URLs and other values with a grammar. Every error says what would be right. Only [`resolve`] looks up names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::model::{Origin, SRV};
use super::tree::ShownText;
use crate::base::uri;

/// The longest path that the kernel takes as the address of a Unix socket (bytes).
const MAX_UNIX_PATH: usize = 107;

/// `host:port` or `unix:/path` to listen on.
pub fn listener(text: &str) -> Result<(), String> {
    if is_unix(text) { unix_path(text).map(drop) } else { listen(text).map(drop) }
}

/// Whether it is meant as the address of a Unix socket.
pub fn is_unix(text: &str) -> bool {
    text.starts_with("unix:")
}

/// The path of `unix:/path`.
pub fn unix_path(text: &str) -> Result<&Path, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    let shown = ShownText(text);
    // `unix:///run/a.sock` is how others write it.
    let path = if let Some(rest) = path.strip_prefix("//") { rest } else { path };
    if !path.starts_with('/') || path.ends_with('/') {
        Err(format!("\"{shown}\": a Unix socket is given by the whole path of its file, write it like \"unix:/run/app.sock\""))
    } else if path.len() > MAX_UNIX_PATH {
        Err(format!("\"{shown}\": the path of a Unix socket has at most {MAX_UNIX_PATH} bytes, this one has {}", path.len()))
    } else if path.contains('\0') {
        Err(format!("\"{shown}\": no path has a zero byte in it"))
    } else {
        Ok(Path::new(path))
    }
}

/// `host:port` to listen on. `:8080` and `*:8080` mean every IPv4 interface, as in nginx and HAProxy.
pub fn listen(text: &str) -> Result<(String, u16), String> {
    if let Ok(port) = text.parse::<u16>() {
        return Err(format!("\"{port}\" is a port alone, write \"0.0.0.0:{port}\" (every interface) or \"127.0.0.1:{port}\""));
    }
    if is_unix(text) {
        return Err(format!("\"{}\": only listen can be a Unix socket, write host:port", ShownText(text)));
    }
    if text.contains("://") {
        return Err(format!("\"{}\" is a URL, a listener is written host:port", ShownText(text)));
    }
    let (host, port) = split(text)?;
    Ok((if host.is_empty() || host == "*" { "0.0.0.0".into() } else { checked_host(host)? }, port))
}

/// `host:port` of an upstream: both are required, and the port must not be 0.
pub fn host_port(text: &str) -> Result<(String, u16), String> {
    if let Ok(port) = text.parse::<u16>() {
        return Err(format!("\"{port}\" is a port alone, write \"127.0.0.1:{port}\""));
    }
    let (host, port) = split(text)?;
    if host.is_empty() || host == "*" {
        return Err(format!("\"{}\" has no host, write \"127.0.0.1:{port}\"", ShownText(text)));
    }
    if port == 0 {
        return Err(format!("\"{}\": port 0 cannot be connected to, allowed: 1 to 65535", ShownText(text)));
    }
    Ok((checked_host(host)?, port))
}

/// `http://host[:port]` or `https://…`, with nothing after it; `unix:/path`; or `srv:name`.
pub fn url(text: &str) -> Result<Origin, String> {
    let shown = ShownText(text);
    if is_unix(text) {
        return unix_path(text).map(|path| Origin::Unix(path.into()));
    }
    if text.starts_with(SRV) {
        return srv_name(text).map(|name| Origin::Srv(format!("{SRV}{name}")));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("\"{shown}\" is no URL, write \"http://{shown}\""));
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(format!("\"{shown}\": unknown scheme \"{}\", allowed: http, https", ShownText(scheme))),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if !matches!(tail, "" | "/") {
        return Err(format!("\"{shown}\": an upstream has no path, write \"{scheme}://{authority}\""));
    }
    if authority.contains('@') {
        return Err(format!("\"{shown}\": a user or password in an upstream's URL is not supported"));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let whole = match (has_port, tls) {
        (true, _) => authority.to_owned(),
        (false, false) => format!("{authority}:80"),
        (false, true) => format!("{authority}:443"),
    };
    let (host, port) = host_port(&whole)?;
    Ok(Origin::Tcp { host, port, tls })
}

/// The name of `srv:name`, without a dot at its end.
fn srv_name(text: &str) -> Result<&str, String> {
    let shown = ShownText(text);
    let name = text.strip_prefix(SRV).unwrap_or(text);
    let example = "write it like \"srv:_http._tcp.web.internal\"";
    if name.contains('/') {
        return Err(format!("\"{shown}\": SRV records are given by their name alone, {example}"));
    }
    if name.contains(':') {
        return Err(format!("\"{shown}\": SRV records say the ports themselves, {example}"));
    }
    if name.parse::<IpAddr>().is_ok() || checked_host(name).is_err() {
        return Err(format!("\"{shown}\" names no SRV records, {example}"));
    }
    Ok(name.strip_suffix('.').unwrap_or(name))
}

/// A host without a port, as the value of a key of its own.
pub fn host(text: &str) -> Result<(), String> {
    if text.contains("://") {
        return Err(format!("\"{}\" is a URL, write url: \"{}\"", ShownText(text), ShownText(text)));
    }
    if let Some((name, port)) = text.rsplit_once(':').filter(|(name, _)| !name.contains(':')) {
        return Err(format!("\"{}\" has a port in it, write host: \"{}\" and port: {}", ShownText(text), ShownText(name), ShownText(port)));
    }
    checked_host(text).map(|_| ())
}

/// What stands in a `Host` field: a host, and a port where it is not the usual one.
pub fn authority(text: &str) -> Result<(), String> {
    let shown = ShownText(text);
    if text.contains("://") {
        return Err(format!("\"{shown}\" is a URL, write its host alone"));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("\"{shown}\": an IPv6 address stands in brackets, write \"[{shown}]\""));
    }
    let has_port = text.contains(':') && !text.ends_with(']');
    if has_port { host_port(text).map(drop) } else { checked_host(text).map(drop) }
}

/// `10.0.0.0/8`, or a single address; or `unix`, which is everybody who comes through a Unix socket.
pub fn peers(text: &str) -> Result<(), String> {
    if text == "unix" {
        return Ok(());
    }
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return Err(format!("\"{}\" is no address, write it like 10.0.0.0/8 or ::1, or unix", ShownText(text))),
    };
    match bits.map(|bits| (bits, bits.parse::<u8>())) {
        Some((bits, Ok(n))) if n <= most && bits.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        Some(_) => Err(format!("\"{}\": the prefix length goes from 0 to {most}", ShownText(text))),
        None => Ok(()),
    }
}

/// Joins host and port; IPv6 gets brackets.
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A path in the normal form that requests are compared in; `None` if it climbs above its root, as no request does.
pub fn normal_path(path: &str) -> Option<String> {
    let mut normal = Vec::new();
    uri::push_path(path.as_bytes(), &mut normal).then(|| String::from_utf8_lossy(&normal).into_owned())
}

/// A host, or `*.` and a name, in the normal form that requests are compared in.
pub fn normal_pattern(host: &str) -> String {
    let (wildcard, name) = host.strip_prefix("*.").map_or(("", host), |name| ("*.", name));
    let mut normal = Vec::from(wildcard);
    uri::push_host(name.as_bytes(), &mut normal);
    String::from_utf8_lossy(&normal).into_owned()
}

/// The address to bind. IPv4 is preferred, because most people expect `localhost` to be 127.0.0.1.
pub fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| format!("\"{}\" cannot be resolved ({error})", ShownText(host)))?;
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("\"{}\" has no address", ShownText(host)))
}

fn split(text: &str) -> Result<(&str, u16), String> {
    let shown = ShownText(text);
    if text.contains(',') {
        return Err(format!("\"{shown}\" is more than one address, write each as an item of a list"));
    }
    if text.is_empty() {
        return Err("must not be empty, write it like \"127.0.0.1:8080\"".into());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some(parts) if !text.ends_with(']') => parts,
        _ => return Err(format!("\"{shown}\" has no port, write \"{shown}:8080\"")),
    };
    if host.contains(':') && !host.starts_with('[') {
        let meant = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("[{text}]:8080") };
        return Err(format!("\"{shown}\": an IPv6 address stands in brackets, write \"{}\"", ShownText(&meant)));
    }
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("\"{shown}\": \"{}\" is no port, allowed: 0 to 65535", ShownText(port)));
    }
    let port = port.parse().map_err(|_| format!("\"{shown}\": port {} is out of range, allowed: 0 to 65535", ShownText(port)))?;
    Ok((host, port))
}

/// A name, or an address without its brackets.
fn checked_host(host: &str) -> Result<String, String> {
    let shown = ShownText(host);
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return inner.map(|v6| v6.to_string()).ok_or_else(|| format!("\"{shown}\" is no IPv6 address in brackets"));
    }
    if let Ok(v6) = host.parse::<Ipv6Addr>() {
        return Ok(v6.to_string());
    }
    let looks_like_v4 = !host.is_empty() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if looks_like_v4 && host.parse::<IpAddr>().is_err() {
        return Err(format!("\"{shown}\" is no IPv4 address"));
    }
    let fits = (1..=253).contains(&host.len()) && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let labels = host.strip_suffix('.').unwrap_or(host).split('.').all(|label| (1..=63).contains(&label.len()));
    if fits && labels { Ok(host.to_owned()) } else { Err(format!("\"{shown}\" is no host name or address")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_read_as_nginx_and_haproxy_users_write_them() {
        for (text, host, port) in [
            ("127.0.0.1:8080", "127.0.0.1", 8080),
            (":80", "0.0.0.0", 80),
            ("*:80", "0.0.0.0", 80),
            ("[::1]:0", "::1", 0),
            ("[::]:443", "::", 443),
            ("localhost:8080", "localhost", 8080),
        ] {
            assert_eq!(listen(text), Ok((host.into(), port)), "{text}");
        }
    }

    #[test]
    fn unix_sockets_by_their_whole_path() {
        assert_eq!(unix_path("unix:/run/a.sock"), Ok(Path::new("/run/a.sock")));
        assert_eq!(unix_path("unix:///run/a.sock"), Ok(Path::new("/run/a.sock")));
        assert!(!is_unix("127.0.0.1:80"));
        let long = format!("unix:/{}", "x".repeat(MAX_UNIX_PATH));
        for bad in ["unix:", "unix:a.sock", "unix:@abstract", "unix:/run/", "unix://run", "unix:/a\0b", &long] {
            assert!(is_unix(bad) && unix_path(bad).is_err() && listener(bad).is_err() && url(bad).is_err(), "{bad}");
        }
        assert_eq!(url("unix:/a b"), Ok(Origin::Unix(Path::new("/a b").into())));
    }

    #[test]
    fn a_refusal_says_what_would_be_right() {
        for (text, wanted) in [
            ("8080", "\"8080\" is a port alone, write \"0.0.0.0:8080\" (every interface) or \"127.0.0.1:8080\""),
            ("localhost", "\"localhost\" has no port, write \"localhost:8080\""),
            ("::1", "\"::1\": an IPv6 address stands in brackets, write \"[::1]:8080\""),
            ("::1:80", "\"::1:80\": an IPv6 address stands in brackets, write \"[::1]:80\""),
            ("[::1]", "\"[::1]\" has no port, write \"[::1]:8080\""),
            ("1.2.3.4:65536", "\"1.2.3.4:65536\": port 65536 is out of range, allowed: 0 to 65535"),
            ("1.2.3.4:+80", "\"1.2.3.4:+80\": \"+80\" is no port, allowed: 0 to 65535"),
            ("1.2.3:80", "\"1.2.3\" is no IPv4 address"),
            ("a b:80", "\"a b\" is no host name or address"),
            ("http://a:80", "\"http://a:80\" is a URL, a listener is written host:port"),
            ("[::1:80", "\"[::1\" is no IPv6 address in brackets"),
        ] {
            assert_eq!(listen(text), Err(wanted.into()), "{text}");
        }
    }

    #[test]
    fn upstream_urls() {
        let origin = |host: &str, port, tls| Ok(Origin::Tcp { host: host.into(), port, tls });
        assert_eq!(url("http://localhost:3000"), origin("localhost", 3000, false));
        assert_eq!(url("HTTP://a/"), origin("a", 80, false));
        assert_eq!(url("https://b.example"), origin("b.example", 443, true));
        assert_eq!(url("http://[::1]"), origin("::1", 80, false));
        assert_eq!(url("http://[::1]:81"), origin("::1", 81, false));
        for (text, wanted) in [
            ("http://a/b", "\"http://a/b\": an upstream has no path, write \"http://a\""),
            ("http://a?x", "\"http://a?x\": an upstream has no path, write \"http://a\""),
            ("ftp://a", "\"ftp://a\": unknown scheme \"ftp\", allowed: http, https"),
            ("a:80", "\"a:80\" is no URL, write \"http://a:80\""),
            ("http://u:p@a", "\"http://u:p@a\": a user or password in an upstream's URL is not supported"),
            ("http://", "\":80\" has no host, write \"127.0.0.1:80\""),
            ("http://a:0", "\"a:0\": port 0 cannot be connected to, allowed: 1 to 65535"),
        ] {
            assert_eq!(url(text), Err(wanted.into()), "{text}");
        }
    }

    #[test]
    fn names_of_srv_records() {
        assert_eq!(url("srv:_http._tcp.web.internal."), Ok(Origin::Srv("srv:_http._tcp.web.internal".into())));
        let example = "write it like \"srv:_http._tcp.web.internal\"";
        for (text, wanted) in [
            ("srv:_a._tcp.b:80", "\"srv:_a._tcp.b:80\": SRV records say the ports themselves"),
            ("srv://_a._tcp.b", "\"srv://_a._tcp.b\": SRV records are given by their name alone"),
            ("srv:", "\"srv:\" names no SRV records"),
            ("srv:10.0.0.1", "\"srv:10.0.0.1\" names no SRV records"),
            ("srv:a..b", "\"srv:a..b\" names no SRV records"),
        ] {
            assert_eq!(url(text), Err(format!("{wanted}, {example}")), "{text}");
        }
    }

    #[test]
    fn peers_by_their_networks() {
        for good in ["unix", "10.0.0.0/8", "::1", "fd00::/8", "1.2.3.4", "0.0.0.0/0"] {
            assert_eq!(peers(good), Ok(()), "{good}");
        }
        for bad in ["10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "x", "::/129", "1.2.3.4/+8", ""] {
            assert!(peers(bad).is_err(), "{bad}");
        }
    }
}
