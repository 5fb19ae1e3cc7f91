//! Rings: a reader receives whole frames only, and clients can neither change a ring nor leave
//! anything behind.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portraitd::publish::{
    Amounts, ClientFds, MAX_CLIENTS, PublishError, RingBudget, RingSpec, RingWriter, SlotInfo, SlotWriter,
};
use portraitd_client::{FrameCopy, Ring, Wait};
use portraitd_media::{Colorimetry, Matrix, Picture, PixelFormat, Range, Size, packed_bytes};
use portraitd_protocol::layout::HEADER_BYTES;
use portraitd_protocol::{SlotFlags, StreamKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FallocateFlags, SealFlags};
use rustix::io::Errno;

use crate::fake::{SIZE, is_whole, publish, shade, spec};

const LONG: Option<Duration> = Some(Duration::from_secs(60));
const NOW: Option<Duration> = Some(Duration::ZERO);

fn writer() -> RingWriter {
    RingWriter::new(&spec(StreamKind::View, PixelFormat::Nv12, SIZE)).expect("ring")
}

fn open(fds: ClientFds) -> Ring {
    Ring::open(fds.memory, fds.event).expect("our own ring")
}

fn attach(writer: &RingWriter) -> Ring {
    open(writer.add_client().expect("client"))
}

/// Copies a picture of the ring's own format and size into a slot.
fn copy(slot: &mut SlotWriter<'_>, picture: &Picture<'_>) {
    for (index, plane) in slot.planes().into_iter().enumerate().take(picture.format().plane_count()) {
        let (row_bytes, rows) = picture.format().plane_extent(index, picture.size());
        for (y, row) in plane.data.chunks_exact_mut(plane.stride_bytes).enumerate().take(rows) {
            row[..row_bytes].copy_from_slice(&picture.plane(index).row(y)[..row_bytes]);
        }
    }
}

#[test]
fn a_picture_of_every_format_comes_out_as_it_went_in() {
    for format in PixelFormat::ALL {
        for size in [Size::new(1, 1), Size::new(37, 19), Size::new(64, 36)] {
            let color = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
            let spec = RingSpec { color, ..spec(StreamKind::Source, format, size) };
            let mut writer = RingWriter::new(&spec).expect("ring");
            let mut ring = attach(&writer);
            let bytes: Vec<u8> = (0..packed_bytes(format, size)).map(|i| shade(i as u64 * 7)).collect();
            let mut slot = writer.begin().expect("open");
            for plane in slot.planes().iter().take(format.plane_count()) {
                assert_eq!(plane.data.as_ptr().addr() % 64, 0, "{format} {size}");
                assert_eq!(plane.stride_bytes % 64, 0, "{format} {size}");
            }
            copy(&mut slot, &Picture::packed(format, size, color, &bytes).expect("packed"));
            slot.publish(&SlotInfo::default());
            let mut frame = FrameCopy::default();
            assert!(ring.latest(&mut frame), "{format} {size}");
            let mut out = Vec::new();
            portraitd_client::picture::write_raw(&frame, &mut out).expect("to memory");
            assert_eq!(out, bytes, "{format} {size}");
            let yuv = !format.is_rgb() && format != PixelFormat::Grey;
            assert_eq!(ring.layout().color.matrix == Matrix::Bt709, yuv, "{format}");
            assert_eq!(ring.layout().color.range == Range::Full, yuv, "{format}");
        }
    }
}

#[test]
fn what_a_slot_says_comes_out() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    publish(&mut writer);
    assert_eq!(ring.wait(LONG).expect("wait"), Wait::Frame);
    let mut frame = FrameCopy::default();
    assert!(ring.latest(&mut frame));
    let info = frame.info();
    assert_eq!((info.index, info.sequence, info.capture_ns), (1, 101, 1000));
    assert_eq!((info.mask_sequence, info.mask_age_ns), (100, 33));
    assert!(info.publish_ns > 0);
    assert_eq!(info.crop, [10.0, 20.0, 30.0, 40.0]);
    assert_eq!(info.flags, SlotFlags::MASK_VALID | SlotFlags::STILL);
    assert_eq!(info.people().len(), 1);
    assert_eq!((info.people()[0].id, info.people()[0].confidence), (7, 0.5));
    assert_eq!(info.people()[0].rectangle, [1.0, 2.0, 3.0, 4.0]);
    assert!(!ring.latest(&mut frame), "the same frame is not read twice");
    assert_eq!(ring.wait(NOW).expect("wait"), Wait::Timeout);
}

