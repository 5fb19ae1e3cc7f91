//! Which scene the camera sees, so that people of an earlier scene are not reported.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The number of the current scene. It increases when the shutter closes, the camera closes, or its
/// format changes.
///
/// A thread reads the number before it takes a frame. What it then finds in the frame counts only
/// if the number is still the same.
#[derive(Debug, Default)]
pub(super) struct Scene(Mutex<u64>);

impl Scene {
    fn lock(&self) -> MutexGuard<'_, u64> {
        // The number is whole at any time: it is only incremented.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn current(&self) -> u64 {
        *self.lock()
    }

    /// Starts a new scene and returns its number. `clear` removes what was seen; nothing of the old
    /// scene is published after it.
    pub(super) fn start_new(&self, clear: impl FnOnce()) -> u64 {
        let mut scene = self.lock();
        *scene += 1;
        clear();
        *scene
    }

    /// Calls `publish` if `scene` is still current. The scene does not change meanwhile. Returns
    /// whether it was current.
    pub(super) fn while_current(&self, scene: u64, publish: impl FnOnce()) -> bool {
        let current = self.lock();
        let is_current = *current == scene;
        if is_current {
            publish();
        }
        is_current
    }
}
