//! Validation of subscribers' addresses.

/// Maximum length of an e-mail address in bytes (RFC 5321 §4.5.3.1.3).
const MAX_EMAIL_LEN: usize = 254;
/// Maximum length of the part before the `@` in bytes (RFC 5321 §4.5.3.1.1).
const MAX_LOCAL_LEN: usize = 64;
/// Maximum length of a webhook URL in bytes.
const MAX_URL_LEN: usize = 500;

/// Top-level domains that never have a mail server (RFC 2606, RFC 6762).
const NO_MAIL: [&str; 6] = ["invalid", "local", "localhost", "test", "example", "onion"];

/// Returns the normalized e-mail address, if it can be one of the Internet: a domain with a
/// top-level domain, no address literal.
#[must_use]
pub(super) fn email(address: &str) -> Option<String> {
    let parsed: lettre::Address = address.parse().ok()?;
    let (local, domain) = (parsed.user(), parsed.domain().to_ascii_lowercase());
    let (hosts, top) = domain.rsplit_once('.')?;
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_top = top.len() >= 2 && !NO_MAIL.contains(&top);
    let is_top = is_top && (top.starts_with("xn--") || top.bytes().all(|b| b.is_ascii_lowercase()));
    let fits = address.is_ascii() && address.len() <= MAX_EMAIL_LEN && local.len() <= MAX_LOCAL_LEN;
    (fits && is_top && hosts.split('.').all(is_label) && is_label(top))
        .then(|| format!("{local}@{domain}"))
}

/// Whether a text is a URL for a webhook. `http` is for private networks only.
#[must_use]
pub(super) fn is_webhook(url: &str, allow_http: bool) -> bool {
    let Ok(uri) = url.parse::<ureq::http::Uri>() else { return false };
    let is_scheme_ok = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => allow_http,
        _ => false,
    };
    let has_credentials = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
    url.len() <= MAX_URL_LEN && is_scheme_ok && !has_credentials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_mail_can_reach_is_accepted() {
        for (typed, expected) in [
            ("anna@example.com", Some("anna@example.com")),
            ("Anna.M+x@Mail.Example.CO.UK", Some("Anna.M+x@mail.example.co.uk")),
            ("anna@xn--mller-kva.example.com", Some("anna@xn--mller-kva.example.com")),
            ("anna@example.xn--p1ai", Some("anna@example.xn--p1ai")),
            ("anna@example", None),
            ("anna@localhost", None),
            ("anna@printer.local", None),
            ("anna@example.test", None),
            ("anna@127.0.0.1", None),
            ("anna@[127.0.0.1]", None),
            ("anna@-example.com", None),
            ("anna@example..com", None),
            ("anna@example.c", None),
            ("anna@example.com.", None),
            ("anna", None),
            ("@example.com", None),
            ("a@b@example.com", None),
            ("anna@exa mple.com", None),
            ("anna\r\nBcc: x@example.com", None),
        ] {
            assert_eq!(email(typed).as_deref(), expected, "{typed}");
        }
        assert_eq!(email(&format!("{}@example.com", "a".repeat(65))), None);
    }
}
