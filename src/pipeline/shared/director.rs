//! The director of one camera, stepped once per frame.
//!
//! Several threads need the crop of the same frame: each render thread that shows it, and the
//! vision thread if no render thread does. The first one steps the director to the frame's capture
//! timestamp; the others get the same answer.

use std::sync::{Mutex, MutexGuard};

use portraitd_framing::{Director, Limits, Settings, SettingsError, Shot, Subject};
use portraitd_media::FrameFormat;
use portraitd_media::{PixelRect, Size, UnitRect, even_size};
use portraitd_protocol::{FramingMode, FramingSpeed, FramingState};
use tracing::{error, info};

/// The number of frames whose answers are remembered. A composite of a slow board lags behind the
/// views by as many frames as pass during an inference pass.
const REMEMBERED: usize = 64;
/// The frame size that settings are checked with before the source's is known.
const ASSUMED_FRAME: Size = Size::new(1280, 720);

/// The framing settings, which outlive a change of the source's format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::pipeline) struct FramingChoice {
    pub(in crate::pipeline) mode: FramingMode,
    pub(in crate::pipeline) speed: FramingSpeed,
    pub(in crate::pipeline) max_zoom: f32,
    pub(in crate::pipeline) min_zoom: f32,
    pub(in crate::pipeline) lead_room: f32,
    /// Fractions of the frame.
    pub(in crate::pipeline) manual_crop: UnitRect,
    /// Size of the view; `None` for the source's own.
    pub(in crate::pipeline) output: Option<Size>,
}

impl FramingChoice {
    fn settings(&self, frame: Size) -> Settings {
        Settings {
            frame,
            output: self.output.unwrap_or_else(|| even_size(frame)),
            mode: self.mode,
            max_zoom: self.max_zoom,
            min_zoom: self.min_zoom,
            lead_room: self.lead_room,
            speed: self.speed,
            manual_crop: self.manual_crop,
        }
    }

    /// Whether the director accepts the settings for frames of a usual size.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(in crate::pipeline) fn check(&self) -> Result<(), SettingsError> {
        Director::new(self.settings(ASSUMED_FRAME)).map(drop)
    }
}

/// The owner of the director: the one lock through which threads use it.
///
/// The director is stepped under this lock, so a panic can leave it half changed. It is not
/// resumed: the next thread that takes the poisoned lock builds a new director from the settings,
/// which starts with the whole frame.
#[derive(Debug)]
pub(in crate::pipeline) struct SharedDirector {
    camera: String,
    keeper: Mutex<DirectorKeeper>,
}

impl SharedDirector {
    pub(super) fn new(camera: &str, choice: FramingChoice) -> Self {
        Self { camera: camera.to_owned(), keeper: Mutex::new(DirectorKeeper::new(choice)) }
    }

