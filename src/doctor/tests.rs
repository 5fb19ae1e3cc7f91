//! Every finding on a system where nothing else is wrong: a root folder, devices and answers of a
//! bus that a test makes and then breaks in one place.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use portraitd_v4l2::DeviceInfo;
use portraitd_v4l2::devices::{FormatInfo, SizeInfo};

use super::bus::{Answer, BusFacts, CameraFacts, UnitFacts};
use super::*;
use crate::service::config::{CameraConfig, Place, Warning};
use crate::service::crash::SAFE_MODE;

const CLIENTS: u32 = 40_001;
const PROVIDERS: u32 = 40_004;
const KIOSK: u32 = 40_010;

/// A board in a folder.
struct Board {
    folder: tempfile::TempDir,
    is: Surroundings,
}

impl Board {
    /// A board on which nothing is wrong.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().metadata().expect("metadata");
        let is = Surroundings {
            root: folder.path().to_owned(),
            caller: Caller { user: KIOSK, groups: vec![KIOSK, CLIENTS, PROVIDERS] },
            settings: Ok(Config { cameras: vec![CameraConfig::default()], ..Config::default() }),
            refused_models: Vec::new(),
            devices: vec![camera("/dev/video0", &[("YUYV", 1280, 720, 30.0), ("MJPG", 1280, 720, 30.0)])],
            bus: BusFacts {
                failure: None,
                names: vec!["org.freedesktop.PolicyKit1".into(), "org.portraitd".into()],
                answer: Answer::Cameras(vec![CameraFacts {
                    name: "main".into(),
                    state: "running".into(),
                    ..CameraFacts::default()
                }]),
                unit: Some(UnitFacts {
                    active: "active".into(),
                    sub: "running".into(),
                    result: "success".into(),
                    ..UnitFacts::default()
                }),
                systemd: Some("252.39-1~deb12u1".into()),
            },
            last_words: None,
            memfd: None,
            now_s: 1_800_000_000,
        };
        let board = Self { folder, is };
        // Owned by the user of the test, who stands for the service's.
        board.write(
            "/etc/passwd",
            &format!("root:x:0:0::/root:/bin/sh\nkiosk:x:{KIOSK}:{KIOSK}::/:\nportraitd:x:{}:1::/:\n", own.uid()),
        );
        board.write(
            "/etc/group",
            &format!(
                "video:x:{}:\nportraitd-clients:x:{CLIENTS}:kiosk\nportraitd-control:x:40002:\nportraitd:x:40003:\n\
                 portraitd-providers:x:{PROVIDERS}:kiosk\n",
                own.gid()
            ),
        );
        board.write("/dev/video0", "");
        fs::set_permissions(board.at("/dev/video0"), fs::Permissions::from_mode(0o660)).expect("mode");
        board.write("/proc/sys/kernel/osrelease", "6.1.0-28-arm64\n");
        board.write("/proc/meminfo", "MemTotal: 2000000 kB\nMemAvailable:    900000 kB\n");
        board.write("/proc/4711/comm", "browser\n");
        fs::create_dir(board.at("/proc/4711/fd")).expect("folder");
        board.write("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "schedutil\n");
        board.write("/sys/fs/cgroup/system.slice/portraitd.service/memory.max", "268435456\n");
        board.write("/sys/fs/cgroup/system.slice/portraitd.service/memory.events", "oom 0\noom_kill 0\n");
        fs::create_dir_all(board.at("/run/systemd/system")).expect("folder");
        for file in [
            "/run/dbus/system_bus_socket",
            "/usr/lib/systemd/system/portraitd.service",
            "/etc/systemd/system/multi-user.target.wants/portraitd.service",
            "/etc/systemd/system/dbus-org.portraitd.service",
            "/usr/share/dbus-1/system.d/org.portraitd.conf",
            "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service",
            "/usr/share/polkit-1/actions/org.portraitd.policy",
            "/usr/share/polkit-1/rules.d/50-portraitd.rules",
        ] {
            board.write(file, "");
        }
        board
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(path, text).expect("written");
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.at(path)).expect("removed");
    }

    fn config(&mut self) -> &mut Config {
        self.is.settings.as_mut().expect("a configuration")
    }

    fn device(&mut self, text: &str) {
        self.config().cameras[0].device = text.to_owned();
    }

    fn camera(&mut self, state: &str, error: &str, degraded: &str) {
        let (last_error, degraded) = (error.to_owned(), degraded.to_owned());
        let camera = CameraFacts { name: "main".into(), state: state.into(), last_error, degraded };
        self.is.bus.answer = Answer::Cameras(vec![camera]);
    }

    fn unit(&mut self) -> &mut UnitFacts {
        self.is.bus.unit.as_mut().expect("a unit")
    }

    /// Metrics as docs/install.md says.
    fn metrics(&mut self) {
        self.config().metrics_file = Some("/var/lib/metrics/portraitd.prom".into());
        self.write("/var/lib/metrics/portraitd.prom", "");
        self.write("/etc/systemd/system/portraitd.service.d/m.conf", "[Service]\nReadWritePaths=/var/lib/metrics\n");
        let file = fs::File::open(self.at("/var/lib/metrics/portraitd.prom")).expect("there");
        self.is.now_s = u64::try_from(file.metadata().expect("metadata").mtime()).expect("after 1970");
    }
}

