//! The direction in which people walk, so that the crop can leave room there.

use crate::constraints::FrameRect;
use crate::tuning::{LEAD_FULL_SPEED, LEAD_MEMORY_NS, LEAD_TIME_CONSTANT_S, SECOND_NS};

/// Averages the horizontal speed of the people's centre, in pixels per second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lead {
    /// The last observation: time and position, pixels.
    last: Option<(u64, f64)>,
    /// Pixels per second, positive to the right.
    speed: f64,
}

impl Lead {
    /// Takes the people as seen at `now_ns`. If `regrouped`, they are not the people of the
    /// previous observation, and the speed is discarded.
    pub(crate) fn observe(&mut self, now_ns: u64, people: &FrameRect, regrouped: bool) {
        let x = people.center().0;
        match self.last {
            Some((last_ns, last_x)) if !regrouped && now_ns > last_ns && now_ns - last_ns <= LEAD_MEMORY_NS => {
                let seconds = (now_ns - last_ns) as f64 / SECOND_NS as f64;
                let gain = seconds / (seconds + LEAD_TIME_CONSTANT_S);
                self.speed += ((x - last_x) / seconds - self.speed) * gain;
            }
            _ => self.speed = 0.0,
        }
        self.last = Some((now_ns, x));
    }

    /// How far to the right of the people the centre of a crop of this width should be, as a
    /// fraction of the lead room (-1 to 1). It is 0 below a tenth of the full speed, so that
    /// swaying does not count as walking.
    pub(crate) fn direction(&self, crop_width: f64) -> f64 {
        let fraction = self.speed / (crop_width * LEAD_FULL_SPEED);
        if fraction.abs() < 0.1 { 0.0 } else { fraction.clamp(-1.0, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64) -> FrameRect {
        FrameRect { x, y: 0.0, width: 100.0, height: 300.0 }
    }

    #[test]
    fn walking_has_a_direction_and_swaying_has_none() {
        let (mut walk, mut sway) = (Lead::default(), Lead::default());
        for frame in 0..60u64 {
            let seconds = frame as f64 / 30.0;
            walk.observe(frame * SECOND_NS / 30, &at(300.0 - 100.0 * seconds), false);
            sway.observe(frame * SECOND_NS / 30, &at(300.0 + 2.0 * (seconds * 3.0).sin()), false);
        }
        assert!(walk.direction(640.0) < -0.9, "{}", walk.direction(640.0));
        assert_eq!(sway.direction(640.0), 0.0);
    }

    #[test]
    fn other_people_and_a_gap_reset_the_direction() {
        let mut lead = Lead::default();
        lead.observe(0, &at(0.0), false);
        lead.observe(SECOND_NS / 30, &at(500.0), true);
        assert_eq!(lead.direction(640.0), 0.0);
        lead.observe(SECOND_NS * 5, &at(0.0), false);
        assert_eq!(lead.direction(640.0), 0.0);
    }
}
