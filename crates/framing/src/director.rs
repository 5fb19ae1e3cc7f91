//! When the crop moves.

use portraitd_protocol::{FramingMode, FramingState};

use crate::clock::StepClock;
use crate::constraints::{CropConstraints, FrameRect, Pose, narrow};
use crate::deviation::{Confirmation, Deviation};
use crate::followed::Followed;
use crate::group::Group;
use crate::lead::Lead;
use crate::moving_crop::{ChasePurpose, Motion, MovingCrop};
use crate::settings::{Settings, SettingsError};
use crate::shot::{Limits, Shot, Subject};
use crate::tuning::{
    ABSENT_NS, DEAD_BAND_ZOOM, DRASTIC_LIMITS, GRACE_NS, LOST_HOLD_NS, MODERATE_LIMITS, NEAR_EDGE, REQUESTED_BAND_ZOOM,
    REST_NS, SIDE_MARGIN, SLACK_NS, STALE_NS, STOP, ZOOM_IN, ZOOM_OUT,
};

/// Decides when and how the crop of one camera moves.
///
/// Call [`Self::observe`] for each new mask and [`Self::step`] for each frame, both with capture
/// timestamps of the same clock. [`Self::step`] allocates nothing.
#[derive(Clone, Debug)]
pub struct Director {
    settings: Settings,
    clock: StepClock,
    group: Group,
    followed: Followed,
    /// Whether the next observation decides anew who belongs to the group.
    regroup_due: bool,
    lead: Lead,
    crop: MovingCrop,
    /// Capture time of the newest observation.
    observed_ns: Option<u64>,
    confirmation: Confirmation,
    /// No moderate move starts before this time of the director's clock.
    rest_until_ns: u64,
    /// From this time of the director's clock on, the people in sight are framed without further
    /// confirmation.
    reframe_due_ns: Option<u64>,
}

fn constraints(settings: &Settings) -> Result<CropConstraints, SettingsError> {
    settings.check()?;
    CropConstraints::new(settings.frame, settings.output, (settings.min_zoom, settings.max_zoom))
}

