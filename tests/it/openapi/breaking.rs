//! Which changes of an OpenAPI document break whoever relies on the one before it.
//!
//! A request that was taken must be taken, and an answer must hold what it held. Both are one question: may a
//! value of one schema be no value of another? For requests the old schema is the smaller one, for answers the
//! new one. New paths, optional parameters, fields of answers and error statuses break nobody.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Everything that breaks, in words.
pub(super) fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, found: Vec::new() };
    for (path, item) in fields(&old["paths"]) {
        for verb in VERBS.iter().filter(|verb| item.get(**verb).is_some()) {
            let at = format!("{} {path}", verb.to_uppercase());
            match new["paths"].get(path).and_then(|item| item.get(*verb)) {
                Some(now) => comparison.operation(&at, &item[*verb], now),
                None => comparison.say(&at, "is gone"),
            }
        }
    }
    comparison.found
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn is(value: &Value, name: &str) -> bool {
    value.get(name) == Some(&Value::Bool(true))
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    found: Vec<String>,
}

/// A schema, and the document that its references are looked up in.
#[derive(Clone, Copy)]
struct Schema<'a> {
    value: &'a Value,
    document: &'a Value,
}

impl<'a> Schema<'a> {
    fn resolved(self) -> Self {
        let mut value = self.value;
        // A union of one, as the framework writes references with more beside them.
        loop {
            let name = value.get("$ref").and_then(Value::as_str);
            let only =
                items(value, "allOf").iter().filter(|part| part.get("$ref").is_some()).collect::<Vec<_>>();
            value =
                match (name.and_then(|name| self.document.pointer(name.strip_prefix('#')?)), only.as_slice())
                {
                    (Some(named), _) => named,
                    (None, [only]) => only,
                    _ => return Self { value, ..self },
                };
        }
    }

    fn nullable(self) -> bool {
        is(self.value, "nullable") || is(self.resolved().value, "nullable")
    }

    fn part(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }
}

impl<'a> Comparison<'a> {
    fn say(&mut self, at: &str, what: impl AsRef<str>) {
        self.found.push(format!("{at}: {}", what.as_ref()));
    }

    fn operation(&mut self, at: &str, was: &Value, now: &Value) {
        if was.get("operationId") != now.get("operationId") {
            self.say(at, format!("operationId was {}, is {}", was["operationId"], now["operationId"]));
        }
        if items(was, "security").is_empty() && !items(now, "security").is_empty() {
            self.say(at, "wants a credential now");
        }
        self.parameters(at, was, now);
        match (was.get("requestBody"), now.get("requestBody")) {
            (Some(was), Some(now)) => {
                let at = format!("{at}, body");
                if !is(was, "required") && is(now, "required") {
                    self.say(&at, "is required now");
                }
                self.contents(&at, was, now, true);
            }
            (None, Some(now)) if is(now, "required") => self.say(at, "wants a body now"),
            (Some(_), None) => self.say(at, "takes no body any more"),
            _ => {}
        }
        for (status, was) in fields(&was["responses"]) {
            let at = format!("{at}, {status}");
            match now["responses"].get(status) {
                Some(now) => {
                    self.contents(&at, was, now, false);
                    for (name, _) in fields(was.get("headers").unwrap_or(&Value::Null)) {
                        if now["headers"].get(name).is_none() {
                            self.say(&at, format!("header {name} is gone"));
                        }
                    }
                }
                None if status.starts_with('2') => self.say(&at, "is not given any more"),
                None => {}
            }
        }
        for (status, _) in fields(&now["responses"]).filter(|(status, _)| status.starts_with('2')) {
            if was["responses"].get(status).is_none() {
                self.say(at, format!("succeeds in a new way, {status}"));
            }
        }
    }

