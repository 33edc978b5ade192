//! A confidential guest whose agent runs the operator's command for evidence; a port on loopback stands for its device.

use std::fmt::Write as _;

use countersign_softsnp::{Device, Guest, root};

use crate::support::{
    Agent, AgentSetup, Gateway, GatewaySetup, echoes, is_alive, upstream, wait_until,
};

/// A strict gateway before an echo service, which takes the authority of the tests for AMD.
fn gateway() -> Gateway {
    let mut hash = String::new();
    root()
        .iter()
        .for_each(|byte| write!(hash, "{byte:02x}").expect("a string grows"));
    GatewaySetup::new()
        .stage("strict")
        .service("echo", upstream::echo(), "")
        .tables(&format!(
            "[[attestation.root]]\ntechnology = \"sev-snp\"\nvendor = \"lab\"\nsha256 = \"{hash}\""
        ))
        .start()
}

/// An agent with this command for evidence.
fn agent(gateway: &Gateway, device: &Device, command: &[&str]) -> AgentSetup {
    let evidence = format!(
        "[evidence]\ncommand = {command:?}\ncertificate = {:?}\ncertificate_chain = {:?}",
        device.certificate(),
        device.certificate_chain()
    );
    AgentSetup::new(&gateway.join_string("edge", &[]))
        .listener("echo")
        .key("rekey_interval = \"1s\"")
        .tables(&evidence)
}

/// Starts an agent whose machine an operator knows by what it showed first.
fn known(gateway: &Gateway, device: &Device) -> Agent {
    let command = device.command();
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let mut agent = agent(gateway, device, &command).configure();
    let process = agent.launch();
    wait_until("it is told what is missing", || {
        let told = "countersign attest learn edge";
        process.log().contains(told).then_some(())
    });
    let learned = gateway.operate(&["attest", "learn", "edge"]).succeeded();
    assert!(learned.contains("`edge`: sev-snp, by lab\n"), "{learned}");
    drop(process);
    gateway.grant("edge", "echo");
    agent.start();
    agent
}

#[test]
fn a_guest_that_starts_from_another_image_loses_its_streams_until_it_is_accepted() {
    let (gateway, device) = (gateway(), Device::start().expect("a port"));
    let agent = known(&gateway, &device);
    let stream = echoes(&agent).expect("a stream");
    device.restart(Guest {
        measurement: 0x22,
        debug: false,
    });
    wait_until("the live stream is cut", || {
        (!is_alive(&stream)).then_some(())
    });
    assert!(echoes(&agent).is_none());
    let diff = gateway.operate(&["attest", "diff", "edge"]);
    assert_eq!(diff.status.code(), Some(1));
    let change = format!(
        "measurement is {} and was {}",
        "22".repeat(48),
        "11".repeat(48)
    );
    assert!(diff.stdout.contains(&change), "{}", diff.stdout);
    let accept = ["attest", "accept", "edge", "--reason", "image of December"];
    gateway.operate(&accept).succeeded();
    wait_until("streams open again", || echoes(&agent).map(drop));
    let agents = gateway.ask(&["agents", "list"]);
    assert_eq!(agents["agents"][0]["technology"], "sev-snp", "{agents}");
}

#[test]
fn a_command_that_gives_no_evidence_is_told_with_what_it_said() {
    let (gateway, device) = (gateway(), Device::start().expect("a port"));
    let command = ["/bin/sh", "-c", "echo no /dev/sev-guest here >&2; exit 1"];
    let agent = agent(&gateway, &device, &command).configure();
    let process = agent.launch();
    wait_until("it is told why", || {
        let told =
            "`/bin/sh` gave no evidence: it ended with exit status 1: no /dev/sev-guest here";
        process.log().contains(told).then_some(())
    });
    wait_until("it is told what to do", || {
        let told = "run it as the agent's user";
        process.log().contains(told).then_some(())
    });
}
