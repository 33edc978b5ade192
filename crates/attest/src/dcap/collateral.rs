//! What Intel says of its platforms: certificates, revocations, security versions. It comes with dates.

use dcap_qvl::quote::Quote;
use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;

use super::{QuoteError, refusal};
use crate::chain::{self, ChainError, RootKeys};

/// Intel's collateral for one platform: the TCB info, the identity of the quoting enclave, two revocation lists and the chains of
/// their signers.
///
/// ```
/// use countersign_attest::dcap::{Collateral, QuoteError};
///
/// let refused = Collateral::from_json(b"{}").unwrap_err();
/// assert_eq!(refused, QuoteError::Collateral { part: "document" });
/// ```
#[derive(Clone, Debug)]
pub struct Collateral {
    pub(super) parts: QuoteCollateralV3,
    pub(super) tcb_info: TcbInfo,
    qe_identity: QeIdentity,
    revocations: [(&'static str, CertificateList); 2],
    tcb_info_chain: Vec<CertificateDer<'static>>,
    qe_identity_chain: Vec<CertificateDer<'static>>,
    /// Where the quote does not hold it.
    platform_chain: Option<Vec<CertificateDer<'static>>>,
}

impl Collateral {
    /// From one JSON document with the fields of Intel's `sgx_ql_qve_collateral_t`: `tcb_info` and `qe_identity` as the very text that
    /// was signed, chains in PEM, signatures and revocation lists in hexadecimal.
    ///
    /// # Errors
    ///
    /// [`QuoteError`] when it is longer than any collateral or a part of it cannot be read.
    pub fn from_json(json: &[u8]) -> Result<Self, QuoteError> {
        if json.len() > MAX_LEN {
            return Err(QuoteError::TooLong {
                what: "collateral",
                found: json.len(),
                limit: MAX_LEN,
            });
        }
        let part = |part| move |_| QuoteError::Collateral { part };
        let parts: QuoteCollateralV3 = serde_json::from_slice(json)
            .map_err(|_| QuoteError::Collateral { part: "document" })?;
        let tcb_info = serde_json::from_str(&parts.tcb_info).map_err(part("TCB info"))?;
        let qe_identity = serde_json::from_str(&parts.qe_identity).map_err(part("QE identity"))?;
        let revocations = [
            ("root's revocation list", revocations(&parts.root_ca_crl)?),
            ("PCK revocation list", revocations(&parts.pck_crl)?),
        ];
        let chain = |pem: &String| chain::from_pem(pem.as_bytes());
        Ok(Self {
            tcb_info_chain: chain(&parts.tcb_info_issuer_chain)?,
            qe_identity_chain: chain(&parts.qe_identity_issuer_chain)?,
            platform_chain: parts
                .pck_certificate_chain
                .as_ref()
                .map(chain)
                .transpose()?,
            tcb_info,
            qe_identity,
            revocations,
            parts,
        })
    }

    /// Whether it is of the quote's kind of platform and of its technology, so that one of several can be chosen.
    pub fn covers(&self, quote: &super::Quote) -> bool {
        refusal::covers(&quote.parts, quote.technology(), self).is_ok()
    }

    /// The root that the TCB info's chain ends in, and whose it is.
    pub(super) fn root<'r>(&self, roots: &'r RootKeys) -> Result<(&'r str, &[u8]), QuoteError> {
        let root = self.tcb_info_chain.last();
        let root = root.ok_or(QuoteError::Collateral {
            part: "TCB info's chain",
        })?;
        Ok((roots.vendor(root)?, root))
    }

    /// Everything that has dates is valid now. It is not known yet who says so: this tells early and exactly what has expired.
    pub(super) fn check_dates(&self, now: Timestamp) -> Result<(), QuoteError> {
        let (info, identity) = (&self.tcb_info, &self.qe_identity);
        check(
            "TCB info",
            date(&info.issue_date)?,
            date(&info.next_update)?,
            now,
        )?;
        let (issued, next) = (date(&identity.issue_date)?, date(&identity.next_update)?);
        check("QE identity", issued, next, now)?;
        for (what, list) in &self.revocations {
            let issued = chain::timestamp(list.tbs_cert_list.this_update);
            let next = list
                .tbs_cert_list
                .next_update
                .map_or(Timestamp::MAX, chain::timestamp);
            check(what, issued, next, now)?;
        }
        for chain in [&self.tcb_info_chain, &self.qe_identity_chain] {
            chain::validity(&chain::read(chain)?, now)?;
        }
        Ok(())
    }

    /// The certificates of the platform's key: from the quote, or from here where the quote only names it.
    pub(super) fn platform_chain(
        &self,
        quote: &Quote,
    ) -> Result<Vec<CertificateDer<'static>>, ChainError> {
        match (&self.platform_chain, quote.raw_cert_chain()) {
            (Some(chain), _) => Ok(chain.clone()),
            (None, Ok(pem)) => chain::from_pem(pem),
            (None, Err(_)) => Err(ChainError::Unreadable),
        }
    }
}

fn revocations(der: &[u8]) -> Result<CertificateList, QuoteError> {
    CertificateList::from_der(der).map_err(|_| QuoteError::Collateral {
        part: "revocation list",
    })
}

fn date(text: &str) -> Result<Timestamp, QuoteError> {
    text.parse()
        .map_err(|_| QuoteError::Collateral { part: "dates" })
}

fn check(
    what: &'static str,
    issued: Timestamp,
    next_update: Timestamp,
    now: Timestamp,
) -> Result<(), QuoteError> {
    if now < issued {
        return Err(QuoteError::NotYetIssued { what, issued, now });
    }
    if now > next_update {
        return Err(QuoteError::Outdated {
            what,
            next_update,
            now,
        });
    }
    Ok(())
}

/// Genuine ones have 14 to 19 KB; a revocation list grows by 37 bytes for each of Intel's certificates that is revoked.
const MAX_LEN: usize = 1 << 20;
