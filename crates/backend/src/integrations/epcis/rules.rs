//! Rules of an event that combine several members (EPCIS 2.0 §7.4).

use serde_json::Value;

use super::schema::Faults;

/// Checks the rules of an event of the EPCIS type `kind`.
pub(super) fn check(event: &Value, kind: &str, found: &mut Faults) {
    let has = |name: &str| event.get(name).is_some();
    let is_filled =
        |name: &str| event.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let deletes = event.get("action").and_then(Value::as_str) == Some("DELETE");
    let missing = match kind {
        "ObjectEvent" => {
            let senses = is_filled("sensorElementList") && has("readPoint");
            let ok = has("epcList") || is_filled("quantityList") || senses;
            (!ok).then_some((
                "epcList",
                "add epcList, a quantityList with an element, or sensorElementList with readPoint",
            ))
        }
        "AggregationEvent" | "AssociationEvent" => {
            let ok = is_filled("childEPCs") || is_filled("childQuantityList") || deletes;
            (!ok).then_some((
                "childEPCs",
                "add a child to childEPCs or childQuantityList; only DELETE may omit both",
            ))
        }
        "TransactionEvent" => {
            let ok = has("epcList") || is_filled("quantityList") || deletes;
            (!ok).then_some((
                "epcList",
                "add epcList or a quantityList with an element; only DELETE may omit both",
            ))
        }
        "TransformationEvent" => {
            let input = is_filled("inputEPCList") || is_filled("inputQuantityList");
            let output = is_filled("outputEPCList") || is_filled("outputQuantityList");
            let ok = input && output || has("transformationID") && (input || output);
            (!ok).then_some((
                if input { "outputEPCList" } else { "inputEPCList" },
                "add inputs and outputs, or one of them with transformationID",
            ))
        }
        _ => None,
    };
    if let Some((place, remedy)) = missing {
        found.push(place, "absent", remedy);
    }
    // A TransformationEvent has no action, and its outputs come into being.
    if kind == "ObjectEvent"
        && has("ilmd")
        && event.get("action").and_then(Value::as_str) != Some("ADD")
    {
        found.push("ilmd", "present", "remove it; only the action ADD may set it");
    }
    if let Some(disposition) = event.get("persistentDisposition").and_then(Value::as_object)
        && !disposition.contains_key("set")
        && !disposition.contains_key("unset")
    {
        found.push("persistentDisposition", "neither set nor unset", "add set or unset");
    }
}
