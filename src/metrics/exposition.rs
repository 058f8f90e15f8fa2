//! Every metric there is: what it is called, what it means, where it comes from.
//!
//! What is needed is copied first, under the state's lock, and written down after that.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
};

use projections::{
    Millis, State,
    event::Window,
    keys::{Condition, Gate},
    statistics::{Bucket, OTHER, Requests, Sums, counts::Histogram},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::process;
use crate::{
    descriptors,
    gauges::{Connections, Now},
    ledger::Vitals,
    logging,
    pool::Pool,
    words::word,
};

/// Powers of two that part times in milliseconds: 16 ms to 17 minutes.
const MILLIS: std::ops::RangeInclusive<u32> = 4..=20;
/// The same for times in microseconds: 64 µs to 4 s.
const MICROS: std::ops::RangeInclusive<u32> = 6..=22;

/// What is copied of the state and the rest.
#[derive(Debug)]
struct Seen {
    total: Bucket,
    methods: BTreeMap<String, Requests>,
    models: Vec<(String, Sums)>,
    keys: BTreeMap<&'static str, u64>,
    gates: BTreeMap<(&'static str, &'static str), u64>,
    projects: usize,
    now: Option<Now>,
    vitals: Vitals,
    log_failed: bool,
    unrecorded: u64,
    gaps: u64,
    unrecorded_in_gaps: u64,
    readers: usize,
    looked_up: u64,
    connections: Option<Connections>,
    started: Millis,
}

/// The whole text.
pub(super) fn text(pool: &Pool) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Seen::look(pool)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

fn state_name(condition: Condition) -> &'static str {
    match condition {
        Condition::Ready => "ready",
        Condition::Cooling => "cooling",
        Condition::Failed => "failed",
        Condition::Disabled => "disabled",
    }
}

fn window_name(window: Window) -> &'static str {
    match window {
        Window::Minute => "minute",
        Window::Day => "day",
        Window::Spend => "spend",
        Window::Offer => "offer",
        Window::Unknown => "unknown",
        Window::Tokens => "tokens",
    }
}

/// Closed gates, by what they stand before; those for single models by window too.
fn closed_gates(state: &State, now: Millis) -> BTreeMap<(&'static str, &'static str), u64> {
    let windows =
        [Window::Minute, Window::Tokens, Window::Day, Window::Spend, Window::Offer, Window::Unknown];
    let mut gates: BTreeMap<_, u64> = windows.map(|window| (("model", window_name(window)), 0)).into();
    gates.extend(["key", "method", "project", "upstream"].map(|scope| ((scope, ""), 0)));
    let mut count = |scope, window, gate: &Gate| {
        *gates.entry((scope, window)).or_default() += u64::from(gate.is_closed(now));
    };
    for key in state.keys.iter() {
        key.gate.iter().for_each(|gate| count("key", "", gate));
        key.methods.values().for_each(|gate| count("method", "", gate));
    }
    for (_, project) in state.keys.projects() {
        project.gate.iter().for_each(|gate| count("project", "", gate));
        for (window, gate) in project.models.values().flatten() {
            count("model", window_name(*window), gate);
        }
    }
    state.keys.upstreams().filter_map(|(_, upstream)| upstream.gate.as_ref()).for_each(|gate| {
        count("upstream", "", gate);
    });
    gates
}

impl Seen {
    fn look(pool: &Pool) -> Self {
        let now = pool.clock.now();
        let state = pool.ledger.state();
        let statistics = &state.statistics;
        let mut keys: BTreeMap<_, u64> =
            ["ready", "cooling", "failed", "disabled"].map(|name| (name, 0)).into();
        for key in state.keys.iter() {
            *keys.entry(state_name(state.keys.condition(key, now))).or_default() += 1;
        }
        let mut models: Vec<_> =
            statistics.models.iter().map(|(name, track)| (name.clone(), track.total)).collect();
        models.push((OTHER.to_owned(), statistics.models.other().total));
        let seen = Self {
            total: statistics.total.clone(),
            methods: statistics.methods.clone(),
            models,
            keys,
            gates: closed_gates(&state, now),
            projects: state.keys.projects().count(),
            now: None,
            vitals: pool.ledger.vitals(),
            log_failed: pool.ledger.failure().is_some(),
            unrecorded: pool.ledger.unrecorded(),
            gaps: state.gaps.count,
            unrecorded_in_gaps: state.gaps.unrecorded,
            readers: pool.feed.readers(),
            looked_up: pool.feed.looked_up(),
            connections: pool.gauges.connections(),
            started: pool.gauges.started(),
        };
        drop(state);
        Self { now: pool.gauges.now(), ..seen }
    }
}

