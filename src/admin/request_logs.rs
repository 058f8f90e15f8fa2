//! The request log: pages, one request, counts, export.
//!
//! Owns the questions as they come over HTTP; [`crate::request_log`] answers them,
//! on threads that may wait for a disk. A page goes on behind the last request
//! that was shown, so it holds still while new ones arrive.

mod counts;
mod detail;
mod export;
mod shapes;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use poem_openapi::{
    Enum, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use projections::{ClientId, KeyId, Millis, RequestId, Seq};

use self::{
    counts::RequestCounts,
    detail::RequestLogDetail,
    export::{Export, RequestExportFormat},
    shapes::{RequestLogList, RequestOutcome},
};
use super::{
    Tag, Token,
    problem::{AUTH, BUSY, Failure, INPUT, LOG, MISSING, Problem},
};
use crate::{
    ledger::clock::millis_of,
    pool::Pool,
    request_log::{
        Error, RequestLog,
        filter::{Filter, Statuses},
    },
};

/// Requests on a page at most.
const MOST: u32 = 1_000;

pub(super) struct RequestLogsApi(pub(super) Option<Arc<Pool>>);

/// Conditions, as they come.
struct Asked {
    from: Option<String>,
    to: Option<String>,
    key: Option<u32>,
    client: Option<u32>,
    model: Option<String>,
    status: Option<String>,
    outcome: Option<RequestOutcome>,
    min_latency_ms: Option<u32>,
    max_latency_ms: Option<u32>,
    text: Option<String>,
    request: Option<String>,
    streamed: Option<bool>,
    tries_min: Option<u8>,
}

impl Asked {
    fn filter(self) -> Result<Filter, Problem> {
        let time = |name: &str, text: Option<String>| -> Result<Option<Millis>, Problem> {
            let wants =
                || Problem::bad_request(format!("`{name}` wants a time such as 2026-11-24T08:00:00Z"));
            text.map(|text| millis_of(&text).ok_or_else(wants)).transpose()
        };
        let statuses = |text: String| {
            Statuses::parse(&text).ok_or_else(|| {
                Problem::bad_request("`status` wants a status such as 429, or a class such as 4xx")
            })
        };
        let request = |text: String| {
            text.parse::<RequestId>().map_err(|error| Problem::bad_request(format!("`request`: {error}")))
        };
        let filter = Filter {
            from: time("from", self.from)?,
            to: time("to", self.to)?,
            key: self.key.map(KeyId),
            client: self.client.map(ClientId),
            model: self.model,
            statuses: self.status.map(statuses).transpose()?,
            outcome: self.outcome.map(Into::into),
            least_ms: self.min_latency_ms,
            most_ms: self.max_latency_ms,
            text: None,
            request: self.request.map(request).transpose()?,
            streamed: self.streamed,
            least_tries: self.tries_min,
        };
        Ok(filter.containing(self.text.as_deref().unwrap_or_default()))
    }
}

/// A position in the list.
fn cursor(before: Seq) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("request_logs {before}"))
}

fn position(cursor: Option<&str>) -> Result<Seq, Problem> {
    let Some(cursor) = cursor else { return Ok(Seq::MAX) };
    let read = || {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        text.strip_prefix("request_logs ")?.parse().ok()
    };
    read().ok_or_else(Problem::bad_cursor)
}

