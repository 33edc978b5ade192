//! What a client says before it is let in reaches the service after a permit, and nobody without one.

use countersign_channel::tunnel::Early;

use super::*;

/// A service that tells what each connection says first.
async fn heard() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut first = vec![0; 100];
            let length = tcp.read(&mut first).await.unwrap();
            first.truncate(length);
            tell.send(first).unwrap();
        }
    });
    (address, heard)
}

async fn say(mux: &Mux, words: &'static [u8], token: &str) -> Result<Tunnel, ConnectError> {
    let mut headers = HeaderMap::new();
    let token = format!("Bearer {token}").parse().unwrap();
    headers.insert(PROXY_AUTHORIZATION, token);
    let authority = "heard:9".parse().unwrap();
    let mut early = Early::of(words);
    within(mux.connect_saying(authority, headers, &mut early)).await
}

#[tokio::test]
async fn it_waits_for_the_permit() {
    let (service, mut heard) = heard().await;
    let world = World::start(&format!(
        "{LISTENER}\n[[service]]\nname = \"heard\"\nport = 9\nupstream = \"{service}\"\n"
    ))
    .await;
    let agent = world.enrol("laptop").await;
    let mux = agent.channel().await;
    let refused = told(say(&mux, b"let me in", &agent.token).await);
    assert_eq!(
        refused,
        "403 denied: `spiffe://example.org/agent/laptop` may not reach `heard`: no grant"
    );
    world.grant("laptop", "heard").await;
    let _tunnel = say(&mux, b"hello", &agent.token).await.unwrap();
    // The first that the service hears of at all is the one that was let in.
    assert_eq!(within(heard.recv()).await.unwrap(), b"hello");
    assert!(heard.try_recv().is_err());
}
