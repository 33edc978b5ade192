//! Listeners and proxies in front of a stand-in for the link.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_channel::tunnel::Early;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::agent::listener::{Listener, bind_tcp, serve_each};
use crate::agent::open::{Carriage, Open, OpenError};
use crate::agent::proxy;
use crate::agent::sessions::Sessions;
use crate::config::{AgentListenerConfig, Bind, ServiceName};
use crate::report::{Failure, Report};

/// Knows `echo:7`, and `cut:7`, which resets after half an answer; refuses all else.
#[derive(Clone)]
struct Gateway {
    echo: SocketAddr,
    cut: SocketAddr,
    opened: Arc<Mutex<Vec<(String, Carriage)>>>,
}

impl Gateway {
    async fn start() -> Self {
        let echo = serve(async |mut stream: TcpStream| {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await?;
            writer.shutdown().await
        });
        let cut = serve(async |mut stream: TcpStream| {
            stream.read_u8().await?;
            stream.write_all(b"half an ans").await?;
            // The client asks again once it has read that.
            stream.read_u8().await?;
            stream.set_zero_linger()
        });
        Self {
            echo: echo.await,
            cut: cut.await,
            opened: Arc::default(),
        }
    }
}

impl Open for Gateway {
    type Stream = TcpStream;

    async fn open_saying<R>(
        &self,
        service: &ServiceName,
        carriage: Carriage,
        _: &mut Early<R>,
    ) -> Result<TcpStream, OpenError>
    where
        R: AsyncRead + Send + Unpin,
    {
        let name = service.to_string();
        self.opened.lock().unwrap().push((name.clone(), carriage));
        let address = match name.as_str() {
            "echo:7" => self.echo,
            "cut:7" => self.cut,
            _ => {
                return Err(OpenError::Refused {
                    service: service.clone(),
                    status: StatusCode::FORBIDDEN,
                    reason: "no grant".to_owned(),
                });
            }
        };
        Ok(TcpStream::connect(address).await.unwrap())
    }
}

async fn serve<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

fn config(service: &str, bind: Bind) -> AgentListenerConfig {
    AgentListenerConfig {
        service: service.parse().unwrap(),
        bind,
        own_connection: false,
    }
}

fn tcp() -> Bind {
    Bind::Tcp("127.0.0.1:0".parse().unwrap())
}

fn unix(path: &Path, mode: u32) -> Bind {
    Bind::Unix {
        path: path.to_owned(),
        mode,
        allowed_uids: Vec::new(),
    }
}

struct Running {
    gateway: Gateway,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
}

impl Running {
    async fn start() -> Self {
        Self {
            gateway: Gateway::start().await,
            sessions: Sessions::new(),
            stop: CancellationToken::new(),
        }
    }

    fn listen(&self, config: &AgentListenerConfig) -> Option<SocketAddr> {
        let listener = Listener::bind(config).unwrap();
        let address = listener.local_address();
        let (gateway, sessions) = (self.gateway.clone(), Arc::clone(&self.sessions));
        tokio::spawn(listener.run(gateway, sessions, self.stop.clone()));
        address
    }

    fn proxy<F>(
        &self,
        serve: impl Fn(TcpStream, Gateway, Arc<Sessions>) -> F + Send + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), "a proxy").unwrap();
        let address = listener.local_addr().unwrap();
        let (gateway, sessions) = (self.gateway.clone(), Arc::clone(&self.sessions));
        let of_client = Arc::clone(&sessions);
        tokio::spawn(serve_each(
            listener,
            sessions,
            self.stop.clone(),
            move |client| serve(client, gateway.clone(), Arc::clone(&of_client)),
        ));
        address
    }

    fn http(&self) -> SocketAddr {
        self.proxy(proxy::http::serve)
    }

    fn socks(&self) -> SocketAddr {
        self.proxy(proxy::socks::serve)
    }
}

async fn talk(mut client: impl AsyncRead + AsyncWrite + Unpin) {
    client.write_all(b"over and back").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "over and back");
}

