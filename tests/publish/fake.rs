//! A camera service without a camera. Its rings are real, and every frame has one shade, so that a
//! mixture of two frames can be recognized.

use std::collections::HashMap;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portraitd::publish::dbus::Publication;
use portraitd::publish::dbus::authority::{AllowAll, Authority};
use portraitd::publish::dbus::service::{
    AttachRequest, Attachment, CameraService, Client, ClientName, Dictionary, DictionaryValue, Fractions,
    ManagerService, PublishedPerson, PublishedState, SettingChange,
};
use portraitd::publish::{Amounts, RingBudget, RingShare, RingSpec, RingWriter, SlotInfo};
use portraitd_client::FrameCopy;
use portraitd_media::{Colorimetry, Control, ControlValue, PixelFormat, PixelRect, Size};
use portraitd_protocol::{CameraState, Inset, Person, ServiceError, SlotFlags, StreamKind};
use rustix::fs::MemfdFlags;
use tokio::sync::watch;

/// Size of the pictures if a client asks for no size, at first.
pub const SIZE: Size = Size::new(64, 36);

/// The value of every byte of frame `index`.
pub fn shade(index: u64) -> u8 {
    u8::try_from(index % 251).expect("under 251")
}

/// Publishes one frame in which every byte is [`shade`] of its index.
pub fn publish(writer: &mut RingWriter) {
    let mut slot = writer.begin().expect("open");
    let index = slot.index();
    for plane in slot.planes() {
        plane.data.fill(shade(index));
    }
    let people = [Person { id: 7, rectangle: [1.0, 2.0, 3.0, 4.0], confidence: 0.5 }];
    slot.publish(&SlotInfo {
        sequence: index + 100,
        capture_ns: index * 1000,
        mask_sequence: index + 99,
        mask_age_ns: 33,
        crop: PixelRect::new(10.0, 20.0, 30.0, 40.0),
        flags: SlotFlags::MASK_VALID | SlotFlags::STILL,
        people: &people,
    });
}

/// Whether a frame is whole: every byte is [`shade`] of its index.
pub fn is_whole(frame: &FrameCopy) -> bool {
    let planes = frame.layout().map_or(0, |layout| layout.planes().len());
    (0..planes).all(|plane| frame.rows(plane).flatten().all(|byte| *byte == shade(frame.info().index)))
}

/// The parameters of a ring of the fake camera.
pub fn spec(stream: StreamKind, format: PixelFormat, size: Size) -> RingSpec {
    RingSpec { stream, generation: 1, format, color: Colorimetry::default(), size, slots: 4 }
}

#[derive(Default)]
struct Inside {
    rings: HashMap<StreamKind, RingWriter>,
    /// Every attachment: client, stream, and id in the ring.
    attached: Vec<(Client, StreamKind, u64)>,
    generation: u32,
}

/// A switch, a number and a menu.
fn controls() -> Vec<Control> {
    let control = |id, name: &str, kind, maximum| Control {
        id,
        name: name.into(),
        kind,
        minimum: 0,
        maximum,
        step: 1,
        default: 1,
        value: Some(1),
        read_only: false,
        inactive: false,
        menu: Vec::new(),
    };
    let menu = vec![(0, "Disabled".to_owned()), (1, "50 Hz".to_owned()), (2, "60 Hz".to_owned())];
    vec![
        control(7, "White Balance, Automatic", "boolean", 1),
        Control { inactive: true, ..control(8, "Gain", "integer", 100) },
        Control { menu, ..control(9, "Power Line Frequency", "menu", 2) },
    ]
}

/// The fake camera.
pub struct FakeCamera {
    name: String,
    inside: Mutex<Inside>,
    state: watch::Sender<PublishedState>,
    /// The clients that have left the bus.
    pub left: watch::Sender<Vec<ClientName>>,
    /// The controls of the device.
    pub controls: Mutex<Vec<Control>>,
    /// The bytes of the background image.
    pub image: Mutex<Option<Vec<u8>>>,
    budget: RingBudget,
    /// The size of the pictures if a client asks for no size.
    pub size: Mutex<Size>,
    /// The last request to attach.
    pub last_request: Mutex<Option<AttachRequest>>,
    /// Whoever holds it keeps attaches waiting, like a camera that takes long to open.
    pub opening: tokio::sync::Mutex<()>,
}

impl FakeCamera {
    pub fn new(name: &str) -> Arc<Self> {
        let mut state = PublishedState::default();
        state.camera.device = "fake:0".into();
        state.camera.state = CameraState::Idle;
        state.camera.generation = 1;
        state.segmentation.models = vec!["small".into(), "large".into()];
        state.segmentation.model = "small".into();
        state.framing.limits = Dictionary::from([("max_zoom".into(), DictionaryValue::F64(4.0))]);
        Arc::new(Self {
            name: name.to_owned(),
            inside: Mutex::new(Inside { generation: 1, ..Inside::default() }),
            state: watch::Sender::new(state),
            left: watch::Sender::new(Vec::new()),
            controls: Mutex::new(controls()),
            image: Mutex::default(),
            budget: RingBudget::default(),
            size: Mutex::new(SIZE),
            last_request: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        })
    }

