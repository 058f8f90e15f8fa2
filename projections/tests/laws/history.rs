//! Arbitrary histories: few names, so that events meet each other, and every
//! absurdity that a fold must survive (unknown keys, late tries, double adds).
//!
//! The codec's tests use these events too, so nothing here knows who asks.

use projections::{
    Class, ClientId, Digest, Event, Fingerprint, KeyId, Millis, Recorded, RequestId,
    event::{
        Actor, AdminLoggedIn, AdminLoggedOut, AdminLoginFailed, AdminLoginsDelayed, AdminPasswordChanged,
        Answered, Attempted, Cap, Change, ClientAdded, ClientKeyReplaced, ClientRemoved, ClientUpdated,
        GateClosed, GateOpened, KeyAdded, KeyChecked, KeyDisabled, KeyEnabled, KeyRemoved, KeyReset,
        KeyUpdated, Opened, Outcome, PassedOver, ProjectLearned, QuotaDayBegan, QuotaTurnLearned, Released,
        ResourceBound, ResourceReleased, Scope, ServerStarted, ServerStopped, Strategy as Choosing, Tokens,
        Unknown, Verdict, Violation, Why, Window,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::Error},
};

/// Every variant of an enum without fields, so that a new one is never forgotten.
pub(crate) fn variants<T: for<'de> Deserialize<'de>>() -> Vec<T> {
    (0u32..)
        .map_while(|index| T::deserialize(IntoDeserializer::<Error>::into_deserializer(index)).ok())
        .collect()
}

fn any_of<T: for<'de> Deserialize<'de> + Clone + std::fmt::Debug + 'static>() -> impl Strategy<Value = T> {
    select(variants::<T>())
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn model() -> impl Strategy<Value = String> {
    word(&["flash", "pro", "embedding", ""])
}

fn method() -> impl Strategy<Value = String> {
    word(&["generateContent", "countTokens", ""])
}

/// `key-2` is also what key 2 gets where nobody names its project.
fn project() -> impl Strategy<Value = String> {
    word(&["alpha", "beta", "key-2"])
}

fn key() -> impl Strategy<Value = KeyId> {
    prop_oneof![20 => 1u32..6, 1 => select(vec![0, 77, u32::MAX])].prop_map(KeyId)
}

fn client() -> impl Strategy<Value = ClientId> {
    prop_oneof![20 => 1u32..4, 1 => select(vec![0, 77, u32::MAX])].prop_map(ClientId)
}

fn request() -> impl Strategy<Value = RequestId> {
    prop_oneof![20 => 0u128..8, 1 => any::<u128>()].prop_map(RequestId)
}

/// Times near those of the history's beginning, and absurd ones.
fn time() -> impl Strategy<Value = Millis> {
    prop_oneof![20 => 0i64..20_000_000, 1 => any::<i64>(), 1 => select(vec![i64::MIN, -1, i64::MAX])]
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        Just(Actor::Env),
        Just(Actor::Cli),
        Just(Actor::System),
        word(&["ann", "王"]).prop_map(Actor::Admin),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        key().prop_map(Scope::Key),
        (key(), method()).prop_map(|(key, method)| Scope::Method { key, method }),
        project().prop_map(Scope::Project),
        (project(), model(), any_of::<Window>()).prop_map(|(project, model, window)| Scope::Model {
            project,
            model,
            window
        }),
        model().prop_map(|model| Scope::Upstream { model }),
    ]
}

/// Every key has a secret of its own here; two keys with one secret are a test of their own.
fn added() -> impl Strategy<Value = Event> {
    (key(), any::<bool>(), option::of(project()), actor()).prop_map(|(key, other, project, actor)| {
        let mut fingerprint = [u8::from(other); 16];
        fingerprint[..4].copy_from_slice(&key.0.to_be_bytes());
        let fingerprint = Fingerprint(fingerprint);
        KeyAdded { key, label: format!("label {key}"), tail: "1234".to_owned(), fingerprint, project, actor }
            .into()
    })
}

