//! The offer of `portraitdsink`: a task that provides the newest frame while somebody looks, and
//! offers again when the service has ended the offer.
//!
//! The *streaming thread* puts frames into [`Frames`] and never waits. The *task* takes the newest
//! one and copies it to the ring.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst_video::VideoInfo;
use gst_video::prelude::*;
use portraitd_client::ServiceError;
use portraitd_client::connect::Bus;
use portraitd_client::feed::{find_camera, wait_for_camera};
use portraitd_client::provide::{OfferedRing, ProvideError, Provider};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use zbus::Connection;

use crate::caps::Picture;
use crate::{ANSWER, kind_of, lock};

/// The first wait before the next offer. It doubles, up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(2);
/// After another offer the service says that somebody looks within this time, if somebody does.
const GRACE: Duration = Duration::from_secs(2);

/// For which camera frames are offered.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) camera: Option<String>,
    pub(crate) bus: Bus,
    pub(crate) wait: bool,
}

/// What the service says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// It has taken the offer.
    pub(crate) offered: bool,
    /// Somebody looks.
    pub(crate) wanted: bool,
}

/// Why frames cannot be provided.
#[derive(Debug)]
pub(crate) enum Failure {
    Provide(ProvideError),
    /// The service has not answered in time.
    Late,
}

impl<E: Into<ProvideError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Provide(error.into())
    }
}

impl Failure {
    /// Whether it may be gone at the next attempt: the service stops, starts or reads another
    /// configuration.
    fn passes(&self) -> bool {
        match self {
            Self::Provide(ProvideError::Service(error @ ServiceError::Bus(_))) => !is_denied(error),
            Self::Provide(ProvideError::Service(ServiceError::CameraAbsent(_))) | Self::Late => true,
            Self::Provide(_) => false,
        }
    }

    pub(crate) fn message(&self) -> gst::ErrorMessage {
        match self {
            Self::Late => {
                let limit = ANSWER.as_secs();
                gst::error_msg!(gst::ResourceError::OpenWrite, ("the service has not answered for {limit} s"))
            }
            Self::Provide(ProvideError::Service(error)) if is_denied(error) => gst::error_msg!(
                gst::ResourceError::NotAuthorized,
                ("this user may not provide frames: only members of the group portraitd-providers may ({error})")
            ),
            Self::Provide(ProvideError::Service(error)) => {
                let kind = kind_of(error).unwrap_or(gst::ResourceError::OpenWrite);
                gst::error_msg!(kind, ("{error}"))
            }
            Self::Provide(error) => gst::error_msg!(gst::ResourceError::OpenWrite, ("{error}")),
        }
    }
}

/// Whether the service, or the policy of the bus, refuses this user.
fn is_denied(error: &ServiceError) -> bool {
    const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
    match error {
        ServiceError::NotAuthorized(_) => true,
        ServiceError::Bus(zbus::Error::FDO(error)) => matches!(**error, zbus::fdo::Error::AccessDenied(_)),
        ServiceError::Bus(zbus::Error::MethodError(name, ..)) => name.as_str() == DENIED,
        _ => false,
    }
}

/// A frame that the task has not taken yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) buffer: gst::Buffer,
    pub(crate) info: VideoInfo,
    pub(crate) picture: Picture,
    /// In nanoseconds of `CLOCK_MONOTONIC`; `None`: now.
    pub(crate) capture_ns: Option<u64>,
}

/// What the streaming thread and the task share.
#[derive(Debug)]
pub(crate) struct Frames {
    wanted: AtomicBool,
    newest: Mutex<Option<Pending>>,
    arrived: Notify,
    picture: watch::Sender<Picture>,
}

impl Frames {
    pub(crate) fn new(picture: Picture) -> Self {
        Self {
            wanted: AtomicBool::new(false),
            newest: Mutex::default(),
            arrived: Notify::new(),
            picture: watch::Sender::new(picture),
        }
    }

