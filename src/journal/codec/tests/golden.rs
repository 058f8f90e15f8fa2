//! Golden files: the bytes of every shape that was ever written, one frame a line.
//!
//! A file is `Type-version.hex`. It is written once, before the release that
//! writes its shape, and never changed; lines may be added at its end, such as
//! for a verdict that is new.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::{Path, PathBuf},
};

use projections::{
    ClientId, Digest, Fingerprint, KeyId, RequestId,
    event::{
        Actor, AdminLoggedIn, AdminLoginFailed, Answered, Attempted, Change, ClientAdded, ClientRemoved,
        GateClosed, GateOpened, KeyAdded, KeyChecked, KeyDisabled, KeyEnabled, KeyRemoved, KeyReset,
        KeyUpdated, Opened, Outcome, PassedOver, ProjectLearned, QuotaDayBegan, QuotaTurnLearned, Released,
        ResourceBound, ResourceReleased, Scope, ServerStarted, ServerStopped, Strategy, Tokens, Verdict,
        Violation, Why, Window,
    },
};

use super::{history::variants, *};

mod operators;

const SEQ: Seq = 7;
const AT: Millis = 1_795_000_000_123;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every file: type, version, frames.
fn files() -> Vec<(String, u8, Vec<Vec<u8>>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        assert_eq!(path.extension().unwrap(), "hex", "{path:?} is no golden file");
        let (name, version) = path.file_stem().unwrap().to_str().unwrap().rsplit_once('-').unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        (name.to_owned(), version.parse().unwrap(), text.lines().map(unhex).collect())
    };
    files.into_iter().map(read).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Lines of every golden file that this program would write, by type.
fn lines() -> BTreeMap<&'static str, Vec<String>> {
    let mut lines = BTreeMap::<_, Vec<_>>::new();
    for event in samples() {
        let (frame, _) = encode(SEQ, AT, &event, &ChainHash::START).unwrap();
        lines.entry(event.name()).or_default().push(hex(&frame));
    }
    lines
}

