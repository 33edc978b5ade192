//! Confidential guests: what their evidence gives, and what it stops though a thief has the agent's key.

use countersign_attest::tpm::Binding;
use countersign_channel::binding::ChannelBinding;
use countersign_softsnp::{Guest, Processor, certificate_chain, root};

use super::attestation::Line;
use super::*;

/// A guest on a processor that the gateway's configuration vouches for, whose agent has joined by a token.
struct Vm {
    processor: Processor,
    guest: Guest,
    agent: Agent,
}

impl Vm {
    async fn join(world: &World) -> Self {
        Self {
            processor: Processor::milan(),
            guest: GUEST,
            agent: world.granted("edge").await,
        }
    }

    /// What the agent shows for a question on a channel.
    fn report(&self, channel: &ChannelBinding, nonce: &[u8; 32]) -> Value {
        let key = self.agent.svid.leaf().public_key().hash();
        self.report_of(channel, key.as_bytes(), nonce)
    }

    fn report_of(&self, channel: &ChannelBinding, key: &[u8; 48], nonce: &[u8; 32]) -> Value {
        let asked = Binding {
            gateway_certificate: &channel.gateway_certificate,
            exporter: &channel.exporter,
            agent_key: key,
            nonce,
        };
        let report = self.guest.report(&asked.report_data());
        json!({
            "report": Base64::encode_string(&self.processor.sign(&report)),
            "certificate": Base64::encode_string(self.processor.certificate()),
            "certificate_chain": Base64::encode_string(certificate_chain().as_bytes()),
        })
    }

    /// Shows fresh evidence, and gets a token for it or is told why not.
    async fn show(&self, line: &Line) -> Result<String, String> {
        let report = self.report(&line.binding, &line.nonce().await);
        shown(line, &report).await
    }
}

async fn shown(line: &Line, report: &Value) -> Result<String, String> {
    let body = json!({ "evidence": report });
    let (status, answer) = request(&line.mux, Method::POST, "/v1/token", &body).await;
    match status {
        200 => Ok(answer["access_token"].as_str().unwrap().to_owned()),
        _ => Err(in_words(&answer)),
    }
}

/// The evidence is authentic, and for something else.
async fn check_another(line: &Line, report: &Value) {
    let refused = shown(line, report).await.unwrap_err();
    let beginning = "403 evidence_refused: the evidence was made for ";
    assert!(refused.starts_with(beginning), "{refused}");
}

impl World {
    async fn learn(&self) {
        let path = "/agents/edge/attestation/learn";
        self.operate("POST", path, &Value::Null).await;
    }

    fn appraisal(&self, token: &str) -> Appraisal {
        let access = &self.handle.gateway.custody.access;
        let verified = access.verify(token, PROFILE, Timestamp::now()).unwrap();
        verified.claims().appraisal.clone()
    }
}

