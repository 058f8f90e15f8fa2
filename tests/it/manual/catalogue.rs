//! The pages that are made: settings and events.

use std::collections::BTreeSet;

use gemini_pool::{
    bounds::{BOUNDS, Figure},
    config::{SETTINGS, Setting},
};

use super::sources::{Part, Shape, Type, shapes, types};

type Say<'a> = &'a dyn Fn(&str) -> String;

/// In a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { format!("`{}`", cell(text)) }
}

/// Whether it may change while the pool runs.
fn may_change(setting: &Setting) -> bool {
    setting.live
}

/// What its number counts.
fn unit(name: &str) -> &'static str {
    let ends = |end: &str| name.ends_with(end);
    if ends("_TIMEOUT") || ends("_INTERVAL") {
        "seconds"
    } else if ends("_BYTES") {
        "bytes"
    } else if ends("_MINUTES") {
        "minutes"
    } else if ends("_DAYS") {
        "days"
    } else {
        ""
    }
}

pub(super) fn settings(say: Say<'_>) -> String {
    let mut text = format!("# {}\n\n", say("Settings"));
    for paragraph in [
        "From the environment, or from a file `.env` in the folder where the program starts. The environment wins over \
         `.env`, and the flags `--port`, `--host` and `--data-dir` win over both. An empty value counts as none. \
         `gemini-pool config` shows what a start would use, and where it came from; `gemini-pool settings list` shows \
         what is in force. All mistakes are told at once, and stop the start with exit code 78.",
        "Of a secret, `NAME_FILE` may name a file that holds it. This page is made from `src/config/catalogue.rs`.",
    ] {
        text += &format!("{}\n\n", say(paragraph));
    }
    let head = ["Name", "Default", "Unit", "Secret", "May change while it runs", "Meaning"].map(say);
    text += &format!("| {} |\n|---|---|---|---|---|---|\n", head.join(" | "));
    for setting in SETTINGS {
        let yes = |is: bool| if is { say("yes") } else { String::new() };
        let unit = unit(setting.name);
        let unit = if unit.is_empty() { String::new() } else { say(unit) };
        text += &format!(
            "| `{}` | {} | {unit} | {} | {} | {} |\n",
            setting.name,
            code(setting.default),
            yes(setting.secret),
            yes(may_change(setting)),
            cell(&say(setting.help)),
        );
    }
    text + &bounds(say)
}

/// What no setting changes.
fn bounds(say: Say<'_>) -> String {
    let mut text = format!("\n## {}\n\n", say("Bounds that no setting changes"));
    text += &format!(
        "{}\n\n",
        say(
            "They hold for everybody, with or without an access key. This table is made from `src/bounds.rs`."
        )
    );
    text += &format!("| {} |\n|---|---|---|\n", ["What", "Bound", "Beyond it"].map(say).join(" | "));
    for bound in BOUNDS {
        let figure = match bound.figure {
            Figure::Time(time) => format!("{} {}", time.as_secs(), say("seconds")),
            Figure::Bytes(bytes) if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
            Figure::Bytes(bytes) => format!("{} KiB", bytes >> 10),
            Figure::Count(count) => count.to_string(),
        };
        text += &format!("| {} | {figure} | {} |\n", cell(&say(bound.what)), cell(&say(bound.then)));
    }
    text
}

pub(super) fn events(say: Say<'_>) -> String {
    let (types, shapes) = (types(), shapes());
    let mut text = format!("# {}\n\n", say("Events"));
    for paragraph in [
        "Everything that happens is an event in the log: it has a number, a time and a type, and is never changed. \
         `gemini-pool events list --json` and `GET /api/events` show events as they are named here. A type's number and \
         version are what stands in the log; once written, a shape is read for ever, and a new one gets a new version.",
        "No event holds a secret. This page is made from `projections/src/event.rs` and the files below it.",
    ] {
        text += &format!("{}\n\n", say(paragraph));
    }
    for (class, title, kept) in [
        ("Control", "What operators and the service did", "Kept for ever."),
        ("Health", "What the pool learned", "Kept for ever."),
        ("Traffic", "What clients asked, and what was tried for them", "Kept for `LOG_RETENTION_DAYS`."),
    ] {
        text += &format!("## {}\n\n{}\n\n", say(title), say(kept));
        for event in types.iter().filter(|event| event.class == class) {
            text += &one_event(event, &shapes[&event.name], say);
        }
    }
    text += &format!("## {}\n\n", say("What they are made of"));
    let mut told = BTreeSet::new();
    let mut next: Vec<String> =
        types.iter().flat_map(|event| &shapes[&event.name].parts).map(|part| plain(&part.kind)).collect();
    let mut named = Vec::new();
    while !next.is_empty() {
        next.retain(|name| shapes.contains_key(name) && told.insert(name.clone()));
        named.extend(next.clone());
        next = next.iter().flat_map(|name| &shapes[name].parts).map(|part| plain(&part.kind)).collect();
    }
    named.sort();
    for name in named {
        let shape = &shapes[&name];
        text += &format!("### {name}\n\n{}\n\n{}", say(&shape.doc), table(shape, say));
    }
    text.trim_end().to_owned() + "\n"
}

