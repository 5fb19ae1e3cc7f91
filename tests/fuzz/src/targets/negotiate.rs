//! Whatever list of formats a device offers: no panic, and the choice is of the list.

use portraitd_media::FormatRequest;
use portraitd_v4l2::formats::{FourCc, TABLE};
use portraitd_v4l2::negotiate::{Candidate, negotiate};
use portraitd_media::Size;
use arbitrary::Arbitrary;

/// A wish, and what a device offers.
#[derive(Arbitrary, Debug)]
pub struct Said {
    size: Option<(u32, u32)>,
    rate: Option<f32>,
    offers: Vec<(Result<u8, u32>, u32, u32, Vec<f32>, bool)>,
}

/// Negotiates.
///
/// # Panics
/// Where the choice is not one of the offers.
pub fn check(said: Said) {
    let candidates: Vec<Candidate> = said
        .offers
        .into_iter()
        .map(|(code, width, height, rates, emulated)| Candidate {
            code: code.map_or_else(FourCc, |index| TABLE[usize::from(index) % TABLE.len()].0),
            size: Size::new(width, height),
            rates,
            emulated,
        })
        .collect();
    let wanted = FormatRequest { size: said.size.map(|(width, height)| Size::new(width, height)), frame_rate: said.rate };
    let negotiation = negotiate(&wanted, &candidates);
    assert_eq!(negotiation.choice, negotiation.ranking.first().copied());
    for choice in &negotiation.ranking {
        assert_eq!(candidates[choice.index].size, choice.size);
        assert!(choice.frame_rate.is_none_or(|rate| rate.is_finite() && rate > 0.0));
    }
    assert!(!negotiation.reasons.is_empty());
}
