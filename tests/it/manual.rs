//! The manual in `docs/`: what is made from the code is what the code says, and what is shown can be done.
//!
//! `docs/settings.md` and `docs/events.md` are written by this program from the catalogue of settings and from the
//! sources of the events, in both languages; `tests/it/manual/zh-TW.txt` has the Chinese of every sentence in them.
//! Write them anew with `cargo nextest run --test it write_the_manual --run-ignored only`.

mod catalogue;
mod sources;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::documents::skeleton;

/// What is written by hand, in both languages.
const BY_HAND: [&str; 2] = ["runbook", "upgrade"];
/// Commands that the manual names and that this version has not got yet. Once it has, the line goes.
const TO_COME: &[&str] = &[];

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn read(name: &str) -> String {
    fs::read_to_string(docs().join(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

/// The Chinese of sentences: pairs of lines, with an empty one between two pairs.
fn chinese() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/manual/zh-TW.txt");
    let text = fs::read_to_string(path).unwrap();
    let pairs = text.split("\n\n").filter_map(|pair| pair.trim().split_once('\n'));
    pairs.map(|(english, chinese)| (english.to_owned(), chinese.to_owned())).collect()
}

/// What is made: the file's name, and a function that says it in a language.
type Page = (&'static str, fn(&dyn Fn(&str) -> String) -> String);
const MADE: [Page; 2] = [("settings", catalogue::settings), ("events", catalogue::events)];

/// Every page that is made, by file name; and the sentences that have no Chinese.
fn made() -> (Vec<(String, String)>, Vec<String>) {
    let chinese = chinese();
    let missing = std::cell::RefCell::new(Vec::new());
    let translate = |english: &str| {
        chinese.get(english).cloned().unwrap_or_else(|| {
            missing.borrow_mut().push(english.to_owned());
            english.to_owned()
        })
    };
    let mut pages = Vec::new();
    for (name, page) in MADE {
        pages.push((format!("{name}.md"), page(&|english| english.to_owned())));
        pages.push((format!("{name}.zh-TW.md"), page(&translate)));
    }
    let mut missing = missing.into_inner();
    missing.dedup();
    (pages, missing)
}

#[test]
#[ignore = "writes docs/settings.md and docs/events.md, in both languages; run it by hand when a test says so"]
fn write_the_manual() {
    for (name, text) in made().0 {
        fs::write(docs().join(name), text).unwrap();
    }
}

#[test]
fn what_is_made_from_the_code_is_what_it_says() {
    let (pages, missing) = made();
    assert!(missing.is_empty(), "tests/it/manual/zh-TW.txt lacks {}:\n{}", missing.len(), missing.join("\n"));
    for (name, wanted) in pages {
        let written = fs::read_to_string(docs().join(&name)).unwrap_or_default();
        assert!(
            written == wanted,
            "docs/{name} is not what the code says; see the head of tests/it/manual.rs"
        );
    }
}

#[test]
fn no_translation_is_left_over() {
    let used = std::cell::RefCell::new(std::collections::BTreeSet::new());
    for (_, page) in MADE {
        page(&|english| {
            used.borrow_mut().insert(english.to_owned());
            english.to_owned()
        });
    }
    let used = used.into_inner();
    let left: Vec<_> = chinese().into_keys().filter(|english| !used.contains(english)).collect();
    assert!(left.is_empty(), "nobody says this any more: {left:#?}");
}

#[test]
fn both_languages_have_the_same_parts() {
    for name in BY_HAND {
        let (english, chinese) =
            (skeleton(&read(&format!("{name}.md"))), skeleton(&read(&format!("{name}.zh-TW.md"))));
        assert!(english.len() > 30, "{name} is short");
        for (at, (one, other)) in english.iter().zip(&chinese).enumerate() {
            let before = english[at.saturating_sub(5)..at].join("\n");
            assert_eq!(one, other, "docs/{name} parts after:\n{before}");
        }
        assert_eq!(english.len(), chinese.len(), "{name}");
    }
}

fn is_known(line: &str) -> bool {
    let words = line.split([' ']).take_while(|word| !matches!(*word, "<" | ">" | "|" | "&&"));
    let words = words.filter(|word| !word.is_empty());
    let asked = Command::new(crate::support::program()).args(words).arg("--help").output().unwrap();
    asked.status.success()
}

/// Each line of a code block that calls the program is asked for its help: an unknown word fails.
#[test]
fn every_command_in_the_manual_is_known() {
    let to_come = |line: &str| TO_COME.iter().any(|command| line.starts_with(command));
    for name in BY_HAND {
        let text = read(&format!("{name}.md"));
        let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("gemini-pool ")).collect();
        assert!(lines.len() > 8, "docs/{name}.md shows only {} commands", lines.len());
        for line in lines.iter().filter(|line| !to_come(line)) {
            assert!(is_known(line), "docs/{name}.md: gemini-pool {line}");
        }
    }
    assert!(!is_known("no-such-command"));
    for command in TO_COME {
        assert!(!is_known(command), "gemini-pool {command} is there now: take it off TO_COME");
    }
}

/// What the manual says of settings and paths is there to be set and asked.
#[test]
fn every_setting_in_the_manual_is_known() {
    let known = |name: &str| {
        let name = name.strip_suffix("_FILE").unwrap_or(name);
        gemini_pool::config::SETTINGS.iter().any(|setting| setting.name == name)
    };
    let text = read("runbook.md");
    let spans = text.split('`').skip(1).step_by(2);
    let loud = |span: &&str| {
        span.len() > 3
            && span.contains('_')
            && span.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let unknown: Vec<_> = spans.filter(loud).filter(|name| !known(name)).collect();
    // Reasons in answers are written the same way.
    let source = |name| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let answers = ["src/proxy/rescue.rs", "src/proxy/record.rs"].map(source).concat();
    let is_reason = |name: &str| answers.contains(&format!("\"{name}\""));
    let unknown: Vec<_> = unknown.into_iter().filter(|name| !is_reason(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Settings and commands in the files for containers and services are there.
#[test]
fn packages_say_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let known = |name: &str| {
        let name = name.strip_suffix("_FILE").unwrap_or(name);
        gemini_pool::config::SETTINGS.iter().any(|setting| setting.name == name)
    };
    let (image, compose, unit) =
        (read("Dockerfile"), read("deploy/compose.yml"), read("deploy/gemini-pool.service"));
    let environment = image.split("\nENV ").nth(1).unwrap().split("\nVOLUME").next().unwrap();
    let of_image =
        environment.split_whitespace().filter_map(|word| word.split_once('=')).map(|(name, _)| name);
    let of_unit = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    let of_compose = compose.split("environment:\n").nth(1).unwrap().lines();
    let of_compose = of_compose.take_while(|line| line.starts_with("      "));
    let of_compose = of_compose.filter_map(|line| line.trim_start_matches([' ', '#']).split_once(':'));
    let named: Vec<&str> =
        of_image.chain(of_unit.map(|(name, _)| name)).chain(of_compose.map(|(name, _)| name)).collect();
    assert!(named.len() >= 6, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(
        image.contains("\nUSER 10001:10001\n") && image.contains("CMD [\"gemini-pool\", \"healthcheck\"]")
    );
    assert!(is_known("serve") && unit.contains("ExecStart=/usr/local/bin/gemini-pool serve\n"));
}
