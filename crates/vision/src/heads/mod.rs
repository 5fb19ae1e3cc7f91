//! Heads: how many people a region of the mask is.
//!
//! A mask shows where people are, and not how many. A face detector looks at the people who are known,
//! one square of the frame after the other, and only now and then: a pass of its net takes as long as
//! four of the segmentation net. Where a region of the mask contains several heads, it is divided
//! between them ([`crate::RegionFinder::find_between`]). The tracker then knows each of them, and keeps
//! them apart in the masks that follow.
//!
//! The detector finds faces and says nothing about whose they are. Who turns their back is seen by the
//! mask alone. `docs/design/heads.md` has the reasons and the figures.

mod detector;

use portraitd_media::{Picture, PixelRect, Size, UnitRect};

pub use detector::HeadDetector;

use crate::observer::ObserveError;
use crate::regions::Seed;

/// The time from one look to the next, unless the observer's owner sets another one.
const LOOK_INTERVAL_NS: u64 = 400_000_000;
/// While the heads of somebody new are not known yet, this number of looks has that time.
const HURRY: u64 = 6;
/// How much longer that time is while everybody is apart from the others.
const APART: u64 = 5;
/// Of this number of rounds, one is of all squares. The others are of those with several heads.
const ROUNDS: u32 = 3;
/// The looks of each square after somebody new was found.
const FIRST_LOOKS: usize = 3;
/// The most squares that are looked at in turn.
const MAX_SQUARES: usize = 12;
/// The most heads that are remembered.
pub(crate) const MAX_HEADS: usize = 32;
/// A head that was not seen for this number of intervals is not used.
const MAX_AGE: u64 = 4;
/// A head divides a region after it was seen in this number of looks.
const MIN_LOOKS: u32 = 2;
/// The height of a square, as a share of the people in it.
const SQUARE_HEIGHT: f32 = 1.1;
/// The part of a square that the next one does not show, at least, as a share of its side. A head on
/// the edge of one is then inside the other.
const STEP: f32 = 0.7;
/// The same head in two looks is at most this share of its width away.
const SAME_HEAD: f32 = 0.8;
/// The height of head and upper body, as a multiple of the height of the face.
const BODY: f32 = 4.0;
/// The height of the hair above the box of a face, as a share of the box.
const HAIR: f32 = 0.4;

/// A head, found by its face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// The box of the face, from the eyebrows to the chin, in fractions of the frame.
    pub face: UnitRect,
    /// How certain the detector is, 0.5..=1.
    pub score: f32,
}

#[derive(Clone, Copy, Debug)]
struct KnownHead {
    head: Head,
    /// Capture time of the frame in which it was seen last.
    seen_ns: u64,
    /// The number of looks that have shown it.
    looks: u32,
}

/// Looks for heads, and remembers them.
#[derive(Debug)]
pub(crate) struct Heads {
    detector: HeadDetector,
    interval_ns: u64,
    known: Vec<KnownHead>,
    /// The boxes of the people in this round, and the squares.
    boxes: Vec<UnitRect>,
    squares: Vec<UnitRect>,
    /// Index of the square that is next.
    next: usize,
    last_look_ns: Option<u64>,
    /// Rounds of squares so far.
    rounds: u32,
    /// Whether several people are in one square, or boxes overlap.
    is_crowded: bool,
    /// The number of first looks that are due.
    first_looks: usize,
    /// The largest id of a person who was known at the last look.
    newest_id: u32,
    /// The number of people in the last frame, and the capture time of the last one in which it fell
    /// and a look followed at once.
    count: usize,
    fell_ns: Option<u64>,
    /// Whether a look has shown something that no mask has been divided by yet.
    is_fresh: bool,
}

