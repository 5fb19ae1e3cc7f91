//! Another program provides the frames of a whole camera, and lies.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use portraitd_client::provide::OfferedRing;
use portraitd_protocol::RingLayout;
use portraitd_protocol::layout::HEADER_BYTES;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create};

use super::*;
use crate::publish::dbus::service::OfferRequest;
use crate::source::SourceSpec;
use crate::source::provider::ProviderFds;

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE);

/// A program that provides frames.
struct Program {
    ring: OfferedRing,
    fds: ProviderFds,
}

impl Program {
    /// Every byte of the frame is `value`.
    fn publish(&mut self, value: u8) {
        self.ring.write(None, |planes| {
            for plane in 0..2 {
                planes.plane(plane).0.fill(value);
            }
        });
        announce(&self.fds);
    }

    /// What the service says about who looks; `None` at the end.
    fn told(&self) -> Option<bool> {
        told(&self.fds)
    }
}

fn announce(fds: &ProviderFds) {
    rustix::io::write(&fds.event, &1u64.to_ne_bytes()).expect("announced");
}

fn told(fds: &ProviderFds) -> Option<bool> {
    rustix::io::ioctl_fionbio(&fds.demand, false).expect("waits");
    let mut byte = [0];
    let count = rustix::io::read(&fds.demand, &mut byte).expect("a socket");
    (count > 0).then_some(byte[0] != 0)
}

fn rig(idle_close_s: f64) -> Rig {
    let config = config::CameraConfig { idle_close_s, ..config::CameraConfig::default() };
    let source = SourceSpec::Provider.into_source_and_desk();
    Rig::with_source(config, None, PrivacyNotes::default(), Openings::default(), source)
}

fn ring(size: Size) -> OfferedRing {
    OfferedRing::new(PixelFormat::Nv12, Colorimetry::default(), size).expect("memory")
}

async fn offer_as(rig: &Rig, name: &str, memory: impl AsFd) -> Result<ProviderFds, ServiceError> {
    let memory = memory.as_fd().try_clone_to_owned().expect("a descriptor");
    rig.camera.offer(OfferRequest { client: client(name), memory, frame_rate: Some(30) }).await
}

async fn program(rig: &Rig, size: Size) -> Program {
    let ring = ring(size);
    let fds = offer_as(rig, "provider", ring.memory()).await.expect("taken");
    Program { ring, fds }
}

/// Attaches, which needs no frame.
async fn look(rig: &Rig) -> Ring {
    rig.attach().await.expect("there is a provider")
}

#[tokio::test]
async fn a_provider_is_told_who_looks_and_its_frames_are_shown() {
    let mut rig = rig(0.1);
    let refused = rig.attach().await.expect_err("nobody provides");
    assert!(
        matches!(&refused, ServiceError::CameraAbsent(text) if text.contains("no program provides frames")),
        "{refused}"
    );
    rig.until(CameraState::Idle).await;
    let mut program = program(&rig, SIZE).await;
    program.publish(1);
    let mut ring = look(&rig).await;
    assert_eq!(program.told(), Some(true));
    program.publish(LUMA);
    assert_eq!(luma(&read(&mut ring)), LUMA, "and not the frame from before");
    rig.until(CameraState::Running).await;
    drop(ring);
    rig.until(CameraState::Idle).await;
    assert_eq!(program.told(), Some(false));
    let _ring = look(&rig).await;
    assert_eq!(program.told(), Some(true));
}

#[tokio::test]
async fn the_end_of_a_provider_is_an_absent_camera_and_the_next_one_goes_on() {
    let mut rig = rig(60.0);
    let mut first = program(&rig, SIZE).await;
    let mut ring = look(&rig).await;
    first.publish(LUMA);
    read(&mut ring);
    rig.until(CameraState::Running).await;
    drop(first);
    let absent = rig.state.wait_for(|state| state.camera.state != CameraState::Running).await;
    assert_eq!(absent.expect("a camera").camera.state, CameraState::Absent);
    let mut second = program(&rig, SIZE).await;
    assert_eq!(second.told(), Some(true), "the offer itself starts the next attempt");
    second.publish(LUMA / 2);
    assert_eq!(luma(&read(&mut ring)), LUMA / 2, "the same ring goes on");
}