fn camera(path: &str, formats: &[(&str, u32, u32, f32)]) -> DeviceInfo {
    let format = |&(code, width, height, rate): &(&str, u32, u32, f32)| FormatInfo {
        code: code.to_owned(),
        description: code.to_owned(),
        usable: true,
        emulated: false,
        sizes: vec![SizeInfo { width, height, least: None, step: None, rates: vec![rate], rates_continuous: false }],
    };
    DeviceInfo {
        path: path.into(),
        card: "Test Camera".into(),
        usable: true,
        formats: formats.iter().map(format).collect(),
        ..DeviceInfo::default()
    }
}

/// A finding: its name, how severe it is, what its text or remedy says, and how to cause it.
type Case = (&'static str, Severity, &'static str, fn(&mut Board));

const CASES: &[Case] = &[
    ("kernel-old", Severity::Error, "5.0.9-armv7 is older than 5.1", |b| {
        b.write("/proc/sys/kernel/osrelease", "5.0.9-armv7\n");
    }),
    ("no-memfd", Severity::Error, "Operation not permitted", |b| b.is.memfd = Some("Operation not permitted".into())),
    ("memory-low", Severity::Warning, "19 MiB of memory are available, and the service needs about 48", |b| {
        b.write("/proc/meminfo", "MemAvailable: 20000 kB\n");
        // A service that runs has its memory already.
        b.config().bus = BusConfig::None;
        b.is.bus = BusFacts::default();
    }),
    ("memory-limit", Severity::Error, "the limit is 32 MiB", |b| {
        b.write("/sys/fs/cgroup/system.slice/portraitd.service/memory.max", "33554432\n");
    }),
    ("memory-limit", Severity::Error, "the limit is 8 MiB", |b| b.write("/sys/fs/cgroup/memory.max", "8388608\n")),
    ("oom-kills", Severity::Warning, "2 processes of the service were killed", |b| {
        b.write("/sys/fs/cgroup/system.slice/portraitd.service/memory.events", "oom 3\noom_kill 2\n");
    }),
    ("governor", Severity::Warning, "the governor of policy0 is powersave", |b| {
        b.write("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n");
        b.write("/sys/devices/system/cpu/cpufreq/policy0/scaling_driver", "cpufreq-dt\n");
    }),
    ("clock-unset", Severity::Warning, "timedatectl", |b| b.is.now_s = 86_400),
    ("no-camera", Severity::Error, "modprobe uvcvideo", |b| b.is.devices.clear()),
    ("no-usable-camera", Severity::Error, "/dev/video0 (Test Camera)", |b| b.is.devices[0].usable = false),
    ("camera-missing", Severity::Error, "device = \"/dev/v4l/by-id/usb-there\"", |b| {
        b.device("/dev/v4l/by-id/usb-gone");
        b.is.devices[0].stable_name = Some("/dev/v4l/by-id/usb-there".into());
    }),
    ("camera-format", Severity::Error, "no format that can be used: H264", |b| {
        b.device("/dev/video0");
        b.is.devices = vec![camera("/dev/video0", &[("H264", 1280, 720, 30.0)])];
        b.is.devices[0].usable = false;
    }),
    ("camera-format", Severity::Error, "is not a camera (output)", |b| {
        b.device("/dev/video0");
        b.is.devices = vec![camera("/dev/video0", &[])];
        b.is.devices[0].usable = false;
        b.is.devices[0].capabilities = vec!["output"];
    }),
    ("camera-permission", Severity::Error, "SupplementaryGroups=plugdev", |b| {
        let groups = fs::read_to_string(b.at("/etc/group")).expect("read").replace("video:", "plugdev:");
        b.write("/etc/group", &groups);
    }),
    ("camera-permission", Severity::Error, "the group video with mode 0600", |b| {
        fs::set_permissions(b.at("/dev/video0"), fs::Permissions::from_mode(0o600)).expect("mode");
    }),
    ("camera-busy", Severity::Warning, "browser (process 4711) has it open", |b| {
        symlink("/dev/video0", b.at("/proc/4711/fd/7")).expect("link");
    }),
    ("format-slow", Severity::Warning, "10 frames/s at most, and 30 are configured; it is connected by USB 2", |b| {
        b.is.devices = vec![camera("/dev/video0", &[("YUYV", 1280, 720, 10.0)])];
        b.write("/sys/class/video4linux/video0/speed", "480\n");
        fs::create_dir(b.at("/sys/class/video4linux/video0/device")).expect("folder");
    }),
    ("format-slow", Severity::Warning, "width = 640, height = 480", |b| {
        b.is.devices = vec![camera("/dev/video0", &[("YUYV", 1280, 720, 10.0), ("YUYV", 640, 480, 30.0)])];
        // Otherwise the distance in size would outweigh the rate.
        b.config().cameras[0].fps = 30.0;
    }),
    ("no-dbus", Severity::Error, "D-Bus is not installed, or does not run", |b| {
        b.is.bus = BusFacts { failure: Some("no such file".into()), ..BusFacts::default() };
        b.remove("/run/dbus/system_bus_socket");
    }),
    ("no-dbus", Severity::Error, "the bus cannot be reached: no answer within 2 s", |b| {
        b.is.bus = BusFacts { failure: Some("no answer within 2 s".into()), ..BusFacts::default() };
    }),
    ("no-dbus", Severity::Error, "dbus-run-session", |b| {
        b.config().bus = BusConfig::Session;
        b.is.bus = BusFacts { failure: Some("no session".into()), ..BusFacts::default() };
    }),
    ("unit-missing", Severity::Error, "is not installed", |b| b.remove("/usr/lib/systemd/system/portraitd.service")),
    ("unit-masked", Severity::Error, "systemctl unmask", |b| {
        symlink("/dev/null", b.at("/etc/systemd/system/portraitd.service")).expect("link");
    }),
    ("unit-disabled", Severity::Warning, "neither at boot nor when a client calls", |b| {
        b.remove("/etc/systemd/system/multi-user.target.wants/portraitd.service");
        b.remove("/etc/systemd/system/dbus-org.portraitd.service");
    }),
    ("unit-disabled", Severity::Warning, "systemctl reenable", |b| {
        b.remove("/etc/systemd/system/dbus-org.portraitd.service");
    }),
    ("policy-missing", Severity::Error, "may not take its name", |b| {
        b.remove("/usr/share/dbus-1/system.d/org.portraitd.conf");
    }),
    ("user-missing", Severity::Error, "the user portraitd, the group portraitd-control", |b| {
        b.write("/etc/passwd", &format!("kiosk:x:{KIOSK}:1::/:\n"));
        let groups = fs::read_to_string(b.at("/etc/group")).expect("read").replace("portraitd-control", "other");
        b.write("/etc/group", &groups);
    }),
    ("no-polkit", Severity::Warning, "only root may attach", |b| {
        b.remove("/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service");
        b.is.bus.names.clear();
    }),
    ("polkit-actions", Severity::Error, "polkit knows no stream", |b| {
        b.remove("/usr/share/polkit-1/actions/org.portraitd.policy");
    }),
    ("polkit-actions", Severity::Error, "the group portraitd-clients gives no permission", |b| {
        b.remove("/usr/share/polkit-1/rules.d/50-portraitd.rules");
    }),
    ("caller-group", Severity::Warning, "usermod --append --groups portraitd-clients kiosk", |b| {
        let groups = fs::read_to_string(b.at("/etc/group")).expect("read").replace(":kiosk", ":");
        b.write("/etc/group", &groups);
        // A camera of a device needs no provider.
        b.is.caller.groups = vec![KIOSK];
    }),
    ("caller-login", Severity::Warning, "not yet in this session", |b| b.is.caller.groups = vec![KIOSK]),
    ("caller-provider", Severity::Note, "usermod --append --groups portraitd-providers kiosk", |b| {
        b.device("provider");
        let groups = fs::read_to_string(b.at("/etc/group")).expect("read").replace(":40004:kiosk", ":40004:");
        b.write("/etc/group", &groups);
        b.is.caller.groups = vec![KIOSK, CLIENTS];
    }),
    ("caller-provider", Severity::Note, "is not yet in this session in the group portraitd-providers", |b| {
        b.device("provider");
        b.is.caller.groups = vec![KIOSK, CLIENTS];
    }),
    ("systemd-old", Severity::Warning, "systemd 241 is older than 247", |b| b.is.bus.systemd = Some("241".into())),
    ("unit-failed", Severity::Error, "(exit-code, status 1); it said: no such model", |b| {
        b.is.bus.answer = Answer::NoOwner;
        *b.unit() = UnitFacts {
            active: "activating".into(),
            sub: "auto-restart".into(),
            result: "exit-code".into(),
            exit_status: 1,
            restarts: 9,
        };
        b.is.last_words = Some("no such model".into());
    }),
    ("unit-stopped", Severity::Warning, "systemctl start portraitd", |b| {
        b.is.bus.answer = Answer::NoOwner;
        *b.unit() = UnitFacts { active: "inactive".into(), sub: "dead".into(), ..UnitFacts::default() };
    }),
    ("restarts", Severity::Warning, "was restarted 3 times, last after: watchdog", |b| {
        b.unit().restarts = 3;
        b.unit().result = "watchdog".into();
    }),
    ("name-missing", Severity::Error, "systemctl enable --now portraitd", |b| {
        b.is.bus.answer = Answer::NoOwner;
        b.is.bus.unit = None;
    }),
    ("service-silent", Severity::Error, "does not answer: no answer within 2 s", |b| {
        b.is.bus.answer = Answer::Silent("no answer within 2 s".into());
    }),
    ("safe-mode", Severity::Error, "composites show nobody", |b| b.camera("running", "", SAFE_MODE)),
    ("degraded", Severity::Warning, "inference is reduced: every second frame", |b| {
        b.camera("running", "", "every second frame");
    }),
    ("camera-state", Severity::Error, "the camera is failed: in use by another program", |b| {
        b.camera("failed", "in use by another program", "");
    }),
    ("camera-state", Severity::Error, "journalctl -u portraitd-provide@main", |b| {
        b.device("provider");
        b.camera("stalled", "no frame for 2 s", "");
    }),
    ("no-provider", Severity::Error, "systemctl enable --now portraitd-provide@main", |b| {
        b.device("provider");
        b.camera("absent", "provider: no program provides frames", "");
    }),
    ("camera-private", Severity::Note, "portraitctl --camera main set camera.private=off", |b| {
        b.camera("private", "", "");
    }),
    ("config-refused", Severity::Error, "/etc/portraitd/portraitd.toml:3:1", |b| {
        b.is.settings = Err("/etc/portraitd/portraitd.toml:3:1: unknown key `bsu`".into());
    }),
    ("config-warning", Severity::Warning, "old name", |b| {
        let message = "`zoom` is the old name of `max_zoom`".to_owned();
        b.config().warnings = vec![Warning { place: Place::Flag { flag: "--x" }, message }];
    }),
    ("model-refused", Severity::Error, "no model `huge`", |b| {
        b.is.refused_models = vec!["`camera.main.segmentation.model`: no model `huge`".into()];
    }),
    ("metrics-folder", Severity::Warning, "does not exist", |b| {
        b.config().metrics_file = Some("/var/lib/metrics/portraitd.prom".into());
    }),
    ("metrics-folder", Severity::Warning, "cannot be written by the user portraitd", |b| {
        b.metrics();
        b.write("/etc/passwd", &format!("kiosk:x:{KIOSK}:1::/:\nportraitd:x:40003:1::/:\n"));
    }),
    ("metrics-folder", Severity::Warning, "is not in ReadWritePaths= of the unit", |b| {
        b.metrics();
        b.remove("/etc/systemd/system/portraitd.service.d/m.conf");
    }),
    ("metrics-old", Severity::Warning, "missing or older than a minute", |b| {
        b.metrics();
        b.is.now_s += 61;
    }),
];

