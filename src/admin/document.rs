//! The OpenAPI document: the API's contract, and what a request is explained by.
//!
//! Owns what the framework leaves out of it: bounds of numbers, the settings' names, examples, a stable order. Refuses to
//! check requests by it (the framework does); it only tells what was wrong with one that was refused. Its
//! invariant: no explanation quotes what was sent.

mod doors;
mod parameters;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::problem::Wrong;
use crate::config::SETTINGS;

/// What the API is, for its readers.
pub(super) const ABOUT: &str = "\
Administration of a Gemini-Pool: its upstream keys, projects, settings and log.

**Errors** are problem+json (RFC 9457), each with a stable `code`. **Lists** give `next`, which is the next page's \
`cursor`; positions are stable while things come and go. **Times** are RFC 3339 in UTC with milliseconds. **Changes** \
are answered once they are on the disk and in force; `If-Match` with the `ETag` of what was read makes them fail \
(412, `changed_meanwhile`) where somebody changed it meanwhile. **Idempotency-Key**, on calls that take it, makes a \
repetition harmless: the first answer comes again; it is kept for a day, and forgotten at a restart.";

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::new(&super::service(None).spec()));

/// See the module.
pub(super) struct Document {
    value: Value,
    text: String,
}

impl Document {
    /// That of this program.
    pub(super) fn of_this_program() -> &'static Self {
        &DOCUMENT
    }

    fn new(spec: &str) -> Self {
        let mut value = serde_json::from_str(spec).unwrap_or_default();
        name_types(&mut value);
        refine_schemas(&mut value);
        close_bodies(&mut value);
        bound_numbers(&mut value);
        name_settings(&mut value);
        say_etags(&mut value);
        give_examples(&mut value);
        tell_of_csv(&mut value);
        doors::tell_of_doors(&mut value);
        let text = format!("{value:#}\n");
        Self { value, text }
    }

    /// Pretty JSON, in a stable order.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The methods of a path, in capitals; none: there is no such path.
    pub(super) fn methods(&self, path: &str) -> Option<Vec<String>> {
        let item = self.path_item(path)?;
        let verbs = ["get", "post", "put", "patch", "delete"];
        Some(verbs.iter().filter(|verb| item.get(**verb).is_some()).map(|verb| verb.to_uppercase()).collect())
    }

    /// Whether an operation takes a header.
    pub(super) fn takes_header(&self, method: &str, path: &str, header: &str) -> bool {
        let operation = self.path_item(path).and_then(|item| item.get(method.to_lowercase()));
        let parameters = operation.and_then(|operation| operation.get("parameters")?.as_array());
        parameters.into_iter().flatten().any(|parameter| {
            text(parameter, "in") == "header" && text(parameter, "name").eq_ignore_ascii_case(header)
        })
    }

    /// Whether an operation wants no token.
    pub(super) fn is_open(&self, method: &str, path: &str) -> bool {
        let operation = self.path_item(path).and_then(|item| item.get(method.to_lowercase()));
        operation.is_some_and(|operation| items(operation, "security").is_empty())
    }

    fn path_item(&self, path: &str) -> Option<&Value> {
        self.value.get("paths")?.get(self.template(path)?)
    }

    /// How a path stands in the document.
    fn template(&self, path: &str) -> Option<&str> {
        let fits = |template: &str| {
            let (mut template, mut path) = (template.split('/'), path.split('/'));
            loop {
                match (template.next(), path.next()) {
                    (None, None) => return true,
                    (Some(name), Some(part)) if name.starts_with('{') && !part.is_empty() => {}
                    (Some(name), Some(part)) if name == part => {}
                    _ => return false,
                }
            }
        };
        let paths = self.value.get("paths")?.as_object()?;
        // What is named in full comes before what any name fits.
        let exact = paths.get_key_value(path).map(|(template, _)| template);
        exact.or_else(|| paths.keys().find(|template| fits(template))).map(String::as_str)
    }

    /// What is wrong with a body that was refused, without a word of what it says.
    pub(super) fn explain(&self, method: &str, path: &str, body: &[u8]) -> Vec<Wrong> {
        let schema = self.path_item(path).and_then(|item| {
            let content = item.get(method.to_lowercase())?.get("requestBody")?.get("content")?.as_object()?;
            content.values().next()?.get("schema")
        });
        let Some(schema) = schema else { return Vec::new() };
        let value = match serde_json::from_slice::<Value>(body) {
            Ok(value) => value,
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let wants = match error.classify() {
                    _ if body.is_empty() => "a JSON object, and nothing was sent".to_owned(),
                    serde_json::error::Category::Eof => "JSON to its end; it breaks off".to_owned(),
                    _ => format!("JSON; it is none at line {line}, column {column}"),
                };
                return vec![Wrong { name: "body".to_owned(), wants }];
            }
        };
        let mut wrong = Vec::new();
        self.check(schema, &value, "", 0, &mut wrong);
        wrong.truncate(20);
        wrong
    }

    /// Adds what is wrong with a value to a list; `at` is its place, as a JSON pointer.
    fn check(&self, schema: &Value, value: &Value, at: &str, depth: usize, wrong: &mut Vec<Wrong>) {
        if depth > 16 {
            return;
        }
        if let Some(schema) = schema.get("$ref").and_then(Value::as_str).and_then(|to| self.reference(to)) {
            return self.check(schema, value, at, depth + 1, wrong);
        }
        if value.is_null() && schema.get("nullable") == Some(&Value::Bool(true)) {
            return;
        }
        for part in items(schema, "allOf") {
            self.check(part, value, at, depth + 1, wrong);
        }
        for alternatives in
            ["oneOf", "anyOf"].map(|name| items(schema, name)).into_iter().filter(|all| !all.is_empty())
        {
            let tries = alternatives.iter().map(|part| {
                let mut found = Vec::new();
                self.check(part, value, at, depth + 1, &mut found);
                found
            });
            let tries: Vec<_> = tries.collect();
            if tries.iter().any(Vec::is_empty) {
                continue;
            }
            // The one that came farthest: what is wrong lies deepest.
            let depth = |found: &Vec<Wrong>| found.iter().map(|wrong| wrong.name.matches('/').count()).min();
            wrong.extend(tries.into_iter().max_by_key(depth).unwrap_or_default());
        }
        let mut say = |at: &str, wants: String| {
            let name = at.strip_prefix('/').unwrap_or(at);
            wrong.push(Wrong { name: if name.is_empty() { "body" } else { name }.to_owned(), wants });
        };
        let fits = match text(schema, "type") {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => true,
        };
        if !fits {
            let article =
                if matches!(text(schema, "type"), "object" | "array" | "integer") { "an" } else { "a" };
            return say(at, format!("{article} {}", text(schema, "type")));
        }
        let known = items(schema, "enum");
        if !known.is_empty() && !known.contains(value) {
            let known: Vec<String> = known.iter().map(Value::to_string).collect();
            say(at, format!("one of {}", known.join(", ")));
        }
        let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
        let bound = |name: &str| schema.get(name).map(Value::to_string).unwrap_or_default();
        let number = value.as_f64();
        let beyond = |number: f64| {
            limit("minimum").is_some_and(|least| number < least)
                || limit("maximum").is_some_and(|most| number > most)
        };
        if number.is_some_and(beyond) {
            say(at, format!("a number from {} to {}", bound("minimum"), bound("maximum")));
        }
        if let Some(text) = value.as_str() {
            let length = text.chars().count() as f64;
            if limit("maxLength").is_some_and(|most| length > most) {
                say(at, format!("at most {} characters", limit("maxLength").unwrap_or_default()));
            }
        }
        if let Some(list) = value.as_array() {
            if limit("maxItems").is_some_and(|most| list.len() as f64 > most) {
                say(at, format!("at most {} items", limit("maxItems").unwrap_or_default()));
            }
            if let Some(each) = schema.get("items") {
                for (place, item) in list.iter().enumerate() {
                    self.check(each, item, &format!("{at}/{place}"), depth + 1, wrong);
                }
            }
        }
        if let Some(fields) = value.as_object() {
            self.check_fields(schema, fields, at, depth, wrong);
        }
    }

    fn check_fields(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        at: &str,
        depth: usize,
        wrong: &mut Vec<Wrong>,
    ) {
        let place = |name: &str| format!("{at}/{name}").trim_start_matches('/').to_owned();
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in items(schema, "required").iter().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                wrong.push(Wrong { name: place(name), wants: "to be there".to_owned() });
            }
        }
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        for (name, value) in fields {
            match properties.and_then(|properties| properties.get(name)) {
                Some(schema) => self.check(schema, value, &format!("{at}/{name}"), depth + 1, wrong),
                None if closed => {
                    // Its name may be anything, a secret among them; what there is may be said.
                    let known = properties.map(|known| known.keys().cloned().collect::<Vec<_>>().join(", "));
                    let wants = format!("no other fields than {}", known.unwrap_or_default());
                    wrong.push(Wrong {
                        name: at.strip_prefix('/').filter(|at| !at.is_empty()).unwrap_or("body").to_owned(),
                        wants,
                    });
                }
                None => {}
            }
        }
    }

    fn reference(&self, to: &str) -> Option<&Value> {
        self.value.pointer(to.strip_prefix('#')?)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// JSON is JSON, whatever its encoding is called; and an answer that the framework says nothing of is what was asked.
fn name_types(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(name_types),
        Value::Object(fields) => {
            if let Some(content) = fields.remove("application/json; charset=utf-8") {
                fields.insert("application/json".to_owned(), content);
            }
            let unsaid = fields.get("description") == Some(&json!("")) && fields.contains_key("content");
            if unsaid {
                fields.insert("description".to_owned(), json!("What was asked."));
            }
            fields.values_mut().for_each(name_types);
        }
        _ => {}
    }
}

