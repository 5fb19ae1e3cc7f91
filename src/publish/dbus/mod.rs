//! The objects on D-Bus (see `docs/design/dbus.md`).
//!
//! Everything runs on the *main thread*: zbus runs its socket reader, its dispatch and every method
//! call as tasks on the tokio runtime that is current when a connection is made. Pictures do not
//! pass through here, only the descriptors of rings.
//!
//! | module | contents |
//! |---|---|
//! | [`service`] | the traits through which the objects use the service, and their types |
//! | `managed` | `ObjectManager`, by caller |
//! | `objects` | `Manager1`, `Camera1`, `Framing1`, `Segmentation1`, `Background1`, `Controls1` |
//! | `provider` | `Provider1` |
//! | `context` | what the interfaces of one camera share |
//! | [`attach`] | the options of `Attach` |
//! | `encode` | types of the service as D-Bus dictionaries |
//! | [`authority`] | who may see a stream |
//! | `changes` | `PropertiesChanged` |
//! | `permissions` | asking again when permissions may have ended; who may know of people |
//! | `questions` | how many questions to polkit may be open |
//! | `refusal` | what a service answers that cannot start |
//! | `client_watch` | clients that leave the bus |
//! | [`image`] | pictures that are passed as descriptors |
//! | `transport` | the socket below zbus, which bounds what a message can cost |

pub mod attach;
pub mod authority;
mod changes;
mod client_watch;
mod context;
mod encode;
pub mod image;
mod managed;
mod objects;
mod permissions;
mod provider;
mod questions;
mod refusal;
pub mod service;
mod transport;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;
use zbus::connection::Builder;
use zbus::fdo::RequestNameFlags;
use zbus::{Connection, Guid, OwnedObjectPath};

use authority::Authority;
use client_watch::ClientWatch;
use context::CameraContext;
use managed::ManagedCameras;
use objects::{
    BackgroundObject, CameraObject, CameraPaths, ControlsObject, FramingObject, ManagerObject, SegmentationObject,
};
use permissions::Permissions;
use provider::ProviderObject;
use service::{CameraService, Client, ClientName, ManagerService};
use transport::{Clients, Descriptors, Transport};

use crate::service::panics::vital;

pub use refusal::refuse_calls;

pub use portraitd_client::connect::{Bus, ROOT_PATH, SERVICE_NAME, camera_path};

/// The service, as it is published on a connection.
#[derive(Clone)]
pub struct Publication {
    /// The daemon.
    pub manager: Arc<dyn ManagerService>,
    /// The cameras.
    pub cameras: Vec<Arc<dyn CameraService>>,
    /// Who may see their streams.
    pub authority: Arc<dyn Authority>,
}

/// Why the objects cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The bus name belongs to another process.
    #[error("the name {SERVICE_NAME} is taken on the {bus}: stop the other portraitd, or use another bus")]
    NameTaken {
        /// Which bus.
        bus: Bus,
    },
    /// The bus cannot be reached, or refuses.
    #[error("the {bus}: {error}{}", advice(bus, error))]
    Bus {
        /// Which bus.
        bus: Bus,
        /// The error of zbus.
        error: zbus::Error,
    },
    /// A connection without a bus failed.
    #[error("a connection to a peer: {0}")]
    Peer(#[source] zbus::Error),
    /// Two cameras have the same name, or names with the same object path.
    #[error("two cameras are named {0:?}")]
    TwoCameras(String),
}

/// What helps against an error of a bus, as the end of its text.
fn advice(bus: &Bus, error: &zbus::Error) -> String {
    bus.advice(error).map_or_else(String::new, |advice| format!("; {advice}"))
}

