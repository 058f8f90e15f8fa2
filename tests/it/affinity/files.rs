//! Files: uploaded, used, listed, downloaded, deleted, across a pulled plug.

use gemini_pool::simulated::Outcome;
use serde_json::{Value, json};

use super::{
    APPS, KEYS, about, app, begin_upload, delete, get, google, last_project, misses, name, one_of_each, pool,
    post, send_piece, upload,
};
use crate::{
    scenario::Sdk,
    support::{CLIENT_KEY, Server, Setup},
};

const MODELS: [&str; 3] = ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.0-flash"];

fn by_sdk(id: usize, op: &str, fields: Value) -> Value {
    let mut call = json!({"id": id, "op": op, "model": "", "prompt": ""});
    call.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    call
}

/// The whole life of a file by an official SDK, with the plug pulled after the upload.
async fn whole_life(sdk: Sdk) {
    let google = google().await;
    let keys = [super::KEYS[0], super::KEYS[2]];
    let server = Setup::new(&google, &keys).with("ALLOWED_API_KEYS", CLIENT_KEY).start();
    let make = |origin: &str, calls: Vec<Value>| {
        let origin = origin.to_owned();
        async move { tokio::task::spawn_blocking(move || sdk.make(&origin, &calls)).await.unwrap() }
    };
    let content = format!("the content of a file by {sdk:?}");
    let uploaded = make(&server.origin, vec![by_sdk(1, "upload", json!({"prompt": content}))]).await;
    assert_eq!(uploaded[&1]["ok"], true, "{sdk:?}: {uploaded:?}");
    let (name, uri) = (&uploaded[&1]["text"], &uploaded[&1]["uri"]);

    let server = server.kill().start();
    let mut calls: Vec<Value> = (0..12)
        .map(|id| {
            by_sdk(
                id,
                "use_file",
                json!({"model": MODELS[id % 3], "prompt": format!("use {id}"), "uri": uri}),
            )
        })
        .collect();
    calls.push(by_sdk(20, "list_files", json!({})));
    calls.push(by_sdk(21, "get_file", json!({"name": name})));
    calls.push(by_sdk(22, "download_file", json!({"name": name})));
    let answers = make(&server.origin, calls).await;
    for (id, answer) in &answers {
        assert_eq!(answer["ok"], true, "{sdk:?}: call {id} was answered {answer}");
    }
    for id in 0..12 {
        assert!(answers[&id]["text"].as_str().unwrap().contains(&format!("use {id}")), "{:?}", answers[&id]);
    }
    assert_eq!(answers[&20]["names"], json!([name]));
    assert_eq!(answers[&21]["text"], *name);
    assert_eq!(answers[&22]["text"], json!(content));
    assert!(misses(&google).is_empty(), "{:?}", misses(&google));

    let server = server.kill().start();
    let deleted = make(&server.origin, vec![by_sdk(1, "delete_file", json!({"name": name}))]).await;
    assert_eq!(deleted[&1]["ok"], true, "{sdk:?}: {deleted:?}");
    let gone = make(&server.origin, vec![by_sdk(1, "get_file", json!({"name": name}))]).await;
    assert_eq!(gone[&1]["status"], 403, "{sdk:?}: {gone:?}");
    let operator = server.operator().await;
    // The upload, and the file.
    operator.events_of("ResourceBound", 2).await;
    let released = operator.events_of("ResourceReleased", 2).await;
    assert_eq!((&released[0]["why"], &released[1]["why"]), (&json!("finished"), &json!("deleted")));
    assert_eq!(released[1]["name"], *name);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_python_sdk_keeps_its_file_across_a_pulled_plug() {
    whole_life(Sdk::PythonLatest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_python_sdk_keeps_its_file_across_a_pulled_plug() {
    whole_life(Sdk::Python219).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_keeps_its_file_across_a_pulled_plug() {
    whole_life(Sdk::JavaScript).await;
}

#[tokio::test]
async fn an_upload_goes_on_without_a_credential_after_a_pulled_plug_and_its_id_is_nowhere() {
    let google = google().await;
    let server = pool(&google).await;
    let address = begin_upload(&app(&server, 0), 12).await;
    let home = last_project(&google);
    assert_eq!(send_piece(&app(&server, 0), &address, 0, "01234567", false).await.0, 200);

    let old = server.origin.clone();
    let server = server.kill().start();
    let address = address.replace(&old, &server.origin);
    let (status, answer) = send_piece(&app(&server, 0), &address, 8, "89ab", true).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(last_project(&google), home);
    let id = address.split("upload_id=").nth(1).unwrap().split('&').next().unwrap();
    // What is done is done: the address lets nobody in any more.
    assert_eq!(send_piece(&app(&server, 0), &address, 12, "x", true).await.0, 401);
    let operator = server.operator().await;
    let events = serde_json::to_string(&operator.events().await).unwrap();
    assert!(!events.contains(id), "the upload's id is in the log");
    assert!(!server.output().contains(id), "the upload's id is in what the server says");
    assert_eq!(send_piece(&app(&server, 0), &address.replace(id, "made-up"), 0, "x", true).await.0, 401);
}

/// Google answers most steps of an upload by headers alone, and such an answer is whole.
#[tokio::test]
async fn an_answer_of_headers_alone_is_a_whole_one() {
    let google = google().await;
    let server = pool(&google).await;
    let app = app(&server, 0);
    let address = begin_upload(&app, 12).await;
    assert_eq!(send_piece(&app, &address, 0, "01234567", false).await.0, 200);
    assert_eq!(send_piece(&app, &address, 8, "89ab", true).await.0, 200);
    let operator = server.operator().await;
    for (kind, name, wanted) in [("Answered", "outcome", "complete"), ("Attempted", "verdict", "success")] {
        let events = operator.events_of(kind, 3).await;
        let told: Vec<_> = events.iter().map(|event| (&event["status"], &event[name])).collect();
        assert_eq!(told, [(&json!(200), &json!(wanted)); 3], "{events:#?}");
        assert_eq!(events[0]["bytes"].as_u64().or(events[0]["bytes_received"].as_u64()), Some(0));
    }
}

/// Where a trusted proxy speaks TLS with the clients, the pieces go back through it, and not to a port without TLS.
#[tokio::test]
async fn the_address_of_an_upload_is_the_one_that_the_client_reached() {
    let google = google().await;
    let keys = KEYS.join(",");
    let setup = Setup::new(&google, &[]).with("ALLOWED_API_KEYS", APPS[0]).with("GEMINI_API_KEYS", &keys);
    let begin = async |server: &Server, host: &str| {
        let start = app(server, 0)
            .post("/upload/v1beta/files", &json!({"file": {}}))
            .header("x-goog-upload-protocol", "resumable")
            .header("x-goog-upload-command", "start")
            .header("x-goog-upload-header-content-length", 4)
            .header("x-forwarded-proto", "https")
            .header("host", host);
        let answer = start.send().await.unwrap();
        answer.headers()["x-goog-upload-url"].to_str().unwrap().to_owned()
    };
    let server = setup.with("TRUSTED_PROXIES", "127.0.0.1").start();
    let address = begin(&server, "gemini.example.org").await;
    assert!(address.starts_with("https://gemini.example.org/upload/"), "{address}");
    // Nobody else is believed.
    let server = server.stop().0.with("TRUSTED_PROXIES", "").start();
    let address = begin(&server, "gemini.example.org").await;
    assert!(address.starts_with("http://gemini.example.org/upload/"), "{address}");
}

#[tokio::test]
async fn what_one_client_makes_can_be_used_together() {
    let google = google().await;
    let server = pool(&google).await;
    for number in 0..4 {
        let app = app(&server, number);
        let (first, second) = (upload(&app, "first").await, upload(&app, "second").await);
        for model in MODELS {
            let path = format!("/v1beta/models/{model}:generateContent");
            let (status, answer) = post(&app, &path, about(&[&first, &second])).await;
            assert_eq!(status, 200, "{answer}");
        }
    }
}

#[tokio::test]
async fn files_of_two_projects_in_one_prompt_are_refused_by_name() {
    let google = google().await;
    let server = pool(&google).await;
    let (alpha, beta) = one_of_each(&server, &google).await;
    let app = app(&server, 0);
    let before = google.seen_count();
    for path in [
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        "/v1beta/models/gemini-2.5-flash:countTokens",
    ] {
        let (status, answer) = post(&app, path, about(&[&alpha, &beta])).await;
        assert_eq!((status, &answer["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        for part in [name(&alpha), "alpha", name(&beta), "beta"] {
            assert!(message.contains(part), "{message} does not say {part}");
        }
        assert_eq!(answer["error"]["details"][0]["reason"], "TWO_PROJECTS");
    }
    assert_eq!(google.seen_count(), before, "nobody was asked");
    for (file, project) in [(&alpha, "alpha"), (&beta, "beta")] {
        for model in MODELS {
            let path = format!("/v1beta/models/{model}:generateContent");
            assert_eq!(post(&app, &path, about(&[file])).await.0, 200);
            assert_eq!(last_project(&google), project);
        }
        assert_eq!(get(&app, &format!("/v1beta/{}", name(file))).await.0, 200);
        assert_eq!(last_project(&google), project);
    }
    assert!(misses(&google).is_empty());
}

#[tokio::test]
async fn what_was_made_elsewhere_is_learned_when_it_is_seen() {
    let google = google().await;
    // A file that this pool knows nothing of, in the project of its first key.
    let other = Setup::new(&google, &[super::KEYS[0]]).start();
    let file = upload(&other.app(), "made elsewhere").await;
    let server = pool(&google).await;
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    for _ in 0..6 {
        assert_eq!(post(&app(&server, 0), path, about(&[&file])).await.0, 200);
    }
    assert_eq!(get(&app(&server, 0), &format!("/v1beta/{}", name(&file))).await.0, 200);
    let bound = server.operator().await.events_of("ResourceBound", 1).await;
    assert_eq!((&bound[0]["name"], &bound[0]["project"]), (&file["name"], &json!("alpha")));
    assert!(google.seen().iter().all(|seen| seen.outcome == Outcome::Served));
    assert_eq!(delete(&app(&server, 1), &format!("/v1beta/{}", name(&file))).await.0, 200);
    server.operator().await.events_of("ResourceReleased", 1).await;
}
