//! The timing of sources that have no clock of their own (files and scenes): when the next frame is
//! due, and its timestamp.
//!
//! Timestamps are regular, as those of a camera: `anchor + n / rate`, independent of when the
//! thread woke up. [`Playback::RealTime`] waits until the time of the timestamp. [`Playback::Fast`]
//! does not wait: its timestamps run ahead of the clock but keep their distances, so that smoothing
//! and framing behave as in real time.

use std::time::Duration;

use crate::clock::monotonic_ns;

/// The rate at which a source delivers its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Playback {
    /// Each frame at the time of its timestamp.
    #[default]
    RealTime,
    /// Each frame as soon as it is requested.
    Fast,
}

/// A frame rate in frames a second: a fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    numerator: u32,
    denominator: u32,
}

impl FrameRate {
    /// 30 frames a second.
    pub const DEFAULT: Self = Self { numerator: 30, denominator: 1 };

    /// The lowest and the highest rate, in frames a second.
    pub const LIMITS: (f32, f32) = (0.01, 1000.0);

    /// `numerator / denominator` frames a second; `None` outside [`FrameRate::LIMITS`].
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        let (n, d) = (u64::from(numerator), u64::from(denominator));
        if d == 0 || n * 100 < d || n > d * 1000 {
            return None;
        }
        let (mut divisor, mut rest) = (numerator, denominator);
        while rest > 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        Some(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    /// The rate that is nearest to a decimal such as `29.97`, in steps of 0.001; `None` outside
    /// [`FrameRate::LIMITS`].
    pub fn from_decimal(frames_per_second: f32) -> Option<Self> {
        let (least, most) = Self::LIMITS;
        if !(least..=most).contains(&frames_per_second) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "10..=1,000,000 by the check above"
        )]
        let thousandths = (f64::from(frames_per_second) * 1000.0).round() as u32;
        Self::new(thousandths, 1000)
    }

    /// Numerator and denominator, in lowest terms.
    pub const fn fraction(self) -> (u32, u32) {
        (self.numerator, self.denominator)
    }

    /// The rate as a decimal, in frames a second.
    pub fn per_second(self) -> f32 {
        self.numerator as f32 / self.denominator as f32
    }

    /// The time from frame 0 to frame `count`, in nanoseconds. Rounding errors do not accumulate.
    /// Saturates at `u64::MAX`.
    pub fn nanoseconds(self, count: u64) -> u64 {
        let exact = u128::from(count) * 1_000_000_000 * u128::from(self.denominator) / u128::from(self.numerator);
        u64::try_from(exact).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Display for FrameRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", f64::from(self.numerator) / f64::from(self.denominator))
    }
}

/// The result of [`Pacer::due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The next frame is due; its capture timestamp, in nanoseconds.
    Now(u64),
    /// The next frame is due after this time.
    After(Duration),
}

/// Determines when frames are due.
#[derive(Debug)]
pub struct Pacer {
    rate: FrameRate,
    playback: Playback,
    anchor_ns: Option<u64>,
    count: u64,
    /// For frames that come from another program.
    live: Option<Live>,
}

/// When the frames of another program came.
#[derive(Clone, Copy, Debug, Default)]
struct Live {
    arrived_ns: u64,
    /// When the frame was last said to be due.
    due_ns: u64,
    /// The next frame is not due before this time.
    earliest_ns: u64,
}

/// If a frame is requested later than this, in nanoseconds, the timing starts again. Without that,
/// a burst of frames would follow a suspend.
const LATE_NS: u64 = 500_000_000;

impl Pacer {
    /// A pacer for frames at `rate`. The first frame is due when it is first requested.
    pub const fn new(rate: FrameRate, playback: Playback) -> Self {
        Self { rate, playback, anchor_ns: None, count: 0, live: None }
    }

    /// A pacer for frames that another program delivers at about `rate`. A frame is due when it
    /// [arrives](Pacer::arrived), which is its timestamp. A program that does not keep to its rate
    /// is held back to ten ninths of it.
    pub fn live(rate: FrameRate) -> Self {
        Self { live: Some(Live::default()), ..Self::new(rate, Playback::RealTime) }
    }

    /// Reports that the next frame is there, at `now_ns`. Matters for [`Pacer::live`] only.
    pub const fn arrived(&mut self, now_ns: u64) {
        if let Some(live) = &mut self.live {
            live.arrived_ns = now_ns;
        }
    }

    /// The frame rate, in frames a second.
    pub const fn rate(&self) -> FrameRate {
        self.rate
    }

