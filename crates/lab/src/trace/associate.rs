//! Gives ids to boxes without ids. A box that probably belongs to the same person keeps its id from
//! observation to observation. Boxes are matched by overlap first, then by the distance of their
//! centres.

use portraitd_framing::{MOST_PEOPLE, Subject};
use portraitd_media::UnitRect;

/// The intersection over union above which two boxes may be the same person.
const OVERLAP: f32 = 0.05;
/// The largest distance of the centres, in fractions of the frame, at which boxes without overlap
/// may be the same person: if the number of people is the same as before, and if it has changed.
const DISTANCE: (f32, f32) = (0.5, 0.25);
/// A person who returns after a longer absence, in seconds, gets a new id.
const MEMORY_S: f64 = 2.5;
/// The longest time between two observations, in seconds, from which a speed is computed or over
/// which it is extrapolated.
const SPEED_S: f64 = 0.5;

#[derive(Clone, Copy, Debug)]
struct NamedBox {
    subject: Subject,
    /// The speed of the centre, in fractions of the frame per second.
    speed: (f32, f32),
    seen_s: f64,
    /// Whether the last observation contained the person.
    present: bool,
    /// Whether the current observation contains the person.
    found: bool,
}

impl NamedBox {
    /// The box at `time_s`, extrapolated with its speed.
    fn expected(&self, time_s: f64) -> UnitRect {
        let seconds = seconds_between(self.seen_s, time_s);
        let bounds = self.subject.bounds;
        if !self.present || seconds > SPEED_S {
            return bounds;
        }
        let (x, y) = (self.speed.0 * narrow(seconds), self.speed.1 * narrow(seconds));
        UnitRect { x: bounds.x + x, y: bounds.y + y, ..bounds }
    }

    fn see(&mut self, time_s: f64, bounds: UnitRect) {
        let seconds = seconds_between(self.seen_s, time_s);
        let ((x, y), (old_x, old_y)) = (bounds.center(), self.subject.bounds.center());
        self.speed = if self.present && seconds > 0.0 && seconds <= SPEED_S {
            ((x - old_x) / narrow(seconds), (y - old_y) / narrow(seconds))
        } else {
            (0.0, 0.0)
        };
        self.subject.bounds = bounds;
        (self.seen_s, self.found) = (time_s, true);
    }
}

fn seconds_between(from_s: f64, to_s: f64) -> f64 {
    (to_s - from_s).max(0.0)
}

#[expect(clippy::cast_possible_truncation, reason = "below one second, where an f32 is exact enough")]
const fn narrow(seconds: f64) -> f32 {
    seconds as f32
}

/// The people of a trace, who have ids.
#[derive(Debug, Default)]
pub(super) struct Association {
    tracks: Vec<NamedBox>,
    next: u32,
    named: Vec<Subject>,
}

fn distance(a: &UnitRect, b: &UnitRect) -> f32 {
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    (ax - bx).hypot(ay - by)
}

impl Association {
    /// Gives ids to the `boxes` of the observation at `time_s`. If there are more than
    /// [`MOST_PEOPLE`], the largest are used. People of the last observation are matched first, so
    /// that a passer-by does not take the id of a person who has just left. A match by overlap has
    /// priority over a match by distance.
    pub(super) fn name(&mut self, time_s: f64, boxes: &[UnitRect]) -> &[Subject] {
        let mut boxes: Vec<UnitRect> = boxes.iter().copied().filter(|bounds| !bounds.is_empty()).collect();
        boxes.sort_by(|a, b| b.area().total_cmp(&a.area()));
        boxes.truncate(MOST_PEOPLE);
        self.tracks.retain(|track| (0.0..=MEMORY_S).contains(&(time_s - track.seen_s)));
        for track in &mut self.tracks {
            track.found = false;
        }
        let alone = boxes.len() == 1 && self.tracks.len() == 1;
        let steady = boxes.len() == self.tracks.iter().filter(|track| track.present).count();
        let reach = if alone {
            f32::INFINITY
        } else if steady {
            DISTANCE.0
        } else {
            DISTANCE.1
        };
        self.named.clear();
        let overlapping = |track: &NamedBox, bounds: &UnitRect| {
            let overlap = track.expected(time_s).iou(bounds);
            (overlap > OVERLAP).then_some(overlap)
        };
        let near = |track: &NamedBox, bounds: &UnitRect| {
            let distance = distance(&track.expected(time_s), bounds);
            (distance <= reach).then_some(-distance)
        };
        for present in [true, false] {
            self.pair(time_s, present, &mut boxes, overlapping);
        }
        for present in [true, false] {
            self.pair(time_s, present, &mut boxes, near);
        }
        for bounds in boxes {
            let subject = Subject { id: self.next, bounds };
            self.next = self.next.wrapping_add(1);
            self.tracks.push(NamedBox { subject, speed: (0.0, 0.0), seen_s: time_s, present: true, found: true });
            self.named.push(subject);
        }
        for track in &mut self.tracks {
            track.present = track.found;
        }
        &self.named
    }

