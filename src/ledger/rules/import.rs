//! Keys and clients of another program, in one step.

use std::collections::BTreeMap;

use projections::{
    ClientId, Digest, State,
    event::{Actor, ClientAdded},
};

use super::{Added, Decision, NewClient, NewKey, Refused, Wishes, add_keys_as};

/// What became of a client to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedClient {
    /// It may come in now.
    New(ClientId),
    /// It could already.
    Known(ClientId),
}

/// What became of keys and clients, each in their order.
pub type Imported = (Vec<Added>, Vec<AddedClient>);

/// Adds keys and clients: all of them, or none. Who is known stays as he is.
///
/// # Errors
/// [`Refused::BadValue`].
pub fn import(
    state: &State,
    keys: Vec<(NewKey, Wishes)>,
    clients: Vec<NewClient>,
    actor: &Actor,
) -> Result<Decision<Imported>, Refused> {
    let Decision { mut events, secrets, answer } = add_keys_as(state, keys, actor)?;
    let mut next = state.access.next_id();
    let mut here = BTreeMap::<Digest, ClientId>::new();
    let mut added = Vec::with_capacity(clients.len());
    for NewClient { digest, tail } in clients {
        let known = state.access.by_digest(&digest).map(|client| client.id);
        if let Some(client) = known.or(here.get(&digest).copied()) {
            added.push(AddedClient::Known(client));
            continue;
        }
        let (client, name) = (next, format!("imported {next}"));
        next = ClientId(client.0.saturating_add(1));
        here.insert(digest, client);
        events.push(ClientAdded { client, name, tail, digest, actor: actor.clone() }.into());
        added.push(AddedClient::New(client));
    }
    Ok(Decision { events, secrets, answer: (answer, added) })
}

#[cfg(test)]
mod tests {
    use projections::{Event, Recorded};

    use super::*;

    fn client(number: u8) -> NewClient {
        NewClient { digest: Digest([number; 32]), tail: format!("000{number}") }
    }

    #[test]
    fn who_is_there_already_or_comes_twice_is_added_once() {
        let mut state = State::default();
        let first = import(&state, Vec::new(), vec![client(1)], &Actor::Env).unwrap();
        assert_eq!(first.answer.1, [AddedClient::New(ClientId(1))]);
        for event in first.events {
            state.apply(&Recorded { seq: 1, at: 0, event });
        }
        let named = vec![client(2), client(1), client(2), client(3)];
        let second = import(&state, Vec::new(), named, &Actor::Cli).unwrap();
        let (two, three) = (ClientId(2), ClientId(3));
        let wanted = [
            AddedClient::New(two),
            AddedClient::Known(ClientId(1)),
            AddedClient::Known(two),
            AddedClient::New(three),
        ];
        assert_eq!(second.answer.1, wanted);
        let added: Vec<_> = second
            .events
            .iter()
            .map(|event| match event {
                Event::ClientAdded(event) => (event.client, &*event.name, event.actor.clone()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(added, [(two, "imported 2", Actor::Cli), (three, "imported 3", Actor::Cli)]);
    }
}