async fn is_cut(mut client: impl AsyncRead + AsyncWrite + Unpin) {
    client.write_all(b"?").await.unwrap();
    let mut half = [0; 11];
    client.read_exact(&mut half).await.unwrap();
    assert_eq!(&half, b"half an ans");
    client.write_all(b"?").await.unwrap();
    is_reset(client).await;
}

async fn is_reset(mut client: impl AsyncRead + Unpin) {
    let end = client.read(&mut [0; 1]).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

async fn ask(address: SocketAddr, request: &str) -> (TcpStream, String) {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    (client, String::from_utf8(head).unwrap())
}

async fn refusal(address: SocketAddr, request: &str) -> (String, String) {
    let (mut client, head) = ask(address, request).await;
    let mut body = String::new();
    client.read_to_string(&mut body).await.unwrap();
    (head.lines().next().unwrap().to_owned(), body)
}

async fn socks(address: SocketAddr, host: &str) -> (TcpStream, u8) {
    let mut client = TcpStream::connect(address).await.unwrap();
    let length = u8::try_from(host.len()).unwrap();
    let request = [&[5, 1, 0, 5, 1, 0, 3, length][..], host.as_bytes(), &[0, 7]].concat();
    client.write_all(&request).await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..3], [5, 0, 5]);
    (client, answer[3])
}

#[tokio::test]
async fn a_tcp_listener_leads_to_its_service() {
    let agent = Running::start().await;
    let address = agent.listen(&config("echo:7", tcp())).unwrap();
    talk(TcpStream::connect(address).await.unwrap()).await;
}

#[tokio::test]
async fn a_listener_with_a_connection_of_its_own_asks_for_one() {
    let agent = Running::start().await;
    let mut config = config("echo:7", tcp());
    config.own_connection = true;
    talk(
        TcpStream::connect(agent.listen(&config).unwrap())
            .await
            .unwrap(),
    )
    .await;
    let opened = agent.gateway.opened.lock().unwrap().clone();
    assert_eq!(opened, [("echo:7".to_owned(), Carriage::Own)]);
}

#[tokio::test]
async fn a_service_that_fails_half_way_comes_out_as_a_reset() {
    let agent = Running::start().await;
    let address = agent.listen(&config("cut:7", tcp())).unwrap();
    is_cut(TcpStream::connect(address).await.unwrap()).await;
}

#[tokio::test]
async fn a_refused_stream_comes_out_as_a_reset() {
    let agent = Running::start().await;
    let address = agent.listen(&config("secret:7", tcp())).unwrap();
    is_reset(TcpStream::connect(address).await.unwrap()).await;
}

#[tokio::test]
async fn a_unix_listener_leads_to_its_service_and_its_failure_is_a_reset() {
    let agent = Running::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (echo, cut) = (folder.path().join("echo"), folder.path().join("cut"));
    agent.listen(&config("echo:7", unix(&echo, 0o600)));
    agent.listen(&config("cut:7", unix(&cut, 0o660)));
    talk(UnixStream::connect(&echo).await.unwrap()).await;
    is_cut(UnixStream::connect(&cut).await.unwrap()).await;
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!((mode(&echo), mode(&cut)), (0o600, 0o660));
}

#[tokio::test]
async fn a_socket_left_by_a_killed_agent_is_replaced_and_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(&config("echo:7", unix(&path, 0o600))).unwrap();
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    drop(listener);
    assert!(!path.exists());
}

fn check_bind_error(bind: Bind, expected: &str) {
    let error = Listener::bind(&config("echo:7", bind)).unwrap_err();
    assert!(error.hint().is_some());
    let text = Failure::from(error).to_string();
    assert!(text.starts_with(expected), "{text}");
}

#[tokio::test]
async fn a_port_in_use_names_the_service_and_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    check_bind_error(
        Bind::Tcp(address),
        &format!("cannot listen on `{address}` for `echo:7`: Address already in use"),
    );
}

#[tokio::test]
async fn a_unix_socket_in_use_names_the_service_and_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let _taken = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let expected = format!("cannot listen on `{}` for `echo:7`: ", path.display());
    check_bind_error(unix(&path, 0o600), &expected);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = Listener::bind(&config("echo:7", unix(&path, 0o600))).unwrap_err();
    assert!(
        Failure::from(error)
            .to_string()
            .ends_with("a file that is no socket is there")
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}

