//! The errors that the service names on the bus.

/// An error of `org.portraitd`, as it goes over the bus: `org.portraitd.Error.` and the variant's name. The service
/// returns it and clients get it back from every call of [`crate::proxy`].
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
