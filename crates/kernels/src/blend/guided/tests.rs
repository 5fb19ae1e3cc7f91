//! Compares the guided filter with its oracle, and checks its purpose: sharp edges, no holes, and
//! no colour of the old background.

use proptest::prelude::*;

use super::*;
use crate::blend::{Backdrop, Compositor, MaskValues, oracle};
use crate::convert::rgb_to_ycc;
use crate::picture::{Colorimetry, PictureMut, packed_bytes};
use crate::simd::Isa;
use crate::testing::{Canvas, Guarded};

/// The values of a soft disc in a grid, 0..=1.
fn blob(grid: Size, x: f32, y: f32, radius: f32, softness: f32) -> Vec<f32> {
    let cells = (0..grid.height).flat_map(|j| (0..grid.width).map(move |i| (i, j)));
    let away = |(i, j): (u32, u32)| (i as f32 + 0.5 - x).hypot(j as f32 + 0.5 - y);
    cells.map(|cell| ((radius - away(cell)) / softness + 0.5).clamp(0.0, 1.0)).collect()
}

/// A smooth picture with noise: colours that a filter can follow.
fn waves(size: Size, seed: u64) -> Canvas {
    let mut canvas = Canvas::noise(PixelFormat::Nv12, size, 5, seed);
    let row_bytes = size.width as usize + 5;
    for (i, byte) in canvas.bytes[0].iter_mut().enumerate() {
        let (x, y) = ((i % row_bytes) as f32, (i / row_bytes) as f32);
        *byte = cast::byte(128.0 + 90.0 * ((x * 0.13).sin() * (y * 0.09).cos()) + f32::from(*byte >> 4));
    }
    for byte in &mut canvas.bytes[1] {
        *byte = 112 + (*byte >> 3);
    }
    canvas
}

proptest! {
    #![proptest_config(crate::testing::config(60))]

    #[test]
    fn the_filter_is_what_its_definition_says(
        (width, height) in (9_u32..150, 9_u32..120),
        tall: bool,
        (x, y, radius) in (0.0..20.0_f32, 0.0..14.0_f32, 1.0..9.0_f32),
        seed: u64,
    ) {
        // Tall outputs have larger cells.
        let size = if tall { Size::new(width, height * 6) } else { Size::new(width, height) };
        let source = waves(size, seed);
        let grid = Size::new(20, 14);
        let values = blob(grid, x, y, radius, 2.5);
        let whole = PixelRect::of_size(size);
        let mask = MaskView::new(MaskValues::Float(&values), grid, whole).expect("valid");
        let mut guided = GuidedMatte::new();
        guided.start(&mask, &source.picture(), whole, size, Edge::default(), None).expect("valid");
        let factor = u32::try_from(guided.factor).expect("small");
        let cells = Size::new(size.width.div_ceil(factor), size.height.div_ceil(factor));
        // The definition, applied to the same cells.
        let stride = guided.stride();
        let planes: Vec<Vec<f64>> = guided.planes.iter().map(|plane| {
            plane.chunks_exact(stride).flat_map(|row| row[PAD..PAD + guided.width].iter().map(|&v| f64::from(v))).collect()
        }).collect();
        let channels: [&[f64]; 4] = std::array::from_fn(|k| &planes[k][..]);
        let noise = [fit::NOISE_LUMA, fit::NOISE_CHROMA, fit::NOISE_CHROMA].map(f64::from);
        let fits = oracle::guided_fits(channels, cells, noise, [RADIUS, SMOOTH].map(|reach| i64::try_from(reach).expect("small")));
        let gains: Vec<f64> = fits.iter().map(|fit| fit[0]).collect();
        let offsets: Vec<f64> = fits.iter().enumerate()
            .map(|(i, fit)| fit[1] * planes[1][i] + fit[2] * planes[2][i] + fit[3]).collect();
        let mut found = vec![0; size.width as usize];
        for row in guided.rows().start..guided.rows().end.min(size.height as usize) {
            let luma = &source.bytes[0][row * (size.width as usize + 5)..][..size.width as usize];
            guided.filtered_row(row, luma, &mut found);
            for (column, &found) in found.iter().enumerate().filter(|(column, _)| guided.columns().contains(column)) {
                let at = |cells_of: &[f64]| oracle::between_cells(cells_of, cells, guided.factor, column, row);
                let expected = at(&gains) * (f64::from(luma[column]) - 128.0) + at(&offsets);
                let expected = expected.clamp(0.0, 255.0);
                prop_assert!((f64::from(found) - expected).abs() <= 2.0, "({}, {}): {} and not {}", column, row, found, expected);
            }
        }
    }

    #[test]
    fn composites_stay_within_their_rows(
        (width, height) in (2_u32..90, 2_u32..70),
        (x, y, radius) in (0.0..20.0_f32, 0.0..14.0_f32, 0.5..9.0_f32),
        (left, top) in (-30.0..30.0_f32, -20.0..20.0_f32),
        rgb: bool,
        seed: u64,
    ) {
        let source = waves(Size::new(64, 48), seed);
        let (grid, size) = (Size::new(20, 14), Size::new(width, height));
        let values = blob(grid, x, y, radius, 2.0);
        // A mask that covers a part of the picture, or reaches beyond it.
        let mask = MaskView::new(MaskValues::Float(&values), grid, PixelRect::new(left, top, 50.0, 40.0)).expect("valid");
        let format = if rgb { PixelFormat::Rgb24 } else { PixelFormat::Nv12 };
        let crop = PixelRect::new(1.3, 2.7, 55.0, 40.0);
        let mut results = Vec::new();
        for isa in Isa::available() {
            let isa = Usable::new(isa).expect("available");
            let mut out = Guarded::new(format, size, 3);
            let backdrop = Backdrop::Color([40, 90, 200]);
            Compositor::on(Filter::Cubic, isa, true)
                .compose(&source.picture(), crop, Some(&mask), Edge::default(), &backdrop, &mut out.picture())
                .expect("valid");
            out.check_guards()?;
            results.push((isa, [out.plane(0), out.plane(1)]));
        }
        for (isa, result) in &results {
            prop_assert!(result == &results[0].1, "{:?} differs from {:?}", isa, results[0].0);
        }
    }
}

