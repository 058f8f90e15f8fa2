//! How far long work has come, on a terminal; nowhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two steps of a spinner.
const STEP: Duration = Duration::from_millis(100);

/// A bar, or nothing where standard error is no terminal.
pub(super) fn bar(of: u64, what: &'static str) -> ProgressBar {
    styled(
        ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr()),
        what,
        "{wide_bar} {human_pos}/{human_len} {msg}, {eta}",
    )
}

/// Where nobody knows how much there will be: bytes so far.
pub(super) fn bytes(what: &'static str) -> ProgressBar {
    styled(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()), what, "{spinner} {bytes} {msg}")
}

/// Where it is one step, and takes as long as it takes.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    let bar = styled(
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
        what,
        "{spinner} {msg}, {elapsed}",
    );
    bar.enable_steady_tick(STEP);
    bar
}

fn styled(bar: ProgressBar, what: &'static str, template: &str) -> ProgressBar {
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    bar.with_message(what)
}
