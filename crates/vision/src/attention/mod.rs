//! Attention: chooses the inference pass for each frame, if any.
//!
//! The net sees people larger in a window around them than in the whole frame, so most passes are
//! on the window. Checks of the whole frame find people who enter elsewhere. Each frame gets at
//! most one [`Pass`].
//!
//! | state | passes |
//! |---|---|
//! | nobody is known | [`Pass::FullFrame`] and [`Pass::Tile`] in turn |
//! | people fill most of the frame | [`Pass::FullFrame`] |
//! | people are in a window | [`Pass::Window`], and sometimes [`Pass::FullFrameCheck`] |
//! | small people are far apart | [`Pass::Part`] on one window after the other, and the same checks |
//!
//! A check runs once a second, or when something moves outside the window, but at most on
//! every third frame. A person who is found in
//! a tile, or outside the window by a check, is a candidate. The next window pass covers the
//! candidate and confirms or rejects it. While nothing moves, there is only one pass per 0.9 s.
//!
//! The module is pure: time is the capture timestamp. Rectangles are fractions of the frame. The
//! document `docs/design/attention.md` gives the reasons and measurements.

mod windows;

use portraitd_media::{Size, UnitRect};
use windows::{Cluster, Clusters, Spot, Spots};

pub(crate) use windows::MAX_WINDOWS;

use crate::motion_gate::MotionDetector;
use crate::window::{MARGIN_X, MARGIN_Y, cell_aspect, window_around};

/// If a window needs at least this share of the frame, full-frame passes replace window passes.
pub(crate) const FULL_FRAME_FROM: f32 = 0.75;
/// Window passes return when the window needs less than this share of the frame.
const WINDOW_BELOW: f32 = 0.6;
/// A window stays in place while this share of the margins remains free around the people ...
const MIN_MARGIN: f32 = 0.35;
/// ... and its area is at most this many times the area that the people need.
const MAX_SLACK: f32 = 1.6;

/// The interval of passes while nothing moves. It must be shorter than the gap after which the
/// smoothing discards its history.
const REFRESH_NS: u64 = 900_000_000;
/// The longest interval between passes on the whole frame.
const CHECK_INTERVAL_NS: u64 = 1_000_000_000;
/// The shortest interval between checks that motion outside the window causes. Without it, a fan
/// would take every second pass.
const MOTION_CHECK_INTERVAL_NS: u64 = 250_000_000;
/// The least number of other frames between two checks. On a board that does few passes per second,
/// checks would otherwise take every pass, and the mask would never be made again.
const FRAMES_BETWEEN_CHECKS: u32 = 2;
/// The interval of passes while nobody is known and nothing moves.
const SCAN_INTERVAL_NS: u64 = 450_000_000;
/// The number of window passes that follow when somebody is found, even if nothing moves: the pass
/// that found them showed them small. The second of these passes has a better window.
const PASSES_AFTER_FIND: u8 = 2;
/// After a longer gap between frames, or a step back in time, everything is forgotten.
const RESET_GAP_NS: u64 = 2_500_000_000;
/// People whose boxes are remembered, at most.
const MAX_PEOPLE: usize = 16;

/// The tiles of a scan, in order. The lower part of the frame comes first, because people stand on
/// the ground.
pub(crate) const TILES: [UnitRect; 6] = [
    UnitRect::new(0.2, 0.25, 0.6, 0.75),
    UnitRect::new(0.0, 0.25, 0.6, 0.75),
    UnitRect::new(0.4, 0.25, 0.6, 0.75),
    UnitRect::new(0.25, 0.0, 0.5, 0.6),
    UnitRect::new(0.0, 0.0, 0.5, 0.6),
    UnitRect::new(0.5, 0.0, 0.5, 0.6),
];

/// The tiles of a scan in which small people are large: upright, side by side. They follow [`TILES`].
const UPRIGHT_TILES: [UnitRect; 5] = [
    UnitRect::new(0.0, 0.2, 0.3, 0.8),
    UnitRect::new(0.7, 0.2, 0.3, 0.8),
    UnitRect::new(0.35, 0.2, 0.3, 0.8),
    UnitRect::new(0.175, 0.2, 0.3, 0.8),
    UnitRect::new(0.525, 0.2, 0.3, 0.8),
];
const TILE_COUNT: usize = TILES.len() + UPRIGHT_TILES.len();

