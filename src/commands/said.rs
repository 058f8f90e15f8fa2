//! Keys, and what is said of them, as they come on the command line and on standard input.
//!
//! Its invariant: no secret is taken from an argument, because others on the machine can
//! read arguments: neither a key, nor the credentials of a proxy.

use std::{
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Map, Value, json};

use super::Error;
use crate::config::read::split_keys;

/// What may stand in an object of a list of keys, as the admin API takes it.
const FIELDS: [&str; 10] =
    ["key", "enabled", "label", "note", "tags", "project", "weight", "priority", "models", "proxy"];

/// What is said of keys; what is left out stays as it is.
#[derive(Debug, Args)]
pub struct Said {
    /// The Google project that they belong to
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Their project is not known: each counts as one of its own
    #[arg(long, conflicts_with = "project")]
    no_project: bool,
    /// What to call them; empty: `key N`
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// What to remember of them
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// A word to find them by; say it again for more. What is said here replaces what they had
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// No words to find them by
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// Share of the requests beside others of the same priority, 1 to 1000 (1 where nobody said)
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u16>,
    /// Tier, 0 to 255: keys of a lower one are used first (100 where nobody said)
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u8>,
    /// A model they may be used for, or a pattern such as `gemini-2.5-*`; say it again for more. What is said
    /// here replaces what they had
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// They may be used for every model
    #[arg(long, conflicts_with = "models")]
    all_models: bool,
    /// Their own outbound proxy (http://host:port, socks5://host:port or socks5h://host:port), or `direct` for
    /// none at all. One that wants a user name and a password comes from a file: others on this machine can
    /// read arguments
    #[arg(long, value_name = "ADDRESS")]
    proxy: Option<String>,
    /// A file with the address of their own outbound proxy, such as socks5://user:password@host:port
    #[arg(long, value_name = "FILE", conflicts_with = "proxy")]
    proxy_file: Option<PathBuf>,
    /// No outbound proxy of their own: they go the pool's way (OUTBOUND_PROXY)
    #[arg(long, conflicts_with_all = ["proxy", "proxy_file"])]
    no_proxy: bool,
}

impl Said {
    /// As the admin API takes it.
    pub(super) fn body(&self) -> Result<Map<String, Value>, Error> {
        let mut body = Map::new();
        let mut say = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        let words = |words: &[String], none: bool| (none || !words.is_empty()).then(|| json!(words));
        say("project", self.project.as_ref().map(|project| json!(project)));
        say("project", self.no_project.then_some(Value::Null));
        say("label", self.label.as_ref().map(|label| json!(label)));
        say("note", self.note.as_ref().map(|note| json!(note)));
        say("tags", words(&self.tags, self.no_tags));
        say("weight", self.weight.map(|weight| json!(weight)));
        say("priority", self.priority.map(|priority| json!(priority)));
        say("models", words(&self.models, self.all_models));
        say("proxy", self.proxy()?.map(|proxy| json!(proxy)));
        say("proxy", self.no_proxy.then_some(Value::Null));
        Ok(body)
    }

    fn proxy(&self) -> Result<Option<String>, Error> {
        if self.proxy.as_ref().is_some_and(|proxy| proxy.contains('@')) {
            return Err(Error::ProxyCredentials);
        }
        let Some(file) = &self.proxy_file else { return Ok(self.proxy.clone()) };
        let text = std::fs::read_to_string(file).map_err(Error::ProxyFile)?;
        Ok(Some(text.trim().to_owned()))
    }
}

/// Keys from a file or from standard input, as the admin API takes them.
pub(super) fn read_keys(file: Option<&Path>) -> Result<Vec<Value>, Error> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path),
        None if io::stdin().is_terminal() => return Err(Error::NoKeys),
        None => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        }
    }
    .map_err(Error::Input)?;
    let keys = parse_keys(&text)?;
    if keys.is_empty() { Err(Error::NoKeys) } else { Ok(keys) }
}

/// Keys as text: separated somehow, or a JSON array, or an object that has one as its `keys`.
pub(super) fn parse_keys(text: &str) -> Result<Vec<Value>, Error> {
    let text = text.trim_start();
    if text.starts_with('{') {
        // What POST /api/keys/export answers.
        let answer = serde_json::from_str::<Map<String, Value>>(text).map_err(|_| Error::BadList)?;
        let keys = answer.get("keys").filter(|keys| keys.is_array()).ok_or(Error::BadList)?;
        return parse_keys(&keys.to_string());
    }
    if !text.starts_with('[') {
        return Ok(split_keys(text).ok_or(Error::BadList)?.into_iter().map(Value::from).collect());
    }
    // What is wrong is told by its place: the list is full of secrets.
    let entries = serde_json::from_str::<Vec<Value>>(text).map_err(|_| Error::BadList)?;
    let mut keys = Vec::with_capacity(entries.len());
    for (entry, place) in entries.into_iter().zip(1..) {
        match entry {
            Value::String(key) if key.trim().is_empty() => {}
            Value::String(key) => keys.push(json!(key.trim())),
            Value::Object(fields) => {
                let known = fields.keys().all(|name| FIELDS.contains(&name.as_str()));
                if !known || !fields.get("key").is_some_and(Value::is_string) {
                    return Err(Error::BadEntry { place });
                }
                keys.push(Value::Object(fields));
            }
            _ => return Err(Error::BadEntry { place }),
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_lines_as_texts_and_as_objects() {
        let all = |text: &str| Value::from(parse_keys(text).unwrap());
        assert_eq!(all("one\n two,three\n"), json!(["one", "two", "three"]));
        assert_eq!(all(r#" ["one", " two ", ""] "#), json!(["one", "two"]));
        let object = json!([{"key": "one", "weight": 5, "proxy": "http://a:b@c:1"}, "two"]);
        assert_eq!(all(&object.to_string()), object);
        assert_eq!(all(&json!({ "keys": object }).to_string()), object, "as the admin API exports them");
    }

    #[test]
    fn what_is_wrong_with_a_list_is_told_without_repeating_it() {
        for (text, wants) in [
            ("[\"s3cret\", ", "JSON array"),
            ("{\"s3cret\": []}", "JSON array"),
            ("{\"keys\": \"s3cret\"}", "JSON array"),
            ("[\"s3cret\", 5]", "entry 2"),
            ("[{\"wait\": 1}]", "entry 1"),
            ("[\"a\", {\"key\": \"s3cret\", \"wait\": 1}]", "entry 2"),
            ("[{\"key\": [\"s3cret\"]}]", "entry 1"),
        ] {
            let error = parse_keys(text).unwrap_err().to_string();
            assert!(error.contains(wants) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
