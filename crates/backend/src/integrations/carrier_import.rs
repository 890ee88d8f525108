//! Carrier import: `POST /api/v1/import?carrier=…` with a CSV list of parcel statuses (RFC 4180)
//! creates events of that carrier's leg.
//!
//! - The header names the columns in any order: `parcel`, `status`, `time`, `place` and optionally
//!   `reason`.
//! - The separator is `,` or `;`, as in the header. Fields with a separator, a quote or a line end
//!   are quoted with `"`.
//! - Invalid lines are reported by number and valid ones are imported; with `?strict=true` all or
//!   none.
//! - An event's id is derived from its line, so a repeated or extended list creates no duplicates.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{capture, csv, ids, token_binding};
use crate::event::{Event, Origin};
use crate::http::{FieldError, Problem, QueryParams, RequireScope, scope};
use crate::store::Statement;
use crate::store::events::insert;
use crate::tracking::tracking_event::{
    CARRIER_MEMBER, IMPORT_PREFIX, IMPORT_STATUSES, PLACE_MEMBER, REASON_MEMBER,
};
use crate::{AppState, epc};
use waypost_model::parcel::code::Code;
use waypost_model::units::UtcTime;
use waypost_wire::epcis::GS1_CONTEXT;

/// Maximum size of a list in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of lines in a list.
const MAX_LINES: usize = 20_000;

/// Maximum number of faults per response.
const MAX_FAULTS: usize = 200;

/// Maximum size of a field in bytes.
const MAX_FIELD_BYTES: usize = 200;

/// Maximum lead of a carrier's clock over ours, in milliseconds.
const MAX_CLOCK_SKEW_MS: i64 = 24 * 60 * 60 * 1000;

/// Approximate number of events per transaction.
const BATCH_SIZE: usize = 1_000;

/// CBV 2.0 §7.1 business steps closest to the import statuses.
const STEPS: &[(&str, &str)] = &[
    ("announced", "staging_outbound"),
    ("packed", "packing"),
    ("shipped", "shipping"),
    ("collected", "collecting"),
    ("in_transit", "transporting"),
    ("departed_hub", "departing"),
    ("arrived_at_hub", "arriving"),
    ("sorted", "other"),
    ("handed_over", "accepting"),
    ("at_station", "receiving"),
    ("out_for_delivery", "transporting"),
    ("delivered", "accepting"),
    ("attempted", "other"),
    ("available_for_pickup", "holding"),
    ("returned", "receiving"),
    ("exception", "other"),
];

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/api/v1/import", post(import)).layer(DefaultBodyLimit::max(MAX_BYTES))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryOptions {
    carrier: String,
    #[serde(default)]
    strict: bool,
}