/// What is not always there may be null, a time has its format, and a union is of what it says.
fn refine_schemas(value: &mut Value) {
    let schemas = value.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    for schema in schemas.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        if schema.contains_key("anyOf") || schema.contains_key("oneOf") {
            schema.remove("type");
        }
        let required = schema.get("required").cloned().unwrap_or_default();
        let required = |name: &str| required.as_array().is_some_and(|all| all.contains(&json!(name)));
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            if name.ends_with("_at") {
                property["format"] = json!("date-time");
            }
            if !required(name) {
                if let Some(reference) = property.as_object_mut().and_then(|property| property.remove("$ref"))
                {
                    property["allOf"] = json!([{"$ref": reference}]);
                }
                property["nullable"] = json!(true);
                // Generators of clients take a default for a promise that the field is always there.
                property.as_object_mut().map(|property| property.remove("default"));
            }
        }
    }
}

/// Bodies of requests take no other fields than those that are named.
fn close_bodies(value: &mut Value) {
    let paths = value.get("paths").and_then(Value::as_object);
    let operations =
        paths.into_iter().flat_map(Map::values).filter_map(Value::as_object).flat_map(Map::values);
    let mut names = Vec::new();
    operations
        .filter_map(|operation| operation.get("requestBody"))
        .for_each(|body| references(body, &mut names));
    let mut done = std::collections::BTreeSet::new();
    while let Some(name) = names.pop() {
        let Some(schema) = value.pointer_mut(&name).filter(|_| done.insert(name.clone())) else { continue };
        if schema.get("properties").is_some() {
            schema["additionalProperties"] = json!(false);
        }
        let mut more = Vec::new();
        references(schema, &mut more);
        names.extend(more);
    }
}

