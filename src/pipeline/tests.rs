//! Tests of a whole camera on a scripted source: failures, limits and settings, as clients and
//! D-Bus see them.

mod cameras;
mod controls;
mod fail_closed;
mod following;
mod metrics;
mod panics;
mod pipes;
mod provider;
mod quotas;
mod upright;

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use portraitd_client::{FrameCopy, Ring, Wait};
use portraitd_protocol::SlotFlags;
use portraitd_protocol::{BackgroundMode, CameraState, FramingMode, ServiceError, StreamKind};
use tokio::sync::watch;

use super::capture::{ATTEMPT_INTERVAL, CaptureLog, FAILURE_LOG_NS};
use super::{Camera, CameraOptions, Turns};
use crate::publish::dbus::service::{
    AttachOptions, AttachRequest, CameraService, Client, ClientName, DictionaryValue, PublishedState, SettingChange,
};
use crate::publish::{Amounts, ClientFds, RingBudget};
use crate::service::config;
use crate::service::notify::Watchdog;
use crate::service::privacy::PrivacyNotes;
use crate::source::SourceAndDesk;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::frame::MemoryPool;
use portraitd_media::latest::WaitOutcome;
use portraitd_media::{Colorimetry, PixelFormat, Size, UnitRect};
use portraitd_media::{FormatRequest, Frame, FrameFormat, Source, SourceError, Stream, StreamCounters, StreamEvent};
use portraitd_vision::net::{EngineOptions, Library, Model};
use portraitd_vision::{Observation, TrackedPerson};

const SIZE: Size = Size::new(32, 16);
/// The memory limit of the rings, in bytes: enough for the small ones and one of 1280x720.
const MEMORY: usize = 8 << 20;
/// The byte that fills the source's pictures.
const LUMA: u8 = 200;

/// The next event of a stream.
#[derive(Debug)]
enum Step {
    Frame,
    /// A frame in which every pixel has changed.
    News,
    /// A frame with these bytes.
    Picture(Arc<Vec<u8>>),
    Size(Size),
    /// A frame whose bytes cannot be read by a render thread: it panics.
    Trap,
    Shutter(bool),
    /// A frame, and what the stream has lost before it.
    Lost(StreamCounters),
    Fail(SourceError),
    /// The stream panics.
    Panic,
}

/// The results of the next openings. After them the device is absent.
type Openings = Arc<Mutex<VecDeque<Result<Receiver<Step>, SourceError>>>>;

struct Scripted(Openings);

struct ScriptedStream {
    steps: Receiver<Step>,
    pool: MemoryPool,
    sequence: u64,
    private: bool,
    counters: StreamCounters,
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
        let (pool, counters) = (MemoryPool::new(format(SIZE), 8), StreamCounters::default());
        Ok(Box::new(ScriptedStream { steps, pool, sequence: 0, private: false, counters }))
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
            Ok(Step::Picture(picture)) => {
                self.sequence += 1;
                let copy = |bytes: &mut [u8]| {
                    bytes.copy_from_slice(&picture);
                    Ok::<_, std::convert::Infallible>(())
                };
                let Ok(frame) = self.pool.fill(self.sequence, monotonic_ns(), copy);
                Ok(frame.map_or(StreamEvent::Nothing, StreamEvent::Frame))
            }
            Ok(Step::Size(size)) => {
                self.pool = MemoryPool::new(format(size), 8);
                Ok(StreamEvent::FormatChanged(self.format()))
            }
            Ok(Step::Shutter(closed)) => {
                self.private = closed;
                Ok(StreamEvent::Nothing)
            }
            Ok(Step::Trap) => Ok(StreamEvent::Frame(panics::trap(self.format(), &mut self.sequence))),
            Ok(Step::Lost(counters)) => {
                self.counters = counters;
                Ok(self.frame(LUMA).map_or(StreamEvent::Nothing, StreamEvent::Frame))
            }
            Ok(Step::Fail(error)) => Err(error),
            Ok(Step::Panic) => std::panic::resume_unwind(Box::new("injected")),
            Err(RecvTimeoutError::Timeout) => Ok(StreamEvent::Nothing),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    fn counters(&self) -> StreamCounters {
        self.counters
    }

    fn private(&self) -> bool {
        self.private
    }
}

