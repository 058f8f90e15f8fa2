//! The keys of an owner: when they are out, and when they leave.

use reqwest::Method;
use serde_json::json;

use super::{about, app, get, google, misses, name, one_of_each, pool, post};

#[tokio::test]
async fn when_the_owners_keys_are_out_it_says_so_and_asks_no_other() {
    let google = google().await;
    let server = pool(&google).await;
    let (alpha, beta) = one_of_each(&server, &google).await;
    google.edit(|world| world.projects.get_mut("alpha").unwrap().out_for_today("gemini-2.5-flash", 250));
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let tries = |project: &str| {
        let seen = google.seen();
        seen.iter().filter(|seen| seen.project == project && seen.path.contains("generateContent")).count()
    };
    for _ in 0..3 {
        let (status, answer) = post(&app(&server, 0), path, about(&[&alpha])).await;
        assert_eq!((status, &answer["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")), "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        for part in [name(&alpha), "project alpha", "gemini-2.5-flash", "Please retry in "] {
            assert!(message.contains(part), "{message} does not say {part}");
        }
    }
    assert_eq!((tries("alpha"), tries("beta")), (1, 0));
    // Another model of it, another project's file, and no file at all are served.
    let other = "/v1beta/models/gemini-2.5-pro:generateContent";
    assert_eq!(post(&app(&server, 0), other, about(&[&alpha])).await.0, 200);
    assert_eq!(post(&app(&server, 0), path, about(&[&beta])).await.0, 200);
    assert_eq!(post(&app(&server, 0), path, about(&[])).await.0, 200);
    assert!(misses(&google).is_empty());
}

#[tokio::test]
async fn the_last_key_of_a_project_with_files_leaves_only_by_force() {
    let google = google().await;
    let server = pool(&google).await;
    let (alpha, beta) = one_of_each(&server, &google).await;
    let operator = server.operator().await;
    assert_eq!(operator.call(Method::DELETE, "/keys/1", None).await.0, 200, "key 2 is there");
    assert_eq!(get(&app(&server, 0), &format!("/v1beta/{}", name(&alpha))).await.0, 200);
    let body = json!({"ids": [4, 2]});
    for (verb, path, body) in
        [(Method::DELETE, "/keys/2", None), (Method::POST, "/keys/bulk_delete", Some(body))]
    {
        let (status, answer) = operator.call(verb, path, body).await;
        assert_eq!((status, &answer["code"]), (409, &json!("resources_live")), "{answer}");
        let told = answer["detail"].as_str().unwrap();
        assert!(told.contains("project alpha") && told.contains("files/"), "{told}");
    }
    assert_eq!(operator.keys().await.len(), 3, "all stay, or none");
    let refused = server.setup.run(&["keys", "remove", "2"], "");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("project alpha"), "{refused:?}");
    let forced = server.setup.run(&["keys", "remove", "2", "--force"], "");
    assert!(forced.status.success(), "{forced:?}");
    // Nobody owns alpha's file now; the keeper is asked and says what Google says.
    assert_eq!(get(&app(&server, 0), &format!("/v1beta/{}", name(&alpha))).await.0, 403);
    assert_eq!(get(&app(&server, 0), &format!("/v1beta/{}", name(&beta))).await.0, 200);
    let (status, answer) = operator.call(Method::DELETE, "/keys/3?force=true", None).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(operator.call(Method::DELETE, "/keys/4?force=true", None).await.0, 200);
}
