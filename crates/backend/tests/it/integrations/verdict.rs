//! Our verdict on events beside that of GS1's JSON schema. The documents are made from the field
//! list of EPCIS 2.0 §7.4.

use serde_json::{Map, Value, json};

use super::site::Site;
use crate::support::backend::{on_both, set_clock};
use crate::support::schema::{epcis_schema, validation_errors};

/// Contexts of GS1, with and without a version.
const CONTEXTS: [&str; 2] = [
    "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
    "https://ref.gs1.org/standards/epcis/epcis-context.jsonld",
];

const TYPES: [&str; 5] = [
    "ObjectEvent",
    "AggregationEvent",
    "AssociationEvent",
    "TransactionEvent",
    "TransformationEvent",
];

/// A document with its name.
type Named = (String, Value);

/// Identifiers in one syntax.
struct Syntax {
    name: &'static str,
    sscc: &'static str,
    sgtin: &'static str,
    other_sgtin: &'static str,
    class: &'static str,
    place: &'static str,
    party: &'static str,
    document: &'static str,
    asset: &'static str,
}

const URN: Syntax = Syntax {
    name: "urn",
    sscc: "urn:epc:id:sscc:0614141.1234567890",
    sgtin: "urn:epc:id:sgtin:0614141.107346.2017",
    other_sgtin: "urn:epc:id:sgtin:0614141.107346.2018",
    class: "urn:epc:class:lgtin:4012345.012345.998877",
    place: "urn:epc:id:sgln:0614141.07346.1234",
    party: "urn:epc:id:pgln:4012345.00225",
    document: "urn:epc:id:gdti:0614141.06012.1234",
    asset: "urn:epc:id:giai:4000001.111",
};

const DIGITAL_LINK: Syntax = Syntax {
    name: "digital link",
    sscc: "https://id.gs1.org/00/106141412345678908",
    sgtin: "https://id.gs1.org/01/10614141073464/21/2017",
    other_sgtin: "https://id.gs1.org/01/10614141073464/21/2018",
    class: "https://id.gs1.org/01/04012345123456/10/998877",
    place: "https://id.gs1.org/414/0614141073467/254/1234",
    party: "https://id.gs1.org/417/4012345002252",
    document: "https://id.gs1.org/253/06141410601211234",
    asset: "https://id.gs1.org/8004/4000001111",
};

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("not an object: {value}") };
    members
}

/// Returns an event with the required members only.
fn smallest(kind: &str, ids: &Syntax) -> Map<String, Value> {
    let mut event = object(json!({"type": kind, "eventTime": "2026-11-22T07:12:31.250+01:00",
        "eventTimeZoneOffset": "+01:00"}));
    let more = match kind {
        "ObjectEvent" => json!({"action": "ADD", "epcList": [ids.sgtin]}),
        "AggregationEvent" | "AssociationEvent" => {
            json!({"action": "ADD", "parentID": ids.sscc, "childEPCs": [ids.sgtin]})
        }
        "TransactionEvent" => json!({"action": "ADD", "epcList": [ids.sgtin],
            "bizTransactionList": [{"bizTransaction": ids.document}]}),
        "TransformationEvent" => {
            json!({"inputEPCList": [ids.sgtin], "outputEPCList": [ids.other_sgtin]})
        }
        other => panic!("no event: {other}"),
    };
    event.extend(object(more));
    event
}