/// A client of user 1000.
fn client(name: &str) -> Client {
    Client::new(ClientName::new(name), 1000, None)
}

/// A camera with its script and its state on D-Bus.
struct Rig {
    camera: Camera,
    budget: RingBudget,
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

    fn private(notes: PrivacyNotes) -> Self {
        Self::with_all(config::CameraConfig::default(), None, notes)
    }

    fn with_net(config: config::CameraConfig, model: Option<Model>) -> Self {
        Self::with_all(config, model, PrivacyNotes::default())
    }

    fn with_all(config: config::CameraConfig, model: Option<Model>, privacy: PrivacyNotes) -> Self {
        let openings = Openings::default();
        let source = Box::new(Scripted(Arc::clone(&openings)));
        Self::with_source(config, model, privacy, openings, (source, None))
    }

    /// A camera that shares cores with others.
    fn with_turns(model: Model, turns: Turns) -> Self {
        let openings = Openings::default();
        let source = Box::new(Scripted(Arc::clone(&openings)));
        let config = config::CameraConfig { idle_close_s: 60.0, ..config::CameraConfig::default() };
        Self::with_everything(config, Some(model), PrivacyNotes::default(), openings, (source, None), turns)
    }

    fn with_source(
        config: config::CameraConfig,
        model: Option<Model>,
        privacy: PrivacyNotes,
        openings: Openings,
        source: SourceAndDesk,
    ) -> Self {
        Self::with_everything(config, model, privacy, openings, source, Turns::of_this_machine(1))
    }

    fn with_everything(
        config: config::CameraConfig,
        model: Option<Model>,
        privacy: PrivacyNotes,
        openings: Openings,
        (source, desk): SourceAndDesk,
        turns: Turns,
    ) -> Self {
        let budget = RingBudget::new(MEMORY);
        let mut watchdog = Watchdog::new(u64::MAX, 0);
        let options = CameraOptions {
            privacy,
            config,
            desk,
            library: Library::default(),
            budget: budget.clone(),
            engine: EngineOptions::default(),
            turns,
            model,
            progress: ["capture", "vision"].map(|part| watchdog.watch(part)),
        };
        let camera = Camera::start(options, source).expect("starts");
        let state = camera.state();
        Self { camera, budget, openings, state }
    }

