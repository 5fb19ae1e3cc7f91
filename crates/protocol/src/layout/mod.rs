//! Version 1 of the ring: the offset of every field, and the validation of a header that another
//! process wrote.
//!
//! Every number is little-endian. A ring is one header of 4096 bytes, followed by `slot_count`
//! slots of `slot_bytes` each. A slot is a header of 512 bytes, followed by the planes. Offsets of
//! planes count from the start of the slot.
//!
//! `docs/design/ring.md` specifies the fields. Tests compare the C header `portraitd.h` with the
//! constants here, and the constants with a frozen copy of version 1.

use crate::pixel::{Colorimetry, Matrix, PixelFormat, Range, Size};
use crate::words::StreamKind;

/// The first eight bytes of every ring.
pub const MAGIC: [u8; 8] = *b"PORTRAIT";
/// The version of the layout that this crate reads and writes.
pub const VERSION: u32 = 1;
/// Size of the ring's header, which is also the offset of the first slot, in bytes.
pub const HEADER_BYTES: usize = 4096;
/// Size of a slot's header, which is also the least offset of a plane, in bytes.
pub const SLOT_HEADER_BYTES: usize = 512;
/// Offsets of slots and planes, and strides, are multiples of this number of bytes.
pub const ALIGNMENT: usize = 64;
/// The minimum number of slots: one being written, the newest, and two that slow readers are still
/// copying.
pub const MIN_SLOTS: u32 = 4;
/// The maximum number of slots that a reader accepts.
pub const MAX_SLOTS: u32 = 64;
/// The maximum width and the maximum height that a reader accepts, in pixels.
pub const MAX_SIDE: u32 = 16384;
/// The maximum number of people in a slot.
pub const MAX_PEOPLE: usize = 16;
/// The most bytes of a ring that a provider offers.
pub const MAX_OFFERED_BYTES: usize = 64 << 20;
/// The number of planes for which the header has space.
pub const MAX_PLANES: usize = 4;

/// Offsets in the ring's header, in bytes. Each constant's first words are the type of the field.
pub mod header {
    /// `[u8; 8]`: [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// `u32`: [`super::VERSION`].
    pub const VERSION: usize = 8;
    /// `u32`: [`super::HEADER_BYTES`].
    pub const HEADER_BYTES: usize = 12;
    /// `u32`: number of slots.
    pub const SLOT_COUNT: usize = 16;
    /// `u32`: bytes from one slot to the next.
    pub const SLOT_BYTES: usize = 20;
    /// `u32`: a number that increases when the source's size or format changes; also in the reply
    /// of `Attach` and in the property `Camera1.Generation`.
    pub const GENERATION: usize = 24;
    /// `u32`: the stream: 1 mask, 2 view, 3 composite, 4 source.
    pub const STREAM: usize = 28;
    /// `[u8; 4]`: the four-character code of the pixel format.
    pub const FOURCC: usize = 32;
    /// `u32`: width of the picture in pixels.
    pub const WIDTH: usize = 36;
    /// `u32`: height of the picture in rows.
    pub const HEIGHT: usize = 40;
    /// `u32`: number of planes, 1 to 3.
    pub const PLANES: usize = 44;
    /// `[u32; 4]`: bytes from the start of a slot to each plane.
    pub const PLANE_OFFSET: usize = 48;
    /// `[u32; 4]`: bytes from one row to the next, for each plane.
    pub const PLANE_STRIDE: usize = 64;
    /// `[u32; 4]`: number of rows of each plane.
    pub const PLANE_ROWS: usize = 80;
    /// `u32`: the color matrix: 0 not applicable (RGB and masks), 1 BT.601, 2 BT.709, 3 BT.2020.
    pub const COLOR_MATRIX: usize = 96;
    /// `u32`: the color range: 0 not applicable, 1 limited, 2 full.
    pub const COLOR_RANGE: usize = 100;
    /// Atomic `u64`: index of the newest complete frame, counted from 1; 0 before the first frame.
    pub const LATEST: usize = 128;
    /// Atomic `u32`: not 0 when no more frames will come. Clients then attach again.
    pub const CLOSED: usize = 192;
}