    fn lock(&self) -> MutexGuard<'_, DirectorKeeper> {
        self.keeper.lock().unwrap_or_else(|poisoned| {
            let mut keeper = poisoned.into_inner();
            keeper.restart();
            // Cleared while the lock is held: no other thread sees the poison.
            self.keeper.clear_poison();
            error!(
                camera = self.camera,
                "a thread panicked while it used the director: framing starts again with the whole frame"
            );
            keeper
        })
    }

    /// Takes the source's format. Returns whether it differs from an earlier one.
    pub(super) fn set_format(&self, format: FrameFormat) -> bool {
        let mut keeper = self.lock();
        let known = keeper.format == Some(format);
        let changed = keeper.set_format(format);
        let (wanted, limits) = (keeper.choice.max_zoom, keeper.limits());
        // The log is written without the lock.
        drop(keeper);
        if !known
            && let Some(limits) = limits
            && wanted - limits.max_zoom > 0.005
        {
            info!(
                camera = self.camera,
                "max_zoom {wanted} is limited to {:.2} with frames of {}: more would enlarge the picture",
                limits.max_zoom,
                format.size
            );
        }
        changed
    }

    /// Starts again with the whole frame.
    pub(super) fn restart(&self) {
        self.lock().restart();
    }

    /// People found in frames of scenes before `scene` do not count from now on.
    pub(super) fn enter_scene(&self, scene: u64) {
        let mut keeper = self.lock();
        keeper.scene = keeper.scene.max(scene);
    }

    /// Takes the people of a new mask. Returns false, and ignores them, if their scene is over.
    pub(super) fn observe(&self, scene: u64, capture_ns: u64, people: &[Subject]) -> bool {
        let mut keeper = self.lock();
        if scene < keeper.scene {
            return false;
        }
        keeper.observe(capture_ns, people);
        true
    }

    /// The shot of the frame with this number and capture timestamp.
    pub(super) fn shot(&self, sequence: u64, capture_ns: u64) -> Shot {
        self.lock().shot(sequence, capture_ns)
    }

    /// The newest crop, as fractions of the frame; the whole frame if there is none.
    pub(in crate::pipeline) fn newest_crop(&self) -> UnitRect {
        let keeper = self.lock();
        match (keeper.newest_shot(), keeper.format) {
            (Some(shot), Some(format)) => shot.crop.to_fractions(format.size),
            _ => UnitRect::WHOLE,
        }
    }

    /// The source's last known format.
    pub(in crate::pipeline) fn format(&self) -> Option<FrameFormat> {
        self.lock().format
    }

    /// Size of the view; `None` for the source's own.
    pub(in crate::pipeline) fn output(&self) -> Option<Size> {
        self.lock().choice.output
    }

    /// Whether settings would be accepted for the current frame size.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(in crate::pipeline) fn check(&self, choice: FramingChoice) -> Result<(), SettingsError> {
        let frame = self.lock().frame_size();
        Director::new(choice.settings(frame)).map(drop)
    }

    /// Changes the settings. Returns what they allow, if the source's format is known.
    ///
    /// # Errors
    /// What is wrong with the new settings. The old ones stay.
    pub(super) fn change(&self, change: impl FnOnce(&mut FramingChoice)) -> Result<Option<Limits>, SettingsError> {
        let mut keeper = self.lock();
        keeper.change(change)?;
        Ok(keeper.limits())
    }

    /// Replaces the settings, whatever the director says to them. If it refuses them for the source's
    /// format, the middle of the frame is shown. Returns what they allow, if the director has accepted
    /// them.
    ///
    /// # Errors
    /// Why the director refuses them.
    pub(super) fn replace(&self, choice: FramingChoice) -> Result<Option<Limits>, SettingsError> {
        let mut keeper = self.lock();
        keeper.replace(choice)?;
        Ok(keeper.limits())
    }

    /// Frames the people again, now.
    pub(in crate::pipeline) fn reframe(&self) {
        if let Some(director) = &mut self.lock().director {
            director.reframe();
        }
    }

    /// Follows the person with this id alone; 0 follows everybody. Returns whether there is a director:
    /// there is none before the camera was opened.
    pub(in crate::pipeline) fn follow(&self, id: u32) -> bool {
        let mut keeper = self.lock();
        keeper.director.as_mut().map(|director| director.follow(id)).is_some()
    }

    /// What the settings allow, if the source's format is known.
    pub(super) fn limits(&self) -> Option<Limits> {
        self.lock().limits()
    }

    /// The number of moves of the crop since the director was started.
    pub(in crate::pipeline) fn moves(&self) -> u64 {
        self.lock().director.as_ref().map_or(0, Director::moves)
    }
}

/// The director, and its answers for the last frames.
#[derive(Debug)]
struct DirectorKeeper {
    choice: FramingChoice,
    format: Option<FrameFormat>,
    director: Option<Director>,
    /// Frame numbers and their shots; `u64::MAX` marks an empty place.
    answers: [(u64, Shot); REMEMBERED],
    /// Where the next answer goes.
    next: usize,
    newest_ns: u64,
    /// People found in earlier scenes are ignored.
    scene: u64,
}

