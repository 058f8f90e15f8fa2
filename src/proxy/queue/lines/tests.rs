use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const KEY: u8 = 0;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A request of client 0 joins a line that has a place for it.
fn join<W: Clone + std::fmt::Debug>(
    lines: &mut Lines<u8, u8, W>,
    key: u8,
    ticket: Ticket,
    waker: &W,
) -> Result<bool, Full> {
    let mut woken = Vec::new();
    let joined = lines.join(&key, (0, ticket), waker, at(0), &mut woken);
    assert!(woken.is_empty(), "{woken:?}");
    joined
}

/// A line of `n` that was told that something opens, and how to wake each.
fn closed_line(n: u64) -> (Lines<u8, u8, u64>, Vec<Ticket>) {
    let mut lines = Lines::new(1_000);
    let tickets: Vec<Ticket> = (0..n).map(|_| lines.ticket()).collect();
    for (ticket, who) in tickets.iter().zip(0..) {
        join(&mut lines, KEY, *ticket, &who).unwrap();
    }
    lines.closed(&KEY, Some(7));
    (lines, tickets)
}

/// Lets everybody go who may; gives who went.
fn go(lines: &mut Lines<u8, u8, u64>, tickets: &[Ticket], now: Duration) -> Vec<usize> {
    let mut went = Vec::new();
    while let Some(who) = lines.awake(&KEY, now) {
        let who = usize::try_from(who).unwrap();
        if lines.turn(&KEY, tickets[who], now) != Turn::Ask {
            break;
        }
        lines.let_go(&KEY, tickets[who], now);
        went.push(who);
    }
    went
}

/// Else it would sleep until the one before it says a word, however long that takes.
#[test]
fn a_head_that_is_held_back_is_woken_to_learn_until_when() {
    let (mut lines, tickets) = closed_line(2);
    assert_eq!(lines.awake(&KEY, at(0)), Some(0));
    lines.let_go(&KEY, tickets[0], at(0));
    assert_eq!(lines.awake(&KEY, at(0)), Some(1), "its turn is not yet, and it is told");
    assert!(matches!(lines.turn(&KEY, tickets[1], at(0)), Turn::Paced(settles) if settles <= at(500)));
    assert_eq!(lines.turn(&KEY, tickets[1], at(501)), Turn::Ask);
}

#[test]
fn nobody_waits_where_nobody_did() {
    let mut lines = Lines::<u8, u8, ()>::new(3);
    let ticket = lines.ticket();
    assert_eq!(lines.turn(&KEY, ticket, at(0)), Turn::Ask);
    assert!(!lines.let_go(&KEY, ticket, at(0)));
    assert_eq!(lines.len(), 0);
}

#[test]
fn who_comes_later_goes_behind_and_other_lines_are_others() {
    let (mut lines, tickets) = closed_line(2);
    let late = lines.ticket();
    assert_eq!(lines.turn(&KEY, tickets[0], at(0)), Turn::Ask);
    assert_eq!(lines.turn(&KEY, tickets[1], at(0)), Turn::Behind);
    assert_eq!(lines.turn(&KEY, late, at(0)), Turn::Behind);
    assert_eq!(lines.turn(&1, late, at(0)), Turn::Ask);
    assert_eq!((lines.opens(&KEY), lines.opens(&1)), (Some(7), None));
}

#[test]
fn the_pace_doubles_from_round_to_round() {
    let (mut lines, tickets) = closed_line(20);
    let mut went = go(&mut lines, &tickets, at(0));
    for round in [1, 2, 4, 8, 5] {
        assert_eq!(went.len(), round);
        went.iter().for_each(|who| lines.word(&KEY, tickets[*who], Word::Served));
        went = go(&mut lines, &tickets, at(0));
    }
    assert!(went.is_empty());
    assert_eq!(lines.len(), 0, "the line is over");
}

#[test]
fn a_refusal_halves_the_pace_and_a_closing_begins_anew() {
    let (mut lines, tickets) = closed_line(30);
    let mut went = go(&mut lines, &tickets, at(0));
    while went.len() < 4 {
        went.iter().for_each(|who| lines.word(&KEY, tickets[*who], Word::Served));
        went = go(&mut lines, &tickets, at(0));
    }
    lines.word(&KEY, tickets[went[0]], Word::Refused);
    assert!(go(&mut lines, &tickets, at(0)).is_empty(), "three are out, two may be");
    lines.word(&KEY, tickets[went[1]], Word::Gone);
    lines.word(&KEY, tickets[went[2]], Word::Gone);
    assert_eq!(go(&mut lines, &tickets, at(0)).len(), 1);
    lines.closed(&KEY, None);
    lines.word(&KEY, tickets[went[3]], Word::Gone);
    assert!(go(&mut lines, &tickets, at(0)).is_empty(), "one is out, one may be");
}

