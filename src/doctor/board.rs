//! Findings about the board: kernel, memory, processor clock, time.

use super::bus::Answer;
use super::{RESTART, Report, Surroundings};

/// The first kernel with the seal `F_SEAL_FUTURE_WRITE`.
const KERNEL: (u64, u64) = (5, 1);
/// The memory that the service needs for one camera, in MiB (SPECIFICATION.md, C5).
const MIB_PER_CAMERA: u64 = 48;
/// Drivers whose governor is named `powersave` although it changes the clock with the load.
const DRIVERS_THAT_SCALE: [&str; 2] = ["intel_pstate", "amd-pstate-epp"];
/// The cgroup of the unit.
const CGROUP: &str = "/sys/fs/cgroup/system.slice/portraitd.service";
/// The beginning of November 2026, in seconds since 1970. It is used if the time of the build
/// (`SOURCE_DATE_EPOCH`) is not known. A clock before it has never been set.
const BUILT_S: u64 = 1_793_491_200;

pub(super) fn examine(surroundings: &Surroundings, report: &mut Report) {
    kernel(surroundings, report);
    memory(surroundings, report);
    governor(surroundings, report);
    let built_s = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()).unwrap_or(BUILT_S);
    if surroundings.now_s < built_s {
        let what = "the clock is before the date of this program: nobody has set it. The times of journal and metrics \
                    are wrong, and certificates of updates are refused; pictures are not affected";
        report.warning("clock-unset", "clock", what.to_owned(), &["timedatectl", "sudo timedatectl set-ntp true"]);
    }
}

fn kernel(surroundings: &Surroundings, report: &mut Report) {
    let release = surroundings.root().text("/proc/sys/kernel/osrelease").unwrap_or_default();
    if version(&release).is_some_and(|version| version < KERNEL) {
        let what = format!("Linux {release} is older than {}.{}, which the shared memory needs", KERNEL.0, KERNEL.1);
        report.error("kernel-old", "/proc/sys/kernel/osrelease", what, &["install a newer kernel"]);
    }
    if let Some(error) = &surroundings.memfd {
        let what = format!("no sealed shared memory can be made: {error}. Every picture is passed in such memory");
        let remedy = ["sysctl vm.memfd_noexec    # 2 forbids it", "sudo sysctl vm.memfd_noexec=1"];
        report.error("no-memfd", "memfd_create", what, &remedy);
    }
}

/// The first two numbers of a text such as `6.1.0-28-arm64`.
pub(super) fn version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

fn memory(surroundings: &Surroundings, report: &mut Report) {
    let root = surroundings.root();
    let cameras = surroundings.settings.as_ref().map_or(1, |config| config.cameras.len().max(1));
    let needed_mib = MIB_PER_CAMERA * u64::try_from(cameras).unwrap_or(1);
    // A service that runs has its memory already.
    let runs = matches!(surroundings.bus.answer, Answer::Cameras(_));
    if let Some(mib) = available_mib(&root.text("/proc/meminfo").unwrap_or_default())
        && mib < needed_mib
        && !runs
    {
        let what = format!("{mib} MiB of memory are available, and the service needs about {needed_mib}");
        report.warning("memory-low", "/proc/meminfo", what, &["ps -eo rss,comm --sort=-rss | head"]);
    }
    // The limit of the unit, or that of a container.
    for file in [format!("{CGROUP}/memory.max"), "/sys/fs/cgroup/memory.max".to_owned()] {
        if let Some(mib) = root.number(&file).map(|bytes| bytes >> 20)
            && mib < needed_mib
        {
            let what = format!("the limit is {mib} MiB, and the service needs about {needed_mib}: it will be killed");
            let remedy = ["sudo systemctl edit portraitd    # [Service] MemoryMax=256M", RESTART];
            report.error("memory-limit", file, what, &remedy);
        }
    }
    let events = format!("{CGROUP}/memory.events");
    let kills = root.text(&events).and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.parse::<u64>().ok())
    });
    if let Some(kills) = kills.filter(|kills| *kills > 0) {
        let what = format!("{kills} processes of the service were killed for lack of memory since it was started");
        let remedy = ["journalctl -k -g oom", "use a smaller picture or fewer cameras, or raise MemoryMax="];
        report.warning("oom-kills", events, what, &remedy);
    }
}

/// `MemAvailable` of `/proc/meminfo`, in MiB.
fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 10)
}

fn governor(surroundings: &Surroundings, report: &mut Report) {
    const FOLDER: &str = "/sys/devices/system/cpu/cpufreq";
    let root = surroundings.root();
    let policies = root.names(FOLDER, 256).into_iter().filter(|policy| {
        let of = |file: &str| root.text(format!("{FOLDER}/{policy}/{file}")).unwrap_or_default();
        of("scaling_governor") == "powersave" && !DRIVERS_THAT_SCALE.contains(&of("scaling_driver").as_str())
    });
    let slow: Vec<String> = policies.collect();
    if !slow.is_empty() {
        let what = format!("the governor of {} is powersave: these cores stay at their lowest clock", slow.join(", "));
        let remedy = "echo schedutil | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor";
        report.warning("governor", format!("{FOLDER}/{}/scaling_governor", slow[0]), what, &[remedy]);
    }
}
