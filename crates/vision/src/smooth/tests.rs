use proptest::prelude::*;

use super::*;
use crate::THRESHOLD;

const SIZE: Size = Size::new(128, 72);
const RATES: [f64; 5] = [5.0, 10.0, 15.0, 30.0, 60.0];
/// Standard deviation of the noise on the net's logits. It is chosen so that about 0.3 % of the
/// pixels flip in a frame, as with the landscape net and a still scene with sensor noise.
const NOISE: f32 = 0.2;

/// Pseudo-random numbers, the same in each run.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(self.0 >> 48).unwrap()) / 65536.0
    }

    /// The sum of twelve uniform numbers: mean 0, standard deviation 1.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

/// A synthetic mask of a person: an ellipse with soft edges, centred on (`x`, `y`) pixels, with
/// noise on the logits.
fn person(x: f32, y: f32, noise: f32, random: &mut Noise) -> Vec<f32> {
    let mut mask = Vec::new();
    for row in 0..SIZE.height {
        for column in 0..SIZE.width {
            let (dx, dy) = ((column as f32 + 0.5 - x) / 14.0, (row as f32 + 0.5 - y) / 26.0);
            // The logit grows with the distance to the outline, up to 6, which is certain.
            let logit = ((1.0 - dx.hypot(dy)) * 18.0).clamp(-6.0, 6.0) + noise * random.normal();
            mask.push(1.0 / (1.0 + (-logit).exp()));
        }
    }
    mask
}

fn stamp(frame: u32, rate: f64) -> u64 {
    1_000_000_000
        + (0..frame).map(|_| std::time::Duration::from_secs_f64(1.0 / rate)).sum::<std::time::Duration>().as_nanos()
            as u64
}

fn flips(a: &[f32], b: &[f32]) -> usize {
    a.iter().zip(b).filter(|(a, b)| (**a >= THRESHOLD) != (**b >= THRESHOLD)).count()
}

fn iou(a: &[f32], b: &[f32]) -> f64 {
    let both = a.iter().zip(b).filter(|(a, b)| **a >= THRESHOLD && **b >= THRESHOLD).count();
    let either = a.iter().zip(b).filter(|(a, b)| **a >= THRESHOLD || **b >= THRESHOLD).count();
    both as f64 / either as f64
}

#[test]
fn a_noisy_still_mask_flips_ten_times_less_at_any_rate() {
    for rate in RATES {
        let (mut random, mut smoother) = (Noise(7), Smoother::new());
        let (mut raw_flips, mut flips_left, mut last) = (0, 0, None::<(Vec<f32>, Vec<f32>)>);
        let frames = 120;
        for frame in 0..frames {
            let raw = person(60.0, 40.0, NOISE, &mut random);
            let smooth = smoother.apply(&raw, SIZE, stamp(frame, rate)).to_vec();
            if let Some((last_raw, last_smooth)) = &last {
                raw_flips += flips(&raw, last_raw);
                flips_left += flips(&smooth, last_smooth);
            }
            last = Some((raw, smooth));
        }
        let share = |flips: usize| 100.0 * flips as f64 / f64::from(frames - 1) / SIZE.area() as f64;
        println!("{rate} fps: raw {:.4} %, smoothed {:.4} %", share(raw_flips), share(flips_left));
        assert!(share(raw_flips) > 0.2, "the noise is as strong as that of a net");
        assert!(raw_flips >= 10 * flips_left, "{rate} fps: {raw_flips} flips became {flips_left}");
    }
}

#[test]
fn moving_is_not_smeared() {
    for rate in RATES {
        let (mut random, mut smoother) = (Noise(3), Smoother::new());
        let (mut raw_sum, mut smooth_sum) = (0.0, 0.0);
        for frame in 0..40 {
            // Up to 0.3 frame widths per second to and fro, and nodding.
            let seconds = f64::from(frame) / rate;
            let (x, y) = (64.0 + 19.0 * (seconds * 2.0).sin() as f32, 40.0 + 4.0 * (seconds * 6.0).sin() as f32);
            let truth = person(x, y, 0.0, &mut random);
            let raw = person(x, y, NOISE, &mut random);
            let smooth = smoother.apply(&raw, SIZE, stamp(frame, rate));
            raw_sum += iou(&raw, &truth) / 40.0;
            smooth_sum += iou(smooth, &truth) / 40.0;
        }
        println!("{rate} fps: raw {raw_sum:.4}, smoothed {smooth_sum:.4}");
        assert!(smooth_sum > raw_sum - 0.005, "{rate} fps: {smooth_sum} is less than {raw_sum}");
    }
}

