//! Fair shares of what is scarce: max-min fairness among clients. Pure.
//!
//! Owns the count of what each client holds. Whoever asks gets what is free. Where that is too little, the rest is
//! taken from the client that holds most, as long as it holds more than the one who asks would then. So a client
//! alone may have everything, and one that asks for no more than an equal share is never refused, whatever the others
//! do. Within a client the items that still arrive are cut first, the slowest before the others; then the newest, of
//! which least is lost. It refuses to know what is shared: bytes of bodies or places of a queue. Its invariants: no
//! more is held than there is; nobody loses anything to one who would hold as much; nothing is cut in vain.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// There is no room: the clients that hold more than who asks, if any, cannot make enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What one item holds.
#[derive(Clone, Copy, Debug, Default)]
struct Item {
    held: usize,
    /// Since when it arrives, where it is not whole yet.
    arrives: Option<Duration>,
}

impl Item {
    /// The order in which a client's items are cut, first to last.
    fn rank<I>(self, id: I, now: Duration) -> (bool, u128, Reverse<I>) {
        match self.arrives {
            None => (true, 0, Reverse(id)),
            Some(since) => {
                let elapsed = now.saturating_sub(since).as_nanos().max(1);
                // Billionths of a unit a second: fine enough to tell slow ones apart.
                let rate = (self.held as u128).saturating_mul(1_000_000_000_000_000_000) / elapsed;
                (false, rate, Reverse(id))
            }
        }
    }
}

#[derive(Debug)]
struct Account<I> {
    held: usize,
    items: BTreeMap<I, Item>,
}

impl<I> Default for Account<I> {
    fn default() -> Self {
        Self { held: 0, items: BTreeMap::new() }
    }
}

/// See the module. `C` is a client, `I` one of the things for which it holds something; newer ones are greater.
#[derive(Debug)]
pub struct Shares<C, I> {
    free: usize,
    accounts: BTreeMap<C, Account<I>>,
}

/// A client that holds more than who asks would, while room is looked for.
struct Rich<C, I> {
    client: C,
    held: usize,
    /// The last one is cut next.
    items: Vec<(I, usize)>,
}

impl<C: Copy + Ord, I: Copy + Ord> Shares<C, I> {
    /// Of so much in all.
    #[must_use]
    pub fn new(all: usize) -> Self {
        Self { free: all, accounts: BTreeMap::new() }
    }

    /// What nobody holds.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free
    }

    /// What a client holds.
    #[must_use]
    pub fn held(&self, client: C) -> usize {
        self.accounts.get(&client).map_or(0, |account| account.held)
    }

    /// Takes so much more for an item; gives the items of other clients that were cut for it. They hold nothing any
    /// more, and whoever has them is to be told.
    ///
    /// # Errors
    /// [`Full`]; then nothing has changed.
    pub fn take(&mut self, client: C, item: I, wanted: usize, now: Duration) -> Result<Vec<(C, I)>, Full> {
        let cut = if wanted <= self.free { Vec::new() } else { self.make_room(client, wanted, now)? };
        for (owner, item) in &cut {
            self.leave(*owner, *item);
        }
        self.free = self.free.saturating_sub(wanted);
        let account = self.accounts.entry(client).or_default();
        account.held += wanted;
        account.items.entry(item).or_default().held += wanted;
        Ok(cut)
    }

    /// Whether an item still arrives, and since when.
    pub fn arrives(&mut self, client: C, item: I, since: Option<Duration>) {
        if let Some(item) = self.accounts.get_mut(&client).and_then(|account| account.items.get_mut(&item)) {
            item.arrives = since;
        }
    }

    /// Gives back part of what an item holds.
    pub fn give_back(&mut self, client: C, item: I, much: usize) {
        let Some(account) = self.accounts.get_mut(&client) else { return };
        let Some(item) = account.items.get_mut(&item) else { return };
        let much = much.min(item.held);
        item.held -= much;
        account.held -= much;
        self.free += much;
    }

    /// An item is gone, and holds nothing any more.
    pub fn leave(&mut self, client: C, item: I) {
        let Some(account) = self.accounts.get_mut(&client) else { return };
        let Some(item) = account.items.remove(&item) else { return };
        account.held -= item.held;
        self.free += item.held;
        if account.items.is_empty() {
            self.accounts.remove(&client);
        }
    }

    /// Whom to cut, so that there is room.
    fn make_room(&self, asks: C, wanted: usize, now: Duration) -> Result<Vec<(C, I)>, Full> {
        let would = self.held(asks).saturating_add(wanted);
        let mut short = wanted.saturating_sub(self.free);
        let mut cut = Vec::new();
        let others =
            self.accounts.iter().filter(|(client, account)| **client != asks && account.held > would);
        let mut rich: Vec<Rich<C, I>> = others
            .map(|(client, account)| Rich { client: *client, held: account.held, items: Vec::new() })
            .collect();
        while short > 0 {
            let richest = rich.iter_mut().max_by_key(|rich| rich.held).filter(|rich| rich.held > would);
            let richest = richest.ok_or(Full)?;
            if richest.items.is_empty() {
                richest.items = self.in_order(richest.client, now);
            }
            let (item, held) = richest.items.pop().ok_or(Full)?;
            richest.held -= held;
            short = short.saturating_sub(held);
            cut.push((richest.client, item));
        }
        Ok(cut)
    }

    /// What a client holds, and what of it is cut first: from the last to the first.
    fn in_order(&self, client: C, now: Duration) -> Vec<(I, usize)> {
        let items = self.accounts.get(&client).into_iter().flat_map(|account| &account.items);
        let mut items: Vec<_> = items.filter(|(_, item)| item.held > 0).collect();
        items.sort_by_cached_key(|(id, item)| Reverse(item.rank(**id, now)));
        items.into_iter().map(|(id, item)| (*id, item.held)).collect()
    }
}

#[cfg(test)]
mod tests;