const NO_SHOT: Shot =
    Shot { crop: PixelRect::new(0.0, 0.0, 0.0, 0.0), state: FramingState::Inactive, still: true, subject: 0 };
const NO_ANSWERS: [(u64, Shot); REMEMBERED] = [(u64::MAX, NO_SHOT); REMEMBERED];

impl DirectorKeeper {
    const fn new(choice: FramingChoice) -> Self {
        Self { choice, format: None, director: None, answers: NO_ANSWERS, next: 0, newest_ns: 0, scene: 0 }
    }

    fn frame_size(&self) -> Size {
        self.format.map_or(ASSUMED_FRAME, |format| format.size)
    }

    /// A director that has shown frames goes on from its current crop.
    fn set_format(&mut self, format: FrameFormat) -> bool {
        let changed = self.format.is_some_and(|before| before != format);
        if self.format != Some(format) {
            self.format = Some(format);
            let settings = self.choice.settings(format.size);
            let running = self.director.as_mut().filter(|_| self.newest_ns > 0);
            if running.is_some_and(|director| director.set(settings).is_ok()) {
                self.answers = NO_ANSWERS;
            } else {
                self.restart();
            }
        }
        changed
    }

    fn restart(&mut self) {
        self.answers = NO_ANSWERS;
        self.newest_ns = 0;
        self.director = self.format.and_then(|format| Director::new(self.choice.settings(format.size)).ok());
    }

    fn change(&mut self, change: impl FnOnce(&mut FramingChoice)) -> Result<(), SettingsError> {
        let mut choice = self.choice;
        change(&mut choice);
        let settings = choice.settings(self.frame_size());
        match &mut self.director {
            Some(director) => director.set(settings)?,
            None => {
                let director = Director::new(settings)?;
                self.director = self.format.map(|_| director);
            }
        }
        // Only now: after a panic of the director it is built from settings that it has accepted.
        self.choice = choice;
        Ok(())
    }

    /// Keeps `choice` even if it is refused: what it allows to be shown must hold.
    fn replace(&mut self, choice: FramingChoice) -> Result<(), SettingsError> {
        let changed = self.change(|current| *current = choice);
        if changed.is_err() {
            self.choice = choice;
            self.restart();
        }
        changed
    }

    fn observe(&mut self, capture_ns: u64, people: &[Subject]) {
        if let Some(director) = &mut self.director {
            director.observe(capture_ns, people);
        }
    }

    fn shot(&mut self, sequence: u64, capture_ns: u64) -> Shot {
        if let Some((_, shot)) = self.answers.iter().find(|(answered, _)| *answered == sequence) {
            return *shot;
        }
        let Some(director) = &mut self.director else {
            // The director refuses this format. The middle is shown, and no more than is allowed.
            let middle = |format: FrameFormat| {
                let whole = PixelRect::of_size(format.size);
                let share = 1.0 / self.choice.min_zoom.max(1.0);
                let (width, height) = (whole.width * share, whole.height * share);
                PixelRect::new((whole.width - width) * 0.5, (whole.height - height) * 0.5, width, height)
            };
            let crop = self.format.map(middle).unwrap_or_default();
            return Shot { crop, ..NO_SHOT };
        };
        let shot = director.step(capture_ns);
        if capture_ns >= self.newest_ns {
            self.newest_ns = capture_ns;
            self.answers[self.next] = (sequence, shot);
            self.next = (self.next + 1) % REMEMBERED;
        }
        shot
    }

    fn newest_shot(&self) -> Option<Shot> {
        let (sequence, shot) = self.answers[(self.next + REMEMBERED - 1) % REMEMBERED];
        (sequence != u64::MAX).then_some(shot)
    }

