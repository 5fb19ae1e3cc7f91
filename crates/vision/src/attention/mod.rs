//! Where the net looks: at the people's own rectangle, where it sees them large, and at the whole frame now and then, so
//! that nobody comes in unnoticed. One look a frame at most.
//!
//! ```text
//!             nobody found                     people found, smaller than most of the frame
//!   Lost <----------------------- Whole <------------------------------------> Window
//!    |  looks: frame, a part,      looks: frame        looks: window; once a second, or when
//!    |  frame, another part ...                        something moves outside: frame (a glance)
//!    +---- a part shows somebody: Window, to be confirmed by a look of its own ------^
//! ```
//!
//! While nothing moves there are no looks but one a second, to see whether the mask still holds.
//!
//! Pure: time is the capture stamp. Rectangles are fractions of the frame. Why, with figures: `docs/design/attention.md`.

use super::motion_gate::MotionDetector;
use portraitd_media::{Size, UnitRect};

/// Free room on the left and right of the people, as a share of their width.
const MARGIN_X: f32 = 0.3;
/// Free room above and below the people, as a share of their height.
const MARGIN_Y: f32 = 0.2;
/// A net trained on pictures of any shape squeezed into its input bears being stretched once more, and a person standing
/// fills a wide grid better for it: a window's pixels may be this much narrower or flatter than they are.
const MOST_STRETCH: f32 = 3.0;
/// A window above this share of the frame is not worth it: the frame itself is looked at.
const WHOLE_FROM: f32 = 0.75;
/// Back to a window only below this share.
const WINDOW_BELOW: f32 = 0.6;
/// A window is kept while this share of the margins is left round the people ...
const MARGIN_KEPT: f32 = 0.35;
/// ... and its area is no more than this many times what the people need.
const MOST_SLACK: f32 = 1.6;

/// A still scene is looked at again after this long: less than the time after which smoothing forgets.
pub const REFRESH_NS: u64 = 900_000_000;
/// The whole frame is looked at at least this often.
const GLANCE_NS: u64 = 1_000_000_000;
/// Motion outside of the window causes a glance no more often than this: a fan must not take every second look.
const GLANCE_ON_MOTION_NS: u64 = 250_000_000;
/// While nobody is there and nothing moves, the next part of the frame is searched after this long.
const SEARCH_STILL_NS: u64 = 450_000_000;
/// After a longer gap between frames, or a step back in time, nothing is known.
const RESET_GAP_NS: u64 = 2_500_000_000;

/// The parts of the frame that are searched, one after another: people stand on the ground.
const PARTS: [UnitRect; 6] = [
    UnitRect::new(0.2, 0.25, 0.6, 0.75),
    UnitRect::new(0.0, 0.25, 0.6, 0.75),
    UnitRect::new(0.4, 0.25, 0.6, 0.75),
    UnitRect::new(0.25, 0.0, 0.5, 0.6),
    UnitRect::new(0.0, 0.0, 0.5, 0.6),
    UnitRect::new(0.5, 0.0, 0.5, 0.6),
];

/// What the net is to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    /// Nothing: the mask of the last look holds.
    Keep,
    /// The whole frame, and what it says is the mask.
    Frame,
    /// This part of the frame, and what it says is the mask; outside there is nobody.
    Window(UnitRect),
    /// The whole frame, to see whether somebody is outside of the window; the mask is kept.
    Glance,
    /// A part of the frame in which somebody may be; the mask is kept.
    Search(UnitRect),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Focus {
    /// Nobody is known of.
    Lost,
    /// People fill most of the frame.
    Whole,
    /// People are in there.
    Window(UnitRect),
}

/// Decides where the net looks, for one camera.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Cells of the net's grid.
    grid: Size,
    /// How much flatter a pixel becomes when the whole frame is brought to the grid, as a factor on its height.
    stretch: f32,
    focus: Focus,
    newest_ns: Option<u64>,
    looked_ns: Option<u64>,
    /// Of the whole frame.
    glanced_ns: Option<u64>,
    part: usize,
    /// While nobody is there, every second look is at a part.
    search_next: bool,
}

impl Attention {
    /// For a net with a grid of `grid` cells. Nobody is known of.
    pub fn new(grid: Size) -> Self {
        Self {
            grid,
            stretch: 1.0,
            focus: Focus::Lost,
            newest_ns: None,
            looked_ns: None,
            glanced_ns: None,
            part: 0,
            search_next: false,
        }
    }

    /// Forgets everything: the next look is at the whole frame.
    pub fn reset(&mut self) {
        *self = Self::new(self.grid);
    }

