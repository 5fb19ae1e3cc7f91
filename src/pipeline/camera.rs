//! One camera as the bus sees it: attach, settings, leaving clients. Everything here runs on the main thread and never
//! touches a pixel; what takes time (loading a model, decoding a picture) is handed to a blocking task.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use portraitd_client::{Ring, Wait};
use portraitd_protocol::{CameraState, CropMode, FramingMode, Inset, MaskResolution, ServiceError, StreamKind};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::{debug, error, info, warn};

use super::backdrop;
use super::capture::Capture;
use super::demand::Demand;
use super::output::{Attach, DeviceNode, OutputWriter};
use super::render::{Job, RingKey};
use super::shared::{Backdrop, Opened, Opening, Shared, Tuning};
use super::shot::{FramingChoice, ShotKeeper};
use super::vision::Vision;
use crate::publish::dbus::service::{
    AttachOptions, AttachRequest, Attachment, BackgroundStatus, CameraService, CameraStatus, ClientName, Dictionary,
    DictionaryValue, Fractions, FramingStatus, PublishedPerson, PublishedState, SegmentationStatus, SettingChange,
};
use crate::publish::{ClientFds, PublishError, RingBudget, RingClients, RingShare, RingSpec, RingWriter};
use crate::service::config;
use crate::service::metrics::CameraReport;
use crate::service::notify::Progress;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::{FrameFormat, Source};
use portraitd_media::{OwnedPicture, Size, UnitRect, even_size};
use portraitd_protocol::settings::Color;
use portraitd_vision::net::EngineOptions;
use portraitd_vision::net::{Library, Model};

/// The most rings of a camera, each with a thread.
const MAX_RINGS: usize = 16;
/// The most attachments of one client to one camera: no program needs more, and one that attaches for ever must leave
/// the others room.
const MAX_ATTACHMENTS: usize = 16;
/// How long an attach waits for the source to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a snapshot waits for its picture.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);
/// Slots of a ring: the newest, the one being written, and two for readers that are still at it.
const SLOTS: u32 = 4;

/// What a camera is made from.
pub struct CameraOptions {
    /// Its part of the configuration.
    pub config: config::CameraConfig,
    /// Where `Model` is looked up.
    pub library: Library,
    /// What the rings of all cameras may take.
    pub budget: RingBudget,
    /// How nets are run: this one, and those that clients may change to.
    pub engine: EngineOptions,
    /// The net; `None` runs the camera without one (safe mode).
    pub model: Option<Model>,
    /// Proofs of life of the capture thread and of the vision thread.
    pub progress: [Progress; 2],
}

/// A running camera.
pub struct Camera {
    inner: Arc<Inner>,
    /// What wakes and ends the threads of the output nodes.
    outputs: Vec<Arc<Demand>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Inner {
    shared: Arc<Shared>,
    library: Library,
    budget: RingBudget,
    engine: EngineOptions,
    /// Whether the whole room may be seen. Read again while `rings` is locked, before a ring shows it.
    allow_source: AtomicBool,
    /// Of the net in use; `None` where the service runs without.
    mask_size: Mutex<Option<Size>>,
    rings: Mutex<Rings>,
    runtime: Handle,
}

#[derive(Default)]
struct Rings {
    next_serial: u64,
    live: Vec<LiveRing>,
    attachments: Vec<Attached>,
}

struct LiveRing {
    serial: u64,
    key: RingKey,
    clients: RingClients,
    job: super::render::Handle,
    watcher: tokio::task::AbortHandle,
    _share: RingShare,
}

struct Attached {
    client: ClientName,
    serial: u64,
    id: u64,
    stream: StreamKind,
}

/// How long an attach waits for a camera that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Until the next try to open it has failed.
    FirstTry,
    /// As long as it takes.
    Endless,
}

/// A new configuration of a camera, all of it read and found good, ready to be taken over.
pub struct Reconfiguration {
    tuning: Tuning,
    choice: FramingChoice,
    zones: Vec<UnitRect>,
    backdrop: Backdrop,
    allow_source: bool,
    /// The net, where it is another one than now.
    model: Option<Model>,
}

