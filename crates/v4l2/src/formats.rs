//! What a device's formats mean: four-character codes, where colour planes lie in memory, colour spaces. Pure.
//!
//! Everything a device says is untrusted here: sizes, strides and counts are checked with arithmetic that cannot
//! overflow, and what does not fit is refused with a reason that names it.

use std::fmt;
use std::ops::Range as ByteRange;

use super::sys::{DeviceFormat, FIELD_ANY, FIELD_NONE, MAX_PLANES};
use portraitd_media::{Colorimetry, Matrix, PixelFormat, Range, Size};

/// The largest picture side we take, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// A four-character code as the kernel holds it: the first character in the lowest byte, big-endian data marked by bit 31.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub u32);

impl FourCc {
    /// The code spelled by `characters`.
    pub const fn new(characters: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(characters))
    }

    /// What the pixels are, where we can use them.
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

/// How a four-character code's bytes become a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Pixels that are used where they lie.
    Raw {
        /// The picture's format.
        pixels: PixelFormat,
        /// Whether each colour plane has memory of its own (`NM12` and its kind), or all share one.
        separate: bool,
        /// Whether Cr comes before Cb where our format has Cb first (`YV12`).
        swapped: bool,
    },
    /// A JPEG picture a frame, decoded to [`PixelFormat::Rgb24`].
    Jpeg,
}

impl Encoding {
    /// The format of the pictures that come of it.
    pub const fn picture_format(self) -> PixelFormat {
        match self {
            Self::Raw { pixels, .. } => pixels,
            Self::Jpeg => PixelFormat::Rgb24,
        }
    }

    /// The number of memory planes of a frame.
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

/// Every code that we take, the ones that cost least first (bytes a pixel to read, then work a pixel).
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
    // Some cameras' own names for the same bytes.
    (FourCc::new(*b"UYV2"), raw(PixelFormat::Uyvy)),
    (FourCc::new(*b"YUY2"), raw(PixelFormat::Yuyv)),
    (FourCc::new(*b"GREY"), raw(PixelFormat::Grey)),
];

/// Where a code stands in [`TABLE`]; codes that we do not take come last.
pub fn preference(code: FourCc) -> usize {
    TABLE.iter().position(|(known, _)| *known == code).unwrap_or(TABLE.len())
}

/// Where one colour plane lies in a frame's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanePlace {
    /// Which memory plane.
    pub memory: usize,
    /// Where it begins in it, `data_offset` not included.
    pub offset: usize,
    /// Bytes from row to row.
    pub stride_bytes: usize,
    /// Bytes from the first pixel to the last one.
    pub extent_bytes: usize,
}

impl PlanePlace {
    /// The bytes of the plane in its memory, which begins `data_offset` bytes late; nothing where `memory_bytes` are too
    /// few.
    pub fn range(&self, data_offset: usize, memory_bytes: usize) -> Option<ByteRange<usize>> {
        let start = self.offset.checked_add(data_offset)?;
        let end = start.checked_add(self.extent_bytes)?;
        (end <= memory_bytes).then_some(start..end)
    }
}

/// A device's format, checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// The code.
    pub code: FourCc,
    /// What it means.
    pub encoding: Encoding,
    /// Size of the picture.
    pub size: Size,
    /// What its numbers mean.
    pub color: Colorimetry,
    /// Where the colour planes lie. Of a compressed format the first one has the extent of the whole memory.
    pub planes: [PlanePlace; 3],
    /// Memory planes of a frame.
    pub memory_planes: usize,
    /// Bytes of each memory plane, as the driver says.
    pub size_image: [usize; MAX_PLANES],
}

impl Layout {
    /// Whether memory planes with so many bytes in use, of which the first `data_offset` are not of the picture, hold a
    /// whole picture. Of a compressed format: whether there is anything at all.
    pub fn is_whole(&self, bytes_used: &[u32; MAX_PLANES], data_offset: &[u32; MAX_PLANES]) -> bool {
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        if self.is_compressed() {
            return bytes_used[0] > data_offset[0];
        }
        self.planes
            .iter()
            .take(self.encoding.picture_format().plane_count())
            .all(|place| place.range(size(data_offset[place.memory]), size(bytes_used[place.memory])).is_some())
    }

