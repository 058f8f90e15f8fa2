//! The map of the code, read from the code: which module uses which, and which never may.
//!
//! Every path of `src` and `projections/src` that is not a test's is read, by a
//! scan of the text: `use` trees, and paths in the midst of code. A new edge is
//! a line in the snapshot's diff.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Modules whose parts are shown one by one; of the others, only the whole.
const IN_PARTS: [&str; 5] = ["gemini", "journal", "ledger", "proxy", "scheduler"];

/// What uses what: modules of ours, and libraries.
#[derive(Default)]
struct Map {
    /// Every module that there is, by its full path, such as `gemini::stream::peek`.
    modules: BTreeSet<String>,
    /// Module → modules that it uses.
    edges: BTreeSet<(String, String)>,
    /// Library → modules that use it.
    libraries: BTreeMap<String, BTreeSet<String>>,
    /// Module → every full path that it names, ours and foreign.
    paths: BTreeSet<(String, String)>,
}

impl Map {
    /// Reads a crate; its modules' names begin with `prefix`.
    fn read(root: &str, prefix: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let manifest = fs::read_to_string(root.parent().unwrap().join("Cargo.toml")).unwrap();
        let libraries: BTreeSet<String> =
            dependencies(&manifest).into_iter().map(|name| name.replace('-', "_")).collect();
        let mut map = Self::default();
        let mut sources = Vec::new();
        for file in crate::support::files(&root) {
            let name = file.strip_prefix(&root).unwrap().with_extension("");
            let parts: Vec<String> = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            let parts = if parts == ["lib"] { Vec::new() } else { parts };
            if !parts.iter().any(|part| part == "tests" || part == "contract") {
                map.modules.insert(parts.join("::"));
                sources.push((parts, code_of(&fs::read_to_string(&file).unwrap())));
            }
        }
        for (module, code) in &sources {
            let here = full(prefix, module);
            let paths = paths_of(code);
            let imports: BTreeMap<_, _> = paths
                .iter()
                .filter_map(|(path, name)| name.as_ref().map(|name| (name.clone(), path)))
                .collect();
            for (path, name) in &paths {
                let (first, rest) = path.split_first().unwrap();
                match imports.get(first) {
                    Some(import) if name.is_none() => {
                        map.note(module, &here, prefix, &[import.as_slice(), rest].concat(), &libraries);
                    }
                    _ => map.note(module, &here, prefix, path, &libraries),
                }
            }
        }
        map
    }

    fn note(
        &mut self,
        module: &[String],
        here: &str,
        prefix: &str,
        path: &[String],
        libraries: &BTreeSet<String>,
    ) {
        let (first, rest) = path.split_first().unwrap();
        let own = |base: &[String]| [base, rest].concat();
        let target = match first.as_str() {
            "crate" | "gemini_pool" => own(&[]),
            "self" => own(module),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                [&module[..module.len() - ups], &path[ups..]].concat()
            }
            child if self.modules.contains(&[module, &[child.to_owned()]].concat().join("::")) => {
                [module, path].concat()
            }
            library if libraries.contains(library) || library == "std" => {
                self.libraries.entry(library.to_owned()).or_default().insert(here.to_owned());
                self.paths.insert((here.to_owned(), path.join("::")));
                return;
            }
            _ => return,
        };
        self.paths.insert((here.to_owned(), format!("crate::{}", target.join("::"))));
        // The longest beginning of the path that is a module.
        let length = (0..=target.len()).rev().find(|n| self.modules.contains(&target[..*n].join("::")));
        let to = full(prefix, &target[..length.unwrap_or(0)]);
        let (from, to) = (shown(here, prefix), shown(&to, prefix));
        if from != to && !to.is_empty() {
            self.edges.insert((from, to));
        }
    }

    /// Edges from what `from` says to what `to` says.
    fn between(&self, from: impl Fn(&str) -> bool, to: impl Fn(&str) -> bool) -> Vec<String> {
        let found = self.edges.iter().filter(|(one, other)| from(one) && to(other));
        found.map(|(one, other)| format!("{one} -> {other}")).collect()
    }

    /// The modules, as they are shown, that use a library.
    fn users(&self, library: &str) -> BTreeSet<String> {
        self.libraries.get(library).into_iter().flatten().map(|module| shown(module, "")).collect()
    }
}

/// A module's name: `projections::keys`, or `ledger::rules`; the crate's own where it has no parts.
fn full(prefix: &str, parts: &[String]) -> String {
    format!("{prefix}{}", parts.join("::")).trim_end_matches(':').to_owned()
}

