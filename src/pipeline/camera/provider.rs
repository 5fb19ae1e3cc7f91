//! Frames from another program: taking an offer, and noticing its end.

use std::sync::{Arc, Mutex, PoisonError};

use portraitd_media::clock::monotonic_ns;
use portraitd_protocol::ServiceError;
use tracing::info;

use super::attachments::busy;
use super::{Inner, failed, invalid};
use crate::pipeline::blocking::{Worker, run_blocking};
use crate::publish::dbus::service::{Client, OfferRequest};
use crate::publish::{Amounts, watch_readable};
use crate::service::logging::Repeat;
use crate::service::panics::vital;
use crate::source::provider::{Desk, NAME, Offer, OfferedFrames, ProviderFds, buffer_bytes};

/// The beginnings and ends of offers are logged once in this time each, in nanoseconds: clients
/// cause them.
const LOG_NS: u64 = 1_000_000_000;

/// Where the frames of a camera are offered.
pub(super) struct Offers {
    desk: Arc<Desk>,
    begun: Mutex<Repeat>,
    ended: Mutex<Repeat>,
}

impl Offers {
    pub(super) const fn new(desk: Arc<Desk>) -> Self {
        let [begun, ended] = [Mutex::new(Repeat::new(LOG_NS)), Mutex::new(Repeat::new(LOG_NS))];
        Self { desk, begun, ended }
    }
}

fn repeats(of: &Mutex<Repeat>) -> Option<u64> {
    of.lock().unwrap_or_else(PoisonError::into_inner).check(monotonic_ns())
}

impl Inner {
    /// Takes an offer, and tries to open the camera with it if somebody looks.
    pub(super) async fn offer(self: &Arc<Self>, request: OfferRequest) -> Result<ProviderFds, ServiceError> {
        let OfferRequest { client, memory, frame_rate } = request;
        let Some(Offers { desk, begun, .. }) = &self.offers else {
            let text = format!("the device of camera {} is not `{NAME}` in the configuration", self.shared.name());
            return Err(ServiceError::NotSupported(text));
        };
        let taken = || {
            let owner = desk.owner().map_or_else(|| "another program".to_owned(), |owner| owner.to_string());
            ServiceError::Busy(format!("{owner} provides the frames of camera {}", self.shared.name()))
        };
        if !desk.is_free_for(&client) {
            return Err(taken());
        }
        // The first look at the memory may wait for a page.
        let opened = run_blocking(Worker::Rings, move || OfferedFrames::open(memory)).await?;
        let (frames, fds) = opened.map_err(|error| invalid(&error))?;
        let layout = *frames.layout();
        let amounts = Amounts::offer(buffer_bytes(&layout));
        let share = match self.budget.take_fairly(client.user, amounts).await {
            // Its last offer may be what there is no room beside.
            Err(_) if desk.withdraw(|_, owner| *owner == client) => self.budget.take_fairly(client.user, amounts).await,
            share => share,
        };
        let share = share.map_err(|error| busy(&error))?;
        // The client may keep the eventfd and the socket after the end of the offer.
        (0..2).for_each(|_| share.leave_residue());
        let end = frames.end().and_then(watch_readable).map_err(|error| failed(&error))?;
        let (id, inner) = (desk.next_id(), Arc::downgrade(self));
        let watch = self.runtime.spawn(vital("the end of a provider", async move {
            // An error is the end of the runtime.
            let _ = end.readable().await;
            if let Some(inner) = inner.upgrade() {
                inner.end_offer(|offer, _| offer == id);
            }
        }));
        let offer = Offer { id, client: client.clone(), frame_rate, frames, share, watch: watch.abort_handle() };
        desk.put(offer).map_err(|_| taken())?;
        if let Some(repeats) = repeats(begun) {
            info!(camera = self.shared.name(), provider = %client, size = %layout.size, format = %layout.format,
                repeats, "a program provides the frames");
        }
        self.shared.demand.retry_now();
        Ok(fds)
    }

    /// Ends the offer for which `which` holds, by its number and client.
    pub(super) fn end_offer(&self, which: impl FnOnce(u64, &Client) -> bool) {
        let Some(Offers { desk, ended, .. }) = &self.offers else { return };
        if desk.withdraw(which)
            && let Some(repeats) = repeats(ended)
        {
            info!(camera = self.shared.name(), repeats, "the program that provided the frames has ended");
        }
    }
}
