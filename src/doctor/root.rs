//! Reading below a root folder, within limits.

use std::fs;
use std::path::{Path, PathBuf};

use portraitd_media::bounded::read_regular;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A folder that stands for `/`. Paths are given as they are called on the system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root<'a>(&'a Path);

/// A line of `/etc/group`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) number: u32,
    /// The names of the users that it lists.
    pub(super) members: Vec<String>,
}

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) number: u32,
}

impl<'a> Root<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self(folder)
    }

    pub(super) fn at(self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether there is something under this name, be it a link that leads nowhere.
    pub(super) fn exists(self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// The text of a file without the white space at its ends. `None` if it cannot be read.
    pub(super) fn text(self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = read_regular(&self.at(path), MAX_BYTES).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    pub(super) fn number(self, path: impl AsRef<Path>) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The names in a folder, sorted, `limit` at most; empty if it cannot be read.
    pub(super) fn names(self, folder: impl AsRef<Path>, limit: usize) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at(folder)) else { return Vec::new() };
        let names = entries.take(limit).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Where a link of the system leads, all links followed; the path itself if it is none. `None`
    /// if there is nothing.
    pub(super) fn resolve(self, path: &Path) -> Option<PathBuf> {
        let root = fs::canonicalize(self.0).ok()?;
        let real = fs::canonicalize(self.at(path)).ok()?;
        Some(real.strip_prefix(&root).map_or_else(|_| real.clone(), |below| Path::new("/").join(below)))
    }

    pub(super) fn groups(self) -> Vec<Group> {
        let text = self.text("/etc/group").unwrap_or_default();
        let line = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, number, members] = fields.as_slice() else { return None };
            let members = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
            Some(Group { name: (*name).to_owned(), number: number.parse().ok()?, members })
        };
        text.lines().filter_map(line).collect()
    }

    pub(super) fn users(self) -> Vec<User> {
        let text = self.text("/etc/passwd").unwrap_or_default();
        let line = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some(User { name, number: fields.nth(1)?.parse().ok()? })
        };
        text.lines().filter_map(line).collect()
    }
}