#[test]
fn a_good_system_has_no_findings() {
    let mut board = Board::new();
    assert_eq!(examine(&board.is), Report::default());
    board.metrics();
    assert_eq!(examine(&board.is), Report::default(), "with metrics");
    board.is.caller = Caller { user: 0, groups: vec![0] };
    assert_eq!(examine(&board.is), Report::default(), "as root");
}

#[test]
fn each_finding_is_made_by_its_cause_and_says_what_to_do() {
    for (id, severity, says, cause) in CASES {
        let mut board = Board::new();
        cause(&mut board);
        let report = examine(&board.is);
        let finding = report.findings.iter().find(|finding| finding.id == *id);
        let finding = finding.unwrap_or_else(|| panic!("{id}: not found, but {report:?}"));
        assert_eq!(finding.severity, *severity, "{finding:?}");
        assert!(!finding.remedy.is_empty() && !finding.place.is_empty(), "{finding:?}");
        let text = format!("{} {} {}", finding.place, finding.what, finding.remedy.join(" "));
        assert!(text.contains(says), "{id}: {text}");
        assert_eq!(report.has_errors(), report.findings.iter().any(|finding| finding.severity == Severity::Error));
        // A cause has one finding; a refused configuration, a missing user or bus hides others.
        let others: Vec<&Finding> = report.findings.iter().filter(|other| other.id != *id).collect();
        assert!(others.is_empty(), "{id}: {others:?}");
    }
}