#[test]
fn more_people_than_a_slot_holds_are_left_out() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    let people = [portraitd_protocol::Person::default(); 20];
    writer.begin().expect("open").publish(&SlotInfo { people: &people, ..SlotInfo::default() });
    let mut frame = FrameCopy::default();
    assert!(ring.latest(&mut frame));
    assert_eq!(frame.info().people().len(), 16);
}

#[test]
fn a_slot_that_is_not_published_changes_nothing() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    publish(&mut writer);
    let mut slot = writer.begin().expect("open");
    assert_eq!(slot.index(), 2);
    slot.planes()[0].data.fill(99);
    drop(slot);
    let mut frame = FrameCopy::default();
    assert!(ring.latest(&mut frame) && is_whole(&frame));
    publish(&mut writer);
    assert!(ring.latest(&mut frame) && is_whole(&frame));
    assert_eq!(frame.info().index, 2);
}

#[test]
fn a_reader_that_is_overtaken_gets_the_newer_frame_and_no_mixture() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    publish(&mut writer);
    let mut calls = 0;
    let seen = ring.read(|view| {
        calls += 1;
        let mut start = [0; 8];
        view.copy_row(0, 0, &mut start);
        if calls == 1 {
            // The writer overwrites the slot while it is being read.
            (0..4).for_each(|_| publish(&mut writer));
        }
        let mut end = [0; 8];
        view.copy_row(0, 35, &mut end);
        (view.info().index, start[0], end[0])
    });
    assert_eq!(seen, Some((5, shade(5), shade(5))));
    assert_eq!((calls, ring.torn()), (2, 1));
}

#[test]
fn a_reader_that_is_overtaken_each_time_gives_up_and_counts() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    publish(&mut writer);
    let seen = ring.read(|_| (0..4).for_each(|_| publish(&mut writer)));
    assert_eq!(seen, None);
    assert_eq!(ring.torn(), 4);
    let mut frame = FrameCopy::default();
    assert!(ring.latest(&mut frame) && is_whole(&frame));
}

#[test]
fn a_slot_under_the_writers_hands_is_not_read() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    (0..4).for_each(|_| publish(&mut writer));
    // Slot 0 is being written, and the newest frame lies in slot 3.
    let _slot = writer.begin().expect("open");
    let mut frame = FrameCopy::default();
    assert!(ring.latest(&mut frame) && is_whole(&frame));
    assert_eq!(frame.info().index, 4);
    assert_eq!(ring.torn(), 0);
}

/// Two readers and a writer run at full speed. Every copy is whole, and the index increases with
/// each.
#[test]
fn readers_never_see_a_mixture() {
    const READERS: usize = 2;
    const ENOUGH: u64 = 500;
    let size = Size::new(256, 144);
    let mut writer = RingWriter::new(&spec(StreamKind::Mask, PixelFormat::Grey, size)).expect("ring");
    let done = AtomicBool::new(false);
    let read: [AtomicU64; READERS] = std::array::from_fn(|_| AtomicU64::new(0));
    std::thread::scope(|scope| {
        let readers: Vec<_> = read
            .iter()
            .map(|frames| {
                let mut ring = attach(&writer);
                let done = &done;
                scope.spawn(move || {
                    let mut frame = FrameCopy::default();
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        if ring.latest(&mut frame) {
                            assert!(is_whole(&frame), "frame {} is a mixture", frame.info().index);
                            assert_eq!(frame.info().sequence, frame.info().index + 100);
                            assert!(frame.info().index > last);
                            last = frame.info().index;
                            frames.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    (ring.torn(), ring.skipped())
                })
            })
            .collect();
        // Publishes until every reader has read enough frames, however few processors there are, or
        // has panicked.
        while read.iter().any(|frames| frames.load(Ordering::Relaxed) < ENOUGH)
            && !readers.iter().any(std::thread::ScopedJoinHandle::is_finished)
        {
            publish(&mut writer);
        }
        done.store(true, Ordering::Relaxed);
        for (reader, frames) in readers.into_iter().zip(&read) {
            let (torn, skipped) = reader.join().expect("reader");
            let frames = frames.load(Ordering::Relaxed);
            println!("read {frames}, torn and thrown away {torn}, skipped {skipped}");
        }
    });
}

#[test]
fn a_client_can_neither_write_nor_shrink_nor_grow() {
    let mut writer = writer();
    publish(&mut writer);
    let fds = writer.add_client().expect("client");
    let memory = File::from(fds.memory.try_clone().expect("dup"));
    let length = memory.metadata().expect("metadata").len();

    assert!(memory.write_at(b"x", 0).is_err(), "write");
    assert!(memory.set_len(length - 1).is_err(), "shrink");
    assert!(memory.set_len(length + 1).is_err(), "grow");
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::fs::fallocate(&memory, punch, 0, length), Err(Errno::BADF), "punch a hole");
    assert!(rustix::fs::fallocate(&memory, FallocateFlags::empty(), 0, length * 2).is_err(), "allocate");
    assert_eq!(rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE), Err(Errno::PERM), "seal");
    assert!(rustix::fs::fchmod(&memory, rustix::fs::Mode::from_raw_mode(0o666)).is_ok(), "it is our own file");
    // The kernel allows to reopen the memory for writing. The seals belong to the file and not to
    // the descriptor.
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    if let Ok(mut anew) = OpenOptions::new().read(true).write(true).open(path) {
        assert!(anew.write(b"x").is_err(), "write through a new descriptor");
        assert_eq!(rustix::fs::fallocate(&anew, punch, 0, length), Err(Errno::PERM), "punch a hole");
        hostile::assert_not_mappable_for_writing(&anew, HEADER_BYTES);
    }
    hostile::assert_not_mappable_for_writing(&memory, HEADER_BYTES);

    // The ring has not changed.
    let mut ring = open(fds);
    let mut frame = FrameCopy::default();
    assert!(ring.latest(&mut frame) && is_whole(&frame));
    publish(&mut writer);
    assert!(ring.latest(&mut frame) && is_whole(&frame));
}