/// No tiles are scanned beside somebody who is at least this tall, as a share of the frame's height:
/// the whole frame shows everybody who is not much smaller.
const TALL: f32 = 0.5;
/// The least height of a candidate in a tile, as a share of the tallest person's.
const MIN_CANDIDATE_HEIGHT: f32 = 0.5;

/// The inference pass for a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pass {
    /// No pass: the previous mask is retained.
    Keep,
    /// A pass on the whole frame. Its result is the mask.
    FullFrame,
    /// A pass on this part of the frame. Its result is the mask; outside the window there is
    /// nobody.
    Window(UnitRect),
    /// A pass on one of several windows. Its result is a part of the mask.
    Part {
        /// The number of the window. It stays the same while the window exists.
        slot: usize,
        /// The window.
        area: UnitRect,
    },
    /// A pass on the whole frame that looks for people outside the window. The mask is retained.
    FullFrameCheck,
    /// A pass on this part of the frame that looks for people outside the windows. The mask is
    /// retained.
    TileCheck(UnitRect),
    /// A pass on this part of the frame that looks for people while nobody is known. The mask is
    /// retained.
    Tile(UnitRect),
}

impl Pass {
    /// The part of the frame that the net sees, in fractions of the frame.
    pub(crate) const fn area(self) -> UnitRect {
        match self {
            Self::Window(area) | Self::Part { area, .. } | Self::Tile(area) | Self::TileCheck(area) => area,
            Self::Keep | Self::FullFrame | Self::FullFrameCheck => UnitRect::WHOLE,
        }
    }

    /// Whether the result of the pass is the mask.
    pub(crate) const fn makes_mask(self) -> bool {
        matches!(self, Self::FullFrame | Self::Window(_) | Self::Part { .. })
    }
}

/// What is known about the people in the frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Focus {
    /// Nobody is known.
    Nobody,
    /// People fill most of the frame.
    FullFrame,
    /// People are in this window.
    Window(UnitRect),
    /// People are in several windows.
    Several,
}

/// Chooses the inference passes for one camera.
#[derive(Clone, Debug)]
pub struct Attention {
    /// The size of the net's mask, in cells.
    grid: Size,
    /// The width of a cell divided by its height, in pixels of the frame, if the grid covers the
    /// whole frame.
    cell_aspect: f32,
    focus: Focus,
    /// The windows of [`Focus::Several`].
    spots: Spots,
    /// The boxes of the people in the last mask.
    people: Vec<UnitRect>,
    /// The largest number of windows that may take turns.
    most_windows: usize,
    /// Capture time of the newest frame.
    newest_ns: Option<u64>,
    /// Capture time of the frame with the last pass.
    last_pass_ns: Option<u64>,
    /// Capture time of the frame with the last pass on the whole frame.
    last_full_frame_ns: Option<u64>,
    /// Observed frames since the last pass on the whole frame.
    frames_since: u32,
    /// Observed frames since the last check of the frame or a tile.
    frames_since_check: u32,
    /// Index of the next tile.
    next_tile: usize,
    /// Whether the next pass is on a tile while nobody is known.
    tile_is_next: bool,
    /// Window passes that are due although nothing moves.
    due: u8,
    /// Tiles that are due at the start, and after somebody was found.
    tiles_due: usize,
    /// Capture time of the frame with the last [`Pass::TileCheck`].
    last_tile_ns: Option<u64>,
}

impl Attention {
    /// An attention for a net with a mask of `grid` cells. Nobody is known.
    pub fn new(grid: Size) -> Self {
        Self {
            grid,
            cell_aspect: 1.0,
            focus: Focus::Nobody,
            spots: Spots::default(),
            people: Vec::with_capacity(MAX_PEOPLE),
            most_windows: 1,
            newest_ns: None,
            last_pass_ns: None,
            last_full_frame_ns: None,
            frames_since: 0,
            frames_since_check: 0,
            next_tile: 0,
            tile_is_next: false,
            due: 0,
            tiles_due: TILE_COUNT,
            last_tile_ns: None,
        }
    }

