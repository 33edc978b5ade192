//! Clients without an agent: TLS 1.3 with a classical certificate, by a service's name.

use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A gateway whose listener has a certificate for `web.test` and `gate.test`, and for whom `more` holds as well; `echo` has no name of its
/// own, `web:80` is `web.test`.
pub(super) async fn world(listener: &str, more: &str) -> World {
    world_with(|_| {}, listener, more, "").await
}

/// The same, with files made first, and with `keys` for `web`.
pub(super) async fn world_with(
    files: impl FnOnce(&TempDir),
    listener: &str,
    more: &str,
    keys: &str,
) -> World {
    let web = echo_service().await;
    let service = format!(
        r#"
        {more}
        [[service]]
        name = "web"
        port = 80
        upstream = "{web}"
        sni = ["web.test"]
        {keys}
        "#
    );
    certified(files, listener, &service).await
}

/// The same without a service of that name.
pub(super) async fn certified_world(listener: &str, more: &str) -> World {
    certified(|_| {}, listener, more).await
}

async fn certified(files: impl FnOnce(&TempDir), listener: &str, more: &str) -> World {
    let certified =
        rcgen::generate_simple_self_signed(["web.test".to_owned(), "gate.test".to_owned()])
            .unwrap();
    let prepare = |folder: &TempDir| {
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("web.pem", certified.cert.pem());
        write("web.key", certified.signing_key.serialize_pem());
        let key = folder.path().join("web.key");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(key, private).unwrap();
        files(folder);
    };
    let config = format!(
        r#"
        {LISTENER}
        {listener}
        [[listener.classical_certificate]]
        certificate = "web.pem"
        key = "web.key"
        {more}
        "#
    );
    World::start_with(prepare, &config).await
}

/// A connection by a server name, with an ALPN protocol.
pub(super) async fn dial(
    world: &World,
    sni: &str,
    alpn: &str,
    classical: bool,
) -> std::io::Result<TlsStream<TcpStream>> {
    dial_as(world, sni, alpn, classical, None).await
}

/// The same, with a certificate for who asks for one.
pub(super) async fn dial_as(
    world: &World,
    sni: &str,
    alpn: &str,
    classical: bool,
    identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if classical {
        provider.kx_groups = vec![kx_group::X25519];
    }
    let mut roots = RootCertStore::empty();
    let certificate = std::fs::read(world.file("web.pem")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&certificate);
    roots.add(certificate.unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((leaf, key)) => builder.with_client_auth_cert(vec![leaf], key).unwrap(),
    };
    config.alpn_protocols = vec![alpn.into()];
    let tcp = TcpStream::connect(world.address()).await.unwrap();
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

pub(super) async fn mux(world: &World, sni: &str) -> Mux {
    over(dial(world, sni, "h2", false).await.unwrap()).await
}

pub(super) async fn over(stream: TlsStream<TcpStream>) -> Mux {
    let (mux, driver) = Mux::handshake(stream, &Limits::default()).await.unwrap();
    tokio::spawn(driver);
    mux
}

pub(super) const ANONYMOUS_WEB: &str = r#"
    [[grant]]
    principal = "anonymous"
    service = "web"
"#;

#[tokio::test]
async fn anonymous_gets_what_a_grant_gives_to_anonymous() {
    let world = world("", ANONYMOUS_WEB).await;
    let mux = mux(&world, "web.test").await;
    let mut echo = Echo(connect(&mux, "web:80", None).await.unwrap());
    echo.answers().await;
    let allowed = json!({ "principal": "anonymous", "service": "web" });
    world.event("stream-allowed", allowed).await;
}

#[tokio::test]
async fn a_channel_stands_for_the_service_of_its_server_name_and_no_other() {
    let world = world("", ANONYMOUS_WEB).await;
    let mux = mux(&world, "web.test").await;
    for authority in ["echo:7", "nothing:7"] {
        assert_eq!(
            told(connect(&mux, authority, None).await),
            format!(
                "421 misdirected: this channel was opened for `web.test`, which does not stand for `{authority}`"
            )
        );
    }
}

#[tokio::test]
async fn a_stranger_cannot_tell_a_service_that_is_not_there_from_one_that_is_not_for_him() {
    let world = world("", "").await;
    let mux = mux(&world, "gate.test").await;
    for name in ["echo", "nothing"] {
        assert_eq!(
            told(connect(&mux, &format!("{name}:7"), None).await),
            format!("403 denied: `anonymous` may not reach `{name}`: no grant")
        );
        world
            .event("stream-denied", json!({ "service": name }))
            .await;
    }
}

#[tokio::test]
async fn the_gateways_own_api_is_not_there_for_other_names() {
    let world = world("", "").await;
    let mux = mux(&world, "web.test").await;
    let bundle = "/.well-known/countersign/bundle";
    let (_, problem) = request(&mux, Method::GET, bundle, &Value::Null).await;
    assert_eq!(
        in_words(&problem),
        "421 misdirected: `gateway.example.org` is not served on this channel; reach a service by CONNECT"
    );
}

#[tokio::test]
async fn a_strict_stage_ends_channels_without_an_agent() {
    let world = world("", ANONYMOUS_WEB).await;
    let mux = mux(&world, "web.test").await;
    let mut echo = Echo(connect(&mux, "web:80", None).await.unwrap());
    echo.answers().await;
    let strict = world.config.replace(
        r#"address = "127.0.0.1:0""#,
        "address = \"127.0.0.1:0\"\nstage = \"strict\"",
    );
    world.reload(&strict).await.unwrap();
    echo.cut().await;
    within(mux.closed()).await;
    let reason = "the listener's stage no longer admits the channel";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;
}

/// A classical channel that stands by an exception until `ends`.
async fn canary(ends: Timestamp) -> (World, Mux, Echo) {
    let exception = format!(
        r#"
        {ANONYMOUS_WEB}
        [[exception]]
        id = "old-client"
        sni = "web.test"
        owner = "ops"
        reason = "it cannot be changed"
        ends = {ends}
        "#
    );
    let world = world(r#"stage = "classical-canary""#, &exception).await;
    let stream = dial(&world, "web.test", "h2", true).await.unwrap();
    let (mux, driver) = Mux::handshake(stream, &Limits::default()).await.unwrap();
    tokio::spawn(driver);
    let mut echo = Echo(connect(&mux, "web:80", None).await.unwrap());
    echo.answers().await;
    (world, mux, echo)
}

async fn ended(world: &World, mux: Mux, echo: Echo) {
    echo.cut().await;
    within(mux.closed()).await;
    let reason = "exception `old-client` has ended";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;
    assert!(dial(world, "web.test", "h2", true).await.is_err());
}

#[tokio::test]
async fn the_end_of_an_exception_ends_its_channels() {
    let later = Timestamp::now() + Duration::from_secs(3600);
    let (world, mux, echo) = canary(later).await;
    let soon = Timestamp::now() + Duration::from_millis(700);
    let nearer = world.config.replace(&later.to_string(), &soon.to_string());
    world.reload(&nearer).await.unwrap();
    ended(&world, mux, echo).await;
    let used = json!({ "exception": "old-client", "owner": "ops" });
    world.event("exception-used", used).await;
}

#[tokio::test]
async fn an_exception_that_no_longer_covers_a_channel_ends_it_too() {
    let later = Timestamp::now() + Duration::from_secs(3600);
    let (world, mux, echo) = canary(later).await;
    let narrower = world.config.replace(
        r#"sni = "web.test""#,
        "sni = \"web.test\"\nsource = \"192.0.2.0/24\"",
    );
    world.reload(&narrower).await.unwrap();
    ended(&world, mux, echo).await;
}
