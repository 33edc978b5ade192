//! One certificate: order, proof, key, chain (RFC 8555 section 7.4).

use std::time::Duration;

use countersign_channel::identity::{CertificateRequest, KeyAlgorithm, PrivateKey};
use countersign_channel::server::{Challenges, OpenChallenge, RenewalId};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder,
    OrderStatus, RetryPolicy,
};
use rustls_pki_types::Der;
use zeroize::Zeroizing;

use super::error::AcmeError;

/// A certificate that is wanted.
pub(super) struct Order<'a> {
    pub(super) name: &'a str,
    pub(super) algorithm: KeyAlgorithm,
    /// The certificate that it takes over from, where the server wants to know (RFC 9773 section 5).
    pub(super) replaces: Option<&'a RenewalId>,
}

impl Order<'_> {
    /// Proves that the name leads here, and gives a fresh key and its chain, leaf first, in PEM.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, refuses, or does not find its answer.
    pub(super) async fn fill(
        self,
        account: &Account,
        challenges: &Challenges,
    ) -> Result<Zeroizing<String>, AcmeError> {
        let identifiers = [Identifier::Dns(self.name.to_owned())];
        let mut new = NewOrder::new(&identifiers);
        if let Some(replaces) = self.replaces {
            new = new.replaces(identifier(replaces));
        }
        let mut order = account.new_order(&new).await?;
        let open = prove(&mut order, self.name, challenges).await?;
        let ready = order.poll_ready(&POLLING).await;
        drop(open);
        if !matches!(ready, Ok(OrderStatus::Ready)) {
            return Err(unproven(&mut order, self.name, ready).await);
        }
        let key = PrivateKey::generate(self.algorithm)?;
        let request = CertificateRequest::write_for(&key, &[self.name.to_owned()])?;
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&POLLING).await?;
        Ok(Zeroizing::new(format!("{}{chain}", *key.to_pkcs8_pem()?)))
    }
}

/// What names a certificate to its issuer (RFC 9773 section 4.1).
pub(super) fn identifier(id: &RenewalId) -> CertificateIdentifier<'static> {
    let (key, serial) = (
        Der::from_slice(&id.authority_key),
        Der::from_slice(&id.serial),
    );
    CertificateIdentifier::new(key, serial).into_owned()
}

/// Answers every challenge of the order for as long as the result is held. A name that was proven lately takes none.
async fn prove(
    order: &mut instant_acme::Order,
    name: &str,
    challenges: &Challenges,
) -> Result<Vec<OpenChallenge>, AcmeError> {
    let mut open = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or_else(|| AcmeError::NoChallenge {
            name: name.to_owned(),
        })?;
        let digest = challenge.key_authorization().digest();
        let digest = digest.as_ref().try_into();
        open.push(challenges.open(name, digest.expect("a SHA-256 has 32 bytes"))?);
        challenge.set_ready().await?;
    }
    Ok(open)
}

/// Why the order did not become ready: the server says it with the challenge that failed.
async fn unproven(
    order: &mut instant_acme::Order,
    name: &str,
    ready: Result<OrderStatus, instant_acme::Error>,
) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let mut problems = state.challenges.iter().filter_map(|one| one.error.clone());
        if let Some(problem) = problems.next() {
            return AcmeError::Unproven {
                name: name.to_owned(),
                problem: Box::new(problem),
            };
        }
    }
    match ready {
        Err(error) => error.into(),
        Ok(_) => AcmeError::Invalid {
            name: name.to_owned(),
        },
    }
}

/// A server validates from several places and may take its time.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));