    fn parameters(&mut self, at: &str, was: &Value, now: &Value) {
        let key =
            |parameter: &Value| (parameter["in"].to_string(), parameter["name"].to_string().to_lowercase());
        let find = |all: &'_ Value, wanted: &Value| {
            items(all, "parameters").iter().find(|one| key(one) == key(wanted)).cloned()
        };
        for one in items(was, "parameters") {
            let at = format!("{at}, parameter {}", one["name"]);
            let Some(other) = find(now, one) else {
                self.say(&at, "is gone");
                continue;
            };
            if !is(one, "required") && is(&other, "required") {
                self.say(&at, "is required now");
            }
            let (old, new) = (self.old, self.new);
            let (was, now) = (
                Schema { value: &one["schema"], document: old },
                Schema { value: &other["schema"], document: new },
            );
            self.within(&at, was, now, &mut BTreeSet::new());
            if one["schema"].get("default") != other["schema"].get("default") {
                self.say(&at, "has another default");
            }
        }
        for one in items(now, "parameters").iter().filter(|one| is(one, "required")) {
            if find(was, one).is_none() {
                self.say(at, format!("parameter {} is new, and required", one["name"]));
            }
        }
    }

    fn contents(&mut self, at: &str, was: &Value, now: &Value, request: bool) {
        for (kind, content) in fields(was.get("content").unwrap_or(&Value::Null)) {
            let Some(other) = now["content"].get(kind) else {
                self.say(at, format!("{kind} is gone"));
                continue;
            };
            let (old, new) = (self.old, self.new);
            let was = Schema { value: &content["schema"], document: old };
            let now = Schema { value: &other["schema"], document: new };
            if request {
                self.within(at, was, now, &mut BTreeSet::new());
            } else {
                self.within(at, now, was, &mut BTreeSet::new());
                self.still_there(at, was, now, &mut BTreeSet::new());
            }
        }
    }

    /// Says where a value of `small` may be none of `big`.
    fn within(
        &mut self,
        at: &str,
        small: Schema<'_>,
        big: Schema<'_>,
        seen: &mut BTreeSet<(String, String)>,
    ) {
        if small.nullable() && !big.nullable() {
            self.say(at, "null on one side alone");
        }
        let names = (small.value.to_string(), big.value.to_string());
        if small.value.get("$ref").is_some() && !seen.insert(names) {
            return;
        }
        let (small, big) = (small.resolved(), big.resolved());
        let unions =
            |schema: Schema<'_>| [items(schema.value, "anyOf"), items(schema.value, "oneOf")].concat();
        let (alternatives, others) = (unions(small), unions(big));
        if !alternatives.is_empty() || !others.is_empty() {
            let small_ones = if alternatives.is_empty() { vec![small.value.clone()] } else { alternatives };
            let big_ones = if others.is_empty() { vec![big.value.clone()] } else { others };
            for one in &small_ones {
                let fits = big_ones.iter().any(|other| {
                    let mut inner = Comparison { old: self.old, new: self.new, found: Vec::new() };
                    inner.within(
                        at,
                        Schema { value: one, ..small },
                        Schema { value: other, ..big },
                        &mut seen.clone(),
                    );
                    inner.found.is_empty()
                });
                if !fits {
                    self.say(at, "an alternative is on one side alone");
                }
            }
            return;
        }
        self.limits(at, small.value, big.value);
        if let (Some(one), Some(other)) = (small.value.get("items"), big.value.get("items")) {
            self.within(&format!("{at}[]"), small.part(one), big.part(other), seen);
        }
        let closed = big.value.get("additionalProperties") == Some(&json!(false));
        let required =
            |schema: Schema<'_>, name: &str| items(schema.value, "required").contains(&json!(name));
        for name in items(big.value, "required").iter().filter_map(Value::as_str) {
            if !required(small, name) {
                self.say(at, format!("field {name} is required on one side alone"));
            }
        }
        for (name, one) in fields(&small.value["properties"]) {
            match big.value["properties"].get(name) {
                Some(other) => self.within(&format!("{at}.{name}"), small.part(one), big.part(other), seen),
                None if closed => self.say(at, format!("field {name} is on one side alone")),
                None => {}
            }
        }
    }

    fn limits(&mut self, at: &str, small: &Value, big: &Value) {
        for name in ["type", "format"] {
            if let Some(wanted) = big.get(name).filter(|wanted| small.get(name) != Some(*wanted)) {
                self.say(
                    at,
                    format!(
                        "{name} is {} on one side, {wanted} on the other",
                        small.get(name).unwrap_or(&Value::Null)
                    ),
                );
            }
        }
        if big.get("enum").is_some() {
            for value in items(small, "enum").iter().filter(|value| !items(big, "enum").contains(value)) {
                self.say(at, format!("{value} is on one side alone"));
            }
            if small.get("enum").is_none() {
                self.say(at, "only some words on one side");
            }
        }
        if big.get("pattern").is_some() && big.get("pattern") != small.get("pattern") {
            self.say(at, "has another pattern");
        }
        let number = |schema: &Value, name: &str| schema.get(name).and_then(Value::as_f64);
        for (name, least) in [
            ("minimum", true),
            ("minLength", true),
            ("minItems", true),
            ("maximum", false),
            ("maxLength", false),
            ("maxItems", false),
        ] {
            let Some(bound) = number(big, name) else { continue };
            let fits = number(small, name).is_some_and(|own| if least { own >= bound } else { own <= bound });
            if !fits {
                self.say(at, format!("{name} is tighter on one side"));
            }
        }
    }

    /// Says which fields of an answer are not told any more.
    fn still_there(&mut self, at: &str, was: Schema<'_>, now: Schema<'_>, seen: &mut BTreeSet<String>) {
        if was.value.get("$ref").is_some() && !seen.insert(was.value.to_string()) {
            return;
        }
        let (was, now) = (was.resolved(), now.resolved());
        if let (Some(one), Some(other)) = (was.value.get("items"), now.value.get("items")) {
            self.still_there(&format!("{at}[]"), was.part(one), now.part(other), seen);
        }
        for (name, one) in fields(&was.value["properties"]) {
            match now.value["properties"].get(name) {
                Some(other) => {
                    self.still_there(&format!("{at}.{name}"), was.part(one), now.part(other), seen)
                }
                None => self.say(at, format!("field {name} is gone")),
            }
        }
    }
}

