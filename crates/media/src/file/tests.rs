use super::*;
use crate::playback::{FrameRate, Playback};
use crate::{
    Colorimetry, FormatRequest, Frame, Opening, OwnedPicture, PixelFormat, Producer, Size, Source, SourceError, Stream,
    StreamEvent,
};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

/// A temporary folder.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn grey_png(&self, name: &str, size: Size, value: u8) {
        let mut picture = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default()).expect("has pixels");
        picture.bytes_mut().fill(value);
        crate::image::write_png(&self.path(name), &picture.as_picture()).expect("written");
    }

    fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// Opens the file `name` with fast playback.
    fn open(&self, name: &str, repeat: bool) -> Result<Box<dyn Stream>, SourceError> {
        let mut options = FileOptions::new(FilePath::Path(self.path(name)));
        (options.playback, options.repeat) = (Playback::Fast, repeat);
        FileSource::new(options).open(&FormatRequest::default())
    }

    fn error(&self, name: &str) -> String {
        let folder = self.0.path().display().to_string();
        self.open(name, false).err().expect("an error").to_string().replace(&folder, "DIR")
    }
}

fn frame(stream: &mut Box<dyn Stream>) -> Frame {
    match stream.next(LONG).expect("runs") {
        StreamEvent::Frame(frame) => frame,
        other => panic!("{other:?} instead of a frame"),
    }
}

/// The first byte of a frame.
fn first(frame: &Frame) -> u8 {
    frame.picture().plane(0).row(0)[0]
}

fn mono(frames: &[u8]) -> Vec<u8> {
    let mut bytes = b"YUV4MPEG2 W4 H2 F25:1 Cmono XCOLORRANGE=FULL\n".to_vec();
    for value in frames {
        bytes.extend(b"FRAME\n");
        bytes.extend([*value; 8]);
    }
    bytes
}

#[test]
fn a_picture_is_repeated_from_the_same_memory() {
    let folder = Folder::new();
    folder.grey_png("one.dat", Size::new(4, 3), 77);
    let mut stream = folder.open("one.dat", false).expect("opens, although its name has another extension");
    assert_eq!((stream.format().pixel_format, stream.format().size), (PixelFormat::Rgb24, Size::new(4, 3)));
    let frames: Vec<_> = (0..20).map(|_| frame(&mut stream)).collect();
    for (sequence, frame) in (0..).zip(&frames) {
        assert_eq!((frame.sequence, first(frame)), (sequence, 77));
        assert_eq!(frame.picture().plane(0).data.as_ptr(), frames[0].picture().plane(0).data.as_ptr());
    }
}

#[test]
fn a_directory_is_delivered_in_the_order_of_names() {
    let folder = Folder::new();
    for (name, width, value) in [("b.PNG", 4, 2), ("a.png", 4, 1), ("c.jpeg", 6, 3), (".hidden.png", 4, 9)] {
        folder.grey_png(name, Size::new(width, 3), value);
    }
    folder.file("notes.txt", b"not shown");
    let mut stream = folder.open("", false).expect("opens");
    assert_eq!([frame(&mut stream), frame(&mut stream)].map(|frame| first(&frame)), [1, 2]);
    match stream.next(LONG).expect("runs") {
        StreamEvent::FormatChanged(format) => assert_eq!(format.size, Size::new(6, 3)),
        other => panic!("{other:?}"),
    }
    assert_eq!(stream.format().size, Size::new(6, 3));
    let third = frame(&mut stream);
    assert_eq!((third.sequence, first(&third)), (2, 3));
    assert!(matches!(stream.next(LONG), Ok(StreamEvent::End)));
    assert!(matches!(stream.next(LONG), Ok(StreamEvent::End)), "and stays at the end");
    let mut stream = folder.open("", true).expect("opens");
    let mut shown = Vec::new();
    while shown.len() < 7 {
        if let StreamEvent::Frame(frame) = stream.next(LONG).expect("runs") {
            shown.push(first(&frame));
        }
    }
    assert_eq!(shown, [1, 2, 3, 1, 2, 3, 1]);
}

