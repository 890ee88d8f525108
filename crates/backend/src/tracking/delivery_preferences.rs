//! Delivery preferences of a recipient: acceptance, validation and the command for the van.

use serde_json::{Map, Value, json};

use super::inputs::CommandInput;
use super::parcel::{DeliveryPreference, PreferenceState, Status};
use waypost_model::manifest::MAX_TEXT;
use waypost_model::units::{Date, UtcTime};

/// Another day can be requested only while more than this many stops are ahead.
const OTHER_DAY_MIN_STOPS: u32 = 3;
/// Another day may be at most this many days ahead.
const OTHER_DAY_MAX_DAYS: i64 = 30;

/// Preferences are closed: the parcel was delivered.
pub const DELIVERED: &str = "delivered";
/// Preferences are closed: the van is at the stop, or the route is over.
const TOO_LATE: &str = "too_late";
/// Preferences are closed: the parcel is on no route yet.
pub const NOT_ANNOUNCED: &str = "not_announced";
/// Another day cannot be requested: the van is near.
const VAN_NEAR: &str = "van_near";
/// The request for another day cannot be changed: the van was told to bring the parcel back.
const RECALLED: &str = "recalled";

/// Explains a reason to a person.
#[must_use]
pub fn explain(reason: &str) -> &'static str {
    match reason {
        DELIVERED => "the parcel has been delivered; the preferences can no longer change",
        NOT_ANNOUNCED => "the parcel is on no route yet; try again when it is",
        VAN_NEAR => "the van is near; choose another preference than other_day",
        RECALLED => "the parcel comes back for the other day; ask the operator to change that",
        _ => "the van is at the stop or has been there; the preferences can no longer change",
    }
}

/// State of a parcel that decides whether preferences are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreferenceContext {
    pub status: Status,
    pub on_a_route: bool,
    /// Stops ahead; `None` before departure.
    pub stops_away: Option<u32>,
}

/// Current preferences and whether they can change.
#[must_use]
pub fn preference_state(
    stand: PreferenceContext,
    asked: Option<&DeliveryPreference>,
    command: Option<&CommandInput>,
) -> PreferenceState {
    let closed = closed_reason(stand);
    PreferenceState {
        open: closed.is_none(),
        closed_because: closed.map(str::to_owned),
        asked: asked.cloned(),
        answer: command
            .filter(|command| asked.is_some() || command.withdraws)
            .map(|command| answer_status(&command.status).to_owned()),
    }
}

/// Why no preferences are accepted.
#[must_use]
pub fn closed_reason(stand: PreferenceContext) -> Option<&'static str> {
    match stand.status {
        Status::Delivered => Some(DELIVERED),
        Status::Arrived
        | Status::Attempted
        | Status::AvailableForPickup
        | Status::Returned
        | Status::Problem => Some(TOO_LATE),
        _ if !stand.on_a_route => Some(NOT_ANNOUNCED),
        Status::Announced | Status::InTransit | Status::AtStation | Status::OutForDelivery => None,
    }
}

/// Why these preferences are not accepted now; others might be.
#[must_use]
pub fn rejection_reason(
    wish: &DeliveryPreference,
    stand: PreferenceContext,
    asked: Option<&DeliveryPreference>,
) -> Option<&'static str> {
    let near = stand.stops_away.is_some_and(|stops| stops <= OTHER_DAY_MIN_STOPS);
    let recalled = asked.is_some_and(|asked| asked.other_day.is_some() && asked != wish);
    closed_reason(stand)
        .or_else(|| recalled.then_some(RECALLED))
        .or_else(|| (wish.other_day.is_some() && near).then_some(VAN_NEAR))
}