#[tokio::test]
async fn one_program_provides_at_a_time_and_may_change_its_format() {
    let mut rig = rig(60.0);
    let before = descriptors();
    let mut provider = program(&rig, SIZE).await;
    let other = ring(SIZE);
    let refused = offer_as(&rig, "other", other.memory()).await.expect_err("there is one");
    assert!(matches!(&refused, ServiceError::Busy(text) if text.contains("provider")), "{refused}");
    let mut attached = look(&rig).await;
    provider.publish(LUMA);
    read(&mut attached);
    for step in 1..=100 {
        let size = Size::new(32 + 2 * (step % 7), 16);
        let old = std::mem::replace(&mut provider, program(&rig, size).await);
        // It was told that somebody looks, then perhaps that nobody does, and then it is over. A
        // program that does not wait for that has no outage either.
        while step % 2 == 0 && told(&old.fds).is_some() {}
        drop(old);
        assert_eq!(provider.told(), Some(true));
        provider.publish(LUMA);
        let format = rig.state.wait_for(|state| {
            let found = state.camera.format.map(|format| format.size);
            found == Some(size) && state.camera.state == CameraState::Running
        });
        tokio::time::timeout(Duration::from_secs(30), format).await.expect("in time").expect("a camera");
    }
    assert_eq!(rig.camera.report(1.0).reopened, 0, "the state has stayed as it was");
    assert_eq!(attached.wait(Some(Duration::from_secs(30))).expect("a pipe"), Wait::Closed);
    drop((provider, attached, other));
    rig.until(CameraState::Absent).await;
    assert!(descriptors() <= before + 2, "{} instead of {before}", descriptors());
}

/// The descriptors of this process that belong to offers: memfds, eventfds, sockets and epoll sets
/// come and go in other tests too, so only the memory of this test's providers is counted.
fn descriptors() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines().filter(|line| line.contains("memfd:portraitd-provider")).count()
}

#[tokio::test]
async fn a_camera_with_another_device_takes_no_offer() {
    let rig = Rig::new(60.0);
    let error = offer_as(&rig, "provider", ring(SIZE).memory()).await.expect_err("a scripted camera");
    assert!(matches!(&error, ServiceError::NotSupported(text) if text.contains("not `provider`")), "{error}");
}

/// Memory of `bytes` with `head` at its beginning.
fn memory(head: &[u8], bytes: u64, allocated: u64, seals: SealFlags) -> File {
    let file = File::from(memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).expect("a memfd"));
    file.set_len(bytes).expect("length");
    if allocated > 0 {
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, allocated).expect("memory");
    }
    file.write_all_at(head, 0).expect("written");
    fcntl_add_seals(&file, seals).expect("sealed");
    file
}

fn layout(stream: StreamKind) -> RingLayout {
    RingLayout::new(stream, 1, PixelFormat::Nv12, Colorimetry::default(), SIZE, 4).expect("a layout")
}

#[tokio::test]
async fn memory_that_could_change_under_the_service_is_refused() {
    let rig = rig(60.0);
    let good = layout(StreamKind::Source);
    let (head, bytes) = (good.encode(), good.total_bytes() as u64);
    let seals = |missing| SEALS.difference(missing);
    let of = |head: &[u8; HEADER_BYTES], bytes, allocated, seals| memory(head.as_slice(), bytes, allocated, seals);
    let cases = [
        (of(&head, bytes, bytes, SealFlags::empty()), "needs the seals"),
        (of(&head, bytes, bytes, seals(SealFlags::SHRINK)), "needs the seals"),
        (of(&head, bytes, bytes, seals(SealFlags::GROW)), "needs the seals"),
        (of(&head, bytes, bytes, seals(SealFlags::FUTURE_WRITE)), "needs the seals"),
        (of(&head, bytes, 0, SEALS), "are allocated"),
        (of(&head, (64 << 20) + 4096, 0, SEALS), "a provider may have 67108864"),
        (of(&head, bytes - 1, bytes - 1, SEALS), "needs"),
        (of(&layout(StreamKind::View).encode(), bytes, bytes, SEALS), "a provider's is `source`"),
        (of(&Box::new([0; HEADER_BYTES]), bytes, bytes, SEALS), "does not begin with PORTRAIT"),
    ];
    for (memory, expected) in cases {
        let error = offer_as(&rig, "provider", memory).await.expect_err(expected);
        assert!(matches!(&error, ServiceError::InvalidArgument(text) if text.contains(expected)), "{error}");
    }
    assert_eq!(rig.budget.used_by(1000), Amounts::default(), "nothing stays charged");
    offer_as(&rig, "provider", of(&head, bytes, bytes, SEALS)).await.expect("this one is good");
}
