//! Compares each mask of a video with the one before and with the truth.
//!
//! - *IoU*: as for pictures.
//! - *Flips*: the share of the frame's pixels that change between person and background from one
//!   mask to the next. The truth flips as well where a person moves; [`MaskMetrics::truth_flips`]
//!   counts those pixels.
//! - *dtSSD*: the change of the mask from frame to frame compared with the change of the truth
//!   (Erofeev et al., "Perceptually Motivated Benchmark for Video Matting", BMVC 2015). It is the
//!   root of the mean over the pixels of `((m[t] - m[t-1]) - (truth[t] - truth[t-1]))^2` with
//!   mattes of 0..=1, times 100 as usual.

/// The metrics of one frame's mask.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MaskMetrics {
    /// IoU with the truth. `None` without truth.
    pub iou: Option<f64>,
    /// dtSSD of this frame and the one before. `None` if either has no truth.
    pub dtssd: Option<f64>,
    /// The share of pixels that flipped since the frame before. `None` for the first frame.
    pub flips: Option<f64>,
    /// The share of pixels that flipped in the truth.
    pub truth_flips: Option<f64>,
}

/// Measures the masks of one video. The first frame determines the size.
#[derive(Clone, Debug, Default)]
pub struct MaskMeter {
    mask: Vec<u8>,
    truth: Vec<u8>,
}

impl MaskMeter {
    /// Creates a meter for a video.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mask of the last frame; empty before the first one.
    pub fn newest(&self) -> &[u8] {
        &self.mask
    }

    /// Measures the mask of the next frame. `mask` and `truth` are row-major, one byte per pixel, 0
    /// = background to 255 = person.
    ///
    /// # Panics
    /// If a mask differs in length from its truth or from the mask before.
    pub fn add(&mut self, mask: &[u8], truth: Option<&[u8]>) -> MaskMetrics {
        let truth = truth.unwrap_or_default();
        assert!(truth.is_empty() || truth.len() == mask.len(), "one value per pixel");
        assert!(self.mask.is_empty() || self.mask.len() == mask.len(), "all frames of a video are of one size");
        let share = |pixels: u64| pixels as f64 / mask.len() as f64;
        let mut frame = MaskMetrics::default();
        if !truth.is_empty() {
            frame.iou = Some(iou(overlap(mask, truth)));
        }
        if !self.mask.is_empty() {
            frame.flips = Some(share(flipped(mask, &self.mask)));
            if !truth.is_empty() && !self.truth.is_empty() {
                frame.truth_flips = Some(share(flipped(truth, &self.truth)));
                frame.dtssd = Some(dtssd(mask, &self.mask, truth, &self.truth));
            }
        }
        self.mask.clear();
        self.mask.extend_from_slice(mask);
        self.truth.clear();
        self.truth.extend_from_slice(truth);
        frame
    }
}

/// IoU by the counts of [`overlap`], 0 to 1. 1 if neither mask has a person.
pub(super) fn iou((both, either): (u64, u64)) -> f64 {
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

/// The number of pixels that belong to a person in both masks, and in at least one.
pub(super) fn overlap(a: &[u8], b: &[u8]) -> (u64, u64) {
    let (mut both, mut either) = (0, 0);
    // The counts of a block fit in 16 bits, so that the compiler vectorises the loop.
    for (a, b) in a.chunks(1 << 14).zip(b.chunks(1 << 14)) {
        let (mut in_both, mut in_either) = (0u16, 0u16);
        for (a, b) in a.iter().zip(b) {
            in_both += u16::from((a & b) >> 7);
            in_either += u16::from((a | b) >> 7);
        }
        both += u64::from(in_both);
        either += u64::from(in_either);
    }
    (both, either)
}

/// The number of pixels that belong to a person in exactly one of the masks.
fn flipped(a: &[u8], b: &[u8]) -> u64 {
    let (both, either) = overlap(a, b);
    either - both
}

fn dtssd(mask: &[u8], mask_before: &[u8], truth: &[u8], truth_before: &[u8]) -> f64 {
    let mut sum = 0.0;
    let masks = mask.chunks(1024).zip(mask_before.chunks(1024));
    let truths = truth.chunks(1024).zip(truth_before.chunks(1024));
    for ((mask, mask_before), (truth, truth_before)) in masks.zip(truths) {
        // At most 1024 x 510^2, which fits in an `i32`.
        let mut block = 0i32;
        for ((m, b), (t, u)) in mask.iter().zip(mask_before).zip(truth.iter().zip(truth_before)) {
            let change = i32::from(*m) - i32::from(*b) - i32::from(*t) + i32::from(*u);
            block += change * change;
        }
        sum += f64::from(block);
    }
    (sum / mask.len() as f64).sqrt() / 255.0 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_has_no_past_and_one_without_truth_no_scores() {
        let mut meter = MaskMeter::new();
        let first = meter.add(&[0, 255, 200, 100], Some(&[0, 255, 0, 255]));
        assert_eq!(first, MaskMetrics { iou: Some(1.0 / 3.0), ..MaskMetrics::default() });
        let second = meter.add(&[255, 255, 120, 100], None);
        assert_eq!(second, MaskMetrics { flips: Some(0.5), ..MaskMetrics::default() });
        let third = meter.add(&[255, 255, 120, 100], Some(&[255; 4]));
        assert_eq!((third.flips, third.truth_flips, third.dtssd), (Some(0.0), None, None));
        assert_eq!(MaskMeter::new().add(&[0; 4], Some(&[0; 4])).iou, Some(1.0), "no person in either");
    }

    #[test]
    fn changes_that_follow_the_truth_add_no_dtssd() {
        let mut meter = MaskMeter::new();
        meter.add(&[0, 0, 255, 255], Some(&[0, 0, 255, 255]));
        let along = meter.add(&[0, 255, 255, 255], Some(&[0, 255, 255, 255]));
        assert_eq!((along.dtssd, along.flips, along.truth_flips), (Some(0.0), Some(0.25), Some(0.25)));
        let alone = meter.add(&[0, 255, 255, 0], Some(&[0, 255, 255, 255]));
        assert_eq!((alone.dtssd, alone.flips, alone.truth_flips), (Some(50.0), Some(0.25), Some(0.0)));
        // A quarter of the pixels changes by a fifth: sqrt(0.25 x 0.2^2) = 0.1.
        let soft = meter.add(&[51, 255, 255, 0], Some(&[0, 255, 255, 255]));
        assert!((soft.dtssd.expect("truth") - 10.0).abs() < 1e-9);
    }

    #[test]
    fn large_frames_are_counted_whole() {
        let (mask, truth) = (vec![255; 100_000], vec![0; 100_000]);
        let mut meter = MaskMeter::new();
        meter.add(&truth, Some(&truth));
        let frame = meter.add(&mask, Some(&truth));
        assert_eq!(frame, MaskMetrics { iou: Some(0.0), dtssd: Some(100.0), flips: Some(1.0), truth_flips: Some(0.0) });
    }
}
