//! Colour conversion: the affine map between Y'CbCr and R'G'B', and the conversion of whole
//! pictures by plain loops. The latter is for rare work such as snapshots and background images.
//!
//! The equations are those of ITU-R BT.601-7, BT.709-6 and BT.2020-2 (non-constant luminance) for 8
//! bits, section 3 of each ("signal format"). Full range is as in JFIF. Chroma is sited in the
//! centre of the pixels that share it.

use crate::cast;
use crate::component::value;
use crate::picture::{Colorimetry, Picture, PictureMut, PixelFormat, Range, Size};

/// An affine map of three components: `out[i] = sum(matrix[i][j] * in[j]) + offset[i]`, on
/// component values 0..=255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The matrix, one row per output.
    pub matrix: [[f32; 3]; 3],
    /// The number that is added to each output.
    pub offset: [f32; 3],
}

/// The ranges of luma and chroma in component values, and the value of black.
const fn levels(range: Range) -> (f32, f32, f32) {
    match range {
        Range::Limited => (219.0, 224.0, 16.0),
        Range::Full => (255.0, 255.0, 0.0),
    }
}

impl Affine {
    /// The map that changes nothing.
    pub const IDENTITY: Self =
        Self { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], offset: [0.0, 0.0, 0.0] };

    /// The map from (Y, Cb, Cr) to (R, G, B). The results may lie outside 0..=255, because not
    /// every triple is a colour.
    pub fn to_rgb(color: Colorimetry) -> Self {
        let (kr, kb) = color.matrix.weights();
        let kg = 1.0 - kr - kb;
        let (luma, chroma, black) = levels(color.range);
        let (y, c) = (255.0 / luma, 255.0 / chroma);
        let red = 2.0 * (1.0 - kr) * c;
        let blue = 2.0 * (1.0 - kb) * c;
        let matrix = [[y, 0.0, red], [y, -blue * kb / kg, -red * kr / kg], [y, blue, 0.0]];
        let offset = matrix.map(|row| -row[0] * black - 128.0 * (row[1] + row[2]));
        Self { matrix, offset }
    }

    /// The map from (R, G, B) to (Y, Cb, Cr).
    pub fn from_rgb(color: Colorimetry) -> Self {
        let (kr, kb) = color.matrix.weights();
        let kg = 1.0 - kr - kb;
        let (luma, chroma, black) = levels(color.range);
        let (y, c) = (luma / 255.0, chroma / 255.0);
        let (blue, red) = (c / (2.0 * (1.0 - kb)), c / (2.0 * (1.0 - kr)));
        let matrix = [
            [kr * y, kg * y, kb * y],
            [-kr * blue, -kg * blue, (1.0 - kb) * blue],
            [(1.0 - kr) * red, -kg * red, -kb * red],
        ];
        Self { matrix, offset: [black, 128.0, 128.0] }
    }

    /// The map of a grey picture: each of the three primaries is luma, expanded to full range.
    pub fn grey_to_rgb(range: Range) -> Self {
        let (luma, _, black) = levels(range);
        let y = 255.0 / luma;
        Self { matrix: [[y, 0.0, 0.0]; 3], offset: [-y * black; 3] }
    }

    /// Applies the map to three components.
    #[inline]
    pub fn apply(&self, input: [f32; 3]) -> [f32; 3] {
        std::array::from_fn(|i| {
            let row = self.matrix[i];
            row[0] * input[0] + row[1] * input[1] + row[2] * input[2] + self.offset[i]
        })
    }

    /// Applies the map to bytes. The results are rounded and clamped.
    #[inline]
    pub fn apply_bytes(&self, input: [u8; 3]) -> [u8; 3] {
        self.apply(input.map(f32::from)).map(cast::byte)
    }
}

/// Converts the colour `[r, g, b]` to `[y, cb, cr]` of the colorimetry `color`.
pub fn rgb_to_ycc(rgb: [u8; 3], color: Colorimetry) -> [u8; 3] {
    Affine::from_rgb(color).apply_bytes(rgb)
}

/// Converts `[y, cb, cr]` of the colorimetry `color` to `[r, g, b]`, clamped.
pub fn ycc_to_rgb(ycc: [u8; 3], color: Colorimetry) -> [u8; 3] {
    Affine::to_rgb(color).apply_bytes(ycc)
}

