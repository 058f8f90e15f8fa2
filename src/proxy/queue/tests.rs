use std::{
    pin::Pin,
    sync::atomic::{AtomicI64, AtomicU32},
    task::{Context, Poll, Waker},
};

use projections::event::PassedOver;

use super::*;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
const MODEL: &str = "gemini-2.5-flash";

fn caller(client: u32) -> Caller {
    Caller::Client(projections::ClientId(client))
}

/// A queue, all that it listens to, and a pool that is closed until a time, or has a key on trial.
struct Stage {
    queue: Queue,
    now: Arc<AtomicI64>,
    progress: Arc<Notify>,
    head: watch::Sender<Seq>,
    opens: AtomicI64,
    on_trial: std::sync::atomic::AtomicBool,
    asked: AtomicUsize,
    /// Tokens that the minute bears.
    room: AtomicU32,
}

impl Stage {
    fn new(timeout: Duration, opens: Millis) -> Self {
        let (now, progress, head) =
            (Arc::new(AtomicI64::new(1_000)), Arc::<Notify>::default(), watch::Sender::new(0));
        let tells = Arc::clone(&now);
        let clock = Clock::driven(move || tells.load(Ordering::SeqCst));
        let queue = Queue::new(move || timeout, clock, Arc::clone(&progress), head.subscribe());
        let (opens, asked) = (AtomicI64::new(opens), AtomicUsize::new(0));
        let room = AtomicU32::new(u32::MAX);
        Self { queue, now, progress, head, opens, on_trial: false.into(), asked, room }
    }

    /// Time goes on, and the log says something.
    fn turn_to(&self, now: Millis) {
        self.now.store(now, Ordering::SeqCst);
        self.head.send_modify(|head| *head += 1);
    }

    fn ask(&self, tried: &[KeyId], crowd: bool) -> Result<KeyId, Nobody> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (now, opens) = (self.now.load(Ordering::SeqCst), self.opens.load(Ordering::SeqCst));
        let on_trial = self.on_trial.load(Ordering::SeqCst) && !crowd;
        if now < opens || on_trial || tried.contains(&KeyId(1)) {
            let opens = Some(opens.max(now));
            return Err(Nobody {
                opens,
                for_sure: opens,
                passed_over: PassedOver::default(),
                on_trial,
                upstream: false,
            });
        }
        Ok(KeyId(1))
    }

    fn request<'a>(&'a self, journey: &'a mut Journey) -> Asking<'a> {
        self.request_by(1, 0, journey)
    }

    fn request_of<'a>(&'a self, tokens: u32, journey: &'a mut Journey) -> Asking<'a> {
        self.request_by(1, tokens, journey)
    }

    fn request_by<'a>(&'a self, client: u32, tokens: u32, journey: &'a mut Journey) -> Asking<'a> {
        let deadline = Instant::now() + Duration::from_secs(600);
        let ask = move |tried: &[KeyId], crowd| match tokens > self.room.load(Ordering::SeqCst) {
            true => self.ask(&[KeyId(1)], crowd),
            false => self.ask(tried, crowd),
        };
        Box::pin(self.queue.choose((caller(client), MODEL, From::All, tokens), journey, deadline, ask))
    }
}

type Result<T, E = NoTurn> = std::result::Result<T, E>;
type Asking<'a> = Pin<Box<dyn Future<Output = Result<(KeyId, Option<Release<'a>>)>> + 'a>>;

