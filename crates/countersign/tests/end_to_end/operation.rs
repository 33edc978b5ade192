//! What an operator sees and does while the gateway runs.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use crate::support::{GatewaySetup, Tunnel, countersign, run, upstream, wait_until, write_private};

#[test]
fn a_session_shows_how_its_channel_was_negotiated() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    let _open = opened(&tunnel);
    let session = tunnel.gateway.ask(&["sessions", "list"])["sessions"][0].clone();
    assert_eq!(session["principal"], "spiffe://example.org/agent/laptop");
    assert_eq!(session["streams"][0]["service"], "echo");
    let negotiated = session["record"]["negotiated"].to_string();
    assert!(negotiated.contains("X25519MLKEM768"), "{negotiated}");
    assert!(negotiated.contains("mldsa65"), "{negotiated}");
    let metrics = tunnel.gateway.metrics();
    assert!(metrics.contains("X25519MLKEM768"), "{metrics}");
}

#[test]
fn each_profile_negotiates_what_it_is_for() {
    for (profile, group, scheme) in [
        ("cnsa2@1", "MLKEM1024", "mldsa87"),
        ("hybrid-high@1", "SecP384r1MLKEM1024", "mldsa87"),
        ("hybrid@1", "X25519MLKEM768", "mldsa65"),
        ("fips-hybrid@1", "SecP256r1MLKEM768", "ecdsa_secp"),
    ] {
        let setup = GatewaySetup::new().profile(profile);
        let tunnel = Tunnel::through(setup.service("echo", upstream::echo(), ""), "echo");
        let _open = opened(&tunnel);
        let session = tunnel.gateway.ask(&["sessions", "list"])["sessions"][0].clone();
        let record = &session["record"];
        assert_eq!(record["profile"], profile, "{record}");
        assert_eq!(record["negotiated"]["group"]["name"], group, "{record}");
        for signed in [&record["negotiated"]["scheme"], &record["peer"]["scheme"]] {
            assert!(signed.to_string().contains(scheme), "{record}");
        }
    }
}

#[test]
fn agents_work_at_every_stage() {
    for stage in ["strict", "hybrid", "classical-canary"] {
        let software = "[attestation]\nsoftware_in_strict = [\"laptop\"]";
        let setup = GatewaySetup::new().stage(stage).tables(software);
        let tunnel = Tunnel::through(setup.service("echo", upstream::echo(), ""), "echo");
        drop(opened(&tunnel));
        let shown = tunnel.gateway.operate(&["stage", "show"]).succeeded();
        assert!(shown.contains(stage), "{shown}");
    }
}

#[test]
fn a_log_for_machines_is_json_line_by_line() {
    let mut gateway = GatewaySetup::new().configure();
    let config = std::fs::read_to_string(gateway.config()).unwrap();
    let config = config.replace("[log]\n", "[log]\nformat = \"json\"\n");
    std::fs::write(gateway.config(), config).unwrap();
    gateway.start();
    let log = gateway.log();
    let line = |line| serde_json::from_str::<serde_json::Value>(line).expect(line);
    let lines: Vec<_> = log.lines().map(line).collect();
    let listening = lines.iter().find(|line| line["message"] == "listening");
    let listening = listening.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(listening["level"], "INFO", "{listening}");
    assert_eq!(listening["listener"], "main", "{listening}");
}

#[test]
fn revoking_an_agent_cuts_its_streams_and_keeps_it_out() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    let open = opened(&tunnel);
    tunnel
        .gateway
        .operate(&["agents", "revoke", "laptop", "--reason", "it was stolen"])
        .succeeded();
    assert_cut(open);
    wait_until("the agent has no channel", || {
        (!tunnel.agent.is_ready()).then_some(())
    });
    let agents = tunnel.gateway.ask(&["agents", "list"]);
    assert_eq!(agents["agents"][0]["revoked"]["reason"], "it was stolen");
    assert_eq!(tunnel.gateway.audited("agent-revoked").len(), 1);
}

#[test]
fn a_grant_taken_back_cuts_live_streams_and_spares_others() {
    let setup = GatewaySetup::new()
        .service("echo", upstream::echo(), "")
        .service("other", upstream::echo(), "");
    let tunnel = Tunnel::through(setup, "echo");
    tunnel.gateway.grant("laptop", "other");
    let open = opened(&tunnel);
    let remove = [
        "grants",
        "remove",
        "--principal",
        "laptop",
        "--service",
        "echo",
    ];
    tunnel.gateway.operate(&remove).succeeded();
    assert_cut(open);
    assert!(tunnel.agent.is_ready());
    let cut = tunnel.gateway.audited("stream-cut");
    assert_eq!(cut.len(), 1, "{cut:?}");
}

#[test]
fn what_an_operator_may_have_meant_otherwise_is_told() {
    let gateway = GatewaySetup::new()
        .service("echo", upstream::echo(), "")
        .start();
    for (service, known) in [("echo", true), ("nosuch", false)] {
        let grant = [
            "grants",
            "add",
            "--principal",
            "laptop",
            "--service",
            service,
        ];
        assert_eq!(gateway.ask(&grant)["service_known"], known);
    }
    let _agent = gateway.agent("laptop").start();
    let revoke = ["agents", "revoke", "laptop", "--reason", "it was stolen"];
    gateway.operate(&revoke).succeeded();
    let again = gateway.operate(&revoke);
    assert_eq!(again.status.code(), Some(1));
    let remedy = "`countersign join-string create --name laptop --replace`";
    assert!(again.stderr.contains(remedy), "{again:?}");
    let join = ["join-string", "create", "--name", "a", "--expires-in", "8d"];
    let refused = gateway.operate(&join);
    assert!(refused.stderr.contains("to 7 days"), "{refused:?}");
}