#[test]
fn no_ghost_and_a_sharp_stop() {
    for rate in RATES {
        let (mut random, mut smoother) = (Noise(11), Smoother::new());
        for frame in 0..30 {
            smoother.apply(&person(30.0, 40.0, NOISE, &mut random), SIZE, stamp(frame, rate));
        }
        // The person jumps by more than their own width within one frame, then stays.
        let truth = person(90.0, 40.0, 0.0, &mut random);
        for frame in 30..60 {
            let since_s = f64::from(frame - 29) / rate;
            let smooth = smoother.apply(&person(90.0, 40.0, NOISE, &mut random), SIZE, stamp(frame, rate));
            if since_s >= 0.2 {
                let ghost = smooth.chunks(128).flat_map(|row| &row[..55]).fold(0.0f32, |most, value| most.max(*value));
                assert!(ghost < 0.05, "{rate} fps, {since_s:.2} s: a ghost of {ghost}");
            }
            if since_s >= 0.3 {
                assert!(iou(smooth, &truth) > 0.98, "{rate} fps, {since_s:.2} s: {}", iou(smooth, &truth));
            }
        }
    }
}

#[test]
fn a_stop_after_a_walk_is_sharp() {
    for rate in RATES {
        let (mut random, mut smoother) = (Noise(5), Smoother::new());
        let mut frame = 0;
        let mut x = 30.0;
        while x < 90.0 {
            smoother.apply(&person(x, 40.0, 0.0, &mut random), SIZE, stamp(frame, rate));
            x += 38.0 / rate as f32;
            frame += 1;
        }
        let truth = person(90.0, 40.0, 0.0, &mut random);
        let mut smooth = Vec::new();
        // The first frame at rest and the frames of the next 0.3 s.
        for _ in 0..=(0.3 * rate).floor() as u32 {
            smooth = smoother.apply(&truth, SIZE, stamp(frame, rate)).to_vec();
            frame += 1;
        }
        let worst = smooth.iter().zip(&truth).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{rate} fps: IoU {:.4}, worst pixel {worst:.3}", iou(&smooth, &truth));
        assert!(iou(&smooth, &truth) > 0.985, "{rate} fps: {}", iou(&smooth, &truth));
        assert!(worst < 2.0 * BACKLASH, "{rate} fps: {worst}");
    }
}

#[test]
fn certain_pixels_follow_at_once_and_others_later() {
    let size = Size::new(3, 1);
    let mut smoother = Smoother::new();
    smoother.apply(&[0.0, 1.0, 0.4], size, 0);
    let smooth = smoother.apply(&[1.0, 0.0, 0.5], size, 33_000_000);
    assert_eq!(smooth[..2], [1.0, 0.0]);
    assert!(smooth[2] < 0.45, "an uncertain pixel depends on its history: {}", smooth[2]);
}

#[test]
fn changing_sides_needs_more_than_crossing_the_threshold() {
    let size = Size::new(1, 1);
    let mut smoother = Smoother::new();
    let mut now = 0;
    let mut at = |value: f32| {
        now += 33_000_000;
        smoother.apply(&[value], size, now)[0] >= THRESHOLD
    };
    for frame in 0..100u8 {
        assert!(!at(if frame % 2 == 0 { 0.46 } else { 0.54 }), "noise across the threshold");
    }
    let mut value = 0.5;
    let mut drift = |to: f32| {
        let mut person = false;
        while (value - to).abs() > 0.001 {
            value += 0.002f32.copysign(to - value);
            person = at(value);
        }
        person
    };
    assert!(!drift(0.53), "over the threshold by less than the backlash");
    assert!(drift(0.65));
    assert!(drift(0.47), "under it by less than the backlash");
    assert!(!drift(0.35));
}

#[test]
fn the_history_is_discarded_after_gaps_and_changes_of_size() {
    let size = Size::new(2, 1);
    let reset_by = |act: fn(&mut Smoother) -> Vec<f32>| {
        let mut smoother = Smoother::new();
        smoother.apply(&[0.4, 0.4], size, 5_000_000_000);
        act(&mut smoother)
    };
    let new = [0.5f32, 0.5];
    assert_ne!(
        reset_by(|s| s.apply(&[0.5, 0.5], Size::new(2, 1), 6_000_000_000).to_vec()),
        new,
        "one second is no gap"
    );
    assert_eq!(reset_by(|s| s.apply(&[0.5, 0.5], Size::new(2, 1), 6_000_000_001).to_vec()), new);
    assert_eq!(reset_by(|s| s.apply(&[0.5, 0.5], Size::new(2, 1), 4_999_999_999).to_vec()), new);
    assert_eq!(reset_by(|s| s.apply(&[0.5, 0.5], Size::new(1, 2), 5_033_000_000).to_vec()), new);
    assert_eq!(
        reset_by(|s| {
            s.reset();
            s.apply(&[0.5, 0.5], Size::new(2, 1), 5_033_000_000).to_vec()
        }),
        new
    );
}

