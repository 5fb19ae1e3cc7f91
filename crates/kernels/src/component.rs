//! The position of each component in the pixel formats: the one table that sampling, scaling and
//! conversion share.
//!
//! Chroma is assumed to be sited in the *centre* of the pixels that share it, in both directions,
//! as V4L2 describes its YUV formats. So a chroma sample covers exactly its block of pixels, and a
//! rectangle of the picture is the same rectangle of a chroma plane with halved coordinates.

use crate::cast;
use crate::picture::{Picture, PixelFormat, Plane, Size};

/// The position of one component (luma, one of the chromas, or a primary) in the memory of a
/// picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Component {
    /// Index of the plane.
    pub plane: usize,
    /// Bytes from the start of a row to the first sample.
    pub offset: usize,
    /// Bytes from one sample to the next.
    pub step: usize,
    /// Pixels that a sample covers to the right: 1 or 2.
    pub across: usize,
    /// Pixels that a sample covers downwards: 1 or 2.
    pub down: usize,
}

const fn component(plane: usize, offset: usize, step: usize, across: usize, down: usize) -> Component {
    Component { plane, offset, step, across, down }
}

impl Component {
    /// Samples per row, and rows, for a picture of `size`.
    pub(crate) const fn extent(&self, size: Size) -> (usize, usize) {
        ((size.width as usize).div_ceil(self.across), (size.height as usize).div_ceil(self.down))
    }
}

/// The components of `format` in the order Y, Cb, Cr or R, G, B. A grey picture lists luma three
/// times, and only the first entry may be read.
pub(crate) const fn components(format: PixelFormat) -> [Component; 3] {
    match format {
        PixelFormat::Yuyv => [component(0, 0, 2, 1, 1), component(0, 1, 4, 2, 1), component(0, 3, 4, 2, 1)],
        PixelFormat::Uyvy => [component(0, 1, 2, 1, 1), component(0, 0, 4, 2, 1), component(0, 2, 4, 2, 1)],
        PixelFormat::Nv12 => [component(0, 0, 1, 1, 1), component(1, 0, 2, 2, 2), component(1, 1, 2, 2, 2)],
        PixelFormat::Nv21 => [component(0, 0, 1, 1, 1), component(1, 1, 2, 2, 2), component(1, 0, 2, 2, 2)],
        PixelFormat::I420 => [component(0, 0, 1, 1, 1), component(1, 0, 1, 2, 2), component(2, 0, 1, 2, 2)],
        PixelFormat::I422 => [component(0, 0, 1, 1, 1), component(1, 0, 1, 2, 1), component(2, 0, 1, 2, 1)],
        PixelFormat::Rgb24 => [component(0, 0, 3, 1, 1), component(0, 1, 3, 1, 1), component(0, 2, 3, 1, 1)],
        PixelFormat::Bgr24 => [component(0, 2, 3, 1, 1), component(0, 1, 3, 1, 1), component(0, 0, 3, 1, 1)],
        PixelFormat::Rgbx32 => [component(0, 0, 4, 1, 1), component(0, 1, 4, 1, 1), component(0, 2, 4, 1, 1)],
        PixelFormat::Bgrx32 => [component(0, 2, 4, 1, 1), component(0, 1, 4, 1, 1), component(0, 0, 4, 1, 1)],
        PixelFormat::Grey => [component(0, 0, 1, 1, 1); 3],
    }
}

/// The samples of one component of one picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel<'a> {
    pub data: Plane<'a>,
    pub offset: usize,
    pub step: usize,
}

impl<'a> Channel<'a> {
    /// The samples of `component` in `picture`.
    pub(crate) fn new(picture: &Picture<'a>, component: Component) -> Self {
        Self { data: picture.plane(component.plane), offset: component.offset, step: component.step }
    }

    /// The bytes from the first of samples `first..first + count` of row `y` to the last one. The
    /// bytes between the samples are included.
    #[inline]
    pub(crate) fn samples(&self, y: usize, first: usize, count: usize) -> &'a [u8] {
        let start = y * self.data.stride_bytes + self.offset + first * self.step;
        &self.data.data[start..start + (count - 1) * self.step + 1]
    }
}

/// The value of component `index` at pixel (`x`, `y`), with the position clamped to the picture.
/// This is slow and meant for conversion and oracles.
pub(crate) fn value(picture: &Picture<'_>, index: usize, x: i64, y: i64) -> u8 {
    if index > 0 && picture.format() == PixelFormat::Grey {
        return 128;
    }
    let component = components(picture.format())[index];
    let clamp = |value: i64, count: u32| cast::coordinate(value.clamp(0, i64::from(count) - 1));
    let (x, y) = (clamp(x, picture.size().width), clamp(y, picture.size().height));
    Channel::new(picture, component).samples(y / component.down, x / component.across, 1)[0]
}
