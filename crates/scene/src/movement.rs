//! The positions of the people of a scene: pure functions of the scene's name and the time in
//! seconds. They do not depend on the number of frames, so every frame rate shows the same
//! movement.

use std::f64::consts::TAU;

use super::options::SceneName;

/// A photograph of a person, cut out of its background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cutout {
    /// A woman in a brown leather jacket, from head to foot.
    A,
    /// A man in a red jumper, to the hips.
    B,
    /// A man with glasses in a burgundy jacket, from head to foot.
    C,
}

/// The position and size of a person in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// The horizontal centre of the photograph, as a fraction of the picture's width.
    pub center_x: f64,
    /// The top of the head, as a fraction of the picture's height.
    pub top: f64,
    /// The height of the whole person down to the feet, as a fraction of the picture's height. The
    /// photograph may end above the feet.
    pub height: f64,
}

/// The people of a scene, the one farthest from the camera first. Their number and order never
/// change.
pub(super) const fn people(name: SceneName) -> &'static [Cutout] {
    match name {
        SceneName::Still => &[Cutout::A],
        SceneName::Walk => &[Cutout::B],
        SceneName::Two => &[Cutout::A, Cutout::B],
        SceneName::Leave | SceneName::Wide | SceneName::Step | SceneName::Nod | SceneName::Vanish => &[Cutout::C],
        SceneName::Stop => &[Cutout::B],
        SceneName::Blink => &[Cutout::A, Cutout::B],
        // One person passes behind the two others and later in front of them.
        SceneName::Cross => &[Cutout::C, Cutout::A, Cutout::B, Cutout::C],
        SceneName::Group => &[Cutout::A, Cutout::C, Cutout::B, Cutout::A],
        SceneName::Ends | SceneName::Pass => &[Cutout::A, Cutout::C],
        SceneName::Empty => &[],
    }
}

/// The period of a scene, in seconds.
pub(super) const fn period_seconds(name: SceneName) -> f64 {
    match name {
        SceneName::Still | SceneName::Empty | SceneName::Stop => 10.0,
        SceneName::Walk => 12.0,
        SceneName::Two => 35.0,
        SceneName::Leave => 16.0,
        SceneName::Wide => 20.0,
        SceneName::Step => 24.0,
        SceneName::Nod => 30.0,
        SceneName::Vanish => 28.0,
        SceneName::Blink | SceneName::Cross => 26.0,
        SceneName::Group => 30.0,
        SceneName::Ends | SceneName::Pass => 20.0,
    }
}

/// The largest [`Placement::height`] of a scene. The photographs are scaled to it once.
pub(super) const fn max_height(name: SceneName) -> f64 {
    match name {
        SceneName::Wide | SceneName::Ends | SceneName::Pass => 0.70,
        SceneName::Group => 1.10,
        _ => 1.56,
    }
}

/// Rises from 0 to 1 while `t` goes from `from` to `to`. Velocity and acceleration are 0 at both
/// ends.
fn ease(t: f64, from: f64, to: f64) -> f64 {
    let x = ((t - from) / (to - from)).clamp(0.0, 1.0);
    x * x * x * (x * (x * 6.0 - 15.0) + 10.0)
}

/// The amount of walking, 0 (at rest, at both ends of `from..to`) to 1.
fn walking_amount(t: f64, from: f64, to: f64) -> f64 {
    ease(t, from, from + 0.6) * (1.0 - ease(t, to - 0.6, to))
}

/// The vertical movement while walking, as a fraction of the person's height. 1.8 steps a second.
fn bob(t: f64, amount: f64) -> f64 {
    -0.008 * amount * (TAU * 1.8 * t).sin().abs()
}

/// The horizontal position of an absent person: far outside the picture.
const OFF_SCREEN_X: f64 = -9.0;

/// Rises from 0 to 1 at constant speed while `t` goes from `from` to `to`.
fn ramp(t: f64, from: f64, to: f64) -> f64 {
    ((t - from) / (to - from)).clamp(0.0, 1.0)
}

/// The placement of one of two people who stand close enough for one crop: index 0 on the left, 1
/// on the right.
fn pair_placement(index: usize) -> Placement {
    if index == 0 {
        Placement { center_x: 0.38, top: 0.40, height: 1.25 }
    } else {
        Placement { center_x: 0.61, top: 0.38, height: 1.25 }
    }
}