#[test]
fn invalid_input_gives_no_mask() {
    let mut smoother = Smoother::new();
    assert!(smoother.apply(&[], Size::new(0, 4), 0).is_empty());
    assert!(smoother.apply(&[0.5; 3], Size::new(2, 2), 0).is_empty());
    let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -3.0, 7.0, 0.5];
    for frame in 0..3 {
        let smooth = smoother.apply(&wild, Size::new(3, 2), frame * 33_000_000);
        assert_eq!(smooth, [0.0, 1.0, 0.0, 0.0, 1.0, 0.5]);
    }
}

#[test]
fn nothing_is_allocated_at_a_known_size() {
    let (mut random, mut smoother) = (Noise(1), Smoother::new());
    smoother.apply(&person(60.0, 40.0, NOISE, &mut random), SIZE, 0);
    let memory = |s: &Smoother| (s.filtered.as_ptr(), s.filtered.capacity(), s.output.as_ptr(), s.output.capacity());
    let before = memory(&smoother);
    for frame in [1, 2, 500, 3] {
        smoother.apply(&person(60.0, 40.0, NOISE, &mut random), SIZE, frame * 33_000_000);
    }
    assert_eq!(memory(&smoother), before);
}

proptest! {
    #[test]
    fn outputs_are_probabilities_near_the_old_or_the_new_value(
        masks in prop::collection::vec((prop::collection::vec(-0.2f32..1.2, 4), 0u64..2_000_000_000), 1..30),
    ) {
        let mut smoother = Smoother::new();
        for (raw, at) in masks {
            let before: Vec<f32> = smoother.output.clone();
            let smooth = smoother.apply(&raw, Size::new(2, 2), at);
            for (index, value) in smooth.iter().enumerate() {
                prop_assert!((0.0..=1.0).contains(value));
                let now = raw[index].clamp(0.0, 1.0);
                let past = before.get(index).copied().unwrap_or(now);
                let slack = BACKLASH + 1e-6;
                prop_assert!(*value >= now.min(past) - slack && *value <= now.max(past) + slack);
            }
        }
    }
}

/// `mask` without its first `first` columns, filled up with `fill` on the right.
fn shifted(mask: &[f32], first: usize, fill: f32) -> Vec<f32> {
    let width = SIZE.width as usize;
    mask.chunks(width).flat_map(|row| row[first..].iter().copied().chain(std::iter::repeat_n(fill, first))).collect()
}

#[test]
fn the_history_follows_a_window_that_moves_by_whole_cells() {
    let window = |cells: f32| UnitRect::new(0.25 + cells * 0.5 / 128.0, 0.25, 0.5, 0.5);
    let (mut random, mut resting, mut moving) = (Noise(3), Smoother::new(), Smoother::new());
    resting.set_covered(window(0.0));
    moving.set_covered(window(0.0));
    for frame in 0..20 {
        let raw = person(60.0, 40.0, NOISE, &mut random);
        resting.apply(&raw, SIZE, stamp(frame, 30.0));
        moving.apply(&raw, SIZE, stamp(frame, 30.0));
    }
    let raw = person(60.0, 40.0, NOISE, &mut random);
    let expected = shifted(resting.apply(&raw, SIZE, stamp(20, 30.0)), 8, 0.25);
    moving.set_covered(window(8.0));
    let found = moving.apply(&shifted(&raw, 8, 0.25), SIZE, stamp(20, 30.0));
    let off = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-3, "{off}: the history must be the same, and the net's value where there is none");
}

#[test]
fn a_window_elsewhere_has_no_history() {
    let mut smoother = Smoother::new();
    smoother.set_covered(UnitRect::new(0.0, 0.0, 0.25, 0.25));
    smoother.apply(&[1.0; 4], Size::new(2, 2), 0);
    smoother.set_covered(UnitRect::new(0.5, 0.5, 0.25, 0.25));
    assert_eq!(smoother.apply(&[0.4; 4], Size::new(2, 2), 33_000_000), [0.4; 4]);
}

#[test]
fn a_pass_after_still_time_counts_as_the_next_frame() {
    let raw = |value: f32| [value; 4];
    let after = |rested: bool| {
        let mut smoother = Smoother::new();
        smoother.apply(&raw(0.45), Size::new(2, 2), 0);
        if rested {
            smoother.skip_still_time(800_000_000);
        }
        smoother.apply(&raw(0.55), Size::new(2, 2), 833_000_000)[0]
    };
    // The step of a second moves the output; the step of one frame is within the backlash.
    assert_eq!(after(true), 0.45);
    assert!(after(false) > 0.455, "{}", after(false));
}
