use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// Writes until nothing more is taken, in virtual time, and returns how much was.
async fn fill(tunnel: &mut (impl AsyncWrite + Unpin)) -> usize {
    let block = vec![1; 10_000];
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), tunnel.write(&block)).await {
        taken += written.unwrap();
    }
    taken
}

fn small() -> Limits {
    Limits {
        stream_window: 100_000,
        send_buffer: 50_000,
        keepalive: None,
        ..Limits::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_stops_the_writer() {
    let limits = small();
    let mut tunnels = Tunnels::new(&limits).await;
    let (mut near, far) = tunnels.open().await;
    let taken = fill(&mut near).await;
    assert!(taken >= 100_000, "{taken}");
    assert!(taken <= 150_000, "{taken}");

    let (sent, received) = tokio::join!(send(&mut near, 1_000_000), receive(far));
    assert_eq!(received.unwrap().0, taken + 1_000_000);
    sent.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stalled_streams_do_not_stop_another() {
    let mut tunnels = Tunnels::new(&small()).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let (mut near, far) = tunnels.open().await;
        fill(&mut near).await;
        stalled.push((near, far));
    }
    let (mut near, mut far) = tunnels.open().await;
    let send = async {
        near.write_all(&[1; 400_000]).await.unwrap();
        near.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (sent, read) = tokio::join!(send, far.read_to_end(&mut received));
    assert_eq!((sent, read.unwrap()), ((), 400_000));
}

/// h2 ends a connection on which too many small frames wait to be read; small messages to
/// readers that stand still must reach the window first.
#[tokio::test(start_paused = true)]
async fn small_messages_to_a_stalled_reader_do_not_end_the_channel() {
    let quiet = Limits {
        keepalive: None,
        ..Limits::default()
    };
    let mut tunnels = Tunnels::new(&quiet).await;
    let mut stalled = Vec::new();
    for _ in 0..16 {
        let (mut near, far) = tunnels.open().await;
        let message = [1; 100];
        while let Ok(written) = timeout(Duration::from_secs(1), near.write(&message)).await {
            written.unwrap();
        }
        stalled.push((near, far));
    }
    tunnels.open().await;
}

async fn over_tcp() -> Tunnels {
    let (near, far) = tcp().await;
    let limits = Limits::default();
    let (client, server) = tokio::join!(Mux::handshake(near, &limits), serve(far, &limits));
    let (mux, driver) = client.unwrap();
    tokio::spawn(driver);
    let (requests, handle) = server.unwrap();
    Tunnels::over(mux, requests, handle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_arrive_whole_both_ways() {
    const SIZE: usize = 64 << 20;
    let mut tunnels = over_tcp().await;
    let (near, far) = tunnels.open().await;
    let mut ends = Vec::new();
    for end in [near, far] {
        let (reader, writer) = end.into_split();
        ends.push((
            tokio::spawn(send(writer, SIZE)),
            tokio::spawn(receive(reader)),
        ));
    }
    for (sent, received) in ends {
        let sent = sent.await.unwrap().unwrap();
        let (bytes, hash) = received.await.unwrap().unwrap();
        assert_eq!(bytes, SIZE);
        // Both ends send the same pattern.
        assert_eq!(hash.as_ref(), sent.as_ref());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_at_once_each_get_their_own_answer() {
    let mut tunnels = over_tcp().await;
    let mut accepted = std::mem::replace(&mut tunnels.accepted, mpsc::unbounded_channel().1);
    tokio::spawn(async move {
        while let Some(tunnel) = accepted.recv().await {
            let (mut reader, mut writer) = tokio::io::split(tunnel);
            tokio::spawn(async move {
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
        }
    });
    let mut streams = Vec::new();
    for number in 0..200 {
        let mux = tunnels.mux.clone();
        streams.push(tokio::spawn(async move {
            let mut tunnel = mux.connect(authority(), HeaderMap::new()).await.unwrap();
            let question = format!("question {number}");
            tunnel.write_all(question.as_bytes()).await.unwrap();
            tunnel.shutdown().await.unwrap();
            let mut answer = String::new();
            tunnel.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, question);
        }));
    }
    for stream in streams {
        stream.await.unwrap();
    }
    assert_eq!(tunnels.mux.open_streams(), 0);
}

/// The chunks in which a socket hands on what lies ready in it.
async fn chunks(ready: &[u8]) -> Vec<usize> {
    let (mut program, socket) = duplex(1 << 20);
    let mut socket = Socket::new(socket);
    program.write_all(ready).await.unwrap();
    drop(program);
    let mut chunks = Vec::new();
    while let Some(chunk) = poll_fn(|cx| socket.poll_receive(cx)).await.unwrap() {
        chunks.push(chunk.len());
    }
    chunks
}

#[tokio::test]
async fn bulk_comes_two_frames_at_a_time_once_it_shows() {
    let frame = usize::from(LARGEST_FRAME);
    assert_eq!(chunks(&[7; 100]).await, [100]);
    assert_eq!(
        chunks(&vec![7; 500_000]).await[..3],
        [8 << 10, frame, 2 * frame]
    );
}
