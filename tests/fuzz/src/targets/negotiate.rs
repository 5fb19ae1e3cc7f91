//! Any list of formats that a device offers: no panic, and the choice is an element of the list.

use arbitrary::Arbitrary;
use portraitd_media::{FormatRequest, Size};
use portraitd_v4l2::formats::{FourCc, TABLE};
use portraitd_v4l2::negotiate::{Candidate, negotiate};

/// A format request, and the offers of a device.
#[derive(Arbitrary, Debug)]
pub struct Case {
    size: Option<(u32, u32)>,
    rate: Option<f32>,
    offers: Vec<(Result<u8, u32>, u32, u32, Vec<f32>, bool)>,
}

/// Negotiates the request.
///
/// # Panics
/// If a choice is not one of the offers.
pub fn check(case: Case) {
    let candidates: Vec<Candidate> = case
        .offers
        .into_iter()
        .map(|(code, width, height, rates, emulated)| Candidate {
            code: code.map_or_else(FourCc, |index| TABLE[usize::from(index) % TABLE.len()].0),
            size: Size::new(width, height),
            rates,
            emulated,
        })
        .collect();
    let wanted =
        FormatRequest { size: case.size.map(|(width, height)| Size::new(width, height)), frame_rate: case.rate };
    let negotiation = negotiate(&wanted, &candidates);
    assert_eq!(negotiation.choice, negotiation.ranking.first().copied());
    for choice in &negotiation.ranking {
        assert_eq!(candidates[choice.index].size, choice.size);
        assert!(choice.frame_rate.is_none_or(|rate| rate.is_finite() && rate > 0.0));
    }
    assert!(!negotiation.reasons.is_empty());
}
