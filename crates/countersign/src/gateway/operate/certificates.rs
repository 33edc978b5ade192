//! What an operator does with certificates for agentless clients.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};

use super::Refused;
use crate::audit::{Event, Operator};
use crate::gateway::Gateway;
use crate::operator::CertificateRenewal;

/// Has the certificate for a name replaced now, such as when its authority is about to revoke it.
pub(super) async fn renew(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> Result<Json<CertificateRenewal>, Refused> {
    let wanted = gateway.running().certificates.wanted();
    if !gateway.custody.acme.renew(&name, &wanted) {
        let detail = format!("no certificate for `{name}` comes from an ACME server");
        let refused = Refused::not_found("unknown-certificate", detail);
        return Err(refused.with_hint("`countersign certificates list` shows every certificate"));
    }
    gateway
        .custody
        .audit
        .record(Event::ServerCertificateRenewalAsked {
            name: name.clone(),
            operator,
        });
    Ok(Json(CertificateRenewal { name }))
}