/// A module as it is shown: one part, or two where the parts are of interest.
fn shown(module: &str, prefix: &str) -> String {
    let Some(own) = module.strip_prefix(prefix) else { return module.to_owned() };
    let parts: Vec<_> = own.split("::").collect();
    let kept = if IN_PARTS.contains(&parts[0]) || !prefix.is_empty() { 2 } else { 1 };
    format!("{prefix}{}", parts[..parts.len().min(kept)].join("::"))
}

/// Whether a module is another, or a part of it.
fn within(module: &str, whole: &str) -> bool {
    module == whole || module.strip_prefix(whole).is_some_and(|rest| rest.starts_with("::"))
}

/// The names below `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let own = lines.take_while(|line| !line.starts_with('['));
    let names = own.filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.starts_with('#'));
    names.map(|(name, _)| name.trim().trim_end_matches(".workspace").to_owned()).collect()
}

/// The code without comments, the contents of strings, and what is compiled for tests alone.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").unwrap() + 2
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = 2 + hashes;
            begin + rest[begin..].find(&end).unwrap() + end.len()
        } else if next == '"' {
            let mut escaped = false;
            let end = rest.char_indices().skip(1).find(|(_, c)| {
                let found = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                found
            });
            end.unwrap().0 + 1
        } else if let Some(length) = char_literal(rest) {
            length
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    without_tests(&code)
}

/// Hashes of a raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let quote = hashes.trim_start_matches('#');
    quote.starts_with('"').then(|| hashes.len() - quote.len())
}

/// The length of a character literal that begins here; a lifetime is none.
fn char_literal(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if let Some(escape) = inner.strip_prefix('\\') {
        return Some(2 + 1 + escape[1..].find('\'')? + 1);
    }
    let c = inner.chars().next()?;
    inner[c.len_utf8()..].starts_with('\'').then(|| c.len_utf8() + 2)
}

/// Leaves out every item after `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let Some((before, after)) = code.split_once("#[cfg(test)]") else { return code.to_owned() };
    let semicolon = after.find(';').unwrap_or(after.len());
    let brace = after.find('{').unwrap_or(after.len());
    let end = if semicolon < brace {
        semicolon + 1
    } else {
        let mut depth = 0;
        let close = after.char_indices().skip(brace).find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            *c == '}' && depth == 0
        });
        close.unwrap().0 + 1
    };
    format!("{before}{}", without_tests(&after[end..]))
}

/// Words, and signs one by one; `::` is a sign of its own.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::<String>::new();
    let mut whole = false;
    for c in code.chars() {
        let word = c.is_alphanumeric() || c == '_';
        match tokens.last_mut() {
            Some(last) if whole && word => last.push(c),
            Some(last) if c == ':' && last == ":" => last.push(c),
            _ if c.is_whitespace() => {}
            _ => tokens.push(c.to_string()),
        }
        whole = word;
    }
    tokens
}

/// Every path that the code names, `use` trees laid out; with the name that a `use` gives it.
fn paths_of(code: &str) -> Vec<(Vec<String>, Option<String>)> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        // `use<…>` in a type says what it captures.
        if tokens[at] == "use" && tokens[at + 1] != "<" {
            let end = at + tokens[at..].iter().position(|token| token == ";").unwrap();
            tree(&tokens[at + 1..end], &[], &mut paths);
            at = end;
        } else if is_word(&tokens[at]) && tokens.get(at + 1).is_some_and(|next| next == "::") {
            let mut path = vec![tokens[at].clone()];
            let follows = |at: usize| {
                let colons = tokens.get(at + 1).is_some_and(|next| next == "::");
                tokens.get(at + 2).filter(|next| colons && is_word(next))
            };
            while let Some(next) = follows(at) {
                path.push(next.clone());
                at += 2;
            }
            paths.push((path, None));
        }
        at += 1;
    }
    paths
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Lays out one `use` tree.
fn tree(tokens: &[String], above: &[String], paths: &mut Vec<(Vec<String>, Option<String>)>) {
    if tokens.is_empty() {
        return;
    }
    let mut path = above.to_vec();
    let mut tokens = tokens.iter().filter(|token| *token != "::");
    while let Some(token) = tokens.next() {
        match token.as_str() {
            "{" => {
                let inner: Vec<String> = tokens.cloned().collect();
                let mut depth = 0;
                let parts = inner[..inner.len() - 1].split(|token| {
                    depth += i32::from(token == "{") - i32::from(token == "}");
                    depth == 0 && token == ","
                });
                parts.for_each(|part| tree(part, &path, paths));
                return;
            }
            "as" => return paths.push((path, tokens.next().cloned())),
            // `a::{self}` is `a`; a leading `self` says where to begin.
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
    }
    let name = path.last().cloned();
    paths.push((path, name));
}

fn service() -> Map {
    Map::read("src", "")
}

fn folds() -> Map {
    Map::read("projections/src", "projections::")
}

/// The scan itself, on code that tries to mislead it.
#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let code = code_of(
        r##"
        // use crate::comment::One;
        use crate::{a::{self, b::C as D}, e};
        /* use crate::comment::Two; */
        pub use super::f::*;
        const TEXT: &str = "use crate::text::\"G; {";
        const RAW: &str = r#"crate::raw::"text"#;
        fn x<'a>(quote: char, y: &'a str) { if quote == '"' || quote == '\'' { h::i::j(y) } }
        #[cfg(test)]
        mod tests { use crate::test::K; fn l() { {} } }
        #[cfg(test)]
        mod more;
        fn after() -> impl crate::m::N + use<'a> { o::<u8>() }
        "##,
    );
    let paths: Vec<String> = paths_of(&code)
        .iter()
        .map(|(path, name)| name.iter().fold(path.join("::"), |path, name| format!("{path} as {name}")))
        .collect();
    let uses = ["crate::a as a", "crate::a::b::C as D", "crate::e as e", "super::f::* as *"];
    assert_eq!(paths, [&uses[..], &["h::i::j", "crate::m::N", "o"]].concat(), "{code}");
}

