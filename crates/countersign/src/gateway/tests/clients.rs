//! Clients with a certificate of an authority that the operator configured.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::client::TlsStream;

use super::agentless::{ANONYMOUS_WEB, dial, dial_as, mux, over, world_with};
use super::*;

/// An authority of client certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "partners");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn issue(&self, name: &str) -> Identity {
        self.issue_for(name, Duration::from_secs(3600))
    }

    fn issue_for(&self, name: &str, left: Duration) -> Identity {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.serial_number = Some(SerialNumber::from(SERIAL));
        let end = Timestamp::now() + left;
        let since_1970 = Duration::try_from(end.duration_since(Timestamp::UNIX_EPOCH)).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970;
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (leaf.der().clone(), key)
    }

    /// A list of what it revoked.
    fn list(&self, serial: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2200, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// A gateway whose service `web` takes certificates of this authority, which has revoked nothing that matters.
async fn world(authority: &Authority, more: &str, keys: &str) -> World {
    let files = |folder: &TempDir| {
        std::fs::write(folder.path().join("partners.pem"), authority.0.pem()).unwrap();
        std::fs::write(folder.path().join("partners.crl"), authority.list(999)).unwrap();
    };
    let more = format!(
        r#"
        [[client_authority]]
        name = "partners"
        certificate = "partners.pem"
        revocation_list = "partners.crl"
        {more}
        "#
    );
    let keys = format!("client_certificates = [\"partners\"]\n{keys}");
    world_with(files, "", &more, &keys).await
}

async fn show(world: &World, identity: Identity) -> std::io::Result<TlsStream<TcpStream>> {
    dial_as(world, "web.test", "h2", false, Some(identity)).await
}

async fn opened(mux: &Mux) -> Echo {
    let mut echo = Echo(connect(mux, "web:80", None).await.unwrap());
    echo.answers().await;
    echo
}

#[tokio::test]
async fn a_certificate_opens_what_is_granted_to_its_name_and_audit_says_whose_it_was() {
    let authority = Authority::new();
    let world = world(&authority, ALICE_WEB, "").await;
    let alice = over(show(&world, authority.issue(ALICE)).await.unwrap()).await;
    opened(&alice).await;
    let principal = format!("cert:partners/{ALICE}");
    let rule = "grant cert:partners/spiffe://partner.example/* -> web";
    let allowed = json!({ "principal": principal, "rule": rule, "token_id": null });
    world.event("stream-allowed", allowed).await;
    let opened = json!({ "principal": principal });
    let opened = world.event("channel-opened", opened).await;
    assert_eq!(opened["record"]["client"]["authority"], "partners");
    let sessions = world.operate("GET", "/sessions", &Value::Null).await;
    assert_eq!(sessions["sessions"][0]["principal"], principal);

    let mallory = over(show(&world, authority.issue("urn:mallory")).await.unwrap()).await;
    assert_eq!(
        told(connect(&mallory, "web:80", None).await),
        "403 denied: `cert:partners/urn:mallory` may not reach `web`: no grant"
    );
}

#[tokio::test]
async fn a_certificate_of_nobodys_is_refused_and_the_reason_is_kept() {
    let authority = Authority::new();
    let world = world(&authority, ALICE_WEB, "").await;
    let stranger = Authority::new();
    let shown = show(&world, stranger.issue(ALICE)).await;
    // The client's part of the handshake is done before the gateway has seen its certificate.
    if let Ok(mut stream) = shown {
        assert!(within(stream.read_u8()).await.is_err());
    }
    let refused = json!({ "reason": "certificate-invalid" });
    let refused = world.event("channel-refused", refused).await;
    assert_eq!(
        refused["record"]["outcome"]["detail"], "bad-signature",
        "{refused}"
    );
}

#[tokio::test]
async fn a_client_without_one_is_anonymous_unless_one_is_required() {
    let authority = Authority::new();
    let free = world(&authority, ANONYMOUS_WEB, "").await;
    opened(&mux(&free, "web.test").await).await;

    let keys = "require_client_certificate = true";
    let strict = world(&authority, ANONYMOUS_WEB, keys).await;
    if let Ok(mut stream) = dial(&strict, "web.test", "h2", false).await {
        assert!(within(stream.read_u8()).await.is_err());
    }
    let refused = json!({ "reason": "certificate-required" });
    strict.event("channel-refused", refused).await;
    // Nor does another name lead around it.
    let mux = mux(&strict, "gate.test").await;
    assert_eq!(
        told(connect(&mux, "web:80", None).await),
        "403 certificate_required: `web` wants a client certificate: connect to it by its own name, with one"
    );
}

#[tokio::test]
async fn a_bearer_token_says_who_asks_also_where_a_certificate_was_shown() {
    let authority = Authority::new();
    let world = world(&authority, "", "").await;
    let request = json!({ "subject": "ci", "service": "web", "expires_in": 60 });
    let issued = world.operate("POST", "/tokens", &request).await;
    let mux = over(show(&world, authority.issue(ALICE)).await.unwrap()).await;
    let opened = connect(&mux, "web:80", issued["token"].as_str()).await;
    Echo(opened.unwrap()).answers().await;
    let allowed = json!({ "principal": "bearer:ci" });
    world.event("stream-allowed", allowed).await;
}

#[tokio::test]
async fn a_stream_ends_with_the_certificate_that_opened_it() {
    let authority = Authority::new();
    let world = world(&authority, ALICE_WEB, "").await;
    let brief = authority.issue_for(ALICE, Duration::from_secs(4));
    let mux = over(show(&world, brief).await.unwrap()).await;
    opened(&mux).await.cut().await;
    let cut = json!({ "reason": "the client's certificate ended" });
    world.event("stream-cut", cut).await;
    assert_eq!(
        told(connect(&mux, "web:80", None).await),
        "407 certificate_ended: the client certificate has ended: connect again with another"
    );
}

#[tokio::test]
async fn a_reload_cuts_those_whose_certificates_were_revoked_or_are_asked_for_no_more() {
    let authority = Authority::new();
    let world = world(&authority, ALICE_WEB, "").await;
    let mux = over(show(&world, authority.issue(ALICE)).await.unwrap()).await;
    let mut echo = opened(&mux).await;
    world.reload(&world.config).await.unwrap();
    echo.answers().await;

    std::fs::write(world.file("partners.crl"), authority.list(SERIAL)).unwrap();
    world.reload(&world.config).await.unwrap();
    echo.cut().await;
    within(mux.closed()).await;
    let reason = "the client's certificate is not taken any more: its authority revoked it";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;

    std::fs::write(world.file("partners.crl"), authority.list(999)).unwrap();
    world.reload(&world.config).await.unwrap();
    let mux = over(show(&world, authority.issue(ALICE)).await.unwrap()).await;
    let echo = opened(&mux).await;
    let asked = "client_certificates = [\"partners\"]";
    world
        .reload(&world.config.replace(asked, ""))
        .await
        .unwrap();
    echo.cut().await;
    let reason = "the client's certificate is not taken any more: its service asks for none";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;
}

#[tokio::test]
async fn a_revocation_list_and_an_authority_are_taken_when_they_change() {
    let authority = Authority::new();
    let world = world(&authority, ALICE_WEB, "").await;
    let mux = over(show(&world, authority.issue(ALICE)).await.unwrap()).await;
    let echo = opened(&mux).await;
    // One that cannot be used leaves the one before.
    std::fs::write(world.file("partners.crl"), "half of a list").unwrap();
    let other = opened(&mux).await;
    std::fs::write(world.file("partners.crl"), authority.list(SERIAL)).unwrap();
    echo.cut().await;
    other.cut().await;
    let reason = "the client's certificate is not taken any more: its authority revoked it";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;

    let next = Authority::new();
    std::fs::write(world.file("partners.crl"), next.list(999)).unwrap();
    std::fs::write(world.file("partners.pem"), next.0.pem()).unwrap();
    let comes_in = async {
        loop {
            let shown = show(&world, next.issue(ALICE)).await;
            if let Ok(stream) = shown
                && let Ok((mux, driver)) = Mux::handshake(stream, &Limits::default()).await
            {
                tokio::spawn(driver);
                if connect(&mux, "web:80", None).await.is_ok() {
                    return;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    within(comes_in).await;
}

#[tokio::test]
async fn a_reload_that_requires_a_certificate_cuts_those_without() {
    let authority = Authority::new();
    let world = world(&authority, ANONYMOUS_WEB, "").await;
    let mux = mux(&world, "web.test").await;
    let echo = opened(&mux).await;
    let asked = "client_certificates = [\"partners\"]";
    let required = format!("{asked}\nrequire_client_certificate = true");
    let required = world.config.replace(asked, &required);
    world.reload(&required).await.unwrap();
    echo.cut().await;
    let reason = "the client's certificate is not taken any more: its service requires one now";
    world.event("stream-cut", json!({ "reason": reason })).await;
}

#[tokio::test]
async fn a_reload_with_a_broken_authority_changes_nothing() {
    let authority = Authority::new();
    let world = world(&authority, ALICE_WEB, "").await;
    let mux = over(show(&world, authority.issue(ALICE)).await.unwrap()).await;
    let mut echo = opened(&mux).await;
    std::fs::write(world.file("partners.pem"), "").unwrap();
    assert_eq!(
        world.reload(&world.config).await.unwrap_err(),
        "client authority `partners`: its file cannot be used: it holds no certificates of an authority"
    );
    echo.answers().await;
}

const ALICE: &str = "spiffe://partner.example/alice";

const ALICE_WEB: &str = r#"
    [[grant]]
    principal = "cert:partners/spiffe://partner.example/*"
    service = "web"
"#;

const SERIAL: u64 = 7;