/// Every schema that is named below, as a JSON pointer.
fn references(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            names.extend(own.and_then(|own| own.strip_prefix('#')).map(str::to_owned));
            fields.values().for_each(|field| references(field, names));
        }
        _ => {}
    }
}

/// Says of every unsigned number how small and large it may be: the framework says it in words of its own alone.
fn bound_numbers(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(bound_numbers),
        Value::Object(fields) => {
            let most = match fields.get("format").and_then(Value::as_str) {
                Some("uint8") => Some(u64::from(u8::MAX)),
                Some("uint16") => Some(u64::from(u16::MAX)),
                Some("uint32") => Some(u64::from(u32::MAX)),
                // What every reader of JSON can hold.
                Some("uint64") => Some((1 << 53) - 1),
                _ => None,
            };
            if let Some(most) = most.filter(|_| fields.get("type") == Some(&json!("integer"))) {
                fields.entry("minimum").or_insert(json!(0));
                fields.entry("maximum").or_insert(json!(most));
            }
            for bound in ["minimum", "maximum"] {
                if let Some(bound) = fields.get_mut(bound)
                    && let Some(whole) =
                        bound.as_f64().filter(|number| number.fract() == 0.0 && bound.is_f64())
                {
                    *bound = json!(whole as i64);
                }
            }
            fields.values_mut().for_each(bound_numbers);
        }
        _ => {}
    }
}

/// The body of a change to settings: each by name.
fn name_settings(value: &mut Value) {
    let schema = value.pointer_mut("/paths/~1settings/patch/requestBody/content");
    let schema = schema.and_then(|content| content.as_object_mut()?.values_mut().next()?.get_mut("schema"));
    let Some(schema) = schema else { return };
    let live = SETTINGS.iter().filter(|setting| setting.live).map(|setting| {
        let said = json!({
            "anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}],
            "nullable": true,
            "description": setting.help,
        });
        (setting.name.to_owned(), said)
    });
    *schema = json!({
        "type": "object",
        "description": "Settings by name, each with its value in its own words; null takes back what was said here, \
                        and what was said at the start counts again.",
        "additionalProperties": false,
        "properties": live.collect::<Map<_, _>>(),
    });
}