fn one_event(event: &Type, shape: &Shape, say: Say<'_>) -> String {
    let mut text = format!("### {}\n\n{}", event.name, say(&event.doc));
    // The shape's own words, after the one that leads here.
    if let Some((_, more)) = shape.doc.split_once("). ") {
        text += &format!(" {}", say(more));
    }
    let (number, version) = (say("Number"), say("version"));
    text += &format!("\n\n{number} {}{}{version} {}", event.number, say(", "), event.version);
    if !event.old.is_empty() {
        let old: Vec<String> = event.old.iter().map(u8::to_string).collect();
        text += &format!("; {} {}", say("also read: version"), old.join(", "));
    }
    text + &format!("\n\n{}", table(shape, say))
}

fn table(shape: &Shape, say: Say<'_>) -> String {
    let with_types = shape.parts.iter().any(|part| !part.kind.is_empty());
    let first = say(if shape.is_enum { "Value" } else { "Field" });
    let mut text = if with_types {
        format!("| {first} | {} | {} |\n|---|---|---|\n", say("Type"), say("Meaning"))
    } else {
        format!("| {first} | {} |\n|---|---|\n", say("Meaning"))
    };
    for part in &shape.parts {
        let name = if shape.is_enum { value(&part.name) } else { part.name.clone() };
        let doc = if part.doc.is_empty() { String::new() } else { cell(&say(&part.doc)) };
        text += &match with_types {
            true => format!("| `{name}` | {} | {doc} |\n", kind(part, say)),
            false => format!("| `{name}` | {doc} |\n"),
        };
    }
    text + "\n"
}

/// A variant as it stands in JSON.
fn value(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    // The one enum whose words have hyphens.
    if matches!(name, "LeastLoaded" | "RoundRobin") { text.replace('_', "-") } else { text }
}

/// The type within `Option` and `Vec`.
fn plain(kind: &str) -> String {
    let inner =
        kind.strip_prefix("Option<").or(kind.strip_prefix("Vec<")).and_then(|kind| kind.strip_suffix('>'));
    inner.map_or_else(|| kind.to_owned(), plain)
}

/// A field's type and unit, in words.
fn kind(part: &Part, say: Say<'_>) -> String {
    fn words(kind: &str, name: &str, say: Say<'_>) -> String {
        if let Some(inner) = kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>')) {
            return format!("{}{}", words(inner, name, say), say(", or none"));
        }
        if let Some(inner) = kind.strip_prefix("Vec<").and_then(|kind| kind.strip_suffix('>')) {
            return format!("{} {}", say("list of"), words(inner, name, say));
        }
        let number = matches!(kind, "u8" | "u16" | "u32" | "u64" | "u128" | "i64");
        match kind {
            "" => String::new(),
            "String" => say("text"),
            "bool" => say("true or false"),
            "KeyId" => say("number of a key"),
            "ClientId" => say("number of a client"),
            "RequestId" => say("id of a request"),
            "Seq" => say("number of an event"),
            "Digest" | "Fingerprint" => say("hexadecimal digits"),
            "Millis" if name.ends_with("_ms") => say("milliseconds"),
            "Millis" => say("milliseconds since 1970 (UTC)"),
            _ if number && name.ends_with("_ms") => say("milliseconds"),
            _ if number && name.starts_with("bytes") => say("bytes"),
            _ if number => say("number"),
            other => format!("[{other}](#{})", other.to_lowercase()),
        }
    }
    words(&part.kind, &part.name, say)
}
