//! What a quote stops that a key does not: each attack has the agent's own key, so that nothing but the quote can refuse it.

use countersign_attest::tpm::{Binding, EndorsementKey};
use countersign_channel::binding::ChannelBinding;
use countersign_swtpm::Swtpm;
use countersign_tpm::{
    AttestationKey, AttestationScheme, Credential, EndorsementKind, Hash, PcrSelection, Tpm,
};

use super::*;
use crate::attestation::mac;

/// A machine with a TPM, whose agent has joined; whoever has a copy of it has the agent's key.
struct Machine {
    tpm: Swtpm,
    ak: AttestationKey,
    agent: Agent,
}

/// One channel with the agent's key.
pub(super) struct Line {
    pub(super) mux: Mux,
    pub(super) binding: ChannelBinding,
}

/// A quote and what is shown beside it.
#[derive(Clone)]
struct Evidence(Value);

impl Machine {
    /// Joins by its TPM, which an operator listed; nothing where there is no software TPM.
    async fn join(world: &World) -> Option<Self> {
        let tpm = Swtpm::manufacture().unwrap()?;
        let mut open = opened(&tpm);
        let ak = open
            .create_attestation_key(AttestationScheme::default())
            .unwrap();
        let ek = open.endorsement_key(KIND).unwrap().public;
        let ek_hash = EndorsementKey::parse(&ek).unwrap().hash().to_string();
        let allow = json!({ "ek_hash": ek_hash, "name": "edge" });
        world.operate("POST", "/eks", &allow).await;
        let (bundle, stranger) = world.stranger().await;
        let shown = json!({
            "ek_certificates": [],
            "ek_public": Base64::encode_string(&ek),
            "ak_public": Base64::encode_string(ak.public()),
        });
        let (status, challenge) = request(&stranger, Method::POST, "/v1/enrol/tpm", &shown).await;
        assert_eq!(status, 200, "{challenge}");
        let credential = Credential {
            id_object: bytes(&challenge["credential"]),
            encrypted_secret: bytes(&challenge["secret"]),
        };
        let secret = open.activate_credential(&ak, KIND, &credential).unwrap();
        let key = Arc::new(PrivateKey::generate(PROFILE.leaf_key()).unwrap());
        let csr = CertificateRequest::write(&key).unwrap();
        let proof = json!({
            "certificate_request": Base64::encode_string(&csr),
            "now": Timestamp::now(),
            "mac": Base64::encode_string(&mac(secret.expose_secret(), &csr)),
        });
        let path = "/v1/enrol/tpm/activate";
        let (status, issued) = request(&stranger, Method::POST, path, &proof).await;
        assert_eq!(status, 200, "{issued}");
        assert_eq!(issued.get("access_token"), None, "it has to quote first");
        let agent = Agent {
            address: world.address(),
            svid: Svid::new(vec![bytes(&issued["svid"][0]).into()], key).unwrap(),
            bundle,
            token: String::new(),
        };
        Some(Self { tpm, ak, agent })
    }

    async fn line(&self) -> Line {
        self.agent.line().await
    }

    /// Quotes for a channel, as an agent does.
    fn quote(&self, binding: &ChannelBinding, nonce: &[u8; 32]) -> Evidence {
        self.quote_with(
            &self.ak,
            binding,
            self.agent.svid.leaf().public_key().hash().as_bytes(),
            nonce,
        )
    }

    fn quote_with(
        &self,
        ak: &AttestationKey,
        binding: &ChannelBinding,
        agent_key: &[u8; 48],
        nonce: &[u8; 32],
    ) -> Evidence {
        let data = Binding {
            gateway_certificate: &binding.gateway_certificate,
            exporter: &binding.exporter,
            agent_key,
            nonce,
        };
        let selection = PcrSelection::new(Hash::Sha256, 0..8);
        let quote = opened(&self.tpm)
            .quote(ak, &data.qualifying_data(), &selection)
            .unwrap();
        let pcrs = quote.pcrs.0.iter();
        let pcrs = pcrs.map(|pcr| json!([pcr.index, Base64::encode_string(&pcr.digest)]));
        Evidence(json!({
            "attest": Base64::encode_string(&quote.attest),
            "signature": Base64::encode_string(&quote.signature),
            "pcrs": pcrs.collect::<Vec<_>>(),
        }))
    }
}

impl Agent {
    pub(super) async fn line(&self) -> Line {
        let connector = Connector::new(PROFILE, Arc::clone(&self.bundle), &self.svid).unwrap();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let connected = connector.connect(tcp).await.unwrap();
        let binding = connected.binding().unwrap();
        let handshake = Mux::handshake(connected.stream, &Limits::default()).await;
        let (mux, driver) = handshake.unwrap();
        tokio::spawn(driver);
        Line { mux, binding }
    }
}

impl Line {
    pub(super) async fn nonce(&self) -> [u8; 32] {
        let (status, question) = request(&self.mux, Method::POST, "/v1/attest", &json!({})).await;
        assert_eq!(status, 200, "{question}");
        bytes(&question["nonce"]).try_into().unwrap()
    }

    async fn show(&self, evidence: &Evidence) -> (u16, Value) {
        let body = json!({ "evidence": evidence.0 });
        request(&self.mux, Method::POST, "/v1/token", &body).await
    }

    async fn check_refused(&self, evidence: &Evidence, sentence: &str) {
        let (_, problem) = self.show(evidence).await;
        let expected = format!("403 evidence_refused: {sentence}");
        assert_eq!(in_words(&problem), expected);
    }
}

