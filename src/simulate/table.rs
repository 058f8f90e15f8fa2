//! Owns how a comparison is shown to people. Refuses to count. Invariant: every number shown is one of the
//! scores', rounded.

use std::fmt::Write;

use super::{Comparison, ORACLE, OURS, Score, measure::Back};

/// Lays rows out in columns; the first is to the left, the others to the right.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn of(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

pub(super) fn table(comparison: &Comparison) -> String {
    let header = [
        "policy",
        "requests",
        "served",
        "wrongly refused",
        "calls",
        "wasted",
        "wasted share",
        "wasted ÷ oracle's calls",
        "storm 503s",
    ];
    let oracle = comparison.score(ORACLE);
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (name, score) in &comparison.scores {
        rows.push(vec![
            (*name).to_owned(),
            score.requests.to_string(),
            percent(score.served_share()),
            percent(score.wrongly_refused_share()),
            score.calls.to_string(),
            score.wasted.to_string(),
            percent(score.wasted_share()),
            percent(of(score.wasted, oracle.calls)),
            score.storm_errors.to_string(),
        ]);
    }
    let mut text = format!(
        "{}\nFrom \"can serve again\" to \"serves\", in seconds: mean / 95th percentile / longest (how many, and how \
         many of them never did):\n\n",
        columns(&rows)
    );
    let header = Back::ALL.map(|kind| format!("after a {}", kind.name()));
    let mut rows = vec![std::iter::once("policy".to_owned()).chain(header).collect::<Vec<_>>()];
    for (name, score) in &comparison.scores {
        let cells = Back::ALL.map(|kind| {
            let (lag, never) = (score.lag(kind), score.never.get(&kind).copied().unwrap_or_default());
            format!("{:.1} / {:.1} / {:.1} ({}, {never})", lag.mean, lag.p95, lag.max, lag.count)
        });
        rows.push(std::iter::once((*name).to_owned()).chain(cells).collect());
    }
    text.push_str(&columns(&rows));
    text.push_str(&causes(&comparison.score(OURS)));
    text
}

/// Why the pool wasted calls and refused requests, the most frequent first.
fn causes(ours: &Score) -> String {
    let mut waste: Vec<_> = ours.waste.iter().collect();
    waste.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut rows = vec![
        ["refused for", "calls", "of all calls", "told how", "what could be known"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (cause, count) in waste {
        rows.push(vec![
            cause.refused.to_owned(),
            count.to_string(),
            percent(of(*count, ours.calls)),
            cause.style.to_owned(),
            cause.ground.name().to_owned(),
        ]);
    }
    let mut text = format!("\nWasted calls of {OURS}, by cause:\n\n{}", columns(&rows));
    let mut obstacles: Vec<_> = ours.obstacles.iter().collect();
    obstacles.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut rows =
        vec![["kept from a project that could serve by", "requests", "of all"].map(str::to_owned).to_vec()];
    for (cause, count) in obstacles {
        rows.push(vec![cause.clone(), count.to_string(), percent(of(*count, ours.requests))]);
    }
    text.push_str(&format!("\nWrongly refused requests of {OURS}, by cause:\n\n{}", columns(&rows)));
    text
}
