//! HTTP/2 on a channel, or on a tunnel in it.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::{
    self, Incoming, LARGEST_FRAME, RawRequest, Requests, ServerHandle, Tunnel,
};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::channel::{self, CONTROL_BODY_WAIT, control_body};
use super::client::Client;
use super::dispatch::Opening;
use super::entry::Over;
use super::exchange::{self, Body, Outcome, ReplyBody};
use super::inside::{Inside, TunnelIo};
use super::problem::{Audience, Problem};
use super::stream::Stream;

/// Serves a connection until it ends, and says how it did.
pub(crate) async fn serve<T>(client: &Client, io: T, streams: &TaskTracker) -> String
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let limits = client.gateway.http2_limits(&client.channel);
    let (mut requests, handle) = match tunnel::serve(io, &limits).await {
        Ok(served) => served,
        Err(error) => return error.to_string(),
    };
    let cut = tokio::select! {
        end = accept(client, &mut requests, &handle, streams) => return end,
        reason = client.channel.cut.wait() => reason,
    };
    handle.close();
    // The peer learns why its streams end; a peer that does not listen is not waited for.
    let farewell = async { while let Some(Ok(_)) = requests.next().await {} };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    cut.to_string()
}

async fn accept<T>(
    client: &Client,
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
                    let client = client.clone();
                    streams.spawn(async move { request(&client, incoming).await });
                }
                Some(Err(error)) => return error.to_string(),
                None => return "finished".to_owned(),
            },
            () = client.gateway.stopping.cancelled(), if !draining => {
                draining = true;
                handle.drain();
            }
        }
    }
}

/// Handles one request. A client that has gone away needs no answer, so a failure to answer is not one of ours.
async fn request(client: &Client, incoming: Incoming) {
    if incoming.is_tunnel() {
        return tunnel(client, incoming).await;
    }
    let request = incoming.parts();
    let meant = client.check_target(request);
    match meant.and_then(|()| client.means_gateway(request)) {
        Ok(true) => control(client, incoming).await,
        Ok(false) => exchange(client, incoming.into_raw()).await,
        Err(problem) => refuse(client, incoming, &problem),
    }
}

async fn tunnel(client: &Client, incoming: Incoming) {
    match client.decide_connect(incoming.parts()) {
        Err(problem) => refuse(client, incoming, &problem),
        Ok(opening) if opening.service.http.is_some() => {
            tunnel_to_requests(client, opening, incoming).await;
        }
        Ok(opening) => tunnel_to_bytes(client, opening, incoming).await,
    }
}

async fn tunnel_to_requests(client: &Client, opening: Opening, incoming: Incoming) {
    match Inside::open(client, opening) {
        Err(problem) => refuse(client, incoming, &problem),
        Ok(inside) => match incoming.accept(HeaderMap::new()) {
            Ok(tunnel) => inside.serve(Bytes::new(), TunnelIo::from(tunnel)).await,
            Err(_) => client.channel.waste(),
        },
    }
}

async fn tunnel_to_bytes(client: &Client, opening: Opening, mut incoming: Incoming) {
    let opened = tokio::select! {
        opened = Stream::open(&client.gateway, &client.channel, opening) => opened,
        _ = incoming.abandoned() => return client.channel.waste(),
    };
    match opened {
        Err(problem) => refuse(client, incoming, &problem),
        Ok(stream) => match incoming.accept(HeaderMap::new()) {
            Ok(tunnel) => stream.carry(tunnel).await,
            Err(_) => client.channel.waste(),
        },
    }
}

async fn control(client: &Client, mut incoming: Incoming) {
    match control_answer(client, &mut incoming).await {
        Ok(response) => {
            let _ = incoming.reply(response);
        }
        Err(problem) => refuse(client, incoming, &problem),
    }
}

async fn control_answer(
    client: &Client,
    incoming: &mut Incoming,
) -> Result<Response<Bytes>, Problem> {
    let Client {
        gateway, channel, ..
    } = client;
    channel::is_control(gateway, channel, incoming.parts())?;
    let body = incoming
        .body(control_body(channel), CONTROL_BODY_WAIT)
        .await
        .map_err(|error| Problem::malformed(error.to_string()))?;
    super::control::answer(gateway, channel, incoming.parts(), &body).await
}

fn refuse(client: &Client, incoming: Incoming, problem: &Problem) {
    client.refused(problem);
    let audience = Audience::of(&incoming.parts().headers);
    let _ = incoming.reply(problem.response_to(audience));
}

