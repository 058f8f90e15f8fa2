//! The metrics as a scraper sees them: who may read, whether they are well written, whether they are true, and whether
//! the dashboard and the alerts beside the code ask for what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use gemini_pool::simulated::{Failure, Fault, SimulatedGoogle, World};
use serde_json::Value;

use crate::support::{Server, Setup, http};

const FLASH: &str = "gemini-2.5-flash";
const TOKEN: &str = "a token for scrapers in tests";

/// What a family is: its type, and its samples by the whole line before the number.
#[derive(Debug, Default)]
struct Scrape {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

/// Names that a family's samples may have (OpenMetrics 1.0, "Suffixes").
fn sample_names(family: &str, kind: &str) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        "counter" => &["_total", "_created"],
        "histogram" => &["_bucket", "_count", "_sum", "_created"],
        "info" => &["_info"],
        "gauge" => &[""],
        other => panic!("{family} is a {other}"),
    };
    suffixes.iter().map(|suffix| format!("{family}{suffix}")).collect()
}

/// `name{a="b",c="d"}`: the name, and the labels.
fn labels(sample: &str) -> (&str, BTreeMap<&str, &str>) {
    let Some((name, rest)) = sample.split_once('{') else { return (sample, BTreeMap::new()) };
    let rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("{sample} does not close"));
    let mut labels = BTreeMap::new();
    for pair in rest.split("\",").filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{sample}: {pair}"));
        let well = label.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(well, "{label} in {sample}");
        let value = value.strip_suffix('"').unwrap_or(value);
        assert!(labels.insert(label, value).is_none(), "{sample} has {label} twice");
    }
    (name, labels)
}

impl Scrape {
    /// Reads the text as strictly as the format is written (OpenMetrics 1.0): families whole and once, described
    /// before their samples, no sample twice, an end.
    fn read(text: &str) -> Self {
        let mut scrape = Self::default();
        let mut family = String::new();
        let mut helped = BTreeSet::new();
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        for line in body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(helped.insert(name.to_owned()) && help.len() > 3, "{line}");
                family = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, family, "TYPE follows its HELP");
                assert!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else {
                let (sample, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
                let (name, _) = labels(sample);
                let kind = scrape.types.get(&family).unwrap_or_else(|| panic!("{line} before its type"));
                assert!(sample_names(&family, kind).iter().any(|own| own == name), "{line} in {family}");
                let number: f64 = number.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(number.is_finite() && number >= 0.0, "{line}");
                assert!(scrape.samples.insert(sample.to_owned(), number).is_none(), "{sample} twice");
            }
        }
        assert_eq!(helped.len(), scrape.types.len());
        scrape.histograms_are_whole();
        scrape
    }

    /// Buckets grow, the last one holds all, and that is the count.
    fn histograms_are_whole(&self) {
        let histograms = self.types.iter().filter(|(_, kind)| *kind == "histogram");
        for (family, _) in histograms {
            let mut buckets: Vec<(f64, f64)> = Vec::new();
            for (sample, number) in &self.samples {
                let (name, labels) = labels(sample);
                if name == format!("{family}_bucket") {
                    let edge = labels["le"];
                    buckets
                        .push((if edge == "+Inf" { f64::INFINITY } else { edge.parse().unwrap() }, *number));
                }
            }
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(
                buckets.len() > 10 && buckets.windows(2).all(|two| two[0].1 <= two[1].1),
                "{family}: {buckets:?}"
            );
            let last = buckets.last().unwrap();
            assert_eq!(
                (last.0, last.1),
                (f64::INFINITY, self.samples[&format!("{family}_count")]),
                "{family}"
            );
        }
    }

    fn sum(&self, metric: &str, label: &str, value: &str) -> f64 {
        let own = self.samples.iter().filter(|(sample, _)| {
            let (name, labels) = labels(sample);
            name == metric && labels.get(label) == Some(&value)
        });
        own.map(|(_, number)| number).sum()
    }

    fn names(&self) -> BTreeSet<String> {
        self.types.iter().flat_map(|(family, kind)| sample_names(family, kind)).collect()
    }
}

