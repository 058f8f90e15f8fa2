//! What operators say of keys.

use projections::event::{Change, KeyUpdated};

use super::*;
use crate::ledger::rules::update::{NewProxy, Wishes, add_keys_as, update_keys};

const ONE: KeyId = KeyId(1);

fn update(given: &Given, key: u32, wishes: Wishes) -> Result<Decision<()>, Refused> {
    update_keys(&given.0, vec![(KeyId(key), wishes)], &Actor::Cli)
}

/// Everything that can be wished, but for a way out.
fn everything() -> Wishes {
    Wishes {
        enabled: Some(false),
        label: Some("  mine ".to_owned()),
        note: Some("of ann\r\nuntil May\n".to_owned()),
        tags: Some(["paid", " eu", "paid"].map(str::to_owned).to_vec()),
        project: Some(Change::To(" beta ".to_owned())),
        weight: Some(7),
        priority: Some(0),
        models: Some(["models/gemini-2.5-pro", "gemini-2.5-pro", "*-flash"].map(str::to_owned).to_vec()),
        proxy: None,
    }
}

fn proxy(shown: Change, sealed: Option<u8>) -> NewProxy {
    let name = secret_names(&fingerprint(1))[1].clone();
    NewProxy { shown, secret: SecretChange { name, sealed: sealed.map(|byte| vec![byte]) } }
}

fn socks() -> Change {
    Change::To("socks5://proxy:1080".to_owned())
}

fn unchanged() -> KeyUpdated {
    KeyUpdated {
        key: ONE,
        actor: Actor::Cli,
        label: None,
        note: None,
        tags: None,
        project: None,
        weight: None,
        priority: None,
        models: None,
        proxy: None,
    }
}

#[test]
fn what_is_wished_is_tidied_and_happens_once() {
    let mut given = Given::keys(2);
    let decision = update(&given, 1, everything()).unwrap();
    let expected = KeyUpdated {
        label: Some("mine".to_owned()),
        note: Some("of ann\nuntil May".to_owned()),
        tags: Some(vec!["paid".to_owned(), "eu".to_owned()]),
        project: Some(Change::To("beta".to_owned())),
        weight: Some(7),
        priority: Some(0),
        models: Some(vec!["gemini-2.5-pro".to_owned(), "*-flash".to_owned()]),
        ..unchanged()
    };
    assert_eq!(decision.events, [KeyDisabled { key: ONE, actor: Actor::Cli }.into(), expected.into()]);
    assert_eq!(decision.secrets, []);
    given.then(1, decision.events);
    assert_eq!(update(&given, 1, everything()).unwrap().events, [], "it is so already");
    let back = Wishes {
        label: Some(String::new()),
        project: Some(Change::To(" ".to_owned())),
        weight: Some(7),
        ..Wishes::default()
    };
    let expected =
        KeyUpdated { label: Some("key 1".to_owned()), project: Some(Change::Cleared), ..unchanged() };
    assert_eq!(update(&given, 1, back.clone()).unwrap().events, [expected.clone().into()]);
    given.then(2, vec![expected.into()]);
    assert_eq!(update(&given, 1, back).unwrap().events, []);
    assert_eq!(update(&given, 2, Wishes::default()).unwrap().events, [], "nothing wished is nothing done");
}

#[test]
fn a_proxy_comes_with_its_secret_and_goes_with_it() {
    let mut given = Given::keys(2);
    let wish = |proxy| Wishes { proxy: Some(proxy), ..Wishes::default() };
    let set = update(&given, 1, wish(proxy(socks(), Some(1)))).unwrap();
    assert_eq!(set.events, [KeyUpdated { proxy: Some(socks()), ..unchanged() }.into()]);
    assert_eq!(set.secrets, [proxy(socks(), Some(1)).secret]);
    given.then(1, set.events);
    // Other credentials at the same address are a change too.
    let again = update(&given, 1, wish(proxy(socks(), Some(2)))).unwrap();
    assert_eq!((again.events.len(), again.secrets), (1, vec![proxy(socks(), Some(2)).secret]));
    let remove = |key| {
        let removed = change_keys(&given.0, &[KeyId(key)], KeyChange::Remove, &Actor::Cli, secret_names);
        removed.unwrap().secrets.into_iter().map(|change| (change.name, change.sealed)).collect::<Vec<_>>()
    };
    let [secret, hidden] = secret_names(&fingerprint(1));
    assert_eq!(remove(1), [(secret, None), (hidden, None)], "the key takes its proxy's secret with it");
    assert_eq!(remove(2), [(secret_name(&fingerprint(2)), None)]);
    let gone = update(&given, 1, wish(proxy(Change::Cleared, None))).unwrap();
    assert_eq!(gone.events, [KeyUpdated { proxy: Some(Change::Cleared), ..unchanged() }.into()]);
    assert_eq!(gone.secrets, [proxy(Change::Cleared, None).secret]);
}

