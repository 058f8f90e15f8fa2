//! What the calls mean: credentials, quotas, projects, resources, dialects.

use super::*;

#[tokio::test]
async fn quotas_turn_with_the_minute_and_the_pacific_day() {
    let limits = Limits::none().per_minute(2).per_day(3);
    let world = alpha().project("alpha", |project| project.limit(FLASH, limits));
    let google =
        google(world.key("alpha", "second").project("beta", |beta| beta.out_for_today(FLASH, 250))).await;
    let body = prompt("hi");
    let status = async |key: &str| call(&google, "POST", GENERATE, key, &body).await.status;
    assert_eq!(status("other").await, 429);
    assert_eq!((status("good").await, status("second").await, status("good").await), (200, 200, 429));
    google.edit(|world| world.advance(Duration::from_secs(60)));
    assert_eq!(status("second").await, 200);
    let refused = post(&google, GENERATE, &body).await;
    let details = &refused.json()["error"]["details"];
    let ids: Vec<&str> =
        details[0]["violations"].as_array().unwrap().iter().map(|v| v["quotaId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["GenerateRequestsPerDayPerProjectPerModel-FreeTier"]);
    // Noon in California: twelve hours to midnight, less the minute that has passed.
    google.edit(|world| world.advance(Duration::from_secs(12 * 3600 - 61)));
    assert_eq!(status("good").await, 429);
    google.edit(|world| world.advance(Duration::from_secs(1)));
    assert_eq!(status("good").await, 200);
    let used = google.edit(|world| world.used("alpha", FLASH)).unwrap();
    assert_eq!((used.minute_requests, used.day_requests), (1, 1));
    assert_eq!(status("other").await, 200);
}

#[tokio::test]
async fn credentials_are_judged_and_strays_noted() {
    let google = google(alpha()).await;
    let body = prompt("hi").to_string();
    let key = ("x-goog-api-key", "good");
    let bearer = ("authorization", "Bearer good");
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, u16, &'a str);
    let cases: [Case<'static>; 6] = [
        (GENERATE, vec![key, bearer], 400, "two credentials"),
        (GENERATE, vec![key, key], 400, "two credentials"),
        (GENERATE, vec![bearer], 401, "bearer token"),
        (GENERATE, vec![], 403, "no credential"),
        ("/v1/models?key=good", vec![], 400, "credential in URL"),
        (GENERATE, vec![("x-goog-api-key", "AIza-unknown")], 400, "key not valid"),
    ];
    for (path, headers, status, why) in &cases {
        let method = if path.contains("?key") { "GET" } else { "POST" };
        let raw = send(&google, &request(method, path, headers, body.as_bytes())).await;
        assert_eq!(raw.status, *status, "{why}");
        assert_eq!(raw.header("Content-Type"), Some("application/json; charset=UTF-8"));
        assert_eq!(raw.text().contains("AIza-unknown"), *why == "key not valid");
    }
    let seen = ended(&google).await;
    for (seen, (_, _, status, why)) in seen.iter().zip(&cases) {
        assert_eq!((seen.status, seen.outcome), (Some(*status), Outcome::Refused(why)));
    }
    assert!(seen[2].violations.contains(&"header: authorization".to_owned()));
    assert!(seen[4].violations.contains(&"query: key".to_owned()));
    assert_eq!(
        (seen[0].key.as_str(), seen[0].project.as_str(), seen[0].model.as_str()),
        ("good", "alpha", FLASH)
    );
    assert_eq!((seen[0].rpc, seen[0].body_len), ("GenerateContent", body.len() as u64));
}

#[tokio::test]
async fn projects_refuse_as_a_whole() {
    let google = google(alpha()).await;
    let number = google.edit(|world| world.projects["alpha"].number);
    let cases = [
        (ProjectState::Denied, 403, "denied access".to_owned()),
        (ProjectState::ServiceDisabled, 403, format!("\"consumer\": \"projects/{number}\"")),
        (ProjectState::BillingDisabled, 403, "BILLING_DISABLED".to_owned()),
        (ProjectState::CreditsGone(402), 402, "prepayment credits are depleted".to_owned()),
        (ProjectState::CreditsGone(429), 429, "prepayment credits are depleted".to_owned()),
    ];
    for (state, status, needle) in cases {
        google.edit(|world| world.projects.get_mut("alpha").unwrap().state = state);
        let raw = post(&google, GENERATE, &prompt("x")).await;
        assert_eq!(raw.status, status, "{state:?}");
        assert!(raw.text().contains(&needle), "{}", raw.text());
    }
}

#[tokio::test]
async fn the_other_native_calls_answer() {
    let google = google(alpha()).await;
    let count = post(&google, "/v1/models/gemini-2.5-flash:countTokens", &prompt("12345678")).await;
    assert_eq!(count.json()["totalTokens"], 2);
    let embed = json!({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3});
    let one = post(&google, "/v1/models/gemini-embedding-001:embedContent", &embed).await.json();
    assert_eq!(one["embedding"]["values"].as_array().unwrap().len(), 3);
    let batch = json!({"requests": [embed, {"content": {"parts": [{"text": "b"}]}}]});
    let many = post(&google, "/v1/models/gemini-embedding-001:batchEmbedContents", &batch).await.json();
    assert_eq!(many["embeddings"][0]["values"], one["embedding"]["values"]);
    assert_eq!(many["embeddings"].as_array().unwrap().len(), 2);
    let wrong = post(&google, "/v1/models/gemini-2.5-flash:embedContent", &embed).await;
    assert_eq!(wrong.status, 404);
    let array = post(&google, "/v1/models/gemini-2.5-flash:streamGenerateContent", &prompt("x")).await;
    let (text, _) = array.dechunked();
    assert!(text.starts_with("[{\n") && text.contains("}\n,\r\n{\n") && text.ends_with("}\n]"), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().len(), 4);
    let get = async |path: &str| call(&google, "GET", path, "good", &Value::Null).await.json();
    let mut names = Vec::new();
    let mut page = get("/v1beta/models?pageSize=2").await;
    loop {
        names.extend(page["models"].as_array().unwrap().iter().map(|model| model["name"].to_string()));
        let Some(token) = page["nextPageToken"].as_str() else { break };
        page = get(&format!("/v1beta/models?pageSize=2&pageToken={token}")).await;
    }
    assert_eq!(names.len(), 5);
    assert_eq!(get("/v1/models/gemini-2.5-pro").await["name"], "models/gemini-2.5-pro");
    assert_eq!(call(&google, "GET", "/v9/models", "good", &Value::Null).await.status, 404);
    let empty = post(&google, GENERATE, &json!({})).await;
    assert_eq!((empty.status, &empty.json()["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
}

#[tokio::test]
async fn the_openai_paths_answer() {
    let google = google(alpha()).await;
    let chat = "/v1beta/openai/chat/completions";
    let mut body =
        json!({"model": "models/gemini-2.5-flash", "messages": [{"role": "user", "content": "hey"}]});
    let whole = post(&google, chat, &body).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], answer_text(FLASH, "hey"));
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let raw = post(&google, chat, &body).await;
    assert_eq!(raw.header("Content-Type"), Some("text/event-stream"));
    let (text, _) = raw.dechunked();
    assert!(text.ends_with("\n\ndata: [DONE]\n\n"), "{text}");
    assert!(text.contains(&format!("\"usage\":{}", serde_json::to_string(&whole["usage"]).unwrap())));
    let embed = json!({"model": "gemini-embedding-001", "input": ["a", "b"], "dimensions": 4});
    let data = post(&google, "/v1beta/openai/embeddings", &embed).await.json();
    assert_eq!(data["data"][1]["embedding"].as_array().unwrap().len(), 4);
    let models = call(&google, "GET", "/v1beta/openai/models", "good", &Value::Null).await.json();
    assert_eq!(models["data"].as_array().unwrap().len(), 5);
    assert_eq!(google.seen()[0].model, FLASH);
}

#[tokio::test]
async fn uploads_go_on_without_a_key_and_files_stay_in_their_project() {
    let google = google(alpha()).await;
    google.edit(|world| world.chunk_granularity = 4);
    let start = [
        ("x-goog-api-key", "good"),
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
        ("x-goog-upload-header-content-type", "text/plain"),
    ];
    let raw =
        send(&google, &request("POST", "/upload/v1/files", &start, br#"{"file":{"displayName":"d"}}"#)).await;
    assert_eq!(
        (raw.header("X-Goog-Upload-Status"), raw.header("Content-Length")),
        (Some("active"), Some("0"))
    );
    let url = raw.header("X-Goog-Upload-URL").unwrap();
    let path = url.strip_prefix(&google.origin()).unwrap();
    let chunk = async |command: &str, offset: &str, body: &[u8]| {
        let headers = [("x-goog-upload-command", command), ("x-goog-upload-offset", offset)];
        send(&google, &request("POST", path, &headers, body)).await
    };
    assert_eq!(chunk("upload", "0", b"abc").await.status, 400);
    let first = chunk("upload", "0", b"abcd").await;
    assert_eq!((first.status, first.header("X-Goog-Upload-Status")), (200, Some("active")));
    assert_eq!(chunk("query", "", b"").await.header("X-Goog-Upload-Size-Received"), Some("4"));
    assert_eq!(chunk("upload", "3", b"efgh").await.status, 400);
    let last = chunk("upload, finalize", "4", b"e").await;
    assert_eq!(last.header("X-Goog-Upload-Status"), Some("final"));
    let file = last.json()["file"].clone();
    assert_eq!((&file["sizeBytes"], &file["mimeType"]), (&json!("5"), &json!("text/plain")));
    let uri = file["uri"].as_str().unwrap();
    assert!(uri.starts_with("https://generativelanguage.googleapis.com/v1beta/files/"), "{uri}");
    assert_eq!(chunk("upload", "5", b"").await.status, 403);
    let seen = google.seen();
    assert!(seen[1..6].iter().all(|seen| seen.key == "good" && seen.project == "alpha"), "{seen:?}");

    let name = format!("/v1beta/{}", file["name"].as_str().unwrap());
    assert_eq!(call(&google, "GET", &name, "good", &Value::Null).await.json()["state"], "ACTIVE");
    let foreign = call(&google, "GET", &name, "other", &Value::Null).await;
    assert_eq!(foreign.status, 403);
    assert!(foreign.text().contains("You do not have permission to access the File"));
    let ask = json!({"contents": [{"parts": [{"text": "read"}, {"fileData": {"fileUri": uri}}]}]});
    assert_eq!(call(&google, "POST", GENERATE, "good", &ask).await.status, 200);
    assert_eq!(call(&google, "POST", GENERATE, "other", &ask).await.status, 403);
    let bytes = call(&google, "GET", &format!("{name}:download?alt=media"), "good", &Value::Null).await;
    assert_eq!(bytes.body, b"abcde");
    let list = call(&google, "GET", "/v1/files", "other", &Value::Null).await;
    assert_eq!(list.json(), json!({}));
    assert_eq!(call(&google, "DELETE", &name, "good", &Value::Null).await.status, 200);
    assert_eq!(call(&google, "GET", &name, "good", &Value::Null).await.status, 403);
}

#[tokio::test]
async fn the_upload_url_can_be_on_googles_own_origin() {
    let google = google(alpha()).await;
    google.edit(|world| world.public_origin = Some("https://generativelanguage.googleapis.com".into()));
    let start = [
        ("x-goog-api-key", "good"),
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
    ];
    let raw = send(&google, &request("POST", "/upload/v1beta/files", &start, b"{}")).await;
    let url = raw.header("X-Goog-Upload-URL").unwrap();
    assert!(
        url.starts_with("https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id="),
        "{url}"
    );
}

#[tokio::test]
async fn caches_and_interactions_belong_to_their_project() {
    let google = google(alpha()).await;
    let cache =
        json!({"model": "models/gemini-2.5-flash", "contents": [{"parts": [{"text": "a long text"}]}]});
    let made = post(&google, "/v1beta/cachedContents", &cache).await.json();
    let mut ask = prompt("x");
    ask["cachedContent"] = made["name"].clone();
    let own = post(&google, GENERATE, &ask).await.json();
    assert_eq!(own["usageMetadata"]["cachedContentTokenCount"], made["usageMetadata"]["totalTokenCount"]);
    let foreign = call(&google, "POST", GENERATE, "other", &ask).await;
    assert_eq!(foreign.status, 403);
    assert!(foreign.text().contains("CachedContent not found (or permission denied)"));

    let interaction = json!({"model": FLASH, "input": "hello"});
    let made = post(&google, "/v1/interactions", &interaction).await.json();
    assert_eq!(made["steps"][0]["content"][0]["text"], answer_text(FLASH, "hello"));
    let path = format!("/v1/interactions/{}", made["id"].as_str().unwrap());
    assert_eq!(call(&google, "GET", &path, "good", &Value::Null).await.json(), made);
    assert_eq!(call(&google, "GET", &path, "other", &Value::Null).await.status, 404);
    let next =
        json!({"model": FLASH, "input": "more", "previous_interaction_id": made["id"], "stream": true});
    assert_eq!(call(&google, "POST", "/v1/interactions", "other", &next).await.status, 404);
    let (text, _) = post(&google, "/v1/interactions", &next).await.dechunked();
    assert!(
        text.starts_with("data: {\"event_type\":\"interaction.created\"")
            && text.ends_with("data: [DONE]\n\n")
    );
}
