//! Keeps the director of one camera and steps it once a frame, whoever asks first.
//!
//! Several threads need the crop of the same frame: each render thread that shows it, and the vision thread when nobody
//! else looks. The first one steps the director to the frame's capture time; the others get the same answer.

use portraitd_protocol::{FramingMode, FramingSpeed, FramingState};

use portraitd_framing::{Director, Limits, Settings, SettingsError, Shot, Subject};
use portraitd_media::FrameFormat;
use portraitd_media::{PixelRect, Size, UnitRect, even_size};

/// How many frames back an answer is remembered: more than render threads can be behind.
const REMEMBERED: usize = 16;

/// What a person can set, and what outlives a change of the source's format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FramingChoice {
    pub(super) mode: FramingMode,
    pub(super) speed: FramingSpeed,
    pub(super) max_zoom: f32,
    pub(super) lead_room: f32,
    /// Fractions of the frame.
    pub(super) manual_crop: UnitRect,
    /// Size of the view; `None` is the source's own.
    pub(super) output: Option<Size>,
}

/// The director, and the answers it has given.
#[derive(Debug)]
pub(super) struct ShotKeeper {
    choice: FramingChoice,
    format: Option<FrameFormat>,
    director: Option<Director>,
    given: [(u64, Shot); REMEMBERED],
    next: usize,
    newest_ns: u64,
}

const NOTHING: Shot = Shot { crop: PixelRect::new(0.0, 0.0, 0.0, 0.0), state: FramingState::Inactive, still: true };

impl ShotKeeper {
    pub(super) fn new(choice: FramingChoice) -> Self {
        Self { choice, format: None, director: None, given: [(u64::MAX, NOTHING); REMEMBERED], next: 0, newest_ns: 0 }
    }

    fn settings(&self, frame: Size) -> Settings {
        Self::settings_of(self.choice, frame)
    }

    fn settings_of(choice: FramingChoice, frame: Size) -> Settings {
        Settings {
            frame,
            output: choice.output.unwrap_or_else(|| even_size(frame)),
            mode: choice.mode,
            max_zoom: choice.max_zoom,
            lead_room: choice.lead_room,
            speed: choice.speed,
            manual_crop: choice.manual_crop,
        }
    }

    /// The source's format. Returns whether it is another one than before (not so for the first). A director that has
    /// shown frames goes on from where its crop is.
    pub(super) fn set_format(&mut self, format: FrameFormat) -> bool {
        let changed = self.format.is_some_and(|before| before != format);
        if self.format != Some(format) {
            self.format = Some(format);
            let settings = self.settings(format.size);
            let running = self.director.as_mut().filter(|_| self.newest_ns > 0);
            if running.is_some_and(|director| director.set(settings).is_ok()) {
                self.given = [(u64::MAX, NOTHING); REMEMBERED];
            } else {
                self.forget();
            }
        }
        changed
    }

    /// Starts anew: the next frame is another scene.
    pub(super) fn forget(&mut self) {
        self.given = [(u64::MAX, NOTHING); REMEMBERED];
        self.newest_ns = 0;
        self.director = self.format.and_then(|format| Director::new(self.settings(format.size)).ok());
    }

