//! How a crop moves: it chases a goal as a critically damped spring with limited speed and
//! acceleration, or follows a timed curve. Both start from the current speed, so nothing jumps.

use crate::constraints::{CropConstraints, Pose};
use crate::tuning::{LANDING_SPEED, STEP_S, STOP, SpeedLimits, ZOOM_ACCELERATION, ZOOM_IN, ZOOM_OUT};

/// The progress (0 to 1) of a move with a trapezoidal speed profile: constant acceleration,
/// constant speed, constant deceleration. `time` (0 to 1) is the fraction of the duration that has
/// passed, `ramp` (0 to 0.5) the fraction that each ramp takes.
fn trapezoidal(time: f64, ramp: f64) -> f64 {
    let time = time.clamp(0.0, 1.0);
    let speed = 1.0 / (1.0 - ramp);
    if time < ramp {
        speed * time * time / (2.0 * ramp)
    } else if time > 1.0 - ramp {
        1.0 - speed * (1.0 - time) * (1.0 - time) / (2.0 * ramp)
    } else {
        speed * (time - ramp * 0.5)
    }
}

/// The progress (0 to 1) of a move with minimum jerk: the quintic polynomial that starts and ends
/// without speed and acceleration.
fn minimum_jerk(time: f64) -> f64 {
    let time = time.clamp(0.0, 1.0);
    time * time * time * (10.0 + time * (6.0 * time - 15.0))
}

/// The quintic polynomial from 0 to 0 that starts with a slope of 1. All other speeds and
/// accelerations at its ends are 0.
fn fade_out(time: f64) -> f64 {
    let time = time.clamp(0.0, 1.0);
    time * (1.0 + time * time * (time * (8.0 - 3.0 * time) - 6.0))
}

/// The speed profile of a timed move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Profile {
    MinimumJerk,
    /// Constant speed between two ramps. Each ramp takes this fraction (up to 0.5) of the time.
    Trapezoidal(f64),
}

/// A move to a fixed goal that takes a fixed time.
///
/// All four edges cover the same fraction of their distance at any time, so the crop stays inside
/// the frame if it starts and ends inside. The speed at the start is added and fades out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TimedMove {
    pub(crate) from: Pose,
    pub(crate) to: Pose,
    /// The speed at the start: pixels and logarithm of the zoom, per second.
    pub(crate) start_speed: Pose,
    pub(crate) profile: Profile,
    pub(crate) duration_s: f64,
    /// The time in which the start speed fades out, at most `duration_s`.
    pub(crate) fade_s: f64,
    pub(crate) elapsed_s: f64,
}

impl TimedMove {
    /// Goes on by one integration step; `None` once the goal is reached.
    pub(crate) fn step(&mut self, constraints: &CropConstraints) -> Option<Pose> {
        self.elapsed_s += STEP_S;
        let time = self.elapsed_s / self.duration_s;
        if time >= 1.0 - 1e-9 {
            return None;
        }
        let progress = match self.profile {
            Profile::MinimumJerk => minimum_jerk(time),
            Profile::Trapezoidal(ramp) => trapezoidal(time, ramp),
        };
        let zoom_change = self.to.zoom - self.from.zoom;
        // The progress of the edges when the logarithm of the zoom has made `progress`.
        let edges = if zoom_change.abs() < 1e-9 {
            progress
        } else {
            (-zoom_change * progress).exp_m1() / (-zoom_change).exp_m1()
        };
        let fade = self.fade_s * fade_out(self.elapsed_s / self.fade_s);
        Some(constraints.clamp(&Pose {
            x: self.from.x + (self.to.x - self.from.x) * edges + self.start_speed.x * fade,
            y: self.from.y + (self.to.y - self.from.y) * edges + self.start_speed.y * fade,
            zoom: self.from.zoom + zoom_change * progress + self.start_speed.zoom * fade,
        }))
    }
}

