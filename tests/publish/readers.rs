//! The readers in C and Python, which share no code with the Rust crates, with real rings over a
//! real bus.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use std::os::unix::fs::FileExt;

use portraitd::publish::dbus::serve;
use portraitd_client::{Ring, Wait};
use portraitd_protocol::layout::HEADER_BYTES;
use portraitd_protocol::{Colorimetry, PixelFormat, RingLayout, Size, StreamKind};

use crate::bus::PrivateBus;
use crate::fake::{FakeCamera, publication, runtime};

fn client_crate() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/client")
}

/// Runs `command` while a fake camera named `front-1` publishes on `bus`.
pub fn against_a_camera(bus: &PrivateBus, camera: &Arc<FakeCamera>, command: Command) -> Output {
    let mut command = command;
    runtime().block_on(async {
        let server = serve(&bus.bus, publication(&[camera])).await.expect("serve");
        let _publishing = camera.publish_for_ever(Duration::from_millis(3));
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("thread");
        // The bus sees the end of a connection some time after it: the next server would find the name taken.
        server.connection().release_name("org.portraitd").await.expect("the name is given back");
        output.expect("the program")
    })
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Checks that a picture file has the given header and that all its bytes are equal.
fn assert_one_shade(path: &Path, header: &str) {
    let bytes = std::fs::read(path).expect("the picture");
    let pixels = bytes.strip_prefix(header.as_bytes()).expect("the header");
    let channels = if header.starts_with("P6") { 3 } else { 1 };
    assert_eq!(pixels.len(), 64 * 36 * channels);
    assert!(pixels.iter().all(|byte| *byte == pixels[0]), "a mixture");
}

fn reads_both_kinds(program: impl Fn(&str, &Path, u32) -> Command) {
    let Some(bus) = PrivateBus::start() else { return };
    let folder = tempfile::tempdir().expect("folder");
    let camera = FakeCamera::new("front-1");
    for (stream, header) in [("mask", "P5\n64 36\n255\n"), ("view", "P6\n64 36\n255\n")] {
        let file = folder.path().join(stream);
        let output = against_a_camera(&bus, &camera, {
            let mut command = program(stream, &file, 60);
            command.env("DBUS_SESSION_BUS_ADDRESS", &bus.address);
            command
        });
        assert!(output.status.success(), "{}", text(&output));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
        assert_eq!(summary["frames"], 60, "{summary}");
        assert_one_shade(&file, header);
        // A stream that is not available is reported in one line.
        let output = against_a_camera(&bus, &camera, {
            let mut command = program("source", &file, 1);
            command.env("DBUS_SESSION_BUS_ADDRESS", &bus.address);
            command
        });
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("org.portraitd.Error.NoSuchStream"), "{}", text(&output));
    }
}

#[test]
fn the_python_reader_reads() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED, NOT TESTED: there is no python3");
        return;
    }
    reads_both_kinds(|stream, file, frames| {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("python/src"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.args(["-m", "portraitd"]);
        command.args(["--bus", "session", "--camera", "front-1", "--frames", &frames.to_string(), stream]).arg(file);
        command
    });
}

/// The variable with a compiler, the compiler otherwise, and the language.
type Language = (&'static str, &'static str, &'static [&'static str]);
const C11: Language = ("CC", "cc", &["-std=c11"]);
/// The oldest languages that the header is for, and one between them.
const LANGUAGES: [Language; 3] = [("CC", "cc", &["-std=c99"]), C11, ("CXX", "c++", &["-x", "c++", "-std=c++17"])];

