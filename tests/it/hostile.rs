//! An hour on a public address and a bad machine, made short: strangers, greedy clients, a log that nobody reads, a
//! disk that is slow and then full, and few descriptors, all at once.
//!
//! Beside them a good client, an administrator and a scraper do what they always do. `tests/hostile` runs this alone;
//! with `--long` it takes ten minutes.

mod crowd;
mod good;
mod strangers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gemini_pool::simulated::{Failure, Fault, Limits, SimulatedGoogle, World};
use serde_json::Value;

use self::{
    crowd::Crowd,
    good::{Good, Watch},
};
use crate::support::{
    CLIENT_KEY, Server, Setup, http,
    machine::{BadMachine, SmallDisk},
    program,
};

/// What a model needs for the shortest answer: it is not the pool that is timed.
const MODEL_TAKES: Duration = Duration::from_millis(150);
/// Good requests take at most so many times as long as without strangers, 99 of 100.
const SLOWER: u32 = 2;
/// What the pool may hold at most, in MiB.
const MEMORY: u64 = 200;
/// What the pool may open: files, and connections both ways.
const DESCRIPTORS: u32 = 1_024;
/// What bodies may hold, in bytes.
const BODIES: usize = 32 << 20;
/// Whoever connects from here passes on what others ask.
const PROXY: &str = "127.0.1.0/24";

/// Access keys of clients that take what they can get.
const GREEDY: [&str; 3] =
    ["greedy-client-for-tests-0001", "greedy-client-for-tests-0002", "greedy-client-for-tests-0003"];

/// How long each part takes.
struct Times {
    calm: Duration,
    /// Strangers alone.
    strangers: Duration,
    /// Strangers, and no room on the disk.
    full: Duration,
    /// How often the disk is full, with strangers in between.
    rounds: u32,
    /// What the disk holds, in MiB: all that they have recorded.
    disk: u32,
}

fn times() -> Times {
    if crate::support::takes_its_time() {
        let seconds = Duration::from_secs;
        Times { calm: seconds(60), strangers: seconds(100), full: seconds(20), rounds: 5, disk: 512 }
    } else {
        let seconds = Duration::from_secs;
        Times { calm: seconds(12), strangers: seconds(20), full: seconds(6), rounds: 1, disk: 24 }
    }
}

struct Stage {
    // Fields go in this order: the server before its disk, the disk before its folder.
    server: Arc<Server>,
    disk: SmallDisk,
    machine: BadMachine,
    google: SimulatedGoogle,
}

async fn stage(disk: u32) -> Option<Stage> {
    let spent = |project: &mut gemini_pool::simulated::Project| {
        project.limit("gemini-2.5-pro", Limits::none().per_minute(1));
    };
    let world = World::new()
        .project("alpha", spent)
        .project("beta", spent)
        .key("alpha", "AIza-good-1")
        .key("beta", "AIza-good-2")
        .fault(Fault::always(Failure::SlowFirstByte(MODEL_TAKES)));
    let google = SimulatedGoogle::start(world).await.unwrap();
    let clients: Vec<&str> = [CLIENT_KEY].into_iter().chain(GREEDY).collect();
    let setup = Setup::new(&google, &["AIza-good-1", "AIza-good-2"])
        .with("ALLOWED_API_KEYS", &clients.join(","))
        .with("TRUSTED_PROXIES", PROXY)
        .with("MAX_BODY_BYTES", &(16 << 20).to_string())
        .with("BODY_MEMORY_BYTES", &BODIES.to_string())
        .with("QUEUE_TIMEOUT", "5")
        .with_descriptors(DESCRIPTORS);
    // The unoptimized program maps 18 MiB more than what people get, which is held to the bound as it is.
    let unoptimized =
        cfg!(debug_assertions) && program() == std::path::Path::new(env!("CARGO_BIN_EXE_gemini-pool"));
    let setup = if unoptimized { setup.with("MIMALLOC_PURGE_DELAY", "0") } else { setup };
    let machine = BadMachine::new(setup.folder.path())?;
    let disk = SmallDisk::on(&setup.data(), disk)?;
    let server = Arc::new(machine.under(setup).start());
    Some(Stage { server, disk, machine, google })
}

