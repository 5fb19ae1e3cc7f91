//! Measures a whole video: masks over time, people, and the crop.

use super::chain::{EvalChain, EvalError};
use super::masks::{MaskMeter, MaskMetrics};
use super::stability::{CropMotion, CropSample, DirectionChanges, box_jitter};
use portraitd_media::{Picture, Size, UnitRect};

/// The measurements of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameMetrics {
    /// The capture time, in seconds.
    pub seconds: f64,
    /// The published mask.
    pub mask: MaskMetrics,
    /// IoU of the same mask before smoothing and cleaning. `None` without truth.
    pub unsmoothed_iou: Option<f64>,
    /// The mask of the net alone, for comparison: a full-frame pass, each frame independently.
    pub net: MaskMetrics,
    /// The id and box of each person, in fractions of the frame.
    pub people: Vec<(u32, UnitRect)>,
    /// The director's crop, in fractions of the frame.
    pub crop: UnitRect,
}

/// Measures the frames of one video, in their order.
#[derive(Debug)]
pub struct VideoMeter {
    chain: EvalChain,
    size: Size,
    masks: MaskMeter,
    net: MaskMeter,
    frames: Vec<FrameMetrics>,
}

impl VideoMeter {
    /// Creates a meter for pictures of `size`, which it passes through `chain`.
    pub fn new(chain: EvalChain, size: Size) -> Self {
        Self { chain, size, masks: MaskMeter::new(), net: MaskMeter::new(), frames: Vec::new() }
    }

    /// Measures the next frame. `capture_ns` is its capture time. `truth` is its exact mask, if
    /// known: one byte per pixel, row-major, 0 = background to 255 = person.
    ///
    /// # Errors
    /// [`EvalError`] if the picture cannot be processed.
    pub fn add(
        &mut self,
        picture: &Picture<'_>,
        truth: Option<&[u8]>,
        capture_ns: u64,
    ) -> Result<&FrameMetrics, EvalError> {
        let shot = self.chain.step(picture, self.frames.len() as u64, capture_ns)?;
        let net = self.net.add(self.chain.net_alone(picture)?.bytes(), truth);
        let unsmoothed_iou = MaskMeter::new().add(self.chain.unsmoothed()?.bytes(), truth).iou;
        let mask = self.masks.add(self.chain.mask()?.bytes(), truth);
        let people = self.chain.observation().people.iter().map(|person| (person.id, person.bounds)).collect();
        let crop = shot.crop.to_fractions(self.size);
        let seconds = capture_ns as f64 * 1e-9;
        self.frames.push(FrameMetrics { seconds, mask, unsmoothed_iou, net, people, crop });
        Ok(&self.frames[self.frames.len() - 1])
    }

    /// The published mask of the last frame: one byte per pixel, row-major, 0 = background to 255 =
    /// person. Empty before the first frame.
    pub fn newest_mask(&self) -> &[u8] {
        self.masks.newest()
    }

    /// The measurements of all frames so far.
    pub fn frames(&self) -> &[FrameMetrics] {
        &self.frames
    }
}

/// The figures of a video. A figure is `None` if the video has no truth, or too few frames.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct VideoSummary {
    /// The number of frames.
    pub frames: usize,
    /// The time from the first frame to the last.
    pub seconds: f64,
    /// Mean IoU over the frames.
    pub iou_mean: Option<f64>,
    /// Mean IoU before smoothing and cleaning.
    pub iou_mean_unsmoothed: Option<f64>,
    /// Mean IoU of the net alone.
    pub iou_mean_net: Option<f64>,
    /// Mean dtSSD, times 100.
    pub dtssd: Option<f64>,
    /// Mean dtSSD of the net alone, times 100.
    pub dtssd_net: Option<f64>,
    /// The mean share of pixels that flip from frame to frame. If there is truth, the share that
    /// flips in the truth is subtracted.
    pub flips: Option<f64>,
    /// The same figure for the net alone.
    pub flips_net: Option<f64>,
    /// Jitter of the people's boxes, in fractions of the frame.
    pub box_jitter: Option<f64>,
    /// The 95th percentile of the crop's speed, in crops per second.
    pub crop_speed_p95: Option<f64>,
    /// The crop's highest speed, in crops per second.
    pub crop_speed_max: Option<f64>,
    /// The share of frames whose crop equals that of the frame before, bit by bit.
    pub crop_still: Option<f64>,
    /// The largest number of direction changes of the crop within two seconds.
    pub direction_changes: Option<DirectionChanges>,
}

impl VideoSummary {
    /// Summarises the frames of a video.
    pub fn of(frames: &[FrameMetrics]) -> Self {
        let mean = |value: &dyn Fn(&FrameMetrics) -> Option<f64>| {
            let values: Vec<f64> = frames.iter().filter_map(value).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let flips = |mask: &MaskMetrics| Some(mask.flips? - mask.truth_flips.unwrap_or(0.0));
        let path: Vec<_> = frames.iter().map(|frame| CropSample { seconds: frame.seconds, crop: frame.crop }).collect();
        let motion = CropMotion::of(&path);
        let seconds = match frames {
            [first, .., last] => last.seconds - first.seconds,
            _ => 0.0,
        };
        Self {
            frames: frames.len(),
            seconds,
            iou_mean: mean(&|frame| frame.mask.iou),
            iou_mean_unsmoothed: mean(&|frame| frame.unsmoothed_iou),
            iou_mean_net: mean(&|frame| frame.net.iou),
            dtssd: mean(&|frame| frame.mask.dtssd),
            dtssd_net: mean(&|frame| frame.net.dtssd),
            flips: mean(&|frame| flips(&frame.mask)),
            flips_net: mean(&|frame| flips(&frame.net)),
            box_jitter: box_jitter(frames.iter().map(|frame| frame.people.as_slice())),
            crop_speed_p95: motion.map(|motion| motion.speed_p95),
            crop_speed_max: motion.map(|motion| motion.speed_max),
            crop_still: motion.map(|motion| motion.still),
            direction_changes: motion.map(|motion| motion.direction_changes),
        }
    }
}
