//! The audit: whether the log is as it was written, from its first record to its last.
//!
//! Owns the proof. Every record has its place, its checksum and its link to the one before it; where traffic was
//! dropped, the event that says so vouches for what it left and for what goes on behind; every checkpoint says
//! what the log says. It refuses to mend, and to stop at what it cannot read: it names the first record that is
//! wrong, and what is wrong with it; and where files are damaged below it, every record that cannot be read. (What it cannot see from the log alone: a log cut off at its end. The
//! journal's own witness of its end does.)

use std::collections::BTreeMap;

use projections::{
    Digest, Millis, Seq, State,
    event::{LogTrimmed, TYPES},
    trims::Trim,
};

use super::{
    OpenError,
    checkpoint::{self, Checkpoint, Kind},
    replay::PAGE,
    trims,
};
use crate::journal::{
    Entry, Journal,
    codec::{self, ChainHash, Damage},
};

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The record; none: it is not about one.
    pub seq: Option<Seq>,
    /// When it says it was recorded.
    pub at: Option<Millis>,
    /// What it says it is.
    pub kind: Option<&'static str>,
    /// What is wrong.
    pub what: String,
}

impl Finding {
    /// One that is about no record.
    #[must_use]
    pub fn general(what: String) -> Self {
        Self { seq: None, at: None, kind: None, what }
    }

    fn of(seq: Seq, frame: Option<&[u8]>, what: String) -> Self {
        let said = frame.and_then(codec::peek);
        let name = |kind| TYPES.iter().find(|(number, ..)| *number == kind).map(|(_, _, name, _)| *name);
        let kind = said.and_then(|said| name(said.kind));
        Self { seq: Some(seq), at: said.map(|said| said.at), kind, what }
    }
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The last record it looked at.
    pub through: Seq,
    /// Records that it read.
    pub records: u64,
    /// Records that were dropped by trims, as those say.
    pub dropped: u64,
    /// Trims.
    pub trims: u64,
    /// Checkpoints that were compared with the log.
    pub checkpoints: u64,
    /// What is wrong, the first record first; nothing: the log is as it was written.
    pub findings: Vec<Finding>,
}

/// Told how far it is; false stops it.
pub type Progress<'a> = &'a mut dyn FnMut(Seq) -> bool;

/// Checks a log up to and including `through`. The state there, where everything holds.
pub fn verify(journal: &dyn Journal, through: Seq, progress: Progress<'_>) -> (Report, Option<State>) {
    let mut audit = Audit { journal, progress, report: Report { through, ..Report::default() } };
    let state = audit.run(through);
    let state = audit.keep(state).flatten();
    (audit.report, state)
}

struct Audit<'a> {
    journal: &'a dyn Journal,
    progress: Progress<'a>,
    report: Report,
}

/// Why a walk ended early.
enum Stop {
    Found(Finding),
    /// Nothing is there, where something was expected.
    Hole(Seq),
    /// The journal does not answer, and why.
    Silent(String),
    /// As it was told to.
    Asked,
}

/// Findings that are told; whoever has so many restores a backup anyway.
const MOST_FINDINGS: usize = 100;

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged { seq, damage } => Self::Found(Finding::of(seq, None, damage.to_string())),
            OpenError::Journal(error) => error.into(),
            error => Self::Found(Finding::general(told(&error))),
        }
    }
}

impl From<crate::journal::Error> for Stop {
    fn from(error: crate::journal::Error) -> Self {
        Self::Silent(told(&error))
    }
}