/// Attempts of a client that need unsafe code.
#[allow(unsafe_code)]
mod hostile {
    use super::*;
    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};

    pub fn assert_not_mappable_for_writing(memory: impl AsFd, bytes: usize) {
        let read_write = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, if the kernel creates one, overlaps no other and is never read.
        let mapped = unsafe { mmap(std::ptr::null_mut(), bytes, read_write, MapFlags::SHARED, &memory, 0) };
        assert!(mapped.is_err(), "a writable shared mapping");
        // SAFETY: as above.
        let mapped = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, &memory, 0) };
        let mapped = mapped.expect("a read-only mapping");
        // SAFETY: the mapping was created here, and there is no reference into it.
        let changed = unsafe { mprotect(mapped, bytes, MprotectFlags::READ | MprotectFlags::WRITE) };
        // SAFETY: as above.
        unsafe { munmap(mapped, bytes) }.expect("munmap");
        assert!(changed.is_err(), "made writable afterwards");
    }
}

#[test]
fn memory_that_can_be_shortened_is_not_opened() {
    let (reader, _writer) = std::io::pipe().expect("pipe");
    let file = tempfile::tempfile().expect("file");
    let error = Ring::open(file.into(), reader.try_clone().expect("dup").into()).expect_err("not sealed");
    assert!(error.to_string().contains("not sealed"), "{error}");
    let memfd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::ALLOW_SEALING).expect("memfd");
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK).expect("seal");
    let error = Ring::open(memfd, reader.into()).expect_err("empty");
    assert!(error.to_string().contains("the header needs 4096 bytes"), "{error}");
}

fn is_readable(fd: impl AsFd, seconds: i64) -> bool {
    let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).expect("poll") == 1
}

#[test]
fn a_client_that_leaves_is_noticed_without_a_frame() {
    let writer = writer();
    let clients = writer.clients();
    let (first, second) = (writer.add_client().expect("client"), writer.add_client().expect("client"));
    let first_id = first.id;
    assert!(!is_readable(clients.hangup_fd(), 0));
    assert_eq!(clients.reap(), 0);
    drop(first);
    assert!(is_readable(clients.hangup_fd(), 60), "the kernel reports it at once");
    let mut left = Vec::new();
    assert_eq!(clients.reap_each(|id| left.push(id)), 1);
    assert_eq!(left, [first_id]);
    assert_eq!(clients.client_count(), 1);
    assert!(!is_readable(clients.hangup_fd(), 0));
    drop(second);
    assert!(is_readable(clients.hangup_fd(), 60));
    assert_eq!(clients.reap(), 1);
}

#[test]
fn many_clients_that_leave_at_once_are_all_reaped() {
    let mut writer = writer();
    let clients: Vec<_> = (0..50).map(|_| writer.add_client().expect("client")).collect();
    drop(clients);
    // The writer notices the closed pipes first, and continues.
    publish(&mut writer);
    publish(&mut writer);
    // A process that another test has forked holds a copy of every pipe until it executes its
    // program.
    let mut left = 0;
    while left < 50 && is_readable(writer.clients().hangup_fd(), 60) {
        left += writer.clients().reap();
    }
    assert_eq!(left, 50);
    assert_eq!(writer.clients().client_count(), 0);
}

