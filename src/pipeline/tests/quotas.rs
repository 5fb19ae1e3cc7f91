//! What one user's clients can take from the service and from other users, and what remains
//! visible to a client that has left.

use super::*;
use portraitd_protocol::layout::HEADER_BYTES;

const GREEDY: u32 = 1000;
const MODEST: u32 = 1001;

fn client_of(user: u32, name: &str) -> Client {
    Client::new(ClientName::new(name), user, None)
}

/// The user that runs the tests, as whom the service runs.
fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn sized(user: u32, name: &str, size: Size) -> AttachRequest {
    let options = AttachOptions { size: Some(size), ..AttachOptions::of_stream(StreamKind::View) };
    AttachRequest { client: client_of(user, name), stream: StreamKind::View, options }
}

/// What a modest user asks for first: a view and a composite.
async fn first_attachments(rig: &Rig, user: u32) -> Vec<ClientFds> {
    let mut all = Vec::new();
    for stream in [StreamKind::View, StreamKind::Composite] {
        let options = AttachOptions::of_stream(stream);
        let request = AttachRequest { client: client_of(user, ":1.99"), stream, options };
        all.push(rig.camera.attach(request).await.expect("a first attachment").fds);
    }
    all
}

/// Attaches until the service refuses, and returns what it has attached.
async fn attach_all(rig: &Rig, request: impl Fn(u32) -> AttachRequest) -> Vec<ClientFds> {
    let mut all = Vec::new();
    loop {
        let number = u32::try_from(all.len()).expect("few");
        assert!(number < 1000, "there is a limit");
        match rig.camera.attach(request(number)).await {
            Ok(attachment) => all.push(attachment.fds),
            Err(ServiceError::Busy(_)) => return all,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The bytes that the files take in memory.
fn resident(files: &[OwnedFd]) -> usize {
    let blocks = files.iter().map(|file| rustix::fs::fstat(file).expect("a file").st_blocks);
    usize::try_from(blocks.sum::<i64>() * 512).expect("positive")
}

/// Whether a file holds only zero from `start` on.
fn is_zero(file: &OwnedFd, start: usize) -> bool {
    let size = usize::try_from(rustix::fs::fstat(file).expect("a file").st_size).expect("small");
    let mut bytes = vec![1; size - start];
    let mut done = 0;
    while done < bytes.len() {
        done += rustix::io::pread(file, &mut bytes[done..], (start + done) as u64).expect("readable");
    }
    bytes.iter().all(|byte| *byte == 0)
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn many_tiny_rings_of_one_user_leave_another_user_served() {
    let rig = Rig::new(60.0);
    let _steps = rig.will_open();
    let tiny = |number: u32| sized(GREEDY, ":1.1", Size::new(16 + 2 * number, 16));
    let taken = attach_all(&rig, tiny).await;
    assert_eq!(taken.len(), 24);
    first_attachments(&rig, MODEST).await;
    first_attachments(&rig, MODEST + 1).await;
}

#[tokio::test]
async fn the_sixth_user_is_served_from_what_the_greedy_have() {
    let rig = Rig::new(60.0);
    let _steps = rig.will_open();
    let mut had = Vec::new();
    // What the service's own user has is sealed, and is not taken back.
    let first = own_user() + 1;
    let users = first..first + 6;
    for user in users.clone() {
        had.push(first_attachments(&rig, user).await);
        let tiny = |number: u32| sized(user, ":1.1", Size::new(16 + 2 * number, 16));
        had.push(attach_all(&rig, tiny).await);
    }
    for user in users {
        assert!(rig.budget.used_by(user).rings >= 2, "user {user}");
    }
    assert!(rig.budget.used_by(first).rings < 24, "it has given way");
}

#[tokio::test]
async fn large_rings_of_one_user_leave_another_user_served() {
    let rig = Rig::new(60.0);
    let _steps = rig.will_open();
    let large = |number: u32| sized(GREEDY, ":1.1", Size::new(1280, 720 - 2 * number));
    let taken = attach_all(&rig, large).await;
    assert_eq!(taken.len(), 1);
    let medium = |number: u32| sized(GREEDY, ":1.1", Size::new(160, 120 - 2 * number));
    let more = attach_all(&rig, medium).await;
    assert!(more.len() > 1);
    first_attachments(&rig, MODEST).await;
}

#[tokio::test]
async fn attachments_of_many_connections_of_one_user_leave_another_user_served() {
    let rig = Rig::new(60.0);
    let _steps = rig.will_open();
    let size = |number: u32| Size::new(32, 16 + 2 * (number / 50));
    let again = |number: u32| sized(GREEDY, &format!(":1.{}", number % 4), size(number));
    let taken = attach_all(&rig, again).await;
    assert_eq!(taken.len(), 192);
    first_attachments(&rig, MODEST).await;
    rig.camera.released(&ClientName::new(":1.1"));
    rig.camera.attach(again(1)).await.expect("a place is free again");
}

#[tokio::test]
async fn memory_that_a_client_keeps_after_it_has_left_cannot_add_up() {
    for user in [own_user(), own_user() + 1] {
        let rig = Rig::new(60.0);
        let steps = rig.will_open();
        let mut kept = Vec::new();
        let mut refused = 0;
        for number in 0..40 {
            let size = Size::new(640, 360 - 2 * number);
            match rig.camera.attach(sized(user, ":1.1", size)).await {
                Ok(attachment) => {
                    // The whole ring is filled once, so that its memory is in use.
                    steps.send(Step::Frame).expect("streams");
                    kept.push(attachment.fds.memory);
                }
                Err(ServiceError::Busy(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            rig.camera.released(&ClientName::new(":1.1"));
            // A slot that was being drawn is freed when it is finished.
            eventually("within the limit", || resident(&kept) <= MEMORY).await;
        }
        // Memory for our own user is sealed, so it cannot be freed while it is held. Others keep
        // nothing but an empty file.
        assert_eq!(refused > 0, user == own_user(), "{refused} for user {user}");
        let other = first_attachments(&rig, MODEST).await;
        drop((other, kept));
        let again = async {
            while rig.camera.attach(sized(user, ":1.1", Size::new(640, 360))).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), again).await.expect("memory again");
    }
}

#[tokio::test]
async fn snapshots_that_a_client_keeps_cannot_add_up() {
    for user in [own_user(), own_user() + 1] {
        let rig = Rig::new(60.0);
        let steps = rig.will_open();
        // A snapshot is as large as the camera's picture.
        let mut config = config::CameraConfig { idle_close_s: 60.0, ..config::CameraConfig::default() };
        (config.framing.output_width, config.framing.output_height) = (256, 144);
        rig.reconfigure(&config).await.expect("good");
        let _watcher = rig.attach().await.expect("there");
        let mut kept = Vec::new();
        let refused = loop {
            let snapshot = rig.camera.snapshot(client_of(user, ":1.1"), StreamKind::View);
            let frames = async {
                steps.send(Step::News).expect("streams");
            };
            match tokio::join!(snapshot, frames).0 {
                Ok(png) => kept.push(png),
                Err(refused) => break refused,
            }
            // Padding, so that few are needed.
            assert!(kept.len() < 20_000, "there is a limit");
        };
        assert!(matches!(refused, ServiceError::Busy(_)), "{refused}");
        assert!(resident(&kept) <= MEMORY);
        drop(kept);
        rig.camera.snapshot(client_of(user, ":1.1"), StreamKind::View).await.expect("room again");
    }
}

#[tokio::test]
async fn two_snapshots_of_a_user_are_in_flight_at_most() {
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let snapshot = |user: u32, name: u32| rig.camera.snapshot(client_of(user, &format!(":1.{name}")), StreamKind::View);
    let flood = futures_util::future::join_all((0..16).map(|name| snapshot(GREEDY, name)));
    let other = snapshot(MODEST, 99);
    let frame = async {
        rig.state.clone().wait_for(|state| state.camera.consumers == 3).await.expect("a camera");
        steps.send(Step::Frame).expect("streams");
    };
    let (flood, other, ()) = tokio::join!(flood, other, frame);
    other.expect("another user");
    let (taken, refused): (Vec<_>, Vec<_>) = flood.into_iter().partition(Result::is_ok);
    assert_eq!((taken.len(), refused.len()), (2, 14));
    assert!(refused.iter().all(|refused| matches!(refused, Err(ServiceError::Busy(_)))), "{refused:?}");
    rig.state.clone().wait_for(|state| state.camera.consumers == 0).await.expect("a camera");
    assert_eq!(rig.camera.rings(), 0);
}

#[tokio::test]
async fn one_model_is_loaded_at_a_time() {
    let model = Library::default().load("selfie-landscape", EngineOptions::default()).expect("built in");
    let rig = Rig::with_net(config::CameraConfig::default(), Some(model));
    let change = |_| rig.camera.apply(SettingChange::Model("selfie-general".into()));
    let results = futures_util::future::join_all((0..300).map(change)).await;
    let (done, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 299));
    assert!(refused.iter().all(|refused| matches!(refused, Err(ServiceError::Busy(_)))));
    assert_eq!(rig.state.borrow().segmentation.model, "selfie-general");
}

#[tokio::test]
async fn who_has_left_sees_nothing_of_what_comes_after() {
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let attach = |user: u32, name: &'static str| rig.camera.attach(sized(user, name, SIZE));
    let (first, second) = (attach(GREEDY, ":1.1").await, attach(GREEDY, ":1.2").await);
    let (first, second) = (first.expect("there").fds, second.expect("there").fds);
    let other = attach(MODEST, ":1.3").await.expect("there").fds;
    let mut other = Ring::open(other.memory, other.event).expect("a ring");
    assert_eq!(rig.camera.rings(), 2, "users share no ring");
    // A child of the client keeps the memory and a mapping of it.
    let memory = first.memory.try_clone().expect("descriptors");
    let mut mapped = Ring::open(first.memory, first.event).expect("a ring");
    for _ in 0..8 {
        steps.send(Step::Frame).expect("streams");
        assert_eq!(luma(&read(&mut other)), LUMA);
    }
    assert_eq!(luma(&read(&mut mapped)), LUMA);
    assert!(!is_zero(&memory, HEADER_BYTES));
    rig.camera.released(&ClientName::new(":1.1"));
    assert_eq!(rig.camera.rings(), 2, "another client of the user still watches");
    drop(second);
    eventually("the ring is wiped", || is_zero(&memory, 0)).await;
    assert_eq!(rig.camera.rings(), 1);
    let again = attach(GREEDY, ":1.4").await.expect("there").fds;
    let mut again = Ring::open(again.memory, again.event).expect("a ring");
    for _ in 0..8 {
        steps.send(Step::News).expect("streams");
        read(&mut other);
    }
    read(&mut again);
    assert!(is_zero(&memory, 0), "nothing is published into it");
    assert!(!mapped.latest(&mut FrameCopy::default()));
}

#[tokio::test]
async fn a_permission_that_ends_wipes_the_ring_though_others_of_the_user_share_it() {
    // Our own user's ring is sealed, so it is wiped in another way.
    for user in [own_user(), own_user() + 1] {
        let rig = Rig::new(60.0);
        let steps = rig.will_open();
        let attach = |name: &'static str| rig.camera.attach(sized(user, name, SIZE));
        let denied = attach(":1.1").await.expect("there").fds;
        let memory = denied.memory.try_clone().expect("descriptors");
        let mut denied = Ring::open(denied.memory, denied.event).expect("a ring");
        let allowed = attach(":1.2").await.expect("there").fds;
        let mut allowed = Ring::open(allowed.memory, allowed.event).expect("a ring");
        assert_eq!((rig.camera.rings(), rig.camera.consumers()), (1, 2));
        steps.send(Step::Frame).expect("streams");
        assert_eq!((luma(&read(&mut denied)), luma(&read(&mut allowed))), (LUMA, LUMA));
        rig.camera.end_attachments(&|client, stream| {
            client.user == user && client.name.as_str() == ":1.1" && stream == StreamKind::View
        });
        assert_eq!((rig.camera.rings(), rig.camera.consumers()), (0, 0));
        eventually("the ring is wiped", || is_zero(&memory, HEADER_BYTES)).await;
        for ring in [&mut denied, &mut allowed] {
            while ring.wait(Some(Duration::from_secs(30))).expect("a pipe") != Wait::Closed {}
            assert!(ring.closed() && !ring.latest(&mut FrameCopy::default()));
        }
        let next = attach(":1.2").await.expect("still allowed").fds;
        let mut next = Ring::open(next.memory, next.event).expect("a ring");
        steps.send(Step::Frame).expect("streams");
        read(&mut next);
        assert!(is_zero(&memory, HEADER_BYTES));
    }
}
