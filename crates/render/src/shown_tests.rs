use super::*;
use crate::composite::{CompositeRenderer, PreparedBackground};
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat};
use portraitd_protocol::BackgroundMode;
use portraitd_vision::net::{DEFAULT_MODEL, EngineOptions, Library, Model};
use portraitd_vision::{GateSampler, Observer};

const SIZE: Size = Size::new(256, 144);
const MS: u64 = 1_000_000;

/// A grey frame; `right` is the luma of its right half.
fn frame(left: u8, right: u8) -> OwnedPicture {
    let bytes = (0..256 * 144).map(|index| if index % 256 < 128 { left } else { right }).collect();
    OwnedPicture::new(PixelFormat::Grey, SIZE, Colorimetry::default(), bytes).expect("a picture")
}

/// An observer whose net finds people in the upper three quarters of every frame.
fn observer() -> Observer {
    let library = Library::default();
    let built_in = library.load(DEFAULT_MODEL, EngineOptions::default()).expect("built in");
    let model = Model::from_fn(built_in.manifest().clone(), Size::new(64, 36), |_, mask| {
        mask[..64 * 27].fill(1.0);
        Ok(())
    });
    Observer::new(model).expect("an observer")
}

fn observe(observer: &mut Observer, picture: &OwnedPicture, at_ms: u64, ignored: bool) -> Observation {
    let mut observation = Observation::default();
    observer.observe(&picture.as_picture(), at_ms, at_ms * MS, |_| ignored, &mut observation).expect("observed");
    observation
}

/// Whether a composite with this matte shows the frame at the left and at the right.
fn sides(picture: &OwnedPicture, matte: ShownMatte<'_>) -> (bool, bool) {
    let background =
        PreparedBackground { version: 1, mode: BackgroundMode::Color, color: [255, 0, 255], blur: 0.0, image: None };
    let mut out = OwnedPicture::zeroed(PixelFormat::Rgb24, SIZE, Colorimetry::default()).expect("a picture");
    let whole = PixelRect::of_size(SIZE);
    let mut output = out.as_picture_mut();
    CompositeRenderer::new().render(&picture.as_picture(), whole, matte, &background, &mut output).expect("drawn");
    let shows = |x: usize| out.bytes()[(40 * 256 + x) * 3 + 1] > 0;
    (shows(50), shows(200))
}

fn newer(observation: &Observation, picture: &OwnedPicture, at_ms: u64) -> (bool, bool) {
    let (mut rules, mut gate) = (MatteRules::new(), GateSampler::new().expect("a sampler"));
    let cells = gate.sample(&picture.as_picture()).expect("sampled");
    sides(picture, rules.newer(observation, at_ms * MS, SIZE, cells))
}

#[test]
fn a_mask_is_shown_with_its_own_frame_only() {
    let picture = frame(100, 100);
    let observation = observe(&mut observer(), &picture, 1000, false);
    let mut rules = MatteRules::new();
    let own = (1000, 1000 * MS);
    assert!(rules.own(&observation, own, SIZE).is_complete());
    assert_eq!(sides(&picture, rules.own(&observation, own, SIZE)), (true, true));
    for (other, size) in [((1001, 1000 * MS), SIZE), ((1000, 1001 * MS), SIZE), (own, Size::new(256, 142))] {
        assert!(!rules.own(&observation, other, size).has_mask(), "{other:?}");
    }
}

#[test]
fn what_has_changed_since_the_mask_is_not_shown() {
    let observation = observe(&mut observer(), &frame(100, 100), 1000, false);
    assert_eq!(newer(&observation, &frame(100, 100), 1100), (true, true));
    assert_eq!(newer(&observation, &frame(100, 150), 1100), (true, false));
    assert_eq!(newer(&observation, &frame(20, 150), 1100), (false, false));
    // Slow changes add up: the comparison is with the frame of the mask.
    assert_eq!(newer(&observation, &frame(102, 100), 1100), (true, true));
    assert_eq!(newer(&observation, &frame(104, 100), 1133), (false, true));
}

#[test]
fn a_mask_of_more_than_400_ms_is_not_shown_with_a_newer_frame() {
    let mut observer = observer();
    let picture = frame(100, 100);
    let observation = observe(&mut observer, &picture, 1000, false);
    assert_eq!(newer(&observation, &picture, 1400), (true, true));
    assert_eq!(newer(&observation, &picture, 1401), (false, false));
    // A later frame is observed without a pass, and confirms the mask.
    let confirmed = observe(&mut observer, &picture, 1300, false);
    assert!(confirmed.still && confirmed.mask_capture_ns == 1000 * MS);
    assert_eq!(newer(&confirmed, &picture, 1700), (true, true));
    assert_eq!(newer(&confirmed, &picture, 1701), (false, false));
    let mut rules = MatteRules::new();
    assert!(rules.own(&confirmed, (1300, 1300 * MS), SIZE).is_complete());
}

#[test]
fn an_observation_without_a_reference_is_for_its_own_frame() {
    let mask = vec![1.0; 128 * 72];
    let grid = Size::new(128, 72);
    let observation = Observation::of_mask(5, 100, SIZE, mask, grid, PixelRect::of_size(SIZE));
    let picture = frame(100, 100);
    let mut rules = MatteRules::new();
    assert_eq!(sides(&picture, rules.own(&observation, (5, 100), SIZE)), (true, true));
    assert_eq!(newer(&observation, &picture, 1), (false, false));
}

#[test]
fn people_who_are_ignored_are_not_shown() {
    let picture = frame(100, 100);
    let observation = observe(&mut observer(), &picture, 1000, true);
    assert!(observation.people.is_empty());
    let mut rules = MatteRules::new();
    let matte = rules.own(&observation, (1000, 1000 * MS), SIZE);
    assert!(matte.is_complete(), "nobody who is shown is missing");
    assert_eq!(sides(&picture, matte), (false, false));
    assert_eq!(newer(&observation, &picture, 1010), (false, false));
}
