//! Tests of the director with timestamps from a simulated clock.

mod acceptance;
mod cases;
mod following;
mod modes;
mod properties;

use proptest::test_runner::Config;

use crate::tuning::{DRASTIC_LIMITS, ZOOM_IN, ZOOM_OUT};
use crate::{Director, Settings, Shot, Subject};
use portraitd_media::{PixelRect, Size, UnitRect};

pub(crate) const FRAME: Size = Size::new(1920, 1080);
pub(crate) const OUTPUT: Size = Size::new(1280, 720);

/// A person in the middle who requires a zoom of about 1.5.
pub(crate) const SITTING: UnitRect = UnitRect::new(0.4, 0.4, 0.2, 0.6);

/// The number of cases of a property; the environment variable `PROPTEST_CASES` overrides it.
pub(crate) fn at_least(cases: u32) -> Config {
    let config = Config::default();
    Config { cases: if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { cases }, ..config }
}

pub(crate) fn subject(id: u32, bounds: UnitRect) -> Subject {
    Subject { id, bounds }
}

pub(crate) fn shifted(bounds: UnitRect, x: f32, y: f32) -> UnitRect {
    UnitRect { x: bounds.x + x, y: bounds.y + y, ..bounds }
}

pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    u64::try_from(std::time::Duration::from_secs_f64(seconds).as_nanos()).unwrap()
}

/// A director with a clock, and all its shots.
pub(crate) struct Rig {
    pub(crate) director: Director,
    pub(crate) fps: u32,
    /// The number of frames from one mask to the next.
    pub(crate) every: u32,
    /// The number of frames so far.
    pub(crate) count: u32,
    pub(crate) shots: Vec<(f64, Shot)>,
}

impl Rig {
    pub(crate) fn new(settings: Settings) -> Self {
        let director = Director::new(settings).unwrap();
        Self { director, fps: 30, every: 1, count: 0, shots: Vec::new() }
    }

    pub(crate) fn standard() -> Self {
        Self::new(Settings::new(FRAME, OUTPUT))
    }

    pub(crate) fn now(&self) -> f64 {
        10.0 + f64::from(self.count) / f64::from(self.fps)
    }

    /// Runs for `seconds`. At each frame with a mask, `people` is called with the seconds since the
    /// start of this run.
    pub(crate) fn run(&mut self, seconds: f64, mut people: impl FnMut(f64) -> Vec<Subject>) {
        let start = self.now();
        while self.now() - start < seconds - 1e-9 {
            let stamp = nanoseconds(self.now());
            if self.count.is_multiple_of(self.every) {
                self.director.observe(stamp, &people(self.now() - start));
            }
            let shot = self.director.step(stamp);
            self.shots.push((self.now(), shot));
            self.count += 1;
        }
    }

    /// Runs until the crop has rested for three seconds.
    pub(crate) fn settle(&mut self, people: &[Subject]) {
        self.run(15.0, |_| people.to_vec());
        let last = self.shot();
        assert!(last.still, "{last:?}");
        assert!(self.changes_since(self.now() - 3.0) == 0);
        self.shots.clear();
    }

    pub(crate) fn shot(&self) -> Shot {
        self.shots.last().expect("a frame was shown").1
    }

    /// The number of frames from `time` on whose crop differs from that of the frame before.
    pub(crate) fn changes_since(&self, time: f64) -> usize {
        let later: Vec<_> = self.shots.iter().filter(|(at, _)| *at >= time - 1e-9).collect();
        later.windows(2).filter(|pair| pair[0].1.crop != pair[1].1.crop).count()
    }

    /// Seconds from the first shot to the first shot with another crop.
    pub(crate) fn first_motion(&self) -> Option<f64> {
        let (start, first) = self.shots[0];
        self.shots.iter().find(|(_, shot)| shot.crop != first.crop).map(|(at, _)| at - start)
    }
}

/// Rates of (x, y, zoom) per second: the centre in crops, and the logarithm of the width.
fn rates(from: &(f64, Shot), to: &(f64, Shot)) -> (f64, f64, f64) {
    let seconds = to.0 - from.0;
    let (a, b) = (from.1.crop, to.1.crop);
    let (width, height) = (f64::from(a.width.min(b.width)), f64::from(a.height.min(b.height)));
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    let zoom = (f64::from(a.width) / f64::from(b.width)).ln();
    (f64::from(bx - ax) / width / seconds, f64::from(by - ay) / height / seconds, zoom / seconds)
}

/// Asserts that no speed and no acceleration exceeds its limit and that the crop is inside the
/// frame. Frames must come at regular intervals. The tolerances cover the rounding to even pixels
/// at the ends of a move, and to `f32`.
pub(crate) fn assert_limits(shots: &[(f64, Shot)], frame: Size, acceleration: f64) {
    let whole = PixelRect::of_size(frame);
    for (_, shot) in shots {
        assert!(whole.contains(&shot.crop, 0.0), "{shot:?}");
        assert!(shot.crop.width >= 2.0 && shot.crop.height >= 2.0, "{shot:?}");
    }
    let speeds: Vec<_> = shots.windows(2).map(|pair| rates(&pair[0], &pair[1])).collect();
    for (index, speed) in speeds.iter().enumerate() {
        let near = &shots[index..index + 2];
        assert!(speed.0.abs() <= DRASTIC_LIMITS.speed * 1.02, "pan {speed:?} {near:?}");
        assert!(speed.1.abs() <= DRASTIC_LIMITS.speed * 1.02, "tilt {speed:?} {near:?}");
        assert!(speed.2 <= ZOOM_IN * 1.02 && speed.2 >= -ZOOM_OUT * 1.02, "zoom {speed:?} {near:?}");
    }
    for (index, pair) in speeds.windows(2).enumerate() {
        let seconds = shots[index + 1].0 - shots[index].0;
        let near = &shots[index..index + 3];
        // If a move starts as another ends, the rounding errors of both add up.
        let turns = near.iter().any(|(_, shot)| shot.state != near[0].1.state);
        let narrowest =
            near.iter().map(|(_, shot)| f64::from(shot.crop.width.min(shot.crop.height))).fold(f64::MAX, f64::min);
        let rounding = if turns { 2.5 / narrowest / seconds / seconds } else { 0.0 };
        for change in [(pair[1].0 - pair[0].0) / seconds, (pair[1].1 - pair[0].1) / seconds] {
            assert!(change.abs() <= acceleration + rounding, "acceleration {change} {near:?}");
        }
    }
}
