//! What one client may cost.

use tokio::sync::mpsc;

use super::*;

/// A gateway with a service `tls:9` that takes connections, tells of them, and never answers.
async fn silent_world() -> (World, mpsc::UnboundedReceiver<TcpStream>) {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    let (taken, connections) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = silent.accept().await {
            let _ = taken.send(tcp);
        }
    });
    let authority = rcgen::generate_simple_self_signed(["tls.test".to_owned()]).unwrap();
    let write = |folder: &TempDir| {
        std::fs::write(folder.path().join("ca.pem"), authority.cert.pem()).unwrap();
    };
    let service = format!(
        r#"{LISTENER}
        [[service]]
        name = "tls"
        port = 9
        upstream = "{address}"
        connect_timeout = "10m"
        tls.ca = "ca.pem"
        tls.name = "tls.test"
        [[service]]
        name = "impatient"
        port = 10
        upstream = "{address}"
        connect_timeout = "50ms"
        "#
    );
    (World::start_with(write, &service).await, connections)
}

/// An agent that may reach it, on a channel with a session.
async fn agent_at(world: &World) -> Mux {
    let agent = world.enrol("laptop").await;
    world.grant("laptop", "tls").await;
    let mux = agent.channel().await;
    request(&mux, Method::POST, "/v1/token", &json!({})).await;
    mux
}

fn dial(mux: &Mux) -> tokio::task::JoinHandle<Result<Tunnel, ConnectError>> {
    let mux = mux.clone();
    tokio::spawn(async move {
        mux.connect("tls:9".parse().unwrap(), HeaderMap::new())
            .await
    })
}

/// Waits until the other end has closed it.
async fn is_closed(mut tcp: TcpStream) {
    let mut buffer = Vec::new();
    let _ = within(tcp.read_to_end(&mut buffer)).await;
}

