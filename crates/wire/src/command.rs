//! Payloads of the topics `cmd` and `cmd/res`: commands and their results.

use serde::{Deserialize, Serialize};

use super::VERSION;
use waypost_model::command::{Command, CommandId, CommandKind, CommandResult, CommandStatus};
use waypost_model::driver_input::DelayReason;
use waypost_model::duty::Duty;
use waypost_model::event::Preferences;
use waypost_model::manifest::{MAX_KEY, MAX_NAME, MAX_TEXT};
use waypost_model::parcel::code::normalised;
use waypost_model::units::UtcTime;

/// Maximum size of a command in bytes.
pub const MAX_BYTES: usize = 4 * 1024;

/// Reason why a command is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The command has no valid id, so no result can be sent.
    #[error("not a command: {0}; send JSON as described in docs/mqtt-contract.md")]
    Unanswerable(String),
    /// The command has an id, so a result is sent.
    #[error("command {id}: {detail}")]
    Rejected {
        /// Id of the command.
        id: CommandId,
        /// Description of the error.
        detail: String,
    },
}

impl CommandError {
    /// Returns the result to send, if the command has an id.
    #[must_use]
    pub fn to_result(&self, utc: Option<UtcTime>) -> Option<CommandResult> {
        match self {
            Self::Unanswerable(_) => None,
            Self::Rejected { id, detail } => Some(CommandResult {
                id: *id,
                status: CommandStatus::Rejected,
                detail: Some(detail.clone()),
                utc,
            }),
        }
    }
}

#[derive(Deserialize)]
struct CommandPayload {
    v: u64,
    cmd: String,
    #[serde(default)]
    args: Args,
    expires: Option<String>,
}

/// Arguments of all commands. Each has the same meaning in every command.
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

/// Parses a payload.
///
/// # Errors
/// Returns [`CommandError::Unanswerable`] if the command has no valid id, else
/// [`CommandError::Rejected`].
pub fn parse(payload: &[u8]) -> Result<Command, CommandError> {
    if payload.len() > MAX_BYTES {
        return Err(CommandError::Unanswerable(format!("{} bytes exceed 4 KiB", payload.len())));
    }
    let head: CommandHead =
        serde_json::from_slice(payload).map_err(|e| CommandError::Unanswerable(e.to_string()))?;
    let id = CommandId::parse(&head.id)
        .ok_or_else(|| CommandError::Unanswerable("id is not a UUID".to_owned()))?;
    let reject = |detail: String| CommandError::Rejected { id, detail };
    let payload: CommandPayload =
        serde_json::from_slice(payload).map_err(|e| reject(e.to_string()))?;
    if payload.v != u64::from(VERSION) {
        return Err(reject(format!("v is {}: this van supports version 1", payload.v)));
    }
    let expires = match payload.expires {
        None => None,
        Some(text) => Some(
            UtcTime::parse(&text).ok_or_else(|| reject("expires must be RFC 3339".to_owned()))?,
        ),
    };
    let order =
        parse_kind(payload.cmd, payload.args).map_err(|detail| reject(detail.to_owned()))?;
    Ok(Command { id, expires, kind: order })
}

#[derive(Deserialize)]
struct CommandHead {
    id: String,
}

