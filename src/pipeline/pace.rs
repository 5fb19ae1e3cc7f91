//! Whether masks keep their budget, and what is left out where they don't (see `docs/design/pace.md`). Pure: no clock, no I/O.

use std::time::Duration;

/// So many looks are remembered.
const LOOKS: usize = 30;
/// So many times in a row must their 95th percentile be over the budget before something is left out: twice as many as are
/// remembered, so that a hiccup of less than that, a second at 30 frames a second, does nothing.
const OVER: usize = 2 * LOOKS;
/// The look at this place from the slowest is the 95th percentile of [`LOOKS`].
const PERCENTILE_95: usize = LOOKS / 20;
/// So many looks in a row must be well within the budget before something is taken up again; twice as many after each time that
/// it was too early, up to [`LONGEST_PATIENCE`].
const PATIENCE: u32 = 150;
const LONGEST_PATIENCE: u32 = 32 * PATIENCE;
/// Well within the budget: this share of it, in per cent.
const COMFORT: u32 = 70;
/// Where only framing is left, it looks this often: enough to follow somebody who walks.
const FRAMING_INTERVAL: Duration = Duration::from_millis(250);

/// What is left out, each beside the ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing.
    #[default]
    Everything,
    /// Every other look: the net rests as long as it runs.
    FewerLooks,
    /// The net: a smaller one runs.
    SmallerNet,
    /// Masks that keep up with the frames: it looks as often as framing needs.
    FramingOnly,
}

/// What a look's time has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Go on so.
    Stay,
    /// Leave more out.
    Less,
    /// Take up again what was left out last.
    More,
}

/// Watches the time that looks take.
#[derive(Debug)]
pub(super) struct Pace {
    times: [Duration; LOOKS],
    /// Looks since the level was entered.
    count: usize,
    level: Level,
    over: usize,
    within: u32,
    patience: u32,
    climbed: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            times: [Duration::ZERO; LOOKS],
            count: 0,
            level: Level::Everything,
            over: 0,
            within: 0,
            patience: PATIENCE,
            climbed: false,
        }
    }

    pub(super) const fn level(&self) -> Level {
        self.level
    }

    /// The 95th percentile of the last looks; zero until there are enough.
    pub(super) fn slow_look(&self) -> Duration {
        if self.count < LOOKS {
            return Duration::ZERO;
        }
        let mut times = self.times;
        times.sort_unstable_by(|a, b| b.cmp(a));
        times[PERCENTILE_95]
    }

    /// A look has taken `time`.
    pub(super) fn looked(&mut self, time: Duration, budget: Duration) -> Advice {
        self.times[self.count % LOOKS] = time;
        self.count += 1;
        let slow = self.slow_look();
        if slow.is_zero() {
            return Advice::Stay;
        }
        self.over = if slow > budget { self.over + 1 } else { 0 };
        self.within = if slow <= budget * COMFORT / 100 { self.within + 1 } else { 0 };
        if self.over >= OVER && self.level < Level::FramingOnly {
            return Advice::Less;
        }
        if self.level > Level::Everything && self.within >= self.patience {
            return Advice::More;
        }
        if self.climbed && self.within >= self.patience {
            // It was not too early.
            (self.climbed, self.patience) = (false, PATIENCE);
        }
        Advice::Stay
    }

    /// Changes the level, and forgets the times of the old one.
    pub(super) fn enter(&mut self, level: Level) {
        if level > self.level && self.climbed {
            self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
        }
        self.climbed = level < self.level;
        (self.level, self.count, self.over, self.within) = (level, 0, 0, 0);
    }

    /// The least time between two looks, where the configuration wants `interval`.
    pub(super) fn interval(&self, interval: Duration, last_look: Duration) -> Duration {
        let rested = interval.max(last_look * 2);
        match self.level {
            Level::Everything => interval,
            Level::FewerLooks | Level::SmallerNet => rested,
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

    /// Looks of the given times, over and over, until there is advice; how many, and which.
    fn until_advice(pace: &mut Pace, times: &[u64], most: usize) -> Option<(usize, Advice)> {
        (1..=most).zip(times.iter().cycle()).find_map(|(count, time)| match pace.looked(ms(*time), BUDGET) {
            Advice::Stay => None,
            advice => Some((count, advice)),
        })
    }

    #[test]
    fn a_net_that_is_in_time_is_left_alone_and_single_slow_looks_too() {
        let mut pace = Pace::new();
        assert_eq!(until_advice(&mut pace, &[12, 20, 30], 1000), None);
        let mut once = [10; 60];
        once[0] = 200;
        assert_eq!(until_advice(&mut pace, &once, 6000), None, "one in sixty");
        assert_eq!(until_advice(&mut pace, &[90], LOOKS), None, "a hiccup");
        assert_eq!(until_advice(&mut pace, &[10], 1000), None);
    }

    #[test]
    fn a_slow_net_loses_step_by_step_and_no_further_than_framing() {
        let mut pace = Pace::new();
        for level in [Level::FewerLooks, Level::SmallerNet, Level::FramingOnly] {
            assert_eq!(until_advice(&mut pace, &[45], 1000), Some((LOOKS + OVER - 1, Advice::Less)));
            pace.enter(level);
            assert_eq!(pace.level(), level);
        }
        assert_eq!(until_advice(&mut pace, &[45], 1000), None);
        assert_eq!(pace.slow_look(), ms(45));
    }

    #[test]
    fn it_climbs_back_and_learns_when_that_was_too_early() {
        let mut pace = Pace::new();
        pace.enter(Level::FewerLooks);
        assert_eq!(until_advice(&mut pace, &[25], 5000), None, "within the budget, but not well");
        let (first, advice) = until_advice(&mut pace, &[10], 5000).expect("advice");
        assert_eq!(advice, Advice::More);
        pace.enter(Level::Everything);
        assert_eq!(until_advice(&mut pace, &[45], 1000).map(|(_, advice)| advice), Some(Advice::Less));
        pace.enter(Level::FewerLooks);
        let (second, advice) = until_advice(&mut pace, &[10], 5000).expect("advice");
        assert_eq!(advice, Advice::More);
        assert!(second > first + 100, "{first} looks, then {second}");
        // Once all is well for long enough, the next time is as the first.
        pace.enter(Level::Everything);
        assert_eq!(until_advice(&mut pace, &[10], 5000), None);
        pace.enter(Level::FewerLooks);
        assert_eq!(pace.patience, PATIENCE);
    }

    #[test]
    fn the_rate_follows_the_level() {
        let mut pace = Pace::new();
        assert_eq!(pace.interval(ms(33), ms(50)), ms(33));
        pace.enter(Level::FewerLooks);
        assert_eq!(pace.interval(ms(33), ms(50)), ms(100), "it rests as long as it ran");
        assert_eq!(pace.interval(ms(33), ms(10)), ms(33));
        pace.enter(Level::FramingOnly);
        assert_eq!(pace.interval(ms(33), ms(50)), ms(250));
        assert_eq!(pace.interval(ms(33), ms(400)), ms(800));
    }
}
