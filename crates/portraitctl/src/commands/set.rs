//! `set`: changes settings, one property after the other.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use portraitd_client::feed::find_camera;
use portraitd_client::protocol::control::ControlValue;
use portraitd_client::protocol::settings::{self, SettingError, excerpt, parse_number, parse_rectangle};
use portraitd_client::protocol::spelling::{nearest, snake_case};
use portraitd_client::proxy::{
    BackgroundProxy, CameraProxy, ControlsProxy, Fractions, FramingProxy, SegmentationProxy,
};
use portraitd_client::{BackgroundMode, FramingMode, FramingSpeed};
use serde_json::json;
use zbus::proxy::CacheProperties;
use zbus::{Connection, Variant};

use crate::output::Output;

/// One byte more than the service accepts, in bytes. The service then refuses the image with an error
/// that names the limit.
pub(crate) const MOST_IMAGE_BYTES: u64 = (32 << 20) + 1;

/// The image at `path`, as a descriptor to send. A file is copied to memory, because the service
/// never waits while it reads memory, and reads it even while another client's file or pipe is slow.
fn image_of(path: &Path) -> io::Result<OwnedFd> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(file.into());
    }
    memory_of(file.take(MOST_IMAGE_BYTES))
}

/// What `reader` delivers, in memory that can be sent.
pub(crate) fn memory_of(mut reader: impl Read) -> io::Result<OwnedFd> {
    let mut memory = File::from(rustix::fs::memfd_create("portraitctl-image", rustix::fs::MemfdFlags::CLOEXEC)?);
    io::copy(&mut reader, &mut memory)?;
    Ok(memory.into())
}

/// The text after the help of `set`: the keys and their values.
pub(crate) fn keys() -> String {
    fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> String {
        all.iter().map(|value| word(*value)).collect::<Vec<_>>().join(", ")
    }
    let (modes, speeds) =
        (words(FramingMode::ALL, FramingMode::as_str), words(FramingSpeed::ALL, FramingSpeed::as_str));
    let backgrounds = words(BackgroundMode::ALL, BackgroundMode::as_str);
    let (zoom, blur) = (settings::MAX_ZOOM, settings::BLUR);
    format!(
        "Keys:
  camera.private         on (closes the camera until it is off) or off
  camera.rotate          0, 90, 180 or 270: degrees by which pictures are turned clockwise
  camera.mirror          on or off: whether the turned pictures are mirrored left to right
  controls.NAME          a control that `controls` shows: a number, on or off, or the text of a
                         menu's item; empty for the driver's default
  framing.mode           {modes}
  framing.manual_crop    x,y,width,height as fractions of the source, 0 to 1
  framing.max_zoom       {} to {}
  framing.speed          {speeds}
  framing.subject        the id of the person to follow, as `status` shows it, or 0 for everybody
  framing.zones          x,y,width,height[;x,y,width,height...], or empty for none
  segmentation.model     one of the models that `status` shows
  background.mode        {backgrounds}
  background.color       #rrggbb, or a basic name of CSS such as navy
  background.blur        {} to {}, as a fraction of the picture's height
  background.strict      on or off: whether a composite waits for the frame's own mask
  background.image       a PNG or JPEG file, or empty to remove the image",
        zoom.lowest, zoom.highest, blur.lowest, blur.highest
    )
}

/// The keys.
const KEYS: [&str; 15] = [
    "camera.private",
    "camera.rotate",
    "camera.mirror",
    "framing.mode",
    "framing.manual_crop",
    "framing.max_zoom",
    "framing.speed",
    "framing.subject",
    "framing.zones",
    "segmentation.model",
    "background.mode",
    "background.color",
    "background.blur",
    "background.strict",
    "background.image",
];

/// The end of the error of an unknown key.
fn did_you_mean(key: &str) -> String {
    // The group may be left out by mistake.
    let short = KEYS.iter().find(|known| known.split_once('.').is_some_and(|(_, name)| name == snake_case(key)));
    match short.copied().or_else(|| nearest(key, KEYS)) {
        Some(known) => format!("; did you mean {known}?"),
        None => "; `portraitctl set --help` lists the keys".to_owned(),
    }
}

