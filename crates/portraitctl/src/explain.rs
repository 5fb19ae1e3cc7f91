//! Errors as one line of text.

use portraitd_client::ServiceError;
use portraitd_client::connect::Bus;
use portraitd_client::feed::FeedError;

/// Describes an error and its causes on one line. Each cause appears once. If the service does not
/// run, the text names `bus` instead of repeating the error of the bus.
pub(crate) fn explain(error: &anyhow::Error, bus: &str) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let service = cause.downcast_ref::<ServiceError>().or_else(|| match cause.downcast_ref::<FeedError>() {
            Some(FeedError::Service(error)) => Some(error),
            _ => None,
        });
        let words = match service {
            Some(error) if error.is_not_running() => not_running(bus),
            Some(ServiceError::Bus(zbus::Error::FDO(error))) => format!("{error}{}", advice(error)),
            Some(ServiceError::Bus(error)) => error.to_string(),
            _ => cause.to_string(),
        };
        // The text of some errors already ends with the text of their cause.
        if !text.ends_with(&words) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&words);
        }
        if service.is_some() {
            break;
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text if the service is not on the bus.
pub(crate) fn not_running(bus: &str) -> String {
    let Ok(bus) = bus.parse::<Bus>();
    let start = match bus {
        Bus::System => "; `systemctl start portraitd` starts it, `systemctl status portraitd` says why it does not run",
        Bus::Session => "; start it with `portraitd run --bus session`",
        _ => "",
    };
    format!("portraitd is not running on the {bus} (--bus names another){start}")
}

/// What helps against an error of the bus, as the end of its text.
fn advice(error: &zbus::fdo::Error) -> &'static str {
    match error {
        zbus::fdo::Error::AccessDenied(_) => {
            "; this needs root, or the group portraitd-control for settings and portraitd-clients for streams (a group \
             counts from the next login)"
        }
        zbus::fdo::Error::NoReply(_) | zbus::fdo::Error::Timeout(_) | zbus::fdo::Error::TimedOut(_) => {
            "; the service does not answer or does not start: `systemctl status portraitd` says why"
        }
        _ => "",
    }
}

/// Whether the error is that the reader of our output has ended, as in `portraitctl ... | head -1`.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_once_and_in_words() {
        let error = anyhow::anyhow!("no such file").context("connecting: no such file").context("so");
        assert_eq!(explain(&error, "system"), "so: connecting: no such file");
        let absent = ServiceError::from(zbus::fdo::Error::ServiceUnknown("not\nactivatable".into()));
        assert_eq!(
            explain(&absent.clone().into(), "session"),
            "portraitd is not running on the session bus (--bus names another); start it with `portraitd run --bus session`"
        );
        assert_eq!(
            explain(&FeedError::Service(absent).into(), "session"),
            explain(&anyhow::anyhow!(ServiceError::from(zbus::fdo::Error::NameHasNoOwner(String::new()))), "session")
        );
        let denied = ServiceError::from(zbus::fdo::Error::AccessDenied("by the\npolicy".into()));
        let denied = explain(&denied.into(), "system");
        assert!(denied.contains("AccessDenied: by the policy; this needs root, or the group"), "{denied}");
        let silent = ServiceError::from(zbus::fdo::Error::NoReply("none in 25 s".into()));
        assert!(explain(&silent.into(), "system").ends_with("`systemctl status portraitd` says why"));
        let busy = ServiceError::Busy("in use".into());
        assert_eq!(explain(&busy.into(), "system"), "org.portraitd.Error.Busy: in use");
    }
}
