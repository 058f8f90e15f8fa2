//! The live feed and the log, over HTTP.

use std::{
    io::{BufRead, BufReader},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gemini_pool::simulated::{SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{Operator, PASSWORD, Server, Setup, http};

/// A reader of the feed: blocks as they come.
struct Listener {
    answer: reqwest::Response,
    read: Vec<u8>,
}

/// A block: its position, and its event where it has one.
type Block = (u64, Option<Value>);

async fn token(origin: &str) -> String {
    let body = json!({"username": "admin", "password": PASSWORD});
    let answer = http().post(format!("{origin}/api/login")).json(&body).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
}

impl Listener {
    async fn at(origin: &str, token: &str, query: &str, last: Option<u64>) -> Self {
        let mut request = http().get(format!("{origin}/api/events/stream{query}")).bearer_auth(token);
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{query}");
        Self { answer, read: Vec::new() }
    }

    /// The next block; none: the stream ended well.
    async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let rest = self.read.split_off(end + 2);
                let block = String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                let data = field("data: ").map(|data| serde_json::from_str::<Value>(data).unwrap());
                if let Some(data) = &data {
                    assert_eq!(field("event: "), data["type"].as_str());
                }
                return Some((field("id: ").unwrap().parse().unwrap(), data));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.answer.chunk()).await;
            match chunk.expect("nothing came for a minute").unwrap() {
                Some(chunk) => self.read.extend_from_slice(&chunk),
                None => return None,
            }
        }
    }

    /// Events, until one has this position.
    async fn events_to(&mut self, last: u64) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let (place, event) = self.block().await.expect("the stream ended");
            events.extend(event);
            if place >= last && !events.is_empty() {
                return events;
            }
        }
    }
}

async fn stage() -> (SimulatedGoogle, Server) {
    let world = World::new().key("alpha", "AIza-alpha-0001").key("beta", "AIza-beta-0002");
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-alpha-0001", "AIza-beta-0002"]).start();
    (google, server)
}

async fn head(operator: &Operator) -> u64 {
    operator.call(reqwest::Method::GET, "/events?limit=1", None).await.1["head"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_then_live_then_after_a_restart_and_the_same_as_in_the_list() {
    let (_google, server) = stage().await;
    let pass = token(&server.origin).await;
    let mut listener = Listener::at(&server.origin, &pass, "?after=0", None).await;
    for (name, wanted) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(listener.answer.headers()[name], wanted);
    }
    assert!(!listener.answer.headers().contains_key("content-encoding"));
    for _ in 0..5 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    }
    let operator = server.operator().await;
    let before = head(&operator).await;
    let mut events = listener.events_to(before).await;
    // The stop ends the stream in good order, and does not wait for it.
    let began = Instant::now();
    let (setup, _) = tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    while let Some((_, event)) = listener.block().await {
        events.extend(event);
    }
    let last = events.last().unwrap()["seq"].as_u64().unwrap();
    let server = setup.start();
    // The made secret is the same, and so the token is still good.
    let mut listener = Listener::at(&server.origin, &pass, "?after=1", Some(last)).await;
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let operator = server.operator().await;
    let after = head(&operator).await;
    events.extend(listener.events_to(after).await);
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
    assert!(numbers.len() as u64 >= after);
    let listed = operator.events().await;
    assert_eq!(events[..], listed[..events.len()]);
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"ServerStopped") && kinds.contains(&"Attempted"), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_feed_shows_what_is_wanted_and_where_it_is() {
    let (_google, server) = stage().await;
    let pass = token(&server.origin).await;
    let query = "?after=0&type=KeyAdded&type=Answered&class=control&key=2";
    let mut listener = Listener::at(&server.origin, &pass, query, None).await;
    assert_eq!(listener.block().await.unwrap(), (0, None));
    let (_, event) = listener.block().await.unwrap();
    let event = event.unwrap();
    assert_eq!((&event["type"], &event["event"]["key"]), (&json!("KeyAdded"), &json!(2)));
    let bad = |query: &'static str| {
        let (url, pass) = (format!("{}/api/events/stream{query}", server.origin), pass.clone());
        async move {
            let answer = http().get(url).bearer_auth(pass).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["code"].clone())
        }
    };
    assert_eq!(bad("?type=Nothing").await, (400, json!("bad_request")));
    assert_eq!(bad("?request_id=x").await, (400, json!("bad_request")));
    assert_eq!(bad("?after=1000000").await, (409, json!("position_ahead")));
    let answer = http().get(format!("{}/api/events/stream", server.origin)).send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_follows_the_feed() {
    let (_google, server) = stage().await;
    let log = server.setup.run(&["events", "show", "1"], "");
    let shown: Value = serde_json::from_slice(&log.stdout).unwrap();
    assert_eq!(shown["seq"], 1);
    let data = server.setup.data();
    let mut tail = std::process::Command::new(crate::support::program())
        .args(["--data-dir", data.to_str().unwrap()])
        .args(["events", "tail", "--json", "--after", "0", "--type", "KeyAdded"])
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    for key in 1..=2 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&event["type"], &event["event"]["key"]), (&json!("KeyAdded"), &json!(key)));
    }
    // Whoever read goes away, and so does the command, with the next event.
    drop(lines);
    let operator = server.operator().await;
    let body = json!({"keys": ["AIza-gamma-0003"]});
    assert_eq!(operator.call(reqwest::Method::POST, "/keys/bulk_add", Some(body)).await.0, 200);
    let ended = tokio::task::spawn_blocking(move || tail.wait().unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}

