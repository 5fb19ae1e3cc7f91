//! Single pictures of several people: people whom the first pass on the whole picture misses are
//! found by closer passes, and a picture of one person is not worse for them.

use portraitd_kernels::blend::{MaskValues, MaskView, Matte};
use portraitd_lab::eval::score;
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect, Size};
use portraitd_render::draw_mask;
use portraitd_scene::{Scene, SceneOptions};
use portraitd_vision::net::{EngineOptions, Library};
use portraitd_vision::{Observation, Observer};

const PART: Size = Size { width: 320, height: 360 };

/// Repeats the middle of each row of 640 bytes four times. The person stands there.
fn repeat_middle(from: &[u8], to: &mut [u8]) {
    let part = PART.width as usize;
    for (from, to) in from.chunks_exact(640).zip(to.chunks_exact_mut(4 * part)) {
        to.chunks_exact_mut(part).for_each(|to| to.copy_from_slice(&from[(640 - part) / 2..][..part]));
    }
}

/// Four frames of a scene beside each other, as one picture: pixels and truth.
fn four_people() -> (OwnedPicture, OwnedPicture) {
    let scene = Scene::new(&SceneOptions::parse("still?size=640x360").expect("a scene")).expect("a scene");
    let (frame, truth) = (scene.picture(0), scene.truth(0).alpha);
    let size = Size::new(4 * PART.width, PART.height);
    let mut picture = OwnedPicture::zeroed(frame.format(), size, frame.color()).expect("a picture");
    let mut mask = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default()).expect("a picture");
    repeat_middle(frame.bytes(), picture.bytes_mut());
    repeat_middle(truth.bytes(), mask.bytes_mut());
    (picture, mask)
}

/// IoU of one pass, IoU of closer passes, and the number of people that these find.
fn compare(picture: &OwnedPicture, truth: &OwnedPicture) -> (f64, f64, usize) {
    let model = Library::default().load("selfie-landscape", EngineOptions::default()).expect("a model");
    let mut observer = Observer::new(model).expect("an observer");
    let size = picture.size();
    let whole = PixelRect::of_size(size);
    let iou = |view: &MaskView<'_>| {
        let mut mask = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default()).expect("a picture");
        draw_mask(&mut Matte::new(), view, whole, &mut mask.as_picture_mut()).expect("drawn");
        score(mask.bytes(), truth.bytes(), size).iou
    };
    observer.infer(&picture.as_picture()).expect("a pass");
    let grid = observer.model().output_size();
    let plain = iou(&MaskView::new(MaskValues::Float(observer.probabilities()), grid, whole).expect("a mask"));
    let mut observation = Observation::default();
    observer.observe_closely(&picture.as_picture(), &mut observation).expect("an observation");
    (plain, iou(&observation.mask_view().expect("a mask")), observation.people.len())
}

#[test]
fn four_people_beside_each_other_are_all_segmented() {
    let (picture, truth) = four_people();
    let (plain, close, people) = compare(&picture, &truth);
    println!("one pass {plain:.4}, closer {close:.4}, {people} people");
    assert!(close >= 0.9 && close >= plain, "one pass {plain:.4}, closer {close:.4}");
    assert_eq!(people, 4);
}

#[test]
fn a_picture_without_people_stays_empty() {
    let scene = Scene::new(&SceneOptions::parse("empty?size=640x360").expect("a scene")).expect("a scene");
    let picture = scene.picture(0);
    let (_, empty, people) = compare(&picture, &scene.truth(0).alpha);
    assert_eq!((empty, people), (1.0, 0));
}

#[test]
fn one_person_who_is_large_is_as_good_as_in_one_pass() {
    let scene = Scene::new(&SceneOptions::parse("still?size=640x360").expect("a scene")).expect("a scene");
    let picture = scene.picture(0);
    let (plain, close, people) = compare(&picture, &scene.truth(0).alpha);
    assert!(close >= plain - 0.003, "one pass {plain:.4}, closer {close:.4}");
    assert_eq!(people, 1);
}