/// Offsets in a slot's header, in bytes. Each constant's first words are the type of the field.
pub mod slot {
    /// Atomic `u64`: odd while the slot is being written, `2 * index` while it holds frame `index`.
    pub const LOCK: usize = 0;
    /// `u64`: the camera's sequence number of the frame.
    pub const SEQUENCE: usize = 8;
    /// `u64`: capture timestamp, `CLOCK_MONOTONIC` nanoseconds.
    pub const CAPTURE_NS: usize = 16;
    /// `u64`: time of publication, `CLOCK_MONOTONIC` nanoseconds.
    pub const PUBLISH_NS: usize = 24;
    /// `u64`: sequence number of the frame that the mask was made from.
    pub const MASK_SEQUENCE: usize = 32;
    /// `u64`: how much older that frame is than this one, in nanoseconds.
    pub const MASK_AGE_NS: usize = 40;
    /// `[f32; 4]`: x, y, width, height of the part of the source that the picture shows, in source
    /// pixels.
    pub const CROP: usize = 48;
    /// `u32`: [`super::SlotFlags`].
    pub const FLAGS: usize = 64;
    /// `u32`: number of people that follow, at most [`super::MAX_PEOPLE`].
    pub const PEOPLE: usize = 68;
    /// First person: `(id u32, x, y, width, height f32, confidence f32)`, the box in source pixels.
    /// The others follow.
    pub const PERSON: usize = 72;
    /// Size of one person in bytes. This is a size and not an offset.
    pub const PERSON_BYTES: usize = 24;
}

bitflags::bitflags! {
    /// The flags of a slot. Bits that this version does not know are kept, and mean nothing to it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SlotFlags: u32 {
        /// The frame has a mask: mask sequence, mask age and people are valid.
        const MASK_VALID = 1 << 0;
        /// Nothing has moved since the mask was made, so it was retained. It is valid whatever its
        /// age.
        const STILL = 1 << 1;
        /// The mask's observation is more than 100 ms older than the frame.
        const STALE = 1 << 2;
        /// Inference is reduced to stay within its time budget, or there are no masks.
        const DEGRADED = 1 << 3;
        /// The camera's privacy shutter is closed, and the picture does not come from the camera.
        const PRIVATE = 1 << 4;
    }
}

const _: () = {
    assert!(header::PLANE_STRIDE == header::PLANE_OFFSET + 4 * MAX_PLANES);
    assert!(header::PLANE_ROWS == header::PLANE_STRIDE + 4 * MAX_PLANES);
    assert!(header::COLOR_MATRIX == header::PLANE_ROWS + 4 * MAX_PLANES);
    assert!(header::LATEST.is_multiple_of(ALIGNMENT) && header::CLOSED.is_multiple_of(ALIGNMENT));
    assert!(header::CLOSED + 4 <= HEADER_BYTES);
    assert!(slot::PERSON == slot::PEOPLE + 4);
    assert!(slot::PERSON + MAX_PEOPLE * slot::PERSON_BYTES <= SLOT_HEADER_BYTES);
    assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT) && SLOT_HEADER_BYTES.is_multiple_of(ALIGNMENT));
};

/// A person in a frame, as slots describe people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Person {
    /// The person's number, which stays the same from frame to frame while the person is tracked.
    pub id: u32,
    /// The box of the person: x, y, width, height in source pixels.
    pub rectangle: [f32; 4],
    /// Mean probability of the mask within the person, 0 to 1. Under 0.5, the person is too small
    /// for the net.
    pub confidence: f32,
}

/// Where one plane lies in each slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneLayout {
    /// Bytes from the start of the slot to the plane, a multiple of [`ALIGNMENT`].
    pub offset: usize,
    /// Bytes from one row to the next, a multiple of [`ALIGNMENT`].
    pub stride: usize,
    /// Number of rows.
    pub rows: usize,
    /// Bytes of the picture in a row. The rest, up to `stride`, is padding.
    pub row_bytes: usize,
}

/// The validated layout of a ring: every plane lies within its slot, and every slot within
/// [`RingLayout::total_bytes`].
///
/// ```
/// use portraitd_protocol::{Colorimetry, PixelFormat, RingLayout, Size, StreamKind};
///
/// let size = Size::new(640, 360);
/// let color = Colorimetry::default();
/// let layout = RingLayout::new(StreamKind::View, 1, PixelFormat::Nv12, color, size, 4)?;
/// let header = layout.encode();
/// let parsed = RingLayout::parse(&header, layout.total_bytes() as u64)?;
/// assert_eq!(parsed.size, size);
/// assert_eq!(parsed.planes()[1].rows, 180);
/// # Ok::<(), portraitd_protocol::layout::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// The stream that the ring carries.
    pub stream: StreamKind,
    /// Increases when the source's size or format changes.
    pub generation: u32,
    /// The pixel format.
    pub format: PixelFormat,
    /// The color matrix and range; the default for RGB formats and masks, where they do not apply.
    pub color: Colorimetry,
    /// Size of the picture.
    pub size: Size,
    /// Number of slots, [`MIN_SLOTS`] to [`MAX_SLOTS`].
    pub slot_count: u32,
    /// Bytes from one slot to the next.
    pub slot_bytes: usize,
    planes: [PlaneLayout; MAX_PLANES],
}