/// The map from the components of a picture to (R, G, B).
pub(crate) fn picture_to_rgb(format: PixelFormat, color: Colorimetry) -> Affine {
    match format {
        _ if format.is_rgb() => Affine::IDENTITY,
        PixelFormat::Grey => Affine::grey_to_rgb(color.range),
        _ => Affine::to_rgb(color),
    }
}

/// Why a picture cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The sizes differ, and a conversion does not scale.
    #[error("cannot convert a picture of {from} into one of {to}: conversion does not scale")]
    Size {
        /// Size of the source.
        from: Size,
        /// Size of the output.
        to: Size,
    },
    /// The output has a format that the function does not write.
    #[error("expected an output of format {expected}, not {found}")]
    Format {
        /// The format that the function writes.
        expected: PixelFormat,
        /// The format of the output.
        found: PixelFormat,
    },
}

fn check(source: &Picture<'_>, output: &PictureMut<'_>, expected: PixelFormat) -> Result<(), ConvertError> {
    if output.format() != expected {
        return Err(ConvertError::Format { expected, found: output.format() });
    }
    if source.size() != output.size() {
        return Err(ConvertError::Size { from: source.size(), to: output.size() });
    }
    Ok(())
}

fn rgb_at(source: &Picture<'_>, map: &Affine, x: i64, y: i64) -> [u8; 3] {
    map.apply_bytes(std::array::from_fn(|component| value(source, component, x, y)))
}

/// Converts any picture to `RGB24` of the same size. Every pixel takes the chroma of its block.
///
/// # Errors
/// [`ConvertError`] if the output is not RGB24, or has another size.
pub fn to_rgb24(source: &Picture<'_>, output: &mut PictureMut<'_>) -> Result<(), ConvertError> {
    check(source, output, PixelFormat::Rgb24)?;
    let map = picture_to_rgb(source.format(), source.color());
    for (y, row) in (0..source.size().height).enumerate() {
        for (x, pixel) in (0_i64..).zip(output.row_mut(0, y).chunks_exact_mut(3)) {
            pixel.copy_from_slice(&rgb_at(source, &map, x, i64::from(row)));
        }
    }
    Ok(())
}

