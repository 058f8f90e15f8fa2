//! Jobs: what was begun by one call, and goes on after its answer.

use std::sync::Arc;

use poem_openapi::{Enum, Object, OpenApi, param::Path, payload::Json};

use super::{
    Tag, Token,
    keys::TestedKey,
    problem::{AUTH, Failure, INPUT, MISSING, Problem},
};
use crate::{
    health::{
        checkup::{Job, Stage},
        prober::Checked,
    },
    ledger::clock::rfc3339,
    pool::Pool,
};

pub(super) struct JobsApi(pub(super) Option<Arc<Pool>>);

/// How far a job has come.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum JobState {
    /// It goes on.
    Running,
    /// All of it is done.
    Done,
    /// It was cut short.
    Cancelled,
}

/// What came of one key.
#[derive(Object)]
struct JobResult {
    /// The key's number.
    id: u32,
    /// What its test came to; none: there was none.
    test: Option<TestedKey>,
    /// Why there was none.
    error: Option<String>,
}

/// A job. It is kept for an hour after its end, and forgotten at a restart.
#[derive(Object)]
pub(super) struct JobView {
    /// Its name.
    id: String,
    state: JobState,
    /// Keys that are done.
    done: u64,
    /// All keys.
    of: u64,
    /// What came of each so far, in the order of their ends.
    results: Vec<JobResult>,
    /// When it began (RFC 3339).
    began_at: String,
    /// When it ended (RFC 3339); none: it goes on.
    ended_at: Option<String>,
}

/// A job, in short.
#[derive(Object)]
struct JobSummary {
    /// Its name.
    id: String,
    state: JobState,
    /// Keys that are done.
    done: u64,
    /// All keys.
    of: u64,
    /// Those of them that Google served.
    passed: u64,
    /// Those that it did not, or that could not be tested.
    failed: u64,
    /// When it began (RFC 3339).
    began_at: String,
    /// When it ended (RFC 3339); none: it goes on.
    ended_at: Option<String>,
}

/// Jobs.
#[derive(Object)]
struct JobList {
    /// The newest first; there are never more than a few dozen.
    jobs: Vec<JobSummary>,
}

impl From<Stage> for JobState {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Running => Self::Running,
            Stage::Done => Self::Done,
            Stage::Cancelled => Self::Cancelled,
        }
    }
}

fn summary(job: &Job) -> JobSummary {
    let done = job.results.len() as u64;
    let passed = |(_, checked): &&(_, Result<Checked, _>)| {
        checked.as_ref().is_ok_and(|checked| checked.verdict.is_success())
    };
    let passed = job.results.iter().filter(passed).count() as u64;
    JobSummary {
        id: job.id.clone(),
        state: job.stage.into(),
        done,
        of: job.of as u64,
        passed,
        failed: done - passed,
        began_at: rfc3339(job.began),
        ended_at: job.ended.map(rfc3339),
    }
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let Job { id, stage, of, results, began, ended } = job;
        let result = |(key, checked): (projections::KeyId, Result<_, _>)| match checked {
            Ok(checked) => {
                let checked: Checked = checked;
                JobResult { id: key.0, test: Some(checked.into()), error: None }
            }
            Err(error) => {
                let error: crate::health::prober::NotChecked = error;
                JobResult { id: key.0, test: None, error: Some(error.to_string()) }
            }
        };
        Self {
            id,
            state: stage.into(),
            done: results.len() as u64,
            of: of as u64,
            results: results.into_iter().map(result).collect(),
            began_at: rfc3339(began),
            ended_at: ended.map(rfc3339),
        }
    }
}

type MayMiss = Failure<{ INPUT | AUTH | MISSING }>;

#[OpenApi]
impl JobsApi {
    /// List jobs
    ///
    /// Without what came of each key.
    #[oai(path = "/jobs", method = "get", tag = "Tag::Jobs", operation_id = "list_jobs")]
    async fn list(&self, token: Token) -> Result<Json<JobList>, Failure<{ AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        Ok(Json(JobList { jobs: pool.checkups.each(summary) }))
    }

    /// Look how far a job has come
    #[oai(path = "/jobs/:job_id", method = "get", tag = "Tag::Jobs", operation_id = "get_job")]
    async fn get(
        &self,
        token: Token,
        /// The job's name.
        job_id: Path<String>,
    ) -> Result<Json<JobView>, MayMiss> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        Ok(Json(pool.checkups.get(&job_id.0).ok_or_else(missing)?.into()))
    }

    /// Cancel a job and forget it
    ///
    /// The answer is its last state, with what it found so far.
    #[oai(path = "/jobs/:job_id", method = "delete", tag = "Tag::Jobs", operation_id = "cancel_job")]
    async fn cancel(
        &self,
        token: Token,
        /// The job's name.
        job_id: Path<String>,
    ) -> Result<Json<JobView>, MayMiss> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        Ok(Json(pool.checkups.cancel(&job_id.0).ok_or_else(missing)?.into()))
    }
}

fn missing() -> Problem {
    Problem::not_found(
        "there is no such job; one is kept for an hour after its end, and forgotten at a restart",
    )
}