    /// Changes the published state.
    pub fn change(&self, change: impl FnOnce(&mut PublishedState)) {
        self.state.send_modify(change);
    }

    /// Publishes a frame in every ring.
    pub fn publish(&self) {
        let mut inside = self.inside.lock().expect("fake");
        inside.rings.values_mut().for_each(publish);
    }

    /// Publishes until the guard is dropped.
    pub fn publish_for_ever(self: &Arc<Self>, interval: Duration) -> Publishing {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let camera = Arc::clone(self);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(interval) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                camera.publish();
            }
        });
        Publishing { stop: Some(stop), thread: Some(thread) }
    }

    /// Closes every ring, as after a change of size. The next request to attach creates a new one.
    pub fn close_rings(&self) {
        let mut inside = self.inside.lock().expect("fake");
        inside.rings.clear();
        inside.attached.clear();
        inside.generation += 1;
        let generation = inside.generation;
        self.change(|state| state.camera.generation = generation);
    }

    /// Removes clients that have left, and returns the number of those that remain.
    pub fn clients(&self) -> usize {
        let inside = self.inside.lock().expect("fake");
        inside
            .rings
            .values()
            .map(|ring| {
                ring.clients().reap();
                ring.clients().client_count()
            })
            .sum()
    }

    /// Ends the attachments for which `which` holds.
    fn end(&self, which: impl Fn(&Client, StreamKind) -> bool) {
        let mut inside = self.inside.lock().expect("fake");
        let Inside { rings, attached, .. } = &mut *inside;
        attached.retain(|(client, stream, id)| {
            let ends = which(client, *stream);
            if ends {
                rings.get(stream).map(|ring| ring.clients().remove_client(*id));
            }
            !ends
        });
    }

    /// The clients of a stream's ring.
    pub fn ring_clients(&self, stream: StreamKind) -> portraitd::publish::RingClients {
        self.inside.lock().expect("fake").rings[&stream].clients()
    }
}

/// Stops the publishing thread when it is dropped.
pub struct Publishing {
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("publishing");
        }
    }
}

impl CameraService for FakeCamera {
    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> watch::Receiver<PublishedState> {
        self.state.subscribe()
    }

    fn crop(&self) -> Fractions {
        (0.25, 0.25, 0.5, 0.5)
    }

    fn rate(&self) -> f64 {
        29.5
    }

    fn people(&self) -> Vec<PublishedPerson> {
        vec![(7, 0.1, 0.2, 0.3, 0.4)]
    }

    fn stats(&self) -> Dictionary {
        Dictionary::from([
            ("frames".into(), DictionaryValue::U64(12)),
            ("framing_moves".into(), DictionaryValue::U64(3)),
            ("latency_ms".into(), DictionaryValue::F64(1.5)),
        ])
    }