    /// Forgets everything: the next pass is on the whole frame.
    pub fn reset(&mut self) {
        let mut people = std::mem::take(&mut self.people);
        people.clear();
        *self = Self { people, most_windows: self.most_windows, ..Self::new(self.grid) };
    }

    /// Sets how many windows may take turns, 1 to 8. With one, every mask is made in one pass.
    pub fn set_most_windows(&mut self, most: usize) {
        self.most_windows = most.clamp(1, MAX_WINDOWS);
        if self.most_windows == 1 && self.focus == Focus::Several {
            let all = self.spots.iter().fold(UnitRect::default(), |all, spot| all.union(&spot.people));
            self.focus_on(&all);
        }
    }

    /// The windows that take turns, by their slots. There are none if one pass makes the mask.
    pub(crate) fn windows(&self) -> [Option<UnitRect>; MAX_WINDOWS] {
        self.spots.slots().map(|spot| spot.map(|spot| spot.window))
    }

    /// Chooses the pass for the frame of `frame` pixels that was captured at `capture_ns`. The
    /// caller runs the pass and then calls [`Self::report`], unless the pass is [`Pass::Keep`].
    pub fn next_pass(&mut self, frame: Size, capture_ns: u64, motion: &MotionDetector) -> Pass {
        let step_ns = self.newest_ns.and_then(|newest| capture_ns.checked_sub(newest));
        if step_ns.is_none_or(|step_ns| step_ns > RESET_GAP_NS) {
            self.reset();
        }
        self.newest_ns = Some(capture_ns);
        self.cell_aspect = cell_aspect(frame, self.grid);

        let since = |then: Option<u64>| then.map_or(u64::MAX, |then| capture_ns.saturating_sub(then));
        let (since_pass, since_full_frame) = (since(self.last_pass_ns), since(self.last_full_frame_ns));
        let still = motion.is_still();
        let scans_all = self.most_windows > 1 && self.tiles_due > 0;
        let pass = match self.focus {
            Focus::Nobody if since_full_frame == u64::MAX => Pass::FullFrame,
            Focus::Nobody if still && since_pass < SCAN_INTERVAL_NS && !scans_all => Pass::Keep,
            Focus::Nobody if self.tile_is_next || (still && scans_all) => {
                self.tiles_due = self.tiles_due.saturating_sub(1);
                let moved = motion.changed_bounds().filter(|bounds| !still && bounds.area() < WINDOW_BELOW);
                Pass::Tile(match moved {
                    Some(moved) => self.window_for(&moved),
                    None => self.advance_tile(),
                })
            }
            Focus::Nobody => Pass::FullFrame,
            _ => match self.check(capture_ns, motion) {
                Some(check) => check,
                None => self.mask_pass(capture_ns, still && since_pass < REFRESH_NS, motion),
            },
        };
        self.frames_since = self.frames_since.saturating_add(1);
        self.frames_since_check = self.frames_since_check.saturating_add(1);
        match pass {
            Pass::Keep => return pass,
            Pass::FullFrame | Pass::FullFrameCheck => {
                (self.last_full_frame_ns, self.frames_since) = (Some(capture_ns), 0);
            }
            Pass::TileCheck(_) | Pass::Window(_) | Pass::Part { .. } | Pass::Tile(_) => {}
        }
        if matches!(pass, Pass::FullFrameCheck | Pass::TileCheck(_)) {
            self.frames_since_check = 0;
        }
        self.last_pass_ns = Some(capture_ns);
        self.tile_is_next = !matches!(pass, Pass::Tile(_));
        pass
    }

