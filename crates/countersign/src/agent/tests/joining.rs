//! The whole agent over real TLS: how it gets in, and that no crash or bad answer costs it more than a start.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gateway::{AGED, EXPIRED, Gateway};
use crate::agent::{Agent, LinkState};
use crate::config::{AgentConfig, HostPort};
use crate::join_string::JoinString;
use crate::report::{Failure, Verdict};

/// A machine with a state directory and, perhaps, a join string.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn given(join: &JoinString) -> Self {
        let machine = Self::new();
        machine.give(join);
        machine
    }

    fn give(&self, join: &JoinString) {
        let path = self.file("join");
        std::fs::write(&path, join.expose_secret().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, more: &str) -> AgentConfig {
        let join = if self.file("join").exists() {
            "join_string_file = \"join\""
        } else {
            ""
        };
        let text = format!(
            "state_dir = \"home\"\n{join}\n{more}\n[[listener]]\nservice = \"echo:7\"\nbind = \"127.0.0.1:0\"\n"
        );
        AgentConfig::parse(&self.file("agent.toml"), text).unwrap()
    }

    async fn start(&self) -> Result<Agent, Failure> {
        Agent::start(self.config("")).await
    }

    async fn fails(&self) -> Failure {
        match self.start().await {
            Ok(_) => panic!("the agent started"),
            Err(failure) => failure,
        }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file("home").join(name)).unwrap()
    }
}

struct Running {
    listener: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn of(agent: Agent) -> Self {
        let listener = agent.listener_addresses()[0].unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(agent.run(stop.clone()));
        Self {
            listener,
            stop,
            task,
        }
    }

    async fn talk(&self) {
        let mut client = TcpStream::connect(self.listener).await.unwrap();
        client.write_all(b"over and back").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "over and back");
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn up() -> (Arc<Gateway>, JoinString) {
    let gateway = Gateway::new();
    let address = gateway.listen().await;
    let join = gateway.domain.join_string(address, "v4.local.join");
    (gateway, join)
}

fn enrolments(gateway: &Gateway) -> usize {
    gateway.enrolments.lock().unwrap().len()
}

#[tokio::test]
async fn an_agent_joins_once_and_carries_streams() {
    let (gateway, join) = up().await;
    let machine = Machine::given(&join);
    for _ in 0..2 {
        let running = Running::of(machine.start().await.unwrap());
        running.talk().await;
        running.stop().await;
    }
    assert_eq!(enrolments(&gateway), 1);
}

#[tokio::test]
async fn a_lost_reply_burns_nothing() {
    let (gateway, join) = up().await;
    gateway.losing.store(1, Ordering::SeqCst);
    let machine = Machine::given(&join);
    let error = machine.fails().await.to_string();
    assert!(error.starts_with("the gateway did not answer"), "{error}");
    // The join string came on standard input, say: the second start has none.
    std::fs::remove_file(machine.file("join")).unwrap();
    Running::of(machine.start().await.unwrap()).talk().await;
    let tried = gateway.enrolments.lock().unwrap().clone();
    assert_eq!(tried.len(), 2);
    assert_eq!(tried[0], tried[1]);
}

#[tokio::test]
async fn nothing_is_sent_to_a_gateway_that_is_not_the_one_in_the_join_string() {
    let (impostor, real) = up().await;
    let other = Gateway::new()
        .domain
        .join_string(real.address, "v4.local.join");
    let machine = Machine::given(&other);
    let error = machine.fails().await;
    let text = error.to_string();
    assert!(
        text.starts_with("what answers is not the gateway of the join string: the trust bundle is signed by the key "),
        "{text}"
    );
    assert!(error.hint().unwrap().starts_with("nothing secret was sent"));
    assert_eq!(error.verdict(), Verdict::No);
    assert_eq!(enrolments(&impostor), 0);
    assert_eq!(impostor.count(|gateway| &gateway.connections), 0);
}

#[tokio::test]
async fn a_clock_that_is_behind_is_told_before_anything_is_sent() {
    for (told, begins, prefix) in [(None, 600, "at least "), (Some(600), 300, "")] {
        let gateway = Gateway::new();
        *gateway.ahead.lock().unwrap() = told.map(Duration::from_secs);
        let ahead = Timestamp::now() + Duration::from_secs(begins);
        let address = gateway.listen_from(ahead).await;
        let join = gateway.domain.join_string(address, "v4.local.join");
        let error = Machine::given(&join).fails().await;
        let text = error.to_string();
        let prefix = format!("this machine's clock is {prefix}");
        let seconds = text.strip_prefix(&prefix).unwrap();
        let (seconds, rest) = seconds.split_once(' ').unwrap();
        let seconds: u32 = seconds.parse().unwrap();
        assert!((590..=601).contains(&seconds), "{text}");
        assert_eq!(rest, "seconds behind the gateway's");
        assert!(error.hint().unwrap().contains("timedatectl"));
        assert_eq!(enrolments(&gateway), 0);
    }
}

#[tokio::test]
async fn each_refusal_is_told_with_its_remedy() {
    let (gateway, join) = up().await;
    let machine = Machine::given(&join);
    for (code, detail, remedy) in [
        (
            "join_expired",
            "the join string expired at 12:00",
            "make a new one",
        ),
        (
            "join_used",
            "the join string was used already",
            "for this machine",
        ),
        ("clock_skew", "the clock is 600 s ahead", "timedatectl"),
        (
            "wrong_gateway",
            "this is another gateway's",
            "the gateway that it leads to",
        ),
        ("name_in_use", "`laptop` is in use", "--replace"),
        (
            "key_revoked",
            "the key was revoked",
            "move its `state_dir` away",
        ),
    ] {
        let refusal = json!({ "code": code, "detail": detail });
        *gateway.refusing.lock().unwrap() = Some((403, refusal));
        let error = machine.fails().await;
        let expected = format!("the gateway did not let this machine in: {detail}");
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().unwrap().contains(remedy), "{code}");
        assert_eq!(error.verdict(), Verdict::No);
    }
}