impl Heads {
    pub(crate) fn new(detector: HeadDetector) -> Self {
        Self {
            detector,
            interval_ns: LOOK_INTERVAL_NS,
            known: Vec::with_capacity(MAX_HEADS),
            boxes: Vec::new(),
            squares: Vec::with_capacity(MAX_SQUARES),
            next: 0,
            last_look_ns: None,
            rounds: 0,
            is_crowded: false,
            first_looks: 0,
            newest_id: 0,
            count: 0,
            fell_ns: None,
            is_fresh: false,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.known.clear();
        self.squares.clear();
        (self.last_look_ns, self.first_looks, self.is_fresh, self.is_crowded) = (None, 0, false, false);
    }

    /// Sets the least time from one look to the next while several people are near each other.
    pub(crate) const fn set_interval(&mut self, interval_ns: u64) {
        self.interval_ns = interval_ns;
    }

    pub(crate) fn into_detector(self) -> HeadDetector {
        self.detector
    }

    /// The square of the frame to look at now, if it is time. `people` are the ids and boxes of those
    /// who are known.
    pub(crate) fn next_square(
        &mut self,
        people: impl Iterator<Item = (u32, UnitRect)> + Clone,
        frame: Size,
        capture_ns: u64,
    ) -> Option<UnitRect> {
        let count = people.clone().count();
        let fell = count < std::mem::replace(&mut self.count, count);
        let newest = people.clone().map(|(id, _)| id).max()?;
        let is_new = newest > self.newest_id;
        // Somebody has left, or the mask of a group has changed so that the tracker has lost them.
        let pause_ns = APART.saturating_mul(self.interval_ns);
        if fell && self.is_crowded && self.fell_ns.is_none_or(|then| capture_ns.saturating_sub(then) >= pause_ns) {
            self.fell_ns = Some(capture_ns);
            self.next_round(frame, false);
            self.first_looks = self.squares.len();
        }
        let interval_ns = match self.is_crowded {
            _ if is_new || self.first_looks > 0 => self.interval_ns / HURRY,
            true => self.interval_ns,
            false => self.interval_ns.saturating_mul(APART),
        };
        let since = self.last_look_ns.map_or(u64::MAX, |then| capture_ns.saturating_sub(then));
        if since < interval_ns {
            return None;
        }
        if self.next >= self.squares.len() || is_new {
            self.boxes.clear();
            self.boxes.extend(people.map(|(_, bounds)| bounds));
            self.next_round(frame, is_new);
        }
        if is_new {
            self.newest_id = newest;
            self.first_looks = FIRST_LOOKS * self.squares.len();
        }
        let square = self.squares.get(self.next).copied()?;
        self.next += 1;
        self.first_looks = self.first_looks.saturating_sub(1);
        self.last_look_ns = Some(capture_ns);
        Some(square)
    }

    /// Chooses the squares of the next round.
    fn next_round(&mut self, frame: Size, is_new: bool) {
        self.next = 0;
        self.rounds = self.rounds.wrapping_add(1);
        let boxes = &self.boxes;
        let overlaps = boxes
            .iter()
            .enumerate()
            .any(|(index, bounds)| boxes[..index].iter().any(|other| !other.intersection(bounds).is_empty()));
        // Somebody whom the mask misses now is looked at nevertheless.
        let people = self.boxes.len();
        self.boxes.extend(self.known.iter().filter(|known| known.looks >= MIN_LOOKS).map(|known| body(&known.head)));
        squares(&self.boxes, frame, &mut self.squares);
        self.boxes.truncate(people);
        let known = &self.known;
        let heads = |square: &UnitRect| known.iter().filter(|known| square.contains(&known.head.face, 0.0)).count();
        let has_several = self.squares.iter().any(|square| heads(square) > 1);
        if has_several && !is_new && self.first_looks == 0 && !self.rounds.is_multiple_of(ROUNDS) {
            self.squares.retain(|square| heads(square) > 1);
        }
        self.is_crowded = has_several || overlaps;
    }

    /// Looks at `square` of the picture.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails.
    pub(crate) fn look(
        &mut self,
        picture: &Picture<'_>,
        square: UnitRect,
        capture_ns: u64,
    ) -> Result<(), ObserveError> {
        let found = self.detector.detect(picture, square)?;
        let max_age_ns = MAX_AGE.saturating_mul(self.interval_ns);
        remember(&mut self.known, found, &square, capture_ns, max_age_ns);
        self.is_crowded |= found.len() > 1;
        self.is_fresh = true;
        Ok(())
    }

    /// The heads that divide the next mask, if something was seen since the last one: cells of a grid of
    /// `size` that covers `covers`, in pixels of a frame of `frame` pixels.
    pub(crate) fn seeds(&mut self, covers: PixelRect, size: Size, frame: Size, capture_ns: u64, seeds: &mut Vec<Seed>) {
        seeds.clear();
        if !std::mem::take(&mut self.is_fresh) {
            return;
        }
        let max_age_ns = MAX_AGE.saturating_mul(self.interval_ns);
        let recent = |known: &&KnownHead| capture_ns.saturating_sub(known.seen_ns) <= max_age_ns;
        let known = self.known.iter().filter(recent).filter(|known| known.looks >= MIN_LOOKS);
        seeds.extend(known.map(|known| seed(&known.head, covers, size, frame)));
    }

    /// The heads of the people in these boxes, in fractions of a single picture.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails.
    pub(crate) fn look_at_all(
        &mut self,
        picture: &Picture<'_>,
        people: &[UnitRect],
    ) -> Result<Vec<Head>, ObserveError> {
        squares(people, picture.size(), &mut self.squares);
        let mut all: Vec<Head> = Vec::new();
        for square in &self.squares {
            for head in self.detector.detect(picture, *square)? {
                if !all.iter().any(|known| is_same(&known.face, &head.face)) {
                    all.push(*head);
                }
            }
        }
        Ok(all)
    }
}

/// A head in a mask on a grid of `size` that covers `covers`, in pixels of a frame of `frame` pixels.
pub(crate) fn seed(head: &Head, covers: PixelRect, size: Size, frame: Size) -> Seed {
    let (wide, high) = (size.width as f32 / covers.width, size.height as f32 / covers.height);
    let face = head.face.to_pixels(frame);
    let (x, y) = face.center();
    Seed {
        x: (x - covers.x) * wide,
        y: (y - covers.y) * high,
        top: (face.y - HAIR * face.height - covers.y) * high,
        width: face.width * wide,
        height: face.height * high,
    }
}

/// The box of the upper body below a head, in fractions of the frame.
fn body(head: &Head) -> UnitRect {
    let UnitRect { x, y, width, height } = head.face;
    let top = y - HAIR * height;
    UnitRect::new(x - width, top, 3.0 * width, BODY * height).intersection(&UnitRect::WHOLE)
}

/// Whether two boxes are of the same face.
fn is_same(a: &UnitRect, b: &UnitRect) -> bool {
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    (ax - bx).abs() <= SAME_HEAD * a.width.max(b.width) && (ay - by).abs() <= SAME_HEAD * a.height.max(b.height)
}

/// Takes what a look at `square` has `found`. Heads inside the square that were not found again are
/// forgotten, and all that are older than `max_age_ns`.
fn remember(known: &mut Vec<KnownHead>, found: &[Head], square: &UnitRect, seen_ns: u64, max_age_ns: u64) {
    for head in found {
        let before = known.iter().position(|old| old.seen_ns != seen_ns && is_same(&old.head.face, &head.face));
        let looks = before.map_or(0, |index| known.swap_remove(index).looks) + 1;
        if known.len() < MAX_HEADS {
            known.push(KnownHead { head: *head, seen_ns, looks });
        }
    }
    known.retain(|old| {
        let is_inside = square.contains(&old.head.face, 0.0);
        seen_ns.saturating_sub(old.seen_ns) <= max_age_ns && (old.seen_ns == seen_ns || !is_inside)
    });
}

/// The squares, in pixels, that show the heads of people in these boxes, in fractions of the frame.
/// People whose boxes overlap share a row of squares.
fn squares(people: &[UnitRect], frame: Size, squares: &mut Vec<UnitRect>) {
    squares.clear();
    let (wide, high) = (frame.width.max(1) as f32, frame.height.max(1) as f32);
    for (index, bounds) in people.iter().enumerate() {
        let row = row_of(bounds, people);
        if people[..index].iter().any(|earlier| row_of(earlier, people) == row) {
            continue;
        }
        let side = (SQUARE_HEIGHT * row.height * high).clamp(16.0_f32.min(high), wide.min(high));
        let (row_wide, overlap) = (row.width * wide, (1.0 - STEP) * side);
        let count = ((row_wide - overlap) / (side - overlap)).ceil().clamp(1.0, MAX_SQUARES as f32);
        let top = (row.y * high - 0.5 * (SQUARE_HEIGHT - 1.0) * row.height * high).clamp(0.0, high - side);
        let (first, last) = (row.x * wide, (row.x + row.width) * wide - side);
        let mut place = 0.0;
        while place < count && squares.len() < MAX_SQUARES {
            let left = if count > 1.0 { first + (last - first) * place / (count - 1.0) } else { 0.5 * (first + last) };
            let left = left.clamp(0.0, wide - side);
            squares.push(PixelRect::new(left, top, side, side).to_fractions(frame));
            place += 1.0;
        }
    }
}

/// The box around everybody whose boxes overlap `bounds`, directly or through others.
fn row_of(bounds: &UnitRect, people: &[UnitRect]) -> UnitRect {
    let mut row = *bounds;
    loop {
        let touching = people.iter().filter(|other| !other.intersection(&row).is_empty());
        let wider = touching.fold(row, |all, other| all.union(other));
        if wider == row {
            return row;
        }
        row = wider;
    }
}

#[cfg(test)]
mod tests;
