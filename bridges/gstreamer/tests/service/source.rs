//! `portraitdsrc`.

use std::process::Command;

use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;

use super::{Pipeline, Service, mask, overlap, photograph, programs, size, until};

#[test]
fn frames_have_the_size_asked_for_rising_times_and_the_people() {
    let _service = Service::new("scene:walk");
    let pipeline = Pipeline::new("stream=view ! video/x-raw,format=RGB,width=640,height=360,framerate=30/1").play();
    let mut times = Vec::new();
    let mut boxes = 0;
    for _ in 0..60 {
        let sample = pipeline.next();
        assert_eq!(size(&sample), (640, 360, "RGB".to_owned()));
        let buffer = sample.buffer().expect("a buffer");
        assert_eq!(buffer.size(), 640 * 360 * 3);
        times.push(buffer.pts().expect("a time"));
        for region in buffer.iter_meta::<VideoRegionOfInterestMeta>() {
            let (x, y, width, height) = region.rect();
            assert!(x + width <= 640 && y + height <= 360 && width > 0 && height > 0, "{:?}", region.rect());
            assert!(region.id() > 0, "a person has a number");
            boxes += 1;
        }
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    // A busy machine leaves frames out, so a gap is one or more periods of the scene.
    let period = 1.0 / 30.0;
    let gaps = times.windows(2).map(|pair| std::time::Duration::from(pair[1] - pair[0]).as_secs_f64() / period);
    let whole = gaps.clone().filter(|gap| *gap > 0.9 && (gap - gap.round()).abs() < 0.1).count();
    assert!(whole >= 40, "{whole} of 59 gaps are whole periods: {:?}", gaps.collect::<Vec<_>>());
    assert!(boxes >= 30, "{boxes} boxes in 60 frames");
    let mut latency = gst::query::Latency::new();
    assert!(pipeline.pipeline.by_name("source").expect("the source").query(&mut latency));
    let (is_live, least, most) = latency.result();
    assert!(is_live && least > gst::ClockTime::ZERO && most.is_none_or(|most| most >= least));
}

#[test]
fn nobody_is_attached_while_the_pipeline_pauses() {
    let _service = Service::new("scene:walk");
    let pipeline = Pipeline::new("stream=mask");
    pipeline.pipeline.set_state(gst::State::Paused).expect("it pauses");
    until("stats", "\"rings\":0");
    pipeline.pipeline.set_state(gst::State::Playing).expect("it plays");
    let first = pipeline.next();
    assert_eq!(size(&first).2, "GRAY8");
    until("stats", "\"rings\":1");
    pipeline.pipeline.set_state(gst::State::Paused).expect("it pauses");
    until("stats", "\"rings\":0");
    pipeline.pipeline.set_state(gst::State::Playing).expect("it plays again");
    until("stats", "\"rings\":1");
    // What waited in the sink is older.
    let times: Vec<_> = (0..8).filter_map(|_| pipeline.next().buffer().and_then(gst::BufferRef::pts)).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    pipeline.pipeline.set_state(gst::State::Null).expect("it ends");
    until("stats", "\"rings\":0");
}

#[test]
fn a_service_that_starts_again_is_found_again() {
    let mut service = Service::new("scene:walk");
    let pipeline = Pipeline::new("stream=composite").play();
    let first = pipeline.next();
    service.restart();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // Frames of the service before may wait in the sink.
    until("stats", "\"rings\":1");
    for _ in 0..8 {
        assert_eq!(size(&pipeline.next()), size(&first));
        assert!(std::time::Instant::now() < end);
    }
    assert_eq!(pipeline.error(), None);
}

#[test]
fn errors_say_what_is_wrong() {
    let mut service = Service::new("scene:walk");
    let refused = |text: &str| Pipeline::new(text).refusal();
    assert!(refused("stream=portrait").contains("`stream`"), "{}", refused("stream=portrait"));
    assert!(refused("crop=round").contains("`crop`"));
    let absent = refused("camera=other");
    assert!(absent.contains("NotFound") && absent.contains("\"other\""), "{absent}");
    let format = refused("stream=mask ! video/x-raw,format=RGB");
    assert!(format.contains("the stream mask is video/x-raw"), "{format}");
    service.end();
    let gone = refused("stream=view");
    assert!(gone.contains("OpenRead") || gone.contains("NotFound"), "{gone}");
}

#[test]
fn a_pipeline_waits_for_a_service_and_ends_while_it_waits() {
    let mut service = Service::new("scene:walk");
    service.end();
    let pipeline = Pipeline::new("wait=true stream=view").play();
    assert!(pipeline.sink.try_pull_sample(gst::ClockTime::from_mseconds(300)).is_none());
    assert_eq!(pipeline.error(), None);
    service.restart();
    pipeline.next();
    service.end();
    let waiting = Pipeline::new("wait=true stream=view").play();
    drop(waiting);
}

/// The bytes of one mask, by the client program.
fn mask_of_portraitctl() -> Vec<u8> {
    let output = Command::new(programs().join("portraitctl"))
        .args(["--bus", "session", "attach", "mask", "--quiet", "--frames", "1", "--raw", "-"])
        .output();
    output.expect("portraitctl runs").stdout
}

#[test]
fn the_mask_of_a_photograph_is_the_one_that_another_client_gets() {
    let _service = Service::new(&format!("file:{}?fps=30&loop", photograph().display()));
    let pipeline = Pipeline::new("stream=mask").play();
    let mut shape = Vec::new();
    // The picture stands still, so the mask comes to rest.
    for _ in 0..90 {
        shape = mask(&pipeline.next());
    }
    let agree = overlap(&shape, &mask_of_portraitctl());
    assert!(agree >= 0.99, "{agree} of the cells agree");
}
