//! The policy for a net that is too slow for the board (see `docs/design/pace.md`): whether masks
//! keep their time budget, and how far inference is reduced while they do not. Pure: no clock, no
//! I/O.

use std::time::Duration;

/// The number of inference passes whose times are remembered.
const PASSES: usize = 30;
/// The 95th percentile must exceed the budget this many times in a row before inference is reduced.
/// This is twice [`PASSES`], so that an overload of less than a second at 30 frames a second
/// changes nothing.
const OVER_BUDGET_LIMIT: usize = 2 * PASSES;
/// Index of the 95th percentile in the times of [`PASSES`], sorted from the slowest.
const PERCENTILE_95: usize = PASSES / 20;
/// The 95th percentile must be well within the budget for this many passes before a level is taken
/// back. The number doubles, up to [`LONGEST_RECOVERY`], each time a level was taken back too
/// early.
const FIRST_RECOVERY: u32 = 150;
const LONGEST_RECOVERY: u32 = 32 * FIRST_RECOVERY;
/// What counts as well within the budget: this share of it, in per cent.
const WELL_WITHIN: u32 = 70;
/// The time between two passes at [`Level::FramingOnly`]: enough to follow a person who walks.
const FRAMING_INTERVAL: Duration = Duration::from_millis(250);

/// How far inference is reduced. Each level includes the reductions of the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Inference is not reduced.
    #[default]
    Full,
    /// After each pass the net rests as long as the pass took.
    FewerPasses,
    /// A smaller net runs.
    SmallerNet,
    /// Passes are only as frequent as framing needs. Masks lag behind the frames.
    FramingOnly,
}

/// What the policy advises after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Keep the level.
    Keep,
    /// Enter the next level.
    Reduce,
    /// Take the last level back.
    Restore,
}

/// The policy: the times of the last passes, and the level.
#[derive(Debug)]
pub(super) struct Degradation {
    times: [Duration; PASSES],
    /// Passes since the level was entered.
    count: usize,
    level: Level,
    /// Consecutive passes with the 95th percentile over the budget.
    over: usize,
    /// Consecutive passes with the 95th percentile well within the budget.
    within: u32,
    /// The value of `within` at which a level is taken back.
    recovery: u32,
    /// Whether the level was entered by taking one back.
    restored: bool,
}

impl Degradation {
    pub(super) fn new() -> Self {
        Self {
            times: [Duration::ZERO; PASSES],
            count: 0,
            level: Level::Full,
            over: 0,
            within: 0,
            recovery: FIRST_RECOVERY,
            restored: false,
        }
    }

    pub(super) const fn level(&self) -> Level {
        self.level
    }

    /// The 95th percentile of the last [`PASSES`] passes; zero until there are as many.
    pub(super) fn slow_pass(&self) -> Duration {
        if self.count < PASSES {
            return Duration::ZERO;
        }
        let mut times = self.times;
        times.sort_unstable_by(|a, b| b.cmp(a));
        times[PERCENTILE_95]
    }

    /// Takes the `time` of an inference pass.
    pub(super) fn pass_took(&mut self, time: Duration, budget: Duration) -> Advice {
        self.times[self.count % PASSES] = time;
        self.count += 1;
        let slow = self.slow_pass();
        if slow.is_zero() {
            return Advice::Keep;
        }
        self.over = if slow > budget { self.over + 1 } else { 0 };
        self.within = if slow <= budget * WELL_WITHIN / 100 { self.within + 1 } else { 0 };
        if self.over >= OVER_BUDGET_LIMIT && self.level < Level::FramingOnly {
            return Advice::Reduce;
        }
        if self.level > Level::Full && self.within >= self.recovery {
            return Advice::Restore;
        }
        if self.restored && self.within >= self.recovery {
            // The level was not taken back too early.
            (self.restored, self.recovery) = (false, FIRST_RECOVERY);
        }
        Advice::Keep
    }

