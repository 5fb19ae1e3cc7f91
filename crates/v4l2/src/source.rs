//! V4L2 devices as sources: one by its path, or the first usable one.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::device::Device;
use super::paths::{self, DeviceIdentity};
use super::setup::CaptureOptions;
use super::stream::CaptureStream;
use portraitd_media::controls::Controls;
use portraitd_media::{FormatRequest, Opening, Orientation, Source, SourceError, Stream};

/// A capture device by its path: a link in `/dev/v4l/by-id` or `by-path`, or a node such as
/// `/dev/video0`.
///
/// A link is followed at each opening, so a device that returns as another `videoN` is found. A
/// device that was opened by its node is later found by its [`DeviceIdentity`], so another device
/// that has taken the number is not opened.
#[derive(Debug)]
pub struct DeviceSource {
    path: PathBuf,
    identity: Mutex<Option<DeviceIdentity>>,
}

impl DeviceSource {
    /// The device at `path`, which need not exist yet. Nothing is opened.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), identity: Mutex::new(None) }
    }

    /// The current path of the device.
    ///
    /// # Errors
    /// [`SourceError::Absent`] if no node has the known identity.
    fn resolve(&self) -> Result<PathBuf, SourceError> {
        if !paths::is_plain_node(&self.path) {
            return Ok(self.path.clone());
        }
        let known = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(identity) = known else { return Ok(self.path.clone()) };
        if Device::open(&self.path).is_ok_and(|device| DeviceIdentity::of(&device) == identity) {
            return Ok(self.path.clone());
        }
        identity.find().ok_or_else(|| SourceError::Absent { source_name: self.name() })
    }

    /// Opens the device as [`Source::open`] does, and returns the stream with its own type.
    ///
    /// # Errors
    /// The errors of [`CaptureStream::open`].
    pub fn open_stream(&self, wanted: &FormatRequest) -> Result<CaptureStream, SourceError> {
        self.open_turned(wanted, None)
    }

    fn open_turned(&self, wanted: &FormatRequest, turn: Option<Orientation>) -> Result<CaptureStream, SourceError> {
        let path = self.resolve()?;
        let stream = CaptureStream::open_with(&path, wanted, CaptureOptions { turn, ..CaptureOptions::default() })?;
        if paths::is_plain_node(&self.path) {
            let identity = DeviceIdentity::of(stream.device());
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
        }
        Ok(stream)
    }
}

impl Source for DeviceSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        Ok(Box::new(self.open_stream(wanted)?))
    }

    fn begin_turned(
        &self,
        wanted: &FormatRequest,
        orientation: Orientation,
    ) -> Result<(Opening, Orientation), SourceError> {
        Ok(opening(self.open_turned(wanted, Some(orientation))?))
    }

    fn controls(&self) -> Result<Option<Box<dyn Controls>>, SourceError> {
        Ok(Some(Box::new(Device::open(&self.resolve()?)?)))
    }
}

/// The capture device with the lowest number that can be opened and has a supported format.
/// Loopback devices are left out.
#[derive(Debug, Default)]
pub struct AutoSource {
    /// The node that was opened last.
    opened: Mutex<Option<PathBuf>>,
}

impl AutoSource {
    /// Opens the device as [`Source::open`] does, and returns the stream with its own type.
    ///
    /// # Errors
    /// The most informative error of all devices: busy, then not permitted, other failures, no
    /// supported format, absent.
    pub fn open_stream(&self, wanted: &FormatRequest) -> Result<CaptureStream, SourceError> {
        self.open_turned(wanted, None)
    }

    fn open_turned(&self, wanted: &FormatRequest, turn: Option<Orientation>) -> Result<CaptureStream, SourceError> {
        let io = |error| SourceError::Io { source_name: self.name(), call: "readdir(/dev)", error };
        let mut reported = SourceError::Absent { source_name: "auto (no capture device)".to_owned() };
        for node in paths::nodes().map_err(io)? {
            match open_capture(&node, wanted, turn) {
                Ok(Some(stream)) => {
                    *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(node);
                    return Ok(stream);
                }
                Ok(None) => {}
                Err(error) if priority(&error) > priority(&reported) => reported = error,
                Err(_) => {}
            }
        }
        Err(reported)
    }
}

/// Opens the node at `node`; `None` if it is not a camera.
fn open_capture(
    node: &Path,
    wanted: &FormatRequest,
    turn: Option<Orientation>,
) -> Result<Option<CaptureStream>, SourceError> {
    if !is_camera(&Device::open(node)?) {
        return Ok(None);
    }
    CaptureStream::open_with(node, wanted, CaptureOptions { turn, ..CaptureOptions::default() }).map(Some)
}

/// An open stream, and what is left of its turning.
fn opening(stream: CaptureStream) -> (Opening, Orientation) {
    let left = stream.left();
    (Opening::Open(Box::new(stream)), left)
}

/// Whether the node belongs to a camera. A loopback device looks like a camera to its readers, but
/// it may show what this program itself writes, so it is used only if the user names it.
fn is_camera(device: &Device) -> bool {
    let driver = &device.capability().driver;
    device.capture_type().is_some() && !device.is_output() && !driver.starts_with(b"v4l2 loopback")
}

/// The higher the number, the better the error explains why there is no camera.
const fn priority(error: &SourceError) -> u8 {
    match error {
        SourceError::Absent { .. } | SourceError::Gone { .. } | SourceError::NoProducer { .. } => 0,
        SourceError::Unsupported { .. } | SourceError::Malformed { .. } => 1,
        SourceError::Io { .. } => 2,
        SourceError::Permission { .. } => 3,
        SourceError::Busy { .. } => 4,
    }
}

impl Source for AutoSource {
    fn name(&self) -> String {
        "auto".to_owned()
    }

    fn open(&self, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        Ok(Box::new(self.open_stream(wanted)?))
    }

    fn begin_turned(
        &self,
        wanted: &FormatRequest,
        orientation: Orientation,
    ) -> Result<(Opening, Orientation), SourceError> {
        Ok(opening(self.open_turned(wanted, Some(orientation))?))
    }

    /// Those of the device that was opened last; before, those of the first camera.
    fn controls(&self) -> Result<Option<Box<dyn Controls>>, SourceError> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(node) = opened {
            return Ok(Some(Box::new(Device::open(&node)?)));
        }
        let io = |error| SourceError::Io { source_name: self.name(), call: "readdir(/dev)", error };
        let cameras = paths::nodes().map_err(io)?.into_iter().filter_map(|node| Device::open(&node).ok());
        let camera = cameras.into_iter().find(is_camera);
        camera
            .map(|camera| Some(Box::new(camera) as Box<dyn Controls>))
            .ok_or_else(|| SourceError::Absent { source_name: "auto (no capture device)".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_absent_under_its_own_name() {
        let source = DeviceSource::new("/dev/v4l/by-id/usb-nothing-video-index0");
        let error = source.open(&FormatRequest::default()).err().expect("no such device");
        assert!(matches!(&error, SourceError::Absent { source_name } if *source_name == source.name()), "{error}");
    }
}
