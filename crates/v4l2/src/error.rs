//! What a failed system call means for a camera.

use std::path::Path;

use rustix::io::Errno;

use portraitd_media::SourceError;

/// Where a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// While it was being opened and set up.
    Opening,
    /// While frames were flowing.
    Streaming,
}

/// The error of `call` on the device at `path`, by what the supervisor should make of it: wait for the device, wait for
/// another program to let go, tell a person, or just try again.
pub(super) fn classify(path: &Path, call: &'static str, errno: Errno, phase: Phase) -> SourceError {
    let source_name = path.display().to_string();
    match (errno, phase) {
        (Errno::NOENT | Errno::NXIO | Errno::NODEV, Phase::Opening) => SourceError::Absent { source_name },
        // `ENOENT` cannot come while streaming; the others are how drivers say that the hardware is gone.
        (Errno::NXIO | Errno::NODEV | Errno::SHUTDOWN, Phase::Streaming) => SourceError::Gone { source_name },
        (Errno::BUSY, _) => SourceError::Busy { source_name },
        (Errno::ACCESS | Errno::PERM, _) => SourceError::Permission { source_name },
        (Errno::NOTTY, Phase::Opening) => {
            SourceError::Unsupported { source_name, reason: format!("is not a video device ({call} is unknown to it)") }
        }
        _ => SourceError::Io { source_name, call, error: std::io::Error::from(errno) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_becomes_what_the_supervisor_acts_on() {
        let of = |errno, phase| classify(Path::new("/dev/video9"), "VIDIOC_DQBUF", errno, phase);
        assert!(matches!(of(Errno::NOENT, Phase::Opening), SourceError::Absent { .. }));
        assert!(matches!(of(Errno::NODEV, Phase::Opening), SourceError::Absent { .. }));
        assert!(matches!(of(Errno::NODEV, Phase::Streaming), SourceError::Gone { .. }));
        assert!(matches!(of(Errno::BUSY, Phase::Opening), SourceError::Busy { .. }));
        assert!(matches!(of(Errno::ACCESS, Phase::Opening), SourceError::Permission { .. }));
        assert!(matches!(of(Errno::NOTTY, Phase::Opening), SourceError::Unsupported { .. }));
        let io = of(Errno::IO, Phase::Streaming);
        assert!(matches!(io, SourceError::Io { .. }));
        assert!(io.to_string().starts_with("/dev/video9: VIDIOC_DQBUF: "), "{io}");
    }
}