    /// Whether somebody looks.
    pub(crate) fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Leaves a frame for the task, in place of one that it has not taken.
    pub(crate) fn put(&self, pending: Pending) {
        let before = lock(&self.newest).replace(pending);
        drop(before);
        self.arrived.notify_one();
    }

    /// Gives the buffer back that the task has not taken.
    pub(crate) fn drop_newest(&self) {
        let before = lock(&self.newest).take();
        drop(before);
    }

    /// The next frames have this form.
    pub(crate) fn expect(&self, picture: Picture) {
        self.picture.send_if_modified(|before| std::mem::replace(before, picture) != picture);
    }
}

/// An offer that the service has taken.
#[derive(Debug)]
pub(crate) struct Offered {
    connection: Connection,
    camera: String,
    provider: Provider,
    picture: Picture,
}

impl Offered {
    async fn new(connection: Connection, camera: String, picture: Picture) -> Result<Self, Failure> {
        let ring = OfferedRing::new(picture.format, picture.color, picture.size)?;
        let provider = Provider::offer(&connection, &camera, ring, picture.frame_rate).await?;
        Ok(Self { connection, camera, provider, picture })
    }

    /// Offers frames of another form in place of these.
    async fn renew(self, picture: Picture) -> Result<Self, Failure> {
        let Self { connection, camera, provider, .. } = self;
        let renewed = timeout(ANSWER, Self::new(connection, camera, picture)).await;
        // Only now: otherwise the camera would be absent for a moment.
        drop(provider);
        renewed.map_err(|_| Failure::Late)?
    }

    /// Copies a frame to the ring.
    fn publish(&mut self, pending: &Pending) {
        let Ok(frame) = gst_video::VideoFrameRef::from_buffer_ref_readable(&pending.buffer, &pending.info) else {
            return;
        };
        let strides = frame.plane_stride().iter().map(|stride| usize::try_from(*stride).unwrap_or(0).max(1));
        let sources = (0..frame.n_planes()).map(|plane| frame.plane_data(plane)).zip(strides);
        let sources: Vec<(&[u8], usize)> =
            sources.map_while(|(bytes, stride)| bytes.ok().map(|bytes| (bytes, stride))).collect();
        let layout = *self.provider.layout();
        if sources.len() < layout.planes().len() {
            return;
        }
        self.provider.publish(pending.capture_ns, |planes| {
            for (index, (from, from_stride)) in sources.iter().enumerate() {
                let row_bytes = layout.planes().get(index).map_or(0, |plane| plane.row_bytes);
                let (to, to_stride) = planes.plane(index);
                for (to, from) in to.chunks_exact_mut(to_stride.max(1)).zip(from.chunks(*from_stride)) {
                    let bytes = row_bytes.min(from.len());
                    to[..bytes].copy_from_slice(&from[..bytes]);
                }
            }
        });
    }
}

/// The first offer, if it must not wait.
pub(crate) async fn first(target: &Target, picture: Picture) -> Result<Offered, Failure> {
    timeout(ANSWER, offer(target, picture)).await.map_err(|_| Failure::Late)?
}

async fn offer(target: &Target, picture: Picture) -> Result<Offered, Failure> {
    let connection = target.bus.connect().await.map_err(ServiceError::from)?;
    let camera = find_camera(&connection, target.camera.as_deref()).await?.name().await?;
    Offered::new(connection, camera, picture).await
}

/// Offers, and waits while the service does not run or does not have the camera.
async fn offer_when_possible(target: &Target, frames: &Frames) -> Result<Offered, Failure> {
    let mut wait = FIRST_WAIT;
    loop {
        let attempt = async {
            let connection = target.bus.connect().await.map_err(ServiceError::from)?;
            let camera = wait_for_camera(&connection, target.camera.as_deref()).await?.name().await?;
            let picture = *frames.picture.borrow();
            timeout(ANSWER, Offered::new(connection, camera, picture)).await.map_err(|_| Failure::Late)?
        };
        match attempt.await {
            Err(failure) if failure.passes() => {
                sleep(wait).await;
                wait = (wait * 2).min(LAST_WAIT);
            }
            result => return result,
        }
    }
}

