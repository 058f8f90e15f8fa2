//! `gemini-pool keys import` and `keys export`: from other programs, and out of this one.
//!
//! Owns what other programs' files look like. Refuses to repeat anything of what is in them: what is wrong is told
//! by its place.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{Error, Target, new_file::NewFile, progress, said::parse_keys, say};
use crate::config::read::split_keys;

/// Standard input or output.
const STANDARD: &str = "-";

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    /// As it looks
    Auto,
    /// The `.env` of a gemini-balance: API_KEYS, and ALLOWED_TOKENS as access keys of apps
    GeminiBalance,
    /// The keys that a gpt-load exports: one a line
    GptLoad,
    /// What `gemini-pool keys export` wrote
    GeminiPool,
    /// A `.env` with GEMINI_API_KEYS and ALLOWED_API_KEYS
    Env,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::GeminiBalance => "gemini-balance",
            Self::GptLoad => "gpt-load",
            Self::GeminiPool => "gemini-pool",
            Self::Env => "env",
        }
    }
}

/// What to import.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file, or `-` for standard input
    file: PathBuf,
    /// Whose file it is
    #[arg(long, value_enum, default_value = "auto")]
    from: Source,
    /// Only tell what would become of them
    #[arg(long)]
    dry_run: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What to export.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The file to write, for its owner alone; it must not be there yet. `-`: standard output
    file: PathBuf,
    /// Yes, write every upstream key as it is, unsealed
    #[arg(long)]
    yes: bool,
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    from: Source,
    keys: Vec<Value>,
    clients: Vec<String>,
}

impl ImportArgs {
    /// Whether nothing is to be changed.
    pub(super) fn only_tells(&self) -> bool {
        self.dry_run
    }

    /// Reads the file, before anything is opened.
    pub(super) fn read(&self) -> Result<Found, Error> {
        let failed = |source| Error::File { path: self.file.clone(), source };
        let text = if self.file == Path::new(STANDARD) {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(&self.file)
        };
        let found = found(&text.map_err(failed)?, self.from)?;
        if found.keys.is_empty() && found.clients.is_empty() {
            return Err(Error::NothingToImport { from: found.from.name() });
        }
        Ok(found)
    }

    /// Imports it, and tells what became of it.
    pub(super) async fn run(&self, found: Found, target: &Target) -> Result<(), Error> {
        let Found { from, keys, clients } = found;
        let body = json!({"keys": keys, "clients": clients, "dry_run": self.dry_run});
        let spinner = progress::spinner("importing");
        let answer = target.call(Method::POST, "/keys/import", Some(body)).await;
        spinner.finish_and_clear();
        let answer = answer?;
        if self.json {
            return say(&format!("{answer:#}"));
        }
        say(&report(from, &answer, self.dry_run))
    }
}

fn report(from: Source, answer: &Value, dry: bool) -> String {
    let of = |what: &str| answer.get(what).and_then(Value::as_array).cloned().unwrap_or_default();
    let is = |item: &Value, word: &str| item.get("result") == Some(&json!(word));
    let line = |what: &str, name: &str| {
        let items = of(what);
        let count = |word: &str| items.iter().filter(|item| is(item, word)).count();
        let places = items.iter().zip(1..).filter(|(item, _)| is(item, "invalid"));
        let places: Vec<String> = places.map(|(_, place): (_, usize)| place.to_string()).collect();
        let places =
            if places.is_empty() { String::new() } else { format!(" (number {})", places.join(", ")) };
        format!(
            "  {name}: {} new, {} there already, {} invalid{places}",
            count("new"),
            count("duplicate"),
            count("invalid")
        )
    };
    let mut lines = vec![format!("From {}:", from.name()), line("keys", "upstream keys")];
    if !of("clients").is_empty() {
        lines.push(line("clients", "access keys of apps"));
    }
    if dry {
        lines.push("Nothing was changed (--dry-run).".to_owned());
    }
    lines.join("\n")
}

fn found(text: &str, from: Source) -> Result<Found, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let variables = variables(text);
    let has = |name: &str| variables.contains_key(name);
    let from = match from {
        Source::Auto if text.trim_start().starts_with(['[', '{']) => Source::GeminiPool,
        Source::Auto if has("GEMINI_API_KEYS") || has("ALLOWED_API_KEYS") => Source::Env,
        Source::Auto if has("API_KEYS") || has("ALLOWED_TOKENS") => Source::GeminiBalance,
        Source::Auto => Source::GptLoad,
        named => named,
    };
    let list = |name: &'static str| {
        let value = variables.get(name).map(String::as_str).unwrap_or_default();
        split_keys(value).ok_or(Error::BadVariable { name })
    };
    let texts = |keys: Vec<String>| keys.into_iter().map(Value::from).collect();
    let (keys, clients) = match from {
        Source::GeminiBalance => (texts(list("API_KEYS")?), list("ALLOWED_TOKENS")?),
        Source::Env => (texts(list("GEMINI_API_KEYS")?), list("ALLOWED_API_KEYS")?),
        Source::GeminiPool => (parse_keys(text)?, Vec::new()),
        Source::GptLoad | Source::Auto => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            (lines.map(Value::from).collect(), Vec::new())
        }
    };
    Ok(Found { from, keys, clients })
}

