//! Renders an alert as an e-mail (RFC 5322): short, plain text and HTML, with unsubscribe headers
//! (RFC 2369, RFC 8058).

use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::Failure;
use super::dispatcher::{Content, OutgoingAlert};
use super::local_time::local_time;
use super::templates::templates_for;
use crate::config::SmtpConfig;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Sends e-mails through an SMTP server.
#[derive(Debug)]
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Returns `None` for an invalid configuration; loading has already rejected those.
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

    pub(super) async fn send(&self, sending: &OutgoingAlert) -> Result<(), Failure> {
        let message = self.compose(sending)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(Failure::Permanent(error.to_string())),
            Err(error) => Err(Failure::Transient(error.to_string())),
        }
    }

    fn compose(&self, sending: &OutgoingAlert) -> Result<Message, Failure> {
        let never = |error: &dyn std::fmt::Display| Failure::Permanent(error.to_string());
        let words = templates_for(sending.language.as_deref());
        let ((subject, body), link, page, hint) = match &sending.content {
            Content::Alert { kind, .. } => {
                (words.for_kind(*kind), words.page_link, sending.page_url.clone(), "")
            }
            Content::Confirmation { url } => {
                let url = format!("{url}?lang={}", words.language);
                (words.confirmation, words.confirm_link, url, words.confirm_hint)
            }
        };
        let mut text = body.replace("{number}", &sending.number);
        if let Content::Alert { happened_at: Some(at), .. } = &sending.content {
            let at = local_time(*at, &sending.zone, words.language);
            text = format!("{text} {}", words.happened_at.replace("{at}", &at));
        }
        let end = format!("{}?lang={}", sending.unsubscribe_url, words.language);
        let hint_line = if hint.is_empty() { String::new() } else { format!("{hint}\n\n") };
        let plain =
            format!("{text}\n\n{link}: {page}\n\n{hint_line}{}: {end}\n", words.unsubscribe_link);
        let html = format!(
            "<!doctype html><html lang=\"{}\"><meta charset=\"utf-8\"><p>{}</p><p><a href=\"{}\">{}</a></p>\
             {}<p><small><a href=\"{}\">{}</a></small></p></html>",
            words.language,
            escape_html(&text),
            escape_html(&page),
            link,
            if hint.is_empty() { String::new() } else { format!("<p>{hint}</p>") },
            escape_html(&end),
            words.unsubscribe_link
        );
        let host = self.from.email.domain();
        let header = |name: &str, value: String| {
            let name = HeaderName::new_from_ascii(name.to_owned()).expect("a constant ASCII name");
            HeaderValue::new(name, value)
        };
        Message::builder()
            .from(self.from.clone())
            .to(sending.address.parse().map_err(|error| never(&error))?)
            .subject(subject)
            // The Message-ID is the same for every attempt, so mail programs recognise duplicates.
            .message_id(Some(format!("<{}@{host}>", sending.id)))
            .raw_header(header("List-Unsubscribe", format!("<{end}>")))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()))
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(plain, html))
            .map_err(|error| never(&error))
    }
}

/// Escapes a text for HTML.
fn escape_html(text: &str) -> String {
    let mut escape_html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escape_html.push_str("&amp;"),
            '<' => escape_html.push_str("&lt;"),
            '>' => escape_html.push_str("&gt;"),
            '"' => escape_html.push_str("&quot;"),
            c => escape_html.push(c),
        }
    }
    escape_html
}
