//! What is kept and how, what a server that fails is said to do, and when a certificate's issuer wants it renewed.

use std::path::PathBuf;

use countersign_channel::identity::PrivateKey;
use instant_acme::HttpClient;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::custody::Custody;
use crate::custody::tests::config;
use crate::report::Report;

async fn custody(folder: &TempDir) -> Custody {
    Custody::open(&config(folder), Timestamp::now())
        .await
        .unwrap()
}

/// A key and a certificate for a name, in PEM, as an authority issues them.
fn issued(name: &str) -> String {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let issuer = rcgen::CertifiedIssuer::self_signed(
        rcgen::CertificateParams::default(),
        rcgen::KeyPair::generate().unwrap(),
    );
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer.unwrap()).unwrap();
    format!("{}{}", key.serialize_pem(), certificate.pem())
}

#[tokio::test]
async fn a_certificate_is_kept_over_a_restart_and_its_key_is_nowhere_to_be_read() {
    let folder = TempDir::new().unwrap();
    let before = custody(&folder).await;
    let pem = issued("web.test");
    let kept = before.acme.vault.keep("web.test", &pem, Timestamp::now());
    let kept = kept.await.unwrap();
    before.close().await.unwrap();
    drop(before);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let key = pem.lines().nth(1).unwrap().as_bytes();
        assert!(!bytes.windows(key.len()).any(|found| found == key));
    }
    let after = custody(&folder).await;
    let found = after.acme.certificate("web.test", Profile::HybridV1);
    assert_eq!(found.unwrap().key_hash(), kept.key_hash());
    let high = after.acme.certificate("web.test", Profile::HybridHighV1);
    assert!(high.is_none(), "P-256 is not for this profile");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_kept() {
    let folder = TempDir::new().unwrap();
    let custody = custody(&folder).await;
    let pem = issued("other.test");
    let vault = &custody.acme.vault;
    let kept = vault.keep("web.test", &pem, Timestamp::now());
    assert_eq!(
        kept.await.unwrap_err().to_string(),
        "the ACME server's certificate is for other.test, and not for `web.test`"
    );
    assert!(
        custody
            .acme
            .certificate("web.test", Profile::HybridV1)
            .is_none()
    );
}

#[test]
fn a_key_is_p_256_unless_a_profile_allows_no_less_than_p_384() {
    let check = |profiles: &[Profile], expected| assert_eq!(algorithm(profiles), expected);
    check(&[Profile::HybridV1], KeyAlgorithm::EcdsaP256);
    check(&[Profile::FipsHybridV1], KeyAlgorithm::EcdsaP256);
    check(&[Profile::HybridHighV1], KeyAlgorithm::EcdsaP384);
    let both = [Profile::HybridV1, Profile::HybridHighV1];
    check(&both, KeyAlgorithm::EcdsaP384);
}

/// A server as `localhost` that answers each path as it is told, and the authority that vouches for it.
async fn server(answer: fn(port: u16, path: &str) -> String) -> (TempDir, u16) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = tls.accept(tcp).await else {
                continue;
            };
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            // A client that has seen enough hangs up.
            let _ = stream.write_all(answer(port, path).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (folder, port)
}

fn found(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nRetry-After: 3600\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// What comes of a request with these authorities.
async fn get(url: String, authorities: Option<PathBuf>) -> Result<(), AcmeError> {
    let client = http::Https::new(authorities.as_deref())?;
    let request = ::http::Request::get(url).body(Default::default()).unwrap();
    let answer = client.request(request).await;
    answer.map(|_| ()).map_err(AcmeError::from)
}

#[track_caller]
fn check_told(failed: Result<(), AcmeError>, message: &str, hint: &str) {
    let error = failed.unwrap_err();
    let (told, advised) = (error.to_string(), error.hint().unwrap_or_default());
    assert!(
        told.contains(message) && advised.contains(hint),
        "{told}: {advised}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_told_with_what_to_do() {
    let (folder, port) = server(|_, _| found(&"x".repeat(2 << 20))).await;
    let (other, _) = server(|_, _| found("")).await;
    let ca = |folder: &TempDir| Some(folder.path().join("ca.pem"));
    let url = format!("https://localhost:{port}/dir");
    check_told(
        get(url.clone(), ca(&other)).await,
        "TLS with the ACME server",
        "acme.ca",
    );
    check_told(get(url.clone(), ca(&folder)).await, "it is longer than", "");
    check_told(
        get(url.replace("https", "http"), ca(&folder)).await,
        "no https URL",
        "",
    );
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let closed = nobody.local_addr().unwrap().port();
    drop(nobody);
    let closed = format!("https://localhost:{closed}/");
    check_told(
        get(closed, ca(&folder)).await,
        "does not accept",
        "acme.directory",
    );
    let missing = Some(folder.path().join("missing.pem"));
    check_told(
        get(url, missing).await,
        "cannot read authorities",
        "readable PEM",
    );
}

/// RFC 9773: a window in the past, since the certificate is about to be revoked.
fn renewal_server(port: u16, path: &str) -> String {
    let root = format!("https://localhost:{port}");
    match path {
        "/dir" => found(
            &json!({
                "newNonce": format!("{root}/nonce"),
                "newAccount": format!("{root}/account"),
                "newOrder": format!("{root}/order"),
                "renewalInfo": format!("{root}/renewal"),
            })
            .to_string(),
        ),
        path if path.starts_with("/renewal/") && path.contains('.') => found(
            &json!({ "suggestedWindow": {
                "start": "2026-01-01T00:00:00Z",
                "end": "2026-01-02T00:00:00Z",
            }})
            .to_string(),
        ),
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
    }
}

#[tokio::test]
async fn a_certificate_is_due_when_its_issuer_says_so() {
    let (folder, port) = server(renewal_server).await;
    let custody = custody(&folder).await;
    let acme = &custody.acme;
    let acme_config = AcmeConfig {
        directory: format!("https://localhost:{port}/dir"),
        contact: Vec::new(),
        names: None,
        ca: Some(folder.path().join("ca.pem")),
        external_account: None,
    };
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let key = Base64UrlUnpadded::encode_string(&key.to_pkcs8_der().unwrap());
    let credentials =
        json!({ "id": "account", "key_pkcs8": key, "directory": acme_config.directory });
    let credentials = serde_json::from_value(credentials).unwrap();
    let now = Timestamp::now();
    let account = acme
        .vault
        .keep_account(&acme_config.directory, &credentials, now);
    account.await.unwrap();
    acme.vault
        .keep("web.test", &issued("web.test"), now)
        .await
        .unwrap();
    let wanted = Wanted::from([("web.test".to_owned(), vec![Profile::HybridV1])]);
    assert_eq!(acme.due(&wanted, now), None);
    acme.ask(&acme_config, &wanted).await;
    assert_eq!(acme.due(&wanted, now).as_deref(), Some("web.test"));
    let next = acme.course("web.test").next.unwrap().to_string();
    assert!(next.starts_with("2026-01-01"), "{next}");
}
