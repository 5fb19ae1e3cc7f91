//! `portraitdsink`.

use std::sync::mpsc;

use gst::prelude::*;
use gst_app::AppSrc;
use portraitd_client::connect::Bus;
use portraitd_client::feed::{AttachOptions, find_camera};
use portraitd_client::{Feed, FrameCopy, StreamKind};

use super::{PATIENCE, Pipeline, Service, mask, nv12, overlap, photograph, size};

/// Where frames come from that all differ from grey and do not move.
const BARS: &str = "videotestsrc is-live=true pattern=smpte75";

/// A pipeline that provides the frames of the camera `door`.
struct Provided(gst::Pipeline);

impl Provided {
    fn new(text: &str) -> Self {
        let text = format!("{text} ! portraitdsink name=sink bus=session camera=door");
        Self(gst::parse::launch(&text).expect("a pipeline").downcast().expect("a pipeline"))
    }

    fn play(self) -> Self {
        self.0.set_state(gst::State::Playing).expect("it plays");
        self
    }

    fn by_name<T: IsA<gst::Element>>(&self, name: &str) -> T {
        self.0.by_name(name).expect("an element").downcast().expect("of this type")
    }

    /// The next news of the sink: whether it has offered its frames, and whether somebody looks.
    fn news(&self) -> (bool, bool) {
        let bus = self.0.bus().expect("a bus");
        let kinds = [gst::MessageType::Element, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(PATIENCE, &kinds).expect("news");
        match message.view() {
            gst::MessageView::Element(element) => {
                let structure = element.structure().expect("a structure");
                assert_eq!(structure.name(), "portraitd-provider");
                (structure.get("offered").expect("a word"), structure.get("wanted").expect("a word"))
            }
            gst::MessageView::Error(error) => panic!("{}", error.error()),
            _ => unreachable!("other messages are left out"),
        }
    }

    fn is_wanted(&self) -> bool {
        self.by_name::<gst::Element>("sink").property("wanted")
    }

    fn error(&self) -> String {
        let failed = self.0.set_state(gst::State::Playing).is_err();
        let bus = self.0.bus().expect("a bus");
        let message = bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Error]).expect("an error");
        let gst::MessageView::Error(error) = message.view() else { unreachable!("only errors are taken") };
        let kind = error.error().kind::<gst::ResourceError>();
        format!("{}{kind:?} {}", if failed { "at once: " } else { "" }, error.error())
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// The frames of the camera `door` as another client gets them.
pub(super) fn look() -> Pipeline {
    Pipeline::new("camera=door stream=source wait=true").play()
}

#[test]
fn frames_of_every_format_come_back_as_they_were() {
    let _service = Service::with(&[("door", "provider")]);
    for format in ["NV12", "YUY2", "UYVY", "NV21", "I420", "Y42B", "RGB", "BGR", "RGBx", "BGRx", "GRAY8"] {
        // The width is no multiple of the alignment of rows in GStreamer and in the ring.
        let caps = format!("video/x-raw,format={format},width=322,height=242,framerate=30/1");
        let text = format!("{BARS} ! {caps} ! videoconvert ! video/x-raw,format=NV12 ! appsink name=sink");
        let plain = gst::parse::launch(&text).expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
        plain.set_state(gst::State::Playing).expect("it plays");
        let sink = plain.by_name("sink").expect("the sink").downcast::<gst_app::AppSink>().expect("an appsink");
        let wanted = sink.try_pull_sample(PATIENCE).expect("a frame");
        plain.set_state(gst::State::Null).expect("it ends");

        let _provided = Provided::new(&format!("{BARS} ! {caps}")).play();
        // The service gives all of them as NV12.
        let got = look().next();
        assert_eq!(size(&got), (322, 242, "NV12".to_owned()));
        for (plane, (got, wanted)) in nv12(&got).into_iter().zip(nv12(&wanted)).enumerate() {
            assert_eq!(got.len(), wanted.len());
            let differences = got.iter().zip(&wanted).map(|(got, wanted)| u32::from(got.abs_diff(*wanted)));
            // Two programs round in their own ways, and reduce colours at the edges of the bars.
            let mean = f64::from(differences.sum::<u32>()) / f64::from(u32::try_from(got.len()).expect("small"));
            assert!(mean < 1.5, "{caps}: the values of plane {plane} differ by {mean}");
        }
    }
}

#[test]
fn a_sink_tells_whether_somebody_looks() {
    let _service = Service::with(&[("door", "provider")]);
    let provided = Provided::new(&format!("{BARS} ! video/x-raw,width=320,height=240")).play();
    assert_eq!(provided.news(), (true, false));
    for _ in 0..2 {
        assert!(!provided.is_wanted());
        let looking = look();
        assert_eq!(provided.news(), (true, true));
        assert!(provided.is_wanted());
        looking.next();
        drop(looking);
        assert_eq!(provided.news(), (true, false));
    }
}

#[test]
fn an_application_can_be_told_while_its_source_is_off() {
    let _service = Service::with(&[("door", "provider")]);
    let provided = Provided::new(&format!("{BARS} ! video/x-raw,width=320,height=240"));
    // The bus of a pipeline in `NULL` drops its messages otherwise.
    provided.0.bus().expect("a bus").set_flushing(false);
    provided.by_name::<gst::Element>("sink").set_state(gst::State::Ready).expect("it offers");
    assert_eq!(provided.news(), (true, false));
    let looking = look();
    assert_eq!(provided.news(), (true, true));
    let provided = provided.play();
    assert_eq!(size(&looking.next()).0, 320);
    // The caps before the sink told the size, so the offer has stayed as it was.
    assert!(provided.is_wanted());
}

#[test]
fn frames_are_given_back_while_nobody_looks() {
    struct Watched(mpsc::Sender<()>);
    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &[128; 64 * 48]
        }
    }
    impl Drop for Watched {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let _service = Service::with(&[("door", "provider")]);
    let caps = "video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1";
    let provided = Provided::new(&format!("appsrc name=source is-live=true format=time caps={caps}")).play();
    let (sender, dropped) = mpsc::channel();
    for _ in 0..20 {
        let buffer = gst::Buffer::from_slice(Watched(sender.clone()));
        provided.by_name::<AppSrc>("source").push_buffer(buffer).expect("taken");
        dropped.recv_timeout(PATIENCE.into()).expect("the buffer is given back");
    }
    assert!(!provided.is_wanted());
}

