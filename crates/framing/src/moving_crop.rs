//! The crop, where it goes, and the motion that takes it there.

use portraitd_media::PixelRect;
use portraitd_protocol::FramingSpeed;

use crate::constraints::{CropConstraints, FrameRect, Pose};
use crate::trajectory::{Chase, Profile, Speed, TimedMove};
use crate::tuning::{
    DRASTIC_LIMITS, LANDING_S, LOST_OPENING_S, STEP_S, STOP, SpeedLimits, TRANSITION_S, ZOOM_OUT, frequency,
};

/// The current motion of the crop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Motion {
    /// The crop is at its goal.
    Rest,
    /// The crop follows people.
    Chase { chase: Chase, purpose: ChasePurpose },
    /// The crop is on a timed curve.
    Timed { timed: TimedMove, purpose: TimedPurpose },
}

/// What a chase is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChasePurpose {
    /// To centre the people without zooming.
    Pan,
    /// To centre the people and to adapt the zoom to them.
    PanAndZoom,
    /// To come to rest nearby, because it is unknown where the people are.
    Stop,
}

impl ChasePurpose {
    pub(crate) fn of(zooming: bool) -> Self {
        if zooming { Self::PanAndZoom } else { Self::Pan }
    }
}

/// What a timed move is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimedPurpose {
    /// The end of a chase.
    Landing,
    /// Another mode, size or manual crop.
    Transition,
    /// Nobody is there: the crop opens to the whole frame.
    Opening,
}

/// The crop, its goal and its motion.
#[derive(Clone, Debug)]
pub(crate) struct MovingCrop {
    constraints: CropConstraints,
    /// Natural frequency of (pan and tilt, zoom) in a chase, radians per second.
    frequency: (f64, f64),
    /// The pose after the last integration step, and the pose before it.
    pose: Pose,
    previous: Pose,
    /// Where the crop is or goes, in even pixels.
    pub(crate) goal: FrameRect,
    pub(crate) motion: Motion,
    /// The number of moves that have begun.
    pub(crate) moves: u64,
}

impl MovingCrop {
    /// A crop that rests on the whole frame.
    pub(crate) fn new(constraints: CropConstraints, speed: FramingSpeed) -> Self {
        let (goal, pose) = (constraints.full(), constraints.pose(&constraints.full()));
        let frequency = frequency(speed);
        Self { constraints, frequency, pose, previous: pose, goal, motion: Motion::Rest, moves: 0 }
    }

    pub(crate) const fn constraints(&self) -> &CropConstraints {
        &self.constraints
    }

    /// Takes other constraints and another speed. The crop stays at its place in the picture; the
    /// motion and the goal remain. If the constraints differ, returns the goal at its place under
    /// the new ones: the caller decides how to go on, with [`Self::transition_to`] or
    /// [`Self::resume`].
    pub(crate) fn set_constraints(&mut self, constraints: CropConstraints, speed: FramingSpeed) -> Option<FrameRect> {
        self.frequency = frequency(speed);
        let old = std::mem::replace(&mut self.constraints, constraints);
        if constraints == old {
            return None;
        }
        self.pose = constraints.transfer(&self.pose, &old);
        self.previous = constraints.transfer(&self.previous, &old);
        Some(constraints.snap(&constraints.transfer(&old.pose(&self.goal), &old)))
    }

    /// Moves to a crop that does not depend on people. `transferred_goal` is the result of
    /// [`Self::set_constraints`].
    pub(crate) fn transition_to(&mut self, fixed: FrameRect, transferred_goal: Option<FrameRect>) {
        if self.motion == Motion::Rest && transferred_goal == Some(fixed) && self.is_near(&fixed) {
            self.arrive(fixed);
        } else if transferred_goal.is_some() || fixed != self.goal || matches!(self.motion, Motion::Chase { .. }) {
            self.begin_transition(fixed);
        }
    }