    /// The pass on this frame that looks for people outside the windows, if it is time for one.
    fn check(&mut self, capture_ns: u64, motion: &MotionDetector) -> Option<Pass> {
        let since = |then: Option<u64>| then.map_or(u64::MAX, |then| capture_ns.saturating_sub(then));
        let since_full_frame = since(self.last_full_frame_ns);
        let is_turn = since_full_frame == u64::MAX || self.frames_since >= FRAMES_BETWEEN_CHECKS;
        let has_changed_outside = || match self.focus {
            Focus::Window(window) => motion.has_changed_outside(&window),
            _ => {
                let is_inside = |cell: &UnitRect| self.spots.iter().any(|s| !cell.intersection(&s.window).is_empty());
                motion.has_changed_where(|cell| !is_inside(cell))
            }
        };
        if matches!(self.focus, Focus::Window(_) | Focus::Several) && is_turn {
            let outside = since_full_frame >= MOTION_CHECK_INTERVAL_NS && has_changed_outside();
            if since_full_frame >= CHECK_INTERVAL_NS || outside {
                return Some(Pass::FullFrameCheck);
            }
        }
        let is_due = self.tiles_due > 0 || (self.people.len() > 1 && since(self.last_tile_ns) >= CHECK_INTERVAL_NS);
        let is_due = is_due && self.tallest() < TALL;
        // A candidate is confirmed or refuted before the next is looked for.
        let is_decided = self.due == 0 && self.spots.iter().all(|spot| spot.last_pass_ns.is_some());
        let is_free = is_decided && (self.frames_since_check >= FRAMES_BETWEEN_CHECKS || motion.is_still());
        if self.most_windows == 1 || !is_due || !is_free {
            return None;
        }
        self.last_tile_ns = Some(capture_ns);
        for _ in 0..TILE_COUNT {
            let tile = self.advance_tile();
            self.tiles_due = self.tiles_due.saturating_sub(1);
            let covered = |window: &UnitRect| tile.intersection(window).area() >= 0.9 * tile.area();
            let is_known = match self.focus {
                Focus::Window(window) => covered(&window),
                _ => self.spots.iter().any(|spot| covered(&spot.window)),
            };
            if !is_known {
                return Some(Pass::TileCheck(tile));
            }
        }
        None
    }

    /// The pass on this frame that makes a mask of the people who are known. `is_settled`: nothing has
    /// moved, and the last pass was a short time ago.
    fn mask_pass(&mut self, capture_ns: u64, is_settled: bool, motion: &MotionDetector) -> Pass {
        match self.focus {
            Focus::Several => {
                let turn = self.spots.take_turn(capture_ns, REFRESH_NS, |window| motion.has_changed_in(window));
                turn.map_or(Pass::Keep, |(slot, area)| Pass::Part { slot, area })
            }
            Focus::Window(_) if is_settled && self.due == 0 => Pass::Keep,
            Focus::Window(window) => {
                self.due = self.due.saturating_sub(1);
                Pass::Window(window)
            }
            _ if is_settled => Pass::Keep,
            _ => Pass::FullFrame,
        }
    }

