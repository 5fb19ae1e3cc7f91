//! A client of the first release, frozen: it knows D-Bus names and types, and offsets in the ring,
//! only as literals, and shares no code with the client crate.
//!
//! Do not change the literals: a failure shows that a released program in any language would stop
//! working. `docs/design/compatibility.md` says what an incompatible change needs.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use portraitd::publish::RingWriter;
use portraitd::publish::dbus::peer_pair;
use portraitd_media::PixelFormat;
use portraitd_protocol::StreamKind;
use zbus::{Connection, OwnedVariant, Variant};

use crate::fake::{FakeCamera, SIZE, publication, publish, runtime, shade, spec};

const CAMERA: &str = "/org/portraitd/cameras/front";

async fn get(client: &Connection, path: &str, interface: &str, property: &str) -> OwnedVariant {
    let arguments = (interface, property);
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply = client.call_method(None::<&str>, path, properties, "Get", &arguments).await.expect(property);
    let body = reply.body();
    body.deserialize().expect("a variant")
}

async fn set(client: &Connection, interface: &str, property: &str, value: Variant<'_>) -> zbus::Result<()> {
    let arguments = (interface, property, value);
    let properties = Some("org.freedesktop.DBus.Properties");
    client.call_method(None::<&str>, CAMERA, properties, "Set", &arguments).await.map(drop)
}

#[test]
fn a_client_of_the_first_release_reads_every_property() {
    runtime().block_on(async {
        let (_server, client) = peer_pair(publication(&[&FakeCamera::new("front")])).await.expect("peers");
        for (path, interface, property, signature) in [
            ("/org/portraitd", "org.portraitd.Manager1", "Version", "s"),
            ("/org/portraitd", "org.portraitd.Manager1", "Cameras", "ao"),
            (CAMERA, "org.portraitd.Camera1", "Name", "s"),
            (CAMERA, "org.portraitd.Camera1", "Device", "s"),
            (CAMERA, "org.portraitd.Camera1", "State", "s"),
            (CAMERA, "org.portraitd.Camera1", "Format", "a{sv}"),
            (CAMERA, "org.portraitd.Camera1", "Consumers", "u"),
            (CAMERA, "org.portraitd.Camera1", "Generation", "u"),
            (CAMERA, "org.portraitd.Camera1", "LastError", "s"),
            (CAMERA, "org.portraitd.Camera1", "Stats", "a{sv}"),
            (CAMERA, "org.portraitd.Framing1", "Mode", "s"),
            (CAMERA, "org.portraitd.Framing1", "State", "s"),
            (CAMERA, "org.portraitd.Framing1", "Crop", "(dddd)"),
            (CAMERA, "org.portraitd.Framing1", "ManualCrop", "(dddd)"),
            (CAMERA, "org.portraitd.Framing1", "MaxZoom", "d"),
            (CAMERA, "org.portraitd.Framing1", "Speed", "s"),
            (CAMERA, "org.portraitd.Framing1", "Zones", "a(dddd)"),
            (CAMERA, "org.portraitd.Framing1", "Limits", "a{sv}"),
            (CAMERA, "org.portraitd.Segmentation1", "Model", "s"),
            (CAMERA, "org.portraitd.Segmentation1", "Models", "as"),
            (CAMERA, "org.portraitd.Segmentation1", "Rate", "d"),
            (CAMERA, "org.portraitd.Segmentation1", "People", "a(udddd)"),
            (CAMERA, "org.portraitd.Segmentation1", "Present", "b"),
            (CAMERA, "org.portraitd.Segmentation1", "Healthy", "b"),
            (CAMERA, "org.portraitd.Segmentation1", "Degraded", "s"),
            (CAMERA, "org.portraitd.Background1", "Mode", "s"),
            (CAMERA, "org.portraitd.Background1", "Color", "s"),
            (CAMERA, "org.portraitd.Background1", "Blur", "d"),
        ] {
            let value = get(&client, path, interface, property).await;
            assert_eq!(value.value_signature().to_string(), signature, "{interface}.{property}");
        }
    });
}

#[test]
fn a_client_of_the_first_release_changes_settings() {
    runtime().block_on(async {
        let (_server, client) = peer_pair(publication(&[&FakeCamera::new("front")])).await.expect("peers");
        let rectangle = (0.5, 0.5, 0.25, 0.25);
        for (interface, property, value) in [
            ("org.portraitd.Framing1", "Mode", Variant::from("manual")),
            ("org.portraitd.Framing1", "ManualCrop", rectangle.into()),
            ("org.portraitd.Framing1", "MaxZoom", 4.0.into()),
            ("org.portraitd.Framing1", "Speed", "quick".into()),
            ("org.portraitd.Framing1", "Zones", vec![rectangle; 16].into()),
            ("org.portraitd.Segmentation1", "Model", "large".into()),
            ("org.portraitd.Background1", "Mode", "none".into()),
            ("org.portraitd.Background1", "Color", "#0a141e".into()),
            ("org.portraitd.Background1", "Blur", 0.25.into()),
        ] {
            set(&client, interface, property, value.try_clone().expect("value")).await.expect(property);
            let found = get(&client, CAMERA, interface, property).await;
            assert_eq!(found, OwnedVariant::try_from(value).expect("value"), "{property}");
        }
        let refused = set(&client, "org.portraitd.Framing1", "MaxZoom", 4.5.into()).await.expect_err("out of range");
        let zbus::Error::MethodError(name, ..) = refused else { panic!("{refused}") };
        assert_eq!(name.as_str(), "org.portraitd.Error.InvalidArgument");
    });
}

