//! `portraitctl preview` as a browser, another site and another user of the machine meet it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portraitd::publish::dbus::serve;
use portraitd_client::FramingMode;
use portraitd_client::connect::SERVICE_NAME;
use portraitd_media::image::decode;
use portraitd_protocol::Size;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::bus::PrivateBus;
use crate::fake::{FakeCamera, SIZE, eventually, publication, runtime};
use crate::tool::on;

/// A preview on a free port.
struct Preview {
    program: Child,
    /// `127.0.0.1:PORT`.
    host: String,
    token: String,
}

/// What was answered.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error").to_owned()
    }
}

impl Preview {
    fn start(bus: &PrivateBus) -> Self {
        let mut program = on(bus, &["preview", "--listen", "127.0.0.1:0"]);
        let mut program = program.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("portraitctl");
        let mut address = String::new();
        BufReader::new(program.stdout.take().expect("piped")).read_line(&mut address).expect("the address");
        let (host, token) =
            address.trim().strip_prefix("http://").and_then(|rest| rest.split_once("/#")).expect("an address");
        Self { program, host: host.to_owned(), token: token.to_owned() }
    }

    /// Sends the head of a request, and its body.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.host).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += &format!("Host: {}\r\n", self.host);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if method != "GET" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).expect("the head");
        // The answer may come before the end of a body that is too large.
        let _ = stream.write_all(body);
        stream
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut bytes = Vec::new();
        let read = self.send(method, path, headers, body).read_to_end(&mut bytes);
        // After an early answer the rest of the body finds the connection closed.
        assert!(read.is_ok() || !bytes.is_empty(), "{read:?}");
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Answer { status, headers: headers.collect(), body: bytes.split_off(end + 4) }
    }

    /// A request of the page.
    fn api(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.request(method, &format!("/api/{path}"), &[("Authorization", &format!("Bearer {}", self.token))], body)
    }

    /// Waits until the bus has told the preview of the service.
    fn sees_the_service(&self) {
        runtime().block_on(eventually("the service is seen", || self.api("GET", "cameras", b"").status == 200));
    }

    fn set(&self, key: &str, value: &str) -> Answer {
        self.api("POST", "camera/front/set", json!({"key": key, "value": value}).to_string().as_bytes())
    }

    /// The status of a request for the cameras with these headers besides the token.
    fn status(&self, headers: &[(&str, &str)]) -> u16 {
        let token = format!("Bearer {}", self.token);
        self.request("GET", "/api/cameras", &[&[("Authorization", token.as_str())], headers].concat(), b"").status
    }

    fn interrupt(mut self) -> Output {
        let process = i32::try_from(self.program.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(process, Signal::INT).expect("our own child");
        Output { status: self.program.wait().expect("its end"), stdout: Vec::new(), stderr: Vec::new() }
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Runs `test` on a thread while the service with `camera` answers.
fn with_service(bus: &PrivateBus, camera: &Arc<FakeCamera>, test: impl FnOnce() + Send + 'static) {
    runtime().block_on(async {
        let server = serve(&bus.bus, publication(&[camera])).await.expect("serve");
        tokio::task::spawn_blocking(test).await.expect("the test");
        server.connection().release_name(SERVICE_NAME).await.expect("the name is given back");
    });
}

/// Runs `test` with a preview that sees the service, and with the camera `front` of the service.
fn previewed(camera: &Arc<FakeCamera>, test: impl FnOnce(Preview, Arc<FakeCamera>) + Send + 'static) {
    let Some(bus) = PrivateBus::start() else { return };
    let preview = Preview::start(&bus);
    let seen = Arc::clone(camera);
    with_service(&bus, camera, move || {
        preview.sees_the_service();
        test(preview, seen);
    });
}

#[test]
fn nobody_gets_in_without_the_token_or_from_another_site() {
    previewed(&FakeCamera::new("front"), |preview, _| {
        assert_eq!(preview.status(&[]), 200);
        let without = preview.request("GET", "/api/cameras", &[], b"");
        assert_eq!((without.status, without.header("www-authenticate")), (401, Some("Bearer")));
        for path in ["/api/cameras", "/api/camera/front", "/api/camera/front/frame/view/0", "/api/nothing"] {
            let wrong =
                preview.request("GET", path, &[("Authorization", "Bearer 00112233445566778899aabbccddeeff")], b"");
            assert_eq!(wrong.status, 403, "{path}");
        }
        for path in ["set", "reframe", "image"] {
            assert_eq!(preview.request("POST", &format!("/api/camera/front/{path}"), &[], b"{}").status, 401, "{path}");
        }
        // A token in the address, as it would come into the log of a proxy, is none.
        assert_eq!(preview.request("GET", &format!("/api/cameras?token={}", preview.token), &[], b"").status, 401);
        let port = preview.host.rsplit(':').next().expect("a port");
        for host in [format!("evil.example:{port}"), "evil.example".into(), format!("192.0.2.1:{port}")] {
            assert_eq!(preview.status(&[("Host", &host)]), 403, "{host}");
            assert_eq!(preview.request("GET", "/", &[("Host", &host)], b"").status, 403, "{host}");
        }
        assert_eq!(preview.status(&[("Host", &format!("localhost:{port}"))]), 200);
        assert_eq!(preview.status(&[("Origin", &format!("http://{}", preview.host))]), 200);
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", &format!("https://{}", preview.host)] {
            assert_eq!(preview.status(&[("Origin", origin)]), 403, "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(preview.status(&[("Sec-Fetch-Site", site)]), 403, "{site}");
        }
        // A preflight of another site gets nothing that would allow the request.
        let preflight = preview.request("OPTIONS", "/api/cameras", &[("Origin", "http://evil.example")], b"");
        assert_eq!(preflight.status, 403);
        for path in ["/", "/preview.js", "/preview.css", "/draw.js", "/icon.svg"] {
            let page = preview.request("GET", path, &[], b"");
            assert_eq!(page.status, 200, "{path}");
            assert!(!String::from_utf8_lossy(&page.body).contains(&preview.token), "{path}");
            assert!(page.header("content-security-policy").is_some_and(|policy| {
                policy.starts_with("default-src 'none'")
                    && policy.contains("frame-ancestors 'none'")
                    && !policy.contains("unsafe")
            }));
            assert_eq!(page.header("cache-control"), Some("no-store"));
            assert_eq!(page.header("x-frame-options"), Some("DENY"));
            assert_eq!(page.header("access-control-allow-origin"), None);
            assert_eq!(page.header("set-cookie"), None);
        }
    });
}

#[test]
fn a_page_gets_the_newest_frame_and_the_attachment_ends_with_it() {
    previewed(&FakeCamera::new("front"), |preview, seen| {
        assert_eq!(seen.clients(), 0, "nobody looks yet");
        let publishing = seen.publish_for_ever(Duration::from_millis(5));
        let frame = |stream: &str, after: u64| {
            let answer = preview.api("GET", &format!("camera/front/frame/{stream}/{after}"), b"");
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/jpeg")), "{stream}");
            let picture = decode(&answer.body, Path::new("frame")).expect("a JPEG");
            let facts: Value = serde_json::from_str(answer.header("portraitd-frame").expect("facts")).expect("JSON");
            (picture.as_picture().size(), facts)
        };
        let (size, facts) = frame("view", 0);
        assert_eq!(size, SIZE);
        assert_eq!((&facts["width"], &facts["height"]), (&json!(64), &json!(36)));
        assert_eq!(facts["people"], json!([[7, [1.0, 2.0, 3.0, 4.0], 0.5]]));
        assert_eq!(facts["crop"], json!([10.0, 20.0, 30.0, 40.0]));
        let number = facts["number"].as_u64().expect("a number");
        let (_, next) = frame("view", number);
        assert!(next["number"].as_u64() > Some(number) && next["sequence"].as_u64() > facts["sequence"].as_u64());
        assert_eq!(frame("mask", 0).0, SIZE);
        assert_eq!(seen.clients(), 2, "a view and a mask, whoever has asked how often");
        drop(publishing);

        // Nothing is stored for a page that is slow: it gets the frame that is newest when it asks.
        let last = frame("view", 0).1;
        for _ in 0..50 {
            seen.publish();
        }
        let newest = frame("view", last["number"].as_u64().expect("a number")).1;
        let sequence = |facts: &Value| facts["sequence"].as_u64().expect("a sequence");
        assert!(sequence(&newest) >= sequence(&last) + 49, "{last} {newest}");

        // The page waits, and is closed: nobody asks any more.
        let waiting = preview.send(
            "GET",
            &format!("/api/camera/front/frame/view/{}", u64::MAX),
            &[("Authorization", &format!("Bearer {}", preview.token))],
            b"",
        );
        drop(waiting);
        runtime().block_on(eventually("the attachments end", || seen.clients() == 0));
        assert_eq!(preview.interrupt().status.code(), Some(0));
    });
}

#[test]
fn large_frames_are_asked_for_smaller() {
    let camera = FakeCamera::new("front");
    *camera.size.lock().expect("fake") = Size::new(1080, 1920);
    previewed(&camera, |preview, seen| {
        let _publishing = seen.publish_for_ever(Duration::from_millis(5));
        let answer = preview.api("GET", "camera/front/frame/view/0", b"");
        assert_eq!(decode(&answer.body, Path::new("frame")).expect("a JPEG").as_picture().size(), Size::new(540, 960));
    });
}

#[test]
fn settings_are_changed_and_refusals_told_in_words() {
    previewed(&FakeCamera::new("front"), |preview, seen| {
        assert_eq!(preview.api("GET", "cameras", b"").json()["cameras"], json!(["front"]));
        assert_eq!(preview.set("framing.mode", "manual").status, 200);
        assert_eq!(preview.set("framing.zones", "0,0,0.5,0.5;0.5,0.5,0.25,0.25").status, 200);
        let properties = preview.api("GET", "camera/front", b"").json();
        assert_eq!(properties["framing"]["Mode"], FramingMode::Manual.as_str());
        assert_eq!(properties["framing"]["Zones"], json!([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.25, 0.25]]));

        let refused = preview.set("framing.max_zoom", "9");
        assert!(
            refused.status == 502 && refused.error().contains("9 is not a number from 1 to 4"),
            "{}",
            refused.error()
        );
        let unknown = preview.set("framing.volume", "9");
        assert!(unknown.status == 400 && unknown.error().contains("unknown key"), "{}", unknown.error());
        let again = preview.api("POST", "camera/front/reframe", b"");
        assert_eq!((again.status, again.error().as_str()), (502, "the fake has no director"));
        let absent = preview.api("GET", "camera/rear", b"");
        assert!(absent.status == 502 && absent.error().contains("there is no camera named \"rear\""));
        // A stream that is not allowed does not keep the others from being shown.
        let _publishing = seen.publish_for_ever(Duration::from_millis(5));
        let source = preview.api("GET", "camera/front/frame/source/0", b"");
        assert!(
            source.status == 502 && source.error().contains("source is off in the configuration"),
            "{}",
            source.error()
        );
        assert_eq!(preview.api("GET", "camera/front/frame/view/0", b"").status, 200);
        assert_eq!(preview.api("GET", "camera/front/frame/everything/0", b"").status, 404);

        // A picture is sent. A file of this machine is not opened for a page.
        let path = preview.set("background.image", "/etc/hostname");
        assert!(path.status == 400 && path.error().contains("sent"), "{}", path.error());
        assert_eq!(*seen.image.lock().expect("fake"), None);
        assert_eq!(preview.api("POST", "camera/front/image", b"picture").status, 200);
        assert_eq!(seen.image.lock().expect("fake").as_deref(), Some(b"picture".as_slice()));
        assert_eq!(preview.set("background.image", "").status, 200);
        assert_eq!(*seen.image.lock().expect("fake"), None);

        // What is too large is not read.
        assert_eq!(preview.set("framing.zones", &"0".repeat(20 << 10)).status, 413);
        assert_eq!(preview.api("POST", "camera/front/image", &vec![0; (32 << 20) + 2]).status, 413);
        assert_eq!(preview.api("POST", "camera/front/set", b"[1]").status, 400);
        assert_eq!(preview.api("GET", "camera/front/set", b"").status, 405);
    });
}

#[test]
fn it_goes_on_when_the_service_comes_and_goes() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front");
    let preview = Arc::new(Preview::start(&bus));
    let without = |path: &str| {
        let answer = preview.api("GET", path, b"");
        assert!(answer.status == 503 && answer.error().contains("portraitd is not running"), "{}", answer.error());
    };
    without("cameras");
    without("camera/front/frame/view/0");
    for _ in 0..2 {
        let (asking, seen) = (Arc::clone(&preview), Arc::clone(&camera));
        with_service(&bus, &camera, move || {
            let _publishing = seen.publish_for_ever(Duration::from_millis(5));
            // The bus tells both of us, one after the other.
            let shows = || asking.api("GET", "camera/front/frame/view/0", b"").status == 200;
            runtime().block_on(eventually("a frame", shows));
        });
        let gone = || preview.api("GET", "cameras", b"").status == 503;
        runtime().block_on(eventually("it is seen that the service is gone", gone));
        camera.close_rings();
        without("camera/front/frame/view/0");
    }
}

#[test]
fn idle_connections_give_their_places_back() {
    previewed(&FakeCamera::new("front"), |preview, _| {
        // More than are served at a time. Some have begun a request.
        let idle: Vec<_> = (0..60).map(|_| TcpStream::connect(&preview.host).expect("connect")).collect();
        for mut stream in idle.iter().step_by(2) {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").expect("a part of a head");
        }
        assert_eq!(preview.status(&[]), 200);
    });
}

#[test]
fn it_listens_where_it_may() {
    let Some(bus) = PrivateBus::start() else { return };
    let first = Preview::start(&bus);
    let refused = |address: &str| {
        let output = on(&bus, &["preview", "--listen", address]).output().expect("portraitctl");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let taken = refused(&first.host);
    assert!(taken.contains("another program uses this port") && taken.contains("--listen 127.0.0.1:0"), "{taken}");
    let open = refused("0.0.0.0:0");
    assert!(open.contains("unencrypted") && open.contains("ssh -L"), "{open}");
}
