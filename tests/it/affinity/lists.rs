//! Lists over several projects.

use std::collections::BTreeSet;

use serde_json::json;

use super::{APPS, app, get, google, last_project, name, one_of_each, pool, post, upload};

/// The pages of a list, as names.
async fn pages(server: &crate::support::Server, path: &str, member: &str, between: bool) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let query = if token.is_empty() { String::new() } else { format!("&pageToken={token}") };
        let (status, page) = get(&app(server, 0), &format!("{path}?pageSize=2{query}")).await;
        assert_eq!(status, 200, "{page}");
        let names = page[member].as_array().cloned().unwrap_or_default();
        pages.push(names.iter().map(|entry| name(entry).to_owned()).collect());
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => return pages,
        }
        if between {
            upload(&app(server, pages.len() % APPS.len()), "made while others list").await;
        }
    }
}

#[tokio::test]
async fn a_list_of_two_projects_is_whole_and_nothing_comes_twice() {
    let google = google().await;
    let server = pool(&google).await;
    one_of_each(&server, &google).await;
    let listed = pages(&server, "/v1beta/files", "files", false).await;
    let all: Vec<&String> = listed.iter().flatten().collect();
    assert_eq!(all.len(), APPS.len(), "{listed:?}");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert!(listed.iter().all(|page| (1..=2).contains(&page.len())), "{listed:?}");
    // Others upload meanwhile: what was there at the beginning is listed all the same, once.
    let again = pages(&server, "/v1beta/files", "files", true).await;
    let seen: Vec<&String> = again.iter().flatten().collect();
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "{again:?}");
    assert!(seen.len() >= all.len());
}

#[tokio::test]
async fn a_page_is_googles_but_for_its_token() {
    let google = google().await;
    let server = pool(&google).await;
    one_of_each(&server, &google).await;
    let through = app(&server, 0)
        .http
        .get(format!("{}/v1beta/files?pageSize=100", server.origin))
        .header("x-goog-api-key", APPS[0])
        .send()
        .await
        .unwrap();
    assert!(through.headers().get("x-gemini-pool-partial").is_none());
    let through = through.text().await.unwrap();
    let straight = app(&server, 0)
        .http
        .get(format!("{}/v1beta/files?pageSize=100", google.origin()))
        .header("x-goog-api-key", super::KEYS[0])
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let (head, tail) = through.split_once(",\"nextPageToken\": ").expect("beta's files follow");
    assert_eq!(
        format!("{head}{}", tail.split_once('}').map(|(_, end)| format!("}}{end}")).unwrap()),
        straight
    );
}

#[tokio::test]
async fn a_list_goes_on_when_only_one_project_is_left() {
    let google = google().await;
    let server = pool(&google).await;
    one_of_each(&server, &google).await;
    let next = |page: &serde_json::Value| page["nextPageToken"].as_str().unwrap().to_owned();
    let app = app(&server, 0);
    let (_, first) = get(&app, "/v1beta/files?pageSize=1").await;
    let (_, whole) = get(&app, "/v1beta/files?pageSize=100").await;
    let (of_alpha, of_beta) = (next(&first), next(&whole));
    let (status, answer) = server
        .operator()
        .await
        .call(http::Method::POST, "/keys/bulk_delete", Some(json!({"ids": [1, 2], "force": true})))
        .await;
    assert_eq!(status, 200, "{answer}");
    let (status, page) = get(&app, &format!("/v1beta/files?pageSize=100&pageToken={of_beta}")).await;
    assert!(status == 200 && page["files"].as_array().is_some_and(|files| !files.is_empty()), "{page}");
    let (status, answer) = get(&app, &format!("/v1beta/files?pageSize=100&pageToken={of_alpha}")).await;
    assert_eq!((status, &answer["error"]["details"][0]["reason"]), (400, &json!("PAGE_TOKEN_INVALID")));
}

#[tokio::test]
async fn what_cannot_be_put_together_is_one_projects_and_says_so() {
    let google = google().await;
    let server = pool(&google).await;
    one_of_each(&server, &google).await;
    let partial = |query: &'static str| {
        let request = app(&server, 0).http.get(format!("{}/v1beta/files{query}", server.origin));
        async move {
            let answer = request.header("x-goog-api-key", APPS[0]).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.headers().get("x-gemini-pool-partial").map(|said| said.to_str().unwrap().to_owned())
        }
    };
    let said = partial("?fields=files.name").await.unwrap();
    assert!(said.contains(&last_project(&google)) && said.contains("of 2"), "{said}");
    assert_eq!(partial("").await, None);
    let (status, answer) = get(&app(&server, 0), "/v1beta/files?pageToken=page-2").await;
    assert_eq!((status, &answer["error"]["details"][0]["reason"]), (400, &json!("PAGE_TOKEN_INVALID")));
}

#[tokio::test]
async fn projects_that_have_nothing_of_the_kind_are_not_asked() {
    let google = google().await;
    let server = pool(&google).await;
    let (status, _) = post(&app(&server, 0), "/v1beta/fileSearchStores", json!({"displayName": "one"})).await;
    assert_eq!(status, 200);
    let home = last_project(&google);
    let before = google.seen_count();
    let stores = pages(&server, "/v1beta/fileSearchStores", "fileSearchStores", false).await;
    assert_eq!(stores.iter().flatten().count(), 1);
    assert_eq!((google.seen_count() - before, last_project(&google)), (1, home.clone()));
    // Gone without the pool's knowledge: an empty page is passed over, or is the answer where none follows.
    let (_, file) = one_of_each(&server, &google).await;
    let stolen = app(&server, 0).http.delete(format!("{}/v1beta/{}", google.origin(), name(&file)));
    assert_eq!(stolen.header("x-goog-api-key", super::KEYS[2]).send().await.unwrap().status(), 200);
    let listed = pages(&server, "/v1beta/files", "files", false).await;
    assert_eq!(listed.iter().flatten().count(), APPS.len() - 1);
}