#[test]
fn a_video_ends_or_repeats() {
    let folder = Folder::new();
    folder.file("v.y4m", &mono(&[5, 6, 7]));
    let mut stream = folder.open("v.y4m", false).expect("opens");
    let format = stream.format();
    assert_eq!((format.pixel_format, format.size, format.frame_rate), (PixelFormat::Grey, Size::new(4, 2), 25.0));
    assert_eq!(format.color.range, crate::Range::Full);
    let frames = [frame(&mut stream), frame(&mut stream), frame(&mut stream)];
    assert_eq!(frames.each_ref().map(first), [5, 6, 7]);
    assert_eq!(frames[2].capture_ns - frames[0].capture_ns, 80_000_000);
    assert!(matches!(stream.next(LONG), Ok(StreamEvent::End)));
    let mut stream = folder.open("v.y4m", true).expect("opens");
    let looped: Vec<_> = (0..7).map(|_| first(&frame(&mut stream))).collect();
    assert_eq!(looped, [5, 6, 7, 5, 6, 7, 5]);
}

#[test]
fn a_video_waits_for_readers_that_hold_every_buffer() {
    let folder = Folder::new();
    folder.file("v.y4m", &mono(&(0..40).collect::<Vec<_>>()));
    let mut stream = folder.open("v.y4m", false).expect("opens");
    let mut held = Vec::new();
    while let StreamEvent::Frame(frame) = stream.next(Duration::ZERO).expect("runs") {
        held.push(frame);
    }
    assert!(matches!(stream.next(Duration::ZERO), Ok(StreamEvent::Nothing)));
    assert_eq!(stream.counters().starved, 1, "one frame was delayed, however often it was asked for");
    let next = held.len() as u64;
    held.clear();
    let after = frame(&mut stream);
    assert_eq!((after.sequence, u64::from(first(&after))), (next, next), "nothing is lost");
}

#[test]
fn a_real_time_stream_returns_nothing_before_the_next_frame_is_due() {
    let folder = Folder::new();
    folder.file("v.y4m", &mono(&[1, 2]));
    let mut options = FileOptions::new(FilePath::Path(folder.path("v.y4m")));
    options.frame_rate = FrameRate::new(1, 60);
    let mut stream = FileSource::new(options).open(&FormatRequest::default()).expect("opens");
    assert_eq!(first(&frame(&mut stream)), 1);
    assert!(matches!(stream.next(Duration::ZERO), Ok(StreamEvent::Nothing)), "the second is due in a minute");
}

#[test]
fn a_pipe_that_stops_in_a_frame_does_not_block() {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let bytes = mono(&[1, 2]);
    let (head, tail) = bytes.split_at(bytes.len() - 3);
    rustix::io::write(&writer, head).expect("written");
    let mut options = FileOptions::new(FilePath::Stdin);
    options.playback = Playback::Fast;
    let stream = video::VideoStream::open("-".into(), File::from(reader), &options).expect("a header");
    let mut stream: Box<dyn Stream> = Box::new(stream);
    assert_eq!(first(&frame(&mut stream)), 1);
    assert!(matches!(stream.next(Duration::from_millis(1)), Ok(StreamEvent::Nothing)));
    rustix::io::write(&writer, tail).expect("written");
    assert_eq!(first(&frame(&mut stream)), 2);
    drop(writer);
    assert!(matches!(stream.next(LONG), Ok(StreamEvent::End)));
}

/// A named pipe and a source that reads it.
struct Pipe {
    folder: Folder,
    source: FileSource,
}

impl Pipe {
    fn new() -> Self {
        let folder = Folder::new();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path("p"), rustix::fs::Mode::RWXU).expect("a pipe");
        let source = FileSource::new(FileOptions::new(FilePath::Path(folder.path("p"))));
        Self { folder, source }
    }

    fn producer(&self) -> Box<dyn Producer> {
        match self.source.begin(&FormatRequest::default()).expect("opens without a writer") {
            Opening::Waiting(producer) => producer,
            Opening::Open(_) => panic!("no writer has begun"),
        }
    }

    /// A writer that does not wait, since the source has the pipe open.
    fn writer(&self) -> std::io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        std::fs::OpenOptions::new().write(true).custom_flags(flags).open(self.folder.path("p"))
    }

    fn write(&self, bytes: &[u8]) -> File {
        let mut writer = self.writer().expect("the source has opened the pipe");
        std::io::Write::write_all(&mut writer, bytes).expect("written");
        writer
    }

    /// The error of a writer who writes these bytes.
    fn error(&self, bytes: &[u8]) -> String {
        let mut producer = self.producer();
        let _writer = self.write(bytes);
        let error = match producer.wait(LONG) {
            Ok(Some(mut stream)) => stream.next(LONG).expect_err("an error"),
            Ok(None) => panic!("the bytes are there"),
            Err(error) => error,
        };
        error.to_string().replace(&self.folder.0.path().display().to_string(), "DIR")
    }
}