#[test]
fn all_are_changed_or_none() {
    let given = Given::keys(2);
    let wish = |weight| Wishes { weight: Some(weight), ..Wishes::default() };
    let both = |second| update_keys(&given.0, vec![(ONE, wish(2)), second, (ONE, wish(3))], &Actor::Cli);
    assert_eq!(both((KeyId(2), wish(5))).unwrap().events.len(), 2, "a key named twice is changed once");
    assert_eq!(both((KeyId(9), wish(5))).unwrap_err(), Refused::NoSuchKey(KeyId(9)));
    assert!(both((KeyId(2), wish(0))).is_err());
}

/// The last that is taken, and the first that is not, of each limit.
#[test]
fn limits_are_where_they_are_said_to_be() {
    let given = Given::keys(1);
    let none = Wishes::default;
    let words = |count: usize, length: usize| -> Option<Vec<String>> {
        Some((0..count).map(|n| format!("{n:0>length$}")).collect())
    };
    let name = |length| Some("鑰".repeat(length));
    let to = |length: usize| Some(Change::To("p".repeat(length)));
    for (good, bad, wants) in [
        (
            Wishes { label: name(100), ..none() },
            Wishes { label: name(101), ..none() },
            "`label` wants at most 100",
        ),
        (
            Wishes { note: name(1_000), ..none() },
            Wishes { note: name(1_001), ..none() },
            "`note` wants at most 1000",
        ),
        (
            Wishes { tags: words(20, 40), ..none() },
            Wishes { tags: words(21, 4), ..none() },
            "`tags` wants at most 20",
        ),
        (
            Wishes { tags: words(1, 40), ..none() },
            Wishes { tags: words(1, 41), ..none() },
            "`tags` wants at most 40",
        ),
        (
            Wishes { models: words(50, 128), ..none() },
            Wishes { models: words(51, 4), ..none() },
            "`models` wants at most 50",
        ),
        (
            Wishes { models: words(1, 128), ..none() },
            Wishes { models: words(1, 129), ..none() },
            "`models` wants at most 128",
        ),
        (
            Wishes { project: to(100), ..none() },
            Wishes { project: to(101), ..none() },
            "`project` wants at most 100",
        ),
        (
            Wishes { weight: Some(1_000), ..none() },
            Wishes { weight: Some(1_001), ..none() },
            "from 1 to 1000, not 1001",
        ),
        (Wishes { weight: Some(2), ..none() }, Wishes { weight: Some(0), ..none() }, "from 1 to 1000, not 0"),
        (
            Wishes { tags: words(1, 1), ..none() },
            Wishes { tags: Some(vec![" ".to_owned()]), ..none() },
            "`tags` one of them is empty",
        ),
        (
            Wishes { models: words(1, 1), ..none() },
            Wishes { models: Some(vec!["two words".to_owned()]), ..none() },
            "without spaces",
        ),
        (
            Wishes { label: Some("one line".to_owned()), ..none() },
            Wishes { label: Some("two\nlines".to_owned()), ..none() },
            "`label` wants one line",
        ),
        (
            Wishes { note: Some("two\nlines".to_owned()), ..none() },
            Wishes { note: Some("a bell\u{7}".to_owned()), ..none() },
            "`note` holds control characters",
        ),
    ] {
        assert_eq!(update(&given, 1, good.clone()).unwrap().events.len(), 1, "{good:?}");
        let refused = update(&given, 1, bad).unwrap_err().to_string();
        assert!(refused.contains(wants), "{refused}");
        let added = add_keys_as(&State::default(), vec![(new_key(1), good)], &Actor::Cli);
        assert!(added.is_ok());
    }
}

#[test]
fn new_keys_come_with_what_is_said_of_them_and_known_ones_are_left_alone() {
    let given = Given::keys(1);
    let wishes = Wishes { proxy: Some(proxy(socks(), Some(3))), ..everything() };
    let keys = vec![(new_key(1), wishes.clone()), (new_key(2), wishes), (new_key(3), Wishes::default())];
    let decision = add_keys_as(&given.0, keys, &Actor::Cli).unwrap();
    assert_eq!(decision.answer, [Added::Known(ONE), Added::New(KeyId(2)), Added::New(KeyId(3))]);
    let kinds: Vec<_> = decision.events.iter().map(Event::name).collect();
    assert_eq!(kinds, ["KeyAdded", "KeyAdded", "KeyDisabled", "KeyUpdated"]);
    assert_eq!(decision.secrets, [new_key(2).secret, new_key(3).secret, proxy(socks(), Some(3)).secret]);
    let mut after = Given::keys(1);
    after.then(1, decision.events);
    let [one, two, three] = [1, 2, 3].map(|key| after.0.keys.get(KeyId(key)).unwrap());
    assert_eq!(Some(one), given.0.keys.get(ONE));
    assert_eq!(
        (two.label.as_str(), two.project.as_str(), two.declared, two.enabled),
        ("mine", "beta", true, false)
    );
    assert_eq!((two.weight, two.priority, two.proxy.as_deref()), (7, 0, Some("socks5://proxy:1080")));
    assert_eq!((three.label.as_str(), three.project.as_str(), three.enabled), ("key 3", "key-3", true));
    assert!(
        add_keys_as(&given.0, vec![(new_key(1), Wishes { weight: Some(0), ..everything() })], &Actor::Cli)
            .is_err(),
        "what is wrong is told, also of a key that is there"
    );
}
