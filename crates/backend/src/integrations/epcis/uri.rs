//! URIs of events of other parties (RFC 3986): everything that the format `uri` of JSON Schema
//! permits, unlike [`waypost_wire::epcis::is_uri`], which checks the identifiers of a fleet.

use waypost_wire::epcis::{UriParts, is_uri_encoded, split_uri};

/// Returns whether `text` is an absolute URI, with or without fragment (RFC 3986 §3).
pub(super) fn is_uri(text: &str) -> bool {
    let Some(UriParts { authority, path, fragment }) = split_uri(text) else { return false };
    authority.is_none_or(is_authority)
        && is_uri_encoded(path, b":/?@")
        && is_uri_encoded(fragment, b":/?@")
}

/// Returns whether `text` is a blank node identifier (JSON-LD 1.1 §3.5), as in `_:document1`.
pub(super) fn is_blank_node(text: &str) -> bool {
    let label = text.strip_prefix("_:").unwrap_or_default();
    label.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        && !label.ends_with('.')
        && label.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
}

/// Returns whether `text` is `user@host:port`, with a host that may be empty, as in `ni:///sha-256`
/// (§3.2).
fn is_authority(text: &str) -> bool {
    let (user, rest) = text.rsplit_once('@').unwrap_or(("", text));
    let is_port = |port: &str| port.bytes().all(|c| c.is_ascii_digit());
    let host_ok = match rest.strip_prefix('[') {
        Some(literal) => literal.split_once(']').is_some_and(|(address, port)| {
            address.parse::<std::net::Ipv6Addr>().is_ok()
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        }),
        None => {
            let (host, port) = rest.split_once(':').unwrap_or((rest, ""));
            is_uri_encoded(host, b"") && is_port(port)
        }
    };
    host_ok && is_uri_encoded(user, b":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_those_of_rfc_3986() {
        for uri in [
            "urn:epc:id:sgtin:0614141.107346.2017",
            "https://id.gs1.org/01/09506000134352/21/a%2Fb",
            "http://user:pass@exa_mple.com:8080/a?b=c#d",
            "http://[2001:db8::7]:80/",
            "ni:///sha-256;36ef?ver=CBV2.0",
            "geo:48.1,11.5;u=5",
            "ext:member",
        ] {
            assert!(is_uri(uri), "{uri}");
        }
        for text in [
            "",
            "7",
            "9:a",
            "_:b",
            "https://exa mple.com",
            "urn:a%zz",
            "http://[::x]/",
            "http://a:b/",
            "urn:ä",
            "a/b:c",
            "urn:{a}",
        ] {
            assert!(!is_uri(text), "{text}");
        }
        for (text, ok) in [("_:document1", true), ("_:", false), ("_:a b", false), ("_:a.", false)]
        {
            assert_eq!(is_blank_node(text), ok, "{text}");
        }
    }
}
