//! The requests that the page makes. An error is JSON with the text that the page shows.

use std::io::Cursor;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portraitd_client::StreamKind;
use portraitd_client::feed::{camera_at, find_camera};
use portraitd_client::protocol::names::ERROR_PREFIX;
use portraitd_client::proxy::ManagerProxy;
use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, watch};
use zbus::Connection;
use zbus::proxy::CacheProperties;

use super::guard::Guard;
use super::streams::Streams;
use crate::commands::set::{MOST_IMAGE_BYTES, Setting, Target, memory_of};
use crate::commands::{all_properties, path_of, properties_at};
use crate::explain::{explain, not_running};

/// The largest body of a request that changes a setting, in bytes.
const MOST_SETTING_BYTES: usize = 16 << 10;
/// What the page may load: its own files and pictures that its script has made.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What requests need.
#[derive(Clone)]
pub(super) struct App {
    pub(super) connection: Connection,
    /// The only camera that is shown, if one is named.
    pub(super) camera: Option<String>,
    pub(super) bus: String,
    pub(super) streams: Streams,
    /// Whether the service runs.
    pub(super) service: watch::Receiver<bool>,
}

/// An answer that is an error: its status, and its text.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, [(CONTENT_TYPE, "application/json")], json!({ "error": self.1 }).to_string()).into_response()
    }
}

/// Leaves out the name that an error has on the bus: its text says the same in words.
fn plain(text: &str) -> String {
    match text.split_once(ERROR_PREFIX) {
        Some((before, error)) => format!("{before}{}", error.split_once(": ").map_or(error, |(_, words)| words)),
        None => text.to_owned(),
    }
}

impl App {
    /// The answer for what the service, or reaching it, has failed in.
    fn failure(&self, error: &anyhow::Error) -> Failure {
        Failure(StatusCode::BAD_GATEWAY, plain(&explain(error, &self.bus)))
    }

    /// Answers with JSON what `result` computes. A call would start a service that was stopped, so it
    /// is only made while the service runs.
    async fn answer(&self, result: impl Future<Output = Result<Json>>) -> Result<Response, Failure> {
        if !*self.service.borrow() {
            return Err(Failure(StatusCode::SERVICE_UNAVAILABLE, not_running(&self.bus)));
        }
        let json = result.await.map_err(|error| self.failure(&error))?;
        Ok(([(CONTENT_TYPE, "application/json")], json.to_string()).into_response())
    }

    async fn target(&self, camera: &str) -> Result<Target> {
        Target::of(find_camera(&self.connection, Some(camera)).await?).await
    }
}

/// The names of the cameras, and the version of the service.
async fn cameras(State(app): State<App>) -> Result<Response, Failure> {
    let find = async {
        let manager = ManagerProxy::builder(&app.connection).cache_properties(CacheProperties::No).build().await?;
        let mut names = Vec::new();
        for path in manager.cameras().await? {
            names.push(camera_at(&app.connection, path).await?.name().await?);
        }
        names.retain(|name| app.camera.as_ref().is_none_or(|only| name == only));
        names.sort();
        Ok(json!({"cameras": names, "version": manager.version().await?}))
    };
    app.answer(find).await
}

/// Every property of a camera that this user may read.
async fn properties(State(app): State<App>, Path(camera): Path<String>) -> Result<Response, Failure> {
    let read = async {
        let path = path_of(&app.connection, Some(&camera)).await?;
        Ok(json!(all_properties(&properties_at(&app.connection, path).await?).await?))
    };
    app.answer(read).await
}

/// A frame of a stream that is newer than the picture `after`, as JPEG; 204 if there is none for a
/// while.
async fn frame(
    State(app): State<App>,
    Path((camera, stream, after)): Path<(String, String, u64)>,
) -> Result<Response, Failure> {
    let Ok(kind) = StreamKind::from_str(&stream) else {
        return Err(Failure(StatusCode::NOT_FOUND, "there is no such stream".into()));
    };
    if !*app.service.borrow() {
        return Err(Failure(StatusCode::SERVICE_UNAVAILABLE, not_running(&app.bus)));
    }
    let Some(picture) = app.streams.newer(&(camera, kind), after).await.map_err(|error| app.failure(&error))? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let headers =
        [(CONTENT_TYPE, "image/jpeg".to_owned()), (HeaderName::from_static("portraitd-frame"), picture.facts())];
    Ok((headers, picture.jpeg.clone()).into_response())
}

