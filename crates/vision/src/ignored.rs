//! Which cells of a mask belong to people who are ignored.

use portraitd_media::{PixelRect, Size, UnitRect};

use crate::label::{Connectivity, Labels};
use crate::mask::THRESHOLD;
use crate::observation::IGNORED;
use crate::tracker::TrackedPerson;

/// Cells from this probability can be seen in a composite. The others belong to nobody.
const VISIBLE: f32 = 0.02;

/// To whom a connected part of a mask belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Shown,
    Ignored,
    /// To people of both kinds, who touch. The cell's place decides. Where that does not, the cell
    /// is treated as the person with the largest overlap.
    Both {
        ignored: bool,
    },
}

/// Marks the cells of ignored people. Allocates only when the size of the mask changes.
#[derive(Debug, Default)]
pub(crate) struct IgnoredCells {
    labels: Labels,
    /// The box of each component in cells (left, top, right, bottom), at the index of its root;
    /// empty at other indices.
    boxes: Vec<[u32; 4]>,
    owners: Vec<Owner>,
}

impl IgnoredCells {
    /// Sets `origins` to [`IGNORED`] for each cell of `mask`, which covers `covers` of a frame of
    /// `frame` pixels, that belongs to a person for whom `ignored` is true.
    ///
    /// A connected part of the mask belongs to the people whose boxes overlap its box; a part
    /// without such people is judged by its own box.
    pub(crate) fn mark(
        &mut self,
        (mask, size): (&[f32], Size),
        (covers, frame): (PixelRect, Size),
        people: &[TrackedPerson],
        ignored: impl Fn(&TrackedPerson) -> bool,
        origins: &mut [u8],
    ) {
        let (width, height) = (size.width.max(1) as f32, size.height.max(1) as f32);
        // The box of cells in fractions of the frame.
        let to_frame = |[left, top, right, bottom]: [f32; 4]| {
            let (wide, high) = (covers.width / width, covers.height / height);
            PixelRect::new(covers.x + left * wide, covers.y + top * high, (right - left) * wide, (bottom - top) * high)
                .to_fractions(frame)
        };
        let runs = self.labels.find(mask, size, Connectivity::Eight, |value| value >= VISIBLE);
        self.boxes.clear();
        self.boxes.resize(runs.len(), [u32::MAX, u32::MAX, 0, 0]);
        for run in runs {
            let [left, top, right, bottom] = &mut self.boxes[run.root as usize];
            (*left, *top) = ((*left).min(run.start), (*top).min(run.row));
            (*right, *bottom) = ((*right).max(run.end), (*bottom).max(run.row + 1));
        }
        self.owners.clear();
        self.owners.extend(self.boxes.iter().map(|cells| {
            if cells[0] >= cells[2] {
                return Owner::Shown;
            }
            let bounds = to_frame(cells.map(|cell| cell as f32));
            let (mut shown, mut hidden) = (0.0_f32, 0.0_f32);
            for person in people {
                let overlap = person.bounds.intersection(&bounds).area();
                let kind = if ignored(person) { &mut hidden } else { &mut shown };
                *kind = kind.max(overlap);
            }
            match (shown > 0.0, hidden > 0.0) {
                (true, true) => Owner::Both { ignored: hidden >= shown },
                (true, false) => Owner::Shown,
                (false, true) => Owner::Ignored,
                (false, false) if ignored(&TrackedPerson { id: 0, bounds, confidence: THRESHOLD }) => Owner::Ignored,
                (false, false) => Owner::Shown,
            }
        }));
        for run in runs {
            match self.owners[run.root as usize] {
                Owner::Shown => {}
                Owner::Ignored => origins[run.range(size.width)].fill(IGNORED),
                Owner::Both { ignored: mostly } => {
                    for (column, origin) in (run.start..run.end).zip(&mut origins[run.range(size.width)]) {
                        let (x, y) = (column as f32, run.row as f32);
                        let (x, y) = to_frame([x, y, x + 1.0, y + 1.0]).center();
                        let within = |bounds: &UnitRect| {
                            x >= bounds.x && x <= bounds.right() && y >= bounds.y && y <= bounds.bottom()
                        };
                        let within_any =
                            |kind: bool| people.iter().any(|person| ignored(person) == kind && within(&person.bounds));
                        let hide = match (within_any(true), within_any(false)) {
                            (true, false) => true,
                            (false, true) => false,
                            _ => mostly,
                        };
                        if hide {
                            *origin = IGNORED;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size::new(20, 10);

    fn person(x: f32, width: f32) -> TrackedPerson {
        TrackedPerson { id: 1, bounds: UnitRect::new(x, 0.2, width, 0.8), confidence: 0.9 }
    }

    /// Marks a mask whose rows are all as `row` says, with zones to the right of the middle. The
    /// mask covers the right half of the frame or the whole frame.
    fn marked(row: &str, covers: PixelRect, people: &[TrackedPerson]) -> String {
        let mask: Vec<f32> = row.bytes().cycle().take(200).map(|cell| if cell == b'#' { 0.9 } else { 0.0 }).collect();
        let mut origins = vec![0; 200];
        let ignored = |person: &TrackedPerson| person.bounds.center().0 > 0.5;
        IgnoredCells::default().mark((&mask, SIZE), (covers, Size::new(200, 100)), people, ignored, &mut origins);
        // The sixth row.
        origins[100..120].iter().map(|origin| if *origin == IGNORED { 'x' } else { '.' }).collect()
    }

    #[test]
    fn parts_of_ignored_people_are_marked() {
        let whole = PixelRect::new(0.0, 0.0, 200.0, 100.0);
        let people = [person(0.1, 0.2), person(0.7, 0.2)];
        assert_eq!(marked("..####........####..", whole, &people), "..............xxxx..");
        let half = PixelRect::new(100.0, 0.0, 100.0, 100.0);
        assert_eq!(marked("....####........####", half, &people), "....xxxx........xxxx", "right of the middle");
        assert_eq!(marked("....####......######", whole, &people[..1]), "..............xxxxxx", "nobody's part");
    }

    #[test]
    fn people_who_touch_are_told_apart_by_their_boxes() {
        let whole = PixelRect::new(0.0, 0.0, 200.0, 100.0);
        let people = [person(0.2, 0.25), person(0.5, 0.4)];
        assert_eq!(marked("....##############..", whole, &people), ".........xxxxxxxxx..");
    }
}
