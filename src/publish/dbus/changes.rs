//! `PropertiesChanged`: announces the properties that differ from the state that was announced
//! last.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portraitd_protocol::names;
use portraitd_protocol::settings::Color;
use tokio::sync::watch;
use zbus::names::{BusName, InterfaceName};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, Variant};

use super::encode::{format_values, variants};
use super::permissions::{Permissions, is_guarded};
use super::service::{ClientName, PublishedState};

/// The least time between two announcements of one camera. It keeps a state that changes quickly
/// from flooding the bus.
const REST: Duration = Duration::from_millis(100);

/// The state that was announced last. If a client sets a property, the setter announces it and
/// records it here.
#[derive(Debug)]
pub(super) struct Announced(Mutex<PublishedState>);

impl Announced {
    pub(super) fn new(state: PublishedState) -> Self {
        Self(Mutex::new(state))
    }

    pub(super) fn note(&self, note: impl FnOnce(&mut PublishedState)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The changed properties of one interface.
type Changed = HashMap<&'static str, Variant<'static>>;

struct Comparison(Changed);

impl Comparison {
    fn of<T: PartialEq>(
        mut self,
        name: &'static str,
        was: &T,
        is: &T,
        value: impl FnOnce(&T) -> Variant<'static>,
    ) -> Self {
        if was != is {
            self.0.insert(name, value(is));
        }
        self
    }
}

fn compare() -> Comparison {
    Comparison(Changed::new())
}

/// The properties that differ, by interface.
fn differences(old: &PublishedState, new: &PublishedState) -> Vec<(&'static str, Changed)> {
    let (was, is) = (&old.camera, &new.camera);
    let camera = compare()
        .of("Device", &was.device, &is.device, |device| device.clone().into())
        .of("State", &was.state, &is.state, |state| state.as_str().into())
        .of("Format", &was.format, &is.format, |format| format_values(format.as_ref()).into())
        .of("Consumers", &was.consumers, &is.consumers, |consumers| (*consumers).into())
        .of("Generation", &was.generation, &is.generation, |generation| (*generation).into())
        .of("Private", &was.private, &is.private, |private| (*private).into())
        .of("Rotate", &was.rotate, &is.rotate, |rotate| rotate.degrees().into())
        .of("Mirror", &was.mirror, &is.mirror, |mirror| (*mirror).into())
        .of("LastError", &was.last_error, &is.last_error, |error| error.clone().into());
    let (was, is) = (&old.framing, &new.framing);
    let framing = compare()
        .of("Mode", &was.mode, &is.mode, |mode| mode.as_str().into())
        .of("State", &was.state, &is.state, |state| state.as_str().into())
        .of("ManualCrop", &was.manual_crop, &is.manual_crop, |crop| (*crop).into())
        .of("MaxZoom", &was.max_zoom, &is.max_zoom, |zoom| (*zoom).into())
        .of("Speed", &was.speed, &is.speed, |speed| speed.as_str().into())
        .of("Zones", &was.zones, &is.zones, |zones| zones.clone().into())
        .of("Limits", &was.limits, &is.limits, |limits| variants(limits).into());
    let (was, is) = (&old.segmentation, &new.segmentation);
    let segmentation = compare()
        .of("Model", &was.model, &is.model, |model| model.clone().into())
        .of("Models", &was.models, &is.models, |models| models.clone().into())
        .of("Present", &was.present, &is.present, |present| (*present).into())
        .of("Healthy", &was.healthy, &is.healthy, |healthy| (*healthy).into())
        .of("Degraded", &was.degraded, &is.degraded, |degraded| degraded.clone().into());
    let (was, is) = (&old.background, &new.background);
    let background = compare()
        .of("Mode", &was.mode, &is.mode, |mode| mode.as_str().into())
        .of("Color", &was.color, &is.color, |color| Color::from(*color).to_string().into())
        .of("Blur", &was.blur, &is.blur, |blur| (*blur).into())
        .of("Strict", &was.strict, &is.strict, |strict| (*strict).into());
    [
        (names::CAMERA_INTERFACE, camera),
        (names::FRAMING_INTERFACE, framing),
        (names::SEGMENTATION_INTERFACE, segmentation),
        (names::BACKGROUND_INTERFACE, background),
    ]
    .into_iter()
    .map(|(interface, comparison)| (interface, comparison.0))
    .filter(|(_, changed)| !changed.is_empty())
    .collect()
}

/// Announces changes of `state` for the object `path`, until the camera or the connection ends. The
/// body of a task of the main thread.
pub(super) async fn announce(
    connection: Connection,
    path: OwnedObjectPath,
    mut state: watch::Receiver<PublishedState>,
    announced: std::sync::Arc<Announced>,
    permissions: std::sync::Arc<Permissions>,
) {
    loop {
        let new = state.borrow_and_update().clone();
        let changes = {
            let mut announced = announced.0.lock().unwrap_or_else(PoisonError::into_inner);
            let changes = differences(&announced, &new);
            *announced = new;
            changes
        };
        let rest = !changes.is_empty();
        for (interface, mut changed) in changes {
            if !permissions.allow_everybody() {
                let guarded: Changed = changed.extract_if(|name, _| is_guarded(interface, name)).collect();
                let listeners = if guarded.is_empty() { Vec::new() } else { permissions.listeners() };
                for listener in listeners {
                    // On a connection without a bus there is one client and there are no names.
                    let to = connection.is_bus().then_some(&listener);
                    emit(&connection, &path, to, interface, guarded.clone()).await;
                }
            }
            if !changed.is_empty() {
                emit(&connection, &path, None, interface, changed).await;
            }
        }
        if rest {
            tokio::time::sleep(REST).await;
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Announces changed properties to one client, or to everybody.
async fn emit(
    connection: &Connection,
    path: &OwnedObjectPath,
    to: Option<&ClientName>,
    interface: &'static str,
    changed: Changed,
) {
    let send = async {
        let mut emitter = SignalEmitter::new(connection, path)?;
        if let Some(client) = to {
            emitter = emitter.set_destination(BusName::try_from(client.as_str())?);
        }
        let name = InterfaceName::try_from(interface)?;
        zbus::fdo::Properties::properties_changed(&emitter, name, changed, Cow::Borrowed(&[])).await
    };
    if let Err(error) = send.await {
        // If the connection has ended, the server ends too.
        tracing::debug!(%error, interface, %path, "a changed property could not be announced");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portraitd_protocol::{BackgroundMode, CameraState};

    #[test]
    fn only_what_differs_is_announced_under_its_own_interface() {
        let old = PublishedState::default();
        assert!(differences(&old, &old).is_empty());
        let mut new = old.clone();
        new.camera.state = CameraState::Running;
        new.camera.consumers = 2;
        new.background.mode = BackgroundMode::Blur;
        let changes = differences(&old, &new);
        let interfaces: Vec<_> = changes.iter().map(|(interface, _)| *interface).collect();
        assert_eq!(interfaces, ["org.portraitd.Camera1", "org.portraitd.Background1"]);
        assert_eq!(changes[0].1.len(), 2);
        assert_eq!(changes[0].1["State"], Variant::from("running"));
        assert_eq!(changes[1].1["Mode"], Variant::from("blur"));
    }
}