/// Converts any picture to `NV12` of the same size and of the colorimetry `color`. Each chroma
/// sample is the mean of its block; at an odd edge, of the pixels that exist.
///
/// Even a Y'CbCr source is converted through R'G'B', so this function is meant for RGB sources.
/// [`crate::scale::Scaler`] keeps the numbers of a Y'CbCr source.
///
/// # Errors
/// [`ConvertError`] if the output is not NV12, or has another size.
pub fn to_nv12(source: &Picture<'_>, output: &mut PictureMut<'_>, color: Colorimetry) -> Result<(), ConvertError> {
    check(source, output, PixelFormat::Nv12)?;
    let to_rgb = picture_to_rgb(source.format(), source.color());
    let map = Affine::from_rgb(color);
    let (width, height) = (i64::from(source.size().width), i64::from(source.size().height));
    for (y, row) in (0..height).enumerate() {
        for (x, luma) in (0..width).zip(output.row_mut(0, y)) {
            *luma = map.apply_bytes(rgb_at(source, &to_rgb, x, row))[0];
        }
    }
    for (y, row) in (0..height).step_by(2).enumerate() {
        for (x, chroma) in (0..width).step_by(2).zip(output.row_mut(1, y).chunks_exact_mut(2)) {
            let mut sum = [0.0; 3];
            let mut count = 0.0;
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                if x + dx < width && row + dy < height {
                    let rgb = rgb_at(source, &to_rgb, x + dx, row + dy);
                    sum = std::array::from_fn(|i| sum[i] + f32::from(rgb[i]));
                    count += 1.0;
                }
            }
            let ycc = map.apply(sum.map(|value| value / count));
            chroma.copy_from_slice(&[cast::byte(ycc[1]), cast::byte(ycc[2])]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{Matrix, packed_bytes};

    const COLORS: [Colorimetry; 6] = {
        let mut all = [Colorimetry { matrix: Matrix::Bt601, range: Range::Limited }; 6];
        all[1].range = Range::Full;
        all[2].matrix = Matrix::Bt709;
        all[3] = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
        all[4].matrix = Matrix::Bt2020;
        all[5] = Colorimetry { matrix: Matrix::Bt2020, range: Range::Full };
        all
    };

    #[test]
    fn known_colours() {
        let limited_601 = COLORS[0];
        // White, black and the primaries as BT.601 and BT.709 define them at 8 bits.
        assert_eq!(rgb_to_ycc([255, 255, 255], limited_601), [235, 128, 128]);
        assert_eq!(rgb_to_ycc([0, 0, 0], limited_601), [16, 128, 128]);
        assert_eq!(rgb_to_ycc([255, 0, 0], limited_601), [81, 90, 240]);
        assert_eq!(rgb_to_ycc([0, 0, 255], limited_601), [41, 240, 110]);
        assert_eq!(rgb_to_ycc([0, 255, 0], COLORS[2]), [173, 42, 26]);
        assert_eq!(rgb_to_ycc([255, 0, 0], COLORS[1]), [76, 85, 255]);
        assert_eq!(ycc_to_rgb([235, 128, 128], limited_601), [255; 3]);
        assert_eq!(ycc_to_rgb([255, 128, 128], COLORS[1]), [255; 3]);
    }

    #[test]
    fn there_and_back_within_rounding() {
        for color in COLORS {
            for rgb in [[0, 0, 0], [12, 200, 90], [255, 255, 255], [255, 0, 255], [1, 2, 3], [128, 127, 126]] {
                let back = ycc_to_rgb(rgb_to_ycc(rgb, color), color);
                for (a, b) in rgb.into_iter().zip(back) {
                    assert!(a.abs_diff(b) <= 3, "{rgb:?} came back as {back:?} under {color:?}");
                }
                let exact = Affine::to_rgb(color).apply(Affine::from_rgb(color).apply(rgb.map(f32::from)));
                for (a, b) in rgb.into_iter().zip(exact) {
                    assert!((f32::from(a) - b).abs() < 0.01, "{rgb:?} -> {exact:?}");
                }
            }
        }
    }

    #[test]
    fn every_format_of_one_colour_is_that_colour() {
        let size = Size::new(5, 3);
        for color in COLORS {
            let [y, cb, cr] = rgb_to_ycc([200, 100, 50], color);
            for format in PixelFormat::ALL {
                let mut data = vec![0; packed_bytes(format, size)];
                let mut picture = PictureMut::packed(format, size, &mut data).expect("large enough");
                for (index, component) in crate::component::components(format).into_iter().enumerate() {
                    if format == PixelFormat::Grey && index > 0 {
                        continue;
                    }
                    let (columns, rows) = component.extent(size);
                    for row in 0..rows {
                        let bytes = picture.row_mut(component.plane, row);
                        for column in 0..columns {
                            bytes[component.offset + column * component.step] =
                                if format.is_rgb() { [200, 100, 50][index] } else { [y, cb, cr][index] };
                        }
                    }
                }
                let mut rgb = vec![0; packed_bytes(PixelFormat::Rgb24, size)];
                let mut output = PictureMut::packed(PixelFormat::Rgb24, size, &mut rgb).expect("large enough");
                let source = Picture::packed(format, size, color, &data).expect("checked");
                to_rgb24(&source, &mut output).expect("same size");
                for pixel in rgb.chunks_exact(3) {
                    let expected = if format == PixelFormat::Grey {
                        Affine::grey_to_rgb(color.range).apply_bytes([y; 3])
                    } else {
                        [200, 100, 50]
                    };
                    for (a, b) in expected.into_iter().zip(pixel) {
                        assert!(a.abs_diff(*b) <= 2, "{format} {color:?}: {pixel:?}");
                    }
                }
                let mut nv12 = vec![0; packed_bytes(PixelFormat::Nv12, size)];
                let mut output = PictureMut::packed(PixelFormat::Nv12, size, &mut nv12).expect("large enough");
                to_nv12(&source, &mut output, color).expect("same size");
                if format != PixelFormat::Grey {
                    assert!(nv12[..15].iter().all(|&value| value.abs_diff(y) <= 2), "{format} {color:?}");
                    assert!(nv12[15..].chunks_exact(2).all(|c| c[0].abs_diff(cb) <= 2 && c[1].abs_diff(cr) <= 2));
                }
            }
        }
    }

    #[test]
    fn wrong_outputs_are_refused() {
        let data = [0; 12];
        let source = Picture::packed(PixelFormat::Rgb24, Size::new(2, 2), COLORS[0], &data).expect("large enough");
        let mut bytes = [0; 27];
        let mut output = PictureMut::packed(PixelFormat::Rgb24, Size::new(3, 3), &mut bytes).expect("large enough");
        assert!(matches!(to_rgb24(&source, &mut output), Err(ConvertError::Size { .. })));
        assert!(matches!(to_nv12(&source, &mut output, COLORS[0]), Err(ConvertError::Format { .. })));
    }
}
