//! The errors that the service names on the bus.

/// An error of `org.portraitd`, as it goes over the bus: `org.portraitd.Error.` and the variant's name. The service
/// returns it and clients get it back from every call of the client crate's proxies.
#[derive(Clone, Debug, PartialEq, zbus::DBusError)]
#[zbus(prefix = "org.portraitd.Error")]
pub enum ServiceError {
    /// Something else went wrong: the bus itself, or an error that is not of `org.portraitd`.
    #[zbus(error)]
    Bus(zbus::Error),
    /// There is no such stream, or the configuration does not allow it.
    NoSuchStream(String),
    /// Something is being used or done already.
    Busy(String),
    /// An argument, option or property has a value that cannot be; the text names it.
    InvalidArgument(String),
    /// The caller may not.
    NotAuthorized(String),
    /// The camera is not there.
    CameraAbsent(String),
    /// The service or this camera cannot do that.
    NotSupported(String),
    /// It was tried and did not work.
    Failed(String),
}

impl From<zbus::fdo::Error> for ServiceError {
    fn from(error: zbus::fdo::Error) -> Self {
        match error {
            zbus::fdo::Error::ZBus(error) => error.into(),
            error => zbus::Error::FDO(Box::new(error)).into(),
        }
    }
}

impl ServiceError {
    /// Whether nobody has the service's name on the bus, and nobody can be started for it.
    pub fn is_not_running(&self) -> bool {
        let Self::Bus(error) = self else { return false };
        match error {
            zbus::Error::FDO(error) => {
                matches!(**error, zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_))
            }
            zbus::Error::MethodError(name, ..) => matches!(
                name.as_str(),
                "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner"
            ),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_not_there_is_told_from_one_that_refuses() {
        let absent = zbus::fdo::Error::ServiceUnknown("not activatable".into());
        assert!(ServiceError::from(absent).is_not_running());
        let other = zbus::fdo::Error::AccessDenied("no".into());
        assert!(!ServiceError::from(other).is_not_running());
        assert!(!ServiceError::CameraAbsent("unplugged".into()).is_not_running());
    }
}