/// The placement of person `index` of [`people`] at the time `seconds` after frame 0.
pub(super) fn placement(name: SceneName, index: usize, seconds: f64) -> Placement {
    let t = seconds.rem_euclid(period_seconds(name));
    let sway = |period: f64, size: f64, phase: f64| size * (TAU * (t / period + phase)).sin();
    match name {
        SceneName::Still | SceneName::Empty => Placement { center_x: 0.40, top: 0.31, height: 1.48 },
        SceneName::Walk => {
            let there = ease(t, 0.8, 5.2);
            let back = ease(t, 6.8, 11.2);
            let along = there - back;
            let walking = walking_amount(t, 0.8, 5.2) + walking_amount(t, 6.8, 11.2);
            // A shallow arc: nearer to the camera on the way out, farther on the way back.
            let height = 1.33 * (1.0 + 0.05 * (TAU * t / 12.0).sin());
            let top = 0.33 - 0.22 * (height - 1.33) + bob(t, walking) * height;
            Placement { center_x: 0.26 + 0.48 * along, top, height }
        }
        SceneName::Two if index == 0 => Placement {
            center_x: 0.31 + sway(7.0, 0.010, 0.0),
            top: 0.37 + sway(3.5, 0.002, 0.2),
            height: 1.28 * (1.0 + sway(17.5, 0.008, 0.1)),
        },
        SceneName::Two => Placement {
            center_x: 0.69 + sway(8.75, 0.012, 0.3),
            top: 0.32 + sway(5.0, 0.002, 0.6),
            height: 1.34 * (1.0 + sway(11.666_666_666_666_666, 0.008, 0.5)),
        },
        SceneName::Leave => {
            let away = ease(t, 3.0, 6.5);
            let home = ease(t, 10.5, 14.0);
            let walking = walking_amount(t, 3.0, 6.5) + walking_amount(t, 10.5, 14.0);
            Placement { center_x: 0.30 - 0.52 * (away - home), top: 0.31 + bob(t, walking) * 1.48, height: 1.48 }
        }
        SceneName::Wide => {
            let along = ease(t, 1.0, 9.0) - ease(t, 11.0, 19.0);
            let walking = walking_amount(t, 1.0, 9.0) + walking_amount(t, 11.0, 19.0);
            // On the floor: a person who is nearer to the camera is taller, and the feet are lower.
            let height = 0.62 + 0.06 * (TAU * t / 20.0).sin();
            let feet = 0.33 + height;
            Placement { center_x: 0.27 + 0.46 * along, top: feet - height + bob(t, walking) * height, height }
        }
        SceneName::Step => {
            // In widths of a crop of zoom 1.5, the steps are 0.30, 0.375 (over the limit of a
            // drastic error) and 0.075 (within the dead band).
            let center_x = match t {
                t if t < 8.0 => 0.35,
                t if t < 16.0 => 0.55,
                _ => 0.30,
            };
            Placement { center_x, top: 0.40, height: 1.25 }
        }
        SceneName::Stop => {
            let along = ramp(t, 1.0, 3.0) - ramp(t, 6.0, 8.0);
            Placement { center_x: 0.25 + 0.40 * along, top: 0.33, height: 1.40 }
        }
        SceneName::Nod => {
            // 0.06 of the height of the crop that fits the person (zoom about 1.33), once a second.
            let nod = if t < 10.0 { 0.0 } else { 0.045 * (TAU * t).sin() };
            Placement { center_x: 0.45, top: 0.34 + nod, height: 1.40 }
        }
        SceneName::Vanish => {
            let gone = (10.0..17.0).contains(&t);
            Placement { center_x: if gone { OFF_SCREEN_X } else { 0.38 }, top: 0.38, height: 1.30 }
        }
        SceneName::Blink => {
            let gone = if index == 0 { 10.0..11.5 } else { 17.0..18.5 };
            let placement = pair_placement(index);
            Placement { center_x: if gone.contains(&t) { OFF_SCREEN_X } else { placement.center_x }, ..placement }
        }
        SceneName::Cross if index == 1 || index == 2 => pair_placement(index - 1),
        SceneName::Cross => {
            let start = if index == 0 { 10.0 } else { 18.0 };
            let center_x = match t - start {
                t if (0.0..1.4).contains(&t) => -0.2 + t,
                _ => OFF_SCREEN_X,
            };
            Placement { center_x, top: 0.33, height: 1.35 }
        }
        SceneName::Group => {
            // The third person's shoulder is behind that of the fourth. The others sit apart.
            let (center_x, top, height) =
                [(0.14, 0.40, 1.00), (0.39, 0.37, 1.04), (0.67, 0.41, 0.98), (0.81, 0.39, 1.06)][index.min(3)];
            let (phase, lean) = (0.23 * index as f64, [6.0, 7.5, 10.0, 10.0][index.min(3)]);
            Placement {
                center_x: center_x + sway(lean, 0.006, phase),
                top: top + sway(5.0, 0.003, phase),
                height: height * (1.0 + sway(15.0, 0.006, phase)),
            }
        }
        SceneName::Ends => {
            // Each takes a step aside and back, one after the other.
            let (center_x, start) = [(0.13, 2.0), (0.86, 9.0)][index.min(1)];
            let aside = ease(t, start, start + 1.5) - ease(t, start + 4.0, start + 5.5);
            let walking = walking_amount(t, start, start + 1.5) + walking_amount(t, start + 4.0, start + 5.5);
            let height = [0.50, 0.54][index.min(1)] * (1.0 + sway(10.0, 0.004, 0.3 * index as f64));
            let inwards = if index == 0 { 0.05 } else { -0.05 };
            Placement { center_x: center_x + inwards * aside, top: 0.93 - height + bob(t, walking) * height, height }
        }
        SceneName::Pass => {
            // The second person is nearer to the camera.
            let along = ease(t, 1.0, 8.0) - ease(t, 11.0, 18.0);
            let walking = walking_amount(t, 1.0, 8.0) + walking_amount(t, 11.0, 18.0);
            let (from, to, height, feet) = [(0.20, 0.80, 0.56, 0.93), (0.82, 0.18, 0.62, 0.97)][index.min(1)];
            Placement {
                center_x: from + (to - from) * along,
                top: feet - height + bob(t + 0.2 * index as f64, walking) * height,
                height,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_move_continuously() {
        // The other scenes contain jumps, or a nod that is as fast as a jump.
        let calm = [
            SceneName::Still,
            SceneName::Walk,
            SceneName::Two,
            SceneName::Leave,
            SceneName::Wide,
            SceneName::Stop,
            SceneName::Group,
            SceneName::Ends,
            SceneName::Pass,
        ];
        for name in calm {
            let period = period_seconds(name);
            for index in 0..people(name).len() {
                let mut last = placement(name, index, 0.0);
                for step in 1..=20_000_u32 {
                    // Beyond the end of the period as well.
                    let next = placement(name, index, period * 1.1 * f64::from(step) / 20_000.0);
                    let seconds = period * 1.1 / 20_000.0;
                    for (value, before, limit) in [
                        (next.center_x, last.center_x, 0.6),
                        (next.top, last.top, 0.2),
                        (next.height, last.height, 0.1),
                    ] {
                        let speed = (value - before).abs() / seconds;
                        assert!(speed <= limit, "{name} person {index} step {step}: {speed} a second");
                    }
                    assert!(next.height <= max_height(name), "{name}: taller than `max_height`");
                    last = next;
                }
            }
        }
    }

    #[test]
    fn steps_absences_and_crossings_happen_at_their_times() {
        let x = |name, index, seconds| placement(name, index, seconds).center_x;
        assert_eq!([7.99, 8.0, 15.99, 16.0].map(|t| x(SceneName::Step, 0, t)), [0.35, 0.55, 0.55, 0.30]);
        assert_eq!([2.0, 3.0, 5.0].map(|t| (x(SceneName::Stop, 0, t) * 100.0).round()), [45.0, 65.0, 65.0]);
        let gone = |name, index, seconds| x(name, index, seconds) < -1.0;
        assert_eq!([9.9, 10.0, 16.9, 17.0].map(|t| gone(SceneName::Vanish, 0, t)), [false, true, true, false]);
        assert_eq!([9.9, 10.0, 11.4, 11.5].map(|t| gone(SceneName::Blink, 0, t)), [false, true, true, false]);
        assert_eq!([11.4, 17.0, 18.4, 18.5].map(|t| gone(SceneName::Blink, 1, t)), [false, true, true, false]);
        assert!(!gone(SceneName::Cross, 0, 10.7) && gone(SceneName::Cross, 0, 18.7));
        assert!(gone(SceneName::Cross, 3, 10.7) && !gone(SceneName::Cross, 3, 18.7));
        let nod: Vec<f64> = (0..3000_u32).map(|t| placement(SceneName::Nod, 0, f64::from(t) * 0.01).top).collect();
        assert!(nod[..1000].iter().all(|top| *top == nod[0]));
        let reach = nod.iter().map(|top| (top - nod[0]).abs()).fold(0.0, f64::max);
        assert!((reach - 0.045).abs() < 1e-9, "{reach}");
    }

    #[test]
    fn the_person_leaves_and_returns() {
        let at = |seconds| placement(SceneName::Leave, 0, seconds).center_x;
        assert!(at(2.0) < 0.5 && at(8.0) < -0.2 && (at(15.0) - at(1.0)).abs() < 1e-9);
    }
}
