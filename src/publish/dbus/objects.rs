//! The D-Bus objects: five of the interfaces of each camera, and the manager. Each translates between
//! the types of the bus and those of the service. The doc comments of the interfaces are part of the
//! introspection data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portraitd_protocol::orientation::Rotation;
use portraitd_protocol::settings::{BLUR, Color, MAX_ZOOM, SettingError, check_rectangle, check_zone_count, excerpt};
use portraitd_protocol::{BackgroundMode, FramingMode, FramingSpeed, Inset, ServiceError, StreamKind, UnknownWord};
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::attach::parse_options;
use super::authority::Right;
use super::context::CameraContext;
use super::encode::{VariantMap, control_value, control_values, format_values, layout_values, variants};
use super::permissions::is_guarded_figure;
use super::service::{AttachRequest, Fractions, ManagerService, PublishedPerson, PublishedState, SettingChange};

/// How often a snapshot is taken, if the camera becomes private meanwhile.
const SNAPSHOT_TRIES: usize = 3;

fn invalid(text: impl Into<String>) -> ServiceError {
    ServiceError::InvalidArgument(text.into())
}

fn word<T>(property: &str, word: &str) -> Result<T, ServiceError>
where
    T: for<'a> TryFrom<&'a str, Error = UnknownWord>,
{
    T::try_from(word).map_err(|error| invalid(format!("{property}: {error}")))
}

/// Names the property in the error of a check.
fn checked<T>(property: &str, checked: Result<T, SettingError>) -> Result<T, ServiceError> {
    checked.map_err(|error| invalid(format!("{property}: {error}")))
}

fn checked_rectangle(property: &str, rectangle: Fractions) -> Result<Fractions, ServiceError> {
    checked(property, check_rectangle(rectangle.into())).map(|_| rectangle)
}

/// `org.portraitd.Camera1`.
pub(super) struct CameraObject(pub(super) Arc<CameraContext>);

/// A camera.
#[interface(name = "org.portraitd.Camera1")]
impl CameraObject {
    /// Attaches the caller to the stream "mask", "view", "composite" or "source".
    ///
    /// Options: "width" and "height" (u, even, 16 to 4096, both or neither); "format" (s: "NV12" or
    /// "RGB3", and "GREY" for the mask); "fps" (u, 1 to 240: the maximum number of wake-ups per
    /// second); "crop" (s: "view" or "full"; composite only); "resolution" (s: "net", "quarter" or
    /// "full"; mask only, not together with "width" and "height"); "inset" (s: "none", "top-left",
    /// "top-right", "bottom-left" or "bottom-right"; view only: the corner that shows the whole
    /// frame, which also requires the permission for "source").
    ///
    /// Returns the memory of the ring, a pipe that receives one byte per frame, and the layout of
    /// the ring. Closing the pipe ends the attachment.
    #[zbus(out_args("memory", "event", "layout"))]
    async fn attach(
        &self,
        stream: &str,
        options: BTreeMap<String, OwnedVariant>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(zbus::OwnedFd, zbus::OwnedFd, BTreeMap<&'static str, Variant<'static>>), ServiceError> {
        let camera = &self.0;
        let epoch = camera.permissions.epoch();
        let (stream, client) = camera.allowed(stream, connection, &header).await?;
        let options = parse_options(stream, &options)?;
        let mut shown = vec![Right::See(stream)];
        if options.inset != Inset::None {
            camera.allowed(StreamKind::Source.as_str(), connection, &header).await?;
            shown.push(Right::See(StreamKind::Source));
        }
        let attachment = camera.service.attach(AttachRequest { client: client.clone(), stream, options }).await?;
        camera.permissions.confirm(connection, &client, &shown, epoch).await?;
        let layout = layout_values(camera.service.name(), &attachment.layout);
        Ok((attachment.fds.memory.into(), attachment.fds.event.into(), layout))
    }

    /// Returns the newest picture of a stream as PNG, in a memfd whose position is at the
    /// beginning.
    #[zbus(out_args("png"))]
    async fn snapshot(
        &self,
        stream: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<zbus::OwnedFd, ServiceError> {
        let epoch = self.0.permissions.epoch();
        let (stream, client) = self.0.allowed(stream, connection, &header).await?;
        for _ in 0..SNAPSHOT_TRIES {
            let was_closed = self.0.is_closed_by_a_client().await;
            let png = self.0.service.snapshot(client.clone(), stream).await?;
            self.0.permissions.confirm(connection, &client, &[Right::See(stream)], epoch).await?;
            // If the camera has become private meanwhile, this may be a picture from before.
            if was_closed || !self.private() {
                return Ok(png.into());
            }
        }
        Err(ServiceError::Busy("the camera became private while its picture was taken".into()))
    }

    /// The name of the camera in the configuration.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.0.service.name().to_owned()
    }

    /// The device node or other source of the frames.
    #[zbus(property)]
    fn device(&self) -> String {
        self.0.read(|state| state.camera.device.clone())
    }

    /// The state of the camera: "absent", "idle", "starting", "running", "stalled", "private" or
    /// "failed".
    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.0.read(|state| state.camera.state.as_str())
    }