/// What may stand in If-Match.
fn say_etags(value: &mut Value) {
    let paths = value.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    let operations = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    let parameters =
        operations.filter_map(|operation| operation.get_mut("parameters")?.as_array_mut()).flatten();
    for parameter in parameters.filter(|parameter| text(parameter, "name") == "If-Match") {
        let schema = parameter.get_mut("schema").and_then(Value::as_object_mut);
        let pattern = json!("^(\\*|\"[0-9]{1,19}\")$");
        schema.into_iter().for_each(|schema| drop(schema.insert("pattern".to_owned(), pattern.clone())));
    }
}

/// Operations, and a body that each takes.
fn examples() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("/login", "post", json!({"username": "admin", "password": "the administrator's password"})),
        (
            "/keys",
            "post",
            json!({"key": "AIzaSy-an-upstream-key", "label": "spare", "project": "my-project"}),
        ),
        (
            "/keys/{key_id}",
            "patch",
            json!({"label": "spare", "tags": ["team-a"], "weight": 2, "project": null}),
        ),
        ("/keys/{key_id}/test", "post", json!({"model": "gemini-2.5-flash"})),
        (
            "/keys/bulk_add",
            "post",
            json!({
                "keys": ["AIzaSy-one", {"key": "AIzaSy-two", "priority": 50}],
                "project": "my-project",
                "models": ["gemini-2.5-*"],
            }),
        ),
        ("/keys/bulk_update", "post", json!({"ids": [1, 2], "set": {"priority": 50}})),
        ("/keys/bulk_delete", "post", json!({"ids": [1, 2], "force": false})),
        ("/keys/bulk_reset", "post", json!({"ids": [1, 2]})),
        ("/keys/bulk_enable", "post", json!({"ids": [1, 2]})),
        ("/keys/bulk_disable", "post", json!({"ids": [1, 2]})),
        ("/keys/bulk_tag", "post", json!({"ids": [1, 2], "add": ["team-a"], "remove": ["spare"]})),
        ("/keys/bulk_test", "post", json!({"ids": [1, 2], "model": "gemini-2.5-flash"})),
        (
            "/keys/import",
            "post",
            json!({"keys": ["AIzaSy-one"], "clients": ["an-access-key-of-old"], "dry_run": true}),
        ),
        ("/keys/export", "post", json!({"ids": [1, 2]})),
        ("/settings", "patch", json!({"MAX_ATTEMPTS": 5, "STRATEGY": null})),
        (
            "/allowed_keys",
            "post",
            json!({"name": "app", "models": ["gemini-2.5-*"], "requests_per_minute": 60, "addresses": ["10.0.0.0/8"]}),
        ),
        ("/allowed_keys/{key_id}", "put", json!({"enabled": false, "requests_per_day": null})),
        ("/allowed_keys/{key_id}/rotate", "post", json!({})),
        (
            "/admin/password",
            "post",
            json!({"current_password": "the one before", "new_password": "another good password"}),
        ),
        ("/master_key", "post", json!({"new_key": "another master key of 16 characters or more"})),
    ]
}

/// The framework knows one form of an answer for each status; an export has two.
fn tell_of_csv(value: &mut Value) {
    let content = value.pointer_mut("/paths/~1request_logs~1export/get/responses/200/content");
    if let Some(content) = content.and_then(Value::as_object_mut) {
        content.insert("text/csv".to_owned(), json!({"schema": {"type": "string", "format": "binary"}}));
    }
}