#[test]
fn all_or_nothing_is_exact() {
    let size = Size::new(90, 62);
    let source = waves(size, 3);
    let backdrop = Canvas::noise(PixelFormat::Nv12, size, 5, 6);
    let whole = PixelRect::of_size(size);
    for (value, expected) in [(1.0, &source), (0.0, &backdrop), (f32::NAN, &backdrop)] {
        let values = [value; 12];
        let mask = MaskView::new(MaskValues::Float(&values), Size::new(4, 3), whole).expect("valid");
        let mut out = Guarded::new(PixelFormat::Nv12, size, 5);
        let behind = Backdrop::Picture(backdrop.picture());
        Compositor::guided(Filter::Cubic)
            .compose(&source.picture(), whole, Some(&mask), Edge::default(), &behind, &mut out.picture())
            .expect("valid");
        let rows = |canvas: &Canvas, plane: usize| -> Vec<u8> {
            let (row_bytes, rows) = PixelFormat::Nv12.plane_extent(plane, size);
            (0..rows).flat_map(|y| canvas.bytes[plane][y * (row_bytes + 5)..][..row_bytes].to_vec()).collect()
        };
        assert!(out.plane(0) == rows(expected, 0) && out.plane(1) == rows(expected, 1), "{value}");
    }
}

const SIZE: Size = Size::new(640, 360);

/// Samples per pixel side when the scene is drawn, for edges as soft as those of a lens.
const FINE: u32 = 4;

/// The share of pixel (`x`, `y`) that is a person: head, shoulders and a raised arm.
fn person_at(x: u32, y: u32) -> f32 {
    let inside = |x: f32, y: f32| {
        let head = (x - 320.0).hypot((y - 120.0) * 0.8) < 60.0;
        let body = y > 190.0 && (x - 320.0).abs() < 90.0 + (y - 190.0) * 0.3;
        let arm = (x - 480.0 + (y - 200.0) * 0.2).abs() < 9.0 && y > 100.0 && y < 330.0;
        head || body || arm
    };
    let step = 1.0 / FINE as f32;
    let samples = (0..FINE * FINE)
        .filter(|&i| inside(x as f32 + ((i % FINE) as f32 + 0.5) * step, y as f32 + ((i / FINE) as f32 + 0.5) * step));
    samples.count() as f32 / (FINE * FINE) as f32
}