#[tokio::test]
async fn connect_reaches_a_service_by_name() {
    let agent = Running::start().await;
    let (client, head) = ask(
        agent.http(),
        "CONNECT echo:7 HTTP/1.1\r\nHost: echo:7\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    talk(client).await;
}

#[tokio::test]
async fn what_follows_connect_at_once_is_not_lost() {
    let agent = Running::start().await;
    let request = "CONNECT echo:7 HTTP/1.1\r\nHost: echo:7\r\n\r\nearly ";
    let (mut client, _) = ask(agent.http(), request).await;
    client.write_all(b"and late").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "early and late");
}

#[tokio::test]
async fn a_failure_behind_connect_is_a_reset() {
    let agent = Running::start().await;
    let (client, _) = ask(
        agent.http(),
        "CONNECT cut:7 HTTP/1.1\r\nHost: cut:7\r\n\r\n",
    )
    .await;
    is_cut(client).await;
}

#[tokio::test]
async fn the_http_proxy_says_why_it_refuses() {
    let agent = Running::start().await;
    let address = agent.http();
    for (request, status, why) in [
        (
            "CONNECT secret:7 HTTP/1.1\r\nHost: secret:7\r\n\r\n",
            "HTTP/1.1 403 Forbidden",
            "the gateway refused `secret:7` (403): no grant\n",
        ),
        (
            "CONNECT echo:7 HTTP/1.1\r\nHost: echo:7\r\nOrigin: https://evil.example\r\n\r\n",
            "HTTP/1.1 403 Forbidden",
            "a web page may not use this proxy\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "HTTP/1.1 403 Forbidden",
            "this proxy does not answer for `evil.example`\n",
        ),
        (
            "GET http://echo:7/ HTTP/1.1\r\nHost: echo:7\r\n\r\n",
            "HTTP/1.1 405 Method Not Allowed",
            "`GET` is not served here; this is a proxy for CONNECT (with curl: `--proxytunnel`)\n",
        ),
        (
            "CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: 10.0.0.1:22\r\n\r\n",
            "HTTP/1.1 403 Forbidden",
            "`10.0.0.1` is an IP address; a service is reached by its name\n",
        ),
    ] {
        assert_eq!(
            refusal(address, request).await,
            (status.to_owned(), why.to_owned())
        );
    }
    let opened = agent.gateway.opened.lock().unwrap().clone();
    assert_eq!(opened, [("secret:7".to_owned(), Carriage::Shared)]);
}

#[tokio::test]
async fn a_header_without_end_is_refused() {
    let agent = Running::start().await;
    let request = format!("CONNECT echo:7 HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(9000));
    let mut client = TcpStream::connect(agent.http()).await.unwrap();
    let _cut_short = client.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = client.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert!(agent.gateway.opened.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_let_go() {
    let agent = Running::start().await;
    for address in [agent.http(), agent.socks()] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn socks_reaches_a_service_by_name() {
    let agent = Running::start().await;
    let (client, code) = socks(agent.socks(), "echo").await;
    assert_eq!(code, 0);
    talk(client).await;
}

#[tokio::test]
async fn a_failure_behind_socks_is_a_reset() {
    let agent = Running::start().await;
    let (client, _) = socks(agent.socks(), "cut").await;
    is_cut(client).await;
}

#[tokio::test]
async fn socks_says_why_it_refuses() {
    let agent = Running::start().await;
    let address = agent.socks();
    assert_eq!(socks(address, "secret").await.1, 2);
    assert_eq!(socks(address, "10.0.0.1").await.1, 8);
}

#[tokio::test]
async fn a_stop_refuses_new_programs_and_waits_for_the_rest() {
    let agent = Running::start().await;
    let address = agent.listen(&config("echo:7", tcp())).unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"a").await.unwrap();
    client.read_u8().await.unwrap();
    agent.stop.cancel();
    let draining = tokio::spawn({
        let sessions = Arc::clone(&agent.sessions);
        async move { sessions.drain(Duration::from_secs(10)).await }
    });
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    talk(client).await;
    assert_eq!(draining.await.unwrap(), 0);
}
