//! How steady boxes and crops are.
//!
//! - *Box jitter*: the root mean square of the second difference of each edge, in fractions of the
//!   frame. It is taken over all people who are present in three consecutive frames. A box at rest
//!   or at constant speed has no jitter.
//! - *Crop speed*: the distance that the crop's centre travels per second, in widths and heights of
//!   the crop.
//! - *Direction changes*: how often the centre (pan, tilt) or the zoom reverses by more than
//!   [`TURN`], in the worst [`TURN_WINDOW_S`] seconds. More than one is an oscillation.

use portraitd_media::UnitRect;

/// A reversal counts as a direction change above this: a fraction of the crop for pan and tilt, a
/// difference of logarithms of the width for zoom.
pub const TURN: f64 = 0.002;

/// The length of the window in which direction changes are counted, in seconds.
pub const TURN_WINDOW_S: f64 = 2.0;

/// The jitter of boxes over a video. `frames` holds the id and box of each person, in fractions of
/// the frame. `None` if no person is present in three consecutive frames.
pub fn box_jitter<'a>(frames: impl IntoIterator<Item = &'a [(u32, UnitRect)]>) -> Option<f64> {
    let frames: Vec<_> = frames.into_iter().collect();
    let (mut sum, mut count) = (0.0, 0_u64);
    for three in frames.windows(3) {
        for (id, bounds) in three[1] {
            let find =
                |frame: &[(u32, UnitRect)]| frame.iter().find(|(other, _)| other == id).map(|(_, bounds)| *bounds);
            let (Some(before), Some(after)) = (find(three[0]), find(three[2])) else { continue };
            let edges = |bounds: &UnitRect| [bounds.x, bounds.y, bounds.right(), bounds.bottom()].map(f64::from);
            for ((a, b), c) in edges(&before).into_iter().zip(edges(bounds)).zip(edges(&after)) {
                sum += (c - 2.0 * b + a).powi(2);
                count += 1;
            }
        }
    }
    (count > 0).then(|| (sum / count as f64).sqrt())
}

/// The crop at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropSample {
    /// Time in seconds, from any origin.
    pub seconds: f64,
    /// The crop, in any unit, since speeds are relative to the crop.
    pub crop: UnitRect,
}

/// The motion of a crop over a video.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct CropMotion {
    /// The 95th percentile of its speed over all frames, in crops per second.
    pub speed_p95: f64,
    /// Its highest speed, in crops per second.
    pub speed_max: f64,
    /// The share of frames whose crop equals that of the frame before, bit by bit.
    pub still: f64,
    /// The largest number of direction changes within two seconds.
    pub direction_changes: DirectionChanges,
}

/// The largest number of direction changes within [`TURN_WINDOW_S`], for each axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DirectionChanges {
    /// Horizontal.
    pub pan: usize,
    /// Vertical.
    pub tilt: usize,
    /// Size of the crop.
    pub zoom: usize,
}

impl CropMotion {
    /// The motion over a video. `None` if there are fewer than two frames, or if the times do not
    /// increase.
    pub fn of(path: &[CropSample]) -> Option<Self> {
        let mut speeds = Vec::with_capacity(path.len());
        let mut still = 0_u64;
        // The distance travelled so far, in units of the crop's size at the time. A crop that only
        // zooms travels no distance.
        let (mut pan, mut tilt) = (0.0, 0.0);
        let mut travelled = Vec::with_capacity(path.len());
        for pair in path.windows(2) {
            let (a, b) = (&pair[0].crop, &pair[1].crop);
            let seconds = pair[1].seconds - pair[0].seconds;
            if seconds.is_nan() || seconds <= 0.0 {
                return None;
            }
            let ((ax, ay), (bx, by)) = (a.center(), b.center());
            let across = f64::from(bx - ax) / f64::from(a.width.min(b.width));
            let down = f64::from(by - ay) / f64::from(a.height.min(b.height));
            (pan, tilt) = (pan + across, tilt + down);
            travelled.push((pair[1].seconds, [pan, tilt, f64::from(b.width).ln()]));
            speeds.push(across.hypot(down) / seconds);
            still += u64::from(a == b);
        }
        speeds.sort_by(f64::total_cmp);
        let count = speeds.len();
        let speed_max = *speeds.last()?;
        let axis = |axis: usize| most_turns(&turns(travelled.iter().map(|(seconds, place)| (*seconds, place[axis]))));
        Some(Self {
            // Nearest-rank percentile.
            speed_p95: speeds[(count * 95).div_ceil(100).max(1) - 1],
            speed_max,
            still: still as f64 / count as f64,
            direction_changes: DirectionChanges { pan: axis(0), tilt: axis(1), zoom: axis(2) },
        })
    }
}

