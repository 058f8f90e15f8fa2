//! Whole answers and streams, compared with what Google sends without a pool between.

use std::io::Read;

use gemini_pool::simulated::{End, Failure, Fault, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{Setup, ask, of_type};

const KEY: &str = "AIza-good-1";
/// 2026-01-15, noon in California.
const NOON: i64 = 1_768_507_200_000;

fn world() -> World {
    World::new().at(NOON).key("alpha", KEY)
}

struct Asked {
    path: &'static str,
    body: Value,
    gzip: bool,
}

/// What there is to ask, one of each framing.
fn everything() -> Vec<Asked> {
    let model = "gemini-2.5-flash";
    let chat = |stream: bool| {
        json!({"model": model, "stream": stream, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "Hello"}]})
    };
    let interaction = |stream: bool| json!({"model": model, "stream": stream, "input": "Hello"});
    let whole = "/v1beta/models/gemini-2.5-flash:generateContent";
    let sse = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
    let asked = |path, body, gzip| Asked { path, body, gzip };
    vec![
        asked(whole, ask("Hello"), false),
        asked(whole, ask("Hello"), true),
        asked(sse, ask("Hello"), false),
        asked(sse, ask("Hello"), true),
        asked("/v1beta/models/gemini-2.5-flash:streamGenerateContent", ask("Hello"), false),
        asked("/v1beta/openai/chat/completions", chat(false), false),
        asked("/v1beta/openai/chat/completions", chat(false), true),
        asked("/v1beta/openai/chat/completions", chat(true), false),
        asked("/v1beta/interactions", interaction(false), false),
        asked("/v1beta/interactions", interaction(true), false),
        asked(sse, ask("[image] Hello"), false),
        asked(whole, ask("[image] Hello"), true),
        asked(whole, ask("[blocked]"), false),
        asked(sse, ask("[blocked]"), false),
        asked("/v1beta/models/gemini-2.5-flash:countTokens", ask("Hello"), true),
        asked(
            "/v1beta/models/gemini-embedding-001:embedContent",
            json!({"content": {"parts": [{"text": "x"}]}}),
            true,
        ),
        asked("/v1beta/models/none:generateContent", ask("Hello"), false),
        asked("/v1beta/models/none:streamGenerateContent?alt=sse", ask("Hello"), false),
    ]
}

