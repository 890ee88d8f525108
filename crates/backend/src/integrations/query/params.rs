//! Parameters of an event query (EPCIS 2.0 §8.2.7.1), from a URL or from a named query.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::epc::{self, EpcMatch};
use crate::event::Role;
use crate::http::FieldError;
use crate::integrations::epcis::{self, Vocabulary};
use crate::store::event_query::{Column, Direction, EventQuery, Order, Page};
use waypost_model::units::UtcTime;

/// Default number of events per page.
pub(super) const DEFAULT_PER_PAGE: u32 = 30;
/// Maximum number of events per page.
pub(super) const MAX_PER_PAGE: u32 = 1_000;

/// Maximum of `maxEventCount` and `eventCountLimit`.
const MAX_COUNT: u32 = 10_000;

/// Maximum number of values per parameter.
const MAX_VALUES: usize = 100;

/// Maximum number of parameters per query; the database evaluates each on every event.
const MAX_PARAMETERS: usize = 50;

/// Kind of a value, which rejects values that cannot occur.
#[derive(Clone, Copy, Debug)]
enum ValueKind {
    Uri,
    Location,
    Term(Vocabulary),
}

/// Parameters with several values, separated by `|` (§12.8.3) or repeated.
const LIST_PARAMETERS: &[(&str, Column, ValueKind)] = &[
    ("eventType", Column::EventType, ValueKind::Term(Vocabulary::EventType)),
    ("EQ_eventID", Column::EventId, ValueKind::Uri),
    ("EQ_action", Column::Action, ValueKind::Term(Vocabulary::Action)),
    ("EQ_bizStep", Column::BizStep, ValueKind::Term(Vocabulary::BizStep)),
    ("EQ_disposition", Column::Disposition, ValueKind::Term(Vocabulary::Disposition)),
    ("EQ_readPoint", Column::ReadPoint, ValueKind::Location),
    ("EQ_bizLocation", Column::BizLocation, ValueKind::Location),
];

/// Parameters that match objects, with the roles in which an event names them.
const OBJECT_PARAMETERS: &[(&str, &[Role])] = &[
    ("MATCH_epc", &[Role::Epc, Role::Child]),
    ("MATCH_parentID", &[Role::Parent]),
    ("MATCH_inputEPC", &[Role::Input]),
    ("MATCH_outputEPC", &[Role::Output]),
    ("MATCH_anyEPC", &[]),
];

/// A parsed event query.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::integrations) struct EventQueryParams {
    pub(in crate::integrations) query: EventQuery,
    pub(in crate::integrations) page: Page,
    /// `maxEventCount`: a larger result is an error.
    pub(in crate::integrations) max_count: Option<u32>,
    /// `eventCountLimit`: a larger result is cut.
    pub(in crate::integrations) limit: Option<u32>,
}

/// Parses the parameters of a query. Unknown ones are rejected, since an ignored filter would reveal
/// too many events.
pub(in crate::integrations) fn parse(
    parameters: &[(String, String)],
) -> Result<EventQueryParams, Vec<FieldError>> {
    let mut asked = EventQueryParams {
        query: EventQuery::default(),
        page: Page {
            order: Order::default(),
            direction: Direction::default(),
            after: None,
            limit: DEFAULT_PER_PAGE,
        },
        max_count: None,
        limit: None,
    };
    let mut faults = Vec::new();
    if parameters.len() > MAX_PARAMETERS {
        let value = parameters.len().to_string();
        let remedy =
            "use at most 50 parameters; separate several values of one parameter by |".to_owned();
        return Err(vec![FieldError { place: "the query".to_owned(), value, remedy }]);
    }
    for (name, value) in parameters {
        if let Err(remedy) = asked.set_parameter(name, value) {
            let value = value.chars().take(80).collect();
            let place = name.chars().take(80).collect();
            faults.push(FieldError { place, value, remedy });
        }
    }
    if asked.max_count.is_some() && asked.limit.is_some() {
        faults.push(FieldError {
            place: "maxEventCount".to_owned(),
            value: String::new(),
            remedy: "use maxEventCount or eventCountLimit, not both".to_owned(),
        });
    }
    if faults.is_empty() { Ok(asked) } else { Err(faults) }
}

