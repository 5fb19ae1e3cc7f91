//! The mode `blur` hides the room in outputs of every size, shape and zoom: stripes of a thirtieth
//! of the source's height, and letters of a fifteenth, keep at most 1 % of their contrast.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "a test computes small coordinates"
)]

use portraitd_media::{Colorimetry, OwnedPicture, Picture, PixelFormat, PixelRect, Size};
use portraitd_protocol::BackgroundMode;
use portraitd_render::composite::LEAST_BLUR;
use portraitd_render::{CompositeRenderer, MatteRules, PreparedBackground};
use portraitd_vision::Observation;

const SOURCE: Size = Size::new(1280, 720);
const DARK: u8 = 40;
const BRIGHT: u8 = 220;
/// 1 % of the contrast, and half a level of rounding up and down.
const LIMIT: f32 = 0.01 * (BRIGHT - DARK) as f32 + 1.0;

/// The rows of a few letters, five pixels wide, with a pixel between them.
const LETTERS: [&str; 7] = [
    "#...#.#####..###..####..###.#...#..###.",
    "#...#.#.....#...#.#...#..#..##..#.#....",
    "#...#.#.....#...#.#...#..#..#.#.#.#....",
    "#####.####..#####.#...#..#..#..##.#.###",
    "#...#.#.....#...#.#...#..#..#...#.#...#",
    "#...#.#.....#...#.#...#..#..#...#.#...#",
    "#...#.#####.#...#.####..###.#...#..###.",
];

/// A grey picture as NV12. Each pixel is the mean of sixteen points: the edges of stripes would
/// otherwise beat with the pixels, and the beat is too wide for any blur.
fn source(at: impl Fn(f32, f32) -> bool) -> OwnedPicture {
    let (width, height) = (SOURCE.width as usize, SOURCE.height as usize);
    let pixel = |i: usize| {
        let (x, y) = ((i % width) as f32, (i / width) as f32);
        let point = |k: u8| at(x + (f32::from(k % 4) + 0.5) / 4.0, y + (f32::from(k / 4) + 0.5) / 4.0);
        let bright = (0..16).filter(|k| point(*k)).count() as f32 / 16.0;
        DARK + (f32::from(BRIGHT - DARK) * bright) as u8
    };
    let mut bytes: Vec<u8> = (0..width * height).map(pixel).collect();
    bytes.resize(width * height * 3 / 2, 128);
    OwnedPicture::new(PixelFormat::Nv12, SOURCE, Colorimetry::default(), bytes).expect("a picture")
}

/// The largest part of the frame with the aspect of `size`, at a zoom, around the centre.
fn crop_for(size: Size, zoom: f32) -> PixelRect {
    let (width, height) = (SOURCE.width as f32 / zoom, SOURCE.height as f32 / zoom);
    let aspect = size.aspect();
    let (wide, high) = if width > height * aspect { (height * aspect, height) } else { (width, width / aspect) };
    PixelRect::new((SOURCE.width as f32 - wide) / 2.0, (SOURCE.height as f32 - high) / 2.0, wide, high)
}

/// The luma of a composite without people.
fn blurred(picture: &Picture<'_>, crop: PixelRect, size: Size, blur: f64) -> OwnedPicture {
    let grid = Size::new(16, 9);
    let observation = Observation::of_mask(1, 2, SOURCE, vec![0.0; 16 * 9], grid, PixelRect::of_size(SOURCE));
    let mut rules = MatteRules::new();
    let matte = rules.own(&observation, (1, 2), SOURCE);
    let background =
        PreparedBackground { version: 1, mode: BackgroundMode::Blur, color: [0, 0, 255], blur, image: None };
    let mut out = OwnedPicture::zeroed(PixelFormat::Nv12, size, Colorimetry::default()).expect("a picture");
    CompositeRenderer::new().render(picture, crop, matte, &background, &mut out.as_picture_mut()).expect("drawn");
    out
}

