//! A parcel → forgotten, wherever it is named, and a line of the audit log that says so (GDPR Art. 17).
//!
//! - What is of that parcel alone goes. From what also tells of others its part goes: events, routes, captures' errors.
//! - Of a van's event its number stays, with nothing in it: else the next one would prove that something is missing, and a van
//!   that has not been told yet that it is stored would bring it back.
//! - Who looked at it, when and how stays known, at nothing: it is about those who looked. So does that a parcel was erased,
//!   when, and for which request; nothing in that line leads back to the parcel.
//! - Places of stops and trails of vans name nobody, and stay for [`super::retention`].

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{Engine, Look, Row, Statement, Store, StoreError, Value, masked};
use crate::backend::epc;
use crate::backend::event::Role;
use crate::backend::view::trace;
use crate::units::UtcTime;

/// Rows of one answer that have documents.
const PAGE: i64 = 200;

/// A shorter number is looked for only where nothing else can stand: in a text it may be a part of anything.
const SHORTEST: usize = 8;

/// What stands where something was.
const ERASED: &str = "erased";

/// What a parcel is called, wherever that is.
struct Names<'a> {
    /// Canonical URI.
    epc: &'a str,
    /// Its number, normalised.
    number: String,
}

impl Names<'_> {
    /// Whether a text is one of them.
    fn is_name(&self, text: &str) -> bool {
        epc::canonical(text) == self.epc || epc::number(text) == self.number
    }

    /// Whether a text of an event is about it: its URI, or what a scanner read.
    fn is_told_by(&self, text: &str) -> bool {
        let is_uri = text.contains("://") || text.starts_with("urn:");
        epc::canonical(text) == self.epc
            || !is_uri && self.number.len() >= SHORTEST && text.contains(&self.number)
    }

    /// As it stands in the audit log, however somebody typed it.
    fn marks(&self) -> [String; 3] {
        ["", "00", "(00)"].map(|ahead| masked(&format!("{ahead}{}", self.number)))
    }

    /// What is looked for in the midst of a text.
    fn texts(&self) -> impl Iterator<Item = &str> {
        [self.epc, &self.number].into_iter().filter(|text| text.len() >= SHORTEST)
    }

    /// Whether octets that nobody could read speak of it.
    fn are_in(&self, payload: &[u8]) -> bool {
        let has = |text: &str| payload.windows(text.len()).any(|octets| octets == text.as_bytes());
        self.texts().any(has) || self.are_in_document(payload)
    }

    fn are_in_document(&self, payload: &[u8]) -> bool {
        fn any(value: &Json, is_meant: &dyn Fn(&str) -> bool) -> bool {
            match value {
                Json::String(text) => is_meant(text),
                Json::Array(items) => items.iter().any(|item| any(item, is_meant)),
                Json::Object(members) => members.values().any(|member| any(member, is_meant)),
                _ => false,
            }
        }
        serde_json::from_slice::<Json>(payload)
            .is_ok_and(|document| any(&document, &|text| self.is_name(text)))
    }
}

impl Store {
    /// Forgets a parcel at `now`, for a request by the name that it has in the operator's files; how many rows were removed or
    /// rewritten.
    ///
    /// # Errors
    /// [`StoreError`], also while a capture that names it is not done, or if the request's name does; then nothing was forgotten.
    pub async fn erase(
        &self,
        epc: &str,
        request: Option<&str>,
        now: UtcTime,
    ) -> Result<u64, StoreError> {
        let known = self.parcel(epc).await?;
        let since = known.as_ref().map(|parcel| parcel.put_at);
        let number = known.map_or_else(|| trace::number_of(epc), |parcel| parcel.number);
        let names = Names { epc, number };
        if request.is_some_and(|request| names.are_in(request.as_bytes())) {
            let remedy =
                "the name of the request has the parcel's in it, and would stay; choose another";
            return Err(StoreError::Refused(remedy.to_owned()));
        }
        self.no_capture_runs(&names).await?;
        let mut statements = self.events_without(&names).await?;
        if let Some(since) = since {
            statements.extend(self.routes_without(&names, since).await?);
        }
        statements.extend(self.poison_without(&names).await?);
        statements.extend(elsewhere(&names));
        let outcomes = self.write(statements).await?;
        let rows: u64 = outcomes.iter().map(|outcome| outcome.changed).sum();
        let mut target = format!("{rows} rows");
        target.extend(request.map(|request| format!(", request {request:.64}")));
        let (who, what) = ("operator".to_owned(), "erase".to_owned());
        self.record_looks(&[Look { at: now, who, what, target }]).await?;
        if let Engine::Sqlite(engine) = &self.engine {
            // What was overwritten is in the file itself only then; somebody who reads just now puts it off for an hour.
            engine.checkpoint().await.ok();
        }
        Ok(rows)
    }

