//! The result of the observer for one frame.

use portraitd_kernels::blend::{MaskValues, MaskView};
use portraitd_media::{PixelRect, Size};

use crate::motion_gate::GateReference;
use crate::tracker::TrackedPerson;

/// The number of inference passes that the cells of one mask can come from.
pub(crate) const PASSES: usize = 16;

/// The index that marks a cell which belongs to a person who is ignored.
pub(crate) const IGNORED: u8 = u8::MAX;

/// What a cell of a mask comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellOrigin {
    /// The inference pass on the frame that was captured at this time (`CLOCK_MONOTONIC`
    /// nanoseconds).
    Pass(u64),
    /// The cell belongs to a person who is ignored, or its origin is unknown.
    Ignored,
}

/// The result for one frame.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The sequence number of the frame.
    pub sequence: u64,
    /// The capture time of the frame, `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// The sequence number of the frame that the mask was made from. It is that of an earlier frame
    /// if the mask is retained. If several windows take turns, it is that of the oldest part.
    pub mask_sequence: u64,
    /// The capture time of that frame.
    pub mask_capture_ns: u64,
    /// Whether no inference pass ran, because nothing has moved since the mask was made.
    pub still: bool,
    /// Size of the mask, in cells.
    pub size: Size,
    /// The probability, 0..=1, that each cell belongs to a person; row-major.
    pub mask: Vec<f32>,
    /// Size of the frame, in pixels.
    pub frame: Size,
    /// The area that the mask covers, in pixels of the frame: the window around the people, or the
    /// whole frame. It may extend beyond the frame. Outside it there is nobody.
    pub covers: PixelRect,
    /// The people, with boxes in fractions of the frame.
    pub people: Vec<TrackedPerson>,
    /// The number of inference passes that ran.
    pub inferences: u32,
    /// The duration of these passes; 0 if none ran.
    pub inference_ns: u64,
    /// The duration of a look for heads in this frame; 0 if there was none.
    pub look_ns: u64,
    /// The capture times of the frames that the cells of the mask come from.
    pub(crate) passes: [u64; PASSES],
    /// For each cell of the mask the index of its pass in `passes`, or [`IGNORED`]. Empty if all
    /// cells come from pass 0.
    pub(crate) origins: Vec<u8>,
    /// What the frame of the mask looked like.
    pub(crate) reference: GateReference,
    /// The cells of the motion gate that have changed between the frame of the mask and this one;
    /// empty if none has.
    pub(crate) changed: Vec<bool>,
}

impl Observation {
    /// An observation whose mask was made from its own frame, of `frame` pixels: what an observer
    /// returns after a pass. For renderers whose mask comes from elsewhere.
    pub fn of_mask(sequence: u64, capture_ns: u64, frame: Size, mask: Vec<f32>, size: Size, covers: PixelRect) -> Self {
        Self {
            sequence,
            capture_ns,
            mask_sequence: sequence,
            mask_capture_ns: capture_ns,
            size,
            mask,
            frame,
            covers,
            passes: [capture_ns; PASSES],
            ..Self::default()
        }
    }

    /// The mask as the renderers take it; `None` if there is no mask yet.
    pub fn mask_view(&self) -> Option<MaskView<'_>> {
        MaskView::new(MaskValues::Float(&self.mask), self.size, self.covers).ok()
    }

    /// Where cell `index` of the mask (row-major) comes from.
    pub fn origin(&self, index: usize) -> CellOrigin {
        let pass = if self.origins.is_empty() { 0 } else { self.origins.get(index).copied().unwrap_or(IGNORED) };
        self.passes.get(usize::from(pass)).map_or(CellOrigin::Ignored, |time_ns| CellOrigin::Pass(*time_ns))
    }

    /// Whether every cell of the mask comes from the pass on this observation's own frame, and no
    /// person is ignored.
    pub fn is_own(&self) -> bool {
        self.origins.is_empty() && self.passes[0] == self.capture_ns
    }

    /// What the frame of the mask looked like, to compare other frames with it.
    pub const fn reference(&self) -> &GateReference {
        &self.reference
    }

    /// Which cells of the motion gate's grid ([`crate::GRID`], row-major) have changed between the
    /// frame of the mask and this one; empty if none has.
    pub fn changed(&self) -> &[bool] {
        &self.changed
    }

    /// The newest time at which the whole mask was known to be right: the capture time of this
    /// frame if nothing has changed since the mask was made, else that of the frame of the mask.
    pub const fn confirmed_ns(&self) -> u64 {
        if self.changed.is_empty() { self.capture_ns } else { self.mask_capture_ns }
    }
}
