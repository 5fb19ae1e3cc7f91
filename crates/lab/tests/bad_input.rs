//! Invalid input to the program: it prints one line on standard error that names the place of the
//! error, and exits with status 1, without a panic.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn portraitd_lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portraitd-lab"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("portraitd-lab runs")
}

/// Expects a failure with one line of text that contains each of `parts`.
fn refused(arguments: &[&str], parts: &[&str]) {
    let output = portraitd_lab(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    assert!(text.starts_with("portraitd-lab: "), "{text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
    }
}

fn write(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    path
}

fn segment(input: &Path, out: &tempfile::TempDir, parts: &[&str]) {
    refused(&["segment", &input.to_string_lossy(), "--out", &out.path().to_string_lossy()], parts);
}

/// The header of a PNG of this size, without pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let crc = header.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(header);
    png.extend((!crc).to_be_bytes());
    png
}

#[test]
fn models() {
    let out = tempfile::tempdir().expect("a folder");
    let cases: [(&str, &[&str]); 4] = [
        ("bad-truncated", &["bad-truncated.onnx", "not a whole ONNX file"]),
        ("bad-sha256", &["bad-sha256.onnx", "sha256 is", "its manifest says 0000"]),
        ("bad-unknown-operator", &["bad-unknown-operator.onnx", "Mystery"]),
        ("bad-shape", &["bad-shape.onnx", "the input is 1x3x18x32", "1x3x36x64"]),
    ];
    for (name, parts) in cases {
        let manifest = format!("tests/fixtures/models/{name}.toml");
        let arguments = ["segment", "tests/fixtures/models/red.png", "--model", &manifest, "--out"];
        refused(&[&arguments[..], &[&out.path().to_string_lossy()]].concat(), parts);
    }
}

#[test]
fn pictures_and_videos() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = tempfile::tempdir().expect("a folder");
    let text = write(&folder, "text.png", b"this is a letter, not a picture\n");
    segment(&text, &out, &["text.png", "looks like"]);
    segment(&write(&folder, "empty.png", b""), &out, &["empty.png"]);
    segment(&write(&folder, "nothing.png", &png_header(0, 0)), &out, &["nothing.png"]);
    segment(&write(&folder, "huge.png", &png_header(16_384, 16_384)), &out, &["huge.png", "16384x16384"]);
    let mut video = b"YUV4MPEG2 W64 H48 F30:1 C420\nFRAME\n".to_vec();
    video.resize(video.len() + 64 * 48 * 3 / 2, 128);
    video.extend(b"FRAME\n\x80\x80\x80");
    segment(&write(&folder, "cut.y4m", &video), &out, &["cut.y4m", "frame 1"]);
    segment(Path::new("/nonexistent/picture.jpg"), &out, &["/nonexistent/picture.jpg"]);
}

#[test]
fn formats_of_other_programs_have_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = tempfile::tempdir().expect("a folder");
    for (name, bytes, parts) in [
        ("a.webp", b"RIFF....WEBPVP8 ".as_slice(), ["a WebP picture", "`ffmpeg -i FILE picture.png`"]),
        ("a.heic", b"....ftypheic", ["a HEIF picture", "`heif-convert FILE picture.jpg`"]),
        ("a.gif", b"GIF89a", ["a GIF picture", "-frames:v 1 picture.png`"]),
        ("a.mp4", b"....ftypisom", ["an MP4 video", "-f yuv4mpegpipe -`"]),
        ("a.y4m", b"YUV4MPEG2 W4 H4 C444\n", ["chroma C444", "-pix_fmt yuv420p"]),
        ("b.y4m", b"YUV4MPEG2 W4 H4 C420p10\n", ["10 bits a component", "-pix_fmt yuv420p"]),
    ] {
        segment(&write(&folder, name, bytes), &out, &parts);
    }
    refused(&["segment", "tests/fixtures/models/red.png", "--out", "-"], &["--out -", "directory"]);
    refused(&["demo", "--out", "-"], &["--out -", "directory"]);
    let text = ["neither a picture nor a colour", "navy"];
    let path = out.path().to_string_lossy().into_owned();
    refused(&["segment", "tests/fixtures/models/red.png", "--out", &path, "--composite", "nawy"], &text);
}

#[test]
fn the_demo_needs_a_scene() {
    refused(&["demo", "--scene", "file:x.png"], &["the demo needs a scene"]);
}

#[test]
fn traces_name_the_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(&folder, "trace.jsonl", b"{\"t\": 0, \"people\": []}\n{\"t\": 1, \"people\": [[1, 2, 3]]}\n");
    refused(&["direct", &file.to_string_lossy()], &["trace.jsonl", "line 2"]);
}

#[test]
fn a_wrong_command_line_exits_with_status_two() {
    for arguments in [&["segment"][..], &["no-such-command"], &["eval", "--count", "many", "x"]] {
        assert_eq!(portraitd_lab(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