    /// Changes the level and discards the times of the old one.
    pub(super) fn enter(&mut self, level: Level) {
        if level > self.level && self.restored {
            self.recovery = (self.recovery * 2).min(LONGEST_RECOVERY);
        }
        self.restored = level < self.level;
        (self.level, self.count, self.over, self.within) = (level, 0, 0, 0);
    }

    /// The least time between two passes. `interval` is the configured one, `last_pass` the time
    /// that the last one took.
    pub(super) fn interval(&self, interval: Duration, last_pass: Duration) -> Duration {
        let rested = interval.max(last_pass * 2);
        match self.level {
            Level::Full => interval,
            Level::FewerPasses | Level::SmallerNet => rested,
            Level::FramingOnly => rested.max(FRAMING_INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(30);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Passes of the given times, repeated until the policy advises a change: the number of passes,
    /// and the advice.
    fn until_advice(policy: &mut Degradation, times: &[u64], most: usize) -> Option<(usize, Advice)> {
        (1..=most).zip(times.iter().cycle()).find_map(|(count, time)| match policy.pass_took(ms(*time), BUDGET) {
            Advice::Keep => None,
            advice => Some((count, advice)),
        })
    }

    #[test]
    fn a_net_within_its_budget_and_single_slow_passes_change_nothing() {
        let mut policy = Degradation::new();
        assert_eq!(until_advice(&mut policy, &[12, 20, 30], 1000), None);
        let mut once = [10; 60];
        once[0] = 200;
        assert_eq!(until_advice(&mut policy, &once, 6000), None, "one in sixty");
        assert_eq!(until_advice(&mut policy, &[90], PASSES), None, "a short overload");
        assert_eq!(until_advice(&mut policy, &[10], 1000), None);
    }

    #[test]
    fn a_slow_net_is_reduced_step_by_step_down_to_framing() {
        let mut policy = Degradation::new();
        for level in [Level::FewerPasses, Level::SmallerNet, Level::FramingOnly] {
            assert_eq!(until_advice(&mut policy, &[45], 1000), Some((PASSES + OVER_BUDGET_LIMIT - 1, Advice::Reduce)));
            policy.enter(level);
            assert_eq!(policy.level(), level);
        }
        assert_eq!(until_advice(&mut policy, &[45], 1000), None);
        assert_eq!(policy.slow_pass(), ms(45));
    }

    #[test]
    fn a_level_that_was_taken_back_too_early_is_kept_longer_the_next_time() {
        let mut policy = Degradation::new();
        policy.enter(Level::FewerPasses);
        assert_eq!(until_advice(&mut policy, &[25], 5000), None, "within the budget, but not well within it");
        let (first, advice) = until_advice(&mut policy, &[10], 5000).expect("advice");
        assert_eq!(advice, Advice::Restore);
        policy.enter(Level::Full);
        assert_eq!(until_advice(&mut policy, &[45], 1000).map(|(_, advice)| advice), Some(Advice::Reduce));
        policy.enter(Level::FewerPasses);
        let (second, advice) = until_advice(&mut policy, &[10], 5000).expect("advice");
        assert_eq!(advice, Advice::Restore);
        assert!(second > first + 100, "{first} passes, then {second}");
        // After a long enough recovery the next one is as fast as the first.
        policy.enter(Level::Full);
        assert_eq!(until_advice(&mut policy, &[10], 5000), None);
        policy.enter(Level::FewerPasses);
        assert_eq!(policy.recovery, FIRST_RECOVERY);
    }

    #[test]
    fn the_interval_follows_the_level() {
        let mut policy = Degradation::new();
        assert_eq!(policy.interval(ms(33), ms(50)), ms(33));
        policy.enter(Level::FewerPasses);
        assert_eq!(policy.interval(ms(33), ms(50)), ms(100), "the net rests as long as the pass took");
        assert_eq!(policy.interval(ms(33), ms(10)), ms(33));
        policy.enter(Level::FramingOnly);
        assert_eq!(policy.interval(ms(33), ms(50)), ms(250));
        assert_eq!(policy.interval(ms(33), ms(400)), ms(800));
    }
}
