//! Runs `portraitd-lab eval` on videos and scenes, as a user does.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use portraitd_media::file::{Y4mHeader, Y4mWriter};
use portraitd_media::playback::FrameRate;
use portraitd_media::{Colorimetry, Picture, PixelFormat, Size};
use portraitd_scene::SceneName;

use super::player::scene;

const SMALL: Size = Size::new(320, 180);

fn eval(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portraitd-lab")).arg("eval").args(arguments).output().expect("portraitd-lab runs")
}

fn document(arguments: &[&str]) -> serde_json::Value {
    let output = eval(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

fn writer(path: &Path, pixel_format: PixelFormat) -> Y4mWriter<File> {
    let file = File::create(path).expect("a file");
    let header =
        Y4mHeader { pixel_format, size: SMALL, color: Colorimetry::default(), frame_rate: FrameRate::new(10, 1) };
    Y4mWriter::new(file, header).expect("a header")
}

/// A directory with the first `frames` frames of the scene `walk` at 10 frames per second, and
/// `masks` masks.
fn directory(frames: u64, masks: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["images", "masks"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    let scene = scene(SceneName::Walk, SMALL, 10);
    let write = |out: &mut Y4mWriter<File>, picture: &Picture<'_>| out.write(picture).expect("written");
    let mut video = writer(&folder.path().join("images/a.y4m"), PixelFormat::Nv12);
    (0..frames).for_each(|sequence| write(&mut video, &scene.picture(sequence).as_picture()));
    if masks > 0 {
        let mut truth = writer(&folder.path().join("masks/a.y4m"), PixelFormat::Grey);
        (0..masks).for_each(|sequence| write(&mut truth, &scene.truth(sequence).alpha.as_picture()));
    }
    folder
}

#[test]
fn a_video_has_the_figures_of_its_scene() {
    let folder = directory(30, 30);
    let path = folder.path().to_string_lossy().into_owned();
    let page = folder.path().join("page.html");
    let video = document(&[&path, "--json", "--html", &page.to_string_lossy()])["videos"][0].clone();
    let scene = document(&["scene:walk?fps=10&size=320x180", "--seconds", "3", "--json"])["videos"][0].clone();
    assert_eq!((video["frames"].as_u64(), scene["frames"].as_u64()), (Some(30), Some(30)));
    for key in
        ["iou_mean", "iou_mean_net", "iou_mean_unsmoothed", "dtssd", "dtssd_net", "flips", "flips_net", "box_jitter"]
    {
        let (a, b) = (video[key].as_f64().expect(key), scene[key].as_f64().expect(key));
        assert!((a - b).abs() < 1e-4, "{key}: {a} and {b}");
    }
    assert!(video["iou_mean"].as_f64().is_some_and(|iou| iou > 0.9), "{video}");
    for key in ["crop_speed_p95", "crop_speed_max", "crop_still"] {
        assert!(video[key].is_number(), "{key}: {video}");
    }
    assert!(video["direction_changes"]["pan"].is_number());
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("<h2>a.y4m</h2>") && page.contains("data:image/png;base64,") && page.contains("dtSSD"));
    assert!(!page.contains("://"), "the page loads nothing");
}

#[test]
fn a_scene_has_the_figures_of_its_people_under_its_conditions() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    let scene = "scene:two?fps=10&size=320x180&dark=0.5&blur=1&grey&jpeg=40";
    let arguments = [scene, "--seconds", "2", "--json", "--html", &page.to_string_lossy()];
    let video = document(&arguments)["videos"][0].clone();
    assert_eq!(video["name"], scene);
    let conditions = serde_json::json!({ "noise": 2.0, "dark": 0.5, "blur": 1, "grey": true, "jpeg": 40 });
    assert_eq!(video["conditions"], conditions);
    let people = &video["people"];
    for key in ["counted", "ids_kept", "heads_inside"] {
        assert!(people[key].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{key}: {people}");
    }
    let (sizes, numbers) = (&people["iou_by_size"], &people["iou_by_people"]);
    assert_eq!((numbers[0]["people"].as_u64(), numbers[0]["frames"].as_u64()), (Some(2), Some(20)), "{people}");
    assert!(sizes[0]["iou"].is_number() && sizes[0]["count"].is_number(), "{people}");
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("frames with the right number of people") && page.contains("IoU, 2 people"));
}

#[test]
fn without_truth_there_are_figures_but_no_scores() {
    let folder = directory(12, 0);
    let video = document(&[&folder.path().to_string_lossy(), "--json"])["videos"][0].clone();
    assert!(video["iou_mean"].is_null() && video["dtssd"].is_null(), "{video}");
    assert!(video["flips"].is_number() && video["box_jitter"].is_number() && video["crop_still"].is_number());
    assert_eq!(video["truth"], false);
}

#[test]
fn unsuitable_input_is_refused_by_name() {
    let refused = |arguments: &[&str], parts: &[&str]| {
        let output = eval(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{arguments:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
        }
    };
    for (frames, masks, what) in [(5, 3, "ends after 3 frames"), (3, 5, "goes on after 3 frames")] {
        let folder = directory(frames, masks);
        refused(&[&folder.path().to_string_lossy()], &["masks/a.y4m", what]);
    }
    let folder = directory(2, 2);
    std::fs::copy(folder.path().join("images/a.y4m"), folder.path().join("masks/a.y4m")).expect("copied");
    refused(&[&folder.path().to_string_lossy()], &["masks/a.y4m", "mono of 320x180 is needed"]);
    refused(&["scene:nowhere"], &["unknown scene \"nowhere\""]);
    refused(&["scene:walk", "--wide"], &["--wide is for pictures"]);
    refused(&["scene:walk", "--seconds", "0"], &["--seconds"]);
    refused(&["tests/fixtures/people", "--seconds", "1"], &["--seconds is for videos"]);
    refused(&["/nonexistent"], &["/nonexistent"]);
}
