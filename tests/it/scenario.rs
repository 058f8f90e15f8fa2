//! Official SDKs against the real binary, with keys failing underneath.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use gemini_pool::simulated::{Failure, Fault, KeyState, Limits, Model, Outcome, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{CLIENT_KEY, Server, Setup};

/// A program that makes calls with an official SDK (protocol: tests/sdk/lines.py).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sdk {
    PythonLatest,
    Python219,
    JavaScript,
    OpenAi,
}

const ALL: [Sdk; 4] = [Sdk::PythonLatest, Sdk::Python219, Sdk::JavaScript, Sdk::OpenAi];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn told(variable: &str, otherwise: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "tests/run tells where it put the SDKs")]
    std::env::var_os(variable).map_or_else(|| root().join(otherwise), PathBuf::from)
}

impl Sdk {
    fn command(self) -> Command {
        let python = |variable, otherwise, script: &str| {
            let program = told(variable, otherwise);
            assert!(program.exists(), "{} is missing: run tests/run, which installs it", program.display());
            let mut command = Command::new(program);
            command.arg(root().join("tests/sdk").join(script));
            command
        };
        match self {
            Self::PythonLatest => {
                python("GEMINI_POOL_TEST_PY_LATEST", "target/venvs/latest/bin/python", "genai.py")
            }
            Self::Python219 => python("GEMINI_POOL_TEST_PY_219", "target/venvs/219/bin/python", "genai.py"),
            Self::OpenAi => {
                python("GEMINI_POOL_TEST_PY_OPENAI", "target/venvs/openai/bin/python", "openai_client.py")
            }
            Self::JavaScript => {
                let mut command = Command::new("node");
                command.arg(told("GEMINI_POOL_TEST_NODE_DIR", "target/sdk-node").join("genai.mjs"));
                command
            }
        }
    }