/// Takes the demand back unless the attach succeeds, also where its future is dropped half way.
struct Wish<'a> {
    shared: &'a Shared,
    stream: StreamKind,
    kept: bool,
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.shared.demand.remove(self.stream);
        }
    }
}

impl Camera {
    /// Starts the threads of a camera on `source`; the source stays closed until a client attaches. The current tokio
    /// runtime is the main thread's.
    ///
    /// # Errors
    /// Where a thread cannot be started. A background picture that cannot be read is logged, and the colour taken instead.
    pub fn start(options: CameraOptions, source: Box<dyn Source>) -> Result<Self, ServiceError> {
        let CameraOptions { config, library, budget, engine, model, progress } = options;
        let zones = zones_of(&config.framing);
        let image = config.background.image.as_deref().map(backdrop::read).transpose().unwrap_or_else(|error| {
            error!(camera = config.name, "the background is shown without its picture: {error}");
            None
        });
        let backdrop = backdrop_of(&config.background, image);
        let choice = framing_choice(&config.framing);
        let state = first_state(&config, &choice, &source.name(), &library, model.as_ref());
        let shared =
            Arc::new(Shared::new(&config.name, tuning_of(&config), ShotKeeper::new(choice), state, backdrop, zones));
        let mask_size = model.as_ref().map(Model::output_size);
        let [capture_progress, vision_progress] = progress;
        let mut threads = Vec::new();
        let capture = Capture::new(Arc::clone(&shared), source, capture_progress);
        threads.push(spawn(&format!("capture-{}", config.name), move || capture.run())?);
        if let Some(model) = model {
            let vision = Vision::new(Arc::clone(&shared), model, library.clone(), engine, vision_progress)
                .map_err(|error| ServiceError::Failed(error.to_string()))?;
            threads.push(spawn(&format!("vision-{}", config.name), move || vision.run())?);
        }
        let inner = Arc::new(Inner {
            shared,
            library,
            budget,
            engine,
            allow_source: AtomicBool::new(config.allow_source),
            mask_size: Mutex::new(mask_size),
            rings: Mutex::default(),
            runtime: Handle::current(),
        });
        let mut outputs = Vec::new();
        for output in &config.outputs {
            let control = Arc::new(Demand::default());
            let node = Box::new(DeviceNode(output.device.clone().into()));
            let shape = output_shape(&config);
            let attach = Inner::attach_from_thread(&inner);
            let writer = OutputWriter::new(node, &config.name, output.stream, shape, attach, Arc::clone(&control));
            threads.push(spawn(&format!("output-{}", output.stream), move || writer.run())?);
            outputs.push(control);
        }
        Ok(Self { inner, outputs, threads: Mutex::new(threads) })
    }

