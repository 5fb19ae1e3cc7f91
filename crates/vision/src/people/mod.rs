//! From regions to people: the same person keeps the same id from frame to frame.
//!
//! A mask says where people are, not who: two who touch are one region, one behind another is none. The tracker keeps
//! a track for each person, says where each should be now (its speed is known), and explains the regions by them:
//!
//! 1. *A region of several people*: it covers two or more tracks, none hidden behind another, and their union fits it
//!    better than any one of them. All keep their ids, and the region's box is split between them, in their order.
//! 2. *A region of one person*: tracks and regions are matched one to one, the best pair first, by overlap (IoU) and
//!    by the distance of the centres.
//! 3. A region that nobody explains is somebody new. A track without a region is hidden, not reported, and remembered
//!    for [`OCCLUSION_NS`].
//!
//! Ids are never used twice. Regions carry no looks: people who hide one another fully are told apart by their speed
//! before and by their size, which can fail. The vision thread owns a tracker; it allocates nothing after `new`.

mod group;

use super::Region;
use portraitd_media::UnitRect;

/// The most people followed at once, as many as a slot header of the ring holds.
pub const MOST_PEOPLE: usize = 16;

/// How long somebody who is hidden is remembered.
pub const OCCLUSION_NS: u64 = 1_000_000_000;

/// After a longer gap between two masks nobody can say who is who, and all ids are new.
pub const FORGET_GAP_NS: u64 = 2_500_000_000;

/// A stamp at most this much older than the newest is a frame out of order, and ignored; an older one is a new start
/// (a file that begins again).
pub const OUT_OF_ORDER_NS: u64 = 1_000_000_000;

/// Somebody lower than this share of the frame's height is beyond what the nets are made for (their cards say: within about
/// four metres; see docs/design/attention.md), and reported with little confidence.
pub const SMALLEST_HEIGHT: f32 = 0.12;

/// The time constant with which a speed is learned.
const SPEED_TIME_CONSTANT_S: f32 = 0.25;

/// The highest speed believed, frames a second: a box that jumps further has changed its shape.
const TOP_SPEED: f32 = 1.0;

/// The time constant with which the speed of somebody hidden is forgotten.
const HIDDEN_TIME_CONSTANT_S: f32 = 0.7;

/// The time constant of the box that somebody is known by: long beside the time in which somebody else passes by.
const SETTLED_TIME_CONSTANT_S: f32 = 0.5;

/// What the fit of that box counts for beside the fit of the predicted one.
const SETTLED_WEIGHT: f32 = 0.9;

/// How fast the circle grows in which somebody is looked for, frames a second.
const SEARCH_SPEED: f32 = 0.3;

/// The least score of a pair that is matched; see [`score`].
const LEAST_SCORE: f32 = 0.15;

/// A person seen in the newest mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Person {
    /// Who: counted from 1, never used again for another.
    pub id: u32,
    /// Their box, in fractions of the frame. Split by estimate where several people touch.
    pub bounds: UnitRect,
    /// The mean probability of their region, 0.5..=1; a quarter of that for somebody who is smaller than the nets see well.
    pub confidence: f32,
}

impl Person {
    /// Whether the crop may follow this person: not one whom the net hardly sees.
    pub const fn drives_crop(&self) -> bool {
        self.confidence >= super::THRESHOLD
    }
}

/// A person's track.
#[derive(Clone, Copy, Debug)]
struct Track {
    id: u32,
    /// Where they were last seen; then where they should be, while hidden.
    bounds: UnitRect,
    /// The mean of where they were seen of late. While somebody passes by, one region holds both, and the box grows and
    /// leans after the passer-by; this one stays.
    settled: UnitRect,
    /// Frame widths and heights a second.
    speed: (f32, f32),
    /// The (width, height) when last seen apart from others.
    alone: (f32, f32),
    confidence: f32,
    seen_ns: u64,
    /// When no region explained them any more; none while one does.
    hidden_since_ns: Option<u64>,
}