fn give_examples(value: &mut Value) {
    for (path, method, example) in examples() {
        let pointer = format!("/paths/{}/{method}/requestBody/content", path.replace('/', "~1"));
        let content = value.pointer_mut(&pointer).and_then(Value::as_object_mut);
        if let Some(content) = content.and_then(|content| content.values_mut().next()?.as_object_mut()) {
            content.insert("example".to_owned(), example);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(document: &Document) -> Vec<(&str, &str, &Value)> {
        let paths = document.value["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        });
        all.collect()
    }

    #[test]
    fn every_operation_says_what_it_is_and_what_can_go_wrong() {
        let document = Document::of_this_program();
        let operations = operations(document);
        assert!(operations.len() >= 23);
        for (path, method, operation) in operations {
            let about = format!("{method} {path}");
            assert!(!text(operation, "summary").is_empty(), "{about} has no summary");
            assert!(!text(operation, "operationId").is_empty(), "{about} has no name");
            assert_eq!(items(operation, "tags").len(), 1, "{about}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{about}");
            assert!(path == "/login" || !items(operation, "security").is_empty(), "{about} is for everybody");
            let problems = responses.iter().filter(|(status, _)| !status.starts_with('2'));
            for (status, response) in problems {
                let named = response.get("$ref").and_then(Value::as_str);
                let response = named.map_or(response, |to| document.reference(to).unwrap());
                assert!(response["content"].get("application/problem+json").is_some(), "{about} {status}");
            }
            let declares = |status: &str| responses.contains_key(status);
            assert!(declares("401"), "{about}");
            let parameters = items(operation, "parameters");
            assert!(parameters.is_empty() || declares("400"), "{about}");
            let has_body = operation.get("requestBody").is_some();
            assert_eq!(has_body, declares("413") && declares("415"), "{about}");
            assert!(!has_body || declares("400"), "{about}");
            for parameter in parameters {
                let said = !text(parameter, "description").is_empty();
                assert!(said, "{about}: nothing is said of {}", parameter["name"]);
                let header = |name: &str, status: &str| text(parameter, "name") == name && !declares(status);
                assert!(!header("If-Match", "412") && !header("Idempotency-Key", "422"), "{about}");
            }
        }
    }

    #[test]
    fn each_body_has_an_example_that_is_taken() {
        let document = Document::of_this_program();
        let given: Vec<_> = examples();
        for (path, method, operation) in operations(document) {
            let about = format!("{method} {path}");
            if operation.get("requestBody").is_none() {
                continue;
            }
            let example = given.iter().find(|(of, by, _)| (*of, *by) == (path, method));
            let (.., example) = example.unwrap_or_else(|| panic!("{about} has no example"));
            let wrong = document.explain(method, path, example.to_string().as_bytes());
            assert!(wrong.is_empty(), "{about}: {wrong:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_never_quoted() {
        let document = Document::of_this_program();
        let told = |path: &str, body: &str| {
            let wrong = document.explain("POST", path, body.as_bytes());
            wrong
                .iter()
                .map(|Wrong { name, wants }| format!("{name}: {wants}"))
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(told("/login", r#"{"username": "s3cret"}"#), "password: to be there");
        assert_eq!(told("/login", r#"{"username": 7, "password": "s3cret"}"#), "username: a string");
        assert_eq!(told("/login", "[\"s3cret\"]"), "body: an object");
        assert_eq!(told("/login", "{\"username\": \"s3cret"), "body: JSON to its end; it breaks off");
        assert_eq!(told("/login", "s3cret"), "body: JSON; it is none at line 1, column 1");
        assert_eq!(told("/login", ""), "body: a JSON object, and nothing was sent");
        let other = told("/login", r#"{"username": "a", "password": "b", "s3cret": 1}"#);
        assert_eq!(other, "body: no other fields than password, username");
        assert_eq!(told("/keys/bulk_reset", r#"{"ids": [1, "s3cret"]}"#), "ids/1: an integer");
        assert_eq!(told("/keys/bulk_reset", r#"{"ids": [-1]}"#), "ids/0: a number from 0 to 4294967295");
        assert_eq!(
            told("/keys/bulk_add", r#"{"keys": ["s3cret", {"key": "s3cret", "weight": "s3cret"}]}"#),
            "keys/1/weight: an integer"
        );
        assert_eq!(
            told("/keys/bulk_update", r#"{"ids": [], "set": {"priority": 256}}"#),
            "set/priority: a number from 0 to 255"
        );
    }

    #[test]
    fn paths_are_found_by_their_templates() {
        let document = Document::of_this_program();
        assert_eq!(document.methods("/keys").unwrap(), ["GET", "POST"]);
        assert_eq!(document.methods("/keys/7").unwrap(), ["GET", "PATCH", "DELETE"]);
        assert_eq!(document.methods("/keys/bulk_add").unwrap(), ["POST"]);
        assert_eq!(document.methods("/keys/7/test").unwrap(), ["POST"]);
        for path in ["", "/", "/key", "/keys/", "/keys/7/8"] {
            assert_eq!(document.methods(path), None, "{path}");
        }
        assert!(document.takes_header("POST", "/keys/bulk_add", "idempotency-key"));
        assert!(!document.takes_header("POST", "/keys/bulk_reset", "idempotency-key"));
    }
}
