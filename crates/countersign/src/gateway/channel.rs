//! One channel, from its handshake to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_channel::server::Accepted;
use countersign_channel::stage::Kind;
use http::Method;
use http::request::Parts;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::live::LiveChannel;
use super::problem::Problem;
use super::{Gateway, http1, http2, identity_keys, target};
use crate::audit::Event;

/// Serves a channel until either end is done with it.
pub(crate) async fn serve(gateway: Arc<Gateway>, accepted: Accepted<TcpStream>, local: SocketAddr) {
    let Accepted {
        stream,
        record,
        client,
        binding,
        ..
    } = accepted;
    let _open = gateway.metrics.channel_open(&record);
    let guard = gateway.live.enter(record, client, binding, local);
    let channel = &guard.channel;
    opened(&gateway, channel);
    let alpn = channel
        .record
        .negotiated
        .as_ref()
        .and_then(|n| n.alpn.as_deref());
    let (client, streams) = (Client::new(&gateway, channel), TaskTracker::new());
    let carried = async {
        let end = match alpn {
            Some("h2") => Box::pin(http2::serve(&client, stream, &streams)).await,
            _ => Box::pin(http1::serve(&client, stream)).await,
        };
        streams.close();
        streams.wait().await;
        end
    };
    // It was admitted by what was in force when its handshake began; from its entry on, whatever changes finds it.
    let judged = gateway
        .running()
        .judge_handshake(&channel.record, Timestamp::now());
    if let Some(reason) = judged {
        channel.cut.cut(reason);
    }
    let end = tokio::select! {
        end = carried => end,
        never = channel.watch_sessions() => match never {},
        never = channel.watch_idle() => match never {},
        never = end_outcast(&gateway, channel) => match never {},
    };
    // A connection whose streams were cut may have ended before it was asked to.
    let cut = channel.cut.reason();
    closed(&gateway, channel, cut.as_deref().unwrap_or(&end));
}

/// Whether a request may be one of the gateway's own, judged before its body is read.
///
/// # Errors
///
/// It is for nobody here.
pub(crate) fn is_control(
    gateway: &Gateway,
    channel: &LiveChannel,
    request: &Parts,
) -> Result<(), Problem> {
    let authority = target::of_request(request)?;
    let host = authority.host();
    let own = host.eq_ignore_ascii_case(&gateway.server_name);
    let keys = || identity_keys::are_asked_of_a_service(gateway, channel, request, host);
    if own && channel.record.kind == Some(Kind::Agent) || keys() {
        return Ok(());
    }
    Err(Problem::misdirected(match request.method {
        Method::CONNECT => "an extended CONNECT is not served here".to_owned(),
        _ => format!("`{host}` is not served on this channel; reach a service by CONNECT"),
    }))
}

/// Ends the channel of an agent that was shut out before it came, once it has had the time to hear why.
async fn end_outcast(gateway: &Gateway, channel: &LiveChannel) -> Infallible {
    let snapshot = gateway.custody.state.snapshot();
    let judged = gateway
        .running()
        .judge(channel, &snapshot, Timestamp::now());
    if let Some(reason) = judged {
        tokio::time::sleep(HEAR_WHY).await;
        channel.cut.cut(reason);
    }
    std::future::pending().await
}

fn opened(gateway: &Gateway, channel: &LiveChannel) {
    let record = &channel.record;
    if let Some(exception) = &record.exception {
        tracing::warn!(exception, peer = %record.peer_address, "a classical channel was let in by an exception");
        gateway.exception_uses.count(exception, record.at);
        gateway.custody.audit.record(Event::ExceptionUsed {
            exception: exception.clone(),
            owner: gateway.owner_of(exception),
            channel: channel.id.to_string(),
            peer: record.peer_address,
        });
    }
    tracing::info!(
        channel = %channel.id, principal = channel.principal(), peer = %record.peer_address,
        group = record.negotiated.as_ref().map(|n| n.group.to_string()), "channel opened"
    );
    if let Some(name) = channel.agent_name() {
        gateway.custody.state.seen(name, record.at);
    }
    gateway.custody.audit.record(Event::ChannelOpened {
        channel: channel.id.to_string(),
        principal: channel.principal(),
        record: serde_json::to_value(record).unwrap_or_default(),
    });
}

fn closed(gateway: &Gateway, channel: &LiveChannel, end: &str) {
    tracing::info!(channel = %channel.id, end, "channel closed");
    gateway.custody.audit.record(Event::ChannelClosed {
        channel: channel.id.to_string(),
        principal: channel.principal(),
        reason: end.to_owned(),
        streams: channel.streams_opened(),
    });
}

/// How long an agent that may not come in any more may ask why.
const HEAR_WHY: Duration = Duration::from_secs(2);

/// The largest body that a control request may have.
pub(crate) fn control_body(channel: &LiveChannel) -> usize {
    match channel.is_stranger() {
        true => STRANGER_BODY,
        false => AGENT_BODY,
    }
}

/// An ML-DSA-87 certificate request and a token, or a TPM's certificates, twice over.
const STRANGER_BODY: usize = 32 * 1024;

/// A quote with an event log, which has some 100 KB where much was measured, in base64, several times over.
const AGENT_BODY: usize = 1024 * 1024;

/// How long a control request's body may take.
pub(crate) const CONTROL_BODY_WAIT: Duration = Duration::from_secs(10);
