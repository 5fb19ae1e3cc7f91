//! Compares the scaler with its oracle, for every format, at odd sizes and strides.

use proptest::prelude::*;

use super::*;
use crate::picture::{Plane, packed_bytes};
use crate::testing::{Canvas, Guarded, picture};

const OUTPUTS: [PixelFormat; 3] = [PixelFormat::Nv12, PixelFormat::Rgb24, PixelFormat::Grey];

/// The largest difference to the unrounded oracle: half a step for rounding, a quarter for fixed
/// point.
const TOLERANCE: f64 = 0.75;

/// The planes that the oracle expects, interleaved. `None` if the conversion goes through R'G'B'.
fn expected(
    source: &Picture<'_>,
    crop: PixelRect,
    size: Size,
    format: PixelFormat,
    filter: Filter,
) -> Option<Vec<Vec<f64>>> {
    let component = |index, subsampled| oracle::component(source, index, crop, size, subsampled, filter);
    let interleave = |parts: &[Vec<f64>]| {
        (0..parts[0].len()).flat_map(|i| parts.iter().map(move |part| part[i])).collect::<Vec<_>>()
    };
    Some(match (source.format(), format) {
        (from, PixelFormat::Rgb24) if from.is_rgb() => {
            vec![interleave(&[component(0, 1), component(1, 1), component(2, 1)])]
        }
        (from, _) if from.is_rgb() => return None,
        (_, PixelFormat::Rgb24) => return None,
        (_, PixelFormat::Grey) => vec![component(0, 1)],
        (PixelFormat::Grey, _) => {
            let chroma = PixelFormat::Nv12.plane_extent(1, size);
            vec![component(0, 1), vec![128.0; chroma.0 * chroma.1]]
        }
        _ => vec![component(0, 1), interleave(&[component(1, 2), component(2, 2)])],
    })
}

/// The planes that the oracle expects if the conversion goes through R'G'B'. Intermediate results
/// are clamped there, as in the scaler, so that only rounding differs.
fn expected_by_rgb(
    source: &Picture<'_>,
    crop: PixelRect,
    size: Size,
    format: PixelFormat,
    filter: Filter,
) -> Vec<Vec<f64>> {
    let parts: Vec<_> = (0..3)
        .map(|index| {
            if index > 0 && source.format() == PixelFormat::Grey {
                return vec![128.0; oracle::component(source, 0, crop, size, 1, filter).len()];
            }
            oracle::component(source, index, crop, size, 1, filter)
        })
        .collect();
    let map = picture_to_rgb(source.format(), source.color());
    #[expect(clippy::cast_possible_truncation, reason = "component values")]
    let pixel = |i: usize| map.apply([0, 1, 2].map(|part| parts[part][i].clamp(0.0, 255.0) as f32));
    let pixels: Vec<_> = (0..parts[0].len()).map(|i| pixel(i).map(|value| value.clamp(0.0, 255.0))).collect();
    if format == PixelFormat::Rgb24 {
        return vec![pixels.into_iter().flatten().map(f64::from).collect()];
    }
    let to = Affine::from_rgb(source.color());
    let luma = pixels.iter().map(|&rgb| f64::from(to.apply(rgb)[0])).collect();
    if format == PixelFormat::Grey {
        return vec![luma];
    }
    let (width, height) = (size.width as usize, size.height as usize);
    let mut chroma = Vec::new();
    for y in (0..height).step_by(2) {
        for x in (0..width).step_by(2) {
            let mut mean = [0.0; 3];
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let rgb = pixels[(y + dy).min(height - 1) * width + (x + dx).min(width - 1)];
                mean = std::array::from_fn(|i| mean[i] + rgb[i] / 4.0);
            }
            let ycc = to.apply(mean);
            chroma.extend([f64::from(ycc[1]), f64::from(ycc[2])]);
        }
    }
    vec![luma, chroma]
}

