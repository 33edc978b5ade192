//! What an ACME server sees that checks a name (RFC 8737), and what nobody else gets by asking in its way.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::UnixTime;
use rustls::{DigitallySignedStruct, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;

use super::*;
use crate::server::Challenges;

/// An ACME server's check: it looks at the certificate, whoever issued it.
#[derive(Debug)]
struct Looks;

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn checking(group: &'static dyn SupportedKxGroup, protocols: &[&str]) -> Agentless {
    let provider = CryptoProvider {
        kx_groups: vec![group],
        ..default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looks))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| (*name).into()).collect();
    Agentless {
        connector: TlsConnector::from(Arc::new(config)),
    }
}

/// A strict listener, which admits nobody without an agent, and a challenge for a name of its.
fn strict(challenges: &Challenges) -> Acceptor {
    let world = World::new(Profile::Cnsa2V1);
    let listener = world.listener(Stage::Strict);
    world.acceptor(listener).answering(challenges.clone())
}

#[tokio::test]
async fn an_acme_server_sees_its_answer_and_gets_no_channel() {
    let challenges = Challenges::default();
    let acceptor = strict(&challenges);
    let _open = challenges.open(SERVICE, &[7; 32]).unwrap();
    for group in [kx_group::X25519, kx_group::X25519MLKEM768] {
        let client = checking(group, &["acme-tls/1"]);
        let (accepted, connected) = agentless_handshake(&acceptor, &client, SERVICE).await;
        assert_eq!(refusal(accepted), Refusal::AcmeChallenge);
        let mut stream = connected.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        check_certificate(&shown, &[7; 32]);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "it is closed");
    }
}

/// RFC 8737 section 3: the name and nothing else, and the digest in a critical extension.
fn check_certificate(der: &[u8], digest: &[u8; 32]) {
    let certificate = Certificate::from_der(der).unwrap();
    let certificate = certificate.tbs_certificate();
    let (_, names) = certificate
        .get_extension::<SubjectAltName>()
        .unwrap()
        .unwrap();
    assert_eq!(names.0.len(), 1);
    let mut extensions = certificate.extensions().unwrap().iter();
    let answer = extensions.find(|one| one.extn_id.to_string() == "1.3.6.1.5.5.7.1.31");
    let answer = answer.unwrap();
    assert!(answer.critical);
    let expected: Vec<u8> = [0x04, 0x20].into_iter().chain(*digest).collect();
    assert_eq!(answer.extn_value.as_bytes(), expected);
}

/// A client that is treated as if there were no challenge: as strict as the listener is.
async fn check_stranger(protocols: &[&str], sni: &'static str) {
    let challenges = Challenges::default();
    let acceptor = strict(&challenges);
    let _open = challenges.open(SERVICE, &[7; 32]).unwrap();
    let client = checking(kx_group::X25519, protocols);
    let (accepted, _) = agentless_handshake(&acceptor, &client, sni).await;
    assert_eq!(refusal(accepted), Refusal::ClassicalKeyExchange);
}

#[tokio::test]
async fn nobody_gets_around_the_profile_by_asking_for_the_challenges_protocol_too() {
    check_stranger(&["acme-tls/1", "h2"], SERVICE).await;
    check_stranger(&["h2", "acme-tls/1"], SERVICE).await;
    check_stranger(&["h2"], SERVICE).await;
    check_stranger(&[], SERVICE).await;
    check_stranger(&["acme-tls/1"], "other.example.org").await;
    check_stranger(&["acme-tls/1"], "gateway.example.org").await;
}

#[tokio::test]
async fn a_challenge_is_answered_only_while_it_is_open() {
    let challenges = Challenges::default();
    let acceptor = strict(&challenges);
    let client = checking(kx_group::X25519, &["acme-tls/1"]);
    drop(challenges.open(SERVICE, &[7; 32]).unwrap());
    let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
    assert_eq!(refusal(accepted), Refusal::ClassicalKeyExchange);
}

#[test]
fn what_is_no_name_has_no_challenge() {
    let error = Challenges::default().open("é.test", &[7; 32]).unwrap_err();
    assert_eq!(error.to_string(), "no certificate can be made for `é.test`");
}
