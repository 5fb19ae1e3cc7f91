//! Compares the sampler with its oracle, for every format, at odd sizes and strides.

use proptest::prelude::*;

use super::*;
use crate::picture::{PictureMut, packed_bytes};
use crate::testing::{Canvas, picture};

/// The largest difference between a component's mean and the exact one, of 255. It comes from
/// weights of 14 bits and sums of 15 bits. In blue, a chroma error of that size becomes 2.2 times
/// as large.
const TOLERANCE: f64 = 0.12;

fn spec() -> impl Strategy<Value = SampleSpec> {
    let channel = || prop::array::uniform3(0.1..0.9_f32);
    (1_u32..24, 1_u32..24, any::<[bool; 3]>(), channel(), channel()).prop_map(
        |(width, height, [planar, rgb, stretch], mean, std)| SampleSpec {
            size: Size::new(width, height),
            layout: if planar { ChannelLayout::Planar } else { ChannelLayout::Interleaved },
            order: if rgb { ChannelOrder::Rgb } else { ChannelOrder::Bgr },
            fit: if stretch { Fit::Stretch } else { Fit::PadReplicate },
            mean,
            std,
        },
    )
}

fn check(sampler: &mut Sampler, source: &Canvas, region: PixelRect) -> Result<(), TestCaseError> {
    let spec = sampler.spec();
    let picture = source.picture();
    let mut output = vec![f32::NAN; sampler.luma.len() * 3];
    let sampled = sampler.sample(&picture, region, &mut output).expect("valid");
    let expected = oracle::sample(&picture, sampled.covers, &spec);
    let width = spec.size.width as usize;
    for (i, (&found, expected)) in output.iter().zip(expected).enumerate() {
        let channel = if spec.layout == ChannelLayout::Planar { i / sampler.luma.len() } else { i % 3 };
        let difference = (f64::from(found) - expected).abs() * 255.0 * f64::from(spec.std[channel]);
        let gain = if source.format.is_rgb() { 1.0 } else { 3.4 };
        prop_assert!(
            difference <= TOLERANCE * gain,
            "{} {} to {}: {:?} value {}: {} and not {}",
            source.format,
            source.size,
            spec.size,
            spec.layout,
            i,
            found,
            expected
        );
    }
    for (i, &found) in sampler.luma().iter().enumerate() {
        let (x, y) = (u32::try_from(i % width).expect("small"), u32::try_from(i / width).expect("small"));
        let all = [0, 1, 2].map(|index| oracle::component(&picture, sampled.covers, &spec, index, x, y));
        let (kr, kb) = picture.color().matrix.weights();
        let weights = if source.format.is_rgb() { [kr, 1.0 - kr - kb, kb] } else { [1.0, 0.0, 0.0] };
        let luma: f64 = all.iter().zip(weights).map(|(value, weight)| value * f64::from(weight)).sum();
        prop_assert!((f64::from(found) - luma).abs() <= 0.5 + TOLERANCE, "luma {}: {} and not {}", i, found, luma);
    }
    let whole = sampler.luma().to_vec();
    sampler.luma.fill(0);
    sampler.sample_luma(&picture, region, 1).expect("valid");
    prop_assert_eq!(sampler.luma(), whole);
    Ok(())
}