/// The most memory that the server ever had, in MiB.
fn most_memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() >> 10
}

/// Waits until the pool is ready; gives how long that took.
async fn until_ready(server: &Server) -> Duration {
    let began = Instant::now();
    loop {
        let answer = http().get(format!("{}/readyz", server.origin)).send().await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the log does not heal");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the log says went unrecorded, and when.
fn gaps(log: &[Value]) -> Vec<(i64, i64, u64)> {
    let gaps = crate::support::of_type(log, "LogGap");
    let number = |gap: &Value, name: &str| gap[name].as_i64().unwrap_or_else(|| panic!("no {name} in {gap}"));
    gaps.iter()
        .map(|gap| {
            (number(gap, "from"), number(gap, "to"), u64::try_from(number(gap, "unrecorded")).unwrap())
        })
        .collect()
}

/// Whatever was answered is in the log, but for what fell into a gap, and the gap says how much that was.
fn nothing_is_lost(log: &[Value], watch: &Watch) {
    let recorded: std::collections::BTreeSet<String> = crate::support::of_type(log, "Answered")
        .iter()
        .map(|answered| answered["request"].as_str().unwrap().to_owned())
        .collect();
    let gaps = gaps(log);
    let missing: Vec<_> = watch.answered.iter().filter(|(id, _)| !recorded.contains(id)).collect();
    for (id, at) in &missing {
        let in_a_gap = gaps.iter().any(|(from, to, _)| (from - 1_000..=to + 1_000).contains(at));
        assert!(in_a_gap, "{id}, answered at {at}, is not in the log, and in no gap of {gaps:?}");
    }
    let unrecorded: u64 = gaps.iter().map(|(.., unrecorded)| unrecorded).sum();
    assert!(missing.len() as u64 <= unrecorded, "{} are missing, and {unrecorded} told", missing.len());
    println!("{} of {} good answers fell into gaps: {gaps:?}", missing.len(), watch.answered.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_hour_on_a_bad_machine() {
    let times = times();
    let Some(Stage { server, disk, machine, google }) = stage(times.disk).await else { return };
    // It has been there for a while: administrators have come from where they come from.
    let known = Good::administrator_comes_from(&server.origin).await;

    let calm = Good::begin(&server, known).run_for(times.calm).await;
    calm.was_served();
    println!("without strangers: {}", calm.said());

    let unread = server.unread();
    machine.syncs_take(Duration::from_millis(300));
    let crowd = Crowd::begin(&server.origin, &GREEDY);
    let good = Good::begin(&server, known);
    for round in 0..times.rounds {
        tokio::time::sleep(times.strangers).await;
        println!(
            "round {round}: {} MiB at most; the disk is full now, {:.0?}",
            most_memory(&server),
            good.since()
        );
        disk.fill();
        good.log_may_be_lost(true);
        tokio::time::sleep(times.full).await;
        disk.free();
        let healed = until_ready(&server).await;
        println!("round {round}: healed {healed:.1?} after there was room, {:.0?}", good.since());
        good.log_may_be_lost(false);
    }
    let beside = good.end().await;
    let told = crowd.end().await;
    drop(unread);
    machine.syncs_take(Duration::ZERO);
    println!("beside strangers: {}", beside.said());
    println!("strangers: {told}");

    beside.was_served();
    let (usual, slow) = (calm.p99(), beside.p99());
    let bound = usual * SLOWER;
    let slower = beside.slower_than(bound);
    println!("requests that took longer than {bound:?}, by second: {slower}");
    assert!(slow <= bound, "99 of 100 good requests took {slow:?}, and {usual:?} without strangers");
    let memory = most_memory(&server);
    assert!(memory <= MEMORY, "{memory} MiB");
    until_ready(&server).await;
    let server = Arc::into_inner(server).unwrap();
    let (setup, said) = server.stop();
    assert!(!said.contains("panic"), "{said}");
    let log = setup.log();
    nothing_is_lost(&log, &beside);
    nothing_is_lost(&log, &calm);
    let failed = crate::support::of_type(&log, "AdminLoginFailed").len();
    println!("{} events, {failed} of them failed logins; {memory} MiB at most", log.len());
    let audit = setup.run(&["audit", "verify"], "");
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stderr));
    drop((disk, google));
}