/// Why a text is not an assignment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssignmentError {
    #[error("\"{}\" is not KEY=VALUE", excerpt(text))]
    NoAssignment { text: String },
    #[error("unknown key \"{}\"{}", excerpt(key), did_you_mean(key))]
    UnknownKey { key: String },
    #[error("{text:?} is not on or off")]
    Switch { text: String },
    #[error(transparent)]
    Value(#[from] SettingError),
}

/// A setting and its new value. The service checks words and ranges.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Setting {
    Private(bool),
    Rotate(u32),
    Mirror(bool),
    FramingMode(String),
    ManualCrop(Fractions),
    MaxZoom(f64),
    Speed(String),
    Subject(u32),
    Zones(Vec<Fractions>),
    Model(String),
    BackgroundMode(String),
    Color(String),
    Blur(f64),
    Strict(bool),
    Image(Option<PathBuf>),
    /// The name of a control, and its value; `None` for the default.
    Control(String, Option<ControlValue>),
}

// Ranges are checked by the service alone: it may be of another release, with other ranges.

fn switch(text: &str) -> Result<bool, AssignmentError> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(AssignmentError::Switch { text: text.to_owned() }),
    }
}

/// The value of a control: the service knows which of them the control takes.
fn control_value(text: &str) -> ControlValue {
    match (switch(text), text.parse()) {
        (Ok(switch), _) => ControlValue::Switch(switch),
        (_, Ok(number)) => ControlValue::Number(number),
        _ => ControlValue::Text(text.to_owned()),
    }
}

fn whole(text: &str) -> Result<u32, SettingError> {
    text.parse().map_err(|_| SettingError::NotANumber { text: excerpt(text) })
}

fn rectangle(text: &str) -> Result<Fractions, SettingError> {
    parse_rectangle(text).map(Into::into)
}

impl Setting {
    /// The key, as the configuration file and the help spell it.
    fn key(&self) -> Cow<'static, str> {
        let key = match self {
            Self::Control(name, _) => return format!("controls.{name}").into(),
            Self::Private(_) => "camera.private",
            Self::Rotate(_) => "camera.rotate",
            Self::Mirror(_) => "camera.mirror",
            Self::FramingMode(_) => "framing.mode",
            Self::ManualCrop(_) => "framing.manual_crop",
            Self::MaxZoom(_) => "framing.max_zoom",
            Self::Speed(_) => "framing.speed",
            Self::Subject(_) => "framing.subject",
            Self::Zones(_) => "framing.zones",
            Self::Model(_) => "segmentation.model",
            Self::BackgroundMode(_) => "background.mode",
            Self::Color(_) => "background.color",
            Self::Blur(_) => "background.blur",
            Self::Strict(_) => "background.strict",
            Self::Image(_) => "background.image",
        };
        key.into()
    }
}

impl FromStr for Setting {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Self, AssignmentError> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| AssignmentError::NoAssignment { text: text.to_owned() })?;
        let value_text = value.to_owned();
        if let Some(name) = key.strip_prefix("controls.").filter(|name| !name.is_empty()) {
            return Ok(Self::Control(name.to_owned(), (!value.is_empty()).then(|| control_value(value))));
        }
        Ok(match snake_case(key).as_str() {
            "camera.private" => Self::Private(switch(value)?),
            "camera.rotate" => Self::Rotate(whole(value)?),
            "camera.mirror" => Self::Mirror(switch(value)?),
            "framing.mode" => Self::FramingMode(value_text),
            "framing.manual_crop" => Self::ManualCrop(rectangle(value)?),
            "framing.max_zoom" => Self::MaxZoom(parse_number(value)?),
            "framing.speed" => Self::Speed(value_text),
            "framing.subject" => Self::Subject(whole(value)?),
            "framing.zones" if value.is_empty() => Self::Zones(Vec::new()),
            "framing.zones" => Self::Zones(value.split(';').map(rectangle).collect::<Result<_, _>>()?),
            "segmentation.model" => Self::Model(value_text),
            "background.mode" => Self::BackgroundMode(value_text),
            "background.color" => Self::Color(value_text),
            "background.blur" => Self::Blur(parse_number(value)?),
            "background.strict" => Self::Strict(switch(value)?),
            "background.image" => Self::Image((!value.is_empty()).then(|| value.into())),
            _ => return Err(AssignmentError::UnknownKey { key: key.to_owned() }),
        })
    }
}