    /// Whether frames have to be decoded.
    pub const fn is_compressed(&self) -> bool {
        matches!(self.encoding, Encoding::Jpeg)
    }
}

/// Turns a device's format into a [`Layout`].
///
/// # Errors
/// A reason, for a person: an unknown code, fields, a size that is empty or too large, a stride shorter than a row, a
/// memory that cannot hold the picture.
pub fn layout(format: &DeviceFormat) -> Result<Layout, String> {
    let code = FourCc(format.pixel_format);
    let Some(encoding) = code.encoding() else {
        return Err(format!("delivers {code}, which portraitd does not take"));
    };
    if format.field != FIELD_NONE && format.field != FIELD_ANY {
        return Err(format!(
            "delivers interlaced pictures ({}); portraitd takes progressive ones alone",
            field_name(format.field)
        ));
    }
    let size = Size::new(format.width, format.height);
    if size.is_empty() || size.width > MAX_SIDE || size.height > MAX_SIDE {
        return Err(format!("delivers pictures of {size}"));
    }
    let memory_planes = encoding.memory_planes();
    if format.plane_count != memory_planes {
        return Err(format!("delivers {code} in {} memory planes instead of {memory_planes}", format.plane_count));
    }
    let size_image = format.size_image.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let mut planes = [PlanePlace::default(); 3];
    match encoding {
        Encoding::Jpeg => planes[0].extent_bytes = size_image[0],
        Encoding::Raw { pixels, separate, swapped } => {
            place_planes(format, pixels, separate, &mut planes)?;
            if swapped {
                planes.swap(1, 2);
            }
        }
    }
    for (index, plane) in planes.iter().enumerate().take(encoding.picture_format().plane_count()) {
        if matches!(encoding, Encoding::Raw { .. }) && plane.range(0, size_image[plane.memory]).is_none() {
            return Err(format!(
                "says that {} bytes hold plane {index} of {code} {size}, which needs {} from byte {}",
                size_image[plane.memory], plane.extent_bytes, plane.offset
            ));
        }
    }
    let color = colorimetry(format, encoding);
    Ok(Layout { code, encoding, size, color, planes, memory_planes, size_image })
}

fn place_planes(
    format: &DeviceFormat,
    pixels: PixelFormat,
    separate: bool,
    planes: &mut [PlanePlace; 3],
) -> Result<(), String> {
    let size = Size::new(format.width, format.height);
    let code = FourCc(format.pixel_format);
    let mut offset = 0_usize;
    for (index, plane) in planes.iter_mut().enumerate().take(pixels.plane_count()) {
        let (row_bytes, rows) = pixels.plane_extent(index, size);
        let memory = if separate { index } else { 0 };
        let said = usize::try_from(format.bytes_per_line[memory]).unwrap_or(usize::MAX);
        // One stride for planes in one memory is the luma's: chroma that is a plane each has half of it.
        let own = if separate || index == 0 {
            said
        } else {
            match pixels {
                PixelFormat::I420 | PixelFormat::I422 => said / 2,
                _ => said,
            }
        };
        // A driver that leaves the stride out means rows without padding.
        let stride_bytes = if said == 0 { row_bytes } else { own };
        if stride_bytes < row_bytes {
            return Err(format!(
                "says that rows of plane {index} of {code} {size} are {stride_bytes} bytes apart; they have {row_bytes}"
            ));
        }
        let span = |rows: usize| stride_bytes.checked_mul(rows);
        let (Some(all), Some(before_last)) = (span(rows), span(rows.saturating_sub(1))) else {
            return Err(format!("says that rows are {stride_bytes} bytes apart"));
        };
        let Some(extent_bytes) = before_last.checked_add(row_bytes) else {
            return Err(format!("says that rows are {stride_bytes} bytes apart"));
        };
        *plane = PlanePlace { memory, offset: if separate { 0 } else { offset }, stride_bytes, extent_bytes };
        offset = offset.checked_add(all).ok_or_else(|| format!("says that rows are {stride_bytes} bytes apart"))?;
    }
    Ok(())
}

