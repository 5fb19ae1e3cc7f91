//! Scores a mask against its truth.
//!
//! - *IoU*: intersection over union of the two sets of person pixels (128 of 255 and above).
//! - *Boundary F*: the harmonic mean of precision and recall of the outline. An outline pixel
//!   counts as found if the other outline has a pixel within 2 pixels (Euclidean distance). Source:
//!   Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
//! - *MAD*: the mean absolute difference of the mattes, 0..=1. The matting literature gives it
//!   times 1000.

use super::masks::iou;
use portraitd_media::Size;

/// The tolerance of the boundary score, in pixels.
pub const BOUNDARY_TOLERANCE_PX: i32 = 2;

/// The scores of one mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Intersection over union. 1 if neither mask has a person.
    pub iou: f64,
    /// Boundary F. 1 if neither mask has an outline.
    pub boundary_f: f64,
    /// Mean absolute difference, 0..=1.
    pub mad: f64,
}

/// Scores `mask` against `truth`. Both are row-major, one byte per pixel of `size`, 0 = background
/// to 255 = person.
///
/// # Panics
/// If the length of a slice is not the number of pixels of `size`.
pub fn score(mask: &[u8], truth: &[u8], size: Size) -> Score {
    let pixels = size.width as usize * size.height as usize;
    assert!(mask.len() == pixels && truth.len() == pixels, "one value per pixel");
    let (mut intersection, mut union, mut difference) = (0u64, 0u64, 0u64);
    for (m, t) in mask.iter().zip(truth) {
        let (person, really) = (*m >= 128, *t >= 128);
        intersection += u64::from(person && really);
        union += u64::from(person || really);
        difference += u64::from(m.abs_diff(*t));
    }
    let iou = iou((intersection, union));
    let mad = if pixels == 0 { 0.0 } else { ratio(difference, pixels as u64) / 255.0 };
    Score { iou, boundary_f: boundary_f(mask, truth, size), mad }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// The outline, for each pixel: a person pixel with a background pixel above, below, left or right
/// of it. The border of the picture is not an outline.
fn outline(mask: &[u8], size: Size) -> Vec<bool> {
    let (width, height) = (size.width as usize, size.height as usize);
    let person = |x: usize, y: usize| mask[y * width + x] >= 128;
    let mut outline = vec![false; mask.len()];
    for y in 0..height {
        for x in 0..width {
            outline[y * width + x] = person(x, y)
                && ((x > 0 && !person(x - 1, y))
                    || (x + 1 < width && !person(x + 1, y))
                    || (y > 0 && !person(x, y - 1))
                    || (y + 1 < height && !person(x, y + 1)));
        }
    }
    outline
}

/// For each pixel, whether an outline pixel lies within the tolerance.
fn dilated(outline: &[bool], size: Size) -> Vec<bool> {
    let (width, height) = (size.width as usize, size.height as usize);
    let reach = BOUNDARY_TOLERANCE_PX;
    let disc: Vec<(i32, i32)> = (-reach..=reach)
        .flat_map(|dy| (-reach..=reach).map(move |dx| (dx, dy)))
        .filter(|(dx, dy)| dx * dx + dy * dy <= reach * reach)
        .collect();
    let mut near = vec![false; outline.len()];
    for (index, _) in outline.iter().enumerate().filter(|(_, on)| **on) {
        let (x, y) = (index % width, index / width);
        for (dx, dy) in &disc {
            let moved = (x.checked_add_signed(*dx as isize), y.checked_add_signed(*dy as isize));
            if let (Some(x), Some(y)) = moved
                && x < width
                && y < height
            {
                near[y * width + x] = true;
            }
        }
    }
    near
}

fn boundary_f(mask: &[u8], truth: &[u8], size: Size) -> f64 {
    let (mask, truth) = (outline(mask, size), outline(truth, size));
    let found = |of: &[bool], near: &[bool]| {
        let total = of.iter().filter(|on| **on).count();
        let hits = of.iter().zip(near).filter(|(on, near)| **on && **near).count();
        (hits as u64, total as u64)
    };
    let (right, guessed) = found(&mask, &dilated(&truth, size));
    let (met, wanted) = found(&truth, &dilated(&mask, size));
    match (guessed, wanted) {
        (0, 0) => 1.0,
        (0, _) | (_, 0) => 0.0,
        _ => {
            let (precision, recall) = (ratio(right, guessed), ratio(met, wanted));
            if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
        }
    }
}

/// The scores of a set of pictures.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct PictureSummary {
    /// The number of pictures.
    pub pictures: usize,
    /// Mean IoU over the pictures, 0 to 1.
    pub iou_mean: f64,
    /// Median IoU over the pictures, 0 to 1.
    pub iou_median: f64,
    /// Mean boundary F.
    pub boundary_f: f64,
    /// Mean MAD.
    pub mad: f64,
    /// The share of pictures whose IoU is below 0.8.
    pub below_0_8: f64,
}

