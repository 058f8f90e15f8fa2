//! From text to settings, purely: sources in, `Config` or every mistake out.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use projections::event::Strategy;
use secrecy::SecretString;

use super::{
    Config, Database, LogBodies, LogFailure, Mistake, Mistakes, Origin, SETTINGS, Setting, Shown, weak,
};
use crate::{gemini::route::Proxy, network::Range, sites::Origins};

/// Where values come from, later ones winning.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file `.env`.
    pub dot_env: BTreeMap<String, String>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The command line, by setting.
    pub flags: BTreeMap<&'static str, String>,
    /// The log: what operators said while the pool ran.
    pub log: BTreeMap<String, String>,
}

impl Sources {
    /// What may be kept: a setting's value may be asked for again, a secret's may not.
    fn without_secrets(&self) -> Self {
        let open = |name: &str| SETTINGS.iter().any(|setting| setting.name == name && !setting.secret);
        let kept = |values: &BTreeMap<String, String>| {
            values
                .iter()
                .filter(|(name, _)| open(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        Self {
            dot_env: kept(&self.dot_env),
            environment: kept(&self.environment),
            flags: self.flags.clone(),
            log: BTreeMap::new(),
        }
    }
}

/// Reads and checks every setting.
///
/// # Errors
/// [`Mistakes`]: all that are wrong, at once.
pub fn parse(sources: &Sources, read_file: &dyn Fn(&Path) -> io::Result<String>) -> Result<Config, Mistakes> {
    let mut reader =
        Reader { sources, read_file, mistakes: Vec::new(), shown: Vec::new(), warnings: Vec::new() };
    reader.refuse_unknown();
    let database =
        reader.get("DATABASE_URL", "fjall:FOLDER or memory:", database).unwrap_or(Database::Memory);
    let beside = match &database {
        Database::Fjall(folder) => folder.clone(),
        Database::Memory => PathBuf::from("./data"),
    };
    let allow_weak_keys = reader.flag("ALLOW_WEAK_KEYS");
    let config = Config {
        allow_weak_keys,
        gemini_api_keys: reader.list("GEMINI_API_KEYS", None),
        allowed_api_keys: reader.list("ALLOWED_API_KEYS", Some(allow_weak_keys)),
        port: reader.number("PORT", 0, u16::MAX),
        host: reader.optional("HOST", "an IP address such as 127.0.0.1 or ::", |text| text.parse().ok()),
        allow_anonymous: reader.flag("ALLOW_ANONYMOUS"),
        public_url: reader.optional("PUBLIC_URL", URL, url),
        trusted_proxies: reader.ranges("TRUSTED_PROXIES"),
        allowed_origins: reader.origins("ALLOWED_ORIGINS"),
        data_dir: reader.optional("DATA_DIR", "a folder", |text| Some(PathBuf::from(text))).unwrap_or(beside),
        database,
        admin_username: reader
            .get("ADMIN_USERNAME", "a name of 1 to 64 characters", |text| {
                (1..=64).contains(&text.chars().count()).then(|| text.to_owned())
            })
            .unwrap_or_default(),
        admin_password: reader.secret("ADMIN_PASSWORD", 8, false),
        secret_key: reader.secret("SECRET_KEY", 16, false),
        master_key: reader.secret("MASTER_KEY", 16, allow_weak_keys),
        traces: reader.optional("OTEL_EXPORTER_OTLP_ENDPOINT", URL, |text| {
            format!("{}/v1/traces", url(text)?).parse().ok()
        }),
        metrics_token: reader.secret("METRICS_TOKEN", 16, false),
        access_token_lifetime: Duration::from_secs(
            60 * reader.number("ACCESS_TOKEN_EXPIRE_MINUTES", 1, 525_600),
        ),
        gemini_base_url: reader.get("GEMINI_BASE_URL", URL, url).unwrap_or_default(),
        outbound_proxy: reader.proxy("OUTBOUND_PROXY"),
        max_failures_per_key: reader.number("MAX_FAILURES_PER_KEY", 1, 1_000_000),
        key_recheck_interval: reader.seconds("KEY_RECHECK_INTERVAL", 1),
        max_attempts: reader.number("MAX_ATTEMPTS", 1, 10),
        queue_timeout: reader.parts_of_seconds("QUEUE_TIMEOUT", 600),
        strategy: reader.get("STRATEGY", "least-loaded, round-robin or sticky", strategy).unwrap_or_default(),
        request_timeout: reader.seconds("REQUEST_TIMEOUT", 1),
        stream_idle_timeout: reader.seconds("STREAM_IDLE_TIMEOUT", 1),
        max_body_bytes: reader.number("MAX_BODY_BYTES", 1_024, 1 << 32),
        body_memory_bytes: reader.number("BODY_MEMORY_BYTES", 1_024, 1 << 40),
        max_connections: reader.optional("MAX_CONNECTIONS", "a whole number from 8 to 100000", |text| {
            text.parse().ok().filter(|wanted| (8..=100_000).contains(wanted))
        }),
        shutdown_timeout: reader.seconds("SHUTDOWN_TIMEOUT", 0),
        new_log: reader.flag("NEW_LOG"),
        log_failure: reader
            .get("LOG_FAILURE", "continue, refuse or exit", |text| match text {
                "continue" => Some(LogFailure::Continue),
                "refuse" => Some(LogFailure::Refuse),
                "exit" => Some(LogFailure::Exit),
                _ => None,
            })
            .unwrap_or(LogFailure::Continue),
        log_retention_days: reader.number("LOG_RETENTION_DAYS", 0, 36_500),
        log_bodies: reader
            .get("LOG_BODIES", "off, errors or all", |text| match text {
                "off" => Some(LogBodies::Off),
                "errors" => Some(LogBodies::Errors),
                "all" => Some(LogBodies::All),
                _ => None,
            })
            .unwrap_or(LogBodies::Off),
        log_bodies_retention_days: reader.number("LOG_BODIES_RETENTION_DAYS", 1, 3_650),
        debug: reader.flag("DEBUG"),
        shown: Vec::new(),
        warnings: Vec::new(),
        told: sources.without_secrets(),
    };
    if config.body_memory_bytes < config.max_body_bytes {
        reader.mistake(
            "BODY_MEMORY_BYTES",
            "wants at least MAX_BODY_BYTES, or no such body could ever be taken",
        );
    }
    if config.log_bodies != LogBodies::Off {
        reader.warnings.push(
            "LOG_BODIES keeps what people write and what they are answered, readable for administrators"
                .to_owned(),
        );
    }
    let order =
        |name: &str| SETTINGS.iter().position(|setting| setting.name == name).unwrap_or(SETTINGS.len());
    if !reader.mistakes.is_empty() {
        reader.mistakes.sort_by_key(|mistake| order(&mistake.name));
        return Err(Mistakes(reader.mistakes));
    }
    reader.shown.sort_by_key(|shown| order(shown.name));
    Ok(Config { shown: reader.shown, warnings: reader.warnings, ..config })
}

const URL: &str = "an address that begins with http:// or https://";

fn url(text: &str) -> Option<String> {
    let uri: http::Uri = text.parse().ok()?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
    (plain && uri.authority().is_some_and(|authority| !authority.as_str().contains('@')))
        .then(|| text.trim_end_matches('/').to_owned())
}

fn database(text: &str) -> Option<Database> {
    match text.split_once(':')? {
        ("memory", "" | "//") => Some(Database::Memory),
        ("fjall", folder) => {
            let folder = folder.strip_prefix("//").unwrap_or(folder);
            (!folder.is_empty()).then(|| Database::Fjall(PathBuf::from(folder)))
        }
        _ => None,
    }
}

fn strategy(text: &str) -> Option<Strategy> {
    match text {
        "least-loaded" => Some(Strategy::LeastLoaded),
        "round-robin" => Some(Strategy::RoundRobin),
        "sticky" => Some(Strategy::Sticky),
        _ => None,
    }
}

/// Splits a list of keys: a JSON array of texts, or separated by commas, semicolons or white space.
pub(crate) fn split_keys(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if text.starts_with('[') {
        return serde_json::from_str::<Vec<String>>(text).ok().map(|keys| {
            keys.into_iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect()
        });
    }
    let keys = text
        .split(|c: char| c.is_whitespace() || c == ',' || c == ';')
        .map(|key| key.trim_matches(['"', '\'']));
    Some(keys.filter(|key| !key.is_empty()).map(str::to_owned).collect())
}

struct Reader<'a> {
    sources: &'a Sources,
    read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    mistakes: Vec<Mistake>,
    shown: Vec<Shown>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn mistake(&mut self, name: &str, wants: impl Display) {
        self.mistakes.push(Mistake { name: name.to_owned(), wants: wants.to_string() });
    }

    /// A name in `.env` that is nearly ours is a slip of the pen; any other belongs to somebody else.
    fn refuse_unknown(&mut self) {
        for name in self.sources.dot_env.keys() {
            let base = name.strip_suffix("_FILE").unwrap_or(name);
            if SETTINGS.iter().any(|setting| setting.name == base) {
                continue;
            }
            let near = SETTINGS.iter().find(|setting| strsim::damerau_levenshtein(setting.name, base) <= 2);
            match near {
                Some(setting) => {
                    self.mistake(name, format_args!("is no setting; did you mean {}?", setting.name))
                }
                None => self.warnings.push(format!("{name} in .env is no setting of this program")),
            }
        }
    }

    fn setting(name: &'static str) -> Setting {
        let found = SETTINGS.iter().find(|setting| setting.name == name);
        found.copied().unwrap_or(Setting { name, default: "", secret: true, live: false, help: "" })
    }

    /// The value in force, and where it came from; an empty one counts as not given.
    fn raw(&mut self, name: &'static str) -> (String, Origin) {
        let setting = Self::setting(name);
        if let Some(value) = self.sources.log.get(name) {
            return (value.clone(), Origin::Log);
        }
        if let Some(value) = self.sources.flags.get(name) {
            return (value.clone(), Origin::Flag);
        }
        let file = format!("{name}_FILE");
        let sources =
            [(&self.sources.environment, Origin::Environment), (&self.sources.dot_env, Origin::DotEnv)];
        for (values, origin) in sources {
            if let Some(value) = values.get(name).filter(|value| !value.trim().is_empty()) {
                return (value.trim().to_owned(), origin);
            }
            if let Some(path) = values.get(&file).filter(|_| setting.secret) {
                match (self.read_file)(Path::new(path)) {
                    Ok(text) => return (text.trim().to_owned(), Origin::File),
                    Err(error) => {
                        self.mistake(&file, format_args!("a file that can be read: {path}: {error}"))
                    }
                }
            }
        }
        (setting.default.to_owned(), Origin::Default)
    }

    fn show(&mut self, name: &'static str, value: String, origin: Origin) {
        self.shown.push(Shown { name, value, origin, wants: None });
    }

    fn optional<T>(
        &mut self,
        name: &'static str,
        wants: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let (text, origin) = self.raw(name);
        self.shown.push(Shown { name, value: text.clone(), origin, wants: Some(wants.to_owned()) });
        if text.is_empty() {
            return None;
        }
        let value = read(&text);
        if value.is_none() {
            self.mistake(name, format_args!("wants {wants}, not `{}`", text.escape_debug()));
        }
        value
    }

    fn get<T>(&mut self, name: &'static str, wants: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.optional(name, wants, read)
    }

    fn number<T: FromStr + PartialOrd + Display + Copy + Default>(
        &mut self,
        name: &'static str,
        least: T,
        most: T,
    ) -> T {
        let wants = format!("a whole number from {least} to {most}");
        let read = |text: &str| text.parse::<T>().ok().filter(|value| *value >= least && *value <= most);
        self.get(name, &wants, read).unwrap_or_default()
    }

    fn seconds(&mut self, name: &'static str, least: u64) -> Duration {
        Duration::from_secs(self.number(name, least, 86_400))
    }

    /// A time for which whole seconds are too coarse.
    fn parts_of_seconds(&mut self, name: &'static str, most: u32) -> Duration {
        let wants = format!("a number of seconds from 0 to {most}, such as 2 or 0.5");
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let read = |text: &str| text.parse::<f64>().ok().filter(|_| plain(text));
        let read = |text: &str| read(text).filter(|seconds| *seconds <= f64::from(most));
        self.get(name, &wants, read).map(Duration::from_secs_f64).unwrap_or_default()
    }

    fn flag(&mut self, name: &'static str) -> bool {
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        };
        self.get(name, "true or false", read).unwrap_or_default()
    }

    fn placeholder(&mut self, name: &str, what: impl Display, shown: &str, allowed: bool) {
        let told = format!(
            "{what} `{}` is a placeholder that everybody knows: {}",
            shown.escape_debug(),
            weak::how_to_make(name)
        );
        if allowed {
            self.warnings.push(format!("{name}: {told}"));
        } else {
            self.mistake(name, told);
        }
    }

    /// `weak`: a placeholder is taken, with a warning.
    fn secret(&mut self, name: &'static str, least: usize, weak: bool) -> Option<SecretString> {
        let (text, origin) = self.raw(name);
        self.show(name, if text.is_empty() { String::new() } else { "(set)".to_owned() }, origin);
        if !text.is_empty() && weak::is_placeholder(&text) {
            self.placeholder(name, "the value", &text, weak);
        } else if !text.is_empty() && text.chars().count() < least {
            self.mistake(
                name,
                format_args!("wants at least {least} characters: {}", weak::how_to_make(name)),
            );
        }
        (!text.is_empty()).then(|| SecretString::from(text))
    }

    /// A secret of which the address may be seen.
    fn proxy(&mut self, name: &'static str) -> Option<Proxy> {
        let (text, origin) = self.raw(name);
        let read = (!text.is_empty()).then(|| Proxy::parse(&text)).transpose();
        let proxy = read.unwrap_or_else(|error| {
            self.mistake(name, error);
            None
        });
        self.show(name, proxy.as_ref().map(ToString::to_string).unwrap_or_default(), origin);
        proxy
    }

    fn ranges(&mut self, name: &'static str) -> Vec<Range> {
        let (text, origin) = self.raw(name);
        self.show(name, text.clone(), origin);
        let entries = text.split([',', ' ', '\n', '\t']).map(str::trim).filter(|entry| !entry.is_empty());
        let mut ranges = Vec::new();
        for entry in entries {
            match entry.parse() {
                Ok(range) => ranges.push(range),
                Err(error) => self.mistake(name, format_args!("`{}` {error}", entry.escape_debug())),
            }
        }
        ranges
    }

    fn origins(&mut self, name: &'static str) -> Origins {
        let (text, origin) = self.raw(name);
        self.show(name, text.clone(), origin);
        let entries = text.split([',', ' ', '\n', '\t']).map(str::trim).filter(|entry| !entry.is_empty());
        let mut origins = Origins::default();
        for entry in entries {
            if !origins.add(entry) {
                let wants = format_args!(
                    "`{}` is no origin such as https://app.example.org (no path), nor *",
                    entry.escape_debug()
                );
                self.mistake(name, wants);
            }
        }
        origins
    }

    /// `weak`: the keys are the pool's own, so that their length is looked at, and may be short.
    fn list(&mut self, name: &'static str, weak: Option<bool>) -> Vec<SecretString> {
        let (text, origin) = self.raw(name);
        let keys = split_keys(&text).unwrap_or_else(|| {
            self.mistake(name, "wants a JSON array of texts, or keys separated by commas, spaces or lines");
            Vec::new()
        });
        let sendable = |key: &String| key.len() <= 512 && key.bytes().all(|byte| byte.is_ascii_graphic());
        for (place, _) in keys.iter().enumerate().filter(|(_, key)| !sendable(key)) {
            let wants = format!("entry {} holds characters that no key has, or is over 512 long", place + 1);
            self.mistake(name, wants);
        }
        for (place, key) in keys.iter().enumerate().filter(|(_, key)| sendable(key)) {
            let entry = place + 1;
            if weak::is_placeholder(key) {
                self.placeholder(name, format_args!("entry {entry}"), key, false);
            } else if key.len() < weak::KEY_LENGTH && weak == Some(true) {
                self.warnings.push(format!(
                    "{name}: entry {entry} has fewer than {} characters, and can be guessed",
                    weak::KEY_LENGTH
                ));
            } else if key.len() < weak::KEY_LENGTH && weak == Some(false) {
                let wants = format!(
                    "entry {entry} has fewer than {} characters, and can be guessed: {}. ALLOW_WEAK_KEYS=true takes it \
                     as it is",
                    weak::KEY_LENGTH,
                    weak::how_to_make(name)
                );
                self.mistake(name, wants);
            }
        }
        let count = keys.len();
        self.show(name, if count == 0 { String::new() } else { format!("({count} set)") }, origin);
        keys.into_iter().map(SecretString::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Sources {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { environment, ..Sources::default() }
    }

    fn read(sources: &Sources) -> Result<Config, Mistakes> {
        parse(sources, &|_| Err(io::Error::from(io::ErrorKind::NotFound)))
    }

    #[test]
    fn nothing_said_is_a_good_configuration() {
        let config = read(&Sources::default()).unwrap();
        assert_eq!(config.port, 8000);
        assert_eq!(config.request_timeout, Duration::from_secs(600));
        assert_eq!(config.database, Database::Fjall("./data".into()));
        assert_eq!(config.data_dir, PathBuf::from("./data"));
        assert_eq!(config.host, None);
        assert!(!config.allow_anonymous);
        assert_eq!(config.shown.len(), SETTINGS.len());
        assert!(config.shown.iter().all(|shown| shown.origin == Origin::Default));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let mistakes = read(&env(&[
            ("PORT", "80000"),
            ("HOST", "localhost"),
            ("DATABASE_URL", "postgres://db"),
            ("STRATEGY", "random"),
            ("MAX_ATTEMPTS", "0"),
            ("REQUEST_TIMEOUT", "soon"),
            ("DEBUG", "maybe"),
            ("GEMINI_BASE_URL", "generativelanguage.googleapis.com"),
            ("SECRET_KEY", "short"),
            ("GEMINI_API_KEYS", "[1, 2]"),
            ("LOG_FAILURE", "ignore"),
            ("OUTBOUND_PROXY", "http://ann:s3cret@proxy"),
            ("BODY_MEMORY_BYTES", "2048"),
            ("QUEUE_TIMEOUT", "-1"),
            ("TRUSTED_PROXIES", "10.0.0.0/8, nginx 10.0.0.1/8"),
        ]))
        .unwrap_err();
        insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!("settings_mistakes", mistakes.to_string());
        });
    }

    #[test]
    fn the_queue_timeout_may_have_parts_of_seconds() {
        let told = |text| read(&env(&[("QUEUE_TIMEOUT", text)])).map(|config| config.queue_timeout);
        for (text, ms) in [("", 5_000), ("0", 0), ("0.25", 250), ("600", 600_000)] {
            assert_eq!(told(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in ["600.1", "-1", "inf", "nan", "1e2", "5s", "."] {
            assert!(told(text).is_err(), "{text}");
        }
    }

    #[test]
    fn allowed_origins_are_those_of_pages() {
        let origins = read(&env(&[("ALLOWED_ORIGINS", "https://app.example.org, http://localhost:3000")]));
        let origins = origins.unwrap().allowed_origins;
        assert!(origins.allow("https://app.example.org") && origins.allow("http://localhost:3000"));
        assert!(!origins.allow("https://app.example.org:8443") && !origins.allow("null"));
        assert!(read(&env(&[("ALLOWED_ORIGINS", "*")])).unwrap().allowed_origins.allow("null"));
        for wrong in ["https://app.example.org/", "app.example.org", "https://", "https://a b", "null"] {
            let first = wrong.split(' ').next().unwrap();
            let mistakes = read(&env(&[("ALLOWED_ORIGINS", wrong)])).map(|config| config.allowed_origins);
            assert!(mistakes.is_err(), "{first} is no origin");
        }
    }

    #[test]
    fn trusted_proxies_are_addresses_and_ranges() {
        let config = read(&env(&[("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8 ::1")])).unwrap();
        let shown: Vec<_> = config.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1", "10.0.0.0/8", "::1"]);
    }

    #[test]
    fn later_sources_win_and_are_named() {
        let mut sources = env(&[("PORT", "8001"), ("STRATEGY", "round-robin")]);
        sources.dot_env = [("PORT".into(), "8002".into()), ("MAX_ATTEMPTS".into(), "5".into())].into();
        sources.flags = [("PORT", "8003".to_owned())].into();
        let config = read(&sources).unwrap();
        assert_eq!((config.port, config.max_attempts, config.strategy), (8003, 5, Strategy::RoundRobin));
        let origin = |name| config.shown.iter().find(|shown| shown.name == name).unwrap().origin;
        assert_eq!(origin("PORT"), Origin::Flag);
        assert_eq!(origin("STRATEGY"), Origin::Environment);
        assert_eq!(origin("MAX_ATTEMPTS"), Origin::DotEnv);
    }

    #[test]
    fn keys_are_split_however_people_write_them() {
        for text in
            ["AIza1,AQ.2", " AIza1 , AQ.2 ", "AIza1\nAQ.2\n", r#"["AIza1", "AQ.2"]"#, "'AIza1';\"AQ.2\""]
        {
            let config = read(&env(&[("GEMINI_API_KEYS", text)])).unwrap();
            let keys: Vec<_> = config.gemini_api_keys.iter().map(ExposeSecret::expose_secret).collect();
            assert_eq!(keys, ["AIza1", "AQ.2"], "{text}");
        }
    }

    #[test]
    fn secrets_come_from_files_too_and_are_never_shown() {
        let sources =
            env(&[("MASTER_KEY_FILE", "/run/secrets/master"), ("ADMIN_PASSWORD", "a good password")]);
        let config = parse(&sources, &|path| {
            assert_eq!(path, Path::new("/run/secrets/master"));
            Ok("0123456789abcdef-secret\n".to_owned())
        })
        .unwrap();
        assert_eq!(config.master_key.as_ref().unwrap().expose_secret(), "0123456789abcdef-secret");
        let printed = format!("{config:?}");
        assert!(!printed.contains("-secret") && !printed.contains("good password"), "{printed}");
    }

    #[test]
    fn of_a_proxy_only_the_address_is_shown() {
        let config = read(&env(&[("OUTBOUND_PROXY", "socks5h://ann:s3cret@proxy:1080")])).unwrap();
        let shown = config.shown.iter().find(|shown| shown.name == "OUTBOUND_PROXY").unwrap();
        assert_eq!(shown.value, "socks5h://proxy:1080");
        assert_eq!(&**config.outbound_proxy.as_ref().unwrap().credentials().unwrap().password, "s3cret");
        let printed = format!("{config:?}");
        assert!(!printed.contains("s3cret") && !printed.contains("ann:"), "{printed}");
    }

    #[test]
    fn a_slip_of_the_pen_is_told_and_other_peoples_names_are_left_alone() {
        let slip = |name: &str| Sources {
            dot_env: [(name.to_owned(), "x".to_owned())].into(),
            ..Sources::default()
        };
        let mistakes = read(&slip("GEMINI_API_KEY")).unwrap_err();
        assert!(mistakes.to_string().contains("did you mean GEMINI_API_KEYS?"), "{mistakes}");
        let config = read(&slip("COMPOSE_PROJECT_NAME")).unwrap();
        assert_eq!(config.warnings, ["COMPOSE_PROJECT_NAME in .env is no setting of this program"]);
    }
}
