//! Machines that come in and stay by what their TPM says, with a real software TPM.

use std::process::Command;

use countersign_swtpm::{Swtpm, installed};

use crate::support::{
    Agent, AgentSetup, Gateway, GatewaySetup, countersign, echoes, is_alive, run, upstream,
    wait_until,
};

/// A gateway before an echo service, and a machine with a TPM.
struct World {
    tpm: Swtpm,
    gateway: Gateway,
}

impl World {
    /// Nothing where there is no software TPM.
    fn new(tables: &str) -> Option<Self> {
        Some(Self::of(Swtpm::manufacture().unwrap()?, tables))
    }

    fn of(tpm: Swtpm, tables: &str) -> Self {
        let makers = tpm.folder().join("makers");
        std::fs::create_dir(&makers).unwrap();
        for certificate in [tpm.root(), tpm.issuer()] {
            std::fs::copy(&certificate, makers.join(certificate.file_name().unwrap())).unwrap();
        }
        let makers = makers.display().to_string();
        let gateway = GatewaySetup::new()
            .stage("strict")
            .service("echo", upstream::echo(), "")
            .tables(&tables.replace("MAKERS", &makers))
            .start();
        Self { tpm, gateway }
    }

    /// An agent of the machine, with a join string that is no secret.
    fn agent(&self) -> AgentSetup {
        let join = self.gateway.operate(&["join-string", "tpm"]).succeeded();
        self.agent_with(join.trim())
    }

    fn agent_with(&self, join: &str) -> AgentSetup {
        AgentSetup::new(join)
            .listener("echo")
            .key("rekey_interval = \"1s\"")
            .tables(&format!("[tpm]\ndevice = \"{}\"", self.tpm.address()))
    }

    /// Extends a PCR as whatever was started would, by another program.
    fn measure(&self, pcr: u8) {
        let digest = "5a".repeat(32);
        tpm2(&self.tpm, &["pcrextend", &format!("{pcr}:sha256={digest}")]);
    }

    /// Lets the machine in under a name, and expects of it what it shows.
    fn join(&self, setup: AgentSetup, name: &str) -> Agent {
        let mut agent = setup.configure();
        let process = agent.launch();
        wait_until("the machine has shown what it measured", || {
            let learned = self.gateway.operate(&["attest", "learn", name]);
            learned.status.success().then_some(())
        });
        drop(process);
        self.gateway.grant(name, "echo");
        agent.start();
        agent
    }
}

/// Runs a program of tpm2-tools.
fn tpm2(tpm: &Swtpm, arguments: &[&str]) {
    let mut tool = Command::new("tpm2");
    tool.env("TPM2TOOLS_TCTI", tpm.tcti());
    run(tool.args(arguments), "").succeeded();
}

#[test]
fn a_tpm_that_nobody_vouches_for_is_refused_with_the_command_that_lets_it_in() {
    let Some(world) = World::new("") else { return };
    let told = world.agent().fails();
    let (_, rest) = told.split_once("endorsement key ").expect(&told);
    let hash = &rest[..64];
    assert!(told.contains("is not trusted: no maker"), "{told}");
    assert!(told.contains("countersign agents allow-ek HASH"), "{told}");
    let allowed = world
        .gateway
        .operate(&["agents", "allow-ek", hash, "--name", "edge"]);
    allowed.succeeded();
    let agent = world.join(world.agent(), "edge");
    assert!(echoes(&agent).is_some());
    let agents = world.gateway.ask(&["agents", "list"]);
    assert_eq!(agents["agents"][0]["name"], "edge", "{agents}");
    assert_eq!(agents["agents"][0]["technology"], "tpm2", "{agents}");
}

#[test]
fn a_genuine_tpm_lets_its_machine_in_where_the_configuration_says_so() {
    let rules = "[attestation]\ntpm_roots = \"MAKERS\"\nenrol_any_genuine_tpm = true";
    let Some(world) = World::new(rules) else {
        return;
    };
    let mut agent = world.agent().configure();
    let process = agent.launch();
    let name = wait_until("the machine has joined", || {
        let agents = world.gateway.ask(&["agents", "list"]);
        agents["agents"][0]["name"].as_str().map(str::to_owned)
    });
    assert!(name.starts_with("tpm-"), "{name}");
    wait_until("it is told what is missing", || {
        process
            .log()
            .contains("countersign attest learn")
            .then_some(())
    });
    let learned = world
        .gateway
        .operate(&["attest", "learn", &name])
        .succeeded();
    assert!(learned.contains("as expected since"), "{learned}");
    drop(process);
    world.gateway.grant(&name, "echo");
    agent.start();
    assert!(echoes(&agent).is_some());
    assert_eq!(world.gateway.audited("reference-set").len(), 1);
}

#[test]
fn a_join_token_names_a_machine_that_a_maker_vouches_for() {
    let rules = "[attestation]\ntpm_roots = \"MAKERS\"";
    let Some(world) = World::new(rules) else {
        return;
    };
    let told = world.agent().fails();
    assert!(told.contains("is not listed"), "{told}");
    let join = world.gateway.join_string("laptop", &[]);
    let agent = world.join(world.agent_with(&join), "laptop");
    assert!(echoes(&agent).is_some());
}

