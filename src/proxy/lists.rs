//! Lists of what several projects have, page after page and project after project.
//!
//! Owns the order (projects by name, each to its end) and the pool's own page token, so that a list goes on
//! where it was, whatever is made meanwhile. Only projects that are known to have something of the kind are
//! asked. Where pages cannot be put together (OpenAI's and the interactions' lists, which lead on by other
//! means, and answers in another form than whole JSON), one project answers and a header says so. One
//! invariant: the bytes of a page are Google's, but for its `nextPageToken`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use http_body_util::BodyExt;
use poem::{Body as ResponseBody, Response};
use projections::event::{Outcome, Verdict};
use tokio::time::timeout_at;

use super::{
    Asked, Proxy,
    affinity::{Seat, home},
    attempt::Answer,
    intake::Body,
    record::RequestRecord,
    refuse,
    rescue::Refusal,
};
use crate::{
    gemini::{
        headers,
        pages::{Page, Token, is_odd, token_in, with_token},
        resources::is_paged,
        target::Shape,
    },
    vault::UpstreamKey,
};

/// Says that a list is of one project only, though others have such things too.
const PARTIAL: HeaderName = HeaderName::from_static("x-gemini-pool-partial");
/// Largest page that is put together with others, in bytes.
const LARGEST: usize = 16 << 20;

/// How a list is answered.
pub(super) enum Plan {
    /// As any other request; and this header goes with the answer.
    Plain(Option<HeaderValue>),
    /// In pages, beginning here; none: with the keeper's project.
    Pages(Option<Token>),
}

impl Proxy {
    /// How this is answered, if it is a list, and there are several projects.
    pub(super) fn plan(&self, asked: &mut Asked) -> Result<Plan, Refusal> {
        let Some(collection) = asked.place.lists(&asked.verb) else { return Ok(Plan::Plain(None)) };
        let state = self.ledger.state();
        // A list that began over several projects goes on where only one of them is left.
        let begun = || token_in(&asked.target.query).is_some_and(|text| Token::read(&text).is_some());
        if state.keys.projects().nth(1).is_none() && !begun() {
            return Ok(Plan::Plain(None));
        }
        let holders = state.resources.projects_with(collection);
        let odd = !is_paged(collection)
            || asked.target.shape != Shape::Native
            || asked.headers.contains_key("x-goog-fieldmask")
            || is_odd(&asked.target.query);
        if odd {
            let home = home(&state, asked.client);
            let Some(first) = holders.first() else { return Ok(Plan::Plain(None)) };
            let project = home.filter(|home| holders.contains(home.as_str())).unwrap_or((*first).to_owned());
            let said = format!("project {project} only, of {} that have some", holders.len());
            let header = HeaderValue::from_str(&said).unwrap_or(HeaderValue::from_static("one project only"));
            asked.seat = seat(collection, project);
            return Ok(Plan::Plain((holders.len() > 1).then_some(header)));
        }
        let first =
            || holders.first().map(|project| Token { project: (*project).to_owned(), inner: String::new() });
        match token_in(&asked.target.query) {
            None => Ok(Plan::Pages(first())),
            Some(text) => match Token::read(&text) {
                Some(token) if state.keys.project(&token.project).is_some() => Ok(Plan::Pages(Some(token))),
                // Google's own, from a time when there was one project: that it is of the only one that has
                // any is the best guess.
                None if holders.len() < 2 => {
                    Ok(Plan::Pages(first().map(|token| Token { inner: text, ..token })))
                }
                _ => Err(Refusal::PageToken),
            },
        }
    }

    /// One page.
    pub(super) async fn list(
        &self,
        mut asked: Asked,
        begin: Option<Token>,
        mut record: RequestRecord,
    ) -> Response {
        let shape = asked.target.shape;
        // It is read here, and goes to the client as it is then.
        asked.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let collection = asked.place.collection.clone().unwrap_or_default();
        let mut here = begin;
        loop {
            if let Some(token) = &here {
                asked.seat = seat(&collection, token.project.clone());
                asked.target.query = with_token(&asked.target.query, &token.inner);
            }
            let (answer, key) = match self.seek(&asked, Body::default(), &mut record).await {
                Ok(found) => found,
                Err(unserved) => return self.give_up(&asked, record, unserved).await,
            };
            let project = answer.attempt.attempted.project.clone();
            let (status, google) = (answer.status, answer.headers.clone());
            let body = match self.collect(&asked, answer, &key).await {
                Ok(body) => body,
                Err(refusal) => return refuse(record, &refusal, shape).await,
            };
            let body = match Page::read(&body) {
                Some(page) => match (page.next(), self.after(&collection, &project)) {
                    (Some(inner), _) => Bytes::from(page.leading_to(&Token { project, inner })),
                    (None, Some(next)) => {
                        let next = Token { project: next, inner: String::new() };
                        if page.is_empty() {
                            here = Some(next);
                            continue;
                        }
                        Bytes::from(page.leading_to(&next))
                    }
                    (None, None) => body,
                },
                None => body,
            };
            let mut headers = headers::downstream(&google, key.forms());
            headers.remove(header::CONTENT_LENGTH);
            record.answered.status = status.as_u16();
            record.answered.bytes = body.len() as u64;
            record.first_byte();
            if let Some(copy) = record.bodies() {
                copy.answers(&headers);
                copy.answered(&body);
            }
            record.finish(Outcome::Complete, None).await;
            let mut response = Response::builder().status(status).body(ResponseBody::from_bytes(body));
            *response.headers_mut() = headers;
            return response;
        }
    }

    /// The project whose turn it is after another.
    fn after(&self, collection: &str, project: &str) -> Option<String> {
        let state = self.ledger.state();
        let holders = state.resources.projects_with(collection);
        holders.into_iter().find(|holder| *holder > project).map(str::to_owned)
    }

    /// An answer, whole and without the key; it is recorded.
    async fn collect(&self, asked: &Asked, answer: Answer, key: &UpstreamKey) -> Result<Bytes, Refusal> {
        let mut learning = self.learn(asked, &answer).await;
        let Answer { mut head, mut rest, mut attempt, .. } = answer;
        let mut body = Vec::new();
        let ended = loop {
            let chunk = match head.pop_front() {
                Some(chunk) => chunk,
                None => match timeout_at(asked.deadline, rest.frame()).await {
                    Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                    Ok(None) => break Ok(()),
                    Ok(Some(Err(_))) => {
                        break Err(Refusal::Unanswered { last: "the list broke off".to_owned() });
                    }
                    Err(_) => break Err(Refusal::TooSlow { seconds: asked.timeout.as_secs() }),
                },
            };
            if body.len() + chunk.len() > LARGEST {
                break Err(Refusal::PageTooLarge(LARGEST));
            }
            if let Some(learning) = &mut learning {
                learning.follow(&chunk).await;
            }
            body.extend_from_slice(&chunk);
        };
        attempt.attempted.bytes_received = body.len() as u64;
        attempt.record(if ended.is_ok() { Verdict::Success } else { Verdict::Truncated }).await;
        ended?;
        key.forms().mask(&mut body);
        Ok(Bytes::from(body))
    }
}

/// Adds what a plan says of an answer.
pub(super) fn say(header: Option<HeaderValue>, mut response: Response) -> Response {
    if let Some(header) = header {
        response.headers_mut().insert(PARTIAL, header);
    }
    response
}

fn seat(collection: &str, project: String) -> Seat {
    Seat::Owner { name: format!("This part of the list of {collection}"), project }
}