    /// The format of the frames, empty while the camera is closed: "format" s, "width" u, "height"
    /// u, "frame_rate" d, and for formats other than RGB also "matrix" s and "range" s.
    #[zbus(property)]
    fn format(&self) -> VariantMap {
        self.0.read(|state| format_values(state.camera.format.as_ref()))
    }

    /// The number of attached clients.
    #[zbus(property)]
    fn consumers(&self) -> u32 {
        self.0.read(|state| state.camera.consumers)
    }

    /// Increases with every change of size or format. Rings of an older generation are closed.
    #[zbus(property)]
    fn generation(&self) -> u32 {
        self.0.read(|state| state.camera.generation)
    }

    /// The last error; empty if there was none.
    #[zbus(property)]
    fn last_error(&self) -> String {
        self.0.read(|state| state.camera.last_error.clone())
    }

    /// Whether the camera is muted in software: closed, whoever is attached, with black pictures,
    /// until a client sets this to false. Setting it closes all rings, and returns when the camera
    /// is closed. It outlives the client, a reload and a restart of the service, but not a stop.
    #[zbus(property)]
    fn private(&self) -> bool {
        self.0.read(|state| state.camera.private)
    }

    #[zbus(property)]
    async fn set_private(&self, private: bool) -> Result<(), ServiceError> {
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.camera.private = new.camera.private;
        };
        self.0.apply(SettingChange::Private(private), note).await
    }

    /// By how many degrees the camera's pictures are turned clockwise: 0, 90, 180 or 270. Everything
    /// else, such as zones, crops and masks, is in the turned picture. A change opens the camera again.
    #[zbus(property)]
    fn rotate(&self) -> u32 {
        self.0.read(|state| state.camera.rotate.degrees())
    }

    #[zbus(property)]
    async fn set_rotate(&self, degrees: u32) -> Result<(), ServiceError> {
        let rotation = checked("Rotate", Rotation::from_degrees(degrees.into()))?;
        let note = |announced: &mut PublishedState, new: &PublishedState| announced.camera.rotate = new.camera.rotate;
        self.0.apply(SettingChange::Rotate(rotation), note).await
    }

    /// Whether the turned pictures are mirrored left to right. A change opens the camera again.
    #[zbus(property)]
    fn mirror(&self) -> bool {
        self.0.read(|state| state.camera.mirror)
    }

    #[zbus(property)]
    async fn set_mirror(&self, mirror: bool) -> Result<(), ServiceError> {
        let note = |announced: &mut PublishedState, new: &PublishedState| announced.camera.mirror = new.camera.mirror;
        self.0.apply(SettingChange::Mirror(mirror), note).await
    }

    /// Measured values, read on demand. Those that depend on people are left out for callers
    /// without the permission for the mask.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn stats(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> VariantMap {
        let mut stats = self.0.service.stats();
        if self.0.permissions.may_see_people(connection, header.as_ref()).await.is_err() {
            stats.retain(|name, _| !is_guarded_figure(name));
        }
        variants(&stats)
    }
}

