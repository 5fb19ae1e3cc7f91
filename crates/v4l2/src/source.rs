//! Devices as sources: one by its name, or the first that works.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::device::Device;
use super::paths::{self, Identity};
use super::stream::CaptureStream;
use portraitd_media::{FormatRequest, Source, SourceError, Stream};

/// A capture device by its path: a link under `/dev/v4l/by-id` or `by-path`, or a plain node.
///
/// A link is followed at each opening, so a device that comes back as another `videoN` is found. A plain node is found
/// again by the identity of the device that was first opened there (a number that another device has taken is not).
#[derive(Debug)]
pub struct DeviceSource {
    path: PathBuf,
    identity: Mutex<Option<Identity>>,
}

impl DeviceSource {
    /// The device at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), identity: Mutex::new(None) }
    }

    /// The path to open now: where the device is, if it is anywhere.
    fn resolve(&self) -> Result<PathBuf, SourceError> {
        if !paths::is_plain_node(&self.path) {
            return Ok(self.path.clone());
        }
        let known = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(identity) = known else { return Ok(self.path.clone()) };
        if Device::open(&self.path).is_ok_and(|device| Identity::of(&device) == identity) {
            return Ok(self.path.clone());
        }
        identity.find().ok_or_else(|| SourceError::Absent { source_name: self.name() })
    }

    /// Opens the device as [`Source::open`] does, and gives the stream as what it is.
    ///
    /// # Errors
    /// As [`CaptureStream::open`].
    pub fn open_stream(&self, wanted: &FormatRequest) -> Result<CaptureStream, SourceError> {
        let path = self.resolve()?;
        let stream = CaptureStream::open(&path, wanted)?;
        if paths::is_plain_node(&self.path) {
            let identity = Identity::of(stream.device());
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
}

/// The first capture device, by number, that can be opened and has a format of use.
#[derive(Clone, Copy, Debug, Default)]
pub struct AutoSource;

impl AutoSource {
    /// Opens it as [`Source::open`] does, and gives the stream as what it is.
    ///
    /// # Errors
    /// The most telling of the errors: busy, not permitted, of no use, not there.
    pub fn open_stream(self, wanted: &FormatRequest) -> Result<CaptureStream, SourceError> {
        let io = |error| SourceError::Io { source_name: self.name(), call: "readdir(/dev)", error };
        let mut worst = SourceError::Absent { source_name: "auto (no capture device)".to_owned() };
        for node in paths::nodes().map_err(io)? {
            match open_capture(&node, wanted) {
                Ok(Some(stream)) => return Ok(stream),
                Ok(None) => {}
                Err(error) if weight(&error) > weight(&worst) => worst = error,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}

/// `None` where the node is not one to capture from.
fn open_capture(node: &Path, wanted: &FormatRequest) -> Result<Option<CaptureStream>, SourceError> {
    if !is_camera(&Device::open(node)?) {
        return Ok(None);
    }
    CaptureStream::open(node, wanted).map(Some)
}

/// Whether a node is one that a camera stands behind. What programs write into (v4l2loopback) looks like a camera to its
/// readers, and may show what portraitd itself writes: only who names it gets it.
fn is_camera(device: &Device) -> bool {
    let driver = &device.capability().driver;
    device.capture_type().is_some() && !device.is_output() && !driver.starts_with(b"v4l2 loopback")
}

/// How much an error tells of why there is no camera.
const fn weight(error: &SourceError) -> u8 {
    match error {
        SourceError::Absent { .. } | SourceError::Gone { .. } => 0,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_absent_by_its_own_name() {
        let source = DeviceSource::new("/dev/v4l/by-id/usb-nothing-video-index0");
        let error = source.open(&FormatRequest::default()).err().expect("nothing there");
        assert!(matches!(&error, SourceError::Absent { source_name } if *source_name == source.name()), "{error}");
    }
}
