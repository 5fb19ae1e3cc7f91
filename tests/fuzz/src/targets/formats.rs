//! Any format and frame that a driver reports: no panic, and no plane outside its memory.

use arbitrary::Arbitrary;
use portraitd_media::{Picture, Plane};
use portraitd_v4l2::clock::{SequenceCounter, TimestampMapper};
use portraitd_v4l2::formats::{BufferLayout, FourCc, TABLE};
use portraitd_v4l2::sys::DeviceFormat;

/// The format and the frames that a driver reports.
#[derive(Arbitrary, Debug)]
pub struct Report {
    /// An index of the table, or any code.
    code: Result<u8, u32>,
    width: u32,
    height: u32,
    small: bool,
    field: u32,
    color: [u32; 3],
    plane_count: u8,
    strides: [u32; 8],
    sizes: [u32; 8],
    frames: Vec<Frame>,
}

#[derive(Arbitrary, Debug)]
struct Frame {
    bytes_used: [u32; 8],
    data_offset: [u32; 8],
    flags: u32,
    stamp: [i64; 2],
    sequence: u32,
    now: u64,
}

/// Processes the report as a capture stream does.
///
/// # Panics
/// If a plane is outside its memory, or a timestamp decreases.
pub fn check(report: &Report) {
    let code = report.code.map_or_else(FourCc, |index| TABLE[usize::from(index) % TABLE.len()].0);
    // Small pictures, so that some of them fit.
    let small = |number: u32, limit: u32| if report.small { number % limit } else { number };
    let format = DeviceFormat {
        width: small(report.width, 64),
        height: small(report.height, 64),
        pixel_format: code.0,
        field: small(report.field, 2),
        colorspace: report.color[0],
        ycbcr_encoding: report.color[1],
        quantization: report.color[2],
        plane_count: usize::from(report.plane_count).min(8),
        bytes_per_line: report.strides.map(|stride| small(stride, 512)),
        size_image: report.sizes.map(|size| small(size, 65_536)),
    };
    let layout = BufferLayout::from_device(&format);
    let (mut timestamps, mut sequences) = (TimestampMapper::default(), SequenceCounter::default());
    let mut last = None;
    for frame in &report.frames {
        let ns = timestamps.map(frame.flags, frame.stamp, frame.now);
        let (number, _) = sequences.number(frame.sequence);
        assert!(last.is_none_or(|(old_ns, old)| ns >= old_ns && number > old));
        last = Some((ns, number));
        let Ok(layout) = &layout else { continue };
        let used = frame.bytes_used.map(|bytes| small(bytes, 65_536));
        let offset = frame.data_offset.map(|bytes| small(bytes, 256));
        if layout.is_compressed() || !layout.is_whole(&used, &offset) || used.iter().any(|&bytes| bytes > 1 << 20) {
            continue;
        }
        // A whole frame is a valid picture, in memory of exactly the reported length.
        let memories = used.map(|bytes| vec![0_u8; bytes as usize]);
        let planes = layout.planes.map(|place| {
            let memory = &memories[place.memory];
            let range = place.range(offset[place.memory] as usize, memory.len());
            Plane { data: range.map_or(&[], |range| &memory[range]), stride_bytes: place.stride_bytes }
        });
        Picture::new(layout.encoding.picture_format(), layout.size, layout.color, planes).expect("a whole picture");
    }
}