#[tokio::test]
async fn a_gateway_that_cannot_be_reached_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: HostPort = taken.local_addr().unwrap().to_string().parse().unwrap();
    drop(taken);
    let join = Gateway::new()
        .domain
        .join_string(address.clone(), "v4.local.join");
    let error = Machine::given(&join).fails().await;
    let expected = format!("cannot reach the gateway at `{address}`: ");
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_configured_address_takes_the_place_of_the_join_strings() {
    let (_gateway, join) = up().await;
    let reachable = join.address.clone();
    let unreachable = JoinString {
        address: "gate.invalid:1".parse().unwrap(),
        ..join
    };
    let machine = Machine::given(&unreachable);
    let config = machine.config(&format!("gateway = \"{reachable}\""));
    Running::of(Agent::start(config).await.unwrap())
        .talk()
        .await;
}

#[tokio::test]
async fn an_agent_with_nothing_to_join_with_says_what_to_do() {
    let machine = Machine::new();
    let error = machine.fails().await;
    let home = machine.file("home");
    assert_eq!(
        error.to_string(),
        format!(
            "this agent has not joined: `{}` holds no certificate",
            home.display()
        )
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("countersign join-string create")
    );
}

#[tokio::test]
async fn a_join_string_that_others_can_read_is_refused() {
    let (gateway, join) = up().await;
    let machine = Machine::given(&join);
    let path = machine.file("join");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = machine.fails().await;
    assert_eq!(
        error.hint(),
        Some(format!("run `chmod 600 {}`", path.display()))
    );
    assert_eq!(enrolments(&gateway), 0);
}

#[tokio::test]
async fn a_port_in_use_costs_no_join_string() {
    let (gateway, join) = up().await;
    let machine = Machine::given(&join);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = machine.config("");
    config.proxy.socks = Some(address);
    let error = Agent::start(config).await.err().unwrap().to_string();
    let expected = format!("cannot listen on `{address}` for the SOCKS5 proxy: ");
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(enrolments(&gateway), 0);
}

#[tokio::test]
async fn two_agents_on_one_home_are_an_error() {
    let (_gateway, join) = up().await;
    let machine = Machine::given(&join);
    let _first = machine.start().await.unwrap();
    let error = machine.fails().await.to_string();
    assert!(error.starts_with("another agent uses `"), "{error}");
}

