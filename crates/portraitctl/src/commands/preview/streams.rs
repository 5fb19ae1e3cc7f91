//! The attachments of the preview. All pages that show a stream share one, and it ends soon after
//! the last of them has stopped asking for frames.
//!
//! A page asks for a frame that is newer than the last one it has. A frame is read and encoded only
//! when a page waits for one, so a slow page costs little and gets the newest frame, and no frames
//! are stored for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use portraitd_client::feed::{AttachOptions, find_camera};
use portraitd_client::picture::JpegEncoder;
use portraitd_client::protocol::geometry::even_size;
use portraitd_client::{Feed, FrameCopy, Size, StreamKind, monotonic_ns};
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use zbus::Connection;

use crate::explain::{explain, not_running};

/// Streams at a time, of all cameras.
const MOST_STREAMS: usize = 12;
/// How long an attachment is kept after the last request for its frames.
const LINGER: Duration = Duration::from_secs(2);
/// How long a request waits for a frame.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pictures are no longer than this on their long side, in pixels: it is a preview.
const LONGEST_SIDE: u32 = 960;
/// The shortest time from one picture to the next: a camera with 30 frames a second is shown whole,
/// and one with 60 at half its rate.
const INTERVAL: Duration = Duration::from_millis(25);
const QUALITY: u8 = 80;

/// A frame as pages get it.
#[derive(Debug)]
pub(super) struct Picture {
    /// Larger than the numbers of all earlier pictures.
    number: u64,
    pub(super) jpeg: Bytes,
    capture_ns: u64,
    facts: Json,
}

impl Picture {
    /// What is known of the frame, as JSON: its number, size and crop, the people, and how old it is
    /// now.
    pub(super) fn facts(&self) -> String {
        let mut facts = self.facts.clone();
        facts["number"] = self.number.into();
        facts["age_ms"] = milliseconds(monotonic_ns().saturating_sub(self.capture_ns));
        facts.to_string()
    }
}

/// With one decimal.
fn milliseconds(ns: u64) -> Json {
    ((ns as f64 / 1e5).round() / 10.0).into()
}

/// The newest picture; `None` before the first; the reason when the stream has ended.
type Newest = Result<Option<Arc<Picture>>, String>;

/// A stream that pages look at.
#[derive(Debug)]
struct Stream {
    newest: watch::Sender<Newest>,
    /// Told when a page waits for a frame.
    wanted: Notify,
    /// The number of requests up to now.
    requests: AtomicU64,
}

