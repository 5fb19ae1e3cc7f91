//! A limit to what each place in the code may log, whoever causes it.
//!
//! Where clients can repeat a message, it has a limit of its own ([`super::logging::Repeat`]). This
//! one is for the places where nobody thought of that: without it, a client that toggles a property
//! could fill the journal.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use portraitd_media::clock::monotonic_ns;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that one place may log at once: each of 64 cameras logs a few when it starts.
const BURST: u64 = 256;
/// The time in which a place gains one more line, in nanoseconds.
const INTERVAL_NS: u64 = 500_000_000;

/// The module that has a limit for each user: one here, for all, would let one user hide others.
const JOURNAL: &str = "::journal";

/// What one place in the code has logged.
#[derive(Debug)]
struct Place {
    metadata: &'static Metadata<'static>,
    /// When the place has all of its lines again, in nanoseconds.
    full_ns: u64,
    left_out: u64,
}

/// What every place in the code has logged.
#[derive(Debug, Default)]
struct Places(HashMap<Identifier, Place>);

impl Places {
    /// Whether a line may be logged. One that may not is counted.
    fn admit(&mut self, metadata: &'static Metadata<'static>, now_ns: u64) -> bool {
        let place = self.0.entry(metadata.callsite()).or_insert(Place { metadata, full_ns: 0, left_out: 0 });
        let full_ns = place.full_ns.max(now_ns) + INTERVAL_NS;
        if full_ns - now_ns > BURST * INTERVAL_NS {
            place.left_out = place.left_out.saturating_add(1);
            return false;
        }
        place.full_ns = full_ns;
        true
    }

    /// The places whose lines were left out since the last call, with their number.
    fn take_left_out(&mut self) -> Vec<(&'static Metadata<'static>, u64)> {
        let places = self.0.values_mut().filter(|place| place.left_out > 0);
        places.map(|place| (place.metadata, std::mem::take(&mut place.left_out))).collect()
    }
}

static PLACES: LazyLock<Mutex<Places>> = LazyLock::new(Mutex::default);

fn places() -> MutexGuard<'static, Places> {
    // Nothing in this module panics while it holds the lock, and counts of lines are valid anyhow.
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops the events of a place that has logged too many. Events below the level `INFO` pass: nobody
/// sees these unless the administrator asks for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLimit;

impl<S: Subscriber> Layer<S> for LogLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::INFO
            || metadata.target().ends_with(JOURNAL)
            || places().admit(metadata, monotonic_ns())
    }
}

/// Logs how many lines were left out since the last call, one line for each place.
pub fn report_left_out() {
    let left_out = places().take_left_out();
    for (metadata, lines) in left_out {
        let (file, line) = (metadata.file().unwrap_or(metadata.target()), metadata.line().unwrap_or_default());
        warn!(lines, "lines of the log were left out, because there were too many from {file}:{line}");
    }
}

#[cfg(test)]
mod tests {
    use tracing::Callsite as _;

    use super::*;

    /// The metadata of a place in the code.
    macro_rules! place {
        () => {{
            let callsite = tracing::callsite! { name: "test", kind: tracing::metadata::Kind::EVENT, fields: };
            callsite.metadata()
        }};
    }

    #[test]
    fn a_place_has_a_burst_and_then_a_rate() {
        let (place, mut places) = (place!(), Places::default());
        let now = 1_000_000_000_000;
        assert_eq!((0..1000).filter(|_| places.admit(place, now)).count() as u64, BURST);
        assert_eq!(places.take_left_out().iter().map(|(_, lines)| *lines).collect::<Vec<_>>(), [1000 - BURST]);
        assert!(places.take_left_out().is_empty());
        assert!(!places.admit(place, now + INTERVAL_NS - 1));
        assert!(places.admit(place, now + INTERVAL_NS));
        assert!(!places.admit(place, now + INTERVAL_NS));
        let later = now + 2 * BURST * INTERVAL_NS;
        assert_eq!((0..1000).filter(|_| places.admit(place, later)).count() as u64, BURST);
    }

    #[test]
    fn places_do_not_share_a_limit() {
        let (one, other, mut places) = (place!(), place!(), Places::default());
        assert_eq!((0..1000).filter(|_| places.admit(one, 5)).count() as u64, BURST);
        assert!(places.admit(other, 5));
    }
}
