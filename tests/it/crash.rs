//! The plug is pulled, again and again, under load.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use gemini_pool::{
    journal::{Journal, codec, fjall::FjallJournal},
    simulated::{Failure, Fault, KeyState, Outcome, SimulatedGoogle, World},
};
use projections::{Event, Recorded, State, event::Verdict};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, Operator, Server, Setup};

const ROUNDS: usize = 20;
const WORKERS: usize = 8;
/// What the outside world knows to have happened.
#[derive(Default)]
struct Witness {
    /// Requests whose answer arrived whole: their id, and what they asked, which no other one did.
    answered: Vec<(String, String)>,
    /// Requests sent.
    asked: usize,
    /// Keys added and acknowledged: number and whether enabled.
    keys: BTreeMap<u64, bool>,
    /// Keys removed and acknowledged.
    removed: BTreeSet<u64>,
}

/// An app that asks and asks until the server is gone.
async fn load(app: App, round: usize, worker: usize, witness: Arc<Mutex<Witness>>) {
    for turn in 0.. {
        witness.lock().unwrap().asked += 1;
        let text = format!("round {round} worker {worker} turn {turn}.");
        let path = if turn % 2 == 0 { "generateContent" } else { "streamGenerateContent?alt=sse" };
        let request =
            app.post(&format!("/v1beta/models/gemini-2.5-flash:{path}"), &crate::support::ask(&text));
        let Ok(answer) = request.send().await else { return };
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let status = answer.status();
        let Ok(body) = answer.text().await else { return };
        // A streamed answer's text is spread over its events.
        let expected = if turn % 2 == 0 { text.as_str() } else { "\"finishReason\": \"STOP\"" };
        assert!(status == 200 && body.contains(expected), "{status}: {body}");
        witness.lock().unwrap().answered.push((id, text));
    }
}

/// An operator who adds, disables and removes keys until the server is gone.
async fn change(operator: Operator, round: usize, witness: Arc<Mutex<Witness>>) {
    for turn in 0.. {
        let body = json!({"keys": [format!("AIza-extra-{round}-{turn}-0123456789")]});
        let (status, answer) = operator.try_call(Method::POST, "/keys/bulk_add", Some(body)).await;
        if status != 200 {
            return;
        }
        let id = answer["results"][0]["id"].as_u64().unwrap();
        witness.lock().unwrap().keys.insert(id, true);
        // Nobody knows these keys at Google: out of the way before anything asks for one.
        let (status, _) =
            operator.try_call(Method::PATCH, &format!("/keys/{id}"), Some(json!({"enabled": false}))).await;
        if status != 200 {
            witness.lock().unwrap().keys.remove(&id);
            return;
        }
        witness.lock().unwrap().keys.insert(id, false);
        if turn % 3 == 0 {
            witness.lock().unwrap().keys.remove(&id);
            let (status, _) = operator.try_call(Method::DELETE, &format!("/keys/{id}"), None).await;
            if status != 200 {
                return;
            }
            witness.lock().unwrap().removed.insert(id);
        }
    }
}

/// The log as it lies on the disk, its chain checked.
fn surviving(setup: &Setup) -> Vec<Recorded> {
    let journal = FjallJournal::open(&setup.data().join("log")).unwrap();
    let mut previous = codec::ChainHash::START;
    let entries = journal.read(0, usize::MAX).unwrap();
    entries
        .iter()
        .zip(1..)
        .map(|(entry, seq)| {
            let (recorded, hash) = codec::decode(seq, &entry.frame, Some(&previous)).unwrap();
            previous = hash;
            recorded
        })
        .collect()
}

/// The server's keys are those of the state that the log folds to.
async fn agrees(server: &Server, state: &State) {
    let shown = server.operator().await.keys().await;
    let keys: Vec<_> = state.keys.iter().collect();
    assert_eq!(shown.len(), keys.len());
    for (shown, key) in shown.iter().zip(keys) {
        assert_eq!(shown["id"], json!(key.id.0));
        assert_eq!(shown["fingerprint"], json!(key.fingerprint.to_string()));
        assert_eq!(shown["state"] == "disabled", !key.enabled, "{shown}");
        let gates = shown["gates"].as_array().unwrap();
        let whole =
            gates.iter().find(|gate| gate["model"].is_null()).map(|gate| gate["seq"].as_u64().unwrap());
        match (&key.gate, whole) {
            (Some(gate), Some(seq)) => assert_eq!(seq, gate.seq, "{shown}"),
            (Some(gate), None) => assert!(gate.until.is_some(), "a gate without an end is gone: {shown}"),
            (None, whole) => assert_eq!(whole, None, "{shown}"),
        }
    }
}

/// How far the log is behind the outside world: requests and tries that were under way at a kill.
#[derive(Clone, Copy, Default)]
struct Lost {
    requests: usize,
    tries: usize,
}