/// A small API.
fn sample() -> Value {
    json!({
        "paths": {"/things/{id}": {
            "get": {
                "operationId": "get_thing",
                "security": [{"token": []}],
                "parameters": [
                    {"name": "id", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 0}},
                    {"name": "sort", "in": "query", "schema": {"type": "string", "enum": ["a", "b"], "default": "a"}},
                ],
                "responses": {
                    "200": {
                        "headers": {"ETag": {}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    },
                    "404": {"content": {}},
                },
            },
            "post": {
                "operationId": "change_thing",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Change"}}}},
                "responses": {"200": {}},
            },
        }},
        "components": {"schemas": {
            "Thing": {"type": "object", "required": ["id", "state"], "properties": {
                "id": {"type": "integer"},
                "state": {"$ref": "#/components/schemas/State"},
                "note": {"type": "string", "nullable": true},
                "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
            }},
            "State": {"type": "string", "enum": ["good", "bad"]},
            "Change": {"type": "object", "required": ["id"], "additionalProperties": false, "properties": {
                "id": {"type": "integer", "maximum": 10},
                "name": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "integer"}]},
                "note": {"type": "string", "nullable": true},
            }},
        }},
    })
}

/// The sample with one thing set.
fn with(pointer: &str, name: &str, value: Value) -> Value {
    let mut changed = sample();
    changed.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
    changed
}

fn without(pointer: &str, name: &str) -> Value {
    let mut changed = sample();
    let fields: &mut Map<String, Value> = changed.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    assert!(fields.remove(name).is_some(), "{pointer} has no {name}");
    changed
}

const THING: &str = "/components/schemas/Thing";
const CHANGE: &str = "/components/schemas/Change";
const GET: &str = "/paths/~1things~1{id}/get";
const POST: &str = "/paths/~1things~1{id}/post";

