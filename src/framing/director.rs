//! When the crop moves. The director's own clock runs with the capture stamps, except that an interval counts for
//! [`LONGEST_INTERVAL`] at most; every timer is on that clock, so that a stalled camera makes nobody leave.

use portraitd_client::{FramingMode, FramingState};

use super::group::Group;
use super::motion::{Chase, Curve, Glide, Speed};
use super::stage::{Area, Pose, Stage};
use super::tuning::{
    ABSENT, CONFIRM, CONFIRM_DRASTIC, DEAD_BAND_PAN, DEAD_BAND_TILT, DEAD_BAND_ZOOM, DRASTIC, DRASTIC_PACE, LANDING_S,
    LONGEST_INTERVAL, LOST_HOLD, LOST_OPENING_S, MODERATE, NEAR_EDGE, REST, SLACK, STALE, STEP, STEP_S, STOP,
    TRANSITION_S, ZOOM_IN, ZOOM_OUT, frequency,
};
use super::{LARGEST_SIDE, Limits, Settings, SettingsError, Shot, Subject};
use crate::pixel::{Rectangle, Size};

/// The director's clock at its start: far enough from 0 that an observation may lie before it.
const EPOCH: u64 = 60_000_000_000;

/// So many stamps in a row, in order among themselves, but before the newest one: the camera's clock began anew.
const NEW_CLOCK: u32 = 15;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Motion {
    /// The crop is the goal.
    Rest,
    /// After people.
    Chase { chase: Chase, zooming: bool },
    /// On a timed curve.
    Glide { glide: Glide, reason: Reason },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The end of a chase.
    Landing,
    /// Another mode, size or manual crop.
    Transition,
    /// Nobody is there: to the whole frame.
    Opening,
}

/// How far a crop is from where it should be.
#[derive(Clone, Copy, Debug)]
struct Offset {
    /// In crops.
    pan: f64,
    tilt: f64,
    /// Wanted size over actual size.
    size: f64,
    /// Somebody touches the left or right edge of the crop, and the frame goes on there.
    near_edge: bool,
}

impl Offset {
    fn sizes(&self, band: (f64, f64)) -> bool {
        self.size < band.0 || self.size > band.1
    }

    /// Out of the dead band.
    fn out(&self) -> bool {
        self.pan.abs() > DEAD_BAND_PAN || self.tilt.abs() > DEAD_BAND_TILT || self.sizes(DEAD_BAND_ZOOM)
    }

    /// By much. Near the top edge is not by much: a nod gets there.
    fn drastic(&self) -> bool {
        self.out() && (self.pan.abs() > DRASTIC || self.tilt.abs() > DRASTIC || self.near_edge)
    }

    /// Worth a move that has been asked for.
    fn any(&self) -> bool {
        self.pan.abs() > STOP || self.tilt.abs() > STOP || self.sizes(ASKED_BAND)
    }
}

/// The zoom dead band of a move that has been asked for.
const ASKED_BAND: (f64, f64) = (0.95, 1.05);

/// See the module, and the folder's.
#[derive(Clone, Debug)]
pub struct Director {
    settings: Settings,
    stage: Stage,
    group: Group,
    /// The newest frame, capture time.
    newest: Option<u64>,
    /// The newest observation, capture time.
    observed: Option<u64>,
    /// Frames before the newest that came one after another, and the last of them.
    late: (u32, u64),
    /// The director's time of the last integration step.
    clock: u64,
    /// What has passed since, less than a step.
    owed: u64,
    /// The last two steps.
    pose: Pose,
    previous: Pose,
    /// Where the crop is or goes.
    goal: Area,
    motion: Motion,
    /// Out of the dead band since, drastically since.
    out_since: Option<u64>,
    drastic_since: Option<u64>,
    /// No moderate move before.
    rest_until: u64,
    /// Frame whoever is there, without waiting.
    asked: bool,
    moves: u64,
}

