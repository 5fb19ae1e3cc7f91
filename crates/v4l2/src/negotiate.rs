//! Chooses one of the formats that a device offers, and explains the choice. No I/O.
//!
//! Every candidate has a cost, and the lowest cost wins. The cost is a sum in *octaves* (a factor
//! of two in pixels or in frame rate is 1), so that its parts can be compared:
//!
//! | part | cost |
//! |---|---|
//! | fewer pixels than requested | 2 an octave (lost detail) |
//! | more pixels than requested | 1 an octave (wasted work) |
//! | another aspect ratio | 2 an octave of the ratio (a part of the view is lost) |
//! | slower than requested | 2 an octave |
//! | faster than requested | 0.25 an octave |
//! | rate not reported by the device | 0.25 |
//! | position in [`formats::TABLE`](super::formats::TABLE) | 0.02 an entry |
//! | JPEG | 0.4 (it must be decoded) |
//! | grey | 2 (no colour) |
//! | converted by the driver's library | 0.2 |
//!
//! An exact size and rate in any colour encoding therefore wins against every offer that is further
//! away than the encodings differ. A camera with raw pictures at 10 and JPEG at 30 frames a second
//! is read in JPEG. Raw wins if both are equally fast.
//!
//! ```
//! use portraitd_v4l2::formats::FourCc;
//! use portraitd_v4l2::media::{FormatRequest, Size};
//! use portraitd_v4l2::{Candidate, negotiate};
//!
//! let size = Size::new(1280, 720);
//! let offer = |code, rate| {
//!     Candidate { code: FourCc::new(code), size, rates: vec![rate], emulated: false }
//! };
//! let request = FormatRequest { size: Some(size), frame_rate: Some(30.0) };
//! let negotiation = negotiate(&request, &[offer(*b"YUYV", 10.0), offer(*b"MJPG", 30.0)]);
//! let choice = negotiation.choice.expect("both formats are supported");
//! assert_eq!(choice.code, FourCc::new(*b"MJPG"));
//! ```

use std::cmp::Ordering;

use super::formats::{Encoding, FourCc, MAX_SIDE, preference};
use portraitd_media::{FormatRequest, PixelFormat, Size};

/// One offer of a device: a pixel format in one size, with its frame rates.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The four-character code.
    pub code: FourCc,
    /// The picture size, in pixels.
    pub size: Size,
    /// The offered frame rates in frames a second; empty if the device does not report them.
    pub rates: Vec<f32>,
    /// Whether the driver or a library below it produces the format by conversion in software.
    pub emulated: bool,
}

/// An offer that can be requested from the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its index in the list of candidates.
    pub index: usize,
    /// The four-character code.
    pub code: FourCc,
    /// The picture size to request, in pixels.
    pub size: Size,
    /// The frame rate to request, in frames a second; `None` keeps the device's own.
    pub frame_rate: Option<f32>,
}

/// The result of a negotiation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Negotiation {
    /// The best candidate; `None` if no offer is supported.
    pub choice: Option<Choice>,
    /// Every supported candidate, the best first: if the driver refuses one, request the next.
    pub ranking: Vec<Choice>,
    /// The reasons, one sentence an entry: the request, the choice, the second choice, the formats
    /// that are not supported.
    pub reasons: Vec<String>,
}

/// Chooses the candidate that is nearest to the request `wanted`. The order of `candidates` has no
/// influence.
pub fn negotiate(wanted: &FormatRequest, candidates: &[Candidate]) -> Negotiation {
    let wanted = valid_part(wanted);
    let mut ranked: Vec<(f32, Choice)> = candidates
        .iter()
        .enumerate()
        .filter_map(|(index, candidate)| {
            let (cost, frame_rate) = cost(&wanted, candidate)?;
            Some((cost, Choice { index, code: candidate.code, size: candidate.size, frame_rate }))
        })
        .collect();
    // Candidates of equal cost are ordered by their values, so that the order of the list has no
    // influence.
    ranked.sort_by(|(cost_a, a), (cost_b, b)| {
        cost_a
            .total_cmp(cost_b)
            .then_with(|| preference(a.code).cmp(&preference(b.code)))
            .then_with(|| b.size.area().cmp(&a.size.area()))
            .then_with(|| a.size.cmp(&b.size))
            .then_with(|| compare_rates(b.frame_rate, a.frame_rate))
    });
    let reasons = explain(&wanted, candidates, &ranked);
    let ranking: Vec<Choice> = ranked.into_iter().map(|(_, choice)| choice).collect();
    Negotiation { choice: ranking.first().copied(), ranking, reasons }
}