#[test]
fn a_frame_keeps_the_time_at_which_it_was_captured() {
    const AGE: gst::ClockTime = gst::ClockTime::from_mseconds(700);
    let _service = Service::with(&[("door", "provider")]);
    let caps = "video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1";
    let provided = Provided::new(&format!("appsrc name=source is-live=true format=time caps={caps} ! {caps}")).play();
    let source = provided.by_name::<AppSrc>("source");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut feed = runtime.block_on(async {
        let connection = Bus::Session.connect().await.expect("a bus");
        let camera = find_camera(&connection, Some("door")).await.expect("the camera");
        Feed::attach(camera, StreamKind::Source, AttachOptions::default()).await.expect("attached")
    });
    assert_eq!((provided.news(), provided.news()), ((true, false), (true, true)));
    let mut frame = FrameCopy::default();
    for value in 1..=10_u8 {
        let mut buffer = gst::Buffer::from_slice(vec![value; 64 * 48]);
        let now = provided.0.current_running_time().expect("it plays");
        // Not the frames of the first moments, whose time would be before the start.
        let captured = now.saturating_sub(AGE);
        buffer.get_mut().expect("writable").set_pts(captured);
        let wanted = provided.0.base_time().expect("it plays") + captured;
        source.push_buffer(buffer).expect("taken");
        let next = async { tokio::time::timeout(PATIENCE.into(), feed.next(&mut frame)).await };
        runtime.block_on(next).expect("in time").expect("a frame");
        assert_eq!(frame.rows(0).next().map(|row| row[0]), Some(value));
        // The system clock of GStreamer is CLOCK_MONOTONIC.
        let error = frame.info().capture_ns.abs_diff(wanted.nseconds());
        assert!(error < AGE.nseconds() / 4, "frame {value} is {error} ns off");
    }
}

#[test]
fn size_and_format_may_change_in_the_middle() {
    let _service = Service::with(&[("door", "provider")]);
    let provided =
        Provided::new(&format!("{BARS} ! capsfilter name=caps caps=video/x-raw,format=NV12,width=320,height=240"))
            .play();
    let looking = look();
    assert_eq!(size(&looking.next()), (320, 240, "NV12".to_owned()));
    for (format, width, height) in [("RGB", 322, 240), ("YUY2", 640, 360), ("NV12", 160, 120)] {
        let caps = format!("video/x-raw,format={format},width={width},height={height}");
        let caps: gst::Caps = caps.parse().expect("caps");
        provided.by_name::<gst::Element>("caps").set_property("caps", &caps);
        // Frames of the form before may be on their way.
        let wanted = (width, height, "NV12".to_owned());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while size(&looking.next()) != wanted {
            assert!(std::time::Instant::now() < end, "no frames of {caps}");
        }
    }
    // Somebody has looked all the time.
    assert_eq!((provided.news(), provided.news()), ((true, false), (true, true)));
    let bus = provided.0.bus().expect("a bus");
    assert!(bus.pop_filtered(&[gst::MessageType::Element, gst::MessageType::Error]).is_none());
}