    fn limits(&self) -> Option<Limits> {
        self.director.as_ref().map(Director::limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portraitd_media::{Colorimetry, PixelFormat};

    fn format(width: u32, height: u32) -> FrameFormat {
        FrameFormat::packed(PixelFormat::Nv12, Size::new(width, height), Colorimetry::default(), 30.0)
    }

    /// Shows the numbered frames at 30 per second, with one person in sight. Returns the last shot.
    fn run(keeper: &mut DirectorKeeper, frames: std::ops::Range<u64>) -> Shot {
        let mut shot = NO_SHOT;
        for frame in frames {
            let at_ns = 1_000_000_000 + frame * 33_333_333;
            keeper.observe(at_ns, &[Subject { id: 1, bounds: UnitRect::new(0.2, 0.5, 0.15, 0.5) }]);
            shot = keeper.shot(frame, at_ns);
        }
        shot
    }

    const CHOICE: FramingChoice = FramingChoice {
        mode: FramingMode::Follow,
        speed: FramingSpeed::Normal,
        max_zoom: 2.0,
        min_zoom: 1.0,
        lead_room: 0.0,
        manual_crop: UnitRect::WHOLE,
        output: None,
    };

    fn keeper() -> DirectorKeeper {
        let mut keeper = DirectorKeeper::new(CHOICE);
        assert!(!keeper.set_format(format(1280, 720)));
        keeper
    }

    #[test]
    fn the_crop_does_not_jump_when_the_format_changes_in_motion() {
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
    fn a_restarted_director_begins_with_the_whole_frame() {
        let mut keeper = keeper();
        run(&mut keeper, 0..300);
        keeper.restart();
        assert!(keeper.set_format(format(640, 480)));
        assert_eq!(run(&mut keeper, 300..301).crop, PixelRect::new(0.0, 0.0, 640.0, 480.0));
    }

    #[test]
    fn after_a_panic_under_the_lock_a_new_director_is_built() {
        let director = SharedDirector::new("main", CHOICE);
        director.set_format(format(1280, 720));
        director.enter_scene(7);
        let before = run(&mut director.lock(), 0..300);
        assert!(before.crop.width < 1200.0, "{before:?}");
        let panicked = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut keeper = director.lock();
                // What a panic in the middle of a step could leave.
                keeper.director = None;
                keeper.answers =
                    [(300, Shot { crop: PixelRect::new(-1.0, f32::NAN, 0.0, 0.0), ..NO_SHOT }); REMEMBERED];
                keeper.newest_ns = u64::MAX;
                std::panic::resume_unwind(Box::new("injected"));
            });
            thread.join().is_err()
        });
        assert!(panicked && director.keeper.is_poisoned());
        let first = director.shot(300, 11_000_000_000);
        assert!(!director.keeper.is_poisoned());
        assert_eq!(first.crop, PixelRect::new(0.0, 0.0, 1280.0, 720.0), "the whole frame");
        assert!(!director.observe(6, 11_000_000_000, &[]), "people of an earlier scene are still ignored");
        let last = run(&mut director.lock(), 301..700);
        assert!(last.still && last.crop == before.crop, "the crop follows the person again: {last:?}");
    }

    #[test]
    fn a_panic_in_a_change_of_settings_leaves_the_old_settings() {
        let director = SharedDirector::new("main", CHOICE);
        director.set_format(format(1280, 720));
        let panicked = std::thread::scope(|scope| {
            let half_done = scope.spawn(|| {
                director.change(|choice| {
                    choice.max_zoom = 99.0;
                    std::panic::resume_unwind(Box::new("injected"));
                })
            });
            half_done.join().is_err()
        });
        assert!(panicked);
        assert_eq!(
            director.limits().map(|limits| limits.max_zoom),
            Some(1.5),
            "the director is there, with its limits"
        );
        assert_eq!(director.lock().choice, CHOICE);
    }
}
