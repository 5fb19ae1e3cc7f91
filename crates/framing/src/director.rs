//! When the crop moves. The director's own clock runs with the capture stamps, except that an interval counts for
//! [`LONGEST_INTERVAL`] at most; every timer is on that clock, so that a stalled camera makes nobody leave.

use portraitd_protocol::{FramingMode, FramingState};

use super::group::Group;
use super::lead::Lead;
use super::motion::{Chase, Curve, Glide, Speed};
use super::stage::{Area, Pose, Stage};
use super::tuning::{
    ABSENT, CONFIRM, CONFIRM_DRASTIC, DEAD_BAND_PAN, DEAD_BAND_TILT, DEAD_BAND_ZOOM, DRASTIC, DRASTIC_PACE, GRACE,
    LANDING_S, LONGEST_INTERVAL, LOST_HOLD, LOST_OPENING_S, MODERATE, NEAR_EDGE, REST, SIDE_MARGIN, SLACK, STALE, STEP,
    STEP_S, STOP, TRANSITION_S, ZOOM_IN, ZOOM_OUT, frequency,
};
use super::{LARGEST_SIDE, Limits, Settings, SettingsError, Shot, Subject};
use portraitd_media::{PixelRect, Size, UnitRect};

/// The director's clock at its start: far enough from 0 that an observation may lie before it.
const EPOCH: u64 = 60_000_000_000;

/// So many stamps in a row, in order among themselves, but before the newest one: the camera's clock began anew.
const NEW_CLOCK: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Motion {
    /// The crop is the goal.
    Rest,
    /// After people.
    Chase { chase: Chase, purpose: Purpose },
    /// On a timed curve.
    Glide { glide: Glide, reason: Reason },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To where the people are, without zooming.
    Pan,
    /// The same, and to the zoom they call for.
    Zoom,
    /// To rest nearby: nothing is known of where they are.
    Halt,
}

impl Purpose {
    fn zooming(zooming: bool) -> Self {
        if zooming { Self::Zoom } else { Self::Pan }
    }
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

    /// On which side of the dead band: the sign of what is out of it, and 0 for what is not.
    fn side(&self) -> [f64; 3] {
        let sign = |error: f64, out: bool| if out { error.signum() } else { 0.0 };
        [
            sign(self.pan, self.pan.abs() > DEAD_BAND_PAN),
            sign(self.tilt, self.tilt.abs() > DEAD_BAND_TILT),
            sign(self.size - 1.0, self.sizes(DEAD_BAND_ZOOM)),
        ]
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
    lead: Lead,
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
    /// Out of the dead band since, drastically since, always on the same side.
    out_since: Option<u64>,
    drastic_since: Option<u64>,
    side: [f64; 3],
    /// No moderate move before.
    rest_until: u64,
    /// Frame whoever is in sight, from this time on.
    asked: Option<u64>,
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
    let lead_room = settings.lead_room;
    if !(0.0..=super::tuning::LEAD_ROOM_CAP).contains(&lead_room) {
        return Err(SettingsError::LeadRoom { lead_room });
    }
    let crop = settings.manual_crop;
    let numbers = [crop.x, crop.y, crop.width, crop.height].iter().all(|number| number.is_finite());
    if !numbers || crop.is_empty() || !UnitRect::WHOLE.contains(&crop, 1e-5) {
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
            lead: Lead::default(),
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
            side: [0.0; 3],
            rest_until: 0,
            asked: Some(0),
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
        if old.mode != settings.mode {
            self.asked = Some(0);
        }
        if let Some(fixed) = self.fixed() {
            (self.asked, self.out_since, self.drastic_since) = (None, None, None);
            if resized && self.motion == Motion::Rest && fixed == goal && self.is_near(&goal) {
                self.arrive(goal);
            } else if resized || fixed != self.goal || matches!(self.motion, Motion::Chase { .. }) {
                self.glide(fixed, Reason::Transition);
            }
        } else if resized {
            match self.motion {
                Motion::Chase { .. } => self.goal = goal,
                // It goes on from where it comes to rest.
                Motion::Glide { reason: Reason::Opening, .. } => self.come_to_rest(),
                Motion::Glide { .. } => self.glide(goal, Reason::Transition),
                // A pixel of rounding is no move.
                Motion::Rest if self.is_near(&goal) => self.arrive(goal),
                Motion::Rest => self.glide(goal, Reason::Transition),
            }
        }
        Ok(())
    }

    /// Whether a frame captured at `capture_ns` is newer than every frame and observation before.
    pub fn is_newest(&self, capture_ns: u64) -> bool {
        self.newest.is_none_or(|newest| capture_ns > newest)
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
        if change.first && (self.asked.is_some() || self.settings.mode == FramingMode::Follow) {
            self.asked = change.due;
        }
        if let Some(people) = self.people() {
            self.lead.observe(now, &people, change.due.is_some());
        }
        self.consider(now, change.due);
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
            self.asked = Some(0);
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
            (FramingMode::Once, Motion::Rest) if still && self.asked.is_none() => FramingState::Converged,
            // Not while a move is asked for: it begins as soon as it is due.
            (FramingMode::Follow, Motion::Rest) if still && !self.group.is_empty() && self.asked.is_none() => {
                FramingState::Converged
            }
            (FramingMode::Follow | FramingMode::Once, Motion::Chase { purpose: Purpose::Pan | Purpose::Zoom, .. }) => {
                FramingState::Framing
            }
            _ if self.group.is_empty() => FramingState::Lost,
            _ => FramingState::Framing,
        };
        Shot { crop, state, still }
    }