/// The request without invalid values: an empty size, a rate that is not a positive number.
fn valid_part(wanted: &FormatRequest) -> FormatRequest {
    FormatRequest {
        size: wanted.size.filter(|size| !size.is_empty()),
        frame_rate: wanted.frame_rate.filter(|rate| rate.is_finite() && *rate > 0.0),
    }
}

fn compare_rates(a: Option<f32>, b: Option<f32>) -> Ordering {
    a.unwrap_or(0.0).total_cmp(&b.unwrap_or(0.0))
}

/// The cost of `candidate` in octaves and the frame rate to request; `None` if the candidate is not
/// supported.
fn cost(wanted: &FormatRequest, candidate: &Candidate) -> Option<(f32, Option<f32>)> {
    let encoding = candidate.code.encoding()?;
    let size = candidate.size;
    if size.is_empty() || size.width > MAX_SIDE || size.height > MAX_SIDE {
        return None;
    }
    let mut cost = 0.02 * preference(candidate.code) as f32;
    cost += match encoding {
        Encoding::Jpeg => 0.4,
        Encoding::Raw { pixels: PixelFormat::Grey, .. } => 2.0,
        Encoding::Raw { .. } => 0.0,
    };
    if candidate.emulated {
        cost += 0.2;
    }
    if let Some(requested) = wanted.size {
        let octaves = (size.area() as f32 / requested.area() as f32).log2();
        cost += if octaves < 0.0 { -2.0 * octaves } else { octaves };
        cost += 2.0 * (size.aspect() / requested.aspect()).log2().abs();
    }
    let rates = candidate.rates.iter().copied().filter(|rate| rate.is_finite() && *rate > 0.0);
    let best = match wanted.frame_rate {
        Some(requested) => rates.map(|rate| (rate_cost(requested, rate), rate)).min_by(|a, b| a.0.total_cmp(&b.0)),
        None => return Some((cost, None)),
    };
    // A device that does not report its rates may support the requested one.
    let (part, rate) = best.unwrap_or((0.25, wanted.frame_rate.unwrap_or(0.0)));
    Some((cost + part, Some(rate)))
}

/// The cost of `rate` if `requested` is wanted, in octaves.
fn rate_cost(requested: f32, rate: f32) -> f32 {
    let octaves = (rate / requested).log2();
    // 29.97 counts as 30.
    if octaves.abs() < 0.01 {
        0.0
    } else if octaves < 0.0 {
        -2.0 * octaves
    } else {
        0.25 * octaves
    }
}

