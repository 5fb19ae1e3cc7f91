//! Pixel formats of devices: four-character codes, the position of colour planes in memory,
//! colorimetry. No I/O.
//!
//! Everything that a device reports is untrusted here. Sizes, strides and counts are checked with
//! arithmetic that cannot overflow. A format that does not fit its memory is refused with a
//! [`FormatError`] that names the value.

use std::fmt;
use std::ops::Range as ByteRange;

use super::jpeg;
use super::sys::{DeviceFormat, FIELD_ANY, FIELD_NONE, MAX_PLANES};
use portraitd_media::{Colorimetry, Matrix, PixelFormat, Range, Size};

/// The largest width and height that is accepted, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// A four-character code (fourcc) as the kernel stores it: the first character is in the lowest
/// byte, and bit 31 marks big-endian data.
///
/// ```
/// use portraitd_v4l2::formats::FourCc;
///
/// let code = FourCc::new(*b"YUYV");
/// assert_eq!(code.to_string(), "YUYV");
/// assert_eq!(code.0, 0x5659_5559);
/// assert!(code.encoding().is_some());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub u32);

impl FourCc {
    /// The code that consists of these ASCII `characters`.
    pub const fn new(characters: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(characters))
    }

    /// How the bytes of this format become a picture; `None` if the format is not supported.
    pub fn encoding(self) -> Option<Encoding> {
        TABLE.iter().find(|(code, _)| *code == self).map(|(_, encoding)| *encoding)
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in (self.0 & 0x7fff_ffff).to_le_bytes() {
            let character = if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' };
            write!(f, "{character}")?;
        }
        if self.0 & 0x8000_0000 != 0 { f.write_str("-BE") } else { Ok(()) }
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FourCc({self})")
    }
}

/// How the bytes of a four-character code become a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Uncompressed pixels, which are used in place.
    Raw {
        /// The pixel format of the picture.
        pixels: PixelFormat,
        /// True if each colour plane has a memory plane of its own (`NM12` and similar codes);
        /// false if all share one.
        separate: bool,
        /// True if Cr comes before Cb where [`PixelFormat`] has Cb first (`YV12`).
        swapped: bool,
    },
    /// One JPEG picture a frame, which is decoded to [`jpeg::FORMAT`].
    Jpeg,
}

impl Encoding {
    /// The pixel format of the frames: for JPEG, the format after decoding.
    pub const fn picture_format(self) -> PixelFormat {
        match self {
            Self::Raw { pixels, .. } => pixels,
            Self::Jpeg => jpeg::FORMAT,
        }
    }

    /// The number of memory planes of a frame, 1 to 3.
    pub const fn memory_planes(self) -> usize {
        match self {
            Self::Raw { pixels, separate: true, .. } => pixels.plane_count(),
            _ => 1,
        }
    }
}

const fn raw(pixels: PixelFormat) -> Encoding {
    Encoding::Raw { pixels, separate: false, swapped: false }
}

const fn separate(pixels: PixelFormat) -> Encoding {
    Encoding::Raw { pixels, separate: true, swapped: false }
}

/// Every supported code, the cheapest first: by bytes to read a pixel, then by work a pixel.
pub const TABLE: [(FourCc, Encoding); 24] = [
    (FourCc::new(*b"NV12"), raw(PixelFormat::Nv12)),
    (FourCc::new(*b"NM12"), separate(PixelFormat::Nv12)),
    (FourCc::new(*b"NV21"), raw(PixelFormat::Nv21)),
    (FourCc::new(*b"NM21"), separate(PixelFormat::Nv21)),
    (FourCc::new(*b"YU12"), raw(PixelFormat::I420)),
    (FourCc::new(*b"YM12"), separate(PixelFormat::I420)),
    (FourCc::new(*b"YV12"), Encoding::Raw { pixels: PixelFormat::I420, separate: false, swapped: true }),
    (FourCc::new(*b"YM21"), Encoding::Raw { pixels: PixelFormat::I420, separate: true, swapped: true }),
    (FourCc::new(*b"YUYV"), raw(PixelFormat::Yuyv)),
    (FourCc::new(*b"UYVY"), raw(PixelFormat::Uyvy)),
    (FourCc::new(*b"422P"), raw(PixelFormat::I422)),
    (FourCc::new(*b"YM16"), separate(PixelFormat::I422)),
    (FourCc::new(*b"RGB3"), raw(PixelFormat::Rgb24)),
    (FourCc::new(*b"BGR3"), raw(PixelFormat::Bgr24)),
    (FourCc::new(*b"XB24"), raw(PixelFormat::Rgbx32)),
    (FourCc::new(*b"AB24"), raw(PixelFormat::Rgbx32)),
    (FourCc::new(*b"XR24"), raw(PixelFormat::Bgrx32)),
    (FourCc::new(*b"AR24"), raw(PixelFormat::Bgrx32)),
    (FourCc::new(*b"BGR4"), raw(PixelFormat::Bgrx32)),
    (FourCc::new(*b"MJPG"), Encoding::Jpeg),
    (FourCc::new(*b"JPEG"), Encoding::Jpeg),
    // Names that some cameras use for the same bytes.
    (FourCc::new(*b"UYV2"), raw(PixelFormat::Uyvy)),
    (FourCc::new(*b"YUY2"), raw(PixelFormat::Yuyv)),
    (FourCc::new(*b"GREY"), raw(PixelFormat::Grey)),
];

