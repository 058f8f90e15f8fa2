//! Turns of one conversation, and of others.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn chunked(shape: Shape, client: u32, model: &str, chunks: &[&[u8]]) -> Option<u64> {
    let mut conversation = Conversation::new(shape);
    chunks.iter().for_each(|chunk| conversation.feed(chunk));
    conversation.id(client, model)
}

/// The number of a body, and the same byte by byte.
#[track_caller]
fn id(shape: Shape, body: &str) -> Option<u64> {
    let whole = chunked(shape, 1, "gemini-2.5-flash", &[body.as_bytes()]);
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(chunked(shape, 1, "gemini-2.5-flash", &bytes), whole);
    whole
}

fn turn(role: &str, text: &str) -> Value {
    json!({"role": role, "parts": [{"text": text}]})
}

fn native(turns: &[&str]) -> Value {
    let roles = ["user", "model"].iter().cycle();
    let contents: Vec<Value> = turns.iter().zip(roles).map(|(text, role)| turn(role, text)).collect();
    json!({"contents": contents})
}

fn of(body: &Value) -> u64 {
    id(Shape::Native, &body.to_string()).unwrap()
}

#[test]
fn turns_of_one_conversation_are_one() {
    let first = of(&native(&["[\"what\", {is}] \\ this?"]));
    assert_eq!(of(&native(&["[\"what\", {is}] \\ this?", "a list"])), first);
    assert_eq!(of(&native(&["[\"what\", {is}] \\ this?", "a list", "and that?"])), first);
    assert_ne!(of(&native(&["what is that?", "a list", "and this?"])), first);
}

#[test]
fn who_asks_whom_with_which_tools_makes_a_difference() {
    let body = native(&["hello"]).to_string();
    let of_one = |client, model| chunked(Shape::Native, client, model, &[body.as_bytes()]).unwrap();
    let mut all =
        vec![of_one(1, "gemini-2.5-flash"), of_one(2, "gemini-2.5-flash"), of_one(1, "gemini-2.5-pro")];
    for (name, value) in [
        ("systemInstruction", turn("system", "be brief")),
        ("systemInstruction", turn("system", "be long")),
        ("cachedContent", json!("cachedContents/x")),
        ("tools", json!([{"googleSearch": {}}])),
    ] {
        let mut body = native(&["hello"]);
        body[name] = value;
        all.push(of(&body));
    }
    let mut different = all.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), all.len());
}

#[test]
fn the_order_of_members_and_what_is_said_of_the_answer_make_none() {
    let one = r#"{"tools":[{"a":1}],"contents":[{"parts":[]}],"system_instruction":{"a":1}}"#;
    let other = r#"{"generationConfig":{"contents":[7],"temperature":1}, "systemInstruction":{"a":1},
        "contents": [ {"parts":[]} , {"role":"model"}],"tools":[{"a":1}]}"#;
    assert!(id(Shape::Native, one).is_some());
    assert_eq!(id(Shape::Native, one), id(Shape::Native, other));
}

#[test]
fn in_openais_shape_it_begins_with_the_users_first_message() {
    let of = |messages: Value| id(Shape::OpenAi, &json!({"messages": messages}).to_string()).unwrap();
    let says = |role: &str, text: &str| json!({"role": role, "content": text});
    let (system, user) = (says("system", "be brief"), says("user", "hello"));
    let first = of(json!([system, user]));
    assert_eq!(of(json!([system, user, says("assistant", "hi"), says("user", "more")])), first);
    assert_ne!(of(json!([system, says("user", "bye")])), first);
    assert_ne!(of(json!([says("system", "be long"), user])), first);
    let alone = of(json!([user]));
    assert_ne!(alone, first);
    assert_eq!(of(json!([user, says("assistant", "hi"), says("user", "more")])), alone);
}

#[test]
fn an_interaction_goes_on_with_the_one_before() {
    let of = |body: Value| id(Shape::Interactions, &body.to_string());
    let first = of(json!({"input": "hello"}));
    assert!(first.is_some());
    assert_eq!(of(json!({"input": "hello", "store": false})), first);
    assert_ne!(of(json!({"input": "bye"})), first);
    let next = of(json!({"input": "more", "previous_interaction_id": "interactions/x"}));
    assert_eq!(of(json!({"input": "else", "previous_interaction_id": "interactions/x"})), next);
    assert_ne!(next, first);
    let turns = |more: &[Value]| {
        let mut turns = vec![json!({"role": "user", "content": "hello"})];
        turns.extend_from_slice(more);
        of(json!({"input": turns}))
    };
    assert_eq!(turns(&[]), turns(&[json!({"role": "model", "content": "hi"})]));
}

#[test]
fn what_is_no_conversation_has_no_number() {
    for body in [
        "",
        "{}",
        "[]",
        r#"{"contents":[]}"#,
        r#"{"contents": null}"#,
        r#"{"messages":[{"role":"user"}]}"#,
        r#"{"tools":[{"a":1}],"systemInstruction":{"a":1}}"#,
        r#"{"content":{"parts":[{"text":"embed me"}]}}"#,
        "--boundary\r\n\r\n{\"contents\":[{}]}",
    ] {
        assert_eq!(id(Shape::Native, body), None, "{body}");
    }
    // Texts to embed are none: nothing of them comes again.
    assert_eq!(id(Shape::OpenAi, r#"{"input":"embed me"}"#), None);
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    let twice = r#"{"contents":[{"a":1}],"contents":[{"a":2}]}"#;
    assert_eq!(id(Shape::Native, twice), id(Shape::Native, r#"{"contents":[{"a":2}]}"#));
    assert_eq!(id(Shape::Native, r#"{"contents":[{"a":1}],"contents":null}"#), None);
}

#[test]
fn a_long_beginning_counts_by_its_first_part() {
    let long = |text: String, answer: &str| of(&native(&[&text, answer]));
    let same = "x".repeat(2 * HEARD);
    assert_eq!(long(format!("{same}one"), "a"), long(format!("{same}two"), "b"));
    assert_ne!(long(format!("one{same}"), "a"), long(format!("two{same}"), "a"));
    let short = "x".repeat(HEARD - 200);
    assert_ne!(long(format!("{short}one"), "a"), long(format!("{short}two"), "a"));
    // The list goes on beyond what counts, its first element does not.
    assert_eq!(long(short.clone(), "a"), long(short, &same));
}

proptest! {
    #[test]
    fn law_chunks_make_no_difference(
        texts in prop::collection::vec("[a-z\"\\\\{}\\[\\],é]{0,40}", 1..4),
        system in prop::option::of("[a-z\"]{0,20}"),
        cuts in prop::collection::vec(1..40_usize, 1..20),
    ) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut body = native(&texts);
        if let Some(system) = &system {
            body["systemInstruction"] = turn("system", system);
        }
        let text = body.to_string();
        let whole = chunked(Shape::Native, 1, "m", &[text.as_bytes()]);
        prop_assert!(whole.is_some());
        let (mut rest, mut chunks) = (text.as_bytes(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (chunk, more) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = more;
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(chunked(Shape::Native, 1, "m", &chunks), whole);
        // And a further turn none either.
        body["contents"].as_array_mut().unwrap().push(turn("user", "more"));
        let longer = body.to_string();
        prop_assert_eq!(chunked(Shape::Native, 1, "m", &[longer.as_bytes()]), whole);
    }
}