    /// The next opening succeeds. Returns the sender of the events of its stream.
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
        let fds = self.camera.attach(AttachRequest { client: client("test"), stream, options }).await?.fds;
        Ok(Ring::open(fds.memory, fds.event).expect("a ring"))
    }

    async fn attach_sized(&self, name: &str, size: Size) -> Result<Ring, ServiceError> {
        let stream = StreamKind::View;
        let options = AttachOptions { size: Some(size), ..AttachOptions::of_stream(stream) };
        let fds = self.camera.attach(AttachRequest { client: self::client(name), stream, options }).await?.fds;
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

/// The next frame of a ring. Blocks the runtime, which has nothing else to do.
fn read(ring: &mut Ring) -> FrameCopy {
    let mut frame = FrameCopy::default();
    assert_eq!(ring.wait(Some(Duration::from_secs(30))).expect("a pipe"), Wait::Frame);
    assert!(ring.latest(&mut frame));
    frame
}

/// The bytes of a file, from its position on.
fn contents(file: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::from(file).read_to_end(&mut bytes).expect("a file");
    bytes
}

fn luma(frame: &FrameCopy) -> u8 {
    frame.plane(0).0[0]
}

#[tokio::test]
async fn the_state_names_a_failure_while_a_client_asks_for_the_camera() {
    let mut rig = Rig::new(0.2);
    rig.will_fail(busy());
    let refused = rig.attach().await.expect_err("busy");
    assert!(
        matches!(&refused, ServiceError::Busy(reason) if reason.contains("in use by another program")),
        "{refused}"
    );
    let state = rig.until(CameraState::Failed).await;
    assert!(state.camera.last_error.contains("in use by another program"), "{state:?}");
    // No client has asked for the camera since. After the grace period it is idle.
    let steps = rig.will_open();
    let state = rig.until(CameraState::Idle).await;
    assert!(state.camera.last_error.contains("in use by another program"), "the reason can still be read");
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
    assert!(state.camera.last_error.contains("removed while streaming"), "{state:?}");
    let steps = rig.will_open();
    rig.camera.retry_now();
    steps.send(Step::Frame).expect("will stream");
    assert_eq!(luma(&read(&mut ring)), LUMA, "the same ring goes on");
    let state = rig.until(CameraState::Running).await;
    assert_eq!((state.camera.generation, state.camera.consumers), (1, 1));
}

#[tokio::test]
async fn attaching_in_a_loop_tries_an_absent_device_four_times_a_second_and_no_more() {
    let rig = Rig::new(60.0);
    let tries = || match rig.camera.stats()["reopened"] {
        DictionaryValue::U64(tries) => u32::try_from(tries).expect("few"),
        DictionaryValue::F64(_) => panic!("a count"),
    };
    let started = Instant::now();
    for _ in 0..5 {
        let refused = rig.attach().await.expect_err("nothing to open");
        assert!(matches!(refused, ServiceError::CameraAbsent(_)), "{refused}");
    }
    // Every client waits for an attempt, and every attempt after the first for its time.
    let tries = tries();
    assert!(tries >= 2, "{tries}");
    assert!(started.elapsed() >= ATTEMPT_INTERVAL * (tries - 2), "{tries} tries in {:?}", started.elapsed());
}

#[test]
fn a_failure_is_logged_when_it_is_news_and_then_counted() {
    let mut log = CaptureLog::new();
    assert_eq!(log.failed("absent", 1), Some(0));
    assert!((2..1000).all(|now| log.failed("absent", now).is_none()));
    assert_eq!(log.failed("busy", 1000), Some(0), "another failure is news");
    assert_eq!(log.failed("busy", 1001), None);
    log.works();
    assert_eq!(log.failed("busy", 1002), Some(0), "it worked in between");
    assert_eq!(log.failed("busy", 1002 + FAILURE_LOG_NS), Some(0), "once a minute");
}

#[tokio::test]
async fn a_changed_format_starts_a_new_generation() {
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
async fn a_closed_shutter_shows_black_frames_that_are_marked() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    let frame = read(&mut ring);
    assert_eq!((luma(&frame), frame.info().flags & SlotFlags::PRIVATE), (LUMA, SlotFlags::empty()));
    steps.send(Step::Shutter(true)).expect("streams");
    rig.until(CameraState::Private).await;
    // Whether the camera sends frames or not, clients get black ones.
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
async fn a_camera_without_frames_is_stalled() {
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
async fn a_reload_that_forbids_source_disconnects_its_clients_at_once() {
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
async fn a_refused_reload_changes_nothing_and_a_good_one_replaces_what_clients_set() {
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
    assert_eq!(after.framing.manual_crop, (0.0, 0.0, 1.0, 1.0), "what a client has set lasts until a reload");
    assert!((after.background.blur - 0.1).abs() < 1e-9);
}

#[tokio::test]
async fn a_reload_with_another_size_reopens_the_camera() {
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    let next = rig.will_open();
    let larger =
        config::CameraConfig { width: 1920, height: 1080, idle_close_s: 60.0, ..config::CameraConfig::default() };
    rig.reconfigure(&larger).await.expect("good");
    // The scripted camera has only one size, so the ring stays. The old stream is closed.
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
async fn a_camera_starts_without_its_background_picture() {
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
        // The snapshot is attached first.
        rig.state.clone().wait_for(|state| state.camera.consumers == 1).await.expect("a camera");
        steps.send(Step::Size(Size::new(64, 16))).expect("streams");
        rig.state
            .clone()
            .wait_for(|state| state.camera.generation == 2 && state.camera.consumers == 1)
            .await
            .expect("a camera");
        steps.send(Step::Frame).expect("streams");
    };
    let (png, ()) = tokio::join!(rig.camera.snapshot(client("test"), StreamKind::View), sends);
    let png = contents(png.expect("a picture"));
    let picture = portraitd_media::image::decode(&png, "snapshot".as_ref()).expect("a PNG");
    assert_eq!(picture.size(), Size::new(64, 16));
}

#[tokio::test]
async fn people_of_an_earlier_scene_are_not_reported() {
    let mut rig = Rig::new(60.0);
    // The capture thread begins a scene when it starts, and none while the camera runs.
    let steps = rig.will_open();
    let _ring = rig.attach().await;
    steps.send(Step::Frame).expect("streams");
    rig.until(CameraState::Running).await;
    let shared = rig.camera.shared();
    let seen = |people: usize| {
        let person = TrackedPerson { id: 1, bounds: UnitRect::WHOLE, confidence: 1.0 };
        let mut observation = Observation::default();
        observation.people.resize(people, person);
        Arc::new(observation)
    };
    let scene = shared.scene();
    assert!(shared.accept_observation(scene, None, seen(1), &[]));
    assert!(rig.state.borrow_and_update().segmentation.present);
    // The shutter closes during the inference on a frame.
    shared.set_state(CameraState::Private, None);
    assert!(!shared.accept_observation(scene, None, seen(1), &[]));
    assert!(!rig.state.borrow_and_update().segmentation.present);
    assert!(rig.camera.people().is_empty());
    let scene = shared.scene();
    assert!(shared.accept_observation(scene, None, seen(1), &[]));
    shared.set_state(CameraState::Absent, None);
    assert!(!rig.state.borrow_and_update().segmentation.present, "a camera that is absent sees nobody");
    shared.published.mask_failed("the net failed");
    assert!(shared.accept_observation(shared.scene(), None, seen(0), &[]));
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
async fn closed_rings_that_clients_still_hold_take_no_place() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let _held = rig.attach_sized("holder", Size::new(1280, 720)).await.expect("room for one");
    steps.send(Step::Size(Size::new(64, 16))).expect("streams");
    rig.state.wait_for(|state| state.camera.generation == 2).await.expect("a camera");
    // Its render thread needs a moment to close the ring.
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
async fn inference_with_a_slow_net_is_reduced_and_reported() {
    let model = Library::default().load("selfie-general", EngineOptions::default()).expect("built in");
    let mut rig = Rig::with_net(config::CameraConfig::default(), Some(model));
    let shared = rig.camera.shared();
    // No net keeps this budget.
    shared.tuning.update(|tuning| {
        (tuning.inference_interval, tuning.mask_budget) = (Duration::ZERO, Duration::from_nanos(1));
    });
    let steps = rig.will_open();
    let _ring = rig.attach().await.expect("there");
    let (mut reported, mut seen) = (Vec::<String>::new(), 0);
    for _ in 0..20_000 {
        steps.send(Step::News).expect("streams");
        // The next frame follows the observation of this one, or 5 ms.
        if let WaitOutcome::New(_, count) = shared.observations.wait_newer(seen, Duration::from_millis(5)) {
            seen = count;
        }
        let degraded = rig.state.borrow().segmentation.degraded.clone();
        if !degraded.is_empty() && reported.last() != Some(&degraded) {
            reported.push(degraded);
        }
        if reported.last().is_some_and(|reported| reported.starts_with("framing only")) {
            break;
        }
    }
    let words = ["fewer inference passes: ", "a smaller net (selfie-landscape): ", "framing only: "];
    assert_eq!(reported.len(), words.len(), "{reported:?}");
    assert!(reported.iter().zip(words).all(|(reported, word)| reported.starts_with(word)), "{reported:?}");
    assert_eq!(rig.state.borrow().segmentation.model, "selfie-general", "the chosen one");
    // Another choice starts without degradation.
    rig.camera.apply(SettingChange::Model("selfie-landscape".into())).await.expect("built in");
    let reset = rig.state.wait_for(|state| state.segmentation.degraded.is_empty());
    tokio::time::timeout(Duration::from_secs(30), reset).await.expect("in time").expect("a camera");
}

#[tokio::test]
async fn slots_have_the_degraded_flag_while_degraded_is_not_empty() {
    // The first frame of a scene may be discarded by the vision thread, so more are sent.
    let wait_for_flag = |ring: &mut Ring, steps: &Sender<Step>, flagged: bool| {
        let mut frame = FrameCopy::default();
        (0..100).any(|_| {
            steps.send(Step::News).expect("streams");
            let wait = ring.wait(Some(Duration::from_millis(300))).expect("a pipe");
            wait == Wait::Frame
                && ring.latest(&mut frame)
                && frame.info().flags.contains(SlotFlags::DEGRADED) == flagged
        })
    };
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    assert!(wait_for_flag(&mut ring, &steps, true), "without a net");
    let model = Library::default().load("selfie-landscape", EngineOptions::default()).expect("built in");
    let rig =
        Rig::with_net(config::CameraConfig { idle_close_s: 60.0, ..config::CameraConfig::default() }, Some(model));
    let shared = rig.camera.shared();
    for stream in [StreamKind::View, StreamKind::Composite, StreamKind::Mask] {
        let steps = rig.will_open();
        let mut ring = rig.attach_to(stream).await.expect("there");
        for reduction in ["", "framing only", ""] {
            shared.published.set_reduction(reduction.to_owned());
            assert!(wait_for_flag(&mut ring, &steps, !reduction.is_empty()), "{stream} {reduction:?}");
        }
        // The next stream starts with a frame of its own.
        steps.send(Step::Fail(gone())).expect("streams");
    }
}

fn request(name: &str, size: Size) -> AttachRequest {
    let options = AttachOptions { size: Some(size), ..AttachOptions::of_stream(StreamKind::View) };
    AttachRequest { client: client(name), stream: StreamKind::View, options }
}

#[tokio::test]
async fn attaches_at_the_same_time_share_a_ring() {
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let attach = |client| rig.attach_sized(client, SIZE);
    let (first, second, third) = tokio::join!(attach("a"), attach("b"), attach("b"));
    let mut rings = [first, second, third].map(|ring| ring.expect("there"));
    assert_eq!((rig.camera.rings(), rig.camera.consumers()), (1, 3));
    steps.send(Step::Frame).expect("streams");
    assert!(rings.iter_mut().all(|ring| luma(&read(ring)) == LUMA));
}

#[tokio::test]
async fn an_attach_that_is_cancelled_gives_everything_back() {
    let mut rig = Rig::new(60.0);
    let _steps = rig.will_open();
    let small = rig.attach_sized("other", SIZE).await.expect("there");
    rig.state.wait_for(|state| state.camera.consumers == 1).await.expect("a camera");
    // It takes more than half of the memory limit.
    let large = Size::new(1280, 720);
    let mut cancelled = false;
    for _ in 0..100 {
        let mut attach = rig.camera.attach(request("hasty", large));
        // The first poll reserves the places and starts the allocation.
        cancelled = (&mut attach).now_or_never().is_none();
        if cancelled {
            assert_eq!(rig.camera.rings(), 2, "a place for the ring is reserved");
            break;
        }
        // The allocation finished during the poll. Try once more.
        drop(attach);
        rig.camera.released(&ClientName::new("hasty"));
    }
    assert!(cancelled);
    assert_eq!((rig.camera.rings(), rig.camera.consumers()), (1, 1));
    assert_eq!(rig.camera.shared().demand.clients_of(StreamKind::View), 1);
    // The memory is given back as soon as the allocation is done.
    let attached = async {
        loop {
            match rig.attach_sized("hasty", large).await {
                Err(ServiceError::Busy(_)) => tokio::task::yield_now().await,
                done => break done,
            }
        }
    };
    let large = tokio::time::timeout(Duration::from_secs(30), attached).await.expect("in time").expect("memory again");
    let used = Amounts { bytes: rig.budget.used_by(1000).bytes, rings: 2, attachments: 2, ..Amounts::default() };
    assert_eq!(rig.budget.used_by(1000), used);
    drop((small, large));
}

#[tokio::test]
async fn an_attach_takes_over_from_one_that_is_cancelled() {
    let rig = Rig::new(60.0);
    let _steps = rig.will_open();
    let _open = rig.attach_sized("other", SIZE).await.expect("there");
    // The memory limit has room for several: that of the cancelled attach is given back a little later.
    let size = Size::new(640, 360);
    let mut first = rig.camera.attach(request("first", size));
    while (&mut first).now_or_never().is_some() {
        // The allocation finished during the poll. Try once more.
        rig.camera.released(&ClientName::new("first"));
        while rig.budget.used_by(1000).rings > 1 {
            tokio::task::yield_now().await;
        }
        first = rig.camera.attach(request("first", size));
    }
    let mut second = rig.camera.attach(request("second", size));
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    tokio::time::timeout(Duration::from_secs(30), second).await.expect("in time").expect("a ring");
    assert_eq!(rig.camera.rings(), 2);
}

#[tokio::test]
async fn a_stopped_camera_closes_its_rings_and_refuses_clients() {
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    rig.camera.stop();
    assert!(ring.closed());
    assert_eq!((rig.camera.rings(), rig.camera.consumers()), (0, 0));
    let refused = rig.attach().await.expect_err("stopped");
    assert!(refused.to_string().contains("the camera was stopped"), "{refused}");
}

#[tokio::test]
async fn a_private_camera_is_closed_and_black_until_a_client_ends_it() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    assert_eq!(luma(&read(&mut ring)), LUMA);
    rig.camera.apply(SettingChange::Private(true)).await.expect("closes");
    assert_eq!(rig.state.borrow().camera.state, CameraState::Private);
    assert!(steps.send(Step::Frame).is_err(), "the device is closed");
    let black = |ring: &mut Ring| {
        let frame = read(ring);
        assert_eq!((luma(&frame), frame.info().flags & SlotFlags::PRIVATE), (16, SlotFlags::PRIVATE));
    };
    assert!(ring.closed(), "what it shows is over");
    // It stays so whoever comes and goes, and over a reload. Nothing tries the device.
    let _unused = rig.will_open();
    drop(ring);
    rig.reconfigure(&config::CameraConfig { idle_close_s: 0.0, ..config::CameraConfig::default() })
        .await
        .expect("good");
    rig.camera.retry_now();
    let mut late = rig.attach().await.expect("a client may come meanwhile");
    black(&mut late);
    black(&mut late);
    rig.camera.apply(SettingChange::Private(true)).await.expect("is private already");
    assert!(!late.closed(), "nothing has changed for those who see black frames");
    black(&mut late);
    assert_eq!(rig.openings.lock().unwrap_or_else(PoisonError::into_inner).len(), 1);
    assert!(rig.state.borrow().camera.private);
    rig.openings.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let steps = rig.will_open();
    steps.send(Step::Frame).expect("will stream");
    rig.camera.apply(SettingChange::Private(false)).await.expect("opens");
    while luma(&read(&mut late)) != LUMA {}
    rig.until(CameraState::Running).await;
}

#[tokio::test]
async fn a_camera_that_was_private_starts_private() {
    let notes = PrivacyNotes::default();
    notes.set("main", true).expect("nothing to write");
    let mut rig = Rig::private(notes.clone());
    assert!(rig.state.borrow().camera.private, "before its thread runs");
    rig.until(CameraState::Private).await;
    let mut ring = rig.attach().await.expect("black frames of the size that is configured");
    assert_eq!((luma(&read(&mut ring)), rig.state.borrow().camera.generation), (16, 1));
    let steps = rig.will_open();
    rig.camera.apply(SettingChange::Private(false)).await.expect("opens");
    steps.send(Step::Frame).expect("will stream");
    rig.until(CameraState::Running).await;
    assert!(!notes.is_private("main"));
}

#[tokio::test]
async fn min_zoom_holds_in_every_mode_and_refuses_the_inset() {
    let framing = config::FramingConfig { min_zoom: 2.0, mode: FramingMode::Off, ..config::FramingConfig::default() };
    let closed = config::CameraConfig { framing, allow_source: true, ..config::CameraConfig::default() };
    let open = config::CameraConfig { allow_source: true, ..config::CameraConfig::default() };
    let rig = Rig::with(closed.clone());
    let steps = rig.will_open();
    let mut view = rig.attach().await.expect("there");
    let frame = |view: &mut Ring| {
        steps.send(Step::Frame).expect("streams");
        read(view).info().crop
    };
    assert_eq!(frame(&mut view), [8.0, 4.0, 16.0, 8.0], "the middle of 32x16");
    let with_inset = async || {
        let options =
            AttachOptions { inset: portraitd_protocol::Inset::TopLeft, ..AttachOptions::of_stream(StreamKind::View) };
        rig.camera.attach(AttachRequest { client: client("test"), stream: StreamKind::View, options }).await
    };
    let refused = with_inset().await.expect_err("shows the whole frame");
    assert!(matches!(&refused, ServiceError::NoSuchStream(text) if text.contains("min_zoom")), "{refused}");
    let refused = rig.camera.apply(SettingChange::MaxZoom(1.5)).await.expect_err("under min_zoom");
    assert!(matches!(&refused, ServiceError::InvalidArgument(text) if text.contains("min_zoom 2")), "{refused}");
    // A reload allows it, and another one takes it back.
    rig.reconfigure(&open).await.expect("good");
    let fds = with_inset().await.expect("allowed").fds;
    let inset = Ring::open(fds.memory, fds.event).expect("a ring");
    rig.reconfigure(&closed).await.expect("good");
    assert!(inset.closed());
    assert!(frame(&mut view)[2] <= 16.0, "with the next frame");
}

#[tokio::test]
async fn a_reload_keeps_its_min_zoom_if_the_format_changes_between_its_check_and_its_effect() {
    let rig = Rig::with(config::CameraConfig { allow_source: true, ..config::CameraConfig::default() });
    let steps = rig.will_open();
    let _first = rig.attach().await.expect("there");
    let mut state = rig.state.clone();
    steps.send(Step::Size(Size::new(128, 72))).expect("streams");
    state.wait_for(|state| state.camera.generation == 2).await.expect("a camera");
    // An output of 4:1 has a crop in frames of 128x72, and none of 16 rows in those of 32x16.
    let framing = config::FramingConfig {
        min_zoom: 2.0,
        mode: FramingMode::Off,
        output_width: 640,
        output_height: 160,
        ..config::FramingConfig::default()
    };
    let closed = config::CameraConfig { framing, allow_source: true, ..config::CameraConfig::default() };
    let prepared = rig.camera.prepare(&closed).await.expect("good for 128x72");
    steps.send(Step::Size(SIZE)).expect("streams");
    state.wait_for(|state| state.camera.generation == 3).await.expect("a camera");
    rig.camera.reconfigure(prepared);
    let mut view = rig.attach_sized("test", SIZE).await.expect("there");
    steps.send(Step::Frame).expect("streams");
    assert_eq!(read(&mut view).info().crop, [8.0, 4.0, 16.0, 8.0], "the middle, no more than allowed");
    assert!(state.borrow().framing.limits.is_empty(), "nothing is framed");
    // The next format suits the settings again.
    steps.send(Step::Size(Size::new(128, 72))).expect("streams");
    state.wait_for(|state| state.camera.generation == 4).await.expect("a camera");
    let mut view = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    let [_, _, width, height] = read(&mut view).info().crop;
    assert!(width <= 64.0 && height <= 36.0, "{width}x{height}");
    assert!(!state.borrow().framing.limits.is_empty());
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The child process of [`attaching_and_leaving_are_logged_with_user_process_and_stream`].
#[tokio::test]
async fn logs_who_attaches() {
    if std::env::var_os("PORTRAITD_TEST_JOURNAL").is_none() {
        return;
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let lines = |what: &str| {
        let text = String::from_utf8(log.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("text");
        let mine = |line: &&str| line.contains(&format!(": {what} camera=\"main\" user=1000 process=42 stream=view"));
        (text.lines().filter(mine).count(), text)
    };
    let rig = Rig::new(60.0);
    let client = Client::new(ClientName::new(":1.7"), 1000, Some(42));
    let attach = async || {
        let options = AttachOptions::of_stream(StreamKind::View);
        rig.camera.attach(AttachRequest { client: client.clone(), stream: StreamKind::View, options }).await
    };
    attach().await.expect_err("there is no device");
    assert_eq!((lines("attached").0, lines("left").0), (0, 0), "{}", lines("").1);
    let _steps = rig.will_open();
    rig.camera.retry_now();
    let attached = attach().await.expect("there");
    assert_eq!((lines("attached").0, lines("left").0), (1, 0), "{}", lines("").1);
    rig.camera.released(&client.name);
    drop(attached);
    assert_eq!((lines("attached").0, lines("left").0), (1, 1), "{}", lines("").1);
    // A program that does nothing else does not fill the journal.
    for _ in 0..50 {
        attach().await.expect("there");
        rig.camera.released(&client.name);
    }
    let (attached, text) = lines("attached");
    assert!(attached + lines("left").0 <= 16, "{text}");
    assert_eq!(text.matches("not each time is logged").count(), 1, "{text}");
}

#[test]
fn attaching_and_leaving_are_logged_with_user_process_and_stream() {
    // Whether an event is logged is decided once for a whole process, when any thread first meets it.
    let child = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "pipeline::tests::logs_who_attaches", "--nocapture"])
        .env("PORTRAITD_TEST_JOURNAL", "1")
        .output()
        .expect("child");
    let text = format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}