/// The position of a code in [`TABLE`], from 0; the length of the table for codes that are not
/// supported.
pub fn preference(code: FourCc) -> usize {
    TABLE.iter().position(|(known, _)| *known == code).unwrap_or(TABLE.len())
}

/// Why the format that a device reports cannot be used. The text continues a sentence whose subject
/// is the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The code is not in [`TABLE`].
    #[error("delivers {code}, which is not supported")]
    Code {
        /// The code that the device reported.
        code: FourCc,
    },
    /// The pictures are not progressive.
    #[error("delivers interlaced pictures ({field_order}); only progressive pictures are supported")]
    Interlaced {
        /// The field order, as the V4L2 specification describes it.
        field_order: &'static str,
    },
    /// The picture is empty or too large.
    #[error("delivers pictures of {size}; sizes from 1x1 to {MAX_SIDE}x{MAX_SIDE} are supported")]
    Size {
        /// The size that the device reported, in pixels.
        size: Size,
    },
    /// The number of memory planes does not belong to the code.
    #[error("delivers {code} in {found} memory planes instead of {expected}")]
    MemoryPlanes {
        /// The code that the device reported.
        code: FourCc,
        /// The number that the device reported.
        found: usize,
        /// The number that the code has.
        expected: usize,
    },
    /// The distance between rows is shorter than a row.
    #[error(
        "reports that rows of plane {plane} of {code} {size} are {stride_bytes} bytes apart; they have {row_bytes}"
    )]
    ShortStride {
        /// The colour plane, from 0.
        plane: usize,
        /// The code that the device reported.
        code: FourCc,
        /// The size that the device reported, in pixels.
        size: Size,
        /// The stride that the device reported.
        stride_bytes: usize,
        /// The bytes of one row.
        row_bytes: usize,
    },
    /// A plane with this distance between rows cannot be addressed.
    #[error("reports that rows are {stride_bytes} bytes apart, which exceeds the address space")]
    LongStride {
        /// The stride that the device reported.
        stride_bytes: usize,
    },
    /// A colour plane does not fit in its memory plane.
    #[error(
        "reports that {available} bytes hold plane {plane} of {code} {size}, which needs {needed} from byte {offset}"
    )]
    ShortMemory {
        /// The colour plane, from 0.
        plane: usize,
        /// The code that the device reported.
        code: FourCc,
        /// The size that the device reported, in pixels.
        size: Size,
        /// The bytes of the memory plane, as the device reported them.
        available: usize,
        /// The bytes of the colour plane.
        needed: usize,
        /// The position of the colour plane in the memory plane, in bytes.
        offset: usize,
    },
}

/// The position of one colour plane in the memory planes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneLayout {
    /// The memory plane that holds it, from 0.
    pub memory: usize,
    /// Its first byte in that memory plane, without `data_offset`.
    pub offset: usize,
    /// Bytes from the start of one row to the start of the next.
    pub stride_bytes: usize,
    /// Bytes from the first pixel to the end of the last one.
    pub extent_bytes: usize,
}

impl PlaneLayout {
    /// The bytes of the colour plane in a memory plane of `memory_bytes` whose picture begins at
    /// `data_offset`; `None` if the colour plane does not fit.
    pub fn range(&self, data_offset: usize, memory_bytes: usize) -> Option<ByteRange<usize>> {
        let start = self.offset.checked_add(data_offset)?;
        let end = start.checked_add(self.extent_bytes)?;
        (end <= memory_bytes).then_some(start..end)
    }
}