/// Returns the optional members of an event type, each with a value.
#[expect(clippy::too_many_lines, reason = "the field list of the standard")]
fn optional(kind: &str, ids: &Syntax) -> Vec<(&'static str, Value)> {
    let quantities = json!([{"epcClass": ids.class, "quantity": 200, "uom": "KGM"},
        {"epcClass": ids.class, "quantity": 0.5}, {"epcClass": ids.class}]);
    let report = json!({"type": "Temperature", "exception": "ALARM_CONDITION",
        "deviceID": ids.asset, "deviceMetadata": "https://example.com/device/7",
        "rawData": "https://example.com/raw/7", "dataProcessingMethod": "https://example.com/method",
        "time": "2026-11-22T06:00:00Z", "value": 26.0, "component": "x", "stringValue": "warm",
        "booleanValue": true, "hexBinaryValue": "f0f0", "uriValue": "urn:x:warm", "minValue": 12,
        "maxValue": 30.5, "meanValue": 13.2, "sDev": 0.2, "percRank": 50, "percValue": 12.7, "uom": "CEL",
        "microorganism": "https://example.com/taxon/1126011", "ext:note": "shade",
        "chemicalSubstance": "https://identifiers.org/inchikey:CZMRCDWAGMRECN-UGDNZRGBSA-N",
        "coordinateReferenceSystem": "https://example.com/crs"});
    let sensors = json!([{"sensorMetadata": {"time": "2026-11-22T06:00:00Z", "deviceID": ids.asset,
        "deviceMetadata": "https://example.com/device/7", "rawData": "https://example.com/raw",
        "startTime": "2026-11-22T05:00:00Z", "endTime": "2026-11-22T06:00:00+00:00",
        "dataProcessingMethod": "https://example.com/method", "bizRules": "https://example.com/rules",
        "ext:room": "7"}, "sensorReport": [report, {"type": "https://example.com/Shine", "value": -1e-3}],
        "ext:note": ["a", "b"]}]);
    let mut members = vec![
        ("eventID", json!("urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8")),
        ("recordTime", json!("2026-11-22T07:13:00Z")),
        ("certificationInfo", json!("https://example.com/certificate/7")),
        ("certificationInfo", json!(["https://example.com/certificate/7", "urn:x:8"])),
        ("errorDeclaration", json!({"declarationTime": "2026-11-22T08:00:00Z"})),
        (
            "errorDeclaration",
            json!({"declarationTime": "2026-11-22T08:00:00Z", "reason": "incorrect_data",
                "correctiveEventIDs": ["urn:uuid:404d95fc-9457-4a51-bd6a-0bba133845a8"], "ext:by": "me"}),
        ),
        ("bizStep", json!("shipping")),
        ("bizStep", json!("https://example.com/bizstep/wrapping")),
        ("disposition", json!("in_transit")),
        ("disposition", json!("urn:x:disposition:wrapped")),
        ("readPoint", json!({"id": ids.place})),
        ("readPoint", json!({"id": "geo:48.1,11.5", "ext:door": 7})),
        ("bizLocation", json!({"id": ids.place})),
        (
            "bizTransactionList",
            json!([{"type": "po", "bizTransaction": ids.document}, {"bizTransaction": "urn:x:7"},
                {"type": "https://example.com/waybill", "bizTransaction": "urn:x:8"}]),
        ),
        (
            "sourceList",
            json!([{"type": "owning_party", "source": ids.party}, {"type": "location", "source": ids.place}]),
        ),
        ("destinationList", json!([{"type": "possessing_party", "destination": ids.party}])),
        ("destinationList", json!([{"type": "urn:x:reader", "destination": "urn:x:7"}])),
        ("sensorElementList", sensors),
        ("ext:shelf", json!({"ext:row": 7, "plain": null})),
        ("https://example.com/ns/colour", json!("red")),
    ];
    let instances =
        json!({"set": ["completeness_verified"], "unset": ["https://example.com/disp/x"]});
    let ilmd = json!({"ext:bestBefore": "2027-01-01", "https://example.com/lot": {"a": [1]}});
    match kind {
        "ObjectEvent" => members.extend([
            ("quantityList", quantities),
            ("persistentDisposition", instances),
            ("ilmd", ilmd),
        ]),
        "AggregationEvent" | "AssociationEvent" => members.push(("childQuantityList", quantities)),
        "TransactionEvent" => {
            members.extend([("parentID", json!(ids.sscc)), ("quantityList", quantities)]);
        }
        _ => members.extend([
            ("inputQuantityList", quantities.clone()),
            ("outputQuantityList", quantities),
            ("transformationID", json!("urn:epc:id:gdti:0614141.06012.7")),
            ("persistentDisposition", instances),
            ("ilmd", ilmd),
        ]),
    }
    members
}

fn document(context: &str, event: Map<String, Value>) -> Value {
    let events = vec![Value::Object(event)];
    json!({"@context": [context, {"ext": "https://example.com/ns/"}], "type": "EPCISDocument",
        "schemaVersion": "2.0", "creationDate": "2026-11-22T09:00:00Z",
        "epcisBody": {"eventList": Value::Array(events)}})
}

