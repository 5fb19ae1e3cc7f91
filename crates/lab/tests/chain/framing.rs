//! The director's acceptance criteria A2 and A4 to A8 behind a real net. A1 is in `masks`. A3 holds
//! for every path of boxes, and is a property test of the director.

use portraitd_framing::Settings;
use portraitd_media::{PixelRect, Size, UnitRect};
use portraitd_protocol::{FramingMode, FramingState};
use portraitd_scene::SceneName;

use super::player::{PlayedFrame, Player, SIZE, scene};

/// The first frame whose crop differs from `crop`.
fn first_motion(frames: &[PlayedFrame], crop: PixelRect) -> Option<&PlayedFrame> {
    frames.iter().find(|frame| frame.shot.crop != crop)
}

fn assert_rests(frames: &[PlayedFrame], crop: PixelRect, what: &str) {
    if let Some(moved) = first_motion(frames, crop) {
        panic!("{what}: at {:.2} s {moved:?} and not {crop:?}", moved.seconds);
    }
}

/// Prints the times at which the set of people changes.
fn print_id_changes(frames: &[PlayedFrame]) {
    let ids = |frame: &PlayedFrame| frame.people.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    for pair in frames.windows(2).filter(|pair| ids(&pair[0]) != ids(&pair[1])) {
        println!("{:.2} s: {:?}", pair[1].seconds, pair[1].people);
    }
}

/// The largest distance of corresponding edges of two crops, relative to the size of `a`.
fn apart(a: UnitRect, b: UnitRect) -> f32 {
    let across = [(a.x - b.x) / a.width, (a.right() - b.right()) / a.width];
    let down = [(a.y - b.y) / a.height, (a.bottom() - b.bottom()) / a.height];
    across.iter().chain(&down).fold(0.0, |most, edge| most.max(edge.abs()))
}

#[test]
fn a2_the_crop_follows_a_step_in_time() {
    let mut player = Player::new(SceneName::Step);
    for (step, end, latest, what) in [(8.0, 15.9, 1.0, "moderate"), (16.0, 24.0, 0.3, "drastic")] {
        let before = player.settle(step).shot.crop;
        let frames = player.until(end);
        let after = frames.last().expect("frames").shot.crop;
        assert!(frames.last().expect("frames").is_converged(), "{:?}", frames.last());
        let start = first_motion(&frames, before).expect("it moves").seconds - step;
        let distance = after.x - before.x;
        let share = |frame: &PlayedFrame| (frame.shot.crop.x - before.x) / distance;
        let most = frames.iter().map(share).fold(0.0, f32::max);
        let at_90 = frames.iter().find(|frame| share(frame) >= 0.9).expect("it arrives").seconds - step;
        println!(
            "{what}: {:.2} crops, from {start:.2} s, 90 % at {at_90:.2} s, most {most:.3}",
            distance / before.width
        );
        assert!(distance.abs() > 0.2 * before.width, "{what}: {before:?} {after:?}");
        // The motion of the crop appears one frame after its start, and the step one frame after it
        // happened.
        assert!(start <= latest + 1.0 / 30.0 + 1e-6, "{what}: starts after {start:.3} s");
        assert!(at_90 - start <= 1.3, "{what}: {:.3} s from the start to 90 %", at_90 - start);
        assert!(most <= 1.01, "{what}: overshoot to {most}");
    }
}

#[test]
fn a4_a_nod_moves_nothing() {
    let mut player = Player::new(SceneName::Nod);
    let settled = player.settle(9.9);
    let frames = player.until(30.0);
    let tops: Vec<f32> = frames.iter().flat_map(|frame| frame.people.iter().map(|(_, bounds)| bounds.y)).collect();
    let reach = tops.iter().fold(0.0, |most: f32, top| most.max(*top))
        - tops.iter().fold(1.0, |least: f32, top| least.min(*top));
    assert!(reach > 0.08, "the net follows the nod: {reach}");
    assert_rests(&frames, settled.shot.crop, "a nod");
}