fn updated() -> impl Strategy<Value = Event> {
    let to = |word: BoxedStrategy<String>| {
        option::of(prop_oneof![1 => Just(Change::Cleared), 3 => word.prop_map(Change::To)])
    };
    let words = (option::of(word(&["mine", ""])), option::of(word(&["", "記得"])));
    let lists =
        (option::of(vec(word(&["paid", "free"]), 0..3)), option::of(vec(word(&["pro", "fl*"]), 0..3)));
    let rest = (to(project().boxed()), option::of(any::<u16>()), option::of(any::<u8>()));
    let proxy = to(word(&["direct", "socks5://proxy:1080"]).boxed());
    (key(), actor(), words, lists, rest, proxy).prop_map(
        |(key, actor, (label, note), (tags, models), (project, weight, priority), proxy)| {
            KeyUpdated { key, actor, label, note, tags, project, weight, priority, models, proxy }.into()
        },
    )
}

fn client_added() -> impl Strategy<Value = Event> {
    (client(), any::<bool>(), actor()).prop_map(|(client, other, actor)| {
        let mut digest = [u8::from(other); 32];
        digest[..4].copy_from_slice(&client.0.to_be_bytes());
        ClientAdded { client, name: "app".to_owned(), tail: "abcd".to_owned(), digest: Digest(digest), actor }
            .into()
    })
}

fn cap() -> impl Strategy<Value = Option<Cap>> {
    option::of(
        prop_oneof![1 => Just(Cap::Lifted), 2 => any::<u64>().prop_map(Cap::To), 2 => (0u64..9).prop_map(Cap::To)],
    )
}

fn client_updated() -> impl Strategy<Value = Event> {
    let words = (option::of(word(&["app", ""])), option::of(word(&["", "記得"])), option::of(any::<bool>()));
    let lists =
        (option::of(vec(word(&["pro", "fl*"]), 0..3)), option::of(vec(word(&["10.0.0.0/8", "::1"]), 0..3)));
    (client(), actor(), words, lists, (cap(), cap(), cap(), cap(), cap())).prop_map(
        |(client, actor, (name, note, enabled), (models, addresses), caps)| {
            let (expires, requests_per_minute, requests_per_day, tokens_per_day, concurrent) = caps;
            ClientUpdated {
                client,
                actor,
                name,
                note,
                enabled,
                expires,
                models,
                addresses,
                requests_per_minute,
                requests_per_day,
                tokens_per_day,
                concurrent,
            }
            .into()
        },
    )
}

/// Digests meet those of other clients, and of old ones.
fn client_key_replaced() -> impl Strategy<Value = Event> {
    (client(), client(), any::<bool>(), actor()).prop_map(|(client, like, other, actor)| {
        let mut digest = [u8::from(other); 32];
        digest[..4].copy_from_slice(&like.0.to_be_bytes());
        ClientKeyReplaced { client, tail: "efgh".to_owned(), digest: Digest(digest), actor }.into()
    })
}

fn of_admins() -> impl Strategy<Value = Event> {
    let name = || word(&["ann", "eve", ""]);
    let address = || word(&["::1", "10.0.0.1", ""]);
    prop_oneof![
        (name(), address()).prop_map(|(name, address)| AdminLoggedIn { name, address }.into()),
        (name(), address(), 1_u32..3).prop_map(|(name, address, count)| AdminLoginFailed {
            name,
            address,
            count
        }
        .into()),
        (name(), 0u128..5, time())
            .prop_map(|(name, token, expires)| AdminLoggedOut { name, token, expires }.into()),
        actor().prop_map(|actor| AdminPasswordChanged { actor }.into()),
        (option::of(name()), option::of(address()), any::<u32>(), time()).prop_map(
            |(name, address, failures, until)| AdminLoginsDelayed { name, address, failures, until }.into()
        ),
    ]
}

fn violation() -> impl Strategy<Value = Violation> {
    (
        word(&["requests", ""]),
        word(&["PerDay", ""]),
        option::of(model()),
        option::of(prop_oneof![0u64..5, any::<u64>()]),
        option::of(any_of::<Window>()),
    )
        .prop_map(|(metric, id, model, limit, window)| Violation { metric, id, model, limit, window })
}