#[tokio::test]
async fn a_client_that_gives_up_stops_the_connection_to_the_service() {
    let (world, mut connections) = silent_world().await;
    let mux = agent_at(&world).await;
    let waiting = dial(&mux);
    let tcp = within(connections.recv()).await.unwrap();
    waiting.abort();
    is_closed(tcp).await;
    let taken_back = json!({ "end": "the client took it back before it was open" });
    world.event("stream-closed", taken_back).await;
    let (status, _) = request(&mux, Method::GET, "/v1/services", &Value::Null).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_client_that_is_gone_stops_it_too() {
    let (world, mut connections) = silent_world().await;
    let agent = world.enrol("laptop").await;
    world.grant("laptop", "tls").await;
    let connector = Connector::new(PROFILE, Arc::clone(&agent.bundle), &agent.svid).unwrap();
    let tcp = TcpStream::connect(world.address()).await.unwrap();
    let connected = connector.connect(tcp).await.unwrap();
    let (mux, driver) = Mux::handshake(connected.stream, &Limits::default())
        .await
        .unwrap();
    let driver = tokio::spawn(driver);
    request(&mux, Method::POST, "/v1/token", &json!({})).await;
    let _waiting = dial(&mux);
    let tcp = within(connections.recv()).await.unwrap();
    driver.abort();
    is_closed(tcp).await;
}

#[tokio::test]
async fn a_cut_stops_the_connection_to_the_service() {
    let (world, mut connections) = silent_world().await;
    let mux = agent_at(&world).await;
    let waiting = dial(&mux);
    let tcp = within(connections.recv()).await.unwrap();
    let path = "/grants?principal=laptop&service=tls";
    world.operate("DELETE", path, &Value::Null).await;
    is_closed(tcp).await;
    assert_eq!(
        told(within(waiting).await.unwrap()),
        "403 denied: the stream was cut while it was opened: policy no longer permits it: no grant"
    );
    world.event("stream-cut", json!({ "service": "tls" })).await;
}

#[tokio::test]
async fn a_channel_opens_no_more_connections_at_a_time_than_it_may() {
    let (world, mut connections) = silent_world().await;
    let mux = agent_at(&world).await;
    let waiting: Vec<_> = (0..70).map(|_| dial(&mux)).collect();
    let mut opened = Vec::new();
    for _ in 0..64 {
        opened.push(within(connections.recv()).await.unwrap());
    }
    let streams = || world.handle.live().streams_to("tls");
    until(|| streams() == 70).await;
    assert!(connections.try_recv().is_err());
    world.grant("laptop", "impatient").await;
    assert_eq!(
        told(connect(&mux, "impatient:10", None).await),
        "503 too_many_pending: too many connections to services are being opened for this channel, and none got ready in time"
    );
    // One that is given up makes room for the next.
    waiting.iter().for_each(|one| one.abort());
    until(|| streams() == 0).await;
}

#[tokio::test]
async fn a_channel_that_is_full_renews_its_token_and_is_told_that_it_is_full() {
    let world = World::start(&format!("limits.streams_per_channel = 2\n{LISTENER}")).await;
    let agent = world.granted("laptop").await;
    let (mux, mut first) = agent.echo().await;
    let second = connect(&mux, "echo:7", None).await.unwrap();
    assert_eq!(
        told(connect(&mux, "echo:7", None).await),
        "503 too_many_streams: this channel has 2 streams open, and may have no more"
    );
    let (status, _) = request(&mux, Method::POST, "/v1/token", &json!({})).await;
    assert_eq!(status, 200);
    first.answers().await;
    drop(second);
    until(|| world.handle.live().streams_to("echo") == 1).await;
    assert!(connect(&mux, "echo:7", None).await.is_ok());
}

#[tokio::test]
async fn streams_that_are_reset_as_fast_as_they_are_opened_end_the_channel() {
    let (world, mut connections) = silent_world().await;
    let mux = agent_at(&world).await;
    tokio::spawn(async move { while connections.recv().await.is_some() {} });
    let live = || world.handle.live();
    let flood = async {
        while !mux.is_draining() {
            let before = live()
                .channels()
                .iter()
                .map(|c| c.streams_opened())
                .sum::<u64>();
            let waiting: Vec<_> = (0..200).map(|_| dial(&mux)).collect();
            until(|| {
                let opened = live()
                    .channels()
                    .iter()
                    .map(|c| c.streams_opened())
                    .sum::<u64>();
                opened >= before + 200 || mux.is_draining()
            })
            .await;
            waiting.iter().for_each(|one| one.abort());
        }
    };
    within(flood).await;
    let reason = "too many of its requests were refused or taken back";
    let closed = world
        .event("channel-closed", json!({ "reason": reason }))
        .await;
    assert!(closed["streams"].as_u64().unwrap() >= 512, "{closed}");
}

#[tokio::test]
async fn a_stranger_who_is_refused_again_and_again_is_sent_away() {
    let world = super::agentless::world("", "").await;
    let mux = super::agentless::mux(&world, "gate.test").await;
    let mut refused = 0;
    while connect(&mux, "echo:7", None).await.is_err() && !mux.is_draining() {
        refused += 1;
    }
    assert!((64..80).contains(&refused), "{refused}");
    let reason = "too many of its requests were refused or taken back";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;
}

#[tokio::test]
async fn an_agent_is_not_sent_away_for_what_a_program_behind_it_asks() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let (mux, mut echo) = agent.echo().await;
    for _ in 0..600 {
        assert!(connect(&mux, "nothing:7", None).await.is_err());
    }
    echo.answers().await;
}

#[tokio::test]
async fn a_stranger_who_opens_nothing_is_sent_away_and_an_agent_is_not() {
    let world = super::agentless::world("", "").await;
    let agent = world.granted("laptop").await;
    let (waiting, idle) = (
        agent.channel().await,
        super::agentless::mux(&world, "web.test").await,
    );
    until(|| world.handle.live().len() == 2).await;
    tokio::time::pause();
    let closed = tokio::time::timeout(Duration::from_secs(125), idle.closed()).await;
    assert!(closed.is_ok());
    tokio::time::resume();
    assert!(!waiting.is_draining());
    let reason = "it opened nothing for too long";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;
}

