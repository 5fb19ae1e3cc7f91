//! The questions to the bus: who is on it, what the service answers, and what the service manager
//! knows of the unit. Only properties are read. No call starts a service, and each has a limit of
//! time.

use std::collections::HashMap;
use std::time::Duration;

use portraitd_client::connect::Bus;
use portraitd_protocol::names;
use serde::Serialize;
use tokio::time::timeout;
use zbus::fdo::ManagedObjects;
use zbus::proxy::MethodFlags;
use zbus::{Connection, DynamicType, OwnedObjectPath, OwnedVariant};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(2);
const DBUS: &str = "org.freedesktop.DBus";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const UNIT: &str = "portraitd.service";

/// What the bus answered. The default is a bus without anybody on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusFacts {
    /// Why the bus cannot be reached.
    pub failure: Option<String>,
    /// The names that somebody owns or that the bus can start.
    pub names: Vec<String>,
    /// What the service answered.
    pub answer: Answer,
    /// The unit, if the service manager knows it.
    pub unit: Option<UnitFacts>,
    /// The version of systemd.
    pub systemd: Option<String>,
}

/// What the service answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Nobody owns its name.
    #[default]
    NoOwner,
    /// It owns its name and did not answer, or refused: the error.
    Silent(String),
    /// Its cameras.
    Cameras(Vec<CameraFacts>),
}

/// A camera of the service, as on the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraFacts {
    /// Its name.
    pub name: String,
    /// `Camera1.State`.
    pub state: String,
    /// `Camera1.LastError`.
    pub last_error: String,
    /// `Segmentation1.Degraded`.
    pub degraded: String,
}

/// The unit, as systemd tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// `ActiveState`: `active`, `inactive`, `activating`, `failed` and others.
    pub active: String,
    /// `SubState`: `running`, `auto-restart` and others.
    pub sub: String,
    /// `Result` of the last run: `success`, `exit-code`, `watchdog`, `oom-kill` and others.
    pub result: String,
    /// `ExecMainStatus`: the exit status, or the signal.
    pub exit_status: i32,
    /// `NRestarts`: restarts by systemd since the unit was started.
    pub restarts: u32,
}

/// Asks the bus. An answer takes 2 s at most, all together less than 20 s. For [`Bus::None`] there is
/// nobody to ask.
pub async fn ask(bus: &Bus) -> BusFacts {
    let Some(builder) = bus.builder() else { return BusFacts::default() };
    let connection = match timeout(LIMIT, builder.build()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return BusFacts { failure: Some(error.to_string()), ..BusFacts::default() },
        Err(_) => return BusFacts { failure: Some(late()), ..BusFacts::default() },
    };
    let mut facts = BusFacts::default();
    for method in ["ListNames", "ListActivatableNames"] {
        facts
            .names
            .extend(call::<_, Vec<String>>(&connection, (DBUS, "/", DBUS, method), &()).await.unwrap_or_default());
    }
    let owned = call::<_, bool>(&connection, (DBUS, "/", DBUS, "NameHasOwner"), &names::SERVICE_NAME).await;
    if owned.unwrap_or(false) {
        facts.answer = cameras(&connection).await.map_or_else(Answer::Silent, Answer::Cameras);
    }
    if facts.names.iter().any(|name| name == SYSTEMD) {
        facts.systemd =
            property(&connection, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "Version").await;
        facts.unit = unit(&connection).await;
    }
    facts
}

fn late() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

/// Calls a method of (service, path, interface, method) without starting the service.
async fn call<B, R>(connection: &Connection, to: (&str, &str, &str, &str), body: &B) -> Result<R, String>
where
    B: Serialize + DynamicType,
    R: for<'d> zbus::wire::DynamicDeserialize<'d>,
{
    let (service, path, interface, method) = to;
    let answer = async {
        let proxy = zbus::Proxy::new(connection, service, path, interface).await?;
        let answer = proxy.call_with_flags(method, MethodFlags::NO_AUTO_START, body).await?;
        answer.ok_or(zbus::Error::InvalidReply)
    };
    timeout(LIMIT, answer).await.map_err(|_| late())?.map_err(|error: zbus::Error| error.to_string())
}

type Properties = HashMap<String, OwnedVariant>;

fn get<T: TryFrom<OwnedVariant>>(properties: &Properties, name: &str) -> Option<T> {
    T::try_from(properties.get(name)?.try_clone().ok()?).ok()
}

fn text(properties: &Properties, name: &str) -> String {
    get(properties, name).unwrap_or_default()
}

async fn cameras(connection: &Connection) -> Result<Vec<CameraFacts>, String> {
    let to = (names::SERVICE_NAME, names::ROOT_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects");
    let objects: ManagedObjects = call(connection, to, &()).await?;
    let mut cameras = Vec::new();
    for interfaces in objects.into_values() {
        let (mut camera, mut segmentation) = (Properties::new(), Properties::new());
        for (interface, properties) in interfaces {
            match interface.as_str() {
                names::CAMERA_INTERFACE => camera = properties,
                names::SEGMENTATION_INTERFACE => segmentation = properties,
                _ => {}
            }
        }
        cameras.push(CameraFacts {
            name: text(&camera, "Name"),
            state: text(&camera, "State"),
            last_error: text(&camera, "LastError"),
            degraded: text(&segmentation, "Degraded"),
        });
    }
    cameras.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cameras)
}

async fn property(connection: &Connection, path: &str, interface: &str, name: &str) -> Option<String> {
    let to = (SYSTEMD, path, "org.freedesktop.DBus.Properties", "Get");
    let value: OwnedVariant = call(connection, to, &(interface, name)).await.ok()?;
    String::try_from(value).ok()
}

async fn unit(connection: &Connection) -> Option<UnitFacts> {
    // GetUnit and not LoadUnit, which reads files into the service manager.
    let to = (SYSTEMD, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "GetUnit");
    let path: OwnedObjectPath = call(connection, to, &UNIT).await.ok()?;
    let mut all = Properties::new();
    for interface in ["org.freedesktop.systemd1.Unit", "org.freedesktop.systemd1.Service"] {
        let to = (SYSTEMD, path.as_str(), "org.freedesktop.DBus.Properties", "GetAll");
        all.extend(call::<_, Properties>(connection, to, &interface).await.ok()?);
    }
    Some(UnitFacts {
        active: text(&all, "ActiveState"),
        sub: text(&all, "SubState"),
        result: text(&all, "Result"),
        exit_status: get(&all, "ExecMainStatus").unwrap_or(0),
        restarts: get(&all, "NRestarts").unwrap_or(0),
    })
}
