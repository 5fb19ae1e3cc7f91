//! Acceptance tests A1 to A8, through the director's public interface.

use portraitd_protocol::{FramingMode, FramingState};
use proptest::prelude::*;

use super::*;

/// A reproducible sequence of pseudo-random numbers in -1..=1.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        f32::from(u16::try_from(self.0 >> 16).unwrap()) / 32_767.5 - 1.0
    }

    fn on(&mut self, bounds: UnitRect, amount: f32) -> UnitRect {
        UnitRect::new(
            bounds.x + self.next() * amount,
            bounds.y + self.next() * amount,
            bounds.width + self.next() * amount,
            bounds.height + self.next() * amount,
        )
    }
}

#[test]
fn a1_a_still_scene_with_mask_noise_never_moves_again() {
    for (seed, amount, every) in [(1, 0.005, 1), (2, 0.01, 1), (3, 0.01, 6), (4, 0.015, 3), (5, 0.02, 1), (6, 0.02, 6)]
    {
        let mut noise = Noise(seed);
        let mut rig = Rig::standard();
        rig.every = every;
        rig.run(6.0, |_| vec![subject(1, noise.on(SITTING, amount))]);
        let settled = rig.shot();
        assert!(settled.still && settled.state == FramingState::Converged, "noise {amount}: {settled:?}");
        let start = rig.now();
        rig.run(60.0, |_| vec![subject(1, noise.on(SITTING, amount))]);
        assert_eq!(rig.changes_since(start - 0.5), 0, "noise {amount}, a mask every {every}");
        assert_eq!(rig.director.moves(), 1);
        let crop = settled.crop;
        assert!([crop.x, crop.y, crop.width, crop.height].iter().all(|edge| edge % 2.0 == 0.0), "{crop:?}");
    }
}

/// The response to a step of `step` crops: seconds to the first motion, seconds from there to 90 %,
/// and overshoot as a fraction of the step.
fn step_response(step: f32, every: u32) -> (f64, f64, f64) {
    let left = UnitRect::new(0.25, 0.3, 0.15, 0.45);
    let mut rig = Rig::standard();
    rig.every = every;
    rig.settle(&[subject(1, left)]);
    let before = rig.director.step(nanoseconds(rig.now())).crop;
    let moved = shifted(left, step * before.width / FRAME.width as f32, 0.0);
    rig.run(8.0, |_| vec![subject(1, moved)]);
    assert!(rig.shot().still);
    assert_limits(&rig.shots, FRAME, 2.45);
    let way = f64::from(rig.shot().crop.x - before.x);
    assert!((way / f64::from(before.width) - f64::from(step)).abs() < 0.01, "{way} {before:?} {:?}", rig.shot());
    let start = rig.first_motion().expect("it moves");
    let share = |shot: &Shot| f64::from(shot.crop.x - before.x) / way;
    let (first, _) = rig.shots[0];
    let at_90 = rig.shots.iter().find(|(_, shot)| share(shot) >= 0.9).map(|(at, _)| at - first).unwrap();
    let most = rig.shots.iter().map(|(_, shot)| share(shot)).fold(0.0, f64::max);
    // The motion starts between the last frame at rest and the first frame that differs.
    (start, at_90 - (start - 1.0 / 30.0), most - 1.0)
}

#[test]
fn a2_a3_a_step_is_answered_in_time_and_without_overshoot() {
    for every in [1, 3, 6] {
        let (start, rise, overshoot) = step_response(0.30, every);
        assert!(start <= 1.0, "moderate start after {start}");
        assert!(rise <= 1.3, "moderate rise {rise}");
        assert!(overshoot <= 0.01, "moderate overshoot {overshoot}");
        let (start, rise, overshoot) = step_response(0.40, every);
        assert!(start <= 0.3 + 1e-9, "drastic start after {start}");
        assert!(rise <= 1.3, "drastic rise {rise}");
        assert!(overshoot <= 0.01, "drastic overshoot {overshoot}");
    }
    let (start, _, overshoot) = step_response(0.80, 1);
    assert!(start <= 0.3 + 1e-9 && overshoot <= 0.01);
}