    fn attach(&self, request: AttachRequest) -> BoxFuture<'_, Result<Attachment, ServiceError>> {
        async move {
            *self.last_request.lock().expect("fake") = Some(request.clone());
            drop(self.opening.lock().await);
            if request.stream == StreamKind::Source || request.options.inset != Inset::None {
                return Err(ServiceError::NoSuchStream("source is off in the configuration".into()));
            }
            let mut inside = self.inside.lock().expect("fake");
            let generation = inside.generation;
            // One ring for a stream is enough for clients that ask for no size, or for the same one.
            if let Some(size) = request.options.size
                && inside.rings.get(&request.stream).is_some_and(|ring| ring.layout().size != size)
            {
                inside.rings.remove(&request.stream);
            }
            let ring = match inside.rings.entry(request.stream) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    let size = request.options.size.unwrap_or(*self.size.lock().expect("fake"));
                    let spec = RingSpec { generation, ..spec(request.stream, request.options.format, size) };
                    let ring = RingWriter::new(&spec).map_err(|error| ServiceError::Failed(error.to_string()))?;
                    entry.insert(ring)
                }
            };
            let fds = ring
                .clients()
                .add_client(request.options.interval())
                .map_err(|error| ServiceError::Failed(error.to_string()))?;
            let layout = *ring.layout();
            inside.attached.push((request.client, request.stream, fds.id));
            Ok(Attachment { fds, layout })
        }
        .boxed()
    }

    fn snapshot(&self, _: Client, stream: StreamKind) -> BoxFuture<'_, Result<OwnedFd, ServiceError>> {
        async move {
            let mut file = std::fs::File::from(rustix::fs::memfd_create("png", MemfdFlags::CLOEXEC).expect("memfd"));
            write!(file, "\u{89}PNG of {stream}").and_then(|()| file.rewind()).expect("memory");
            Ok(file.into())
        }
        .boxed()
    }

    fn apply(&self, setting: SettingChange) -> BoxFuture<'_, Result<(), ServiceError>> {
        async move {
            self.change(|state| match setting {
                SettingChange::Private(private) => state.camera.private = private,
                SettingChange::FramingMode(mode) => state.framing.mode = mode,
                SettingChange::ManualCrop(crop) => state.framing.manual_crop = crop,
                SettingChange::Rotate(rotation) => state.camera.rotate = rotation,
                SettingChange::Mirror(mirror) => state.camera.mirror = mirror,
                SettingChange::Subject(id) => state.framing.subject = id,
                SettingChange::MaxZoom(zoom) => state.framing.max_zoom = zoom,
                SettingChange::Speed(speed) => state.framing.speed = speed,
                SettingChange::Zones(zones) => state.framing.zones = zones,
                SettingChange::Model(model) => state.segmentation.model = model,
                SettingChange::BackgroundMode(mode) => state.background.mode = mode,
                SettingChange::BackgroundColor(color) => state.background.color = color,
                SettingChange::BackgroundBlur(blur) => state.background.blur = blur,
                SettingChange::BackgroundStrict(strict) => state.background.strict = strict,
            });
            Ok(())
        }
        .boxed()
    }

    fn reframe(&self) -> BoxFuture<'_, Result<(), ServiceError>> {
        async move { Err(ServiceError::NotSupported("the fake has no director".into())) }.boxed()
    }

    fn controls(&self) -> BoxFuture<'_, Result<Vec<Control>, ServiceError>> {
        async move { Ok(self.controls.lock().expect("fake").clone()) }.boxed()
    }

    fn set_control(&self, name: String, value: ControlValue) -> BoxFuture<'_, Result<(), ServiceError>> {
        async move {
            let mut controls = self.controls.lock().expect("fake");
            let control = controls.iter_mut().find(|control| control.key() == name);
            let control = control.ok_or_else(|| ServiceError::InvalidArgument(format!("no control {name}")))?;
            let number = control.check(&value).map_err(|error| ServiceError::InvalidArgument(error.to_string()))?;
            control.value = Some(number);
            Ok(())
        }
        .boxed()
    }

    fn reset_controls(&self, name: Option<String>) -> BoxFuture<'_, Result<(), ServiceError>> {
        async move {
            let mut controls = self.controls.lock().expect("fake");
            let wanted = |control: &Control| name.as_ref().is_none_or(|name| control.key() == *name);
            controls
                .iter_mut()
                .filter(|control| wanted(control))
                .for_each(|control| control.value = Some(control.default));
            Ok(())
        }
        .boxed()
    }

    fn charge_image(&self, user: u32) -> Result<RingShare, ServiceError> {
        self.budget.take(user, Amounts::IMAGE).map_err(|error| ServiceError::Busy(error.to_string()))
    }

    fn set_image(&self, image: Option<(Vec<u8>, RingShare)>) -> BoxFuture<'_, Result<(), ServiceError>> {
        async move {
            *self.image.lock().expect("fake") = image.map(|(bytes, _)| bytes);
            Ok(())
        }
        .boxed()
    }

    fn released(&self, client: &ClientName) {
        self.end(|of, _| of.name == *client);
        self.left.send_modify(|left| left.push(client.clone()));
    }

    fn end_attachments(&self, which: &(dyn Fn(&Client, StreamKind) -> bool + Sync)) {
        self.end(which);
    }
}

/// A manager whose configuration is always invalid.
pub struct FakeManager;

impl ManagerService for FakeManager {
    fn reload(&self) -> BoxFuture<'_, Result<(), ServiceError>> {
        async { Err(ServiceError::InvalidArgument("fake.toml:3:1: unknown key".into())) }.boxed()
    }
}

/// A publication of cameras that every client may use.
pub fn publication(cameras: &[&Arc<FakeCamera>]) -> Publication {
    publication_with(cameras, Arc::new(AllowAll))
}

/// A publication of cameras with the given authority.
pub fn publication_with(cameras: &[&Arc<FakeCamera>], authority: Arc<dyn Authority>) -> Publication {
    let cameras = cameras.iter().map(|camera| Arc::clone(camera) as Arc<dyn CameraService>).collect();
    Publication { manager: Arc::new(FakeManager), cameras, authority }
}

/// A tokio runtime with one thread, as the daemon has it.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
}

/// The number of open descriptors of this process.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// Waits for a condition that another task or thread makes true. Panics after 30 seconds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