/// A camera whose settings are changed.
pub(crate) struct Target {
    camera: CameraProxy<'static>,
    framing: FramingProxy<'static>,
    segmentation: SegmentationProxy<'static>,
    background: BackgroundProxy<'static>,
    controls: ControlsProxy<'static>,
}

impl Target {
    pub(crate) async fn of(camera: CameraProxy<'static>) -> Result<Self> {
        let (connection, path) = (camera.inner().connection(), camera.inner().path());
        let no = CacheProperties::No;
        Ok(Self {
            framing: FramingProxy::builder(connection).path(path.to_owned()).cache_properties(no).build().await?,
            segmentation: SegmentationProxy::builder(connection)
                .path(path.to_owned())
                .cache_properties(no)
                .build()
                .await?,
            background: BackgroundProxy::builder(connection).path(path.to_owned()).cache_properties(no).build().await?,
            controls: ControlsProxy::builder(connection).path(path.to_owned()).cache_properties(no).build().await?,
            camera,
        })
    }

    /// Changes one setting.
    pub(crate) async fn apply(&self, setting: &Setting) -> Result<()> {
        let Self { camera, framing, segmentation, background, controls } = self;
        match setting {
            Setting::Private(private) => camera.set_private(*private).await?,
            Setting::Rotate(degrees) => camera.set_rotate(*degrees).await?,
            Setting::Mirror(mirror) => camera.set_mirror(*mirror).await?,
            Setting::FramingMode(mode) => framing.set_mode(mode.as_str().into()).await?,
            Setting::ManualCrop(crop) => framing.set_manual_crop(*crop).await?,
            Setting::MaxZoom(zoom) => framing.set_max_zoom(*zoom).await?,
            Setting::Speed(speed) => framing.set_speed(speed.as_str().into()).await?,
            Setting::Subject(id) => framing.set_subject(*id).await?,
            Setting::Zones(zones) => framing.set_zones(zones).await?,
            Setting::Model(model) => segmentation.set_model(model).await?,
            Setting::BackgroundMode(mode) => background.set_mode(mode.as_str().into()).await?,
            Setting::Color(color) => background.set_color(color).await?,
            Setting::Blur(blur) => background.set_blur(*blur).await?,
            Setting::Strict(strict) => background.set_strict(*strict).await?,
            Setting::Control(name, None) => controls.reset(name).await?,
            Setting::Control(name, Some(value)) => {
                let value = match value {
                    ControlValue::Switch(switch) => Variant::from(*switch),
                    ControlValue::Number(number) => Variant::from(*number),
                    ControlValue::Text(text) => Variant::from(text.as_str()),
                };
                controls.set(name, &value).await?;
            }
            Setting::Image(None) => background.clear_image().await?,
            Setting::Image(Some(path)) => {
                let image = image_of(path).with_context(|| format!("{}", path.display()))?;
                self.set_image(&image).await?;
            }
        }
        Ok(())
    }

    /// Frames the people again.
    #[cfg(feature = "preview")]
    pub(crate) async fn reframe(&self) -> Result<()> {
        Ok(self.framing.reframe().await?)
    }

    /// Sets the background picture to the contents of a descriptor.
    pub(crate) async fn set_image(&self, image: &OwnedFd) -> Result<()> {
        Ok(self.background.set_image(image.as_fd().into()).await?)
    }
}

