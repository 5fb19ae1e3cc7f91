//! The objects over a connection without a bus.

use std::collections::HashMap;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use portraitd::publish::dbus::authority::{Authority, AuthorizationRequest, Grant, Refusal, Right};
use portraitd::publish::dbus::{Server, camera_path, peer_pair};
use portraitd_client::feed::{AttachOptions, camera_at, find_camera};
use portraitd_client::proxy::{
    BackgroundProxy, CameraProxy, ControlsProxy, FramingProxy, ManagerProxy, SegmentationProxy,
};
use portraitd_client::{Feed, FrameCopy, Ring, Wait};
use portraitd_media::{PixelFormat, Size};
use portraitd_protocol::{BackgroundMode, CameraState, FramingMode, FramingSpeed, ServiceError, StreamKind};
use zbus::fdo::{ObjectManagerProxy, PropertiesProxy};
use zbus::{Connection, Variant};

use crate::fake::{FakeCamera, eventually, is_whole, publication, publication_with, runtime};

/// The two ends of a connection, with a camera.
struct Peers {
    camera: Arc<FakeCamera>,
    server: Server,
    client: Connection,
    proxy: CameraProxy<'static>,
}

async fn peers() -> Peers {
    let camera = FakeCamera::new("front");
    let (server, client) = peer_pair(publication(&[&camera])).await.expect("peers");
    let proxy = find_camera(&client, None).await.expect("the only camera");
    Peers { camera, server, client, proxy }
}

async fn interface<P>(client: &Connection) -> P
where
    P: zbus::proxy::ProxyImpl<'static> + From<zbus::Proxy<'static>> + zbus::proxy::Defaults,
{
    let builder = P::builder(client).path(camera_path("front"));
    builder.cache_properties(zbus::proxy::CacheProperties::No).build().await.expect("proxy")
}

#[test]
fn a_client_attaches_and_reads_whole_frames() {
    runtime().block_on(async {
        let peers = peers().await;
        let options = AttachOptions::default()
            .with_size(Size::new(320, 180))
            .with_format(PixelFormat::Rgb24)
            .with_frame_rate_limit(60);
        let mut feed = Feed::attach(peers.proxy.clone(), StreamKind::View, options).await.expect("attach");
        let layout = feed.layout().expect("attached");
        assert_eq!((layout.size, layout.format), (Size::new(320, 180), PixelFormat::Rgb24));
        let request = peers.camera.last_request.lock().expect("fake").clone().expect("a request");
        assert_eq!(request.options.size, Some(Size::new(320, 180)));
        assert_eq!(request.options.format, PixelFormat::Rgb24);
        assert!(request.client.name.as_str().starts_with("peer-"));
        assert_eq!(request.client.user, rustix::process::geteuid().as_raw());
        assert_eq!(request.client.process, Some(std::process::id()));

        let _publishing = peers.camera.publish_for_ever(Duration::from_millis(1));
        let mut frame = FrameCopy::default();
        for _ in 0..20 {
            feed.next(&mut frame).await.expect("frame");
            assert!(is_whole(&frame));
        }
        assert_eq!(feed.counters().frames, 20);
    });
}

#[test]
fn the_layout_says_what_the_rings_header_says() {
    runtime().block_on(async {
        let peers = peers().await;
        let (memory, event, layout) = peers.proxy.attach("view", &HashMap::new()).await.expect("attach");
        let ring = Ring::open(memory.into(), event.into()).expect("ring");
        let number = |key: &str| u32::try_from(&layout[key]).expect(key);
        let text = |key: &str| <&str>::try_from(&layout[key]).expect(key).to_owned();
        assert_eq!(text("camera"), "front");
        assert_eq!(text("stream"), "view");
        assert_eq!(text("format"), "NV12");
        assert_eq!((text("matrix"), text("range")), ("601".into(), "limited".into()));
        assert_eq!(number("generation"), ring.generation());
        assert_eq!(Size::new(number("width"), number("height")), ring.layout().size);
        assert_eq!(number("slot_count"), ring.layout().slot_count);
        assert_eq!(number("slot_bytes") as usize, ring.layout().slot_bytes);
        assert_eq!((number("version"), number("header_bytes")), (1, 4096));
        let planes = Variant::try_from(&layout["planes"]).expect("planes");
        let planes: Vec<(u32, u32, u32)> = planes.downcast().expect("a(uuu)");
        let expected: Vec<_> = ring
            .layout()
            .planes()
            .iter()
            .map(|plane| [plane.offset, plane.stride, plane.rows].map(|value| u32::try_from(value).expect("u32")))
            .map(|[offset, stride, rows]| (offset, stride, rows))
            .collect();
        assert_eq!(planes, expected);
    });
}