    /// Ends everything: each ring is marked closed at once, then the threads are awaited.
    pub fn stop(&self) {
        self.outputs.iter().for_each(|output| output.shut_down());
        let live = std::mem::take(&mut self.inner.rings().live);
        for ring in &live {
            ring.clients.close();
            ring.job.stop();
            ring.watcher.abort();
        }
        self.inner.shared.demand.shut_down();
        self.inner.shared.frames.close();
        self.inner.shared.observations.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads.into_iter().chain(live.into_iter().map(|ring| ring.job.into_thread())) {
            if thread.join().is_err() {
                warn!(camera = self.inner.shared.name(), "a thread of the camera had panicked");
            }
        }
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.inner.shared)
    }

    /// A device may be back: a waiting retry happens now.
    pub fn kick(&self) {
        self.inner.shared.demand.kick();
        self.outputs.iter().for_each(|output| output.kick());
    }

    /// How many clients are attached.
    pub fn consumers(&self) -> usize {
        self.inner.rings().attachments.len()
    }

    /// How many rings there are.
    pub fn rings(&self) -> usize {
        self.inner.rings().live.len()
    }

    /// Reads all that a new configuration of this camera needs, and changes nothing yet. Its name, device and outputs are
    /// not looked at: they change with a restart only.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn prepare(&self, config: &config::CameraConfig) -> Result<Reconfiguration, ServiceError> {
        let inner = &self.inner;
        let choice = framing_choice(&config.framing);
        inner.shared.shots().check(choice).map_err(|error| invalid(&error))?;
        let path = config.background.image.clone();
        let image = blocking(move || path.as_deref().map(backdrop::read).transpose()).await??;
        let name = &config.segmentation.model;
        // Without a net (after crashes) none is loaded.
        let is_other = inner.mask_size().is_some() && inner.shared.published.borrow().segmentation.model != *name;
        let model = if is_other { Some(inner.load_model(name.clone()).await?) } else { None };
        Ok(Reconfiguration {
            tuning: tuning_of(config),
            choice,
            zones: zones_of(&config.framing),
            backdrop: backdrop_of(&config.background, image),
            allow_source: config.allow_source,
            model,
        })
    }

    /// Takes over what [`Camera::prepare`] has read. What clients have set by the bus since the start, or the last time, is
    /// replaced.
    pub fn reconfigure(&self, new: Reconfiguration) {
        let Reconfiguration { tuning, choice, zones, backdrop, allow_source, model } = new;
        let (inner, shared) = (&self.inner, &self.inner.shared);
        inner.allow_source.store(allow_source, Ordering::Release);
        if !allow_source {
            inner.close_room();
        }
        shared.tune(tuning);
        shared.set_zones(zones.clone());
        let background = BackgroundStatus { mode: backdrop.mode, color: backdrop.color, blur: backdrop.blur };
        shared.change_backdrop(|current| *current = Backdrop { version: current.version, ..backdrop });
        let published = |framing: &mut FramingStatus| {
            framing.mode = choice.mode;
            framing.speed = choice.speed;
            framing.max_zoom = choice.max_zoom.into();
            framing.manual_crop = choice.manual_crop.to_tuple();
            framing.zones = zones.iter().map(|zone| zone.to_tuple()).collect();
        };
        if let Err(error) = shared.choose(|current| *current = choice, published) {
            // It was good for the frames of a moment ago: the source has changed its size in between.
            warn!(camera = shared.name(), "framing stays as it was: {error}");
        }
        shared.published.send_modify(|state| state.background = background);
        if let Some(model) = model {
            inner.use_model(model);
        }
    }

    /// The camera's figures for the metrics file; `uptime_s` turns counts into rates.
    pub fn report(&self, uptime_s: f64) -> CameraReport {
        let shared = &self.inner.shared;
        let figures = shared.figures();
        let rate = |count: u64| if uptime_s > 0.0 { count as f64 / uptime_s } else { 0.0 };
        let age_ns = monotonic_ns().saturating_sub(figures.mask_capture_ns);
        let lost = figures.lost();
        CameraReport {
            name: shared.name().to_owned(),
            state: shared.published.borrow().camera.state.to_string(),
            camera_fps: rate(figures.frames),
            process_fps: rate(figures.masks),
            skipped_fps: rate(figures.frames.saturating_sub(figures.masks)),
            mask_age_s: (figures.masks > 0).then_some(age_ns as f64 * 1e-9),
            consumers: u32::try_from(self.consumers()).unwrap_or(u32::MAX),
            reopened: figures.reopened,
            framing_moves: shared.shots().moves(),
            frames: figures.frames,
            dropped: lost.dropped,
            corrupt: lost.corrupt,
            inference: figures.inference,
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the camera is open, which a demand begins; what it delivers.
    async fn opened(
        &self,
        mut opening: watch::Receiver<Opening>,
        before: Opening,
        patience: Patience,
    ) -> Result<Opened, ServiceError> {
        // A failure that was there already says nothing about this try; one that is under way counts.
        let stale = if before.outcome.is_some() { before.attempt } else { before.attempt.saturating_sub(1) };
        let outcome = opening.wait_for(|opening| match &opening.outcome {
            Some(Ok(_)) => true,
            Some(Err(_)) => patience == Patience::FirstTry && opening.attempt > stale,
            None => false,
        });
        let device = || self.shared.published.borrow().camera.device.clone();
        let limit = if patience == Patience::FirstTry { OPEN_TIMEOUT } else { Duration::MAX };
        let opening = match tokio::time::timeout(limit, outcome).await {
            Ok(Ok(opening)) => opening.outcome.clone(),
            Ok(Err(_)) => return Err(ServiceError::Failed("the service ends".into())),
            Err(_) => {
                let seconds = OPEN_TIMEOUT.as_secs();
                return Err(ServiceError::CameraAbsent(format!("{}: not open after {seconds} s", device())));
            }
        };
        match opening {
            Some(outcome) => outcome,
            None => Err(ServiceError::Failed(format!("{}: was closed meanwhile", device()))),
        }
    }

    /// For a thread that has no runtime: attaches on the main thread, however long the camera takes to come.
    fn attach_from_thread(inner: &Arc<Self>) -> Attach {
        let inner = Arc::downgrade(inner);
        Box::new(move |request| {
            let (mut answer, receiver) = oneshot::channel();
            if let Some(inner) = inner.upgrade() {
                let runtime = inner.runtime.clone();
                runtime.spawn(async move {
                    tokio::select! {
                        () = answer.closed() => {}
                        attached = inner.attach(request, Patience::Endless) => drop(answer.send(attached)),
                    }
                });
            }
            receiver
        })
    }

    /// The size of a stream's pictures for a client that asks for none.
    fn own_size(&self, stream: StreamKind, resolution: MaskResolution, format: &FrameFormat) -> Size {
        match stream {
            StreamKind::Mask => match resolution {
                MaskResolution::Quarter => even_size(Size::new(format.size.width / 4, format.size.height / 4)),
                MaskResolution::Full => even_size(format.size),
                _ => self.mask_size().unwrap_or(Size::new(256, 144)),
            },
            StreamKind::Source => even_size(format.size),
            _ => self.shared.shots().output().unwrap_or_else(|| even_size(format.size)),
        }
    }

    /// Refuses what shows the whole room where the configuration forbids it.
    fn check_room(&self, stream: StreamKind, inset: Inset) -> Result<(), ServiceError> {
        let hint = if !shows_room(stream, inset) || self.allow_source.load(Ordering::Acquire) {
            return Ok(());
        } else if stream == StreamKind::Source {
            "the configuration does not allow the stream `source` (allow_source)"
        } else {
            "option `inset`: it shows the stream `source`, which the configuration does not allow (allow_source)"
        };
        Err(ServiceError::NoSuchStream(hint.into()))
    }

    /// Ends what shows the whole room.
    fn close_room(&self) {
        let shown: Vec<u64> = {
            let rings = self.rings();
            let shown = rings.live.iter().filter(|ring| shows_room(ring.key.stream, ring.key.inset));
            shown.map(|ring| ring.serial).collect()
        };
        if !shown.is_empty() {
            info!(camera = self.shared.name(), "the stream `source` is not allowed any more: its clients are let go");
            self.left(|attached| shown.contains(&attached.serial));
        }
    }

    fn mask_size(&self) -> Option<Size> {
        *self.mask_size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attach(self: &Arc<Self>, request: AttachRequest, patience: Patience) -> Result<Attachment, ServiceError> {
        let AttachRequest { client, stream, options } = request;
        self.check_room(stream, options.inset)?;
        if stream == StreamKind::Mask && self.mask_size().is_none() {
            return Err(ServiceError::NotSupported("there is no mask: the service runs without its net".into()));
        }
        let opening = self.shared.opening.subscribe();
        let before = opening.borrow().clone();
        // The kick first: it is for a retry that waits, and not for the try that the demand itself begins.
        self.shared.demand.kick();
        self.shared.demand.add(stream);
        let mut wish = Wish { shared: &self.shared, stream, kept: false };
        let Opened { format, generation } = self.opened(opening, before, patience).await?;
        let key = RingKey {
            stream,
            size: options.size.unwrap_or_else(|| self.own_size(stream, options.resolution, &format)),
            format: options.format,
            crop: if stream == StreamKind::Composite { options.crop } else { CropMode::View },
            edges: stream == StreamKind::Mask && options.size.is_none() && options.resolution == MaskResolution::Full,
            inset: options.inset,
            generation,
        };
        self.leave_ended();
        let mut rings = self.rings();
        // It may have been forbidden while the camera was being opened.
        self.check_room(stream, options.inset)?;
        if rings.attachments.iter().filter(|attached| attached.client == client).count() >= MAX_ATTACHMENTS {
            return Err(ServiceError::Busy(format!("this client is attached {MAX_ATTACHMENTS} times already")));
        }
        let index = match rings.live.iter().position(|ring| ring.key == key && !ring.clients.is_closed()) {
            Some(index) => index,
            None if rings.live.len() >= MAX_RINGS => {
                let hint =
                    format!("{MAX_RINGS} streams of different kinds and sizes are served already, and no more are");
                return Err(ServiceError::Busy(hint));
            }
            None => {
                let ring = self.open_ring(&key, &format, rings.next_serial)?;
                rings.next_serial += 1;
                rings.live.push(ring);
                rings.live.len() - 1
            }
        };
        let ring = &rings.live[index];
        let serial = ring.serial;
        let attached = ring.clients.add_client(options.interval());
        let layout = *ring.job.layout();
        let fds = match attached {
            Ok(fds) => fds,
            Err(error) => {
                rings.drop_unused(serial);
                return Err(match error {
                    PublishError::Full(_) => ServiceError::Busy(error.to_string()),
                    error => ServiceError::Failed(error.to_string()),
                });
            }
        };
        rings.attachments.push(Attached { client, serial, id: fds.id, stream });
        wish.kept = true;
        let consumers = rings.attachments.len();
        drop(rings);
        self.announce_consumers(consumers);
        Ok(Attachment { fds, layout })
    }

    /// Makes a ring and starts its render thread, and a task that misses its clients.
    fn open_ring(self: &Arc<Self>, key: &RingKey, format: &FrameFormat, serial: u64) -> Result<LiveRing, ServiceError> {
        let spec = RingSpec {
            stream: key.stream,
            generation: key.generation,
            format: key.format,
            color: format.color,
            size: key.size,
            slots: SLOTS,
        };
        let failed = |error: &dyn std::fmt::Display| ServiceError::Failed(error.to_string());
        let bytes = spec.layout().map_err(|error| failed(&error))?.total_bytes();
        let share = self.budget.take(bytes).map_err(|error| ServiceError::Busy(error.to_string()))?;
        let writer = RingWriter::new(&spec).map_err(|error| failed(&error))?;
        let clients = writer.clients();
        let job = Job::start(Arc::clone(&self.shared), *key, *format, writer).map_err(|error| failed(&error))?;
        let (inner, watched) = (Arc::downgrade(self), clients.clone());
        let watcher = self.runtime.spawn(async move {
            let left = |id| {
                if let Some(inner) = inner.upgrade() {
                    inner.left(|attached| attached.serial == serial && attached.id == id);
                }
            };
            if let Err(error) = watched.watch(left).await {
                warn!("clients of a ring cannot be watched: {error}");
            }
        });
        debug!(camera = self.shared.name(), stream = %key.stream, size = %key.size, "ring opened");
        Ok(LiveRing { serial, key: *key, clients, job, watcher: watcher.abort_handle(), _share: share })
    }

    /// Lets attachments go, and the rings that have no others.
    fn left(&self, gone: impl Fn(&Attached) -> bool) {
        let mut rings = self.rings();
        let all = std::mem::take(&mut rings.attachments);
        let (left, stayed): (Vec<_>, Vec<_>) = all.into_iter().partition(|attached| gone(attached));
        rings.attachments = stayed;
        if left.is_empty() {
            return;
        }
        for attached in &left {
            if let Some(ring) = rings.live.iter().find(|ring| ring.serial == attached.serial) {
                ring.clients.remove_client(attached.id);
            }
            rings.drop_unused(attached.serial);
            self.shared.demand.remove(attached.stream);
        }
        let consumers = rings.attachments.len();
        drop(rings);
        self.announce_consumers(consumers);
    }

    /// Lets rings of another format go. They are closed, and no more than memory: whoever still holds on to one attaches
    /// again.
    fn leave_ended(&self) {
        let ended: Vec<u64> = {
            let rings = self.rings();
            let ended = rings.live.iter().filter(|ring| ring.clients.is_closed());
            ended.map(|ring| ring.serial).collect()
        };
        self.left(|attached| ended.contains(&attached.serial));
    }

    fn announce_consumers(&self, consumers: usize) {
        let consumers = u32::try_from(consumers).unwrap_or(u32::MAX);
        self.shared.published.send_modify(|state| state.camera.consumers = consumers);
    }

    async fn apply(&self, setting: SettingChange) -> Result<(), ServiceError> {
        let shared = &self.shared;
        let choose = |change: &dyn Fn(&mut FramingChoice), publish: &dyn Fn(&mut FramingStatus)| {
            shared.choose(|choice| change(choice), |status| publish(status)).map_err(|error| invalid(&error))
        };
        match setting {
            SettingChange::FramingMode(mode) => choose(&|choice| choice.mode = mode, &|status| status.mode = mode)?,
            SettingChange::ManualCrop(crop) => {
                choose(&|choice| choice.manual_crop = rectangle(crop), &|status| status.manual_crop = crop)?;
            }
            SettingChange::MaxZoom(zoom) => {
                choose(&|choice| choice.max_zoom = narrow(zoom), &|status| status.max_zoom = zoom)?;
            }
            SettingChange::Speed(speed) => choose(&|choice| choice.speed = speed, &|status| status.speed = speed)?,
            SettingChange::Zones(zones) => {
                shared.set_zones(zones.iter().copied().map(rectangle).collect());
                shared.published.send_modify(|state| state.framing.zones = zones);
            }
            SettingChange::Model(name) => self.change_model(name).await?,
            SettingChange::BackgroundMode(mode) => {
                shared.change_backdrop(|backdrop| backdrop.mode = mode);
                shared.published.send_modify(|state| state.background.mode = mode);
            }
            SettingChange::BackgroundColor(color) => {
                shared.change_backdrop(|backdrop| backdrop.color = color);
                shared.published.send_modify(|state| state.background.color = color);
            }
            SettingChange::BackgroundBlur(blur) => {
                shared.change_backdrop(|backdrop| backdrop.blur = blur);
                shared.published.send_modify(|state| state.background.blur = blur);
            }
        }
        Ok(())
    }

    async fn change_model(&self, name: String) -> Result<(), ServiceError> {
        if self.mask_size().is_none() {
            return Err(ServiceError::NotSupported("the service runs without its net".into()));
        }
        let model = self.load_model(name).await?;
        self.use_model(model);
        Ok(())
    }

    async fn load_model(&self, name: String) -> Result<Model, ServiceError> {
        let (library, engine) = (self.library.clone(), self.engine);
        let loaded = blocking(move || library.load(&name, engine)).await?;
        loaded.map_err(|error| ServiceError::Failed(error.to_string()))
    }

    /// Hands a net to the vision thread.
    fn use_model(&self, model: Model) {
        let name = model.manifest().name.clone();
        *self.mask_size.lock().unwrap_or_else(PoisonError::into_inner) = Some(model.output_size());
        self.shared.offer_model(model);
        self.shared.published.send_modify(|state| {
            state.segmentation.model = name;
            state.segmentation.degraded.clear();
        });
    }

    /// Attaches like a client, reads one frame, and leaves.
    async fn snapshot(self: &Arc<Self>, stream: StreamKind) -> Result<Vec<u8>, ServiceError> {
        let deadline = Instant::now() + SNAPSHOT_TIMEOUT;
        loop {
            let client = ClientName::new("snapshot");
            let request = AttachRequest { client, stream, options: AttachOptions::of_stream(stream) };
            let Attachment { fds, .. } = self.attach(request, Patience::FirstTry).await?;
            let read = blocking(move || read_one(fds, deadline)).await?;
            // A ring that has ended, since the source has another format now, has a successor.
            if let Some(png) = read.map_err(ServiceError::Failed)? {
                return Ok(png);
            }
            if Instant::now() >= deadline {
                return Err(ServiceError::Failed("the source changes its format all the time".into()));
            }
        }
    }

    async fn set_image(&self, bytes: Option<Vec<u8>>) -> Result<(), ServiceError> {
        let image = match bytes {
            None => None,
            Some(bytes) => Some(blocking(move || backdrop::decode(&bytes, "the background picture".as_ref())).await??),
        };
        self.shared.change_backdrop(|backdrop| backdrop.image = image);
        Ok(())
    }

    fn stats(&self) -> Dictionary {
        let figures = self.shared.figures();
        let lost = figures.lost();
        let mut values: Dictionary = BTreeMap::new();
        let mut put = |name: &str, value: DictionaryValue| values.insert(name.to_owned(), value);
        put("frames", DictionaryValue::U64(figures.frames));
        put("frames_dropped", DictionaryValue::U64(lost.dropped));
        put("frames_corrupt", DictionaryValue::U64(lost.corrupt));
        put("frames_starved", DictionaryValue::U64(lost.starved));
        put("frames_published", DictionaryValue::U64(figures.published));
        put("masks", DictionaryValue::U64(figures.masks));
        put("inference_ms", DictionaryValue::F64(figures.inference_last_s * 1e3));
        put("latency_ms", DictionaryValue::F64(figures.latency_ns as f64 * 1e-6));
        put("reopened", DictionaryValue::U64(figures.reopened));
        put("framing_moves", DictionaryValue::U64(self.shared.shots().moves()));
        put("rings", DictionaryValue::U64(self.rings().live.len() as u64));
        if figures.masks > 0 {
            let age = monotonic_ns().saturating_sub(figures.mask_capture_ns);
            put("mask_age_ms", DictionaryValue::F64(age as f64 * 1e-6));
        }
        values
    }
}

impl Rings {
    /// Ends the ring if nobody is attached to it.
    fn drop_unused(&mut self, serial: u64) {
        if self.attachments.iter().any(|attached| attached.serial == serial) {
            return;
        }
        if let Some(index) = self.live.iter().position(|ring| ring.serial == serial) {
            let ring = self.live.swap_remove(index);
            ring.clients.close();
            ring.job.stop();
            ring.watcher.abort();
        }
    }
}

impl CameraService for Camera {
    fn name(&self) -> &str {
        self.inner.shared.name()
    }

    fn state(&self) -> watch::Receiver<PublishedState> {
        self.inner.shared.published.subscribe()
    }

    fn crop(&self) -> Fractions {
        let shots = self.inner.shared.shots();
        match (shots.latest(), shots.frame_size()) {
            (Some(shot), Some(size)) => shot.crop.to_fractions(size).to_tuple(),
            _ => UnitRect::WHOLE.to_tuple(),
        }
    }

    fn rate(&self) -> f64 {
        self.inner.shared.mask_rate()
    }

    fn people(&self) -> Vec<PublishedPerson> {
        let Some((observation, _)) = self.inner.shared.observations.latest() else { return Vec::new() };
        let person = |person: &portraitd_vision::TrackedPerson| {
            let (x, y, width, height) = person.bounds.to_tuple();
            (person.id, x, y, width, height)
        };
        observation.people.iter().map(person).collect()
    }

    fn stats(&self) -> Dictionary {
        self.inner.stats()
    }

    fn attach(&self, request: AttachRequest) -> BoxFuture<'_, Result<Attachment, ServiceError>> {
        Box::pin(self.inner.attach(request, Patience::FirstTry))
    }

    fn snapshot(&self, stream: StreamKind) -> BoxFuture<'_, Result<Vec<u8>, ServiceError>> {
        Box::pin(self.inner.snapshot(stream))
    }

    fn apply(&self, setting: SettingChange) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(self.inner.apply(setting))
    }

    fn reframe(&self) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async {
            let mode = self.inner.shared.published.borrow().framing.mode;
            if matches!(mode, FramingMode::Off | FramingMode::Manual) {
                return Err(ServiceError::NotSupported(format!("framing is {mode}")));
            }
            self.inner.shared.shots().reframe();
            Ok(())
        })
    }

    fn set_image(&self, image: Option<Vec<u8>>) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(self.inner.set_image(image))
    }

    fn released(&self, client: &ClientName) {
        self.inner.left(|attached| attached.client == *client);
    }
}