/// Validates and normalizes preferences.
///
/// # Errors
/// Returns a message for the caller with place, value and remedy.
pub fn validate(wish: &DeliveryPreference, today: Date) -> Result<DeliveryPreference, String> {
    let DeliveryPreference {
        authority_to_leave,
        safe_place,
        neighbour,
        signature_required,
        other_day,
    } = wish;
    let safe_place = sanitize_text("safe_place", safe_place.as_deref())?;
    let neighbour = sanitize_text("neighbour", neighbour.as_deref())?;
    let leave = *authority_to_leave == Some(true) || safe_place.is_some();
    if *signature_required == Some(true) && leave {
        return Err("signature_required: a parcel left without a recipient cannot be signed for; choose one of the two".into());
    }
    if let Some(day) = other_day {
        let later = Date::parse(day).map(|day| day.days_since(today));
        if later.is_none_or(|days| !(1..=OTHER_DAY_MAX_DAYS).contains(&days)) {
            return Err(format!(
                "other_day: write a date from tomorrow to {OTHER_DAY_MAX_DAYS} days ahead as YYYY-MM-DD"
            ));
        }
        let rest = DeliveryPreference { other_day: None, ..wish.clone() };
        if rest != DeliveryPreference::default() {
            return Err("other_day: cannot be combined with other preferences; request those after the new day is set".into());
        }
    }
    // An empty set withdraws the preferences.
    Ok(DeliveryPreference { safe_place, neighbour, ..wish.clone() })
}

/// Name and payload of the command for the van (docs/mqtt-contract.md, `command`).
#[must_use]
pub fn command(
    wish: &DeliveryPreference,
    id: &str,
    (number, route): (&str, &str),
    expires: UtcTime,
) -> (&'static str, String) {
    let mut args = Map::from_iter([("parcel".to_owned(), number.into())]);
    let name = if wish.other_day.is_some() {
        "recall_parcel"
    } else {
        let mut preferences = Map::new();
        let mut say = |name: &str, value: Option<Value>| {
            preferences.extend(value.map(|value| (name.to_owned(), value)));
        };
        say("authority_to_leave", wish.authority_to_leave.map(Value::from));
        say("safe_place", wish.safe_place.clone().map(Value::from));
        say("neighbour", wish.neighbour.clone().map(Value::from));
        say("signature_required", wish.signature_required.map(Value::from));
        args.insert("route".to_owned(), route.into());
        // The whole set: the van drops what an earlier command asked for and this one does not.
        args.insert("preferences".to_owned(), preferences.into());
        "set_preferences"
    };
    let payload =
        json!({"v": 1, "id": id, "cmd": name, "args": args, "expires": expires.to_string()});
    (name, payload.to_string())
}

/// Whether the outcome matches the preferences; `None` if none were requested, or if the recipient
/// was at home after all.
#[must_use]
pub fn matches_outcome(asked: &DeliveryPreference, outcome: &str) -> Option<bool> {
    let handed = outcome == "handed_over";
    if asked.other_day.is_some() {
        return Some(false);
    }
    let neighbour = asked.neighbour.is_some() && outcome == "neighbour";
    if asked.signature_required == Some(true) {
        return Some(handed || neighbour);
    }
    let leave = asked.safe_place.is_some() || asked.authority_to_leave == Some(true);
    if !leave && asked.neighbour.is_none() {
        return asked.authority_to_leave.map(|_| handed);
    }
    // Handed over in person although a place or a neighbour was requested: nothing to judge.
    let left = leave && matches!(outcome, "safe_place" | "locker");
    (!handed).then_some(left || neighbour)
}

fn answer_status(status: &str) -> &'static str {
    match status {
        "waiting" => "waiting",
        "sent" => "sent",
        "accepted" | "succeeded" => "accepted",
        _ => "rejected",
    }
}

/// Validates text that is shown in a van, on a page and in an email. Rejects characters that a
/// browser or terminal may interpret.
fn sanitize_text(name: &str, text: Option<&str>) -> Result<Option<String>, String> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.len() > MAX_TEXT {
        return Err(format!("{name}: {} bytes; at most {MAX_TEXT} are allowed", text.len()));
    }
    if text.chars().any(is_forbidden_char) {
        return Err(format!("{name}: write one line without control characters, < and >"));
    }
    Ok(Some(text.to_owned()))
}

/// Control characters, bidirectional overrides and Unicode line separators.
fn is_forbidden_char(c: char) -> bool {
    c.is_control()
        || matches!(c, '<' | '>' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