/// Gives people ids, one camera's masks after the other.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// By age; never more than [`MOST_PEOPLE`].
    tracks: Vec<Track>,
    people: Vec<Person>,
    newest_ns: Option<u64>,
    /// None once all ids are used.
    next_id: Option<u32>,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracker {
    /// A tracker that knows nobody.
    pub fn new() -> Self {
        Self {
            tracks: Vec::with_capacity(MOST_PEOPLE),
            people: Vec::with_capacity(MOST_PEOPLE),
            newest_ns: None,
            next_id: Some(1),
        }
    }

    /// Takes the regions of the mask of the frame captured at `capture_ns`, and returns the people seen in it, by
    /// ascending id. Only the [`MOST_PEOPLE`] largest regions count; empty ones, and boxes that are not finite, do not.
    ///
    /// A frame out of order changes nothing: the newest people are returned again.
    pub fn update(&mut self, regions: &[Region], capture_ns: u64) -> &[Person] {
        let newest_ns = self.newest_ns.unwrap_or(capture_ns);
        if capture_ns < newest_ns && newest_ns - capture_ns <= OUT_OF_ORDER_NS {
            return &self.people;
        }
        self.newest_ns = Some(capture_ns);
        // Backwards by more than that: a new start.
        if capture_ns.checked_sub(newest_ns).is_none_or(|gap_ns| gap_ns > FORGET_GAP_NS) {
            self.tracks.clear();
        }
        let step_s = capture_ns.saturating_sub(newest_ns) as f32 * 1e-9;
        self.tracks.retain(|track| !track.is_forgotten(capture_ns));
        self.tracks.iter_mut().for_each(|track| track.predict(step_s));

        let regions = Regions::largest(regions);
        let mut claims = Claims::default();
        group::claim(&self.tracks, &regions, &mut claims);
        self.claim_one_to_one(&regions, &mut claims, capture_ns);
        for index in 0..regions.len() {
            self.see(&regions, &claims, index, step_s, capture_ns);
        }
        for (track, claim) in self.tracks.iter_mut().zip(&claims.of_track) {
            let since = track.hidden_since_ns.unwrap_or(capture_ns);
            track.hidden_since_ns = claim.is_none().then_some(since);
        }
        for (index, region) in regions.iter().enumerate().filter(|(index, _)| !claims.is_taken(*index)) {
            debug_assert!(index < MOST_PEOPLE, "the largest only");
            self.begin(region, capture_ns);
        }

        self.people.clear();
        self.people.extend(self.tracks.iter().filter(|track| track.is_visible()).map(|track| Person {
            id: track.id,
            bounds: track.bounds,
            confidence: track.confidence * if track.bounds.height < SMALLEST_HEIGHT { 0.25 } else { 1.0 },
        }));
        &self.people
    }

    /// Forgets everybody; the next regions are new people with new ids.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.people.clear();
        self.newest_ns = None;
    }

    /// Matches the tracks and regions that no group has claimed, the best pair first.
    fn claim_one_to_one(&self, regions: &Regions, claims: &mut Claims, capture_ns: u64) {
        loop {
            let mut best = (LEAST_SCORE, None);
            for (t, track) in self.tracks.iter().enumerate().filter(|(t, _)| claims.of_track[*t].is_none()) {
                for (r, region) in regions.iter().enumerate().filter(|(r, _)| !claims.is_taken(*r)) {
                    let score = score(track, region, capture_ns);
                    if score > best.0 {
                        best = (score, Some((t, r)));
                    }
                }
            }
            let Some((t, r)) = best.1 else { return };
            claims.of_track[t] = Some(r);
        }
    }

    /// Moves the tracks that claim region `index` to where it is.
    fn see(&mut self, regions: &Regions, claims: &Claims, index: usize, step_s: f32, capture_ns: u64) {
        let region = &regions.of[index];
        let mut members = claims.members(index);
        let Some(first) = members.next() else { return };
        if members.next().is_none() {
            let track = &mut self.tracks[first];
            track.alone = (region.bounds.width, region.bounds.height);
            track.move_to(region.bounds, region.confidence, step_s, capture_ns);
            return;
        }
        let parts = group::split(&self.tracks, claims, index, &region.bounds);
        for (t, part) in parts.iter().enumerate() {
            if let Some(part) = part {
                self.tracks[t].move_to(*part, region.confidence, step_s, capture_ns);
            }
        }
    }

    /// Follows somebody new, in the place of who has been hidden for longest if there is no other.
    fn begin(&mut self, region: &Region, capture_ns: u64) {
        if self.tracks.len() == MOST_PEOPLE {
            let hidden = self.tracks.iter().enumerate().filter(|(_, track)| !track.is_visible());
            let Some((oldest, _)) = hidden.min_by_key(|(_, track)| track.hidden_since_ns) else { return };
            self.tracks.remove(oldest);
        }
        let Some(id) = self.next_id else { return };
        self.next_id = id.checked_add(1);
        self.tracks.push(Track {
            id,
            bounds: region.bounds,
            settled: region.bounds,
            speed: (0.0, 0.0),
            alone: (region.bounds.width, region.bounds.height),
            confidence: region.confidence,
            seen_ns: capture_ns,
            hidden_since_ns: None,
        });
    }
}

impl Track {
    /// Explained by a region of the newest mask.
    fn is_visible(&self) -> bool {
        self.hidden_since_ns.is_none()
    }