/// Runs the command. It stops at the first setting that the service refuses; the settings before it
/// stay in force.
pub(crate) async fn run(
    connection: &Connection,
    camera: Option<&str>,
    settings: &[Setting],
    output: Output,
) -> Result<()> {
    let target = Target::of(find_camera(connection, camera).await?).await?;
    for (done, setting) in settings.iter().enumerate() {
        target.apply(setting).await.with_context(|| match done {
            0 => setting.key().into_owned(),
            done => format!("{} (the {done} before it are set)", setting.key()),
        })?;
        if let Setting::MaxZoom(zoom) = setting {
            let limits = target.framing.limits().await.unwrap_or_default();
            let limit = limits.get("max_zoom").and_then(|limit| f64::try_from(limit).ok());
            // Frames of a camera that has not been opened yet have no known size.
            if let Some(limit) = limit.filter(|limit| zoom - limit > 0.005) {
                output.notice(format_args!(
                    "framing.max_zoom: {zoom} is limited to {limit:.2} by the sizes of the camera's frames and of the view"
                ));
            }
        }
    }
    let keys: Vec<_> = settings.iter().map(Setting::key).collect();
    output.done(&json!({"set": settings.len()}), format_args!("set: {}", keys.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_the_keys() {
        let help = keys();
        // And two lines for all controls.
        assert_eq!(help.lines().count(), KEYS.len() + 3);
        for key in KEYS {
            assert!(help.contains(&format!("  {key} ")), "{key}");
        }
    }

    #[test]
    fn settings_are_read_from_words() {
        let parse = |text: &str| text.parse::<Setting>().map_err(|error| error.to_string());
        assert_eq!(parse("framing.max-zoom=2.5"), Ok(Setting::MaxZoom(2.5)));
        assert_eq!(parse("framing.manual-crop=0,0.1, 0.5,0.5"), Ok(Setting::ManualCrop((0.0, 0.1, 0.5, 0.5))));
        assert_eq!(parse("framing.zones="), Ok(Setting::Zones(Vec::new())));
        let two = Setting::Zones(vec![(0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 0.5)]);
        assert_eq!(parse("framing.zones=0,0,1,0.5;0,0.5,1,0.5"), Ok(two));
        assert_eq!(parse("background.image="), Ok(Setting::Image(None)));
        assert_eq!(parse("framing.max-zoom=big"), Err("\"big\" is not a number".into()));
        assert_eq!(parse("framing.zones=1,2"), Err("\"1,2\" is not x,y,width,height".into()));
        assert_eq!(parse("camera.rotate=270"), Ok(Setting::Rotate(270)));
        assert_eq!(parse("camera.rotate=left"), Err("\"left\" is not a number".into()));
        assert_eq!(parse("camera.mirror=on"), Ok(Setting::Mirror(true)));
        let control = |value| Ok(Setting::Control("gain".into(), value));
        assert_eq!(parse("controls.gain="), control(None));
        assert_eq!(parse("controls.gain=-5"), control(Some(ControlValue::Number(-5))));
        assert_eq!(parse("controls.gain=on"), control(Some(ControlValue::Switch(true))));
        assert_eq!(parse("controls.gain=50 Hz"), control(Some(ControlValue::Text("50 Hz".into()))));
        assert!(parse("controls.=5").is_err());
        assert_eq!(parse("background.strict=off"), Ok(Setting::Strict(false)));
        assert_eq!(parse("background.strict=no"), Err("\"no\" is not on or off".into()));
        for spelling in ["framing.max_zoom=2.5", "framing.MaxZoom=2.5"] {
            assert_eq!(parse(spelling), Ok(Setting::MaxZoom(2.5)));
        }
        let unknown = |text: &str, end: &str| {
            assert_eq!(parse(&format!("{text}=1")), Err(format!("unknown key \"{text}\"; {end}")));
        };
        unknown("volume", "`portraitctl set --help` lists the keys");
        unknown("framing.maxzom", "did you mean framing.max_zoom?");
        unknown("MaxZoom", "did you mean framing.max_zoom?");
        unknown("background.colour", "did you mean background.color?");
        assert_eq!(parse("volume"), Err("\"volume\" is not KEY=VALUE".into()));
    }
}
