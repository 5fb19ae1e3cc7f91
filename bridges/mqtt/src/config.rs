//! The configuration file of the bridge.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use portraitd_client::connect::Bus;
use serde::Deserialize;

use crate::command::CommandKind;

/// The longest file that is read: settings, a password or a certificate, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// The longest topic before the camera's name, in bytes.
const MAX_TOPIC_BYTES: usize = 200;

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: cannot be read: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{}: is larger than {} KiB", path.display(), MAX_FILE_BYTES >> 10)]
    Size { path: PathBuf },
    #[error("{}: {error}", path.display())]
    Syntax { path: PathBuf, error: toml::de::Error },
    #[error("{key}: {reason}")]
    Value { key: &'static str, reason: String },
    #[error("{}: every user can read the password: `chmod o-r {}`", path.display(), path.display())]
    Password { path: PathBuf },
}

fn value(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, reason: reason.into() }
}

/// Reads a file whole, if it is not too long.
fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |error| ConfigError::Read { path: path.into(), error };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(ConfigError::Size { path: path.into() }) } else { Ok(bytes) }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |_| ConfigError::Read { path: path.into(), error: std::io::ErrorKind::InvalidData.into() };
    String::from_utf8(read(path)?).map_err(failed)
}

/// When the bridge has the camera looked through, to know whether somebody is present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Presence {
    /// Only while another client has the camera on.
    #[default]
    WhenUsed,
    /// Always: the bridge attaches to a small mask, so the camera is on.
    Always,
}

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Address {
    type Err = ConfigError;

    /// Reads `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`; an IPv6 address has brackets.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let form = || value("broker", format!("{text:?} is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"));
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let (tls, default) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(form()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(value("broker", "user and password have keys of their own: `user` and `password_file`"));
        }
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some(""))),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, Some("")),
            },
        };
        let port = match port.ok_or_else(form)? {
            "" => default,
            port => port.parse().ok().filter(|port| *port > 0).ok_or_else(form)?,
        };
        if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:_".contains(c)) {
            return Err(form());
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    broker: String,
    user: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    client_id: Option<String>,
    topic: Option<String>,
    bus: Option<String>,
    #[serde(default)]
    presence: Presence,
    #[serde(default)]
    boxes: bool,
    interval_s: Option<u64>,
    #[serde(default)]
    commands: Vec<String>,
    home_assistant: Option<String>,
}

/// The certificates for TLS, in PEM.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificates {
    /// Of the authority that signed the broker's certificate. `None`: those of the system.
    pub(crate) authority: Option<Vec<u8>>,
    /// Of this board, and its key.
    pub(crate) own: Option<(Vec<u8>, Vec<u8>)>,
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) broker: Address,
    pub(crate) login: Option<(String, String)>,
    pub(crate) certificates: Certificates,
    pub(crate) client_id: String,
    /// All topics start with it, without a slash at the end.
    pub(crate) topic: String,
    pub(crate) bus: Bus,
    pub(crate) presence: Presence,
    /// Whether the places of people are published, and not only their number.
    pub(crate) boxes: bool,
    /// The interval in which what nobody announces is read.
    pub(crate) interval: Duration,
    /// The commands that are accepted.
    pub(crate) commands: Vec<CommandKind>,
    /// The first level of Home Assistant's discovery topics.
    pub(crate) home_assistant: Option<String>,
}

fn check_topic(key: &'static str, topic: &str) -> Result<(), ConfigError> {
    let bad = topic.is_empty()
        || topic.len() > MAX_TOPIC_BYTES
        || topic.starts_with(['/', '$'])
        || topic.ends_with('/')
        || topic.chars().any(|c| c.is_control() || c == '+' || c == '#');
    if bad {
        let reason = format!(
            "a topic has 1 to {MAX_TOPIC_BYTES} bytes without +, # and control characters, starts with neither / nor $ \
             and does not end with /"
        );
        return Err(value(key, reason));
    }
    Ok(())
}

/// The name of this machine, without its domain.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let short = name.split('.').next().unwrap_or_default();
    let clean: String = short.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').collect();
    if clean.is_empty() { "board".to_owned() } else { clean }
}

