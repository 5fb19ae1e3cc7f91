use std::fs::File;
use std::os::unix::fs::FileExt;

use portraitd_client::provide::OfferedRing;
use portraitd_media::{Colorimetry, PixelFormat, Size};
use portraitd_protocol::layout::{HEADER_BYTES, header, slot};
use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};

use super::*;

const SIZE: Size = Size::new(34, 18);
const NOW: u64 = 50_000_000_000;

/// Sealed memory with these bytes.
fn memory(bytes: &[u8]) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).expect("a memfd");
    let file = File::from(file);
    file.write_all_at(bytes, 0).expect("written");
    fcntl_add_seals(&file, SEALS).expect("sealed");
    file.into()
}

fn copying(sequence: u64) -> Copying {
    Copying { sequence, now_ns: NOW, last_ns: 0 }
}

#[test]
fn a_frame_is_copied_once_with_its_planes_and_its_time() {
    let mut ring = OfferedRing::new(PixelFormat::I420, Colorimetry::default(), SIZE).expect("memory");
    let memory = std::os::fd::AsFd::as_fd(&ring.memory()).try_clone_to_owned().expect("a descriptor");
    let (mut frames, _fds) = OfferedFrames::open(memory).expect("taken");
    let mut pool = frames.pool(30.0);
    assert!(matches!(frames.copy(&mut pool, copying(1)), Ok(None)), "there is none yet");
    ring.write(Some(NOW - 7), |planes| {
        for plane in 0..3_u8 {
            planes.plane(plane.into()).0.fill(plane + 1);
        }
    });
    let Ok(Some(Some(frame))) = frames.copy(&mut pool, copying(1)) else { panic!("a frame") };
    assert_eq!((frame.sequence, frame.capture_ns, frame.private), (1, NOW - 7, false));
    for plane in 0..3_u8 {
        assert!(frame.picture().plane(plane.into()).data.iter().all(|byte| *byte == plane + 1));
    }
    assert!(matches!(frames.copy(&mut pool, copying(2)), Ok(None)), "it was read");
    ring.write(None, |planes| planes.copy_packed(&[9; 34 * 18 * 3 / 2]));
    let mut held = vec![frame];
    while let Ok(Some(Some(frame))) = frames.copy(&mut pool, copying(2)) {
        assert_eq!(frame.picture().plane(2).row(8)[..17], [9; 17]);
        held.push(frame);
        ring.write(None, |planes| planes.copy_packed(&[9; 34 * 18 * 3 / 2]));
    }
    assert_eq!(held.len(), BUFFERS, "readers hold every buffer");
    held.clear();
    ring.write(None, |_| ());
    assert!(matches!(frames.copy(&mut pool, copying(3)), Ok(Some(Some(_)))));
}

#[test]
fn locks_and_indices_that_lie_are_torn_frames() {
    let good = OfferedRing::new(PixelFormat::Grey, Colorimetry::default(), SIZE).expect("memory");
    let layout = *good.layout();
    for latest in [0, 1, 4, 5, 1 << 31, u64::MAX / 2, u64::MAX] {
        for lock in [0, 1, 2, latest.wrapping_mul(2), latest.wrapping_mul(2).wrapping_sub(1), u64::MAX] {
            let mut bytes = vec![0xff; layout.total_bytes()];
            bytes[..HEADER_BYTES].copy_from_slice(layout.encode().as_slice());
            bytes[header::LATEST..header::LATEST + 8].copy_from_slice(&latest.to_le_bytes());
            for slot in 0..4 {
                let at = layout.slot_offset(slot) + slot::LOCK;
                bytes[at..at + 8].copy_from_slice(&lock.to_le_bytes());
            }
            let (mut frames, _fds) = OfferedFrames::open(memory(&bytes)).expect("the header is good");
            let mut pool = frames.pool(30.0);
            match frames.copy(&mut pool, copying(1)) {
                Ok(None) => assert_eq!(latest, 0),
                Err(Torn) => assert_ne!(lock, latest.wrapping_mul(2)),
                Ok(Some(frame)) => {
                    let frame = frame.expect("a buffer is free");
                    assert_eq!(lock, latest.wrapping_mul(2));
                    assert_eq!((frame.capture_ns, frame.private), (NOW, true), "its time cannot be");
                }
            }
        }
    }
}

