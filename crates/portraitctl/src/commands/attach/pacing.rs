//! A constant rate of pictures from frames that come when they come.
//!
//! Time is an argument: a clock in nanoseconds that never goes back. It is the time at which frames
//! arrive and not that of their capture, so that neither a slow net nor a wrong stamp matters.

/// The last picture is repeated when the next one is late by this number of places. A frame that is
/// a little late is thus not displaced by a repetition.
const PATIENCE: u64 = 2;
/// If more than this is missing, it is left out: this process was stopped, and nobody waits for what
/// was missed.
const MAX_GAP_NS: u64 = 2_000_000_000;

/// A rate in pictures a second, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub numerator: u32,
    pub denominator: u32,
}

impl Rate {
    /// The rate that is nearest to `rate`, of those that cameras have: whole numbers, multiples of
    /// 1000/1001, and thousandths. `None` for a rate outside 0.1 to 240.
    pub(super) fn nearest(rate: f64) -> Option<Self> {
        let rate = Some(rate).filter(|rate| (0.1..=240.0).contains(rate))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in the range above")]
        let rounded = |value: f64| value.round() as u32;
        let whole = rounded(rate).max(1);
        if (rate - f64::from(whole)).abs() < 1e-3 {
            return Some(Self { numerator: whole, denominator: 1 });
        }
        if (rate - f64::from(whole) / 1.001).abs() < 1e-3 {
            return Some(Self { numerator: whole * 1000, denominator: 1001 });
        }
        Some(Self { numerator: rounded(rate * 1000.0), denominator: 1000 })
    }

    /// The time of `pictures` pictures, in nanoseconds.
    fn span_ns(self, pictures: u64) -> u64 {
        let span = u128::from(pictures) * u128::from(self.denominator) * 1_000_000_000 / u128::from(self.numerator);
        u64::try_from(span).unwrap_or(u64::MAX)
    }

    /// The number of whole pictures in `span_ns`.
    fn pictures(self, span_ns: u64) -> u64 {
        let pictures =
            u128::from(span_ns) * u128::from(self.numerator) / (u128::from(self.denominator) * 1_000_000_000);
        u64::try_from(pictures).unwrap_or(u64::MAX)
    }
}

/// What to write when a frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The number of times that the picture before is written once more.
    pub repeats: u64,
    /// Whether the frame is written.
    pub frame: bool,
}

/// Decides how often each frame is written. A frame goes to the place of its time, and may be up to
/// one place away from it, so that frames whose times are uneven, or whose rate differs little, are
/// not repeated and dropped in turns.
#[derive(Debug)]
pub(super) struct Pacing {
    rate: Rate,
    /// The time of the first picture; `None` before it.
    origin_ns: Option<u64>,
    /// The number of pictures written.
    written: u64,
    pub repeated: u64,
    pub dropped: u64,
}