/// A family of numbers, each under its labels.
fn each<M: EncodeMetric, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    numbers: impl IntoIterator<Item = (L, M)>,
    kind: MetricType,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, number) in numbers {
        number.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    named: (&str, &str),
    numbers: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let numbers = numbers.into_iter().map(|(labels, number)| (labels, ConstCounter::new(number)));
    each(encoder, named, numbers, MetricType::Counter)
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    named: (&str, &str),
    numbers: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let numbers = numbers
        .into_iter()
        .map(|(labels, number)| (labels, ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX))));
    each(encoder, named, numbers, MetricType::Gauge)
}

/// One sum without labels.
fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, number: u64) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(number).encode(metric)
}

/// One number without labels.
fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, number: u64) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX)).encode(metric)
}

/// Times, parted at powers of two of `unit` seconds.
fn times(
    encoder: &mut DescriptorEncoder<'_>,
    named: (&str, &str),
    histogram: &Histogram,
    bits: std::ops::RangeInclusive<u32>,
    unit: f64,
) -> fmt::Result {
    let mut before = 0;
    let mut buckets = Vec::new();
    for edge in bits.map(|bit| 1u64 << bit) {
        let below = histogram.below(edge);
        buckets.push((edge as f64 * unit, below - before));
        before = below;
    }
    buckets.push((f64::INFINITY, histogram.count() - before));
    let mut metric = encoder.encode_descriptor(named.0, named.1, None, MetricType::Histogram)?;
    let sum = histogram.sum_ms() as f64 * unit;
    metric.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)
}

impl Seen {
    fn traffic(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let total = &self.total;
        let requests = self.methods.iter().flat_map(|(method, requests)| {
            let named = requests.named().into_iter();
            named.map(move |(outcome, count)| ([("method", method.as_str()), ("outcome", outcome)], count))
        });
        let name = "gemini_pool_requests";
        counters(
            encoder,
            (name, "Client requests that ended, by the RPC's name and how they ended"),
            requests,
        )?;
        let classes = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(total.classes);
        counters(
            encoder,
            ("gemini_pool_responses", "Client requests that ended, by the status that the client saw"),
            classes.map(|(class, count)| ([("class", class)], count)),
        )?;
        counters(
            encoder,
            ("gemini_pool_attempts", "Upstream tries that ended, by what they came to"),
            total.verdicts.iter().map(|(verdict, count)| ([("verdict", word(verdict))], count)),
        )?;
        let help = "Upstream tries that came to nothing, and not by the client's doing";
        counter(encoder, "gemini_pool_attempts_wasted", help, total.wasted())?;
        let tokens = &total.tokens;
        let kinds = [
            ("prompt", tokens.prompt),
            ("output", tokens.output),
            ("thoughts", tokens.thoughts),
            ("cached", tokens.cached),
        ];
        counters(
            encoder,
            ("gemini_pool_tokens", "Tokens as Google counted them; cached ones are prompt tokens too"),
            kinds.map(|(kind, count)| ([("kind", kind)], count)),
        )?;
        let bytes =
            [("sent", total.bytes_sent), ("received", total.bytes_received), ("served", total.bytes_served)];
        counters(
            encoder,
            (
                "gemini_pool_body_bytes",
                "Bytes of bodies: sent to Google, received from it, served to clients",
            ),
            bytes.map(|(direction, count)| ([("direction", direction)], count)),
        )?;
        for (name, help, number) in [
            (
                "gemini_pool_model_requests",
                "Client requests that ended, by model",
                (|sums| sums.count) as fn(&Sums) -> u64,
            ),
            ("gemini_pool_model_errors", "Of those, the ones that failed, whoever is to blame", |sums| {
                sums.errors
            }),
            ("gemini_pool_model_tokens", "Tokens that are paid for, by model", |sums| sums.tokens),
        ] {
            let models = self.models.iter().map(|(model, sums)| ([("model", model.as_str())], number(sums)));
            counters(encoder, (name, help), models)?;
        }
        let name = "gemini_pool_first_byte_seconds";
        let help = "From a request's arrival to the first byte of a good answer";
        times(encoder, (name, help), &total.first_byte, MILLIS, 1e-3)?;
        let help = "From a request's arrival to the end of a good answer";
        times(encoder, ("gemini_pool_request_duration_seconds", help), &total.duration, MILLIS, 1e-3)?;
        let help = "How long requests waited for a key, those that did";
        times(encoder, ("gemini_pool_queue_wait_seconds", help), &total.waited, MILLIS, 1e-3)
    }