fn check(
    source: &Canvas,
    crop: PixelRect,
    size: Size,
    format: PixelFormat,
    filter: Filter,
) -> Result<(), TestCaseError> {
    let source = source.picture();
    let mut out = Guarded::new(format, size, 3);
    let mut scaler = Scaler::new(filter);
    let color = scaler.scale(&source, crop, &mut out.picture()).expect("valid");
    prop_assert_eq!(color, source.color());
    out.check_guards()?;
    let by_rgb = expected(&source, crop, size, format, filter);
    // Through R'G'B', one step of a component may become two (limited range, blue), and values are
    // rounded twice.
    let tolerance = if by_rgb.is_some() { TOLERANCE } else { 2.7 };
    let planes = by_rgb.unwrap_or_else(|| expected_by_rgb(&source, crop, size, format, filter));
    for (plane, expected) in planes.iter().enumerate() {
        let found = out.plane(plane);
        prop_assert_eq!(found.len(), expected.len());
        for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let expected = expected.clamp(0.0, 255.0);
            prop_assert!(
                (f64::from(found) - expected).abs() <= tolerance,
                "{} to {} {}: plane {} sample {}: {} and not {}",
                source.format(),
                format,
                size,
                plane,
                i,
                found,
                expected
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::testing::config(300))]

    #[test]
    fn any_crop_is_what_the_oracle_says(
        source in picture(1..70, 1..50),
        (x, y, width, height) in (-0.2..0.9_f32, -0.2..0.9_f32, 0.02..1.3_f32, 0.02..1.3_f32),
        size in (1_u32..60, 1_u32..40),
        format in prop::sample::select(&OUTPUTS[..]),
        filter in prop::sample::select(&[Filter::Linear, Filter::Cubic][..]),
    ) {
        let (w, h) = (source.size.width as f32, source.size.height as f32);
        let crop = PixelRect::new(x * w, y * h, width * w, height * h);
        check(&source, crop, Size::new(size.0, size.1), format, filter)?;
    }

    #[test]
    fn crops_near_the_output_s_size(
        source in picture(20..70, 20..50),
        (x, y, zoom) in (0.0..9.0_f32, 0.0..9.0_f32, 0.7..1.4_f32),
        format in prop::sample::select(&OUTPUTS[..]),
        filter in prop::sample::select(&[Filter::Linear, Filter::Cubic][..]),
    ) {
        let size = Size::new(source.size.width / 2, source.size.height / 2);
        let crop = PixelRect::new(x, y, size.width as f32 * zoom, size.height as f32 * zoom);
        check(&source, crop, size, format, filter)?;
    }

    #[test]
    fn some_columns_are_those_of_whole_rows(
        source in picture(16..60, 8..40),
        (width, height) in (1_u32..150, 1_u32..30),
        (from, count) in (0_usize..70, 1_usize..150),
        (x, y) in (-9.0..40.0_f32, -9.0..30.0_f32),
        (wide, high) in (0.1..1.5_f32, 0.1..1.5_f32),
        cubic: bool,
        format in prop::sample::select(&OUTPUTS[..]),
    ) {
        let (source, size) = (source.picture(), Size::new(width, height));
        let crop = PixelRect::new(x, y, wide * width as f32, high * height as f32);
        let mut scaler = Scaler::new(if cubic { Filter::Cubic } else { Filter::Linear });
        let mut whole = vec![0; packed_bytes(format, size)];
        let mut output = PictureMut::packed(format, size, &mut whole).expect("large enough");
        prop_assume!(scaler.scale(&source, crop, &mut output).is_ok());
        let whole = output.as_picture(source.color());
        let from = (2 * from).min(width as usize - 1) / 2 * 2;
        let mut end = (from + count).min(width as usize);
        if end < width as usize {
            end = end.next_multiple_of(2).min(width as usize);
        }
        let mut rows = scaler.start_columns(source, crop, size, format, from..end).expect("as above");
        for y in 0..height as usize {
            for plane in 0..format.plane_count() {
                if plane == 1 && y % 2 == 0 {
                    continue;
                }
                let (row, bytes) = match (plane, format) {
                    (1, _) => (y / 2, from..end.next_multiple_of(2)),
                    (_, PixelFormat::Rgb24) => (y, 3 * from..3 * end),
                    _ => (y, from..end),
                };
                let mut found = vec![7; bytes.len()];
                rows.row(plane, row, &mut found);
                // Planar pictures that are enlarged have one method; two methods round differently.
                let same = source.format() == PixelFormat::Nv12 && wide <= 1.0 && high <= 1.0;
                let most = if same { 0 } else if format == PixelFormat::Rgb24 { 4 } else { 1 };
                for (x, (&found, &expected)) in found.iter().zip(&whole.plane(plane).row(row)[bytes]).enumerate() {
                    let near = found.abs_diff(expected) <= most;
                    prop_assert!(near, "byte {} of row {}, plane {}: {} and not {}", x, row, plane, found, expected);
                }
            }
        }
    }

    #[test]
    fn whole_pixels_at_their_own_size_are_copied(
        source in picture(1..70, 1..50),
        offset in (0_u32..20, 0_u32..20),
        filter in prop::sample::select(&[Filter::Linear, Filter::Cubic][..]),
    ) {
        let (x, y) = (offset.0.min(source.size.width - 1) & !1, offset.1.min(source.size.height - 1) & !1);
        let size = Size::new(source.size.width - x, source.size.height - y);
        let picture = source.picture();
        let crop = PixelRect::new(x as f32, y as f32, size.width as f32, size.height as f32);
        let format = if source.format.is_rgb() { PixelFormat::Rgb24 } else { PixelFormat::Nv12 };
        let mut out = Guarded::new(format, size, 1);
        Scaler::new(filter).scale(&picture, crop, &mut out.picture()).expect("valid");
        out.check_guards()?;
        let channels = if source.format.is_rgb() { 3 } else { 1 };
        for channel in 0..channels {
            for (&found, i) in out.plane(0).iter().skip(channel).step_by(channels).zip(0..) {
                let (column, row) = (i % size.width + x, i / size.width + y);
                prop_assert_eq!(found, crate::component::value(&picture, channel, column.into(), row.into()));
            }
        }
        if matches!(source.format, PixelFormat::Nv12 | PixelFormat::Nv21 | PixelFormat::I420) {
            let columns = size.width.div_ceil(2);
            for (found, i) in out.plane(1).chunks_exact(2).zip(0..) {
                let (column, row) = (i % columns * 2 + x, i / columns * 2 + y);
                for (found, index) in found.iter().zip(1..) {
                    prop_assert_eq!(*found, crate::component::value(&picture, index, column.into(), row.into()));
                }
            }
        }
    }
}

