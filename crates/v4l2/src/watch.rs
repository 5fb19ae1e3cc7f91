//! Reports that video devices were added, removed or became accessible, by inotify on `/dev` and
//! its folders of links.
//!
//! It needs neither udev nor netlink, and works in a container that has only the device nodes. A
//! caller that waits for a device should try to open it after each report: a report may be
//! unrelated to the device, but no change is missed.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::paths;

/// A watch on video devices. It records changes from its creation on, so create it before you look
/// for the device.
#[derive(Debug)]
pub struct DeviceWatch {
    fd: OwnedFd,
    /// The folder of nodes, then the folders of links.
    folders: Vec<PathBuf>,
}

impl DeviceWatch {
    /// Watches `/dev`.
    ///
    /// # Errors
    /// The kernel refuses an inotify descriptor (`EMFILE`: the user has reached the limit), or
    /// `/dev` cannot be watched.
    pub fn new() -> io::Result<Self> {
        Self::on_folders(std::iter::once(paths::DEV).chain(paths::LINK_FOLDERS).map(PathBuf::from).collect())
    }

    fn on_folders(folders: Vec<PathBuf>) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let watch = Self { fd, folders };
        watch.add(&watch.folders[0])?;
        watch.add_links();
        Ok(watch)
    }

    fn add(&self, folder: &PathBuf) -> io::Result<()> {
        // ATTRIB: udev grants access to a node shortly after its creation.
        let events =
            WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ATTRIB | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.fd, folder, events)?;
        Ok(())
    }

    /// Watches the folders of links, which exist only while there is a device. Watching a folder
    /// twice has no effect.
    fn add_links(&self) {
        for folder in &self.folders[1..] {
            if self.add(folder).is_err() {
                // The folder does not exist: its parent reports its creation, and `/dev` reports
                // the parent's.
                if let Some(parent) = folder.parent() {
                    let _ = self.add(&parent.to_owned());
                }
            }
        }
    }

    /// Reads all pending events. Returns whether any of them may concern a video device.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut found = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_string_lossy());
                    let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    // In `/dev`: nodes and the folder `v4l`. In `/dev/v4l`: folders of links. In
                    // those: links.
                    found |= lost
                        || name.is_some_and(|name| {
                            paths::node_number(&name).is_some()
                                || name == "v4l"
                                || name.starts_with("by-")
                                || name.contains("video-index")
                        });
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if found {
            self.add_links();
        }
        Ok(found)
    }

    /// Blocks the thread until a video device may have been added or removed, `timeout` at most.
    /// Returns whether one was.
    ///
    /// # Errors
    /// The error of reading or polling the inotify descriptor.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.drain()? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let wait = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits until a video device may have been added or removed. Needs a tokio runtime. The future
    /// can be dropped at any point without losing a change.
    ///
    /// # Errors
    /// The error of reading or polling the inotify descriptor.
    pub async fn changed(&self) -> io::Result<()> {
        // The replacement is an `unsafe fn` whose condition, an open descriptor, the borrowed
        // descriptor already ensures.
        #[allow(deprecated, reason = "the safe function is sufficient")]
        let ready = AsyncFd::with_interest(self.fd.as_fd(), Interest::READABLE)?;
        loop {
            if self.drain()? {
                return Ok(());
            }
            ready.readable().await?.clear_ready();
        }
    }
}

impl AsFd for DeviceWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn watched() -> (tempfile::TempDir, DeviceWatch) {
        let folder = tempfile::tempdir().expect("a folder");
        let dev = folder.path().to_owned();
        let watch = DeviceWatch::on_folders(vec![dev.clone(), dev.join("v4l/by-id")]).expect("a watch");
        (folder, watch)
    }

    #[test]
    fn only_changes_of_video_nodes_are_reported() {
        let (folder, watch) = watched();
        let dev = folder.path();
        fs::write(dev.join("ttyS0"), "").expect("created");
        assert!(!watch.wait(Duration::ZERO).expect("works"));
        fs::write(dev.join("video0"), "").expect("created");
        assert!(watch.wait(Duration::ZERO).expect("works"));
        assert!(!watch.wait(Duration::ZERO).expect("works"), "reported once");
        fs::remove_file(dev.join("video0")).expect("removed");
        assert!(watch.wait(Duration::ZERO).expect("works"));
    }

    #[test]
    fn folders_of_links_are_watched_when_they_are_created() {
        let (folder, watch) = watched();
        let dev = folder.path();
        fs::create_dir(dev.join("v4l")).expect("created");
        assert!(watch.wait(Duration::ZERO).expect("works"));
        fs::create_dir(dev.join("v4l/by-id")).expect("created");
        assert!(watch.wait(Duration::ZERO).expect("works"));
        symlink("../../video0", dev.join("v4l/by-id/usb-camera-video-index0")).expect("link");
        assert!(watch.wait(Duration::ZERO).expect("works"));
    }

    #[tokio::test]
    async fn a_task_is_woken_and_its_future_may_be_dropped() {
        let (folder, watch) = watched();
        assert!(tokio::time::timeout(Duration::from_millis(1), watch.changed()).await.is_err(), "nothing yet");
        let node = folder.path().join("video3");
        let (woken, written) = tokio::join!(watch.changed(), async move { fs::write(node, "") });
        woken.expect("works");
        written.expect("created");
    }
}