    fn pool(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|(state, count)| ([("state", *state)], *count));
        gauges(encoder, ("gemini_pool_keys", "Upstream keys, by state"), keys)?;
        gauge(
            encoder,
            "gemini_pool_projects",
            "Google projects that own the keys' quotas",
            self.projects as u64,
        )?;
        gauges(
            encoder,
            ("gemini_pool_gates_closed", "Closed gates, by what they stand before, and the quota's window"),
            self.gates
                .iter()
                .map(|((scope, window), count)| ([("scope", *scope), ("window", *window)], *count)),
        )?;
        let Some(now) = self.now else { return Ok(()) };
        let help = "Client requests under way, those that wait included";
        gauge(encoder, "gemini_pool_in_flight", help, now.in_flight as u64)?;
        gauge(encoder, "gemini_pool_queue_length", "Requests that wait for a key", now.waiting as u64)?;
        let help = "Costly tries that the whole pool may repeat right now";
        gauge(encoder, "gemini_pool_retry_budget", help, now.retries_left)
    }

    fn log(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Vitals { head, synced, queued, ahead, syncs, .. } = &self.vitals;
        gauge(encoder, "gemini_pool_log_head", "The last event in the log", *head)?;
        let help = "Facts and commands that are not in the log and the state yet";
        gauge(encoder, "gemini_pool_log_queued", help, *queued as u64)?;
        let help = "Events in the log that are not known to be on the disk yet";
        gauge(encoder, "gemini_pool_log_unsynced", help, head.saturating_sub(*synced))?;
        times(encoder, ("gemini_pool_log_sync_seconds", "How long the disk took"), syncs, MICROS, 1e-6)?;
        let help = "Answers that went out before their records were written, because the log stood still";
        counter(encoder, "gemini_pool_log_answers_ahead", help, *ahead)?;
        let help = "1: the log takes no writes, until it is opened anew";
        gauge(encoder, "gemini_pool_log_failed", help, u64::from(self.log_failed))?;
        let help = "Events that could not be recorded since the log failed; 0 again when it goes on";
        counter(encoder, "gemini_pool_unrecorded", help, self.unrecorded)?;
        let help = "Times in which the log took no writes, as it tells itself";
        counter(encoder, "gemini_pool_log_gaps", help, self.gaps)?;
        let help = "Events of all these times that are not recorded";
        counter(encoder, "gemini_pool_log_gaps_unrecorded", help, self.unrecorded_in_gaps)
    }

    fn checkpoints(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Vitals { head, checkpoint, checkpoints, checkpoints_failed, .. } = &self.vitals;
        let help = "The event that the newest checkpoint of the state stands behind; 0: there is none";
        gauge(encoder, "gemini_pool_checkpoint_event", help, *checkpoint)?;
        let help = "Events since the newest checkpoint: what a start after a crash has to fold";
        gauge(encoder, "gemini_pool_checkpoint_age_events", help, head.saturating_sub(*checkpoint))?;
        let name = "gemini_pool_checkpoint_seconds";
        times(encoder, (name, "How long checkpoints took to be written"), checkpoints, MILLIS, 1e-3)?;
        let help = "Checkpoints that could not be written";
        counter(encoder, "gemini_pool_checkpoint_failures", help, *checkpoints_failed)
    }

    fn feed(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Readers of the live feed";
        gauge(encoder, "gemini_pool_feed_readers", help, self.readers as u64)?;
        let help = "Pages of the log that were read for readers behind the latest events";
        counter(encoder, "gemini_pool_feed_rereads", help, self.looked_up)
    }
}

impl Seen {
    fn doors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Lines of the program's own log that were dropped because nobody read it";
        counter(encoder, "gemini_pool_own_log_dropped_lines", help, logging::dropped())?;
        let Some(connections) = self.connections else { return Ok(()) };
        let Connections { open, most, closed_for_room, closed_late, refused, held_bytes } = connections;
        gauge(encoder, "gemini_pool_connections", "Clients' connections that are open", open as u64)?;
        gauge(encoder, "gemini_pool_connections_most", "How many there may be", most as u64)?;
        counters(
            encoder,
            ("gemini_pool_connections_closed", "Connections without a request that were closed, by reason"),
            [([("reason", "room")], closed_for_room), ([("reason", "late")], closed_late)],
        )?;
        let help = "Connections that were not taken because all others had a request under way";
        counter(encoder, "gemini_pool_connections_refused", help, refused)?;
        let help = "Bytes of unfinished heads, and of the buffers that idle connections keep";
        gauge(encoder, "gemini_pool_heads_bytes", help, held_bytes as u64)
    }
}

impl Collector for Seen {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let mut build =
            encoder.encode_descriptor("gemini_pool_build", "The program", None, MetricType::Info)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        self.traffic(encoder)?;
        self.pool(encoder)?;
        self.log(encoder)?;
        self.checkpoints(encoder)?;
        self.feed(encoder)?;
        self.doors(encoder)?;
        if let Some(open) = process::open_descriptors() {
            gauge(encoder, "process_open_fds", "Open file descriptors", open)?;
            gauge(encoder, "process_max_fds", "How many there may be", descriptors::limit() as u64)?;
        }
        if let Some(bytes) = process::resident_memory() {
            gauge(encoder, "process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        let seconds = u64::try_from(self.started / 1_000).unwrap_or(0);
        let help = "When the pool was opened, in seconds since 1970";
        gauge(encoder, "process_start_time_seconds", help, seconds)
    }
}
