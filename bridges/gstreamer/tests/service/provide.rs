//! The program `portraitd-provide`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::sink::look;
use super::{PATIENCE, Service, photograph, size, until};

/// The program as a service manager sees it.
struct Program {
    child: Child,
    notices: UnixDatagram,
    _folder: tempfile::TempDir,
}

fn command(pipeline: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portraitd-provide"));
    command.args(["--bus", "session", "--camera", "door", "--"]).arg(pipeline).stdin(Stdio::null());
    command
}

impl Program {
    fn start(pipeline: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let notices = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        notices.set_read_timeout(Some(PATIENCE.into())).expect("a limit");
        let child = command(pipeline).env("NOTIFY_SOCKET", folder.path().join("notify")).spawn().expect("it starts");
        let program = Self { child, notices, _folder: folder };
        program.until("READY=1");
        program
    }

    /// Waits until the program says `words` to the service manager.
    fn until(&self, words: &str) {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notices.recv(&mut buffer).unwrap_or_else(|error| panic!("no `{words}`: {error}"));
            if String::from_utf8_lossy(&buffer[..length]).contains(words) {
                return;
            }
        }
    }

    /// Whether it has the file open.
    fn has_open(&self, file: &Path) -> bool {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs");
        descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).any(|target| target == file)
    }

    /// Ends it as a service manager does.
    fn terminate(mut self) -> ExitStatus {
        let ended = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(ended.expect("kill runs").success());
        let (sender, receiver) = mpsc::channel();
        let process = self.child.id();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = sender.send(self.child.wait());
            });
            let status = receiver.recv_timeout(Duration::from_secs(20));
            if status.is_err() {
                let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
            }
            status.expect("it ends").expect("a status")
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipeline that has the file open while it runs.
fn still(file: &Path) -> String {
    let file = file.display();
    format!("filesrc location={file} ! jpegdec ! imagefreeze ! video/x-raw,framerate=30/1 ! portraitdsink sync=true")
}

#[test]
fn the_source_is_on_only_while_somebody_looks() {
    let _service = Service::with(&[("door", "provider")]);
    let photograph = photograph();
    let program = Program::start(&still(&photograph));
    program.until("STATUS=nobody looks");
    for _ in 0..2 {
        assert!(!program.has_open(&photograph));
        let looking = look();
        program.until("STATUS=somebody looks\n");
        assert!(program.has_open(&photograph));
        assert!(size(&looking.next()).0 > 100);
        drop(looking);
        program.until("STATUS=nobody looks");
    }
    assert!(!program.has_open(&photograph));
    assert!(program.terminate().success());
}

#[test]
fn a_program_that_is_killed_can_be_replaced() {
    let _service = Service::with(&[("door", "provider")]);
    // Without a sink: it is added.
    let pipeline = "videotestsrc is-live=true ! video/x-raw,width=320,height=240";
    let looking = look();
    for _ in 0..2 {
        let mut program = Program::start(pipeline);
        program.until("STATUS=somebody looks\n");
        // More than can have waited since the one before.
        for _ in 0..8 {
            assert_eq!(size(&looking.next()).0, 320);
        }
        program.child.kill().expect("killed");
        until("list", "\"state\":\"absent\"");
    }
}

#[test]
fn a_source_that_fails_is_tried_again() {
    let _service = Service::with(&[("door", "provider")]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("later.jpg");
    let program = Program::start(&still(&file));
    let looking = look();
    program.until("the source has failed");
    std::fs::copy(photograph(), &file).expect("copied");
    program.until("STATUS=somebody looks\n");
    looking.next();
    assert!(program.terminate().success());
}

#[test]
fn a_source_that_hangs_does_not_keep_the_program_from_ending() {
    let _service = Service::with(&[("door", "provider")]);
    let folder = tempfile::tempdir().expect("a folder");
    // Opening it waits for a writer.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let program = Program::start(&still(&pipe));
    let _looking = look();
    program.until("the source is starting");
    assert!(program.terminate().success());
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let mut service = Service::with(&[("main", "scene:walk"), ("door", "provider")]);
    let run = |pipeline: &str| -> (Option<i32>, String) {
        let Output { status, stderr, .. } = command(pipeline).output().expect("it runs");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    let (status, said) = run("videotestsrc ! nonesuch");
    assert!(status == Some(2) && said.contains("does not parse") && said.contains("nonesuch"), "{status:?} {said}");
    let (status, said) = run("videotestsrc ! fakesink");
    assert!(status == Some(2) && said.contains("with portraitdsink at its end"), "{status:?} {said}");
    let (status, said) = run("videotestsrc ! portraitdsink videotestsrc ! portraitdsink");
    assert!(status == Some(2) && said.contains("2 of portraitdsink"), "{status:?} {said}");
    // The camera of the command line counts.
    let mut scene = Command::new(env!("CARGO_BIN_EXE_portraitd-provide"));
    scene.args(["--bus", "session", "--camera", "main", "videotestsrc", "!", "portraitdsink", "camera=door"]);
    let output = scene.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("provider"), "{said}");
    // A second program for the same camera.
    let first = Program::start("videotestsrc is-live=true");
    first.until("STATUS=nobody looks");
    let (status, said) = run("videotestsrc is-live=true");
    assert!(status == Some(1) && said.contains("door"), "{status:?} {said}");
    // Without the service it waits.
    service.end();
    first.until("STATUS=waiting for the service");
    assert!(first.terminate().success());
}
