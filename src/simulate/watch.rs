//! Owns the truth beside the pool: what could serve at a moment, what came back when, and what a wasted call
//! could have known. Refuses to be seen by a policy. Invariant: it reads the world and never changes it.

use std::collections::{BTreeMap, BTreeSet};

use projections::Millis;

use super::measure::{Back, Ground, Score, Waste};
use super::plan::{Change, MINUTE, Plan, RequestPlan};
use super::policy::Call;
use crate::simulated::{KeyState, QuotaStyle, Refused, World};

/// A request so small that only a full bucket refuses it.
const SMALL: u64 = 50;

/// Something that can serve again and has not yet.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    kind: Back,
    /// Since when it can serve without a break.
    since: Millis,
    /// When it was first, and last, needed and not used.
    missed: Option<(Millis, Millis)>,
    /// What has to serve: a project for a model, a key, or a model.
    project: Option<usize>,
    key: Option<usize>,
    model: Option<usize>,
}

/// A closing that some call has met.
#[derive(Debug, Default)]
struct Closing {
    /// When it is over; none: when something else ends it.
    ends: Option<Millis>,
    /// Which project of the pool was told, and when.
    told: Vec<(Owner, Millis)>,
}

/// A project as the pool sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Declared(usize),
    Key(usize),
}