/// `org.portraitd.Framing1`.
pub(super) struct FramingObject(pub(super) Arc<CameraContext>);

/// How the view follows the people. Rectangles are x, y, width and height as fractions of the
/// source picture.
#[interface(name = "org.portraitd.Framing1")]
impl FramingObject {
    /// Frames the people again, now.
    async fn reframe(&self) -> Result<(), ServiceError> {
        self.0.service.reframe().await
    }

    /// How the crop is chosen: "off", "once", "follow" or "manual".
    #[zbus(property)]
    fn mode(&self) -> &'static str {
        self.0.read(|state| state.framing.mode.as_str())
    }

    #[zbus(property)]
    async fn set_mode(&self, mode: &str) -> Result<(), ServiceError> {
        let mode = word::<FramingMode>("Mode", mode)?;
        self.0.apply(SettingChange::FramingMode(mode), |announced, new| announced.framing.mode = new.framing.mode).await
    }

    /// The state of the director: "inactive", "framing", "converged" or "lost". Needs the
    /// permission for the mask.
    #[zbus(property)]
    async fn state(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> Result<&'static str, ServiceError> {
        self.0.permissions.may_see_people(connection, header.as_ref()).await?;
        Ok(self.0.read(|state| state.framing.state.as_str()))
    }

    /// The current crop, read on demand. Needs the permission for the mask.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn crop(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> Result<Fractions, ServiceError> {
        self.0.permissions.may_see_people(connection, header.as_ref()).await?;
        Ok(self.0.service.crop())
    }

    /// The crop of the mode "manual".
    #[zbus(property)]
    fn manual_crop(&self) -> Fractions {
        self.0.read(|state| state.framing.manual_crop)
    }

    #[zbus(property)]
    async fn set_manual_crop(&self, crop: Fractions) -> Result<(), ServiceError> {
        let crop = checked_rectangle("ManualCrop", crop)?;
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.framing.manual_crop = new.framing.manual_crop;
        };
        self.0.apply(SettingChange::ManualCrop(crop), note).await
    }

    /// The strongest magnification of the view, 1 to 4.
    #[zbus(property)]
    fn max_zoom(&self) -> f64 {
        self.0.read(|state| state.framing.max_zoom)
    }

    #[zbus(property)]
    async fn set_max_zoom(&self, zoom: f64) -> Result<(), ServiceError> {
        let zoom = checked("MaxZoom", MAX_ZOOM.check(zoom))?;
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.framing.max_zoom = new.framing.max_zoom;
        };
        self.0.apply(SettingChange::MaxZoom(zoom), note).await
    }

    /// How fast the crop moves: "calm", "normal" or "quick".
    #[zbus(property)]
    fn speed(&self) -> &'static str {
        self.0.read(|state| state.framing.speed.as_str())
    }

    #[zbus(property)]
    async fn set_speed(&self, speed: &str) -> Result<(), ServiceError> {
        let speed = word::<FramingSpeed>("Speed", speed)?;
        self.0.apply(SettingChange::Speed(speed), |announced, new| announced.framing.speed = new.framing.speed).await
    }

    /// The id of the one person whom the crop follows, as in People; 0 if it follows everybody. The
    /// crop holds for two seconds when they are lost, and then follows everybody again. Read on
    /// demand, which needs the permission for the mask.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn subject(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> Result<u32, ServiceError> {
        self.0.permissions.may_see_people(connection, header.as_ref()).await?;
        Ok(self.0.read(|state| state.framing.subject))
    }

    #[zbus(property)]
    async fn set_subject(&self, id: u32) -> Result<(), ServiceError> {
        self.0.service.apply(SettingChange::Subject(id)).await
    }

    /// Areas whose people are ignored, at most 16.
    #[zbus(property)]
    fn zones(&self) -> Vec<Fractions> {
        self.0.read(|state| state.framing.zones.clone())
    }

    #[zbus(property)]
    async fn set_zones(&self, zones: Vec<Fractions>) -> Result<(), ServiceError> {
        checked("Zones", check_zone_count(zones.len()))?;
        let zones = zones.into_iter().map(|zone| checked_rectangle("Zones", zone)).collect::<Result<_, _>>()?;
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.framing.zones.clone_from(&new.framing.zones);
        };
        self.0.apply(SettingChange::Zones(zones), note).await
    }

    /// The limits of the settings for this camera.
    #[zbus(property)]
    fn limits(&self) -> VariantMap {
        self.0.read(|state| variants(&state.framing.limits))
    }
}

