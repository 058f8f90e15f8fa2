//! Caches, batches, operations, stores, tuned models, interactions, tokens.

use serde_json::{Value, json};

use super::{about, app, call, delete, get, google, last_project, misses, name, one_of_each, pool, post};
use crate::support::{App, Server, ask};

const FLASH: &str = "/v1beta/models/gemini-2.5-flash";

/// Makes something in whichever project; gives its entry and that project.
async fn make(
    app: &App,
    google: &gemini_pool::simulated::SimulatedGoogle,
    path: &str,
    body: Value,
) -> (Value, String) {
    let (status, answer) = post(app, path, body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    (answer, last_project(google))
}

async fn restarted(server: Server) -> Server {
    server.kill().start()
}

#[tokio::test]
async fn a_cache_is_used_where_it_is() {
    let google = google().await;
    let server = pool(&google).await;
    let mut made = Vec::new();
    for number in 0..8 {
        let body = json!({"model": "models/gemini-2.5-flash", "contents": ask("a long text")["contents"]});
        made.push(make(&app(&server, number), &google, "/v1beta/cachedContents", body).await);
    }
    assert!(
        made.iter().any(|(_, project)| *project == made[0].1) && made.iter().any(|(_, p)| *p != made[0].1)
    );
    let server = restarted(server).await;
    let app = app(&server, 0);
    for (cache, project) in &made {
        for field in ["cachedContent", "cached_content"] {
            let mut body = ask("about it");
            body[field] = cache["name"].clone();
            let (status, answer) = post(&app, &format!("{FLASH}:generateContent"), body).await;
            assert_eq!(status, 200, "{answer}");
            assert_eq!(last_project(&google), *project);
        }
        assert_eq!(get(&app, &format!("/v1beta/{}", name(cache))).await.0, 200);
    }
    let (cache, _) = &made[0];
    let other = made.iter().find(|(_, project)| *project != made[0].1).unwrap();
    let mut body = ask("about both");
    body["cachedContent"] = cache["name"].clone();
    let (_, beta) = one_of_each(&server, &google).await;
    let (alpha, _) = one_of_each(&server, &google).await;
    let file = if other.1 == "alpha" { alpha } else { beta };
    body["contents"][0]["parts"][0] = json!({"fileData": {"fileUri": file["uri"]}});
    let (status, answer) = post(&app, &format!("{FLASH}:generateContent"), body).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(status == 400 && message.contains(name(cache)) && message.contains(name(&file)), "{answer}");
    for (cache, _) in &made {
        assert_eq!(delete(&app, &format!("/v1beta/{}", name(cache))).await.0, 200);
    }
    assert!(misses(&google).is_empty());
}

#[tokio::test]
async fn a_video_is_asked_for_downloaded_and_made_longer_where_it_is() {
    let google = google().await;
    let server = pool(&google).await;
    let path = "/v1beta/models/veo-3:predictLongRunning";
    let mut made = Vec::new();
    for number in 0..8 {
        let app = app(&server, number);
        made.push(make(&app, &google, path, json!({"instances": [{"prompt": "a key turns"}]})).await);
    }
    let server = restarted(server).await;
    let app = app(&server, 0);
    for (operation, project) in &made {
        let (status, done) = get(&app, &format!("/v1beta/{}", name(operation))).await;
        assert_eq!((status, last_project(&google)), (200, project.clone()), "{done}");
        let video = &done["response"]["generateVideoResponse"]["generatedSamples"][0]["video"]["uri"];
        let video = video.as_str().unwrap();
        let path = video.strip_prefix("https://generativelanguage.googleapis.com").unwrap();
        assert_eq!(get(&app, path).await, (200, json!("a video")));
        let longer = json!({"instances": [{"prompt": "on and on", "video": {"uri": video}}]});
        assert_eq!(make(&app, &google, "/v1beta/models/veo-3:predictLongRunning", longer).await.1, *project);
    }
    let (status, list) = get(&app, "/v1beta/models/veo-3/operations?pageSize=100").await;
    assert_eq!(status, 200, "{list}");
    assert!(misses(&google).is_empty(), "{:?}", misses(&google));
}

#[tokio::test]
async fn a_batch_goes_where_its_file_is_and_its_answers_are_fetched_there() {
    let google = google().await;
    let server = pool(&google).await;
    let (alpha, beta) = one_of_each(&server, &google).await;
    for (file, project) in [(&alpha, "alpha"), (&beta, "beta")] {
        let app = app(&server, 3);
        let body = json!({"batch": {"displayName": "b", "inputConfig": {"fileName": file["name"]}}});
        let (batch, at) = make(&app, &google, &format!("{FLASH}:batchGenerateContent"), body).await;
        assert_eq!(at, project);
        let (status, done) = get(&app, &format!("/v1beta/{}", name(&batch))).await;
        assert_eq!(status, 200);
        let answers = done["response"]["responsesFile"].as_str().unwrap();
        let (status, text) = get(&app, &format!("/v1beta/{answers}:download?alt=media")).await;
        assert_eq!((status, last_project(&google)), (200, project.to_owned()), "{text}");
        assert_eq!(post(&app, &format!("/v1beta/{}:cancel", name(&batch)), json!({})).await.0, 200);
        let inline =
            json!({"batch": {"inputConfig": {"requests": {"requests": [{"request": about(&[file])}]}}}});
        assert_eq!(make(&app, &google, &format!("{FLASH}:batchGenerateContent"), inline).await.1, project);
    }
    let (status, list) = get(&app(&server, 0), "/v1beta/batches?pageSize=100").await;
    assert_eq!(status, 200, "{list}");
    assert!(list["nextPageToken"].is_string(), "beta's follow: {list}");
    assert!(misses(&google).is_empty());
}

#[tokio::test]
async fn stores_and_tuned_models_are_used_where_they_are() {
    let google = google().await;
    let server = pool(&google).await;
    let (alpha, beta) = one_of_each(&server, &google).await;
    for number in 0..8 {
        let app = app(&server, number);
        let (store, home) =
            make(&app, &google, "/v1beta/fileSearchStores", json!({"displayName": "s"})).await;
        let (own, other) = if home == "alpha" { (&alpha, &beta) } else { (&beta, &alpha) };
        let import = format!("/v1beta/{}:importFile", name(&store));
        let (operation, _) = make(&app, &google, &import, json!({"fileName": own["name"]})).await;
        assert_eq!(get(&app, &format!("/v1beta/{}", name(&operation))).await.0, 200);
        let (status, refused) = post(&app, &import, json!({"fileName": other["name"]})).await;
        assert!(status == 400 && refused.to_string().contains("TWO_PROJECTS"), "{refused}");
        let mut question = ask("what is in the store?");
        question["tools"] = json!([{"fileSearch": {"fileSearchStoreNames": [store["name"]]}}]);
        assert_eq!(make(&app, &google, &format!("{FLASH}:generateContent"), question).await.1, home);

        let (tuning, home) = make(&app, &google, "/v1beta/tunedModels", json!({"displayName": "t"})).await;
        let tuned = tuning["metadata"]["tunedModel"].as_str().unwrap().to_owned();
        assert_eq!(get(&app, &format!("/v1beta/{}", name(&tuning))).await.0, 200);
        for _ in 0..3 {
            assert_eq!(
                make(&app, &google, &format!("/v1beta/{tuned}:generateContent"), ask("hi")).await.1,
                home
            );
        }
        assert_eq!(delete(&app, &format!("/v1beta/{tuned}")).await.0, 200);
    }
    assert!(misses(&google).is_empty());
}

#[tokio::test]
async fn a_conversation_goes_on_where_it_began() {
    let google = google().await;
    let server = pool(&google).await;
    let path = "/v1/interactions";
    let mut begun = Vec::new();
    for number in 0..12 {
        let streamed = number % 2 == 0;
        let body = json!({"model": "gemini-2.5-flash", "input": "hello", "stream": streamed});
        let (answer, project) = make(&app(&server, 0), &google, path, body).await;
        let id = match &answer {
            Value::String(events) => {
                let first = events.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
                serde_json::from_str::<Value>(first).unwrap()["interaction"]["id"].clone()
            }
            whole => whole["id"].clone(),
        };
        begun.push((id, project));
    }
    assert!(begun.iter().any(|(_, project)| project == "alpha"), "{begun:?}");
    assert!(begun.iter().any(|(_, project)| project == "beta"), "{begun:?}");
    let server = restarted(server).await;
    let app = app(&server, 1);
    for (id, project) in &begun {
        let body = json!({"model": "gemini-2.5-pro", "input": "and then?", "previous_interaction_id": id});
        assert_eq!(make(&app, &google, path, body).await.1, *project);
        let one = format!("{path}/{}", id.as_str().unwrap());
        assert_eq!(get(&app, &one).await.0, 200);
        assert_eq!(call(&app, reqwest::Method::DELETE, &one, None).await.0, 200);
    }
    assert!(misses(&google).is_empty());
}

#[tokio::test]
async fn a_token_that_lets_in_is_not_written_down() {
    let google = google().await;
    let server = pool(&google).await;
    let (token, project) = make(&app(&server, 0), &google, "/v1alpha/auth_tokens", json!({"uses": 1})).await;
    let secret = name(&token).strip_prefix("auth_tokens/").unwrap().to_owned();
    let operator = server.operator().await;
    let bound = operator.events_of("ResourceBound", 1).await;
    assert_eq!(bound[0]["project"], json!(project));
    assert!(bound[0]["name"].as_str().unwrap().starts_with("auth_tokens/"));
    let events = serde_json::to_string(&operator.events().await).unwrap();
    assert!(!events.contains(&secret) && !server.output().contains(&secret), "the token is written down");
}
