//! Erases all data about a parcel and records the erasure in the audit log (GDPR Art. 17).
//!
//! - Rows about this parcel alone are deleted. From rows that are also about others, its part is
//!   removed: events, routes, errors of captures.
//! - A van's event keeps its sequence number, without content. Otherwise the next event would
//!   indicate a gap, and a van without an acknowledgement would resend it.
//! - Audit entries stay with a redacted object, since they are about the users who had access. An
//!   entry records time and request of the erasure, but nothing that identifies the parcel.
//! - Positions of stops and tracks of vans identify no person; [`super::retention`] removes them.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{AuditEntry, Engine, Row, Statement, Store, StoreError, Value, mask_number};
use crate::epc;
use crate::event::Role;
use crate::tracking::trace;
use waypost_model::units::UtcTime;

/// Maximum number of rows with documents per query.
const PAGE_SIZE: i64 = 200;

/// Shorter numbers are not searched for inside texts, where they may be part of anything.
const MIN_SEARCH_LEN: usize = 8;

/// Replacement for erased text.
const ERASED: &str = "erased";

/// Names under which a parcel may be recorded.
struct ParcelNames<'a> {
    /// Canonical URI.
    epc: &'a str,
    /// Normalized number.
    number: String,
}

impl ParcelNames<'_> {
    /// Whether the text is one of the names.
    fn matches(&self, text: &str) -> bool {
        epc::canonical(text) == self.epc || epc::number_key(text) == epc::number_key(&self.number)
    }

    /// Whether a text of an event is about the parcel: its URI, or a scan result.
    fn is_mentioned_in(&self, text: &str) -> bool {
        let is_uri = text.contains("://") || text.starts_with("urn:");
        epc::canonical(text) == self.epc
            || !is_uri && self.number.len() >= MIN_SEARCH_LEN && text.contains(&self.number)
    }

    /// Masked forms in the audit log, for each way in which the number may be typed.
    fn audit_search_terms(&self) -> Vec<String> {
        let key = epc::number_key(&self.number);
        let number = self.number.as_str();
        let typed = [number, &key].into_iter().flat_map(|number| {
            ["", "00", "(00)"].map(|ahead| mask_number(&format!("{ahead}{number}")))
        });
        typed.collect()
    }

    /// Names to search for inside a text.
    fn search_terms(&self) -> impl Iterator<Item = &str> {
        [self.epc, &self.number].into_iter().filter(|text| text.len() >= MIN_SEARCH_LEN)
    }

    /// Whether an unparsed payload mentions the parcel.
    fn occur_in(&self, payload: &[u8]) -> bool {
        let has = |text: &str| payload.windows(text.len()).any(|octets| octets == text.as_bytes());
        self.search_terms().any(has) || self.occur_in_json(payload)
    }

    fn occur_in_json(&self, payload: &[u8]) -> bool {
        fn any(value: &Json, is_meant: &dyn Fn(&str) -> bool) -> bool {
            match value {
                Json::String(text) => is_meant(text),
                Json::Array(items) => items.iter().any(|item| any(item, is_meant)),
                Json::Object(members) => members.values().any(|member| any(member, is_meant)),
                _ => false,
            }
        }
        serde_json::from_slice::<Json>(payload)
            .is_ok_and(|document| any(&document, &|text| self.matches(text)))
    }
}