/// Whether a ring shows more of the room than the people and what is round them.
fn shows_room(stream: StreamKind, inset: Inset) -> bool {
    stream == StreamKind::Source || inset != Inset::None
}

/// The newest picture of a ring as PNG; `None` for a ring that has ended.
fn read_one(fds: ClientFds, deadline: Instant) -> Result<Option<Vec<u8>>, String> {
    let mut ring = Ring::open(fds.memory, fds.event).map_err(|error| error.to_string())?;
    let mut frame = portraitd_client::FrameCopy::default();
    while !ring.latest(&mut frame) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("no picture within {} s", SNAPSHOT_TIMEOUT.as_secs()));
        }
        if ring.wait(Some(left)).map_err(|error| error.to_string())? == Wait::Closed {
            return Ok(None);
        }
    }
    let picture = portraitd_client::picture::to_packed(&frame).ok_or("a frame that is no picture")?;
    let mut png = Vec::new();
    portraitd_client::picture::write_png(&picture, &mut png).map_err(|error| error.to_string())?;
    Ok(Some(png))
}

/// Runs on a thread that may wait.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(run).await.map_err(|error| ServiceError::Failed(error.to_string()))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ServiceError> {
    // Thread names are cut at 15 bytes by the kernel; the first word tells enough.
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| ServiceError::Failed(format!("thread {name}: {error}")))
}

