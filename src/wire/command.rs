//! Payload of the topic `cmd` → [`Command`], and [`Answer`] → payload of `cmd/res`.

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::core::delivery::command::{Answer, AnswerStatus, Command, CommandId, Order};
use crate::core::delivery::duty::Duty;
use crate::core::delivery::event::Preferences;
use crate::core::delivery::manifest::{MAX_KEY, MAX_NAME, MAX_TEXT};
use crate::core::delivery::saying::DelayReason;
use crate::core::parcel::code::normalised;
use crate::units::UtcTime;

/// No command is longer, in bytes.
pub const MAX_BYTES: usize = 4 * 1024;

/// Why a command is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    /// Nobody can be answered.
    #[error("no command: {0}; write JSON as docs/contract.md says")]
    Nobody(String),
    /// The sender can be told.
    #[error("command {id}: {detail}")]
    Rejected {
        /// Its number.
        id: CommandId,
        /// What is wrong with it.
        detail: String,
    },
}

impl CommandRefusal {
    /// What the sender is told, if the command has a number.
    #[must_use]
    pub fn answer(&self, utc: Option<UtcTime>) -> Option<Answer> {
        match self {
            Self::Nobody(_) => None,
            Self::Rejected { id, detail } => Some(Answer {
                id: *id,
                status: AnswerStatus::Rejected,
                detail: Some(detail.clone()),
                utc,
            }),
        }
    }
}

#[derive(Deserialize)]
struct Payload {
    v: u64,
    cmd: String,
    #[serde(default)]
    args: Args,
    expires: Option<String>,
}

/// The arguments of all commands: none has two meanings.
#[derive(Default, Deserialize)]
struct Args {
    route: Option<String>,
    stop: Option<String>,
    parcel: Option<String>,
    authority_to_leave: Option<bool>,
    signature_required: Option<bool>,
    safe_place: Option<String>,
    neighbour: Option<String>,
    text: Option<String>,
    duty: Option<String>,
    reason: Option<String>,
    seconds: Option<u32>,
    interval_s: Option<u32>,
    for_s: Option<u32>,
}

/// Reads a payload.
///
/// # Errors
/// [`CommandRefusal::Nobody`] if there is no number to answer to, else [`CommandRefusal::Rejected`].
pub fn read(payload: &[u8]) -> Result<Command, CommandRefusal> {
    if payload.len() > MAX_BYTES {
        return Err(CommandRefusal::Nobody(format!("{} bytes are more than 4 KiB", payload.len())));
    }
    let head: Head =
        serde_json::from_slice(payload).map_err(|e| CommandRefusal::Nobody(e.to_string()))?;
    let id = CommandId::parse(&head.id)
        .ok_or_else(|| CommandRefusal::Nobody("its id is no UUID".to_owned()))?;
    let reject = |detail: String| CommandRefusal::Rejected { id, detail };
    let payload: Payload = serde_json::from_slice(payload).map_err(|e| reject(e.to_string()))?;
    if payload.v != u64::from(VERSION) {
        return Err(reject(format!("v is {}: this van reads version 1", payload.v)));
    }
    let expires = match payload.expires {
        None => None,
        Some(text) => Some(
            UtcTime::parse(&text).ok_or_else(|| reject("expires: write RFC 3339".to_owned()))?,
        ),
    };
    let order = order(payload.cmd, payload.args).map_err(|detail| reject(detail.to_owned()))?;
    Ok(Command { id, expires, order })
}

#[derive(Deserialize)]
struct Head {
    id: String,
}

fn order(name: String, args: Args) -> Result<Order, &'static str> {
    let parcel = match &args.parcel {
        Some(parcel) if parcel.len() > MAX_KEY => return Err("args.parcel is too long"),
        Some(parcel) => Some(normalised(parcel)).filter(|key| !key.is_empty()),
        None => None,
    };
    Ok(match name.as_str() {
        "report_now" => Order::ReportNow { parcel },
        "set_rate" => {
            let interval_s = args.interval_s.ok_or("args.interval_s is missing")?;
            if !(1..=3600).contains(&interval_s) {
                return Err("args.interval_s: 1 to 3600");
            }
            Order::SetRate { interval_s, for_s: args.for_s.unwrap_or(600).min(86_400) }
        }
        "flush" => Order::Flush,
        "update_preferences" => {
            let preferences = Preferences {
                authority_to_leave: args.authority_to_leave,
                safe_place: bounded(args.safe_place, MAX_TEXT)?,
                neighbour: bounded(args.neighbour, MAX_TEXT)?,
                signature_required: args.signature_required,
            };
            let (route, stop) = (bounded(args.route, MAX_NAME)?, bounded(args.stop, MAX_NAME)?);
            if stop.is_none() && parcel.is_none() {
                return Err("args.parcel or args.stop is missing");
            }
            Order::UpdatePreferences { route, stop, parcel, preferences }
        }
        "recall_parcel" => Order::Recall { parcel: parcel.ok_or("args.parcel is missing")? },
        "message" => {
            let text = bounded(args.text, MAX_TEXT)?.ok_or("args.text is missing")?;
            Order::Message { text }
        }
        "duty" => {
            let duty = args.duty.ok_or("args.duty is missing")?;
            Order::Duty(Duty::parse(&duty).ok_or("args.duty: on, off or break")?)
        }
        "delay" => Order::Delay(match args.reason.as_deref() {
            None | Some("none") => None,
            Some(reason) => {
                let reason = DelayReason::parse(reason).ok_or("args.reason is none of ours")?;
                Some((reason, args.seconds.unwrap_or(900).min(86_400)))
            }
        }),
        "rotate_log" => Order::RotateLog,
        _ => {
            let mut name = name;
            name.truncate(name.floor_char_boundary(MAX_NAME));
            Order::Unsupported { name }
        }
    })
}