    /// Takes the result of a pass: the boxes of the people in it, or in the whole mask after a pass
    /// on one of several windows. After a check or a tile they are candidates, and the next window
    /// pass confirms or rejects them.
    pub fn report(&mut self, pass: Pass, people: impl Iterator<Item = UnitRect> + Clone) {
        let least = if matches!(pass, Pass::TileCheck(_)) { MIN_CANDIDATE_HEIGHT * self.tallest() } else { 0.0 };
        let people = people.map(|bounds| bounds.intersection(&UnitRect::WHOLE));
        let people = people.filter(|bounds| !bounds.is_empty() && bounds.height >= least);
        let found = people.clone().fold(UnitRect::default(), |all, bounds| all.union(&bounds));
        match (pass, self.focus) {
            (Pass::Keep, _) => {}
            (Pass::FullFrameCheck | Pass::TileCheck(_), Focus::Window(window)) => {
                // The window pass shows people inside the window better than the check.
                let covered = found.intersection(&window).area();
                if !found.is_empty() && covered < 0.9 * found.area() {
                    let outside = people.filter(|bounds| bounds.intersection(&window).area() < 0.9 * bounds.area());
                    let clusters = self.clusters(outside);
                    if clusters.as_slice().len() > 1 {
                        self.focus_on_several(&clusters);
                    } else {
                        self.focus_on(&window.expanded(-window.width * 0.1, -window.height * 0.1).union(&found));
                    }
                }
            }
            (Pass::FullFrameCheck | Pass::TileCheck(_), Focus::Several) => {
                let share = |spot: &Spot, bounds: &UnitRect| bounds.intersection(&spot.window).area() / bounds.area();
                let spots = self.spots.clone();
                let is_outside = |bounds: &UnitRect| spots.iter().all(|spot| share(spot, bounds) < 0.9);
                if people.clone().any(|bounds| is_outside(&bounds)) {
                    let clusters = self.clusters(people.filter(is_outside));
                    self.focus_on_clusters(&clusters);
                }
            }
            (Pass::TileCheck(_), _) => {
                let new = |bounds: &UnitRect| self.people.iter().all(|known| overlap(known, bounds) < 0.5);
                if people.clone().any(|bounds| new(&bounds)) {
                    let clusters = self.clusters(people.filter(new));
                    self.focus_on_clusters(&clusters);
                }
            }
            _ if found.is_empty() && !self.has_candidates(pass) => {
                if self.focus != Focus::Nobody {
                    // They may be elsewhere in the frame, so a full-frame pass follows even if
                    // nothing moves.
                    self.last_full_frame_ns = if pass == Pass::FullFrame { self.last_full_frame_ns } else { None };
                }
                self.focus = Focus::Nobody;
                self.spots.clear();
                self.people.clear();
            }
            (Pass::Tile(_), _) => {
                self.scan_for_others();
                let clusters = self.clusters(people);
                self.focus_on_clusters(&clusters);
            }
            _ => {
                if self.focus == Focus::Nobody {
                    self.scan_for_others();
                }
                self.people.clear();
                self.people.extend(people.take(MAX_PEOPLE));
                let clusters = self.clusters(std::iter::empty());
                self.focus_on_clusters(&clusters);
            }
        }
    }

    /// Somebody was found, and there may be others.
    const fn scan_for_others(&mut self) {
        if self.tiles_due == 0 {
            self.tiles_due = TILE_COUNT;
        }
    }

    /// The height of the tallest person who is known, as a share of the frame's height.
    fn tallest(&self) -> f32 {
        self.people.iter().map(|bounds| bounds.height).fold(0.0, f32::max)
    }

    /// Whether somebody may be in a window that has had no pass yet.
    fn has_candidates(&self, pass: Pass) -> bool {
        matches!(pass, Pass::Part { .. }) && self.spots.iter().any(|spot| spot.last_pass_ns.is_none())
    }

    /// Who shares a window, of the known people, the candidates whose window has had no pass yet, and
    /// further `candidates`.
    fn clusters(&self, candidates: impl Iterator<Item = UnitRect>) -> Clusters {
        let in_one = |window: &UnitRect, a: &UnitRect, b: &UnitRect| {
            window.contains(&UnitRect::new(a.center().0, a.center().1, 0.0, 0.0), 0.0)
                && window.contains(&UnitRect::new(b.center().0, b.center().1, 0.0, 0.0), 0.0)
        };
        let together = |a: &UnitRect, b: &UnitRect| match self.focus {
            Focus::Nobody => false,
            Focus::FullFrame => true,
            Focus::Window(window) => in_one(&window, a, b),
            Focus::Several => self.spots.iter().any(|spot| in_one(&spot.window, a, b)),
        };
        let waiting = self.spots.iter().filter(|spot| spot.last_pass_ns.is_none()).map(|spot| spot.people);
        let boxes = self.people.iter().copied().chain(waiting).chain(candidates);
        Clusters::of(boxes, self.most_windows, |people| self.window_for(people), together)
    }

    /// Chooses the windows for these clusters.
    fn focus_on_clusters(&mut self, clusters: &Clusters) {
        match clusters.as_slice() {
            [] => {}
            [Cluster { people, .. }] => self.focus_on(people),
            _ => self.focus_on_several(clusters),
        }
    }