/// The scene and its true mask: a person in blue with some texture in front of a red wall.
fn scene() -> (Vec<u8>, Vec<f32>) {
    let (mut rgb, mut truth) = (Vec::new(), Vec::new());
    for y in 0..SIZE.height {
        for x in 0..SIZE.width {
            let alpha = person_at(x, y);
            let texture = ((x / 7 + y / 5) % 3) as f32 * 14.0;
            let person = [30.0 + texture * 0.3, 60.0 + texture, 140.0 + texture];
            rgb.extend([0, 1, 2].map(|k| cast::byte(person[k] * alpha + [220.0, 20.0, 25.0][k] * (1.0 - alpha))));
            truth.push(alpha);
        }
    }
    (rgb, truth)
}

/// The true mask as a network would return it: at its grid, blurred over about two cells, 0.9 on
/// bodies and 0.05 on the background.
fn as_a_net(truth: &[f32], grid: Size) -> Vec<f32> {
    let (across, down) = (SIZE.width as f32 / grid.width as f32, SIZE.height as f32 / grid.height as f32);
    let cell = |i: u32, j: u32| {
        let (mut sum, mut count) = (0.0, 0.0);
        let (x, y) = ((i as f32 + 0.5) * across, (j as f32 + 0.5) * down);
        let around = |at: f32, step: f32, most: u32| {
            cast::index((at - 2.0 * step).max(0.0))..cast::index(at + 2.0 * step + 1.0).min(most as usize)
        };
        for row in around(y, down, SIZE.height) {
            for column in around(x, across, SIZE.width) {
                let away = ((column as f32 + 0.5 - x) / across).hypot((row as f32 + 0.5 - y) / down);
                if away < 2.0 {
                    sum += truth[row * SIZE.width as usize + column] * (2.0 - away);
                    count += 2.0 - away;
                }
            }
        }
        0.05 + 0.85 * sum / count
    };
    (0..grid.height).flat_map(|j| (0..grid.width).map(move |i| (i, j))).map(|(i, j)| cell(i, j)).collect()
}

/// The amount of red beyond that of an ideal composite on green: the mean over pixels within 4 of
/// the outline, of 255.
fn spill(guided: bool, grid: Size, values: &[f32], nv12: bool) -> f64 {
    let (rgb, truth) = scene();
    let color = Colorimetry::default();
    let whole = PixelRect::of_size(SIZE);
    let source = Picture::packed(PixelFormat::Rgb24, SIZE, color, &rgb).expect("whole");
    let mask = MaskView::new(MaskValues::Float(values), grid, whole).expect("valid");
    let format = if nv12 { PixelFormat::Nv12 } else { PixelFormat::Rgb24 };
    let green = [0, 200, 0];
    let backdrop = Backdrop::Color(if nv12 { rgb_to_ycc(green, color) } else { green });
    let mut bytes = vec![0; packed_bytes(format, SIZE)];
    let mut out = PictureMut::packed(format, SIZE, &mut bytes).expect("whole");
    let mut compositor = if guided { Compositor::guided(Filter::Cubic) } else { Compositor::new(Filter::Cubic) };
    compositor.compose(&source, whole, Some(&mask), Edge::default(), &backdrop, &mut out).expect("valid");
    let mut result = vec![0; packed_bytes(PixelFormat::Rgb24, SIZE)];
    let mut converted = PictureMut::packed(PixelFormat::Rgb24, SIZE, &mut result).expect("whole");
    crate::convert::to_rgb24(&out.as_picture(color), &mut converted).expect("same size");
    let (width, height) = (SIZE.width as usize, SIZE.height as usize);
    let (mut sum, mut count) = (0.0, 0.0);
    for y in 0..height {
        for x in 0..width {
            let here = truth[y * width + x] >= 0.5;
            let near = (-4..=4_isize).flat_map(|dy| (-4..=4_isize).map(move |dx| (dx, dy)));
            let mut near = near.filter(|(dx, dy)| dx * dx + dy * dy <= 16);
            let is_edge = near.any(|(dx, dy)| {
                let (Some(x), Some(y)) = (x.checked_add_signed(dx), y.checked_add_signed(dy)) else { return false };
                x < width && y < height && (truth[y * width + x] >= 0.5) != here
            });
            if is_edge {
                let i = y * width + x;
                let texture = ((x / 7 + y / 5) % 3) as f64 * 14.0;
                let ideal = (30.0 + texture * 0.3) * f64::from(truth[i]);
                sum += (f64::from(result[3 * i]) - ideal).max(0.0) / 255.0;
                count += 1.0;
            }
        }
    }
    sum / count
}