impl Pacing {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, origin_ns: None, written: 0, repeated: 0, dropped: 0 }
    }

    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// The time of the next picture. If too much is missing before `now_ns`, the clock is set on.
    fn next_ns(&mut self, now_ns: u64) -> u64 {
        let origin_ns = *self.origin_ns.get_or_insert(now_ns);
        let next_ns = origin_ns.saturating_add(self.rate.span_ns(self.written));
        if now_ns.saturating_sub(next_ns) <= MAX_GAP_NS {
            return next_ns;
        }
        self.origin_ns = Some(origin_ns + (now_ns - next_ns));
        now_ns
    }

    /// A frame has come. What is due counts as written.
    pub(super) fn frame(&mut self, now_ns: u64) -> Due {
        let next_ns = self.next_ns(now_ns);
        if now_ns.saturating_add(self.rate.span_ns(1)) <= next_ns {
            self.dropped += 1;
            return Due { repeats: 0, frame: false };
        }
        let repeats = self.rate.pictures(now_ns.saturating_sub(next_ns));
        self.written += repeats + 1;
        self.repeated += repeats;
        Due { repeats, frame: true }
    }

    /// When the last picture is due once more, if no frame comes; `None` before the first.
    pub(super) fn repeat_at_ns(&self) -> Option<u64> {
        Some(self.origin_ns?.saturating_add(self.rate.span_ns(self.written + PATIENCE)))
    }

    /// The last picture is written once more.
    pub(super) fn repeat(&mut self, now_ns: u64) {
        self.next_ns(now_ns);
        self.written += 1;
        self.repeated += 1;
    }

    /// Writing the last pictures has taken `spent_ns`. If the reader takes longer than the rate
    /// allows, its time passes more slowly: else it would be given more and more repetitions.
    pub(super) fn wrote(&mut self, pictures: u64, spent_ns: u64) {
        let late_ns = spent_ns.saturating_sub(self.rate.span_ns(pictures));
        self.origin_ns = self.origin_ns.map(|origin| origin.saturating_add(late_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRTY: Rate = Rate { numerator: 30, denominator: 1 };
    const MS: u64 = 1_000_000;

    /// What is written for frames at these times.
    fn written(pacing: &mut Pacing, times: impl IntoIterator<Item = u64>) -> Vec<Due> {
        times.into_iter().map(|at| pacing.frame(at)).collect()
    }

    const ONCE: Due = Due { repeats: 0, frame: true };

    #[test]
    fn frames_at_the_rate_are_written_once_although_their_times_are_uneven() {
        let mut pacing = Pacing::new(THIRTY);
        // As a camera's are: 10 ms early and late in turns, and the first one early.
        let times = (0..3000u64).map(|i| 1_000 * MS + i * 100 * MS / 3 + if i % 2 == 0 { 0 } else { 20 * MS });
        assert!(written(&mut pacing, times).iter().all(|due| *due == ONCE));
        assert_eq!((pacing.written(), pacing.repeated, pacing.dropped), (3000, 0, 0));
    }

    #[test]
    fn slower_frames_are_repeated_and_faster_ones_dropped_evenly() {
        for (every_ms, repeated, dropped) in [(100, 2, 0), (10, 0, 2)] {
            let mut pacing = Pacing::new(THIRTY);
            let due = written(&mut pacing, (0..300u64).map(|i| 5_000 * MS + i * every_ms * MS));
            let seconds = 300.0 * every_ms as f64 / 1000.0;
            assert!((pacing.written() as f64 - seconds * 30.0).abs() <= 2.0, "{every_ms} ms: {}", pacing.written());
            for four in due[1..].windows(4) {
                let sum = four.iter().map(|due| due.repeats).max().expect("four");
                assert!(sum <= repeated, "{every_ms} ms: {four:?}");
                assert!(four.iter().filter(|due| !due.frame).count() <= dropped + 1, "{every_ms} ms: {four:?}");
            }
        }
    }

    #[test]
    fn a_small_difference_of_rates_is_one_repetition_and_not_a_flicker() {
        let mut pacing = Pacing::new(THIRTY);
        // 29.97 a second for 100 s, with uneven times.
        let times = (0..2997u64).map(|i| i * 33_366_667 + if i % 3 == 0 { 8 * MS } else { 0 });
        written(&mut pacing, times);
        assert_eq!(pacing.dropped, 0);
        assert!((2..=4).contains(&pacing.repeated), "{}", pacing.repeated);
    }

    #[test]
    fn silence_is_filled_and_the_frame_after_it_comes_at_its_time() {
        let mut pacing = Pacing::new(THIRTY);
        assert_eq!(pacing.repeat_at_ns(), None);
        assert_eq!(pacing.frame(0), ONCE);
        let mut now = 0;
        while let Some(at) = pacing.repeat_at_ns()
            && at < 10_000 * MS
        {
            assert!(at > now);
            now = at;
            pacing.repeat(now);
        }
        // Ten seconds have passed, the last two places of which are not filled yet.
        assert!((297..=299).contains(&pacing.written()), "{}", pacing.written());
        let missing = 300 - pacing.written();
        assert_eq!(pacing.frame(10_000 * MS), Due { repeats: missing, frame: true });
        assert_eq!(pacing.written(), 301);
    }

    #[test]
    fn a_process_that_was_stopped_writes_no_flood() {
        const HOUR: u64 = 3600 * 1000 * MS;
        let mut pacing = Pacing::new(THIRTY);
        assert_eq!(pacing.frame(0), ONCE);
        assert_eq!(pacing.frame(HOUR), ONCE);
        pacing.repeat(2 * HOUR);
        assert_eq!(pacing.written(), 3);
        assert!(pacing.repeat_at_ns() > Some(2 * HOUR));
    }

    #[test]
    fn a_slow_reader_gets_new_frames_and_no_repetitions() {
        let mut pacing = Pacing::new(THIRTY);
        let mut now = 0;
        for _ in 0..200 {
            // It takes 50 ms for a picture, and then gets the newest frame.
            let due = pacing.frame(now);
            assert!(due.repeats <= 1, "{due:?}");
            now += 50 * MS * (due.repeats + u64::from(due.frame)).max(1);
            pacing.wrote(due.repeats + u64::from(due.frame), 50 * MS * (due.repeats + u64::from(due.frame)));
        }
        assert!(pacing.repeated <= 2 && pacing.written() >= 198, "{pacing:?}");
    }

    #[test]
    fn rates_are_those_of_cameras() {
        for (rate, expected) in [
            (30.0, Some((30, 1))),
            (29.97003, Some((30000, 1001))),
            (23.976, Some((24000, 1001))),
            (7.5, Some((7500, 1000))),
            (0.5, Some((500, 1000))),
            (0.0, None),
            (f64::NAN, None),
            (1e9, None),
        ] {
            let found = Rate::nearest(rate).map(|rate| (rate.numerator, rate.denominator));
            assert_eq!(found, expected, "{rate}");
        }
    }
}
