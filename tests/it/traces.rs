//! Traces, as a collector gets them: a small one listens here, for OTLP over HTTP.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use gemini_pool::simulated::{SimulatedGoogle, World};
use poem::{Server as Http, endpoint::make, http::StatusCode, listener::TcpAcceptor};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{CLIENT_KEY, Setup, ask};

const FLASH: &str = "gemini-2.5-flash";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// A collector: what it got, and word of more.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Value>>>,
    more: Arc<Notify>,
}

impl Collector {
    /// Starts it; gives its address too.
    async fn start() -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let takes = collector.clone();
        let endpoint = make(move |mut request: poem::Request| {
            let takes = takes.clone();
            async move {
                assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
                assert_eq!(request.content_type(), Some("application/json"));
                let body: Value = request.take_body().into_json().await.unwrap();
                takes.take(&body);
                StatusCode::OK
            }
        });
        tokio::spawn(Http::new_with_acceptor(TcpAcceptor::from_tokio(listener).unwrap()).run(endpoint));
        (collector, address)
    }

    fn take(&self, body: &Value) {
        for resource in body["resourceSpans"].as_array().unwrap() {
            let service = attribute(&resource["resource"], "service.name");
            assert_eq!(service, json!({"stringValue": "gemini-pool"}));
            for scope in resource["scopeSpans"].as_array().unwrap() {
                self.spans.lock().unwrap().extend(scope["spans"].as_array().unwrap().iter().cloned());
            }
        }
        self.more.notify_one();
    }

    /// The spans, once there are so many.
    async fn spans(&self, count: usize) -> Vec<Value> {
        let enough = async {
            loop {
                let spans = self.spans.lock().unwrap().clone();
                if spans.len() >= count {
                    return spans;
                }
                self.more.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), enough).await.expect("the spans come")
    }
}

fn attribute(of: &Value, name: &str) -> Value {
    let attributes = of["attributes"].as_array().unwrap();
    let own = attributes.iter().find(|attribute| attribute["key"] == name);
    own.map_or(Value::Null, |attribute| attribute["value"].clone())
}

fn nanos(span: &Value, name: &str) -> u64 {
    span[name].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_collector_gets_a_span_for_each_request_and_each_try_in_the_callers_trace() {
    let (collector, address) = Collector::start().await;
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-alpha-1")).await.unwrap();
    // The first key that is tried is refused at the door, so some request has two tries.
    let keys = ["AIza-unknown", "AIza-alpha-1"];
    let server = Setup::new(&google, &keys)
        .with("STRATEGY", "round-robin")
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .start();
    let app = server.app();
    let path = format!("/v1beta/models/{FLASH}:generateContent");
    let asked = |parent: Option<&'static str>| {
        let request = app.post(&path, &ask("hello"));
        parent.into_iter().fold(request, |request, parent| request.header("traceparent", parent))
    };
    let mut ids = Vec::new();
    for parent in [Some(CALLER), Some(UNSAMPLED), None, Some("no trace at all")] {
        let answer = asked(parent).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        ids.push(answer.headers()["x-request-id"].to_str().unwrap().to_owned());
    }
    // Google gets what the app sent.
    let seen = google.seen();
    let told: BTreeSet<_> = seen.iter().filter_map(|seen| seen.headers.get("traceparent")).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|told| *told == CALLER));

    // Stopping sends what is left; what the caller does not sample is not told.
    let (setup, output) = server.stop();
    let log = setup.log();
    let attempted = crate::support::of_type(&log, "Attempted");
    let sampled = |event: &&Value| event["request"] != ids[1].as_str();
    let tries = attempted.iter().filter(sampled).count();
    let spans = collector.spans(3 + tries).await;
    assert_eq!(spans.len(), 3 + tries, "{spans:#?}");
    let of = |id: &str| {
        let own = |span: &&Value| attribute(span, "gemini_pool.request_id")["stringValue"] == id;
        spans.iter().filter(own).partition::<Vec<_>, _>(|span| span["kind"] == 2)
    };
    assert_eq!(of(&ids[1]), (vec![], vec![]));
    for (id, trace, parent) in [
        (&ids[0], "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), json!("00f067aa0ba902b7")),
        (&ids[2], ids[2].replace('-', ""), Value::Null),
        (&ids[3], ids[3].replace('-', ""), Value::Null),
    ] {
        let (requests, tries) = of(id);
        assert_eq!(requests.len(), 1, "{id}");
        let request = requests[0];
        assert_eq!((&request["traceId"], &request["parentSpanId"]), (&json!(trace), &parent));
        assert_eq!(request["name"], "POST generateContent");
        assert_eq!(attribute(request, "http.response.status_code"), json!({"intValue": "200"}));
        assert_eq!(request["status"], json!({}));
        assert_eq!(request["events"][0]["name"], "first_byte");
        let own: Vec<_> = attempted.iter().filter(|event| event["request"] == id.as_str()).collect();
        assert_eq!((own.len(), tries.is_empty()), (tries.len(), false));
        for (span, event) in tries.iter().zip(own) {
            assert_eq!(
                (&span["traceId"], &span["parentSpanId"], &span["kind"]),
                (&json!(trace), &request["spanId"], &json!(3))
            );
            assert_eq!(attribute(span, "gemini_pool.verdict")["stringValue"], event["verdict"]);
            assert_eq!(attribute(span, "gen_ai.request.model")["stringValue"], FLASH);
            assert_eq!(attribute(span, "gemini_pool.key")["intValue"], event["key"].to_string());
            assert_eq!(span["status"]["code"] == 2, event["verdict"] != "success");
            assert!(nanos(span, "startTimeUnixNano") >= nanos(request, "startTimeUnixNano"));
            assert!(nanos(span, "endTimeUnixNano") >= nanos(span, "startTimeUnixNano"));
        }
    }
    let numbers: BTreeSet<_> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!(numbers.len(), spans.len(), "no two spans are one");
    assert!(!output.contains("traces are dropped"), "{output}");
    let all = json!(spans).to_string();
    for secret in ["AIza", CLIENT_KEY, "127.0.0.1", "hello"] {
        assert!(!all.contains(secret), "{secret} is in a span");
    }
}

/// Nobody waits for a collector, and that it is away is told once.
#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up() {
    let away = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-alpha-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-alpha-1"])
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{away}"))
        .start();
    let app = server.app();
    for _ in 0..3 {
        assert_eq!(app.generate(FLASH, "hello").await.0, 200);
        server.wait_for_line("traces are dropped");
    }
    let (_, output) = server.stop();
    assert_eq!(output.matches("traces are dropped").count(), 1, "{output}");
}