/// The certificate for the key on an elliptic curve, which agents prefer, is taken out.
#[test]
fn a_machine_comes_in_by_its_rsa_3072_endorsement_key() {
    let Some(tpm) = Swtpm::manufacture_rsa_3072().unwrap() else {
        return;
    };
    if !installed("tpm2") {
        return;
    }
    tpm2(&tpm, &["startup", "-c"]);
    tpm2(&tpm, &["nvundefine", "0x1c00016", "-C", "p"]);
    let world = World::of(tpm, "[attestation]\ntpm_roots = \"MAKERS\"");
    let join = world.gateway.join_string("laptop", &[]);
    let agent = world.join(world.agent_with(&join), "laptop");
    assert!(echoes(&agent).is_some());
    let mut show = countersign();
    show.args(["attest", "show", "--device", &world.tpm.address()]);
    drop(agent);
    let shown = run(&mut show, "").succeeded();
    assert!(shown.contains("with a certificate, Rsa3072: "), "{shown}");
}

#[test]
fn a_machine_that_changes_loses_its_streams_until_the_change_is_accepted() {
    if !installed("tpm2") {
        return;
    }
    let rules = "[attestation]\ntpm_roots = \"MAKERS\"";
    let Some(world) = World::new(rules) else {
        return;
    };
    let join = world.gateway.join_string("laptop", &[]);
    let agent = world.join(world.agent_with(&join), "laptop");
    let stream = echoes(&agent).unwrap();
    world.measure(4);
    wait_until("the live stream is cut", || {
        (!is_alive(&stream)).then_some(())
    });
    assert!(echoes(&agent).is_none());
    let diff = world.gateway.operate(&["attest", "diff", "laptop"]);
    assert_eq!(diff.status.code(), Some(1));
    assert!(diff.stdout.contains("PCR sha256:4 is "), "{}", diff.stdout);
    let accept = ["attest", "accept", "laptop", "--reason", "kernel 6.12"];
    world.gateway.operate(&accept).succeeded();
    wait_until("streams open again", || echoes(&agent).map(drop));
    let set = world.gateway.audited("reference-set");
    assert_eq!(set[1]["reason"], "kernel 6.12", "{set:?}");
}

#[test]
fn a_machine_comes_back_after_its_power_was_cut_four_times() {
    let rules = "[attestation]\ntpm_roots = \"MAKERS\"";
    let Some(mut world) = World::new(rules) else {
        return;
    };
    let join = world.gateway.join_string("laptop", &[]);
    let mut agent = world.join(world.agent_with(&join), "laptop");
    assert!(!agent.state().join("key.pem").exists(), "the key is sealed");
    for _ in 0..4 {
        agent.kill();
        world.tpm.cut_power().unwrap();
        world.tpm.switch_on().unwrap();
        agent.start();
    }
    assert!(echoes(&agent).is_some());
}

#[test]
fn the_agents_key_is_of_no_use_beside_another_tpm() {
    let rules = "[attestation]\ntpm_roots = \"MAKERS\"";
    let Some(mut world) = World::new(rules) else {
        return;
    };
    let join = world.gateway.join_string("laptop", &[]);
    let agent = world.join(world.agent_with(&join), "laptop");
    let Some(other) = Swtpm::manufacture().unwrap() else {
        return;
    };
    let config = agent.config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace(&world.tpm.address(), &other.address()),
    )
    .unwrap();
    let mut agent = agent;
    agent.kill();
    let told = agent.launch().log_of_failure();
    assert!(told.contains("error: the TPM:"), "{told}");
    world.tpm.cut_power().unwrap();
}

#[test]
fn without_hardware_nobody_comes_in_by_a_strict_listener_who_is_not_named() {
    let gateway = GatewaySetup::new().stage("strict").start();
    let agent = gateway.agent("laptop").configure();
    let process = agent.launch();
    wait_until("it is told why", || {
        let told = "nothing but its own word vouches for the machine of `laptop`";
        process.log().contains(told).then_some(())
    });
    let help = run(countersign().args(["attest", "--help"]), "").succeeded();
    assert!(help.contains("learn"), "{help}");
}

#[test]
fn a_gateways_root_key_is_sealed_to_its_tpm_and_opens_at_no_other() {
    let (Some(tpm), Some(other)) = (Swtpm::manufacture().unwrap(), Swtpm::manufacture().unwrap())
    else {
        return;
    };
    let mut gateway = GatewaySetup::new().configure();
    let config = std::fs::read_to_string(gateway.config()).unwrap();
    let keys = format!("[keys]\nroot = \"tpm:{}\"\n", tpm.address());
    std::fs::write(gateway.config(), format!("{config}\n{keys}")).unwrap();
    let root_key = gateway.state().join("root.key");
    for _ in 0..2 {
        gateway.start();
        gateway.stop();
        let text = std::fs::read_to_string(&root_key).unwrap();
        assert!(text.starts_with("countersign-root-key.tpm."), "{text}");
    }
    let keys = format!("[keys]\nroot = \"tpm:{}\"\n", other.address());
    std::fs::write(gateway.config(), format!("{config}\n{keys}")).unwrap();
    let told = gateway.launch().log_of_failure();
    assert!(told.contains("error: the TPM:"), "{told}");
}