    /// Where to look in the frame of `frame` pixels captured at `capture_ns`. The answer is to be carried out, and reported
    /// by [`Self::found`] unless it is [`Look::Keep`].
    pub fn next(&mut self, frame: Size, capture_ns: u64, motion: &MotionDetector) -> Look {
        let step_ns = self.newest_ns.and_then(|newest| capture_ns.checked_sub(newest));
        if step_ns.is_none_or(|step_ns| step_ns > RESET_GAP_NS) {
            self.reset();
        }
        self.newest_ns = Some(capture_ns);
        let pixels_a_cell = |pixels: u32, cells: u32| pixels.max(1) as f32 / cells.max(1) as f32;
        self.stretch = pixels_a_cell(frame.width, self.grid.width) / pixels_a_cell(frame.height, self.grid.height);

        let since = |then: Option<u64>| then.map_or(u64::MAX, |then| capture_ns.saturating_sub(then));
        let (looked, glanced) = (since(self.looked_ns), since(self.glanced_ns));
        let still = motion.is_still();
        let look = match self.focus {
            Focus::Lost if glanced == u64::MAX => Look::Frame,
            Focus::Lost if still && looked < SEARCH_STILL_NS => Look::Keep,
            Focus::Lost if self.search_next => {
                let moved = motion.bounds().filter(|bounds| !still && bounds.area() < WINDOW_BELOW);
                Look::Search(match moved {
                    Some(moved) => self.window_for(&moved),
                    None => self.next_part(),
                })
            }
            Focus::Lost => Look::Frame,
            Focus::Whole if still && looked < REFRESH_NS => Look::Keep,
            Focus::Whole => Look::Frame,
            Focus::Window(window) => {
                let outside = glanced >= GLANCE_ON_MOTION_NS && motion.is_outside(&window);
                if glanced >= GLANCE_NS || outside {
                    Look::Glance
                } else if still && looked < REFRESH_NS {
                    Look::Keep
                } else {
                    Look::Window(window)
                }
            }
        };
        match look {
            Look::Keep => return look,
            Look::Frame | Look::Glance => self.glanced_ns = Some(capture_ns),
            Look::Window(_) | Look::Search(_) => {}
        }
        self.looked_ns = Some(capture_ns);
        self.search_next = !matches!(look, Look::Search(_));
        look
    }

    /// What came of a look: the boxes of the people in it. Of a glance or a search they are candidates, to be confirmed by
    /// a look at the window that they get.
    pub fn found(&mut self, look: Look, people: impl Iterator<Item = UnitRect>) {
        let seen = people.fold(UnitRect::default(), |all, bounds| all.union(&bounds.intersection(&UnitRect::WHOLE)));
        match (look, self.focus) {
            (Look::Keep, _) => {}
            (Look::Glance, Focus::Window(window)) => {
                // Whoever is inside is seen better by the window.
                let covered = seen.intersection(&window).area();
                if !seen.is_empty() && covered < 0.9 * seen.area() {
                    self.focus_on(&window.expanded(-window.width * 0.1, -window.height * 0.1).union(&seen));
                }
            }
            _ if seen.is_empty() => {
                if self.focus != Focus::Lost {
                    // They may be elsewhere in the frame: that is looked at next, still or not.
                    self.glanced_ns = if look == Look::Frame { self.glanced_ns } else { None };
                }
                self.focus = Focus::Lost;
            }
            _ => self.focus_on(&seen),
        }
    }

    /// The rectangle that the net should look at for people in `people`: with margins, not stretched too much, within
    /// the frame.
    fn window_for(&self, people: &UnitRect) -> UnitRect {
        let mut window = people.expanded(people.width * MARGIN_X, people.height * MARGIN_Y);
        // Of the window's pixels: above 1 they become narrower than they are.
        let stretch = self.stretch * window.width / window.height;
        if stretch < 1.0 / MOST_STRETCH {
            let wider = window.width / (stretch * MOST_STRETCH) - window.width;
            window = window.expanded(wider * 0.5, 0.0);
        } else if stretch > MOST_STRETCH {
            let higher = window.height * stretch / MOST_STRETCH - window.height;
            window = window.expanded(0.0, higher * 0.5);
        }
        window.moved_into(&UnitRect::WHOLE)
    }

    fn focus_on(&mut self, people: &UnitRect) {
        let wanted = self.window_for(people);
        let limit = if self.focus == Focus::Whole { WINDOW_BELOW } else { WHOLE_FROM };
        if wanted.area() >= limit {
            self.focus = Focus::Whole;
            return;
        }
        let Focus::Window(window) = self.focus else {
            self.focus = Focus::Window(wanted);
            return;
        };
        let needed = people.expanded(people.width * MARGIN_X * MARGIN_KEPT, people.height * MARGIN_Y * MARGIN_KEPT);
        let needed = needed.intersection(&UnitRect::WHOLE);
        if window.contains(&needed, 1e-4) && window.area() <= MOST_SLACK * wanted.area() {
            return;
        }
        let alike = |a: f32, b: f32| a >= 0.8 * b && a <= 1.3 * b;
        let moved = self.shifted(&window, &wanted);
        self.focus = Focus::Window(
            if alike(window.width, wanted.width) && alike(window.height, wanted.height) && moved.contains(&needed, 1e-4)
            {
                moved
            } else {
                wanted
            },
        );
    }

    /// `window` moved towards the centre of `wanted` by whole cells, so that the history of each cell is another cell's, not
    /// a blur of four; within the frame.
    fn shifted(&self, window: &UnitRect, wanted: &UnitRect) -> UnitRect {
        let axis = |from: f32, extent: f32, to: f32, wanted_extent: f32, cells: u32| {
            let cell = extent / cells.max(1) as f32;
            let way = to + (wanted_extent - extent) * 0.5 - from;
            let least = -(from / cell).floor();
            let most = ((1.0 - from - extent) / cell).floor().max(least);
            from + (way / cell).round().clamp(least, most) * cell
        };
        UnitRect {
            x: axis(window.x, window.width, wanted.x, wanted.width, self.grid.width),
            y: axis(window.y, window.height, wanted.y, wanted.height, self.grid.height),
            ..*window
        }
    }

    fn next_part(&mut self) -> UnitRect {
        let part = PARTS[self.part % PARTS.len()];
        self.part = (self.part + 1) % PARTS.len();
        part
    }
}

#[cfg(test)]
mod tests;
