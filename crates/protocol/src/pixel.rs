//! Sizes, pixel formats and colour: what a picture in memory is made of. 8 bits a component throughout.

use std::fmt;

/// A size in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// A size of `width` by `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Whether there is no pixel at all.
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The number of pixels.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// Width over height; 0 for an empty size.
    pub fn aspect(self) -> f32 {
        if self.is_empty() { 0.0 } else { self.width as f32 / self.height as f32 }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// How the pixels of a picture lie in memory. 8 bits a component throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Packed 4:2:2, `Y0 Cb Y1 Cr` (V4L2 `YUYV`).
    Yuyv,
    /// Packed 4:2:2, `Cb Y0 Cr Y1` (V4L2 `UYVY`).
    Uyvy,
    /// Y plane, then interleaved `Cb Cr` at half width and height (V4L2 `NV12`, and `NM12` in two buffers).
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
    /// Every format, for tests and listings.
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

    /// The format's four-character code as V4L2 spells it; also used in ring headers.
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

    /// The format of a four-character code; `None` where it is not one of ours.
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

    /// Bytes of picture in one row of plane `plane` (padding not included), and the plane's rows, for a picture of
    /// `size`. Chroma of odd sizes is rounded up.
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

    /// Whether the components are red, green and blue (and not luma and chroma).
    pub const fn is_rgb(self) -> bool {
        matches!(self, Self::Rgb24 | Self::Bgr24 | Self::Rgbx32 | Self::Bgrx32)
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

/// The matrix between R'G'B' and Y'CbCr.
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
    /// The weights of red and blue in luma, (Kr, Kb).
    pub const fn weights(self) -> (f32, f32) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// The range of component values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Range {
    /// Luma 16..=235, chroma 16..=240 around 128.
    #[default]
    Limited,
    /// 0..=255, chroma around 128.
    Full,
}

/// What the numbers of a Y'CbCr picture mean. Ignored for RGB formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Colorimetry {
    /// The matrix.
    pub matrix: Matrix,
    /// The range.
    pub range: Range,
}
