//! Progress bars, which appear on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar with the label `what`. Without `total` it counts the steps. If standard error is
/// not a terminal, nothing is drawn.
pub(super) fn bar(what: &str, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template =
        if total.is_some() { "{msg} {wide_bar} {pos}/{len} {eta}" } else { "{msg} {spinner} {pos} {per_sec}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