impl Store {
    /// Erases a parcel at `now` and returns the number of deleted or rewritten rows. `request` is
    /// the operator's reference for the request.
    ///
    /// # Errors
    /// Fails, without erasing anything, while a running capture names the parcel, or if `request`
    /// does.
    pub async fn erase(
        &self,
        epc: &str,
        request: Option<&str>,
        now: UtcTime,
    ) -> Result<u64, StoreError> {
        let known = self.parcel(epc).await?;
        let since = known.as_ref().map(|parcel| parcel.put_at);
        let number = known.map_or_else(|| trace::number_from_uri(epc), |parcel| parcel.number);
        let names = ParcelNames { epc, number };
        if request.is_some_and(|request| names.occur_in(request.as_bytes())) {
            let remedy = "the request's reference contains the parcel's name, which would be kept; choose another";
            return Err(StoreError::Rejected(remedy.to_owned()));
        }
        self.ensure_no_running_capture(&names).await?;
        let mut statements = self.erase_from_events(&names).await?;
        if let Some(since) = since {
            statements.extend(self.erase_from_routes(&names, since).await?);
        }
        statements.extend(self.erase_from_dead_letters(&names).await?);
        statements.extend(self.erase_from_queries(&names).await?);
        statements.extend(delete_by_key(&names));
        let target = request.map_or_else(String::new, |request| format!("request {request:.64}"));
        let (who, what) = ("operator".to_owned(), "erase".to_owned());
        // In the same transaction: no erasure without its entry.
        statements.push(AuditEntry { at: now, actor: who, action: what, target }.insert());
        let outcomes = self.write(statements).await?;
        let erased = &outcomes[..outcomes.len() - 1];
        let rows: u64 = erased.iter().map(|outcome| outcome.rows_affected).sum();
        if let Engine::Sqlite(engine) = &self.engine {
            // Only a checkpoint overwrites the data in the file itself. A concurrent reader delays
            // it until the hourly one.
            engine.checkpoint().await.ok();
        }
        Ok(rows)
    }

