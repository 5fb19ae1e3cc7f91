//! How a crop moves: chasing a goal as a critically damped spring with bounded speed and acceleration, or gliding to one
//! on a timed curve. Both leave from whatever motion there is, so that nothing jumps.

use super::stage::{Pose, Stage};
use super::tuning::{LANDING_SPEED, Pace, STEP_S, STOP, ZOOM_ACCELERATION, ZOOM_IN, ZOOM_OUT};

/// The share of the way walked at `part` (0 to 1) of the time: constant acceleration, then constant speed, then constant
/// deceleration. `ramp` (0 to 0.5) is the part of the time that each ramp takes.
fn eased(part: f64, ramp: f64) -> f64 {
    let part = part.clamp(0.0, 1.0);
    let speed = 1.0 / (1.0 - ramp);
    if part < ramp {
        speed * part * part / (2.0 * ramp)
    } else if part > 1.0 - ramp {
        1.0 - speed * (1.0 - part) * (1.0 - part) / (2.0 * ramp)
    } else {
        speed * (part - ramp * 0.5)
    }
}

/// The quintic from 0 to 1 that starts and ends without speed or acceleration (least jerk).
fn quintic(part: f64) -> f64 {
    let part = part.clamp(0.0, 1.0);
    part * part * part * (10.0 + part * (6.0 * part - 15.0))
}

/// The quintic from 0 to 0 that starts with a slope of 1, and has no other speed or acceleration at its ends.
fn fading(part: f64) -> f64 {
    let part = part.clamp(0.0, 1.0);
    part * (1.0 + part * part * (part * (8.0 - 3.0 * part) - 6.0))
}

/// The curve a glide follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curve {
    /// Least jerk.
    Quintic,
    /// Constant speed between two ramps, each this part (up to a half) of the time.
    Ramps(f64),
}

/// A timed move to a fixed goal. All four edges walk the same share of their way at any time, so that the crop stays
/// inside the frame if it begins and ends there; the speed there was at the start fades out on top of that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glide {
    from: Pose,
    to: Pose,
    /// At the start: pixels and zoom a second.
    speed: Pose,
    curve: Curve,
    duration_s: f64,
    fade_s: f64,
    elapsed_s: f64,
}

impl Glide {
    /// From `from`, which moves at `speed` (a second), to `to`.
    pub fn new(from: Pose, speed: Pose, to: Pose, curve: Curve, duration_s: f64, fade_s: f64) -> Self {
        Self { from, to, speed, curve, duration_s, fade_s: fade_s.min(duration_s), elapsed_s: 0.0 }
    }

    /// One integration step on; `None` once arrived.
    pub fn step(&mut self, stage: &Stage) -> Option<Pose> {
        self.elapsed_s += STEP_S;
        let part = self.elapsed_s / self.duration_s;
        if part >= 1.0 - 1e-9 {
            return None;
        }
        let share = match self.curve {
            Curve::Quintic => quintic(part),
            Curve::Ramps(ramp) => eased(part, ramp),
        };
        let way = self.to.zoom - self.from.zoom;
        // The share that the edges have walked, where the logarithm of the zoom has walked `share`.
        let edges = if way.abs() < 1e-9 { share } else { (-way * share).exp_m1() / (-way).exp_m1() };
        let fade = self.fade_s * fading(self.elapsed_s / self.fade_s);
        Some(stage.inside(&Pose {
            x: self.from.x + (self.to.x - self.from.x) * edges + self.speed.x * fade,
            y: self.from.y + (self.to.y - self.from.y) * edges + self.speed.y * fade,
            zoom: self.from.zoom + way * share + self.speed.zoom * fade,
        }))
    }
}

/// Speeds of a chase: pan and tilt in crops a second, zoom per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    pub pan: f64,
    pub tilt: f64,
    pub zoom: f64,
}

/// The bounds of one axis.
#[derive(Clone, Copy)]
struct Bounds {
    frequency: f64,
    lowest: f64,
    highest: f64,
    acceleration: f64,
}

/// The speed after one step of a critically damped spring `error` away from its rest. A speed that is out of bounds
/// already, from a faster motion before, comes back at the acceleration allowed.
fn spring(error: f64, speed: f64, bounds: &Bounds) -> f64 {
    let Bounds { frequency, lowest, highest, acceleration } = *bounds;
    let pull = frequency * frequency * error - 2.0 * frequency * speed;
    let change = acceleration * STEP_S;
    let next = speed + (pull * STEP_S).clamp(-change, change);
    next.clamp(lowest.min(speed + change), highest.max(speed - change))
}

/// `speed`, held back so that the crop can stop at the edge of the frame, which comes nearer at `closing` while the zoom
/// opens (and runs away while it closes). Everything in crops; `before` and `after` are the free room on each side.
fn before_edge(speed: f64, before: f64, after: f64, closing: f64, acceleration: f64) -> f64 {
    let highest = (2.0 * acceleration * after.max(0.0)).sqrt() - closing;
    let lowest = closing - (2.0 * acceleration * before.max(0.0)).sqrt();
    if lowest > highest { (lowest + highest) * 0.5 } else { speed.clamp(lowest, highest) }
}

/// A move after a goal that may itself move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chase {
    /// Of this moment.
    pub speed: Speed,
    /// Bounds of pan and tilt.
    pub pace: Pace,
}

impl Chase {
    /// One integration step from `pose` to `goal`; `frequency` is that of (pan and tilt, zoom).
    pub fn step(&mut self, pose: &Pose, goal: &Pose, frequency: (f64, f64), stage: &Stage) -> Pose {
        let zooming =
            Bounds { frequency: frequency.1, lowest: -ZOOM_OUT, highest: ZOOM_IN, acceleration: ZOOM_ACCELERATION };
        self.speed.zoom = spring(goal.zoom - pose.zoom, self.speed.zoom, &zooming);
        let zoom = (pose.zoom + self.speed.zoom * STEP_S).max(0.0);
        self.speed.zoom = (zoom - pose.zoom) / STEP_S;

        let Pace { speed: top, acceleration } = self.pace;
        let panning = Bounds { frequency: frequency.0, lowest: -top, highest: top, acceleration };
        let (width, height) = stage.size(zoom);
        let closing = -0.5 * self.speed.zoom;
        // Half of the acceleration: the other half is for an edge whose own speed changes.
        let braking = acceleration * 0.5;
        let axis = |speed: f64, at: f64, goal: f64, size: f64, room: f64| {
            let before = at / size - 0.5;
            let after = (room - at) / size - 0.5;
            before_edge(spring((goal - at) / size, speed, &panning), before, after, closing, braking)
        };
        self.speed.pan = axis(self.speed.pan, pose.x, goal.x, width, stage.width);
        self.speed.tilt = axis(self.speed.tilt, pose.y, goal.y, height, stage.height);
        stage.inside(&Pose {
            x: pose.x + self.speed.pan * width * STEP_S,
            y: pose.y + self.speed.tilt * height * STEP_S,
            zoom,
        })
    }

    /// Whether the move is so near its goal, and so slow, that it may land.
    pub fn arrives(&self, pose: &Pose, goal: &Pose, stage: &Stage) -> bool {
        let (width, height) = stage.size(pose.zoom);
        let near = |distance: f64| distance.abs() <= STOP;
        let slow = |speed: f64| speed.abs() <= LANDING_SPEED;
        near((goal.x - pose.x) / width)
            && near((goal.y - pose.y) / height)
            && near(goal.zoom - pose.zoom)
            && slow(self.speed.pan)
            && slow(self.speed.tilt)
            && slow(self.speed.zoom)
    }
}
