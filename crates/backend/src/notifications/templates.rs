//! E-mail texts, one set per language.

use super::rules::AlertKind;

/// E-mail texts of one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Templates {
    pub(super) language: &'static str,
    pub(super) subject: [&'static str; 6],
    /// Placeholder: `{number}`.
    pub(super) body: [&'static str; 6],
    pub(super) page_link: &'static str,
    pub(super) happened_at: &'static str,
    pub(super) unsubscribe_link: &'static str,
}

/// Ordered like [`Kind::ALL`].
const ENGLISH: Templates = Templates {
    language: "en",
    subject: [
        "Your parcel is out for delivery",
        "Your parcel is nearby",
        "Your parcel is delayed",
        "Your parcel has been delivered",
        "We couldn’t deliver your parcel",
        "There is a problem with your parcel",
    ],
    body: [
        "Your parcel {number} is out for delivery.",
        "Your parcel {number} is no more than three stops away.",
        "Your parcel {number} is delayed.",
        "Your parcel {number} has been delivered.",
        "We couldn’t deliver your parcel {number}.",
        "There is a problem with your parcel {number}. We are looking into it.",
    ],
    page_link: "Track your parcel",
    happened_at: "Time: {at} UTC.",
    unsubscribe_link: "Unsubscribe from updates for this parcel",
};

const GERMAN: Templates = Templates {
    language: "de",
    subject: [
        "Ihr Paket ist in Zustellung",
        "Ihr Paket ist gleich da",
        "Ihr Paket verspätet sich",
        "Ihr Paket wurde zugestellt",
        "Ihr Paket konnte nicht zugestellt werden",
        "Es gibt ein Problem mit Ihrem Paket",
    ],
    body: [
        "Ihr Paket {number} ist im Zustellfahrzeug auf dem Weg zu Ihnen.",
        "Ihr Paket {number} ist höchstens drei Stopps entfernt.",
        "Die Zustellung Ihres Pakets {number} verspätet sich.",
        "Ihr Paket {number} wurde zugestellt.",
        "Ihr Paket {number} konnte nicht zugestellt werden.",
        "Es gibt ein Problem mit Ihrem Paket {number}. Wir kümmern uns darum.",
    ],
    page_link: "Sendung verfolgen",
    happened_at: "Zeitpunkt: {at} UTC.",
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
        let index = AlertKind::ALL.iter().position(|one| *one == kind).unwrap_or(0);
        (self.subject[index], self.body[index])
    }
}
