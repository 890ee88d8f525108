//! The words of letters, in each language. A new language is one more row.

use super::rule::Kind;

/// The words of a language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts {
    pub(super) language: &'static str,
    pub(super) subject: [&'static str; 6],
    /// `{number}` and, where it is known when, `{at}`.
    pub(super) body: [&'static str; 6],
    pub(super) page: &'static str,
    pub(super) happened: &'static str,
    pub(super) end: &'static str,
}

/// In the order of [`Kind::ALL`].
const ENGLISH: Texts = Texts {
    language: "en",
    subject: [
        "Your parcel is out for delivery",
        "Your parcel is nearly there",
        "Your parcel is late",
        "Your parcel was delivered",
        "We could not deliver your parcel",
        "There is a problem with your parcel",
    ],
    body: [
        "Your parcel {number} is in the van and on its way to you.",
        "Your parcel {number} is at most three stops away.",
        "Your parcel {number} comes later than planned.",
        "Your parcel {number} was delivered.",
        "Your parcel {number} could not be delivered.",
        "Something is wrong with your parcel {number}. We are looking into it.",
    ],
    page: "All about it",
    happened: "That was at {at} (UTC).",
    end: "No more messages about this parcel",
};

const GERMAN: Texts = Texts {
    language: "de",
    subject: [
        "Ihr Paket wird zugestellt",
        "Ihr Paket ist gleich da",
        "Ihr Paket verspätet sich",
        "Ihr Paket wurde zugestellt",
        "Ihr Paket konnte nicht zugestellt werden",
        "Es gibt ein Problem mit Ihrem Paket",
    ],
    body: [
        "Ihr Paket {number} ist im Zustellfahrzeug und auf dem Weg zu Ihnen.",
        "Bis zu Ihrem Paket {number} sind es höchstens drei Stopps.",
        "Ihr Paket {number} kommt später als geplant.",
        "Ihr Paket {number} wurde zugestellt.",
        "Ihr Paket {number} konnte nicht zugestellt werden.",
        "Mit Ihrem Paket {number} stimmt etwas nicht. Wir kümmern uns darum.",
    ],
    page: "Alles dazu",
    happened: "Das war am {at} (UTC).",
    end: "Keine Nachrichten zu diesem Paket mehr",
};

/// The words for a BCP 47 language; English where there are none.
pub(super) fn texts(language: Option<&str>) -> &'static Texts {
    let primary = language.and_then(|language| language.split('-').next()).unwrap_or("en");
    let all = [&GERMAN, &ENGLISH];
    all.into_iter().find(|texts| texts.language.eq_ignore_ascii_case(primary)).unwrap_or(&ENGLISH)
}

impl Texts {
    pub(super) fn of(&self, kind: Kind) -> (&'static str, &'static str) {
        let index = Kind::ALL.iter().position(|one| *one == kind).unwrap_or(0);
        (self.subject[index], self.body[index])
    }
}
