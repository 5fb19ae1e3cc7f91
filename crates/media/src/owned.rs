//! A picture that owns its memory. Decoders return it, and renderers draw to it.

use portraitd_kernels::picture::{Colorimetry, Picture, PictureError, PictureMut, PixelFormat, Size, packed_bytes};

/// A picture and its memory: packed rows, one plane after the other, [`packed_bytes`] bytes in
/// total.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedPicture {
    format: PixelFormat,
    size: Size,
    color: Colorimetry,
    bytes: Vec<u8>,
}

impl OwnedPicture {
    /// A picture in `bytes`. Bytes after its end are removed.
    ///
    /// # Errors
    /// [`PictureError`] if the size is empty or `bytes` is too short for it.
    pub fn new(format: PixelFormat, size: Size, color: Colorimetry, mut bytes: Vec<u8>) -> Result<Self, PictureError> {
        Picture::packed(format, size, color, &bytes)?;
        bytes.truncate(packed_bytes(format, size));
        Ok(Self { format, size, color, bytes })
    }

    /// A picture whose every byte is 0 (black for RGB and grey).
    ///
    /// # Errors
    /// [`PictureError::Empty`] if the size is empty.
    pub fn zeroed(format: PixelFormat, size: Size, color: Colorimetry) -> Result<Self, PictureError> {
        Self::new(format, size, color, vec![0; packed_bytes(format, size)])
    }

    /// The picture, for reading.
    pub fn as_picture(&self) -> Picture<'_> {
        Picture::packed(self.format, self.size, self.color, &self.bytes).expect("checked by `OwnedPicture::new`")
    }

    /// The picture, for drawing. It has no colorimetry.
    pub fn as_picture_mut(&mut self) -> PictureMut<'_> {
        PictureMut::packed(self.format, self.size, &mut self.bytes).expect("checked by `OwnedPicture::new`")
    }

    /// The pixel format: planes and order of components.
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// The size in pixels.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The matrix and range of the colours.
    pub const fn color(&self) -> Colorimetry {
        self.color
    }

    /// All bytes: packed rows, one plane after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, for writing: packed rows, one plane after the other.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The memory of the picture.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The packed bytes of plane `plane`; empty if the format has no such plane.
    pub fn plane(&self, plane: usize) -> &[u8] {
        &self.bytes[self.plane_range(plane)]
    }

    /// The packed bytes of plane `plane`, for writing; empty if the format has no such plane.
    pub fn plane_mut(&mut self, plane: usize) -> &mut [u8] {
        let range = self.plane_range(plane);
        &mut self.bytes[range]
    }

    fn plane_range(&self, plane: usize) -> std::ops::Range<usize> {
        let plane_bytes = |plane| {
            let (row_bytes, rows) = self.format.plane_extent(plane, self.size);
            row_bytes * rows
        };
        let start: usize = (0..plane.min(self.format.plane_count())).map(plane_bytes).sum();
        start..start + if plane < 3 { plane_bytes(plane) } else { 0 }
    }
}

impl std::fmt::Debug for OwnedPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnedPicture({} {}, {:?})", self.format, self.size, self.color)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_follow_each_other_and_cover_every_byte() {
        for format in PixelFormat::ALL {
            let size = Size::new(5, 3);
            let mut picture = OwnedPicture::zeroed(format, size, Colorimetry::default()).expect("has pixels");
            for plane in 0..4 {
                picture.plane_mut(plane).fill(u8::try_from(plane + 1).expect("small"));
            }
            assert!(picture.bytes().iter().all(|&byte| byte != 0), "{format}: every byte belongs to a plane");
            for plane in 0..3 {
                let borrowed = picture.as_picture().plane(plane).data;
                assert_eq!(borrowed.first(), picture.plane(plane).first(), "{format} plane {plane}");
            }
        }
    }

    #[test]
    fn missing_bytes_are_an_error_and_extra_bytes_are_removed() {
        let size = Size::new(3, 2);
        let make = |bytes| OwnedPicture::new(PixelFormat::Rgb24, size, Colorimetry::default(), vec![7; bytes]);
        assert!(matches!(make(17), Err(PictureError::Short { needed: 18, available: 17, .. })));
        assert_eq!(make(20).expect("long enough").bytes().len(), 18);
        let empty = OwnedPicture::zeroed(PixelFormat::Grey, Size::new(0, 9), Colorimetry::default());
        assert!(matches!(empty, Err(PictureError::Empty(_))));
    }
}
