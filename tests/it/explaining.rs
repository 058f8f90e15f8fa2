//! The past, asked: why a key was chosen or passed over, and how the pool was.

use std::collections::BTreeSet;

use gemini_pool::simulated::{Failure, Fault, KeyState, Limits, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{Operator, Server, Setup};

const FLASH: &str = "gemini-2.5-flash";

async fn get(operator: &Operator, path: &str) -> (u16, Value) {
    operator.call(reqwest::Method::GET, path, None).await
}

/// Keys of every fate, and some traffic through them.
async fn stage() -> (SimulatedGoogle, Server) {
    let world = World::new()
        .key_in("bad", "AIza-bad-0001", KeyState::Bad)
        .key_with("storm", "AIza-storm-0002", Fault::sometimes(0.3, Failure::Overloaded))
        .project("small", |project| project.limit(FLASH, Limits::none().per_minute(5)))
        .key("small", "AIza-small-0003")
        .project("spent", |project| project.out_for_today(FLASH, 250))
        .key("spent", "AIza-spent-0004")
        .key("good", "AIza-good-0005")
        .key("other", "AIza-other-0006")
        .key("late", "AIza-late-0007");
    let google = SimulatedGoogle::start(world).await.unwrap();
    let keys = [
        "AIza-bad-0001",
        "AIza-storm-0002",
        "AIza-small-0003",
        "AIza-spent-0004",
        "AIza-good-0005",
        "AIza-other-0006",
        "AIza-late-0007",
    ];
    let server = Setup::new(&google, &keys).start();
    let operator = server.operator().await;
    for (key, said) in [
        (6, json!({"models": ["gemini-2.5-pro"]})),
        (7, json!({"priority": 200})),
        (5, json!({"priority": 150})),
    ] {
        let path = format!("/keys/{key}");
        assert_eq!(operator.call(reqwest::Method::PATCH, &path, Some(said)).await.0, 200);
    }
    for number in 0..30 {
        let model = if number % 4 == 0 { "gemini-2.5-pro" } else { FLASH };
        assert_eq!(server.app().generate(model, "Hello").await.0, 200);
    }
    (google, server)
}

/// Every try of every request is explained by what was recorded with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_tells_is_what_was_recorded() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 30).await;
    let mut reasons = BTreeSet::new();
    let mut tries = 0;
    for event in &answered {
        let id = event["request"].as_str().unwrap();
        let (status, told) = get(&operator, &format!("/explain?request_id={id}&key=4")).await;
        assert_eq!(status, 200, "{told}");
        assert_eq!((&told["complete"], &told["request"]["status"]), (&json!(true), &json!(200)));
        let moments = told["moments"].as_array().unwrap();
        assert_eq!(json!(moments.len()), event["attempts"]);
        for moment in moments {
            tries += 1;
            assert_eq!(moment["try"]["agrees"], true, "{moment:#}");
            assert_eq!(moment["asked"]["key"], 4);
            let groups = moment["groups"].as_array().unwrap();
            let keys: u64 = groups.iter().map(|group| group["keys"].as_u64().unwrap()).sum();
            assert_eq!(keys, 7, "every key has one reason: {moment:#}");
            let of = |reason: &str| {
                let group = groups.iter().filter(|group| group["reason"] == reason);
                group.map(|group| group["examples"][0]["key"].clone()).collect::<Vec<_>>()
            };
            assert_eq!(of("chosen"), [moment["try"]["key"].clone()]);
            if moment["model"] == FLASH {
                assert_eq!(of("other_models"), [json!(6)]);
            }
            reasons.extend(groups.iter().map(|group| group["reason"].as_str().unwrap().to_owned()));
        }
    }
    assert!(tries > 30, "nothing failed over");
    for reason in ["chosen", "lower_tier", "model_gate", "key_gate", "other_models"] {
        assert!(reasons.contains(reason), "{reason} is not among {reasons:?}");
    }
    // The same in the terminal.
    let id = answered[29]["request"].as_str().unwrap();
    let text = String::from_utf8(server.setup.run(&["explain", id], "").stdout).unwrap();
    assert!(text.contains("try 1: key ") && text.contains("the key was closed since event"), "{text}");
    let (status, problem) = get(&operator, "/explain?request_id=0199d2a0-0000-7000-8000-000000000000").await;
    assert_eq!(status, 404, "{problem}");
    assert_eq!(get(&operator, "/explain").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_at_a_time_and_a_refusal_without_a_try() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let gate = operator
        .events()
        .await
        .into_iter()
        .find(|event| event["type"] == "GateClosed" && event["event"]["key"] == 4)
        .unwrap();
    // Before the try that closed the gate, and after.
    let seq = gate["seq"].as_u64().unwrap();
    let asked = async |query: String| {
        let (status, told) = get(&operator, &format!("/explain?key=4&{query}")).await;
        assert_eq!(status, 200, "{told}");
        told["moments"][0]["asked"].clone()
    };
    let before = asked(format!("at={}&model={FLASH}", seq - 2)).await;
    assert!(["ready", "lower_tier"].contains(&before["reason"].as_str().unwrap()), "{before}");
    let after = asked(format!("at={seq}&model={FLASH}")).await;
    assert_eq!(
        (&after["reason"], &after["seq"], &after["window"]),
        (&json!("model_gate"), &json!(seq), &json!("day"))
    );
    let by_time = asked(format!("at={}&model={FLASH}", gate["at"].as_str().unwrap())).await;
    assert_eq!(by_time["reason"], "model_gate");
    let other = asked(format!("at={seq}&model=gemini-2.5-pro")).await;
    assert_ne!(other["reason"], "model_gate");
    let run = server
        .setup
        .run(&["explain", "--key", "4", "--at", gate["at"].as_str().unwrap(), "--model", FLASH], "");
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.contains(&format!("key 4: its project was closed for {FLASH} since event {seq} (quota_day)")),
        "{text}"
    );
    assert_eq!(get(&operator, "/explain?key=99&at=now").await.0, 404);

    // Nobody is left, and nobody is asked.
    for key in 1..=7 {
        let off = Some(json!({"enabled": false}));
        assert_eq!(operator.call(reqwest::Method::PATCH, &format!("/keys/{key}"), off).await.0, 200);
    }
    assert_eq!(server.app().generate(FLASH, "Hello").await.0, 429);
    let refused = operator.events_of("Answered", 31).await.pop().unwrap();
    let id = refused["request"].as_str().unwrap();
    let (_, told) = get(&operator, &format!("/explain?request_id={id}&key=3")).await;
    let moment = &told["moments"][0];
    assert_eq!((&moment["try"], &moment["found"]["disabled"]), (&Value::Null, &json!(7)), "{told:#}");
    assert_eq!(moment["words"], "none of 7 keys was ready");
    assert_eq!(moment["asked"]["reason"], "disabled");
    let disabled = moment["asked"]["seq"].as_u64().unwrap();
    let (_, event) = get(&operator, &format!("/events/{disabled}")).await;
    assert_eq!((&event["type"], &event["event"]["key"]), (&json!("KeyDisabled"), &json!(3)));

    // Every key, page by page.
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/explain?request_id={id}&all=true&limit=3{cursor}");
        let (status, told) = get(&operator, &path).await;
        assert_eq!(status, 200, "{told}");
        keys.extend(told["keys"].as_array().unwrap().iter().map(|key| key["key"].as_u64().unwrap()));
        match told["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(keys.iter().copied().eq(1..=7), "{keys:?}");
}

/// The state of the past is what the present was.
#[tokio::test(flavor = "multi_thread")]
async fn the_pool_as_it_was() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    operator.events_of("Answered", 30).await;
    let (status, now) = get(&operator, "/state").await;
    assert_eq!(status, 200, "{now}");
    let (seq, at) = (now["seq"].as_u64().unwrap(), now["at"].as_str().unwrap().to_owned());
    for (key, said) in [(1, json!({"label": "renamed"})), (2, json!({"enabled": false}))] {
        operator.call(reqwest::Method::PATCH, &format!("/keys/{key}"), Some(said)).await;
    }
    let removed = operator.call(reqwest::Method::POST, "/keys/bulk_delete", Some(json!({"ids": [3]}))).await;
    assert_eq!(removed.0, 200, "{}", removed.1);
    let said = operator.call(reqwest::Method::PATCH, "/settings", Some(json!({"MAX_ATTEMPTS": 2}))).await;
    assert_eq!(said.0, 200, "{}", said.1);
    // Held against the time of then, it is what it was.
    let (_, then) = get(&operator, &format!("/state?at={at}")).await;
    assert_eq!(then, now);
    let (_, then) = get(&operator, &format!("/state?at={seq}")).await;
    assert_eq!((&then["seq"], &then["clients"]), (&now["seq"], &now["clients"]));
    assert_eq!(then["keys"].as_array().unwrap().len(), 7);
    let text = now.to_string();
    assert!(!text.contains("digest") && !text.contains("AIza"), "{text}");

    let (status, diff) = get(&operator, &format!("/state/diff?from={seq}&to=now")).await;
    assert_eq!(status, 200, "{diff}");
    let changes = diff["changes"].as_array().unwrap();
    let of = |kind: &str, name: &str| {
        let found = changes.iter().find(|change| change["kind"] == kind && change["name"] == name);
        found.unwrap_or_else(|| panic!("no change of {kind} {name}: {diff:#}"))
    };
    let label = &of("key", "1")["fields"][0];
    assert_eq!(
        (&label["field"], &label["from"], &label["to"]),
        (&json!("label"), &json!("key 1"), &json!("renamed"))
    );
    assert_eq!(of("key", "3")["change"], "removed");
    let value = json!([{"field": "value", "from": null, "to": "2"}]);
    assert_eq!(of("setting", "MAX_ATTEMPTS")["fields"], value);
    let (_, after) = get(&operator, "/state").await;
    assert_eq!((&now["settings"], &after["settings"][0]["value"]), (&json!([]), &json!("2")));
    assert_eq!(after["settings"][0]["seq"], said.1["revision"]);
    let fields = of("key", "2")["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["field"] == "state" && field["to"] == "disabled"), "{fields:?}");
    let (_, none) = get(&operator, &format!("/state/diff?from={seq}&to={seq}")).await;
    assert_eq!(none["changes"], json!([]));

    let run = |arguments: &[&str]| {
        let output = server.setup.run(arguments, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let seq = seq.to_string();
    let replayed: Value = serde_json::from_str(&run(&["replay", "--at", &seq, "--json"])).unwrap();
    assert_eq!(replayed["keys"], then["keys"]);
    let text = run(&["replay", "--at", &seq, "--diff", "now"]);
    assert!(
        text.contains("key 1: label: \"key 1\" → \"renamed\"") && text.contains("key 3: removed"),
        "{text}"
    );

    // On a stopped pool the same is told by the same code.
    let stopped = tokio::task::spawn_blocking(move || server.stop().0).await.unwrap();
    let output = stopped.run(&["replay", "--at", &seq, "--json"], "");
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(replayed["keys"], then["keys"]);
}

/// A request about a file goes to the file's project, and that is what is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_had_to_go_to_one_project() {
    let keys = ["AIza-alpha-0001", "AIza-alpha-0002", "AIza-beta-00003", "AIza-beta-00004"];
    let mut world = World::new();
    for (project, key) in ["alpha", "alpha", "beta", "beta"].iter().zip(keys) {
        world = world.key(project, key);
    }
    world.chunk_granularity = 4;
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &[]).start();
    let operator = server.operator().await;
    for (project, keys) in [("alpha", &keys[..2]), ("beta", &keys[2..])] {
        let body = Some(json!({"keys": keys, "project": project}));
        assert_eq!(operator.call(reqwest::Method::POST, "/keys/bulk_add", body).await.0, 200);
    }
    let app = server.app();
    // Every key has served, so that none is on trial.
    for _ in 0..12 {
        assert_eq!(app.generate(FLASH, "Hello").await.0, 200);
    }
    let begun = app
        .post("/upload/v1beta/files", &json!({"file": {"displayName": "a file"}}))
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start")
        .header("x-goog-upload-header-content-length", 7)
        .header("x-goog-upload-header-content-type", "text/plain");
    let address = begun.send().await.unwrap().headers()["x-goog-upload-url"].to_str().unwrap().to_owned();
    let piece = app.http.post(&address).header("x-goog-upload-command", "upload, finalize");
    let answer = piece.header("x-goog-upload-offset", 0).body("content").send().await.unwrap();
    let file = answer.json::<Value>().await.unwrap()["file"].clone();
    let about = json!({"fileData": {"fileUri": file["uri"], "mimeType": "text/plain"}});
    let body = json!({"contents": [{"role": "user", "parts": [about, {"text": "what is in it?"}]}]});
    let answer = app.post(&format!("/v1beta/models/{FLASH}:generateContent"), &body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    operator.events_of("Answered", 15).await;
    let (status, told) = get(&operator, &format!("/explain?request_id={id}")).await;
    assert_eq!(status, 200, "{told}");
    let moment = &told["moments"][0];
    let project = moment["try"]["project"].as_str().unwrap();
    assert_eq!(
        (&moment["bound_to"], &moment["try"]["agrees"]),
        (&json!(format!("project {project}")), &json!(true)),
        "{moment:#}"
    );
    let elsewhere = moment["groups"].as_array().unwrap().iter().find(|group| group["reason"] == "elsewhere");
    assert_eq!(elsewhere.unwrap()["keys"], 2, "{moment:#}");
    assert_eq!(moment["found"]["eligible"], 2);
}

/// An answer has the same size whether there are ten keys or thousands.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_keys_are_told_in_groups() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-00000")).await.unwrap();
    let server = Setup::new(&google, &[]).start();
    let operator = server.operator().await;
    let keys: Vec<String> = (0..3_000).map(|number| format!("AIza-{number:05}")).collect();
    let (status, answer) =
        operator.call(reqwest::Method::POST, "/keys/bulk_add", Some(json!({"keys": keys}))).await;
    assert_eq!(status, 200, "{answer}");
    let (_, page) = get(&operator, "/events?order=desc&limit=1").await;
    // The past, and not the present.
    let at = page["head"].as_u64().unwrap() - 1;
    let (status, told) = get(&operator, &format!("/explain?key=2000&at={at}&model=m")).await;
    assert_eq!(status, 200, "{told}");
    let groups = told["moments"][0]["groups"].as_array().unwrap();
    let counted: u64 = groups.iter().map(|group| group["keys"].as_u64().unwrap()).sum();
    assert!((2_990..=3_000).contains(&counted), "{told:#}");
    assert!(told.to_string().len() < 20_000, "{} bytes", told.to_string().len());
    let (status, state) = get(&operator, &format!("/state?at={at}")).await;
    assert_eq!((status, state["keys"].as_array().unwrap().len()), (200, 100));
    assert!(state["next"] == "key-100" && state["keys_in_all"] == counted, "{}", state["next"]);
}
