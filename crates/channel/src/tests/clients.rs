//! Agentless clients with certificates: whom they name, what is refused, and who is asked at all.

use super::*;
use crate::record::CertificateFlaw;
use crate::server::{ClientAuthority, ClientAuthorityError, ClientCertificates, Prepared};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};

/// An authority of client certificates.
struct Ca {
    name: &'static str,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A client's certificate with its key.
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Ca {
    fn new(name: &'static str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, p384()).unwrap();
        Self { name, issuer }
    }

    fn authority(&self) -> Arc<ClientAuthority> {
        self.authority_that_revoked(None)
    }

    fn authority_that_revoked(&self, list: Option<String>) -> Arc<ClientAuthority> {
        let list = list.as_ref().map(String::as_bytes);
        let authority = ClientAuthority::from_pem(self.name, self.issuer.pem().as_bytes(), list);
        Arc::new(authority.unwrap())
    }

    fn issue(&self, names: &[SanType]) -> Identity {
        self.issue_with(names, |_| {})
    }

    fn issue_with(
        &self,
        names: &[SanType],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        self.issue_for(p384(), names, change)
    }

    fn issue_for(
        &self,
        key: KeyPair,
        names: &[SanType],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.serial_number = Some(SerialNumber::from(SERIAL));
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (
            leaf.der().clone(),
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
    }

    /// What it revoked: a list that ends with that year's beginning.
    fn list(&self, serial: u64, year: i32) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(1990, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(1990, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn p384() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()
}

fn text(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}

fn uri(name: &str) -> SanType {
    SanType::URI(text(name))
}

fn email(name: &str) -> SanType {
    SanType::Rfc822Name(text(name))
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(text(name))
}

fn asking(authorities: Vec<Arc<ClientAuthority>>, required: bool) -> Arc<ClientCertificates> {
    Arc::new(ClientCertificates {
        names: vec![SERVICE.to_owned()],
        authorities,
        required,
    })
}

/// A gateway that asks for these under the service's name, and a client of it.
fn ends(
    profile: Profile,
    clients: Arc<ClientCertificates>,
    identity: Option<Identity>,
) -> (Acceptor, Agentless) {
    let world = World::new(profile);
    let acceptor = world.acceptor(Listener {
        clients: vec![clients],
        ..world.listener(Stage::Hybrid)
    });
    (acceptor, Agentless::showing(&world, identity))
}

async fn shake(
    clients: Arc<ClientCertificates>,
    identity: Option<Identity>,
) -> Result<Accepted<DuplexStream>, Refused> {
    let (acceptor, client) = ends(Profile::HybridV1, clients, identity);
    agentless_handshake(&acceptor, &client, SERVICE).await.0
}

/// The name that a certificate with these alternative names stands for.
async fn check_name(names: &[SanType], expected: &str) {
    let ca = Ca::new("partners");
    let accepted = shake(asking(vec![ca.authority()], true), Some(ca.issue(names))).await;
    let accepted = accepted.unwrap();
    let client = accepted.client.unwrap();
    assert_eq!((client.authority(), client.name()), ("partners", expected));
    let record = accepted.record.client.unwrap();
    assert_eq!(
        (record.name.as_str(), record.serial.as_str()),
        (expected, "07")
    );
    assert_eq!(record.not_after, client.not_after());
    assert!(accepted.record.peer.is_none(), "it is no agent");
}

async fn check_flaw(authority: Arc<ClientAuthority>, identity: Identity, flaw: CertificateFlaw) {
    for required in [false, true] {
        let clients = asking(vec![authority.clone()], required);
        let identity = (identity.0.clone(), identity.1.clone_key());
        let refusal = refusal(shake(clients, Some(identity)).await);
        assert_eq!(refusal, Refusal::CertificateInvalid(flaw));
    }
}

#[tokio::test]
async fn a_certificate_names_its_first_uri_or_email_address_or_dns_name_in_this_order() {
    check_name(&[dns("Client.Example.Org")], "client.example.org").await;
    check_name(
        &[dns("a.example.org"), dns("b.example.org")],
        "a.example.org",
    )
    .await;
    check_name(
        &[dns("a.example.org"), email("alice@example.org")],
        "alice@example.org",
    )
    .await;
    let workload = "spiffe://other.org/workload/a";
    check_name(
        &[dns("a.example.org"), email("a@b.org"), uri(workload)],
        workload,
    )
    .await;
}

#[tokio::test]
async fn a_certificate_without_a_name_or_with_one_that_is_no_name_is_refused() {
    let ca = Ca::new("partners");
    for names in [
        vec![],
        vec![dns("*.example.org")],
        vec![email("alice bob@example.org")],
        vec![uri("spiffe://other.org/*"), dns("a.example.org")],
        vec![email("")],
    ] {
        check_flaw(
            ca.authority(),
            ca.issue(&names),
            CertificateFlaw::NoUsableName,
        )
        .await;
    }
    let in_subject = ca.issue_with(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "alice");
    });
    check_flaw(ca.authority(), in_subject, CertificateFlaw::NoUsableName).await;
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused_with_the_reason_also_where_none_is_required() {
    let (ca, other) = (Ca::new("partners"), Ca::new("others"));
    let name = [dns("a.example.org")];
    let authority = || ca.authority();
    check_flaw(
        authority(),
        other.issue(&name),
        CertificateFlaw::UnknownIssuer,
    )
    .await;
    let same_name = Ca::new("partners");
    check_flaw(
        authority(),
        same_name.issue(&name),
        CertificateFlaw::BadSignature,
    )
    .await;
    let ended = ca.issue_with(&name, |params| params.not_after = date_time_ymd(2020, 1, 1));
    check_flaw(authority(), ended, CertificateFlaw::Expired).await;
    let early = ca.issue_with(&name, |params| {
        params.not_before = date_time_ymd(2200, 1, 1)
    });
    check_flaw(authority(), early, CertificateFlaw::NotYetValid).await;
    let server = ca.issue_with(&name, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    check_flaw(authority(), server, CertificateFlaw::WrongUse).await;
}

#[tokio::test]
async fn one_that_its_authority_revoked_is_refused_and_so_are_all_when_the_list_has_ended() {
    let ca = Ca::new("partners");
    let leaf = || ca.issue(&[dns("a.example.org")]);
    let revoked = ca.authority_that_revoked(Some(ca.list(SERIAL, 2200)));
    check_flaw(revoked, leaf(), CertificateFlaw::Revoked).await;
    let ended = ca.authority_that_revoked(Some(ca.list(SERIAL + 1, 2000)));
    check_flaw(ended, leaf(), CertificateFlaw::RevocationUnknown).await;
    let of_another = ca.authority_that_revoked(Some(Ca::new("others").list(1, 2200)));
    check_flaw(of_another, leaf(), CertificateFlaw::RevocationUnknown).await;
    let others = ca.authority_that_revoked(Some(ca.list(SERIAL + 1, 2200)));
    let accepted = shake(asking(vec![others], true), Some(leaf())).await;
    assert_eq!(accepted.unwrap().client.unwrap().name(), "a.example.org");
}

#[tokio::test]
async fn each_of_several_authorities_is_known_by_its_name() {
    let all = [Ca::new("partners"), Ca::new("staff")];
    for ca in &all {
        let clients = asking(all.iter().map(Ca::authority).collect(), true);
        let accepted = shake(clients, Some(ca.issue(&[email("a@example.org")]))).await;
        assert_eq!(accepted.unwrap().client.unwrap().authority(), ca.name);
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_comes_in_unless_one_is_required() {
    let ca = Ca::new("partners");
    let accepted = shake(asking(vec![ca.authority()], false), None)
        .await
        .unwrap();
    assert!(accepted.client.is_none() && accepted.record.client.is_none());
    let required = asking(vec![ca.authority()], true);
    assert_eq!(
        refusal(shake(required, None).await),
        Refusal::CertificateRequired
    );
}

#[tokio::test]
async fn nobody_is_asked_under_another_name() {
    let ca = Ca::new("partners");
    let clients = asking(vec![ca.authority()], true);
    let identity = ca.issue(&[dns("a.example.org")]);
    let (acceptor, client) = ends(Profile::HybridV1, clients, Some(identity));
    let (accepted, _) = agentless_handshake(&acceptor, &client, "x.apps.example.org").await;
    assert!(accepted.unwrap().client.is_none());
}

#[tokio::test]
async fn an_exception_asks_for_the_certificate_too() {
    let (world, ca) = (World::new(Profile::HybridV1), Ca::new("partners"));
    let acceptor = world.acceptor(Listener {
        clients: vec![asking(vec![ca.authority()], true)],
        exceptions: vec![exception(SERVICE)],
        ..world.listener(Stage::ClassicalCanary)
    });
    let identity = ca.issue(&[dns("a.example.org")]);
    let classical = |identity| Agentless::classical(&world, identity);
    let (accepted, _) = agentless_handshake(&acceptor, &classical(Some(identity)), SERVICE).await;
    let record = accepted.unwrap().record;
    assert!(record.exception.is_some() && record.client.is_some());
    let (accepted, _) = agentless_handshake(&acceptor, &classical(None), SERVICE).await;
    assert_eq!(refusal(accepted), Refusal::CertificateRequired);
}

#[tokio::test]
async fn a_certificate_has_a_key_that_its_profile_allows() {
    let algorithms = [
        (
            &rcgen::PKCS_ECDSA_P256_SHA256,
            [Profile::HybridV1, Profile::FipsHybridV1].as_slice(),
        ),
        (
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &[
                Profile::HybridV1,
                Profile::FipsHybridV1,
                Profile::HybridHighV1,
            ],
        ),
        (&rcgen::PKCS_ED25519, &[Profile::HybridV1]),
        (&rcgen::PKCS_RSA_SHA256, &[Profile::HybridV1]),
    ];
    let ca = Ca::new("partners");
    for (algorithm, profiles) in algorithms {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let identity = ca.issue_for(key, &[dns("a.example.org")], |_| {});
        for profile in [
            Profile::HybridV1,
            Profile::FipsHybridV1,
            Profile::HybridHighV1,
        ] {
            let identity = (identity.0.clone(), identity.1.clone_key());
            let clients = asking(vec![ca.authority()], true);
            let (acceptor, client) = ends(profile, clients, Some(identity));
            let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
            let taken = profiles.contains(&profile);
            // A client that sees no scheme of its key's in the request shows none.
            match accepted {
                Ok(accepted) => assert!(taken && accepted.client.is_some(), "{profile}"),
                Err(refused) => {
                    assert!(!taken, "{profile}: {refused}");
                    assert_eq!(
                        refused.record.refusal(),
                        Some(&Refusal::CertificateRequired)
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_is_verified_again_by_what_is_asked_now() {
    let ca = Ca::new("partners");
    let first = asking(vec![ca.authority()], true);
    let identity = ca.issue(&[dns("a.example.org")]);
    let client = shake(first.clone(), Some(identity))
        .await
        .unwrap()
        .client
        .unwrap();
    assert!(client.is_verified_for(&first));
    let again = |authority| {
        let asked = asking(vec![authority], true);
        let again = client.verify_again(&asked, Profile::HybridV1);
        again.map(|client| client.is_verified_for(&asked))
    };
    assert_eq!(again(ca.authority()), Ok(true));
    let revoked = ca.authority_that_revoked(Some(ca.list(SERIAL, 2200)));
    assert_eq!(again(revoked), Err(CertificateFlaw::Revoked));
    assert_eq!(
        again(Ca::new("others").authority()),
        Err(CertificateFlaw::UnknownIssuer)
    );
    let renamed = Ca {
        name: "staff",
        ..ca
    };
    assert_eq!(
        again(renamed.authority()),
        Err(CertificateFlaw::UnknownIssuer)
    );
}

#[tokio::test]
async fn a_change_of_what_is_asked_takes_effect_with_the_next_handshake() {
    let (world, ca) = (World::new(Profile::HybridV1), Ca::new("partners"));
    let acceptor = world.acceptor(world.listener(Stage::Hybrid));
    let client = Agentless::showing(&world, None);
    agentless_handshake(&acceptor, &client, SERVICE)
        .await
        .0
        .unwrap();
    let listener = Listener {
        clients: vec![asking(vec![ca.authority()], true)],
        ..world.listener(Stage::Hybrid)
    };
    acceptor.change(Prepared::new(listener, world.credentials()).unwrap());
    let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
    assert_eq!(refusal(accepted), Refusal::CertificateRequired);
}

#[test]
fn an_authority_is_made_of_pem_that_holds_it() {
    let ca = Ca::new("partners");
    let pem = ca.issuer.pem();
    let read = |certificates: &str, lists: Option<&str>| {
        ClientAuthority::from_pem("x", certificates.as_bytes(), lists.map(str::as_bytes))
            .map_or_else(|error| error.to_string(), |_| String::new())
    };
    assert_eq!(read(&pem, None), "");
    assert_eq!(read("", None), "it holds no certificates of an authority");
    assert_eq!(read(&pem, Some(&pem)), "it holds no revocation lists");
    let broken = read(&pem.replace("MII", "AAA"), None);
    assert!(
        broken.starts_with("it does not hold certificates of an authority in PEM"),
        "{broken}"
    );
    let empty = ClientAuthorityError::Empty {
        what: "revocation lists",
    };
    let refused = ClientAuthority::from_pem("x", pem.as_bytes(), Some(b""));
    assert_eq!(refused.unwrap_err(), empty);
}

const SERIAL: u64 = 7;
