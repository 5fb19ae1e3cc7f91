//! Which of a device's formats to take, and why. Pure.
//!
//! Every candidate gets a cost; the least wins. The cost is a sum in *octaves* (a factor of two in pixels or in rate is
//! 1), so that the parts can be compared:
//!
//! | part | cost |
//! |---|---|
//! | fewer pixels than wanted | 2 an octave (detail that is lost) |
//! | more pixels than wanted | 1 an octave (work that is wasted) |
//! | another aspect | 2 an octave of the ratio (the view would be cut) |
//! | slower than wanted | 2 an octave |
//! | faster than wanted | 0.25 an octave |
//! | size or rate not told by the device | 0.25 |
//! | the encoding | 0.02 a place in [`formats::TABLE`](super::formats::TABLE), JPEG 0.4 more (it must be decoded), grey 2 more (no colour), converted in the driver's library 0.2 more |
//!
//! So an exact size and rate in any colour encoding beats every inexact one further off than the encodings differ, a
//! camera with raw pictures at 10 and JPEG at 30 frames a second is read in JPEG, and raw wins where both are as fast.

use std::cmp::Ordering;

use super::formats::{Encoding, FourCc, MAX_SIDE, preference};
use portraitd_media::FormatRequest;
use portraitd_media::{PixelFormat, Size};

/// One thing a device offers: a format in one size, with the rates it has there.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The four-character code.
    pub code: FourCc,
    /// The picture size.
    pub size: Size,
    /// Frames a second that the device offers in this size; empty where it does not tell.
    pub rates: Vec<f32>,
    /// Whether the format is made by conversion in software, in the driver or a library under it.
    pub emulated: bool,
}

/// What was chosen of a device's offer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Which candidate.
    pub index: usize,
    /// The four-character code.
    pub code: FourCc,
    /// The picture size to ask for.
    pub size: Size,
    /// The rate to ask for; `None` leaves the device's own.
    pub frame_rate: Option<f32>,
}

/// The result of a negotiation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Negotiation {
    /// The best, if the device offers anything that we can use.
    pub choice: Option<Choice>,
    /// Every usable candidate, best first: what to try when the driver refuses the best.
    pub ranking: Vec<Choice>,
    /// Why, a sentence each: what was wanted, what was chosen, what was next, what could not be used.
    pub reasons: Vec<String>,
}

/// Chooses of `candidates` what is nearest to `wanted`.
pub fn negotiate(wanted: &FormatRequest, candidates: &[Candidate]) -> Negotiation {
    let wanted = sane(wanted);
    let mut ranked: Vec<(f32, Choice)> = candidates
        .iter()
        .enumerate()
        .filter_map(|(index, candidate)| {
            let (cost, frame_rate) = cost(&wanted, candidate)?;
            Some((cost, Choice { index, code: candidate.code, size: candidate.size, frame_rate }))
        })
        .collect();
    // The order of the list decides nothing: what is equal in cost is ordered by what it is.
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

/// Without what cannot be wanted: an empty size, a rate that is not a number.
fn sane(wanted: &FormatRequest) -> FormatRequest {
    FormatRequest {
        size: wanted.size.filter(|size| !size.is_empty()),
        frame_rate: wanted.frame_rate.filter(|rate| rate.is_finite() && *rate > 0.0),
    }
}

fn compare_rates(a: Option<f32>, b: Option<f32>) -> Ordering {
    a.unwrap_or(0.0).total_cmp(&b.unwrap_or(0.0))
}

/// The cost of `candidate` and the rate to ask it for; `None` where it cannot be used.
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
    if let Some(wish) = wanted.size {
        let octaves = (size.area() as f32 / wish.area() as f32).log2();
        cost += if octaves < 0.0 { -2.0 * octaves } else { octaves };
        cost += 2.0 * (size.aspect() / wish.aspect()).log2().abs();
    }
    let rates = candidate.rates.iter().copied().filter(|rate| rate.is_finite() && *rate > 0.0);
    let best = match wanted.frame_rate {
        Some(wish) => rates.map(|rate| (rate_cost(wish, rate), rate)).min_by(|a, b| a.0.total_cmp(&b.0)),
        None => return Some((cost, None)),
    };
    // A device that does not tell its rates is asked for the wanted one, and may know it.
    let (part, rate) = best.unwrap_or((0.25, wanted.frame_rate.unwrap_or(0.0)));
    Some((cost + part, Some(rate)))
}

