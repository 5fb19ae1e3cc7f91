//! The daemon's own program as a process: how it ends, and what of its memory others can read.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portraitd_client::feed::{find_camera, wait_for_camera};
use portraitd_client::proxy::ManagerProxy;
use portraitd_protocol::{CameraState, ServiceError, Word};

use crate::bus::PrivateBus;
use crate::fake::{eventually, runtime};

/// The program, which is killed if the test fails.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(bus: &str, arguments: &[&str], stdin: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portraitd"));
        command.args(["run", "--bus", bus, "--log", "info"]).args(arguments);
        Self(command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("portraitd"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it with SIGTERM. Returns its exit status and what it logged.
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        let mut log = String::new();
        self.0.stderr.take().expect("piped").read_to_string(&mut log).expect("a log");
        (self.0.wait().expect("its end").code(), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The source is a pipe that brings nothing, so that opening it waits for a header.
#[test]
fn the_service_ends_while_the_opening_of_its_source_does_not_return() {
    let Some(bus) = PrivateBus::start() else { return };
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let daemon = Daemon::start(&bus.address, &["--source", "-"], reader.into());
    runtime().block_on(async {
        let client = bus.bus.connect().await.expect("a client");
        let camera = wait_for_camera(&client, None).await.expect("a camera");
        let attaching = camera.clone();
        let attach = tokio::spawn(async move { attaching.attach("view", &HashMap::new()).await.is_ok() });
        loop {
            if camera.state().await.is_ok_and(|state| state == Word::Known(CameraState::Starting)) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let (status, log) = tokio::task::spawn_blocking(|| daemon.terminate()).await.expect("a thread");
        assert_eq!(status, Some(0), "{log}");
        assert!(log.contains("the thread capture-main does not end, so it is left behind"), "{log}");
        assert!(log.contains("stopped"), "{log}");
        drop(attach);
    });
}

/// The flags of the mappings whose name contains `name`, from `/proc/PID/smaps`.
fn mapping_flags(pid: u32, name: &str) -> Vec<String> {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut flags, mut inside) = (Vec::new(), false);
    for line in smaps.lines() {
        // A mapping begins with its range of addresses.
        if line.split(' ').next().is_some_and(|first| first.contains('-')) {
            inside = line.contains(name);
        }
        if inside && let Some(found) = line.strip_prefix("VmFlags:") {
            flags.push(found.to_owned());
        }
    }
    flags
}

#[test]
fn rings_are_left_out_of_core_dumps() {
    let Some(bus) = PrivateBus::start() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED, NOT TESTED: only root can read the mappings of the service");
        return;
    }
    let daemon = Daemon::start(&bus.address, &["--source", "scene:walk"], Stdio::null());
    runtime().block_on(async {
        let client = bus.bus.connect().await.expect("a client");
        let camera = wait_for_camera(&client, None).await.expect("a camera");
        let _fds = camera.attach("view", &HashMap::new()).await.expect("a ring");
        eventually("the ring is mapped and left out of dumps", || {
            let flags = mapping_flags(daemon.0.id(), "memfd:portraitd-");
            !flags.is_empty() && flags.iter().all(|flags| flags.split_whitespace().any(|flag| flag == "dd"))
        })
        .await;
    });
    assert_eq!(daemon.terminate().0, Some(0));
}

/// A process that may be dumped belongs to its user in `/proc`, and any other to root. Root itself
/// runs the service as another user here.
#[test]
fn the_service_is_not_dumped_and_not_traced() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let program = folder.path().join("portraitd");
    std::fs::copy(env!("CARGO_BIN_EXE_portraitd"), &program).expect("a copy");
    let mut command = Command::new(&program);
    command.args(["run", "--bus", "none", "--source", "scene:walk", "--log", "info"]).current_dir("/");
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(65534).gid(65534);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut daemon = Daemon(child.expect("portraitd"));
    let mut log = BufReader::new(daemon.0.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert_ne!(log.read_line(&mut line).expect("a line"), 0, "it ended");
    }
    let folder = format!("/proc/{}", daemon.0.id());
    let owner = std::fs::metadata(Path::new(&folder).join("environ")).expect("proc").uid();
    assert_eq!(owner, 0, "another process of the same user can read its memory");
    let limits = std::fs::read_to_string(Path::new(&folder).join("limits")).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}

/// systemd starts the service for a call on the bus, and the bus does not learn that the service has
/// failed: the program that it starts here does not end either.
#[test]
fn a_call_that_starts_a_service_with_a_bad_configuration_is_answered_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let write = |name: &str, text: String| std::fs::write(file(name), text).expect("written");
    let (program, config, started) = (env!("CARGO_BIN_EXE_portraitd"), file("portraitd.toml"), file("start"));
    // Whether somebody listens to the notifications does not matter. dbus-daemon passes none on.
    let notify = file("notify");
    write("portraitd.toml", "[[camera]]\nwdith = 640\n".to_owned());
    write(
        "start",
        format!(
            "#!/bin/sh\nNOTIFY_SOCKET={notify} {program} run --bus \"$DBUS_STARTER_ADDRESS\" --config {config} &\n\
             exec sleep 60 </dev/null >/dev/null 2>&1\n"
        ),
    );
    std::fs::set_permissions(&started, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    std::fs::create_dir(file("services")).expect("a folder");
    write("services/org.portraitd.service", format!("[D-BUS Service]\nName=org.portraitd\nExec={started}\n"));
    write(
        "bus.conf",
        format!(
            "<busconfig><type>session</type><listen>unix:dir={}</listen><servicedir>{}</servicedir><policy \
             context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow \
             own='*'/></policy></busconfig>",
            folder.path().display(),
            file("services")
        ),
    );
    let Some(bus) = PrivateBus::start_with(&["--config-file", &file("bus.conf")]) else { return };
    runtime().block_on(async {
        let client = bus.bus.connect().await.expect("a client");
        let error = find_camera(&client, None).await.expect_err("it cannot start");
        let ServiceError::Failed(text) = &error else { panic!("{error:?}") };
        assert!(text.contains("portraitd.toml:2:1: unknown key `camera.main.wdith`"), "{text}");
    });
}

/// What the service manager shows: a refused reload stays there until one succeeds.
#[test]
fn the_status_line_tells_a_refused_reload() {
    let Some(bus) = PrivateBus::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("portraitd.toml");
    let configure = |zoom: &str| {
        let text = format!("[[camera]]\ndevice = \"scene:walk\"\nframing.max_zoom = {zoom}\n");
        std::fs::write(&config, text).expect("written");
    };
    configure("1.5");
    let manager = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    // Reads messages until the status is as it should be. The service repeats it.
    let status = |good: &dyn Fn(&str) -> bool| {
        let mut bytes = [0; 4096];
        loop {
            let length = manager.recv(&mut bytes).expect("another status");
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if let Some(status) = text.lines().find_map(|line| line.strip_prefix("STATUS="))
                && good(status)
            {
                return status.to_owned();
            }
        }
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_portraitd"));
    command
        .args(["run", "--bus", &bus.address, "--config"])
        .arg(&config)
        .env("NOTIFY_SOCKET", folder.path().join("notify"));
    let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let daemon = Daemon(daemon.expect("portraitd"));
    status(&|status| status == "main: idle, 0 clients");
    runtime().block_on(async {
        let client = bus.bus.connect().await.expect("a client");
        let service = ManagerProxy::new(&client).await.expect("a proxy");
        configure("9");
        let error = service.reload().await.expect_err("out of range").to_string();
        assert!(error.contains("portraitd.toml:3:20: `camera.main.framing.max_zoom`"), "{error}");
        let told = status(&|status| status.starts_with("reload refused: "));
        assert!(told.contains("max_zoom`: 9 is not") && told.ends_with("; main: idle, 0 clients"), "{told}");
        configure("1.25");
        service.reload().await.expect("good");
        status(&|status| status == "main: idle, 0 clients");
    });
    // A signal has no answer: the status line is all there is, and the log.
    configure("9");
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("a signal");
    status(&|status| status.starts_with("reload refused: "));
    configure("1.25");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("a signal");
    status(&|status| status == "main: idle, 0 clients");
}