/// The authority of the tests in place of AMD, and `more` at the end.
fn rules(more: &str) -> String {
    let root: String = root().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{LISTENER}\n[attestation]\nroot = [{{ technology = \"sev-snp\", vendor = \"lab\", sha256 = \"{root}\" }}]\n{more}"
    )
}

const GUEST: Guest = Guest {
    measurement: 0x11,
    debug: false,
};
const UNMEASURED: &str = "dangerous_accept_unmeasured = true";

#[tokio::test]
async fn a_token_says_what_vouches_for_the_guest_once_it_is_expected() {
    let world = World::start(&rules("")).await;
    let vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    let refused = vm.show(&line).await.unwrap_err();
    assert!(refused.starts_with("403 unmeasured: "), "{refused}");
    assert!(
        refused.contains("countersign attest learn edge"),
        "{refused}"
    );
    world.learn().await;
    let token = vm.show(&line).await.unwrap();
    let appraisal = world.appraisal(&token);
    assert_eq!(appraisal.result.to_string(), "affirming");
    assert_eq!(appraisal.technology, "sev-snp");
    assert_eq!(appraisal.vendor.as_deref(), Some("lab"));
    assert_eq!(appraisal.measurements["measurement"], "11".repeat(48));
    assert_eq!(appraisal.facts["debug"], false);
    Echo::open(&line.mux, &token).await;
    let agents = world.operate("GET", "/agents", &Value::Null).await;
    assert_eq!(agents["agents"][0]["technology"], "sev-snp");
}

#[tokio::test]
async fn a_policy_decides_by_what_was_measured() {
    let policy = |folder: &TempDir| {
        let bundle = folder.path().join("bundle");
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(bundle.join("access.rego"), REGO).unwrap();
    };
    let more = format!("{UNMEASURED}\n[policy]\nbundle = \"bundle\"");
    let world = World::start_with(policy, &rules(&more)).await;
    let mut vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    let token = vm.show(&line).await.unwrap();
    Echo::open(&line.mux, &token).await;
    vm.guest.measurement = 0x22;
    let token = vm.show(&line).await.unwrap();
    let refused = connect(&line.mux, "echo:7", Some(&token)).await;
    assert!(told(refused).starts_with("403 denied"));
}

const REGO: &str = r#"
package countersign.access

decision := {"allow": true, "rule": "the image of today"} if {
	input.appraisal.technology == "sev-snp"
	input.appraisal.vendor == "lab"
	startswith(input.appraisal.measurements.measurement, "1111")
	not input.appraisal.facts.debug
}
"#;

#[tokio::test]
async fn a_report_that_is_relayed_to_a_thiefs_channel_is_refused() {
    let world = World::start(&rules(UNMEASURED)).await;
    let vm = Vm::join(&world).await;
    let (genuine, thief) = (vm.agent.line().await, vm.agent.line().await);
    let relayed = vm.report(&genuine.binding, &thief.nonce().await);
    check_another(&thief, &relayed).await;
}

#[tokio::test]
async fn a_report_for_another_gateway_is_refused() {
    let world = World::start(&rules(UNMEASURED)).await;
    let vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    let elsewhere = ChannelBinding {
        gateway_certificate: [7; 48],
        ..line.binding
    };
    check_another(&line, &vm.report(&elsewhere, &line.nonce().await)).await;
}

#[tokio::test]
async fn a_report_for_another_agents_key_is_refused() {
    let world = World::start(&rules(UNMEASURED)).await;
    let vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    let nonce = line.nonce().await;
    check_another(&line, &vm.report_of(&line.binding, &[9; 48], &nonce)).await;
}

#[tokio::test]
async fn a_report_is_good_once_and_for_its_own_question() {
    let world = World::start(&rules(UNMEASURED)).await;
    let vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    let report = vm.report(&line.binding, &line.nonce().await);
    shown(&line, &report).await.unwrap();
    let refused = shown(&line, &report).await.unwrap_err();
    assert!(
        refused.contains("answers no question that is open"),
        "{refused}"
    );
    line.nonce().await;
    check_another(&line, &report).await;
    let refused = json!({ "name": "edge" });
    world.event("evidence-refused", refused).await;
}

#[tokio::test]
async fn a_report_of_an_authority_that_is_not_named_is_refused() {
    let world = World::start(&format!("{LISTENER}\n[attestation]\n{UNMEASURED}")).await;
    let vm = Vm::join(&world).await;
    let refused = vm.show(&vm.agent.line().await).await.unwrap_err();
    let reason = "403 evidence_refused: the chain ends in a root that is not trusted";
    assert!(refused.starts_with(reason), "{refused}");
}

#[tokio::test]
async fn a_report_without_the_chips_certificate_says_what_is_missing() {
    let world = World::start(&rules(UNMEASURED)).await;
    let vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    let mut report = vm.report(&line.binding, &line.nonce().await);
    report.as_object_mut().unwrap().remove("certificate");
    let expected = "403 evidence_refused: the evidence cannot be checked without `evidence.certificate` in the agent's configuration";
    assert_eq!(shown(&line, &report).await.unwrap_err(), expected);
}

#[tokio::test]
async fn what_is_no_evidence_is_malformed() {
    let world = World::start(&rules(UNMEASURED)).await;
    let vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    line.nonce().await;
    let refused = shown(&line, &json!({ "words": "trust me" })).await;
    let reason = "evidence is neither the quote of a TPM nor the report of a confidential guest";
    assert!(refused.unwrap_err().contains(reason));
}

/// Else a thief with the agent's key would leave the evidence out.
#[tokio::test]
async fn once_a_guest_has_shown_evidence_nothing_less_will_do() {
    let world = World::start(&rules(UNMEASURED)).await;
    let vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    vm.show(&line).await.unwrap();
    let (_, problem) = request(&line.mux, Method::POST, "/v1/token", &json!({})).await;
    let expected = "403 evidence_required: evidence of sev-snp vouches for this agent's machine: ask `POST /v1/attest` and show a report";
    assert_eq!(in_words(&problem), expected);
}

#[tokio::test]
async fn another_launch_cuts_the_streams_until_it_is_accepted() {
    let world = World::start(&rules(UNMEASURED)).await;
    let mut vm = Vm::join(&world).await;
    let line = vm.agent.line().await;
    vm.show(&line).await.unwrap();
    world.learn().await;
    let token = vm.show(&line).await.unwrap();
    let echo = Echo::open(&line.mux, &token).await;
    vm.guest.measurement = 0x22;
    let token = vm.show(&line).await.unwrap();
    let appraisal = world.appraisal(&token);
    assert_eq!(appraisal.result.to_string(), "contraindicated");
    let (is, was) = ("22".repeat(48), "11".repeat(48));
    let change = format!("measurement is {is} and was {was}");
    assert_eq!(appraisal.reasons, [change.as_str()]);
    echo.cut().await;
    let refused = connect(&line.mux, "echo:7", Some(&token)).await;
    assert!(told(refused).starts_with("403 denied"));
    let path = "/agents/edge/attestation";
    let diff = world.operate("GET", path, &Value::Null).await;
    assert_eq!(diff["changes"], json!([change]));
    let accept = json!({ "reason": "image of December" });
    world
        .operate("POST", &format!("{path}/accept"), &accept)
        .await;
    let token = vm.show(&line).await.unwrap();
    Echo::open(&line.mux, &token).await;
}

#[tokio::test]
async fn a_guest_that_its_host_may_debug_is_let_in_nowhere() {
    let world = World::start(&rules(UNMEASURED)).await;
    let mut vm = Vm::join(&world).await;
    vm.guest.debug = true;
    let line = vm.agent.line().await;
    vm.show(&line).await.unwrap();
    world.learn().await;
    let token = vm.show(&line).await.unwrap();
    let reason = "its host may look into the guest: it was started with debugging allowed";
    assert_eq!(world.appraisal(&token).reasons, [reason]);
    let refused = connect(&line.mux, "echo:7", Some(&token)).await;
    assert!(told(refused).starts_with("403 denied"));
}