fn rate_cost(wish: f32, rate: f32) -> f32 {
    let octaves = (rate / wish).log2();
    // 29.97 is 30.
    if octaves.abs() < 0.01 {
        0.0
    } else if octaves < 0.0 {
        -2.0 * octaves
    } else {
        0.25 * octaves
    }
}

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
            reasons.push(format!("{size} is not offered; {} is the nearest by pixels and aspect", best.1.size));
        }
        if let (Some(wish), Some(rate)) = (wanted.frame_rate, best.1.frame_rate)
            && rate_cost(wish, rate) > 0.0
        {
            reasons.push(format!("{wish} frames/s is not offered in {}; {rate} is the nearest", best.1.size));
        }
        if encoding == Some(Encoding::Jpeg) {
            reasons.push("JPEG, because raw pictures come slower or smaller from this device".to_owned());
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

    /// A USB 2 webcam as they are sold: raw pictures only as fast as the bus.
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
    fn a_webcam_is_read_in_jpeg_where_raw_is_slow_and_raw_where_it_is_not() {
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
    fn nothing_of_use_is_no_choice_and_says_so() {
        let negotiation = negotiate(&FormatRequest::default(), &[candidate(b"H264", 1280, 720, &[30.0])]);
        assert_eq!(negotiation.choice, None);
        assert!(negotiation.reasons.iter().any(|reason| reason == "not of use: H264"), "{:?}", negotiation.reasons);
        assert_eq!(negotiate(&FormatRequest::default(), &[]).choice, None);
    }

    #[test]
    fn grey_is_taken_only_where_there_is_no_colour() {
        let both = [candidate(b"GREY", 1280, 720, &[30.0]), candidate(b"YUYV", 640, 480, &[15.0])];
        let choice = negotiate(&wanted(1280, 720, 30.0), &both[..1]).choice.expect("offers");
        assert_eq!(choice.code, FourCc::new(*b"GREY"));
        let near = [both[0].clone(), candidate(b"YUYV", 1280, 720, &[20.0])];
        assert_eq!(negotiate(&wanted(1280, 720, 30.0), &near).choice.expect("offers").code, FourCc::new(*b"YUYV"));
    }

    #[test]
    fn a_device_that_tells_no_rates_is_asked_for_the_wanted_one() {
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
        fn what_is_chosen_was_offered_and_can_be_used(
            wanted in any_wanted(), candidates in prop::collection::vec(any_candidate(), 0..20),
        ) {
            let negotiation = negotiate(&wanted, &candidates);
            let usable = candidates.iter().filter(|candidate| cost(&sane(&wanted), candidate).is_some()).count();
            prop_assert_eq!(negotiation.ranking.len(), usable);
            prop_assert_eq!(negotiation.choice, negotiation.ranking.first().copied());
            for choice in &negotiation.ranking {
                let candidate = &candidates[choice.index];
                prop_assert_eq!((choice.code, choice.size), (candidate.code, candidate.size));
                prop_assert!(choice.code.encoding().is_some());
                prop_assert!(!choice.size.is_empty());
                if let Some(rate) = choice.frame_rate {
                    prop_assert!(rate > 0.0 && rate.is_finite());
                    prop_assert!(candidate.rates.contains(&rate) || sane(&wanted).frame_rate == Some(rate));
                }
            }
        }

        #[test]
        fn the_order_of_the_list_decides_nothing(
            wanted in any_wanted(), candidates in prop::collection::vec(any_candidate(), 1..12), turn in 0_usize..12,
        ) {
            let mut turned = candidates.clone();
            turned.rotate_left(turn % candidates.len());
            turned.reverse();
            let what = |choice: Option<Choice>| choice.map(|choice| (choice.code, choice.size, choice.frame_rate));
            prop_assert_eq!(what(negotiate(&wanted, &candidates).choice), what(negotiate(&wanted, &turned).choice));
        }

        #[test]
        fn an_exact_raw_offer_beats_any_that_is_far_off(
            width in 16_u32..4000, height in 16_u32..4000, rate in 5.0_f32..120.0,
            others in prop::collection::vec(any_candidate(), 0..12),
        ) {
            let wish = Size::new(width, height);
            let exact = Candidate { code: FourCc::new(*b"YUYV"), size: wish, rates: vec![rate], emulated: false };
            let far = others.into_iter().filter(|other| {
                let ratio = other.size.area() as f64 / wish.area() as f64;
                !(0.5..=2.0).contains(&ratio)
            });
            let candidates: Vec<Candidate> = far.chain([exact.clone()]).collect();
            let wanted = FormatRequest { size: Some(wish), frame_rate: Some(rate) };
            let choice = negotiate(&wanted, &candidates).choice.expect("one is usable");
            prop_assert_eq!((choice.code, choice.size), (exact.code, exact.size));
        }

        #[test]
        fn a_worse_offer_changes_nothing(
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
