//! What is seen of whole scenes: how well, how often the net runs for it, and that nothing is allocated on the way.

use portraitd_kernels::blend::Matte;
use portraitd_lab::eval::score;
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect};
use portraitd_render::draw_mask;
use portraitd_scene::{Scene, SceneOptions};
use portraitd_vision::net::{EngineOptions, Library};
use portraitd_vision::observer::{Observation, Observer};

#[path = "../../../tests/publish/counting.rs"]
mod counting;

fn observer() -> Observer {
    let model = Library::default().load("selfie-landscape", EngineOptions::default()).expect("a model");
    Observer::new(model).expect("an observer")
}

/// What was seen over a scene.
#[derive(Debug, Default)]
struct Seen {
    frames: u64,
    /// Runs of the net.
    looks: u64,
    still: u64,
    iou_sum: f64,
}

/// Observes `seconds` of a scene at 30 frames a second; scores each frame in whose truth there is somebody.
fn observe(scene: &str, seconds: u64) -> Seen {
    let scene = Scene::new(&SceneOptions::parse(scene).expect("a scene")).expect("a scene");
    let size = scene.format().size;
    let (mut observer, mut observation, mut matte) = (observer(), Observation::default(), Matte::new());
    let mut mask = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default()).expect("a picture");
    let mut seen = Seen::default();
    for sequence in 0..seconds * 30 {
        let picture = scene.picture(sequence);
        observer
            .observe(&picture.as_picture(), sequence, sequence * 33_333_333, |_| false, &mut observation)
            .expect("seen");
        assert!(observation.mask_sequence <= sequence);
        assert_eq!(observation.still, observation.inference_ns == 0);
        seen.frames += 1;
        seen.looks += u64::from(observation.inference_ns > 0);
        seen.still += u64::from(observation.still);
        let view = observation.mask_view().expect("a mask");
        draw_mask(&mut matte, &view, PixelRect::of_size(size), &mut mask.as_picture_mut()).expect("drawn");
        seen.iou_sum += score(mask.bytes(), scene.truth(sequence).alpha.bytes(), size).iou;
    }
    seen
}

#[test]
fn somebody_small_in_a_wide_room_is_seen_at_one_look_a_frame() {
    let seen = observe("wide", 20);
    let mean = seen.iou_sum / seen.frames as f64;
    assert!(mean >= 0.93, "mean IoU {mean:.4}: {seen:?}");
    assert!(seen.looks <= seen.frames);
}

#[test]
fn a_still_scene_is_looked_at_twice_a_second_and_seen_as_well() {
    let seen = observe("still", 10);
    let mean = seen.iou_sum / seen.frames as f64;
    assert!(mean >= 0.95, "mean IoU {mean:.4}: {seen:?}");
    assert!(seen.looks <= 25, "{seen:?}");
    assert_eq!(seen.still, seen.frames - seen.looks);
}

#[test]
fn another_size_is_another_scene() {
    let (mut observer, mut observation) = (observer(), Observation::default());
    // The same still room and person, first large, then small: the coarse luma is all but the same.
    for (sequence, scene) in (0..).zip(["still", "still", "still?size=640x360", "still?size=640x360"]) {
        let scene = Scene::new(&SceneOptions::parse(scene).expect("a scene")).expect("a scene");
        let (picture, frame) = (scene.picture(sequence), PixelRect::of_size(scene.format().size));
        observer
            .observe(&picture.as_picture(), sequence, sequence * 33_333_333, |_| false, &mut observation)
            .expect("seen");
        assert!(frame.contains(&observation.covers, 0.5), "frame {sequence}: {:?}", observation.covers);
        assert!(observation.covers.height > 0.5 * frame.height, "frame {sequence}: {:?}", observation.covers);
    }
}

#[test]
fn nobody_is_imagined_in_an_empty_room() {
    let scene = Scene::new(&SceneOptions::parse("empty").expect("a scene")).expect("a scene");
    let (mut observer, mut observation) = (observer(), Observation::default());
    for sequence in 0..300 {
        let picture = scene.picture(sequence);
        observer
            .observe(&picture.as_picture(), sequence, sequence * 33_333_333, |_| false, &mut observation)
            .expect("seen");
        assert!(observation.people.is_empty(), "frame {sequence}: {:?}", observation.people);
    }
}

#[test]
fn observing_allocates_nothing_once_running() {
    let scene = Scene::new(&SceneOptions::parse("wide").expect("a scene")).expect("a scene");
    let pictures: Vec<_> = (0..90).map(|sequence| scene.picture(sequence * 4)).collect();
    let (mut observer, mut observation) = (observer(), Observation::default());
    let mut run = |from: u64| {
        for (sequence, picture) in (from..).zip(&pictures) {
            observer
                .observe(&picture.as_picture(), sequence, sequence * 133_000_000, |_| false, &mut observation)
                .expect("seen");
        }
    };
    run(0);
    assert_eq!(counting::allocations(|| run(90)), 0);
}