#[test]
fn a_client_of_the_first_release_attaches_with_every_option() {
    runtime().block_on(async {
        let (_server, client) = peer_pair(publication(&[&FakeCamera::new("front")])).await.expect("peers");
        let size = |width: u32, height: u32| [("width", Variant::from(width)), ("height", height.into())];
        let view: HashMap<&str, Variant<'_>> = HashMap::from(size(640, 360))
            .into_iter()
            .chain([("format", "RGB3".into()), ("fps", 240u32.into()), ("inset", "none".into())])
            .collect();
        let composite = HashMap::from([("format", "NV12".into()), ("crop", "full".into())]);
        let mask = HashMap::from([("format", "GREY".into()), ("resolution", "quarter".into())]);
        for (stream, options) in [("view", view), ("composite", composite), ("mask", mask)] {
            let camera = Some("org.portraitd.Camera1");
            let reply = client.call_method(None::<&str>, CAMERA, camera, "Attach", &(stream, options)).await;
            let body = reply.expect(stream).body();
            let (memory, _event, layout): (zbus::OwnedFd, zbus::OwnedFd, HashMap<String, OwnedVariant>) =
                body.deserialize().expect("two descriptors and a layout");
            for (key, signature) in [
                ("camera", "s"),
                ("stream", "s"),
                ("generation", "u"),
                ("version", "u"),
                ("header_bytes", "u"),
                ("slot_count", "u"),
                ("slot_bytes", "u"),
                ("format", "s"),
                ("width", "u"),
                ("height", "u"),
                ("planes", "a(uuu)"),
                ("matrix", "s"),
                ("range", "s"),
            ] {
                assert_eq!(layout[key].value_signature().to_string(), signature, "{stream}: {key}");
            }
            let mut magic = [0; 8];
            File::from(OwnedFd::from(memory)).read_exact_at(&mut magic, 0).expect("read");
            assert_eq!(&magic, b"PORTRAIT");
        }
    });
}

#[test]
fn a_ring_is_written_as_version_1_says() {
    let mut writer = RingWriter::new(&spec(StreamKind::Mask, PixelFormat::Grey, SIZE)).expect("ring");
    let fds = writer.add_client().expect("client");
    let memory = File::from(fds.memory);
    let read = |offset: u64, length: usize| {
        let mut bytes = vec![0; length];
        memory.read_exact_at(&mut bytes, offset).expect("read");
        bytes
    };
    let u32_at = |offset| u32::from_le_bytes(read(offset, 4).try_into().expect("4 bytes"));
    let u64_at = |offset| u64::from_le_bytes(read(offset, 8).try_into().expect("8 bytes"));
    let f32_at = |offset| f32::from_bits(u32_at(offset));

    assert_eq!(u64_at(128), 0, "latest, before the first frame");
    (0..6).for_each(|_| publish(&mut writer));
    assert_eq!((u64_at(128), u32_at(192)), (6, 0), "latest, closed");
    assert_eq!((u32_at(16), u32_at(20)), (4, 512 + 64 * 36), "slot count, slot bytes");
    assert_eq!((u32_at(48), u32_at(64), u32_at(80)), (512, 64, 36), "the plane");
    // Frame 6 lies in slot 1. `publish` gives it these values.
    let slot = 4096 + u64::from(u32_at(20));
    assert_eq!(u64_at(slot), 12, "lock");
    assert_eq!((u64_at(slot + 8), u64_at(slot + 16)), (106, 6000), "sequence, capture");
    assert!(u64_at(slot + 24) > 0, "publish");
    assert_eq!((u64_at(slot + 32), u64_at(slot + 40)), (105, 33), "mask sequence, mask age");
    assert_eq!([0, 4, 8, 12].map(|place| f32_at(slot + 48 + place)), [10.0, 20.0, 30.0, 40.0], "crop");
    assert_eq!((u32_at(slot + 64), u32_at(slot + 68)), (3, 1), "flags: mask valid, still; people");
    assert_eq!(u32_at(slot + 72), 7, "id");
    assert_eq!([4, 8, 12, 16, 20].map(|place| f32_at(slot + 72 + place)), [1.0, 2.0, 3.0, 4.0, 0.5], "box, confidence");
    assert_eq!(read(slot + 512, 64 * 36), [shade(6); 64 * 36]);
    drop(writer);
    assert_ne!(u32_at(192), 0, "closed");
}
