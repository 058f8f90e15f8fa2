//! What counts as a reference, and what only looks like one.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn found(body: &[u8], size: usize) -> Vec<(String, bool)> {
    let mut references = References::default();
    body.chunks(size.max(1)).for_each(|chunk| references.feed(chunk));
    references.found().map(|(name, sure)| (name.to_owned(), sure)).collect()
}

/// The names in a body, which are the same however it is cut.
#[track_caller]
fn names(body: &serde_json::Value) -> Vec<String> {
    let text = format!("{body:#}");
    let whole = found(text.as_bytes(), text.len());
    assert_eq!(found(text.as_bytes(), 1), whole);
    assert_eq!(found(body.to_string().as_bytes(), 7), whole);
    whole.into_iter().map(|(name, sure)| if sure { name } else { format!("{name}?") }).collect()
}

const URI: &str = "https://generativelanguage.googleapis.com/v1beta/files/";

#[test]
fn every_field_that_names_something_is_read_in_both_spellings() {
    let uri = |id: &str| format!("{URI}{id}");
    for (body, wanted) in [
        (json!({"contents": [{"parts": [{"text": "x"}, {"fileData": {"fileUri": uri("a")}}]}]}), "files/a"),
        (json!({"contents": {"parts": {"file_data": {"file_uri": uri("a")}}}}), "files/a"),
        (json!({"contents": [{"parts": [{"fileData": {"fileUri": "files/a"}}]}]}), "files/a"),
        (json!({"systemInstruction": {"parts": [{"fileData": {"fileUri": uri("a")}}]}}), "files/a"),
        (json!({"system_instruction": {"parts": [{"fileData": {"fileUri": uri("a")}}]}}), "files/a"),
        (
            json!({"generateContentRequest": {"contents": [{"parts": [{"fileData": {"fileUri": uri("a")}}]}]}}),
            "files/a",
        ),
        (
            json!({"contents": [{"parts": [{"functionResponse": {"parts": [{"fileData": {"fileUri": uri("a")}}]}}]}]}),
            "files/a",
        ),
        (json!({"cachedContent": "cachedContents/c"}), "cachedContents/c"),
        (json!({"cached_content": "cachedContents/c"}), "cachedContents/c"),
        (json!({"extra_body": {"google": {"cached_content": "cachedContents/c"}}}), "cachedContents/c"),
        (json!({"google": {"cached_content": "cachedContents/c"}}), "cachedContents/c"),
        (
            json!({"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/s"]}}]}),
            "fileSearchStores/s",
        ),
        (
            json!({"tools": [{"file_search": {"file_search_store_names": ["fileSearchStores/s"]}}]}),
            "fileSearchStores/s",
        ),
        (
            json!({"tools": [{"type": "file_search", "file_search_store_names": ["fileSearchStores/s"]}]}),
            "fileSearchStores/s",
        ),
        (json!({"batch": {"inputConfig": {"fileName": "files/a"}}}), "files/a"),
        (json!({"batch": {"input_config": {"file_name": "files/a"}}}), "files/a"),
        (
            json!({"batch": {"inputConfig": {"requests": {"requests": [
                {"request": {"contents": [{"parts": [{"fileData": {"fileUri": uri("a")}}]}]}}]}}}}),
            "files/a",
        ),
        (json!({"fileName": "files/a"}), "files/a"),
        (json!({"semanticRetriever": {"source": "corpora/c/documents/d"}}), "corpora/c"),
        (json!({"semantic_retriever": {"source": "corpora/c"}}), "corpora/c"),
        (
            json!({"instances": [{"prompt": "x", "video": {"uri": format!("{}:download?alt=media", uri("a"))}}]}),
            "files/a",
        ),
        (json!({"previous_interaction_id": "i"}), "interactions/i"),
        (json!({"previous_interaction_id": "interactions/i"}), "interactions/i"),
        (json!({"input": [{"type": "document", "uri": uri("a")}]}), "files/a"),
        (json!({"input": [{"content": [{"type": "video", "uri": uri("a")}]}]}), "files/a"),
        (json!({"agent": "agents/mine"}), "agents/mine?"),
        (json!({"agent": "deep-research"}), "agents/deep-research?"),
        (json!({"environment": "e"}), "environments/e?"),
        (json!({"model": "tunedModels/t"}), "tunedModels/t"),
        (json!({"tunedModelSource": {"tunedModel": "tunedModels/t"}}), "tunedModels/t"),
        (json!({"input_file_id": "files/a"}), "files/a"),
        (json!({"input_file_id": "file-1"}), "files/file-1?"),
        (json!({"messages": [{"content": [{"type": "file", "file": {"file_id": "files/a"}}]}]}), "files/a"),
        (
            json!({"messages": [{"content": [{"type": "image_url", "image_url": {"url": uri("a")}}]}]}),
            "files/a",
        ),
        // Whoever gave out this address, it may be a file of the pool's.
        (
            json!({"contents": [{"parts": [{"fileData": {"fileUri": "http://here:8000/v1/files/a"}}]}]}),
            "files/a?",
        ),
    ] {
        assert_eq!(names(&body), [wanted], "{body}");
    }
}