#[test]
fn the_map_is_as_it_was() {
    let (service, folds) = (service(), folds());
    assert!(service.modules.len() > 30 && folds.modules.len() > 5);
    let mut lines: BTreeSet<String> = BTreeSet::new();
    for (from, to) in service.edges.iter().chain(&folds.edges) {
        lines.insert(format!("{from} -> {to}"));
    }
    for module in service.users("projections") {
        lines.insert(format!("{module} -> projections"));
    }
    let text: Vec<String> = lines.into_iter().collect();
    insta::with_settings!({
        snapshot_path => "../../snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => "Which module uses which. A new line is a new edge: is it meant to be?",
    }, {
        insta::assert_snapshot!("edges", text.join("\n"));
    });
}

#[test]
fn the_folds_are_pure() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("projections/Cargo.toml");
    assert_eq!(dependencies(&fs::read_to_string(manifest).unwrap()), ["serde"]);
    let folds = folds();
    assert_eq!(folds.libraries.keys().collect::<Vec<_>>(), ["serde", "std"]);
    let pure = ["borrow", "cmp", "collections", "error", "fmt", "mem", "num", "str"];
    let impure: Vec<_> = folds
        .paths
        .iter()
        .filter(|(_, path)| {
            path.strip_prefix("std::").is_some_and(|path| !pure.iter().any(|part| within(path, part)))
        })
        .collect();
    assert!(impure.is_empty(), "{impure:?}");
}

/// Everybody else asks the ledger. (The rules and the vault name the journal's
/// `SecretChange`; the pool chooses a back end and hands it over; the commands
/// name the error that says that another process has it.)
#[test]
fn only_the_ledger_uses_the_journal() {
    let service = service();
    let outside = |module: &str| !within(module, "ledger") && !within(module, "journal");
    let users = service.between(outside, |module| within(module, "journal"));
    assert_eq!(
        users,
        [
            "commands -> journal",
            "pool -> journal",
            "pool -> journal::fjall",
            "pool -> journal::memory",
            "vault -> journal",
        ]
    );
    let named = |module: &str, path: &str| {
        let named = service.paths.iter().filter(|(from, to)| from == module && within(to, path));
        named.map(|(_, to)| to.clone()).collect::<Vec<_>>()
    };
    assert_eq!(named("commands", "crate::journal"), ["crate::journal", "crate::journal::Error::InUse"]);
    assert_eq!(named("vault", "crate::journal"), ["crate::journal::SecretChange"]);
    assert_eq!(named("ledger::rules", "crate::journal"), ["crate::journal::SecretChange"]);
}

#[test]
fn back_ends_know_bytes_and_not_events() {
    let service = service();
    for back_end in ["journal::fjall", "journal::memory", "journal::derived"] {
        let ours = service.paths.iter().filter(|(from, _)| within(from, back_end)).map(|(_, to)| to.as_str());
        let meaning = ours.filter(|to| within(to, "projections") || within(to, "crate::journal::codec"));
        let meaning: Vec<_> = meaning.filter(|to| !within(to, "projections::Seq")).collect();
        assert!(meaning.is_empty(), "{back_end} knows {meaning:?}");
    }
    assert_eq!(service.users("bincode"), BTreeSet::from(["journal::codec".to_owned()]));
}

