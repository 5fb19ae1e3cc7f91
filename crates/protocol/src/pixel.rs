//! Sizes, pixel formats and colorimetry. Every format has 8 bits for each component.

use std::fmt;

/// A size in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    /// Width in pixels.
    pub width: u32,
    /// Height in rows.
    pub height: u32,
}

impl Size {
    /// Creates a size of `width` by `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Whether the width or the height is 0.
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The number of pixels, which cannot overflow.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// Width divided by height; 0 if the size is empty.
    pub fn aspect(self) -> f32 {
        if self.is_empty() { 0.0 } else { self.width as f32 / self.height as f32 }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The arrangement of a picture's pixels in memory, with 8 bits for each component.
///
/// Rings and the daemon use the format's four-character code. The enum is exhaustive on purpose: a
/// new format must be added to every conversion, and the compiler finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Packed 4:2:2, `Y0 Cb Y1 Cr` (V4L2 `YUYV`).
    Yuyv,
    /// Packed 4:2:2, `Cb Y0 Cr Y1` (V4L2 `UYVY`).
    Uyvy,
    /// Y plane, then interleaved `Cb Cr` at half width and height (V4L2 `NV12`, and `NM12` in two
    /// buffers).
    Nv12,
    /// Y plane, then interleaved `Cr Cb` at half width and height (V4L2 `NV21`).
    Nv21,
    /// Three planes Y, Cb, Cr, chroma at half width and height (V4L2 `YU12`; y4m `420`).
    I420,
    /// Three planes Y, Cb, Cr, chroma at half width and full height (V4L2 `422P`; y4m `422`).
    I422,
    /// Packed `R G B` (V4L2 `RGB3`).
    Rgb24,
    /// Packed `B G R` (V4L2 `BGR3`).
    Bgr24,
    /// Packed `R G B X` (V4L2 `XB24`/`AB24`).
    Rgbx32,
    /// Packed `B G R X` (V4L2 `XR24`/`AR24`).
    Bgrx32,
    /// One plane of luma (V4L2 `GREY`).
    Grey,
}

impl PixelFormat {
    /// All formats, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Yuyv,
        Self::Uyvy,
        Self::Nv12,
        Self::Nv21,
        Self::I420,
        Self::I422,
        Self::Rgb24,
        Self::Bgr24,
        Self::Rgbx32,
        Self::Bgrx32,
        Self::Grey,
    ];

    /// The four-character code of the format, as V4L2 spells it. Ring headers use the same code.
    pub const fn fourcc(self) -> [u8; 4] {
        match self {
            Self::Yuyv => *b"YUYV",
            Self::Uyvy => *b"UYVY",
            Self::Nv12 => *b"NV12",
            Self::Nv21 => *b"NV21",
            Self::I420 => *b"YU12",
            Self::I422 => *b"422P",
            Self::Rgb24 => *b"RGB3",
            Self::Bgr24 => *b"BGR3",
            Self::Rgbx32 => *b"XB24",
            Self::Bgrx32 => *b"XR24",
            Self::Grey => *b"GREY",
        }
    }

    /// The format with a four-character code, or `None` if the code is not known.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.fourcc() == fourcc)
    }

    /// The number of planes of a picture of this format, 1 to 3.
    pub const fn plane_count(self) -> usize {
        match self {
            Self::Nv12 | Self::Nv21 => 2,
            Self::I420 | Self::I422 => 3,
            _ => 1,
        }
    }

    /// The extent of plane `plane` (from 0) in a picture of `size`: bytes in one row, without
    /// padding, and number of rows. Chroma of odd sizes is rounded up. The extent is `(0, 0)` if
    /// the format has no such plane.
    pub const fn plane_extent(self, plane: usize, size: Size) -> (usize, usize) {
        let (width, height) = (size.width as usize, size.height as usize);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        match (self, plane) {
            (Self::Yuyv | Self::Uyvy, 0) => (half_width * 4, height),
            (Self::Nv12 | Self::Nv21 | Self::I420 | Self::I422 | Self::Grey, 0) => (width, height),
            (Self::Nv12 | Self::Nv21, 1) => (half_width * 2, half_height),
            (Self::I420, 1 | 2) => (half_width, half_height),
            (Self::I422, 1 | 2) => (half_width, height),
            (Self::Rgb24 | Self::Bgr24, 0) => (width * 3, height),
            (Self::Rgbx32 | Self::Bgrx32, 0) => (width * 4, height),
            _ => (0, 0),
        }
    }

    /// Whether the components are red, green and blue. `false` for luma and chroma, and for grey.
    pub const fn is_rgb(self) -> bool {
        matches!(self, Self::Rgb24 | Self::Bgr24 | Self::Rgbx32 | Self::Bgrx32)
    }

    /// Whether there are luma and chroma components, so that matrix and range apply.
    pub const fn has_chroma(self) -> bool {
        !self.is_rgb() && !matches!(self, Self::Grey)
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.fourcc() {
            write!(f, "{}", char::from(byte))?;
        }
        Ok(())
    }
}

/// The matrix that converts between R'G'B' and Y'CbCr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601: Kr 0.299, Kb 0.114.
    #[default]
    Bt601,
    /// ITU-R BT.709: Kr 0.2126, Kb 0.0722.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance: Kr 0.2627, Kb 0.0593.
    Bt2020,
}

impl Matrix {
    /// The name on D-Bus: `601`, `709` or `2020`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bt601 => "601",
            Self::Bt709 => "709",
            Self::Bt2020 => "2020",
        }
    }

    /// The weights of red and blue in luma, (Kr, Kb). The weight of green is `1 - Kr - Kb`.
    pub const fn weights(self) -> (f32, f32) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// The range of the component values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Range {
    /// Luma from 16 to 235, chroma from 16 to 240 around 128.
    #[default]
    Limited,
    /// All components from 0 to 255, chroma around 128.
    Full,
}

impl Range {
    /// The name on D-Bus: `limited` or `full`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limited => "limited",
            Self::Full => "full",
        }
    }
}

/// The interpretation of a Y'CbCr picture's components. It is ignored for RGB formats and grey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Colorimetry {
    /// The matrix between R'G'B' and Y'CbCr.
    pub matrix: Matrix,
    /// The range of luma and chroma.
    pub range: Range,
}
