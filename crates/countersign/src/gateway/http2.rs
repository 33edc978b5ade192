//! HTTP/2 on a channel.

use std::sync::Arc;
use std::time::Duration;

use countersign_channel::tunnel::{self, ConnectionError, Incoming, Requests, ServerHandle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::channel::{self, CONTROL_BODY, CONTROL_BODY_WAIT};
use super::live::LiveChannel;
use super::problem::Problem;
use super::stream::Stream;
use super::{Gateway, dispatch};

/// Serves a connection until it ends, and says how it did.
pub(crate) async fn serve<T>(
    gateway: &Arc<Gateway>,
    channel: &Arc<LiveChannel>,
    io: T,
    streams: &TaskTracker,
) -> String
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut requests, handle) = match tunnel::serve(io, &gateway.http2_limits(channel)).await {
        Ok(served) => served,
        Err(error) => return error.to_string(),
    };
    let cut = tokio::select! {
        end = accept(gateway, channel, &mut requests, &handle, streams) => return end,
        reason = channel.cut.wait() => reason,
    };
    handle.close();
    // The peer learns why its streams end; a peer that does not listen is not waited for.
    let farewell = async { while let Some(Ok(_)) = requests.next().await {} };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    cut.to_string()
}

async fn accept<T>(
    gateway: &Arc<Gateway>,
    channel: &Arc<LiveChannel>,
    requests: &mut Requests<T>,
    handle: &ServerHandle,
    streams: &TaskTracker,
) -> String
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut draining = false;
    loop {
        tokio::select! {
            next = requests.next() => match next {
                Some(Ok(incoming)) => {
                    let (gateway, channel) = (Arc::clone(gateway), Arc::clone(channel));
                    streams.spawn(async move { request(&gateway, &channel, incoming).await });
                }
                Some(Err(error)) => return error.to_string(),
                None => return "finished".to_owned(),
            },
            () = gateway.stopping.cancelled(), if !draining => {
                draining = true;
                handle.drain();
            }
        }
    }
}

/// Handles one request. A client that has gone away needs no answer, so a failure to answer is not one of ours.
async fn request(gateway: &Arc<Gateway>, channel: &Arc<LiveChannel>, mut incoming: Incoming) {
    if !incoming.is_tunnel() {
        let _ = match control(gateway, channel, &mut incoming).await {
            Ok(response) => incoming.reply(response),
            Err(problem) => refuse(channel, incoming, &problem),
        };
        return;
    }
    let opened = match dispatch::connect(gateway, channel, incoming.parts()) {
        Err(problem) => Err(problem),
        Ok(opening) => tokio::select! {
            opened = Stream::open(gateway, channel, opening) => opened,
            _ = incoming.abandoned() => return channel.waste(),
        },
    };
    match opened {
        Err(problem) => {
            let _ = refuse(channel, incoming, &problem);
        }
        Ok(stream) => match incoming.accept(http::HeaderMap::new()) {
            Ok(tunnel) => stream.carry(tunnel).await,
            Err(_) => channel.waste(),
        },
    }
}

fn refuse(
    channel: &LiveChannel,
    incoming: Incoming,
    problem: &Problem,
) -> Result<(), ConnectionError> {
    channel.refused();
    incoming.reply(problem.response())
}

async fn control(
    gateway: &Gateway,
    channel: &Arc<LiveChannel>,
    incoming: &mut Incoming,
) -> Result<http::Response<bytes::Bytes>, Problem> {
    channel::is_control(gateway, channel, incoming.parts())?;
    let body = incoming
        .body(CONTROL_BODY, CONTROL_BODY_WAIT)
        .await
        .map_err(|error| Problem::malformed(error.to_string()))?;
    super::control::answer(gateway, channel, incoming.parts(), &body).await
}

/// How long the frames that end a channel may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);
