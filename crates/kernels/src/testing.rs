//! Shared by the tests of the kernels: random pictures of every format at any stride, and outputs
//! between guard bytes.

use proptest::prelude::*;

use crate::picture::{Colorimetry, Matrix, Picture, PictureMut, PixelFormat, Plane, PlaneMut, Range, Size};

/// A configuration with `cases` cases, but no more than `PROPTEST_CASES`, because emulated CPUs are
/// slow.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let most = std::env::var("PROPTEST_CASES").ok().and_then(|most| most.parse().ok()).unwrap_or(u32::MAX);
    ProptestConfig::with_cases(cases.min(most))
}

/// A picture of random bytes that owns its memory.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    pub format: PixelFormat,
    pub size: Size,
    pub color: Colorimetry,
    pub padding: usize,
    pub bytes: Vec<Vec<u8>>,
}

impl Canvas {
    /// A picture of noise, with `padding` bytes after each row.
    pub(crate) fn noise(format: PixelFormat, size: Size, padding: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let bytes = (0..format.plane_count())
            .map(|plane| {
                let (row_bytes, rows) = format.plane_extent(plane, size);
                // The last row is not padded: kernels must not read past it.
                (0..(row_bytes + padding) * rows - padding).map(|_| next()).collect()
            })
            .collect();
        Self { format, size, color: Colorimetry::default(), padding, bytes }
    }

    /// The canvas as a borrowed picture.
    pub(crate) fn picture(&self) -> Picture<'_> {
        let planes = std::array::from_fn(|plane| match self.bytes.get(plane) {
            Some(data) => Plane { data, stride_bytes: self.format.plane_extent(plane, self.size).0 + self.padding },
            None => Plane::default(),
        });
        Picture::new(self.format, self.size, self.color, planes).expect("large enough")
    }
}

/// Pictures of any format, colorimetry and padding, with sizes in the given ranges. The content is
/// noise, or only the values 0 and 255.
pub(crate) fn picture(width: std::ops::Range<u32>, height: std::ops::Range<u32>) -> impl Strategy<Value = Canvas> {
    let color = (
        prop::sample::select(&[Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020][..]),
        prop::sample::select(&[Range::Limited, Range::Full][..]),
    );
    let format = prop::sample::select(&PixelFormat::ALL[..]);
    (format, width, height, 0_usize..20, any::<u64>(), color, any::<bool>()).prop_map(
        |(format, width, height, padding, seed, (matrix, range), extreme)| {
            let mut canvas = Canvas::noise(format, Size::new(width, height), padding, seed);
            canvas.color = Colorimetry { matrix, range };
            if extreme {
                for byte in canvas.bytes.iter_mut().flatten() {
                    *byte = if *byte < 128 { 0 } else { 255 };
                }
            }
            canvas
        },
    )
}

const GUARD: u8 = 0xa5;

/// An output whose rows lie between guard bytes.
#[derive(Debug)]
pub(crate) struct Guarded {
    format: PixelFormat,
    size: Size,
    padding: usize,
    bytes: [Vec<u8>; 3],
}

impl Guarded {
    /// An output with `padding` guard bytes after each row, and 16 before the first row and after
    /// the last.
    pub(crate) fn new(format: PixelFormat, size: Size, padding: usize) -> Self {
        let bytes = std::array::from_fn(|plane| {
            let (row_bytes, rows) = format.plane_extent(plane, size);
            vec![GUARD; (row_bytes + padding) * rows + 32]
        });
        Self { format, size, padding, bytes }
    }

    fn stride(&self, plane: usize) -> usize {
        self.format.plane_extent(plane, self.size).0 + self.padding
    }

    /// The picture into which the code under test writes.
    pub(crate) fn picture(&mut self) -> PictureMut<'_> {
        let strides: [usize; 3] = std::array::from_fn(|plane| self.stride(plane));
        let mut plane = 0;
        let planes = self.bytes.each_mut().map(|bytes| {
            let stride_bytes = strides[plane];
            plane += 1;
            let end = bytes.len() - 16;
            PlaneMut { data: &mut bytes[16..end], stride_bytes }
        });
        PictureMut::new(self.format, self.size, planes).expect("large enough")
    }

    /// The bytes of plane `plane` without guards.
    pub(crate) fn plane(&self, plane: usize) -> Vec<u8> {
        let (row_bytes, rows) = self.format.plane_extent(plane, self.size);
        let stride = self.stride(plane);
        (0..rows).flat_map(|y| self.bytes[plane][16 + y * stride..16 + y * stride + row_bytes].to_vec()).collect()
    }

    /// Checks that no guard byte was changed.
    pub(crate) fn check_guards(&self) -> Result<(), TestCaseError> {
        for plane in 0..self.format.plane_count() {
            let (row_bytes, rows) = self.format.plane_extent(plane, self.size);
            let stride = self.stride(plane);
            let bytes = &self.bytes[plane];
            for (i, &byte) in bytes.iter().enumerate() {
                let inside = i >= 16 && (i - 16) / stride < rows && (i - 16) % stride < row_bytes;
                prop_assert!(inside || byte == GUARD, "plane {}: byte {} was written", plane, i);
            }
        }
        Ok(())
    }
}
