//! Checks of many keys, because somebody wants to know: jobs that go on while their asker does other things.
//!
//! Owns which jobs there are and how far each has come. Refuses to check by itself ([`super::prober`] does).
//! Its invariant: everything is bounded (jobs that run, checks at once, jobs kept and for how long), and none
//! outlives the service.

use std::{collections::BTreeMap, sync::Arc};

use projections::{KeyId, Millis, event::Actor};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::prober::{Checked, NotChecked, Prober};
use crate::ledger::clock::Clock;
use crate::locks::Mutex;

/// Jobs that run at once, and of those for one caller.
const RUNNING: (usize, usize) = (8, 4);
/// Checks at once, of all jobs together: the prober's own keep some of its places.
const AT_ONCE: usize = 2;
/// Jobs kept, and how long one is kept after its end.
const KEPT: (usize, Millis) = (64, 60 * 60_000);

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It goes on.
    Running,
    /// All keys were checked.
    Done,
    /// Somebody, or the end of the service, cut it short.
    Cancelled,
}

/// A job, as it stands.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name: 32 hexadecimal digits.
    pub id: String,
    /// How far it has come.
    pub stage: Stage,
    /// How many keys it is about.
    pub of: usize,
    /// What came of each so far, in the order of their ends.
    pub results: Vec<(KeyId, Result<Checked, NotChecked>)>,
    /// When it began.
    pub began: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
}

/// Why no job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCheckup {
    /// As many as may run already do.
    #[error("{0} jobs run already: wait until one is done, or cancel one")]
    TooMany(usize),
    /// As many as may run for one caller already do.
    #[error("{0} jobs of this session run already: wait until one is done, or cancel one")]
    Share(usize),
    /// One of the keys is not there.
    #[error("there is no key {0}")]
    NoSuchKey(KeyId),
    /// The service goes down.
    #[error("the service is stopping")]
    Stopping,
}

struct Kept {
    job: Job,
    caller: u128,
    cancel: CancellationToken,
}

type Jobs = Arc<Mutex<BTreeMap<String, Kept>>>;

/// See the module.
pub struct Checkups {
    prober: Arc<Prober>,
    clock: Clock,
    jobs: Jobs,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Checkups {
    /// None yet.
    #[must_use]
    pub fn new(prober: Arc<Prober>, clock: Clock) -> Self {
        Self {
            prober,
            clock,
            jobs: Jobs::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Begins to check keys, by a list of models or by a small call to a model; gives the job.
    ///
    /// # Errors
    /// [`NoCheckup`].
    pub fn begin(
        &self,
        keys: Vec<KeyId>,
        model: Option<String>,
        actor: Actor,
        caller: u128,
    ) -> Result<Job, NoCheckup> {
        if self.stop.is_cancelled() {
            return Err(NoCheckup::Stopping);
        }
        let mut keys = keys;
        let mut seen = std::collections::BTreeSet::new();
        keys.retain(|key| seen.insert(*key));
        self.prober.knows(&keys).map_err(NoCheckup::NoSuchKey)?;
        let now = self.clock.now();
        let mut jobs = self.jobs.lock();
        let running = || jobs.values().filter(|kept| kept.job.ended.is_none());
        let own = running().filter(|kept| kept.caller == caller).count();
        if own >= RUNNING.1 {
            return Err(NoCheckup::Share(own));
        }
        let all = running().count();
        if all >= RUNNING.0 {
            return Err(NoCheckup::TooMany(all));
        }
        forget_old(&mut jobs, now);
        let id = uuid::Uuid::now_v7().simple().to_string();
        let job = Job {
            id: id.clone(),
            stage: Stage::Running,
            of: keys.len(),
            results: Vec::new(),
            began: now,
            ended: None,
        };
        let cancel = self.stop.child_token();
        jobs.insert(id.clone(), Kept { job: job.clone(), caller, cancel: cancel.clone() });
        drop(jobs);
        let round = Round {
            id,
            prober: Arc::clone(&self.prober),
            clock: self.clock.clone(),
            jobs: Arc::clone(&self.jobs),
            places: Arc::clone(&self.places),
            model,
            actor,
        };
        self.tasks.spawn(async move {
            let whole = tokio::select! {
                () = round.run(keys) => Stage::Done,
                () = cancel.cancelled() => Stage::Cancelled,
            };
            round.end(whole);
        });
        Ok(job)
    }

    /// A job that is kept.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        forget_old(&mut jobs, self.clock.now());
        jobs.get(id).map(|kept| kept.job.clone())
    }

    /// Looks at each job that is kept, the newest first.
    pub fn each<T>(&self, look: impl Fn(&Job) -> T) -> Vec<T> {
        let mut jobs = self.jobs.lock();
        forget_old(&mut jobs, self.clock.now());
        // Names begin with the time.
        jobs.values().rev().map(|kept| look(&kept.job)).collect()
    }

    /// Cuts a job short and forgets it; gives what it was, with what it found.
    #[must_use]
    pub fn cancel(&self, id: &str) -> Option<Job> {
        let Kept { mut job, cancel, .. } = self.jobs.lock().remove(id)?;
        cancel.cancel();
        if job.ended.is_none() {
            (job.stage, job.ended) = (Stage::Cancelled, Some(self.clock.now()));
        }
        Some(job)
    }

    /// Cuts all of them short, and waits until they are gone.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Old ones go, and then the oldest that have ended, until there is room for one more.
fn forget_old(jobs: &mut BTreeMap<String, Kept>, now: Millis) {
    jobs.retain(|_, kept| kept.job.ended.is_none_or(|ended| now.saturating_sub(ended) < KEPT.1));
    while jobs.len() > KEPT.0 {
        // Names begin with the time.
        let oldest = jobs.iter().find(|(_, kept)| kept.job.ended.is_some()).map(|(id, _)| id.clone());
        let Some(oldest) = oldest else { break };
        jobs.remove(&oldest);
    }
}

/// One job at work.
struct Round {
    id: String,
    prober: Arc<Prober>,
    clock: Clock,
    jobs: Jobs,
    places: Arc<Semaphore>,
    model: Option<String>,
    actor: Actor,
}

impl Round {
    async fn run(&self, keys: Vec<KeyId>) {
        use futures_util::StreamExt;
        let checks = futures_util::stream::iter(keys).map(|key| async move {
            let Ok(_place) = self.places.acquire().await else { return };
            let checked = self.prober.test(key, self.model.clone(), self.actor.clone()).await;
            self.with(|job| job.results.push((key, checked)));
        });
        checks.buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    fn end(&self, stage: Stage) {
        let now = self.clock.now();
        self.with(|job| {
            if job.ended.is_none() {
                (job.stage, job.ended) = (stage, Some(now));
            }
        });
    }

    fn with(&self, change: impl FnOnce(&mut Job)) {
        if let Some(kept) = self.jobs.lock().get_mut(&self.id) {
            change(&mut kept.job);
        }
    }
}
