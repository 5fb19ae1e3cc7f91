//! Compares mattes, composites and blur with plain formulas.

use proptest::prelude::*;

use super::*;
use crate::picture::{Colorimetry, Picture, PictureMut, PixelFormat, PixelRect, Size, packed_bytes};
use crate::scale::{Filter, Scaler};
use crate::testing::{Canvas, Guarded, picture};

fn mask(width: u32, height: u32, seed: u64) -> Vec<f32> {
    let noise = Canvas::noise(PixelFormat::Grey, Size::new(width, height), 0, seed);
    noise.bytes[0].iter().map(|&byte| f32::from(byte) / 255.0).collect()
}

proptest! {
    #![proptest_config(crate::testing::config(200))]

    #[test]
    fn a_matte_is_the_mask_interpolated(
        (grid_width, grid_height, seed) in (1_u32..30, 1_u32..20, any::<u64>()),
        (width, height) in (30_u32..90, 20_u32..70),
        (x, y, wide, high) in (-20.0..60.0_f32, -20.0..60.0_f32, 5.0..40.0_f32, 5.0..40.0_f32),
        bytes: bool,
    ) {
        let values = mask(grid_width, grid_height, seed);
        let grid = Size::new(grid_width, grid_height);
        let covers = PixelRect::new(-3.25, 7.5, 80.0, 50.0);
        let as_bytes: Vec<u8> = values.iter().map(|value| crate::cast::byte(value * 255.0)).collect();
        let all = if bytes { MaskValues::Byte(&as_bytes) } else { MaskValues::Float(&values) };
        let view = MaskView::new(all, grid, covers).expect("valid");
        let (crop, size) = (PixelRect::new(x, y, wide, high), Size::new(width, height));
        let mut matte = Matte::new();
        let mut rows = matte.start(&view, crop, size, None).expect("valid");
        let exact: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        for row in 0..height {
            let mut out = vec![7; width as usize];
            let any = rows.row(row as usize, &mut out);
            prop_assert_eq!(any, out.iter().any(|&value| value > 0));
            for (column, &found) in (0..).zip(&out) {
                let expected = oracle::mask_at(&exact, grid, covers, crop, size, column, row) * 255.0;
                // At the edge of the covered region, rounding may decide either way.
                let beside = PixelRect { x: crop.x + 1e-3, y: crop.y + 1e-3, ..crop };
                let other = oracle::mask_at(&exact, grid, covers, beside, size, column, row) * 255.0;
                let near = |expected: f64| (f64::from(found) - expected).abs() <= 0.8;
                prop_assert!(near(expected) || near(other), "({}, {}): {} and not {}", column, row, found, expected);
            }
        }
    }

    #[test]
    fn a_composite_is_the_view_mixed_with_the_background(
        source in picture(8..50, 8..40),
        (width, height, seed) in (1_u32..50, 1_u32..40, any::<u64>()),
        rgb: bool,
        behind in 0..3,
    ) {
        let format = if rgb { PixelFormat::Rgb24 } else { PixelFormat::Nv12 };
        let size = Size::new(width, height);
        let source = source.picture();
        let crop = PixelRect::new(1.5, 0.75, source.size().width as f32 - 3.0, source.size().height as f32 - 2.0);
        let values = mask(9, 7, seed);
        let view = MaskView::new(MaskValues::Float(&values), Size::new(9, 7), PixelRect::new(-2.0, -1.0, 40.0, 30.0));
        let view = view.expect("valid");
        let edge = Edge::default();

        let mut expected_view = vec![0; packed_bytes(format, size)];
        let mut out = PictureMut::packed(format, size, &mut expected_view).expect("large enough");
        Scaler::new(Filter::Cubic).scale(&source, crop, &mut out).expect("valid");
        let image = Canvas::noise(format, size, 3, seed);
        let small = Canvas::noise(format, Size::new(4, 3), 0, seed);
        let color = [50, 60, 200];
        let backdrop = match behind {
            0 => Backdrop::Color(color),
            1 => Backdrop::Picture(image.picture()),
            _ => Backdrop::Stretched(small.picture(), PixelRect::of_size(small.picture().size())),
        };
        let mut compositor = Compositor::new(Filter::Cubic);
        let mut alone = Guarded::new(format, size, 0);
        compositor.compose(&source, crop, None, edge, &backdrop, &mut alone.picture()).expect("valid");
        alone.check_guards()?;
        let mut out = Guarded::new(format, size, 2);
        compositor.compose(&source, crop, Some(&view), edge, &backdrop, &mut out.picture()).expect("valid");
        out.check_guards()?;

        let mut matte = Matte::new();
        let mut rows = matte.start(&view, crop, size, Some(edge)).expect("valid");
        let alpha: Vec<Vec<u8>> = (0..height as usize).map(|y| {
            let mut row = vec![0; width as usize];
            rows.row(y, &mut row);
            row
        }).collect();
        let expected_view = Picture::packed(format, size, Colorimetry::default(), &expected_view).expect("whole");
        for plane in 0..format.plane_count() {
            let (row_bytes, _) = format.plane_extent(plane, size);
            let (found, alone) = (out.plane(plane), alone.plane(plane));
            for (i, (&found, &background)) in found.iter().zip(&alone).enumerate() {
                let (x, y) = (i % row_bytes, i / row_bytes);
                let a = |x: usize, y: usize| {
                    f64::from(alpha[y.min(height as usize - 1)][x.min(width as usize - 1)]) / 255.0
                };
                let alpha = match (rgb, plane) {
                    (true, _) => a(x / 3, y),
                    (_, 0) => a(x, y),
                    _ => {
                        let (x, y) = (x / 2 * 2, y * 2);
                        (a(x, y) + a(x + 1, y) + a(x, y + 1) + a(x + 1, y + 1)) / 4.0
                    }
                };
                let foreground = expected_view.plane(plane).row(y)[x];
                let expected = oracle::mix(f64::from(foreground), f64::from(background), alpha);
                // The alpha of chroma is rounded to a byte first.
                prop_assert!((f64::from(found) - expected).abs() <= 1.1, "plane {} byte {}: {} and not {}", plane, i, found, expected);
            }
        }
    }

    #[test]
    fn smoothstep_within_a_step(low in 0_u8..250, span in 1_u8..=255) {
        let high = low.saturating_add(span);
        let mut values: Vec<u8> = (0..=255).collect();
        rows::Ramp::new((low, high)).shape(crate::simd::Usable::chosen(), &mut values);
        let edge = Edge { low: f32::from(low) / 255.0, high: f32::from(high) / 255.0 };
        for (value, &found) in (0_u8..=255).zip(&values) {
            let expected = oracle::shaped(f64::from(value) / 255.0, edge) * 255.0;
            prop_assert!((f64::from(found) - expected).abs() <= 1.0, "{}: {} and not {}", value, found, expected);
        }
        prop_assert_eq!(values[usize::from(low)], 0);
        prop_assert_eq!(values[usize::from(high)], 255);
        prop_assert!(values.is_sorted());
    }
}