#[test]
fn a4_a_nod_moves_nothing() {
    for every in [1, 3, 6] {
        for of_frame in [false, true] {
            let mut rig = Rig::standard();
            rig.every = every;
            let head = UnitRect::new(0.42, 0.35, 0.16, 0.42);
            rig.settle(&[subject(1, head)]);
            let crop = rig.director.step(nanoseconds(rig.now())).crop;
            let amount = if of_frame { 0.06 } else { 0.06 * crop.height / FRAME.height as f32 };
            let nod = |t: f64, phase: f64| {
                let angle = (t + phase) * std::f64::consts::TAU;
                amount * if angle.sin() >= 0.0 { angle.sin().min(1.0) as f32 } else { angle.sin() as f32 }
            };
            rig.run(20.0, |t| vec![subject(1, shifted(head, 0.0, nod(t, 0.0)))]);
            // Then the head moves from side to side, and the box grows and shrinks.
            rig.run(20.0, |t| vec![subject(1, shifted(head, nod(t, 0.3), 0.0))]);
            rig.run(20.0, |t| {
                let nod = nod(t, 0.0);
                vec![subject(1, UnitRect { y: head.y + nod, height: head.height - nod, ..head })]
            });
            // Then the head jumps up and down, half a second each.
            rig.run(20.0, |t| vec![subject(1, shifted(head, 0.0, if nod(t, 0.1) > 0.0 { amount } else { -amount }))]);
            assert_eq!(rig.changes_since(0.0), 0, "a mask every {every}");
            assert_eq!(rig.shot().crop, crop);
        }
    }
}

#[test]
fn a5_an_absence_is_waited_for_and_a_return_is_framed_once() {
    for (every, away) in [(1, 6.0), (6, 6.0), (3, 30.0)] {
        let mut rig = Rig::standard();
        rig.every = every;
        rig.settle(&[subject(1, SITTING)]);
        rig.run(away, |_| Vec::new());
        let start = rig.shots[0].0;
        let moved = rig.first_motion().expect("it opens");
        assert!(moved >= 2.0, "still for {moved}");
        let full = PixelRect::of_size(FRAME);
        for (at, shot) in &rig.shots {
            assert!(at - start < 4.5 || shot.crop == full, "{at} {shot:?}");
        }
        assert_eq!(rig.shot().state, FramingState::Lost);
        assert!(rig.shots.iter().any(|(at, shot)| at - start > 2.1 && !shot.still && shot.state == FramingState::Lost));
        assert_eq!(rig.director.is_absent(), away > 10.0);
        assert_limits(&rig.shots, FRAME, 2.45);
        let moves = rig.director.moves();
        rig.shots.clear();
        rig.run(12.0, |_| vec![subject(2, shifted(SITTING, 0.1, 0.0))]);
        assert_eq!(rig.director.moves(), moves + 1);
        assert!(rig.first_motion().expect("it frames") <= 1.1);
        assert_eq!(rig.shot().state, FramingState::Converged);
        assert_eq!(rig.changes_since(rig.now() - 6.0), 0);
        assert_limits(&rig.shots, FRAME, 2.45);
    }
}

#[test]
fn a6_a_blink_and_a_passer_by_move_nothing() {
    for every in [1, 3, 6] {
        let (a, b) = (subject(1, UnitRect::new(0.3, 0.4, 0.12, 0.5)), subject(2, UnitRect::new(0.5, 0.4, 0.12, 0.5)));
        let mut rig = Rig::standard();
        rig.every = every;
        rig.settle(&[a, b]);
        let crop = rig.director.step(nanoseconds(rig.now())).crop;
        assert!(crop.width < 1500.0, "{crop:?}");
        for gone in [a, b] {
            rig.run(10.0, |t| if t < 1.95 { vec![if gone == a { b } else { a }] } else { vec![a, b] });
        }
        // Both are gone at once.
        rig.run(10.0, |t| if t < 1.95 { Vec::new() } else { vec![a, b] });
        // Somebody runs through the frame, from edge to edge.
        rig.run(10.0, |t| {
            let through = subject(3, UnitRect::new((t / 1.45) as f32, 0.3, 0.12, 0.6));
            if t < 1.45 { vec![a, b, through] } else { vec![a, b] }
        });
        assert_eq!(rig.changes_since(0.0), 0, "a mask every {every}");
        assert!(rig.shots.iter().all(|(_, shot)| shot.state == FramingState::Converged));
        // A person who stays joins the group.
        rig.run(8.0, |_| vec![a, b, subject(3, UnitRect::new(0.8, 0.3, 0.12, 0.6))]);
        assert!(rig.shot().crop.width > crop.width);
    }
}

/// The shots at `times` (seconds) of a course with a moderate and a drastic step and an absence, at
/// `fps`, with timestamps that are off by up to `jitter` seconds.
fn course(fps: u32, jitter: f64, times: &[f64]) -> Vec<Shot> {
    let at = |x: f32| vec![subject(1, UnitRect::new(x, 0.3, 0.15, 0.45))];
    let people = |t: f64| match t {
        t if t < 8.0 => at(0.25),
        t if t < 14.0 => at(0.38),
        t if t < 20.0 => at(0.7),
        t if t < 26.0 => Vec::new(),
        _ => at(0.1),
    };
    let mut director = Director::new(Settings::new(FRAME, OUTPUT)).unwrap();
    let mut noise = Noise(77);
    let mut shots = Vec::new();
    for index in 0..34 * fps {
        let t = f64::from(index) / f64::from(fps);
        let stamp = nanoseconds(t + 1.0 + f64::from(noise.next()) * jitter);
        director.observe(stamp, &people(t));
        let shot = director.step(stamp);
        if times.iter().any(|time| (time - t).abs() < 1e-6) {
            shots.push(shot);
        }
    }
    shots
}

