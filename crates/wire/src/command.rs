//! Payloads of the topics `command` and `command/result`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::VERSION;
use waypost_model::command::{
    Command, CommandId, CommandKind, CommandResult, CommandStatus, ParcelReport, ResultCode,
};
use waypost_model::driver_input::{Delay, DelayReason};
use waypost_model::duty::Duty;
use waypost_model::event::Preferences;
use waypost_model::manifest::{MAX_KEY, MAX_NAME, MAX_TEXT};
use waypost_model::parcel::code::normalised;
use waypost_model::units::UtcTime;

/// Maximum size of a command in bytes.
pub const MAX_BYTES: usize = 4 * 1024;

/// Maximum duration of a delay and of another report interval, s.
const MAX_DURATION_S: u32 = 86_400;
/// Default duration of another report interval, s.
const DEFAULT_DURATION_S: u32 = 600;

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
                code: Some(ResultCode::InvalidArgument),
                detail: Some(detail.clone()),
                report: None,
                utc,
            }),
        }
    }
}

/// Command and the members that this version does not know. The van ignores them; the backend's
/// API rejects them, because a misspelt argument must not change the meaning of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedCommand {
    pub command: Command,
    /// Names of the unknown members, such as `args.resaon`.
    pub unknown: Vec<String>,
}

#[derive(Deserialize)]
struct CommandHead {
    id: String,
}

