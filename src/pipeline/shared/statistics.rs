//! Counts and times of a camera, for `Stats` and the metrics file.

use std::sync::{Mutex, MutexGuard, PoisonError};

use portraitd_media::StreamCounters;
use portraitd_media::clock::monotonic_ns;

/// After this long without a mask the mask rate is 0.
const RATE_EXPIRES_NS: u64 = 2_000_000_000;

/// The figures at one moment. Counts are since the start of the camera.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Figures {
    pub(in crate::pipeline) frames: u64,
    /// Losses of the streams that are already closed.
    closed: StreamCounters,
    /// Losses of the stream that is open.
    current: StreamCounters,
    pub(in crate::pipeline) reopened: u64,
    pub(in crate::pipeline) inference_last_s: f64,
    pub(in crate::pipeline) masks: u64,
    /// Capture timestamp of the frame of the newest mask, `CLOCK_MONOTONIC` nanoseconds.
    pub(in crate::pipeline) mask_capture_ns: u64,
    /// Masks per second, smoothed over about ten masks.
    mask_rate: f64,
    pub(in crate::pipeline) published: u64,
    /// From capture to publishing of the newest frame, in nanoseconds.
    pub(in crate::pipeline) latency_ns: u64,
}

impl Figures {
    /// The losses of all streams since the start.
    pub(in crate::pipeline) const fn lost(&self) -> StreamCounters {
        StreamCounters {
            dropped: self.closed.dropped + self.current.dropped,
            corrupt: self.closed.corrupt + self.current.corrupt,
            starved: self.closed.starved + self.current.starved,
        }
    }
}

/// The owner of the figures.
#[derive(Debug)]
pub(in crate::pipeline) struct Statistics(Mutex<Figures>);

impl Statistics {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Figures {
            frames: 0,
            closed: StreamCounters::default(),
            current: StreamCounters::default(),
            reopened: 0,
            inference_last_s: 0.0,
            masks: 0,
            mask_capture_ns: 0,
            mask_rate: 0.0,
            published: 0,
            latency_ns: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        // The critical sections of this file only add and assign. At worst one event is counted in
        // part.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::pipeline) fn figures(&self) -> Figures {
        self.lock().clone()
    }

    /// Counts a captured frame. `counters` are the losses of its stream.
    pub(in crate::pipeline) fn frame_captured(&self, counters: StreamCounters) {
        let mut figures = self.lock();
        figures.frames += 1;
        figures.current = counters;
    }

    /// The stream is closed: the next one counts its losses from zero.
    pub(super) fn stream_closed(&self) {
        let mut figures = self.lock();
        figures.closed = figures.lost();
        figures.current = StreamCounters::default();
    }

    /// Counts an attempt to open the source again after a failure.
    pub(in crate::pipeline) fn count_reopen(&self) {
        self.lock().reopened += 1;
    }

    /// Counts a mask of the frame captured at `capture_ns`. `inference_ns` is 0 if it was retained
    /// without an inference pass.
    pub(super) fn mask_made(&self, capture_ns: u64, inference_ns: u64) {
        let mut figures = self.lock();
        if inference_ns > 0 {
            figures.inference_last_s = inference_ns as f64 * 1e-9;
        }
        figures.masks += 1;
        let interval_ns = capture_ns.saturating_sub(figures.mask_capture_ns);
        if interval_ns > 0 {
            let rate = 1e9 / interval_ns as f64;
            let weight = if interval_ns > RATE_EXPIRES_NS { 1.0 } else { 0.1 };
            figures.mask_rate += (rate - figures.mask_rate) * weight;
        }
        figures.mask_capture_ns = capture_ns;
    }

    /// Counts a published frame. `latency_ns` is the time from its capture.
    pub(in crate::pipeline) fn frame_published(&self, latency_ns: u64) {
        let mut figures = self.lock();
        figures.published += 1;
        figures.latency_ns = latency_ns;
    }

    /// Masks per second; 0 if there was none for two seconds.
    pub(in crate::pipeline) fn mask_rate(&self) -> f64 {
        let figures = self.lock();
        let age_ns = monotonic_ns().saturating_sub(figures.mask_capture_ns);
        if age_ns > RATE_EXPIRES_NS { 0.0 } else { figures.mask_rate }
    }
}
