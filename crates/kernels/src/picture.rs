//! Pictures in memory: pixel formats, colour, sizes, and borrowed planes that have been checked
//! once.

pub use portraitd_protocol::geometry::PixelRect;
pub use portraitd_protocol::pixel::{Colorimetry, Matrix, PixelFormat, Range, Size};

/// One borrowed plane: rows of bytes, `stride_bytes` apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plane<'a> {
    /// The bytes, beginning with the first pixel of the first row. The last row need not be padded.
    pub data: &'a [u8],
    /// Bytes from the start of one row to the start of the next.
    pub stride_bytes: usize,
}

impl<'a> Plane<'a> {
    /// Row `y`, including its padding as far as that is in memory.
    #[inline]
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.stride_bytes;
        let end = (start + self.stride_bytes).min(self.data.len());
        &self.data[start..end]
    }
}

/// Why memory does not hold a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// The size has no pixels.
    #[error("a picture of {0} has no pixels")]
    Empty(Size),
    /// The stride is shorter than a row, so rows would overlap.
    #[error(
        "plane {plane} of a {format} picture of {size}: a stride of {stride_bytes} bytes is less than a row of {row_bytes}"
    )]
    Stride {
        /// Format of the picture.
        format: PixelFormat,
        /// Size of the picture.
        size: Size,
        /// Index of the plane.
        plane: usize,
        /// The given stride.
        stride_bytes: usize,
        /// The bytes of one row.
        row_bytes: usize,
    },
    /// The memory is shorter than the picture.
    #[error("plane {plane} of a {format} picture of {size} needs {needed} bytes and has {available}")]
    Short {
        /// Format of the picture.
        format: PixelFormat,
        /// Size of the picture.
        size: Size,
        /// Index of the plane.
        plane: usize,
        /// Bytes that the plane needs.
        needed: usize,
        /// Bytes that the plane has.
        available: usize,
    },
}

/// A borrowed picture. Its planes were checked to be long enough for its size, so kernels need not
/// check again.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    format: PixelFormat,
    size: Size,
    color: Colorimetry,
    planes: [Plane<'a>; 3],
}

impl<'a> Picture<'a> {
    /// A picture of `format` and `size` in `planes`, after a check of their lengths and strides.
    ///
    /// # Errors
    /// [`PictureError`] if the size is empty, a stride is shorter than a row, or a plane is too
    /// short.
    pub fn new(
        format: PixelFormat,
        size: Size,
        color: Colorimetry,
        planes: [Plane<'a>; 3],
    ) -> Result<Self, PictureError> {
        check(format, size, planes.map(|plane| (plane.data.len(), plane.stride_bytes)))?;
        Ok(Self { format, size, color, planes })
    }

    /// A picture whose planes follow each other in `data` without padding.
    ///
    /// # Errors
    /// The same as [`Picture::new`].
    pub fn packed(format: PixelFormat, size: Size, color: Colorimetry, data: &'a [u8]) -> Result<Self, PictureError> {
        let mut planes = [Plane::default(); 3];
        let mut rest = data;
        for (index, plane) in planes.iter_mut().enumerate().take(format.plane_count()) {
            let (row_bytes, rows) = format.plane_extent(index, size);
            *plane = Plane { data: rest, stride_bytes: row_bytes };
            rest = rest.get(row_bytes.saturating_mul(rows)..).unwrap_or_default();
        }
        Self::new(format, size, color, planes)
    }

    /// The pixel format.
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// The size in pixels.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The colorimetry.
    pub const fn color(&self) -> Colorimetry {
        self.color
    }

    /// Plane `index`. The plane is empty if the format has no such plane.
    #[inline]
    pub fn plane(&self, index: usize) -> Plane<'a> {
        self.planes.get(index).copied().unwrap_or_default()
    }
}

/// One plane for writing: rows of bytes, `stride_bytes` apart.
#[derive(Debug, Default)]
pub struct PlaneMut<'a> {
    /// The bytes, starting with the first pixel of the first row. The last row need not be padded.
    pub data: &'a mut [u8],
    /// Bytes from the start of one row to the start of the next.
    pub stride_bytes: usize,
}

/// A borrowed picture for writing: the mutable counterpart of [`Picture`], checked once in the same
/// manner. It has no colorimetry, because the code that writes it determines that.
#[derive(Debug)]
pub struct PictureMut<'a> {
    format: PixelFormat,
    size: Size,
    planes: [PlaneMut<'a>; 3],
}

