//! Where verifiers find the public keys of identity tokens: the gateway's own authority, the authority of each HTTP
//! service, and a file.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use jiff::Timestamp;

use super::error::GatewayError;
use super::live::LiveChannel;
use super::{Gateway, dispatch};
use crate::config::IdentityConfig;
use crate::identity::{PublishedKeys, Signing};

/// Whether a request asks for the keys.
pub(super) fn are_asked_for(request: &Parts) -> bool {
    request.method == Method::GET && request.uri.path() == PublishedKeys::PATH
}

/// Whether a request asks for the keys by the name of an HTTP service: the gateway answers there itself, since a service can
/// verify the certificate of its own public name, and seldom the gateway's.
pub(super) fn are_asked_of_a_service(
    gateway: &Gateway,
    channel: &LiveChannel,
    request: &Parts,
    host: &str,
) -> bool {
    let hosted = || dispatch::hosted(&gateway.running(), channel, host);
    are_asked_for(request) && hosted().is_ok_and(|service| service.http.is_some())
}

/// The keys: public, and the same for everyone.
pub(super) fn answer(gateway: &Gateway) -> Response<Bytes> {
    let keys = gateway.custody.identity.published(Timestamp::now());
    let mut response = Response::new(Bytes::from(keys.to_json()));
    let kept_for = format!("public, max-age={}", PublishedKeys::KEPT_FOR.as_secs());
    let kept_for = HeaderValue::from_str(&kept_for).expect("words and a number");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, kept_for);
    response
}

impl Gateway {
    /// Writes the keys of what signs to the file that a configuration names, unless it holds them.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn keep_keys_file(
        &self,
        config: &IdentityConfig,
        signing: &Signing,
    ) -> Result<(), GatewayError> {
        let Some(file) = &config.keys_file else {
            return Ok(());
        };
        let identity = &self.custody.identity;
        let keys = identity.published_with(signing, Timestamp::now());
        keep(file, &keys).map_err(|source| GatewayError::KeysFile {
            file: file.clone(),
            source,
        })
    }
}

/// Keeps the file as the keys are, and puts it back if it is gone.
pub(super) async fn follow(gateway: &Gateway) {
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    loop {
        looks.tick().await;
        let signing = gateway.custody.identity.signing();
        if let Err(error) = gateway.keep_keys_file(&gateway.running().config.identity, &signing) {
            tracing::error!(%error, "services may come to miss a key of identity tokens");
        }
    }
}

/// Readers find the whole file at any time: what is new is moved to its place.
fn keep(file: &Path, keys: &PublishedKeys) -> io::Result<()> {
    let text = format!("{}\n", keys.to_json());
    if std::fs::read(file).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut new = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    new.write_all(text.as_bytes())?;
    new.as_file()
        .set_permissions(Permissions::from_mode(PUBLIC))?;
    new.persist(file)?;
    Ok(())
}

/// For everyone to read.
const PUBLIC: u32 = 0o644;

/// A key is published a day before it signs.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
