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
//!
//! A check runs once a second, or when something moves outside the window, but at most on
//! every third frame. A person who is found in
//! a tile, or outside the window by a check, is a candidate. The next window pass covers the
//! candidate and confirms or rejects it. While nothing moves, there is only one pass per 0.9 s.
//!
//! The module is pure: time is the capture timestamp. Rectangles are fractions of the frame. The
//! document `docs/design/attention.md` gives the reasons and measurements.

use portraitd_media::{Size, UnitRect};

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
    /// A pass on the whole frame that looks for people outside the window. The mask is retained.
    FullFrameCheck,
    /// A pass on this part of the frame that looks for people. The mask is retained.
    Tile(UnitRect),
}

impl Pass {
    /// The part of the frame that the net sees, in fractions of the frame.
    pub(crate) const fn area(self) -> UnitRect {
        match self {
            Self::Window(area) | Self::Tile(area) => area,
            Self::Keep | Self::FullFrame | Self::FullFrameCheck => UnitRect::WHOLE,
        }
    }

    /// Whether the result of the pass is the mask.
    pub(crate) const fn makes_mask(self) -> bool {
        matches!(self, Self::FullFrame | Self::Window(_))
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
    /// Capture time of the newest frame.
    newest_ns: Option<u64>,
    /// Capture time of the frame with the last pass.
    last_pass_ns: Option<u64>,
    /// Capture time of the frame with the last pass on the whole frame.
    last_full_frame_ns: Option<u64>,
    /// Observed frames since the last pass on the whole frame.
    frames_since: u32,
    /// Index of the next tile.
    next_tile: usize,
    /// Whether the next pass is on a tile while nobody is known.
    tile_is_next: bool,
    /// Window passes that are due although nothing moves.
    due: u8,
}

impl Attention {
    /// An attention for a net with a mask of `grid` cells. Nobody is known.
    pub fn new(grid: Size) -> Self {
        Self {
            grid,
            cell_aspect: 1.0,
            focus: Focus::Nobody,
            newest_ns: None,
            last_pass_ns: None,
            last_full_frame_ns: None,
            frames_since: 0,
            next_tile: 0,
            tile_is_next: false,
            due: 0,
        }
    }

    /// Forgets everything: the next pass is on the whole frame.
    pub fn reset(&mut self) {
        *self = Self::new(self.grid);
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
        let pass = match self.focus {
            Focus::Nobody if since_full_frame == u64::MAX => Pass::FullFrame,
            Focus::Nobody if still && since_pass < SCAN_INTERVAL_NS => Pass::Keep,
            Focus::Nobody if self.tile_is_next => {
                let moved = motion.changed_bounds().filter(|bounds| !still && bounds.area() < WINDOW_BELOW);
                Pass::Tile(match moved {
                    Some(moved) => self.window_for(&moved),
                    None => self.advance_tile(),
                })
            }
            Focus::Nobody => Pass::FullFrame,
            Focus::FullFrame if still && since_pass < REFRESH_NS => Pass::Keep,
            Focus::FullFrame => Pass::FullFrame,
            Focus::Window(window) => {
                let outside = since_full_frame >= MOTION_CHECK_INTERVAL_NS && motion.has_changed_outside(&window);
                let is_turn = since_full_frame == u64::MAX || self.frames_since >= FRAMES_BETWEEN_CHECKS;
                if is_turn && (since_full_frame >= CHECK_INTERVAL_NS || outside) {
                    Pass::FullFrameCheck
                } else if still && since_pass < REFRESH_NS && self.due == 0 {
                    Pass::Keep
                } else {
                    self.due = self.due.saturating_sub(1);
                    Pass::Window(window)
                }
            }
        };
        self.frames_since = self.frames_since.saturating_add(1);
        match pass {
            Pass::Keep => return pass,
            Pass::FullFrame | Pass::FullFrameCheck => {
                (self.last_full_frame_ns, self.frames_since) = (Some(capture_ns), 0);
            }
            Pass::Window(_) | Pass::Tile(_) => {}
        }
        self.last_pass_ns = Some(capture_ns);
        self.tile_is_next = !matches!(pass, Pass::Tile(_));
        pass
    }

    /// Takes the result of a pass: the boxes of the people in it. After a check or a tile they are
    /// candidates, and the next window pass confirms or rejects them.
    pub fn report(&mut self, pass: Pass, people: impl Iterator<Item = UnitRect>) {
        let found = people.fold(UnitRect::default(), |all, bounds| all.union(&bounds.intersection(&UnitRect::WHOLE)));
        match (pass, self.focus) {
            (Pass::Keep, _) => {}
            (Pass::FullFrameCheck, Focus::Window(window)) => {
                // The window pass shows people inside the window better than the check.
                let covered = found.intersection(&window).area();
                if !found.is_empty() && covered < 0.9 * found.area() {
                    self.focus_on(&window.expanded(-window.width * 0.1, -window.height * 0.1).union(&found));
                }
            }
            _ if found.is_empty() => {
                if self.focus != Focus::Nobody {
                    // They may be elsewhere in the frame, so a full-frame pass follows even if
                    // nothing moves.
                    self.last_full_frame_ns = if pass == Pass::FullFrame { self.last_full_frame_ns } else { None };
                }
                self.focus = Focus::Nobody;
            }
            _ => self.focus_on(&found),
        }
    }

    /// The window for people in the box `people`.
    fn window_for(&self, people: &UnitRect) -> UnitRect {
        window_around(people, (MARGIN_X, MARGIN_Y), self.cell_aspect)
    }

    /// Chooses between full-frame passes and a window for the people in the box `people`. A window
    /// that still fits stays in place.
    fn focus_on(&mut self, people: &UnitRect) {
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
        let needed = people.expanded(people.width * MARGIN_X * MIN_MARGIN, people.height * MARGIN_Y * MIN_MARGIN);
        let needed = needed.intersection(&UnitRect::WHOLE);
        if window.contains(&needed, 1e-4) && window.area() <= MAX_SLACK * wanted.area() {
            return;
        }
        // Somebody is in a part that no window pass has seen.
        self.due = self.due.max(1);
        let similar = |a: f32, b: f32| a >= 0.8 * b && a <= 1.3 * b;
        let moved = self.shifted(&window, &wanted);
        self.focus = Focus::Window(
            if similar(window.width, wanted.width)
                && similar(window.height, wanted.height)
                && moved.contains(&needed, 1e-4)
            {
                moved
            } else {
                wanted
            },
        );
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
        let tile = TILES[self.next_tile % TILES.len()];
        self.next_tile = (self.next_tile + 1) % TILES.len();
        tile
    }
}

#[cfg(test)]
mod tests;
