//! Owns a comparison's picture: an SVG without script or font of its own, for light and dark pages. Refuses to
//! count. Invariant: every bar is labelled with the number that it stands for.

use std::fmt::Write;

use super::{Comparison, ORACLE, OURS, Score, measure::Back};

/// In pixels.
const NAMES: f64 = 150.0;
const PANEL: f64 = 165.0;
const VALUE: f64 = 70.0;
const ROW: f64 = 30.0;
const TOP: f64 = 62.0;
const BAR: f64 = 16.0;

/// The page may be light or dark; the picture brings its own ground for both.
const STYLE: &str = "\
    svg { font: 13px system-ui, sans-serif }\n\
    .ground { fill: #ffffff } .text { fill: #1f2328 } .soft { fill: #59636e }\n\
    .other { fill: #8c959f } .ours { fill: #0969da } .oracle { fill: #1a7f37 } .axis { stroke: #d1d9e0 }\n\
    .strong { font-weight: 600 }\n\
    @media (prefers-color-scheme: dark) {\n\
      .ground { fill: #0d1117 } .text { fill: #f0f6fc } .soft { fill: #9198a1 }\n\
      .other { fill: #656c76 } .ours { fill: #4493f8 } .oracle { fill: #3fb950 } .axis { stroke: #3d444d }\n\
    }\n";

struct Panel {
    title: &'static str,
    below: &'static str,
    value: fn(&Score) -> f64,
    shown: fn(f64) -> String,
}

fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

fn seconds(value: f64) -> String {
    if value < 120.0 { format!("{value:.1} s") } else { format!("{:.0} min", value / 60.0) }
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "Wasted calls",
        below: "of all upstream calls",
        value: Score::wasted_share,
        shown: percent,
    },
    Panel {
        title: "Wrongly refused",
        below: "of all requests",
        value: Score::wrongly_refused_share,
        shown: percent,
    },
    Panel {
        title: "Back after a spent day",
        below: "mean, while it was needed",
        value: |score| score.lag(Back::Day).mean,
        shown: seconds,
    },
];

pub(super) fn svg(comparison: &Comparison) -> String {
    let rows = comparison.scores.len() as f64;
    let (step, height) = (PANEL + VALUE, TOP + rows * ROW + 14.0);
    let width = NAMES + step * PANELS.len() as f64 + 10.0;
    let seeds = comparison.seeds.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Policies compared over {seeds} seeds\">\n\
         <style>\n{STYLE}</style>\n<rect class=\"ground\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n"
    );
    let mut put = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = svg.write_fmt(text);
    };
    for (row, (name, _)) in (0..).map(f64::from).zip(&comparison.scores) {
        let (y, class) = (TOP + row * ROW + 18.0, if *name == OURS { "text strong" } else { "text" });
        put(format_args!("<text class=\"{class}\" x=\"12\" y=\"{y}\">{name}</text>\n"));
    }
    for (column, panel) in (0..).map(f64::from).zip(&PANELS) {
        let x = NAMES + column * step;
        put(format_args!("<text class=\"text strong\" x=\"{x}\" y=\"24\">{}</text>\n", panel.title));
        put(format_args!("<text class=\"soft\" x=\"{x}\" y=\"42\">{}</text>\n", panel.below));
        let values: Vec<f64> = comparison.scores.iter().map(|(_, score)| (panel.value)(score)).collect();
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (row, ((name, _), value)) in (0..).map(f64::from).zip(comparison.scores.iter().zip(&values)) {
            let class = match *name {
                OURS => "ours",
                ORACLE => "oracle",
                _ => "other",
            };
            let (y, bar) = (TOP + row * ROW + 5.0, PANEL * value / most);
            put(format_args!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{bar:.1}\" height=\"{BAR}\" rx=\"2\"/>\n"
            ));
            let (x, y, shown) = (x + bar + 6.0, y + 13.0, (panel.shown)(*value));
            put(format_args!("<text class=\"text\" x=\"{x:.1}\" y=\"{y}\">{shown}</text>\n"));
        }
        let bottom = TOP + rows * ROW;
        put(format_args!("<line class=\"axis\" x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{bottom}\"/>\n"));
    }
    svg.push_str("</svg>\n");
    svg
}