#[test]
fn a_named_pipe_waits_for_its_writer_and_then_for_the_next_one() {
    let pipe = Pipe::new();
    assert!(pipe.writer().is_err(), "nobody looks, so a writer would wait");
    let mut producer = pipe.producer();
    assert!(producer.wait(Duration::from_millis(1)).expect("no error").is_none());
    assert!(producer.missing().to_string().ends_with("/p: no program writes to this pipe"));
    let writer = pipe.write(&mono(&[5, 6]));
    let mut stream = producer.wait(LONG).expect("a header").expect("a writer");
    drop(producer);
    assert_eq!((stream.format().size, stream.format().frame_rate), (Size::new(4, 2), 25.0));
    let before = crate::clock::monotonic_ns();
    let frames = [frame(&mut stream), frame(&mut stream)];
    assert_eq!(frames.each_ref().map(first), [5, 6]);
    assert!(frames.iter().all(|frame| (before..=crate::clock::monotonic_ns()).contains(&frame.capture_ns)));
    drop(writer);
    assert!(matches!(stream.next(LONG), Ok(StreamEvent::End)));
    drop(stream);
    assert!(pipe.writer().is_err(), "the source is closed");
    // The next writer, of another size, is ended in the middle of a frame.
    let mut producer = pipe.producer();
    drop(pipe.write(b"YUV4MPEG2 W2 H2 F25:1 Cmono\nFRAME\n12"));
    let mut stream = producer.wait(LONG).expect("a header").expect("a writer");
    assert_eq!(stream.format().size, Size::new(2, 2));
    assert!(matches!(stream.next(LONG), Ok(StreamEvent::End)));
    // One that leaves without a byte.
    let mut producer = pipe.producer();
    drop(pipe.writer().expect("open"));
    assert!(matches!(producer.wait(LONG), Err(SourceError::NoProducer { .. })));
}

#[test]
fn what_is_written_to_a_named_pipe_is_limited() {
    let pipe = Pipe::new();
    let cases: [(&[u8], &str); 5] = [
        (b"\0\0\0\0\n", "file:DIR/p: y4m header: does not begin with YUV4MPEG2"),
        (b"YUV4MPEG2 W4", "file:DIR/p: read: timed out"),
        (&[b'Y'; 5000], "file:DIR/p: y4m header: does not begin with YUV4MPEG2"),
        (
            b"YUV4MPEG2 W8192 H8192 F30:1\n",
            "file:DIR/p: a picture of 8192x8192 (YU12) is too large for a named pipe, whose frames have at most 16 MB",
        ),
        (
            b"YUV4MPEG2 W4 H2 Cmono\nFRAME\n12345678GARBAGE",
            "file:DIR/p: frame 1: \"GARBAGE\" is found instead of FRAME",
        ),
    ];
    for (bytes, expected) in &cases[..4] {
        assert_eq!(pipe.error(bytes), *expected);
    }
    let mut producer = pipe.producer();
    let (bytes, expected) = cases[4];
    let writer = pipe.write(bytes);
    let mut stream = producer.wait(LONG).expect("a header").expect("a writer");
    assert_eq!(first(&frame(&mut stream)), b'1');
    drop(writer);
    let error = stream.next(LONG).expect_err("no frame").to_string();
    assert!(error.ends_with(&expected["file:DIR".len()..]), "{error}");
    let mut options = FileOptions::new(FilePath::Path(pipe.folder.path("p")));
    options.repeat = true;
    let error = FileSource::new(options).open(&FormatRequest::default()).err().expect("refused").to_string();
    assert!(error.ends_with("/p?loop: a named pipe cannot be repeated (`loop`)"), "{error}");
}