/// Why a ring cannot be laid out, or why the header of a ring is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The memory is smaller than the ring that its header describes.
    #[error("{what} needs {needed} bytes and the memory has {available}")]
    Short {
        /// The part of the ring that does not fit.
        what: &'static str,
        /// The size that the part needs, in bytes.
        needed: u64,
        /// The size of the memory, in bytes.
        available: u64,
    },
    /// The first eight bytes are not [`MAGIC`].
    #[error("the memory is not a ring: it does not begin with PORTRAIT")]
    Magic,
    /// The ring has this version, which is not [`VERSION`].
    #[error("the ring has version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// A field is out of its range.
    #[error("{field} is {value}, which is not {expected}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// The value found or asked for.
        value: u64,
        /// The valid values.
        expected: &'static str,
    },
    /// The four-character code is not that of a known pixel format.
    #[error("unknown pixel format {0:?}")]
    Format([u8; 4]),
    /// A field of a plane is not valid.
    #[error("plane {plane}: {field} is {value}, which is not {expected}")]
    Plane {
        /// Index of the plane, from 0.
        plane: usize,
        /// The name of the field.
        field: &'static str,
        /// The value found or asked for.
        value: u64,
        /// The valid values.
        expected: &'static str,
    },
}

fn u32_at(bytes: &[u8; HEADER_BYTES], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(word)
}

