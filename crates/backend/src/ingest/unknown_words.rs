//! Reads payloads of vans that are newer than this backend: an unknown word of a known member
//! counts as an absent member, and loses nothing else.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Maximum number of different members with unknown words in one payload.
const MAX_MEMBERS: usize = 16;

/// Words for required members, which cannot be absent. Unknown duties hide the van, as off duty
/// does. The stored document of an event keeps its own words; see [`restore`].
const REQUIRED: &[(&str, &str)] = &[
    ("duty", "off"),
    ("type", "ObjectEvent"),
    ("action", "OBSERVE"),
    ("kind", "barcode"),
    ("state", "closed"),
];

/// Parses a payload. Members with unknown words are left out, or replaced if they are required.
///
/// Returns whether there was one.
///
/// # Errors
/// The payload is invalid in another way.
pub(super) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<(T, bool), serde_json::Error> {
    let mut error = match serde_json::from_slice(payload) {
        Ok(parsed) => return Ok((parsed, false)),
        Err(error) => error,
    };
    let Some(mut word) = unknown_word(&error) else { return Err(error) };
    let mut document: Value = serde_json::from_slice(payload)?;
    for _ in 0..MAX_MEMBERS {
        let mut names = BTreeSet::new();
        find_members(&document, &word, &mut names);
        let mut next = None;
        for name in names {
            for replacement in [None, required(&name)] {
                let mut changed = document.clone();
                replace_members(&mut changed, (&name, &word), replacement);
                match T::deserialize(&changed) {
                    Ok(parsed) => return Ok((parsed, true)),
                    Err(other) => {
                        // Another unknown word shows that this one was the fault.
                        if let Some(other_word) = unknown_word(&other)
                            && other_word != word
                        {
                            next = Some((changed, other_word));
                        }
                        error = other;
                    }
                }
            }
            if next.is_some() {
                break;
            }
        }
        match next {
            Some(found) => (document, word) = found,
            None => return Err(error),
        }
    }
    Err(error)
}

/// Restores the words of an event's document that [`parse`] replaced.
pub(super) fn restore(data: &mut Value, payload: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(payload) else { return };
    for name in ["type", "action"] {
        if let Some(word) = document.get("data").and_then(|data| data.get(name)) {
            data[name] = word.clone();
        }
    }
}

/// The unknown word that an error of serde names.
fn unknown_word(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let rest = text.strip_prefix("unknown variant `")?;
    Some(rest.rsplit_once("`, expected ")?.0.to_owned())
}

fn required(name: &str) -> Option<&'static str> {
    REQUIRED.iter().find(|(known, _)| *known == name).map(|(_, word)| *word)
}

/// Names of the members that have this word.
fn find_members(value: &Value, word: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if member.as_str() == Some(word) {
                    found.insert(name.clone());
                }
                find_members(member, word, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find_members(item, word, found)),
        _ => {}
    }
}

fn replace_members(value: &mut Value, (name, word): (&str, &str), replacement: Option<&str>) {
    match value {
        Value::Object(members) => {
            if members.get(name).and_then(Value::as_str) == Some(word) {
                match replacement {
                    Some(replacement) => drop(members.insert(name.to_owned(), replacement.into())),
                    None => drop(members.remove(name)),
                }
            }
            for member in members.values_mut() {
                replace_members(member, (name, word), replacement);
            }
        }
        Value::Array(items) => {
            for item in items {
                replace_members(item, (name, word), replacement);
            }
        }
        _ => {}
    }
}
