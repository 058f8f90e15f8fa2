//! Answers of every framing and shape, cut anywhere.

use proptest::prelude::*;

use super::*;

fn read_chunks(framing: Framing, shape: Shape, gzip: bool, chunks: &[&[u8]]) -> Read {
    let mut reader = Reader::new(framing, shape, gzip);
    chunks.iter().for_each(|chunk| reader.feed(chunk));
    reader.finish()
}

/// Reads an answer whole, and asserts that byte by byte gives the same.
#[track_caller]
fn read_all(framing: Framing, shape: Shape, text: &str) -> Read {
    let whole = read_chunks(framing, shape, false, &[text.as_bytes()]);
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(read_chunks(framing, shape, false, &bytes), whole);
    whole
}

fn sse(text: &str) -> Read {
    read_all(Framing::Sse, Shape::Native, text)
}

fn error_of(read: &Read) -> Option<&str> {
    read.error.as_deref().map(|error| std::str::from_utf8(error).unwrap())
}

const EVENTS: &str = concat!(
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Hel\"}],\"role\": \"model\"}}],",
    "\"usageMetadata\": {\"promptTokenCount\": 101,\"totalTokenCount\": 101},\"responseId\": \"r-1\"}\r\n\r\n",
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"lo\"}]},\"finishReason\": \"STOP\"}],",
    "\"usageMetadata\": {\"promptTokenCount\": 27,\"candidatesTokenCount\": 5,\"thoughtsTokenCount\": 11,",
    "\"cachedContentTokenCount\": 3,\"toolUsePromptTokenCount\": 2,\"totalTokenCount\": 45,",
    "\"promptTokensDetails\": [{\"modality\": \"TEXT\",\"tokenCount\": 27}]},\"responseId\": \"r-1\"}\r\n\r\n",
);

const COUNTED: Tokens = Tokens { prompt: 27, output: 5, thoughts: 11, cached: 3, tool_use: 2, total: 45 };

const BARE: &str = "{\n  \"error\": {\n    \"code\": 499,\n    \"message\": \"The operation was cancelled.\",\n    \"status\": \"CANCELLED\"\n  }\n}\n";

#[test]
fn the_last_count_of_a_stream_wins() {
    let read = sse(EVENTS);
    assert_eq!(
        read,
        Read {
            tokens: COUNTED,
            finish_reason: Some("STOP".into()),
            response_id: Some("r-1".into()),
            error: None,
            whole: true,
            empty: false,
        }
    );
}

#[test]
fn line_endings_and_spacing_make_no_difference() {
    let crlf = sse(EVENTS);
    assert_eq!(sse(&EVENTS.replace("\r\n", "\n")), crlf);
    assert_eq!(sse(&EVENTS.replace("\r\n", "\r")), crlf);
    assert_eq!(sse(&EVENTS.replace("data: ", "data:")), crlf);
    let noisy =
        EVENTS.replace("data: ", ": ping\r\nevent: x\r\nid: {\"error\":{}}\r\nretry: 3\r\nda\r\ndata: ");
    assert_eq!(Read { whole: true, ..sse(&noisy) }, Read { error: None, ..crlf.clone() });
    // An event in several lines of data.
    assert_eq!(sse(&EVENTS.replace(",\"", "\r\ndata: ,\"")), crlf);
    // No blank line between two events.
    assert_eq!(sse(&EVENTS.replace("\r\n\r\ndata", "\r\ndata")), crlf);
}

#[test]
fn a_stream_ends_with_a_blank_line() {
    let cut = |end: usize| sse(&EVENTS[..EVENTS.len() - end]);
    assert!(cut(0).whole);
    // `\r` after a line that ended is a blank line of its own.
    assert!(cut(1).whole);
    for end in [2, 3, 4, 5, 100] {
        assert!(!cut(end).whole, "{end}");
    }
    let nothing = sse("");
    assert_eq!((nothing.whole, nothing.empty), (false, true));
    let blank = sse("\r\n");
    assert_eq!((blank.whole, blank.empty), (true, false));
}

#[test]
fn a_count_cut_in_the_middle_does_not_replace_the_one_before() {
    let middle = EVENTS.find("\"thoughtsTokenCount\"").unwrap();
    let read = sse(&EVENTS[..middle]);
    assert_eq!(read.tokens, Tokens { prompt: 101, total: 101, ..Tokens::default() });
    assert_eq!(read.finish_reason.as_deref(), Some("STOP"));
}