/// Looks once whether a request has come to something.
async fn look<'a>(asking: &mut Asking<'a>) -> Option<Result<(KeyId, Option<Release<'a>>)>> {
    // Or tokio would hold back what is ready from a task that looks at so much at once.
    tokio::task::yield_now().await;
    match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn journeys(n: usize) -> Vec<Journey> {
    std::iter::repeat_with(Journey::default).take(n).collect()
}

/// These, one after the other, all of which have to wait.
async fn waiting<'a>(stage: &'a Stage, journeys: &'a mut [Journey]) -> Vec<Asking<'a>> {
    let mut all = Vec::new();
    for journey in journeys {
        let mut asking = stage.request(journey);
        assert!(look(&mut asking).await.is_none());
        all.push(asking);
    }
    all
}

#[tokio::test]
async fn what_comes_too_late_is_not_waited_for() {
    let mut journey = Journey::default();
    for (timeout, opens) in [(QUEUE_TIMEOUT, 7_000), (Duration::ZERO, 1_001)] {
        let stage = Stage::new(timeout, opens);
        let result = look(&mut stage.request(&mut journey)).await;
        assert!(matches!(result, Some(Err(NoTurn::Nobody(_)))), "{opens}");
    }
    assert_eq!(journey.waited, Duration::ZERO);
}

#[test]
fn requests_of_one_line_are_alike_in_size() {
    let sizes = [0, 1, 4_096, 4_097, 32_768, 32_769, 262_144, 262_145, u32::MAX].map(size_of);
    assert_eq!(sizes, [0, 0, 0, 1, 1, 2, 2, 3, 7]);
}

#[tokio::test]
async fn a_large_one_that_finds_no_room_holds_up_no_small_one() {
    let stage = Stage::new(QUEUE_TIMEOUT, 3_000);
    stage.now.store(3_000, Ordering::SeqCst);
    stage.room.store(10_000, Ordering::SeqCst);
    stage.opens.store(5_000, Ordering::SeqCst);
    let [mut large, mut small, mut other] = [(); 3].map(|()| Journey::default());
    let mut large = stage.request_of(50_000, &mut large);
    assert!(look(&mut large).await.is_none(), "it waits for the minute to turn");
    stage.opens.store(3_000, Ordering::SeqCst);
    assert!(matches!(look(&mut stage.request(&mut small)).await, Some(Ok(_))));
    let alike = look(&mut stage.request_of(60_000, &mut other)).await;
    assert!(!matches!(alike, Some(Ok(_))), "it finds no room either, and is behind the first");
}

#[tokio::test]
async fn those_that_wait_go_in_order_and_each_word_lets_the_next_go() {
    let stage = Stage::new(QUEUE_TIMEOUT, 3_000);
    let mut journeys = journeys(4);
    let mut asking = waiting(&stage, &mut journeys).await;
    let asked = stage.asked.load(Ordering::SeqCst);
    for asking in &mut asking {
        assert!(look(asking).await.is_none());
    }
    assert_eq!(stage.asked.load(Ordering::SeqCst), asked, "nobody asks without news");
    stage.turn_to(3_000);
    let (last, first) = asking.split_last_mut().unwrap();
    assert!(look(last).await.is_none(), "it is the last one's turn last");
    let Some(Ok((_, release))) = look(&mut first[0]).await else { panic!("the first one goes") };
    assert!(look(&mut first[1]).await.is_none(), "the first has no word yet");
    tell(release, Word::Served);
    let mut released = Vec::new();
    for asking in &mut first[1..] {
        released.push(look(asking).await.expect("two more may go").unwrap().1);
    }
    assert!(look(last).await.is_none());
    drop(released.pop());
    assert!(look(last).await.expect("a place is free, though nothing was said").is_ok());
}

#[tokio::test]
async fn a_refusal_closes_the_gate_before_the_rest_runs_into_it() {
    let stage = Stage::new(QUEUE_TIMEOUT, 2_000);
    let mut journeys = journeys(3);
    let mut asking = waiting(&stage, &mut journeys).await;
    stage.turn_to(2_000);
    let Some(Ok((_, release))) = look(&mut asking[0]).await else { panic!("the first one goes") };
    stage.opens.store(4_000, Ordering::SeqCst);
    tell(release, Word::Refused);
    assert!(look(&mut asking[1]).await.is_none());
    assert!(look(&mut asking[2]).await.is_none());
    stage.turn_to(4_000);
    assert!(look(&mut asking[1]).await.is_some());
}

#[tokio::test]
async fn who_leaves_gives_its_place_up() {
    let stage = Stage::new(QUEUE_TIMEOUT, 3_000);
    let mut journeys = journeys(2);
    let mut asking = waiting(&stage, &mut journeys).await;
    drop(asking.remove(0));
    assert!(look(&mut asking[0]).await.is_none());
    stage.turn_to(3_000);
    assert!(look(&mut asking[0]).await.is_some(), "it is the head now, and hears the log");
    drop(asking);
    assert_eq!(stage.queue.busy.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let stage = Stage::new(QUEUE_TIMEOUT, 3_000);
    let (mut many, mut one, mut other) = (journeys(MOST_WAITING), Journey::default(), Journey::default());
    let mut asking = waiting(&stage, &mut many).await;
    let result = look(&mut stage.request(&mut one)).await;
    assert!(matches!(result, Some(Err(NoTurn::Full(Some(3_000))))));
    drop(asking.pop());
    assert!(look(&mut stage.request(&mut other)).await.is_none());
    drop(asking);
    assert_eq!(stage.queue.busy.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_client_that_has_all_places_makes_room_for_others() {
    let stage = Stage::new(QUEUE_TIMEOUT, 3_000);
    let (mut many, mut one, mut other) = (journeys(MOST_WAITING), Journey::default(), Journey::default());
    let mut hogs = waiting(&stage, &mut many).await;
    let mut newcomer = stage.request_by(2, 0, &mut one);
    assert!(look(&mut newcomer).await.is_none(), "it waits");
    assert_eq!(stage.queue.waiting(), MOST_WAITING);
    let newest = look(hogs.last_mut().unwrap()).await;
    assert!(
        matches!(newest, Some(Err(NoTurn::Full(Some(3_000))))),
        "and the newest is told when to come back"
    );
    assert!(look(&mut hogs[MOST_WAITING - 2]).await.is_none(), "one place was enough");
    assert!(matches!(look(&mut stage.request(&mut other)).await, Some(Err(NoTurn::Full(_)))));
    stage.turn_to(3_000);
    for hog in &mut hogs[..MOST_WAITING - 1] {
        assert!(matches!(look(hog).await, Some(Ok(_)) | None));
    }
    drop((hogs, newcomer));
    assert_eq!((stage.queue.waiting(), stage.queue.busy.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn a_key_on_trial_is_waited_for_whatever_the_timeout() {
    let stage = Stage::new(Duration::ZERO, 0);
    stage.on_trial.store(true, Ordering::SeqCst);
    let mut journeys = journeys(20);
    let mut asking = waiting(&stage, &mut journeys).await;
    stage.on_trial.store(false, Ordering::SeqCst);
    stage.progress.notify_waiters();
    for asking in &mut asking {
        let Some(Ok((_, release))) = look(asking).await else { panic!("all go: nothing was closed") };
        assert!(release.is_none());
    }
}

#[tokio::test]
async fn a_key_on_trial_is_crowded_where_it_takes_long_or_there_is_no_room() {
    let stage = Stage::new(Duration::ZERO, 0);
    stage.on_trial.store(true, Ordering::SeqCst);
    let (mut many, mut one) = (journeys(MOST_WAITING), Journey::default());
    let asking = waiting(&stage, &mut many).await;
    assert!(matches!(look(&mut stage.request(&mut one)).await, Some(Ok(_))), "no room");
    drop(asking);
    let mut patient = Journey::default();
    let began = Instant::now();
    assert!(stage.request(&mut patient).await.is_ok());
    assert!(began.elapsed() >= TRIAL && patient.waited >= TRIAL);
}

#[tokio::test]
async fn after_a_wait_the_gates_say_what_may_be_tried() {
    let stage = Stage::new(QUEUE_TIMEOUT, 1_020);
    let mut journey = Journey { tried: vec![KeyId(7), KeyId(1)], ..Journey::default() };
    journey.refused();
    let mut asking = stage.request(&mut journey);
    assert!(look(&mut asking).await.is_none());
    stage.turn_to(1_020);
    assert!(matches!(look(&mut asking).await, Some(Ok((KeyId(1), _)))));
    drop(asking);
    assert_eq!(journey.tried, [KeyId(7)], "trouble with the key itself is not forgotten");
    assert!(journey.waited > Duration::ZERO);
}

#[tokio::test]
async fn the_head_wakes_when_the_gate_opens_and_all_give_up_when_time_is_up() {
    let stage = Stage::new(Duration::from_millis(200), 1_050);
    let (mut first, mut second) = (Journey::default(), Journey::default());
    let began = Instant::now();
    let mut ask = |_: &[KeyId], _: bool| {
        let left = Duration::from_millis(50).saturating_sub(began.elapsed());
        let opens = Some(1_001 + i64::try_from(left.as_millis()).unwrap());
        let closed = Nobody {
            opens,
            for_sure: opens,
            passed_over: PassedOver::default(),
            on_trial: false,
            upstream: false,
        };
        if left.is_zero() { Ok(KeyId(1)) } else { Err(closed) }
    };
    let deadline = began + Duration::from_secs(600);
    let (_, release) =
        stage.queue.choose((caller(1), MODEL, From::All, 0), &mut first, deadline, &mut ask).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(50));
    // The one that went says nothing for longer than the next has time.
    let late = stage.queue.choose((caller(1), MODEL, From::All, 0), &mut second, deadline, &mut ask).await;
    assert!(matches!(late, Err(NoTurn::Late(_))));
    assert!(second.waited >= Duration::from_millis(200));
    drop(release);
    assert_eq!(stage.queue.busy.load(Ordering::SeqCst), 0);
}
