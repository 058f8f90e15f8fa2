//! What a client reads, byte for byte, and what the record says of it.

use super::*;

#[tokio::test]
async fn a_stream_is_framed_exactly() {
    let google = google(alpha()).await;
    let body = prompt("hi").to_string();
    let headers = [("x-goog-api-key", "good"), ("accept-encoding", "gzip")];
    let raw = send(&google, &request("POST", STREAM, &headers, body.as_bytes())).await;
    assert_eq!(raw.status, 200);
    assert_eq!(raw.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(raw.header("Content-Disposition"), Some("attachment"));
    assert_eq!(raw.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(raw.header("Content-Encoding"), None);
    for line in [
        "Server: scaffolding on HTTPServer2",
        "Server-Timing: gfet4t7; dur=100",
        "Vary: Origin",
        "Vary: X-Origin",
        "Vary: Referer",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: SAMEORIGIN",
        "X-Xss-Protection: 0",
    ] {
        assert!(raw.head.lines().any(|found| found == line), "{line} in {}", raw.head);
    }
    assert!(raw.header("Date").is_some());
    let (text, finished) = raw.dechunked();
    assert!(finished);
    let first = concat!(
        r#"data: {"candidates": [{"content": {"parts": [{"text": "gemini-2.5-f"}],"role": "model"},"index": 0}],"#,
        r#""usageMetadata": {"promptTokenCount": 23,"totalTokenCount": 23,"promptTokensDetails": "#,
        r#"[{"modality": "TEXT","tokenCount": 23}]},"modelVersion": "gemini-2.5-flash","#,
        r#""responseId": "910a2dec89025cc1000000","turnToken": "v1_910a2dec89025cc1000000"}"#,
    );
    let events: Vec<&str> = text.split_terminator("\r\n\r\n").collect();
    assert_eq!((events.len(), events[0]), (4, first));
    assert!(text.ends_with("\"}\r\n\r\n"), "{text}");
    let said: String = events
        .iter()
        .map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap()).unwrap())
        .map(|event| event["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, answer_text(FLASH, "hi"));
    assert!(said.contains("鑰匙"));
}

#[tokio::test]
async fn whole_answers_are_gzipped_with_a_length_where_offered() {
    let google = google(alpha()).await;
    let body = prompt("hello").to_string();
    let headers = [("x-goog-api-key", "good"), ("accept-encoding", "br, gzip;q=0.5")];
    let zipped = send(&google, &request("POST", GENERATE, &headers, body.as_bytes())).await;
    assert_eq!(zipped.header("Content-Encoding"), Some("gzip"));
    assert_eq!(zipped.header("Content-Length"), Some(zipped.body.len().to_string().as_str()));
    assert_eq!(zipped.header("Content-Type"), Some("application/json; charset=UTF-8"));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(zipped.body.as_slice()), &mut text)
        .unwrap();
    let plain = post(&google, GENERATE, &prompt("hello")).await;
    assert_eq!(plain.header("Content-Encoding"), None);
    assert!(
        plain.text().starts_with("{\n  \"candidates\": [\n    {\n      \"content\": {\n"),
        "{}",
        plain.text()
    );
    let said = |text: &str| serde_json::from_str::<Value>(text).unwrap()["candidates"].clone();
    assert_eq!(said(&text), said(plain.text()));
}

#[tokio::test]
async fn cuts_leave_no_terminal_chunk_and_are_recorded() {
    let google = google(alpha()).await;
    let cases = [
        (Failure::CutAfter(2), 2, "cut"),
        (Failure::CutAfter(0), 0, "cut"),
        (Failure::CutInside(1), 1, "cut inside an event"),
    ];
    for (n, (failure, whole, name)) in cases.into_iter().enumerate() {
        google.edit(|world| world.keys.get_mut("good").unwrap().faults = vec![Fault::times(1, failure)]);
        let raw = post(&google, STREAM, &prompt("hi")).await;
        assert_eq!(raw.status, 200);
        let (text, finished) = raw.dechunked();
        assert!(!finished, "{name}");
        assert_eq!(text.matches("\r\n\r\n").count(), whole, "{name}");
        let seen = ended(&google).await;
        assert_eq!(
            (seen[n].status, seen[n].outcome, seen[n].end),
            (Some(200), Outcome::Broken(name), End::Cut)
        );
    }
    google.edit(|world| world.faults.push(Fault::times(2, Failure::CutBeforeHead)));
    for path in [STREAM, GENERATE] {
        let raw = post(&google, path, &prompt("hi")).await;
        assert_eq!((raw.head.as_str(), raw.status), ("", 0));
    }
    let seen = ended(&google).await;
    assert!(seen[3..].iter().all(|seen| seen.status.is_none() && seen.end == End::Cut), "{seen:?}");
    google.edit(|world| world.faults = vec![Fault::always(Failure::CutAfter(1))]);
    let raw = post(&google, GENERATE, &prompt("hi")).await;
    let announced: usize = raw.header("Content-Length").unwrap().parse().unwrap();
    assert_eq!(raw.body.len(), announced / 2);
}

#[tokio::test]
async fn streams_end_badly_in_the_other_ways() {
    let google = google(alpha()).await;
    let order = |failure| google.edit(|world| world.faults = vec![Fault::always(failure)]);
    order(Failure::EmptyStream);
    let raw = post(&google, STREAM, &prompt("hi")).await;
    assert_eq!((raw.status, raw.header("Content-Length"), raw.body.len()), (200, Some("0"), 0));
    assert_eq!(raw.header("Content-Type"), Some("text/event-stream"));
    order(Failure::NoFinalBlankLine);
    let (text, finished) = post(&google, STREAM, &prompt("hi")).await.dechunked();
    assert!(finished && text.ends_with('}'), "{text}");
    order(Failure::ErrorInStream { after: 1, form: ErrorForm::Bare, code: 499 });
    let (text, finished) = post(&google, STREAM, &prompt("hi")).await.dechunked();
    assert!(finished);
    let (event, error) = text.split_once("\r\n\r\n").unwrap();
    assert!(event.starts_with("data: {"));
    let error: Value = serde_json::from_str(error).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["status"]), (&json!(499), &json!("CANCELLED")));
    let outcomes: Vec<Outcome> = ended(&google).await.iter().map(|seen| seen.outcome).collect();
    let broken = ["empty stream", "no final blank line", "error in stream"].map(Outcome::Broken);
    assert_eq!(outcomes, broken);
}

