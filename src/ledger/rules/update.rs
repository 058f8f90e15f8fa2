//! What an operator may say of a key: its label, project, share, models and way out.
//!
//! Owns the limits and how words are tidied. Its invariant: what is so already is no
//! event, and of several keys all are changed, or none.

use projections::{
    KeyId, State,
    event::{Actor, Change, GateOpened, KeyDisabled, KeyEnabled, KeyUpdated, Opened, Scope, Verdict},
    keys::Key,
};

use super::{Added, Decision, NewKey, Refused, add_keys};
use crate::journal::SecretChange;

/// Characters of a label, and of a project's name.
pub(super) const LABEL: usize = 100;
/// Characters of a note.
const NOTE: usize = 1_000;
/// Tags of a key, and the characters of one.
const TAGS: (usize, usize) = (20, 40);
/// Patterns of a key, and the characters of one.
const MODELS: (usize, usize) = (50, 128);
/// Smallest and largest share.
const WEIGHTS: std::ops::RangeInclusive<u16> = 1..=1_000;

/// What an operator wants of a key; what is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Whether to use it.
    pub enabled: Option<bool>,
    /// What to call it; empty: `key N`.
    pub label: Option<String>,
    /// What to remember.
    pub note: Option<String>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// Its Google project.
    pub project: Option<Change>,
    /// Its share.
    pub weight: Option<u16>,
    /// Its tier.
    pub priority: Option<u8>,
    /// Models it may be used for.
    pub models: Option<Vec<String>>,
    /// Its own outbound proxy; only where that, or its credentials, are not so already.
    pub proxy: Option<NewProxy>,
}

/// Another outbound proxy, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProxy {
    /// Its address without credentials, or `direct`.
    pub shown: Change,
    /// All of it, sealed; or that it is destroyed.
    pub secret: SecretChange,
}

/// Changes what operators say of keys: of all of them, or of none.
///
/// # Errors
/// [`Refused::NoSuchKey`], [`Refused::BadValue`].
pub fn update_keys(
    state: &State,
    updates: Vec<(KeyId, Wishes)>,
    actor: &Actor,
) -> Result<Decision<()>, Refused> {
    let mut decision = Decision { events: Vec::new(), secrets: Vec::new(), answer: () };
    let mut done = std::collections::BTreeSet::new();
    for (id, wishes) in updates {
        let key = state.keys.get(id).ok_or(Refused::NoSuchKey(id))?;
        let wishes = tidy(wishes)?;
        if !done.insert(id) {
            continue;
        }
        let (key_id, by) = (id, actor.clone());
        match wishes.enabled.filter(|enabled| *enabled != key.enabled) {
            Some(true) => decision.events.push(KeyEnabled { key: key_id, actor: by }.into()),
            Some(false) => decision.events.push(KeyDisabled { key: key_id, actor: by }.into()),
            None => {}
        }
        let (event, secret) = updated(id, Some(key), wishes, actor);
        let another_way = event.as_ref().is_some_and(|event| event.proxy.is_some());
        decision.events.extend(event.map(Into::into));
        if another_way && rests_for_its_way(key) {
            decision.events.push(GateOpened { scope: Scope::Key(id), why: Opened::Changed }.into());
        }
        decision.secrets.extend(secret);
    }
    Ok(decision)
}

/// Takes tags away from keys and adds some: of all of them, or of none.
///
/// # Errors
/// [`Refused::NoSuchKey`], [`Refused::BadValue`].
pub fn tag_keys(
    state: &State,
    keys: &[KeyId],
    add: &[String],
    remove: &[String],
    actor: &Actor,
) -> Result<Decision<()>, Refused> {
    let remove: Vec<&str> = remove.iter().map(|tag| tag.trim()).collect();
    let tagged = keys.iter().map(|&id| {
        let key = state.keys.get(id).ok_or(Refused::NoSuchKey(id))?;
        let kept = key.tags.iter().filter(|tag| !remove.contains(&tag.as_str()));
        let tags = kept.chain(add).cloned().collect();
        Ok((id, Wishes { tags: Some(once_each(tags)), ..Wishes::default() }))
    });
    update_keys(state, tagged.collect::<Result<_, Refused>>()?, actor)
}

/// What is said twice counts once, before it is counted.
fn once_each(mut tags: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    tags.retain(|tag| seen.insert(tag.trim().to_owned()));
    tags
}

/// Adds keys and says of the new ones what is wished; those already there are left as they are.
///
/// # Errors
/// [`Refused::BadValue`].
pub fn add_keys_as(
    state: &State,
    keys: Vec<(NewKey, Wishes)>,
    actor: &Actor,
) -> Result<Decision<Vec<Added>>, Refused> {
    let mut new = Vec::with_capacity(keys.len());
    let mut wished = Vec::with_capacity(keys.len());
    for (mut key, wishes) in keys {
        let mut wishes = tidy(wishes)?;
        key.label = wishes.label.take().unwrap_or(key.label);
        if let Some(Change::To(project)) = wishes.project.take() {
            key.project = Some(project);
        }
        new.push(key);
        wished.push(wishes);
    }
    let mut decision = add_keys(state, new, actor)?;
    for (added, wishes) in decision.answer.iter().zip(wished) {
        let Added::New(key) = *added else { continue };
        if wishes.enabled == Some(false) {
            decision.events.push(KeyDisabled { key, actor: actor.clone() }.into());
        }
        let (event, secret) = updated(key, None, wishes, actor);
        decision.events.extend(event.map(Into::into));
        decision.secrets.extend(secret);
    }
    Ok(decision)
}