#[test]
fn a5_the_crop_waits_after_a_departure_and_reframes_once_on_return() {
    let mut player = Player::new(SceneName::Vanish);
    let settled = player.settle(10.0);
    let away = player.until(17.0);
    let gone = away.iter().find(|frame| frame.people.is_empty()).expect("a frame without people").seconds;
    assert!(gone < 10.2, "the person disappears only at {gone:.2} s");
    let moved = first_motion(&away, settled.shot.crop).expect("it opens").seconds;
    println!("a5: nobody from {gone:.2} s, opens at {moved:.2} s");
    assert!(moved - 10.0 >= 2.0, "opens after {:.2} s", moved - 10.0);
    let whole = PixelRect::of_size(SIZE);
    for frame in away.iter().filter(|frame| frame.seconds >= 14.5) {
        assert_eq!((frame.shot.crop, frame.shot.state), (whole, FramingState::Lost), "at {:.2} s", frame.seconds);
    }
    let moves = player.director(SIZE).moves();
    let back = player.until(28.0);
    let last = back.last().expect("frames");
    assert!(
        last.is_converged() && apart(last.shot.crop.to_fractions(SIZE), settled.shot.crop.to_fractions(SIZE)) <= 0.02,
        "{last:?} {settled:?}"
    );
    assert_eq!(player.director(SIZE).moves(), moves + 1, "reframed once");
    let begun = first_motion(&back, whole).expect("it frames").seconds;
    assert!(begun - 17.0 <= 1.2, "framed {:.2} s after the return", begun - 17.0);
}

/// A person walks out of the frame, cut in half by its border, and returns: the crop does not jump,
/// opens in time, and rests in the end.
#[test]
fn a5_the_crop_opens_after_a_person_walks_out() {
    let mut player = Player::new(SceneName::Leave);
    let frames = player.until(32.0 + 3.0);
    let seen = |from: f64, to: f64| {
        frames
            .iter()
            .filter(|f| f.seconds >= from && f.seconds < to && !f.people.is_empty())
            .map(|f| f.seconds)
            .fold(from, f64::max)
    };
    let whole = PixelRect::of_size(SIZE);
    for start in [0.0, 16.0] {
        let lost = seen(start + 3.0, start + 9.0);
        let opened = |frame: &&PlayedFrame| frame.seconds >= lost + 4.6 && frame.seconds < start + 11.0;
        for frame in frames.iter().filter(opened) {
            assert_eq!(frame.shot.crop, whole, "{:.2} s: nobody since {lost:.2} s", frame.seconds);
        }
    }
    for pair in frames.windows(2) {
        assert!(
            apart(pair[0].shot.crop.to_fractions(SIZE), pair[1].shot.crop.to_fractions(SIZE)) <= 0.03,
            "a jump: {pair:?}"
        );
    }
    // The third second of the next round: at rest on whoever came back.
    assert!(frames.last().expect("frames").is_converged(), "{:?}", frames.last());
}

#[test]
fn a6_a_short_absence_of_one_of_two_moves_nothing() {
    let mut player = Player::new(SceneName::Blink);
    let settled = player.settle(9.9);
    assert_eq!(settled.people.len(), 2, "{settled:?}");
    let frames = player.until(26.0);
    print_id_changes(&frames);
    let alone = frames.iter().filter(|frame| frame.people.len() == 1).count();
    assert!((84..=96).contains(&alone), "one is gone for three seconds in all: {alone} frames");
    assert_rests(&frames, settled.shot.crop, "a blink");
    assert!(frames.iter().all(PlayedFrame::is_converged));
}

#[test]
fn a6_a_passer_by_moves_nothing() {
    let mut player = Player::new(SceneName::Cross);
    let settled = player.settle(9.9);
    assert_eq!(settled.people.len(), 2, "{settled:?}");
    let frames = player.until(26.0);
    print_id_changes(&frames);
    for (from, how) in [(10.0, "behind"), (18.0, "before")] {
        let seen = frames.iter().filter(|f| (from..from + 1.4).contains(&f.seconds) && f.people.len() == 3).count();
        assert!(seen > 5, "the passer-by {how} the two is found in {seen} frames only");
    }
    assert_rests(&frames, settled.shot.crop, "a passer-by");
    assert!(frames.iter().all(PlayedFrame::is_converged));
}

/// A pseudo-random time of up to 8 ms, early or late.
fn jitter(sequence: u64) -> i64 {
    let hash = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    i64::try_from(hash % 16_000_001).expect("small") - 8_000_000
}

