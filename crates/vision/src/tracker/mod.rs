//! Tracking: the same person keeps the same id from mask to mask.
//!
//! A mask shows where people are, but not who they are. Two people who touch are one region, and a
//! person behind another one has no region. The tracker keeps a track for each person and predicts
//! its position from its speed. It then assigns the regions of the mask to the tracks:
//!
//! 1. *Groups.* A region is a group if it covers two or more tracks, none of them is hidden behind
//!    another, and their union fits the region better than any one of them. All members keep their
//!    ids. The box of the region is split between them in their order.
//! 2. *Single people.* The remaining tracks and regions are matched one to one, the best pair
//!    first, by overlap (IoU) and the distance of the centres.
//! 3. *Others.* A region without a track is a new person. A track without a region is hidden: it is
//!    not reported, and it is forgotten after 1 s.
//!
//! Ids are never reused. Regions do not show what people look like. People who hide one another
//! completely can be told apart only by their earlier speed and size, which can fail.
//!
//! A tracker belongs to the vision thread. It allocates nothing after [`Tracker::new`].

mod assignment;
mod group;
mod track;

use portraitd_media::UnitRect;

use crate::mask::THRESHOLD;
use crate::regions::Region;
use assignment::{Assignment, LargestRegions, MAX_PEOPLE};
use track::{Track, score};

/// After a longer gap between two masks, nobody can be recognized and all ids are new.
const FORGET_GAP_NS: u64 = 2_500_000_000;

/// A timestamp that is at most this much older than the newest one belongs to a frame out of order,
/// which is ignored. An older one is a new start, for example of a file that is played again.
const OUT_OF_ORDER_NS: u64 = 1_000_000_000;

/// People whose height is less than this share of the frame are reported with a quarter of the
/// confidence. The nets are made for larger people: their model cards say within about four metres.
const MIN_RELIABLE_HEIGHT: f32 = 0.12;

/// The lowest score of a pair that is matched; see [`score`].
const MIN_SCORE: f32 = 0.15;

/// A person in the newest mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackedPerson {
    /// The id, counted from 1. It is never reused for another person.
    pub id: u32,
    /// The box, in fractions of the frame. It is an estimate where several people touch.
    pub bounds: UnitRect,
    /// The mean probability of the person's region, 0.5..=1, or a quarter of it for a person whose
    /// height is less than 12 % of the frame.
    pub confidence: f32,
}

impl TrackedPerson {
    /// Whether the confidence is at least [`THRESHOLD`]. Crops should not follow other people: they
    /// are too small for the net.
    pub const fn is_reliable(&self) -> bool {
        self.confidence >= THRESHOLD
    }
}

