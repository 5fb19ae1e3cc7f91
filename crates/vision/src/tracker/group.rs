//! People who touch: finds the tracks that share a region, and splits its box between them.

use portraitd_media::UnitRect;

use super::assignment::{Assignment, LargestRegions, MAX_PEOPLE};
use super::track::Track;

/// The smallest share of a track's box that the region of a group must cover.
const MIN_COVERED: f32 = 0.5;

/// A track is hidden behind another one of the same region that covers more than this share of it.
const HIDDEN_SHARE: f32 = 0.7;

/// The lowest IoU of a group's region with the union of its tracks.
const MIN_FIT: f32 = 0.5;

/// How much better the union must fit than the best single track, if all members were visible in
/// the previous mask.
const BETTER_VISIBLE: f32 = 0.02;

/// The same if a hidden person reappears. It is larger, because the visible person may only have
/// stretched out an arm.
const BETTER_HIDDEN: f32 = 0.15;

/// A hidden person reappears at an end of the region that reaches beyond the visible people by more
/// than this share of the hidden person's size.
const REAPPEARS: f32 = 0.1;

/// Assigns each region that is a group to all its members.
pub(super) fn assign(tracks: &[Track], regions: &LargestRegions, assignment: &mut Assignment) {
    let mut nearest = [None; MAX_PEOPLE];
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
        let better = if members.iter().all(|t| tracks[*t].is_visible()) { BETTER_VISIBLE } else { BETTER_HIDDEN };
        let fit = union.iou(&region.bounds);
        if fit >= MIN_FIT && fit >= single + better {
            members.iter().for_each(|t| assignment.of_track[*t] = Some(index));
        }
    }
}

/// The possible members of a group and their number: the tracks that the region covers and that fit
/// it best, without those hidden behind another one.
fn members(
    tracks: &[Track],
    nearest: &[Option<usize>; MAX_PEOPLE],
    index: usize,
    region: &UnitRect,
) -> ([usize; MAX_PEOPLE], usize) {
    let (mut members, mut count) = ([0; MAX_PEOPLE], 0);
    for (t, track) in tracks.iter().enumerate() {
        if nearest[t] == Some(index) && share(&track.bounds, region) >= MIN_COVERED {
            members[count] = t;
            count += 1;
        }
    }
    // Visible tracks come first, then larger ones: a smaller box is hidden behind a larger one.
    members[..count].sort_unstable_by(|a, b| {
        let (a, b) = (&tracks[*a], &tracks[*b]);
        b.is_visible().cmp(&a.is_visible()).then(b.bounds.area().total_cmp(&a.bounds.area())).then(a.id.cmp(&b.id))
    });
    let mut retained = 0;
    for next in 0..count {
        let bounds = &tracks[members[next]].bounds;
        if members[..retained].iter().all(|front| share(bounds, &tracks[*front].bounds) <= HIDDEN_SHARE) {
            members[retained] = members[next];
            retained += 1;
        }
    }
    (members, retained)
}

/// Splits the box of region `index` between its tracks. They keep their order along the axis on
/// which their centres are further apart, and the size that they had alone. The first and the last
/// touch the ends of the region.
pub(super) fn split(
    tracks: &[Track],
    assignment: &Assignment,
    index: usize,
    region: &UnitRect,
) -> [Option<UnitRect>; MAX_PEOPLE] {
    let mut parts = [None; MAX_PEOPLE];
    let (mut order, mut count) = ([0; MAX_PEOPLE], 0);
    for t in assignment.members(index) {
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
    let end_of = reappearing_end(tracks, order, region, beside);
    let along = |track: &Track| {
        let (x, y) = track.bounds.center();
        // The predicted position of a hidden person is too uncertain to decide their place in the
        // order.
        if track.is_visible() {
            if beside { x } else { y }
        } else {
            end_of(track).unwrap_or(if beside { x } else { y })
        }
    };
    order.sort_unstable_by(|a, b| {
        along(&tracks[*a]).total_cmp(&along(&tracks[*b])).then(tracks[*a].id.cmp(&tracks[*b].id))
    });
    let sum: f32 = order.iter().map(|t| if beside { tracks[*t].size_alone.0 } else { tracks[*t].size_alone.1 }).sum();
    let whole = if beside { region.width } else { region.height };
    // If the members do not fill the region (for example with outstretched arms), all are widened
    // in proportion.
    let widen = if sum > 0.0 { (whole / sum).max(1.0) } else { 1.0 };
    for (place, t) in order.iter().enumerate() {
        let track = &tracks[*t];
        let (width, height) = track.size_alone;
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

/// The end of the region at which a hidden person reappears: the one that reaches further beyond
/// the settled boxes of the visible people. `None` if neither end does.
fn reappearing_end(
    tracks: &[Track],
    order: &[usize],
    region: &UnitRect,
    beside: bool,
) -> impl Fn(&Track) -> Option<f32> + use<> {
    let ends = |bounds: &UnitRect| if beside { (bounds.x, bounds.right()) } else { (bounds.y, bounds.bottom()) };
    let visible = order.iter().map(|t| &tracks[*t]).filter(|track| track.is_visible());
    let (low, high) = visible.fold((f32::MAX, f32::MIN), |(low, high), track| {
        let (start, end) = ends(&track.settled);
        (low.min(start), high.max(end))
    });
    let (start, end) = ends(region);
    let (before, after) = (low - start, end - high);
    move |hidden| {
        let size = if beside { hidden.size_alone.0 } else { hidden.size_alone.1 };
        let least = REAPPEARS * size;
        (low <= high && before.max(after) > least).then_some(if after >= before { f32::MAX } else { f32::MIN })
    }
}

/// The share of `part` that is inside `whole`.
fn share(part: &UnitRect, whole: &UnitRect) -> f32 {
    let area = part.area();
    if area > 0.0 { part.intersection(whole).area() / area } else { 0.0 }
}
