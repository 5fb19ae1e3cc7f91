//! Converts a ring's picture to the format of an output node: another order of the bytes, another
//! colorimetry. The size stays the same.

use portraitd_kernels::convert::Affine;

use portraitd_media::{Colorimetry, Picture, PictureMut, PixelFormat, Range};

/// The node formats that pictures can be converted to, the preferred one first. `YUYV` is first
/// because webcams send it, so every program that reads a camera accepts it.
pub(super) const FORMATS: [PixelFormat; 11] = [
    PixelFormat::Yuyv,
    PixelFormat::I420,
    PixelFormat::Nv12,
    PixelFormat::Uyvy,
    PixelFormat::Nv21,
    PixelFormat::I422,
    PixelFormat::Rgb24,
    PixelFormat::Bgr24,
    PixelFormat::Bgrx32,
    PixelFormat::Rgbx32,
    PixelFormat::Grey,
];

/// The conversion from one colorimetry to another; `None` if they are the same.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Recolor(Option<Affine>);

impl Recolor {
    fn new(from: Colorimetry, to: Colorimetry) -> Self {
        if from == to {
            return Self(None);
        }
        let (first, second) = (Affine::to_rgb(from), Affine::from_rgb(to));
        let matrix = std::array::from_fn(|row: usize| {
            std::array::from_fn(|column: usize| (0..3).map(|i| second.matrix[row][i] * first.matrix[i][column]).sum())
        });
        Self(Some(Affine { matrix, offset: second.apply(first.offset) }))
    }

    fn luma(self, luma: u8, [cb, cr]: [u8; 2]) -> u8 {
        self.0.map_or(luma, |map| map.apply_bytes([luma, cb, cr])[0])
    }

    /// Chroma does not depend on luma, because grey is grey in every colorimetry.
    fn chroma(self, [cb, cr]: [u8; 2]) -> [u8; 2] {
        self.0.map_or([cb, cr], |map| {
            let [_, cb, cr] = map.apply_bytes([128, cb, cr]);
            [cb, cr]
        })
    }
}

/// The format that a ring must have for a node of the format `node`.
pub(super) const fn ring_format(node: PixelFormat, mask: bool) -> PixelFormat {
    match node {
        _ if mask => PixelFormat::Grey,
        _ if node.is_rgb() => PixelFormat::Rgb24,
        _ => PixelFormat::Nv12,
    }
}

/// Writes `source` (a ring's NV12 or RGB24, or a mask's GREY) to `out`, whose colorimetry is
/// `color`. Both have the same, even size. A conversion that [`ring_format`] never asks for, as
/// from NV12 to RGB, leaves `out` as it is.
pub(super) fn repack(source: &Picture<'_>, out: &mut PictureMut<'_>, color: Colorimetry) {
    match (source.format(), out.format().is_rgb()) {
        (PixelFormat::Rgb24, true) => repack_rgb(source, out),
        (PixelFormat::Grey, _) => repack_grey(source, out, color),
        (PixelFormat::Nv12, false) => repack_nv12(source, out, color),
        _ => {}
    }
}

fn rows(source: &Picture<'_>) -> usize {
    source.format().plane_extent(0, source.size()).1
}

fn repack_rgb(source: &Picture<'_>, out: &mut PictureMut<'_>) {
    let (bytes, order) = match out.format() {
        PixelFormat::Rgb24 => (3, [0, 1, 2]),
        PixelFormat::Bgr24 => (3, [2, 1, 0]),
        PixelFormat::Rgbx32 => (4, [0, 1, 2]),
        _ => (4, [2, 1, 0]),
    };
    for y in 0..rows(source) {
        for (pixel, rgb) in out.row_mut(0, y).chunks_exact_mut(bytes).zip(source.plane(0).row(y).chunks_exact(3)) {
            pixel.fill(255);
            for (to, from) in order.into_iter().zip(rgb) {
                pixel[to] = *from;
            }
        }
    }
}