#[tokio::test]
async fn a_stranger_gets_less_room_than_an_agent() {
    let world = super::agentless::world("", "").await;
    let agent = world.granted("laptop").await;
    let (_agent, _stranger) = (
        agent.channel().await,
        super::agentless::mux(&world, "web.test").await,
    );
    let gateway = &world.handle.gateway;
    until(|| gateway.live.len() == 2).await;
    for channel in gateway.live.channels() {
        let limits = gateway.http2_limits(&channel);
        let room = (limits.streams, limits.connection_window, limits.send_buffer);
        let expected = match channel.is_stranger() {
            true => (100, 2 << 20, 64 << 10),
            false => (256 + 16, 32 << 20, 256 << 10),
        };
        assert_eq!(room, expected, "{}", channel.principal());
    }
}

#[tokio::test]
async fn a_stranger_who_tries_join_tokens_is_sent_away() {
    let world = World::start(LISTENER).await;
    let agent = world.enrol("laptop").await;
    let connector = Connector::anonymous(PROFILE, Arc::clone(&agent.bundle)).unwrap();
    let mux = channel(world.address(), &connector).await;
    let body = json!({
        "join_token": "v4.local.AAAA",
        "certificate_request": "AAAA",
        "now": Timestamp::now(),
    });
    let body = Bytes::from(body.to_string());
    let attempt = || {
        let uri = format!("https://{GATEWAY}/v1/enrol");
        mux.request(Request::post(uri).body(body.clone()).unwrap())
    };
    let mut tries = 0;
    while within(attempt())
        .await
        .is_ok_and(|answer| !answer.status().is_success())
    {
        tries += 1;
    }
    assert!((60..80).contains(&tries), "{tries}");
}

#[tokio::test]
async fn refusals_are_told_one_by_one_and_a_flood_of_them_by_its_number() {
    let world = World::start(LISTENER).await;
    let gateway = &world.handle.gateway;
    let refused = |client: u16| countersign_channel::ChannelRecord {
        at: Timestamp::now(),
        listener: "main".to_owned(),
        peer_address: ([192, 0, 2, 1], client).into(),
        stage: countersign_channel::Stage::Hybrid,
        profile: PROFILE,
        kind: None,
        offered: countersign_channel::record::Offer::default(),
        negotiated: None,
        peer: None,
        client: None,
        exception: None,
        outcome: countersign_channel::record::Outcome::Refused(
            countersign_channel::record::Refusal::NotTls,
        ),
    };
    tokio::time::pause();
    let refusals = crate::gateway::refusals::Refusals::new();
    for client in 0..5000 {
        refusals.tell(gateway, refused(client));
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    refusals.tell(gateway, refused(5000));
    world
        .event(
            "channels-refused",
            json!({ "listener": "main", "number": 904 }),
        )
        .await;
    let told = world.events().await;
    let told = told
        .iter()
        .filter(|event| event["event"] == "channel-refused")
        .count();
    assert_eq!(told, 4097);
}

#[tokio::test]
async fn a_connection_that_never_finishes_takes_no_channels_place() {
    let world = World::start(&format!("limits.channels = 1\n{LISTENER}")).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(world.address()).await.unwrap());
    }
    let agent = world.enrol("laptop").await;
    until(|| world.handle.live().len() == 0).await;
    let mux = agent.channel().await;
    let (status, _) = request(&mux, Method::GET, "/v1/services", &Value::Null).await;
    assert_eq!(status, 200);
    drop(silent);
}

#[tokio::test]
async fn strangers_make_room_for_each_other_and_never_keep_an_agent_out() {
    let world = World::start(&format!("limits.channels = 4\n{LISTENER}")).await;
    let agent = world.enrol("laptop").await;
    until(|| world.handle.live().len() == 0).await;
    let connector = Connector::anonymous(PROFILE, Arc::clone(&agent.bundle)).unwrap();
    let mut strangers = Vec::new();
    for number in 1..=5 {
        strangers.push(channel(world.address(), &connector).await);
        until(|| world.handle.live().len() == number.min(3)).await;
    }
    let reason = "another stranger needed its place";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;
    let (status, _) = request(
        &agent.channel().await,
        Method::GET,
        "/v1/services",
        &Value::Null,
    )
    .await;
    assert_eq!(status, 200);
}
