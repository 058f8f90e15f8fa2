//! How far long work has come, on a terminal; nowhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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

fn styled(bar: ProgressBar, what: &'static str, template: &str) -> ProgressBar {
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    bar.with_message(what)
}