    /// Whether a choice would be taken, for the frames that there are now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, choice: FramingChoice) -> Result<(), SettingsError> {
        let frame = self.format.map_or(Size::new(1280, 720), |format| format.size);
        Director::new(Self::settings_of(choice, frame)).map(drop)
    }

    /// Changes what a person can set.
    pub(super) fn choose(&mut self, change: impl FnOnce(&mut FramingChoice)) -> Result<(), SettingsError> {
        let before = self.choice;
        change(&mut self.choice);
        let frame = self.format.map_or(Size::new(1280, 720), |format| format.size);
        let settings = self.settings(frame);
        let done = match &mut self.director {
            Some(director) => director.set(settings),
            None => Director::new(settings).map(|_| ()),
        };
        if done.is_err() {
            self.choice = before;
        }
        done
    }

    /// A fresh mask's people.
    pub(super) fn observe(&mut self, capture_ns: u64, people: &[Subject]) {
        if let Some(director) = &mut self.director {
            director.observe(capture_ns, people);
        }
    }

    /// The crop for the frame of this number and capture time.
    pub(super) fn shot(&mut self, sequence: u64, capture_ns: u64) -> Shot {
        if let Some((_, shot)) = self.given.iter().find(|(given, _)| *given == sequence) {
            return *shot;
        }
        let Some(director) = &mut self.director else {
            let crop = self.format.map(|format| PixelRect::of_size(format.size)).unwrap_or_default();
            return Shot { crop, ..NOTHING };
        };
        let shot = director.step(capture_ns);
        if capture_ns >= self.newest_ns {
            self.newest_ns = capture_ns;
            self.given[self.next] = (sequence, shot);
            self.next = (self.next + 1) % REMEMBERED;
        }
        shot
    }

    /// The newest shot, if there was one.
    pub(super) fn latest(&self) -> Option<Shot> {
        let (sequence, shot) = self.given[(self.next + REMEMBERED - 1) % REMEMBERED];
        (sequence != u64::MAX).then_some(shot)
    }

    /// The source's size, once it was open.
    pub(super) fn frame_size(&self) -> Option<Size> {
        self.format.map(|format| format.size)
    }

    /// The size of the view, where the configuration gives one.
    pub(super) const fn output(&self) -> Option<Size> {
        self.choice.output
    }

    pub(super) fn reframe(&mut self) {
        if let Some(director) = &mut self.director {
            director.reframe();
        }
    }

    pub(super) fn limits(&self) -> Option<Limits> {
        self.director.as_ref().map(Director::limits)
    }

    /// How often the crop began to move.
    pub(super) fn moves(&self) -> u64 {
        self.director.as_ref().map_or(0, Director::moves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portraitd_media::{Colorimetry, PixelFormat};

    fn format(width: u32, height: u32) -> FrameFormat {
        FrameFormat::packed(PixelFormat::Nv12, Size::new(width, height), Colorimetry::default(), 30.0)
    }

    /// Frames from `first` to `last` at 30 a second, with one person in sight.
    fn run(keeper: &mut ShotKeeper, frames: std::ops::Range<u64>) -> Shot {
        let mut shot = NOTHING;
        for frame in frames {
            let at_ns = 1_000_000_000 + frame * 33_333_333;
            keeper.observe(at_ns, &[Subject { id: 1, bounds: UnitRect::new(0.2, 0.5, 0.15, 0.5) }]);
            shot = keeper.shot(frame, at_ns);
        }
        shot
    }

    fn keeper() -> ShotKeeper {
        let mut keeper = ShotKeeper::new(FramingChoice {
            mode: FramingMode::Follow,
            speed: FramingSpeed::Normal,
            max_zoom: 2.0,
            lead_room: 0.0,
            manual_crop: UnitRect::WHOLE,
            output: None,
        });
        assert!(!keeper.set_format(format(1280, 720)));
        keeper
    }

    #[test]
    fn another_format_in_motion_is_no_jump() {
        let mut keeper = keeper();
        let before = run(&mut keeper, 0..45);
        assert!(!before.still && before.crop.width < 1270.0, "{before:?}");
        assert!(keeper.set_format(format(640, 360)));
        let after = run(&mut keeper, 45..46);
        let (a, b) = (before.crop.to_fractions(Size::new(1280, 720)), after.crop.to_fractions(Size::new(640, 360)));
        assert!((a.x - b.x).abs() < 0.02 && (a.width - b.width).abs() < 0.02, "{a:?} {b:?}");
        let last = run(&mut keeper, 46..300);
        assert!(last.still && last.crop.width < 600.0, "{last:?}");
    }

    #[test]
    fn a_scene_that_was_forgotten_begins_with_the_whole_frame() {
        let mut keeper = keeper();
        run(&mut keeper, 0..300);
        keeper.forget();
        assert!(keeper.set_format(format(640, 480)));
        assert_eq!(run(&mut keeper, 300..301).crop, PixelRect::new(0.0, 0.0, 640.0, 480.0));
    }
}