/// Returns an event with members changed; `null` removes one.
fn changed(mut event: Map<String, Value>, changes: &Value) -> Map<String, Value> {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(event.remove(name)),
            value => drop(event.insert(name.clone(), value.clone())),
        }
    }
    event
}

/// Returns every event type with each optional member, and with all of them, in both syntaxes.
#[expect(clippy::too_many_lines, reason = "a table")]
fn valid() -> Vec<Named> {
    let mut documents = Vec::new();
    for (ids, context) in [&URN, &DIGITAL_LINK].into_iter().zip(CONTEXTS) {
        for kind in TYPES {
            let least = smallest(kind, ids);
            documents.push((format!("{kind}, {}", ids.name), document(context, least.clone())));
            let mut full = least.clone();
            for (member, value) in optional(kind, ids) {
                let mut event = least.clone();
                event.insert(member.to_owned(), value.clone());
                let name = format!("{kind}, {}, {member} = {value:.40}", ids.name);
                documents.push((name, document(context, event)));
                full.insert(member.to_owned(), value);
            }
            documents.push((format!("{kind}, {}, all members", ids.name), document(context, full)));
        }
    }
    let of =
        |kind: &str, changes: &Value| document(CONTEXTS[0], changed(smallest(kind, &URN), changes));
    let event = document(CONTEXTS[0], smallest("ObjectEvent", &URN));
    let header = json!({"epcisMasterData": {"vocabularyList": [{"type": "urn:epcglobal:epcis:vtype:BusinessLocation",
        "vocabularyElementList": [{"id": "urn:epc:id:sgln:0037000.00729.0", "attributes": [
            {"id": "urn:epcglobal:cbv:mda:country", "attribute": "US"}], "children": ["urn:x:a"]}]}]}, "ext:a": 1});
    let sensing = json!({"epcList": null, "sensorElementList": [{"sensorReport": [{"type": "Temperature", "value": 7}]}],
        "readPoint": {"id": "urn:x:room"}, "action": "OBSERVE"});
    for (name, document) in [
        ("an empty epcList", of("ObjectEvent", &json!({"epcList": []}))),
        (
            "a class only",
            of("ObjectEvent", &json!({"epcList": null, "quantityList": [{"epcClass": "urn:x:c"}]})),
        ),
        ("a sensor and its place only", of("ObjectEvent", &sensing)),
        ("a child twice", of("AggregationEvent", &json!({"childEPCs": ["urn:x:a", "urn:x:a"]}))),
        (
            "DELETE of all children",
            of("AggregationEvent", &json!({"childEPCs": null, "action": "DELETE"})),
        ),
        ("no parent", of("AggregationEvent", &json!({"parentID": null}))),
        (
            "DELETE of all associations",
            of("AssociationEvent", &json!({"childEPCs": null, "action": "DELETE"})),
        ),
        (
            "DELETE of all transactions",
            of("TransactionEvent", &json!({"epcList": null, "action": "DELETE"})),
        ),
        (
            "inputs of a longer transformation",
            of(
                "TransformationEvent",
                &json!({"outputEPCList": null, "transformationID": "urn:x:t"}),
            ),
        ),
        (
            "an event type of another vocabulary",
            of("ObjectEvent", &json!({"type": "ext:Wrapping", "shape": 7})),
        ),
        ("a context in the event", of("ObjectEvent", &json!({"@context": [{"a": "urn:a:"}]}))),
        (
            "a measurement type as CBV URI",
            of(
                "ObjectEvent",
                &json!({"sensorElementList": [{"sensorReport": [
            {"type": "https://ns.gs1.org/cbv/Temperature"}]}]}),
            ),
        ),
        (
            "an event hash",
            of("ObjectEvent", &json!({"eventID": "ni:///sha-256;36abb3?ver=CBV2.0"})),
        ),
        (
            "every member of a document",
            changed_document(
                &event,
                &json!({"id": "https://example.com/document/7",
            "instanceIdentifier": "7", "sender": "a", "receiver": "b", "epcisHeader": header, "ext:note": [1]}),
            ),
        ),
        ("no events", changed_document(&event, &json!({"epcisBody": {"eventList": []}}))),
        ("a context alone", changed_document(&event, &json!({"@context": CONTEXTS[1]}))),
        (
            "a query document",
            json!({"@context": CONTEXTS, "type": "EPCISQueryDocument", "epcisBody": {"queryResults": {
            "queryName": "SimpleEventQuery", "subscriptionID": "7",
            "resultsBody": {"eventList": event["epcisBody"]["eventList"]}}}}),
        ),
    ] {
        documents.push((name.to_owned(), document));
    }
    documents
}