#[test]
fn all_or_nothing_is_exact() {
    let size = Size::new(40, 30);
    let source = Canvas::noise(PixelFormat::Nv12, size, 0, 5);
    let backdrop = Canvas::noise(PixelFormat::Nv12, size, 0, 6);
    let whole = PixelRect::of_size(size);
    for (value, expected) in [(1.0, &source), (0.0, &backdrop), (f32::NAN, &backdrop), (-3.0, &backdrop)] {
        let values = [value; 12];
        let view = MaskView::new(MaskValues::Float(&values), Size::new(4, 3), whole).expect("valid");
        let mut out = Guarded::new(PixelFormat::Nv12, size, 0);
        let behind = Backdrop::Picture(backdrop.picture());
        Compositor::new(Filter::Cubic)
            .compose(&source.picture(), whole, Some(&view), Edge::default(), &behind, &mut out.picture())
            .expect("valid");
        assert_eq!([out.plane(0), out.plane(1)], expected.bytes[..], "{value}");
    }
}

#[test]
fn a_blurred_room_has_nobody_in_it() {
    // A person in red, which differs in Cb and Cr, in front of a flat room: the blurred background
    // is the flat room.
    let size = Size::new(320, 180);
    let mut rgb = vec![90; packed_bytes(PixelFormat::Rgb24, size)];
    let (grid, mut values) = (Size::new(64, 36), vec![0.0; 64 * 36]);
    for y in 60..180 {
        for x in 100..200 {
            rgb[(y * 320 + x) * 3..][..3].copy_from_slice(&[255, 0, 0]);
            values[y / 5 * 64 + x / 5] = 1.0;
        }
    }
    let source = Picture::packed(PixelFormat::Rgb24, size, Colorimetry::default(), &rgb).expect("whole");
    let mask = MaskView::new(MaskValues::Float(&values), grid, PixelRect::of_size(size)).expect("valid");
    let mut blur = Blur::new();
    for radius in [0.0, 8.0, 40.0, 1e9] {
        let room = blur.scene_background(&source, PixelRect::of_size(size), Some(&mask), radius, PixelFormat::Rgb24);
        let (room, part) = room.expect("valid");
        assert_eq!(part, PixelRect::of_size(room.size()), "all of it is shown");
        assert!(room.plane(0).data.iter().all(|value| value.abs_diff(90) <= 1), "{radius}: {room:?}");
    }
    let mut nv12 = vec![0; packed_bytes(PixelFormat::Nv12, size)];
    let mut picture = PictureMut::packed(PixelFormat::Nv12, size, &mut nv12).expect("whole");
    crate::convert::to_nv12(&source, &mut picture, Colorimetry::default()).expect("same size");
    let source = picture.as_picture(Colorimetry::default());
    let (room, _) =
        blur.scene_background(&source, PixelRect::of_size(size), Some(&mask), 20.0, PixelFormat::Nv12).expect("valid");
    let grey = crate::convert::rgb_to_ycc([90; 3], Colorimetry::default());
    let cells = room.size().width as usize * room.size().height as usize;
    let (luma, chroma) = (&room.plane(0).data[..cells], room.plane(1).data);
    assert!(luma.iter().all(|value| value.abs_diff(grey[0]) <= 1), "{luma:?}");
    assert!(chroma.iter().all(|value| value.abs_diff(128) <= 1), "{chroma:?}");
    // Everything is a person: nothing of the background is left, and nothing of the people either.
    let all = [1.0; 4];
    let mask = MaskView::new(MaskValues::Float(&all), Size::new(2, 2), PixelRect::of_size(size)).expect("valid");
    let (room, _) =
        blur.scene_background(&source, PixelRect::of_size(size), Some(&mask), 20.0, PixelFormat::Nv12).expect("valid");
    assert!(room.plane(0).data.iter().all(|&value| value == 128));
}

