//! The interface files that are installed equal the introspection of the objects, and the objects
//! implement the interfaces that the constants name.

use crate::fake::{FakeCamera, publication, runtime};
use portraitd::publish::dbus::{ROOT_PATH, camera_path, peer_pair};
use portraitd_protocol::names;

async fn introspect(connection: &zbus::Connection, path: &str) -> String {
    let reply = connection
        .call_method(None::<&str>, path, Some("org.freedesktop.DBus.Introspectable"), "Introspect", &())
        .await
        .expect("introspection");
    reply.body().deserialize().expect("a string")
}

/// Extracts the element `<interface name="INTERFACE">` from the XML of a node, as a document of its
/// own.
fn document(xml: &str, interface: &str) -> String {
    let start = xml.find(&format!("<interface name=\"{interface}\">")).expect("the interface");
    let end = start + xml[start..].find("</interface>").expect("its end") + "</interface>".len();
    format!(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n  {}\n</node>\n",
        &xml[start..end]
    )
}

/// The interfaces in the namespace of the service that a node implements, sorted.
fn our_interfaces(xml: &str) -> Vec<&str> {
    let names = xml.split("<interface name=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("org.portraitd.")).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_interface_files_are_what_the_objects_say() {
    let camera = FakeCamera::new("front");
    let (root, object) = runtime().block_on(async {
        let (_server, client) = peer_pair(publication(&[&camera])).await.expect("peers");
        (introspect(&client, ROOT_PATH).await, introspect(&client, camera_path("front").as_str()).await)
    });
    assert!(root.contains("org.freedesktop.DBus.ObjectManager"));
    let mut expected = names::CAMERA_INTERFACES.to_vec();
    expected.extend([names::CONTROLS_INTERFACE, names::PROVIDER_INTERFACE]);
    expected.sort_unstable();
    assert_eq!(our_interfaces(&object), expected);
    // The introspection of the root includes that of the objects below it.
    expected.push(names::MANAGER_INTERFACE);
    expected.sort_unstable();
    assert_eq!(our_interfaces(&root), expected);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/client/interfaces");
    let bless = std::env::var_os("PORTRAITD_BLESS").is_some();
    for (xml, interface) in [
        (&root, names::MANAGER_INTERFACE),
        (&object, names::CAMERA_INTERFACE),
        (&object, names::FRAMING_INTERFACE),
        (&object, names::SEGMENTATION_INTERFACE),
        (&object, names::BACKGROUND_INTERFACE),
        (&object, names::CONTROLS_INTERFACE),
        (&object, names::PROVIDER_INTERFACE),
    ] {
        let file = folder.join(format!("{interface}.xml"));
        let expected = document(xml, interface);
        if bless {
            std::fs::write(&file, expected).expect("write");
            continue;
        }
        let found = std::fs::read_to_string(&file).expect("the committed file");
        assert!(
            found == expected,
            "{} differs from the introspection; PORTRAITD_BLESS=1 overwrites it:\n{expected}",
            file.display()
        );
    }
}