async fn scrape(server: &Server) -> Scrape {
    let answer = http().get(format!("{}/metrics", server.origin)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    Scrape::read(&answer.text().await.unwrap())
}

/// A pool that has seen something of everything: answers, refusals, a failed key, a spent quota, a broken model.
async fn busy() -> (SimulatedGoogle, Server) {
    let world = World::new()
        .project("alpha", |project| project.limit(FLASH, gemini_pool::simulated::Limits::none().per_day(3)))
        .key("alpha", "AIza-alpha-1")
        .key("beta", "AIza-beta-01")
        .model("gemini-2.5-pro", |model| model.faults.push(Fault::always(Failure::Overloaded)));
    let google = SimulatedGoogle::start(world).await.unwrap();
    let keys = ["AIza-alpha-1", "AIza-beta-01", "AIza-unknown"];
    let setup = Setup::new(&google, &keys)
        .with("QUEUE_TIMEOUT", "0")
        .with("STRATEGY", "round-robin")
        .with("METRICS_TOKEN", TOKEN);
    let server = setup.start();
    let app = server.app();
    for _ in 0..12 {
        assert_eq!(app.generate(FLASH, "hello").await.0, 200);
    }
    assert_eq!(app.stream(FLASH, "hello").await.0, 200);
    assert_eq!(app.generate("no-such-model", "hello").await.0, 404);
    assert_eq!(server.app_with(Some("no key")).generate(FLASH, "hello").await.0, 401);
    assert_ne!(app.generate("gemini-2.5-pro", "hello").await.0, 200);
    server.operator().await.events_of("Answered", 16).await;
    (google, server)
}

#[tokio::test]
async fn the_metrics_are_well_written_and_true() {
    let (_google, server) = busy().await;
    let scrape = scrape(&server).await;
    let number =
        |sample: &str| *scrape.samples.get(sample).unwrap_or_else(|| panic!("no {sample}: {scrape:#?}"));
    let method = r#"method="generateContent",outcome="#;
    assert_eq!(number(&format!(r#"gemini_pool_requests_total{{{method}"served"}}"#)), 12.0);
    assert_eq!(scrape.sum("gemini_pool_requests_total", "method", "streamGenerateContent"), 1.0);
    assert_eq!(scrape.sum("gemini_pool_requests_total", "outcome", "served"), 13.0);
    assert_eq!(scrape.sum("gemini_pool_requests_total", "outcome", "refused"), 1.0, "who was not let in");
    assert_eq!(number(r#"gemini_pool_responses_total{class="2xx"}"#), 13.0);
    assert_eq!(number(r#"gemini_pool_responses_total{class="4xx"}"#), 2.0);
    assert_eq!(number(r#"gemini_pool_attempts_total{verdict="success"}"#), 13.0);
    assert_eq!(number(r#"gemini_pool_attempts_total{verdict="bad_key"}"#), 1.0);
    assert!(number("gemini_pool_attempts_wasted_total") >= 2.0);
    assert!(number(r#"gemini_pool_tokens_total{kind="prompt"}"#) > 0.0);
    assert_eq!(number(&format!(r#"gemini_pool_model_requests_total{{model="{FLASH}"}}"#)), 13.0);
    assert!(
        !scrape.samples.keys().any(|sample| sample.contains("no-such-model")),
        "a client's word is no label"
    );
    assert_eq!(number("gemini_pool_first_byte_seconds_count"), 13.0);
    assert_eq!(number("gemini_pool_request_duration_seconds_count"), 13.0);
    assert_eq!(number(r#"gemini_pool_keys{state="failed"}"#), 1.0);
    assert_eq!(
        ["ready", "cooling", "failed", "disabled"]
            .map(|state| scrape.sum("gemini_pool_keys", "state", state))
            .iter()
            .sum::<f64>(),
        3.0
    );
    assert_eq!(number(r#"gemini_pool_gates_closed{scope="model",window="day"}"#), 1.0);
    assert_eq!(number(r#"gemini_pool_gates_closed{scope="key",window=""}"#), 1.0);
    assert_eq!((number("gemini_pool_in_flight"), number("gemini_pool_queue_length")), (0.0, 0.0));
    assert!(number("gemini_pool_retry_budget") >= 10.0);
    assert!(number("gemini_pool_log_head") > 20.0 && number("gemini_pool_log_sync_seconds_count") > 0.0);
    assert_eq!((number("gemini_pool_log_failed"), number("gemini_pool_unrecorded_total")), (0.0, 0.0));
    // So few events need no checkpoint yet, and nobody listens.
    assert_eq!(
        (number("gemini_pool_checkpoint_event"), number("gemini_pool_checkpoint_seconds_count")),
        (0.0, 0.0)
    );
    assert_eq!(number("gemini_pool_checkpoint_age_events"), number("gemini_pool_log_head"));
    assert_eq!((number("gemini_pool_feed_readers"), number("gemini_pool_feed_rereads_total")), (0.0, 0.0));
    assert!(number("process_resident_memory_bytes") > 1e6);
    let all: String = scrape.samples.keys().map(|sample| format!("{sample}\n")).collect();
    for secret in ["AIza", TOKEN, crate::support::CLIENT_KEY, crate::support::PASSWORD] {
        assert!(!all.contains(secret), "{secret}");
    }

    // They go on where they were, after a restart.
    let (setup, _) = server.stop();
    let server = setup.start();
    let again = self::scrape(&server).await;
    for kept in ["gemini_pool_attempts_wasted_total", "gemini_pool_first_byte_seconds_sum"] {
        assert_eq!(again.samples[kept], scrape.samples[kept], "{kept}");
    }
    // The stop left a checkpoint; one who listens from the first event on reads the log for it.
    assert!(again.samples["gemini_pool_checkpoint_event"] > 20.0);
    let operator = server.operator().await;
    let url = format!("{}/api/events/stream?after=0", server.origin);
    let mut listens = http().get(url).bearer_auth(operator.token()).send().await.unwrap();
    let mut heard = String::new();
    while !heard.contains("ServerStopped") {
        heard += &String::from_utf8_lossy(&listens.chunk().await.unwrap().unwrap());
    }
    let heard = self::scrape(&server).await;
    assert_eq!(heard.samples["gemini_pool_feed_readers"], 1.0);
    assert!(heard.samples["gemini_pool_feed_rereads_total"] >= 1.0);
}

#[tokio::test]
async fn only_this_machine_and_the_token_read_the_metrics() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-alpha-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-alpha-1"]).with("METRICS_TOKEN", TOKEN).start();
    let ask = |headers: &[(&'static str, &str)]| {
        let mut request = http().get(format!("{}/metrics", server.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        async { request.send().await.unwrap() }
    };
    assert_eq!(ask(&[]).await.status(), 200);
    // A proxy on this machine asks for somebody else.
    let refused = ask(&[("x-forwarded-for", "192.0.2.1")]).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    assert!(!refused.text().await.unwrap().contains("gemini_pool"));
    let token = format!("Bearer {TOKEN}");
    assert_eq!(ask(&[("x-forwarded-for", "192.0.2.1"), ("authorization", &token)]).await.status(), 200);
    assert_eq!(ask(&[("via", "1.1 x"), ("authorization", "Bearer wrong")]).await.status(), 401);
    // An app's key is none, and an administrator's token opens them too.
    let app = format!("Bearer {}", crate::support::CLIENT_KEY);
    assert_eq!(ask(&[("via", "1.1 x"), ("authorization", &app)]).await.status(), 401);
    let admin = format!("Bearer {}", server.operator().await.token());
    assert_eq!(ask(&[("via", "1.1 x"), ("authorization", &admin)]).await.status(), 200);
}

/// Words in an expression that look like metrics of ours, or of a process.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("gemini_pool_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

fn deployed(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)).unwrap()
}

/// Every text under a name, wherever it stands.
fn texts(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(parts) => {
            for (key, part) in parts {
                if key == name
                    && let Some(text) = part.as_str()
                {
                    found.push(text.to_owned());
                }
                texts(part, name, found);
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| texts(part, name, found)),
        _ => {}
    }
}

/// The expressions of the alerts: `expr:` and, where it is folded, the deeper lines after it.
fn alert_expressions(yaml: &str) -> Vec<String> {
    let mut lines = yaml.lines().peekable();
    let mut found = Vec::new();
    let depth = |line: &str| line.len() - line.trim_start().len();
    while let Some(line) = lines.next() {
        let Some(first) = line.trim_start().strip_prefix("expr:") else { continue };
        let mut expression = first.trim().trim_start_matches('>').to_owned();
        while let Some(more) = lines.next_if(|next| depth(next) > depth(line)) {
            expression = format!("{expression} {}", more.trim());
        }
        found.push(expression);
    }
    found
}

/// Parentheses, braces and brackets close in order; quotes close.
fn is_balanced(expression: &str) -> bool {
    let (mut open, mut quoted) = (Vec::new(), false);
    for c in expression.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => open.push(')'),
            '{' => open.push('}'),
            '[' => open.push(']'),
            ')' | '}' | ']' if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    open.is_empty() && !quoted
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_what_is_there() {
    let (_google, server) = busy().await;
    let scrape = scrape(&server).await;
    let names = scrape.names();
    let dashboard: Value = serde_json::from_str(&deployed("grafana/gemini-pool.json")).unwrap();
    let mut queries = Vec::new();
    texts(&dashboard, "expr", &mut queries);
    texts(&dashboard, "definition", &mut queries);
    assert!(queries.len() > 20, "only {} queries", queries.len());
    let alerts = alert_expressions(&deployed("prometheus/alerts.yml"));
    assert!(alerts.len() >= 10, "only {} alerts", alerts.len());
    let mut used = BTreeSet::new();
    for query in queries.iter().chain(&alerts) {
        assert!(is_balanced(query), "{query}");
        let asked = metrics_in(query);
        assert!(!asked.is_empty(), "{query} asks for nothing");
        let missing: Vec<_> = asked.difference(&names).collect();
        assert!(missing.is_empty(), "{query} asks for {missing:?}");
        used.extend(asked);
    }
    assert!(metrics_in("rate(gemini_pool_nothing_total[5m])").difference(&names).next().is_some());
    // Values of labels that are asked for are values that there are.
    for query in queries.iter().chain(&alerts) {
        for label in ["state", "outcome", "scope"] {
            let Some((_, rest)) = query.split_once(&format!("{label}=")) else { continue };
            for value in
                rest.trim_start_matches('~').trim_start_matches('"').split('"').next().unwrap().split('|')
            {
                let known = scrape.samples.keys().any(|sample| labels(sample).1.get(label) == Some(&value));
                assert!(known, "{query}: {label} is never {value}");
            }
        }
    }
    // And nearly all that there is can be seen somewhere.
    let families =
        scrape.types.keys().filter(|family| !used.iter().any(|name| name.starts_with(family.as_str())));
    let unseen: Vec<_> = families.map(String::as_str).collect();
    let meant = ["gemini_pool_model_errors", "gemini_pool_model_tokens", "gemini_pool_projects"];
    let meant_too = [
        "gemini_pool_checkpoint_event",
        "gemini_pool_connections_closed",
        "gemini_pool_heads_bytes",
        "gemini_pool_log_head",
        "gemini_pool_responses",
        "process_start_time_seconds",
    ];
    assert!(unseen.iter().all(|name| meant.contains(name) || meant_too.contains(name)), "{unseen:?}");
}