    /// Continues after other constraints, with the goal that [`Self::set_constraints`] returned.
    pub(crate) fn resume(&mut self, goal: FrameRect) {
        match self.motion {
            Motion::Chase { .. } => self.goal = goal,
            // The director continues from where the crop comes to rest.
            Motion::Timed { purpose: TimedPurpose::Opening, .. } => self.come_to_rest(),
            Motion::Timed { .. } => self.begin_transition(goal),
            // A rounding error of a pixel is not a move.
            Motion::Rest if self.is_near(&goal) => self.arrive(goal),
            Motion::Rest => self.begin_transition(goal),
        }
    }

    /// Whether the crop is at rest and has been since the last integration step.
    pub(crate) fn is_still(&self) -> bool {
        self.motion == Motion::Rest && self.previous == self.pose
    }

    /// The pose from which errors are measured: the current one in a chase, otherwise the goal.
    pub(crate) fn reference_pose(&self) -> Pose {
        if matches!(self.motion, Motion::Chase { .. }) { self.pose } else { self.goal_pose() }
    }

    pub(crate) fn goal_pose(&self) -> Pose {
        self.constraints.pose(&self.goal)
    }

    /// The crop to show; `fraction` is the time since the last integration step, in steps.
    pub(crate) fn at(&self, fraction: f64) -> PixelRect {
        if self.is_still() {
            return self.goal.to_pixels();
        }
        let (from, to) = (self.constraints.rect(&self.previous), self.constraints.rect(&self.pose));
        let blend = |from: f64, to: f64| from + (to - from) * fraction;
        let crop = FrameRect {
            x: blend(from.x, to.x).max(0.0),
            y: blend(from.y, to.y).max(0.0),
            width: blend(from.width, to.width),
            height: blend(from.height, to.height),
        };
        let mut crop = crop.to_pixels();
        let CropConstraints { width, height, .. } = self.constraints;
        let frame = FrameRect { x: 0.0, y: 0.0, width, height }.to_pixels();
        crop.width = crop.width.min(frame.width - crop.x);
        crop.height = crop.height.min(frame.height - crop.y);
        crop
    }

    /// One integration step. Returns whether a chase has ended with it.
    pub(crate) fn step(&mut self) -> bool {
        self.previous = self.pose;
        let goal = self.goal_pose();
        match &mut self.motion {
            Motion::Rest => {}
            Motion::Chase { chase, .. } => {
                self.pose = chase.step(&self.pose, &goal, self.frequency, &self.constraints);
                if chase.can_land(&self.pose, &goal, &self.constraints) {
                    self.begin_timed(self.goal, TimedPurpose::Landing, Profile::MinimumJerk, LANDING_S);
                }
            }
            Motion::Timed { timed, purpose } => match timed.step(&self.constraints) {
                Some(pose) => self.pose = pose,
                None => {
                    let landed = *purpose == TimedPurpose::Landing;
                    self.pose = goal;
                    self.motion = Motion::Rest;
                    return landed;
                }
            },
        }
        false
    }

    /// Starts to move to `goal`, from any motion.
    pub(crate) fn begin_chase(&mut self, goal: FrameRect, limits: SpeedLimits, purpose: ChasePurpose) {
        self.goal = goal;
        self.motion = Motion::Chase { chase: Chase { speed: self.speed_in_crops(), limits }, purpose };
        self.moves += 1;
    }

    /// Opens to the whole frame in [`LOST_OPENING_S`], or longer if the limits require it. Each
    /// ramp takes at least a fifth of the time.
    pub(crate) fn begin_opening(&mut self) {
        let full = self.constraints.full();
        let (to, (width, height)) = (self.constraints.pose(&full), self.constraints.size(self.pose.zoom));
        let zoom_s = (to.zoom - self.pose.zoom).abs() / ZOOM_OUT;
        let pan_s =
            ((to.x - self.pose.x) / width).abs().max(((to.y - self.pose.y) / height).abs()) / DRASTIC_LIMITS.speed;
        // Seconds at top speed, with a reserve for the rounding of measured speeds.
        let top_speed_s = zoom_s.max(pan_s) * 1.01;
        let duration_s = LOST_OPENING_S.max(top_speed_s / 0.8);
        let ramp = (1.0 - top_speed_s / duration_s).clamp(0.2, 0.5);
        self.moves += 1;
        self.begin_timed(full, TimedPurpose::Opening, Profile::Trapezoidal(ramp), duration_s);
    }