#[test]
fn every_finding_has_a_case_and_a_line_in_the_documents() {
    let page = include_str!("../../docs/design/doctor.md");
    for id in FINDINGS {
        assert!(CASES.iter().any(|(case, ..)| case == id), "{id} has no case");
        assert!(page.contains(&format!("\n| `{id}` |")), "{id} is not in docs/design/doctor.md");
    }
}

#[test]
fn what_the_caller_may_not_see_is_said_and_not_guessed() {
    let mut board = Board::new();
    board.is.devices = vec![DeviceInfo {
        path: "/dev/video0".into(),
        error: Some("permission denied".into()),
        ..DeviceInfo::default()
    }];
    let report = examine(&board.is);
    assert_eq!(report.findings, [], "the service may open it");
    assert!(report.unseen[0].contains("/dev/video0: permission denied; run the command as root"), "{report:?}");
    board.remove("/etc/group");
    assert!(examine(&board.is).has_errors());
}

#[test]
fn scenes_need_no_device_and_other_buses_no_policy() {
    let mut board = Board::new();
    board.is.devices.clear();
    board.device("scene:walk");
    board.config().bus = BusConfig::Session;
    for folder in ["usr", "etc"] {
        fs::remove_dir_all(board.folder.path().join(folder)).expect("removed");
    }
    assert_eq!(examine(&board.is).findings, []);
    board.config().bus = BusConfig::None;
    assert_eq!(examine(&board.is).findings, []);
}

