//! Names in paths and in answers.

use serde_json::json;

use super::*;
use crate::gemini::target;

fn place(verb: &str, path: &str) -> Place {
    let verb = Method::from_bytes(verb.as_bytes()).unwrap();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    Place::of(&verb, &target::parse(&verb, path, query).unwrap())
}

#[test]
fn paths_name_one_thing_whatever_is_below_it() {
    for (path, wanted, exact) in [
        ("/v1beta/files/a", "files/a", true),
        ("/v1beta/files/a:download?alt=media", "files/a", false),
        ("/v1/cachedContents/c", "cachedContents/c", true),
        ("/v1beta/models/m/operations/o", "models/m/operations/o", true),
        ("/v1beta/models/m/x/operations/o", "models/m/x/operations/o", true),
        ("/v1beta/tunedModels/t/operations/o", "tunedModels/t", false),
        ("/v1beta/tunedModels/t:generateContent", "tunedModels/t", false),
        ("/v1beta/fileSearchStores/s/documents/d", "fileSearchStores/s", false),
        ("/v1beta/fileSearchStores/s/documents", "fileSearchStores/s", false),
        ("/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", "fileSearchStores/s", false),
        ("/v1beta/fileSearchStores/s/upload/operations/o", "fileSearchStores/s", false),
        ("/v1beta/operations/o", "operations/o", true),
        ("/v1/interactions/i", "interactions/i", true),
        ("/v1/interactions/i/cancel", "interactions/i", false),
        ("/v1beta/openai/batches/b", "batches/b", true),
        ("/v1beta/openai/batches/batches%2Fb", "batches/b", true),
        ("/v1beta/newThings/n", "newThings/n", true),
    ] {
        let place = place("GET", path);
        assert_eq!((place.name.as_deref(), place.exact), (Some(wanted), exact), "{path}");
        assert_eq!((place.collection, place.makes), (None, false), "{path}");
    }
}

#[test]
fn what_is_the_same_everywhere_names_nothing() {
    for path in [
        "/v1beta/openai/chat/completions",
        "/v1beta/openai/images/generations",
        "/v1beta/openai/embeddings",
        "/v1beta/models/m:generateContent",
        "/v1beta/dynamic/d:streamGenerateContent",
        "/v1beta/models/a/b:countTokens",
    ] {
        assert_eq!(place("POST", path), Place::default(), "{path}");
    }
    for path in ["/v1beta/openai/models/gemini", "/v1beta/models/m", "/v1/models"] {
        assert_eq!(place("GET", path), Place::default(), "{path}");
    }
}

#[test]
fn lists_and_makers_are_told_apart() {
    for (path, collection) in [
        ("/v1beta/files", Some("files")),
        ("/v1beta/files/", Some("files")),
        ("/v1beta/models/m/operations?pageSize=2", Some("models/m/operations")),
        ("/v1beta/openai/files", Some("files")),
        ("/v1beta/models", None),
        ("/v1beta/models/m", None),
        ("/v1beta/openai/models", None),
        ("/v1beta/files:register", None),
    ] {
        assert_eq!(place("GET", path).lists(&Method::GET), collection, "{path}");
    }
    for (path, makes, home) in [
        ("/v1beta/files", true, true),
        ("/upload/v1beta/files", true, true),
        ("/v1beta/cachedContents", true, true),
        ("/v1/interactions", true, false),
        ("/v1beta/models/m:predictLongRunning", true, false),
        ("/v1beta/models/m:batchGenerateContent", true, false),
        ("/v1beta/models/m:generateContent", false, false),
        ("/v1beta/openai/chat/completions", false, false),
        ("/v1beta/openai/batches", true, true),
        ("/v1beta/files:register", false, false),
    ] {
        let place = place("POST", path);
        assert_eq!((place.makes, place.wants_a_home()), (makes, home), "{path}");
    }
    assert!(is_paged("files") && is_paged("models/m/operations") && !is_paged("agents"));
}

#[test]
fn what_is_no_name_is_none() {
    let long = format!("files/{}", "a".repeat(300));
    for text in
        ["", "files", "files/", "/a", "models/m", "models/m/operations", "files/a b", "files/é", &long]
    {
        assert_eq!(canonical(text), None, "{text}");
    }
}

fn shown(framing: Framing, shape: Shape, root: &str, answer: &str) -> Vec<(String, Option<String>)> {
    let read = |size: usize| {
        let mut watch = Watch::new(framing, shape, root, false);
        answer.as_bytes().chunks(size).flat_map(|chunk| watch.feed(chunk)).collect::<Vec<_>>()
    };
    let whole = read(answer.len().max(1));
    assert_eq!(read(1), whole, "cut or whole: {answer}");
    whole.into_iter().map(|shown| (shown.name, shown.expires)).collect()
}

