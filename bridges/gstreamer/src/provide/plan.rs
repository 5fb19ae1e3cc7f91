//! When the pipeline runs. Pure: times are arguments.

use std::time::{Duration, Instant};

/// The wait after the first failure. It doubles, up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// A source that has run for longer has recovered.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);
/// How long a source may start although the service has given up, which it does after five seconds
/// without a frame: RTSP waits for a complete picture.
const START: Duration = Duration::from_secs(15);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Start,
    Stop,
    /// Nothing, until this time or the next event.
    Rest(Option<Instant>),
}

/// A run of the pipeline.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Instant,
    has_frames: bool,
}

/// What is known of the service and the pipeline.
#[derive(Debug)]
pub(crate) struct Plan {
    offered: bool,
    wanted: bool,
    run: Option<Run>,
    /// After a failure: the earliest time of the next start, and why.
    failure: Option<(Instant, String)>,
    wait: Duration,
}

impl Plan {
    pub(crate) const fn new() -> Self {
        Self { offered: false, wanted: false, run: None, failure: None, wait: FIRST_WAIT }
    }

    /// The service has taken the offer or ended it; somebody looks or nobody does.
    pub(crate) const fn heard(&mut self, offered: bool, wanted: bool) {
        (self.offered, self.wanted) = (offered, wanted);
    }

    pub(crate) fn step(&self, now: Instant) -> Step {
        match (self.run, &self.failure) {
            (None, _) if !self.wanted => Step::Rest(None),
            (None, Some((earliest, _))) if *earliest > now => Step::Rest(Some(*earliest)),
            (None, _) => Step::Start,
            (Some(_), _) if self.wanted => Step::Rest(None),
            (Some(Run { since, has_frames: false }), _) if self.offered && now < since + START => {
                Step::Rest(Some(since + START))
            }
            (Some(_), _) => Step::Stop,
        }
    }

    pub(crate) const fn started(&mut self, now: Instant) {
        self.run = Some(Run { since: now, has_frames: false });
    }

    pub(crate) const fn stopped(&mut self) {
        self.run = None;
    }

    /// A frame has come.
    pub(crate) fn has_frames(&mut self) {
        if let Some(run) = &mut self.run {
            run.has_frames = true;
            self.failure = None;
        }
    }

    /// The source has failed or ended. Returns the wait before the next start; `None` if it does not
    /// run any more, so that this is old news.
    pub(crate) fn failed(&mut self, now: Instant, reason: &str) -> Option<Duration> {
        let run = self.run.take()?;
        if run.has_frames && now.duration_since(run.since) > RECOVERED_AFTER {
            self.wait = FIRST_WAIT;
        }
        let wait = self.wait;
        self.failure = Some((now + wait, reason.to_owned()));
        self.wait = (wait * 2).min(LAST_WAIT);
        Some(wait)
    }

    /// For `systemctl status`.
    pub(crate) fn status(&self) -> String {
        match (self.run, &self.failure) {
            (Some(Run { has_frames: true, .. }), _) => "somebody looks".to_owned(),
            (Some(_), _) => "somebody looks; the source is starting".to_owned(),
            (None, _) if !self.offered => "waiting for the service".to_owned(),
            (None, Some((_, reason))) if self.wanted => {
                format!("the source has failed and will be tried again: {reason}")
            }
            (None, _) => "nobody looks".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_source_runs_while_somebody_looks() {
        let (mut plan, now) = (Plan::new(), Instant::now());
        assert_eq!((plan.step(now), plan.status().as_str()), (Step::Rest(None), "waiting for the service"));
        plan.heard(true, false);
        assert_eq!((plan.step(now), plan.status().as_str()), (Step::Rest(None), "nobody looks"));
        plan.heard(true, true);
        assert_eq!(plan.step(now), Step::Start);
        plan.started(now);
        plan.has_frames();
        assert_eq!((plan.step(now), plan.status().as_str()), (Step::Rest(None), "somebody looks"));
        plan.heard(true, false);
        assert_eq!(plan.step(now), Step::Stop);
        plan.stopped();
        assert_eq!(plan.step(now), Step::Rest(None));
    }

    #[test]
    fn a_source_that_starts_slowly_is_not_stopped_by_the_services_patience() {
        let (mut plan, now) = (Plan::new(), Instant::now());
        plan.heard(true, true);
        plan.started(now);
        plan.heard(true, false);
        let late = now + START;
        assert_eq!(plan.step(now), Step::Rest(Some(late)));
        assert_eq!(plan.step(late), Step::Stop);
        // But nothing is left to start for when the offer has ended.
        plan.heard(false, false);
        assert_eq!(plan.step(now), Step::Stop);
        plan.heard(true, true);
        assert_eq!(plan.step(late), Step::Rest(None));
    }

    #[test]
    fn failures_are_tried_again_later_and_later() {
        let (mut plan, mut now) = (Plan::new(), Instant::now());
        plan.heard(true, true);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            plan.started(now);
            let wait = Duration::from_secs(seconds);
            let early = now + wait.saturating_sub(MS);
            assert_eq!(plan.failed(now, "no such file"), Some(wait));
            assert_eq!(plan.failed(now, "again"), None, "it does not run any more");
            assert!(plan.status().ends_with("again: no such file"), "{}", plan.status());
            assert_eq!(plan.step(early), Step::Rest(Some(now + wait)));
            // Somebody who leaves and comes back does not shorten the wait.
            plan.heard(true, false);
            assert_eq!(plan.status(), "nobody looks");
            plan.heard(true, true);
            assert_eq!(plan.step(early), Step::Rest(Some(now + wait)));
            now += wait;
            assert_eq!(plan.step(now), Step::Start);
        }
        plan.started(now);
        plan.has_frames();
        now += RECOVERED_AFTER + MS;
        assert_eq!(plan.failed(now, "unplugged"), Some(FIRST_WAIT), "it had recovered");
    }
}