/// A server that was killed leaves its address behind, and that is no sign of one.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_that_nobody_is_there_to_be_followed() {
    let (_google, server) = stage().await;
    let setup = server.kill();
    assert!(setup.data().join("server.address").exists(), "nothing is left behind, and this tests nothing");
    for after in [&[][..], &["--after", "0"]] {
        let began = Instant::now();
        let output = setup.run(&[&["events", "tail"], after].concat(), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("no gemini-pool is running on") && said.contains("start it"), "{said}");
        assert!(!said.contains("a running gemini-pool has"), "{said}");
        assert!(began.elapsed() < Duration::from_secs(20), "it waited for one that will not come");
    }
}

/// What a plot over the whole log is drawn from: each bar leads to its first event.
#[tokio::test(flavor = "multi_thread")]
async fn the_density_of_events_adds_up_and_leads_into_the_log() {
    let (_google, server) = stage().await;
    for _ in 0..5 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    }
    let operator = server.operator().await;
    operator.events_of("Answered", 5).await;
    let get = async |path: &str| operator.call(reqwest::Method::GET, path, None).await;
    let (status, density) = get("/events/density?buckets=50").await;
    assert_eq!((status, &density["after"]), (200, &json!(0)), "{density}");
    let buckets = density["buckets"].as_array().unwrap();
    assert!((1..=50).contains(&buckets.len()), "{density}");
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    assert_eq!(number(&density["events"]), number(&density["head"]));
    let mut expected = 1;
    for bucket in buckets.iter().filter(|bucket| number(&bucket["events"]) > 0) {
        assert_eq!(number(&bucket["first"]), expected, "{density}");
        expected += number(&bucket["events"]);
        let by_class = &bucket["by_class"];
        let sum: u64 = ["control", "health", "traffic"].iter().map(|class| number(&by_class[class])).sum();
        assert_eq!(sum, number(&bucket["events"]), "{bucket}");
        let (_, event) = get(&format!("/events/{}", bucket["first"])).await;
        assert!(event["at"].as_str() >= bucket["at"].as_str(), "{bucket} {event}");
    }
    assert_eq!(expected, number(&density["head"]) + 1);
    let traffic: u64 = buckets.iter().map(|bucket| number(&bucket["by_class"]["traffic"])).sum();
    let told = operator.events().await;
    assert_eq!(traffic, told.iter().filter(|event| event["class"] == "traffic").count() as u64);

    let (_, before) =
        get("/events/density?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z&buckets=24").await;
    assert_eq!((before["buckets"].as_array().unwrap().len(), &before["bucket_ms"]), (24, &json!(3_600_000)));
    assert_eq!((&before["events"], &before["buckets"][3]["first"]), (&json!(0), &Value::Null));
    for (wrong, code) in [
        ("buckets=0", "bad_parameter"),
        ("buckets=501", "bad_parameter"),
        ("from=yesterday", "bad_request"),
        ("from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z", "bad_parameter"),
    ] {
        let (status, problem) = get(&format!("/events/density?{wrong}")).await;
        assert_eq!((status, &problem["code"]), (400, &json!(code)), "{wrong}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_both_ways_by_place_and_time() {
    let (_google, server) = stage().await;
    for _ in 0..3 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    }
    let operator = server.operator().await;
    operator.events_of("Answered", 3).await;
    let all = operator.events().await;
    let get = async |path: &str| operator.call(reqwest::Method::GET, path, None).await;
    let pages = async |query: &str| {
        let (mut events, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = get(&format!("/events?limit=2{query}{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            events.extend(page["events"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return events,
            }
        }
    };
    assert_eq!(pages("").await, all);
    let mut backwards = pages("&order=desc").await;
    backwards.reverse();
    assert_eq!(backwards, all);
    let part = pages("&after=1&before=4&order=desc").await;
    assert_eq!(part.iter().map(|event| event["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 2]);
    let (first, last) = (all[0]["at"].as_str().unwrap(), all.last().unwrap()["at"].as_str().unwrap());
    let expected: Vec<_> = all.iter().filter(|event| event["at"].as_str().unwrap() < last).cloned().collect();
    assert_eq!(pages(&format!("&from={first}&to={last}")).await, expected);
    assert!(pages(&format!("&to={first}")).await.is_empty());
    let attempts = pages("&type=Attempted&type=Answered&class=traffic").await;
    assert_eq!(attempts.len(), 6);
    let request = attempts[0]["event"]["request"].as_str().unwrap();
    assert_eq!(pages(&format!("&request_id={request}")).await.len(), 2);
    assert_eq!(get("/events/1").await, (200, all[0].clone()));
    assert_eq!(get("/events/100000").await.0, 404);
    for (path, code) in [
        ("/events?cursor=before-3", "bad_cursor"),
        ("/events?cursor=x", "bad_cursor"),
        ("/events?from=yesterday", "bad_request"),
        ("/keys/1/history?cursor=after-3", "bad_cursor"),
    ] {
        let (status, problem) = get(path).await;
        assert_eq!((status, &problem["code"]), (400, &json!(code)), "{path}: {problem}");
    }
    // A key's own history: what was done with it, newest first, and nothing of the other.
    operator.call(reqwest::Method::PATCH, "/keys/2", Some(json!({"enabled": false}))).await;
    let (status, history) = get("/keys/2/history").await;
    let kinds: Vec<_> =
        history["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!((status, kinds.first(), kinds.last()), (200, Some(&"KeyDisabled"), Some(&"KeyAdded")));
    assert!(
        history["events"].as_array().unwrap().iter().all(|event| event["event"]["key"] == 2),
        "{history}"
    );
    assert_eq!(get("/keys/3/history").await.0, 404);
}

/// How late events come to many readers. `tests/run --long` measures with 100 readers and 2,000 events a second.
#[tokio::test(flavor = "multi_thread")]
async fn many_readers_hear_of_events_at_once() {
    #[expect(clippy::disallowed_methods, reason = "how long to test is asked by tests/run --long")]
    let long = std::env::var("GEMINI_POOL_TEST_LONG").is_ok();
    let (readers, seconds, a_second) = if long { (100, 30, 2_000) } else { (20, 2, 400) };
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    // Events in bursts of 40, as many a second as wanted: what an operator says of 40 keys.
    let keys: Vec<String> = (0..40).map(|number| format!("AIza-many-{number:04}")).collect();
    let added = operator.call(reqwest::Method::POST, "/keys/bulk_add", Some(json!({"keys": keys}))).await;
    assert_eq!(added.0, 200, "{}", added.1);
    let ids: Vec<u64> =
        added.1["results"].as_array().unwrap().iter().map(|key| key["id"].as_u64().unwrap()).collect();
    let bursts = seconds * a_second / 40;
    let last = head(&operator).await + bursts * 40;
    let pass = token(&server.origin).await;
    let mut running = Vec::new();
    for _ in 0..readers {
        let mut listener = Listener::at(&server.origin, &pass, "", None).await;
        running.push(tokio::spawn(async move {
            let mut late = Vec::new();
            let (mut place, _) = listener.block().await.unwrap();
            let start = place;
            let mut tail = Vec::new();
            while place < last {
                let chunk = listener.answer.chunk().await.unwrap().expect("the stream ended");
                let now = SystemTime::now_ms();
                tail.extend_from_slice(&chunk);
                let text = String::from_utf8_lossy(&tail);
                let end = text.rfind("\n\n").map_or(0, |end| end + 2);
                for line in text[..end].lines() {
                    if let Some(id) = line.strip_prefix("id: ") {
                        let id: u64 = id.parse().unwrap();
                        assert!(id == place + 1 || id == place, "{id} after {place}");
                        place = id;
                    } else if let Some((_, at)) = line.split_once("\"at\":\"") {
                        late.push(now - millis(&at[..24]));
                    }
                }
                tail.drain(..end);
            }
            (start, late)
        }));
    }
    let began = Instant::now();
    for burst in 0..bursts {
        let body = json!({"ids": ids, "set": {"note": format!("burst {burst}")}});
        let (status, answer) = operator.call(reqwest::Method::POST, "/keys/bulk_update", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        // The pace of the test itself, and not something that it waits for.
        let due = began + Duration::from_millis(burst * 40_000 / a_second);
        tokio::time::sleep_until(due.into()).await;
    }
    let rate = (bursts * 40) as f64 / began.elapsed().as_secs_f64();
    let mut late = Vec::new();
    for reader in running {
        let (_, mut own) = reader.await.unwrap();
        assert!(own.len() as u64 >= bursts * 40);
        late.append(&mut own);
    }
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    eprintln!(
        "{readers} readers, {rate:.0} events a second: late by {} ms in the middle, {} ms for 99 of 100, {} ms at most",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    // A machine that builds beside is slow; the target itself is held where the time is taken to measure it.
    assert!(at(0.99) <= if long { 100 } else { 1_000 }, "{} ms", at(0.99));
}

trait Millis {
    fn now_ms() -> i64;
}

impl Millis for SystemTime {
    fn now_ms() -> i64 {
        #[expect(clippy::disallowed_methods, reason = "held against what the log says")]
        let now = Self::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(now.as_millis()).unwrap()
    }
}

fn millis(text: &str) -> i64 {
    gemini_pool::ledger::clock::millis_of(text).unwrap()
}
