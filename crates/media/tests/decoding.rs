//! Decoding takes no more memory than the headers say.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use portraitd_media::image;

struct Peak;

thread_local! {
    /// The bytes that are allocated now, and at most.
    static HELD: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

fn count(bytes: i64) {
    // The counter of a thread that is ending no longer exists.
    let _ = HELD.try_with(|held| {
        let now = held.get().0 + bytes;
        held.set((now, held.get().1.max(now)));
    });
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call is forwarded unchanged to the system allocator. Counting does not allocate.
unsafe impl GlobalAlloc for Peak {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller guarantees what the system allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller guarantees what the system allocator requires.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The C library moves or cuts pages: a large block is not held twice.
        count(signed(size) - signed(layout.size()));
        // SAFETY: the caller guarantees what the system allocator requires.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static PEAK: Peak = Peak;

/// The most bytes that decoding takes, and what the headers say.
fn peak(bytes: &[u8]) -> (i64, i64) {
    let promised = image::peak_bytes(bytes).expect("headers");
    HELD.set((0, 0));
    let decoded = image::decode(bytes, Path::new("picture"));
    let taken = HELD.get().1;
    decoded.expect("a picture");
    (taken, i64::try_from(promised).expect("small"))
}

const fn bits(count: usize) -> usize {
    count.div_ceil(8)
}

/// A grey JPEG picture of `side` pixels square: each block has a difference of 0 in its first
/// coefficient. `sampling` has the factors of each component.
fn jpeg(side: u16, progressive: bool, orientation: u8, sampling: &[(u8, u8)]) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    let mut segment = |marker: u8, data: &[u8]| {
        out.extend([0xff, marker]);
        out.extend(u16::try_from(data.len() + 2).expect("short").to_be_bytes());
        out.extend(data);
    };
    let tiff = [b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[orientation, 0, 0, 0], &[0; 4]];
    segment(0xe1, &tiff.concat());
    segment(0xdb, &[[0].as_slice(), &[1; 64]].concat());
    let [high, low] = side.to_be_bytes();
    let components = u8::try_from(sampling.len()).expect("few");
    let mut frame = vec![8, high, low, high, low, components];
    let mut scan = vec![components];
    for (number, (h, v)) in (1..).zip(sampling) {
        frame.extend([number, h << 4 | v, 0]);
        scan.extend([number, 0]);
    }
    scan.extend([0, if progressive { 0 } else { 63 }, 0]);
    segment(if progressive { 0xc2 } else { 0xc0 }, &frame);
    // One code of one bit: no difference, or the end of the block.
    for class in [0x00, 0x10] {
        segment(0xc4, &[[class, 1].as_slice(), &[0; 15], &[0]].concat());
    }
    segment(0xda, &scan);
    let most = |factor: fn(&(u8, u8)) -> u8| sampling.iter().map(factor).max().map_or(1, usize::from);
    let units = usize::from(side).div_ceil(8 * most(|of| of.0)) * usize::from(side).div_ceil(8 * most(|of| of.1));
    let blocks: usize = sampling.iter().map(|(h, v)| usize::from(h * v)).sum();
    out.extend(std::iter::repeat_n(0, bits(units * blocks * if progressive { 1 } else { 2 })));
    out.extend([0xff, 0xd9]);
    out
}

#[test]
fn a_jpeg_takes_what_its_headers_say() {
    let full = [(1, 1); 3];
    let half = [(2, 2), (1, 1), (1, 1)];
    for progressive in [false, true] {
        for orientation in [1, 3, 6] {
            for sampling in [&full[..], &half, &full[..1]] {
                let (taken, promised) = peak(&jpeg(1600, progressive, orientation, sampling));
                let what = format!("progressive {progressive}, orientation {orientation}, sampling {sampling:?}");
                assert!(taken <= promised, "{what}: {taken} bytes, {promised} promised");
                assert!(promised <= taken * 2, "{what}: {taken} bytes, {promised} promised");
            }
        }
    }
    let (taken, _) = peak(&jpeg(1600, true, 1, &full));
    assert!(taken >= 9 * 1600 * 1600, "the coefficients count: {taken}");
}

#[test]
fn a_png_takes_what_its_headers_say() {
    use png::ColorType::{Grayscale, GrayscaleAlpha, Rgb, Rgba};
    for color in [Grayscale, GrayscaleAlpha, Rgb, Rgba] {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1600, 1600);
        encoder.set_color(color);
        let data = vec![7; 1600 * 1600 * color.samples()];
        encoder.write_header().expect("header").write_image_data(&data).expect("data");
        let (taken, promised) = peak(&bytes);
        assert!(taken <= promised, "{color:?}: {taken} bytes, {promised} promised");
        assert!(promised <= taken * 2 + (4 << 20), "{color:?}: {taken} bytes, {promised} promised");
    }
}
