//! How the camera work feels, as numbers. Distances are fractions of the current crop, so that the feel does not change
//! with the zoom; times are nanoseconds of capture time; zoom is natural logarithm, so that its rates do not either.

use portraitd_protocol::FramingSpeed;

/// One second.
pub const SECOND: u64 = 1_000_000_000;
/// The integration step. A frame interval is no multiple of it: what is left over is carried, and the crop is
/// interpolated between the last two steps.
pub const STEP: u64 = 4_000_000;
/// The same in seconds.
pub const STEP_S: f64 = 0.004;
/// The longest interval between two frames that counts: after a stall nothing leaps.
pub const LONGEST_INTERVAL: u64 = SECOND / 5;
/// Joining and leaving need an observation that shows it, when the time is up: this much early will do, because stamps
/// jitter.
pub const SLACK: u64 = 20_000_000;
/// What follows from joining and leaving happens this much later than their time, so that it does not depend on where
/// the last observation fell, at 10 observations a second or more.
pub const GRACE: u64 = 50_000_000;

/// Pan error that is let be.
pub const DEAD_BAND_PAN: f64 = 0.10;
/// Tilt error that is let be.
pub const DEAD_BAND_TILT: f64 = 0.08;
/// A move ends within this: the goal is fixed then, and the crop lands on it.
pub const STOP: f64 = 0.02;
/// Wanted size over actual size that is let be.
pub const DEAD_BAND_ZOOM: (f64, f64) = (0.85, 1.15);

/// Out of the dead band this long before a moderate move.
pub const CONFIRM: u64 = SECOND * 4 / 5;
/// The same before a drastic one.
pub const CONFIRM_DRASTIC: u64 = SECOND / 4;
/// Between the end of a move and the start of a moderate one.
pub const REST: u64 = 2 * SECOND;
/// An error above this is drastic.
pub const DRASTIC: f64 = 0.35;
/// Somebody this close to the left or right edge of the crop makes an error drastic.
pub const NEAR_EDGE: f64 = 0.05;

/// Top speed and acceleration of a moderate move, crops a second and crops a second squared.
pub const MODERATE: Pace = Pace { speed: 0.30, acceleration: 1.2 };
/// The same of a drastic one.
pub const DRASTIC_PACE: Pace = Pace { speed: 0.60, acceleration: 2.4 };
/// Top rate of zooming in, per second.
pub const ZOOM_IN: f64 = 0.25;
/// Top rate of zooming out, per second.
pub const ZOOM_OUT: f64 = 0.40;
/// How fast the rate of zooming changes, per second squared. Half of it reaches the centre of a crop that slides along
/// the edge of the frame, and stays below the pan's own limit there.
pub const ZOOM_ACCELERATION: f64 = 1.0;

/// Free room above the head.
pub const HEADROOM: f64 = 0.10;
/// Free room on the left and right: the middle of 0.10 to 0.15.
pub const SIDE_MARGIN: f64 = 0.125;
/// A zoom below this is not worth a crop.
pub const SMALLEST_ZOOM: f64 = 1.15;
/// The greatest zoom that may be configured.
pub const ZOOM_CAP: f32 = 4.0;
/// No crop has a side shorter than this, pixels, unless the frame has no more.
pub const SMALLEST_SIDE: f64 = 16.0;
/// How many output pixels may be made from one source pixel, along an axis.
pub const UPSCALING: f64 = 1.5;

/// Nobody seen: the crop is held this long.
pub const LOST_HOLD: u64 = 2 * SECOND;
/// And then opens to the whole frame over this, in seconds, or as long as the zoom rate needs.
pub const LOST_OPENING_S: f64 = 2.0;
/// After this long nobody is remembered.
pub const ABSENT: u64 = 10 * SECOND;
/// Seen this long before somebody joins a group that is in sight.
pub const JOIN: u64 = SECOND * 3 / 2;
/// Not seen this long before somebody leaves it.
pub const LEAVE: u64 = 2 * SECOND;
/// Somebody not yet in the group may vanish this long without starting again.
pub const FLICKER: u64 = SECOND * 3 / 10;
/// Who vanishes with this share of the box inside a member's is taken to be there still: two masks have become one.
pub const COVERED: f32 = 0.6;
/// Who appears with this IoU with the box of a member who vanished is that member, under whatever id.
pub const SAME_PLACE: f32 = 0.5;
/// A mask older than this says nothing.
pub const STALE: u64 = SECOND;

/// The whole lead room is given from this speed on, crops a second.
pub const LEAD_FULL_SPEED: f64 = 0.15;
/// The time constant with which the people's speed is learned, in seconds.
pub const LEAD_TIME_CONSTANT_S: f64 = 0.3;
/// After a longer gap between two observations nothing is known of the speed.
pub const LEAD_MEMORY: u64 = SECOND / 2;
/// The greatest lead room that may be configured.
pub const LEAD_ROOM_CAP: f32 = 0.25;

/// A change of mode, in seconds.
pub const TRANSITION_S: f64 = 0.5;
/// The last stretch of a move, in seconds.
pub const LANDING_S: f64 = 0.5;
/// Fastest pan and zoom from which a move may land: twice and a half the stop window over the landing time.
pub const LANDING_SPEED: f64 = 2.5 * STOP / LANDING_S;

/// Speed and acceleration of a pan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Crops a second.
    pub speed: f64,
    /// Crops a second squared.
    pub acceleration: f64,
}

/// The natural frequency of (pan and tilt, zoom), radians a second.
pub const fn frequency(speed: FramingSpeed) -> (f64, f64) {
    match speed {
        FramingSpeed::Calm => (3.0, 1.875),
        FramingSpeed::Normal => (4.0, 2.5),
        FramingSpeed::Quick => (5.0, 3.125),
    }
}