/// Writes a mask: 0 is black, 255 is white.
fn repack_grey(source: &Picture<'_>, out: &mut PictureMut<'_>, color: Colorimetry) {
    let limited = color.range == Range::Limited && out.format() != PixelFormat::Grey;
    let level = |value: u8| {
        if limited { u8::try_from(16 + (u32::from(value) * 219 + 127) / 255).unwrap_or(u8::MAX) } else { value }
    };
    for y in 0..rows(source) {
        let row = source.plane(0).row(y);
        match out.format() {
            format if format.is_rgb() => {
                let bytes = if matches!(format, PixelFormat::Rgb24 | PixelFormat::Bgr24) { 3 } else { 4 };
                for (pixel, value) in out.row_mut(0, y).chunks_exact_mut(bytes).zip(row) {
                    pixel.fill(*value);
                }
            }
            _ => put_luma(out, y, row.iter().map(|value| level(*value))),
        }
        put_chroma(out, y, std::iter::repeat_n([128, 128], row.len() / 2));
    }
}

fn repack_nv12(source: &Picture<'_>, out: &mut PictureMut<'_>, color: Colorimetry) {
    // Grey is luma of full range.
    let grey = Colorimetry { range: Range::Full, ..source.color() };
    let color = if out.format() == PixelFormat::Grey { grey } else { color };
    let recolor = Recolor::new(source.color(), color);
    for y in 0..rows(source) {
        let (luma, chroma) = (source.plane(0).row(y), source.plane(1).row(y / 2));
        let pairs = || chroma.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        let wide = pairs().flat_map(|pair| [pair, pair]);
        put_luma(out, y, luma.iter().zip(wide).map(|(luma, pair)| recolor.luma(*luma, pair)));
        put_chroma(out, y, pairs().map(|pair| recolor.chroma(pair)));
    }
}

/// Writes the luma of row `y`.
fn put_luma(out: &mut PictureMut<'_>, y: usize, luma: impl Iterator<Item = u8>) {
    let (start, step) = match out.format() {
        PixelFormat::Yuyv => (0, 2),
        PixelFormat::Uyvy => (1, 2),
        _ => (0, 1),
    };
    for (to, from) in out.row_mut(0, y).iter_mut().skip(start).step_by(step).zip(luma) {
        *to = from;
    }
}