fn put_u32(bytes: &mut [u8; HEADER_BYTES], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

/// Converts a `u32` to `usize`. The conversion never loses bits: targets with 16-bit pointers do
/// not compile.
pub const fn to_usize(value: u32) -> usize {
    const { assert!(size_of::<usize>() >= 4) };
    value as usize
}

impl RingLayout {
    /// Lays out a ring of `slot_count` slots. The planes of a slot follow one another, with offsets
    /// and strides at multiples of [`ALIGNMENT`].
    ///
    /// # Errors
    /// [`LayoutError::Field`] if a side is 0 or exceeds [`MAX_SIDE`], if there are fewer than
    /// [`MIN_SLOTS`] or more than [`MAX_SLOTS`] slots, if a slot would be 4 GiB or larger, or if
    /// the ring is too large for this machine to map.
    pub fn new(
        stream: StreamKind,
        generation: u32,
        format: PixelFormat,
        color: Colorimetry,
        size: Size,
        slot_count: u32,
    ) -> Result<Self, LayoutError> {
        check_size(size)?;
        check_range("slot count", slot_count, MIN_SLOTS, MAX_SLOTS, "4 to 64")?;
        let alignment = ALIGNMENT as u64;
        let mut planes = [PlaneLayout::default(); MAX_PLANES];
        let mut end = SLOT_HEADER_BYTES as u64;
        let too_large = |value| LayoutError::Field { field: "slot bytes", value, expected: "under 4 GiB" };
        for (index, plane) in planes.iter_mut().enumerate().take(format.plane_count()) {
            let (row_bytes, rows) = plane_extent(format, index, size);
            let stride = row_bytes.next_multiple_of(alignment);
            let narrow = |value: u64| u32::try_from(value).map(to_usize).map_err(|_| too_large(value));
            *plane = PlaneLayout {
                offset: narrow(end)?,
                stride: narrow(stride)?,
                rows: narrow(rows)?,
                row_bytes: narrow(row_bytes)?,
            };
            end += stride * rows;
        }
        let slot_bytes = u32::try_from(end).map(to_usize).map_err(|_| too_large(end))?;
        let layout = Self { stream, generation, format, color, size, slot_count, slot_bytes, planes };
        layout.checked_total()?;
        Ok(layout)
    }

    fn checked_total(&self) -> Result<usize, LayoutError> {
        let total = HEADER_BYTES as u64 + u64::from(self.slot_count) * self.slot_bytes as u64;
        usize::try_from(total).ok().filter(|total| isize::try_from(*total).is_ok()).ok_or(LayoutError::Field {
            field: "ring bytes",
            value: total,
            expected: "a size that this machine can map",
        })
    }

    /// Size of the whole ring, header and slots, in bytes.
    pub fn total_bytes(&self) -> usize {
        self.checked_total().expect("checked when the layout was made")
    }

    /// The planes of the format, 1 to 3.
    pub fn planes(&self) -> &[PlaneLayout] {
        &self.planes[..self.format.plane_count()]
    }

    /// Bytes from the start of the ring to slot `slot`, which counts from 0.
    pub const fn slot_offset(&self, slot: usize) -> usize {
        HEADER_BYTES + slot * self.slot_bytes
    }

    /// The name of the color matrix on D-Bus: `601`, `709` or `2020`; empty for RGB formats and
    /// masks.
    pub const fn matrix_name(&self) -> &'static str {
        if self.format.has_chroma() { self.color.matrix.name() } else { "" }
    }

    /// The name of the color range on D-Bus: `limited` or `full`; empty for RGB formats and masks.
    pub const fn range_name(&self) -> &'static str {
        if self.format.has_chroma() { self.color.range.name() } else { "" }
    }

    /// Encodes the header of a new ring with this layout, which has no frame yet and is not closed.
    pub fn encode(&self) -> Box<[u8; HEADER_BYTES]> {
        let narrow = |value: usize| u32::try_from(value).expect("checked when the layout was made");
        let mut bytes = Box::new([0; HEADER_BYTES]);
        bytes[header::MAGIC..header::MAGIC + 8].copy_from_slice(&MAGIC);
        put_u32(&mut bytes, header::VERSION, VERSION);
        put_u32(&mut bytes, header::HEADER_BYTES, narrow(HEADER_BYTES));
        put_u32(&mut bytes, header::SLOT_COUNT, self.slot_count);
        put_u32(&mut bytes, header::SLOT_BYTES, narrow(self.slot_bytes));
        put_u32(&mut bytes, header::GENERATION, self.generation);
        put_u32(&mut bytes, header::STREAM, self.stream.code());
        bytes[header::FOURCC..header::FOURCC + 4].copy_from_slice(&self.format.fourcc());
        put_u32(&mut bytes, header::WIDTH, self.size.width);
        put_u32(&mut bytes, header::HEIGHT, self.size.height);
        put_u32(&mut bytes, header::PLANES, narrow(self.planes().len()));
        for (index, plane) in self.planes().iter().enumerate() {
            put_u32(&mut bytes, header::PLANE_OFFSET + 4 * index, narrow(plane.offset));
            put_u32(&mut bytes, header::PLANE_STRIDE + 4 * index, narrow(plane.stride));
            put_u32(&mut bytes, header::PLANE_ROWS + 4 * index, narrow(plane.rows));
        }
        let (matrix, range) = color_codes(self.format, self.color);
        put_u32(&mut bytes, header::COLOR_MATRIX, matrix);
        put_u32(&mut bytes, header::COLOR_RANGE, range);
        bytes
    }

    /// Validates a header that another process wrote, in a memory of `memory_bytes`. A reader that
    /// keeps to the returned layout stays within the memory, whatever the header contained.
    ///
    /// # Errors
    /// [`LayoutError`], which names the first field that is not valid.
    pub fn parse(bytes: &[u8; HEADER_BYTES], memory_bytes: u64) -> Result<Self, LayoutError> {
        if bytes[header::MAGIC..header::MAGIC + 8] != MAGIC {
            return Err(LayoutError::Magic);
        }
        let field = |offset| u32_at(bytes, offset);
        if field(header::VERSION) != VERSION {
            return Err(LayoutError::Version(field(header::VERSION)));
        }
        let header_bytes = field(header::HEADER_BYTES);
        if to_usize(header_bytes) != HEADER_BYTES {
            return Err(wrong("header bytes", header_bytes, "4096"));
        }
        let slot_count = field(header::SLOT_COUNT);
        check_range("slot count", slot_count, MIN_SLOTS, MAX_SLOTS, "4 to 64")?;
        let stream = field(header::STREAM);
        let stream = StreamKind::from_code(stream).ok_or(wrong("stream", stream, "1 to 4"))?;
        let mut fourcc = [0; 4];
        fourcc.copy_from_slice(&bytes[header::FOURCC..header::FOURCC + 4]);
        let format = PixelFormat::from_fourcc(fourcc).ok_or(LayoutError::Format(fourcc))?;
        let size = Size::new(field(header::WIDTH), field(header::HEIGHT));
        check_size(size)?;
        let plane_count = field(header::PLANES);
        if to_usize(plane_count) != format.plane_count() {
            return Err(wrong("planes", plane_count, "the number of planes of the format"));
        }
        let slot_bytes = field(header::SLOT_BYTES);
        if !to_usize(slot_bytes).is_multiple_of(ALIGNMENT) || to_usize(slot_bytes) < SLOT_HEADER_BYTES {
            return Err(wrong("slot bytes", slot_bytes, "a multiple of 64, 512 at least"));
        }
        let mut planes = [PlaneLayout::default(); MAX_PLANES];
        for (index, plane) in planes.iter_mut().enumerate().take(format.plane_count()) {
            *plane = parse_plane(bytes, index, plane_extent(format, index, size), slot_bytes)?;
        }
        let layout = Self {
            stream,
            generation: field(header::GENERATION),
            format,
            color: color_of_codes(field(header::COLOR_MATRIX), field(header::COLOR_RANGE))?,
            size,
            slot_count,
            slot_bytes: to_usize(slot_bytes),
            planes,
        };
        let needed = layout.checked_total()? as u64;
        if needed > memory_bytes {
            return Err(LayoutError::Short { what: "the ring", needed, available: memory_bytes });
        }
        Ok(layout)
    }
}

