//! The errors that the service returns over D-Bus.

/// An error of the service. On the bus its name is `org.portraitd.Error.` followed by the name of
/// the variant, and its message is the variant's text. Every method and property of the client
/// crate's proxies returns this type.
#[derive(Clone, Debug, PartialEq, zbus::DBusError)]
#[zbus(prefix = "org.portraitd.Error")]
#[non_exhaustive]
pub enum ServiceError {
    /// Any error that is not in the namespace `org.portraitd`: from the bus, the connection or a
    /// type check.
    #[zbus(error)]
    Bus(zbus::Error),
    /// The stream does not exist, or the configuration does not allow it.
    NoSuchStream(String),
    /// A limit is reached, or the resource is already in use.
    Busy(String),
    /// The value of an argument, option or property is invalid. The text names it and says which
    /// values are valid.
    InvalidArgument(String),
    /// The caller lacks the permission.
    NotAuthorized(String),
    /// The camera does not exist or its device is not connected.
    CameraAbsent(String),
    /// The service or this camera does not have the feature.
    NotSupported(String),
    /// The operation was attempted and failed.
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
    /// Whether the call failed because the service does not run: no process owns its name on the
    /// bus, and the bus cannot start one: the service is not installed, or not enabled.
    pub fn is_not_running(&self) -> bool {
        let Self::Bus(error) = self else { return false };
        match error {
            zbus::Error::FDO(error) => {
                matches!(**error, zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_))
            }
            zbus::Error::MethodError(name, ..) => matches!(
                name.as_str(),
                "org.freedesktop.DBus.Error.ServiceUnknown"
                    | "org.freedesktop.DBus.Error.NameHasNoOwner"
                    | "org.freedesktop.systemd1.NoSuchUnit"
                    | "org.freedesktop.systemd1.UnitMasked"
            ),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ERROR_PREFIX;
    use zbus::DBusError as _;

    #[test]
    fn a_service_that_is_not_there_is_told_from_one_that_refuses() {
        let absent = zbus::fdo::Error::ServiceUnknown("not activatable".into());
        assert!(ServiceError::from(absent).is_not_running());
        let other = zbus::fdo::Error::AccessDenied("no".into());
        assert!(!ServiceError::from(other).is_not_running());
        assert!(!ServiceError::CameraAbsent("unplugged".into()).is_not_running());
    }

    /// Released names, as literals: programs in other languages compare with them.
    #[test]
    fn released_error_names_stay() {
        let text = String::new;
        for (error, name) in [
            (ServiceError::NoSuchStream(text()), "org.portraitd.Error.NoSuchStream"),
            (ServiceError::Busy(text()), "org.portraitd.Error.Busy"),
            (ServiceError::InvalidArgument(text()), "org.portraitd.Error.InvalidArgument"),
            (ServiceError::NotAuthorized(text()), "org.portraitd.Error.NotAuthorized"),
            (ServiceError::CameraAbsent(text()), "org.portraitd.Error.CameraAbsent"),
            (ServiceError::NotSupported(text()), "org.portraitd.Error.NotSupported"),
            (ServiceError::Failed(text()), "org.portraitd.Error.Failed"),
        ] {
            assert_eq!(error.name().as_str(), name);
            assert!(name.starts_with(&format!("{ERROR_PREFIX}.")));
        }
    }
}
