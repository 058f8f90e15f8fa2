//! Audits of the log, one at a time: of a running pool in the background, of a stopped one at once.
//!
//! Owns what the last one found and how far a running one is. It refuses to open a pool: a log that is
//! damaged has to be looked at too.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use projections::{Millis, Seq, keys::Keys};

use super::{Error, Pool};
use crate::{
    config::{Config, Database},
    journal::{self, Journal, fjall::FjallJournal},
    ledger::{
        audit::{Finding, Report, verify},
        clock::Clock,
    },
    locks::Mutex,
    vault,
};

/// One that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// When it began.
    pub began: Millis,
    /// The last event it has looked at.
    pub done: Seq,
    /// The last one it will look at.
    pub through: Seq,
}

/// One that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// When it began.
    pub began: Millis,
    /// When it ended.
    pub ended: Millis,
    /// What it found.
    pub report: Report,
}

/// The last audit, and the one under way.
#[derive(Debug, Default)]
pub struct Audits(Mutex<(Option<Running>, Option<Done>)>);

impl Audits {
    /// How it stands.
    #[must_use]
    pub fn now(&self) -> (Option<Running>, Option<Done>) {
        self.0.lock().clone()
    }

    fn progress(&self, done: Seq) {
        if let Some(running) = &mut self.0.lock().0 {
            running.done = done;
        }
    }
}

impl Pool {
    /// Begins an audit of the log, unless one is under way.
    ///
    /// # Errors
    /// [`Error::Commit`], [`Error::Thread`].
    pub async fn start_audit(&self) -> Result<(), Error> {
        let names = self.ledger.with_secret_names(|state, names| unfit(&state.keys, names)).await?;
        let (through, audit) = self.ledger.audit();
        let began = self.clock.now();
        {
            let mut audits = self.audits.0.lock();
            if audits.0.is_some() {
                return Ok(());
            }
            audits.0 = Some(Running { began, done: 0, through });
        }
        let (audits, clock) = (Arc::downgrade(&self.audits), self.clock.clone());
        let work = move || {
            // The pool is gone when the service has stopped.
            let goes_on = |done| Weak::upgrade(&audits).inspect(|audits| audits.progress(done)).is_some();
            let mut report = audit(&mut { goes_on });
            report.findings.extend(names.into_iter().map(Finding::general));
            if let Some(audits) = audits.upgrade() {
                *audits.0.lock() = (None, Some(Done { began, ended: clock.now(), report }));
            }
        };
        if let Err(source) = std::thread::Builder::new().name("audit".to_owned()).spawn(work) {
            self.audits.0.lock().0 = None;
            return Err(Error::Thread(source));
        }
        Ok(())
    }
}

/// Audits the log of a pool that does not run.
///
/// # Errors
/// [`Error::NoPool`]. [`Error::Journal`]: another process has it.
pub fn of_stopped(config: &Config, clock: &Clock, progress: &mut dyn FnMut(Seq, Seq)) -> Result<Done, Error> {
    super::refuse_without_a_pool(config)?;
    let began = clock.now();
    let report = match &config.database {
        Database::Memory => Report::default(),
        Database::Fjall(folder) => {
            let journal = match FjallJournal::open(&folder.join("log")) {
                Ok(journal) => journal,
                // What does not open for being damaged is a finding, and the first one.
                Err(error @ (journal::Error::Damaged { .. } | journal::Error::Lost { .. })) => {
                    let findings = vec![Finding::general(error.to_string())];
                    return Ok(Done {
                        began,
                        ended: clock.now(),
                        report: Report { findings, ..Report::default() },
                    });
                }
                Err(error) => return Err(error.into()),
            };
            let through = journal.last();
            let (mut report, state) = verify(&journal, through, &mut |done| {
                progress(done, through);
                true
            });
            if let Some(state) = state {
                let unfit = match journal.secrets() {
                    Ok(secrets) => {
                        let names: Vec<_> = secrets.into_iter().map(|(name, _)| name).collect();
                        unfit(&state.keys, &names)
                    }
                    Err(error) => vec![format!("the sealed secrets cannot be read: {error}")],
                };
                report.findings.extend(unfit.into_iter().map(Finding::general));
            }
            report
        }
    };
    Ok(Done { began, ended: clock.now(), report })
}

/// What does not fit together: keys without a secret, and secrets without a key.
pub(super) fn unfit(keys: &Keys, names: &[String]) -> Vec<String> {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let mut known = BTreeSet::new();
    let mut unfit = Vec::new();
    for key in keys.iter() {
        if !names.contains(vault::secret_name(&key.fingerprint).as_str()) {
            unfit.push(format!("key {} has no sealed secret", key.id));
        }
        known.extend(vault::secret_names(&key.fingerprint));
    }
    let of_keys = |name: &&str| vault::KEYS_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let orphans = names.into_iter().filter(of_keys).filter(|name| !known.contains(*name));
    unfit.extend(orphans.map(|name| format!("the sealed secret {name} belongs to no key")));
    unfit
}
