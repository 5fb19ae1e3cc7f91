//! Several windows: who shares one, and whose turn it is.
//!
//! People who are near each other, or large enough together, share a window. Each of the others has
//! one of their own, so that somebody small is large in the net's input. The windows take turns: the
//! one whose last pass is the oldest is next, of those in which something has changed.

use portraitd_media::UnitRect;

/// The largest number of windows.
pub(crate) const MAX_WINDOWS: usize = 8;

/// The largest number of boxes that are considered: people, and candidates.
const MAX_BOXES: usize = 24;

/// Two people do not share a window if the smaller one's box would fill less than this share of it
/// and two windows need less of the frame.
const MIN_FILL: f32 = 0.09;

/// People who share a window keep it while their limits are exceeded by less than this factor.
const STAY: f32 = 0.8;

/// People who share a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cluster {
    /// The box around them, in fractions of the frame.
    pub people: UnitRect,
    /// The area of the smallest person's box.
    smallest: f32,
    /// The window that they need.
    pub window: UnitRect,
}

/// At most [`MAX_BOXES`] clusters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clusters {
    all: [Cluster; MAX_BOXES],
    count: usize,
}

impl Clusters {
    /// Finds who shares a window. `window_for` is the window for a box; `together` tells whether two
    /// boxes are in one window now. At most `most` clusters remain.
    pub(super) fn of(
        boxes: impl Iterator<Item = UnitRect>,
        most: usize,
        window_for: impl Fn(&UnitRect) -> UnitRect,
        together: impl Fn(&UnitRect, &UnitRect) -> bool,
    ) -> Self {
        let mut clusters = Self { all: [Cluster::default(); MAX_BOXES], count: 0 };
        for people in boxes.filter(|bounds| !bounds.is_empty()).take(MAX_BOXES) {
            clusters.all[clusters.count] = Cluster { people, smallest: people.area(), window: window_for(&people) };
            clusters.count += 1;
        }
        while let Some((first, second)) = clusters.next_merge(most, &window_for, &together) {
            let (a, b) = (clusters.all[first], clusters.all[second]);
            let people = a.people.union(&b.people);
            clusters.all[first] = Cluster { people, smallest: a.smallest.min(b.smallest), window: window_for(&people) };
            clusters.count -= 1;
            clusters.all[second] = clusters.all[clusters.count];
        }
        clusters
    }

    pub(super) fn as_slice(&self) -> &[Cluster] {
        &self.all[..self.count]
    }

    /// Two clusters that are to share a window. If there are more than `most`, the two nearest.
    fn next_merge(
        &self,
        most: usize,
        window_for: &impl Fn(&UnitRect) -> UnitRect,
        together: &impl Fn(&UnitRect, &UnitRect) -> bool,
    ) -> Option<(usize, usize)> {
        let mut nearest = (f32::MAX, None);
        for (second, b) in self.as_slice().iter().enumerate() {
            for (first, a) in self.as_slice()[..second].iter().enumerate() {
                let both = a.people.union(&b.people);
                if share_a_window(a, b, window_for(&both).area(), together(&a.people, &b.people)) {
                    return Some((first, second));
                }
                if both.area() < nearest.0 {
                    nearest = (both.area(), Some((first, second)));
                }
            }
        }
        nearest.1.filter(|_| self.count > most)
    }
}

/// Whether two clusters share a window, whose area would be `area`.
fn share_a_window(a: &Cluster, b: &Cluster, area: f32, together: bool) -> bool {
    let stay = if together { STAY } else { 1.0 };
    // A window must not end on somebody.
    let cuts = !a.window.intersection(&b.people).is_empty() || !b.window.intersection(&a.people).is_empty();
    let is_cheaper = stay * area <= a.window.area() + b.window.area();
    let is_large_enough = a.smallest.min(b.smallest) >= stay * MIN_FILL * area;
    cuts || is_cheaper || is_large_enough
}

/// One of several windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spot {
    /// The window, in fractions of the frame.
    pub window: UnitRect,
    /// The box of the people in it.
    pub people: UnitRect,
    /// Capture time of the frame with its last pass.
    pub last_pass_ns: Option<u64>,
    /// Passes that are due although nothing moves.
    pub due: u8,
}

/// Several windows. Each keeps its slot for as long as it exists.
#[derive(Clone, Debug, Default)]
pub(super) struct Spots {
    slots: [Option<Spot>; MAX_WINDOWS],
}

impl Spots {
    pub(super) const fn slots(&self) -> &[Option<Spot>; MAX_WINDOWS] {
        &self.slots
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Spot> {
        self.slots.iter().flatten()
    }

    pub(super) fn clear(&mut self) {
        self.slots = [None; MAX_WINDOWS];
    }

    /// Replaces the windows by those for `clusters`. The window that overlaps a cluster most is
    /// updated by `update`, which is given its present state; there is none for a new window.
    pub(super) fn replace(&mut self, clusters: &[Cluster], update: impl Fn(&Cluster, Option<Spot>) -> Spot) {
        let before = std::mem::take(&mut self.slots);
        let mut taken = [false; MAX_WINDOWS];
        let mut waiting = [None; MAX_WINDOWS];
        for (cluster, waiting) in clusters.iter().take(MAX_WINDOWS).zip(&mut waiting) {
            let overlap = |spot: &Spot| spot.people.intersection(&cluster.people).area();
            let best = before.iter().enumerate().filter(|(slot, _)| !taken[*slot]);
            let best = best.filter_map(|(slot, spot)| Some((overlap(spot.as_ref()?), slot)));
            match best.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(overlap, _)| *overlap > 0.0) {
                Some((_, slot)) => {
                    taken[slot] = true;
                    self.slots[slot] = Some(update(cluster, before[slot]));
                }
                None => *waiting = Some(*cluster),
            }
        }
        for cluster in waiting.iter().flatten() {
            // A slot that was free before is preferred, so that nothing of its history is mixed up.
            let free = |slot: &usize| self.slots[*slot].is_none();
            let empty = (0..MAX_WINDOWS).filter(free).find(|slot| before[*slot].is_none());
            if let Some(slot) = empty.or_else(|| (0..MAX_WINDOWS).find(free)) {
                self.slots[slot] = Some(update(cluster, None));
            }
        }
    }

    /// Takes the turn of the window that waits for the longest time, of those in which something
    /// `has_changed`, or whose last pass is `refresh_ns` old. Returns its slot and area.
    pub(super) fn take_turn(
        &mut self,
        capture_ns: u64,
        refresh_ns: u64,
        has_changed: impl Fn(&UnitRect) -> bool,
    ) -> Option<(usize, UnitRect)> {
        let waits = |spot: &Spot| spot.last_pass_ns.map_or(u64::MAX, |then| capture_ns.saturating_sub(then));
        let needs = |spot: &Spot| spot.due > 0 || waits(spot) >= refresh_ns || has_changed(&spot.window);
        let spots = self.slots.iter().enumerate().filter_map(|(slot, spot)| Some((slot, spot.as_ref()?)));
        let (slot, _) =
            spots.filter(|(_, spot)| needs(spot)).max_by_key(|(slot, spot)| (waits(spot), usize::MAX - slot))?;
        let spot = self.slots[slot].as_mut()?;
        spot.last_pass_ns = Some(capture_ns);
        spot.due = spot.due.saturating_sub(1);
        Some((slot, spot.window))
    }
}
