//! What operators do with clients: the apps that hold access keys.
//!
//! Owns the limits of what may be said of a client. Its invariant: what is so already is no event, a change asked
//! for an older revision is refused, and the environment's access keys stay the environment's.

use projections::{
    ClientId, Digest, Seq, State,
    access::Client,
    event::{Actor, Cap, ClientAdded, ClientKeyReplaced, ClientRemoved, ClientUpdated},
};

use super::{
    Decision, Refused,
    update::{LABEL, bad, line, list, patterns, text},
};
use crate::{ledger::clock::rfc3339, network::Range};

/// Clients there may be.
const MOST: usize = 10_000;
/// Addresses of a client, and the characters of one.
const ADDRESSES: (usize, usize) = (100, 64);
/// The largest limit: beyond it none is meant.
const LARGEST: u64 = 1_000_000_000_000;
/// The last time that a date can tell: the end of the year 9999.
const LAST: u64 = 253_402_300_799_999;

/// An access key to be; its secret stays outside.
#[derive(Debug)]
pub struct NewClient {
    /// The digest of its access key.
    pub digest: Digest,
    /// The last four characters.
    pub tail: String,
}

/// What an operator wants of a client; what is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientWishes {
    /// What to call it; empty: `client N`.
    pub name: Option<String>,
    /// What to remember.
    pub note: Option<String>,
    /// Whether it may come in.
    pub enabled: Option<bool>,
    /// When its access ends.
    pub expires: Option<Cap>,
    /// Models it may ask.
    pub models: Option<Vec<String>>,
    /// Addresses it may come from.
    pub addresses: Option<Vec<String>>,
    /// Requests in a minute.
    pub requests_per_minute: Option<Cap>,
    /// Requests in a day.
    pub requests_per_day: Option<Cap>,
    /// Tokens in a day.
    pub tokens_per_day: Option<Cap>,
    /// Requests at the same time.
    pub concurrent: Option<Cap>,
}

/// Adds a client.
///
/// # Errors
/// [`Refused::BadValue`], [`Refused::SecretTaken`], [`Refused::TooManyClients`].
pub fn add_client(
    state: &State,
    new: NewClient,
    wishes: ClientWishes,
    actor: &Actor,
) -> Result<Decision<ClientId>, Refused> {
    let mut wishes = tidy(wishes)?;
    if state.access.iter().len() >= MOST {
        return Err(Refused::TooManyClients(MOST));
    }
    free(state, &new.digest, None)?;
    let client = state.access.next_id();
    let name = wishes.name.take().filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| format!("client {client}"));
    let NewClient { digest, tail } = new;
    let added = ClientAdded { client, name, tail, digest, actor: actor.clone() };
    let mut events = vec![added.into()];
    events.extend(updated(client, None, wishes, actor).map(Into::into));
    Ok(Decision { events, secrets: Vec::new(), answer: client })
}

/// Changes what is said of a client.
///
/// # Errors
/// [`Refused::NoSuchClient`], [`Refused::ChangedMeanwhile`], [`Refused::BadValue`].
pub fn update_client(
    state: &State,
    id: ClientId,
    wishes: ClientWishes,
    seen: Option<Seq>,
    actor: &Actor,
) -> Result<Decision<()>, Refused> {
    let client = known(state, id, seen)?;
    let event = updated(id, Some(client), tidy(wishes)?, actor);
    Ok(Decision { events: event.into_iter().map(Into::into).collect(), secrets: Vec::new(), answer: () })
}

/// Gives a client another access key; the one before opens nothing any more.
///
/// # Errors
/// [`Refused::NoSuchClient`], [`Refused::ChangedMeanwhile`], [`Refused::OfEnvironment`], [`Refused::SecretTaken`].
pub fn replace_client_key(
    state: &State,
    id: ClientId,
    new: NewClient,
    seen: Option<Seq>,
    actor: &Actor,
) -> Result<Decision<()>, Refused> {
    let client = known(state, id, seen)?;
    if client.actor == Actor::Env {
        return Err(Refused::OfEnvironment(
            "this access key is one of ALLOWED_API_KEYS: replace it there, and start the pool again",
        ));
    }
    free(state, &new.digest, Some(id))?;
    let NewClient { digest, tail } = new;
    let event = ClientKeyReplaced { client: id, tail, digest, actor: actor.clone() };
    Ok(Decision { events: vec![event.into()], secrets: Vec::new(), answer: () })
}

/// Ends a client's access.
///
/// # Errors
/// [`Refused::NoSuchClient`], [`Refused::ChangedMeanwhile`].
pub fn remove_client(
    state: &State,
    id: ClientId,
    seen: Option<Seq>,
    actor: &Actor,
) -> Result<Decision<()>, Refused> {
    known(state, id, seen)?;
    let event = ClientRemoved { client: id, actor: actor.clone() };
    Ok(Decision { events: vec![event.into()], secrets: Vec::new(), answer: () })
}

