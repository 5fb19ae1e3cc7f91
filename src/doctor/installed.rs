//! Findings about what is installed: unit, bus policy, polkit, users and groups.

use super::{RELOAD_BUS, RESTART, Report, Surroundings};
use crate::service::config::BusConfig;

/// Where units are looked for, the strongest first.
pub(super) const UNIT_FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The group whose members may provide frames.
const PROVIDERS: &str = "portraitd-providers";
const REINSTALL: &str = "install the package portraitd again, or run systemd/install";

pub(super) fn examine(surroundings: &Surroundings, report: &mut Report) {
    bus(surroundings, report);
    if surroundings.bus_config() != BusConfig::System {
        return;
    }
    if surroundings.has_unit() {
        unit(surroundings, report);
    } else {
        report.unseen.push("the unit: systemd does not run here".to_owned());
    }
    policy(surroundings, report);
    users(surroundings, report);
    polkit(surroundings, report);
}

fn bus(surroundings: &Surroundings, report: &mut Report) {
    const SOCKET: &str = "/run/dbus/system_bus_socket";
    let Some(failure) = &surroundings.bus.failure else { return };
    let (place, remedy): (_, &[&str]) = match surroundings.bus_config() {
        BusConfig::System if !surroundings.root().exists(SOCKET) => {
            let what = "there is no system bus: D-Bus is not installed, or does not run. Service and clients need it";
            let remedy =
                ["sudo apt install dbus    # or the package of your system", "sudo systemctl start dbus.socket"];
            return report.error("no-dbus", SOCKET, what.to_owned(), &remedy);
        }
        BusConfig::System => (SOCKET.to_owned(), &["systemctl status dbus", "sudo systemctl restart dbus.socket"]),
        BusConfig::Session => ("session bus".to_owned(), &["dbus-run-session -- portraitd run --bus session"]),
        other => (other.to_string(), &["set `bus` in the configuration to the address of a bus that runs"]),
    };
    report.error("no-dbus", place, format!("the bus cannot be reached: {failure}"), remedy);
}

fn unit(surroundings: &Surroundings, report: &mut Report) {
    const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/portraitd.service";
    const ALIAS: &str = "/etc/systemd/system/dbus-org.portraitd.service";
    let root = surroundings.root();
    let file = UNIT_FOLDERS.iter().map(|folder| format!("{folder}/portraitd.service")).find(|file| root.exists(file));
    let Some(file) = file else {
        let what = "the unit portraitd.service is not installed".to_owned();
        return report.error("unit-missing", "portraitd.service", what, &[REINSTALL, "sudo systemctl daemon-reload"]);
    };
    if std::fs::read_link(root.at(&file)).is_ok_and(|target| target.ends_with("dev/null")) {
        let what = "the unit is masked: nothing can start it".to_owned();
        let remedy = ["sudo systemctl unmask portraitd", "sudo systemctl enable --now portraitd"];
        return report.error("unit-masked", file, what, &remedy);
    }
    let missing: Vec<&str> = [WANTED, ALIAS].into_iter().filter(|link| !root.exists(link)).collect();
    if let Some(link) = missing.first() {
        let what = match missing.as_slice() {
            [WANTED, ALIAS] => "the unit is not enabled: it starts neither at boot nor when a client calls",
            [ALIAS] => "the unit was enabled by an earlier version: a client that calls does not start it",
            _ => "the unit does not start at boot",
        };
        let remedy: &[&str] = if missing == [ALIAS] {
            &["sudo systemctl reenable portraitd"]
        } else {
            &["sudo systemctl enable --now portraitd"]
        };
        report.warning("unit-disabled", *link, what.to_owned(), remedy);
    }
}

fn policy(surroundings: &Surroundings, report: &mut Report) {
    let root = surroundings.root();
    let file = "/usr/share/dbus-1/system.d/org.portraitd.conf";
    if !root.exists(file) && !root.exists("/etc/dbus-1/system.d/org.portraitd.conf") {
        let what = "the bus policy is not installed: the service may not take its name".to_owned();
        report.error("policy-missing", file, what, &[REINSTALL, RELOAD_BUS, RESTART]);
    }
}