/// Asks the log on a thread that may wait.
async fn ask<T: Send + 'static>(
    pool: &Arc<Pool>,
    question: impl FnOnce(&RequestLog) -> Result<T, Error> + Send + 'static,
) -> Result<T, Problem> {
    let log = Arc::clone(&pool.request_log);
    let asked = tokio::task::spawn_blocking(move || question(&log)).await;
    // A panic is a fault of the pool's own, and answered as one.
    Ok(asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}

/// Which request a path names.
#[derive(Clone, Copy)]
enum Named {
    Id(RequestId),
    Seq(Seq),
}

fn named(text: &str) -> Option<Named> {
    // An id without its hyphens may be all digits, and is then 32 long: longer than any position.
    let seq = text.parse().ok().map(Named::Seq);
    seq.or_else(|| text.parse().ok().map(Named::Id))
}

#[OpenApi]
impl RequestLogsApi {
    /// Requests, the newest first
    ///
    /// By the time of their ends. All conditions that are said must hold.
    #[oai(path = "/request_logs", method = "get", tag = "Tag::Requests", operation_id = "list_request_logs")]
    #[expect(clippy::too_many_arguments, reason = "one for each condition")]
    async fn list(
        &self,
        token: Token,
        /// Arrived then or later (RFC 3339).
        from: Query<Option<String>>,
        /// Arrived before (RFC 3339).
        to: Query<Option<String>>,
        /// Tried with this key, by its number.
        key: Query<Option<u32>>,
        /// Of this client, by its number; 0: of none.
        client: Query<Option<u32>>,
        /// For this model.
        model: Query<Option<String>>,
        /// With this status, such as `429`, or one of a class, such as `4xx`; 0: the client saw none.
        status: Query<Option<String>>,
        /// Ended so.
        outcome: Query<Option<RequestOutcome>>,
        /// Took so long or longer.
        min_latency_ms: Query<Option<u32>>,
        /// Took so long or less.
        max_latency_ms: Query<Option<u32>>,
        /// With this in the pool's reason, in Google's, or in a failed try's verdict; in large or small letters.
        text: Query<Option<String>>,
        /// With this id.
        request: Query<Option<String>>,
        /// A stream was asked for, or was not.
        streamed: Query<Option<bool>>,
        /// With so many upstream tries or more.
        tries_min: Query<Option<u8>>,
        /// How many at most, 1 to 1,000.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// Where to go on: what `next` of the page before said.
        cursor: Query<Option<String>>,
    ) -> Result<Json<RequestLogList>, Failure<{ INPUT | AUTH | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let asked = Asked {
            from: from.0,
            to: to.0,
            key: key.0,
            client: client.0,
            model: model.0,
            status: status.0,
            outcome: outcome.0,
            min_latency_ms: min_latency_ms.0,
            max_latency_ms: max_latency_ms.0,
            text: text.0,
            request: request.0,
            streamed: streamed.0,
            tries_min: tries_min.0,
        };
        let (filter, before) = (asked.filter()?, position(cursor.0.as_deref())?);
        let limit = limit.0.min(MOST) as usize;
        let page = ask(pool, move |log| log.page(&filter, before, limit)).await?;
        Ok(Json(RequestLogList::of(pool, &page)))
    }

    /// How many requests there are
    ///
    /// In all, and by outcome, status, model, client and key, under the same conditions as the list.
    #[oai(
        path = "/request_logs/counts",
        method = "get",
        tag = "Tag::Requests",
        operation_id = "count_request_logs"
    )]
    #[expect(clippy::too_many_arguments, reason = "one for each condition")]
    async fn counts(
        &self,
        token: Token,
        /// Arrived then or later (RFC 3339).
        from: Query<Option<String>>,
        /// Arrived before (RFC 3339).
        to: Query<Option<String>>,
        /// Tried with this key, by its number.
        key: Query<Option<u32>>,
        /// Of this client, by its number; 0: of none.
        client: Query<Option<u32>>,
        /// For this model.
        model: Query<Option<String>>,
        /// With this status, such as `429`, or one of a class, such as `4xx`; 0: the client saw none.
        status: Query<Option<String>>,
        /// Ended so.
        outcome: Query<Option<RequestOutcome>>,
        /// Took so long or longer.
        min_latency_ms: Query<Option<u32>>,
        /// Took so long or less.
        max_latency_ms: Query<Option<u32>>,
        /// With this in the pool's reason, in Google's, or in a failed try's verdict; in large or small letters.
        text: Query<Option<String>>,
        /// With this id.
        request: Query<Option<String>>,
        /// A stream was asked for, or was not.
        streamed: Query<Option<bool>>,
        /// With so many upstream tries or more.
        tries_min: Query<Option<u8>>,
    ) -> Result<Json<RequestCounts>, Failure<{ INPUT | AUTH | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let asked = Asked {
            from: from.0,
            to: to.0,
            key: key.0,
            client: client.0,
            model: model.0,
            status: status.0,
            outcome: outcome.0,
            min_latency_ms: min_latency_ms.0,
            max_latency_ms: max_latency_ms.0,
            text: text.0,
            request: request.0,
            streamed: streamed.0,
            tries_min: tries_min.0,
        };
        let filter = asked.filter()?;
        let (tally, indexing) = ask(pool, move |log| log.count(&filter)).await?;
        Ok(Json(RequestCounts::of(pool, tally, indexing)))
    }

    /// All requests that are asked for, as a file
    ///
    /// The newest first, under the same conditions as the list. The file is written as it is read, so one that
    /// breaks off is not whole.
    #[oai(
        path = "/request_logs/export",
        method = "get",
        tag = "Tag::Requests",
        operation_id = "export_request_logs"
    )]
    #[expect(clippy::too_many_arguments, reason = "one for each condition")]
    async fn export(
        &self,
        token: Token,
        /// CSV with a line of names, or JSON, one request a line, as the list gives them.
        format: Query<RequestExportFormat>,
        /// Arrived then or later (RFC 3339).
        from: Query<Option<String>>,
        /// Arrived before (RFC 3339).
        to: Query<Option<String>>,
        /// Tried with this key, by its number.
        key: Query<Option<u32>>,
        /// Of this client, by its number; 0: of none.
        client: Query<Option<u32>>,
        /// For this model.
        model: Query<Option<String>>,
        /// With this status, such as `429`, or one of a class, such as `4xx`; 0: the client saw none.
        status: Query<Option<String>>,
        /// Ended so.
        outcome: Query<Option<RequestOutcome>>,
        /// Took so long or longer.
        min_latency_ms: Query<Option<u32>>,
        /// Took so long or less.
        max_latency_ms: Query<Option<u32>>,
        /// With this in the pool's reason, in Google's, or in a failed try's verdict; in large or small letters.
        text: Query<Option<String>>,
        /// With this id.
        request: Query<Option<String>>,
        /// A stream was asked for, or was not.
        streamed: Query<Option<bool>>,
        /// With so many upstream tries or more.
        tries_min: Query<Option<u8>>,
    ) -> Result<Export, Failure<{ INPUT | AUTH | BUSY | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let place = pool.exports.take(token.session(pool)?.caller())?;
        let asked = Asked {
            from: from.0,
            to: to.0,
            key: key.0,
            client: client.0,
            model: model.0,
            status: status.0,
            outcome: outcome.0,
            min_latency_ms: min_latency_ms.0,
            max_latency_ms: max_latency_ms.0,
            text: text.0,
            request: request.0,
            streamed: streamed.0,
            tries_min: tries_min.0,
        };
        Ok(Export::begin(Arc::clone(pool), place, asked.filter()?, format.0).await?)
    }

    /// One request with its tries, and its bodies where they were kept
    #[oai(
        path = "/request_logs/:log_id",
        method = "get",
        tag = "Tag::Requests",
        operation_id = "get_request_log"
    )]
    async fn get(
        &self,
        token: Token,
        /// Its id, as `x-request-id` of its answer told it, or the position of its `Answered` in the log.
        log_id: Path<String>,
    ) -> Result<Json<RequestLogDetail>, Failure<{ INPUT | AUTH | MISSING | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let wants =
            "a request is named by its id (32 hexadecimal digits) or by the position of its end in the log";
        let name = named(&log_id.0).ok_or_else(|| Problem::bad_request(wants))?;
        let found = ask(pool, move |log| {
            let entry = match name {
                Named::Id(id) => log.by_id(id)?,
                Named::Seq(seq) => log.by_seq(seq)?,
            };
            let Some(entry) = entry else { return Ok(None) };
            let kept = log.bodies.get(entry.answered.request)?;
            Ok(Some((entry, kept)))
        });
        let (entry, kept) = found.await?.ok_or_else(|| {
            Problem::not_found("there is no such request; it may still be under way, or be gone from the log")
        })?;
        Ok(Json(RequestLogDetail::of(pool, &entry, kept)))
    }
}

fn default_limit() -> u32 {
    100
}

/// Which bodies are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum RequestBodiesKept {
    /// None.
    Off,
    /// Those of requests that did not go well.
    Errors,
    /// All.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_others_are_refused() {
        assert_eq!(position(Some(&cursor(7))).unwrap(), 7);
        assert_eq!(position(None).unwrap(), Seq::MAX);
        for bad in ["", "7", "!", "cmVxdWVzdF9sb2dzIHg", &BASE64_URL_SAFE_NO_PAD.encode("keys 7")] {
            assert!(position(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn requests_are_named_by_id_or_by_position() {
        assert!(matches!(named("17"), Some(Named::Seq(17))));
        let id = "019ab000-0000-7000-8000-000000000001";
        assert!(matches!(named(id), Some(Named::Id(_))));
        assert!(matches!(named("01999999999999999999999999999999"), Some(Named::Id(_))));
        assert!(named("counts!").is_none());
    }
}
