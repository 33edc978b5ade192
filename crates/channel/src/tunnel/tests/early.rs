//! What a program says before its tunnel stands.

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::AsyncWriteExt;

use super::*;

/// Asks for a tunnel, on behalf of the program at the other end of a pipe.
async fn ask<R>(mux: &Mux, early: &mut Early<R>) -> Result<Tunnel, ConnectError>
where
    R: AsyncRead + Unpin,
{
    mux.connect_saying(authority(), HeaderMap::new(), early)
        .await
}

fn says(words: &'static [u8]) -> Early<&'static [u8]> {
    Early::of(words)
}

#[tokio::test]
async fn it_is_there_before_the_server_has_answered() {
    let (mux, mut requests, _handle) = channel(&Limits::default()).await;
    let asking = tokio::spawn(async move { ask(&mux, &mut says(b"hello")).await });
    let raw = requests.next().await.unwrap().unwrap().into_raw();
    tokio::spawn(async move { while requests.next().await.is_some() {} });
    let mut body = raw.body;
    assert_eq!(body.data().await.unwrap().unwrap(), "hello");
    assert!(!body.is_end_stream());
    assert!(!asking.is_finished());
}

#[tokio::test]
async fn the_tunnel_carries_what_comes_after_it() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let (mut program, local) = duplex(100);
    program.write_all(b"first, ").await.unwrap();
    let mut early = Early::of(local);
    let mut near = ask(&tunnels.mux, &mut early).await.unwrap();
    assert_eq!(early.said(), "first, ");
    near.write_all(b"second").await.unwrap();
    near.shutdown().await.unwrap();
    let mut heard = String::new();
    let mut far = tunnels.accepted.recv().await.unwrap();
    far.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "first, second");
}

#[tokio::test]
async fn a_refusal_arrives_all_the_same_and_the_next_attempt_says_it_again() {
    let (mux, mut requests, _handle) = channel(&Limits::default()).await;
    let server = tokio::spawn(async move {
        let incoming = requests.next().await.unwrap().unwrap();
        let mut refusal = Response::new(Bytes::from_static(b"no grant"));
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        incoming.reply(refusal).unwrap();
        let incoming = requests.next().await.unwrap().unwrap();
        let far = incoming.accept(HeaderMap::new()).unwrap();
        tokio::spawn(async move { while requests.next().await.is_some() {} });
        far
    });
    let mut early = says(b"hello");
    let refused = ask(&mux, &mut early).await.unwrap_err();
    let ConnectError::Rejected(refused) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (refused.status.as_u16(), &*refused.body),
        (403, &b"no grant"[..])
    );
    let mut near = ask(&mux, &mut early).await.unwrap();
    near.shutdown().await.unwrap();
    let mut far = server.await.unwrap();
    let mut heard = String::new();
    far.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn the_end_of_a_program_is_told_by_its_tunnel_alone() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let mut early = says(b"");
    let near = ask(&tunnels.mux, &mut early).await.unwrap();
    let mut far = tunnels.accepted.recv().await.unwrap();
    drop(near);
    // Nothing but the tunnel ends the direction: dropped before that, it is reset.
    assert_eq!(failure(&mut far).await, io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_program_that_fails_takes_its_tunnel_back() {
    let (mux, mut requests, _handle) = channel(&Limits::default()).await;
    let (program, local) = tcp().await;
    program.set_zero_linger().unwrap();
    drop(program);
    let error = ask(&mux, &mut Early::of(local)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Program(_)), "{error:?}");
    assert_eq!(mux.open_streams(), 0);
    // A stream that was reset before it was written never comes; one that was comes and is given up.
    drop(mux);
    while let Some(incoming) = requests.next().await {
        let mut incoming = incoming.unwrap();
        tokio::spawn(async move { incoming.abandoned().await });
    }
}

#[tokio::test]
async fn it_is_no_more_than_a_request_has_in_its_head() {
    let (mux, mut requests, _handle) = channel(&Limits::default()).await;
    tokio::spawn(async move {
        let incoming = requests.next().await.unwrap().unwrap();
        let _tunnel = incoming.accept(HeaderMap::new()).unwrap();
        while requests.next().await.is_some() {}
    });
    let endless = tokio::io::repeat(7);
    let mut early = Early::of(endless);
    ask(&mux, &mut early).await.unwrap();
    assert!(early.said().len() <= 8 << 10, "{}", early.said().len());
}
