//! A composite shows nothing of the room: a colour that occurs only in the room is counted in every
//! composite, while the net is slow, irregular, fails or is replaced.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test computes small durations")]

use portraitd_kernels::convert::to_rgb24;
use portraitd_lab::eval::room::{GreenRoom, Playing, Shown, is_room, play, truth_net};
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, Size};
use portraitd_protocol::BackgroundMode;
use portraitd_scene::{SceneName, SceneOptions};
use portraitd_vision::Observer;
use portraitd_vision::net::EngineError;

const SIZE: Size = Size::new(640, 360);
const SECOND_NS: u64 = 1_000_000_000;

fn playing(strict: bool) -> Playing {
    Playing { strict, budget_ns: 30_000_000, output: SIZE, background: BackgroundMode::Color }
}

fn room(name: SceneName, first: u64, count: u64) -> GreenRoom {
    GreenRoom::render(&SceneOptions { size: Some(SIZE), ..SceneOptions::new(name) }, first, count).expect("a scene")
}

fn truth() -> Observer {
    Observer::new(truth_net(|| Ok(())).expect("a net")).expect("an observer")
}

/// Plays a scene with the true masks, and checks every composite. Returns them.
fn checked(room: &GreenRoom, playing: Playing, pass_ns: impl FnMut(usize) -> u64, what: &str) -> Vec<Shown> {
    let mut shown = Vec::new();
    play(room, &mut truth(), playing, pass_ns, |composite| shown.push(composite)).expect("played");
    for composite in &shown {
        assert_eq!(composite.room_pixels, 0, "{what}: {composite:?}");
        if room.frames[composite.frame].person_pixels == 0 {
            assert_eq!(composite.edge_pixels, 0, "{what}: nobody is there, {composite:?}");
        }
    }
    shown
}

#[test]
fn the_colour_of_the_room_is_in_no_person() {
    for name in SceneName::ALL {
        let room = room(name, 0, 1);
        let mut rgb = OwnedPicture::zeroed(PixelFormat::Rgb24, SIZE, Colorimetry::default()).expect("a picture");
        to_rgb24(&room.frames[0].picture.as_picture(), &mut rgb.as_picture_mut()).expect("converted");
        let pixels = rgb.bytes().as_chunks::<3>().0;
        let green = pixels.iter().filter(|pixel| is_room(**pixel)).count();
        let room_pixels = (SIZE.width * SIZE.height) as usize - room.frames[0].person_pixels as usize;
        assert!(green.abs_diff(room_pixels) * 50 < room_pixels, "{name}: {green} of {room_pixels}");
    }
}

#[test]
fn no_room_is_shown_at_any_number_of_passes() {
    for (name, first) in [(SceneName::Walk, 0), (SceneName::Vanish, 80), (SceneName::Step, 60), (SceneName::Cross, 90)]
    {
        let room = room(name, first, 150);
        for passes in [1, 2, 3, 4, 5, 10, 30] {
            for strict in [true, false] {
                let shown = checked(
                    &room,
                    playing(strict),
                    |_| SECOND_NS / passes,
                    &format!("{name}, {passes} passes, strict {strict}"),
                );
                assert!(!shown.is_empty());
            }
        }
    }
}

/// The parts of a mask come from different frames while windows take turns. Composites leave out what
/// has moved since, whether they are meant to be used with such masks or not.
#[test]
fn no_room_is_shown_while_windows_take_turns() {
    for (name, first) in [(SceneName::Ends, 45), (SceneName::Pass, 30)] {
        let room = room(name, first, 120);
        for passes in [4, 30] {
            for strict in [true, false] {
                let mut observer = truth();
                observer.set_most_windows(Observer::MAX_WINDOWS);
                let mut persons = 0;
                let show = |composite: Shown| {
                    assert_eq!(composite.room_pixels, 0, "{name}, {passes} passes, strict {strict}: {composite:?}");
                    persons += composite.person_pixels;
                };
                play(&room, &mut observer, playing(strict), |_| SECOND_NS / passes, show).expect("played");
                assert!(persons > 0);
            }
        }
    }
}

#[test]
fn no_room_is_shown_by_an_irregular_or_starved_net() {
    let room = room(SceneName::Walk, 0, 200);
    for strict in [true, false] {
        for seed in 1..4u64 {
            let mut state = seed;
            let irregular = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % (700 * 1_000_000)
            };
            checked(&room, playing(strict), irregular, &format!("irregular {seed}, strict {strict}"));
        }
        let short = Playing { budget_ns: 1_000_000, ..playing(strict) };
        checked(&room, short, |_| SECOND_NS / 8, "a budget of a millisecond");
        // The net hangs for three seconds.
        checked(&room, playing(strict), |frame| if frame > 60 { 3 * SECOND_NS } else { SECOND_NS / 15 }, "hangs");
    }
}

#[test]
fn no_room_is_shown_by_a_net_that_fails_or_is_replaced() {
    let room = room(SceneName::Walk, 0, 150);
    for strict in [true, false] {
        let mut passes = 0;
        let net = truth_net(move || {
            passes += 1;
            if passes % 3 == 0 { Err(EngineError::Elsewhere("injected".into())) } else { Ok(()) }
        });
        let mut observer = Observer::new(net.expect("a net")).expect("an observer");
        let (mut shown, mut bare) = (0, 0);
        play(
            &room,
            &mut observer,
            playing(strict),
            |_| SECOND_NS / 5,
            |composite| {
                assert_eq!(composite.room_pixels, 0, "{composite:?}");
                shown += 1;
                bare += usize::from(composite.person_pixels == 0);
            },
        )
        .expect("played");
        assert!(shown > bare && (!strict || bare > 0), "{shown}, {bare} without a person, strict {strict}");
    }
}

#[test]
fn no_room_is_shown_in_outputs_of_other_sizes_and_before_a_picture() {
    let room = room(SceneName::Walk, 30, 90);
    for output in [Size::new(16, 16), Size::new(320, 180), Size::new(1280, 720), Size::new(300, 512)] {
        for strict in [true, false] {
            let playing = Playing { output, background: BackgroundMode::Image, ..playing(strict) };
            checked(&room, playing, |_| SECOND_NS / 4, &format!("{output}, strict {strict}"));
        }
    }
}

#[test]
fn a_strict_composite_of_a_still_scene_has_the_rate_of_the_camera() {
    let room = room(SceneName::Still, 0, 90);
    let shown = checked(&room, playing(true), |_| SECOND_NS / 30, "still");
    assert!(shown.len() >= 85, "{} of 90", shown.len());
}
