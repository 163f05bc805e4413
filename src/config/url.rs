//! URLs that are dialled: https, or loopback, or allowed by name; and what people write where a URL should be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use super::problem::Problem;

/// Reads an `http://` or `https://` URL without user, query and fragment.
pub(super) fn parse(text: &str) -> Result<Uri, Problem> {
    // A password may stand in it, so the URL itself is not quoted before that is ruled out.
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Problem::new("is not a URL: it has no scheme").fix(if is_plain_host(text) {
            let host = text.split(['/', ':']).next().unwrap_or_default();
            let scheme = if is_loopback(host) { "http" } else { "https" };
            format!("write \"{scheme}://{text}\"")
        } else {
            "write \"https://HOST\"".into()
        }));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Problem::new("must not hold a user or a password").fix("remove what stands before the @"));
    }
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        let secure = matches!(scheme.as_str(), "wss" | "grpcs" | "h2");
        let near = if secure { "https" } else { "http" };
        return Err(match scheme.as_str() {
            "ws" | "wss" | "grpc" | "grpcs" | "h2" | "h2c" => {
                Problem::new(format!("cannot have the scheme {scheme}://"))
                    .fix(format!("write \"{near}://{rest}\"; WebSocket and gRPC pass through it"))
            }
            _ => Problem::new(format!("cannot have the scheme {scheme}://")).fix("write \"https://HOST\""),
        });
    }
    for (sign, what) in [('?', "a query"), ('#', "a fragment")] {
        if rest.contains(sign) {
            return Err(Problem::new(format!("must not have {what}")).fix(format!("remove what follows the {sign}")));
        }
    }
    let wrong = |reason: &str| Problem::new(format!("is not a URL: {reason}")).fix("write \"https://HOST\"");
    if authority.is_empty() || authority.starts_with(':') {
        return Err(wrong("it names no host"));
    }
    if !authority.is_ascii() {
        return Err(
            Problem::new("is not a URL: its host is not in ASCII").fix("write the host by its name in DNS: xn--…")
        );
    }
    if !rest.is_ascii() {
        return Err(
            Problem::new("is not a URL: it is not in ASCII").fix(format!("write \"{scheme}://{}\"", encoded(rest)))
        );
    }
    let uri: Uri =
        format!("{scheme}://{rest}").parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
    let host = uri.host().unwrap_or_default();
    if authority.len() > host.len() && uri.port_u16().is_none_or(|port| port == 0) {
        return Err(wrong("its port is no number from 1 to 65535"));
    }
    Ok(uri)
}

/// `text` with what is not ASCII percent-encoded (RFC 3986 §2.5).
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Whether a URL may be dialled: not in plain text beyond this machine, unless `allowed`.
pub(super) fn is_safe(uri: &Uri, allowed: bool) -> bool {
    allowed || uri.scheme_str() == Some("https") || uri.host().is_some_and(is_loopback)
}

/// Whether a host, with or without brackets, is this machine by name or by address.
pub(super) fn is_loopback(host: &str) -> bool {
    match address(host) {
        Some(address) => address.to_canonical().is_loopback(),
        None => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

/// The IP address that a host is, if it is one.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().map(IpAddr::V4).ok().or_else(|| host.parse::<Ipv6Addr>().ok().map(IpAddr::V6)),
    }
}

/// Whether `text` is a host name or an address, perhaps with a port and a path, as one forgets the scheme of.
fn is_plain_host(text: &str) -> bool {
    text.split('/').next().is_some_and(|host| {
        // `https:/a` has a scheme, and lacks a slash.
        !host.is_empty()
            && !host.ends_with(':')
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']'))
    })
}

/// Whether `text` can be a DNS name (RFC 1123 §2.1, with `_` as some zones have it).
pub(super) fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_url_is_read() {
        for text in [
            "https://abc.execute-api.eu-west-1.amazonaws.com/prod",
            "http://127.0.0.1:9229",
            "HTTPS://api.example/",
            "http://[::1]:3000/x",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_none_says_what_would_be() {
        for (text, fix) in [
            ("api.example/prod", r#"write "https://api.example/prod""#),
            ("localhost:3000", r#"write "http://localhost:3000""#),
            ("wss://api.example", r#"write "https://api.example"; WebSocket and gRPC pass through it"#),
            ("https://me:pw@api.example", "remove what stands before the @"),
            ("https://api.example/?a=b", "remove what follows the ?"),
            ("https://api.example/#x", "remove what follows the #"),
            ("https:/api.example", r#"write "https://HOST""#),
            ("unix:/run/api.sock", r#"write "https://HOST""#),
            ("https://api.example/\u{e9}", r#"write "https://api.example/%C3%A9""#),
            ("https://b\u{fc}cher.example/", "write the host by its name in DNS: xn--…"),
            ("ftp://api.example", r#"write "https://HOST""#),
            ("https:///x", r#"write "https://HOST""#),
            ("https://api.example:99999", r#"write "https://HOST""#),
            ("https://api.example:0", r#"write "https://HOST""#),
            ("https://api.example:/x", r#"write "https://HOST""#),
            ("https://a b", r#"write "https://HOST""#),
            ("", r#"write "https://HOST""#),
        ] {
            let problem = parse(text).expect_err(text);
            assert_eq!(problem.fix.as_deref(), Some(fix), "{text}");
            assert!(!problem.message.contains("pw"), "{text}");
        }
    }

    #[test]
    fn plain_text_stays_on_this_machine() {
        for (text, safe) in [
            ("http://localhost:1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost.evil.example", false),
            ("http://10.0.0.1", false),
            ("https://10.0.0.1", true),
        ] {
            assert_eq!(is_safe(&parse(text).expect(text), false), safe, "{text}");
        }
    }
}
