//! Whatever format a driver says it has, and whatever it says of a frame: no panic, and no plane outside of its memory.

use portraitd_v4l2::clock::{Sequences, Stamps};
use portraitd_v4l2::formats::{FourCc, TABLE, layout};
use portraitd_v4l2::sys::DeviceFormat;
use portraitd_media::{Picture, Plane};
use arbitrary::Arbitrary;

/// What a driver says of its format and its frames.
#[derive(Arbitrary, Debug)]
pub struct Said {
    /// One of the table, or any.
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

/// Makes of it what the daemon makes of it.
///
/// # Panics
/// Where a plane would lie outside of its memory, or time would go back.
pub fn check(said: &Said) {
    let code = said.code.map_or_else(FourCc, |index| TABLE[usize::from(index) % TABLE.len()].0);
    // Small pictures, so that some of them fit.
    let small = |number: u32, limit: u32| if said.small { number % limit } else { number };
    let format = DeviceFormat {
        width: small(said.width, 64),
        height: small(said.height, 64),
        pixel_format: code.0,
        field: small(said.field, 2),
        colorspace: said.color[0],
        ycbcr_encoding: said.color[1],
        quantization: said.color[2],
        plane_count: usize::from(said.plane_count).min(8),
        bytes_per_line: said.strides.map(|stride| small(stride, 512)),
        size_image: said.sizes.map(|size| small(size, 65_536)),
    };
    let layout = layout(&format);
    let (mut stamps, mut sequences) = (Stamps::default(), Sequences::default());
    let mut last = None;
    for frame in &said.frames {
        let ns = stamps.map(frame.flags, frame.stamp, frame.now);
        let (number, _) = sequences.number(frame.sequence);
        assert!(last.is_none_or(|(old_ns, old)| ns >= old_ns && number > old));
        last = Some((ns, number));
        let Ok(layout) = &layout else { continue };
        let used = frame.bytes_used.map(|bytes| small(bytes, 65_536));
        let offset = frame.data_offset.map(|bytes| small(bytes, 256));
        if layout.is_compressed() || !layout.is_whole(&used, &offset) || used.iter().any(|&bytes| bytes > 1 << 20) {
            continue;
        }
        // What is whole is a picture, in memory of just that length.
        let memories = used.map(|bytes| vec![0_u8; bytes as usize]);
        let planes = layout.planes.map(|place| {
            let memory = &memories[place.memory];
            let range = place.range(offset[place.memory] as usize, memory.len());
            Plane { data: range.map_or(&[], |range| &memory[range]), stride_bytes: place.stride_bytes }
        });
        Picture::new(layout.encoding.picture_format(), layout.size, layout.color, planes).expect("a whole picture");
    }
}