fn users(surroundings: &Surroundings, report: &mut Report) {
    let root = surroundings.root();
    let (users, groups) = (root.users(), root.groups());
    let mut missing = Vec::new();
    if !users.iter().any(|user| user.name == "portraitd") {
        missing.push(("/etc/passwd", "the user portraitd"));
    }
    for (name, text) in [
        ("portraitd-clients", "the group portraitd-clients"),
        ("portraitd-control", "the group portraitd-control"),
        (PROVIDERS, "the group portraitd-providers"),
    ] {
        if !groups.iter().any(|group| group.name == name) {
            missing.push(("/etc/group", text));
        }
    }
    if let Some((place, _)) = missing.first() {
        let names: Vec<&str> = missing.iter().map(|(_, text)| *text).collect();
        let what = format!("there is no entry for {}", names.join(", "));
        report.error("user-missing", *place, what, &["sudo systemd-sysusers", RELOAD_BUS, RESTART]);
    }
    let caller = &surroundings.caller;
    let name = users.into_iter().find(|user| user.number == caller.user).map(|user| user.name);
    let name = name.unwrap_or_else(|| caller.user.to_string());
    // Whether the caller lacks the group, and whether only this session does.
    let lacks = |name_of_group: &str| {
        let group = groups.iter().find(|group| group.name == name_of_group)?;
        let has = caller.user == 0 || caller.groups.contains(&group.number);
        (!has).then(|| group.members.contains(&name))
    };
    match lacks("portraitd-clients") {
        Some(true) => {
            let what = format!("{name} is in the group portraitd-clients, but not yet in this session");
            let remedy = ["log in again, or for this shell: newgrp portraitd-clients"];
            report.warning("caller-login", "/etc/group", what, &remedy);
        }
        Some(false) => {
            let what = format!(
                "{name} is not in the group portraitd-clients, and may attach only while sitting at the screen"
            );
            let add = format!("sudo usermod --append --groups portraitd-clients {name}");
            report.warning("caller-group", "/etc/group", what, &[&add, "log in again"]);
        }
        None => {}
    }
    if let Some(camera) = surroundings.providers().next()
        && let Some(is_member) = lacks(PROVIDERS)
    {
        let add = format!("sudo usermod --append --groups {PROVIDERS} {name}");
        let (is, remedy): (_, &[&str]) = if is_member {
            ("is not yet in this session", &["log in again"])
        } else {
            ("is not", &[&add, "log in again"])
        };
        let what = format!("{name} {is} in the group {PROVIDERS}, and may not provide frames for {}", camera.name);
        report.note("caller-provider", "/etc/group", what, remedy);
    }
}

fn polkit(surroundings: &Surroundings, report: &mut Report) {
    const NAME: &str = "org.freedesktop.PolicyKit1";
    let root = surroundings.root();
    let service = format!("/usr/share/dbus-1/system-services/{NAME}.service");
    if !root.exists(&service) && !surroundings.bus.names.iter().any(|name| name == NAME) {
        let what = "polkit is not installed: only root may attach, whatever groups a user is in".to_owned();
        let remedy = ["sudo apt install polkitd    # or the package of your system"];
        return report.warning("no-polkit", service, what, &remedy);
    }
    for (file, lost) in [
        ("/usr/share/polkit-1/actions/org.portraitd.policy", "polkit knows no stream: only root may attach"),
        ("/usr/share/polkit-1/rules.d/50-portraitd.rules", "the group portraitd-clients gives no permission"),
    ] {
        // Rules of polkit may be in a folder that only polkit and root can read.
        let hidden = root.at(file).symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
        if !root.exists(file) && !hidden {
            report.error("polkit-actions", file, format!("the file is missing: {lost}"), &[REINSTALL]);
        }
    }
}
