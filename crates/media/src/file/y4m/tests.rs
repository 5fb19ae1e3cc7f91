use super::*;
use proptest::prelude::*;

fn header(line: &str) -> Result<Y4mHeader, String> {
    Y4mHeader::parse(line.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn the_fields_of_headers_are_parsed() {
    let parsed =
        header("YUV4MPEG2 W5 H3 F30000:1001 Ip A1:1 C420paldv XYSCSS=420PALDV XCOLORRANGE=FULL").expect("parses");
    assert_eq!(parsed.size, Size::new(5, 3));
    assert_eq!(parsed.pixel_format, PixelFormat::I420);
    assert_eq!(parsed.color.range, Range::Full);
    assert_eq!(parsed.frame_rate, FrameRate::new(30_000, 1001));
    assert_eq!(parsed.frame_bytes(), 15 + 6 + 6);
    let plain = header("YUV4MPEG2 H2 W4 F0:0 I?").expect("parses");
    assert_eq!((plain.pixel_format, plain.frame_rate), (PixelFormat::I420, None));
    assert_eq!(plain.color, Colorimetry::default());
    for (chroma, format) in [("422", PixelFormat::I422), ("mono", PixelFormat::Grey), ("420jpeg", PixelFormat::I420)] {
        assert_eq!(header(&format!("YUV4MPEG2 W4 H2 C{chroma}")).expect("parses").pixel_format, format);
    }
}

#[test]
fn unsupported_values_are_named() {
    let read =
        "8-bit 4:2:0, 4:2:2 and mono are read, as `ffmpeg -i FILE -pix_fmt yuv420p -f yuv4mpegpipe -` makes them";
    let cases = [
        ("YUV4MPEG3 W4 H4", "y4m header: does not begin with YUV4MPEG2".to_owned()),
        ("YUV4MPEG2X W4 H4", "y4m header: does not begin with YUV4MPEG2".to_owned()),
        ("YUV4MPEG2 H4", "y4m header: no width (W)".to_owned()),
        ("YUV4MPEG2 W4", "y4m header: no height (H)".to_owned()),
        ("YUV4MPEG2 W-4 H4", "y4m header: width \"-4\" is not a number of pixels".to_owned()),
        ("YUV4MPEG2 W0 H4", "y4m header: a picture of 0x4 has no pixels".to_owned()),
        ("YUV4MPEG2 W4 H4 F30", "y4m header: frame rate \"30\" is not of the form 30:1".to_owned()),
        (
            "YUV4MPEG2 W4 H4 It",
            "y4m header: interlaced video (It); only progressive video is read, as `ffmpeg -i FILE -vf yadif -pix_fmt \
             yuv420p -f yuv4mpegpipe -` makes it"
                .to_owned(),
        ),
        ("YUV4MPEG2 W4 H4 C420p10", format!("y4m header: 10 bits a component (C420p10); {read}")),
        ("YUV4MPEG2 W4 H4 Cmono16", format!("y4m header: 16 bits a component (Cmono16); {read}")),
        ("YUV4MPEG2 W4 H4 C444", format!("y4m header: chroma C444; {read}")),
        (
            "YUV4MPEG2 W16384 H16384",
            "y4m header: a picture of 16384x16384 is over the limit of 8192x8192 pixels".to_owned(),
        ),
    ];
    for (line, message) in cases {
        assert_eq!(header(line).expect_err(line), message);
    }
}

#[test]
fn the_error_of_a_truncated_stream_has_the_position() {
    let mut bytes = b"YUV4MPEG2 W4 H2 Cmono\nFRAME\n01234567FRAME Xany=thing\nabcdefgh".to_vec();
    let mut reader = Y4mReader::new(&bytes[..]).expect("a header");
    assert_eq!(reader.read_picture().expect("read").expect("a frame").bytes(), b"01234567");
    assert_eq!(reader.read_picture().expect("read").expect("a frame").bytes(), b"abcdefgh");
    assert!(reader.read_picture().expect("a clean end").is_none());
    assert_eq!(reader.frames(), 2);
    bytes.truncate(bytes.len() - 3);
    let read_all = |bytes: &[u8]| {
        let mut reader = Y4mReader::new(bytes).expect("a header");
        loop {
            match reader.read_picture() {
                Ok(Some(_)) => {}
                Ok(None) => return "end".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    };
    assert_eq!(read_all(&bytes), "frame 1 is cut off: 5 of 8 bytes");
    bytes.truncate(b"YUV4MPEG2 W4 H2 Cmono\nFRAME\n01234567FRA".len());
    assert_eq!(read_all(&bytes), "frame 1 is cut off: 0 of 8 bytes");
    bytes.extend(b"GILE\n");
    assert_eq!(read_all(&bytes), "frame 1: \"FRAGILE\" is found instead of FRAME");
    let cut = Y4mReader::new(&b"YUV4MPEG2 W4"[..]).expect_err("cut off").to_string();
    assert_eq!(cut, "y4m header: cut off after 12 bytes");
    let long = [b"YUV4MPEG2 X".to_vec(), vec![b'x'; 5000]].concat();
    let error = Y4mReader::new(&long[..]).expect_err("too long").to_string();
    assert_eq!(error, "y4m header: longer than 4096 bytes");
}

/// Returns at most `step` bytes at a time, and `WouldBlock` before each.
struct SlowReader<'a> {
    bytes: &'a [u8],
    step: usize,
    ready: bool,
}

impl Read for SlowReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.ready = !self.ready;
        if !self.ready {
            return Err(ErrorKind::WouldBlock.into());
        }
        let step = self.step.min(out.len());
        self.bytes.read(&mut out[..step])
    }
}

#[test]
fn a_frame_that_arrives_in_pieces_is_complete() {
    let bytes = b"FRAME Xa\n01234567FRAME\nabcdefgh";
    for step in 1..12 {
        let mut reader = Y4mReader::new(&b"YUV4MPEG2 W4 H2 Cmono\n"[..]).expect("a header");
        let mut pieces = Y4mReader {
            input: SlowReader { bytes, step, ready: false },
            header: *reader.header(),
            header_bytes: 0,
            frames: 0,
            line: Line::default(),
            pixels: None,
        };
        assert!(reader.read_picture().expect("an end").is_none());
        for expected in [b"01234567", b"abcdefgh"] {
            let mut out = [0; 8];
            while let Err(error) = pieces.read_into(&mut out) {
                assert!(
                    matches!(&error, Y4mError::Io { error, .. } if error.kind() == ErrorKind::WouldBlock),
                    "{error}"
                );
            }
            assert_eq!(&out, expected, "in pieces of {step}");
        }
    }
}

#[test]
fn a_rewound_reader_reads_the_same_frames_again() {
    let file = std::io::Cursor::new(&b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabFRAME\ncd"[..]);
    let mut reader = Y4mReader::new(file).expect("a header");
    for _ in 0..3 {
        assert_eq!(reader.read_picture().expect("read").expect("a frame").bytes(), b"ab");
        assert_eq!(reader.read_picture().expect("read").expect("a frame").bytes(), b"cd");
        assert!(reader.read_picture().expect("the end").is_none());
        reader.rewind().expect("seekable");
    }
}

#[test]
fn interleaved_chroma_is_written_as_two_planes() {
    let size = Size::new(3, 2);
    for (format, chroma) in [(PixelFormat::Nv12, [1, 2, 3, 4]), (PixelFormat::Nv21, [2, 1, 4, 3])] {
        let mut bytes = vec![9; 6];
        bytes.extend(chroma);
        let picture = OwnedPicture::new(format, size, Colorimetry::default(), bytes).expect("has pixels");
        let header = Y4mHeader { pixel_format: format, size, color: picture.color(), frame_rate: None };
        let mut writer = Y4mWriter::new(Vec::new(), header).expect("a header");
        writer.write(&picture.as_picture()).expect("written");
        let out = writer.finish().expect("finished");
        let back = Y4mReader::new(&out[..]).expect("a header").read_picture().expect("read").expect("a frame");
        assert_eq!(back.format(), PixelFormat::I420);
        assert_eq!(back.bytes(), [9, 9, 9, 9, 9, 9, 1, 3, 2, 4]);
    }
}

#[test]
fn a_writer_refuses_another_format_or_size() {
    let picture =
        OwnedPicture::zeroed(PixelFormat::Rgb24, Size::new(2, 2), Colorimetry::default()).expect("has pixels");
    let mut header = Y4mHeader {
        pixel_format: PixelFormat::Rgb24,
        size: Size::new(2, 2),
        color: Colorimetry::default(),
        frame_rate: None,
    };
    let error = Y4mWriter::new(Vec::new(), header).expect_err("no RGB").to_string();
    assert_eq!(error, "y4m header: y4m cannot carry RGB3 pixels");
    header.pixel_format = PixelFormat::Grey;
    let error = Y4mWriter::new(Vec::new(), header).expect("grey").write(&picture.as_picture()).expect_err("RGB");
    assert_eq!(error.to_string(), "y4m header: a RGB3 2x2 picture in a GREY 2x2 video");
}

proptest! {
    #[test]
    fn written_frames_are_read_back(
        width in 1_u32..20, height in 1_u32..20, format in 0_usize..3, full in any::<bool>(),
        frames in 0_usize..4, seed in any::<u8>(),
    ) {
        let pixel_format = [PixelFormat::I420, PixelFormat::I422, PixelFormat::Grey][format];
        let size = Size::new(width, height);
        let color = Colorimetry { range: if full { Range::Full } else { Range::Limited }, ..Colorimetry::default() };
        let header = Y4mHeader { pixel_format, size, color, frame_rate: FrameRate::new(25, 2) };
        let pictures: Vec<_> = (0..frames)
            .map(|frame| {
                let mut picture = OwnedPicture::zeroed(pixel_format, size, color).expect("has pixels");
                for (at, byte) in picture.bytes_mut().iter_mut().enumerate() {
                    *byte = u8::try_from((at * 31 + frame * 17 + usize::from(seed)) % 256).expect("small");
                }
                picture
            })
            .collect();
        let mut writer = Y4mWriter::new(Vec::new(), header).expect("a header");
        for picture in &pictures {
            writer.write(&picture.as_picture()).expect("written");
        }
        let bytes = writer.finish().expect("finished");
        let mut reader = Y4mReader::new(&bytes[..]).expect("a header");
        prop_assert_eq!(*reader.header(), header);
        for picture in pictures {
            prop_assert_eq!(reader.read_picture().expect("read"), Some(picture));
        }
        prop_assert_eq!(reader.read_picture().expect("the end"), None);
    }

    #[test]
    fn the_parser_never_panics(line in "(YUV4MPEG2)?( [A-Z]?[0-9a-z:=]{0,12}){0,8}", tail in any::<Vec<u8>>()) {
        let _ = Y4mHeader::parse(line.as_bytes());
        let mut bytes = line.into_bytes();
        bytes.extend(tail);
        if let Ok(mut reader) = Y4mReader::new(&bytes[..])
            && reader.header().frame_bytes() < 1 << 20
        {
            let _ = reader.read_picture();
        }
    }
}