fn tokens() -> impl Strategy<Value = Tokens> {
    any::<(u32, u32, u32, u32, u32, u32)>().prop_map(|(prompt, output, thoughts, cached, tool_use, total)| {
        Tokens { prompt, output, thoughts, cached, tool_use, total }
    })
}

fn why() -> impl Strategy<Value = Why> {
    let passed_over = any::<(u32, u32, u32, u32, u32, u32, u32)>().prop_map(
        |(disabled, key_gate, project_gate, model_gate, tried, budget, other_models)| PassedOver {
            disabled,
            key_gate,
            project_gate,
            model_gate,
            tried,
            budget,
            other_models,
        },
    );
    (any_of::<Choosing>(), any::<u64>(), any::<(u32, u32)>(), passed_over).prop_map(
        |(strategy, seq, (eligible, in_flight), passed_over)| Why {
            strategy,
            seq,
            eligible,
            passed_over,
            in_flight,
        },
    )
}

/// One upstream try.
pub(crate) fn attempted() -> impl Strategy<Value = Attempted> {
    let verdict = prop_oneof![2 => Just(Verdict::Success), 3 => any_of::<Verdict>()];
    let who = (request(), any::<u8>(), option::of(client()), key(), project(), model(), method());
    let end =
        (time(), any::<(u32, Option<u32>, u16)>(), verdict, option::of(word(&["SERVICE_DISABLED", "不好"])));
    let rest =
        (vec(violation(), 0..3), tokens(), option::of(Just("STOP".to_owned())), any::<(u64, u64)>(), why());
    let told = (any::<bool>(), option::of(time()), option::of(word(&["projects/1", "projects/2"])));
    (who, end, rest, told).prop_map(|(who, end, rest, (probe, retry_delay_ms, consumer))| {
        let (request, attempt, client, key, project, model, method) = who;
        let (started, (latency_ms, first_byte_ms, status), verdict, reason) = end;
        let (violations, tokens, finish_reason, (bytes_sent, bytes_received), why) = rest;
        Attempted {
            request,
            attempt,
            client,
            key,
            project,
            model,
            method,
            started,
            latency_ms,
            first_byte_ms,
            status,
            verdict,
            reason,
            violations,
            tokens,
            finish_reason,
            bytes_sent,
            bytes_received,
            why,
            probe,
            retry_delay_ms,
            consumer,
        }
    })
}

/// One check: what a try would have said.
pub(crate) fn checked() -> impl Strategy<Value = KeyChecked> {
    (attempted(), actor()).prop_map(|(said, actor)| KeyChecked {
        key: said.key,
        project: said.project,
        model: said.model,
        method: said.method,
        started: said.started,
        latency_ms: said.latency_ms,
        status: said.status,
        verdict: said.verdict,
        reason: said.reason,
        violations: said.violations,
        retry_delay_ms: said.retry_delay_ms,
        consumer: said.consumer,
        actor,
    })
}

fn answered() -> impl Strategy<Value = Answered> {
    let who = (request(), option::of(client()), word(&["127.0.0.1", "::1"]), word(&["GET", "POST"]));
    let what = (word(&["/v1beta/models", ""]), model(), method(), any::<bool>(), time());
    let numbers = any::<(u32, Option<u32>, u16, u8, u64, u32)>();
    let end = (numbers, any_of::<Outcome>(), option::of(word(&["too large"])));
    (who, what, end).prop_map(|((request, client, address, verb), what, (numbers, outcome, reason))| {
        let (path, model, method, streamed, started) = what;
        let (duration_ms, first_byte_ms, status, attempts, bytes, waited_ms) = numbers;
        Answered {
            request,
            client,
            address,
            verb,
            path,
            model,
            method,
            streamed,
            started,
            duration_ms,
            first_byte_ms,
            status,
            attempts,
            outcome,
            reason,
            bytes,
            waited_ms,
        }
    })
}

