//! The interface files that are installed say what the objects say of themselves.

use crate::fake::{FakeCamera, publication, runtime};
use portraitd::publish::dbus::{ROOT_PATH, camera_path, peer_pair};

async fn introspect(connection: &zbus::Connection, path: &str) -> String {
    let reply = connection
        .call_method(None::<&str>, path, Some("org.freedesktop.DBus.Introspectable"), "Introspect", &())
        .await
        .expect("introspection");
    reply.body().deserialize().expect("a string")
}

/// Cuts `  <interface name="NAME">` to `</interface>` out of a node's XML, as a document of its own.
fn document(xml: &str, interface: &str) -> String {
    let start = xml.find(&format!("<interface name=\"{interface}\">")).expect("the interface");
    let end = start + xml[start..].find("</interface>").expect("its end") + "</interface>".len();
    format!(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n  {}\n</node>\n",
        &xml[start..end]
    )
}

#[test]
fn the_interface_files_are_what_the_objects_say() {
    let camera = FakeCamera::new("front");
    let (root, object) = runtime().block_on(async {
        let (_server, client) = peer_pair(publication(&[&camera])).await.expect("peers");
        (introspect(&client, ROOT_PATH).await, introspect(&client, camera_path("front").as_str()).await)
    });
    assert!(root.contains("org.freedesktop.DBus.ObjectManager"));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/client/interfaces");
    let bless = std::env::var_os("PORTRAITD_BLESS").is_some();
    for (xml, interface) in [
        (&root, "org.portraitd.Manager1"),
        (&object, "org.portraitd.Camera1"),
        (&object, "org.portraitd.Framing1"),
        (&object, "org.portraitd.Segmentation1"),
        (&object, "org.portraitd.Background1"),
    ] {
        let file = folder.join(format!("{interface}.xml"));
        let expected = document(xml, interface);
        if bless {
            std::fs::write(&file, expected).expect("write");
            continue;
        }
        let found = std::fs::read_to_string(&file).expect("the committed file");
        assert!(found == expected, "{} differs; PORTRAITD_BLESS=1 writes it anew:\n{expected}", file.display());
    }
}
