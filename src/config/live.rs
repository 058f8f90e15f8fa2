//! Settings that change while the pool runs: what the log says, read beside what was said at the start.
//!
//! Owns which of them follow. Refuses names that are no setting, and settings that are read once. Its
//! invariant: a value is checked by the same reading as one from the environment, and what is not said any
//! more is as it was at the start.

use std::{collections::BTreeMap, io};

use super::{Config, Mistake, Mistakes, SETTINGS, Sources, parse};

impl Config {
    /// This, with what the log says.
    ///
    /// # Errors
    /// [`Mistakes`]: all that are wrong, at once.
    pub fn with(&self, log: &BTreeMap<String, String>) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut said = BTreeMap::new();
        for (name, value) in log {
            match refusal(name, value) {
                Some(wants) => mistakes.push(Mistake { name: name.clone(), wants }),
                None => drop(said.insert(name.clone(), value.trim().to_owned())),
            }
        }
        let sources = Sources { log: said, ..self.told.clone() };
        let now = match parse(&sources, &|_| Err(io::Error::from(io::ErrorKind::NotFound))) {
            Ok(now) if mistakes.is_empty() => now,
            Ok(_) => return Err(Mistakes(mistakes)),
            Err(Mistakes(more)) => return Err(Mistakes(mistakes.into_iter().chain(more).collect())),
        };
        let shown = self.shown.iter().map(|before| {
            let after = now.shown.iter().find(|after| after.name == before.name && is_live(after.name));
            after.unwrap_or(before).clone()
        });
        Ok(Self {
            shown: shown.collect(),
            access_token_lifetime: now.access_token_lifetime,
            public_url: now.public_url,
            trusted_proxies: now.trusted_proxies,
            allowed_origins: now.allowed_origins,
            max_failures_per_key: now.max_failures_per_key,
            key_recheck_interval: now.key_recheck_interval,
            max_attempts: now.max_attempts,
            queue_timeout: now.queue_timeout,
            strategy: now.strategy,
            request_timeout: now.request_timeout,
            stream_idle_timeout: now.stream_idle_timeout,
            max_body_bytes: now.max_body_bytes,
            log_failure: now.log_failure,
            log_retention_days: now.log_retention_days,
            log_bodies: now.log_bodies,
            log_bodies_retention_days: now.log_bodies_retention_days,
            debug: now.debug,
            ..self.clone()
        })
    }
}

impl Config {
    /// This, with what `.env` says by now of settings that may change while the pool runs.
    ///
    /// # Errors
    /// [`Mistakes`]: all that are wrong, at once.
    pub fn read_again(&self, fresh: &Self) -> Result<Self, Mistakes> {
        let mut told = self.told.clone();
        told.dot_env.retain(|name, _| !is_live(name));
        let live = fresh.told.dot_env.iter().filter(|(name, _)| is_live(name));
        told.dot_env.extend(live.map(|(name, value)| (name.clone(), value.clone())));
        Self { told, ..self.clone() }.with(&BTreeMap::new())
    }

    /// Settings that have another value there, and keep this one until the next start.
    #[must_use]
    pub fn waiting_for_a_start(&self, fresh: &Self) -> Vec<&'static str> {
        let value = |config: &Self, name: &str| {
            config.shown.iter().find(|shown| shown.name == name).map(|shown| shown.value.clone())
        };
        let fixed = SETTINGS.iter().filter(|setting| !setting.live).map(|setting| setting.name);
        fixed.filter(|name| value(self, name) != value(fresh, name)).collect()
    }
}

fn is_live(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.live && setting.name == name)
}

