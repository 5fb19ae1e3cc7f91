//! A stream of frames that outlives its rings: attach, wait, copy; and when the ring is closed, attach again.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, Variant};

use crate::connect::camera_path;
use crate::proxy::{CameraProxy, ManagerProxy};
use crate::{
    CropMode, FrameCopy, Inset, MaskResolution, PixelFormat, Ring, RingError, RingLayout, ServiceError, StreamKind,
};

/// The first wait before attaching is tried again, doubled each time up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait before attaching is tried again.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What a client asks of a stream; what is `None` is the service's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttachOptions {
    /// Width and height in pixels, even numbers of 16 to 4096.
    pub size: Option<(u32, u32)>,
    /// NV12 or RGB24 for pictures, grey for masks.
    pub format: Option<PixelFormat>,
    /// The most wakes a second.
    pub frame_rate_limit: Option<u32>,
    /// What a composite shows.
    pub crop: Option<CropMode>,
    /// How fine a mask is.
    pub resolution: Option<MaskResolution>,
    /// Where in a view the whole room is shown; needs the permission of the stream `source` too.
    pub inset: Option<Inset>,
}

impl AttachOptions {
    /// As they go over the bus.
    pub fn to_values(&self) -> HashMap<&'static str, Variant<'static>> {
        let mut values = HashMap::new();
        if let Some((width, height)) = self.size {
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

/// Why a feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The service said no.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// What it gave is not a ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// What it gave as the pipe is none.
    #[error("the ring's pipe: {0}")]
    Pipe(io::Error),
    /// The connection to the bus or to the peer has ended.
    #[error("the connection to the service has ended")]
    Disconnected,
}

/// What a feed has read, over all of its rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounters {
    /// Frames copied.
    pub frames: u64,
    /// Copies that were found torn and thrown away.
    pub torn: u64,
    /// Frames published and not read.
    pub skipped: u64,
    /// Times that it attached again.
    pub reattached: u64,
}

#[derive(Debug)]
struct Attached {
    ring: Ring,
    pipe: Receiver,
}

/// A stream of frames.
#[derive(Debug)]
pub struct Feed {
    camera: CameraProxy<'static>,
    stream: StreamKind,
    options: AttachOptions,
    attached: Option<Attached>,
    /// What the rings before the present one counted.
    past: FeedCounters,
    /// That of the newest ring; 0 before the first, as none has that.
    generation: u32,
}

/// A camera's proxy, without a cache of its properties.
///
/// # Errors
/// What zbus says.
pub async fn camera_at(connection: &Connection, path: OwnedObjectPath) -> zbus::Result<CameraProxy<'static>> {
    CameraProxy::builder(connection).path(path).cache_properties(CacheProperties::No).build().await
}

/// The camera of a name, or the only one where there is no name.
///
/// # Errors
/// [`ServiceError::CameraAbsent`] where there is none of that name, or without a name not exactly one.
pub async fn find_camera(connection: &Connection, name: Option<&str>) -> Result<CameraProxy<'static>, ServiceError> {
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    let mut paths = manager.cameras().await?;
    let path = match name {
        Some(name) => {
            let wanted = camera_path(name);
            paths.retain(|path| *path == wanted);
            paths.pop().ok_or_else(|| ServiceError::CameraAbsent(format!("there is no camera named {name:?}")))?
        }
        None if paths.len() > 1 => {
            return Err(ServiceError::CameraAbsent(format!("there are {} cameras: name one", paths.len())));
        }
        None => paths.pop().ok_or_else(|| ServiceError::CameraAbsent("there is no camera".into()))?,
    };
    Ok(camera_at(connection, path).await?)
}

/// As [`find_camera`], and waits for as long as the service does not run or does not have the camera.
///
/// # Errors
/// [`ServiceError::Bus`] where the connection has ended, or the bus refuses.
pub async fn wait_for_camera(
    connection: &Connection,
    name: Option<&str>,
) -> Result<CameraProxy<'static>, ServiceError> {
    let mut wait = FIRST_WAIT;
    loop {
        match find_camera(connection, name).await {
            Err(error @ ServiceError::CameraAbsent(_)) if connection.is_closed() => return Err(error),
            Err(error) if error.is_not_running() || matches!(error, ServiceError::CameraAbsent(_)) => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LAST_WAIT);
            }
            found => return found,
        }
    }
}

impl Feed {
    /// Attaches to `stream` of `camera`.
    ///
    /// # Errors
    /// [`FeedError::Service`] with the service's own error; the others where what it gave cannot be used.
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

    /// A feed of a camera that need not be there yet: the first [`Feed::next`] attaches, and waits for the camera as it does
    /// for one that went away.
    pub fn when_available(camera: CameraProxy<'static>, stream: StreamKind, options: AttachOptions) -> Self {
        Self { camera, stream, options, attached: None, past: FeedCounters::default(), generation: 0 }
    }

    async fn attach_once(&self) -> Result<Attached, FeedError> {
        let (memory, event, _) = self.camera.attach(self.stream.as_str(), &self.options.to_values()).await?;
        let event = OwnedFd::from(event);
        let pipe = event.as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd).map_err(FeedError::Pipe)?;
        Ok(Attached { ring: Ring::open(memory.into(), event)?, pipe })
    }

    /// Waits for the next frame and copies it to `out`. Where the ring is closed, attaches again, for as long as it takes
    /// and the service may still come back. May be cancelled at any await.
    ///
    /// # Errors
    /// [`FeedError::Disconnected`] when the connection has ended; [`FeedError::Service`] where the service refuses for
    /// good (no such stream, not authorised, invalid options).
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
            }
        }
    }

    /// Lets the ring go, and keeps what it counted.
    fn detach(&mut self) {
        if let Some(Attached { ring, .. }) = self.attached.take() {
            self.past.torn += ring.torn();
            self.past.skipped += ring.skipped();
        }
    }

    async fn attach_again(&mut self) -> Result<(), FeedError> {
        let mut wait = FIRST_WAIT;
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
                // The camera is away, or the daemon is restarting: it may come back.
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    /// The shape of the present ring; `None` between two.
    pub fn layout(&self) -> Option<&RingLayout> {
        self.attached.as_ref().map(|attached| attached.ring.layout())
    }

    /// The generation of the newest ring.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// What was read so far.
    pub fn counters(&self) -> FeedCounters {
        let mut counters = self.past;
        if let Some(Attached { ring, .. }) = &self.attached {
            counters.torn += ring.torn();
            counters.skipped += ring.skipped();
        }
        counters
    }
}