/// Whether what holds the key back is the way that its calls go.
fn rests_for_its_way(key: &Key) -> bool {
    let cause = key.gate.as_ref().map(|gate| gate.cause);
    matches!(cause, Some(Verdict::ConnectFailed | Verdict::Location))
}

/// What is new in some wishes, beside what is known of the key; none: nothing is.
fn updated(
    id: KeyId,
    known: Option<&Key>,
    wishes: Wishes,
    actor: &Actor,
) -> (Option<KeyUpdated>, Option<SecretChange>) {
    /// A wish that is not so already.
    fn new<T: PartialEq>(wish: Option<T>, known: Option<&T>) -> Option<T> {
        wish.filter(|wish| known != Some(wish))
    }
    let label = wishes.label.map(|label| if label.is_empty() { format!("key {id}") } else { label });
    let project = known.map(|key| match key.declared {
        true => Change::To(key.project.clone()),
        false => Change::Cleared,
    });
    let (shown, secret) = wishes.proxy.map(|proxy| (proxy.shown, proxy.secret)).unzip();
    let event = KeyUpdated {
        key: id,
        actor: actor.clone(),
        label: new(label, known.map(|key| &key.label)),
        note: new(wishes.note, known.map(|key| &key.note)),
        tags: new(wishes.tags, known.map(|key| &key.tags)),
        project: new(wishes.project, project.as_ref()),
        weight: new(wishes.weight, known.map(|key| &key.weight)),
        priority: new(wishes.priority, known.map(|key| &key.priority)),
        models: new(wishes.models, known.map(|key| &key.models)),
        proxy: shown,
    };
    let KeyUpdated { label, note, tags, project, weight, priority, models, proxy, .. } = &event;
    let words = label.is_some() || note.is_some() || tags.is_some() || project.is_some();
    let use_ = weight.is_some() || priority.is_some() || models.is_some() || proxy.is_some();
    ((words || use_).then_some(event), secret)
}

/// Wishes as they are kept: without space around them, nothing twice, and within the limits.
fn tidy(wishes: Wishes) -> Result<Wishes, Refused> {
    let Wishes { enabled, label, note, tags, project, weight, priority, models, proxy } = wishes;
    let project = match project {
        Some(Change::To(name)) => Some(match line("project", &name, LABEL)? {
            name if name.is_empty() => Change::Cleared,
            name => Change::To(name),
        }),
        other => other,
    };
    if let Some(weight) = weight.filter(|weight| !WEIGHTS.contains(weight)) {
        let (least, most) = (WEIGHTS.start(), WEIGHTS.end());
        return Err(bad("weight", format!("wants a number from {least} to {most}, not {weight}")));
    }
    Ok(Wishes {
        enabled,
        label: label.map(|label| line("label", &label, LABEL)).transpose()?,
        note: note.map(|note| text(&note)).transpose()?,
        tags: list("tags", tags, TAGS, str::to_owned)?,
        project,
        weight,
        priority,
        models: patterns(models)?,
        proxy,
    })
}

/// Models, or patterns of them.
pub(super) fn patterns(models: Option<Vec<String>>) -> Result<Option<Vec<String>>, Refused> {
    let short = |model: &str| model.strip_prefix("models/").unwrap_or(model).to_owned();
    let models = list("models", models, MODELS, short)?;
    if models.iter().flatten().any(|model| model.contains(char::is_whitespace)) {
        return Err(bad("models", "wants names, or patterns with `*`, without spaces".to_owned()));
    }
    Ok(models)
}

/// Something to remember, which may have several lines.
pub(super) fn text(note: &str) -> Result<String, Refused> {
    let note = note.trim().replace("\r\n", "\n");
    if note.chars().count() > NOTE {
        return Err(bad("note", format!("wants at most {NOTE} characters")));
    }
    if note.chars().any(|c| c != '\n' && c != '\t' && c.is_control()) {
        return Err(bad("note", "holds control characters".to_owned()));
    }
    Ok(note)
}

/// One line of text, which may be empty.
pub(super) fn line(name: &'static str, text: &str, most: usize) -> Result<String, Refused> {
    let text = text.trim();
    if text.chars().count() > most {
        return Err(bad(name, format!("wants at most {most} characters")));
    }
    if text.contains(char::is_control) {
        return Err(bad(name, "wants one line, without control characters".to_owned()));
    }
    Ok(text.to_owned())
}

/// Some lines, none of them empty, in their order, each once.
pub(super) fn list(
    name: &'static str,
    words: Option<Vec<String>>,
    (count, length): (usize, usize),
    form: impl Fn(&str) -> String,
) -> Result<Option<Vec<String>>, Refused> {
    let Some(words) = words else { return Ok(None) };
    if words.len() > count {
        return Err(bad(name, format!("wants at most {count} of them")));
    }
    let mut kept = Vec::with_capacity(words.len());
    for word in words {
        let word = form(&line(name, &word, length)?);
        if word.is_empty() {
            return Err(bad(name, "one of them is empty".to_owned()));
        }
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    Ok(Some(kept))
}

pub(super) fn bad(name: &'static str, wants: String) -> Refused {
    Refused::BadValue { name, wants }
}