#[test]
fn a_governor_that_only_sounds_slow_is_no_finding() {
    let board = Board::new();
    board.write("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n");
    board.write("/sys/devices/system/cpu/cpufreq/policy0/scaling_driver", "intel_pstate\n");
    assert_eq!(examine(&board.is).findings, []);
}

#[test]
fn a_camera_is_found_by_its_link() {
    let mut board = Board::new();
    fs::create_dir_all(board.at("/dev/v4l/by-id")).expect("folder");
    symlink("../../video0", board.at("/dev/v4l/by-id/usb-a")).expect("link");
    board.device("/dev/v4l/by-id/usb-a");
    assert_eq!(examine(&board.is), Report::default());
}

#[test]
fn an_empty_root_has_findings_and_no_panic() {
    let mut board = Board::new();
    board.is.root = Path::new("/nonexistent/root").to_owned();
    board.is.bus = BusFacts::default();
    let ids: Vec<&str> = examine(&board.is).findings.iter().map(|finding| finding.id).collect();
    assert!(ids.contains(&"policy-missing") && ids.contains(&"name-missing"), "{ids:?}");
}

#[test]
fn this_process_can_make_shared_memory() {
    assert_eq!(refused_memfd(), None);
}

#[test]
fn findings_are_json_with_stable_keys() {
    let board = Board { is: Surroundings { memfd: Some("no".into()), ..Board::new().is }, ..Board::new() };
    let finding = Finding {
        id: "no-camera",
        severity: Severity::Error,
        place: "/dev/video*".into(),
        what: "no".into(),
        remedy: vec!["lsusb".into()],
    };
    let report = Report { findings: vec![finding], unseen: vec!["x".into()] };
    let text = serde_json::to_string(&report).expect("JSON");
    let wanted = r#"{"findings":[{"id":"no-camera","severity":"error","where":"/dev/video*","what":"no","do":["lsusb"]}],"unseen":["x"]}"#;
    assert_eq!(text, wanted);
    assert!(examine(&board.is).findings[0].severity <= Severity::Error);
}