#[test]
fn what_is_new_and_optional_breaks_nobody() {
    let fine = [
        sample(),
        with("/paths", "/others", json!({"get": {"operationId": "x", "responses": {}}})),
        with(&format!("{THING}/properties"), "new", json!({"type": "string"})),
        with(&format!("{CHANGE}/properties"), "new", json!({"type": "string"})),
        with(&format!("{CHANGE}/properties/id"), "maximum", json!(11)),
        with(&format!("{GET}/responses"), "429", json!({})),
        without(&format!("{GET}/responses"), "404"),
        with(CHANGE, "required", json!([])),
        with(THING, "required", json!(["id", "state", "parts"])),
        with(&format!("{GET}/parameters/1/schema"), "enum", json!(["a", "b", "c"])),
        without(&format!("{THING}/properties/note"), "nullable"),
        with("/components/schemas/State", "enum", json!(["good"])),
    ];
    for now in fine {
        assert_eq!(breaks(&sample(), &now), Vec::<String>::new());
    }
}

#[test]
fn each_way_to_break_a_caller_is_found() {
    let parameter =
        |required: bool| json!({"name": "new", "in": "query", "required": required, "schema": {}});
    let mut more = sample();
    more.pointer_mut(GET).unwrap()["parameters"].as_array_mut().unwrap().push(parameter(true));
    let mut fewer = sample();
    fewer.pointer_mut(GET).unwrap()["parameters"].as_array_mut().unwrap().pop();
    let mut optional = sample();
    optional.pointer_mut(GET).unwrap()["parameters"].as_array_mut().unwrap().push(parameter(false));
    assert!(breaks(&sample(), &optional).is_empty());
    let broken = [
        (without("/paths", "/things/{id}"), "GET /things/{id}: is gone"),
        (without("/paths/~1things~1{id}", "post"), "POST /things/{id}: is gone"),
        (with(GET, "operationId", json!("read_thing")), "operationId"),
        (with(POST, "security", json!([{"token": []}])), "wants a credential"),
        (more, "is new, and required"),
        (fewer, "parameter \"sort\": is gone"),
        (with(&format!("{GET}/parameters/1"), "required", json!(true)), "is required now"),
        (with(&format!("{GET}/parameters/1/schema"), "enum", json!(["a"])), "\"b\" is on one side"),
        (with(&format!("{GET}/parameters/1/schema"), "default", json!("b")), "another default"),
        (with(&format!("{GET}/parameters/0/schema"), "minimum", json!(1)), "minimum is tighter"),
        (with(&format!("{GET}/parameters/0/schema"), "type", json!("string")), "type is"),
        (without(&format!("{GET}/responses"), "200"), "is not given any more"),
        (with(&format!("{GET}/responses"), "202", json!({})), "in a new way, 202"),
        (without(&format!("{GET}/responses/200/headers"), "ETag"), "header ETag is gone"),
        (without(&format!("{GET}/responses/200/content"), "application/json"), "application/json is gone"),
        (without(&format!("{THING}/properties"), "note"), "field note is gone"),
        (with(THING, "required", json!(["id"])), "field state is required"),
        (with(&format!("{THING}/properties/id"), "nullable", json!(true)), "null on one side"),
        (with(&format!("{THING}/properties/id"), "type", json!("string")), "type is"),
        (with("/components/schemas/State", "enum", json!(["good", "bad", "odd"])), "\"odd\" is on one side"),
        (without(POST, "requestBody"), "takes no body"),
        (with(&format!("{POST}/requestBody"), "required", json!(true)), "is required now"),
        (with(CHANGE, "required", json!(["id", "note"])), "field note is required"),
        (without(&format!("{CHANGE}/properties"), "note"), "field note is on one side"),
        (without(&format!("{CHANGE}/properties/note"), "nullable"), "null on one side"),
        (with(&format!("{CHANGE}/properties/id"), "maximum", json!(9)), "maximum is tighter"),
        (with(&format!("{CHANGE}/properties/note"), "maxLength", json!(9)), "maxLength is tighter"),
        (with(&format!("{CHANGE}/properties/note"), "pattern", json!("^a")), "another pattern"),
        (with(&format!("{CHANGE}/properties/name"), "anyOf", json!([{"type": "integer"}])), "an alternative"),
    ];
    for (now, says) in broken {
        let found = breaks(&sample(), &now);
        assert!(found.iter().any(|found| found.contains(says)), "not found: {says}; only {found:?}");
    }
}