#[tokio::test]
async fn a_stall_lasts_until_released_and_a_client_that_leaves_is_recorded() {
    let google = google(alpha().fault(Fault::always(Failure::Stall { after: 1, lasts: None }))).await;
    let mut socket = TcpStream::connect(google.address()).await.unwrap();
    let body = prompt("hi").to_string();
    let bytes = request("POST", STREAM, &[("x-goog-api-key", "good")], body.as_bytes());
    socket.write_all(&bytes).await.unwrap();
    let mut some = vec![0; 1 << 16];
    let mut read = String::new();
    while !read.contains("turnToken") {
        let count = socket.read(&mut some).await.unwrap();
        assert!(count > 0, "ended early: {read}");
        read.push_str(std::str::from_utf8(&some[..count]).unwrap());
    }
    google.release();
    socket.read_to_string(&mut read).await.unwrap();
    assert_eq!(read.matches("turnToken").count(), 4);
    let mut socket = TcpStream::connect(google.address()).await.unwrap();
    socket.write_all(&bytes).await.unwrap();
    assert!(socket.read(&mut some).await.unwrap() > 0);
    drop(socket);
    let seen = ended(&google).await;
    assert_eq!(seen.iter().map(|seen| seen.end).collect::<Vec<_>>(), [End::Whole, End::ClientLeft]);
    assert_eq!(seen[1].status, Some(200));
}

#[tokio::test]
async fn a_held_first_byte_comes_when_released() {
    let google = google(alpha().fault(Fault::times(1, Failure::HoldFirstByte))).await;
    let body = prompt("hi");
    let decided = async {
        google.wait_for(|seen| seen.first().is_some_and(|seen| seen.status.is_some())).await;
        google.release();
    };
    let (raw, ()) = tokio::join!(post(&google, GENERATE, &body), decided);
    assert_eq!(raw.status, 200);
}