fn checked(settings: &Settings) -> Result<Stage, SettingsError> {
    for (what, size) in [("frame", settings.frame), ("output", settings.output)] {
        let sides = 2..=LARGEST_SIDE;
        if !(sides.contains(&size.width) && sides.contains(&size.height)) {
            return Err(SettingsError::Size { what, size });
        }
    }
    let max_zoom = settings.max_zoom;
    if !(1.0..=super::tuning::ZOOM_CAP).contains(&max_zoom) {
        return Err(SettingsError::Zoom { max_zoom });
    }
    let crop = settings.manual_crop;
    let numbers = [crop.x, crop.y, crop.width, crop.height].iter().all(|number| number.is_finite());
    if !numbers || crop.is_empty() || !Rectangle::UNIT.contains(&crop, 1e-5) {
        return Err(SettingsError::ManualCrop { crop });
    }
    Stage::new(settings.frame, settings.output, max_zoom)
}

/// `pose` on `old`, in the same place of the picture on `new`, as high there.
fn carried(pose: &Pose, old: &Stage, new: &Stage) -> Pose {
    let (across, down) = (new.width / old.width, new.height / old.height);
    let mut area = old.area(pose);
    area.height *= down;
    let zoom = new.pose(&area).zoom;
    new.inside(&Pose { x: pose.x * across, y: pose.y * down, zoom })
}

