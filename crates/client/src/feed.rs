//! A stream of frames across rings: a [`Feed`] attaches, waits for frames and copies them, and
//! attaches again when its ring is closed.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use portraitd_protocol::settings::excerpt;
use tokio::net::unix::pipe::Receiver;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, Variant};

use crate::connect::camera_path;
use crate::proxy::{CameraProxy, ManagerProxy};
use crate::{
    Backoff, CropMode, FrameCopy, Inset, MaskResolution, PixelFormat, Ring, RingError, RingLayout, ServiceError, Size,
    StreamKind,
};

/// The delays before attaching is retried.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// The options of a client for a stream. The service chooses a value for each option that is
/// `None`.
///
/// ```
/// use portraitd_client::feed::AttachOptions;
/// use portraitd_client::{PixelFormat, Size};
///
/// let size = Size::new(640, 360);
/// let options = AttachOptions::default().with_size(size).with_format(PixelFormat::Rgb24);
/// assert_eq!(options.frame_rate_limit, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct AttachOptions {
    /// Size of the pictures. Both sides are even numbers from 16 to 4096.
    pub size: Option<Size>,
    /// Pixel format: NV12 or RGB24 for pictures, grey for masks.
    pub format: Option<PixelFormat>,
    /// Maximum number of wake-ups a second, 1 to 240.
    pub frame_rate_limit: Option<u32>,
    /// The part of the frame that a composite shows.
    pub crop: Option<CropMode>,
    /// The size of a mask. Not together with `size`.
    pub resolution: Option<MaskResolution>,
    /// The corner of a view that shows the whole frame. It also needs the permission of the stream
    /// `source`.
    pub inset: Option<Inset>,
}

impl AttachOptions {
    /// Sets the size of the pictures.
    #[must_use]
    pub const fn with_size(mut self, size: Size) -> Self {
        self.size = Some(size);
        self
    }

    /// Sets the pixel format.
    #[must_use]
    pub const fn with_format(mut self, format: PixelFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets the maximum number of wake-ups a second.
    #[must_use]
    pub const fn with_frame_rate_limit(mut self, limit: u32) -> Self {
        self.frame_rate_limit = Some(limit);
        self
    }

    /// Sets the part of the frame that a composite shows.
    #[must_use]
    pub const fn with_crop(mut self, crop: CropMode) -> Self {
        self.crop = Some(crop);
        self
    }

    /// Sets the size of a mask.
    #[must_use]
    pub const fn with_resolution(mut self, resolution: MaskResolution) -> Self {
        self.resolution = Some(resolution);
        self
    }

    /// Sets the corner of a view that shows the whole frame.
    #[must_use]
    pub const fn with_inset(mut self, inset: Inset) -> Self {
        self.inset = Some(inset);
        self
    }

    /// The options as the method `Attach` takes them.
    pub fn to_values(&self) -> HashMap<&'static str, Variant<'static>> {
        let mut values = HashMap::new();
        if let Some(Size { width, height }) = self.size {
            values.extend([("width", width.into()), ("height", height.into())]);
        }
        if let Some(format) = self.format {
            values.insert("format", format.to_string().into());
        }
        if let Some(limit) = self.frame_rate_limit {
            values.insert("fps", limit.into());
        }
        if let Some(crop) = self.crop {
            values.insert("crop", crop.as_str().into());
        }
        if let Some(inset) = self.inset {
            values.insert("inset", inset.as_str().into());
        }
        if let Some(resolution) = self.resolution {
            values.insert("resolution", resolution.as_str().into());
        }
        values
    }
}

/// An error that ends a feed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The service refused the request.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The memory from the service cannot be opened as a ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The pipe from the service cannot be duplicated, watched or read.
    #[error("the pipe of the ring cannot be read: {0}")]
    Pipe(io::Error),
    /// The connection to the bus or the service is closed.
    #[error("the connection to the service has ended")]
    Disconnected,
}

/// Counters of a feed, summed over all rings that it has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedCounters {
    /// Number of frames copied.
    pub frames: u64,
    /// Number of copies that were torn and discarded.
    pub torn: u64,
    /// Number of frames published and not read.
    pub skipped: u64,
    /// Number of times that the feed has attached again.
    pub reattached: u64,
}

#[derive(Debug)]
struct Attached {
    ring: Ring,
    pipe: Receiver,
}

/// A stream of frames that attaches again when the ring changes. [`Feed::next`] may be cancelled at
/// any await.
#[derive(Debug)]
pub struct Feed {
    camera: CameraProxy<'static>,
    stream: StreamKind,
    options: AttachOptions,
    attached: Option<Attached>,
    /// The counters of the previous rings.
    past: FeedCounters,
    /// The generation of the newest ring; 0 before the first, because generations start at 1.
    generation: u32,
}

/// Creates the proxy for the camera object at `path`, without a cache of its properties. It does
/// not check that the object exists.
///
/// # Errors
/// The error of zbus if the connection is closed.
pub async fn camera_at(connection: &Connection, path: OwnedObjectPath) -> zbus::Result<CameraProxy<'static>> {
    CameraProxy::builder(connection).path(path).cache_properties(CacheProperties::No).build().await
}

/// Finds the camera named `name`. Without a name it finds the only camera.
///
/// # Errors
/// [`ServiceError::CameraAbsent`] if no camera has that name, or if there is no name and not
/// exactly one camera. [`ServiceError::Bus`] if the service cannot be reached.
pub async fn find_camera(connection: &Connection, name: Option<&str>) -> Result<CameraProxy<'static>, ServiceError> {
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    let mut paths = manager.cameras().await?;
    let path = match name {
        Some(name) => {
            let wanted = camera_path(name);
            paths.retain(|path| *path == wanted);
            paths
                .pop()
                .ok_or_else(|| ServiceError::CameraAbsent(format!("there is no camera named \"{}\"", excerpt(name))))?
        }
        None if paths.len() > 1 => {
            return Err(ServiceError::CameraAbsent(format!("there are {} cameras, and none was named", paths.len())));
        }
        None => paths.pop().ok_or_else(|| ServiceError::CameraAbsent("there is no camera".into()))?,
    };
    Ok(camera_at(connection, path).await?)
}

