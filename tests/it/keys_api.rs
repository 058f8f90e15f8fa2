//! The admin API's keys: lists, secrets, changes against a revision, repetitions, jobs, and what each can serve.

use gemini_pool::simulated::{Failure, Fault, KeyState, SimulatedGoogle, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{CLIENT_KEY, Operator, Server, Setup, http, of_type};

const FLASH: &str = "gemini-2.5-flash";
const KEYS: [&str; 5] =
    ["AIza-one-000001", "AIza-two-000002", "AIza-three-00003", "AIza-four-000004", "AIza-five-000005"];

async fn stage() -> (SimulatedGoogle, Server) {
    let mut world = World::new();
    for (project, key) in ["alpha", "beta", "gamma", "delta", "epsilon"].iter().zip(KEYS) {
        world = world.key(project, key);
    }
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &KEYS).start();
    (google, server)
}

async fn get(operator: &Operator, path: &str) -> Value {
    let (status, answer) = operator.call(Method::GET, path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["keys"].as_array().unwrap().iter().map(|key| key["id"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_ordered_and_paged_while_keys_come_and_go() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let tag = json!({"ids": [1, 3, 5], "add": ["odd"], "remove": []});
    let (status, tagged) = operator.call(Method::POST, "/keys/bulk_tag", Some(tag.clone())).await;
    assert_eq!(status, 200, "{tagged}");
    let (_, again) = operator.call(Method::POST, "/keys/bulk_tag", Some(tag)).await;
    let results = |answer: &Value| -> Vec<String> {
        let all = answer["results"].as_array().unwrap();
        all.iter().map(|one| format!("{} {}", one["id"], one["result"].as_str().unwrap())).collect()
    };
    assert_eq!(results(&tagged), ["1 changed", "3 changed", "5 changed"]);
    assert_eq!(results(&again), ["1 unchanged", "3 unchanged", "5 unchanged"]);
    let disable = json!({"ids": [4, 4, 2]});
    let (_, disabled) = operator.call(Method::POST, "/keys/bulk_disable", Some(disable)).await;
    assert_eq!(results(&disabled), ["4 changed", "2 changed"]);
    assert_eq!(ids(&get(&operator, "/keys?tag=odd").await), [1, 3, 5]);
    assert_eq!(ids(&get(&operator, "/keys?state=disabled&sort=id&order=desc").await), [4, 2]);
    assert_eq!(ids(&get(&operator, "/keys?q=KEY%205").await), [5]);
    assert_eq!(get(&operator, "/keys?q=nobody").await["total"], 5);
    let first = get(&operator, "/keys?limit=2").await;
    assert_eq!(ids(&first), [1, 2]);
    assert_eq!(operator.call(Method::DELETE, "/keys/2", None).await.0, 200);
    assert_eq!(operator.call(Method::DELETE, "/keys/3", None).await.0, 200);
    let next = first["next"].as_str().unwrap();
    let second = get(&operator, &format!("/keys?limit=2&cursor={next}")).await;
    assert_eq!((ids(&second), &second["next"]), (vec![4, 5], &Value::Null));
    for (query, code) in [
        (format!("cursor={next}&sort=label"), "bad_cursor"),
        ("cursor=x".to_owned(), "bad_cursor"),
        ("stat=failed".to_owned(), "bad_parameter"),
        ("limit=0".to_owned(), "bad_parameter"),
        ("limit=1001".to_owned(), "bad_parameter"),
        ("state=good".to_owned(), "bad_parameter"),
        ("priority=256".to_owned(), "bad_parameter"),
    ] {
        let (status, answer) = operator.call(Method::GET, &format!("/keys?{query}"), None).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{query}: {answer}");
    }
    let setup = &server.setup;
    let listed = |arguments: &[&str]| {
        let output = setup.run(&[&["keys", "list", "--json"], arguments].concat(), "");
        ids(&serde_json::from_slice(&output.stdout).unwrap())
    };
    assert_eq!(listed(&["--tag", "odd", "--sort", "label", "--desc"]), [5, 1]);
    assert_eq!(listed(&["--limit", "1"]), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_out_once_the_log_says_so() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let (status, headers, shown) = operator.send(Method::GET, "/keys/2", &[], None).await;
    assert_eq!((status, &shown["key"]), (200, &json!(KEYS[1])));
    assert_eq!(headers["cache-control"], "no-store");
    let revealed = &operator.events_of("KeyRevealed", 1).await[0];
    assert_eq!(revealed["actor"], json!({"admin": "admin"}));
    assert_eq!((&revealed["key"], &revealed["address"]), (&json!(2), &json!("127.0.0.1")));
    let (_, events) = operator.call(Method::GET, "/events?after=0&limit=1000", None).await;
    let of_log =
        events["events"].as_array().unwrap().iter().find(|event| event["type"] == "KeyRevealed").unwrap();
    assert_eq!(of_log["seq"], shown["seq"]);
    for (verb, path) in
        [(Method::GET, "/keys"), (Method::GET, "/keys/2/summary"), (Method::POST, "/keys/2/reset")]
    {
        let (status, answer) = operator.call(verb, path, None).await;
        assert!(status == 200 && !answer.to_string().contains("AIza"), "{path}: {answer}");
    }
    assert_eq!(operator.call(Method::GET, "/keys/99", None).await.1["code"], "not_found");
    let (status, _) = operator.call(Method::GET, "/keys/-1", None).await;
    assert_eq!(status, 400);
    let address = format!("{}/api/keys/2", server.origin);
    let with_access = http().get(&address).bearer_auth(CLIENT_KEY).send().await.unwrap();
    assert_eq!(with_access.status(), 401);
    assert_eq!(with_access.headers()["www-authenticate"], "Bearer");
    assert_eq!(of_type(&operator.events().await, "KeyRevealed").len(), 1, "who gets nothing is no event");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_added_changed_and_removed_against_its_revision() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let new = json!({"key": "AIza-six-0000006", "label": "six", "tags": ["new"]});
    let (status, headers, added) = operator.send(Method::POST, "/keys", &[], Some(new.clone())).await;
    assert_eq!((status, &added["id"], &added["label"]), (201, &json!(6), &json!("six")), "{added}");
    assert_eq!(headers["location"], "/api/keys/6/summary");
    let read = headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(read, format!("\"{}\"", added["revision"]));
    let (status, _, again) = operator.send(Method::POST, "/keys", &[], Some(new)).await;
    assert_eq!((status, &again["code"]), (409, &json!("duplicate_key")));
    assert!(again["detail"].as_str().unwrap().contains("key 6"), "{again}");
    let bad = json!({"key": "not a key"});
    assert_eq!(operator.call(Method::POST, "/keys", Some(bad)).await.1["code"], "not_a_key");

    let patch = |label: &str| Some(json!({"label": label}));
    let seen = [("if-match", read.as_str())];
    let (status, headers, _) = operator.send(Method::PATCH, "/keys/6", &seen, patch("sixth")).await;
    assert_eq!(status, 200);
    let next = headers["etag"].to_str().unwrap().to_owned();
    let (status, _, answer) = operator.send(Method::PATCH, "/keys/6", &seen, patch("mine")).await;
    assert_eq!((status, &answer["code"]), (412, &json!("changed_meanwhile")), "{answer}");
    assert_eq!(operator.send(Method::DELETE, "/keys/6", &seen, None).await.0, 412);
    assert_eq!(get(&operator, "/keys/6/summary").await["label"], "sixth");
    // What traffic does to a key is no change of an operator's.
    while !server.app().generate(FLASH, "Hello").await.1.is_null() {
        let keys = get(&operator, "/keys?q=sixth").await;
        if !keys["keys"][0]["last_used_at"].is_null() {
            break;
        }
    }
    let seen = [("if-match", next.as_str())];
    assert_eq!(operator.send(Method::DELETE, "/keys/6", &seen, None).await.0, 200);
    assert_eq!(operator.send(Method::DELETE, "/keys/6", &seen, None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_adds_nothing_and_hears_the_same() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let new = |key: &str| Some(json!({"key": key}));
    let word = [("idempotency-key", "a word of mine")];
    let (first, second) = tokio::join!(
        operator.send(Method::POST, "/keys", &word, new("AIza-six-0000006")),
        operator.send(Method::POST, "/keys", &word, new("AIza-six-0000006")),
    );
    assert_eq!((first.0, second.0, &first.2), (201, 201, &second.2));
    let replayed = [&first, &second].map(|answer| answer.1.contains_key("idempotency-replayed"));
    assert_ne!(replayed[0], replayed[1]);
    assert_eq!(first.1["etag"], second.1["etag"]);
    let (status, _, answer) = operator.send(Method::POST, "/keys", &word, new("AIza-seven-00007")).await;
    assert_eq!((status, &answer["code"]), (422, &json!("idempotency_key_reused")));
    let bulk = |keys: Value| Some(json!({"keys": keys}));
    for _ in 0..2 {
        let word = [("idempotency-key", "another")];
        let (status, _, answer) =
            operator.send(Method::POST, "/keys/bulk_add", &word, bulk(json!(["AIza-eight-00008"]))).await;
        assert_eq!((status, &answer["results"][0]["result"]), (200, &json!("added")));
    }
    assert_eq!(of_type(&operator.events().await, "KeyAdded").len(), 7);
    let word = [("idempotency-key", "")];
    let (status, _, answer) = operator.send(Method::POST, "/keys", &word, new("AIza-nine-000009")).await;
    assert_eq!((status, &answer["code"]), (400, &json!("bad_parameter")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_tested_as_a_job_that_can_be_cancelled() {
    let (google, server) = stage().await;
    let operator = server.operator().await;
    google.edit(|world| world.keys.get_mut(KEYS[2]).unwrap().state = KeyState::Leaked);
    let all = json!({"ids": [1, 2, 3, 4, 5, 1]});
    let (status, headers, job) = operator.send(Method::POST, "/keys/bulk_test", &[], Some(all)).await;
    assert_eq!((status, &job["of"]), (202, &json!(5)), "{job}");
    let path = headers["location"].to_str().unwrap().strip_prefix("/api").unwrap().to_owned();
    let done = loop {
        let job = get(&operator, &path).await;
        if job["state"] != "running" {
            break job;
        }
    };
    assert_eq!((&done["state"], &done["done"]), (&json!("done"), &json!(5)), "{done}");
    for result in done["results"].as_array().unwrap() {
        assert_eq!(result["test"]["passed"], json!(result["id"] != 3), "{result}");
    }
    assert_eq!(operator.events_of("KeyChecked", 5).await.len(), 5);
    let (_, ended) = operator.call(Method::DELETE, &path, None).await;
    assert_eq!(ended["state"], "done", "there was nothing to cut short");
    let (status, none) = operator.call(Method::GET, "/jobs", None).await;
    assert_eq!((status, none), (200, json!({"jobs": []})));
    assert_eq!(operator.call(Method::GET, &path, None).await.0, 404);

    google.edit(|world| world.faults = vec![Fault::always(Failure::HoldFirstByte)]);
    let mut paths = Vec::new();
    for _ in 0..4 {
        let body = json!({"ids": [1, 2], "model": FLASH});
        let (status, headers, _) = operator.send(Method::POST, "/keys/bulk_test", &[], Some(body)).await;
        assert_eq!(status, 202);
        paths.push(headers["location"].to_str().unwrap().strip_prefix("/api").unwrap().to_owned());
    }
    let body = json!({"ids": [1]});
    let (status, headers, answer) = operator.send(Method::POST, "/keys/bulk_test", &[], Some(body)).await;
    assert_eq!((status, &answer["code"]), (429, &json!("too_many_jobs")));
    assert!(headers.contains_key("retry-after"));
    let (_, listed) = operator.call(Method::GET, "/jobs", None).await;
    let names: Vec<_> = listed["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect();
    let newest_first = paths.iter().rev().map(|path| json!(path.strip_prefix("/jobs/").unwrap()));
    assert_eq!(names, newest_first.collect::<Vec<_>>(), "{listed}");
    let newest = &listed["jobs"][0];
    assert_eq!(
        (&newest["state"], &newest["of"], &newest["results"]),
        (&json!("running"), &json!(2), &Value::Null)
    );
    assert_eq!([&newest["done"], &newest["passed"], &newest["failed"]], [&json!(0); 3]);
    for path in &paths {
        let (status, cancelled) = operator.call(Method::DELETE, path, None).await;
        assert_eq!((status, &cancelled["state"]), (200, &json!("cancelled")));
    }
    let body = json!({"ids": [1, 99]});
    assert_eq!(operator.call(Method::POST, "/keys/bulk_test", Some(body)).await.0, 404);
    assert_eq!(operator.call(Method::GET, "/jobs/none", None).await.0, 404);
    // One is under way when the server stops.
    let body = json!({"ids": [1, 2, 3]});
    assert_eq!(operator.call(Method::POST, "/keys/bulk_test", Some(body)).await.0, 202);
    let (_, said) = server.stop();
    assert!(!said.contains("panic"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_given_key_that_is_not_added_has_its_reason() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let (long, new) = ("A".repeat(513), "AIza-six-000006");
    let keys =
        json!([new, KEYS[0], new, "", "AIza with a space", "AIza-\u{e9}-000", "AIza-six!", long, "short"]);
    let (status, answer) =
        operator.call(Method::POST, "/keys/bulk_add", Some(json!({"keys": keys.clone()}))).await;
    assert_eq!(status, 200, "{answer}");
    let words =
        |result: &Value, name: &str| format!("{} {}", result[name], result["reason"]).replace('"', "");
    let results = answer["results"].as_array().unwrap();
    let told: Vec<String> = results.iter().map(|result| words(result, "result")).collect();
    let wanted = [
        "added null",
        "duplicate in_pool",
        "duplicate twice",
        "invalid empty",
        "invalid bad_characters",
        "invalid bad_characters",
        "invalid bad_characters",
        "invalid too_long",
        "invalid other",
    ];
    assert_eq!(told, wanted);
    // An import says the same of each that is not new.
    let (_, imported) =
        operator.call(Method::POST, "/keys/import", Some(json!({"keys": keys, "dry_run": true}))).await;
    let imported = imported["keys"].as_array().unwrap();
    let reasons = |all: &[Value]| all.iter().skip(3).map(|one| one["reason"].clone()).collect::<Vec<_>>();
    assert_eq!(reasons(imported), reasons(results));
}

/// What became of a key that moved: of each project the gates that it stood behind, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_key_goes_with_it_from_project_to_project() {
    let (google, server) = stage().await;
    let operator = server.operator().await;
    let models = [FLASH, "gemini-2.5-pro", "gemini-2.0-flash"];
    google.edit(|world| {
        for project in ["beta", "gamma"] {
            let project = world.projects.get_mut(project).unwrap();
            models.iter().for_each(|model| project.out_for_today(model, 250));
        }
    });
    let move_to = async |key: u32, project: &str| {
        let path = format!("/keys/{key}");
        let (status, answer) = operator.call(Method::PATCH, &path, Some(json!({"project": project}))).await;
        assert_eq!(status, 200, "{answer}");
    };
    let close = async |key: u32, model: &str| {
        let path = format!("/keys/{key}/test");
        let (status, answer) = operator.call(Method::POST, &path, Some(json!({"model": model}))).await;
        assert_eq!((status, &answer["passed"]), (200, &json!(false)), "{answer}");
    };
    move_to(2, "here").await;
    move_to(3, "there").await;
    move_to(1, "here").await;
    close(2, models[0]).await;
    close(3, models[0]).await;
    move_to(1, "there").await;
    operator.call(Method::PATCH, "/keys/1", Some(json!({"note": "it stays where it is"}))).await;
    close(2, models[1]).await;
    close(3, models[1]).await;
    move_to(1, "here").await;
    close(3, models[2]).await;
    close(2, models[2]).await;
    let history = async |limit: usize| {
        let (mut events, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&operator, &format!("/keys/1/history?limit={limit}{cursor}")).await;
            events.extend(page["events"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { return events };
            cursor = format!("&cursor={next}");
        }
    };
    let all = history(100).await;
    let told: Vec<String> = all
        .iter()
        .map(|event| match (&event["event"]["scope"]["model"], &event["event"]["project"]) {
            (Value::Object(scope), _) => format!("{} {}", scope["project"], scope["model"]).replace('"', ""),
            (_, Value::Null) => event["type"].as_str().unwrap().to_owned(),
            (_, project) => format!("to {project}"),
        })
        .collect();
    let wanted = [
        "here gemini-2.0-flash",
        r#"to {"to":"here"}"#,
        "there gemini-2.5-pro",
        "KeyUpdated",
        r#"to {"to":"there"}"#,
        "here gemini-2.5-flash",
        r#"to {"to":"here"}"#,
        "KeyAdded",
    ];
    assert_eq!(told, wanted, "{all:#?}");
    assert_eq!(history(1).await, all);
    assert_eq!(history(3).await, all);
    // Gone, it has been where it was.
    assert_eq!(operator.call(Method::DELETE, "/keys/1", None).await.0, 200);
    let gone = history(100).await;
    assert_eq!((&gone[0]["type"], &gone[1..]), (&json!("KeyRemoved"), &all[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grid_says_who_can_serve_what_and_what_lives_where() {
    let (google, server) = stage().await;
    let operator = server.operator().await;
    google.edit(|world| {
        world.projects.get_mut("beta").unwrap().out_for_today(FLASH, 250);
        world.keys.get_mut(KEYS[2]).unwrap().state = KeyState::Leaked;
    });
    assert_eq!(operator.call(Method::POST, "/keys/bulk_disable", Some(json!({"ids": [4]}))).await.0, 200);
    let only = json!({"ids": [5], "set": {"models": ["gemini-2.5-pro"]}});
    assert_eq!(operator.call(Method::POST, "/keys/bulk_update", Some(only)).await.0, 200);
    let test = json!({"model": FLASH});
    for key in [1, 2, 3] {
        let path = format!("/keys/{key}/test");
        assert_eq!(operator.call(Method::POST, &path, Some(test.clone())).await.0, 200);
    }
    let grid = get(&operator, "/models").await;
    let model = grid["models"].as_array().unwrap().iter().find(|model| model["model"] == FLASH).unwrap();
    assert_eq!((&model["ready"], &model["projects"]), (&json!(1), &json!(3)), "{model}");
    assert!(
        model["says"].as_str().unwrap().starts_with("1 of 3 projects can serve now; next back at 20"),
        "{model}"
    );
    let cell = |key: usize| {
        let row = &grid["keys"][key - 1];
        assert_eq!(row["key"], key);
        let cells = row["models"].as_array().unwrap();
        cells.iter().find(|cell| cell["model"] == FLASH).unwrap()
    };
    let states: Vec<&str> = (1..=5).map(|key| cell(key)["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["ready", "spent", "bad_credential", "disabled", "not_allowed"]);
    let spent = cell(2);
    assert_eq!((&spent["cause"], &spent["window"]), (&json!("quota_day"), &json!("day")));
    assert_eq!(
        (&spent["quotas"][0]["limit"], &spent["quotas"][0]["left"]),
        (&json!(250), &json!(0)),
        "{spent}"
    );
    let events = operator.events().await;
    let closed = events.iter().find(|event| event["seq"] == spent["seq"]).unwrap();
    assert_eq!(closed["type"], "GateClosed", "the event behind it");
    let page = get(&operator, &format!("/models?limit=2&model={FLASH}")).await;
    assert_eq!(page["keys"].as_array().unwrap().len(), 2);
    let next = page["next"].as_str().unwrap();
    let rest = get(&operator, &format!("/models?limit=9&model={FLASH}&cursor={next}")).await;
    assert_eq!((rest["keys"].as_array().unwrap().len(), &rest["next"]), (3, &Value::Null));
    assert_eq!((&rest["matching"], &rest["total"]), (&json!(5), &json!(5)));
    assert_eq!(get(&operator, "/models?key=3").await["keys"].as_array().unwrap().len(), 1);
    // The same keys as in the list of keys, page by page too.
    let mut found = Vec::new();
    for filter in ["q=KEY%202", "q=0003", "project=key-1", "project=key-1&q=0002", "project=nowhere", "q="] {
        let keys = get(&operator, &format!("/keys?{filter}")).await;
        let ids = keys["keys"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect::<Vec<_>>();
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&operator, &format!("/models?{filter}&limit=1{cursor}")).await;
            assert_eq!(page["matching"], keys["matching"], "{filter}");
            assert_eq!(page["models"], grid["models"], "over all keys: {filter}");
            rows.extend(page["keys"].as_array().unwrap().iter().map(|row| row["key"].clone()));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(rows, ids, "{filter}");
        found.push(rows.len());
    }
    assert_eq!(found, [1, 1, 1, 0, 0, 5]);
    assert_eq!(operator.call(Method::GET, "/models?key=9", None).await.0, 404);
    let said = server.setup.run(&["models", "--model", FLASH], "");
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("spent") && said.contains("quota_day until"), "{said}");

    let cache =
        json!({"model": format!("models/{FLASH}"), "contents": [{"role": "user", "parts": [{"text": "x"}]}]});
    for _ in 0..3 {
        let made = server.app().post("/v1beta/cachedContents", &cache).send().await.unwrap();
        assert_eq!(made.status(), 200);
        // Whoever has the name knows that it is written down.
        made.bytes().await.unwrap();
    }
    let all = get(&operator, "/resources").await;
    let all = all["resources"].as_array().unwrap();
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(
        all.iter().all(|one| one["kind"] == "cachedContents" && one["expires_at"].is_string()),
        "{all:?}"
    );
    let first = get(&operator, "/resources?limit=2&kind=cachedContents").await;
    let next = first["next"].as_str().unwrap();
    let rest = get(&operator, &format!("/resources?cursor={next}")).await;
    assert_eq!((&rest["resources"][0]["name"], &rest["next"]), (&all[2]["name"], &Value::Null));
    assert_eq!(get(&operator, "/resources?kind=files").await["resources"], json!([]));
    let said = server.setup.run(&["resources"], "");
    assert!(String::from_utf8(said.stdout).unwrap().contains("cachedContents/"));
}
