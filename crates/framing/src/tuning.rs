//! The numbers of the camera work.
//!
//! Distances are fractions of the current crop, so the behaviour is the same at every zoom. Times
//! are nanoseconds of capture time, unless the name ends in `_S`. Zoom is its natural logarithm, so
//! that its rates do not depend on the zoom either.

use portraitd_protocol::FramingSpeed;

/// One second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;
/// The integration step. Frame intervals are not multiples of it: the remainder is carried over,
/// and the crop is interpolated between the last two steps.
pub(crate) const STEP_NS: u64 = 4_000_000;
/// The integration step in seconds.
pub(crate) const STEP_S: f64 = 0.004;
/// The most that an interval between two frames counts, so that nothing jumps after a stall.
pub(crate) const LONGEST_INTERVAL_NS: u64 = SECOND_NS / 5;
/// Joining and leaving need an observation that supports them when their time is up. An observation
/// that is this much early suffices, because timestamps jitter.
pub(crate) const SLACK_NS: u64 = 20_000_000;
/// Consequences of joining and leaving take effect this much after their time is up. At 10 or more
/// observations a second they therefore do not depend on where the last observation fell.
pub(crate) const GRACE_NS: u64 = 50_000_000;

/// The tolerated pan error.
pub(crate) const DEAD_BAND_PAN: f64 = 0.10;
/// The tolerated tilt error.
pub(crate) const DEAD_BAND_TILT: f64 = 0.08;
/// The tolerated range of wanted size divided by actual size.
pub(crate) const DEAD_BAND_ZOOM: (f64, f64) = (0.85, 1.15);
/// The tolerated range of wanted size divided by actual size when a move was requested.
pub(crate) const REQUESTED_BAND_ZOOM: (f64, f64) = (0.95, 1.05);
/// Closer to the goal than this a move ends: the goal is fixed and the crop lands on it.
pub(crate) const STOP: f64 = 0.02;

/// The error must stay outside the dead band this long before a moderate move.
pub(crate) const CONFIRM_NS: u64 = SECOND_NS * 4 / 5;
/// The error must stay drastic this long before a drastic move.
pub(crate) const CONFIRM_DRASTIC_NS: u64 = SECOND_NS / 4;
/// The least time between the end of a move and the start of a moderate one.
pub(crate) const REST_NS: u64 = 2 * SECOND_NS;
/// An error above this is drastic.
pub(crate) const DRASTIC_ERROR: f64 = 0.35;
/// An error is drastic if somebody is this close to the left or right edge of the crop.
pub(crate) const NEAR_EDGE: f64 = 0.05;

/// Limits of pan and tilt in a moderate move.
pub(crate) const MODERATE_LIMITS: SpeedLimits = SpeedLimits { speed: 0.30, acceleration: 1.2 };
/// Limits of pan and tilt in a drastic move.
pub(crate) const DRASTIC_LIMITS: SpeedLimits = SpeedLimits { speed: 0.60, acceleration: 2.4 };
/// Top rate of zooming in, per second.
pub(crate) const ZOOM_IN: f64 = 0.25;
/// Top rate of zooming out, per second.
pub(crate) const ZOOM_OUT: f64 = 0.40;
/// Top change of the zoom rate, per second squared. Half of it acts on the centre of a crop that
/// slides along the edge of the frame; that stays below the limit of the pan.
pub(crate) const ZOOM_ACCELERATION: f64 = 1.0;

/// Free space above the heads.
pub(crate) const HEADROOM: f64 = 0.10;
/// Free space on the left and on the right: the middle of 0.10 to 0.15.
pub(crate) const SIDE_MARGIN: f64 = 0.125;
/// A smaller zoom does not justify a crop.
pub(crate) const SMALLEST_ZOOM: f64 = 1.15;
/// The least width and height of a crop, pixels, unless the frame is smaller.
pub(crate) const SMALLEST_SIDE: f64 = 16.0;
/// The most output pixels that are made from one source pixel, along an axis.
pub(crate) const UPSCALING: f64 = 1.5;

/// How long the crop is held when nobody is seen.
pub(crate) const LOST_HOLD_NS: u64 = 2 * SECOND_NS;
/// The time in which the crop then opens to the whole frame, seconds, unless the zoom rate requires
/// more.
pub(crate) const LOST_OPENING_S: f64 = 2.0;
/// After this time nobody is remembered.
pub(crate) const ABSENT_NS: u64 = 10 * SECOND_NS;
/// A person must be seen this long before they join a group that is in sight.
pub(crate) const JOIN_NS: u64 = SECOND_NS * 3 / 2;
/// A member must be missing this long before they leave the group.
pub(crate) const LEAVE_NS: u64 = 2 * SECOND_NS;
/// A person who is not yet a member may be missing this long without losing the time already seen.
pub(crate) const FLICKER_NS: u64 = SECOND_NS * 3 / 10;
/// If this fraction of a missing member's box lies inside another member's box, the two masks are
/// taken to have merged.
pub(crate) const COVERED: f32 = 0.6;
/// A new person whose box has at least this IoU with the box of a missing member is that member.
pub(crate) const SAME_PLACE_IOU: f32 = 0.5;
/// An older mask is not used.
pub(crate) const STALE_NS: u64 = SECOND_NS;

/// The full lead room is given from this speed on, crops per second.
pub(crate) const LEAD_FULL_SPEED: f64 = 0.15;
/// The time constant with which the speed of the people is averaged, seconds.
pub(crate) const LEAD_TIME_CONSTANT_S: f64 = 0.3;
/// After a longer gap between two observations the averaged speed is discarded.
pub(crate) const LEAD_MEMORY_NS: u64 = SECOND_NS / 2;

/// The duration of a change of mode, seconds.
pub(crate) const TRANSITION_S: f64 = 0.5;
/// The duration of a landing, seconds.
pub(crate) const LANDING_S: f64 = 0.5;
/// The greatest speed of pan and zoom from which a move may land: 2.5 times the stop distance per
/// landing time.
pub(crate) const LANDING_SPEED: f64 = 2.5 * STOP / LANDING_S;

/// Limits of a pan or tilt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SpeedLimits {
    /// Crops per second.
    pub(crate) speed: f64,
    /// Crops per second squared.
    pub(crate) acceleration: f64,
}

/// The natural frequency of (pan and tilt, zoom), radians per second.
pub(crate) const fn frequency(speed: FramingSpeed) -> (f64, f64) {
    match speed {
        FramingSpeed::Calm => (3.0, 1.875),
        FramingSpeed::Quick => (5.0, 3.125),
        _ => (4.0, 2.5),
    }
}
