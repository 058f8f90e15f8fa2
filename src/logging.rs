//! The program's own log: for people on a terminal, JSON lines elsewhere; always on standard error.
//!
//! One thread writes to standard error. Everybody else puts lines into a buffer and goes on, so whoever reads the log
//! can be slow, paused or gone, and no request notices. Lines wait up to [`DELAY`] for others, because a write for each
//! request would cost more than choosing its key. Its invariant: nobody waits for the reader of the log, except the end
//! of the program, and that for [`LAST_WRITE`] at most. Lines that find the buffer full are dropped and counted; the
//! log says how many once it is read again.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
    mem,
    panic::PanicHookInfo,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use tracing_subscriber::{
    EnvFilter, fmt, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::locks::{Condvar, Mutex, Rank};

/// How long a line may wait for others.
pub const DELAY: Duration = Duration::from_millis(50);
/// Lines that wait for the reader, in bytes; more are dropped.
pub const ROOM: usize = 1 << 20;
/// How long the end of the program waits for the reader.
pub const LAST_WRITE: Duration = Duration::from_secs(1);
/// So many bytes are written without waiting for more.
const FULL: usize = 64 << 10;
/// Room for the line that says how many were dropped.
const NOTICE: usize = 4 << 10;
/// How long a thread that panics waits for its last words to be out: the next ones may abort the process.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Lines that were dropped since the start.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log nobody will ever read.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

#[derive(Default)]
struct Gathered {
    lines: Vec<u8>,
    /// Lines that were dropped, and of which the log has not said so.
    dropped: u64,
    /// Who writes to standard error.
    writer: Option<ThreadId>,
    /// The writer has lines of its own that are not out.
    writing: bool,
    over: bool,
}

struct Inner {
    gathered: Mutex<Gathered>,
    some: Condvar,
    /// Nothing is left to be written.
    none: Condvar,
}

impl Default for Inner {
    fn default() -> Self {
        let gathered = Mutex::ranked(Rank::OwnLog, Gathered::default());
        Self { gathered, some: Condvar::new(), none: Condvar::new() }
    }
}

impl Inner {
    fn put(&self, line: &[u8]) {
        let mut gathered = self.gathered.lock();
        let before = gathered.lines.len();
        let after = before + line.len();
        let fits = after <= ROOM
            || (after <= ROOM + NOTICE && gathered.writer.is_some_and(|id| id == thread::current().id()));
        if !fits {
            gathered.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        gathered.lines.extend_from_slice(line);
        if before == 0 || (before < FULL && after >= FULL) {
            self.some.notify_one();
        }
    }

    /// Waits until everything is out, but no longer than this.
    fn flush(&self, patience: Duration) {
        let waits = |gathered: &mut Gathered| gathered.writing || !gathered.lines.is_empty();
        self.none.wait_while_for(&mut self.gathered.lock(), waits, patience);
    }

    /// The writer's whole life.
    fn write_all(&self) {
        let mut batch = Vec::new();
        let mut next = Instant::now();
        self.gathered.lock().writer = Some(thread::current().id());
        loop {
            let mut gathered = self.gathered.lock();
            gathered.writing = false;
            while gathered.lines.is_empty() {
                self.none.notify_all();
                if gathered.over {
                    return;
                }
                self.some.wait(&mut gathered);
            }
            let more = |gathered: &mut Gathered| !gathered.over && gathered.lines.len() < FULL;
            let rest = next.saturating_duration_since(Instant::now());
            self.some.wait_while_for(&mut gathered, more, rest);
            mem::swap(&mut gathered.lines, &mut batch);
            let dropped = mem::take(&mut gathered.dropped);
            gathered.writing = true;
            drop(gathered);
            write_out(&batch);
            batch.clear();
            batch.shrink_to(FULL);
            next = Instant::now() + DELAY;
            if dropped > 0 {
                tracing::warn!(
                    lines = dropped,
                    "{dropped} lines of this log were dropped because nobody read it"
                );
            }
        }
    }
}

/// Writes to standard error, however long that takes.
#[expect(clippy::disallowed_methods, reason = "this thread does nothing else, and no request waits for it")]
fn write_out(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::stderr().write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program that has the same terminal or pipe made it so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(DELAY),
            // The reader is gone for good: nobody is left to be told.
            Err(_) => {
                let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
                DROPPED.fetch_add(lines, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Where lines are put; a clone for every layer.
#[derive(Clone, Default)]
struct Lines(Arc<Inner>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What the program says when it serves, as `EnvFilter` directives: more where DEBUG is true.
#[must_use]
pub const fn level(debug: bool) -> &'static str {
    if debug { "gemini_pool=debug,warn" } else { "gemini_pool=info,warn" }
}

/// Changes how much the log says.
#[derive(Clone)]
pub struct Switch(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl Switch {
    /// Logs at this level (an `EnvFilter` directive).
    pub fn set(&self, level: &str) {
        (self.0)(EnvFilter::new(level));
    }
}

/// Says things on standard error as they are, in their place among the log's lines.
#[derive(Clone)]
pub struct Teller(Lines);

impl Teller {
    /// Says a text of one or more lines.
    pub fn say(&self, text: &str) {
        self.0.0.put(format!("{text}\n").as_bytes());
    }
}

/// Writes out what waits when the program ends; keep it until then.
#[must_use]
pub struct Guard(Lines);

impl Guard {
    /// Says other things than the log's lines.
    #[must_use]
    pub fn teller(&self) -> Teller {
        Teller(self.0.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.gathered.lock().over = true;
        self.0.0.some.notify_one();
        self.0.0.flush(LAST_WRITE);
    }
}

/// Begins logging at this level (an `EnvFilter` directive). Panics are logged from here on: the hook that comes with
/// the language waits for the reader of standard error.
pub fn start(level: &str) -> (Guard, Switch) {
    let lines = Lines::default();
    let (filter, handle) = reload::Layer::new(EnvFilter::new(level));
    // It fails where the log is gone, and then there is nobody to tell.
    let switch = Switch(Arc::new(move |filter| drop(handle.reload(filter))));
    let registry = tracing_subscriber::registry().with(filter);
    if io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(lines.clone())).init();
    } else {
        registry.with(fmt::layer().with_writer(lines.clone()).json().flatten_event(true)).init();
    }
    let inner = Arc::clone(&lines.0);
    // Without a thread nothing is written, and what is said is counted as dropped once the buffer is full.
    let _ = thread::Builder::new().name("logging".to_owned()).spawn(move || inner.write_all());
    let inner = Arc::clone(&lines.0);
    std::panic::set_hook(Box::new(move |panic| {
        say_panic(panic);
        inner.flush(LAST_WORDS);
    }));
    (Guard(lines), switch)
}

fn say_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("no message");
    // Nothing is captured unless RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread, location, backtrace, "a thread panicked: {message}");
}
