//! The pool at a glance, as operators see it: over the API, and from the command line.

use gemini_pool::{
    ledger::clock::millis_of,
    simulated::{Failure, Fault, Limits, SimulatedGoogle, World},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{CLIENT_KEY, Operator, Server, Setup, http};

const FLASH: &str = "gemini-2.5-flash";
const PRO: &str = "gemini-2.5-pro";

async fn get(operator: &Operator, path: &str) -> Value {
    let (status, answer) = operator.call(Method::GET, path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Three keys: one with a small daily quota, one without limits, one that Google does not know.
async fn pool() -> (SimulatedGoogle, Server) {
    let world = World::new()
        .project("alpha", |project| project.limit(FLASH, Limits::none().per_day(2)))
        .key("alpha", "AIza-alpha-1")
        .key("beta", "AIza-beta-01")
        .model(PRO, |model| model.faults.push(Fault::always(Failure::Overloaded)));
    let google = SimulatedGoogle::start(world).await.unwrap();
    let keys = ["AIza-alpha-1", "AIza-beta-01", "AIza-unknown"];
    let setup = Setup::new(&google, &keys).with("QUEUE_TIMEOUT", "0").with("STRATEGY", "round-robin");
    (google, setup.start())
}

fn sum(items: &Value, name: &str) -> u64 {
    items.as_array().unwrap().iter().map(|item| item[name].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn the_status_tells_who_can_serve_what_was_served_and_what_needs_attention() {
    let (_google, server) = pool().await;
    let operator = server.operator().await;
    let fresh = get(&operator, "/status").await;
    assert_eq!(
        fresh["keys"],
        json!({"total": 3, "ready": 3, "cooling": 0, "failed": 0, "disabled": 0, "projects": 3})
    );
    assert_eq!((&fresh["traffic"]["requests"]["total"], &fresh["models"]), (&json!(0), &json!([])));
    assert_eq!(fresh["traffic"]["first_byte"]["p50_ms"], Value::Null, "no data is not zero");
    assert_eq!((&fresh["server"]["bodies"], &fresh["server"]["stopping"]), (&json!("off"), &json!(false)));
    let all = operator.call(Method::PATCH, "/settings", Some(json!({"LOG_BODIES": "errors"}))).await;
    assert_eq!(all.0, 200, "{}", all.1);
    assert_eq!(get(&operator, "/status").await["server"]["bodies"], "errors");

    let app = server.app();
    for _ in 0..9 {
        assert_eq!(app.generate(FLASH, "hello").await.0, 200);
    }
    assert_eq!(app.generate("no-such-model", "hello").await.0, 404);
    assert_eq!(server.app_with(None).generate(FLASH, "hello").await.0, 401);
    operator.events_of("Answered", 11).await;
    let told = get(&operator, "/status?range=15m").await;

    let keys = &told["keys"];
    assert_eq!(
        (&keys["total"], &keys["ready"], &keys["failed"]),
        (&json!(3), &json!(2), &json!(1)),
        "{keys}"
    );
    // Two projects are left of three (the third key failed, and its project counts as one that may come back).
    let flash = told["models"].as_array().unwrap().iter().find(|model| model["model"] == FLASH).unwrap();
    assert_eq!((&flash["ready"], &flash["projects"]), (&json!(1), &json!(3)), "{flash}");
    assert!(
        flash["next_at"].as_str().unwrap().ends_with(":00:00.000Z"),
        "the day turns on the hour: {flash}"
    );
    assert_eq!(flash["in_trouble"], false);

    let attention = told["attention"].as_array().unwrap();
    assert_eq!(attention.len(), 1, "{attention:?}");
    let failed = &attention[0];
    let moment = |name: &str| millis_of(failed[name].as_str().unwrap()).unwrap();
    let checked_in = (moment("next_check_at") - moment("since")) / 1_000;
    // KEY_RECHECK_INTERVAL, and up to a tenth of it so that checks part.
    assert!((3_600..=3_960).contains(&checked_in), "{failed}");
    assert_eq!((&failed["key"], &failed["cause"]), (&json!(3), &json!("bad_key")));
    assert_eq!((&failed["state"], &failed["until"]), (&json!("failed"), &Value::Null));
    let events = operator.events().await;
    let behind = |seq: &Value| events.iter().find(|event| event["seq"] == *seq).unwrap()["type"].clone();
    assert_eq!(behind(&failed["seq"]), "GateClosed");
    let transitions = told["transitions"].as_array().unwrap();
    let kinds: Vec<_> =
        transitions.iter().map(|one| (one["kind"].as_str().unwrap(), one["why"].as_str().unwrap())).collect();
    assert!(kinds.contains(&("failed", "bad_key")) && kinds.contains(&("closed", "quota_day")), "{kinds:?}");
    assert!(transitions.iter().all(|one| behind(&one["seq"]) == "GateClosed"));
    assert!(
        transitions.windows(2).all(|two| two[0]["seq"].as_u64() > two[1]["seq"].as_u64()),
        "newest first"
    );

    let traffic = &told["traffic"];
    let requests = &traffic["requests"];
    assert_eq!(
        *requests,
        json!({"total": 11, "served": 9, "errors": 1, "truncated": 0, "cancelled": 0, "refused": 1})
    );
    assert!(traffic["requests_per_minute"].as_f64().unwrap() > 0.5, "{traffic}");
    assert_eq!(traffic["statuses"], json!([{"name": "2xx", "count": 9}, {"name": "4xx", "count": 2}]));
    let tries = operator.events().await.iter().filter(|event| event["type"] == "Attempted").count() as u64;
    assert_eq!((traffic["attempts"].as_u64(), sum(&traffic["verdicts"], "count")), (Some(tries), tries));
    assert_eq!(traffic["attempts_wasted"], json!(tries - 10), "nine served, one asked wrongly");
    assert!(traffic["tokens"]["total"].as_u64().unwrap() > 0);
    for times in [&traffic["first_byte"], &traffic["duration"]] {
        assert_eq!(times["count"], 9);
        assert!(times["p50_ms"].as_u64() <= times["p95_ms"].as_u64() && times["p99_ms"].is_u64(), "{times}");
    }
    // The plot adds up to the same.
    let series = &told["series"];
    assert_eq!((told["bucket_seconds"].as_u64(), series.as_array().unwrap().len()), (Some(60), 16));
    assert_eq!((sum(series, "requests"), sum(series, "errors"), sum(series, "attempts")), (11, 2, tries));

    // So do the names.
    for (by, named) in [("by_model", 10), ("by_client", 10)] {
        let all = sum(&told[by]["top"], "count") + told[by]["rest"]["count"].as_u64().unwrap();
        assert!((named..=11).contains(&all), "{by}: {}", told[by]);
    }
    assert_eq!(
        (&told["by_model"]["top"][0]["model"], &told["by_model"]["top"][0]["count"]),
        (&json!(FLASH), &json!(9))
    );
    assert_eq!(
        told["by_model"]["rest"]["count"], 2,
        "nobody made up a name; the one not let in named no model"
    );
    assert_eq!(sum(&told["by_key"]["top"], "count"), tries);
    let client = &told["by_client"]["top"][0];
    assert_eq!(
        (&client["count"], &client["errors"], &client["last_error"]["status"]),
        (&json!(10), &json!(1), &json!(404))
    );

    let doing = &told["server"]["now"];
    assert_eq!(
        (&doing["in_flight"], &doing["waiting"], &doing["retries_most"]),
        (&json!(0), &json!(0), &json!(20))
    );
    let log = &told["server"]["log"];
    assert_eq!((&log["failure"], &log["unrecorded"]), (&Value::Null, &json!(0)));
    assert!(log["head"].as_u64().unwrap() >= events.len() as u64);

    // Each range has its own buckets.
    for (range, width, most) in [("1h", 60, 61), ("24h", 900, 97), ("7d", 7_200, 85), ("30d", 7_200, 361)] {
        let told = get(&operator, &format!("/status?range={range}")).await;
        assert_eq!((&told["range"], &told["bucket_seconds"]), (&json!(range), &json!(width)));
        assert_eq!(told["series"].as_array().unwrap().len(), most, "{range}");
        assert_eq!(told["traffic"]["requests"]["total"], 11, "{range}");
    }
    let (status, problem) = operator.call(Method::GET, "/status?range=2h", None).await;
    assert_eq!((status, problem["code"].as_str().is_some()), (400, true), "{problem}");
}

#[tokio::test]
async fn a_keys_usage_has_its_sums_its_last_error_and_its_heartbeat() {
    let (_google, server) = pool().await;
    let app = server.app();
    for _ in 0..6 {
        assert_eq!(app.generate(FLASH, "hello").await.0, 200);
    }
    let operator = server.operator().await;
    operator.events_of("Answered", 6).await;
    let tries: Vec<_> =
        operator.events().await.into_iter().filter(|event| event["type"] == "Attempted").collect();
    let mut all = 0;
    for id in 1..=3 {
        let told = get(&operator, &format!("/keys/{id}/usage?range=1h")).await;
        let own: Vec<_> = tries.iter().filter(|event| event["event"]["key"] == id).collect();
        let bad: Vec<_> = own.iter().filter(|event| event["event"]["verdict"] != "success").collect();
        assert_eq!(
            (told["count"].as_u64(), told["errors"].as_u64()),
            (Some(own.len() as u64), Some(bad.len() as u64))
        );
        assert_eq!(told["total"]["count"], told["count"]);
        assert_eq!(
            told["last_error"]["verdict"],
            bad.last().map_or(Value::Null, |bad| bad["event"]["verdict"].clone())
        );
        let cells = told["heartbeat"]["cells"].as_array().unwrap();
        assert_eq!((cells.len(), &told["heartbeat"]["cell_seconds"]), (48, &json!(1_800)));
        assert_eq!(
            (sum(&told["heartbeat"]["cells"], "ok"), sum(&told["heartbeat"]["cells"], "failed")),
            ((own.len() - bad.len()) as u64, bad.len() as u64)
        );
        all += own.len();
    }
    assert_eq!(all, tries.len());
    // A list tells the same of all at once, where it is asked for it.
    let plain = get(&operator, "/keys").await;
    assert!(plain["keys"].as_array().unwrap().iter().all(|key| key["heartbeat"].is_null()), "{plain}");
    let beating = get(&operator, "/keys?heartbeat=true").await;
    for key in beating["keys"].as_array().unwrap() {
        let own = get(&operator, &format!("/keys/{}/usage", key["id"])).await;
        assert_eq!(key["heartbeat"], own["heartbeat"]);
    }
    let (status, problem) = operator.call(Method::GET, "/keys/99/usage", None).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
}

#[tokio::test]
async fn the_command_line_tells_the_same_of_a_running_and_a_stopped_pool() {
    let (_google, server) = pool().await;
    for _ in 0..6 {
        assert_eq!(server.app().generate(FLASH, "hello").await.0, 200);
    }
    server.operator().await.events_of("Answered", 6).await;
    let run = |setup: Setup, arguments: &'static [&'static str]| async move {
        let output = tokio::task::spawn_blocking(move || setup.run(arguments, "")).await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said, String::from_utf8(output.stderr).unwrap())
    };
    let (code, said, _) = run(server.setup.clone(), &["status"]).await;
    assert_eq!(code, Some(0));
    for part in [
        "Keys: 2 of 3 ready, 0 cooling, 1 failed",
        "0 in flight",
        "Last 1h: 6 requests",
        "key 3 (",
        ": bad_key",
    ] {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
    assert!(said.contains(&format!("{FLASH}: 1 of 3 projects can serve, next back at ")), "{said}");
    let (_, said, _) = run(server.setup.clone(), &["status", "--json", "--range", "24h"]).await;
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&told["range"], &told["traffic"]["requests"]["served"]), (&json!("24h"), &json!(6)));
    assert_eq!(
        run(server.setup.clone(), &["healthcheck"]).await,
        (Some(0), "ready\n".to_owned(), String::new())
    );

    let (setup, _) = server.stop();
    let (code, said, _) = run(setup.clone(), &["status"]).await;
    assert_eq!(code, Some(0));
    assert!(said.contains("not serving") && said.contains("Last 1h: 6 requests"), "{said}");
    let (code, _, error) = run(setup.clone(), &["healthcheck"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("no gemini-pool is running"), "{error}");
    let (code, _, _) = run(setup, &["status", "--range", "2h"]).await;
    assert_eq!(code, Some(2), "that is no range");
}

/// Nobody without a token.
#[tokio::test]
async fn the_status_is_for_operators() {
    let (_google, server) = pool().await;
    for path in ["status", "keys/1/usage"] {
        let address = format!("{}/api/{path}", server.origin);
        assert_eq!(http().get(&address).send().await.unwrap().status(), 401);
        assert_eq!(http().get(&address).bearer_auth(CLIENT_KEY).send().await.unwrap().status(), 401);
    }
}
