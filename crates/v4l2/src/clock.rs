//! Time and order of frames: what a driver stamps, made trustworthy. Pure: the time of day is an argument.

use std::time::Duration;

use super::sys::{BUFFER_FLAG_TIMESTAMP_MASK, BUFFER_FLAG_TIMESTAMP_MONOTONIC};

/// How far a monotonic stamp may lie from the moment of its dequeueing and still be believed, in nanoseconds. Exposure and
/// transfer take well under a second; a buffer that waited for us may be older.
const BELIEVED_NS: u64 = 10_000_000_000;

/// How far in the future a stamp may lie that is read as "now": drivers that compute the end of a frame beforehand.
const AHEAD_NS: u64 = 1_000_000_000;

/// Turns drivers' stamps into `CLOCK_MONOTONIC` nanoseconds that never go backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    last_ns: u64,
    mapped: u64,
}

impl Stamps {
    /// The capture time of a frame that was dequeued at `now_ns` with buffer `flags` and the driver's stamp in seconds and
    /// microseconds.
    ///
    /// A stamp of another clock than the monotonic one, one that is more than 1 s in the future and one that is more than
    /// 10 s old are replaced by `now_ns` (and counted). A stamp that is a little in the future is `now_ns`: nobody has to
    /// reckon with a picture of the future. Each result is later than the one before.
    pub fn map(&mut self, flags: u32, stamp: [i64; 2], now_ns: u64) -> u64 {
        let said = (flags & BUFFER_FLAG_TIMESTAMP_MASK == BUFFER_FLAG_TIMESTAMP_MONOTONIC)
            .then(|| nanoseconds(stamp))
            .flatten()
            .filter(|&ns| ns.saturating_sub(now_ns) <= AHEAD_NS && now_ns.saturating_sub(ns) <= BELIEVED_NS)
            .map(|ns| ns.min(now_ns));
        let ns = said.unwrap_or_else(|| {
            self.mapped += 1;
            now_ns
        });
        self.last_ns = ns.max(self.last_ns.saturating_add(1));
        self.last_ns
    }

    /// Frames whose stamp was replaced by the time of dequeueing.
    pub const fn mapped(&self) -> u64 {
        self.mapped
    }
}

fn nanoseconds([seconds, microseconds]: [i64; 2]) -> Option<u64> {
    let seconds = u64::try_from(seconds).ok()?;
    let microseconds = u64::try_from(microseconds).ok().filter(|&count| count < 1_000_000)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(microseconds * 1000)
}

/// Turns drivers' 32-bit sequence numbers into a count from 0 with the gaps kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    last: Option<(u32, u64)>,
    /// Where the count goes on after a new start of the driver's.
    next: u64,
}

/// Gaps of more frames than this are a driver that started to count anew, not lost frames: half an hour at 30 a second.
const BELIEVED_GAP: u32 = 54_000;

impl Sequences {
    /// The number of the frame that the driver calls `sequence`, and how many frames were lost before it.
    ///
    /// The driver's number wraps round at 2^32. One that stands still or goes back (some drivers never count) is taken as
    /// the next one.
    pub fn number(&mut self, sequence: u32) -> (u64, u64) {
        let lost = match self.last {
            None => 0,
            Some((last, _)) => match sequence.wrapping_sub(last) {
                step @ 1..=BELIEVED_GAP => u64::from(step - 1),
                _ => 0,
            },
        };
        let number = self.next + lost;
        self.last = Some((sequence, number));
        self.next = number + 1;
        (number, lost)
    }

    /// The driver counts from anew (after a new start of its stream): the next frame follows the last one.
    pub const fn restart(&mut self) {
        self.last = None;
    }
}

/// How long a stream of `frame_rate` frames a second (0: unknown) may be silent before it counts as stalled: 2 s, or 5
/// frame times where that is longer.
pub fn stall_after(frame_rate: f32) -> Duration {
    const LEAST: Duration = Duration::from_secs(2);
    // A camera slower than a frame in ten minutes is not one.
    const MOST: Duration = Duration::from_secs(3000);
    if frame_rate.is_finite() && frame_rate > 0.0 {
        Duration::try_from_secs_f32(5.0 / frame_rate).unwrap_or(MOST).clamp(LEAST, MOST)
    } else {
        LEAST
    }
}

/// How long a stream may take for its first frame, at least.
const FIRST_FRAME_NS: u64 = 5_000_000_000;

/// Says when a stream has stalled. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallWatch {
    limit_ns: u64,
    last_ns: u64,
}