/// The name of a field order in the V4L2 specification.
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

/// Matrix and range of a format, with V4L2's defaults (its specification, "Colorspaces") where the driver leaves them open.
fn colorimetry(format: &DeviceFormat, encoding: Encoding) -> Colorimetry {
    if matches!(encoding, Encoding::Jpeg) {
        // The decoder gives RGB.
        return Colorimetry { matrix: Matrix::Bt601, range: Range::Full };
    }
    let matrix = match (format.ycbcr_encoding, format.colorspace) {
        // BT.709 and xvYCC 709; SMPTE 240M is within 2 % of it.
        (2 | 4 | 8, _) | (0, 2 | 3 | 12) => Matrix::Bt709,
        (6 | 7, _) | (0, 10) => Matrix::Bt2020,
        _ => Matrix::Bt601,
    };
    let range = match (format.quantization, format.colorspace) {
        (1, _) | (0, 7) => Range::Full,
        // Grey is what a sensor or an infrared camera counts, 0 to 255, though the specification's default is the other.
        (0, _) if encoding.picture_format().is_rgb() || encoding.picture_format() == PixelFormat::Grey => Range::Full,
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
        let nv12 = layout(&device(b"NV12", 6, 4, 16, 96)).expect("fits");
        assert_eq!(nv12.planes[0], PlanePlace { memory: 0, offset: 0, stride_bytes: 16, extent_bytes: 54 });
        assert_eq!(nv12.planes[1], PlanePlace { memory: 0, offset: 64, stride_bytes: 16, extent_bytes: 22 });
        let yv12 = layout(&device(b"YV12", 6, 4, 16, 96)).expect("fits");
        assert_eq!((yv12.planes[1].offset, yv12.planes[2].offset), (80, 64), "Cr comes first");
        assert_eq!(yv12.planes[1].stride_bytes, 8);
        let nm12 = layout(&device(b"NM12", 6, 4, 16, 64)).expect("fits");
        assert_eq!(nm12.planes[1], PlanePlace { memory: 1, offset: 0, stride_bytes: 16, extent_bytes: 22 });
    }

    #[test]
    fn a_picture_is_whole_when_its_last_pixel_is_there() {
        let nv12 = layout(&device(b"NV12", 6, 4, 16, 96)).expect("fits");
        let all = |bytes| [bytes; MAX_PLANES];
        assert!(nv12.is_whole(&all(86), &all(0)), "the padding of the last row may be missing");
        assert!(!nv12.is_whole(&all(85), &all(0)));
        assert!(!nv12.is_whole(&all(86), &all(1)));
        assert!(!nv12.is_whole(&all(86), &all(u32::MAX)));
        let jpeg = layout(&device(b"MJPG", 6, 4, 0, 96)).expect("fits");
        assert!(jpeg.is_whole(&all(1), &all(0)) && !jpeg.is_whole(&all(0), &all(0)));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |format: &DeviceFormat| layout(format).expect_err("refused");
        let good = device(b"YUYV", 640, 480, 1280, 614_400);
        assert!(layout(&good).is_ok());
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
        let unpadded = layout(&DeviceFormat { bytes_per_line: [0; 8], ..good }).expect("means no padding");
        assert_eq!(unpadded.planes[0].stride_bytes, 1280);
    }

    #[test]
    fn colour_is_what_the_driver_says_and_else_what_the_specification_says() {
        let color = |code: &[u8; 4], colorspace, ycbcr_encoding, quantization| {
            let format = device(code, 2, 2, 16, 4096);
            layout(&DeviceFormat { colorspace, ycbcr_encoding, quantization, ..format }).expect("fits").color
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
        /// No lie of a device panics, and every layout that is taken stays inside the memory that the device named.
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
            if let Ok(layout) = layout(&format) {
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