/// Changes a setting: `{"key": "framing.mode", "value": "follow"}`, with the keys and values of
/// `portraitctl set`.
async fn set(State(app): State<App>, Path(camera): Path<String>, body: Bytes) -> Result<Response, Failure> {
    let invalid = |text: String| Failure(StatusCode::BAD_REQUEST, text);
    let json: Json = serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
    let (Some(key), Some(value)) = (json["key"].as_str(), json["value"].as_str()) else {
        return Err(invalid("a setting has a `key` and a `value`, both texts".into()));
    };
    let setting = Setting::from_str(&format!("{key}={value}")).map_err(|error| invalid(error.to_string()))?;
    if let Setting::Image(Some(_)) = setting {
        // It would be a file of this machine.
        return Err(invalid("a picture is sent, not named".into()));
    }
    let apply = async {
        app.target(&camera).await?.apply(&setting).await?;
        Ok(json!({}))
    };
    app.answer(apply).await
}

/// Sets the background picture to the body.
async fn image(
    State((app, uploads)): State<(App, Arc<Semaphore>)>,
    Path(camera): Path<String>,
    body: Body,
) -> Result<Response, Failure> {
    // Pictures are large: one at a time is held.
    let Ok(_only) = uploads.try_acquire() else {
        return Err(Failure(StatusCode::TOO_MANY_REQUESTS, "another picture is being sent: try again".into()));
    };
    let limit = usize::try_from(MOST_IMAGE_BYTES).unwrap_or(usize::MAX);
    let Ok(picture) = axum::body::to_bytes(body, limit).await else {
        return Err(Failure(StatusCode::PAYLOAD_TOO_LARGE, "a picture has at most 32 MiB".into()));
    };
    let apply = async {
        let memory = memory_of(Cursor::new(picture))?;
        app.target(&camera).await?.set_image(&memory).await?;
        Ok(json!({}))
    };
    app.answer(apply).await
}

/// Frames the people again.
async fn frame_again(State(app): State<App>, Path(camera): Path<String>) -> Result<Response, Failure> {
    let again = async {
        app.target(&camera).await?.reframe().await?;
        Ok(json!({}))
    };
    app.answer(again).await
}

/// A file of the page.
async fn file(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind)], text).into_response()
}

/// Refuses what [`Guard`] refuses, and adds the headers that all answers have.
async fn guarded(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let checked = guard.check(request.uri().path(), request.headers());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err((status, text)) => {
            let mut refusal = Failure(status, text.into()).into_response();
            // A stranger does not keep a connection.
            refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            if status == StatusCode::UNAUTHORIZED {
                refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            refusal
        }
    };
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// All requests.
pub(super) fn router(app: App, guard: Guard) -> Router {
    let uploads = (app.clone(), Arc::new(Semaphore::new(1)));
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/preview.css", get(|| file("text/css; charset=utf-8", include_str!("page/preview.css"))))
        .route("/preview.js", get(|| file("text/javascript; charset=utf-8", include_str!("page/preview.js"))))
        .route("/draw.js", get(|| file("text/javascript; charset=utf-8", include_str!("page/draw.js"))))
        .route("/icon.svg", get(|| file("image/svg+xml", include_str!("page/icon.svg"))))
        .route("/api/cameras", get(cameras))
        .route("/api/camera/{camera}", get(properties))
        .route("/api/camera/{camera}/frame/{stream}/{after}", get(frame))
        .route("/api/camera/{camera}/set", post(set))
        .route("/api/camera/{camera}/reframe", post(frame_again))
        .layer(DefaultBodyLimit::max(MOST_SETTING_BYTES))
        .with_state(app)
        .merge(Router::new().route("/api/camera/{camera}/image", post(image)).with_state(uploads))
        .layer(middleware::from_fn_with_state(Arc::new(guard), guarded))
}
