//! Compares the people of a video with the truth of a scene: their number, their ids, whether the
//! crop contains their heads, and the quality of their masks by size and number.

use super::breakdown::{ByNumber, BySize, NumberRow, SizeRow, iou_around};
use super::masks::{iou, overlap};
use portraitd_media::{Size, UnitRect};
use portraitd_scene::ScenePerson;

/// Somebody of whom less than this share can be seen need not be found, and may be cut by the crop.
const MIN_VISIBLE: f32 = 0.5;

/// The least intersection over union of a person's box with the true one.
const MIN_OVERLAP: f32 = 0.3;

/// Counts, over the frames of one scene.
#[derive(Clone, Debug, Default)]
pub struct PeopleMeter {
    frames: usize,
    counted: usize,
    inside: usize,
    /// For each true person, the frames in which they can be seen, and how often each id was theirs.
    people: Vec<(usize, Vec<(u32, usize)>)>,
    by_size: BySize,
    by_number: ByNumber,
}

/// The figures of a scene.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PeopleSummary {
    /// The share of frames with the right number of people. Where somebody is more than half hidden,
    /// both numbers are right.
    pub counted: f64,
    /// The share of people, over all frames in which they can be seen, who are found and have the id
    /// that is theirs most often.
    pub ids_kept: f64,
    /// The number of different ids that people had.
    pub ids: usize,
    /// The share of frames whose crop contains the top of every head that can be seen.
    pub heads_inside: f64,
    /// Mean IoU around each person of whom at least half can be seen, by their visible height.
    pub iou_by_size: Vec<SizeRow>,
    /// Mean IoU of the frames with each number of people.
    pub iou_by_people: Vec<NumberRow>,
}

impl PeopleMeter {
    /// A meter that has seen no frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares one frame of `size` pixels. `found` are the ids and boxes of people, in fractions of
    /// the frame, and `crop` is the director's crop, in the same unit.
    pub fn add(&mut self, size: Size, truth: &[ScenePerson], found: &[(u32, UnitRect)], crop: UnitRect) {
        self.frames += 1;
        let seen = || truth.iter().filter(|person| person.visible >= MIN_VISIBLE);
        self.counted += usize::from((seen().count()..=truth.len()).contains(&found.len()));
        let top_is_inside = |person: &ScenePerson| {
            let head = person.head.to_fractions(size);
            let (x, _) = head.center();
            crop.y <= head.y + 1e-4 && head.y <= crop.bottom() && crop.x <= x && x <= crop.right()
        };
        self.inside += usize::from(seen().all(top_is_inside));
        let mut pairs: Vec<_> = seen()
            .flat_map(|person| found.iter().map(move |(id, bounds)| (person, *id, bounds)))
            .map(|(person, id, bounds)| (person.bounds.to_fractions(size).iou(bounds), person.id, id))
            .filter(|(overlap, ..)| *overlap >= MIN_OVERLAP)
            .collect();
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        for person in seen() {
            self.person(person.id).0 += 1;
        }
        while let Some((_, person, id)) = pairs.first().copied() {
            pairs.retain(|(_, other, other_id)| *other != person && *other_id != id);
            let ids = &mut self.person(person).1;
            match ids.iter_mut().find(|(known, _)| *known == id) {
                Some((_, frames)) => *frames += 1,
                None => ids.push((id, 1)),
            }
        }
    }

    /// Compares the mask of one frame of `size` pixels with its truth: both one byte per pixel,
    /// row-major, 0 = background to 255 = person.
    ///
    /// # Panics
    /// If the length of a mask is not the number of pixels of `size`.
    pub fn add_mask(&mut self, size: Size, people: &[ScenePerson], mask: &[u8], truth: &[u8]) {
        for person in people.iter().filter(|person| person.visible >= MIN_VISIBLE) {
            let height = f64::from(person.bounds.height) / f64::from(size.height);
            self.by_size.add(height, iou_around(mask, truth, size, person.bounds));
        }
        self.by_number.add(people.len(), iou(overlap(mask, truth)));
    }

    fn person(&mut self, id: usize) -> &mut (usize, Vec<(u32, usize)>) {
        if self.people.len() <= id {
            self.people.resize_with(id + 1, Default::default);
        }
        &mut self.people[id]
    }

