//! The settings in force.
//!
//! Owns which configuration counts right now: what was said at the start (or since then in `.env`, read again at
//! SIGHUP), and beside it what the log says.
//! Whoever needs a setting that may change while the pool runs asks here each time, and keeps no copy; whoever
//! cannot ask (because it is pure, or is told and not asked) is told of every change, through [`Settings::follow`].
//! What cannot change is read once, at the start. Its invariant: what is in force is what the folded log says.

use std::{collections::BTreeMap, fmt, sync::Arc};

use projections::{Event, Recorded, State};

use crate::{
    config::{Config, Mistakes},
    ledger::View,
    locks::{Mutex, Rank, RwLock},
};

type Follower = Box<dyn Fn(&Config) + Send>;

/// See the module.
pub struct Settings {
    now: RwLock<Arc<Config>>,
    sources: Mutex<Sources>,
}

/// What the settings in force are made of, and who is told of them.
struct Sources {
    start: Config,
    log: BTreeMap<String, String>,
    followers: Vec<Follower>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Settings {
    /// As the process was told.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let now = RwLock::new(Arc::new(config.clone()));
        let sources = Sources { start: config, log: BTreeMap::new(), followers: Vec::new() };
        Self { now, sources: Mutex::ranked(Rank::SettingsFollowers, sources) }
    }

    /// What is in force now.
    #[must_use]
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.now.read())
    }

    /// Tells of what is in force: now, and at every change. Called on the ledger's thread: be quick.
    pub fn follow(&self, follower: impl Fn(&Config) + Send + 'static) {
        let mut sources = self.sources.lock();
        follower(&self.now());
        sources.followers.push(Box::new(follower));
    }

    /// Whether the log may say this.
    ///
    /// # Errors
    /// [`Mistakes`], all of them.
    pub fn check(&self, said: &BTreeMap<String, String>) -> Result<(), Mistakes> {
        self.sources.lock().start.with(said).map(drop)
    }

    /// Takes what was read anew of the environment and `.env`, where that may change while the pool runs. Gives the
    /// names of settings that wait for the next start.
    ///
    /// # Errors
    /// [`Mistakes`]: nothing has changed then.
    pub fn read_again(&self, fresh: &Config) -> Result<Vec<&'static str>, Mistakes> {
        let mut sources = self.sources.lock();
        let waiting = sources.start.waiting_for_a_start(fresh);
        sources.start = sources.start.read_again(fresh)?;
        self.put_in_force(&sources);
        Ok(waiting)
    }

    fn take(&self, log: BTreeMap<String, String>) {
        let mut sources = self.sources.lock();
        sources.log = log;
        self.put_in_force(&sources);
    }

    fn put_in_force(&self, sources: &Sources) {
        let mut said = sources.log.clone();
        let config = loop {
            match sources.start.with(&said) {
                Ok(config) => break config,
                // Checked when it was said: by another program's rules, or beside another environment.
                Err(mistakes) => {
                    tracing::error!(%mistakes, "the log says settings that cannot be taken here: they do not count");
                    let before = said.len();
                    said.retain(|name, _| mistakes.0.iter().all(|mistake| mistake.name != *name));
                    if said.len() == before {
                        said.clear();
                    }
                    if before == 0 {
                        break sources.start.clone();
                    }
                }
            }
        };
        let config = Arc::new(config);
        *self.now.write() = Arc::clone(&config);
        sources.followers.iter().for_each(|follower| follower(&config));
    }
}

impl View for Settings {
    fn rebuild(&self, state: &State) {
        self.take(state.settings.values());
    }

    fn folded(&self, state: &State, events: &[Recorded]) {
        if events.iter().any(|recorded| matches!(recorded.event, Event::SettingsChanged(_))) {
            self.rebuild(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicU8, Ordering},
    };

    use projections::event::{Actor, Change, SettingChange, SettingsChanged};

    use super::*;
    use crate::config::parse;

    fn settings() -> Settings {
        Settings::new(
            parse(&crate::config::Sources::default(), &|_| Err(io::Error::from(io::ErrorKind::NotFound)))
                .unwrap(),
        )
    }

    fn say(state: &mut State, settings: &Settings, pairs: &[(&str, Option<&str>)]) {
        let said = pairs.iter().map(|(name, value)| SettingChange {
            name: (*name).to_owned(),
            value: value.map_or(Change::Cleared, |value| Change::To(value.to_owned())),
        });
        let event = SettingsChanged { actor: Actor::Cli, settings: said.collect() };
        let recorded = Recorded { seq: state.seq + 1, at: 1_000, event: event.into() };
        state.apply(&recorded);
        settings.folded(state, &[recorded]);
    }

    #[test]
    fn who_asks_and_who_is_told_see_the_same() {
        let (settings, told) = (settings(), Arc::new(AtomicU8::new(0)));
        let hears = Arc::clone(&told);
        settings.follow(move |config| hears.store(config.max_attempts, Ordering::SeqCst));
        assert_eq!((settings.now().max_attempts, told.load(Ordering::SeqCst)), (3, 3));
        let mut state = State::default();
        say(&mut state, &settings, &[("MAX_ATTEMPTS", Some("5"))]);
        assert_eq!((settings.now().max_attempts, told.load(Ordering::SeqCst)), (5, 5));
        say(&mut state, &settings, &[("MAX_ATTEMPTS", None)]);
        assert_eq!((settings.now().max_attempts, told.load(Ordering::SeqCst)), (3, 3));
    }

    #[test]
    fn what_is_read_again_is_told_and_the_log_still_wins() {
        let (settings, told, mut state) = (settings(), Arc::new(AtomicU8::new(0)), State::default());
        let hears = Arc::clone(&told);
        settings.follow(move |config| hears.store(config.max_attempts, Ordering::SeqCst));
        say(&mut state, &settings, &[("QUEUE_TIMEOUT", Some("9"))]);
        let fresh = |text: &str| {
            let dot_env =
                [("MAX_ATTEMPTS".to_owned(), text.to_owned()), ("QUEUE_TIMEOUT".to_owned(), "1".to_owned())];
            let sources = crate::config::Sources { dot_env: dot_env.into(), ..Default::default() };
            parse(&sources, &|_| Err(io::Error::from(io::ErrorKind::NotFound))).unwrap()
        };
        assert_eq!(settings.read_again(&fresh("6")).unwrap(), Vec::<&str>::new());
        let now = settings.now();
        assert_eq!((now.max_attempts, now.queue_timeout.as_secs(), told.load(Ordering::SeqCst)), (6, 9, 6));
        say(&mut state, &settings, &[("QUEUE_TIMEOUT", None)]);
        assert_eq!((settings.now().max_attempts, settings.now().queue_timeout.as_secs()), (6, 1));
    }

    #[test]
    fn what_cannot_be_taken_does_not_count_and_the_rest_does() {
        let (settings, mut state) = (settings(), State::default());
        say(
            &mut state,
            &settings,
            &[("MAX_ATTEMPTS", Some("99")), ("WAS_A_SETTING_ONCE", Some("1")), ("QUEUE_TIMEOUT", Some("9"))],
        );
        let now = settings.now();
        assert_eq!((now.max_attempts, now.queue_timeout.as_secs()), (3, 9));
        // It does not fit beside BODY_MEMORY_BYTES, of which the log says nothing.
        say(&mut state, &settings, &[("MAX_BODY_BYTES", Some("4000000000"))]);
        assert_eq!(settings.now().max_body_bytes, 104_857_600);
    }
}
