//! The track of one person: where they are, how they move, and how well a region fits them.

use portraitd_media::UnitRect;

use crate::regions::Region;

/// How long a hidden person is remembered.
pub(super) const OCCLUSION_NS: u64 = 1_000_000_000;

/// The time constant with which a speed is learned.
const SPEED_TIME_CONSTANT_S: f32 = 0.25;

/// The highest speed that is accepted, in frame widths or heights per second. A box that jumps
/// further has changed its shape.
const TOP_SPEED: f32 = 1.0;

/// The time constant with which the speed of a hidden person decays.
const HIDDEN_TIME_CONSTANT_S: f32 = 0.7;

/// The time constant of the settled box, and of the size in it. It is long compared with the time in
/// which another person passes by.
const SETTLED_TIME_CONSTANT_S: f32 = 0.5;

/// The gain with which the speed of the settled box is learned, per second squared. Somebody who
/// begins to walk is followed within half a second.
const SETTLED_SPEED_GAIN: f32 = 8.0;

/// A box that is wider than the settled one by more than this factor may contain somebody else.
const WIDER: f32 = 1.15;

/// The weight of the fit of the settled box, relative to the fit of the predicted box.
const SETTLED_WEIGHT: f32 = 0.9;

/// How fast the search radius for a hidden person grows, in frame widths per second.
const SEARCH_SPEED: f32 = 0.3;

/// The track of a person.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track {
    pub id: u32,
    /// The newest box, or the predicted box while the person is hidden.
    pub bounds: UnitRect,
    /// The settled box: the recent boxes, moved on by the speed that they had. While somebody passes
    /// by, one region contains both people, and `bounds` grows towards the passer-by. The settled box
    /// stays, or goes on as its person did.
    pub settled: UnitRect,
    /// Speed of the settled box, in frame widths and heights per second.
    settled_speed: (f32, f32),
    /// Speed in frame widths and heights per second.
    speed: (f32, f32),
    /// Width and height when the person was last seen apart from others.
    pub size_alone: (f32, f32),
    pub confidence: f32,
    /// Capture time of the last mask that showed the person.
    seen_ns: u64,
    /// Capture time of the first mask without a region for the person; `None` while they are
    /// visible.
    pub hidden_since_ns: Option<u64>,
}

impl Track {
    /// The track of a new person, seen in `region`.
    pub(super) const fn new(id: u32, region: &Region, capture_ns: u64) -> Self {
        Self {
            id,
            bounds: region.bounds,
            settled: region.bounds,
            settled_speed: (0.0, 0.0),
            speed: (0.0, 0.0),
            size_alone: (region.bounds.width, region.bounds.height),
            confidence: region.confidence,
            seen_ns: capture_ns,
            hidden_since_ns: None,
        }
    }

    /// Whether a region of the newest mask shows the person.
    pub(super) const fn is_visible(&self) -> bool {
        self.hidden_since_ns.is_none()
    }

    /// Whether the person has been hidden for too long.
    pub(super) fn is_forgotten(&self, now_ns: u64) -> bool {
        self.hidden_since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > OCCLUSION_NS)
    }

    /// Moves the box to its predicted position `step_s` later.
    pub(super) fn predict(&mut self, step_s: f32) {
        // A speed does not predict a position a second later.
        let step_s = step_s.min(0.5);
        self.bounds.x += self.speed.0 * step_s;
        self.bounds.y += self.speed.1 * step_s;
        self.settled.x += self.settled_speed.0 * step_s;
        self.settled.y += self.settled_speed.1 * step_s;
        if !self.is_visible() {
            self.speed = decayed(self.speed, step_s);
            self.settled_speed = decayed(self.settled_speed, step_s);
        }
    }

    /// Takes the measured box `bounds`, of a region that is the person `alone` or of one that is split.
    /// The current box is the prediction for `step_s` after the previous mask.
    pub(super) fn move_to(&mut self, bounds: UnitRect, confidence: f32, alone: bool, step_s: f32, capture_ns: u64) {
        if step_s > 0.0 {
            let measured = bounds.center();
            // After a time in hiding, the error has accumulated since the person was last seen.
            let since_s = (capture_ns.saturating_sub(self.seen_ns) as f32 * 1e-9).max(step_s);
            let gain = since_s / (since_s + SPEED_TIME_CONSTANT_S) / since_s;
            self.speed = corrected(self.speed, measured, self.bounds.center(), gain);
            let (settled, weight) = (&mut self.settled, since_s / (since_s + SETTLED_TIME_CONSTANT_S));
            let gain = SETTLED_SPEED_GAIN * step_s.min(0.2);
            let is_apart = alone && bounds.width <= WIDER * settled.width;
            self.settled_speed = if is_apart {
                corrected(self.settled_speed, measured, settled.center(), gain)
            } else {
                decayed(self.settled_speed, step_s)
            };
            settled.x += (bounds.x - settled.x) * weight;
            settled.y += (bounds.y - settled.y) * weight;
            settled.width += (bounds.width - settled.width) * weight;
            settled.height += (bounds.height - settled.height) * weight;
        }
        self.bounds = bounds;
        self.confidence = confidence;
        self.seen_ns = capture_ns;
    }
}

/// How well a region fits a track. Hidden people have a lower score, so that they do not take the
/// region of a visible person.
pub(super) fn score(track: &Track, region: &Region, now_ns: u64) -> f32 {
    let hidden_s = track.hidden_since_ns.map_or(0.0, |since_ns| now_ns.saturating_sub(since_ns) as f32 * 1e-9).min(1.0);
    let slack = SEARCH_SPEED * hidden_s;
    let fit =
        fit(&track.bounds, &region.bounds, slack).max(SETTLED_WEIGHT * fit(&track.settled, &region.bounds, slack));
    fit * (1.0 - 0.3 * hidden_s)
}

/// The IoU of two boxes, plus up to 0.5 for near centres (less if the sizes differ).
fn fit(a: &UnitRect, b: &UnitRect, slack: f32) -> f32 {
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    let distance = (ax - bx).hypot(ay - by);
    let reach = 0.25 * (a.width.hypot(a.height) + b.width.hypot(b.height)) + slack;
    let near = (1.0 - distance / reach).max(0.0);
    let (smaller, larger) = (a.area().min(b.area()), a.area().max(b.area()));
    let similar = if larger > 0.0 { (smaller / larger).sqrt() } else { 0.0 };
    a.iou(b) + 0.25 * near * (1.0 + similar)
}

/// A speed after `step_s` seconds in which it could not be measured.
fn decayed((x, y): (f32, f32), step_s: f32) -> (f32, f32) {
    let decay = HIDDEN_TIME_CONSTANT_S / (HIDDEN_TIME_CONSTANT_S + step_s);
    (x * decay, y * decay)
}

/// The speed `(x, y)`, corrected by how far the measured centre is from the predicted one.
fn corrected((x, y): (f32, f32), measured: (f32, f32), predicted: (f32, f32), gain: f32) -> (f32, f32) {
    let component = |speed: f32, distance: f32| (speed + distance * gain).clamp(-TOP_SPEED, TOP_SPEED);
    (component(x, measured.0 - predicted.0), component(y, measured.1 - predicted.1))
}
