//! Laws: whatever happens, the roster answers what the fold says.
//!
//! A random history of events, time, requests and answers drives a [`World`];
//! after every step each question is asked of the roster and of the keys.

use projections::event::{ProjectLearned, Strategy as Rule};
use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::{
        Just, ProptestConfig, Strategy, any as arbitrary, prop_assert, prop_assert_eq, prop_oneof, proptest,
    },
    sample::select,
};

use super::*;

mod truth;

use self::truth::{Paces, Truth};

const MODELS: [&str; 3] = ["", "pro", "flash"];
const METHODS: [&str; 3] = ["", "generate", "embed"];
/// Two that keys share, and two that are a key's own.
const PROJECTS: [&str; 4] = ["p", "q", "key-1", "key-2"];
const PACE: Millis = 3_000;
const KEYS: u32 = 5;

/// Something that happens; times are counted from then.
#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Change>),
    /// Time goes on.
    Wait(Millis),
    /// A request takes a key and holds it.
    Take(Asked, u64),
    /// The request that holds the nth place gets its first byte.
    FirstByte(usize),
    /// The request that holds the nth place ends.
    Release(usize),
    /// An operator says something of a key.
    Say(u32, u16, u8, &'static [&'static str]),
    Rebuild,
}

#[derive(Clone, Debug)]
enum Change {
    Add(u32, Option<&'static str>),
    Remove(u32),
    Disable(u32),
    Enable(u32),
    Reset(u32),
    /// Closes, until a time or for ever, to be tried from another on or not at all.
    Close(Scope, Option<Millis>, Option<Millis>),
    Open(Scope),
    Attempt(u32, &'static str, &'static str, Verdict),
    /// Google says which project a key is of.
    Learn(u32, &'static str),
}

impl Change {
    fn event(&self, at: Millis) -> Event {
        match self {
            Self::Add(key, project) => added(*key, *project),
            Self::Remove(key) => removed(*key),
            Self::Disable(key) => disabled(*key),
            Self::Enable(key) => enabled(*key),
            Self::Reset(key) => reset(*key),
            Self::Close(scope, until, probe) => {
                let (cause, key) = (Verdict::QuotaMinute, KeyId(1));
                let (until, probe) = (until.map(|ms| at + ms), probe.map(|ms| at + ms));
                GateClosed { scope: scope.clone(), cause, until, probe, request: None, key }.into()
            }
            Self::Learn(key, consumer) => {
                ProjectLearned { key: KeyId(*key), consumer: (*consumer).to_owned() }.into()
            }
            Self::Open(scope) => opened(scope.clone()),
            Self::Attempt(key, model, method, verdict) => attempted(*key, model, method, *verdict),
        }
    }
}

/// An [`Ask`] that owns what it asks.
#[derive(Clone, Debug)]
struct Asked {
    model: &'static str,
    method: &'static str,
    tried: Vec<KeyId>,
    from: From<'static>,
    may_probe: bool,
}

impl Asked {
    fn ask(&self) -> Ask<'_> {
        let (tried, from, may_probe) = (&self.tried, self.from, self.may_probe);
        Ask { model: self.model, method: self.method, tried, from, may_probe, ..Ask::default() }
    }
}

fn key() -> impl Strategy<Value = u32> {
    1..=KEYS
}

fn scope() -> impl Strategy<Value = Scope> {
    let windows = select(vec![Window::Minute, Window::Day]);
    prop_oneof![
        2 => key().prop_map(key_scope),
        2 => (key(), select(&METHODS[..])).prop_map(|(key, method)| method_scope(key, method)),
        1 => select(&PROJECTS[..]).prop_map(|project| Scope::Project(project.to_owned())),
        1 => select(&MODELS[1..]).prop_map(|model| Scope::Upstream { model: model.to_owned() }),
        4 => (select(&PROJECTS[..]), select(&MODELS[..]), windows).prop_map(|(project, model, window)| {
            Scope::Model { project: project.to_owned(), model: model.to_owned(), window }
        }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let verdict = select(vec![Verdict::Success, Verdict::Success, Verdict::Overloaded, Verdict::Truncated]);
    prop_oneof![
        4 => (key(), option::of(select(&PROJECTS[..2]))).prop_map(|(key, project)| Change::Add(key, project)),
        1 => key().prop_map(Change::Remove),
        1 => key().prop_map(Change::Disable),
        2 => key().prop_map(Change::Enable),
        1 => key().prop_map(Change::Reset),
        8 => (scope(), option::weighted(0.7, -5..60_i64), option::of(-5..60_i64))
            .prop_map(|(scope, until, probe)| Change::Close(scope, until, probe)),
        1 => (key(), select(&["projects/1", "q"][..])).prop_map(|(key, consumer)| Change::Learn(key, consumer)),
        3 => scope().prop_map(Change::Open),
        3 => (key(), select(&MODELS[..]), select(&METHODS[..]), verdict)
            .prop_map(|(key, model, method, verdict)| Change::Attempt(key, model, method, verdict)),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let only = key().prop_map(|key| From::Only(KeyId(key)));
    let project = select(&PROJECTS[..]).prop_map(From::Project);
    let from = prop_oneof![3 => Just(From::All), 1 => Just(From::Keeper), 1 => only, 1 => project];
    (select(&MODELS[..]), select(&METHODS[..]), btree_set(key(), 0..3), from).prop_map(
        |(model, method, tried, from)| {
            let tried: Vec<KeyId> = tried.into_iter().map(KeyId).collect();
            // A first try, as a rule.
            let may_probe = tried.is_empty();
            Asked { model, method, tried, from, may_probe }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let patterns = select(vec![&[] as &[&str], &["p*"], &["f*h", "pro"], &["none"]]);
    prop_oneof![
        6 => vec(change(), 1..4).prop_map(Step::Batch),
        3 => (0..40_i64).prop_map(Step::Wait),
        1 => Just(Step::Wait(PACE)),
        1 => (key(), 0..6_u16, 0..3_u8, patterns)
            .prop_map(|(key, weight, tier, models)| Step::Say(key, weight, tier, models)),
        4 => (asked(), arbitrary::<u64>()).prop_map(|(asked, random)| Step::Take(asked, random)),
        1 => arbitrary::<usize>().prop_map(Step::FirstByte),
        2 => arbitrary::<usize>().prop_map(Step::Release),
        1 => Just(Step::Rebuild),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    // It begins with somebody to choose.
    let first = vec(option::of(select(&PROJECTS[..2])), 1..=KEYS as usize).prop_map(|projects| {
        Step::Batch((1..).zip(projects).map(|(key, project)| Change::Add(key, project)).collect())
    });
    (first, vec(step(), 1..40)).prop_map(|(first, rest)| std::iter::once(first).chain(rest).collect())
}

/// A world, the places that requests hold in it, and the keys that have served.
struct Story {
    world: World,
    held: Vec<Choice>,
    /// The model that each of them asked for.
    asked: Vec<&'static str>,
    paces: Paces,
    proven: BTreeSet<KeyId>,
}

impl Story {
    fn new(rule: Rule) -> Self {
        Self {
            world: World::new(rule),
            held: Vec::new(),
            asked: Vec::new(),
            paces: Paces::default(),
            proven: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Batch(changes) => {
                let at = self.world.at;
                changes.iter().for_each(|change| self.prove(change));
                self.world.tell(changes.iter().map(|change| change.event(at)));
                self.paces.follow(&self.world.keys);
            }
            Step::Wait(ms) => self.world.at += ms,
            Step::Take(asked, random) => {
                if let Ok(choice) = self.world.choose(&asked.ask(), *random) {
                    if choice.probe {
                        self.paces.began(&self.world.keys, &choice.project, asked.model, self.world.at);
                    }
                    self.held.push(choice);
                    self.asked.push(asked.model);
                }
            }
            Step::FirstByte(nth) if !self.held.is_empty() => {
                let choice = &self.held[nth % self.held.len()];
                choice.lease.first_byte(20);
                choice.lease.proven();
                // One that left and came back under its number is another key, as far as places go.
                if Arc::ptr_eq(&choice.lease.load, &self.world.load_of(choice.key)) {
                    self.proven.insert(choice.key);
                }
            }
            Step::Release(nth) if !self.held.is_empty() => {
                let nth = nth % self.held.len();
                let (choice, model) = (self.held.swap_remove(nth), self.asked.swap_remove(nth));
                if choice.probe {
                    self.paces.ended(&self.world.keys, &choice.project, model, self.world.at);
                }
            }
            Step::Say(key, weight, tier, models) => self.world.say(*key, *weight, *tier, models),
            Step::FirstByte(_) | Step::Release(_) => {}
            Step::Rebuild => self.world.roster.rebuild(&self.world.keys, self.world.seq, self.world.at),
        }
    }

    /// An answer proves a key; a failed credential, a reset, or being new takes that back.
    fn prove(&mut self, change: &Change) {
        match change {
            Change::Attempt(key, .., Verdict::Success) => self.proven.insert(KeyId(*key)),
            Change::Add(key, _) | Change::Reset(key) | Change::Close(Scope::Key(KeyId(key)), None, _) => {
                self.proven.remove(&KeyId(*key))
            }
            _ => false,
        };
    }

    fn in_flight(&self, key: KeyId) -> u32 {
        let load = self.world.load_of(key);
        self.held.iter().filter(|choice| Arc::ptr_eq(&choice.lease.load, &load)).count() as u32
    }
}

impl World {
    /// What the roster counts with for a key; a new one where it has no such key.
    fn load_of(&self, key: KeyId) -> Arc<Load> {
        let slots = &self.roster.slots;
        let slot = slots.index(key).and_then(|slot| slots.get(slot));
        slot.map(|slot| Arc::clone(&slot.load)).unwrap_or_default()
    }
}

/// Every question there is, but for keys tried.
fn questions() -> impl Iterator<Item = Asked> {
    let from = [
        From::All,
        From::Keeper,
        From::Only(KeyId(1)),
        From::Only(KeyId(KEYS)),
        From::Project("p"),
        From::Project("key-1"),
    ];
    MODELS.into_iter().flat_map(move |model| {
        METHODS.into_iter().flat_map(move |method| {
            from.map(|from| {
                let tried = Vec::new();
                Asked { model, method, tried, from, may_probe: false }
            })
        })
    })
}

fn invariant_the_roster_answers_what_the_fold_says(story: &mut Story, asked: &Asked, random: u64) {
    let now = story.world.at;
    assert_eq!(story.world.roster.seq, story.world.seq);
    for asked in [asked.clone()].into_iter().chain(questions()) {
        let ask = asked.ask();
        let proven = |key| story.proven.contains(&key);
        let truth = Truth::of(&story.world.keys, now, &ask, |key| story.in_flight(key), proven);
        truth.check(&mut story.world.roster, &story.world.keys, &mut story.paces, &ask, random);
    }
}

/// Following step by step comes to the same as beginning anew.
fn invariant_a_fresh_roster_answers_the_same(story: &Story, asked: &Asked, random: u64) {
    let World { keys, seq, at, roster } = &story.world;
    let mut fresh = Roster::new(roster.strategy);
    fresh.rebuild(keys, *seq, *at);
    let mut paces = Paces::default();
    for asked in [asked.clone()].into_iter().chain(questions()) {
        let ask = asked.ask();
        Truth::of(keys, *at, &ask, |_| 0, |_| false).check(&mut fresh, keys, &mut paces, &ask, random);
    }
}

fn invariant_the_sets_are_whole(story: &mut Story) {
    let Roster { sets, methods, .. } = &mut story.world.roster;
    sets.each().chain(methods.values_mut().flat_map(Sets::each)).for_each(|set| set.assert_whole());
}

fn rules() -> impl Strategy<Value = Rule> {
    select(vec![Rule::LeastLoaded, Rule::RoundRobin, Rule::Sticky])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_roster_follows_the_fold(
        rule in rules(), history in history(), asked in asked(), random in arbitrary::<u32>()
    ) {
        let mut story = Story::new(rule);
        for (random, step) in (u64::from(random)..).zip(&history) {
            story.step(step);
            invariant_the_roster_answers_what_the_fold_says(&mut story, &asked, random);
            invariant_a_fresh_roster_answers_the_same(&story, &asked, random);
            invariant_the_sets_are_whole(&mut story);
        }
        // Every place is given back in the end.
        story.held.clear();
        let keys: Vec<KeyId> = story.world.keys.iter().map(|key| key.id).collect();
        prop_assert!(keys.into_iter().all(|key| story.world.load_of(key).in_flight() == 0));
    }

    /// The same history and the same random numbers: the same keys, for the same reasons, all along.
    #[test]
    fn the_same_again_is_the_same(rule in rules(), history in history()) {
        let tell = || {
            let mut story = Story::new(rule);
            let after = |step| {
                story.step(step);
                story.held.iter().map(|choice| (choice.key, choice.why)).collect::<Vec<_>>()
            };
            history.iter().map(after).collect::<Vec<_>>()
        };
        prop_assert_eq!(tell(), tell());
    }
}
