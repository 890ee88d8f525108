//! An alert → a letter (RFC 5322), small, in plain text and HTML, with a way to end it (RFC 2369, RFC 8058).

use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::Failure;
use super::send::Sending;
use super::texts::texts;
use crate::backend::config::SmtpConfig;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A server that takes letters.
#[derive(Debug)]
pub(super) struct Post {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Post {
    /// `None` where the configuration makes no sense: it was checked when it was read.
    pub(super) fn new(config: &SmtpConfig) -> Option<Self> {
        let (scheme, rest) = config.url.split_once("://")?;
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (rest, None),
        };
        let parameters = || TlsParameters::new(host.to_owned()).ok();
        let (tls, usual) = match scheme {
            "smtps" => (Tls::Wrapper(parameters()?), 465),
            "smtp+starttls" => (Tls::Required(parameters()?), 587),
            _ => (Tls::None, 25),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port.unwrap_or(usual))
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some((name, password)) = config.username.clone().zip(config.password.clone()) {
            builder = builder.credentials(Credentials::new(name, password));
        }
        Some(Self { transport: builder.build(), from: config.from.parse().ok()? })
    }

    /// Sends a letter.
    pub(super) async fn send(&self, sending: &Sending) -> Result<(), Failure> {
        let message = self.letter(sending)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(Failure::Never(error.to_string())),
            Err(error) => Err(Failure::Later(error.to_string())),
        }
    }

    fn letter(&self, sending: &Sending) -> Result<Message, Failure> {
        let never = |error: &dyn std::fmt::Display| Failure::Never(error.to_string());
        let words = texts(sending.language.as_deref());
        let (subject, body) = words.of(sending.kind);
        let mut text = body.replace("{number}", &sending.number);
        if let Some(at) = &sending.at {
            let at = at.get(..16).unwrap_or(at).replace('T', " ");
            text = format!("{text} {}", words.happened.replace("{at}", &at));
        }
        let (page, end) = (&sending.page, format!("{}?lang={}", sending.end, words.language));
        let plain = format!("{text}\n\n{}: {page}\n\n{}: {end}\n", words.page, words.end);
        let html = format!(
            "<!doctype html><html lang=\"{}\"><meta charset=\"utf-8\"><p>{}</p><p><a href=\"{}\">{}</a></p>\
             <p><small><a href=\"{}\">{}</a></small></p></html>",
            words.language,
            escaped(&text),
            escaped(page),
            words.page,
            escaped(&end),
            words.end
        );
        let host = self.from.email.domain();
        let header = |name: &str, value: String| {
            let name = HeaderName::new_from_ascii(name.to_owned()).expect("a name of ours");
            HeaderValue::new(name, value)
        };
        Message::builder()
            .from(self.from.clone())
            .to(sending.address.parse().map_err(|error| never(&error))?)
            .subject(subject)
            // The same each time that it is tried: who gets it twice sees that it is one.
            .message_id(Some(format!("<{}@{host}>", sending.id)))
            .raw_header(header("List-Unsubscribe", format!("<{end}>")))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()))
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(plain, html))
            .map_err(|error| never(&error))
    }
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}