/// The variables of a `.env`, as its authors meant them: quotes within a value stay, and a JSON array may go over
/// several lines.
fn variables(text: &str) -> BTreeMap<&str, String> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let mut value = value.trim().to_owned();
        let quote = value.chars().next().filter(|first| matches!(first, '\'' | '"'));
        let closes = |value: &str| match quote {
            Some(quote) => value.len() > 1 && value.trim_end().ends_with(quote),
            None => !value.starts_with('[') || value.contains(']'),
        };
        while !closes(&value) {
            let Some(more) = lines.next() else { break };
            value.push('\n');
            value.push_str(more);
        }
        let value = match quote {
            Some(quote) => value.trim().trim_start_matches(quote).trim_end_matches(quote),
            None => value.split(" #").next().unwrap_or_default(),
        };
        found.insert(name, value.trim().to_owned());
    }
    found
}

impl ExportArgs {
    /// Before anything is opened.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.yes { Ok(()) } else { Err(Error::SayYes) }
    }

    /// Writes every key with its secret.
    pub(super) async fn run(&self, target: &Target) -> Result<(), Error> {
        let file = if self.file == Path::new(STANDARD) { None } else { Some(NewFile::create(&self.file)?) };
        let answer = target.call(Method::POST, "/keys/export", Some(json!({}))).await?;
        let keys = answer.get("keys").cloned().unwrap_or_else(|| json!([]));
        let text = format!("{keys:#}\n");
        let Some(mut file) = file else { return Ok(io::stdout().lock().write_all(text.as_bytes())?) };
        file.write_all(text.as_bytes()).map_err(|source| Error::File { path: self.file.clone(), source })?;
        file.finish()?;
        let count = keys.as_array().map(Vec::len).unwrap_or_default();
        say(&format!("{}: {count} keys, unsealed: whoever reads this file has them", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: &Found) -> Vec<&str> {
        found.keys.iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_file_of_gemini_balance_is_known_by_its_names() {
        let text = "# keys\nMYSQL_PORT=3306\nAPI_KEYS=[\"AIza-1\",\"AIza-2\"]\nALLOWED_TOKENS=[\"sk-1\", \"sk-2\"]\n\
                    AUTH_TOKEN=sk-admin\nPAID_KEY=AIza-paid\n";
        let balance = found(text, Source::Auto).unwrap();
        assert_eq!((balance.from, texts(&balance)), (Source::GeminiBalance, vec!["AIza-1", "AIza-2"]));
        // The token that administers there opens nothing here.
        assert_eq!(balance.clients, ["sk-1", "sk-2"]);
        for text in [
            "API_KEYS = '[\"AIza-1\", \"AIza-2\"]'",
            "export API_KEYS=[\n  \"AIza-1\",\n  \"AIza-2\"\n]\nOTHER=1",
            "API_KEYS=AIza-1,AIza-2 # mine",
            "\u{feff}API_KEYS=\"AIza-1 AIza-2\"",
        ] {
            let found = found(text, Source::Auto).unwrap();
            assert_eq!(
                (found.from, texts(&found)),
                (Source::GeminiBalance, vec!["AIza-1", "AIza-2"]),
                "{text}"
            );
        }
    }

    #[test]
    fn the_other_files_are_known_by_their_looks() {
        let env = found("GEMINI_API_KEYS=[\"AIza-1\"]\nALLOWED_API_KEYS=one,two\n", Source::Auto).unwrap();
        assert_eq!((env.from, texts(&env), env.clients.len()), (Source::Env, vec!["AIza-1"], 2));
        let lines = found("AIza-1\r\n\n  AIza-2\n# a note\n", Source::Auto).unwrap();
        assert_eq!((lines.from, texts(&lines)), (Source::GptLoad, vec!["AIza-1", "AIza-2"]));
        let own = found(r#"[{"key": "AIza-1", "weight": 2}, "AIza-2"]"#, Source::Auto).unwrap();
        assert_eq!((own.from, own.keys.len()), (Source::GeminiPool, 2));
        let answer = found(r#"{"keys": [{"key": "AIza-1", "weight": 2}]}"#, Source::Auto).unwrap();
        assert_eq!((answer.from, answer.keys.len()), (Source::GeminiPool, 1));
    }

    #[test]
    fn what_cannot_be_read_is_not_repeated() {
        let refused = [
            found("API_KEYS=[\"s3cret\", 5]", Source::Auto),
            found("[{\"key\": 5, \"note\": \"s3cret\"}]", Source::Auto),
            found("[s3cret", Source::GeminiPool),
        ];
        for refused in refused {
            let error = refused.unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn people_read_what_became_of_it() {
        let answer = json!({
            "keys": [{"result": "new"}, {"result": "invalid"}, {"result": "duplicate"}, {"result": "new"}, {"result": "invalid"}],
            "clients": [{"result": "duplicate"}],
        });
        let wanted = "From gemini-balance:\n  upstream keys: 2 new, 1 there already, 2 invalid (number 2, 5)\n  \
                      access keys of apps: 0 new, 1 there already, 0 invalid\nNothing was changed (--dry-run).";
        assert_eq!(report(Source::GeminiBalance, &answer, true), wanted);
    }
}