/// Makes the clients of origin `env` those that the environment names: new ones are
/// added, and what is no longer named loses its access.
///
/// # Errors
/// None so far.
pub fn sync_env_clients(state: &State, named: Vec<NewClient>) -> Result<Decision<()>, Refused> {
    let mut decision = Decision { events: Vec::new(), secrets: Vec::new(), answer: () };
    for client in state.access.iter().filter(|client| client.actor == Actor::Env) {
        if !named.iter().any(|new| new.digest == client.digest) {
            decision.events.push(ClientRemoved { client: client.id, actor: Actor::Env }.into());
        }
    }
    let mut next = state.access.next_id();
    let mut here = std::collections::BTreeSet::new();
    for new in named {
        let known = state.access.by_digest(&new.digest).is_some() || state.access.was_removed(&new.digest);
        if known || !here.insert(new.digest) {
            continue;
        }
        let (client, name) = (next, format!("env {next}"));
        next = ClientId(client.0.saturating_add(1));
        let (digest, tail) = (new.digest, new.tail);
        decision.events.push(ClientAdded { client, name, tail, digest, actor: Actor::Env }.into());
    }
    Ok(decision)
}

fn known(state: &State, id: ClientId, seen: Option<Seq>) -> Result<&Client, Refused> {
    let client = state.access.get(id).ok_or(Refused::NoSuchClient(id))?;
    match seen {
        Some(seen) if seen != client.revision => {
            Err(Refused::ChangedMeanwhile { expected: seen, now: client.revision })
        }
        _ => Ok(client),
    }
}

fn free(state: &State, digest: &Digest, of: Option<ClientId>) -> Result<(), Refused> {
    match state.access.by_digest(digest) {
        Some(client) if Some(client.id) == of => {
            Err(Refused::SecretTaken("this is the access key that it has already"))
        }
        Some(_) => Err(Refused::SecretTaken("another client has this access key already: take a new one")),
        None => Ok(()),
    }
}

/// What is new in some wishes, beside what is known of the client; none: nothing is.
fn updated(
    client: ClientId,
    known: Option<&Client>,
    wishes: ClientWishes,
    actor: &Actor,
) -> Option<ClientUpdated> {
    /// A wish that is not so already.
    fn new<T: PartialEq>(wish: Option<T>, known: Option<&T>, usual: &T) -> Option<T> {
        wish.filter(|wish| wish != known.unwrap_or(usual))
    }
    let name = wishes.name.map(|name| if name.is_empty() { format!("client {client}") } else { name });
    let limits = known.map(|client| client.limits).unwrap_or_default();
    let expires = known.and_then(|client| client.expires).and_then(|expires| u64::try_from(expires).ok());
    let cap =
        |wish: Option<Cap>, now: Option<u64>| wish.filter(|wish| *wish != now.map_or(Cap::Lifted, Cap::To));
    let event = ClientUpdated {
        client,
        actor: actor.clone(),
        name: new(name, known.map(|client| &client.name), &String::new()),
        note: new(wishes.note, known.map(|client| &client.note), &String::new()),
        enabled: new(wishes.enabled, known.map(|client| &client.enabled), &true),
        expires: cap(wishes.expires, expires),
        models: new(wishes.models, known.map(|client| &client.models), &Vec::new()),
        addresses: new(wishes.addresses, known.map(|client| &client.addresses), &Vec::new()),
        requests_per_minute: cap(wishes.requests_per_minute, limits.requests_per_minute),
        requests_per_day: cap(wishes.requests_per_day, limits.requests_per_day),
        tokens_per_day: cap(wishes.tokens_per_day, limits.tokens_per_day),
        concurrent: cap(wishes.concurrent, limits.concurrent),
    };
    let words = event.name.is_some() || event.note.is_some() || event.enabled.is_some();
    let ways = event.expires.is_some() || event.models.is_some() || event.addresses.is_some();
    let rates = event.requests_per_minute.is_some() || event.requests_per_day.is_some();
    let rest = event.tokens_per_day.is_some() || event.concurrent.is_some();
    (words || ways || rates || rest).then_some(event)
}

/// Wishes as they are kept: without space around them, nothing twice, and within the limits.
fn tidy(wishes: ClientWishes) -> Result<ClientWishes, Refused> {
    for (name, cap) in [
        ("requests_per_minute", wishes.requests_per_minute),
        ("requests_per_day", wishes.requests_per_day),
        ("tokens_per_day", wishes.tokens_per_day),
        ("concurrent", wishes.concurrent),
    ] {
        if let Some(Cap::To(most)) = cap
            && !(1..=LARGEST).contains(&most)
        {
            let wants = format!(
                "wants a number from 1 to {LARGEST}, or null for none; to let it do nothing, disable it"
            );
            return Err(bad(name, wants));
        }
    }
    if let Some(Cap::To(end)) = wishes.expires
        && end > LAST
    {
        return Err(bad("expires_at", format!("wants a time up to {}", rfc3339(LAST as i64))));
    }
    let addresses = list("addresses", wishes.addresses, ADDRESSES, str::to_owned)?;
    let addresses = addresses.map(|addresses| {
        let ranges = addresses.iter().map(|address| {
            let range = address.parse::<Range>();
            range.map(|range| range.to_string()).map_err(|why| bad("addresses", format!("`{address}` {why}")))
        });
        ranges.collect::<Result<Vec<_>, _>>()
    });
    Ok(ClientWishes {
        name: wishes.name.map(|name| line("name", &name, LABEL)).transpose()?,
        note: wishes.note.map(|note| text(&note)).transpose()?,
        models: patterns(wishes.models)?,
        addresses: addresses.transpose()?,
        ..wishes
    })
}
