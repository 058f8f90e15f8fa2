//! What the doors of the API answer by themselves, before any operation: told in the document once, and of each
//! operation by a reference.
//!
//! Its invariant: whatever [`crate::admin::edge`] and [`crate::admin::cookie`] may answer, the document declares.

use serde_json::{Map, Value, json};

use crate::admin::cookie::NAME;

/// Declares the cookie, and the statuses of the doors.
pub(super) fn tell_of_doors(value: &mut Value) {
    let problem = |description: &str| {
        let content =
            json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Detail"}}});
        json!({ "description": description, "content": content })
    };
    let of_another_site = "A change by a browser's cookie that may be another site's (`cross_site`). It wants the header `X-Requested-With: \
         gemini-pool`; a change by a bearer token does not.";
    let cookie = json!({
        "type": "apiKey",
        "in": "cookie",
        "name": NAME,
        "description": "The same token, as logging in gives it to browsers. A change by it wants the header \
                        `X-Requested-With: gemini-pool`.",
    });
    let Some(components) = value.get_mut("components").and_then(Value::as_object_mut) else { return };
    let responses = json!({
        "CrossSite": problem(of_another_site),
        "BadParameter": problem("A parameter that is none of this call's (`bad_parameter`)."),
        "BodyTooSlow": problem("The body did not arrive within 30 seconds (`body_too_slow`)."),
        "NoMemory": problem("Other requests hold the memory for bodies (`no_memory`): try again."),
        "TooManyRepeats": problem(
            "As many calls with an `Idempotency-Key` as may run already do (`too_many_repeats`): try again after \
             `Retry-After` seconds."
        ),
        "Internal": problem("A fault of the pool's own (`internal`); its log says more."),
    });
    components.insert("responses".to_owned(), responses);
    if let Some(schemes) = components.get_mut("securitySchemes").and_then(Value::as_object_mut) {
        schemes.insert("cookie".to_owned(), cookie);
    }
    let paths = value.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    for (verb, operation) in paths.filter_map(Value::as_object_mut).flatten() {
        if let Some(ways) = operation.get_mut("security").and_then(Value::as_array_mut) {
            ways.push(json!({"cookie": []}));
        }
        let parameters = operation.get("parameters").and_then(Value::as_array);
        let repeats =
            parameters.into_iter().flatten().any(|parameter| parameter["name"] == json!("Idempotency-Key"));
        let has_body = operation.get("requestBody").is_some();
        let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { continue };
        if verb != "get" {
            responses.insert("403".to_owned(), json!({"$ref": "#/components/responses/CrossSite"}));
        }
        if repeats {
            let too_many = json!({"$ref": "#/components/responses/TooManyRepeats"});
            responses.entry("429").or_insert(too_many);
        }
        if has_body {
            responses.insert("408".to_owned(), json!({"$ref": "#/components/responses/BodyTooSlow"}));
            let no_memory = json!({"$ref": "#/components/responses/NoMemory"});
            responses.entry("503").or_insert(no_memory);
        }
        if !responses.contains_key("400") {
            responses.insert("400".to_owned(), json!({"$ref": "#/components/responses/BadParameter"}));
        }
        responses.insert("500".to_owned(), json!({"$ref": "#/components/responses/Internal"}));
    }
}
