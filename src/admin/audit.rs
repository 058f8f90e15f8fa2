//! Audits of the log: whether it is as it was written.

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json, types::ToJSON};

use super::{
    Tag, Token,
    problem::{AUTH, Failure, LOG},
};
use crate::{
    ledger::{audit::Finding, clock::rfc3339},
    pool::{Pool, audit::Done},
};

pub(super) struct AuditApi(pub(super) Option<Arc<Pool>>);

/// Something wrong with the log.
#[derive(Object)]
struct FindingView {
    /// The event that it is about.
    seq: Option<u64>,
    /// When that event says it was recorded (RFC 3339); of a missing one, when the one before it was.
    at: Option<String>,
    /// Its type, as far as it can be read.
    r#type: Option<String>,
    /// What is wrong.
    what: String,
}

/// What an audit found.
#[derive(Object)]
struct ReportView {
    /// Whether the log is as it was written.
    intact: bool,
    /// When the audit began (RFC 3339).
    began: String,
    /// When it ended.
    ended: String,
    /// The last event that it looked at.
    through: u64,
    /// Events that it read.
    records: u64,
    /// Events of old traffic that LOG_RETENTION_DAYS had dropped before.
    dropped: u64,
    /// How often some were dropped.
    trims: u64,
    /// Checkpoints that say what the log says.
    checkpoints: u64,
    /// What is wrong, the first event first.
    findings: Vec<FindingView>,
}

/// An audit under way.
#[derive(Object)]
struct RunningView {
    /// When it began (RFC 3339).
    began: String,
    /// The last event that it has looked at.
    done: u64,
    /// The last one that it will look at.
    through: u64,
}

/// How audits stand.
#[derive(Object)]
struct AuditView {
    /// The one under way, if any.
    running: Option<RunningView>,
    /// The last that ended since the service started, if any.
    last: Option<ReportView>,
}

#[derive(ApiResponse)]
enum Started {
    /// One is under way.
    #[oai(status = 202)]
    UnderWay(Json<AuditView>),
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        let Finding { seq, at, kind, what } = finding;
        Self { seq, at: at.map(rfc3339), r#type: kind.map(str::to_owned), what }
    }
}

impl From<Done> for ReportView {
    fn from(Done { began, ended, report }: Done) -> Self {
        Self {
            intact: report.findings.is_empty(),
            began: rfc3339(began),
            ended: rfc3339(ended),
            through: report.through,
            records: report.records,
            dropped: report.dropped,
            trims: report.trims,
            checkpoints: report.checkpoints,
            findings: report.findings.into_iter().map(Into::into).collect(),
        }
    }
}

/// A report as the API shows it.
#[must_use]
pub fn audit_report(done: Done) -> serde_json::Value {
    ReportView::from(done).to_json().unwrap_or_default()
}

fn view(pool: &Pool) -> AuditView {
    let (running, last) = pool.audits.now();
    let running = running.map(|running| RunningView {
        began: rfc3339(running.began),
        done: running.done,
        through: running.through,
    });
    AuditView { running, last: last.map(Into::into) }
}

#[OpenApi]
impl AuditApi {
    /// The last audit of the log, and how far a running one is
    #[oai(path = "/audit", method = "get", tag = "Tag::Events", operation_id = "get_audit")]
    async fn get(&self, token: Token) -> Result<Json<AuditView>, Failure<{ AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        Ok(Json(view(pool)))
    }

    /// Begin an audit of the log: every record, its place, checksum and link, every checkpoint, every secret's name
    ///
    /// It runs in the background. One that is under way goes on, and no other begins.
    #[oai(path = "/audit", method = "post", tag = "Tag::Events", operation_id = "start_audit")]
    async fn start(&self, token: Token) -> Result<Started, Failure<{ AUTH | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        pool.start_audit().await?;
        Ok(Started::UnderWay(Json(view(pool))))
    }
}