#[tokio::test]
async fn an_agent_whose_certificate_expired_while_it_was_off_comes_back_by_itself() {
    let (gateway, join) = up().await;
    let machine = Machine::given(&join);
    *gateway.leaf.lock().unwrap() = EXPIRED;
    drop(machine.start().await.unwrap());
    *gateway.leaf.lock().unwrap() = super::gateway::FRESH;
    Running::of(machine.start().await.unwrap()).talk().await;
    let used = gateway.enrolments.lock().unwrap().clone();
    assert_eq!(used.len(), 2);
    assert_eq!(used[0], used[1]);
}

#[tokio::test]
async fn an_agent_that_was_forgotten_takes_the_new_join_string_it_is_given() {
    let (gateway, join) = up().await;
    let machine = Machine::given(&join);
    *gateway.leaf.lock().unwrap() = EXPIRED;
    drop(machine.start().await.unwrap());
    *gateway.leaf.lock().unwrap() = super::gateway::FRESH;
    *gateway.forgotten.lock().unwrap() = Some("v4.local.join".to_owned());
    machine.give(&gateway.domain.join_string(join.address, "v4.local.new"));
    Running::of(machine.start().await.unwrap()).talk().await;
    let used = gateway.enrolments.lock().unwrap().clone();
    let tokens: Vec<_> = used.iter().map(|(token, _)| token.as_str()).collect();
    assert_eq!(tokens, ["v4.local.join", "v4.local.join", "v4.local.new"]);
}

#[tokio::test]
async fn an_agent_that_is_shut_out_joins_anew_with_another_join_string_and_another_key() {
    for code in ["revoked", "not_enrolled", "wrong_key"] {
        let (gateway, join) = up().await;
        let machine = Machine::given(&join);
        drop(machine.start().await.unwrap());
        *gateway.shutting_out.lock().unwrap() = Some(code);
        machine.give(&gateway.domain.join_string(join.address, "v4.local.new"));
        Running::of(machine.start().await.unwrap()).talk().await;
        let used = gateway.enrolments.lock().unwrap().clone();
        assert_eq!(used.len(), 2, "{code}");
        assert_eq!(used[1].0, "v4.local.new");
        assert_ne!(used[0].1, used[1].1);
    }
}

#[tokio::test]
async fn an_agent_that_is_let_in_keeps_its_key_whatever_join_string_it_is_given() {
    let (gateway, join) = up().await;
    let machine = Machine::given(&join);
    drop(machine.start().await.unwrap());
    machine.give(&gateway.domain.join_string(join.address, "v4.local.new"));
    Running::of(machine.start().await.unwrap()).talk().await;
    assert_eq!(enrolments(&gateway), 1);
}

#[tokio::test]
async fn a_certificate_past_its_half_life_is_renewed_on_disk_and_no_stream_dropped() {
    let (gateway, join) = up().await;
    let machine = Machine::given(&join);
    *gateway.leaf.lock().unwrap() = AGED;
    let agent = machine.start().await.unwrap();
    *gateway.leaf.lock().unwrap() = super::gateway::FRESH;
    let (key, before) = (machine.read("key.pem"), machine.read("svid.pem"));
    let mut link = agent.link();
    let running = Running::of(agent);
    let mut stream = TcpStream::connect(running.listener).await.unwrap();
    stream.write_all(b"a").await.unwrap();
    let renewed = async {
        while gateway.count(|gateway| &gateway.connections) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed)
        .await
        .unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'a');
    running.talk().await;
    assert_eq!(gateway.count(|gateway| &gateway.renewals), 1);
    assert_ne!(machine.read("svid.pem"), before);
    assert_eq!(machine.read("key.pem"), key);
    assert!(matches!(
        *link.borrow_and_update(),
        LinkState::Connected { .. }
    ));
}

#[tokio::test]
async fn telemetry_tells_whether_there_is_a_channel() {
    let (_gateway, join) = up().await;
    let machine = Machine::given(&join);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut config = machine.config("");
    config.telemetry.address = Some(address);
    let agent = Agent::start(config).await.unwrap();
    let mut link = agent.link();
    let _running = Running::of(agent);
    let connected = |state: &LinkState| matches!(state, LinkState::Connected { .. });
    link.wait_for(connected).await.unwrap();
    for path in ["/healthz", "/readyz"] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}
