//! A page of the log: a part of it, one way or the other, as far as one call may look.

use poem_openapi::Enum;
use projections::{Event, Recorded, Seq, filter::Filter};

use super::{EventPage, EventView};
use crate::{admin::past::Failed, ledger::Ledger};

/// Events that one call looks at, at most: some hundredths of a second.
const LOOKED_AT: usize = 20_000;
/// Read at once.
const READ: usize = 1_000;

/// Which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", rename = "EventOrder")]
pub(super) enum Order {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// A part of the log: the events between two positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) after: Seq,
    pub(super) before: Seq,
}

impl Part {
    /// What is left of it from a place on.
    pub(super) fn beyond(self, place: Option<Seq>, order: Order) -> Self {
        match (place, order) {
            (None, _) => self,
            (Some(place), Order::Asc) => Self { after: self.after.max(place), ..self },
            (Some(place), Order::Desc) => Self { before: self.before.min(place), ..self },
        }
    }
}

/// Places between pages, as text.
pub(super) mod cursor {
    use projections::Seq;

    use super::Order;
    use crate::admin::problem::Problem;

    fn word(order: Order) -> &'static str {
        match order {
            Order::Asc => "after-",
            Order::Desc => "before-",
        }
    }

    pub(super) fn write(place: Seq, order: Order) -> String {
        format!("{}{place}", word(order))
    }

    pub(in crate::admin) fn read(text: &str, order: Order) -> Result<Seq, Problem> {
        let place = text.strip_prefix(word(order)).and_then(|place| place.parse().ok());
        place.ok_or_else(Problem::bad_cursor)
    }
}

/// What was found.
pub(super) struct Page {
    events: Vec<Recorded>,
    next: Option<Seq>,
    head: Seq,
}

impl Page {
    /// One without events.
    pub(super) fn none(ledger: &Ledger) -> Self {
        Self { events: Vec::new(), next: None, head: *ledger.head().borrow() }
    }

    /// Goes on with what was found behind it; gives the place where that ends, if more follows.
    pub(super) fn go_on(&mut self, more: Self) -> Option<Seq> {
        self.events.extend(more.events);
        self.next = more.next;
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn last(&self) -> Option<&Event> {
        self.events.last().map(|recorded| &recorded.event)
    }

    pub(super) fn view(self, order: Order) -> EventPage {
        let next = self.next.map(|place| cursor::write(place, order));
        EventPage { events: self.events.iter().map(EventView::new).collect(), next, head: self.head }
    }
}

/// Looks for events in a part of the log, until there are enough, or one ends it, or it has looked at enough.
pub(super) fn page(
    ledger: &Ledger,
    part: Part,
    order: Order,
    filter: &Filter,
    limit: usize,
    ends: impl Fn(&Event) -> bool,
) -> Result<Page, Failed> {
    let head = *ledger.head().borrow();
    let (mut first, mut last) = (part.after.saturating_add(1), part.before.saturating_sub(1).min(head));
    let (mut events, mut looked_at, mut ended) = (Vec::new(), 0, false);
    let at_once = if filter.is_all() { limit.min(READ) } else { READ };
    while first <= last && events.len() < limit && looked_at < LOOKED_AT && !ended {
        let read = match order {
            Order::Asc => ledger.events(first - 1, at_once)?,
            Order::Desc => ledger.events_back(last.saturating_add(1), at_once)?,
        };
        let mut found = false;
        for recorded in read {
            if !(first..=last).contains(&recorded.seq) || events.len() == limit || ended {
                break;
            }
            found = true;
            looked_at += 1;
            match order {
                Order::Asc => first = recorded.seq + 1,
                Order::Desc => last = recorded.seq - 1,
            }
            ended = ends(&recorded.event);
            if filter.wants(&recorded.event) {
                events.push(recorded);
            }
        }
        if !found {
            return Ok(Page { events, next: None, head });
        }
    }
    let next = (first <= last).then_some(match order {
        Order::Asc => first.saturating_sub(1),
        Order::Desc => last.saturating_add(1),
    });
    Ok(Page { events, next, head })
}
