//! The memory of buffers, which PipeWire shares with the consumers. They may read and write it at
//! any time, so it is never seen as a Rust slice.

#![allow(unsafe_code)]

use std::ptr;

use portraitd_client::FrameCopy;

use crate::ffi::{self, spa_buffer, spa_chunk, spa_data, spa_meta_header};
use crate::formats::Picture;

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Whether `frame` is what the consumers of a node expect.
pub(crate) fn fits(frame: &FrameCopy, picture: &Picture) -> bool {
    frame.layout().is_some_and(|layout| layout.format == picture.format && layout.size == picture.size)
}

/// The rows of a frame, and where each starts in a buffer, in bytes.
fn rows<'a>(frame: &'a FrameCopy, picture: &Picture) -> impl Iterator<Item = (usize, &'a [u8])> {
    let stride = to_usize(picture.stride());
    let planes = frame.layout().map_or(0, |layout| layout.planes().len());
    (0..planes).flat_map(|plane| frame.rows(plane)).enumerate().map(move |(row, bytes)| (row * stride, bytes))
}

/// Copies a frame to a buffer, with its capture time. A buffer that is too small gets no picture, and
/// is marked as damaged.
///
/// # Safety
/// `buffer` is a buffer with mapped memory that is ours, or null.
pub(crate) unsafe fn fill(buffer: *mut spa_buffer, frame: &FrameCopy, picture: &Picture) {
    // SAFETY: as the caller promises.
    let (header, data) = unsafe { (header(buffer), data(buffer)) };
    let Some(data) = data else { return };
    let is_good = !data.data.is_null() && data.maxsize >= picture.bytes();
    if is_good {
        let (start, end) = (data.data.cast::<u8>(), to_usize(picture.bytes()));
        for (offset, row) in rows(frame, picture) {
            if offset.saturating_add(row.len()) <= end {
                // SAFETY: the row ends within the `maxsize` bytes at `start`. It is memory of this
                // process.
                unsafe { ptr::copy_nonoverlapping(row.as_ptr(), start.add(offset), row.len()) };
            }
        }
    }
    if !header.is_null() {
        let info = frame.info();
        let flags = if is_good { 0 } else { ffi::HEADER_CORRUPTED };
        let pts = i64::try_from(info.capture_ns).unwrap_or(i64::MAX);
        // SAFETY: there is room for a header.
        unsafe { header.write(spa_meta_header { flags, offset: 0, pts, dts_offset: 0, seq: info.sequence }) };
    }
    if !data.chunk.is_null() {
        let (size, flags) = if is_good { (picture.bytes(), 0) } else { (0, ffi::CHUNK_CORRUPTED) };
        let stride = i32::try_from(picture.stride()).unwrap_or(i32::MAX);
        // SAFETY: each block of memory has a chunk.
        unsafe { data.chunk.write(spa_chunk { offset: 0, size, stride, flags }) };
    }
}

/// The first block of memory of a buffer.
///
/// # Safety
/// As for [`fill`].
unsafe fn data<'a>(buffer: *mut spa_buffer) -> Option<&'a spa_data> {
    // SAFETY: `n_datas` is the number of `datas`.
    unsafe {
        let buffer = buffer.as_ref()?;
        if buffer.n_datas > 0 { buffer.datas.as_ref() } else { None }
    }
}

/// Where the header of a buffer is; null if there is none.
///
/// # Safety
/// As for [`fill`].
unsafe fn header(buffer: *mut spa_buffer) -> *mut spa_meta_header {
    // SAFETY: `n_metas` is the number of `metas`, each with `size` bytes at `data`.
    unsafe {
        let Some(buffer) = buffer.as_ref() else { return ptr::null_mut() };
        for number in 0..to_usize(buffer.n_metas) {
            let meta = &*buffer.metas.add(number);
            if meta.kind == ffi::META_HEADER && to_usize(meta.size) >= size_of::<spa_meta_header>() {
                return meta.data.cast();
            }
        }
    }
    ptr::null_mut()
}

/// Clears a buffer that PipeWire takes away, so that no picture stays in memory that nobody uses.
///
/// # Safety
/// `buffer` is what PipeWire passes to the callback `remove_buffer`: its memory is still mapped.
pub(crate) unsafe fn wipe(buffer: *mut ffi::pw_buffer) {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(data) = buffer.as_ref().and_then(|buffer| data(buffer.buffer)) else { return };
        if !data.data.is_null() {
            ptr::write_bytes(data.data.cast::<u8>(), 0, to_usize(data.maxsize));
        }
    }
}