pub(super) fn invalid(error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::InvalidArgument(error.to_string())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[expect(clippy::cast_possible_truncation, reason = "coordinates and zooms: rounding only")]
const fn narrow(value: f64) -> f32 {
    value as f32
}

const fn rectangle((x, y, width, height): Fractions) -> UnitRect {
    UnitRect::new(narrow(x), narrow(y), narrow(width), narrow(height))
}

/// The zones whose people are ignored, fractions of the frame.
fn zones_of(framing: &config::FramingConfig) -> Vec<UnitRect> {
    framing.zones.iter().map(|zone| rectangle((*zone).into())).collect()
}

fn framing_choice(framing: &config::FramingConfig) -> FramingChoice {
    FramingChoice {
        mode: framing.mode,
        speed: framing.speed,
        max_zoom: narrow(framing.max_zoom),
        lead_room: narrow(framing.lead_room),
        manual_crop: UnitRect::WHOLE,
        output: (framing.output_width > 0 && framing.output_height > 0)
            .then(|| Size::new(framing.output_width, framing.output_height)),
    }
}

/// Size and rate to ask an output node for: what the view has, as far as the configuration tells.
fn output_shape(config: &config::CameraConfig) -> (Size, f32) {
    let wanted = config.wanted();
    let size = framing_choice(&config.framing).output.or(wanted.size);
    (size.unwrap_or(Size::new(1280, 720)), wanted.frame_rate.unwrap_or(30.0))
}

/// What the threads take from the configuration.
fn tuning_of(config: &config::CameraConfig) -> Tuning {
    let config::SegmentationConfig { budget_ms, max_rate, .. } = config.segmentation;
    Tuning {
        wanted: config.wanted(),
        idle_close: seconds(config.idle_close_s),
        inference_interval: if max_rate > 0.0 { seconds(1.0 / max_rate) } else { Duration::ZERO },
        mask_budget: seconds(budget_ms * 1e-3),
    }
}

fn backdrop_of(background: &config::BackgroundConfig, image: Option<Arc<OwnedPicture>>) -> Backdrop {
    let Color { red, green, blue } = background.color;
    Backdrop { version: 0, mode: background.mode, color: [red, green, blue], blur: background.blur, image }
}

fn first_state(
    config: &config::CameraConfig,
    choice: &FramingChoice,
    device: &str,
    library: &Library,
    model: Option<&Model>,
) -> PublishedState {
    let Color { red, green, blue } = config.background.color;
    PublishedState {
        camera: CameraStatus {
            device: device.to_owned(),
            state: CameraState::Idle,
            format: None,
            consumers: 0,
            generation: 1,
            last_error: String::new(),
        },
        framing: FramingStatus {
            mode: choice.mode,
            state: portraitd_protocol::FramingState::Inactive,
            manual_crop: choice.manual_crop.to_tuple(),
            max_zoom: choice.max_zoom.into(),
            speed: choice.speed,
            zones: config.framing.zones.iter().map(|zone| (*zone).into()).collect(),
            limits: Dictionary::new(),
        },
        segmentation: SegmentationStatus {
            model: model.map(|model| model.manifest().name.clone()).unwrap_or_default(),
            models: library.names(),
            present: false,
            healthy: model.is_some(),
            degraded: if model.is_some() { String::new() } else { "without the net, after repeated crashes".into() },
        },
        background: BackgroundStatus {
            mode: config.background.mode,
            color: [red, green, blue],
            blur: config.background.blur,
        },
    }
}