fn password(path: &Path) -> Result<String, ConfigError> {
    let about = std::fs::metadata(path).map_err(|error| ConfigError::Read { path: path.into(), error })?;
    if about.mode() & 0o004 != 0 {
        return Err(ConfigError::Password { path: path.into() });
    }
    let text = read_text(path)?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

impl Config {
    /// Reads and checks a file, and the files that it names.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path)?;
        let text: Text = toml::from_str(&text).map_err(|error| ConfigError::Syntax { path: path.into(), error })?;
        Self::check(text)
    }

    fn check(text: Text) -> Result<Self, ConfigError> {
        let broker: Address = text.broker.parse()?;
        let login = match (text.user, text.password_file) {
            (Some(user), Some(file)) => Some((user, password(&file)?)),
            (Some(user), None) => Some((user, String::new())),
            (None, Some(_)) => return Err(value("password_file", "it needs `user`")),
            (None, None) => None,
        };
        let own = match (text.client_cert, text.client_key) {
            (Some(certificate), Some(key)) => Some((read(&certificate)?, read(&key)?)),
            (None, None) => None,
            _ => return Err(value("client_cert", "it and `client_key` need each other")),
        };
        let certificates = Certificates { authority: text.ca_file.as_deref().map(read).transpose()?, own };
        if !broker.tls && (certificates.authority.is_some() || certificates.own.is_some()) {
            return Err(value("broker", "certificates are only for mqtts://"));
        }
        let topic = text.topic.unwrap_or_else(|| format!("portraitd/{}", host_name()));
        check_topic("topic", &topic)?;
        if let Some(prefix) = &text.home_assistant {
            check_topic("home_assistant", prefix)?;
        }
        let interval_s = text.interval_s.unwrap_or(30);
        if !(5..=3600).contains(&interval_s) {
            return Err(value("interval_s", "5 to 3600"));
        }
        let commands = text.commands.iter().map(|name| {
            CommandKind::from_name(name).ok_or_else(|| {
                value(
                    "commands",
                    format!("{name:?} is none of {}", CommandKind::names().collect::<Vec<_>>().join(", ")),
                )
            })
        });
        let Ok(bus) = text.bus.as_deref().unwrap_or("system").parse::<Bus>();
        Ok(Self {
            broker,
            login,
            certificates,
            client_id: text.client_id.unwrap_or_else(|| format!("portraitd-{}", host_name())),
            topic,
            bus,
            presence: text.presence,
            boxes: text.boxes,
            interval: Duration::from_secs(interval_s),
            commands: commands.collect::<Result<_, _>>()?,
            home_assistant: text.home_assistant,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The configuration of a text.
    pub(crate) fn config(text: &str) -> Result<Config, ConfigError> {
        let parsed = toml::from_str(text).map_err(|error| ConfigError::Syntax { path: "mqtt.toml".into(), error })?;
        Config::check(parsed)
    }

    #[test]
    fn addresses() {
        let address = |tls, host: &str, port| Address { tls, host: host.to_owned(), port };
        for (text, expected) in [
            ("mqtt://broker", address(false, "broker", 1883)),
            ("mqtts://broker.example", address(true, "broker.example", 8883)),
            ("mqtt://10.0.0.1:1884/", address(false, "10.0.0.1", 1884)),
            ("mqtts://[fe80::1]:1", address(true, "fe80::1", 1)),
            ("mqtt://[::1]", address(false, "::1", 1883)),
        ] {
            assert_eq!(text.parse::<Address>().expect(text), expected);
        }
        for text in ["broker", "http://broker", "mqtt://", "mqtt://a:0", "mqtt://a:b", "mqtt://a b", "mqtt://[::1]x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let error = "mqtt://me:secret@broker".parse::<Address>().expect_err("a password");
        assert!(error.to_string().contains("password_file") && !error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "broker"),
            ("broker = \"mqtt://a\"\nbrokre = 1", "brokre"),
            ("broker = \"mqtt://a\"\ntopic = \"a/#\"", "topic: "),
            ("broker = \"mqtt://a\"\ntopic = \"$SYS/a\"", "topic: "),
            ("broker = \"mqtt://a\"\nhome_assistant = \"\"", "home_assistant: "),
            ("broker = \"mqtt://a\"\ninterval_s = 1", "interval_s: "),
            ("broker = \"mqtt://a\"\ncommands = [\"format\"]", "\"format\" is none of reframe"),
            ("broker = \"mqtt://a\"\npresence = \"never\"", "always"),
            ("broker = \"mqtt://a\"\nclient_key = \"/x\"", "client_cert: "),
            ("broker = \"mqtt://a\"\nca_file = \"/nonexistent\"", "/nonexistent"),
            ("broker = \"mqtt://a\"\npassword_file = \"/x\"", "password_file: "),
        ] {
            let error = config(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_a_secret_and_ends_before_the_end_of_its_line() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("password");
        std::fs::write(&path, " a b \n").expect("written");
        let text = format!("broker = \"mqtt://a\"\nuser = \"me\"\npassword_file = {path:?}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("set");
        assert!(config(&text).expect_err("readable").to_string().contains("chmod o-r"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("set");
        assert_eq!(config(&text).expect("read").login, Some(("me".to_owned(), " a b ".to_owned())));
        let long = vec![b'x'; usize::try_from(MAX_FILE_BYTES).expect("small") + 1];
        std::fs::write(&path, long).expect("written");
        assert!(matches!(config(&text), Err(ConfigError::Size { .. })));
    }
}
