//! A client in another process that is killed while it reads leaves no descriptors and threads
//! behind.
//!
//! Descriptors and threads are counted per process, so the test runs in processes of its own: it
//! starts this test program again for `server_alone`, which starts it again for `client_alone`.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portraitd::publish::dbus::serve_peer;
use portraitd_client::connect::{connect_fd, inherited_fd};
use portraitd_client::feed::{AttachOptions, find_camera};
use portraitd_client::{Feed, FrameCopy};
use portraitd_protocol::StreamKind;

use crate::fake::{FakeCamera, eventually, open_descriptors, publication, runtime};

/// The variable with the part that this process plays.
const PART: &str = "PORTRAITD_TEST_PART";

/// Starts this test program again, for one test, with further variables.
pub fn again(test: &str, stdin: Stdio, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PART, test)
        .envs(variables.iter().copied())
        .stdin(stdin)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program again")
}

/// Whether this process was started for the test `part`.
pub fn plays(part: &str) -> bool {
    std::env::var(PART).is_ok_and(|named| named == part)
}

#[test]
fn a_client_that_is_killed_leaves_nothing_behind() {
    let output = again("process::server_alone", Stdio::null(), &[]).wait_with_output().expect("the server");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("killed and nothing left: 3 times"), "{text}");
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("proc").count()
}

#[test]
fn server_alone() {
    if !plays("process::server_alone") {
        return;
    }
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let publishing = camera.publish_for_ever(Duration::from_millis(2));
        let mut before = None;
        for _ in 0..4 {
            let (ours, theirs) = UnixStream::pair().expect("sockets");
            let mut client = again("process::client_alone", std::os::fd::OwnedFd::from(theirs).into(), &[]);
            let server = serve_peer(ours.into(), publication(&[&camera])).await.expect("a client");
            let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines();
            // Waiting for the client's first frame blocks, so it runs on a thread of its own.
            let lines = tokio::task::spawn_blocking(move || {
                lines
                    .find(|line| line.as_ref().is_ok_and(|line| line.contains("reading")))
                    .expect("a frame")
                    .expect("text");
                lines
            });
            drop(lines.await.expect("lines"));
            assert_eq!(camera.clients(), 1);
            let mut left = camera.left.subscribe();
            left.mark_unchanged();
            client.kill().expect("SIGKILL");
            client.wait().expect("its end");
            left.changed().await.expect("released");
            eventually("the ring lost its client", || camera.clients() == 0).await;
            drop(server);
            camera.close_rings();
            tokio::task::yield_now().await;
            let now = || (open_descriptors(), threads());
            match before {
                // The first round also creates what is created once, such as the thread that reads
                // lines.
                None => before = Some(now()),
                Some(before) => eventually("as many descriptors and threads as before", || now() == before).await,
            }
        }
        drop(publishing);
        println!("killed and nothing left: 3 times");
    });
}

#[test]
fn client_alone() {
    if !plays("process::client_alone") {
        return;
    }
    runtime().block_on(async {
        let connection = connect_fd(inherited_fd(0).expect("the socket")).await.expect("connection");
        let camera = find_camera(&connection, None).await.expect("camera");
        let mut feed = Feed::attach(camera, StreamKind::Mask, AttachOptions::default()).await.expect("attach");
        let mut frame = FrameCopy::default();
        loop {
            feed.next(&mut frame).await.expect("frame");
            if feed.counters().frames == 5 {
                println!("reading");
            }
        }
    });
}