#[test]
fn errors_have_names() {
    runtime().block_on(async {
        let peers = peers().await;
        let attach = async |stream: &str, options: &[(&'static str, Variant<'static>)]| {
            let options = options.iter().map(|(key, value)| (*key, value.try_clone().expect("value"))).collect();
            peers.proxy.attach(stream, &options).await.expect_err("must fail")
        };
        let error = attach("nonsense", &[]).await;
        assert!(matches!(&error, ServiceError::NoSuchStream(text) if text.contains("nonsense")), "{error}");
        assert!(matches!(attach("source", &[]).await, ServiceError::NoSuchStream(_)));
        // An inset shows the source too.
        assert!(matches!(attach("view", &[("inset", "top-left".into())]).await, ServiceError::NoSuchStream(_)));
        let error = attach("view", &[("width", 1u32.into()), ("height", 16u32.into())]).await;
        assert!(matches!(&error, ServiceError::InvalidArgument(text) if text.contains("`width`")), "{error}");
        let error = attach("view", &[("colour", "red".into())]).await;
        assert!(matches!(&error, ServiceError::InvalidArgument(text) if text.contains("`colour`")), "{error}");

        let error = find_camera(&peers.client, Some("rear")).await.expect_err("no such camera");
        assert!(matches!(error, ServiceError::CameraAbsent(_)), "{error}");
        let framing: FramingProxy<'_> = interface(&peers.client).await;
        assert!(matches!(framing.reframe().await, Err(ServiceError::NotSupported(_))));
        let manager = ManagerProxy::new(&peers.client).await.expect("proxy");
        let error = manager.reload().await.expect_err("the fake's configuration is wrong");
        assert!(matches!(&error, ServiceError::InvalidArgument(text) if text.contains("fake.toml:3:1")), "{error}");
        // A client without the types of this project receives the error name.
        let path = camera_path("front");
        let raw = peers.client.call_method(
            None::<&str>,
            path.as_str(),
            Some("org.portraitd.Camera1"),
            "Snapshot",
            &"nonsense",
        );
        let zbus::Error::MethodError(name, text, _) = raw.await.expect_err("no such stream") else { panic!() };
        assert_eq!(name.as_str(), "org.portraitd.Error.NoSuchStream");
        let text = text.expect("a text");
        assert!(text.contains("mask, view, composite, source"), "{text}");
    });
}

struct OnlyMasks;

impl Authority for OnlyMasks {
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<Grant, Refusal>> {
        let allowed = request.right == Right::See(StreamKind::Mask);
        async move { if allowed { Ok(Grant::Standing) } else { Err(Refusal::Denied("no".into())) } }.boxed()
    }
}

#[test]
fn what_is_not_allowed_is_neither_attached_nor_photographed() {
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let (_server, client) = peer_pair(publication_with(&[&camera], Arc::new(OnlyMasks))).await.expect("peers");
        let proxy = find_camera(&client, None).await.expect("camera");
        assert!(proxy.attach("mask", &HashMap::new()).await.is_ok());
        for stream in ["view", "composite", "source"] {
            let error = proxy.attach(stream, &HashMap::new()).await.expect_err(stream);
            assert!(matches!(error, ServiceError::NotAuthorized(_)), "{error}");
            let error = proxy.snapshot(stream).await.expect_err(stream);
            assert!(matches!(error, ServiceError::NotAuthorized(_)), "{error}");
        }
    });
}

struct NoSource;

impl Authority for NoSource {
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<Grant, Refusal>> {
        let allowed = request.right != Right::See(StreamKind::Source);
        async move { if allowed { Ok(Grant::Standing) } else { Err(Refusal::Denied("no".into())) } }.boxed()
    }
}