#[test]
fn what_decides_does_nothing_else() {
    let service = service();
    let pure = [
        "scheduler",
        "ledger::rules",
        "gemini::target",
        "gemini::stream",
        "gemini::classify",
        "gemini::body",
        "gemini::pages",
        "gemini::references",
        "gemini::resources",
        "gemini::scrub",
        "gemini::headers",
        "gemini::route",
        "proxy::queue::lines",
        "proxy::retry",
        "fair",
        "simulate",
    ];
    for module in pure {
        assert!(service.modules.contains(module), "{module} is gone; is what it did still pure?");
        for library in ["tokio", "tokio_util", "poem", "reqwest", "hyper", "hyper_util", "getrandom"] {
            let users = service.libraries.get(library);
            let users: Vec<_> = users.into_iter().flatten().filter(|user| within(user, module)).collect();
            assert!(users.is_empty(), "{users:?} uses {library}");
        }
        let effects = [
            "std::fs",
            "std::env",
            "std::net",
            "std::process",
            "std::thread",
            "std::time::SystemTime",
            "std::time::Instant",
        ];
        let named: Vec<_> = service
            .paths
            .iter()
            .filter(|(from, to)| within(from, module) && effects.iter().any(|effect| within(to, effect)))
            .collect();
        assert!(named.is_empty(), "{named:?}");
        if module != "ledger::rules" {
            let edges = service.between(|from| within(from, module), |to| within(to, "journal"));
            assert!(edges.is_empty(), "{edges:?}");
        }
    }
}

#[test]
fn ways_that_must_not_be() {
    let service = service();
    let is = |whole: &'static str| move |module: &str| within(module, whole);
    for (from, to) in [
        ("gemini", "ledger"),
        ("gemini", "scheduler"),
        ("gemini", "proxy"),
        ("proxy", "admin"),
        ("admin", "proxy"),
        ("ledger", "scheduler"),
        ("ledger", "proxy"),
        ("ledger", "admin"),
        ("access", "auth"),
        ("access", "proxy"),
        ("access", "admin"),
        ("journal", "ledger"),
        ("journal", "vault"),
        ("scheduler", "gemini"),
        ("scheduler", "proxy"),
    ] {
        let edges = service.between(is(from), is(to));
        assert!(edges.is_empty(), "{edges:?}");
    }
}

#[test]
fn each_library_is_in_its_house() {
    let service = service();
    let houses: [(&str, &[&str]); 10] = [
        ("fjall", &["journal::fjall"]),
        ("bincode", &["journal::codec"]),
        ("reqwest", &["commands", "demo"]),
        ("jsonwebtoken", &["auth"]),
        ("argon2", &["auth"]),
        ("chacha20poly1305", &["vault"]),
        ("jiff", &["ledger::clock", "simulated"]),
        ("dotenvy", &["config"]),
        ("prometheus_client", &["metrics"]),
        ("tokio_tungstenite", &["gemini::live", "proxy::live", "simulated"]),
    ];
    for (library, house) in houses {
        let house: BTreeSet<_> = house.iter().map(|module| (*module).to_owned()).collect();
        assert_eq!(service.users(library), house, "{library}");
    }
    for library in ["poem", "poem_openapi"] {
        for user in service.users(library) {
            let edge = ["server", "proxy", "admin", "dashboard", "health", "metrics"]
                .iter()
                .any(|module| within(&user, module));
            assert!(edge, "{user} uses {library}");
        }
    }
    let remote: Vec<_> = service.libraries["reqwest"].iter().collect();
    assert_eq!(remote, ["commands::remote", "demo"]);
}

/// Settings come in at one place, and so does time. (The demonstration asks where files may lie
/// for a while, which is no setting; the simulated Google has a clock of its own.)
#[test]
fn the_environment_is_read_in_one_place() {
    let service = service();
    let readers = service.paths.iter().filter(|(_, to)| within(to, "std::env"));
    let readers: BTreeSet<_> = readers.map(|(from, to)| (from.as_str(), to.as_str())).collect();
    assert_eq!(readers, BTreeSet::from([("config", "std::env::vars_os"), ("demo", "std::env::temp_dir")]));
    let clocks = service.paths.iter().filter(|(_, to)| within(to, "std::time::SystemTime"));
    let clocks: BTreeSet<_> = clocks.map(|(from, _)| from.as_str()).collect();
    assert_eq!(clocks, BTreeSet::from(["ledger::clock", "simulated::clock"]));
}