async fn import(
    allowed: RequireScope<scope::Capture>,
    State(shared): State<AppState>,
    QueryParams(choice): QueryParams<QueryOptions>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let carrier = choice.carrier.trim();
    if carrier.is_empty() || carrier.len() > 64 || carrier.chars().any(char::is_control) {
        return Err(Problem::bad_request("carrier: must be a name of 1 to 64 bytes, such as dhl"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/csv") {
        let detail = "Content-Type: write text/csv";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body.map_err(|no| Problem::new(no.status(), no.body_text()))?;
    let text = std::str::from_utf8(&body)
        .map_err(|error| Problem::bad_request(format!("the list: {error}; encode it in UTF-8")))?;
    let list = CarrierList {
        carrier,
        who: &allowed.token_name,
        domain: &shared.config.domain,
        now: shared.now(),
    };
    let (mut events, mut faults) = list.parse(text).map_err(|faults| {
        Problem::bad_request("the header of the list is invalid; see errors").with_errors(faults)
    })?;
    events.retain(|event| {
        let tokens = &shared.config.tokens;
        let Some(words) = token_binding::violation(tokens, &allowed.token_name, event) else {
            return true;
        };
        let parcel = event.epcs.first().map_or("", |(epc, _)| epc.as_str());
        faults.push(shortened_fault("parcel", parcel, &words));
        false
    });
    if choice.strict && !faults.is_empty() {
        let detail = format!("{} invalid lines, nothing was imported; see errors", faults.len());
        return Err(Problem::bad_request(detail).with_errors(truncate_faults(faults)));
    }
    let mut taken = 0;
    for events in events.chunks(BATCH_SIZE) {
        let statements: Vec<Vec<Statement>> = events.iter().map(insert).collect();
        // The first statement of each event shows whether it is new.
        let firsts = statements
            .iter()
            .scan(0, |at, statements| Some(std::mem::replace(at, *at + statements.len())));
        let firsts: Vec<usize> = firsts.collect();
        let outcomes = shared.store.write(statements.into_iter().flatten().collect()).await?;
        taken += firsts.into_iter().filter(|at| outcomes[*at].rows_affected > 0).count();
    }
    capture::publish_parcels_changed(&shared, &events).await;
    let answer = json!({
        "lines": events.len() + faults.len(),
        "taken": taken,
        "known": events.len() - taken,
        "bad": faults.len(),
        "errors": truncate_faults(faults),
    });
    Ok(Json(answer).into_response())
}

fn truncate_faults(mut faults: Vec<FieldError>) -> Vec<FieldError> {
    faults.truncate(MAX_FAULTS);
    faults
}

/// Origin of a list.
struct CarrierList<'a> {
    carrier: &'a str,
    who: &'a str,
    domain: &'a str,
    now: UtcTime,
}

/// Column indices.
struct Columns {
    parcel: usize,
    status: usize,
    time: usize,
    place: usize,
    reason: Option<usize>,
}

impl Columns {
    fn from_header(header: &[String]) -> Result<Self, Vec<FieldError>> {
        let known = ["parcel", "status", "time", "place", "reason"];
        let names: Vec<String> =
            header.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
        let mut faults = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let twice = names[..index].contains(name);
            if twice || !known.contains(&name.as_str()) {
                faults.push(shortened_fault(
                    "line 1",
                    name,
                    "use each of the columns parcel, status, time, place, reason once",
                ));
            }
        }
        let mut at = |wanted: &str| {
            let found = names.iter().position(|name| name == wanted);
            if found.is_none() {
                let remedy = format!("add the column {wanted} to the header");
                faults.push(shortened_fault("line 1", &names.join(" "), &remedy));
            }
            found.unwrap_or_default()
        };
        let (parcel, status, time, place) = (at("parcel"), at("status"), at("time"), at("place"));
        let reason = names.iter().position(|name| name == "reason");
        if faults.is_empty() {
            Ok(Self { parcel, status, time, place, reason })
        } else {
            Err(faults)
        }
    }
}

/// Builds a fault with a shortened value, which is returned to the sender.
fn shortened_fault(place: &str, value: &str, remedy: &str) -> FieldError {
    let value = value.chars().filter(|c| !c.is_control()).take(80).collect();
    FieldError { place: place.to_owned(), value, remedy: remedy.to_owned() }
}

impl CarrierList<'_> {
    /// Parses a list into events and faults.
    fn parse(&self, text: &str) -> Result<(Vec<Event>, Vec<FieldError>), Vec<FieldError>> {
        let mut lines = csv::CsvReader::new(text);
        let Some(Ok((_, header))) = lines.next() else {
            return Err(vec![shortened_fault(
                "line 1",
                "no header",
                "add the header parcel,status,time,place",
            )]);
        };
        let columns = Columns::from_header(&header)?;
        let (mut events, mut faults) = (Vec::new(), Vec::new());
        for line in lines {
            if events.len() + faults.len() == MAX_LINES {
                faults.push(shortened_fault(
                    "the list",
                    "too long",
                    "send at most 20,000 lines; split the list",
                ));
                break;
            }
            let read = line.and_then(|(number, fields)| {
                let place = format!("line {number}");
                if fields.len() != header.len() {
                    let remedy = format!("write {} fields, as in the header", header.len());
                    let value = format!("{} fields", fields.len());
                    return Err(shortened_fault(&place, &value, &remedy));
                }
                self.parse_line(&place, &columns, &fields)
            });
            match read {
                Ok(event) => events.push(event),
                Err(fault) => faults.push(fault),
            }
        }
        Ok((events, faults))
    }

    fn parse_line(
        &self,
        place: &str,
        columns: &Columns,
        fields: &[String],
    ) -> Result<Event, FieldError> {
        let field = |index: usize| fields[index].trim();
        let wrong = |column: &str, value: &str, remedy: &str| {
            Err(shortened_fault(&format!("{place} {column}"), value, remedy))
        };
        if let Some(long) = fields.iter().find(|field| field.len() > MAX_FIELD_BYTES) {
            return Err(shortened_fault(place, long, "write fields of at most 200 bytes"));
        }
        let (parcel, said) = (field(columns.parcel), field(columns.time));
        if is_scientific_notation(parcel) {
            let remedy = "a spreadsheet shortened the number; format the column as text";
            return wrong("parcel", parcel, remedy);
        }
        let code = Code::parse(parcel.replace(['(', ')'], "").as_bytes());
        if code.is_some_and(|code| code.most_likely().check_ok == Some(false)) {
            return wrong("parcel", parcel, "the check digit is wrong; correct the number");
        }
        let Some(epc) = epc::uris_for_number(parcel, self.domain).into_iter().next() else {
            return wrong("parcel", parcel, "write the number on the parcel");
        };
        let word = field(columns.status).to_ascii_lowercase().replace([' ', '-'], "_");
        let Some((_, step)) = STEPS.iter().find(|(known, _)| *known == word) else {
            let words: Vec<&str> = IMPORT_STATUSES.iter().map(|(word, _)| *word).collect();
            return wrong("status", field(columns.status), &words.join(", "));
        };
        let Some(time) = UtcTime::parse(said) else {
            return wrong(
                "time",
                said,
                "write a time with an offset, such as 2026-11-21T18:30:00+01:00",
            );
        };
        if time.date().year() < 2000 || time.millis_since(self.now) > MAX_CLOCK_SKEW_MS {
            return wrong("time", said, "write a time from the year 2000 to one day ahead");
        }
        let reason = columns.reason.map(field).filter(|reason| !reason.is_empty());
        Ok(self.build_event(&StatusLine {
            epc,
            status: word,
            step,
            time,
            place: field(columns.place),
            reason,
        }))
    }

    fn build_event(&self, line: &StatusLine<'_>) -> Event {
        let at = line.time.to_string();
        let parts = ["import", self.carrier, &line.epc, &line.status, &at, line.place];
        let id = ids::urn(&parts);
        let mut data = json!({
            "@context": [GS1_CONTEXT, {"waypost": format!("https://ns.{}/waypost/", self.domain)}],
            "type": "ObjectEvent",
            "eventID": id,
            "eventTime": at,
            "eventTimeZoneOffset": "+00:00",
            "action": "OBSERVE",
            "epcList": [line.epc],
            "bizStep": line.step,
            CARRIER_MEMBER: self.carrier,
        });
        if !line.place.is_empty() {
            data[PLACE_MEMBER] = Value::from(line.place);
        }
        if let Some(reason) = line.reason {
            data[REASON_MEMBER] = Value::from(reason);
        }
        Event {
            source: format!("import:{}:{}", self.who, self.carrier),
            id: id.clone(),
            event_id: id,
            kind: format!("{IMPORT_PREFIX}{}", line.status),
            origin: Origin::Import,
            time: line.time,
            captured_at: self.now,
            epcs: epc::epcs_in(&data),
            data,
            n: 0,
            van: None,
            seq: None,
            route: None,
            retracts: false,
            job: None,
        }
    }
}