#[test]
fn a7_the_path_does_not_depend_on_the_frame_rate() {
    // At each of these times there is a frame at 10, 15, 30 and 60 fps.
    let times: Vec<f64> = (0..170).map(|fifth| f64::from(fifth) / 5.0).collect();
    let reference = course(30, 0.0, &times);
    assert_eq!(reference.len(), times.len());
    assert!(reference.windows(2).filter(|pair| pair[0].crop != pair[1].crop).count() > 40);
    for (fps, jitter) in [(10, 0.0), (15, 0.0), (60, 0.0), (30, 0.008), (15, 0.008), (10, 0.008)] {
        let other = course(fps, jitter, &times);
        assert_eq!(other.len(), reference.len());
        for ((a, b), time) in reference.iter().zip(&other).zip(&times) {
            let ((ax, ay), (bx, by)) = (a.crop.center(), b.crop.center());
            let off = ((ax - bx) / a.crop.width).abs().max(((ay - by) / a.crop.height).abs());
            let size = (a.crop.width / b.crop.width - 1.0).abs();
            assert!(off.max(size) <= 0.01, "{fps} fps, jitter {jitter}, at {time}: {:?} {:?}", a.crop, b.crop);
        }
    }
}

#[test]
fn a7_a_stamp_out_of_order_is_ignored() {
    let people = [subject(1, SITTING)];
    let mut a = Director::new(Settings::new(FRAME, OUTPUT)).unwrap();
    let mut b = a.clone();
    for index in 0..150u32 {
        let stamp = nanoseconds(5.0 + f64::from(index) / 30.0);
        a.observe(stamp, &people);
        b.observe(stamp, &people);
        let shot = a.step(stamp);
        assert_eq!(b.step(stamp), shot);
        for late in [0.04, 4.0, 0.0] {
            b.observe(stamp - nanoseconds(late), &[subject(1, shifted(SITTING, -0.4, 0.0))]);
            assert_eq!(b.step(stamp - nanoseconds(late)), shot);
        }
    }
    assert!(a.moves() > 0);
}

fn jump(a: UnitRect, b: UnitRect) -> f32 {
    let edges = [(a.x - b.x) / a.width, (a.right() - b.right()) / a.width];
    let levels = [(a.y - b.y) / a.height, (a.bottom() - b.bottom()) / a.height];
    edges.iter().chain(&levels).fold(0.0, |most: f32, edge| most.max(edge.abs()))
}

proptest! {
    #![proptest_config(at_least(48))]
    #[test]
    fn a8_a_change_in_motion_does_not_jump(
        when in 0.0f64..8.0, to_mode in 0usize..4, from_mode in 0usize..4, size in 0usize..3, zoom in 1.0f32..4.0,
    ) {
        let manual_crop = UnitRect::new(0.1, 0.2, 0.5, 0.5);
        let mut settings = Settings { mode: FramingMode::ALL[from_mode], manual_crop, ..Settings::new(FRAME, OUTPUT) };
        let mut rig = Rig::new(settings);
        let people = |t: f64| vec![subject(1, UnitRect::new(if t < 4.0 { 0.2 } else { 0.7 }, 0.3, 0.15, 0.45))];
        rig.run(when, people);
        let before = rig.director.step(nanoseconds(rig.now())).crop.to_fractions(settings.frame);
        settings.frame = [FRAME, Size::new(1280, 720), Size::new(641, 361)][size];
        settings.mode = FramingMode::ALL[to_mode];
        settings.max_zoom = zoom;
        rig.director.set(settings).unwrap();
        let at_once = rig.director.step(nanoseconds(rig.now())).crop.to_fractions(settings.frame);
        prop_assert!(jump(before, at_once) <= 0.005, "{before:?} {at_once:?}");
        rig.shots.clear();
        rig.run(6.0, people);
        let first = rig.shots[1].1.crop.to_fractions(settings.frame);
        // One frame later: the previous speed plus what the acceleration has added.
        prop_assert!(jump(before, first) <= 0.02 + 0.6 / 30.0, "{before:?} {first:?}");
        // The crop comes to rest in the end. The person steps 4 s into this run, and a zoom by 4
        // and a pan across the frame take long.
        rig.run(8.0, |_| people(8.0));
        prop_assert!(rig.shot().still, "{:?}", rig.shot());
    }
}
