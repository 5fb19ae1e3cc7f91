//! `preview`: a web page that shows the cameras and changes their settings. A client of the service
//! like the other commands. `docs/design/preview.md` has the design and the threats.
//!
//! Everything runs on the one thread of the program; pictures are encoded on a thread of tokio's
//! pool.
//!
//! | module | contents |
//! |---|---|
//! | `guard` | which requests are answered: token, host, origin |
//! | `routes` | the requests |
//! | `streams` | the attachments that pages share |

mod guard;
mod routes;
mod streams;

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use portraitd_client::connect::SERVICE_NAME;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use zbus::Connection;
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};

use self::guard::{Guard, Token};
use self::routes::App;
use self::streams::Streams;
use crate::command_line::PreviewArguments;
use crate::output::{Output, print_json, print_text};

/// Connections at a time; others wait. A page uses at most six.
const MOST_CONNECTIONS: usize = 48;
/// How long the headers of a request may take, and how long a connection may be idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection is used. A browser that does not read holds it no longer.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);
/// How long the request in progress may take after that.
const LAST_REQUEST: Duration = Duration::from_secs(10);

/// Listens, or says what to do where that is refused.
async fn listen(arguments: &PreviewArguments) -> Result<TcpListener> {
    let address = arguments.listen;
    anyhow::ensure!(
        arguments.unencrypted || address.ip().is_loopback(),
        "--listen {address}: other machines reach this address, and pictures and the token would cross the network \
         unencrypted; listen on 127.0.0.1 and use `ssh -L {port}:127.0.0.1:{port} BOARD`, or add --unencrypted",
        port = address.port(),
    );
    TcpListener::bind(address).await.with_context(|| format!("--listen {address}")).map_err(|error| {
        let taken = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        if !taken {
            return error;
        }
        let any = SocketAddr::new(address.ip(), 0);
        anyhow::anyhow!(
            "--listen {address}: another program uses this port; choose another, or any free one: --listen {any}"
        )
    })
}

/// The address by which a browser reaches `listening`.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if !listening.ip().is_unspecified() {
        return listening;
    }
    // The address of the route to the world. Nothing is sent; the address is of those for documentation.
    let ours = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        Ok(socket.local_addr()?.ip())
    };
    SocketAddr::new(ours().unwrap_or(IpAddr::from([127, 0, 0, 1])), listening.port())
}

/// Whether the service is on the bus, and the changes of that. Without a bus it is there until the
/// connection ends.
async fn service_of(connection: &Connection) -> Result<(bool, Option<NameOwnerChangedStream>)> {
    if !connection.is_bus() {
        return Ok((true, None));
    }
    let bus = DBusProxy::new(connection).await?;
    let changes = bus.receive_name_owner_changed_with_args(&[(0, SERVICE_NAME)]).await?;
    Ok((bus.name_has_owner(SERVICE_NAME.try_into()?).await?, Some(changes)))
}

/// Follows whether the service is on the bus, until the connection ends.
async fn follow_service(changes: Option<NameOwnerChangedStream>, runs: watch::Sender<bool>) -> Result<()> {
    let Some(mut changes) = changes else { return std::future::pending().await };
    while let Some(change) = changes.next().await {
        runs.send_replace(change.args()?.new_owner().is_some());
    }
    anyhow::bail!("the connection to the bus has ended")
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, router: axum::Router) {
    // Frames are small and wanted at once. It is a matter of latency only.
    let _ = stream.set_nodelay(true);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // What goes wrong with a connection concerns its browser, which asks again.
    tokio::select! {
        _ = &mut connection => return,
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_REQUEST, connection).await;
}

/// Accepts connections for ever.
async fn accept(listener: TcpListener, router: axum::Router) -> Result<()> {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve(stream, router).await;
                    drop(place);
                });
            }
            // The connection has gone already, or there is no descriptor: that passes.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Runs the command, until an interrupt or until the connection to the bus ends.
pub(crate) async fn run(
    connection: &Connection,
    camera: Option<&str>,
    bus: &str,
    arguments: &PreviewArguments,
    output: Output,
) -> Result<()> {
    let listener = listen(arguments).await?;
    let listening = listener.local_addr()?;
    let token = Token::random()?;
    let address = format!("http://{}/#{}", reachable(listening), token.text());
    let (now, changes) = service_of(connection).await?;
    let (runs, service) = watch::channel(now);
    let app = App {
        connection: connection.clone(),
        camera: camera.map(str::to_owned),
        bus: bus.to_owned(),
        streams: Streams::new(connection.clone(), bus.to_owned(), service.clone()),
        service,
    };
    let router = routes::router(app, Guard::new(token, listening.ip()));
    if output.json {
        print_json(&json!({ "address": address }))?;
    } else {
        print_text(&address)?;
        io::stdout().flush()?;
    }
    output.notice(format_args!(
        "whoever has this address sees and controls the cameras as this user can; Ctrl-C ends the preview"
    ));
    tokio::select! {
        result = accept(listener, router) => result,
        result = follow_service(changes, runs) => result,
        () = connection.closed() => anyhow::bail!("the connection to the service has ended"),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for an interrupt"),
    }
}