pub(super) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Audit<'_> {
    fn keep<T>(&mut self, result: Result<T, Stop>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(Stop::Asked) => {}
            Err(Stop::Found(finding)) => self.report.findings.push(finding),
            Err(Stop::Silent(cause)) => {
                let before = self.report.findings.len();
                self.look_at_each();
                if self.report.findings.len() == before {
                    self.report.findings.push(Finding::general(cause));
                }
            }
            Err(Stop::Hole(seq)) => {
                let last = self.journal.read_back(seq, 1).ok().and_then(|mut found| found.pop());
                let mut finding = Finding::of(seq, None, Damage::Missing.to_string());
                finding.at = last.and_then(|entry| codec::peek(&entry.frame)).map(|said| said.at);
                self.report.findings.push(finding);
            }
        }
        None
    }

    fn run(&mut self, through: Seq) -> Result<Option<State>, Stop> {
        let begin = trims::begin(self.journal, None)?;
        let hole = match self.walk(begin, through, true) {
            Err(Stop::Hole(seq)) => seq,
            walked => return walked.map(Some),
        };
        let walked = self.behind_trims(hole, through);
        if !matches!(&walked, Ok(Some(_)) | Err(Stop::Asked)) {
            // Perhaps what vouched for a hole is damaged itself, and that is what to name first.
            let bad = self.first_bad(through)?;
            let told = matches!(&walked, Err(Stop::Found(found)) if bad.as_ref() == Some(found));
            self.report.findings.splice(0..0, bad.filter(|_| !told));
        }
        walked
    }

    /// The same for a log with holes: each before the end of a trim that left it.
    fn behind_trims(&mut self, hole: Seq, through: Seq) -> Result<Option<State>, Stop> {
        let trims = trims::all(self.journal)?;
        let last = trims.first().filter(|(_, trim)| hole <= trim.through);
        let (noted, LogTrimmed { through: from, at, hash, .. }) = last.ok_or(Stop::Hole(hole))?.clone();
        self.report.records = 0;
        let mut after = 0;
        for (noted, trim) in trims.iter().rev() {
            if trim.after != after {
                let what = format!("the trim that reached to event {} is not told of any more", trim.after);
                return Err(self.about(*noted, what));
            }
            self.kept(*noted, trim)?;
            after = trim.through;
        }
        let trim = Trim { through: from, at, hash, noted };
        let base = checkpoint::read(self.journal, Kind::Base, from)?;
        match base.filter(|base| base.hash.digest() == hash) {
            Some(base) => self.walk(base, through, true).map(Some),
            None => {
                let begin = trims::begin(self.journal, Some(&trim))?;
                let walked = self.walk(begin, through, false);
                self.keep(walked);
                let lost =
                    format!("the checkpoint at event {from}, where traffic was dropped, is gone or damaged");
                self.report.findings.push(Finding::general(lost));
                Ok(None)
            }
        }
    }

    /// The first record that is wrong by itself.
    fn first_bad(&self, through: Seq) -> Result<Option<Finding>, Stop> {
        let mut bad = None;
        trims::each_kept(self.journal, 0, through, &mut |seq, frame| {
            if bad.is_none()
                && let Err(damage) = codec::decode(seq, frame, None)
            {
                bad = Some(Finding::of(seq, Some(frame), damage.to_string()));
            }
            Ok(())
        })?;
        Ok(bad)
    }

    /// Names every record that cannot be read, and those between them that are wrong by themselves.
    fn look_at_each(&mut self) {
        let (through, mut after) = (self.report.through, 0);
        let mut unreadable: Option<(Seq, Seq)> = None;
        while after < through && self.report.findings.len() < MOST_FINDINGS {
            match self.journal.read(after, PAGE) {
                Ok(entries) => {
                    let Some(last) = entries.last() else { break };
                    after = last.seq;
                    for entry in entries.iter().take_while(|entry| entry.seq <= through) {
                        self.by_itself(entry.seq, &entry.frame);
                    }
                }
                // Somewhere in it; perhaps in what other records need not.
                Err(_) => {
                    let page = after + 1..=after.saturating_add(PAGE as Seq).min(through);
                    after = *page.end();
                    for seq in page {
                        match self.journal.record(seq) {
                            Ok(Some(frame)) => self.by_itself(seq, &frame),
                            Ok(None) => {}
                            Err(_) => unreadable = Some(self.cannot_be_read(seq, unreadable)),
                        }
                    }
                }
            }
            if !(self.progress)(after) {
                return;
            }
        }
    }

    fn by_itself(&mut self, seq: Seq, frame: &[u8]) {
        if let Err(damage) = codec::decode(seq, frame, None) {
            self.report.findings.push(Finding::of(seq, Some(frame), damage.to_string()));
        }
    }

    /// One finding for records that follow each other; gives them.
    fn cannot_be_read(&mut self, seq: Seq, before: Option<(Seq, Seq)>) -> (Seq, Seq) {
        if let Some((first, last)) = before
            && last + 1 == seq
            && let Some(finding) = self.report.findings.last_mut()
        {
            finding.what = format!(
                "it and all that follow up to event {seq} cannot be read: the file that holds them is damaged"
            );
            return (first, seq);
        }
        let what = "it cannot be read: the file that holds it is damaged".to_owned();
        self.report.findings.push(Finding::of(seq, None, what));
        (seq, seq)
    }

    fn about(&self, seq: Seq, what: String) -> Stop {
        let entry = self.journal.read(seq.saturating_sub(1), 1).ok().and_then(|mut found| found.pop());
        Stop::Found(Finding::of(seq, entry.as_ref().map(|entry| entry.frame.as_slice()), what))
    }

    /// What a trim left is what it said it would leave.
    fn kept(&mut self, noted: Seq, trim: &LogTrimmed) -> Result<(), Stop> {
        let (mut kept, mut digest, mut bad) = (0, blake3::Hasher::new(), None);
        trims::each_kept(self.journal, trim.after, trim.through, &mut |seq, frame| {
            kept += 1;
            digest.update(frame);
            if bad.is_none()
                && let Err(damage) = codec::decode(seq, frame, None)
            {
                bad = Some(Finding::of(seq, Some(frame), damage.to_string()));
            }
            Ok(())
        })?;
        if let Some(bad) = bad {
            return Err(Stop::Found(bad));
        }
        self.report.records += kept;
        self.report.trims += 1;
        self.report.dropped += trim.dropped;
        if kept != trim.kept || Digest(*digest.finalize().as_bytes()) != trim.digest {
            let (after, through, wanted) = (trim.after + 1, trim.through, trim.kept);
            let what = format!(
                "it left {wanted} records from event {after} to event {through}; {kept} are there, and they are not the same"
            );
            return Err(self.about(noted, what));
        }
        if !(self.progress)(trim.through) {
            return Err(Stop::Asked);
        }
        Ok(())
    }

    /// Follows the chain, in which nothing may be missing; compares checkpoints on the way, where the state is known.
    fn walk(&mut self, from: Checkpoint, through: Seq, known: bool) -> Result<State, Stop> {
        let Checkpoint { mut state, mut hash } = from;
        let mut compared = BTreeMap::<Seq, Vec<Kind>>::new();
        for kind in [Kind::Full, Kind::Past].into_iter().filter(|_| known) {
            for place in checkpoint::places(self.journal, kind, through)? {
                compared.entry(place).or_default().push(kind);
            }
        }
        while state.seq < through {
            let limit = usize::try_from(through - state.seq).unwrap_or(PAGE).min(PAGE);
            let entries = self.journal.read(state.seq, limit)?;
            if entries.is_empty() {
                return Err(Stop::Hole(state.seq + 1));
            }
            for Entry { seq: place, frame } in entries {
                let seq = state.seq + 1;
                if place != seq {
                    return Err(Stop::Hole(seq));
                }
                let (recorded, next) = codec::decode(seq, &frame, Some(&hash))
                    .map_err(|damage| Stop::Found(Finding::of(seq, Some(&frame), damage.to_string())))?;
                if recorded.at < state.at && seq > 1 {
                    let what = "it is older than the record before it".to_owned();
                    return Err(Stop::Found(Finding::of(seq, Some(&frame), what)));
                }
                state.apply(&recorded);
                hash = next;
                self.report.records += 1;
                for kind in compared.remove(&seq).unwrap_or_default() {
                    self.compare(kind, &state, &hash)?;
                }
            }
            if !(self.progress)(state.seq) {
                return Err(Stop::Asked);
            }
        }
        Ok(state)
    }

    /// One that would be passed over harms nobody; one that would be believed has to be right.
    fn compare(&mut self, kind: Kind, state: &State, hash: &ChainHash) -> Result<(), Stop> {
        let Some(kept) = checkpoint::read(self.journal, kind, state.seq)? else { return Ok(()) };
        if kept.hash != *hash {
            return Ok(());
        }
        let same = match kind {
            Kind::Past => {
                let mut past = state.clone();
                past.forget_statistics();
                past == kept.state
            }
            Kind::Full | Kind::Base => *state == kept.state,
        };
        if same {
            self.report.checkpoints += 1;
        } else {
            let what = "a checkpoint behind this record does not say what the log says".to_owned();
            let finding = self.about(state.seq, what);
            self.keep::<()>(Err(finding));
        }
        Ok(())
    }
}
