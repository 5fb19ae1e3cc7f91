//! Version 1 of the ring: where every number lies, and the check of a header that somebody else wrote.
//!
//! Everything is little-endian. A ring is one 4096-byte header and then `slot_count` slots of `slot_bytes` each; a slot
//! is a 512-byte header and then the planes. Offsets of planes count from the start of the slot. `docs/design/ring.md` is
//! the contract in prose; the tests hold `include/portraitd.h` to the same numbers.

use crate::pixel::{Colorimetry, Matrix, PixelFormat, Range, Size};
use crate::words::StreamKind;

/// The first eight bytes of a ring.
pub const MAGIC: [u8; 8] = *b"PORTRAIT";
/// The version that this crate reads and writes.
pub const VERSION: u32 = 1;
/// Bytes of the ring's header.
pub const HEADER_BYTES: usize = 4096;
/// Bytes of a slot's header.
pub const SLOT_HEADER_BYTES: usize = 512;
/// Slots begin, planes begin, and rows are spaced, at multiples of this.
pub const ALIGNMENT: usize = 64;
/// The fewest slots of a ring: one being written, one just published, and two that slow readers are still copying.
pub const MIN_SLOTS: u32 = 4;
/// The most slots that a reader accepts.
pub const MAX_SLOTS: u32 = 64;
/// The widest and highest picture that a reader accepts, in pixels.
pub const MAX_SIDE: u32 = 16384;
/// The most people a slot can name.
pub const MAX_PEOPLE: usize = 16;
/// The most planes a header can describe.
pub const MAX_PLANES: usize = 4;

/// Offsets in the ring's header.
pub mod header {
    /// `[u8; 8]`: [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// `u32`: [`super::VERSION`].
    pub const VERSION: usize = 8;
    /// `u32`: bytes of the header, which is where the first slot begins.
    pub const HEADER_BYTES: usize = 12;
    /// `u32`: slots.
    pub const SLOT_COUNT: usize = 16;
    /// `u32`: bytes from one slot to the next.
    pub const SLOT_BYTES: usize = 20;
    /// `u32`: counts the rings of a camera's stream; as in `layout` and `Camera1.Generation`.
    pub const GENERATION: usize = 24;
    /// `u32`: 1 mask, 2 view, 3 composite, 4 source.
    pub const STREAM: usize = 28;
    /// `[u8; 4]`: the format's four-character code.
    pub const FOURCC: usize = 32;
    /// `u32`: pixels in a row.
    pub const WIDTH: usize = 36;
    /// `u32`: rows.
    pub const HEIGHT: usize = 40;
    /// `u32`: planes.
    pub const PLANES: usize = 44;
    /// `[u32; 4]`: where each plane begins, from the start of its slot.
    pub const PLANE_OFFSET: usize = 48;
    /// `[u32; 4]`: bytes from one row of each plane to the next.
    pub const PLANE_STRIDE: usize = 64;
    /// `[u32; 4]`: rows of each plane.
    pub const PLANE_ROWS: usize = 80;
    /// `u32`: 0 where it does not apply (RGB, masks), 1 BT.601, 2 BT.709, 3 BT.2020.
    pub const COLOR_MATRIX: usize = 96;
    /// `u32`: 0 where it does not apply, 1 limited, 2 full.
    pub const COLOR_RANGE: usize = 100;
    /// Atomic `u64`: the index of the newest complete frame, counted from 1; 0 before the first.
    pub const LATEST: usize = 128;
    /// Atomic `u32`: not 0 when no more frames will come, and clients should attach again.
    pub const CLOSED: usize = 192;
}

