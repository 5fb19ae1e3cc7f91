//! The observer on whole scenes: quality of the masks, number of inference passes, and no
//! allocation per frame.

#![allow(unreachable_pub, reason = "a program of its own, whose modules share helpers")]

use portraitd_kernels::blend::Matte;
use portraitd_lab::eval::score;
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect};
use portraitd_render::draw_mask;
use portraitd_scene::{Scene, SceneOptions};
use portraitd_vision::net::{EngineOptions, Library};
use portraitd_vision::{Observation, Observer};

#[path = "../../../tests/publish/counting.rs"]
mod counting;

fn observer() -> Observer {
    let model = Library::default().load("selfie-landscape", EngineOptions::default()).expect("a model");
    Observer::new(model).expect("an observer")
}

/// The totals over a scene.
#[derive(Debug, Default)]
struct Totals {
    frames: u64,
    inferences: u64,
    /// Frames without motion, whose mask was retained.
    still: u64,
    iou_sum: f64,
}

/// Observes `seconds` of a scene at 30 frames per second, and scores each frame.
fn observe(scene: &str, seconds: u64) -> Totals {
    let scene = Scene::new(&SceneOptions::parse(scene).expect("a scene")).expect("a scene");
    let size = scene.format().size;
    let (mut observer, mut observation, mut matte) = (observer(), Observation::default(), Matte::new());
    let mut mask = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default()).expect("a picture");
    let mut totals = Totals::default();
    for sequence in 0..seconds * 30 {
        let picture = scene.picture(sequence);
        observer
            .observe(&picture.as_picture(), sequence, sequence * 33_333_333, |_| false, &mut observation)
            .expect("an observation");
        assert!(observation.mask_sequence <= sequence);
        assert_eq!(observation.still, observation.inference_ns == 0);
        totals.frames += 1;
        totals.inferences += u64::from(observation.inference_ns > 0);
        totals.still += u64::from(observation.still);
        let view = observation.mask_view().expect("a mask");
        draw_mask(&mut matte, &view, PixelRect::of_size(size), &mut mask.as_picture_mut()).expect("drawn");
        totals.iou_sum += score(mask.bytes(), scene.truth(sequence).alpha.bytes(), size).iou;
    }
    totals
}

#[test]
fn a_small_person_is_found_with_at_most_one_inference_per_frame() {
    let totals = observe("wide", 20);
    let mean = totals.iou_sum / totals.frames as f64;
    assert!(mean >= 0.93, "mean IoU {mean:.4}: {totals:?}");
    assert!(totals.inferences <= totals.frames);
}

#[test]
fn a_still_scene_needs_two_inferences_per_second() {
    let totals = observe("still", 10);
    let mean = totals.iou_sum / totals.frames as f64;
    assert!(mean >= 0.95, "mean IoU {mean:.4}: {totals:?}");
    assert!(totals.inferences <= 25, "{totals:?}");
    assert_eq!(totals.still, totals.frames - totals.inferences);
}

#[test]
fn a_change_of_size_starts_anew() {
    let (mut observer, mut observation) = (observer(), Observation::default());
    // The same room and person in two sizes: the coarse luma of the motion gate is almost equal.
    for (sequence, scene) in (0..).zip(["still", "still", "still?size=640x360", "still?size=640x360"]) {
        let scene = Scene::new(&SceneOptions::parse(scene).expect("a scene")).expect("a scene");
        let (picture, frame) = (scene.picture(sequence), PixelRect::of_size(scene.format().size));
        observer
            .observe(&picture.as_picture(), sequence, sequence * 33_333_333, |_| false, &mut observation)
            .expect("an observation");
        assert!(frame.contains(&observation.covers, 0.5), "frame {sequence}: {:?}", observation.covers);
        assert!(observation.covers.height > 0.5 * frame.height, "frame {sequence}: {:?}", observation.covers);
    }
}

#[test]
fn nobody_is_found_in_an_empty_room() {
    let scene = Scene::new(&SceneOptions::parse("empty").expect("a scene")).expect("a scene");
    let (mut observer, mut observation) = (observer(), Observation::default());
    for sequence in 0..300 {
        let picture = scene.picture(sequence);
        observer
            .observe(&picture.as_picture(), sequence, sequence * 33_333_333, |_| false, &mut observation)
            .expect("an observation");
        assert!(observation.people.is_empty(), "frame {sequence}: {:?}", observation.people);
    }
}

#[test]
fn observing_allocates_nothing_after_the_start() {
    let scene = Scene::new(&SceneOptions::parse("wide").expect("a scene")).expect("a scene");
    let pictures: Vec<_> = (0..90).map(|sequence| scene.picture(sequence * 4)).collect();
    let (mut observer, mut observation) = (observer(), Observation::default());
    let mut run = |from: u64| {
        for (sequence, picture) in (from..).zip(&pictures) {
            observer
                .observe(&picture.as_picture(), sequence, sequence * 133_000_000, |_| false, &mut observation)
                .expect("an observation");
        }
    };
    run(0);
    assert_eq!(counting::allocations(|| run(90)), 0);
}

#[test]
fn a_still_wide_scene_has_its_final_mask_by_the_third_frame() {
    let scene = Scene::new(&SceneOptions::parse("wide").expect("a scene")).expect("a scene");
    let (size, number) = (scene.format().size, 60);
    let (picture, truth) = (scene.picture(number), scene.truth(number));
    let (mut observer, mut observation, mut matte) = (observer(), Observation::default(), Matte::new());
    let mut mask = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default()).expect("a picture");
    let ious: Vec<f64> = (0..60)
        .map(|sequence| {
            observer
                .observe(&picture.as_picture(), sequence, sequence * 33_333_333, |_| false, &mut observation)
                .expect("an observation");
            assert!(observation.inferences <= 1, "frame {sequence}");
            let view = observation.mask_view().expect("a mask");
            draw_mask(&mut matte, &view, PixelRect::of_size(size), &mut mask.as_picture_mut()).expect("drawn");
            score(mask.bytes(), truth.alpha.bytes(), size).iou
        })
        .collect();
    let last = ious[59];
    assert!(last > 0.93 && ious[2] >= last - 0.01, "frames 0 to 3: {:?}, last: {last:.4}", &ious[..4]);
}