#[test]
fn the_largest_and_the_smallest() {
    let source = Canvas::noise(PixelFormat::Nv12, Size::new(4096, 16), 0, 7);
    for (size, crop) in [
        (Size::new(16, 4096), PixelRect::of_size(source.size)),
        (Size::new(4096, 16), PixelRect::of_size(source.size)),
        (Size::new(1, 1), PixelRect::of_size(source.size)),
        (Size::new(16, 16), PixelRect::new(4095.5, 15.5, 0.25, 0.25)),
    ] {
        for filter in [Filter::Linear, Filter::Cubic] {
            check(&source, crop, size, PixelFormat::Nv12, filter).expect("as the oracle says");
        }
    }
}

#[test]
fn a_flat_picture_stays_flat() {
    for value in [0, 1, 16, 127, 128, 235, 254, 255] {
        let size = Size::new(300, 200);
        let data = vec![value; packed_bytes(PixelFormat::Nv12, size)];
        let source = Picture::packed(PixelFormat::Nv12, size, Colorimetry::default(), &data).expect("large enough");
        for filter in [Filter::Linear, Filter::Cubic] {
            for (width, height) in [(300, 200), (700, 500), (299, 201), (251, 180), (40, 11), (7, 2)] {
                let mut out = Guarded::new(PixelFormat::Nv12, Size::new(width, height), 0);
                let crop = PixelRect::new(0.3, 0.7, 299.0, 198.5);
                Scaler::new(filter).scale(&source, crop, &mut out.picture()).expect("valid");
                assert!(out.plane(0).iter().chain(out.plane(1).iter()).all(|&v| v == value), "{value} {width}");
            }
        }
    }
}

#[test]
fn motion_has_no_stairs() {
    // A ramp of one value per pixel: moving the crop by a sixteenth of a pixel moves every value by
    // a sixteenth.
    let size = Size::new(256, 4);
    let data: Vec<u8> = (0..4).flat_map(|_| 0..=255).collect();
    let plane = Plane { data: &data, stride_bytes: 256 };
    let planes = [plane, Plane::default(), Plane::default()];
    let source = Picture::new(PixelFormat::Grey, size, Colorimetry::default(), planes).expect("large enough");
    let mut scaler = Scaler::new(Filter::Cubic);
    let mean = |scaler: &mut Scaler, x: f32| {
        let mut out = Guarded::new(PixelFormat::Grey, Size::new(100, 2), 0);
        scaler.scale(&source, PixelRect::new(x, 1.0, 87.3, 2.0), &mut out.picture()).expect("valid");
        out.plane(0).iter().map(|&value| f64::from(value)).sum::<f64>() / 200.0
    };
    let start = mean(&mut scaler, 50.0);
    for step in 1..64_u8 {
        let moved = mean(&mut scaler, 50.0 + f32::from(step) / 16.0) - start;
        assert!((moved - f64::from(step) / 16.0).abs() < 0.05, "step {step}: {moved}");
    }
}