#[test]
fn closing_a_session_cuts_it_and_the_agent_comes_back() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    let open = opened(&tunnel);
    let session = tunnel.gateway.ask(&["sessions", "list"])["sessions"][0]["id"].clone();
    let id = session.as_str().unwrap();
    tunnel
        .gateway
        .operate(&["sessions", "close", id])
        .succeeded();
    assert_cut(open);
    wait_until("the agent has another channel", || {
        let sessions = tunnel.gateway.ask(&["sessions", "list"]);
        let other = sessions["sessions"].as_array()?.first()?["id"] != session;
        (other && tunnel.agent.is_ready()).then_some(())
    });
    drop(opened(&tunnel));
}

#[test]
fn a_rekey_moves_new_streams_and_lets_old_ones_end() {
    let gateway = GatewaySetup::new()
        .service("echo", upstream::echo(), "")
        .start();
    gateway.grant("laptop", "echo");
    let agent = gateway
        .agent("laptop")
        .key("rekey_interval = \"1s\"")
        .listener("echo")
        .start();
    let mut old = TcpStream::connect(("127.0.0.1", agent.port("echo"))).unwrap();
    old.write_all(b"a").unwrap();
    old.read_exact(&mut [0; 1]).unwrap();
    wait_until("three channels were opened", || {
        (gateway.audited("channel-opened").len() >= 4).then_some(())
    });
    old.write_all(b"b").unwrap();
    old.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn a_reload_takes_a_good_file_and_refuses_a_bad_one_whole() {
    let gateway = GatewaySetup::new().start();
    let config = std::fs::read_to_string(gateway.config()).unwrap();
    let with_service = format!(
        "{config}\n[[service]]\nname = \"added\"\nport = 7001\nupstream = \"127.0.0.1:7001\"\n"
    );
    std::fs::write(gateway.config(), &with_service).unwrap();
    gateway.signal(Signal::HUP);
    wait_until("the service is there", || {
        gateway
            .ask(&["services", "list"])
            .to_string()
            .contains("added")
            .then_some(())
    });

    std::fs::write(
        gateway.config(),
        with_service.replace("added", "renamed") + "nonsense = 1\n",
    )
    .unwrap();
    gateway.signal(Signal::HUP);
    wait_until("the file is refused", || {
        (!gateway.audited("configuration-refused").is_empty()).then_some(())
    });
    let services = gateway.ask(&["services", "list"]).to_string();
    assert!(
        services.contains("added") && !services.contains("renamed"),
        "{services}"
    );
}

#[test]
fn a_service_taken_out_of_the_configuration_loses_its_streams() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    let open = opened(&tunnel);
    let config = std::fs::read_to_string(tunnel.gateway.config()).unwrap();
    let without = config.replace("name = \"echo\"", "name = \"other\"");
    std::fs::write(tunnel.gateway.config(), without).unwrap();
    tunnel.gateway.signal(Signal::HUP);
    assert_cut(open);
}

#[test]
fn a_backup_brings_the_trust_domain_back_on_another_machine() {
    let mut first = Tunnel::to("echo", upstream::echo());
    let (backup, passphrase) = (
        first.gateway.home().join("backup"),
        first.gateway.home().join("passphrase"),
    );
    write_private(&passphrase, "correct horse battery staple\n");
    let [backup, passphrase] = [&backup, &passphrase].map(|path| path.to_str().unwrap());
    first
        .gateway
        .operate(&["backup", "create", backup, "--passphrase-file", passphrase])
        .succeeded();
    first.gateway.stop();
    std::fs::remove_dir_all(first.gateway.state()).unwrap();

    let config = first.gateway.config();
    let mut restore = countersign();
    restore
        .args([
            "backup",
            "restore",
            backup,
            "--passphrase-file",
            passphrase,
            "--config",
        ])
        .arg(config);
    run(&mut restore, "").succeeded();
    first.gateway.start();
    wait_until("the agent is back", || {
        let mut stream = first.connect();
        let _ = stream.write_all(b"x");
        stream.read_exact(&mut [0; 1]).ok()
    });
}

#[test]
fn a_stop_lets_open_streams_finish() {
    let mut tunnel = Tunnel::to("echo", upstream::echo());
    let mut open = opened(&tunnel);
    tunnel.gateway.signal(Signal::TERM);
    wait_until("it says that it stops", || {
        (!tunnel.gateway.is_ready()).then_some(())
    });
    open.write_all(b"the rest").unwrap();
    open.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"the rest");
    tunnel.gateway.stop();
}

#[test]
fn no_secret_is_logged_or_audited_and_none_is_left_to_others() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    drop(opened(&tunnel));
    let (gateway, agent) = (&tunnel.gateway, &tunnel.agent);
    let refused = tunnel.connect_by_proxy("nothing");
    let audit = std::fs::read_to_string(gateway.state().join("audit.jsonl")).unwrap();
    for text in [gateway.log(), agent.log(), audit, refused.1] {
        for secret in ["v4.local.", "countersign-join-", "PRIVATE KEY", "Bearer "] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    for folder in [gateway.state(), agent.state()] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            assert_eq!(mode(&file) & 0o077, 0, "{}", file.display());
        }
    }
    assert_eq!(mode(&gateway.home().join("gateway.sock")), 0o600);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A stream that has carried a byte both ways.
fn opened(tunnel: &Tunnel) -> TcpStream {
    let mut stream = tunnel.connect();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    stream
}

fn assert_cut(mut stream: TcpStream) {
    let error = stream.read(&mut [0; 1]).expect_err("a clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
