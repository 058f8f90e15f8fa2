//! The scan against a real parser, and the odd bodies.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn scan(chunks: &[&[u8]]) -> Scan {
    let mut scan = Scan::new();
    chunks.iter().for_each(|chunk| scan.feed(chunk));
    scan
}

/// What a body says, and the same byte by byte.
#[track_caller]
fn told(body: &str) -> (Option<String>, Option<bool>, bool) {
    let all = |scan: Scan| (scan.model().map(str::to_owned), scan.stream(), scan.done());
    let whole = all(scan(&[body.as_bytes()]));
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(all(scan(&bytes)), whole);
    whole
}

#[test]
fn members_are_found_wherever_they_stand() {
    for body in [
        r#"{"model":"gemini","stream":true}"#,
        r#"  {  "stream" :true ,"messages":[{"model":"x","stream":false},["}",{"a":{}}]], "model" : "gemini" } "#,
        r#"{"a":"\\","b":"\"model\":\"x\"","model":"gemini","c":{"model":"x"},"stream":true,"d":-1.5e3,"e":null}"#,
        r#"{"m\u006fdel":"gem\u0069ni","stream":true}"#,
        r#"{"model":"x","model":"gemini","stream":false,"stream":true}"#,
        r#"{"model":"models/gemini","stream":true}"#,
    ] {
        assert_eq!(told(body), (Some("gemini".into()), Some(true), true), "{body}");
    }
}

#[test]
fn what_is_not_told_is_not_guessed() {
    for body in [
        "{}",
        r#"{"model":7,"stream":"true"}"#,
        r#"{"model":null,"stream":1}"#,
        r#"{"model":{"model":"x"},"stream":[true]}"#,
        r#"{"model":"x","stream":true,"model":null,"stream":null}"#,
        r#"[{"model":"x","stream":true}]"#,
        r#""model""#,
        "--boundary\r\nContent-Type: application/json\r\n\r\n{\"model\":\"x\"}",
        r#"{model:"x"}"#,
        "\u{0}{}",
    ] {
        assert_eq!(told(body), (None, None, true), "{body}");
    }
    assert_eq!(told(""), (None, None, false));
    assert_eq!(told(r#"{"model":"gemini","#), (Some("gemini".into()), None, false));
    assert_eq!(told(r#"{"model":"gem"#), (None, None, false));
}

#[test]
fn names_are_bounded() {
    let body = |length| format!(r#"{{"model":"{}"}}"#, "a".repeat(length));
    assert_eq!(told(&body(128)).0.map(|model| model.len()), Some(128));
    assert_eq!(told(&body(129)).0, None);
    assert_eq!(told(&body(1 << 20)), (None, None, true));
    let escaped = format!(r#"{{"model":"{}"}}"#, "\\u0061".repeat(128));
    assert_eq!(told(&escaped).0.map(|model| model.len()), Some(128));
    let name = format!(r#"{{"{}":1,"model":"gemini"}}"#, "a".repeat(1 << 20));
    assert_eq!(told(&name).0.as_deref(), Some("gemini"));
    let deep = format!(r#"{{"a":{}{},"model":"gemini"}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert_eq!(told(&deep).0.as_deref(), Some("gemini"));
}

#[test]
fn after_the_end_nothing_counts() {
    assert_eq!(told(r#"{"model":"gemini"}{"model":"x"}"#).0.as_deref(), Some("gemini"));
}

fn text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "model",
        "stream",
        "models/",
        "a",
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "é",
        "\n",
        "\u{1f600}",
        "true",
    ]);
    prop_oneof![
        3 => prop::sample::select(vec!["model", "stream", "x"]).prop_map(str::to_owned),
        2 => prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat()),
        1 => prop::collection::vec(Just("long"), 30..40).prop_map(|parts| parts.concat()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Any JSON, written tightly or widely, and with every character of some strings escaped.
fn document() -> impl Strategy<Value = String> {
    (value(), any::<bool>(), any::<bool>()).prop_map(|(value, pretty, escaped)| {
        let written =
            if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let written = written.unwrap();
        if escaped {
            written.replace("model", "m\\u006fdel").replace("stream", "str\\u0065am")
        } else {
            written
        }
    })
}

proptest! {
    /// Law: it says what a parser says, however the body is cut.
    #[test]
    fn law_it_agrees_with_a_parser(body in document(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let parsed: Value = serde_json::from_str(&body).unwrap();
        let model = parsed.get("model").and_then(Value::as_str).filter(|model| model.len() <= 128);
        let model = model.map(|model| model.strip_prefix("models/").unwrap_or(model));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &body.as_bytes()[pair[0]..pair[1]]).collect();
        let scan = scan(&chunks);
        prop_assert_eq!(scan.model(), model);
        prop_assert_eq!(scan.stream(), parsed.get("stream").and_then(Value::as_bool));
        prop_assert!(scan.done());
    }

    /// Law: bytes of any kind are survived, and cutting them makes no difference.
    #[test]
    fn law_any_bytes_are_survived(
        body in prop::collection::vec(prop::sample::select(b"{}[]\":,\\ umodelstrue\xff".to_vec()), 0..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let (left, right) = body.split_at(cut.index(body.len() + 1));
        let (one, two) = (scan(&[&body]), scan(&[left, right]));
        prop_assert_eq!((one.model(), one.stream(), one.done()), (two.model(), two.stream(), two.done()));
    }
}