impl Stream {
    /// Returns when no request has come for [`LINGER`].
    async fn is_left(&self) {
        loop {
            self.newest.closed().await;
            let before = self.requests.load(Ordering::Relaxed);
            tokio::time::sleep(LINGER).await;
            if self.newest.is_closed() && self.requests.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// A camera by its name, and a stream of it.
type Key = (String, StreamKind);

/// The streams that pages look at.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    connection: Connection,
    bus: String,
    /// Whether the service runs.
    service: watch::Receiver<bool>,
    running: Arc<Mutex<HashMap<Key, Arc<Stream>>>>,
    numbers: Arc<AtomicU64>,
}

impl Streams {
    pub(super) fn new(connection: Connection, bus: String, service: watch::Receiver<bool>) -> Self {
        Self { connection, bus, service, running: Arc::default(), numbers: Arc::default() }
    }

    /// Only assigns and looks up: the map is whole whatever has panicked.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Stream>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running stream of this name, or a new one.
    fn stream(&self, key: &Key) -> Result<Arc<Stream>> {
        let mut running = self.lock();
        if let Some(stream) = running.get(key) {
            return Ok(Arc::clone(stream));
        }
        anyhow::ensure!(running.len() < MOST_STREAMS, "{MOST_STREAMS} streams are shown already: close other pages");
        let stream = Arc::new(Stream {
            newest: watch::Sender::new(Ok(None)),
            wanted: Notify::new(),
            requests: AtomicU64::new(0),
        });
        running.insert(key.clone(), Arc::clone(&stream));
        let (streams, key, started) = (self.clone(), key.clone(), Arc::clone(&stream));
        tokio::spawn(async move {
            let result = streams.run(&key, &started).await;
            streams.lock().remove(&key);
            let end = result.err().map_or_else(|| "the stream has ended".into(), |error| explain(&error, &streams.bus));
            let _ = started.newest.send_replace(Err(end));
        });
        Ok(stream)
    }

    /// A picture of a stream with a larger number than `after`; `None` if there is none for a while.
    ///
    /// # Errors
    /// What the service, or the limit of streams, refuses.
    pub(super) async fn newer(&self, key: &Key, after: u64) -> Result<Option<Arc<Picture>>> {
        let stream = self.stream(key)?;
        let mut newest = stream.newest.subscribe();
        stream.requests.fetch_add(1, Ordering::Relaxed);
        let next = async {
            loop {
                match &*newest.borrow_and_update() {
                    Err(end) => bail!("{end}"),
                    Ok(Some(picture)) if picture.number > after => return Ok(Arc::clone(picture)),
                    Ok(_) => stream.wanted.notify_one(),
                }
                newest.changed().await?;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.ok().transpose()
    }

    /// Runs a stream until nobody looks, the service refuses it, or the service stops.
    async fn run(&self, (name, kind): &Key, stream: &Stream) -> Result<()> {
        let mut service = self.service.clone();
        tokio::select! {
            // Attaching again would start a service that was stopped.
            biased;
            _ = service.wait_for(|runs| !runs) => bail!(not_running(&self.bus)),
            () = stream.is_left() => Ok(()),
            result = self.read(name, *kind, stream) => result,
        }
    }

    /// Reads and encodes frames when pages want them.
    async fn read(&self, name: &str, kind: StreamKind, stream: &Stream) -> Result<()> {
        let camera = find_camera(&self.connection, Some(name)).await?;
        let encoder = Arc::new(JpegEncoder::new(QUALITY));
        let mut frame = FrameCopy::default();
        let mut due = Instant::now();
        loop {
            let options = AttachOptions::default();
            let mut feed = Feed::attach(camera.clone(), kind, options).await?;
            if let Some(size) = feed.layout().and_then(|layout| smaller(layout.size)) {
                feed.set_options(options.with_size(size));
            }
            let mut generation = None;
            loop {
                tokio::time::sleep_until(due).await;
                stream.wanted.notified().await;
                feed.next(&mut frame).await?;
                // After a change of the source's size or orientation the size is chosen again.
                if *generation.get_or_insert(feed.generation()) != feed.generation() {
                    stream.wanted.notify_one();
                    break;
                }
                due = Instant::now() + INTERVAL;
                let facts = facts(&frame);
                let capture_ns = frame.info().capture_ns;
                let encoder = Arc::clone(&encoder);
                let encode = move || {
                    let mut jpeg = Vec::new();
                    encoder.append(&frame, &mut jpeg).map(|()| (frame, jpeg))
                };
                let (read, jpeg) = tokio::task::spawn_blocking(encode).await.context("encoding")??;
                frame = read;
                let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
                let picture = Picture { number, jpeg: jpeg.into(), capture_ns, facts };
                let _ = stream.newest.send_replace(Ok(Some(Arc::new(picture))));
            }
        }
    }
}

/// The size to ask for, if `size` is too large for a preview.
fn smaller(size: Size) -> Option<Size> {
    let longest = size.width.max(size.height);
    let scaled =
        |side: u32| u32::try_from(u64::from(side) * u64::from(LONGEST_SIDE) / u64::from(longest)).unwrap_or(side);
    (longest > LONGEST_SIDE).then(|| even_size(Size::new(scaled(size.width).max(16), scaled(size.height).max(16))))
}

/// What the header of a frame says. Crop and boxes are in pixels of the source.
fn facts(frame: &FrameCopy) -> Json {
    let info = frame.info();
    let size = frame.layout().map(|layout| layout.size).unwrap_or_default();
    let people: Vec<_> =
        info.people().iter().map(|person| json!([person.id, person.rectangle, person.confidence])).collect();
    json!({
        "width": size.width,
        "height": size.height,
        "sequence": info.sequence,
        "crop": info.crop,
        "people": if info.mask_valid() { people } else { Vec::new() },
        "mask_valid": info.mask_valid(),
        "mask_age_ms": milliseconds(info.mask_age_ns),
        "flags": info.flags.bits(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_no_larger_than_a_preview_needs() {
        assert_eq!(smaller(Size::new(960, 540)), None);
        assert_eq!(smaller(Size::new(1280, 720)), Some(Size::new(960, 540)));
        assert_eq!(smaller(Size::new(1080, 1920)), Some(Size::new(540, 960)));
        assert_eq!(smaller(Size::new(4096, 16)), Some(Size::new(960, 16)));
    }
}