/// The objects on one connection. Dropping it removes them.
pub struct Server {
    connection: Connection,
    paths: CameraPaths,
    client_watch: Arc<ClientWatch>,
    permissions: Arc<Permissions>,
    tasks: Mutex<Vec<(String, AbortHandle)>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Publishes the objects on a bus and requests the name `org.portraitd`, on the tokio runtime of
/// the caller.
///
/// # Errors
/// [`ServeError`].
///
/// # Panics
/// For [`Bus::None`]. Use [`serve_peer`] instead.
pub async fn serve(bus: &Bus, publication: Publication) -> Result<Server, ServeError> {
    let failed = |error| match error {
        zbus::Error::NameTaken => ServeError::NameTaken { bus: bus.clone() },
        error => ServeError::Bus { bus: bus.clone(), error },
    };
    let address = bus.address().expect("a bus to serve on").map_err(failed)?;
    let transport = Transport::connect(&address).await.map_err(failed)?;
    let known = (transport.clients(), transport.descriptors());
    let builder = Builder::socket(transport);
    // The objects exist before the name is requested: a client that waits for the name finds them.
    let peer = (rustix::process::geteuid().as_raw(), None);
    let server = serve_on(builder, publication, known, peer, failed).await?;
    // The library's default flags would allow another process to take the name away.
    let flags = RequestNameFlags::DO_NOT_QUEUE;
    server.connection.request_name_with_flags(SERVICE_NAME, flags).await.map_err(failed)?;
    Ok(server)
}

/// Publishes the objects on a connection without a bus, over a connected unix socket. It returns
/// after the handshake with the peer, so run both sides at the same time.
///
/// # Errors
/// [`ServeError::Peer`] if the peer does not speak D-Bus or belongs to another user.
pub async fn serve_peer(socket: OwnedFd, publication: Publication) -> Result<Server, ServeError> {
    let peer = rustix::net::sockopt::socket_peercred(&socket);
    let peer = peer.map_err(|errno| ServeError::Peer(std::io::Error::from(errno).into()))?;
    let process = u32::try_from(peer.pid.as_raw_nonzero().get()).ok();
    let transport = Transport::new(UnixStream::from(socket), false).map_err(|error| ServeError::Peer(error.into()))?;
    let known = (None, transport.descriptors());
    let builder = Builder::socket(transport).server(Guid::generate()).p2p();
    serve_on(builder, publication, known, (peer.uid.as_raw(), process), ServeError::Peer).await
}

/// Both ends of a connection without a bus, for tests: the server, and the connection of a client.
///
/// # Errors
/// [`ServeError::Peer`].
pub async fn peer_pair(publication: Publication) -> Result<(Server, Connection), ServeError> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| ServeError::Peer(error.into()))?;
    let client = async { portraitd_client::connect::connect_fd(theirs.into()).await.map_err(ServeError::Peer) };
    futures_util::future::try_join(serve_peer(ours.into(), publication), client).await
}

/// Serves on a connection: to the clients of a bus, or to the other end, with its user and process.
async fn serve_on(
    mut builder: Builder<'static>,
    publication: Publication,
    (clients, descriptors): (Option<Clients>, Descriptors),
    (user, process): (u32, Option<u32>),
    failed: impl Fn(zbus::Error) -> ServeError,
) -> Result<Server, ServeError> {
    static PEERS: AtomicU64 = AtomicU64::new(1);
    let peer = ClientName::new(&format!("peer-{}", PEERS.fetch_add(1, Ordering::Relaxed)));
    let client_watch = ClientWatch::new(Client::new(peer, user, process), clients, descriptors);
    let permissions = Permissions::new(Arc::clone(&publication.authority), Arc::clone(&client_watch));
    let paths = CameraPaths::default();
    let manager = ManagerObject { service: Arc::clone(&publication.manager), cameras: Arc::clone(&paths) };
    builder = builder.serve_at(ROOT_PATH, ManagedCameras(Arc::clone(&paths))).serve_at(ROOT_PATH, manager);
    let mut objects = Vec::new();
    for service in &publication.cameras {
        let path = camera_path(service.name());
        let mut paths = paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.contains(&path) {
            return Err(ServeError::TwoCameras(service.name().to_owned()));
        }
        paths.push(path.clone());
        let object = CameraContext::new(Arc::clone(service), Arc::clone(&permissions), Arc::clone(&client_watch));
        builder = builder
            .serve_at(path.clone(), CameraObject(Arc::clone(&object)))
            .serve_at(path.clone(), FramingObject(Arc::clone(&object)))
            .serve_at(path.clone(), SegmentationObject(Arc::clone(&object)))
            .serve_at(path.clone(), BackgroundObject(Arc::clone(&object)))
            .serve_at(path.clone(), ControlsObject(Arc::clone(&object)))
            .serve_at(path.clone(), ProviderObject(Arc::clone(&object)));
        client_watch.add_camera(Arc::clone(service));
        objects.push((path, object));
    }
    let connection = builder.build().await.map_err(failed)?;
    // The objects hold the cameras from now on, so that a camera that is removed is dropped.
    drop(publication);
    let server = Server { connection, paths, client_watch, permissions, tasks: Mutex::default() };
    for (path, object) in objects {
        server.announce(path, &object);
    }
    server.spawn(String::new(), Arc::clone(&server.permissions).keep_alive(server.connection.clone()));
    let (connection, client_watch) = (server.connection.clone(), Arc::clone(&server.client_watch));
    server.spawn(String::new(), async move {
        connection.closed().await;
        client_watch.all_left();
    });
    Ok(server)
}