impl<'a> PictureMut<'a> {
    /// A picture of `format` and `size` in `planes`, after a check of their lengths and strides.
    ///
    /// # Errors
    /// The same as [`Picture::new`].
    pub fn new(format: PixelFormat, size: Size, planes: [PlaneMut<'a>; 3]) -> Result<Self, PictureError> {
        check(format, size, std::array::from_fn(|index| (planes[index].data.len(), planes[index].stride_bytes)))?;
        Ok(Self { format, size, planes })
    }

    /// A picture whose planes follow each other in `data` without padding.
    ///
    /// # Errors
    /// The same as [`Picture::new`].
    pub fn packed(format: PixelFormat, size: Size, data: &'a mut [u8]) -> Result<Self, PictureError> {
        let mut planes = [PlaneMut::default(), PlaneMut::default(), PlaneMut::default()];
        let mut rest = data;
        for (index, plane) in planes.iter_mut().enumerate().take(format.plane_count()) {
            let (row_bytes, rows) = format.plane_extent(index, size);
            let taken = if index + 1 == format.plane_count() { rest.len() } else { row_bytes.saturating_mul(rows) };
            let (data, after) = rest.split_at_mut(taken.min(rest.len()));
            *plane = PlaneMut { data, stride_bytes: row_bytes };
            rest = after;
        }
        Self::new(format, size, planes)
    }

    /// The pixel format.
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// The size in pixels.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// Row `y` of plane `index`, without padding.
    ///
    /// # Panics
    /// If the picture has no such row.
    #[inline]
    pub fn row_mut(&mut self, index: usize, y: usize) -> &mut [u8] {
        let (row_bytes, _) = self.format.plane_extent(index, self.size);
        let plane = &mut self.planes[index];
        let start = y * plane.stride_bytes;
        &mut plane.data[start..start + row_bytes]
    }

    /// The bytes of plane `index` from its first pixel on, and its stride in bytes.
    ///
    /// # Panics
    /// If there is no such plane.
    pub(crate) fn plane_mut(&mut self, index: usize) -> (&mut [u8], usize) {
        let plane = &mut self.planes[index];
        (&mut *plane.data, plane.stride_bytes)
    }

    /// The same picture, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> PictureMut<'_> {
        let planes =
            self.planes.each_mut().map(|plane| PlaneMut { data: &mut *plane.data, stride_bytes: plane.stride_bytes });
        PictureMut { format: self.format, size: self.size, planes }
    }

    /// The written picture, with the colorimetry `color`.
    pub fn as_picture(&self, color: Colorimetry) -> Picture<'_> {
        let planes = self.planes.each_ref().map(|plane| Plane { data: &*plane.data, stride_bytes: plane.stride_bytes });
        Picture { format: self.format, size: self.size, color, planes }
    }

    /// The part of `size` at (`x`, `y`) as a picture of its own. `None` if it is empty or not
    /// wholly inside, or if `x` or `y` is odd (its first chroma sample would be shared with its
    /// neighbour).
    pub fn window(&mut self, x: u32, y: u32, size: Size) -> Option<PictureMut<'_>> {
        let inside = x.checked_add(size.width)? <= self.size.width && y.checked_add(size.height)? <= self.size.height;
        if !inside || size.is_empty() || !x.is_multiple_of(2) || !y.is_multiple_of(2) {
            return None;
        }
        let format = self.format;
        let mut index = 0;
        let planes = self.planes.each_mut().map(|plane| {
            // The bytes left of `x` and the rows above `y` are those of a picture of that size,
            // because both are even.
            let start = format.plane_extent(index, Size::new(x, y));
            index += 1;
            let data = plane.data.get_mut(start.1 * plane.stride_bytes + start.0..).unwrap_or_default();
            PlaneMut { data, stride_bytes: plane.stride_bytes }
        });
        PictureMut::new(format, size, planes).ok()
    }
}

/// Checks the (bytes, stride) of each plane against the needs of the format and size.
fn check(format: PixelFormat, size: Size, planes: [(usize, usize); 3]) -> Result<(), PictureError> {
    if size.is_empty() {
        return Err(PictureError::Empty(size));
    }
    for (index, (available, stride_bytes)) in planes.into_iter().enumerate().take(format.plane_count()) {
        let (row_bytes, rows) = format.plane_extent(index, size);
        if stride_bytes < row_bytes {
            return Err(PictureError::Stride { format, size, plane: index, stride_bytes, row_bytes });
        }
        let needed = stride_bytes.saturating_mul(rows - 1).saturating_add(row_bytes);
        if available < needed {
            return Err(PictureError::Short { format, size, plane: index, needed, available });
        }
    }
    Ok(())
}

