//! A whole camera on a source that does what the test says: trouble, and what clients and the bus see of it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portraitd_client::{FrameCopy, Ring, Wait};
use portraitd_protocol::SlotFlags;
use portraitd_protocol::{BackgroundMode, CameraState, FramingMode, ServiceError, StreamKind};
use tokio::sync::watch;

use super::shared::Tuning;
use super::{Camera, CameraOptions};
use crate::publish::RingBudget;
use crate::publish::dbus::service::{
    AttachOptions, AttachRequest, CameraService, ClientName, DictionaryValue, PublishedState, SettingChange,
};
use crate::service::config;
use crate::service::notify::Watchdog;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::frame::MemoryPool;
use portraitd_media::latest::WaitOutcome;
use portraitd_media::{Colorimetry, PixelFormat, Size, UnitRect};
use portraitd_media::{FormatRequest, Frame, FrameFormat, Source, SourceError, Stream, StreamEvent};
use portraitd_vision::net::{EngineOptions, Library, Model};
use portraitd_vision::{Observation, TrackedPerson};

const SIZE: Size = Size::new(32, 16);
/// What the rings may take: any of the small ones, and one of 1280x720.
const MEMORY: usize = 8 << 20;
/// What the source's pictures are made of.
const LUMA: u8 = 200;

/// What a stream does next.
#[derive(Debug)]
enum Step {
    Frame,
    /// One in which everything has changed.
    News,
    Size(Size),
    Shutter(bool),
    Fail(SourceError),
}

/// What comes of the next openings; then the device is absent.
type Openings = Arc<Mutex<VecDeque<Result<Receiver<Step>, SourceError>>>>;

struct Scripted(Openings);

struct ScriptedStream {
    steps: Receiver<Step>,
    pool: MemoryPool,
    sequence: u64,
    private: bool,
}

fn format(size: Size) -> FrameFormat {
    FrameFormat::packed(PixelFormat::Nv12, size, Colorimetry::default(), 30.0)
}

fn busy() -> SourceError {
    SourceError::Busy { source_name: "scripted".into() }
}

fn gone() -> SourceError {
    SourceError::Gone { source_name: "scripted".into() }
}

impl Source for Scripted {
    fn name(&self) -> String {
        "scripted".into()
    }

    fn open(&self, _: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let steps = next.unwrap_or_else(|| Err(SourceError::Absent { source_name: self.name() }))?;
        Ok(Box::new(ScriptedStream { steps, pool: MemoryPool::new(format(SIZE), 8), sequence: 0, private: false }))
    }
}