#[test]
fn one_refused_comes_back_to_the_head() {
    let (mut lines, tickets) = closed_line(3);
    assert_eq!(go(&mut lines, &tickets, at(0)), [0]);
    lines.word(&KEY, tickets[0], Word::Refused);
    join(&mut lines, KEY, tickets[0], &0).unwrap();
    assert_eq!(lines.turn(&KEY, tickets[0], at(0)), Turn::Ask);
    assert_eq!(lines.turn(&KEY, tickets[1], at(0)), Turn::Behind);
}

#[test]
fn who_is_long_under_way_was_not_refused() {
    let (mut lines, tickets) = closed_line(9);
    assert_eq!(go(&mut lines, &tickets, at(0)), [0]);
    let early = SETTLED - at(1);
    assert_eq!(lines.turn(&KEY, tickets[1], early), Turn::Paced(SETTLED));
    assert_eq!(go(&mut lines, &tickets, SETTLED), [1, 2]);
    lines.word(&KEY, tickets[0], Word::Served);
    assert!(go(&mut lines, &tickets, SETTLED).is_empty(), "its success was counted");
}

#[test]
fn a_line_on_its_way_that_nobody_waits_in_still_has_a_pace() {
    let (mut lines, tickets) = closed_line(1);
    assert_eq!(go(&mut lines, &tickets, at(0)), [0]);
    let late = lines.ticket();
    assert_eq!(lines.turn(&KEY, late, at(0)), Turn::Paced(SETTLED));
    assert!(lines.is_paced(&KEY));
    assert_eq!(lines.turn(&KEY, late, SETTLED), Turn::Ask);
    assert_eq!(lines.len(), 0, "and is forgotten when it has none");
}

#[test]
fn places_are_bounded_over_all_lines_and_given_back() {
    let mut lines = Lines::new(2);
    let tickets: Vec<Ticket> = (0..3).map(|_| lines.ticket()).collect();
    assert_eq!(join(&mut lines, 0, tickets[0], &()), Ok(true));
    assert_eq!(join(&mut lines, 1, tickets[1], &()), Ok(true));
    assert_eq!(join(&mut lines, 1, tickets[1], &()), Ok(false), "it has its place");
    assert_eq!(join(&mut lines, 1, tickets[2], &()), Err(Full));
    lines.leave(&0, tickets[0]);
    lines.leave(&0, tickets[0]);
    assert_eq!(join(&mut lines, 1, tickets[2], &()), Ok(true));
    assert_eq!(lines.len(), 1);
}

#[test]
fn the_newest_of_the_client_with_most_makes_room_for_others() {
    let (mut lines, mut woken) = (Lines::<u8, char, Ticket>::new(4), Vec::new());
    let tickets: Vec<Ticket> = (0..7).map(|_| lines.ticket()).collect();
    let mut join = |lines: &mut Lines<_, _, _>, key, client, which: usize| {
        let joined = lines.join(&key, (client, tickets[which]), &tickets[which], at(0), &mut woken);
        (joined, std::mem::take(&mut woken))
    };
    // One client has all the places, in two lines.
    for (which, key) in [0, 0, 0, 1].into_iter().enumerate() {
        assert_eq!(join(&mut lines, key, 'a', which), (Ok(true), vec![]));
    }
    assert_eq!(join(&mut lines, 0, 'a', 4), (Err(Full), vec![]), "none is left for it");
    assert_eq!(
        join(&mut lines, 0, 'b', 4),
        (Ok(true), vec![tickets[3]]),
        "its newest goes, in whichever line"
    );
    assert_eq!((lines.len(), lines.waiting()), (1, 4));
    assert_eq!(join(&mut lines, 1, 'a', 3), (Err(Full), vec![]), "and is told when it asks again");
    assert_eq!(
        join(&mut lines, 0, 'c', 5),
        (Ok(true), vec![tickets[2], tickets[0]]),
        "and the first may look again"
    );
    assert_eq!(
        join(&mut lines, 0, 'b', 6),
        (Err(Full), vec![]),
        "two each and one: nobody has more than it would"
    );
    lines.leave(&0, tickets[5]);
    assert_eq!(
        join(&mut lines, 0, 'a', 2),
        (Ok(true), vec![]),
        "who was told has its place again, in its order"
    );
    assert_eq!(lines.turn(&0, tickets[4], at(0)), Turn::Behind);
}

