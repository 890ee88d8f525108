//! What a recipient asks for → whether it is still taken, and the command that tells the van.

use serde_json::{Map, Value, json};

use super::known::KnownCommand;
use super::parcel::{Manage, Status, Wish};
use crate::core::delivery::manifest::MAX_TEXT;
use crate::units::{Date, UtcTime};

/// Another day can be asked for while more stops than these are before one's own.
const OTHER_DAY_STOPS: u32 = 3;
/// No day later than that can be asked for.
const OTHER_DAY_DAYS: i64 = 30;

/// Why a wish is not taken any more.
pub const DELIVERED: &str = "delivered";
/// The van is there, or it is over.
const TOO_LATE: &str = "too_late";
/// It is on no route yet.
pub const NOT_ANNOUNCED: &str = "not_announced";

/// Where a parcel stands, as far as wishes go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Where it stands.
    pub status: Status,
    /// Whether a route lists it.
    pub on_a_route: bool,
    /// Stops before its own; `None` before the van left.
    pub stops_away: Option<u32>,
}

/// What may be asked for, and what was.
#[must_use]
pub fn manage(stand: Stand, asked: Option<&Wish>, command: Option<&KnownCommand>) -> Manage {
    let closed = closed(stand);
    Manage {
        open: closed.is_none(),
        closed_because: closed.map(str::to_owned),
        asked: asked.cloned(),
        answer: asked.and(command).map(|command| answer(&command.status).to_owned()),
    }
}

/// Why nothing can be asked for.
#[must_use]
pub fn closed(stand: Stand) -> Option<&'static str> {
    match stand.status {
        Status::Delivered => Some(DELIVERED),
        Status::Arrived | Status::Attempted | Status::Returned | Status::Problem => Some(TOO_LATE),
        _ if !stand.on_a_route => Some(NOT_ANNOUNCED),
        Status::Announced | Status::InTransit | Status::AtStation | Status::OutForDelivery => None,
    }
}

/// Why this cannot be asked for now, though something else might.
#[must_use]
pub fn too_late(wish: &Wish, stand: Stand) -> Option<&'static str> {
    let near = stand.stops_away.is_some_and(|stops| stops <= OTHER_DAY_STOPS);
    closed(stand).or_else(|| (wish.other_day.is_some() && near).then_some(TOO_LATE))
}

/// A wish as it can be kept, told and shown.
///
/// # Errors
/// Place, value and remedy, for the one who asked.
pub fn checked(wish: &Wish, today: Date) -> Result<Wish, String> {
    let Wish { authority_to_leave, safe_place, neighbour, signature_required, other_day } = wish;
    let safe_place = words("safe_place", safe_place.as_deref())?;
    let neighbour = words("neighbour", neighbour.as_deref())?;
    let leave = *authority_to_leave == Some(true) || safe_place.is_some();
    if *signature_required == Some(true) && leave {
        return Err("signature_required: nobody signs for what is left; ask for one of both".into());
    }
    if let Some(day) = other_day {
        let later = Date::parse(day).map(|day| day.days_since(today));
        if later.is_none_or(|days| !(1..=OTHER_DAY_DAYS).contains(&days)) {
            return Err(format!(
                "other_day: write a day from tomorrow to {OTHER_DAY_DAYS} days from now as YYYY-MM-DD"
            ));
        }
        let rest = Wish { other_day: None, ..wish.clone() };
        if rest != Wish::default() {
            return Err("other_day: ask for the rest once the new day is known".into());
        }
    }
    let wish = Wish { safe_place, neighbour, ..wish.clone() };
    if wish == Wish::default() {
        return Err("the wish is empty: ask for something".into());
    }
    Ok(wish)
}

/// The name and the payload of the command that tells the van (docs/contract.md, `cmd`).
#[must_use]
pub fn command(
    wish: &Wish,
    id: &str,
    (number, route): (&str, &str),
    expires: UtcTime,
) -> (&'static str, String) {
    let mut args = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            args.insert(name.to_owned(), value);
        }
    };
    say("parcel", Some(number.into()));
    let name = if wish.other_day.is_some() {
        "recall_parcel"
    } else {
        say("route", Some(route.into()));
        say("authority_to_leave", wish.authority_to_leave.map(Value::from));
        say("safe_place", wish.safe_place.clone().map(Value::from));
        say("neighbour", wish.neighbour.clone().map(Value::from));
        say("signature_required", wish.signature_required.map(Value::from));
        "update_preferences"
    };
    let payload =
        json!({"v": 1, "id": id, "cmd": name, "args": args, "expires": expires.to_string()});
    (name, payload.to_string())
}

/// Whether what was done is what was asked for; `None` if nothing was.
#[must_use]
pub fn was_done(asked: &Wish, outcome: &str) -> Option<bool> {
    let handed = outcome == "handed_over";
    if asked.other_day.is_some() {
        return Some(false);
    }
    let neighbour = asked.neighbour.is_some() && outcome == "neighbour";
    if asked.signature_required == Some(true) {
        return Some(handed || neighbour);
    }
    let leave = asked.safe_place.is_some() || asked.authority_to_leave == Some(true);
    let nothing = !leave && asked.neighbour.is_none() && asked.authority_to_leave.is_none();
    let left = leave && matches!(outcome, "safe_place" | "locker");
    (!nothing).then_some(handed || left || neighbour)
}

fn answer(status: &str) -> &'static str {
    match status {
        "waiting" => "waiting",
        "sent" => "sent",
        "accepted" | "done" => "accepted",
        _ => "rejected",
    }
}

/// Text for people: in a van, on a page, in a letter. So nothing that a browser or terminal takes for more than text.
fn words(name: &str, text: Option<&str>) -> Result<Option<String>, String> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.len() > MAX_TEXT {
        return Err(format!("{name}: {} bytes are too many; write at most {MAX_TEXT}", text.len()));
    }
    if text.chars().any(is_no_word) {
        return Err(format!(
            "{name}: write letters, digits and signs on one line, without < and >"
        ));
    }
    Ok(Some(text.to_owned()))
}

/// Besides control characters: those that turn the direction of writing, and the line ends of Unicode.
fn is_no_word(c: char) -> bool {
    c.is_control()
        || matches!(c, '<' | '>' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