#[test]
fn blur_spreads_a_point_as_far_as_its_radius_says() {
    let size = Size::new(1280, 720);
    let mut data = vec![16; packed_bytes(PixelFormat::Nv12, size)];
    for y in 356..364 {
        data[y * 1280 + 640..][..8].fill(235);
    }
    let source = Picture::packed(PixelFormat::Nv12, size, Colorimetry::default(), &data).expect("whole");
    let mut blur = Blur::new();
    let width = |blur: &mut Blur, radius: f32| {
        let (room, _) =
            blur.scene_background(&source, PixelRect::of_size(size), None, radius, PixelFormat::Nv12).expect("valid");
        let Size { width, height } = room.size();
        let row = room.plane(0).row(height as usize / 2);
        let bright = row[..width as usize].iter().filter(|&&value| value > 16).count();
        // In pixels of the source.
        bright * 1280 / width as usize
    };
    assert!(width(&mut blur, 8.0) * 2 < width(&mut blur, 24.0));
}

#[test]
fn blur_costs_the_same_at_any_radius() {
    let size = Size::new(1280, 720);
    let source = Canvas::noise(PixelFormat::Nv12, size, 0, 4);
    let mut blur = Blur::new();
    let mut additions = |radius: f32| {
        blur::ADDITIONS.set(0);
        let whole = PixelRect::of_size(size);
        blur.scene_background(&source.picture(), whole, None, radius, PixelFormat::Nv12).expect("valid");
        blur::ADDITIONS.get()
    };
    // From the smallest radius to the largest that can be configured, a quarter of the height. A
    // larger radius has fewer cells.
    let (least, most) = (additions(28.8), additions(180.0));
    assert!(least > 100_000 && most * 100 < least * 130, "{least} additions, and {most}");
}

#[test]
fn what_cannot_be_composed_is_refused() {
    let size = Size::new(16, 8);
    let source = Canvas::noise(PixelFormat::Nv12, size, 0, 5);
    let other = Canvas::noise(PixelFormat::Nv12, Size::new(8, 8), 0, 6);
    let mut compositor = Compositor::new(Filter::Cubic);
    let whole = PixelRect::of_size(size);
    let mut grey = Guarded::new(PixelFormat::Grey, size, 0);
    let color = Backdrop::Color([0; 3]);
    let source = source.picture();
    let result = compositor.compose(&source, whole, None, Edge::default(), &color, &mut grey.picture());
    assert_eq!(result, Err(BlendError::Format(PixelFormat::Grey)));
    let mut out = Guarded::new(PixelFormat::Nv12, size, 0);
    let wrong = Backdrop::Picture(other.picture());
    let result = compositor.compose(&source, whole, None, Edge::default(), &wrong, &mut out.picture());
    assert_eq!(
        result.expect_err("another size").to_string(),
        "a background of NV12 8x8 does not fit an output of NV12 16x8"
    );
    let values = [1.0; 4];
    assert!(MaskView::new(MaskValues::Float(&values), Size::new(3, 2), whole).is_err());
    assert!(MaskView::new(MaskValues::Float(&[]), Size::new(0, 2), whole).is_err());
    let far = PixelRect::new(0.0, 0.0, f32::NAN, 1.0);
    assert!(matches!(MaskView::new(MaskValues::Float(&values), Size::new(2, 2), far), Err(MaskError::PixelRect(_))));
    let mask = MaskView::new(MaskValues::Float(&values), Size::new(2, 2), whole).expect("valid");
    let crop = PixelRect::new(0.0, 0.0, 0.0, 1.0);
    let result = compositor.compose(&source, crop, Some(&mask), Edge::default(), &color, &mut out.picture());
    assert!(matches!(result, Err(BlendError::Scale(_))));
    assert!(out.plane(0).iter().all(|&byte| byte == 0xa5), "nothing is written on an error");
}