/// Calls that Google counted, by what they asked.
fn calls(google: &SimulatedGoogle) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for seen in google.seen().into_iter().filter(|seen| seen.outcome != Outcome::Arrived) {
        let body: Value = serde_json::from_slice(&seen.body.unwrap_or_default()).unwrap_or_default();
        if let Some(text) = body["contents"][0]["parts"][0]["text"].as_str() {
            *calls.entry(text.to_owned()).or_default() += 1;
        }
    }
    calls
}

/// What the outside world knows, against what the log says; gives what is lost so far.
fn judge(
    round: usize,
    witness: &Witness,
    google: &SimulatedGoogle,
    log: &[Recorded],
    state: &State,
    recorded: &BTreeSet<String>,
    before: Lost,
) -> Lost {
    for (id, _) in &witness.answered {
        assert!(recorded.contains(id), "{id} was answered whole, and is not in the log");
    }
    for (id, enabled) in &witness.keys {
        let key = state.keys.iter().find(|key| u64::from(key.id.0) == *id);
        assert_eq!(key.map(|key| key.enabled), Some(*enabled), "key {id} is not as acknowledged");
    }
    for id in &witness.removed {
        assert!(state.keys.iter().all(|key| u64::from(key.id.0) != *id), "key {id} was removed");
    }

    let mut once = BTreeSet::new();
    let mut tries = BTreeMap::<String, usize>::new();
    for recorded in log {
        let Event::Attempted(event) = &recorded.event else { continue };
        assert!(once.insert((event.request, event.attempt)), "a try was recorded twice: {event:?}");
        if event.verdict != Verdict::ConnectFailed {
            *tries.entry(event.request.to_string()).or_default() += 1;
        }
    }
    // Of what was answered every call is in the log, and no other.
    let calls = calls(google);
    for (id, text) in &witness.answered {
        assert_eq!(tries.get(id), calls.get(text), "tries and calls of {id} ({text})");
    }

    // Of what was not, Google's count and the log differ by what was under way at the kill: of every worker one
    // request, and of every request one try.
    let (attempts, counted) = (tries.values().sum::<usize>(), calls.values().sum::<usize>());
    let lost = witness.asked - recorded.len();
    assert!(attempts <= counted, "{attempts} recorded, {counted} counted");
    assert!(lost <= before.requests + WORKERS, "{} requests lost by one kill", lost - before.requests);
    assert!(counted - attempts <= lost, "{counted} counted, {attempts} recorded, {lost} requests under way");
    let tries_lost = counted - attempts;
    assert!(tries_lost <= before.tries + WORKERS, "{} tries lost by one kill", tries_lost - before.tries);
    println!(
        "kill {}: {} events, {counted} tries counted, {attempts} recorded, {lost} requests under way at a kill",
        round + 1,
        log.len()
    );
    Lost { requests: lost, tries: tries_lost }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let world = World::new()
        .key_in("bad", "AIza-bad-0000000001", KeyState::Bad)
        .key_with("storm", "AIza-storm-00000002", Fault::sometimes(0.3, Failure::Overloaded))
        .key("good-1", "AIza-good-000000003")
        .key("good-2", "AIza-good-000000004")
        .key("good-3", "AIza-good-000000005");
    let google = SimulatedGoogle::start(world).await.unwrap();
    google.edit(|world| world.keep_bodies = 1 << 10);
    let keys: Vec<String> = google.edit(|world| world.keys.keys().cloned().collect());
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut setup = Setup::new(&google, &keys).with("MAX_ATTEMPTS", "5");
    let witness = Arc::new(Mutex::new(Witness::default()));
    let (mut settled_before, mut lost) = (BTreeSet::new(), Lost::default());
    for round in 0..ROUNDS {
        let server = setup.start();
        let operator = server.operator().await;
        let mut people: Vec<_> = (0..WORKERS)
            .map(|worker| tokio::spawn(load(server.app(), round, worker, Arc::clone(&witness))))
            .collect();
        people.push(tokio::spawn(change(operator, round, Arc::clone(&witness))));
        // A different moment every time, told by the traffic itself.
        let moment = google.seen_count() as usize + 20 + (round * 7919) % 400;
        google.wait_for(|seen| seen.len() >= moment).await;
        setup = server.kill();
        for person in people {
            person.await.unwrap();
        }

        let log = surviving(&setup);
        let state = State::replay(&log);
        let recorded: BTreeSet<String> = log
            .iter()
            .filter_map(|recorded| match &recorded.event {
                Event::Answered(event) => Some(event.request.to_string()),
                _ => None,
            })
            .collect();
        let count = log.iter().filter(|recorded| matches!(recorded.event, Event::Answered(_))).count();
        assert_eq!(count, recorded.len(), "a request was recorded twice");
        assert!(recorded.is_superset(&settled_before), "a record of an earlier life is gone");

        lost = judge(round, &witness.lock().unwrap(), &google, &log, &state, &recorded, lost);
        settled_before = recorded;

        let again = setup.start();
        agrees(&again, &state).await;
        setup = again.kill();
    }
}
