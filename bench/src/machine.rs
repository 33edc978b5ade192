//! A machine with a software TPM and a gateway that lets it in: what an agent says to it, with the time that each end takes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use bytes::Bytes;
use countersign_attest::tpm::Binding;
use countersign_channel::Profile;
use countersign_channel::binding::ChannelBinding;
use countersign_channel::client::{Connector, Introduction, Known};
use countersign_channel::identity::{CertificateRequest, KeyAlgorithm, PrivateKey, Svid};
use countersign_channel::tunnel::{Limits, Mux};
use countersign_swtpm::Swtpm;
use countersign_tpm::{
    AttestationKey, AttestationScheme, Credential, EndorsementCertificate, Hash, PcrSelection, Tpm,
};
use http::{Method, Request};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::peer::{free_port, is_ready, loopback};
use crate::process::{Core, Process, output, wait_until};
use crate::{DOMAIN, Outcome};

/// The gateway, and what the machine knows of it.
pub(crate) struct Site {
    /// Whose CPU counts.
    pub(crate) gateway: Process,
    address: SocketAddr,
    known: Known,
    plain: Svid,
    endorsement: EndorsementCertificate,
    endorsement_key: Vec<u8>,
    key: AttestationKey,
    swtpm: Swtpm,
}

/// What one conversation took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    /// From each step's beginning to the gateway's answer.
    pub(crate) gateway: Duration,
    /// The TPM's part.
    pub(crate) tpm: Duration,
}

impl Site {
    /// Makes the TPM and starts the gateway. Nothing where there is no software TPM.
    pub(crate) fn start(program: &Path, folder: &Path) -> Outcome<Option<Self>> {
        let Some(swtpm) = Swtpm::manufacture()? else {
            return Ok(None);
        };
        let makers = folder.join("makers");
        std::fs::create_dir(&makers)?;
        std::fs::copy(swtpm.root(), makers.join("root.pem"))?;
        std::fs::copy(swtpm.issuer(), makers.join("issuer.pem"))?;
        let mut tpm = Tpm::open(&swtpm.address().parse()?)?;
        let certificates = tpm.endorsement_certificates()?;
        let endorsement = certificates.into_iter().next().ok_or("no certificate")?;
        let endorsement_key = tpm.endorsement_key(endorsement.kind)?.public;
        let key = tpm.create_attestation_key(AttestationScheme::default())?;
        let (gateway, address) = start_gateway(program, folder)?;
        let socket = folder.join("machine.sock");
        let (known, plain) = runtime()?.block_on(join(program, &socket, address))?;
        Ok(Some(Self {
            gateway,
            address,
            known,
            plain,
            endorsement,
            endorsement_key,
            key,
            swtpm,
        }))
    }

    /// The machine's TPM.
    pub(crate) fn tpm(&self) -> Outcome<Tpm> {
        Ok(Tpm::open(&self.swtpm.address().parse()?)?)
    }

    /// The certificate of an agent whose machine nothing vouches for.
    pub(crate) fn plain(&self) -> &Svid {
        &self.plain
    }

    /// Lets the machine in by its TPM, with a fresh key.
    pub(crate) async fn enrol(&self, tpm: &mut Tpm) -> Outcome<(Svid, Took)> {
        let key = PrivateKey::generate(KeyAlgorithm::MlDsa65)?;
        let request = CertificateRequest::write(&key)?;
        let mut talk = Talk::begin(&self.known.connector, self.address).await?;
        let shown = json!({
            "ek_certificates": [Base64::encode_string(&self.endorsement.der)],
            "ek_public": Base64::encode_string(&self.endorsement_key),
            "ak_public": Base64::encode_string(self.key.public()),
        });
        let challenge = talk.post("/v1/enrol/tpm", &shown).await?;
        let credential = Credential {
            id_object: bytes(&challenge, "credential")?,
            encrypted_secret: bytes(&challenge, "secret")?,
        };
        let kind = self.endorsement.kind;
        let secret =
            talk.by_tpm(|| Ok(tpm.activate_credential(&self.key, kind, &credential)?))?;
        let mac = hmac::Key::new(hmac::HMAC_SHA384, secret.expose_secret());
        let mac = hmac::sign(&mac, &request);
        let proof = json!({
            "certificate_request": Base64::encode_string(&request),
            "now": Timestamp::now(),
            "mac": Base64::encode_string(mac.as_ref()),
        });
        let issued = talk.post("/v1/enrol/tpm/activate", &proof).await?;
        Ok((svid(&issued, key)?, talk.took))
    }

    /// Sets a session up: a channel, and an access token on it; for a quote, where there is a TPM.
    pub(crate) async fn session(&self, svid: &Svid, tpm: Option<&mut Tpm>) -> Outcome<Took> {
        let bundle = Arc::clone(&self.known.bundle);
        let connector = Connector::new(Profile::HybridV1, bundle, svid)?;
        let mut talk = Talk::begin(&connector, self.address).await?;
        let body = match tpm {
            None => json!({}),
            Some(tpm) => {
                let question = talk.post("/v1/attest", &json!({})).await?;
                self.evidence(&mut talk, svid, tpm, &question)?
            }
        };
        talk.post("/v1/token", &body).await?;
        Ok(talk.took)
    }