#[derive(Deserialize)]
struct CommandPayload {
    v: u64,
    cmd: String,
    #[serde(default)]
    args: Map<String, Value>,
    expires: Option<String>,
    #[serde(rename = "id")]
    _id: String,
    /// Present in a signed command, whose signature it binds to one van.
    #[serde(rename = "van")]
    _van: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct ReportNowArgs {
    /// Number of the parcel whose state is reported in `result`.
    parcel: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SetReportIntervalArgs {
    /// Interval between positions, s.
    interval_s: u32,
    /// Duration, s; 600 if absent.
    duration_s: Option<u32>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SetPreferencesArgs {
    /// The command is rejected if the van has another route.
    route: Option<String>,
    /// All parcels of this stop, if `parcel` is absent.
    stop: Option<String>,
    /// Number of the parcel.
    parcel: Option<String>,
    /// The whole set: what is absent is not asked for, so `{}` withdraws all.
    preferences: PreferencesArgs,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct PreferencesArgs {
    /// Whether the parcel may be left unattended.
    authority_to_leave: Option<bool>,
    /// Safe place where to leave the parcel.
    safe_place: Option<String>,
    /// Neighbour who may accept the parcel.
    neighbour: Option<String>,
    /// Whether the recipient wants to sign for the parcel.
    signature_required: Option<bool>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct RecallParcelArgs {
    /// Number of the parcel.
    parcel: String,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct ShowMessageArgs {
    /// Message, up to 200 bytes.
    text: String,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SetDutyArgs {
    /// `on`, `off` or `break`.
    duty: String,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SetDelayArgs {
    /// `weather`, `traffic`, `breakdown`, `accident`, `other`, or its code of ASC X12, element
    /// 1651.
    reason: String,
    /// Delay, s; 900 if absent.
    delay_s: Option<u32>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Payload of `command`.
// For its schema only: `parse` reads it in two steps, so that an invalid command with a valid id gets
// a result.
#[cfg(feature = "schema")]
#[derive(Debug, schemars::JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct CommandMessage {
    /// Payload version: 1.
    v: u8,
    /// UUID of the command. The van executes a repeated one only once and returns the first result.
    #[schemars(extend("format" = "uuid"))]
    id: String,
    /// Id of the van; only in a signed command, which is invalid for other vans.
    van: Option<String>,
    /// The command is not executed after this time.
    expires: Option<String>,
    #[serde(flatten)]
    command: NamedCommand,
}

/// Name and arguments of a command.
#[cfg(feature = "schema")]
#[derive(Debug, schemars::JsonSchema)]
#[serde(tag = "cmd", content = "args", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum NamedCommand {
    /// Publish the position and the state now and, with a parcel, report the state of that parcel.
    ReportNow(Option<ReportNowArgs>),
    /// Publish positions at another interval for a limited time.
    SetReportInterval(SetReportIntervalArgs),
    /// Send all pending records.
    FlushOutbox,
    /// Replace the recipient's delivery preferences.
    SetPreferences(SetPreferencesArgs),
    /// Recall a parcel: it must not be delivered.
    RecallParcel(RecallParcelArgs),
    /// Show a message to the driver.
    ShowMessage(ShowMessageArgs),
    /// Set the duty status.
    SetDuty(SetDutyArgs),
    /// Set the delay of the van.
    SetDelay(SetDelayArgs),
    /// The van is no longer late.
    ClearDelay,
}

/// Parses a payload.
///
/// # Errors
/// Returns [`CommandError::Unanswerable`] if the command has no valid id, else
/// [`CommandError::Rejected`].
pub fn parse(payload: &[u8]) -> Result<ParsedCommand, CommandError> {
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
    let mut unknown: Vec<String> = payload.other.into_iter().map(|(name, _)| name).collect();
    let kind = parse_kind(payload.cmd, payload.args, &mut unknown).map_err(reject)?;
    Ok(ParsedCommand { command: Command { id, expires, kind }, unknown })
}

/// Collects the names of unknown members below `place`.
fn note_unknown(unknown: &mut Vec<String>, place: &str, other: Map<String, Value>) {
    unknown.extend(other.into_iter().map(|(name, _)| format!("{place}.{name}")));
}

fn parse_kind(
    name: String,
    args: Map<String, Value>,
    unknown: &mut Vec<String>,
) -> Result<CommandKind, String> {
    let (kind, other) = match name.as_str() {
        "report_now" => {
            let ReportNowArgs { parcel, other } = read(args)?;
            let parcel = parcel.map(|text| parcel_key(&text)).transpose()?;
            (CommandKind::ReportNow { parcel }, other)
        }
        "set_report_interval" => {
            let SetReportIntervalArgs { interval_s, duration_s, other } = read(args)?;
            if !(1..=3600).contains(&interval_s) {
                return Err(format!("args.interval_s is {interval_s}: write 1 to 3600"));
            }
            let duration_s = seconds("args.duration_s", duration_s.unwrap_or(DEFAULT_DURATION_S))?;
            (CommandKind::SetReportInterval { interval_s, duration_s }, other)
        }
        "set_preferences" => parse_set_preferences(read(args)?, unknown)?,
        "recall_parcel" => {
            let RecallParcelArgs { parcel, other } = read(args)?;
            (CommandKind::RecallParcel { parcel: parcel_key(&parcel)? }, other)
        }
        "show_message" => {
            let ShowMessageArgs { text, other } = read(args)?;
            (CommandKind::ShowMessage { text: check_text("args.text", text, MAX_TEXT)? }, other)
        }
        "set_duty" => {
            let SetDutyArgs { duty, other } = read(args)?;
            let duty = Duty::parse(&duty).ok_or("args.duty must be on, off or break")?;
            (CommandKind::SetDuty(duty), other)
        }
        "set_delay" => parse_set_delay(read(args)?)?,
        "flush_outbox" => (CommandKind::FlushOutbox, args),
        "clear_delay" => (CommandKind::ClearDelay, args),
        _ => {
            let mut name = name;
            name.truncate(name.floor_char_boundary(MAX_NAME));
            (CommandKind::Unsupported { name }, Map::new())
        }
    };
    note_unknown(unknown, "args", other);
    Ok(kind)
}

fn parse_set_preferences(
    args: SetPreferencesArgs,
    unknown: &mut Vec<String>,
) -> Result<(CommandKind, Map<String, Value>), String> {
    let SetPreferencesArgs { route, stop, parcel, preferences, other } = args;
    note_unknown(unknown, "args.preferences", preferences.other);
    let text = |name: &str, text: Option<String>, max: usize| {
        text.map(|text| check_text(&format!("args.{name}"), text, max)).transpose()
    };
    let route = text("route", route, MAX_NAME)?;
    let stop = text("stop", stop, MAX_NAME)?;
    let parcel = parcel.map(|text| parcel_key(&text)).transpose()?;
    if stop.is_none() && parcel.is_none() {
        return Err("args.parcel or args.stop is missing".to_owned());
    }
    let preferences = Preferences {
        authority_to_leave: preferences.authority_to_leave,
        safe_place: text("preferences.safe_place", preferences.safe_place, MAX_TEXT)?,
        neighbour: text("preferences.neighbour", preferences.neighbour, MAX_TEXT)?,
        signature_required: preferences.signature_required,
    };
    Ok((CommandKind::SetPreferences { route, stop, parcel, preferences }, other))
}

fn parse_set_delay(args: SetDelayArgs) -> Result<(CommandKind, Map<String, Value>), String> {
    let SetDelayArgs { reason, delay_s, other } = args;
    let reason = DelayReason::parse(&reason)
        .ok_or("args.reason must be weather, traffic, breakdown, accident or other")?;
    let by = match delay_s {
        None => Delay::DEFAULT_DELAY,
        Some(delay_s) => Duration::from_secs(seconds("args.delay_s", delay_s)?.into()),
    };
    Ok((CommandKind::SetDelay(Delay { by, reason }), other))
}

fn read<T: serde::de::DeserializeOwned>(args: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(args)).map_err(|error| format!("args: {error}"))
}

fn seconds(place: &str, value: u32) -> Result<u32, String> {
    if (1..=MAX_DURATION_S).contains(&value) {
        return Ok(value);
    }
    Err(format!("{place} is {value}: write 1 to {MAX_DURATION_S}"))
}

fn parcel_key(text: &str) -> Result<String, String> {
    if text.len() > MAX_KEY {
        return Err(format!("args.parcel is too long: at most {MAX_KEY} bytes"));
    }
    let key = normalised(text);
    if key.is_empty() { Err("args.parcel is empty".to_owned()) } else { Ok(key) }
}

fn check_text(place: &str, text: String, max: usize) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(format!("{place} is empty"));
    }
    if text.len() > max {
        return Err(format!("{place} is too long: at most {max} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{place} contains a control character"));
    }
    Ok(text)
}

/// Payload of `command/result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommandResultPayload {
    /// Payload version: 1.
    pub v: u8,
    /// Id of the command.
    pub id: String,
    /// `accepted`, `succeeded`, `failed`, `rejected` or `expired`.
    pub status: String,
    /// Reason for programs, such as `unknown_parcel`; absent for an executed command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Reason for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Answer of a command that asks for something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<CommandAnswer>,
    /// Time of the result; absent if the time was unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
}

/// Answer of `report_now` with a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommandAnswer {
    /// Number of the parcel.
    pub parcel: String,
    /// State of the parcel in the van's own records.
    pub parcel_state: String,
    /// `eventID` of the newest event in which the parcel was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<String>,
    /// Time of that event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_ts: Option<String>,
}

impl From<&ParcelReport> for CommandAnswer {
    fn from(report: &ParcelReport) -> Self {
        Self {
            parcel: report.parcel.clone(),
            parcel_state: report.state.clone(),
            last_event_id: report.last_seen.map(|(id, _)| format!("urn:uuid:{id}")),
            last_seen_ts: report.last_seen.map(|(_, utc)| utc.to_string()),
        }
    }
}

impl From<&CommandResult> for CommandResultPayload {
    fn from(answer: &CommandResult) -> Self {
        Self {
            v: VERSION,
            id: answer.id.to_string(),
            status: answer.status.as_str().to_owned(),
            code: answer.code.map(|code| code.as_str().to_owned()),
            detail: answer.detail.clone(),
            result: answer.report.as_ref().map(CommandAnswer::from),
            ts: answer.utc.map(|utc| utc.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10";

    fn parse_rest(rest: &str) -> Result<ParsedCommand, CommandError> {
        parse(format!(r#"{{"v":1,"id":"{ID}",{rest}}}"#).as_bytes())
    }

    fn command(rest: &str) -> Result<CommandKind, CommandError> {
        parse_rest(rest).map(|parsed| parsed.command.kind)
    }

    #[test]
    fn each_command_is_read() {
        let preferences = Preferences {
            authority_to_leave: Some(true),
            safe_place: Some("garage".to_owned()),
            ..Preferences::default()
        };
        let parcel = || Some("1Z999AA10123456784".to_owned());
        let delay = |seconds, reason| {
            CommandKind::SetDelay(Delay { by: Duration::from_secs(seconds), reason })
        };
        let set_preferences = |preferences| CommandKind::SetPreferences {
            route: Some("R".to_owned()),
            stop: Some("stop-18".to_owned()),
            parcel: parcel(),
            preferences,
        };
        for (text, expected) in [
            (r#""cmd":"report_now""#, CommandKind::ReportNow { parcel: None }),
            (
                r#""cmd":"report_now","args":{"parcel":"1z999aa10123456784"}"#,
                CommandKind::ReportNow { parcel: parcel() },
            ),
            (
                r#""cmd":"set_report_interval","args":{"interval_s":1,"duration_s":60}"#,
                CommandKind::SetReportInterval { interval_s: 1, duration_s: 60 },
            ),
            (r#""cmd":"flush_outbox","colour":"red""#, CommandKind::FlushOutbox),
            (
                r#""cmd":"set_preferences","args":{"route":"R","stop":"stop-18","parcel":"1Z999AA10123456784",
                   "preferences":{"authority_to_leave":true,"safe_place":"garage"}}"#,
                set_preferences(preferences),
            ),
            (
                r#""cmd":"set_preferences","args":{"route":"R","stop":"stop-18","parcel":"1Z999AA10123456784",
                   "preferences":{}}"#,
                set_preferences(Preferences::default()),
            ),
            (
                r#""cmd":"recall_parcel","args":{"parcel":"1Z999AA10123456784"}"#,
                CommandKind::RecallParcel { parcel: parcel().unwrap() },
            ),
            (
                r#""cmd":"show_message","args":{"text":"call us"}"#,
                CommandKind::ShowMessage { text: "call us".to_owned() },
            ),
            (r#""cmd":"set_duty","args":{"duty":"break"}"#, CommandKind::SetDuty(Duty::Break)),
            (
                r#""cmd":"set_delay","args":{"reason":"weather","delay_s":1800}"#,
                delay(1800, DelayReason::Weather),
            ),
            (r#""cmd":"set_delay","args":{"reason":"AF"}"#, delay(900, DelayReason::Accident)),
            (r#""cmd":"clear_delay""#, CommandKind::ClearDelay),
            (r#""cmd":"fly""#, CommandKind::Unsupported { name: "fly".to_owned() }),
        ] {
            assert_eq!(command(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn unknown_members_are_named_and_change_nothing() {
        for (text, unknown) in [
            (r#""cmd":"clear_delay","args":{}"#, &[] as &[&str]),
            (r#""cmd":"clear_delay","van":"VAN-1""#, &[]),
            (r#""cmd":"clear_delay","agrs":{}"#, &["agrs"]),
            (r#""cmd":"set_delay","args":{"reason":"weather","seconds":9}"#, &["args.seconds"]),
            (
                r#""cmd":"set_preferences","args":{"parcel":"A","preferences":{"safe_plaice":"shed"}}"#,
                &["args.preferences.safe_plaice"],
            ),
        ] {
            assert_eq!(parse_rest(text).unwrap().unknown, unknown, "{text}");
        }
    }

    #[test]
    fn an_invalid_command_is_rejected_and_answered_if_it_has_an_id() {
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
            r#""cmd":"set_duty""#,
            r#""cmd":"set_duty","args":{"duty":"always"}"#,
            r#""cmd":"set_delay","args":{"resaon":"weather"}"#,
            r#""cmd":"set_delay","args":{"reason":"none"}"#,
            r#""cmd":"set_delay","args":{"reason":"weather","delay_s":0}"#,
            r#""cmd":"set_report_interval","args":{"interval_s":0}"#,
            r#""cmd":"recall_parcel""#,
            r#""cmd":"recall_parcel","args":{"parcel":" "}"#,
            r#""cmd":"set_preferences","args":{"route":"R","preferences":{}}"#,
            r#""cmd":"set_preferences","args":{"parcel":"A"}"#,
            r#""cmd":"flush_outbox","expires":"soon""#,
            r#""cmd":"show_message","args":{"text":"a\u0007b"}"#,
            r#""kmd":"flush_outbox""#,
        ] {
            let error = command(text).expect_err(text);
            let result = error.to_result(None).expect("it has an id");
            assert_eq!(result.status, CommandStatus::Rejected, "{text}");
            assert_eq!(result.code, Some(ResultCode::InvalidArgument), "{text}");
        }
    }
}