/// A new type, a new version, or a new variant of something needs its golden bytes:
/// `cargo test golden -- --ignored` writes what is missing.
#[test]
fn every_type_has_golden_bytes_and_still_writes_them() {
    let lines = lines();
    for (_, version, name, _) in TYPES {
        let path = folder().join(format!("{name}-{version}.hex"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let golden: BTreeSet<_> = text.lines().map(str::to_owned).collect();
        let written = lines.get(name).unwrap_or_else(|| panic!("there is no sample of {name}"));
        assert_eq!(golden, written.iter().cloned().collect(), "{name} is not written as it was");
    }
}

/// Everything that was ever written is understood, and says what it always said.
#[test]
fn golden_bytes_are_understood_for_ever() {
    let mut text = String::new();
    for (name, version, frames) in files() {
        let current = TYPES.iter().find(|(_, _, known, _)| *known == name);
        let (_, newest, _, class) = current.unwrap_or_else(|| panic!("{name} is forgotten"));
        assert!(!frames.is_empty() && version <= *newest);
        for frame in frames {
            let (recorded, _) = decode(SEQ, &frame, Some(&ChainHash::START)).unwrap();
            assert_eq!((recorded.event.name(), recorded.event.class()), (name.as_str(), *class));
            assert_eq!((recorded.seq, recorded.at), (SEQ, AT));
            let event = serde_json::to_string(&recorded.event).unwrap();
            writeln!(text, "{name}-{version}: {event}").unwrap();
            if version == *newest {
                let (again, _) = encode(SEQ, AT, &recorded.event, &ChainHash::START).unwrap();
                assert_eq!(hex(&again), hex(&frame));
            }
        }
    }
    insta::with_settings!({
        snapshot_path => "../../../../snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => "The events in tests/golden, as they are understood. A line may be added, and of those that are there none may change but by fields that are new.",
    }, {
        insta::assert_snapshot!("golden_events", text);
    });
}

#[test]
#[ignore = "writes golden bytes that are missing; run it by hand after adding a type, a version or a variant"]
fn write_missing_golden_bytes() {
    std::fs::create_dir_all(folder()).unwrap();
    let lines = lines();
    for (_, version, name, _) in TYPES {
        let path = folder().join(format!("{name}-{version}.hex"));
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        let missing: Vec<_> = lines[name].iter().filter(|line| !text.contains(*line)).cloned().collect();
        missing.iter().for_each(|line| text.extend([line, "\n"]));
        std::fs::write(path, text).unwrap();
    }
}

/// Every shape with every variant of what is in it.
pub(crate) fn samples() -> Vec<Event> {
    let (key, client, request) =
        (KeyId(300), ClientId(70_000), RequestId(0x0192_3456_789a_7bcd_8ef0_1234_5678_9abc));
    let admin = || Actor::Admin("王 ann".to_owned());
    let actors = [admin(), Actor::Env, Actor::Cli, Actor::System];
    let mut all: Vec<Event> = Vec::new();

    let fingerprint = Fingerprint(std::array::from_fn(|i| i as u8 + 1));
    let digest = Digest(std::array::from_fn(|i| 0xFF - i as u8));
    for (project, actor) in [Some("my-project".to_owned()), None, None, None].into_iter().zip(actors) {
        let (label, tail) = ("first key".to_owned(), "x9Zq".to_owned());
        all.push(KeyAdded { key, label, tail, fingerprint, project, actor: actor.clone() }.into());
        let (name, tail) = ("app".to_owned(), "0001".to_owned());
        all.push(ClientAdded { client, name, tail, digest, actor }.into());
    }
    let nothing = KeyUpdated {
        key,
        actor: Actor::Cli,
        label: None,
        note: None,
        tags: None,
        project: None,
        weight: None,
        priority: None,
        models: None,
        proxy: None,
    };
    let everything = KeyUpdated {
        actor: admin(),
        label: Some("鑰匙".to_owned()),
        note: Some("of ann\nuntil May".to_owned()),
        tags: Some(vec!["paid".to_owned(), "eu".to_owned()]),
        project: Some(Change::To("my-project".to_owned())),
        weight: Some(1_000),
        priority: Some(255),
        models: Some(vec!["gemini-2.5-*".to_owned()]),
        proxy: Some(Change::To("socks5h://proxy.example:1080".to_owned())),
        ..nothing.clone()
    };
    let cleared = KeyUpdated {
        tags: Some(Vec::new()),
        models: Some(Vec::new()),
        project: Some(Change::Cleared),
        proxy: Some(Change::Cleared),
        ..nothing.clone()
    };
    all.extend([nothing, everything, cleared].map(Event::from));
    all.push(KeyDisabled { key, actor: admin() }.into());
    all.push(KeyEnabled { key, actor: Actor::Cli }.into());
    all.push(KeyReset { key, actor: Actor::System }.into());
    all.push(KeyRemoved { key, actor: admin() }.into());
    all.push(ClientRemoved { client, actor: Actor::Env }.into());
    let address = || "192.0.2.7".to_owned();
    all.push(AdminLoggedIn { name: "admin".to_owned(), address: address() }.into());
    all.push(AdminLoginFailed { name: "root".to_owned(), address: address(), count: 1 }.into());
    all.push(AdminLoginFailed { name: String::new(), address: String::new(), count: 70_000 }.into());
    all.extend(operators::samples());
    all.push(ServerStarted { version: "0.1.0".to_owned(), address: "127.0.0.1:8000".to_owned() }.into());
    all.push(ServerStopped { abandoned: 70_000 }.into());

    let project = || "my-project".to_owned();
    let mut scopes = vec![Scope::Key(key), Scope::Method { key, method: "embedContent".to_owned() }];
    scopes.push(Scope::Project(project()));
    scopes.extend(variants::<Window>().into_iter().map(|window| Scope::Model {
        project: project(),
        model: "flash".to_owned(),
        window,
    }));
    scopes.push(Scope::Upstream { model: "flash".to_owned() });
    for scope in &scopes {
        let (scope, until, probe) = (scope.clone(), Some(AT + 60_000), Some(AT + 2_000));
        let (cause, request) = (Verdict::QuotaMinute, Some(request));
        all.push(GateClosed { scope, cause, until, probe, request, key }.into());
    }
    // As the first three were when this was written; those that came later stand before a key.
    let opened = variants::<Opened>();
    let (first, later) = opened.split_at(3);
    for (scope, why) in scopes.into_iter().zip(first.iter().copied().cycle()) {
        all.push(GateOpened { scope, why }.into());
    }
    all.extend(later.iter().map(|&why| GateOpened { scope: Scope::Key(key), why }.into()));
    for (name, expires, request, client) in [
        ("files/abc-123", Some(AT + 172_800_000), Some(request), Some(client)),
        ("models/veo-3/operations/xyz", None, None, None),
    ] {
        let name = name.to_owned();
        all.push(ResourceBound { name, project: project(), key, expires, request, client }.into());
    }
    for why in variants::<Released>() {
        all.push(ResourceReleased { name: "files/abc-123".to_owned(), why }.into());
    }
    for cause in variants::<Verdict>() {
        all.push(
            GateClosed { scope: Scope::Key(key), cause, until: None, probe: None, request: None, key }.into(),
        );
    }

    let tokens =
        Tokens { prompt: 1, output: 250, thoughts: 251, cached: 65_535, tool_use: 65_536, total: u32::MAX };
    let violation = Violation {
        metric: "generativelanguage.googleapis.com/generate_content_free_tier_requests".to_owned(),
        id: "GenerateRequestsPerDayPerProjectPerModel-FreeTier".to_owned(),
        model: Some("gemini-2.5-flash".to_owned()),
        limit: Some(250),
        window: Some(Window::Day),
    };
    let consumer = || "projects/123456789".to_owned();
    all.push(ProjectLearned { key, consumer: consumer() }.into());
    all.push(QuotaDayBegan { began: AT - 1, ends: AT + 86_400_000 }.into());
    let (project, model) = (project(), "flash".to_owned());
    all.push(QuotaTurnLearned { shift_ms: 3_600_000, project: project.clone(), model: model.clone() }.into());
    let project = || project.clone();
    for actor in [Actor::System, admin()] {
        let bare = actor == Actor::System;
        let check = KeyChecked {
            key,
            project: project(),
            model: if bare { String::new() } else { model.clone() },
            method: "models.list".to_owned(),
            started: AT - 55,
            latency_ms: 55,
            status: 429,
            verdict: Verdict::QuotaDay,
            reason: (!bare).then(|| "RESOURCE_EXHAUSTED".to_owned()),
            violations: if bare { Vec::new() } else { vec![violation.clone()] },
            retry_delay_ms: (!bare).then_some(36_000),
            consumer: (!bare).then(consumer),
            actor,
        };
        all.push(check.into());
    }
    for strategy in variants::<Strategy>() {
        let passed_over = PassedOver {
            disabled: 1,
            key_gate: 2,
            project_gate: 3,
            model_gate: 4,
            tried: 5,
            budget: 6,
            other_models: 7,
        };
        let full = Attempted {
            request,
            attempt: 2,
            client: Some(client),
            key,
            project: project(),
            model: "gemini-2.5-flash".to_owned(),
            method: "streamGenerateContent".to_owned(),
            started: AT - 1_234,
            latency_ms: 1_234,
            first_byte_ms: Some(321),
            status: 429,
            verdict: Verdict::QuotaDay,
            reason: Some("RESOURCE_EXHAUSTED".to_owned()),
            violations: vec![violation.clone(), Violation::default()],
            tokens,
            finish_reason: Some("MAX_TOKENS".to_owned()),
            bytes_sent: 1 << 33,
            bytes_received: 17,
            why: Why { strategy, seq: SEQ - 1, eligible: 9, passed_over, in_flight: 3 },
            probe: true,
            retry_delay_ms: Some(36_000),
            consumer: Some(consumer()),
        };
        let bare = Attempted {
            client: None,
            first_byte_ms: None,
            reason: None,
            violations: Vec::new(),
            tokens: Tokens::default(),
            finish_reason: None,
            why: Why { strategy, ..Why::default() },
            probe: false,
            retry_delay_ms: None,
            consumer: None,
            ..full.clone()
        };
        all.extend([full.into(), bare.into()]);
    }
    for (outcome, bare) in variants::<Outcome>().into_iter().zip([false, true].into_iter().cycle()) {
        all.push(
            Answered {
                request,
                client: (!bare).then_some(client),
                address: address(),
                verb: "POST".to_owned(),
                path: "/v1beta/models/gemini-2.5-flash:generateContent".to_owned(),
                model: "gemini-2.5-flash".to_owned(),
                method: "generateContent".to_owned(),
                streamed: bare,
                started: AT - 5_000,
                duration_ms: 5_000,
                first_byte_ms: (!bare).then_some(4_000),
                status: if bare { 0 } else { 200 },
                attempts: 3,
                outcome,
                reason: bare.then(|| "NO_KEY".to_owned()),
                bytes: 70_000,
                waited_ms: 1_500,
            }
            .into(),
        );
    }
    all
}