/// Offsets in a slot's header.
pub mod slot {
    /// Atomic `u64`: odd while being written, `2 * index` while frame `index` is complete.
    pub const LOCK: usize = 0;
    /// `u64`: the camera's number of the frame.
    pub const SEQUENCE: usize = 8;
    /// `u64`: when the camera took it, `CLOCK_MONOTONIC` nanoseconds.
    pub const CAPTURE_NS: usize = 16;
    /// `u64`: when it was published, `CLOCK_MONOTONIC` nanoseconds.
    pub const PUBLISH_NS: usize = 24;
    /// `u64`: `sequence` of the frame that the mask was made from.
    pub const MASK_SEQUENCE: usize = 32;
    /// `u64`: how much older than this frame that frame is, nanoseconds.
    pub const MASK_AGE_NS: usize = 40;
    /// `[f32; 4]`: x, y, width, height of the part of the source that is shown, in source pixels.
    pub const CROP: usize = 48;
    /// `u32`: see [`super::flags`].
    pub const FLAGS: usize = 64;
    /// `u32`: how many people follow, at most 16.
    pub const PEOPLE: usize = 68;
    /// Up to 16 of `(id u32, x, y, width, height f32, confidence f32)`, boxes in source pixels.
    pub const PERSON: usize = 72;
    /// Bytes of one person.
    pub const PERSON_BYTES: usize = 24;
}

/// Bits of a slot's `flags`.
pub mod flags {
    /// The mask numbers mean something.
    pub const MASK_VALID: u32 = 1 << 0;
    /// Nothing moved since the frame before, and the mask was kept.
    pub const STILL: u32 = 1 << 1;
    /// The mask is older than it should be.
    pub const STALE: u32 = 1 << 2;
    /// The service does less than configured, to keep up.
    pub const DEGRADED: u32 = 1 << 3;
    /// The camera's privacy shutter is closed; the picture is not from the camera.
    pub const PRIVATE: u32 = 1 << 4;
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

/// A person in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Person {
    /// The same from frame to frame while the person is seen.
    pub id: u32,
    /// x, y, width, height in source pixels.
    pub rectangle: [f32; 4],
    /// 0 to 1.
    pub confidence: f32,
}

/// One plane of every slot. All numbers are bytes, but for `rows`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneLayout {
    /// Where it begins, from the start of the slot.
    pub offset: usize,
    /// From one row to the next.
    pub stride: usize,
    /// Rows.
    pub rows: usize,
    /// Bytes of picture in a row; the rest up to `stride` is padding.
    pub row_bytes: usize,
}

/// A ring's shape, checked: every plane lies within its slot and every slot within `total_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// Which stream.
    pub stream: StreamKind,
    /// Counts the rings of a stream.
    pub generation: u32,
    /// How pixels lie.
    pub format: PixelFormat,
    /// What luma and chroma mean.
    pub color: Colorimetry,
    /// Pixels in a row.
    pub width: u32,
    /// Rows of the picture.
    pub height: u32,
    /// Slots.
    pub slot_count: u32,
    /// Bytes from one slot to the next.
    pub slot_bytes: usize,
    planes: [PlaneLayout; MAX_PLANES],
}