impl Director {
    /// A director that shows the whole frame (or, in manual mode, the manual crop).
    ///
    /// # Errors
    /// Settings out of range.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let stage = checked(&settings)?;
        let mut director = Self {
            settings,
            stage,
            group: Group::default(),
            newest: None,
            observed: None,
            late: (0, 0),
            clock: EPOCH,
            owed: 0,
            pose: stage.pose(&stage.full()),
            previous: stage.pose(&stage.full()),
            goal: stage.full(),
            motion: Motion::Rest,
            out_since: None,
            drastic_since: None,
            rest_until: 0,
            asked: true,
            moves: 0,
        };
        director.goal = director.fixed().unwrap_or(director.goal);
        director.pose = stage.pose(&director.goal);
        director.previous = director.pose;
        Ok(director)
    }

    /// The crop of a mode that does not look at people.
    fn fixed(&self) -> Option<Area> {
        match self.settings.mode {
            FramingMode::Off => Some(self.stage.full()),
            FramingMode::Manual => {
                let Size { width, height } = self.settings.frame;
                let wished = Area::from_fractions(&self.settings.manual_crop, width.into(), height.into());
                Some(self.stage.holding(&wished))
            }
            FramingMode::Once | FramingMode::Follow => None,
        }
    }

    /// Takes other settings, at any time, also in motion: the crop stays where it is in the picture, and eases to what
    /// the new settings ask for. The same settings again change nothing.
    ///
    /// # Errors
    /// Settings out of range; the old ones stay.
    pub fn set(&mut self, settings: Settings) -> Result<(), SettingsError> {
        let stage = checked(&settings)?;
        let old_stage = std::mem::replace(&mut self.stage, stage);
        let old = std::mem::replace(&mut self.settings, settings);
        let resized = stage != old_stage;
        let mut goal = self.goal;
        if resized {
            goal = stage.settle(&carried(&old_stage.pose(&goal), &old_stage, &stage));
            self.pose = carried(&self.pose, &old_stage, &stage);
            self.previous = carried(&self.previous, &old_stage, &stage);
        }
        self.asked |= old.mode != settings.mode;
        if let Some(fixed) = self.fixed() {
            (self.asked, self.out_since, self.drastic_since) = (false, None, None);
            if resized && self.motion == Motion::Rest && fixed == goal {
                self.arrive(goal);
            } else if resized || fixed != self.goal || matches!(self.motion, Motion::Chase { .. }) {
                self.glide(fixed, Reason::Transition);
            }
        } else if resized {
            match self.motion {
                Motion::Chase { .. } => self.goal = goal,
                Motion::Glide { reason: Reason::Opening, .. } => self.open(),
                Motion::Glide { .. } => self.glide(goal, Reason::Transition),
                // A pixel of rounding is no move.
                Motion::Rest if (stage.pose(&goal).zoom - self.pose.zoom).abs() < STOP * 0.5 => self.arrive(goal),
                Motion::Rest => self.glide(goal, Reason::Transition),
            }
        }
        Ok(())
    }

    /// Takes the people of a fresh mask (none: nobody is there) of the frame captured at `capture_ns`, newer or older
    /// than the last [`Self::step`]'s. One that is not newer than the last observation is ignored.
    pub fn observe(&mut self, capture_ns: u64, people: &[Subject]) {
        if self.observed.is_some_and(|observed| capture_ns <= observed) {
            return;
        }
        self.advance(capture_ns);
        let age = self.newest.unwrap_or(capture_ns).saturating_sub(capture_ns);
        if self.observed.is_none_or(|observed| capture_ns - observed > STALE) {
            (self.out_since, self.drastic_since) = (None, None);
        }
        self.observed = Some(capture_ns);
        let now = (self.clock + self.owed).saturating_sub(age);
        let change = self.group.observe(now, people);
        self.asked |= change.first && self.settings.mode == FramingMode::Follow;
        self.consider(now, change.members);
    }

    /// What the frame captured at `capture_ns` shows. A frame that is not newer than the last moves nothing.
    pub fn step(&mut self, capture_ns: u64) -> Shot {
        match self.newest {
            Some(newest) if capture_ns < newest => {
                let (count, last) = self.late;
                self.late = (if capture_ns > last { count + 1 } else { 1 }, capture_ns);
                if self.late.0 >= NEW_CLOCK {
                    self.newest = Some(capture_ns);
                    self.observed = None;
                    self.late = (0, 0);
                }
            }
            _ => {
                self.late = (0, 0);
                self.advance(capture_ns);
            }
        }
        self.shot()
    }

    /// Frames everybody in sight now, whatever the dead bands say; if nobody is, as soon as somebody is. Without effect
    /// in the modes off and manual.
    pub fn reframe(&mut self) {
        if self.fixed().is_none() {
            self.group.gather();
            self.asked = true;
        }
    }

    /// What the settings allow.
    pub fn limits(&self) -> Limits {
        let smallest = self.stage.smallest().to_rectangle();
        let narrow = |value: f64| Area { x: value, y: 0.0, width: 0.0, height: 0.0 }.to_rectangle().x;
        Limits {
            max_zoom: narrow(self.stage.deepest.exp()),
            zoom_without_upscaling: narrow(self.stage.without_upscaling),
            largest_crop: self.stage.full().to_rectangle(),
            smallest_crop: (smallest.width, smallest.height),
            speed: (narrow(MODERATE.speed), narrow(DRASTIC_PACE.speed)),
            acceleration: (narrow(MODERATE.acceleration), narrow(DRASTIC_PACE.acceleration)),
            zoom_rate: (narrow(ZOOM_IN), narrow(ZOOM_OUT)),
        }
    }

    /// Whether nobody has been seen for so long (10 s, or ever) that nobody is expected back.
    pub fn is_absent(&self) -> bool {
        let long = |since: u64| (self.clock + self.owed).saturating_sub(since) + SLACK >= ABSENT;
        self.group.is_empty() && self.group.vacant_since().is_none_or(long)
    }

    /// How many moves have begun.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn shot(&self) -> Shot {
        let still = self.motion == Motion::Rest && self.previous == self.pose;
        let crop = if still { self.goal.to_rectangle() } else { self.between() };
        let state = match (self.settings.mode, self.motion) {
            (FramingMode::Off, _) => FramingState::Inactive,
            (FramingMode::Manual, _) if still => FramingState::Converged,
            (FramingMode::Manual, _) => FramingState::Framing,
            (FramingMode::Once, Motion::Rest) if still && !self.asked => FramingState::Converged,
            (FramingMode::Follow | FramingMode::Once, Motion::Rest) if still && !self.group.is_empty() => {
                FramingState::Converged
            }
            (FramingMode::Follow | FramingMode::Once, Motion::Chase { .. }) => FramingState::Framing,
            _ if self.group.is_empty() => FramingState::Lost,
            _ => FramingState::Framing,
        };
        Shot { crop, state, still }
    }

    /// The crop between the last two steps, as far as the time owed says.
    fn between(&self) -> Rectangle {
        let (from, to) = (self.stage.area(&self.previous), self.stage.area(&self.pose));
        let share = self.owed as f64 / STEP as f64;
        let blend = |from: f64, to: f64| from + (to - from) * share;
        let crop = Area {
            x: blend(from.x, to.x).max(0.0),
            y: blend(from.y, to.y).max(0.0),
            width: blend(from.width, to.width),
            height: blend(from.height, to.height),
        };
        let mut crop = crop.to_rectangle();
        let frame = Area { x: 0.0, y: 0.0, width: self.stage.width, height: self.stage.height }.to_rectangle();
        crop.width = crop.width.min(frame.width - crop.x);
        crop.height = crop.height.min(frame.height - crop.y);
        crop
    }
}
