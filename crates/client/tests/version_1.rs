//! A ring of version 1, written byte by byte at literal offsets, is read as it was when version 1
//! was released.
//!
//! Do not change the literals: a failure shows that this reader would not understand a released
//! daemon.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use portraitd_client::{FrameCopy, PixelFormat, Ring, Size, SlotFlags, StreamKind, Wait};
use rustix::fs::{MemfdFlags, SealFlags};

/// A mask of 4x2 cells in four slots: stride 64, so a slot has 512 + 2 * 64 bytes.
const SLOT_BYTES: u32 = 640;
const TOTAL_BYTES: u64 = 4096 + 4 * 640;

fn put(memory: &File, offset: u64, bytes: &[u8]) {
    memory.write_all_at(bytes, offset).expect("write");
}

fn put_u32(memory: &File, offset: u64, value: u32) {
    put(memory, offset, &value.to_le_bytes());
}

fn put_u64(memory: &File, offset: u64, value: u64) {
    put(memory, offset, &value.to_le_bytes());
}

fn ring_of_version_1() -> File {
    let memory = rustix::fs::memfd_create("version-1", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let memory = File::from(memory.expect("memfd"));
    memory.set_len(TOTAL_BYTES).expect("length");
    put(&memory, 0, b"PORTRAIT");
    for (offset, value) in [
        (8, 1),           // version
        (12, 4096),       // header bytes
        (16, 4),          // slot count
        (20, SLOT_BYTES), // slot bytes
        (24, 5),          // generation
        (28, 1),          // stream: mask
        (36, 4),          // width
        (40, 2),          // height
        (44, 1),          // planes
        (48, 512),        // plane offset
        (64, 64),         // plane stride
        (80, 2),          // plane rows
    ] {
        put_u32(&memory, offset, value);
    }
    put(&memory, 32, b"GREY");
    memory
}

/// Writes frame 6, which lies in slot 1, and makes it the newest.
fn put_frame(memory: &File) {
    let slot = 4096 + u64::from(SLOT_BYTES);
    put_u64(memory, slot + 8, 600); // sequence
    put_u64(memory, slot + 16, 7_000_000_000); // capture
    put_u64(memory, slot + 24, 7_000_500_000); // publish
    put_u64(memory, slot + 32, 599); // mask sequence
    put_u64(memory, slot + 40, 33_000_000); // mask age
    for (place, value) in [1.0f32, 2.0, 300.0, 400.0].into_iter().enumerate() {
        put_u32(memory, slot + 48 + 4 * place as u64, value.to_bits()); // crop
    }
    put_u32(memory, slot + 64, 0x8000_0005); // flags: mask valid, stale, and one that does not exist yet
    put_u32(memory, slot + 68, 2); // people
    for person in 0..2u8 {
        let start = slot + 72 + 24 * u64::from(person);
        put_u32(memory, start, 40 + u32::from(person)); // id
        for (place, value) in [10.0f32, 20.0, 30.0, 40.0, 0.75].into_iter().enumerate() {
            put_u32(memory, start + 4 + 4 * place as u64, (value + f32::from(person)).to_bits());
        }
    }
    put(memory, slot + 512, &[1, 2, 3, 4]);
    put(memory, slot + 512 + 64, &[5, 6, 7, 8]);
    put_u64(memory, slot, 12); // lock: twice the index
    put_u64(memory, 128, 6); // latest
}

#[test]
fn a_ring_of_version_1_is_read() {
    let memory = ring_of_version_1();
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK).expect("seal");
    let (event, mut writer) = std::io::pipe().expect("pipe");
    let mut ring = Ring::open(memory.try_clone().expect("duplicate").into(), event.into()).expect("version 1");
    let layout = *ring.layout();
    assert_eq!((layout.stream, layout.format), (StreamKind::Mask, PixelFormat::Grey));
    assert_eq!((layout.size, layout.generation, layout.slot_count), (Size::new(4, 2), 5, 4));

    put_frame(&memory);
    writer.write_all(&[0]).expect("announce");
    assert_eq!(ring.wait(Some(Duration::from_secs(60))).expect("wait"), Wait::Frame);
    let mut frame = FrameCopy::default();
    assert!(ring.latest(&mut frame));
    let info = frame.info();
    assert_eq!((info.index, info.sequence), (6, 600));
    assert_eq!((info.capture_ns, info.publish_ns), (7_000_000_000, 7_000_500_000));
    assert_eq!((info.mask_sequence, info.mask_age_ns), (599, 33_000_000));
    assert_eq!(info.crop, [1.0, 2.0, 300.0, 400.0]);
    assert!(info.mask_valid() && info.flags.contains(SlotFlags::STALE) && !info.flags.contains(SlotFlags::STILL));
    assert_eq!(info.flags.bits(), 0x8000_0005, "bits that are not known are kept");
    let [first, second] = info.people() else { panic!("two people") };
    assert_eq!((first.id, first.rectangle, first.confidence), (40, [10.0, 20.0, 30.0, 40.0], 0.75));
    assert_eq!((second.id, second.rectangle), (41, [11.0, 21.0, 31.0, 41.0]));
    assert_eq!(frame.rows(0).collect::<Vec<_>>(), [[1, 2, 3, 4], [5, 6, 7, 8]]);

    put_u32(&memory, 192, 1); // closed
    writer.write_all(&[0]).expect("announce");
    assert_eq!(ring.wait(Some(Duration::from_secs(60))).expect("wait"), Wait::Closed);
}

#[test]
fn a_ring_of_another_version_is_refused_by_its_number() {
    let memory = ring_of_version_1();
    put_u32(&memory, 8, 2);
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK).expect("seal");
    let (event, _writer) = std::io::pipe().expect("pipe");
    let error = Ring::open(memory.into(), event.into()).expect_err("version 2");
    assert!(error.to_string().contains("version 2"), "{error}");
}
