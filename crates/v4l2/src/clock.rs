//! Timestamps, sequence numbers and stalls of a stream. No I/O: the current time is an argument.

use std::time::Duration;

use super::sys::{BUFFER_FLAG_TIMESTAMP_MASK, BUFFER_FLAG_TIMESTAMP_MONOTONIC};

/// The largest age of a monotonic timestamp at the moment of dequeueing, in nanoseconds. Exposure
/// and transfer take well under a second; a buffer that waited in the queue may be older.
const MAX_AGE_NS: u64 = 10_000_000_000;

/// The largest distance of a timestamp into the future, in nanoseconds. Some drivers compute the
/// end of a frame in advance.
const MAX_AHEAD_NS: u64 = 1_000_000_000;

/// Turns the timestamps of a driver into `CLOCK_MONOTONIC` nanoseconds that always increase.
///
/// ```
/// use portraitd_v4l2::clock::TimestampMapper;
///
/// const MONOTONIC: u32 = 0x2000; // V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC
/// let mut timestamps = TimestampMapper::default();
/// let now_ns = 100_000_000_000;
/// assert_eq!(timestamps.map(MONOTONIC, [99, 970_000], now_ns), 99_970_000_000);
/// // A timestamp of an unknown clock is replaced.
/// assert_eq!(timestamps.map(0, [5, 0], now_ns), now_ns);
/// assert_eq!(timestamps.replaced(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimestampMapper {
    last_ns: u64,
    replaced: u64,
}

impl TimestampMapper {
    /// The capture timestamp, in nanoseconds, of a frame that was dequeued at `now_ns`. `flags` are
    /// the buffer's flags, and `stamp` is the driver's timestamp in seconds and microseconds.
    ///
    /// A timestamp is replaced by `now_ns`, and counted, if it is not of the monotonic clock, is
    /// more than 1 s in the future or more than 10 s old. A timestamp up to 1 s in the future
    /// becomes `now_ns`, so that no frame is newer than the present. Each result is later than the
    /// previous one.
    pub fn map(&mut self, flags: u32, stamp: [i64; 2], now_ns: u64) -> u64 {
        let usable = (flags & BUFFER_FLAG_TIMESTAMP_MASK == BUFFER_FLAG_TIMESTAMP_MONOTONIC)
            .then(|| nanoseconds(stamp))
            .flatten()
            .filter(|&ns| ns.saturating_sub(now_ns) <= MAX_AHEAD_NS && now_ns.saturating_sub(ns) <= MAX_AGE_NS)
            .map(|ns| ns.min(now_ns));
        let ns = usable.unwrap_or_else(|| {
            self.replaced += 1;
            now_ns
        });
        self.last_ns = ns.max(self.last_ns.saturating_add(1));
        self.last_ns
    }

    /// The number of timestamps that were replaced by the time of dequeueing.
    pub const fn replaced(&self) -> u64 {
        self.replaced
    }
}

fn nanoseconds([seconds, microseconds]: [i64; 2]) -> Option<u64> {
    let seconds = u64::try_from(seconds).ok()?;
    let microseconds = u64::try_from(microseconds).ok().filter(|&count| count < 1_000_000)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(microseconds * 1000)
}

/// Turns a driver's 32-bit sequence numbers into a count from 0 that keeps the gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceCounter {
    last: Option<(u32, u64)>,
    /// The number of the next frame if none is lost.
    next: u64,
}

/// A larger gap is not lost frames but a driver that restarted its count. Half an hour at 30 frames
/// a second.
const MAX_GAP: u32 = 54_000;

impl SequenceCounter {
    /// Returns the number of the frame whose driver sequence is `sequence`, and how many frames
    /// were lost before it.
    ///
    /// The driver's number wraps around at 2^32. If it does not increase (some drivers never
    /// count), the frame is taken for the next one.
    pub fn number(&mut self, sequence: u32) -> (u64, u64) {
        let lost = match self.last {
            None => 0,
            Some((last, _)) => match sequence.wrapping_sub(last) {
                step @ 1..=MAX_GAP => u64::from(step - 1),
                _ => 0,
            },
        };
        let number = self.next + lost;
        self.last = Some((sequence, number));
        self.next = number + 1;
        (number, lost)
    }

    /// To be called when the driver's stream is started again, since its count then restarts. The
    /// next frame follows the last one without a gap.
    pub const fn restart(&mut self) {
        self.last = None;
    }
}

/// How long a stream may deliver no frame before it counts as stalled: 2 s or five frame intervals,
/// whichever is longer. `frame_rate` is in frames a second; 0 means unknown.
pub fn stall_timeout(frame_rate: f32) -> Duration {
    const SHORTEST: Duration = Duration::from_secs(2);
    // Five intervals of ten minutes.
    const LONGEST: Duration = Duration::from_secs(3000);
    if frame_rate.is_finite() && frame_rate > 0.0 {
        Duration::try_from_secs_f32(5.0 / frame_rate).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
    } else {
        SHORTEST
    }
}

/// The least time that a stream has for its first frame, in nanoseconds.
const FIRST_FRAME_NS: u64 = 5_000_000_000;

/// Detects that a stream has stalled. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallDetector {
    limit_ns: u64,
    last_ns: u64,
}