    /// The crop between the last two steps, as far as the time owed says.
    fn between(&self) -> PixelRect {
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

/// Decisions.
impl Director {
    /// Runs the clock on to the frame captured at `capture_ns`, if that is news.
    fn advance(&mut self, capture_ns: u64) {
        let passed = self.newest.map_or(0, |newest| capture_ns.saturating_sub(newest));
        self.newest = self.newest.max(Some(capture_ns));
        let fresh = self.observed.is_some_and(|observed| capture_ns.saturating_sub(observed) <= STALE);
        self.owed += passed.min(LONGEST_INTERVAL);
        while self.owed >= STEP {
            self.owed -= STEP;
            self.clock += STEP;
            self.decide(fresh);
            self.integrate();
        }
    }

    /// The members as last seen, pixels.
    fn people(&self) -> Option<Area> {
        let Size { width, height } = self.settings.frame;
        self.group.bounds().map(|bounds| Area::from_fractions(&bounds, width.into(), height.into()))
    }

    /// Where a crop of `zoom` shows `people` best, with room in the direction in which they walk.
    fn ideal(&self, people: &Area, zoom: f64) -> Pose {
        let ideal = self.stage.ideal(people, zoom);
        let (width, _) = self.stage.size(zoom);
        let room = f64::from(self.settings.lead_room) * self.lead.direction(width) * width;
        // Not so far that they leave their own margin on the other side.
        let slack = ((width * (1.0 - 2.0 * SIDE_MARGIN) - people.width) * 0.5).max(0.0);
        self.stage.inside(&Pose { x: ideal.x + room.clamp(-slack, slack), ..ideal })
    }

    fn offset(&self, people: &Area, at: &Pose) -> Offset {
        let ideal = self.ideal(people, at.zoom);
        let (width, height) = self.stage.size(at.zoom);
        let (left, right) = (at.x - width * 0.5, at.x + width * 0.5);
        let near_left = left > 1.0 && people.x - left < NEAR_EDGE * width;
        let near_right = right < self.stage.width - 1.0 && right - people.x - people.width < NEAR_EDGE * width;
        Offset {
            pan: (ideal.x - at.x) / width,
            tilt: (ideal.y - at.y) / height,
            size: (at.zoom - self.wanted_zoom(people)).exp(),
            near_edge: near_left || near_right,
        }
    }

    /// The zoom the people call for. To leave the whole frame takes as much as the zoom dead band, so that somebody on
    /// the brink does not make the crop open and close.
    fn wanted_zoom(&self, people: &Area) -> f64 {
        let zoom = self.stage.wanted_zoom(people);
        let whole = self.stage.pose(&self.goal).zoom < STOP;
        if whole && (-zoom).exp() > DEAD_BAND_ZOOM.0 { 0.0 } else { zoom }
    }

    /// After an observation of time `now`. `due`: somebody joined or left, which took its time; no need to wait further.
    fn consider(&mut self, now: u64, due: Option<u64>) {
        if !self.group.in_sight() || self.fixed().is_some() {
            (self.out_since, self.drastic_since) = (None, None);
            return;
        }
        let Some(people) = self.people() else { return };
        if let Motion::Chase { purpose, .. } = self.motion {
            self.retarget(&people, purpose == Purpose::Zoom);
        }
        let at = if matches!(self.motion, Motion::Chase { .. }) { self.pose } else { self.stage.pose(&self.goal) };
        let offset = self.offset(&people, &at);
        let side = offset.side();
        if side.iter().zip(self.side).any(|(new, old)| new * old < 0.0) {
            (self.out_since, self.drastic_since) = (None, None);
        }
        self.side = side;
        let since = |old: Option<u64>, on: bool| on.then(|| old.unwrap_or(now));
        self.out_since = since(self.out_since, offset.out());
        self.drastic_since = since(self.drastic_since, offset.drastic());
        if let (Some(out_since), Some(due)) = (&mut self.out_since, due) {
            *out_since = (*out_since).min(due.saturating_sub(CONFIRM));
        }
    }

    /// Whether the group has been gone for so long that the whole frame is shown.
    fn is_lost(&self) -> bool {
        let long = |since: u64| self.clock >= since + LOST_HOLD + GRACE;
        self.group.is_empty() && self.group.vacant_since().is_some_and(long)
    }

    /// Between two integration steps: whether a move is due.
    fn decide(&mut self, fresh: bool) {
        if self.fixed().is_some() {
            return;
        }
        if !fresh {
            (self.out_since, self.drastic_since) = (None, None);
            self.halt();
            return;
        }
        let follows = self.settings.mode == FramingMode::Follow;
        if !self.group.in_sight() {
            if follows && self.is_lost() && self.goal != self.stage.full() {
                match self.motion {
                    // From rest only: the speed of another move on top of this one's would exceed the limits.
                    Motion::Rest => self.open(),
                    Motion::Chase { .. } => self.halt(),
                    Motion::Glide { .. } => {}
                }
            }
            return;
        }
        let confirmed = |since: Option<u64>, least: u64| since.is_some_and(|since| self.clock >= since + least);
        let drastic = confirmed(self.drastic_since, CONFIRM_DRASTIC);
        let moderate = confirmed(self.out_since, CONFIRM) && self.clock >= self.rest_until;
        let asked = self.asked.is_some_and(|due| self.clock >= due);
        if asked {
            self.asked = None;
        }
        let Some(people) = self.people() else { return };
        if let Motion::Chase { chase, .. } = &mut self.motion {
            if drastic {
                chase.pace = DRASTIC_PACE;
            }
            if asked {
                self.retarget(&people, true);
            }
        } else if asked {
            let offset = self.offset(&people, &self.stage.pose(&self.goal));
            if offset.any() {
                self.start(&people, offset.drastic(), offset.sizes(ASKED_BAND));
            }
        } else if follows && (drastic || moderate) {
            let offset = self.offset(&people, &self.stage.pose(&self.goal));
            self.start(&people, drastic, offset.sizes(DEAD_BAND_ZOOM));
        }
    }

    /// Begins a chase, unless the crop rests where it would lead.
    fn start(&mut self, people: &Area, drastic: bool, zooming: bool) {
        let zoom = if zooming { self.wanted_zoom(people) } else { self.stage.pose(&self.goal).zoom };
        let goal = self.stage.settle(&self.ideal(people, zoom));
        (self.out_since, self.drastic_since) = (None, None);
        if self.motion == Motion::Rest && goal == self.goal {
            // As near as even pixels and the frame's edges allow: a move to here would never be the last one.
            return;
        }
        self.goal = goal;
        let speed = self.speed_in_crops();
        let pace = if drastic { DRASTIC_PACE } else { MODERATE };
        self.motion = Motion::Chase { chase: Chase { speed, pace }, purpose: Purpose::zooming(zooming) };
        self.moves += 1;
    }

    /// Gives a chase a new goal, if the people have moved from the old one by more than noise.
    fn retarget(&mut self, people: &Area, asked: bool) {
        let goal = self.stage.pose(&self.goal);
        let offset = self.offset(people, &goal);
        let zooming = asked || offset.sizes(DEAD_BAND_ZOOM);
        if let Motion::Chase { purpose, .. } = &mut self.motion {
            *purpose = Purpose::zooming(zooming);
        }
        let sizes = zooming && offset.sizes((1.0 - 1.5 * STOP, 1.0 + 1.5 * STOP));
        if sizes || offset.pan.abs() > STOP || offset.tilt.abs() > STOP {
            let zoom = if sizes { self.wanted_zoom(people) } else { goal.zoom };
            self.goal = self.stage.settle(&self.ideal(people, zoom));
        }
    }

    fn integrate(&mut self) {
        self.previous = self.pose;
        let goal = self.stage.pose(&self.goal);
        match &mut self.motion {
            Motion::Rest => {}
            Motion::Chase { chase, .. } => {
                self.pose = chase.step(&self.pose, &goal, frequency(self.settings.speed), &self.stage);
                if chase.arrives(&self.pose, &goal, &self.stage) {
                    self.glide_on(self.goal, Reason::Landing, Curve::Quintic, LANDING_S);
                }
            }
            Motion::Glide { glide, reason } => match glide.step(&self.stage) {
                Some(pose) => self.pose = pose,
                None => {
                    if *reason == Reason::Landing {
                        self.rest_until = self.clock + REST;
                    }
                    self.pose = goal;
                    self.motion = Motion::Rest;
                }
            },
        }
    }

    /// Pixels and zoom a second, of the last step. None at rest: the last step there was rounding to even pixels.
    fn speed(&self) -> Pose {
        if self.motion == Motion::Rest {
            return Pose { x: 0.0, y: 0.0, zoom: 0.0 };
        }
        let Pose { x, y, zoom } = self.previous;
        Pose { x: (self.pose.x - x) / STEP_S, y: (self.pose.y - y) / STEP_S, zoom: (self.pose.zoom - zoom) / STEP_S }
    }

    /// The same in crops.
    fn speed_in_crops(&self) -> Speed {
        let (width, height) = self.stage.size(self.pose.zoom);
        let Pose { x, y, zoom } = self.speed();
        Speed { pan: x / width, tilt: y / height, zoom }
    }

    /// Whether being at `goal` at once would be no more than rounding.
    fn is_near(&self, goal: &Area) -> bool {
        let (goal, (width, height)) = (self.stage.pose(goal), self.stage.size(self.pose.zoom));
        let off = ((goal.x - self.pose.x) / width).abs().max(((goal.y - self.pose.y) / height).abs());
        off.max((goal.zoom - self.pose.zoom).abs()) < STOP * 0.25
    }

    /// Is at `goal`, at once.
    fn arrive(&mut self, goal: Area) {
        self.goal = goal;
        self.pose = self.stage.pose(&goal);
        self.previous = self.pose;
        self.motion = Motion::Rest;
    }

    fn glide(&mut self, goal: Area, reason: Reason) {
        self.moves += 1;
        self.glide_on(goal, reason, Curve::Quintic, TRANSITION_S);
    }

    fn glide_on(&mut self, goal: Area, reason: Reason, curve: Curve, seconds: f64) {
        self.goal = goal;
        let glide = Glide::new(self.pose, self.speed(), self.stage.pose(&goal), curve, seconds, TRANSITION_S);
        self.motion = Motion::Glide { glide, reason };
    }

    /// To the whole frame, in the time that nobody's absence takes, or longer if the limits want it. A fifth of the time
    /// or more goes to each ramp.
    fn open(&mut self) {
        let full = self.stage.full();
        let (to, (width, height)) = (self.stage.pose(&full), self.stage.size(self.pose.zoom));
        let zoom = (to.zoom - self.pose.zoom).abs() / ZOOM_OUT;
        let pan = ((to.x - self.pose.x) / width).abs().max(((to.y - self.pose.y) / height).abs()) / DRASTIC_PACE.speed;
        // Seconds at top speed; a little is left for what is lost in measuring.
        let at_top = zoom.max(pan) * 1.01;
        let seconds = LOST_OPENING_S.max(at_top / 0.8);
        let ramp = (1.0 - at_top / seconds).clamp(0.2, 0.5);
        self.moves += 1;
        self.glide_on(full, Reason::Opening, Curve::Ramps(ramp), seconds);
    }

    /// Ends a chase where it comes to rest.
    fn halt(&mut self) {
        if matches!(self.motion, Motion::Chase { purpose: Purpose::Pan | Purpose::Zoom, .. }) {
            self.come_to_rest();
        }
    }

    /// Comes to rest nearby, from any motion: as a chase, which keeps its limits also at the edge of the frame.
    fn come_to_rest(&mut self) {
        let speed = self.speed();
        let (pan, zoom) = frequency(self.settings.speed);
        // A critically damped spring that starts at speed v comes to rest v / frequency further on, without a turn.
        let rest = Pose {
            x: self.pose.x + speed.x / pan,
            y: self.pose.y + speed.y / pan,
            zoom: self.pose.zoom + speed.zoom / zoom,
        };
        self.goal = self.stage.settle(&self.stage.inside(&rest));
        let pace = match self.motion {
            Motion::Chase { chase, .. } => chase.pace,
            Motion::Rest | Motion::Glide { .. } => DRASTIC_PACE,
        };
        self.motion = Motion::Chase { chase: Chase { speed: self.speed_in_crops(), pace }, purpose: Purpose::Halt };
    }
}