/// Why the log may not say this; none: it may.
fn refusal(name: &str, value: &str) -> Option<String> {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
        let near = SETTINGS.iter().find(|setting| strsim::damerau_levenshtein(setting.name, name) <= 2);
        return Some(near.map_or_else(
            || "is no setting".to_owned(),
            |near| format!("is no setting; did you mean {}?", near.name),
        ));
    };
    if !setting.live {
        return Some(
            "is read at the start alone: set it in the environment or `.env`, and start again".to_owned(),
        );
    }
    (value.trim().is_empty() && !setting.default.is_empty())
        .then(|| "wants a value; null takes back what was said of it".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Origin, Setting};

    fn told(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn at_start(pairs: &[(&str, &str)]) -> Config {
        let sources = Sources { environment: told(pairs), ..Sources::default() };
        parse(&sources, &|_: &Path| Err(io::Error::from(io::ErrorKind::NotFound))).unwrap()
    }

    /// Another good value than the default.
    fn other(setting: &Setting) -> &'static str {
        match setting.name {
            "PUBLIC_URL" => "https://gemini.example.org",
            "STRATEGY" => "round-robin",
            "LOG_FAILURE" => "refuse",
            "DEBUG" => "true",
            "TRUSTED_PROXIES" => "10.0.0.0/8",
            "ALLOWED_ORIGINS" => "https://app.example.org",
            "LOG_BODIES" => "errors",
            "LOG_BODIES_RETENTION_DAYS" => "8",
            "MAX_BODY_BYTES" => "4096",
            _ => "7",
        }
    }

    /// All that the program reads, and not what people are shown.
    fn fields(config: &Config) -> String {
        format!("{:?}", Config { shown: Vec::new(), ..config.clone() })
    }

    #[test]
    fn each_live_setting_follows_the_log_and_goes_back() {
        let start = at_start(&[("PORT", "8001"), ("ADMIN_PASSWORD", "a good password")]);
        let live: Vec<_> = SETTINGS.iter().filter(|setting| setting.live).collect();
        assert!(live.len() >= 12, "{live:?}");
        for setting in live {
            let now = start.with(&told(&[(setting.name, other(setting))])).unwrap();
            assert_ne!(fields(&now), fields(&start), "{} is not followed", setting.name);
            let shown = now.shown.iter().find(|shown| shown.name == setting.name).unwrap();
            assert_eq!((shown.value.as_str(), shown.origin), (other(setting), Origin::Log));
            assert_eq!(now.shown.iter().filter(|shown| shown.origin == Origin::Log).count(), 1);
            let back = now.with(&BTreeMap::new()).unwrap();
            assert_eq!((fields(&back), &back.shown), (fields(&start), &start.shown), "{}", setting.name);
        }
    }

    #[test]
    fn what_is_read_again_counts_where_it_may_change() {
        let dot_env = |pairs: &[(&str, &str)]| {
            let sources = Sources {
                dot_env: told(pairs),
                environment: told(&[("QUEUE_TIMEOUT", "9")]),
                ..Sources::default()
            };
            parse(&sources, &|_: &Path| Err(io::Error::from(io::ErrorKind::NotFound))).unwrap()
        };
        let start = dot_env(&[("MAX_ATTEMPTS", "5"), ("PORT", "8001"), ("DEBUG", "true")]);
        let fresh = dot_env(&[("MAX_ATTEMPTS", "7"), ("PORT", "8002"), ("QUEUE_TIMEOUT", "1")]);
        let again = start.read_again(&fresh).unwrap();
        assert_eq!((again.max_attempts, again.port, again.debug), (7, 8001, false));
        assert_eq!(again.queue_timeout.as_secs(), 9, "the environment wins");
        assert_eq!(start.waiting_for_a_start(&fresh), ["PORT"]);
        let now = again.with(&told(&[("MAX_ATTEMPTS", "2")])).unwrap();
        assert_eq!(now.max_attempts, 2, "and the log before both");
        let large = dot_env(&[("MAX_BODY_BYTES", "2000000000"), ("BODY_MEMORY_BYTES", "2000000000")]);
        let mistakes = start.read_again(&large).unwrap_err();
        assert!(mistakes.to_string().contains("BODY_MEMORY_BYTES"), "{mistakes}");
    }

    #[test]
    fn the_log_wins_and_what_it_does_not_say_stays() {
        let start = at_start(&[
            ("MAX_ATTEMPTS", "5"),
            ("PUBLIC_URL", "http://a"),
            ("ALLOWED_API_KEYS", "an-access-key-0001,an-access-key-0002"),
        ]);
        let now = start.with(&told(&[("MAX_ATTEMPTS", " 2 "), ("PUBLIC_URL", "")])).unwrap();
        assert_eq!((now.max_attempts, now.public_url, now.allowed_api_keys.len()), (2, None, 2));
        let back = start.with(&told(&[("PUBLIC_URL", "")])).unwrap();
        assert_eq!((back.max_attempts, back.public_url), (5, None));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let said = told(&[
            ("MAX_ATTEMPTS", "0"),
            ("MAX_ATTEMPT", "2"),
            ("PORT", "80"),
            ("ADMIN_PASSWORD", "x"),
            ("STRATEGY", ""),
            ("MAX_BODY_BYTES", "4000000000"),
        ]);
        let Mistakes(mistakes) = at_start(&[]).with(&said).unwrap_err();
        let names: Vec<_> = mistakes.iter().map(|mistake| mistake.name.as_str()).collect();
        assert_eq!(
            names,
            ["ADMIN_PASSWORD", "MAX_ATTEMPT", "PORT", "STRATEGY", "MAX_ATTEMPTS", "BODY_MEMORY_BYTES"]
        );
    }
}