impl StallDetector {
    /// A detector for a stream of `frame_rate` frames a second that delivered its last frame at
    /// `now_ns`.
    pub fn new(frame_rate: f32, now_ns: u64) -> Self {
        let limit_ns = u64::try_from(stall_timeout(frame_rate).as_nanos()).unwrap_or(u64::MAX);
        Self { limit_ns, last_ns: now_ns }
    }

    /// A detector for a stream that was opened at `now_ns`. The first frame has at least 5 s,
    /// because cameras adjust focus and exposure before it.
    pub fn starting(frame_rate: f32, now_ns: u64) -> Self {
        let watch = Self::new(frame_rate, now_ns);
        Self { limit_ns: watch.limit_ns.max(FIRST_FRAME_NS), ..watch }
    }

    /// The longest time without a frame that is not a stall.
    pub const fn limit(&self) -> Duration {
        Duration::from_nanos(self.limit_ns)
    }

    /// Reports a frame that arrived at `now_ns`.
    pub const fn frame(&mut self, now_ns: u64) {
        self.last_ns = now_ns;
    }

    /// Whether the time without a frame has reached the limit at `now_ns`.
    pub const fn stalled(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) >= self.limit_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MONOTONIC: u32 = BUFFER_FLAG_TIMESTAMP_MONOTONIC;

    #[test]
    fn a_monotonic_timestamp_is_kept_and_any_other_is_replaced() {
        let mut stamps = TimestampMapper::default();
        let now = 100_000_000_000;
        assert_eq!(stamps.map(MONOTONIC, [99, 970_000], now), 99_970_000_000);
        assert_eq!(stamps.replaced(), 0);
        assert_eq!(stamps.map(0, [99, 980_000], now), now, "unknown clock");
        assert_eq!(stamps.map(0x4000, [99, 980_000], now + 5), now + 5, "copied from the application");
        assert_eq!(stamps.map(MONOTONIC, [101, 1], now + 10), now + 10, "too far in the future");
        assert_eq!(stamps.replaced(), 3);
        assert_eq!(stamps.map(MONOTONIC, [100, 999_999], now + 15), now + 15, "a little ahead");
        assert_eq!(stamps.replaced(), 3);
        assert_eq!(stamps.map(MONOTONIC, [-1, 0], now + 20), now + 20);
        assert_eq!(stamps.map(MONOTONIC, [89, 0], now + 30), now + 30, "too old");
        assert_eq!(
            stamps.map(MONOTONIC, [100, 1_000_000], now + 2_000_000_000),
            now + 2_000_000_000,
            "no microseconds"
        );
        assert_eq!(stamps.replaced(), 6);
        assert_eq!(stamps.map(MONOTONIC, [101, 0], now + 3_000_000_000), now + 2_000_000_001, "never backwards");
    }

    #[test]
    fn a_sequence_wraps_and_gaps_count() {
        let mut sequences = SequenceCounter::default();
        assert_eq!(sequences.number(u32::MAX - 1), (0, 0));
        assert_eq!(sequences.number(u32::MAX), (1, 0));
        assert_eq!(sequences.number(0), (2, 0));
        assert_eq!(sequences.number(3), (5, 2));
        assert_eq!(sequences.number(3), (6, 0), "a driver that does not count");
        assert_eq!(sequences.number(1), (7, 0), "a number that decreases");
        sequences.restart();
        assert_eq!(sequences.number(900), (8, 0));
    }

    #[test]
    fn the_stall_timeout_is_two_seconds_or_five_frames() {
        assert_eq!(stall_timeout(30.0), Duration::from_secs(2));
        assert_eq!(stall_timeout(1.0), Duration::from_secs(5));
        for odd in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(stall_timeout(odd), Duration::from_secs(2));
        }
        assert!(stall_timeout(f32::MIN_POSITIVE) <= Duration::from_secs(3000));
        let mut watch = StallDetector::new(30.0, 1_000);
        assert!(!watch.stalled(2_000_000_999));
        assert!(watch.stalled(2_000_001_000));
        watch.frame(2_000_001_000);
        assert!(!watch.stalled(4_000_000_999));
        assert!(!watch.stalled(0), "time that goes backwards is not a stall");
        let first = StallDetector::starting(30.0, 1_000);
        assert_eq!(first.limit(), Duration::from_secs(5));
        assert!(!first.stalled(5_000_000_999) && first.stalled(5_000_001_000));
        assert_eq!(StallDetector::starting(0.5, 0).limit(), Duration::from_secs(10));
    }

    proptest! {
        #[test]
        fn timestamps_always_increase(stamps in prop::collection::vec((any::<u32>(), any::<[i64; 2]>(), 0_u64..1 << 62), 1..50)) {
            let mut clock = TimestampMapper::default();
            let mut last = 0;
            for (flags, stamp, now) in stamps {
                let ns = clock.map(flags, stamp, now);
                prop_assert!(ns > last);
                last = ns;
            }
        }

        #[test]
        fn numbers_always_increase_and_gaps_are_the_lost_frames(start in any::<u32>(), steps in prop::collection::vec(1_u32..1000, 1..50)) {
            let mut sequences = SequenceCounter::default();
            let (first, _) = sequences.number(start);
            let (mut driver, mut expected) = (start, first);
            for step in steps {
                driver = driver.wrapping_add(step);
                expected += u64::from(step);
                prop_assert_eq!(sequences.number(driver), (expected, u64::from(step) - 1));
            }
        }
    }
}