fn bounded(text: Option<String>, max: usize) -> Result<Option<String>, &'static str> {
    match text {
        Some(text) if text.len() > max => Err("args: a text is too long"),
        Some(text) if text.chars().any(char::is_control) => Err("args: a control character"),
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

/// The payload of `cmd/res`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandResult {
    /// Payload version: 1.
    pub v: u8,
    /// Of the command.
    pub id: String,
    /// `accepted`, `done`, `rejected`, `expired` or `stale`.
    pub status: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When; absent if the time was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
}

impl From<&Answer> for CommandResult {
    fn from(answer: &Answer) -> Self {
        Self {
            v: VERSION,
            id: answer.id.to_string(),
            status: answer.status.name().to_owned(),
            detail: answer.detail.clone(),
            ts: answer.utc.map(|utc| utc.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10";

    fn command(rest: &str) -> Result<Order, CommandRefusal> {
        read(format!(r#"{{"v":1,"id":"{ID}",{rest}}}"#).as_bytes()).map(|command| command.order)
    }

    #[test]
    fn each_command_is_read() {
        let preferences = Preferences {
            authority_to_leave: Some(true),
            safe_place: Some("garage".to_owned()),
            ..Preferences::default()
        };
        let parcel = || Some("1Z999AA10123456784".to_owned());
        for (text, expected) in [
            (r#""cmd":"report_now""#, Order::ReportNow { parcel: None }),
            (
                r#""cmd":"report_now","args":{"parcel":"1z999aa10123456784"}"#,
                Order::ReportNow { parcel: parcel() },
            ),
            (
                r#""cmd":"set_rate","args":{"interval_s":1,"for_s":60}"#,
                Order::SetRate { interval_s: 1, for_s: 60 },
            ),
            (r#""cmd":"flush","colour":"red""#, Order::Flush),
            (
                r#""cmd":"update_preferences","args":{"route":"R","stop":"stop-18","parcel":"1Z999AA10123456784",
                   "authority_to_leave":true,"safe_place":"garage"}"#,
                Order::UpdatePreferences {
                    route: Some("R".to_owned()),
                    stop: Some("stop-18".to_owned()),
                    parcel: parcel(),
                    preferences,
                },
            ),
            (
                r#""cmd":"recall_parcel","args":{"parcel":"1Z999AA10123456784"}"#,
                Order::Recall { parcel: parcel().unwrap() },
            ),
            (
                r#""cmd":"message","args":{"text":"call us"}"#,
                Order::Message { text: "call us".to_owned() },
            ),
            (r#""cmd":"duty","args":{"duty":"break"}"#, Order::Duty(Duty::Break)),
            (
                r#""cmd":"delay","args":{"reason":"weather","seconds":1800}"#,
                Order::Delay(Some((DelayReason::Weather, 1800))),
            ),
            (r#""cmd":"delay""#, Order::Delay(None)),
            (r#""cmd":"rotate_log""#, Order::RotateLog),
            (r#""cmd":"fly""#, Order::Unsupported { name: "fly".to_owned() }),
        ] {
            assert_eq!(command(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_and_the_sender_is_told_if_he_can_be() {
        let deep = format!(r#"{{"id":"{ID}","args":{}"#, "[".repeat(3900));
        for payload in [
            b"".as_slice(),
            b"{}",
            br#"{"id":7}"#,
            br#"{"id":"x"}"#,
            &[b' '; 4097],
            deep.as_bytes(),
        ] {
            assert!(matches!(read(payload), Err(CommandRefusal::Nobody(_))));
        }
        for text in [
            r#""cmd":"duty""#,
            r#""cmd":"duty","args":{"duty":"always"}"#,
            r#""cmd":"set_rate","args":{"interval_s":0}"#,
            r#""cmd":"recall_parcel""#,
            r#""cmd":"update_preferences","args":{"route":"R"}"#,
            r#""cmd":"flush","expires":"soon""#,
            r#""cmd":"message","args":{"text":"a\u0007b"}"#,
            r#""kmd":"flush""#,
        ] {
            let refusal = command(text).expect_err(text);
            let answer = refusal.answer(None).expect("it has a number");
            assert_eq!(answer.status, AnswerStatus::Rejected, "{text}");
        }
    }
}