/// Provides frames until it is cancelled, or the service refuses for a reason that does not pass.
pub(crate) async fn serve(
    target: Target,
    first: Option<Offered>,
    frames: Arc<Frames>,
    tell: impl Fn(Result<News, Failure>),
) {
    let set = |news: News| {
        frames.wanted.store(news.wanted, Ordering::Relaxed);
        tell(Ok(news));
    };
    let mut next = first;
    loop {
        let offered = match next.take() {
            Some(offered) => offered,
            None => match offer_when_possible(&target, &frames).await {
                Ok(offered) => offered,
                Err(failure) => return tell(Err(failure)),
            },
        };
        let ended = provide(offered, &frames, set).await;
        set(News::default());
        frames.drop_newest();
        match ended {
            Err(failure) if !failure.passes() => return tell(Err(failure)),
            _ => sleep(FIRST_WAIT).await,
        }
    }
}

/// Provides frames until the service ends the offer.
async fn provide(mut offered: Offered, frames: &Frames, set: impl Fn(News)) -> Result<(), Failure> {
    let mut pictures = frames.picture.subscribe();
    // Until when a new offer is taken as wanted because the one before was.
    let mut grace = None;
    set(News { offered: true, wanted: false });
    loop {
        let picture = *pictures.borrow_and_update();
        if picture != offered.picture {
            offered = offered.renew(picture).await?;
            grace = frames.are_wanted().then(|| Instant::now() + GRACE);
        }
        let over = async {
            match grace {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            news = offered.provider.changed() => {
                let Some(wanted) = news? else { return Ok(()) };
                grace = None;
                set(News { offered: true, wanted });
            }
            () = over => {
                grace = None;
                set(News { offered: true, wanted: offered.provider.is_wanted() });
            }
            _ = pictures.changed() => {}
            () = frames.arrived.notified() => {
                let pending = lock(&frames.newest).take();
                if let Some(pending) = pending
                    && pending.picture == offered.picture
                    && offered.provider.is_wanted()
                {
                    offered.publish(&pending);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(error: ServiceError) -> Failure {
        error.into()
    }

    #[test]
    fn a_user_without_the_permission_is_told_the_group() {
        let by_bus = zbus::fdo::Error::AccessDenied("Sender is not authorized".into());
        for error in [ServiceError::NotAuthorized("no".into()), by_bus.into()] {
            let failure = refused(error);
            assert!(!failure.passes(), "{failure:?}");
            let text = format!("{:?}", failure.message());
            assert!(text.contains("portraitd-providers"), "{text}");
        }
    }

    #[test]
    fn only_what_may_be_gone_later_is_tried_again() {
        let absent = zbus::fdo::Error::ServiceUnknown("not activatable".into());
        assert!(refused(absent.into()).passes());
        assert!(refused(ServiceError::CameraAbsent("another configuration".into())).passes());
        assert!(Failure::Late.passes());
        for error in [ServiceError::Busy, ServiceError::NotSupported, ServiceError::InvalidArgument] {
            assert!(!refused(error("no".into())).passes());
        }
    }

    #[test]
    fn the_newest_frame_waits_alone() {
        gst::init().expect("GStreamer");
        let info = VideoInfo::builder(gst_video::VideoFormat::Gray8, 2, 2).build().expect("an info");
        let picture = crate::caps::picture_of(&info).expect("a picture");
        let frames = Frames::new(picture);
        for value in 0..3_u8 {
            let buffer = gst::Buffer::from_slice([value; 16]);
            frames.put(Pending { buffer, info: info.clone(), picture, capture_ns: None });
        }
        let left = lock(&frames.newest).take().expect("a frame");
        assert_eq!(left.buffer.map_readable().expect("readable")[0], 2);
        assert!(lock(&frames.newest).is_none());
    }
}
