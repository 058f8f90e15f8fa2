//! The events' sources, read for their words.

use std::{collections::BTreeMap, fs, path::Path};

/// A type of event, as `projections/src/event.rs` lists it.
pub(super) struct Type {
    pub(super) name: String,
    pub(super) number: u16,
    pub(super) version: u8,
    pub(super) class: String,
    pub(super) doc: String,
    /// Versions that are read and not written any more.
    pub(super) old: Vec<u8>,
}

/// A field, or a variant (then without a type).
#[derive(Clone)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) doc: String,
}

/// A struct or an enum.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) doc: String,
    pub(super) is_enum: bool,
    pub(super) parts: Vec<Part>,
}

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("projections/src").join(path)).unwrap()
}

/// Every type of event, in the order of their numbers.
pub(super) fn types() -> Vec<Type> {
    let text = source("event.rs");
    let list = text.split("\nevents! {\n").nth(1).unwrap().split("\n}\n").next().unwrap();
    let old = source("event/old.rs");
    let mut types = Vec::new();
    let mut doc = Vec::new();
    for line in list.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("/// ") {
            doc.push(words);
            continue;
        }
        // `Name = 1 v 2, Class;`
        let words: Vec<&str> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        let [name, "=", number, "v", version, class] = words[..] else { panic!("{line}") };
        let start = format!("$each!({name}, ");
        let old = old.lines().filter_map(|line| line.trim().strip_prefix(&start));
        let old = old.map(|rest| rest.trim_end_matches(");").rsplit(", ").next().unwrap().parse().unwrap());
        types.push(Type {
            name: name.to_owned(),
            number: number.parse().unwrap(),
            version: version.parse().unwrap(),
            class: class.to_owned(),
            doc: std::mem::take(&mut doc).join(" "),
            old: old.collect(),
        });
    }
    types
}

/// Every struct and enum that events are made of, by name.
pub(super) fn shapes() -> BTreeMap<String, Shape> {
    let mut shapes = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("projections/src/event");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let files = files.filter(|name| name != "old.rs").map(|name| format!("event/{name}"));
    for file in files.chain(["event.rs".to_owned()]) {
        let text = source(&file);
        read(&text, &mut shapes);
        // Some events are alike but for their name.
        if let Some(names) = text.split("key_events!(").nth(1) {
            let alike = shapes["$name"].clone();
            for name in names.split(')').next().unwrap().split_whitespace() {
                shapes.insert(name.to_owned(), alike.clone());
            }
        }
    }
    shapes
}

fn read(text: &str, shapes: &mut BTreeMap<String, Shape>) {
    let mut doc: Vec<&str> = Vec::new();
    let mut within: Option<(String, Shape, usize)> = None;
    for raw in text.lines() {
        let line = raw.trim();
        let indent = raw.len() - raw.trim_start().len();
        if let Some(words) = line.strip_prefix("/// ") {
            doc.push(words);
        } else if line.starts_with("#[") {
        } else if let Some((name, shape, depth)) = &mut within {
            if indent == *depth && line == "}" {
                shapes.insert(name.clone(), shape.clone());
                within = None;
            } else if !line.is_empty() && (indent == *depth + 4 || line.starts_with(char::is_alphabetic)) {
                let inner = indent > *depth + 4;
                let line = line.strip_prefix("pub ").unwrap_or(line).trim_end_matches([',', '{', ' ']);
                let (part, kind) = line.split_once(": ").unwrap_or((line, ""));
                let (part, kind) = match part.split_once('(') {
                    Some((part, inner)) => (part, inner.trim_end_matches(')')),
                    None => (part, kind),
                };
                if !part.starts_with('}') {
                    let name = if inner { format!("…{part}") } else { part.to_owned() };
                    shape.parts.push(Part {
                        name,
                        kind: kind.to_owned(),
                        doc: std::mem::take(&mut doc).join(" "),
                    });
                }
            }
            doc.clear();
        } else {
            let is_enum = line.starts_with("pub enum ");
            let opens = line.strip_prefix("pub struct ").or(line.strip_prefix("pub enum "));
            if let Some(name) = opens.and_then(|rest| rest.strip_suffix(" {")) {
                let doc = std::mem::take(&mut doc).join(" ");
                within = Some((name.to_owned(), Shape { doc, is_enum, parts: Vec::new() }, indent));
            }
            doc.clear();
        }
    }
}