/// Size in bytes of a picture of `format` and `size` without padding.
pub fn packed_bytes(format: PixelFormat, size: Size) -> usize {
    (0..format.plane_count())
        .map(|plane| {
            let (row_bytes, rows) = format.plane_extent(plane, size);
            row_bytes.saturating_mul(rows)
        })
        .fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_round_chroma_up() {
        let size = Size::new(5, 3);
        assert_eq!(PixelFormat::Yuyv.plane_extent(0, size), (12, 3));
        assert_eq!(PixelFormat::Nv12.plane_extent(1, size), (6, 2));
        assert_eq!(PixelFormat::I420.plane_extent(2, size), (3, 2));
        assert_eq!(PixelFormat::I422.plane_extent(2, size), (3, 3));
        assert_eq!(packed_bytes(PixelFormat::I420, size), 15 + 6 + 6);
    }

    #[test]
    fn a_packed_picture_needs_every_byte_and_no_more() {
        for format in PixelFormat::ALL {
            let size = Size::new(7, 5);
            let data = vec![0; packed_bytes(format, size)];
            assert!(Picture::packed(format, size, Colorimetry::default(), &data).is_ok(), "{format}");
            let short = &data[..data.len() - 1];
            let error = Picture::packed(format, size, Colorimetry::default(), short).expect_err("one byte short");
            assert!(matches!(error, PictureError::Short { .. }), "{format}: {error}");
        }
    }

    #[test]
    fn the_last_row_need_not_be_padded() {
        let data = vec![0; 16 * 2 + 5];
        let plane = Plane { data: &data, stride_bytes: 16 };
        let planes = [plane, Plane::default(), Plane::default()];
        let grey = PixelFormat::Grey;
        assert!(Picture::new(grey, Size::new(5, 3), Colorimetry::default(), planes).is_ok());
        assert!(Picture::new(grey, Size::new(6, 3), Colorimetry::default(), planes).is_err());
        let error = Picture::new(grey, Size::new(17, 1), Colorimetry::default(), planes).expect_err("stride");
        assert_eq!(
            error.to_string(),
            "plane 0 of a GREY picture of 17x1: a stride of 16 bytes is less than a row of 17"
        );
        assert_eq!(
            Picture::new(grey, Size::new(0, 3), Colorimetry::default(), planes).expect_err("empty").to_string(),
            "a picture of 0x3 has no pixels"
        );
    }

    #[test]
    fn a_picture_to_write_is_checked_like_one_to_read() {
        for format in PixelFormat::ALL {
            let size = Size::new(7, 5);
            let mut data = vec![0; packed_bytes(format, size)];
            let mut picture = PictureMut::packed(format, size, &mut data).expect("every byte is there");
            for plane in 0..format.plane_count() {
                let (row_bytes, rows) = format.plane_extent(plane, size);
                for y in 0..rows {
                    let row = picture.row_mut(plane, y);
                    assert_eq!(row.len(), row_bytes);
                    row.fill(1);
                }
            }
            assert!(data.iter().all(|&byte| byte == 1), "{format}: every byte belongs to one row");
            let short = data.len() - 1;
            assert!(PictureMut::packed(format, size, &mut data[..short]).is_err(), "{format}");
        }
    }

    #[test]
    fn a_window_is_written_and_nothing_else() {
        let size = Size::new(8, 6);
        for format in PixelFormat::ALL {
            let mut data = vec![0; packed_bytes(format, size)];
            let mut whole = PictureMut::packed(format, size, &mut data).expect("large enough");
            assert!(whole.window(3, 2, Size::new(4, 4)).is_none(), "odd");
            assert!(whole.window(2, 2, Size::new(4, 5)).is_none(), "too tall");
            assert!(whole.window(u32::MAX, 0, Size::new(4, 4)).is_none(), "overflow");
            let mut part = whole.window(4, 2, Size::new(4, 4)).expect("inside");
            for plane in 0..format.plane_count() {
                for y in 0..format.plane_extent(plane, part.size()).1 {
                    part.row_mut(plane, y).fill(1);
                }
            }
            let written: usize = data.iter().map(|&byte| usize::from(byte)).sum();
            assert_eq!(written, packed_bytes(format, Size::new(4, 4)), "{format}");
            assert_eq!(data[0], 0);
        }
    }
}
