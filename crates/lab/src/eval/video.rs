//! A whole video: masks over time, people, and the crop.

use portraitd_protocol::FramingState;

use super::masks::{MaskFrame, MaskMeter};
use super::motion::{CropAt, CropMotion, DirectionChanges, box_jitter};
use portraitd_media::{Picture, Size, UnitRect};
use portraitd_render::chain::{Chain, ChainError};

/// What one frame came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Since the first frame.
    pub seconds: f64,
    /// The mask as clients get it.
    pub mask: MaskFrame,
    /// IoU of the same look's mask before it was smoothed and cleaned, if there is truth.
    pub unsmoothed_iou: Option<f64>,
    /// The mask of the net alone, which sees each frame whole and by itself.
    pub net: MaskFrame,
    /// Everybody's id and box, fractions of the frame.
    pub people: Vec<(u32, UnitRect)>,
    /// The crop, fractions of the frame.
    pub crop: UnitRect,
    /// What the director did.
    pub state: FramingState,
}

/// Takes a video's frames one after another.
#[derive(Debug)]
pub struct VideoMeter {
    chain: Chain,
    size: Size,
    masks: MaskMeter,
    net: MaskMeter,
    moments: Vec<Moment>,
}

impl VideoMeter {
    /// One for pictures of `size`, which go through `chain`.
    pub fn new(chain: Chain, size: Size) -> Self {
        Self { chain, size, masks: MaskMeter::new(), net: MaskMeter::new(), moments: Vec::new() }
    }

    /// Takes the next frame, captured at `capture_ns`, and its truth, if there is one: a mask of its size, row-major.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn add(&mut self, picture: &Picture<'_>, truth: Option<&[u8]>, capture_ns: u64) -> Result<&Moment, ChainError> {
        let shot = self.chain.step(picture, self.moments.len() as u64, capture_ns)?;
        let net = self.net.add(self.chain.net_alone(picture)?.bytes(), truth);
        let unsmoothed_iou = MaskMeter::new().add(self.chain.unsmoothed()?.bytes(), truth).iou;
        let mask = self.masks.add(self.chain.mask()?.bytes(), truth);
        let people = self.chain.observation().people.iter().map(|person| (person.id, person.bounds)).collect();
        let crop = shot.crop.to_fractions(self.size);
        let seconds = capture_ns as f64 * 1e-9;
        self.moments.push(Moment { seconds, mask, unsmoothed_iou, net, people, crop, state: shot.state });
        Ok(&self.moments[self.moments.len() - 1])
    }

    /// The last frame's mask, at the frame's size.
    ///
    /// # Errors
    /// Where there was no frame.
    pub fn mask(&mut self) -> Result<&portraitd_media::OwnedPicture, ChainError> {
        self.chain.mask()
    }

    /// What the frames came to.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }
}

/// A video in figures. What is not there cannot be said: no truth, or too few frames.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct VideoSummary {
    /// How many frames.
    pub frames: usize,
    /// From the first to the last.
    pub seconds: f64,
    /// Mean IoU over the frames.
    pub iou_mean: Option<f64>,
    /// The same before smoothing and cleaning.
    pub iou_mean_unsmoothed: Option<f64>,
    /// The same of the net alone.
    pub iou_mean_net: Option<f64>,
    /// Mean dtSSD, times 100.
    pub dtssd: Option<f64>,
    /// The same of the net alone.
    pub dtssd_net: Option<f64>,
    /// Mean share of pixels that turn from frame to frame; where there is truth, less the share that turn in the truth.
    pub flips: Option<f64>,
    /// The same of the net alone.
    pub flips_net: Option<f64>,
    /// Jitter of the people's boxes, fractions of the frame.
    pub box_jitter: Option<f64>,
    /// 95th percentile of the crop's speed, crops a second.
    pub crop_speed_p95: Option<f64>,
    /// Its greatest speed, crops a second.
    pub crop_speed_max: Option<f64>,
    /// The share of frames whose crop is bit by bit the one before.
    pub crop_still: Option<f64>,
    /// The most direction changes in two seconds.
    pub direction_changes: Option<DirectionChanges>,
}

impl VideoSummary {
    /// Sums up a video.
    pub fn of(moments: &[Moment]) -> Self {
        let mean = |value: &dyn Fn(&Moment) -> Option<f64>| {
            let values: Vec<f64> = moments.iter().filter_map(value).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let flips = |mask: &MaskFrame| Some(mask.flips? - mask.truth_flips.unwrap_or(0.0));
        let path: Vec<_> = moments.iter().map(|m| CropAt { seconds: m.seconds, crop: m.crop }).collect();
        let motion = CropMotion::of(&path);
        let seconds = match moments {
            [first, .., last] => last.seconds - first.seconds,
            _ => 0.0,
        };
        Self {
            frames: moments.len(),
            seconds,
            iou_mean: mean(&|moment| moment.mask.iou),
            iou_mean_unsmoothed: mean(&|moment| moment.unsmoothed_iou),
            iou_mean_net: mean(&|moment| moment.net.iou),
            dtssd: mean(&|moment| moment.mask.dtssd),
            dtssd_net: mean(&|moment| moment.net.dtssd),
            flips: mean(&|moment| flips(&moment.mask)),
            flips_net: mean(&|moment| flips(&moment.net)),
            box_jitter: box_jitter(moments.iter().map(|moment| moment.people.as_slice())),
            crop_speed_p95: motion.map(|motion| motion.speed_p95),
            crop_speed_max: motion.map(|motion| motion.speed_max),
            crop_still: motion.map(|motion| motion.still),
            direction_changes: motion.map(|motion| motion.direction_changes),
        }
    }
}