#[test]
fn an_inset_needs_the_permission_of_the_source() {
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let (_server, client) = peer_pair(publication_with(&[&camera], Arc::new(NoSource))).await.expect("peers");
        let proxy = find_camera(&client, None).await.expect("camera");
        let attach = async |inset: &'static str| proxy.attach("view", &HashMap::from([("inset", inset.into())])).await;
        assert!(attach("none").await.is_ok());
        let error = attach("bottom-left").await.expect_err("shows the room");
        assert!(matches!(error, ServiceError::NotAuthorized(_)), "{error}");
    });
}

#[test]
fn properties_show_the_services_state() {
    runtime().block_on(async {
        let peers = peers().await;
        let camera = &peers.proxy;
        assert_eq!(camera.name().await.expect("Name"), "front");
        assert_eq!(camera.device().await.expect("Device"), "fake:0");
        assert_eq!(camera.state().await.expect("State"), CameraState::Idle);
        assert!(camera.format().await.expect("Format").is_empty());
        assert_eq!(u64::try_from(&camera.stats().await.expect("Stats")["frames"]), Ok(12));
        let framing: FramingProxy<'_> = interface(&peers.client).await;
        assert_eq!(framing.mode().await.expect("Mode"), FramingMode::Follow);
        assert_eq!(framing.crop().await.expect("Crop"), (0.25, 0.25, 0.5, 0.5));
        assert_eq!(f64::try_from(&framing.limits().await.expect("Limits")["max_zoom"]), Ok(4.0));
        let segmentation: SegmentationProxy<'_> = interface(&peers.client).await;
        assert_eq!(segmentation.models().await.expect("Models"), ["small", "large"]);
        assert_eq!(segmentation.people().await.expect("People"), [(7, 0.1, 0.2, 0.3, 0.4)]);
        assert!((segmentation.rate().await.expect("Rate") - 29.5).abs() < 1e-9);
        let background: BackgroundProxy<'_> = interface(&peers.client).await;
        assert_eq!(background.color().await.expect("Color"), "#203040");
    });
}

#[test]
fn settings_are_checked_applied_and_announced_once() {
    runtime().block_on(async {
        let peers = peers().await;
        let properties = PropertiesProxy::builder(&peers.client)
            .destination("org.portraitd")
            .path(camera_path("front"))
            .build()
            .await
            .expect("proxy");
        let mut signals = properties.receive_properties_changed().await.expect("signals");
        let framing: FramingProxy<'_> = interface(&peers.client).await;
        let segmentation: SegmentationProxy<'_> = interface(&peers.client).await;
        let background: BackgroundProxy<'_> = interface(&peers.client).await;

        let refused = [
            framing.set_mode("sideways".into()).await,
            framing.set_max_zoom(f64::NAN).await,
            framing.set_max_zoom(4.5).await,
            framing.set_manual_crop((0.5, 0.5, 0.6, 0.1)).await,
            framing.set_zones(&[(0.0, 0.0, 0.1, 0.1); 17]).await,
            framing.set_speed("fast".into()).await,
            segmentation.set_model("huge").await,
            background.set_mode("fire".into()).await,
            background.set_color("rot").await,
            background.set_blur(-1.0).await,
            peers.proxy.set_rotate(45).await,
        ];
        for result in refused {
            assert!(matches!(result, Err(ServiceError::InvalidArgument(_))), "{result:?}");
        }

        framing.set_mode(FramingMode::Manual.into()).await.expect("Mode");
        framing.set_manual_crop((0.5, 0.5, 0.5, 0.5)).await.expect("ManualCrop");
        framing.set_max_zoom(3.0).await.expect("MaxZoom");
        framing.set_speed(FramingSpeed::Calm.into()).await.expect("Speed");
        framing.set_zones(&[(0.0, 0.0, 0.1, 0.1)]).await.expect("Zones");
        segmentation.set_model("large").await.expect("Model");
        background.set_mode(BackgroundMode::Blur.into()).await.expect("Mode");
        background.set_color("#FF0080").await.expect("Color");
        background.set_blur(0.1).await.expect("Blur");
        background.set_strict(false).await.expect("Strict");
        framing.set_subject(7).await.expect("Subject");
        peers.proxy.set_rotate(270).await.expect("Rotate");
        peers.proxy.set_mirror(true).await.expect("Mirror");
        assert_eq!(framing.mode().await.expect("Mode"), FramingMode::Manual);
        assert_eq!(framing.manual_crop().await.expect("ManualCrop"), (0.5, 0.5, 0.5, 0.5));
        assert_eq!(framing.zones().await.expect("Zones"), [(0.0, 0.0, 0.1, 0.1)]);
        assert_eq!(background.color().await.expect("Color"), "#ff0080");
        assert!(!background.strict().await.expect("Strict"));
        assert_eq!(framing.subject().await.expect("Subject"), 7);
        assert_eq!(peers.proxy.rotate().await.expect("Rotate"), 270);
        assert!(peers.proxy.mirror().await.expect("Mirror"));

        // A change by the service marks the end of the signals.
        peers.camera.change(|state| state.camera.last_error = "the end".into());
        let mut announced = Vec::new();
        loop {
            let signal = signals.next().await.expect("signal");
            let arguments = signal.args().expect("arguments");
            let interface = arguments.interface_name().as_str().trim_start_matches("org.portraitd.").to_owned();
            let names: Vec<_> = arguments.changed_properties().keys().map(|name| (*name).to_owned()).collect();
            announced.extend(names.iter().map(|name| format!("{interface}.{name}")));
            if names == ["LastError"] {
                break;
            }
        }
        announced.sort();
        let expected = [
            "Background1.Blur",
            "Background1.Color",
            "Background1.Mode",
            "Background1.Strict",
            "Camera1.LastError",
            "Camera1.Mirror",
            "Camera1.Rotate",
            "Framing1.ManualCrop",
            "Framing1.MaxZoom",
            "Framing1.Mode",
            "Framing1.Speed",
            "Framing1.Zones",
            "Segmentation1.Model",
        ];
        assert_eq!(announced, expected);
    });
}