impl ScriptedStream {
    fn frame(&mut self, luma: u8) -> Option<Frame> {
        self.sequence += 1;
        let bright = |bytes: &mut [u8]| {
            bytes.fill(luma);
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(frame) = self.pool.fill(self.sequence, monotonic_ns(), bright);
        frame
    }
}

impl Stream for ScriptedStream {
    fn format(&self) -> FrameFormat {
        self.pool.format()
    }

    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError> {
        match self.steps.recv_timeout(timeout) {
            Ok(Step::Frame) => Ok(self.frame(LUMA).map_or(StreamEvent::Nothing, StreamEvent::Frame)),
            Ok(Step::News) => {
                let luma = if self.sequence.is_multiple_of(2) { LUMA } else { LUMA / 4 };
                Ok(self.frame(luma).map_or(StreamEvent::Nothing, StreamEvent::Frame))
            }
            Ok(Step::Size(size)) => {
                self.pool = MemoryPool::new(format(size), 8);
                Ok(StreamEvent::FormatChanged(self.format()))
            }
            Ok(Step::Shutter(closed)) => {
                self.private = closed;
                Ok(StreamEvent::Nothing)
            }
            Ok(Step::Fail(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => Ok(StreamEvent::Nothing),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    fn private(&self) -> bool {
        self.private
    }
}

/// A camera without a net, its script, and its state on the bus.
struct Rig {
    camera: Camera,
    openings: Openings,
    state: watch::Receiver<PublishedState>,
}

impl Rig {
    fn new(idle_close_s: f64) -> Self {
        Self::with(config::CameraConfig { idle_close_s, ..config::CameraConfig::default() })
    }

    fn with(config: config::CameraConfig) -> Self {
        Self::with_net(config, None)
    }

    fn with_net(config: config::CameraConfig, model: Option<Model>) -> Self {
        let openings = Openings::default();
        let mut watchdog = Watchdog::new(u64::MAX, 0);
        let options = CameraOptions {
            config,
            library: Library::default(),
            budget: RingBudget::new(MEMORY),
            engine: EngineOptions::default(),
            model,
            progress: ["capture", "vision"].map(|part| watchdog.watch(part)),
        };
        let camera = Camera::start(options, Box::new(Scripted(Arc::clone(&openings)))).expect("starts");
        let state = camera.state();
        Self { camera, openings, state }
    }

    /// The next opening works; what the stream is to do is sent to what this returns.
    fn will_open(&self) -> Sender<Step> {
        let (sender, receiver) = channel();
        self.openings.lock().unwrap_or_else(PoisonError::into_inner).push_back(Ok(receiver));
        sender
    }

    fn will_fail(&self, error: SourceError) {
        self.openings.lock().unwrap_or_else(PoisonError::into_inner).push_back(Err(error));
    }

    async fn attach(&self) -> Result<Ring, ServiceError> {
        self.attach_to(StreamKind::View).await
    }

    async fn attach_to(&self, stream: StreamKind) -> Result<Ring, ServiceError> {
        let options = AttachOptions::of_stream(stream);
        let fds = self.camera.attach(AttachRequest { client: ClientName::new("test"), stream, options }).await?.fds;
        Ok(Ring::open(fds.memory, fds.event).expect("a ring"))
    }

    async fn attach_sized(&self, client: &str, size: Size) -> Result<Ring, ServiceError> {
        let stream = StreamKind::View;
        let options = AttachOptions { size: Some(size), ..AttachOptions::of_stream(stream) };
        let fds = self.camera.attach(AttachRequest { client: ClientName::new(client), stream, options }).await?.fds;
        Ok(Ring::open(fds.memory, fds.event).expect("a ring"))
    }

    async fn reconfigure(&self, config: &config::CameraConfig) -> Result<(), ServiceError> {
        self.camera.reconfigure(self.camera.prepare(config).await?);
        Ok(())
    }

    async fn until(&mut self, wanted: CameraState) -> PublishedState {
        let state = self.state.wait_for(|state| state.camera.state == wanted);
        tokio::time::timeout(Duration::from_secs(30), state).await.expect("in time").expect("a camera").clone()
    }
}

/// The next frame of a ring. Blocks the runtime, which nothing else needs meanwhile.
fn read(ring: &mut Ring) -> FrameCopy {
    let mut frame = FrameCopy::default();
    assert_eq!(ring.wait(Some(Duration::from_secs(30))).expect("a pipe"), Wait::Frame);
    assert!(ring.latest(&mut frame));
    frame
}

fn luma(frame: &FrameCopy) -> u8 {
    frame.plane(0).0[0]
}

#[tokio::test]
async fn a_refusal_is_named_as_long_as_somebody_asks() {
    let mut rig = Rig::new(0.2);
    rig.will_fail(busy());
    let refused = rig.attach().await.expect_err("busy");
    assert!(
        matches!(&refused, ServiceError::Busy(reason) if reason.contains("in use by another program")),
        "{refused}"
    );
    let state = rig.until(CameraState::Failed).await;
    assert!(state.camera.last_error.contains("in use by another program"), "{state:?}");
    // Nobody has asked for it since: nothing is tried, and after the grace period it is merely closed.
    let steps = rig.will_open();
    let state = rig.until(CameraState::Idle).await;
    assert!(state.camera.last_error.contains("in use by another program"), "what was wrong can still be read");
    let mut ring = rig.attach().await.expect("free now");
    steps.send(Step::Frame).expect("streams");
    assert_eq!(luma(&read(&mut ring)), LUMA);
    rig.until(CameraState::Running).await;
}

#[tokio::test]
async fn a_device_that_comes_back_is_opened_at_once_and_clients_keep_their_rings() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    rig.until(CameraState::Running).await;
    steps.send(Step::Fail(gone())).expect("streams");
    let state = rig.until(CameraState::Absent).await;
    assert!(state.camera.last_error.contains("went away"), "{state:?}");
    let steps = rig.will_open();
    rig.camera.kick();
    steps.send(Step::Frame).expect("will stream");
    assert_eq!(luma(&read(&mut ring)), LUMA, "the same ring goes on");
    let state = rig.until(CameraState::Running).await;
    assert_eq!((state.camera.generation, state.camera.consumers), (1, 1));
}

#[tokio::test]
async fn another_format_is_another_generation() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    steps.send(Step::Size(Size::new(64, 16))).expect("streams");
    while ring.wait(Some(Duration::from_secs(30))).expect("a pipe") == Wait::Frame {
        ring.latest(&mut FrameCopy::default());
    }
    assert!(ring.closed());
    let mut next = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    let frame = read(&mut next);
    assert_eq!((next.generation(), frame.layout().map(|layout| layout.size.width)), (2, Some(64)));
    assert_eq!(rig.until(CameraState::Running).await.camera.generation, 2);
}

#[tokio::test]
async fn a_closed_shutter_shows_black_and_says_so() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    let frame = read(&mut ring);
    assert_eq!((luma(&frame), frame.info().flags & SlotFlags::PRIVATE), (LUMA, SlotFlags::empty()));
    steps.send(Step::Shutter(true)).expect("streams");
    rig.until(CameraState::Private).await;
    // What the camera sends is not shown, whatever it is, and where it sends nothing black comes all the same.
    for send in [true, false] {
        if send {
            steps.send(Step::Frame).expect("streams");
        }
        let frame = read(&mut ring);
        assert_eq!((luma(&frame), frame.info().flags & SlotFlags::PRIVATE), (16, SlotFlags::PRIVATE));
    }
    let mut late = rig.attach().await.expect("a client may come meanwhile");
    assert_eq!(luma(&read(&mut late)), 16);
    steps.send(Step::Shutter(false)).expect("streams");
    steps.send(Step::Frame).expect("streams");
    rig.until(CameraState::Running).await;
    while luma(&read(&mut ring)) != LUMA {}
}

#[tokio::test]
async fn silence_is_a_stall() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    let state = rig.until(CameraState::Stalled).await;
    assert!(state.camera.last_error.contains("no frame for 2 s"), "{state:?}");
    let steps = rig.will_open();
    steps.send(Step::Frame).expect("will stream");
    assert_eq!(luma(&read(&mut ring)), LUMA);
}

#[tokio::test]
async fn a_reload_that_forbids_the_room_ends_it_at_once() {
    let allowed = config::CameraConfig { allow_source: true, ..config::CameraConfig::default() };
    let rig = Rig::with(allowed.clone());
    let steps = rig.will_open();
    let mut room = rig.attach_to(StreamKind::Source).await.expect("allowed");
    let mut view = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    assert_eq!((luma(&read(&mut room)), luma(&read(&mut view))), (LUMA, LUMA));
    rig.reconfigure(&config::CameraConfig { allow_source: false, ..allowed.clone() }).await.expect("good");
    assert!(room.closed(), "no frame more");
    assert!(!view.closed(), "a view is not the room");
    let refused = rig.attach_to(StreamKind::Source).await.expect_err("forbidden");
    assert!(matches!(refused, ServiceError::NoSuchStream(_)), "{refused}");
    assert_eq!((rig.camera.rings(), rig.camera.consumers()), (1, 1));
    rig.reconfigure(&allowed).await.expect("good");
    rig.attach_to(StreamKind::Source).await.expect("allowed again");
}

#[tokio::test]
async fn a_reload_that_is_refused_changes_nothing_and_one_that_is_taken_replaces_what_clients_set() {
    let rig = Rig::new(60.0);
    rig.camera.apply(SettingChange::ManualCrop((0.25, 0.25, 0.5, 0.5))).await.expect("good");
    rig.camera.apply(SettingChange::FramingMode(FramingMode::Manual)).await.expect("good");
    let before = rig.state.borrow().clone();
    let mut next = config::CameraConfig::default();
    next.framing.max_zoom = 3.0;
    next.background.image = Some("/no/such/picture.png".into());
    let refused = rig.reconfigure(&next).await.expect_err("no such picture");
    assert!(refused.to_string().contains("/no/such/picture.png"), "{refused}");
    assert_eq!(*rig.state.borrow(), before);
    next.background.image = None;
    next.background.blur = 0.1;
    rig.reconfigure(&next).await.expect("good");
    let after = rig.state.borrow().clone();
    assert_eq!((after.framing.mode, after.framing.max_zoom), (FramingMode::Follow, 3.0));
    assert_eq!(after.framing.manual_crop, (0.0, 0.0, 1.0, 1.0), "what was set by hand lasts until a reload");
    assert!((after.background.blur - 0.1).abs() < 1e-9);
}

#[tokio::test]
async fn a_reload_with_another_size_opens_the_camera_anew() {
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    let next = rig.will_open();
    let larger =
        config::CameraConfig { width: 1920, height: 1080, idle_close_s: 60.0, ..config::CameraConfig::default() };
    rig.reconfigure(&larger).await.expect("good");
    // The scripted camera has one size only, so the ring goes on; the old stream is not read any more.
    next.send(Step::Frame).expect("will stream");
    assert_eq!(luma(&read(&mut ring)), LUMA);
    assert!(steps.send(Step::Frame).is_err(), "closed");
}

#[tokio::test]
async fn the_limits_follow_the_largest_zoom() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let _ring = rig.attach().await.expect("there");
    steps.send(Step::Size(Size::new(640, 360))).expect("streams");
    let limit = |state: &PublishedState| match state.framing.limits.get("max_zoom") {
        Some(DictionaryValue::F64(limit)) => *limit,
        other => panic!("{other:?}"),
    };
    let state = rig.state.wait_for(|state| state.camera.generation == 2).await.expect("a camera").clone();
    assert!(limit(&state) > 1.4, "{}", limit(&state));
    rig.camera.apply(SettingChange::MaxZoom(1.25)).await.expect("good");
    let state = rig.state.borrow().clone();
    assert!((limit(&state) - 1.25).abs() < 1e-6, "{}", limit(&state));
}

