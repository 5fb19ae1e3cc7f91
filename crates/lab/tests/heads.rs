//! The face detector on photographs. The expected boxes are those of the original net in LiteRT, on
//! the same squares (left, top, right, bottom, in fractions of the picture).

use std::path::Path;

use portraitd_media::{PixelRect, Size, UnitRect, image};

const EXPECTED: [(&str, [f32; 4]); 4] = [
    ("0007", [0.373, 0.093, 0.512, 0.185]),
    ("0152", [0.485, 0.070, 0.608, 0.150]),
    ("0208", [0.414, 0.086, 0.539, 0.167]),
    ("0742", [0.435, 0.079, 0.561, 0.161]),
];

/// The upper square of an upright picture.
fn upper_square(size: Size) -> UnitRect {
    let side = size.width.min(size.height) as f32;
    PixelRect::new(0.0, 0.0, side, side).to_fractions(size)
}

#[test]
fn faces_are_where_the_original_finds_them() {
    let mut detector = portraitd_lab::head_detector().expect("built in");
    assert_eq!(detector.model().engine_name(), "plan");
    for (name, [left, top, right, bottom]) in EXPECTED {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/people/images");
        let path = folder.join(name).with_extension("jpg");
        let picture = image::read(&path).expect("a picture");
        let found = detector.detect(&picture.as_picture(), upper_square(picture.size())).expect("seen");
        let expected = UnitRect::new(left, top, right - left, bottom - top);
        let best = found.first().expect("a face");
        assert!(best.score > 0.8 && best.face.iou(&expected) > 0.85, "{name}: {found:?}, expected {expected:?}");
    }
}

#[test]
fn a_room_without_people_has_no_faces() {
    let scene = portraitd_scene::Scene::new(&portraitd_scene::SceneOptions::parse("empty").expect("a scene"));
    let picture = scene.expect("a scene").picture(0);
    let mut detector = portraitd_lab::head_detector().expect("built in");
    for x in [0.0, 0.2, 0.4375] {
        let found = detector.detect(&picture.as_picture(), UnitRect::new(x, 0.0, 0.5625, 1.0)).expect("seen");
        assert!(found.is_empty(), "{found:?}");
    }
}