fn json_of(root: &str, answer: &serde_json::Value) -> Vec<(String, Option<String>)> {
    shown(Framing::Json, Shape::Native, root, &format!("{answer:#}"))
}

fn forever(names: &[&str]) -> Vec<(String, Option<String>)> {
    names.iter().map(|name| ((*name).to_owned(), None)).collect()
}

#[test]
fn answers_show_what_they_made_and_when_it_ends() {
    let end = Some("2026-11-25T00:00:00Z".to_owned());
    let file = json!({"uri": "x", "expirationTime": end, "name": "files/a"});
    assert_eq!(json_of("files", &json!({"file": file})), [("files/a".to_owned(), end.clone())]);
    assert_eq!(json_of("files", &file), [("files/a".to_owned(), end.clone())]);
    let cache = json!({"name": "cachedContents/c", "model": "models/m", "expireTime": end});
    assert_eq!(json_of("cachedContents", &cache), [("cachedContents/c".to_owned(), end.clone())]);
    let list =
        json!({"files": [file, {"name": "files/b", "metadata": {"name": "files/no"}}], "nextPageToken": "t"});
    assert_eq!(json_of("files", &list), [("files/a".to_owned(), end), ("files/b".to_owned(), None)]);
    let tuning = json!({"name": "tunedModels/t/operations/o", "metadata": {"tunedModel": "tunedModels/t"}});
    assert_eq!(json_of("tunedModels", &tuning), forever(&["tunedModels/t"]));
}

#[test]
fn what_an_operation_came_to_is_shown_as_well() {
    let uri = "https://generativelanguage.googleapis.com/v1beta/files/v:download?alt=media";
    let video = json!({"name": "models/m/operations/o", "done": true, "response":
        {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}]}}});
    assert_eq!(json_of("models", &video), forever(&["files/v", "models/m/operations/o"]));
    let batch = json!({"name": "batches/b", "metadata": {"output": {"responsesFile": "files/r"}},
        "response": {"responsesFile": "files/r"}});
    assert_eq!(json_of("batches", &batch), forever(&["files/r", "batches/b"]));
    // What prompts and answers say in there is nobody's name.
    let inline = json!({"name": "batches/b", "response": {"inlinedResponses": [{"video": {"uri": uri}}]}});
    assert_eq!(json_of("batches", &inline), forever(&["batches/b"]));
}

#[test]
fn a_name_that_a_client_chose_takes_nothing_from_others() {
    assert!(
        json_of("corpora", &json!({"name": "files/of-another", "metadata": {"fileName": "files/b"}}))
            .is_empty()
    );
    let agent = json!({"name": "files/of-another", "id": "mine"}).to_string();
    assert_eq!(shown(Framing::Json, Shape::Interactions, "agents", &agent), forever(&["agents/mine"]));
    let batch = json!({"name": "batches/b"});
    assert_eq!(json_of("", &batch), forever(&["batches/b"]), "an RPC of a model's");
}

#[test]
fn other_dialects_have_bare_ids() {
    let interaction = json!({"id": "i", "steps": [{"id": "no", "content": [{"id": "no"}]}]}).to_string();
    assert_eq!(
        shown(Framing::Json, Shape::Interactions, "interactions", &interaction),
        forever(&["interactions/i"])
    );
    let events = "event: x\ndata: {\"event_type\":\"interaction.created\",\"interaction\":{\"id\":\"i\"},\"id\":\"no\"}\n\n\
                  data: {\"event_type\":\"step.delta\",\"id\":\"no\",\"delta\":{\"id\":\"no\"}}\n\n\
                  data: {\"interaction\":{\"id\":\"i\"}}\n\ndata: [DONE]\n\n";
    assert_eq!(
        shown(Framing::Sse, Shape::Interactions, "interactions", events),
        forever(&["interactions/i"])
    );
    let batch = json!({"id": "batches/b", "object": "batch", "output_file_id": "files/o"}).to_string();
    let read = shown(Framing::Json, Shape::OpenAi, "batches", &batch);
    assert_eq!(read, forever(&["files/o", "batches/b"]));
}

#[test]
fn a_packed_answer_is_read_before_its_end() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(b"{\"name\": \"files/a\"}").unwrap();
    packer.flush().unwrap();
    let so_far = packer.get_ref().clone();
    let mut watch = Watch::new(Framing::Json, Shape::Native, "files", true);
    assert_eq!(watch.feed(&so_far), [Shown { name: "files/a".to_owned(), expires: None }]);
    let rest = packer.finish().unwrap();
    assert!(watch.feed(&rest[so_far.len()..]).is_empty());
    assert!(Watch::new(Framing::Json, Shape::Native, "files", true).feed(b"no gzip").is_empty());
}
