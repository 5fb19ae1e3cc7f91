//! Which cameras are private: muted in software by a client.
//!
//! A camera that somebody has muted must not open by itself after a crash or a restart of the
//! service. Each private camera therefore has an empty file `private-NAME` in
//! `$RUNTIME_DIRECTORY`, which the unit preserves over restarts. Stopping the service, or the
//! machine, ends it. Without the folder (a service that was not started by systemd) only this
//! process knows.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PREFIX: &str = "private-";

/// The notes, shared by all cameras of the service: a reload may replace a camera by another one of
/// the same name, which is then private too.
#[derive(Clone, Debug, Default)]
pub struct PrivacyNotes {
    folder: Option<PathBuf>,
    names: Arc<Mutex<HashSet<String>>>,
}

impl PrivacyNotes {
    /// The notes in the folder that the service manager provides.
    #[must_use]
    pub fn from_environment() -> Self {
        // systemd lists several folders with colons between them.
        let folder = std::env::var_os("RUNTIME_DIRECTORY");
        let folder = folder.as_ref().and_then(|folders| std::env::split_paths(folders).next());
        folder.map_or_else(Self::default, Self::in_folder)
    }

    /// The notes in a folder. A folder that cannot be read has none.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_prefix(PREFIX).map(ToOwned::to_owned);
        let names = entries.filter_map(name).collect();
        Self { folder: Some(folder), names: Arc::new(Mutex::new(names)) }
    }

    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        // Names are added and removed whole.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the camera `name` is private.
    #[must_use]
    pub fn is_private(&self, name: &str) -> bool {
        self.names().contains(name)
    }

    /// Notes whether the camera `name` is private.
    ///
    /// # Errors
    /// If the note cannot be written or removed. It is in force in this process all the same.
    pub fn set(&self, name: &str, private: bool) -> io::Result<()> {
        let changed = if private { self.names().insert(name.to_owned()) } else { self.names().remove(name) };
        let Some(folder) = self.folder.as_ref().filter(|_| changed) else { return Ok(()) };
        let path = folder.join(format!("{PREFIX}{name}"));
        if private {
            return std::fs::File::create(path).map(drop);
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_camera_stays_private_over_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let notes = || PrivacyNotes::in_folder(folder.path().to_owned());
        let before = notes();
        before.set("main", true).expect("a note");
        assert!(before.is_private("main") && !before.is_private("door"));
        assert!(before.clone().is_private("main"), "all cameras share the notes");
        let after = notes();
        assert!(after.is_private("main") && !after.is_private("door"));
        after.set("main", false).expect("no note");
        assert!(!after.is_private("main") && !notes().is_private("main"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    }

    #[test]
    fn a_note_that_cannot_be_written_is_in_force_all_the_same() {
        let notes = PrivacyNotes::in_folder("/nonexistent/folder".into());
        notes.set("main", true).expect_err("no folder");
        assert!(notes.is_private("main"));
        let alone = PrivacyNotes::default();
        alone.set("main", true).expect("nothing to write");
        assert!(alone.is_private("main"));
    }
}