/// Finds a camera as [`find_camera`] does, and waits while the service does not run or does not
/// have the camera.
///
/// # Errors
/// [`ServiceError::Bus`] if the connection has ended or the bus refuses the call.
pub async fn wait_for_camera(
    connection: &Connection,
    name: Option<&str>,
) -> Result<CameraProxy<'static>, ServiceError> {
    let mut backoff = BACKOFF;
    loop {
        match find_camera(connection, name).await {
            Err(error @ ServiceError::CameraAbsent(_)) if connection.is_closed() => return Err(error),
            Err(error) if error.is_not_running() || matches!(error, ServiceError::CameraAbsent(_)) => {
                tokio::time::sleep(backoff.failed()).await;
            }
            found => return found,
        }
    }
}

impl Feed {
    /// Attaches to `stream` of `camera`.
    ///
    /// # Errors
    /// [`FeedError::Service`] if the service refuses; [`FeedError::Ring`] or [`FeedError::Pipe`] if
    /// its reply cannot be used.
    pub async fn attach(
        camera: CameraProxy<'static>,
        stream: StreamKind,
        options: AttachOptions,
    ) -> Result<Self, FeedError> {
        let mut feed = Self::when_available(camera, stream, options);
        let attached = feed.attach_once().await?;
        feed.generation = attached.ring.generation();
        feed.attached = Some(attached);
        Ok(feed)
    }

    /// Creates a feed without attaching. The first [`Feed::next`] attaches, and waits while the
    /// camera is not available.
    pub fn when_available(camera: CameraProxy<'static>, stream: StreamKind, options: AttachOptions) -> Self {
        Self { camera, stream, options, attached: None, past: FeedCounters::default(), generation: 0 }
    }

    /// Changes the options. The next call of [`Feed::next`] attaches again, with the new ones.
    pub fn set_options(&mut self, options: AttachOptions) {
        self.options = options;
        self.detach();
    }

    async fn attach_once(&self) -> Result<Attached, FeedError> {
        let (memory, event, _) = self.camera.attach(self.stream.as_str(), &self.options.to_values()).await?;
        let event = OwnedFd::from(event);
        let pipe = event.as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd).map_err(FeedError::Pipe)?;
        Ok(Attached { ring: Ring::open(memory.into(), event)?, pipe })
    }

    /// Waits for the next frame and copies it to `out`. If the ring is closed, the feed attaches
    /// again, and retries while the camera is not available or the service restarts.
    ///
    /// # Errors
    /// [`FeedError::Disconnected`] if the connection has ended; [`FeedError::Service`] if the
    /// service refuses for a reason that does not pass (no such stream, not authorized, not
    /// supported, invalid options); [`FeedError::Pipe`] if the pipe cannot be read.
    pub async fn next(&mut self, out: &mut FrameCopy) -> Result<(), FeedError> {
        loop {
            if self.attached.is_none() {
                self.attach_again().await?;
            }
            let Some(Attached { ring, pipe }) = &mut self.attached else { continue };
            let mut bytes = [0; 4096];
            let open = match pipe.try_read(&mut bytes) {
                Ok(0) => false,
                Ok(_) => true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if ring.closed() {
                        self.detach();
                    } else {
                        pipe.readable().await.map_err(FeedError::Pipe)?;
                    }
                    continue;
                }
                Err(error) => return Err(FeedError::Pipe(error)),
            };
            if ring.latest(out) {
                self.past.frames += 1;
                return Ok(());
            }
            if !open || ring.closed() {
                self.detach();
                continue;
            }
            // A pipe that is always readable must not keep other tasks, or a timeout, from running.
            tokio::task::yield_now().await;
        }
    }

    /// Drops the ring and adds its counters to those of the previous rings.
    fn detach(&mut self) {
        if let Some(Attached { ring, .. }) = self.attached.take() {
            self.past.torn += ring.torn();
            self.past.skipped += ring.skipped();
        }
    }

    async fn attach_again(&mut self) -> Result<(), FeedError> {
        let mut backoff = BACKOFF;
        loop {
            if self.camera.inner().connection().is_closed() {
                return Err(FeedError::Disconnected);
            }
            match self.attach_once().await {
                Ok(attached) => {
                    self.past.reattached += u64::from(self.generation != 0);
                    self.generation = attached.ring.generation();
                    self.attached = Some(attached);
                    return Ok(());
                }
                Err(FeedError::Service(
                    error @ (ServiceError::NoSuchStream(_)
                    | ServiceError::InvalidArgument(_)
                    | ServiceError::NotAuthorized(_)
                    | ServiceError::NotSupported(_)),
                )) => return Err(error.into()),
                // The camera is not available or the daemon restarts. Both may pass.
                Err(_) => tokio::time::sleep(backoff.failed()).await,
            }
        }
    }

    /// The layout of the current ring; `None` while the feed is not attached.
    pub fn layout(&self) -> Option<&RingLayout> {
        self.attached.as_ref().map(|attached| attached.ring.layout())
    }

    /// The generation of the newest ring; 0 before the first.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The counters of all rings up to now.
    pub fn counters(&self) -> FeedCounters {
        let mut counters = self.past;
        if let Some(Attached { ring, .. }) = &self.attached {
            counters.torn += ring.torn();
            counters.skipped += ring.skipped();
        }
        counters
    }
}