fn changed_document(document: &Value, changes: &Value) -> Value {
    Value::Object(changed(document.as_object().unwrap().clone(), changes))
}

/// Returns documents that break one rule each.
#[expect(clippy::too_many_lines, reason = "a table")]
fn invalid() -> Vec<Named> {
    let mut documents = Vec::new();
    let mut add = |name: String, document| documents.push((name, document));
    for kind in TYPES {
        for member in ["eventTime", "eventTimeZoneOffset", "type"] {
            let event = changed(smallest(kind, &URN), &json!({member: null}));
            add(format!("{kind} without {member}"), document(CONTEXTS[0], event));
        }
    }
    let report = |report: Value| json!({"sensorElementList": [{"sensorReport": [report]}]});
    for (kind, changes) in [
        ("ObjectEvent", json!({"action": null})),
        ("ObjectEvent", json!({"epcList": null})),
        ("ObjectEvent", json!({"epcList": null, "quantityList": []})),
        ("ObjectEvent", json!({"epcList": null, "readPoint": {"id": "urn:x:room"}})),
        ("ObjectEvent", json!({"action": "OBSERVE", "ilmd": {"ext:a": 1}})),
        ("ObjectEvent", json!({"ilmd": {"a": 1}})),
        ("ObjectEvent", json!({"epcList": ["urn:x:a", "urn:x:a"]})),
        ("ObjectEvent", json!({"epcList": ["9521234"]})),
        ("ObjectEvent", json!({"epcList": "urn:x:a"})),
        ("ObjectEvent", json!({"action": "add"})),
        ("ObjectEvent", json!({"eventTime": "2026-11-22T07:12:31"})),
        ("ObjectEvent", json!({"eventTime": "2026-02-31T07:12:31Z"})),
        ("ObjectEvent", json!({"recordTime": 7})),
        ("ObjectEvent", json!({"eventTimeZoneOffset": "+14:30"})),
        ("ObjectEvent", json!({"eventTimeZoneOffset": "Z"})),
        ("ObjectEvent", json!({"eventID": "7"})),
        ("ObjectEvent", json!({"bizStep": "wrapping"})),
        ("ObjectEvent", json!({"bizStep": "urn:epcglobal:cbv:bizstep:shipping"})),
        ("ObjectEvent", json!({"disposition": "https://ns.gs1.org/cbv/Disp-in_transit"})),
        ("ObjectEvent", json!({"persistentDisposition": {}})),
        ("ObjectEvent", json!({"persistentDisposition": {"set": []}})),
        ("ObjectEvent", json!({"persistentDisposition": {"set": ["damaged", "damaged"]}})),
        ("ObjectEvent", json!({"readPoint": {"ext:name": "x"}})),
        ("ObjectEvent", json!({"readPoint": "urn:x:place"})),
        ("ObjectEvent", json!({"quantityList": [{"quantity": 7}]})),
        ("ObjectEvent", json!({"quantityList": [{"epcClass": "urn:x:c", "uom": "kilogram"}]})),
        ("ObjectEvent", json!({"quantityList": [{"epcClass": "urn:x:c", "ext:a": 1}]})),
        ("ObjectEvent", json!({"bizTransactionList": [{"type": "po"}]})),
        (
            "ObjectEvent",
            json!({"bizTransactionList": [{"type": "purchase", "bizTransaction": "urn:x:b"}]}),
        ),
        ("ObjectEvent", json!({"sourceList": [{"source": "urn:x:s"}]})),
        ("ObjectEvent", json!({"destinationList": [{"type": "location", "source": "urn:x:s"}]})),
        ("ObjectEvent", json!({"errorDeclaration": {"reason": "did_not_occur"}})),
        ("ObjectEvent", json!({"errorDeclaration": {"declarationTime": "now"}})),
        ("ObjectEvent", json!({"certificationInfo": ["7"]})),
        ("ObjectEvent", json!({"sensorElementList": [{"sensorReport": []}]})),
        ("ObjectEvent", json!({"sensorElementList": [{"sensorMetadata": {}}]})),
        ("ObjectEvent", report(json!({"value": 7}))),
        ("ObjectEvent", report(json!({"type": "Warmth"}))),
        ("ObjectEvent", report(json!({"type": "https://gs1.org/voc/Temperature"}))),
        ("ObjectEvent", report(json!({"type": "Temperature", "value": "7"}))),
        ("ObjectEvent", report(json!({"type": "Temperature", "hexBinaryValue": "0x7"}))),
        ("ObjectEvent", report(json!({"type": "Temperature", "degrees": 7}))),
        ("ObjectEvent", json!({"shelf": 7})),
        ("ObjectEvent", json!({"parentID": "urn:x:p"})),
        ("ObjectEvent", json!({"type": "QuantityEvent"})),
        ("ObjectEvent", json!({"@context": [7]})),
        ("AggregationEvent", json!({"childEPCs": null})),
        ("AggregationEvent", json!({"childEPCs": []})),
        ("AggregationEvent", json!({"parentID": "pallet"})),
        ("AggregationEvent", json!({"persistentDisposition": {"set": ["damaged"]}})),
        ("AssociationEvent", json!({"parentID": null})),
        ("AssociationEvent", json!({"ilmd": {"ext:a": 1}})),
        ("TransactionEvent", json!({"bizTransactionList": null})),
        ("TransactionEvent", json!({"bizTransactionList": []})),
        ("TransactionEvent", json!({"epcList": null})),
        ("TransformationEvent", json!({"outputEPCList": null})),
        ("TransformationEvent", json!({"outputEPCList": []})),
        ("TransformationEvent", json!({"action": "ADD"})),
        (
            "TransformationEvent",
            json!({"inputEPCList": null, "outputEPCList": null, "transformationID": "urn:x:t"}),
        ),
        ("TransformationEvent", json!({"childEPCs": ["urn:x:a"]})),
    ] {
        let event = changed(smallest(kind, &URN), &changes);
        add(format!("{kind}, {changes}"), document(CONTEXTS[0], event));
    }
    let event = document(CONTEXTS[0], smallest("ObjectEvent", &URN));
    for changes in [
        json!({"@context": null}),
        json!({"@context": ["a context"]}),
        json!({"@context": [CONTEXTS[0], CONTEXTS[0]]}),
        json!({"type": "EPCISMasterDataDocument"}),
        json!({"schemaVersion": null}),
        json!({"schemaVersion": "2.x"}),
        json!({"creationDate": "2026-11-22"}),
        json!({"id": "document 1"}),
        json!({"sender": 7}),
        json!({"note": "plain"}),
        json!({"epcisBody": null}),
        json!({"epcisBody": {}}),
        json!({"epcisBody": {"eventList": {}}}),
        json!({"epcisBody": {"eventList": [7]}}),
        json!({"epcisHeader": {"epcisMasterData": {"vocabularyList": [{"vocabularyElementList": []}]}}}),
        json!({"epcisHeader": {"note": 1}}),
        json!({"type": "EPCISQueryDocument", "epcisBody": {"queryResults": {"resultsBody": {"eventList": []}}}}),
    ] {
        add(format!("document, {changes}"), changed_document(&event, &changes));
    }
    documents
}