/// The format of a device after its values were checked: what its buffers contain, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BufferLayout {
    /// The four-character code that the device reported.
    pub code: FourCc,
    /// How its bytes become a picture.
    pub encoding: Encoding,
    /// The size of the picture, in pixels.
    pub size: Size,
    /// The matrix and range of its colours.
    pub color: Colorimetry,
    /// The colour planes. For JPEG, the first one has the extent of the whole memory plane.
    pub planes: [PlaneLayout; 3],
    /// The number of memory planes of a frame.
    pub memory_planes: usize,
    /// The bytes of each memory plane, as the driver reported them.
    pub size_image: [usize; MAX_PLANES],
}

impl BufferLayout {
    /// Checks the format that a device reported.
    ///
    /// # Errors
    /// [`FormatError`]: an unsupported code, interlaced pictures, a size that is empty or too
    /// large, a stride shorter than a row, or a memory plane that cannot hold the picture.
    pub fn from_device(format: &DeviceFormat) -> Result<Self, FormatError> {
        let code = FourCc(format.pixel_format);
        let encoding = code.encoding().ok_or(FormatError::Code { code })?;
        if format.field != FIELD_NONE && format.field != FIELD_ANY {
            return Err(FormatError::Interlaced { field_order: field_name(format.field) });
        }
        let size = Size::new(format.width, format.height);
        if size.is_empty() || size.width > MAX_SIDE || size.height > MAX_SIDE {
            return Err(FormatError::Size { size });
        }
        let memory_planes = encoding.memory_planes();
        if format.plane_count != memory_planes {
            return Err(FormatError::MemoryPlanes { code, found: format.plane_count, expected: memory_planes });
        }
        let size_image = format.size_image.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut planes = [PlaneLayout::default(); 3];
        match encoding {
            Encoding::Jpeg => planes[0].extent_bytes = size_image[0],
            Encoding::Raw { pixels, separate, swapped } => {
                locate_planes(format, pixels, separate, &mut planes)?;
                if swapped {
                    planes.swap(1, 2);
                }
            }
        }
        for (index, plane) in planes.iter().enumerate().take(encoding.picture_format().plane_count()) {
            let available = size_image[plane.memory];
            if matches!(encoding, Encoding::Raw { .. }) && plane.range(0, available).is_none() {
                let (needed, offset) = (plane.extent_bytes, plane.offset);
                return Err(FormatError::ShortMemory { plane: index, code, size, available, needed, offset });
            }
        }
        let color = colorimetry(format, encoding);
        Ok(Self { code, encoding, size, color, planes, memory_planes, size_image })
    }

    /// Whether memory planes with `bytes_used` bytes, whose picture begins at `data_offset`, hold a
    /// whole picture. For JPEG: whether there is any byte at all.
    pub fn is_whole(&self, bytes_used: &[u32; MAX_PLANES], data_offset: &[u32; MAX_PLANES]) -> bool {
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        if self.is_compressed() {
            return bytes_used[0] > data_offset[0];
        }
        self.planes
            .iter()
            .take(self.encoding.picture_format().plane_count())
            .all(|plane| plane.range(size(data_offset[plane.memory]), size(bytes_used[plane.memory])).is_some())
    }

    /// Whether frames must be decoded before they are pictures.
    pub const fn is_compressed(&self) -> bool {
        matches!(self.encoding, Encoding::Jpeg)
    }
}

/// Writes the position of each colour plane of `pixels` to `planes`.
fn locate_planes(
    format: &DeviceFormat,
    pixels: PixelFormat,
    separate: bool,
    planes: &mut [PlaneLayout; 3],
) -> Result<(), FormatError> {
    let size = Size::new(format.width, format.height);
    let code = FourCc(format.pixel_format);
    let mut offset = 0_usize;
    for (index, plane) in planes.iter_mut().enumerate().take(pixels.plane_count()) {
        let (row_bytes, rows) = pixels.plane_extent(index, size);
        let memory = if separate { index } else { 0 };
        let reported = usize::try_from(format.bytes_per_line[memory]).unwrap_or(usize::MAX);
        // Planes that share a memory plane have one reported stride, the luma plane's. A chroma
        // plane that holds one component has half of it.
        let own = if separate || index == 0 {
            reported
        } else {
            match pixels {
                PixelFormat::I420 | PixelFormat::I422 => reported / 2,
                _ => reported,
            }
        };
        // A driver that reports 0 means rows without padding.
        let stride_bytes = if reported == 0 { row_bytes } else { own };
        if stride_bytes < row_bytes {
            return Err(FormatError::ShortStride { plane: index, code, size, stride_bytes, row_bytes });
        }
        let too_long = FormatError::LongStride { stride_bytes };
        let span = |rows: usize| stride_bytes.checked_mul(rows).ok_or(too_long);
        // The last row ends with its last pixel: the padding behind it may be missing.
        let extent_bytes = span(rows.saturating_sub(1))?.checked_add(row_bytes).ok_or(too_long)?;
        *plane = PlaneLayout { memory, offset: if separate { 0 } else { offset }, stride_bytes, extent_bytes };
        offset = offset.checked_add(span(rows)?).ok_or(too_long)?;
    }
    Ok(())
}