/// Carries one request to its service and the answer back.
async fn exchange(client: &Client, request: RawRequest) {
    let RawRequest {
        parts,
        body,
        mut respond,
        open,
    } = request;
    let (audience, is_head) = (Audience::of(&parts.headers), parts.method == Method::HEAD);
    // What follows an extended CONNECT is the WebSocket's, and no content.
    let (body, mut rest, wanted) = match parts.method == Method::CONNECT {
        true => (Body::empty(), Some(body), None),
        false => {
            let (body, wanted) = Body::http2(body, length(&parts));
            (body, None, Some(wanted))
        }
    };
    let Some(outcome) = answered(client, parts, body, wanted, &mut respond).await else {
        return;
    };
    match outcome {
        Ok(Outcome::Reply { response, over }) => {
            carry(respond, response, is_head, over).await;
        }
        Ok(Outcome::Switch { response, switch }) => {
            let answered = respond.send_response(response, false);
            if let (Ok(send), Some(rest)) = (answered, rest.take()) {
                switch.carry(Tunnel::resumed(rest, send, open)).await;
            }
        }
        Err(problem) => {
            client.refused(&problem);
            let response = exchange::whole(problem.response_to(audience));
            carry(respond, response, is_head, Box::pin(std::future::pending())).await;
        }
    }
}

/// What comes of a request; none if the client takes it back before that.
async fn answered(
    client: &Client,
    parts: Parts,
    body: Body,
    wanted: Option<oneshot::Receiver<()>>,
    respond: &mut SendResponse<Bytes>,
) -> Option<Result<Outcome, Problem>> {
    let expects = parts.headers.contains_key(http::header::EXPECT);
    let mut wanted = wanted.filter(|_| expects);
    let mut served = pin!(exchange::serve(client, parts, body));
    loop {
        tokio::select! {
            biased;
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return None,
            asked = is_wanted(&mut wanted) => {
                wanted = None;
                if asked {
                    let mut go_on = Response::new(());
                    *go_on.status_mut() = StatusCode::CONTINUE;
                    // It fails where the client is gone, which is noticed above.
                    let _ = respond.send_informational(go_on);
                }
            }
            outcome = &mut served => return Some(outcome),
        }
    }
}

/// Waits until the service asks for the body; false if it never will.
async fn is_wanted(wanted: &mut Option<oneshot::Receiver<()>>) -> bool {
    match wanted {
        Some(wanted) => wanted.await.is_ok(),
        None => std::future::pending().await,
    }
}

/// Sends a reply. Whatever keeps it from being whole resets the stream: there is no clean end after part of the data.
async fn carry(
    mut respond: SendResponse<Bytes>,
    response: Response<ReplyBody>,
    is_head: bool,
    over: Over,
) {
    let (head, body) = response.into_parts();
    let ends = is_head || body.is_end_stream();
    let Ok(mut send) = respond.send_response(Response::from_parts(head, ()), ends) else {
        return;
    };
    if ends {
        return;
    }
    let whole = tokio::select! {
        biased;
        () = over => false,
        whole = pump(body, &mut send) => whole,
    };
    if !whole {
        send.send_reset(Reason::INTERNAL_ERROR);
    }
}

/// Hands a body on, frame by frame, as the client makes room for it; false if it did not come to its end.
async fn pump(mut body: ReplyBody, send: &mut SendStream<Bytes>) -> bool {
    loop {
        let frame = tokio::select! {
            biased;
            _ = poll_fn(|cx| send.poll_reset(cx)) => return false,
            frame = body.frame() => frame,
        };
        let frame = match frame {
            None => return send.send_data(Bytes::new(), true).is_ok(),
            Some(Err(_)) => return false,
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                let last = body.is_end_stream();
                if !send_data(data, last, send).await {
                    return false;
                }
                if last {
                    return true;
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return send.send_trailers(trailers).is_ok();
            }
        }
    }
}

/// Sends data as far as the client's window allows, and waits for more; false if the client takes no more.
async fn send_data(mut data: Bytes, last: bool, send: &mut SendStream<Bytes>) -> bool {
    loop {
        let wanted = data.len().min(LARGEST_FRAME.into());
        if wanted > 0 && !has_room(wanted, send).await {
            return false;
        }
        let part = data.split_to(send.capacity().min(wanted));
        let ends = last && data.is_empty();
        if send.send_data(part, ends).is_err() {
            return false;
        }
        if data.is_empty() {
            return true;
        }
    }
}

/// Waits until the client's window has room. h2 wakes only for an increase, so what is there already is looked at first.
async fn has_room(wanted: usize, send: &mut SendStream<Bytes>) -> bool {
    send.reserve_capacity(wanted);
    while send.capacity() == 0 {
        match poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
    }
    true
}

/// The length that a request says its body has. h2 holds the body to it.
fn length(request: &Parts) -> Option<u64> {
    let length = request.headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// How long the frames that end a channel may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);
