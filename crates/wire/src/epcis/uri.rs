//! URI segments and validation (RFC 3986).

use std::fmt::Write as _;

/// Percent-encodes `text` as one path segment, except unreserved characters and `:` (§2.1, §3.3).
#[must_use]
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) || byte == b':' {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    encoded
}

/// Returns whether `text` is an absolute URI, with or without fragment. Literal IP addresses and
/// user names are rejected, because no identifier of a fleet uses them.
#[must_use]
pub fn is_uri(text: &str) -> bool {
    let Some(UriParts { authority, path, fragment }) = split_uri(text) else { return false };
    let authority_ok = match authority {
        None => !path.is_empty(),
        Some(authority) => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
            is_host(host) && port.bytes().all(|c| c.is_ascii_digit())
        }
    };
    authority_ok && is_uri_encoded(path, b":/?@") && is_uri_encoded(fragment, b":/?@")
}

/// Parts of an absolute URI (§3), as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UriParts<'a> {
    /// `user@host:port`; `None` without `//`.
    pub authority: Option<&'a str>,
    /// Path and query.
    pub path: &'a str,
    /// Fragment without its `#`; empty if there is none.
    pub fragment: &'a str,
}

/// Splits an absolute URI without validating its parts. Returns `None` without a valid scheme
/// (§3.1).
#[must_use]
pub fn split_uri(text: &str) -> Option<UriParts<'_>> {
    let (scheme, rest) = text.split_once(':')?;
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (authority, path) = match rest.strip_prefix("//") {
        None => (None, rest),
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority), path)
        }
    };
    scheme_ok.then_some(UriParts { authority, path, fragment })
}

/// Returns whether `text` is a host name: labels of letters, digits and inner hyphens (RFC 1123
/// §2.1).
pub(super) fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Returns whether `text` has only unreserved characters, sub-delimiters, characters of `more`, and
/// octets with `%` (§2).
#[must_use]
pub fn is_uri_encoded(text: &str, more: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let ok = match byte {
            b'%' => {
                let hex = |digit: Option<u8>| digit.is_some_and(|c| c.is_ascii_hexdigit());
                hex(bytes.next()) && hex(bytes.next())
            }
            other => {
                is_unreserved(other) || b"!$&'()*+,;=".contains(&other) || more.contains(&other)
            }
        };
        if !ok {
            return false;
        }
    }
    true
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_id_is_it_makes_one_segment() {
        for (id, expected) in [
            ("stop-17", "stop-17"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("Zoë 5%", "Zo%C3%AB%205%25"),
            ("VAN:042", "VAN:042"),
            ("", ""),
        ] {
            assert_eq!(segment(id), expected, "{id:?}");
            assert!(is_uri(&format!("https://id.example.com/loc/{}", segment(id))), "{id:?}");
        }
    }

    #[test]
    fn only_absolute_uris_are_uris() {
        for good in [
            "https://id.gs1.org/00/395212340000000014",
            "http://localhost:8080/a?b=c#d",
            "urn:epc:id:sscc:952123.0000000001",
            "geo:48.13792,11.57550;u=5",
        ] {
            assert!(is_uri(good), "{good}");
        }
        for bad in [
            "",
            "1Z999AA10123456784",
            "https:",
            "https://",
            "https://a b/",
            "https://a:port/",
            "https://a/%4",
            "https://a/#b#c",
            "https://a/ö",
            "1https://a/",
            "/loc/stop-17",
        ] {
            assert!(!is_uri(bad), "{bad}");
        }
    }
}