#[tokio::test]
async fn a_camera_without_its_background_picture_starts_all_the_same() {
    let mut config = config::CameraConfig::default();
    config.background.mode = BackgroundMode::Image;
    config.background.image = Some("/no/such/picture.png".into());
    let rig = Rig::with(config);
    let steps = rig.will_open();
    let mut ring = rig.attach_to(StreamKind::Composite).await.expect("there");
    steps.send(Step::Frame).expect("streams");
    let frame = read(&mut ring);
    assert_ne!(luma(&frame), LUMA, "the colour, and never the room");
}

#[tokio::test]
async fn a_snapshot_of_a_camera_that_changes_its_size_is_of_the_new_size() {
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let sends = async {
        // Only once the snapshot is attached.
        rig.state.clone().wait_for(|state| state.camera.consumers == 1).await.expect("a camera");
        steps.send(Step::Size(Size::new(64, 16))).expect("streams");
        rig.state
            .clone()
            .wait_for(|state| state.camera.generation == 2 && state.camera.consumers == 1)
            .await
            .expect("a camera");
        steps.send(Step::Frame).expect("streams");
    };
    let (png, ()) = tokio::join!(rig.camera.snapshot(StreamKind::View), sends);
    let picture = portraitd_media::image::decode(&png.expect("a picture"), "snapshot".as_ref()).expect("a PNG");
    assert_eq!(picture.size(), Size::new(64, 16));
}