    /// A running capture would store the parcel again when it finishes.
    async fn ensure_no_running_capture(&self, names: &ParcelNames<'_>) -> Result<(), StoreError> {
        let running = "SELECT doc FROM capture_job WHERE state = 'running' AND doc IS NOT NULL";
        let docs = self.read(Statement::new(running, [])).await?;
        if docs.iter().any(|row| names.occur_in(row.text(0).as_bytes())) {
            return Err(StoreError::Rejected(
                "a running capture names the parcel; wait until an instance has finished it, then erase"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Events that name the parcel, and events of its routes that mention it elsewhere, for example
    /// as missing.
    async fn erase_from_events(
        &self,
        names: &ParcelNames<'_>,
    ) -> Result<Vec<Statement>, StoreError> {
        const DOCS: &str =
            "SELECT n, doc, route FROM event WHERE n IN (SELECT n FROM event_epc WHERE epc = $1)";
        const ROUTE: &str = "SELECT route FROM parcel WHERE epc = $1 AND route IS NOT NULL";
        const OTHERS: &str = "SELECT n, doc FROM event WHERE route = $1 AND replace(doc, $2, '') <> doc \
            AND n NOT IN (SELECT n FROM event_epc WHERE epc = $2)";
        let mut statements = Vec::new();
        let rows = self.read(Statement::new(DOCS, [names.epc.into()])).await?;
        let listed = self.read(Statement::new(ROUTE, [names.epc.into()])).await?;
        let mut routes: BTreeSet<&str> = rows.iter().filter_map(|row| row.maybe_text(2)).collect();
        routes.extend(listed.iter().map(|row| row.text(0)));
        statements.extend(rows.iter().flat_map(|row| erase_from_event(row, names)));
        for route in routes {
            let others = self.read(Statement::new(OTHERS, [route.into(), names.epc.into()]));
            statements.extend(others.await?.iter().map(|row| redact_event(row, names)));
        }
        Ok(statements)
    }

    /// Covers every route that may have listed the parcel, including those from which it was
    /// removed.
    async fn erase_from_routes(
        &self,
        names: &ParcelNames<'_>,
        since: UtcTime,
    ) -> Result<Vec<Statement>, StoreError> {
        const ROUTES: &str = "SELECT route, doc, manifest FROM route WHERE put_at >= $1 AND route > $2 ORDER BY route LIMIT $3";
        let mut statements = Vec::new();
        let mut last = String::new();
        loop {
            let asked = [since.into(), last.as_str().into(), PAGE_SIZE.into()];
            let rows = self.read(Statement::new(ROUTES, asked)).await?;
            for row in &rows {
                let without = [1, 2].map(|column| remove_from_route(row.text(column), names));
                if let [doc, manifest] = &without
                    && without.iter().any(Option::is_some)
                {
                    let or = |new: &Option<String>, column| {
                        new.clone().unwrap_or_else(|| row.text(column).to_owned())
                    };
                    statements.push(Statement::new(
                        "UPDATE route SET doc = $2, manifest = $3 WHERE route = $1",
                        [row.text(0).into(), or(doc, 1).into(), or(manifest, 2).into()],
                    ));
                }
            }
            match rows.last() {
                Some(row) => row.text(0).clone_into(&mut last),
                None => return Ok(statements),
            }
        }
    }

    /// Deletes named queries that ask for the parcel, with their subscriptions. Each token has a
    /// limited number of them.
    async fn erase_from_queries(
        &self,
        names: &ParcelNames<'_>,
    ) -> Result<Vec<Statement>, StoreError> {
        let rows = self.read(Statement::new("SELECT name, doc FROM epcis_query", [])).await?;
        let meant = rows.iter().filter(|row| names.occur_in(row.text(1).as_bytes()));
        Ok(meant
            .flat_map(|row| {
                [
                    "DELETE FROM epcis_subscription WHERE query = $1",
                    "DELETE FROM epcis_query WHERE name = $1",
                ]
                .map(|sql| Statement::new(sql, [row.text(0).into()]))
            })
            .collect())
    }

    async fn erase_from_dead_letters(
        &self,
        names: &ParcelNames<'_>,
    ) -> Result<Vec<Statement>, StoreError> {
        const POISON: &str =
            "SELECT n, payload, reason FROM poison WHERE n > $1 ORDER BY n LIMIT $2";
        let mut statements = Vec::new();
        let mut last = 0;
        loop {
            let rows = self.read(Statement::new(POISON, [last.into(), PAGE_SIZE.into()])).await?;
            for row in &rows {
                if names.occur_in(row.bytes(1)) || names.occur_in(row.text(2).as_bytes()) {
                    let gone = "DELETE FROM poison WHERE n = $1";
                    statements.push(Statement::new(gone, [row.int(0).into()]));
                }
            }
            match rows.last() {
                Some(row) => last = row.int(0),
                None => return Ok(statements),
            }
        }
    }
}

/// Deletes or empties an event about this parcel alone; otherwise removes the parcel from it.
fn erase_from_event(row: &Row, names: &ParcelNames<'_>) -> Vec<Statement> {
    const EMPTY: &str = "UPDATE event SET kind = 'erased', event_type = '', action = NULL, biz_step = NULL, \
        disposition = NULL, read_point = NULL, biz_location = NULL, route = NULL, doc = '{}' \
        WHERE n = $1 AND seq IS NOT NULL";
    const GONE: &str = "DELETE FROM event WHERE n = $1 AND seq IS NULL";
    let doc: Json = serde_json::from_str(row.text(1)).unwrap_or_default();
    let parcels = epc::epcs_in(&doc);
    let is_alone = parcels.iter().all(|(uri, role)| uri == names.epc || *role == Role::Parent);
    if is_alone {
        return [EMPTY, GONE].map(|sql| Statement::new(sql, [row.int(0).into()])).to_vec();
    }
    vec![redact_event(row, names)]
}

fn redact_event(row: &Row, names: &ParcelNames<'_>) -> Statement {
    let mut doc: Json = serde_json::from_str(row.text(1)).unwrap_or_default();
    redact(&mut doc, &|text| names.is_mentioned_in(text));
    let set = "UPDATE event SET doc = $2 WHERE n = $1";
    Statement::new(set, [row.int(0).into(), doc.to_string().into()])
}

/// Removes a parcel from the members named `parcels`; `None` if none lists it.
fn remove_from_route(doc: &str, names: &ParcelNames<'_>) -> Option<String> {
    fn listed(value: &mut Json, names: &ParcelNames<'_>) -> bool {
        let is_it = |parcel: &Json| {
            let named = |member| parcel.get(member).and_then(Json::as_str);
            named("number").or(parcel.as_str()).is_some_and(|text| names.matches(text))
                || named("epc").is_some_and(|text| names.matches(text))
        };
        match value {
            Json::Object(members) => members.iter_mut().fold(false, |found, (name, member)| {
                let before = member.as_array().map(Vec::len);
                if let (Json::Array(parcels), "parcels") = (&mut *member, name.as_str()) {
                    parcels.retain(|parcel| !is_it(parcel));
                }
                found | (before != member.as_array().map(Vec::len)) | listed(member, names)
            }),
            Json::Array(items) => {
                items.iter_mut().fold(false, |found, item| found | listed(item, names))
            }
            _ => false,
        }
    }
    let mut route = serde_json::from_str::<Json>(doc).ok()?;
    listed(&mut route, names).then(|| route.to_string())
}

/// Removes matching texts, and objects that contain one, from arrays; elsewhere a matching text
/// becomes null.
fn redact(value: &mut Json, is_meant: &dyn Fn(&str) -> bool) {
    let names = |value: &Json| value.as_str().is_some_and(is_meant);
    match value {
        Json::Array(items) => {
            items.retain(|item| {
                !names(item) && !item.as_object().is_some_and(|object| object.values().any(names))
            });
            items.iter_mut().for_each(|item| redact(item, is_meant));
        }
        Json::Object(members) => {
            for member in members.values_mut() {
                if names(member) {
                    *member = Json::Null;
                } else {
                    redact(member, is_meant);
                }
            }
        }
        _ => {}
    }
}

/// Statements for rows that have a name as key or inside a text.
fn delete_by_key(names: &ParcelNames<'_>) -> Vec<Statement> {
    let mut all = Vec::new();
    for sql in [
        "DELETE FROM event_epc WHERE epc = $1",
        "DELETE FROM assignment WHERE epc = $1",
        "DELETE FROM unassigned_event WHERE epc = $1",
        "DELETE FROM alert WHERE epc = $1",
        "DELETE FROM subscriber WHERE epc = $1",
        "DELETE FROM command WHERE epc = $1",
        "DELETE FROM parcel WHERE epc = $1",
    ] {
        all.push(Statement::new(sql, [names.epc.into()]));
    }
    for text in names.search_terms() {
        let message = "DELETE FROM command WHERE replace(doc, $1, '') <> doc";
        all.push(Statement::new(message, [text.into()]));
        let errors = "UPDATE capture_job SET errors = replace(errors, $1, $2) WHERE replace(errors, $1, '') <> errors";
        all.push(Statement::new(errors, [text.into(), ERASED.into()]));
    }
    let looks =
        "UPDATE audit SET target = replace(target, $1, $2) WHERE replace(target, $1, '') <> target";
    let marks = names.audit_search_terms();
    all.extend(
        marks.iter().map(|mark| Statement::new(looks, [Value::from(mark.as_str()), ERASED.into()])),
    );
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_forgotten_is_nowhere_in_what_tells_of_others() {
        let gone = "https://id.gs1.org/00/106141412345678908";
        let mut doc = json!({"childEPCs": [gone, "urn:x:other", "urn:epc:id:sscc:0614141.1234567890"],
            "list": [{"epc": gone, "score": 1}, {"epc": "urn:x:other"}], "last": gone, "n": 7});
        redact(&mut doc, &|text| epc::canonical(text) == gone);
        let expected = json!({"childEPCs": ["urn:x:other"], "list": [{"epc": "urn:x:other"}],
            "last": null, "n": 7});
        assert_eq!(doc, expected);
    }

    #[test]
    fn a_route_loses_the_parcel_and_no_stop_of_the_same_name() {
        let names = ParcelNames { epc: "urn:x:7", number: "7".to_owned() };
        let doc = json!({"van": "7", "manifest": {"stops": [{"id": "7", "parcels": [
            {"number": " 7", "tags": ["E2"]}, {"number": "8", "epc": "urn:x:8"}, {"number": "x", "epc": "urn:x:7"}]}]}});
        let without = remove_from_route(&doc.to_string(), &names).expect("it is listed");
        let expected = json!({"van": "7", "manifest": {"stops": [{"id": "7", "parcels": [
            {"number": "8", "epc": "urn:x:8"}]}]}});
        assert_eq!(serde_json::from_str::<Json>(&without).unwrap(), expected);
        assert_eq!(remove_from_route(&without, &names), None);
    }
}