#[test]
fn controls_are_listed_set_and_reset() {
    runtime().block_on(async {
        let peers = peers().await;
        let controls: ControlsProxy<'_> = interface(&peers.client).await;
        let list = controls.list().await.expect("List");
        let keys: Vec<&str> = list.iter().map(|control| <&str>::try_from(&control["key"]).expect("s")).collect();
        assert_eq!(keys, ["white_balance_automatic", "gain", "power_line_frequency"]);
        assert_eq!(<&str>::try_from(&list[0]["name"]), Ok("White Balance, Automatic"));
        assert_eq!((i32::try_from(&list[1]["maximum"]), bool::try_from(&list[1]["inactive"])), (Ok(100), Ok(true)));
        assert!(list[2].contains_key("menu") && !list[1].contains_key("menu"));
        let value = |key: &str| {
            let controls = peers.camera.controls.lock().expect("fake");
            controls.iter().find(|control| control.key() == key).and_then(|control| control.value)
        };
        controls.set("gain", &Variant::from(42_u32)).await.expect("u");
        assert_eq!(value("gain"), Some(42));
        controls.set("gain", &Variant::from(43_i32)).await.expect("i");
        assert_eq!(value("gain"), Some(43));
        controls.set("white_balance_automatic", &Variant::from(false)).await.expect("b");
        controls.set("power_line_frequency", &Variant::from("60 Hz")).await.expect("s");
        assert_eq!((value("white_balance_automatic"), value("power_line_frequency")), (Some(0), Some(2)));
        for (name, bad) in [
            ("gain", Variant::from(101_i32)),
            ("gain", Variant::from(1.5_f64)),
            ("power_line_frequency", Variant::from("70 Hz")),
            ("focus", Variant::from(1_i32)),
        ] {
            let result = controls.set(name, &bad).await;
            assert!(matches!(result, Err(ServiceError::InvalidArgument(_))), "{name} {bad:?}: {result:?}");
        }
        controls.reset("gain").await.expect("one");
        assert_eq!((value("gain"), value("power_line_frequency")), (Some(1), Some(2)));
        controls.reset("").await.expect("all");
        assert_eq!(value("power_line_frequency"), Some(1));
    });
}

#[test]
fn a_state_that_flaps_does_not_flood_the_bus() {
    runtime().block_on(async {
        let peers = peers().await;
        let properties = PropertiesProxy::builder(&peers.client)
            .destination("org.portraitd")
            .path(camera_path("front"))
            .build()
            .await
            .expect("proxy");
        let mut signals = properties.receive_properties_changed().await.expect("signals");
        for turn in 0..500u32 {
            peers.camera.change(|state| state.camera.consumers = turn);
            tokio::task::yield_now().await;
        }
        peers.camera.change(|state| state.camera.state = CameraState::Running);
        let mut count = 0;
        loop {
            let signal = signals.next().await.expect("signal");
            count += 1;
            let arguments = signal.args().expect("arguments");
            if let Some(state) = arguments.changed_properties().get("State") {
                assert_eq!(*state, Variant::from("running"));
                break;
            }
        }
        assert!(count < 50, "{count} signals for 500 changes");
        assert_eq!(peers.proxy.consumers().await.expect("Consumers"), 499);
    });
}