/// Documents on which we differ from the schema, with our verdict.
fn deviations() -> Vec<(&'static str, bool, Value)> {
    let of =
        |changes: &Value| document(CONTEXTS[0], changed(smallest("ObjectEvent", &URN), changes));
    let event = of(&json!({}));
    let sensor = json!({"sensorElementList": [{"type": "epcis:SensorElement",
        "sensorReport": [{"type": "Temperature", "value": 7}]}]});
    vec![
        (
            "a blank node is a valid id in JSON-LD",
            true,
            changed_document(&event, &json!({"id": "_:document1"})),
        ),
        ("GS1's examples name the type of a sensor element", true, of(&sensor)),
        (
            "another version has other rules",
            false,
            changed_document(&event, &json!({"schemaVersion": "3.0"})),
        ),
        (
            "the time is before the standard",
            false,
            of(&json!({"eventTime": "1999-11-22T07:00:00Z"})),
        ),
        ("the time is not yet", false, of(&json!({"eventTime": "2027-11-22T07:00:00Z"}))),
        (
            "the id is too long for an index",
            false,
            of(&json!({"eventID": format!("urn:x:{}", "a".repeat(260))})),
        ),
    ]
}

impl Site {
    /// Whether every event of a document is stored.
    async fn accepts(&self, document: &Value) -> bool {
        let body = Some(("application/ld+json", document.to_string()));
        let answer = self.request("warehouse", "POST /epcis/v2/capture", body).await;
        if answer.status == 400 {
            return false;
        }
        assert_eq!(answer.status, 202, "{document} {}", answer.text);
        let place = answer.header("location").unwrap().to_owned();
        self.finished("warehouse", &place).await["success"] == true
    }
}

