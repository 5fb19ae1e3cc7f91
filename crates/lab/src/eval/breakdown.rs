//! IoU by the size of a person and by the number of people.

use portraitd_media::{PixelRect, Size};

use super::masks::{iou, overlap};

/// A person is in the next class from these heights on, as shares of the picture's height.
const CLASSES: [f64; 2] = [0.35, 0.7];

/// The mask of a person is compared with the truth in their box, which is larger by this share of its
/// sides on each side.
const MARGIN: f32 = 0.1;

/// The mean IoU of the people in one class of height.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SizeRow {
    /// The least height, as a share of the picture's.
    pub from: f64,
    /// The height at which the next class begins.
    pub to: f64,
    /// Mean IoU, 0 to 1.
    pub iou: f64,
    /// The number of people, over all frames.
    pub count: usize,
}

/// The mean IoU of the frames with one number of people.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct NumberRow {
    /// The number of people.
    pub people: usize,
    /// Mean IoU, 0 to 1.
    pub iou: f64,
    /// The number of frames.
    pub frames: usize,
}

/// A sum of values and their number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// IoU by the height of people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BySize {
    classes: [Mean; CLASSES.len() + 1],
}

impl BySize {
    /// Adds the IoU of somebody whose height is a share `height` of the picture's.
    pub fn add(&mut self, height: f64, iou: f64) {
        self.classes[CLASSES.partition_point(|from| *from <= height)].add(iou);
    }

    /// The classes in which there is somebody, the smallest people first.
    pub fn rows(&self) -> Vec<SizeRow> {
        let from = |class: usize| class.checked_sub(1).map_or(0.0, |before| CLASSES[before]);
        let to = |class: usize| CLASSES.get(class).copied().unwrap_or(1.0);
        let rows = self.classes.iter().enumerate();
        rows.filter_map(|(class, mean)| {
            Some(SizeRow { from: from(class), to: to(class), iou: mean.value()?, count: mean.count })
        })
        .collect()
    }
}

impl SizeRow {
    /// The class in words.
    pub fn label(&self) -> String {
        let percent = |share: f64| (share * 100.0).round();
        match (self.from, self.to) {
            (0.0, to) => format!("height below {} %", percent(to)),
            (from, 1.0) => format!("height from {} %", percent(from)),
            (from, to) => format!("height {} to {} %", percent(from), percent(to)),
        }
    }
}

/// IoU by the number of people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByNumber {
    /// By the number of people.
    numbers: Vec<Mean>,
}

impl ByNumber {
    /// Adds the IoU of a frame with `people` people.
    pub fn add(&mut self, people: usize, iou: f64) {
        if self.numbers.len() <= people {
            self.numbers.resize(people + 1, Mean::default());
        }
        self.numbers[people].add(iou);
    }

    /// The numbers that occurred, in ascending order.
    pub fn rows(&self) -> Vec<NumberRow> {
        let rows = self.numbers.iter().enumerate();
        rows.filter_map(|(people, mean)| Some(NumberRow { people, iou: mean.value()?, frames: mean.count })).collect()
    }
}

impl NumberRow {
    /// The number in words.
    pub fn label(&self) -> String {
        match self.people {
            0 => "nobody".to_owned(),
            1 => "one person".to_owned(),
            people => format!("{people} people"),
        }
    }
}

/// IoU of `mask` and `truth`, of `size` pixels, around the box `bounds` of one person.
pub fn iou_around(mask: &[u8], truth: &[u8], size: Size, bounds: PixelRect) -> f64 {
    let width = size.width as usize;
    let part = bounds.expanded(MARGIN * bounds.width, MARGIN * bounds.height);
    let place = |at: f32, most: u32| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the size of a picture")]
        let place = at.round().clamp(0.0, most as f32) as usize;
        place
    };
    let columns = place(part.x, size.width)..place(part.right(), size.width);
    let rows = place(part.y, size.height)..place(part.bottom(), size.height);
    let (mut both, mut either) = (0, 0);
    for row in rows {
        let pixels = row * width + columns.start..row * width + columns.end;
        let (in_both, in_either) = overlap(&mask[pixels.clone()], &truth[pixels]);
        both += in_both;
        either += in_either;
    }
    iou((both, either))
}

/// The height of the person pixels of `truth`, of `size` pixels, as a share of the picture's height;
/// `None` if there are none.
pub fn height_of(truth: &[u8], size: Size) -> Option<f64> {
    let has_person = |row: &[u8]| row.iter().any(|value| *value >= 128);
    let mut rows = truth.chunks_exact(size.width.max(1) as usize);
    let first = rows.clone().position(has_person)?;
    let last = rows.rposition(has_person)?;
    Some((last + 1 - first) as f64 / f64::from(size.height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_in_the_class_of_their_height() {
        let mut by_size = BySize::default();
        for (height, iou) in [(0.1, 0.5), (0.3, 0.7), (0.35, 0.8), (0.7, 0.9), (1.2, 1.0)] {
            by_size.add(height, iou);
        }
        let rows: Vec<_> =
            by_size.rows().iter().map(|row| (row.label(), (row.iou * 100.0).round(), row.count)).collect();
        let expected = [("height below 35 %", 60.0, 2), ("height 35 to 70 %", 80.0, 1), ("height from 70 %", 95.0, 2)];
        assert_eq!(rows, expected.map(|(label, iou, count)| (label.to_owned(), iou, count)));
        assert_eq!(BySize::default().rows(), []);
    }

    #[test]
    fn frames_are_counted_by_their_number_of_people() {
        let mut by_number = ByNumber::default();
        for (people, iou) in [(3, 0.5), (0, 1.0), (3, 0.7)] {
            by_number.add(people, iou);
        }
        let rows: Vec<_> = by_number.rows().iter().map(|row| (row.label(), row.frames)).collect();
        assert_eq!(rows, [("nobody".to_owned(), 1), ("3 people".to_owned(), 2)]);
    }

    #[test]
    fn a_person_is_scored_around_their_box() {
        let size = Size::new(20, 10);
        let pixels = |of: fn(usize, usize) -> bool| {
            (0..200).map(|index| if of(index % 20, index / 20) { 255 } else { 0 }).collect::<Vec<u8>>()
        };
        let truth = pixels(|x, y| x < 5 && (2..8).contains(&y));
        // The other half of the picture is wrong, which is nothing to this person.
        let mask = pixels(|x, y| (x < 5 && (2..5).contains(&y)) || x > 10);
        assert_eq!(iou_around(&mask, &truth, size, PixelRect::new(0.0, 2.0, 5.0, 6.0)), 0.5);
        assert_eq!(iou_around(&truth, &truth, size, PixelRect::new(-5.0, -5.0, 90.0, 90.0)), 1.0);
        assert_eq!(height_of(&truth, size), Some(0.6));
        assert_eq!(height_of(&[0; 200], size), None);
    }
}