#[test]
fn a_snapshot_is_a_file_at_its_beginning() {
    runtime().block_on(async {
        let peers = peers().await;
        let png = peers.proxy.snapshot("mask").await.expect("snapshot");
        let mut bytes = String::new();
        std::fs::File::from(OwnedFd::from(png)).read_to_string(&mut bytes).expect("read");
        assert_eq!(bytes, "\u{89}PNG of mask");
    });
}

#[test]
fn a_background_picture_comes_by_file_or_pipe() {
    runtime().block_on(async {
        let peers = peers().await;
        let background: BackgroundProxy<'_> = interface(&peers.client).await;
        let image = || peers.camera.image.lock().expect("fake").clone();

        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"by file").expect("write");
        background.set_image(file.as_fd().into()).await.expect("a file that stands at its end");
        assert_eq!(image().as_deref(), Some(b"by file".as_slice()));
        assert_eq!(file.stream_position().expect("position"), 7, "the client's own position is left alone");

        let (reader, mut writer) = std::io::pipe().expect("pipe");
        let by_pipe = async {
            let set = background.set_image(reader.as_fd().into());
            writer.write_all(b"by pipe").expect("write");
            drop(writer);
            set.await
        };
        by_pipe.await.expect("a pipe");
        assert_eq!(image().as_deref(), Some(b"by pipe".as_slice()));

        let null = std::fs::File::open("/dev/null").expect("null");
        let error = background.set_image(null.as_fd().into()).await.expect_err("no picture");
        assert!(matches!(error, ServiceError::InvalidArgument(_)), "{error}");
        background.clear_image().await.expect("clear");
        assert_eq!(image(), None);
    });
}

#[test]
fn a_pipe_that_brings_nothing_keeps_nobody_waiting() {
    runtime().block_on(async {
        let peers = peers().await;
        let background: BackgroundProxy<'_> = interface(&peers.client).await;
        let (reader, writer) = std::io::pipe().expect("pipe");
        let first = background.set_image(reader.as_fd().into());
        let second = async {
            // The first image is being read while the pipe is open. Other calls are not blocked.
            let refused = async {
                while !matches!(background.set_image(reader.as_fd().into()).await, Err(ServiceError::Busy(_))) {}
            };
            tokio::time::timeout(Duration::from_secs(30), refused).await.expect("Busy while the first is read");
            assert_eq!(background.mode().await.expect("Mode"), BackgroundMode::Color);
            drop(writer);
        };
        let (first, ()) = futures_util::future::join(first, second).await;
        assert!(matches!(first, Err(ServiceError::InvalidArgument(_))), "{first:?}");
    });
}

#[test]
fn a_feed_attaches_again_when_its_ring_is_closed() {
    runtime().block_on(async {
        let peers = peers().await;
        let mut feed =
            Feed::attach(peers.proxy.clone(), StreamKind::Mask, AttachOptions::default()).await.expect("attach");
        assert_eq!(feed.generation(), 1);
        let _publishing = peers.camera.publish_for_ever(Duration::from_millis(1));
        let mut frame = FrameCopy::default();
        feed.next(&mut frame).await.expect("frame");
        for generation in 2..5 {
            peers.camera.close_rings();
            while feed.generation() != generation {
                feed.next(&mut frame).await.expect("frame");
                assert!(is_whole(&frame));
            }
        }
        assert_eq!(feed.counters().reattached, 3);
        assert_eq!(peers.proxy.generation().await.expect("Generation"), 4);
    });
}

#[test]
fn a_feed_ends_with_its_connection() {
    runtime().block_on(async {
        let peers = peers().await;
        let mut feed =
            Feed::attach(peers.proxy.clone(), StreamKind::Mask, AttachOptions::default()).await.expect("attach");
        let connection = peers.server.connection().clone();
        drop(peers.server);
        connection.close().await.expect("close");
        peers.camera.close_rings();
        let error = feed.next(&mut FrameCopy::default()).await.expect_err("nobody is there");
        assert!(matches!(error, portraitd_client::feed::FeedError::Disconnected), "{error}");
    });
}