#[test]
fn a7_the_path_does_not_depend_on_the_frame_rate() {
    let path = |fps: u32, jitter: fn(u64) -> i64| Player::at(SceneName::Step, fps, jitter).until(22.0);
    let reference = path(30, |_| 0);
    let moving = reference.windows(2).filter(|pair| pair[0].shot.crop != pair[1].shot.crop).count();
    assert!(moving > 100, "{moving} frames in motion");
    for (fps, jitter) in [(15, (|_| 0) as fn(u64) -> i64), (10, |_| 0), (30, jitter), (15, jitter), (10, jitter)] {
        let other = path(fps, jitter);
        let mut worst = (0.0, 0.0);
        // At all of these rates there is a frame at every multiple of 0.2 s.
        for fifth in 0..110 {
            let seconds = f64::from(fifth) / 5.0;
            let at = |frames: &[PlayedFrame]| {
                frames.iter().find(|frame| (frame.seconds - seconds).abs() < 1e-3).expect("a frame").shot.crop
            };
            let off = apart(at(&reference).to_fractions(SIZE), at(&other).to_fractions(SIZE));
            if off > worst.0 {
                worst = (off, seconds);
            }
        }
        println!("{fps} fps, jitter {}: off by {:.4} at {:.1} s", jitter(3) != 0, worst.0, worst.1);
        assert!(worst.0 <= 0.01, "{fps} fps, jitter {}: off by {} crops at {:.1} s", jitter(3) != 0, worst.0, worst.1);
    }
}

#[test]
fn a8_a_change_of_settings_in_motion_does_not_jump() {
    let mut player = Player::new(SceneName::Step);
    player.settle(8.0);
    let base = Settings::new(SIZE, SIZE);
    let larger = Size::new(1280, 720);
    let changes: [(&str, f64, Settings); 7] = [
        ("off", 9.4, Settings { mode: FramingMode::Off, ..base }),
        ("follow", 9.6, base),
        ("another output", 10.4, Settings { output: Size::new(480, 360), ..base }),
        ("another size", 11.0, Settings { frame: larger, output: larger, ..base }),
        (
            "manual",
            16.7,
            Settings {
                frame: larger,
                output: larger,
                mode: FramingMode::Manual,
                manual_crop: UnitRect::new(0.1, 0.1, 0.7, 0.7),
                ..base
            },
        ),
        ("once", 16.9, Settings { frame: larger, output: larger, mode: FramingMode::Once, ..base }),
        ("follow again", 17.5, Settings { frame: larger, output: larger, ..base }),
    ];
    let (mut moving, mut size) = (0, SIZE);
    for (what, when, settings) in changes {
        let frames = player.until(when);
        let before = frames.last().expect("frames").shot;
        moving += usize::from(!before.still);
        let stamp = player.stamp();
        player.director(size).set(settings).expect("good settings");
        let at_once = player.director(settings.frame).step(stamp).crop.to_fractions(settings.frame);
        let was = before.crop.to_fractions(size);
        if settings.frame != size {
            player.change_scene(scene(SceneName::Step, settings.frame, 30));
            size = settings.frame;
        }
        let next = player.next().shot.crop.to_fractions(size);
        println!("{what}: {:.4} at once, {:.4} a frame later", apart(was, at_once), apart(was, next));
        let aspect_stays =
            (was.width - was.height).abs() < 1e-3 && settings.output.width * 9 == settings.output.height * 16;
        // Another aspect changes the width at once, so only the centre and the height are compared.
        let jump = if aspect_stays { apart(was, at_once) } else { across_center(was, at_once) };
        assert!(jump <= 0.02, "{what}: a jump of {jump} crops");
        let later = if aspect_stays { apart(was, next) } else { across_center(was, next) };
        assert!(later <= 0.02 + 0.85 / 30.0, "{what}: {later} crops a frame later");
    }
    assert!(moving >= 5, "only {moving} of the changes were made in motion");
    let last = player.until(24.0).last().expect("frames").clone();
    assert!(last.is_converged(), "{last:?}");
}

/// The largest difference of the centres and heights, relative to the size of `a` or `b`.
fn across_center(a: UnitRect, b: UnitRect) -> f32 {
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    ((ax - bx) / a.width).abs().max(((ay - by) / a.height).abs()).max((a.height / b.height - 1.0).abs())
}
