//! A named pipe as the source of a whole camera.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use portraitd_media::file::{FileOptions, FilePath, FileSource};
use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

/// A camera whose source is a named pipe.
struct PipedRig {
    rig: Rig,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl PipedRig {
    fn new(idle_close_s: f64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("camera.y4m");
        mkfifoat(CWD, &path, Mode::RWXU).expect("a pipe");
        let source = FileSource::new(FileOptions::new(FilePath::Path(path.clone())));
        let config = config::CameraConfig { idle_close_s, ..config::CameraConfig::default() };
        let notes = PrivacyNotes::default();
        let rig = Rig::with_source(config, None, notes, Openings::default(), (Box::new(source), None));
        Self { rig, path, _folder: folder }
    }

    /// A program that writes to the pipe. Opening it waits until somebody looks.
    fn writer(&self) -> tokio::task::JoinHandle<File> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            let mut pipe = OpenOptions::new().write(true).open(path).expect("a pipe");
            pipe.write_all(b"YUV4MPEG2 W32 H16 F30:1 C420jpeg\n").expect("written");
            pipe
        })
    }
}

fn frame(mut pipe: &File) -> std::io::Result<()> {
    let mut bytes = b"FRAME\n".to_vec();
    bytes.resize(bytes.len() + 32 * 16 * 3 / 2, LUMA);
    pipe.write_all(&bytes)
}

#[tokio::test]
async fn a_camera_behind_a_pipe_is_absent_until_a_program_writes_and_again_after_its_end() {
    let mut piped = PipedRig::new(60.0);
    let refused = piped.rig.attach().await.expect_err("no writer");
    assert!(
        matches!(&refused, ServiceError::CameraAbsent(reason) if reason.contains("no program writes to this pipe")),
        "{refused}"
    );
    let state = piped.rig.until(CameraState::Absent).await;
    assert!(state.camera.last_error.contains("no program writes to this pipe"), "{state:?}");
    // The pipe is still open, so a program that comes now is heard at once.
    let pipe = piped.writer().await.expect("a writer");
    let mut ring = piped.rig.attach().await.expect("open");
    frame(&pipe).expect("written");
    assert_eq!(luma(&read(&mut ring)), LUMA);
    piped.rig.until(CameraState::Running).await;
    drop(pipe);
    // It is absent, or waits for the next program already, because a client has attached meanwhile.
    let ended = piped.rig.state.wait_for(|state| state.camera.state != CameraState::Running);
    let ended = ended.await.expect("a camera").clone();
    assert!(ended.camera.last_error.contains("has ended"), "{ended:?}");
    let pipe = piped.writer().await.expect("the next writer");
    frame(&pipe).expect("written");
    assert_eq!(luma(&read(&mut ring)), LUMA, "the same ring goes on");
    piped.rig.until(CameraState::Running).await;
}

#[tokio::test]
async fn a_program_that_writes_to_a_pipe_sees_whether_somebody_looks() {
    let mut piped = PipedRig::new(0.1);
    let writer = piped.writer();
    let ring = piped.rig.attach().await.expect("the writer has waited for this");
    let pipe = writer.await.expect("a writer");
    frame(&pipe).expect("somebody looks");
    piped.rig.until(CameraState::Running).await;
    drop(ring);
    piped.rig.until(CameraState::Idle).await;
    assert_eq!(frame(&pipe).expect_err("nobody looks").kind(), std::io::ErrorKind::BrokenPipe);
}