#[test]
fn a_peer_that_goes_is_released_and_its_rings_notice() {
    runtime().block_on(async {
        let peers = peers().await;
        let (memory, event, _) = peers.proxy.attach("mask", &HashMap::new()).await.expect("attach");
        let mut ring = Ring::open(memory.into(), event.into()).expect("ring");
        let Peers { camera, server: _server, client, proxy } = peers;
        assert_eq!(camera.clients(), 1);
        drop(proxy);
        client.close().await.expect("close");
        let mut left = camera.left.subscribe();
        left.wait_for(|left| !left.is_empty()).await.expect("released");
        assert_eq!(camera.clients(), 0);
        // The client still holds the pipe, which has ended.
        assert_eq!(ring.wait(Some(Duration::from_secs(60))).expect("wait"), Wait::Closed);
    });
}

#[test]
fn the_main_thread_hears_of_a_pipe_that_was_closed() {
    runtime().block_on(async {
        let peers = peers().await;
        let (_memory, event, _) = peers.proxy.attach("mask", &HashMap::new()).await.expect("attach");
        let clients = peers.camera.ring_clients(StreamKind::Mask);
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let watched = clients.clone();
        let watching = tokio::spawn(async move { watched.watch(move |id| sender.send(id).expect("test")).await });
        for _ in 0..3 {
            let fds = clients.add_client(None).expect("client");
            let id = fds.id;
            drop(fds);
            assert_eq!(receiver.recv().await, Some(id));
        }
        assert_eq!(clients.client_count(), 1);
        drop(event);
        receiver.recv().await.expect("the first one");
        assert_eq!(clients.client_count(), 0);
        watching.abort();
    });
}

#[test]
fn cameras_come_and_go() {
    runtime().block_on(async {
        let peers = peers().await;
        let objects = ObjectManagerProxy::builder(&peers.client)
            .destination("org.portraitd")
            .path("/org/portraitd")
            .build()
            .await
            .expect("proxy");
        let managed = objects.get_managed_objects().await.expect("objects");
        let cameras = managed.keys().filter(|path| path.starts_with("/org/portraitd/cameras/"));
        assert_eq!(cameras.count(), 1);
        let interfaces = &managed[&camera_path("front")];
        assert!(interfaces.keys().any(|name| name.as_str() == "org.portraitd.Segmentation1"));

        let mut added = objects.receive_interfaces_added().await.expect("signals");
        let mut removed = objects.receive_interfaces_removed().await.expect("signals");
        let rear = FakeCamera::new("rear 2");
        peers.server.add_camera(rear.clone()).await.expect("add");
        let signal = added.next().await.expect("signal");
        assert_eq!(signal.args().expect("arguments").object_path().as_str(), "/org/portraitd/cameras/rear_202");
        let manager = ManagerProxy::new(&peers.client).await.expect("proxy");
        assert_eq!(manager.cameras().await.expect("Cameras").len(), 2);
        assert_eq!(manager.version().await.expect("Version"), env!("CARGO_PKG_VERSION"));
        assert!(peers.server.add_camera(rear.clone()).await.is_err(), "a name can be had once");
        assert!(find_camera(&peers.client, None).await.is_err(), "now a name is needed");
        let proxy = find_camera(&peers.client, Some("rear 2")).await.expect("camera");
        assert_eq!(proxy.name().await.expect("Name"), "rear 2");

        assert!(peers.server.remove_camera("rear 2").await.expect("remove"));
        assert!(!peers.server.remove_camera("rear 2").await.expect("remove"));
        removed.next().await.expect("signal");
        eventually("one camera", || manager.cached_cameras().ok().flatten().is_none_or(|paths| paths.len() == 1)).await;
        let gone = camera_at(&peers.client, camera_path("rear 2")).await.expect("proxy");
        assert!(gone.name().await.is_err());
    });
}

#[test]
fn two_cameras_of_one_name_are_refused() {
    runtime().block_on(async {
        let (one, two) = (FakeCamera::new("front"), FakeCamera::new("front"));
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
        let error = portraitd::publish::dbus::serve_peer(ours.into(), publication(&[&one, &two])).await;
        assert_eq!(error.expect_err("two of one name").to_string(), "two cameras are named \"front\"");
    });
}