#[tokio::test]
async fn what_is_seen_in_a_scene_that_is_over_is_not_told() {
    let mut rig = Rig::new(60.0);
    let shared = rig.camera.shared();
    let seen = |people: usize| {
        let person = TrackedPerson { id: 1, bounds: UnitRect::WHOLE, confidence: 1.0 };
        Arc::new(Observation { people: vec![person; people], ..Observation::default() })
    };
    let scene = shared.scene();
    assert!(shared.see(scene, seen(1), &[]));
    assert!(rig.state.borrow_and_update().segmentation.present);
    // The shutter closes while a frame is being looked at.
    shared.set_state(CameraState::Private, None);
    assert!(!shared.see(scene, seen(1), &[]));
    assert!(!rig.state.borrow_and_update().segmentation.present);
    assert!(rig.camera.people().is_empty());
    let scene = shared.scene();
    assert!(shared.see(scene, seen(1), &[]));
    shared.set_state(CameraState::Absent, None);
    assert!(!rig.state.borrow_and_update().segmentation.present, "nobody can be there for a camera that is not");
    shared.mask_failed("the net failed");
    assert!(shared.see(shared.scene(), seen(0), &[]));
    let state = rig.state.borrow().segmentation.clone();
    assert!(state.healthy && state.degraded.is_empty(), "{state:?}");
}

