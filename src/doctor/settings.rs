//! Findings about the configuration and what it names.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::bus::Answer;
use super::root::Root;
use super::{RESTART, Report, Surroundings, shown};

/// The metrics are written every 5 s.
const METRICS_OLD_S: u64 = 60;

pub(super) fn examine(surroundings: &Surroundings, report: &mut Report) {
    const CHECK: &str = "portraitd check-config";
    let config = match &surroundings.settings {
        Ok(config) => config,
        Err(error) => {
            // The error begins with file, line and column.
            let (place, _) = error.split_once(": ").unwrap_or(("configuration", error));
            let remedy = [CHECK, RESTART];
            return report.error(
                "config-refused",
                place.to_owned(),
                format!("the configuration is refused: {error}"),
                &remedy,
            );
        }
    };
    for warning in config.warnings.iter().chain(&config.hidden) {
        report.warning("config-warning", warning.place.to_string(), warning.message.clone(), &[CHECK]);
    }
    for error in &surroundings.refused_models {
        let what = format!("the model cannot be used: {error}");
        report.error("model-refused", shown(&config.models_dir), what, &["portraitd models", CHECK]);
    }
    if let Some(path) = &config.metrics_file {
        metrics(surroundings, path, report);
    }
}

fn metrics(surroundings: &Surroundings, path: &Path, report: &mut Report) {
    let root = surroundings.root();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let folder_text = shown(folder);
    let refused = if !surroundings.has_unit() {
        None
    } else if !root.at(folder).is_dir() {
        Some("does not exist".to_owned())
    } else if !may_write(root, folder) {
        Some("cannot be written by the user portraitd".to_owned())
    } else if !is_writable_in_unit(root, folder) {
        Some("is not in ReadWritePaths= of the unit".to_owned())
    } else {
        None
    };
    if let Some(refused) = refused {
        let steps = [
            format!("sudo install -d -o portraitd -g portraitd -m 755 {folder_text}"),
            format!("sudo systemctl edit portraitd    # [Service] ReadWritePaths={folder_text}"),
            RESTART.to_owned(),
        ];
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let what = format!("the folder of `metrics_file` {refused}: no metrics are written");
        return report.warning("metrics-folder", folder_text, what, &steps);
    }
    if !matches!(surroundings.bus.answer, Answer::Cameras(_)) {
        return;
    }
    let changed_s = root.at(path).metadata().ok().and_then(|metadata| u64::try_from(metadata.mtime()).ok());
    if changed_s.is_none_or(|changed_s| surroundings.now_s.saturating_sub(changed_s) > METRICS_OLD_S) {
        let what = "the service runs, and the metrics are missing or older than a minute".to_owned();
        let remedy = ["journalctl -u portraitd -g metrics -n 5", RESTART];
        report.warning("metrics-old", shown(path), what, &remedy);
    }
}

/// Whether the mode of a folder lets the service's user write to it.
fn may_write(root: Root<'_>, folder: &Path) -> bool {
    let Ok(metadata) = root.at(folder).metadata() else { return false };
    let (mode, user) = (metadata.mode(), root.users().into_iter().find(|user| user.name == "portraitd"));
    let group = root.groups().into_iter().find(|group| group.name == "portraitd");
    let is_owner = user.is_some_and(|user| user.number == metadata.uid());
    let is_group = group.is_some_and(|group| group.number == metadata.gid());
    (is_owner && mode & 0o200 != 0) || (is_group && mode & 0o020 != 0) || mode & 0o002 != 0
}

/// Whether the sandbox of the unit, drop-ins included, leaves a folder writable.
fn is_writable_in_unit(root: Root<'_>, folder: &Path) -> bool {
    const DROP_INS: &str = "/etc/systemd/system/portraitd.service.d";
    let mut files: Vec<String> =
        super::installed::UNIT_FOLDERS.iter().map(|f| format!("{f}/portraitd.service")).collect();
    files.extend(root.names(DROP_INS, 64).iter().map(|name| format!("{DROP_INS}/{name}")));
    let mut writable = vec!["/run/portraitd".to_owned()];
    for text in files.iter().filter_map(|file| root.text(file)) {
        let paths = text.lines().filter_map(|line| line.trim().strip_prefix("ReadWritePaths="));
        writable
            .extend(paths.flat_map(str::split_whitespace).map(|path| path.trim_start_matches(['-', '+']).to_owned()));
        for (key, parent) in
            [("StateDirectory=", "/var/lib"), ("LogsDirectory=", "/var/log"), ("CacheDirectory=", "/var/cache")]
        {
            let names = text.lines().filter_map(|line| line.trim().strip_prefix(key)).flat_map(str::split_whitespace);
            writable.extend(names.map(|name| format!("{parent}/{name}")));
        }
    }
    writable.iter().any(|path| folder.starts_with(path))
}