/// The times of the extremes from which a value returned by more than [`TURN`].
fn turns(values: impl IntoIterator<Item = (f64, f64)>) -> Vec<f64> {
    let mut turns = Vec::new();
    // Whether the value rises, once that is known, and the extremes since the last turn.
    let mut heading = None::<bool>;
    let (mut low, mut high) = ((0.0, f64::INFINITY), (0.0, f64::NEG_INFINITY));
    for (seconds, value) in values {
        if value < low.1 {
            low = (seconds, value);
        }
        if value > high.1 {
            high = (seconds, value);
        }
        let (rises, falls) = (value - low.1 > TURN, high.1 - value > TURN);
        let new = match heading {
            Some(true) if falls => false,
            Some(false) if rises => true,
            None if rises || falls => rises,
            _ => continue,
        };
        if heading.is_some() {
            turns.push(if new { low.0 } else { high.0 });
        }
        heading = Some(new);
        (low, high) = ((seconds, value), (seconds, value));
    }
    turns
}

/// The largest number of `turns` (ascending times) within [`TURN_WINDOW_S`].
fn most_turns(turns: &[f64]) -> usize {
    let within = |(index, first): (usize, &f64)| turns[index..].partition_point(|turn| turn - first <= TURN_WINDOW_S);
    turns.iter().enumerate().map(within).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(seconds: f64, crop: impl Fn(f64) -> UnitRect) -> Vec<CropSample> {
        (0..)
            .map(|index| f64::from(index) / 30.0)
            .take_while(|t| *t < seconds)
            .map(|t| CropSample { seconds: t, crop: crop(t) })
            .collect()
    }

    fn panned(x: f64) -> UnitRect {
        UnitRect::new(x as f32, 0.1, 0.5, 0.5)
    }

    #[test]
    fn boxes_at_rest_or_at_constant_speed_have_no_jitter() {
        let at = |x: f32| vec![(7, UnitRect::new(x, 0.5, 0.25, 0.5))];
        let frames = |places: &[f32]| places.iter().map(|x| at(*x)).collect::<Vec<_>>();
        let jitter = |places: &[f32]| box_jitter(frames(places).iter().map(Vec::as_slice));
        assert_eq!(jitter(&[0.0, 0.125, 0.25, 0.375]), Some(0.0));
        // The second difference of two of the four edges is 0.25: 0.25 / sqrt(2).
        assert!((jitter(&[0.25, 0.375, 0.25]).expect("three") - 0.25 / 2.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(jitter(&[0.25, 0.375]), None);
        let mut other = frames(&[0.25, 0.375, 0.25]);
        other[1][0].0 = 8;
        assert_eq!(box_jitter(other.iter().map(Vec::as_slice)), None, "another person");
    }

    #[test]
    fn a_crop_at_rest_is_still_and_one_that_pans_has_its_speed() {
        let rest = CropMotion::of(&path(4.0, |_| panned(0.2))).expect("frames");
        assert_eq!((rest.still, rest.speed_p95, rest.direction_changes), (1.0, 0.0, DirectionChanges::default()));
        // 0.1 of the frame per second is 0.2 of the crop. It moves in the second half only.
        let pan = CropMotion::of(&path(4.0, |t| panned(0.1 + 0.1 * (t - 2.0).max(0.0)))).expect("frames");
        assert!((pan.speed_p95 - 0.2).abs() < 1e-3 && (pan.still - 0.5).abs() < 0.02, "{pan:?}");
        // The jump affects one frame in a hundred, so the 95th percentile ignores it.
        let leap = CropMotion::of(&path(4.0, |t| panned(if t < 2.0 { 0.0 } else { 0.3 }))).expect("frames");
        assert!(leap.speed_p95 == 0.0 && leap.speed_max > 10.0, "{leap:?}");
        assert_eq!(CropMotion::of(&path(0.01, |_| panned(0.0))), None);
    }

    #[test]
    fn reversals_are_counted_and_trembling_is_not() {
        let turns =
            |crop: &dyn Fn(f64) -> UnitRect| CropMotion::of(&path(12.0, crop)).expect("frames").direction_changes;
        // One second in each direction: three turns within two seconds, since the window includes
        // both ends.
        let swing = |t: f64| panned(0.2 + 0.1 * (t * std::f64::consts::PI).sin());
        assert_eq!(turns(&swing), DirectionChanges { pan: 3, tilt: 0, zoom: 0 });
        let once = |t: f64| panned(0.2 - 0.05 * (t - 5.0).abs());
        assert_eq!(turns(&once).pan, 1);
        // It moves, rests for three seconds, and returns.
        let back = |t: f64| panned(0.1 * t.clamp(0.0, 2.0) - 0.1 * (t - 5.0).clamp(0.0, 2.0));
        assert_eq!(turns(&back).pan, 1);
        let tremble = |t: f64| panned(0.2 + 0.0004 * (t * 20.0).sin());
        assert_eq!(turns(&tremble).pan, 0);
        let zoom = |t: f64| {
            let width = (0.5 + 0.1 * (t * std::f64::consts::PI).sin()) as f32;
            UnitRect::new(0.5 - width / 2.0, 0.5 - width / 2.0, width, width)
        };
        assert_eq!(turns(&zoom), DirectionChanges { pan: 0, tilt: 0, zoom: 3 });
    }
}