#[test]
fn bad_files_have_one_line_errors() {
    let folder = Folder::new();
    folder.file("text.png", b"hello\n");
    folder.file("cut.y4m", &mono(&[1])[..50]);
    folder.file("deep.y4m", b"YUV4MPEG2 W4 H4 C420p10\n");
    std::fs::create_dir(folder.path("none")).expect("made");
    std::fs::create_dir(folder.path("bad")).expect("made");
    folder.file("bad/a.png", b"hello\n");
    assert_eq!(folder.error("gone"), "file:DIR/gone?pace=fast: not there");
    assert_eq!(
        folder.error("text.png"),
        "file:DIR/text.png?pace=fast: neither a PNG or JPEG picture nor a y4m video: it looks like text"
    );
    assert_eq!(
        folder.error("deep.y4m"),
        "file:DIR/deep.y4m?pace=fast: y4m header: 10 bits a component (C420p10); 8-bit 4:2:0, 4:2:2 and mono are read, \
         as `ffmpeg -i FILE -pix_fmt yuv420p -f yuv4mpegpipe -` makes them"
    );
    assert_eq!(folder.error("none"), "file:DIR/none?pace=fast: no .png, .jpg or .jpeg file in this directory");
    assert_eq!(
        folder.error("bad"),
        "file:DIR/bad?pace=fast: DIR/bad/a.png: not a PNG or JPEG picture: it looks like text"
    );
    let mut stream = folder.open("cut.y4m", false).expect("its header is whole");
    let error = stream.next(LONG).expect_err("cut off").to_string();
    assert!(error.ends_with("cut.y4m?pace=fast: frame 0 is cut off: 0 of 8 bytes"), "{error}");
    let mut repeated = FileOptions::new(FilePath::Stdin);
    repeated.repeat = true;
    let error = FileSource::new(repeated).open(&FormatRequest::default()).err().expect("refused").to_string();
    assert_eq!(error, "file:-?loop: standard input cannot be repeated (`loop`)");
}

#[test]
fn inputs_are_detected_and_expanded() {
    let folder = Folder::new();
    folder.grey_png("b.png", Size::new(2, 2), 1);
    folder.grey_png("a.png", Size::new(2, 2), 2);
    folder.file("v.dat", &mono(&[3]));
    let inputs = expand_inputs(&[folder.path("v.dat"), folder.path(""), "-".into(), folder.path("b.png")]);
    let expected = [
        Input::Video(folder.path("v.dat")),
        Input::Picture(folder.path("a.png")),
        Input::Picture(folder.path("b.png")),
        Input::Stdin,
        Input::Picture(folder.path("b.png")),
    ];
    assert_eq!(inputs.expect("all are known"), expected);
    let pictures = open_pictures([folder.path("a.png"), folder.path("v.dat"), folder.path("b.png")]);
    let values: Vec<_> = pictures.map(|result| result.ok().map(|(_, picture)| picture.bytes()[0])).collect();
    assert_eq!(values, [Some(2), None, Some(1)], "the iteration continues after an error");
    let mut video = open_video(&folder.path("v.dat")).expect("a video");
    assert_eq!(video.read_picture().expect("read").expect("a frame").bytes(), [3; 8]);
    let error = open_video(&folder.path("a.png")).expect_err("a picture").to_string();
    assert!(
        error.ends_with("a.png: not a PNG or JPEG picture nor a y4m video: it looks like a PNG picture"),
        "{error}"
    );
    assert!(expand_inputs(&[folder.path("gone")]).is_err());
    folder.file("clip.mp4", b"....ftypisom");
    folder.file(".hidden", b"");
    std::fs::create_dir(folder.path("more.png")).expect("a folder");
    let left_out = super::left_out_of(&folder.path("")).expect("reads");
    let names: Vec<_> = left_out.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert!(names.contains(&"clip.mp4") && names.contains(&"more.png") && names.contains(&"v.dat"), "{names:?}");
    assert!(!names.contains(&".hidden") && !names.contains(&"b.png"), "{names:?}");
    let error = expand_inputs(&[folder.path("clip.mp4")]).expect_err("no video of ours").to_string();
    assert!(error.contains("an MP4 video; decode it with `ffmpeg"), "{error}");
}
