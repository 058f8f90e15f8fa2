//! What the outside world can withhold, against what the pool does: {descriptors, room, writing, speed of the disk, a
//! reader of its log, the right time} × {start, traffic, change, scrape, backup, stop}.
//!
//! Each cell is a test, with the words and figures that it expects. A machine's trouble is made once the pool runs,
//! but for the cells of the start.

mod cells;

use std::{sync::Arc, time::Duration};

use gemini_pool::simulated::{SimulatedGoogle, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    App, Operator, Server, Setup, http,
    machine::{BadMachine, FailingDisk, SmallDisk, few_descriptors},
};

/// How much longer a sync takes on a slow disk.
pub(super) const SLOW: Duration = Duration::from_secs(2);
/// How far the clock is set back, in seconds.
pub(super) const BACK: i64 = 2 * 86_400;

/// What the world withholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No file or socket can be opened any more.
    Descriptors,
    /// The disk is full.
    Room,
    /// The disk has turned read-only.
    Writing,
    /// Every sync takes [`SLOW`] longer.
    Speed,
    /// Nobody reads standard error, and its pipe is full.
    Reader,
    /// The clock is [`BACK`] behind.
    Time,
}

/// The disk that the pool is on.
enum Disk {
    Small(SmallDisk),
    Failing(FailingDisk),
}

/// A pool on a machine whose trouble can begin and end.
pub(super) struct Stage {
    // Fields go in this order: the server before its disk, the disk before its folder.
    pub(super) server: Server,
    disk: Option<Disk>,
    machine: BadMachine,
    failure: Failure,
    pub(super) google: SimulatedGoogle,
    /// Has a connection since before the trouble.
    pub(super) app: App,
    /// Likewise.
    pub(super) operator: Operator,
    unread: Option<crate::support::Unread>,
}

/// A machine before anything runs on it.
pub(super) struct Before {
    pub(super) setup: Setup,
    disk: Option<Disk>,
    machine: BadMachine,
    failure: Failure,
    pub(super) google: SimulatedGoogle,
}

impl Before {
    /// None where this machine cannot be so bad.
    pub(super) async fn of(failure: Failure) -> Option<Self> {
        let world = World::new().key("alpha", "AIza-good-1").key("beta", "AIza-good-2");
        let google = SimulatedGoogle::start(world).await.unwrap();
        let setup = Setup::new(&google, &["AIza-good-1", "AIza-good-2"]);
        let machine = BadMachine::new(setup.folder.path())?;
        let disk = match failure {
            Failure::Room => Some(Disk::Small(SmallDisk::on(&setup.data(), 8)?)),
            Failure::Writing => Some(Disk::Failing(FailingDisk::on(&setup.data())?)),
            _ => None,
        };
        Some(Self { setup: machine.under(setup), disk, machine, failure, google })
    }

    /// The trouble that a start meets; it has been started once before, and ended well.
    pub(super) fn trouble(&self) {
        self.begin(None);
    }

    fn begin(&self, server: Option<&Server>) {
        match (&self.disk, self.failure) {
            (Some(Disk::Small(disk)), _) => disk.fill(),
            (Some(Disk::Failing(disk)), _) => disk.fail(),
            (None, Failure::Speed) => self.machine.syncs_take(SLOW),
            (None, Failure::Time) => self.machine.clock_is_ahead(-BACK),
            (None, Failure::Descriptors) => {
                if let Some(server) = server {
                    few_descriptors(server.pid());
                }
            }
            (None, _) => {}
        }
    }

    pub(super) async fn run(self) -> Stage {
        let server = self.setup.clone().start();
        let (app, operator) = (server.app(), server.operator().await);
        // Connections that are there, both ways.
        assert_eq!(app.generate("gemini-2.5-flash", "before").await.0, 200);
        assert_eq!(operator.call(Method::GET, "/status", None).await.0, 200);
        self.begin(Some(&server));
        let unread = (self.failure == Failure::Reader).then(|| server.unread());
        let Self { disk, machine, failure, google, .. } = self;
        let stage = Stage { server, disk, machine, failure, google, app, operator, unread };
        if failure == Failure::Reader {
            stage.fill_the_pipe().await;
        }
        stage
    }
}

impl Stage {
    /// A pool in this trouble; none where this machine cannot be so bad.
    pub(super) async fn of(failure: Failure) -> Option<Self> {
        Some(Before::of(failure).await?.run().await)
    }

    /// Each request is a line of the log, and a pipe holds 64 KiB.
    async fn fill_the_pipe(&self) {
        for number in 0..400 {
            let (status, answer) = self.app.generate("gemini-2.5-flash", &format!("{number}")).await;
            assert_eq!(status, 200, "{answer}");
        }
    }

    /// Requests until the log has failed, where it does.
    pub(super) async fn until_it_shows(&self) {
        if !matches!(self.failure, Failure::Room | Failure::Writing) {
            return;
        }
        for _ in 0..1_000 {
            assert_eq!(self.app.generate("gemini-2.5-flash", "Hello").await.0, 200);
            if !self.ready().await {
                return;
            }
        }
        panic!("a thousand requests, and {:?} was not noticed", self.failure)
    }

    pub(super) async fn ready(&self) -> bool {
        self.app.http.get(format!("{}/readyz", self.server.origin)).send().await.unwrap().status() == 200
    }

    /// The pool is ready, within a minute.
    pub(super) async fn until_ready(&self) {
        let began = std::time::Instant::now();
        while !self.ready().await {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{:?} is over, and nothing heals",
                self.failure
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Changes a key; gives what was answered.
    pub(super) async fn change(&self) -> (u16, Value) {
        self.operator.call(Method::PATCH, "/keys/1", Some(json!({"label": "changed"}))).await
    }

    /// One sample of the metrics, without labels.
    pub(super) async fn sample(&self, name: &str) -> f64 {
        let answer = self.app.http.get(format!("{}/metrics", self.server.origin)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).trim().parse().unwrap()
    }

    /// The trouble is over.
    pub(super) fn end(&mut self) {
        match &self.disk {
            Some(Disk::Small(disk)) => disk.free(),
            // Nothing but a new mount makes it writable.
            Some(Disk::Failing(_)) => {}
            None => {}
        }
        self.machine.syncs_take(Duration::ZERO);
        self.machine.clock_is_ahead(0);
        if self.failure == Failure::Descriptors {
            crate::support::machine::many_descriptors(self.server.pid());
        }
        self.unread = None;
    }

    /// Stops it; gives the settings, what it said, how long it took, and the machine that they need.
    pub(super) async fn stop(self) -> (Setup, String, Duration, Arc<dyn std::any::Any + Send + Sync>) {
        let Self { server, disk, machine, google, app, operator, unread, .. } = self;
        drop((app, operator, http()));
        let began = std::time::Instant::now();
        let stop = tokio::task::spawn_blocking(move || server.stop_unread(unread));
        let (setup, said) = stop.await.unwrap();
        (setup, said, began.elapsed(), Arc::new((disk, machine, google)))
    }
}
