//! Power cuts, and what stands in a start's way.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;

use sqlx::{Connection, SqliteConnection};

use crate::support::{
    Gateway, GatewaySetup, Tunnel, loopback, upstream, wait_until, write_private,
};

#[test]
fn a_killed_gateway_starts_again_with_everything_it_knew() {
    let mut tunnel = Tunnel::to("echo", upstream::echo());
    let mut open = tunnel.connect();
    open.write_all(b"x").unwrap();
    open.read_exact(&mut [0; 1]).unwrap();
    tunnel.gateway.kill();
    open.read(&mut [0; 1])
        .expect_err("the stream ended cleanly");

    tunnel.gateway.start();
    wait_until("the agent is back", || says_hello(&tunnel).then_some(()));
    assert_eq!(tunnel.gateway.audited("enrolment-allowed").len(), 1);
    let grants = tunnel.gateway.ask(&["grants", "list"]).to_string();
    assert!(grants.contains("agent/laptop"), "{grants}");
}

#[test]
fn a_killed_agent_starts_again_without_joining_again() {
    let mut tunnel = Tunnel::to("echo", upstream::echo());
    tunnel.agent.kill();
    tunnel.agent.start();
    assert!(says_hello(&tunnel));
    assert_eq!(tunnel.gateway.audited("enrolment-allowed").len(), 1);
}

#[test]
fn a_killed_agent_or_gateway_is_a_reset_at_both_ends() {
    let (service, ends) = upstream::telling_how_streams_end();
    for kill in [
        |t: &mut Tunnel| t.agent.kill(),
        |t: &mut Tunnel| t.gateway.kill(),
    ] {
        let mut tunnel = Tunnel::to("told", service);
        let mut open = tunnel.connect();
        open.write_all(b"x").unwrap();
        open.read_exact(&mut [0; 1]).unwrap();
        kill(&mut tunnel);
        assert_eq!(ends.recv().unwrap(), Err(ErrorKind::ConnectionReset));
        let error = open.read(&mut [0; 1]).expect_err("a clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn an_agent_killed_at_any_moment_of_its_joining_joins_once() {
    for file in ["agent.lock", "key.pem", "svid.pem"] {
        let gateway = GatewaySetup::new()
            .service("echo", upstream::echo(), "")
            .start();
        let mut agent = gateway.agent("laptop").configure();
        let first = agent.launch();
        wait_until(file, || agent.state().join(file).exists().then_some(()));
        first.kill();
        agent.start();
        let agents = gateway.ask(&["agents", "list"]);
        assert_eq!(
            agents["agents"].as_array().map(Vec::len),
            Some(1),
            "{agents}"
        );
        let allowed = gateway.audited("enrolment-allowed");
        let first_time = |event: &&serde_json::Value| event["repeated"] == false;
        assert_eq!(
            allowed.iter().filter(first_time).count(),
            1,
            "{file}: {allowed:?}"
        );
    }
}

#[test]
fn a_gateway_killed_at_any_moment_of_its_first_start_starts_again() {
    for moment in ["opening", "ready"] {
        let mut gateway = GatewaySetup::new().configure();
        let first = gateway.launch();
        if moment == "ready" {
            wait_until("the first start wrote its key", || {
                gateway.state().join("root.key").exists().then_some(())
            });
        }
        first.kill();
        gateway.start();
        let status = gateway.ask(&["stage", "show"]).to_string();
        assert!(status.contains("hybrid"), "{moment}: {status}");
    }
}

#[test]
fn a_second_gateway_on_one_database_is_refused() {
    let gateway = GatewaySetup::new().start();
    let told = ends(&gateway);
    assert!(
        told.contains("is in use by the gateway with process id"),
        "{told}"
    );
    assert!(told.contains("hint: "), "{told}");
}

#[test]
fn a_port_in_use_is_named() {
    let gateway = GatewaySetup::new().configure();
    let _taken = TcpListener::bind(loopback(gateway.port)).unwrap();
    let told = ends(&gateway);
    assert!(told.contains(&gateway.port.to_string()), "{told}");
    assert!(told.contains("in use"), "{told}");
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let mut gateway = GatewaySetup::new().start();
    gateway.stop();
    execute(
        &gateway,
        "UPDATE _sqlx_migrations SET version = 9999 WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
    );
    let told = ends(&gateway);
    assert!(told.contains("9999"), "{told}");
    assert!(told.contains("hint: "), "{told}");
}

#[test]
fn a_database_that_another_program_locks_is_named() {
    let mut gateway = GatewaySetup::new().start();
    gateway.stop();
    let runtime = runtime();
    let _locked = runtime.block_on(async {
        let mut database = open(&gateway).await;
        for statement in ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                .execute(&mut database)
                .await
                .unwrap();
        }
        database
    });
    let told = ends(&gateway);
    assert!(told.contains("is locked by another program"), "{told}");
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let gateway = GatewaySetup::new().configure();
    std::fs::create_dir(gateway.state()).unwrap();
    write_private(&gateway.state().join("gateway.db"), [b'x'; 8192]);
    let told = ends(&gateway);
    assert!(told.contains("is not a database"), "{told}");
}

/// Starts a gateway that must end by itself, and gives what it printed.
fn ends(gateway: &Gateway) -> String {
    gateway.launch().log_of_failure()
}

fn says_hello(tunnel: &Tunnel) -> bool {
    let mut stream = tunnel.connect();
    let mut answer = [0; 5];
    stream.write_all(b"hello").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"hello"
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn execute(gateway: &Gateway, statement: &str) {
    runtime().block_on(async {
        let mut database = open(gateway).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut database)
            .await
            .expect("a statement");
        database.close().await.expect("it closes");
    });
}

async fn open(gateway: &Gateway) -> SqliteConnection {
    let file = gateway.state().join("gateway.db");
    SqliteConnection::connect(&format!("sqlite:{}", file.display()))
        .await
        .expect("a database")
}