#[test]
fn what_cannot_be_scaled_is_refused() {
    let source = Canvas::noise(PixelFormat::Yuyv, Size::new(8, 8), 0, 1);
    let source = source.picture();
    let mut scaler = Scaler::new(Filter::Cubic);
    let whole = PixelRect::of_size(source.size());
    let size = Size::new(4, 4);
    let nan = PixelRect::new(f32::NAN, 0.0, 1.0, 1.0);
    assert!(matches!(scaler.start(source, nan, size, PixelFormat::Nv12), Err(ScaleError::PixelRect(_))));
    let none = scaler.start(source, whole, Size::new(4, 0), PixelFormat::Nv12);
    assert!(matches!(none, Err(ScaleError::Empty(_))));
    let format = scaler.start(source, whole, size, PixelFormat::Yuyv);
    assert_eq!(
        format.expect_err("no such output").to_string(),
        "cannot scale to YUYV: the scaler writes NV12, RGB3 and GREY"
    );
    let far = PixelRect::new(0.0, 0.0, 65_000.0, 1.0);
    assert!(matches!(scaler.start(source, far, Size::new(2, 2), PixelFormat::Nv12), Err(ScaleError::Ratio { .. })));
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let size = Size::new(133, 71);
    for format in PixelFormat::ALL {
        let source = Canvas::noise(format, size, 3, 9);
        let source = source.picture();
        for filter in [Filter::Linear, Filter::Cubic] {
            for (width, height, crop) in [
                (200, 120, PixelRect::new(3.3, 4.7, 121.0, 60.5)),
                (132, 70, PixelRect::new(0.4, 0.2, 132.0, 70.0)),
                (112, 60, PixelRect::of_size(size)),
                (70, 40, PixelRect::of_size(size)),
                (31, 17, PixelRect::new(-5.0, -5.0, 140.0, 80.0)),
                (9, 5, PixelRect::new(40.0, 30.0, 8.0, 5.0)),
            ] {
                let output = if format.is_rgb() { PixelFormat::Rgb24 } else { PixelFormat::Nv12 };
                let draw = |isa: crate::simd::Isa| {
                    let isa = crate::simd::Usable::new(isa).expect("available");
                    let mut out = Guarded::new(output, Size::new(width, height), 1);
                    Scaler::on(filter, isa).scale(&source, crop, &mut out.picture()).expect("valid");
                    out.check_guards().expect("untouched");
                    [out.plane(0), out.plane(1)]
                };
                let expected = draw(crate::simd::Isa::Scalar);
                for isa in crate::simd::Isa::available() {
                    assert!(draw(isa) == expected, "{format} to {width}x{height}, {filter:?}, {isa}");
                }
            }
        }
    }
}

#[test]
fn a_creeping_crop_moves_steadily() {
    // A soft edge under a crop that moves by a tenth of a pixel per frame: each output sample only
    // ever rises or falls.
    let size = Size::new(128, 8);
    let row = |x: u32| 20.0 + 200.0 / (1.0 + (-(f64::from(x) - 64.0) / 6.0).exp());
    let data: Vec<u8> = (0..8).flat_map(|_| 0..128).map(|x| cast::clamped(cast::round_i32(row(x)))).collect();
    let plane = Plane { data: &data, stride_bytes: 128 };
    let planes = [plane, Plane::default(), Plane::default()];
    let source = Picture::new(PixelFormat::Grey, size, Colorimetry::default(), planes).expect("large enough");
    for filter in [Filter::Linear, Filter::Cubic] {
        for width in [40.0_f32, 64.0, 90.0] {
            let mut scaler = Scaler::new(filter);
            let mut before: Option<Vec<u8>> = None;
            let mut sums = Vec::new();
            for step in 0..100_u8 {
                let mut out = Guarded::new(PixelFormat::Grey, Size::new(64, 4), 0);
                let crop = PixelRect::new(10.0 + f32::from(step) / 10.0, 1.0, width, 4.0);
                scaler.scale(&source, crop, &mut out.picture()).expect("valid");
                let row = out.plane(0)[..64].to_vec();
                if let Some(before) = &before {
                    // The edge moves to the left, so every sample becomes brighter; a single step
                    // is rounding.
                    assert!(
                        row.iter().zip(before).all(|(now, before)| now + 1 >= *before),
                        "{filter:?} {width} {step}"
                    );
                }
                sums.push(row.iter().map(|&value| i32::from(value)).sum::<i32>());
                before = Some(row);
            }
            // If the crop moved in whole pixels, nine of ten steps would be zero and one would be
            // ten times the mean. The remaining unevenness is rounding.
            let steps: Vec<i32> = sums.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (steps.iter().min().expect("steps"), steps.iter().max().expect("steps"));
            let mean = f64::from(sums[99] - sums[0]) / 99.0;
            assert!(*least >= 0 && f64::from(*most) < 3.0 * mean, "{filter:?} {width}: {least} to {most}, {mean}");
        }
    }
}
