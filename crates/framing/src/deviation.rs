//! How far a crop is from where it should be, and for how long that has been so.

use crate::tuning::{
    CONFIRM_DRASTIC_NS, CONFIRM_NS, DEAD_BAND_PAN, DEAD_BAND_TILT, DEAD_BAND_ZOOM, DRASTIC_ERROR, REQUESTED_BAND_ZOOM,
    STOP,
};

/// The error of a crop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deviation {
    /// In crops.
    pub(crate) pan: f64,
    pub(crate) tilt: f64,
    /// Wanted size divided by actual size.
    pub(crate) size: f64,
    /// Somebody touches the left or right edge of the crop, and the frame continues there.
    pub(crate) near_edge: bool,
}

impl Deviation {
    /// Whether the size is outside `band`.
    pub(crate) fn size_is_outside(&self, band: (f64, f64)) -> bool {
        self.size < band.0 || self.size > band.1
    }

    /// Whether the error is outside the dead band.
    fn is_outside(&self) -> bool {
        self.pan.abs() > DEAD_BAND_PAN || self.tilt.abs() > DEAD_BAND_TILT || self.size_is_outside(DEAD_BAND_ZOOM)
    }

    /// Whether the error is outside the dead band and large. The top edge does not count as near:
    /// a nod reaches it.
    pub(crate) fn is_drastic(&self) -> bool {
        self.is_outside() && (self.pan.abs() > DRASTIC_ERROR || self.tilt.abs() > DRASTIC_ERROR || self.near_edge)
    }

    /// The signs of the errors outside the dead band, and 0 for those inside.
    fn signs(&self) -> [f64; 3] {
        let sign = |error: f64, outside: bool| if outside { error.signum() } else { 0.0 };
        [
            sign(self.pan, self.pan.abs() > DEAD_BAND_PAN),
            sign(self.tilt, self.tilt.abs() > DEAD_BAND_TILT),
            sign(self.size - 1.0, self.size_is_outside(DEAD_BAND_ZOOM)),
        ]
    }

    /// Whether the error justifies a move that was requested.
    pub(crate) fn justifies_requested_move(&self) -> bool {
        self.pan.abs() > STOP || self.tilt.abs() > STOP || self.size_is_outside(REQUESTED_BAND_ZOOM)
    }

    /// Whether pan or tilt differ by more than noise.
    pub(crate) fn is_off_center(&self) -> bool {
        self.pan.abs() > STOP || self.tilt.abs() > STOP
    }
}

/// Since when the error has been outside the dead band, always on the same side. Times are those of
/// the director's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Confirmation {
    outside_since_ns: Option<u64>,
    drastic_since_ns: Option<u64>,
    signs: [f64; 3],
}

impl Confirmation {
    /// Starts again.
    pub(crate) fn restart(&mut self) {
        (self.outside_since_ns, self.drastic_since_ns) = (None, None);
    }

    /// Takes the error at `now_ns`. An error that changes sides starts again.
    pub(crate) fn update(&mut self, now_ns: u64, deviation: &Deviation) {
        let signs = deviation.signs();
        if signs.iter().zip(self.signs).any(|(new, old)| new * old < 0.0) {
            self.restart();
        }
        self.signs = signs;
        let since = |old: Option<u64>, on: bool| on.then(|| old.unwrap_or(now_ns));
        self.outside_since_ns = since(self.outside_since_ns, deviation.is_outside());
        self.drastic_since_ns = since(self.drastic_since_ns, deviation.is_drastic());
    }

    /// Counts an error outside the dead band as confirmed at `due_ns` at the latest.
    pub(crate) fn confirm_by(&mut self, due_ns: u64) {
        if let Some(since_ns) = &mut self.outside_since_ns {
            *since_ns = (*since_ns).min(due_ns.saturating_sub(CONFIRM_NS));
        }
    }

    /// Whether a moderate move is due.
    pub(crate) fn is_moderate(&self, now_ns: u64) -> bool {
        self.outside_since_ns.is_some_and(|since_ns| now_ns >= since_ns + CONFIRM_NS)
    }

    /// Whether a drastic move is due.
    pub(crate) fn is_drastic(&self, now_ns: u64) -> bool {
        self.drastic_since_ns.is_some_and(|since_ns| now_ns >= since_ns + CONFIRM_DRASTIC_NS)
    }
}
