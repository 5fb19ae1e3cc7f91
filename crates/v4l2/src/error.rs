//! Turns the errors of system calls into errors of sources.

use std::path::Path;

use rustix::io::Errno;

use portraitd_media::SourceError;

/// The phase in which a call was made: the same error means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// While the device was opened and configured.
    Opening,
    /// While the device streamed.
    Streaming,
}

/// The error of the system call `call` on the device at `path`. The variants differ in what a
/// supervisor should do: wait for the device, wait until another program closes it, report the
/// problem to the user, or retry.
pub(super) fn classify(path: &Path, call: &'static str, errno: Errno, phase: Phase) -> SourceError {
    let source_name = path.display().to_string();
    match (errno, phase) {
        (Errno::NOENT | Errno::NXIO | Errno::NODEV, Phase::Opening) => SourceError::Absent { source_name },
        // With these errors, drivers report that the hardware has been removed.
        (Errno::NXIO | Errno::NODEV | Errno::SHUTDOWN, Phase::Streaming) => SourceError::Gone { source_name },
        (Errno::BUSY, _) => SourceError::Busy { source_name },
        (Errno::ACCESS | Errno::PERM, _) => SourceError::Permission { source_name },
        (Errno::NOTTY, Phase::Opening) => SourceError::Unsupported {
            source_name,
            reason: format!("is not a video device (it does not support {call})"),
        },
        _ => SourceError::Io { source_name, call, error: std::io::Error::from(errno) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_its_variant() {
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
