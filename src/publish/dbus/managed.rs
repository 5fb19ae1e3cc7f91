//! `org.freedesktop.DBus.ObjectManager`, which answers each caller with what that caller may read.
//!
//! The implementation of zbus reads the properties without telling who asks. It recognizes an
//! object manager by the name of the interface, so it announces added and removed objects for this
//! one too.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::PoisonError;

use zbus::fdo::{self, ManagedObjects};
use zbus::message::Header;
use zbus::names::{InterfaceName, OwnedInterfaceName};
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, ObjectPath, ObjectServer, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::objects::{BackgroundObject, CameraObject, CameraPaths, ControlsObject, FramingObject, SegmentationObject};

/// The manager of the cameras' objects.
pub(super) struct ManagedCameras(pub(super) CameraPaths);

/// The properties of the interface `I` of an object that the sender of `header` may read. `None` if
/// the object is gone.
async fn properties<I: Interface>(
    server: &ObjectServer,
    connection: &Connection,
    header: &Header<'_>,
    path: &OwnedObjectPath,
) -> fdo::Result<Option<(OwnedInterfaceName, HashMap<String, OwnedVariant>)>> {
    let Ok(interface) = server.interface::<_, I>(path).await else { return Ok(None) };
    let emitter = interface.signal_emitter();
    let values = interface.get().await.get_all(server, connection, Some(header), emitter).await?;
    Ok(Some((I::name().into(), values)))
}

#[interface(name = "org.freedesktop.DBus.ObjectManager", introspection_docs = false)]
impl ManagedCameras {
    async fn get_managed_objects(
        &self,
        #[zbus(object_server)] server: &ObjectServer,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<ManagedObjects> {
        let paths = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut objects = ManagedObjects::new();
        for path in paths {
            let interfaces = [
                properties::<CameraObject>(server, connection, &header, &path).await?,
                properties::<FramingObject>(server, connection, &header, &path).await?,
                properties::<SegmentationObject>(server, connection, &header, &path).await?,
                properties::<BackgroundObject>(server, connection, &header, &path).await?,
                properties::<ControlsObject>(server, connection, &header, &path).await?,
            ];
            objects.insert(path, interfaces.into_iter().flatten().collect());
        }
        Ok(objects)
    }

    /// Emitted by zbus.
    #[zbus(signal)]
    async fn interfaces_added(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces_and_properties: HashMap<InterfaceName<'_>, HashMap<&str, Variant<'_>>>,
    ) -> zbus::Result<()>;

    /// Emitted by zbus.
    #[zbus(signal)]
    async fn interfaces_removed(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces: Cow<'_, [InterfaceName<'_>]>,
    ) -> zbus::Result<()>;
}
