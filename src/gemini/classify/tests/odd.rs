//! One test for each odd shape that a body may have.

use std::io::Write;

use proptest::prelude::*;

use super::*;

#[test]
fn shapes_may_be_odd() {
    let wrapped = "[{\"error\":{\"code\":400,\"message\":\"API key not valid.\",\"status\":\"INVALID_ARGUMENT\",\"details\":[]}}\n]\n";
    assert_eq!(json(400, wrapped).verdict, Verdict::BadKey);
    let after_answers = r#"[{"candidates":[]},{"error":{"code":429,"message":"x"}}]"#;
    assert_eq!(status_in(after_answers.as_bytes()), 429);
    let text_numbers =
        r#"{"error":{"details":7,"status":null,"message":"API key expired.","code":"400","new":{}}}"#;
    assert_eq!(json(400, text_numbers).verdict, Verdict::BadKey);
    assert_eq!(status_in(text_numbers.as_bytes()), 400);
    let string = r#"{"error":"API key expired."}"#;
    assert_eq!(json(400, string).verdict, Verdict::BadKey);
    let bom = "\u{feff} {\"error\":{\"message\":\"API key expired.\"}} trailing";
    assert_eq!(json(400, bom).verdict, Verdict::BadKey);
    for nothing in [
        "",
        "{}",
        "[]",
        "null",
        "7",
        "{\"error\":null}",
        "{\"error\":[]}",
        "\u{0}",
        "{\"error\":{\"details\":[7,{}]}}",
    ] {
        assert_row(&json(400, nothing), Verdict::ClientFault, Blame::Client, Hold::None, false);
        assert_eq!(json(400, nothing).reason, None, "{nothing}");
    }
}

#[test]
fn a_cut_body_is_read_as_far_as_it_goes() {
    let body = r#"{"error":{"code":429,"message":"Quota \"used\\\" up\u00e9. é","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":"GenerateRequestsPerDay","quotaValue":"25"},{"quotaId":"x"}]}]}}"#;
    let told = body.find("\"25\"").unwrap();
    let mut verdicts = Vec::new();
    for end in 0..=body.len() {
        let seen = classify(429, None, &body.as_bytes()[..end]);
        verdicts.push(seen.verdict);
        if end >= told {
            assert_eq!(seen.verdict, Verdict::QuotaDay, "cut at {end}: {:?}", &body.as_bytes()[..end]);
        }
    }
    assert_eq!(verdicts[0], Verdict::QuotaUnknown);
    let message = r#"{"error":{"code":400,"message":"API key not valid. Plea"#;
    assert_eq!(json(400, message).verdict, Verdict::BadKey);
    let escape = r#"{"error":{"code":400,"message":"API key not valid. \u00"#;
    assert_eq!(json(400, escape).verdict, Verdict::BadKey);
    assert_eq!(json(400, &"[".repeat(100_000)).verdict, Verdict::ClientFault);
}

#[test]
fn reasons_are_one_short_line() {
    let long = format!(r#"{{"error":{{"message":"{}\u0007é\nsecond line"}}}}"#, "é".repeat(59));
    let reason = json(400, &long).reason.unwrap();
    assert_eq!(reason, format!("{} ", "é".repeat(59)));
    let many = format!(r#"{{"error":{{"message":"{}"}}}}"#, "é".repeat(500));
    assert_eq!(json(400, &many).reason.unwrap().len(), 120);
}

#[test]
fn violations_are_bounded() {
    let many: Vec<(&str, &str)> = vec![(PER_MINUTE, ""); 100];
    assert_eq!(quota(&many, "1s", "No.").violations.len(), 16);
}

#[test]
fn an_error_inside_a_stream_tells_its_status() {
    for (body, status) in [
        (r#"{"error":{"code":499,"status":"CANCELLED"}}"#, 499),
        (r#"{"event_type":"error","error":{"code":"not_found","message":"x"}}"#, 404),
        (r#"{"error":{"code":"rate_limit_exceeded"}}"#, 429),
        (r#"{"error":{"status":"UNAVAILABLE"}}"#, 503),
        (r#"{"error":{"code":8,"status":"RESOURCE_EXHAUSTED"}}"#, 429),
        (r#"{"error":{"code":-1}}"#, 500),
        ("", 500),
    ] {
        assert_eq!(status_in(body.as_bytes()), status, "{body}");
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_undone_within_a_limit() {
    let body = br#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}"#;
    let packed = gzip(body);
    assert_eq!(gunzip(&packed, 1 << 16).as_deref(), Some(&body[..]));
    assert_eq!(gunzip(&packed, 10).as_deref(), Some(&body[..10]));
    let torn = gunzip(&packed[..packed.len() - 9], 1 << 16).unwrap();
    assert!(!torn.is_empty() && body.starts_with(&torn));
    assert_eq!(gunzip(&gzip(&vec![0; 10 << 20]), 1_000).map(|it| it.len()), Some(1_000));
    assert_eq!(gunzip(&gzip(b""), 10).as_deref(), Some(&b""[..]));
    assert_eq!(gunzip(body, 10), None);
    assert_eq!(gunzip(b"", 10), None);
}

proptest! {
    /// Law: no bytes make it fail, its answer is bounded, and a 400 costs a key
    /// something only where Google's words for it stand in the body.
    #[test]
    fn law_arbitrary_bytes_are_survived_and_cost_no_key(
        status in 100_u16..700,
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            // Bits of errors in any order, which are more often nearly right.
            proptest::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"error\":", "\"message\":\"", "\"", "\\", "\"code\":400",
                "\"status\":\"INVALID_ARGUMENT\"", "API key not", " valid", "\"details\":[", "\"reason\":\"",
                "{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",", "\u{e9}", "429", "\\u00",
            ]), 0..30).prop_map(|parts| parts.concat().into_bytes()),
        ],
    ) {
        let seen = classify(status, None, &body);
        prop_assert!(seen.reason.as_ref().is_none_or(|reason| reason.len() <= 120 && !reason.contains('\n')));
        prop_assert!(seen.violations.len() <= 16);
        let text = String::from_utf8_lossy(&body).to_ascii_lowercase();
        if status == 400 && !text.contains("api key not valid") {
            prop_assert_eq!((seen.blame, seen.hold), (Blame::Client, Hold::None));
        }
        let _ = (status_in(&body), gunzip(&body, 100));
    }
}