    /// Chooses between full-frame passes and a window for each of several clusters.
    fn focus_on_several(&mut self, clusters: &Clusters) {
        let limit = if self.focus == Focus::FullFrame { WINDOW_BELOW } else { FULL_FRAME_FROM };
        if clusters.as_slice().iter().any(|cluster| cluster.window.area() >= limit) {
            self.spots.clear();
            self.focus = Focus::FullFrame;
            return;
        }
        let mut spots = std::mem::take(&mut self.spots);
        spots.replace(clusters.as_slice(), |cluster, before| match before {
            Some(before) => match self.refitted(&before.window, &cluster.people, &cluster.window) {
                Some(window) => Spot { window, people: cluster.people, due: before.due.max(1), ..before },
                None => Spot { people: cluster.people, ..before },
            },
            None => Spot { window: cluster.window, people: cluster.people, last_pass_ns: None, due: PASSES_AFTER_FIND },
        });
        self.spots = spots;
        self.focus = Focus::Several;
    }

    /// The window for people in the box `people`.
    fn window_for(&self, people: &UnitRect) -> UnitRect {
        window_around(people, (MARGIN_X, MARGIN_Y), self.cell_aspect)
    }

    /// Chooses between full-frame passes and a window for the people in the box `people`. A window
    /// that still fits stays in place.
    fn focus_on(&mut self, people: &UnitRect) {
        self.spots.clear();
        let wanted = self.window_for(people);
        let limit = if self.focus == Focus::FullFrame { WINDOW_BELOW } else { FULL_FRAME_FROM };
        if wanted.area() >= limit {
            self.focus = Focus::FullFrame;
            return;
        }
        let Focus::Window(window) = self.focus else {
            self.focus = Focus::Window(wanted);
            self.due = PASSES_AFTER_FIND;
            return;
        };
        if let Some(window) = self.refitted(&window, people, &wanted) {
            // Somebody is in a part that no window pass has seen.
            self.due = self.due.max(1);
            self.focus = Focus::Window(window);
        }
    }

    /// The window that replaces `window` for `people`, who need the window `wanted`; `None` if it
    /// still fits.
    fn refitted(&self, window: &UnitRect, people: &UnitRect, wanted: &UnitRect) -> Option<UnitRect> {
        let needed = people.expanded(people.width * MARGIN_X * MIN_MARGIN, people.height * MARGIN_Y * MIN_MARGIN);
        let needed = needed.intersection(&UnitRect::WHOLE);
        if window.contains(&needed, 1e-4) && window.area() <= MAX_SLACK * wanted.area() {
            return None;
        }
        let similar = |a: f32, b: f32| a >= 0.8 * b && a <= 1.3 * b;
        let moved = self.shifted(window, wanted);
        let keeps_size = similar(window.width, wanted.width)
            && similar(window.height, wanted.height)
            && moved.contains(&needed, 1e-4);
        Some(if keeps_size { moved } else { *wanted })
    }

    /// `window`, moved towards the centre of `wanted` within the frame. It moves by whole cells, so
    /// that the smoothing can shift its history without blurring it.
    fn shifted(&self, window: &UnitRect, wanted: &UnitRect) -> UnitRect {
        let axis = |from: f32, extent: f32, to: f32, wanted_extent: f32, cells: u32| {
            let cell = extent / cells.max(1) as f32;
            let distance = to + (wanted_extent - extent) * 0.5 - from;
            let least = -(from / cell).floor();
            let most = ((1.0 - from - extent) / cell).floor().max(least);
            from + (distance / cell).round().clamp(least, most) * cell
        };
        UnitRect {
            x: axis(window.x, window.width, wanted.x, wanted.width, self.grid.width),
            y: axis(window.y, window.height, wanted.y, wanted.height, self.grid.height),
            ..*window
        }
    }

    fn advance_tile(&mut self) -> UnitRect {
        let mut tiles = TILES.iter().chain(&UPRIGHT_TILES);
        let tile = tiles.nth(self.next_tile).copied().unwrap_or(UnitRect::WHOLE);
        let count = if self.most_windows > 1 { TILE_COUNT } else { TILES.len() };
        self.next_tile = (self.next_tile + 1) % count;
        tile
    }
}

/// The share of `part` that is in `whole`.
fn overlap(whole: &UnitRect, part: &UnitRect) -> f32 {
    part.intersection(whole).area() / part.area()
}

#[cfg(test)]
mod tests;
