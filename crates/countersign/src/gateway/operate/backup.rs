//! Backups, made by the gateway since it alone may read its store.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jiff::Timestamp;

use super::Refused;
use crate::audit::Operator;
use crate::backup::{self, Passphrase};
use crate::gateway::Gateway;
use crate::operator::{BackupDone, BackupRequest};

pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Json(request): Json<BackupRequest>,
) -> Result<Json<BackupDone>, Refused> {
    let passphrase = Passphrase::read(&request.passphrase_file)
        .map_err(|error| Refused::reported("passphrase", error))?;
    backup::create(
        &gateway.custody,
        &request.file,
        passphrase,
        operator,
        Timestamp::now(),
    )
    .await
    .map(Json)
    .map_err(|error| Refused::reported("backup", error))
}