/// Why a header is not one of a ring that we can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The memory is too small to hold what its header says.
    #[error("{what} needs {needed} bytes and the memory has {available}")]
    Short {
        /// What does not fit.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        available: u64,
    },
    /// It does not begin with `PORTRAIT`.
    #[error("the memory does not begin with the magic of a ring")]
    Magic,
    /// Another version.
    #[error("version {0} of the ring; this program reads version {VERSION}")]
    Version(u32),
    /// A number is out of its range.
    #[error("{field} is {value}, which is not {expected}")]
    Field {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// A four-character code that we do not know.
    #[error("unknown pixel format {0:?}")]
    Format([u8; 4]),
    /// A plane cannot be what the header says.
    #[error("plane {plane}: {field} is {value}, which is not {expected}")]
    Plane {
        /// Which plane.
        plane: usize,
        /// Which number.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
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

/// A `u32` as a size in memory. Targets with 16-bit pointers are not supported.
pub const fn to_usize(value: u32) -> usize {
    const { assert!(size_of::<usize>() >= 4) };
    value as usize
}

impl RingLayout {
    /// Lays out a ring: planes one after another, each at a multiple of 64 bytes with rows a multiple of 64 apart.
    ///
    /// # Errors
    /// [`LayoutError::Field`] for a size of 0 or over [`MAX_SIDE`], for fewer than [`MIN_SLOTS`] or more than
    /// [`MAX_SLOTS`] slots, or where a slot would not fit a `u32`.
    pub fn new(
        stream: StreamKind,
        generation: u32,
        format: PixelFormat,
        color: Colorimetry,
        (width, height): (u32, u32),
        slot_count: u32,
    ) -> Result<Self, LayoutError> {
        check_range("width", width, 1, MAX_SIDE, "1 to 16384")?;
        check_range("height", height, 1, MAX_SIDE, "1 to 16384")?;
        check_range("slot count", slot_count, MIN_SLOTS, MAX_SLOTS, "4 to 64")?;
        let alignment = ALIGNMENT as u64;
        let mut planes = [PlaneLayout::default(); MAX_PLANES];
        let mut end = SLOT_HEADER_BYTES as u64;
        let too_large = |value| LayoutError::Field { field: "slot bytes", value, expected: "under 4 GiB" };
        for (index, plane) in planes.iter_mut().enumerate().take(format.plane_count()) {
            let (row_bytes, rows) = plane_extent(format, index, width, height);
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
        let layout = Self { stream, generation, format, color, width, height, slot_count, slot_bytes, planes };
        layout.checked_total()?;
        Ok(layout)
    }

    fn checked_total(&self) -> Result<usize, LayoutError> {
        let total = HEADER_BYTES as u64 + u64::from(self.slot_count) * self.slot_bytes as u64;
        usize::try_from(total).ok().filter(|total| isize::try_from(*total).is_ok()).ok_or(LayoutError::Field {
            field: "ring bytes",
            value: total,
            expected: "what this machine can map",
        })
    }

    /// Bytes of the whole ring.
    pub fn total_bytes(&self) -> usize {
        self.checked_total().expect("checked when the layout was made")
    }

    /// The planes that the format has.
    pub fn planes(&self) -> &[PlaneLayout] {
        &self.planes[..self.format.plane_count()]
    }

    /// Where slot `slot` (from 0) begins, in bytes from the start of the ring.
    pub const fn slot_offset(&self, slot: usize) -> usize {
        HEADER_BYTES + slot * self.slot_bytes
    }

    /// The matrix by name: `601`, `709` or `2020`; empty where it does not apply.
    pub const fn matrix_name(&self) -> &'static str {
        match color_codes(self.format, self.color).0 {
            0 => "",
            1 => "601",
            2 => "709",
            _ => "2020",
        }
    }

    /// The range by name: `limited` or `full`; empty where it does not apply.
    pub const fn range_name(&self) -> &'static str {
        match color_codes(self.format, self.color).1 {
            0 => "",
            1 => "limited",
            _ => "full",
        }
    }

    /// The header of a new ring of this shape: no frame yet, not closed.
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
        put_u32(&mut bytes, header::WIDTH, self.width);
        put_u32(&mut bytes, header::HEIGHT, self.height);
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

    /// Checks a header that came from elsewhere, in a memory of `memory_bytes`. What it returns is safe to read by,
    /// whatever the header said.
    ///
    /// # Errors
    /// [`LayoutError`] that names the number which cannot be.
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
        let (width, height) = (field(header::WIDTH), field(header::HEIGHT));
        check_range("width", width, 1, MAX_SIDE, "1 to 16384")?;
        check_range("height", height, 1, MAX_SIDE, "1 to 16384")?;
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
            *plane = parse_plane(bytes, index, plane_extent(format, index, width, height), slot_bytes)?;
        }
        let layout = Self {
            stream,
            generation: field(header::GENERATION),
            format,
            color: color_of_codes(field(header::COLOR_MATRIX), field(header::COLOR_RANGE))?,
            width,
            height,
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

/// Bytes of a row and rows of a plane. Sides of at most [`MAX_SIDE`] pixels: no product overflows.
const fn plane_extent(format: PixelFormat, plane: usize, width: u32, height: u32) -> (u64, u64) {
    let (row_bytes, rows) = format.plane_extent(plane, Size::new(width, height));
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

const fn color_codes(format: PixelFormat, color: Colorimetry) -> (u32, u32) {
    use PixelFormat::{Bgr24, Bgrx32, Grey, Rgb24, Rgbx32};
    if matches!(format, Grey | Rgb24 | Bgr24 | Rgbx32 | Bgrx32) {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn color_for(format: PixelFormat) -> Colorimetry {
        let color = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
        if color_codes(format, color) == (0, 0) { Colorimetry::default() } else { color }
    }

    #[test]
    fn every_format_comes_back_and_planes_do_not_overlap() {
        for format in PixelFormat::ALL {
            for size in [(1, 1), (5, 3), (63, 2), (64, 64), (1280, 720), (16384, 1), (4096, 2160)] {
                let layout = RingLayout::new(StreamKind::View, 7, format, color_for(format), size, 4).expect("valid");
                let parsed = RingLayout::parse(&layout.encode(), layout.total_bytes() as u64).expect("our own header");
                assert_eq!(parsed, layout);
                let mut end = SLOT_HEADER_BYTES;
                for plane in layout.planes() {
                    assert!(plane.offset >= end && plane.offset.is_multiple_of(64) && plane.stride.is_multiple_of(64));
                    end = plane.offset + plane.stride * plane.rows;
                }
                assert!(end <= layout.slot_bytes);
            }
        }
    }

    #[test]
    fn a_ring_cannot_have_too_few_slots_or_too_many_pixels() {
        let new =
            |size, slots| RingLayout::new(StreamKind::Mask, 0, PixelFormat::Grey, Colorimetry::default(), size, slots);
        assert_eq!(new((8, 8), 3).expect_err("slots").to_string(), "slot count is 3, which is not 4 to 64");
        assert!(new((0, 8), 4).is_err());
        assert!(new((8, 16385), 4).is_err());
        assert!(new((8, 8), 65).is_err());
    }

    #[test]
    fn one_byte_less_than_the_ring_is_refused() {
        let layout = RingLayout::new(StreamKind::Mask, 1, PixelFormat::Grey, Colorimetry::default(), (256, 144), 4);
        let layout = layout.expect("valid");
        let error = RingLayout::parse(&layout.encode(), layout.total_bytes() as u64 - 1).expect_err("short");
        assert!(matches!(error, LayoutError::Short { .. }), "{error}");
    }

    proptest! {
        /// Whatever a header says, what is accepted lies within the memory.
        #[test]
        fn a_header_with_words_changed_is_refused_or_safe(
            format in 0..PixelFormat::ALL.len(),
            width in 1u32..2000, height in 1u32..2000,
            changes in prop::collection::vec((0usize..32, any::<u32>(), prop::bool::ANY), 0..5),
            spare in 0u64..100_000,
        ) {
            let format = PixelFormat::ALL[format];
            let layout = RingLayout::new(StreamKind::Source, 1, format, Colorimetry::default(), (width, height), 4);
            let layout = layout.expect("valid");
            let mut bytes = layout.encode();
            for (word, value, small) in changes {
                // Small changes reach the checks that a random word never passes.
                let value = if small { u32_at(&bytes, word * 4).wrapping_add(value % 129).wrapping_sub(64) } else { value };
                put_u32(&mut bytes, word * 4, value);
            }
            let memory = layout.total_bytes() as u64 + spare;
            if let Ok(parsed) = RingLayout::parse(&bytes, memory) {
                prop_assert!(parsed.total_bytes() as u64 <= memory);
                prop_assert!(parsed.slot_count >= MIN_SLOTS);
                for plane in parsed.planes() {
                    prop_assert!(plane.row_bytes <= plane.stride);
                    prop_assert!(plane.offset >= SLOT_HEADER_BYTES);
                    prop_assert!(plane.offset + plane.stride * plane.rows <= parsed.slot_bytes);
                }
            }
        }

        /// Random bytes behind a right magic and version never panic.
        #[test]
        fn random_headers_never_panic(seed in prop::collection::vec(any::<u8>(), 256), memory in any::<u64>()) {
            let mut bytes = Box::new([0; HEADER_BYTES]);
            bytes[..256].copy_from_slice(&seed);
            bytes[..8].copy_from_slice(&MAGIC);
            put_u32(&mut bytes, header::VERSION, VERSION);
            let _ = RingLayout::parse(&bytes, memory);
        }
    }
}