#[test]
fn a_person_before_red_has_no_red_halo() {
    let (_, truth) = scene();
    let grid = Size::new(256, 144);
    let net = as_a_net(&truth, grid);
    for (name, size, values) in [("anti-aliased", SIZE, &truth), ("of a net", grid, &net)] {
        for nv12 in [false, true] {
            let (plain, pushed) = (spill(false, size, values, nv12), spill(true, size, values, nv12));
            println!(
                "mask {name}, {}: {:.2} % red before, {:.2} % after",
                if nv12 { "NV12" } else { "RGB" },
                plain * 100.0,
                pushed * 100.0
            );
            assert!(pushed < 0.02, "{name}, {nv12}: {pushed}");
            assert!(pushed < plain, "{name}, {nv12}: {pushed} and before {plain}");
        }
    }
}

/// The matte of the scene for the mask `values`, bilinear or guided.
fn matte_of(guided: bool, values: &[f32], grid: Size) -> Vec<u8> {
    let (rgb, _) = scene();
    let whole = PixelRect::of_size(SIZE);
    let source = Picture::packed(PixelFormat::Rgb24, SIZE, Colorimetry::default(), &rgb).expect("whole");
    let mask = MaskView::new(MaskValues::Float(values), grid, whole).expect("valid");
    let width = SIZE.width as usize;
    let mut out = vec![0; width * SIZE.height as usize];
    if !guided {
        let mut matte = Matte::new();
        let mut rows = matte.start(&mask, whole, SIZE, Some(Edge::default())).expect("valid");
        for (y, row) in out.chunks_exact_mut(width).enumerate() {
            rows.row(y, row);
        }
        return out;
    }
    let mut guided = GuidedMatte::new();
    guided.start(&mask, &source, whole, SIZE, Edge::default(), None).expect("valid");
    let mut luma = vec![0; width * SIZE.height as usize];
    let mut grey = PictureMut::packed(PixelFormat::Grey, SIZE, &mut luma).expect("whole");
    Scaler::new(Filter::Cubic).scale(&source, whole, &mut grey).expect("valid");
    for (y, (row, luma)) in out.chunks_exact_mut(width).zip(luma.chunks_exact(width)).enumerate() {
        guided.row(y, luma, row);
    }
    out
}

#[test]
fn edges_are_where_the_picture_has_them() {
    let (_, truth) = scene();
    let grid = Size::new(128, 72);
    let net = as_a_net(&truth, grid);
    let wrong = |matte: &[u8]| {
        let pairs = matte.iter().zip(&truth);
        pairs.filter(|&(&matte, &truth)| (matte >= 128) != (truth >= 0.5)).count()
    };
    let (bilinear, guided) = (wrong(&matte_of(false, &net, grid)), wrong(&matte_of(true, &net, grid)));
    assert!(guided * 2 < bilinear, "{guided} pixels are wrong, and {bilinear} were before");
}

#[test]
fn bodies_have_no_holes() {
    // Values between 0.6 and 0.95 on bodies, as networks return them, unrelated to the texture.
    let (_, truth) = scene();
    let grid = Size::new(256, 144);
    let noise = Canvas::noise(PixelFormat::Grey, grid, 0, 11);
    let net = as_a_net(&truth, grid);
    let unsure: Vec<f32> = net
        .iter()
        .zip(&noise.bytes[0])
        .map(|(&value, &noise)| if value > 0.85 { 0.6 + 0.35 * f32::from(noise) / 255.0 } else { value })
        .collect();
    let matte = matte_of(true, &unsure, grid);
    let deep = (0..SIZE.height as usize * SIZE.width as usize).filter(|&i| {
        let (x, y) = ((i % SIZE.width as usize) as f32, (i / SIZE.width as usize) as f32);
        (x - 320.0).hypot((y - 120.0) * 0.8) < 48.0 || (y > 205.0 && (x - 320.0).abs() < 78.0)
    });
    let least = deep.map(|i| matte[i]).min().expect("pixels");
    assert!(least >= 250, "a body's matte falls to {least}");
}

#[test]
fn cells_grow_with_the_output() {
    for (height, factor) in
        [(16, 2), (360, 2), (480, 2), (540, 4), (720, 4), (1080, 6), (1440, 8), (2160, 12), (4096, 12)]
    {
        assert_eq!(GuidedMatte::factor_of(height), factor, "{height}");
    }
}