/// Splits a query string into decoded names and values.
pub(in crate::integrations) fn split(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// Returns the parameters of a query as JSON (§12.8.6), whose lists are arrays.
pub(in crate::integrations) fn from_json(query: &Value) -> Result<Vec<(String, String)>, String> {
    let members = query.as_object().ok_or("query: write an object with parameters")?;
    let mut parameters = Vec::new();
    for (name, value) in members.iter().filter(|(name, _)| *name != "@context") {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let joined = match value {
            Value::Array(items) => items
                .iter()
                .map(|item| text(item).filter(|text| !text.contains('|')))
                .collect::<Option<Vec<_>>>()
                .map(|items| items.join("|")),
            one => text(one),
        };
        let joined = joined.ok_or_else(|| {
            format!("query.{name}: write a text, a number, or an array of texts without |")
        })?;
        parameters.push((name.clone(), joined));
    }
    Ok(parameters)
}

/// Decodes percent-encoding (RFC 3986 §2.1). `+` is kept, since times contain it.
fn percent_decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl ValueKind {
    /// Returns the value as the store has it.
    fn stored(self, value: &str) -> Result<String, String> {
        match self {
            Self::Uri if epcis::is_uri(value) => Ok(value.to_owned()),
            Self::Location if epcis::is_uri(value) => Ok(epc::canonical(value)),
            Self::Uri | Self::Location => Err("write a URI".to_owned()),
            Self::Term(vocabulary) => vocabulary
                .bare(value)
                .ok_or_else(|| format!("unknown value; {}", vocabulary.remedy())),
        }
    }
}

/// Splits the values of a parameter.
fn split_values(value: &str) -> Result<Vec<&str>, String> {
    let values: Vec<&str> = value.split('|').filter(|part| !part.is_empty()).collect();
    match values.len() {
        0 => Err("write at least one value".to_owned()),
        1..=MAX_VALUES => Ok(values),
        _ => Err("write at most 100 values".to_owned()),
    }
}

impl EventQueryParams {
    fn set_parameter(&mut self, name: &str, value: &str) -> Result<(), String> {
        let time = || {
            UtcTime::parse(value).ok_or("write a time with an offset, such as 2026-11-22T07:12:31Z")
        };
        let some = || split_values(value);
        if let Some((_, column, kind)) = LIST_PARAMETERS.iter().find(|(known, ..)| *known == name) {
            let values = some()?.into_iter().map(|value| kind.stored(value));
            self.query.any_of.push((*column, values.collect::<Result<_, _>>()?));
            return Ok(());
        }
        if let Some((_, roles)) = OBJECT_PARAMETERS.iter().find(|(known, _)| *known == name) {
            let matches = some()?.into_iter().map(|uri| {
                let found = epcis::is_uri(uri).then(|| epc::parse_match(uri)).flatten();
                found.ok_or_else(|| {
                    "write a URI, or a pattern such as urn:epc:idpat:sgtin:0614141.107346.*"
                        .to_owned()
                })
            });
            let matches: Vec<EpcMatch> = matches.collect::<Result<_, _>>()?;
            self.query.objects.push((roles, matches));
            return Ok(());
        }
        let count = |most: u32| {
            let count = value.parse().ok().filter(|count| (1..=most).contains(count));
            count.ok_or_else(|| format!("write 1 to {most}"))
        };
        match name {
            "GE_eventTime" => self.query.since.push((Order::EventTime, time()?)),
            "LT_eventTime" => self.query.until.push((Order::EventTime, time()?)),
            "GE_recordTime" => self.query.since.push((Order::RecordTime, time()?)),
            "LT_recordTime" => self.query.until.push((Order::RecordTime, time()?)),
            "orderBy" => {
                self.page.order = match value {
                    "eventTime" => Order::EventTime,
                    "recordTime" => Order::RecordTime,
                    _ => return Err("write eventTime or recordTime".to_owned()),
                }
            }
            "orderDirection" => {
                self.page.direction = match value {
                    "ASC" => Direction::Ascending,
                    "DESC" => Direction::Descending,
                    _ => return Err("write ASC or DESC".to_owned()),
                }
            }
            "perPage" => self.page.limit = count(MAX_PER_PAGE)?,
            "maxEventCount" => self.max_count = Some(count(MAX_COUNT)?),
            "eventCountLimit" => self.limit = Some(count(MAX_COUNT)?),
            "nextPageToken" => {
                let after = value.split_once('.');
                let after = after.and_then(|(at, n)| Some((at.parse().ok()?, n.parse().ok()?)));
                self.page.after =
                    Some(after.ok_or("take it from the Link header of the previous page")?);
            }
            _ => return Err("unknown parameter; see /api/v1/openapi.json".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        let query = "eventType=ObjectEvent%7CAggregationEvent&GE_eventTime=2026-11-22T07:00:00+01:00\
            &MATCH_epc=urn:epc:id:sscc:0614141.1234567890&orderBy=recordTime&orderDirection=ASC&perPage=7&nextPageToken=5.6";
        let asked = parse(&split(query)).unwrap();
        let both = vec!["ObjectEvent".to_owned(), "AggregationEvent".to_owned()];
        assert_eq!(asked.query.any_of, [(Column::EventType, both)]);
        let one = EpcMatch::Exactly("https://id.gs1.org/00/106141412345678908".to_owned());
        assert_eq!(asked.query.objects, [(&[Role::Epc, Role::Child][..], vec![one])]);
        let since = UtcTime::parse("2026-11-22T06:00:00Z").unwrap();
        assert_eq!(asked.query.since, [(Order::EventTime, since)]);
        let page = Page {
            order: Order::RecordTime,
            direction: Direction::Ascending,
            after: Some((5, 6)),
            limit: 7,
        };
        assert_eq!(asked.page, page);
        assert_eq!(parse(&[]).unwrap().query, EventQuery::default());
        let faults = parse(&split(&"EQ_action=ADD&".repeat(51))).unwrap_err();
        assert_eq!(faults[0].place, "the query");
    }

    #[test]
    fn what_is_not_known_is_named() {
        let query = "EQ_bizstep=x&perPage=0&orderBy=place&GE_eventTime=now&EQ_action=&nextPageToken=x&%zz=1\
            &EQ_action=SEE&EQ_bizStep=wrapping&EQ_disposition=gone&eventType=QuantityEvent&EQ_readPoint=hall\
            &MATCH_epc=7&MATCH_parentID=urn:epc:idpat:sgtin:*.7.*&maxEventCount=-1&eventCountLimit=0";
        let names: Vec<String> =
            parse(&split(query)).unwrap_err().into_iter().map(|fault| fault.place).collect();
        let expected = [
            "EQ_bizstep",
            "perPage",
            "orderBy",
            "GE_eventTime",
            "EQ_action",
            "nextPageToken",
            "%zz",
            "EQ_action",
            "EQ_bizStep",
            "EQ_disposition",
            "eventType",
            "EQ_readPoint",
            "MATCH_epc",
            "MATCH_parentID",
            "maxEventCount",
            "eventCountLimit",
        ];
        assert_eq!(names, expected);
        let both = parse(&split("maxEventCount=1&eventCountLimit=1")).unwrap_err();
        assert_eq!(both[0].place, "maxEventCount");
    }

    #[test]
    fn a_term_is_found_by_its_uri_too() {
        for value in [
            "shipping",
            "urn:epcglobal:cbv:bizstep:shipping",
            "https://ref.gs1.org/cbv/BizStep-shipping",
            "https://ns.gs1.org/cbv/BizStep-shipping",
        ] {
            let asked = parse(&[("EQ_bizStep".to_owned(), value.to_owned())]).unwrap();
            assert_eq!(
                asked.query.any_of,
                [(Column::BizStep, vec!["shipping".to_owned()])],
                "{value}"
            );
        }
    }

    #[test]
    fn a_query_in_json_has_the_parameters_of_a_url() {
        let query = serde_json::json!({"eventType": ["ObjectEvent"], "EQ_bizStep": ["shipping", "packing"],
            "GE_eventTime": "2026-11-22T07:00:00Z", "maxEventCount": 7});
        let asked = parse(&from_json(&query).unwrap()).unwrap();
        let url = "EQ_bizStep=shipping|packing&GE_eventTime=2026-11-22T07:00:00Z&eventType=ObjectEvent&maxEventCount=7";
        assert_eq!(asked.query.since, parse(&split(url)).unwrap().query.since);
        assert_eq!(asked.max_count, Some(7));
        for wrong in [
            serde_json::json!([]),
            serde_json::json!({"a": true}),
            serde_json::json!({"a": ["x|y"]}),
        ] {
            assert!(from_json(&wrong).is_err(), "{wrong}");
        }
    }
}
