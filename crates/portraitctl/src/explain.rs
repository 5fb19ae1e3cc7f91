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
            Some(error) if error.is_not_running() => {
                let Ok(bus) = bus.parse::<Bus>();
                format!("portraitd is not running on the {bus} (--bus names another)")
            }
            Some(ServiceError::Bus(zbus::Error::FDO(error))) => error.to_string(),
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
            "portraitd is not running on the session bus (--bus names another)"
        );
        assert_eq!(
            explain(&FeedError::Service(absent).into(), "session"),
            explain(&anyhow::anyhow!(ServiceError::from(zbus::fdo::Error::NameHasNoOwner(String::new()))), "session")
        );
        let denied = ServiceError::from(zbus::fdo::Error::AccessDenied("by the\npolicy".into()));
        assert!(explain(&denied.into(), "system").ends_with("AccessDenied: by the policy"));
        let busy = ServiceError::Busy("in use".into());
        assert_eq!(explain(&busy.into(), "system"), "org.portraitd.Error.Busy: in use");
    }
}
