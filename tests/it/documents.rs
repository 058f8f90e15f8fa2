//! The documents against the program: a README that promises what is not there is a bug like any other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use gemini_pool::config::{self, SETTINGS, Setting, Sources};

use crate::support::files;

const READMES: [&str; 2] = ["README.md", "README.zh-TW.md"];
/// Width of the lines of `.env.example`, in characters.
const WIDTH: usize = 100;

const ENV_HEADER: &str = "\
# Gemini-Pool: every setting there is, with its default.
#
# Copy this file to `.env` in the folder where the program starts, and take the `#` away in front of what you
# change. An empty value counts as none. The environment wins over `.env`; the flags --port, --host and
# --data-dir win over both. Times are in seconds and sizes in bytes unless the text says otherwise.
# `gemini-pool config` shows what a start would use, and where it came from; `gemini-pool settings list` shows
# what is in force.
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| format!("{name} cannot be read: {error}"))
}

/// Both READMEs, by name.
fn readmes() -> [(&'static str, String); 2] {
    READMES.map(|name| (name, read(name)))
}

/// Words as comment lines no longer than [`WIDTH`].
fn comment(text: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => *line = format!("{line} {word}"),
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n") + "\n"
}

fn env_example() -> String {
    let settings = SETTINGS.iter().map(|setting| {
        let Setting { name, default, secret, live, help } = setting;
        let file = format!("# Secret: {name}_FILE may name a file that holds it.\n");
        let file = if *secret { file.as_str() } else { "" };
        let live = if *live { "# It may change while the pool runs.\n" } else { "" };
        format!("\n{}{live}{file}#{name}={default}\n", comment(help))
    });
    std::iter::once(ENV_HEADER.to_owned()).chain(settings).collect()
}

#[test]
fn the_example_of_settings_is_the_catalogue() {
    let wanted = env_example();
    let written = fs::read_to_string(root().join(".env.example")).unwrap_or_default();
    assert!(written == wanted, ".env.example is not what the settings say. It should be:\n\n{wanted}");
}

/// Somebody who takes away every `#` gets the defaults, and no mistake.
#[test]
fn the_example_of_settings_means_the_defaults() {
    let example = read(".env.example");
    let lines = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let dot_env: BTreeMap<String, String> = lines
        .filter(|(name, _)| SETTINGS.iter().any(|setting| setting.name == *name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(dot_env.len(), SETTINGS.len());
    let no_file = |_: &Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let values = |sources: &Sources| -> Vec<_> {
        let config = config::parse(sources, &no_file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        config.shown.into_iter().map(|shown| (shown.name, shown.value)).collect()
    };
    assert_eq!(values(&Sources { dot_env, ..Sources::default() }), values(&Sources::default()));
}

/// What a translation has to keep: headings, rows, items and steps in their order, and code to the letter.
pub(crate) fn skeleton(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut bones = Vec::new();
    for line in text.lines() {
        let fence = line.starts_with("```");
        let numbered = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        if fence || in_code {
            bones.push(line.to_owned());
        } else if line.starts_with('#') {
            bones.push(line.split(' ').next().unwrap_or_default().to_owned());
        } else if line.starts_with('|') {
            bones.push(format!("row of {}", line.matches('|').count()));
        } else if line.starts_with("- ") {
            // Lines of the map begin with their path.
            let path = line.strip_prefix("- `").and_then(|rest| rest.split_once('`')).map(|(path, _)| path);
            bones.push(format!("item {}", path.filter(|path| path.contains('/')).unwrap_or_default()));
        } else if numbered {
            bones.push("step".to_owned());
        }
        in_code ^= fence;
    }
    bones
}

#[test]
fn both_readmes_have_the_same_parts() {
    let [(_, english), (_, chinese)] = readmes();
    let (english, chinese) = (skeleton(&english), skeleton(&chinese));
    let parts = |bones: &[String], start: &str| bones.iter().filter(|bone| bone.starts_with(start)).count();
    for (start, least) in [("#", 20), ("```", 20), ("item", 80), ("row", 25), ("step", 15)] {
        assert!(parts(&english, start) >= least, "only {} of `{start}`", parts(&english, start));
    }
    for (at, (one, other)) in english.iter().zip(&chinese).enumerate() {
        let before = english.get(at.saturating_sub(5)..at).unwrap_or_default().join("\n");
        assert_eq!(one, other, "the READMEs part after:\n{before}");
    }
    assert_eq!(english.len(), chinese.len());
}

/// Everything between single backticks outside of code blocks.
fn spans(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// Rust files below some folders, from the root of the repository.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    let all = folders.iter().map(|folder| root().join(folder)).filter(|folder| folder.is_dir());
    all.flat_map(|folder| files(&folder))
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .filter_map(|path| path.strip_prefix(root()).ok().map(Path::to_owned))
        .collect()
}

/// A file that holds only tests needs no line on the map.
fn holds_tests(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

#[test]
fn every_path_that_the_readmes_name_exists() {
    for (name, text) in readmes() {
        let spans = spans(&text);
        let starts = ["src/", "projections/", "tests/", "snapshots/", ".ci/"];
        // `tests/run --bench` is a path and its arguments.
        let paths: BTreeSet<&str> = spans
            .iter()
            .filter_map(|span| span.split(' ').next())
            .filter(|span| starts.iter().any(|start| span.starts_with(start)))
            .collect();
        assert!(paths.len() > 60, "{name} names only {} paths", paths.len());
        let missing: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
        assert!(missing.is_empty(), "{name} names what is not there: {missing:?}");
    }
}

#[test]
fn every_source_file_is_on_the_map() {
    let sources: BTreeSet<PathBuf> =
        sources(&["src", "projections/src"]).into_iter().filter(|path| !holds_tests(path)).collect();
    assert!(sources.contains(Path::new("src/main.rs")));
    for (name, text) in readmes() {
        let on_map = |path: &Path| text.contains(&format!("\n- `{}`", path.display()));
        let missing: Vec<_> = sources.iter().filter(|path| !on_map(path)).collect();
        assert!(missing.is_empty(), "the map in {name} lacks {missing:?}");
    }
}

/// The table's rows: what is held, and the names of the tests that hold it.
fn invariants(text: &str) -> Vec<(String, Vec<String>)> {
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let number = cells.first()?.trim();
        number.parse::<u8>().ok()?;
        let last = cells.last()?;
        Some((number.to_owned(), last.split('`').skip(1).step_by(2).map(str::to_owned).collect()))
    });
    rows.collect()
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let sources: Vec<(String, String)> = sources(&["src", "projections", "tests"])
        .into_iter()
        .map(|path| (path.display().to_string(), read(&path.display().to_string())))
        .collect();
    let exists = |test: &str| {
        let parts: Vec<&str> = test.split("::").collect();
        let Some((name, modules)) = parts.split_last() else { return false };
        // In the file that its modules lead to, by itself or as a rule of a suite.
        sources.iter().any(|(path, text)| {
            modules.iter().all(|module| {
                path.split(['/', '.']).any(|part| part == *module)
                    || text.contains(&format!("mod {module} {{"))
            }) && text.contains(&format!("fn {name}("))
        })
    };
    assert!(!exists("proxy::retry::tests::no_such_test"));
    assert!(!exists("no_such_module::a_clients_mistake_is_never_repeated"));
    let [english, chinese] = readmes().map(|(_, text)| invariants(&text));
    let numbers: Vec<&str> = english.iter().map(|(number, _)| number.as_str()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
    for (number, tests) in &english {
        assert!(!tests.is_empty(), "no test is named for invariant {number}");
        let missing: Vec<_> = tests.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "invariant {number} names tests that are not there: {missing:?}");
    }
    assert_eq!(english, chinese);
}

/// The walk-throughs and the table name functions as `Type::function` or `module::function`.
#[test]
fn every_function_that_the_readmes_name_exists() {
    let sources: Vec<(PathBuf, String)> = sources(&["src", "projections/src"])
        .into_iter()
        .filter(|path| !holds_tests(path))
        .map(|path| (path.clone(), read(&path.display().to_string())))
        .collect();
    let exists = |owner: &str, item: &str| {
        sources.iter().any(|(path, text)| {
            let module = path.file_stem().is_some_and(|stem| stem == owner);
            let methods = [format!("impl {owner} {{"), format!(" for {owner} {{")];
            let functions = [format!("fn {item}("), format!("fn {item}<")];
            let variant =
                text.contains(&format!("enum {owner} {{")) && text.contains(&format!("\n    {item},"));
            variant
                || ((module || methods.iter().any(|start| text.contains(start)))
                    && functions.iter().any(|start| text.contains(start)))
        })
    };
    assert!(exists("Proxy", "serve") && exists("classify", "classify") && exists("Refusal", "Stopping"));
    assert!(!exists("Proxy", "commit") && !exists("classify", "serve") && !exists("Refusal", "Recent"));
    for (name, text) in readmes() {
        let start = text.find("\n1. `server::app`").expect("the first walk-through");
        let rows = text.lines().filter(|line| line.split(" | ").count() == 4 && line.contains("::"));
        let places: String =
            rows.filter_map(|line| line.split(" | ").nth(2)).map(|cell| format!("{cell}\n")).collect();
        let spans = spans(&format!("{places}{}", &text[start..]));
        let named: Vec<_> = spans.iter().filter_map(|span| span.split_once("::")).collect();
        let missing: Vec<_> = named.iter().filter(|(owner, item)| !exists(owner, item)).collect();
        assert!(missing.is_empty(), "{name} names what is not there: {missing:?}");
        assert!(named.len() > 60, "{name} names only {} functions", named.len());
    }
}

/// Each line of a code block that calls the program is asked for its help: an unknown word fails.
#[test]
fn every_command_that_the_readmes_show_is_known() {
    for (name, text) in readmes() {
        let mut shown = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix("gemini-pool ")) {
            let words = line.split(" < ").next().unwrap_or_default().split_whitespace();
            let asked = Command::new(crate::support::program()).args(words).arg("--help").output().unwrap();
            assert!(
                asked.status.success(),
                "{name}: gemini-pool {line}: {}",
                String::from_utf8_lossy(&asked.stderr)
            );
            shown += 1;
        }
        assert!(shown >= 8, "{name} shows only {shown} commands");
    }
}

#[test]
fn the_licence_is_the_one_that_the_readmes_name() {
    assert!(read("LICENSE").starts_with("MIT License\n\nCopyright (c) 2026 the Gemini-Pool authors\n"));
    assert!(read("Cargo.toml").contains("license = \"MIT\""));
    assert!(readmes().iter().all(|(_, text)| text.contains("[MIT](LICENSE)")));
}