fn resource() -> impl Strategy<Value = String> {
    word(&[
        "files/a",
        "files/b",
        "auth_tokens/a",
        "cachedContents/a",
        "models/flash/operations/a",
        "",
        "files",
    ])
}

fn bound() -> impl Strategy<Value = Event> {
    (resource(), project(), key(), option::of(time()), option::of(request()), option::of(client())).prop_map(
        |(name, project, key, expires, request, client)| {
            ResourceBound { name, project, key, expires, request, client }.into()
        },
    )
}

/// What a newer program may have written: kinds that nobody knows, and versions of known ones.
pub(crate) fn unknown() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        (select(vec![9_999, 0, u16::MAX]), any::<u8>()),
        (select(vec![1, 5, 101, 200]), select(vec![200, u8::MAX])),
    ];
    (kind, any_of::<Class>(), any::<u8>(), vec(any::<u8>(), 0..40)).prop_map(
        |((kind, version), class, codec, payload)| {
            Event::Unknown(Unknown { kind, version, class, codec, payload })
        },
    )
}

/// Any event at all.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let times = (option::of(time()), option::of(time()));
    let gate = (scope(), any_of::<Verdict>(), times, option::of(request()), key()).prop_map(
        |(scope, cause, (until, probe), request, key)| {
            GateClosed { scope, cause, until, probe, request, key }.into()
        },
    );
    let served = any_of::<Opened>();
    let learned = (key(), word(&["projects/1", "projects/2", "alpha"]))
        .prop_map(|(key, consumer)| ProjectLearned { key, consumer }.into());
    let day = (time(), time()).prop_map(|(began, ends)| QuotaDayBegan { began, ends }.into());
    let turn = (time(), project(), model())
        .prop_map(|(shift_ms, project, model)| QuotaTurnLearned { shift_ms, project, model }.into());
    prop_oneof![
        6 => added(),
        4 => updated(),
        2 => client_added(),
        1 => (client(), actor()).prop_map(|(client, actor)| ClientRemoved { client, actor }.into()),
        1 => (key(), actor()).prop_map(|(key, actor)| KeyDisabled { key, actor }.into()),
        1 => (key(), actor()).prop_map(|(key, actor)| KeyEnabled { key, actor }.into()),
        1 => (key(), actor()).prop_map(|(key, actor)| KeyReset { key, actor }.into()),
        2 => (key(), actor()).prop_map(|(key, actor)| KeyRemoved { key, actor }.into()),
        8 => gate,
        2 => (scope(), served).prop_map(|(scope, why)| GateOpened { scope, why }.into()),
        2 => learned,
        1 => day,
        1 => turn,
        2 => checked().prop_map(Event::from),
        6 => bound(),
        2 => resource().prop_map(|name| ResourceReleased { name, why: Released::Deleted }.into()),
        8 => attempted().prop_map(Event::from),
        4 => answered().prop_map(Event::from),
        1 => unknown(),
        2 => client_updated(),
        1 => client_key_replaced(),
        3 => of_admins(),
        1 => word(&["1.2.3"]).prop_map(|version| ServerStarted { version, address: "::1".to_owned() }.into()),
        1 => any::<u32>().prop_map(|abandoned| ServerStopped { abandoned }.into()),
    ]
}

/// A history as the ledger would record it: no gaps, and time does not go back.
pub(crate) fn history(length: usize) -> impl Strategy<Value = Vec<Recorded>> {
    let step = prop_oneof![8 => 0i64..400_000, 1 => 0i64..200_000_000];
    vec((step, event()), 0..length).prop_map(|steps| {
        let mut at = 1_000;
        (1..)
            .zip(steps)
            .map(|(seq, (step, event))| {
                at += step;
                Recorded { seq, at, event }
            })
            .collect()
    })
}

/// What no ledger would record: any number, any time, in any order.
pub(crate) fn nonsense(length: usize) -> impl Strategy<Value = Vec<Recorded>> {
    vec((any::<u64>(), time(), event()).prop_map(|(seq, at, event)| Recorded { seq, at, event }), 0..length)
}