#[test]
fn the_clients_of_a_ring_are_limited_and_a_place_becomes_free() {
    let writer = writer();
    let mut clients: Vec<_> = (0..MAX_CLIENTS).map(|_| writer.add_client().expect("client")).collect();
    let error = writer.add_client().expect_err("one too many");
    assert!(matches!(error, PublishError::Full(MAX_CLIENTS)), "{error}");
    let last = clients.pop().expect("a client").id;
    assert!(writer.clients().remove_client(last));
    writer.add_client().expect("a place is free");
}

#[test]
fn a_client_that_never_reads_costs_nothing_and_loses_nothing() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    for _ in 0..20_000 {
        publish(&mut writer);
    }
    let mut frame = FrameCopy::default();
    assert_eq!(ring.wait(LONG).expect("wait"), Wait::Frame);
    assert!(ring.latest(&mut frame) && is_whole(&frame));
    assert_eq!(frame.info().index, 20_000);
    assert_eq!(ring.wait(NOW).expect("wait"), Wait::Timeout, "one drain empties the pipe");
    publish(&mut writer);
    publish(&mut writer);
    assert_eq!(ring.wait(LONG).expect("wait"), Wait::Frame);
    assert!(ring.latest(&mut frame));
    assert_eq!(ring.skipped(), 1);
}

#[test]
fn a_frame_that_is_there_already_wakes_a_new_client() {
    let mut writer = writer();
    publish(&mut writer);
    let mut ring = attach(&writer);
    assert_eq!(ring.wait(LONG).expect("wait"), Wait::Frame);
}

/// As root only: another user's client.
#[test]
fn a_client_of_another_user_can_neither_write_nor_shrink_nor_grow() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED, NOT TESTED: what another user may do, which needs root");
        return;
    }
    const OTHER: u32 = 12_345;
    let share = RingBudget::default().take(OTHER, Amounts::ring(1 << 20)).expect("room");
    let mut writer = RingWriter::charged(&spec(StreamKind::View, PixelFormat::Nv12, SIZE), share).expect("ring");
    publish(&mut writer);
    let fds = writer.add_client().expect("client");
    let memory = File::from(fds.memory.try_clone().expect("dup"));
    let length = memory.metadata().expect("metadata").len();
    std::thread::spawn(move || {
        // Of this thread only, as a raw system call.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(OTHER)).expect("root may");
        let path = format!("/proc/thread-self/fd/{}", memory.as_raw_fd());
        let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
        assert!(OpenOptions::new().read(true).write(true).open(&path).is_err_and(denied), "open for writing");
        assert!(OpenOptions::new().read(true).open(&path).is_err_and(denied), "open again");
        assert!(rustix::fs::fchmod(&memory, rustix::fs::Mode::from_raw_mode(0o666)).is_err(), "change the mode");
        assert!(memory.write_at(b"x", 0).is_err(), "write");
        assert!(memory.set_len(length - 1).is_err(), "shrink");
        assert!(memory.set_len(length + 1).is_err(), "grow");
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(&memory, punch, 0, length).is_err(), "punch a hole");
        hostile::assert_not_mappable_for_writing(&memory, HEADER_BYTES);
    })
    .join()
    .expect("refused");
    let mut ring = open(fds);
    let mut frame = FrameCopy::default();
    assert!(ring.latest(&mut frame) && is_whole(&frame));
}

#[test]
fn a_closed_ring_wakes_its_clients_and_takes_no_more() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    let waiting = std::thread::spawn(move || (ring.wait(None).expect("wait"), ring));
    writer.close();
    let (waited, ring) = waiting.join().expect("client");
    assert_eq!(waited, Wait::Closed);
    assert!(ring.closed());
    assert!(matches!(writer.add_client(), Err(PublishError::Closed)));
    // A render thread may begin another frame before it notices the closed ring.
    assert!(writer.begin().is_none());
}

#[test]
fn the_last_frame_is_read_before_the_close_is_told() {
    let mut writer = writer();
    let mut ring = attach(&writer);
    publish(&mut writer);
    drop(writer);
    let mut frame = FrameCopy::default();
    assert_eq!(ring.wait(LONG).expect("wait"), Wait::Frame);
    assert!(ring.latest(&mut frame) && is_whole(&frame));
    assert_eq!(ring.wait(LONG).expect("wait"), Wait::Closed);
}