    /// Makes the calls; gives each call's answer by its id.
    pub(crate) fn make(self, origin: &str, calls: &[Value]) -> BTreeMap<u64, Value> {
        let mut child = self
            .command()
            .env("BASE_URL", origin)
            .env("API_KEY", CLIENT_KEY)
            .env("CONCURRENCY", "6")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for call in calls {
            writeln!(stdin, "{call}").unwrap();
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{self:?} ended with {}", output.status);
        let lines = String::from_utf8(output.stdout).unwrap();
        let answers = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        answers.map(|answer| (answer["id"].as_u64().unwrap(), answer)).collect()
    }
}

pub(crate) fn call(id: usize, op: &str, model: &str, prompt: &str) -> Value {
    json!({"id": id, "op": op, "model": model, "prompt": prompt})
}

/// Every SDK's calls of every kind, mixed; prompts tell which answer belongs to which call.
fn mixed(sdk: Sdk, count: usize) -> Vec<Value> {
    let ops: &[&str] = match sdk {
        Sdk::OpenAi => &["chat", "chat_stream", "chat", "embed", "chat_stream", "list_models"],
        _ => &["generate", "stream", "count", "embed", "stream", "generate", "list_models"],
    };
    (0..count)
        .map(|id| {
            let op = ops[id % ops.len()];
            let model = match op {
                "embed" => "gemini-embedding-001",
                _ if id % 3 == 0 => "gemini-2.5-pro",
                _ => "gemini-2.5-flash",
            };
            call(id, op, model, &format!("prompt {sdk:?} {id} 鑰匙"))
        })
        .collect()
}

fn check(sdk: Sdk, calls: &[Value], answers: &BTreeMap<u64, Value>) {
    assert_eq!(answers.len(), calls.len());
    for call in calls {
        let answer = &answers[&call["id"].as_u64().unwrap()];
        assert_eq!(answer["ok"], true, "{sdk:?}: {call} was answered {answer}");
        let op = call["op"].as_str().unwrap();
        let prompt = call["prompt"].as_str().unwrap();
        let text = answer["text"].as_str().unwrap_or_default();
        if matches!(op, "generate" | "stream" | "chat" | "chat_stream") {
            assert!(text.contains(prompt), "{sdk:?}: {call} got another's answer: {answer}");
        }
        if matches!(op, "stream" | "chat_stream") {
            assert!(answer["chunks"].as_u64().unwrap() > 1, "{sdk:?}: {call} came in one piece: {answer}");
        }
        if op == "list_models" {
            assert!(!answer["names"].as_array().unwrap().is_empty(), "{sdk:?}: {answer}");
        }
    }
}

/// Makes every SDK's calls at the same time.
async fn all_at_once(server: &Server, each: usize) -> usize {
    let mut running = Vec::new();
    for sdk in ALL {
        let (origin, calls) = (server.origin.clone(), mixed(sdk, each));
        running.push(tokio::task::spawn_blocking(move || {
            let answers = sdk.make(&origin, &calls);
            check(sdk, &calls, &answers);
        }));
    }
    for sdk in running {
        sdk.await.unwrap();
    }
    each * ALL.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_keys_of_which_three_are_good_serve_four_sdks_without_an_error() {
    let spent = |mut world: World, project: &str| {
        world = world.project(project, |project| {
            for model in ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001"] {
                project.out_for_today(model, 250);
            }
        });
        world.key(project, &format!("AIza-spent-{project}-{project}"))
    };
    let world = World::new()
        .key_in("bad-1", "AIza-bad-one-0001", KeyState::Bad)
        .key_in("bad-2", "AQ.bad-two-00-0002", KeyState::Expired)
        .key_in("leaked", "AIza-leaked-0003", KeyState::Leaked)
        .key_with("storm", "AIza-stormy-0004", Fault::always(Failure::Overloaded))
        .key("good-1", "AIza-good-one-0005")
        .key("good-2", "AQ.good-two-0-0006")
        .key("good-3", "AIza-good-three-0007");
    let world = ["day1", "day2", "day3"].into_iter().fold(world, spent);
    let google = SimulatedGoogle::start(world).await.unwrap();
    let keys: Vec<String> = google.edit(|world| world.keys.keys().cloned().collect());
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(keys.len(), 10);
    let server = Setup::new(&google, &keys).start();

    let requests = all_at_once(&server, 125).await;
    assert_eq!(requests, 500);

    let seen = google.seen();
    let tries = |key: &str| seen.iter().filter(|seen| seen.key == key).count();
    for bad in ["AIza-bad-one-0001", "AQ.bad-two-00-0002", "AIza-leaked-0003"] {
        assert!(tries(bad) <= 1, "{bad} was tried {} times", tries(bad));
    }
    assert!(seen.iter().all(|seen| seen.violations.is_empty()), "something reached Google that must not");

    // Every try that Google counted is in the log exactly once, and nothing else is.
    let operator = server.operator().await;
    let attempts = operator.events_of("Attempted", seen.len()).await;
    let answered = operator.events_of("Answered", requests).await;
    let incomplete: Vec<_> = answered.iter().filter(|event| event["outcome"] != "complete").collect();
    assert!(incomplete.is_empty(), "{incomplete:#?}");
    let of_key: BTreeMap<u64, &str> = operator
        .keys()
        .await
        .iter()
        .map(|key| {
            let tail = key["tail"].as_str().unwrap();
            (key["id"].as_u64().unwrap(), *keys.iter().find(|key| key.ends_with(tail)).unwrap())
        })
        .collect();
    let mut counted = BTreeMap::new();
    for seen in &seen {
        assert_ne!(seen.outcome, Outcome::Arrived);
        *counted.entry((seen.key.clone(), u64::from(seen.status.unwrap()))).or_insert(0) += 1;
    }
    let mut recorded = BTreeMap::new();
    for attempt in &attempts {
        let key = of_key[&attempt["key"].as_u64().unwrap()].to_owned();
        *recorded.entry((key, attempt["status"].as_u64().unwrap())).or_insert(0) += 1;
    }
    assert_eq!(recorded, counted);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sdk_can_do_everything() {
    let world = World::new()
        .key_in("bad", "AIza-bad", KeyState::Bad)
        .key_with("storm", "AIza-storm", Fault::sometimes(0.5, Failure::Overloaded))
        .project("small", |project| {
            project.limit("gemini-2.5-flash", Limits::none().per_minute(5));
        })
        .key("small", "AIza-small")
        .key("good", "AIza-good");
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-bad", "AIza-storm", "AIza-small", "AIza-good"]).start();
    all_at_once(&server, 14).await;
}

/// The upload goes through the pool, pieces without a credential included.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_uploaded_through_the_pool() {
    let world = World::new().key("alpha", "AIza-alpha").key("beta", "AIza-beta");
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-alpha", "AIza-beta"]).start();
    for sdk in [Sdk::PythonLatest, Sdk::Python219, Sdk::JavaScript] {
        let origin = server.origin.clone();
        let calls = [call(1, "upload", "", &format!("the content of a file by {sdk:?}"))];
        let answers = tokio::task::spawn_blocking(move || sdk.make(&origin, &calls)).await.unwrap();
        assert_eq!(answers[&1]["ok"], true, "{sdk:?}: {answers:?}");
        assert!(answers[&1]["text"].as_str().unwrap().starts_with("files/"), "{answers:?}");
    }
    let pieces: Vec<_> = google.seen().into_iter().filter(|seen| seen.path.contains("upload_id")).collect();
    assert!(pieces.len() >= 3, "the pieces did not come through the pool");
    assert!(pieces.iter().all(|seen| !seen.key.is_empty()));
}

/// Sessions over WebSockets, with a bad key and a refusal underneath.
#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_holds_live_sessions_through_the_pool() {
    let quota = "You exceeded your current quota, please check your plan and billing details.".to_owned();
    let world = World::new()
        .model("gemini-live", |model| *model = Model::live())
        .key_in("bad", "AIza-bad", KeyState::Expired)
        .key_with(
            "spent",
            "AIza-spent",
            Fault::always(Failure::CloseLive { after: 0, code: 1011, reason: quota }),
        )
        .key("good", "AIza-good");
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-bad", "AIza-spent", "AIza-good"]).start();
    let mut calls: Vec<_> =
        (0..20).map(|id| call(id, "live", "gemini-live", &format!("session {id} 鑰匙"))).collect();
    calls.push(call(20, "live", "no-such-model", "Hello"));
    let origin = server.origin.clone();
    let made = tokio::task::spawn_blocking(move || (Sdk::JavaScript.make(&origin, &calls), calls));
    let (answers, calls) = made.await.unwrap();
    for call in &calls[..20] {
        let answer = &answers[&call["id"].as_u64().unwrap()];
        assert_eq!(answer["ok"], true, "{call} was answered {answer}");
        assert!(answer["text"].as_str().unwrap().contains(call["prompt"].as_str().unwrap()), "{answer}");
        assert!(answer["tokens"].as_u64().unwrap() > 0, "{answer}");
    }
    let refused = answers[&20]["error"].as_str().unwrap();
    assert!(refused.contains("1008") && refused.contains("models/no-such-model is not found"), "{refused}");
    assert!(google.seen().iter().all(|seen| seen.violations.is_empty()), "{:?}", google.seen());
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 21).await;
    assert_eq!(answered.iter().filter(|answered| answered["outcome"] == "complete").count(), 20);
    operator.events_of("Attempted", google.seen().len()).await;
}
