//! Who may come in, and what never goes on.

use std::fmt::Write as _;

use gemini_pool::simulated::{SimulatedGoogle, World};

use crate::support::{CLIENT_KEY, Server, Setup, ask, of_type};

const KEY: &str = "AIza-good-1";

async fn stage() -> (SimulatedGoogle, Server) {
    let google = SimulatedGoogle::start(World::new().key("alpha", KEY)).await.unwrap();
    let server = Setup::new(&google, &[KEY]).start();
    (google, server)
}

/// Credentials as headers and as a query.
type Way = (Vec<(&'static str, String)>, String);

/// The ways in which Google's clients present a key.
fn ways(key: &str) -> Vec<Way> {
    vec![
        (vec![("x-goog-api-key", key.to_owned())], String::new()),
        (vec![("authorization", format!("Bearer {key}"))], String::new()),
        (vec![("authorization", format!("bearer  {key}"))], String::new()),
        (Vec::new(), format!("?key={key}")),
        (Vec::new(), format!("?access_token={key}&alt=json")),
        (Vec::new(), format!("?alt=json&%6bey={key}")),
        (Vec::new(), format!("?$key={key}")),
    ]
}

async fn call(server: &Server, path: &str, (headers, query): &Way) -> (u16, String) {
    let app = server.app_with(None);
    let mut request = app.post(&format!("{path}{query}"), &ask("Hello"));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The pool without access keys is for this machine's programs. A page that its browser shows is none of them.
#[tokio::test]
async fn a_page_of_another_site_cannot_use_a_pool_without_access_keys() {
    let google = SimulatedGoogle::start(World::new().key("alpha", KEY)).await.unwrap();
    let server = Setup::new(&google, &[KEY]).with("ALLOWED_API_KEYS", "").start();
    let evil = [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("host", "evil.example"),
        ("host", "evil.example:8000"),
    ];
    let send = async |path: &str, (name, value): (&str, &str)| {
        let request = server.app_with(None).post(path, &ask("Hello"));
        let request = request.header("content-type", "text/plain").header(name, value);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for header in evil {
        let (status, answer) = send(GENERATE, header).await;
        assert!(status == 403 && answer.contains("OTHER_SITE"), "{header:?}: {status} {answer}");
    }
    assert_eq!(google.seen_count(), 0);
    let own = server.origin.clone();
    for header in
        [("origin", own.as_str()), ("host", "localhost"), ("sec-fetch-site", "none"), ("accept", "*/*")]
    {
        assert_eq!(send(GENERATE, header).await.0, 200, "{header:?}");
    }
    // Nor does it read the numbers, by a name of its own.
    let metrics = async |host: &str| {
        let request = server.app().http.get(format!("{}/metrics", server.origin)).header("host", host);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((metrics("evil.example").await, metrics("localhost:1").await), (401, 200));
}

/// Where the operator lets a whole network in, by whichever name, pages of other sites stay out.
#[tokio::test]
async fn a_pool_that_is_open_on_purpose_is_open_to_programs() {
    let google = SimulatedGoogle::start(World::new().key("alpha", KEY)).await.unwrap();
    let setup = Setup::new(&google, &[KEY]).with("ALLOWED_API_KEYS", "").with("ALLOW_ANONYMOUS", "true");
    let server = setup.start();
    for (name, value, wanted) in [("host", "pool.lan:8000", 200), ("origin", "https://evil.example", 403)] {
        let request = server.app_with(None).post(GENERATE, &ask("Hello")).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), wanted, "{name}: {value}");
    }
}

/// Strangers cost a line in the log each, but not as many as they like.
#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let (google, server) = stage().await;
    for _ in 0..200 {
        assert_eq!(call(&server, GENERATE, &(Vec::new(), String::new())).await.0, 401);
    }
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let answered = of_type(&server.stop().0.log(), "Answered");
    let (known, strangers): (Vec<_>, Vec<_>) = answered.iter().partition(|event| event["status"] == 200);
    // A minute may have turned meanwhile.
    assert_eq!(known.len(), 1);
    assert!((60..=120).contains(&strangers.len()), "{} are recorded", strangers.len());
    assert_eq!(google.seen_count(), 1);
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

#[tokio::test]
async fn a_known_key_opens_from_every_place_and_never_goes_on() {
    let (google, server) = stage().await;
    let mut all = ways(CLIENT_KEY);
    // Gemini CLI sends both; a header and a query may differ.
    all.push((
        vec![("x-goog-api-key", CLIENT_KEY.to_owned()), ("authorization", format!("Bearer {CLIENT_KEY}"))],
        String::new(),
    ));
    all.push((vec![("x-goog-api-key", CLIENT_KEY.to_owned())], format!("?key={CLIENT_KEY}")));
    all.push((vec![("x-goog-api-key", "wrong".to_owned())], format!("?key={CLIENT_KEY}")));
    all.push((vec![("x-goog-api-key", CLIENT_KEY.to_owned())], "?key=wrong&access_token=wrong".to_owned()));
    all.push((
        vec![
            ("cookie", "session=1".to_owned()),
            ("x-forwarded-for", "10.1.2.3".to_owned()),
            ("x-goog-user-project", "p".to_owned()),
        ],
        format!("?key={CLIENT_KEY}"),
    ));
    for way in &all {
        let (status, body) = call(&server, GENERATE, way).await;
        assert_eq!(status, 200, "{way:?}: {body}");
    }
    let seen = google.seen();
    assert_eq!(seen.len(), all.len());
    for seen in &seen {
        assert_eq!(seen.key, KEY);
        assert!(seen.violations.is_empty(), "{:?}", seen.violations);
        let sent = format!("{} {:?}", seen.path, seen.headers);
        assert!(!sent.contains(CLIENT_KEY) && !sent.contains("wrong"), "{sent}");
    }
    let answered = of_type(&server.stop().0.log(), "Answered");
    assert!(answered.iter().all(|event| event["client"] == 1), "{answered:#?}");
}

#[tokio::test]
async fn a_wrong_key_or_none_opens_nothing_and_reaches_nobody() {
    let (google, server) = stage().await;
    let mut told = String::new();
    let paths = [GENERATE, "/v1beta/openai/chat/completions", "/v1beta/interactions"];
    for path in paths {
        let (status, body) = call(&server, path, &(Vec::new(), String::new())).await;
        writeln!(told, "> {path} without a key\n{status}\n{body}").unwrap();
    }
    // A pool's own upstream key is no access key either, nor is the administrator's password.
    for wrong in ["nobody-knows-me", KEY, crate::support::PASSWORD, "%00", "a%20b"] {
        for (place, (headers, query)) in ways("WRONG").into_iter().enumerate() {
            let headers =
                headers.into_iter().map(|(name, value)| (name, value.replace("WRONG", wrong))).collect();
            let way = (headers, query.replace("WRONG", &wrong.replace(' ', "%20")));
            let (status, body) = call(&server, GENERATE, &way).await;
            assert_eq!(status, 401, "{way:?}: {body}");
            if place == 0 && wrong == KEY {
                writeln!(told, "> {GENERATE} with a wrong key\n{status}\n{body}").unwrap();
            }
        }
    }
    let empty = call(&server, GENERATE, &(vec![("x-goog-api-key", String::new())], String::new())).await;
    assert_eq!(empty.0, 401);
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("not_let_in", told);
    });
    assert_eq!(google.seen_count(), 0);
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let answered = of_type(&server.stop().0.log(), "Answered");
    assert_eq!(answered.len(), 3 + 5 * 7 + 1 + 1);
    assert!(
        answered
            .iter()
            .rev()
            .skip(1)
            .all(|event| event["reason"] == "CLIENT_KEY_INVALID" && event["client"].is_null())
    );
}
