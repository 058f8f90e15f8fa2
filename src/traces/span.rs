//! From events to spans, as OTLP's JSON has them (opentelemetry-proto 1.x, `trace.proto`, in the mapping of proto3;
//! numbers of 64 bits are texts, ids are hexadecimal). Pure.
//!
//! Attributes have OpenTelemetry's own names where there are some (HTTP, generative AI); what is ours begins with
//! `gemini_pool.`.

use projections::{
    Millis, RequestId,
    event::{Answered, Attempted, Outcome, Verdict},
};
use serde_json::{Value, json};

use super::{Ended, context::Context};
use crate::words::word;

/// `SPAN_KIND_SERVER`, `SPAN_KIND_CLIENT`, `STATUS_CODE_ERROR`.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

/// The request's span: the random half of its number, which is never zero.
fn of_request(request: RequestId) -> u64 {
    request.0 as u64
}

/// Each try's is beside it.
fn of_attempt(request: RequestId, attempt: u8) -> u64 {
    of_request(request) ^ u64::from(attempt).rotate_right(8)
}

fn nanos(ms: Millis) -> String {
    (i128::from(ms) * 1_000_000).to_string()
}

fn text(name: &str, value: impl Into<String>) -> Value {
    json!({"key": name, "value": {"stringValue": value.into()}})
}

fn number(name: &str, value: impl Into<u64>) -> Value {
    json!({"key": name, "value": {"intValue": value.into().to_string()}})
}

struct Times {
    started: Millis,
    took_ms: u32,
    first_byte_ms: Option<u32>,
}

fn span(
    trace: u128,
    (id, parent): (u64, Option<u64>),
    (name, kind): (&str, u8),
    times: &Times,
    attributes: Vec<Value>,
    error: Option<String>,
) -> Value {
    let after = |ms: u32| nanos(times.started.saturating_add(Millis::from(ms)));
    let first_byte = times.first_byte_ms.map(|ms| json!({"name": "first_byte", "timeUnixNano": after(ms)}));
    let mut span = json!({
        "traceId": format!("{trace:032x}"),
        "spanId": format!("{id:016x}"),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": nanos(times.started),
        "endTimeUnixNano": after(times.took_ms),
        "attributes": attributes,
        "events": first_byte.into_iter().collect::<Vec<_>>(),
        "status": error.map_or_else(|| json!({}), |message| json!({"code": ERROR, "message": message})),
    });
    if let (Some(parent), Some(fields)) = (parent, span.as_object_mut()) {
        fields.insert("parentSpanId".to_owned(), format!("{parent:016x}").into());
    }
    span
}

fn request(event: &Answered, context: Context) -> Value {
    let mut attributes = vec![
        text("http.request.method", &event.verb),
        text("url.path", &event.path),
        text("gemini_pool.request_id", event.request.to_string()),
        text("gemini_pool.outcome", word(event.outcome)),
        number("gemini_pool.attempts", event.attempts),
        number("gemini_pool.waited_ms", event.waited_ms),
        number("http.response.body.size", event.bytes),
    ];
    if event.status > 0 {
        attributes.push(number("http.response.status_code", event.status));
    }
    about(&mut attributes, &event.model, &event.method);
    attributes.extend(event.client.map(|client| number("gemini_pool.client", client.0)));
    attributes.extend(event.reason.as_ref().map(|reason| text("error.type", reason)));
    // A server's span is in error where the server is to blame (semantic conventions for HTTP).
    let broken = event.status >= 500 || matches!(event.outcome, Outcome::Truncated);
    let error = broken.then(|| event.reason.clone().unwrap_or_else(|| word(event.outcome)));
    let name = format!("{} {}", event.verb, event.method);
    let times =
        Times { started: event.started, took_ms: event.duration_ms, first_byte_ms: event.first_byte_ms };
    let ids = (of_request(event.request), context.parent);
    span(context.trace, ids, (name.trim_end(), SERVER), &times, attributes, error)
}

fn attempt(event: &Attempted, context: Context) -> Value {
    let tokens = &event.tokens;
    let mut attributes = vec![
        text("gemini_pool.request_id", event.request.to_string()),
        text("gemini_pool.verdict", word(event.verdict)),
        text("gemini_pool.project", &event.project),
        number("gemini_pool.key", event.key.0),
        number("gemini_pool.attempt", event.attempt),
        number("http.request.body.size", event.bytes_sent),
        number("http.response.body.size", event.bytes_received),
    ];
    if event.status > 0 {
        attributes.push(number("http.response.status_code", event.status));
    }
    about(&mut attributes, &event.model, &event.method);
    if tokens.total > 0 {
        attributes.push(number("gen_ai.usage.input_tokens", tokens.prompt));
        attributes.push(number(
            "gen_ai.usage.output_tokens",
            u64::from(tokens.output) + u64::from(tokens.thoughts),
        ));
    }
    attributes.extend(event.finish_reason.as_ref().map(|reason| {
        let reasons = json!({"values": [{"stringValue": reason}]});
        json!({"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": reasons}})
    }));
    let failed = !matches!(event.verdict, Verdict::Success | Verdict::Cancelled);
    let error = failed.then(|| event.reason.clone().unwrap_or_else(|| word(event.verdict)));
    let name = format!("try {}", event.attempt);
    let times =
        Times { started: event.started, took_ms: event.latency_ms, first_byte_ms: event.first_byte_ms };
    let ids = (of_attempt(event.request, event.attempt), Some(of_request(event.request)));
    span(context.trace, ids, (&name, CLIENT), &times, attributes, error)
}

fn about(attributes: &mut Vec<Value>, model: &str, method: &str) {
    attributes.push(text("gen_ai.provider.name", "gcp.gemini"));
    if !method.is_empty() {
        attributes.push(text("gen_ai.operation.name", method));
    }
    if !model.is_empty() {
        attributes.push(text("gen_ai.request.model", model));
    }
}

/// An `ExportTraceServiceRequest` of these spans.
pub(super) fn batch(ended: &[Ended]) -> Value {
    let spans = ended.iter().map(|ended| match ended {
        Ended::Request(event, context) => request(event, *context),
        Ended::Attempt(event, context) => attempt(event, *context),
    });
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "gemini-pool"), text("service.version", version)]},
        "scopeSpans": [{"scope": {"name": "gemini-pool", "version": version}, "spans": spans.collect::<Vec<_>>()}],
    }]})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_span_of_a_request_has_an_id_of_its_own() {
        for request in [RequestId(uuid::Uuid::now_v7().as_u128()), RequestId(1 << 63 | 1)] {
            let mut ids: BTreeSet<u64> = (1..=u8::MAX).map(|attempt| of_attempt(request, attempt)).collect();
            ids.insert(of_request(request));
            assert_eq!((ids.len(), ids.contains(&0)), (256, false));
        }
    }
}