/// Compiles a C file of the client crate. Returns `None`, with a message, if this machine lacks
/// what it needs.
fn compile((variable, program, language): Language, source: &Path, out: &Path, packages: &[&str]) -> Option<()> {
    let compiler = std::env::var(variable).unwrap_or_else(|_| program.into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        eprintln!("SKIPPED, NOT TESTED: there is no compiler {compiler} for {language:?}");
        return None;
    }
    let mut command = Command::new(compiler);
    command.args(["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]).args(language);
    command.arg("-I").arg(client_crate().join("include")).arg(source).arg("-o").arg(out);
    for package in packages {
        let flags = Command::new("pkg-config").args(["--cflags", "--libs", package]).output();
        match flags {
            Ok(flags) if flags.status.success() => {
                command.args(String::from_utf8_lossy(&flags.stdout).split_whitespace());
            }
            _ => {
                eprintln!("SKIPPED, NOT TESTED: {package} cannot be compiled against here");
                return None;
            }
        }
    }
    let output = command.output().expect("the compiler");
    assert!(output.status.success(), "{}", text(&output));
    Some(())
}

#[test]
fn the_c_reader_compiles_without_a_warning_and_reads() {
    let folder = tempfile::tempdir().expect("folder");
    let program = folder.path().join("read_frame");
    if compile(C11, &client_crate().join("examples/read_frame.c"), &program, &["dbus-1"]).is_none() {
        return;
    }
    reads_both_kinds(|stream, file, frames| {
        let mut command = Command::new(&program);
        command.args(["--bus", "session", "--camera", "front-1", stream]).arg(file).arg(frames.to_string());
        command
    });
}

/// Headers, each with the size of the memory that it is said to lie in.
type Headers = Vec<(Box<[u8; HEADER_BYTES]>, u64)>;

/// Headers with damage, and the file from which both programs read them.
fn damaged_headers(folder: &Path) -> (Headers, PathBuf) {
    let headers = crate::headers::mutated(2000);
    let input: Vec<u8> =
        headers.iter().flat_map(|(header, size)| [header.as_slice(), &size.to_le_bytes()].concat()).collect();
    let file = folder.join("headers");
    std::fs::write(&file, input).expect("write");
    (headers, file)
}

/// Checks that a program accepted the same headers as our own reader.
fn assert_same_verdicts(headers: &[(Box<[u8; HEADER_BYTES]>, u64)], output: &Output) {
    assert!(output.status.success(), "{}", text(output));
    let verdicts = String::from_utf8_lossy(&output.stdout);
    let mut accepted = 0;
    for ((header, size), verdict) in headers.iter().zip(verdicts.lines()) {
        let ours = portraitd_protocol::RingLayout::parse(header, *size);
        accepted += u32::from(ours.is_ok());
        assert_eq!(verdict == "0", ours.is_ok(), "the program says {verdict}, Rust says {ours:?}");
    }
    assert_eq!(verdicts.lines().count(), headers.len());
    assert!(
        accepted > 100 && accepted < 1900,
        "{accepted} of 2000 were accepted: the mutations must lead to both results"
    );
}

#[test]
fn the_c_header_refuses_what_our_reader_refuses() {
    let folder = tempfile::tempdir().expect("folder");
    let program = folder.path().join("parse");
    let (headers, file) = damaged_headers(folder.path());
    for language in LANGUAGES {
        if compile(language, &client_crate().join("tests/parse.c"), &program, &[]).is_some() {
            assert_same_verdicts(&headers, &Command::new(&program).arg(&file).output().expect("the program"));
        }
    }
}

/// A stride of 0, for example, made `save` write rows without end.
#[test]
fn the_python_reader_refuses_what_our_reader_refuses() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED, NOT TESTED: there is no python3");
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let (headers, file) = damaged_headers(folder.path());
    let mut command = Command::new("python3");
    command.arg(client_crate().join("tests/reader.py")).arg("headers").arg(&file);
    assert_same_verdicts(&headers, &command.output().expect("the program"));
}

/// The memory of a ring without a frame, sealed.
fn empty_ring() -> std::fs::File {
    let layout = RingLayout::new(StreamKind::View, 1, PixelFormat::Rgb24, Colorimetry::default(), Size::new(64, 36), 4);
    let layout = layout.expect("valid");
    let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
    let memory = std::fs::File::from(rustix::fs::memfd_create("test", flags).expect("memfd"));
    memory.set_len(layout.total_bytes() as u64).expect("length");
    memory.write_all_at(&layout.encode()[..], 0).expect("write");
    rustix::fs::fcntl_add_seals(&memory, rustix::fs::SealFlags::SHRINK).expect("seal");
    memory
}

/// Runs a reader that waits for `wait`, in the descriptors 3 and 4 of the shell that starts it.
fn waits_on(event: &Path, command: &str) -> String {
    let memory = empty_ring();
    let memory = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
    // The shell opens the descriptors for its child, so nothing here has to do so unsafely.
    let script = format!("exec {command} 3<{memory} 4<{}", event.display());
    let output = Command::new("sh").args(["-c", &script]).output().expect("the program");
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An event that is readable without end, and brings no frame, does not prolong the timeout. A file
/// at its end is readable too, and means that the service has gone.
#[test]
fn a_timeout_ends_although_the_event_is_always_readable() {
    let folder = tempfile::tempdir().expect("folder");
    let ended = folder.path().join("ended");
    std::fs::write(&ended, "").expect("write");
    let endless = Path::new("/dev/zero");
    let program = folder.path().join("wait");
    for language in LANGUAGES {
        if compile(language, &client_crate().join("tests/wait.c"), &program, &[]).is_some() {
            let program = program.display();
            assert_eq!(waits_on(endless, &format!("{program} 50")), "0", "{language:?}");
            assert_eq!(waits_on(endless, &format!("{program} 0")), "0", "{language:?}");
            assert_eq!(waits_on(&ended, &format!("{program} -1")), (-32).to_string(), "{language:?}");
        }
    }
    if Command::new("python3").arg("--version").output().is_ok() {
        let program = client_crate().join("tests/reader.py");
        let program = program.display();
        assert_eq!(waits_on(endless, &format!("python3 {program} wait 0.05 3 4")), "0");
        assert_eq!(waits_on(&ended, &format!("python3 {program} wait 1000 3 4")), "-32");
    }
    for (event, timeout, expected) in
        [(endless, Some(Duration::from_millis(50)), Wait::Timeout), (&ended, None, Wait::Closed)]
    {
        let event = std::fs::File::open(event).expect("event");
        let mut ring = Ring::open(empty_ring().into(), event.into()).expect("a ring");
        assert_eq!(ring.wait(timeout).expect("a result"), expected);
    }
}

/// A memfd that allows sealing, and what the C side of a provider makes of it and says.
fn provided_in_c(program: &Path, arguments: &str) -> (std::fs::File, String) {
    let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
    let memory = std::fs::File::from(rustix::fs::memfd_create("test", flags).expect("memfd"));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
    std::io::Write::write_all(&mut &ours, &[0, 1]).expect("told");
    drop(ours);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
    let script = format!("exec {} {arguments} 3<>{path} 4<&0", program.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(std::os::fd::OwnedFd::from(theirs));
    let output = command.output().expect("the program");
    assert!(output.status.success(), "{}", text(&output));
    (memory, String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn the_c_header_makes_memory_that_the_service_takes_and_frames_that_it_reads() {
    use portraitd::source::provider::{Copying, OfferedFrames};
    let folder = tempfile::tempdir().expect("folder");
    let program = folder.path().join("provide");
    for language in LANGUAGES {
        if compile(language, &client_crate().join("tests/provide.c"), &program, &[]).is_none() {
            continue;
        }
        for (code, format) in [("NV12", PixelFormat::Nv12), ("YU12", PixelFormat::I420), ("RGB3", PixelFormat::Rgb24)] {
            let (memory, said) = provided_in_c(&program, &format!("{code} 34 18 6"));
            // The last of the bytes that had come counts, and then the end.
            assert_eq!(said, "1 -32", "{language:?}");
            let (mut frames, _fds) = OfferedFrames::open(memory.into()).expect("the service takes it");
            let layout = *frames.layout();
            assert_eq!((layout.format, layout.size), (format, Size::new(34, 18)));
            let mut pool = frames.pool(30.0);
            let copying = Copying { sequence: 1, now_ns: 7_000_000_000, last_ns: 0 };
            let Ok(Some(Some(frame))) = frames.copy(&mut pool, copying) else { panic!("{code}: no frame") };
            for plane in 0..format.plane_count() {
                assert!(frame.picture().plane(plane).data.iter().all(|byte| *byte == 6), "{code} {plane}");
            }
        }
        for wrong in ["NOPE 34 18 1", "NV12 0 18 1", "NV12 16384 16384 1"] {
            assert_eq!(provided_in_c(&program, wrong).1, "-22", "{language:?}: {wrong}");
        }
    }
}