/// Status, headers but those about the moment and the connection, and the bytes.
async fn call(origin: &str, key: &str, asked: &Asked) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let request =
        crate::support::http().post(format!("{origin}{}", asked.path)).header("x-goog-api-key", key);
    let request = if asked.gzip { request.header("accept-encoding", "gzip") } else { request };
    let answer = request.json(&asked.body).send().await.unwrap();
    let mut headers: Vec<(String, String)> = answer
        .headers()
        .iter()
        .filter(|(name, _)| !["date", "x-request-id", "transfer-encoding"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (answer.status().as_u16(), headers, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn every_framing_passes_byte_for_byte_with_its_headers() {
    let (direct, behind) =
        (SimulatedGoogle::start(world()).await.unwrap(), SimulatedGoogle::start(world()).await.unwrap());
    let server = Setup::new(&behind, &[KEY]).start();
    for asked in everything() {
        let (path, gzip) = (asked.path, asked.gzip);
        let wanted = call(&direct.origin(), KEY, &asked).await;
        let got = call(&server.origin, crate::support::CLIENT_KEY, &asked).await;
        assert_eq!((got.0, &got.1), (wanted.0, &wanted.1), "{path} gzip {gzip}");
        assert!(got.2 == wanted.2, "{path} gzip {gzip}: {} bytes instead of {}", got.2.len(), wanted.2.len());
        let zipped = got.1.iter().any(|(name, _)| name == "content-encoding");
        assert_eq!(zipped, gzip && !path.contains("alt=sse"), "{path}");
        if zipped {
            let told =
                got.1.iter().find(|(name, _)| name == "content-length").map(|(_, length)| length.as_str());
            assert_eq!(told, Some(got.2.len().to_string().as_str()), "{path}");
            let mut plain = String::new();
            flate2::read::GzDecoder::new(&got.2[..]).read_to_string(&mut plain).unwrap();
            serde_json::from_str::<Value>(&plain).unwrap();
        }
    }
    assert!(
        behind.seen().iter().all(|seen| seen.violations.is_empty() && seen.end == End::Whole),
        "{:?}",
        behind.seen()
    );
}

#[tokio::test]
async fn what_google_counted_is_recorded_from_every_framing() {
    let google = SimulatedGoogle::start(world()).await.unwrap();
    let server = Setup::new(&google, &[KEY]).start();
    let asked: Vec<Asked> = everything().into_iter().take(10).collect();
    for asked in &asked {
        assert_eq!(call(&server.origin, crate::support::CLIENT_KEY, asked).await.0, 200);
    }
    let log = server.stop().0.log();
    let attempts = of_type(&log, "Attempted");
    let answered = of_type(&log, "Answered");
    assert_eq!((attempts.len(), answered.len()), (asked.len(), asked.len()));
    for ((asked, attempt), answered) in asked.iter().zip(&attempts).zip(&answered) {
        let about = format!("{} gzip {}: {attempt}", asked.path, asked.gzip);
        let tokens = &attempt["tokens"];
        assert_eq!(
            (&tokens["prompt"], &tokens["output"], &tokens["total"]),
            (&json!(2), &json!(12), &json!(21)),
            "{about}"
        );
        // OpenAI's form has thoughts in the total only.
        let thoughts = if asked.path.contains("openai") { 0 } else { 7 };
        assert_eq!(tokens["thoughts"], thoughts, "{about}");
        assert_eq!(
            (&attempt["verdict"], &answered["outcome"]),
            (&json!("success"), &json!("complete")),
            "{about}"
        );
        assert_eq!(attempt["bytes_received"], answered["bytes"], "{about}");
        assert_eq!(
            (&answered["model"], &attempt["model"]),
            (&json!("gemini-2.5-flash"), &json!("gemini-2.5-flash")),
            "{about}"
        );
        let finish = attempt["finish_reason"].as_str().unwrap().to_lowercase();
        assert_eq!(finish, if asked.path.contains("interactions") { "completed" } else { "stop" }, "{about}");
        assert_eq!(
            answered["streamed"],
            json!(asked.path.contains("stream") || asked.body["stream"] == true),
            "{about}"
        );
    }
}

#[tokio::test]
async fn chunks_arrive_as_they_are_sent_and_are_not_gathered() {
    for (path, body) in [
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", ask("Hello")),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", ask("Hello")),
        (
            "/v1beta/openai/chat/completions",
            json!({"model": "gemini-2.5-flash", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}),
        ),
        ("/v1beta/models/gemini-2.5-flash:generateContent", ask("Hello")),
    ] {
        let stalled = world().fault(Fault::always(Failure::Stall { after: 1, lasts: None }));
        let google = SimulatedGoogle::start(stalled).await.unwrap();
        let server = Setup::new(&google, &[KEY]).start();
        let mut answer = server.app().post(path, &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let first = answer.chunk().await.unwrap().expect("the first piece, while Google holds the second");
        assert!(!first.is_empty(), "{path}");
        assert_eq!(google.seen()[0].end, End::Open, "{path}");
        google.release();
        let mut rest = 0;
        while let Some(chunk) = answer.chunk().await.unwrap() {
            rest += chunk.len();
        }
        assert!(rest > 0, "{path}");
    }
}

#[tokio::test]
async fn an_image_on_one_line_of_a_megabyte_is_no_trouble() {
    let google = SimulatedGoogle::start(world()).await.unwrap();
    let server = Setup::new(&google, &[KEY]).start();
    let (status, bytes) = server.app().stream("gemini-2.5-flash", "[image]").await;
    assert_eq!(status, 200);
    let longest = bytes.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap();
    assert!(longest > 1_300_000, "{longest}");
    let attempts = of_type(&server.stop().0.log(), "Attempted");
    assert_eq!(attempts[0]["verdict"], "success");
    assert_eq!(attempts[0]["bytes_received"], bytes.len());
    assert!(attempts[0]["tokens"]["total"].as_u64().unwrap() > 7, "{attempts:?}");
}
