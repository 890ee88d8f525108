//! E-mail texts, one set per language.

use super::rules::AlertKind;

/// E-mail texts of one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Templates {
    pub(super) language: &'static str,
    /// Subject and body of each kind. Placeholder of the body: `{number}`.
    kinds: fn(AlertKind) -> (&'static str, &'static str),
    /// Subject and body of the confirmation mail. Placeholder of the body: `{number}`.
    pub(super) confirmation: (&'static str, &'static str),
    pub(super) confirm_link: &'static str,
    pub(super) confirm_hint: &'static str,
    pub(super) page_link: &'static str,
    /// Placeholder: `{at}`.
    pub(super) happened_at: &'static str,
    pub(super) unsubscribe_link: &'static str,
}

const ENGLISH: Templates = Templates {
    language: "en",
    kinds: |kind| match kind {
        AlertKind::OutForDelivery => {
            ("Your parcel is out for delivery", "Your parcel {number} is out for delivery.")
        }
        AlertKind::NextStops => {
            ("Your parcel is nearby", "Your parcel {number} is no more than three stops away.")
        }
        AlertKind::Delayed => ("Your parcel is delayed", "Your parcel {number} is delayed."),
        AlertKind::Delivered => {
            ("Your parcel has been delivered", "Your parcel {number} has been delivered.")
        }
        AlertKind::Attempted => {
            ("We couldn’t deliver your parcel", "We couldn’t deliver your parcel {number}.")
        }
        AlertKind::Refused => (
            "Your parcel was refused",
            "Your parcel {number} was refused at the door and was not handed over.",
        ),
        AlertKind::Returned => (
            "Your parcel is back at the delivery station",
            "Your parcel {number} is back at the delivery station.",
        ),
        AlertKind::Problem => (
            "There is a problem with your parcel",
            "There is a problem with your parcel {number}. We are looking into it.",
        ),
        AlertKind::Correction => (
            "Correction: please disregard our last message about your parcel",
            "We corrected the status of your parcel {number}. Please disregard our earlier message. \
             The current status is on its page.",
        ),
    },
    confirmation: (
        "Please confirm: messages about your parcel",
        "Somebody asked us to send messages about parcel {number} to this address. Was it you? \
         Then please confirm.",
    ),
    confirm_link: "Confirm the address",
    confirm_hint: "Without your confirmation we send no further message and delete the address after two days.",
    page_link: "Track your parcel",
    happened_at: "Time: {at}.",
    unsubscribe_link: "Unsubscribe from updates for this parcel",
};

const GERMAN: Templates = Templates {
    language: "de",
    kinds: |kind| match kind {
        AlertKind::OutForDelivery => (
            "Ihr Paket ist in Zustellung",
            "Ihr Paket {number} ist im Zustellfahrzeug auf dem Weg zu Ihnen.",
        ),
        AlertKind::NextStops => {
            ("Ihr Paket ist gleich da", "Ihr Paket {number} ist höchstens drei Stopps entfernt.")
        }
        AlertKind::Delayed => {
            ("Ihr Paket verspätet sich", "Die Zustellung Ihres Pakets {number} verspätet sich.")
        }
        AlertKind::Delivered => {
            ("Ihr Paket wurde zugestellt", "Ihr Paket {number} wurde zugestellt.")
        }
        AlertKind::Attempted => (
            "Ihr Paket konnte nicht zugestellt werden",
            "Ihr Paket {number} konnte nicht zugestellt werden.",
        ),
        AlertKind::Refused => (
            "Die Annahme Ihres Pakets wurde verweigert",
            "Die Annahme Ihres Pakets {number} wurde an der Tür verweigert. Es wurde nicht übergeben.",
        ),
        AlertKind::Returned => (
            "Ihr Paket ist zurück im Zustelldepot",
            "Ihr Paket {number} ist zurück im Zustelldepot.",
        ),
        AlertKind::Problem => (
            "Es gibt ein Problem mit Ihrem Paket",
            "Es gibt ein Problem mit Ihrem Paket {number}. Wir kümmern uns darum.",
        ),
        AlertKind::Correction => (
            "Korrektur: Unsere letzte Nachricht zu Ihrem Paket trifft nicht zu",
            "Wir haben den Status Ihres Pakets {number} korrigiert. Unsere frühere Nachricht trifft \
             nicht zu. Den aktuellen Stand finden Sie auf der Sendungsseite.",
        ),
    },
    confirmation: (
        "Bitte bestätigen: Nachrichten zu Ihrem Paket",
        "Wir wurden gebeten, Nachrichten zum Paket {number} an diese Adresse zu senden. Waren Sie \
         das? Dann bestätigen Sie bitte.",
    ),
    confirm_link: "Adresse bestätigen",
    confirm_hint: "Ohne Ihre Bestätigung senden wir keine weitere Nachricht und löschen die Adresse nach zwei Tagen.",
    page_link: "Sendung verfolgen",
    happened_at: "Zeitpunkt: {at}.",
    unsubscribe_link: "Benachrichtigungen zu diesem Paket abbestellen",
};

/// Returns the texts for a BCP 47 language, English as the fallback.
pub(super) fn templates_for(language: Option<&str>) -> &'static Templates {
    let primary = language.and_then(|language| language.split('-').next()).unwrap_or("en");
    let all = [&GERMAN, &ENGLISH];
    all.into_iter().find(|texts| texts.language.eq_ignore_ascii_case(primary)).unwrap_or(&ENGLISH)
}

impl Templates {
    pub(super) fn for_kind(&self, kind: AlertKind) -> (&'static str, &'static str) {
        (self.kinds)(kind)
    }
}