#[test]
fn frames_are_offered_again_after_a_restart_of_the_service() {
    let mut service = Service::with(&[("door", "provider")]);
    let provided = Provided::new(&format!("{BARS} ! video/x-raw,width=320,height=240")).play();
    let looking = look();
    looking.next();
    assert_eq!((provided.news(), provided.news()), ((true, false), (true, true)));
    service.restart();
    assert_eq!(provided.news(), (false, false));
    assert_eq!((provided.news(), provided.news()), ((true, false), (true, true)));
    // More than can have waited in the sink.
    for _ in 0..8 {
        looking.next();
    }
}

#[test]
fn a_sink_waits_for_the_service_and_the_camera() {
    let mut service = Service::with(&[("door", "provider")]);
    service.end();
    let text = format!("{BARS} ! video/x-raw,width=320,height=240 ! portraitdsink name=sink bus=session wait=true");
    let provided = Provided(gst::parse::launch(&text).expect("a pipeline").downcast().expect("a pipeline")).play();
    assert!(!provided.is_wanted());
    service.restart();
    assert_eq!(provided.news(), (true, false));
    look().next();
    service.end();
    // One that waits can be ended.
    drop(Provided(gst::parse::launch(&text).expect("a pipeline").downcast().expect("a pipeline")).play());
}

#[test]
fn errors_say_why_frames_cannot_be_provided() {
    let mut service = Service::with(&[("main", "scene:walk"), ("door", "provider")]);
    let refused = |text: &str| {
        let text = format!("{BARS} ! {text}");
        let pipeline = gst::parse::launch(&text).expect("a pipeline").downcast::<gst::Pipeline>();
        Provided(pipeline.expect("a pipeline")).error()
    };
    let absent = refused("portraitdsink bus=session camera=other");
    assert!(absent.starts_with("at once: Some(NotFound)") && absent.contains("\"other\""), "{absent}");
    let unnamed = refused("portraitdsink bus=session");
    assert!(unnamed.contains("2 cameras"), "{unnamed}");
    let scene = refused("portraitdsink bus=session camera=main");
    assert!(scene.contains("provider"), "{scene}");
    assert!(refused("portraitdsink bus=none camera=door").contains("`bus`"));
    let large = "video/x-raw,format=RGBx,width=4096,height=4096 ! portraitdsink bus=session camera=door";
    assert!(refused(large).contains("4096x4096"), "{}", refused(large));
    let first = Provided::new(BARS).play();
    assert_eq!(first.news(), (true, false));
    let second = refused("portraitdsink bus=session camera=door");
    assert!(second.starts_with("at once: Some(Busy)"), "{second}");
    drop(first);
    service.end();
    let gone = refused("portraitdsink bus=session camera=door");
    assert!(gone.starts_with("at once: Some(OpenWrite)"), "{gone}");
}

#[test]
fn the_mask_of_a_provided_photograph_is_that_of_the_file() {
    let photograph = photograph();
    let _service =
        Service::with(&[("file", &format!("file:{}?fps=30&loop", photograph.display())), ("door", "provider")]);
    let source = format!("multifilesrc location={} loop=true caps=image/jpeg,framerate=30/1", photograph.display());
    let text = format!("{source} ! jpegdec ! portraitdsink name=sink bus=session camera=door sync=true");
    let _provided = Provided(gst::parse::launch(&text).expect("a pipeline").downcast().expect("a pipeline")).play();
    let mask_of = |camera: &str| {
        let pipeline = Pipeline::new(&format!("camera={camera} stream=mask")).play();
        let mut shape = Vec::new();
        // The picture stands still, so the mask comes to rest.
        for _ in 0..60 {
            shape = mask(&pipeline.next());
        }
        shape
    };
    let agree = overlap(&mask_of("file"), &mask_of("door"));
    assert!(agree >= 0.97, "{agree} of the cells agree");
}