proptest! {
    #![proptest_config(crate::testing::config(150))]

    #[test]
    fn any_region_is_what_the_oracle_says(
        source in picture(1..80, 1..60),
        (x, y, width, height) in (-0.5..1.2_f32, -0.5..1.2_f32, 0.01..1.6_f32, 0.01..1.6_f32),
        spec in spec(),
    ) {
        let (w, h) = (source.size.width as f32, source.size.height as f32);
        let region = PixelRect::new(x * w, y * h, width * w, height * h);
        check(&mut Sampler::new(spec).expect("valid"), &source, region)?;
    }

    #[test]
    fn tables_are_made_anew_when_anything_changes(
        sources in prop::collection::vec(picture(1..40, 1..30), 2..5),
        spec in spec(),
    ) {
        let mut sampler = Sampler::new(spec).expect("valid");
        for source in &sources {
            check(&mut sampler, source, PixelRect::of_size(source.size))?;
            check(&mut sampler, source, PixelRect::new(0.5, -1.25, 9.3, 17.0))?;
        }
    }

    /// Sampling every n-th row equals sampling a picture in which the middle row replaces its
    /// neighbours.
    #[test]
    fn a_row_stands_for_its_neighbours(
        source in picture(8..60, 24..60),
        size in (1_u32..8, 1_u32..8),
        every in 1_usize..4,
    ) {
        let mut repeated = source.clone();
        // Nothing is read from subsampled planes.
        let (row_bytes, rows) = source.format.plane_extent(0, source.size);
        let stride = row_bytes + source.padding;
        for row in 0..rows {
            let middle = (row / every * every + every / 2).min(rows - 1);
            let bytes = &source.bytes[0][middle * stride..middle * stride + row_bytes];
            repeated.bytes[0][row * stride..row * stride + row_bytes].copy_from_slice(bytes);
        }
        let spec = SampleSpec::new(Size::new(size.0, size.1));
        let [mut thinned, mut all] = [(); 2].map(|()| Sampler::new(spec).expect("valid"));
        let region = PixelRect::of_size(source.size);
        thinned.sample_luma(&source.picture(), region, every).expect("valid");
        all.sample_luma(&repeated.picture(), region, 1).expect("valid");
        for (one, other) in thinned.luma().iter().zip(all.luma()) {
            prop_assert!(one.abs_diff(*other) <= 1, "{:?} and not {:?}", thinned.luma(), all.luma());
        }
    }

    /// Checks the bound of the module documentation: clamping the mean differs from the mean of the
    /// clamped pixels by at most the average amount that clamping removes.
    #[test]
    fn clamping_after_the_mean_is_bounded(
        source in picture(16..40, 16..30),
        size in (1_u32..8, 1_u32..8),
    ) {
        let spec = SampleSpec::new(Size::new(size.0, size.1));
        let source = source.picture();
        let covers = PixelRect::of_size(source.size());
        let ours = oracle::sample(&source, covers, &spec);
        for y in 0..size.1 {
            for x in 0..size.0 {
                let (mut clamped, mut cut) = ([0.0; 3], [0.0; 3]);
                for (i, down) in oracle::shares(0.0, covers.height, size.1, y, 1) {
                    for (j, across) in oracle::shares(0.0, covers.width, size.0, x, 1) {
                        let pixel = [0, 1, 2].map(|index| f64::from(crate::component::value(&source, index, j, i)));
                        let rgb = oracle::to_rgb(&source, pixel);
                        for channel in 0..3 {
                            clamped[channel] += down * across * rgb[channel].clamp(0.0, 255.0);
                            cut[channel] += down * across * (rgb[channel] - rgb[channel].clamp(0.0, 255.0)).abs();
                        }
                    }
                }
                for (channel, plane) in (0..3).enumerate() {
                    let place = (plane * size.1 + y) * size.0 + x;
                    let difference = (ours[place as usize] * 255.0 - clamped[channel]).abs();
                    prop_assert!(difference <= cut[channel] + 1e-6, "{} cut {}", difference, cut[channel]);
                }
            }
        }
    }
}

#[test]
fn a_picture_of_colours_is_the_mean_of_its_pixels_converted() {
    // The reference converts at full size first. In these gradients every pixel is a valid colour.
    let size = Size::new(130, 74);
    let mut rgb = Vec::new();
    for y in 0..74_u8 {
        for x in 0..130_u8 {
            rgb.extend([30 + x, 40 + 2 * y, 200 - x]);
        }
    }
    let source = Picture::packed(PixelFormat::Rgb24, size, Colorimetry::default(), &rgb).expect("large enough");
    let mut nv12 = vec![0; packed_bytes(PixelFormat::Nv12, size)];
    let mut picture = PictureMut::packed(PixelFormat::Nv12, size, &mut nv12).expect("large enough");
    crate::convert::to_nv12(&source, &mut picture, Colorimetry::default()).expect("same size");
    let yuv = picture.as_picture(Colorimetry::default());
    let mut sampler = Sampler::new(SampleSpec::new(Size::new(26, 15))).expect("valid");
    let mut ours = vec![0.0; 26 * 15 * 3];
    sampler.sample(&yuv, PixelRect::of_size(size), &mut ours).expect("valid");
    let mut from_rgb = ours.clone();
    sampler.sample(&source, PixelRect::of_size(size), &mut from_rgb).expect("valid");
    for (a, b) in ours.iter().zip(&from_rgb) {
        assert!((a - b).abs() * 255.0 < 1.5, "{a} and not {b}");
    }
}

