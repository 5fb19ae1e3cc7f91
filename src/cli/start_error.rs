//! Reports why the service cannot start.

use portraitd::command_line::one_line;
use portraitd::publish::dbus::{Bus, refuse_calls};
use portraitd::service::notify;

/// Tells the service manager, and the clients on the bus that wait for the service, why it does not
/// start. If a call has started the service, the bus would otherwise let its client wait for 25 s.
pub(super) fn tell(bus: Option<&str>, error: &anyhow::Error) {
    if !notify::is_managed() {
        return;
    }
    let reason = one_line(error);
    let _ = notify::status(&reason);
    let Ok(bus) = bus.unwrap_or("system").parse::<Bus>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime
        && bus != Bus::None
    {
        runtime.block_on(refuse_calls(&bus, &reason));
    }
}
