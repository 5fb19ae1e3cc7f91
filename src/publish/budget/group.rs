//! How much of the memory that the control group allows is taken, whoever made the service take it.
//!
//! Some memory cannot be charged to a user: a client that reads a ring can keep its pages in a pipe
//! or socket (`splice`, `vmsplice`), and the kernel counts them as the service's for as long as they
//! are there, even when the ring is gone. New memory is therefore refused before the kernel has to
//! end the service.

use std::path::{Path, PathBuf};

/// Above this there is no limit: version 1 writes the largest number of pages.
const NO_LIMIT: u64 = 1 << 50;

/// The memory of a control group, of version 1 or 2.
#[derive(Debug)]
pub(super) struct MemoryGroup {
    usage: PathBuf,
    stat: PathBuf,
    limit: u64,
}

impl MemoryGroup {
    /// The group of this process; `None` if it has no limit, or cannot be read.
    pub(super) fn of_this_process() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find(&groups, Path::new("/sys/fs/cgroup"))
    }

    fn find(groups: &str, root: &Path) -> Option<Self> {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            if controllers.split(',').any(|name| name == "memory") {
                let folder = root.join("memory").join(path);
                Self::open(&folder, "memory.limit_in_bytes", "memory.usage_in_bytes")
            } else if controllers.is_empty() {
                Self::open(&root.join(path), "memory.max", "memory.current")
            } else {
                None
            }
        })
    }

    fn open(folder: &Path, limit: &str, usage: &str) -> Option<Self> {
        let limit = number(&folder.join(limit)).filter(|limit| *limit < NO_LIMIT)?;
        Some(Self { usage: folder.join(usage), stat: folder.join("memory.stat"), limit })
    }

    /// What is left until an eighth of the limit remains, in bytes. Pages of files do not count,
    /// because the kernel takes them back. `None` if that cannot be read.
    pub(super) fn room(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(&self.stat).ok()?;
        let of = |name: &str| {
            let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.and_then(|value| value.parse::<u64>().ok())
        };
        // Version 1 has the sums with those of inner groups under other names.
        let files = ["active_file", "inactive_file"].map(|name| of(&format!("total_{name}")).or_else(|| of(name)));
        let files: u64 = files.into_iter().flatten().sum();
        let taken = number(&self.usage)?.saturating_sub(files);
        Some((self.limit - self.limit / 8).saturating_sub(taken))
    }

    /// What the group may take, in bytes.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn group(folder: &Path, files: [(&str, &str); 3]) {
        std::fs::create_dir_all(folder).expect("folder");
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("written");
        }
    }

    #[test]
    fn version_two() {
        let root = tempfile::tempdir().expect("folder");
        let folder = root.path().join("system.slice/portraitd.service");
        let stat = "anon 5\nactive_file 1048576\ninactive_file 2097152\n";
        group(&folder, [("memory.max", "268435456\n"), ("memory.current", "106954752\n"), ("memory.stat", stat)]);
        let found = MemoryGroup::find("0::/system.slice/portraitd.service\n", root.path()).expect("a limit");
        assert_eq!((found.limit(), found.room()), (256 * MIB, Some((224 - 102 + 3) * MIB)));
        std::fs::write(folder.join("memory.current"), "268435456\n").expect("written");
        assert_eq!(found.room(), Some(0));
        std::fs::write(folder.join("memory.max"), "max\n").expect("written");
        assert!(MemoryGroup::find("0::/system.slice/portraitd.service\n", root.path()).is_none());
    }

    #[test]
    fn version_one() {
        let root = tempfile::tempdir().expect("folder");
        let stat = "active_file 1\ntotal_active_file 1048576\ntotal_inactive_file 0\n";
        let files =
            [("memory.limit_in_bytes", "67108864"), ("memory.usage_in_bytes", "2097152"), ("memory.stat", stat)];
        group(&root.path().join("memory/a"), files);
        let groups = "5:cpu,cpuacct:/x\n4:memory:/a\n0::/b\n";
        assert_eq!(MemoryGroup::find(groups, root.path()).expect("a limit").room(), Some(55 * MIB));
        std::fs::write(root.path().join("memory/a/memory.limit_in_bytes"), "9223372036854771712").expect("written");
        assert!(MemoryGroup::find(groups, root.path()).is_none());
    }
}
