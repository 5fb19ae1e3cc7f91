//! What `portraitd doctor` learns from a bus.

use std::time::Duration;

use portraitd::doctor::bus::{Answer, BusFacts, CameraFacts, UnitFacts, ask};
use portraitd::publish::dbus::{Bus, serve};
use portraitd_protocol::CameraState;
use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath, interface};

use crate::bus::PrivateBus;
use crate::fake::{FakeCamera, publication, runtime};

const UNIT: &str = "/org/freedesktop/systemd1/unit/portraitd_2eservice";

/// A service manager that knows one unit.
struct Systemd;

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn get_unit(&self, name: &str) -> zbus::fdo::Result<OwnedObjectPath> {
        if name == "portraitd.service" {
            return Ok(OwnedObjectPath::try_from(UNIT).expect("a path"));
        }
        Err(zbus::fdo::Error::Failed("no such unit".into()))
    }

    #[zbus(property)]
    fn version(&self) -> String {
        "252.39-1~deb12u1".into()
    }
}

struct Unit;

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> String {
        "activating".into()
    }

    #[zbus(property)]
    fn sub_state(&self) -> String {
        "auto-restart".into()
    }
}

struct Service;

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> String {
        "exit-code".into()
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        1
    }

    #[zbus(property, name = "NRestarts")]
    fn restarts(&self) -> u32 {
        7
    }
}

async fn systemd(bus: &PrivateBus) -> Connection {
    Builder::address(bus.address.as_str())
        .serve_at("/org/freedesktop/systemd1", Systemd)
        .serve_at(UNIT, Unit)
        .serve_at(UNIT, Service)
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .expect("a service manager")
}

#[test]
fn a_bus_that_is_not_there_has_a_reason() {
    runtime().block_on(async {
        let facts = ask(&Bus::Address("unix:path=/nonexistent/bus".into())).await;
        assert!(facts.failure.is_some_and(|failure| failure.contains("No such file")));
        assert_eq!(ask(&Bus::None).await, BusFacts::default());
    });
}

#[test]
fn a_bus_tells_who_is_there_what_cameras_do_and_how_the_unit_is() {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        let facts = ask(&bus.bus).await;
        assert_eq!((&facts.failure, &facts.answer, &facts.unit), (&None, &Answer::NoOwner, &None));

        let _systemd = systemd(&bus).await;
        let camera = FakeCamera::new("front-1");
        camera.change(|state| {
            state.camera.state = CameraState::Failed;
            state.camera.last_error = "in use by another program".into();
            state.segmentation.degraded = "framing only: too slow".into();
        });
        let _server = serve(&bus.bus, publication(&[&camera])).await.expect("serve");
        let facts = ask(&bus.bus).await;
        assert!(facts.names.iter().any(|name| name == "org.portraitd"), "{facts:?}");
        let camera = CameraFacts {
            name: "front-1".into(),
            state: "failed".into(),
            last_error: "in use by another program".into(),
            degraded: "framing only: too slow".into(),
        };
        assert_eq!(facts.answer, Answer::Cameras(vec![camera]));
        assert_eq!(facts.systemd.as_deref(), Some("252.39-1~deb12u1"));
        let unit = UnitFacts {
            active: "activating".into(),
            sub: "auto-restart".into(),
            result: "exit-code".into(),
            exit_status: 1,
            restarts: 7,
        };
        assert_eq!(facts.unit, Some(unit));
    });
}

#[test]
fn a_service_that_does_not_answer_is_waited_for_two_seconds() {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        // It owns the name, and reads no call.
        let _silent = Builder::address(bus.address.as_str()).name("org.portraitd").build().await.expect("a service");
        let facts = tokio::time::timeout(Duration::from_secs(60), ask(&bus.bus)).await.expect("in time");
        assert!(matches!(facts.answer, Answer::Silent(_)), "{facts:?}");
    });
}
