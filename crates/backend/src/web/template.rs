//! Renders page templates with texts and values, and sets the Content-Security-Policy.
//!
//! In a template, `{{key}}` is a text and `{{$name}}` a value. Both are escaped, except values that
//! this file generates.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::assets;
use super::i18n::Locale;
use crate::AppState;
use crate::config::PagesConfig;

const HEAD: &str = include_str!("files/head.html");
const LOGO: &str = include_str!("files/mark.svg");

#[derive(Clone, Copy, Debug)]
pub(super) struct PageTemplate {
    pub(super) template: &'static str,
}

impl PageTemplate {
    pub(super) const START: Self = Self { template: include_str!("files/start.html") };
    pub(super) const TRACK: Self = Self { template: include_str!("files/track.html") };
    pub(super) const UNSUBSCRIBE: Self = Self { template: include_str!("files/messages.html") };
    pub(super) const CONFIRM: Self = Self { template: include_str!("files/confirm.html") };
    pub(super) const ERROR: Self = Self { template: include_str!("files/error.html") };
    pub(super) const DISPATCH: Self = Self { template: include_str!("files/desk.html") };

    /// Renders the page in a language, with `values` for its `{{$name}}`.
    pub(super) fn respond(
        self,
        shared: &AppState,
        locale: &Locale,
        status: StatusCode,
        values: &[(&str, &str)],
    ) -> Response {
        let pages = &shared.config.pages;
        let body = self.render(pages, locale, values);
        let mut response = (status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_LANGUAGE, locale.language()),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "accept-language"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (HeaderName::from_static("x-robots-tag"), "noindex"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (
                HeaderName::from_static("permissions-policy"),
                "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, content_security_policy(pages));
        response
    }

    fn render(self, pages: &PagesConfig, locale: &Locale, values: &[(&str, &str)]) -> String {
        let assets = format!("/assets/{}", assets::version());
        let mut page = String::with_capacity(16 * 1024);
        render_into(self.template, &mut page, &mut |key, page| match key {
            "$head" => render_into(HEAD, page, &mut |key, page| {
                page.push_str(&value(key, &assets, pages, locale, values));
            }),
            _ => page.push_str(&value(key, &assets, pages, locale, values)),
        });
        page
    }
}

fn render_into(template: &str, page: &mut String, say: &mut dyn FnMut(&str, &mut String)) {
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((key, behind)) = behind.split_once("}}") else { break };
        say(key, page);
        rest = behind;
    }
    page.push_str(rest);
}

fn value(
    key: &str,
    assets: &str,
    pages: &PagesConfig,
    locale: &Locale,
    values: &[(&str, &str)],
) -> String {
    let Some(name) = key.strip_prefix('$') else { return escape_html(locale.text(key)) };
    match name {
        "assets" => assets.to_owned(),
        "language" => locale.language().to_owned(),
        "direction" => locale.direction.to_owned(),
        "mark" => LOGO.trim_end().to_owned(),
        "operator" => pages.operator.as_deref().map_or_else(String::new, escape_html),
        "languages" => language_links(locale),
        _ => {
            let value = values.iter().find(|(known, _)| *known == name);
            value.map_or_else(String::new, |(_, value)| escape_html(value))
        }
    }
}

/// Links to the page in the other languages.
fn language_links(locale: &Locale) -> String {
    Locale::languages()
        .filter(|(language, _)| *language != locale.language())
        .map(|(language, name)| {
            format!("<a href=\"?lang={language}\" hreflang=\"{language}\" lang=\"{language}\">{name}</a>")
        })
        .collect()
}

/// Escapes a text for HTML, including quoted attributes.
pub(super) fn escape_html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            char => html.push(char),
        }
    }
    html
}

/// Content-Security-Policy: own files, and the tiles of the operator.
fn content_security_policy(pages: &PagesConfig) -> HeaderValue {
    let tiles =
        pages.tile_url.as_deref().and_then(origin).map_or_else(String::new, |at| format!(" {at}"));
    let content_security_policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:{tiles}; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&content_security_policy).expect("an origin has visible characters only")
}

/// Returns the origin of a URL template, such as `https://tile.example.com`.
fn origin(template: &str) -> Option<&str> {
    let (scheme, rest) = template.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let plain = |char: char| char.is_ascii_alphanumeric() || "-.:[]".contains(char);
    let known = ["http", "https"].contains(&scheme) && !host.is_empty() && host.chars().all(plain);
    known.then(|| &template[..scheme.len() + 3 + host.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_the_tiles_and_nothing_that_breaks_it() {
        let said = |tiles: &str| {
            let pages = PagesConfig { tile_url: Some(tiles.to_owned()), ..PagesConfig::default() };
            content_security_policy(&pages).to_str().unwrap().to_owned()
        };
        assert!(
            said("https://t.example.com:8443/{z}/{x}/{y}.png")
                .contains("img-src 'self' data: https://t.example.com:8443; ")
        );
        for odd in
            ["/tiles/{z}/{x}/{y}.png", "https://a; script-src *//", "javascript:x", "https://"]
        {
            assert!(said(odd).contains("img-src 'self' data:; "), "{odd}");
        }
    }

    #[test]
    fn what_is_put_into_a_page_stays_text() {
        assert_eq!(escape_html("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