/// The largest difference between pixels of the output that are at most `within` pixels of the
/// source apart, in the direction `along`. At the border of the frame the blur has less to mix, so
/// what is nearer to it than the blur reaches is left out.
fn contrast(out: &OwnedPicture, crop: PixelRect, within: f32, along: (f32, f32)) -> f32 {
    let size = out.size();
    let picture = out.as_picture();
    let (across, down) = (crop.width / size.width as f32, crop.height / size.height as f32);
    let margin = 3.0 * LEAST_BLUR * SOURCE.height as f32 + 1.5 * across.max(down);
    let inside = |x: f32, y: f32| {
        (margin..=SOURCE.width as f32 - margin).contains(&x) && (margin..=SOURCE.height as f32 - margin).contains(&y)
    };
    let luma = |x: f32, y: f32| -> Option<f32> {
        if !inside(x, y) {
            return None;
        }
        let (column, row) = ((x - crop.x) / across, (y - crop.y) / down);
        let known = column >= 0.0 && row >= 0.0 && column < size.width as f32 && row < size.height as f32;
        known.then(|| f32::from(picture.plane(0).row(row as usize)[column as usize]))
    };
    let mut most = 0.0_f32;
    // A grid of places, whatever the size of the output.
    for step in 0..97 * 61 {
        let x = crop.x + crop.width * ((step % 97) as f32 + 0.5) / 97.0;
        let y = crop.y + crop.height * ((step / 97) as f32 + 0.5) / 61.0;
        let Some(here) = luma(x, y) else { continue };
        for part in 1..=6 {
            let distance = within * part as f32 / 6.0;
            if let Some(there) = luma(x + along.0 * distance, y + along.1 * distance) {
                most = most.max((here - there).abs());
            }
        }
    }
    most
}

/// Sizes from the smallest to the largest, in every shape.
fn sizes() -> Vec<Size> {
    let sides = [16, 128, 720, 4096];
    let mut sizes: Vec<Size> =
        sides.iter().flat_map(|width| sides.iter().map(move |height| Size::new(*width, *height))).collect();
    sizes.extend([Size::new(1280, 720), Size::new(4096, 256), Size::new(640, 360), Size::new(1920, 1080)]);
    sizes
}

#[test]
fn stripes_are_hidden_in_outputs_of_every_size_shape_and_zoom() {
    let diagonal = std::f32::consts::FRAC_1_SQRT_2;
    for period in [SOURCE.height as f32 / 30.0, SOURCE.height as f32 / 60.0] {
        for along in [(1.0, 0.0), (0.0, 1.0), (diagonal, diagonal)] {
            let stripes = source(|x, y| ((x * along.0 + y * along.1) / period).fract() < 0.5);
            for size in sizes() {
                for zoom in [1.0, 2.0, 5.0] {
                    let crop = crop_for(size, zoom);
                    for blur in [0.0, 0.05] {
                        let out = blurred(&stripes.as_picture(), crop, size, blur);
                        let contrast = contrast(&out, crop, period, along);
                        assert!(contrast <= LIMIT, "{period} {along:?} {size} zoom {zoom} blur {blur}: {contrast}");
                    }
                }
            }
        }
    }
}

#[test]
fn letters_are_hidden_in_outputs_of_every_size_shape_and_zoom() {
    let pixel = SOURCE.height as f32 / 15.0 / 7.0;
    let columns = LETTERS[0].len() + 1;
    let text = source(|x, y| {
        let (column, row) = ((x / pixel) as usize % columns, (y / pixel) as usize % 9);
        LETTERS.get(row).is_some_and(|letters| letters.as_bytes().get(column) == Some(&b'#'))
    });
    for size in sizes() {
        for zoom in [1.0, 2.0, 5.0] {
            let crop = crop_for(size, zoom);
            if crop.width / size.width as f32 > 2.0 * pixel {
                // A pixel shows more than a stroke and the gap beside it.
                continue;
            }
            let out = blurred(&text.as_picture(), crop, size, 0.0);
            // A stroke beside the gap to the next one. A letter as a whole is a little brighter or
            // darker than its neighbours, which does not make it readable.
            for along in [(1.0, 0.0), (0.0, 1.0)] {
                let contrast = contrast(&out, crop, 2.0 * pixel, along);
                assert!(contrast <= LIMIT, "{size} zoom {zoom} {along:?}: {contrast}");
            }
        }
    }
}