impl World {
    /// A channel without a certificate, by which a machine joins.
    async fn stranger(&self) -> (Arc<TrustBundle>, Mux) {
        let join = self.handle.create_join_string("other").await.unwrap();
        let tcp = TcpStream::connect(self.address()).await.unwrap();
        let introduction = Introduction::start(PROFILE, &join.trust_domain, tcp).await;
        let introduced = introduction.unwrap().fetch().await.unwrap();
        let known = introduced.verify(&join.pin, Timestamp::now()).unwrap();
        let mux = channel(self.address(), &known.connector).await;
        (known.bundle, mux)
    }
}

fn opened(tpm: &Swtpm) -> Tpm {
    Tpm::open(&tpm.address().parse().unwrap()).unwrap()
}

fn bytes(text: &Value) -> Vec<u8> {
    Base64::decode_vec(text.as_str().unwrap()).unwrap()
}

const KIND: EndorsementKind = EndorsementKind::EccP384;
const ANOTHER: &str = "the quote answers another question: it is an older one, or another's";
const NO_QUESTION: &str =
    "the evidence answers no question that is open on this channel: ask `POST /v1/attest` anew";

/// Unmeasured machines are let in, so that what refuses is the quote.
const RULES: &str = r#"
    [[listener]]
    address = "127.0.0.1:0"
    [attestation]
    dangerous_accept_unmeasured = true
"#;

#[tokio::test]
async fn a_quote_for_this_channel_gives_a_token() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    world.grant("edge", "echo").await;
    let line = machine.line().await;
    let (status, answer) = line
        .show(&machine.quote(&line.binding, &line.nonce().await))
        .await;
    assert_eq!(status, 200, "{answer}");
    Echo::open(&line.mux, answer["access_token"].as_str().unwrap()).await;
}

#[tokio::test]
async fn without_a_quote_the_agents_key_gives_no_token() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let line = machine.line().await;
    let (_, problem) = request(&line.mux, Method::POST, "/v1/token", &json!({})).await;
    assert!(
        in_words(&problem).starts_with("403 evidence_required"),
        "{problem}"
    );
}

/// Else whoever has the agent's key would bring a guest of their own.
#[tokio::test]
async fn a_guests_report_does_not_stand_in_for_the_tpm() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let line = machine.line().await;
    line.nonce().await;
    let (_, problem) = line.show(&Evidence(json!({ "report": "AA==" }))).await;
    let expected = "403 evidence_required: a TPM vouches for this agent's machine: ask `POST /v1/attest` and quote";
    assert_eq!(in_words(&problem), expected);
}

#[tokio::test]
async fn a_quote_that_is_relayed_to_a_thiefs_channel_is_refused() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let (genuine, thief) = (machine.line().await, machine.line().await);
    let relayed = machine.quote(&genuine.binding, &thief.nonce().await);
    thief.check_refused(&relayed, ANOTHER).await;
}

#[tokio::test]
async fn a_quote_that_was_made_for_another_gateway_is_refused() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let line = machine.line().await;
    let elsewhere = ChannelBinding {
        gateway_certificate: [7; 48],
        ..line.binding
    };
    let diverted = machine.quote(&elsewhere, &line.nonce().await);
    line.check_refused(&diverted, ANOTHER).await;
}

#[tokio::test]
async fn a_quote_is_good_once_and_for_its_own_question() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let line = machine.line().await;
    let quote = machine.quote(&line.binding, &line.nonce().await);
    assert_eq!(line.show(&quote).await.0, 200);
    line.check_refused(&quote, NO_QUESTION).await;
    line.nonce().await;
    line.check_refused(&quote, ANOTHER).await;
}

#[tokio::test]
async fn a_quote_for_another_agents_key_is_refused() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let line = machine.line().await;
    let nonce = line.nonce().await;
    let swapped = machine.quote_with(&machine.ak, &line.binding, &[9; 48], &nonce);
    line.check_refused(&swapped, ANOTHER).await;
}

#[tokio::test]
async fn a_key_of_the_same_tpm_that_was_not_enrolled_is_refused() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let other = opened(&machine.tpm).create_attestation_key(AttestationScheme::default());
    let line = machine.line().await;
    let key = machine.agent.svid.leaf().public_key().hash();
    let nonce = line.nonce().await;
    let quote = machine.quote_with(&other.unwrap(), &line.binding, key.as_bytes(), &nonce);
    line.check_refused(&quote, "the quote is not signed by the attestation key")
        .await;
}

#[tokio::test]
async fn values_that_were_not_quoted_are_refused() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let line = machine.line().await;
    let mut quote = machine.quote(&line.binding, &line.nonce().await);
    quote.0["pcrs"][7][1] = Base64::encode_string(&[1; 32]).into();
    let sentence = "the PCR values that were shown are not those that were quoted";
    line.check_refused(&quote, sentence).await;
    assert_eq!(
        world
            .events()
            .await
            .iter()
            .filter(|event| event["event"] == "evidence-refused")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_credential_is_opened_for_one_request_and_once() {
    let world = World::start(RULES).await;
    let (_, stranger) = world.stranger().await;
    let proof = json!({ "certificate_request": "AA==", "now": Timestamp::now(), "mac": "AA==" });
    let (_, problem) = request(&stranger, Method::POST, "/v1/enrol/tpm/activate", &proof).await;
    let expected = "403 not_asked: no credential is open on this channel, or its time is over";
    assert_eq!(in_words(&problem), expected);
}

/// A documented limit: who runs on the genuine machine, with its agent's key, has its TPM quote for a channel of their own.
#[tokio::test]
async fn malware_on_the_genuine_machine_is_not_stopped() {
    let world = World::start(RULES).await;
    let Some(machine) = Machine::join(&world).await else {
        return;
    };
    let malware = machine.line().await;
    let quote = machine.quote(&malware.binding, &malware.nonce().await);
    assert_eq!(malware.show(&quote).await.0, 200);
}