/// The field order that a number of `enum v4l2_field` stands for.
fn field_name(field: u32) -> &'static str {
    match field {
        2 => "top fields",
        3 => "bottom fields",
        4 => "interlaced",
        5 => "sequential, top first",
        6 => "sequential, bottom first",
        7 => "alternating fields",
        8 => "interlaced, top first",
        9 => "interlaced, bottom first",
        _ => "an unknown field order",
    }
}

/// The matrix and range of a format. Values that the driver leaves open have the defaults of the
/// V4L2 specification (chapter "Colorspaces").
fn colorimetry(format: &DeviceFormat, encoding: Encoding) -> Colorimetry {
    if matches!(encoding, Encoding::Jpeg) {
        return jpeg::COLOR;
    }
    let matrix = match (format.ycbcr_encoding, format.colorspace) {
        // BT.709, xvYCC 709, and SMPTE 240M, whose coefficients differ from BT.709 by at most 2 %.
        (2 | 4 | 8, _) | (0, 2 | 3 | 12) => Matrix::Bt709,
        (6 | 7, _) | (0, 10) => Matrix::Bt2020,
        _ => Matrix::Bt601,
    };
    let range = match (format.quantization, format.colorspace) {
        (1, _) | (0, 7) => Range::Full,
        // Grey is the raw count of a sensor or infrared camera, 0 to 255, although the
        // specification's default is limited.
        (0, _) if !encoding.picture_format().has_chroma() => Range::Full,
        _ => Range::Limited,
    };
    Colorimetry { matrix, range }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device(code: &[u8; 4], width: u32, height: u32, stride: u32, size_image: u32) -> DeviceFormat {
        let memory_planes = FourCc::new(*code).encoding().expect("known").memory_planes();
        DeviceFormat {
            width,
            height,
            pixel_format: FourCc::new(*code).0,
            field: FIELD_NONE,
            colorspace: 8,
            ycbcr_encoding: 0,
            quantization: 0,
            plane_count: memory_planes,
            bytes_per_line: [stride; MAX_PLANES],
            size_image: [size_image; MAX_PLANES],
        }
    }

    #[test]
    fn the_table_has_each_code_once() {
        for (index, (code, _)) in TABLE.iter().enumerate() {
            assert_eq!(preference(*code), index, "{code}");
        }
        assert_eq!(preference(FourCc::new(*b"H264")), TABLE.len());
        assert_eq!(FourCc::new(*b"Y16 ").to_string(), "Y16 ");
        assert_eq!(FourCc(FourCc::new(*b"Y16 ").0 | 0x8000_0000).to_string(), "Y16 -BE");
    }

    #[test]
    fn padded_rows_move_the_chroma() {
        let nv12 = BufferLayout::from_device(&device(b"NV12", 6, 4, 16, 96)).expect("fits");
        assert_eq!(nv12.planes[0], PlaneLayout { memory: 0, offset: 0, stride_bytes: 16, extent_bytes: 54 });
        assert_eq!(nv12.planes[1], PlaneLayout { memory: 0, offset: 64, stride_bytes: 16, extent_bytes: 22 });
        let yv12 = BufferLayout::from_device(&device(b"YV12", 6, 4, 16, 96)).expect("fits");
        assert_eq!((yv12.planes[1].offset, yv12.planes[2].offset), (80, 64), "Cr comes first");
        assert_eq!(yv12.planes[1].stride_bytes, 8);
        let nm12 = BufferLayout::from_device(&device(b"NM12", 6, 4, 16, 64)).expect("fits");
        assert_eq!(nm12.planes[1], PlaneLayout { memory: 1, offset: 0, stride_bytes: 16, extent_bytes: 22 });
    }

    #[test]
    fn a_picture_is_whole_when_its_last_pixel_is_there() {
        let nv12 = BufferLayout::from_device(&device(b"NV12", 6, 4, 16, 96)).expect("fits");
        let all = |bytes| [bytes; MAX_PLANES];
        assert!(nv12.is_whole(&all(86), &all(0)), "the padding of the last row may be missing");
        assert!(!nv12.is_whole(&all(85), &all(0)));
        assert!(!nv12.is_whole(&all(86), &all(1)));
        assert!(!nv12.is_whole(&all(86), &all(u32::MAX)));
        let jpeg = BufferLayout::from_device(&device(b"MJPG", 6, 4, 0, 96)).expect("fits");
        assert!(jpeg.is_whole(&all(1), &all(0)) && !jpeg.is_whole(&all(0), &all(0)));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |format: &DeviceFormat| BufferLayout::from_device(format).expect_err("refused").to_string();
        let good = device(b"YUYV", 640, 480, 1280, 614_400);
        assert!(BufferLayout::from_device(&good).is_ok());
        assert!(refused(&DeviceFormat { field: 4, ..good }).contains("interlaced pictures (interlaced)"));
        assert!(refused(&DeviceFormat { field: 7, ..good }).contains("alternating fields"));
        assert!(refused(&DeviceFormat { pixel_format: u32::from_le_bytes(*b"H264"), ..good }).contains("H264"));
        assert!(refused(&DeviceFormat { width: 0, ..good }).contains("0x480"));
        assert!(refused(&DeviceFormat { height: u32::MAX, ..good }).contains("4294967295"));
        assert!(
            refused(&DeviceFormat { bytes_per_line: [1279; 8], ..good }).contains("1279 bytes apart; they have 1280")
        );
        assert!(refused(&DeviceFormat { size_image: [614_399; 8], ..good }).contains("614399 bytes hold plane 0"));
        assert!(refused(&DeviceFormat { plane_count: 2, ..good }).contains("2 memory planes instead of 1"));
        let unpadded =
            BufferLayout::from_device(&DeviceFormat { bytes_per_line: [0; 8], ..good }).expect("means no padding");
        assert_eq!(unpadded.planes[0].stride_bytes, 1280);
    }

    #[test]
    fn colour_is_what_the_driver_says_and_else_what_the_specification_says() {
        let color = |code: &[u8; 4], colorspace, ycbcr_encoding, quantization| {
            let format = device(code, 2, 2, 16, 4096);
            BufferLayout::from_device(&DeviceFormat { colorspace, ycbcr_encoding, quantization, ..format })
                .expect("fits")
                .color
        };
        let of = |matrix, range| Colorimetry { matrix, range };
        assert_eq!(color(b"YUYV", 8, 0, 0), of(Matrix::Bt601, Range::Limited), "sRGB, as UVC cameras say");
        assert_eq!(color(b"YUYV", 3, 0, 0), of(Matrix::Bt709, Range::Limited));
        assert_eq!(color(b"NV12", 3, 1, 1), of(Matrix::Bt601, Range::Full), "said beats default");
        assert_eq!(color(b"NV12", 10, 0, 2), of(Matrix::Bt2020, Range::Limited));
        assert_eq!(color(b"YUYV", 7, 0, 0), of(Matrix::Bt601, Range::Full), "JPEG");
        assert_eq!(color(b"RGB3", 8, 0, 0).range, Range::Full);
        assert_eq!(color(b"GREY", 8, 0, 0).range, Range::Full);
        assert_eq!(color(b"MJPG", 8, 2, 2), of(Matrix::Bt601, Range::Full), "decoded");
    }

    proptest! {
        /// Wrong values from a device cause no panic, and every accepted layout stays inside the
        /// memory that the device named.
        #[test]
        fn a_layout_never_leaves_its_memory(
            code in (0..TABLE.len()).prop_map(|index| TABLE[index].0),
            width in prop_oneof![0_u32..40, any::<u32>()],
            height in prop_oneof![0_u32..40, any::<u32>()],
            strides in prop::array::uniform8(prop_oneof![0_u32..200, any::<u32>()]),
            sizes in prop::array::uniform8(prop_oneof![0_u32..9000, any::<u32>()]),
            plane_count in 0_usize..=8,
            field in 0_u32..10,
            data_offset in prop_oneof![0_usize..100, any::<usize>()],
        ) {
            let format = DeviceFormat {
                width, height, pixel_format: code.0, field, colorspace: 8, ycbcr_encoding: 0, quantization: 0,
                plane_count, bytes_per_line: strides, size_image: sizes,
            };
            if let Ok(layout) = BufferLayout::from_device(&format) {
                for plane in layout.planes.iter().take(layout.encoding.picture_format().plane_count()) {
                    let memory = layout.size_image[plane.memory];
                    prop_assert!(plane.range(0, memory).is_some());
                    if let Some(range) = plane.range(data_offset, memory) {
                        prop_assert!(range.end <= memory && range.start >= data_offset);
                    }
                }
            }
        }
    }
}