#[tokio::test]
async fn our_verdict_is_that_of_the_schema() {
    let (valid, invalid) = (valid(), invalid());
    assert!(valid.len() >= 60 && invalid.len() >= 30, "{} {}", valid.len(), invalid.len());
    let schema = epcis_schema();
    for (documents, ok) in [(&valid, true), (&invalid, false)] {
        let values: Vec<Value> = documents.iter().map(|(_, document)| document.clone()).collect();
        let said = schema.as_ref().and_then(|schema| validation_errors(schema, &values));
        for ((name, document), error) in documents.iter().zip(said.into_iter().flatten()) {
            assert_eq!(error.is_empty(), ok, "schema: {name}: {error}\n{document}");
        }
    }
    let differing = deviations();
    let values: Vec<Value> = differing.iter().map(|(.., document)| document.clone()).collect();
    let said = schema.as_ref().and_then(|schema| validation_errors(schema, &values));
    for ((reason, ok, _), error) in differing.iter().zip(said.into_iter().flatten()) {
        assert_ne!(error.is_empty(), *ok, "the schema agrees now: {reason}: {error}");
    }
    on_both(async |store| {
        let site = Site::start(store).await;
        set_clock(&site.shared, "2026-11-22T20:00:00Z");
        let agreed = valid.iter().map(|(name, document)| (name.as_str(), true, document));
        let agreed =
            agreed.chain(invalid.iter().map(|(name, document)| (name.as_str(), false, document)));
        let differing = differing.iter().map(|(name, ok, document)| (*name, *ok, document));
        let mut wrong = Vec::new();
        for (n, (name, ok, document)) in agreed.chain(differing).enumerate() {
            if site.accepts(&own_id(document, n)).await != ok {
                wrong.push(format!("{name}: expected {ok}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}

/// Returns the document, with an id of its own instead of the sample id, which one event may have.
fn own_id(document: &Value, n: usize) -> Value {
    let mut document = document.clone();
    if let Some(event) = document.pointer_mut("/epcisBody/eventList/0")
        && event["eventID"] == "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8"
    {
        event["eventID"] = json!(format!("urn:x:{n}"));
    }
    document
}

#[tokio::test]
async fn an_event_alone_needs_its_own_context() {
    on_both(async |store| {
        let site = Site::start(store).await;
        set_clock(&site.shared, "2026-11-22T20:00:00Z");
        for kind in TYPES {
            let mut event = smallest(kind, &URN);
            let request = "POST /epcis/v2/events";
            let answer = site.json("warehouse", request, &Value::Object(event.clone())).await;
            assert_eq!(answer.status, 400, "{kind} {}", answer.text);
            event.insert("@context".to_owned(), json!(CONTEXTS));
            let answer = site.json("warehouse", request, &Value::Object(event)).await;
            assert_eq!(answer.status, 201, "{kind} {}", answer.text);
        }
    })
    .await;
}