    /// Ends a chase after people: the crop comes to rest nearby.
    pub(crate) fn stop_chase(&mut self) {
        let follows = |purpose| matches!(purpose, ChasePurpose::Pan | ChasePurpose::PanAndZoom);
        if matches!(self.motion, Motion::Chase { purpose, .. } if follows(purpose)) {
            self.come_to_rest();
        }
    }

    /// Rests at `goal` without a move.
    pub(crate) fn arrive(&mut self, goal: FrameRect) {
        self.goal = goal;
        self.pose = self.constraints.pose(&goal);
        self.previous = self.pose;
        self.motion = Motion::Rest;
    }

    fn begin_transition(&mut self, goal: FrameRect) {
        self.moves += 1;
        self.begin_timed(goal, TimedPurpose::Transition, Profile::MinimumJerk, TRANSITION_S);
    }

    fn begin_timed(&mut self, goal: FrameRect, purpose: TimedPurpose, profile: Profile, duration_s: f64) {
        self.goal = goal;
        let timed = TimedMove {
            from: self.pose,
            to: self.goal_pose(),
            start_speed: self.speed(),
            profile,
            duration_s,
            fade_s: TRANSITION_S.min(duration_s),
            elapsed_s: 0.0,
        };
        self.motion = Motion::Timed { timed, purpose };
    }

    /// Brings the crop to rest nearby, from any motion. The move is a chase, so it keeps its limits
    /// at the edge of the frame too.
    fn come_to_rest(&mut self) {
        let speed = self.speed();
        let (pan, zoom) = self.frequency;
        // A critically damped spring that starts at speed v comes to rest v / frequency away,
        // without turning back.
        let rest = Pose {
            x: self.pose.x + speed.x / pan,
            y: self.pose.y + speed.y / pan,
            zoom: self.pose.zoom + speed.zoom / zoom,
        };
        self.goal = self.constraints.snap(&self.constraints.clamp(&rest));
        let limits = match self.motion {
            Motion::Chase { chase, .. } => chase.limits,
            Motion::Rest | Motion::Timed { .. } => DRASTIC_LIMITS,
        };
        let chase = Chase { speed: self.speed_in_crops(), limits };
        self.motion = Motion::Chase { chase, purpose: ChasePurpose::Stop };
    }

    /// Whether a jump to `goal` would be no more than a rounding error.
    fn is_near(&self, goal: &FrameRect) -> bool {
        let (goal, (width, height)) = (self.constraints.pose(goal), self.constraints.size(self.pose.zoom));
        let distance = ((goal.x - self.pose.x) / width).abs().max(((goal.y - self.pose.y) / height).abs());
        distance.max((goal.zoom - self.pose.zoom).abs()) < STOP * 0.25
    }

    /// The speed of the last step: pixels and logarithm of the zoom, per second. It is 0 at rest,
    /// where the last step was the rounding to even pixels.
    fn speed(&self) -> Pose {
        if self.motion == Motion::Rest {
            return Pose { x: 0.0, y: 0.0, zoom: 0.0 };
        }
        let Pose { x, y, zoom } = self.previous;
        Pose { x: (self.pose.x - x) / STEP_S, y: (self.pose.y - y) / STEP_S, zoom: (self.pose.zoom - zoom) / STEP_S }
    }

    /// The speed of the last step, with pan and tilt in crops.
    fn speed_in_crops(&self) -> Speed {
        let (width, height) = self.constraints.size(self.pose.zoom);
        let Pose { x, y, zoom } = self.speed();
        Speed { pan: x / width, tilt: y / height, zoom }
    }
}
