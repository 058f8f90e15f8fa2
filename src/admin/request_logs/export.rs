//! Requests as a file: written page by page, as fast as somebody reads it.

use std::{io, sync::Arc};

use futures_util::stream;
use poem::Body;
use poem_openapi::{ApiResponse, Enum, payload::Binary, types::ToJSON};
use projections::Seq;

use super::{ask, shapes::RequestLogView};
use crate::{
    admin::problem::Problem,
    pool::Pool,
    request_log::{Page, filter::Filter},
    shares::Share,
};

/// Requests read at once.
const PAGE: usize = 500;

/// How to write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum RequestExportFormat {
    /// Comma-separated values (RFC 4180), with a line of names.
    Csv,
    /// JSON, one request a line.
    Jsonl,
}

/// A file.
#[derive(ApiResponse)]
pub(super) enum Export {
    /// Comma-separated values.
    #[oai(status = 200, content_type = "text/csv")]
    Csv(Binary<Body>, #[oai(header = "Content-Disposition")] String),
    /// JSON, one request a line.
    #[oai(status = 200, content_type = "application/jsonl")]
    Jsonl(Binary<Body>, #[oai(header = "Content-Disposition")] String),
}

struct Writing {
    pool: Arc<Pool>,
    /// Held until the last line is out, or nobody reads any more.
    _place: Share,
    filter: Filter,
    format: RequestExportFormat,
    /// The page that is to be written next.
    page: Page,
    first: bool,
}

impl Export {
    /// Begins, unless what there is is not whole.
    pub(super) async fn begin(
        pool: Arc<Pool>,
        place: Share,
        filter: Filter,
        format: RequestExportFormat,
    ) -> Result<Self, Problem> {
        let page = page(&pool, &filter, Seq::MAX).await?;
        if let Some(indexing) = page.indexing {
            return Err(Problem::indexing(indexing.done, indexing.of));
        }
        let writing = Writing { pool, _place: place, filter, format, page, first: true };
        let lines = stream::try_unfold(Some(writing), |writing| async move {
            match writing {
                None => Ok(None),
                Some(writing) => writing.next().await.map(Some),
            }
        });
        let body = Binary(Body::from_bytes_stream(lines));
        Ok(match format {
            RequestExportFormat::Csv => Self::Csv(body, "attachment; filename=\"requests.csv\"".to_owned()),
            RequestExportFormat::Jsonl => {
                Self::Jsonl(body, "attachment; filename=\"requests.jsonl\"".to_owned())
            }
        })
    }
}

async fn page(pool: &Arc<Pool>, filter: &Filter, before: Seq) -> Result<Page, Problem> {
    let filter = filter.clone();
    ask(pool, move |log| log.page(&filter, before, PAGE)).await
}

impl Writing {
    /// The lines of this page, and what is left to write.
    async fn next(mut self) -> io::Result<(Vec<u8>, Option<Self>)> {
        let mut lines = String::new();
        if self.first && self.format == RequestExportFormat::Csv {
            line(&mut lines, NAMES.map(str::to_owned));
        }
        self.first = false;
        {
            let state = self.pool.ledger.state();
            for entry in &self.page.entries {
                let view = RequestLogView::of(&state, entry);
                match self.format {
                    RequestExportFormat::Csv => line(&mut lines, fields(view)),
                    RequestExportFormat::Jsonl => {
                        lines.push_str(&view.to_json_string());
                        lines.push('\n');
                    }
                }
            }
        }
        let Some(before) = self.page.next else { return Ok((lines.into_bytes(), None)) };
        let next = page(&self.pool, &self.filter, before).await;
        // The status is out; a file that breaks off is seen not to be whole.
        self.page = next.map_err(|_| io::Error::other("the request log cannot be read"))?;
        Ok((lines.into_bytes(), Some(self)))
    }
}

const NAMES: [&str; 27] = [
    "time",
    "id",
    "seq",
    "client_id",
    "client",
    "model",
    "method",
    "verb",
    "path",
    "streamed",
    "status",
    "outcome",
    "tries",
    "keys",
    "waited_ms",
    "first_byte_ms",
    "duration_ms",
    "prompt_tokens",
    "output_tokens",
    "thoughts_tokens",
    "cached_tokens",
    "bytes",
    "finish_reason",
    "reason",
    "upstream_reason",
    "verdict",
    "address",
];

fn fields(view: RequestLogView) -> [String; 27] {
    let keys: Vec<String> = view.keys.iter().map(|key| key.id.to_string()).collect();
    let (client_id, client) = view
        .client
        .map(|client| (client.id.to_string(), client.name.unwrap_or_default()))
        .unwrap_or_default();
    let tokens = view.tokens_of_all;
    [
        view.time,
        view.id,
        view.seq.to_string(),
        client_id,
        client,
        view.model,
        view.method,
        view.verb,
        view.path,
        view.streamed.to_string(),
        view.status.to_string(),
        view.outcome.to_json_string().trim_matches('"').to_owned(),
        view.tries.to_string(),
        keys.join(" "),
        view.waited_ms.to_string(),
        view.first_byte_ms.map(|ms| ms.to_string()).unwrap_or_default(),
        view.duration_ms.to_string(),
        tokens.prompt.to_string(),
        tokens.output.to_string(),
        tokens.thoughts.to_string(),
        tokens.cached.to_string(),
        view.bytes.to_string(),
        view.finish_reason.unwrap_or_default(),
        view.reason.unwrap_or_default(),
        view.upstream_reason.unwrap_or_default(),
        view.verdict.unwrap_or_default(),
        view.address,
    ]
}

/// Writes a line of CSV (RFC 4180).
fn line(out: &mut String, fields: impl IntoIterator<Item = String>) {
    for (place, field) in fields.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        // What clients may choose, such as a model's name, must not become a formula of a spreadsheet.
        let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
        if formula || field.contains(['"', ',', '\n', '\r']) {
            let mark = if formula { "'" } else { "" };
            out.push_str(&format!("\"{mark}{}\"", field.replace('"', "\"\"")));
        } else {
            out.push_str(&field);
        }
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn fields_are_quoted_where_they_must_be_and_are_no_formulas() {
        let mut out = String::new();
        line(&mut out, ["a", "b,c", "say \"no\"", "=1+1", "two\nlines", ""].map(str::to_owned));
        assert_eq!(out, "a,\"b,c\",\"say \"\"no\"\"\",\"'=1+1\",\"two\nlines\",\r\n");
    }
}