fn parse_plane(
    bytes: &[u8; HEADER_BYTES],
    plane: usize,
    (row_bytes, expected_rows): (u64, u64),
    slot_bytes: u32,
) -> Result<PlaneLayout, LayoutError> {
    let offset = u32_at(bytes, header::PLANE_OFFSET + 4 * plane);
    let stride = u32_at(bytes, header::PLANE_STRIDE + 4 * plane);
    let rows = u32_at(bytes, header::PLANE_ROWS + 4 * plane);
    let wrong = |field, value: u64, expected| Err(LayoutError::Plane { plane, field, value, expected });
    if !to_usize(offset).is_multiple_of(ALIGNMENT) || to_usize(offset) < SLOT_HEADER_BYTES {
        return wrong("offset", offset.into(), "a multiple of 64, 512 at least");
    }
    if !to_usize(stride).is_multiple_of(ALIGNMENT) || u64::from(stride) < row_bytes {
        return wrong("stride", stride.into(), "a multiple of 64 that holds a row");
    }
    if u64::from(rows) != expected_rows {
        return wrong("rows", rows.into(), "the rows of the plane");
    }
    let end = u64::from(offset) + u64::from(stride) * u64::from(rows);
    if end > u64::from(slot_bytes) {
        return wrong("end", end, "within the slot");
    }
    let row_bytes = usize::try_from(row_bytes).expect("not more than the stride, which is a u32");
    Ok(PlaneLayout { offset: to_usize(offset), stride: to_usize(stride), rows: to_usize(rows), row_bytes })
}

/// The bytes of a row, and the rows, of a plane. With sides of at most [`MAX_SIDE`] pixels no
/// product overflows.
const fn plane_extent(format: PixelFormat, plane: usize, size: Size) -> (u64, u64) {
    let (row_bytes, rows) = format.plane_extent(plane, size);
    (row_bytes as u64, rows as u64)
}

fn wrong(field: &'static str, value: u32, expected: &'static str) -> LayoutError {
    LayoutError::Field { field, value: value.into(), expected }
}

fn check_range(
    field: &'static str,
    value: u32,
    low: u32,
    high: u32,
    expected: &'static str,
) -> Result<(), LayoutError> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(wrong(field, value, expected)) }
}

fn check_size(size: Size) -> Result<(), LayoutError> {
    check_range("width", size.width, 1, MAX_SIDE, "1 to 16384")?;
    check_range("height", size.height, 1, MAX_SIDE, "1 to 16384")
}

/// The numbers for matrix and range in the header; 0 where they do not apply.
const fn color_codes(format: PixelFormat, color: Colorimetry) -> (u32, u32) {
    if !format.has_chroma() {
        return (0, 0);
    }
    let matrix = match color.matrix {
        Matrix::Bt601 => 1,
        Matrix::Bt709 => 2,
        Matrix::Bt2020 => 3,
    };
    (
        matrix,
        match color.range {
            Range::Limited => 1,
            Range::Full => 2,
        },
    )
}

fn color_of_codes(matrix: u32, range: u32) -> Result<Colorimetry, LayoutError> {
    let matrix = match matrix {
        0 | 1 => Matrix::Bt601,
        2 => Matrix::Bt709,
        3 => Matrix::Bt2020,
        _ => return Err(wrong("color matrix", matrix, "0 to 3")),
    };
    let range = match range {
        0 | 1 => Range::Limited,
        2 => Range::Full,
        _ => return Err(wrong("color range", range, "0 to 2")),
    };
    Ok(Colorimetry { matrix, range })
}

#[cfg(test)]
mod tests;