impl PictureSummary {
    /// Summarises `scores`. `None` if there are none.
    pub fn of(scores: &[Score]) -> Option<Self> {
        if scores.is_empty() {
            return None;
        }
        let count = scores.len() as f64;
        let mean = |value: fn(&Score) -> f64| scores.iter().map(value).sum::<f64>() / count;
        let mut ious: Vec<f64> = scores.iter().map(|score| score.iou).collect();
        ious.sort_by(f64::total_cmp);
        let middle = ious.len() / 2;
        let iou_median = if ious.len() % 2 == 1 { ious[middle] } else { (ious[middle - 1] + ious[middle]) / 2.0 };
        Some(Self {
            pictures: scores.len(),
            iou_mean: mean(|score| score.iou),
            iou_median,
            boundary_f: mean(|score| score.boundary_f),
            mad: mean(|score| score.mad),
            below_0_8: ious.iter().filter(|iou| **iou < 0.8).count() as f64 / count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size::new(40, 30);

    fn square(x0: usize, y0: usize, x1: usize, y1: usize) -> Vec<u8> {
        (0..SIZE.height as usize)
            .flat_map(|y| (0..SIZE.width as usize).map(move |x| (x, y)))
            .map(|(x, y)| if (x0..x1).contains(&x) && (y0..y1).contains(&y) { 255 } else { 0 })
            .collect()
    }

    #[test]
    fn equal_masks_score_one_and_disjoint_ones_zero() {
        let mask = square(10, 10, 20, 20);
        assert_eq!(score(&mask, &mask, SIZE), Score { iou: 1.0, boundary_f: 1.0, mad: 0.0 });
        let apart = score(&square(0, 0, 5, 5), &square(30, 20, 35, 25), SIZE);
        assert_eq!((apart.iou, apart.boundary_f), (0.0, 0.0));
        assert!((apart.mad - 50.0 / 1200.0).abs() < 1e-12);
    }

    #[test]
    fn two_empty_masks_score_one_and_one_empty_mask_scores_zero() {
        let (none, some) = (square(0, 0, 0, 0), square(5, 5, 9, 9));
        assert_eq!(score(&none, &none, SIZE).iou, 1.0);
        assert_eq!(score(&none, &none, SIZE).boundary_f, 1.0);
        assert_eq!(score(&some, &none, SIZE).iou, 0.0);
        assert_eq!(score(&none, &some, SIZE).boundary_f, 0.0);
    }

    #[test]
    fn an_outline_two_pixels_off_is_found_and_three_off_is_not() {
        // The square spans the whole width, and the border of the picture is not an outline: only
        // the top edge counts.
        let truth = square(0, 10, 40, 30);
        assert_eq!(score(&square(0, 12, 40, 30), &truth, SIZE).boundary_f, 1.0);
        assert_eq!(score(&square(0, 13, 40, 30), &truth, SIZE).boundary_f, 0.0);
        let off = score(&square(0, 12, 40, 30), &truth, SIZE);
        assert!((off.iou - 0.9).abs() < 1e-12);
    }

    #[test]
    fn the_summary_counts_the_bad_ones() {
        let score = |iou| Score { iou, boundary_f: iou, mad: 1.0 - iou };
        let summary = PictureSummary::of(&[score(0.9), score(0.5), score(0.7), score(1.0)]).expect("four");
        assert!((summary.iou_mean - 0.775).abs() < 1e-12);
        assert!((summary.iou_median - 0.8).abs() < 1e-12);
        assert_eq!(summary.below_0_8, 0.5);
        assert_eq!(PictureSummary::of(&[]), None);
    }
}