#[test]
fn what_only_looks_like_a_reference_is_none() {
    let uri = format!("{URI}a");
    for body in [
        json!({"contents": [{"parts": [{"text": format!("\"fileUri\": \"{uri}\"")}]}]}),
        json!({"contents": [{"parts": [{"functionCall": {"args": {"fileUri": uri, "cachedContent": "cachedContents/c"}}}]}]}),
        json!({"contents": [{"parts": [{"functionResponse": {"response": {"fileData": {"fileUri": uri}}}}]}]}),
        json!({"tools": [{"functionDeclarations": [{"parameters": {"properties": {"fileUri": {"type": "STRING"}}}}]}]}),
        json!({"contents": [{"parts": [{"fileData": {"fileUri": "https://youtu.be/files/a"}}]}]}),
        json!({"contents": [{"parts": [{"fileData": {"fileUri": "gs://bucket/x/files"}}]}]}),
        json!({"messages": [{"content": [{"image_url": {"url": format!("data:image/png;base64,{}", "A".repeat(9_000))}}]}]}),
        json!({"model": "models/gemini-2.5-flash", "cachedContent": null, "previous_interaction_id": 7}),
        json!({"cachedContent": "cachedContents/"}),
        json!({"cachedContent": format!("cachedContents/{}", "c".repeat(300))}),
    ] {
        assert!(names(&body).is_empty(), "{body}: {:?}", names(&body));
    }
    assert!(found(b"--boundary\r\n{\"cachedContent\":\"cachedContents/c\"}", 9).is_empty());
}

#[test]
fn every_reference_of_a_body_is_found_once() {
    let parts: Vec<_> =
        (0..3_000).map(|id| json!({"fileData": {"fileUri": format!("{URI}f{}", id % 1_500)}})).collect();
    let body = json!({"contents": [{"parts": parts}], "cachedContent": "cachedContents/c", "store": false});
    assert_eq!(names(&body).len(), 1_501);
    let mut references = References::default();
    references.feed(body.to_string().as_bytes());
    assert!(references.keeps_nothing() && references.done());
}

proptest! {
    #[test]
    fn no_cut_makes_a_difference(cuts in proptest::collection::vec(1..40_usize, 0..60), text in ".{0,40}") {
        let body = json!({"contents": [{"parts": [
            {"text": text}, {"inlineData": {"data": text}}, {"fileData": {"fileUri": format!("{URI}a")}}]}],
            "tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/s", text]}}],
            "previous_interaction_id": "i"}).to_string();
        let mut references = References::default();
        let mut rest = body.as_bytes();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            references.feed(piece);
            rest = after;
        }
        references.feed(rest);
        let names: Vec<_> = references.found().map(|(name, _)| name.to_owned()).collect();
        prop_assert_eq!(names, found(body.as_bytes(), body.len()).into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    }
}