/// Assigns ids to the people in the masks of one camera.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The oldest first; at most [`MAX_PEOPLE`].
    tracks: Vec<Track>,
    /// The people in the newest mask.
    people: Vec<TrackedPerson>,
    /// Capture time of the newest mask.
    newest_ns: Option<u64>,
    /// The next new id; `None` if all ids have been used.
    next_id: Option<u32>,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracker {
    /// A tracker without tracks.
    pub fn new() -> Self {
        Self {
            tracks: Vec::with_capacity(MAX_PEOPLE),
            people: Vec::with_capacity(MAX_PEOPLE),
            newest_ns: None,
            next_id: Some(1),
        }
    }

    /// Takes the regions, in fractions of the frame, of the mask of the frame captured at
    /// `capture_ns`. Returns the people in the mask, by ascending id. Only the 16 largest regions
    /// count. Regions that are empty or not finite do not count.
    ///
    /// A frame out of order changes nothing: the newest people are returned again.
    pub fn update(&mut self, regions: &[Region], capture_ns: u64) -> &[TrackedPerson] {
        let newest_ns = self.newest_ns.unwrap_or(capture_ns);
        if capture_ns < newest_ns && newest_ns - capture_ns <= OUT_OF_ORDER_NS {
            return &self.people;
        }
        self.newest_ns = Some(capture_ns);
        // A larger step back in time is a new start.
        if capture_ns.checked_sub(newest_ns).is_none_or(|gap_ns| gap_ns > FORGET_GAP_NS) {
            self.tracks.clear();
        }
        let step_s = capture_ns.saturating_sub(newest_ns) as f32 * 1e-9;
        self.tracks.retain(|track| !track.is_forgotten(capture_ns));
        self.tracks.iter_mut().for_each(|track| track.predict(step_s));

        let regions = LargestRegions::new(regions);
        let mut assignment = Assignment::default();
        group::assign(&self.tracks, &regions, &mut assignment);
        self.assign_one_to_one(&regions, &mut assignment, capture_ns);
        for index in 0..regions.len() {
            self.update_members(&regions, &assignment, index, step_s, capture_ns);
        }
        for (track, assigned) in self.tracks.iter_mut().zip(&assignment.of_track) {
            let since = track.hidden_since_ns.unwrap_or(capture_ns);
            track.hidden_since_ns = assigned.is_none().then_some(since);
        }
        for (index, region) in regions.iter().enumerate().filter(|(index, _)| !assignment.is_assigned(*index)) {
            debug_assert!(index < MAX_PEOPLE, "`LargestRegions` holds at most MAX_PEOPLE regions");
            self.start_track(region, capture_ns);
        }

        self.people.clear();
        self.people.extend(self.tracks.iter().filter(|track| track.is_visible()).map(|track| TrackedPerson {
            id: track.id,
            bounds: track.bounds,
            confidence: track.confidence * if track.bounds.height < MIN_RELIABLE_HEIGHT { 0.25 } else { 1.0 },
        }));
        &self.people
    }

    /// Forgets all people. The next regions are new people with new ids.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.people.clear();
        self.newest_ns = None;
    }

    /// Assigns regions that are not groups to the remaining tracks, the best pair first.
    fn assign_one_to_one(&self, regions: &LargestRegions, assignment: &mut Assignment, capture_ns: u64) {
        loop {
            let mut best = (MIN_SCORE, None);
            for (t, track) in self.tracks.iter().enumerate().filter(|(t, _)| assignment.of_track[*t].is_none()) {
                for (r, region) in regions.iter().enumerate().filter(|(r, _)| !assignment.is_assigned(*r)) {
                    let score = score(track, region, capture_ns);
                    if score > best.0 {
                        best = (score, Some((t, r)));
                    }
                }
            }
            let Some((t, r)) = best.1 else { return };
            assignment.of_track[t] = Some(r);
        }
    }

    /// Moves the tracks to which region `index` is assigned to its position.
    fn update_members(
        &mut self,
        regions: &LargestRegions,
        assignment: &Assignment,
        index: usize,
        step_s: f32,
        capture_ns: u64,
    ) {
        let region = &regions.regions[index];
        let mut members = assignment.members(index);
        let Some(first) = members.next() else { return };
        if members.next().is_none() {
            let track = &mut self.tracks[first];
            track.size_alone = (region.bounds.width, region.bounds.height);
            track.move_to(region.bounds, region.confidence, true, step_s, capture_ns);
            return;
        }
        let parts = group::split(&self.tracks, assignment, index, &region.bounds);
        for (t, part) in parts.iter().enumerate() {
            if let Some(part) = part {
                self.tracks[t].move_to(*part, region.confidence, false, step_s, capture_ns);
            }
        }
    }

    /// Starts the track of a new person. If there is no free track, the new person replaces the one
    /// who has been hidden for the longest time.
    fn start_track(&mut self, region: &Region, capture_ns: u64) {
        if self.tracks.len() == MAX_PEOPLE {
            let hidden = self.tracks.iter().enumerate().filter(|(_, track)| !track.is_visible());
            let Some((oldest, _)) = hidden.min_by_key(|(_, track)| track.hidden_since_ns) else { return };
            self.tracks.remove(oldest);
        }
        let Some(id) = self.next_id else { return };
        self.next_id = id.checked_add(1);
        self.tracks.push(Track::new(id, region, capture_ns));
    }
}

#[cfg(test)]
mod tests;