impl StallWatch {
    /// Watches a stream of `frame_rate` frames a second that was started at `now_ns`.
    pub fn new(frame_rate: f32, now_ns: u64) -> Self {
        let limit_ns = u64::try_from(stall_after(frame_rate).as_nanos()).unwrap_or(u64::MAX);
        Self { limit_ns, last_ns: now_ns }
    }

    /// Watches a stream that was just opened, at `now_ns`, for its first frame: a camera may focus and expose before it.
    pub fn starting(frame_rate: f32, now_ns: u64) -> Self {
        let watch = Self::new(frame_rate, now_ns);
        Self { limit_ns: watch.limit_ns.max(FIRST_FRAME_NS), ..watch }
    }

    /// How long the stream may be silent.
    pub const fn limit(&self) -> Duration {
        Duration::from_nanos(self.limit_ns)
    }

    /// A frame came at `now_ns`.
    pub const fn frame(&mut self, now_ns: u64) {
        self.last_ns = now_ns;
    }

    /// Whether the stream has been silent too long at `now_ns`.
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
    fn a_monotonic_stamp_is_kept_and_another_is_mapped() {
        let mut stamps = Stamps::default();
        let now = 100_000_000_000;
        assert_eq!(stamps.map(MONOTONIC, [99, 970_000], now), 99_970_000_000);
        assert_eq!(stamps.mapped(), 0);
        assert_eq!(stamps.map(0, [99, 980_000], now), now, "unknown clock");
        assert_eq!(stamps.map(0x4000, [99, 980_000], now + 5), now + 5, "copied from the application");
        assert_eq!(stamps.map(MONOTONIC, [101, 1], now + 10), now + 10, "from the future");
        assert_eq!(stamps.mapped(), 3);
        assert_eq!(stamps.map(MONOTONIC, [100, 999_999], now + 15), now + 15, "a little ahead");
        assert_eq!(stamps.mapped(), 3);
        assert_eq!(stamps.map(MONOTONIC, [-1, 0], now + 20), now + 20);
        assert_eq!(stamps.map(MONOTONIC, [89, 0], now + 30), now + 30, "too old");
        assert_eq!(
            stamps.map(MONOTONIC, [100, 1_000_000], now + 2_000_000_000),
            now + 2_000_000_000,
            "no microseconds"
        );
        assert_eq!(stamps.mapped(), 6);
        assert_eq!(stamps.map(MONOTONIC, [101, 0], now + 3_000_000_000), now + 2_000_000_001, "never backwards");
    }

    #[test]
    fn a_sequence_wraps_and_gaps_count() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.number(u32::MAX - 1), (0, 0));
        assert_eq!(sequences.number(u32::MAX), (1, 0));
        assert_eq!(sequences.number(0), (2, 0));
        assert_eq!(sequences.number(3), (5, 2));
        assert_eq!(sequences.number(3), (6, 0), "does not count");
        assert_eq!(sequences.number(1), (7, 0), "goes back");
        sequences.restart();
        assert_eq!(sequences.number(900), (8, 0));
    }

    #[test]
    fn the_limit_of_silence_is_two_seconds_or_five_frames() {
        assert_eq!(stall_after(30.0), Duration::from_secs(2));
        assert_eq!(stall_after(1.0), Duration::from_secs(5));
        for odd in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(stall_after(odd), Duration::from_secs(2));
        }
        assert!(stall_after(f32::MIN_POSITIVE) <= Duration::from_secs(3000));
        let mut watch = StallWatch::new(30.0, 1_000);
        assert!(!watch.stalled(2_000_000_999));
        assert!(watch.stalled(2_000_001_000));
        watch.frame(2_000_001_000);
        assert!(!watch.stalled(4_000_000_999));
        assert!(!watch.stalled(0), "time that goes back is no stall");
        let first = StallWatch::starting(30.0, 1_000);
        assert_eq!(first.limit(), Duration::from_secs(5));
        assert!(!first.stalled(5_000_000_999) && first.stalled(5_000_001_000));
        assert_eq!(StallWatch::starting(0.5, 0).limit(), Duration::from_secs(10));
    }

    proptest! {
        #[test]
        fn stamps_only_grow(stamps in prop::collection::vec((any::<u32>(), any::<[i64; 2]>(), 0_u64..1 << 62), 1..50)) {
            let mut clock = Stamps::default();
            let mut last = 0;
            for (flags, stamp, now) in stamps {
                let ns = clock.map(flags, stamp, now);
                prop_assert!(ns > last);
                last = ns;
            }
        }

        #[test]
        fn numbers_only_grow_and_gaps_are_what_is_missing(start in any::<u32>(), steps in prop::collection::vec(1_u32..1000, 1..50)) {
            let mut sequences = Sequences::default();
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