/// Whether a spreadsheet replaced a long number by a rounded one, such as `3.95212E+17`.
fn is_scientific_notation(text: &str) -> bool {
    let Some((digits, exponent)) = text.split_once(['E', 'e']) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let is_decimal = digits.contains(['.', ',']);
    let (sign, exponent) = match exponent.strip_prefix(['+', '-']) {
        Some(exponent) => (true, exponent),
        None => (false, exponent),
    };
    is_number(&digits.replacen(['.', ','], "", 1)) && is_number(exponent) && (is_decimal || sign)
}

/// A valid line.
struct StatusLine<'a> {
    epc: String,
    status: String,
    step: &'static str,
    time: UtcTime,
    place: &'a str,
    reason: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Vec<Event>, Vec<FieldError>), Vec<FieldError>> {
        let now = UtcTime::parse("2026-11-22T12:00:00Z").unwrap();
        CarrierList { carrier: "dhl", who: "partner", domain: "id.example.com", now }.parse(text)
    }

    #[test]
    fn a_list_is_read_however_it_is_parted() {
        for text in [
            "parcel,status,time,place\n395212340000000014,Arrived at hub,2026-11-21T18:30:00+01:00,\"Hall, North\"\n",
            "\u{feff}Time;Place;Parcel;Status;reason\r\n2026-11-21T17:30:00Z;Hall, North;(00)395212340000000014;arrived_at_hub;\r\n",
        ] {
            let (events, faults) = read(text).unwrap();
            assert_eq!(faults, []);
            assert_eq!(events.len(), 1);
            let event = &events[0];
            assert_eq!(event.epcs[0].0, "https://id.gs1.org/00/395212340000000014");
            assert_eq!(
                (event.kind.as_str(), event.member(PLACE_MEMBER)),
                ("import.arrived_at_hub", Some("Hall, North"))
            );
            assert_eq!(event.time.to_string(), "2026-11-21T17:30:00.000Z");
        }
        let one = read("parcel,status,time,place\nA,sorted,2026-11-21T18:30:00Z,x\n").unwrap().0;
        let two = read("place,parcel,time,status\nx,a,2026-11-21T19:30:00+01:00,SORTED").unwrap().0;
        assert_eq!(one[0].id, two[0].id, "the same line in another notation");
    }

    #[test]
    fn each_bad_line_is_told_by_its_number_and_the_good_ones_are_taken() {
        let (events, faults) = read(
            "parcel,status,time,place\nA,sorted,2026-11-21T18:30:00Z,\"two\nlines\"\nA,lost,2026-11-21T18:30:00Z,x\n\
             A,sorted,2026-11-21 18:30,x\nA,sorted\n,sorted,2026-11-21T18:30:00Z,x\nA,sorted,2027-11-21T18:30:00Z,x\n\
             B,sorted,2026-11-21T18:30:00Z,\"open",
        )
        .unwrap();
        assert_eq!(events.len(), 1);
        let places: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
        let expected =
            ["line 4 status", "line 5 time", "line 6", "line 7 parcel", "line 8 time", "line 9"];
        assert_eq!(places, expected);
    }

    #[test]
    fn a_number_that_a_spreadsheet_or_a_typing_error_changed_is_refused_with_its_line() {
        let (events, faults) = read(
            "parcel,status,time,place\n3.95212E+17,sorted,2026-11-21T18:30:00Z,x\n\
             395212340000000015,sorted,2026-11-21T18:30:00Z,x\n\
             \"3,95212E+17\",sorted,2026-11-21T18:30:00Z,x\n4E+17,sorted,2026-11-21T18:30:00Z,x\n\
             (00)395212340000000015,sorted,2026-11-21T18:30:00Z,x\n\
             395212340000000014,sorted,2026-11-21T18:30:00Z,x\nAB12E5,sorted,2026-11-21T18:30:00Z,x\n\
             12E5,sorted,2026-11-21T18:30:00Z,x\n",
        )
        .unwrap();
        let told: Vec<_> = faults.iter().map(|fault| fault.place.as_str()).collect();
        let expected = ["line 2", "line 3", "line 4", "line 5", "line 6"];
        assert_eq!(told, expected.map(|line| format!("{line} parcel")));
        assert!(faults[0].remedy.contains("text") && faults[1].remedy.contains("check digit"));
        assert_eq!(events.len(), 3, "a number may contain an E");
    }

    #[test]
    fn a_list_without_its_columns_is_refused_as_a_whole() {
        for text in [
            "",
            "parcel,status,time",
            "parcel,status,time,place,parcel",
            "a,b",
            "parcel,status,time,place,colour",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_word_has_a_stage_and_a_step() {
        let of =
            |words: Vec<&'static str>| words.into_iter().collect::<std::collections::BTreeSet<_>>();
        let stages = of(IMPORT_STATUSES.iter().map(|(word, _)| *word).collect());
        assert_eq!(stages, of(STEPS.iter().map(|(word, _)| *word).collect()));
    }
}