/// Writes the chroma of row `y`, if the format has chroma in this row.
fn put_chroma(out: &mut PictureMut<'_>, y: usize, pairs: impl Iterator<Item = [u8; 2]>) {
    let format = out.format();
    let swapped = format == PixelFormat::Nv21;
    match format {
        PixelFormat::Yuyv | PixelFormat::Uyvy => {
            let start = usize::from(format == PixelFormat::Yuyv);
            for (four, [cb, cr]) in out.row_mut(0, y).chunks_exact_mut(4).zip(pairs) {
                (four[start], four[start + 2]) = (cb, cr);
            }
        }
        PixelFormat::Nv12 | PixelFormat::Nv21 if y.is_multiple_of(2) => {
            for (two, [cb, cr]) in out.row_mut(1, y / 2).chunks_exact_mut(2).zip(pairs) {
                two.copy_from_slice(&if swapped { [cr, cb] } else { [cb, cr] });
            }
        }
        PixelFormat::I420 if !y.is_multiple_of(2) => {}
        PixelFormat::I420 | PixelFormat::I422 => {
            let row = if format == PixelFormat::I420 { y / 2 } else { y };
            for (x, [cb, cr]) in pairs.enumerate() {
                if let Some(to) = out.row_mut(1, row).get_mut(x) {
                    *to = cb;
                }
                if let Some(to) = out.row_mut(2, row).get_mut(x) {
                    *to = cr;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use portraitd_kernels::convert::to_rgb24;

    use super::*;
    use portraitd_media::{Matrix, OwnedPicture, Size};

    const SIZE: Size = Size::new(8, 6);
    const COLORS: [Colorimetry; 3] = [
        Colorimetry { matrix: Matrix::Bt601, range: Range::Limited },
        Colorimetry { matrix: Matrix::Bt601, range: Range::Full },
        Colorimetry { matrix: Matrix::Bt709, range: Range::Limited },
    ];

    fn picture(format: PixelFormat, color: Colorimetry, byte: impl Fn(usize) -> u8) -> OwnedPicture {
        let mut picture = OwnedPicture::zeroed(format, SIZE, color).expect("a size");
        picture.bytes_mut().iter_mut().enumerate().for_each(|(index, to)| *to = byte(index));
        picture
    }

    fn rgb(picture: &Picture<'_>) -> Vec<u8> {
        let mut out = OwnedPicture::zeroed(PixelFormat::Rgb24, SIZE, Colorimetry::default()).expect("a size");
        to_rgb24(picture, &mut out.as_picture_mut()).expect("same size");
        out.into_bytes()
    }

    fn repacked(source: &OwnedPicture, format: PixelFormat, color: Colorimetry) -> OwnedPicture {
        let mut out = picture(format, color, |_| 77);
        repack(&source.as_picture(), &mut out.as_picture_mut(), color);
        out
    }

    #[test]
    fn a_view_is_the_same_picture_in_every_format_and_colorimetry() {
        for from in COLORS {
            // Colours close to grey, so that no conversion clips them.
            let nv12 = picture(PixelFormat::Nv12, from, |index| match index {
                0..48 => u8::try_from(60 + index * 3).expect("small"),
                _ => u8::try_from(118 + (index * 7) % 20).expect("small"),
            });
            let expected = rgb(&nv12.as_picture());
            for to in COLORS {
                for format in FORMATS.into_iter().filter(|format| format.has_chroma()) {
                    let found = rgb(&repacked(&nv12, format, to).as_picture());
                    let worst = expected.iter().zip(&found).map(|(a, b)| a.abs_diff(*b)).max();
                    let limit = if from == to { 0 } else { 3 };
                    assert!(worst <= Some(limit), "{format} {from:?} -> {to:?}: off by {worst:?}");
                }
            }
            let grey = repacked(&nv12, PixelFormat::Grey, COLORS[0]);
            let black_and_white = Affine::grey_to_rgb(from.range);
            for (luma, found) in nv12.bytes().iter().zip(grey.bytes()) {
                let [expected, ..] = black_and_white.apply_bytes([*luma; 3]);
                assert!(expected.abs_diff(*found) <= 1, "{from:?}: {luma} became {found}");
            }
        }
    }

    #[test]
    fn rgb_bytes_are_reordered() {
        let source = picture(PixelFormat::Rgb24, COLORS[0], |index| u8::try_from(index).expect("small"));
        for format in FORMATS.into_iter().filter(|format| format.is_rgb()) {
            assert_eq!(rgb(&repacked(&source, format, COLORS[0]).as_picture()), source.bytes(), "{format}");
        }
    }

    #[test]
    fn a_mask_is_black_and_white_in_every_format() {
        let mask = picture(PixelFormat::Grey, COLORS[0], |index| if index.is_multiple_of(3) { 255 } else { 0 });
        for format in FORMATS {
            for color in COLORS {
                let found = rgb(&repacked(&mask, format, Colorimetry { ..color }).as_picture());
                // A mask has full range, but a grey picture is read with the range of its
                // colorimetry.
                if format == PixelFormat::Grey && color.range == Range::Limited {
                    continue;
                }
                for (value, pixel) in mask.bytes().iter().zip(found.chunks_exact(3)) {
                    assert!(pixel.iter().all(|found| found.abs_diff(*value) <= 1), "{format} {color:?}: {pixel:?}");
                }
            }
        }
    }

    #[test]
    fn the_format_that_is_asked_of_a_ring_can_be_repacked() {
        for node in FORMATS {
            for mask in [false, true] {
                let ring = ring_format(node, mask);
                let source = picture(ring, COLORS[0], |_| 130);
                assert!(repacked(&source, node, COLORS[0]).bytes().iter().all(|byte| *byte != 77), "{ring} -> {node}");
            }
        }
    }
}
