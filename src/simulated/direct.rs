//! Owns calls that are judged without HTTP, for simulations in which time is a number. Refuses everything but
//! `generateContent` with a count of tokens. Invariant: a call meets the same judges in the same order as one
//! that came over a socket, and its refusal has the same body.

use super::ask::Shape;
use super::decide::refused_by;
use super::fault::{Trip, mix, spread};
use super::key::KeyState;
use super::project::{Exhausted, ProjectState};
use super::refusal::{self, Refusal};
use super::world::World;

const METHOD: &str = "google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent";

const LIST: &str = "google.ai.generativelanguage.v1beta.ModelService.ListModels";

/// What became of a call.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It was charged, and is answered.
    Served,
    /// It was not.
    Refused(Refused),
}

/// A refusal, not yet written down: most of those who meet it only look at its status.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// Why, as in [`super::Outcome::Refused`].
    pub why: &'static str,
    /// Whether it is Google that fails, and not the key or its project that is refused: the call was charged.
    pub is_fault: bool,
    /// The delay of its RetryInfo, in milliseconds.
    pub delay_ms: Option<i64>,
    words: Box<Words>,
}

#[derive(Debug, Clone)]
enum Words {
    Refusal(Refusal),
    Quota { project: String, model: String, exhausted: Exhausted },
}

impl Refused {
    fn new(refusal: Refusal, is_fault: bool) -> Self {
        let (status, why) = (refusal.status, refusal.why);
        Self { status, why, is_fault, delay_ms: None, words: Box::new(Words::Refusal(refusal)) }
    }
}

impl World {
    /// Judges one call of `generateContent` at the world's time. `n` is its number, from which chance is drawn.
    pub fn call(&mut self, secret: &str, model: &str, tokens: u64, n: u64) -> Fate {
        match self.judge(secret, model, tokens, n) {
            Ok(()) => Fate::Served,
            Err(refused) => Fate::Refused(refused),
        }
    }

    /// Judges a list of models, which spends no quota: a good key of a good project may have it.
    pub fn list(&mut self, secret: &str) -> Result<(), Refused> {
        self.admit(secret, LIST, None).map(drop).map_err(|refusal| Refused::new(refusal, false))
    }

    fn judge(&mut self, secret: &str, model: &str, tokens: u64, n: u64) -> Result<(), Refused> {
        let refused = |refusal| Refused::new(refusal, false);
        let caller = self.admit(secret, METHOD, None).map_err(refused)?;
        if !self.models.contains_key(model) {
            return Err(refused(refusal::model_not_found(model, "v1beta", "generateContent")));
        }
        let now = self.now();
        let day = self.today(now);
        let chance = mix(self.seed ^ n);
        if let Some(project) = self.projects.get_mut(&caller.project) {
            if project.forbidden_models.contains(model) {
                return Err(refused(refusal::not_allowed()));
            }
            project.take(model, tokens, now, &day, chance).map_err(|exhausted| Refused {
                status: 429,
                why: exhausted.why,
                is_fault: false,
                delay_ms: exhausted.delay.filter(|_| project.quota_style.tells_delay()),
                words: Box::new(Words::Quota { project: caller.project, model: model.to_owned(), exhausted }),
            })?;
        }
        let seed = self.seed ^ spread(secret);
        let key = self.keys.get_mut(secret).map(|key| &mut key.faults);
        let model = self.models.get_mut(model).map(|model| &mut model.faults);
        let faults = key.into_iter().chain(model).chain([&mut self.faults]).flatten();
        let failure = Trip::meet(faults, seed, false).failure;
        match failure.as_ref().and_then(refused_by) {
            Some(refusal) => Err(Refused::new(refusal, true)),
            None => Ok(()),
        }
    }

    /// When a key's call would next be charged, nothing else happening: now, where it would be already; `None`,
    /// where time alone does not help.
    pub fn fits_at(&self, secret: &str, model: &str, tokens: u64) -> Option<i64> {
        let key = self.keys.get(secret).filter(|key| key.state == KeyState::Good)?;
        let project =
            self.projects.get(&key.project).filter(|project| project.state == ProjectState::Good)?;
        let now = self.now();
        let offered = self.models.contains_key(model) && !project.forbidden_models.contains(model);
        if offered { project.fits_at(model, tokens, now, &self.day_of(now)) } else { None }
    }

    /// Requests that a key's project has left of a model's day; `None` is no limit.
    pub fn left_today(&self, secret: &str, model: &str) -> Option<u64> {
        let project = self.projects.get(&self.keys.get(secret)?.project)?;
        let now = self.now();
        let limit = project.limits.get(model).unwrap_or(&project.default_limits).requests_per_day?;
        Some(limit.saturating_sub(project.used(model, now, &self.day_of(now)).day_requests))
    }

    /// The body of a refusal, as it is sent.
    pub fn body_of(&self, refused: &Refused) -> Vec<u8> {
        let body = |refusal: &Refusal| refusal.body(Shape::Plain).to_vec();
        match refused.words.as_ref() {
            Words::Refusal(refusal) => body(refusal),
            Words::Quota { project, model, exhausted } => {
                let project = self.projects.get(project);
                project.map(|project| body(&project.exhausted(model, exhausted))).unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Failure, Fault, Limits};
    use super::*;

    fn world() -> World {
        World::new()
            .project("p", |project| {
                project.limit("gemini-2.5-flash", Limits::none().per_minute(1).per_day(2))
            })
            .key("p", "AIza-one")
            .key_in("p", "AIza-two", KeyState::Leaked)
            .at(1_790_000_000_000)
    }

    fn call(world: &mut World, key: &str) -> Result<(), (u16, &'static str)> {
        match world.call(key, "gemini-2.5-flash", 10, 1) {
            Fate::Served => Ok(()),
            Fate::Refused(refused) => {
                let body = String::from_utf8(world.body_of(&refused)).unwrap();
                assert!(body.contains(&format!("\"code\": {}", refused.status)), "{body}");
                Err((refused.status, refused.why))
            }
        }
    }

    #[test]
    fn a_call_is_judged_as_over_http_and_told_when_it_fits() {
        let mut world = world();
        let fits = |world: &World| world.fits_at("AIza-one", "gemini-2.5-flash", 10);
        assert_eq!(fits(&world), Some(world.now()));
        assert_eq!(world.fits_at("AIza-two", "gemini-2.5-flash", 10), None);
        assert!(call(&mut world, "AIza-two").is_err_and(|(status, _)| status == 403));
        assert_eq!(call(&mut world, "AIza-one"), Ok(()));
        assert_eq!(call(&mut world, "AIza-one"), Err((429, "per minute")));
        let turns = fits(&world).unwrap();
        assert_eq!(turns % 60_000, 0);
        world.advance(std::time::Duration::from_millis(u64::try_from(turns - world.now()).unwrap()));
        assert_eq!(call(&mut world, "AIza-one"), Ok(()));
        assert_eq!(call(&mut world, "AIza-one"), Err((429, "per day")));
        assert!(fits(&world).unwrap() > turns + 60_000);
        assert_eq!(call(&mut world, "AIza-none").unwrap_err().0, 400);
    }

    #[test]
    fn a_fault_of_googles_is_charged_and_told_apart() {
        let mut world = world().fault(Fault::times(1, Failure::Overloaded));
        let Fate::Refused(refused) = world.call("AIza-one", "gemini-2.5-flash", 10, 1) else {
            panic!("served")
        };
        assert_eq!((refused.status, refused.is_fault), (503, true));
        assert_eq!(call(&mut world, "AIza-one"), Err((429, "per minute")));
    }
}