    /// What a running capture names would be back as soon as it is done.
    async fn no_capture_runs(&self, names: &Names<'_>) -> Result<(), StoreError> {
        let running = "SELECT doc FROM capture_job WHERE state = 'running' AND doc IS NOT NULL";
        let docs = self.read(Statement::new(running, [])).await?;
        if docs.iter().any(|row| names.are_in(row.text(0).as_bytes())) {
            return Err(StoreError::Refused(
                "a capture that names it is not done: let an instance run, and erase then"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Those that name it, and those of its routes that speak of it otherwise, as of what is missing.
    async fn events_without(&self, names: &Names<'_>) -> Result<Vec<Statement>, StoreError> {
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
        statements.extend(rows.iter().flat_map(|row| event_without(row, names)));
        for route in routes {
            let others = self.read(Statement::new(OTHERS, [route.into(), names.epc.into()]));
            statements.extend(others.await?.iter().map(|row| cleared(row, names)));
        }
        Ok(statements)
    }

    /// Every route that can have listed it, also one that it was taken off.
    async fn routes_without(
        &self,
        names: &Names<'_>,
        since: UtcTime,
    ) -> Result<Vec<Statement>, StoreError> {
        const ROUTES: &str = "SELECT route, doc, manifest FROM route WHERE put_at >= $1 AND route > $2 ORDER BY route LIMIT $3";
        let mut statements = Vec::new();
        let mut last = String::new();
        loop {
            let asked = [since.into(), last.as_str().into(), PAGE.into()];
            let rows = self.read(Statement::new(ROUTES, asked)).await?;
            for row in &rows {
                let without = [1, 2].map(|column| route_without(row.text(column), names));
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

    async fn poison_without(&self, names: &Names<'_>) -> Result<Vec<Statement>, StoreError> {
        const POISON: &str =
            "SELECT n, payload, reason FROM poison WHERE n > $1 ORDER BY n LIMIT $2";
        let mut statements = Vec::new();
        let mut last = 0;
        loop {
            let rows = self.read(Statement::new(POISON, [last.into(), PAGE.into()])).await?;
            for row in &rows {
                if names.are_in(row.bytes(1)) || names.are_in(row.text(2).as_bytes()) {
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

/// An event that tells of nothing else goes; of others only what it says of the parcel.
fn event_without(row: &Row, names: &Names<'_>) -> Vec<Statement> {
    const EMPTY: &str = "UPDATE event SET kind = 'erased', event_type = '', action = NULL, biz_step = NULL, \
        disposition = NULL, read_point = NULL, biz_location = NULL, route = NULL, doc = '{}' \
        WHERE n = $1 AND seq IS NOT NULL";
    const GONE: &str = "DELETE FROM event WHERE n = $1 AND seq IS NULL";
    let doc: Json = serde_json::from_str(row.text(1)).unwrap_or_default();
    let parcels = epc::things(&doc);
    let is_alone = parcels.iter().all(|(uri, role)| uri == names.epc || *role == Role::Parent);
    if is_alone {
        return [EMPTY, GONE].map(|sql| Statement::new(sql, [row.int(0).into()])).to_vec();
    }
    vec![cleared(row, names)]
}

fn cleared(row: &Row, names: &Names<'_>) -> Statement {
    let mut doc: Json = serde_json::from_str(row.text(1)).unwrap_or_default();
    forget(&mut doc, &|text| names.is_told_by(text));
    let set = "UPDATE event SET doc = $2 WHERE n = $1";
    Statement::new(set, [row.int(0).into(), doc.to_string().into()])
}

/// Takes a parcel out of the lists named `parcels`; `None` if it is in none.
fn route_without(doc: &str, names: &Names<'_>) -> Option<String> {
    fn listed(value: &mut Json, names: &Names<'_>) -> bool {
        let is_it = |parcel: &Json| {
            let named = |member| parcel.get(member).and_then(Json::as_str);
            named("id").or(parcel.as_str()).is_some_and(|text| names.is_name(text))
                || named("epc").is_some_and(|text| names.is_name(text))
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

/// Takes out of lists each text that is meant, and each object that has one as a member; elsewhere such a text becomes null.
fn forget(value: &mut Json, is_meant: &dyn Fn(&str) -> bool) {
    let names = |value: &Json| value.as_str().is_some_and(is_meant);
    match value {
        Json::Array(items) => {
            items.retain(|item| {
                !names(item) && !item.as_object().is_some_and(|object| object.values().any(names))
            });
            items.iter_mut().for_each(|item| forget(item, is_meant));
        }
        Json::Object(members) => {
            for member in members.values_mut() {
                if names(member) {
                    *member = Json::Null;
                } else {
                    forget(member, is_meant);
                }
            }
        }
        _ => {}
    }
}

/// Rows that have its name as a key, or somewhere in a text.
fn elsewhere(names: &Names<'_>) -> Vec<Statement> {
    let mut all = Vec::new();
    for sql in [
        "DELETE FROM event_epc WHERE epc = $1",
        "DELETE FROM alert WHERE epc = $1",
        "DELETE FROM subscriber WHERE epc = $1",
        "DELETE FROM command WHERE epc = $1",
        "DELETE FROM parcel WHERE epc = $1",
    ] {
        all.push(Statement::new(sql, [names.epc.into()]));
    }
    for text in names.texts() {
        let message = "DELETE FROM command WHERE replace(doc, $1, '') <> doc";
        all.push(Statement::new(message, [text.into()]));
        let errors = "UPDATE capture_job SET errors = replace(errors, $1, $2) WHERE replace(errors, $1, '') <> errors";
        all.push(Statement::new(errors, [text.into(), ERASED.into()]));
    }
    let looks =
        "UPDATE audit SET target = replace(target, $1, $2) WHERE replace(target, $1, '') <> target";
    let marks = names.marks();
    all.extend(
        marks.map(|mark| Statement::new(looks, [Value::from(mark.as_str()), ERASED.into()])),
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
        forget(&mut doc, &|text| epc::canonical(text) == gone);
        let expected = json!({"childEPCs": ["urn:x:other"], "list": [{"epc": "urn:x:other"}],
            "last": null, "n": 7});
        assert_eq!(doc, expected);
    }

    #[test]
    fn a_route_loses_the_parcel_and_no_stop_of_the_same_name() {
        let names = Names { epc: "urn:x:7", number: "7".to_owned() };
        let doc = json!({"van": "7", "manifest": {"stops": [{"id": "7", "parcels": [
            {"id": " 7", "tags": ["E2"]}, {"id": "8", "epc": "urn:x:8"}, {"id": "x", "epc": "urn:x:7"}]}]}});
        let without = route_without(&doc.to_string(), &names).expect("it is listed");
        let expected = json!({"van": "7", "manifest": {"stops": [{"id": "7", "parcels": [
            {"id": "8", "epc": "urn:x:8"}]}]}});
        assert_eq!(serde_json::from_str::<Json>(&without).unwrap(), expected);
        assert_eq!(route_without(&without, &names), None);
    }
}