/// The speeds of a chase: pan and tilt in crops per second, logarithm of the zoom per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Speed {
    pub(crate) pan: f64,
    pub(crate) tilt: f64,
    pub(crate) zoom: f64,
}

/// The limits of one axis.
#[derive(Clone, Copy)]
struct AxisLimits {
    frequency: f64,
    min_speed: f64,
    max_speed: f64,
    acceleration: f64,
}

/// The speed after one step of a critically damped spring whose goal is `error` away. A speed that
/// already exceeds its limit, because a faster motion preceded, returns at the allowed
/// acceleration.
fn spring_speed(error: f64, speed: f64, limits: &AxisLimits) -> f64 {
    let AxisLimits { frequency, min_speed, max_speed, acceleration } = *limits;
    let pull = frequency * frequency * error - 2.0 * frequency * speed;
    let change = acceleration * STEP_S;
    let next = speed + (pull * STEP_S).clamp(-change, change);
    next.clamp(min_speed.min(speed + change), max_speed.max(speed - change))
}

/// Reduces `speed` so that the crop can stop at the edge of the frame. `before` and `after` are the
/// distances to the two edges. `closing` is the speed at which the edges approach while the zoom
/// opens (negative while it closes). All in crops.
fn brake_before_edge(speed: f64, before: f64, after: f64, closing: f64, acceleration: f64) -> f64 {
    let highest = (2.0 * acceleration * after.max(0.0)).sqrt() - closing;
    let lowest = closing - (2.0 * acceleration * before.max(0.0)).sqrt();
    if lowest > highest { (lowest + highest) * 0.5 } else { speed.clamp(lowest, highest) }
}

/// A move after a goal that may itself move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chase {
    /// The current speed.
    pub(crate) speed: Speed,
    /// The limits of pan and tilt.
    pub(crate) limits: SpeedLimits,
}

impl Chase {
    /// One integration step from `pose` towards `goal`. `frequency` is that of (pan and tilt,
    /// zoom).
    pub(crate) fn step(
        &mut self,
        pose: &Pose,
        goal: &Pose,
        frequency: (f64, f64),
        constraints: &CropConstraints,
    ) -> Pose {
        let zooming = AxisLimits {
            frequency: frequency.1,
            min_speed: -ZOOM_OUT,
            max_speed: ZOOM_IN,
            acceleration: ZOOM_ACCELERATION,
        };
        self.speed.zoom = spring_speed(goal.zoom - pose.zoom, self.speed.zoom, &zooming);
        let zoom = (pose.zoom + self.speed.zoom * STEP_S).max(0.0);
        self.speed.zoom = (zoom - pose.zoom) / STEP_S;

        let SpeedLimits { speed: top, acceleration } = self.limits;
        let panning = AxisLimits { frequency: frequency.0, min_speed: -top, max_speed: top, acceleration };
        let (width, height) = constraints.size(zoom);
        let closing = -0.5 * self.speed.zoom;
        // Half of the acceleration: the other half is for an edge whose own speed changes.
        let braking = acceleration * 0.5;
        let axis = |speed: f64, at: f64, goal: f64, size: f64, extent: f64| {
            let before = at / size - 0.5;
            let after = (extent - at) / size - 0.5;
            brake_before_edge(spring_speed((goal - at) / size, speed, &panning), before, after, closing, braking)
        };
        self.speed.pan = axis(self.speed.pan, pose.x, goal.x, width, constraints.width);
        self.speed.tilt = axis(self.speed.tilt, pose.y, goal.y, height, constraints.height);
        constraints.clamp(&Pose {
            x: pose.x + self.speed.pan * width * STEP_S,
            y: pose.y + self.speed.tilt * height * STEP_S,
            zoom,
        })
    }

    /// Whether the crop is close enough to the goal, and slow enough, to land.
    pub(crate) fn can_land(&self, pose: &Pose, goal: &Pose, constraints: &CropConstraints) -> bool {
        let (width, height) = constraints.size(pose.zoom);
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
