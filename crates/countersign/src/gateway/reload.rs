//! Taking a new configuration while serving: all of it, or nothing.

use std::sync::Arc;

use countersign_channel::Acceptor;
use jiff::Timestamp;

use super::Gateway;
use super::error::GatewayError;
use super::listener;
use super::running::Running;
use crate::audit::Event;
use crate::config::{GatewayConfig, ListenerConfig};

impl Gateway {
    /// Reads the configuration again and puts it in force. On an error nothing has changed.
    ///
    /// # Errors
    ///
    /// The new configuration does not hold, or changes what takes a restart.
    pub(super) async fn reload(&self) -> Result<(), GatewayError> {
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(weakenings) => {
                for weakening in weakenings {
                    tracing::warn!(weakening, "the configuration weakens the gateway");
                }
                tracing::info!("the configuration was read again");
                self.custody.audit.record(Event::ConfigurationLoaded {
                    file: self.config_file.clone(),
                    weakenings: weakenings.clone(),
                });
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was not taken; the one before stays in force");
                self.custody.audit.record(Event::ConfigurationRefused {
                    file: self.config_file.clone(),
                    reason: error.to_string(),
                });
            }
        }
        outcome.map(|_| ())
    }

    async fn try_reload(&self) -> Result<Vec<String>, GatewayError> {
        let _one_at_a_time = self.changing.lock().await;
        let config = GatewayConfig::read(&self.config_file)?;
        let (running, snapshot) = (self.running(), self.custody.state.snapshot());
        running.config.check_reload(&config)?;
        let before = Some(running.services.as_ref());
        let next = Running::build(config, &snapshot, before, &self.metrics)?;
        // What reads files has come first: preparing may draw keys, and they stay if something fails after.
        let (identity, keys) = (&next.config.identity, &next.config.keys.identity);
        let changed = (running.config.keys.identity != *keys).then_some(keys.as_slice());
        let signing = self.custody.signing(identity.version, changed).await?;
        self.custody
            .prepare(&next.config.profiles(), &signing, Timestamp::now())
            .await?;
        self.keep_keys_file(identity, &signing)?;
        let prepare = |(one, certificates)| {
            listener::prepare(&next, one, certificates, &self.custody.authority)
        };
        let listeners = next.config.listeners.iter();
        let prepared = listeners
            .zip(next.certificates.in_use(Some(&self.custody.acme)))
            .map(prepare);
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        // From here on nothing can fail.
        let weakenings = next.config.weakenings();
        self.log.change(&next.config.log);
        self.custody
            .audit
            .change(next.config.audit.when_unwritable());
        next.services.watch();
        self.custody.identity.sign_with(signing);
        self.running.store(Arc::new(next));
        self.show_certificates();
        for (acceptor, settings) in self.acceptors.iter().zip(prepared) {
            acceptor.change(settings);
        }
        self.decide_again();
        Ok(weakenings)
    }

    /// Puts the grants of the newest snapshot in force.
    ///
    /// # Errors
    ///
    /// The policy cannot be built with them; the ones before stay.
    pub(super) async fn take_grants(&self) -> Result<(), GatewayError> {
        let _one_at_a_time = self.changing.lock().await;
        let next = self
            .running()
            .with_grants_of(&self.custody.state.snapshot())?;
        self.running.store(Arc::new(next));
        Ok(())
    }

    /// Puts the exceptions of the newest snapshot in force, for the handshakes to come and for the channels that stand.
    ///
    /// # Errors
    ///
    /// A listener cannot take them; it keeps those of before, and the others do not.
    pub(super) async fn take_exceptions(&self) -> Result<(), GatewayError> {
        let _one_at_a_time = self.changing.lock().await;
        let running = self.running();
        let next = running.with_exceptions_of(&self.custody.state.snapshot());
        if next.exceptions == running.exceptions {
            return Ok(());
        }
        let listeners = self.acceptors.iter().zip(&next.config.listeners);
        let except = |(acceptor, one): (&Arc<Acceptor>, &ListenerConfig)| {
            acceptor
                .except(next.exceptions.of_listener(&one.name, Timestamp::now()))
                .map_err(|error| listener::refused(one, &error))
        };
        let taken: Vec<_> = listeners.map(except).collect();
        self.running.store(Arc::new(next));
        self.decide_again();
        taken.into_iter().collect()
    }

    /// Gives every listener the gateway's newest certificate and bundle.
    ///
    /// # Errors
    ///
    /// The first certificate that does not fit its listener; that listener keeps the one before, and the others do not.
    pub(super) async fn renew_credentials(&self) -> Result<(), GatewayError> {
        let _one_at_a_time = self.changing.lock().await;
        let running = self.running();
        let renew = |(acceptor, one): (&Arc<Acceptor>, &ListenerConfig)| {
            let credentials = listener::credentials(&self.custody.authority, one)?;
            acceptor
                .renew(credentials)
                .map_err(|error| listener::refused(one, &error))
        };
        let listeners = self.acceptors.iter().zip(&running.config.listeners);
        let renewed: Vec<_> = listeners.map(renew).collect();
        renewed.into_iter().collect()
    }
}
