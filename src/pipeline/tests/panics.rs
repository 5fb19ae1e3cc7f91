//! A thread of a camera panics: no client waits silently, no picture stays, and no camera stays on.
//!
//! `resume_unwind` panics without a message on the terminal.

use std::sync::atomic::AtomicUsize;

use portraitd_media::frame::{Buffer, Lease};

use super::*;

/// Memory that a render thread cannot read.
#[derive(Default)]
struct TrapBuffer {
    leases: AtomicUsize,
    bytes: Vec<u8>,
}

impl Buffer for TrapBuffer {
    fn plane(&self, _: usize) -> &[u8] {
        if std::thread::current().name().is_some_and(|name| name.starts_with("render")) {
            std::panic::resume_unwind(Box::new("injected"));
        }
        &self.bytes
    }

    fn leases(&self) -> &AtomicUsize {
        &self.leases
    }

    fn released(&self) {}
}

/// A frame in such memory.
pub(super) fn trap(format: FrameFormat, sequence: &mut u64) -> Frame {
    *sequence += 1;
    let bytes = vec![LUMA; (format.size.width * format.size.height * 3 / 2) as usize];
    let lease = Lease::new(Arc::new(TrapBuffer { bytes, ..TrapBuffer::default() }));
    Frame::new(*sequence, monotonic_ns(), format, lease).expect("large enough")
}

fn config() -> config::CameraConfig {
    config::CameraConfig { idle_close_s: 0.05, allow_source: true, ..config::CameraConfig::default() }
}

/// Waits until the capture thread has dropped the stream: the camera is off.
async fn until_off(steps: &Sender<Step>) {
    let off = async {
        while steps.send(Step::Frame).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), off).await.expect("the camera is off");
}

#[tokio::test]
async fn a_source_that_panics_counts_as_failed_and_is_opened_again() {
    let mut rig = Rig::with(config());
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    steps.send(Step::Panic).expect("streams");
    let state = rig.until(CameraState::Failed).await;
    assert_eq!(state.camera.last_error, "scripted: a defect of the program: injected");
    until_off(&steps).await;
    assert!(rig.camera.shared().frames.latest().is_none(), "no thread finds its last frame any more");
    let refused = rig.attach().await.expect_err("absent meanwhile");
    assert!(matches!(&refused, ServiceError::CameraAbsent(_)), "{refused}");
    let steps = rig.will_open();
    rig.camera.retry_now();
    steps.send(Step::Frame).expect("will stream");
    assert_eq!(luma(&read(&mut ring)), LUMA, "the same ring goes on");
    rig.until(CameraState::Running).await;
}

#[tokio::test]
async fn a_render_thread_that_panics_wipes_its_ring_and_lets_its_clients_go() {
    let mut rig = Rig::with(config());
    let steps = rig.will_open();
    let options = AttachOptions::of_stream(StreamKind::View);
    let request = AttachRequest { client: client("test"), stream: StreamKind::View, options };
    let attached = rig.camera.attach(request).await.expect("there");
    let memory = std::fs::File::from(attached.fds.memory.try_clone().expect("a descriptor"));
    let mut ring = Ring::open(attached.fds.memory, attached.fds.event).expect("a ring");
    steps.send(Step::Frame).expect("streams");
    assert_eq!(luma(&read(&mut ring)), LUMA);
    steps.send(Step::Trap).expect("streams");
    while ring.wait(Some(Duration::from_secs(30))).expect("a pipe") != Wait::Closed {
        ring.latest(&mut FrameCopy::default());
    }
    // The client keeps its descriptors, and does nothing.
    rig.state.wait_for(|state| state.camera.consumers == 0).await.expect("a camera");
    let slots = &contents(memory.into())[portraitd_protocol::layout::HEADER_BYTES..];
    assert!(slots.iter().all(|byte| *byte == 0), "the slots are wiped");
    until_off(&steps).await;
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    assert_eq!(luma(&read(&mut ring)), LUMA, "another ring");
}

/// A source that fails in a way that the capture thread cannot handle: asking for its name panics,
/// too.
struct Broken;

impl Source for Broken {
    fn name(&self) -> String {
        if std::thread::current().name().is_some_and(|name| name.starts_with("capture")) {
            std::panic::resume_unwind(Box::new("injected"));
        }
        "broken".into()
    }

    fn open(&self, _: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        std::panic::resume_unwind(Box::new("injected"))
    }
}

#[tokio::test]
async fn a_capture_thread_that_cannot_go_on_ends_every_wait() {
    let rig = Rig::with_source(config(), None, PrivacyNotes::default(), Openings::default(), (Box::new(Broken), None));
    for _ in 0..2 {
        let attached = tokio::time::timeout(Duration::from_secs(5), rig.attach()).await.expect("an answer");
        assert!(matches!(&attached, Err(ServiceError::Failed(_))), "{:?}", attached.map(drop));
    }
    let state = rig.state.borrow().camera.clone();
    assert_eq!(state.state, CameraState::Failed);
    assert!(state.last_error.contains("the thread capture-"), "{}", state.last_error);
    let snapshot = rig.camera.snapshot(client("test"), StreamKind::View);
    assert!(matches!(snapshot.await, Err(ServiceError::Failed(_))));
}
