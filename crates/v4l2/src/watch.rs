//! Tells when video devices come or go, or become accessible: inotify on `/dev` and its folders of links.
//!
//! Needs no udev and no netlink, and works in a container that has the nodes alone. Whoever waits for a device opens it
//! again after each hint: a hint may be false, and none is missed.

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

/// A watch on video devices. It collects hints from the moment it is made, so make it before the device is looked for.
#[derive(Debug)]
pub struct DeviceWatch {
    fd: OwnedFd,
    /// The folder of nodes, then those of links.
    folders: Vec<PathBuf>,
}

impl DeviceWatch {
    /// Watches `/dev`.
    ///
    /// # Errors
    /// Where the kernel gives no inotify descriptor (the user's limit), or `/dev` cannot be watched.
    pub fn new() -> io::Result<Self> {
        Self::of(std::iter::once(paths::DEV).chain(paths::LINK_FOLDERS).map(PathBuf::from).collect())
    }

    fn of(folders: Vec<PathBuf>) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let watch = Self { fd, folders };
        watch.add(&watch.folders[0])?;
        watch.add_links();
        Ok(watch)
    }

    fn add(&self, folder: &PathBuf) -> io::Result<()> {
        // ATTRIB: udev lets a group have the node a moment after it was made.
        let what =
            WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ATTRIB | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.fd, folder, what)?;
        Ok(())
    }

    /// Folders of links come with the first device and go with the last. To watch one twice does nothing.
    fn add_links(&self) {
        for folder in &self.folders[1..] {
            if self.add(folder).is_err() {
                // Not there: its parent tells when it comes, and is itself told of by `/dev`.
                if let Some(parent) = folder.parent() {
                    let _ = self.add(&parent.to_owned());
                }
            }
        }
    }

    /// Takes what has happened; whether any of it may concern a video device.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut found = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_string_lossy());
                    let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    // In `/dev`: nodes, and the folder of links. In the folders of links: every name.
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

    /// Waits up to `timeout`; whether a video device may have come or gone. Blocks the thread.
    ///
    /// # Errors
    /// Where the descriptor fails.
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

    /// Waits until a video device may have come or gone. For the runtime's thread; can be dropped at any point without
    /// losing a hint.
    ///
    /// # Errors
    /// Where the descriptor fails.
    pub async fn changed(&self) -> io::Result<()> {
        // Its successor is an `unsafe fn` that asks for what a borrowed descriptor promises: to stay open meanwhile.
        #[allow(deprecated, reason = "the safe form is enough")]
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
        let watch = DeviceWatch::of(vec![dev.clone(), dev.join("v4l/by-id")]).expect("a watch");
        (folder, watch)
    }

    #[test]
    fn nodes_that_come_and_go_are_told_and_others_are_not() {
        let (folder, watch) = watched();
        let dev = folder.path();
        fs::write(dev.join("ttyS0"), "").expect("made");
        assert!(!watch.wait(Duration::ZERO).expect("works"));
        fs::write(dev.join("video0"), "").expect("made");
        assert!(watch.wait(Duration::ZERO).expect("works"));
        assert!(!watch.wait(Duration::ZERO).expect("works"), "told once");
        fs::remove_file(dev.join("video0")).expect("gone");
        assert!(watch.wait(Duration::ZERO).expect("works"));
    }

    #[test]
    fn folders_of_links_are_watched_when_they_come() {
        let (folder, watch) = watched();
        let dev = folder.path();
        fs::create_dir(dev.join("v4l")).expect("made");
        assert!(watch.wait(Duration::ZERO).expect("works"));
        fs::create_dir(dev.join("v4l/by-id")).expect("made");
        assert!(watch.wait(Duration::ZERO).expect("works"));
        symlink("../../video0", dev.join("v4l/by-id/usb-camera-video-index0")).expect("link");
        assert!(watch.wait(Duration::ZERO).expect("works"));
    }

    #[tokio::test]
    async fn a_task_is_woken_and_may_be_dropped_meanwhile() {
        let (folder, watch) = watched();
        assert!(tokio::time::timeout(Duration::from_millis(1), watch.changed()).await.is_err(), "nothing yet");
        let made = folder.path().join("video3");
        let (woken, made) = tokio::join!(watch.changed(), async move { fs::write(made, "") });
        woken.expect("works");
        made.expect("made");
    }
}
