use super::*;
use crate::bounds::HEAD_BYTES;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

struct Stage(Arc<Places>);

impl Stage {
    fn new(most: usize) -> Self {
        Self(Arc::new(Places::new(most)))
    }

    fn enter(&self, from: &str) -> Option<(Place, CancellationToken)> {
        let close = CancellationToken::new();
        Some((self.0.enter(address(from), false, close.clone())?.0, close))
    }

    /// One that brings a right credential at once.
    fn recognized(&self, from: &str) -> Option<(Place, CancellationToken)> {
        let close = CancellationToken::new();
        let (place, recognized) = self.0.enter(address(from), false, close.clone())?;
        assert!(place.begin());
        recognized.mark();
        place.end(0);
        Some((place, close))
    }

    fn exempt(&self, from: &str) -> Option<(Place, CancellationToken)> {
        let close = CancellationToken::new();
        Some((self.0.enter(address(from), true, close.clone())?.0, close))
    }

    fn pass(&self, time: Duration) {
        self.0.passed.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }
}

fn gone(places: &[(Place, CancellationToken)]) -> Vec<usize> {
    places.iter().enumerate().filter(|(_, (_, close))| close.is_cancelled()).map(|(at, _)| at).collect()
}

#[test]
fn the_oldest_idle_one_of_the_largest_group_goes_first() {
    let stage = Stage::new(8);
    let mut places = Vec::new();
    for from in
        ["10.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "10.0.0.2", "10.0.0.3"]
    {
        places.extend(stage.enter(from));
        stage.pass(Duration::from_millis(5));
    }
    places.extend(stage.enter("10.0.0.6"));
    assert_eq!((places.len(), gone(&places)), (8, vec![]));
    // The oldest of the /64 has a request, which nobody takes away.
    assert!(places[1].0.begin());
    let newcomer = stage.enter("10.0.0.4").unwrap();
    assert_eq!(gone(&places), [2]);
    assert!(!places[2].0.heard(10) && !places[2].0.begin(), "it has to go");
    // It is idle since its last answer, and so the youngest.
    stage.pass(Duration::from_millis(5));
    places[1].0.end(0);
    let another = stage.enter("10.0.0.5").unwrap();
    assert_eq!(gone(&places), [2, 3]);
    let numbers = stage.0.numbers();
    assert_eq!((numbers.open, numbers.closed_for_room, numbers.refused), (10, 2, 0));
    drop(places);
    assert_eq!(stage.0.numbers().open, 2);
    drop((newcomer, another));
    assert_eq!(stage.0.numbers().open, 0);
    assert!(stage.0.table.lock().groups.is_empty());
}

#[test]
fn nobody_gets_the_last_quarter_alone() {
    let stage = Stage::new(64);
    let busy = |from| stage.enter(from).filter(|(place, _)| place.begin());
    let greedy: Vec<_> = std::iter::repeat_with(|| busy("10.0.0.1")).map_while(|place| place).collect();
    assert_eq!(greedy.len(), 48, "three quarters");
    let other: Vec<_> = std::iter::repeat_with(|| busy("10.0.0.2")).map_while(|place| place).collect();
    assert_eq!(other.len(), 16, "all that is left, which is less than its share");
    assert!(stage.enter("10.0.0.3").is_none(), "everybody is busy");
    assert_eq!((gone(&greedy), gone(&other)), (vec![], vec![]));
    // Who has more than a share gives up an own place for a new one.
    drop(other);
    greedy[7].0.end(0);
    let (mine, _) = stage.enter("10.0.0.1").unwrap();
    assert_eq!(gone(&greedy), [7]);
    assert!(mine.begin() && stage.enter("10.0.0.1").is_none());
    // Many clients come from a reverse proxy.
    let proxied: Vec<_> =
        std::iter::repeat_with(|| stage.exempt("10.0.0.9").filter(|(place, _)| place.begin()))
            .map_while(|place| place)
            .collect();
    assert_eq!(proxied.len(), 16);
}

#[test]
fn reverse_proxies_give_up_places_last() {
    let stage = Stage::new(4);
    let proxied: Vec<_> = (0..3).filter_map(|_| stage.exempt("10.0.0.9")).collect();
    let single = vec![stage.enter("10.0.0.1").unwrap()];
    let next = vec![stage.enter("10.0.0.2").unwrap()];
    assert_eq!((gone(&proxied), gone(&single)), (vec![], vec![0]));
    assert!(next[0].0.begin());
    let _last = stage.enter("10.0.0.3").unwrap();
    assert_eq!((gone(&proxied), gone(&next)), (vec![0], vec![]));
}

#[test]
fn who_has_shown_a_credential_gives_up_places_after_all_strangers() {
    let stage = Stage::new(8);
    // Most of one address, and the oldest: that is how a pool's own applications are.
    let apps: Vec<_> = (0..4).filter_map(|_| stage.recognized("10.0.0.1")).collect();
    stage.pass(Duration::from_millis(5));
    let newcomer = vec![stage.enter("10.0.0.1").unwrap()];
    let enter = |n: u8| stage.enter(&format!("10.1.0.{n}")).unwrap();
    let mut strangers: Vec<_> = (1..=5).map(enter).collect();
    assert_eq!((gone(&apps), gone(&newcomer), gone(&strangers)), (vec![], vec![], vec![0, 1]));
    // What has not shown it within a moment is as any other.
    stage.pass(DOUBT);
    strangers.push(enter(6));
    assert_eq!((gone(&apps), gone(&newcomer)), (vec![], vec![0]), "it is of the address that has most");
    assert_eq!(gone(&strangers), [0, 1]);
    for (place, _) in &strangers[2..] {
        assert!(place.begin());
    }
    let _last = enter(7);
    assert_eq!(gone(&apps), [0], "there is nobody else");
}

#[test]
fn an_address_is_remembered_for_a_while() {
    let stage = Stage::new(2);
    drop(stage.recognized("10.0.0.1").unwrap());
    let back = vec![stage.enter("10.0.0.1").unwrap()];
    let stranger = vec![stage.enter("10.0.0.2").unwrap()];
    let third = vec![stage.enter("10.0.0.3").unwrap()];
    assert_eq!((gone(&back), gone(&stranger)), (vec![], vec![0]), "though it is the older one");
    drop((back, stranger, third));
    stage.pass(REMEMBERED);
    let _back = stage.enter("10.0.0.1").unwrap();
    assert!(!stage.0.table.lock().groups[&address("10.0.0.1")].is_recognized());
}

#[test]
fn strangers_take_nothing_from_the_share_of_those_who_are_known() {
    let stage = Stage::new(40);
    let crowd: Vec<_> = (0..31).filter_map(|n| stage.enter(&format!("10.1.0.{n}"))).collect();
    let busy = |from| stage.recognized(from).filter(|(place, _)| place.begin());
    let app: Vec<_> = std::iter::repeat_with(|| busy("10.0.0.1")).map_while(|place| place).collect();
    assert_eq!((app.len(), gone(&crowd).len()), (40, 31), "as long as there is a stranger");
    assert!(gone(&app).is_empty());
    drop((app, crowd));
    // Without any, one address has a share.
    let app: Vec<_> = std::iter::repeat_with(|| busy("10.0.0.1")).map_while(|place| place).collect();
    assert_eq!(app.len(), 30);
    let other: Vec<_> = std::iter::repeat_with(|| busy("10.0.0.2")).map_while(|place| place).collect();
    assert_eq!(other.len(), 10);
}

#[test]
fn what_takes_too_long_is_closed() {
    let stage = Stage::new(8);
    let places: Vec<_> = (0..3).filter_map(|_| stage.enter("10.0.0.1")).collect();
    assert!(places[0].0.begin() && places[1].0.begin());
    places[1].0.end(0);
    stage.pass(HEAD_TIME - Duration::from_millis(1));
    stage.0.sweep();
    assert!(gone(&places).is_empty());
    stage.pass(Duration::from_millis(1));
    stage.0.sweep();
    assert_eq!(gone(&places), [2], "the head that never came");
    stage.pass(IDLE_TIME - HEAD_TIME - Duration::from_millis(5));
    assert!(places[1].0.heard(10), "the next request begins");
    stage.pass(Duration::from_secs(5));
    stage.0.sweep();
    assert_eq!(gone(&places), [2]);
    stage.pass(Duration::from_secs(5));
    stage.0.sweep();
    assert_eq!(gone(&places), [1, 2], "and never ends; a request may take long");
    assert_eq!(stage.0.numbers().closed_late, 2);
}

#[test]
fn all_heads_together_are_bounded() {
    let stage = Stage::new(2_048);
    let mut places = Vec::new();
    for _ in 0..1_000 {
        let (place, close) = stage.enter("10.0.0.1").unwrap();
        place.heard(HEAD_BYTES);
        places.push((place, close));
        stage.pass(Duration::from_millis(1));
    }
    let each = HEAD_BYTES - FREE;
    let fit = HEADS_BYTES / each;
    let numbers = stage.0.numbers();
    assert_eq!(numbers.held_bytes, fit * each);
    assert_eq!(gone(&places), (0..1_000 - fit).collect::<Vec<_>>(), "the oldest");
    // A head that has ended does not count, and what is kept of its buffer does.
    let (last, _) = places.last().unwrap();
    assert!(last.begin());
    assert_eq!(stage.0.numbers().held_bytes, (fit - 1) * each);
    last.end(HEAD_BYTES);
    assert_eq!(stage.0.numbers().held_bytes, fit * each);
    drop(places);
    assert_eq!(stage.0.numbers().held_bytes, 0);
}