#[test]
fn a_ring_that_cannot_be_is_refused_with_its_numbers() {
    let refuse = |size, slots| {
        let spec = RingSpec { slots, ..spec(StreamKind::View, PixelFormat::Nv12, size) };
        RingWriter::new(&spec).expect_err("cannot be").to_string()
    };
    assert_eq!(refuse(SIZE, 3), "a ring for 64x36 NV12 pictures: slot count is 3, which is not 4 to 64");
    assert_eq!(refuse(Size::new(0, 36), 4), "a ring for 0x36 NV12 pictures: width is 0, which is not 1 to 16384");
    assert!(refuse(Size::new(20_000, 36), 4).contains("width is 20000"));
}

#[test]
fn the_memory_is_named_and_cannot_be_run() {
    let writer = writer();
    let fds = writer.add_client().expect("client");
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fds.memory.as_raw_fd())).expect("link");
    assert!(link.to_string_lossy().contains("memfd:portraitd-view"), "{}", link.display());
    let seals = rustix::fs::fcntl_get_seals(&fds.memory).expect("seals");
    assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL));
}

#[test]
fn each_client_has_a_file_offset_of_its_own() {
    let writer = writer();
    let [mut first, mut second] = [(), ()].map(|()| File::from(writer.add_client().expect("client").memory));
    let (mut bytes, mut others) = ([0; 8], [0; 8]);
    first.read_exact(&mut bytes).expect("the header");
    assert_eq!(second.stream_position().expect("a position"), 0);
    second.read_exact(&mut others).expect("the header");
    assert_eq!((&bytes, &others), (b"PORTRAIT", b"PORTRAIT"));
}

#[test]
fn a_closed_ring_takes_no_frame() {
    let mut writer = writer();
    let bytes = writer.layout().total_bytes() - HEADER_BYTES;
    let clients = writer.clients();
    let memory = File::from(writer.add_client().expect("client").memory);
    let pixels = || {
        let mut bytes = vec![0; bytes];
        memory.read_exact_at(&mut bytes, HEADER_BYTES as u64).expect("the slots");
        bytes
    };
    publish(&mut writer);
    assert!(pixels().contains(&shade(1)));
    let mut slot = writer.begin().expect("open");
    slot.planes()[0].data.fill(77);
    clients.wipe();
    assert!(pixels().contains(&77), "the slot is being drawn");
    slot.publish(&SlotInfo::default());
    assert!(pixels().iter().all(|byte| *byte == 0), "and wiped as soon as it is finished");
    assert!(writer.begin().is_none());
}

#[test]
fn a_limited_client_is_woken_less_often_than_the_rest() {
    let mut writer = writer();
    let fds = writer.clients().add_client(Some(Duration::from_millis(100))).expect("client");
    let mut woken = 0;
    for frame in 0..30u64 {
        writer.begin().expect("open").publish_at(&SlotInfo::default(), 1_000_000_000 + frame * 33_333_333);
        if is_readable(&fds.event, 0) {
            woken += rustix::io::read(&fds.event, &mut [0; 100]).expect("read");
        }
    }
    assert_eq!(woken, 10);
}

#[test]
fn a_client_that_does_not_read_has_one_byte_that_takes_no_page_of_its_own() {
    let mut writer = writer();
    let fds = writer.add_client().expect("client");
    for frame in 1..=30 {
        writer.begin().expect("open").publish_at(&SlotInfo::default(), frame * 33_333_333);
    }
    assert_eq!(rustix::io::read(&fds.event, &mut [0; 100]).expect("read"), 1);
}

#[test]
fn nothing_is_left_open() {
    // Other tests open descriptors at the same time, so only those of this pipe are counted.
    let writer = writer();
    let first: OwnedFd = {
        let fds = writer.add_client().expect("client");
        fds.event
    };
    let link = std::fs::read_link(format!("/proc/self/fd/{}", first.as_raw_fd())).expect("link");
    let ours = || {
        let fds = std::fs::read_dir("/proc/self/fd").expect("proc");
        fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).filter(|other| *other == link).count()
    };
    assert_eq!(ours(), 2, "both ends of the pipe");
    let clients = writer.clients();
    drop(first);
    assert!(is_readable(clients.hangup_fd(), 60));
    assert_eq!(clients.reap(), 1);
    assert_eq!(ours(), 0);
}