#[tokio::test]
async fn the_memory_of_all_rings_is_bounded() {
    let rig = Rig::new(60.0);
    let _steps = rig.will_open();
    let large = rig.attach_sized("a", Size::new(1280, 720)).await.expect("room for one");
    let refused = rig.attach_sized("b", Size::new(1280, 718)).await.expect_err("no room for two");
    assert!(matches!(&refused, ServiceError::Busy(reason) if reason.contains("of the 8 that they may")), "{refused}");
    let _small = rig.attach_sized("b", Size::new(320, 180)).await.expect("a small one");
    let _same = rig.attach_sized("c", Size::new(1280, 720)).await.expect("the one that is there");
    drop(large);
    rig.camera.released(&ClientName::new("c"));
    rig.camera.released(&ClientName::new("a"));
    let _other = rig.attach_sized("b", Size::new(1280, 718)).await.expect("room again");
}

#[tokio::test]
async fn one_client_cannot_take_the_place_of_all() {
    let rig = Rig::new(60.0);
    let _steps = rig.will_open();
    let mut rings = Vec::new();
    let refused = loop {
        match rig.attach_sized("greedy", SIZE).await {
            Ok(ring) => rings.push(ring),
            Err(refused) => break refused,
        }
        assert!(rings.len() < 100);
    };
    assert!(matches!(&refused, ServiceError::Busy(reason) if reason.contains("16 times already")), "{refused}");
    rig.attach_sized("modest", SIZE).await.expect("another client");
}

#[tokio::test]
async fn clients_that_hold_on_to_ended_rings_take_no_place() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let _held = rig.attach_sized("holder", Size::new(1280, 720)).await.expect("room for one");
    steps.send(Step::Size(Size::new(64, 16))).expect("streams");
    rig.state.wait_for(|state| state.camera.generation == 2).await.expect("a camera");
    // Its render thread needs a moment to notice.
    let attached = async {
        loop {
            match rig.attach_sized("other", Size::new(1280, 720)).await {
                Err(ServiceError::Busy(_)) => tokio::task::yield_now().await,
                done => break done,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), attached).await.expect("in time").expect("room again");
    assert_eq!(rig.camera.rings(), 1);
}

#[tokio::test]
async fn a_net_that_is_too_slow_is_asked_less_and_it_is_said() {
    let model = Library::default().load("selfie-general", EngineOptions::default()).expect("built in");
    let mut rig = Rig::with_net(config::CameraConfig::default(), Some(model));
    let shared = rig.camera.shared();
    // No net is that fast.
    shared.tune(Tuning { inference_interval: Duration::ZERO, mask_budget: Duration::from_nanos(1), ..shared.tuning() });
    let steps = rig.will_open();
    let _ring = rig.attach().await.expect("there");
    let (mut said, mut seen) = (Vec::<String>::new(), 0);
    for _ in 0..20_000 {
        steps.send(Step::News).expect("streams");
        // The next frame when this one was seen, or was one too many.
        if let WaitOutcome::New(_, count) = shared.observations.wait_newer(seen, Duration::from_millis(5)) {
            seen = count;
        }
        let degraded = rig.state.borrow().segmentation.degraded.clone();
        if !degraded.is_empty() && said.last() != Some(&degraded) {
            said.push(degraded);
        }
        if said.last().is_some_and(|said| said.starts_with("framing only")) {
            break;
        }
    }
    let words = ["fewer looks: ", "a smaller net (selfie-landscape): ", "framing only: "];
    assert_eq!(said.len(), words.len(), "{said:?}");
    assert!(said.iter().zip(words).all(|(said, word)| said.starts_with(word)), "{said:?}");
    assert_eq!(rig.state.borrow().segmentation.model, "selfie-general", "the one that is wanted");
    // Another choice begins with everything.
    rig.camera.apply(SettingChange::Model("selfie-landscape".into())).await.expect("built in");
    let reset = rig.state.wait_for(|state| state.segmentation.degraded.is_empty());
    tokio::time::timeout(Duration::from_secs(30), reset).await.expect("in time").expect("a camera");
}