pub(super) struct Watch<'a> {
    plan: &'a Plan,
    awaited: Vec<Awaited>,
    lags: BTreeMap<Back, Vec<Millis>>,
    /// Projects that are full for a model, until when, and for what.
    full: BTreeMap<(usize, usize), (Millis, Back)>,
    stormy: BTreeSet<usize>,
    /// By project (or key), model and cause.
    closings: BTreeMap<(usize, Option<usize>, &'static str), Closing>,
    limits_told: BTreeSet<(usize, usize, &'static str)>,
}

/// Whether a cause lies in a quota, which is a project's and a model's.
fn is_quota(why: &str) -> bool {
    matches!(why, "per day" | "per minute" | "tokens per minute" | "limit 0")
}

impl<'a> Watch<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            awaited: Vec::new(),
            lags: BTreeMap::new(),
            full: BTreeMap::new(),
            stormy: BTreeSet::new(),
            closings: BTreeMap::new(),
            limits_told: BTreeSet::new(),
        }
    }

    /// A key was broken or repaired, or a storm came or went.
    pub(super) fn changed(&mut self, change: &Change, now: Millis) {
        let awaited =
            Awaited { kind: Back::Key, since: now, missed: None, project: None, key: None, model: None };
        match change {
            Change::Key { key, state: KeyState::Good } => {
                self.closings.retain(|(owner, model, _), _| model.is_some() || owner != key);
                self.awaited.push(Awaited { key: Some(*key), ..awaited });
            }
            Change::Key { key, .. } => self.awaited.retain(|awaited| awaited.key != Some(*key)),
            Change::Storm { model, share } if *share > 0.0 => {
                self.stormy.insert(*model);
                self.awaited.retain(|awaited| awaited.kind != Back::Storm || awaited.model != Some(*model));
            }
            Change::Storm { model, .. } => {
                self.stormy.remove(model);
                self.awaited.push(Awaited { kind: Back::Storm, model: Some(*model), ..awaited });
            }
        }
    }

    /// Notes that a key's project is full for a model; until when, where that is news.
    pub(super) fn full_until(
        &mut self,
        google: &World,
        key: usize,
        model: usize,
        now: Millis,
    ) -> Option<Millis> {
        let project = self.plan.keys.get(key)?.project;
        let at = self.fits_at(google, project, model, SMALL)?;
        if at <= now || self.full.get(&(project, model)).is_some_and(|(known, _)| *known == at) {
            return None;
        }
        let minute = at % MINUTE == 0 && at - now <= MINUTE;
        self.full.insert((project, model), (at, if minute { Back::Minute } else { Back::Day }));
        Some(at)
    }

    /// A window turned: the project is awaited, if that was all.
    pub(super) fn may_be_back(&mut self, google: &World, project: usize, model: usize, now: Millis) {
        let Some((_, kind)) = self.full.get(&(project, model)).copied().filter(|(at, _)| *at == now) else {
            return;
        };
        self.full.remove(&(project, model));
        if self.fits_at(google, project, model, SMALL) != Some(now) {
            return;
        }
        for back in &mut self.awaited {
            let key_here =
                back.key.and_then(|key| self.plan.keys.get(key)).is_some_and(|key| key.project == project);
            if key_here || (back.kind == Back::Storm && back.model == Some(model)) {
                back.since = now;
            }
        }
        let known = |awaited: &Awaited| awaited.project == Some(project) && awaited.model == Some(model);
        if !self.awaited.iter().any(known) {
            let (project, model) = (Some(project), Some(model));
            self.awaited.push(Awaited { kind, since: now, missed: None, project, key: None, model });
        }
    }

    /// When some good key of a project is next served; none, where time does not help.
    fn fits_at(&self, google: &World, project: usize, model: usize, tokens: u64) -> Option<Millis> {
        let name = self.plan.models.get(model)?;
        let keys = self.plan.keys.iter().filter(|key| key.project == project);
        keys.filter_map(|key| google.fits_at(&key.secret, name, tokens)).min()
    }

    /// A key that would be served now.
    pub(super) fn who_could(&self, google: &World, model: usize, tokens: u64, now: Millis) -> Option<usize> {
        let name = self.plan.models.get(model).filter(|_| !self.stormy.contains(&model))?;
        self.plan.keys.iter().position(|key| google.fits_at(&key.secret, name, tokens) == Some(now))
    }

    /// A request is refused, or has waited since a time: whoever could have served it was missed.
    pub(super) fn missed(
        &mut self,
        google: &World,
        request: &RequestPlan,
        waited: Option<Millis>,
        now: Millis,
    ) {
        let (refused, waited_since) = (waited.is_none(), waited.unwrap_or(now));
        let RequestPlan { model, tokens, .. } = *request;
        if self.awaited.is_empty() || self.stormy.contains(&model) {
            return;
        }
        let Some(name) = self.plan.models.get(model) else { return };
        let mut awaited = std::mem::take(&mut self.awaited);
        for back in awaited.iter_mut().filter(|back| back.model.is_none_or(|of| of == model)) {
            let at = match (back.project, back.key) {
                (Some(project), _) => self.fits_at(google, project, model, tokens),
                (None, Some(key)) => {
                    self.plan.keys.get(key).and_then(|key| google.fits_at(&key.secret, name, tokens))
                }
                (None, None) => self.who_could(google, model, tokens, now).map(|_| now),
            };
            let from = waited_since.max(back.since);
            // Who was asked for the moment it could was not kept waiting.
            if at == Some(now) && (refused || from < now) {
                back.missed = Some((back.missed.map_or(from, |(first, _)| first), now));
            }
        }
        self.awaited = awaited;
    }

    /// A call was served.
    pub(super) fn served(&mut self, key: usize, model: usize) {
        let Some(project) = self.plan.keys.get(key).map(|key| key.project) else { return };
        let Self { awaited, lags, .. } = self;
        awaited.retain(|back| {
            let here = back.project.is_none_or(|of| of == project)
                && back.key.is_none_or(|of| of == key)
                && back.model.is_none_or(|of| of == model);
            if here {
                let lag = back.missed.map_or(0, |(first, last)| last - first);
                lags.entry(back.kind).or_default().push(lag);
            }
            !here
        });
    }

    /// Why a call was wasted.
    pub(super) fn wasted(&mut self, google: &World, call: &Call, refused: &Refused, now: Millis) -> Waste {
        let project = self.plan.keys.get(call.key).map_or(0, |key| key.project);
        let quota = is_quota(refused.why);
        let style = if quota { self.style(call.key) } else { "-" };
        let ends = match refused.why {
            "per day" => self.fits_at(google, project, call.model, SMALL),
            "per minute" | "tokens per minute" => Some(now - now.rem_euclid(MINUTE) + MINUTE),
            _ => None,
        };
        let owner = self.owner(call.key);
        let closing = self.closings.get(&self.scope(call, refused.why));
        let ground = match closing.filter(|closing| closing.ends.is_none_or(|ends| now < ends)) {
            None if self.limits_told.contains(&(project, call.model, refused.why)) => Ground::FirstKnown,
            None => Ground::FirstUnknown,
            Some(closing) => {
                let told = closing.told.iter().filter(|(_, at)| *at <= call.sent);
                let owners: Vec<Owner> = told.map(|(owner, _)| *owner).collect();
                match owners.as_slice() {
                    [] => Ground::OnItsWay,
                    told if told.contains(&owner) => Ground::Known,
                    _ => Ground::SiblingKnew,
                }
            }
        };
        if matches!(ground, Ground::FirstKnown | Ground::FirstUnknown) {
            let scope = self.scope(call, refused.why);
            self.closings.insert(scope, Closing { ends, told: Vec::new() });
        }
        Waste { refused: refused.why, style, ground }
    }

    /// How a key's project writes its refusals.
    pub(super) fn style(&self, key: usize) -> &'static str {
        let project = self.plan.keys.get(key).and_then(|key| self.plan.projects.get(key.project));
        match project.map(|project| project.style) {
            Some(QuotaStyle::Detailed) => "detailed",
            Some(QuotaStyle::Bare) => "bare",
            Some(QuotaStyle::HelpOnly) => "help only",
            Some(QuotaStyle::ErrorInfo) => "error info",
            None => "-",
        }
    }

    /// What matters of a key's project for a model, beside its gates.
    pub(super) fn describe(&self, key: usize, model: usize) -> String {
        let project = self.plan.keys.get(key).and_then(|key| self.plan.projects.get(key.project));
        let limits = project.and_then(|project| project.limits.get(model));
        let tokens = limits.is_some_and(|limits| limits.tokens_per_minute.is_some());
        format!("{}{}", self.style(key), if tokens { ", with a limit on tokens" } else { "" })
    }

    fn owner(&self, key: usize) -> Owner {
        match self.plan.keys.get(key) {
            Some(known) if known.declared => Owner::Declared(known.project),
            _ => Owner::Key(key),
        }
    }

    fn scope(&self, call: &Call, why: &'static str) -> (usize, Option<usize>, &'static str) {
        let project = self.plan.keys.get(call.key).map_or(0, |key| key.project);
        if is_quota(why) { (project, Some(call.model), why) } else { (call.key, None, why) }
    }

    /// A refusal has arrived.
    pub(super) fn told(&mut self, call: &Call, refused: &Refused, now: Millis) {
        let (scope, owner) = (self.scope(call, refused.why), self.owner(call.key));
        if let Some(closing) = self.closings.get_mut(&scope) {
            // The first word is enough; a pool that asks again and again is told again and again.
            if !closing.told.iter().any(|(known, _)| *known == owner) {
                closing.told.push((owner, now));
            }
        }
        let (project, Some(model), why) = scope else { return };
        if self.plan.projects.get(project).is_some_and(|plan| plan.style.tells_limit()) {
            self.limits_told.insert((project, model, why));
        }
    }

    /// Moves what has served, and what never did, into the score.
    pub(super) fn finish(&mut self, score: &mut Score) {
        score.lags = std::mem::take(&mut self.lags);
        for back in std::mem::take(&mut self.awaited) {
            if let Some((first, last)) = back.missed {
                score.lags.entry(back.kind).or_default().push(last - first);
                *score.never.entry(back.kind).or_default() += 1;
            }
        }
    }
}