    /// Matches boxes with the people who were (or were not) `present` in the last observation, in
    /// descending order of `score`. Matched boxes are removed from `boxes`.
    fn pair(
        &mut self,
        time_s: f64,
        present: bool,
        boxes: &mut Vec<UnitRect>,
        score: impl Fn(&NamedBox, &UnitRect) -> Option<f32>,
    ) {
        loop {
            let mut best: Option<(f32, usize, usize)> = None;
            let free = |track: &NamedBox| !track.found && track.present == present;
            for (track_index, track) in self.tracks.iter().enumerate().filter(|(_, track)| free(track)) {
                for (box_index, bounds) in boxes.iter().enumerate() {
                    let found = score(track, bounds);
                    if let Some(score) = found
                        && best.is_none_or(|(highest, _, _)| score > highest)
                    {
                        best = Some((score, track_index, box_index));
                    }
                }
            }
            let Some((_, track_index, box_index)) = best else { break };
            let track = &mut self.tracks[track_index];
            track.see(time_s, boxes.swap_remove(box_index));
            self.named.push(track.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(subjects: &[Subject]) -> Vec<u32> {
        let mut ids: Vec<u32> = subjects.iter().map(|subject| subject.id).collect();
        ids.sort_unstable();
        ids
    }

    const LEFT: UnitRect = UnitRect::new(0.1, 0.3, 0.2, 0.6);
    const RIGHT: UnitRect = UnitRect::new(0.6, 0.3, 0.2, 0.6);

    #[test]
    fn a_blink_keeps_the_id_and_a_long_absence_does_not() {
        let mut association = Association::default();
        assert_eq!(ids(association.name(0.0, &[LEFT, RIGHT])), [0, 1]);
        let right = association.name(0.2, &[RIGHT])[0].id;
        assert_eq!(association.name(1.8, &[RIGHT])[0].id, right);
        assert_eq!(ids(association.name(2.0, &[RIGHT, LEFT])), [0, 1]);
        association.name(2.2, &[RIGHT]);
        assert_eq!(association.name(4.0, &[RIGHT])[0].id, right);
        assert_eq!(ids(association.name(5.0, &[RIGHT, LEFT])), [right, 2]);
    }

    #[test]
    fn somebody_alone_is_followed_over_any_distance() {
        let mut association = Association::default();
        association.name(0.0, &[UnitRect::new(0.0, 0.0, 0.1, 0.3)]);
        assert_eq!(association.name(0.1, &[UnitRect::new(0.9, 0.7, 0.1, 0.3)])[0].id, 0);
    }

    #[test]
    fn two_who_merge_and_part_are_the_same_two() {
        let mut association = Association::default();
        association.name(0.0, &[LEFT, RIGHT]);
        association.name(0.1, &[LEFT.union(&RIGHT)]);
        assert_eq!(ids(association.name(1.0, &[RIGHT, LEFT])), [0, 1]);
    }

    #[test]
    fn a_passer_by_does_not_become_the_one_who_blinks() {
        let mut association = Association::default();
        assert_eq!(ids(association.name(0.0, &[LEFT, RIGHT])), [0, 1]);
        let right = association.name(0.2, &[RIGHT])[0].id;
        let through = |step: u8| UnitRect { x: 0.9 - f32::from(step) * 0.1, y: 0.25, ..LEFT };
        for step in 0..12 {
            let time_s = 0.4 + f64::from(step) * 0.12;
            assert_eq!(ids(association.name(time_s, &[RIGHT, through(step)])), [right, 2], "step {step}");
        }
        assert_eq!(ids(association.name(1.8, &[RIGHT, LEFT])), [0, 1]);
    }

    #[test]
    fn a_crowd_is_cut_to_the_largest() {
        let mut association = Association::default();
        let crowd: Vec<UnitRect> = (0..100u8).map(|n| UnitRect::new(0.0, 0.0, f32::from(n) / 100.0, 0.5)).collect();
        let named = association.name(0.0, &crowd);
        assert_eq!(named.len(), MOST_PEOPLE);
        assert!(named.iter().all(|subject| subject.bounds.width > 0.83));
    }
}