proptest! {
    /// Whatever happens in whatever order: nobody overtakes, no more are out than may be, no more wait
    /// than may, whoever may ask is told, and in the end nothing is left.
    #[test]
    fn law_order_pace_and_places(
        steps in proptest::collection::vec((0u8..8, any::<prop::sample::Index>(), 0u64..700, 0u8..4), 1..300),
    ) {
        let mut lines = Lines::<u8, u8, Ticket>::new(12);
        let (mut waiting, mut out) = (BTreeSet::new(), BTreeSet::new());
        let mut clients = BTreeMap::new();
        let mut now = at(0);
        for (what, which, passes, client) in steps {
            let pick = |set: &BTreeSet<Ticket>| {
                (!set.is_empty()).then(|| *set.iter().nth(which.index(set.len())).unwrap())
            };
            match what {
                0 | 1 => {
                    let ticket = lines.ticket();
                    if lines.turn(&KEY, ticket, now) == Turn::Ask && what == 0 {
                        prop_assert!(waiting.is_empty(), "an arrival overtook");
                        if lines.let_go(&KEY, ticket, now) { out.insert(ticket); }
                    } else {
                        let mut woken = Vec::new();
                        let has = |who: u8| waiting.iter().filter(|ticket| clients[*ticket] == who).count();
                        let (own, most) = (has(client), (0..4).map(has).max().unwrap());
                        let joined = lines.join(&KEY, (client, ticket), &ticket, now, &mut woken).is_ok();
                        prop_assert_eq!(joined, waiting.len() < 12 || most > own + 1);
                        if joined && waiting.len() == 12 {
                            let last = woken[0];
                            prop_assert_eq!(has(clients[&last]), most);
                            let newer = waiting.iter().filter(|other| clients[*other] == clients[&last]);
                            prop_assert_eq!(newer.max(), Some(&last));
                            // The head was first, or is it now.
                            waiting.remove(&last);
                            prop_assert!(woken[1..].iter().all(|head| Some(head) == waiting.first()));
                        } else {
                            prop_assert!(woken.is_empty());
                        }
                        if joined {
                            waiting.insert(ticket);
                            clients.insert(ticket, client);
                        }
                    }
                }
                2 | 3 => if let Some(head) = lines.awake(&KEY, now) {
                    prop_assert_eq!(Some(&head), waiting.first());
                    let line = &lines.lines[&KEY];
                    // One that is held back learns until when.
                    let may = line.out.len() < line.pace;
                    prop_assert_eq!(may, lines.turn(&KEY, head, now) == Turn::Ask);
                    if may {
                        if lines.let_go(&KEY, head, now) { out.insert(head); }
                        waiting.remove(&head);
                    }
                }
                4 => if let Some(ticket) = pick(&waiting) {
                    lines.leave(&KEY, ticket);
                    waiting.remove(&ticket);
                }
                5 => if let Some(ticket) = pick(&out) {
                    out.remove(&ticket);
                    lines.word(&KEY, ticket, [Word::Served, Word::Refused, Word::Gone][which.index(3)]);
                }
                6 => if !waiting.is_empty() { lines.closed(&KEY, None) },
                _ => now += at(passes),
            }
            prop_assert_eq!(lines.waiting(), waiting.len());
            if let Some(line) = lines.lines.get(&KEY) {
                prop_assert!(line.waiting.keys().eq(waiting.iter()));
                prop_assert!(line.pace >= 1);
                prop_assert!(line.out.keys().all(|ticket| out.contains(ticket)));
                // Somebody waits and nobody is out: the head may ask, or all would sleep for ever.
                if line.out.is_empty() && let Some(first) = waiting.first() {
                    prop_assert_eq!(line.turn(*first), Turn::Ask);
                }
            } else {
                prop_assert!(waiting.is_empty());
            }
        }
        for ticket in waiting { lines.leave(&KEY, ticket); }
        for ticket in out { lines.word(&KEY, ticket, Word::Gone); }
        prop_assert_eq!((lines.len(), lines.waiting()), (0, 0));
    }
}
