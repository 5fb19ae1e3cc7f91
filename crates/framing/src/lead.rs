//! Which way people walk, so that the crop may leave them room there.

use super::stage::Area;
use super::tuning::{LEAD_FULL_SPEED, LEAD_MEMORY, LEAD_TIME_CONSTANT_S, SECOND};

/// Learns the speed of the people's centre.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lead {
    last: Option<(u64, f64)>,
    /// Pixels a second, to the right.
    speed: f64,
}

impl Lead {
    /// Takes the people as seen at `now`. Where `regrouped`, others are meant than before, and nothing is known.
    pub fn observe(&mut self, now: u64, people: &Area, regrouped: bool) {
        let x = people.center().0;
        match self.last {
            Some((then, before)) if !regrouped && now > then && now - then <= LEAD_MEMORY => {
                let seconds = (now - then) as f64 / SECOND as f64;
                let gain = seconds / (seconds + LEAD_TIME_CONSTANT_S);
                self.speed += ((x - before) / seconds - self.speed) * gain;
            }
            _ => self.speed = 0.0,
        }
        self.last = Some((now, x));
    }

    /// How far to the right of the people the crop's centre should be, as a share of the room there is (-1 to 1), for a crop
    /// of this width: nothing below a tenth of the full speed, so that swaying is no walk.
    pub fn direction(&self, crop_width: f64) -> f64 {
        let share = self.speed / (crop_width * LEAD_FULL_SPEED);
        if share.abs() < 0.1 { 0.0 } else { share.clamp(-1.0, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64) -> Area {
        Area { x, y: 0.0, width: 100.0, height: 300.0 }
    }

    #[test]
    fn who_walks_has_a_direction_and_who_sways_has_none() {
        let (mut walk, mut sway) = (Lead::default(), Lead::default());
        for frame in 0..60u64 {
            let seconds = frame as f64 / 30.0;
            walk.observe(frame * SECOND / 30, &at(300.0 - 100.0 * seconds), false);
            sway.observe(frame * SECOND / 30, &at(300.0 + 2.0 * (seconds * 3.0).sin()), false);
        }
        assert!(walk.direction(640.0) < -0.9, "{}", walk.direction(640.0));
        assert_eq!(sway.direction(640.0), 0.0);
    }

    #[test]
    fn others_than_before_and_a_gap_are_no_walk() {
        let mut lead = Lead::default();
        lead.observe(0, &at(0.0), false);
        lead.observe(SECOND / 30, &at(500.0), true);
        assert_eq!(lead.direction(640.0), 0.0);
        lead.observe(SECOND * 5, &at(0.0), false);
        assert_eq!(lead.direction(640.0), 0.0);
    }
}