/// `org.portraitd.Segmentation1`.
pub(super) struct SegmentationObject(pub(super) Arc<CameraContext>);

/// The net that separates people from the room.
#[interface(name = "org.portraitd.Segmentation1")]
impl SegmentationObject {
    /// The model in use, one of Models.
    #[zbus(property)]
    fn model(&self) -> String {
        self.0.read(|state| state.segmentation.model.clone())
    }

    #[zbus(property)]
    async fn set_model(&self, model: String) -> Result<(), ServiceError> {
        let models = self.0.read(|state| state.segmentation.models.clone());
        if !models.contains(&model) {
            return Err(invalid(format!("Model: \"{}\" is not one of {}", excerpt(&model), models.join(" "))));
        }
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.segmentation.model.clone_from(&new.segmentation.model);
        };
        self.0.apply(SettingChange::Model(model), note).await
    }

    /// The models that can be loaded.
    #[zbus(property)]
    fn models(&self) -> Vec<String> {
        self.0.read(|state| state.segmentation.models.clone())
    }

    /// The measured number of masks per second, read on demand. Needs the permission for the mask.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn rate(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> Result<f64, ServiceError> {
        self.0.permissions.may_see_people(connection, header.as_ref()).await?;
        Ok(self.0.service.rate())
    }

    /// The people of the newest mask, read on demand: id, then x, y, width and height as fractions
    /// of the source picture. Needs the permission for the mask.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn people(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> Result<Vec<PublishedPerson>, ServiceError> {
        self.0.permissions.may_see_people(connection, header.as_ref()).await?;
        Ok(self.0.service.people())
    }

    /// Whether there is a person in the newest mask. Needs the permission for the mask; changes are
    /// announced to clients that have it and have asked.
    #[zbus(property)]
    async fn present(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> Result<bool, ServiceError> {
        self.0.permissions.may_see_people(connection, header.as_ref()).await?;
        Ok(self.0.read(|state| state.segmentation.present))
    }

    /// Whether masks are produced as configured.
    #[zbus(property)]
    fn healthy(&self) -> bool {
        self.0.read(|state| state.segmentation.healthy)
    }

    /// What is left out because inference exceeds its time budget, or why there are no masks. Empty
    /// if nothing is left out.
    #[zbus(property)]
    fn degraded(&self) -> String {
        self.0.read(|state| state.segmentation.degraded.clone())
    }
}

/// `org.portraitd.Background1`.
pub(super) struct BackgroundObject(pub(super) Arc<CameraContext>);

/// What a composite shows behind the people.
#[interface(name = "org.portraitd.Background1")]
impl BackgroundObject {
    /// Sets the background image from a PNG or JPEG of at most 32 MiB: a file or memfd (read from
    /// its beginning), a pipe or a socket.
    async fn set_image(
        &self,
        image: zbus::OwnedFd,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ServiceError> {
        // A stand-in: see `ClientWatch::descriptor`.
        drop(image);
        let image = self.0.client_watch.descriptor(&header);
        let client = self.0.client_watch.client(connection, &header).await?;
        let share = self.0.service.charge_image(client.user)?;
        let image = self.0.images.read(image, share).await?;
        self.0.service.set_image(Some(image)).await
    }

    /// Removes the background image.
    async fn clear_image(&self) -> Result<(), ServiceError> {
        self.0.service.set_image(None).await
    }

    /// What a composite shows behind the people: "none", "color", "image" or "blur".
    #[zbus(property)]
    fn mode(&self) -> &'static str {
        self.0.read(|state| state.background.mode.as_str())
    }

