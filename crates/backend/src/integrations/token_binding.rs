//! Which parcels, and at which sites, a token may capture.

use crate::config::Token;
use crate::epc;
use crate::event::{Event, Role};

/// Beginning of the canonical URI of a GS1 key.
const GS1: &str = "https://id.gs1.org/";

/// Application identifiers whose value has a digit before the company prefix: SSCC, GTIN, GRAI.
const WITH_LEADING_DIGIT: [&str; 3] = ["00", "01", "8003"];

/// Returns why the token with the name `who` may not capture an event; `None` if it may.
#[must_use]
pub(super) fn violation(tokens: &[Token], who: &str, event: &Event) -> Option<String> {
    let token = tokens.iter().find(|token| token.name == who)?;
    let about = event.epcs.iter().filter(|(_, role)| *role != Role::Parent);
    let is_own = |uri: &str| token.owners.iter().any(|owner| belongs_to(uri, owner));
    if !token.owners.is_empty()
        && let Some((uri, _)) = about.into_iter().find(|(uri, _)| !is_own(uri))
    {
        return Some(format!(
            "{uri:.200} is not of an owner of this token; use the owner's token, or add the owner to token.owners"
        ));
    }
    let places = ["readPoint", "bizLocation"].map(|name| event.location_id(name));
    let is_here = |place: &str| {
        let place = epc::canonical(place);
        token.sites.iter().any(|site| place.starts_with(&epc::canonical(site)))
    };
    if !token.sites.is_empty() && !places.iter().flatten().any(|place| is_here(place)) {
        return Some(
            "neither readPoint nor bizLocation is a site of this token; use the site's token, or add the site to token.sites"
                .to_owned(),
        );
    }
    None
}

/// Whether a canonical URI belongs to a GS1 company prefix, or begins with a URI.
fn belongs_to(uri: &str, owner: &str) -> bool {
    if owner.contains(':') {
        return uri.starts_with(owner);
    }
    let Some((identifier, key)) = uri.strip_prefix(GS1).and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let skipped = usize::from(WITH_LEADING_DIGIT.contains(&identifier));
    key.get(skipped..).is_some_and(|key| key.starts_with(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gs1_key_belongs_to_its_company_prefix() {
        for (uri, owner, expected) in [
            ("https://id.gs1.org/00/395212340000000014", "9521234", true),
            ("https://id.gs1.org/00/395212340000000014", "39521234", false),
            ("https://id.gs1.org/01/09521234000013/21/7", "9521234", true),
            ("https://id.gs1.org/8004/9521234VAN042", "9521234", true),
            ("https://id.example.com/parcel/obj/9521234", "9521234", false),
            ("https://id.example.com/parcel/obj/A1", "https://id.example.com/parcel/obj/A", true),
        ] {
            assert_eq!(belongs_to(uri, owner), expected, "{uri} {owner}");
        }
    }
}