#[tokio::test]
async fn errors_take_the_shape_of_their_path() {
    let google = google(alpha().key_in("alpha", "bad", KeyState::Bad)).await;
    let body = json!({"model": FLASH, "input": "x", "messages": [{"role": "user", "content": "x"}]});
    let chat = call(&google, "POST", "/v1beta/openai/chat/completions", "bad", &body).await;
    assert!(chat.text().starts_with("[{\n  \"error\"") && chat.text().ends_with("}\n]\n"), "{}", chat.text());
    let array = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    assert!(call(&google, "POST", array, "bad", &prompt("x")).await.json().is_array());
    let interaction = call(&google, "POST", "/v1/interactions", "bad", &body).await;
    assert_eq!(interaction.json()["error"]["code"], "invalid_request");
    let missing = post(&google, "/v1/models/nope:streamGenerateContent?alt=sse", &prompt("x")).await;
    assert_eq!((missing.status, missing.header("Content-Type")), (404, Some("text/event-stream")));
    assert_eq!(missing.header("Content-Length"), Some(missing.body.len().to_string().as_str()));
    assert_eq!(missing.json()["error"]["status"], "NOT_FOUND");
    google.edit(|world| world.faults = vec![Fault::always(Failure::BadGateway)]);
    let page = post(&google, GENERATE, &prompt("x")).await;
    assert_eq!((page.status, page.header("Content-Type")), (502, Some("text/html; charset=UTF-8")));
    google.edit(|world| (world.faults.clear(), world.location_refused = true).1);
    let refused = post(&google, GENERATE, &prompt("x")).await;
    assert_eq!((refused.status, &refused.json()["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_half_a_body_is_only_an_arrival() {
    let google = google(alpha()).await;
    google.edit(|world| (world.payload_limit, world.keep_bodies) = (100, 50));
    let small = post(&google, GENERATE, &json!({})).await;
    let large = post(&google, GENERATE, &prompt(&"x".repeat(200))).await;
    assert_eq!((small.status, large.status), (400, 400));
    assert!(large.text().contains("Request payload size exceeds the limit: 100 bytes."));
    let mut socket = TcpStream::connect(google.address()).await.unwrap();
    let bytes = request("POST", GENERATE, &[("x-goog-api-key", "good")], b"{\"contents\":[]}");
    socket.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    google.wait_for(|seen| seen.len() == 3).await;
    drop(socket);
    let seen = ended(&google).await;
    assert_eq!(seen[0].body.as_deref(), Some(&b"{}"[..]));
    assert_eq!(seen[1].outcome, Outcome::Refused("too large"));
    assert_eq!((seen[2].outcome, seen[2].status, seen[2].end), (Outcome::Arrived, None, End::ClientLeft));
    assert_eq!(google.seen_count(), 3);
}

#[tokio::test]
async fn stopping_frees_the_port_and_cuts_what_is_open() {
    let google = google(alpha().fault(Fault::always(Failure::HoldFirstByte))).await;
    let address = google.address();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let body = prompt("hi").to_string();
    let bytes = request("POST", GENERATE, &[("x-goog-api-key", "good")], body.as_bytes());
    socket.write_all(&bytes).await.unwrap();
    google.wait_for(|seen| seen.len() == 1).await;
    google.stop().await;
    let mut rest = Vec::new();
    assert!(!matches!(socket.read_to_end(&mut rest).await, Ok(1..)));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_storm_hits_its_share_of_each_keys_calls_and_all_are_counted() {
    let storm = || Fault::sometimes(0.5, Failure::Overloaded);
    let world = World::new().key_with("alpha", "one", storm()).key_with("beta", "two", storm());
    let google = google(world).await;
    let body = prompt("hi");
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let one = call(&google, "POST", GENERATE, "one", &body).await.status;
        let two = call(&google, "POST", GENERATE, "two", &body).await.status;
        statuses.push((one, two));
    }
    let refused = |pick: fn(&(u16, u16)) -> u16| statuses.iter().filter(|pair| pick(pair) == 503).count();
    assert!((30..70).contains(&refused(|pair| pair.0)) && (30..70).contains(&refused(|pair| pair.1)));
    assert!(statuses.iter().any(|(one, two)| one != two));
    let seen = ended(&google).await;
    assert_eq!(seen.len(), 200);
    for (pair, sent) in seen.chunks(2).zip(&statuses) {
        assert_eq!((pair[0].status, pair[1].status), (Some(sent.0), Some(sent.1)));
        assert_eq!(pair[0].outcome == Outcome::Refused("overloaded"), sent.0 == 503);
    }
}

#[tokio::test]
async fn errors_of_streams_can_come_as_event_streams() {
    let google = google(alpha().key_in("alpha", "leaked", KeyState::Leaked)).await;
    let sent_as = async |path: &str| {
        let raw = call(&google, "POST", path, "leaked", &prompt("hi")).await;
        assert_eq!(raw.json()["error"]["code"], 403);
        raw.header("Content-Type").unwrap().to_owned()
    };
    assert_eq!(sent_as(STREAM).await, "application/json; charset=UTF-8");
    google.edit(|world| world.errors_as_events = true);
    assert_eq!(sent_as(STREAM).await, "text/event-stream");
    assert_eq!(sent_as(GENERATE).await, "application/json; charset=UTF-8");
}