impl Server {
    /// The connection.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Waits until the connection ends.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }

    fn spawn(&self, camera: String, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(vital("objects on the bus", task)).abort_handle();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((camera, task));
    }

    fn announce(&self, path: OwnedObjectPath, object: &CameraContext) {
        let task = changes::announce(
            self.connection.clone(),
            path,
            object.state.clone(),
            Arc::clone(&object.announced),
            Arc::clone(&self.permissions),
        );
        self.spawn(object.service.name().to_owned(), task);
    }

    async fn announce_cameras(&self) -> zbus::Result<()> {
        let manager = self.connection.object_server().interface::<_, ManagerObject>(ROOT_PATH).await?;
        manager.get().await.cameras_changed(manager.signal_emitter()).await
    }

    /// Publishes a further camera.
    ///
    /// # Errors
    /// [`ServeError::TwoCameras`] if its name is in use; [`ServeError::Peer`] if the connection has
    /// ended.
    pub async fn add_camera(&self, service: Arc<dyn CameraService>) -> Result<(), ServeError> {
        let path = camera_path(service.name());
        {
            let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
            if paths.contains(&path) {
                return Err(ServeError::TwoCameras(service.name().to_owned()));
            }
            paths.push(path.clone());
        }
        let permissions = Arc::clone(&self.permissions);
        let object = CameraContext::new(Arc::clone(&service), permissions, Arc::clone(&self.client_watch));
        self.client_watch.add_camera(service);
        let server = self.connection.object_server();
        let added = async {
            server.at(path.clone(), CameraObject(Arc::clone(&object))).await?;
            server.at(path.clone(), FramingObject(Arc::clone(&object))).await?;
            server.at(path.clone(), SegmentationObject(Arc::clone(&object))).await?;
            server.at(path.clone(), BackgroundObject(Arc::clone(&object))).await?;
            server.at(path.clone(), ControlsObject(Arc::clone(&object))).await?;
            server.at(path.clone(), ProviderObject(Arc::clone(&object))).await?;
            self.announce_cameras().await
        };
        added.await.map_err(ServeError::Peer)?;
        self.announce(path, &object);
        Ok(())
    }

    /// Removes the object of a camera, and returns whether it existed. The caller closes the rings
    /// of the camera.
    ///
    /// # Errors
    /// [`ServeError::Peer`] if the connection has ended.
    pub async fn remove_camera(&self, name: &str) -> Result<bool, ServeError> {
        let path = camera_path(name);
        {
            let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(position) = paths.iter().position(|known| *known == path) else {
                return Ok(false);
            };
            paths.remove(position);
        }
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).retain(|(camera, task)| {
            if camera == name {
                task.abort();
            }
            camera != name
        });
        self.client_watch.remove_camera(name);
        let server = self.connection.object_server();
        let removed = async {
            server.remove::<CameraObject, _>(path.clone()).await?;
            server.remove::<FramingObject, _>(path.clone()).await?;
            server.remove::<SegmentationObject, _>(path.clone()).await?;
            server.remove::<BackgroundObject, _>(path.clone()).await?;
            server.remove::<ControlsObject, _>(path.clone()).await?;
            server.remove::<ProviderObject, _>(path.clone()).await?;
            self.announce_cameras().await
        };
        removed.await.map_err(ServeError::Peer)?;
        Ok(true)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for (_, task) in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}
