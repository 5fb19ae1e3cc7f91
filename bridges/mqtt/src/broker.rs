//! The connection to the broker.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rumqttc::{AsyncClient, Event, Incoming, LastWill, MqttOptions, QoS, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;

use crate::config::{Certificates, Config};
use crate::topics::Topics;

/// The broker notices after half of this time more that the board is gone, and publishes the will.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The longest message from the broker, and the longest to it, in bytes.
const MAX_PACKET_BYTES: (usize, usize) = (16 << 10, 64 << 10);
/// Requests that wait for the connection.
const QUEUE: usize = 256;
/// Messages from the broker that wait to be handled. More are dropped.
const INCOMING: usize = 64;
/// The wait between two attempts to connect, at first and at most.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// What happens at the broker.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The broker has accepted the connection. It holds nothing of this session.
    Connected,
    /// The connection has ended, or there is none; once for each outage.
    Lost(String),
    /// A message.
    Message {
        topic: String,
        payload: Vec<u8>,
        /// It was stored at the broker before this connection.
        retained: bool,
    },
}

fn tls(certificates: &Certificates) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(pem) = &certificates.authority {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.context("ca_file: not PEM")?).context("ca_file")?;
        }
        if roots.is_empty() {
            bail!("ca_file: there is no certificate in it");
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            bail!("this system has no certificates of authorities: install ca-certificates, or set ca_file");
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match &certificates.own {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().context("client_cert")?;
            let key = PrivateKeyDer::from_pem_slice(key).context("client_key")?;
            builder.with_client_auth_cert(chain, key).context("client_cert and client_key")
        }
    }
}

/// A number from 0 to 1, another one each time: boards that lose their broker at the same time do
/// not come back at the same time.
fn random() -> f64 {
    // Every such state has keys of its own.
    let bits = RandomState::new().hash_one(Instant::now());
    // 53 bits fit.
    #[expect(clippy::cast_precision_loss, reason = "a random number")]
    let fraction = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

/// Starts to connect, on the tokio runtime of the caller, and connects again for as long as the
/// receiver exists.
///
/// # Errors
/// The certificates cannot be used.
pub(crate) fn connect(config: &Config) -> Result<(AsyncClient, mpsc::Receiver<Happened>)> {
    let mut options = MqttOptions::new(&config.client_id, &config.broker.host, config.broker.port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(MAX_PACKET_BYTES.0, MAX_PACKET_BYTES.1);
    options.set_last_will(LastWill::new(Topics::new(config).availability(), "offline", QoS::AtLeastOnce, true));
    if let Some((user, password)) = &config.login {
        options.set_credentials(user, password);
    }
    if config.broker.tls {
        options.set_transport(Transport::tls_with_config(tls(&config.certificates)?.into()));
    }
    let (client, events) = AsyncClient::new(options, QUEUE);
    let (sender, receiver) = mpsc::channel(INCOMING);
    tokio::spawn(poll(events, sender));
    Ok((client, receiver))
}

async fn poll(mut events: rumqttc::EventLoop, sender: mpsc::Sender<Happened>) {
    let (mut wait, mut lost) = (WAITS.0, false);
    loop {
        let happened = match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                (wait, lost) = (WAITS.0, false);
                Happened::Connected
            }
            Ok(Event::Incoming(Incoming::Publish(message))) => {
                let message = Happened::Message {
                    topic: message.topic,
                    payload: message.payload.to_vec(),
                    retained: message.retain,
                };
                // A flood from the broker is not queued without end.
                if matches!(sender.try_send(message), Err(mpsc::error::TrySendError::Closed(_))) {
                    return;
                }
                continue;
            }
            Ok(_) => continue,
            Err(rumqttc::ConnectionError::RequestsDone) => return,
            Err(error) => {
                // What was not sent is sent anew, from the state of that time.
                events.clean();
                events.pending.clear();
                if !std::mem::replace(&mut lost, true) && sender.send(Happened::Lost(explain(&error))).await.is_err() {
                    return;
                }
                tokio::time::sleep(wait.mul_f64(0.5 + random() / 2.0)).await;
                wait = (wait * 2).min(WAITS.1);
                continue;
            }
        };
        if sender.send(happened).await.is_err() {
            return;
        }
    }
}

/// An error of the connection, with what can be done about it.
fn explain(error: &rumqttc::ConnectionError) -> String {
    use rumqttc::ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    if matches!(error, rumqttc::ConnectionError::ConnectionRefused(BadUserNamePassword | NotAuthorized)) {
        return "the broker refuses the user or the password: see `user` and `password_file`".to_owned();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ() {
        let numbers: Vec<_> = (0..8).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)), "{numbers:?}");
        assert!(numbers.windows(2).any(|pair| pair[0].to_bits() != pair[1].to_bits()), "{numbers:?}");
    }

    #[test]
    fn certificates_that_are_none_are_refused_by_name() {
        let certificates = |authority: &[u8], own| Certificates { authority: Some(authority.to_vec()), own };
        let error = tls(&certificates(b"nothing", None)).expect_err("no certificate");
        assert!(error.to_string().contains("ca_file"), "{error:#}");
    }
}