/// The sentences of [`Negotiation::reasons`].
fn explain(wanted: &FormatRequest, candidates: &[Candidate], ranked: &[(f32, Choice)]) -> Vec<String> {
    let size = wanted.size.map_or_else(|| "any size".to_owned(), |size| size.to_string());
    let rate = wanted.frame_rate.map_or_else(|| "any rate".to_owned(), |rate| format!("{rate} frames/s"));
    let mut reasons = vec![format!(
        "wanted {size} at {rate}; the device offers {} formats and sizes, {} of use",
        candidates.len(),
        ranked.len()
    )];
    let describe = |(cost, choice): &(f32, Choice)| {
        let rate = choice.frame_rate.map_or_else(String::new, |rate| format!(" at {rate} frames/s"));
        format!("{} {}{rate} (distance {cost:.2})", choice.code, choice.size)
    };
    if let Some(best) = ranked.first() {
        reasons.push(format!("chosen: {}", describe(best)));
        let (encoding, exact) = (best.1.code.encoding(), wanted.size.is_none_or(|size| size == best.1.size));
        if !exact {
            reasons.push(format!("{size} is not offered; {} is the nearest by pixels and aspect ratio", best.1.size));
        }
        if let (Some(requested), Some(rate)) = (wanted.frame_rate, best.1.frame_rate)
            && rate_cost(requested, rate) > 0.0
        {
            reasons.push(format!("{requested} frames/s is not offered in {}; {rate} is the nearest", best.1.size));
        }
        if encoding == Some(Encoding::Jpeg) {
            reasons.push("JPEG is chosen because raw pictures come slower or smaller from this device".to_owned());
        }
        if let Some(next) = ranked.iter().find(|(_, choice)| choice.code != best.1.code) {
            reasons.push(format!("next: {}", describe(next)));
        }
    }
    let mut unknown: Vec<String> = Vec::new();
    for candidate in candidates.iter().filter(|candidate| candidate.code.encoding().is_none()) {
        let name = candidate.code.to_string();
        if !unknown.contains(&name) {
            unknown.push(name);
        }
    }
    if !unknown.is_empty() {
        reasons.push(format!("not of use: {}", unknown.join(" ")));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::formats::TABLE;

    fn candidate(code: &[u8; 4], width: u32, height: u32, rates: &[f32]) -> Candidate {
        Candidate { code: FourCc::new(*code), size: Size::new(width, height), rates: rates.to_vec(), emulated: false }
    }

    fn wanted(width: u32, height: u32, rate: f32) -> FormatRequest {
        FormatRequest { size: Some(Size::new(width, height)), frame_rate: Some(rate) }
    }

    /// The offers of a typical USB 2 webcam: the bus limits the rate of raw pictures.
    fn webcam() -> Vec<Candidate> {
        vec![
            candidate(b"YUYV", 640, 480, &[30.0, 15.0]),
            candidate(b"YUYV", 1280, 720, &[10.0, 5.0]),
            candidate(b"YUYV", 1920, 1080, &[5.0]),
            candidate(b"MJPG", 640, 480, &[30.0]),
            candidate(b"MJPG", 1280, 720, &[60.0, 30.0]),
            candidate(b"MJPG", 1920, 1080, &[30.0]),
            candidate(b"H264", 1280, 720, &[30.0]),
        ]
    }

    #[test]
    fn jpeg_is_chosen_only_if_raw_is_slower() {
        let negotiation = negotiate(&wanted(1280, 720, 30.0), &webcam());
        let choice = negotiation.choice.expect("offers");
        assert_eq!((choice.code, choice.size), (FourCc::new(*b"MJPG"), Size::new(1280, 720)));
        assert_eq!(choice.frame_rate, Some(30.0), "not 60");
        let text = negotiation.reasons.join("\n");
        assert!(
            text.contains("wanted 1280x720 at 30 frames/s; the device offers 7 formats and sizes, 6 of use"),
            "{text}"
        );
        assert!(text.contains("chosen: MJPG 1280x720 at 30 frames/s"), "{text}");
        assert!(text.contains("because raw pictures come slower"), "{text}");
        assert!(text.contains("not of use: H264"), "{text}");
        let choice = negotiate(&wanted(640, 480, 30.0), &webcam()).choice.expect("offers");
        assert_eq!(choice.code, FourCc::new(*b"YUYV"));
        let choice = negotiate(&wanted(1280, 720, 10.0), &webcam()).choice.expect("offers");
        assert_eq!(choice.code, FourCc::new(*b"YUYV"));
    }

    #[test]
    fn without_a_supported_format_there_is_no_choice_and_a_reason() {
        let negotiation = negotiate(&FormatRequest::default(), &[candidate(b"H264", 1280, 720, &[30.0])]);
        assert_eq!(negotiation.choice, None);
        assert!(negotiation.reasons.iter().any(|reason| reason == "not of use: H264"), "{:?}", negotiation.reasons);
        assert_eq!(negotiate(&FormatRequest::default(), &[]).choice, None);
    }

    #[test]
    fn grey_is_chosen_only_without_colour() {
        let both = [candidate(b"GREY", 1280, 720, &[30.0]), candidate(b"YUYV", 640, 480, &[15.0])];
        let choice = negotiate(&wanted(1280, 720, 30.0), &both[..1]).choice.expect("offers");
        assert_eq!(choice.code, FourCc::new(*b"GREY"));
        let near = [both[0].clone(), candidate(b"YUYV", 1280, 720, &[20.0])];
        assert_eq!(negotiate(&wanted(1280, 720, 30.0), &near).choice.expect("offers").code, FourCc::new(*b"YUYV"));
    }

    #[test]
    fn a_device_that_reports_no_rates_gets_the_requested_one() {
        let choice = negotiate(&wanted(640, 480, 25.0), &[candidate(b"NV12", 640, 480, &[])]).choice.expect("offers");
        assert_eq!(choice.frame_rate, Some(25.0));
        let any = FormatRequest { size: None, frame_rate: None };
        assert_eq!(negotiate(&any, &webcam()).choice.expect("offers").frame_rate, None);
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let code =
            prop_oneof![8 => (0..TABLE.len()).prop_map(|index| TABLE[index].0), 1 => any::<u32>().prop_map(FourCc)];
        let side = prop_oneof![8 => 16_u32..4000, 1 => any::<u32>()];
        let rate = prop_oneof![8 => 1.0_f32..120.0, 1 => any::<f32>()];
        (code, side.clone(), side, prop::collection::vec(rate, 0..4), any::<bool>()).prop_map(
            |(code, width, height, rates, emulated)| Candidate {
                code,
                size: Size::new(width, height),
                rates,
                emulated,
            },
        )
    }

    fn any_wanted() -> impl Strategy<Value = FormatRequest> {
        let side = prop_oneof![8 => 16_u32..4000, 1 => any::<u32>()];
        let rate = prop_oneof![8 => 1.0_f32..120.0, 1 => any::<f32>()];
        (prop::option::of((side.clone(), side)), prop::option::of(rate)).prop_map(|(size, frame_rate)| FormatRequest {
            size: size.map(|(width, height)| Size::new(width, height)),
            frame_rate,
        })
    }

    proptest! {
        #[test]
        fn every_choice_was_offered_and_is_supported(
            wanted in any_wanted(), candidates in prop::collection::vec(any_candidate(), 0..20),
        ) {
            let negotiation = negotiate(&wanted, &candidates);
            let usable = candidates.iter().filter(|candidate| cost(&valid_part(&wanted), candidate).is_some()).count();
            prop_assert_eq!(negotiation.ranking.len(), usable);
            prop_assert_eq!(negotiation.choice, negotiation.ranking.first().copied());
            for choice in &negotiation.ranking {
                let candidate = &candidates[choice.index];
                prop_assert_eq!((choice.code, choice.size), (candidate.code, candidate.size));
                prop_assert!(choice.code.encoding().is_some());
                prop_assert!(!choice.size.is_empty());
                if let Some(rate) = choice.frame_rate {
                    prop_assert!(rate > 0.0 && rate.is_finite());
                    prop_assert!(candidate.rates.contains(&rate) || valid_part(&wanted).frame_rate == Some(rate));
                }
            }
        }

        #[test]
        fn the_order_of_the_list_has_no_influence(
            wanted in any_wanted(), candidates in prop::collection::vec(any_candidate(), 1..12), turn in 0_usize..12,
        ) {
            let mut turned = candidates.clone();
            turned.rotate_left(turn % candidates.len());
            turned.reverse();
            let what = |choice: Option<Choice>| choice.map(|choice| (choice.code, choice.size, choice.frame_rate));
            prop_assert_eq!(what(negotiate(&wanted, &candidates).choice), what(negotiate(&wanted, &turned).choice));
        }

        #[test]
        fn an_exact_raw_offer_wins_against_distant_ones(
            width in 16_u32..4000, height in 16_u32..4000, rate in 5.0_f32..120.0,
            others in prop::collection::vec(any_candidate(), 0..12),
        ) {
            let requested = Size::new(width, height);
            let exact = Candidate { code: FourCc::new(*b"YUYV"), size: requested, rates: vec![rate], emulated: false };
            let far = others.into_iter().filter(|other| {
                let ratio = other.size.area() as f64 / requested.area() as f64;
                !(0.5..=2.0).contains(&ratio)
            });
            let candidates: Vec<Candidate> = far.chain([exact.clone()]).collect();
            let wanted = FormatRequest { size: Some(requested), frame_rate: Some(rate) };
            let choice = negotiate(&wanted, &candidates).choice.expect("one is usable");
            prop_assert_eq!((choice.code, choice.size), (exact.code, exact.size));
        }

        #[test]
        fn a_worse_offer_does_not_change_the_choice(
            wanted in any_wanted(), candidates in prop::collection::vec(any_candidate(), 1..12), extra in any_candidate(),
        ) {
            let before = negotiate(&wanted, &candidates);
            let mut more = candidates.clone();
            more.push(extra);
            let after = negotiate(&wanted, &more);
            if let (Some(before), Some(after)) = (before.choice, after.choice) && after.index != candidates.len() {
                prop_assert_eq!(before, after);
            }
        }
    }
}