#[test]
fn shape_is_kept_by_padding() {
    let spec = SampleSpec { fit: Fit::PadReplicate, ..SampleSpec::new(Size::new(256, 144)) };
    let sampler = Sampler::new(spec).expect("valid");
    let sampled = sampler.covers(PixelRect::new(0.0, 0.0, 480.0, 640.0));
    assert_eq!(sampled.content, PixelRect::new(74.0, 0.0, 108.0, 144.0));
    assert!((sampled.covers.width / sampled.covers.height - 256.0 / 144.0).abs() < 1e-5);
    assert_eq!((sampled.covers.y, sampled.covers.height), (0.0, 640.0));
    assert!((sampled.covers.x + 328.888_9).abs() < 1e-3);
    let same = sampler.covers(PixelRect::new(10.0, 20.0, 640.0, 360.0));
    assert_eq!(same.content, PixelRect::new(0.0, 0.0, 256.0, 144.0));
}

#[test]
fn borders_are_replicated_never_black() {
    let source = Canvas { bytes: vec![vec![200; 64]], ..Canvas::noise(PixelFormat::Grey, Size::new(8, 8), 0, 1) };
    let source = Canvas { color: Colorimetry { range: crate::picture::Range::Full, ..source.color }, ..source };
    let mut sampler = Sampler::new(SampleSpec::new(Size::new(5, 5))).expect("valid");
    let mut output = vec![0.0; 75];
    for region in [PixelRect::new(-100.0, -50.0, 300.0, 300.0), PixelRect::new(1000.0, -900.0, 3.0, 3.0)] {
        sampler.sample(&source.picture(), region, &mut output).expect("valid");
        assert!(output.iter().all(|value| (value * 255.0 - 200.0).abs() < 0.01), "{output:?}");
    }
}

#[test]
fn tall_and_wide() {
    for (size, grid) in [
        (Size::new(16, 4096), Size::new(16, 16)),
        (Size::new(4096, 16), Size::new(16, 16)),
        (Size::new(64, 1000), Size::new(3, 7)),
        (Size::new(3, 3000), Size::new(1, 1)),
    ] {
        for format in [PixelFormat::Nv12, PixelFormat::Yuyv, PixelFormat::Rgb24] {
            let source = Canvas::noise(format, size, 5, 3);
            let mut sampler = Sampler::new(SampleSpec::new(grid)).expect("valid");
            check(&mut sampler, &source, PixelRect::of_size(size)).expect("as the oracle says");
            check(&mut sampler, &source, PixelRect::new(-3.5, -200.25, 4000.0, 3900.0)).expect("as the oracle says");
        }
    }
}

#[test]
fn what_cannot_be_sampled_is_refused() {
    assert!(matches!(Sampler::new(SampleSpec::new(Size::new(0, 4))), Err(SampleError::Empty(_))));
    let spec = SampleSpec { std: [1.0, 0.0, 1.0], ..SampleSpec::new(Size::new(4, 4)) };
    assert!(matches!(Sampler::new(spec), Err(SampleError::Normalisation { .. })));
    let mut sampler = Sampler::new(SampleSpec::new(Size::new(2, 2))).expect("valid");
    let source = Canvas::noise(PixelFormat::Nv12, Size::new(8, 8), 0, 1);
    let source = source.picture();
    let mut output = [7.0; 12];
    let mut attempt = |region: PixelRect, length: usize| sampler.sample(&source, region, &mut output[..length]);
    assert!(matches!(attempt(PixelRect::new(0.0, 0.0, f32::NAN, 1.0), 12), Err(SampleError::PixelRect(_))));
    assert!(matches!(attempt(PixelRect::new(0.0, 0.0, 60_000.0, 1.0), 12), Err(SampleError::Ratio { .. })));
    assert_eq!(
        attempt(PixelRect::of_size(source.size()), 11).expect_err("too short").to_string(),
        "the output holds 11 values, and the tensor 12"
    );
    assert_eq!(output, [7.0; 12]);
}