fn parse_kind(name: String, args: Args) -> Result<CommandKind, &'static str> {
    let parcel = match &args.parcel {
        Some(parcel) if parcel.len() > MAX_KEY => return Err("args.parcel is too long"),
        Some(parcel) => Some(normalised(parcel)).filter(|key| !key.is_empty()),
        None => None,
    };
    Ok(match name.as_str() {
        "report_now" => CommandKind::ReportNow { parcel },
        "set_rate" => {
            let interval_s = args.interval_s.ok_or("args.interval_s is missing")?;
            if !(1..=3600).contains(&interval_s) {
                return Err("args.interval_s must be 1 to 3600");
            }
            CommandKind::SetRate { interval_s, for_s: args.for_s.unwrap_or(600).min(86_400) }
        }
        "flush" => CommandKind::Flush,
        "update_preferences" => {
            let preferences = Preferences {
                authority_to_leave: args.authority_to_leave,
                safe_place: check_text(args.safe_place, MAX_TEXT)?,
                neighbour: check_text(args.neighbour, MAX_TEXT)?,
                signature_required: args.signature_required,
            };
            let (route, stop) =
                (check_text(args.route, MAX_NAME)?, check_text(args.stop, MAX_NAME)?);
            if stop.is_none() && parcel.is_none() {
                return Err("args.parcel or args.stop is missing");
            }
            CommandKind::UpdatePreferences { route, stop, parcel, preferences }
        }
        "recall_parcel" => CommandKind::Recall { parcel: parcel.ok_or("args.parcel is missing")? },
        "message" => {
            let text = check_text(args.text, MAX_TEXT)?.ok_or("args.text is missing")?;
            CommandKind::Message { text }
        }
        "duty" => {
            let duty = args.duty.ok_or("args.duty is missing")?;
            CommandKind::Duty(Duty::parse(&duty).ok_or("args.duty must be on, off or break")?)
        }
        "delay" => CommandKind::Delay(match args.reason.as_deref() {
            None | Some("none") => None,
            Some(reason) => {
                let reason =
                    DelayReason::parse(reason).ok_or("args.reason is not a delay reason")?;
                Some((reason, args.seconds.unwrap_or(900).min(86_400)))
            }
        }),
        "rotate_log" => CommandKind::RotateLog,
        _ => {
            let mut name = name;
            name.truncate(name.floor_char_boundary(MAX_NAME));
            CommandKind::Unsupported { name }
        }
    })
}

fn check_text(text: Option<String>, max: usize) -> Result<Option<String>, &'static str> {
    match text {
        Some(text) if text.len() > max => Err("args contains a text that is too long"),
        Some(text) if text.chars().any(char::is_control) => {
            Err("args contains a control character")
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

/// Payload of `cmd/res`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandResultPayload {
    /// Payload version: 1.
    pub v: u8,
    /// Id of the command.
    pub id: String,
    /// `accepted`, `done`, `rejected`, `expired` or `stale`.
    pub status: String,
    /// Human-readable reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Time of the result; absent if the time was unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
}

impl From<&CommandResult> for CommandResultPayload {
    fn from(answer: &CommandResult) -> Self {
        Self {
            v: VERSION,
            id: answer.id.to_string(),
            status: answer.status.as_str().to_owned(),
            detail: answer.detail.clone(),
            ts: answer.utc.map(|utc| utc.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10";

    fn command(rest: &str) -> Result<CommandKind, CommandError> {
        parse(format!(r#"{{"v":1,"id":"{ID}",{rest}}}"#).as_bytes()).map(|command| command.kind)
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
            (r#""cmd":"report_now""#, CommandKind::ReportNow { parcel: None }),
            (
                r#""cmd":"report_now","args":{"parcel":"1z999aa10123456784"}"#,
                CommandKind::ReportNow { parcel: parcel() },
            ),
            (
                r#""cmd":"set_rate","args":{"interval_s":1,"for_s":60}"#,
                CommandKind::SetRate { interval_s: 1, for_s: 60 },
            ),
            (r#""cmd":"flush","colour":"red""#, CommandKind::Flush),
            (
                r#""cmd":"update_preferences","args":{"route":"R","stop":"stop-18","parcel":"1Z999AA10123456784",
                   "authority_to_leave":true,"safe_place":"garage"}"#,
                CommandKind::UpdatePreferences {
                    route: Some("R".to_owned()),
                    stop: Some("stop-18".to_owned()),
                    parcel: parcel(),
                    preferences,
                },
            ),
            (
                r#""cmd":"recall_parcel","args":{"parcel":"1Z999AA10123456784"}"#,
                CommandKind::Recall { parcel: parcel().unwrap() },
            ),
            (
                r#""cmd":"message","args":{"text":"call us"}"#,
                CommandKind::Message { text: "call us".to_owned() },
            ),
            (r#""cmd":"duty","args":{"duty":"break"}"#, CommandKind::Duty(Duty::Break)),
            (
                r#""cmd":"delay","args":{"reason":"weather","seconds":1800}"#,
                CommandKind::Delay(Some((DelayReason::Weather, 1800))),
            ),
            (r#""cmd":"delay""#, CommandKind::Delay(None)),
            (r#""cmd":"rotate_log""#, CommandKind::RotateLog),
            (r#""cmd":"fly""#, CommandKind::Unsupported { name: "fly".to_owned() }),
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
            assert!(matches!(parse(payload), Err(CommandError::Unanswerable(_))));
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
            let answer = refusal.to_result(None).expect("it has an id");
            assert_eq!(answer.status, CommandStatus::Rejected, "{text}");
        }
    }
}
