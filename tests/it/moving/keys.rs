//! Keys from other programs, keys out of this one, and the log as lines.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use gemini_pool::simulated::{SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{Setup, files, of_type};

const KEYS: [&str; 4] = ["AIza-moving-0001", "AIza-moving-0002", "AIza-moving-0003", "AIza-moving-0004"];
const TOKENS: [&str; 2] = ["sk-token-of-an-app-0001", "sk-token-of-an-app-0002"];

async fn google() -> SimulatedGoogle {
    let mut world = World::new();
    for (project, key) in ["alpha", "beta", "gamma", "delta"].iter().zip(KEYS) {
        world = world.key(project, key);
    }
    SimulatedGoogle::start(world).await.unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn well(output: Output) -> String {
    assert!(output.status.success(), "{}", told(&output));
    told(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_and_tokens_of_gemini_balance_serve_here() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS[..1]).start();
    let balance = format!(
        "MYSQL_PASSWORD=not ours\nAPI_KEYS={}\nALLOWED_TOKENS={}\nAUTH_TOKEN=sk-admin-0001\n",
        json!([KEYS[0], KEYS[1], KEYS[2], KEYS[1], "no key at all"]),
        json!(TOKENS),
    );
    let path = server.setup.folder.path().join("balance.env");
    fs::write(&path, balance).unwrap();
    let path = path.to_str().unwrap();
    let report = "From gemini-balance:\n  upstream keys: 2 new, 2 there already, 1 invalid (number 5)\n  \
                  access keys of apps: 2 new, 0 there already, 0 invalid\n";
    let before = server.operator().await.events().await.len();
    let dry = well(server.setup.run(&["keys", "import", path, "--dry-run"], ""));
    assert_eq!(dry, format!("{report}Nothing was changed (--dry-run).\n"));
    // (The operator logged in once more.)
    assert_eq!(server.operator().await.events().await.len(), before + 1);
    let done = well(server.setup.run(&["keys", "import", "--from", "gemini-balance", path], ""));
    assert_eq!(done, report);
    for token in TOKENS {
        assert_eq!(server.app_with(Some(token)).generate("gemini-2.5-flash", "Hello").await.0, 200);
    }
    assert_eq!(server.app_with(Some("sk-admin-0001")).generate("gemini-2.5-flash", "Hello").await.0, 401);
    let again = well(server.setup.run(&["keys", "import", path], ""));
    assert!(again.contains("0 new, 4 there already") && again.contains("0 new, 2 there already"), "{again}");
    let (setup, output) = server.stop();
    for secret in KEYS.iter().chain(&TOKENS) {
        assert!(!output.contains(secret));
    }
    let log = setup.log();
    assert_eq!((of_type(&log, "KeyAdded").len(), of_type(&log, "ClientAdded").len()), (3, 3));
    // One batch: nothing is between them.
    let seqs: Vec<u64> = log
        .iter()
        .filter(|event| event["event"]["actor"] == "cli" && event["type"] != "AdminLoggedIn")
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs.last().unwrap() - seqs[0], seqs.len() as u64 - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_files_hold_is_taken_too() {
    let google = google().await;
    let setup = Setup::new(&google, &[]);
    let lines = format!("{}\n\n{}\n", KEYS[0], KEYS[1]);
    let done = well(setup.run(&["keys", "import", "-"], &lines));
    assert!(done.starts_with("From gpt-load:\n  upstream keys: 2 new"), "{done}");
    let env = format!("GEMINI_API_KEYS='[\"{}\"]'\nALLOWED_API_KEYS={}\nPORT=9000\n", KEYS[2], TOKENS[0]);
    let done = well(setup.run(&["keys", "import", "-"], &env));
    assert!(done.starts_with("From env:\n  upstream keys: 1 new"), "{done}");
    for (input, wants) in [
        ("", "there is no key in it"),
        ("API_KEYS=[\"s3cret\", 5]", "API_KEYS is no list of texts"),
        ("[{\"note\": \"s3cret\"}]", "entry 1"),
    ] {
        let output = setup.run(&["keys", "import", "-"], input);
        let text = told(&output);
        assert!(!output.status.success() && text.contains(wants) && !text.contains("s3cret"), "{text}");
    }
    let report = well(setup.run(&["keys", "import", "-", "--dry-run", "--json"], KEYS[3]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let new = json!({"result": "new", "id": null, "reason": null});
    assert_eq!(report, json!({"keys": [new], "clients": [], "dry_run": true}));
}

/// Whoever only asks what would become of a file has no pool afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_where_there_is_no_pool_makes_none() {
    let google = google().await;
    let setup = Setup::new(&google, &[]);
    let lines = format!("{}\n{}\n{0}\nno key at all\n", KEYS[0], KEYS[1]);
    let before = files(setup.folder.path());
    let dry = well(setup.run(&["keys", "import", "-", "--dry-run"], &lines));
    let report = "From gpt-load:\n  upstream keys: 2 new, 1 there already, 1 invalid (number 4)\n";
    assert_eq!(dry, format!("{report}Nothing was changed (--dry-run).\n"));
    assert_eq!((files(setup.folder.path()), setup.data().exists()), (before, false));
    assert_eq!(well(setup.run(&["keys", "import", "-"], &lines)), report);
    let again = well(setup.run(&["keys", "import", "-", "--dry-run"], &lines));
    assert!(
        again.contains("0 new, 3 there already, 1 invalid"),
        "it looks at the pool that is there: {again}"
    );
}

/// What somebody pasted is told line by line before anything is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_of_each_why_it_is_not_new() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS[..1]).start();
    let operator = server.operator().await;
    let pasted = [KEYS[1], KEYS[0], KEYS[1], "", "AIza with a space", "AIza-\u{e9}", &"A".repeat(513)];
    let ask = async |dry_run: bool| {
        let body = json!({"keys": pasted, "clients": [TOKENS[0], crate::support::CLIENT_KEY, ""], "dry_run": dry_run});
        let (status, report) = operator.call(reqwest::Method::POST, "/keys/import", Some(body)).await;
        assert_eq!(status, 200, "{report}");
        let told = |list: &str| -> Vec<String> {
            let views = report[list].as_array().unwrap().iter();
            let words = |view: &Value| {
                format!("{} {} {}", view["result"], view["id"], view["reason"]).replace('"', "")
            };
            views.map(words).collect()
        };
        (told("keys"), told("clients"))
    };
    let before = operator.events().await.len();
    let (keys, clients) = ask(true).await;
    let invalid = [
        "invalid null empty",
        "invalid null bad_characters",
        "invalid null bad_characters",
        "invalid null too_long",
    ];
    assert_eq!(keys[..3], ["new null null", "duplicate 1 in_pool", "duplicate null twice"]);
    assert_eq!(keys[3..], invalid);
    assert_eq!(clients, ["new null null", "duplicate 1 in_pool", "invalid null empty"]);
    assert_eq!(operator.events().await.len(), before);
    let (keys, clients) = ask(false).await;
    assert_eq!(keys[..3], ["new 2 null", "duplicate 1 in_pool", "duplicate 2 twice"]);
    assert_eq!(keys[3..], invalid);
    assert_eq!(clients[0], "new 2 null");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_as_it_was() {
    let google = google().await;
    let setup = Setup::new(&google, &[]);
    let keys = json!([
        {"key": KEYS[0], "label": "鑰匙", "note": "two\nlines", "tags": ["paid"], "project": "mine", "weight": 7,
            "priority": 3, "models": ["gemini-2.5-*"], "proxy": "socks5://ann:s3cret@127.0.0.1:1080"},
        {"key": KEYS[1], "enabled": false},
        KEYS[2],
    ]);
    well(setup.run(&["keys", "add"], &keys.to_string()));
    let server = setup.start();
    let path = server.setup.folder.path().join("keys.json");
    let path = path.to_str().unwrap();
    let refused = server.setup.run(&["keys", "export", path], "");
    assert!(!refused.status.success() && told(&refused).contains("say --yes"), "{}", told(&refused));
    assert!(server.operator().await.events_of("KeysExported", 0).await.is_empty());
    let said = well(server.setup.run(&["keys", "export", "--yes", path], ""));
    assert!(said.contains("3 keys, unsealed") && !said.contains(KEYS[0]), "{said}");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let event = server.operator().await.events_of("KeysExported", 1).await.remove(0);
    assert_eq!(event, json!({"type": "KeysExported", "keys": [1, 2, 3], "actor": "cli", "address": ""}));
    let before = server.operator().await.keys().await;
    let (first, log) = server.stop();
    assert!(!log.contains("s3cret") && !log.contains(KEYS[0]));

    let other = Setup::new(&google, &[]);
    let done = well(other.run(&["keys", "import", path], ""));
    assert!(done.starts_with("From gemini-pool:\n  upstream keys: 3 new"), "{done}");
    // Everything, the proxy's credentials too; only who it is by digest, and when it came, is another's.
    let again = well(other.run(&["keys", "export", "--yes", "-"], ""));
    assert_eq!(again, fs::read_to_string(path).unwrap());
    let list: Value = serde_json::from_str(&well(other.run(&["keys", "list", "--json"], ""))).unwrap();
    let plain = |keys: &[Value]| -> Vec<Value> {
        let mut keys = keys.to_vec();
        for key in &mut keys {
            let key = key.as_object_mut().unwrap();
            for name in ["fingerprint", "added_at", "gates", "state", "revision"] {
                key.remove(name);
            }
        }
        keys
    };
    assert_eq!(plain(list["keys"].as_array().unwrap()), plain(&before));
    drop(first);
}

#[test]
fn what_cannot_be_a_key_is_none() {
    let setup = Setup::alone();
    let page = "<html><body>no keys</body></html>";
    for text in ["not a key!", page, "short-1", "https://example.org/keys", "API_KEYS=[\"AIza-first-0001\"]"]
    {
        let output = setup.run(&["keys", "add"], text);
        assert_eq!(output.status.code(), Some(1), "{text}: {}", told(&output));
        assert!(told(&output).starts_with("0 added"), "{text}: {}", told(&output));
    }
    let balance = setup.folder.path().join("balance.env");
    fs::write(&balance, "API_KEYS=[\"AIza-first-0001\"]\n").unwrap();
    let report = well(setup.run(&["keys", "import", "--from", "gpt-load", balance.to_str().unwrap()], ""));
    assert!(report.contains("0 new, 0 there already, 1 invalid"), "{report}");
    let answer = json!({"keys": [{"key": "AQ.Ab8RN6-an_opaque.key", "weight": 3}]}).to_string();
    assert!(well(setup.run(&["keys", "add"], &answer)).starts_with("1 added"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_to_an_administrator_says_where_it_went() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS[..2]).with("TRUSTED_PROXIES", "127.0.0.1").start();
    let operator = server.operator().await;
    let (status, answer) =
        operator.call(reqwest::Method::POST, "/keys/export", Some(json!({"ids": [2]}))).await;
    assert_eq!((status, &answer["keys"][0]["key"]), (200, &json!(KEYS[1])));
    let event = operator.events_of("KeysExported", 1).await.remove(0);
    assert_eq!((&event["keys"], &event["address"]), (&json!([2]), &json!("127.0.0.1")));
    assert_eq!(event["actor"], json!({"admin": "admin"}));
    // Through a proxy that is trusted: it is the asker's address that counts.
    let through = |verb: reqwest::Method, path: &str| {
        let request = crate::support::http().request(verb, format!("{}/api{path}", server.origin));
        request.bearer_auth(operator.token()).header("x-forwarded-for", "203.0.113.7")
    };
    let asked =
        through(reqwest::Method::POST, "/keys/export").json(&json!({"ids": [1]})).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    assert_eq!(through(reqwest::Method::GET, "/keys/1").send().await.unwrap().status(), 200);
    assert_eq!(operator.events_of("KeysExported", 2).await[1]["address"], "203.0.113.7");
    assert_eq!(operator.events_of("KeyRevealed", 1).await[0]["address"], "203.0.113.7");
    let (status, _) = operator.call(reqwest::Method::POST, "/keys/export", Some(json!({"ids": [99]}))).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_exported_line_by_line() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS).start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let path = server.setup.folder.path().join("events.jsonl");
    let said = well(server.setup.run(&["events", "export", path.to_str().unwrap()], ""));
    let (setup, _) = server.stop();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(said.contains(&format!("{} events", lines.len())), "{said}");
    let log = setup.log();
    assert_eq!(lines, log[..lines.len()]);
    assert!(lines.len() >= 6);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let rest = well(setup.run(&["events", "export", "-", "--after", &lines.len().to_string()], ""));
    assert_eq!(rest.lines().count(), log.len() - lines.len());
}

/// As the Python original, and others, write lists.
#[test]
fn a_json_array_in_a_dot_env_needs_no_quotes() {
    for value in
        [r#"["AIza-1","AIza-2"]"#, r#"["AIza-1", "AIza-2"]"#, r#"'["AIza-1", "AIza-2"]'"#, "AIza-1,AIza-2"]
    {
        let setup = Setup::alone();
        fs::write(setup.folder.path().join(".env"), format!("# keys\nGEMINI_API_KEYS={value}\nDEBUG=true\n"))
            .unwrap();
        let shown = well(setup.run(&["config"], ""));
        let line = shown.lines().find(|line| line.starts_with("GEMINI_API_KEYS")).unwrap();
        assert!(line.ends_with("(2 set)"), "{value}: {line}");
        assert!(shown.lines().any(|line| line.starts_with("DEBUG") && line.ends_with("true")), "{shown}");
    }
}

#[test]
fn shells_are_helped_whatever_the_settings_are() {
    let setup = Setup::alone().with("PORT", "no port");
    for shell in ["bash", "zsh", "fish"] {
        let script = well(setup.run(&["completions", shell], ""));
        assert!(script.contains("rotate-master-key") && script.contains("import"), "{shell}");
    }
    assert_eq!(setup.run(&["completions", "cmd"], "").status.code(), Some(2));
}
