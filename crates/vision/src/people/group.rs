//! People who touch: which tracks one region is made of, and how its box is split between them.

use super::{Claims, MOST_PEOPLE, Regions, Track};
use portraitd_media::UnitRect;

/// The least share of a track's box that a region must cover to be made of it.
const LEAST_COVERED: f32 = 0.5;

/// A track of which another of the same region covers more than this share is hidden behind it.
const HIDDEN_SHARE: f32 = 0.7;

/// The least IoU of a region with the union of the tracks that it is made of.
const LEAST_FIT: f32 = 0.5;

/// By how much the union must fit better than the best single track: everybody was seen in the last mask, or somebody
/// comes out of hiding, for which more is asked (the other one may only have stretched an arm).
const BETTER_SEEN: f32 = 0.02;
const BETTER_HIDDEN: f32 = 0.15;

/// Who comes out of hiding comes out where the region reaches beyond those seen by this share of the own size.
const COMES_OUT: f32 = 0.1;

/// Claims each region that is made of several tracks for all of them.
pub(super) fn claim(tracks: &[Track], regions: &Regions, claims: &mut Claims) {
    let mut nearest = [None; MOST_PEOPLE];
    for (nearest, track) in nearest.iter_mut().zip(tracks) {
        let fits = regions.iter().map(|region| share(&track.bounds, &region.bounds) + track.bounds.iou(&region.bounds));
        *nearest = fits.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index);
    }
    for (index, region) in regions.iter().enumerate() {
        let (members, count) = members(tracks, &nearest, index, &region.bounds);
        let members = &members[..count];
        if count < 2 {
            continue;
        }
        let union = members.iter().fold(UnitRect::default(), |union, t| union.union(&tracks[*t].bounds));
        let single = members.iter().map(|t| tracks[*t].bounds.iou(&region.bounds)).fold(0.0, f32::max);
        let better = if members.iter().all(|t| tracks[*t].is_visible()) { BETTER_SEEN } else { BETTER_HIDDEN };
        let fit = union.iou(&region.bounds);
        if fit >= LEAST_FIT && fit >= single + better {
            members.iter().for_each(|t| claims.of_track[*t] = Some(index));
        }
    }
}

/// The tracks that a region may be made of: those it covers and fits best, without the hidden ones.
fn members(
    tracks: &[Track],
    nearest: &[Option<usize>; MOST_PEOPLE],
    index: usize,
    region: &UnitRect,
) -> ([usize; MOST_PEOPLE], usize) {
    let (mut members, mut count) = ([0; MOST_PEOPLE], 0);
    for (t, track) in tracks.iter().enumerate() {
        if nearest[t] == Some(index) && share(&track.bounds, region) >= LEAST_COVERED {
            members[count] = t;
            count += 1;
        }
    }
    // Those seen before those hidden, then the larger first: the smaller is behind the larger, not the other way.
    members[..count].sort_unstable_by(|a, b| {
        let (a, b) = (&tracks[*a], &tracks[*b]);
        b.is_visible().cmp(&a.is_visible()).then(b.bounds.area().total_cmp(&a.bounds.area())).then(a.id.cmp(&b.id))
    });
    let mut kept = 0;
    for next in 0..count {
        let bounds = &tracks[members[next]].bounds;
        if members[..kept].iter().all(|front| share(bounds, &tracks[*front].bounds) <= HIDDEN_SHARE) {
            members[kept] = members[next];
            kept += 1;
        }
    }
    (members, kept)
}

/// Splits the box of region `index` between the tracks that claim it. They keep their order along the axis on which
/// their centres are further apart, and the size they had alone; the first touches one end, the last the other.
pub(super) fn split(
    tracks: &[Track],
    claims: &Claims,
    index: usize,
    region: &UnitRect,
) -> [Option<UnitRect>; MOST_PEOPLE] {
    let mut parts = [None; MOST_PEOPLE];
    let (mut order, mut count) = ([0; MOST_PEOPLE], 0);
    for t in claims.members(index) {
        order[count] = t;
        count += 1;
    }
    let order = &mut order[..count];
    let spread = |center: fn(&UnitRect) -> f32| {
        let centers = order.iter().map(|t| center(&tracks[*t].bounds));
        let (low, high) = centers.fold((f32::MAX, f32::MIN), |(low, high), at| (low.min(at), high.max(at)));
        high - low
    };
    let beside = spread(|bounds| bounds.center().0) >= spread(|bounds| bounds.center().1);
    let out = coming_out(tracks, order, region, beside);
    let along = |track: &Track| {
        let (x, y) = track.bounds.center();
        // A speed says little of somebody hidden: their guessed place does not decide on which side of whom they are.
        if track.is_visible() { if beside { x } else { y } } else { out(track).unwrap_or(if beside { x } else { y }) }
    };
    order.sort_unstable_by(|a, b| {
        along(&tracks[*a]).total_cmp(&along(&tracks[*b])).then(tracks[*a].id.cmp(&tracks[*b].id))
    });
    let sum: f32 = order.iter().map(|t| if beside { tracks[*t].alone.0 } else { tracks[*t].alone.1 }).sum();
    let whole = if beside { region.width } else { region.height };
    // Where they do not fill the region (arms held out to each other), all get more in proportion.
    let widen = if sum > 0.0 { (whole / sum).max(1.0) } else { 1.0 };
    for (place, t) in order.iter().enumerate() {
        let track = &tracks[*t];
        let (width, height) = track.alone;
        let (width, height) = if beside { (width * widen, height) } else { (width, height * widen) };
        let (width, height) = (width.min(region.width), height.min(region.height));
        let (x, y) = track.bounds.center();
        let mut part = UnitRect::new(x - width * 0.5, y - height * 0.5, width, height).moved_into(region);
        let start = if beside { &mut part.x } else { &mut part.y };
        if place == 0 {
            *start = if beside { region.x } else { region.y };
        } else if place + 1 == order.len() {
            *start = if beside { region.right() - width } else { region.bottom() - height };
        }
        parts[*t] = Some(part);
    }
    parts
}

/// At which end of the region somebody hidden comes out: the one at which it reaches further beyond where those seen
/// are known to be, if it does.
fn coming_out(
    tracks: &[Track],
    order: &[usize],
    region: &UnitRect,
    beside: bool,
) -> impl Fn(&Track) -> Option<f32> + use<> {
    let ends = |bounds: &UnitRect| if beside { (bounds.x, bounds.right()) } else { (bounds.y, bounds.bottom()) };
    let seen = order.iter().map(|t| &tracks[*t]).filter(|track| track.is_visible());
    let (low, high) = seen.fold((f32::MAX, f32::MIN), |(low, high), track| {
        let (start, end) = ends(&track.settled);
        (low.min(start), high.max(end))
    });
    let (start, end) = ends(region);
    let (before, after) = (low - start, end - high);
    move |hidden| {
        let size = if beside { hidden.alone.0 } else { hidden.alone.1 };
        let least = COMES_OUT * size;
        (low <= high && before.max(after) > least).then_some(if after >= before { f32::MAX } else { f32::MIN })
    }
}

/// The share of `part` that lies in `whole`.
fn share(part: &UnitRect, whole: &UnitRect) -> f32 {
    let area = part.area();
    if area > 0.0 { part.intersection(whole).area() / area } else { 0.0 }
}