    #[zbus(property)]
    async fn set_mode(&self, mode: &str) -> Result<(), ServiceError> {
        let mode = word::<BackgroundMode>("Mode", mode)?;
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.background.mode = new.background.mode;
        };
        self.0.apply(SettingChange::BackgroundMode(mode), note).await
    }

    /// The colour of the mode "color", as "#rrggbb".
    #[zbus(property)]
    fn color(&self) -> String {
        self.0.read(|state| Color::from(state.background.color).to_string())
    }

    #[zbus(property)]
    async fn set_color(&self, color: &str) -> Result<(), ServiceError> {
        let color = checked("Color", color.parse::<Color>())?;
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.background.color = new.background.color;
        };
        self.0.apply(SettingChange::BackgroundColor(color.into()), note).await
    }

    /// The blur of the mode "blur": the standard deviation as a fraction of the picture's height, 0
    /// to 0.25.
    #[zbus(property)]
    fn blur(&self) -> f64 {
        self.0.read(|state| state.background.blur)
    }

    #[zbus(property)]
    async fn set_blur(&self, blur: f64) -> Result<(), ServiceError> {
        let blur = checked("Blur", BLUR.check(blur))?;
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.background.blur = new.background.blur;
        };
        self.0.apply(SettingChange::BackgroundBlur(blur), note).await
    }

    /// Whether a composite shows a frame only with the mask that was made from it. If not, it shows
    /// the newest frame, and of that only people who have not moved since a mask of at most 400 ms.
    #[zbus(property)]
    fn strict(&self) -> bool {
        self.0.read(|state| state.background.strict)
    }

    #[zbus(property)]
    async fn set_strict(&self, strict: bool) -> Result<(), ServiceError> {
        let note = |announced: &mut PublishedState, new: &PublishedState| {
            announced.background.strict = new.background.strict;
        };
        self.0.apply(SettingChange::BackgroundStrict(strict), note).await
    }
}

/// `org.portraitd.Controls1`.
pub(super) struct ControlsObject(pub(super) Arc<CameraContext>);

/// The controls of the camera's driver: exposure, white balance, focus and others.
#[interface(name = "org.portraitd.Controls1")]
impl ControlsObject {
    /// The controls, each as a dictionary: "key" s (its name for Set and the configuration), "name" s
    /// (the driver's), "kind" s, "minimum", "maximum", "step" and "default" i, "value" i (if it can be
    /// read), "read_only" and "inactive" b, and for menus "menu" a(us).
    #[zbus(out_args("controls"))]
    async fn list(&self) -> Result<Vec<VariantMap>, ServiceError> {
        Ok(self.0.service.controls().await?.iter().map(control_values).collect())
    }

    /// Sets a control: a number, a boolean, or the text of a menu's item. The value is set again at
    /// each opening of the device, until it is reset or a reload.
    async fn set(&self, name: String, value: OwnedVariant) -> Result<(), ServiceError> {
        let value = control_value(&value)
            .ok_or_else(|| invalid(format!("{}: a number, a boolean or a text is wanted", excerpt(&name))))?;
        self.0.service.set_control(name, value).await
    }

    /// Sets a control to the driver's default; with an empty name, all controls.
    async fn reset(&self, name: String) -> Result<(), ServiceError> {
        self.0.service.reset_controls((!name.is_empty()).then_some(name)).await
    }
}

/// The object paths of the published cameras.
pub(super) type CameraPaths = Arc<Mutex<Vec<OwnedObjectPath>>>;

/// `org.portraitd.Manager1`.
pub(super) struct ManagerObject {
    pub(super) service: Arc<dyn ManagerService>,
    pub(super) cameras: CameraPaths,
}

/// The daemon.
#[interface(name = "org.portraitd.Manager1")]
impl ManagerObject {
    /// Reads the configuration again. If it is wrong, the old settings stay in force, and the error
    /// names the place.
    async fn reload(&self) -> Result<(), ServiceError> {
        self.service.reload().await
    }

    /// The version of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The object paths of the cameras.
    #[zbus(property)]
    fn cameras(&self) -> Vec<OwnedObjectPath> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
