//! The map of paths, and what is refused.

use proptest::prelude::*;

use super::*;

fn read(verb: &str, path: &str) -> Target {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    parse(&verb.parse().unwrap(), path, query).unwrap()
}

fn refused(path: &str) -> BadTarget {
    parse(&Method::GET, path, None).unwrap_err()
}

/// The facts of a target as one word each: model, method, and flags that are set.
fn told(verb: &str, path: &str) -> (String, String, String) {
    let target = read(verb, path);
    let flags = [
        (target.streamed, "streamed"),
        (target.model_in_body, "body"),
        (target.repeatable, "repeatable"),
        (target.bound, "bound"),
        (matches!(target.upload, Some(Upload::Start)), "start"),
        (matches!(target.upload, Some(Upload::Chunk { .. })), "chunk"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter_map(|(set, word)| set.then_some(word)).collect();
    (target.model, target.method, flags.join(" "))
}

#[test]
fn the_map() {
    for (verb, path, model, method, flags) in [
        (
            "POST",
            "/v1beta/models/gemini-2.5-flash:generateContent",
            "gemini-2.5-flash",
            "generateContent",
            "repeatable",
        ),
        (
            "POST",
            "/v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
            "gemini-2.5-pro",
            "streamGenerateContent",
            "streamed repeatable",
        ),
        ("POST", "/v1alpha/models/a/b:countTokens", "a/b", "countTokens", "repeatable"),
        ("POST", "/v1beta/models/m:x:embedContent", "m:x", "embedContent", "repeatable"),
        ("POST", "/v1beta/models/m:batchEmbedContents", "m", "batchEmbedContents", "repeatable"),
        ("POST", "/v1beta/models/imagen:predict", "imagen", "predict", "repeatable"),
        ("POST", "/v1beta/models/veo:predictLongRunning", "veo", "predictLongRunning", "bound"),
        ("POST", "/v1beta/models/m:batchGenerateContent", "m", "batchGenerateContent", "bound"),
        ("POST", "/v1beta/models/m:asyncBatchEmbedContent", "m", "asyncBatchEmbedContent", "bound"),
        ("POST", "/v1beta/models/m:somethingNew", "m", "somethingNew", ""),
        (
            "POST",
            "/v1beta/tunedModels/mine:generateContent",
            "tunedModels/mine",
            "generateContent",
            "repeatable bound",
        ),
        ("POST", "/v1beta/dynamic/d:generateContent", "dynamic/d", "generateContent", "repeatable"),
        ("POST", "/v1beta/models/models/m:generateContent", "m", "generateContent", "repeatable"),
        ("POST", "/v1beta/models%2Fgem%69ni%3AgenerateContent", "gemini", "generateContent", "repeatable"),
        ("GET", "/v1beta/models", "", "models.list", "repeatable"),
        ("GET", "/v1beta/models?pageSize=5", "", "models.list", "repeatable"),
        ("GET", "/v1/models/gemini-2.5-flash", "gemini-2.5-flash", "models.get", "repeatable"),
        ("GET", "/v1beta/models/veo/operations/17", "veo", "operations.get", "repeatable bound"),
        ("GET", "/v1beta/models/veo/operations", "veo", "operations.list", "repeatable bound"),
        ("PATCH", "/v1beta/tunedModels/mine", "tunedModels/mine", "tunedModels.update", "bound"),
        ("POST", "/v1beta/tunedModels", "", "tunedModels.create", "bound"),
        (
            "DELETE",
            "/v1beta/tunedModels/mine/permissions/p",
            "tunedModels/mine",
            "permissions.delete",
            "bound",
        ),
        ("GET", "/v1beta/files?pageSize=10", "", "files.list", "repeatable bound"),
        ("GET", "/v1beta/files/abc", "", "files.get", "repeatable bound"),
        ("DELETE", "/v1beta/files/abc", "", "files.delete", "bound"),
        ("GET", "/v1beta/files/abc:download?alt=media", "", "download", "repeatable bound"),
        ("POST", "/v1beta/files:register", "", "register", "bound"),
        ("POST", "/v1beta/cachedContents", "", "cachedContents.create", "bound"),
        ("POST", "/v1beta/batches/b:cancel", "", "cancel", "bound"),
        ("POST", "/v1beta/corpora/c:query", "", "query", "repeatable bound"),
        ("POST", "/v1beta/corpora/c/documents/d/chunks:batchCreate", "", "batchCreate", "bound"),
        ("GET", "/v1beta/corpora/c/documents/d/chunks", "", "chunks.list", "repeatable bound"),
        ("POST", "/v1beta/fileSearchStores/s:importFile", "", "importFile", "bound"),
        ("POST", "/v1alpha/auth_tokens", "", "auth_tokens.create", "bound"),
        ("POST", "/v1/interactions", "", "interactions.create", "body bound"),
        (
            "GET",
            "/v1/interactions/i?stream=true&last_event_id=3",
            "",
            "interactions.get",
            "streamed repeatable bound",
        ),
        ("POST", "/v1/interactions/i/cancel", "", "interactions.cancel", "bound"),
        ("POST", "/v1beta/triggers/t/executions", "", "executions.create", "bound"),
        ("GET", "/v1/environments/e/files/a/b/c", "", "files.get", "repeatable bound"),
        ("POST", "/v1beta/newThings", "", "other.create", "bound"),
        ("POST", "/v1beta/openai/chat/completions", "", "chat/completions", "body repeatable"),
        ("POST", "/v1beta/openai/embeddings", "", "embeddings", "body repeatable"),
        ("POST", "/v1beta/openai/images/generations", "", "images/generations", "body repeatable"),
        ("GET", "/v1beta/openai/models", "", "models.list", "repeatable"),
        (
            "GET",
            "/v1beta/openai/models/models/gemini-2.5-flash",
            "gemini-2.5-flash",
            "models.get",
            "repeatable",
        ),
        ("POST", "/v1beta/openai/batches", "", "batches.create", "body bound"),
        ("POST", "/v1beta/openai/what/ever", "", "other", "body bound"),
        ("POST", "/upload/v1beta/files", "", "files.upload", "bound start"),
        (
            "POST",
            "/upload/v1/files?upload_id=A-_b&upload_protocol=resumable",
            "",
            "files.upload",
            "bound chunk",
        ),
        (
            "POST",
            "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore",
            "",
            "uploadToFileSearchStore",
            "bound start",
        ),
        ("PUT", "/upload/v1/environments/e/files/a/b", "", "files.upload", "bound"),
        ("GET", "/v1beta", "", "other.list", "repeatable bound"),
        ("OPTIONS", "/v1beta/models/m:generateContent", "m", "generateContent", "repeatable"),
    ] {
        assert_eq!(told(verb, path), (model.into(), method.into(), flags.into()), "{verb} {path}");
    }
}

#[test]
fn shapes_follow_the_path() {
    for (path, shape) in [
        ("/v1beta/models/m:generateContent", Shape::Native),
        ("/v1beta/openai/chat/completions", Shape::OpenAi),
        ("/v1beta/openai", Shape::OpenAi),
        ("/v1beta/openaiish/x", Shape::Native),
        ("/v1beta/interactions", Shape::Interactions),
        ("/v1/agents/a", Shape::Interactions),
    ] {
        assert_eq!(read("POST", path).shape, shape, "{path}");
    }
}

#[test]
fn the_upload_id_is_decoded() {
    let target = read("POST", "/upload/v1beta/files?upload%5Fid=a%2Db&upload_protocol=resumable");
    assert_eq!(target.upload, Some(Upload::Chunk { id: "a-b".into() }));
    assert_eq!(target.query, "upload%5Fid=a%2Db&upload_protocol=resumable");
    let two = parse(&Method::POST, "/upload/v1beta/files", Some("upload_id=a&upload_id=b"));
    assert_eq!(two, Err(BadTarget::TwoUploads));
    assert_eq!(upload_id("a=1&upload%5Fid=a%2Db&upload_protocol=resumable").as_deref(), Some("a-b"));
    assert_eq!(upload_id("xupload_id=a"), None);
    // Elsewhere it means nothing.
    assert_eq!(read("POST", "/v1beta/files?upload_id=a").upload, None);
}

#[test]
fn the_path_goes_up_as_it_came_less_doubled_slashes() {
    assert_eq!(read("GET", "//v1beta///models").path, "/v1beta/models");
    assert_eq!(read("GET", "/v1beta/models/a%2Fb%20c").path, "/v1beta/models/a%2Fb%20c");
    assert_eq!(read("GET", "/v1beta/openai/").path, "/v1beta/openai/");
    assert_eq!(read("GET", "/v1beta/models/...").path, "/v1beta/models/...");
    assert_eq!(read("GET", "/v1beta/models/modèle").model, "modèle");
}

#[test]
fn credentials_leave_the_query_and_nothing_else_does() {
    for (query, kept) in [
        ("", ""),
        ("key=secret", ""),
        ("alt=sse&key=secret&x=%2F+1", "alt=sse&x=%2F+1"),
        ("k%65y=secret&alt=sse", "alt=sse"),
        ("%24key=secret&access_token=t&acces%73_token=t&oauth_token=t&Key=s&key", ""),
        ("b=2&a=1&&a=1&=&c", "b=2&a=1&&a=1&=&c"),
        ("keys=1&monkey=2&x=key=3&pageToken=a%zz", "keys=1&monkey=2&x=key=3&pageToken=a%zz"),
    ] {
        assert_eq!(read("GET", &format!("/v1/models?{query}")).query, kept, "{query}");
    }
}

#[test]
fn credentials_are_read_decoded() {
    let found: Vec<String> = query_credentials("alt=sse&key=a%2Fb&x=key&access_token=AQ.t&k%65y=c=d&key")
        .map(Cow::into_owned)
        .collect();
    assert_eq!(found, ["a/b", "AQ.t", "c=d"]);
}

#[test]
fn paths_that_could_mean_others_are_refused() {
    for path in [
        "/v1beta/../x",
        "//v1beta/../x",
        "/v1beta/./models",
        "/v1beta/models/..",
        "/v1beta/%2e%2e/x",
        "/v1beta/%2E./x",
        "/v1beta/models%2f..%2fx",
        "/v1beta/models/a%2F..",
        "/v1beta/models/%2e",
    ] {
        assert_eq!(refused(path), BadTarget::Dots, "{path}");
    }
    for path in [
        "/v1beta/a\\b",
        "/v1beta/a%5Cb",
        "/v1beta/a%00",
        "/v1beta/a%0d%0aX: y",
        "/v1beta/a b",
        "/v1beta/\u{7f}",
    ] {
        assert_eq!(refused(path), BadTarget::Character, "{path}");
    }
    for path in ["/v1beta/a%", "/v1beta/a%2", "/v1beta/a%zz", "/v1beta/%+1"] {
        assert_eq!(refused(path), BadTarget::Escape, "{path}");
    }
    for path in ["/v1beta/%ff", "/v1beta/%c3", "/v1beta/%c0%af", "/v1beta/%ed%a0%80"] {
        assert_eq!(refused(path), BadTarget::Utf8, "{path}");
    }
    for query in ["a=b c", "a\n", "a\u{7f}"] {
        assert_eq!(parse(&Method::GET, "/v1/models", Some(query)), Err(BadTarget::Character));
    }
}

#[test]
fn paths_that_are_not_the_apis_are_refused() {
    for path in [
        "/",
        "",
        "*",
        "/v2/models",
        "/models",
        "v1/models",
        "/v1%62eta/models",
        "/V1/models",
        "/upload",
        "/upload/files",
        "/upload/v3/files",
        "/ws/google",
        "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent",
        "/ws/google.ai.generativelanguage.v2.GenerativeService.BidiGenerateContent",
        "/ws/google.ai.generativelanguage.v1.GenerativeService",
        "/ws/google.ai.generativelanguage.v1.GenerativeService.Bidi%2eX",
        "/ws/google.ai.generativelanguage.v1.GenerativeService.A/b",
        "/v1beta2",
    ] {
        assert_eq!(refused(path), BadTarget::Version, "{path}");
    }
}

#[test]
fn a_version_in_the_base_url_is_explained() {
    for path in [
        "/v1beta/v1/models/m:generateContent",
        "/v1beta/v1beta/models",
        "/v1beta/upload/v1/files",
        "/upload/v1beta/v1/files",
    ] {
        let error = refused(path);
        assert_eq!(error, BadTarget::TwoVersions("v1beta".into()), "{path}");
        assert!(error.to_string().contains("base URL already contains /v1beta: drop it"));
    }
}

#[test]
fn length_is_bounded() {
    let long = format!("/v1beta/models/{}", "a".repeat(LONGEST - 15));
    assert_eq!(parse(&Method::GET, &long, None).unwrap().model.len(), 128);
    assert_eq!(parse(&Method::GET, &long, Some("a")), Err(BadTarget::TooLong));
    let accents = format!("/v1beta/models/{}", "é".repeat(100));
    assert_eq!(read("GET", &accents).model, "é".repeat(64));
    let wordy = format!("/v1beta/models/m:{}", "a".repeat(65));
    assert_eq!(read("POST", &wordy).method, "models.create");
}

proptest! {
    /// Law: whatever is accepted has one leading slash, stays below a version however
    /// often it is decoded the way Google does, carries no credential, and can be read again
    /// to the same.
    #[test]
    fn law_what_goes_up_is_what_was_checked(
        path in prop::collection::vec(prop::sample::select(vec![
            "/", "//", "v1", "v1beta", "upload", "models", ".", "..", "%2e", "%2F", "%5c", "%", "é", "%c3%a9",
            "openai", "m:generateContent", "interactions", "files", "%00", "a",
        ]), 0..12),
        query in prop::option::of(prop::collection::vec(prop::sample::select(vec![
            "key", "=", "&", "k%65y", "access_token", "x", "%", "%24", "+", "upload_id",
        ]), 0..12)),
        verb in prop::sample::select(vec!["GET", "POST", "PATCH", "DELETE", "PUT", "BREW"]),
    ) {
        let path = format!("/{}", path.concat());
        let method: Method = verb.parse().unwrap();
        let query = query.map(|parts| parts.concat());
        if let Ok(target) = parse(&method, &path, query.as_deref()) {
            prop_assert!(target.path.starts_with('/') && !target.path.contains("//"));
            let decoded = decode(&target.path).unwrap();
            prop_assert!(decoded.split('/').all(|segment| segment != ".." && segment != "."));
            prop_assert_eq!(query_credentials(&target.query).count(), 0);
            prop_assert!(target.model.len() <= 128 && target.method.len() <= 64);
            prop_assert!(!(target.repeatable && matches!(verb, "PATCH" | "DELETE" | "PUT")));
            let again = parse(&method, &target.path, Some(&target.query));
            prop_assert_eq!(again.as_ref(), Ok(&target));
        }
    }

    /// Law: bytes of any kind are survived.
    #[test]
    fn law_any_text_is_survived(path in "\\PC{0,40}", query in "\\PC{0,40}") {
        let _ = parse(&Method::POST, &path, Some(&query));
        let _ = parse(&Method::POST, &format!("/v1/{path}"), Some(&query));
        let _ = query_credentials(&query).count();
    }
}

#[test]
fn sessions_are_found_behind_one_slash_or_two_and_lose_their_credentials() {
    for path in ["/ws/", "//ws/", "//ws//"] {
        for (version, rpc) in [("v1", "BidiGenerateContent"), ("v1alpha", "BidiGenerateMusic")] {
            let path = format!("{path}google.ai.generativelanguage.{version}.GenerativeService.{rpc}");
            let target = parse(&Method::GET, &path, Some("key=secret&alt=x&access_token=other")).unwrap();
            assert!(target.live && target.repeatable && target.streamed && !target.bound, "{target:?}");
            assert_eq!(
                target.path,
                format!("/ws/google.ai.generativelanguage.{version}.GenerativeService.{rpc}")
            );
            assert_eq!(
                (target.query.as_str(), target.method.as_str(), target.model.as_str()),
                ("alt=x", rpc, "")
            );
        }
    }
    assert!(!parse(&Method::GET, "/v1/models", None).unwrap().live);
}
