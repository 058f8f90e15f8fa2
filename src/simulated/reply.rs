//! Owns the plan of an answer: status, headers, bytes and pauses, and how a failure damages it. Pure: the
//! server plays the plan. Invariant: what is not damaged is framed exactly as Google frames it.

use std::time::Duration;

use bytes::Bytes;

use super::ask::Shape;
use super::fault::{ErrorForm, Failure, Trip};
use super::refusal::{self, Refusal};
use super::seen::Outcome;

pub(super) const JSON: &str = "application/json; charset=UTF-8";
pub(super) const EVENTS: &str = "text/event-stream";

/// How the parts of a stream are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// `data: {json}\r\n\r\n`, the end is the end.
    Sse,
    /// `data: {json}\n\n`, then `data: [DONE]\n\n`.
    SseDone,
    /// `[{json}\n,\r\n{json}\n]`.
    Array,
}

/// What the server plays.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Silence before the head.
    pub(super) wait: Duration,
    /// Silence before the head until released.
    pub(super) hold: bool,
    pub(super) body: Body,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Body {
    /// The connection is cut before the head.
    Nothing,
    /// Sent with its length, gzipped where the client offers it.
    Whole(Bytes),
    /// Sent step by step; `length` is announced, else the transfer is chunked.
    Steps { length: Option<u64>, steps: Vec<Step> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Send(Bytes),
    Pause(Duration),
    /// Silence until released.
    Hold,
    Cut,
}

impl Reply {
    pub(super) fn whole(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: JSON,
            headers: Vec::new(),
            wait: Duration::ZERO,
            hold: false,
            body: Body::Whole(body.into()),
            outcome: Outcome::Served,
        }
    }

    pub(super) fn refused(refusal: &Refusal, shape: Shape, events: bool) -> Self {
        let content_type = match (refusal.page, events) {
            (true, _) => "text/html; charset=UTF-8",
            (false, true) => EVENTS,
            (false, false) => JSON,
        };
        Self {
            status: refusal.status,
            content_type,
            outcome: Outcome::Refused(refusal.why),
            ..Self::whole(refusal.body(shape))
        }
    }

    /// A stream of one-line or pretty-printed JSON objects, with `gap` between them, damaged as ordered.
    pub(super) fn stream(
        parts: &[String],
        framing: Framing,
        gap: Duration,
        failure: Option<&Failure>,
    ) -> Self {
        let mut parts = parts.to_vec();
        let bare = cut_short(&mut parts, framing, failure);
        let mut steps = framing.events(&parts, bare);
        let outcome = damage(&mut steps, failure, framing);
        if !gap.is_zero() {
            let paced = steps.into_iter().enumerate().flat_map(|(index, step)| {
                let pause = (index > 0).then_some(Step::Pause(gap));
                pause.into_iter().chain([step])
            });
            steps = paced.collect();
        }
        let events = framing != Framing::Array;
        let mut reply = Self::whole(Bytes::new());
        reply.body = Body::Steps { length: None, steps };
        if failure == Some(&Failure::CutBeforeHead) {
            reply.body = Body::Nothing;
        } else if failure == Some(&Failure::EmptyStream) {
            reply.body = Body::Whole(Bytes::new());
        }
        reply.outcome = outcome;
        if events {
            reply.content_type = EVENTS;
        }
        if framing == Framing::Sse && failure != Some(&Failure::EmptyStream) {
            reply.headers.push(("content-disposition", "attachment".to_owned()));
        }
        reply
    }

    /// Damages a whole answer: a cut or a stall meets it in the middle of its body.
    pub(super) fn damaged(mut self, failure: Option<&Failure>) -> Self {
        let Body::Whole(body) = &self.body else { return self };
        let (first, second) = halves(body);
        let steps = match failure {
            Some(Failure::CutBeforeHead) => {
                self.body = Body::Nothing;
                self.outcome = Outcome::Broken("cut before head");
                return self;
            }
            Some(Failure::CutAfter(0)) => vec![Step::Cut],
            Some(Failure::CutAfter(_) | Failure::CutInside(_)) => vec![Step::Send(first), Step::Cut],
            Some(Failure::Stall { after, lasts }) => {
                let silence = lasts.map_or(Step::Hold, Step::Pause);
                match after {
                    0 => vec![silence, Step::Send(body.clone())],
                    _ => vec![Step::Send(first), silence, Step::Send(second)],
                }
            }
            _ => return self,
        };
        self.outcome = Outcome::Broken(if steps.contains(&Step::Cut) { "cut" } else { "stalled" });
        self.body = Body::Steps { length: Some(body.len() as u64), steps };
        self
    }

    pub(super) fn delayed(mut self, trip: &Trip, more: Duration) -> Self {
        self.wait += trip.wait + more;
        self.hold |= trip.hold;
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Framing {
    fn event(self, part: &str) -> Bytes {
        Bytes::from(match self {
            Self::Sse => format!("data: {part}\r\n\r\n"),
            Self::SseDone => format!("data: {part}\n\n"),
            Self::Array => format!("{part}\n"),
        })
    }

    /// The stream's writes; `bare` is an error written without framing after the events.
    fn events(self, parts: &[String], bare: Option<String>) -> Vec<Step> {
        let mut steps = Vec::with_capacity(parts.len() + 2);
        for (index, part) in parts.iter().enumerate() {
            steps.push(Step::Send(match (self, index) {
                (Self::Array, 0) => Bytes::from(format!("[{part}\n")),
                (Self::Array, _) => Bytes::from(format!(",\r\n{part}\n")),
                _ => self.event(part),
            }));
        }
        let broken = bare.is_some();
        if let Some(error) = bare {
            // A write of its own, as Google's is: the events before it are flushed first.
            steps.push(Step::Pause(Duration::ZERO));
            steps.push(Step::Send(Bytes::from(format!("{error}\n"))));
        }
        match self {
            Self::Array if parts.is_empty() => steps.push(Step::Send(Bytes::from_static(b"[]"))),
            Self::Array => steps.push(Step::Send(Bytes::from_static(b"]"))),
            Self::SseDone if !broken => steps.push(Step::Send(self.event("[DONE]"))),
            _ => {}
        }
        steps
    }
}

/// Ends `parts` where an error in the stream is ordered: pushes it as an event, or returns it to be sent bare.
fn cut_short(parts: &mut Vec<String>, framing: Framing, failure: Option<&Failure>) -> Option<String> {
    let Some(Failure::ErrorInStream { after, form, code }) = failure else { return None };
    parts.truncate(*after);
    let error = match code {
        429 => refusal::bare_exhausted("in stream"),
        499 => refusal::cancelled(),
        500 => refusal::internal(),
        _ => refusal::overloaded(),
    };
    match (framing, form) {
        // An array has room for an error only as one of its elements.
        (Framing::Array, _) => parts.push(error.pretty(Shape::Plain)),
        (_, ErrorForm::DataLine) => parts.push(error.line()),
        (_, ErrorForm::Bare) => return Some(error.pretty(Shape::Plain)),
    }
    None
}

/// Applies the failures that work on the sent bytes, and names the outcome.
fn damage(steps: &mut Vec<Step>, failure: Option<&Failure>, framing: Framing) -> Outcome {
    let Some(failure) = failure else { return Outcome::Served };
    Outcome::Broken(match failure {
        Failure::CutBeforeHead => "cut before head",
        Failure::CutAfter(whole) => {
            steps.truncate(*whole);
            steps.push(Step::Cut);
            "cut"
        }
        Failure::CutInside(whole) => {
            let next = match steps.get(*whole) {
                Some(Step::Send(bytes)) => Some(halves(bytes).0),
                _ => None,
            };
            steps.truncate(*whole);
            steps.extend(next.map(Step::Send));
            steps.push(Step::Cut);
            "cut inside an event"
        }
        Failure::Stall { after, lasts } => {
            steps.insert((*after).min(steps.len()), lasts.map_or(Step::Hold, Step::Pause));
            "stalled"
        }
        Failure::NoFinalBlankLine => {
            if let Some(Step::Send(last)) = steps.last_mut() {
                let ending = if framing == Framing::Sse { 4 } else { 2 };
                last.truncate(last.len().saturating_sub(ending));
            }
            "no final blank line"
        }
        Failure::ErrorInStream { .. } => "error in stream",
        Failure::EmptyStream => "empty stream",
        _ => return Outcome::Served,
    })
}

fn halves(body: &Bytes) -> (Bytes, Bytes) {
    let mut first = body.clone();
    let second = first.split_off(body.len() / 2);
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(reply: &Reply) -> String {
        let Body::Steps { steps, .. } = &reply.body else { panic!("no steps: {reply:?}") };
        let sent = steps.iter().map(|step| match step {
            Step::Send(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Step::Pause(pause) if pause.is_zero() => String::new(),
            other => format!("<{other:?}>"),
        });
        sent.collect()
    }

    fn stream(framing: Framing, failure: Failure) -> String {
        let parts = ["{1}".to_owned(), "{2}".to_owned()];
        bytes(&Reply::stream(&parts, framing, Duration::ZERO, Some(&failure)))
    }

    fn healthy(framing: Framing) -> String {
        let parts = ["{1}".to_owned(), "{2}".to_owned()];
        bytes(&Reply::stream(&parts, framing, Duration::ZERO, None))
    }

    #[test]
    fn framings_are_exact() {
        assert_eq!(healthy(Framing::Sse), "data: {1}\r\n\r\ndata: {2}\r\n\r\n");
        assert_eq!(healthy(Framing::SseDone), "data: {1}\n\ndata: {2}\n\ndata: [DONE]\n\n");
        assert_eq!(healthy(Framing::Array), "[{1}\n,\r\n{2}\n]");
    }

    #[test]
    fn cuts_and_stalls_fall_where_ordered() {
        assert_eq!(stream(Framing::Sse, Failure::CutAfter(1)), "data: {1}\r\n\r\n<Cut>");
        assert_eq!(stream(Framing::Sse, Failure::CutAfter(0)), "<Cut>");
        assert_eq!(stream(Framing::Sse, Failure::CutInside(1)), "data: {1}\r\n\r\ndata: <Cut>");
        let stall = Failure::Stall { after: 1, lasts: None };
        assert_eq!(stream(Framing::Sse, stall), "data: {1}\r\n\r\n<Hold>data: {2}\r\n\r\n");
        assert_eq!(stream(Framing::Sse, Failure::NoFinalBlankLine), "data: {1}\r\n\r\ndata: {2}");
    }

    #[test]
    fn errors_in_streams_take_each_form() {
        let error = |form| Failure::ErrorInStream { after: 1, form, code: 503 };
        let bare = stream(Framing::Sse, error(ErrorForm::Bare));
        assert!(bare.starts_with("data: {1}\r\n\r\n{\n  \"error\": {\n    \"code\": 503,"), "{bare}");
        let line = stream(Framing::Sse, error(ErrorForm::DataLine));
        assert!(line.starts_with("data: {1}\r\n\r\ndata: {\"error\":{\"code\":503,"), "{line}");
        assert!(line.ends_with("}}\r\n\r\n"), "{line}");
        let array = stream(Framing::Array, error(ErrorForm::Bare));
        assert!(array.starts_with("[{1}\n,\r\n{\n  \"error\"") && array.ends_with("}\n]"), "{array}");
        let first =
            stream(Framing::Sse, Failure::ErrorInStream { after: 0, form: ErrorForm::DataLine, code: 429 });
        assert!(first.starts_with("data: {\"error\":{\"code\":429,"), "{first}");
    }

    #[test]
    fn whole_answers_break_in_the_middle_of_their_announced_length() {
        let reply = Reply::whole("abcdef").damaged(Some(&Failure::CutAfter(1)));
        assert_eq!(bytes(&reply), "abc<Cut>");
        assert!(matches!(reply.body, Body::Steps { length: Some(6), .. }));
        let untouched = Reply::whole("abcdef").damaged(Some(&Failure::EmptyStream));
        assert_eq!(untouched.outcome, Outcome::Served);
    }
}