    fn evidence(
        &self,
        talk: &mut Talk,
        svid: &Svid,
        tpm: &mut Tpm,
        question: &Value,
    ) -> Outcome<Value> {
        let nonce = bytes(question, "nonce")?;
        let asked = Binding {
            gateway_certificate: &talk.binding.gateway_certificate,
            exporter: &talk.binding.exporter,
            agent_key: svid.key().public_key().hash().as_bytes(),
            nonce: nonce.as_slice().try_into()?,
        }
        .qualifying_data();
        let pcrs: Vec<u8> = serde_json::from_value(question["pcrs"].clone())?;
        let selection = PcrSelection::new(Hash::Sha256, pcrs);
        let quote = talk.by_tpm(|| Ok(tpm.quote(&self.key, &asked, &selection)?))?;
        let values = quote.pcrs.0.iter();
        let values = values.map(|pcr| json!([pcr.index, Base64::encode_string(&pcr.digest)]));
        Ok(json!({ "evidence": {
            "attest": Base64::encode_string(&quote.attest),
            "signature": Base64::encode_string(&quote.signature),
            "pcrs": values.collect::<Vec<_>>(),
        }}))
    }
}

/// A channel with what was asked on it.
struct Talk {
    mux: Mux,
    binding: ChannelBinding,
    took: Took,
}

impl Talk {
    async fn begin(connector: &Connector, address: SocketAddr) -> Outcome<Self> {
        let since = Instant::now();
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let connected = connector.connect(tcp).await?;
        let binding = connected.binding()?;
        let (mux, driver) = Mux::handshake(connected.stream, &Limits::default()).await?;
        tokio::spawn(driver);
        let took = Took {
            gateway: since.elapsed(),
            ..Took::default()
        };
        Ok(Self { mux, binding, took })
    }

    async fn post(&mut self, path: &str, body: &Value) -> Outcome<Value> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("https://gateway.{DOMAIN}{path}"))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))?;
        let since = Instant::now();
        let answer = self.mux.request(request).await?;
        self.took.gateway += since.elapsed();
        if !answer.status().is_success() {
            let told = String::from_utf8_lossy(answer.body()).into_owned();
            return Err(format!("{path}: {} {told}", answer.status()).into());
        }
        Ok(serde_json::from_slice(answer.body())?)
    }

    fn by_tpm<T>(&mut self, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let since = Instant::now();
        let done = work();
        self.took.tpm += since.elapsed();
        done
    }
}

fn start_gateway(program: &Path, folder: &Path) -> Outcome<(Process, SocketAddr)> {
    let (address, telemetry) = (loopback(free_port()?), free_port()?);
    let text = format!(
        "trust_domain = \"{DOMAIN}\"\nstate_dir = \"machine-gateway\"\n\
         [operate]\nsocket = \"machine.sock\"\n\
         [telemetry]\naddress = \"127.0.0.1:{telemetry}\"\n\
         [log]\nfilter = \"warn\"\n\
         [[listener]]\naddress = \"{address}\"\n\
         [attestation]\ntpm_roots = \"makers\"\nenrol_any_genuine_tpm = true\n\
         dangerous_accept_unmeasured = true\n"
    );
    let config = folder.join("machine.toml");
    std::fs::write(&config, text)?;
    let mut command = Command::new(program);
    let command = command.arg("gateway").arg("--config").arg(config);
    let gateway = Process::start(Core::Gateway, command, &folder.join("machine.log"))?;
    wait_until("the gateway is ready", || Ok(is_ready(telemetry)))?;
    Ok((gateway, address))
}

/// Gets to know the gateway by a join string, and lets an agent without hardware in.
async fn join(program: &Path, socket: &Path, address: SocketAddr) -> Outcome<(Known, Svid)> {
    let mut command = Command::new(program);
    command.args(["join-string", "create", "--name", "plain", "--socket"]);
    let line = output(command.arg(socket))?;
    let (_, encoded) = line.trim().rsplit_once('.').ok_or("no join string")?;
    let encoded = Base64UrlUnpadded::decode_vec(encoded).map_err(|_| "no join string")?;
    let join = &serde_json::from_slice::<Value>(&encoded)?;
    let pin = join["pin"].as_str().ok_or("no pin")?.parse()?;
    let tcp = TcpStream::connect(address).await?;
    let introduction = Introduction::start(Profile::HybridV1, &DOMAIN.parse()?, tcp).await?;
    let known = introduction.fetch().await?.verify(&pin, Timestamp::now())?;

    let key = PrivateKey::generate(KeyAlgorithm::MlDsa65)?;
    let body = json!({
        "join_token": join["token"],
        "certificate_request": Base64::encode_string(&CertificateRequest::write(&key)?),
        "now": Timestamp::now(),
    });
    let mut talk = Talk::begin(&known.connector, address).await?;
    let issued = talk.post("/v1/enrol", &body).await?;
    Ok((known, svid(&issued, key)?))
}

fn svid(issued: &Value, key: PrivateKey) -> Outcome<Svid> {
    let chain = issued["svid"].as_array().ok_or("no certificate")?;
    let chain = chain.iter().map(|der| Ok(decoded(der)?.into()));
    Ok(Svid::new(chain.collect::<Outcome<_>>()?, Arc::new(key))?)
}

fn bytes(answer: &Value, field: &str) -> Outcome<Vec<u8>> {
    decoded(&answer[field])
}

fn decoded(text: &Value) -> Outcome<Vec<u8>> {
    let text = text.as_str().ok_or("the answer lacks a text")?;
    Ok(Base64::decode_vec(text).map_err(|_| "the answer is no base64")?)
}

/// On one thread, which waits for the TPM too.
pub(crate) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}