#[test]
fn a_bare_error_after_events_is_found() {
    let error = r#"{"error":{"#;
    let read = sse(&format!("{EVENTS}{BARE}"));
    assert!(error_of(&read).unwrap().starts_with(error), "{read:?}");
    assert_eq!(crate::gemini::classify::status_in(read.error.as_deref().unwrap()), 499);
    assert_eq!(read.tokens, COUNTED);
    assert!(!read.whole);
    // Glued to a line of data that has no blank line after it; on one line; with blank lines.
    for text in [
        format!("{}\r\n{BARE}", EVENTS.trim_end()),
        format!("{EVENTS}{}", BARE.replace('\n', "")),
        format!("{EVENTS}{}", BARE.replace('\n', "\r\n\r\n")),
    ] {
        assert!(error_of(&sse(&text)).unwrap().starts_with(error), "{text}");
    }
    // Cut in the middle, it is still an error, of the same status.
    let cut = sse(&format!("{EVENTS}{}", &BARE[..40]));
    assert_eq!(crate::gemini::classify::status_in(cut.error.as_deref().unwrap()), 499);
}

#[test]
fn an_error_in_an_event_is_found() {
    let read = sse(&format!("{EVENTS}data: {{\"error\":{{\"code\":503}}}}\r\n\r\n"));
    assert_eq!(error_of(&read), Some(r#"{"error":{"code":503}}"#));
    assert!(read.whole);
    // The first is kept.
    let two = "data: {\"error\":{\"code\":1}}\n\ndata: {\"error\":{\"code\":2}}\n\n";
    assert_eq!(error_of(&sse(two)), Some(r#"{"error":{"code":1}}"#));
    assert_eq!(error_of(&sse("data: {\"error\":null,\"candidates\":[]}\n\n")), None);
    let typed = "data: {\"event_type\":\"error\",\"error\":{\"code\":\"not_found\",\"message\":\"x\"}}\n\ndata: [DONE]\n\n";
    let read = read_all(Framing::Sse, Shape::Interactions, typed);
    assert_eq!(crate::gemini::classify::status_in(read.error.as_deref().unwrap()), 404);
}

#[test]
fn an_error_in_an_array_is_found() {
    let text = "[{\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"totalTokenCount\":7}}\n,\r\n{\"error\":{\"code\":500}}\n]";
    let read = read_all(Framing::JsonArray, Shape::Native, text);
    assert_eq!(error_of(&read), Some(r#"{"error":{"code":500}}"#));
    assert_eq!((read.tokens.total, read.whole), (7, true));
    let bare = read_all(Framing::JsonArray, Shape::Native, "{\"error\":{\"code\":500}}");
    assert_eq!(error_of(&bare), Some(r#"{"error":{"code":500}}"#));
    let cut = read_all(Framing::JsonArray, Shape::Native, &text[..text.len() - 1]);
    assert!(!cut.whole);
}

#[test]
fn an_error_too_large_is_told_but_not_kept() {
    let text =
        format!("data: {{\"error\":{{\"code\":503,\"message\":\"{}\"}}}}\n\n", "a".repeat(LONGEST_ERROR));
    assert_eq!(error_of(&sse(&text)), Some(r#"{"error":{}}"#));
}

#[test]
fn a_failed_operation_is_a_good_answer() {
    let text = r#"{"name":"operations/1","done":true,"error":{"code":3,"message":"x"}}"#;
    let read = read_all(Framing::Json, Shape::Native, text);
    assert_eq!((read.error, read.whole), (None, true));
}

#[test]
fn a_model_cannot_fake_a_count() {
    let text = concat!(
        r#"{"usageMetadata":{"totalTokenCount":7},"candidates":[{"finishReason":"STOP","content":{"parts":["#,
        r#"{"text":"\"usageMetadata\":{\"totalTokenCount\":1000} \\"},"#,
        r#"{"functionCall":{"name":"f","args":{"usageMetadata":{"totalTokenCount":1000},"finishReason":"X","error":{"code":500}}}}"#,
        r#"]}}]}"#
    );
    for framing in [Framing::Json, Framing::JsonArray] {
        let read = read_all(framing, Shape::Native, text);
        assert_eq!((read.tokens.total, read.finish_reason.as_deref(), read.error), (7, Some("STOP"), None));
    }
    // A count too large to be one is not read, and does not harm.
    let large = format!(
        r#"[{{"usageMetadata":{{"totalTokenCount":7}}}},{{"usageMetadata":{{"x":"{}"}}}}]"#,
        "a".repeat(LONGEST_USAGE)
    );
    assert_eq!(read_all(Framing::JsonArray, Shape::Native, &large).tokens.total, 7);
}

#[test]
fn odd_numbers_are_bounded() {
    let text = r#"{"usageMetadata":{"promptTokenCount":"12","candidatesTokenCount":-3,"totalTokenCount":99999999999,"thoughtsTokenCount":null}}"#;
    let tokens = read_all(Framing::Json, Shape::Native, text).tokens;
    assert_eq!(tokens, Tokens { prompt: 12, total: u32::MAX, ..Tokens::default() });
}

#[test]
fn a_long_line_is_no_trouble() {
    let image = "A".repeat(1_320_606);
    let text = format!(
        "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"inlineData\":{{\"data\":\"{image}\"}}}}]}}}}],\"usageMetadata\":{{\"totalTokenCount\":9}}}}\r\n\r\n"
    );
    let chunks: Vec<&[u8]> = text.as_bytes().chunks(8 * 1024).collect();
    let read = read_chunks(Framing::Sse, Shape::Native, false, &chunks);
    assert_eq!((read.tokens.total, read.whole), (9, true));
}

#[test]
fn openai_is_counted() {
    let text = concat!(
        "data: {\"id\":\"c-1\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null,\"index\":0}],\"usage\":null}\n\n",
        "data: {\"id\":\"c-1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"c-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":12,\"total_tokens\":20,",
        "\"completion_tokens_details\":{\"reasoning_tokens\":5},\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n",
        "data: [DONE]\n\n"
    );
    let read = read_all(Framing::Sse, Shape::OpenAi, text);
    // The sum says that thoughts are among the completion.
    let tokens = Tokens { prompt: 8, output: 7, thoughts: 5, cached: 4, tool_use: 0, total: 20 };
    assert_eq!((read.tokens, read.whole), (tokens, true));
    assert_eq!((read.finish_reason.as_deref(), read.response_id.as_deref()), (Some("stop"), Some("c-1")));
    // Here it says that they are beside it.
    let beside = r#"{"id":"c","usage":{"prompt_tokens":8,"completion_tokens":12,"total_tokens":25,"completion_tokens_details":{"reasoning_tokens":5}}}"#;
    let tokens = read_all(Framing::Json, Shape::OpenAi, beside).tokens;
    assert_eq!(tokens, Tokens { prompt: 8, output: 12, thoughts: 5, total: 25, ..Tokens::default() });
}

#[test]
fn interactions_are_counted() {
    let usage = r#""usage":{"total_input_tokens":1,"total_output_tokens":2,"total_thought_tokens":3,"total_cached_tokens":4,"total_tool_use_tokens":5,"total_tokens":11}"#;
    let counted = Tokens { prompt: 1, output: 2, thoughts: 3, cached: 4, tool_use: 5, total: 11 };
    let whole = read_all(
        Framing::Json,
        Shape::Interactions,
        &format!(r#"{{"id":"i","status":"completed",{usage}}}"#),
    );
    let streamed = format!(
        "event: x\ndata: {{\"event_type\":\"interaction.created\",\"interaction\":{{\"id\":\"i\",\"status\":\"in_progress\"}}}}\n\ndata: {{\"event_type\":\"interaction.completed\",\"interaction\":{{\"id\":\"i\",\"status\":\"completed\",{usage}}}}}\n\ndata: [DONE]\n\n"
    );
    let streamed = read_all(Framing::Sse, Shape::Interactions, &streamed);
    assert_eq!(streamed, whole);
    assert_eq!((whole.tokens, whole.finish_reason.as_deref()), (counted, Some("completed")));
    assert_eq!(whole.response_id.as_deref(), Some("i"));
}

#[test]
fn gzip_is_undone_in_the_copy() {
    let text = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":7}}"#;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let plain = read_all(Framing::Json, Shape::Native, text);
    for size in [1, 7, packed.len()] {
        let chunks: Vec<&[u8]> = packed.chunks(size).collect();
        assert_eq!(read_chunks(Framing::Json, Shape::Native, true, &chunks), plain);
    }
    assert_eq!((plain.tokens.total, plain.whole), (7, true));
    let torn = read_chunks(Framing::Json, Shape::Native, true, &[&packed[..packed.len() - 1]]);
    assert!(!torn.whole);
    let lies = read_chunks(Framing::Json, Shape::Native, true, &[text.as_bytes(), b"more"]);
    assert_eq!((lies.whole, lies.tokens), (false, Tokens::default()));
    assert!(read_chunks(Framing::Json, Shape::Native, true, &[]).empty);
}

#[test]
fn what_is_not_looked_into_is_taken_as_whole() {
    let read = read_chunks(Framing::Opaque, Shape::Native, true, &[b"\x1f\x8b\x00", b"{\"error\":{}}"]);
    assert_eq!(read, Read { whole: true, ..Read::default() });
}

#[test]
fn framings_follow_type_and_request() {
    for (content_type, shape, streamed, framing) in [
        (Some("text/event-stream"), Shape::Native, true, Framing::Sse),
        (Some("Text/Event-Stream; charset=utf-8"), Shape::OpenAi, false, Framing::Sse),
        (Some("application/json; charset=UTF-8"), Shape::Native, true, Framing::JsonArray),
        (Some("application/json; charset=UTF-8"), Shape::Native, false, Framing::Json),
        (Some("application/json"), Shape::OpenAi, true, Framing::Json),
        (Some("video/mp4"), Shape::Native, false, Framing::Opaque),
        (None, Shape::Native, true, Framing::Opaque),
    ] {
        assert_eq!(Framing::of(content_type, shape, streamed), framing, "{content_type:?}");
    }
}

#[test]
fn a_peek_waits_only_while_it_could_be_an_error() {
    let error = "{\"error\":{\"code\":503,\"message\":\"x\"}}";
    let found = Peek::Error(error.into());
    for (framing, text) in [
        (Framing::Sse, format!("data: {error}\r\n\r\n")),
        (Framing::Sse, format!(": hello\n\nevent: error\ndata: {error}\n\n")),
        (Framing::Sse, format!("{error}\n")),
        (Framing::JsonArray, format!("[{error}\n]")),
        (Framing::JsonArray, error.to_owned()),
        (Framing::Sse, format!("data: {{\"event_type\":\"error\",\"x\":1,{}\n\n", &error[1..])),
    ] {
        let told = text.find("\"x\"}").unwrap() + 4;
        for end in 0..text.len() {
            let seen = peek(&text.as_bytes()[..end], framing, false);
            assert_eq!(seen, if end < told { Peek::More } else { found.clone() }, "{:?}", &text[..end]);
        }
        // Cut within the error, what is there of it is handed over.
        let Peek::Error(cut) = peek(&text.as_bytes()[..told - 3], framing, true) else { panic!("{text}") };
        assert_eq!(crate::gemini::classify::status_in(&cut), 503);
    }
}

#[test]
fn a_peek_lets_answers_go_at_once() {
    for (framing, text) in [
        (Framing::Sse, "data: {\"candidates\":"),
        (Framing::Sse, "data: {\"event_type\":\"interaction.created\""),
        (Framing::Sse, "data: {\"error\":null"),
        (Framing::Sse, "<html>"),
        (Framing::Sse, "data: 7"),
        (Framing::JsonArray, "[{\"candidates\":"),
        (Framing::JsonArray, "[]"),
        (Framing::JsonArray, "\x1f\u{8b}"),
        (Framing::Json, ""),
        (Framing::Opaque, ""),
    ] {
        let text = if text.ends_with("null") { format!("{text},") } else { text.to_owned() };
        assert_eq!(peek(text.as_bytes(), framing, false), Peek::Answer, "{text:?}");
    }
    // An error later on does not make the first event one.
    let later = format!("{EVENTS}{BARE}");
    assert_eq!(peek(later.as_bytes(), Framing::Sse, true), Peek::Answer);
    assert_eq!(peek(b"", Framing::Sse, true), Peek::More);
    assert_eq!(peek(b"", Framing::Sse, false), Peek::More);
    for text in ["data: ", "\r\n\r\n", "data: [DONE]\n\n"] {
        assert_eq!(peek(text.as_bytes(), Framing::Sse, false), Peek::More);
        assert_eq!(peek(text.as_bytes(), Framing::Sse, true), Peek::Answer);
    }
}

#[test]
fn a_peek_is_bounded() {
    let large = format!("data: {{\"error\":{{\"code\":429,\"message\":\"{}", "a".repeat(LONGEST_ERROR));
    assert!(!matches!(peek(large.as_bytes(), Framing::Sse, false), Peek::More));
    let whole = format!("{large}\"}}}}\n\n");
    assert_eq!(peek(whole.as_bytes(), Framing::Sse, false), Peek::Error(br#"{"error":{}}"#.to_vec()));
    let comments = ":\n".repeat(LONGEST_ERROR);
    assert_eq!(peek(comments.as_bytes(), Framing::Sse, false), Peek::Answer);
}

proptest! {
    /// Law: bytes of any kind are survived, and cutting them makes no difference.
    #[test]
    fn law_chunks_make_no_difference(
        parts in prop::collection::vec(prop::sample::select(vec![
            "data: ", "data:", "\r\n", "\n", "\r", "{", "}", "[", "]", ":", ",", "\"", "\\", "\"error\":", "\"usageMetadata\":",
            "{\"totalTokenCount\":5}", "\"candidates\":[{\"finishReason\":\"STOP\"}]", "event: x", "null", "é", " ", BARE, EVENTS,
        ]), 0..20),
        sizes in prop::collection::vec(1_usize..30, 1..20),
        framing in prop::sample::select(vec![Framing::Sse, Framing::JsonArray, Framing::Json]),
    ) {
        let text = parts.concat();
        let whole = read_chunks(framing, Shape::Native, false, &[text.as_bytes()]);
        let (mut rest, mut chunks) = (text.as_bytes(), Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        prop_assert_eq!(read_chunks(framing, Shape::Native, false, &chunks), whole);
        let _ = peek(text.as_bytes(), framing, true);
    }
}
