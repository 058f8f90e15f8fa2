//! The program's own log: for people on a terminal, JSON lines elsewhere; always on standard error.
//!
//! Away from a terminal lines are gathered for a moment, because a write for each
//! request would cost more than choosing its key. Its invariant: a line is out
//! within [`DELAY`], or at once when nothing was written for so long.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing_subscriber::{
    EnvFilter, fmt, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::locks::{Condvar, Mutex};

/// How long a line may wait for others.
pub const DELAY: Duration = Duration::from_millis(50);
/// So many bytes are written without waiting.
const FULL: usize = 64 << 10;

#[derive(Default)]
struct Gathered {
    lines: Vec<u8>,
    written: Option<Instant>,
    over: bool,
}

#[derive(Default)]
struct Inner {
    gathered: Mutex<Gathered>,
    some: Condvar,
}

impl Inner {
    /// Nobody is left to be told when standard error is gone.
    fn write_out(gathered: &mut Gathered) {
        let _ = io::stderr().write_all(&gathered.lines);
        gathered.lines.clear();
        gathered.written = Some(Instant::now());
    }
}

/// Gathers lines; a clone for every writer.
#[derive(Clone, Default)]
struct Lines(Arc<Inner>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut gathered = self.0.gathered.lock();
        let first = gathered.lines.is_empty();
        gathered.lines.extend_from_slice(line);
        let quiet = gathered.written.is_none_or(|written| written.elapsed() >= DELAY);
        if quiet || gathered.over || gathered.lines.len() >= FULL {
            Inner::write_out(&mut gathered);
        } else if first {
            self.0.some.notify_one();
        }
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

/// Says more, or less, from now on.
#[derive(Clone)]
pub struct Switch(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl Switch {
    /// Logs at this level (an `EnvFilter` directive).
    pub fn set(&self, level: &str) {
        (self.0)(EnvFilter::new(level));
    }
}

/// Writes out what waits when the program ends; keep it until then.
#[must_use]
pub struct Guard(Lines);

impl Drop for Guard {
    fn drop(&mut self) {
        let mut gathered = self.0.0.gathered.lock();
        gathered.over = true;
        Inner::write_out(&mut gathered);
        self.0.0.some.notify_one();
    }
}

/// Begins logging at this level (an `EnvFilter` directive).
pub fn start(level: &str) -> (Guard, Switch) {
    let lines = Lines::default();
    let (filter, handle) = reload::Layer::new(EnvFilter::new(level));
    // It fails where the log is gone, and then there is nobody to tell.
    let switch = Switch(Arc::new(move |filter| drop(handle.reload(filter))));
    let registry = tracing_subscriber::registry().with(filter);
    if io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(io::stderr)).init();
        return (Guard(lines), switch);
    }
    registry.with(fmt::layer().with_writer(lines.clone()).json().flatten_event(true)).init();
    let inner = Arc::clone(&lines.0);
    let writer = std::thread::Builder::new().name("logging".to_owned()).spawn(move || {
        let mut gathered = inner.gathered.lock();
        while !gathered.over {
            if gathered.lines.is_empty() {
                inner.some.wait(&mut gathered);
            }
            // More may come meanwhile; the end of the program is told at once.
            inner.some.wait_while_for(&mut gathered, |gathered| !gathered.over, DELAY);
            Inner::write_out(&mut gathered);
        }
    });
    if writer.is_err() {
        lines.0.gathered.lock().over = true;
    }
    (Guard(lines), switch)
}
