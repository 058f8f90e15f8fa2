use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Shares of `all` in which each of these items is held, by client, id and size.
fn held(all: usize, items: &[(char, u64, usize)]) -> Shares<char, u64> {
    let mut shares = Shares::new(all);
    for (client, id, size) in items {
        assert_eq!(shares.take(*client, *id, *size, at(0)), Ok(vec![]));
    }
    shares
}

#[test]
fn a_client_alone_may_have_everything_and_takes_nothing_from_itself() {
    let mut shares = held(10, &[('a', 1, 4), ('a', 2, 6)]);
    assert_eq!(shares.take('a', 3, 1, at(0)), Err(Full));
    assert_eq!((shares.free(), shares.held('a')), (0, 10));
}

#[test]
fn who_holds_most_makes_room_for_who_holds_less() {
    let mut shares = held(12, &[('a', 1, 4), ('a', 2, 3), ('b', 3, 5)]);
    assert_eq!(shares.take('c', 4, 1, at(0)), Ok(vec![('a', 2)]));
    assert_eq!((shares.held('a'), shares.held('b'), shares.held('c'), shares.free()), (4, 5, 1, 2));
    // Now the other one has most.
    assert_eq!(shares.take('c', 5, 3, at(0)), Ok(vec![('b', 3)]));
    assert_eq!((shares.held('c'), shares.free()), (4, 4));
}

#[test]
fn nobody_makes_room_for_who_would_hold_as_much() {
    let mut shares = held(9, &[('a', 1, 5), ('b', 2, 4)]);
    assert_eq!(shares.take('c', 3, 5, at(0)), Err(Full));
    assert_eq!(shares.take('b', 2, 1, at(0)), Err(Full));
    assert_eq!((shares.held('a'), shares.held('b'), shares.held('c')), (5, 4, 0));
}

#[test]
fn the_slowest_that_still_arrives_goes_first_and_then_the_newest() {
    let mut shares = held(10, &[('a', 1, 2), ('a', 2, 2), ('a', 3, 2), ('a', 4, 2), ('a', 5, 2)]);
    // Two bytes in ten seconds, and in two.
    shares.arrives('a', 2, Some(at(0)));
    shares.arrives('a', 1, Some(at(8)));
    let mut cut = Vec::new();
    for id in 6..10 {
        let client = char::from_digit(id as u32, 10).unwrap();
        cut.extend(shares.take(client, id, 2, at(10)).unwrap_or_default());
    }
    assert_eq!(cut, [('a', 2), ('a', 1), ('a', 5), ('a', 4)]);
}

#[test]
fn an_item_that_holds_nothing_is_not_cut() {
    let mut shares = held(4, &[('a', 1, 4)]);
    shares.take('a', 2, 0, at(0)).unwrap();
    assert_eq!(shares.take('b', 3, 1, at(0)), Ok(vec![('a', 1)]));
    assert_eq!(shares.held('a'), 0);
}

#[test]
fn what_is_given_back_is_free() {
    let mut shares = held(4, &[('a', 1, 4)]);
    shares.give_back('a', 1, 3);
    assert_eq!((shares.free(), shares.held('a')), (3, 1));
    shares.give_back('a', 1, 3);
    shares.leave('a', 1);
    shares.leave('a', 1);
    assert_eq!((shares.free(), shares.held('a'), shares.accounts.len()), (4, 0, 0));
}

proptest! {
    /// Whatever is asked, in whatever order: no more is held than there is; who asks for no more than an equal share
    /// gets it; nobody loses anything to one who would hold as much; where it suffices nothing is cut, and where it
    /// would not, neither; and in the end all is free.
    #[test]
    fn law_shares_are_fair(
        all in 1usize..40,
        steps in proptest::collection::vec((0u8..6, 0u8..5, 0u64..12, 0usize..20, 0u64..9), 1..200),
    ) {
        let mut shares = Shares::new(all);
        let mut model: BTreeMap<(u8, u64), usize> = BTreeMap::new();
        let mut now = at(0);
        for (what, client, id, much, passes) in steps {
            now += at(passes);
            // An item is one client's own.
            let id = id * 5 + u64::from(client);
            let of = |model: &BTreeMap<(u8, u64), usize>, client: u8| -> usize {
                model.iter().filter(|((owner, _), _)| *owner == client).map(|(_, held)| held).sum()
            };
            match what {
                0..=2 => {
                    let (before, free) = (model.clone(), shares.free());
                    let would = of(&before, client) + much;
                    let clients = (0..5).filter(|other| *other == client || of(&before, *other) > 0).count();
                    match shares.take(client, id, much, now) {
                        Ok(cut) => {
                            prop_assert_eq!(cut.is_empty(), much <= free);
                            for (owner, item) in &cut {
                                prop_assert_ne!(*owner, client);
                                prop_assert!(of(&model, *owner) > would, "it held no more than who asked");
                                prop_assert!(model.remove(&(*owner, *item)).is_some());
                            }
                            *model.entry((client, id)).or_default() += much;
                        }
                        Err(Full) => {
                            prop_assert!(would * clients > all, "an equal share is always there");
                            let others = (0..5).filter(|other| *other != client);
                            let spare: usize = others.map(|other| of(&before, other).saturating_sub(would)).sum();
                            prop_assert!(spare < much - free, "what others have above that was not enough");
                        }
                    }
                }
                3 => shares.arrives(client, id, (much % 2 == 0).then_some(now)),
                4 => {
                    shares.give_back(client, id, much);
                    if let Some(held) = model.get_mut(&(client, id)) { *held -= much.min(*held); }
                }
                _ => {
                    shares.leave(client, id);
                    model.remove(&(client, id));
                }
            }
            let held: usize = model.values().sum();
            prop_assert_eq!(shares.free() + held, all);
            for client in 0..5 { prop_assert_eq!(shares.held(client), of(&model, client)); }
        }
        for (client, id) in model.into_keys() { shares.leave(client, id); }
        prop_assert_eq!((shares.free(), shares.accounts.len()), (all, 0));
    }
}