    fn is_forgotten(&self, now_ns: u64) -> bool {
        self.hidden_since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > OCCLUSION_NS)
    }

    /// Moves the box to where it should be `step_s` later.
    fn predict(&mut self, step_s: f32) {
        // A speed says little about a second from now.
        let step_s = step_s.min(0.5);
        self.bounds.x += self.speed.0 * step_s;
        self.bounds.y += self.speed.1 * step_s;
        if !self.is_visible() {
            let kept = HIDDEN_TIME_CONSTANT_S / (HIDDEN_TIME_CONSTANT_S + step_s);
            self.speed = (self.speed.0 * kept, self.speed.1 * kept);
        }
    }

    /// Takes the measured box `bounds`; the own one is where it was predicted `step_s` after the last.
    fn move_to(&mut self, bounds: UnitRect, confidence: f32, step_s: f32, capture_ns: u64) {
        if step_s > 0.0 {
            let ((x, y), (predicted_x, predicted_y)) = (bounds.center(), self.bounds.center());
            // After a time in hiding the error has built up since then.
            let since_s = (capture_ns.saturating_sub(self.seen_ns) as f32 * 1e-9).max(step_s);
            let gain = since_s / (since_s + SPEED_TIME_CONSTANT_S) / since_s;
            self.speed.0 = (self.speed.0 + (x - predicted_x) * gain).clamp(-TOP_SPEED, TOP_SPEED);
            self.speed.1 = (self.speed.1 + (y - predicted_y) * gain).clamp(-TOP_SPEED, TOP_SPEED);
            let (settled, weight) = (&mut self.settled, since_s / (since_s + SETTLED_TIME_CONSTANT_S));
            settled.x += (bounds.x - settled.x) * weight;
            settled.y += (bounds.y - settled.y) * weight;
            settled.width += (bounds.width - settled.width) * weight;
            settled.height += (bounds.height - settled.height) * weight;
        }
        self.bounds = bounds;
        self.confidence = confidence;
        self.seen_ns = capture_ns;
    }
}

/// How well a region fits a track, with a discount for who has been hidden, so that nobody hidden takes the region of
/// somebody seen.
fn score(track: &Track, region: &Region, now_ns: u64) -> f32 {
    let hidden_s = track.hidden_since_ns.map_or(0.0, |since_ns| now_ns.saturating_sub(since_ns) as f32 * 1e-9).min(1.0);
    let slack = SEARCH_SPEED * hidden_s;
    let fit =
        fit(&track.bounds, &region.bounds, slack).max(SETTLED_WEIGHT * fit(&track.settled, &region.bounds, slack));
    fit * (1.0 - 0.3 * hidden_s)
}

/// The IoU of two boxes, and up to half a point for near centres (less where the sizes differ).
fn fit(a: &UnitRect, b: &UnitRect, slack: f32) -> f32 {
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    let distance = (ax - bx).hypot(ay - by);
    let reach = 0.25 * (a.width.hypot(a.height) + b.width.hypot(b.height)) + slack;
    let near = (1.0 - distance / reach).max(0.0);
    let (smaller, larger) = (a.area().min(b.area()), a.area().max(b.area()));
    let alike = if larger > 0.0 { (smaller / larger).sqrt() } else { 0.0 };
    a.iou(b) + 0.25 * near * (1.0 + alike)
}

/// The regions that count: the largest, at most [`MOST_PEOPLE`].
struct Regions {
    of: [Region; MOST_PEOPLE],
    count: usize,
}

impl Regions {
    fn largest(regions: &[Region]) -> Self {
        const NONE: Region = Region { bounds: UnitRect::new(0.0, 0.0, 0.0, 0.0), area: 0.0, confidence: 0.0 };
        let mut largest = Self { of: [NONE; MOST_PEOPLE], count: 0 };
        for region in regions {
            let UnitRect { x, y, width, height } = region.bounds;
            let finite = [x, y, width, height, region.area].iter().all(|number| number.is_finite());
            if !finite || region.bounds.is_empty() {
                continue;
            }
            let at = largest.iter().position(|other| other.area < region.area).unwrap_or(largest.count);
            if at == MOST_PEOPLE {
                continue;
            }
            largest.count = (largest.count + 1).min(MOST_PEOPLE);
            largest.of[at..largest.count].rotate_right(1);
            largest.of[at] = *region;
        }
        largest
    }

    fn len(&self) -> usize {
        self.count
    }

    fn iter(&self) -> std::slice::Iter<'_, Region> {
        self.of[..self.count].iter()
    }
}

/// Which region each track is explained by.
#[derive(Default)]
struct Claims {
    of_track: [Option<usize>; MOST_PEOPLE],
}

impl Claims {
    fn is_taken(&self, region: usize) -> bool {
        self.of_track.contains(&Some(region))
    }

    /// The tracks that claim `region`, by age.
    fn members(&self, region: usize) -> impl Iterator<Item = usize> + '_ {
        self.of_track.iter().enumerate().filter(move |(_, claim)| **claim == Some(region)).map(|(track, _)| track)
    }
}

#[cfg(test)]
mod tests;