#[test]
fn a_frame_that_is_being_written_is_not_shown() {
    let mut ring = OfferedRing::new(PixelFormat::Grey, Colorimetry::default(), Size::new(640, 360)).expect("memory");
    let memory = std::os::fd::AsFd::as_fd(&ring.memory()).try_clone_to_owned().expect("a descriptor");
    let (mut frames, _fds) = OfferedFrames::open(memory).expect("taken");
    let mut pool = frames.pool(30.0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut whole, mut torn) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for shade in (0..=250).cycle() {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                ring.write(None, |planes| planes.plane(0).0.fill(shade));
            }
        });
        while whole < 200 {
            match frames.copy(&mut pool, copying(1)) {
                Ok(Some(Some(frame))) => {
                    let bytes = frame.picture().plane(0).data;
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixture of two frames");
                    whole += 1;
                }
                Ok(_) => {}
                Err(Torn) => torn += 1,
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    eprintln!("{whole} whole, {torn} torn");
}

#[test]
fn capture_times_are_those_that_can_be() {
    assert_eq!(capture_time(NOW - 1, NOW, 0), NOW - 1);
    assert_eq!(capture_time(NOW + 1, NOW, 0), NOW, "the future");
    assert_eq!(capture_time(NOW - MAX_AGE_NS - 1, NOW, 0), NOW, "too old");
    assert_eq!(capture_time(NOW - 5, NOW, NOW - 3), NOW - 2, "later than the frame before");
    assert_eq!(capture_time(0, NOW, u64::MAX), u64::MAX);
}

#[test]
fn the_other_side_is_told_and_its_end_is_seen() {
    let ring = OfferedRing::new(PixelFormat::Grey, Colorimetry::default(), SIZE).expect("memory");
    let memory = std::os::fd::AsFd::as_fd(&ring.memory()).try_clone_to_owned().expect("a descriptor");
    let (frames, fds) = OfferedFrames::open(memory).expect("taken");
    let at_once = Duration::ZERO;
    assert!(matches!(frames.wait(at_once), Waited::Nothing));
    for _ in 0..3 {
        rustix::io::write(&fds.event, &1u64.to_ne_bytes()).expect("announced");
        assert!(matches!(frames.wait(at_once), Waited::Announced));
        assert!(matches!(frames.wait(at_once), Waited::Nothing), "an announcement counts once, and nothing was read");
    }
    assert!(frames.tell(true));
    let mut byte = [7; 2];
    assert_eq!(rustix::io::read(&fds.demand, &mut byte).expect("told"), 1);
    assert_eq!(byte[0], 1);
    let error = rustix::net::send(&fds.demand, b"x", SendFlags::NOSIGNAL).expect_err("the service takes nothing");
    assert_eq!(error, Errno::PIPE);
    let mut told = 0;
    while frames.tell(false) {
        told += 1;
    }
    assert!((1..100_000).contains(&told), "who does not read is no longer told: {told}");
    drop(fds);
    assert!(matches!(frames.wait(at_once), Waited::Ended));
    assert!(!frames.tell(true));
}

/// Prints what a frame costs beside a plain copy of as many bytes, with both in the processor's caches
/// and with neither: `cargo test --release --lib frame_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn what_a_frame_costs_beside_a_plain_copy() {
    let mut other = vec![0_u8; 64 << 20];
    for (size, cold) in [640, 1280, 1920].into_iter().flat_map(|width| [(width, false), (width, true)]) {
        let size = Size::new(size, size / 16 * 9);
        let mut ring = OfferedRing::new(PixelFormat::Nv12, Colorimetry::default(), size).expect("memory");
        let memory = std::os::fd::AsFd::as_fd(&ring.memory()).try_clone_to_owned().expect("a descriptor");
        let (mut frames, _fds) = OfferedFrames::open(memory).expect("taken");
        let mut pool = frames.pool(30.0);
        let bytes = buffer_bytes(frames.layout()) / BUFFERS;
        let (mut from, mut to) = (vec![1; bytes], vec![0; bytes]);
        let mut least = [Duration::MAX; 2];
        for round in 0..if cold { 40 } else { 400 } {
            let shade = u8::try_from(round % 200).expect("under 200");
            let mut evict = || {
                if cold {
                    std::hint::black_box(&mut other).fill(shade);
                }
            };
            ring.write(None, |planes| (0..2).for_each(|plane| planes.plane(plane).0.fill(shade)));
            evict();
            let begun = Instant::now();
            let copied = frames.copy(&mut pool, copying(1));
            least[0] = least[0].min(begun.elapsed());
            assert!(matches!(copied, Ok(Some(Some(_)))));
            from.fill(shade);
            evict();
            let begun = Instant::now();
            to.copy_from_slice(std::hint::black_box(&from));
            std::hint::black_box(&mut to);
            least[1] = least[1].min(begun.elapsed());
        }
        let ratio = least[0].as_secs_f64() / least[1].as_secs_f64();
        eprintln!("{size}, cold {cold}: {:?} for a frame, {:?} for a plain copy: {ratio:.2}", least[0], least[1]);
    }
}