    /// Whether the next frame is due at `now_ns` (`CLOCK_MONOTONIC` nanoseconds).
    pub fn due(&mut self, now_ns: u64) -> Due {
        if let Some(live) = &mut self.live {
            if now_ns < live.earliest_ns {
                return Due::After(Duration::from_nanos(live.earliest_ns - now_ns));
            }
            live.due_ns = now_ns;
            return Due::Now(live.arrived_ns);
        }
        let anchor_ns = *self.anchor_ns.get_or_insert(now_ns);
        let stamp_ns = anchor_ns.saturating_add(self.rate.nanoseconds(self.count));
        if self.playback == Playback::Fast {
            return Due::Now(stamp_ns);
        }
        if stamp_ns > now_ns {
            return Due::After(Duration::from_nanos(stamp_ns - now_ns));
        }
        if now_ns - stamp_ns > LATE_NS {
            (self.anchor_ns, self.count) = (Some(now_ns), 0);
            return Due::Now(now_ns);
        }
        Due::Now(stamp_ns)
    }

    /// Reports that the frame that was due has been delivered.
    pub fn advance(&mut self) {
        self.count += 1;
        if let Some(live) = &mut self.live {
            live.earliest_ns = live.due_ns.saturating_add(self.rate.nanoseconds(1) / 10 * 9);
        }
    }

    /// Sleeps until the next frame is due, `timeout` at most. Returns its capture timestamp in
    /// nanoseconds; `None` after a timeout.
    pub fn wait(&mut self, timeout: Duration) -> Option<u64> {
        let deadline_ns = monotonic_ns().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        loop {
            let now = monotonic_ns();
            match self.due(now) {
                Due::Now(stamp_ns) => return Some(stamp_ns),
                Due::After(_) if now >= deadline_ns => return None,
                Due::After(wait) => std::thread::sleep(wait.min(Duration::from_nanos(deadline_ns - now))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 7_000_000_000;

    #[test]
    fn timestamps_are_regular_even_after_late_requests() {
        let mut pacer = Pacer::new(FrameRate::DEFAULT, Playback::RealTime);
        assert_eq!(pacer.due(START), Due::Now(START));
        pacer.advance();
        assert_eq!(pacer.due(START + 3_333_333), Due::After(Duration::from_nanos(30_000_000)));
        assert_eq!(pacer.due(START + 40_000_000), Due::Now(START + 33_333_333));
        pacer.advance();
        assert_eq!(pacer.due(START + 66_666_666), Due::Now(START + 66_666_666));
    }

    #[test]
    fn no_burst_follows_a_long_pause() {
        let mut pacer = Pacer::new(FrameRate::DEFAULT, Playback::RealTime);
        assert_eq!(pacer.due(START), Due::Now(START));
        pacer.advance();
        let later = START + 3_600_000_000_000;
        assert_eq!(pacer.due(later), Due::Now(later));
        pacer.advance();
        assert_eq!(pacer.due(later), Due::After(Duration::from_nanos(33_333_333)));
    }

    #[test]
    fn fast_playback_does_not_wait_and_keeps_the_distances() {
        let mut pacer = Pacer::new(FrameRate::new(25, 1).expect("a rate"), Playback::Fast);
        for count in 0..5 {
            assert_eq!(pacer.due(START), Due::Now(START + count * 40_000_000));
            pacer.advance();
        }
    }

    #[test]
    fn live_frames_have_the_time_of_their_arrival_and_their_rate_is_limited() {
        let mut pacer = Pacer::live(FrameRate::new(10, 1).expect("a rate"));
        pacer.arrived(START - 7);
        assert_eq!(pacer.due(START), Due::Now(START - 7));
        assert_eq!(pacer.due(START + 1), Due::Now(START - 7), "it was not delivered");
        pacer.advance();
        // A program that writes as fast as it can.
        pacer.arrived(START + 2);
        assert_eq!(pacer.due(START + 2), Due::After(Duration::from_nanos(89_999_999)));
        assert_eq!(pacer.due(START + 90_000_001), Due::Now(START + 2));
        pacer.advance();
        // One that is late, and one that is early after it.
        for arrival in [START + 250_000_000, START + 345_000_000] {
            pacer.arrived(arrival);
            assert_eq!(pacer.due(arrival), Due::Now(arrival));
            pacer.advance();
        }
    }

    #[test]
    fn a_wait_that_is_too_short_ends_without_a_frame() {
        let mut pacer = Pacer::new(FrameRate::new(1, 100).expect("a rate"), Playback::RealTime);
        let first = pacer.wait(Duration::ZERO).expect("the first is due at once");
        pacer.advance();
        assert_eq!(pacer.wait(Duration::ZERO), None, "the second is due in 100 s");
        assert!(first <= monotonic_ns());
    }

    #[test]
    fn rates_have_limits_and_no_drift() {
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e9, 0.001] {
            assert_eq!(FrameRate::from_decimal(bad), None, "{bad}");
        }
        assert_eq!(FrameRate::new(30, 0), None);
        assert_eq!(FrameRate::new(1001, 1), None);
        let ntsc = FrameRate::new(30_000, 1001).expect("a rate");
        assert_eq!(ntsc.nanoseconds(30_000), 1_001_000_000_000);
        assert_eq!(FrameRate::from_decimal(29.97).expect("a rate").fraction(), (2997, 100));
        assert_eq!(ntsc.nanoseconds(u64::MAX), u64::MAX);
    }
}
