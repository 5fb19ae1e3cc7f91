//! Any header, locks and descriptions that a provider of frames can write: memory is refused, or
//! every frame that is copied from it lies within it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use portraitd_client::Ring;
use portraitd_client::protocol::layout::{HEADER_BYTES, header};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// The length of the memory, in bytes.
const MEMORY_BYTES: usize = 1 << 16;
/// The bytes of the input that become the beginning of the header.
const HEAD: usize = 256;
/// The bytes of the input that become the beginning of each slot.
const SLOT_HEAD: usize = 128;

/// Opens memory with these beginnings and copies its newest frame. Returns whether it was taken.
///
/// # Panics
/// If something of the ring lies outside of the memory.
pub fn check(bytes: &[u8]) -> bool {
    let mut memory = vec![0xa5; MEMORY_BYTES];
    memory[..HEADER_BYTES].fill(0);
    let (head, slots) = bytes.split_at(bytes.len().min(HEAD));
    memory[..head.len()].copy_from_slice(head);
    let mut word = [0; 4];
    word.copy_from_slice(&memory[header::SLOT_BYTES..header::SLOT_BYTES + 4]);
    let slot_bytes = usize::try_from(u32::from_le_bytes(word)).unwrap_or(usize::MAX);
    for (index, slot) in slots.chunks(SLOT_HEAD).enumerate() {
        let start = index.checked_mul(slot_bytes).and_then(|offset| offset.checked_add(HEADER_BYTES));
        if let Some(place) = start.and_then(|start| memory.get_mut(start..)?.get_mut(..slot.len())) {
            place.copy_from_slice(slot);
        }
    }
    let file = memfd_create("fuzz", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).expect("memory");
    let file = File::from(file);
    file.write_all_at(&memory, 0).expect("memory");
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).expect("seals");
    let (event, _writer) = rustix::pipe::pipe().expect("a pipe");
    let Ok(mut ring) = Ring::open(file.into(), event) else { return false };
    let layout = *ring.layout();
    assert!(layout.total_bytes() <= MEMORY_BYTES);
    let mut out = vec![0; MEMORY_BYTES];
    let copied = ring.read_once(|view| {
        for (index, plane) in layout.planes().iter().enumerate() {
            let bytes = &mut out[..plane.stride * plane.rows];
            view.copy_plane(index, bytes);
            assert!(plane.row_bytes <= plane.stride);
        }
        view.info().people().len()
    });
    if let Ok(Some(people)) = copied {
        assert!(people <= 16);
        assert!(matches!(ring.read_once(|_| ()), Ok(None)), "a frame is read once");
    }
    true
}
