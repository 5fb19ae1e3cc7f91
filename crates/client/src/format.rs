//! The pixel formats that a ring may carry, by fourcc, and how many bytes and rows each of their planes has.

use std::fmt;

/// A format of pixels, 8 bits a component. The codes are those of V4L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameFormat {
    /// `NV12`: a Y plane, then interleaved Cb Cr at half width and height.
    Nv12,
    /// `NV21`: a Y plane, then interleaved Cr Cb at half width and height.
    Nv21,
    /// `YU12`: planes Y, Cb, Cr, chroma at half width and height.
    I420,
    /// `422P`: planes Y, Cb, Cr, chroma at half width and full height.
    I422,
    /// `YUYV`: packed Y0 Cb Y1 Cr.
    Yuyv,
    /// `UYVY`: packed Cb Y0 Cr Y1.
    Uyvy,
    /// `RGB3`: packed R G B.
    Rgb24,
    /// `BGR3`: packed B G R.
    Bgr24,
    /// `XB24`: packed R G B X.
    Rgbx32,
    /// `XR24`: packed B G R X.
    Bgrx32,
    /// `GREY`: one plane of luma; for a mask 0 is background and 255 is person.
    Grey,
}

impl FrameFormat {
    /// Every format.
    pub const ALL: [Self; 11] = [
        Self::Nv12,
        Self::Nv21,
        Self::I420,
        Self::I422,
        Self::Yuyv,
        Self::Uyvy,
        Self::Rgb24,
        Self::Bgr24,
        Self::Rgbx32,
        Self::Bgrx32,
        Self::Grey,
    ];

    /// The four-character code.
    pub const fn fourcc(self) -> [u8; 4] {
        match self {
            Self::Nv12 => *b"NV12",
            Self::Nv21 => *b"NV21",
            Self::I420 => *b"YU12",
            Self::I422 => *b"422P",
            Self::Yuyv => *b"YUYV",
            Self::Uyvy => *b"UYVY",
            Self::Rgb24 => *b"RGB3",
            Self::Bgr24 => *b"BGR3",
            Self::Rgbx32 => *b"XB24",
            Self::Bgrx32 => *b"XR24",
            Self::Grey => *b"GREY",
        }
    }

    /// The format of a code, if it is one of ours.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.fourcc() == fourcc)
    }

    /// How many planes a picture has.
    pub const fn plane_count(self) -> usize {
        match self {
            Self::Nv12 | Self::Nv21 => 2,
            Self::I420 | Self::I422 => 3,
            _ => 1,
        }
    }

    /// Bytes of picture in a row of `plane` (padding not included) and its rows, for a picture of `width` by `height`
    /// pixels. (0, 0) where there is no such plane. Chroma of odd sizes is rounded up.
    pub const fn plane_extent(self, plane: usize, width: u32, height: u32) -> (u64, u64) {
        let (width, height) = (width as u64, height as u64);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        match (self, plane) {
            (Self::Nv12 | Self::Nv21 | Self::I420 | Self::I422 | Self::Grey, 0) => (width, height),
            (Self::Nv12 | Self::Nv21, 1) => (half_width * 2, half_height),
            (Self::I420, 1 | 2) => (half_width, half_height),
            (Self::I422, 1 | 2) => (half_width, height),
            (Self::Yuyv | Self::Uyvy, 0) => (half_width * 4, height),
            (Self::Rgb24 | Self::Bgr24, 0) => (width * 3, height),
            (Self::Rgbx32 | Self::Bgrx32, 0) => (width * 4, height),
            _ => (0, 0),
        }
    }
}

impl fmt::Display for FrameFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fourcc().iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

/// What the luma and chroma numbers of a picture mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameColor {
    /// The matrix between R'G'B' and Y'CbCr.
    pub matrix: FrameMatrix,
    /// Whether components use all of 0..=255 (and not 16..=235 for luma, 16..=240 for chroma).
    pub full_range: bool,
}

/// A matrix between R'G'B' and Y'CbCr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FrameMatrix {
    /// ITU-R BT.601.
    #[default]
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
}

impl FrameMatrix {
    /// The weights of red and blue in luma, (Kr, Kb), as the recommendations give them.
    pub const fn weights(self) -> (f32, f32) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}