    /// The figures of all frames so far. `None` if there are none.
    pub fn summary(&self) -> Option<PeopleSummary> {
        let share = |part: usize, whole: usize| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        let most = |ids: &[(u32, usize)]| ids.iter().map(|(_, frames)| *frames).max().unwrap_or(0);
        let kept = self.people.iter().map(|(_, ids)| most(ids)).sum();
        let mut ids: Vec<u32> = self.people.iter().flat_map(|(_, ids)| ids.iter().map(|(id, _)| *id)).collect();
        ids.sort_unstable();
        ids.dedup();
        (self.frames > 0).then(|| PeopleSummary {
            counted: share(self.counted, self.frames),
            ids_kept: share(kept, self.people.iter().map(|(frames, _)| *frames).sum()),
            ids: ids.len(),
            heads_inside: share(self.inside, self.frames),
            iou_by_size: self.by_size.rows(),
            iou_by_people: self.by_number.rows(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portraitd_media::PixelRect;

    const SIZE: Size = Size::new(100, 100);

    fn person(id: usize, x: f32, visible: f32) -> ScenePerson {
        let bounds = PixelRect::new(x, 20.0, 20.0, 60.0);
        ScenePerson { id, bounds, head: PixelRect::new(x + 5.0, 20.0, 10.0, 12.0), visible }
    }

    fn found(id: u32, x: f32) -> (u32, UnitRect) {
        (id, UnitRect::new(x / 100.0, 0.2, 0.2, 0.6))
    }

    #[test]
    fn ids_that_change_places_are_not_kept() {
        let mut meter = PeopleMeter::new();
        let truth = [person(0, 10.0, 1.0), person(1, 60.0, 1.0)];
        for frame in 0..10 {
            let (left, right) = if frame < 6 { (1, 2) } else { (2, 1) };
            meter.add(SIZE, &truth, &[found(left, 12.0), found(right, 58.0)], UnitRect::WHOLE);
        }
        let summary = meter.summary().expect("frames");
        assert_eq!((summary.counted, summary.ids_kept, summary.ids, summary.heads_inside), (1.0, 0.6, 2, 1.0));
    }

    #[test]
    fn people_who_are_missed_or_cut_count_and_hidden_ones_do_not() {
        let mut meter = PeopleMeter::new();
        let crop = UnitRect::new(0.0, 0.1, 0.9, 0.9);
        meter.add(SIZE, &[person(0, 10.0, 1.0), person(1, 30.0, 0.3)], &[found(1, 10.0)], crop);
        let summary = meter.summary().expect("a frame");
        assert_eq!((summary.counted, summary.ids_kept, summary.heads_inside), (1.0, 1.0, 1.0));
        meter.add(SIZE, &[person(0, 10.0, 1.0)], &[], UnitRect::new(0.0, 0.21, 1.0, 0.7));
        let summary = meter.summary().expect("frames");
        assert_eq!((summary.counted, summary.ids_kept, summary.heads_inside), (0.5, 0.5, 0.5));
        assert_eq!(PeopleMeter::new().summary(), None);
    }

    #[test]
    fn masks_are_scored_by_size_and_number() {
        let pixels = |columns: std::ops::Range<usize>| -> Vec<u8> {
            let is_person = |index: usize| columns.contains(&(index % 100)) && (20..80).contains(&(index / 100));
            (0..10_000).map(|index| if is_person(index) { 255 } else { 0 }).collect()
        };
        let mut meter = PeopleMeter::new();
        let truth = [person(0, 10.0, 1.0)];
        meter.add(SIZE, &truth, &[], UnitRect::WHOLE);
        meter.add_mask(SIZE, &truth, &pixels(10..20), &pixels(10..30));
        let summary = meter.summary().expect("a frame");
        let (size, number) = (&summary.iou_by_size[..], &summary.iou_by_people[..]);
        assert!(matches!(size, [SizeRow { from: 0.35, to: 0.7, iou: 0.5, count: 1 }]), "{size:?}");
        assert!(matches!(number, [NumberRow { people: 1, iou: 0.5, frames: 1 }]), "{number:?}");
    }
}