impl Director {
    /// A director that shows the whole frame, or as much of it as the least zoom allows (or, in manual mode, the manual crop).
    ///
    /// # Errors
    /// [`SettingsError`] if a setting is out of range.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let mut director = Self {
            settings,
            clock: StepClock::new(),
            group: Group::default(),
            followed: Followed::default(),
            regroup_due: false,
            lead: Lead::default(),
            crop: MovingCrop::new(constraints(&settings)?, settings.speed),
            observed_ns: None,
            confirmation: Confirmation::default(),
            rest_until_ns: 0,
            reframe_due_ns: Some(0),
        };
        if let Some(fixed) = director.fixed_crop() {
            director.crop.arrive(fixed);
        }
        Ok(director)
    }

    /// The crop of a mode that does not depend on people.
    fn fixed_crop(&self) -> Option<FrameRect> {
        let constraints = self.crop.constraints();
        match self.settings.mode {
            FramingMode::Off => Some(constraints.full()),
            FramingMode::Manual => {
                let wanted = FrameRect::from_unit(&self.settings.manual_crop, self.settings.frame);
                Some(constraints.enclosing(&wanted))
            }
            _ => None,
        }
    }

    /// Takes other settings, at any time, also while the crop moves. The crop stays at its place in
    /// the picture and eases to what the new settings require. Equal settings change nothing.
    ///
    /// # Errors
    /// [`SettingsError`] if a setting is out of range. The previous settings then stay in force.
    pub fn set(&mut self, settings: Settings) -> Result<(), SettingsError> {
        let transferred_goal = self.crop.set_constraints(constraints(&settings)?, settings.speed);
        let old = std::mem::replace(&mut self.settings, settings);
        if old.mode != settings.mode {
            self.reframe_due_ns = Some(0);
        }
        if let Some(fixed) = self.fixed_crop() {
            self.reframe_due_ns = None;
            self.confirmation.restart();
            self.crop.transition_to(fixed, transferred_goal);
        } else if let Some(goal) = transferred_goal {
            self.crop.resume(goal);
        }
        Ok(())
    }

    /// Whether a frame captured at `capture_ns` is newer than all frames and observations before.
    pub fn is_newest(&self, capture_ns: u64) -> bool {
        self.clock.is_newest(capture_ns)
    }

    /// Takes the people in a new mask (an empty slice: nobody is there) of the frame captured at
    /// `capture_ns`, which may be newer or older than the frame of the last [`Self::step`].
    /// Observations that are not newer than the last one are ignored.
    pub fn observe(&mut self, capture_ns: u64, people: &[Subject]) {
        if self.observed_ns.is_some_and(|observed_ns| capture_ns <= observed_ns) {
            return;
        }
        self.advance(capture_ns);
        if self.observed_ns.is_none_or(|observed_ns| capture_ns - observed_ns > STALE_NS) {
            self.confirmation.restart();
        }
        self.observed_ns = Some(capture_ns);
        let now_ns = self.clock.now_ns().saturating_sub(self.clock.age_of(capture_ns));
        let before = self.followed.id();
        let people = self.followed.choose(now_ns, people);
        self.regroup_due |= before != 0 && self.followed.id() == 0;
        let change = self.group.observe(now_ns, people);
        if self.regroup_due && !people.is_empty() {
            self.regroup_due = false;
            self.reframe();
        }
        if change.is_first && (self.reframe_due_ns.is_some() || self.settings.mode == FramingMode::Follow) {
            self.reframe_due_ns = change.due_ns;
        }
        if let Some(people) = self.people() {
            self.lead.observe(now_ns, &people, change.due_ns.is_some());
        }
        self.consider(now_ns, change.due_ns);
    }

    /// The shot of the frame captured at `capture_ns`. A frame that is not newer than the last one
    /// moves nothing.
    pub fn step(&mut self, capture_ns: u64) -> Shot {
        if self.clock.is_restarted_by(capture_ns) {
            self.observed_ns = None;
        }
        self.advance(capture_ns);
        self.shot()
    }

    /// Frames everybody in sight now, also inside the dead bands. If nobody is in sight, it frames
    /// the next person who appears. Without effect in the modes off and manual.
    pub fn reframe(&mut self) {
        if self.fixed_crop().is_none() {
            self.group.regroup();
            self.reframe_due_ns = Some(0);
        }
    }

    /// From the next observation on, the crop follows the person with this id alone, wherever the
    /// others go; 0 follows everybody. It moves to them at once. A person who is not seen for two
    /// seconds, from now on or later, is lost: then it follows everybody again. Without effect on the
    /// crop in the modes off and manual.
    pub fn follow(&mut self, id: u32) {
        if self.followed.id() != id {
            self.followed = Followed::new(id);
            self.regroup_due = true;
        }
    }

    /// The id of the person whom the crop follows; 0 for everybody.
    pub fn followed(&self) -> u32 {
        self.followed.id()
    }

    /// The limits that follow from the settings.
    pub fn limits(&self) -> Limits {
        let constraints = self.crop.constraints();
        let smallest = constraints.smallest().to_pixels();
        Limits {
            max_zoom: narrow(constraints.max_zoom.exp() * constraints.least_zoom),
            min_zoom: narrow(constraints.least_zoom),
            zoom_without_upscaling: narrow(constraints.zoom_without_upscaling),
            largest_crop: constraints.full().to_pixels(),
            smallest_crop: (smallest.width, smallest.height),
            speed: (narrow(MODERATE_LIMITS.speed), narrow(DRASTIC_LIMITS.speed)),
            acceleration: (narrow(MODERATE_LIMITS.acceleration), narrow(DRASTIC_LIMITS.acceleration)),
            zoom_rate: (narrow(ZOOM_IN), narrow(ZOOM_OUT)),
        }
    }

    /// Whether nobody has been seen for so long (10 s, or ever) that nobody is expected to return.
    pub fn is_absent(&self) -> bool {
        let now_ns = self.clock.now_ns();
        let is_long_ago = |since_ns: u64| now_ns.saturating_sub(since_ns) + SLACK_NS >= ABSENT_NS;
        self.group.is_empty() && self.group.vacant_since_ns().is_none_or(is_long_ago)
    }

    /// The number of moves that have begun.
    pub fn moves(&self) -> u64 {
        self.crop.moves
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn shot(&self) -> Shot {
        let still = self.crop.is_still();
        let crop = self.crop.at(self.clock.fraction());
        let state = match (self.settings.mode, self.crop.motion) {
            (FramingMode::Off, _) => FramingState::Inactive,
            (FramingMode::Manual, _) if still => FramingState::Converged,
            (FramingMode::Manual, _) => FramingState::Framing,
            (FramingMode::Once, Motion::Rest) if still && self.reframe_due_ns.is_none() => FramingState::Converged,
            // The crop has not converged while a move is requested, which begins as soon as it is
            // due.
            (FramingMode::Follow, Motion::Rest) if still && !self.group.is_empty() && self.reframe_due_ns.is_none() => {
                FramingState::Converged
            }
            (
                FramingMode::Follow | FramingMode::Once,
                Motion::Chase { purpose: ChasePurpose::Pan | ChasePurpose::PanAndZoom, .. },
            ) => FramingState::Framing,
            _ if self.group.is_empty() => FramingState::Lost,
            _ => FramingState::Framing,
        };
        Shot { crop, state, still, subject: self.followed.id() }
    }

    /// Advances the clock to `capture_ns`, if that is newer, and runs the integration steps that
    /// are due.
    fn advance(&mut self, capture_ns: u64) {
        let is_fresh = self.observed_ns.is_some_and(|at_ns| capture_ns.saturating_sub(at_ns) <= STALE_NS);
        self.clock.advance(capture_ns);
        while self.clock.take_step() {
            self.decide(is_fresh);
            if self.crop.step() {
                self.rest_until_ns = self.clock.step_ns() + REST_NS;
            }
        }
    }

    /// The union of the members' boxes as last seen.
    fn people(&self) -> Option<FrameRect> {
        self.group.bounds().map(|bounds| FrameRect::from_unit(&bounds, self.settings.frame))
    }

    /// The pose at which a crop of `zoom` shows `people` best, with room in the direction in which
    /// they walk.
    fn ideal(&self, people: &FrameRect, zoom: f64) -> Pose {
        let constraints = self.crop.constraints();
        let ideal = constraints.ideal(people, zoom);
        let (width, _) = constraints.size(zoom);
        let room = f64::from(self.settings.lead_room) * self.lead.direction(width) * width;
        // At most so far that people keep their own margin on the other side.
        let slack = ((width * (1.0 - 2.0 * SIDE_MARGIN) - people.width) * 0.5).max(0.0);
        constraints.clamp(&Pose { x: ideal.x + room.clamp(-slack, slack), ..ideal })
    }

    /// The error of a crop at `pose`.
    fn deviation(&self, people: &FrameRect, pose: &Pose) -> Deviation {
        let ideal = self.ideal(people, pose.zoom);
        let (width, height) = self.crop.constraints().size(pose.zoom);
        let (left, right) = (pose.x - width * 0.5, pose.x + width * 0.5);
        let frame_width = self.crop.constraints().width;
        let near_left = left > 1.0 && people.x - left < NEAR_EDGE * width;
        let near_right = right < frame_width - 1.0 && right - people.x - people.width < NEAR_EDGE * width;
        Deviation {
            pan: (ideal.x - pose.x) / width,
            tilt: (ideal.y - pose.y) / height,
            size: (pose.zoom - self.wanted_zoom(people)).exp(),
            near_edge: near_left || near_right,
        }
    }

    /// The zoom that the people require. The crop leaves the whole frame only for a difference of
    /// the zoom dead band, so that people near the limit do not make it open and close.
    fn wanted_zoom(&self, people: &FrameRect) -> f64 {
        let zoom = self.crop.constraints().wanted_zoom(people);
        let is_whole = self.crop.goal_pose().zoom < STOP;
        if is_whole && (-zoom).exp() > DEAD_BAND_ZOOM.0 { 0.0 } else { zoom }
    }

    /// Evaluates an observation at `now_ns`. `due_ns` is set if somebody joined or left: that took
    /// its own time, so the error counts as confirmed from then on.
    fn consider(&mut self, now_ns: u64, due_ns: Option<u64>) {
        if !self.group.is_in_sight() || self.fixed_crop().is_some() {
            self.confirmation.restart();
            return;
        }
        let Some(people) = self.people() else { return };
        if let Motion::Chase { purpose, .. } = self.crop.motion {
            self.retarget(&people, purpose == ChasePurpose::PanAndZoom);
        }
        let deviation = self.deviation(&people, &self.crop.reference_pose());
        self.confirmation.update(now_ns, &deviation);
        if let Some(due_ns) = due_ns {
            self.confirmation.confirm_by(due_ns);
        }
    }

    /// Whether the group has been gone for so long that the whole frame is shown.
    fn is_lost(&self) -> bool {
        let is_long_ago = |since_ns: u64| self.clock.step_ns() >= since_ns + LOST_HOLD_NS + GRACE_NS;
        self.group.is_empty() && self.group.vacant_since_ns().is_some_and(is_long_ago)
    }

    /// Starts or stops moves that are due, between two integration steps. `is_fresh`: the newest
    /// observation is recent enough.
    fn decide(&mut self, is_fresh: bool) {
        if self.fixed_crop().is_some() {
            return;
        }
        if !is_fresh {
            self.confirmation.restart();
            self.crop.stop_chase();
            return;
        }
        let follows = self.settings.mode == FramingMode::Follow;
        if !self.group.is_in_sight() {
            if follows && self.is_lost() && self.crop.goal != self.crop.constraints().full() {
                match self.crop.motion {
                    // From rest only: two motions at once could exceed the limits.
                    Motion::Rest => self.crop.begin_opening(),
                    Motion::Chase { .. } => self.crop.stop_chase(),
                    Motion::Timed { .. } => {}
                }
            }
            return;
        }
        let now_ns = self.clock.step_ns();
        let drastic = self.confirmation.is_drastic(now_ns);
        let moderate = self.confirmation.is_moderate(now_ns) && now_ns >= self.rest_until_ns;
        let requested = self.reframe_due_ns.is_some_and(|due_ns| now_ns >= due_ns);
        if requested {
            self.reframe_due_ns = None;
        }
        let Some(people) = self.people() else { return };
        if let Motion::Chase { chase, .. } = &mut self.crop.motion {
            if drastic {
                chase.limits = DRASTIC_LIMITS;
            }
            if requested {
                self.retarget(&people, true);
            }
        } else if requested {
            let deviation = self.deviation(&people, &self.crop.goal_pose());
            if deviation.justifies_requested_move() {
                self.start(&people, deviation.is_drastic(), deviation.size_is_outside(REQUESTED_BAND_ZOOM));
            }
        } else if follows && (drastic || moderate) {
            let deviation = self.deviation(&people, &self.crop.goal_pose());
            self.start(&people, drastic, deviation.size_is_outside(DEAD_BAND_ZOOM));
        }
    }

    /// Begins a chase, unless the crop is already at rest where it would lead.
    fn start(&mut self, people: &FrameRect, drastic: bool, zooming: bool) {
        let zoom = if zooming { self.wanted_zoom(people) } else { self.crop.goal_pose().zoom };
        let goal = self.crop.constraints().snap(&self.ideal(people, zoom));
        self.confirmation.restart();
        if self.crop.motion == Motion::Rest && goal == self.crop.goal {
            // Even pixels and the edges of the frame allow nothing closer: the same move would be
            // due again and again.
            return;
        }
        let limits = if drastic { DRASTIC_LIMITS } else { MODERATE_LIMITS };
        self.crop.begin_chase(goal, limits, ChasePurpose::of(zooming));
    }

    /// Gives a chase a new goal, if the people have moved from the old one by more than noise.
    /// `always_zoom`: also inside the zoom dead band.
    fn retarget(&mut self, people: &FrameRect, always_zoom: bool) {
        let goal = self.crop.goal_pose();
        let deviation = self.deviation(people, &goal);
        let zooming = always_zoom || deviation.size_is_outside(DEAD_BAND_ZOOM);
        if let Motion::Chase { purpose, .. } = &mut self.crop.motion {
            *purpose = ChasePurpose::of(zooming);
        }
        let resizes = zooming && deviation.size_is_outside((1.0 - 1.5 * STOP, 1.0 + 1.5 * STOP));
        if resizes || deviation.is_off_center() {
            let zoom = if resizes { self.wanted_zoom(people) } else { goal.zoom };
            self.crop.goal = self.crop.constraints().snap(&self.ideal(people, zoom));
        }
    }
}
