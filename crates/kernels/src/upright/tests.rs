use proptest::prelude::*;

use super::oracle::turned_value;
use super::*;
use crate::component::value;
use crate::simd::Isa;
use crate::testing::{Guarded, config, picture};

fn orientations() -> impl Strategy<Value = Orientation> {
    prop::sample::select(Orientation::all().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(config(300))]

    /// Every pixel, of every format, orientation and instruction set, with odd sizes and padding.
    #[test]
    fn turning_moves_every_pixel_as_the_oracle(
        canvas in picture(1..90, 1..90),
        orientation in orientations(),
        padding in 0_usize..20,
    ) {
        let source = canvas.picture();
        let format = turned_format(source.format());
        let Ok(used) = used_size(source.format(), source.size()) else {
            prop_assert!(source.format().has_chroma() && source.size().width.min(source.size().height) == 1);
            return Ok(());
        };
        let size = orientation.turned(used);
        for isa in Isa::ALL.into_iter().filter_map(Usable::new) {
            let mut output = Guarded::new(format, size, padding);
            Turner::with_isa(isa).turn(&source, orientation, &mut output.picture()).expect("turned");
            output.check_guards()?;
            let turned = output.picture();
            let turned = turned.as_picture(source.color());
            for y in 0..i64::from(size.height) {
                for x in 0..i64::from(size.width) {
                    for index in 0..3 {
                        let wanted = turned_value(&source, used, orientation, index, x, y);
                        prop_assert_eq!(value(&turned, index, x, y), wanted, "{:?} {} ({}, {})", isa, index, x, y);
                    }
                }
            }
        }
    }
}

#[test]
fn a_quarter_turn_is_clockwise_and_the_mirror_comes_after_it() {
    let pixels = [1, 2, 3, 4, 5, 6];
    let source = Picture::packed(PixelFormat::Grey, Size::new(3, 2), Default::default(), &pixels).expect("a picture");
    let turned = |rotation, mirror| {
        let orientation = Orientation { rotation, mirror };
        let mut bytes = vec![0; 6];
        let mut output =
            PictureMut::packed(PixelFormat::Grey, orientation.turned(source.size()), &mut bytes).expect("a picture");
        Turner::default().turn(&source, orientation, &mut output).expect("turned");
        bytes
    };
    assert_eq!(turned(Rotation::None, true), [3, 2, 1, 6, 5, 4]);
    assert_eq!(turned(Rotation::Quarter, false), [4, 1, 5, 2, 6, 3]);
    assert_eq!(turned(Rotation::Quarter, true), [1, 4, 2, 5, 3, 6]);
    assert_eq!(turned(Rotation::Half, false), [6, 5, 4, 3, 2, 1]);
    assert_eq!(turned(Rotation::ThreeQuarters, false), [3, 6, 2, 5, 1, 4]);
}

#[test]
fn another_output_is_refused() {
    let bytes = [0; 8];
    let source = Picture::packed(PixelFormat::Yuyv, Size::new(2, 2), Default::default(), &bytes).expect("a picture");
    let mut pixels = [0; 8];
    let mut output = PictureMut::packed(PixelFormat::Yuyv, Size::new(2, 2), &mut pixels).expect("a picture");
    let error = Turner::default().turn(&source, Orientation::default(), &mut output).expect_err("refused");
    assert_eq!(error.to_string(), "the output is YUYV 2x2, the turned picture is NV12 2x2");
}
